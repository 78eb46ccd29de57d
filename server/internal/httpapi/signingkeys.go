package httpapi

import (
	"net/http"

	"github.com/durward-auth/durward/server/internal/issuer"
	"github.com/durward-auth/durward/server/internal/request"
)

// signingKeys is GET /api/admin/signing-keys.
func (s *Server) signingKeys(w http.ResponseWriter, r *http.Request) error {
	keys, err := issuer.SigningKeys(r.Context(), s.c.DB)
	items := make([]issuer.KeyView, 0, len(keys))
	for _, k := range keys {
		items = append(items, issuer.KeyViewOf(k))
	}
	return answer(w, http.StatusOK, list[issuer.KeyView]{Items: items}, err)
}

// atOnce is the body of a retirement.
type atOnce struct {
	Now bool `json:"now,omitzero"`
}

// rotation is the body of a rotation.
type rotation struct {
	Now bool   `json:"now,omitzero"`
	Use string `json:"use,omitzero"`
}

// rotateSigningKey is POST /api/admin/signing-keys/rotate. It answers with the keys.
func (s *Server) rotateSigningKey(w http.ResponseWriter, r *http.Request, by request.Info) error {
	in, err := decodeOptional[rotation](w, r)
	if err == nil {
		err = s.c.Issuer.Rotate(r.Context(), in.Use, in.Now, by)
	}
	if err != nil {
		return err
	}
	return s.signingKeys(w, r)
}

// retireSigningKey is POST /api/admin/signing-keys/{kid}/retire.
func (s *Server) retireSigningKey(w http.ResponseWriter, r *http.Request, by request.Info) error {
	in, err := decodeOptional[atOnce](w, r)
	if err != nil {
		return err
	}
	retired, err := s.c.Issuer.Retire(r.Context(), r.PathValue("kid"), in.Now, by)
	return answer(w, http.StatusOK, retired.View(), err)
}
