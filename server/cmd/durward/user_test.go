package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
)

// The operator removes the second factor of a user who lost it, while the server runs.
func TestResetFactors(t *testing.T) {
	t.Parallel()
	dir, email := t.TempDir(), "ada@example.com"
	addUser(t, dir, email, testPassword)
	reset := func() (stdout, stderr string, status int) {
		return command(t, "", "user", "reset-factors", email, "--data", dir)
	}
	if _, stderr, status := reset(); status != exitRefused || !strings.Contains(stderr, email+" has no second factor") {
		t.Errorf("a user without a factor: %d %s", status, stderr)
	}
	p := serve(t, program(nil, "serve", "--listen", "127.0.0.1:0", "--data", dir))
	token := p.signIn(email, testPassword).member("access_token")
	enrolled := p.ask("POST", "/api/auth/mfa/totp", token, "{}")
	if enrolled.status != 201 {
		t.Fatalf("enrolment: %d %s", enrolled.status, enrolled.body)
	}
	if _, _, status := reset(); status != exitRefused {
		t.Errorf("a factor that was not confirmed: status %d, want %d", status, exitRefused)
	}
	code, err := totp.GenerateCode(enrolled.member("secret"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	confirmed := p.ask("POST", "/api/auth/mfa/totp/confirm", token, fmt.Sprintf(`{"code":%q}`, code))
	if confirmed.status != 200 {
		t.Fatalf("confirmation: %d %s", confirmed.status, confirmed.body)
	}
	login := fmt.Sprintf(`{"email":%q,"password":%q}`, email, testPassword)
	if a := p.ask("POST", "/api/auth/login", "", login); a.member("code") != "MFA_REQUIRED" {
		t.Fatalf("with a factor: %d %s", a.status, a.body)
	}

	stdout, stderr, status := reset()
	if status != exitDone || !strings.Contains(stdout, email+" has no second factor any more") {
		t.Fatalf("reset-factors: %d %s%s", status, stdout, stderr)
	}
	eventually(t, func() error {
		if a := p.ask("GET", "/api/profile", confirmed.member("access_token"), ""); a.member("code") != "TOKEN_REVOKED" {
			return fmt.Errorf("the former session: %d %s", a.status, a.body)
		}
		return nil
	})
	a := p.signIn(email, testPassword)
	if notes := p.ask("GET", "/api/notifications", a.member("access_token"), ""); !strings.Contains(string(notes.body), `"kind":"factor_removed"`) {
		t.Errorf("notifications: %s", notes.body)
	}
	events, _, _ := command(t, "", "event", "list", "--json", "--kind", "factor_removed", "--data", dir)
	if strings.Count(events, "\n") != 1 || !strings.Contains(events, `"actor":"operator"`) {
		t.Errorf("events of the removal: got %s, want one by the operator", events)
	}
	if _, stderr, status := reset(); status != exitRefused {
		t.Errorf("twice: %d %s", status, stderr)
	}
}
