package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/durward-auth/durward"
)

// metadata is GET /.well-known/openid-configuration (OpenID Connect Discovery s4) and
// GET /.well-known/oauth-authorization-server (RFC 8414 s3). Verifiers find the keys of the issuer by
// it. It names no endpoint and no capability that this server does not have; a list without elements
// is left out (RFC 8414 s3.2).
func (s *Server) metadata(w http.ResponseWriter, r *http.Request) error {
	if !s.c.Issuer.Publishes() {
		return fmt.Errorf("the tokens are signed with a shared secret, so there is no key set: %w", durward.NotFound)
	}
	document, err := json.Marshal(struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}{s.c.Issuer.URL(), s.c.PublicURL + "/.well-known/jwks.json"})
	if err != nil {
		return &durward.Refusal{Code: durward.Internal, Err: err}
	}
	toEveryOrigin(w)
	return public(w, r, "application/json", "public, max-age=300", etagOf(document), document)
}
