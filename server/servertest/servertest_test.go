package servertest_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/durwardtest"
	"github.com/durward-auth/durward/jwt"
	"github.com/durward-auth/durward/server/servertest"
)

// plain is a client of its own: the end of each test server closes the idle connections of the default one,
// also those that another test is about to use.
var plain = &http.Client{Transport: new(http.Transport)}

func ask(t *testing.T, c *http.Client, url, token string) (int, string) {
	t.Helper()
	r, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

var who = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, durward.From(r.Context()).Subject) })

// A client of another library (dpop) gets tokens that are bound to its key, and uses them here and at
// another service.
func TestServerBinds(t *testing.T) {
	t.Parallel()
	const password = "plenty of words in a row"
	auth := servertest.New(t)
	id := auth.AddUser("ada@example.com", password, false)
	keys, err := jwt.NewRemoteKeys(jwt.RemoteConfig{URL: auth.URL + "/.well-known/jwks.json"})
	if err != nil {
		t.Fatal(err)
	}
	v, err := jwt.New(jwt.Config{Issuer: auth.URL, Audience: []string{auth.URL}, Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	api := httptest.NewServer(durward.Protect(who, v.DPoP(jwt.DPoPConfig{Nonces: true}), v.Scheme()))
	defer api.Close()

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt"))
	if err != nil {
		t.Fatal(err)
	}
	// ask sends a request with a proof, and once more with the nonce of the response.
	ask := func(method, url, token string, body any) (status int, answer []byte) {
		t.Helper()
		nonce := ""
		for range 2 {
			claims := map[string]any{"jti": rand.Text(), "htm": method, "htu": url, "iat": time.Now().Unix(), "nonce": nonce}
			if token != "" {
				sum := sha256.Sum256([]byte(token))
				claims["ath"] = base64.RawURLEncoding.EncodeToString(sum[:])
			}
			text, err := json.Marshal(claims)
			if err != nil {
				t.Fatal(err)
			}
			signed, err := signer.Sign(text)
			if err != nil {
				t.Fatal(err)
			}
			proof, err := signed.CompactSerialize()
			if err != nil {
				t.Fatal(err)
			}
			sent, err := json.Marshal(body)
			if err != nil {
				t.Fatal(err)
			}
			r, err := http.NewRequest(method, url, bytes.NewReader(sent))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("DPoP", proof)
			if token != "" {
				r.Header.Set("Authorization", "DPoP "+token)
			}
			res, err := plain.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			answer, err = io.ReadAll(res.Body)
			if err := errors.Join(err, res.Body.Close()); err != nil {
				t.Fatal(err)
			}
			if status, nonce = res.StatusCode, res.Header.Get("DPoP-Nonce"); status != 401 || !bytes.Contains(answer, []byte("NONCE_REQUIRED")) {
				break
			}
		}
		return status, answer
	}
	var tokens struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
		Type    string `json:"token_type"`
	}
	for _, step := range []struct {
		path string
		body map[string]string
	}{
		{"/api/auth/login", map[string]string{"email": "ada@example.com", "password": password}},
		{"/api/auth/refresh", nil},
	} {
		if step.body == nil {
			step.body = map[string]string{"refresh_token": tokens.Refresh}
		}
		if status, answer := ask("POST", auth.URL+step.path, "", step.body); status != 200 || json.Unmarshal(answer, &tokens) != nil || tokens.Type != "DPoP" {
			t.Fatalf("%s: %d %s", step.path, status, answer)
		}
		for _, url := range []string{auth.URL + "/api/profile", api.URL + "/"} {
			if status, answer := ask("GET", url, tokens.Access, nil); status != 200 || !bytes.Contains(answer, []byte(id)) {
				t.Errorf("%s: %d %s", url, status, answer)
			}
		}
	}
	// Without the key both tokens are refused.
	bearer, err := http.NewRequest("GET", auth.URL+"/api/profile", nil)
	if err != nil {
		t.Fatal(err)
	}
	bearer.Header.Set("Authorization", "Bearer "+tokens.Access)
	for name, send := range map[string]func() (*http.Response, error){
		"access token": func() (*http.Response, error) { return plain.Do(bearer) },
		"refresh token": func() (*http.Response, error) {
			return plain.Post(auth.URL+"/api/auth/refresh", "application/json", strings.NewReader(`{"refresh_token":"`+tokens.Refresh+`"}`))
		},
	} {
		res, err := send()
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != 401 {
			t.Errorf("the %s alone: %s", name, res.Status)
		}
	}
}

// A service that accepts the tokens of a Durward server.
func TestServer(t *testing.T) {
	t.Parallel()
	const password = "plenty of words in a row"
	auth := servertest.New(t)
	id := auth.AddUser("ada@example.com", password, false)
	access, refresh := auth.SignIn("ada@example.com", password)
	api := httptest.NewServer(durward.Protect(who, jwt.Bearer(auth.URL, auth.URL)))
	defer api.Close()
	if status, body := ask(t, plain, api.URL, access); status != 200 || body != id {
		t.Errorf("%d %s", status, body)
	}
	if status, body := ask(t, plain, auth.URL+"/api/profile", access); status != 200 {
		t.Errorf("%d %s", status, body)
	}
	if status, _ := ask(t, plain, api.URL, refresh); status != 401 {
		t.Errorf("refresh token as access token: got %d, want 401", status)
	}
	auth.Lock(id)
	if status, body := ask(t, plain, auth.URL+"/api/profile", access); status != 401 {
		t.Errorf("locked: %d %s", status, body)
	}
}

// The server with https, Basic and DPoP refuses as the standards say.
func TestCheck(t *testing.T) {
	t.Parallel()
	s := servertest.NewAt(t, "https://auth.example.com")
	s.AddUser("ada@example.com", "correct horse battery staple", false)
	access, _ := s.SignIn("ada@example.com", "correct horse battery staple")
	durwardtest.Check(t, s.Handler, durwardtest.CheckConfig{URL: s.URL + "/api/profile", Good: access})
	durwardtest.Check(t, s.Handler, durwardtest.CheckConfig{URL: s.URL + "/api/admin/users", NoScope: access})
}
