package e2e

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/e2e/chromium"
)

// tab is a tab of Chromium with a scripted user at its password dialog.
type tab struct {
	ctx context.Context
	t   *testing.T

	mu    sync.Mutex
	asked []string // one entry per password dialog: "Server basic e2e"
}

// browse starts a headless Chromium and returns a function that opens tabs, each with its own
// profile.
func browse(t *testing.T) (open func(t *testing.T, password string,
	options ...chromedp.CreateBrowserContextOption) *tab) {
	t.Helper()
	dir := t.TempDir()
	browser := chromium.StartFor(t, dir, dir)
	if err := chromedp.Do(browser, chromedp.Navigate("about:blank")); err != nil {
		t.Fatal(err)
	}
	return func(t *testing.T, password string, options ...chromedp.CreateBrowserContextOption) *tab {
		t.Helper()
		ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext(options...))
		t.Cleanup(cancel)
		b := &tab{ctx: ctx, t: t}
		paused, asked := chromedp.Events(ctx, fetch.RequestPaused), chromedp.Events(ctx, fetch.AuthRequired)
		yes := true
		if _, err := chromedp.Call(ctx, fetch.Enable, fetch.EnableParams{HandleAuthRequests: &yes}); err != nil {
			t.Fatal(err)
		}
		go func() {
			for e, err := range paused {
				if err != nil {
					return // the tab is closed
				}
				_, _ = chromedp.Call(ctx, fetch.ContinueRequest, fetch.ContinueRequestParams{RequestID: e.RequestID})
			}
		}()
		go func() {
			for e, err := range asked {
				if err != nil {
					return
				}
				_, _ = chromedp.Call(ctx, fetch.ContinueWithAuth, fetch.ContinueWithAuthParams{RequestID: e.RequestID,
					AuthChallengeResponse: b.answer(e.AuthChallenge, password)})
			}
		}()
		b.ctx, cancel = context.WithTimeout(ctx, runTimeout)
		t.Cleanup(cancel)
		return b
	}
}

// answer enters the password in the first dialog and cancels repeated ones.
func (b *tab) answer(c *fetch.AuthChallenge, password string) *fetch.AuthChallengeResponse {
	box := string(c.Source) + " " + c.Scheme + " " + c.Realm
	b.mu.Lock()
	defer b.mu.Unlock()
	again := slices.Contains(b.asked, box)
	b.asked = append(b.asked, box)
	if again {
		return &fetch.AuthChallengeResponse{Response: fetch.AuthChallengeResponseResponseCancelAuth}
	}
	return &fetch.AuthChallengeResponse{Response: fetch.AuthChallengeResponseResponseProvideCredentials,
		Username: user, Password: password}
}

// do runs an action in the tab and returns its result.
func do[T any](b *tab, a chromedp.Action[T]) T {
	b.t.Helper()
	found, err := chromedp.Run(b.ctx, a)
	if err != nil {
		b.t.Fatal(err)
	}
	return found
}

// page opens a page and returns its visible text.
func (b *tab) page(url string) string {
	b.t.Helper()
	do(b, chromedp.Navigate(url))
	return do(b, chromedp.Text("body"))
}

// wantDialogs compares the password dialogs that the browser opened.
func (b *tab) wantDialogs(want ...string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Equal(b.asked, want) {
		b.t.Errorf("password dialogs: got %q, want %q", b.asked, want)
	}
}

func TestChromium(t *testing.T) {
	t.Parallel()
	open := browse(t)

	for _, c := range []struct {
		name     string
		schemes  []durward.Scheme
		password string
		requests []string
		box      []string
		reads    string
	}{
		{"Basic", []durward.Scheme{basic()}, password,
			[]string{"GET /x: AUTHENTICATION_REQUIRED", "GET /x: ada by Basic", "GET /y: ada by Basic"},
			[]string{"Server basic e2e"}, "hello, ada"},
		{"Digest", []durward.Scheme{digest(durward.DigestConfig{})}, password,
			[]string{"GET /x: AUTHENTICATION_REQUIRED", "GET /x: ada by Digest SHA-256",
				"GET /y: ada by Digest SHA-256"}, []string{"Server digest e2e"}, "hello, ada"},
		{"Digest of three, Basic and Bearer",
			[]durward.Scheme{basic(), bearer(), digest(durward.DigestConfig{SHA512256: true, InsecureMD5: true})},
			password,
			[]string{"GET /x: AUTHENTICATION_REQUIRED", "GET /x: ada by Digest SHA-256",
				"GET /y: ada by Digest SHA-256"}, []string{"Server digest e2e"}, "hello, ada"},
		{"wrong", []durward.Scheme{basic()}, "wrong",
			[]string{"GET /x: AUTHENTICATION_REQUIRED", "GET /x: INVALID_CREDENTIALS by Basic",
				"GET /y: AUTHENTICATION_REQUIRED"},
			[]string{"Server basic e2e", "Server basic e2e", "Server basic e2e"}, "INVALID_CREDENTIALS"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			srv := newServer(t)
			srv.serve(srv.guard(durward.Config{Schemes: c.schemes, Realm: "e2e"}).Handler(hello))
			b := open(t, c.password)
			if got := b.page(srv.url + "/x"); !strings.Contains(got, c.reads) {
				t.Errorf("page: got %q, want %q", got, c.reads)
			}
			b.page(srv.url + "/y")
			srv.wantRequests(c.requests...)
			b.wantDialogs(c.box...)
		})
	}

	// A request by a script must open no password dialog if another scheme is accepted.
	script := `fetch("/api").then(async r => r.status + " " + r.headers.get("WWW-Authenticate") + " " + (await r.json()).code)`
	for _, c := range []struct {
		name     string
		schemes  []durward.Scheme
		requests []string
		box      []string
		gets     string
	}{
		{"a script, with another scheme", []durward.Scheme{basic(), digest(durward.DigestConfig{}), bearer()},
			[]string{"GET /api: AUTHENTICATION_REQUIRED"}, nil, `401 Bearer realm="e2e" AUTHENTICATION_REQUIRED`},
		{"a script, with Basic alone", []durward.Scheme{basic()},
			[]string{"GET /api: AUTHENTICATION_REQUIRED", "GET /api: INVALID_CREDENTIALS by Basic"},
			[]string{"Server basic e2e", "Server basic e2e"},
			`401 Basic realm="e2e", charset="UTF-8" INVALID_CREDENTIALS`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			srv := newServer(t)
			g := srv.guard(durward.Config{Schemes: c.schemes, Realm: "e2e"})
			mux := http.NewServeMux()
			mux.Handle("/", g.Open(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_,
					_ = w.Write([]byte("a page"))
			})))
			mux.Handle("/api", g.Handler(hello))
			srv.serve(mux)
			b := open(t, "wrong")
			b.page(srv.url + "/")
			if got := do(b, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise)); got != c.gets {
				t.Errorf("script: got %q, want %q", got, c.gets)
			}
			srv.wantRequests(c.requests...)
			b.wantDialogs(c.box...)
		})
	}

	// An expired nonce is renewed without an error in the script.
	t.Run("a script with an expired nonce", func(t *testing.T) {
		t.Parallel()
		var late atomic.Bool
		srv := newServer(t)
		srv.serve(srv.guard(durward.Config{Schemes: []durward.Scheme{digest(durward.DigestConfig{NonceLife: time.Minute}), bearer()}, Realm: "e2e",
			Now: func() time.Time {
				if late.Load() {
					return time.Now().Add(2 * time.Minute)
				}
				return time.Now()
			}}).Handler(hello))
		b := open(t, password)
		b.page(srv.url + "/x")
		late.Store(true)
		if got, want := do(b, chromedp.Evaluate[string](`fetch("/api").then(r => r.text())`,
			chromedp.EvalAwaitPromise)), "hello, ada\n"; got != want {
			t.Errorf("script: got %q, want %q", got, want)
		}
		srv.wantRequests("GET /x: AUTHENTICATION_REQUIRED", "GET /x: ada by Digest SHA-256",
			"GET /api: STALE_NONCE by Digest SHA-256", "GET /api: ada by Digest SHA-256")
		b.wantDialogs("Server digest e2e")
	})

	// A navigation is redirected to the sign-in page with the return address. A frame and a
	// submitted form get an error page. The browser opens no password dialog.
	t.Run("pages", func(t *testing.T) {
		t.Parallel()
		srv := newServer(t)
		g := srv.guard(durward.Config{Schemes: []durward.Scheme{bearer(), durward.Session()}, Realm: "e2e",
			PublicURL: srv.url, LoginURL: srv.url + "/login"})
		mux := http.NewServeMux()
		mux.Handle("/login", g.Open(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte("come back to " + durward.ReturnTo(r.URL.Query().Get("return_to"))))
		})))
		mux.Handle("/outer", g.Open(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte(`<iframe src="/inner"></iframe>`))
		})))
		mux.Handle("/form", g.Open(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte(`<form method="post" action="/sent"><button>Send</button></form>`))
		})))
		mux.Handle("/", g.Require(durward.Policy{Pages: true}, hello))
		srv.serve(mux)
		b := open(t, password)
		if got, want := b.page(srv.url+"/notes?tag=a%20b"), "come back to /notes?tag=a%20b"; got != want {
			t.Errorf("page: got %q, want %q", got, want)
		}
		if at, want := do(b, chromedp.Location()), srv.url+"/login?return_to=%2Fnotes%3Ftag%3Da%2520b"; at != want {
			t.Errorf("location: got %s, want %s", at, want)
		}
		b.page(srv.url + "/outer")
		frame := do(b, chromedp.Poll[string](`document.querySelector("iframe").contentDocument.querySelector("h1")?.innerText`))
		b.page(srv.url + "/form")
		do(b, chromedp.Click("button"))
		do(b, chromedp.WaitReady("main a"))
		page := do(b, chromedp.Evaluate[string](`document.body.innerText`))
		if want := "Authentication required"; frame != want || !strings.Contains(page, want) ||
			!strings.Contains(page, "Sign in") {
			t.Errorf("frame: got %q, page after the form: got %q, want both to contain %q", frame, page, want)
		}
		if width := do(b, chromedp.Evaluate[string](`getComputedStyle(document.querySelector("main")).maxWidth`)); width == "none" {
			t.Error("max-width of main: got none, want the style of the page")
		}
		srv.wantRequests("GET /notes?tag=a%20b: 303 AUTHENTICATION_REQUIRED", "GET /inner: AUTHENTICATION_REQUIRED",
			"POST /sent: AUTHENTICATION_REQUIRED")
		b.wantDialogs()
	})

	// A proxy opens its own password dialog.
	t.Run("proxy", func(t *testing.T) {
		t.Parallel()
		srv := newServer(t)
		srv.serve(srv.guard(durward.Config{Schemes: []durward.Scheme{basic()}, Realm: "e2e"}).Handler(hello))
		proxy := start(t, []string{"PROXY_PASSWORD=" + password}, "forward-proxy", "-anywhere")
		b := open(t, password, func(p *target.CreateBrowserContextParams) {
			p.ProxyServer, p.ProxyBypassList = "http://"+proxy.address, "<-loopback>"
		})
		if got := b.page(srv.url + "/x"); strings.TrimSpace(got) != "hello, ada" {
			t.Errorf("page: got %q, want %q", got, "hello, ada")
		}
		srv.wantRequests("GET /x: AUTHENTICATION_REQUIRED", "GET /x: ada by Basic")
		b.wantDialogs("Proxy digest proxy", "Server basic e2e")
	})
}
