package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward/server/internal/node"
	"github.com/durward-auth/durward/server/internal/testkit"
)

// No token is issued if the subject cannot be looked up: it would have an address in place of an id.
func TestTokenSubjectUnreadable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addUser(t, dir, "ada@example.com", testPassword)
	e := &environment{Context: context.Background(), stdout: io.Discard, stderr: io.Discard}
	n, err := location{Data: dir}.open(e, node.Writing)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	db := testkit.OpenSQLite(t, dir)
	if _, err := db.ExecContext(t.Context(), `ALTER TABLE users RENAME TO gone`); err != nil {
		t.Fatal(err)
	}
	v := tokenIssue{Sub: "ada@example.com", TTL: time.Minute}
	if err := v.Run(e, n); err == nil {
		t.Error("issued a token without a look-up of its subject")
	}
}

// token inspect says first whether the token has expired and which provider's tokens have its form.
func TestTokenInspect(t *testing.T) {
	t.Parallel()
	now := time.Now()
	token := func(header, payload string) string {
		b64 := base64.RawURLEncoding
		return b64.EncodeToString([]byte(header)) + "." + b64.EncodeToString([]byte(payload)) + "." +
			b64.EncodeToString(make([]byte, 256))
	}
	keycloak := func(ends time.Duration) string {
		return token(`{"alg":"RS256","typ":"JWT","kid":"k"}`, fmt.Sprintf(`{"exp":%d,"iat":%d,"jti":"7c1e",`+
			`"iss":"https://id.example.com/realms/shop","aud":"orders","sub":"ada","typ":"Bearer","azp":"shop-web"}`,
			now.Add(ends).Unix(), now.Add(min(ends, 0)-5*time.Minute).Unix()))
	}
	for _, c := range []struct {
		name, token string
		status      int
		first, want string // first line of standard output, another line
	}{
		{"expired an hour ago: said first", keycloak(-90 * time.Minute), exitRefused, "expired 1 h ago", "form: Keycloak"},
		{"expired days ago: in days", keycloak(-49 * time.Hour), exitRefused, "expired 2 d ago", "fault: "},
		{"valid token of Keycloak: no fault", keycloak(1350 * time.Minute), exitDone, "expires in 22 h", "form: Keycloak"},
		{"deviation from RFC 9068: apart", keycloak(1350 * time.Minute), exitDone, "expires in 22 h", "not by RFC 9068: typ "},
		{"ID token: said", token(`{"alg":"RS256","typ":"JWT","kid":"k"}`, fmt.Sprintf(`{"exp":%d,"iat":%d,"jti":"7c1e",`+
			`"iss":"https://id.example.com/realms/shop","aud":"shop-web","sub":"ada","typ":"ID","azp":"shop-web"}`,
			now.Add(1350*time.Minute).Unix(), now.Unix())), exitRefused,
			"expires in 22 h", "looks like an ID token of Keycloak, not an access token\n"},
		{"no known form: said", token(`{"alg":"RS256","kid":"k","typ":"x"}`, `{"iss":"https://a.example"}`), exitRefused,
			"without a time of expiry", "form: of no known provider, and not RFC 9068"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			out, stderr, status := command(t, c.token, "token", "inspect")
			first, rest, _ := strings.Cut(out, "\n")
			if status != c.status || first != c.first || !strings.Contains("\n"+rest, "\n"+c.want) {
				t.Errorf("token inspect: got status %d, %s %s\nwant %d, %q first and a line %q", status, out, stderr,
					c.status, c.first, c.want)
			}
		})
	}
	out, stderr, status := command(t, keycloak(-time.Hour), "token", "inspect", "--json")
	var printed struct{ Profiles, Problems, Deviations []string }
	if err := json.Unmarshal([]byte(out), &printed); err != nil || status != exitRefused ||
		!slices.Contains(printed.Profiles, "Keycloak") || len(printed.Problems) != 1 || len(printed.Deviations) == 0 {
		t.Errorf("--json: got %s, %v, status %d", out, err, status)
	}
	if strings.Contains(stderr, `"hint"`) {
		t.Errorf("an error without a hint: got %s, want no member hint", stderr)
	}
}
