package web

import (
	"encoding/base64"
	"errors"
	"html/template"
	"net/http"
	"net/url"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/httpapi"
	"github.com/durward-auth/durward/server/internal/otp"
	"github.com/durward-auth/durward/server/internal/store"
)

// authenticator is GET /account/authenticator.
func (s *Server) authenticator(w http.ResponseWriter, r *http.Request) error {
	f, err := s.c.Parts.Accounts.Factors(r.Context(), durward.From(r.Context()).Subject)
	if err != nil {
		return err
	}
	return s.render(w, r, "authenticator.html", f)
}

// startAuthenticator is POST /account/authenticator. The browser keeps the seed sealed until it is
// confirmed, so that this session alone can reload the page: another session of the user could
// be that of a thief, who would know the seed.
func (s *Server) startAuthenticator(w http.ResponseWriter, r *http.Request) error {
	if err := empty(w, r); err != nil {
		return err
	}
	if err := s.keepSeed(w, r); err != nil {
		return err
	}
	return s.see(w, r, s.path("/account/authenticator/confirm"))
}

// keepSeed makes a new seed for an authenticator app and lets the browser keep it for pending.
func (s *Server) keepSeed(w http.ResponseWriter, r *http.Request) error {
	p := durward.From(r.Context())
	e, err := s.c.Parts.Accounts.StartTOTP(r.Context(), p)
	if err != nil {
		return httpapi.UnknownOwner(err)
	}
	return s.api.KeepOnce(w, p, "totp", e.URI.Reveal(), account.EnrolTime)
}

// pendingData is the data of the part "totp", which confirms a new authenticator app.
type pendingData struct {
	Image  template.URL // QR code
	Secret string       // for an app without a camera, in groups of four
	Link   template.URL // opens the app on the same device
}

// pending returns the seed that waits for its first code, or nil.
func (s *Server) pending(r *http.Request) (*pendingData, error) {
	uri := s.api.PeekOnce(r, durward.From(r.Context()), "totp")
	parsed, err := url.Parse(uri)
	if uri == "" || err != nil {
		return nil, nil
	}
	_, png, err := otp.QR(uri)
	if err != nil {
		return nil, err
	}
	return &pendingData{
		Image:  template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(png)),
		Secret: inFours(parsed.Query().Get("secret")),
		Link:   template.URL(uri), // sealed by this server
	}, nil
}

// inFours returns a text in groups of four letters.
func inFours(s string) (grouped string) {
	for len(s) > 4 {
		grouped, s = grouped+s[:4]+" ", s[4:]
	}
	return grouped + s
}

// pendingAuthenticator is GET /account/authenticator/confirm.
func (s *Server) pendingAuthenticator(w http.ResponseWriter, r *http.Request) error {
	d, err := s.pending(r)
	if err != nil {
		return err
	}
	if d == nil {
		return s.see(w, r, s.path("/account/authenticator"))
	}
	return s.render(w, r, "authenticator-confirm.html", d)
}

// confirmAuthenticator is POST /account/authenticator/confirm.
func (s *Server) confirmAuthenticator(w http.ResponseWriter, r *http.Request) error {
	f, err := readForm(w, r, "code")
	if err != nil {
		return err
	}
	d, err := s.pending(r)
	if err != nil {
		return err
	}
	if d == nil {
		return s.back(w, r, "/account/authenticator", "late")
	}
	err = s.api.ConfirmTOTP(w, r, f.Value("code"))
	if errors.Is(err, durward.NotFound) || errors.Is(err, store.ErrNotFound) { // too late, or another request was first
		s.api.DropOnce(w)
		return s.back(w, r, "/account/authenticator", "late")
	}
	if err != nil {
		return s.refused(w, r, "authenticator-confirm.html", d, f, err, map[string]string{"code": "code"})
	}
	s.api.DropOnce(w)
	return s.back(w, r, "/account/recovery-codes", "totp_added")
}

// removeAuthenticator is POST /account/authenticator/remove.
func (s *Server) removeAuthenticator(w http.ResponseWriter, r *http.Request) error {
	if err := empty(w, r); err != nil {
		return err
	}
	err := s.c.Parts.Sessions.RemoveTOTP(r.Context(), durward.From(r.Context()), s.api.From(r))
	if errors.Is(err, store.ErrFactorOwed) {
		factors, readErr := s.c.Parts.Accounts.Factors(r.Context(), durward.From(r.Context()).Subject)
		if readErr != nil {
			return readErr
		}
		f := &form{Denial: s.guard.Report(r, err).ID}
		f.Wrong("", text(languageOf(r), "mistake.factor_owed"))
		return s.again(w, r, "authenticator.html", factors, f)
	}
	if err != nil {
		return err
	}
	return s.back(w, r, "/account/authenticator", "totp_removed")
}
