package pages_test

import (
	"regexp"
	"strings"
	"testing"
)

// TestVisitors: the first administrator comes by the link of the first start; a visitor registers, confirms the
// address with the link of the mail, signs in, forgets the password and sets a new one; an invited user accepts.
func TestVisitors(t *testing.T) {
	t.Parallel()
	const email = "cy@example.com"
	b := browse(t, newFront(t, "", []string{"DURWARD_REGISTRATION=open", "DURWARD_VERIFY_EMAIL=true"}))()

	// The token of a link goes from the fragment into the form. It is gone from the address and from the
	// history, and the choice of another language keeps it.
	setup := regexp.MustCompile(`/setup#t=[\w-]{43}`).FindString(b.log.String())
	if setup == "" {
		t.Fatalf("the first start prints no link:\n%s", b.log.String())
	}
	_, token, _ := strings.Cut(setup, "#t=")
	kept := `location.pathname === "/setup" && location.hash === "" && document.getElementById("token").value === "` + token + `" && !document.getElementById("token").checkVisibility()`
	b.visit(setup)
	b.sees(kept)
	b.check("setup")
	b.click(`footer button[value=de]`)
	b.sees(`document.documentElement.lang === "de" && ` + kept)
	b.send("email", "root@example.com", "name", "Root", "password", "short")
	b.sees(`document.getElementById("password-mistake")?.textContent.includes("mindestens 15 Zeichen") && ` + kept)
	b.checkSent("setup-mistake")
	b.click(`footer button[value=en]`)
	b.sees(`document.documentElement.lang === "en" && ` + kept)
	b.send("email", "root@example.com", "name", "Root", "password", password)
	b.at("/setup/done")

	// Register, confirm, sign in.
	b.visit("/login")
	b.click(`main a[href="/register"]`)
	b.at("/register")
	b.send("email", email, "name", "Cy", "password", password)
	b.at("/register/sent")
	b.visit(b.mailed(t, "/verify-email", 1))
	b.sees(`location.hash === ""`)
	b.send()
	b.at("/verify-email/done")
	b.click(`main a[href="/login"]`)
	b.at("/login")
	b.send("email", email, "password", password)
	b.at("/account")
	b.signOut()

	// Forgot and reset, and the same without scripts by pasting the token.
	for i, disabled := range []bool{false, true} {
		b.withScripts(!disabled)
		b.visit("/forgot")
		b.send("email", email)
		b.at("/forgot/sent")
		link := b.mailed(t, "/reset", i+1)
		b.visit(link)
		b.sees(`document.getElementById("token")`)
		if disabled {
			_, token, _ := strings.Cut(link, "#t=")
			b.sees(`document.getElementById("token").checkVisibility()`)
			b.send("token", token, "new_password", changed)
		} else {
			b.send("new_password", changed+"!")
		}
		b.at("/reset/done")
	}
	b.visit("/login")
	b.send("email", email, "password", changed)
	b.at("/account")
	b.withScripts(true)

	// An invitation.
	b.run(t, "", "user", "invite", "dee@example.com")
	b.visit(b.mailed(t, "/invite", 1))
	b.sees(`location.hash === ""`)
	b.send("name", "Dee", "password", password)
	b.at("/invite/done")

	// A used link says so, beside the field.
	b.visit("/verify-email#" + strings.SplitN(b.mailed(t, "/verify-email", 1), "#", 2)[1])
	b.sees(`location.hash === ""`)
	b.send()
	b.sees(`document.getElementById("token-mistake") && document.querySelector(".denial code")`)
	b.checkSent("verify-refused")
}
