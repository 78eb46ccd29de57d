package pages_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/pquerna/otp/totp"

	"github.com/durward-auth/durward/e2e/executable"
)

// newDemo starts durward serve --demo at http://localhost:PORT with one more administrator.
func newDemo(t *testing.T, administrator, password string) *front {
	t.Helper()
	path, err := executable.Build()
	if err != nil {
		t.Fatal(err)
	}
	f := &front{}
	var to atomic.Pointer[url.URL]
	web := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(to.Load())
		p.Out.Host = p.In.Host
	}})
	t.Cleanup(web.Close)
	f.url = strings.Replace(web.URL, "127.0.0.1", "localhost", 1)
	dir := t.TempDir()
	add := exec.Command(path, "user", "add", administrator, "--admin", "--name", "Boss", "--password-stdin", "--data", dir)
	add.Env = append(os.Environ(), "DURWARD_ISSUER="+f.url)
	add.Stdin = strings.NewReader(password)
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(path, "serve", "--demo", "--data", dir, "--listen", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), "DURWARD_PUBLIC_URL="+f.url, "DURWARD_ISSUER="+f.url)
	cmd.Stderr = &f.log
	at, _, err := executable.Serve(t, cmd)
	if err != nil {
		t.Fatalf("%v\n%s", err, f.log.String())
	}
	server, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	to.Store(server)
	return f
}

// axe reports the serious findings of axe-core on the page, as text, at two widths and in both themes.
func (b spaTab) axe(name string) {
	b.Helper()
	source, err := axe()
	if err != nil && os.Getenv("CI") != "" {
		b.Fatal(err)
	} else if err != nil {
		b.Logf("SKIPPED: axe-core: %v", err)
		return
	}
	for _, width := range []int64{320, 1280} {
		do(b, chromedp.EmulateViewport(width, 800))
		for _, theme := range []string{"light", "dark"} {
			b.theme(theme)
			// The debugger evaluates it outside the Content-Security-Policy of the page.
			do(b, chromedp.Evaluate[bool](source+"; true"))
			found := b.script(`axe.run(document, {resultTypes: ["violations"]}).then(r => JSON.stringify(r.violations
				.filter(v => v.impact === "serious" || v.impact === "critical")
				.map(v => v.id + ": " + v.nodes.slice(0, 3).map(n => n.html.slice(0, 200) + " " + (n.any[0] || n.all[0] || n.none[0] || {}).message).join(" | "))))`)
			var violations []string
			if err := json.Unmarshal([]byte(found), &violations); err != nil {
				b.Fatalf("axe: %v: %s", err, found)
			}
			for _, v := range violations {
				b.Errorf("%s, %d pixels, %s: %s", name, width, theme, v)
			}
		}
		if wide := b.script(`document.documentElement.scrollWidth > innerWidth`); wide != "false" {
			b.Errorf("%s: the page is wider than the window of %d pixels", name, width)
		}
	}
}

func (b spaTab) theme(name string) {
	b.Helper()
	if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}, {Name: "prefers-reduced-motion", Value: "reduce"}},
	}); err != nil {
		b.Fatal(err)
	}
}

// shots writes screenshots of the page in a language: phone and desktop, both themes.
func (b spaTab) shots(name, language string) {
	b.Helper()
	dir := filepath.Join("..", "..", ".build", "screens")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	for size, width := range map[string]int64{"phone": 360, "desktop": 1280} {
		do(b, chromedp.EmulateViewport(width, 800))
		for _, theme := range []string{"light", "dark"} {
			b.theme(theme)
			image := do(b, chromedp.FullScreenshot(100))
			if err := os.WriteFile(filepath.Join(dir, name+"-"+size+"-"+theme+"-"+language+".png"), image, 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
	do(b, chromedp.EmulateViewport(1280, 800))
}

// post sends JSON to the API with the session of the page, and reads the response.
func (b spaTab) post(path string, in any) (out map[string]any) {
	b.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		b.Fatal(err)
	}
	got := b.script(`fetch("` + path + `", {method: "POST", headers: {"Content-Type": "application/json"}, body: ` + "`" + string(body) + "`" + `}).then(async r => JSON.stringify({status: r.status, ...(r.status === 204 ? {} : await r.json())}))`)
	if err := json.Unmarshal([]byte(got), &out); err != nil {
		b.Fatalf("POST %s: %v: %s", path, err, got)
	}
	return out
}

// open opens a page of the server.
func (b spaTab) open(f *front, path string) {
	b.Helper()
	do(b, chromedp.Navigate(f.url+path))
}

// TestConsole: an administrator enrols a second factor, sees the console, finds the reason of a refusal in a
// whole response of curl, and locks a user whose browser is out at its next click.
func TestConsole(t *testing.T) {
	const name, password = "boss@example.com", "correct horse battery staple"
	f := newDemo(t, name, password)
	root, secret := chromium(t)(), ""

	// The first visit leads to the sign-in page, and the console wants a second factor.
	root.open(f, "/console")
	root.sees(`location.pathname === "/login" && document.getElementById("email")`)
	do(root, chromedp.SendKeys("#email", name))
	do(root, chromedp.SendKeys("#password", password))
	do(root, chromedp.Click("button.main"))
	root.sees(`location.pathname === "/login/enrol"`)
	made := root.post("/api/auth/mfa/totp", struct{}{})
	secret, _ = made["secret"].(string)
	code := func(later time.Duration) string {
		code, err := totp.GenerateCode(secret, time.Now().Add(later))
		if err != nil {
			t.Fatal(err)
		}
		return code
	}
	root.post("/api/auth/mfa/totp/confirm", map[string]string{"code": code(0)})
	begun := root.post("/api/auth/login", map[string]any{"email": name, "password": password, "use_cookies": true})
	// The code of this half minute is used; the next one is good already.
	if done := root.post("/api/auth/login/mfa", map[string]any{"mfa_token": begun["mfa_token"], "method": "totp", "code": code(30 * time.Second)}); done["status"] != 200.0 {
		t.Fatalf("the second factor is refused: %v", done)
	}

	// A user signs in in another browser; curl is refused.
	user := chromium(t)()
	user.open(f, "/login")
	do(user, chromedp.SendKeys("#email", "ada@example.com"))
	do(user, chromedp.SendKeys("#password", password))
	do(user, chromedp.Click("button.main"))
	user.sees(`location.pathname === "/account"`)
	response := refusedCurl(t, f)

	root.open(f, "/console")
	root.sees(`document.querySelectorAll(".chart svg.plot rect, .chart svg.plot line").length > 8`)
	root.axe("console")
	for _, page := range []struct{ name, path string }{
		{"users", "/console/users"}, {"refusals", "/console/refusals"}, {"log", "/console/log"},
		{"signing-keys", "/console/signing-keys"}, {"settings", "/console/settings"},
	} {
		root.open(f, page.path)
		root.sees(`document.querySelector("h1")`)
		root.axe("console-" + page.name)
	}

	// Why was this refused?
	root.open(f, "/console/refusals")
	root.script(`document.getElementById("text").value = ` + quoted(response))
	do(root, chromedp.Click("form[method=post][action$=refusals] button"))
	root.sees(`location.pathname.startsWith("/console/refusals/") && document.querySelector(".cause")?.textContent.length > 10`)
	root.sees(`document.body.innerText.includes("INVALID_TOKEN")`)
	root.axe("console-refusal")

	// The user is out at the next click.
	root.open(f, "/console/users?search=ada")
	do(root, chromedp.Click("tbody a"))
	root.sees(`document.querySelector("form[action$='/lock'] button")`)
	root.axe("console-user")
	if os.Getenv("SCREENS") != "" {
		root.everyScreen(f)
		root.open(f, "/console/users?search=ada")
		do(root, chromedp.Click("tbody a"))
		root.sees(`document.querySelector("form[action$='/lock'] button")`)
	}
	do(root, chromedp.Click("form[action$='/lock'] button"))
	root.sees(`document.querySelector("form[action$='/unlock']")`)
	user.open(f, "/account")
	user.sees(`location.pathname === "/login"`)
}

// everyScreen writes screenshots of all pages in both languages.
func (b spaTab) everyScreen(f *front) {
	b.Helper()
	id := b.script(`location.pathname.split("/").pop()`)
	b.open(f, "/console/refusals")
	refusal := b.script(`new URL(document.querySelector("tbody th a").href).pathname`)
	for _, language := range []string{"en", "de"} {
		for _, page := range []struct{ name, path string }{
			{"console", "/console?range=hour"}, {"console-users", "/console/users"}, {"console-user", "/console/users/" + id},
			{"console-refusals", "/console/refusals"}, {"console-refusal", refusal}, {"console-log", "/console/log"},
			{"console-signing-keys", "/console/signing-keys"}, {"console-settings", "/console/settings"},
		} {
			path := page.path + "?ui_locales=" + language
			if strings.Contains(page.path, "?") {
				path = page.path + "&ui_locales=" + language
			}
			b.open(f, path)
			b.sees(`document.querySelector("h1")`)
			b.shots(page.name, language)
		}
	}
}

func quoted(text string) string {
	out, _ := json.Marshal(text)
	return string(out)
}

// refusedCurl returns a whole response to a request with a bad token, as curl -i prints it.
func refusedCurl(t *testing.T, f *front) string {
	t.Helper()
	if path, err := exec.LookPath("curl"); err == nil {
		out, err := exec.Command(path, "-sik", "-H", "Authorization: Bearer x.y.z", f.url+"/api/profile").CombinedOutput()
		if err != nil {
			t.Fatalf("curl: %v\n%s", err, out)
		}
		return string(out)
	}
	r, _ := http.NewRequestWithContext(context.Background(), "GET", f.url+"/api/profile", nil)
	r.Header.Set("Authorization", "Bearer x.y.z")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	return fmt.Sprintf("HTTP/1.1 %s\nDurward-Denial: %s\n\n%s", res.Status, res.Header.Get("Durward-Denial"), body)
}
