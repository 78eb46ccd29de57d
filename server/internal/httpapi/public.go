package httpapi

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
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
	return page(w, "front.html", struct{ Realm, Origin string }{s.realm, strings.TrimRight(s.c.PublicURL, "/")})
}

// errorPage is GET /errors/ and GET /errors/{code}.
func (s *Server) errorPage(w http.ResponseWriter, r *http.Request) error {
	name := strings.TrimPrefix(r.URL.Path, "/errors/")
	if name == "" {
		return page(w, "errors.html", explain.Codes())
	}
	p, ok := explain.Code(name)
	if !ok {
		return fmt.Errorf("no explanation of that code: %w", durward.NotFound)
	}
	return page(w, "error.html", p)
}

// page renders a template completely before it writes the first byte.
func page(w http.ResponseWriter, name string, data any) error {
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
	_, _ = w.Write(b.Bytes())
	return nil
}

//go:generate go test -run TestOpenAPIDocument -update

//go:embed openapi.json
var openAPIDocument []byte

//go:embed static/durward.css
var stylesheet []byte

// unchanged reports whether If-None-Match contains etag: in a list, compared weakly, or as an
// asterisk (RFC 9110 s13.1.2).
func unchanged(r *http.Request, etag string) bool {
	for _, line := range r.Header["If-None-Match"] {
		for tag := range strings.SplitSeq(line, ",") {
			if tag = strings.TrimSpace(tag); tag == "*" || strings.TrimPrefix(tag, "W/") == etag {
				return true
			}
		}
	}
	return false
}

// etagOf returns the ETag of content.
func etagOf(content []byte) string {
	sum := sha256.Sum256(content)
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
}

// public writes content that every cache may store.
func public(w http.ResponseWriter, r *http.Request, mediaType, cacheControl, etag string, content []byte) error {
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Cache-Control", cacheControl)
	h.Set("ETag", etag)
	h.Set("X-Content-Type-Options", "nosniff")
	if unchanged(r, etag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	_, _ = w.Write(content)
	return nil
}

// fixed serves content that is embedded in the program.
func (s *Server) fixed(mediaType string, content []byte) http.Handler {
	etag := etagOf(content)
	return s.open(func(w http.ResponseWriter, r *http.Request) error {
		return public(w, r, mediaType, "public, max-age=300", etag, content)
	})
}

// jwks is GET /.well-known/jwks.json (RFC 7517 s5).
func (s *Server) jwks(w http.ResponseWriter, r *http.Request) error {
	if h := w.Header(); h.Get("Access-Control-Allow-Origin") == "" {
		h.Set("Access-Control-Allow-Origin", "*") // the keys are public
	}
	set := s.c.Issuer.JWKS()
	return public(w, r, "application/jwk-set+json", "public, max-age=300, stale-while-revalidate=3600", etagOf(set), set)
}

// healthz is GET /healthz: the process runs.
func (s *Server) healthz(w http.ResponseWriter, r *http.Request) error {
	return answer(w, http.StatusOK, readiness{Status: "ok"}, nil)
}

type check struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
}

type readiness struct {
	Status string  `json:"status"`
	Checks []check `json:"checks,omitempty"`
}

// readyz is GET /readyz: the node can serve new requests. The response names the failing checks,
// the log has the errors. Faults with which a node can work, and those that would take every node out
// of the load balancer at once, make it "degraded" but leave it ready.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) error {
	if s.stopping.Load() {
		return answer(w, http.StatusServiceUnavailable, readiness{Status: "stopping"}, nil)
	}
	ping := s.c.DB.Ping(r.Context())
	if ping != nil {
		s.c.Log.Error("cannot reach the database", "error", ping)
	}
	ready, status := readiness{Status: "ready"}, http.StatusOK
	add := func(name string, ok bool, statusIfNot int) {
		ready.Checks = append(ready.Checks, check{name, ok})
		if !ok {
			ready.Status, status = "degraded", max(status, statusIfNot)
		}
	}
	add("database", ping == nil, http.StatusServiceUnavailable)
	add("revocations", s.c.Revocations.Err() == nil, http.StatusServiceUnavailable)
	add("store_history", !s.c.Sessions.RolledBack(), http.StatusServiceUnavailable)
	if err := s.c.Issuer.Err(); err != nil {
		add("keys", false, http.StatusServiceUnavailable)
	} else {
		add("keys", s.c.Issuer.ReadErr() == nil, http.StatusOK)
	}
	add("hash_queue", !s.c.Accounts.Hasher.Full(), http.StatusOK)
	if s.c.Redis != nil {
		add("redis", s.c.Redis() == nil, http.StatusOK)
	}
	return answer(w, status, ready, nil)
}
