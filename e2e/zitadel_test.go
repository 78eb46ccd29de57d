package e2e

import (
	"encoding/json"
	"net/url"
	"testing"
	"time"

	"github.com/durward-auth/durward/jwt"
)

// zitadel is a running issuer made with zitadel/oidc.
type zitadel struct {
	*process
	url string
}

const zitadelSecret = "secret of zitadel"

func (z *zitadel) serve() {
	z.t.Helper()
	z.startPeer("zitadel", map[string]string{
		"address":  z.address,
		"client":   "robot",
		"secret":   zitadelSecret,
		"audience": forJWT,
	})
}

// token returns a token of the client.
func (z *zitadel) token() string {
	z.t.Helper()
	body := z.postForm(z.url+"/oauth/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {"robot"},
		"client_secret": {zitadelSecret}, "scope": {"read"}})
	var answer struct {
		Access string `json:"access_token"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Access == "" {
		z.t.Fatalf("%v: %s", err, body)
	}
	return answer.Access
}

// TestZitadel verifies tokens of zitadel/oidc while its keys rotate and while it is down. Their typ is
// JWT, with all other claims of RFC 9068.
func TestZitadel(t *testing.T) {
	t.Parallel()
	z := &zitadel{process: newProcess(t)}
	z.url = "http://" + z.address
	var c clock
	guarded := func(p jwt.Profile) *server {
		v := verifierOf(t, jwt.RemoteConfig{Issuer: z.url, Now: c.now}, jwt.Config{
			Audience:   []string{forJWT},
			Profile:    p,
			Algorithms: []string{"RS256"},
			Now:        c.now,
		})
		return newGuarded(t, v.Scheme(), c.now, hello)
	}
	srv := guarded(jwt.Profile{Types: []string{"JWT"}})
	pause := func() { c.advance(11 * time.Second) } // between fetches of the key set

	z.serve()
	first := z.token()
	wantAnswer(t, "a token", srv, first, welcome)
	wantAnswer(t, "a token, by RFC 9068", guarded(jwt.Profile{}), first, "401 INVALID_TOKEN")
	z.postForm(z.url+"/rotate", nil)
	pause()
	second := z.token()
	wantAnswer(t, "a token of the new key", srv, second, welcome)
	wantAnswer(t, "a token of the old key", srv, first, welcome)
	z.postForm(z.url+"/rotate", nil)
	z.postForm(z.url+"/withdraw", nil)
	pause()
	third := z.token()
	wantAnswer(t, "a token of the third key", srv, third, welcome)
	wantAnswer(t, "a token of a withdrawn key", srv, first, "401 INVALID_TOKEN")
	wantAnswer(t, "a token of another withdrawn key", srv, second, "401 INVALID_TOKEN")

	z.stop()
	pause()
	wantAnswer(t, "a token while the issuer is down", srv, third, welcome)
	wantAnswer(t, "a token of an unknown key while the issuer is down", srv, first, "503 AUTH_UNAVAILABLE")
	z.serve() // with new keys
	pause()
	wantAnswer(t, "a token of the restarted issuer", srv, z.token(), welcome)
	wantAnswer(t, "a token of a lost key", srv, third, "401 INVALID_TOKEN")
}
