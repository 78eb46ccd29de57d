package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/jwt"
)

// dex is a running Dex.
type dex struct {
	*process
	url string
	c   clock // of Dex and of the verifiers of its tokens
}

// The client of Dex. Its name is the audience of ID tokens.
const (
	dexClient = "https://api.example.com"
	dexSecret = "its secret"
	dexPage   = "http://client.invalid/callback"
)

func newDex(t *testing.T) *dex {
	d := &dex{process: newProcess(t)}
	d.url = "http://" + d.address
	return d
}

// serve starts Dex with new keys.
func (d *dex) serve() {
	d.t.Helper()
	folder, err := peers()
	if err != nil {
		d.t.Fatal(err)
	}
	d.startPeer("dex", map[string]string{
		"address":  d.address,
		"web":      filepath.Join(folder, "web"),
		"client":   dexClient,
		"secret":   dexSecret,
		"redirect": dexPage,
	})
}

// advance advances the clock. Dex rotates its key if it is due: after 6 h. It publishes an old key
// for 24 h.
func (d *dex) advance(by time.Duration) {
	d.t.Helper()
	d.c.advance(by)
	d.postForm(d.url+"/advance", url.Values{"by": {by.String()}})
}

// signIn signs in as Dex's only user and returns the ID token and the access token.
func (d *dex) signIn() (id, access string) {
	d.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		d.t.Fatal(err)
	}
	browser := &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), dexPage) {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	resp, err := browser.Get(d.url + "/auth?" + url.Values{"client_id": {dexClient}, "redirect_uri": {dexPage},
		"response_type": {"code"}, "scope": {"openid email groups"}, "state": {"1"}}.Encode())
	if err != nil {
		d.t.Fatal(err)
	}
	resp.Body.Close()
	page, err := resp.Location()
	if err != nil {
		d.t.Fatalf("%s: %v; its log:\n%s", resp.Status, err, d.logText())
	}
	body := d.postForm(d.url+"/token", url.Values{"grant_type": {"authorization_code"},
		"code": {page.Query().Get("code")}, "redirect_uri": {dexPage}, "client_id": {dexClient},
		"client_secret": {dexSecret}})
	var answer struct {
		ID     string `json:"id_token"`
		Access string `json:"access_token"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.ID == "" || answer.Access == "" {
		d.t.Fatalf("%v: %s", err, body)
	}
	return answer.ID, answer.Access
}

// dexProfile accepts the ID tokens of Dex, as Kubernetes does: Dex gives no other JWT.
var dexProfile = jwt.Profile{
	Name:     "Dex",
	Types:    []string{""},
	Required: []string{"iat"},
	IDToken:  []string{},
	Roles:    []string{"groups"},
}

// TestDex verifies ID tokens of Dex while its keys rotate and while it is down.
func TestDex(t *testing.T) {
	t.Parallel()
	d, other := newDex(t), newDex(t)
	guarded := func(issuer string, p jwt.Profile) *server {
		v := verifierOf(t, jwt.RemoteConfig{Issuer: issuer, Now: d.c.now}, jwt.Config{
			Audience:    []string{dexClient},
			Profile:     p,
			Algorithms:  []string{"RS256"},
			MaxLifetime: 25 * time.Hour,
			Now:         d.c.now,
		})
		return newGuarded(t, v.Scheme(), d.c.now, rolesOf)
	}
	srv, standard := guarded(d.url, dexProfile), guarded(d.url, jwt.Profile{})
	const welcome = "200 authors"

	other.serve()
	foreign, _ := other.signIn()
	wantAnswer(t, "a token before Dex is up", srv, foreign, "401 INVALID_TOKEN") // of another issuer
	d.serve()
	old, opaque := d.signIn()
	wantAnswer(t, "an ID token", srv, old, welcome)
	wantAnswer(t, "an ID token, by RFC 9068", standard, old, "401 INVALID_TOKEN")
	wantAnswer(t, "an opaque token", srv, opaque, "401 INVALID_TOKEN")
	wantAnswer(t, "a token of another Dex", srv, foreign, "401 INVALID_TOKEN")
	wantAnswer(t, "a token with another signature", srv, old[:strings.LastIndex(old, ".")]+foreign[strings.LastIndex(foreign, "."):],
		"401 INVALID_TOKEN")

	d.advance(7 * time.Hour)
	fresh, _ := d.signIn()
	if kid(t, fresh) == kid(t, old) {
		t.Fatal("Dex has not rotated its key")
	}
	wantAnswer(t, "a token of the new key", srv, fresh, welcome)
	wantAnswer(t, "a token of the old key", srv, old, welcome)

	d.stop()
	d.c.advance(2 * time.Hour)
	wantAnswer(t, "a token while Dex is down", srv, fresh, welcome)
	wantAnswer(t, "a token of the old key while Dex is down", srv, old, welcome)
	wantAnswer(t, "a token while Dex is down, at an API without its keys", guarded(d.url, dexProfile), fresh,
		"503 AUTH_UNAVAILABLE")

	// Dex has lost its keys with its memory.
	d.serve()
	d.c.advance(time.Hour)
	waitForAnswer(t, "a token of a lost key", srv, fresh, welcome, "401 INVALID_TOKEN")
}

// rolesOf responds with the roles of the principal.
var rolesOf = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintln(w, strings.Join(durward.From(r.Context()).Roles, " "))
})

// kid returns the kid of a token.
func kid(t *testing.T, token string) string {
	t.Helper()
	text, _, _ := strings.Cut(token, ".")
	header, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	var h struct{ Kid string }
	if err := json.Unmarshal(header, &h); err != nil || h.Kid == "" {
		t.Fatalf("%s: no kid, %v", header, err)
	}
	return h.Kid
}
