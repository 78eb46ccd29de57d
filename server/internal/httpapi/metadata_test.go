package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/jwt"
	"github.com/durward-auth/durward/server/internal/issuer"
	"github.com/durward-auth/durward/server/internal/session"
)

var metadataPaths = []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"}

// The metadata names the issuer and the key set, and nothing that the server does not have.
func TestMetadata(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	other := w.reconfigured(func(c *Config) { c.PublicURL = "https://auth.example.com" })
	for _, path := range metadataPaths {
		r := w.do("GET", path, "", nil)
		var members map[string]any
		if err := json.Unmarshal(r.body, &members); err != nil || r.StatusCode != 200 {
			t.Fatalf("%s: %s %s", path, r.Status, r.body)
		}
		base := "http://127.0.0.1:8401" + testPrefix
		list := func(values ...any) []any { return values }
		all := list("client_secret_basic", "client_secret_post", "none")
		// These servers have no pages, so they have no authorization endpoint; TestOpenIDModules of module e2e has one.
		want := map[string]any{
			"issuer": w.issuer.URL(), "jwks_uri": base + "/.well-known/jwks.json",
			"token_endpoint": base + "/oauth/token", "token_endpoint_auth_methods_supported": all,
			"revocation_endpoint": base + "/oauth/revoke", "revocation_endpoint_auth_methods_supported": all,
			"introspection_endpoint": base + "/oauth/introspect", "introspection_endpoint_auth_methods_supported": all[:2],
			"userinfo_endpoint": base + "/oauth/userinfo", "grant_types_supported": list("client_credentials"),
			"scopes_supported":                      members["scopes_supported"],
			"claims_supported":                      list("sub", "name", "email", "email_verified", "groups", "auth_time", "acr", "amr"),
			"subject_types_supported":               list("public"),
			"acr_values_supported":                  list("urn:durward:acr:1fa", "urn:durward:acr:2fa", "phr"),
			"id_token_signing_alg_values_supported": list("ES256", "RS256"),
		}
		if !reflect.DeepEqual(members, want) {
			t.Errorf("%s: got %v, want %v", path, members, want)
		}
		if scopes := fmt.Sprint(members["scopes_supported"]); !strings.HasPrefix(scopes, "[openid profile email groups offline_access") {
			t.Errorf("%s: scopes %s", path, scopes)
		}
		for field, want := range map[string]string{
			"Content-Type": "application/json", "Access-Control-Allow-Origin": "*",
			"Cache-Control": "public, max-age=300", "X-Content-Type-Options": "nosniff",
		} {
			if got := r.Header.Get(field); got != want {
				t.Errorf("%s: %s is %q, want %q", path, field, got, want)
			}
		}
		again, err := http.NewRequest("GET", w.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		again.Header.Set("If-None-Match", r.Header.Get("ETag"))
		if got := w.send(again); got.StatusCode != 304 || len(got.body) > 0 {
			t.Errorf("%s, asked again: %s %s, want 304", path, got.Status, got.body)
		}
		// The public URL gives the location of the keys, the issuer stays.
		r = other.do("GET", path, "", nil)
		if json.Unmarshal(r.body, &members) != nil || members["jwks_uri"] != "https://auth.example.com"+testPrefix+"/.well-known/jwks.json" || members["issuer"] != w.issuer.URL() {
			t.Errorf("%s with another public URL: %s", path, r.body)
		}
	}
}

// A shared secret has no public keys, so there is nothing to find.
func TestMetadataWithoutKeys(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{tweak: func(c *issuer.Config, _ *session.Config) {
		c.Algorithm, c.SharedSecret = "HS256", []byte("0123456789abcdef0123456789abcdef")
	}})
	for _, path := range metadataPaths {
		w.refused(w.do("GET", path, "", nil), 404, "NOT_FOUND")
	}
}

// A verifier finds the keys by the name of the issuer, and refuses a server that is another issuer.
func TestMetadataIsFound(t *testing.T) {
	t.Parallel()
	if testPrefix != "" {
		t.Skip("the issuer of these servers has no path; TestPrefix asks for the metadata of one that has")
	}
	w := newEnv(t, settings{})
	token := w.signIn().AccessToken
	// The issuer's name leads to the listener of the test.
	var dialer net.Dialer
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, network, w.address())
	}}}
	verify := func(issuer string) error {
		keys, err := jwt.NewRemoteKeys(jwt.RemoteConfig{Issuer: issuer, Client: client, Now: w.clock.Now})
		if err != nil {
			t.Fatal(err)
		}
		v, err := jwt.New(jwt.Config{Issuer: w.issuer.URL(), Audience: []string{w.issuer.URL()}, Keys: keys, Now: w.clock.Now})
		if err != nil {
			t.Fatal(err)
		}
		p, err := v.Verify(t.Context(), token)
		if err == nil && (p.Subject != w.ada.ID || !slices.Equal(p.Scopes, []string{"profile"})) {
			t.Errorf("principal: %+v", p)
		}
		return err
	}
	if err := verify(w.issuer.URL()); err != nil {
		t.Errorf("issuer of the server: got %v, want no error", err)
	}
	if err := verify("http://127.0.0.1:8402"); !errors.Is(err, durward.AuthUnavailable) || !strings.Contains(err.Error(), `it is of issuer "`+w.issuer.URL()+`"`) {
		t.Errorf("another issuer: got %v, want an error with both names", err)
	}
}
