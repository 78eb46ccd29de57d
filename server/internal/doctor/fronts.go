package doctor

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// This file adds facts about the server that answered and the client that asked, about accepted
// exchanges beside the refused one, and about lines of a configuration beside it.

// Patterns that show which server answered and which client asked, where the answer gives no
// reason.
var (
	checkAgent = regexp.MustCompile(`(?i)^(?:kube-probe|googlehc|elb-healthchecker|amazon-route53-health|consul health|cloudflare-traffic-manager|uptime|pingdom|blackbox|haproxy|alb-health|azure traffic manager|load balancer agent|edge health probe|datadog agent/health)`)
	checkPath  = regexp.MustCompile(`(?i)/(?:healthz?|livez?|readyz|health-?check|liveness|readiness|-/healthy|-/ready|actuator/health|ping|heartbeat)(?:/(?:live|liveness|ready|readiness))?/?$`)
	attackForm = regexp.MustCompile(`(?i)<script\b|\bunion\s+(?:all\s+)?select\b|\bor\s+1\s*=\s*1\b|(?:\.\./){2}|/etc/passwd|\bjavascript:|\bon(?:error|load)\s*=|\$\{jndi:|\bdrop\s+table\b|;\s*(?:cat|rm|wget|curl)\s+[-/]|<\?php|\{\{\d+\*\d+\}\}|\bexec\s*\(`)
	relayPath  = regexp.MustCompile(`(?i)/v\d+(?:beta)?/(?:chat/completions|messages|completions|embeddings|responses|models)\b`)
	redirector = regexp.MustCompile(`(?i)^(?:microsoft-webdav-miniredir|davclnt|microsoft data access internet publishing)`)
	plainAgent = regexp.MustCompile(`(?i)^(?:prometheus|go-http-client|axios|node|undici|okhttp|python-requests|python-urllib|aiohttp|httpx|guzzlehttp|postmanruntime|insomnia|uptime-kuma|kube-probe|faraday|reqwest|dart)\b`)
	waitsAgent = regexp.MustCompile(`(?i)^(?:docker|containerd|buildkit|podman|skopeo|crane|oras|pip/|cargo|nuget|uv/|poetry|git/|jgit|svn|serf|apache-maven|maven|davfs2|cadaver|mirall|microsoft-webdav|microsoft office|wget)`)
)

// edges lists fields and cookies that a network in front of a server adds to its own answers.
var edges = []struct{ field, contains, name string }{
	{"Server", "akamaighost", "Akamai"},
	{"Server", "sucuri", "Sucuri"},
	{"Server", "ddos-guard", "DDoS-Guard"},
	{"Server", "qrator", "Qrator"},
	{"Server", "datadome", "DataDome"},
	{"Server", "imunify360", "Imunify360"},
	{"Server", "stackpath", "StackPath"},
	{"Server", "wts/", "Wangsu"},
	{"Server", "yunjiasu", "Baidu"},
	{"Server", "bigip", "F5 BIG-IP"},
	{"X-Iinfo", "", "Imperva"},
	{"X-CDN", "imperva", "Imperva"},
	{"X-CDN", "incapsula", "Imperva"},
	{"Set-Cookie", "incap_ses_", "Imperva"},
	{"Set-Cookie", "visid_incap_", "Imperva"},
	{"Set-Cookie", "datadome=", "DataDome"},
	{"Set-Cookie", "ak_bmsc=", "Akamai"},
	{"Set-Cookie", "_abck=", "Akamai"},
	{"X-DataDome", "", "DataDome"},
	{"X-Sucuri-Block", "", "Sucuri"},
	{"X-Akamai-", "", "Akamai"},
	{"X-Cache", "lambdageneratedresponse", "CloudFront"},
	{"X-Cache", "functiongeneratedresponse", "CloudFront"},
	{"X-Amzn-Waf-Action", "", "AWS WAF"},
	{"X-Vercel-Mitigated", "", "Vercel"},
	{"X-Sigsci-", "", "Fastly"},
	{"X-Px-", "", "PerimeterX"},
	{"X-Protected-By", "", "a firewall"},
	{"X-Distil-", "", "Distil"},
	{"X-Kpsdk-", "", "Kasada"},
	{"Cf-Mitigated", "", "Cloudflare"},
}

// frontCookie matches names of cookies of a sign-in in front of an application.
var frontCookie = regexp.MustCompile(`^(?:authentik_proxy|_oauth2_proxy|CF_Authorization|mod_auth_openidc_session|_forward_auth$|_pomerium|VouchCookie|tinyauth-session|AWSELBAuthSessionCookie|AppServiceAuthSession)`)

// fronts lists products that sign users in before they pass a request to another program.
var fronts = []string{"OAuth2 Proxy", "Authelia or Authentik", "Cloudflare Access", "Google Identity-Aware Proxy", "Oathkeeper"}

// frontFacts adds facts about the server that answered and the client that asked: networks and
// front ends, health checks, clients that wait for a challenge, texts that firewalls refuse.
func (e *evidence) frontFacts() {
	r := e.response
	for _, f := range r.Header {
		for _, edge := range edges {
			if nameIs(f.Name, edge.field) && strings.Contains(strings.ToLower(f.Value), edge.contains) {
				e.add("edge-answered", Computed, f.Name, "the response has the field %s of %s, a network in front of the server", e.quote(f.Name), edge.name)
			}
		}
	}
	has := func(name, part string) bool { return strings.Contains(strings.ToLower(r.Header.Get(name)), part) }
	if has("X-Content-Type-Options", "nosniff") && (has("X-Frame-Options", "deny") || has("X-XSS-Protection", "0") || has("X-XSS-Protection", "1; mode=block")) && !r.Header.Has("X-Powered-By") && r.Reason == "" {
		e.add("spring-like", Computed, "response", "the status has no reason phrase, and the fields of security are those of Spring Security")
	}
	agent := e.request.Header.Get("User-Agent")
	if e.target.Scheme == "http" && redirector.MatchString(agent) {
		e.add("keeps-password-from-http", Computed, "User-Agent", "Windows sends Basic credentials over https only, unless BasicAuthLevel is 2")
	}
	if plainAgent.MatchString(agent) {
		e.add("agent-without-windows", Computed, "User-Agent", "clients of this kind have no Negotiate and NTLM of their own: %s", e.quote(agent))
	}
	switch method := strings.ToUpper(e.request.Method); method {
	case "PROPFIND", "PROPPATCH", "REPORT", "MKCOL", "MKCALENDAR":
		e.add("dav", Computed, "method", "the method %s is one of WebDAV (RFC 4918)", method)
	}
	if waitsAgent.MatchString(agent) || e.target.Path == "/v2/" || e.seen["dav"] {
		e.add("client-waits", Computed, "request", "the client is one that sends its credentials only after a challenge")
	}
	query, err := url.QueryUnescape(e.target.RawQuery)
	if err != nil {
		query = e.target.RawQuery
	}
	if attackForm.Match(e.request.Body[:min(len(e.request.Body), 16<<10)]) || attackForm.MatchString(query) || attackForm.MatchString(e.target.Path) {
		e.add("attack-like", Computed, "request", "the request contains text that firewalls take for an attack")
	}
	secret, server := false, ""
	for name, value := range bodyMembers(e.request) {
		lower := strings.ToLower(strings.ReplaceAll(name, "_", ""))
		secret = secret || strings.HasSuffix(lower, "apikey") || strings.HasSuffix(lower, "token") || strings.HasSuffix(lower, "password") || strings.HasSuffix(lower, "secret")
		if u, err := url.Parse(value); err == nil && strings.HasPrefix(u.Scheme, "http") && u.Host != "" && !strings.EqualFold(u.Host, e.target.Host) && !strings.Contains(lower, "redirect") && !strings.Contains(lower, "callback") {
			server = u.Host
		}
	}
	if secret && server != "" {
		e.add("body-names-server", Computed, "body", "the body names another server, %s, and a secret for it", e.quote(server))
	}
	for _, p := range e.products {
		if slices.Contains(fronts, p.Name) {
			e.add("front-product", Computed, "response", "the answer is one of a sign-in in front of the application: %s", p.Name)
		}
	}
	for _, name := range cookieNames(e.request.Header) {
		if frontCookie.MatchString(name) {
			e.add("front-cookie", Computed, "Cookie", "the cookie %s is that of a sign-in in front of the application", e.quote(name))
		}
	}
	person := personField(e.request.Header)
	if person != "" && !e.request.Header.Has("Authorization") {
		e.add("person-in-field", Computed, person, "the field %s names the user, as front ends send it to the server behind them", e.quote(person))
	}
	for _, f := range e.request.Header {
		if strings.Contains(f.Name, "_") && (f.Name == person || slices.ContainsFunc(e.credentials, func(c credential) bool { return c.kind == secretInField && c.place == f.Name })) {
			e.add("underscore-in-name", Computed, f.Name, "the name of the field %s has an underscore; nginx and Apache drop such fields unless they are configured otherwise", e.quote(f.Name))
		}
	}
	if e.target.Scheme == "http" && !localHost(e.target.Hostname()) {
		for _, c := range setCookies(r.Header) {
			if c.Secure && c.Value != "" && c.MaxAge >= 0 {
				e.add("secure-over-http", Computed, "Set-Cookie", "the cookie %s is Secure and the address is plain http; browsers discard it", e.quote(c.Name))
			}
		}
		for _, w := range e.words {
			if w.by == byLog && e.target.Hostname() != "" && strings.Contains(strings.ToLower(w.text), "https://"+strings.ToLower(e.target.Hostname())) {
				e.add("https-configured", Computed, w.at, "a line names the server with https, and the address is plain http: %s", e.quote(w.text))
			}
		}
	}
}

// contrastFacts compares the refused exchange with those that were accepted, before it or after it.
// Their differences show the cause.
func (e *evidence) contrastFacts() {
	if e.c.Subject < 0 {
		return
	}
	e.triedFacts()
	have := credentialsOf(e.request)
	for i := range e.c.Exchanges {
		x := &e.c.Exchanges[i]
		if i == e.c.Subject || x.Request == nil || x.Response == nil || x.Response.Status < 200 || x.Response.Status > 299 || x.Probe != "" {
			continue
		}
		other := parseTarget(x.Request)
		if !slices.Equal(credentialsOf(x.Request), have) {
			continue
		}
		left := len(have) == 0 && i < e.c.Subject && sameHost(other, e.target) && keyInQuery(other) && !keyInQuery(e.target)
		if left {
			e.add("key-left-out", Computed, "history", "an earlier request to this server had a key or token in its address; this one has none")
		}
		if !left && len(have) == 0 && i < e.c.Subject && sameHost(other, e.target) && other.Path == e.target.Path && strings.EqualFold(x.Request.Method, e.request.Method) {
			e.add("open-before", Computed, "history", "the address was answered before, without credentials")
		}
		samePath := other.Path == e.target.Path
		sameMethod := strings.EqualFold(x.Request.Method, e.request.Method)
		switch {
		case sameHost(other, e.target) && samePath && sameMethod && other.Scheme == "https" && e.target.Scheme == "http":
			e.add("accepted-by-https", Computed, "history", "the same request over https was accepted")
		case len(have) > 0 && sameHost(other, e.target) && samePath && sameMethod && other.Scheme == "http" && e.target.Scheme == "https":
			e.add("works-behind", Computed, "history", "the same request over http was accepted")
		case sameHost(other, e.target) && samePath && sameMethod && x.Request.URL == e.request.URL && otherAgentAlone(x.Request, e.request):
			e.add("other-agent-accepted", Computed, "history", "the same request was accepted with the User-Agent %s", e.quote(x.Request.Header.Get("User-Agent")))
		case len(have) > 0 && other.Host != "" && e.target.Host != "" && !sameHost(other, e.target) && endsAlike(other.Path, e.target.Path) && sameMethod:
			e.add("works-behind", Computed, "history", "%s accepted the same credentials", e.quote(other.Host))
		case sameHost(other, e.target) && e.seen["unsafe-method"] && (strings.EqualFold(x.Request.Method, "GET") || strings.EqualFold(x.Request.Method, "HEAD")) && len(have) > 0:
			e.add("reading-accepted", Computed, "history", "the same credentials were accepted with the method %s; the refused request has %s", e.quote(x.Request.Method), e.quote(e.request.Method))
		}
		if (i > e.c.Subject || !e.request.Header.Has("Authorization")) && sameHost(other, e.target) && len(have) > 0 && !samePath {
			e.add("worked-elsewhere", Computed, "history", "the same credentials were accepted for %s", e.quote(other.Path))
		}
	}
}

// triedFacts adds facts about earlier requests to the same address: with other secrets, or while
// the server failed.
func (e *evidence) triedFacts() {
	others := 0
	for _, x := range e.c.Earlier() {
		if x.Request == nil || x.Response == nil || x.Probe != "" || !sameHost(parseTarget(x.Request), e.target) || parseTarget(x.Request).Path != e.target.Path {
			continue
		}
		alike := slices.Equal(credentialsOf(x.Request), credentialsOf(e.request)) && string(x.Request.Body) == string(e.request.Body)
		switch s := x.Response.Status; {
		case s >= 500 && alike:
			e.add("failed-before", Computed, "history", "an earlier identical request was answered with %d", s)
		case (s == 401 || s == 403 || s == 400 || s == 422) && !alike && (len(credentialsOf(x.Request)) > 0 || len(x.Request.Body) > 0):
			if others++; others >= 2 {
				e.add("several-tried", Computed, "history", "%d earlier requests with other secrets were refused", others)
			}
		}
	}
}

// endsAlike reports whether two paths are equal, or one has another part before it, such as a
// stage.
func endsAlike(a, b string) bool {
	return a == b || len(a) > 1 && len(b) > 1 && (strings.HasSuffix(a, b) || strings.HasSuffix(b, a))
}

// credentialsOf returns the fields of a request that hold credentials, in order.
func credentialsOf(r *Request) (list []string) {
	for _, f := range r.Header {
		name := strings.ToLower(f.Name)
		if name == "authorization" || name == "cookie" || SecretField(f.Name) || keyFields.MatchString(f.Name) {
			list = append(list, name+": "+f.Value)
		}
	}
	slices.Sort(list)
	return list
}

// Patterns of lines of a configuration, a store or a log beside the exchange.
var (
	hashLine     = regexp.MustCompile(`(?i)^\s*(?:-\s+)?["']?[\w.@-]{1,60}:(?:\$(?:apr1|2[abxy]|1|5|6|argon2\w*|scrypt|pbkdf2[\w-]*)\$\S+|\{(?:SHA|SSHA|PLAIN|CRYPT|MD5)\}\S+|[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64})["']?\s*$`)
	hashSet      = regexp.MustCompile(`(?i)(?:password|passwd|auth|users?|hash)["']?\s*[=:]\s*["']?[\w.@-]{0,60}:?(?:[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64}|\{(?:SHA|SSHA|MD5)\}\S+)["']?\s*$`)
	environment  = regexp.MustCompile(`^\s*(?:export )?[A-Z][A-Z0-9_]{2,}=`)
	quotedValue  = regexp.MustCompile(`^\s*(?:- )?[A-Z][A-Z0-9_]*(?:PASSWORD|PASS|SECRET|TOKEN|KEY|PW)[A-Z0-9_]*=(?:"[^"]*"|'[^']*')\s*$`)
	emptySetting = regexp.MustCompile(`(?i)^\s*(?:- )?["']?[\w.-]*(?:secret|jwt_?key|signing_?key|auth_?key|client_?secret|public_?key|issuer(?:_?ur[il])?|jwks_?ur[il]|audience)["']?\s*(?:=\s*(?:""|''|null|undefined|None|)|:\s*(?:""|''|null|~|undefined|None))\s*[,;]?\s*$`)
	banLine      = regexp.MustCompile(`(?i)(?:^|[^.\w])ban(?:ned)?\b.{0,80}\b\d{1,3}(?:\.\d{1,3}){3}|\b\d{1,3}(?:\.\d{1,3}){3}\b.{0,120}[^.\w]ban(?:ned)?\b|\b(?:matched none of the|not in the|is not in) (?:trusted|allowed|allow|white)[ -]?(?:ips|list)|access forbidden by rule`)
	settingTold  = regexp.MustCompile(`\b(?:[A-Z][A-Z0-9]*_)*(?:SECRET|KEY|JWKS|ISSUER|AUDIENCE|SALT)(?:_[A-Z0-9]+)*\b["'` + "`" + `]?.{0,60}\b(?:must be (?:set|configured|provided|defined)|(?:is |was )?not (?:set|configured|defined|provided)|must have a value|must not be empty|is (?:required|undefined|empty|missing))\b|(?i)\bsecret(?:OrPrivateKey|OrPublicKey)?\b.{0,30}\b(?:must have a value|should be set|must be provided|is required)\b|\bmissing secret_key_base\b|\bNo (?:secret|application encryption) key\b`)
	listSet      = regexp.MustCompile(`(?i)(?:^|[._ -])(?:allow\w*|deny\w*|whitelist\w*|blacklist\w*|blocklist\w*|permit\w*|source_?ranges?|ip_?filter)(?:[._-]\w+)*["']?\s*[:=]\s*\[?["']?(?:\d{1,3}(?:\.\d{1,3}){3}(?:/\d+)?|_all\b|localhost\b)|\bRemote(?:Addr|CIDR|Host)Valve\b|<add ipAddress="`)
	forwardsNone = regexp.MustCompile(`(?i)\b(?:origin_?request_?policy(?:_?id)?|header_?behaviou?r|forward(?:ed)?_?headers)\b["']?\s*[:= ]\s*["']?(?:none\b|\[\]|OriginRequestHeaderBehavior\.none)`)
	copiesFew    = regexp.MustCompile(`^\s*copy_headers(?:\s+[B-Zb-z][\w-]*)+\s*$`) // no name begins like Authorization
	upstreamLog  = regexp.MustCompile(`(?i)\b(?:upstream|backend|remote|downstream|provider|registry|external)\b.{0,80}\b(?:401|403)\b`)
	anonymousOff = regexp.MustCompile(`(?i)--anonymous-auth=false|\bdefault[_ -]?(?:policy|action)["']?\s*[:=]\s*["']?(?:deny|denied|block)|\.denyAll\(\)|\banyRequest\(\)\.denyAll|\bdefaultAction:\s*deny`)
	hidesField   = regexp.MustCompile(`(?i)\b(?:proxy|fastcgi|uwsgi|grpc)_hide_header\s+"?WWW-Authenticate|\bheader_down\s+-WWW-Authenticate|\bHeader\s+(?:always\s+)?unset\s+"?WWW-Authenticate|\bdel-header\s+WWW-Authenticate|\bunset\s+(?:be)?resp\.http\.WWW-Authenticate|\berror_page\s+401\b|\bproxy_intercept_errors\s+on`)
)

// orders lists pairs of calls and settings: the first has to stand before the second, since a server runs them in this order.
var orders = [][2]string{
	{"UseAuthentication", "UseAuthorization"},
	{"UseRouting", "UseAuthorization"},
	{"UseAuthentication", "MapControllers"},
	{"SessionMiddleware", "AuthenticationMiddleware"},
	{"passport.initialize", "passport.authenticate"},
	{"session(", "passport.session"},
	{"permitAll", "anyRequest("},
	{"use(cors(", "use(auth"},
	{"express.json(", "use('/login"},
}

// besideFacts adds facts about lines beside an exchange whose answer gives no reason.
func (e *evidence) besideFacts() {
	var all strings.Builder
	for _, w := range e.linesBeside(false) {
		line := strings.TrimRight(w.text, "\r ")
		all.WriteString(line + "\n")
		if len(line) > 2000 {
			continue
		}
		for _, f := range []struct {
			form     *regexp.Regexp
			id, text string
		}{
			{hashLine, "hash-shown", "the stored secret is shown"},
			{hashSet, "hash-shown", "the stored secret is shown"},
			{quotedValue, "quotes-in-environment", "the value of a variable has quotation marks, which some programs take as part of it"},
			{emptySetting, "setting-empty", "a setting of the check is empty"},
			{fieldDropped, "configuration-drops", "the configuration drops Authorization"},
			{dollarInside, "configuration-expands", "a secret has a single dollar sign in a place that expands variables"},
			{frontWrites, "front-writes-field", "the front end writes an Authorization field of its own"},
			{frontAsks, "front-configured", "the front end has a sign-in of its own by Basic"},
			{frontCertificate, "front-wants-certificate", "the front end wants a certificate of the client"},
			{frontLists, "front-lists", "the front end has a list of addresses"},
			{listSet, "front-lists", "the configuration has a list of addresses"},
			{forwardsNone, "front-forwards-few", "the configuration of the front end does not forward header fields"},
			{copiesFew, "front-copies-few", "the front end does not pass on the Authorization that its sign-in sets"},
			{settingTold, "setting-lacks", "the line says that a setting of the server is missing"},
			{banLine, "ban-told", "the line names a ban or a list of addresses"},
			{anonymousOff, "default-denies", "the configuration refuses each request that it does not allow explicitly"},
			{hidesField, "challenge-hidden", "the configuration removes or replaces the challenge"},
		} {
			if !e.seen[f.id] && f.form.MatchString(line) && !(f.id == "setting-lacks" && secretMade.MatchString(line)) {
				e.add(f.id, Computed, w.at, "%s: %s", f.text, e.quoteLine(line))
			}
		}
		if environment.MatchString(line) && cutHash.MatchString(line) && !strings.Contains(line, "$$") {
			e.add("configuration-expands", Computed, w.at, "the line has single dollar signs in a place that expands variables")
		}
	}
	for _, w := range e.words {
		if w.by != byPerson && upstreamLog.MatchString(w.text) {
			e.add("upstream-logged", Computed, w.at, "the text names a refusal by another server: %s", e.quote(w.text))
		}
	}
	for _, o := range orders {
		if first, second := strings.Index(all.String(), o[0]), strings.Index(all.String(), o[1]); second >= 0 && first > second {
			e.add("order-wrong", Computed, "lines beside the exchange", "%s stands before %s; it belongs after it", o[1], o[0])
		}
	}
}
