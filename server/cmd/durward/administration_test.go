package main

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

var setupLink = regexp.MustCompile(`http://\S+/setup#t=([A-Za-z0-9_-]{43})\n`)

// A server without users prints a link for the first administrator, who then reads the settings without
// secrets. With users it prints none, and the link is not in the log.
func TestAdministration(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const secret, smtp = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", "a word for mails"
	env := []string{
		"DURWARD_ADMIN_SECOND_FACTOR=false", "DURWARD_TOKENS_ALGORITHM=HS256", "DURWARD_TOKENS_SHARED_SECRET=" + secret,
		"DURWARD_PUBLIC_URL=http://127.0.0.1:8401", "DURWARD_MAIL_FROM=no-reply@example.com", "DURWARD_SMTP_URL=smtp://user:" + strings.ReplaceAll(smtp, " ", "%20") + "@127.0.0.1:1",
	}
	start := func(more ...string) *process {
		return serve(t, program(append(env, more...), "serve", "--listen", "127.0.0.1:0", "--data", dir))
	}
	p := start("DURWARD_LOG_FORMAT=json")
	if p.stop(); strings.Contains(p.stderr.String(), "/setup#") || !strings.Contains(p.stderr.String(), "there are no users yet") {
		t.Errorf("with a log in JSON, want the command and no link:\n%s", p.stderr)
	}
	p = start()
	var link []string
	for deadline := time.Now().Add(30 * time.Second); link == nil && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		link = setupLink.FindStringSubmatch(p.stderr.String()) // stdout and stderr arrive in any order
	}
	if link == nil || strings.Contains(strings.Join(p.stdout, "\n"), "setup") {
		t.Fatalf("no link in\n%s\nor one in %q", p.stderr, p.stdout)
	}
	body := `{"token":"` + link[1] + `","email":"root@example.com","password":"` + testPassword + `"}`
	if a := p.ask("POST", "/api/auth/setup", "", body); a.status != 201 {
		t.Fatalf("setup: %d %s", a.status, a.body)
	}
	if a := p.ask("POST", "/api/auth/setup", "", strings.Replace(body, "root@", "eve@", 1)); a.status != 400 {
		t.Errorf("setup again: %d %s, want 400", a.status, a.body)
	}
	token := p.signIn("root@example.com", testPassword).member("access_token")
	settings := p.ask("GET", "/api/admin/settings", token, "")
	text := string(settings.body)
	for _, want := range []string{
		`{"key":"registration","value":"off","from":"default"}`, `{"key":"admin.second_factor","value":false,"from":"DURWARD_ADMIN_SECOND_FACTOR"}`,
		`{"key":"data_dir","value":"` + dir + `","from":"--data"}`, `{"key":"tokens.shared_secret","value":"[redacted]","from":"DURWARD_TOKENS_SHARED_SECRET"}`,
	} {
		if settings.status != 200 || !strings.Contains(text, want) {
			t.Errorf("settings: %d, want %s in\n%s", settings.status, want, text)
		}
	}
	for _, hidden := range []string{secret, "a%20word", smtp} {
		if strings.Contains(text, hidden) {
			t.Errorf("the settings have the secret %s", hidden)
		}
	}
	p.stop()
	if p = start(); strings.Contains(p.stderr.String(), "/setup#") {
		t.Errorf("a link although there are users:\n%s", p.stderr)
	}
	p.stop()
}
