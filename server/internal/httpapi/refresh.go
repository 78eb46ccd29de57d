package httpapi

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/api"
)

// refresh is POST /api/auth/refresh. A client signs its user out only after a 401 of this endpoint.
func (s *Server) refresh(w http.ResponseWriter, r *http.Request, key *durward.HeldKey) error {
	in, err := decode[api.RefreshRequest](w, r)
	if err != nil {
		return err
	}
	if err := required(field{"refresh_token", in.RefreshToken}); err != nil {
		return err
	}
	t, err := s.c.Sessions.Refresh(r.Context(), in.RefreshToken, key, from(r))
	if s.Schemes.DPoP == nil && errors.Is(err, durward.InvalidProof) {
		// The token was bound before the operator switched DPoP off: only a new sign-in helps.
		return fmt.Errorf("%v, and DPoP is off: %w", err, durward.RefreshInvalid)
	}
	if err != nil {
		return err
	}
	return answerTokens(w, t)
}
