package e2e

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/api"
	durwardclient "github.com/durward-auth/durward/client"
	"github.com/durward-auth/durward/jwt"
	"github.com/durward-auth/durward/server/servertest"
)

// TestTransportTokens signs in at the real server, calls, refreshes, steps up and signs out, with
// Bearer tokens and with tokens bound to a key.
func TestTransportTokens(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{"", "ES256", "EdDSA"} {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			s := servertest.New(t)
			s.AddUser("ada@example.com", "correct horse battery staple", false)
			var clock struct {
				sync.Mutex
				ahead time.Duration
			}
			c := api.ClientConfig{
				URL:   s.URL,
				Store: durwardclient.FileStore{Path: filepath.Join(t.TempDir(), "session", "token.json")},
				Now:   func() time.Time { clock.Lock(); defer clock.Unlock(); return time.Now().Add(clock.ahead) },
			}
			if alg != "" {
				key, err := jwt.GenerateKey(alg)
				if err != nil {
					t.Fatal(err)
				}
				c.Prove = key.Prove
			}
			auth, err := api.NewClient(c)
			if err != nil {
				t.Fatal(err)
			}
			client := durwardclient.New(auth.Source(durwardclient.TokensConfig{}))
			if _, err := client.Get(s.URL + "/api/profile"); err == nil {
				t.Error("before the sign-in: no error")
			}
			first, err := auth.SignIn(t.Context(), "ada@example.com", "correct horse battery staple")
			if err != nil {
				t.Fatal(err)
			}
			if bound := first.Type == "DPoP"; bound != (alg != "") {
				t.Errorf("a token of type %s", first.Type)
			}
			client = durwardclient.New(auth.Source(durwardclient.TokensConfig{}))
			get := func(want int) {
				t.Helper()
				resp, err := client.Get(s.URL + "/api/profile")
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if body, _ := io.ReadAll(resp.Body); resp.StatusCode != want {
					t.Errorf("%d %s", resp.StatusCode, body)
				}
			}
			get(200)
			clock.Lock()
			clock.ahead = 16 * time.Minute // by the client's clock the access token has expired
			clock.Unlock()
			get(200)
			second, err := c.Store.Load(context.Background())
			if err != nil || second.Access == first.Access || second.Refresh == first.Refresh {
				t.Errorf("not refreshed: %v", err)
			}
			if _, err := auth.StepUp(t.Context(), "correct horse battery staple"); err != nil {
				t.Errorf("step-up: %v", err)
			}
			get(200)
			if err := auth.SignOut(t.Context()); err != nil {
				t.Errorf("sign-out: %v", err)
			}
			if left, err := c.Store.Load(context.Background()); err != nil || left != (durwardclient.Token{}) {
				t.Errorf("left after the sign-out: %v", err)
			}
			resp, err := client.Do(&http.Request{Method: "GET", URL: mustURL(t, s.URL+"/api/profile")})
			if err == nil {
				t.Errorf("after the sign-out: %d", resp.StatusCode)
			}
		})
	}
}

func mustURL(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// wrongClock simulates a client with a slow clock: it sees dates in the future, and its proofs are old
// when they are made.
type wrongClock struct {
	behind time.Duration
	key    *jwt.PrivateKey
	sent   int
	base   http.Transport
}

func (c *wrongClock) RoundTrip(r *http.Request) (*http.Response, error) {
	c.sent++
	resp, err := c.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	at, err := http.ParseTime(resp.Header.Get("Date"))
	resp.Header.Set("Date", at.Add(c.behind).UTC().Format(http.TimeFormat))
	return resp, err
}

func (c *wrongClock) prove(r durward.ProofRequest) (string, error) {
	if r.Issued.IsZero() {
		r.Issued = time.Now()
	}
	r.Issued = r.Issued.Add(-c.behind)
	return c.key.Prove(r)
}

// TestTransportWrongClock uses a client with a wrong clock. It must sign in, call and refresh with
// proofs dated by the server's clock, and continue after its own clock was corrected.
func TestTransportWrongClock(t *testing.T) {
	t.Parallel()
	s := servertest.New(t)
	s.AddUser("ada@example.com", "correct horse battery staple", false)
	for _, behind := range []time.Duration{time.Hour, -time.Hour, 30 * 365 * 24 * time.Hour} {
		key, err := jwt.GenerateKey("ES256")
		if err != nil {
			t.Fatal(err)
		}
		clock := &wrongClock{behind: behind, key: key}
		auth, err := api.NewClient(api.ClientConfig{URL: s.URL, Prove: clock.prove,
			HTTP: &http.Client{Transport: clock}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := auth.SignIn(t.Context(), "ada@example.com", "correct horse battery staple"); err != nil {
			t.Fatalf("%s: %v", behind, err)
		}
		client := &http.Client{Transport: &durwardclient.Transport{Base: clock,
			Sources: []durwardclient.Source{auth.Source(durwardclient.TokensConfig{})}}}
		get := func(what string, most int) {
			t.Helper()
			clock.sent = 0
			resp, err := client.Get(s.URL + "/api/profile")
			if err != nil {
				t.Fatalf("%s, %s: %v", behind, what, err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK || clock.sent > most {
				t.Errorf("%s, %s: %s after %d requests, want 200 after %d", behind, what, resp.Status, clock.sent, most)
			}
		}
		get("the first", 3) // the server requires a nonce and a current date
		get("the next", 1)
		if _, err := auth.StepUp(t.Context(), "correct horse battery staple"); err != nil {
			t.Errorf("%s: step-up: %v", behind, err)
		}
		clock.behind = 0
		get("set right", 2)
		get("the next after that", 1)
	}
}
