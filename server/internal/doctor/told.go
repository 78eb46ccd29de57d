package doctor

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// This file reads lines of programs, of configurations and of front ends beside the exchange.

// Forms of lines of programs, configurations and front ends, the same for all products.
var (
	fieldDropped       = regexp.MustCompile(`(?i)\b(?:proxy|grpc|uwsgi)_set_header\s+"?Authorization"?\s+(?:""|'')|\b(?:fastcgi|uwsgi)_param\s+HTTP_AUTHORIZATION\s+(?:""|'')|\bRequestHeader\s+unset\s+"?Authorization|\bdel-header\s+Authorization|\bheader_up\s+-Authorization|\bunset\s+(?:be)?req\.http\.Authorization|<set-header\s+name="Authorization"\s+exists-action="delete"|\brequest_headers_to_remove\b.{0,40}\bauthorization\b|\bmore_clear_input_headers\s+"?Authorization|\bcustomrequestheaders\.authorization=\s*$|\bingress\.kubernetes\.io/auth-type["']?:\s*["']?(?:basic|digest)|\bsensitive-?headers\b["']?\s*[=:].*\bAuthorization\b|\bCGIPassAuth\s+Off|\bWSGIPassAuthorization\s+Off`)
	frontAsks          = regexp.MustCompile(`(?i)^\s*(?:auth_basic\s+"|auth_basic_user_file\s|basic_?auth\s+(?:/\S*\s+)?(?:bcrypt\s+)?\{|basicauth\s+/\S*\s+["\w]|AuthType\s+Basic\b|AuthUserFile\s|auth_pam\s+")|traefik\.http\.middlewares\.\S+\.basicauth\.users|^\s*basicAuth:\s*$|\bhttp-request auth\b`)
	frontWrites        = regexp.MustCompile(`(?i)(?:^|\s|--)(?:pass|set)[_-](?:basic[_-]auth|authorization[_-]header)\b["']?\s*[=: ]\s*["']?true\b|\b(?:proxy|grpc)_set_header\s+"?Authorization"?\s+["']?(?:Basic|Bearer) |\bRequestHeader\s+set\s+"?Authorization\b|\bset-header\s+Authorization\s|\bheader_up\s+Authorization\s+["']?(?:Basic|Bearer) |\bcustomrequestheaders\.authorization=["']?\w`)
	frontLists         = regexp.MustCompile(`(?i)^\s*(?:(?:allow|deny)\s+(?:all|[0-9a-f.:]+(?:/\d+)?)\s*;|Require\s+(?:not\s+)?(?:ip|host|local)\b|(?:Allow|Deny)\s+from\s|(?:ipAllowList|ipWhiteList):|@\w+\s+(?:not\s+)?(?:remote_ip|client_ip)\b)|\.(?:ipallowlist|ipwhitelist)\.sourcerange`)
	frontCertificate   = regexp.MustCompile(`(?i)^\s*(?:ssl_verify_client\s+(?:on|optional\w*)\b|SSLVerifyClient\s+(?:require|optional\w*)|mode\s+require_and_verify|clientAuthType:\s*Require)|\$ssl_client_verify\b|\bssl_c_used\b|\bssl_fc_has_crt\b|sslFlags="[^"]*(?:SslNegotiateCert|SslRequireCert)|require_client_certificate:\s*true|\bmtls:\s*(?:\{\s*)?mode:\s*STRICT|\bclient_authentication:\s*(?:required|optional)|(?:certificateVerification|clientAuth)="(?:required|true|want)"|client-auth[=:]\s*(?:need|required)|ClientCertificateMode\.Require|\bverify\s+required\b.*\bca-file\b|\bca-file\b.*\bverify\s+required\b|auth-tls-verify-client: "?on`)
	variableLacking    = regexp.MustCompile(`(?i)\b(?:HTTP_AUTHORIZATION|PHP_AUTH_(?:USER|PW|DIGEST)|AUTH_TYPE|REMOTE_USER)\b|\[['"]authorization['"]\]|\bget(?:Header|HeaderLine)?\(['"]authorization['"]\)`)
	lackingWords       = regexp.MustCompile(`(?i)\b(?:KeyError|undefined|missing|null|empty|blank|nothing|none|nil|unset|not (?:set|found|defined|present)|isn't set|no such)\b`)
	cutHash            = regexp.MustCompile(`[=:]\s*["']?[^\s"'$]*:?\$(?:apr1|2[abxy]|[156]|argon2\w*)\$[^$\s]`)
	dollarInside       = regexp.MustCompile(`(?i)^\s*(?:- ["']?\w*(?:password|passwd|pass|secret)\w*=|["']?\w*(?:password|passwd|pass|secret)\w*["']?: ["']?)[^\s$]+\$[A-Za-z_]\w*[^\s}]*$`)
	expandingPlace     = regexp.MustCompile(`(?i)compose|labels|environment|traefik\.http|basicauth\.users|\.env\b|\bENV\b|\bexport\b|echo "`)
	redirectTold       = regexp.MustCompile(`(?i)HTTP/[\d.]+"? ?30[12378]\b|\bIssue another request to this URL|\[following\]|\bredirect(?:ed|ing|s)?\b.{0,20}\b(?:to|from)\b|: 30[12378] to https?:|\b30[12378] (?:Moved|Found|Temporary|Permanent|See Other)|^\s*<?\s*Location: `)
	hostTold           = regexp.MustCompile(`https?://([A-Za-z0-9.-]+)`)
	credentialsTold    = regexp.MustCompile(`(?i)authorization|\bbearer\b|\bauth=|(?:^|\s)(?:-u|--user)\s|\btoken\b|credential`)
	withoutCookies     = regexp.MustCompile(`(?i)credentials['"]?\s*:\s*['"](?:omit|same-origin)|withCredentials\b.{0,16}\b(?:false|not|missing|unset)|(?:without|no|missing)\s+(?:credentials: ?|withCredentials)|credentials: ?['"]include['"]?.{0,12}\b(?:missing|absent|not set|forgotten)`)
	cookieUnset        = regexp.MustCompile(`(?i)\b(?:without|no|missing|never (?:sends|sets?|had|has))\s+(?:a |any |the )?Set-Cookie\b`)
	websocketTold      = regexp.MustCompile(`(?i)\bWebSocket connection to '?(?:wss?://|/)\S+ failed`)
	stateRefused       = regexp.MustCompile(`(?i)\bstate\b.{0,40}\b(?:mismatch\w*|missing|not found|invalid|unknown|restor\w+|d(?:oes|id)(?:n't| not) match|cookie|verif\w+|expired|validat\w+)|\b(?:mismatch\w*|missing|invalid|unknown|restore|no|verify|validate|unable|match)\b.{0,24}\bstate\b|\b(?:invalid|bad|missing|wrong)_?state\b|\bstate_?(?:mismatch|invalid|missing)\b`)
	securityCreated    = regexp.MustCompile(`<(?:\w+:)?Created[^>]*>\s*([^<]+?)\s*<`)
	certificatePast    = regexp.MustCompile(`(?i)\bclient(?:'s|-side)? (?:ssl |tls )?cert\w*\b.{0,60}(?:notAfter before|notAfter is past|expired|past its end)`)
	certificateForeign = regexp.MustCompile(`(?i)\bcertificate validation failed, subject was\b|\bclient certificate failed validation\b|\bclient(?:'s|-side)? (?:ssl |tls )?cert\w*\b.{0,80}(?:not trust|untrusted|unknown (?:ca|authority|issuer)|self-?signed|(?:another|other|private|wrong) CA|not signed by|not in the (?:list|bundle))`)
	signInLogged       = regexp.MustCompile(`(?i)\bPOST\s+\S*(?:sign-?in|log-?in|sessions?|authenticate)\b\S*.*\s20[014]\b`)
	refusalLogged      = regexp.MustCompile(`(?i)\bGET\s+/\S*.*\s401\b`)
	secretMade         = regexp.MustCompile(`(?i)\b(?:generat\w+|creat\w+|using)\b.{0,12}\b(?:random|new|temporary|ephemeral)\b.{0,16}\b(?:secret|key)\b|\b(?:secret|key)\b.{0,24}\b(?:auto-?generated|randomly generated|generated randomly)\b`)
	directoryFilter    = regexp.MustCompile(`(?i)\(\s*memberOf\s*=|\bldap\w*[ _-]?(?:search[ _-]?)?(?:filter|base)\b`)
	cookieDomain       = regexp.MustCompile(`(?i)\bcookie[._-]?domains?["']?\s*[:=]\s*["'\[]*\.?([a-z0-9-]+(?:\.[a-z0-9-]+)+)`)
	passesHost         = regexp.MustCompile(`(?i)\bproxy_set_header\s+"?Host\b|\bProxyPreserveHost\s+on\b`)
	passesOn           = regexp.MustCompile(`(?i)^\s*(?:proxy_pass|proxy_set_header|ProxyPass)\s`)
	noteLine           = regexp.MustCompile(`^# .*(?:Authorization|\b30[1278]\b|OPTIONS|Set-Cookie|\.netrc|\.conf\b|config)`)
	addressTorn        = regexp.MustCompile(`(?i)\b(?:resolve|lookup|find|connect to|getaddrinfo \w+)\b[^\r\n]{0,30}[\s'"][^\s/@'"]*@[\w.-]+|://[^/\s@'"]*@[^/\s@'"]*@|://[^/\s@'"]*[#?][^/\s@'"]*@`)
	tlsAlert           = regexp.MustCompile(`(?i)\balert\b|\bhandshake\b|SSL routines|\btls:|x509|SSLError|SSL_read|certificate verif|ssl_client_verify`)
)

// maxClock is the difference of clocks that devices with WS-Security take: most of them a few
// seconds, some five minutes.
const maxClock = 4 * time.Minute

// besideLine reports whether a line below a body belongs to a log, to a client or to a
// configuration.
func besideLine(text string) bool {
	if programLine(text) {
		return true
	}
	return logBegin.MatchString(text) || redirectLine.MatchString(text) || noteLine.MatchString(text) || configuration.MatchString(text) && len(text) < 200 || fieldDropped.MatchString(text) || frontWrites.MatchString(text) || frontAsks.MatchString(text) || frontLists.MatchString(text) || frontCertificate.MatchString(text) || withoutCookies.MatchString(text) ||
		cookieBlocked.MatchString(text) || cutHash.MatchString(text) && expandingPlace.MatchString(text)
}

// linesBeside returns the lines of the body and those below the exchange: users paste a
// configuration there. Those of a body of JSON or HTML are left out unless data is true.
func (e *evidence) linesBeside(data bool) (lines []passage) {
	body := e.response.Body[:min(len(e.response.Body), 4<<10)]
	if len(body) > 0 && (data || !e.seen["body-json"] && !e.seen["body-html"]) {
		for i, line := range strings.SplitN(string(body), "\n", maxLogLines) {
			lines = append(lines, passage{text: line, at: fmt.Sprintf("body line %d", i+1)})
		}
	}
	for i, line := range e.c.Log[:min(len(e.c.Log), maxLogLines)] {
		lines = append(lines, passage{text: line, at: fmt.Sprintf("log line %d", i+1)})
	}
	return lines
}

// lineFacts adds facts about lines of a log, of a client or of a configuration that stand beside
// the exchange.
func (e *evidence) lineFacts() {
	if strings.EqualFold(e.request.Header.Get("Upgrade"), "websocket") || e.target.Scheme == "ws" || e.target.Scheme == "wss" {
		e.add("websocket", Computed, "request", "the request asks for a WebSocket (RFC 6455)")
	}
	var front, host passage
	for _, w := range e.linesBeside(false) {
		if passesOn.MatchString(w.text) {
			front = w
		}
		if passesHost.MatchString(w.text) {
			host = w
		}
		if directoryFilter.MatchString(w.text) {
			e.add("directory-filter", Computed, w.at, "the server looks users up in a directory, with a filter or below a base: %s", e.quoteLine(w.text))
		}
		if m := cookieDomain.FindStringSubmatch(w.text); m != nil && e.target.Host != "" && !strings.HasSuffix("."+strings.ToLower(e.target.Hostname()), "."+strings.ToLower(m[1])) {
			e.add("cookie-domain-elsewhere", Computed, w.at, "the cookies are set for %s, the address is %s", e.quote(m[1]), e.quote(e.target.Hostname()))
		}
		if secretMade.MatchString(w.text) {
			e.add("secret-made", Computed, w.at, "the server makes a new secret when it starts, so older tokens and sessions end: %s", e.quoteLine(w.text))
		}
	}
	if front.text != "" && host.text == "" {
		e.add("host-not-passed", Computed, front.at, "the lines of the front end do not pass the field Host on; the server behind it sees another name than Origin has")
	}
	e.clientLines()
	e.placeFacts()
	e.servicePlace()
	e.misplacedFields()
	told, withField := false, false
	for _, w := range e.words {
		if w.by == byPerson {
			continue
		}
		if cookieBlocked.MatchString(w.text) { // only browsers write such lines
			e.add("cookie-blocked", Said, w.at, "a line of the browser says that it rejected a cookie: %s", e.quote(w.text))
		}
		if w.by == byLog {
			e.lineFact(w)
			if redirectTold.MatchString(w.text) {
				told = true
				for _, m := range hostTold.FindAllStringSubmatch(w.text, 3) {
					withField = withField || e.target.Host != "" && !strings.EqualFold(m[1], e.target.Hostname())
				}
			}
			withField = withField || credentialsTold.MatchString(w.text) && !strings.HasPrefix(w.text, "{")
		}
		if variableLacking.MatchString(w.text) && lackingWords.MatchString(w.text) {
			e.add("environment-lacks", Computed, w.at, "the text says that the application did not find the variable with the credentials: %s", e.quote(w.text))
		}
		if e.seen["callback-address"] && stateRefused.MatchString(w.text) {
			e.add("state-refused", Computed, w.at, "the text says that the state of the sign-in was not found, which is kept in a cookie")
		}
	}
	signedIn := false
	for _, w := range e.words {
		if w.by == byLog && signInLogged.MatchString(w.text) {
			signedIn = true
		} else if w.by == byLog && signedIn && refusalLogged.MatchString(w.text) {
			e.add("refused-after-sign-in", Computed, w.at, "the log has a successful sign-in, and then a refusal: %s", e.quote(w.text))
			break
		}
	}
	if told {
		e.add("redirect-told", Computed, "log", "the output of the client has a redirect before this request")
		if withField {
			e.add("redirect-told-with-field", Computed, "log", "the output of the client has a redirect, and credentials before it")
		}
	}
	if body := string(e.request.Body); strings.Contains(body, "UsernameToken") && !e.at.IsZero() {
		for _, m := range securityCreated.FindAllStringSubmatch(body, 4) {
			if t := parseHTTPDate(m[1]); !t.IsZero() {
				if d := t.Sub(e.at); d > maxClock || d < -maxClock {
					e.add("signing-time-off", Computed, "Created", "Created is %s, Date is %s: %s apart", showTime(t), showTime(e.at), showDuration(d))
				}
			}
		}
	}
}

// lineFact adds facts about one line of a log.
func (e *evidence) lineFact(w passage) {
	if cookieUnset.MatchString(w.text) {
		e.add("cookie-unset", Said, w.at, "the sign-in set no cookie: %s", e.quote(w.text))
	}
	if websocketTold.MatchString(w.text) {
		e.add("websocket-told", Said, w.at, "a line of the browser says that a WebSocket was refused")
	}
	switch {
	case cutHash.MatchString(w.text) && expandingPlace.MatchString(w.text):
		e.add("configuration-expands", Computed, w.at, "the line has single dollar signs in a place that expands variables")
	case withoutCookies.MatchString(w.text):
		e.add("page-without-cookies", Computed, w.at, "the page asks without cookies: %s", e.quoteLine(w.text))
	}
	if certificatePast.MatchString(w.text) {
		e.add("certificate-past", Computed, w.at, "the text says that the client's certificate has expired: %s", e.quote(w.text))
	} else if certificateForeign.MatchString(w.text) {
		e.add("certificate-untrusted", Computed, w.at, "the text says that the client's certificate is not trusted: %s", e.quote(w.text))
	}
	if addressTorn.MatchString(w.text) {
		e.add("address-torn", Computed, w.at, "a character of the password ends the user part of the address")
	}
	if tlsAlert.MatchString(w.text) {
		e.add("tls-told", Computed, w.at, "the line tells of TLS: %s", e.quote(w.text))
	}
}
