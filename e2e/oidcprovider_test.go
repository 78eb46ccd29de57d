package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/jwt"
)

// issuer is oidc-provider as a process: an issuer that other people wrote.
type issuer struct {
	*process
	url    string
	nonces bool // its token endpoint wants them
}

// The audiences of its tokens, by their form, and its clients.
const (
	forJWT      = "https://jwt.example.com"
	forOpaque   = "https://opaque.example.com"
	forNeighbor = "https://neighbour.example.com" // opaque, too
)

var (
	robot  = map[string]any{"client_id": "robot", "client_secret": "r0bot's own: secret", "grant_types": []string{"client_credentials", "refresh_token"}}
	phone  = map[string]any{"client_id": "phone", "token_endpoint_auth_method": "none", "grant_types": []string{"refresh_token"}}
	itself = map[string]any{"client_id": "opaque api", "client_secret": "the API's +own", "grant_types": []string{}}
)

// serve starts the issuer, or starts it again on the same port. It signs with the
// first of keys and publishes all.
func (i *issuer) serve(keys ...json.RawMessage) {
	i.t.Helper()
	args, stdin := script(i.t, "issuer.mjs", map[string]any{
		"address": i.address, "jwks": map[string]any{"keys": keys}, "clients": []any{robot, phone, itself}, "nonces": i.nonces,
		"resources": map[string]string{forJWT: "jwt", forOpaque: "opaque", forNeighbor: "opaque"},
	})
	cmd := exec.Command("node", args...)
	cmd.Stdin = strings.NewReader(stdin)
	i.start(cmd)
}

// post sends a form to an endpoint as the robot and returns the body.
func (i *issuer) post(path string, form url.Values) []byte {
	i.t.Helper()
	r, err := http.NewRequestWithContext(i.t.Context(), http.MethodPost, i.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		i.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("robot", url.QueryEscape(robot["client_secret"].(string))) // RFC 6749 s2.3.1
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		i.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		i.t.Fatalf("%s: %s %s %v; its log:\n%s", path, resp.Status, body, err, i.logged())
	}
	return body
}

// token gets an access token for an audience.
func (i *issuer) token(audience string) string {
	i.t.Helper()
	var answer struct {
		Token string `json:"access_token"`
	}
	body := i.post("/token", url.Values{"grant_type": {"client_credentials"}, "resource": {audience}, "scope": {"read"}})
	if err := json.Unmarshal(body, &answer); err != nil || answer.Token == "" {
		i.t.Fatalf("%v: %s", err, body)
	}
	return answer.Token
}

// clock is one that a test sets ahead.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// ask asks at a door with a token and returns the status, and who was greeted or
// the code of the refusal.
func ask(ctx context.Context, d *door, token string) string {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url+"/x", nil)
	if err != nil {
		return err.Error()
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	if resp.StatusCode == http.StatusOK {
		return "200 " + strings.TrimSpace(string(body))
	}
	var problem struct{ Code string }
	if err := json.Unmarshal(body, &problem); err != nil {
		return fmt.Sprint(resp.StatusCode, " ", err)
	}
	return fmt.Sprint(resp.StatusCode, " ", problem.Code)
}

const welcome = "200 hello, robot"

// asks compares what a door answers to a token.
func asks(t *testing.T, what string, d *door, token, want string) {
	t.Helper()
	if got := ask(t.Context(), d, token); got != want {
		t.Errorf("%s: %s, want %s", what, got, want)
	}
}

// becomes waits for an answer, which every answer before it must be one of.
func becomes(t *testing.T, what string, d *door, token, until, want string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		switch got := ask(t.Context(), d, token); {
		case got == want:
			return
		case got != until || time.Now().After(deadline):
			t.Fatalf("%s: %s, want %s", what, got, want)
		}
	}
}

// oidc-provider gives out JWTs for one API and opaque tokens for another. Its keys
// roll, its tokens are revoked, and it goes away.
func TestOIDCProvider(t *testing.T) {
	t.Parallel()
	needScripts(t)
	_, first := privateKey(t, "ES256")
	_, second := privateKey(t, "ES256")
	i := &issuer{process: settle(t)}
	i.url = "http://" + i.address

	var c clock
	keys, err := jwt.NewRemoteKeys(jwt.RemoteConfig{Issuer: i.url, Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	v, err := jwt.New(jwt.Config{Issuer: i.url, Audience: []string{forJWT}, Keys: keys, Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	introspector := func(secret string) *jwt.Introspector {
		in, err := jwt.NewIntrospector(jwt.IntrospectorConfig{URL: i.url + "/token/introspection", Issuer: i.url, Audience: []string{forOpaque},
			ClientID: itself["client_id"].(string), ClientSecret: secret, Now: c.now})
		if err != nil {
			t.Fatal(err)
		}
		return in
	}
	door := func(s durward.Scheme) *door {
		d := listen(t)
		d.serve(d.guard(durward.Config{Schemes: []durward.Scheme{s}, Realm: "notes", Now: c.now}).
			Require(durward.Policy{Scopes: []string{"read"}}, hello))
		return d
	}
	byKeys, byAsking := door(v.Scheme()), door(introspector(itself["client_secret"].(string)).Scheme())

	// Nothing is known of an issuer that has not come up yet.
	unknown, _ := privateKey(t, "ES256")
	foreign, err := unknown.Sign(jwt.Claims{Issuer: i.url, Audience: []string{forJWT}, Subject: "robot", ClientID: "robot", ID: "1",
		Scopes: []string{"read"}, IssuedAt: time.Now(), Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	asks(t, "a JWT before the issuer is up", byKeys, foreign, "503 AUTH_UNAVAILABLE")
	asks(t, "an opaque token before the issuer is up", byAsking, "any", "503 AUTH_UNAVAILABLE")

	i.serve(first)
	c.advance(11 * time.Second) // past the pause between fetches
	old, opaque := i.token(forJWT), i.token(forOpaque)
	asks(t, "a JWT", byKeys, old, welcome)
	asks(t, "a JWT of a key of nobody's", byKeys, foreign, "401 INVALID_TOKEN")
	another := "A"
	if old[len(old)-90] == 'A' {
		another = "B"
	}
	asks(t, "a JWT with another payload", byKeys, old[:len(old)-90]+another+old[len(old)-89:], "401 INVALID_TOKEN")
	asks(t, "an opaque token where JWTs are taken", byKeys, opaque, "401 INVALID_TOKEN")
	asks(t, "an opaque token", byAsking, opaque, welcome)
	asks(t, "an opaque token cut", byAsking, opaque[:len(opaque)-1], "401 INVALID_TOKEN")
	asks(t, "an opaque token of the neighbour", byAsking, i.token(forNeighbor), "401 INVALID_TOKEN")
	asks(t, "a JWT where opaque tokens are taken", byAsking, old, "401 INVALID_TOKEN")
	asks(t, "where the API's own secret is wrong", door(introspector("other").Scheme()), opaque, "503 AUTH_UNAVAILABLE")

	// Revoked: dead when the answer that is remembered ends.
	i.post("/token/revocation", url.Values{"token": {opaque}})
	asks(t, "a revoked token, remembered", byAsking, opaque, welcome)
	c.advance(11 * time.Second)
	asks(t, "a revoked token", byAsking, opaque, "401 INVALID_TOKEN")

	// A new key signs: its tokens are taken at once, those of the old one until it is
	// withdrawn and our set is due for a fetch.
	i.stop()
	i.serve(second, first)
	fresh := i.token(forJWT)
	asks(t, "a JWT of the new key", byKeys, fresh, welcome)

	// Whoever asks with it all the while notices nothing of what follows.
	var others sync.WaitGroup
	end, asked := make(chan struct{}), new(atomic.Int64)
	for range 4 {
		others.Go(func() {
			for asked.Add(1) < 20_000 {
				if got := ask(context.WithoutCancel(t.Context()), byKeys, fresh); got != welcome {
					t.Errorf("a JWT of the new key, meanwhile: %s", got)
					return
				}
				select {
				case <-end:
					return
				case <-time.After(time.Millisecond):
				}
			}
		})
	}
	defer func() {
		close(end)
		others.Wait()
		t.Logf("%d requests meanwhile", asked.Load())
	}()
	asks(t, "a JWT of the old key", byKeys, old, welcome)
	i.stop()
	i.serve(second)
	asks(t, "a JWT of the withdrawn key, of which nobody told us", byKeys, old, welcome)
	c.advance(16 * time.Minute)
	becomes(t, "a JWT of the withdrawn key", byKeys, old, welcome, "401 INVALID_TOKEN")
	asks(t, "a JWT of the new key", byKeys, fresh, welcome)

	// Away: what is known goes on, what is not is nobody's fault.
	opaque = i.token(forOpaque)
	asks(t, "an opaque token", byAsking, opaque, welcome)
	i.stop()
	c.advance(5 * time.Second)
	asks(t, "a JWT while the issuer is away", byKeys, fresh, welcome)
	asks(t, "an opaque token that is remembered", byAsking, opaque, welcome)
	c.advance(16 * time.Minute)
	asks(t, "a JWT while the issuer is away for long", byKeys, fresh, welcome)
	asks(t, "a JWT of an unknown key", byKeys, foreign, "503 AUTH_UNAVAILABLE")
	asks(t, "an opaque token", byAsking, opaque, "503 AUTH_UNAVAILABLE")

	// Back: all as before.
	i.serve(second)
	c.advance(11 * time.Second)
	asks(t, "a JWT", byKeys, fresh, welcome)
	asks(t, "a JWT of an unknown key", byKeys, foreign, "401 INVALID_TOKEN")
	asks(t, "an opaque token of the store that is gone", byAsking, opaque, "401 INVALID_TOKEN")
	asks(t, "an opaque token", byAsking, i.token(forOpaque), welcome)
}

// A token of oidc-provider that is bound to a key, got and used by oauth4webapi.
func TestOIDCProviderDPoP(t *testing.T) {
	t.Parallel()
	needScripts(t)
	_, signs := privateKey(t, "ES256")
	_, jwk := privateKey(t, "ES256")
	_, other := privateKey(t, "ES256")
	i := &issuer{process: settle(t)}
	i.url = "http://" + i.address
	i.serve(signs)
	keys, err := jwt.NewRemoteKeys(jwt.RemoteConfig{Issuer: i.url})
	if err != nil {
		t.Fatal(err)
	}
	v, err := jwt.New(jwt.Config{Issuer: i.url, Audience: []string{forJWT}, Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	d := proofs(t, v)
	compare(t, runScript(t, "dpop.mjs", map[string]any{"api": d.url + "/x", "key": jwk, "other": other, "issuer": i.url, "client": robot, "resource": forJWT}),
		as("robot", []string{"token dpop read"}, byOAuth4webapi, byJose))
	d.saw(as("robot", sawOAuth4webapi, sawJose)...)
}
