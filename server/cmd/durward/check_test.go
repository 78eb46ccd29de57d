package main

import (
	"encoding/json"
	"encoding/xml"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// check gives our own server full marks, with tokens, and writes every kind of report.
func TestCheckOwnServer(t *testing.T) {
	t.Parallel()
	dir, files := t.TempDir(), t.TempDir()
	addUser(t, dir, "ada@example.com", testPassword)
	p := serve(t, program(nil, "serve", "--listen", "127.0.0.1:0", "--data", dir))
	sessions := t.TempDir()
	if _, stderr, status := command(t, testPassword+"\n", "login", p.url, "--sessions", sessions, "--email", "ada@example.com", "--password-stdin"); status != exitDone {
		t.Fatalf("login: %d %s", status, stderr)
	}
	_, server, err := parseAddress(p.url)
	if err != nil {
		t.Fatal(err)
	}
	s, err := signInFolder{Sessions: sessions}.at(nil, server)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := os.ReadFile(filepath.Join(s.dir, "token.json"))
	if err != nil {
		t.Fatal(err)
	}
	var held struct {
		Access string `json:"access_token"`
	}
	if err := json.Unmarshal(stored, &held); err != nil || held.Access == "" {
		t.Fatalf("the stored token: %v", err)
	}
	token := filepath.Join(files, "token")
	if err := os.WriteFile(token, []byte(held.Access+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	junit, sarif, badge := filepath.Join(files, "junit.xml"), filepath.Join(files, "sarif.json"), filepath.Join(files, "badge.svg")
	out, stderr, status := command(t, "", "check", p.url+"/api/profile", "--token-file", token, "--junit", junit, "--sarif", sarif, "--badge", badge)
	if status != exitDone || !strings.Contains(out, "score 100 of 100") || !strings.Contains(stderr, "will send: GET and HEAD "+p.url+"/api/profile") {
		t.Errorf("check: %d\n%s\n%s", status, out, stderr)
	}
	for _, id := range []string{"anonymous-401", "forged-token", "token-in-query", "garbage-token", "head", "body", "date"} {
		if !strings.Contains(out, "pass  "+id) {
			t.Errorf("%s did not pass:\n%s", id, out)
		}
	}
	for _, text := range []string{out, stderr} {
		if strings.Contains(text, "eyJ") {
			t.Errorf("the output contains a token: %s", text)
		}
	}
	for _, file := range []string{junit, badge} {
		if text, err := os.ReadFile(file); err != nil || xml.Unmarshal(text, new(struct{})) != nil {
			t.Errorf("%s: %v\n%s", file, err, text)
		}
	}
	if text, err := os.ReadFile(sarif); err != nil || !json.Valid(text) {
		t.Errorf("SARIF: %v\n%s", err, text)
	}
}

// check exits with 1 after a MUST, 0 after a recommendation, 2 for a wrong command and 3 without a
// server.
func TestCheckStatus(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("/bare", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	mux.HandleFunc("/cached", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Basic realm="notes"`)
		w.Header().Set("Cache-Control", "public")
		w.WriteHeader(http.StatusUnauthorized)
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	gone := httptest.NewServer(nil)
	gone.Close()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("marked-token"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name           string
		args           []string
		status         int
		stdout, stderr string
	}{
		{"no challenge: 1", []string{s.URL + "/bare"}, exitRefused, "MUST  challenge ", "a MUST of the standards failed"},
		{"cacheable: 0", []string{s.URL + "/cached"}, exitDone, "FAIL  caching ", "will send"},
		{"JSON: the report", []string{"--json", s.URL + "/cached"}, exitDone, `"schema": "durward.check/1"`, ""},
		{"a good token that is refused: 1", []string{"--token-file", token, s.URL + "/cached"}, exitRefused, "note: The good token got 401", "not complete"},
		{"no server: 3", []string{gone.URL}, exitUnreachable, "", "no response"},
		{"http to another machine: 2", []string{"http://far.example.com/"}, exitUsage, "", "--allow-http"},
		{"a user name: 2", []string{"https://ada@far.example.com/"}, exitUsage, "", "user name"},
		{"a missing file: 3", []string{"--token-file", "missing", s.URL}, exitUnreachable, "", "no such file"},
		{"a folder that does not exist: 3", []string{"--badge", "missing/badge.svg", s.URL + "/bare"}, exitUnreachable, "", "cannot write the report"},
	} {
		out, stderr, status := command(t, "", append([]string{"check"}, c.args...)...)
		if status != c.status || !strings.Contains(out, c.stdout) || !strings.Contains(stderr, c.stderr) {
			t.Errorf("%s: got %d, want %d and %q, %q\n%s\n%s", c.name, status, c.status, c.stdout, c.stderr, out, stderr)
		}
	}
}

// At a terminal check shows its progress, erases it, and colours the words of outcomes; their meaning does
// not depend on it.
func TestCheckAtTerminal(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	t.Cleanup(s.Close)
	screen, err := atTerminal(t, nil, "check", s.URL)
	if err == nil {
		t.Error("status 0, want 1")
	}
	progress, report, ok := strings.Cut(screen, "\r\x1b[K"+s.URL)
	if !ok || !strings.Contains(progress, "requests  [##") {
		t.Errorf("no progress, or it was not erased: %q", screen)
	}
	for _, want := range []string{"\x1b[1;31mMUST\x1b[0m  challenge", "\x1b[32mpass\x1b[0m  anonymous-401", "1 MUST failed"} {
		if !strings.Contains(report, want) {
			t.Errorf("no %q: %q", want, report)
		}
	}
}
