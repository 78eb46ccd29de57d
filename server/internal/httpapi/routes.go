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
	"github.com/rs/cors"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/printable"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/oauth"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/session"
)

// route holds the handlers of one URL by method.
type route map[string]http.Handler

// routes returns the handler of every URL, one line each.
func (s *Server) routes() (http.Handler, error) {
	mux := http.NewServeMux()
	handle := func(path string, methods route) { mux.Handle(path, s.timed(path, methods, s.byMethod(methods))) }

	// Signing in and staying signed in.
	handle("/api/auth/register", route{"POST": s.open(s.register)})
	handle("/api/auth/setup", route{"POST": s.open(s.setup)})
	handle("/api/auth/invite", route{"POST": s.open(s.acceptInvitation)})
	handle("/api/auth/login", route{"POST": s.withProof(s.login)})
	handle("/api/auth/login/mfa", route{"POST": s.withProof(s.loginMFA)})
	handle("/api/auth/refresh", route{"POST": s.withProof(s.refresh)})
	handle("/api/auth/logout", route{"POST": s.open(s.logout)})
	handle("/api/auth/token", route{"POST": s.signedIn(s.token)})
	handle("/api/auth/step-up", route{"POST": ForEnrolment(s.inSession(s.stepUp))})
	handle("/api/auth/passkeys/login/begin", route{"POST": s.open(s.beginPasskeyLogin)})
	handle("/api/auth/passkeys/login/finish", route{"POST": s.withProof(s.finishPasskeyLogin)})
	handle("/api/auth/passkeys/step-up/begin", route{"POST": ForEnrolment(s.inSession(s.beginPasskeyStepUp))})
	handle("/api/auth/password/forgot", route{"POST": s.open(s.forgotPassword)})
	handle("/api/auth/password/reset", route{"POST": s.open(s.resetPassword)})
	handle("/api/auth/email/verify", route{"POST": s.open(s.verifyEmail)})
	handle("/api/auth/email/verify/send", route{"POST": s.open(s.sendVerification)})
	handle("/api/auth/email/undo", route{"POST": s.open(s.undoEmail)})
	handle("/api/auth/password/change", route{"POST": s.inSession(s.withFactor(s.changePassword))})

	// The user's own account.
	handle("/api/profile", route{"GET": s.signedIn(s.profile), "PATCH": s.signedIn(s.patchProfile)})
	handle("/api/profile/email", route{"POST": s.justSignedIn(s.changeEmail)})
	handle("/api/notifications", route{"GET": s.signedIn(s.notifications)})
	handle("/api/auth/sessions", route{"GET": s.inSession(s.sessions)})
	handle("/api/auth/sessions/{id}", route{"DELETE": s.inSession(s.endSession)})
	handle("/api/auth/mfa", route{"GET": ForEnrolment(s.signedIn(s.factors))})
	handle("/api/auth/mfa/totp", route{"POST": ForEnrolment(s.freshSession(s.startTOTP)), "DELETE": s.freshSession(s.removeTOTP)})
	handle("/api/auth/mfa/totp/confirm", route{"POST": ForEnrolment(s.freshSession(s.confirmTOTP))})
	handle("/api/auth/mfa/recovery-codes", route{"POST": s.freshSession(s.makeRecoveryCodes)})
	handle("/api/auth/passkeys", route{"GET": s.signedIn(s.listPasskeys)})
	handle("/api/auth/passkeys/begin", route{"POST": ForEnrolment(s.freshSession(s.beginPasskey))})
	handle("/api/auth/passkeys/finish", route{"POST": ForEnrolment(s.freshSession(s.finishPasskey))})
	handle("/api/auth/passkeys/{id}", route{"PATCH": s.freshSession(s.renamePasskey), "DELETE": s.freshSession(s.removePasskey)})
	handle("/api/apps", route{"GET": s.inSession(s.apps)})
	handle("/api/apps/{client}", route{"DELETE": s.inSession(s.withdraw)})
	handle("/api/keys", route{"GET": s.signedIn(s.keys), "POST": s.justSignedIn(s.createKey)})
	handle("/api/keys/{id}", route{"DELETE": s.justSignedIn(s.deleteKey)})
	handle("/api/keys/{id}/rotate", route{"POST": s.justSignedIn(s.rotateKey)})

	// Administration.
	handle("/api/admin/users", route{"GET": s.forAdmins(s.users), "POST": s.byAdmin(s.inviteUser)})
	handle("/api/admin/users/import", route{"POST": s.byAdmin(s.importUsers)})
	handle("/api/admin/users/{id}", route{"GET": s.forAdmins(s.user), "PATCH": s.byAdmin(s.patchUser), "DELETE": s.byAdmin(s.deleteUser)})
	handle("/api/admin/users/{id}/lock", route{"POST": s.byAdmin(s.lockUser)})
	handle("/api/admin/users/{id}/unlock", route{"POST": s.byAdmin(s.unlockUser)})
	handle("/api/admin/users/{id}/sign-out", route{"POST": s.byAdmin(s.signOutUser)})
	handle("/api/admin/users/{id}/password-reset", route{"POST": s.byAdmin(s.sendReset)})
	handle("/api/admin/users/{id}/mfa", route{"GET": s.forAdmins(s.userFactors), "DELETE": s.byAdmin(s.resetFactors)})
	handle("/api/admin/users/{id}/mfa/totp", route{"DELETE": s.byAdmin(s.removeUserTOTP)})
	handle("/api/admin/users/{id}/passkeys", route{"GET": s.forAdmins(s.userPasskeys)})
	handle("/api/admin/users/{id}/passkeys/{passkey}", route{"DELETE": s.byAdmin(s.removeUserPasskey)})
	handle("/api/admin/users/{id}/sessions", route{"GET": s.forAdmins(s.userSessions)})
	handle("/api/admin/users/{id}/sessions/{session}", route{"DELETE": s.byAdmin(s.endUserSession)})
	handle("/api/admin/users/{id}/groups", route{"GET": s.forAdmins(s.userGroups), "POST": s.byAdmin(s.addToGroup)})
	handle("/api/admin/users/{id}/groups/{group}", route{"DELETE": s.byAdmin(s.removeFromGroup)})
	handle("/api/admin/users/{id}/keys", route{"GET": s.forAdmins(s.userKeys)})
	handle("/api/admin/users/{id}/keys/{key}", route{"DELETE": s.byAdmin(s.revokeUserKey)})
	handle("/api/admin/users/{id}/require-factor", route{"POST": s.byAdmin(s.requireFactorOf)})
	handle("/api/admin/groups", route{"GET": s.forAdmins(s.groups)})
	handle("/api/admin/groups/{group}/require-factor", route{"POST": s.byAdmin(s.requireFactorOfGroup)})
	handle("/api/admin/clients", route{"GET": s.forAdmins(s.clients), "POST": s.byAdmin(s.addClient)})
	handle("/api/admin/clients/{id}", route{"GET": s.forAdmins(s.client), "PATCH": s.byAdmin(s.patchClient), "DELETE": s.byAdmin(s.deleteClient)})
	handle("/api/admin/clients/{id}/disable", route{"POST": s.byAdmin(s.disableClient)})
	handle("/api/admin/clients/{id}/enable", route{"POST": s.byAdmin(s.enableClient)})
	handle("/api/admin/clients/{id}/secrets", route{"POST": s.byAdmin(s.addClientSecret)})
	handle("/api/admin/clients/{id}/secrets/{secret}", route{"DELETE": s.byAdmin(s.removeClientSecret)})
	handle("/api/admin/signing-keys", route{"GET": s.forAdmins(s.signingKeys)})
	handle("/api/admin/signing-keys/rotate", route{"POST": s.byAdmin(s.rotateSigningKey)})
	handle("/api/admin/signing-keys/{kid}/retire", route{"POST": s.byAdmin(s.retireSigningKey)})
	handle("/api/admin/events", route{"GET": s.forAdmins(s.events)})
	handle("/api/admin/denials", route{"GET": s.forAdmins(s.denials)})
	handle("/api/admin/denials/{id}", route{"GET": s.forAdmins(s.denial)})
	handle("/api/admin/stats", route{"GET": s.forAdmins(s.stats)})
	handle("/api/admin/counts", route{"GET": s.forAdmins(s.counts)})
	handle("/api/admin/settings", route{"GET": s.forAdmins(s.settings)})

	// For other software and for browsers.
	handle("/.well-known/jwks.json", route{"GET": s.open(s.jwks)})
	handle("/.well-known/openid-configuration", route{"GET": s.open(s.metadata)})
	handle("/.well-known/oauth-authorization-server", route{"GET": s.open(s.metadata)})
	handle("/api/revocations", route{"GET": s.forPrograms(s.revocations)})
	handle("/openapi.json", route{"GET": Fixed("application/json", s.openAPI())})
	handle("/durward.js", route{"GET": s.browserModule()})
	handle("/healthz", route{"GET": s.open(s.healthz)})
	handle("/readyz", route{"GET": s.open(s.readyz)})

	handle("/.well-known/oauth-protected-resource", route{"GET": s.open(s.resourceMetadata)})
	if s.c.OAuth != nil {
		userInfo, err := s.userInfo()
		if err != nil {
			return nil, err
		}
		handle("/oauth/token", route{"POST": forEveryOrigin(s.forClients(s.oauthToken))})
		handle("/oauth/revoke", route{"POST": forEveryOrigin(s.forClients(s.oauthRevoke))})
		handle("/oauth/introspect", route{"POST": s.forClients(s.oauthIntrospect)})
		handle("/oauth/userinfo", route{"GET": userInfo, "POST": userInfo})
	}

	for path, methods := range s.pages.Routes {
		handle(path, methods)
	}

	mux.Handle("/", s.open(func(http.ResponseWriter, *http.Request) error {
		return fmt.Errorf("no such path: %w", durward.NotFound)
	}))
	return mux, nil
}

// timed measures the time of each request to a route.
func (s *Server) timed(path string, methods route, next http.Handler) http.Handler {
	if s.c.Metrics == nil {
		return next
	}
	served := s.c.Metrics.Route(path, slices.Sorted(maps.Keys(methods)))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		defer func() { served(r.Method, time.Since(began)) }() // also after a panic
		next.ServeHTTP(w, r)
	})
}

// onlyHTTPS adds Strict-Transport-Security for a year, if the public URL is https. The field is
// not sent over plain http (RFC 6797 s7.2): a request that arrives here came by https or from
// this machine, unless InsecureAllowHTTP is set.
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

// byMethod serves HEAD with the handler of GET, and refuses a method that methods does not have
// with the list of those that it has (RFC 9110 s15.5.6).
func (s *Server) byMethod(methods route) http.Handler {
	allow := slices.Sorted(maps.Keys(methods))
	if get, ok := methods["GET"]; ok {
		methods["HEAD"] = get
		allow = append(allow, "HEAD")
	}
	refuse := s.open(func(http.ResponseWriter, *http.Request) error {
		cause := fmt.Errorf("the path takes %s only", strings.Join(allow, ", "))
		return &durward.Refusal{Code: durward.MethodNotAllowed, Allow: allow, Err: cause}
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h, ok := methods[r.Method]; ok {
			h.ServeHTTP(w, r)
			return
		}
		refuse.ServeHTTP(w, r)
	})
}

// endpoint answers a request, or returns the reason why it does not.
type endpoint func(http.ResponseWriter, *http.Request) error

// open serves e to every client. An error of e is rendered as a refusal, with the challenges of
// the route that the request is in.
func (s *Server) open(e endpoint) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := e(w, r); err != nil {
			s.guard.Refuse(w, r, asRefusal(err))
		}
	})
}

// withProof serves e to every client, with the key of its DPoP proof, or nil for a request without
// a proof. The proof is checked before the body is read: that costs one signature, and a client
// that does not know the nonce yet causes no password hash.
func (s *Server) withProof(e func(http.ResponseWriter, *http.Request, *durward.HeldKey) error) http.Handler {
	if s.Schemes.DPoP == nil {
		return s.open(func(w http.ResponseWriter, r *http.Request) error { return e(w, r, nil) })
	}
	return s.open(func(w http.ResponseWriter, r *http.Request) error {
		key, err := s.guard.HeldKey(r)
		if err == nil {
			err = e(w, r, key)
		}
		if errors.Is(err, durward.InvalidProof) {
			hint := "Make a new proof for this method and this URL, without ath. A refresh needs the key of the sign-in."
			return &durward.Refusal{Code: durward.InvalidProof, Hint: hint, Err: err}
		}
		return err
	})
}

// signedIn serves e to requests with valid credentials.
func (s *Server) signedIn(e endpoint) http.Handler {
	return s.guard.Require(durward.Policy{Scopes: []string{"profile"}}, s.open(e))
}

// inSession serves e to requests with valid credentials that session.CheckSignedIn accepts. An API
// key never qualifies.
func (s *Server) inSession(e endpoint) http.Handler {
	p := durward.Policy{Scopes: []string{"profile"}}
	p.Allow = func(_ *http.Request, p *durward.Principal) error { return session.CheckSignedIn(p) }
	return s.guard.Require(p, s.open(e))
}

// ForEnrolment makes next accept a user who owes a second factor too, and the tokens that set one up.
func ForEnrolment(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(request.ForEnrolment(r.Context())))
	})
}

// forPrograms serves e to requests with the scope revocations, also of applications.
func (s *Server) forPrograms(e endpoint) http.Handler {
	return s.programs.Require(durward.Policy{Scopes: []string{oauth.ScopeRevocations}}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := e(w, r); err != nil {
			s.programs.Refuse(w, r, asRefusal(err))
		}
	}))
}

const (
	// recentSignIn is the maximum age of a sign-in that may change the ways of signing in.
	recentSignIn = 5 * time.Minute

	// maxListAge is the maximum age of the revocation list for such a change: a stolen and revoked
	// token must not create an API key while this node does not receive revocations.
	maxListAge = 10 * time.Second
)

// justSignedIn serves e to users who signed in a short time ago, with their second factor if they have one.
// An API key never qualifies.
func (s *Server) justSignedIn(e endpoint) http.Handler {
	return s.guard.Require(freshPolicy, s.open(s.withFactor(e)))
}

// FreshPolicy returns the policy of routes that change the ways of signing in. CheckFactor is its other half.
func FreshPolicy() durward.Policy { return freshPolicy }

// CheckFactor refuses the request of a user who has a second factor and signed in without it. A browser that
// opens a page is sent to the sign-in page.
func (s *Server) CheckFactor(r *http.Request) error {
	return s.checkFactor(r, durward.Policy{Pages: true})
}

// freshPolicy is the policy of justSignedIn.
var freshPolicy = durward.Policy{Scopes: []string{"profile"}, MaxAge: recentSignIn, Freshness: maxListAge}

// freshSession is justSignedIn for requests of a session.
func (s *Server) freshSession(e endpoint) http.Handler {
	p := freshPolicy
	p.Allow = func(_ *http.Request, p *durward.Principal) error {
		if p.SessionID == "" {
			return refusal(durward.Forbidden, "These credentials belong to no session, so they cannot change second factors.",
				"Sign in at POST /api/auth/login.", "credentials without a session at an endpoint for second factors")
		}
		return nil
	}
	return s.guard.Require(p, s.open(s.withFactor(e)))
}

// withFactor refuses the request of a user who has a second factor and signed in without it: a stolen
// password must not be sufficient to take the factor away.
func (s *Server) withFactor(e endpoint) endpoint {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := s.checkFactor(r, durward.Policy{}); err != nil {
			return err
		}
		return e(w, r)
	}
}

// checkFactor is withFactor. A refusal has the form that p asks for.
func (s *Server) checkFactor(r *http.Request, p durward.Policy) error {
	has, err := s.c.Accounts.HasSecondFactor(r.Context(), durward.From(r.Context()).Subject)
	if err == nil && has {
		_, err = s.guard.Check(r, account.NeedsSecondFactor(p))
	}
	return unknownOwner(err)
}

// requireFactor refuses the request of a user who signed in without a second factor: with
// ENROLMENT_REQUIRED if the user has none.
func (s *Server) requireFactor(r *http.Request) error {
	_, err := s.guard.Check(r, account.NeedsSecondFactor(durward.Policy{}))
	return err
}

// administration refuses administration by a user who signed in without a second factor, unless the
// configuration allows it.
func (s *Server) administration(r *http.Request) error {
	if s.c.AdminWithoutFactor {
		return nil
	}
	return s.requireFactor(r)
}

// forAdmins serves e to requests with the scope admin, for reading. A key or an operator's token, which no
// sign-in stands behind, needs no second factor: making one did.
func (s *Server) forAdmins(e endpoint) http.Handler {
	p := durward.Policy{Scopes: []string{"admin"}, Freshness: maxListAge}
	return s.guard.Require(p, s.open(func(w http.ResponseWriter, r *http.Request) error {
		if !durward.From(r.Context()).AuthTime.IsZero() {
			if err := s.administration(r); err != nil {
				return err
			}
		}
		return e(w, r)
	}))
}

// byAdmin serves e to administrators who signed in a short time ago, with a second factor unless the
// configuration allows administration without it. An API key never qualifies.
func (s *Server) byAdmin(e func(http.ResponseWriter, *http.Request, request.Info) error) http.Handler {
	return s.guard.Require(s.AdminPolicy(recentSignIn), s.open(s.withFactor(func(w http.ResponseWriter, r *http.Request) error {
		return e(w, r, s.By(r))
	})))
}

// AdminPolicy returns the policy for administrators who signed in at most maxAge ago, with a second factor
// unless the configuration allows administration without it.
func (s *Server) AdminPolicy(maxAge time.Duration) durward.Policy {
	p := durward.Policy{Scopes: []string{"admin"}, MaxAge: maxAge, Freshness: maxListAge}
	if !s.c.AdminWithoutFactor {
		p = account.NeedsSecondFactor(p)
	}
	return p
}

// AdminChangeAge is the maximum age of the sign-in of an administrator who changes something.
const AdminChangeAge = recentSignIn

// By returns the origin of a request of an administrator, who is the actor of its events.
func (s *Server) By(r *http.Request) request.Info {
	by := from(r)
	by.Actor = durward.From(r.Context()).Subject
	return by
}

type requestKey struct{}

// requestTags are the values that the context of each request holds.
type requestTags struct {
	id      string
	path    string // with the prefix of the public URL
	uri     string // path and query, with the prefix
	cookies CookieNames
}

// requestID returns the identifier that the log lines of one request share.
func requestID(ctx context.Context) string {
	t, _ := ctx.Value(requestKey{}).(requestTags)
	return t.id
}

// tagged returns r with the values that its context holds.
func (s *Server) tagged(r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), requestKey{}, requestTags{
		id:      uuid.Must(uuid.NewV7()).String(),
		path:    r.URL.Path,
		uri:     r.URL.RequestURI(),
		cookies: s.cookies,
	}))
}

// Here returns path and query of a request as the browser sent them.
func Here(r *http.Request) string {
	if t, ok := r.Context().Value(requestKey{}).(requestTags); ok {
		return t.uri
	}
	return r.URL.RequestURI()
}

// fullPath returns the path of a request with the prefix of the public URL.
func fullPath(r *http.Request) string {
	if t, ok := r.Context().Value(requestKey{}).(requestTags); ok {
		return t.path
	}
	return r.URL.Path
}

// outermost gives each request its identifier, and answers a panic.
func (s *Server) outermost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = s.tagged(r)
		defer s.Recover(w, r)
		next.ServeHTTP(w, r)
	})
}

// Recover answers a panic with 500 and no details, and logs the stack. It must be deferred. A page defers it
// inside of the guard, which then answers with a page.
func (s *Server) Recover(w http.ResponseWriter, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		panic(p)
	}
	s.c.Log.Error("panic in a handler", "error", fmt.Sprint(p), "request", requestID(r.Context()), "method", r.Method, "route", r.Pattern, "stack", string(debug.Stack()))
	s.guard.Refuse(w, r, &durward.Refusal{Code: durward.Internal, Err: fmt.Errorf("panic in %s: see the log", printable.Line(r.Pattern, 200))})
}

// crossOrigin returns CORS for the configured origins: the handler of preflights, nil without
// origins, and a wrapper of the routes. Scripts of the origins can use the whole API, with tokens,
// keys and the session cookie, and read every field of a refusal.
func crossOrigin(origins []string) (preflight http.Handler, wrap func(http.Handler) http.Handler) {
	if len(origins) == 0 { // rs/cors takes an empty list as all origins
		return nil, func(next http.Handler) http.Handler { return next }
	}
	c := cors.New(cors.Options{
		AllowedOrigins:   origins,
		AllowedMethods:   []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPatch, http.MethodDelete},
		AllowedHeaders:   []string{"Authorization", "DPoP", "X-API-Key", "Content-Type"},
		ExposedHeaders:   durward.ExposedFields(),
		AllowCredentials: true,
		MaxAge:           600,
	})
	return http.HandlerFunc(c.HandlerFunc), c.Handler
}
