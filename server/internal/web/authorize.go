package web

import (
	"cmp"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/oauth"
	"github.com/durward-auth/durward/server/internal/store"
)

// mayLeave reports whether a path of this server can redirect to a client.
func (s *Server) mayLeave(to string) bool {
	path, query, _ := strings.Cut(to, "?")
	return query != "" && (path == s.path("/oauth/continue") || path == s.path("/oauth/authorize"))
}

// authorize is GET /oauth/authorize (RFC 6749 s4.1.1).
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) error {
	if err := s.onlyGET(r); err != nil {
		return err
	}
	o := s.c.Parts.OAuth
	req, err := o.ParseRequest(r.Context(), r.URL.RawQuery)
	if err != nil {
		return s.refuseRequest(w, r, err)
	}
	p, err := s.browserUser(r)
	if err != nil {
		return err
	}
	d, err := o.Decide(r.Context(), req, p)
	if err != nil {
		return s.refuseRequest(w, r, err)
	}
	if d.Step == oauth.StepCode {
		res, err := o.Issue(r.Context(), req, nil, d, p)
		if err != nil {
			return s.refuseRequest(w, r, err)
		}
		return s.respond(w, r, res)
	}
	browser := s.api.SentOAuth(r)
	if browser == "" {
		browser = oauth.NewBrowser()
	}
	q, err := o.Store(r.Context(), req, browser, s.api.From(r))
	if err != nil {
		return err
	}
	s.api.SetOAuth(w, browser)
	return s.nextStep(w, r, q, d)
}

// postAuthorize is POST /oauth/authorize (OpenID Connect Core s3.1.2.1). The form of another site comes without
// cookies, so the request is stored for the browser that follows the redirect.
func (s *Server) postAuthorize(w http.ResponseWriter, r *http.Request) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return &durward.Refusal{
			Code: durward.UnsupportedMediaType,
			Hint: "Send the parameters as application/x-www-form-urlencoded.",
			Err:  errors.New("web: the authorization request has another media type"),
		}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	if err != nil {
		return s.refuseRequest(w, r, &oauth.Error{Code: oauth.InvalidRequest, Description: "The request cannot be read.", Err: err})
	}
	req, err := s.c.Parts.OAuth.ParseRequest(r.Context(), string(body))
	if err != nil {
		return s.refuseRequest(w, r, err)
	}
	q, err := s.c.Parts.OAuth.Store(r.Context(), req, "", s.api.From(r))
	if err != nil {
		return err
	}
	return s.see(w, r, s.continueAt(q))
}

// onlyGET refuses HEAD, because the answer to GET has effects.
func (s *Server) onlyGET(r *http.Request) error {
	if r.Method == http.MethodHead {
		return &durward.Refusal{Code: durward.MethodNotAllowed, Allow: []string{"GET"}, Err: errors.New("web: HEAD of an authorization request")}
	}
	return nil
}

// browserUser returns the user of the session cookie, or nil. A cookie that could not be checked because of an
// outage is an error: the user is still signed in.
func (s *Server) browserUser(r *http.Request) (*durward.Principal, error) {
	if p := durward.From(r.Context()); p != nil || len(r.CookiesNamed(s.api.CookieNames().Session)) == 0 {
		return p, nil
	}
	p, err := s.guard.Check(r, durward.Policy{Schemes: []durward.Scheme{s.api.Schemes.Cookie}, Pages: true})
	if errors.Is(err, durward.AuthUnavailable) {
		return nil, err
	}
	return p, nil
}

// continueAt returns the path at which a stored request goes on.
func (s *Server) continueAt(q *oauth.Pending) string { return s.path("/oauth/continue?r=" + q.ID) }

// waiting returns the request of the parameter r, for this browser alone.
func (s *Server) waiting(w http.ResponseWriter, r *http.Request) (*oauth.Pending, *durward.Principal, error) {
	browser := s.api.SentOAuth(r)
	if browser == "" {
		browser = oauth.NewBrowser()
	}
	q, err := s.c.Parts.OAuth.Pending(r.Context(), r.URL.Query().Get("r"), browser)
	if err != nil {
		return nil, nil, err
	}
	s.api.SetOAuth(w, browser)
	p, err := s.browserUser(r)
	return q, p, err
}

// continueRequest is GET /oauth/continue. It checks a stored request anew and leads to its next step, or to the
// client. The parameter cancel is that of a user who gives up.
func (s *Server) continueRequest(w http.ResponseWriter, r *http.Request) error {
	if err := s.onlyGET(r); err != nil {
		return err
	}
	q, p, err := s.waiting(w, r)
	if err != nil {
		return s.refuseRequest(w, r, err)
	}
	o := s.c.Parts.OAuth
	if r.URL.Query().Has("cancel") {
		if err := o.Deny(r.Context(), q); err != nil {
			return s.refuseRequest(w, r, err)
		}
	}
	d, err := o.DecidePending(r.Context(), q, p)
	if err == nil && d.Step == oauth.StepCode {
		var res oauth.Response
		if res, err = o.Issue(r.Context(), q.Request, q, d, p); err == nil {
			return s.respond(w, r, res)
		}
	}
	if _, ok := errors.AsType[*oauth.Refused](err); ok {
		if endErr := o.End(r.Context(), q); endErr != nil {
			return endErr
		}
	}
	if err != nil {
		return s.refuseRequest(w, r, err)
	}
	return s.nextStep(w, r, q, d)
}

// nextStep leads to the page of the next step of a stored request.
func (s *Server) nextStep(w http.ResponseWriter, r *http.Request, q *oauth.Pending, d oauth.Decision) error {
	closed := s.c.Settings.Registration != "open"
	if err := s.c.Parts.OAuth.Touch(r.Context(), q, d.Step == oauth.StepRegister); err != nil {
		return s.refuseRequest(w, r, err)
	}
	if d.Step == oauth.StepRegister && closed {
		return s.see(w, r, s.continueAt(q))
	}
	s.c.Parts.Metrics.Authorized(d.Step.String())
	query := url.Values{}
	if languages := q.Request.Languages(); languages != "" {
		query.Set("ui_locales", languages)
	}
	page := ""
	switch d.Step {
	case oauth.StepSelect:
		page = "/oauth/account"
	case oauth.StepConsent:
		page = "/oauth/consent"
	}
	if page != "" {
		query.Set("r", q.ID)
		return s.see(w, r, s.path(page)+"?"+query.Encode())
	}
	query.Set("return_to", s.continueAt(q))
	switch d.Step {
	case oauth.StepRegister:
		page = "/register"
	case oauth.StepEnrol:
		page = "/login/enrol"
	case oauth.StepStepUp:
		page = "/step-up"
		if acr := q.Request.ACR(); acr != "" && d.Weak {
			query.Set("acr_values", acr)
		}
	default:
		page = "/login"
		if hint := q.Request.LoginHint(); hint != "" {
			query.Set("login_hint", hint)
		}
	}
	return s.see(w, r, s.path(page)+"?"+query.Encode())
}

// respond sends the browser to the client.
func (s *Server) respond(w http.ResponseWriter, r *http.Request, res oauth.Response) error {
	s.c.Parts.Metrics.Authorized(cmp.Or(res.Parameters.Get("error"), oauth.StepCode.String()))
	w.Header().Set("Referrer-Policy", "no-referrer")
	if !res.FormPost {
		return s.see(w, r, res.URL())
	}
	body, err := execute("form-post.html", s.pageOf(r, res))
	if err != nil {
		return &durward.Refusal{Code: durward.Internal, Err: err}
	}
	h := w.Header()
	s.setFields(h, r)
	// The client's endpoint may redirect anywhere, and browsers check form-action along redirects.
	h.Set("Content-Security-Policy", strings.Replace(contentSecurity, "form-action 'self'; ", "", 1))
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body)
	return nil
}

// refuseRequest gives the refusal of an authorization request to the client, or shows it to the user if the
// browser must not be redirected (RFC 6749 s4.1.2.1). It returns an error that is no refusal.
func (s *Server) refuseRequest(w http.ResponseWriter, r *http.Request, err error) error {
	if refused, ok := errors.AsType[*oauth.Refused](err); ok {
		return s.respond(w, r, refused.Response)
	}
	why := "wrong"
	if _, ok := errors.AsType[*oauth.Error](err); !ok {
		if why = "over"; !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrChanged) {
			return err
		}
	}
	s.c.Parts.Metrics.Authorized("error_page")
	denial := s.guard.Report(r, &durward.Refusal{Code: durward.InvalidRequest, Err: err}).ID
	return s.write(w, r, http.StatusBadRequest, "oauth-error.html", s.pageOf(r, struct{ Why, Denial string }{why, denial}))
}

// selectData is the data of the page on which a user chooses the account.
type selectData struct {
	Client string
	Email  string
	Other  bool // the client expects another user
}

// showSelect is GET /oauth/account.
func (s *Server) showSelect(w http.ResponseWriter, r *http.Request) error {
	q, p, err := s.waiting(w, r)
	if err != nil {
		return s.refuseRequest(w, r, err)
	}
	d, err := s.c.Parts.OAuth.DecidePending(r.Context(), q, p)
	if err != nil || d.Step != oauth.StepSelect {
		return s.see(w, r, s.continueAt(q))
	}
	u, err := s.c.Parts.DB.UserByID(r.Context(), p.Subject)
	if err != nil {
		return err
	}
	return s.render(w, r, "select.html", selectData{q.Request.Client.Name, u.Email, d.OtherUser})
}

// selectAccount is POST /oauth/account.
func (s *Server) selectAccount(w http.ResponseWriter, r *http.Request) error {
	f, err := readForm(w, r, "choice")
	if err != nil {
		return err
	}
	q, p, err := s.waiting(w, r)
	if err != nil {
		return s.refuseRequest(w, r, err)
	}
	switch choice := f.Value("choice"); {
	case choice == "another":
		return s.nextStep(w, r, q, oauth.Decision{Step: oauth.StepSignIn})
	case choice == "cancel":
		err = s.c.Parts.OAuth.Deny(r.Context(), q)
	case choice == "continue" && p != nil:
		err = s.c.Parts.OAuth.Select(r.Context(), q, p)
	case choice != "continue":
		return badForm("choice", "is none of the choices")
	}
	if err != nil {
		return s.refuseRequest(w, r, err)
	}
	return s.leave(w, r, s.continueAt(q))
}

// consentData is the data of the consent page.
type consentData struct {
	Client      string
	Destination string // host that the response goes to; empty: an app or program of this device
	Email       string
	Scopes      []string // titles of those that need no API
	APIs        []consentAPI
	Offline     bool
	Days        int // life of a session that outlives that of the browser
	Shown       string
}

// consentAPI is an API that a client wants to call.
type consentAPI struct {
	Name   string
	Host   string
	Scopes []string // titles
}

// ownScopes are the scopes with a text of their own, in the order of their display.
var ownScopes = []string{oauth.ScopeOpenID, oauth.ScopeProfile, oauth.ScopeEmail, oauth.ScopeGroups, oauth.ScopeOffline}

// scopesOf returns the titles of scopes, those of APIs apart.
func scopesOf(lang string, scopes []string, resources []oauth.Resource) (own []string, apis []consentAPI) {
	left := slices.Clone(scopes)
	for _, res := range resources {
		a := consentAPI{Name: res.Name}
		if a.Name == "" {
			a.Name = res.URL
		}
		if u, err := url.Parse(res.URL); err == nil {
			a.Host = u.Host
		}
		for _, scope := range res.Scopes {
			if !slices.Contains(scopes, scope.Name) {
				continue
			}
			title := scope.Title
			if title == "" {
				title = scope.Name
			}
			a.Scopes = append(a.Scopes, title)
			left = slices.DeleteFunc(left, func(l string) bool { return l == scope.Name })
		}
		apis = append(apis, a)
	}
	for _, scope := range ownScopes {
		if slices.Contains(left, scope) {
			own = append(own, text(lang, "consent.scope_"+scope))
		}
	}
	for _, scope := range left {
		if !slices.Contains(ownScopes, scope) {
			own = append(own, scope)
		}
	}
	return own, apis
}

// showConsent is GET /oauth/consent.
func (s *Server) showConsent(w http.ResponseWriter, r *http.Request) error {
	q, p, err := s.waiting(w, r)
	if err != nil {
		return s.refuseRequest(w, r, err)
	}
	d, err := s.c.Parts.OAuth.DecidePending(r.Context(), q, p)
	if err != nil || d.Step != oauth.StepConsent {
		return s.see(w, r, s.continueAt(q))
	}
	u, err := s.c.Parts.DB.UserByID(r.Context(), p.Subject)
	if err != nil {
		return err
	}
	data := consentData{
		Client:      q.Request.Client.Name,
		Destination: q.Request.Destination(),
		Email:       u.Email,
		Offline:     slices.Contains(d.Scopes, oauth.ScopeOffline),
		Days:        int(s.c.Parts.Sessions.LongestApplication() / (24 * time.Hour)),
		Shown:       d.Shown,
	}
	data.Scopes, data.APIs = scopesOf(languageOf(r), d.Scopes, d.Resources())
	return s.render(w, r, "consent.html", data)
}

// consent is POST /oauth/consent.
func (s *Server) consent(w http.ResponseWriter, r *http.Request) error {
	f, err := readForm(w, r, "choice", "shown")
	if err != nil {
		return err
	}
	q, p, err := s.waiting(w, r)
	if err != nil {
		return s.refuseRequest(w, r, err)
	}
	o := s.c.Parts.OAuth
	switch f.Value("choice") {
	case "cancel":
		err = o.Deny(r.Context(), q)
	case "allow":
		var d oauth.Decision
		if d, err = o.DecidePending(r.Context(), q, p); err != nil || d.Step != oauth.StepConsent {
			break
		}
		var same bool
		if same, err = o.Allow(r.Context(), q, d, f.Value("shown"), p, s.api.From(r)); err == nil && !same {
			return s.see(w, r, s.path("/oauth/consent?r="+q.ID)) // another user or other scopes: ask anew
		}
	default:
		return badForm("choice", "is none of the choices")
	}
	if _, ok := errors.AsType[*oauth.Refused](err); err != nil && !ok {
		return s.refuseRequest(w, r, err)
	}
	return s.leave(w, r, s.continueAt(q)) // no redirect to the client after a form
}

// applicationRow is an application in the list of the account.
type applicationRow struct {
	oauth.Application
	Titles []string
	APIs   []consentAPI
}

// applications is GET /account/applications.
func (s *Server) applications(w http.ResponseWriter, r *http.Request) error {
	all, err := s.c.Parts.OAuth.Applications(r.Context(), durward.From(r.Context()).Subject)
	if err != nil {
		return err
	}
	rows := make([]applicationRow, 0, len(all))
	for _, a := range all {
		row := applicationRow{Application: a}
		row.Titles, row.APIs = scopesOf(languageOf(r), a.Scopes, a.Resources)
		rows = append(rows, row)
	}
	return s.render(w, r, "applications.html", rows)
}

// withdrawApplication is POST /account/applications/{client}/withdraw.
func (s *Server) withdrawApplication(w http.ResponseWriter, r *http.Request) error {
	if err := empty(w, r); err != nil {
		return err
	}
	if err := s.api.Withdraw(r, r.PathValue("client")); err != nil {
		return err
	}
	return s.back(w, r, "/account/applications", "withdrawn")
}
