package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward"
)

// guarded starts a guarded server on loopback.
func guarded(t testing.TB, c durward.Config, p durward.Policy) *httptest.Server {
	t.Helper()
	if c.Realm == "" {
		c.Realm = "test"
	}
	g, err := durward.New(c)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(g.Require(p, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s", durward.From(r.Context()).Scheme, durward.From(r.Context()).Subject, body)
	})))
	t.Cleanup(s.Close)
	return s
}

func adaOnly(_ context.Context, user, password string) (*durward.Principal, error) {
	if user != "ada" || password != "secret" {
		return nil, fmt.Errorf("test: %w", durward.InvalidCredentials)
	}
	return &durward.Principal{Subject: "ada"}, nil
}

func adaHA1(_ context.Context, c durward.DigestClaim) ([]byte, *durward.Principal, error) {
	if c.User != "ada" {
		return nil, nil, durward.InvalidCredentials
	}
	ha1, err := durward.HA1(c.Algorithm, "ada", c.Realm, "secret")
	return ha1, &durward.Principal{Subject: "ada"}, err
}

func TestTransportPasswords(t *testing.T) {
	t.Parallel()
	for name, scheme := range map[string]durward.Scheme{
		"basic":       durward.Basic(adaOnly),
		"digest":      durward.Digest(durward.DigestConfig{HA1: adaHA1}),
		"digest sess": durward.Digest(durward.DigestConfig{HA1: adaHA1, Sess: true}),
		"digest 512":  durward.Digest(durward.DigestConfig{HA1: adaHA1, SHA512256: true}),
		"digest int":  durward.Digest(durward.DigestConfig{HA1: adaHA1, QOP: []string{"auth-int"}}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := guarded(t, durward.Config{Schemes: []durward.Scheme{scheme}}, durward.Policy{})
			c := New(Password(PasswordConfig{Origin: s.URL, User: "ada", Password: "secret"}))
			for range 3 {
				resp, err := c.Post(s.URL+"/a/b", "text/plain", strings.NewReader("hello"))
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if resp.StatusCode != 200 || !strings.HasSuffix(string(body), "ada hello") {
					t.Errorf("%d %s %v", resp.StatusCode, body, resp.Header)
				}
			}
			c = New(Password(PasswordConfig{Origin: s.URL, User: "ada", Password: "wrong"}))
			resp, err := c.Get(s.URL)
			if err != nil || resp.StatusCode != 401 {
				t.Errorf("wrong password: %v %v", resp, err)
			}
		})
	}
}

// A user name beyond ASCII is sent as username* (RFC 8187) if the server declares UTF-8, else
// unchanged: servers older than RFC 7616 do not support username*.
func TestTransportUserBeyondASCII(t *testing.T) {
	t.Parallel()
	for charset, want := range map[string]durward.Param{
		`, charset="UTF-8"`: {Name: "username*", Value: "UTF-8''J%C3%BCrgen"},
		`, charset=utf-8`:   {Name: "username*", Value: "UTF-8''J%C3%BCrgen"},
		``:                  {Name: "username", Value: "Jürgen"},
	} {
		offered, err := durward.ParseChallenges([]string{`Digest realm="notes", nonce="n", qop="auth", algorithm=SHA-256` + charset})
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("GET", "https://files.example.com/x", nil)
		p := Password(PasswordConfig{Origin: "https://files.example.com", User: "Jürgen", Password: "secret"})
		if err := p.Authorize(r, offered); err != nil {
			t.Fatal(err)
		}
		c, err := durward.ParseCredentials(r.Header.Get("Authorization"))
		if err != nil || c.Params[0] != want {
			t.Errorf("charset %q: %v %v, want %v", charset, c, err, want)
		}
	}
}

// scoped is a source that has a token for any scope.
type scoped struct {
	origin origin
	asked  []string
}

func (s *scoped) Authorize(r *http.Request, offered []durward.Challenge) error {
	if originOf(r.URL) != s.origin {
		return ErrNoAnswer
	}
	scope := "none"
	if offered != nil {
		scope, _ = offered[0].Param("scope")
		s.asked = append(s.asked, scope)
	}
	r.Header.Set("Authorization", "Bearer for-"+scope)
	return nil
}

// A 401 with insufficient_scope is answered by the sources, once: image registries do not send the
// 403 of RFC 6750 s3.1.
func TestTransportScopeBy401(t *testing.T) {
	t.Parallel()
	for _, wanted := range []string{"push", "never", "same"} {
		sends := 0
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			sends++
			if r.Header.Get("Authorization") != "Bearer for-push" || wanted != "push" {
				scope := wanted
				if wanted == "never" {
					scope += fmt.Sprint(sends) // another each time
				}
				challenge := `Bearer realm="x", scope="` + scope + `"`
				if wanted != "same" || sends > 1 {
					challenge += `, error="insufficient_scope"`
				}
				w.Header().Set("WWW-Authenticate", challenge)
				w.WriteHeader(http.StatusUnauthorized)
			}
		}))
		defer s.Close()
		u, err := url.Parse(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		source := &scoped{origin: originOf(u)}
		resp, err := New(source).Get(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if want := map[string]int{"push": 200, "never": 401, "same": 401}[wanted]; resp.StatusCode != want || sends != 2 || len(source.asked) != 1 {
			t.Errorf("%s: %d after %d sendings, asked for %q", wanted, resp.StatusCode, sends, source.asked)
		}
	}
}

// A source may use the connection of the refusal, and the caller can read the whole refusal.
func TestTransportOneConnection(t *testing.T) {
	t.Parallel()
	refusal := strings.Repeat("no. ", 1<<18)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/token" || r.Header.Get("Authorization") == "Bearer second":
		default:
			w.Header().Set("WWW-Authenticate", `Bearer realm="x", error="invalid_token"`)
			w.WriteHeader(http.StatusUnauthorized)
			text := refusal
			if r.URL.Path == "/x" {
				text = text[:100<<10]
			}
			_, _ = io.WriteString(w, text)
		}
	}))
	t.Cleanup(s.Close)
	base := &http.Transport{MaxConnsPerHost: 1}
	t.Cleanup(base.CloseIdleConnections)
	names := []string{"first", "second", "third"}
	transport := &Transport{Base: base, Sources: []Source{Tokens(TokensConfig{
		Origins: []string{s.URL},
		Next: func(ctx context.Context, old Token) (Token, error) {
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+"/token", nil)
			if err != nil {
				return Token{}, err
			}
			if old.Access == "first" {
				resp, err := base.RoundTrip(r)
				if err != nil {
					return Token{}, err
				}
				resp.Body.Close()
			}
			next := Token{Access: names[0], Type: "Bearer"}
			names = names[1:]
			return next, nil
		},
	})}}
	c := &http.Client{Transport: transport, Timeout: time.Minute}
	resp, err := c.Get(s.URL + "/x")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("got %s", resp.Status)
	}
	plain := &http.Client{Transport: &Transport{Sources: []Source{Key(KeyConfig{Origin: s.URL, Key: "k", AsBearer: true})}}}
	resp, err = plain.Get(s.URL + "/stands")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != refusal {
		t.Errorf("read %d octets of the refusal, want %d: %v", len(body), len(refusal), err)
	}
}
