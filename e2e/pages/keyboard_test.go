package pages_test

import (
	"testing"

	"github.com/chromedp/chromedp/kb"
)

// TestWithKeyboard uses the whole account with the keys Tab, Enter and Space alone: sign in, change the name and
// the password, add and remove an authenticator app, end a session, make and revoke a key, sign out. Each element that
// Tab reaches shows that it has the focus.
func TestWithKeyboard(t *testing.T) {
	t.Parallel()
	b := browse(t, newDemo(t, ""))()
	part := func(path string) {
		t.Helper()
		b.visit("/account")
		b.tabTo(`main nav a[href="` + path + `"]`)
		b.keys(kb.Enter)
		b.at(path)
	}

	// The first key shows the link that skips the header.
	b.visit("/login")
	b.tabTo(".skip")
	b.keys(kb.Enter, kb.Tab)
	b.sees(`document.activeElement.id === "email"`)
	b.keys(ada)
	b.tabTo("#password")
	b.keys("wrong horse", kb.Enter)
	// The summary of the mistakes has the focus, and shows it.
	b.sees(`document.readyState === "complete" && document.activeElement.matches(".summary:focus-visible")`)
	b.tabTo("#password")
	b.keys(password)
	b.tabTo("#remember")
	b.keys(" ")
	b.sees(`document.getElementById("remember").checked`)
	b.keys(kb.Enter)
	b.at("/account")

	part("/account/profile")
	b.tabTo("#name")
	b.keys(kb.End, " L.")
	b.tabTo("button.main")
	b.keys(" ")
	b.says("Your name is saved.")
	b.sees(`document.getElementById("name").value === "Ada L."`)

	part("/account/password")
	b.tabTo("#current")
	b.keys(password)
	b.tabTo(`[aria-controls="current"]`)
	b.keys(" ")
	b.sees(`document.getElementById("current").type === "text"`)
	b.tabTo("#new")
	b.keys(changed)
	b.tabTo("button.main")
	b.keys(kb.Enter)
	b.at("/account", ".notice")

	part("/account/authenticator")
	b.tabTo("button.main")
	b.keys(kb.Enter)
	b.at("/account/authenticator/confirm", "#code")
	seed := b.script(`document.getElementById("secret").textContent`)
	b.tabTo("#code")
	b.keys(totpCode(t, seed, 0)) // the last digit sends the form
	b.says("Your app is set up. Now make recovery codes.")
	part("/account/authenticator")
	b.tabTo("button.danger")
	b.keys(kb.Enter)
	b.at("/account/authenticator", ".notice")
	b.sees(`!document.querySelector("button.danger")`)

	// A session of another device ends.
	b.post("/api/auth/login", map[string]string{"email": ada, "password": changed})
	part("/account/sessions")
	b.tabTo(".items form button")
	b.keys(" ")
	b.sees(`document.querySelector(".notice") && !document.querySelector(".items form")`)

	part("/account/keys")
	b.tabTo(`a[href="/account/keys/new"]`)
	b.keys(kb.Enter)
	b.at("/account/keys/new", "#name")
	b.tabTo("#name")
	b.keys("Backup")
	b.tabTo("#life")
	b.keys(kb.ArrowDown)
	b.sees(`document.getElementById("life").value === "365"`)
	b.tabTo("button.main")
	b.keys(kb.Enter)
	b.says("The key is made.")
	b.tabTo(".items a")
	b.keys(kb.Enter)
	b.sees(`document.readyState === "complete" && document.querySelector("h1").textContent === "Backup"`)
	b.tabTo("button.danger")
	b.keys(" ")
	b.sees(`location.pathname === "/account/keys" && document.querySelector(".notice") && !document.querySelector(".items")`)

	b.tabTo("header form button")
	b.keys(kb.Enter)
	b.at("/signed-out")
	b.visit("/account")
	b.at("/login")
}
