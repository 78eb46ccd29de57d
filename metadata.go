package durward

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
)

// ResourceMetadata is the metadata of a protected resource (RFC 9728 s2), from which a refused
// client learns which authorization servers issue tokens. It is the handler of its own document.
// Serve it at its URL and set Config.Metadata to that URL:
//
//	m := durward.ResourceMetadata{Resource: "https://api.example.com", AuthorizationServers: []string{"https://auth.example.com"}}
//	mux.Handle("GET /.well-known/oauth-protected-resource", m)
//	guard, err := durward.New(durward.Config{Metadata: m.URL(), …})
type ResourceMetadata struct {
	// Resource is the identifier of the resource: the URL under which clients know it.
	Resource string `json:"resource"`

	// AuthorizationServers are the issuers of accepted tokens.
	AuthorizationServers []string `json:"authorization_servers,omitempty"`

	ScopesSupported []string `json:"scopes_supported,omitempty"`       // scopes that clients may request
	Name            string   `json:"resource_name,omitempty"`          // for users
	Documentation   string   `json:"resource_documentation,omitempty"` // URL, for developers

	// DPoPRequired states that tokens must be bound to a key, and DPoPAlgorithms how proofs may be
	// signed. CertificateBound states that tokens may be bound to a client certificate.
	DPoPRequired     bool     `json:"dpop_bound_access_tokens_required,omitempty"`
	DPoPAlgorithms   []string `json:"dpop_signing_alg_values_supported,omitempty"`
	CertificateBound bool     `json:"tls_client_certificate_bound_access_tokens,omitempty"`
}

// URL returns the URL of the metadata document: the well-known path, followed by the path of the
// resource (RFC 9728 s3.1).
func (m ResourceMetadata) URL() string {
	u, err := url.Parse(m.Resource)
	if err != nil {
		return ""
	}
	u.Path, u.RawPath = "/.well-known/oauth-protected-resource"+strings.TrimSuffix(u.Path, "/"), ""
	return u.String()
}

// ServeHTTP writes the metadata document. It is public, also to scripts of other origins.
func (m ResourceMetadata) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := json.Marshal(struct {
		ResourceMetadata
		BearerMethods []string `json:"bearer_methods_supported"`
	}{m, []string{"header"}}) // neither query string nor form
	if err != nil { // not possible with these fields
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json") // RFC 9728 s3.2
	h.Set("Cache-Control", "public, max-age=3600")
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(append(body, '\n'))
}
