package pages_test

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/durward-auth/durward/e2e/executable"
)

// startEmbedded starts the program of examples/embedded and returns its origin.
func startEmbedded(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "embedded")
	if err := executable.GoBuild("../../examples", program, "./embedded", nil); err != nil {
		t.Fatal(err)
	}
	var log executable.Buffer
	cmd := exec.Command(program, "-listen", "127.0.0.1:0", "-data", filepath.Join(t.TempDir(), "data"))
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	opens := regexp.MustCompile(`open (http://localhost:\d+)/`)
	for end := time.Now().Add(executable.WaitLimit); ; time.Sleep(20 * time.Millisecond) {
		if m := opens.FindStringSubmatch(log.String()); m != nil {
			return m[1]
		}
		if time.Now().After(end) {
			t.Fatalf("the program does not start:\n%s", log.String())
		}
	}
}

// TestEmbedded opens a guarded page of a program that embeds the server below /auth/: the browser signs in,
// comes back, and signs out. The sign-out deletes what scripts stored, and keeps the known device.
func TestEmbedded(t *testing.T) {
	t.Parallel()
	origin := startEmbedded(t)
	b := browse(t, &front{origin: origin, prefix: "/auth"})()
	do(b, chromedp.Navigate(origin+"/notes?page=2"))
	b.signIn(ada, password)
	b.sees(`location.href === "` + origin + `/notes?page=2" && document.getElementById("subject")`)

	cookies := func() map[string]bool {
		names := make(map[string]bool)
		all, err := chromedp.Call(b.ctx, network.GetCookies, network.GetCookiesParams{})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range all.Cookies {
			names[c.Name] = true
		}
		return names
	}
	if c := cookies(); !c["__Host-durward~auth"] || !c["__Host-durward-device~auth"] {
		t.Errorf("cookies of the server: %v", c)
	}
	b.script(`localStorage.setItem("note", "secret")`)

	b.visit("/account")
	b.signOut()
	if stored := b.script(`localStorage.length`); stored != "0" {
		t.Errorf("after the sign-out, localStorage holds %s values, want none", stored)
	}
	if c := cookies(); c["__Host-durward~auth"] || !c["__Host-durward-device~auth"] {
		t.Errorf("cookies after the sign-out: %v, want that of the known device alone", c)
	}
	do(b, chromedp.Navigate(origin+"/notes"))
	b.at("/login")
}
