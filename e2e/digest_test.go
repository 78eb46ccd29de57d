package e2e

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	icholy "github.com/icholy/digest"

	"github.com/durward-auth/durward"
)

// TestGoClient tests a Go client that supports every algorithm, with each algorithm in turn.
func TestGoClient(t *testing.T) {
	t.Parallel()
	all := durward.DigestConfig{SHA512256: true, InsecureMD5: true}
	with := func(change func(*durward.DigestConfig)) durward.DigestConfig {
		c := all
		change(&c)
		return c
	}
	for _, c := range []struct {
		name      string
		config    durward.DigestConfig
		algorithm string // empty for the client's own choice
		method    string
		password  string
		requests  []string
		answer    string
	}{
		{"its own choice", all, "", "GET", password,
			[]string{"GET /x?a=b%20c: AUTHENTICATION_REQUIRED", "GET /x?a=b%20c: ada by Digest SHA-256"},
			"200 hello, ada\n"},
		{"SHA-512-256", all, "SHA-512-256", "GET", password,
			[]string{"GET /x?a=b%20c: AUTHENTICATION_REQUIRED", "GET /x?a=b%20c: ada by Digest SHA-512-256"},
			"200 hello, ada\n"},
		{"MD5", all, "MD5", "GET", password,
			[]string{"GET /x?a=b%20c: AUTHENTICATION_REQUIRED", "GET /x?a=b%20c: ada by Digest MD5"},
			"200 hello, ada\n"},
		{"POST", all, "SHA-512-256", "POST", password,
			[]string{"POST /x?a=b%20c: AUTHENTICATION_REQUIRED", "POST /x?a=b%20c: ada by Digest SHA-512-256"},
			"200 hello, ada; you sent \"a body\"\n"},
		{"auth-int", with(func(c *durward.DigestConfig) { c.QOP = []string{"auth-int"} }), "SHA-512-256", "POST",
			password,
			[]string{"POST /x?a=b%20c: AUTHENTICATION_REQUIRED",
				"POST /x?a=b%20c: ada by Digest SHA-512-256 auth-int"}, "200 hello, ada; you sent \"a body\"\n"},
		{"userhash", with(func(c *durward.DigestConfig) { c.UserHash = true }), "SHA-512-256", "GET", password,
			[]string{"GET /x?a=b%20c: AUTHENTICATION_REQUIRED", "GET /x?a=b%20c: ada by Digest SHA-512-256 userhash"},
			"200 hello, ada\n"},
		{"wrong", all, "SHA-512-256", "GET", "wrong",
			[]string{"GET /x?a=b%20c: AUTHENTICATION_REQUIRED",
				"GET /x?a=b%20c: INVALID_CREDENTIALS by Digest SHA-512-256"}, "401"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			srv := newServer(t)
			srv.serve(srv.guard(durward.Config{Schemes: []durward.Scheme{basic(), digest(c.config)},
				Realm: "e2e"}).Handler(hello))
			transport := &icholy.Transport{Username: user, Password: c.password}
			if c.algorithm != "" {
				transport.FindChallenge = func(h http.Header) (*icholy.Challenge, error) {
					for _, line := range h.Values("WWW-Authenticate") {
						if ch, err := icholy.ParseChallenge(line); err == nil && ch.Algorithm == c.algorithm {
							return ch, nil
						}
					}
					return nil, errors.New("not offered")
				}
			}
			var body io.Reader
			if c.method == http.MethodPost {
				body = strings.NewReader("a body")
			}
			r, err := http.NewRequestWithContext(t.Context(), c.method, srv.url+"/x?a=b%20c", body)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := (&http.Client{Transport: transport, Timeout: runTimeout}).Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			text, err := io.ReadAll(answer.Body)
			if err != nil {
				t.Fatal(err)
			}
			if got := answer.Status[:4] + string(text); !strings.HasPrefix(got, c.answer) {
				t.Errorf("got %q, want %q", got, c.answer)
			}
			srv.wantRequests(c.requests...)
		})
	}
}
