package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/issuer"
	"github.com/durward-auth/durward/server/internal/oauth"
)

// providerMetadata describes the server to verifiers and clients (RFC 8414 s2, OpenID Connect Discovery s3, RFC 9207
// s3). Without clients, the members after the key set are left out.
type providerMetadata struct {
	Issuer  string `json:"issuer"`
	JWKSURI string `json:"jwks_uri"`

	Token                string   `json:"token_endpoint,omitempty"`
	TokenAuth            []string `json:"token_endpoint_auth_methods_supported,omitempty"`
	Revocation           string   `json:"revocation_endpoint,omitempty"`
	RevocationAuth       []string `json:"revocation_endpoint_auth_methods_supported,omitempty"`
	Introspection        string   `json:"introspection_endpoint,omitempty"`
	IntrospectionAuth    []string `json:"introspection_endpoint_auth_methods_supported,omitempty"`
	UserInfo             string   `json:"userinfo_endpoint,omitempty"`
	GrantTypes           []string `json:"grant_types_supported,omitempty"`
	Scopes               []string `json:"scopes_supported,omitempty"`
	Claims               []string `json:"claims_supported,omitempty"`
	IDTokenAlgorithms    []string `json:"id_token_signing_alg_values_supported,omitempty"`
	ProofAlgorithms      []string `json:"dpop_signing_alg_values_supported,omitempty"` // RFC 9449 s5.1
	SubjectTypes         []string `json:"subject_types_supported,omitempty"`
	Levels               []string `json:"acr_values_supported,omitempty"`
	Authorization        string   `json:"authorization_endpoint,omitempty"`
	ResponseTypes        []string `json:"response_types_supported,omitempty"`
	ResponseModes        []string `json:"response_modes_supported,omitempty"`
	CodeChallengeMethods []string `json:"code_challenge_methods_supported,omitempty"`
	ClaimsParameter      bool     `json:"claims_parameter_supported,omitempty"`
	IssParameter         bool     `json:"authorization_response_iss_parameter_supported,omitempty"`
	RequestURIParameter  *bool    `json:"request_uri_parameter_supported,omitempty"` // its default is true
}

// metadata is GET /.well-known/openid-configuration (OpenID Connect Discovery s4) and
// GET /.well-known/oauth-authorization-server (RFC 8414 s3). Verifiers find the keys of the issuer by
// it, and clients the endpoints. It names no endpoint and no capability that this server does not have;
// a list without elements is left out (RFC 8414 s3.2).
func (s *Server) metadata(w http.ResponseWriter, r *http.Request) error {
	if !s.c.Issuer.Publishes() {
		return fmt.Errorf("the tokens are signed with a shared secret, so there is no key set: %w", durward.NotFound)
	}
	m := providerMetadata{Issuer: s.c.Issuer.URL(), JWKSURI: s.c.PublicURL + "/.well-known/jwks.json"}
	if s.c.OAuth != nil {
		s.describeClients(&m)
	}
	document, err := json.Marshal(m)
	if err != nil {
		return &durward.Refusal{Code: durward.Internal, Err: err}
	}
	toEveryOrigin(w)
	return public(w, r, "application/json", "public, max-age=300", etagOf(document), document)
}

// describeClients adds what clients of OAuth need.
func (s *Server) describeClients(m *providerMetadata) {
	base := s.c.PublicURL + "/oauth/"
	confidential := []string{"client_secret_basic", "client_secret_post"}
	all := append(slices.Clone(confidential), "none")
	m.Token, m.TokenAuth = base+"token", all
	m.Revocation, m.RevocationAuth = base+"revoke", all
	m.Introspection, m.IntrospectionAuth = base+"introspect", confidential
	m.UserInfo = base + "userinfo"
	m.GrantTypes = []string{oauth.GrantCredentials}
	m.Scopes = oauth.UserScopes(s.c.OAuth.Resources())
	m.Claims = []string{"sub", "name", "email", "email_verified", "groups", "auth_time", "acr", "amr"}
	m.SubjectTypes = []string{"public"}
	m.Levels = account.Levels()
	m.IDTokenAlgorithms = []string{issuer.RS256}
	if alg := s.c.Issuer.Algorithm(); alg != issuer.RS256 {
		m.IDTokenAlgorithms = []string{alg, issuer.RS256}
	}
	if s.Schemes.DPoP != nil {
		m.ProofAlgorithms = s.proofs.Algorithms
	}
	if s.pages.Routes["/oauth/authorize"] == nil {
		return
	}
	m.Authorization = base + "authorize"
	m.GrantTypes = []string{oauth.GrantCode, oauth.GrantRefresh, oauth.GrantCredentials}
	m.ResponseTypes, m.ResponseModes = []string{"code"}, []string{"query", "form_post"}
	m.CodeChallengeMethods = []string{"S256"}
	m.ClaimsParameter, m.IssParameter, m.RequestURIParameter = true, true, new(bool)
}

// resourceMetadata is GET /.well-known/oauth-protected-resource (RFC 9728 s3) for the server's own API.
func (s *Server) resourceMetadata(w http.ResponseWriter, r *http.Request) error {
	document, err := json.Marshal(map[string]any{
		"resource":                 s.c.PublicURL,
		"authorization_servers":    []string{s.c.Issuer.URL()},
		"scopes_supported":         []string{oauth.ScopeRevocations},
		"bearer_methods_supported": []string{"header"},
	})
	if err != nil {
		return &durward.Refusal{Code: durward.Internal, Err: err}
	}
	toEveryOrigin(w)
	return public(w, r, "application/json", "public, max-age=300", etagOf(document), document)
}
