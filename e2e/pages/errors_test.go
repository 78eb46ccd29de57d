package pages_test

import (
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp/kb"
)

// TestExplanations reads pages of explanations with a browser: levels change in place, stay chosen on other
// pages and work by keyboard, the search filters the list, groups of code open, and paper shows all code.
func TestExplanations(t *testing.T) {
	t.Parallel()
	b := browse(t, newDemo(t, ""))()
	const visible = `[...document.querySelectorAll(".level:not([hidden])")].map(s => s.id).join()`

	b.visit("/errors/TOKEN_EXPIRED")
	b.sees(visible + ` === "junior"`)
	b.check("errors-code")
	b.script(`window.stays = true`)
	b.click(`.levels a[data-level="eli3"]`)
	b.sees(visible + ` === "eli3" && window.stays && location.search === "?level=eli3" && document.querySelector(".levels [aria-current]").dataset.level === "eli3"`)
	b.check("errors-eli3")

	// Another page begins at the chosen level; the level of a URL counts more.
	b.visit("/errors/page/refresh")
	b.sees(visible + ` === "eli3"`)
	b.visit("/errors/cause/expired?level=deep")
	b.sees(visible + ` === "deep"`)
	b.check("errors-cause")
	b.visit("/errors/page/refresh?level=crash")
	b.sees(visible + ` === "crash"`)
	b.check("errors-page")

	b.visit("/errors/scheme/DPoP")
	b.check("errors-scheme")
	b.visit("/errors/page/refresh?level=crash")

	// By keyboard.
	b.script(`document.querySelector('.levels a[data-level="eli5"]').focus()`)
	b.keys(kb.Enter)
	b.sees(visible + ` === "eli5"`)

	// One program of a group is open.
	const open = `[...document.querySelectorAll("#client details.code[open] summary")].map(s => s.innerText).join()`
	b.sees(open + ` === "curl"`)
	b.click("#client details.code:nth-of-type(4) summary")
	b.sees(open + ` === "Python"`)

	// The search hides entries that do not match, and groups without entries.
	b.visit("/errors/")
	b.check("errors")
	b.fill("q", "TOKEN expired")
	b.sees(`[...document.querySelectorAll(".reasons li:not([hidden]) code")].some(c => c.innerText === "TOKEN_EXPIRED")
		&& ![...document.querySelectorAll(".reasons li:not([hidden]) code")].some(c => c.innerText === "NOT_FOUND")
		&& /^[0-9]+ explanations found\.$/.test(document.querySelector(".found").innerText)`)
	b.fill("q", "zzzz")
	b.sees(`document.querySelectorAll(".reasons li:not([hidden])").length === 0 && document.querySelectorAll(".group:not([hidden])").length === 0
		&& document.querySelector(".found").innerText === "0 explanations found."`)

	// Paper shows each program and neither the levels to choose nor the search.
	b.visit("/errors/page/challenge")
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: "print"})
	b.sees(`[...document.querySelectorAll("details.code pre")].every(p => p.getBoundingClientRect().height > 20)
		&& getComputedStyle(document.querySelector(".levels")).display === "none"`)
}

// TestExplanationsWithoutScripts: levels are links and the search is a form.
func TestExplanationsWithoutScripts(t *testing.T) {
	t.Parallel()
	b := browse(t, newDemo(t, ""))()
	b.withScripts(false)
	b.visit("/errors/TOKEN_EXPIRED")
	b.click(`.levels a[data-level="crash"]`)
	b.sees(`location.search === "?level=crash" && [...document.querySelectorAll(".level:not([hidden])")].map(s => s.id).join() === "crash"`)
	b.visit("/errors/")
	b.fill("q", "refresh token")
	b.keys(kb.Enter)
	b.sees(`location.search === "?q=refresh+token" && document.querySelector(".reasons") && ![...document.querySelectorAll(".reasons code")].some(c => c.innerText === "NOT_FOUND")`)
	b.check("errors-search")
	b.click(".whole a")
	b.at("/errors/")
}
