package durwardtest_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/durwardtest"
	"github.com/durward-auth/durward/jwt"
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

// A test as a service would write it.
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
		{"another user", issuer.Token(func(c *jwt.Claims) { c.Subject = "bob" }), 200},
		{"of another service", issuer.Token(func(c *jwt.Claims) { c.Audience = []string{"https://other.example"} }), 401},
		{"expired", issuer.Token(func(c *jwt.Claims) {
			c.IssuedAt, c.Expires, c.AuthTime = c.IssuedAt.Add(-time.Hour), c.IssuedAt, c.IssuedAt.Add(-time.Hour)
		}), 401},
	} {
		if status, body := ask(t, plain, api.URL, c.token); status != c.status {
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
	if status, _ := ask(t, plain, guarded().URL, issuer.Token(nil)); status != 503 {
		t.Errorf("away: %d", status)
	}
	issuer.SetAway(false)
	api := guarded()
	old := issuer.Token(nil)
	issuer.Rotate()
	for _, token := range []string{issuer.Token(nil), old} {
		if status, body := ask(t, plain, api.URL, token); status != 200 {
			t.Errorf("%d %s", status, body)
		}
	}
	issuer.Withdraw()
	if status, body := ask(t, plain, guarded().URL, old); status != 401 {
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
		r.RemoteAddr = "127.0.0.1:1" // plain http is accepted from loopback
		r.Header.Set("Authorization", "Bearer "+issuer.Token(nil))
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r)
		fmt.Println(w.Code) // 404: the token is valid, the page does not exist
	}
	_ = test
}
