package pages_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/pquerna/otp/totp"
)

// withScripts switches the scripts of pages on or off.
func (b spaTab) withScripts(on bool) {
	b.Helper()
	if _, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on}); err != nil {
		b.Fatal(err)
	}
}

// checked looks at the page with axe-core. With SCREENS set it writes screenshots in both languages, for a page
// that can be opened again.
func (b spaTab) checked(name string, again bool) {
	b.Helper()
	b.axe(name)
	if os.Getenv("SCREENS") == "" {
		return
	}
	b.shots(name, "en")
	if !again {
		return
	}
	for _, language := range []string{"de", "en"} {
		do(b, chromedp.Evaluate[string](`{ const to = new URL(location.href); to.searchParams.set("ui_locales", "`+language+`"); location.href = to; "" }`))
		b.sees(`document.documentElement.lang === "` + language + `" && document.querySelector("h1")`)
		if language == "de" {
			b.shots(name, language)
		}
	}
}

// password fills the form of /login and sends it.
func (b spaTab) password(email, password string) {
	b.Helper()
	b.sees(`location.pathname === "/login" && document.getElementById("password")`)
	b.script(`document.getElementById("email").value = ""`)
	do(b, chromedp.SendKeys("#email", email))
	do(b, chromedp.SendKeys("#password", password))
	do(b, chromedp.Click("button.main"))
}

// An administrator without a second factor is led to the page that adds a passkey, uses it, keeps the recovery
// codes and reaches the console. The passkey alone signs in afterwards, is the second factor after the
// password, and renews a sign-in.
func TestPasskeyPagesInChromium(t *testing.T) {
	t.Parallel()
	const name, password = "boss@example.com", "correct horse battery staple"
	f := newDemo(t, name, password)
	b := chromium(t)()

	b.open(f, "/login")
	b.sees(`document.querySelector("button.show")?.hidden === false && document.querySelector("[data-passkey]")?.hidden === false`)
	b.checked("login", true)
	do(b, chromedp.SendKeys("#password", "wrong"))
	do(b, chromedp.Click("button.show"))
	b.sees(`document.getElementById("password").type === "text" && document.querySelector("button.show").getAttribute("aria-pressed") === "true"`)
	do(b, chromedp.SendKeys("#email", name))
	do(b, chromedp.Click("button.main"))
	b.sees(`document.activeElement.matches(".summary") && document.querySelector("code")`)
	b.checked("login-wrong", false)

	b.open(f, "/console")
	b.passkeyDevice()
	b.password(name, password)
	b.sees(`location.pathname === "/login/enrol" && document.querySelector("[data-passkey]")?.hidden === false`)
	b.checked("enrol", true)
	do(b, chromedp.Click("[data-passkey]"))
	b.sees(`location.pathname === "/step-up" && document.querySelector("[data-passkey]")?.hidden === false`)
	b.checked("step-up-passkey", true)
	do(b, chromedp.Click("[data-passkey]"))
	b.sees(`location.pathname === "/login/enrol" && document.querySelector("input[value=codes]")`)
	b.checked("enrol-codes", true)
	do(b, chromedp.Click("button.main"))
	b.sees(`document.getElementById("secret")?.textContent.trim().split(/\s+/).length === 10`)
	b.checked("enrol-done", true)
	do(b, chromedp.Click("button.main"))
	b.sees(`location.pathname === "/console"`)

	// The passkey alone. The authenticator agrees to the offer in the password manager or to the button.
	do(b, chromedp.Click("header form button"))
	b.sees(`location.pathname === "/signed-out"`)
	b.checked("signed-out", true)
	b.open(f, "/account/profile")
	b.passkeyAlone(`location.pathname === "/account/profile"`)

	do(b, chromedp.Click("header form button"))
	b.sees(`location.pathname === "/signed-out"`)
	b.withScripts(false) // or the passkey signs in before the password is typed
	b.open(f, "/login?return_to=%2Faccount%2Fprofile")
	b.password(name, password)
	b.sees(`location.pathname === "/login/factor" && document.querySelector("[data-passkey-missing]")`)
	b.withScripts(true)
	do(b, chromedp.Evaluate[string](`location.reload(); ""`))
	b.sees(`document.querySelector("[data-passkey]")?.hidden === false`)
	b.checked("factor-passkey", true)
	do(b, chromedp.Click("[data-passkey]"))
	b.sees(`location.pathname === "/account/profile"`)
}

// passkeyAlone signs in with a passkey at /login.
func (b spaTab) passkeyAlone(done string) {
	b.Helper()
	b.sees(`(` + done + `) || location.pathname === "/login" && document.querySelector("[data-passkey]")?.hidden === false`)
	if b.script(`Boolean(`+done+`)`) != "true" {
		_, _ = chromedp.Run(b.ctx, chromedp.Evaluate[string](`document.querySelector("[data-passkey]")?.click(); ""`)) // unless the page is left already
	}
	b.sees(done)
}

// A user signs in with a password and the code of an authenticator app, with scripts, which send the last digit, and
// without. A recovery code is another way. The step-up asks for the password of a user without a factor, and for
// a code afterwards.
func TestCodePagesInChromium(t *testing.T) {
	t.Parallel()
	const email, password = "ada@example.com", "correct horse battery staple"
	f := newDemo(t, "boss@example.com", password)
	b := chromium(t)()
	b.withScripts(false)
	b.open(f, "/login?return_to=%2Faccount%2Fprofile")
	b.password(email, password)
	b.sees(`location.pathname === "/account/profile"`)
	b.withScripts(true)
	b.open(f, "/step-up?return_to=%2Faccount%2Fpasskeys")
	b.sees(`document.getElementById("password")`)
	b.checked("step-up", true)
	do(b, chromedp.SendKeys("#password", password))
	do(b, chromedp.Click("button.main"))
	b.sees(`location.pathname === "/account/passkeys"`)

	b.open(f, "/login/enrol?method=totp&return_to=%2Faccount%2Fprofile")
	b.sees(`document.querySelector("button.main")`)
	do(b, chromedp.Click("button.main"))
	b.sees(`document.getElementById("code") && document.querySelector(".qr")?.naturalWidth > 0`)
	b.checked("enrol-totp", true)
	seed := strings.ReplaceAll(b.script(`document.getElementById("secret").textContent`), " ", "")
	code := func(later time.Duration) string {
		code, err := totp.GenerateCode(strings.TrimSpace(seed), time.Now().Add(later))
		if err != nil {
			t.Fatal(err)
		}
		return code
	}
	do(b, chromedp.SendKeys("#code", code(-30*time.Second))) // the last digit sends the form; this step is the oldest that is good
	b.sees(`location.pathname === "/login/enrol" && document.querySelector("input[value=codes]")`)
	do(b, chromedp.Click("button.main"))
	b.sees(`document.getElementById("secret")`)
	var codes []string
	if err := json.Unmarshal([]byte(b.script(`JSON.stringify(document.getElementById("secret").textContent.trim().split(/\s+/))`)), &codes); err != nil {
		t.Fatal(err)
	}
	do(b, chromedp.Click("button.main"))
	b.sees(`location.pathname === "/account/profile"`)
	b.open(f, "/step-up")
	b.sees(`document.getElementById("code")`)
	b.checked("step-up-code", true)
	do(b, chromedp.Click("header form button"))
	b.sees(`location.pathname === "/signed-out"`)

	b.withScripts(false)
	b.open(f, "/login?return_to=%2Faccount%2Fprofile")
	b.password(email, password)
	b.sees(`location.pathname === "/login/factor" && document.getElementById("code")`)
	do(b, chromedp.SendKeys("#code", "000000"))
	do(b, chromedp.Click("button.main"))
	b.sees(`document.querySelector(".summary") && document.querySelector("code")`)
	b.withScripts(true) // for axe-core
	b.checked("factor-wrong", false)
	b.open(f, "/login/factor?return_to=%2Faccount%2Fprofile")
	b.sees(`document.getElementById("code")`)
	b.checked("factor", true)
	b.withScripts(false)
	b.open(f, "/login/factor?return_to=%2Faccount%2Fprofile")
	b.sees(`document.getElementById("code")`)
	do(b, chromedp.SendKeys("#code", code(0)))
	do(b, chromedp.Click("button.main"))
	b.sees(`location.pathname === "/account/profile"`)
	do(b, chromedp.Click("header form button"))
	b.sees(`location.pathname === "/signed-out"`)

	b.withScripts(true)
	b.open(f, "/login?return_to=%2Faccount%2Fprofile")
	b.password(email, password)
	b.sees(`location.pathname === "/login/factor"`)
	do(b, chromedp.Click("details summary"))
	do(b, chromedp.Click("details a"))
	b.sees(`new URLSearchParams(location.search).get("method") === "recovery_code" && document.getElementById("code")`)
	b.checked("factor-recovery", true)
	do(b, chromedp.SendKeys("#code", codes[0]))
	do(b, chromedp.Click("button.main"))
	b.sees(`location.pathname === "/account/profile"`)
}
