package doctor

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/jwt"
	"github.com/durward-auth/durward/server/internal/explain"
)

// This file masks secrets.

// The mask stands in place of each secret in all that leaves the package. It shows the kind of the
// secret, its public prefix, its length and 8 hexadecimal digits of its SHA-256, so that two
// secrets can be compared. A password or short secret gets no digits: with them, an attacker could
// try passwords.

// secretFields are the names of fields with a secret, in lower case.
var secretFields = map[string]bool{
	"authorization": true, "proxy-authorization": true, "cookie": true, "set-cookie": true, "dpop": true,
	"x-api-key": true, "api-key": true, "apikey": true, "x-auth-token": true, "x-access-token": true, "x-amz-security-token": true,
	"x-csrf-token": true, "x-xsrf-token": true, "x-goog-api-key": true, "x-vault-token": true, "private-token": true, "job-token": true,
	"ocp-apim-subscription-key": true, "x-functions-key": true, "x-shopify-access-token": true, "x-figma-token": true, "cf-access-jwt-assertion": true,
	"cf-access-client-secret": true, "x-forwarded-access-token": true, "x-id-token": true, "x-refresh-token": true, "x-session-token": true,
	"x-amzn-oidc-data": true, "x-amzn-oidc-accesstoken": true, "x-ms-token-aad-access-token": true, "x-goog-iap-jwt-assertion": true,
	"www-authenticate": false, "proxy-authenticate": false, "x-amz-content-sha256": false, "x-requested-with": false,
}

// secretName matches the names of fields, parameters and members with a secret.
var secretName = regexp.MustCompile(`(?i)(^|[-_.])(token|secret|password|passwd|passphrase|pwd|pass|api[-_]?key|access[-_]?key|secret[-_]?key|signature|sig|jwt|session([-_]?id)?|sid|auth|code|assertion|credentials?|otp|pin)$`)

// SecretField reports whether a field of this name holds a secret.
func SecretField(name string) bool {
	name = strings.ToLower(strings.TrimSpace(name))
	if known, ok := secretFields[name]; ok {
		return known
	}
	return secretName.MatchString(name)
}

// MaskSecret returns the mask of a secret.
func MaskSecret(secret string) string {
	if secret == "" {
		return "…(empty)"
	}
	prefix, kind := prefixOf(secret)
	if kind == "" && jwtShape.MatchString(secret) && strings.HasPrefix(secret, "eyJ") {
		if kind = "JWT"; strings.Count(secret, ".") == 4 {
			kind = "JWE"
		}
	}
	return mask(secret, prefix, kind, len(secret) >= 20 && mixed(secret) && !strings.ContainsAny(secret, " \t"))
}

// mask returns the text that stands in place of a secret.
func mask(secret, prefix, kind string, digest bool) string {
	text := fmt.Sprintf("%s…(", prefix)
	if kind != "" {
		text += kind + ", "
	}
	text += fmt.Sprintf("%d octets", len(secret))
	if digest {
		sum := sha256.Sum256([]byte(secret))
		text += fmt.Sprintf(", sha256 %x", sum[:4])
	}
	return text + ")"
}

// MaskField returns the value of a field with a mask in place of each secret. Names and attributes
// of cookies stay, and so do the scheme and the public parameters of credentials.
func MaskField(name, value string) string {
	switch strings.ToLower(strings.TrimSpace(name)) {
	case "authorization", "proxy-authorization":
		return maskCredentials(value)
	case "cookie":
		return maskCookies(value, true)
	case "set-cookie":
		return maskCookies(value, false)
	}
	if SecretField(name) {
		return MaskSecret(value)
	}
	return Mask(value)
}

// publicParameters are the parameters of credentials that are no secret.
var publicParameters = []string{
	"realm", "algorithm", "qop", "nc", "userhash", "charset", "stale", "signedheaders", "headers", "created", "expires", "version",
	"oauth_signature_method", "oauth_version", "oauth_timestamp",
}

// maskCredentials masks the value of an Authorization field.
func maskCredentials(value string) string {
	scheme, rest, ok := strings.Cut(strings.TrimLeft(value, " \t"), " ")
	if !ok || !knownScheme(scheme) {
		return MaskSecret(value) // no scheme: all of it may be a secret
	}
	rest = strings.Trim(rest, " \t")
	if rest == "" {
		return scheme
	}
	params := paramsOf(scheme, rest)
	if len(params) == 0 {
		if strings.EqualFold(scheme, "Basic") { // a user chose it
			return scheme + " " + mask(rest, "", "", false)
		}
		return scheme + " " + MaskSecret(rest)
	}
	var shown []string
	for _, p := range params {
		name := strings.ToLower(p.Name)
		switch {
		case slices.Contains(publicParameters, name):
			shown = append(shown, p.Name+"="+Mask(p.Value))
		case name == "credential": // AWS: key identifier, date, region and service
			id, scope, _ := strings.Cut(p.Value, "/")
			shown = append(shown, p.Name+"="+MaskSecret(id)+"/"+Mask(scope))
		case name == "uri":
			shown = append(shown, p.Name+"="+Mask(p.Value))
		default:
			shown = append(shown, p.Name+"="+mask(p.Value, "", "", false))
		}
	}
	return scheme + " " + strings.Join(shown, ", ")
}

// paramsOf returns the parameters of credentials. Besides the grammar of RFC 9110 s11.4 it accepts
// values without quotation marks that are no tokens, as AWS sends them.
func paramsOf(scheme, rest string) []durward.Param {
	credentials, err := durward.ParseCredentials(scheme + " " + rest)
	if err == nil {
		return credentials.Params
	}
	var params []durward.Param
	for p := range strings.SplitSeq(rest, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(p), "=")
		if !ok || !paramName.MatchString(name) || strings.Trim(value, "=") == "" {
			return nil
		}
		params = append(params, durward.Param{Name: name, Value: strings.Trim(value, `"`)})
	}
	if len(params) < 2 { // perhaps base64
		return nil
	}
	return params
}

// paramName matches the name of a parameter of Authorization.
var paramName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_*-]{0,40}$`)

// knownScheme reports whether a word is an authentication scheme in use, not the first word of a
// secret.
func knownScheme(word string) bool {
	if _, ok := explain.SchemeOf(word); ok {
		return true
	}
	switch strings.ToLower(word) {
	case "api-key", "aws", "hmac", "key", "sharedkey", "sharedkeylite", "jwt", "splunk", "klaviyo-api-key", "bot", "mac",
		"googlelogin", "genie-key", "discogs", "session", "acs", "zoho-oauthtoken", "passport":
		return true
	}
	return false
}

// maskCookies masks the values of cookies. all says that each pair is a cookie; otherwise only the
// first one is, and attributes follow (RFC 6265 s4.1.1).
func maskCookies(value string, all bool) string {
	parts := strings.Split(value, ";")
	for i, p := range parts {
		if i > 0 && !all {
			parts[i] = Mask(p)
			continue
		}
		name, secret, ok := strings.Cut(p, "=")
		if !ok { // a value without a name
			parts[i] = MaskSecret(strings.TrimSpace(p))
			continue
		}
		if secret == "" {
			continue // the server deletes a cookie
		}
		parts[i] = name + "=" + MaskSecret(secret)
	}
	return strings.Join(parts, ";")
}

// Shapes of secrets in a text.
var (
	privateKey = regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)`)
	fieldLine  = regexp.MustCompile(`(?mi)^([ \t]*(?:[<>*] |-H ['"]?|["'])?)([A-Za-z0-9_-]{2,60})(["']?:[ \t]*["']?)([^\r\n]*?)(["',]*[ \t]*\r?)$`)

	// schemeShape matches credentials behind their scheme in a text.
	schemeShape = regexp.MustCompile(`(?i)\b(basic|bearer|dpop|token|negotiate|ntlm|apikey|ssws|hawk)([ :]+)([A-Za-z0-9+/_.~-]{6,}=*)`)

	// memberShape matches a member of JSON, a parameter of a form or an assignment.
	memberShape = regexp.MustCompile(`(?i)(["']?\b([a-z0-9_.-]{0,40}))(["']?[ \t]*(?::=|[:=])[ \t]*)("(?:[^"\\\r\n]|\\.)*"?|'[^'\r\n]*'?|[^\s,;&"'(){}\[\]<>]+)`)

	userPart = regexp.MustCompile(`(?i)(\b[a-z][a-z0-9+.-]{1,20}://)([^/?#\s@"'<>]+)@`)

	// parameter matches a parameter of an address.
	parameter = regexp.MustCompile(`([?&#;]|%26)([A-Za-z0-9_.\[\]-]{1,60})(=)([^&#;\s"'<>]+)`)

	// random matches long random texts.
	random = regexp.MustCompile(`[A-Za-z0-9+/_-]{32,}={0,2}`)
	// constant matches the name of an error in capitals, such as SSLV3_ALERT_CERTIFICATE_UNKNOWN.
	constant = regexp.MustCompile(`^[A-Z]{2,12}[0-9]{0,2}(?:_[A-Z]{2,16}){2,}$`)
	uuid     = regexp.MustCompile(`^[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)
)

// secretShape matches tokens, and secrets by their prefixes.
var secretShape = sync.OnceValue(func() *regexp.Regexp {
	shape := `\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)*`
	for _, p := range secretPrefixes() {
		shape += fmt.Sprintf(`|\b%s[A-Za-z0-9_.-]{%d,}`, regexp.QuoteMeta(p.prefix), p.minRest())
	}
	return regexp.MustCompile(shape)
})

// parameterNames are the names of further parameters of addresses with a secret.
var parameterNames = []string{"key", "state", "nonce", "code_verifier", "ticket", "samlresponse", "samlrequest", "relaystate", "hdnts", "hdnea", "awsaccesskeyid", "x-amz-credential", "x-goog-credential"}

// Mask returns text with a mask in place of each secret that its shape or its name shows. It also
// masks some values that are no secrets.
func Mask(text string) string {
	text = privateKey.ReplaceAllStringFunc(text, func(m string) string { return mask(m, "", "private key", false) })
	text = replace(fieldLine, text, func(p []string) string {
		if !secretFields[strings.ToLower(p[2])] || p[4] == "" || strings.Contains(p[4], "…") {
			return p[0]
		}
		return p[1] + p[2] + p[3] + MaskField(p[2], p[4]) + p[5]
	})
	text = userPart.ReplaceAllString(text, "${1}…@")
	text = replace(parameter, text, func(p []string) string {
		name := strings.ToLower(p[2])
		if !secretName.MatchString(name) && !slices.Contains(parameterNames, name) || strings.Contains(p[4], "…") {
			return p[0]
		}
		return p[1] + p[2] + p[3] + MaskSecret(p[4])
	})
	text = replace(memberShape, text, func(p []string) string {
		if !secretName.MatchString(p[2]) || !secretValue(p[2], p[4]) {
			return p[0]
		}
		value := p[4]
		quote := ""
		if value[0] == '"' || value[0] == '\'' {
			quote = value[:1]
			value = strings.TrimSuffix(value[1:], quote)
		}
		if value == "" {
			return p[0]
		}
		return p[1] + p[3] + quote + MaskSecret(value) + quote
	})
	text = secretShape().ReplaceAllStringFunc(text, MaskSecret)
	text = replace(schemeShape, text, func(p []string) string {
		if !strings.ContainsAny(p[3], "0123456789") && len(p[3]) < 24 { // a word: "Bearer authentication"
			return p[0]
		}
		if strings.EqualFold(p[1], "Basic") {
			return p[1] + p[2] + mask(p[3], "", "", false)
		}
		return p[1] + p[2] + MaskSecret(p[3])
	})
	return random.ReplaceAllStringFunc(text, func(m string) string {
		if !mixed(m) || strings.Count(m, "/") > 2 || uuid.MatchString(m) || constant.MatchString(m) {
			return m
		}
		return MaskSecret(m)
	})
}

// replace replaces each match of a pattern in text. p holds the match and its groups.
func replace(pattern *regexp.Regexp, text string, by func(p []string) string) string {
	matches := pattern.FindAllStringSubmatchIndex(text, -1)
	if matches == nil {
		return text
	}
	var b strings.Builder
	last := 0
	p := make([]string, pattern.NumSubexp()+1)
	for _, m := range matches {
		for i := range p {
			if p[i] = ""; m[2*i] >= 0 {
				p[i] = text[m[2*i]:m[2*i+1]]
			}
		}
		b.WriteString(text[last:m[0]])
		b.WriteString(by(p))
		last = m[1]
	}
	b.WriteString(text[last:])
	return b.String()
}

// secretValue reports whether the value of a member with the name of a secret may be one. A name
// such as "token" often stands before a word.
func secretValue(name, value string) bool {
	bare := strings.Trim(value, `"'`)
	if strings.Contains(bare, "…") || strings.HasPrefix(bare, "${") {
		return false
	}
	lower := strings.ToLower(name)
	for _, ending := range []string{"code", "auth", "session", "signature", "pin", "sid"} {
		if strings.HasSuffix(lower, ending) { // a status, a switch, a word
			return len(bare) >= 12 && strings.ContainsAny(bare, "0123456789") && bare != strings.ToUpper(bare)
		}
	}
	switch strings.ToLower(bare) {
	case "", "null", "true", "false", "none", "nil", "undefined", "invalid", "expired", "missing", "bearer", "basic", "required", "unauthorized":
		return false
	}
	if strings.Contains(lower, "pass") || strings.Contains(lower, "pwd") || strings.Contains(lower, "secret") {
		return true
	}
	return strings.ContainsAny(bare, "0123456789") || len(bare) >= 20 && !strings.Contains(bare, " ")
}

// Masker masks the secrets of one case wherever they stand, besides those that Mask finds. A server
// may repeat a secret in its response.
type Masker struct{ secrets []string }

// Masker returns the masker of the case.
func (c *Case) Masker() *Masker { return &Masker{c.secrets()} }

// Mask returns text with a mask in place of each secret.
func (m *Masker) Mask(text string) string {
	for _, s := range m.secrets {
		if len(s) <= len(text) && strings.Contains(text, s) {
			text = strings.ReplaceAll(text, s, MaskSecret(s))
		}
	}
	return Mask(text)
}

const (
	minSecret  = 6    // length of a secret that is looked for in other texts, in octets
	maxSecrets = 2000 // of one case
)

// secrets returns the secrets of the case, the longest first.
func (c *Case) secrets() []string {
	seen := make(map[string]bool)
	add := func(values ...string) {
		for _, v := range values {
			if len(v) >= minSecret && len(seen) < maxSecrets {
				seen[v] = true
			}
		}
	}
	for _, t := range c.Tokens {
		add(t.Value)
		add(secretsOfURL(t.Value)...)
	}
	add(secretsOfURL(c.URL)...)
	message := func(f Fields, body []byte) {
		for _, field := range f {
			add(secretsOf(field)...)
		}
		for _, m := range memberShape.FindAllSubmatch(body, 100) {
			if name, value := string(m[2]), string(m[4]); secretName.MatchString(name) && secretValue(name, value) {
				add(strings.Trim(value, `"'`))
			}
		}
	}
	for i := len(c.Exchanges) - 1; i >= 0; i-- {
		if r := c.Exchanges[i].Request; r != nil {
			add(secretsOfURL(r.URL)...)
			message(r.Header, r.Body)
		}
		if r := c.Exchanges[i].Response; r != nil {
			message(r.Header, r.Body)
		}
	}
	all := make([]string, 0, len(seen))
	for s := range seen {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	return all
}

// secretsOf returns the secrets of a field.
func secretsOf(f Field) []string {
	switch strings.ToLower(f.Name) {
	case "authorization", "proxy-authorization":
		scheme, rest, ok := strings.Cut(f.Value, " ")
		if !ok {
			return []string{f.Value}
		}
		rest = strings.TrimSpace(rest)
		all := []string{rest}
		if strings.EqualFold(scheme, "Basic") {
			if octets, err := base64.StdEncoding.DecodeString(rest); err == nil {
				_, password, _ := strings.Cut(string(octets), ":")
				all = append(all, string(octets), password)
			}
		}
		for _, p := range paramsOf(scheme, rest) {
			if !slices.Contains(publicParameters, strings.ToLower(p.Name)) && !strings.EqualFold(p.Name, "uri") {
				all = append(all, p.Value)
			}
		}
		return all
	case "cookie", "set-cookie":
		var all []string
		for i, p := range strings.Split(f.Value, ";") {
			if i > 0 && strings.EqualFold(f.Name, "set-cookie") {
				break
			}
			_, value, _ := strings.Cut(p, "=")
			all = append(all, strings.Trim(value, ` "`))
		}
		return all
	case "location", "referer":
		return secretsOfURL(f.Value)
	}
	if SecretField(f.Name) {
		return []string{f.Value}
	}
	return nil
}

// secretsOfURL returns the password and the secret parameters of an address.
func secretsOfURL(address string) []string {
	var all []string
	if u, err := url.Parse(address); err == nil && u.User != nil {
		password, _ := u.User.Password()
		all = append(all, password)
	}
	for _, p := range parameter.FindAllStringSubmatch(address, 100) {
		if name := strings.ToLower(p[2]); secretName.MatchString(name) || slices.Contains(parameterNames, name) {
			all = append(all, p[4])
			if plain, err := url.QueryUnescape(p[4]); err == nil && plain != p[4] {
				all = append(all, plain)
			}
		}
	}
	return all
}

// Claim is one member of the header or the payload of a token.
type Claim struct {
	Name  string
	Value string // as JSON, masked; empty if the claim is shown by name alone
}

// shownClaims are the claims with values that may be shown.
var shownClaims = []string{
	"typ", "alg", "kid", "iss", "aud", "azp", "client_id", "scope", "scp", "roles", "exp", "nbf", "iat", "tid", "ver", "acr", "amr", "auth_time",
}

// Claims returns the claims of a token as they may be shown: other claims by name, and of cnf its
// kind. It is nil if the text is no token.
func Claims(token string) []Claim {
	in, err := jwt.Inspect(token)
	if err != nil {
		return nil
	}
	var all []Claim
	for _, part := range [][]byte{in.Header, in.Payload} {
		for name, value := range membersOf(part) {
			c := Claim{Name: name}
			switch {
			case slices.Contains(shownClaims, name):
				c.Value = Mask(string(value))
			case name == "cnf":
				for kind := range membersOf(value) {
					c.Value = kind
				}
			}
			all = append(all, c)
			if len(all) == 200 {
				return all
			}
		}
	}
	return all
}

// membersOf yields the members of an object of JSON.
func membersOf(object jsontext.Value) func(yield func(name string, value jsontext.Value) bool) {
	return func(yield func(string, jsontext.Value) bool) {
		d := jsontext.NewDecoder(strings.NewReader(string(object)), tolerant...)
		if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
			return
		}
		for d.PeekKind() == '"' {
			t, err := d.ReadToken()
			if err != nil {
				return
			}
			name := t.String()
			value, err := d.ReadValue()
			if err != nil || !yield(name, value) {
				return
			}
		}
	}
}
