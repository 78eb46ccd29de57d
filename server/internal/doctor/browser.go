package doctor

import (
	"bytes"
	"encoding/base64"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// This file adds facts about requests of browsers: checks against forged requests, preflights,
// frames, WebSockets, second steps of a sign-in, and redirects.

// Patterns of the fields of browsers, and of the pages to which servers redirect them.
var (
	factorPage    = regexp.MustCompile(`(?i)(^|[/_.?&=-])(2fa|mfa|totp|u2f|webauthn|two-?_?factor|second-?_?factor|multi-?_?factor|select-?challenge|otp|one-time-(?:code|password)|authenticator|step-?_?up|sudo|re-?auth(?:enticat\w+)?|elevate|confirm-?_?(?:password|identity|access)|password[/_-]confirm(?:ation)?|verify-(?:code|device|login|2fa|mfa)|login/challenge|challenge/(?:totp|email|sms|u2f|webauthn|backup))([/_.?&=-]|$)`)
	factorTold    = regexp.MustCompile(`(?i)"(?:mfa|2fa|totp|otp|two_?factor|second_?factor|requires?_?(?:2fa|mfa|otp|totp|two_?factor)|(?:mfa|2fa|otp|totp|two_?factor)_?(?:required|needed|enabled|pending|token|challenge|state))[a-z_]*"\s*:\s*(?:true|"[^"]+"|\[|\{)|:\s*"(?:mfa|2fa|totp|otp|two[-_]?factor|second[-_]?factor)[-_a-z]*"`)
	cookieBlocked = regexp.MustCompile(`(?i)\bset-cookie\b.{0,300}\b(?:was|were|is) (?:blocked|rejected|ignored)\b|\bcookie\b.{0,120}\bhas been (?:rejected|blocked)\b|\bcookie\b["']* is too (?:large|big|long)\b|\bcookies? (?:larger|bigger) than\b|\bcookie size limit\b`)
	stepUp        = regexp.MustCompile(`(?i)[?&](?:acr_values=|max_age=0(?:&|$)|vtr=)`)
	plainNames    = regexp.MustCompile(`(?i)csrf|xsrf|^_?_?(?:g[ac]|gid|gat|utm\w*|fbp|hj\w*|cf_bm|cfduid|dd_s|ga_.*|lang|language|locale|i18n\w*|theme|color.?mode|timezone|tz|consent|cookie.?consent|redirect\w*|next-auth\.callback-url)$`)
	sessionNames  = regexp.MustCompile(`(?i)sess|(?:^|[-_.])(?:sid|token|jwt|auth|login)(?:$|[-_.])`)
	signInForm    = regexp.MustCompile(`(?i)<input[^>]+type=["']?password|<title>[^<]{0,60}\b(?:log[ -]?in|sign[ -]?in|authentik|authelia|keycloak|pomerium|pangolin|tinyauth)\b`)
	apiPath       = regexp.MustCompile(`(?i)/(?:api|rest|graphql|v\d+|rpc|ajax|odata|json)(?:/|$)|\.json$`)
)

// shortLife is a usual lifetime of access tokens: after it, a refusal of the same token may be its
// end.
const shortLife = 10 * time.Minute

// guarded lists programs that take their cookie only with the field of a check against forged
// requests. Without the field they answer as they answer a request without a session.
var guarded = []struct {
	cookie, path *regexp.Regexp
	field        string
	safe         bool // GET needs the field, too
}{
	{regexp.MustCompile(`^wordpress_(?:logged_in|sec)_`), regexp.MustCompile(`/wp-json/|rest_route=`), "X-WP-Nonce", true},
	{regexp.MustCompile(`^JWT-SESSION$`), nil, "X-XSRF-TOKEN", true},
	{regexp.MustCompile(`^P(?:VE|BS|MG)AuthCookie$`), nil, "CSRFPreventionToken", false},
	{regexp.MustCompile(`^(?:TOKEN|unifises)$`), regexp.MustCompile(`/proxy/(?:network|protect|access|talk|drive|users)/|/api/s/`), "X-CSRF-Token", false},
	{regexp.MustCompile(`^username-`), regexp.MustCompile(`/api/`), "X-XSRFToken", false},
	{regexp.MustCompile(`^S?SESS[0-9a-f]{32}$`), nil, "X-CSRF-Token", false},
	{regexp.MustCompile(`^JSESSIONID\.[0-9a-f]{8}$`), nil, "Jenkins-Crumb", false},
}

// browserFacts adds facts about requests of browsers: checks against forged requests, frames,
// WebSockets, second steps of a sign-in, and redirects.
func (e *evidence) browserFacts() {
	r := e.request
	cookies := cookieNames(r.Header)
	e.guardFacts(cookies)
	e.factorFacts()
	if len(cookies) > 0 && !slices.ContainsFunc(cookies, func(name string) bool { return !plainNames.MatchString(name) }) {
		e.add("session-cookie-absent", Computed, "Cookie", "the names of the cookies are those of settings, statistics and checks; none is that of a session")
	}
	if i := slices.IndexFunc(cookies, func(name string) bool { return sessionNames.MatchString(name) && !plainNames.MatchString(name) }); i >= 0 {
		e.add("session-cookie-sent", Computed, "Cookie", "the name of the cookie %s is that of a session or a token", e.quote(cookies[i]))
	}
	dest := strings.ToLower(r.Header.Get("Sec-Fetch-Dest"))
	if access := strings.ToLower(r.Header.Get("Sec-Fetch-Storage-Access")); (access == "none" || access == "inactive") && len(cookies) == 0 {
		e.add("storage-withheld", Computed, "Sec-Fetch-Storage-Access", "Sec-Fetch-Storage-Access is %s: the page is in a frame of another site, and the browser keeps its cookies back", e.quote(access))
	}
	if e.seen["cross-site"] && slices.Contains([]string{"iframe", "frame", "embed", "object"}, dest) {
		e.add("framed-elsewhere", Computed, "Sec-Fetch-Dest", "a page of another site shows this one in a frame; browsers do not send cookies with SameSite=Lax or Strict there")
	}
	if e.seen["authorization-absent"] && (dest == "manifest" || dest == "image" || dest == "script" || dest == "style" || dest == "video" || dest == "audio" || dest == "font" || dest == "worker" || dest == "serviceworker") {
		e.add("browser-fetches", Computed, "Sec-Fetch-Dest", "the browser itself fetches this %s, and a page cannot set Authorization for it", e.quote(dest))
	}
	if strings.Contains(strings.ToLower(r.Header.Get("Accept")), "text/event-stream") && (r.Method == "GET" || r.Method == "") {
		e.add("event-stream", Computed, "Accept", "the request asks for text/event-stream, as EventSource does, which cannot set Authorization")
		if e.seen["authorization-absent"] {
			e.add("browser-fetches", Computed, "Accept", "the request asks for text/event-stream, as EventSource does, which cannot set Authorization")
		}
	}
	if e.seen["authorization-absent"] && (strings.EqualFold(r.Header.Get("Upgrade"), "websocket") || e.target.Scheme == "ws" || e.target.Scheme == "wss") {
		e.add("browser-fetches", Computed, "Upgrade", "the request opens a WebSocket, and a page cannot set Authorization for it")
	}
	if q := e.target.Query(); e.target.Scheme == "http" && strings.EqualFold(q.Get("spr"), "https") {
		e.add("https-demanded", Computed, "parameter spr", "spr of the signed address allows https only, and the request uses http")
	}
	if body := e.response.Body; e.response.Status == 200 && e.seen["body-html"] && signInForm.Match(body[:min(len(body), maxBody)]) && e.wantsData() {
		e.add("sign-in-page", Computed, "body", "the answer to a request for data is a sign-in page with status 200")
	}
	e.preflightFacts()
	e.signedCookieFacts()
	if e.seen["cross-origin"] && strings.EqualFold(e.response.Header.Get("Access-Control-Allow-Credentials"), "true") {
		e.add("credentials-allowed", Computed, "Access-Control-Allow-Credentials", "the server allows credentials of pages of other origins; a page sends them with credentials: include (Fetch s3.3)")
	}
	if to, err := url.Parse(e.response.Header.Get("Location")); err == nil && e.response.Status >= 300 && e.response.Status < 400 && to.Scheme == "https" && e.target.Scheme == "https" &&
		strings.EqualFold(to.Host, e.target.Host) && to.Path == e.target.Path && to.RawQuery == e.target.RawQuery && !e.response.Header.Has("Set-Cookie") && !e.seen["unsafe-method"] {
		e.add("to-itself", Computed, "Location", "the redirect leads to the same https address that was asked")
	}
	if to, err := url.Parse(e.response.Header.Get("Location")); err == nil && e.response.Status >= 300 && e.response.Status < 400 && e.target.Scheme == "http" &&
		to.Scheme == "https" && strings.EqualFold(to.Hostname(), e.target.Hostname()) && to.Path == e.target.Path {
		e.add("to-https", Computed, "Location", "the redirect leads from the http address to the same address with https")
	}
	e.acceptedFacts()
}

// preflightFacts compares the answer to a preflight with the origin, fields and method of the
// preflight (Fetch s4.8).
func (e *evidence) preflightFacts() {
	asked, h, status := e.request.Header, e.response.Header, e.response.Status
	if !e.seen["preflight"] || !asked.Has("Access-Control-Request-Method") || status == 0 {
		return
	}
	list := func(h Fields, name string) []string {
		return strings.FieldsFunc(strings.ToLower(strings.Join(h.Values(name), ",")), func(r rune) bool { return r == ',' || r == ' ' })
	}
	if status >= 300 && status < 400 {
		e.add("preflight-lacks", Computed, "status", "the answer to the preflight is a redirect, which browsers do not follow")
		return
	}
	if status >= 300 {
		return
	}
	origin, allowed := asked.Get("Origin"), h.Get("Access-Control-Allow-Origin")
	fields, methods := list(h, "Access-Control-Allow-Headers"), list(h, "Access-Control-Allow-Methods")
	method := strings.ToLower(asked.Get("Access-Control-Request-Method"))
	switch {
	case allowed == "" || allowed != "*" && origin != "" && !strings.EqualFold(allowed, origin):
		e.add("preflight-lacks", Computed, "Access-Control-Allow-Origin", "the answer to the preflight does not allow the page %s", e.quote(origin))
	case slices.Contains(list(asked, "Access-Control-Request-Headers"), "authorization") && !slices.Contains(fields, "authorization"):
		e.add("preflight-lacks", Computed, "Access-Control-Allow-Headers", "the answer to the preflight does not allow Authorization, which * does not include (Fetch s4.8)")
	case !slices.Contains(fields, "*") && slices.ContainsFunc(list(asked, "Access-Control-Request-Headers"), func(name string) bool { return !slices.Contains(fields, name) }):
		e.add("preflight-lacks", Computed, "Access-Control-Allow-Headers", "the answer to the preflight does not allow each field that the page sends (Fetch s4.8)")
	case !slices.Contains([]string{"get", "head", "post"}, method) && !slices.Contains(methods, method) && !slices.Contains(methods, "*"):
		e.add("preflight-lacks", Computed, "Access-Control-Allow-Methods", "the answer to the preflight does not allow the method %s", e.quote(method))
	}
}

// signedCookieFacts adds a fact if signed cookies of CloudFront have expired.
func (e *evidence) signedCookieFacts() {
	if e.at.IsZero() {
		return
	}
	for _, line := range e.request.Header.Values("Cookie") {
		for pair := range strings.SplitSeq(line, ";") {
			name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
			if name == "CloudFront-Policy" {
				text, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(strings.NewReplacer("-", "+", "_", "=", "~", "/").Replace(value), "="))
				if m := policyEnd.FindSubmatch(text); err == nil && m != nil {
					name, value = "CloudFront-Expires", string(m[1])
				}
			}
			if n, err := strconv.ParseInt(value, 10, 64); name == "CloudFront-Expires" && err == nil && time.Unix(n, 0).Before(e.at) {
				e.add("cookies-expired", Computed, "Cookie", "the signed cookies were valid until %s, Date is %s", showTime(time.Unix(n, 0).UTC()), showTime(e.at))
			}
		}
	}
}

// wantsData reports whether a program or a script asks for data, as opposed to a browser that asks
// for a page.
func (e *evidence) wantsData() bool {
	accept := e.request.Header.Get("Accept")
	return apiPath.MatchString(e.target.Path) && !strings.Contains(accept, "text/html") || strings.Contains(accept, "json") && !strings.Contains(accept, "html") ||
		strings.EqualFold(e.request.Header.Get("X-Requested-With"), "XMLHttpRequest") || strings.EqualFold(e.request.Header.Get("Sec-Fetch-Dest"), "empty")
}

// guardFacts adds facts about a check against forged requests.
func (e *evidence) guardFacts(cookies []string) {
	r := e.request
	field, cookie := false, ""
	for _, f := range r.Header {
		if forgeryField.MatchString(f.Name) {
			field = true
			e.add("guard-sent", Computed, f.Name, "the request has %s, a field of a check against forged requests", e.quote(f.Name))
		}
	}
	for _, name := range cookies {
		if forgeryField.MatchString(name) {
			cookie = name
			e.add("guard-sent", Computed, "Cookie", "the cookie %s belongs to a check against forged requests", e.quote(name))
		}
	}
	for name := range bodyMembers(r) {
		if forgeryField.MatchString(name) {
			field = true
			e.add("guard-sent", Computed, "body member "+name, "the member %s belongs to a check against forged requests", e.quote(name))
		}
	}
	if cookie != "" && !field && e.seen["unsafe-method"] && strings.Contains(r.Header.Get("Content-Type"), "json") {
		e.add("guard-absent", Computed, "Cookie", "the cookie %s belongs to a check against forged requests, and no field or member of the request repeats its value", e.quote(cookie))
	}
	for _, g := range guarded {
		if !g.safe && !e.seen["unsafe-method"] || r.Header.Has(g.field) || g.path != nil && !g.path.MatchString(e.target.Path+"?"+e.target.RawQuery) || !slices.ContainsFunc(cookies, g.cookie.MatchString) {
			continue
		}
		e.add("guard-absent", Computed, g.field, "the program that sets this cookie takes it only with the field %s, which the request does not have", g.field)
	}
	if !strings.EqualFold(r.Header.Get("Origin"), "null") || !e.seen["unsafe-method"] {
		e.pageElsewhere()
		return
	}
	e.add("origin-null", Computed, "Origin", "Origin is null, as for a page without an origin or one whose Referrer-Policy hides it")
}

// pageElsewhere adds facts if Referer names another host than the request, or if a front end stands
// before the host of Origin.
func (e *evidence) pageElsewhere() {
	r := e.request
	if e.target.Host == "" {
		return
	}
	if u, err := url.Parse(r.Header.Get("Referer")); err == nil && u.Host != "" && !strings.EqualFold(u.Host, e.target.Host) && !r.Header.Has("Origin") {
		e.add("referer-elsewhere", Computed, "Referer", "Referer names a page of %s, the request goes to %s", e.quote(u.Host), e.quote(e.target.Host))
	}
	u, err := url.Parse(r.Header.Get("Origin"))
	if err != nil || u.Host == "" {
		return
	}
	if proto := r.Header.Get("X-Forwarded-Proto"); strings.EqualFold(u.Host, e.target.Host) && proto != "" && e.seen["unsafe-method"] {
		e.add("origin-behind-front", Computed, "X-Forwarded-Proto", "a front end sent X-Forwarded-Proto; Origin is %s, and a server that does not read the field compares it with http", e.quote(u.Scheme+"://"+u.Host))
	}
}

// factorFacts adds facts about the second step of a sign-in.
func (e *evidence) factorFacts() {
	to := e.response.Header.Get("Location")
	if e.response.Status >= 300 && e.response.Status < 400 && to != "" {
		path := to
		if u, err := url.Parse(to); err == nil {
			path = u.Path // the address to come back to stands in the query
		}
		if factorPage.MatchString(path) {
			e.add("to-second-factor", Computed, "Location", "the server redirects to the second step of the sign-in: %s", e.quote(to))
		} else if stepUp.MatchString(to) && e.seen["cookie-sent"] {
			e.add("to-second-factor", Computed, "Location", "the server asks the identity provider for a stronger or newer sign-in: %s", e.quote(to))
		}
	}
	earlier := e.c.Earlier()
	for i := range earlier {
		x := &earlier[i]
		if x.Request == nil || x.Response == nil || x.Probe != "" {
			continue
		}
		if x.Response.Status < 300 && factorTold.Match(x.Response.Body[:min(len(x.Response.Body), 8<<10)]) || x.Response.Status >= 300 && x.Response.Status < 400 && factorPage.MatchString(x.Response.Header.Get("Location")) {
			e.add("factor-asked", Computed, "history", "an earlier sign-in was answered with a demand for a second factor")
		} else if p := parseTarget(x.Request).Path; e.seen["factor-asked"] && factorPage.MatchString(p) && x.Response.Status < 400 && !strings.EqualFold(x.Request.Method, "GET") {
			e.add("factor-given", Computed, "history", "an earlier request to the page of the second factor was accepted")
		}
	}
}

// acceptedFacts adds facts about earlier requests with the same credentials, and whether they were
// accepted.
func (e *evidence) acceptedFacts() {
	r := e.request
	accepted, refusedThen := false, false
	earlier := e.c.Earlier()
	for i := range earlier {
		x := &earlier[i]
		if x.Request == nil || x.Response == nil || x.Probe != "" || !sameHost(parseTarget(x.Request), e.target) {
			continue
		}
		status := x.Response.Status
		cookie, auth := r.Header.Get("Cookie"), r.Header.Get("Authorization")
		if at := parseHTTPDate(x.Response.Header.Get("Date")); status >= 200 && status < 300 && auth != "" && x.Request.Header.Get("Authorization") == auth &&
			!at.IsZero() && e.at.Sub(at) >= shortLife {
			e.add("worked-long-before", Computed, "history", "the same credentials were accepted %s earlier", showDuration(e.at.Sub(at)))
		}
		if status >= 200 && status < 300 && cookie != "" && auth == "" && x.Request.Header.Get("Cookie") == cookie {
			e.add("cookie-worked-before", Computed, "history", "an earlier request with the same cookies was accepted")
		}
		same := x.Request.URL == r.URL && x.Request.Method == r.Method && x.Request.Header.Get("Cookie") == cookie && bytes.Equal(x.Request.Body, r.Body) && (cookie != "" || len(r.Body) > 0)
		token := bodyMembers(r)["refresh_token"]
		if status >= 200 && status < 300 && (same && (refreshPath.MatchString(e.target.Path) || e.seen["grant-refresh_token"]) || token != "" && bodyMembers(x.Request)["refresh_token"] == token) {
			e.add("refresh-used", Computed, "history", "an earlier request with the same refresh token was accepted")
		}
		if x.Request.Header.Get("Cookie") != cookie || x.Request.Header.Get("Authorization") != auth || cookie == "" && auth == "" {
			continue
		}
		switch {
		case status >= 200 && status < 300:
			if refusedThen && accepted {
				e.add("refused-in-turn", Computed, "history", "the same credentials were accepted, refused, accepted again and refused again")
			}
			accepted = true
		case status == 401 || status == 403:
			refusedThen = refusedThen || accepted
		}
	}
}
