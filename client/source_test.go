package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-auth/durward"
)

// recorder is a RoundTripper that answers with one challenge and records the credentials.
type recorder struct {
	challenge string
	sent      []string
}

func (a *recorder) RoundTrip(r *http.Request) (*http.Response, error) {
	a.sent = append(a.sent, r.Header.Get("Authorization")+r.Header.Get("X-API-Key"))
	return &http.Response{StatusCode: 401, Header: http.Header{"Www-Authenticate": {a.challenge}}, Body: http.NoBody, Request: r}, nil
}

// Over plain http the client sends no password, key or token without an Insecure option.
func TestTransportPlainHTTP(t *testing.T) {
	t.Parallel()
	const far = "http://files.example.com"
	for _, insecure := range []bool{false, true} {
		base := &recorder{challenge: `Basic realm="r"`}
		tr := &Transport{Base: base, Sources: []Source{Password(PasswordConfig{Origin: far, User: "ada", Password: "secret", InsecureBasic: insecure})}}
		r, err := http.NewRequest("GET", far+"/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tr.RoundTrip(r); err != nil {
			t.Fatal(err)
		}
		if sent := len(base.sent) > 1; sent != insecure {
			t.Errorf("InsecureBasic %t: sent %q", insecure, base.sent)
		}
		next := func(context.Context, Token) (Token, error) { return Token{}, nil }
		for name, source := range map[string]Source{
			"a key":  Key(KeyConfig{Origin: far, Key: "k", InsecureHTTP: insecure}),
			"tokens": Tokens(TokensConfig{Origins: []string{far}, Next: next, InsecureHTTP: insecure}),
		} {
			if err := CheckSources(source); (err == nil) != insecure {
				t.Errorf("%s over plain http, insecure %t: %v", name, insecure, err)
			}
		}
	}
	if _, err := (&OAuth{TokenURL: far + "/token", ClientID: "c", Secret: "s"}).ClientCredentials(t.Context(), Token{}); err == nil || !strings.Contains(err.Error(), "plain http") {
		t.Errorf("OAuth over plain http: %v", err)
	}
}

// noNext is the Next of a source that must not refresh.
func noNext(context.Context, Token) (Token, error) { return Token{}, errors.New("Next was called") }

// The error names all mistakes of a configuration.
func TestTransportMistakes(t *testing.T) {
	t.Parallel()
	tr := &Transport{Base: &recorder{}, ProxySources: []Source{Password(PasswordConfig{Origin: "proxy"})}, Sources: []Source{
		nil, Password(PasswordConfig{Origin: "https://h/path", User: "a\x00"}), Password(PasswordConfig{Origin: "https://user:marked@h"}),
		Key(KeyConfig{Origin: "ftp://h", Key: "a b"}), Tokens(TokensConfig{}), Certificate(CertificateConfig{Origin: "http://localhost"}),
	}}
	r, err := http.NewRequest("POST", "https://h", io.NopCloser(strings.NewReader("x")))
	if err != nil {
		t.Fatal(err)
	}
	_, err = tr.RoundTrip(r)
	for _, want := range []string{"source 0 is nil", "more than an origin", "control characters", "holds a user name", "ftp://h", "Key is empty or has", "Next is nil", "Origins is empty", "needs https", "Get is nil", "need an *http.Transport", `proxy source 0: Origin: "proxy"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("nothing of %q in %v", want, err)
		}
	}
	if strings.Contains(fmt.Sprint(err), "marked") {
		t.Errorf("a password is shown: %v", err)
	}
	defer func() {
		if recover() == nil {
			t.Error("Client does not panic")
		}
	}()
	New(nil)
}

// A response with a wrong rspauth is an error.
func TestTransportForgedServer(t *testing.T) {
	t.Parallel()
	for name, forge := range map[string]func(string) string{
		"its own":     func(info string) string { return info },
		"another's":   func(info string) string { return strings.Replace(info, `rspauth="`, `rspauth="0`, 1) },
		"for another": func(info string) string { return strings.Replace(info, `cnonce="`, `cnonce="0`, 1) }, // for another request
		"nonsense":    func(string) string { return `"` },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, err := durward.New(durward.Config{Realm: "r", Schemes: []durward.Scheme{durward.Digest(durward.DigestConfig{HA1: adaHA1})}})
			if err != nil {
				t.Fatal(err)
			}
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				rec := httptest.NewRecorder()
				g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(rec, r)
				for n, v := range rec.Header() {
					w.Header()[n] = v
				}
				if info := rec.Header().Get("Authentication-Info"); info != "" {
					w.Header().Set("Authentication-Info", forge(info))
				}
				w.WriteHeader(rec.Code)
			}))
			defer s.Close()
			resp, err := New(Password(PasswordConfig{Origin: s.URL, User: "ada", Password: "secret"})).Get(s.URL)
			if forged := errors.Is(err, errForged); forged != (name == "another's") {
				t.Errorf("%v %v", resp, err)
			}
		})
	}
}

// Requests to AuthEndpoints are sent once.
func TestTransportServersOwnEndpoints(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		w.Header().Set("WWW-Authenticate", `Bearer realm="r", error="invalid_token"`)
		w.WriteHeader(401)
	}))
	defer s.Close()
	store := &MemoryStore{token: Token{Access: "a", Type: "Bearer", Refresh: "r"}}
	resp, err := New(Tokens(TokensConfig{
		Origins: []string{s.URL}, Store: store, Next: noNext, AuthEndpoints: s.URL + "/api/auth/",
	})).Post(s.URL+"/api/auth/password/change", "application/json", strings.NewReader("{}"))
	if err != nil || resp.StatusCode != 401 || calls.Load() != 1 {
		t.Errorf("%v %v after %d requests", resp, err, calls.Load())
	}
}

// A token file has mode 0600 and is replaced atomically.
func TestFileStore(t *testing.T) {
	t.Parallel()
	f := FileStore{Path: filepath.Join(t.TempDir(), "new", "token.json")}
	if got, err := f.Load(t.Context()); err != nil || got != (Token{}) {
		t.Errorf("no file: %v, %v", got, err)
	}
	put := func(token Token) error {
		return f.Update(t.Context(), func(context.Context, Token) (Token, error) { return token, nil })
	}
	if err := put(Token{Access: "secret", Refresh: "more"}); err != nil {
		t.Fatal(err)
	}
	if got, err := f.Load(t.Context()); err != nil || got.Access != "secret" || got.Refresh != "more" {
		t.Errorf("%#v, %v", got, err)
	}
	for _, path := range []string{f.Path, filepath.Dir(f.Path)} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	if left, err := os.ReadDir(filepath.Dir(f.Path)); err != nil || len(left) != 2 { // and the lock
		t.Errorf("files %v, %v", left, err)
	}
	broken := errors.New("broken")
	if err := f.Update(t.Context(), func(context.Context, Token) (Token, error) { return Token{Access: "lost"}, broken }); !errors.Is(err, broken) {
		t.Errorf("a change that fails: %v", err)
	}
	if err := os.Chmod(f.Path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Load(t.Context()); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a file that others can read: %v", err)
	}
	for _, text := range []string{"{", "null and more", strings.Repeat("x", maxStored+1)} {
		if err := os.Remove(f.Path); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f.Path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Load(t.Context()); err == nil || !strings.Contains(err.Error(), "does not hold a token") {
			t.Errorf("%.10q: %v", text, err)
		}
	}
	if err := os.Remove(f.Path); err != nil {
		t.Fatal(err)
	}
	if err := put(Token{Access: "a"}); err != nil {
		t.Fatal(err)
	}
	if err := put(Token{}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(f.Path); !os.IsNotExist(err) {
		t.Errorf("an emptied store: %v", err)
	}
}

// A file left by a killed process does not block an update, and is removed.
func TestFileStoreLeft(t *testing.T) {
	t.Parallel()
	f := FileStore{Path: filepath.Join(t.TempDir(), "token.json")}
	aim := filepath.Join(t.TempDir(), "aim")
	for name, leave := range map[string]func() error{
		"a file": func() error { return os.WriteFile(f.Path+".new", []byte("half a tok"), 0o644) },
		"a link": func() error { return os.Symlink(aim, f.Path+".new") },
	} {
		if err := leave(); err != nil {
			t.Fatal(err)
		}
		if err := f.Update(t.Context(), func(context.Context, Token) (Token, error) { return Token{Access: name}, nil }); err != nil {
			t.Fatal(err)
		}
		if got, err := f.Load(t.Context()); err != nil || got.Access != name {
			t.Errorf("%s: %v, %v", name, got.Access, err)
		}
		if left, err := os.ReadDir(filepath.Dir(f.Path)); err != nil || len(left) != 2 { // and the lock
			t.Errorf("%s: files %v, %v", name, left, err)
		}
	}
	if _, err := os.Stat(aim); !os.IsNotExist(err) {
		t.Errorf("a token went where a link led: %v", err)
	}
}

// Load does not wait for Update.
func TestMemoryStoreLoadsMeanwhile(t *testing.T) {
	t.Parallel()
	m := &MemoryStore{token: Token{Access: "old"}}
	err := m.Update(t.Context(), func(ctx context.Context, _ Token) (Token, error) {
		read := make(chan Token)
		go func() {
			token, _ := m.Load(ctx)
			read <- token
		}()
		select {
		case token := <-read:
			return Token{Access: token.Access + " and new"}, nil
		case <-time.After(30 * time.Second):
			return Token{}, errors.New("Load waits for Update")
		}
	})
	if got, _ := m.Load(t.Context()); err != nil || got.Access != "old and new" {
		t.Errorf("%q, %v", got.Access, err)
	}
}

// The first request to a token endpoint that requires nonces is sent twice, later ones once.
func TestOAuthKeepsNonce(t *testing.T) {
	t.Parallel()
	for name, ask := range map[string]func(http.ResponseWriter){
		"by its body": func(w http.ResponseWriter) { w.WriteHeader(400); fmt.Fprint(w, `{"error":"use_dpop_nonce"}`) },
		"by its challenge": func(w http.ResponseWriter) {
			w.Header().Set("WWW-Authenticate", `DPoP error="use_dpop_nonce"`)
			w.WriteHeader(401)
		},
	} {
		var proofs []durward.ProofRequest
		granted := 0
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			nonce := func() string { return fmt.Sprint("nonce-", granted/2) } // another one every two tokens
			if r.Header.Get("DPoP") != nonce() {
				w.Header().Set("DPoP-Nonce", nonce())
				ask(w)
				return
			}
			granted++
			w.Header().Set("DPoP-Nonce", nonce()) // RFC 9449 s8.2: for the next proof
			fmt.Fprint(w, `{"access_token":"a","token_type":"DPoP","refresh_token":"r"}`)
		}))
		defer s.Close()
		o := &OAuth{TokenURL: s.URL + "/token?tenant=a", ClientID: "c", Prove: func(p durward.ProofRequest) (string, error) {
			proofs = append(proofs, p)
			return p.Nonce, nil
		}}
		for range 4 {
			if _, err := o.Refresh(t.Context(), Token{Refresh: "r"}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		var got []string
		for _, p := range proofs {
			got = append(got, p.Nonce)
			if p.URL != s.URL+"/token" { // RFC 9449 s4.2: without query
				t.Errorf("%s: a proof for %s", name, p.URL)
			}
		}
		if want := []string{"", "nonce-0", "nonce-0", "nonce-1", "nonce-1"}; !slices.Equal(got, want) {
			t.Errorf("%s: proofs with %q, want %q", name, got, want)
		}
	}
}

// Errors of a token endpoint are cut and printable, and do not show a password of its URL.
func TestOAuthErrors(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status int
		body   string
		want   string
	}{
		"by 200":   {200, `{"error":"bad_refresh_token","error_description":"It is old."}`, "200 OK (bad_refresh_token): It is old"},
		"a page":   {503, `<html>`, "503 Service Unavailable"},
		"terminal": {400, `{"error":"\u001b[2J"}`, "400 Bad Request (?[2J)"},
		"long":     {400, `{"error":"` + strings.Repeat("y", 100_000) + `"}`, "yyy…"},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(test.status)
			_, _ = io.WriteString(w, test.body)
		}))
		defer s.Close()
		_, err := (&OAuth{TokenURL: s.URL, ClientID: "c"}).Refresh(t.Context(), Token{Refresh: "r"})
		if text := fmt.Sprint(err); !strings.Contains(text, test.want) || len(text) > 2000 || strings.Contains(text, "\x1b") {
			t.Errorf("%s: %.2000q", name, text)
		}
	}
	for _, at := range []string{"https://ada:marked@h/token", "http://ada:marked@far.example.com", "https://ada:marked@h?q"} {
		_, err := (&OAuth{TokenURL: at, ClientID: "c"}).Refresh(t.Context(), Token{Refresh: "r"})
		if err == nil || strings.Contains(err.Error(), "marked") {
			t.Errorf("%s: got %v, want an error without the password", at, err)
		}
	}
}

// A token of an unknown type is not sent.
func TestTransportTokenOfAnotherType(t *testing.T) {
	t.Parallel()
	base := &recorder{}
	tr := &Transport{Base: base, Sources: []Source{Tokens(TokensConfig{Origins: []string{"https://h"},
		Next: func(context.Context, Token) (Token, error) { return Token{Access: "a", Type: "MAC"}, nil }})}}
	r, err := http.NewRequest("GET", "https://h", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tr.RoundTrip(r); err == nil || !strings.Contains(err.Error(), `"MAC"`) || len(base.sent) > 0 {
		t.Errorf("%v, sent %q", err, base.sent)
	}
}

// No fmt verb prints a token.
func TestTokenIsNotPrinted(t *testing.T) {
	t.Parallel()
	token := Token{Access: "marked", Refresh: "marked"}
	if text := fmt.Sprintf("%v %+v %#v %s %q", token, token, token, token, token); strings.Contains(text, "marked") {
		t.Error(text)
	}
}

// FuzzTransport checks with any challenges that the request ends, is sent at most six times, and
// has valid fields.
func FuzzTransport(f *testing.F) {
	for _, seed := range []string{`Basic realm="r"`, `Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256`, `Digest realm="r\"", nonce="n", qop="auth-int", algorithm=MD5-sess, opaque="", userhash=true, stale=true`,
		`Bearer realm="r", error="invalid_token"`, `DPoP error="use_dpop_nonce"`, `Basic, Digest ,, Bearer a==`,
		`Digest realm="r", nonce="n"`, `Basic realm=sign in`, `Bearer error="insufficient_claims", claims="e30="`} {
		f.Add(seed, `nextnonce="n2", rspauth="0", qop=auth, cnonce="c", nc=00000001`)
	}
	f.Fuzz(func(t *testing.T, challenge, info string) {
		sends := 0
		base := roundTripper(func(r *http.Request) (*http.Response, error) {
			sends++
			for _, v := range r.Header["Authorization"] {
				if strings.ContainsAny(v, "\r\n\x00") {
					t.Errorf("sent %q", v)
				}
			}
			return &http.Response{StatusCode: 401, Header: http.Header{"Www-Authenticate": {challenge}, "Authentication-Info": {info}}, Body: http.NoBody, Request: r}, nil
		})
		tr := &Transport{Base: base, Sources: []Source{
			Password(PasswordConfig{Origin: "https://h", User: "ada", Password: "secret", InsecureMD5: true, InsecureNoQOP: true}),
			Tokens(TokensConfig{Origins: []string{"https://h"}, Next: func(context.Context, Token) (Token, error) { return Token{Access: "a", Type: "Bearer"}, nil }}),
		}}
		r, err := http.NewRequest("POST", "https://h/a", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := tr.RoundTrip(r)
		if err == nil && resp.StatusCode != 401 || sends > maxSends {
			t.Errorf("%v, %v after %d sends", resp, err, sends)
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// After invalid_dpop_proof the client makes one new proof, and none if the clocks agree.
func TestTransportRefusedProof(t *testing.T) {
	t.Parallel()
	for ahead, want := range map[time.Duration]int64{0: 1, time.Second: 1, time.Hour: 2, -time.Hour: 2} {
		var sent atomic.Int64
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			sent.Add(1)
			w.Header().Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
			if r.URL.Path == "/token" {
				w.WriteHeader(http.StatusBadRequest)
				_, _ = io.WriteString(w, `{"error":"invalid_dpop_proof"}`)
				return
			}
			w.Header().Set("WWW-Authenticate", `DPoP error="invalid_dpop_proof"`)
			w.WriteHeader(http.StatusUnauthorized)
		}))
		t.Cleanup(s.Close)
		var last durward.ProofRequest
		prove := func(p durward.ProofRequest) (string, error) {
			last = p
			return fmt.Sprint("proof of ", p.Issued.Unix()), nil
		}
		resp, err := New(Tokens(TokensConfig{
			Origins: []string{s.URL}, Prove: prove,
			Next: func(context.Context, Token) (Token, error) { return Token{Access: "a", Type: "DPoP"}, nil },
		})).Get(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if n := sent.Swap(0); resp.StatusCode != http.StatusUnauthorized || n != want {
			t.Errorf("a clock %s ahead: %s after %d requests, want %d", ahead, resp.Status, n, want)
		}
		if want == 2 && time.Until(last.Issued.Add(-ahead)).Abs() > time.Minute || want == 1 && !last.Issued.IsZero() {
			t.Errorf("a clock %s ahead: a proof of %s", ahead, last.Issued)
		}
		_, err = (&OAuth{TokenURL: s.URL + "/token", ClientID: "c", Prove: prove}).Refresh(t.Context(), Token{Refresh: "r"})
		if err == nil || !strings.Contains(err.Error(), "invalid_dpop_proof") || sent.Load() != want {
			t.Errorf("a clock %s ahead: %v after %d requests, want %d", ahead, err, sent.Load(), want)
		}
	}
}
