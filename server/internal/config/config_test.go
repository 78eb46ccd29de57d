package config

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward/server/internal/explain"
)

// docs/config.md is the output of WriteReference, and every key has a comment.
func TestReference(t *testing.T) {
	t.Parallel()
	var want bytes.Buffer
	if err := WriteReference(&want); err != nil {
		t.Fatal(err)
	}
	comments, err := comments()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range settingsOf(Default()) {
		if len(comments[s.Key]) < 10 {
			t.Errorf("the field of %s has the comment %q; want a description", s.Key, comments[s.Key])
		}
	}
	got, err := os.ReadFile("../../../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Error("docs/config.md is outdated; run: go run ./server/cmd/durward config docs > docs/config.md")
	}
}

// Explanations show settings as readers write them.
func TestFigures(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		15 * time.Minute: "15 minutes", time.Hour: "1 hour", 90 * time.Second: "1 minute 30 seconds",
		time.Second: "1 second", 24*time.Hour + time.Minute: "24 hours 1 minute", 5 * time.Millisecond: "5ms",
	} {
		c := Default()
		c.Tokens.AccessTTL = d
		if got := c.Figures()["tokens.access_ttl"]; got != want {
			t.Errorf("%s: got %q, want %q", d, got, want)
		}
	}
	figures := Default().Figures()
	keys := settingsOf(Default())
	for key := range figures {
		if !slices.ContainsFunc(keys, func(s *Setting) bool { return s.Key == key }) {
			t.Errorf("%s is no key", key)
		}
	}
	// Every variable of an explanation is one of them.
	for _, p := range explain.All() {
		if text := p.With(figures).Text("deep", 1000); regexp.MustCompile(`[^$]\{(tokens|limits|sessions|passwords)\.[a-z_]+\}`).MatchString(text) {
			t.Errorf("%s has a variable that is no figure:\n%s", p.ID, text)
		}
	}
}

// Each setting has an environment variable of this name.
func TestVariables(t *testing.T) {
	t.Parallel()
	var got []string
	for _, s := range settingsOf(Default()) {
		got = append(got, s.variable())
	}
	for _, want := range strings.Fields(`
		DURWARD_LISTEN DURWARD_PUBLIC_URL DURWARD_ISSUER DURWARD_DATA_DIR DURWARD_TRUSTED_PROXIES
		DURWARD_DATABASE_URL DURWARD_REGISTRATION DURWARD_TOKENS_ACCESS_TTL DURWARD_TOKENS_REFRESH_TTL
		DURWARD_TOKENS_REFRESH_ABSOLUTE DURWARD_TOKENS_REFRESH_GRACE DURWARD_LIMITS_NETWORK_FAILURES
		DURWARD_PASSWORDS_ARGON2_MEMORY`) {
		if !slices.Contains(got, want) {
			t.Errorf("variables: got %q; want %s among them", got, want)
		}
	}
}
