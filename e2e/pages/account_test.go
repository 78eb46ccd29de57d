package pages_test

import (
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/durward-auth/durward/e2e/chromium"
)

// TestAccountInChromium lives the life of an account in a browser: name, authenticator app, recovery codes, a
// sign-in with the app, one with a passkey alone, a key for a program, and the deletion.
func TestAccountInChromium(t *testing.T) {
	t.Parallel()
	b := browse(t, newDemo(t, ""))()
	chromium.AddAuthenticator(t, b.ctx)
	b.visit("/login")
	b.signIn(ada, password)
	b.at("/account")
	b.visit("/account/profile")
	b.send("name", "Ada Lovelace")
	b.says("Your name is saved.")
	b.checkBoth("account-profile-saved", "/account/profile?done=renamed")
	b.visit("/account/password")
	b.send("current", "not the right one", "new", "short")
	b.sees(`document.querySelector("#new[aria-invalid]") && document.activeElement.classList.contains("summary")`)
	b.checkSent("account-password-wrong")

	// An authenticator app and recovery codes.
	b.visit("/account/authenticator")
	b.send()
	b.at("/account/authenticator/confirm", "img.qr")
	b.sees(`document.querySelector("img.qr").naturalWidth > 0`)
	seed := b.script(`document.getElementById("secret").textContent`)
	b.checkBoth("account-authenticator-confirm", "/account/authenticator/confirm")
	b.fill("code", totpCode(t, seed, 0)) // the last digit sends the form
	b.says("Your app is set up. Now make recovery codes.")
	b.checkOnce("account-recovery-codes", func() {
		b.visit("/account/recovery-codes")
		b.send()
		b.sees(`document.querySelector(".notice") && document.getElementById("secret")`)
		if n := b.script(`document.getElementById("secret").textContent.trim().split("\n").length`); n != "10" {
			t.Errorf("%s recovery codes, want 10", n)
		}
	})

	// Sign out, sign in with the app, add a passkey.
	b.signOut()
	b.visit("/login")
	b.signIn(ada, password)
	b.at("/login/factor", "#code")
	b.fill("code", totpCode(t, seed, 30*time.Second))
	b.at("/account")
	b.visit("/account/passkeys")
	b.click("#add button")
	b.says("The passkey is added.")
	b.visit("/account/passkeys")
	b.checkBoth("account-passkeys", "/account/passkeys")
	b.click("main .items a")
	b.sees(`document.readyState === "complete" && document.getElementById("name")`)
	b.checkBoth("account-passkey", b.script(`location.pathname`))
	b.send("name", "My laptop")
	b.says("The passkey is renamed.")
	b.click("#add button")
	b.sees(`document.getElementById("add-failed").textContent === "This device has a passkey for your account already."`)
	b.check("account-passkey-taken")

	// Sign in with the passkey alone: the device of this browser offers it at the field of the address.
	b.signOut()
	before := b.count("POST /login")
	do(b, chromedp.Navigate(b.origin+"/login"))
	b.at("/account")
	if n := b.count("POST /login") - before; n != 1 {
		t.Errorf("%d forms for one sign-in with a passkey, want 1", n)
	}

	// A key for a program, shown once.
	b.checkOnce("account-keys", func() {
		b.visit("/account/keys/new")
		b.send("name", "Backup")
		b.sees(`document.querySelector(".notice") && document.getElementById("secret")?.textContent.startsWith("dk_")`)
	})
	b.visit("/account/keys")
	b.click("main .items a")
	b.sees(`document.readyState === "complete" && document.querySelector("button.danger")`)
	b.checkBoth("account-key", b.script(`location.pathname`))

	// Delete the account.
	b.visit("/account/delete")
	b.fill("email", ada)
	b.click("main button.danger")
	b.at("/signed-out")
	b.visit("/account")
	b.at("/login")
}
