package httpapi

import (
	"net/http"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/api"
)

// factors is GET /api/auth/mfa.
func (s *Server) factors(w http.ResponseWriter, r *http.Request) error {
	f, err := s.c.Accounts.Factors(r.Context(), durward.From(r.Context()).Subject)
	return answer(w, http.StatusOK, f, err)
}

// startTOTP is POST /api/auth/mfa/totp.
func (s *Server) startTOTP(w http.ResponseWriter, r *http.Request) error {
	if _, err := decodeOptional[struct{}](w, r); err != nil {
		return err
	}
	e, err := s.c.Accounts.StartTOTP(r.Context(), durward.From(r.Context()))
	return answer(w, http.StatusCreated, api.TOTPEnrolment{
		Secret: e.Seed.Reveal(),
		URI:    e.URI.Reveal(),
		SVG:    e.SVG,
		PNG:    e.PNG,
	}, unknownOwner(err))
}

// confirmTOTP is POST /api/auth/mfa/totp/confirm. The code proves the factor, so the response is that of a
// step-up.
func (s *Server) confirmTOTP(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[struct {
		Code string `json:"code"`
	}](w, r)
	if err != nil {
		return err
	}
	proof, err := s.c.Accounts.ConfirmTOTP(r.Context(), durward.From(r.Context()), in.Code, from(r))
	if err != nil {
		return unknown("seed to confirm", err)
	}
	return s.answerStepUp(w, r, proof, nil)
}

// ConfirmTOTP is confirmTOTP for a page: it sets the new session cookie.
func (s *Server) ConfirmTOTP(w http.ResponseWriter, r *http.Request, code string) error {
	p := durward.From(r.Context())
	proof, err := s.c.Accounts.ConfirmTOTP(r.Context(), p, code, from(r))
	if err != nil {
		return unknown("seed to confirm", err)
	}
	return s.renew(w, r, proof)
}

// removeTOTP is DELETE /api/auth/mfa/totp.
func (s *Server) removeTOTP(w http.ResponseWriter, r *http.Request) error {
	err := s.c.Sessions.RemoveTOTP(r.Context(), durward.From(r.Context()), from(r))
	return noContent(w, unknown("authenticator app", err))
}

// makeRecoveryCodes is POST /api/auth/mfa/recovery-codes.
func (s *Server) makeRecoveryCodes(w http.ResponseWriter, r *http.Request) error {
	if _, err := decodeOptional[struct{}](w, r); err != nil {
		return err
	}
	codes, err := s.MakeRecoveryCodes(r)
	return answer(w, http.StatusCreated, api.RecoveryCodes{Codes: codes}, err)
}

// MakeRecoveryCodes replaces the recovery codes of the user of a request and returns the new ones. It refuses a
// user who signed in without a second factor.
func (s *Server) MakeRecoveryCodes(r *http.Request) ([]string, error) {
	if err := s.requireFactor(r); err != nil {
		return nil, err
	}
	made, err := s.c.Accounts.ReplaceRecoveryCodes(r.Context(), durward.From(r.Context()), from(r))
	codes := make([]string, 0, len(made))
	for _, code := range made {
		codes = append(codes, code.Reveal())
	}
	return codes, unknown("second factor", err)
}
