package pages_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/durward-auth/durward/e2e/executable"
)

// front is a proxy before a real server. It records the requests, and plays an outage.
type front struct {
	url    string
	down   atomic.Bool
	log    executable.Buffer // of the server
	mu     sync.Mutex
	served []string // "POST /api/auth/token https://… 200": method, URL, Origin and status
}

// recorded is a ResponseWriter that notes the status.
type recorded struct {
	http.ResponseWriter
	status int
}

func (r *recorded) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// newFront starts durward serve --demo behind a front at http://localhost:PORT, under a path.
func newFront(t *testing.T, prefix string) *front {
	t.Helper()
	path, err := executable.Build()
	if err != nil {
		t.Fatal(err)
	}
	f := &front{}
	var proxy *httputil.ReverseProxy
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &recorded{w, http.StatusOK}
		if f.down.Load() {
			rec.Header().Set("Retry-After", "1")
			rec.Header().Set("Content-Type", "application/problem+json")
			rec.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(rec, `{"code":"AUTH_UNAVAILABLE"}`)
		} else {
			proxy.ServeHTTP(rec, r)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		f.served = append(f.served, fmt.Sprintf("%s %s %s %d", r.Method, r.URL, r.Header.Get("Origin"), rec.status))
	}))
	t.Cleanup(web.Close)
	f.url = strings.Replace(web.URL, "127.0.0.1", "localhost", 1)
	cmd := exec.Command(path, "serve", "--demo", "--listen", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), "DURWARD_PUBLIC_URL="+f.url+prefix)
	cmd.Stderr = &f.log
	at, _, err := executable.Serve(t, cmd)
	if err != nil {
		t.Fatalf("%v\n%s", err, f.log.String())
	}
	server, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	proxy = &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(server)
		p.Out.Host = p.In.Host
	}}
	return f
}

// count returns how many recorded requests begin with prefix.
func (f *front) count(prefix string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, line := range f.served {
		if strings.HasPrefix(line, prefix) {
			n++
		}
	}
	return n
}

// spaTab is a tab of Chromium with a single-page application.
type spaTab struct {
	*testing.T
	ctx context.Context
}

// chromium starts a browser with one profile and returns a function that opens tabs in it.
func chromium(t *testing.T) func() spaTab {
	t.Helper()
	if _, err := exec.LookPath("chromium"); err != nil && os.Getenv("CI") != "" {
		t.Fatal("chromium is not installed: apt-get install --no-install-recommends chromium")
	} else if err != nil {
		t.Skip("SKIPPED: chromium is not installed")
	}
	home := t.TempDir()
	allocator, cancel := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath("chromium"), chromedp.NoSandbox, chromedp.UserDataDir(home),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Env("HOME="+home))...)
	t.Cleanup(cancel)
	browser, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	if err := chromedp.Do(browser, chromedp.Navigate("about:blank")); err != nil {
		t.Fatal(err)
	}
	return func() spaTab {
		ctx, cancel := chromedp.NewContext(browser)
		t.Cleanup(cancel)
		ctx, cancel = context.WithTimeout(ctx, 4*executable.WaitLimit)
		t.Cleanup(cancel)
		return spaTab{t, ctx}
	}
}

func do[T any](b spaTab, a chromedp.Action[T]) T {
	b.Helper()
	found, err := chromedp.Run(b.ctx, a)
	if err != nil {
		b.Fatal(err)
	}
	return found
}

// script runs an expression or waits for a promise, and returns its value as text.
func (b spaTab) script(expression string) string {
	b.Helper()
	return do(b, chromedp.Evaluate[string](`(async () => String(await (`+expression+`)))()`, chromedp.EvalAwaitPromise))
}

// sees waits until an expression is true.
func (b spaTab) sees(expression string) {
	b.Helper()
	for end := time.Now().Add(executable.WaitLimit); ; time.Sleep(20 * time.Millisecond) {
		// During a navigation there may be no page to ask.
		got, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](`Boolean(`+expression+`)`))
		if err == nil && got {
			return
		}
		if time.Now().After(end) {
			page, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string](`location + "\n" + document.body.innerText`))
			b.Fatalf("never true: %s (%v); the page is\n%s", expression, err, page)
		}
	}
}

// shot writes screenshots of the page: phone and desktop, light and dark.
func (b spaTab) shot(name string) {
	b.Helper()
	dir := filepath.Join("..", "..", ".build", "screens")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	for size, width := range map[string]int64{"phone": 360, "desktop": 1280} {
		for _, theme := range []string{"light", "dark"} {
			if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
				Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}},
			}); err != nil {
				b.Fatal(err)
			}
			do(b, chromedp.EmulateViewport(width, 800))
			if wide := b.script(`document.documentElement.scrollWidth > innerWidth`); wide != "false" {
				b.Errorf("%s, %s: the page is wider than the window", name, size)
			}
			image := do(b, chromedp.FullScreenshot(100))
			if err := os.WriteFile(filepath.Join(dir, name+"-"+size+"-"+theme+"-en.png"), image, 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
	do(b, chromedp.EmulateViewport(1280, 800))
}

const (
	signedIn  = `document.getElementById("in")?.hidden === false && document.getElementById("email").textContent === "ada@example.com"`
	signedOut = `document.getElementById("out")?.hidden === false`
)

// signIn goes through the sign-in page and comes back.
func (b spaTab) signIn() {
	b.Helper()
	do(b, chromedp.Click("#sign-in"))
	b.sees(`location.pathname.endsWith("/login") && document.getElementById("password")`)
	do(b, chromedp.SendKeys("#email", "ada@example.com"))
	do(b, chromedp.SendKeys("#password", "correct horse battery staple"))
	do(b, chromedp.Click("button.main"))
	b.sees(signedIn)
}

// TestModuleInChromium uses the sample application and the browser module in two tabs of Chromium, against
// the real server.
func TestModuleInChromium(t *testing.T) {
	t.Parallel()
	t.Run("at the root", func(t *testing.T) { testModule(t, "") })
	t.Run("under a path", func(t *testing.T) { testModule(t, "/auth") })
}

// testModule walks through the sample application of a server whose public URL has the path prefix.
func testModule(t *testing.T, prefix string) {
	open := chromium(t)
	f := newFront(t, prefix)
	shot := func(b spaTab, name string) {
		b.Helper()
		if prefix == "" {
			b.shot(name)
		}
	}
	first := open()

	// Signed out, sign in through the real page, and back.
	do(first, chromedp.Navigate(f.url+prefix+"/demo"))
	first.sees(signedOut)
	shot(first, "demo-signed-out")
	first.signIn()
	if at := do(first, chromedp.Location()); at != f.url+prefix+"/demo/" {
		t.Errorf("after the sign-in: at %s, want /demo/", at)
	}
	shot(first, "demo")

	// A damaged token is refused, replaced and the request sent once more; the page shows it.
	do(first, chromedp.Click(`[value=token]`))
	first.sees(`document.getElementById("log").innerText.includes("New access token")`)
	first.script(`document.querySelector("#damage").click()`)
	first.sees(`/← 401 INVALID_TOKEN[^]*invalid_token[^]*New access token[^]*← 200/.test(document.getElementById("log").innerText)`)
	first.sees(signedIn)
	shot(first, "demo-401")

	// Fifty requests in two tabs at expiry: one renewal.
	second := open()
	do(second, chromedp.Navigate(f.url+prefix+"/demo/"))
	second.sees(signedIn)
	tabs := []spaTab{first, second}
	for _, b := range tabs {
		b.script(`import("` + prefix + `/durward.js").then(({createClient}) => {
			window.shift = 0; window.ended = []
			window.c = createClient({server: "` + prefix + `/", origins: [location.origin], now: () => Date.now() + shift, name: "test"})
			c.addEventListener("signedout", e => ended.push(e.detail.reason))
			return c.fetch("` + prefix + `/api/profile").then(r => r.status)
		})`)
	}
	before := f.count("POST " + prefix + "/api/auth/token")
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
	if n := f.count("POST "+prefix+"/api/auth/token") - before; n != 1 {
		t.Errorf("fifty requests in each of two tabs at expiry: %d renewals, want 1", n)
	}

	// 503 keeps the person signed in.
	first.script(`shift *= 2, ""`)
	f.down.Store(true)
	try := `c.fetch("` + prefix + `/api/profile").then(r => r.status, e => e.code)`
	if got := first.script(try); got != "unavailable" {
		t.Errorf("a renewal during an outage: got %s, want unavailable", got)
	}
	first.script(`document.querySelector("#load").click()`)
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
		</script>%s`, f.url+prefix, map[bool]string{true: `<iframe sandbox="allow-scripts" src="/inner"></iframe>`}[r.URL.Path == "/"])
	}))
	defer foreign.Close()
	third := open()
	site := strings.Replace(foreign.URL, "127.0.0.1", "localhost", 1) // the same site, so the browser sends the cookie
	do(third, chromedp.Navigate(site+"/"))
	// The browser sends the cookie with requests of the same site, and none from the origin null.
	for _, want := range []string{
		"POST " + prefix + "/api/auth/token " + site + " 403", "POST " + prefix + "/api/auth/logout " + site + " 403",
		"POST " + prefix + "/api/auth/token null 401", "POST " + prefix + "/api/auth/logout null 204",
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
	second.script(`document.querySelector("#load").click()`)
	second.sees(signedOut)
	if got := second.script(`c.fetch("` + prefix + `/api/profile").then(r => r.status, e => e.code)`); got != "signedout" {
		t.Errorf("the other tab, after the sign-out: got %s, want signedout", got)
	}

	// A session that was ended elsewhere: the panel shows the 401, and the sign-in page leads back.
	second.signIn()
	second.script(`document.querySelector("#elsewhere").click()`)
	second.sees(signedOut + ` && /← 401 SESSION_EXPIRED[^]*session realm/.test(document.getElementById("log").innerText)`)
	shot(second, "demo-ended")
	if focused := second.script(`document.activeElement.id`); focused != "sign-in" {
		t.Errorf("focus: on %q, want the button of the sign-in", focused)
	}
	second.signIn()
}
