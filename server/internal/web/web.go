// Package web implements the pages of the server: sign-in, account and console. The rules are those of
// the HTTP API: a page calls the same functions of account and session, and shows the same refusals.
//
// To add a page:
//
//   - Add its URL to routes.go, with s.open for pages that need no sign-in, s.signedIn for those that need
//     one, and s.justSignedIn for those that need a recent sign-in. The guard sends a browser without it
//     to /login or /step-up, and the user comes back to the page.
//   - Add a template to templates/ that defines "main" in terms of the parts in templates/parts/, and a
//     file with its handlers. A handler of GET calls s.render. A handler of POST calls s.form for the
//     fields, then redirects with s.see, or shows the page again with s.again. An error that it returns
//     becomes the page of a refusal.
//   - Add its texts to texts/en.toml and texts/de.toml under a table of its own. A template shows one with
//     {{.T "login.title"}}; a test finds missing keys, and texts that stand in a template.
//   - Add its style to the layer pages in static/style.css.
//
// URLs in templates and redirects go through path: {{.Path "/login"}}, s.path("/login").
package web

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/httpapi"
)

// Config configures the pages. Server, Parts and PublicURL are required.
type Config struct {
	Parts    httpapi.Parts    // the parts that the API works with
	Settings httpapi.Settings // the settings of the API
	Look     Look             // name, logo and colour
	Demo     bool             // serve the pages of the demonstration, too

	// DoctorOutbound lets /doctor ask public servers, without credentials.
	DoctorOutbound bool

	// MailFolder is the folder with the mails that the demonstration shows.
	MailFolder string
}

// Server serves the pages.
type Server struct {
	c      Config
	api    *httpapi.Server
	guard  *durward.Guard
	prefix string // path of the public URL, without a slash at its end
	secure bool   // the public URL is https
	origin string // of the public URL
	pages  map[string]map[string]http.Handler

	diagnoses *diagnoses
}

// New returns the pages of api.
func New(c Config, api *httpapi.Server) *Server {
	public, _ := url.Parse(c.Settings.PublicURL) // httpapi.New checks it
	return &Server{
		c:      c,
		api:    api,
		guard:  api.Guard(),
		prefix: strings.TrimRight(public.EscapedPath(), "/"),
		secure: public.Scheme == "https",
		origin: public.Scheme + "://" + public.Host,

		diagnoses: newDiagnoses(),
	}
}

// Pages returns the pages for httpapi.Config.
func (s *Server) Pages() httpapi.Pages {
	s.pages = s.routes()
	return httpapi.Pages{Routes: s.pages, Refusal: s.refusalPage}
}

// path returns the path of a page, with the prefix of the public URL.
func (s *Server) path(page string) string { return s.prefix + page }

// endpoint answers a request, or returns the reason why it does not.
type endpoint func(http.ResponseWriter, *http.Request) error

// open serves e to every browser. durward.From returns the principal of a browser that is signed in, also of
// a user who owes a second factor.
func (s *Server) open(e endpoint) http.Handler {
	return httpapi.ForEnrolment(s.require(durward.Policy{Optional: true}, e))
}

// signedIn serves e to signed-in users.
func (s *Server) signedIn(e endpoint) http.Handler {
	return s.require(durward.Policy{Scopes: []string{"profile"}}, e)
}

// justSignedIn serves e to users who signed in a short time ago, with their second factor if they have
// one. Others are asked to prove their identity again, and come back.
func (s *Server) justSignedIn(e endpoint) http.Handler {
	p := httpapi.FreshPolicy()
	p.Schemes = []durward.Scheme{s.api.Schemes.Cookie}
	return s.require(durward.Policy{Scopes: p.Scopes, Freshness: p.Freshness}, func(w http.ResponseWriter, r *http.Request) error {
		if _, err := s.guard.Check(r, p); err != nil {
			return s.lead(w, r, p, err)
		}
		if err := s.api.CheckFactor(r); err != nil {
			return s.lead(w, r, account.NeedsSecondFactor(p), err)
		}
		return e(w, r)
	})
}

// anywhere serves e to forms of other sites, too. No cookie counts.
func (s *Server) anywhere(e endpoint) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer s.api.Recover(w, r)
		if err := e(w, r); err != nil {
			s.guard.Refuse(w, r, httpapi.AsRefusal(err))
		}
	})
}

// require serves e to browsers that p accepts, by the session cookie alone. Each unsafe request must come
// from a page of this server.
func (s *Server) require(p durward.Policy, e endpoint) http.Handler {
	p.Pages, p.Schemes = true, []durward.Scheme{s.api.Schemes.Cookie}
	return s.guard.Require(p, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer s.api.Recover(w, r)
		var err error
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			// The guard checks requests with a session cookie. A page of another site must not sign a
			// user in to an account of its choice either (RFC 9700 s4.7).
			err = s.guard.SameOrigin(r)
		}
		if err == nil {
			err = e(w, r)
		}
		if err != nil {
			s.guard.Refuse(w, r, httpapi.AsRefusal(err))
		}
	}))
}
