package web

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/httpapi"
	"github.com/durward-auth/durward/server/internal/store"
)

// addPasskey adds the passkey of the field credential to the account of the user of a request. A response
// that is not accepted becomes a mistake of the form, and the id of its denial.
func (s *Server) addPasskey(r *http.Request, f *form) error {
	lang := languageOf(r)
	if !json.Valid([]byte(f.Value("credential"))) {
		f.Wrong("", text(lang, "factor.passkey_missing"))
		return nil
	}
	_, err := s.api.Passkeys().Enrol(r.Context(), durward.From(r.Context()), []byte(f.Value("credential")), f.Value("name"), s.api.From(r))
	if refused, _ := errors.AsType[*durward.Refusal](err); refused != nil && (refused.Code == durward.InvalidRequest || refused.Code == durward.Forbidden) {
		f.Denial = s.guard.Report(r, err).ID
		f.Wrong("", text(lang, "enrol.passkey_refused"))
		return nil
	}
	return err
}

// Enrol returns, on the page of a refusal for lack of a second factor, the URL of the page that sets one up and
// leads back; else "".
func (p *page) Enrol() string {
	if f, ok := p.Data.(*durward.Refusal); !ok || f.Code != durward.EnrolmentRequired {
		return ""
	}
	return p.s.path("/login/enrol?return_to=" + url.QueryEscape(p.Here))
}

// Required reports whether the second factor that the page of a refusal asks for is required of the account, not
// of the page.
func (p *page) Required() bool {
	f, ok := p.Data.(*durward.Refusal)
	return ok && errors.Is(f.Err, account.ErrOwesFactor)
}

// enrolData is the data of the page that sets up a second factor.
type enrolData struct {
	Step  string // passkey, totp, codes (to make them) or done (to show them)
	TOTP  *pendingData
	Codes []string
	Begin string // path where a script gets the options of a new passkey
	Other string // URL of the other way; empty for none
	Skip  string // page without a second factor; empty if one is required of the account
}

// enrolData returns the data for the state of the account: first a second factor, then recovery codes. It
// returns nil if the user has both.
func (s *Server) enrolData(r *http.Request) (*enrolData, error) {
	u, err := s.c.Parts.DB.UserByID(r.Context(), durward.From(r.Context()).Subject)
	if err != nil {
		return nil, err
	}
	factors, err := s.c.Parts.DB.Factors(r.Context(), u.ID)
	if err != nil {
		return nil, err
	}
	d := &enrolData{Begin: s.path("/api/auth/passkeys/begin"), Codes: strings.Fields(s.api.PeekOnce(r, durward.From(r.Context()), "codes"))}
	if !u.FactorRequired {
		d.Skip = s.path("/account")
	}
	switch {
	case len(d.Codes) > 0:
		d.Step = "done"
	case factors.Passkeys == 0 && factors.TOTP.ID == "":
		d.Step, d.Other = api.FactorPasskey, s.to(r, "/login/enrol", "method", api.FactorTOTP)
		if r.URL.Query().Get("method") == api.FactorTOTP {
			d.Step, d.Other = api.FactorTOTP, s.to(r, "/login/enrol")
			d.TOTP, err = s.pending(r)
		}
	case factors.RecoveryCodes == 0:
		d.Step = "codes"
	default:
		return nil, nil
	}
	return d, err
}

// showEnrol is GET /login/enrol.
func (s *Server) showEnrol(w http.ResponseWriter, r *http.Request) error {
	d, err := s.enrolData(r)
	if err != nil {
		return err
	}
	if d == nil {
		return s.leave(w, r, s.returnTo(r.URL.Query().Get("return_to")))
	}
	return s.render(w, r, "enrol.html", d)
}

// enrol is POST /login/enrol. The field step says which form of the page it is; a form of an earlier step does
// nothing.
func (s *Server) enrol(w http.ResponseWriter, r *http.Request) error {
	f, err := readForm(w, r, "step", "code", "credential")
	if err != nil {
		return err
	}
	d, err := s.enrolData(r)
	if err != nil {
		return err
	}
	next := httpapi.Here(r)
	if d == nil {
		return s.see(w, r, next)
	}
	switch step := f.Value("step"); {
	case step == "done":
		s.api.DropOnce(w)
		return s.leave(w, r, s.returnTo(r.URL.Query().Get("return_to")))
	case step == "codes" && d.Step == "codes":
		err = s.keepCodes(w, r)
	case step == "passkey" && d.Step == api.FactorPasskey:
		err = s.addPasskey(r, f)
	case step == "start" && d.Step == api.FactorTOTP:
		err = s.keepSeed(w, r)
	case f.values.Has("code") && d.TOTP != nil:
		next = s.to(r, "/login/enrol")
		switch err = s.api.ConfirmTOTP(w, r, f.Value("code")); {
		case err == nil, errors.Is(err, store.ErrNotFound), errors.Is(err, durward.NotFound): // the seed is too old
			s.api.DropOnce(w)
			return s.see(w, r, next)
		case errors.Is(err, durward.InvalidRequest):
			f.Denial = s.guard.Report(r, err).ID
			f.Wrong("code", text(languageOf(r), "factor.wrong_totp"))
			err = nil
		}
	}
	if err != nil {
		return err
	}
	if len(f.Mistakes) > 0 {
		return s.again(w, r, "enrol.html", d, f)
	}
	return s.see(w, r, next)
}
