package web_test

import (
	"context"
	"html/template"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward/server/internal/config"
	"github.com/durward-auth/durward/server/internal/doctor"
	"github.com/durward-auth/durward/server/internal/explain"
)

// Every explanation has a page and is in the index, and every link between them leads to a page.
func TestEveryExplanationHasAPage(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.browser()
	index := b.get("/errors/").want(http.StatusOK)
	link := regexp.MustCompile(`href="(/errors/[^"?#]*)`)
	known := map[string]bool{"/errors/": true}
	for _, x := range explain.All() {
		known[x.Path()] = true
	}
	for _, x := range explain.All() {
		if x.Kind != explain.KindFamily || slices.ContainsFunc(explain.All(), func(c explain.Page) bool { return c.Family == x.ID }) {
			index.shows(`href="` + x.Path() + `"`)
		}
		p := b.get(x.Path()).want(http.StatusOK).shows("<h1>"+template.HTMLEscapeString(x.Title)+"</h1>", "<code>"+x.ID+"</code>")
		p.lacks("style=", "<script>", " onclick", "ZgotmplZ")
		if variable := regexp.MustCompile(`[^$]\{(tokens|limits|sessions|passwords)\.[a-z_]+\}`).FindString(p.Body); variable != "" {
			t.Errorf("%s: the variable %s is left", x.ID, variable)
		}
		for _, m := range link.FindAllStringSubmatch(p.Body, -1) {
			if !known[m[1]] {
				t.Errorf("%s links to %s, which does not exist", x.Path(), m[1])
			}
		}
	}
	for _, x := range explain.Schemes {
		index.shows(`href="/errors/scheme/` + x.Name + `"`)
		b.get("/errors/scheme/"+x.Name).want(http.StatusOK).shows("<h1>"+x.Name+"</h1>", template.HTMLEscapeString(x.Do))
	}
	b.get("/errors/scheme/basic").want(http.StatusOK).shows("<h1>Basic</h1>")
	for _, path := range []string{"/errors/NONE", "/errors/TOKEN_EXPIRED/", "/errors/scheme/", "/errors/scheme/expired", "/errors/page/Basic", "/errors/cause/TOKEN_EXPIRED", "/errors/page/", "/errors/cause",
		"/errors/x/TOKEN_EXPIRED", "/static/", "/static/other.css", "/nothing"} {
		b.get(path).want(http.StatusNotFound).shows("<h1>Page not found</h1>").lacks(">NONE")
	}
}

// Each cause and family of the catalogue has an explanation, and the reverse.
func TestEveryCauseIsExplained(t *testing.T) {
	t.Parallel()
	families := map[string]bool{}
	for _, f := range doctor.Families {
		families[f.ID] = true
		if p, ok := explain.Find(f.ID); !ok || p.Kind != explain.KindFamily {
			t.Errorf("the family %s has no explanation", f.ID)
		}
	}
	causes := map[string]string{}
	for _, c := range doctor.Causes {
		causes[c.ID] = c.Family
		if p, ok := explain.Find(c.ID); !ok || p.Kind != explain.KindCause || p.Family != c.Family {
			t.Errorf("the cause %s of family %s is explained as %s of family %q", c.ID, c.Family, p.Kind, p.Family)
		}
	}
	for _, p := range explain.All() {
		if p.Kind == explain.KindCause && causes[p.ID] == "" || p.Kind == explain.KindFamily && !families[p.ID] {
			t.Errorf("%s explains no entry of the catalogue", p.Path())
		}
	}
}

// level in the URL selects the text of a page without a script; without it, or with an unknown one, the page
// shows the level for new developers. Links to other pages keep the level.
func TestLevels(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.browser()
	visible := regexp.MustCompile(`<section class="level" id="([a-z0-9]+)" lang="en">`)
	for query, want := range map[string]string{
		"": "junior", "?level=eli3": "eli3", "?level=eli5": "eli5", "?level=junior": "junior", "?level=crash": "crash", "?level=deep": "deep",
		"?level=": "junior", "?level=client": "junior", "?level=%22%3E": "junior",
	} {
		p := b.get("/errors/TOKEN_EXPIRED" + query)
		found := visible.FindAllStringSubmatch(p.Body, -1)
		if len(found) != 1 || found[0][1] != want {
			t.Errorf("%q shows the levels %q, want %s", query, found, want)
		}
		p.shows(`data-level="` + want + `" aria-current="true"`)
		if n := strings.Count(p.Body, "aria-current"); n != 1 {
			t.Errorf("%q marks %d levels", query, n)
		}
	}
	b.get("/errors/TOKEN_EXPIRED?level=eli3").shows(`href="/errors/TOKEN_REVOKED?level=eli3"`)
	b.get("/errors/TOKEN_EXPIRED?level=x").shows(`href="/errors/TOKEN_REVOKED"`)
	b.Fields.Set("Accept-Language", "de")
	b.get("/errors/TOKEN_EXPIRED").shows(`lang="de"`, "In Eile", "Verwandte Seiten")
}

// The search form filters the list without a script: each word is in the entry.
func TestSearch(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.browser()
	entry := regexp.MustCompile(`<code>([A-Za-z0-9_-]+)</code>`)
	for query, want := range map[string]struct{ shown, hidden string }{
		"expired":                 {"TOKEN_EXPIRED", "NOT_FOUND"},
		"EXPIRED+token":           {"TOKEN_EXPIRED", "SESSION_EXPIRED"},
		"407":                     {"PROXY_AUTHENTICATION_REQUIRED", "TOKEN_EXPIRED"},
		"":                        {"TOKEN_EXPIRED", ""},
		"zzzz":                    {"", "TOKEN_EXPIRED"},
		"%22%3E%3Cscript%3E":      {"", "TOKEN_EXPIRED"},
		strings.Repeat("x", 5000): {"", "TOKEN_EXPIRED"},
	} {
		p := b.get("/errors/?q=" + query).want(http.StatusOK)
		if strings.Contains(p.Body, "<script>") {
			t.Errorf("%q: the query is part of the page as HTML", query)
		}
		found := map[string]bool{}
		for _, m := range entry.FindAllStringSubmatch(p.Body, -1) {
			found[m[1]] = true
		}
		if want.shown != "" && !found[want.shown] || found[want.hidden] || want.shown == "" && len(found) > 0 {
			t.Errorf("%.40q finds %v, want %q and not %q", query, found, want.shown, want.hidden)
		}
		if query != "" {
			p.shows(strconv.Itoa(len(found)) + " explanations found.")
		}
	}
}

// The pages name the figures of the configuration, and accept a code in small letters.
func TestFiguresOfPages(t *testing.T) {
	t.Parallel()
	e := newEnv(t, func(c *config.Config) {
		c.Tokens.AccessTTL, c.Limits.AccountFailures, c.Limits.AccountBlock = 120e9, 7, 3*3600e9
	})
	b := e.browser()
	b.get("/errors/TOKEN_EXPIRED").shows("its lifetime (2 minutes) is over")
	b.get("/errors/token_expired").shows("its lifetime (2 minutes) is over", "<code>TOKEN_EXPIRED</code>")
	b.get("/errors/Invalid_Credentials").shows("(7)", "(3 hours)")
}

// Every page has the fields for browsers and no script or style of its own.
func TestFieldsOfPages(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	for _, path := range []string{"/", "/errors/", "/errors/TOKEN_EXPIRED", "/login", "/register", "/forgot", "/reset", "/nothing"} {
		p := e.browser().get(path)
		for field, want := range map[string]string{
			"Content-Security-Policy":    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
			"X-Content-Type-Options":     "nosniff",
			"Referrer-Policy":            "same-origin",
			"Cross-Origin-Opener-Policy": "same-origin",
			"Cache-Control":              "no-store",
			"Content-Type":               "text/html; charset=utf-8",
		} {
			if got := p.Header.Get(field); got != want {
				t.Errorf("%s: %s is %q, want %q", path, field, got, want)
			}
		}
		p.lacks("style=", "<style", " onclick")
		for _, script := range regexp.MustCompile(`<script[^>]*>[^<]*`).FindAllString(p.Body, -1) {
			if !regexp.MustCompile(`^<script type="module" src="/static/[a-z]+\.js">$`).MatchString(script) {
				t.Errorf("%s: the script %s", path, script)
			}
		}
	}
}

// Refusals are pages for browsers and JSON for programs, at every kind of URL. The page has the id of the
// denial and a way to go on.
func TestRefusalPages(t *testing.T) {
	t.Parallel()
	e := newEnv(t, func(c *config.Config) { c.Limits.RegistrationsNetwork = 1 })
	b := e.browser()
	b.get("/nothing").want(http.StatusNotFound).shows("Page not found", "data-copy=").denial()
	b.get("/api/nothing").want(http.StatusNotFound).shows("Page not found")
	b.get("/sign-out").want(http.StatusMethodNotAllowed).shows("does not accept").denial()
	b.post("/register", "email", "one@example.com", "password", newPassword).want(http.StatusSeeOther)
	b.post("/register", "email", "two@example.com", "password", newPassword).want(http.StatusTooManyRequests).
		shows("Too many attempts", "Try again in ").denial()
	b.Fields.Set("Accept-Language", "de")
	b.get("/nothing").want(http.StatusNotFound).shows("Seite nicht gefunden", `lang="de"`)
	program := e.browser()
	program.Fields = http.Header{"Sec-Fetch-Mode": nil, "Sec-Fetch-Dest": nil, "Sec-Fetch-Site": nil, "Accept": {"*/*"}, "User-Agent": {"curl/8"}}
	for _, path := range []string{"/nothing", "/errors/NONE", "/sign-out"} {
		if p := program.get(path); p.Header.Get("Content-Type") != "application/problem+json" || strings.Contains(p.Body, "<") {
			t.Errorf("%s for a program: %s %s", path, p.Header.Get("Content-Type"), p.Body)
		}
	}
	// An outage signs no user out, and says so.
	b = e.browser()
	b.signIn(ada)
	session := b.cookie("__Host-durward")
	e.must(e.node.DB.Close())
	p := b.get("/account").want(http.StatusServiceUnavailable).shows("Your sign-in has not ended.")
	p.denial()
	if len(p.Header.Values("Set-Cookie")) > 0 || b.cookie("__Host-durward") != session {
		t.Errorf("an outage changes the cookies: %q", p.Header.Values("Set-Cookie"))
	}
}

// A panic in a handler: a page with the number of the refusal, and the stack in the log alone.
func TestPanicPage(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.browser()
	b.signIn(ada)
	e.node.Accounts.Now = func() time.Time { panic("the clock is broken") }
	for language, words := range map[string]string{"en": "Something went wrong", "de": "Etwas ist schiefgegangen"} {
		b.Fields.Set("Accept-Language", language)
		p := b.post("/account/authenticator").want(http.StatusInternalServerError).
			shows(`<html lang="`+language+`">`, words, `<main id="main"`, "/static/style.css").
			lacks("goroutine", ".go:", "runtime", "panic", "clock")
		if policy := p.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || p.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("fields: %v", p.Header)
		}
		id := p.denial()
		e.eventually("the refusal is stored", func() bool {
			why, err := e.node.DB.DenialByID(context.Background(), id)
			return err == nil && why.Code == "INTERNAL" && strings.Contains(why.Cause, "/account/authenticator") && !strings.Contains(why.Cause, ".go:")
		})
	}
	script := e.browser()
	script.client.Jar = b.client.Jar
	for name, value := range map[string]string{"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Accept": "application/json"} {
		script.Fields.Set(name, value)
	}
	script.post("/account/authenticator").want(http.StatusInternalServerError).shows(`"code":"INTERNAL"`).lacks("goroutine", ".go:", "panic", "clock")
	logged := e.logs.String()
	if !strings.Contains(logged, "panic in a handler") || !strings.Contains(logged, "the clock is broken") || !strings.Contains(logged, "factors.go:") || !strings.Contains(logged, "/account/authenticator") {
		t.Errorf("the log lacks the stack of the panic:\n%s", logged)
	}
	b.get("/account").want(http.StatusOK) // the server goes on
}

// The front page leads to the sign-in, and a signed-in user to the account.
func TestFront(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.browser()
	b.get("/").want(http.StatusOK).shows("auth.example.com", `href="/login"`, `href="/register"`, `href="/openapi.json"`, `href="/errors/"`).lacks(`href="/account"`)
	b.signIn(ada)
	b.get("/").want(http.StatusOK).shows(ada, `href="/account"`, `action="/sign-out"`).lacks(`href="/login"`)
}

// Every page that a challenge or a redirect names exists.
func TestChallengesNamePages(t *testing.T) {
	t.Parallel()
	e := newEnv(t, func(c *config.Config) { c.Basic, c.DPoP = true, true })
	named := regexp.MustCompile(`(?:login|resource_metadata)="https://auth\.example\.com([^"]*)"`)
	for _, path := range []string{"/api/auth/login", "/api/auth/refresh", "/api/profile"} {
		b, found := e.browser(), 0
		p := b.script(path, map[string]string{"email": "x", "password": "y"}, nil)
		for _, challenge := range p.Header.Values("WWW-Authenticate") {
			for _, m := range named.FindAllStringSubmatch(challenge, -1) {
				found++
				b.get(m[1]).want(http.StatusOK)
			}
		}
		if found == 0 && p.StatusCode == http.StatusUnauthorized {
			t.Errorf("%s: no challenge names a page: %q", path, p.Header.Values("WWW-Authenticate"))
		}
	}
}

// The style sheet and what /login loads stay small.
func TestSizes(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.browser()
	style := b.get("/static/style.css").want(http.StatusOK)
	if len(style.Body) > 16<<10 || style.Header.Get("Content-Type") != "text/css; charset=utf-8" {
		t.Errorf("style sheet of %d octets, %s; want at most 16 kB", len(style.Body), style.Header.Get("Content-Type"))
	}
	page := b.get("/login")
	all := len(page.Body)
	for _, m := range regexp.MustCompile(`(?:href|src)="(/static/[^"]+|/durward.js)"`).FindAllStringSubmatch(page.Body, -1) {
		all += len(b.get(m[1]).want(http.StatusOK).Body)
	}
	t.Logf("/login with everything: %d octets", all)
	if all > 30<<10 {
		t.Errorf("/login loads %d octets, want at most 30 kB", all)
	}
	for _, name := range []string{"style.css", "token.js", "page.js"} {
		etag := b.get("/static/" + name).Header.Get("ETag")
		b.Fields.Set("If-None-Match", etag)
		b.get("/static/" + name).want(http.StatusNotModified)
		b.Fields.Del("If-None-Match")
	}
}
