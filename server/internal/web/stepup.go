package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/httpapi"
)

// stepUpReasons are the pages that ask for a step-up, with the key of the reason. The longest path that fits
// counts.
var stepUpReasons = map[string]string{
	"/account/password":       "step_up.for_password",
	"/account/email":          "step_up.for_email",
	"/account/passkeys":       "step_up.for_passkeys",
	"/account/authenticator":  "step_up.for_authenticator",
	"/account/recovery-codes": "step_up.for_recovery_codes",
	"/account/keys":           "step_up.for_keys",
	"/account/data":           "step_up.for_data",
	"/account/delete":         "step_up.for_delete",
	"/login/enrol":            "step_up.for_enrol",
	"/oauth/continue":         "step_up.for_application",
	"/console":                "step_up.for_console",
}

// stepUpData returns the data of the page of a step-up, or a refusal if the user has no factor that the
// parameter acr_values accepts.
func (s *Server) stepUpData(r *http.Request) (*factorData, error) {
	factors, err := s.c.Parts.DB.Factors(r.Context(), durward.From(r.Context()).Subject)
	if err != nil {
		return nil, err
	}
	methods := factors.Usable()
	u, err := s.c.Parts.DB.UserByID(r.Context(), durward.From(r.Context()).Subject)
	if err != nil {
		return nil, err
	}
	if u.SecondFactorAt.IsZero() {
		methods = []string{factorPassword}
	}
	wanted := strings.Fields(r.URL.Query().Get("acr_values"))
	methods = slices.DeleteFunc(methods, func(m string) bool { return !account.Reaches(m, wanted) })
	if len(methods) == 0 {
		return nil, fmt.Errorf("web: no usable factor of the user reaches one of %q: %w", wanted, durward.Forbidden)
	}
	d := s.factors(r, "/step-up", "/api/auth/passkeys/step-up/begin", methods)
	to := s.returnTo(r.URL.Query().Get("return_to"))
	if d.Cancel = s.path("/account"); s.mayLeave(to) {
		d.Cancel = to + "&cancel=yes"
	}
	d.Reason = text(languageOf(r), s.reason(to))
	return d, nil
}

// reason returns the key of the reason for a step-up that leads to a page.
func (s *Server) reason(page string) string {
	key, longest := "step_up.for_other", 0
	to, err := url.Parse(page)
	if err != nil || to.Host != "" {
		return key
	}
	for path, reason := range stepUpReasons {
		rest, ok := strings.CutPrefix(to.Path, s.path(path))
		if ok && (rest == "" || rest[0] == '/') && len(path) > longest {
			key, longest = reason, len(path)
		}
	}
	return key
}

// showStepUp is GET /step-up.
func (s *Server) showStepUp(w http.ResponseWriter, r *http.Request) error {
	d, err := s.stepUpData(r)
	if err != nil {
		return err
	}
	return s.render(w, r, "step-up.html", d)
}

// stepUp is POST /step-up.
func (s *Server) stepUp(w http.ResponseWriter, r *http.Request) error {
	d, err := s.stepUpData(r)
	if err != nil {
		return err
	}
	f, err := readFactor(w, r, d)
	if err != nil {
		return err
	}
	if len(f.Mistakes) > 0 {
		return s.again(w, r, "step-up.html", d, f)
	}
	var in api.StepUpRequest
	switch d.Method {
	case factorPassword:
		in.Password = f.Value("password")
	case api.FactorTOTP:
		in.TOTP = f.Value("code")
	case api.FactorRecoveryCode:
		in.RecoveryCode = f.Value("code")
	case api.FactorPasskey:
		in.Passkey = json.RawMessage(f.Value("assertion"))
	}
	err = s.api.StepUp(w, r, in)
	switch {
	case err == nil:
		return s.leave(w, r, s.returnTo(r.URL.Query().Get("return_to")))
	case errors.Is(err, durward.MFARequired): // the user got a second factor since the page was shown
		return s.see(w, r, s.to(r, "/step-up"))
	}
	if err := s.wrongFactor(r, d, f, err); err != nil {
		return err
	}
	if s.api.SessionEnded(r) { // after the fifth wrong one
		return s.see(w, r, s.to(r, "/login", "ended", "tries"))
	}
	return s.again(w, r, "step-up.html", d, f)
}

// lead leads a user whose sign-in is too old or too weak for p to the page that renews it, and one without a
// second factor to the page that adds one. Both lead back to this page. lead returns any other error.
func (s *Server) lead(w http.ResponseWriter, r *http.Request, p durward.Policy, err error) error {
	query := url.Values{"return_to": {s.here(r)}}
	switch {
	case errors.Is(err, durward.EnrolmentRequired):
		s.guard.Report(r, err)
		return s.see(w, r, s.path("/login/enrol?"+query.Encode()))
	case errors.Is(err, durward.StepUpRequired):
		s.guard.Report(r, err)
		if p.MaxAge > 0 {
			query.Set("max_age", strconv.FormatInt(int64(p.MaxAge/time.Second), 10))
		}
		if len(p.ACR) > 0 {
			query.Set("acr_values", strings.Join(p.ACR, " "))
		}
		return s.see(w, r, s.path("/step-up?"+query.Encode()))
	}
	return err
}

// here returns the page of a request, to come back to. A form has the URL of its page, or belongs to the
// page that the browser names as its origin.
func (s *Server) here(r *http.Request) string {
	if _, shown := s.pages[r.Pattern]["GET"]; shown || r.Method == http.MethodGet || r.Method == http.MethodHead {
		return httpapi.Here(r)
	}
	if from, ok := strings.CutPrefix(r.Referer(), s.origin); ok {
		return s.localReturn(from)
	}
	return s.path("/account")
}
