package pages_test

import "testing"

// TestWalkUnderPath walks below a path prefix: sign in, change the name, end the session of a second browser (its
// next click leads to the sign-in page), change the address, and undo that with the link of the mail.
func TestWalkUnderPath(t *testing.T) {
	t.Parallel()
	const prefix = "/auth"
	f := newDemo(t, prefix)
	first, second := browse(t, f)(), browse(t, f)()
	for _, b := range []*tab{first, second} {
		b.visit("/account/profile")
		b.signIn(ada, password)
		b.at("/account/profile")
	}

	first.send("name", "Ada L.")
	first.sees(`document.querySelector(".notice") && document.getElementById("name").value === "Ada L."`)

	// The other session ends.
	first.visit("/account/sessions")
	first.click(`.items form button`)
	first.sees(`document.querySelector(".notice") && !document.querySelector(".items form")`)
	second.click(`main a[href="` + prefix + `/account/email"]`)
	second.at("/login")

	// The address and its undo.
	first.visit("/account/email")
	first.send("email", "ada@new.example")
	first.at("/account/profile", ".notice")
	first.mailLink("/verify-email")
	first.sees(`location.hash === ""`)
	first.send()
	first.at("/verify-email/done")
	first.mailLink("/undo-email")
	first.sees(`location.hash === ""`)
	first.send()
	first.at("/undo-email/done")
	// The undo makes the password useless, and mails a link to set another.
	first.mailLink("/reset")
	first.sees(`location.hash === ""`)
	first.send("new_password", changed)
	first.at("/reset/done")
	second.signIn(ada, changed)
	second.at("/account/email")
	second.sees(`document.querySelector("main strong").innerText === "` + ada + `"`)
	second.signOut()
	second.visit("/dev/mail")
	second.check("dev-mail-undo")
}
