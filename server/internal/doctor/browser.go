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

// Forms of what browsers send and of the pages to which servers send them.
var (
	factorPage    = regexp.MustCompile(`(?i)(^|[/_.?&=-])(2fa|mfa|totp|u2f|webauthn|two-?_?factor|second-?_?factor|multi-?_?factor|select-?challenge|otp|one-time-(?:code|password)|authenticator|step-?_?up|sudo|re-?auth(?:enticat\w+)?|elevate|confirm-?_?(?:password|identity|access)|password[/_-]confirm(?:ation)?|verify-(?:code|device|login|2fa|mfa)|login/challenge|challenge/(?:totp|email|sms|u2f|webauthn|backup))([/_.?&=-]|$)`)
	factorTold    = regexp.MustCompile(`(?i)"(?:mfa|2fa|totp|otp|two_?factor|second_?factor|requires?_?(?:2fa|mfa|otp|totp|two_?factor)|(?:mfa|2fa|otp|totp|two_?factor)_?(?:required|needed|enabled|pending|token|challenge|state))[a-z_]*"\s*:\s*(?:true|"[^"]+"|\[|\{)|:\s*"(?:mfa|2fa|totp|otp|two[-_]?factor|second[-_]?factor)[-_a-z]*"`)
	cookieBlocked = regexp.MustCompile(`(?i)\bset-cookie\b.{0,300}\b(?:was|were|is) (?:blocked|rejected|ignored)\b|\bcookie\b.{0,120}\bhas been (?:rejected|blocked)\b|\bcookie\b["']* is too (?:large|big|long)\b|\bcookies? (?:larger|bigger) than\b|\bcookie size limit\b`)
	stepUp        = regexp.MustCompile(`(?i)[?&](?:acr_values=|max_age=0(?:&|$)|vtr=)`)
	guardName     = regexp.MustCompile(`(?i)csrf|xsrf|requestverificationtoken|authenticity_token|^_token$|form_key|x-wp-nonce|crumb`)
	plainNames    = regexp.MustCompile(`(?i)csrf|xsrf|^_?_?(?:g[ac]|gid|gat|utm\w*|fbp|hj\w*|cf_bm|cfduid|dd_s|ga_.*|lang|language|locale|i18n\w*|theme|color.?mode|timezone|tz|consent|cookie.?consent|redirect\w*|next-auth\.callback-url)$`)
	signInForm    = regexp.MustCompile(`(?i)<input[^>]+type=["']?password|<title>[^<]{0,60}\b(?:log[ -]?in|sign[ -]?in)\b`)
	apiPath       = regexp.MustCompile(`(?i)/(?:api|rest|graphql|v\d+|rpc|ajax|odata|json)(?:/|$)|\.json$`)
)

// shortLife is how long most access tokens are good.
const shortLife = 10 * time.Minute

// guarded are programs that take their cookie with a field of a check against forged requests alone, and answer like to a
// request without a session if the field is missing.
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

// browserFacts adds facts about what a browser does of itself: checks against forged requests, frames, WebSockets, second
// steps of a sign-in.
func (e *evidence) browserFacts() {
	r := e.request
	cookies := cookieNames(r.Header)
	e.guardFacts(cookies)
	e.factorFacts()
	if len(cookies) > 0 && !slices.ContainsFunc(cookies, func(name string) bool { return !plainNames.MatchString(name) }) {
		e.add("session-cookie-absent", Computed, "Cookie", "the cookies are those of settings and checks: none is of a session")
	}
	dest := strings.ToLower(r.Header.Get("Sec-Fetch-Dest"))
	if e.seen["cross-site"] && slices.Contains([]string{"iframe", "frame", "embed", "object"}, dest) {
		e.add("framed-elsewhere", Computed, "Sec-Fetch-Dest", "the page stands in a frame of another site: browsers keep cookies back there")
	}
	if e.seen["authorization-absent"] && (dest == "manifest" || dest == "image" || dest == "script" || dest == "style" || dest == "video" || dest == "audio" || dest == "font" || dest == "worker" || dest == "serviceworker") {
		e.add("browser-fetches", Computed, "Sec-Fetch-Dest", "the browser fetches a %s by itself: a page cannot set Authorization for it", e.quote(dest))
	}
	if e.seen["authorization-absent"] && strings.HasPrefix(r.Header.Get("Accept"), "text/event-stream") {
		e.add("browser-fetches", Computed, "Accept", "the request may be of EventSource, which cannot set Authorization")
	}
	if e.seen["authorization-absent"] && (strings.EqualFold(r.Header.Get("Upgrade"), "websocket") || e.target.Scheme == "ws" || e.target.Scheme == "wss") {
		e.add("browser-fetches", Computed, "Upgrade", "a page cannot set Authorization for a WebSocket")
	}
	if q := e.target.Query(); e.target.Scheme == "http" && strings.EqualFold(q.Get("spr"), "https") {
		e.add("https-demanded", Computed, "parameter spr", "the signed address is for https alone, and was asked by http")
	}
	if body := e.response.Body; e.response.Status == 200 && e.seen["body-html"] && signInForm.Match(body[:min(len(body), maxBody)]) && e.wantsData() {
		e.add("sign-in-page", Computed, "body", "a sign-in page with status 200 stands for a refusal")
	}
	e.preflightFacts()
	e.signedCookieFacts()
	if e.seen["cross-origin"] && strings.EqualFold(e.response.Header.Get("Access-Control-Allow-Credentials"), "true") {
		e.add("credentials-allowed", Computed, "Access-Control-Allow-Credentials", "the server takes cookies from this page, and the page has to send them: credentials: include (Fetch s3.3)")
	}
	if to, err := url.Parse(e.response.Header.Get("Location")); err == nil && e.response.Status >= 300 && e.response.Status < 400 && to.Scheme == "https" && e.target.Scheme == "https" &&
		strings.EqualFold(to.Host, e.target.Host) && to.Path == e.target.Path && to.RawQuery == e.target.RawQuery && !e.response.Header.Has("Set-Cookie") && !e.seen["unsafe-method"] {
		e.add("to-itself", Computed, "Location", "the server sends to https what came by https: it does not know that a front end ended TLS")
	}
	if to, err := url.Parse(e.response.Header.Get("Location")); err == nil && e.response.Status >= 300 && e.response.Status < 400 && e.target.Scheme == "http" &&
		to.Scheme == "https" && strings.EqualFold(to.Hostname(), e.target.Hostname()) && to.Path == e.target.Path {
		e.add("to-https", Computed, "Location", "the server sends the same address to https, credentials and all")
	}
	e.comesAndGoes()
}

// preflightFacts compares the answer to a preflight with what it asked for (Fetch s4.8).
func (e *evidence) preflightFacts() {
	asked, h, status := e.request.Header, e.response.Header, e.response.Status
	if !e.seen["preflight"] || !asked.Has("Access-Control-Request-Method") || status == 0 {
		return
	}
	list := func(h Fields, name string) []string {
		return strings.FieldsFunc(strings.ToLower(strings.Join(h.Values(name), ",")), func(r rune) bool { return r == ',' || r == ' ' })
	}
	if status >= 300 && status < 400 {
		e.add("preflight-lacks", Computed, "status", "the preflight is answered by a redirect, which browsers do not follow")
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
		e.add("preflight-lacks", Computed, "Access-Control-Allow-Headers", "the answer to the preflight does not allow Authorization; * does not stand for it")
	case !slices.Contains([]string{"get", "head", "post"}, method) && !slices.Contains(methods, method) && !slices.Contains(methods, "*"):
		e.add("preflight-lacks", Computed, "Access-Control-Allow-Methods", "the answer to the preflight does not allow the method %s", e.quote(method))
	}
}

// signedCookieFacts adds a fact if the end of signed cookies of CloudFront is over.
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
				e.add("cookies-expired", Computed, "Cookie", "the signed cookies were good until %s, Date is %s", showTime(time.Unix(n, 0).UTC()), showTime(e.at))
			}
		}
	}
}

// wantsData reports whether the request is one of a program or a script, and not for a page.
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
		if guardName.MatchString(f.Name) {
			field = true
			e.add("guard-sent", Computed, f.Name, "the request has %s, a field of a check against forged requests", e.quote(f.Name))
		}
	}
	for _, name := range cookies {
		if guardName.MatchString(name) {
			cookie = name
			e.add("guard-sent", Computed, "Cookie", "the cookie %s belongs to a check against forged requests", e.quote(name))
		}
	}
	for name := range bodyMembers(r) {
		if guardName.MatchString(name) {
			field = true
			e.add("guard-sent", Computed, "body member "+name, "the member %s belongs to a check against forged requests", e.quote(name))
		}
	}
	if cookie != "" && !field && e.seen["unsafe-method"] && strings.Contains(r.Header.Get("Content-Type"), "json") {
		e.add("guard-absent", Computed, "Cookie", "the cookie %s has its value for a field of the request, and no field repeats it", e.quote(cookie))
	}
	for _, g := range guarded {
		if !g.safe && !e.seen["unsafe-method"] || r.Header.Has(g.field) || g.path != nil && !g.path.MatchString(e.target.Path+"?"+e.target.RawQuery) || !slices.ContainsFunc(cookies, g.cookie.MatchString) {
			continue
		}
		e.add("guard-absent", Computed, g.field, "the program takes this cookie with the field %s, which the request lacks", g.field)
	}
	if !strings.EqualFold(r.Header.Get("Origin"), "null") || !e.seen["unsafe-method"] {
		e.pageElsewhere()
		return
	}
	e.add("origin-null", Computed, "Origin", "Origin is null: a page without an origin asks, or Referrer-Policy hides it")
}

// pageElsewhere adds a fact if Referer or X-Forwarded-Host names another host than the request.
func (e *evidence) pageElsewhere() {
	r := e.request
	if e.target.Host == "" {
		return
	}
	if u, err := url.Parse(r.Header.Get("Referer")); err == nil && u.Host != "" && !strings.EqualFold(u.Host, e.target.Host) && !r.Header.Has("Origin") {
		e.add("referer-elsewhere", Computed, "Referer", "the page is from %s, the request goes to %s", e.quote(u.Host), e.quote(e.target.Host))
	}
	u, err := url.Parse(r.Header.Get("Origin"))
	if err != nil || u.Host == "" {
		return
	}
	if proto := r.Header.Get("X-Forwarded-Proto"); strings.EqualFold(u.Host, e.target.Host) && proto != "" && e.seen["unsafe-method"] {
		e.add("origin-behind-front", Computed, "X-Forwarded-Proto", "a front end ends TLS: a server that does not read X-Forwarded-Proto takes Origin %s for another", e.quote(u.Scheme+"://"+u.Host))
	}
}

// factorFacts adds facts about a sign-in that lacks its second step.
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
			e.add("factor-asked", Computed, "history", "the sign-in before it was answered by a demand for a second factor")
		} else if p := parseTarget(x.Request).Path; e.seen["factor-asked"] && factorPage.MatchString(p) && x.Response.Status < 400 && !strings.EqualFold(x.Request.Method, "GET") {
			e.add("factor-given", Computed, "history", "the second factor was given")
		}
	}
}

// comesAndGoes adds facts about the same request that was accepted before.
func (e *evidence) comesAndGoes() {
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
			e.add("worked-long-before", Computed, "history", "the same credentials were accepted %s before", showDuration(e.at.Sub(at)))
		}
		if status >= 200 && status < 300 && cookie != "" && auth == "" && x.Request.Header.Get("Cookie") == cookie {
			e.add("cookie-worked-before", Computed, "history", "the same cookies were accepted before")
		}
		if (refreshPath.MatchString(e.target.Path) || e.seen["grant-refresh_token"]) && status >= 200 && status < 300 && x.Request.URL == r.URL && x.Request.Method == r.Method &&
			x.Request.Header.Get("Cookie") == cookie && bytes.Equal(x.Request.Body, r.Body) && (cookie != "" || len(r.Body) > 0) {
			e.add("refresh-used", Computed, "history", "the same refresh token was used before: servers take it once")
		}
		if x.Request.Header.Get("Cookie") != cookie || x.Request.Header.Get("Authorization") != auth || cookie == "" && auth == "" {
			continue
		}
		switch {
		case status >= 200 && status < 300:
			if refusedThen && accepted {
				e.add("comes-and-goes", Computed, "history", "the same credentials are accepted and refused in turn: several servers answer and do not know the same")
			}
			accepted = true
		case status == 401 || status == 403:
			refusedThen = refusedThen || accepted
		}
	}
}
