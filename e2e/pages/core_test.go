package pages_test

import (
	"strings"
	"testing"
)

// TestWithoutScripts signs in, out, resets a password and registers in a browser that runs no scripts.
func TestWithoutScripts(t *testing.T) {
	t.Parallel()
	b := browse(t, newDemo(t, ""))()
	b.withScripts(false)

	// A wrong password: the summary has the focus, the address stays, the password does not.
	b.visit("/login?return_to=/account/sessions")
	b.send("email", ada, "password", "wrong horse")
	b.sees(`document.activeElement.className === "summary" && document.getElementById("email").value === "` + ada + `"
		&& document.getElementById("password").value === "" && document.querySelector("code")`)
	// The right one leads back to the page that asked.
	b.send("password", password)
	b.at("/account/sessions")
	b.signOut()
	b.visit("/account")
	b.at("/login")

	// A forgotten password: the mail, its link, and the token pasted from it.
	b.click(`a[href="/forgot"]`)
	b.at("/forgot")
	b.send("email", ada)
	b.at("/forgot/sent")
	b.mailLink("/reset")
	if got := b.script(`document.getElementById("token").value`); got != "" {
		t.Errorf("a script filled in the token %q; this browser has none", got)
	}
	_, token, _ := strings.Cut(b.mailed(t, "/reset", 1), "#t=")
	b.send("token", token, "new_password", changed)
	b.at("/reset/done")
	b.visit("/login")
	b.send("email", ada, "password", changed)
	b.at("/account")
	b.signOut()

	// Register, in German.
	b.visit("/register")
	b.click(`.bottom button[lang="de"]`)
	b.sees(`location.pathname === "/register" && document.documentElement.lang === "de"`)
	b.send("email", "emmy@example.com", "name", "Emmy", "password", "kurz")
	b.sees(`document.querySelector("[name=password]").getAttribute("aria-invalid") === "true" && document.getElementById("password-mistake").innerText.includes("mindestens")`)
	b.checkSent("register-mistake")
	b.send("password", changed)
	b.at("/register/done")
	b.visit("/login")
	b.send("email", "emmy@example.com", "password", changed)
	b.at("/account")
}
