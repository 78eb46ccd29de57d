package pages_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/durward-auth/durward/e2e/executable"
)

const (
	signedIn  = `document.getElementById("in")?.hidden === false && document.getElementById("email").textContent === "ada@example.com"`
	signedOut = `document.getElementById("out")?.hidden === false`
)

// signInAgain goes from the sample application through the sign-in page and comes back.
func (b *tab) signInAgain() {
	b.Helper()
	b.click("#sign-in")
	b.signIn(ada, password)
	b.sees(signedIn)
}

// TestModuleInChromium uses the sample application and the browser module in two tabs of Chromium, against
// the real server.
func TestModuleInChromium(t *testing.T) {
	t.Parallel()
	t.Run("at the root", func(t *testing.T) { testModule(t, "") })
	t.Run("under a path", func(t *testing.T) { testModule(t, "/auth") })
}

// testModule walks through the sample application of a server below a path.
func testModule(t *testing.T, prefix string) {
	f := newDemo(t, prefix)
	open := browse(t, f)
	check := func(b *tab, name string) {
		b.Helper()
		if prefix == "" {
			b.check(name)
		}
	}
	first := open()

	// Signed out, sign in through the real page, and back.
	first.visit("/demo")
	first.sees(signedOut)
	first.signInAgain()
	if at := do(first, chromedp.Location()); at != f.origin+prefix+"/demo/" {
		t.Errorf("after the sign-in: at %s, want /demo/", at)
	}
	check(first, "demo")

	// A damaged token is refused, replaced and the request sent once more; the page shows it.
	first.click(`[value=token]`)
	first.sees(`document.getElementById("log").innerText.includes("New access token")`)
	first.click("#damage")
	first.sees(`/← 401 INVALID_TOKEN[^]*invalid_token[^]*New access token[^]*← 200/.test(document.getElementById("log").innerText)`)
	first.sees(signedIn)
	check(first, "demo-401")

	// Fifty requests in two tabs at expiry: one renewal.
	second := open()
	second.visit("/demo/")
	second.sees(signedIn)
	tabs := []*tab{first, second}
	for _, b := range tabs {
		b.script(`import("` + prefix + `/durward.js").then(({createClient}) => {
			window.shift = 0; window.ended = []
			window.c = createClient({server: "` + prefix + `/", origins: [location.origin], now: () => Date.now() + shift, name: "test"})
			c.addEventListener("signedout", e => ended.push(e.detail.reason))
			return c.fetch("` + prefix + `/api/profile").then(r => r.status)
		})`)
	}
	before := f.count("POST /api/auth/token")
	for _, b := range tabs {
		b.script(`shift = 1000 * 60 * 16, ""`)
	}
	for _, b := range tabs {
		b.script(`(window.many = Promise.all(Array.from({length: 50}, () => c.fetch("` + prefix + `/api/profile").then(r => r.status))), "")`)
	}
	for i, b := range tabs {
		if got, want := b.script(`many`), strings.TrimSuffix(strings.Repeat("200,", 50), ","); got != want {
			t.Errorf("tab %d: fifty requests at expiry: got %s, want 200 each", i+1, got)
		}
	}
	if n := f.count("POST /api/auth/token") - before; n != 1 {
		t.Errorf("fifty requests in each of two tabs at expiry: %d renewals, want 1", n)
	}

	// 503 keeps the person signed in.
	first.script(`shift *= 2, ""`)
	f.down.Store(true)
	try := `c.fetch("` + prefix + `/api/profile").then(r => r.status, e => e.code)`
	if got := first.script(try); got != "unavailable" {
		t.Errorf("a renewal during an outage: got %s, want unavailable", got)
	}
	first.click("#load")
	first.sees(`document.getElementById("state").textContent.includes("still signed in")`)
	f.down.Store(false)
	first.sees(`(c.fetch("` + prefix + `/api/profile").then(r => window.back = r.ok, () => {}), window.back)`)
	if got := first.script(`ended.length`); got != "0" {
		t.Errorf("after the outage: %s events signedout, want none", got)
	}

	// No token is in storage, readable cookies, the URL, the requested URLs or the server's log.
	for i, b := range tabs {
		kept := b.script(`JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href, history.state]) +
			(await indexedDB.databases()).length + (await caches.keys()).length`)
		if strings.Contains(kept, "eyJ") || !strings.HasPrefix(kept, `[{},{},"",`) || !strings.HasSuffix(kept, "00") {
			t.Errorf("tab %d keeps %s, want nothing", i+1, kept)
		}
	}
	f.mu.Lock()
	urls := strings.Join(f.served, "\n")
	f.mu.Unlock()
	if strings.Contains(urls+f.log.String(), "eyJ") {
		t.Errorf("a token is in a URL or in the server's log")
	}

	// Pages of another origin, and of the origin null, get no token and no sign-out.
	foreign := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<!DOCTYPE html><script>
			const send = p => fetch(%q + p, {method: "POST", mode: "no-cors", credentials: "include"}).catch(() => {})
			Promise.all([send("/api/auth/token"), send("/api/auth/logout")]).then(() => document.title = "done")
		</script>%s`, f.origin+prefix, map[bool]string{true: `<iframe sandbox="allow-scripts" src="/inner"></iframe>`}[r.URL.Path == "/"])
	}))
	defer foreign.Close()
	third := open()
	site := strings.Replace(foreign.URL, "127.0.0.1", "localhost", 1) // the same site, so the browser sends the cookie
	do(third, chromedp.Navigate(site+"/"))
	// The browser sends the cookie with requests of the same site, and none from the origin null.
	for _, want := range []string{
		"POST /api/auth/token " + site + " 403", "POST /api/auth/logout " + site + " 403",
		"POST /api/auth/token null 401", "POST /api/auth/logout null 204",
	} {
		line := want[:len(want)-len("403")]
		for end := time.Now().Add(executable.WaitLimit); f.count(line) == 0 && time.Now().Before(end); {
			time.Sleep(20 * time.Millisecond)
		}
		if f.count(want) == 0 || f.count(line) != f.count(want) {
			t.Errorf("%q: want status %s", line, want[len(line):])
		}
	}
	if got := first.script(`c.fetch("` + prefix + `/api/profile").then(r => r.status, e => e.code)`); got != "200" {
		t.Errorf("after the requests of foreign pages: got %s, want 200", got)
	}

	// A sign-out in one tab signs the other out.
	first.script(`c.signOut()`)
	second.sees(`ended.join() === "SIGNED_OUT"`)
	second.click("#load")
	second.sees(signedOut)
	if got := second.script(`c.fetch("` + prefix + `/api/profile").then(r => r.status, e => e.code)`); got != "signedout" {
		t.Errorf("the other tab, after the sign-out: got %s, want signedout", got)
	}

	// A session that was ended elsewhere: the panel shows the 401, and the sign-in page leads back.
	second.signInAgain()
	second.click("#elsewhere")
	second.sees(signedOut + ` && /← 401 SESSION_EXPIRED[^]*session realm/.test(document.getElementById("log").innerText)`)
	check(second, "demo-ended")
	if focused := second.script(`document.activeElement.id`); focused != "sign-in" {
		t.Errorf("focus: on %q, want the button of the sign-in", focused)
	}
	second.signInAgain()
}
