package pages_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"github.com/durward-auth/durward/e2e/executable"
)

// foxTab is a tab of Firefox, driven by WebDriver BiDi (W3C).
type foxTab struct {
	*testing.T
	*front
	ctx  context.Context
	conn *websocket.Conn
	id   string // of the browsing context
	sent int    // commands
}

// firefox starts a Firefox with a new profile and returns its tab.
func firefox(t *testing.T, f *front) *foxTab {
	t.Helper()
	if _, err := exec.LookPath("firefox-esr"); err != nil && os.Getenv("CI") != "" {
		t.Fatal("firefox-esr is not installed: apt-get install --no-install-recommends firefox-esr")
	} else if err != nil {
		t.Skip("SKIPPED: firefox-esr is not installed")
	}
	// Not t.TempDir, which fails if a process of Firefox still writes.
	home, err := os.MkdirTemp(executable.Dir, "firefox-")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("firefox-esr", "--headless", "--no-remote", "--remote-debugging-port", "0",
		"--remote-allow-system-access", "--profile", home, "about:blank")
	cmd.Env = append(os.Environ(), "HOME="+home)
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	at, ended, err := executable.Announced(t, cmd, out, "WebDriver BiDi listening on ")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 4*executable.WaitLimit)
	t.Cleanup(cancel)
	conn, _, err := websocket.Dial(ctx, at+"/session", nil)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadLimit(64 << 20) // screenshots
	b := &foxTab{T: t, front: f, ctx: ctx, conn: conn}
	t.Cleanup(func() {
		_ = b.call("browser.close", map[string]any{}, nil)
		select {
		case <-ended:
		case <-time.After(10 * time.Second): // then it is killed
		}
		_ = conn.CloseNow()
	})
	b.must("session.new", map[string]any{"capabilities": map[string]any{}}, nil)
	var tree struct {
		Contexts []struct {
			Context string `json:"context"`
		} `json:"contexts"`
	}
	b.must("browsingContext.getTree", map[string]any{}, &tree)
	if len(tree.Contexts) == 0 {
		t.Fatal("Firefox has no tab")
	}
	b.id = tree.Contexts[0].Context
	return b
}

// call sends a command and waits for its result. Events are not subscribed to.
func (b *foxTab) call(method string, params map[string]any, result any) error {
	b.sent++
	if err := wsjson.Write(b.ctx, b.conn, map[string]any{"id": b.sent, "method": method, "params": params}); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	for {
		var answer struct {
			ID             int             `json:"id"`
			Error, Message string          `json:",omitempty"`
			Result         json.RawMessage `json:"result"`
		}
		if err := wsjson.Read(b.ctx, b.conn, &answer); err != nil {
			return fmt.Errorf("%s: %w", method, err)
		}
		switch {
		case answer.ID != b.sent:
		case answer.Error != "":
			return fmt.Errorf("%s: %s: %s", method, answer.Error, answer.Message)
		case result == nil:
			return nil
		default:
			return json.Unmarshal(answer.Result, result)
		}
	}
}

// must is call, and ends the test if the command fails.
func (b *foxTab) must(method string, params map[string]any, result any) {
	b.Helper()
	if err := b.call(method, params, result); err != nil {
		b.Fatal(err)
	}
}

// evaluated is the result of a script.
type evaluated struct {
	Result struct {
		Value    any    `json:"value"`
		SharedID string `json:"sharedId"`
	} `json:"result"`
	Exception struct {
		Text string `json:"text"`
	} `json:"exceptionDetails"`
}

// ofWindow runs an expression in the window of the browser, with all rights of Firefox itself.
func (b *foxTab) ofWindow(expression string) (e evaluated) {
	b.Helper()
	var windows struct {
		Contexts []struct {
			Context string `json:"context"`
		} `json:"contexts"`
	}
	b.must("browsingContext.getTree", map[string]any{"moz:scope": "chrome"}, &windows)
	if len(windows.Contexts) == 0 {
		b.Fatal("Firefox has no window")
	}
	b.must("script.evaluate", map[string]any{"awaitPromise": false, "target": map[string]any{"context": windows.Contexts[0].Context},
		"expression": expression}, &e)
	return e
}

// evaluate runs an expression in the page.
func (b *foxTab) evaluate(expression string) (e evaluated, err error) {
	err = b.call("script.evaluate", map[string]any{"expression": expression, "awaitPromise": true,
		"target": map[string]any{"context": b.id}}, &e)
	if err == nil && e.Exception.Text != "" {
		err = fmt.Errorf("script: %s", e.Exception.Text)
	}
	return e, err
}

// script runs an expression or waits for a promise, and returns its value as text.
func (b *foxTab) script(expression string) string {
	b.Helper()
	e, err := b.evaluate(`(async () => String(await (` + expression + `)))()`)
	if err != nil {
		b.Fatal(err)
	}
	return fmt.Sprint(e.Result.Value)
}

// sees waits until an expression is true.
func (b *foxTab) sees(expression string) {
	b.Helper()
	for end := time.Now().Add(executable.WaitLimit); ; time.Sleep(50 * time.Millisecond) {
		// During a navigation there may be no page to ask.
		e, err := b.evaluate(`Boolean(` + expression + `)`)
		if err == nil && e.Result.Value == true {
			return
		}
		if time.Now().After(end) {
			page, _ := b.evaluate(`location + "\n" + document.body.innerText`)
			b.Fatalf("never true: %s (%v); the page is\n%v", expression, err, page.Result.Value)
		}
	}
}

// visit opens a page and waits for it.
func (b *foxTab) visit(path string) {
	b.Helper()
	b.must("browsingContext.navigate", map[string]any{"context": b.id, "url": b.origin + path, "wait": "complete"}, nil)
}

// at waits for a page by its path.
func (b *foxTab) at(path string) {
	b.Helper()
	b.sees(`location.pathname === "` + path + `" && document.readyState === "complete" && document.querySelector("h1")`)
}

// click presses the button of the mouse over an element.
func (b *foxTab) click(selector string) {
	b.Helper()
	b.sees(`document.querySelector("` + selector + `")?.checkVisibility()`)
	e, err := b.evaluate(`(e => (e.scrollIntoView({block: "center", behavior: "instant"}), e))(document.querySelector("` + selector + `"))`)
	if err != nil {
		b.Fatal(err)
	}
	b.act("pointer", []map[string]any{
		{"type": "pointerMove", "x": 0, "y": 0, "origin": map[string]any{"type": "element",
			"element": map[string]any{"sharedId": e.Result.SharedID}}},
		{"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0},
	})
}

// fill clicks fields and types texts: pairs of a name and a text.
func (b *foxTab) fill(pairs ...string) {
	b.Helper()
	for i := 0; i+1 < len(pairs); i += 2 {
		b.click(`[name=` + pairs[i] + `]`)
		var keys []map[string]any
		for _, c := range pairs[i+1] {
			keys = append(keys, map[string]any{"type": "keyDown", "value": string(c)}, map[string]any{"type": "keyUp", "value": string(c)})
		}
		b.act("key", keys)
	}
}

// act performs the actions of one device.
func (b *foxTab) act(device string, actions []map[string]any) {
	b.Helper()
	b.must("input.performActions", map[string]any{"context": b.id,
		"actions": []map[string]any{{"type": device, "id": device, "actions": actions}}}, nil)
}

// check requires that the page is not wider than the window of a phone or a desktop. With SCREENS set it writes
// screenshots.
func (b *foxTab) check(name string) {
	b.Helper()
	for _, size := range sizes {
		b.must("browsingContext.setViewport", map[string]any{"context": b.id,
			"viewport": map[string]any{"width": size.width, "height": size.height}}, nil)
		// Without scripts, the promises of script stay open.
		if e, err := b.evaluate(`document.documentElement.scrollWidth > innerWidth`); err != nil || e.Result.Value != false {
			b.Errorf("%s, %s: the page is wider than the window (%v)", name, size.name, err)
		}
		if !wantScreens {
			continue
		}
		language, err := b.evaluate(`document.documentElement.lang`)
		if err != nil {
			b.Fatal(err)
		}
		var image struct{ Data string }
		b.must("browsingContext.captureScreenshot", map[string]any{"context": b.id, "origin": "document"}, &image)
		png, err := base64.StdEncoding.DecodeString(image.Data)
		if err != nil {
			b.Fatal(err)
		}
		if err := writeScreen("firefox-"+name, size.name, "light", language.Result.Value.(string), png); err != nil {
			b.Fatal(err)
		}
	}
}

// TestFirefox signs in and out in Firefox, changes the language, resets a password, and uses the sample
// application with the browser module.
func TestFirefox(t *testing.T) {
	t.Parallel()
	b := firefox(t, newDemo(t, ""))

	// A wrong password, then the right one, back to the page that asked.
	b.visit("/account/sessions")
	b.at("/login")
	b.check("login")
	b.fill("email", ada, "password", "wrong horse")
	b.click("main button.main")
	b.sees(`document.activeElement.className === "summary" && document.getElementById("email").value === "` + ada + `"
		&& document.getElementById("password").value === "" && document.querySelector(".denial code")`)
	b.check("login-wrong")
	b.fill("password", password)
	b.click("main button.main")
	b.at("/account/sessions")
	b.sees(`document.querySelector("main").innerText.includes("Firefox")`)
	b.visit("/account")
	b.at("/account")
	b.check("account")

	// The sign-out clears what scripts stored, and the account is closed.
	b.script(`localStorage.setItem("kept", "yes")`)
	b.click("form[action='/sign-out'] button")
	b.at("/signed-out")
	b.sees(`localStorage.getItem("kept") === null`)
	b.visit("/account")
	b.at("/login")

	// In German.
	b.click("footer button[lang=de]")
	b.sees(`location.pathname === "/login" && document.documentElement.lang === "de" && document.querySelector("h1").innerText === "Anmelden"`)
	b.check("login")
	b.click("footer button[lang=en]")
	b.sees(`location.pathname === "/login" && document.documentElement.lang === "en"`)

	// A forgotten password: a script takes the token from the URL.
	b.click("main a[href='/forgot']")
	b.at("/forgot")
	b.fill("email", ada)
	b.click("main button.main")
	b.at("/forgot/sent")
	link := `article a[href*='/reset#t=']`
	for end := time.Now().Add(executable.WaitLimit); ; {
		b.visit("/dev/mail")
		if b.script(`document.querySelector("`+link+`") !== null`) == "true" {
			break
		}
		if time.Now().After(end) {
			t.Fatal("no mail with a link to /reset")
		}
	}
	b.click(link)
	b.at("/reset")
	b.sees(`document.getElementById("token").value !== "" && !document.getElementById("token").checkVisibility()
		&& !location.href.includes("#")`)
	b.check("reset")
	b.fill("new_password", changed)
	b.click("main button.main")
	b.at("/reset/done")

	// The sample application sends the user to the sign-in page with its new password, and back.
	b.visit("/demo")
	b.sees(signedOut)
	b.click("#sign-in")
	b.at("/login")
	b.fill("email", ada, "password", changed)
	b.click("main button.main")
	b.sees(signedIn)
	if at := b.script("location.pathname"); at != "/demo/" {
		t.Errorf("after the sign-in: at %s, want /demo/", at)
	}
	b.click("[value=token]")
	b.sees(`document.getElementById("log").innerText.includes("New access token")`)
	b.click("#damage")
	b.sees(`/← 401 INVALID_TOKEN[^]*New access token[^]*← 200/.test(document.getElementById("log").innerText)`)
	b.check("demo")
	b.click("#sign-out")
	b.sees(signedOut)
	if strings.Contains(b.log.String(), "panic") {
		t.Errorf("the server: %s", b.log.String())
	}
	b.copiesCommands()
}

// copiesCommands lets Firefox send a request, and the module of its developer tools write the request as a command
// of curl, for POSIX and for Windows. durward doctor reads both as it reads the request itself.
func (b *foxTab) copiesCommands() {
	b.Helper()
	var mu sync.Mutex
	var sent string
	headers := []map[string]string{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		if r.Method != http.MethodPut {
			http.SetCookie(w, &http.Cookie{Name: "sid", Value: "s3cr3t-marker"})
			fmt.Fprint(w, "<!DOCTYPE html><title>application</title><h1>application</h1>")
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			b.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		sent = fmt.Sprintf("%s %s HTTP/1.1\nHost: %s\n", r.Method, r.RequestURI, r.Host)
		for name, values := range r.Header {
			for _, v := range values {
				sent += name + ": " + v + "\n"
				headers = append(headers, map[string]string{"name": name, "value": v})
			}
		}
		sent += "\n" + string(body) + "\n"
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer server.Close()
	b.must("browsingContext.navigate", map[string]any{"context": b.id, "url": server.URL + "/start", "wait": "complete"}, nil)
	const query = "/v1/items?page=1&q=a%20b%22&t=[x]"
	body := `{"name":"O'Brien & Sons","price":"100%","path":"C:\\tmp","wow":"!` + "`$HOME`" + `"}`
	if status := b.script(`fetch(` + quoted(query) + `, {method: "PUT", body: ` + quoted(body) + `, headers: {
		authorization: "Bearer s3cr3t-marker.abc_DEF-123", "content-type": "application/json", "if-none-match": '"a^b%41"'}}).then(r => r.status)`); status != "401" {
		b.Fatalf("the page got status %s, want 401", status)
	}
	mu.Lock()
	request, err := json.Marshal(map[string]any{"url": server.URL + query, "method": "PUT", "httpVersion": "HTTP/1.1", "headers": headers, "postDataText": body})
	want := b.diagnosed(sent)
	mu.Unlock()
	if err != nil || !strings.Contains(want, "Method:PUT") || !strings.Contains(want, "/v1/items") {
		b.Fatalf("durward doctor of the request: %s, %v\n%s", want, err, sent)
	}
	for _, system := range []string{"Linux", "WINNT"} {
		e := b.ofWindow(`ChromeUtils.importESModule("resource://devtools/shared/loader/Loader.sys.mjs")
			.require("resource://devtools/client/shared/curl.js").Curl.generateCommand(` + string(request) + `, ` + quoted(system) + `)`)
		command, _ := e.Result.Value.(string)
		if !strings.HasPrefix(command, "curl") {
			b.Fatalf("%s: the developer tools copy %q %s", system, command, e.Exception.Text)
		}
		if got := b.diagnosed(command); got != want {
			b.Errorf("durward doctor of the command for %s =\n%s\nwant, as of the request,\n%s\n%s", system, got, want, command)
		}
	}
}

// diagnosed returns the parts of a report of durward doctor that depend on the request alone.
func (b *foxTab) diagnosed(input string) string {
	b.Helper()
	cmd := b.command(b.T, "doctor", "--json", "-")
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.Output()
	if err != nil && len(out) == 0 {
		b.Fatalf("durward doctor: %v\n%s", err, input)
	}
	if strings.Contains(string(out), "s3cr3t") {
		b.Errorf("durward doctor prints a secret: %s", out)
	}
	var r struct {
		Verdict, Method, Host, Path string
		Causes                      []struct{ ID, Confidence string }
	}
	if err := json.Unmarshal(out, &r); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return fmt.Sprintf("%+v", r)
}
