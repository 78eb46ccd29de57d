package e2e

import (
	"cmp"
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

// issuer is a running oidc-provider, an issuer of another project.
type issuer struct {
	*process
	url    string
	alg    string // of its signatures; default ES256
	nonces bool   // whether its token endpoint requires nonces
}

// The audiences, named after the form of their tokens.
const (
	forJWT      = "https://jwt.example.com"
	forOpaque   = "https://opaque.example.com"
	forNeighbor = "https://neighbour.example.com" // opaque as well
)

// The clients of the issuer.
var (
	robot = map[string]any{"client_id": "robot", "client_secret": "r0bot's own: secret",
		"grant_types": []string{"client_credentials", "refresh_token"}}
	phone = map[string]any{"client_id": "phone", "token_endpoint_auth_method": "none",
		"grant_types": []string{"refresh_token"}}
	apiClient = map[string]any{"client_id": "opaque api", "client_secret": "the API's +own", "grant_types": []string{}}
)

// serve starts the issuer, or restarts it on the same port. It signs with the first of keys and
// publishes all.
func (i *issuer) serve(keys ...json.RawMessage) {
	i.t.Helper()
	args, stdin := script(i.t, "issuer.mjs", map[string]any{
		"address": i.address, "jwks": map[string]any{"keys": keys}, "clients": []any{robot, phone, apiClient},
		"alg": cmp.Or(i.alg, "ES256"), "nonces": i.nonces,
		"resources": map[string]string{forJWT: "jwt", forOpaque: "opaque", forNeighbor: "opaque"},
	})
	cmd := exec.Command("node", args...)
	cmd.Stdin = strings.NewReader(stdin)
	i.start(cmd)
}

// post sends a form as the client robot and returns the body of the response.
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
		i.t.Fatalf("%s: %s %s %v; its log:\n%s", path, resp.Status, body, err, i.logText())
	}
	return body
}

// token requests an access token for an audience.
func (i *issuer) token(audience string) string {
	i.t.Helper()
	var answer struct {
		Token string `json:"access_token"`
	}
	body := i.post("/token", url.Values{"grant_type": {"client_credentials"}, "resource": {audience},
		"scope": {"read"}})
	if err := json.Unmarshal(body, &answer); err != nil || answer.Token == "" {
		i.t.Fatalf("%v: %s", err, body)
	}
	return answer.Token
}

// verifierOf returns a verifier of an issuer's tokens, with the keys that remote finds.
func verifierOf(t *testing.T, remote jwt.RemoteConfig, c jwt.Config) *jwt.Verifier {
	t.Helper()
	keys, err := jwt.NewRemoteKeys(remote)
	if err != nil {
		t.Fatal(err)
	}
	c.Issuer, c.Keys = remote.Issuer, keys
	v, err := jwt.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// newGuarded starts a server that requires credentials of a scheme.
func newGuarded(t *testing.T, s durward.Scheme, now func() time.Time, h http.Handler) *server {
	t.Helper()
	srv := newServer(t)
	srv.serve(srv.guard(durward.Config{Schemes: []durward.Scheme{s}, Now: now}).Handler(h))
	return srv
}

// clock returns the real time plus an offset that the test sets.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time            { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(srv time.Duration) { c.ahead.Add(int64(srv)) }

// ask sends a request with a token and returns the status with the body, or with the code of a
// refusal.
func ask(ctx context.Context, srv *server, token string) string {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.url+"/x", nil)
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

// wantAnswer sends a request with a token and compares the result of ask.
func wantAnswer(t *testing.T, what string, srv *server, token, want string) {
	t.Helper()
	if got := ask(t.Context(), srv, token); got != want {
		t.Errorf("%s: %s, want %s", what, got, want)
	}
}

// waitForAnswer repeats ask until it returns want. Until then it must return until.
func waitForAnswer(t *testing.T, what string, srv *server, token, until, want string) {
	t.Helper()
	for deadline := time.Now().Add(runTimeout); ; time.Sleep(10 * time.Millisecond) {
		switch got := ask(t.Context(), srv, token); {
		case got == want:
			return
		case got != until || time.Now().After(deadline):
			t.Fatalf("%s: %s, want %s", what, got, want)
		}
	}
}

// TestOIDCProvider verifies tokens of oidc-provider, JWTs for one API and opaque ones for another,
// while its keys rotate, its tokens are revoked, and the issuer is down.
func TestOIDCProvider(t *testing.T) {
	t.Parallel()
	needScripts(t)
	_, first := privateKey(t, "ES256")
	_, second := privateKey(t, "ES256")
	i := &issuer{process: newProcess(t)}
	i.url = "http://" + i.address

	var c clock
	v := verifierOf(t, jwt.RemoteConfig{Issuer: i.url, Now: c.now}, jwt.Config{Audience: []string{forJWT}, Now: c.now})
	introspector := func(secret string) *jwt.Introspector {
		in, err := jwt.NewIntrospector(jwt.IntrospectorConfig{URL: i.url + "/token/introspection", Issuer: i.url,
			Audience: []string{forOpaque},
			ClientID: apiClient["client_id"].(string), ClientSecret: secret, Now: c.now})
		if err != nil {
			t.Fatal(err)
		}
		return in
	}
	guardedBy := func(s durward.Scheme) *server {
		srv := newServer(t)
		srv.serve(srv.guard(durward.Config{Schemes: []durward.Scheme{s}, Realm: "notes", Now: c.now}).
			Require(durward.Policy{Scopes: []string{"read"}}, hello))
		return srv
	}
	byKeys, byIntrospection := guardedBy(v.Scheme()),
		guardedBy(introspector(apiClient["client_secret"].(string)).Scheme())

	// The issuer has not started yet.
	unknown, _ := privateKey(t, "ES256")
	foreign, err := unknown.Sign(jwt.Claims{Issuer: i.url, Audience: []string{forJWT}, Subject: "robot",
		ClientID: "robot", ID: "1",
		Scopes: []string{"read"}, IssuedAt: time.Now(), Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	wantAnswer(t, "a JWT before the issuer is up", byKeys, foreign, "503 AUTH_UNAVAILABLE")
	wantAnswer(t, "an opaque token before the issuer is up", byIntrospection, "any", "503 AUTH_UNAVAILABLE")

	i.serve(first)
	c.advance(11 * time.Second) // past the pause between fetches
	old, opaque := i.token(forJWT), i.token(forOpaque)
	wantAnswer(t, "a JWT", byKeys, old, welcome)
	wantAnswer(t, "a JWT with an unpublished key", byKeys, foreign, "401 INVALID_TOKEN")
	another := "A"
	if old[len(old)-90] == 'A' {
		another = "B"
	}
	wantAnswer(t, "a JWT with another payload", byKeys, old[:len(old)-90]+another+old[len(old)-89:],
		"401 INVALID_TOKEN")
	wantAnswer(t, "an opaque token at the API for JWTs", byKeys, opaque, "401 INVALID_TOKEN")
	wantAnswer(t, "an opaque token", byIntrospection, opaque, welcome)
	wantAnswer(t, "an opaque token cut", byIntrospection, opaque[:len(opaque)-1], "401 INVALID_TOKEN")
	wantAnswer(t, "an opaque token for another audience", byIntrospection, i.token(forNeighbor), "401 INVALID_TOKEN")
	wantAnswer(t, "a JWT at the API for opaque tokens", byIntrospection, old, "401 INVALID_TOKEN")
	wantAnswer(t, "an API with a wrong secret", guardedBy(introspector("other").Scheme()), opaque,
		"503 AUTH_UNAVAILABLE")

	// A revoked token is accepted until the cached introspection expires.
	i.post("/token/revocation", url.Values{"token": {opaque}})
	wantAnswer(t, "a revoked token, cached", byIntrospection, opaque, welcome)
	c.advance(11 * time.Second)
	wantAnswer(t, "a revoked token", byIntrospection, opaque, "401 INVALID_TOKEN")

	// With a new key, its tokens are accepted at once. Those of the old key are accepted until the
	// issuer withdraws it and the verifier fetches the key set again.
	i.stop()
	i.serve(second, first)
	fresh := i.token(forJWT)
	wantAnswer(t, "a JWT of the new key", byKeys, fresh, welcome)

	// Requests with the new key's token must succeed during all that follows.
	var others sync.WaitGroup
	end, asked := make(chan struct{}), new(atomic.Int64)
	for range 4 {
		others.Go(func() {
			for asked.Add(1) < 20_000 {
				if got := ask(context.WithoutCancel(t.Context()), byKeys, fresh); got != welcome {
					t.Errorf("a JWT of the new key, in the background: got %s", got)
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
		t.Logf("%d requests in the background", asked.Load())
	}()
	wantAnswer(t, "a JWT of the old key", byKeys, old, welcome)
	i.stop()
	i.serve(second)
	wantAnswer(t, "a JWT of the withdrawn key, before the next fetch", byKeys, old, welcome)
	c.advance(16 * time.Minute)
	waitForAnswer(t, "a JWT of the withdrawn key", byKeys, old, welcome, "401 INVALID_TOKEN")
	wantAnswer(t, "a JWT of the new key", byKeys, fresh, welcome)

	// While the issuer is down, cached keys and introspections are used; all else is 503.
	opaque = i.token(forOpaque)
	wantAnswer(t, "an opaque token", byIntrospection, opaque, welcome)
	i.stop()
	c.advance(5 * time.Second)
	wantAnswer(t, "a JWT while the issuer is down", byKeys, fresh, welcome)
	wantAnswer(t, "a cached opaque token", byIntrospection, opaque, welcome)
	c.advance(16 * time.Minute)
	wantAnswer(t, "a JWT while the issuer is down for long", byKeys, fresh, welcome)
	wantAnswer(t, "a JWT of an unknown key", byKeys, foreign, "503 AUTH_UNAVAILABLE")
	wantAnswer(t, "an opaque token", byIntrospection, opaque, "503 AUTH_UNAVAILABLE")

	// The issuer is back.
	i.serve(second)
	c.advance(11 * time.Second)
	wantAnswer(t, "a JWT", byKeys, fresh, welcome)
	wantAnswer(t, "a JWT of an unknown key", byKeys, foreign, "401 INVALID_TOKEN")
	wantAnswer(t, "an opaque token of the earlier process", byIntrospection, opaque, "401 INVALID_TOKEN")
	wantAnswer(t, "an opaque token", byIntrospection, i.token(forOpaque), welcome)
}

// TestOIDCProviderBearer guards an API with one line, for each algorithm of oidc-provider.
func TestOIDCProviderBearer(t *testing.T) {
	t.Parallel()
	needScripts(t)
	for _, alg := range []string{"ES256", "EdDSA", "RS256", "PS256"} {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			_, key := privateKey(t, alg)
			i := &issuer{process: newProcess(t), alg: alg}
			i.url = "http://" + i.address
			srv := newServer(t)
			srv.serve(srv.guard(durward.Config{Schemes: []durward.Scheme{jwt.Bearer(i.url, forJWT)}}).
				Require(durward.Policy{Scopes: []string{"read"}}, hello))

			i.serve(key)
			token := i.token(forJWT)
			wantAnswer(t, "a token", srv, token, welcome)
			wantAnswer(t, "an opaque token", srv, i.token(forOpaque), "401 INVALID_TOKEN")
			body := i.post("/token", url.Values{"grant_type": {"refresh_token"}, "resource": {forJWT},
				"refresh_token": {i.signIn("robot", "")}})
			var answer struct {
				ID     string `json:"id_token"`
				Access string `json:"access_token"`
			}
			if err := json.Unmarshal(body, &answer); err != nil || answer.ID == "" {
				t.Fatalf("%v: %s", err, body)
			}
			wantAnswer(t, "a user's token", srv, answer.Access, "200 hello, ada")
			wantAnswer(t, "an ID token", srv, answer.ID, "401 INVALID_TOKEN")

			i.stop()
			wantAnswer(t, "a token while the issuer is down", srv, token, welcome)
			i.serve(key)
			wantAnswer(t, "a token after the outage", srv, i.token(forJWT), welcome)
		})
	}
}

// TestOIDCProviderDPoP lets oauth4webapi request a token bound to a key at oidc-provider, and use
// it.
func TestOIDCProviderDPoP(t *testing.T) {
	t.Parallel()
	needScripts(t)
	_, signs := privateKey(t, "ES256")
	_, jwk := privateKey(t, "ES256")
	_, other := privateKey(t, "ES256")
	i := &issuer{process: newProcess(t)}
	i.url = "http://" + i.address
	i.serve(signs)
	srv := newDPoPServer(t, i.takes(nil))
	wantLines(t, runScript(t, "dpop.mjs", map[string]any{"api": srv.url + "/x", "key": jwk, "other": other,
		"issuer": i.url, "client": robot, "resource": forJWT}),
		withSubject("robot", []string{"token dpop read"}, byOAuth4webapi, byJose))
	srv.wantRequests(withSubject("robot", requestsOAuth4webapi, requestsJose)...)
}
