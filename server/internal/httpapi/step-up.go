package httpapi

import (
	"net/http"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/api"
)

// stepUp is POST /api/auth/step-up: the user authenticates again. The response has new tokens, or a
// new cookie if the request was authenticated by cookie.
func (s *Server) stepUp(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[api.StepUpRequest](w, r)
	if err != nil {
		return err
	}
	p := durward.From(r.Context())
	if p.SessionID == "" {
		return refusal(durward.Forbidden, "These credentials cannot step up, because they belong to no session.",
			"Sign in at POST /api/auth/login.", "step-up with credentials without a session")
	}
	proof, err := s.c.Sessions.Reauthenticate(r.Context(), p, in.Password, from(r))
	if err != nil {
		return unknownOwner(err)
	}
	if value, ok := acceptedCookie(r); ok {
		fresh, err := s.c.Sessions.StepUpCookie(r.Context(), proof, p, value, from(r))
		return s.answerCookie(w, r, proof.User, fresh, err)
	}
	t, err := s.c.Sessions.StepUp(r.Context(), proof, p, from(r))
	return answerTokens(w, t, err)
}
