package web_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/durward-auth/durward/server/internal/config"
)

const application = "https://app.example.com" // an origin that return_to may name

func withApplication(c *config.Config) { c.CORS.Origins = []string{application} }

// hostileReturns are values of return_to that an attacker could put in a link to the sign-in page.
var hostileReturns = []string{
	"//evil.example", `/\evil.example`, `\/evil.example`, "https://evil.example", "https:evil.example", "HTTPS://evil.example",
	"%2f%2fevil.example", "/%2fevil.example", "/%5cevil.example", "/./evil", "/../evil", "//evil.example/%2f..",
	"javascript:alert(1)", "JavaScript:alert(1)", "data:text/html,x", " //evil.example", "/\t/evil.example", "/\r\nSet-Cookie: a=b",
	"https://app.example.com.evil.example/", "https://app.example.com@evil.example/", "https://evil.example/https://app.example.com/",
	"http://app.example.com/", "https://app.example.com:444/", "https://APP.example.com/", "",
}

// No return_to leads away from the server and the configured origins: not after a sign-in, not by the link
// of a signed-in user, not through the hop page.
func TestHostileReturnTo(t *testing.T) {
	t.Parallel()
	e := newEnv(t, withApplication)
	b := e.browser()
	for _, to := range hostileReturns {
		query := "?return_to=" + url.QueryEscape(to)
		if got := b.post("/login"+query, "email", ada, "password", password).location(); got != "/account" {
			t.Errorf("return_to %q: the sign-in leads to %q, want /account", to, got)
		}
		b.get("/login" + query).want(http.StatusOK).shows(`<a class="button" href="/account">`)
		if got := b.get("/hop?to=" + url.QueryEscape(to)).location(); got != "/account" {
			t.Errorf("the hop page leads to %q for %q, want /account", got, to)
		}
		if got := b.post("/language", "language", "de", "return_to", to).location(); got != "/account" {
			t.Errorf("the choice of the language leads to %q for %q, want /account", got, to)
		}
	}
}

// A sign-in leads back to a page of the server by a redirect, and to another origin by the hop page, because
// browsers check form-action along the redirects after a form.
func TestReturnTo(t *testing.T) {
	t.Parallel()
	e := newEnv(t, withApplication)
	for _, to := range []string{"/demo/?a=b&c=d", "/console/log?kind=signed_in#end"} {
		if got := e.browser().post("/login?return_to="+url.QueryEscape(to), "email", ada, "password", password).location(); got != to {
			t.Errorf("return_to %q: got %q", to, got)
		}
	}
	const to = application + "/orders?page=2&of=9"
	b := e.browser()
	p := b.post("/login?return_to="+url.QueryEscape(to), "email", ada, "password", password).want(http.StatusOK)
	found := regexp.MustCompile(`http-equiv="refresh" content="0; ?url=([^"]*)"`).FindStringSubmatch(p.Body)
	if found == nil || p.Header.Get("Location") != "" {
		t.Fatalf("no hop page:\n%s", p.Body)
	}
	p.shows(`href="` + found[1] + `"`)
	if got := b.get(strings.ReplaceAll(found[1], "&amp;", "&")).location(); got != to {
		t.Errorf("the hop page leads to %q, want %q", got, to)
	}
	if to := b.post("/language", "language", "de", "return_to", to).location(); to != "/account" {
		t.Errorf("the choice of the language leads to %q, want /account", to)
	}
}

// ui_locales decides the language, then the cookie of the user's choice, then Accept-Language.
func TestLanguage(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	const en, de = `<html lang="en">`, `<html lang="de">`
	for _, c := range []struct{ accept, cookie, query, want string }{
		{"", "", "", en},
		{"fr", "", "", en},
		{"de-AT,en;q=0.5", "", "", de},
		{"en;q=0.2,de;q=0.9", "", "", de},
		{"de", "en", "", en},
		{"de", "fr", "", de},
		{"en", "de", "", de},
		{"en", "en", "?ui_locales=de", de},
		{"de", "", "?ui_locales=fr+en-GB", en},
		{"de", "", "?ui_locales=%ff", de},
		{strings.Repeat("de,", 3000), "", "", en}, // too long to be read
	} {
		b := e.browser()
		b.Fields["Accept-Language"] = []string{c.accept}
		if c.cookie != "" {
			b.Fields.Set("Cookie", "durward-language="+c.cookie)
		}
		b.get("/login" + c.query).want(http.StatusOK).shows(c.want)
	}
	b := e.browser()
	p := b.post("/language", "language", "de", "return_to", "/login?return_to=%2Fdemo%2F")
	b.follow(p).want(http.StatusOK).shows(de)
	b.get("/signed-out").shows(de)
	b.post("/language", "language", "xx", "return_to", "/login").want(http.StatusBadRequest)
}

// Everything that /login loads is less than 30 kB, comes from this server, and is not loaded twice.
func TestLoginSize(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.browser()
	p := b.get("/login").want(http.StatusOK)
	size := len(p.Body)
	for _, found := range regexp.MustCompile(`<(?:link|script|img)[^>]* (?:href|src)="([^"]*)"`).FindAllStringSubmatch(p.Body, -1) {
		if !strings.HasPrefix(found[1], "/static/") {
			t.Errorf("/login loads %q", found[1])
			continue
		}
		file := b.get(found[1]).want(http.StatusOK)
		size += len(file.Body)
		tag := file.Header.Get("ETag")
		if tag == "" || file.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: fields %v", found[1], file.Header)
		}
		b.Fields.Set("If-None-Match", tag)
		b.get(found[1]).want(http.StatusNotModified)
		b.Fields.Del("If-None-Match")
	}
	t.Logf("/login with everything: %d octets", size)
	if size >= 30<<10 {
		t.Errorf("/login with everything has %d octets, want less than 30 kB", size)
	}
	if css := len(b.get("/static/style.css").Body); css >= 16<<10 {
		t.Errorf("the style sheet has %d octets, want less than 16 kB", css)
	}
	if strings.Contains(p.Body, "style=") || regexp.MustCompile(`<style|<script>| on[a-z]+=`).MatchString(p.Body) {
		t.Errorf("/login has a style or a script in it:\n%s", p.Body)
	}
}

// Two forms of one browser at the same instant each sign in; the older session does not survive both.
func TestSignInTwiceAtOnce(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.browser()
	b.signIn(ada)
	old := b.cookie("__Host-durward")
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			p := b.post("/login", "email", ada, "password", password)
			if p.StatusCode != http.StatusSeeOther {
				t.Errorf("got %s", p.Status)
			}
		})
	}
	both.Wait()
	b.get("/account").want(http.StatusOK)
	other := e.browser()
	other.Fields.Set("Cookie", "__Host-durward="+old)
	if to := other.get("/account").location(); !strings.HasPrefix(strings.TrimPrefix(to, origin), "/login") {
		t.Errorf("the replaced session leads to %q, want /login", to)
	}
}

// Sign-out ends the session, needs no second visit, and comes from the server's own pages only.
func TestSignOut(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.browser()
	b.signIn(ada)
	value := b.cookie("__Host-durward")
	b.Fields.Set("Origin", "https://evil.example")
	b.Fields.Set("Sec-Fetch-Site", "cross-site")
	b.post("/sign-out").want(http.StatusForbidden)
	b.Fields = http.Header{}
	b.get("/account").want(http.StatusOK)
	if to := b.post("/sign-out").location(); to != "/signed-out" {
		t.Errorf("sign-out leads to %q", to)
	}
	b.get("/signed-out").want(http.StatusOK)
	if b.cookie("__Host-durward") != "" {
		t.Error("the browser keeps the cookie")
	}
	thief := e.browser()
	thief.Fields.Set("Cookie", "__Host-durward="+value)
	thief.get("/account").want(http.StatusSeeOther)
	b.post("/sign-out").want(http.StatusSeeOther)
}
