package httpapi

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"sync"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/explain"
)

//go:embed templates/*.html
var templateFiles embed.FS

var templates = sync.OnceValue(func() *template.Template {
	return template.Must(template.ParseFS(templateFiles, "templates/*.html"))
})

// front is GET /.
func (s *Server) front(w http.ResponseWriter, r *http.Request) error {
	return page(w, http.StatusOK, "front.html", struct{ Realm, Origin, Prefix string }{s.realm, s.c.PublicURL, s.prefix})
}

// errorPage is GET /errors/ and GET /errors/{code}, in capitals or small letters. The figures are
// those of the configuration. A browser gets a page for an unknown code, too.
func (s *Server) errorPage(w http.ResponseWriter, r *http.Request) error {
	name := strings.TrimPrefix(r.URL.Path, "/errors/")
	if p, ok := explain.Code(strings.ToUpper(name)); ok {
		return page(w, http.StatusOK, "error.html", struct {
			explain.Page
			Prefix string
		}{p.With(s.c.Figures), s.prefix})
	}
	list := struct {
		Unknown bool
		Codes   []explain.Page
		Prefix  string
	}{name != "", explain.Codes(), s.prefix}
	if !list.Unknown {
		return page(w, http.StatusOK, "errors.html", list)
	}
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		return fmt.Errorf("no explanation of that code: %w", durward.NotFound)
	}
	return page(w, http.StatusNotFound, "errors.html", list)
}

// page renders a template completely before it writes the first byte.
func page(w http.ResponseWriter, status int, name string, data any) error {
	var b bytes.Buffer
	if err := templates().ExecuteTemplate(&b, name, data); err != nil {
		return &durward.Refusal{Code: durward.Internal, Err: err}
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "public, max-age=300")
	if status != http.StatusOK {
		h.Set("Cache-Control", "no-store")
	}
	h.Add("Vary", "Accept")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
	return nil
}
