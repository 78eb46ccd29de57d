package httpapi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/printable"
)

// route is one URL and what its methods do.
type route map[string]http.Handler

// routes lists every URL, one line each.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	handle := func(path string, methods route) { mux.Handle(path, s.byMethod(methods)) }

	// Signing in and staying in.
	handle("/api/auth/register", route{"POST": s.open(s.register)})
	handle("/api/auth/login", route{"POST": s.proven(s.login)})
	handle("/api/auth/refresh", route{"POST": s.proven(s.refresh)})
	handle("/api/auth/logout", route{"POST": s.open(s.logout)})
	handle("/api/auth/token", route{"POST": s.signedIn(s.token)})
	handle("/api/auth/step-up", route{"POST": s.signedIn(s.stepUp)})
	handle("/api/auth/password/change", route{"POST": s.signedIn(s.changePassword)})

	// Oneself.
	handle("/api/profile", route{"GET": s.signedIn(s.profile), "PATCH": s.signedIn(s.patchProfile)})
	handle("/api/notifications", route{"GET": s.signedIn(s.notifications)})
	handle("/api/auth/sessions", route{"GET": s.signedIn(s.sessions)})
	handle("/api/auth/sessions/{id}", route{"DELETE": s.signedIn(s.endSession)})
	handle("/api/keys", route{"GET": s.signedIn(s.keys), "POST": s.justSignedIn(s.createKey)})
	handle("/api/keys/{id}", route{"DELETE": s.justSignedIn(s.deleteKey)})
	handle("/api/keys/{id}/rotate", route{"POST": s.justSignedIn(s.rotateKey)})

	// For other software and for people who look.
	handle("/.well-known/jwks.json", route{"GET": s.open(s.jwks)})
	handle("/api/revocations", route{"GET": s.forPrograms(s.revocations)})
	handle("/openapi.json", route{"GET": openAPI()})
	handle("/{$}", route{"GET": s.open(s.front)})
	handle("/errors/", route{"GET": s.open(s.errorPage)})
	handle("/static/durward.css", route{"GET": staticFiles()})
	handle("/healthz", route{"GET": s.open(s.healthz)})
	handle("/readyz", route{"GET": s.open(s.readyz)})

	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.signIn.Refuse(w, r, fmt.Errorf("no such path: %w", durward.NotFound))
	})
	return s.outermost(s.signIn.Open(s.onlyHTTPS(readable(s.c.Origins, mux))))
}

// onlyHTTPS tells browsers to come by https alone, for a year, where the public
// URL is https. Over plain http it must not be said (RFC 6797 s7.2): what gets
// this far came by https, or from this machine, or is let in from anywhere.
func (s *Server) onlyHTTPS(next http.Handler) http.Handler {
	if !strings.HasPrefix(s.c.PublicURL, "https://") || s.c.InsecureAllowHTTP {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !durward.ClientAddr(r.Context()).IsLoopback() {
			w.Header().Set("Strict-Transport-Security", "max-age=31536000")
		}
		next.ServeHTTP(w, r)
	})
}

// byMethod answers HEAD by GET and a method that the URL does not take with what
// it does take (RFC 9110 s15.5.6).
func (s *Server) byMethod(methods route) http.Handler {
	allow := slices.Sorted(maps.Keys(methods))
	if get, ok := methods["GET"]; ok {
		methods["HEAD"] = get
		allow = append(allow, "HEAD")
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h, ok := methods[r.Method]; ok {
			h.ServeHTTP(w, r)
			return
		}
		s.signIn.Refuse(w, r, &durward.Refusal{Code: durward.MethodNotAllowed, Allow: allow, Err: fmt.Errorf("the path takes %s only", strings.Join(allow, ", "))})
	})
}

// endpoint answers a request or returns why it does not.
type endpoint func(http.ResponseWriter, *http.Request) error

// open serves e to anybody; its refusals name where to sign in.
func (s *Server) open(e endpoint) http.Handler { return s.rendered(s.signIn, e) }

// proven serves e to anybody, with the key that a DPoP proof shows, where one came
// and they are taken. The proof is judged before the body is read: it costs one
// signature, and a client that has yet to hear of a nonce makes nobody hash a
// password twice.
func (s *Server) proven(e func(http.ResponseWriter, *http.Request, *durward.HeldKey) error) http.Handler {
	if s.proofs == nil {
		return s.open(func(w http.ResponseWriter, r *http.Request) error { return e(w, r, nil) })
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key, err := s.proofs.HeldKey(r)
		if err == nil {
			err = e(w, r, key)
		}
		switch {
		case err == nil:
		case errors.Is(err, durward.InvalidProof), errors.Is(err, durward.NonceRequired):
			s.proofs.Refuse(w, r, err)
		default:
			s.signIn.Refuse(w, r, asRefusal(err))
		}
	})
}

// signedIn serves e to requests with a good access token or key.
func (s *Server) signedIn(e endpoint) http.Handler {
	return s.api.Require(durward.Policy{Scopes: []string{"profile"}}, s.rendered(s.api, e))
}

// forPrograms serves e to programs that an administrator has let hear of what ends.
func (s *Server) forPrograms(e endpoint) http.Handler {
	return s.api.Require(durward.Policy{Scopes: []string{"revocations"}}, s.rendered(s.api, e))
}

// fresh is how old a sign-in may be that changes how one signs in.
const fresh = 5 * time.Minute

// news is how old the news of revocations may be for what changes how one signs in:
// a token that was stolen and revoked must not make itself a key while this node
// cannot hear of it.
const news = 10 * time.Second

// justSignedIn serves e to who has signed in a moment ago. A key never has.
func (s *Server) justSignedIn(e endpoint) http.Handler {
	return s.api.Require(durward.Policy{Scopes: []string{"profile"}, MaxAge: fresh, Freshness: news}, s.rendered(s.api, e))
}

func (s *Server) rendered(g *durward.Guard, e endpoint) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := e(w, r); err != nil {
			g.Refuse(w, r, asRefusal(err))
		}
	})
}

type requestIDKey struct{}

// requestID returns the identifier that ties log lines of one request together.
func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// outermost gives each request its id and turns a panic into a 500 that says
// nothing.
func (s *Server) outermost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.WithContext(context.WithValue(r.Context(), requestIDKey{}, uuid.Must(uuid.NewV7()).String()))
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p == http.ErrAbortHandler {
				panic(p)
			}
			s.c.Log.Error("a handler panicked", "request", requestID(r.Context()), "method", r.Method, "route", r.Pattern, "stack", string(debug.Stack()))
			s.signIn.Refuse(w, r, &durward.Refusal{Code: durward.Internal, Err: fmt.Errorf("panic in %s: %w", printable.Line(r.Pattern, 200), errors.New("see the log"))})
		}()
		next.ServeHTTP(w, r)
	})
}
