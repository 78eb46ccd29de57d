package pages_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/pquerna/otp/totp"

	"github.com/durward-auth/durward/e2e/chromium"
	"github.com/durward-auth/durward/e2e/executable"
)

// tab is a tab of Chromium that shows the pages of a server. Paths are below the path of its public URL.
type tab struct {
	*testing.T
	*front
	ctx       context.Context
	noScripts bool
}

// browser is the Chromium of all tests. It starts at the first call, and ends with the tests.
var browser = sync.OnceValues(func() (context.Context, error) {
	home := filepath.Join(executable.Dir, "chromium")
	if err := os.Mkdir(home, 0o700); err != nil {
		return nil, err
	}
	browser, stop := chromium.Start(home, home)
	stopBrowser = stop
	return browser, chromedp.Do(browser, chromedp.Navigate("about:blank"))
})

var stopBrowser = func() {}

// browse returns a function that opens tabs of a new profile in the browser of all tests. Each tab acts as if its
// window had the focus.
func browse(t *testing.T, f *front) (open func() *tab) {
	t.Helper()
	chromium.Need(t)
	browser, err := browser()
	if err != nil {
		t.Fatal(err)
	}
	profile, closeProfile := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(closeProfile)
	if err := chromedp.Do(profile, chromedp.Navigate("about:blank")); err != nil {
		t.Fatal(err)
	}
	return func() *tab {
		ctx, cancel := chromedp.NewContext(profile)
		t.Cleanup(cancel)
		ctx, cancel = context.WithTimeout(ctx, 4*executable.WaitLimit)
		t.Cleanup(cancel)
		b := &tab{T: t, front: f, ctx: ctx}
		call(b, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
		return b
	}
}

// do runs an action in the tab and returns its result.
func do[T any](b *tab, a chromedp.Action[T]) T {
	b.Helper()
	found, err := chromedp.Run(b.ctx, a)
	if err != nil {
		b.Fatal(err)
	}
	return found
}

// call sends a command of the DevTools protocol.
func call[P, R any](b *tab, command cdp.Command[P, R], params P) {
	b.Helper()
	if _, err := chromedp.Call(b.ctx, command, params); err != nil {
		b.Fatal(err)
	}
}

// quoted returns a text as a literal of JavaScript.
func quoted(text string) string {
	out, _ := json.Marshal(text)
	return string(out)
}

// script runs an expression or waits for a promise, and returns its value as text.
func (b *tab) script(expression string) string {
	b.Helper()
	return do(b, chromedp.Evaluate[string](`(async () => String(await (`+expression+`)))()`, chromedp.EvalAwaitPromise))
}

// sees waits until an expression is true.
func (b *tab) sees(expression string) {
	b.Helper()
	for end := time.Now().Add(executable.WaitLimit); ; time.Sleep(20 * time.Millisecond) {
		// During a navigation there may be no page to ask.
		got, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](`Boolean(`+expression+`)`))
		if err == nil && got {
			return
		}
		if time.Now().After(end) {
			page, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string](`location + "\n" + document.body.innerText`))
			b.Fatalf("never true: %s (%v); the page is\n%s", expression, err, page)
		}
	}
}

// at waits for a page by its path, until it is complete and shows elements.
func (b *tab) at(path string, selectors ...string) {
	b.Helper()
	condition := `location.pathname === ` + quoted(b.prefix+path) + ` && document.readyState === "complete" && document.querySelector("h1")`
	for _, s := range selectors {
		condition += ` && document.querySelector(` + quoted(s) + `)?.checkVisibility()`
	}
	b.sees(condition)
}

// visit opens a page and waits until it is complete. The page may be that of a redirect.
func (b *tab) visit(path string) {
	b.Helper()
	do(b, chromedp.Navigate(b.origin+b.prefix+path))
	b.sees(`document.readyState === "complete" && document.querySelector("h1")`)
}

// here returns the path and the query of the page.
func (b *tab) here() string {
	b.Helper()
	return strings.TrimPrefix(b.script(`location.pathname + location.search`), b.prefix)
}

// click presses the button of the mouse over an element, as soon as the page is complete and the element can be
// clicked: it is visible, enabled, at rest, and nothing covers it.
func (b *tab) click(selector string) {
	b.Helper()
	b.clickIn(`document.querySelector(` + quoted(selector) + `)`)
}

func (b *tab) clickIn(element string) {
	b.Helper()
	var last []float64
	for end := time.Now().Add(executable.WaitLimit); ; time.Sleep(20 * time.Millisecond) {
		at, err := chromedp.Run(b.ctx, chromedp.Evaluate[[]float64](`(e => {
			if (document.readyState !== "complete" || !e?.checkVisibility() || e.matches(":disabled")) return []
			e.scrollIntoView({block: "center", behavior: "instant"})
			const r = e.getClientRects()[0], x = r.x + r.width / 2, y = r.y + r.height / 2
			return e.contains(document.elementFromPoint(x, y)) ? [x, y, performance.timeOrigin] : []
		})(`+element+`)`))
		if err == nil && len(at) == 3 && len(last) == 3 && at[0] == last[0] && at[1] == last[1] && at[2] == last[2] {
			do(b, chromedp.MouseClickXY(at[0], at[1]))
			return
		}
		if last = at; time.Now().After(end) {
			page, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string](`location + "\n" + document.body.innerText`))
			b.Fatalf("cannot be clicked: %s (%v); the page is\n%s", element, err, page)
		}
	}
}

// fill replaces the texts of fields: pairs of a name and a text.
func (b *tab) fill(pairs ...string) {
	b.Helper()
	for i := 0; i+1 < len(pairs); i += 2 {
		b.sees(`(e => document.readyState === "complete" && e?.checkVisibility() && (e.focus(), e.select(), document.activeElement === e))
			(document.querySelector(` + quoted(`[name="`+pairs[i]+`"]`) + `))`)
		call(b, input.InsertText, input.InsertTextParams{Text: pairs[i+1]})
	}
}

// send fills fields and presses the main button of the page.
func (b *tab) send(pairs ...string) {
	b.Helper()
	b.fill(pairs...)
	b.click("main button.main")
}

// signIn fills the form of the sign-in page.
func (b *tab) signIn(email, password string) {
	b.Helper()
	b.at("/login", "#password")
	b.send("email", email, "password", password)
}

// signOut presses the button of the header.
func (b *tab) signOut() {
	b.Helper()
	b.click("header form button")
	b.at("/signed-out")
}

// says waits for the notice of a form that was done.
func (b *tab) says(text string) {
	b.Helper()
	b.sees(`document.readyState === "complete" && document.querySelector(".notice")?.textContent === ` + quoted(text))
}

// withScripts switches the scripts of pages on or off.
func (b *tab) withScripts(on bool) {
	b.Helper()
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on})
	b.noScripts = !on
}

// keys presses keys, one after the other.
func (b *tab) keys(keys ...string) {
	b.Helper()
	for _, key := range keys {
		do(b, chromedp.KeyEvent(key))
	}
}

// tabTo presses Tab until the element with the focus matches a selector. Each element on the way shows that it has
// the focus.
func (b *tab) tabTo(selector string) {
	b.Helper()
	b.sees(`document.readyState === "complete" && document.querySelector(` + quoted(selector) + `)`)
	for range 60 {
		if b.script(`document.activeElement.matches(`+quoted(selector)+`)`) == "true" {
			return
		}
		b.keys(kb.Tab)
		if hidden := b.script(`(e => {
			if (e === document.body) return "" // the focus goes round by the browser itself
			const r = e.getBoundingClientRect(), s = getComputedStyle(e)
			return e.matches(":focus-visible") && s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2 &&
				r.width > 0 && r.right > 0 && r.left < innerWidth && r.bottom > 0 && r.top < innerHeight ? "" : e.outerHTML
		})(document.activeElement)`); hidden != "" {
			b.Errorf("%s: the focus cannot be seen on %s", b.script("location.pathname"), hidden)
		}
	}
	b.Fatalf("the Tab key does not reach %s", selector)
}

// post sends JSON to the API with the session of the page, and reads the response.
func (b *tab) post(path string, in any) (out map[string]any) {
	b.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		b.Fatal(err)
	}
	got := b.script(`fetch(` + quoted(b.prefix+path) + `, {method: "POST", headers: {"Content-Type": "application/json"}, body: ` + quoted(string(body)) + `}).then(async r => JSON.stringify({status: r.status, ...(r.status === 204 ? {} : await r.json())}))`)
	if err := json.Unmarshal([]byte(got), &out); err != nil {
		b.Fatalf("POST %s: %v: %s", path, err, got)
	}
	return out
}

// totpCode returns the code of an authenticator app, some time from now. The seed may contain spaces.
func totpCode(t *testing.T, seed string, later time.Duration) string {
	t.Helper()
	code, err := totp.GenerateCode(strings.ReplaceAll(strings.TrimSpace(seed), " ", ""), time.Now().Add(later))
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// mailLink opens /dev/mail until a mail has a link to a page, and opens that link.
func (b *tab) mailLink(page string) {
	b.Helper()
	selector := `article a[href*="` + page + `#t="]`
	for end := time.Now().Add(executable.WaitLimit); ; time.Sleep(20 * time.Millisecond) {
		b.visit("/dev/mail")
		if b.script(`Boolean(document.querySelector(`+quoted(selector)+`))`) == "true" {
			b.click(selector)
			b.at(page)
			return
		}
		if time.Now().After(end) {
			b.Fatalf("no mail has a link to %s", page)
		}
	}
}
