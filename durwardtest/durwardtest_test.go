package durwardtest_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/durwardtest"
	"github.com/durward-auth/durward/jwt"
)

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

// What a service's own test looks like.
func TestIssuer(t *testing.T) {
	t.Parallel()
	issuer := durwardtest.NewIssuer(t)
	api := httptest.NewServer(durward.Protect(who, jwt.Bearer(issuer.URL, durwardtest.Audience)))
	defer api.Close()
	for _, c := range []struct {
		name, token string
		status      int
	}{
		{"none", "", 401}, {"good", issuer.Token(nil), 200},
		{"somebody else", issuer.Token(func(c *jwt.Claims) { c.Subject = "bob" }), 200},
		{"of another service", issuer.Token(func(c *jwt.Claims) { c.Audience = []string{"https://other.example"} }), 401},
		{"expired", issuer.Token(func(c *jwt.Claims) {
			c.IssuedAt, c.Expires, c.AuthTime = c.IssuedAt.Add(-time.Hour), c.IssuedAt, c.IssuedAt.Add(-time.Hour)
		}), 401},
	} {
		if status, body := ask(t, http.DefaultClient, api.URL, c.token); status != c.status {
			t.Errorf("%s: %d %s", c.name, status, body)
		}
	}
	if n := issuer.Fetches(); n != 1 {
		t.Errorf("the key set was fetched %d times", n)
	}
}

func TestIssuerAwayAndDiscovery(t *testing.T) {
	t.Parallel()
	issuer := durwardtest.NewIssuer(t)
	issuer.SetAway(true)
	guarded := func() *httptest.Server {
		keys, err := jwt.NewRemoteKeys(jwt.RemoteConfig{Issuer: issuer.URL})
		if err != nil {
			t.Fatal(err)
		}
		v, err := jwt.New(jwt.Config{Issuer: issuer.URL, Audience: []string{durwardtest.Audience}, Keys: keys})
		if err != nil {
			t.Fatal(err)
		}
		api := httptest.NewServer(durward.Protect(who, v.Scheme()))
		t.Cleanup(api.Close)
		return api
	}
	if status, _ := ask(t, http.DefaultClient, guarded().URL, issuer.Token(nil)); status != 503 {
		t.Errorf("away: %d", status)
	}
	issuer.SetAway(false)
	api := guarded()
	old := issuer.Token(nil)
	issuer.Rotate()
	for _, token := range []string{issuer.Token(nil), old} {
		if status, body := ask(t, http.DefaultClient, api.URL, token); status != 200 {
			t.Errorf("%d %s", status, body)
		}
	}
	issuer.Withdraw()
	if status, body := ask(t, http.DefaultClient, guarded().URL, old); status != 401 {
		t.Errorf("withdrawn key: %d %s", status, body)
	}
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	ca, other := durwardtest.NewCA(t), durwardtest.NewCA(t)
	guard, err := durward.New(durward.Config{Schemes: []durward.Scheme{durward.ClientCert(durward.ClientCertConfig{
		Roots: ca.Pool,
		Check: func(_ context.Context, c *x509.Certificate) (*durward.Principal, error) {
			return &durward.Principal{Subject: c.Subject.CommonName}, nil
		},
	})}})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(guard.Handler(who))
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{ca.Server("127.0.0.1")}, ClientAuth: tls.RequestClientCert}
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	with := func(certs ...tls.Certificate) (int, string) {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool, Certificates: certs}}
		defer transport.CloseIdleConnections()
		return ask(t, &http.Client{Transport: transport}, srv.URL, "")
	}
	if status, body := with(ca.Client("ada", nil)); status != 200 || body != "ada" {
		t.Errorf("%d %s", status, body)
	}
	for name, certs := range map[string][]tls.Certificate{
		"none": nil, "of another authority": {other.Client("ada", nil)},
		"expired": {ca.Client("ada", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })},
	} {
		if status, body := with(certs...); status != 403 {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
}

func Example() {
	test := func(t *testing.T) {
		issuer := durwardtest.NewIssuer(t)
		api := durward.Protect(http.NotFoundHandler(), jwt.Bearer(issuer.URL, durwardtest.Audience))
		r := httptest.NewRequest("GET", "http://127.0.0.1/notes", nil)
		r.RemoteAddr = "127.0.0.1:1" // plain http is taken from this machine
		r.Header.Set("Authorization", "Bearer "+issuer.Token(nil))
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r)
		fmt.Println(w.Code) // 404: the token is good, the page is not there
	}
	_ = test
}

// A client of another library's making has its tokens bound to its key, here and at
// a service that takes them.
func TestServerBinds(t *testing.T) {
	t.Parallel()
	const password = "plenty of words in a row"
	auth := durwardtest.NewServer(t)
	id := auth.AddPerson("ada@example.com", password, false)
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
	// ask sends a request with a proof, and once more with the nonce that it is told.
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
			res, err := http.DefaultClient.Do(r)
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
	// Without the key both tokens are worth nothing.
	bearer, err := http.NewRequest("GET", auth.URL+"/api/profile", nil)
	if err != nil {
		t.Fatal(err)
	}
	bearer.Header.Set("Authorization", "Bearer "+tokens.Access)
	for name, send := range map[string]func() (*http.Response, error){
		"access token": func() (*http.Response, error) { return http.DefaultClient.Do(bearer) },
		"refresh token": func() (*http.Response, error) {
			return http.Post(auth.URL+"/api/auth/refresh", "application/json", strings.NewReader(`{"refresh_token":"`+tokens.Refresh+`"}`))
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

// A service that takes the tokens of a Durward server.
func TestServer(t *testing.T) {
	t.Parallel()
	const password = "plenty of words in a row"
	auth := durwardtest.NewServer(t)
	id := auth.AddPerson("ada@example.com", password, false)
	access, refresh := auth.SignIn("ada@example.com", password)
	api := httptest.NewServer(durward.Protect(who, jwt.Bearer(auth.URL, auth.URL)))
	defer api.Close()
	if status, body := ask(t, http.DefaultClient, api.URL, access); status != 200 || body != id {
		t.Errorf("%d %s", status, body)
	}
	if status, body := ask(t, http.DefaultClient, auth.URL+"/api/profile", access); status != 200 {
		t.Errorf("%d %s", status, body)
	}
	if status, _ := ask(t, http.DefaultClient, api.URL, refresh); status != 401 {
		t.Errorf("a refresh token opens the door: %d", status)
	}
	auth.Lock(id)
	if status, body := ask(t, http.DefaultClient, auth.URL+"/api/profile", access); status != 401 {
		t.Errorf("locked: %d %s", status, body)
	}
}
