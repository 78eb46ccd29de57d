package e2e

import (
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/durward-auth/durward/server/servertest"
)

// coreos/go-oidc finds the keys of a server by the name of its issuer, and verifies its access tokens.
func TestGoOIDC(t *testing.T) {
	t.Parallel()
	const password = "correct horse battery staple"
	srv := servertest.New(t)
	id := srv.AddUser("ada@example.com", password, false)
	access, _ := srv.SignIn("ada@example.com", password)

	if _, err := oidc.NewProvider(t.Context(), srv.URL+"/"); err == nil || !strings.Contains(err.Error(), "did not match") {
		t.Errorf("issuer with a slash: got %v, want a refusal: issuers are compared exactly", err)
	}
	provider, err := oidc.NewProvider(t.Context(), srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	verify := func(c oidc.Config, token string) (string, error) {
		got, err := provider.Verifier(&c).Verify(t.Context(), token)
		if err != nil {
			return "", err
		}
		return got.Subject, nil
	}
	config := oidc.Config{ClientID: srv.URL, SupportedSigningAlgs: []string{oidc.ES256}} // ClientID is the audience
	if got, err := verify(config, access); got != id || err != nil {
		t.Errorf("access token: got %q, %v, want %s", got, err, id)
	}
	// Without SupportedSigningAlgs it takes those of the metadata.
	if got, err := verify(oidc.Config{ClientID: srv.URL}, access); got != id || err != nil {
		t.Errorf("without SupportedSigningAlgs: got %q, %v, want %s", got, err, id)
	}
	config.ClientID = "https://api.example.com"
	if _, err := verify(config, access); err == nil || !strings.Contains(err.Error(), "audience") {
		t.Errorf("another audience: got %v, want a refusal", err)
	}
	config.ClientID = srv.URL
	if _, err := verify(config, access[:len(access)-4]+"AAAA"); err == nil {
		t.Error("changed signature: got no error")
	}
}
