package web

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/explain"
)

// front is GET /: what this server is, and the way to the account.
func (s *Server) front(w http.ResponseWriter, r *http.Request) error {
	public, _ := url.Parse(s.c.Settings.PublicURL) // httpapi.New checks it
	d := struct {
		Host, Email string
		Open        bool
	}{Host: public.Host, Open: s.c.Settings.Registration == "open"}
	if p := durward.From(r.Context()); p != nil {
		if u, err := s.c.Parts.DB.UserByID(r.Context(), p.Subject); err == nil {
			d.Email = u.Email
		}
	}
	return s.render(w, r, "front.html", d)
}

// errorPage is GET /errors/ and GET /errors/{code}, in capitals or small letters: explanations of refusals
// for developers. The figures are those of the configuration.
func (s *Server) errorPage(w http.ResponseWriter, r *http.Request) error {
	name := strings.TrimPrefix(r.URL.Path, "/errors/")
	if name == "" {
		return s.render(w, r, "errors.html", explain.Codes())
	}
	p, ok := explain.Code(strings.ToUpper(name))
	if !ok {
		return fmt.Errorf("no explanation of that code: %w", durward.NotFound)
	}
	return s.render(w, r, "error.html", p.With(s.c.Settings.Figures))
}
