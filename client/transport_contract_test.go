package client

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-auth/durward"
)

// answers holds the wanted reaction to each code, if the next credentials are accepted: the number
// of requests, refreshes and step-ups.
var answers = map[durward.Code]struct {
	sends, renewals, stepUps int
}{
	durward.InvalidToken: {2, 1, 0}, durward.TokenExpired: {2, 1, 0}, durward.TokenRevoked: {2, 1, 0},
	durward.InvalidAPIKey:  {2, 1, 0}, // as Bearer it is invalid_token
	durward.StepUpRequired: {2, 0, 1}, durward.InsufficientScope: {2, 0, 1},

	// A 401 that names no error refuses the token.
	durward.AuthenticationRequired: {2, 1, 0}, durward.UnsupportedScheme: {2, 1, 0}, durward.MalformedCredentials: {2, 1, 0}, durward.InvalidCredentials: {2, 1, 0},
	durward.SessionExpired: {2, 1, 0}, durward.RefreshInvalid: {2, 1, 0}, durward.RefreshExpired: {2, 1, 0}, durward.SessionRevoked: {2, 1, 0}, durward.MFARequired: {2, 1, 0},
	durward.StaleNonce: {2, 1, 0}, // of another scheme

	// Other credentials do not help: the caller gets the response.
	durward.InvalidProof: {1, 0, 0}, durward.NonceRequired: {1, 0, 0}, // of another scheme
	durward.AmbiguousCredentials: {1, 0, 0}, durward.InvalidRequest: {1, 0, 0}, durward.MisdirectedRequest: {1, 0, 0},
	durward.Forbidden: {1, 0, 0}, durward.CrossSite: {1, 0, 0}, durward.EnrolmentRequired: {1, 0, 0}, durward.AccountDisabled: {1, 0, 0}, durward.EmailUnverified: {1, 0, 0},
	durward.PasswordChangeRequired: {1, 0, 0}, durward.ClientCertificateRequired: {1, 0, 0}, durward.InsecureTransport: {1, 0, 0},
	durward.NotFound: {1, 0, 0}, durward.MethodNotAllowed: {1, 0, 0}, durward.EmailTaken: {1, 0, 0}, durward.BodyTooLarge: {1, 0, 0}, durward.UnsupportedMediaType: {1, 0, 0}, durward.Internal: {1, 0, 0},

	// Outage or limit: the credentials are kept.
	durward.TooManyAttempts: {1, 0, 0}, durward.AuthUnavailable: {1, 0, 0},
}

// counting returns a source of tokens "token-0", "token-1" and so on.
func counting(t *testing.T, origin string, renewals *atomic.Int64) (Source, *MemoryStore) {
	t.Helper()
	store := &MemoryStore{token: Token{Access: "token-0", Type: "Bearer", Refresh: "r"}}
	return Tokens(TokensConfig{Origins: []string{origin}, Store: store, Next: func(context.Context, Token) (Token, error) {
		return Token{Access: fmt.Sprintf("token-%d", renewals.Add(1)), Type: "Bearer", Refresh: "r"}, nil
	}}), store
}

// Transport reacts to every code of a real Guard.
func TestTransportContract(t *testing.T) {
	t.Parallel()
	for _, code := range durward.Codes() {
		if code == durward.ProxyAuthenticationRequired {
			continue // by TestTransportProxy
		}
		want, ok := answers[code]
		if !ok {
			t.Errorf("what does a client do with %s?", code)
			continue
		}
		for _, always := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s always %t", code, always), func(t *testing.T) {
				t.Parallel()
				var seen atomic.Int64
				var p durward.Policy
				more := false // the route requires more than valid credentials
				switch code {
				case durward.InsufficientScope:
					p.Scopes, more = []string{"write"}, true
				case durward.StepUpRequired:
					p.ACR, more = []string{"aal2"}, true
				}
				verify := func(_ context.Context, token string) (*durward.Principal, error) {
					n := seen.Add(1)
					switch {
					case more && token == "stronger" && !always:
						return &durward.Principal{Subject: "ada", Scopes: []string{"write"}, ACR: "aal2"}, nil
					case !more && (always || n == 1):
						return nil, fmt.Errorf("test: %w", code)
					}
					return &durward.Principal{Subject: "ada", ACR: "aal1"}, nil
				}
				s := guarded(t, durward.Config{Schemes: []durward.Scheme{durward.Bearer(verify)}}, p)
				var renewals, stepUps atomic.Int64
				source, store := counting(t, s.URL, &renewals)
				tr := &Transport{Sources: []Source{source}, OnStepUp: func(ctx context.Context, u StepUp) error {
					stepUps.Add(1)
					if code == durward.InsufficientScope && !slices.Equal(u.Scopes, []string{"write"}) || code == durward.StepUpRequired && !slices.Equal(u.ACRValues, []string{"aal2"}) {
						t.Errorf("asked for %+v", u)
					}
					return store.Update(ctx, func(context.Context, Token) (Token, error) { return Token{Access: "stronger", Type: "Bearer"}, nil })
				}}
				resp, err := (&http.Client{Transport: tr}).Post(s.URL+"/x", "text/plain", strings.NewReader("body"))
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				body, _ := io.ReadAll(resp.Body)
				status := code.Status()
				if want.sends == 2 && !always {
					status = 200
				}
				if resp.StatusCode != status {
					t.Errorf("status %d, want %d: %s", resp.StatusCode, status, body)
				}
				if status == 200 && !strings.HasSuffix(string(body), "body") {
					t.Errorf("the body came as %q", body)
				}
				if int(seen.Load()) != want.sends || int(renewals.Load()) != want.renewals || int(stepUps.Load()) != want.stepUps {
					t.Errorf("%d sends, %d renewals, %d step-ups; want %+v", seen.Load(), renewals.Load(), stepUps.Load(), want)
				}
				if want.renewals == 0 && want.stepUps == 0 {
					if kept, err := store.Load(t.Context()); err != nil || kept.Access != "token-0" {
						t.Errorf("the token was thrown away: %v, %v", kept.Access, err)
					}
				}
				if status != 200 && resp.Header.Get("Durward-Denial") != "" {
					resp.Body = io.NopCloser(strings.NewReader(string(body)))
					if err := CheckResponse(resp); !errors.Is(err, code) {
						t.Errorf("Refused says %v, want %s", err, code)
					}
				}
			})
		}
	}
}

// renewing returns one refresh for each code that refuses a token, and none for the code other.
func renewing(other durward.Code) map[durward.Code]int {
	all := map[durward.Code]int{other: 0}
	for code, want := range answers {
		if want.renewals > 0 {
			all[code] = want.renewals
		}
	}
	return all
}

// The same for every other scheme: the first credentials, or all, get the code.
func TestTransportContractOfSchemes(t *testing.T) {
	t.Parallel()
	for name, kind := range map[string]struct {
		scheme func(judge func() (*durward.Principal, error)) durward.Scheme
		source func(t *testing.T, origin string, renewals *atomic.Int64) Source
		again  map[durward.Code]int // refreshes for the codes that are answered; other codes end the request
	}{
		"Basic": {
			func(judge func() (*durward.Principal, error)) durward.Scheme {
				return durward.Basic(func(context.Context, string, string) (*durward.Principal, error) { return judge() })
			},
			func(_ *testing.T, origin string, _ *atomic.Int64) Source {
				return Password(PasswordConfig{Origin: origin, User: "ada", Password: "secret"})
			}, nil,
		},
		"Digest": {
			func(judge func() (*durward.Principal, error)) durward.Scheme {
				return durward.Digest(durward.DigestConfig{HA1: func(ctx context.Context, c durward.DigestClaim) ([]byte, *durward.Principal, error) {
					if _, err := judge(); err != nil {
						return nil, nil, err
					}
					return adaHA1(ctx, c)
				}})
			},
			func(_ *testing.T, origin string, _ *atomic.Int64) Source {
				return Password(PasswordConfig{Origin: origin, User: "ada", Password: "secret"})
			}, map[durward.Code]int{durward.StaleNonce: 0},
		},
		"APIKey": {
			func(judge func() (*durward.Principal, error)) durward.Scheme {
				return durward.APIKey("dk_", func(context.Context, string) (*durward.Principal, error) { return judge() })
			},
			func(_ *testing.T, origin string, _ *atomic.Int64) Source {
				return Key(KeyConfig{Origin: origin, Key: "dk_key"})
			}, nil,
		},
		"DPoP": {
			func(judge func() (*durward.Principal, error)) durward.Scheme {
				return durward.DPoP(durward.DPoPConfig{Nonces: true, Check: func(context.Context, durward.DPoPProof) (*durward.Principal, error) { return judge() }})
			},
			func(t *testing.T, origin string, renewals *atomic.Int64) Source {
				proofs := 0
				return Tokens(TokensConfig{Origins: []string{origin}, Store: &MemoryStore{token: Token{Access: "token-0", Type: "DPoP", Refresh: "r"}},
					Prove: func(r durward.ProofRequest) (string, error) {
						if proofs++; proofs > 1 && r.Nonce == "" {
							t.Error("the nonce that was given is not in the next proof")
						}
						return fmt.Sprint("proof-", proofs), nil
					},
					Next: func(context.Context, Token) (Token, error) {
						return Token{Access: fmt.Sprintf("token-%d", renewals.Add(1)), Type: "DPoP", Refresh: "r"}, nil
					}})
			}, renewing(durward.NonceRequired),
		},
	} {
		for code := range answers {
			for _, always := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s %s always %t", name, code, always), func(t *testing.T) {
					t.Parallel()
					var judged, renewals atomic.Int64
					s := guarded(t, durward.Config{Schemes: []durward.Scheme{kind.scheme(func() (*durward.Principal, error) {
						if n := judged.Add(1); always || n == 1 {
							return nil, fmt.Errorf("test: %w", code)
						}
						return &durward.Principal{Subject: "ada"}, nil
					})}}, durward.Policy{})
					resp, err := New(kind.source(t, s.URL, &renewals)).Post(s.URL+"/x", "text/plain", strings.NewReader("body"))
					if err != nil {
						t.Fatal(err)
					}
					defer resp.Body.Close()
					renewed, again := kind.again[code]
					sends, status := int64(1), code.Status()
					if again {
						sends = 2
						if !always {
							status = 200
						}
					}
					if judged.Load() != sends || renewals.Load() != int64(renewed) || resp.StatusCode != status {
						t.Errorf("judged %d times, %d renewals, status %d; want %d, %d, %d", judged.Load(), renewals.Load(), resp.StatusCode, sends, renewed, status)
					}
				})
			}
		}
	}
}

// A refused password is not sent again, in this request or later ones.
func TestTransportRefusedPassword(t *testing.T) {
	t.Parallel()
	for name, scheme := range map[string]func(*atomic.Int64) durward.Scheme{
		"Basic": func(tries *atomic.Int64) durward.Scheme {
			return durward.Basic(func(ctx context.Context, user, password string) (*durward.Principal, error) {
				tries.Add(1)
				return adaOnly(ctx, user, password)
			})
		},
		"Digest": func(tries *atomic.Int64) durward.Scheme {
			return durward.Digest(durward.DigestConfig{HA1: adaHA1, Judged: func(context.Context, durward.DigestClaim, bool) { tries.Add(1) }})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var tries atomic.Int64
			s := guarded(t, durward.Config{Schemes: []durward.Scheme{scheme(&tries)}}, durward.Policy{})
			c := New(Password(PasswordConfig{Origin: s.URL, User: "ada", Password: "wrong"}))
			for range 3 {
				resp, err := c.Get(s.URL + "/a")
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if resp.StatusCode != 401 {
					t.Errorf("status %d", resp.StatusCode)
				}
			}
			if tries.Load() != 1 {
				t.Errorf("the wrong password was sent %d times", tries.Load())
			}
		})
	}
}

// After a stale nonce the client answers again with the new one.
func TestTransportStale(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	s := guarded(t, durward.Config{Schemes: []durward.Scheme{durward.Digest(durward.DigestConfig{HA1: adaHA1})}, Now: now}, durward.Policy{})
	c := New(Password(PasswordConfig{Origin: s.URL, User: "ada", Password: "secret"}))
	for range 3 {
		resp, err := c.Get(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("status %d", resp.StatusCode)
		}
		ahead.Add(int64(time.Hour))
	}
}

// askingWith returns a server that sends these challenges and records the credentials.
func askingWith(t *testing.T, challenges ...string) (s *httptest.Server, sent func() []string) {
	t.Helper()
	var mu sync.Mutex
	var all []string
	s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, r.Header.Get("Authorization"))
		w.Header()["Www-Authenticate"] = challenges
		w.WriteHeader(401)
	}))
	t.Cleanup(s.Close)
	return s, func() []string { mu.Lock(); defer mu.Unlock(); return slices.Clone(all) }
}

// The client answers the strongest challenge that it can, and no weaker one later.
func TestTransportStrength(t *testing.T) {
	t.Parallel()
	const basic, md5 = `Basic realm="r"`, `Digest realm="r", nonce="n", qop="auth", algorithm=MD5`
	const sha256, sha512 = `Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256`, `Digest realm="r", nonce="n", qop="auth", algorithm=SHA-512-256`
	for name, test := range map[string]struct {
		challenges []string
		change     func(*PasswordConfig)
		want       string // part of the first answer; empty for none
	}{
		"all":                       {[]string{basic, md5, sha256, sha512}, nil, "algorithm=SHA-512-256"},
		"in one line":               {[]string{basic + ", " + md5 + ", " + sha256}, nil, "algorithm=SHA-256"},
		"MD5 is not answered":       {[]string{md5}, nil, ""},
		"MD5 where it is asked for": {[]string{md5, basic}, func(c *PasswordConfig) { c.InsecureMD5 = true }, "algorithm=MD5"},
		"Basic instead of MD5":      {[]string{md5, basic}, nil, "Basic "},
		"no Basic":                  {[]string{basic}, func(c *PasswordConfig) { c.NoBasic = true }, ""},
		"another realm":             {[]string{basic}, func(c *PasswordConfig) { c.Realm = "s" }, ""},
		"no qop":                    {[]string{`Digest realm="r", nonce="n", algorithm=SHA-256`}, nil, ""},
		"no qop, if allowed":        {[]string{`Digest realm="r", nonce="n", algorithm=SHA-256`}, func(c *PasswordConfig) { c.InsecureNoQOP = true }, "algorithm=SHA-256"},
		"an unknown algorithm":      {[]string{`Digest realm="r", nonce="n", qop="auth", algorithm=SHA-999`}, nil, ""},
		"an unknown scheme":         {[]string{`Negotiate`, basic}, nil, "Basic "},
		"nonsense first":            {[]string{`"`, basic}, nil, "Basic "},
		"nonsense alone":            {[]string{`"`}, nil, ""},
		"nonsense last":             {[]string{basic, `"`}, nil, "Basic "},
		"a colon in the name":       {[]string{basic}, func(c *PasswordConfig) { c.User = "a:b" }, ""},
		"no challenge":              {nil, nil, ""},
		"Session alone":             {[]string{`Session realm="r", login="/login"`}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, sent := askingWith(t, test.challenges...)
			c := PasswordConfig{Origin: s.URL, User: "ada", Password: "secret"}
			if test.change != nil {
				test.change(&c)
			}
			resp, err := New(Password(c)).Get(s.URL)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			all := sent()
			switch {
			case test.want == "" && len(all) != 1:
				t.Errorf("sent %q", all)
			case test.want != "" && (len(all) < 2 || !strings.Contains(all[1], test.want)):
				t.Errorf("sent %q, want %q", all, test.want)
			}
		})
	}
	t.Run("weaker than last time", func(t *testing.T) {
		t.Parallel()
		var guards []*durward.Guard
		for _, scheme := range []durward.Scheme{durward.Digest(durward.DigestConfig{HA1: adaHA1}), durward.Basic(adaOnly)} {
			g, err := durward.New(durward.Config{Realm: "r", Schemes: []durward.Scheme{scheme}})
			if err != nil {
				t.Fatal(err)
			}
			guards = append(guards, g)
		}
		var asks atomic.Int64
		var leaked atomic.Bool
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			leaked.Store(leaked.Load() || strings.HasPrefix(r.Header.Get("Authorization"), "Basic"))
			guards[asks.Load()].Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, r)
		}))
		defer s.Close()
		c := New(Password(PasswordConfig{Origin: s.URL, User: "ada", Password: "secret"}))
		for i, want := range []int{200, 401} {
			resp, err := c.Get(s.URL)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("request %d: %d, want %d", i, resp.StatusCode, want)
			}
			asks.Store(1)
		}
		if leaked.Load() {
			t.Error("the password was sent in the clear after it had been hidden")
		}
	})
}

// Credentials go only to the origins of their source.
func TestTransportOrigins(t *testing.T) {
	t.Parallel()
	elsewhere, sentElsewhere := askingWith(t, `Basic realm="r"`, `Bearer realm="r", error="invalid_token"`)
	var home *httptest.Server
	home = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, elsewhere.URL+"/x", http.StatusTemporaryRedirect)
		case "/loop":
			http.Redirect(w, r, home.URL+"/loop", http.StatusFound)
		default:
			w.WriteHeader(204)
		}
	}))
	defer home.Close()
	var renewals atomic.Int64
	tokens, _ := counting(t, home.URL, &renewals)
	for name, source := range map[string]Source{
		"key": Key(KeyConfig{Origin: home.URL, Key: "dk_secret"}), "bearer key": Key(KeyConfig{Origin: home.URL, Key: "dk_secret", AsBearer: true}),
		"tokens": tokens, "password": Password(PasswordConfig{Origin: home.URL, User: "ada", Password: "secret"}),
	} {
		c := New(source)
		for _, u := range []string{home.URL + "/away", elsewhere.URL, strings.Replace(elsewhere.URL, "127.0.0.1", "localhost", 1)} {
			resp, err := c.Get(u)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != 401 {
				t.Errorf("%s: %s: %d", name, u, resp.StatusCode)
			}
		}
		if _, err := c.Get(home.URL + "/loop"); err == nil {
			t.Errorf("%s: a loop of redirects ends in no error", name)
		}
	}
	for _, sent := range sentElsewhere() {
		if sent != "" {
			t.Errorf("another origin got %q", sent)
		}
	}
	if renewals.Load() != 0 {
		t.Errorf("another origin's challenge caused %d renewals", renewals.Load())
	}
}

// A request with its own Authorization field is sent unchanged.
func TestTransportOwnCredentials(t *testing.T) {
	t.Parallel()
	s, sent := askingWith(t, `Basic realm="r"`)
	r, err := http.NewRequest("GET", s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer mine")
	resp, err := New(Password(PasswordConfig{Origin: s.URL, User: "ada", Password: "secret"})).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := sent(); !slices.Equal(got, []string{"Bearer mine"}) {
		t.Errorf("sent %q", got)
	}
}

// failingBody fails after its first part.
type failingBody struct{ read int }

func (f *failingBody) Read(p []byte) (int, error) {
	if f.read++; f.read > 3 {
		return 0, errors.New("the disk is gone")
	}
	return copy(p, "part"), nil
}

// A request is not repeated if its body fails or GetBody is nil.
func TestTransportBodies(t *testing.T) {
	t.Parallel()
	s := guarded(t, durward.Config{Schemes: []durward.Scheme{durward.Basic(adaOnly)}}, durward.Policy{})
	c := New(Password(PasswordConfig{Origin: s.URL, User: "ada", Password: "secret"}))
	resp, err := c.Post(s.URL, "text/plain", io.LimitReader(strings.NewReader("once"), 10))
	if err != nil || resp.StatusCode != 401 {
		t.Errorf("a body without GetBody: %v %v, want the 401", resp, err)
	}
	if _, err := c.Post(s.URL, "text/plain", new(failingBody)); err == nil || !strings.Contains(err.Error(), "the disk is gone") {
		t.Errorf("a body that fails: %v", err)
	}
	r, err := http.NewRequest("POST", s.URL, strings.NewReader("first"))
	if err != nil {
		t.Fatal(err)
	}
	r.GetBody = func() (io.ReadCloser, error) { return nil, errors.New("gone for good") }
	if _, err := c.Do(r); err == nil || !strings.Contains(err.Error(), "gone for good") {
		t.Errorf("a body that cannot be had again: %v", err)
	}
}

// Hostile challenges are read in bounded time.
func TestTransportHostileChallenges(t *testing.T) {
	t.Parallel()
	many := make([]string, 200)
	for i := range many {
		many[i] = fmt.Sprintf(`Digest realm="%d", nonce="n", qop="auth", algorithm=SHA-256`, i)
	}
	for name, challenges := range map[string][]string{
		"many":           many,
		"long":           {`Digest realm="` + strings.Repeat("a", 500<<10) + `", nonce="n", qop="auth", algorithm=SHA-256`},
		"commas":         {strings.Repeat(",", 500<<10)},
		"always stale":   {`Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256, stale=true`},
		"always a nonce": {`DPoP realm="r", error="use_dpop_nonce"`, `Bearer realm="r", error="invalid_token"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, sent := askingWith(t, challenges...)
			var renewals atomic.Int64
			tokens, _ := counting(t, s.URL, &renewals)
			for _, source := range []Source{tokens, Password(PasswordConfig{Origin: s.URL, User: "ada", Password: "secret"})} {
				before := len(sent())
				resp, err := (&http.Client{Transport: &Transport{
					Base: &http.Transport{MaxResponseHeaderBytes: 2 << 20, DisableKeepAlives: true}, Sources: []Source{source}},
				}).Get(s.URL)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if n := len(sent()) - before; resp.StatusCode != 401 || n > maxSends {
					t.Errorf("%d after %d sends", resp.StatusCode, n)
				}
			}
		})
	}
}

// forwardProxy starts a guarded proxy for plain requests and tunnels.
func forwardProxy(t *testing.T, scheme durward.Scheme) (address string, sent func() []string) {
	t.Helper()
	var mu sync.Mutex
	var fields []string
	g, err := durward.New(durward.Config{Realm: "proxy", Schemes: []durward.Scheme{scheme}})
	if err != nil {
		t.Fatal(err)
	}
	guarded := g.Proxy(durward.Policy{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			r.RequestURI = ""
			resp, err := new(http.Transport).RoundTrip(r)
			if err != nil {
				w.WriteHeader(502)
				return
			}
			defer resp.Body.Close()
			for name, values := range resp.Header {
				w.Header()[name] = values
			}
			w.WriteHeader(resp.StatusCode)
			_, _ = io.Copy(w, resp.Body)
			return
		}
		to, err := net.Dial("tcp", r.Host)
		if err != nil {
			w.WriteHeader(502)
			return
		}
		defer to.Close()
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(to, bufio.NewReader(buffered)) }()
		_, _ = io.Copy(conn, to)
	}))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if field := r.Header.Get("Proxy-Authorization"); field != "" {
			mu.Lock()
			fields = append(fields, field)
			mu.Unlock()
		}
		guarded.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL, func() []string {
		mu.Lock()
		defer mu.Unlock()
		defer func() { fields = nil }()
		return fields
	}
}

// The proxy and the server behind it both require credentials, for plain requests and tunnels.
func TestTransportProxy(t *testing.T) {
	t.Parallel()
	for name, scheme := range map[string]durward.Scheme{"Basic": durward.Basic(adaOnly), "Digest": durward.Digest(durward.DigestConfig{HA1: adaHA1})} {
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s tls %t", name, secure), func(t *testing.T) {
				t.Parallel()
				address, sent := forwardProxy(t, scheme)
				proxy, err := url.Parse(address)
				if err != nil {
					t.Fatal(err)
				}
				var leaked atomic.Bool
				g, err := durward.New(durward.Config{Realm: "origin", Schemes: []durward.Scheme{durward.Digest(durward.DigestConfig{HA1: adaHA1})}, InsecureAllowHTTP: true})
				if err != nil {
					t.Fatal(err)
				}
				origin := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					leaked.Store(leaked.Load() || r.Header["Proxy-Authorization"] != nil)
					g.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello") })).ServeHTTP(w, r)
				}))
				if secure {
					origin.StartTLS()
				} else {
					origin.Start()
				}
				defer origin.Close()
				base := &http.Transport{Proxy: http.ProxyURL(proxy)}
				if secure {
					base.TLSClientConfig = origin.Client().Transport.(*http.Transport).TLSClientConfig
				}
				client := func(password string) *http.Client {
					return &http.Client{Transport: &Transport{Base: base,
						Sources:      []Source{Password(PasswordConfig{Origin: origin.URL, User: "ada", Password: "secret"})},
						ProxySources: []Source{Password(PasswordConfig{Origin: proxy.String(), User: "ada", Password: password})}}}
				}
				c := client("secret")
				for range 3 {
					resp, err := c.Post(origin.URL+"/a?b", "text/plain", strings.NewReader("body"))
					if err != nil {
						t.Fatal(err)
					}
					resp.Body.Close()
					if resp.StatusCode != 200 {
						t.Fatalf("status %d %v", resp.StatusCode, resp.Header)
					}
					c.CloseIdleConnections() // each request needs a tunnel
				}
				if leaked.Load() {
					t.Error("the origin saw the proxy's credentials")
				}
				fields := sent()
				slices.Sort(fields)
				// The proxy accepted the request that the server refused: a nonce count must
				// not be sent to it twice.
				if different := len(slices.Compact(slices.Clone(fields))); name == "Digest" && different != len(fields) || len(fields) == 0 {
					t.Errorf("the proxy was sent %d answers, of which %d are different", len(fields), different)
				}
				c = client("wrong")
				for range 3 {
					resp, err := c.Get(origin.URL)
					switch {
					case secure && (err == nil || !strings.Contains(err.Error(), `(407): it wants `+name)):
						t.Errorf("a wrong password: %v", err)
					case !secure && (err != nil || resp.StatusCode != 407):
						t.Errorf("a wrong password: %v %v", resp, err)
					}
				}
				if fields := sent(); len(fields) != 1 {
					t.Errorf("a wrong password was sent %d times", len(fields))
				}
				c = client("wrong")
				for range 4 { // with bodies that cannot be sent again
					if resp, err := c.Post(origin.URL, "text/plain", io.MultiReader(strings.NewReader("once"))); err == nil {
						resp.Body.Close()
					}
				}
				if fields := sent(); len(fields) > 1 || secure && len(fields) == 0 {
					t.Errorf("a wrong password was sent %d times with bodies that cannot be sent again", len(fields))
				}
			})
		}
	}
}

// Credentials in the URL of a proxy are decoded and sent, in place of those of a source.
func TestTransportProxyURL(t *testing.T) {
	t.Parallel()
	address, sent := forwardProxy(t, durward.Basic(func(_ context.Context, user, password string) (*durward.Principal, error) {
		if user != "ada" || password != "p@ss:/%" {
			return nil, durward.InvalidCredentials
		}
		return &durward.Principal{Subject: user}, nil
	}))
	proxy, err := url.Parse(strings.Replace(address, "//", "//ada:p%40ss%3A%2F%25@", 1))
	if err != nil {
		t.Fatal(err)
	}
	for _, start := range []func(http.Handler) *httptest.Server{httptest.NewServer, httptest.NewTLSServer} {
		origin := start(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		defer origin.Close()
		base := origin.Client().Transport.(*http.Transport).Clone()
		base.Proxy = http.ProxyURL(proxy)
		resp, err := (&http.Client{Transport: &Transport{
			Base:         base,
			ProxySources: []Source{Password(PasswordConfig{Origin: address, User: "grace", Password: "other"})},
		}}).Get(origin.URL)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		want := []string{"Basic " + base64.StdEncoding.EncodeToString([]byte("ada:p@ss:/%"))}
		if got := sent(); resp.StatusCode != 200 || !slices.Equal(got, want) {
			t.Errorf("%s: got %d after %q, want 200 after %q", origin.URL, resp.StatusCode, got, want)
		}
	}
}

// through returns a client with the password of ada for the proxy at address.
func through(t *testing.T, address string) *http.Client {
	t.Helper()
	at, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Transport: &Transport{
		Base:         &http.Transport{Proxy: http.ProxyURL(at)},
		ProxySources: []Source{Password(PasswordConfig{Origin: address, User: "ada", Password: "secret"})},
	}}
}

// The error of a tunnel that a proxy refuses without a challenge says so.
func TestTransportProxyWithoutChallenge(t *testing.T) {
	t.Parallel()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusProxyAuthRequired)
	}))
	defer proxy.Close()
	_, err := through(t, proxy.URL).Get("https://example.com")
	const want = "(407): it wants no scheme (the response has no challenge)"
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}

// A proxy that required Digest and then Basic does not get the password, for tunnels too.
func TestTransportProxyWeaker(t *testing.T) {
	t.Parallel()
	var refusing, basic atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Header.Get("Proxy-Authorization"), "Basic") {
			basic.Add(1)
		}
		if refusing.Load() == 0 && r.Header.Get("Proxy-Authorization") != "" {
			w.WriteHeader(http.StatusBadGateway) // accepted, but no server is behind the proxy
			return
		}
		w.Header().Set("Proxy-Authenticate", []string{`Digest realm="p", nonce="n", qop="auth", algorithm=SHA-256`, `Basic realm="q"`}[refusing.Load()])
		w.WriteHeader(http.StatusProxyAuthRequired)
	}))
	defer proxy.Close()
	c := through(t, proxy.URL)
	for _, want := range []string{"Bad Gateway", `it wants Basic (realm "q")`} {
		if _, err := c.Get("https://far.example.com"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
		refusing.Store(1)
	}
	if basic.Load() > 0 {
		t.Error("the password went by Basic after Digest")
	}
}

// Each tunnel that a proxy refuses gets an answer of its own: this proxy accepts a nonce once.
func TestTransportProxyNonces(t *testing.T) {
	t.Parallel()
	const tunnels = 8
	var mu sync.Mutex
	var nonces, accepted int
	issued, together := make(map[string]bool), make(chan struct{})
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent, _ := durward.ParseCredentials(r.Header.Get("Proxy-Authorization"))
		nonce, _ := sent.Param("nonce")
		nc, _ := sent.Param("nc")
		mu.Lock()
		unused := issued[nonce] && nc == "00000001"
		issued[nonce] = false
		nonces++
		next := fmt.Sprint("nonce-", nonces)
		issued[next] = true
		if unused {
			accepted++
		}
		if nonces == tunnels {
			close(together)
		}
		mu.Unlock()
		<-together // the first refusals reach the client at once
		if unused {
			w.WriteHeader(http.StatusBadGateway) // no server is behind the proxy
			return
		}
		w.Header().Set("Proxy-Authenticate",
			fmt.Sprintf(`Digest realm="p", nonce=%q, qop="auth", algorithm=SHA-256, stale=%t`, next, nonce != ""))
		w.WriteHeader(http.StatusProxyAuthRequired)
	}))
	defer proxy.Close()
	c := through(t, proxy.URL)
	send := func(body io.Reader) error {
		_, err := c.Post("https://far.example.com", "text/plain", body)
		return err
	}
	failed := make(chan error)
	for range tunnels {
		go func() { failed <- send(nil) }()
	}
	for range tunnels {
		if err := <-failed; err == nil || !strings.Contains(err.Error(), "Bad Gateway") {
			t.Error(err)
		}
	}
	// A request whose body cannot be read again leaves its answer to the next one.
	for _, want := range []string{"(407)", "Bad Gateway", "(407)", "Bad Gateway"} {
		if err := send(io.MultiReader(strings.NewReader("once"))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if accepted != tunnels+2 {
		t.Errorf("%d of %d answers accepted", accepted, tunnels+2)
	}
}

// The answer to one proxy's refusal does not go to another.
func TestTransportProxyChanges(t *testing.T) {
	t.Parallel()
	var others atomic.Int64
	refuse := func(w http.ResponseWriter) {
		w.Header().Set("Proxy-Authenticate", `Basic realm="p"`)
		w.WriteHeader(http.StatusProxyAuthRequired)
	}
	first := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { refuse(w) }))
	defer first.Close()
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header["Proxy-Authorization"] != nil {
			t.Error("the other proxy got the password")
		}
		others.Add(1)
		refuse(w)
	}))
	defer other.Close()
	var calls atomic.Int64
	c := &http.Client{Transport: &Transport{
		Base: &http.Transport{Proxy: func(*http.Request) (*url.URL, error) {
			if calls.Add(1) == 1 {
				return url.Parse(first.URL)
			}
			return url.Parse(other.URL)
		}},
		ProxySources: []Source{Password(PasswordConfig{Origin: first.URL, User: "ada", Password: "secret"})},
	}}
	if _, err := c.Get("https://far.example.com"); err == nil || others.Load() == 0 {
		t.Errorf("%v after %d requests to the other proxy", err, others.Load())
	}
}

// A hundred waiting requests cause one call of a failing endpoint, and all get its error.
func TestTransportOneFailure(t *testing.T) {
	t.Parallel()
	s := guarded(t, durward.Config{Schemes: []durward.Scheme{durward.Bearer(func(context.Context, string) (*durward.Principal, error) {
		return &durward.Principal{Subject: "ada"}, nil
	})}}, durward.Policy{})
	var calls atomic.Int64
	release := make(chan struct{})
	c := New(Tokens(TokensConfig{Origins: []string{s.URL}, Next: func(ctx context.Context, _ Token) (Token, error) {
		calls.Add(1)
		<-release
		return Token{}, &RetryError{After: time.Hour, Err: errors.New("out of order")}
	}}))
	var all sync.WaitGroup
	var heard atomic.Int64
	for range 100 {
		all.Go(func() {
			_, err := c.Get(s.URL)
			if err != nil && strings.Contains(err.Error(), "out of order") {
				heard.Add(1)
			}
		})
	}
	for calls.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	close(release)
	all.Wait()
	if calls.Load() != 1 || heard.Load() != 100 {
		t.Errorf("%d calls, %d heard of the failure", calls.Load(), heard.Load())
	}
}
