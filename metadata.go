package durward

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
)

// ResourceMetadata is what a protected resource says of itself (RFC 9728 s2), so
// that a client that was refused finds who gives tokens. Serve it at its URL, and
// name that in Config.Metadata:
//
//	m := durward.ResourceMetadata{Resource: "https://api.example.com", AuthorizationServers: []string{"https://auth.example.com"}}
//	mux.Handle("GET /.well-known/oauth-protected-resource", m)
//	guard, err := durward.New(durward.Config{Metadata: m.URL(), …})
type ResourceMetadata struct {
	// Resource is the resource's own identifier: the URL under which clients know it.
	Resource string `json:"resource"`

	// AuthorizationServers are the issuers whose tokens are taken.
	AuthorizationServers []string `json:"authorization_servers,omitempty"`

	ScopesSupported []string `json:"scopes_supported,omitempty"`       // scopes that may be asked for
	Name            string   `json:"resource_name,omitempty"`          // for people
	Documentation   string   `json:"resource_documentation,omitempty"` // URL, for developers

	// DPoPRequired and DPoPAlgorithms say that tokens must be bound to a key, and how
	// proofs may be signed; CertificateBound that tokens may be bound to a client
	// certificate.
	DPoPRequired     bool     `json:"dpop_bound_access_tokens_required,omitempty"`
	DPoPAlgorithms   []string `json:"dpop_signing_alg_values_supported,omitempty"`
	CertificateBound bool     `json:"tls_client_certificate_bound_access_tokens,omitempty"`
}

// URL is where the metadata of the resource is found: the well-known path stands
// before the resource's own (RFC 9728 s3.1).
func (m ResourceMetadata) URL() string {
	u, err := url.Parse(m.Resource)
	if err != nil {
		return ""
	}
	u.Path, u.RawPath = "/.well-known/oauth-protected-resource"+strings.TrimSuffix(u.Path, "/"), ""
	return u.String()
}

// ServeHTTP answers with the metadata, to anybody and to scripts of any page: all
// of it is public.
func (m ResourceMetadata) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := json.Marshal(struct {
		ResourceMetadata
		BearerMethods []string `json:"bearer_methods_supported"`
	}{m, []string{"header"}}) // never from the query or a form
	if err != nil { // of no value that the fields can have
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
