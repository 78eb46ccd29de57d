package durward_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/jwt"
)

// An Authorization field of any size, sent to a real listener, is refused at once, and the guard
// allocates little beyond the listener itself.
func TestLargeAuthorization(t *testing.T) {
	var reached int
	g := newGuard(t, durward.Config{InsecureAllowHTTP: true})
	s := httptest.NewServer(g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached++ })))
	defer s.Close()
	bare := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	defer bare.Close()
	send := func(s *httptest.Server, field string) (*http.Response, []byte) {
		conn, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		// Sent beside the reading: a server that has seen enough answers and closes.
		go io.WriteString(conn, "GET /x HTTP/1.1\r\nHost: api\r\nConnection: close\r\nAuthorization: "+field+"\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%.40s and %d octets: %v", field, len(field), err)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res, body
	}
	for _, c := range []struct {
		name, field string
		status      int
	}{
		{"16 KiB", "Bearer " + strings.Repeat("a", 16<<10), 401},
		{"16 KiB and one", "Bearer " + strings.Repeat("a", 16<<10+1), 401},
		{"64 KiB", "Bearer " + strings.Repeat("a", 64<<10), 401},
		{"64 KiB of dots", "Bearer " + strings.Repeat(".", 64<<10), 401},
		{"512 KiB", "Bearer " + strings.Repeat("a", 512<<10), 401},
		{"512 KiB of parameters", "Bearer " + strings.Repeat("a=b,", 128<<10), 401},
		{"512 KiB of commas", "Bearer " + strings.Repeat(",", 512<<10), 401},
		{"512 KiB of schemes", strings.Repeat("a ,", 170<<10), 401},
		{"512 KiB in quotes", `Bearer a="` + strings.Repeat(`\"`, 256<<10) + `"`, 401},
		{"1 MiB", "Bearer " + strings.Repeat("a", 1<<20), 401},
		{"2 MiB", "Bearer " + strings.Repeat("a", 2<<20), 431},
		{"bad base64", "Basic %%%%====", 401},
		{"invalid UTF-8", "Bearer \xff\xfe\xc0\x80", 401},
	} {
		var res *http.Response
		var body []byte
		const rounds = 5
		measure := func(s *httptest.Server) (took time.Duration, allocated int) {
			var before, after runtime.MemStats
			send(s, c.field) // buffers are pooled
			runtime.ReadMemStats(&before)
			began := time.Now()
			for range rounds {
				res, body = send(s, c.field)
			}
			took = time.Since(began) / rounds
			runtime.ReadMemStats(&after)
			return took, int(after.TotalAlloc-before.TotalAlloc) / rounds
		}
		_, without := measure(bare)
		each, with := measure(s)
		if res.StatusCode != c.status || c.status == 401 && res.Header.Get("Www-Authenticate") != `Bearer realm="api"` && !strings.Contains(res.Header.Get("Www-Authenticate"), "invalid_token") {
			t.Errorf("%s: got %s %v, want %d", c.name, res.Status, res.Header, c.status)
		}
		if len(body) > 1024 || len(c.field) > 100 && bytes.Contains(body, []byte(c.field[len(c.field)-50:])) {
			t.Errorf("%s: an answer of %d octets: %.100s", c.name, len(body), body)
		}
		if added, most := with-without, 2*len(c.field)+64<<10; added > most {
			t.Errorf("%s: the guard allocates %d octets for %d, want at most %d", c.name, added, len(c.field), most)
		}
		if each > 20*time.Second { // quadratic work takes minutes
			t.Errorf("%s: answered after %s", c.name, each)
		}
		t.Logf("%s: %s, %d octets allocated beside the listener's own %d", c.name, each, with-without, without)
	}
	if reached > 0 {
		t.Errorf("%d requests reached the handler", reached)
	}
}

// A thousand people at once, each with a token of their own, through a real
// listener and the cache of verified tokens: none is ever taken for another.
func TestIdentitiesThroughTheCache(t *testing.T) {
	t.Parallel()
	const people, rounds, atOnce = 1000, 4, 64
	key, err := jwt.GenerateKey("EdDSA")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := jwt.NewKeys(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	const issuer, service = "https://auth.example.com", "https://api.example.com"
	now := time.Now()
	v, err := jwt.New(jwt.Config{Issuer: issuer, Audience: []string{service}, Keys: keys, Revoked: func(p *durward.Principal, _ string) error {
		if strings.HasSuffix(p.Subject, "7") {
			return fmt.Errorf("%s: %w", p.Subject, durward.TokenRevoked)
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	tokens := make([]string, people)
	for n := range tokens {
		tokens[n], err = key.Sign(jwt.Claims{Issuer: issuer, Audience: []string{service}, Subject: fmt.Sprint("person-", n), ClientID: "durward", ID: fmt.Sprint("token-", n),
			IssuedAt: now, Expires: now.Add(15 * time.Minute), Scopes: []string{fmt.Sprint("scope-", n)}})
		if err != nil {
			t.Fatal(err)
		}
	}
	g := newGuard(t, durward.Config{Schemes: []durward.Scheme{v.Scheme()}, Now: time.Now})
	s := httptest.NewServer(g.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := durward.From(r.Context())
		fmt.Fprint(w, p.Subject, " ", p.TokenID, " ", p.Scopes)
	})))
	defer s.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: atOnce}}
	defer client.CloseIdleConnections()
	places := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for round := range rounds {
		for n := range people {
			n := (n*(2*round+1) + round) % people // another order each time, so that neighbours change
			places <- struct{}{}
			all.Go(func() {
				defer func() { <-places }()
				r, err := http.NewRequest("GET", s.URL, nil)
				if err != nil {
					t.Error(err)
					return
				}
				r.Header.Set("Authorization", "Bearer "+tokens[n])
				res, err := client.Do(r)
				if err != nil {
					t.Error(err)
					return
				}
				defer res.Body.Close()
				body, err := io.ReadAll(res.Body)
				if n%10 == 7 {
					if err != nil || res.StatusCode != 401 || strings.Contains(string(body), "person") {
						t.Errorf("person %d, who is revoked: %s %s %v", n, res.Status, body, err)
					}
					return
				}
				if want := fmt.Sprintf("person-%d token-%d [scope-%d]", n, n, n); err != nil || string(body) != want {
					t.Errorf("got %s %s, want %s", res.Status, body, want)
				}
			})
		}
	}
	all.Wait()
}
