package httpapi

import (
	"errors"
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
	if err := required(field{"password", in.Password}); err != nil {
		return err
	}
	p := durward.From(r.Context())
	if p.SessionID == "" {
		return &durward.Refusal{
			Code:   durward.Forbidden,
			Detail: "These credentials cannot step up, because they belong to no session.",
			Hint:   "Sign in at POST /api/auth/login.",
			Err:    errors.New("step-up with credentials without a session"),
		}
	}
	proof, err := s.c.Sessions.Reauthenticate(r.Context(), p, in.Password, from(r))
	if err != nil {
		return unknownOwner(err)
	}
	if value, ok := acceptedCookie(r); ok {
		fresh, err := s.c.Sessions.StepUpCookie(r.Context(), proof, p, value, from(r))
		if err != nil {
			return err
		}
		return s.answerCookie(w, r, proof.User, fresh)
	}
	t, err := s.c.Sessions.StepUp(r.Context(), proof, p, from(r))
	if err != nil {
		return err
	}
	return answerTokens(w, t)
}
