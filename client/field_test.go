package client

import (
	"cmp"
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/durward-auth/durward"
)

// A token that the client sent itself is renewed once for each request after a refusal that names
// no reason, as many APIs send it, or the reason invalid_token.
func TestTransportRefusedToken(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name       string
		status     int
		challenges []string
		renewed    bool
	}{
		{"401 without a challenge: renewed", 401, nil, true},
		{"401 with the scheme alone: renewed", 401, []string{`Bearer`}, true},
		{"401 with a realm alone: renewed", 401, []string{`Bearer realm="x"`}, true},
		{"401 with a scheme of the vendor: renewed", 401, []string{`Token`}, true},
		{"401 with a password dialog: renewed", 401, []string{`Basic realm="x"`}, true},
		{"401 for another kind of token beside: renewed", 401, []string{`DPoP algs="ES256"`, `Bearer`}, true},
		{"401 with a syntax error: renewed", 401, []string{`Bearer realm=sign in here`}, true},
		{"401 with invalid_token: renewed", 401, []string{`Bearer realm="x", error="invalid_token"`}, true},
		{"invalid_token without quotes: renewed", 401, []string{`Bearer error=invalid_token`}, true},
		{"invalid_token after Negotiate: renewed", 401, []string{`Negotiate, Bearer error="invalid_token"`}, true},
		{"invalid_token with the quotes of .NET: renewed", 401,
			[]string{`Bearer error="invalid_token", error_description="The audience 'empty' is invalid"`}, true},
		{"403 with invalid_token: renewed", 403, []string{`Bearer error="invalid_token"`}, true},
		{"400 with invalid_token: renewed", 400, []string{`Bearer error="invalid_token"`}, true},

		{"401 with another reason: returned", 401, []string{`Bearer error="invalid_request"`}, false},
		{"401 with an unknown reason beside a password dialog: returned", 401,
			[]string{`Bearer error="unavailable"`, `Basic realm="x"`}, false},
		{"403 without a reason: returned", 403, []string{`Bearer realm="x"`}, false},
		{"403 without a challenge: returned", 403, nil, false},
		{"400 without a reason: returned", 400, []string{`Bearer realm="x"`}, false},
		{"404 with invalid_token: returned", 404, []string{`Bearer error="invalid_token"`}, false},
		{"429: returned", 429, nil, false},
	} {
		url, sent := seen(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer token-1" {
				w.Header()["Www-Authenticate"] = test.challenges
				w.WriteHeader(test.status)
			}
		})
		var renewals atomic.Int64
		source, _ := counting(t, url, &renewals)
		resp, err := New(source).Post(url, "text/plain", strings.NewReader("body"))
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		resp.Body.Close()
		want, status := []string{"Authorization: Bearer token-0"}, test.status
		if test.renewed {
			want, status = append(want, "Authorization: Bearer token-1"), 200
		}
		if got := sent(); !slices.Equal(got, want) || resp.StatusCode != status {
			t.Errorf("%s: status %d, sent %q; want %d, %q", test.name, resp.StatusCode, got, status, want)
		}
	}
}

// A bound token is renewed in the same way, also by a server that requires nonces.
func TestTransportRefusedBoundToken(t *testing.T) {
	t.Parallel()
	for _, challenges := range [][]string{nil, {`DPoP algs="ES256"`}, {`Bearer`}} {
		url, sent := seen(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("DPoP-Nonce", "n")
			switch {
			case r.Header.Get("DPoP") != "proof n":
				refuse(`DPoP error="use_dpop_nonce"`)(0, w, r)
			case r.Header.Get("Authorization") != "DPoP new":
				refuse(challenges...)(0, w, r)
			}
		})
		source := Tokens(TokensConfig{
			Origins: []string{url},
			Store:   &MemoryStore{token: Token{Access: "old", Type: "DPoP"}},
			Prove:   func(p durward.ProofRequest) (string, error) { return "proof " + p.Nonce, nil },
			Next:    func(context.Context, Token) (Token, error) { return Token{Access: "new", Type: "DPoP"}, nil },
		})
		resp, err := New(source).Get(url)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 || len(sent()) != 3 {
			t.Errorf("%q: status %d, sent %q; want 200 after 3", challenges, resp.StatusCode, sent())
		}
	}
}

// anything is a source of an application that answers each refusal with another token.
type anything struct{ n *atomic.Int64 }

func (a anything) Authorize(r *http.Request, _ []durward.Challenge) error {
	r.Header.Set("Authorization", fmt.Sprint("Bearer any-", a.n.Add(1)))
	return nil
}

// Credentials that no token source put in are not renewed after a refusal without a reason.
func TestTransportBareRefusalOfOthers(t *testing.T) {
	t.Parallel()
	url, sent := seen(t, refuse())
	var renewals atomic.Int64
	source, _ := counting(t, url, &renewals)
	own := http.Header{"Authorization": {"Bearer mine"}}
	for name, test := range map[string]struct {
		source Source
		header http.Header
	}{
		"a token of the caller":       {source, own},
		"a key as Bearer":             {Key(KeyConfig{Origin: url, Key: "dk_a", AsBearer: true}), nil},
		"a password":                  {Password(PasswordConfig{Origin: url, User: "ada", Password: "secret"}), nil},
		"a source of the application": {anything{new(atomic.Int64)}, nil},
	} {
		before := len(sent())
		r, err := http.NewRequest("GET", url, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = test.header.Clone()
		if r.Header == nil {
			r.Header = make(http.Header)
		}
		resp, err := New(test.source).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if n := len(sent()) - before; resp.StatusCode != 401 || n != 1 || renewals.Load() != 0 {
			t.Errorf("%s: status %d after %d requests, %d renewals; want 401 after 1, 0", name, resp.StatusCode, n, renewals.Load())
		}
	}
}

// refusing is an API in virtual time that refuses tokens by a function, and their source.
type refusing struct {
	*Transport
	renewals []time.Duration // since the start
	tokens   *tokens
}

func newRefusing(accepts func(path, token string) bool, challenges ...string) *refusing {
	f := new(refusing)
	began := time.Now()
	source := Tokens(TokensConfig{
		Origins: []string{"https://h"},
		Store:   &MemoryStore{token: Token{Access: "token-0", Refresh: "r"}},
		Next: func(context.Context, Token) (Token, error) {
			f.renewals = append(f.renewals, time.Since(began))
			return Token{Access: fmt.Sprint("token-", len(f.renewals)), Refresh: "r"}, nil
		},
	})
	f.tokens = source.(own).source.(*tokens)
	f.Transport = &Transport{Sources: []Source{source}, Base: roundTripper(func(r *http.Request) (*http.Response, error) {
		resp := &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody, Request: r}
		if !accepts(r.URL.Path, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")) {
			resp.StatusCode, resp.Header["Www-Authenticate"] = 401, challenges
		}
		return resp, nil
	})}
	return f
}

func (f *refusing) get(t *testing.T, path string) int {
	t.Helper()
	r, err := http.NewRequest("GET", "https://h"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := f.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode
}

// An API that refuses each new token too causes few renewals: after a renewal in vain the client
// waits a second, then two, up to a minute.
func TestTransportRenewalsInVain(t *testing.T) {
	t.Parallel()
	claims := base64.StdEncoding.EncodeToString([]byte(`{"access_token":{}}`))
	for _, challenges := range [][]string{
		nil, {`Bearer error="invalid_token"`}, {`Bearer error="insufficient_claims", claims="` + claims + `"`},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newRefusing(func(string, string) bool { return false }, challenges...)
			for range 50 {
				if status := f.get(t, "/"); status != 401 {
					t.Errorf("%q: status %d", challenges, status)
				}
			}
			if len(f.renewals) != 1 {
				t.Errorf("%q: 50 requests at once: %d renewals, want 1", challenges, len(f.renewals))
			}
			for range 200 {
				time.Sleep(time.Second)
				f.get(t, "/")
			}
			want := []time.Duration{0, 1, 3, 7, 15, 31, 63, 123, 183}
			for i := range want {
				want[i] *= time.Second
			}
			if !slices.Equal(f.renewals, want) {
				t.Errorf("%q: renewals at %v, want %v", challenges, f.renewals, want)
			}
		})
	}
}

// A path that is always refused does not cost a renewal for each request, also if other paths
// accept each token; a token that is really revoked is renewed again at once after that.
func TestTransportRenewalsOfOnePath(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		revoked := ""
		f := newRefusing(func(path, token string) bool { return path == "/open" && token != revoked })
		for range 50 {
			if status := f.get(t, "/open"); status != 200 {
				t.Errorf("the open path: %d", status)
			}
			if status := f.get(t, "/closed"); status != 401 {
				t.Errorf("the closed path: %d", status)
			}
		}
		if len(f.renewals) != 1 {
			t.Errorf("100 requests to both paths: %d renewals, want 1", len(f.renewals))
		}
		for want := 2; want <= 4; want++ {
			if want == 2 {
				time.Sleep(minPause) // for the first one only
			}
			revoked = fmt.Sprint("token-", want-1)
			if status := f.get(t, "/open"); status != 200 || len(f.renewals) != want {
				t.Errorf("a revoked token: %d after %d renewals, want 200 after %d", status, len(f.renewals), want)
			}
		}
	})
}

// A server that returns the refused token again is not asked with each request.
func TestTransportSameTokenAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		tr := &Transport{Base: &recorder{}, Sources: []Source{Tokens(TokensConfig{Origins: []string{"https://h"},
			Next: func(context.Context, Token) (Token, error) { calls++; return Token{Access: "same"}, nil }})}}
		for range 20 {
			r, err := http.NewRequest("GET", "https://h", nil)
			if err != nil {
				t.Fatal(err)
			}
			if resp, err := tr.RoundTrip(r); err != nil || resp.StatusCode != 401 {
				t.Errorf("%v, %v", resp, err)
			}
		}
		if calls != 2 { // for the first token, and for its renewal
			t.Errorf("Next was called %d times for 20 requests, want 2", calls)
		}
	})
}

// A token without a refresh token stays in use until it expires or is called invalid.
func TestTransportNoRefreshToken(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name      string
		status    int
		challenge []string
		after     time.Duration // of the first request
		between   time.Duration // the two requests
		sends     int
		signedOut bool
	}{
		{"a refusal without a reason: kept", 401, nil, 0, 0, 2, false},
		{"an early refresh: kept", 204, nil, 55 * time.Minute, 0, 2, false},
		{"invalid_token: signed out", 401, []string{`Bearer error="invalid_token"`}, 0, 0, 1, true},
		{"expired: signed out", 204, nil, time.Hour, 0, 0, true},
		{"expired soon after a refusal without a reason: signed out", 401, nil, time.Hour - minPause/2, minPause / 2, 1, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			sends, ended := 0, false
			store := &MemoryStore{token: Token{Access: "a", Received: time.Now(), Expires: time.Now().Add(time.Hour)}}
			tr := &Transport{
				Sources: []Source{Tokens(TokensConfig{
					Origins:     []string{"https://h"},
					Store:       store,
					Next:        (&OAuth{TokenURL: "https://auth", ClientID: "c"}).Refresh,
					OnSignedOut: func(error) { ended = true },
				})},
				Base: roundTripper(func(r *http.Request) (*http.Response, error) {
					sends++
					return &http.Response{StatusCode: test.status, Header: http.Header{"Www-Authenticate": test.challenge}, Request: r}, nil
				}),
			}
			get := func() error {
				r, err := http.NewRequest("GET", "https://h", nil)
				if err != nil {
					t.Fatal(err)
				}
				_, err = tr.RoundTrip(r)
				synctest.Wait()
				return err
			}
			time.Sleep(test.after)
			_ = get()
			time.Sleep(test.between)
			err := get()
			kept, _ := store.Load(t.Context())
			if errors.Is(err, ErrSignedOut) != test.signedOut || ended != test.signedOut || (kept.Access == "") != test.signedOut || sends != test.sends {
				t.Errorf("%s: %v, OnSignedOut called %t, token %q in the store, %d requests; want %d", test.name, err, ended, kept.Access, sends, test.sends)
			}
		})
	}
}

// An origin that has accepted a token or key gets no password because of another challenge. Before
// that it gets one, after the token was refused.
func TestTransportTokenThenPassword(t *testing.T) {
	t.Parallel()
	for _, challenge := range []string{`Basic realm="r"`, `Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256`} {
		for name, token := range map[string]func(url string) Source{
			"a token": func(url string) Source {
				var renewals atomic.Int64
				source, _ := counting(t, url, &renewals)
				return source
			},
			"a key": func(url string) Source { return Key(KeyConfig{Origin: url, Key: "dk_a"}) },
		} {
			for _, took := range []bool{false, true} {
				url, sent := seen(t, func(_ int, w http.ResponseWriter, r *http.Request) {
					switch {
					case r.URL.Path == "/open", r.URL.Path == "/down":
						w.WriteHeader(map[string]int{"/open": 204, "/down": 503}[r.URL.Path])
					default:
						refuse(challenge)(0, w, r)
					}
				})
				c := New(token(url), Password(PasswordConfig{Origin: url, User: "ada", Password: "secret"}))
				first := "/down" // an outage accepts nothing
				if took {
					first = "/open"
				}
				for _, path := range []string{first, "/x"} {
					resp, err := c.Get(url + path)
					if err != nil {
						t.Fatal(err)
					}
					resp.Body.Close()
				}
				scheme, _, _ := strings.Cut(challenge, " ")
				password := slices.ContainsFunc(sent(), func(s string) bool { return strings.HasPrefix(s, "Authorization: "+scheme) })
				if password == took {
					t.Errorf("%s, then %s: accepted before %t, password sent %t", name, scheme, took, password)
				}
			}
		}
	}
}

// After an answer by Digest the password is never sent by Basic: not in the same exchange, not in a
// later one, for no realm, and also if the answer was refused.
func TestTransportDigestThenBasic(t *testing.T) {
	t.Parallel()
	const digest = `Digest realm="a", nonce="n", qop="auth", algorithm=SHA-256`
	for _, realm := range []string{"a", "b"} {
		for _, accepted := range []bool{false, true} {
			url, sent := seen(t, func(n int, w http.ResponseWriter, r *http.Request) {
				switch {
				case n == 1:
					refuse(digest)(n, w, r)
				case n > 2 || !accepted:
					refuse(`Basic realm="`+realm+`"`)(n, w, r)
				}
			})
			c := New(Password(PasswordConfig{Origin: url, User: "ada", Password: "secret"}))
			for range 3 {
				resp, err := c.Get(url)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
			}
			for i, one := range sent() {
				if strings.Contains(one, "Basic") {
					t.Errorf("realm %q after a Digest answer, accepted %t: request %d sent %q", realm, accepted, i, one)
				}
			}
		}
	}
}

// A server that changes the realm and the nonce with each refusal gets one answer for each request;
// with stale=true it gets two.
func TestTransportChangingRealm(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, challenge string
		sources, want   int // requests that are sent for the first request of the caller
	}{
		{"Digest: one answer", `Digest realm="%d", nonce="%d", qop="auth", algorithm=SHA-256`, 1, 2},
		{"Digest with stale=true: one answer", `Digest realm="%d", nonce="%d", qop="auth", algorithm=SHA-256, stale=true`, 1, 2},
		{"Basic: one answer", `Basic realm="%d", x="%d"`, 1, 2},
		{"two passwords: one answer each", `Digest realm="%d", nonce="%d", qop="auth", algorithm=SHA-256`, 2, 3},
	} {
		url, sent := seen(t, func(n int, w http.ResponseWriter, r *http.Request) {
			refuse(fmt.Sprintf(test.challenge, n, n))(n, w, r)
		})
		var all []Source
		for i := range test.sources {
			all = append(all, Password(PasswordConfig{Origin: url, User: fmt.Sprint("user", i), Password: "secret"}))
		}
		resp, err := New(all...).Get(url)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if len(sent()) != test.want {
			t.Errorf("%s: %d requests, want %d: %q", test.name, len(sent()), test.want, sent())
		}
	}
}

// An answer to a challenge of this exchange that was refused blocks its realm, also if the refusal
// names another realm.
func TestTransportRefusedInAnotherRealm(t *testing.T) {
	t.Parallel()
	for _, challenge := range []string{`Basic realm="%s"`, `Digest realm="%s", nonce="n", qop="auth", algorithm=SHA-256`} {
		answers := 0
		url, _ := seen(t, func(n int, w http.ResponseWriter, r *http.Request) {
			realm := "a"
			if r.Header.Get("Authorization") != "" {
				realm = "b"
				answers++
			}
			refuse(fmt.Sprintf(challenge, realm))(n, w, r)
		})
		c := New(Password(PasswordConfig{Origin: url, User: "ada", Password: "secret"}))
		for range 3 {
			resp, err := c.Get(url)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
		}
		if answers != 1 {
			t.Errorf("%s: %d answers to three requests, want 1", challenge, answers)
		}
	}
}

// h5 returns an MD5 hash in hex.
func h5(parts ...string) string {
	sum := md5.Sum([]byte(strings.Join(parts, ":")))
	return hex.EncodeToString(sum[:])
}

// Cameras, phones and old servers send Digest and Basic challenges in many forms.
func TestTransportDevices(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name       string
		challenges []string
		change     func(*PasswordConfig)
		want       []string // parts of the answer; none if there is no answer
		without    string   // no part of the answer
	}{
		{"Hikvision, quoted stale: answered", []string{`Digest qop="auth", realm="IP Camera(1)", nonce="a:b==", stale="FALSE"`}, md5Only,
			[]string{`realm="IP Camera(1)"`, `nonce="a:b=="`, `qop=auth`, `nc=00000001`}, "algorithm"},
		{"Amcrest, no blanks: answered, qop and nc without quotes", []string{`Digest realm="Login to X",qop="auth",nonce="1",opaque="o"`}, md5Only,
			[]string{`opaque="o"`, `qop=auth,`, `nc=00000001,`}, `qop="`},
		{"a quoted algorithm: answered", []string{`Digest realm="r", nonce="n", qop="auth", algorithm="MD5"`}, md5Only, []string{`algorithm=MD5`}, ""},
		{"the newest Hikvision: the strongest, and an empty opaque", []string{
			`Digest realm="r", nonce="m", qop="auth", algorithm=MD5, opaque=""`,
			`Digest realm="r", nonce="s", qop="auth", algorithm=SHA-256, opaque=""`, `Basic realm="r"`}, md5Only,
			[]string{`algorithm=SHA-256`, `opaque=""`, `nonce="s"`}, ""},
		{"no qop: answered with the setting", []string{`Digest realm="r", nonce="n"`}, rfc2069,
			[]string{`response="` + h5(h5("ada", "r", "secret"), "n", h5("GET", "/x")) + `"`}, "qop"},
		{"an empty qop: answered with the setting", []string{`Digest realm="r", nonce="n", qop=""`}, rfc2069,
			[]string{`response="` + h5(h5("ada", "r", "secret"), "n", h5("GET", "/x")) + `"`}, "cnonce"},
		{"no qop, SHA-256: answered with its setting alone", []string{`Digest realm="r", nonce="n", algorithm=SHA-256`},
			func(c *PasswordConfig) { c.InsecureNoQOP = true }, []string{`algorithm=SHA-256`}, "nc="},
		{"no qop: not answered by default", []string{`Digest realm="r", nonce="n"`}, md5Only, nil, ""},
		{"no qop, MD5: not answered without InsecureMD5", []string{`Digest realm="r", nonce="n"`},
			func(c *PasswordConfig) { c.InsecureNoQOP = true }, nil, ""},
		{"no qop with a session key: not answered", []string{`Digest realm="r", nonce="n", algorithm=MD5-sess`}, rfc2069, nil, ""},
		{"an unknown qop: not answered", []string{`Digest realm="r", nonce="n", qop="auth-conf"`}, rfc2069, nil, ""},
		{"with and without qop: the one with it", []string{`Digest realm="r", nonce="n", algorithm=SHA-512-256`,
			`Digest realm="r", nonce="n", qop="auth"`}, rfc2069, []string{"qop=auth"}, "SHA"},
		{"auth and auth-int: auth", []string{`Digest realm="r", nonce="n", qop="auth,auth-int"`}, md5Only, []string{`qop=auth,`}, ""},
		{"no realm: answered", []string{`Digest nonce="n", qop="auth"`}, md5Only, []string{`realm=""`}, ""},
		{"an empty realm: answered", []string{`Digest realm="", nonce="n", qop="auth"`}, md5Only,
			[]string{`realm=""`, `uri="/x"`}, ""},
		{"a comma is missing: not answered", []string{`Digest realm="r" nonce="n", qop="auth"`}, rfc2069, nil, ""},
		{"a quoted pair in the realm: read as RFC 9110 says", []string{`Digest realm="CORP\cam", nonce="n", qop="auth"`}, md5Only,
			[]string{`realm="CORPcam"`}, ""},

		{"IIS: Basic beside what the client does not speak", []string{`Negotiate`, `NTLM`, `Basic realm="x"`}, nil, []string{"Basic "}, ""},
		{"NTLM alone: not answered", []string{`Negotiate`, `NTLM`}, nil, nil, ""},
		{"Basic without a realm: answered", []string{`Basic`}, nil, []string{"Basic "}, ""},
		{"an unquoted realm with blanks: answered", []string{`Basic realm=Please authenticate.`}, nil, []string{"Basic "}, ""},
		{"a realm in single quotes: answered", []string{`Basic realm='sign in'`}, nil, []string{"Basic "}, ""},
		{"the same, with the realm configured: not answered", []string{`Basic realm='sign in'`},
			func(c *PasswordConfig) { c.Realm = "sign in" }, nil, ""},
		{"a broken line before: the other line answered", []string{`Digest realm="r`, `Basic realm="r"`}, nil, []string{"Basic "}, ""},
		{"Stripe, no password: sent", []string{`Basic realm="r"`}, func(c *PasswordConfig) { c.Password = "" }, []string{"Basic YWRhOg=="}, ""},
		{"Azure DevOps, no user: sent", []string{`Basic realm="r"`}, func(c *PasswordConfig) { c.User = "" }, []string{"Basic OnNlY3JldA=="}, ""},
		{"a name beyond ASCII: sent in UTF-8", []string{`Basic realm="r"`}, func(c *PasswordConfig) { c.User = "ü" }, []string{"Basic w7w6c2VjcmV0"}, ""},
	} {
		url, sent := seen(t, refuse(test.challenges...))
		c := PasswordConfig{Origin: url, User: "ada", Password: "secret"}
		if test.change != nil {
			test.change(&c)
		}
		resp, err := New(Password(c)).Get(url + "/x")
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		resp.Body.Close()
		all := append(sent(), "") // the empty answer, if there is none
		for _, part := range test.want {
			if !strings.Contains(all[1], part) {
				t.Errorf("%s: sent %q, want %s", test.name, all[1], part)
			}
		}
		if test.want == nil && all[1] != "" || test.without != "" && strings.Contains(all[1], test.without) {
			t.Errorf("%s: sent %q, want none of %q", test.name, all[1], cmp.Or(test.without, "it"))
		}
	}
}

func md5Only(c *PasswordConfig) { c.InsecureMD5 = true }
func rfc2069(c *PasswordConfig) { c.InsecureMD5, c.InsecureNoQOP = true, true }

// A device without qop is asked again with the same answer, and one that has accepted an answer
// with qop gets none without it.
func TestTransportNoQOPLater(t *testing.T) {
	t.Parallel()
	const with, without = `Digest realm="r", nonce="n", qop="auth"`, `Digest realm="r", nonce="m"`
	for _, test := range []struct {
		name        string
		first, then string
		want        int // answers to the second request
	}{
		{"never a qop: answered in advance", without, without, 1},
		{"a qop, then none: not answered", with, without, 0},
	} {
		ask := test.first
		answers := 0
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch sent := r.Header.Get("Authorization"); {
			case ask == with && strings.Contains(sent, `nonce="n"`), ask == without && strings.Contains(sent, `nonce="m"`):
				answers++
			default:
				refuse(ask)(0, w, r)
			}
		}))
		defer s.Close()
		c := PasswordConfig{Origin: s.URL, User: "ada", Password: "secret"}
		rfc2069(&c)
		h := New(Password(c))
		for i := range 2 {
			resp, err := h.Get(s.URL)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			want := 1
			if i == 1 {
				want = test.want
			}
			if answers != want {
				t.Errorf("%s: request %d: %d answers, want %d", test.name, i, answers, want)
			}
			ask, answers = test.then, 0
		}
	}
}

// The text of a refusal names the setting that would answer it.
func TestRefusalNamesSetting(t *testing.T) {
	t.Parallel()
	for challenge, want := range map[string]string{
		`Digest realm="r", nonce="n"`:                                   "InsecureMD5, no qop: it needs InsecureNoQOP",
		`Digest realm="r", nonce="n", algorithm=SHA-256`:                "InsecureNoQOP",
		`Digest realm="r", nonce="n", qop="auth", algorithm="md5-sess"`: "InsecureMD5",
	} {
		err := CheckResponse(&http.Response{StatusCode: 401, Header: http.Header{"Www-Authenticate": {challenge}}, Body: http.NoBody})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", challenge, err, want)
		}
	}
}

// Token endpoints in use send tokens in other forms than RFC 6749 s5.1.
func TestOAuthAnswers(t *testing.T) {
	t.Parallel()
	const bearer, token = `"access_token":"a","token_type":"Bearer"`, "a Bearer  "
	for _, test := range []struct {
		name   string
		answer string
		typ    string // OAuth.TokenType
		want   string // token, type, scope and life in seconds; or part of the error
	}{
		{"RFC 6749: a token", `{` + bearer + `,"expires_in":60,"scope":"r w"}`, "", "a Bearer r w 60"},
		{"lower case: a token", `{"access_token":"a","token_type":"bearer"}`, "", "a bearer  "},
		{"Twitch, scope as a list: a token", `{` + bearer + `,"scope":["r","w"]}`, "", "a Bearer r w "},
		{"scope in another form: a token", `{` + bearer + `,"scope":{"r":true}}`, "", token},
		{"scope of null: a token", `{` + bearer + `,"scope":null}`, "", token},
		{"expires_in as a string: read", `{` + bearer + `,"expires_in":"60"}`, "", "a Bearer  60"},
		{"expires_in as a fraction: read", `{` + bearer + `,"expires_in":60.5}`, "", "a Bearer  60.5"},
		{"expires_in of null: unknown", `{` + bearer + `,"expires_in":null}`, "", token},
		{"expires_in of 0: unknown", `{` + bearer + `,"expires_in":0}`, "", token},
		{"expires_in of -1: unknown", `{` + bearer + `,"expires_in":-1}`, "", token},
		{"expires_in as an empty string: unknown", `{` + bearer + `,"expires_in":""}`, "", token},
		{"expires_in in another form: unknown", `{` + bearer + `,"expires_in":[60]}`, "", token},
		{"expires_in of a million years: unknown", `{` + bearer + `,"expires_in":1e18}`, "", token},
		{"LinkedIn, no token_type: the error names the setting", `{"access_token":"a"}`, "", `type "", not Bearer or DPoP; if it is sent as a Bearer token, set OAuth.TokenType`},
		{"LinkedIn with the setting: a token", `{"access_token":"a","expires_in":60}`, "Bearer", "a Bearer  60"},
		{"Slack: the error names the setting", `{"ok":true,"access_token":"a","token_type":"bot"}`, "", `"bot"`},
		{"Slack with the setting: a token", `{"ok":true,"access_token":"a","token_type":"bot"}`, "Bearer", token},
		{"Apigee with the setting: a token", `{"token_type":"BearerToken","expires_in":"60","scope":"","access_token":"a","refresh_count":"0"}`, "Bearer", "a Bearer  60"},
		{"DPoP with the setting Bearer: DPoP", `{"access_token":"a","token_type":"DPoP"}`, "Bearer", "a DPoP  "},
		{"a setting that is no scheme: an error", `{` + bearer + `}`, "MAC", "set Bearer or DPoP"},
		{"Salesforce: a token with !", `{"access_token":"00D!AQ.x","instance_url":"https://i","id":"https://l","token_type":"Bearer","issued_at":"1","signature":"s="}`, "", "00D!AQ.x Bearer  "},
		{"Login with Amazon: a token with |", `{"access_token":"Atza|IQ","token_type":"bearer","expires_in":60,"refresh_token":"Atzr|IQ"}`, "", "Atza|IQ bearer  60"},
		{"GitHub, a refusal with 200: its error", `{"error":"bad_refresh_token","error_description":"It is old.","error_uri":"https://d"}`, "", "(bad_refresh_token): It is old"},
		{"Slack, a refusal with 200: its error", `{"ok":false,"error":"invalid_refresh_token"}`, "", "(invalid_refresh_token)"},
		{"no token: an error", `{"token_type":"Bearer"}`, "", "no access_token"},
		{"a token that is no string: an error", `{"access_token":{},"token_type":"Bearer"}`, "", "cannot read the token response"},
		{"a page: an error", `<html>`, "", "cannot read the token response"},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Accept") != "application/json" { // GitHub sends a form otherwise
				t.Errorf("%s: Accept is %q", test.name, r.Header.Get("Accept"))
			}
			_, _ = io.WriteString(w, test.answer)
		}))
		defer s.Close()
		got, err := (&OAuth{TokenURL: s.URL, ClientID: "c", TokenType: test.typ}).Refresh(t.Context(), Token{Refresh: "r"})
		text := fmt.Sprint(err)
		if err == nil {
			life := ""
			if !got.Expires.IsZero() {
				life = fmt.Sprint(got.Expires.Sub(got.Received).Seconds())
			}
			text = strings.Join([]string{got.Access, got.Type, got.Scope, life}, " ")
			if text != test.want {
				t.Errorf("%s: %q, want %q", test.name, text, test.want)
			}
		} else if !strings.Contains(text, test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

// Only invalid_grant and the errors that the configuration lists end a sign-in, and never an
// outage.
func TestOAuthSignedOutBy(t *testing.T) {
	t.Parallel()
	const supabase = `{"code":400,"error_code":"refresh_token_not_found","msg":"Invalid Refresh Token"}`
	const firebase = `{"error":{"code":400,"message":"TOKEN_EXPIRED","status":"INVALID_ARGUMENT"}}`
	for _, test := range []struct {
		name   string
		status int
		body   string
		listed string
		want   bool
	}{
		{"invalid_grant: signed out", 400, `{"error":"invalid_grant"}`, "", true},
		{"invalid_grant with 401: signed out", 401, `{"error":"invalid_grant"}`, "", true},
		{"invalid_grant with 200: signed out", 200, `{"error":"invalid_grant"}`, "", true},
		{"invalid_grant with 503: kept", 503, `{"error":"invalid_grant"}`, "", false},
		{"invalid_grant with 429: kept", 429, `{"error":"invalid_grant"}`, "", false},
		{"invalid_client: kept", 401, `{"error":"invalid_client"}`, "", false},
		{"no body: kept", 400, ``, "", false},
		{"GitHub: kept by default", 200, `{"error":"bad_refresh_token"}`, "", false},
		{"GitHub, listed: signed out", 200, `{"error":"bad_refresh_token"}`, "bad_refresh_token", true},
		{"Slack, listed: signed out", 200, `{"ok":false,"error":"invalid_refresh_token"}`, "invalid_refresh_token", true},
		{"Supabase: kept by default", 400, supabase, "", false},
		{"Supabase, listed: signed out", 400, supabase, "refresh_token_not_found", true},
		{"Firebase, listed: signed out", 400, firebase, "TOKEN_EXPIRED", true},
		{"Firebase, another listed: kept", 400, firebase, "USER_DISABLED", false},
		{"a listed error with 503: kept", 503, firebase, "TOKEN_EXPIRED", false},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(test.status)
			_, _ = io.WriteString(w, test.body)
		}))
		defer s.Close()
		o := &OAuth{TokenURL: s.URL, ClientID: "c"}
		if test.listed != "" {
			o.SignedOutBy = []string{"something_else", test.listed}
		}
		_, err := o.Refresh(t.Context(), Token{Refresh: "r"})
		if _, ok := errors.AsType[*ResponseError](err); !ok || errors.Is(err, ErrSignedOut) != test.want {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// A secret with reserved characters is form-encoded for Basic, and can be sent in the body to
// servers that do not decode it.
func TestOAuthSecret(t *testing.T) {
	t.Parallel()
	const secret = "a!/+ü="
	for _, inBody := range []bool{false, true} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			user, password, _ := r.BasicAuth()
			if inBody {
				user, password = r.FormValue("client_id"), r.FormValue("client_secret")
			} else if plain, err := url.QueryUnescape(password); err == nil {
				password = plain
			}
			if user != "c" || password != secret {
				t.Errorf("in the body %t: %q, %q", inBody, user, password)
			}
			_, _ = io.WriteString(w, `{"access_token":"a","token_type":"Bearer"}`)
		}))
		defer s.Close()
		if _, err := (&OAuth{TokenURL: s.URL, ClientID: "c", Secret: secret, SecretInBody: inBody}).ClientCredentials(t.Context(), Token{}); err != nil {
			t.Errorf("in the body %t: %v", inBody, err)
		}
	}
}

// Tokens and keys with any visible ASCII are sent unchanged, others are not sent. The scheme is
// written as registered.
func TestTransportTokenCharacters(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]bool{
		"token68._~+/-==": true, "Atza|IQ": true, "00D!AQ.x": true, "bot:123": true, `"{}\,;`: true, strings.Repeat("a", maxToken): true,
		"": false, "a b": false, "a\tb": false, "a\r\nX: y": false, "a\x00": false, "ü": false, "a\x7f": false, strings.Repeat("a", maxToken+1): false,
	} {
		base := &recorder{}
		tokens := Tokens(TokensConfig{Origins: []string{"https://h"}, Next: func(context.Context, Token) (Token, error) {
			return Token{Access: value, Type: "bearer"}, nil // sent as Bearer
		}})
		r, err := http.NewRequest("GET", "https://h", nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = (&Transport{Base: base, Sources: []Source{tokens}}).RoundTrip(r)
		if (err == nil) != want || want && base.sent[0] != "Bearer "+value || !want && len(base.sent) > 0 {
			t.Errorf("a token of %.20q: %v, sent %.30q", value, err, base.sent)
		}
		for _, asBearer := range []bool{false, true} {
			base := &recorder{}
			key := Key(KeyConfig{Origin: "https://h", Key: value, AsBearer: asBearer})
			sent := value
			if asBearer {
				sent = "Bearer " + value
			}
			_, err = (&Transport{Base: base, Sources: []Source{key}}).RoundTrip(r)
			if (err == nil) != want || want && base.sent[0] != sent || !want && len(base.sent) > 0 {
				t.Errorf("a key of %.20q: %v, sent %.30q", value, err, base.sent)
			}
		}
	}
}

// A claims challenge of Microsoft Entra ID: the source asks for a token with the claims, then
// OnStepUp gets them.
func TestTransportClaims(t *testing.T) {
	t.Parallel()
	const claims = `{"access_token":{"acrs":{"essential":true,"value":"c1?~"}}}`
	encoded := base64.StdEncoding.EncodeToString([]byte(claims))
	for _, test := range []struct {
		name     string
		claims   string // parameter of the challenge
		endpoint string // what the token endpoint does with the claims: grants, ignores, refuses, ends, fails
		stepUp   bool   // OnStepUp is set
		status   int    // 0 for an error
		want     string // claims at the token endpoint and at OnStepUp
	}{
		{"the endpoint grants them: one renewal", encoded, "grants", true, 200, claims + "|"},
		{"without OnStepUp: one renewal", encoded, "grants", false, 200, claims + "|"},
		{"base64url without padding: read", base64.RawURLEncoding.EncodeToString([]byte(claims)), "grants", true, 200, claims + "|"},
		{"the endpoint ignores them: OnStepUp", encoded, "ignores", true, 200, claims + "|" + claims},
		{"the endpoint ignores them, no OnStepUp: returned", encoded, "ignores", false, 401, claims + "|"},
		{"the endpoint wants the user: OnStepUp", encoded, "refuses", true, 200, claims + "|" + claims},
		{"the endpoint wants the user, no OnStepUp: an error", encoded, "refuses", false, 0, claims + "|"},
		{"the endpoint ends the sign-in: an error", encoded, "ends", true, 0, claims + "|"},
		{"an outage of the endpoint: an error", encoded, "fails", true, 0, claims + "|"},
		{"no claims: returned", "", "grants", true, 401, "|"},
		{"not base64: returned", "%%%", "grants", true, 401, "|"},
		{"not JSON: returned", base64.StdEncoding.EncodeToString([]byte("{")), "grants", true, 401, "|"},
		{"no object: returned", base64.StdEncoding.EncodeToString([]byte(`"x"`)), "grants", true, 401, "|"},
		{"too long: returned", base64.StdEncoding.EncodeToString([]byte(`{"x":"` + strings.Repeat("x", maxClaims) + `"}`)), "grants", true, 401, "|"},
	} {
		var atEndpoint, atStepUp string
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == "/token":
				atEndpoint += r.FormValue("claims")
				status, body := 200, `{"access_token":"weaker","token_type":"Bearer"}`
				switch test.endpoint {
				case "grants":
					body = `{"access_token":"strong","token_type":"Bearer"}`
				case "refuses":
					status, body = 400, `{"error":"interaction_required"}`
				case "ends":
					status, body = 400, `{"error":"invalid_grant"}`
				case "fails":
					status, body = 503, ""
				}
				w.WriteHeader(status)
				_, _ = io.WriteString(w, body)
			case r.Header.Get("Authorization") != "Bearer strong":
				w.Header().Set("WWW-Authenticate", `Bearer realm="", authorization_uri="https://l/authorize", error="insufficient_claims", claims="`+test.claims+`"`)
				w.WriteHeader(401)
			}
		}))
		defer s.Close()
		store := &MemoryStore{token: Token{Access: "weak", Refresh: "r"}}
		oauth := &OAuth{TokenURL: s.URL + "/token", ClientID: "c", Params: url.Values{"claims": {"{}"}}}
		tr := &Transport{Sources: []Source{Tokens(TokensConfig{Origins: []string{s.URL}, Store: store, Next: oauth.Refresh})}}
		if test.stepUp {
			tr.OnStepUp = func(ctx context.Context, u StepUp) error {
				atStepUp += u.Claims
				return store.Update(ctx, func(context.Context, Token) (Token, error) { return Token{Access: "strong"}, nil })
			}
		}
		resp, err := (&http.Client{Transport: tr}).Get(s.URL + "/api")
		status := 0
		if err == nil {
			resp.Body.Close()
			status = resp.StatusCode
		}
		if status != test.status || atEndpoint+"|"+atStepUp != test.want {
			t.Errorf("%s: %d, %v, claims %q; want %d, %q", test.name, status, err, atEndpoint+"|"+atStepUp, test.status, test.want)
		}
		if stored, _ := store.Load(t.Context()); stored.Claims != "" {
			t.Errorf("%s: the claims are kept in the store", test.name)
		}
	}
}

// A syntax error hides no challenge of another line, and the work is bounded.
func TestParseBrokenChallenges(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		lines []string
		want  string
	}{
		{"no lines: none", nil, ""},
		{"a broken line between: the others", []string{`Basic realm="a"`, `"`, `Bearer`}, `Basic realm="a" | Bearer`},
		{"a broken end of a line: its start", []string{`Basic realm="a", Digest realm="`, `Bearer`}, `Basic realm="a" | Bearer`},
		{"a broken Basic after another challenge: that one", []string{`Bearer, Basic realm=a b`}, `Bearer`},
		{"a broken Basic: the scheme", []string{`bAsIc realm=a b`}, `bAsIc`},
		{"a broken Bearer: none", []string{`Bearer realm=a b, error="invalid_token"`}, ``},
		{"many broken lines: eight are skipped", append(slices.Repeat([]string{`"`}, maxBroken), `Bearer`), ``},
		{"fewer: all are skipped", append(slices.Repeat([]string{`"`}, maxBroken-1), `Bearer`), `Bearer`},
	} {
		var got []string
		for _, c := range parseChallenges(test.lines) {
			got = append(got, c.String())
		}
		if text := strings.Join(got, " | "); text != test.want {
			t.Errorf("%s: %s, want %s", test.name, text, test.want)
		}
	}
}

// FuzzTokenResponse checks that a response of a token endpoint is a token, a refusal or an error,
// and that its texts are printable.
func FuzzTokenResponse(f *testing.F) {
	for _, seed := range []string{`{"access_token":"a","token_type":"Bearer","expires_in":"60","scope":["r"]}`, `{"error":{"message":"TOKEN_EXPIRED"}}`,
		`{"ok":false,"error":"x"}`, `{"error_code":"x","msg":"y"}`, `[]`, `{"expires_in":1e400,"access_token":"a"}`} {
		f.Add(200, seed)
	}
	u, err := url.Parse("https://auth.example.com/token")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		resp := &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: &http.Request{URL: u}}
		token, refusal, err := readToken(resp, time.Unix(0, 0))
		switch {
		case refusal != nil:
			if strings.ContainsFunc(refusal.Error(), func(r rune) bool { return r < ' ' }) || len(refusal.Error()) > 5000 || err != nil {
				t.Errorf("%q, %v", refusal.Error(), err)
			}
		case err == nil && token.Access == "":
			t.Error("neither a token nor a refusal nor an error")
		case token.Expires.Unix() > 10*365*86400:
			t.Errorf("a token until %s", token.Expires)
		}
	})
}

// FuzzClaims checks that the claims of a challenge are a JSON object or absent.
func FuzzClaims(f *testing.F) {
	f.Add(base64.StdEncoding.EncodeToString([]byte(`{"access_token":{"nbf":{"essential":true,"value":"1"}}}`)))
	f.Add("e30")
	f.Add("====")
	f.Fuzz(func(t *testing.T, value string) {
		c := durward.Challenge{Scheme: "Bearer", Params: []durward.Param{{Name: "claims", Value: value}}}
		if got := claimsOf(c); got != "" && json.Unmarshal([]byte(got), new(map[string]json.RawMessage)) != nil {
			t.Errorf("%q: %q is not an object", value, got)
		}
	})
}
