package pages_test

import (
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

const (
	coreUser     = "ada@example.com"
	corePassword = "correct horse battery staple"
	coreNew      = "another few words in a row"
)

// withoutScripts lets no script of a page run.
func (b spaTab) withoutScripts() {
	b.Helper()
	if _, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		b.Fatal(err)
	}
}

// fill types texts into fields: pairs of a name and a text.
func (b spaTab) fill(pairs ...string) {
	b.Helper()
	for i := 0; i+1 < len(pairs); i += 2 {
		do(b, chromedp.SendKeys(`[name="`+pairs[i]+`"]`, pairs[i+1]))
	}
}

// press clicks the main button of the page.
func (b spaTab) pressMain() {
	b.Helper()
	do(b, chromedp.Click("main button.main"))
}

// visit opens a page and waits for it.
func (b spaTab) visit(f *front, path string) {
	b.Helper()
	do(b, chromedp.Navigate(f.url+path))
	b.sees(`document.readyState === "complete" && document.querySelector("h1")`)
}

// at waits for a page by its path.
func (b spaTab) at(path string) {
	b.Helper()
	b.sees(`location.pathname === "` + path + `" && document.querySelector("h1")`)
}

// keys presses keys, one after the other.
func (b spaTab) keys(keys ...string) {
	b.Helper()
	for _, key := range keys {
		do(b, chromedp.KeyEvent(key))
	}
}

// TestWithoutScripts signs in, out, resets a password and registers in a browser that runs no scripts.
func TestWithoutScripts(t *testing.T) {
	t.Parallel()
	f := newFront(t, "")
	b := chromium(t)()
	b.withoutScripts()

	// A wrong password: the summary has the focus, the address stays, the password does not.
	b.visit(f, "/login?return_to=/account/sessions")
	b.fill("email", coreUser, "password", "wrong horse")
	b.pressMain()
	b.sees(`document.activeElement.className === "summary" && document.getElementById("email").value === "` + coreUser + `"
		&& document.getElementById("password").value === "" && document.querySelector("code")`)
	// The right one leads back to the page that asked.
	b.fill("password", corePassword)
	b.pressMain()
	b.at("/account/sessions")
	do(b, chromedp.Click(`form[action="/sign-out"] button`))
	b.at("/signed-out")
	b.visit(f, "/account")
	b.at("/login")

	// A forgotten password: the mail, its link, and the token pasted from it.
	do(b, chromedp.Click(`a[href="/forgot"]`))
	b.at("/forgot")
	b.fill("email", coreUser)
	b.pressMain()
	b.at("/forgot/sent")
	link := `document.querySelector("article a[href*='/reset#t=']")`
	for range 100 {
		b.visit(f, "/dev/mail")
		if b.script(`Boolean(`+link+`)`) == "true" {
			break
		}
	}
	token := b.script(link + `.href.split("#t=")[1]`)
	do(b, chromedp.Click("article a[href*='/reset#t=']"))
	b.at("/reset")
	if got := b.script(`document.getElementById("token").value`); got != "" {
		t.Errorf("a script filled in the token %q; this browser has none", got)
	}
	b.fill("token", token, "new_password", coreNew)
	b.pressMain()
	b.at("/reset/done")
	b.visit(f, "/login")
	b.fill("email", coreUser, "password", coreNew)
	b.pressMain()
	b.at("/account")
	do(b, chromedp.Click(`form[action="/sign-out"] button`))
	b.at("/signed-out")

	// Register, in German.
	b.visit(f, "/register")
	do(b, chromedp.Click(`.bottom button[lang="de"]`))
	b.sees(`location.pathname === "/register" && document.documentElement.lang === "de"`)
	b.fill("email", "emmy@example.com", "name", "Emmy", "password", "kurz")
	b.pressMain()
	b.sees(`document.querySelector("[name=password]").getAttribute("aria-invalid") === "true" && document.getElementById("password-mistake").innerText.includes("mindestens")`)
	b.fill("password", coreNew)
	b.pressMain()
	b.at("/register/done")
	b.visit(f, "/login")
	b.fill("email", "emmy@example.com", "password", coreNew)
	b.pressMain()
	b.at("/account")
}

// TestWithKeyboard signs in and out with the keyboard alone, and then with a passkey alone.
func TestWithKeyboard(t *testing.T) {
	t.Parallel()
	f := newFront(t, "")
	b := chromium(t)()
	b.visit(f, "/login")
	b.keys(kb.Tab)
	b.sees(`document.activeElement.className === "skip" && document.activeElement.getBoundingClientRect().left >= 0`)
	b.keys(kb.Enter, kb.Tab)
	b.sees(`document.activeElement.id === "email"`)
	b.keys(coreUser, kb.Tab)
	for range 3 { // a button that shows the password may come before or after the field
		if b.script(`document.activeElement.id`) == "password" {
			break
		}
		b.keys(kb.Tab)
	}
	b.keys(corePassword, kb.Enter)
	b.at("/account")
	b.sees(`document.readyState === "complete"`)
	for range 40 { // the browser continues at the field that had the focus on the page before
		if b.script(`document.activeElement.closest("form")?.getAttribute("action")`) == "/sign-out" {
			break
		}
		b.keys(kb.Tab)
	}
	b.sees(`document.activeElement.matches(":focus-visible")`)
	b.keys(kb.Enter)
	b.at("/signed-out")

	// A passkey, added at the account, signs in alone.
	if _, err := chromedp.Call(b.ctx, webauthn.Enable, webauthn.EnableParams{}); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(b.ctx, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{
		Options: &webauthn.VirtualAuthenticatorOptions{
			Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportInternal,
			HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
		},
	}); err != nil {
		t.Fatal(err)
	}
	b.visit(f, "/login?return_to=/account/passkeys")
	b.fill("email", coreUser, "password", corePassword)
	b.pressMain()
	b.at("/account/passkeys")
	b.sees(`document.querySelector("#add:not([hidden]) button")`)
	do(b, chromedp.Click("#add button"))
	b.at("/account")
	// From now on the account asks for the passkey.
	do(b, chromedp.Navigate(f.url+"/account/passkeys"))
	b.sees(`location.pathname === "/step-up" && document.querySelector("[data-passkey=get]:not([hidden])")`)
	do(b, chromedp.Click("[data-passkey=get]"))
	b.sees(`document.querySelector("main a[href^='/account/passkeys/']")`)
	do(b, chromedp.Click(`form[action="/sign-out"] button`))
	b.at("/signed-out")
	before := f.count("POST /login")
	do(b, chromedp.Navigate(f.url+"/login?return_to=/account/activity"))
	// The browser may offer the passkey in the field of the address, and the virtual user then takes it.
	b.sees(`location.pathname === "/account/activity" || document.querySelector("[data-passkey=get]:not([hidden])")`)
	b.script(`document.querySelector("[data-passkey=get]")?.click(), ""`)
	b.at("/account/activity")
	if n := f.count("POST /login") - before; n != 1 {
		t.Errorf("%d forms for one sign-in with a passkey, want 1", n)
	}
}
