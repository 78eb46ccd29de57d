package nodes

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	library "github.com/durward-auth/durward"
	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/client"
	"github.com/durward-auth/durward/durwardtest"
	"github.com/durward-auth/durward/e2e/executable"
	"github.com/durward-auth/durward/internal/services"
	"github.com/durward-auth/durward/jwt"
)

const nginx = `
daemon off;
master_process off;
pid {{dir}}/pid;
error_log {{dir}}/errors;
events {}
http {
	client_body_temp_path {{dir}}/1; proxy_temp_path {{dir}}/2; fastcgi_temp_path {{dir}}/3; uwsgi_temp_path {{dir}}/4; scgi_temp_path {{dir}}/5;
	log_format wire '$request_method $uri $status';
	access_log {{dir}}/access wire;
	server {
		listen {{address}} ssl http2;
		ssl_certificate {{dir}}/server;
		ssl_certificate_key {{dir}}/server;
		location / {
			proxy_pass {{upstream}};
			proxy_set_header Host $http_host;
			proxy_set_header X-Forwarded-For $remote_addr;
			proxy_set_header X-Forwarded-Proto https;
		}
	}
}
`

// gateway is an nginx that terminates TLS before a node.
type gateway struct {
	t            *testing.T
	dir, address string
	read         int // number of compared lines of its log
}

// start starts nginx before a node and waits until it listens.
func (g *gateway) start(ca *durwardtest.CA, n *node) {
	g.t.Helper()
	host, _, _ := net.SplitHostPort(g.address)
	cert := ca.Server(host)
	der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		g.t.Fatal(err)
	}
	var text bytes.Buffer
	for kind, octets := range map[string][]byte{"CERTIFICATE": cert.Certificate[0], "PRIVATE KEY": der} {
		if err := pem.Encode(&text, &pem.Block{Type: kind, Bytes: octets}); err != nil {
			g.t.Fatal(err)
		}
	}
	configuration := strings.NewReplacer("{{dir}}", g.dir, "{{address}}", g.address, "{{upstream}}",
		n.url).Replace(nginx)
	path := filepath.Join(g.dir, "configuration")
	if err := errors.Join(os.WriteFile(filepath.Join(g.dir, "server"), text.Bytes(), 0o600),
		os.WriteFile(path, []byte(configuration), 0o600)); err != nil {
		g.t.Fatal(err)
	}
	cmd := exec.Command("nginx", "-c", path)
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	n.cl.eventually(func() error {
		conn, err := net.Dial("tcp", g.address)
		if err == nil {
			err = conn.Close()
		}
		return err
	})
}

// newRequests counts the requests of each kind since its last call. nginx logs a request after its
// response, so newRequests waits until there are atLeast requests of one kind.
func (g *gateway) newRequests(kind string, atLeast int) map[string]int {
	g.t.Helper()
	for end := time.Now().Add(executable.WaitLimit); ; time.Sleep(10 * time.Millisecond) {
		text, err := os.ReadFile(filepath.Join(g.dir, "access"))
		if err != nil {
			g.t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")[g.read:]
		got := map[string]int{}
		for _, line := range lines {
			got[line]++
		}
		if got[kind] >= atLeast || time.Now().After(end) {
			g.read += len(lines)
			return got
		}
	}
}

// wantRequests compares the new requests with want. last is the kind of the last request.
func (g *gateway) wantRequests(last string, want map[string]int) {
	g.t.Helper()
	if got := g.newRequests(last, want[last]); fmt.Sprint(got) != fmt.Sprint(want) {
		g.t.Errorf("requests: got %v, want %v", got, want)
	}
}

// TestTransportServer sends fifty concurrent requests with one sign-in to a real server behind
// nginx, with Bearer tokens and with tokens bound to a key. There must be one refresh for all.
// After the sign-out every request must fail with ErrSignedOut, without a request to the server.
func TestTransportServer(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("nginx"); err != nil {
		services.Missing(t, "nginx")
	}
	for _, bound := range []bool{false, true} {
		t.Run(map[bool]string{false: "Bearer", true: "DPoP"}[bound], func(t *testing.T) {
			t.Parallel()
			ca := durwardtest.NewCA(t)
			g := &gateway{t: t, dir: t.TempDir(), address: services.Host() + ":8402"}
			url := "https://" + g.address
			cl := newCluster(t, clusterConfig{nodes: 1,
				env: []string{"DURWARD_PUBLIC_URL=" + url, "DURWARD_ISSUER=" + url,
					"DURWARD_TRUSTED_PROXIES=127.0.0.0/8", "DURWARD_DPOP=true"}})
			address := cl.users(1)[0]
			g.start(ca, cl.nodes[0])

			var ahead, over atomic.Int64
			base := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool}, ForceAttemptHTTP2: true}
			config := api.ClientConfig{
				URL:   url,
				Store: client.FileStore{Path: filepath.Join(t.TempDir(), "session")},
				HTTP:  &http.Client{Transport: base, Timeout: executable.WaitLimit},
				Now:   func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
			}
			scheme := "Bearer"
			if bound {
				key, err := jwt.GenerateKey("ES256")
				if err != nil {
					t.Fatal(err)
				}
				config.Prove, scheme = key.Prove, "DPoP"
			}
			auth, err := api.NewClient(config)
			if err != nil {
				t.Fatal(err)
			}
			source := func() client.Source {
				return auth.Source(client.TokensConfig{OnSignedOut: func(error) { over.Add(1) }})
			}
			_, err = auth.SignIn(t.Context(), address, "a wrong password")
			if !errors.Is(err, library.InvalidCredentials) {
				t.Errorf("a wrong password: %v", err)
			}
			token, err := auth.SignIn(t.Context(), address, password)
			if err != nil || token.Type != scheme {
				t.Fatalf("%v, a %s token", err, token.Type)
			}
			nonce := map[bool]int{true: 1}[bound] // one more request, with the server's nonce
			merge := func(all map[string]int, key string, n int) map[string]int {
				if n > 0 {
					all[key] += n
				}
				return all
			}
			g.wantRequests("POST /api/auth/login 200",
				merge(map[string]int{"POST /api/auth/login 200": 1}, "POST /api/auth/login 401", 1+nonce))

			call := func(c *http.Client) (string, error) {
				ctx, cancel := context.WithTimeout(t.Context(), executable.WaitLimit)
				defer cancel()
				r, err := http.NewRequestWithContext(ctx, http.MethodPatch, url+"/api/profile",
					strings.NewReader(`{"name":"Ada"}`))
				if err != nil {
					return "", err
				}
				r.Header.Set("Content-Type", "application/json")
				resp, err := c.Do(r)
				if err != nil {
					return "", err
				}
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				if err == nil && resp.StatusCode == 200 && !bytes.Contains(body, []byte(`"Ada"`)) {
					err = fmt.Errorf("response body: %s", body)
				}
				return fmt.Sprint(resp.StatusCode), err
			}
			const many = 50
			callTogether := func(c *http.Client, good func(string, error) bool) {
				t.Helper()
				var all sync.WaitGroup
				for range many {
					all.Go(func() {
						if got, err := call(c); !good(got, err) {
							t.Errorf("%s, %v", got, err)
						}
					})
				}
				all.Wait()
			}
			accepted := func(got string, err error) bool { return err == nil && got == "200" }
			c := &http.Client{Transport: &client.Transport{Base: base, Sources: []client.Source{source()}}}
			if got, err := call(c); !accepted(got, err) {
				t.Fatalf("%s, %v", got, err)
			}
			g.wantRequests("PATCH /api/profile 200",
				merge(map[string]int{"PATCH /api/profile 200": 1}, "PATCH /api/profile 401", nonce))
			callTogether(c, accepted)
			g.wantRequests("PATCH /api/profile 200", map[string]int{"PATCH /api/profile 200": many})

			// The token expires by the client's clock. The client has the nonce since its sign-in.
			for range 3 {
				ahead.Add(int64(time.Hour))
				callTogether(c, accepted)
				g.wantRequests("PATCH /api/profile 200",
					map[string]int{"PATCH /api/profile 200": many, "POST /api/auth/refresh 200": 1})
			}

			// The token is refused before it expires: one refresh for all refused requests.
			err = config.Store.Update(t.Context(), func(_ context.Context, stored client.Token) (client.Token, error) {
				if slices.Contains([]string{token.Access, ""}, stored.Access) || stored.Refresh == token.Refresh ||
					stored.Type != scheme {
					t.Errorf("store: got a %s token, want the new %s token", stored.Type, scheme)
				}
				stored.Access = stored.Access[:len(stored.Access)-8] + "AAAAAAAA"
				return stored, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			c = &http.Client{Transport: &client.Transport{Base: base, Sources: []client.Source{source()}}}
			callTogether(c, accepted)
			got := g.newRequests("PATCH /api/profile 200", many)
			if got["PATCH /api/profile 200"] != many || got["POST /api/auth/refresh 200"] != 1 ||
				got["POST /api/auth/refresh 401"] != 0 ||
				got["PATCH /api/profile 401"] < 1 || got["PATCH /api/profile 401"] > (1+nonce)*many ||
				len(got) != 3 {
				t.Errorf("requests: got %v, want %d calls and one refresh", got, many)
			}

			// After a sign-out the token is dead before it expires, and all requests fail with
			// ErrSignedOut.
			if err := auth.SignOut(t.Context()); err != nil {
				t.Fatal(err)
			}
			g.wantRequests("POST /api/auth/logout 204", map[string]int{"POST /api/auth/logout 204": 1})
			callTogether(c, func(_ string, err error) bool { return errors.Is(err, client.ErrSignedOut) })
			if over.Load() != 1 {
				t.Errorf("calls of OnSignedOut: got %d, want 1", over.Load())
			}
			if stored, err := config.Store.Load(t.Context()); err != nil || stored.Access != "" {
				t.Errorf("store after the sign-out: got %v, %v, want no token", stored, err)
			}
		})
	}
}
