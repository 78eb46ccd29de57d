package httpapi

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward/server/internal/store"
)

// The recorded cause is precise, and does not repeat the code.
func TestCauses(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	token := w.signIn().AccessToken
	scopeless, _, err := w.issuer.Issue(context.Background(), w.ada.ID, nil, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Add(name, value) }
	}
	bearer := header("Authorization", "Bearer "+token)
	for _, c := range []struct {
		method, target, body string
		change               func(*http.Request)
		cause                string
	}{
		{"GET", "/api/profile", "", nil, "no credentials in the request"},
		{"GET", "/api/profile", "", header("Cookie", "a=b"), "no credentials, only cookies that this route does not accept"},
		{"GET", "/api/profile", "", header("X-API-Key", "dk_x"), "account: an API key has another length: not made by this server"},
		{"GET", "/api/profile", "", header("Authorization", "Basic YTpi"), "the scheme of the Authorization field is not accepted"},
		{"GET", "/api/profile", "", header("Authorization", "Bearer "+scopeless), `scope "profile" is required, granted is ""`},
		{"GET", "/nowhere", "", nil, "no such path"},
		{"PUT", "/api/profile", "", nil, "the path takes GET, PATCH, HEAD only"},
		{"POST", "/api/auth/login", `{}`, nil, "The member email is missing or empty"},
		{"POST", "/api/auth/login", `{"emial":"x"}`, nil, "The body has an unknown member: emial"},
		{"POST", "/api/auth/login", `{"email":1}`, nil, "The member email has the wrong type"},
		{"POST", "/api/auth/login", `{"email":"a","email":"b"}`, nil, "The body has the member email twice"},
		{"POST", "/api/auth/login", `[]`, nil, "The body is not a JSON object"},
		{"POST", "/api/auth/login", `{}`, func(r *http.Request) { r.Header.Del("Content-Type") }, "0 Content-Type fields"},
		{"POST", "/api/auth/register", `{}`, nil, "registration is off"},
		{"GET", "/api/notifications?limit=x", "", bearer, "The parameter limit must be an integer from 1 to 200"},
		{"DELETE", "/api/auth/sessions/none", "", bearer, "this user has no active session with this id"},
		{"DELETE", "/api/keys/none", "", bearer, "this user has no active key with this id"},
	} {
		t.Run(c.method+" "+c.target+" "+c.cause, func(t *testing.T) {
			w := w.in(t)
			w.clock.Advance(time.Second) // recorded causes are limited for each network and second
			r, err := http.NewRequest(c.method, w.url+c.target, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			if c.body != "" {
				r.Header.Set("Content-Type", "application/json")
			}
			if c.change != nil {
				c.change(r)
			}
			id := w.send(r).Header.Get("Durward-Denial")
			var d store.Denial
			w.eventually("the cause of "+id+" is written down", func() bool {
				d, err = w.db.DenialByID(context.Background(), id)
				return err == nil
			})
			if d.Cause != c.cause {
				t.Errorf("cause %q, want %q", d.Cause, c.cause)
			}
		})
	}
}

// A body with too large a Content-Length is refused before the client sends it: no 100 (Continue)
// (RFC 9110 s10.1.1).
func TestTooLargeUnsent(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	conn, err := net.Dial("tcp", w.address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST %s/api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", testPrefix, maxBody+1)
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "HTTP/1.1 413 ") {
		t.Errorf("got %q (%v), want 413 before the body", line, err)
	}
}

// If-None-Match in every form of RFC 9110 s13.1.2.
func TestIfNoneMatch(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	for _, path := range []string{"/.well-known/jwks.json", "/openapi.json", "/durward.js"} {
		etag := w.do("GET", path, "", nil).Header.Get("ETag")
		for value, want := range map[string]int{
			etag: 304, "W/" + etag: 304, `"a", ` + etag: 304, "*": 304, `"a" , W/` + etag + `,"b"`: 304,
			`"a"`: 200, "": 200, strings.Trim(etag, `"`): 200,
		} {
			r, err := http.NewRequest("GET", w.url+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("If-None-Match", value)
			if got := w.send(r); got.StatusCode != want || got.Header.Get("ETag") != etag || want == 304 && len(got.body) > 0 {
				t.Errorf("%s, If-None-Match %s: %s, want %d", path, value, got.Status, want)
			}
		}
	}
}

// A time is the same in every response.
func TestSameTime(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{registration: true})
	w.clock.Advance(123456789 * time.Nanosecond)
	created := w.do("POST", "/api/auth/register", "", object{"email": "bob@example.com", "password": adaPassword})
	signed := w.tokens(w.do("POST", "/api/auth/login", "", object{"email": "bob@example.com", "password": adaPassword}))
	if again := w.do("GET", "/api/profile", signed.AccessToken, nil); string(created.body) != string(again.body) {
		t.Errorf("registered as %s\nread as %s", created.body, again.body)
	}
}
