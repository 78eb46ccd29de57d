package pages_test

import (
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// tabTo presses Tab until the element with the focus matches a selector.
func (b spaTab) tabTo(selector string) {
	b.Helper()
	b.sees(`document.readyState === "complete"`)
	for range 60 {
		if b.script(`document.activeElement.matches("`+selector+`")`) == "true" {
			return
		}
		b.keys(kb.Tab)
	}
	b.Fatalf("the Tab key does not reach %s", selector)
}

// mailLink opens /dev/mail until a mail has a link to a page, and opens that link.
func (b spaTab) mailLink(f *front, prefix, page string) {
	b.Helper()
	selector := `article a[href*='` + page + `#t=']`
	for range 100 {
		b.visit(f, prefix+"/dev/mail")
		if b.script(`Boolean(document.querySelector("`+selector+`"))`) == "true" {
			do(b, chromedp.Click(selector))
			b.at(prefix + page)
			return
		}
	}
	b.Fatalf("no mail has a link to %s", page)
}

// TestWalkUnderPath walks below a path prefix: sign in, change the name by keyboard alone, end the session of
// a second browser, which is out at its next click, change the address, and undo that with the link of the mail.
func TestWalkUnderPath(t *testing.T) {
	t.Parallel()
	const prefix = "/auth"
	f := newFront(t, prefix)
	first, second := chromium(t)(), chromium(t)()
	for _, b := range []spaTab{first, second} {
		b.visit(f, prefix+"/account/profile")
		b.at(prefix + "/login")
		b.fill("email", coreUser, "password", corePassword)
		b.pressMain()
		b.at(prefix + "/account/profile")
	}

	// The name, with the keyboard alone.
	first.tabTo("#name")
	first.keys(kb.End, " L.", kb.Enter)
	first.sees(`document.querySelector(".notice") && document.getElementById("name").value.endsWith(" L.")`)

	// The other session ends.
	first.visit(f, prefix+"/account/sessions")
	do(first, chromedp.Click(`.items form button`))
	first.sees(`document.querySelector(".notice") && !document.querySelector(".items form")`)
	do(second, chromedp.Click(`main a[href='`+prefix+`/account/email']`))
	second.at(prefix + "/login")

	// The address and its undo.
	first.visit(f, prefix+"/account/email")
	first.fill("email", "ada@new.example")
	first.pressMain()
	first.sees(`location.pathname !== "` + prefix + `/account/email" || document.querySelector(".notice")`)
	first.mailLink(f, prefix, "/verify-email")
	first.sees(`location.hash === ""`)
	first.pressMain()
	first.at(prefix + "/verify-email/done")
	first.mailLink(f, prefix, "/undo-email")
	first.sees(`location.hash === ""`)
	first.pressMain()
	first.at(prefix + "/undo-email/done")
	// The undo makes the password useless, and mails a link to set another.
	first.mailLink(f, prefix, "/reset")
	first.sees(`location.hash === ""`)
	first.fill("new_password", coreNew)
	first.pressMain()
	first.at(prefix + "/reset/done")
	second.fill("email", coreUser, "password", coreNew)
	second.pressMain()
	second.at(prefix + "/account/email")
	second.sees(`document.querySelector("main strong").innerText === "` + coreUser + `"`)

	// Sign out with the keyboard alone.
	second.tabTo("form[action='" + prefix + "/sign-out'] button")
	second.keys(kb.Enter)
	second.at(prefix + "/signed-out")

	second.visit(f, prefix+"/dev/mail")
	second.axe("dev-mail")
}
