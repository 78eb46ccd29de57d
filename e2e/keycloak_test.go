package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/durward-auth/durward/api"
	durwardclient "github.com/durward-auth/durward/client"
	"github.com/durward-auth/durward/jwt"
)

// keycloak is a running Keycloak in development mode, with the realm of interop/keycloak.
type keycloak struct {
	*process
	home  string
	realm string // issuer
}

// The audience of the tokens of Keycloak. Those of its client neighbour have another one.
const keycloakAPI = "https://api.example.com"

func newKeycloak(t *testing.T) *keycloak {
	archive := needFetched(t, "keycloak-quarkus-dist-26.5.6.tar.gz")
	k := &keycloak{process: newProcess(t), home: t.TempDir()}
	k.patience = javaTimeout
	k.realm = "http://" + k.address + "/realms/acme"
	if out, err := exec.Command("tar", "xzf", archive, "-C", k.home, "--strip-components=1").CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	if err := os.CopyFS(filepath.Join(k.home, "data", "import"), os.DirFS("interop/keycloak")); err != nil {
		t.Fatal(err)
	}
	// Otherwise the start fails on a busy machine, after five seconds without a connection.
	writeFile(t, filepath.Join(k.home, "conf", "quarkus.properties"), "quarkus.datasource.jdbc.acquisition-timeout=10M\n")
	return k
}

const keycloakAdmin = "admin"

// serve starts Keycloak, or restarts it with its database, and waits until it answers.
func (k *keycloak) serve(options ...string) {
	k.t.Helper()
	_, port, _ := strings.Cut(k.address, ":")
	cmd := exec.Command(filepath.Join(k.home, "bin", "kc.sh"), append([]string{"start-dev", "--import-realm",
		"--http-host=" + k.host(), "--http-port=" + port}, options...)...)
	cmd.Env = append(os.Environ(), "KC_BOOTSTRAP_ADMIN_USERNAME="+keycloakAdmin, "KC_BOOTSTRAP_ADMIN_PASSWORD="+password,
		"JAVA_OPTS_APPEND="+quickStart)
	k.start(cmd)
	k.t.Cleanup(k.stop)
	for deadline := time.Now().Add(javaTimeout); ; time.Sleep(50 * time.Millisecond) {
		resp, err := http.Get(k.realm + "/.well-known/openid-configuration")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(deadline) {
			k.t.Fatalf("Keycloak does not answer: %v; its log:\n%s", err, k.logText())
		}
	}
}

// stop ends Keycloak if it is running. The script forwards the signal to Java.
func (k *keycloak) stop() {
	_ = k.cmd.Process.Signal(syscall.SIGTERM)
	<-k.ended
}

// post sends a form to the token endpoint of a realm and parses the response.
func (k *keycloak) post(realm string, form url.Values) (answer struct {
	Access  string `json:"access_token"`
	ID      string `json:"id_token"`
	Refresh string `json:"refresh_token"`
}) {
	k.t.Helper()
	body := k.postForm("http://"+k.address+"/realms/"+realm+"/protocol/openid-connect/token", form)
	if err := json.Unmarshal(body, &answer); err != nil || answer.Access == "" {
		k.t.Fatalf("%v: %s", err, body)
	}
	return answer
}

// signIn signs the user in at a client with a password.
func (k *keycloak) signIn(client string) (access, id, refresh string) {
	k.t.Helper()
	answer := k.post("acme", url.Values{"grant_type": {"password"}, "client_id": {client},
		"client_secret": {"secret of " + client}, "username": {user}, "password": {password}, "scope": {"openid"}})
	return answer.Access, answer.ID, answer.Refresh
}

// robot returns a client's own token.
func (k *keycloak) robot(client string) string {
	k.t.Helper()
	return k.post("acme", url.Values{"grant_type": {"client_credentials"}, "client_id": {client},
		"client_secret": {"secret of " + client}}).Access
}

// admin sends a request to the administration API of the realm and parses the response.
func (k *keycloak) admin(method, path string, body, answer any) {
	k.t.Helper()
	token := k.post("master", url.Values{"grant_type": {"password"}, "client_id": {"admin-cli"},
		"username": {keycloakAdmin}, "password": {password}}).Access
	text, err := json.Marshal(body)
	if err != nil {
		k.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(k.t.Context(), method, "http://"+k.address+"/admin/realms/acme"+path,
		bytes.NewReader(text))
	if err != nil {
		k.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		k.t.Fatal(err)
	}
	defer resp.Body.Close()
	printed, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 300 {
		k.t.Fatalf("%s %s: %s %s %v", method, path, resp.Status, printed, err)
	}
	if answer == nil {
		return
	}
	if err := json.Unmarshal(printed, answer); err != nil {
		k.t.Fatalf("%s %s: %v: %s", method, path, err, printed)
	}
}

// rotate adds a signing key that is preferred to the existing ones, for an algorithm.
func (k *keycloak) rotate(alg string) {
	k.t.Helper()
	key := map[string]any{
		"name":         "new " + alg,
		"providerType": "org.keycloak.keys.KeyProvider",
		"providerId":   "rsa-generated",
		"config":       map[string]any{"priority": []string{"500"}, "algorithm": []string{alg}},
	}
	k.admin(http.MethodPost, "/components", key, nil)
}

// withdraw deletes the signing keys that Keycloak made with the realm.
func (k *keycloak) withdraw() {
	k.t.Helper()
	var all []struct{ ID, Name, ProviderID string }
	k.admin(http.MethodGet, "/components?type=org.keycloak.keys.KeyProvider", nil, &all)
	deleted := 0
	for _, c := range all {
		if c.ProviderID == "rsa-generated" && !strings.HasPrefix(c.Name, "new ") {
			k.admin(http.MethodDelete, "/components/"+c.ID, nil, nil)
			deleted++
		}
	}
	if deleted == 0 {
		k.t.Fatalf("no key to withdraw: %v", all)
	}
}

// brokerAlias is the name of our server in the realm.
const brokerAlias = "durward"

// broker makes our server an identity provider of the realm, and signs a user of our server in at an application
// of Keycloak. wantAnswer of its tokens at srv is welcome.
func (k *keycloak) broker(srv *server, welcome string) {
	t := k.t
	t.Helper()
	issuer := serveWith(t, fmt.Sprintf(`
[[client]]
id = "keycloak"
secret = %q
redirect_uris = [%q]
scopes = ["openid", "profile", "email", "offline_access"]
`, partySecret, k.realm+"/broker/"+brokerAlias+"/endpoint"))
	ours, err := api.NewClient(api.ClientConfig{URL: issuer})
	if err != nil {
		t.Fatal(err)
	}
	token, err := ours.SignIn(t.Context(), partyUser, partyPassword)
	if err != nil {
		t.Fatal(err)
	}
	sub := subjectOf(t, token.Access)

	// Keycloak reads our metadata and makes the settings of the identity provider of them.
	config := map[string]string{}
	k.admin(http.MethodPost, "/identity-provider/import-config",
		map[string]string{"providerId": "oidc", "fromUrl": issuer + "/.well-known/openid-configuration"}, &config)
	for name, want := range map[string]string{"issuer": issuer, "tokenUrl": issuer + "/oauth/token", "userInfoUrl": issuer + "/oauth/userinfo",
		"authorizationUrl": issuer + "/oauth/authorize", "useJwksUrl": "true"} {
		if config[name] != want {
			t.Errorf("Keycloak read from our metadata %s = %q, want %q", name, config[name], want)
		}
	}
	for name, value := range map[string]string{"clientId": "keycloak", "clientSecret": partySecret, "clientAuthMethod": "client_secret_basic",
		"validateSignature": "true", "pkceEnabled": "true", "pkceMethod": "S256", "defaultScope": "openid profile email offline_access",
		"syncMode": "FORCE"} {
		config[name] = value
	}
	k.admin(http.MethodPost, "/identity-provider/instances", map[string]any{
		"alias": brokerAlias, "providerId": "oidc", "enabled": true, "trustEmail": true, "storeToken": true,
		"addReadTokenRoleOnCreate": true, "config": config}, nil)
	for _, mapper := range []map[string]any{
		{"name": "subject", "identityProviderMapper": "oidc-username-idp-mapper", "config": map[string]string{"template": "${CLAIM.sub}"}},
		{"name": "last name", "identityProviderMapper": "oidc-user-attribute-idp-mapper",
			"config": map[string]string{"claim": "name", "user.attribute": "lastName", "syncMode": "INHERIT"}},
	} {
		mapper["identityProviderAlias"] = brokerAlias
		k.admin(http.MethodPost, "/identity-provider/instances/"+brokerAlias+"/mappers", mapper, nil)
	}

	app := newProcess(t)
	serveAt(app, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprintln(w, r.URL.RawQuery)
	}))
	callback := "http://" + app.address + "/callback"
	signIn := func(v *visitor) (access, refresh string) {
		t.Helper()
		lines := v.visit(k.realm + "/protocol/openid-connect/auth?" + url.Values{"client_id": {"web"}, "redirect_uri": {callback},
			"response_type": {"code"}, "scope": {"openid"}, "state": {"a state"}, "kc_idp_hint": {brokerAlias}}.Encode())
		q, err := url.ParseQuery(lines[0])
		if err != nil || q.Get("code") == "" {
			t.Fatalf("the application got %q, %v", lines, err)
		}
		answer := k.post("acme", url.Values{"grant_type": {"authorization_code"}, "code": {q.Get("code")}, "redirect_uri": {callback},
			"client_id": {"web"}, "client_secret": {"secret of web"}})
		return answer.Access, answer.Refresh
	}
	v := newVisitor(t, partyUser, partyPassword)
	access, refresh := signIn(v)
	first := subjectOf(t, access)
	wantAnswer(t, "a token of Keycloak for a user of ours", srv, access, welcome)
	var info struct {
		Sub, Email string
		Username   string `json:"preferred_username"`
	}
	if got := callAPI(t, k.realm+"/protocol/openid-connect/userinfo", access); json.Unmarshal([]byte(got), &info) != nil ||
		info.Sub != first || info.Username != sub || info.Email != partyUser {
		t.Errorf("userinfo of Keycloak: %s, want %s, our subject %s, %s", got, first, sub, partyUser)
	}
	next := k.post("acme", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}, "client_id": {"web"},
		"client_secret": {"secret of web"}}).Access
	wantAnswer(t, "a refreshed token of Keycloak for a user of ours", srv, next, welcome)

	// The tokens that Keycloak got from us, and keeps.
	var kept struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	if got := callAPI(t, k.realm+"/broker/"+brokerAlias+"/token", access); json.Unmarshal([]byte(got), &kept) != nil || kept.Refresh == "" {
		t.Fatalf("our tokens at Keycloak: %s", got)
	}
	if got := callAPI(t, issuer+"/oauth/userinfo", kept.Access); !strings.Contains(got, sub) {
		t.Errorf("our userinfo for Keycloak's token: %s", got)
	}

	if got := string(k.postForm(issuer+"/oauth/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {kept.Refresh},
		"client_id": {"keycloak"}, "client_secret": {partySecret}})); !strings.Contains(got, "access_token") {
		t.Errorf("our refresh token at Keycloak: %s", got)
	}

	// At the next sign-in in another browser, Keycloak knows the user by our subject.
	if again, _ := signIn(newVisitor(t, partyUser, partyPassword)); subjectOf(t, again) != first {
		t.Errorf("Keycloak made another user: %s, then %s", first, subjectOf(t, again))
	}
	if v.passwords != 1 {
		t.Errorf("pages asked for %d passwords, want one", v.passwords)
	}
}

// TestInteropKeycloak verifies the tokens of Keycloak, of both forms, while its keys rotate and while it
// is down. A request with a valid token must never be a 401. Keycloak also signs users of our server in.
func TestInteropKeycloak(t *testing.T) {
	t.Parallel()
	k := newKeycloak(t)
	var c clock
	guarded := func(p jwt.Profile, remote jwt.RemoteConfig) *server {
		remote.Now = c.now
		return newGuarded(t, k.verifier(p, remote).Scheme(), c.now, rolesOf)
	}
	remote := jwt.RemoteConfig{Issuer: k.realm}
	srv, standard := guarded(jwt.Keycloak, remote), guarded(jwt.Profile{}, remote)
	in, err := jwt.NewIntrospector(jwt.IntrospectorConfig{
		URL:          k.realm + "/protocol/openid-connect/token/introspect",
		Issuer:       k.realm,
		Audience:     []string{keycloakAPI},
		ClientID:     "default",
		ClientSecret: "secret of default",
		Profile:      jwt.Keycloak, // Keycloak also says that an ID token is active
		Now:          c.now,
	})
	if err != nil {
		t.Fatal(err)
	}
	introspected := newGuarded(t, in.Scheme(), c.now, rolesOf)
	const welcome = "200 default-roles-acme offline_access uma_authorization"

	k.serve()
	k.broker(srv, welcome)
	old, id, refresh := k.signIn("default")
	byRFC, _, _ := k.signIn("rfc9068")
	neighbour, _, _ := k.signIn("neighbour")
	master := k.post("master", url.Values{"grant_type": {"password"}, "client_id": {"admin-cli"},
		"username": {keycloakAdmin}, "password": {password}}).Access
	wantAnswer(t, "a token of the default form", srv, old, welcome)
	wantAnswer(t, "a token with the switch for RFC 9068", srv, byRFC, welcome)
	wantAnswer(t, "a client's own token", srv, k.robot("default"), welcome)
	wantAnswer(t, "a client's own token with the switch", srv, k.robot("rfc9068"), welcome)
	wantAnswer(t, "a token of the default form, without a profile", standard, old, "401 INVALID_TOKEN")
	wantAnswer(t, "a token for another audience", srv, neighbour, "401 INVALID_TOKEN")
	wantAnswer(t, "a token of another realm", srv, master, "401 INVALID_TOKEN")
	wantAnswer(t, "an ID token", srv, id, "401 INVALID_TOKEN")
	wantAnswer(t, "a refresh token", srv, refresh, "401 INVALID_TOKEN")
	wantAnswer(t, "a token with the signature of another", srv,
		old[:strings.LastIndex(old, ".")]+byRFC[strings.LastIndex(byRFC, "."):], "401 INVALID_TOKEN")

	wantAnswer(t, "a token, introspected", introspected, old, welcome)
	wantAnswer(t, "an ID token, introspected", introspected, id, "401 INVALID_TOKEN")
	wantAnswer(t, "a token for another audience, introspected", introspected, neighbour, "401 INVALID_TOKEN")

	k.renew(refresh, srv)
	c.advance(11 * time.Second) // past the cached answer
	wantAnswer(t, "a token of a session that ended, introspected", introspected, old, "401 INVALID_TOKEN")
	k.dpop(c.now)

	k.rotate("RS256")
	c.advance(11 * time.Second) // past the pause between fetches
	fresh, _, _ := k.signIn("default")
	if kid(t, fresh) == kid(t, old) {
		t.Fatal("Keycloak has not rotated its key")
	}
	wantAnswer(t, "a token of the new key", srv, fresh, welcome)
	wantAnswer(t, "a token of the old key", srv, old, welcome)

	var others sync.WaitGroup
	end := make(chan struct{})
	others.Go(func() {
		for {
			if got := ask(t.Context(), srv, fresh); got != welcome {
				t.Errorf("a token of the new key, in the background: got %s", got)
				return
			}
			select {
			case <-end:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	finish := sync.OnceFunc(func() { close(end); others.Wait() })
	defer finish()
	k.withdraw()
	c.advance(time.Hour)
	waitForAnswer(t, "a token of the withdrawn key", srv, old, welcome, "401 INVALID_TOKEN")

	// An outage, until after the key set is due.
	k.stop()
	c.advance(2 * time.Hour)
	wantAnswer(t, "a token while Keycloak is down", srv, fresh, welcome)
	wantAnswer(t, "a token of an unknown key while Keycloak is down", srv, old, "503 AUTH_UNAVAILABLE")
	wantAnswer(t, "a token while Keycloak is down, at an API without its keys", guarded(jwt.Keycloak, remote), fresh,
		"503 AUTH_UNAVAILABLE")
	wantAnswer(t, "a token while Keycloak is down, introspected", introspected, fresh, "503 AUTH_UNAVAILABLE")
	k.serve("--hostname=http://"+k.address, "--hostname-backchannel-dynamic=true")
	c.advance(11 * time.Second)
	wantAnswer(t, "a token of the withdrawn key", srv, old, "401 INVALID_TOKEN")
	wantAnswer(t, "a token", srv, fresh, welcome)
	newest, _, _ := k.signIn("default")
	wantAnswer(t, "a token after the outage", srv, newest, welcome)
	finish()
	c.advance(11 * time.Hour)
	wantAnswer(t, "an expired token", srv, newest, "401 TOKEN_EXPIRED")

	// Inside a private network, where users know Keycloak by another name than this API.
	k.admin(http.MethodPut, "", map[string]any{"attributes": map[string]string{"frontendUrl": "https://id.example.com"}}, nil)
	c.ahead.Store(0)
	inside := guarded(jwt.Keycloak, jwt.RemoteConfig{
		Issuer:      "https://id.example.com/realms/acme",
		MetadataURL: k.realm + "/.well-known/openid-configuration",
	})
	newest, _, _ = k.signIn("default")
	wantAnswer(t, "a token of another name", srv, newest, "401 INVALID_TOKEN")
	wantAnswer(t, "a token, at an API with the inner address", inside, newest, welcome)
}

// verifier returns a verifier of the tokens of Keycloak.
func (k *keycloak) verifier(p jwt.Profile, remote jwt.RemoteConfig) *jwt.Verifier {
	k.t.Helper()
	return verifierOf(k.t, remote, jwt.Config{
		Audience:   []string{keycloakAPI},
		Profile:    p,
		Algorithms: []string{"RS256", "PS256"},
		Now:        remote.Now,
	})
}

// oauth returns the configuration of a client of Keycloak.
func (k *keycloak) oauth(client string) durwardclient.OAuth {
	return durwardclient.OAuth{
		TokenURL: k.realm + "/protocol/openid-connect/token",
		ClientID: client,
		Secret:   "secret of " + client,
	}
}

// renew lets our client renew its tokens at Keycloak, which accepts each refresh token once, until the
// user signs out.
func (k *keycloak) renew(refresh string, srv *server) {
	k.t.Helper()
	var now clock
	store := held(k.t, refresh)
	oauth := k.oauth("default")
	oauth.Now = now.now
	c := byTokens(k.t, durwardclient.TokensConfig{
		Origins: []string{srv.url},
		Next:    oauth.Refresh,
		Store:   store,
		Now:     now.now,
	})
	race := func(want func(string, error) bool) {
		k.t.Helper()
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if got, err := send(c, "GET", srv.url+"/x", ""); !want(got, err) {
					k.t.Errorf("our client: %q, %v", got, err)
				}
			})
		}
		all.Wait()
	}
	for range 3 {
		race(func(got string, err error) bool {
			return err == nil && strings.HasPrefix(got, "200 default-roles-acme")
		})
		now.advance(11 * time.Hour) // by the client's clock the token has expired
	}
	k.postForm(k.realm+"/protocol/openid-connect/logout", url.Values{"client_id": {"default"},
		"client_secret": {"secret of default"}, "refresh_token": {stored(k.t, store).Refresh}})
	race(func(_ string, err error) bool { return errors.Is(err, durwardclient.ErrSignedOut) })
}

// dpop lets our client request a token that is bound to a key, and use it.
func (k *keycloak) dpop(now func() time.Time) {
	k.t.Helper()
	srv := newDPoPServer(k.t, k.verifier(jwt.Keycloak, jwt.RemoteConfig{Issuer: k.realm, Now: now}))
	key, _ := privateKey(k.t, "ES256")
	oauth := k.oauth("dpop")
	oauth.Prove = key.Prove
	c := byTokens(k.t, durwardclient.TokensConfig{
		Origins: []string{srv.url},
		Prove:   key.Prove,
		Next:    oauth.ClientCredentials,
	})
	for range 2 {
		if got, err := send(c, "POST", srv.url+"/x", "a body"); err != nil || !strings.HasPrefix(got, "200 ") {
			k.t.Errorf("a token bound to a key: %q, %v", got, err)
		}
	}
}
