package web

import (
	"maps"
	"net/http"
)

// routes returns the handlers of every page, one line each.
func (s *Server) routes() map[string]map[string]http.Handler {
	type methods = map[string]http.Handler
	pages := map[string]methods{
		"/login":      {"GET": s.open(s.showLogin), "POST": s.open(s.login)},
		"/hop":        {"GET": s.open(s.hop)},
		"/sign-out":   {"POST": s.open(s.signOut)},
		"/signed-out": {"GET": s.open(s.signedOut)},
		"/language":   {"POST": s.open(s.setLanguage)},
		"/account":    {"GET": s.signedIn(s.account)},
	}
	if s.c.Demo {
		maps.Copy(pages, s.sampleRoutes())
	}
	for name, file := range staticFiles() {
		pages["/static/"+name] = methods{"GET": file}
	}
	return pages
}
