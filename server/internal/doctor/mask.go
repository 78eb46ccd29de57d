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
	schemeShape = regexp.MustCompile(`(?i)\b(basic|bearer|dpop|token|negotiate|ntlm|apikey|ssws|hawk)([ :]+)([^\s"'` + "`" + `<>{}()\[\],;…]{6,})`)

	// memberShape matches a member of JSON, a parameter of a form or an assignment.
	memberShape = regexp.MustCompile(`(?i)(["']?\b([a-z0-9_.-]{0,40}))(["']?[ \t]*(?::=|[:=])[ \t]*)("(?:[^"\\\r\n]|\\.)*"?|'[^'\r\n]*'?|[^\s,;&"'(){}\[\]<>]+)`)

	// userPart matches user and password of an address. A password may hold the signs / ? # @, which the address then cannot
	// be read with; portPath matches a port with a path in its place.
	userPart = regexp.MustCompile(`(?i)(\b[a-z][a-z0-9+.-]{1,20}://)([^/?#\s@"'<>:]*:[^\s"'<>]*|[^/?#\s@"'<>]+)@`)
	portPath = regexp.MustCompile(`^[^:]*:\d{1,5}(?:[/?#]|$)`)

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
	text = replace(userPart, text, func(p []string) string {
		if portPath.MatchString(p[2]) {
			return p[0]
		}
		return p[1] + "…@"
	})
	for i := range secretForms {
		text = secretForms[i].mask(text)
	}
	text = replace(parameter, text, func(p []string) string {
		name := strings.ToLower(p[2])
		if !secretName.MatchString(name) && !slices.Contains(parameterNames, name) || strings.Contains(p[4], "…") {
			return p[0]
		}
		return p[1] + p[2] + p[3] + MaskSecret(p[4])
	})
	text = replace(memberShape, text, func(p []string) string {
		if !secretMember(p[2], p[3], p[4]) {
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
		if !strings.ContainsAny(p[3], "0123456789") && len(p[3]) < 24 || schemeParameter.MatchString(p[3]) { // a word: "Bearer authentication"
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

// secretForm is a form in which a secret stands in a line of a command, a configuration, a log or in prose. The last group of
// the pattern is the secret. sign is a part of each such text, in lower case: the pattern is tried only then.
type secretForm struct {
	signs   []string
	pattern *regexp.Regexp
	quoted  bool // a word in quotation marks counts, too
	any     bool // each value counts, a plain word as well
}

var secretForms = []secretForm{
	// Options of commands: --password x, --client-secret=x, -u user:x, -p x, -puser, NAME_TOKEN x.
	{[]string{"--"}, regexp.MustCompile(`(?i)(--[\w-]*(?:password|passwd|passphrase|pass|token|secret|api-?key|access-?key|bearer|credentials?|userpwd)[ =]+)["']?([^\s"'…-][^\s"'…]*)`), false, true},
	{[]string{"-u", "--user", "userpwd", "-a "}, regexp.MustCompile(`(?i)((?:^|\s)(?:-u ?|-a |--(?:proxy-)?user[ =]+)["']?[^\s"':]+:|USERPWD["']?\s*(?:,|=>|=)\s*["'][^"':]*:)([^\s"'…]+)`), false, true},
	{[]string{"-p", "-w "}, regexp.MustCompile(`(?:^|\s)(-p|-[pw] )["']?([^\s"'…/-][^\s"'…]{3,})`), false, true},
	{[]string{"authtoken", "_token", "_key", "_secret", "password"}, regexp.MustCompile(`(?i)(\b(?:[\w/:.]*_(?:token|key|secret|password|authtoken|auth)|[\w/:.]*:_authtoken)\s+)["']?([^\s"'…=:(){}]{6,})`), false, false},
	{[]string{"http-basic", "login"}, regexp.MustCompile(`(?i)(\bhttp-basic\.\S+\s+\S+\s+|\bvault login\s+)([^\s…]+)`), false, true},
	{[]string{"htpasswd"}, regexp.MustCompile(`(?i)(\bhtpasswd\s+-\w*b\w*\s+\S+\s+\S+\s+)([^\s…]+)`), false, true},
	// netrc, XML, stored passwords.
	{[]string{"password"}, regexp.MustCompile(`(?i)(\blogin\s+\S+\s+password\s+)([^\s…]+)`), false, true},
	{[]string{"</"}, regexp.MustCompile(`(?i)(<(?:[\w.-]*:)?[\w.-]*(?:password|passwd|passphrase|token|secret|api-?key)[^<>]*>)([^<>…]+)</`), false, true},
	{[]string{"value="}, regexp.MustCompile(`(?i)((?:key|name)="[^"]*(?:password|token|secret|apikey|api[-_]key)[^"]*"\s+value=")([^"…]+)`), false, true},
	{[]string{"$"}, regexp.MustCompile(`(\$(?:apr1|2[abxy]|[156]|y|argon2\w*|pbkdf2[\w-]*)\$)([^\s"'…<>]+)`), false, true},
	{[]string{"{s"}, regexp.MustCompile(`(\{S?SHA\d*\})([^\s"'…<>]+)`), false, true},
	// Addresses that were torn by a sign of their password.
	{[]string{"@"}, regexp.MustCompile(`(?i)(\b(?:resolve|lookup|getaddrinfo|connect)\b[^\r\n@]{0,30}?[\s'"])([^\s'"@…]\S*)@[\w.-]+`), false, true},
	{[]string{"@"}, regexp.MustCompile(`((?:^|[\s"'=])[\w.+-]*:)([^\s"'@/…][^\s"'@…]*)@[\w.(-]+`), false, true},
	// Prose: password "x", the token x, key provided: x.
	{[]string{"passw", "secret", "token", "key", "passphrase", "credential"}, regexp.MustCompile(`(?i)(\b(?:passwords?|passwd|passphrase|secrets?|tokens?|keys?|credentials?)(?: (?:is|was|of|with|provided|supplied|given|received|value|named|used))?:? ["'` + "`" + `]?)([^\s"'` + "`" + `…<>{}()\[\],;]{6,})`), true, false},
	{[]string{`"bearer `, `'bearer `, "`bearer ", `"token `, `'token `, `"basic `, `'basic `}, regexp.MustCompile(`(?i)(["'` + "`" + `](?:bearer|token|basic) )([^\s"'` + "`" + `…<>{}()=]{6,})["'` + "`" + `]`), true, false},
}

var (
	// schemeParameter matches the begin of a challenge behind a scheme.
	schemeParameter = regexp.MustCompile(`^[A-Za-z_]{2,20}=(?:$|[^=])`)
	// onlyWords matches a plain word, also one of several parts, as names of members and codes have them.
	onlyWords = regexp.MustCompile(`^(?:[A-Za-z]+|[A-Za-z]+(?:[_-][A-Za-z]+)+)[.:!?]?$`)
	// notSecret matches values with digits that are no secrets: names of algorithms, times, addresses, numbers, versions.
	notSecret = regexp.MustCompile(`(?i)^(?:(?:HS|RS|ES|PS|SHA-?|AES-?|A)\d{3}\S{0,8}|\d[\d.:/TZ+-]*(?:bits?|s|ms|min)?|v\d[\w.]*|https?:\S*|\w+\(.*|[a-z]+[a-z_-]*\d?|x509|oauth2?\S{0,12}|base64\w*|ed25519|[\w.-]+\.\w+:\d+)[.:!?]?$`)
)

// secret reports whether the value of the form may be one.
func (f *secretForm) secret(whole, value string) bool {
	switch {
	case value == "" || strings.Contains(value, "…") || strings.HasPrefix(value, "${") || strings.HasPrefix(value, "<"):
		return false
	case f.any:
		return true
	case !onlyWords.MatchString(value):
		return strings.ContainsAny(value, "0123456789") && !notSecret.MatchString(value) && !uuid.MatchString(value)
	}
	// A plain word counts in quotation marks, and if it is no name or word of a message.
	i := strings.LastIndex(whole, value)
	return f.quoted && i > 0 && strings.ContainsAny(whole[i-1:i], "\"'`") && !strings.ContainsAny(value, "_-") && !plainValues[strings.ToLower(value)] && len(value) >= 8
}

func (f *secretForm) signed(text string) bool {
	return slices.ContainsFunc(f.signs, func(sign string) bool { return strings.Contains(text, sign) })
}

func (f *secretForm) mask(text string) string {
	if !f.signed(strings.ToLower(text)) {
		return text
	}
	return replace(f.pattern, text, func(p []string) string {
		value := p[len(p)-1]
		if !f.secret(p[0], value) {
			return p[0]
		}
		i := strings.LastIndex(p[0], value)
		return p[0][:i] + MaskSecret(value) + p[0][i+len(value):]
	})
}

// find returns the secrets of a line. A plain word is one only if the form leaves no doubt.
func (f *secretForm) find(line string) (all []string) {
	if !f.signed(strings.ToLower(line)) {
		return nil
	}
	for _, p := range f.pattern.FindAllStringSubmatch(line, 8) {
		if value := p[len(p)-1]; f.secret(p[0], value) && !plainValues[strings.ToLower(value)] && (onlyWords.MatchString(value) && (f.any || f.quoted) || !notSecret.MatchString(value)) {
			all = append(all, value)
		}
	}
	return all
}

// plainValues are words that stand as the value of a token or key and are no secret.
var plainValues = func() map[string]bool {
	all := map[string]bool{}
	for w := range strings.FieldsSeq(`null true false none nil undefined invalid expired missing bearer basic required unauthorized malformed revoked unknown
		absent empty optional disabled enabled refused rejected denied authorization authentication authenticate password username token tokens access refresh
		string object array number boolean include omit same-origin opaque default signature credentials secret session cookie header headers query generated provided supplied incorrect
		wrong mismatch forbidden accepted verified unverified confirmed pending active inactive failed failure success placeholder unset redacted hidden masked
		private public client server service account application kubernetes anonymous localhost configured environment variable process config settings`) {
		all[w] = true
	}
	return all
}()

// longName matches further names of members with a secret, written in one word or with a part behind.
var longName = regexp.MustCompile(`(?i)(?:token|secret|password|passwd|passphrase|apikey|secretkey|accesskey|accountkey|authkey|privatekey|rootpw|authident|encryptionkey|signingkey|masterkey)$|^TF_TOKEN_\w+$|(?:_|^)(?:token|secret|password|passwd)_(?:key|value|hash)$|\bsecret\.key$`)

// secretMember reports whether a member, a parameter or an assignment has a secret: its name is one of secrets, and its value
// may be one.
func secretMember(name, between, value string) bool {
	if !secretName.MatchString(name) && !longName.MatchString(name) {
		return false
	}
	if secretValue(name, value) {
		return true
	}
	// A word counts if it is assigned, and in quotation marks: "token": "wobbly".
	bare := strings.Trim(value, `"'`)
	lower := strings.ToLower(name)
	for _, ending := range []string{"code", "auth", "session", "signature", "pin", "sid"} {
		if strings.HasSuffix(lower, ending) {
			return false
		}
	}
	return len(bare) >= 6 && !strings.ContainsAny(bare, " …$<{") && (value[0] == '"' || value[0] == '\'' || strings.Contains(between, "=") || longName.MatchString(name) && strings.ToLower(name) != name) &&
		!plainValues[strings.ToLower(bare)] && !strings.ContainsAny(bare, "_-")
}

// publicWords are words of lines of configurations, programs and commands that MaskLine shows.
var publicWords = func() map[string]bool {
	all := map[string]bool{}
	for w := range strings.FieldsSeq(`authorization proxy-authorization authentication bearer basic digest token negotiate ntlm apikey api-key x-api-key x-auth-token cookie set-cookie
		header headers add set get put unset del delete request response proxy_set_header proxy_pass_header proxy_hide_header fastcgi_param uwsgi_param requestheader header_up set-header
		http-request http-response auth_basic auth_basic_user_file auth_pam basic_auth basicauth authtype authuserfile authname require valid-user allow deny all from ip host satisfy any
		ssl_verify_client sslverifyclient on off optional optional_no_ca mode strict true false null none default required yes no never always exists-action
		machine login password username user account key secret host server url registry config credential credentials helper store
		export var let const final val local my env with await import using use new return function public private static string if else and or not for to in of as is the a an
		curl wget http https git npm yarn pnpm pip docker helm kubectl create repo secret generic docker-registry poetry cargo maven gradle az gh sudo echo cat
		hs256 hs384 hs512 rs256 rs384 rs512 es256 es384 es512 ps256 ps384 ps512 eddsa issuer audience algorithms algorithm aud iss alg sub kid jwks jwks_uri verify decode
		include omit same-origin no-cors cors credentials withcredentials proxy_pass location error_page log_format access_log limit_except auth_request
		restricted area private`) {
		all[w] = true
	}
	return all
}()

var (
	lineQuoted  = regexp.MustCompile(`"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?|` + "`[^`]*`?" + `|…\([^()]*\)|[^\s"'` + "`" + `(){}\[\],;=<>|]+|.`)
	lineName    = regexp.MustCompile(`^[$@.]?[A-Za-z_][A-Za-z_.:-]{0,60}$`)
	lineOption  = regexp.MustCompile(`^--?[A-Za-z][A-Za-z-]{1,40}$|^-[A-Za-z]$`)
	lineAddress = regexp.MustCompile(`^((?:[a-z][a-z0-9+.-]{1,12}:)?//(?:…@)?[A-Za-z0-9.-]{1,80}(?::\d{1,5})?)(?:[/?#:].*)?$`)
	lineHost    = regexp.MustCompile(`^[a-z0-9-]{1,40}(?:\.[a-z0-9-]{1,40})*\.(?:com|org|net|io|dev|app|cloud|example|local|internal|test|de|eu|uk|fr|ch|co|ai)(?::\d{1,5})?$`)
	lineNetwork = regexp.MustCompile(`^[0-9a-f]{0,4}(?:[.:][0-9a-f]{0,4}){2,7}(?:/\d{1,3})?$`)
)

// MaskLine returns a line of a configuration, a program or a command with a mask in place of each value, because no name tells
// which of them is a secret. It shows names, options, hosts, and the words of publicWords.
func MaskLine(line string) string {
	parts := lineQuoted.FindAllString(Mask(line), 400)
	var b strings.Builder
	next := func(i int) string { // the next part that is no blank
		for _, p := range parts[i+1:] {
			if strings.TrimSpace(p) != "" {
				return p
			}
		}
		return ""
	}
	value := false // the part stands behind = or :
	for i, p := range parts {
		switch {
		case strings.TrimSpace(p) == "" || strings.HasPrefix(p, "…("):
			b.WriteString(p)
			continue
		case len(p) == 1 && strings.ContainsAny(p, "(){}[],;=<>|"):
			b.WriteString(p)
			if value = p == "=" || p == ">" && i > 0 && parts[i-1] == "="; p == ">" {
				value = true
			}
			continue
		case strings.ContainsAny(p[:1], "\"'`"):
			quote := p[:1]
			b.WriteString(quote + maskValue(strings.Trim(p, quote), !value && (strings.HasPrefix(next(i), ":") || next(i) == "=" || next(i) == "]")) + quote)
		default:
			named := !value && (next(i) == "=" || next(i) == "(" || strings.HasSuffix(p, ":") || strings.HasPrefix(next(i), ":") && i+1 < len(parts))
			if !value && !named {
				if name, rest, ok := strings.Cut(p, ":"); ok && lineName.MatchString(name) && !strings.HasPrefix(rest, "//") && !strings.Contains(p, "::") { // name:value
					b.WriteString(maskValue(name, true) + ":" + maskValue(rest, false))
					break
				}
			}
			b.WriteString(maskValue(p, named))
		}
		value = strings.HasSuffix(p, ":")
	}
	return b.String()
}

// maskValue returns a part of a line as MaskLine shows it. named says that it stands before a value or arguments.
func maskValue(p string, named bool) string {
	bare := strings.TrimRight(p, ":")
	if p == "" || strings.HasPrefix(p, "…") || !strings.ContainsFunc(p, func(r rune) bool {
		return r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r > 0x7f
	}) {
		return p
	}
	if publicWords[strings.ToLower(bare)] || named && lineName.MatchString(p) || lineOption.MatchString(p) || lineHost.MatchString(p) || lineNetwork.MatchString(p) {
		return p
	}
	if m := lineAddress.FindStringSubmatch(p); m != nil {
		if len(m[1]) < len(p) {
			return m[1] + "/…"
		}
		return p
	}
	if scheme, rest, ok := strings.Cut(p, " "); ok && (knownScheme(scheme) || strings.HasSuffix(scheme, ":") && SecretField(strings.TrimSuffix(scheme, ":"))) {
		return scheme + " " + maskValue(rest, false)
	}
	return "…"
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
			if strings.Contains(field.Value, "<") && len(field.Value) <= 4<<10 { // words of the user in place of a secret
				for i := range secretForms {
					add(secretForms[i].find(field.Value)...)
				}
			}
		}
		for _, m := range memberShape.FindAllSubmatch(body, 100) {
			if name, value := string(m[2]), string(m[4]); secretMember(name, string(m[3]), value) {
				add(strings.Trim(value, `"'`))
			}
		}
		for i := range secretForms {
			add(secretForms[i].find(string(body[:min(len(body), 4<<10)]))...)
		}
	}
	for _, line := range c.Log[:min(len(c.Log), maxLogLines)] {
		if len(line) > 4<<10 {
			continue
		}
		for _, m := range memberShape.FindAllStringSubmatch(line, 20) {
			if value := strings.Trim(m[4], `"'`); secretMember(m[2], m[3], m[4]) && !strings.Contains(value, " ") && !plainValues[strings.ToLower(value)] {
				add(value)
			}
		}
		for i := range secretForms {
			add(secretForms[i].find(line)...)
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
