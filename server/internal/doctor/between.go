package doctor

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Forms that relate parts of a case to each other.
var (
	secondInField   = regexp.MustCompile(`(?i),\s*(basic|bearer|digest|token|negotiate|apikey)\s+[^\s=,]+`)
	forwardPath     = regexp.MustCompile(`(?i)/(auth-request|forward-?auth|ext-authz|api/verify|oauth2/auth|outpost\.goauthentik\.io/auth)(/|$)`)
	otherChallenge  = regexp.MustCompile(`(?i)^x-.*www-authenticate$`)
	edgePage        = regexp.MustCompile(`(?i)/cdn-cgi/|cf_styles-css|used cloudflare to restrict|incapsula incident|_incapsula_resource|errors\.edgesuite\.net|awswaf|captcha-delivery|px-captcha`)
	unreadableFile  = regexp.MustCompile(`(?i)(permission denied|no such file|nonexistent|eacces|enoent|not readable|unreadable|cannot open|could not open|failed to open)`)
	secretFile      = regexp.MustCompile(`(?i)(gss_acquire_cred|keytab|htpasswd|passwd|password file|secret file|private key|\.pem\b|\.jks\b|\.p12\b|jwks\.json|credentials file)`)
	bracketedValue  = regexp.MustCompile(`^(\{[^{}]{8,}\}|<[0-9A-Fa-f-]{16,}>|\[[^\[\]]{16,}\])$`)
	quotedName      = regexp.MustCompile(`'([A-Z][A-Z_-]{3,30})'|"([A-Z][A-Z_-]{3,30})"`)
	exampleName     = regexp.MustCompile(`(TOKEN|KEY|USER|NAME|SECRET|PASSWORD|YOUR|CLIENT|ACCOUNT)`)
	certificateWish = regexp.MustCompile(`(?i)\((IN)\).*(Request CERT|certificate request)`)
	certificateMade = regexp.MustCompile(`(?i)\((OUT)\).*CERT verify`)
	aboutKey        = regexp.MustCompile(`(?i)\b(api[ -]?key|api token|access token|bearer|jwt|authorization header|basic auth)\b`)
	dpopAddress     = regexp.MustCompile(`\b(url|uri|htu|htm|method)\b.*\b(mismatch|match|invalid|differ)`)
	ticketTime      = regexp.MustCompile(`P(?:VE|BS|MG)AuthCookie=[^;]*?:([0-9A-F]{8}):`)
	schemeShown     = regexp.MustCompile("(?i)authorization[\"'`]?\\s*[:=]\\s*[\"'`]?([A-Za-z][\\w-]{2,20})\\s+[\"'`<\\[({$%*\\w.]")
	schemeQuoted    = regexp.MustCompile("(?i)(?:[\"'`<(]|\\b(?:use|with|expected|expects|prefix|scheme|must be|should be|only)\\s+)(bearer|basic|digest|token|apikey|api-key|negotiate)[\"'`> ):]")
	dpopScheme      = regexp.MustCompile(`(?i)\b(?:requires?|use|using|expects?)\b.{0,20}\bdpop (?:authentication |authorization )?scheme`)
	instructs       = regexp.MustCompile(`(?i)\b(use|using|expect\w*|must|should|format|instead|prefix\w*|only|start\w*|begin\w*|required|requires|supported|did you mean)\b`)
	jwtNamed        = regexp.MustCompile(`(?i)\bjw[tse]\b|json ?web ?token|jose|compact serialization`)
	togetherWords   = regexp.MustCompile(`(?i)\bat the same time|simultaneous|\btogether\b|\bboth\b|\bmore than one\b|\bonly one\b|\bmultiple\b|mutually|\balso (has|set|sent|present)|\bcombin|\bnot .{1,40} and .{1,40}\bboth|\bconflict`)
	originNamed     = regexp.MustCompile(`(?i)\borigins?\b`)
	userUnknown     = regexp.MustCompile(`(?i)\b(user|account|member|principal|subject|identity|profile|person|login)\b.{0,40}\b(not found|unknown|does(?: not|n't) exist|not registered|not recogni[sz]ed|no longer exists|not provisioned|not mapped)|\b(no such|unknown|unable to find|could not find|cannot find|couldn't find|no matching|no) (?:user|account|member|principal|profile)\b`)
	otherRefusal    = regexp.MustCompile(`(?i)\b(401|403|unauthorized|forbidden)\b.{0,60}\b(for url|from|returned by|by|remote|upstream|backend)\b|\b(upstream|backend|remote|downstream|provider|responded|returned)\b.{0,80}\b(401|403|unauthorized|forbidden)\b|status code (?:of )?(?:401|403)`)
	hostRefused     = regexp.MustCompile(`(?i)\b(invalid|unknown|untrusted|unexpected|disallowed|bad|forbidden|rejected) (http_?)?host(?: ?name| header)?\b|\bhost header\b.{0,30}\b(invalid|not allowed|mismatch|rejected|not permitted)`)
	refusedHost     = regexp.MustCompile(`(?i)\bhost\b.{0,80}\b(not allowed|not permitted|blocked|rejected|refused|not in|only)\b|\b(blocked|rejected|refused|disallowed)\b.{0,60}\bhost\b`)
	proofAddress    = regexp.MustCompile(`(?i)\bht[um]\b`)
	alternatives    = regexp.MustCompile(`(?i)\beither\b|\bor (?:the|your|you|it|has|is|was|were|that|does|expired|revoked|invalid|missing|not|no)\b|\b(?:may|might|could) (?:be|have|not)\b|\bpossibl[ey]\b|\bperhaps\b`)
	passwordOff     = regexp.MustCompile(`(?i)\b(password|basic)\b.{0,40}\b(disabled|not (?:allowed|enabled|permitted|available)|turned off|switched off|no longer|deprecated|removed)`)
	dpopBinding     = regexp.MustCompile(`(?i)\bdpop\b.{0,30}\b(?:binding|bound|thumbprint|jkt|jwk)\b|\bjkt\b`)
	clientUnknown   = regexp.MustCompile(`(?i)\bclient\b.{0,80}\bnot found in kerberos database|KDC_ERR_C_PRINCIPAL_UNKNOWN`)
	grantCode       = regexp.MustCompile(`(?i)\b(?:code[_ ]?verifier|pkce|auth(?:orization)? code|code_challenge|redirect[_ ]?ur[il])\b`)
	clusterName     = regexp.MustCompile(`(?i)(^|\.)(svc|local|internal|cluster)$`)
)

// ticketLife is how long a ticket of Proxmox is good.
const ticketLife = 2 * time.Hour

// claimNames are claims with the words that stand for them.
var claimNames = [][2]string{{"sub", "subject"}, {"exp", "expiration"}, {"iss", "issuer"}, {"aud", "audience"}, {"kid", "keyid"}}

// personFields are fields in which front ends tell the program behind them who signed in.
var personFields = []string{
	"X-Webauth-User", "X-Remote-User", "Remote-User", "X-Forwarded-User", "X-Forwarded-Email", "X-Auth-Request-User", "X-Auth-Request-Email",
	"X-Authentik-Username", "X-Forwarded-Preferred-Username", "Cf-Access-Jwt-Assertion", "X-Goog-Iap-Jwt-Assertion", "X-Amzn-Oidc-Data",
}

// ofToken matches words about a part of a token. They do not say that the token is missing.
var ofToken = regexp.MustCompile(`\b(?:in|from) (?:the |your )?(?:jwt|access token|id token|token)\b|\bfresh\b|\bclaims?\b|` +
	`\b(?:certificate|thumbprint|csrf|nonce|dpop|proof|subject|signature|scopes?|identification|algorithm|audience|issuer|kid|key ?set|jwks?|signing key|(?:matching|applicable|suitable) key)\b|\bcontain\w* no\b|` +
	`\bprovider\b|\bkeyfunc\b|\bkeys tried\b`)

// betweenFacts adds facts about what was sent against what was said, offered or accepted before.
func (e *evidence) betweenFacts() {
	r := e.request
	auth := e.sent(secretInAuthorization)
	if auth != nil {
		if m := secondInField.FindStringSubmatch(r.Header.Get("Authorization")); m != nil && auth.scheme != "digest" && auth.scheme != "negotiate" {
			e.add("two-in-one-field", Computed, auth.place, "the field has the credentials of two schemes, %s and %s; one is allowed (RFC 9110 s11.6.2)", e.quote(auth.scheme), e.quote(strings.ToLower(m[1])))
		}
	}
	if auth != nil && auth.scheme != "" {
		for _, x := range e.c.Earlier() {
			if x.Request == nil || x.Response == nil || x.Response.Status >= 400 || x.Response.Status < 200 || !sameHost(parseTarget(x.Request), e.target) {
				continue
			}
			scheme, _, _ := strings.Cut(x.Request.Header.Get("Authorization"), " ")
			if scheme = strings.ToLower(scheme); scheme != "" && scheme != auth.scheme && slices.Contains(e.offered(), scheme) {
				e.add("other-scheme-accepted", Computed, "history", "%s was accepted here before, the refused request has %s in the same field", e.quote(scheme), e.quote(auth.scheme))
			}
		}
	}
	for _, name := range []string{"X-Original-URL", "X-Original-URI", "X-Forwarded-Uri", "X-Auth-Request-Redirect"} {
		if r.Header.Has(name) {
			e.add("forward-auth", Computed, name, "a front end asks for another address: the credentials are those for the program behind it")
		}
	}
	if auth != nil {
		for _, name := range personFields {
			if r.Header.Has(name) {
				e.add("front-names-person", Computed, name, "a front end names the person in %s, and Authorization stands beside it", e.quote(name))
				break
			}
		}
	}
	if strings.Contains(strings.ToLower(e.target.Path), "/proxy/") {
		e.add("proxy-path", Computed, "address", "the address names a proxy: the refusal may be that of the server behind it")
	}
	if forwardPath.MatchString(e.target.Path) {
		e.add("forward-auth", Computed, "address", "a front end asks here whether to let a request pass")
	}
	for _, f := range e.response.Header {
		if otherChallenge.MatchString(f.Name) && !e.response.Header.Has("WWW-Authenticate") {
			e.add("challenge-renamed", Computed, f.Name, "a front end renamed WWW-Authenticate to %s", e.quote(f.Name))
		}
	}
	for _, c := range e.challenges {
		seen := map[string]bool{}
		for _, p := range c.Params {
			name := strings.ToLower(p.Name)
			if seen[name] {
				e.add("parameter-twice", Computed, e.challengeField(), "the challenge has the parameter %s twice (RFC 9110 s11.2)", e.quote(name))
			}
			seen[name] = true
		}
	}
	if q := e.target.Query(); q.Has("code") && q.Has("state") || strings.Contains(strings.ToLower(e.target.Path), "callback") && q.Has("code") {
		e.add("callback-address", Computed, "address", "the browser brings the code of an identity provider back")
	}
	if e.seen["body-html"] && edgePage.Match(e.response.Body[:min(len(e.response.Body), 16<<10)]) {
		e.add("edge-page", Computed, "body", "the page is that of a service in front of the server")
	}
	for name, v := range bodyMembers(r) {
		if l := strings.ToLower(name); (l == "client_id" || slices.Contains(bodySecrets, l)) && bracketedValue.MatchString(v) && l != "assertion" {
			if len(strings.Fields(v)) >= 4 {
				e.add("placeholder-word", Computed, "body member "+name, "a sentence of an example stands in the place of %s", e.quote(name))
				continue
			}
			e.add("brackets-around", Computed, "body member "+name, "brackets of an example stand around %s", e.quote(name))
		}
	}
	if m := ticketTime.FindStringSubmatch(strings.ReplaceAll(r.Header.Get("Cookie"), "%3A", ":")); m != nil && !e.at.IsZero() {
		if n, err := strconv.ParseInt(m[1], 16, 64); err == nil {
			if age := e.at.Sub(time.Unix(n, 0)); age > ticketLife {
				e.add("ticket-old", Computed, "Cookie", "the ticket was issued %s before Date, it is good for %s", showDuration(age), showDuration(ticketLife))
			}
		}
	}
	for _, w := range e.words {
		e.relateWords(w, auth)
	}
	e.lineFacts()
	e.echoFacts()
}

// relateWords compares one text with what was sent.
func (e *evidence) relateWords(w passage, auth *credential) {
	if w.by == byServer && dpopBinding.MatchString(w.text) && e.seen["dpop-proof-sent"] {
		e.add("dpop-binding-said", Said, w.at, "the server speaks of the key that the token is bound to: %s", e.quote(w.text))
	}
	if w.by == byLog && clientUnknown.MatchString(w.text) && e.seen["basic-sent"] {
		e.add("kerberos-user-unknown", Said, w.at, "the log says that Kerberos does not know the user: %s", e.quote(w.text))
	}
	if w.by == byServer && grantCode.MatchString(w.text) {
		e.add("grant-code-said", Said, w.at, "the server speaks of the authorization code: %s", e.quote(w.text))
	}
	if w.by != byPerson && unreadableFile.MatchString(w.text) && secretFile.MatchString(w.text) {
		e.add("secret-unreadable", Said, w.at, "the server cannot read a file of its own: %s", e.quote(w.text))
	}
	if w.by != byPerson {
		for _, f := range w.topics() {
			if f.topic != "claim-missing" {
				continue
			}
			for _, name := range claimNames {
				if slices.ContainsFunc(w.words, func(word string) bool { return word == name[0] || word == name[1] }) {
					e.add("claim-named-"+name[0], Said, w.at, "the claim %s is named", name[0])
				}
			}
		}
	}
	if w.by != byPerson && otherRefusal.MatchString(w.text) {
		e.add("other-refusal-told", Said, w.at, "another server's refusal is told: %s", e.quote(w.text))
	}
	if w.by != byServer {
		return
	}
	e.relateSchemes(w, auth)
	if alternatives.MatchString(w.text) {
		e.add("alternatives-told", Said, w.at, "the server itself names several reasons: %s", e.quote(w.text))
	}
	if e.seen["opaque-sent"] && jwtNamed.MatchString(w.text) && !e.seen["jwt-cut"] {
		e.add("jwt-read-here", Computed, w.at, "the server speaks of a JWT, and the token sent is none")
	}
	if e.has("key-beside-authorization") || e.has("authorization-sent", "key-sent") || e.has("authorization-sent", "cookie-sent") || e.has("two-tokens") {
		if togetherWords.MatchString(w.text) {
			e.add("said-together", Computed, w.at, "the request has two sets of credentials, and the server speaks of two")
		}
	}
	if m := userUnknown.FindString(w.text); m != "" && !strings.Contains(strings.ToLower(m), "session") {
		e.add("user-unknown-said", Said, w.at, "the server does not know the user: %s", e.quote(w.text))
	}
	if e.request.Header.Has("DPoP") && proofAddress.MatchString(w.text) {
		e.add("proof-address-said", Said, w.at, "the server speaks of the address in the proof: %s", e.quote(w.text))
	}
	if e.seen["origin-sent"] && originNamed.MatchString(w.text) {
		e.add("origin-named", Computed, w.at, "the request has Origin, and the server speaks of it")
	}
	if host := e.target.Hostname(); hostRefused.MatchString(w.text) || len(host) > 3 && strings.Contains(w.text, host) && refusedHost.MatchString(w.text) {
		e.add("host-refused", Computed, w.at, "the server does not take the name in the field Host: %s", e.quote(w.text))
	}
	if passwordOff.MatchString(w.text) && (e.seen["password-sent"] || e.seen["basic-sent"] || e.seen["secret-in-body"]) {
		e.add("password-off", Computed, w.at, "a password was sent, and the server says that it takes none")
	}
	if auth == nil && e.request.Whole && e.seen["cookie-sent"] && e.seen["authorization-absent"] && !e.seen["key-sent"] && !e.seen["secret-in-body"] && aboutKey.MatchString(w.text) {
		for _, f := range find(w.words) {
			if f.topic == "wrong-secret" || f.topic == "bad-token" || f.topic == "malformed-credentials" || f.topic == "not-a-jwt" {
				e.add("unsent-refused", Computed, w.at, "the server refuses a key or token, and the request has none: something on the way put one in")
			}
		}
	}
	if lower := strings.ToLower(w.text); e.request.Header.Has("DPoP") && strings.Contains(lower, "dpop") && dpopAddress.MatchString(lower) {
		e.add("said:dpop-url-mismatch", Said, w.at, "the server says: %s", e.quote(w.text))
	}
	for _, m := range quotedName.FindAllStringSubmatch(w.text, 4) {
		if name := m[1] + m[2]; exampleName.MatchString(name) && (auth != nil && strings.Contains(e.request.Header.Get("Authorization"), name)) {
			e.add("example-echoed", Computed, w.at, "the server looked for %s, the word of an example", e.quote(name))
		}
	}
}

// relateSchemes compares the schemes that a text of the server names with the one that was sent.
func (e *evidence) relateSchemes(w passage, auth *credential) {
	if auth == nil || auth.scheme == "" || len(w.text) > 1000 {
		return
	}
	names := map[string]bool{}
	for _, m := range schemeShown.FindAllStringSubmatch(w.text, 4) {
		if last := m[0][len(m[0])-1]; !slices.Contains(schemes, strings.ToLower(m[1])) && (last >= 'a' && last <= 'z') {
			continue // a word of a sentence
		}
		names[strings.ToLower(m[1])] = true
	}
	if instructs.MatchString(w.text) {
		for _, m := range schemeQuoted.FindAllStringSubmatch(w.text, 4) {
			names[strings.ToLower(m[1])] = true
		}
	}
	if dpopScheme.MatchString(w.text) {
		names["dpop"] = true
	}
	delete(names, "header")
	instead := strings.Contains(strings.ToLower(w.text), "instead of")
	if names[auth.scheme] && !instead && !names["dpop"] {
		return
	}
	delete(names, auth.scheme)
	for name := range names {
		e.add("other-scheme-named", Computed, w.at, "the server names the scheme %s, the request has %s", e.quote(name), e.quote(auth.scheme))
	}
}
