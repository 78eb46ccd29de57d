package web

import (
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/httpapi"
	"github.com/durward-auth/durward/server/internal/store"
)

// accountRoutes are the pages of the user's own account. Their forms lead back to a page of GET.
func (s *Server) accountRoutes() map[string]map[string]http.Handler {
	type methods = map[string]http.Handler
	const passkeys, authenticator, codes, keys = "/account/passkeys", "/account/authenticator", "/account/recovery-codes", "/account/keys"
	return map[string]methods{
		"/account":                     {"GET": s.signedIn(s.account)},
		"/account/profile":             {"GET": s.signedIn(s.profile), "POST": s.signedIn(s.setName)},
		"/account/email":               {"GET": s.justSignedIn(s.email), "POST": s.changing("/account/email", s.changeEmail)},
		"/account/password":            {"GET": s.signedIn(s.password), "POST": s.signedIn(s.changeOwnPassword)},
		passkeys:                       {"GET": s.justSignedIn(s.passkeys)},
		passkeys + "/{id}":             {"GET": s.justSignedIn(s.passkey), "POST": s.changing(passkeys, s.renamePasskey)},
		passkeys + "/{id}/remove":      {"POST": s.changing(passkeys, s.removePasskey)},
		authenticator:                  {"GET": s.justSignedIn(s.authenticator), "POST": s.changing(authenticator, s.startAuthenticator)},
		authenticator + "/confirm":     {"GET": s.justSignedIn(s.pendingAuthenticator), "POST": s.changing(authenticator, s.confirmAuthenticator)},
		authenticator + "/remove":      {"POST": s.changing(authenticator, s.removeAuthenticator)},
		codes:                          {"GET": s.justSignedIn(s.recoveryCodes), "POST": s.changing(codes, s.makeRecoveryCodes)},
		"/account/sessions":            {"GET": s.signedIn(s.sessions)},
		"/account/sessions/{id}/end":   {"POST": s.signedIn(s.endSession)},
		"/account/sessions/end-others": {"POST": s.signedIn(s.endOthers)},
		keys:                           {"GET": s.justSignedIn(s.keys)},
		keys + "/new":                  {"GET": s.justSignedIn(s.newKey), "POST": s.changing(keys, s.createKey)},
		keys + "/{id}":                 {"GET": s.justSignedIn(s.key)},
		keys + "/{id}/rotate":          {"POST": s.changing(keys, s.rotateOwnKey)},
		keys + "/{id}/revoke":          {"POST": s.changing(keys, s.revokeKey)},
		"/account/applications":        {"GET": s.signedIn(s.applications)},
		"/account/applications/{client}/withdraw": {"POST": s.signedIn(s.withdrawApplication)},
		"/account/activity":                       {"GET": s.signedIn(s.activity)},
		"/account/data":                           {"GET": s.signedIn(s.data)},
		"/account/data/export":                    {"POST": s.changing("/account/data", s.export)},
		"/account/delete":                         {"GET": s.justSignedIn(s.showDelete), "POST": s.changing("/account/delete", s.deleteAccount)},
	}
}

// changing serves a form that needs a recent sign-in, with the second factor if there is one. Without it the
// browser goes to back, whose GET asks for it: the user presses the button again, and nothing that was
// typed before the sign-in is acted on.
func (s *Server) changing(back string, e endpoint) http.Handler {
	return s.signedIn(func(w http.ResponseWriter, r *http.Request) error {
		_, err := s.guard.Check(r, httpapi.FreshPolicy())
		if err == nil {
			err = s.api.CheckFactor(r)
		}
		if errors.Is(err, durward.StepUpRequired) {
			return s.see(w, r, s.path(cmp.Or(s.confirmAt(back), back)))
		}
		if err != nil {
			return err
		}
		return e(w, r)
	})
}

// confirmAt returns the page that asks for a recent sign-in and then leads to back, for a page that does
// not ask for one itself.
func (s *Server) confirmAt(back string) string {
	if back == "/account/data" {
		return "/account/delete"
	}
	return ""
}

// empty reads a form without fields.
func empty(w http.ResponseWriter, r *http.Request) error {
	_, err := readForm(w, r)
	return err
}

// back leads from a form to a page with a notice of success.
func (s *Server) back(w http.ResponseWriter, r *http.Request, page, done string) error {
	return s.see(w, r, s.path(page)+"?done="+done)
}

// self returns the user of a request.
func (s *Server) self(r *http.Request) (store.User, error) {
	u, err := s.c.Parts.DB.UserByID(r.Context(), durward.From(r.Context()).Subject)
	return u, httpapi.UnknownOwner(err)
}

// byMember are the keys of texts for the members of requests, for a refusal without an account.Rule.
var byMember = map[string]string{
	"email":      "mistake.email",
	"name":       "mistake.name",
	"new":        "mistake.password",
	"code":       "mistake.code",
	"scopes":     "mistake.scopes",
	"expires_in": "mistake.life",
}

// refused shows the page of a form again for a refusal that the user can mend. fields are the names of the
// form's fields by members of the request. Another error gets a page of its own.
func (s *Server) refused(
	w http.ResponseWriter, r *http.Request, name string, data any, f *form, err error, fields map[string]string,
) error {
	lang := languageOf(r)
	if refusal, ok := errors.AsType[*durward.Refusal](err); ok && errors.Is(err, durward.InvalidRequest) {
		member, _ := refusal.Members["member"].(string)
		if field, ok := fields[member]; ok {
			_, message := mistakeOf(lang, err)
			if key := byMember[member]; message == "" {
				if member == "name" && f.Value(field) == "" {
					key = "mistake.name_missing"
				}
				message = text(lang, key)
			}
			s.guard.Report(r, httpapi.AsRefusal(err))
			f.Wrong(field, message)
			return s.again(w, r, name, data, f)
		}
	}
	if field, ok := fields["current"]; ok && errors.Is(err, durward.InvalidCredentials) {
		f.Denial = s.guard.Report(r, err).ID
		f.Wrong(field, text(lang, "mistake.current"))
		return s.again(w, r, name, data, f)
	}
	return err
}

// account is GET /account.
func (s *Server) account(w http.ResponseWriter, r *http.Request) error {
	u, err := s.self(r)
	if err != nil {
		return err
	}
	ctx := r.Context()
	factors, err := s.c.Parts.Accounts.Factors(ctx, u.ID)
	if err != nil {
		return err
	}
	sessions, err := s.c.Parts.Sessions.List(ctx, u.ID)
	if err != nil {
		return err
	}
	keys, err := s.c.Parts.DB.APIKeys(ctx, u.ID, "", 101)
	if err != nil {
		return err
	}
	notices, err := s.c.Parts.DB.Notifications(ctx, u.ID, "", 3)
	if err != nil {
		return err
	}
	lang := languageOf(r)
	count := func(key string, n int) string {
		switch {
		case n == 0: // not of sessions: this one is alive
			return text(lang, "account."+key+"_none")
		case n == 1:
			return text(lang, "account."+key+"_one")
		}
		return text(lang, "account."+key+"_many", strconv.Itoa(n))
	}
	return s.render(w, r, "account.html", struct {
		User                            store.User
		Factors                         api.Factors
		Protection                      string
		Tasks                           []ownTask
		Passkeys, Sessions, Keys, Codes string
		Notices                         []store.Notification
	}{
		User:       u,
		Factors:    factors,
		Protection: text(lang, "account.protection_"+protection(factors)),
		Tasks:      tasks(factors),
		Passkeys:   count("passkeys", factors.Passkeys),
		Sessions:   count("sessions", len(sessions)),
		Keys:       count("keys", len(keys)),
		Codes:      count("codes", factors.RecoveryCodes),
		Notices:    notices,
	})
}

// protection names how well the account is protected: by a passkey, by a code, or by a password alone.
func protection(f api.Factors) string {
	switch {
	case f.Passkeys > 0:
		return "passkey"
	case !f.TOTPSince.IsZero():
		return "totp"
	}
	return "password"
}

// ownTask is an open task of a user: the key of its text, and its page.
type ownTask struct{ Text, Page string }

// fewCodes is the lowest number of recovery codes without a request for new ones on the account page.
const fewCodes = 3

// tasks returns the open tasks of a user with these factors.
func tasks(f api.Factors) (open []ownTask) {
	secondFactor := f.Passkeys > 0 || !f.TOTPSince.IsZero()
	switch {
	case !secondFactor:
		open = append(open, ownTask{"account.task_factor", "/account/passkeys"})
	case f.RecoveryCodes == 0:
		open = append(open, ownTask{"account.task_codes", "/account/recovery-codes"})
	case f.RecoveryCodes < fewCodes:
		open = append(open, ownTask{"account.task_few_codes", "/account/recovery-codes"})
	}
	return open
}

// profileData is the data of the pages about name, address and password.
type profileData struct {
	User   store.User
	Signal string // account.PasskeySignal in JSON, for the script
}

// profile is GET /account/profile.
func (s *Server) profile(w http.ResponseWriter, r *http.Request) error {
	d, err := s.profileData(r)
	if err != nil {
		return err
	}
	return s.render(w, r, "profile.html", d)
}

func (s *Server) profileData(r *http.Request) (*profileData, error) {
	u, err := s.self(r)
	if err != nil {
		return nil, err
	}
	signal, err := s.signal(r, u.ID)
	return &profileData{User: u, Signal: signal}, err
}

// signal returns the signal for the passkey providers of the browser (WebAuthn level 3 s5.1.10) in JSON, or
// "" if there are no passkeys.
func (s *Server) signal(r *http.Request, userID string) (string, error) {
	signal, ok, err := s.api.Passkeys().Signal(r.Context(), userID)
	if err != nil || !ok {
		return "", err
	}
	encoded, err := json.Marshal(signal)
	return string(encoded), err
}

// setName is POST /account/profile.
func (s *Server) setName(w http.ResponseWriter, r *http.Request) error {
	f, err := readForm(w, r, "name")
	if err != nil {
		return err
	}
	d, err := s.profileData(r)
	if err != nil {
		return err
	}
	if _, err = s.c.Parts.Accounts.SetName(r.Context(), d.User.ID, f.Value("name")); err != nil {
		return s.refused(w, r, "profile.html", d, f, httpapi.UnknownOwner(err), map[string]string{"name": "name"})
	}
	return s.back(w, r, "/account/profile", "renamed")
}

// email is GET /account/email.
func (s *Server) email(w http.ResponseWriter, r *http.Request) error {
	d, err := s.profileData(r)
	if err != nil {
		return err
	}
	return s.render(w, r, "email.html", d)
}

// changeEmail is POST /account/email. The answer is the same for an address that another user has.
func (s *Server) changeEmail(w http.ResponseWriter, r *http.Request) error {
	f, err := readForm(w, r, "email")
	if err != nil {
		return err
	}
	d, err := s.profileData(r)
	if err != nil {
		return err
	}
	if err := s.c.Parts.Accounts.RequestEmailChange(r.Context(), d.User.ID, f.Value("email"), s.api.From(r)); err != nil {
		return s.refused(w, r, "email.html", d, f, err, map[string]string{"email": "email"})
	}
	return s.back(w, r, "/account/profile", "mailed")
}

// password is GET /account/password.
func (s *Server) password(w http.ResponseWriter, r *http.Request) error {
	if err := s.api.CheckFactor(r); err != nil {
		return err
	}
	d, err := s.profileData(r)
	if err != nil {
		return err
	}
	return s.render(w, r, "password.html", d)
}

// changeOwnPassword is POST /account/password. The current password stands in for a recent sign-in, but not
// for the second factor.
func (s *Server) changeOwnPassword(w http.ResponseWriter, r *http.Request) error {
	f, err := readForm(w, r, "username", "current", "new")
	if err != nil {
		return err
	}
	d, err := s.profileData(r)
	if err != nil {
		return err
	}
	if f.Value("current") == "" {
		f.Wrong("current", text(languageOf(r), "login.password_missing"))
		return s.again(w, r, "password.html", d, f)
	}
	if err := s.api.CheckFactor(r); errors.Is(err, durward.StepUpRequired) {
		return s.see(w, r, s.path("/account/password")) // which asks for the second factor
	} else if err != nil {
		return err
	}
	if err := s.api.ChangePassword(w, r, f.Value("current"), f.Value("new")); err != nil {
		return s.refused(w, r, "password.html", d, f, err, map[string]string{"current": "current", "new": "new"})
	}
	return s.back(w, r, "/account", "password")
}

// sessions is GET /account/sessions.
func (s *Server) sessions(w http.ResponseWriter, r *http.Request) error {
	p := durward.From(r.Context())
	rows, err := s.c.Parts.Sessions.List(r.Context(), p.Subject)
	if err != nil {
		return err
	}
	return s.render(w, r, "sessions.html", struct {
		Own    string
		Rows   []store.SessionRow
		Others bool
	}{p.SessionID, rows, slices.ContainsFunc(rows, func(row store.SessionRow) bool { return row.ID != p.SessionID })})
}

// endSession is POST /account/sessions/{id}/end.
func (s *Server) endSession(w http.ResponseWriter, r *http.Request) error {
	if err := empty(w, r); err != nil {
		return err
	}
	if err := s.api.EndSession(r, r.PathValue("id")); err != nil {
		return err
	}
	return s.back(w, r, "/account/sessions", "ended")
}

// endOthers is POST /account/sessions/end-others.
func (s *Server) endOthers(w http.ResponseWriter, r *http.Request) error {
	if err := empty(w, r); err != nil {
		return err
	}
	if err := s.c.Parts.Sessions.EndOthers(r.Context(), durward.From(r.Context()), s.api.From(r)); err != nil {
		return err
	}
	return s.back(w, r, "/account/sessions", "others_ended")
}

// activityRows is the number of rows of a page of the activity.
const activityRows = 30

// activityRow is an event of the security log about the user.
type activityRow struct {
	store.Event
	Text string
}

// activity is GET /account/activity. The parameter before is the id of the last event of the page before.
func (s *Server) activity(w http.ResponseWriter, r *http.Request) error {
	p, lang := durward.From(r.Context()), languageOf(r)
	before := r.URL.Query().Get("before")
	events, err := s.c.Parts.DB.Events(r.Context(), store.EventFilter{UserID: p.Subject, Before: before, Limit: activityRows + 1})
	if err != nil {
		return err
	}
	d := struct {
		Rows    []activityRow
		Next    string
		Notices []store.Notification
	}{}
	if len(events) > activityRows {
		events = events[:activityRows]
		d.Next = events[activityRows-1].ID
	}
	for _, e := range events {
		if e.Actor != "" { // of an administrator, the user learns neither device nor network
			e.Device, e.Network = "", ""
		}
		d.Rows = append(d.Rows, activityRow{e, eventText(lang, e)})
	}
	if before == "" {
		if d.Notices, err = s.c.Parts.DB.Notifications(r.Context(), p.Subject, "", 10); err != nil {
			return err
		}
	}
	return s.render(w, r, "activity.html", d)
}

// eventText returns the text of an event, for its user.
func eventText(lang string, e store.Event) string {
	if found := texts()[lang]["event."+e.Kind]; found != "" {
		return found
	}
	return text(lang, "event.other")
}

// Notice returns the text of a notification.
func (p *page) Notice(kind string) string {
	if found := texts()[p.Lang]["notice."+kind]; found != "" {
		return found
	}
	return p.T("event.other")
}

// data is GET /account/data.
func (s *Server) data(w http.ResponseWriter, r *http.Request) error {
	return s.render(w, r, "data.html", nil)
}

// export is POST /account/data/export: all data of the user as a file.
func (s *Server) export(w http.ResponseWriter, r *http.Request) error {
	if err := empty(w, r); err != nil {
		return err
	}
	u, err := s.self(r)
	if err != nil {
		return err
	}
	d, err := s.c.Parts.Accounts.Export(r.Context(), u)
	if err != nil {
		return err
	}
	encoded, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Disposition", `attachment; filename="account.json"`)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(append(encoded, '\n'))
	return nil
}

// deleteData is the data of the page to delete the account.
type deleteData struct {
	User store.User
}

// showDelete is GET /account/delete.
func (s *Server) showDelete(w http.ResponseWriter, r *http.Request) error {
	u, err := s.self(r)
	if err != nil {
		return err
	}
	return s.render(w, r, "delete.html", &deleteData{User: u})
}

// deleteAccount is POST /account/delete. The user types the address of the account, so that a slip of the
// hand deletes nothing.
func (s *Server) deleteAccount(w http.ResponseWriter, r *http.Request) error {
	f, err := readForm(w, r, "email")
	if err != nil {
		return err
	}
	u, err := s.self(r)
	if err != nil {
		return err
	}
	if !strings.EqualFold(strings.TrimSpace(f.Value("email")), u.Email) {
		f.Wrong("email", text(languageOf(r), "mistake.confirm"))
		return s.again(w, r, "delete.html", &deleteData{User: u}, f)
	}
	if err := s.c.Parts.Sessions.DeleteOwnAccount(r.Context(), durward.From(r.Context()), s.api.From(r)); err != nil {
		return err
	}
	s.api.DropCookies(w)
	return s.back(w, r, "/signed-out", "deleted")
}

// lives are the lives of new API keys by the values of the form.
var lives = map[string]time.Duration{"30": 30 * 24 * time.Hour, "90": 90 * 24 * time.Hour, "365": 365 * 24 * time.Hour, "none": 0}

// keyScopes returns the scopes that the user of a request may give to an API key, in order.
func keyScopes(r *http.Request) []string {
	return slices.Sorted(maps.Keys(maps.Collect(func(yield func(string, bool) bool) {
		for _, scope := range account.GivableScopes(durward.From(r.Context())) {
			if !yield(scope, true) {
				return
			}
		}
	})))
}
