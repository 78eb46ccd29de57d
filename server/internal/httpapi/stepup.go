package httpapi

import (
	"errors"
	"net/http"

	"github.com/durward-auth/durward"
)

// stepUp is POST /api/auth/step-up: the person shows anew who they are. What they
// are signed in by, a token or a cookie, is what they get anew.
func (s *Server) stepUp(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[struct {
		Password string `json:"password"`
	}](w, r)
	if err != nil {
		return err
	}
	if err := present(field{"password", in.Password}); err != nil {
		return err
	}
	p := durward.From(r.Context())
	if p.SessionID == "" {
		return &durward.Refusal{Code: durward.Forbidden, Detail: "These credentials cannot step up: no sign-in stands behind them.",
			Hint: "Sign in at POST /api/auth/login.", Err: errors.New("step-up by credentials without a session")}
	}
	proof, err := s.c.People.Reauthenticate(r.Context(), p.Subject, p.SessionID, in.Password, from(r))
	if err != nil {
		return goneOwner(err)
	}
	if value, ok := judgedCookie(r); ok {
		fresh, err := s.c.Issuer.StepUpCookie(r.Context(), proof, p, value, from(r))
		if err != nil {
			return err
		}
		return s.answerCookie(w, r, proof.User, fresh)
	}
	t, err := s.c.Issuer.StepUp(r.Context(), proof, p, from(r))
	if err != nil {
		return err
	}
	return answerTokens(w, t)
}
