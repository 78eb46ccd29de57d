package doctor

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/durward-auth/durward"
)

// This file reads the credentials of a request and adds facts about their form, and about the form
// of the request.

// credential is one secret of the request or of the rest of the input.
type credential struct {
	place  string // "Authorization", "parameter key", "body member password"
	kind   credentialKind
	scheme string // in lower case; empty if the place has none
	value  string // without the scheme
	raw    string // as sent, if it differs from value in more than the scheme and white space
	mark   string // words of the input that stand in place of the secret
	masked bool   // value is a mask, or holds one
	user   string // of Basic, if it could be read
	pass   string
	token  *webToken // the value is a JSON Web Token
	shape  *secretShapeOf
	unset  bool // a shell variable stands in it, with a value that is unknown here
}

// credentialKind says in which part of a request a secret stands.
type credentialKind int

const (
	secretInAuthorization credentialKind = iota
	secretInProxyAuthorization
	secretInField
	secretInQuery
	secretInBody
	secretInCookie
	secretAlone
)

// webToken is a JSON Web Token that was decoded and not verified.
type webToken struct {
	header, claims map[string]any
	partial        bool // the input shows a part of it: absent members say nothing
}

// text returns a claim or header member as text, or "".
func text(m map[string]any, name string) string {
	switch v := m[name].(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return fmt.Sprint(v)
	}
	return ""
}

// texts returns a claim that is a text or a list of texts.
func texts(m map[string]any, name string) (list []string) {
	switch v := m[name].(type) {
	case string:
		return []string{v}
	case []any:
		for _, one := range v {
			if s, ok := one.(string); ok {
				list = append(list, s)
			}
		}
	}
	return list
}

// numericDate returns a claim that is a time (RFC 7519 s2), or zero.
func numericDate(m map[string]any, name string) time.Time {
	n, ok := m[name].(json.Number)
	if !ok {
		return time.Time{}
	}
	seconds, err := n.Float64()
	if err != nil || seconds < 0 || seconds > 1e11 {
		return time.Time{}
	}
	return time.Unix(int64(seconds), 0).UTC()
}

// maxTokenText bounds the octets of a token that is decoded.
const maxTokenText = 64 << 10

// decodeToken returns the content of a JSON Web Token (RFC 7519 s3), or nil if value is none.
func decodeToken(value string) *webToken {
	parts := strings.Split(value, ".")
	if len(value) > maxTokenText || len(parts) < 2 || len(parts) > 3 {
		return nil
	}
	t := new(webToken)
	for i, into := range []*map[string]any{&t.header, &t.claims} {
		octets, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[i], "="))
		if err != nil {
			return nil
		}
		d := json.NewDecoder(bytes.NewReader(octets))
		d.UseNumber()
		if d.Decode(into) != nil {
			return nil
		}
	}
	if t.header == nil || t.claims == nil {
		return nil
	}
	return t
}

// Shapes of values that the user masked or that a program left empty.
var (
	maskShape        = regexp.MustCompile(`<[^<>]*>|\.\.\.|…|\*{3,}|(?i)\[?redacted\]?|\[masked\]|\[hidden\]|\b[xX]{4,}\b|•{3,}|(?i)\b(?:base64|b64|hex|sha256|hmac)\s*\(|\(\d+ octets, sha256`)
	jwtMark          = regexp.MustCompile(`(?i)jwt|token`)
	proxmoxToken     = regexp.MustCompile(`^P(?:VE|BS|MG|DM)APIToken[= ](.*)$`)
	proxmoxValue     = regexp.MustCompile(`^[^\s!@]+@[\w.-]+![\w.-]+[=:][^\s=:!]+$`)
	markWords        = regexp.MustCompile(`<([^<>]{2,120})>`)
	placeholderShape = regexp.MustCompile(`(?i)^["']?(?:null|undefined|none|nil|nan|\(null\)|\[object object\]|\[object promise\]|` +
		`\$\{?[a-z_][a-z0-9_.]*\}?|\$\{[a-z_][a-z0-9_.]*[:-][^{}]*\}|\$\(.*\)|\$\{\{.*\}\}|=?\{\{.*\}\}|\{[a-z_]+\}|%[a-z_]+%|<(?:your|insert|put)[-_ a-z]*>|` +
		`(?:your|insert|put|enter|replace)[-_ ]?[a-z_ -]*(?:token|key|secret|jwt|password|here|me)[a-z_ -]*|change[-_]?me)["']?$`)
	// maybeCoverUp matches placeholders that people also write in place of a secret that they do not show.
	maybeCoverUp = regexp.MustCompile(`(?i)^["']?(?:<?(?:your|insert|put|enter|replace)|\$[a-z_]|\{[a-z_]+\}|%[a-z_]+%)`)
	emptyShape   = regexp.MustCompile(`^(?:null|undefined|\(null\)|\[object Object\]|\$\{[A-Za-z_][A-Za-z0-9_.]*\}|\{\{.*\}\})$`)
	// emptyPrinted matches printed forms of missing values, variables of templates, and names of
	// stored secrets.
	emptyPrinted = regexp.MustCompile(`^["']?(?:%!\w?\(?.*|<nil>|<null>|<none>|<undefined>|<empty>|<unset>|%[svd@]|\{\d?\}|#\{[^{}]*\}|<%=?.*%>|%\(\w+\)s|@\w+@|__[A-Z][A-Z0-9_]+__|\[function.*|\[object \w+\]|<(?:function|bound method|built-in|coroutine|Future|class|Response|map|generator|Promise)\b.*|` +
		`System\.[A-Z][\w.]*(?:` + "`" + `\d)?(?:\[.*\])?|(?:[a-z]\w*\.)+[A-Z]\w*@[0-9a-f]{5,8}|(?:var|local|module|data|self|this)\.[A-Za-z_][\w.]*|Promise ?\{.*|\(\) ?=>.*|function ?\(.*|\$env:\w+|process\.env\.\w+|os\.(?:environ|getenv).*|System\.getenv.*|secrets\.\w+|op://\S+|ref\+\w+://\S+|vault:\S+|!secret \w+|!vault.*|arn:aws:(?:secretsmanager|ssm):\S+|projects/[^/]+/secrets/\S+|@Microsoft\.KeyVault\(.*|ENC\[.*|ENC\(.*|/run/secrets/\S+|file://\S+|(?:~|\.)?/(?:etc|home|root|var|secrets?|opt)/\S+)["']?$`)
	// printedValue matches a secret with the name of its type around it.
	printedValue = regexp.MustCompile(`^(?:Optional|Some|Just|Right|Ok|Present|Secret|SecretStr|String|Token|AccessToken|str|bytes|Buffer)\(.+\)?$|^b['"].+['"]$|^&?\{[A-Za-z].*\}$|^Optional\[.*\]$`)
	exampleShape = regexp.MustCompile(`(?i)^["']?(?:(?:my[-_ ]?)?(?:access|api|auth|bearer|id|refresh)?[-_]?(?:token|key|secret|jwt|password)|(?:[a-z]{2,16}[-_]){1,4}(?:token|key|secret|jwt|password)|true|false)["']?$`)
	tokenShape   = regexp.MustCompile(`^[A-Za-z0-9._~+/=|:!-]+$`)
	schemeWord   = regexp.MustCompile("^[A-Za-z][A-Za-z0-9!#$%&'*+.^_`|~-]{1,40}$")
)

// keyFields are names of fields with a key, beside those of SecretField.
var keyFields = regexp.MustCompile(`(?i)^(x-)?(.*-)?(api-?key|auth-?token|access-?token|auth-?key|token|app-?key|application-?key|subscription-key|secret|` +
	`api-?token|session|session-?id|sessiontoken|ticket|credential|credentials|auth|signature|sign|passphrase|password|jwt|apikey|key-?id|access-?key|user-?key|license|license-?key|pat|` +
	`key|authentication|authorization|appcheck|jwt-assertion|oidc-data|.*token|honeycomb-team|verify|apca-api-.*|ibm-client-id|kc-api-(?:key|sign))$`)

// secretMark matches a mask in place of a secret. A field of any name may have one.
var secretMark = regexp.MustCompile(`(?i)^<[^<>]{0,60}\b(?:api[_ -]?)?(?:key|token|secret|password|jwt|credentials?)\b[^<>]{0,60}>$`)

// queryNames are names of parameters with a secret, beside queryKeys.
var queryNames = regexp.MustCompile(`(?i)(token|(?:api|license|service|access|client|user)_?key|secret|passw|signature|session_?id|credential|hmac|auth_?key|app_?key)`)

// certificateField matches fields with which a front end describes the client's certificate to the
// program behind it.
var certificateField = regexp.MustCompile(`(?i)^(x-)?((forwarded|client|ssl|tls|arr)-)*(ssl|tls|client|clientcert|cert|mtls)(-client)?(-(s-?dn|i-?dn|verify|verified|cert|certificate|status|present|chain|serial|fingerprint|info|leaf|issuer|subject))+$|^x-arr-clientcert$|^x-forwarded-client-cert$`)

// Patterns of the parts of Basic credentials.
var (
	hashForm  = regexp.MustCompile(`^(?:\$(?:apr1|2[abxy]|[156]|argon2\w*|y)\$|\{(?:SHA|SSHA|PLAIN|bcrypt|CRYPT)\})`)
	plainName = regexp.MustCompile(`^[A-Za-z_.@-]{1,40}$`)
)

// sessionField matches names of fields with the key of a session.
var sessionField = regexp.MustCompile(`(?i)session|^x-auth-token$|^x-subject-token$|ticket`)

// escapedEdge matches a line end, a blank or a quotation mark at the end of a part of a path, or a
// quotation mark at its beginning.
var escapedEdge = regexp.MustCompile(`(?i)(?:%0[ad]|%20|%22|%27|%EF%BB%BF)+(?:/|$)|/(?:bot)?(?:%22|%27|%20|%EF%BB%BF)`)

// tokenOfBot matches a path with the token of a bot of Telegram and without the word before it.
var tokenOfBot = regexp.MustCompile(`^(?:https?://api\.telegram\.org)?/\d{6,}:[A-Za-z0-9_-]{20,}/`)

// secretInPath matches a path with a secret, or with a mark in place of one.
var secretInPath = regexp.MustCompile(`(?i)/bot\d+:[A-Za-z0-9_-]{20,}|<[^<>]*(token|key|secret|webhook)[^<>]*>|/services/T[A-Z0-9]+/B[A-Z0-9]+/|/api/(?:v\d+/)?webhooks/\d+/[^/?]+|/services/Soap/[uc]/|/rest/\d+/[a-z0-9]{3,}/|/t/[A-Za-z0-9-]{30,}/`)

// emptyInPath matches a part of a path where an empty variable or a mark stands in place of a token.
var emptyInPath = regexp.MustCompile(`(?i)/(?:bot(?:undefined|null|none|nil)|%3C[a-z_ -]*(?:token|key|secret)[a-z_ -]*%3E|%7B+[a-z_.-]*(?:token|key|secret)[a-z_]*%7D+|\$\{?[a-z_]*(?:token|key|secret)[a-z_]*\}?)(?:/|$)`)

// jwtForm matches a JWT. It is a secret in a parameter of any name.
var jwtForm = regexp.MustCompile(`^eyJ[A-Za-z0-9_-]{6,}\.eyJ[A-Za-z0-9_-]{2,}\.[A-Za-z0-9_-]*$`)

// queryKeys are parameters of an address that hold a secret.
var queryKeys = []string{
	"access_token", "token", "api_key", "apikey", "api-key", "key", "auth", "auth_token", "authtoken", "jwt", "id_token", "password", "passwd", "p", "pass",
	"sig", "signature", "x-amz-signature", "x-goog-signature", "subscription-key", "code", "private_token", "job_token", "hapikey", "appid", "secret", "_key",
	"session", "sid", "ticket", "hash", "apitoken", "app_code", "ak", "applicationid", "crtfc_key", "tk", "authorization",
}

// bodySecrets are members of a body with a secret.
var bodySecrets = []string{
	"password", "passwd", "client_secret", "refresh_token", "assertion", "client_assertion", "access_token", "token", "api_key", "apikey", "code",
	"subject_token", "device_code", "secret", "otp", "id_token", "refreshtoken", "accesstoken", "pass", "passcode", "jwt", "idtoken", "secret_id",
}

// tokenMember matches the place of a token or key in a body.
var tokenMember = regexp.MustCompile(`(?i)^body member (?:access_?token|token|api_?key|jwt)$`)

// readCredentials finds the secrets of the case.
func (e *evidence) readCredentials() {
	r := e.request
	for _, f := range r.Header {
		name := strings.ToLower(f.Name)
		c := credential{place: f.Name, value: f.Value, raw: f.Raw, unset: f.Variable != ""}
		switch {
		case name == "authorization":
			c.kind = secretInAuthorization
			c.split()
			if scheme, rest, ok := strings.Cut(c.value, ":"); ok && c.scheme == "" && strings.EqualFold(scheme, "bearer") && hostIs(e.target.Host, ".onelogin.com") {
				c.scheme, c.value = "bearer", rest // OneLogin's own clients send it so
			}
		case name == "proxy-authorization":
			c.kind = secretInProxyAuthorization
			c.split()
		case name == "cookie":
			c.kind = secretInCookie
		case name == "dpop" || name == "mcp-session-id" || strings.Contains(name, "csrf") || strings.Contains(name, "xsrf") || name == "sec-websocket-key" || strings.HasSuffix(name, "idempotency-key"):
			continue
		case certificateField.MatchString(f.Name): // the description of a certificate is no secret
			continue
		case SecretField(f.Name) || keyFields.MatchString(f.Name) || name == "x-amz-security-token" || secretMark.MatchString(strings.TrimSpace(f.Value)):
			c.kind = secretInField
			if scheme, rest, ok := strings.Cut(f.Value, " "); ok && slices.Contains(schemes, strings.ToLower(scheme)) {
				c.scheme, c.value = strings.ToLower(scheme), rest
			}
		default:
			continue
		}
		e.hold(c)
	}
	if q, err := url.ParseQuery(e.target.RawQuery); err == nil || len(q) > 0 {
		for name, values := range q {
			lower := strings.ToLower(name)
			jwt := len(values) > 0 && jwtForm.MatchString(values[0])
			if !jwt && !slices.Contains(queryKeys, lower) && !queryNames.MatchString(lower) || (lower == "p" && !q.Has("u")) || lower == "code" && !q.Has("state") && r.Method == "" {
				continue
			}
			for _, v := range values[:min(len(values), 4)] {
				if v == "true" || v == "false" { // a switch: offline_token=true
					continue
				}
				e.hold(credential{place: "parameter " + name, kind: secretInQuery, value: v})
			}
		}
	}
	if q := e.target.Query(); q.Has("u") && q.Has("t") && q.Has("s") { // the digest of a password with salt: the protocol of Subsonic
		e.hold(credential{place: "parameter t", kind: secretInQuery, value: q.Get("t")})
	}
	if path, _, _ := strings.Cut(r.URL, "?"); secretInPath.MatchString(path) {
		e.hold(credential{place: "path", kind: secretInQuery, value: "<token>"})
		if escapedEdge.MatchString(path) {
			e.add("stray-octets", Computed, "address", "a line end, a blank or a quotation mark stands in the secret of the address, as a %%-escape")
		}
	} else if m := emptyInPath.FindString(path); m != "" {
		e.hold(credential{place: "path", kind: secretInQuery, value: "<token>"})
		e.add("placeholder-word", Computed, "path", "%s stands in the path in place of a token", e.quote(strings.Trim(m, "/")))
	}
	if tokenOfBot.MatchString(r.URL) && e.target.Hostname() == "api.telegram.org" {
		e.add("word-before-token-absent", Computed, "address", "the path has the token alone; Telegram takes it behind the word bot")
	}
	for name, v := range bodyMembers(r) {
		if slices.Contains(bodySecrets, strings.ToLower(name)) {
			e.hold(credential{place: "body member " + name, kind: secretInBody, value: v})
		}
	}
	for _, t := range e.c.Tokens {
		c := credential{place: "token", kind: secretAlone, value: t.Value}
		if t.Label != "" {
			c.place = e.quote(t.Label)
		}
		if scheme, rest, ok := strings.Cut(t.Value, " "); ok && slices.Contains(schemes, strings.ToLower(scheme)) {
			c.scheme, c.value = strings.ToLower(scheme), rest
		}
		e.hold(c)
	}
	if t := e.decodedToken(); t != nil {
		if c := e.sent(secretInAuthorization); c != nil && c.masked && c.token == nil && c.scheme != "basic" {
			c.token = t
		} else {
			e.credentials = append(e.credentials, credential{place: "decoded token", kind: secretAlone, token: t})
		}
	}
	slices.SortStableFunc(e.credentials, func(a, b credential) int { return int(a.kind) - int(b.kind) })
}

// maxCredentials bounds the secrets of one case.
const maxCredentials = 40

// hold completes a credential and keeps it.
func (e *evidence) hold(c credential) {
	if len(e.credentials) >= maxCredentials {
		return
	}
	c.masked = maskShape.MatchString(c.value)
	if m := markWords.FindAllStringSubmatch(c.value, 3); m != nil {
		for _, words := range m {
			c.mark += " " + words[1]
		}
		c.mark = strings.TrimSpace(c.mark)
	}
	value := strings.Trim(c.value, `"' `)
	if c.scheme == "basic" {
		if octets, err := decodeBasic(value); err == nil {
			c.user, c.pass, _ = strings.Cut(string(octets), ":")
		} else if user, pass, ok := strings.Cut(c.mark, ":"); ok {
			c.user, c.pass = user, pass
		}
	}
	c.token = decodeToken(value)
	c.shape = shapeOf(value)
	if c.shape == nil && c.scheme == "basic" {
		if c.shape = shapeOf(c.pass); c.shape == nil {
			c.shape = shapeOf(c.user)
		}
	}
	e.credentials = append(e.credentials, c)
}

// split separates scheme and value of an Authorization field.
func (c *credential) split() {
	scheme, rest, blank := strings.Cut(c.value, " ")
	if blank || slices.Contains(schemes, strings.ToLower(scheme)) {
		if schemeWord.MatchString(strings.TrimRight(scheme, ":")) {
			c.scheme, c.value = strings.ToLower(scheme), rest
		}
	}
}

// decodeBasic decodes the token68 of Basic (RFC 7617 s2), also without padding.
func decodeBasic(value string) ([]byte, error) {
	return base64.RawStdEncoding.DecodeString(strings.TrimRight(value, "="))
}

// bodyMembers returns the members of a request's body that is a form or a JSON object.
func bodyMembers(r *Request) map[string]string {
	body := bytes.TrimSpace(r.Body)
	if len(body) == 0 || len(body) > maxTokenText {
		return nil
	}
	members := map[string]string{}
	if body[0] == '{' {
		var object map[string]any
		d := json.NewDecoder(bytes.NewReader(body))
		d.UseNumber()
		if d.Decode(&object) == nil {
			for _, value := range object {
				if inner, ok := value.(map[string]any); ok { // {"user":{"password":…}}
					for name := range inner {
						members[name] = text(inner, name)
					}
				}
			}
			for name := range object {
				if _, inner := object[name].(map[string]any); !inner {
					members[name] = text(object, name)
				}
			}
		}
		return members
	}
	if q, err := url.ParseQuery(string(body)); err == nil {
		for name := range q {
			if len(name) < 60 {
				members[name] = q.Get(name)
			}
		}
	}
	return members
}

// sent returns the first credential in a part of the request, or nil.
func (e *evidence) sent(kinds ...credentialKind) *credential {
	for i := range e.credentials {
		if slices.Contains(kinds, e.credentials[i].kind) {
			return &e.credentials[i]
		}
	}
	return nil
}

// escapeInside matches escapes of signs that an address cannot hold (RFC 3986 s2.1).
var escapeInside = regexp.MustCompile(`%(?:40|3[AaFf]|2[0-9A-Fa-f]|5[CcEe])`)

// escapeOfEdge matches %-escapes of characters that surround a secret by mistake, or that base64
// uses.
var escapeOfEdge = regexp.MustCompile(`%(?:0[09AaDd]|2[02B]|3D|EF%BB%BF|E2%80%)`)

// signInPath matches addresses that take credentials in the body.
var signInPath = regexp.MustCompile(`(?i)(^|[/._-])(token|oauth2?|(?:first|second)-?factor|log[-_]?in|logon|sign[-_]?in|authn|auth|authenticate|authentication|sessions?|connect|grant|verify|password|refresh|ticket|security_check|saml2?|acs)([/._?-]|$)`)

// signInHost matches hosts that serve nothing but sign-ins and tokens.
var signInHost = regexp.MustCompile(`(?i)^(sts|login|oauth2|signin|idp|sso|accounts)\.`)

// signInOperation matches operations that take credentials in the body, by the name that stands
// beside the address.
var signInOperation = regexp.MustCompile(`(?i)cognito|assumerole|auth|sign-?in|sign-?up|login|password|token`)

// operation returns the name of the operation, if one address serves several: a field or a
// parameter holds it.
func operation(r *Request, target *url.URL) string {
	return r.Header.Get("X-Amz-Target") + " " + target.Query().Get("Action") + " " + bodyMembers(r)["Action"]
}

// cloudSignature matches schemes that sign each request with a secret key. Such a request is no
// sign-in.
var cloudSignature = regexp.MustCompile(`^(?:aws4|acs3|tc3)-`)

// signInQuery matches addresses with the operation in their query.
var signInQuery = regexp.MustCompile(`(?i)(^|&)(method|action|op|cmd|do|act|command)=(user\.)?(log_?in|sign_?in|authenticate)(&|$)`)

// socketPath matches addresses of connections with the credentials in their first message.
var socketPath = regexp.MustCompile(`(?i)/(websocket|wss?|socket\.io|cable|sockjs|graphql-ws)(/|$)`)

// clientPath matches addresses where an OAuth client sends its own credentials (RFC 7662 s2.1, RFC
// 7009 s2.1, RFC 9126 s2.1, RFC 8628 s3.1).
var clientPath = regexp.MustCompile(`(?i)/(?:token/)?(?:introspect(?:ion)?|token_info|revoke|revocation|par|as/par|device_authorization|bc-authorize)/?$`)

// refreshPath matches addresses that take a refresh token.
var refreshPath = regexp.MustCompile(`(?i)[/_-](token/refresh|refresh|refresh[-_]?token|tokens?/renew)(\.\w+)?/?$`)

// requestFacts adds the facts that stand in the request alone.
func (e *evidence) requestFacts() {
	r := e.request
	auth := e.sent(secretInAuthorization)
	lines := r.Header.Values("Authorization")
	method := strings.ToUpper(r.Method)
	signIn := method != "GET" && method != "HEAD" && (auth == nil || !cloudSignature.MatchString(auth.scheme)) && (signInPath.MatchString(e.target.Path) || signInHost.MatchString(e.target.Host) || signInOperation.MatchString(operation(r, e.target))) ||
		signInQuery.MatchString(e.target.RawQuery)
	if signIn {
		e.add("sign-in-address", Computed, "address", "the address is one to sign in or to fetch a token")
	}
	if members := bodyMembers(r); len(members) > 0 || e.target.Query().Has("grant_type") {
		grant := members["grant_type"]
		if grant == "" {
			grant = e.target.Query().Get("grant_type")
		}
		if grant != "" {
			e.add("grant-"+strings.ToLower(strings.TrimPrefix(grant, "urn:ietf:params:oauth:grant-type:")), Computed, "grant_type", "the grant is %s", e.quote(grant))
			e.add("token-address", Computed, "grant_type", "the request asks for a token")
		}
	}
	e.requestPatterns()
	if e.sent(secretInField) != nil && r.Header.Has("Job-Token") {
		e.add("short-lived", Computed, "Job-Token", "Job-Token is a token whose lifetime ends with its job")
	}
	if _, query, _ := strings.Cut(r.URL, "?"); strings.Contains(query, "&amp;") || strings.Contains(query, `\u0026`) {
		e.add("address-escaped", Computed, "address", "the address has &amp; or \\u0026 in place of &")
	}
	if method == "POST" && refreshPath.MatchString(e.target.Path) && auth != nil && auth.scheme == "bearer" {
		e.add("refresh-by-bearer", Computed, "address", "the address takes a refresh token, and the request has a token in Authorization")
	}
	if method == "HEAD" {
		e.add("method-head", Computed, "method", "the method is HEAD")
	}
	if method == "POST" && refreshPath.MatchString(e.target.Path) && auth == nil {
		e.add("refresh-address", Computed, "address", "the address takes a refresh token")
	}
	if signIn && strings.Contains(strings.ToLower(e.target.Path), "token") {
		e.add("token-address", Computed, "address", "the address is that of a token endpoint")
	}
	if auth != nil && strings.TrimSpace(auth.value) != "" {
		e.add("authorization-sent", Computed, "Authorization", "the request has an Authorization field%s", e.describe(auth))
	}
	if len(lines) > 1 {
		e.add("two-authorization", Computed, "Authorization", "the request has %d Authorization fields; one is allowed (RFC 9110 s5.3)", len(lines))
	}
	if e.sent(secretInProxyAuthorization) != nil {
		e.add("proxy-authorization-sent", Computed, "Proxy-Authorization", "the request has credentials for a proxy")
	}
	if c := e.sent(secretInField); c != nil {
		e.add("key-sent", Computed, c.place, "the request has a key in %s%s", e.quote(c.place), e.describe(c))
		e.add("key-field-sent", Computed, c.place, "the request has a key in %s", e.quote(c.place))
		if sessionField.MatchString(c.place) {
			e.add("session-field", Computed, c.place, "%s is the name of a field with a session", e.quote(c.place))
		}
	}
	for _, c := range e.credentials {
		if c.kind == secretInQuery {
			e.add("key-sent", Computed, c.place, "the address has a key in %s%s", e.quote(c.place), e.describe(&c))
			e.add("key-in-query", Computed, c.place, "a secret stands in the address: %s", e.quote(c.place))
		}
	}
	if e.sent(secretInBody) != nil {
		e.add("secret-in-body", Computed, "body", "the body has credentials")
		if i := slices.IndexFunc(e.credentials, func(c credential) bool { return tokenMember.MatchString(c.place) && c.value != "" }); i >= 0 {
			e.add("token-in-body", Computed, e.credentials[i].place, "the token stands in the body, in %s", e.quote(e.credentials[i].place))
		}
	}
	if c := e.sent(secretInCookie); c != nil {
		e.add("cookie-sent", Computed, "Cookie", "the request has %d cookies", len(cookieNames(r.Header)))
	}
	e.certificateFields()
	if r.ClientCertificate {
		e.add("certificate-sent", Computed, "TLS", "the client sent a certificate")
	}
	if _, has := e.target.User.Password(); has || e.target.User.Username() != "" {
		e.add("user-in-address", Computed, "address", "the address has a user part")
	}
	e.unsent(signIn)
	if method == "OPTIONS" && r.Header.Has("Access-Control-Request-Method") {
		e.add("preflight", Computed, "method", "the request is a preflight of a browser (Fetch s4.8)")
	} else if method == "OPTIONS" && r.Header.Has("Origin") {
		e.add("preflight", Computed, "method", "OPTIONS with Origin is a preflight of a browser (Fetch s4.8)")
	}
	if method == "CONNECT" {
		e.add("tunnel", Computed, "method", "the client asks a proxy for a tunnel (CONNECT)")
	}
	if method != "" && method != "GET" && method != "HEAD" && method != "OPTIONS" && method != "PROPFIND" {
		e.add("unsafe-method", Computed, "method", "the method %s may change something (RFC 9110 s9.2.1)", e.quote(method))
	}
	if e.seen["cookie-sent"] && e.seen["unsafe-method"] && !e.proofOfPage() {
		e.add("page-unproven", Computed, "request", "the request has a cookie, a method that changes data, and no field against forged requests")
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		e.add("origin-sent", Computed, "Origin", "a page of %s asks", e.quote(origin))
		if u, err := url.Parse(origin); err == nil && u.Host != "" && e.target.Host != "" && (!strings.EqualFold(u.Host, e.target.Host) || e.target.Scheme != "" && u.Scheme != strings.Replace(e.target.Scheme, "ws", "http", 1)) {
			e.add("cross-origin", Computed, "Origin", "Origin is %s, the request goes to %s", e.quote(origin), e.quote(e.target.Host))
		}
	}
	if site := strings.ToLower(r.Header.Get("Sec-Fetch-Site")); site == "cross-site" {
		e.add("cross-site", Computed, "Sec-Fetch-Site", "the browser says that another site caused the request")
	}
	if e.target.Scheme == "http" && !localHost(e.target.Hostname()) {
		e.add("plain-http", Computed, "address", "the address is plain http")
	}
}

// requestPatterns lists patterns of the path and of User-Agent, with the fact that each one shows.
var requestPatterns = []struct {
	pattern         *regexp.Regexp
	part, fact, say string
}{
	{clientPath, "address", "client-address", "the address is one where an OAuth client sends its own credentials"},
	{selfPath, "address", "self-address", "the address means the signed-in user"},
	{modelPath, "address", "model-address", "the address is one of a service of language models"},
	{relayPath, "address", "relay-address", "the address is that of models; gateways have it too, and use their own key at the vendor"},
	{checkPath, "address", "check-address", "the address is one for health checks"},
	{checkAgent, "User-Agent", "check-asks", "User-Agent is that of a health check"},
	{libraryAgent, "User-Agent", "agent-of-library", "User-Agent is that of a library or a tool"},
	{netrcAgent, "User-Agent", "netrc-agent", "the client is a library that reads .netrc"},
	{cliAgent, "User-Agent", "cli-agent", "the client is a program that takes its credentials from the environment, a file or a store"},
}

// requestPatterns adds the facts of the patterns that match the request.
func (e *evidence) requestPatterns() {
	parts := map[string]string{"address": e.target.Path, "User-Agent": e.request.Header.Get("User-Agent")}
	for _, p := range requestPatterns {
		if value := parts[p.part]; p.pattern.MatchString(value) {
			e.add(p.fact, Computed, p.part, "%s: %s", p.say, e.quote(value))
		}
	}
}

// libraryAgent matches the default User-Agent of libraries and tools.
var libraryAgent = regexp.MustCompile(`(?i)^(?:python-requests|python-urllib|python-httpx|aiohttp|curl|wget|go-http-client|java|okhttp|apache-httpclient|axios|node-fetch|node|undici|libwww-perl|` +
	`ruby|guzzlehttp|postmanruntime|scrapy|faraday|restsharp|dart|<script>|<default>|-)(?:[/ ]|$)`)

// selfPath matches addresses that mean the signed-in user.
var selfPath = regexp.MustCompile(`(?i)/(?:me|@me|myself|whoami|self|currentuser|current-user|userinfo)(?:[/.]|$)`)

// forgeryField matches names of fields and parameters that prove that a page of the server made the
// request.
var forgeryField = regexp.MustCompile(`(?i)csrf|xsrf|crumb|authenticity|request[-_]?verification|requesttoken|^_token$|form_key|wp-?nonce`)

// proofOfPage reports whether the request has a token against forged requests, or credentials that
// browsers do not add.
func (e *evidence) proofOfPage() bool {
	if e.seen["authorization-sent"] || e.seen["key-sent"] {
		return true
	}
	for _, f := range e.request.Header {
		if forgeryField.MatchString(f.Name) || strings.EqualFold(f.Name, "X-Requested-With") {
			return true
		}
	}
	for name := range bodyMembers(e.request) {
		if forgeryField.MatchString(name) {
			return true
		}
	}
	return forgeryField.MatchString(e.target.RawQuery)
}

// certificateFields adds facts about the fields with which a front end describes the client's
// certificate.
func (e *evidence) certificateFields() {
	for _, f := range e.request.Header {
		if !certificateField.MatchString(f.Name) {
			continue
		}
		name, value := strings.ToLower(f.Name), strings.ToLower(strings.TrimSpace(f.Value))
		verdict := strings.Contains(name, "verif") || strings.Contains(name, "status") || strings.Contains(name, "present")
		switch {
		case verdict && strings.HasPrefix(value, "failed") && strings.Contains(value, "expired"):
			e.add("certificate-past", Computed, f.Name, "the field of the front end says that the client's certificate has expired")
		case verdict && strings.HasPrefix(value, "failed"):
			e.add("certificate-untrusted", Computed, f.Name, "the field of the front end says that the client's certificate is not trusted: %s", e.quote(f.Value))
		case verdict && (value == "success" || value == "ok" || value == "true" || value == "0"):
			e.add("certificate-sent", Computed, f.Name, "the field of the front end says that the client sent a valid certificate")
		case slices.Contains([]string{"none", "", "-", "(null)", "null", "false", "no"}, value):
			e.add("certificate-none-told", Computed, f.Name, "the field %s of the front end says that the client sent no certificate", e.quote(f.Name))
		}
	}
}

// unsent adds the facts about credentials that are not in the request.
func (e *evidence) unsent(signIn bool) {
	r := e.request
	if r.Method == "" && r.URL == "" || !r.Whole {
		return
	}
	if r.Header.Has("Authorization") {
		return
	}
	e.add("authorization-absent", Computed, "Authorization", "the request has no Authorization field")
	for _, n := range e.c.Notes {
		switch n.ID {
		case NoteLeftOut, NoteNetrc, NotePasswordPrompt, NoteAuthMethod, NoteConfigFile, NoteProxy:
			return
		}
	}
	form := r.Method == "POST" && strings.Contains(strings.ToLower(r.Header.Get("Content-Type")), "form-urlencoded") // a form has a body
	bodyUnseen := len(r.Body) == 0 && (signIn || form)
	if e.seen["key-sent"] || e.seen["secret-in-body"] || e.seen["cookie-sent"] || e.seen["certificate-sent"] || e.seen["user-in-address"] || bodyUnseen {
		return
	}
	if e.response.Status == 407 && e.seen["proxy-authorization-sent"] {
		return // the credentials that the refusal is about
	}
	if personField(r.Header) != "" {
		return // a front end names the user
	}
	if r.Header.Has("X-Amz-Date") || r.Header.Has("DPoP") || signedAddress(e.target) || bytes.Contains(r.Body, []byte("UsernameToken")) {
		return
	}
	if refusal := e.c.Refusal(); refusal != nil && refusal.Probe == ProbeAnonymous {
		e.add("asked-anonymously", Computed, "request", "the doctor asked without credentials")
	}
	if len(r.Body) == 0 && slices.Contains([]string{"POST", "PUT", "PATCH"}, strings.ToUpper(r.Method)) ||
		socketPath.MatchString(e.target.Path) {
		e.add("body-unseen", Computed, "request", "the input does not have the body or the messages of the request, which may have credentials")
	}
	e.add("none-sent", Computed, "request", "the request has no credentials: no Authorization, Cookie, key field, key parameter or certificate")
}

// signedAddress reports whether an address has a signature.
func signedAddress(u *url.URL) bool {
	for name := range u.Query() {
		if l := strings.ToLower(name); strings.HasSuffix(l, "signature") || l == "sig" || l == "sign" && u.Query().Has("timestamp") || l == "hmac" || l == "hash" || (l == "md5" || l == "token") && u.Query().Has("expires") || edgeTokens.MatchString(l) {
			return true
		}
	}
	return false
}

// keyInQuery reports whether an address has a parameter with a secret.
func keyInQuery(u *url.URL) bool {
	for name := range u.Query() {
		if queryNames.MatchString(name) {
			return true
		}
	}
	return false
}

// edgeTokens matches parameters of content networks that hold begin, end and signature in one
// value.
var edgeTokens = regexp.MustCompile(`^(?:hdnts|hdnea|hdntl|__token__|__gda__|hdnt)$`)

// localHost reports whether a name means this machine or is a private address.
func localHost(name string) bool {
	return name == "localhost" || strings.HasSuffix(name, ".localhost") || name == "::1" || strings.HasPrefix(name, "127.")
}

// describe returns scheme, kind and length of a credential, for a fact.
func (e *evidence) describe(c *credential) string {
	var parts []string
	if c.scheme != "" {
		parts = append(parts, "scheme "+e.quote(c.scheme))
	}
	switch {
	case c.masked:
		parts = append(parts, "masked in the input")
	case c.token != nil:
		parts = append(parts, fmt.Sprintf("a JWT of %d octets", len(c.value)))
	case c.shape != nil:
		parts = append(parts, fmt.Sprintf("%s, %d octets", c.shape.kind, len(c.value)))
	default:
		parts = append(parts, fmt.Sprintf("%d octets", len(c.value)))
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

// credentialFacts adds the facts about the form and the kind of each secret.
func (e *evidence) credentialFacts() {
	tokens := map[string]bool{} // places of access tokens
	for i := range e.credentials {
		c := &e.credentials[i]
		switch c.kind {
		case secretInAuthorization, secretInProxyAuthorization:
			e.fieldForm(c)
		case secretInField:
			e.valueForm(c)
		case secretAlone:
			e.valueForm(c)
		}
		if c.masked {
			e.add("masked", Computed, c.place, "the input masks the secret")
		}
		if c.mark != "" && !formMark.MatchString(c.mark) && (describes(c.mark) == "" || c.kind != secretInAuthorization && c.kind != secretInField || c.scheme == "basic") {
			e.words = append(e.words, newPassage(c.place, c.mark, byPerson))
		}
		if c.scheme == "bearer" || c.scheme == "dpop" || c.kind == secretInQuery && strings.EqualFold(c.place, "parameter access_token") ||
			c.place == "body member access_token" && strings.Contains(strings.ToLower(e.request.Header.Get("Content-Type")), "form-urlencoded") {
			tokens[c.place] = true
		}
		if c.scheme != "" && c.kind != secretAlone {
			e.add(c.scheme+"-sent", Computed, c.place, "the scheme sent is %s", e.quote(c.scheme))
		}
		e.kindOf(c)
		e.markFacts(c)
		e.cutUserName(c)
	}
	if len(tokens) > 1 {
		e.add("two-tokens", Computed, "request", "the request has an access token in two places (RFC 6750 s2)")
	}
	if e.has("authorization-sent", "key-field-sent") {
		e.add("key-beside-authorization", Computed, "request", "the request has an Authorization field and a key field")
	}
}

// formMark matches words in place of a secret that tell only its form.
var formMark = regexp.MustCompile(`(?i)^(?:base64|b64|hex|uuid|jwt|opaque|token|key|value|id|secret|n|s|t|u:p)(?: (?:base64|hex|digits?))?$`)

// invisible reports a character that does not show: a blank of another kind, a BOM, a mark of
// direction.
func invisible(r rune) bool {
	return r != ' ' && unicode.IsSpace(r) || unicode.Is(unicode.Cf, r) || unicode.IsControl(r)
}

// valueForm looks at the octets of a secret and reports whether it is well-formed.
func (e *evidence) valueForm(c *credential) bool {
	value, at := c.value, c.place
	raw := value
	if c.raw != "" {
		raw = c.raw
	}
	bare := strings.TrimSpace(value)
	switch {
	case bare == "":
		if c.kind == secretInField {
			e.add("empty-credential", Computed, at, "the field %s is empty", e.quote(at))
		}
		return false
	case emptyPrinted.MatchString(bare) && c.shape == nil:
		e.add("placeholder-word", Computed, at, "the secret is %s, the printed form of a missing value or the name of a stored secret", e.quote(bare))
		return false
	case c.unset && placeholderShape.MatchString(bare):
		e.add("placeholder-mark", Computed, at, "the shell puts a variable in: %s", e.quote(bare))
	case !c.masked && c.shape == nil && placeholderShape.MatchString(bare):
		e.add("placeholder-word", Computed, at, "the secret is %s: the word of an example or of an empty variable", e.quote(bare))
		if maybeCoverUp.MatchString(bare) {
			e.add("placeholder-or-cover", Computed, at, "the user can have written %s in place of a secret", e.quote(bare))
		}
		return false
	case c.masked && placeholderShape.MatchString(bare):
		e.add("placeholder-mark", Computed, at, "%s is the mark of an example, or the input masks the secret", e.quote(bare))
	}
	if exampleShape.MatchString(bare) {
		e.add("placeholder-mark", Computed, at, "%s is the word of an example, or the input masks the secret", e.quote(bare))
		c.masked = true
	}
	plain := maskShape.ReplaceAllString(raw, "")
	if printedValue.MatchString(bare) {
		e.add("stray-octets", Computed, at, "the secret has the name of a type around it, as programs print values")
		return false
	}
	good := true
	stray := func(id, format string, args ...any) {
		good = false
		e.add("stray-octets", Computed, at, format, args...)
		e.add(id, Computed, at, format, args...)
	}
	if i := strings.IndexFunc(plain, invisible); i >= 0 {
		r, _ := utf8.DecodeRuneInString(plain[i:])
		stray("invisible-character", "an invisible character (U+%04X) stands in the secret", r)
	}
	if edge := strings.TrimSpace(plain); len(edge) > 1 && strings.ContainsRune("\"'`“”‘’", firstRune(edge)) {
		stray("quote-at-edge", "a quotation mark stands at the edge of the secret")
	} else if len(edge) > 1 && strings.ContainsRune("\"'`“”‘’", lastRune(edge)) && !strings.Contains(edge, "=\"") {
		stray("quote-at-edge", "a quotation mark stands at the edge of the secret")
	}
	if i := strings.IndexFunc(plain, func(r rune) bool { return r > unicode.MaxASCII && !invisible(r) }); i >= 0 && !strings.ContainsRune("…•“”‘’", []rune(plain[i:])[0]) {
		stray("octet-outside-ascii", "octet %d of the secret is not ASCII", i+1)
	}
	if strings.Contains(plain, "\\n") || strings.Contains(plain, "\\r") || strings.Contains(plain, "\\u00") {
		stray("escaped-line-end", `a line end written as \n stands in the secret`)
	}
	if e.seen["quirk-takes-escapes"] || c.scheme == "sharedaccesssignature" { // its parameters are %-escaped
		return good
	}
	if escapeOfEdge.MatchString(plain) {
		stray("percent-escape", "a %%-escape stands in the secret")
	}
	if strings.Contains(plain, "\x1b[") || strings.Contains(plain, "[0m") {
		stray("colour-code", "a colour code of a terminal stands in the secret")
	}
	return good
}

// firstRune returns the first rune of a text.
func firstRune(s string) rune { r, _ := utf8.DecodeRuneInString(s); return r }

// lastRune returns the last rune of a text.
func lastRune(s string) rune { r, _ := utf8.DecodeLastRuneInString(s); return r }

// fieldForm looks at the form of an Authorization field (RFC 9110 s11.4).
func (e *evidence) fieldForm(c *credential) {
	at := c.place
	value := strings.TrimSpace(c.value)
	if c.scheme == "" {
		e.schemeless(c, value)
		return
	}
	if name, ok := strings.CutSuffix(c.scheme, ":"); ok {
		e.add("scheme-colon", Computed, at, "a colon follows the scheme %s; a blank belongs there", e.quote(name))
		c.scheme = name
	}
	if value == "" {
		e.add("empty-credential", Computed, at, "nothing follows the scheme %s", e.quote(c.scheme))
		return
	}
	if value[0] == '{' && strings.Contains(value, `":`) && (c.scheme == "bearer" || c.scheme == "token") {
		e.add("structure-as-secret", Computed, at, "the value behind the scheme is a JSON object")
		return
	}
	if c.place == "Authorization" && strings.HasPrefix(e.request.Header.Get("Authorization"), c.scheme+" ") && (c.scheme == "bearer" || c.scheme == "basic") {
		e.add("scheme-lower-case", Computed, at, "the scheme is written %s; some servers take it with a capital only, although case does not matter (RFC 9110 s11.1)", e.quote(c.scheme))
	}
	if !e.valueForm(c) {
		e.basicForm(c, value)
		return
	}
	first, rest, more := strings.Cut(value, " ")
	if more && slices.Contains(schemes, strings.ToLower(first)) {
		e.add("scheme-twice", Computed, at, "a second scheme, %s, stands where the secret belongs", e.quote(first))
		return
	}
	switch c.scheme {
	case "basic":
		e.basicForm(c, value)
	case "bearer", "token", "dpop", "apikey", "api-key", "jwt", "bot", "ssws", "key":
		plain := strings.TrimSpace(maskShape.ReplaceAllString(value, ""))
		if more && !c.masked && strings.TrimSpace(rest) != "" && !strings.ContainsAny(value, "=,") {
			e.add("stray-octets", Computed, at, "a blank stands in the secret")
		} else if plain != "" && !more && !c.unset && !tokenShape.MatchString(plain) && !strings.ContainsAny(plain, `%"'`) {
			e.add("not-token68", Computed, at, "the secret has octets that a token cannot have (RFC 9110 s11.2)")
		}
		e.tokenForm(c, value)
	case "digest", "hmac", "signature", "oauth", "hawk", "mac":
		plain := strings.NewReplacer("...", "", "<", "", ">", "").Replace(c.scheme + " " + value)
		if _, err := durward.ParseCredentials(strings.TrimRight(plain, ", ")); err != nil && !c.masked {
			e.add("not-parameters", Computed, at, "the parameters do not parse (RFC 9110 s11.4): %s", e.quote(err.Error()))
		}
	}
}

// schemeless adds facts about an Authorization field without a known scheme.
func (e *evidence) schemeless(c *credential, value string) {
	if value == "" {
		e.add("empty-credential", Computed, c.place, "the field is empty")
		return
	}
	lower := strings.ToLower(value)
	for _, s := range schemes {
		if rest, ok := strings.CutPrefix(lower, s); ok && len(rest) > 6 && rest[0] != '=' && len(s) > 4 && !gluedNot[s] && c.shape == nil {
			e.add("scheme-glued", Computed, c.place, "no blank follows the scheme %s", s)
			return
		}
	}
	if !e.valueForm(c) {
		return
	}
	if m := proxmoxToken.FindStringSubmatch(value); m != nil { // a scheme with an equals sign in the place of the blank
		if !c.masked && !proxmoxValue.MatchString(m[1]) {
			e.add("not-parameters", Computed, c.place, "the token has not the form USER@REALM!NAME=SECRET")
		}
		return
	}
	switch {
	case c.token != nil || c.shape != nil && !strings.Contains(value, " "):
		e.add("token-without-scheme", Computed, c.place, "the field has a token and no scheme")
		e.add("scheme-missing", Computed, c.place, "the field has no scheme")
	case c.masked && (jwtMark.MatchString(c.mark) || strings.HasPrefix(value, "eyJ")):
		e.add("token-without-scheme", Computed, c.place, "the field has a token and no scheme")
		e.add("scheme-missing", Computed, c.place, "the field has no scheme")
	default:
		e.add("scheme-missing", Computed, c.place, "the field has no scheme")
		if wordAlone.MatchString(value) {
			e.add("word-for-secret", Computed, c.place, "the field has a word of the program in place of credentials: %s", e.quote(value))
		}
		if parametersAlone.MatchString(value) {
			e.add("parameters-alone", Computed, c.place, "the field begins with a parameter, the scheme before it is missing")
		}
		if !strings.ContainsAny(value, " %=&:") {
			e.add("one-word", Computed, c.place, "the field has one word")
		}
	}
}

// parametersAlone matches parameters of credentials without a scheme before them.
var parametersAlone = regexp.MustCompile(`^[A-Za-z][\w-]*="[^"]*"\s*,\s*[A-Za-z][\w-]*="`)

// wordAlone matches words that programs write into Authorization if they have no credentials.
var wordAlone = regexp.MustCompile(`^(?i:anonymous|none|guest|public|unauthenticated|no-?auth|disabled|false|true)$`)

// gluedNot are schemes with names that also begin ordinary tokens.
var gluedNot = map[string]bool{"token": true, "session": true, "client": true, "oauth": true, "flyv1": true, "apikey": true, "signature": true, "mutual": true}

// basicForm adds facts about the token68 of Basic (RFC 7617 s2).
func (e *evidence) basicForm(c *credential, value string) {
	if c.scheme != "basic" {
		return
	}
	at := c.place
	if c.masked {
		if strings.Contains(maskShape.ReplaceAllString(value, ""), ":") {
			e.add("basic-not-encoded", Computed, at, "user name and password are in plain text, not in base64")
		}
		return
	}
	if strings.HasPrefix(value, "klarna_") { // Klarna takes its keys behind Basic as they are
		return
	}
	octets, err := decodeBasic(value)
	if err != nil {
		if user, _, ok := strings.Cut(value, ":"); ok && user != "" {
			e.add("basic-not-encoded", Computed, at, "user name and password are in plain text, not in base64")
		}
		e.add("basic-not-base64", Computed, at, "the value of Basic is not base64 (RFC 7617 s2)")
		return
	}
	padding := len(value) - len(strings.TrimRight(value, "="))
	if want := (4 - len(strings.TrimRight(value, "="))%4) % 4; padding != want {
		e.add("basic-padding", Computed, at, "base64 ends with %d equals signs, %d belong there (RFC 4648 s3.2)", padding, want)
	}
	decoded := string(octets)
	if !strings.Contains(decoded, ":") {
		e.add("basic-no-colon", Computed, at, "no colon separates user and password (RFC 7617 s2)")
	}
	if strings.HasSuffix(decoded, "\n") || strings.HasSuffix(decoded, "\r") {
		e.add("stray-octets", Computed, at, "the password ends with a line end, as echo writes it")
	}
	user, pass, _ := strings.Cut(decoded, ":")
	for _, part := range []struct{ name, value string }{{"user name", user}, {"password", strings.TrimRight(pass, "\r\n")}} {
		v := part.value
		switch {
		case len(v) > 2 && (v[0] == '"' && v[len(v)-1] == '"' || v[0] == '\'' && v[len(v)-1] == '\''):
			e.add("stray-octets", Computed, at, "the %s stands in quotation marks", part.name)
		case v != strings.TrimSpace(v):
			e.add("stray-octets", Computed, at, "a blank stands at the edge of the %s", part.name)
		case strings.IndexFunc(v, invisible) >= 0:
			e.add("stray-octets", Computed, at, "an invisible character stands in the %s", part.name)
		case escapeInside.MatchString(v):
			e.add("escape-in-password", Computed, at, "a %%-escape is in the %s; it belongs in an address and not in the field", part.name)
		case emptyShape.MatchString(v) && part.name == "password":
			e.add("placeholder-word", Computed, at, "the password is the word of an empty variable")
		}
	}
	if !utf8.ValidString(decoded) && strings.Contains(decoded, ":") {
		e.add("basic-not-utf8", Computed, at, "user name or password has characters outside of ASCII that are not in UTF-8 (RFC 7617 s2.1)")
	} else if strings.IndexFunc(decoded, func(r rune) bool { return r > unicode.MaxASCII && unicode.IsPrint(r) }) >= 0 && utf8.ValidString(decoded) {
		e.add("basic-outside-ascii", Computed, at, "user name or password has characters outside of ASCII, in UTF-8 (RFC 7617 s2.1)")
	}
	if hashForm.MatchString(pass) {
		e.add("password-is-hash", Computed, at, "the password has the form of a password hash")
	}
	if user != "" && pass == "" && strings.Contains(decoded, ":") {
		e.add("password-empty", Computed, at, "the password is empty")
		if len(user) > 2 && plainName.MatchString(user) && c.shape == nil {
			e.add("name-without-password", Computed, at, "the password behind the user name is empty")
		}
	}
	if user == "" && pass == "" && strings.Contains(decoded, ":") {
		e.add("empty-credential", Computed, at, "user and password are empty")
		e.add("pair-empty", Computed, at, "user and password are empty")
	}
}

// cutUserName adds a fact about a user name that the shell shortened.
func (e *evidence) cutUserName(c *credential) {
	for _, p := range e.products {
		for _, want := range p.Users {
			if c.scheme == "basic" && strings.EqualFold(c.user, want.Cut) {
				e.add("user-cut", Computed, c.place, "the user name ends where %s has %q: the shell took the rest", p.Name, want.Mark)
			}
		}
	}
}

// tokenForm adds facts about the parts of a token.
func (e *evidence) tokenForm(c *credential, value string) {
	value = strings.Trim(value, `"'`)
	parts := strings.Split(value, ".")
	switch {
	case c.token != nil && c.masked:
		e.add("jwt-sent", Computed, c.place, "the input shows the token decoded")
	case c.token != nil && len(parts) == 3:
		e.add("jwt-sent", Computed, c.place, "the token is a JWT")
		if parts[2] == "" && !strings.EqualFold(text(c.token.header, "alg"), "none") {
			e.add("jwt-cut", Computed, c.place, "the signature of the JWT is empty")
		}
	case c.token != nil:
		e.add("jwt-cut", Computed, c.place, "the JWT has %d parts, 3 belong there (RFC 7515 s7.1): it was cut off", len(parts))
	case strings.HasPrefix(value, "eyJ") && len(parts) != 5 && !c.masked:
		e.add("jwt-cut", Computed, c.place, "it begins as a JWT and cannot be decoded: it has %d parts, or one is damaged", len(parts))
	case len(parts) == 5 && strings.HasPrefix(value, "eyJ"):
		e.add("jwe-sent", Computed, c.place, "the token is encrypted (RFC 7516): only its recipient can read it")
	case !c.masked:
		e.add("opaque-sent", Computed, c.place, "the token is opaque, not a JWT")
	case strings.Contains(strings.ToLower(c.mark), "jwt"):
		e.add("jwt-sent", Computed, c.place, "the input says that the token is a JWT")
	}
}
