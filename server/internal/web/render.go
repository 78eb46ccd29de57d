package web

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/httpapi"
	"github.com/durward-auth/durward/server/internal/request"
)

//go:embed templates
var templateFiles embed.FS

// templates holds one set of templates for each page: the layout, the parts and the page.
var templates = sync.OnceValue(func() map[string]*template.Template {
	frame := template.Must(template.New("").Funcs(template.FuncMap{
		"html":     html,
		"textFile": textFile,
		"list":     func(items ...any) []any { return items },
		"pair":     func(a, b any) pair { return pair{a, b} },
		"field": func(p *page, kind, name, label string) fieldData {
			return fieldData{Page: p, Kind: kind, Name: name, Label: label}
		},
	}).ParseFS(templateFiles, "templates/layout.html", "templates/parts/*.html"))
	names, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		panic(err)
	}
	all := map[string]*template.Template{}
	for _, name := range names {
		if base := path.Base(name); base != "layout.html" {
			all[base] = template.Must(template.Must(frame.Clone()).ParseFS(templateFiles, name))
		}
	}
	return all
})

// page is the data of a template.
type page struct {
	Lang      string
	Languages []string // the other languages
	Product   string
	Here      string // path and query of the page, for the choice of the language
	Form      *form  // nil before it was sent
	User      *durward.Principal
	Data      any // of the page
	Wide      bool

	s *Server
}

// fieldData is the data of the part "field".
type fieldData struct {
	Page              *page
	Kind, Name, Label string
}

// pair is the data of a part that needs two things, mostly the page and something to show.
type pair struct{ A, B any }

// Logo returns the path of the logo, or "".
func (p *page) Logo() string {
	if p.s.c.Look.logoFile == "" {
		return ""
	}
	return p.Path("/static/" + p.s.c.Look.logoFile)
}

// T returns a text in the language of the page.
func (p *page) T(key string, values ...any) string { return text(p.Lang, key, values...) }

// Path returns the path of a page, with the prefix of the public URL.
func (p *page) Path(to string) string { return p.s.path(to) }

// To returns the URL of another page of the same sign-in or registration, with the parameters of this page.
func (p *page) To(page string) string {
	here, err := url.Parse(p.Here)
	if err != nil {
		return p.Path(page)
	}
	return p.s.with(here.Query(), page)
}

// Name returns the name of a language in that language.
func (p *page) Name(language string) string { return text(language, "layout.language") }

// Value returns the typed text of a field. Passwords and codes are never shown again.
func (p *page) Value(name string) string { return p.Form.Value(name) }

// Mistake returns the mistake in a field, or "".
func (p *page) Mistake(name string) string { return p.Form.Mistake(name) }

// MinPassword returns the minimum length of a password, for the hint at a new one.
func (p *page) MinPassword() string { return strconv.Itoa(p.s.c.Parts.Accounts.Passwords.MinLength) }

// Retry returns the time after which a refused request may be repeated, in words, or "".
func (p *page) Retry() string {
	f, ok := p.Data.(*durward.Refusal)
	if !ok || f.RetryAfter <= 0 {
		return ""
	}
	if minutes := int((f.RetryAfter + time.Minute - 1) / time.Minute); f.RetryAfter > 90*time.Second {
		return p.T("status.minutes", strconv.Itoa(minutes))
	}
	return p.T("status.seconds", strconv.Itoa(int((f.RetryAfter+time.Second-1)/time.Second)))
}

// contentSecurity is the Content-Security-Policy of the pages. Chromium checks form-action along the whole
// chain of redirects after a form, so a form that may leave the origin is answered with the hop page.
const contentSecurity = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// setFields sets the fields of every page. The referrer policy is not no-referrer, with which browsers
// send Origin: null with a form.
//
// An application may open the sign-in in a popup window, which reports back to its opener after the last redirect
// (window.opener, HTML s7.3.1). Any other opener policy than unsafe-none on one page of the way cuts that
// connection for ever: same-origin-allow-popups keeps windows that a page opens, not the one that opened it. The
// opener can read nothing of these pages. It can send the window elsewhere, as every page can that has a link; the
// user sees the address. All other pages stay out of reach.
func (s *Server) setFields(h http.Header, r *http.Request) {
	h.Set("Content-Security-Policy", contentSecurity)
	h.Set("Referrer-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	if s.forClient(r) {
		h.Set("Cross-Origin-Opener-Policy", "unsafe-none")
	}
}

// signInPages are the pages that an authorization request may lead to and that lead back to it.
var signInPages = []string{"/login", "/login/factor", "/login/enrol", "/step-up", "/register"}

// forClient reports whether the page of a request is a step of an authorization request.
func (s *Server) forClient(r *http.Request) bool {
	if slices.Contains(signInPages, r.URL.Path) {
		return s.mayLeave(s.returnTo(r.URL.Query().Get("return_to")))
	}
	return strings.HasPrefix(r.URL.Path, "/oauth/")
}

// pageOf returns the data of a page for a request.
func (s *Server) pageOf(r *http.Request, data any) *page {
	p := &page{
		Lang:    languageOf(r),
		Product: s.c.Look.Name,
		Here:    httpapi.Here(r),
		User:    durward.From(r.Context()),
		Data:    data,
		s:       s,
	}
	for _, language := range request.Languages {
		if language != p.Lang {
			p.Languages = append(p.Languages, language)
		}
	}
	return p
}

// render shows a page.
func (s *Server) render(w http.ResponseWriter, r *http.Request, name string, data any) error {
	return s.write(w, r, http.StatusOK, name, s.pageOf(r, data))
}

// again shows the page of a form with its mistakes and the typed texts.
func (s *Server) again(w http.ResponseWriter, r *http.Request, name string, data any, f *form) error {
	p := s.pageOf(r, data)
	p.Form = f
	return s.write(w, r, http.StatusUnprocessableEntity, name, p)
}

func (s *Server) write(w http.ResponseWriter, r *http.Request, status int, name string, p any) error {
	body, err := execute(name, p)
	if err != nil {
		return &durward.Refusal{Code: durward.Internal, Err: err}
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	s.setFields(h, r)
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Add("Vary", "Accept-Language, Cookie")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body)
	}
	return nil
}

// execute renders a page completely. p is a *page or has all its methods and fields.
func execute(name string, p any) ([]byte, error) {
	t := templates()[name]
	if t == nil {
		return nil, fmt.Errorf("web: no template %s", name)
	}
	var b bytes.Buffer
	err := t.ExecuteTemplate(&b, "layout", p)
	return b.Bytes(), err
}

// textFile returns the URL of a text file with these lines, for a link that saves it without a request.
func textFile(lines []string) template.URL {
	return template.URL("data:text/plain;charset=utf-8," + url.PathEscape(strings.Join(lines, "\r\n")+"\r\n"))
}

// see redirects to a page of this server after a form (RFC 9110 s15.4.4).
func (s *Server) see(w http.ResponseWriter, r *http.Request, to string) error {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

// refusalPage returns the page of a refusal.
func (s *Server) refusalPage(h http.Header, r *http.Request, f *durward.Refusal) []byte {
	s.setFields(h, r)
	p := s.pageOf(r, f)
	body, err := execute("refusal.html", p)
	if err != nil {
		s.c.Parts.Log.Error("cannot show the page of a refusal", "error", err)
		return []byte(f.ID)
	}
	return body
}

// localReturn returns target if it is a path of this server, else the account page.
func (s *Server) localReturn(target string) string {
	if to := durward.ReturnTo(target); to != "/" {
		return to
	}
	return s.path("/account")
}

// returnTo returns target if it is a path of this server or lies in a configured origin, else the account
// page. It is called when target arrives and again before it is used.
func (s *Server) returnTo(target string) string {
	if to := durward.ReturnTo(target, s.c.Settings.Origins...); to != "/" || s.prefix != "" && target == "/" {
		return to // under a prefix, the root belongs to the application
	}
	return s.path("/account")
}

// leave ends a form at a page of this server or of another origin. A redirect to another origin would
// break form-action, so the browser gets a page that leads to GET /hop, or to the page of this server that
// redirects to another origin.
func (s *Server) leave(w http.ResponseWriter, r *http.Request, to string) error {
	if strings.HasPrefix(to, "/") && !s.mayLeave(to) {
		return s.see(w, r, to)
	} else if strings.HasPrefix(to, "/") {
		return s.render(w, r, "hop.html", to)
	}
	// html/template does not know that the content of a meta element holds a URL, so the query is escaped here.
	return s.render(w, r, "hop.html", s.path("/hop?to="+url.QueryEscape(to)))
}

// hop is GET /hop: it leads to a page of a configured origin after a form.
func (s *Server) hop(w http.ResponseWriter, r *http.Request) error {
	return s.see(w, r, s.returnTo(r.URL.Query().Get("to")))
}

//go:embed static
var static embed.FS

// staticFiles returns the handlers of the files of the pages, by name. The style sheet ends with the colours
// of the operator.
func (s *Server) staticFiles() map[string]http.Handler {
	files, err := fs.ReadDir(static, "static")
	if err != nil {
		panic(err)
	}
	types := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml", ".png": "image/png"}
	all := map[string]http.Handler{}
	for _, file := range files {
		content, err := static.ReadFile("static/" + file.Name())
		if err != nil {
			panic(err)
		}
		if file.Name() == "style.css" {
			content = append(content, s.c.Look.style...)
		}
		all[file.Name()] = httpapi.Fixed(types[path.Ext(file.Name())], content)
	}
	if look := s.c.Look; look.logoFile != "" {
		file := httpapi.Fixed(types[path.Ext(look.logoFile)], look.logo)
		all[look.logoFile] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Security-Policy", logoSecurity)
			file.ServeHTTP(w, r)
		})
	}
	return all
}
