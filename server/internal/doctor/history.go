package doctor

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// This file adds facts about earlier exchanges, the response, its challenges and the redirects
// before it.

// document is a JSON object that another exchange of the case fetched.
type document struct {
	url     string
	members map[string]any
}

// documents returns the metadata and key sets that the other exchanges of the case hold.
func (e *evidence) documents() (docs []document) {
	for i, x := range e.c.Exchanges {
		if i == e.c.Subject || x.Response == nil || x.Response.Status != 200 || len(x.Response.Body) > maxBody || x.Request == nil {
			continue
		}
		if !strings.Contains(x.Request.URL, "/.well-known/") && !strings.Contains(x.Request.URL, "jwks") && !strings.Contains(x.Request.URL, "keys") && !strings.Contains(x.Request.URL, "certs") {
			continue
		}
		var members map[string]any
		if json.Unmarshal(x.Response.Body, &members) == nil && members != nil {
			docs = append(docs, document{x.Request.URL, members})
		}
	}
	return docs
}

// keyIDs returns the kid of each key of a key set (RFC 7517 s5), or nil if members are none.
func keyIDs(members map[string]any) []string {
	keys, ok := members["keys"].([]any)
	if !ok {
		return nil
	}
	ids := []string{}
	for _, k := range keys {
		if key, ok := k.(map[string]any); ok {
			ids = append(ids, text(key, "kid"))
		}
	}
	return ids
}

// failedPage matches pages that ask to sign in again after a failure.
var failedPage = regexp.MustCompile(`(?i)(log-?in|sign[-_]?in|auth)[-_/]?(error|fail|failed|failure)\b`)

// deniedPage matches pages that tell a known user that a right is missing.
var deniedPage = regexp.MustCompile(`(?i)[/_=-](access[-_]?denied|forbidden|not[-_]?authori[sz]ed|permission[-_]?denied|no[-_]?(access|permission)|insufficient[-_]?(permissions?|privileges?))([/?&#.]|$)`)

// responseFacts adds facts about status and fields of the response.
func (e *evidence) responseFacts() {
	r := e.response
	switch {
	case r.Status == 0:
		return
	case r.Status < 300:
		e.add("status-2xx", Computed, "status", "the status is %d", r.Status)
	case r.Status < 400:
		e.add("status-3xx", Computed, "status", "the status is %d", r.Status)
		to := r.Header.Get("Location")
		if failedPage.MatchString(to) && e.seen["sign-in-address"] {
			e.add("sign-in-failed", Computed, "Location", "the server redirects to the page of a failed sign-in: %s", e.quote(to))
		} else if signInPage.MatchString(to) || signInElsewhere.MatchString(to) && !deniedPage.MatchString(to) {
			if u, err := url.Parse(strings.NewReplacer("<", "", ">", "").Replace(to)); err == nil && u.Host != "" && e.target.Host != "" && !strings.EqualFold(u.Host, e.target.Host) {
				e.add("to-sign-in-elsewhere", Computed, "Location", "the sign-in page is on another host: %s", e.quote(u.Host))
			}
			e.add("to-sign-in", Computed, "Location", "the server redirects to a sign-in page: %s", e.quote(to))
		} else if deniedPage.MatchString(to) {
			e.add("to-denied-page", Computed, "Location", "the server redirects to a page for users without a right: %s", e.quote(to))
		}
	case r.Status == 401 && r.Header.Has("Location"): // front ends tell browsers where to sign in
		to := r.Header.Get("Location")
		if u, err := url.Parse(to); err == nil && u.Host != "" && e.target.Host != "" && !strings.EqualFold(u.Host, e.target.Host) && signInElsewhere.MatchString(to) {
			e.add("to-sign-in-elsewhere", Computed, "Location", "the sign-in page is on another host: %s", e.quote(u.Host))
		}
	case r.Status >= 500:
		e.add("status-5xx", Computed, "status", "the status is %d", r.Status)
	}
	e.add("status-"+statusText(r.Status), Computed, "status", "the status is %d", r.Status)
	if e.seen["body-html"] && (r.Status == 203 || r.Status == 200 && e.has("authorization-sent")) && signInPage.Match(r.Body[:min(len(r.Body), maxBody)]) {
		e.add("sign-in-page", Computed, "body", "the answer is a sign-in page with status %d", r.Status)
	}
	if r.Status >= 400 && (e.seen["body-html"] || strings.Contains(strings.ToLower(r.Header.Get("Content-Type")), "text/html")) {
		e.add("html-refusal", Computed, "response", "the refusal is an HTML page")
	}
	if r.Header.Has("DPoP-Nonce") {
		e.add("dpop-nonce-given", Computed, "DPoP-Nonce", "the refusal gives a nonce for the next proof (RFC 9449 s8)")
	}
	if strings.Contains(r.Header.Get("Location"), "/cdn-cgi/access/") || slices.Contains(e.offered(), "cloudflare-access") {
		e.add("edge-asks", Computed, "response", "the service in front of the server asks for a sign-in of its own")
	}
	if strings.Contains(e.target.Path, "/.well-known/") && !davPath.MatchString(e.target.Path) && !otherKnown.MatchString(e.target.Path) {
		e.add("metadata-address", Computed, "address", "the address is one of metadata (RFC 8615)")
	}
	if v := r.Header.Get("Retry-After"); v != "" {
		e.add("retry-after", Computed, "Retry-After", "the server says: ask again after %s", e.quote(v))
	}
	e.grantedScopes()
	for _, f := range r.Header {
		if l := strings.ToLower(f.Name); strings.Contains(l, "ratelimit-remaining") || strings.Contains(l, "rate-limit-remaining") || strings.Contains(l, "ratelimit-requests-remaining") {
			if rest, _, _ := strings.Cut(f.Value, ";"); strings.TrimSpace(rest) == "0" { // a window may follow: 0;w=21600
				e.add("limit-spent", Computed, f.Name, "the limit is used up: %s is 0", e.quote(f.Name))
			} else {
				e.add("limit-left", Computed, f.Name, "%s is %s", e.quote(f.Name), e.quote(f.Value))
			}
		}
	}
	for _, prefix := range []string{"X-RateLimit-", "RateLimit-", "X-Rate-Limit-"} {
		used, limit := strings.TrimSpace(r.Header.Get(prefix+"Used")), strings.TrimSpace(r.Header.Get(prefix+"Limit"))
		if u, err := strconv.Atoi(used); err == nil && !r.Header.Has(prefix+"Remaining") {
			if l, err := strconv.Atoi(limit); err == nil && u >= l && l > 0 {
				e.add("limit-spent", Computed, prefix+"Used", "%d requests of a limit of %d are used", u, l)
			}
		}
	}
	if r.Status >= 400 && e.has("cross-origin") && !r.Header.Has("Access-Control-Allow-Origin") {
		e.add("refusal-unreadable", Computed, "response", "the refusal has no Access-Control-Allow-Origin: the page sees a network error only (Fetch s3.3)")
	}
	for _, f := range r.Header {
		if l := strings.ToLower(f.Name); (l == "server" || l == "via" || l == "x-powered-by") && f.Value != "" {
			e.add("front-"+frontName(f.Value), Computed, f.Name, "%s is %s", f.Name, e.quote(f.Value))
			if v := strings.ToLower(f.Value); strings.Contains(v, "php") || strings.Contains(v, "apache") || strings.Contains(v, "wsgi") || strings.Contains(v, "litespeed") || strings.Contains(v, "fcgi") || strings.Contains(v, "passenger") {
				e.add("front-cgi", Computed, f.Name, "%s is %s: such servers pass Authorization on only if told to", f.Name, e.quote(f.Value))
			}
		}
	}
	body := strings.ToLower(string(r.Body[:min(len(r.Body), 8<<10)]))
	if e.seen["body-html"] && (strings.Contains(body, "nginx</") || strings.Contains(body, "<center>nginx") || strings.Contains(body, "nginx/") || strings.Contains(body, "<center>openresty")) {
		e.add("front-nginx", Computed, "body", "the body is an error page of nginx")
		e.add("front-page", Computed, "body", "the page is the front end's own, not the application's")
	}
	if own := strings.TrimSpace(body); r.Status == 401 && (own == "" || own == "401 unauthorized" || own == "unauthorized") && e.frontRealm() {
		e.add("front-page", Computed, "response", "the response is the front end's own, not the application's")
	}
	if e.seen["body-html"] && e.seen["front-nginx"] && strings.Contains(body, "<title>401 authorization required") {
		e.add("front-page", Computed, "body", "the body is an error page of nginx")
	}
	if e.seen["body-html"] && (strings.Contains(body, "this server could not verify that you") || strings.Contains(body, "<title>403 forbidden</title>") && strings.Contains(body, "you don't have permission to access")) {
		e.add("front-page", Computed, "body", "the page is the front end's own, not the application's")
	}
}

// davPath matches the addresses where clients of calendars and address books find their server (RFC
// 6764 s5).
var davPath = regexp.MustCompile(`(?i)/\.well-known/(?:cal|card)dav\b`)

// otherKnown matches well-known addresses that are not metadata of a sign-in (RFC 8615 s3).
var otherKnown = regexp.MustCompile(`(?i)/\.well-known/(?:acme-challenge|keybase|security\.txt|apple-app-site-association|assetlinks|change-password|ca(?:l|rd)dav|pki-validation|matrix|nostr|host-meta|webfinger|nodeinfo|dnt|gpc)`)

// signInElsewhere matches addresses of sign-ins by their host, or by a parameter that brings the
// browser back.
var signInElsewhere = regexp.MustCompile(`(?i)^https?://(?:auth|login|sso|idp|id|accounts|signin|keycloak|authelia|authentik)[.-]|cloudflareaccess\.com/|/my\.policy|[?&](?:rd|redirect_uri|returnurl|return_to|SAMLRequest|goto|continue)=`)

// grantedScopes compares the scopes of the token with those that the address takes, as GitHub and
// Bitbucket send them.
func (e *evidence) grantedScopes() {
	r := e.response
	if !r.Header.Has("X-Accepted-OAuth-Scopes") || !r.Header.Has("X-OAuth-Scopes") || r.Status < 400 {
		return
	}
	list := func(name string) []string {
		return strings.FieldsFunc(strings.ToLower(r.Header.Get(name)), func(c rune) bool { return c == ',' || c == ' ' })
	}
	granted, wanted := list("X-OAuth-Scopes"), list("X-Accepted-OAuth-Scopes")
	switch {
	case len(wanted) == 0:
	case slices.ContainsFunc(wanted, func(s string) bool { return slices.Contains(granted, s) }):
		e.add("scope-granted", Computed, "X-OAuth-Scopes", "the token has a scope that the address takes: %s", e.quote(r.Header.Get("X-OAuth-Scopes")))
	default:
		e.add("scope-not-granted", Computed, "X-OAuth-Scopes", "the address takes %s, the token has %s", e.quote(r.Header.Get("X-Accepted-OAuth-Scopes")),
			cmp.Or(e.quote(r.Header.Get("X-OAuth-Scopes")), "none"))
	}
}

// frontRealm reports whether the challenge is one that a front end sends by itself: its default
// realm, or no sign of a server behind it.
func (e *evidence) frontRealm() bool {
	if e.response.Header.Has("Via") {
		return false
	}
	front := false
	for _, name := range []string{"nginx", "openresty", "caddy", "apache", "traefik", "haproxy", "lighttpd"} {
		front = front || e.seen["front-"+name] && !e.response.Header.Has("X-Powered-By")
	}
	for _, c := range e.challenges {
		realm, _ := c.Param("realm")
		switch strings.ToLower(realm) {
		case "traefik", "authelia", "authentik", "restricted", "caddy":
			return true
		}
		if front && realmOfFront.MatchString(realm) {
			return true
		}
	}
	return e.seen["front-caddy"] && e.seen["challenged"]
}

// signInPage matches addresses of pages for a sign-in.
var signInPage = regexp.MustCompile(`(?i)log-?in|/sessions?/new\b|sign[-_ ]?in|/sso|/auth|oauth2/start|/saml|cas/`)

// statusText returns the digits of a status, or "odd" for a number outside of 100 to 999.
func statusText(status int) string {
	const digits = "0123456789"
	if status < 100 || status > 999 {
		return "odd"
	}
	return string([]byte{digits[status/100], digits[status/10%10], digits[status%10]})
}

// frontName returns the name of a server's software in lower case.
func frontName(value string) string {
	name, _, _ := strings.Cut(strings.ToLower(value), "/")
	name, _, _ = strings.Cut(name, " ")
	name, _, _ = strings.Cut(name, "-nginx") // cloudflare-nginx
	return name[:min(len(name), 30)]
}

// challengeFacts compares the challenges with the request.
func (e *evidence) challengeFacts() {
	r := e.response
	offered := e.offered()
	if len(offered) > 0 {
		e.add("challenged", Computed, e.challengeField(), "the server offers %s", e.quote(strings.Join(offered, ", ")))
	} else if r.Status == 401 {
		e.add("no-challenge", Computed, "WWW-Authenticate", "401 without WWW-Authenticate (RFC 9110 s15.5.2)")
	} else if r.Status == 407 {
		e.add("no-challenge", Computed, "Proxy-Authenticate", "407 without Proxy-Authenticate (RFC 9110 s15.5.8)")
	}
	hasError := false
	for _, c := range e.challenges {
		e.claimsWanted(c)
		e.tokenAddress(c)
		if code := c.errorCode(); code != "" {
			hasError = true
			e.add("error-"+code, Coded, "WWW-Authenticate error", "error is %s (RFC 6750 s3.1, RFC 9449 s7.1)", e.quote(code))
		}
		if _, ok := c.Param("resource_metadata"); ok {
			e.add("resource-metadata", Computed, e.challengeField(), "the challenge names the metadata of the resource (RFC 9728 s5.1)")
			e.metadataAddress(c)
		}
		if _, ok := c.Param("scope"); ok {
			e.add("scope-named", Computed, "WWW-Authenticate scope", "the challenge names a scope")
		}
		if realm, _ := c.Param("realm"); strings.HasPrefix(realm, "http") && strings.EqualFold(c.Scheme, "Bearer") {
			if _, ok := c.Param("service"); ok {
				e.add("token-realm", Computed, "WWW-Authenticate realm", "the challenge names the address to fetch a token from")
			}
		}
	}
	for _, code := range e.codes { // an OAuth error in the body (RFC 6749 s5.2)
		standard := slices.Contains(oauthErrors, strings.ToLower(code.value))
		if code.alone && (strings.HasPrefix(code.at, "body") || code.at == "Location" || code.at == "address") && (code.name == "error" || standard) || code.name == "text" && standard {
			e.add("error-"+strings.ToLower(code.value), Coded, code.at, "error is %s", e.quote(code.value))
			if standard {
				hasError = true
			}
		}
	}
	if len(offered) > 0 && !hasError {
		e.add("bare-challenge", Computed, e.challengeField(), "the challenge has no error")
	}
	connection := len(offered) > 0
	for _, s := range offered {
		if s != "negotiate" && s != "ntlm" && s != "kerberos" {
			connection = false
		}
		e.add("offers-"+s, Computed, e.challengeField(), "the server offers %s", e.quote(s))
	}
	if connection {
		e.add("offers-windows-only", Computed, e.challengeField(), "the server offers %s alone", e.quote(strings.Join(offered, ", ")))
	}
	if digests := e.digestOffers(); len(digests) > 0 {
		if algorithm, _ := digests[0].Param("algorithm"); strings.HasPrefix(strings.ToUpper(algorithm), "SHA-") {
			e.add("newer-digest-first", Computed, e.challengeField(), "the first Digest challenge has the algorithm %s, which many clients do not know", e.quote(algorithm))
		}
	}
	if len(offered) == 1 {
		e.add("offers-"+offered[0]+"-only", Computed, e.challengeField(), "the server offers %s alone", e.quote(offered[0]))
	}
	kind := secretInAuthorization
	if r.Status == 407 {
		kind = secretInProxyAuthorization
	}
	if auth := e.sent(kind); auth != nil && auth.scheme != "" && strings.TrimSpace(auth.value) != "" && len(offered) > 0 {
		if slices.Contains(offered, auth.scheme) || auth.scheme == "ntlm" && slices.Contains(offered, "negotiate") || strings.HasPrefix(auth.scheme, "aws4") && slices.Contains(offered, "aws4-hmac-sha256") {
			e.add("scheme-offered", Computed, e.challengeField(), "the scheme sent, %s, is offered", e.quote(auth.scheme))
		} else if slices.Contains(schemes, auth.scheme) && !(len(offered) == 1 && offered[0] == "oauth" && auth.scheme == "basic") { // servers that offer OAuth 1 alone take passwords, too
			e.add("scheme-not-offered", Computed, e.challengeField(), "the scheme sent is %s, the server offers %s", e.quote(auth.scheme), e.quote(strings.Join(offered, ", ")))
		}
	}
	if auth := e.sent(secretInAuthorization, secretInProxyAuthorization); auth != nil && (auth.scheme == "negotiate" || auth.scheme == "ntlm" || auth.scheme == "kerberos") {
		e.windowsFacts(auth)
	}
}

// metadataAddress adds a fact if a client cannot reach the address of the metadata that a challenge
// names.
func (e *evidence) metadataAddress(c challenge) {
	named, _ := c.Param("resource_metadata")
	u, err := url.Parse(named)
	here := e.target.Hostname()
	switch {
	case named == "" || here == "" || !publicHost(here):
	case err != nil || !u.IsAbs() || u.Host == "":
		e.add("resource-metadata-inner", Computed, e.challengeField(), "resource_metadata is %s, no absolute address (RFC 9728 s5.1)", e.quote(named))
	case localHost(u.Hostname()) || clusterName.MatchString(u.Hostname()) || !strings.Contains(u.Hostname(), "."):
		e.add("resource-metadata-inner", Computed, e.challengeField(), "resource_metadata is %s, an inner name; the address is of %s", e.quote(named), e.quote(e.target.Host))
	case u.Port() != "" && e.target.Port() == "" && strings.EqualFold(u.Hostname(), here) && u.Port() != "443":
		e.add("resource-metadata-inner", Computed, e.challengeField(), "resource_metadata is %s, with the port %s, which the address of the request does not have", e.quote(named), u.Port())
	case u.Scheme == "http" && e.target.Scheme == "https":
		e.add("resource-metadata-inner", Computed, e.challengeField(), "resource_metadata is %s, http behind https", e.quote(named))
	}
}

// tokenAddress adds facts if a client cannot reach the address that the realm of a registry names.
func (e *evidence) tokenAddress(c challenge) {
	realm, _ := c.Param("realm")
	_, service := c.Param("service")
	here := e.target.Hostname()
	if !service || !strings.EqualFold(c.Scheme, "bearer") || !strings.Contains(realm, "://") {
		return
	}
	u, err := url.Parse(realm)
	switch {
	case err != nil || u.Host == "" || strings.Contains(u.Hostname(), ":") && !strings.Contains(u.Host, "["):
		e.add("challenge-address-unreadable", Computed, e.challengeField(), "the realm %s is no address", e.quote(realm))
	case here == "" || localHost(here) || strings.EqualFold(here, u.Hostname()):
	case localHost(u.Hostname()) && publicHost(here) || clusterName.MatchString(u.Hostname()):
		e.add("token-address-inner", Computed, e.challengeField(), "the realm is %s, an inner name; the address is of %s", e.quote(realm), e.quote(e.target.Host))
	}
}

// claimsWanted adds facts about the claims that a challenge of Microsoft asks for: a strong
// sign-in, or a token that is newer than an event such as a changed password.
func (e *evidence) claimsWanted(c challenge) {
	text, _ := c.Param("claims")
	if code := c.errorCode(); code != "insufficient_claims" && text == "" {
		return
	}
	e.add("claims-wanted", Coded, e.challengeField(), "the challenge asks for a token with other claims")
	octets, err := base64.RawStdEncoding.DecodeString(strings.NewReplacer("-", "+", "_", "/", "=", "").Replace(text))
	if err != nil {
		octets = []byte(text)
	}
	var wanted struct {
		Access map[string]json.RawMessage `json:"access_token"`
		ID     map[string]json.RawMessage `json:"id_token"`
	}
	if json.Unmarshal(octets, &wanted) != nil {
		return
	}
	for _, claims := range []map[string]json.RawMessage{wanted.Access, wanted.ID} {
		for name := range claims {
			switch name {
			case "acrs", "acr", "amr", "auth_time":
				e.add("claims-strength", Computed, e.challengeField(), "the claims that are wanted have %s: a stronger sign-in", e.quote(name))
			case "nbf":
				e.add("claims-newer", Computed, e.challengeField(), "the claims that are wanted have nbf: a token that is newer than an event")
			case "xms_rp_ipaddr", "xms_caeerror":
				e.add("claims-address", Computed, e.challengeField(), "the claims that are wanted have %s", e.quote(name))
			case "deviceid", "device_id", "polids":
				e.add("claims-device", Computed, e.challengeField(), "the claims that are wanted have %s: a policy", e.quote(name))
			}
		}
	}
}

// oauthErrors are the error codes of OAuth (RFC 6749 s4.1.2.1 and s5.2, RFC 6750 s3.1, RFC 8628
// s3.5, RFC 9449).
var oauthErrors = []string{
	"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope", "invalid_token",
	"insufficient_scope", "access_denied", "server_error", "temporarily_unavailable", "interaction_required", "login_required",
	"account_selection_required", "consent_required", "use_dpop_nonce", "invalid_dpop_proof", "insufficient_user_authentication", "slow_down",
	"authorization_pending", "expired_token", "invalid_target", "mfa_required", "unsupported_token_type",
}

// Patterns of words in place of a message of NTLM or of a ticket.
var (
	markedNTLM   = regexp.MustCompile(`(?i)\bntlm(?:ssp)?\b`)
	markedFirst  = regexp.MustCompile(`(?i)\b(?:type|message)[- ]?(?:1|one)\b|\bfirst message\b|\bnegotiate message\b`)
	markedLast   = regexp.MustCompile(`(?i)\b(?:type|message)[- ]?(?:3|three)\b|\b(?:third|last) message\b|\bauthenticate message\b`)
	markedTicket = regexp.MustCompile(`(?i)\bkerberos\b|\bkrb5?\b|\bticket\b|\bspnego\b|\bgss-?api\b|\bap-?req\b`)
)

// windowsFacts adds facts about Negotiate and NTLM (RFC 4559 s4).
func (e *evidence) windowsFacts(auth *credential) {
	value := strings.TrimSpace(auth.value)
	ntlm := strings.HasPrefix(value, "TlRMTVNT") || auth.scheme == "negotiate" && markedNTLM.MatchString(auth.mark)
	switch {
	case strings.HasPrefix(value, "TlRMTVNTUAAD") || (ntlm || auth.scheme == "ntlm") && markedLast.MatchString(auth.mark):
		if e.response.Status == 401 || e.response.Status == 407 {
			e.add("ntlm-last-refused", Computed, auth.place, "the third message of NTLM was answered by a fresh challenge")
		}
	case strings.HasPrefix(value, "TlRMTVNTUAAB") || (ntlm || auth.scheme == "ntlm") && markedFirst.MatchString(auth.mark):
		e.add("ntlm-first", Computed, auth.place, "the first message of NTLM was sent")
	}
	if ntlm && auth.scheme == "negotiate" {
		e.add("ntlm-in-negotiate", Computed, auth.place, "Negotiate carries an NTLM message: the client got no Kerberos ticket")
	}
	if strings.HasPrefix(value, "YI") || strings.HasPrefix(value, "YH") || auth.scheme == "negotiate" && !ntlm && markedTicket.MatchString(auth.mark) {
		e.add("ticket-sent", Computed, auth.place, "Negotiate carries a Kerberos ticket")
	}
	if proto := e.request.Proto + " " + e.response.Proto; (ntlm || auth.scheme == "ntlm") && (strings.Contains(proto, "HTTP/2") || strings.Contains(proto, "HTTP/3") || strings.EqualFold(strings.TrimSpace(proto), "h2")) {
		e.add("ntlm-over-streams", Computed, auth.place, "NTLM authenticates a connection, and the request uses a version of HTTP whose connections carry many requests at once")
	}
	for _, c := range e.challenges {
		if strings.HasPrefix(c.Token68, "TlRMTVNTUAAC") && strings.HasPrefix(value, "TlRMTVNTUAAB") {
			e.add("ntlm-middle", Computed, e.challengeField(), "the answer is the second message of NTLM: the handshake goes on")
		}
	}
}

// historyFacts compares the exchange with the earlier ones, and with the metadata that is among them.
func (e *evidence) historyFacts() {
	earlier := e.c.Earlier()
	for i := range earlier {
		if x := &earlier[i]; x.Request != nil {
			e.earlierFacts(x, i == len(earlier)-1)
		}
	}
	if n := countRefusals(earlier); n >= 3 {
		e.add("many-refusals", Computed, "history", "%d requests were refused before", n)
	}
	e.metadataFacts()
}

// earlierFacts compares the exchange with an earlier one. If last is set, x is the one just before.
func (e *evidence) earlierFacts(x *Exchange, last bool) {
	before := parseTarget(x.Request)
	status := 0
	if x.Response != nil {
		status = x.Response.Status
	}
	same := sameHost(before, e.target)
	carried := x.Request.Header.Has("Authorization") || len(x.Request.Header.Values("Cookie")) > 0
	if x.Probe == "" && carried && same {
		e.add("earlier-credentials", Computed, "history", "an earlier request had credentials")
	}
	if x.Response != nil && same && before.Scheme == "https" && e.target.Scheme == "http" {
		if to, err := url.Parse(x.Response.Header.Get("Location")); err == nil && to.Scheme == "http" && sameHost(to, before) {
			e.add("address-downgraded", Computed, "history", "the server was asked with https, and its Location has http")
		}
	}
	if status >= 300 && status < 400 {
		e.redirectFacts(x, before, last)
	}
	if last && (status == 201 || status == 202) && x.Request.Header.Has("Authorization") && !e.request.Header.Has("Authorization") && e.request.Whole {
		if to := parseTarget(&Request{URL: x.Response.Header.Get("Location")}); to.Host != "" && originOf(to) != originOf(before) && to.Path == e.target.Path {
			e.add("lost-at-redirect", Computed, "history", "Location led from %s to %s, and the client dropped Authorization", e.quote(originOf(before)), e.quote(originOf(to)))
		}
	}
	if strings.EqualFold(x.Request.Method, "OPTIONS") {
		switch {
		case x.Probe == "" && status >= 400:
			e.add("preflight-failed", Computed, "history", "the preflight before it was answered %d", status)
		case x.Probe == ProbePreflight && (status == 401 || status == 403 || status == 407):
			e.add("preflight-failed", Computed, "probe", "a preflight is answered %d", status)
		}
	}
	if status >= 200 && status < 300 && same {
		e.acceptedBefore(x, before)
		e.keyHistory(x, before)
	}
	if status == 401 && same && before.Path == e.target.Path && x.Request.Header.Get("Authorization") != e.request.Header.Get("Authorization") {
		e.add("asked-before", Computed, "history", "the request was refused before, and answered anew")
	}
	if x.Response != nil && status == e.response.Status && before.Path == e.target.Path && before.Host != e.target.Host {
		was, is := len(x.Response.Header.Values("WWW-Authenticate")), len(e.response.Header.Values("WWW-Authenticate"))
		if was > is {
			e.add("challenge-dropped", Computed, "history", "%s sends %d challenges, %s sends %d", e.quote(before.Host), was, e.quote(e.target.Host), is)
		} else if was == is && was > 0 {
			e.droppedParameters(x.Response, before)
		}
	}
}

// redirectFacts adds what a redirect x to the request lost: clients drop Authorization at another
// origin, and the body where they send GET.
func (e *evidence) redirectFacts(x *Exchange, before *url.URL, last bool) {
	location := x.Response.Header.Get("Location")
	to, err := before.Parse(location)
	dropped := x.Request.Header.Has("Authorization") && e.request.Header.Get("Authorization") == ""
	switch {
	case !dropped || err != nil:
	case e.request.Whole && to.Host != "" && originOf(to) != originOf(before):
		e.add("lost-at-redirect", Computed, "history", "a redirect led from %s to %s, and the client dropped Authorization", e.quote(originOf(before)), e.quote(originOf(to)))
	case e.request.Whole && to.Host != "" && to.Path == e.target.Path && last:
		e.add("lost-at-target", Computed, "history", "a redirect of the same origin led here from %s, and the client dropped Authorization", e.quote(before.Path))
	case e.request.Whole && to.Host != "":
		e.add("lost-at-same-origin", Computed, "history", "after a redirect the request has no Authorization")
	case !e.request.Whole && last && !sameHost(before, e.target) && e.noted(NoteFollowsRedirect) && !e.noted(NoteSendsToOthers):
		e.add("lost-at-redirect", Computed, "history", "a redirect led to another host, %s: curl leaves out Authorization there", e.quote(e.target.Host))
	}
	if x.Response.Status <= 303 && err == nil && len(bodyMembers(x.Request)) > 0 && len(e.request.Body) == 0 && e.request.Whole && e.request.Header.Get("Authorization") == "" &&
		strings.EqualFold(e.request.Method, "GET") && originOf(to) != originOf(before) && to.Path == e.target.Path {
		e.add("body-lost-at-redirect", Computed, "history", "a redirect led from %s to %s, and the client sent GET in place of %s, without the body (RFC 9110 s15.4.2)", e.quote(originOf(before)), e.quote(originOf(to)), e.quote(x.Request.Method))
	}
	if location != "" {
		e.add("redirected", Computed, "history", "a redirect led here from %s", e.quote(originOf(before)))
	}
}

// noted reports whether the reader of the input made a note.
func (e *evidence) noted(id string) bool {
	return slices.ContainsFunc(e.c.Notes, func(n Note) bool { return n.ID == id })
}

// sameMark matches a mask that says that the secret is the one of the request before.
var sameMark = regexp.MustCompile(`(?i)<(?:the )?same (?:token|key|credentials|password)>`)

// acceptedBefore adds whether an accepted request x of the same host had the same credentials.
func (e *evidence) acceptedBefore(x *Exchange, before *url.URL) {
	auth := e.request.Header.Get("Authorization")
	if auth != "" && (x.Request.Header.Get("Authorization") == auth || sameMark.MatchString(auth)) {
		e.add("worked-elsewhere", Computed, "history", "the same credentials were accepted for %s", e.quote(before.Path))
		if before.Path == e.target.Path && before.Scheme == e.target.Scheme && strings.EqualFold(x.Request.Method, e.request.Method) && sameBody(x.Request, e.request) {
			e.add("worked-before", Computed, "history", "an earlier identical request was accepted")
		}
	}
	if auth == "" && x.Request.URL != e.request.URL && e.sameKey(x.Request) {
		e.add("worked-elsewhere", Computed, "history", "the same key was accepted for %s", e.quote(before.Path))
	}
	if auth == "" && e.seen["key-in-query"] && x.Request.URL == e.request.URL && x.Request.Method == e.request.Method {
		e.add("worked-before", Computed, "history", "an earlier identical request was accepted")
		e.add("key-worked-before", Computed, "history", "an earlier identical request was accepted")
	}
}

// metadataFacts adds whether the metadata that the challenge names can be read, and whether it is
// that of this resource (RFC 9728 s3).
func (e *evidence) metadataFacts() {
	named := map[string]bool{} // the addresses of resource_metadata
	for _, c := range e.challenges {
		if address, _ := c.Param("resource_metadata"); address != "" {
			named[address] = true
		}
	}
	for _, x := range e.c.Exchanges {
		if x.Response == nil || x.Request == nil {
			continue
		}
		path := parseTarget(x.Request).Path
		body := bytes.TrimSpace(x.Response.Body)
		if named[parseTarget(x.Request).String()] && (x.Response.Status >= 400 || x.Response.Status == 200 && len(body) > 0 && body[0] != '{') {
			e.add("metadata-unreachable", Computed, "history", "the address of resource_metadata answers %d and no metadata", x.Response.Status)
		}
		switch {
		case (x.Probe == ProbeResourceMetadata || strings.Contains(path, "/.well-known/oauth-protected-resource")) && x.Response.Status >= 400:
			e.add("metadata-unreachable", Computed, "history", "the metadata of the resource is answered %d", x.Response.Status)
		case (x.Probe == ProbeServerMetadata || strings.Contains(path, "/.well-known/oauth-authorization-server")) && x.Response.Status >= 400:
			e.add("server-metadata-unreachable", Computed, "history", "the metadata of the authorization server is answered %d", x.Response.Status)
		}
	}
	for _, doc := range e.documents() {
		if resource := text(doc.members, "resource"); resource != "" && e.target.Host != "" {
			e.compareResource(resource)
		}
	}
	for _, line := range e.c.Log { // metadata pasted below the exchange
		if i := strings.Index(line, `"resource"`); i >= 0 {
			if m := resourceMember.FindStringSubmatch(line[i:]); m != nil {
				e.compareResource(m[1])
			}
		}
	}
}

// droppedParameters adds a fact if the challenge of another host for the same path has more
// parameters.
func (e *evidence) droppedParameters(behind *Response, before *url.URL) {
	was, is := challengesOf(behind.Header.Values("WWW-Authenticate")), challengesOf(e.response.Header.Values("WWW-Authenticate"))
	if len(was) != len(is) {
		return
	}
	for i := range was {
		for _, p := range was[i].Params {
			if _, ok := is[i].Param(p.Name); !ok && strings.EqualFold(was[i].Scheme, is[i].Scheme) {
				e.add("challenge-dropped", Computed, "history", "the challenge of %s has the parameter %s, which that of %s does not have", e.quote(before.Host), e.quote(p.Name), e.quote(e.target.Host))
				return
			}
		}
	}
}

// keyHistory compares the key field of the request with that of an accepted request x and with the
// values of its response.
func (e *evidence) keyHistory(x *Exchange, before *url.URL) {
	key := e.sent(secretInField)
	if key == nil {
		return
	}
	value := e.request.Header.Get(key.place)
	if x.Response.Header.Has(key.place) && x.Response.Header.Get(key.place) == value {
		e.add("session-given", Computed, "history", "an earlier response contains the value of %s", e.quote(key.place))
	}
	if x.Request.Header.Get(key.place) != value {
		return
	}
	e.add("worked-elsewhere", Computed, "history", "the same key was accepted for %s", e.quote(before.Path))
	if before.Path == e.target.Path && sameBody(x.Request, e.request) {
		e.add("worked-before", Computed, "history", "an earlier identical request was accepted")
		e.add("key-worked-before", Computed, "history", "an earlier identical request was accepted")
	}
}

// sameBody reports whether the bodies of two requests are the same as far as they are known. One
// address may serve several operations that the body names, as those of JSON-RPC.
func sameBody(a, b *Request) bool {
	return len(a.Body) == 0 || len(b.Body) == 0 || bytes.Equal(bytes.TrimSpace(a.Body), bytes.TrimSpace(b.Body))
}

// otherAgentAlone reports whether two requests differ in User-Agent and in nothing else that they
// show.
func otherAgentAlone(a, b *Request) bool {
	if a.Header.Get("User-Agent") == b.Header.Get("User-Agent") && a.Header.Has("User-Agent") == b.Header.Has("User-Agent") {
		return false
	}
	fields := func(r *Request) (all []string) {
		for _, f := range r.Header {
			if !strings.EqualFold(f.Name, "User-Agent") {
				all = append(all, strings.ToLower(f.Name)+": "+f.Value)
			}
		}
		slices.Sort(all)
		return all
	}
	return slices.Equal(fields(a), fields(b))
}

// resourceMember matches the member resource of metadata in JSON (RFC 9728 s2).
var resourceMember = regexp.MustCompile(`"resource"\s*:\s*"([^"]+)"`)

// compareResource compares the resource of the metadata with the address (RFC 9728 s3.3).
func (e *evidence) compareResource(resource string) {
	have := *e.target
	have.RawQuery = ""
	u, err := url.Parse(resource)
	if err != nil || u.Host == "" {
		return
	}
	if originOf(u) != originOf(&have) || u.Path != have.Path {
		e.add("resource-differs", Computed, "metadata resource", "resource is %s, the address is %s (RFC 9728 s3.3)", e.quote(resource), e.quote(have.String()))
	}
}

// countRefusals returns how many of the exchanges were answered 401 or 403.
func countRefusals(list []Exchange) (n int) {
	for _, x := range list {
		if x.Response != nil && (x.Response.Status == 401 || x.Response.Status == 403) {
			n++
		}
	}
	return n
}

// sameHost reports whether two addresses have the same host and port. An unknown host is equal to
// each.
func sameHost(a, b *url.URL) bool {
	return strings.EqualFold(a.Host, b.Host) || a.Host == "" || b.Host == ""
}

// originOf returns scheme and host of an address in lower case.
func originOf(u *url.URL) string { return strings.ToLower(u.Scheme + "://" + u.Host) }

// curlMethod matches the scheme that an option of curl chooses, in a note of the reader.
var curlMethod = regexp.MustCompile(`curl authenticates with --(negotiate|ntlm|digest)\b`)

// methodFacts compares the scheme that an option of the client chooses with those that the server
// offers.
func (e *evidence) methodFacts(method string) {
	offered := e.offered()
	switch {
	case len(offered) == 0:
	case !slices.Contains(offered, method) && !(method == "ntlm" && slices.Contains(offered, "negotiate")):
		e.add("method-not-offered", Computed, e.challengeField(), "an option of the client chooses %s; the server offers %s", method, e.quote(strings.Join(offered, ", ")))
	case method == "negotiate":
		e.add("negotiate-unanswered", Computed, "Authorization", "an option of the client chooses Negotiate, which the server offers; the request has no ticket")
	}
}

// cookieNames returns the names of the cookies of a request.
func cookieNames(h Fields) (names []string) {
	for _, line := range h.Values("Cookie") {
		for pair := range strings.SplitSeq(line, ";") {
			if name, _, ok := strings.Cut(strings.TrimSpace(pair), "="); ok && name != "" && len(names) < 100 {
				names = append(names, name)
			}
		}
	}
	return names
}

// setCookies parses the Set-Cookie lines of a response (RFC 6265 s5.2).
func setCookies(h Fields) (list []*http.Cookie) {
	for _, line := range h.Values("Set-Cookie") {
		if c, err := http.ParseSetCookie(line); err == nil && len(list) < 60 {
			list = append(list, c)
		}
	}
	return list
}

// setCookieNames returns the names of the cookies that a response sets.
func setCookieNames(h Fields) (names []string) {
	for _, c := range setCookies(h) {
		names = append(names, c.Name)
	}
	return names
}

// cookieFacts compares the cookies that were set before with those that came back (RFC 6265bis
// s5.8.3).
func (e *evidence) cookieFacts() {
	sent := cookieNames(e.request.Header)
	for _, x := range e.c.Earlier() {
		if x.Response == nil || x.Probe != "" || x.Request == nil && x.Response.Status >= 400 {
			continue
		}
		from := &url.URL{} // a field Set-Cookie alone, pasted above the exchange
		if x.Request != nil {
			from = parseTarget(x.Request)
		}
		for _, c := range setCookies(x.Response.Header) {
			if slices.Contains(sent, c.Name) || c.MaxAge < 0 || c.Value == "" && c.MaxAge == 0 && !c.Expires.IsZero() {
				continue
			}
			if from.Host != "" && e.target.Host != "" && !sameSite(from.Hostname(), e.target.Hostname()) && c.Domain == "" {
				continue
			}
			e.withheld(c, from, parseHTTPDate(x.Response.Header.Get("Date")))
		}
	}
	cleared, absent := 0, 0
	for _, c := range setCookies(e.response.Header) {
		if c.MaxAge < 0 || !c.Expires.IsZero() && (c.Expires.Before(e.now) && (e.at.IsZero() || c.Expires.Before(e.at))) || c.Value == "" {
			cleared++
			if !slices.Contains(sent, c.Name) {
				absent++
				e.add("cleared-unsent", Computed, "Set-Cookie", "the refusal clears the cookie %s, which the request did not have", e.quote(c.Name))
			} else {
				e.add("cookie-cleared", Computed, "Set-Cookie", "the refusal clears the cookie %s", e.quote(c.Name))
			}
		}
	}
	if e.has("cross-site", "cleared-unsent") && len(sent) > 0 {
		e.add("cookie-withheld", Computed, "Cookie", "the browser came from another site and left out a cookie that the server clears: SameSite=Strict keeps it back")
	}
}

// noteFacts turns the notes of the reader into facts.
func (e *evidence) noteFacts() {
	for _, n := range e.c.Notes {
		if m := curlMethod.FindStringSubmatch(n.Text); n.ID == NoteAuthMethod && m != nil && !e.request.Header.Has("Authorization") && e.response.Status == 401 {
			e.methodFacts(m[1])
		}
	}
	for _, n := range e.c.Notes {
		e.add("note-"+n.ID, Computed, n.At, "%s", e.quote(n.Text))
	}
}

// sameKey reports whether an earlier request had the key of this one in the same field or
// parameter.
func (e *evidence) sameKey(earlier *Request) bool {
	for i := range e.credentials {
		c := &e.credentials[i]
		switch c.kind {
		case secretInField:
			if v := e.request.Header.Get(c.place); v != "" && v == earlier.Header.Get(c.place) {
				return true
			}
		case secretInQuery:
			name, _ := strings.CutPrefix(c.place, "parameter ")
			if v := e.target.Query().Get(name); v != "" && v == parseTarget(earlier).Query().Get(name) {
				return true
			}
		}
	}
	return false
}
