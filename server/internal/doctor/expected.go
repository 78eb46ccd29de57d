package doctor

import (
	"regexp"
	"slices"
	"strings"
)

// This file adds facts about the form of a request, and orders the likely causes of a refusal that
// gives no reason by that form.

// Patterns of words in place of a secret, of addresses and of fields, which tell the kind of the
// request.
// signatureParts lists the parameters of a signed address (AWS Signature Version 4).
var signatureParts = []string{"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Expires"}

var (
	markNew      = regexp.MustCompile(`(?i)\b(?:fresh|freshly|just|newly|new)\b`)
	markKey      = regexp.MustCompile(`(?i)\bkeys?\b`)
	markAppPass  = regexp.MustCompile(`(?i)\bapp(?:lication)?[- ]?(?:specific )?password|\buser[- ]token\b|(?:^|[:<])(?:[a-z0-9]{4}[ -]){3,5}[a-z0-9]{4}(?:$|>)`)
	markAccount  = regexp.MustCompile(`(?i)\b(?:account|log-?in|sign-?on|sso|own|web|normal|its|their) password`)
	markToken    = regexp.MustCompile(`(?i)\b(?:tokens?|pat|keys?|secret)\b`)
	gitPath      = regexp.MustCompile(`/info/refs$|/git-(?:upload|receive)-pack$|/info/lfs/`)
	packageFile  = regexp.MustCompile(`(?i)\.(?:pom|jar|war|aar|module|whl|tgz|tar\.gz|nupkg|gem|crate|deb|rpm|zip)$|/(?:maven|nexus|artifactory|repository|simple|legacy|gems|nuget|staging)\b`)
	packageAgent = regexp.MustCompile(`(?i)^(?:npm|pnpm|yarn|apache-maven|gradle|twine|poetry|uv|cargo|nuget|ruby|bundler|composer)\b`)
	packageHost  = regexp.MustCompile(`(?i)(?:^|\.)(?:registry\.npmjs\.org|pypi\.org|rubygems\.org|crates\.io|nuget\.org|npm\.pkg\.github\.com)$`)
	fileRealm    = regexp.MustCompile(`(?i)^(?:registry realm|prometheus|basic)\b`) // beside those of realmOfFront
	modelPath    = regexp.MustCompile(`(?i)/(?:chat/completions|completions|embeddings|responses|messages|models)$|:generateContent$`)
	putMissing   = regexp.MustCompile(`(?i)\b404\b.{0,20}\bPUT\b|\bPUT\b.{0,200}\b404\b`)
	privateName  = regexp.MustCompile(`(?i)(?:^|\.)(?:example(?:\.(?:com|org|net))?|test|invalid|local|lan|internal|intranet|corp|home|arpa|private)$`)
	edgeServer   = regexp.MustCompile(`^(?:cloudflare|awselb|akamai|ecd|ecs |cloudfront|sucuri|imperva|incapsula|ddos-guard|qrator|fastly|varnish)`)
	// signatureName and momentName match names of fields and parameters with the signature and the
	// time of a signed request.
	signatureName = regexp.MustCompile(`^(?:x-|[a-z]+-)*(?:sign|signature|hmac|digest-sign|access-sign|api-sign|apisign)$`)
	momentName    = regexp.MustCompile(`^(?:x-|[a-z]+-)*(?:t|ts|time|timestamp|nonce|date|access-timestamp|expires|recvwindow)$`)
	nameOfToken   = regexp.MustCompile(`^(?:x-|[a-z0-9]+[-_])*(?:token|jwt|bearer[-_]?token|access[-_]?token|auth(?:entication|orization)?[-_]?token|session[-_]?token)$`)
	nameOfSession = regexp.MustCompile(`^_?(?:x-|[a-z]+-)*(?:sid|session|session-?_?id|session-?_?key|phpsessid|jsessionid)$`)
	browserAgent  = regexp.MustCompile(`^Mozilla/`)
)

// formFacts adds the facts that tell the form of the request. If the answer gives no reason, the
// likely causes depend on it.
func (e *evidence) formFacts() {
	path, agent := e.target.Path, e.request.Header.Get("User-Agent")
	for i := range e.credentials {
		c := &e.credentials[i]
		text := c.mark
		if c.scheme == "basic" && text == "" {
			text = c.pass
		}
		if text == "" || c.kind == secretInCookie {
			continue
		}
		if c.scheme == "basic" && markAppPass.MatchString(text) {
			e.add("app-password-sent", Computed, c.place, "the input says that the secret is an app password")
		} else if c.scheme == "basic" && markAccount.MatchString(text) {
			e.add("told-account-password", Said, c.place, "the input says that the secret is the password of the account")
		}
		if c.scheme == "basic" && c.mark != "" && markKey.MatchString(text) {
			e.add("key-as-password", Said, c.place, "the input says that the password is a key")
		}
		if c.mark != "" && markNew.MatchString(text) {
			e.add("told-new", Said, c.place, "the input says that the secret is new")
		}
		if c.scheme == "basic" && c.mark != "" && markToken.MatchString(text) && !strings.Contains(strings.ToLower(text), "password") {
			e.add("password-is-token", Said, c.place, "the input says that the password is a token: %s", e.quote(text))
		}
	}
	if e.seen["secret-is-token"] && e.seen["basic-sent"] {
		e.add("password-is-token", Computed, "Authorization", "the password has the form of a token")
	}
	if gitPath.MatchString(path) || strings.HasPrefix(agent, "git/") {
		e.add("git", Computed, "address", "the request is one of git over HTTP")
	}
	if strings.HasPrefix(path, "/v2/") && !strings.Contains(path, "/oauth") && (path == "/v2/" || strings.Contains(path, "/manifests/") || strings.Contains(path, "/blobs/") || strings.Contains(path, "/tags/")) {
		e.add("registry-address", Computed, "address", "the address is one of a container registry")
	}
	if e.seen["unsafe-method"] && (packageFile.MatchString(path) || packageAgent.MatchString(agent) || packageHost.MatchString(e.target.Hostname())) || strings.Contains(e.target.RawQuery, "service=git-receive-pack") || strings.HasSuffix(path, "/git-receive-pack") {
		e.add("upload", Computed, "request", "the request uploads a package or pushes")
	}
	if browserAgent.MatchString(agent) || e.seen["origin-sent"] {
		e.add("browser", Computed, "request", "User-Agent or Origin is that of a browser")
	}
	if _, ok := bodyMembers(e.request)["client_assertion"]; ok {
		e.add("client-assertion", Computed, "body", "the body has a client_assertion, a signed token in place of the secret (RFC 7523 s2.2)")
	}
	members := bodyMembers(e.request)
	if members["password"]+members["passwd"]+members["pw"] != "" && members["grant_type"] == "" && members["client_id"] == "" && members["client_secret"] == "" {
		e.add("person-signs-in", Computed, "body", "the body has a password and no parameter of OAuth")
	}
	var signature, moment bool
	for _, f := range e.request.Header {
		name := strings.ToLower(f.Name)
		signature, moment = signature || signatureName.MatchString(name), moment || momentName.MatchString(name)
		if nameOfToken.MatchString(name) && f.Value != "" {
			e.add("token-field", Computed, f.Name, "the request has a token in %s", e.quote(f.Name))
		}
		if nameOfSession.MatchString(name) && f.Value != "" {
			e.add("session-in-field", Computed, f.Name, "the request has the identifier of a session in %s", e.quote(f.Name))
		}
	}
	for name, values := range e.target.Query() {
		name = strings.ToLower(name)
		if nameOfSession.MatchString(name) && values[0] != "" {
			e.add("session-in-field", Computed, "address", "the request has the identifier of a session in %s", e.quote(name))
		}
		signature, moment = signature || signatureName.MatchString(name), moment || momentName.MatchString(name)
	}
	if signature && moment && !e.seen["signed-address"] && !e.seen["signed-request"] && !e.seen["webhook-signed"] {
		e.add("signed-fields", Computed, "request", "the request has fields or parameters for a signature and for a time")
	}
	for _, name := range signatureParts {
		if q := e.target.Query(); (q.Has("X-Amz-Signature") || q.Has("X-Amz-Credential")) && !q.Has(name) && e.response.Status >= 400 && strings.Contains(string(e.response.Body[:min(len(e.response.Body), 8<<10)]), name) {
			e.add("signature-part-absent", Computed, "address", "the response names %s, and the signed address has no such parameter", e.quote(name))
		}
	}
	if auth := e.sent(secretInAuthorization); auth != nil && auth.scheme == "oauth" {
		e.add("oauth1-sent", Computed, auth.place, "the request is signed by OAuth 1.0 (RFC 5849 s3.4)")
	}
	if host := e.target.Hostname(); publicHost(host) && !privateName.MatchString(host) {
		e.add("public-service", Computed, "address", "%s is a public host name", e.quote(host))
	}
	if e.seen["hosted-service"] {
		e.add("public-service", Computed, "address", "%s is the address of a service", e.quote(e.target.Host))
	}
	if server := strings.ToLower(e.response.Header.Get("Server")); edgeServer.MatchString(server) && !strings.Contains(strings.ToLower(e.response.Header.Get("Content-Type")), "json") {
		e.add("edge-in-front", Computed, "Server", "Server is %s, which can answer in place of the application", e.quote(server))
	}
	if e.target.Port() == "10250" {
		e.add("kubelet-address", Computed, "address", "the port 10250 is that of kubelets, which take tokens only if a webhook for them is set")
	}
	if localHost(e.target.Hostname()) {
		e.add("local-address", Computed, "address", "the address is that of the same machine")
	}
	if auth := e.sent(secretInAuthorization); auth != nil && auth.token != nil && strings.HasPrefix(text(auth.token.header, "alg"), "HS") {
		e.add("shared-key-token", Computed, auth.place, "alg of the token is one of a shared secret")
	}
	for _, c := range e.challenges {
		if realm, _ := c.Param("realm"); strings.EqualFold(c.Scheme, "Basic") && (realmOfFront.MatchString(realm) || fileRealm.MatchString(realm)) {
			e.add("password-file", Computed, e.challengeField(), "the realm %s is a usual one of servers with a file of passwords", e.quote(realm))
		}
	}
	if e.seen["front-page"] && e.seen["basic-sent"] || e.seen["front-caddy"] || e.seen["front-traefik"] {
		e.add("password-file", Computed, "response", "the response is one of a front end that keeps a file of passwords")
	}
	body := e.response.Body[:min(len(e.response.Body), 8<<10)]
	if text := string(body); strings.Contains(text, `"kind"`) && strings.Contains(text, `"Status"`) && strings.Contains(text, `"reason"`) {
		e.add("kube-status", Computed, "body", "the body is a Status object of Kubernetes")
	}
	if text := string(e.request.Body) + string(body); strings.Contains(text, "UsernameToken") || strings.Contains(text, "InvalidSecurity") || strings.Contains(text, "wsse:") {
		e.add("message-security", Computed, "body", "the body has elements of WS-Security")
	}
	if sent := string(e.request.Body); e.seen["none-sent"] && strings.Contains(sent, "Envelope") && !strings.Contains(sent, "Security") && (strings.Contains(string(body), "NotAuthorized") || strings.Contains(string(body), "wsse:")) {
		e.add("message-unsigned", Computed, "body", "the message of the request has no element Security (WS-Security s5); the answer asks for one")
	}
	if auth := e.sent(secretInAuthorization); auth != nil && auth.scheme == "basic" && auth.mark == "" && auth.user == "" && auth.pass != "" {
		e.add("user-empty", Computed, auth.place, "the user name of Basic is empty")
	}
	if auth := e.sent(secretInAuthorization); auth != nil && auth.scheme == "basic" && strings.Contains(auth.user+auth.mark, `\`) {
		e.add("domain-user", Computed, auth.place, "the user name has a domain before it")
	}
	for segment := range strings.SplitSeq(path, "/") {
		if e.seen["none-sent"] && (segment == "undefined" || segment == "null" || segment == "None") {
			e.add("path-placeholder", Computed, "address", "the address has %s in place of a value", e.quote(segment))
		}
	}
	if e.seen["negotiate-sent"] && slices.ContainsFunc(e.words, func(w passage) bool { return strings.Contains(strings.ToLower(w.text), "invalid basic auth") }) {
		e.add("basic-complained", Computed, "response", "the server complains of Basic, and the request has Negotiate")
	}
	if slices.ContainsFunc(e.words, func(w passage) bool { return w.by != byPerson && putMissing.MatchString(w.text) }) || slices.ContainsFunc(e.c.Log[:min(len(e.c.Log), maxLogLines)], putMissing.MatchString) {
		e.add("upload", Computed, "log", "a line of the client names an upload that was answered 404")
		e.add("told-404", Computed, "log", "a line of the client names the status 404")
	}
}

// expectation is a row of expectations: the causes that are likely in one form of refusal, the
// likeliest first.
type expectation struct {
	first  string // the cause that strong facts speak for; empty if they speak for none
	facts  string // IDs of the form, as in a rule
	causes string
}

// expectations is the table of base rates. The first row that holds counts. Rows without a first
// cause are for refusals that give no reason; the others name the causes that look the same as the
// first one, and kin follows them. The rows come from counts of causes in threads of issues.
var expectations = []expectation{
	{"", "status-407 proxy-authorization-sent", "wrong-secret not-permitted scheme-unusable"},
	{"", "ticket-sent", "kerberos scheme-unusable clock-wrong"},
	{"", "message-security", "wrong-secret clock-wrong account-locked"},
	{"", "signed-address key-sent status-401", "wrong-secret request-signature-mismatch clock-wrong"},
	{"", "signed-address status-403", "request-signature-mismatch expired clock-wrong"},
	{"", "signed-fields", "wrong-secret request-signature-mismatch clock-wrong"},
	{"", "webhook-signed", "request-signature-mismatch clock-wrong server-misconfigured"},
	{"", "oauth1-sent status-401", "request-signature-mismatch clock-wrong wrong-secret"},
	{"", "signed-request status-401", "request-signature-mismatch clock-wrong wrong-secret"},
	{"", "signed-request status-403", "not-permitted request-signature-mismatch clock-wrong"},
	{"", "websocket status-403", "cross-site-refused not-permitted wrong-secret"},

	// The input says that the secret is good.
	{"", "said-after-failures", "account-locked rate-limited network-not-allowed"},
	{"", "said-good basic-sent status-401 password-file", "server-store-mangled two-sign-ins-one-field not-permitted"},
	{"", "said-good basic-sent status-401 scheme-offered", "server-store-mangled app-password-needed account-locked"},
	{"", "said-good basic-sent status-401", "app-password-needed header-stripped account-locked"},
	{"", "sign-in-address said-good", "account-locked account-not-active second-factor-owed"},
	{"", "sign-in-address status-401 !authorization-sent !token-address", "wrong-secret account-locked outage-as-refusal"},
	{"", "said-good key-sent status-401", "header-stripped upstream-refused network-not-allowed"},
	{"", "said-good jwt-sent status-401", "header-stripped outage-as-refusal server-misconfigured"},
	{"", "said-good bearer-sent status-401", "header-stripped upstream-refused outage-as-refusal"},
	{"", "said-good unsafe-method basic-sent status-403", "not-permitted cross-site-refused network-not-allowed"},
	{"", "said-worked bearer-sent status-401", "revoked expired unknown-signing-key"},
	{"", "said-good status-403 front-page", "edge-refused network-not-allowed not-permitted"},
	{"", "said-good status-403", "not-permitted network-not-allowed rate-limited"},

	{"", "basic-sent status-401 said:login no-challenge", "header-stripped wrong-secret app-password-needed"},
	{"", "bearer-sent status-401 said:login no-challenge !jwt-sent", "wrong-secret header-stripped expired"},
	{"", "cli-agent status-401", "wrong-secret credentials-not-chosen expired"},
	{"", "digest-sent status-401", "wrong-secret digest-answer-wrong account-locked"},
	{"", "jwt-sent status-401 told-new !mcp", "clock-wrong unknown-signing-key wrong-audience"},
	{"", "bearer-sent status-401 kubelet-address", "server-misconfigured wrong-scheme expired"},
	{"", "jwt-sent status-401 worked-before", "expired revoked bad-signature"},
	{"", "jwt-sent status-401 mcp", "wrong-audience expired wrong-issuer"},
	{"", "jwt-sent status-401 registry-address", "expired wrong-issuer unknown-signing-key"},
	{"", "jwt-sent status-401 local-address exp-ahead !shared-key-token", "wrong-issuer wrong-audience bad-signature"},
	{"", "jwt-sent status-401 local-address", "expired bad-signature server-misconfigured"},
	{"", "jwt-sent status-401 shared-key-token", "bad-signature expired server-store-mangled"},
	{"", "jwt-sent status-401 kube-status", "expired revoked unknown-signing-key"},
	{"", "jwt-sent status-401 exp-ahead", "wrong-issuer wrong-audience bad-signature"},
	{"", "jwt-sent status-401 public-service", "expired wrong-audience wrong-issuer"},
	{"", "jwt-sent status-401", "expired bad-signature wrong-issuer"},
	{"", "bearer-sent status-401 registry-address !told-new", "expired wrong-issuer unknown-signing-key"},
	{"", "bearer-sent status-401 told-new !mcp", "clock-wrong wrong-audience not-yet-valid"},
	{"", "bearer-sent status-401 secret-is-key public-service", "wrong-secret wrong-place revoked"},
	{"", "bearer-sent status-401 secret-is-key", "wrong-secret wrong-scheme wrong-credential-kind"},
	{"", "bearer-sent status-401 client-tool", "wrong-secret expired credentials-not-chosen"},
	{"", "bearer-sent status-401 kind-limited", "wrong-secret wrong-credential-kind expired"},
	{"", "bearer-sent status-401 mcp", "expired wrong-audience revoked"},
	{"", "bearer-sent status-401 kube-status", "expired revoked identity-unknown-here"},
	{"", "bearer-sent status-401 model-address", "wrong-secret wrong-place credentials-not-chosen"},
	{"", "bearer-sent status-401", "wrong-secret expired revoked"},
	{"", "basic-sent status-401 upload", "wrong-secret not-permitted app-password-needed"},
	{"", "basic-sent status-401 key-as-password !public-service", "wrong-secret wrong-scheme revoked"},
	{"", "basic-sent status-401 key-as-password", "wrong-secret wrong-place revoked"},
	{"", "basic-sent status-401 client-tool !git", "wrong-secret credentials-not-chosen app-password-needed"},
	{"", "basic-sent status-401 password-is-token public-service", "wrong-secret expired revoked"},
	{"", "basic-sent status-401 password-is-token", "wrong-secret expired wrong-scheme"},
	{"", "basic-sent status-401 public-service", "wrong-secret app-password-needed account-not-active"},
	{"", "basic-sent status-401 front-nginx no-challenge !password-file !public-service", "wrong-secret two-sign-ins-one-field header-stripped"},
	{"", "basic-sent status-401 front-nginx !password-file", "wrong-secret two-sign-ins-one-field app-password-needed"},
	{"", "basic-sent status-401", "wrong-secret app-password-needed server-store-mangled"},
	{"", "session-in-field", "session-ended expired wrong-secret"},
	{"", "key-sent status-401 model-address", "wrong-secret credentials-not-chosen wrong-place"},
	{"", "key-sent status-401 told-new", "wrong-secret not-yet-valid account-not-active"},
	{"", "key-sent status-401 token-field", "wrong-secret expired revoked"},
	{"", "key-sent status-401 public-service", "wrong-secret wrong-place wrong-credential-kind"},
	{"", "key-sent status-401", "wrong-secret wrong-place revoked"},
	{"", "cookie-sent status-401 cross-origin", "session-ended cookie-not-sent server-misconfigured"},
	{"", "cookie-sent status-401 unsafe-method", "session-ended cross-site-refused outage-as-refusal"},
	{"", "cookie-sent status-401", "session-ended outage-as-refusal server-misconfigured"},
	{"", "none-sent status-401 kube-status", "no-credentials client-certificate-missing expired"},
	{"", "none-sent status-401 client-tool", "no-credentials credentials-not-chosen lost-on-redirect"},
	{"", "none-sent status-401", "no-credentials cookie-not-sent credentials-not-chosen"},
	{"", "token-address !status-403", "oauth-client-refused refresh-refused required-field-missing"},
	{"", "authorization-sent status-401 scheme-missing quirk-takes-bare-token", "wrong-secret wrong-credential-kind wrong-place"},
	{"", "authorization-sent status-401 secret-is-key public-service", "wrong-secret wrong-place revoked"},
	{"", "authorization-sent status-401 scheme-missing", "prefix-missing wrong-secret wrong-credential-kind"},
	{"", "authorization-sent status-401", "wrong-secret expired revoked"},

	{"", "status-403 front-page cookie-sent unsafe-method", "cross-site-refused edge-refused not-permitted"},
	{"", "plain-http status-403 key-sent !key-field-sent !authorization-sent", "insecure-transport wrong-secret not-permitted"},
	{"", "sign-in-address status-403 edge-in-front", "edge-refused cross-site-refused account-locked"},
	{"", "sign-in-address status-403", "cross-site-refused account-locked second-factor-owed"},
	{"", "status-403 edge-in-front authorization-sent", "edge-refused not-permitted network-not-allowed"},
	{"", "status-403 edge-in-front key-sent", "edge-refused not-permitted rate-limited"},
	{"", "status-403 edge-in-front", "edge-refused network-not-allowed rate-limited"},
	{"", "status-403 front-page authorization-sent", "edge-refused network-not-allowed not-permitted"},
	{"", "status-403 front-page key-sent", "not-permitted network-not-allowed edge-refused"},
	{"", "status-403 front-page none-sent", "network-not-allowed edge-refused client-certificate-missing"},
	{"", "bearer-sent status-403 cross-origin", "not-permitted cross-site-refused insufficient-scope"},
	{"", "bearer-sent status-403 said-limited", "insufficient-scope not-permitted wrong-credential-kind"},
	{"", "bearer-sent status-403 plain-http public-service", "not-permitted insecure-transport insufficient-scope"},
	{"", "jwt-sent status-403 public-service", "not-permitted insufficient-scope wrong-credential-kind"},
	{"", "jwt-sent status-403", "not-permitted insufficient-scope identity-unknown-here"},
	{"", "bearer-sent status-403", "not-permitted insufficient-scope network-not-allowed"},
	{"", "basic-sent status-403 registry-address", "not-permitted expired wrong-secret"},
	{"", "basic-sent status-403 git upload", "not-permitted insufficient-scope credentials-not-chosen"},
	{"", "basic-sent status-403 git", "not-permitted expired insufficient-scope"},
	{"", "basic-sent status-403 password-is-token", "not-permitted insufficient-scope expired"},
	{"", "basic-sent status-403 unsafe-method", "not-permitted cross-site-refused wrong-secret"},
	{"", "basic-sent status-403", "not-permitted account-locked wrong-secret"},
	{"", "key-sent status-403 public-service", "not-permitted wrong-place wrong-secret"},
	{"", "key-sent status-403", "wrong-secret not-permitted wrong-place"},
	{"", "cookie-sent status-403 unsafe-method", "cross-site-refused not-permitted session-ended"},
	{"", "cookie-sent status-403", "not-permitted session-ended cross-site-refused"},
	{"", "none-sent status-403 unsafe-method", "no-credentials cross-site-refused network-not-allowed"},
	{"", "none-sent status-403 html-refusal", "edge-refused network-not-allowed no-credentials"},
	{"", "none-sent status-403", "no-credentials network-not-allowed edge-refused"},
	{"", "status-403 authorization-sent", "not-permitted insufficient-scope network-not-allowed"},

	{"", "upload status-404", "not-permitted insufficient-scope expired"},
	{"", "upload told-404", "not-permitted expired revoked"},
	{"", "hides status-404", "insufficient-scope not-permitted organisation-rule"},
	{"", "authorization-sent status-404", "not-permitted insufficient-scope wrong-place"},
	{"", "key-sent status-404", "not-permitted wrong-place wrong-secret"},
	{"", "said:login !status-known", "no-credentials credentials-not-chosen wrong-secret"},
	{"", "said:none !status-known", "no-credentials credentials-not-chosen wrong-secret"},
	{"", "none-sent status-400", "client-certificate-missing required-field-missing no-credentials"},
	{"", "tunnel status-403", "not-permitted network-not-allowed proxy-credentials-missing"},
	{"", "cookie-sent status-404", "session-ended not-permitted wrong-status"},
	{"", "token-address", "oauth-client-refused refresh-refused required-field-missing"},
	{"", "status-400", "malformed-credentials required-field-missing wrong-credential-kind"},
	{"", "none-sent status-404", "no-credentials wrong-status wrong-place"},
	{"", "status-5xx", "outage-as-refusal server-misconfigured upstream-refused"},

	// Strong facts speak for a first cause.
	{"wrong-secret", "proxy-authorization-sent", "not-permitted scheme-unusable"},
	{"wrong-secret", "grant-password", "account-locked account-not-active"},
	{"wrong-secret", "sign-in-address said-good", "account-locked outage-as-refusal"},
	{"wrong-secret", "sign-in-address", "account-locked outage-as-refusal"},
	{"wrong-secret", "said-good password-file", "server-store-mangled two-sign-ins-one-field"},
	{"wrong-secret", "said-good basic-sent registry-address", "server-store-mangled app-password-needed"},
	{"wrong-secret", "said-good basic-sent", "app-password-needed server-store-mangled"},
	{"wrong-secret", "basic-sent password-file", "server-store-mangled two-sign-ins-one-field"},
	{"wrong-secret", "basic-sent key-as-password", "wrong-place revoked"},
	{"wrong-secret", "basic-sent password-is-token", "expired revoked"},
	{"wrong-secret", "basic-sent front-nginx !hosted-service", "two-sign-ins-one-field app-password-needed"},
	{"wrong-secret", "basic-sent git", "app-password-needed expired"},
	{"wrong-secret", "basic-sent public-service", "app-password-needed account-not-active"},
	{"wrong-secret", "basic-sent", "app-password-needed server-store-mangled"},
	{"wrong-place", "status-404", "not-permitted insufficient-scope"},
	{"wrong-status", "to-sign-in authorization-sent", "wrong-scheme server-misconfigured"},
	{"wrong-status", "to-sign-in cookie-sent", "session-ended no-credentials"},
	{"prefix-missing", "scheme-missing", "wrong-secret wrong-credential-kind"},
	{"wrong-secret", "several-places !basic-sent !model-address", "wrong-place revoked"},
	{"wrong-secret", "key-sent token-field hosted-service", "wrong-place revoked"},
	{"wrong-secret", "key-sent token-field", "expired revoked"},
	{"wrong-secret", "key-sent !model-address", "wrong-place"},
	{"wrong-secret", "model-address", "wrong-place credentials-not-chosen"},
	{"wrong-secret", "said-worked", "revoked expired"},
	{"wrong-secret", "bearer-sent !status-403 !status-404", "expired revoked"},
	{"wrong-secret", "authorization-sent !basic-sent !digest-sent status-401", "revoked expired"},
	{"refresh-refused", "grant-jwt-bearer", "clock-wrong bad-signature"},
	{"refresh-refused", "grant-authorization_code", "oauth-client-refused expired"},
	{"oauth-client-refused", "client-assertion", "clock-wrong wrong-audience"},
	{"oauth-client-refused", "", "wrong-place expired"},
	{"not-permitted", "said-good status-403 key-sent", "network-not-allowed insufficient-scope"},
	{"not-permitted", "signed-request", "network-not-allowed insufficient-scope"},
	{"not-permitted", "jwt-sent status-401", "wrong-audience expired"},
	{"not-permitted", "hosted-service bearer-sent", "insufficient-scope organisation-rule"},
	{"insufficient-scope", "hides", "not-permitted organisation-rule"},
	{"app-password-needed", "upload", "wrong-secret not-permitted"},
	{"no-credentials", "none-sent registry-address", "credentials-not-chosen expired"},
	{"no-credentials", "none-sent client-tool", "credentials-not-chosen lost-on-redirect"},
	{"session-ended", "cookie-sent status-401 said:login", "server-misconfigured outage-as-refusal"},
	{"no-credentials", "none-sent browser", "cookie-not-sent preflight-refused"},
}

// kin are causes that often look the same as another. They fill up a short list behind it.
var kin = map[string][]string{
	"wrong-secret":               {"revoked", "wrong-place", "account-not-active"},
	"not-permitted":              {"insufficient-scope", "wrong-credential-kind", "account-not-active"},
	"no-credentials":             {"header-stripped", "cookie-not-sent", "credentials-not-chosen"},
	"header-stripped":            {"wrong-secret", "two-sign-ins-one-field", "wrong-scheme"},
	"session-ended":              {"cookie-not-sent", "outage-as-refusal", "revoked"},
	"oauth-client-refused":       {"wrong-secret", "wrong-place", "expired"},
	"expired":                    {"clock-wrong", "revoked", "session-ended"},
	"revoked":                    {"expired", "account-not-active", "wrong-secret"},
	"prefix-missing":             {"malformed-credentials", "wrong-secret", "wrong-scheme"},
	"wrong-scheme":               {"two-sign-ins-one-field", "wrong-credential-kind", "credentials-not-chosen"},
	"wrong-credential-kind":      {"not-permitted", "wrong-scheme", "insufficient-scope"},
	"malformed-credentials":      {"stray-characters", "placeholder", "ambiguous-credentials"},
	"insufficient-scope":         {"not-permitted", "wrong-credential-kind", "organisation-rule"},
	"bad-signature":              {"unknown-signing-key", "wrong-issuer", "wrong-secret"},
	"unknown-signing-key":        {"wrong-issuer", "outage-as-refusal", "bad-signature"},
	"wrong-issuer":               {"unknown-signing-key", "wrong-place"},
	"wrong-audience":             {"wrong-credential-kind", "wrong-place"},
	"request-signature-mismatch": {"clock-wrong", "wrong-secret"},
	"edge-refused":               {"network-not-allowed", "rate-limited", "not-permitted"},
	"network-not-allowed":        {"edge-refused", "not-permitted"},
	"organisation-rule":          {"not-permitted", "second-factor-owed"},
	"account-not-active":         {"not-permitted", "account-locked", "wrong-secret"},
	"account-locked":             {"account-not-active", "rate-limited", "wrong-secret"},
	"identity-unknown-here":      {"not-permitted", "account-not-active", "wrong-secret"},
	"app-password-needed":        {"second-factor-owed", "method-retired", "wrong-secret"},
	"method-retired":             {"app-password-needed", "wrong-scheme"},
	"required-field-missing":     {"malformed-credentials", "no-credentials"},
	"outage-as-refusal":          {"server-misconfigured", "upstream-refused", "wrong-secret"},
	"server-misconfigured":       {"outage-as-refusal", "not-permitted"},
	"cross-site-refused":         {"cookie-not-sent", "session-ended"},
	"kerberos":                   {"scheme-unusable", "clock-wrong"},
	"scheme-unusable":            {"kerberos", "wrong-scheme"},
	"refresh-refused":            {"revoked", "expired", "oauth-client-refused"},
	"upstream-refused":           {"header-stripped", "wrong-secret"},
	"cookie-not-sent":            {"no-credentials", "session-ended"},
	"clock-wrong":                {"not-yet-valid", "expired"},
	"not-a-jwt":                  {"wrong-credential-kind", "malformed-credentials"},
	"not-yet-valid":              {"clock-wrong"},
}

// expected returns the causes that are likely in the form of this request, the likeliest first.
func (d *diagnosis) expected(ranked []*score) (ids []string) {
	first := ""
	if len(ranked) > 0 && ranked[0].points() >= strong {
		first = ranked[0].cause.ID
	}
	for _, row := range expectations {
		if row.first != first || !d.has(strings.Fields(row.facts)...) {
			continue
		}
		for _, id := range strings.Fields(row.causes) {
			if slices.ContainsFunc(d.scores, func(s *score) bool { return s.cause.ID == id && s.vetoedBy == "" && !s.against }) {
				ids = append(ids, id)
			}
		}
		break
	}
	return ids
}
