package httpapi

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/durward-auth/durward"
)

// refresh is POST /api/auth/refresh. Its own 401 is the only answer that signs a
// client out.
func (s *Server) refresh(w http.ResponseWriter, r *http.Request, key *durward.HeldKey) error {
	in, err := decode[struct {
		RefreshToken string `json:"refresh_token"`
	}](w, r)
	if err != nil {
		return err
	}
	if err := present(field{"refresh_token", in.RefreshToken}); err != nil {
		return err
	}
	t, err := s.c.Issuer.Refresh(r.Context(), in.RefreshToken, key, from(r))
	if s.Schemes.DPoP == nil && errors.Is(err, durward.InvalidProof) {
		// Proofs were taken once and are no longer: nothing but a sign-in helps.
		return fmt.Errorf("%v, and none are taken (dpop is off): %w", err, durward.RefreshInvalid)
	}
	if err != nil {
		return err
	}
	return answerTokens(w, t)
}
