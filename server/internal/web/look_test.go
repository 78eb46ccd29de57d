package web_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/durward-auth/durward/server/internal/config"
	"github.com/durward-auth/durward/server/internal/web"
)

const svg = `<?xml version="1.0"?><!-- logo --><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>`

// Name, logo and colour of the operator are on the pages. A logo that is opened as a page runs no script.
func TestLook(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "logo.svg")
	if err := os.WriteFile(file, []byte(svg), 0o600); err != nil {
		t.Fatal(err)
	}
	e := newEnv(t, func(c *config.Config) { c.Pages.Name, c.Pages.Logo, c.Pages.Accent = "Acme <b>", file, "#ffcc00" })
	b := e.browser()
	b.get("/login").want(http.StatusOK).shows("Acme &lt;b&gt;", `<img src="/static/logo.svg" alt=""`)
	p := b.get("/static/logo.svg").want(http.StatusOK)
	if p.Header.Get("Content-Type") != "image/svg+xml" || !strings.Contains(p.Header.Get("Content-Security-Policy"), "default-src 'none'") ||
		!strings.Contains(p.Header.Get("Content-Security-Policy"), "sandbox") || p.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("fields of the logo: %v", p.Header)
	}
	b.get("/static/style.css").want(http.StatusOK).shows("--accent: #")
	if !strings.Contains(e.logs.String(), "pages.accent #ffcc00 has a contrast of 1.4 : 1") {
		t.Errorf("no warning of the colour:\n%s", e.logs)
	}
}

// NewLook: each mistake is refused; a colour that is easy to read stays as it is, with the text that fits.
func TestNewLook(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	for name, c := range map[string]struct{ logo, accent, fault, warning string }{
		"nothing":              {"", "", "", ""},
		"SVG":                  {write("a.svg", svg), "", "", ""},
		"PNG":                  {write("a.png", "\x89PNG\r\n\x1a\nrest"), "", "", ""},
		"HTML":                 {write("a.html", "<html><svg></svg></html>"), "", "no SVG and no PNG", ""},
		"JPEG":                 {write("a.jpg", "\xff\xd8\xff"), "", "no SVG and no PNG", ""},
		"large file":           {write("b.svg", svg+strings.Repeat(" ", 128<<10)), "", "more than 128 KiB", ""},
		"no file":              {filepath.Join(dir, "none"), "", "cannot open", ""},
		"dark blue":            {"", "#17497a", "", ""},
		"yellow":               {"", "#FFCC00", "", "contrast of 1.4 : 1"},
		"colour without #":     {"", "17497a", "want a colour", ""},
		"colour with more":     {"", "#17497a; } body { display: none", "want a colour", ""},
		"colour with a letter": {"", "#17497g", "want a colour", ""},
	} {
		_, warning, err := web.NewLook("Acme", c.logo, c.accent)
		if (err != nil) != (c.fault != "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%s: got %v, want %q", name, err, c.fault)
		}
		if !strings.Contains(warning, c.warning) || c.warning == "" && warning != "" {
			t.Errorf("%s: warning %q, want %q", name, warning, c.warning)
		}
	}
}
