package doctor

import (
	"regexp"
	"strings"
)

// The shapes of secrets. They serve to recognise an input and to mask text, so they are wide: a value
// that only looks like a secret is masked as well.

// secretPrefix is the public beginning of the secrets of one kind.
type secretPrefix struct{ prefix, kind string }

// secretPrefixes lists prefixes that their makers publish for scanners. A longer prefix stands before
// its beginning.
var secretPrefixes = []secretPrefix{
	{"github_pat_", "GitHub fine-grained token"},
	{"ghp_", "GitHub token"},
	{"gho_", "GitHub OAuth token"},
	{"ghu_", "GitHub user token"},
	{"ghs_", "GitHub installation token"},
	{"ghr_", "GitHub refresh token"},
	{"glpat-", "GitLab token"},
	{"gldt-", "GitLab deploy token"},
	{"glrt-", "GitLab runner token"},
	{"glcbt-", "GitLab job token"},
	{"sk_live_", "Stripe secret key"},
	{"sk_test_", "Stripe secret key"},
	{"rk_live_", "Stripe restricted key"},
	{"rk_test_", "Stripe restricted key"},
	{"pk_live_", "Stripe publishable key"},
	{"pk_test_", "Stripe publishable key"},
	{"whsec_", "webhook secret"},
	{"sk-ant-", "Anthropic key"},
	{"sk-proj-", "OpenAI project key"},
	{"sk-or-", "OpenRouter key"},
	{"sk-", "API key"},
	{"xoxb-", "Slack bot token"},
	{"xoxp-", "Slack user token"},
	{"xoxa-", "Slack token"},
	{"xoxe.", "Slack token"},
	{"xoxe-", "Slack refresh token"},
	{"xoxr-", "Slack refresh token"},
	{"xoxs-", "Slack token"},
	{"xapp-", "Slack app token"},
	{"npm_", "npm token"},
	{"pypi-", "PyPI token"},
	{"dckr_pat_", "Docker Hub token"},
	{"dckr_oat_", "Docker Hub token"},
	{"hf_", "Hugging Face token"},
	{"hvs.", "Vault token"},
	{"hvb.", "Vault batch token"},
	{"dop_v1_", "DigitalOcean token"},
	{"doo_v1_", "DigitalOcean OAuth token"},
	{"shpat_", "Shopify token"},
	{"shpca_", "Shopify token"},
	{"shpss_", "Shopify secret"},
	{"shppa_", "Shopify password"},
	{"SG.", "SendGrid key"},
	{"AIza", "Google API key"},
	{"ya29.", "Google access token"},
	{"1//", "Google refresh token"},
	{"GOCSPX-", "Google client secret"},
	{"EAA", "Facebook token"},
	{"AKIA", "AWS access key ID"},
	{"ASIA", "AWS temporary access key ID"},
	{"key-", "API key"},
	{"lin_api_", "Linear key"},
	{"lin_oauth_", "Linear token"},
	{"ntn_", "Notion token"},
	{"secret_", "Notion token"},
	{"figd_", "Figma token"},
	{"sntrys_", "Sentry token"},
	{"sntryu_", "Sentry token"},
	{"glsa_", "Grafana service account token"},
	{"glc_", "Grafana Cloud token"},
	{"eyJrIjoi", "Grafana API key"},
	{"nvapi-", "NVIDIA key"},
	{"gsk_", "Groq key"},
	{"pplx-", "Perplexity key"},
	{"xai-", "xAI key"},
	{"r8_", "Replicate token"},
	{"tfp_", "Typeform token"},
	{"PMAK-", "Postman key"},
	{"NRAK-", "New Relic key"},
	{"pul-", "Pulumi token"},
	{"ATATT3", "Atlassian API token"},
	{"ATCTT3", "Atlassian token"},
	{"ATBB", "Bitbucket app password"},
	{"CFPAT-", "Contentful token"},
	{"dp.pt.", "Doppler token"},
	{"dapi", "Databricks token"},
	{"duffel_", "Duffel token"},
	{"EZAK", "EasyPost key"},
	{"FLWSECK", "Flutterwave key"},
	{"rubygems_", "RubyGems key"},
	{"pat-na1-", "HubSpot token"},
	{"pat-eu1-", "HubSpot token"},
	{"v2.local.", "PASETO token"},
	{"v2.public.", "PASETO token"},
	{"v4.local.", "PASETO token"},
	{"v4.public.", "PASETO token"},
	{"dk_", "Durward API key"},
}

// prefixOf returns the known public prefix of a secret, and its kind.
func prefixOf(value string) (prefix, kind string) {
	for _, p := range secretPrefixes {
		if strings.HasPrefix(value, p.prefix) && len(value) >= len(p.prefix)+8 {
			return p.prefix, p.kind
		}
	}
	return "", ""
}

var (
	jwtShape = regexp.MustCompile(`^[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{2,}\.[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*)?=*$`)
	blob     = regexp.MustCompile(`^[A-Za-z0-9+/_.~-]{20,}=*$`)
	labelled = regexp.MustCompile(`^(?:export +|set +|\$env:)?([A-Za-z_][A-Za-z0-9_.-]{0,60}) *[=:] *["']?([^"'\s]+)["']?;?$`)
)

// isSigned reports whether an address carries its own signature.
func isSigned(address string) bool {
	_, query, ok := strings.Cut(address, "?")
	if !ok {
		return false
	}
	for p := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(p, "=")
		switch strings.ToLower(name) {
		case "x-amz-signature", "x-goog-signature", "x-oss-signature", "sig", "signature", "hdnts", "hdnea", "awsaccesskeyid":
			return true
		}
	}
	return false
}

// isToken reports whether text is a token, a key or a signed address, perhaps behind a label.
func isToken(text string) bool {
	if strings.ContainsAny(text, "\n") {
		return false
	}
	value, _ := unlabel(text)
	if isSigned(value) && strings.Contains(value, "://") {
		return true
	}
	if strings.ContainsAny(value, " \t") {
		return false
	}
	prefix, _ := prefixOf(value)
	return jwtShape.MatchString(value) || prefix != "" && len(value) >= 12 || blob.MatchString(value) && mixed(value)
}

// mixed reports whether a value has letters and digits, as random values have and words have not.
func mixed(value string) bool {
	return strings.ContainsAny(value, "0123456789") && strings.ContainsFunc(value, func(r rune) bool { return r >= 'A' && r <= 'z' })
}

// unlabel separates a value from words before it: a scheme or the name of a variable or a member.
func unlabel(text string) (value, label string) {
	text = strings.TrimSpace(text)
	if m := labelled.FindStringSubmatch(text); m != nil && m[2] != "" && !strings.HasPrefix(m[2], "//") {
		return m[2], m[1]
	}
	if scheme, rest, ok := strings.Cut(text, " "); ok {
		for _, s := range []string{"bearer", "dpop", "token", "basic", "apikey"} {
			if strings.EqualFold(scheme, s) {
				return strings.TrimSpace(rest), scheme
			}
		}
	}
	return strings.Trim(text, `"'`), ""
}

// readToken reads values that stand alone, one a line.
func (c *Case) readToken(text string) {
	for l := range strings.SplitSeq(text, "\n") {
		if l = strings.TrimSpace(l); l == "" {
			continue
		}
		if len(c.Tokens) == 100 {
			c.Limits = append(c.Limits, "Only the first 100 tokens were read.")
			return
		}
		value, label := unlabel(l)
		c.Tokens = append(c.Tokens, Token{Value: value, Label: label})
	}
}
