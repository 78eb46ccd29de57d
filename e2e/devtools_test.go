package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/remote"

	"github.com/durward-auth/durward/e2e/chromium"
	"github.com/durward-auth/durward/e2e/executable"
)

// copies is a script for the page of Chromium's developer tools. It returns what their menus copy of the
// last request, and the HAR that they export.
const copies = `(async () => {
	const {NetworkLog} = await import('./models/logs/logs.js');
	const {NetworkLogView} = await import('./panels/network/network.js');
	const har = await import('./models/har/har.js');
	const all = NetworkLog.NetworkLog.instance().requests(), view = NetworkLogView.NetworkLogView;
	const last = all.findLast(r => r.requestMethod === 'PUT');
	const log = async sanitize => JSON.stringify({log: await har.Log.Log.build(all, {sanitize})}, null, 1);
	return JSON.stringify({
		'Chromium bash': await view.generateCurlCommand(last, 'unix'),
		'Chromium cmd': await view.generateCurlCommand(last, 'win'),
		'Chromium PowerShell': await view.prototype.generatePowerShellCommand.call({}, last),
		'Chromium fetch': await view.prototype.generateFetchCall.call({}, last, 0),
		'Chromium fetch for Node.js': await view.prototype.generateFetchCall.call({}, last, 1),
		'Chromium HAR': await log(false),
		'Chromium HAR without secrets': await log(true),
	});
})()`

// TestDoctorReadsDevTools lets Chromium's own developer tools copy a refused request in each of their
// forms, and compares what durward doctor says of each with the raw exchange. With RECORD=FILE it writes
// the copies to a file; the tests of package doctor read testdata/devtools.txtar.
func TestDoctorReadsDevTools(t *testing.T) {
	t.Parallel()
	needPrograms(t, "chromium")
	var mu sync.Mutex
	raw := ""
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/items" {
			w.Header().Set("Content-Type", "text/html")
			http.SetCookie(w, &http.Cookie{Name: "sid", Value: "s3cr3t-marker"})
			fmt.Fprint(w, "<!DOCTYPE html><title>application</title>")
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("cannot read the request: %v", err)
		}
		var b strings.Builder
		fmt.Fprintf(&b, "%s %s HTTP/1.1\nHost: %s\n", r.Method, r.RequestURI, r.Host)
		for name, values := range r.Header {
			for _, v := range values {
				fmt.Fprintf(&b, "%s: %s\n", name, v)
			}
		}
		fmt.Fprintf(&b, "\n%s\n", body)
		mu.Lock()
		raw = b.String()
		mu.Unlock()
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"error":"invalid_token"}`)
	}))
	t.Cleanup(s.Close)

	// Processes of Chromium may write to the profile after the browser has ended, so t.TempDir would fail now and then.
	dir, err := os.MkdirTemp("", "devtools")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	browser := chromium.StartFor(t, dir, dir, remote.WebSocket, chromedp.Flag("remote-allow-origins", "*"))
	if err = chromedp.Do(browser, chromedp.Navigate(s.URL+"/start")); err != nil {
		t.Fatal(err)
	}
	port, err := os.ReadFile(filepath.Join(dir, "DevToolsActivePort"))
	if err != nil {
		t.Fatal(err)
	}
	debugger := "127.0.0.1:" + strings.SplitN(string(port), "\n", 2)[0]
	targets, err := chromedp.Targets(browser)
	if err != nil {
		t.Fatal(err)
	}
	id := ""
	for _, target := range targets {
		if target.URL == s.URL+"/start" {
			id = string(target.TargetID)
		}
	}
	tools, cancel := chromedp.NewContext(browser)
	t.Cleanup(cancel)
	if err := chromedp.Do(tools, chromedp.Navigate("http://"+debugger+"/devtools/devtools_app.html?ws="+debugger+"/devtools/page/"+id)); err != nil {
		t.Fatal(err)
	}
	eventually := func(tab context.Context, expression string) string {
		t.Helper()
		for end := time.Now().Add(executable.WaitLimit); ; time.Sleep(100 * time.Millisecond) {
			got, err := chromedp.Run(tab, chromedp.Evaluate[string](`(async () => String(await (`+expression+`)))()`, chromedp.EvalAwaitPromise))
			if err == nil && got != "" {
				return got
			}
			if time.Now().After(end) {
				t.Fatalf("%s: %q, %v", expression, got, err)
			}
		}
	}
	eventually(tools, `import('./core/sdk/sdk.js').then(m => m.TargetManager.TargetManager.instance().primaryPageTarget()?.model(m.NetworkManager.NetworkManager) ? 'connected' : '')`)
	// The tools see the page of the application, which then asks with a refused token. They are connected before they
	// watch the network, so a page that they missed is loaded again.
	seen := `import('./models/logs/logs.js').then(m => m.NetworkLog.NetworkLog.instance().requests().some(r => r.finished && %s) ? 'seen' : '')`
	page := fmt.Sprintf(`(async () => await (`+seen+`))()`, `r.url().endsWith('/page')`)
	saw := func() bool {
		t.Helper()
		if err := chromedp.Do(browser, chromedp.Navigate(s.URL+"/page")); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			if got, err := chromedp.Run(tools, chromedp.Evaluate[string](page, chromedp.EvalAwaitPromise)); err == nil && got == "seen" {
				return true
			}
			time.Sleep(100 * time.Millisecond)
		}
		return false
	}
	for end := time.Now().Add(executable.WaitLimit); !saw(); {
		if time.Now().After(end) {
			t.Fatal("the tools saw no page")
		}
	}
	status := eventually(browser, `document.readyState === 'complete' && fetch('/v1/items?page=1&q=a%20b%22&t=[x]', {
		method: 'PUT',
		headers: {authorization: 'Bearer s3cr3t-marker.abc_DEF-123', 'content-type': 'application/json', 'if-none-match': '"a^b%41"'},
		body: JSON.stringify({name: "O'Brien & Sons", price: '100%', path: 'C:\\tmp', wow: '!`+"`$HOME`"+`'}),
	}).then(r => r.status)`)
	if status != "401" {
		t.Fatalf("the page got status %s, want 401", status)
	}
	eventually(tools, fmt.Sprintf(seen, `r.requestMethod === 'PUT'`))
	var all map[string]string
	if err := json.Unmarshal([]byte(eventually(tools, copies)), &all); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	all["raw"] = raw
	mu.Unlock()
	names := slices.Sorted(func(yield func(string) bool) {
		for name := range all {
			if !yield(name) {
				return
			}
		}
	})
	if file := os.Getenv("RECORD"); file != "" {
		text := "Copies of Chromium's developer tools. TestDoctorReadsDevTools of module e2e writes them.\n"
		for _, name := range names {
			text += "-- " + name + " --\n" + strings.ReplaceAll(all[name], "\r\n", "\n") + "\n"
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}

	program, err := executable.Build()
	if err != nil {
		t.Fatal(err)
	}
	refusal := "\n\nHTTP/1.1 401 Unauthorized\nWWW-Authenticate: Bearer error=\"invalid_token\"\nContent-Type: application/json\n\n{\"error\":\"invalid_token\"}\n"
	// A report without the names of the input and of the fields' places.
	report := func(input string) string {
		run := exec.CommandContext(t.Context(), program, "doctor", "--json", "-")
		run.Stdin = strings.NewReader(input)
		out, err := run.Output()
		if err != nil && len(out) == 0 {
			t.Fatalf("durward doctor: %v\n%s", err, input)
		}
		if strings.Contains(string(out), "s3cr3t") {
			t.Errorf("durward doctor prints a secret: %s", out)
		}
		var r struct {
			Verdict string
			Method  string
			Host    string
			Path    string
			Causes  []struct{ ID, Confidence string }
		}
		if err := json.Unmarshal(out, &r); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return fmt.Sprintf("%+v", r)
	}
	wantRequest, wantRefusal := report(all["raw"]), report(all["raw"]+refusal)
	for _, name := range names {
		want := wantRequest
		if strings.Contains(name, "HAR") {
			want = wantRefusal
		}
		switch name {
		case "raw", "Chromium fetch", "Chromium HAR without secrets": // they have no credentials or cookies
			continue
		}
		if got := report(all[name]); got != want {
			t.Errorf("durward doctor of %s =\n%s\nwant, as of the raw exchange,\n%s\n%s", name, got, want, all[name])
		}
	}
}
