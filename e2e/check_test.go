package e2e

import (
	"crypto/tls"
	"net/http"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward/durwardtest"
	"github.com/durward-auth/durward/internal/check"
)

// TestCheckOthers checks servers of other projects. Each row that fails is a property of the server, and
// docs/check.md lists it.
func TestCheckOthers(t *testing.T) {
	t.Parallel()
	ca := durwardtest.NewCA(t)
	front := func(start func(t *testing.T) (*peer, *notes)) func(*testing.T) (string, *url.URL) {
		return func(t *testing.T) (string, *url.URL) {
			p, _ := start(t)
			return p.url + "/x", nil
		}
	}
	for _, c := range []struct {
		name   string
		start  func(t *testing.T) (address string, proxy *url.URL)
		failed []string
		passed int // rows
	}{
		{"nginx, Basic", front(func(t *testing.T) (*peer, *notes) { return newNginx(t, nil, "$status", nginxBasic) }), nil, 11},
		{"nginx, Basic over TLS", front(func(t *testing.T) (*peer, *notes) { return newNginx(t, ca, "$status", nginxBasic) }), []string{"tls"}, 11},
		{"Apache, Basic", front(func(t *testing.T) (*peer, *notes) { return newApache(t, apacheBasic) }), nil, 11},
		{"Apache, Digest", front(func(t *testing.T) (*peer, *notes) { return newApache(t, apacheDigest) }), []string{"digest"}, 11},
		{"lighttpd, Basic", front(func(t *testing.T) (*peer, *notes) { return newLighttpd(t, "plain", lighttpdBasic) }), nil, 11},
		{"lighttpd, Digest", front(func(t *testing.T) (*peer, *notes) { return newLighttpd(t, "htdigest", lighttpdSHA256) }), nil, 12},
		{"Squid, Basic", func(t *testing.T) (string, *url.URL) {
			p := newSquid(t, squidBasic)
			proxy, err := p.proxy(nil)
			if err != nil {
				t.Fatal(err)
			}
			n, _ := newNginx(t, nil, "$status", nginxBasic)
			return n.url + "/x", proxy
		}, nil, 12},
		{"Docker registry", func(t *testing.T) (string, *url.URL) {
			needPrograms(t, "docker-registry")
			tokens, p := newTokenServer(t), newPeer(t)
			p.write("signer", encodePEM(t, tls.Certificate{Certificate: [][]byte{tokens.cert}}))
			p.run(nil, "docker-registry", "serve", p.write("configuration", registry, "{{tokens}}", tokens.url))
			return p.url + "/v2/", nil
		}, nil, 12},
		{"Caddy, Basic", func(t *testing.T) (string, *url.URL) { return newCaddy(t).url + "/x", nil }, nil, 11},
		{"Radicale", func(t *testing.T) (string, *url.URL) { return newRadicale(t).url + "/ada/", nil }, []string{"malformed"}, 10},
		{"oidc-provider", func(t *testing.T) (string, *url.URL) {
			needScripts(t)
			_, signs := privateKey(t, "ES256")
			i := &issuer{process: newProcess(t)}
			i.url = "http://" + i.address
			i.serve(signs)
			return i.url + "/me", nil
		}, []string{"anonymous-401"}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			address, proxy := c.start(t)
			config := check.Config{URL: address, Proxy: proxy, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool}}}
			wantCheck(t, config, c.failed, c.passed)
		})
	}
}

// wantCheck checks a server. It requires that the given rows fail and no others, and that enough rows pass.
func wantCheck(t *testing.T, config check.Config, wantFailed []string, wantPassed int) {
	t.Helper()
	r, err := check.Run(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	var failed []string
	passed := 0
	for _, row := range r.Rows {
		switch row.Outcome {
		case check.Failed:
			failed = append(failed, row.ID)
		case check.Passed:
			passed++
		}
	}
	t.Log(r.Text(80, false))
	if !slices.Equal(failed, wantFailed) || passed < wantPassed {
		t.Errorf("failed %q, want %q; %d passed, want at least %d", failed, wantFailed, passed, wantPassed)
	}
}

// TestCheckExpress checks express-oauth2-jwt-bearer with tokens of its issuer.
func TestCheckExpress(t *testing.T) {
	t.Parallel()
	needScripts(t)
	key, jwk := privateKey(t, "ES256")
	i := &issuer{process: newProcess(t)}
	i.url = "http://" + i.address
	i.serve(jwk)
	api := newProcess(t)
	args, stdin := script(t, "api.mjs", map[string]any{"address": api.address, "issuer": i.url, "resource": forJWT})
	cmd := exec.Command("node", args...)
	cmd.Stdin = strings.NewReader(stdin)
	api.start(cmd)
	now := time.Now()
	r, err := check.Run(t.Context(), check.Config{
		URL:      "http://" + api.address + "/admin",
		Good:     signed(t, key, i.url, forJWT, now, "admin"),
		Expired:  signed(t, key, i.url, forJWT, now.Add(-time.Hour), "admin"),
		Audience: signed(t, key, i.url, forOpaque, now, "admin"),
		NoScope:  signed(t, key, i.url, forJWT, now, "read"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(r.Text(80, false))
	passed := map[string]bool{}
	var failed []string
	for _, row := range r.Rows {
		passed[row.ID] = row.Outcome == check.Passed
		if row.Outcome == check.Failed {
			failed = append(failed, row.ID)
		}
	}
	for _, id := range []string{"anonymous-401", "challenge", "forged-token", "expired", "audience", "scope"} {
		if !passed[id] {
			t.Errorf("%s did not pass", id)
		}
	}
	if want := []string{"token-in-query"}; !slices.Equal(failed, want) || len(r.Notes) > 0 {
		t.Errorf("failed %q, want %q; notes %q", failed, want, r.Notes)
	}
}
