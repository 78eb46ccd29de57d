package durwardtest

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"testing"

	"github.com/durward-auth/durward/internal/check"
)

// CheckConfig describes a call of [Check].
type CheckConfig struct {
	// URL is the protected address, as clients know it; the default is [Audience] and a slash. The
	// handler receives the requests to its host over TLS, and those to its http counterpart without.
	URL string

	// Tokens for URL. A row that needs one does not apply without it.
	Good     string // accepted
	Expired  string // like Good, but expired
	Audience string // like Good, but for another audience
	NoScope  string // like Good, but without the scope that URL needs

	// Origin is an origin with pages that may call URL, such as "https://app.example.com".
	Origin string

	// Except lists rows that may fail, such as "tls" if a proxy adds Strict-Transport-Security. One
	// that does not fail is an error, so that the list stays true.
	Except []string
}

// remoteAddr is the address of the client that a handler sees, of a range for documents (RFC 5737 s3).
// Handlers may trust loopback more than a client of the network.
const remoteAddr = "192.0.2.1:1024"

// Check asks a handler as `durward check` asks a server, over real connections: without credentials,
// with malformed ones, with forged tokens, as a browser and as a script. Each row that fails is an
// error of the test, with its clause and remedy.
func Check(t testing.TB, h http.Handler, c CheckConfig) {
	t.Helper()
	if c.URL == "" {
		c.URL = Audience + "/"
	}
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		t.Fatalf("durwardtest: Check needs an https URL, not %q", c.URL)
	}
	ca := NewCA(t)
	remote := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.RemoteAddr = remoteAddr
		h.ServeHTTP(w, r)
	})
	secure, clear := httptest.NewUnstartedServer(remote), httptest.NewServer(remote)
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{ca.Server(u.Hostname())}}
	secure.EnableHTTP2 = true
	secure.StartTLS()
	defer secure.Close()
	defer clear.Close()
	port := u.Port()
	if port == "" {
		port = "443"
	}
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: ca.Pool},
		ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			to := clear.Listener
			if addr == net.JoinHostPort(u.Hostname(), port) {
				to = secure.Listener
			}
			return new(net.Dialer).DialContext(ctx, to.Addr().Network(), to.Addr().String())
		},
	}
	r, err := check.Run(t.Context(), check.Config{
		URL: c.URL, Good: c.Good, Expired: c.Expired, Audience: c.Audience, NoScope: c.NoScope, Origin: c.Origin, Transport: transport,
	})
	if err != nil {
		t.Fatalf("durwardtest: %v", err)
	}
	excepted := slices.Clone(c.Except)
	for _, row := range r.Rows {
		if i := slices.Index(excepted, row.ID); i >= 0 && row.Outcome == check.Failed {
			excepted = slices.Delete(excepted, i, i+1)
		} else if row.Outcome == check.Failed {
			t.Errorf("%s: %s\n%s (%s)\nfix: %s", row.ID, row.Text, row.Subject, row.Clause, row.Fix)
		}
	}
	if len(excepted) > 0 {
		t.Errorf("Except lists %q, which did not fail", excepted)
	}
	for _, note := range append(r.Notes, r.Limits...) {
		t.Error(note)
	}
	t.Log(r.Summary())
}
