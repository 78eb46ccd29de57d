package pages_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// lastDiagnosed returns the body of the last form that the page of the doctor sent.
func (f *front) lastDiagnosed() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return string(f.diagnosed)
}

// secretsOfVisitor are refusals with marked secrets, each with the part that explains it and may be sent.
var secretsOfVisitor = []struct{ text, secret, kept string }{
	{
		"GET /a HTTP/1.1\nHost: api.example.com\nAuthorization: Bearer eyJhbGciOiJFUzI1NiJ9.eyJleHAiOjE3MDAwMDAwMDB9.s3cr3tSignature0123456789\n\n" +
			"HTTP/1.1 401 Unauthorized\nDate: Fri, 20 Nov 2026 10:07:12 GMT\nWWW-Authenticate: Bearer error=\"invalid_token\"\n",
		"s3cr3tSignature0123456789", "eyJhbGciOiJFUzI1NiJ9.eyJleHAiOjE3MDAwMDAwMDB9.",
	},
	{"curl -H 'X-Api-Key: sk_live_s3cr3tKey0123456789' https://api.example.com/a\nHTTP/1.1 401 Unauthorized\n", "s3cr3tKey0123456789", "sk_live_"},
	{"curl -u ada:s3cr3tPassword https://api.example.com/a\nHTTP/1.1 401 Unauthorized\nWWW-Authenticate: Basic realm=x\n", "s3cr3tPassword", "ada:"},
	{"GET / HTTP/1.1\nAuthorization: Basic YWRhOnMzY3IzdFBhc3N3b3Jk\n\nHTTP/1.1 401 Unauthorized\n", "YWRhOnMzY3IzdFBhc3N3b3Jk", "Basic YWRhO"},
	{"GET / HTTP/1.1\nCookie: session=s3cr3tCookie012345; theme=dark\n\nHTTP/1.1 401 Unauthorized\n", "s3cr3tCookie012345", "session="},
	{"GET /a?access_token=s3cr3tQuery0123456&x=1 HTTP/1.1\n\nHTTP/1.1 401 Unauthorized\n", "s3cr3tQuery0123456", "access_token="},
}

// TestDoctorInBrowser: a visitor pastes refusals and a file; the browser removes the secrets before it sends them.
func TestDoctorInBrowser(t *testing.T) {
	t.Parallel()
	f := newFront(t, "", nil)
	b := browse(t, f)()
	for i, row := range secretsOfVisitor {
		b.visit("/doctor")
		b.send("input", row.text)
		b.sees(`document.readyState === "complete" && document.querySelector(".report")`)
		if sent := f.lastDiagnosed(); strings.Contains(sent, row.secret) || !strings.Contains(sent, row.kept) {
			t.Errorf("the browser sent\n%s\nwithout %q, with %q wanted", sent, row.secret, row.kept)
		}
		if i == 0 {
			b.checkSent("doctor-report")
		}
	}
	// A file is masked, too.
	file := filepath.Join(t.TempDir(), "refusal.txt")
	if err := os.WriteFile(file, []byte(secretsOfVisitor[0].text), 0o600); err != nil {
		t.Fatal(err)
	}
	b.visit("/doctor")
	do(b, chromedp.SetUploadFiles(`#file`, []string{file}))
	b.click("main button.main")
	b.sees(`document.readyState === "complete" && document.querySelector(".report h3 a[href='/errors/cause/expired']")`)
	if sent := f.lastDiagnosed(); strings.Contains(sent, secretsOfVisitor[0].secret) || !strings.Contains(sent, secretsOfVisitor[0].kept) {
		t.Errorf("of the file the browser sent\n%s", sent)
	}
	if text := b.script(`document.getElementById("markdown").value`); !strings.Contains(text, "durward-doctor/1 cause=expired confidence=certain") {
		t.Errorf("the text for an issue is\n%s", text)
	}

	// Without scripts the page warns, and works.
	b.withScripts(false)
	b.visit("/doctor?example=scheme")
	b.sees(`document.querySelector("noscript .notice")`)
	b.click("main button.main")
	b.sees(`document.readyState === "complete" && document.querySelector(".report h3 a[href='/errors/cause/wrong-scheme']")`)
}
