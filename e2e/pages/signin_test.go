package pages_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/durward-auth/durward/e2e/chromium"
)

// An administrator without a second factor is led to the page that adds a passkey, uses it, keeps the recovery
// codes and reaches the console. The passkey alone signs in afterwards, is the second factor after the
// password, and renews a sign-in. The server runs below a path.
func TestPasskeyPagesInChromium(t *testing.T) {
	t.Parallel()
	f := newDemo(t, "/auth")
	f.addBoss(t)
	b := browse(t, f)()

	b.visit("/login")
	b.at("/login", "button.show", "[data-passkey]")
	b.checkBoth("login", "/login")
	b.visit("/login")
	b.fill("password", "wrong")
	b.click("button.show")
	b.sees(`document.getElementById("password").type === "text" && document.querySelector("button.show").getAttribute("aria-pressed") === "true"`)
	b.send("email", boss)
	b.sees(`document.activeElement.matches(".summary") && document.querySelector("code")`)
	b.checkSent("login-wrong")

	b.visit("/console")
	chromium.AddAuthenticator(t, b.ctx)
	b.signIn(boss, password)
	b.at("/login/enrol", "[data-passkey]")
	b.checkBoth("enrol", b.here())
	b.click("[data-passkey]")
	b.at("/step-up", "[data-passkey]")
	b.checkBoth("step-up-passkey", b.here())
	b.click("[data-passkey]")
	b.sees(`document.querySelector("input[value=codes]")`)
	b.at("/login/enrol", "button.main")
	b.checkBoth("enrol-codes", b.here())
	b.send()
	b.sees(`document.getElementById("secret")?.textContent.trim().split(/\s+/).length === 10`)
	b.checkBoth("enrol-done", b.here())
	b.send()
	b.at("/console")

	// The passkey alone. The authenticator agrees to the offer in the password manager or to the button.
	b.signOut()
	do(b, chromedp.Navigate(b.origin+"/auth/account/profile"))
	b.sees(`location.pathname === "/auth/account/profile" || document.querySelector("[data-passkey]")?.hidden === false`)
	_, _ = chromedp.Run(b.ctx, chromedp.Evaluate[string](`document.querySelector("[data-passkey]")?.click(); ""`)) // fails if the page is left already
	b.at("/account/profile")

	b.signOut()
	b.withScripts(false) // or the passkey signs in before the password is typed
	b.visit("/login?return_to=%2Fauth%2Faccount%2Fprofile")
	b.signIn(boss, password)
	b.at("/login/factor", "[data-passkey-missing]")
	b.withScripts(true)
	b.visit(b.here())
	b.at("/login/factor", "[data-passkey]")
	b.checkBoth("factor-passkey", b.here())
	b.click("[data-passkey]")
	b.at("/account/profile")
}

// A user signs in with a password and the code of an authenticator app, with scripts, which send the last digit, and
// without. A recovery code is another way. The step-up asks for the password of a user without a factor, and for
// a code afterwards.
func TestCodePagesInChromium(t *testing.T) {
	t.Parallel()
	const toLogin, toFactor = "/login?return_to=%2Faccount%2Fprofile", "/login/factor?return_to=%2Faccount%2Fprofile"
	b := browse(t, newDemo(t, ""))()
	b.withScripts(false)
	b.visit(toLogin)
	b.signIn(ada, password)
	b.at("/account/profile")
	b.withScripts(true)
	b.visit("/step-up?return_to=%2Faccount%2Fpasskeys")
	b.at("/step-up", "#password")
	b.checkBoth("step-up", b.here())
	b.send("password", password)
	b.at("/account/passkeys")

	b.visit("/login/enrol?method=totp&return_to=%2Faccount%2Fprofile")
	b.checkBoth("enrol-totp", b.here())
	b.send()
	b.at("/login/enrol", "#code", ".qr")
	b.checkBoth("enrol-totp-confirm", b.here())
	seed := b.script(`document.getElementById("secret").textContent`)
	b.fill("code", totpCode(t, seed, -30*time.Second)) // the last digit sends the form; this step is the oldest that is good
	b.sees(`document.querySelector("input[value=codes]")`)
	b.send()
	b.at("/login/enrol", "#secret.codes")
	var codes []string
	if err := json.Unmarshal([]byte(b.script(`JSON.stringify(document.getElementById("secret").textContent.trim().split(/\s+/))`)), &codes); err != nil {
		t.Fatal(err)
	}
	b.send()
	b.at("/account/profile")
	b.visit("/step-up")
	b.at("/step-up", "#code")
	b.checkBoth("step-up-code", "/step-up")
	b.signOut()

	b.withScripts(false)
	b.visit(toLogin)
	b.signIn(ada, password)
	b.at("/login/factor", "#code")
	b.send("code", "000000")
	b.at("/login/factor", ".summary", ".denial code")
	b.checkSent("factor-wrong")
	b.visit(toFactor)
	b.at("/login/factor", "#code")
	b.checkBoth("factor", toFactor)
	b.send("code", totpCode(t, seed, 0))
	b.at("/account/profile")
	b.signOut()

	b.withScripts(true)
	b.visit(toLogin)
	b.signIn(ada, password)
	b.at("/login/factor")
	b.click("details summary")
	b.click("details a")
	b.sees(`new URLSearchParams(location.search).get("method") === "recovery_code"`)
	b.at("/login/factor", "#code")
	b.checkBoth("factor-recovery", b.here())
	b.send("code", codes[0])
	b.at("/account/profile")
}
