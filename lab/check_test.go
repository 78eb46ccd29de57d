package lab_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/durward-auth/durward/internal/check"
	"github.com/durward-auth/durward/lab"
)

// checked runs the check on an endpoint with the tokens of the lab, and returns the ids of the rows that
// failed, of those that passed, and of all.
func checked(t *testing.T, origin, path string, transport *http.Transport, proxy *url.URL) (failed, passed, all []string) {
	t.Helper()
	token := func(kind string) string {
		c := &http.Client{Transport: transport}
		resp, err := c.Get(origin + "/lab/token?kind=" + kind + "&for=" + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return strings.TrimSpace(bodyOf(t, resp))
	}
	report, err := check.Run(t.Context(), check.Config{
		URL: origin + path, Good: token("good"), Expired: token("expired"), Audience: token("wrong-audience"), NoScope: token("no-scope"),
		Transport: transport, Proxy: proxy,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range report.Rows {
		all = append(all, row.ID)
		switch row.Outcome {
		case check.Failed:
			failed = append(failed, row.ID)
			t.Logf("%s fails %s: %s", path, row.ID, row.Text)
		case check.Passed:
			passed = append(passed, row.ID)
		}
	}
	return failed, passed, all
}

// Each endpoint below /lab/fault fails the check in its own row alone.
func TestFaults(t *testing.T) {
	t.Parallel()
	public, err := lab.New(lab.Config{PublicURL: "https://lab.example"})
	if err != nil {
		t.Fatal(err)
	}
	secure := httptest.NewTLSServer(public)
	t.Cleanup(secure.Close)
	// The port for plain http is a proxy that tells the lab what its client used.
	clear := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("X-Forwarded-Proto", "http")
		public.ServeHTTP(w, r)
	}))
	t.Cleanup(clear.Close)
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // the certificate is for example.com
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if strings.HasSuffix(address, ":443") {
			return new(net.Dialer).DialContext(ctx, network, secure.Listener.Addr().String())
		}
		return new(net.Dialer).DialContext(ctx, network, clear.Listener.Addr().String())
	}
	t.Cleanup(transport.CloseIdleConnections)
	plain, x := start(t)
	proxy, err := url.Parse(plain.URL)
	if err != nil {
		t.Fatal(err)
	}
	_, _, rows := checked(t, plain.URL, "/lab/fault/none", &http.Transport{}, nil)
	for _, id := range rows {
		if !slices.ContainsFunc(x.Endpoints, func(e lab.Endpoint) bool { return e.Path == "/lab/fault/"+id }) {
			t.Errorf("the check has the row %s, the lab no fault for it", id)
		}
	}
	for _, e := range x.Endpoints {
		id, ok := strings.CutPrefix(e.Path, "/lab/fault/")
		if !ok {
			continue
		}
		t.Run(id, func(t *testing.T) {
			want := e.Faults
			failed, passed, _ := checked(t, "https://lab.example", e.Path, transport, nil)
			if id == "proxy-407" { // through the lab as a proxy, which answers for itself only plain http
				want = []string{}
			}
			if !slices.Equal(failed, want) && len(failed)+len(want) > 0 {
				t.Errorf("https: failed %q, want %q", failed, want)
			}
			if id == "none" && len(passed) < 20 {
				t.Errorf("only %q passed", passed)
			}
			want = e.Faults
			if id == "tls" || id == "in-the-clear" { // nothing to see on loopback
				want = []string{}
			}
			if failed, _, _ = checked(t, plain.URL, e.Path, &http.Transport{}, proxy); !slices.Equal(failed, want) && len(failed)+len(want) > 0 {
				t.Errorf("loopback: failed %q, want %q", failed, want)
			}
		})
	}
}
