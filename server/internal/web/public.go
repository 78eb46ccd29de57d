package web

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/httpapi"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

// The pages for users without a session: register, confirm an address, forgotten password, invitation
// and first administrator. Tokens of links come in the fragment, which browsers do not send: static/token.js
// fills it into the field of the form. Without scripts the user pastes it.

// from returns the origin of a request. Mails get the language that the user sees.
func (s *Server) from(r *http.Request) request.Info {
	info := s.api.From(r)
	info.Language = languageOf(r)
	return info
}

// requireFields adds a mistake for each empty field.
func requireFields(f *form, lang string, fields ...string) {
	for _, field := range fields {
		if f.Value(field) == "" {
			f.Wrong(field, text(lang, "rule."+field+"_missing"))
		}
	}
}

// refusePublic shows the form again if err is about one of its fields, in the language of the page. The
// refusal is recorded as that of the API. An error about the request as a whole, such as an outage, is
// returned: it gets a page of its own.
func (s *Server) refusePublic(w http.ResponseWriter, r *http.Request, name string, f *form, err error) error {
	field, message := mistakeOf(languageOf(r), err)
	if field == "" {
		return err
	}
	reported := s.guard.Report(r, httpapi.AsRefusal(err))
	if field == "token" {
		f.Denial = reported.ID // the only one that the user may have to ask about
	}
	f.Wrong(field, message)
	return s.again(w, r, name, nil, f)
}

// mistakeOf returns the field that a refusal of the rules names and the text beside it, or "" for a refusal
// that is about no field.
func mistakeOf(lang string, err error) (field, message string) {
	if errors.Is(err, durward.EmailTaken) {
		return "email", text(lang, "rule.email_taken")
	}
	refused, ok := errors.AsType[*durward.Refusal](err)
	if !ok || refused.Code != durward.InvalidRequest {
		return "", ""
	}
	field, _ = refused.Members["member"].(string)
	rule, ok := errors.AsType[*account.Rule](err)
	switch {
	case field == "token":
		return field, text(lang, "rule.token")
	case !ok:
		return "", ""
	case rule.Limit > 0:
		return field, text(lang, "rule."+rule.Name, strconv.Itoa(rule.Limit))
	}
	return field, text(lang, "rule."+rule.Name)
}

// show is the GET of a page without data.
func (s *Server) show(name string) endpoint {
	return func(w http.ResponseWriter, r *http.Request) error { return s.render(w, r, name, nil) }
}

// showIf is the GET of a page that the configuration can close. Its POST is refused then.
func (s *Server) showIf(check func() error, name string) endpoint {
	return func(w http.ResponseWriter, r *http.Request) error {
		if check() != nil {
			return s.render(w, r, "closed.html", nil)
		}
		return s.render(w, r, name, nil)
	}
}

// done is the page after a form, with the result and the next step. of is the table of its texts.
func (s *Server) done(of string) endpoint {
	return func(w http.ResponseWriter, r *http.Request) error { return s.render(w, r, "done.html", of) }
}

// register is POST /register.
func (s *Server) register(w http.ResponseWriter, r *http.Request) error {
	if err := s.api.CheckRegistration(); err != nil {
		return err
	}
	f, err := readForm(w, r, "email", "name", "password")
	if err != nil {
		return err
	}
	requireFields(f, languageOf(r), "email", "password")
	if len(f.Mistakes) > 0 {
		return s.again(w, r, "register.html", nil, f)
	}
	n := account.NewUser{Email: f.Value("email"), Name: f.Value("name"), Password: f.Value("password")}
	switch _, err = s.api.Register(r.Context(), n, s.from(r)); {
	case err != nil:
		return s.refusePublic(w, r, "register.html", f, err)
	case s.c.Parts.Accounts.VerifyEmail:
		if query := carriedOf(r.URL.Query()); len(query) > 0 {
			s.api.SetReturn(w, query)
		}
		return s.see(w, r, s.to(r, "/register/sent"))
	}
	return s.see(w, r, s.to(r, "/register/done"))
}

// verifyEmail is POST /verify-email.
func (s *Server) verifyEmail(w http.ResponseWriter, r *http.Request) error {
	kept := s.api.SentReturn(r)
	return s.withToken(w, r, "verify-email.html", s.with(kept, "/verify-email/done"), func(f *form) error {
		err := s.c.Parts.Accounts.Confirm(r.Context(), f.Value("token"), s.from(r))
		if err == nil && kept != nil {
			s.api.SetReturn(w, nil)
		}
		return err
	})
}

// undoEmail is POST /undo-email.
func (s *Server) undoEmail(w http.ResponseWriter, r *http.Request) error {
	return s.withToken(w, r, "undo-email.html", s.path("/undo-email/done"), func(f *form) error {
		return s.c.Parts.Sessions.UndoEmail(r.Context(), f.Value("token"), s.from(r))
	})
}

// reset is POST /reset.
func (s *Server) reset(w http.ResponseWriter, r *http.Request) error {
	return s.withToken(w, r, "reset.html", s.path("/reset/done"), func(f *form) error {
		return s.api.ResetPassword(w, r, f.Value("token"), f.Value("new_password"), s.from(r))
	}, "new_password")
}

// invite is POST /invite.
func (s *Server) invite(w http.ResponseWriter, r *http.Request) error {
	return s.withToken(w, r, "invite.html", s.path("/invite/done"), func(f *form) error {
		return s.api.AcceptInvitation(r.Context(), f.Value("token"), f.Value("password"), f.Value("name"), s.from(r))
	}, "password", "name?")
}

// setup is POST /setup.
func (s *Server) setup(w http.ResponseWriter, r *http.Request) error {
	return s.withToken(w, r, "setup.html", s.path("/setup/done"), func(f *form) error {
		n := account.NewUser{Email: f.Value("email"), Name: f.Value("name"), Password: f.Value("password")}
		_, err := s.c.Parts.Accounts.Setup(r.Context(), f.Value("token"), n, s.from(r))
		return err
	}, "email", "password", "name?")
}

// withToken reads a form with the token of a link and other fields, does what the form asks for and goes to
// the URL done. A field with a question mark may be empty.
func (s *Server) withToken(w http.ResponseWriter, r *http.Request, name, done string, do func(*form) error, fields ...string) error {
	known, required := []string{"token"}, []string{"token"}
	for _, field := range fields {
		field, optional := strings.CutSuffix(field, "?")
		known = append(known, field)
		if !optional {
			required = append(required, field)
		}
	}
	f, err := readForm(w, r, known...)
	if err != nil {
		return err
	}
	requireFields(f, languageOf(r), required...)
	if len(f.Mistakes) > 0 {
		return s.again(w, r, name, nil, f)
	}
	if err := do(f); err != nil {
		return s.refusePublic(w, r, name, f, err)
	}
	return s.see(w, r, done)
}

// forgot is POST /forgot. Known and unknown addresses get the same response after the same work.
func (s *Server) forgot(w http.ResponseWriter, r *http.Request) error {
	return s.mailTo(w, r, store.MailResetPassword, "forgot.html", "/forgot/sent")
}

// sendVerification is POST /verify-email/send. All addresses get the same response after the same work.
func (s *Server) sendVerification(w http.ResponseWriter, r *http.Request) error {
	return s.mailTo(w, r, store.MailVerifyEmail, "verify-again.html", "/verify-email/sent")
}

// mailTo reads a form with an address, asks for a mail of a kind to it and goes to the page done.
func (s *Server) mailTo(w http.ResponseWriter, r *http.Request, kind, name, done string) error {
	f, err := readForm(w, r, "email")
	if err != nil {
		return err
	}
	requireFields(f, languageOf(r), "email")
	if len(f.Mistakes) > 0 {
		return s.again(w, r, name, nil, f)
	}
	if err := s.c.Parts.Accounts.RequestMail(r.Context(), kind, f.Value("email"), s.from(r)); err != nil {
		return s.refusePublic(w, r, name, f, err)
	}
	return s.see(w, r, s.path(done))
}

// changePassword is GET /.well-known/change-password (W3C, A Well-Known URL for Changing Passwords).
func (s *Server) changePassword(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Location", s.path("/account/password"))
	w.WriteHeader(http.StatusFound)
	return nil
}

// passkeyEndpoints is GET /.well-known/passkey-endpoints (W3C, Passkey Endpoints s3).
func (s *Server) passkeyEndpoints(w http.ResponseWriter, r *http.Request) error {
	page := s.c.Settings.PublicURL + "/account/passkeys"
	body, err := json.Marshal(map[string]string{"enroll": page, "manage": page})
	if err != nil {
		return &durward.Refusal{Code: durward.Internal, Err: err}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "public, max-age=300")
	_, _ = w.Write(body)
	return nil
}
