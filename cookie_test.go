package durward_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/durward-auth/durward"
)

// checkSession is the check of these tests and of the wire tests.
func checkSession(_ context.Context, value string) (*durward.Principal, error) {
	switch value {
	case "good":
		return &durward.Principal{Subject: "ada", SessionID: "s1", ACR: "urn:durward:acr:1fa", AuthTime: noon, Scopes: []string{"profile", "read"}}, nil
	case "outage":
		return nil, errors.New("dial tcp 10.0.0.7:5432: connection refused")
	case "outage, said":
		return nil, fmt.Errorf("replica behind: %w", durward.AuthUnavailable)
	case "locked":
		return nil, fmt.Errorf("account 7: %w", durward.AccountDisabled)
	}
	return nil, fmt.Errorf("in no table: %w", durward.SessionExpired)
}

const (
	cookieName = "__Host-session"
	cleared    = cookieName + "=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax"
)

// holding is a GET with a Cookie field.
func holding(cookies string) *http.Request {
	r := get("")
	r.Header.Set("Cookie", cookies)
	return r
}

// TestCookie: an expired cookie is refused and cleared; on optional routes its request is
// anonymous.
func TestCookie(t *testing.T) {
	t.Parallel()
	const name = cookieName
	long := strings.Repeat("x", 4<<10)
	for _, c := range []struct {
		name, cookies string
		code          durward.Code // of the refusal, or who, in small letters
		optional      string       // who, or the code
		cleared       bool
		caching       string // of the optional answer
	}{
		{"good", name + "=good", "ada", "ada", false, "private"},
		{"among others", "a=b; " + name + "=good; c=d", "ada", "ada", false, "private"},
		{"in quotes", name + `="good"`, "ada", "ada", false, "private"},
		{"beside JSON", `theme={"a":"b,c"}; ` + name + "=good", "ada", "ada", false, "private"},
		{"after a semicolon without a blank", "a=b;" + name + "=good;c=d", "ada", "ada", false, "private"},
		{"the same twice", name + "=good; " + name + "=good", "ada", "ada", false, "private"},
		{"two values", name + "=good; " + name + "=planted", durward.SessionExpired, "nobody", true, "private"},
		{"two values, the good one last", name + "=planted; " + name + "=good", durward.SessionExpired, "nobody", true, "private"},
		{"a good one and an empty one", name + "=good; " + name + "=", durward.SessionExpired, "nobody", true, "private"},
		{"dead", name + "=old", durward.SessionExpired, "nobody", true, "private"},
		{"empty", name + "=", durward.SessionExpired, "nobody", true, "private"},
		{"too long", name + "=" + long + "x", durward.SessionExpired, "nobody", true, "private"},
		{"as long as may be", name + "=" + long, durward.SessionExpired, "nobody", true, "private"},
		{"another name", "session=good", durward.AuthenticationRequired, "nobody", false, ""},
		{"another case of the name", "__host-session=good", durward.AuthenticationRequired, "nobody", false, ""},
		{"a longer name", name + "2=good", durward.AuthenticationRequired, "nobody", false, ""},
		{"the name as a value", "x=" + name + "=good", durward.AuthenticationRequired, "nobody", false, ""},
		{"no-break space before the name", "\u00a0" + name + "=good", durward.AuthenticationRequired, "nobody", false, ""},
		{"store away", name + "=outage", durward.AuthUnavailable, "nobody", false, "no-store"},
		{"store away, as a code", name + "=outage, said", durward.AuthUnavailable, "nobody", false, "no-store"},
		{"locked", name + "=locked", durward.AccountDisabled, string(durward.AccountDisabled), false, "no-store"},
		{"none", "", durward.AuthenticationRequired, "nobody", false, ""},
	} {
		g := newGuard(t, durward.Config{Schemes: []durward.Scheme{durward.Bearer(verify), durward.Cookie(name, checkSession)}, LoginURL: "https://auth.example/login"})
		for _, optional := range []bool{false, true} {
			want := string(c.code)
			if optional {
				want = c.optional
			}
			r := holding(c.cookies)
			if c.cookies == "" {
				r = get("")
			}
			w := serve(g.Require(durward.Policy{Optional: optional}, hello), r)
			what := fmt.Sprintf("%s, optional %v", c.name, optional)
			if want == strings.ToLower(want) {
				if w.Code != 200 || w.Body.String() != want {
					t.Errorf("%s: got %d %s, want 200 %s", what, w.Code, w.Body, want)
				}
				if got := w.Header().Get("Vary"); got != "Authorization, Cookie, X-API-Key" {
					t.Errorf("%s: Vary is %q", what, got)
				}
				if got := w.Header().Get("Cache-Control"); optional && got != c.caching {
					t.Errorf("%s: Cache-Control is %q, want %q", what, got, c.caching)
				}
			} else {
				wants(t, what, w, durward.Code(want).Status(), durward.Code(want))
				if w.Header().Get("Cache-Control") != "no-store" {
					t.Errorf("%s: a refusal may be stored: %v", what, w.Header())
				}
				if w.Code == 401 {
					if got, want := w.Header()["Www-Authenticate"], lines(`Bearer realm="api"`, `Session realm="api", login="https://auth.example/login"`); !slices.Equal(got, want) {
						t.Errorf("%s: got the challenges %q, want %q", what, got, want)
					}
				}
			}
			if got, want := w.Header()["Set-Cookie"], lines(cleared)[:map[bool]int{true: 1}[c.cleared]]; !slices.Equal(got, want) {
				t.Errorf("%s: Set-Cookie is %q, want %q", what, got, want)
			}
		}
	}
}

// An expired cookie and an unavailable store, inside an optional route and with Check.
func TestCookieInside(t *testing.T) {
	t.Parallel()
	g := newGuard(t, durward.Config{Schemes: []durward.Scheme{durward.Cookie(cookieName, checkSession)}})
	optional := durward.Policy{Optional: true}
	inner := g.Require(optional, g.Handler(hello))
	if w := serve(inner, holding(cookieName+"=good")); w.Code != 200 || w.Body.String() != "ada" {
		t.Errorf("good: got %d %s", w.Code, w.Body)
	}
	// An outage is never a 401, however deep.
	wants(t, "store away", serve(inner, holding(cookieName+"=outage")), 503, durward.AuthUnavailable)
	w := serve(inner, holding(cookieName+"=old"))
	wants(t, "dead", w, 401, durward.SessionExpired)
	if got := w.Header()["Set-Cookie"]; !slices.Equal(got, lines(cleared)) {
		t.Errorf("dead: Set-Cookie is %q, want it cleared once", got)
	}
	// The new cookie of a handler comes after the clearing, so that it stays.
	w = serve(g.Require(optional, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: cookieName, Value: "new"})
		g.Refuse(w, r, durward.EmailTaken)
	})), holding(cookieName+"=old"))
	if got, want := w.Header()["Set-Cookie"], lines(cleared, cookieName+"=new"); !slices.Equal(got, want) {
		t.Errorf("a handler that sets one: Set-Cookie is %q, want %q", got, want)
	}
	// Through Check, the refusal clears it as well; nothing else does.
	for cookies, want := range map[string][]string{cookieName + "=old": lines(cleared), cookieName + "=locked": nil, "a=b": nil} {
		r := holding(cookies)
		_, err := g.Check(r, durward.Policy{})
		if w := serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.Refuse(w, r, err) }), r); !slices.Equal(w.Header()["Set-Cookie"], want) {
			t.Errorf("Check of %q: Set-Cookie is %q, want %q", cookies, w.Header()["Set-Cookie"], want)
		}
	}
	// A handler may find out later than the guard.
	w = serve(g.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.Refuse(w, r, durward.SessionExpired) })), holding(cookieName+"=good"))
	if wants(t, "ended meanwhile", w, 401, durward.SessionExpired); !slices.Equal(w.Header()["Set-Cookie"], lines(cleared)) {
		t.Errorf("ended meanwhile: Set-Cookie is %q", w.Header()["Set-Cookie"])
	}
	if p, err := g.Check(holding(cookieName+"=outage"), optional); p != nil || err != nil {
		t.Errorf("Check on an optional route, store away: got %v, %v, want nobody", p, err)
	}
}

// Explicit credentials win, and when they fail the cookie does not stand in.
func TestCookieBesideOthers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		fields http.Header
		code   durward.Code // or who, in small letters
	}{
		{"a good token", fields("Authorization", "Bearer good"), "ada"},
		{"a bad token", fields("Authorization", "Bearer forged"), durward.InvalidToken},
		{"a token that cannot be judged", fields("Authorization", "Bearer outage"), durward.AuthUnavailable},
		{"another scheme", fields("Authorization", "Negotiate YII="), durward.UnsupportedScheme},
		{"no credentials at all", fields("Authorization", "good"), durward.MalformedCredentials},
		{"a good key", fields("X-API-Key", "dk_good"), "robot"},
		{"a bad key", fields("X-API-Key", "dk_bad"), durward.InvalidAPIKey},
		{"both", fields("X-API-Key", "dk_good", "Authorization", "Bearer good"), durward.AmbiguousCredentials},
	} {
		schemes := []durward.Scheme{durward.Cookie(cookieName, func(context.Context, string) (*durward.Principal, error) {
			t.Errorf("%s: the cookie was judged", c.name)
			return nil, durward.SessionExpired
		}), durward.Bearer(verify), durward.APIKey("dk_", checkKey)}
		for range 2 {
			slices.Reverse(schemes)
			g := newGuard(t, durward.Config{Schemes: slices.Clone(schemes)})
			for _, optional := range []bool{false, true} {
				// Explicit credentials show that no browser sent it by itself.
				r := httptest.NewRequest("POST", "https://api.example/x", nil)
				r.Header = with(c.fields, "Cookie", cookieName+"=good", "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site")
				w := serve(g.Require(durward.Policy{Optional: optional}, hello), r)
				if want := string(c.code); want == strings.ToLower(want) {
					if w.Code != 200 || w.Body.String() != want {
						t.Errorf("%s: got %d %s, want 200 %s", c.name, w.Code, w.Body, want)
					}
					continue
				}
				if wants(t, c.name, w, c.code.Status(), c.code); w.Header()["Set-Cookie"] != nil {
					t.Errorf("%s: a cookie that was not judged is cleared", c.name)
				}
			}
		}
	}
	// A key where none is taken is explicit all the same.
	g := newGuard(t, durward.Config{Schemes: []durward.Scheme{durward.Cookie(cookieName, checkSession)}})
	r := holding(cookieName + "=good")
	r.Header.Set("X-API-Key", "dk_good")
	wants(t, "a key that is not taken", serve(g.Handler(never(t)), r), 401, durward.AuthenticationRequired)
}

func TestCookieConfig(t *testing.T) {
	t.Parallel()
	one := func(origins ...string) durward.Config {
		return durward.Config{Schemes: []durward.Scheme{durward.Cookie(cookieName, checkSession)}, Origins: origins}
	}
	for _, c := range []struct {
		name   string
		config durward.Config
		want   string // in the error; empty for none
	}{
		{"one", one(), ""},
		{"no check", durward.Config{Schemes: []durward.Scheme{durward.Cookie(cookieName, nil)}}, "nil check"},
		{"no name", durward.Config{Schemes: []durward.Scheme{durward.Cookie("", checkSession)}}, "is not a token"},
		{"a name that ends itself", durward.Config{Schemes: []durward.Scheme{durward.Cookie("a=b", checkSession)}}, "is not a token"},
		{"a name with a semicolon", durward.Config{Schemes: []durward.Scheme{durward.Cookie("a;b", checkSession)}}, "is not a token"},
		{"two", durward.Config{Schemes: []durward.Scheme{durward.Cookie("a", checkSession), durward.Cookie("b", checkSession)}}, "Cookie twice"},
		{"origins", one("https://app.example", "http://localhost:3000", "https://app.example:8443", "https://[2001:db8::1]:8443"), ""},
		{"an origin with a slash", one("https://app.example/"), "Origins"},
		{"an origin in capitals", one("https://App.example"), "Origins"},
		{"an origin with the port that goes without saying", one("https://app.example:443"), "Origins"},
		{"and of http", one("http://app.example:80"), "Origins"},
		{"a host", one("app.example"), "Origins"},
		{"any", one("*"), "Origins"},
		{"null", one("null"), "Origins"},
		{"a user in an origin", one("https://a@app.example"), "Origins"},
		{"no origin", one(""), "Origins"},
	} {
		_, err := durward.New(c.config)
		if (err != nil) != (c.want != "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error that names %q", c.name, err, c.want)
		}
	}
}

// Requests that a page of another site can send. Each case is tried with all methods and
// credentials.
func TestCrossSite(t *testing.T) {
	t.Parallel()
	const own, app, evil = "https://api.example", "https://app.example", "https://evil.example"
	public := func(c durward.Config) durward.Config { c.PublicURL = own; return c }
	listed := func(c durward.Config) durward.Config { c.PublicURL, c.Origins = own, lines(app); return c }
	named := func(c durward.Config) durward.Config { c.PublicURL = "https://www.example"; return c }
	bare := func(c durward.Config) durward.Config { return c }
	for _, c := range []struct {
		name   string
		config func(durward.Config) durward.Config
		fields http.Header
		ok     bool
	}{
		{"a program", public, nil, true},
		{"same origin, both fields", public, fields("Origin", own, "Sec-Fetch-Site", "same-origin"), true},
		{"same origin, no Origin", public, fields("Sec-Fetch-Site", "same-origin"), true},
		{"same origin, null by a referrer policy", public, fields("Origin", "null", "Sec-Fetch-Site", "same-origin"), true},
		{"a person, from no page", public, fields("Sec-Fetch-Site", "none"), true},
		{"old browser, same origin", public, fields("Origin", own), true},
		{"old browser, without PublicURL", bare, fields("Origin", own), true},
		{"cross-site", public, fields("Origin", evil, "Sec-Fetch-Site", "cross-site"), false},
		{"cross-site, no Origin", public, fields("Sec-Fetch-Site", "cross-site"), false},
		{"cross-site, our Origin", public, fields("Origin", own, "Sec-Fetch-Site", "cross-site"), false},
		{"same site", public, fields("Origin", "https://www.api.example", "Sec-Fetch-Site", "same-site"), false},
		{"same site, no Origin", public, fields("Sec-Fetch-Site", "same-site"), false},
		{"a site of a kind that nobody knows", public, fields("Sec-Fetch-Site", "near-site"), false},
		{"same-origin in capitals", public, fields("Sec-Fetch-Site", "Same-Origin"), false},
		{"old browser, other origin", public, fields("Origin", evil), false},
		{"old browser, other origin, without PublicURL", bare, fields("Origin", evil), false},
		{"old browser, null", public, fields("Origin", "null"), false},
		{"old browser, null, without PublicURL", bare, fields("Origin", "null"), false},
		{"old browser, plain http", public, fields("Origin", "http://api.example"), false},
		{"old browser, plain http, without PublicURL", bare, fields("Origin", "http://api.example"), false},
		{"old browser, another port", public, fields("Origin", own+":8443"), false},
		{"old browser, another port, without PublicURL", bare, fields("Origin", own+":8443"), false},
		{"a subdomain", public, fields("Origin", "https://a.api.example"), false},
		{"a longer name", public, fields("Origin", own+".evil.example"), false},
		{"a shorter name", public, fields("Origin", "https://pi.example"), false},
		{"our origin as a user", bare, fields("Origin", "https://evil@api.example"), false},
		{"our origin with a path", bare, fields("Origin", own+"/"), false},
		{"two Origin fields", public, fields("Origin", own, "Origin", own), false},
		{"two origins in one", public, fields("Origin", own+" "+evil), false},
		{"an empty Origin", public, fields("Origin", ""), false},
		{"Sec-Fetch-Site same-origin, Origin of another site", public, fields("Origin", evil, "Sec-Fetch-Site", "same-origin"), false},
		{"Sec-Fetch-Site same-origin, Origin of another site, without PublicURL", bare, fields("Origin", evil, "Sec-Fetch-Site", "same-origin"), false},
		{"Sec-Fetch-Site none, Origin of another site", public, fields("Origin", evil, "Sec-Fetch-Site", "none"), false},
		{"Sec-Fetch-Site none, Origin null", public, fields("Origin", "null", "Sec-Fetch-Site", "none"), true},
		{"Sec-Fetch-Site same-origin, empty Origin", public, fields("Origin", "", "Sec-Fetch-Site", "same-origin"), false},
		{"Sec-Fetch-Site same-origin, another name of this server", named, fields("Origin", own, "Sec-Fetch-Site", "same-origin"), true},
		{"Sec-Fetch-Site same-site, another name of this server", named, fields("Origin", own, "Sec-Fetch-Site", "same-site"), false},
		{"two Sec-Fetch-Site fields", public, fields("Sec-Fetch-Site", "same-origin", "Sec-Fetch-Site", "cross-site"), false},
		{"two Sec-Fetch-Site fields, equal", public, fields("Sec-Fetch-Site", "same-origin", "Sec-Fetch-Site", "same-origin"), false},
		{"an empty Sec-Fetch-Site", public, fields("Sec-Fetch-Site", ""), false},
		{"a listed origin", listed, fields("Origin", app, "Sec-Fetch-Site", "same-site"), true},
		{"a listed origin of another site", listed, fields("Origin", app, "Sec-Fetch-Site", "cross-site"), true},
		{"a listed origin, old browser", listed, fields("Origin", app), true},
		{"a listed origin, not here", public, fields("Origin", app, "Sec-Fetch-Site", "same-site"), false},
		{"another port of a listed origin", listed, fields("Origin", app+":8443", "Sec-Fetch-Site", "same-site"), false},
		{"a listed origin in plain http", listed, fields("Origin", "http://app.example", "Sec-Fetch-Site", "cross-site"), false},
		{"beside listed ones, our own", listed, fields("Origin", own), true},
		{"the Referer is not looked at", public, fields("Referer", own+"/x", "Sec-Fetch-Site", "cross-site"), false},
		{"nor is the Host", public, fields("Origin", "https://other.example"), false},
	} {
		g := newGuard(t, c.config(durward.Config{Schemes: []durward.Scheme{durward.Bearer(verify), durward.APIKey("dk_", checkKey), durward.Cookie(cookieName, checkSession)}}))
		for _, method := range []string{"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "TRACE", "PROPFIND", "get", "head"} {
			for _, upgrade := range []string{"", "websocket"} {
				safe := upgrade == "" && (method == "GET" || method == "HEAD" || method == "OPTIONS")
				for _, credentials := range []http.Header{
					fields("Cookie", cookieName+"=good"), fields("Cookie", cookieName+"=old"), fields("Cookie", cookieName+"=outage"),
					fields("Authorization", "Bearer good"), fields("X-API-Key", "dk_good"), {}, fields("Cookie", "theme=dark"),
				} {
					r := get("")
					r.Method = method // CONNECT has a path where HTTP/2 opens a WebSocket (RFC 8441 s4)
					r.Header = with(credentials, "X-Other", "1")
					for name, values := range c.fields {
						r.Header[name] = values
					}
					if upgrade != "" {
						r.Header.Set("Connection", "Upgrade")
						r.Header.Set("Upgrade", upgrade)
					}
					w := serve(g.Require(durward.Policy{Optional: true}, hello), r)
					what := fmt.Sprintf("%s: %s, upgrade %q, %v", c.name, method, upgrade, credentials)
					if ours := strings.HasPrefix(credentials.Get("Cookie"), cookieName); ours && !safe && !c.ok {
						// Before the cookie is judged, and on optional routes too.
						if w.Code != 403 || method != "HEAD" && codeOf(w) != durward.CrossSite || w.Header()["Www-Authenticate"] != nil || w.Header()["Set-Cookie"] != nil {
							t.Errorf("%s: got %d %s %v, want 403 %s, no challenge and no clearing", what, w.Code, codeOf(w), w.Header(), durward.CrossSite)
						}
					} else if w.Code != 200 {
						t.Errorf("%s: got %d %s, want 200", what, w.Code, codeOf(w))
					}
				}
			}
		}
	}
}

// Behind a proxy that takes the TLS off, the origin is the one that people see.
func TestCrossSiteBehindProxy(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, public, proto, origin string
		status                      int
	}{
		{"https there", "", "https", "https://api.example", 200},
		{"https there, a page of http", "", "https", "http://api.example", 403},
		{"http there", "", "http", "http://api.example", 200},
		{"http there, a page of https", "", "http", "https://api.example", 403},
		{"the public URL decides", "https://www.example", "https", "https://www.example", 200},
		{"and not the Host", "https://www.example", "https", "https://api.example", 403},
		{"in capitals", "https://WWW.example", "https", "https://www.example", 200},
		{"with the port that goes without saying", "https://www.example:443", "https", "https://www.example", 200},
		{"with another port", "https://www.example:8443", "https", "https://www.example:8443", 200},
		{"with another's port", "https://www.example:80", "https", "https://www.example", 403},
	} {
		g := newGuard(t, durward.Config{Schemes: []durward.Scheme{durward.Cookie(cookieName, checkSession)}, PublicURL: c.public,
			Proxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, InsecureAllowHTTP: true})
		r := httptest.NewRequest("POST", "http://api.example/x", nil)
		r.RemoteAddr = "192.0.2.1:1234"
		r.Header = fields("X-Forwarded-Proto", c.proto, "X-Forwarded-For", "198.51.100.7", "Cookie", cookieName+"=good", "Origin", c.origin)
		if w := serve(g.Handler(hello), r); w.Code != c.status || c.status == 403 && codeOf(w) != durward.CrossSite {
			t.Errorf("%s: got %d %s, want %d", c.name, w.Code, w.Body, c.status)
		}
	}
}

// A scheme of the application's own that is ambient is judged like a cookie.
func TestCrossSiteOwnScheme(t *testing.T) {
	t.Parallel()
	g := newGuard(t, durward.Config{Schemes: []durward.Scheme{seat{}}})
	r := httptest.NewRequest("POST", "https://api.example/x", nil)
	r.Header = fields("Cookie", "seat=taken", "Sec-Fetch-Site", "cross-site")
	wants(t, "a foreign page", serve(g.Handler(never(t)), r), 403, durward.CrossSite)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if w := serve(g.Handler(hello), r); w.Code != 200 {
		t.Errorf("our own page: got %d %s", w.Code, w.Body)
	}
}

// FuzzCookie: the check receives the value at most once, within its length limit and unchanged, and
// a page of another site changes nothing.
func FuzzCookie(f *testing.F) {
	f.Add(cookieName+"=good", "https://api.example", "same-origin", "POST")
	f.Add(cookieName+"=good; "+cookieName+"=bad", "https://evil.example", "", "GET")
	f.Add(`a=b; `+cookieName+`="good"; ;;=;`, "null", "cross-site", "DELETE")
	f.Add(cookieName+"="+strings.Repeat("x", 4097), "", "", "HEAD")
	f.Add("\u00a0"+cookieName+"=good", "https://api.example:443", "none", "PUT")
	f.Fuzz(func(t *testing.T, cookies, origin, site, method string) {
		if strings.ContainsFunc(method, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune("()<>@,;:\\\"/[]?={}", c) }) || method == "" {
			return
		}
		var given []string
		g := newGuard(t, durward.Config{PublicURL: "https://api.example", Schemes: []durward.Scheme{durward.Cookie(cookieName, func(_ context.Context, value string) (*durward.Principal, error) {
			given = append(given, value)
			return &durward.Principal{Subject: "ada"}, nil
		})}})
		r := holding(cookies)
		r.Method = method
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		if site != "" {
			r.Header.Set("Sec-Fetch-Site", site)
		}
		w := serve(g.Handler(hello), r)
		switch {
		case len(given) > 1, len(given) == 1 && (given[0] == "" || len(given[0]) > 4096 || !strings.Contains(cookies, given[0])):
			t.Errorf("%q: the check was given %q", cookies, given)
		case (w.Code == 200) != (len(given) == 1):
			t.Errorf("%q: got %d, and the check was given %q", cookies, w.Code, given)
		case w.Code != 200 && !slices.Contains([]durward.Code{durward.AuthenticationRequired, durward.SessionExpired, durward.CrossSite}, codeOf(w)) && method != "HEAD":
			t.Errorf("%q: got %d %s", cookies, w.Code, w.Body)
		}
		// Said another way than the guard does.
		safe := method == "GET" || method == "HEAD" || method == "OPTIONS"
		ours := site == "same-origin" || site == "none" || site == "" && (origin == "" || origin == "https://api.example")
		if len(given) == 1 && !safe && !ours {
			t.Errorf("%s from origin %q and site %q was let in", method, origin, site)
		}
	})
}
