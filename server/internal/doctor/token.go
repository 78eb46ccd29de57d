package doctor

import (
	"regexp"
	"slices"
	"strings"
	"sync"
)

// The shapes of secrets. They serve to recognise an input and to mask text, so they are wide: a
// value that only looks like a secret is masked as well.

// secretPrefix is the public beginning of the secrets of one kind.
type secretPrefix struct{ prefix, kind string }

// otherPrefixes lists prefixes of secrets beside those of the products.
var otherPrefixes = []secretPrefix{
	{"sk-", "API key"},
	{"xoxa-", "Slack token"},
	{"xoxe.", "Slack token"},
	{"xoxr-", "Slack refresh token"},
	{"xoxs-", "Slack token"},
	{"shppa_", "Shopify password"},
	{"key-", "API key"},
	{"lin_oauth_", "Linear token"},
	{"secret_", "Notion token"},
	{"eyJrIjoi", "Grafana API key"},
	{"pul-", "Pulumi token"},
	{"duffel_", "Duffel token"},
	{"FLWSECK", "Flutterwave key"},
	{"v2.local.", "PASETO token"},
	{"v2.public.", "PASETO token"},
	{"v4.local.", "PASETO token"},
	{"v4.public.", "PASETO token"},
	{"dk_", "Durward API key"},
}

// secretPrefixes returns the prefixes of the products and the others, that their makers publish for
// scanners: the longest first.
var secretPrefixes = sync.OnceValue(func() []secretPrefix {
	all := slices.Clone(otherPrefixes)
	for _, s := range known().shapes {
		all = append(all, secretPrefix{s.Prefix, s.Label})
	}
	slices.SortStableFunc(all, func(a, b secretPrefix) int { return len(b.prefix) - len(a.prefix) })
	return all
})

// minRest returns the minimum length of a secret behind its prefix. A short prefix may begin a
// word, a number or the name of a host.
func (p secretPrefix) minRest() int {
	if len(p.prefix) <= 3 && !strings.ContainsAny(p.prefix, "-_/") {
		return 20
	}
	return 8
}

// prefixOf returns the known public prefix of a secret, and its kind.
func prefixOf(value string) (prefix, kind string) {
	for _, p := range secretPrefixes() {
		if strings.HasPrefix(value, p.prefix) && len(value) >= len(p.prefix)+p.minRest() {
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
