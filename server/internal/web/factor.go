package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/api"
)

// factorPassword is the method of users without a second factor, on the page of a step-up.
const factorPassword = "password"

// carried are the parameters that a page of a sign-in hands to the next one. Each page checks them again.
var carried = []string{"return_to", "ui_locales", "acr_values", "max_age", "login_hint"}

// to returns the URL of another page of the same sign-in: its path, the parameters of this page, and pairs
// of further names and values.
func (s *Server) to(r *http.Request, page string, pairs ...string) string {
	return s.with(r.URL.Query(), page, pairs...)
}

// carriedOf returns the parameters of a query that a page hands to the next one.
func carriedOf(sent url.Values) url.Values {
	query := url.Values{}
	for _, name := range carried {
		if sent.Get(name) != "" {
			query.Set(name, sent.Get(name))
		}
	}
	return query
}

// with is to for the parameters of a query.
func (s *Server) with(sent url.Values, page string, pairs ...string) string {
	query := carriedOf(sent)
	for i := 0; i+1 < len(pairs); i += 2 {
		query.Set(pairs[i], pairs[i+1])
	}
	if len(query) == 0 {
		return s.path(page)
	}
	return s.path(page) + "?" + query.Encode()
}

// factorData is the data of a page that asks for a factor.
type factorData struct {
	Method string // the one that the page asks for
	Others []way
	Begin  string // path where a script gets the options of a passkey

	Reason, Cancel string // of a step-up
}

// way is another second factor of the user.
type way struct{ Method, URL string }

// factors returns the data of a page that asks for one of methods, the strongest first: the one that the URL
// names, else the first one.
func (s *Server) factors(r *http.Request, page, begin string, methods []string) *factorData {
	d := &factorData{Method: methods[0], Begin: s.path(begin)}
	if wanted := r.URL.Query().Get("method"); slices.Contains(methods, wanted) {
		d.Method = wanted
	}
	for _, m := range methods {
		if m != d.Method {
			d.Others = append(d.Others, way{m, s.to(r, page, "method", m)})
		}
	}
	return d
}

// readFactor reads the form of a page that asks for d.Method. It adds the mistakes that it finds.
func readFactor(w http.ResponseWriter, r *http.Request, d *factorData) (*form, error) {
	f, err := readForm(w, r, "method", "password", "code", "assertion")
	if err != nil {
		return nil, err
	}
	lang := languageOf(r)
	switch d.Method {
	case api.FactorPasskey:
		if !json.Valid([]byte(f.Value("assertion"))) {
			f.Wrong("", text(lang, "factor.passkey_missing"))
		}
	case factorPassword:
		if f.Value("password") == "" {
			f.Wrong("password", text(lang, "login.password_missing"))
		}
	default:
		if f.Value("code") == "" {
			f.Wrong("code", text(lang, "factor.code_missing"))
		}
	}
	return f, nil
}

// halfSignIn returns the factors of the user whose sign-in the browser has begun. ok is false if there is no
// such sign-in any more; then the browser is on its way back to /login.
func (s *Server) halfSignIn(w http.ResponseWriter, r *http.Request, why string) (d *factorData, ok bool, err error) {
	half, err := s.c.Parts.Sessions.SignInOf(r.Context(), s.api.SentSignIn(r))
	if errors.Is(err, durward.SessionExpired) {
		s.api.SetSignIn(w, "")
		return nil, false, s.see(w, r, s.to(r, "/login", "ended", why))
	} else if err != nil {
		return nil, false, err
	}
	factors, err := s.c.Parts.DB.Factors(r.Context(), half.UserID)
	if err != nil {
		return nil, false, err
	}
	methods := factors.Usable()
	if len(methods) == 0 { // all are locked, or were removed since
		methods = []string{api.FactorRecoveryCode}
	}
	return s.factors(r, "/login/factor", "/login/factor/passkey", methods), true, nil
}

// showFactor is GET /login/factor.
func (s *Server) showFactor(w http.ResponseWriter, r *http.Request) error {
	d, ok, err := s.halfSignIn(w, r, "time")
	if !ok {
		return err
	}
	return s.render(w, r, "factor.html", d)
}

// factor is POST /login/factor.
func (s *Server) factor(w http.ResponseWriter, r *http.Request) error {
	d, ok, err := s.halfSignIn(w, r, "time")
	if !ok {
		return err
	}
	f, err := readFactor(w, r, d)
	if err != nil {
		return err
	}
	if len(f.Mistakes) > 0 {
		return s.again(w, r, "factor.html", d, f)
	}
	in := api.MFARequest{MFAToken: s.api.SentSignIn(r), Method: d.Method, Code: f.Value("code")}
	if d.Method == api.FactorPasskey {
		in.Code, in.Assertion = "", json.RawMessage(f.Value("assertion"))
	}
	err = s.api.FinishSignIn(w, r, in)
	switch {
	case err == nil:
		s.api.SetSignIn(w, "")
		return s.leave(w, r, s.returnTo(r.URL.Query().Get("return_to")))
	case errors.Is(err, durward.SessionExpired): // spent by another request at the same time
		s.api.SetSignIn(w, "")
		return s.see(w, r, s.to(r, "/login", "ended", "time"))
	}
	if err := s.wrongFactor(r, d, f, err); err != nil {
		return err
	}
	if _, ok, err := s.halfSignIn(w, r, "tries"); !ok {
		return err
	}
	return s.again(w, r, "factor.html", d, f)
}

// wrongFactor records the refusal of a factor and adds its text to the form. It returns errors that are no
// fault of the factor.
func (s *Server) wrongFactor(r *http.Request, d *factorData, f *form, err error) error {
	if !errors.Is(err, durward.InvalidCredentials) && !errors.Is(err, durward.InvalidRequest) {
		return err
	}
	f.Denial = s.guard.Report(r, err).ID
	field := map[string]string{api.FactorPasskey: "", factorPassword: "password"}
	name, special := field[d.Method]
	if !special {
		name = "code"
	}
	f.Wrong(name, text(languageOf(r), "factor.wrong_"+d.Method))
	return nil
}

// beginFactor is POST /login/factor/passkey, for the script of the page. A sign-in that is over is not found:
// with SessionExpired the guard would remove the session cookie of another sign-in in this browser.
func (s *Server) beginFactor(w http.ResponseWriter, r *http.Request) error {
	err := s.api.BeginFactor(w, r, s.api.SentSignIn(r))
	if errors.Is(err, durward.SessionExpired) {
		return fmt.Errorf("web: the sign-in is over (%v): %w", err, durward.NotFound)
	}
	return err
}
