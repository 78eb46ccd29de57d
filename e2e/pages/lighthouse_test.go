package pages_test

import (
	"bufio"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/remote"

	"github.com/durward-auth/durward/e2e/chromium"
	"github.com/durward-auth/durward/e2e/executable"
)

// TestLighthouse requires a score of 100 in Lighthouse's accessibility audit for each page of the table. make
// lighthouse runs it.
func TestLighthouse(t *testing.T) {
	if os.Getenv("LIGHTHOUSE") == "" {
		t.Skip("SKIPPED: make lighthouse runs it")
	}
	dir := filepath.Join(executable.Dir, "lighthouse")
	if err := installed(dir, "../lighthouse"); err != nil {
		t.Fatal(err)
	}
	f := newDemo(t, "")
	f.addBoss(t)
	profile := t.TempDir()
	browser := chromium.StartFor(t, profile, profile, remote.WebSocket)
	if err := chromedp.Do(browser, chromedp.Navigate("about:blank")); err != nil {
		t.Fatal(err)
	}
	port, err := os.ReadFile(filepath.Join(profile, "DevToolsActivePort"))
	if err != nil {
		t.Fatal(err)
	}
	b := &tab{T: t, front: f, ctx: browser}
	total := 0
	for _, kind := range []string{"visitor", "user", "administrator"} {
		ids := b.become(kind)
		var urls []string
		names := slices.Sorted(maps.Keys(pages[kind]))
		if kind == "administrator" { // the pages that ask for a recent sign-in come first
			names = append([]string{"console-import", "console-retire"}, slices.DeleteFunc(names, func(name string) bool {
				return name == "console-import" || name == "console-retire"
			})...)
		}
		for _, name := range names {
			urls = append(urls, f.origin+ids.Replace(pages[kind][name]))
		}
		input, err := json.Marshal(map[string]any{"port": json.Number(strings.SplitN(string(port), "\n", 2)[0]), "urls": urls})
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "node", filepath.Join(dir, "run.mjs"))
		cmd.Stdin = strings.NewReader(string(input))
		var log executable.Buffer
		cmd.Stderr = &log
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("Lighthouse: %v\n%s", err, log.String())
		}
		for lines := bufio.NewScanner(strings.NewReader(string(out))); lines.Scan(); total++ {
			var page struct {
				URL    string
				Score  float64
				Failed []string
			}
			if err := json.Unmarshal(lines.Bytes(), &page); err != nil {
				t.Fatalf("%v: %s", err, lines.Text())
			}
			t.Logf("%3.0f %s", page.Score*100, page.URL)
			if strings.Contains(page.URL, "/step-up?") {
				t.Errorf("%s: the sign-in was too old for a page; %s stands in its place", kind, page.URL)
			}
			if page.Score != 1 {
				t.Errorf("%s, %s: score %.0f, want 100: %q", kind, page.URL, page.Score*100, page.Failed)
			}
		}
		if kind == "user" {
			b.visit("/account")
			b.signOut()
		}
	}
	if want := len(pages["visitor"]) + len(pages["user"]) + len(pages["administrator"]); total != want {
		t.Errorf("%d pages audited, want %d", total, want)
	}
}
