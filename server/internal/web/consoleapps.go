package web

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/httpapi"
	"github.com/durward-auth/durward/server/internal/oauth"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

// clientsOnPage is the number of clients on a page of the list.
const clientsOnPage = 50

// showApplications is GET /console/applications.
func (s *Server) showApplications(w http.ResponseWriter, r *http.Request) error {
	clients, err := s.c.Parts.DB.Clients(r.Context(), r.URL.Query().Get("after"), clientsOnPage+1)
	if err != nil {
		return err
	}
	d := struct {
		Clients []oauth.ClientView
		Next    string
	}{}
	for _, c := range clients[:min(len(clients), clientsOnPage)] {
		d.Clients = append(d.Clients, oauth.ClientViewOf(c))
	}
	if len(clients) > clientsOnPage {
		d.Next = s.nextPage(r, d.Clients[clientsOnPage-1].ID)
	}
	return s.showConsole(w, r, "console-applications.html", "applications", d, nil)
}

// applicationForm is the data of the form of an application's properties.
type applicationForm struct {
	ID        string // of the application that is changed; empty for a new one
	Grants    []string
	Resources []oauth.Resource
}

// clientGrants are the boxes of the form, and those that are checked at first.
var clientGrants, firstGrants = []string{oauth.GrantCode, oauth.GrantRefresh, oauth.GrantCredentials}, []string{oauth.GrantCode, oauth.GrantRefresh}

// Checked reports whether a box of the form is checked: as it was sent, or as it is at first.
func (d applicationForm) Checked(f *form, box string) bool {
	if f != nil {
		return f.Has(box)
	}
	return slices.Contains(firstGrants, strings.TrimPrefix(box, "grant-"))
}

// showNewApplication is GET /console/new-application.
func (s *Server) showNewApplication(w http.ResponseWriter, r *http.Request) error {
	return s.applicationFormPage(w, r, "", nil)
}

func (s *Server) applicationFormPage(w http.ResponseWriter, r *http.Request, id string, f *form) error {
	d := applicationForm{id, clientGrants, s.c.Parts.OAuth.Resources()}
	return s.showConsole(w, r, "console-application-new.html", "applications", d, f)
}

// readApplication reads the form of an application's properties, and returns a function that sets them.
func (s *Server) readApplication(w http.ResponseWriter, r *http.Request, others ...string) (*form, func(*store.Client), error) {
	fields := append(others, "name", "redirect_uris", "scopes", "pkce", "trusted")
	for _, g := range clientGrants {
		fields = append(fields, "grant-"+g)
	}
	resources := s.c.Parts.OAuth.Resources()
	for i := range resources {
		fields = append(fields, fmt.Sprint("resource-", i))
	}
	f, err := readForm(w, r, fields...)
	if err != nil {
		return nil, nil, err
	}
	return f, func(c *store.Client) {
		c.Name, c.RedirectURIs, c.Scopes = f.Value("name"), strings.Fields(f.Value("redirect_uris")), strings.Fields(f.Value("scopes"))
		c.PKCEOptional, c.Trusted = f.Has("pkce"), f.Has("trusted")
		c.Grants, c.Resources = nil, nil
		for _, g := range clientGrants {
			if f.Has("grant-" + g) {
				c.Grants = append(c.Grants, g)
			}
		}
		for i := range resources {
			if url := f.Value(fmt.Sprint("resource-", i)); url != "" {
				c.Resources = append(c.Resources, url)
			}
		}
	}, nil
}

// addApplication is POST /console/new-application.
func (s *Server) addApplication(w http.ResponseWriter, r *http.Request) error {
	f, apply, err := s.readApplication(w, r, "id", "auth")
	if err != nil {
		return err
	}
	c := store.Client{ID: strings.TrimSpace(f.Value("id")), Auth: cmp.Or(f.Value("auth"), store.ClientSecret)}
	apply(&c)
	c, secret, err := s.c.Parts.OAuth.AddClient(r.Context(), c, "", s.api.By(r))
	if err != nil {
		if err := s.clientFault(r, f, err); err != nil {
			return err
		}
		return s.applicationFormPage(w, r, "", f)
	}
	if secret != "" {
		if err := s.api.KeepOnce(w, durward.From(r.Context()), "client "+c.ID, secret.Reveal(), onceLife); err != nil {
			return err
		}
	}
	return s.see(w, r, s.path(applicationPath(c.ID)+"?done=app-added"))
}

// showChangeApplication is GET /console/applications/{id}/change.
func (s *Server) showChangeApplication(w http.ResponseWriter, r *http.Request) error {
	c, err := s.c.Parts.DB.ClientByID(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	if c.FromConfig {
		return s.see(w, r, s.path(applicationPath(c.ID)))
	}
	values := url.Values{
		"name":          {c.Name},
		"redirect_uris": {strings.Join(c.RedirectURIs, "\r\n")},
		"scopes":        {strings.Join(c.Scopes, " ")},
	}
	check := func(box, value string, checked bool) {
		if checked {
			values.Set(box, value)
		}
	}
	check("pkce", "yes", c.PKCEOptional)
	check("trusted", "yes", c.Trusted)
	for _, g := range clientGrants {
		check("grant-"+g, "yes", slices.Contains(c.Grants, g))
	}
	for i, res := range s.c.Parts.OAuth.Resources() {
		check(fmt.Sprint("resource-", i), res.URL, slices.Contains(c.Resources, res.URL))
	}
	return s.applicationFormPage(w, r, c.ID, &form{values: values})
}

// setApplication is POST /console/applications/{id}/change.
func (s *Server) setApplication(w http.ResponseWriter, r *http.Request) error {
	f, apply, err := s.readApplication(w, r)
	if err != nil {
		return err
	}
	id := r.PathValue("id")
	if _, err := s.c.Parts.OAuth.ChangeClient(r.Context(), id, apply, s.api.By(r)); err != nil {
		if err := s.clientFault(r, f, httpapi.AsRefusal(err)); err != nil {
			return err
		}
		return s.applicationFormPage(w, r, id, f)
	}
	return s.see(w, r, s.path(applicationPath(id)+"?done=app-changed"))
}

func applicationPath(id string) string { return "/console/applications/" + url.PathEscape(id) }

// clientFault adds the mistakes of a refused client to those of the form, one for each property, in the language
// of the page. It returns err if the refusal is about the request as a whole.
func (s *Server) clientFault(r *http.Request, f *form, err error) error {
	refused, _ := errors.AsType[*durward.Refusal](err)
	var mistakes []string
	if refused != nil {
		mistakes, _ = refused.Members["mistakes"].([]string)
	}
	if len(mistakes) == 0 {
		return s.consoleFault(r, f, err)
	}
	f.Denial = s.guard.Report(r, err).ID
	for _, one := range mistakes {
		property, reason, _ := strings.Cut(one, " ")
		say := cmp.Or(texts()[languageOf(r)]["console.bad_app_"+property], property+" "+reason)
		if f.Mistake(property) == "" {
			f.Wrong(property, say)
		}
	}
	return nil
}

// applicationData is the data of /console/applications/{id}.
type applicationData struct {
	oauth.ClientView
	New string // the text of a new secret
}

// showApplication is GET /console/applications/{id}. It shows a new secret once.
func (s *Server) showApplication(w http.ResponseWriter, r *http.Request) error {
	return s.applicationPage(w, r, nil)
}

func (s *Server) applicationPage(w http.ResponseWriter, r *http.Request, f *form) error {
	view, err := s.c.Parts.OAuth.ViewClient(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	d := applicationData{ClientView: view}
	if f == nil {
		d.New = s.api.TakeOnce(w, r, durward.From(r.Context()), "client "+view.ID)
	}
	return s.showConsole(w, r, "console-application.html", "applications", d, f)
}

// applicationAct is a change of a client that a button of the page makes.
type applicationAct struct {
	field string // of the form; empty for none
	do    func(w http.ResponseWriter, r *http.Request, id string, f *form, by request.Info) error
}

// applicationActs returns the changes by the last part of their URL. Each calls the function of an endpoint
// under /api/admin/clients.
func (s *Server) applicationActs() map[string]applicationAct {
	o := s.c.Parts.OAuth
	return map[string]applicationAct{
		"disable": {"", func(_ http.ResponseWriter, r *http.Request, id string, _ *form, by request.Info) error {
			return o.DisableClient(r.Context(), id, by)
		}},
		"enable": {"", func(_ http.ResponseWriter, r *http.Request, id string, _ *form, by request.Info) error {
			return o.EnableClient(r.Context(), id, by)
		}},
		"add-secret": {"", func(w http.ResponseWriter, r *http.Request, id string, _ *form, by request.Info) error {
			_, secret, err := o.AddSecret(r.Context(), id, "", by)
			if err != nil {
				return err
			}
			return s.api.KeepOnce(w, durward.From(r.Context()), "client "+id, secret.Reveal(), onceLife)
		}},
		"remove-secret": {"secret", func(_ http.ResponseWriter, r *http.Request, id string, f *form, by request.Info) error {
			return o.RemoveSecret(r.Context(), id, f.Value("secret"), by)
		}},
		"delete": {"confirm", func(_ http.ResponseWriter, r *http.Request, id string, f *form, by request.Info) error {
			return o.DeleteClient(r.Context(), id, by)
		}},
	}
}

// changeApplication is POST /console/applications/{id}/{act}.
func (s *Server) changeApplication(w http.ResponseWriter, r *http.Request) error {
	name, id := r.PathValue("act"), r.PathValue("id")
	act, ok := s.applicationActs()[name]
	if !ok {
		return fmt.Errorf("web: no such change of a client: %w", durward.NotFound)
	}
	var fields []string
	if act.field != "" {
		fields = append(fields, act.field)
	}
	f, err := readForm(w, r, fields...)
	if err != nil {
		return err
	}
	if name == "delete" && strings.TrimSpace(f.Value("confirm")) != id {
		f.Wrong("confirm", text(languageOf(r), "console.bad_app_confirm"))
		return s.applicationPage(w, r, f)
	}
	if err := act.do(w, r, id, f, s.api.By(r)); err != nil {
		if err := s.consoleFault(r, f, httpapi.AsRefusal(err)); err != nil {
			return err
		}
		return s.applicationPage(w, r, f)
	}
	to := applicationPath(id)
	if name == "delete" {
		to = "/console/applications"
	}
	return s.see(w, r, s.path(to+"?done=app-"+name))
}
