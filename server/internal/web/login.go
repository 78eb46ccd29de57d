package web

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"

	"github.com/durward-auth/durward"
)

// showLogin is GET /login. No row is written for it: return_to stays in the URL until the first factor
// is right. A signed-in user in need of a newer or stronger sign-in is led to the step-up.
func (s *Server) showLogin(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	if durward.From(r.Context()) != nil && (query.Has("acr_values") || query.Has("max_age")) {
		return s.see(w, r, s.to(r, "/step-up"))
	}
	d := s.loginData(r)
	if ended := query.Get("ended"); d.Email == "" && (ended == "tries" || ended == "time") {
		d.Ended = text(languageOf(r), "login.ended_"+ended)
	}
	p := s.pageOf(r, d)
	p.Form = &form{values: url.Values{"email": {query.Get("login_hint")}}}
	return s.write(w, r, http.StatusOK, "login.html", p)
}

// loginData is the data of the sign-in page.
type loginData struct {
	ReturnTo string // checked
	Email    string // of the signed-in user
	Open     bool   // every visitor may register
	Begin    string // path where a script gets the options of a passkey
	Ended    string // why the last sign-in ended before it was finished
}

func (s *Server) loginData(r *http.Request) *loginData {
	d := &loginData{
		ReturnTo: s.returnTo(r.URL.Query().Get("return_to")),
		Open:     s.c.Settings.Registration == "open",
		Begin:    s.path("/api/auth/passkeys/login/begin"),
	}
	if p := durward.From(r.Context()); p != nil {
		if u, err := s.c.Parts.DB.UserByID(r.Context(), p.Subject); err == nil {
			d.Email = u.Email
		}
	}
	return d
}

// login is POST /login.
func (s *Server) login(w http.ResponseWriter, r *http.Request) error {
	f, err := readForm(w, r, "email", "password", "remember", "assertion")
	if err != nil {
		return err
	}
	d, lang := s.loginData(r), languageOf(r)
	if assertion := f.Value("assertion"); assertion != "" {
		if !json.Valid([]byte(assertion)) {
			return badForm("assertion", "is no JSON")
		}
		if err := s.api.SignInWithPasskey(w, r, []byte(assertion), f.Has("remember")); errors.Is(err, durward.InvalidCredentials) {
			f.Denial = s.guard.Report(r, err).ID
			f.Wrong("", text(lang, "factor.wrong_passkey"))
			return s.again(w, r, "login.html", d, f)
		} else if err != nil {
			return s.refuseForm(w, r, "login.html", d, f, err)
		}
		s.api.SetSignIn(w, "")
		return s.leave(w, r, d.ReturnTo)
	}
	if f.Value("email") == "" {
		f.Wrong("email", text(lang, "login.email_missing"))
	}
	if f.Value("password") == "" {
		f.Wrong("password", text(lang, "login.password_missing"))
	}
	if len(f.Mistakes) > 0 {
		return s.again(w, r, "login.html", d, f)
	}
	err = s.api.SignIn(w, r, f.Value("email"), f.Value("password"), f.Has("remember"))
	switch half, _ := errors.AsType[*durward.Refusal](err); {
	case err == nil:
		s.api.SetSignIn(w, "")
		return s.leave(w, r, d.ReturnTo)
	case errors.Is(err, durward.MFARequired) && half != nil:
		token, _ := half.Members["mfa_token"].(string)
		s.api.SetSignIn(w, token)
		return s.see(w, r, s.to(r, "/login/factor"))
	case errors.Is(err, durward.EnrolmentRequired):
		s.api.SetSignIn(w, "")
		s.guard.Report(r, err)
		return s.see(w, r, s.to(r, "/login/enrol"))
	}
	return s.refuseForm(w, r, "login.html", d, f, err)
}

// refuseForm shows the page of a refused form, with the reason and the id of the denial.
// An error that is about the request as a whole, such as an outage, is returned: it gets a page of its own.
func (s *Server) refuseForm(w http.ResponseWriter, r *http.Request, name string, data any, f *form, err error) error {
	lang := languageOf(r)
	for _, code := range []durward.Code{
		durward.InvalidCredentials, durward.AccountDisabled, durward.EmailUnverified, durward.PasswordChangeRequired,
	} {
		if errors.Is(err, code) {
			f.Denial = s.guard.Report(r, err).ID
			f.Wrong("", text(lang, "refused."+string(code)))
			return s.again(w, r, name, data, f)
		}
	}
	return err
}

// signOut is POST /sign-out.
func (s *Server) signOut(w http.ResponseWriter, r *http.Request) error {
	if _, err := readForm(w, r); err != nil {
		return err
	}
	if err := s.api.SignOut(w, r); err != nil {
		return err
	}
	s.api.SetSignIn(w, "")
	return s.see(w, r, s.path("/signed-out"))
}

// signedOut is GET /signed-out.
func (s *Server) signedOut(w http.ResponseWriter, r *http.Request) error {
	return s.render(w, r, "signed-out.html", nil)
}
