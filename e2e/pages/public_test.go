package pages_test

import (
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/durward-auth/durward/e2e/executable"
)

// site is a server of its own with an empty database, at http://localhost:PORT. Its mails are in a folder.
type site struct {
	*front
	dir string
	env []string
}

func newSite(t *testing.T) *site {
	t.Helper()
	path, err := executable.Build()
	if err != nil {
		t.Fatal(err)
	}
	s := &site{front: &front{}, dir: t.TempDir()}
	var to atomic.Pointer[url.URL]
	web := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(to.Load())
		p.Out.Host = p.In.Host
	}})
	t.Cleanup(web.Close)
	s.url = strings.Replace(web.URL, "127.0.0.1", "localhost", 1)
	s.env = append(os.Environ(), "DURWARD_PUBLIC_URL="+s.url, "DURWARD_DATA_DIR="+s.dir, "DURWARD_REGISTRATION=open", "DURWARD_VERIFY_EMAIL=true")
	cmd := exec.Command(path, "serve", "--listen", "127.0.0.1:0")
	cmd.Env, cmd.Stderr = s.env, &s.log
	at, _, err := executable.Serve(t, cmd)
	if err != nil {
		t.Fatalf("%v\n%s", err, s.log.String())
	}
	server, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	to.Store(server)
	return s
}

// mailed waits for the number-th mail with a link to a page, and returns the path and fragment of the link.
func (s *site) mailed(t *testing.T, page string, number int) string {
	t.Helper()
	link := regexp.MustCompile(regexp.QuoteMeta(s.url) + `(` + page + `#t=[\w-]{43})`)
	for end := time.Now().Add(executable.WaitLimit); ; time.Sleep(20 * time.Millisecond) {
		files, _ := filepath.Glob(filepath.Join(s.dir, "mail", "*.eml"))
		found := 0
		for _, file := range files {
			text, _ := os.ReadFile(file)
			if m := link.FindStringSubmatch(strings.NewReplacer("=\r\n", "", "=\n", "", "=3D", "=").Replace(string(text))); m != nil {
				if found++; found == number {
					return m[1]
				}
			}
		}
		if time.Now().After(end) {
			t.Fatalf("no mail %d with a link to %s in %d mails\n%s", number, page, len(files), s.log.String())
		}
	}
}

// sendForm types into fields by name, and presses the main button.
func (b spaTab) sendForm(pairs ...string) {
	b.Helper()
	for i := 0; i+1 < len(pairs); i += 2 {
		do(b, chromedp.SendKeys(`[name="`+pairs[i]+`"]`, pairs[i+1]))
	}
	do(b, chromedp.Click("main button.main"))
}

// page checks a page with axe-core and writes its screenshots in both languages if SCREENS is set.
func (b spaTab) page(s *site, name, path string) {
	b.Helper()
	b.open(s.front, path)
	b.sees(`document.querySelector("h1")`)
	b.axe(name)
	if os.Getenv("SCREENS") == "" {
		return
	}
	for _, language := range []string{"en", "de"} {
		b.open(s.front, strings.Replace(path, "#", "?ui_locales="+language+"#", 1)+map[bool]string{true: "", false: "?ui_locales=" + language}[strings.Contains(path, "#")])
		b.sees(`document.documentElement.lang === "` + language + `"`)
		b.shots(name, language)
	}
}

// TestVisitors: the first administrator comes by the link of the first start; a visitor registers, confirms the
// address with the link of the mail, signs in, forgets the password and sets a new one; an invited user accepts.
func TestVisitors(t *testing.T) {
	const email, password, changed = "cy@example.com", "a few words in a row", "other words in this row"
	s := newSite(t)
	b := chromium(t)()

	// The token of a link goes from the fragment into the form. It is gone from the address and from the
	// history, and the choice of another language keeps it.
	setup := regexp.MustCompile(`/setup#t=[\w-]{43}`).FindString(s.log.String())
	if setup == "" {
		t.Fatalf("the first start prints no link:\n%s", s.log.String())
	}
	_, token, _ := strings.Cut(setup, "#t=")
	kept := `location.pathname === "/setup" && location.hash === "" && document.getElementById("token").value === "` + token + `" && !document.getElementById("token").checkVisibility()`
	b.open(s.front, setup)
	b.sees(kept)
	b.axe("setup")
	do(b, chromedp.Click(`footer button[value=de]`))
	b.sees(`document.documentElement.lang === "de" && ` + kept)
	b.sendForm("email", "root@example.com", "name", "Root", "password", "short")
	b.sees(`document.getElementById("password-mistake")?.textContent.includes("mindestens 15 Zeichen") && ` + kept)
	b.axe("setup-mistake")
	if os.Getenv("SCREENS") != "" {
		b.shots("setup-mistake", "de")
	}
	do(b, chromedp.Click(`footer button[value=en]`))
	b.sees(`document.documentElement.lang === "en" && ` + kept)
	b.sendForm("email", "root@example.com", "name", "Root", "password", password)
	b.sees(`location.pathname === "/setup/done"`)

	for name, path := range map[string]string{
		"front": "/", "register": "/register", "register-sent": "/register/sent", "verify": "/verify-email#t=x", "verify-again": "/verify-email/send",
		"forgot": "/forgot", "forgot-sent": "/forgot/sent", "reset": "/reset#t=x", "reset-paste": "/reset", "reset-done": "/reset/done",
		"invite": "/invite#t=x", "setup": "/setup#t=x", "undo": "/undo-email#t=x", "not-found": "/nothing", "errors": "/errors/", "error": "/errors/TOKEN_EXPIRED",
	} {
		b.page(s, name, path)
	}

	// Register, confirm, sign in.
	b.open(s.front, "/login")
	do(b, chromedp.Click(`main a[href="/register"]`))
	b.sees(`location.pathname === "/register"`)
	b.sendForm("email", email, "name", "Cy", "password", password)
	b.sees(`location.pathname === "/register/sent"`)
	b.open(s.front, s.mailed(t, "/verify-email", 1))
	b.sees(`location.hash === ""`)
	do(b, chromedp.Click("main button.main"))
	b.sees(`location.pathname === "/verify-email/done"`)
	do(b, chromedp.Click(`main a[href="/login"]`))
	b.sees(`location.pathname === "/login"`)
	b.sendForm("email", email, "password", password)
	b.sees(`location.pathname === "/account"`)
	do(b, chromedp.Click("header form button"))
	b.sees(`location.pathname === "/signed-out"`)

	// Forgot and reset, and the same without scripts by pasting the token.
	for i, disabled := range []bool{false, true} {
		if _, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: disabled}); err != nil {
			t.Fatal(err)
		}
		b.open(s.front, "/forgot")
		b.sendForm("email", email)
		b.sees(`location.pathname === "/forgot/sent"`)
		link := s.mailed(t, "/reset", i+1)
		b.open(s.front, link)
		b.sees(`document.getElementById("token")`)
		if disabled {
			_, token, _ := strings.Cut(link, "#t=")
			b.sees(`document.getElementById("token").checkVisibility()`)
			b.sendForm("token", token, "new_password", changed)
		} else {
			b.sendForm("new_password", changed+"!")
		}
		b.sees(`location.pathname === "/reset/done"`)
	}
	b.open(s.front, "/login")
	b.sendForm("email", email, "password", changed)
	b.sees(`location.pathname === "/account"`)
	if _, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: false}); err != nil {
		t.Fatal(err)
	}

	// An invitation.
	path, err := executable.Build()
	if err != nil {
		t.Fatal(err)
	}
	invite := exec.Command(path, "user", "invite", "dee@example.com")
	invite.Env = s.env
	if out, err := invite.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b.open(s.front, s.mailed(t, "/invite", 1))
	b.sees(`location.hash === ""`)
	b.sendForm("name", "Dee", "password", password)
	b.sees(`location.pathname === "/invite/done"`)

	// A used link says so, beside the field.
	b.open(s.front, "/verify-email#"+strings.SplitN(s.mailed(t, "/verify-email", 1), "#", 2)[1])
	b.sees(`location.hash === ""`)
	do(b, chromedp.Click("main button.main"))
	b.sees(`document.getElementById("token-mistake") && document.querySelector(".denial code")`)
	b.axe("verify-refused")
	if os.Getenv("SCREENS") != "" {
		b.shots("verify-refused", "en")
	}
}
