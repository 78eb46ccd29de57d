package e2e

import (
	"context"
	"crypto/tls"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/durwardtest"
	"github.com/durward-auth/durward/jwt"
)

// echo accepts a WebSocket and sends the subject with each message back.
var echo = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // Accept has answered
	}
	defer conn.CloseNow()
	for {
		kind, message, err := conn.Read(r.Context())
		if err != nil {
			return
		}
		message = append([]byte(durward.From(r.Context()).Subject+": "), message...)
		if conn.Write(r.Context(), kind, message) != nil {
			return
		}
	}
})

// TestWebSocketThroughProxy opens WebSockets through proxies that terminate TLS, with a token and with a
// client certificate. One of them names the scheme wss in X-Forwarded-Proto, as Traefik does.
func TestWebSocketThroughProxy(t *testing.T) {
	t.Parallel()
	wss := proxies[0]
	wss.name = "haproxy with wss"
	wss.configuration = strings.ReplaceAll(haproxy, "X-Forwarded-Proto https", "X-Forwarded-Proto wss")
	for _, c := range append([]proxy{wss}, proxies...) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ca, issuer := durwardtest.NewCA(t), durwardtest.NewIssuer(t)
			p, srv := newProcess(t), newServer(t)
			srv.serve(srv.guard(c.behind(p, durward.Config{
				Schemes: []durward.Scheme{jwt.Bearer(issuer.URL, durwardtest.Audience), certificates(ca)},
			})).Handler(echo))
			c.start(t, p, srv, ca)

			dial := func(origin, token string, certs ...tls.Certificate) (answer string) {
				t.Helper()
				header := make(http.Header)
				if origin != "" {
					header.Set("Origin", origin)
				}
				if token != "" {
					header.Set("Authorization", "Bearer "+token)
				}
				client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool,
					Certificates: certs}}}
				defer client.CloseIdleConnections()
				ctx, cancel := context.WithTimeout(t.Context(), runTimeout)
				defer cancel()
				conn, resp, err := websocket.Dial(ctx, "wss://"+p.address+"/x",
					&websocket.DialOptions{HTTPClient: client, HTTPHeader: header})
				if err != nil && resp != nil {
					return resp.Status
				}
				if err != nil {
					return err.Error()
				}
				defer conn.CloseNow()
				for _, message := range []string{"one", strings.Repeat("two", 10_000)} {
					if err := conn.Write(ctx, websocket.MessageText, []byte(message)); err != nil {
						return err.Error()
					}
					conn.SetReadLimit(1 << 20)
					_, got, err := conn.Read(ctx)
					if err != nil {
						return err.Error()
					}
					subject, rest, _ := strings.Cut(string(got), ": ")
					if rest != message || answer != "" && subject != answer {
						t.Errorf("echo: got %.50q, want %.50q of %s", got, message, answer)
					}
					answer = subject
				}
				if err := conn.Close(websocket.StatusNormalClosure, ""); err != nil {
					t.Errorf("close: %v", err)
				}
				return answer
			}
			want := func(what, got, want string) {
				t.Helper()
				if got != want {
					t.Errorf("%s: got %s, want %s", what, got, want)
				}
			}
			own, evil := "https://"+p.address, "https://evil.example"
			token, ada := issuer.Token(func(c *jwt.Claims) { c.Subject = "robot" }), ca.Client(user, nil)
			want("a token", dial("", token), "robot")
			want("a token, from an own page", dial(own, token), "robot")
			want("a certificate", dial("", "", ada), user)
			want("a certificate, from an own page", dial(own, "", ada), user)
			want("a certificate, from a page of another origin", dial(evil, "", ada), "403 Forbidden")
			want("a token and a certificate", dial("", token, ada), "robot")
			want("no credentials", dial("", ""), "401 Unauthorized")
			want("a wrong token", dial("", token+"x"), "401 Unauthorized")
			want("a wrong token and a certificate", dial("", token+"x", ada), "401 Unauthorized")
			want("a certificate of an unknown authority", dial("", "", durwardtest.NewCA(t).Client(user, nil)),
				"401 Unauthorized")
		})
	}
}
