package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/e2e/executable"
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
	if _, err := peers(); err != nil {
		z.t.Fatal(err)
	}
	input, err := json.Marshal(map[string]string{"address": z.address, "client": "robot", "secret": zitadelSecret,
		"audience": forJWT})
	if err != nil {
		z.t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(executable.Dir, "zitadel"))
	cmd.Stdin = strings.NewReader(string(input))
	z.start(cmd)
}

// post sends a form and returns the body of the response.
func (z *zitadel) post(path string, form url.Values) []byte {
	z.t.Helper()
	resp, err := http.PostForm(z.url+path, form)
	if err != nil {
		z.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		z.t.Fatalf("%s: %s %s %v; its log:\n%s", path, resp.Status, body, err, z.logText())
	}
	return body
}

// token returns a token of the client.
func (z *zitadel) token() string {
	z.t.Helper()
	body := z.post("/oauth/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {"robot"},
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
		keys, err := jwt.NewRemoteKeys(jwt.RemoteConfig{Issuer: z.url, Now: c.now})
		if err != nil {
			t.Fatal(err)
		}
		v, err := jwt.New(jwt.Config{Issuer: z.url, Audience: []string{forJWT}, Keys: keys, Profile: p,
			Algorithms: []string{"RS256"}, Now: c.now})
		if err != nil {
			t.Fatal(err)
		}
		srv := newServer(t)
		srv.serve(srv.guard(durward.Config{Schemes: []durward.Scheme{v.Scheme()}, Now: c.now}).Handler(hello))
		return srv
	}
	srv := guarded(jwt.Profile{Types: []string{"JWT"}})
	pause := func() { c.advance(11 * time.Second) } // between fetches of the key set

	z.serve()
	first := z.token()
	wantAnswer(t, "a token", srv, first, welcome)
	wantAnswer(t, "a token, by RFC 9068", guarded(jwt.Profile{}), first, "401 INVALID_TOKEN")
	z.post("/rotate", nil)
	pause()
	second := z.token()
	wantAnswer(t, "a token of the new key", srv, second, welcome)
	wantAnswer(t, "a token of the old key", srv, first, welcome)
	z.post("/rotate", nil)
	z.post("/withdraw", nil)
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
