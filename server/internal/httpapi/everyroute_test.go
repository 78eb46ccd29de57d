package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

// routeCase is one method of one URL and its expected responses.
type routeCase struct {
	method, path string
	body         string // of each request; may be empty
	guarded      bool   // requires an access token with the scope profile, admin or revocations
	status       int    // for accepted credentials
	public       bool   // may be cached
}

// routeCases lists every route, by its pattern in routes.go.
var routeCases = map[string][]routeCase{
	"/api/auth/register":                       {{"POST", "/api/auth/register", `{}`, false, 400, false}},
	"/api/auth/login":                          {{"POST", "/api/auth/login", `{}`, false, 400, false}},
	"/api/auth/login/mfa":                      {{"POST", "/api/auth/login/mfa", `{}`, false, 400, false}},
	"/api/auth/mfa":                            {{"GET", "/api/auth/mfa", ``, true, 200, false}},
	"/api/auth/mfa/totp":                       {{"POST", "/api/auth/mfa/totp", `{"x":1}`, true, 400, false}, {"DELETE", "/api/auth/mfa/totp", ``, true, 404, false}},
	"/api/auth/mfa/totp/confirm":               {{"POST", "/api/auth/mfa/totp/confirm", `{}`, true, 400, false}},
	"/api/auth/mfa/recovery-codes":             {{"POST", "/api/auth/mfa/recovery-codes", `{"x":1}`, true, 400, false}},
	"/api/auth/refresh":                        {{"POST", "/api/auth/refresh", `{"refresh_token":"dr_x"}`, false, 401, false}},
	"/api/auth/logout":                         {{"POST", "/api/auth/logout", ``, false, 204, false}},
	"/api/auth/token":                          {{"POST", "/api/auth/token", ``, true, 403, false}},
	"/api/auth/step-up":                        {{"POST", "/api/auth/step-up", `{}`, true, 400, false}},
	"/api/auth/password/forgot":                {{"POST", "/api/auth/password/forgot", `{"email":"nobody@example.com"}`, false, 202, false}},
	"/api/auth/password/reset":                 {{"POST", "/api/auth/password/reset", `{"token":"x","new_password":"plenty of words in a row"}`, false, 400, false}},
	"/api/auth/email/verify":                   {{"POST", "/api/auth/email/verify", `{"token":"x"}`, false, 400, false}},
	"/api/auth/email/verify/send":              {{"POST", "/api/auth/email/verify/send", `{"email":"nobody@example.com"}`, false, 202, false}},
	"/api/auth/email/undo":                     {{"POST", "/api/auth/email/undo", `{"token":"x"}`, false, 400, false}},
	"/api/auth/setup":                          {{"POST", "/api/auth/setup", `{"token":"x","email":"a@example.com","password":"plenty of words in a row"}`, false, 400, false}},
	"/api/auth/invite":                         {{"POST", "/api/auth/invite", `{"token":"x","password":"plenty of words in a row"}`, false, 400, false}},
	"/api/profile/email":                       {{"POST", "/api/profile/email", `{}`, true, 400, false}},
	"/api/auth/password/change":                {{"POST", "/api/auth/password/change", `{}`, true, 400, false}},
	"/api/profile":                             {{"GET", "/api/profile", ``, true, 200, false}, {"PATCH", "/api/profile", `{"name":"Ada"}`, true, 200, false}},
	"/api/notifications":                       {{"GET", "/api/notifications", ``, true, 200, false}},
	"/api/auth/sessions":                       {{"GET", "/api/auth/sessions", ``, true, 200, false}},
	"/api/auth/sessions/{id}":                  {{"DELETE", "/api/auth/sessions/none", ``, true, 404, false}},
	"/api/apps":                                {{"GET", "/api/apps", ``, true, 200, false}},
	"/api/apps/{client}":                       {{"DELETE", "/api/apps/none", ``, true, 404, false}},
	"/api/keys":                                {{"GET", "/api/keys", ``, true, 200, false}, {"POST", "/api/keys", `{}`, true, 400, false}},
	"/api/keys/{id}":                           {{"DELETE", "/api/keys/none", ``, true, 404, false}},
	"/api/keys/{id}/rotate":                    {{"POST", "/api/keys/none/rotate", ``, true, 404, false}},
	"/api/admin/users":                         {{"GET", "/api/admin/users", ``, true, 200, false}, {"POST", "/api/admin/users", `{}`, true, 400, false}},
	"/api/admin/users/import":                  {{"POST", "/api/admin/users/import?format=x", `{}`, true, 400, false}},
	"/api/admin/users/{id}":                    {{"GET", "/api/admin/users/none", ``, true, 404, false}, {"PATCH", "/api/admin/users/none", `{"name":"Ada"}`, true, 404, false}, {"DELETE", "/api/admin/users/none", ``, true, 404, false}},
	"/api/admin/users/{id}/lock":               {{"POST", "/api/admin/users/none/lock", ``, true, 404, false}},
	"/api/admin/users/{id}/unlock":             {{"POST", "/api/admin/users/none/unlock", ``, true, 404, false}},
	"/api/admin/users/{id}/sign-out":           {{"POST", "/api/admin/users/none/sign-out", ``, true, 404, false}},
	"/api/admin/users/{id}/password-reset":     {{"POST", "/api/admin/users/none/password-reset", ``, true, 404, false}},
	"/api/admin/users/{id}/mfa":                {{"GET", "/api/admin/users/none/mfa", ``, true, 404, false}, {"DELETE", "/api/admin/users/none/mfa", ``, true, 404, false}},
	"/api/admin/users/{id}/mfa/totp":           {{"DELETE", "/api/admin/users/none/mfa/totp", ``, true, 404, false}},
	"/api/admin/users/{id}/passkeys":           {{"GET", "/api/admin/users/none/passkeys", ``, true, 404, false}},
	"/api/admin/users/{id}/passkeys/{passkey}": {{"DELETE", "/api/admin/users/none/passkeys/none", ``, true, 404, false}},
	"/api/admin/users/{id}/sessions":           {{"GET", "/api/admin/users/none/sessions", ``, true, 404, false}},
	"/api/admin/users/{id}/sessions/{session}": {{"DELETE", "/api/admin/users/none/sessions/none", ``, true, 404, false}},
	"/api/admin/users/{id}/keys":               {{"GET", "/api/admin/users/none/keys", ``, true, 404, false}},
	"/api/admin/users/{id}/keys/{key}":         {{"DELETE", "/api/admin/users/none/keys/none", ``, true, 404, false}},
	"/api/admin/users/{id}/groups":             {{"GET", "/api/admin/users/none/groups", ``, true, 404, false}, {"POST", "/api/admin/users/none/groups", `{"name":"ops"}`, true, 404, false}},
	"/api/admin/users/{id}/groups/{group}":     {{"DELETE", "/api/admin/users/none/groups/ops", ``, true, 404, false}},
	"/api/admin/users/{id}/require-factor":     {{"POST", "/api/admin/users/none/require-factor", `{"required":true}`, true, 404, false}},
	"/api/admin/groups/{group}/require-factor": {{"POST", "/api/admin/groups/ops/require-factor", `{"required":false}`, true, 200, false}},
	"/api/admin/groups":                        {{"GET", "/api/admin/groups", ``, true, 200, false}},
	"/api/admin/clients":                       {{"GET", "/api/admin/clients", ``, true, 200, false}, {"POST", "/api/admin/clients", `{"name":"N","auth":"x"}`, true, 400, false}},
	"/api/admin/clients/{id}":                  {{"GET", "/api/admin/clients/none", ``, true, 404, false}, {"PATCH", "/api/admin/clients/none", `{"name":"N"}`, true, 404, false}, {"DELETE", "/api/admin/clients/none", ``, true, 404, false}},
	"/api/admin/clients/{id}/disable":          {{"POST", "/api/admin/clients/none/disable", ``, true, 404, false}},
	"/api/admin/clients/{id}/enable":           {{"POST", "/api/admin/clients/none/enable", ``, true, 404, false}},
	"/api/admin/clients/{id}/secrets":          {{"POST", "/api/admin/clients/none/secrets", ``, true, 404, false}},
	"/api/admin/clients/{id}/secrets/{secret}": {{"DELETE", "/api/admin/clients/none/secrets/none", ``, true, 404, false}},
	"/api/admin/counts":                        {{"GET", "/api/admin/counts", ``, true, 200, false}},
	"/api/admin/signing-keys":                  {{"GET", "/api/admin/signing-keys", ``, true, 200, false}},
	"/api/admin/signing-keys/rotate":           {{"POST", "/api/admin/signing-keys/rotate", `{"x":1}`, true, 400, false}},
	"/api/admin/signing-keys/{kid}/retire":     {{"POST", "/api/admin/signing-keys/none/retire", ``, true, 404, false}},
	"/api/admin/events":                        {{"GET", "/api/admin/events", ``, true, 200, false}},
	"/api/admin/denials":                       {{"GET", "/api/admin/denials", ``, true, 200, false}},
	"/api/admin/denials/{id}":                  {{"GET", "/api/admin/denials/none", ``, true, 404, false}},
	"/api/admin/stats":                         {{"GET", "/api/admin/stats", ``, true, 200, false}},
	"/api/admin/settings":                      {{"GET", "/api/admin/settings", ``, true, 200, false}},
	"/.well-known/jwks.json":                   {{"GET", "/.well-known/jwks.json", ``, false, 200, true}},
	"/.well-known/openid-configuration":        {{"GET", "/.well-known/openid-configuration", ``, false, 200, true}},
	"/.well-known/oauth-authorization-server":  {{"GET", "/.well-known/oauth-authorization-server", ``, false, 200, true}},
	"/.well-known/oauth-protected-resource":    {{"GET", "/.well-known/oauth-protected-resource", ``, false, 200, true}},
	"/oauth/token":                             {{"POST", "/oauth/token", `{}`, false, 400, false}},
	"/oauth/revoke":                            {{"POST", "/oauth/revoke", `{}`, false, 400, false}},
	"/oauth/introspect":                        {{"POST", "/oauth/introspect", `{}`, false, 400, false}},
	"/oauth/userinfo":                          {{"GET", "/oauth/userinfo", ``, false, 401, false}, {"POST", "/oauth/userinfo", ``, false, 401, false}},
	"/api/revocations":                         {{"GET", "/api/revocations?after=0", ``, true, 200, false}},
	"/openapi.json":                            {{"GET", "/openapi.json", ``, false, 200, true}},
	"/durward.js":                              {{"GET", "/durward.js", ``, false, 200, true}},
	"/healthz":                                 {{"GET", "/healthz", ``, false, 200, false}},
	"/readyz":                                  {{"GET", "/readyz", ``, false, 200, false}},
	"/api/auth/passkeys/login/begin":           {{"POST", "/api/auth/passkeys/login/begin", ``, false, 404, false}},
	"/api/auth/passkeys/login/finish":          {{"POST", "/api/auth/passkeys/login/finish", `{}`, false, 400, false}},
	"/api/auth/passkeys/step-up/begin":         {{"POST", "/api/auth/passkeys/step-up/begin", ``, true, 404, false}},
	"/api/auth/passkeys":                       {{"GET", "/api/auth/passkeys", ``, true, 200, false}},
	"/api/auth/passkeys/begin":                 {{"POST", "/api/auth/passkeys/begin", ``, true, 404, false}},
	"/api/auth/passkeys/finish":                {{"POST", "/api/auth/passkeys/finish", `{}`, true, 400, false}},
	"/api/auth/passkeys/{id}":                  {{"PATCH", "/api/auth/passkeys/none", `{"name":"Phone"}`, true, 404, false}, {"DELETE", "/api/auth/passkeys/none", ``, true, 404, false}},
}

// justSignedIn lists the routes that require a recent sign-in.
var justSignedIn = map[string]bool{
	"POST /api/profile/email": true, "POST /api/keys": true, "DELETE /api/keys/{id}": true, "POST /api/keys/{id}/rotate": true,
	"POST /api/auth/mfa/totp": true, "DELETE /api/auth/mfa/totp": true, "POST /api/auth/mfa/totp/confirm": true, "POST /api/auth/mfa/recovery-codes": true,
	"POST /api/auth/passkeys/begin": true, "POST /api/auth/passkeys/finish": true,
	"PATCH /api/auth/passkeys/{id}": true, "DELETE /api/auth/passkeys/{id}": true,
}

// inSession lists the routes that require credentials with a session.
var inSession = map[string]bool{
	"POST /api/auth/step-up": true, "POST /api/auth/password/change": true,
	"POST /api/auth/passkeys/step-up/begin": true,
	"GET /api/apps":                         true, "DELETE /api/apps/{client}": true,
	"GET /api/auth/sessions": true, "DELETE /api/auth/sessions/{id}": true,
}

// withFactor lists the other routes that require the second factor of users who have one.
var withFactor = map[string]bool{"POST /api/auth/password/change": true}

// forPrograms lists the routes that require the scope revocations.
var forPrograms = map[string]bool{"GET /api/revocations": true}

// forAdmins reports whether a route requires the scope admin, and a recent sign-in for all methods but GET.
func forAdmins(pattern string) bool { return strings.HasPrefix(pattern, "/api/admin/") }

// withAdmin lists the kinds of credentials with the scope admin.
var withAdmin = map[string]bool{
	"token with other scopes": true, "valid token of an administrator": true, "key of an administrator": true, "key with another scope": true,
}

// inField marks a value for X-API-Key instead of Authorization.
const inField = "X-API-Key: "

const nameOfFeedKey = "key for revocations"

// routesOf reads patterns and methods from routes.go.
func routesOf(t *testing.T) map[string][]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "routes.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	routes := make(map[string][]string)
	text := func(e ast.Expr) string {
		l, ok := e.(*ast.BasicLit)
		if !ok {
			t.Fatalf("a pattern or method of routes.go is no literal: %v", e)
		}
		s, err := strconv.Unquote(l.Value)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) != 2 {
			return true
		}
		switch f := call.Fun.(type) {
		case *ast.Ident:
			if f.Name != "handle" {
				return true
			}
			methods, ok := call.Args[1].(*ast.CompositeLit)
			if !ok {
				return true // the pages, which package web tests
			}
			pattern := text(call.Args[0])
			for _, e := range methods.Elts {
				routes[pattern] = append(routes[pattern], text(e.(*ast.KeyValueExpr).Key))
			}
		case *ast.SelectorExpr:
			// The only other registrations are the helper itself and the catch-all.
			if f.Sel.Name == "Handle" || f.Sel.Name == "HandleFunc" {
				if l, ok := call.Args[0].(*ast.BasicLit); ok && l.Value != `"/"` {
					t.Errorf("routes.go registers %s beside handle", l.Value)
				}
			}
		}
		return true
	})
	return routes
}

// Every route with every kind of credentials: invalid ones are refused, and open routes work with
// any. A route that is missing from the table fails the test.
func TestEveryRoute(t *testing.T) {
	t.Parallel()
	table := make(map[string][]string)
	for pattern, list := range routeCases {
		for _, d := range list {
			table[pattern] = append(table[pattern], d.method)
		}
	}
	for pattern, methods := range routesOf(t) {
		if got := slices.Sorted(slices.Values(table[pattern])); !slices.Equal(got, slices.Sorted(slices.Values(methods))) {
			t.Errorf("%s takes %v in routes.go, the table of this test has %v", pattern, methods, got)
		}
		delete(table, pattern)
	}
	for pattern := range table {
		t.Errorf("%s is no route", pattern)
	}

	w := newEnv(t, settings{registration: true})
	ctx := context.Background()
	add := func(email string, admin bool) store.User {
		u, err := w.people.Add(ctx, account.NewUser{Email: email, Password: adaPassword, Admin: admin}, store.EventUserAdded, request.Info{Actor: "operator"})
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	root := add("root@example.com", true)
	bob := add("bob@example.com", false)
	signIn := func(email string) api.TokenResponse {
		return w.tokens(w.do("POST", "/api/auth/login", "", object{"email": email, "password": adaPassword}))
	}
	issue := func(scopes ...string) string {
		token, _, err := w.issuer.Issue(ctx, w.ada.ID, scopes, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}

	key := func(u store.User, n account.NewKey) string {
		_, key, err := w.people.CreateKey(ctx, &durward.Principal{Subject: u.ID, Scopes: account.ScopesOf(u)}, n, request.Info{Actor: "operator"})
		if err != nil {
			t.Fatal(err)
		}
		return key.Reveal()
	}
	keys := struct{ good, ended, revoked, locked, admins, roots, feed string }{
		feed: key(root, account.NewKey{Name: "feed", Scopes: []string{"revocations"}}),
		good: key(w.ada, account.NewKey{Name: "good"}), ended: key(w.ada, account.NewKey{Name: "ended", Life: time.Minute}),
		revoked: key(w.ada, account.NewKey{Name: "revoked"}), locked: key(bob, account.NewKey{Name: "of bob"}),
		admins: key(root, account.NewKey{Name: "another scope", Scopes: []string{"admin"}}), roots: key(root, account.NewKey{Name: "all", Scopes: []string{"admin", "profile"}}),
	}
	for _, k := range w.keysOf(w.ada) {
		if k.Name == "revoked" {
			if err := w.people.RevokeKey(ctx, w.ada.ID, k.ID, "", request.Info{Actor: "operator"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	expired := w.signIn().AccessToken
	w.clock.Advance(15 * time.Minute)
	var stale []string // one for each route, because signing out ends one
	for _, list := range routeCases {
		for range list {
			stale = append(stale, w.signIn().AccessToken)
		}
	}
	w.clock.Advance(recentSignIn + time.Second)
	revoked := w.signIn()
	var err error
	if r := w.do("POST", "/api/auth/logout", revoked.AccessToken, nil); r.StatusCode != 204 {
		t.Fatal(r.Status)
	}
	locked := signIn("bob@example.com").AccessToken
	if err := w.sessions.LockUser(ctx, bob.ID, request.Info{Actor: "operator"}); err != nil {
		t.Fatal(err)
	}
	// A user with a second factor, with sessions of before and after it, and a half-finished sign-in.
	grace := add("grace@example.com", false)
	proof := account.Proof{User: grace, ACR: "urn:durward:acr:1fa", Methods: []string{"pwd"}, At: w.clock.Now()}
	signInBy := func(p account.Proof) string {
		p.At = w.clock.Now()
		t, err := w.sessions.SignIn(ctx, p, nil, request.Info{})
		if err != nil {
			panic(err)
		}
		return t.Access
	}
	var before []string // one for each route, because signing out ends one
	for _, list := range routeCases {
		for range list {
			before = append(before, signInBy(proof))
		}
	}
	w.enrol("grace@example.com")
	proof.User, err = w.db.UserByID(ctx, grace.ID)
	if err != nil {
		t.Fatal(err)
	}
	half := w.half("grace@example.com")
	stranger := newEnv(t, settings{}).signIn().AccessToken // same issuer, other keys
	signed := w.signIn()
	cut := signed.AccessToken[:len(signed.AccessToken)-4] + "AAAA"

	kinds := []struct {
		name   string
		value  func() string // of Authorization; empty for none
		status int           // 0: accepted
		code   string
		later  string // code at routes that require a recent sign-in, if different
	}{
		{"no credentials", func() string { return "" }, 401, "AUTHENTICATION_REQUIRED", ""},
		{"garbage", func() string { return "Bearer garbage" }, 401, "INVALID_TOKEN", ""},
		{"signature changed", func() string { return "Bearer " + cut }, 401, "INVALID_TOKEN", ""},
		{"token of another server", func() string { return "Bearer " + stranger }, 401, "INVALID_TOKEN", ""},
		{"refresh token", func() string { return "Bearer " + signed.RefreshToken }, 401, "INVALID_TOKEN", ""},
		{"expired", func() string { return "Bearer " + expired }, 401, "TOKEN_EXPIRED", ""},
		{"revoked", func() string { return "Bearer " + revoked.AccessToken }, 401, "TOKEN_REVOKED", ""},
		{"token of a locked user", func() string { return "Bearer " + locked }, 401, "TOKEN_REVOKED", ""},
		{"Basic", func() string { return "Basic YWRhOmFkYQ==" }, 401, "UNSUPPORTED_SCHEME", ""},
		{"token without a scheme", func() string { return signed.AccessToken }, 401, "MALFORMED_CREDENTIALS", ""},
		{"two tokens", func() string { return "Bearer a, Bearer b" }, 400, "AMBIGUOUS_CREDENTIALS", ""},
		{"token without scope", func() string { return "Bearer " + issue() }, 403, "INSUFFICIENT_SCOPE", "FORBIDDEN"},
		{"token with other scopes", func() string { return "Bearer " + issue("admin", "profiles", "PROFILE") }, 403, "INSUFFICIENT_SCOPE", "FORBIDDEN"},
		{"sign-in 5 minutes ago", func() string { token := stale[0]; stale = stale[1:]; return "Bearer " + token }, 0, "", "STEP_UP_REQUIRED"},
		{"mfa_token", func() string { return "Bearer " + half }, 401, "INVALID_TOKEN", ""},
		{"of a user with a second factor, without it", func() string { token := before[0]; before = before[1:]; return "Bearer " + token }, 0, "", "STEP_UP_REQUIRED"},
		{"of a user with a second factor, with it", func() string {
			p := proof
			p.ACR, p.Methods = "urn:durward:acr:2fa", []string{"mfa", "otp", "pwd"}
			return "Bearer " + signInBy(p)
		}, 0, "", ""},
		{"valid token", func() string { return "Bearer " + w.signIn().AccessToken }, 0, "", ""},
		{"valid token of an administrator", func() string { return "Bearer " + signIn("root@example.com").AccessToken }, 0, "", ""},
	}
	for _, k := range []struct {
		name, key   string
		status      int
		code, later string
	}{
		{"key", keys.good, 0, "", "FORBIDDEN"},
		{"key of an administrator", keys.roots, 0, "", "FORBIDDEN"},
		{"key with another scope", keys.admins, 403, "INSUFFICIENT_SCOPE", "FORBIDDEN"},
		{nameOfFeedKey, keys.feed, 403, "INSUFFICIENT_SCOPE", "FORBIDDEN"},
		{"expired key", keys.ended, 401, "INVALID_API_KEY", ""},
		{"revoked key", keys.revoked, 401, "INVALID_API_KEY", ""},
		{"key of a locked user", keys.locked, 401, "INVALID_API_KEY", ""},
		{"parts of two keys", keys.good[:30] + keys.roots[30:], 401, "INVALID_API_KEY", ""},
	} {
		for _, how := range []string{"Bearer ", inField} {
			kind := kinds[0]
			kind.name, kind.value = k.name+" "+how, func() string { return how + k.key }
			kind.status, kind.code, kind.later = k.status, k.code, k.later
			kinds = append(kinds, kind)
		}
	}
	for _, pattern := range slices.Sorted(maps.Keys(routeCases)) {
		for _, d := range routeCases[pattern] {
			for _, kind := range kinds {
				if forAdmins(pattern) {
					name := strings.TrimSuffix(strings.TrimSuffix(kind.name, " Bearer "), " "+inField)
					if strings.HasPrefix(name, "of a user") { // who lacks the scope, too
						kind.later = ""
					}
					if withAdmin[name] {
						kind.status, kind.code = 0, ""
					} else if kind.status == 0 {
						kind.status, kind.code = 403, "INSUFFICIENT_SCOPE"
					}
				}
				if (justSignedIn[d.method+" "+pattern] || forAdmins(pattern) && d.method != "GET") && kind.later != "" {
					kind.status, kind.code = durward.Code(kind.later).Status(), kind.later
				}
				if inSession[d.method+" "+pattern] && kind.status == 0 && strings.HasPrefix(kind.name, "key") {
					kind.status, kind.code = 403, "FORBIDDEN"
				}
				if forPrograms[d.method+" "+pattern] {
					switch {
					case strings.HasPrefix(kind.name, nameOfFeedKey):
						kind.status, kind.code = 0, ""
					case kind.status == 0:
						kind.status, kind.code = 403, "INSUFFICIENT_SCOPE"
					}
				}
				if withFactor[d.method+" "+pattern] && kind.later == "STEP_UP_REQUIRED" && strings.HasPrefix(kind.name, "of a user") {
					kind.status, kind.code = 401, kind.later
				}
				if strings.HasPrefix(kind.name, "of a user") && d.method == "DELETE" && pattern == "/api/auth/mfa/totp" && kind.status == 0 {
					continue // it would remove the factor; TestRemoveTOTP does
				}
				t.Run(d.method+" "+pattern+" "+kind.name, func(t *testing.T) {
					w := w.in(t)
					r, err := http.NewRequest(d.method, w.url+d.path, strings.NewReader(d.body))
					if err != nil {
						t.Fatal(err)
					}
					if d.body != "" {
						r.Header.Set("Content-Type", "application/json")
					}
					r.Header.Set("Origin", "https://api.example.com.evil.example")
					key, isKey := strings.CutPrefix(kind.value(), inField)
					if isKey {
						r.Header.Set("X-API-Key", key)
					} else if key != "" {
						r.Header.Set("Authorization", key)
					}
					got := w.send(r)
					// Userinfo accepts tokens of applications alone, which are none of these.
					ambiguous := kind.code == "AMBIGUOUS_CREDENTIALS" && (d.guarded || pattern == "/oauth/userinfo")
					switch {
					case ambiguous:
						w.refused(got, 400, kind.code)
					case d.guarded && kind.status != 0:
						w.refused(got, kind.status, kind.code)
					case got.StatusCode != d.status:
						t.Errorf("got %s %s, want %d", got.Status, got.body, d.status)
					}
					// RFC 9110 s15.5.2: every 401 has a challenge. A 403 has one for a missing
					// scope only.
					if challenge := got.Header.Get("WWW-Authenticate"); (challenge != "") != (got.StatusCode == 401 || kind.code == "INSUFFICIENT_SCOPE" && d.guarded && !isKey || got.StatusCode == 400 && ambiguous) {
						t.Errorf("%s with the challenge %q", got.Status, challenge)
					}
					// Pages of other origins can read nothing but the browser module, the public keys and
					// where they are, and the endpoints of OAuth, and never with credentials.
					if origin := got.Header.Get("Access-Control-Allow-Origin"); origin != "" && !(origin == "*" && (pattern == "/durward.js" || strings.HasPrefix(pattern, "/.well-known/") || openPaths[pattern])) || got.Header.Get("Access-Control-Allow-Credentials") != "" {
						t.Errorf("a foreign origin is allowed: %v", got.Header)
					}
					if cache := got.Header.Get("Cache-Control"); d.public && !strings.HasPrefix(cache, "public, ") || !d.public && cache != "no-store" {
						t.Errorf("Cache-Control: %s", cache)
					}
					if d.guarded && !strings.Contains(strings.Join(got.Header.Values("Vary"), ","), "Authorization") {
						t.Errorf("Vary: %v", got.Header.Values("Vary"))
					}
					if got.Header.Get("X-Content-Type-Options") != "nosniff" && len(got.body) > 0 {
						t.Errorf("no nosniff: %v", got.Header)
					}
				})
			}
		}
	}
	w.tokens(w.refreshWith(signed.RefreshToken)) // the session is unharmed
}

// A token gives access to the account of its user only, also if the request names another one.
func TestOwnAccountOnly(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{registration: true})
	for n := range 3 {
		email := fmt.Sprintf("person%d@example.com", n)
		if r := w.do("POST", "/api/auth/register", "", object{"email": email, "password": adaPassword}); r.StatusCode != 201 {
			t.Fatalf("%s %s", r.Status, r.body)
		}
		s := w.tokens(w.do("POST", "/api/auth/login", "", object{"email": email, "password": adaPassword}))
		for _, query := range []string{"", "?id=" + w.ada.ID, "?user=" + w.ada.ID + "&sub=" + w.ada.ID, "?email=" + adaEmail} {
			var me profile
			if r := w.do("GET", "/api/profile"+query, s.AccessToken, nil); json.Unmarshal(r.body, &me) != nil || me.Email != email {
				t.Errorf("%s: profile of %s: %s", query, email, r.body)
			}
			var page list[sessionItem]
			if r := w.do("GET", "/api/auth/sessions"+query, s.AccessToken, nil); json.Unmarshal(r.body, &page) != nil || len(page.Items) != 1 {
				t.Errorf("%s: sessions of %s: %s", query, email, r.body)
			}
		}
	}
}

// Members that would give a client more rights are unknown members.
func TestMembersTooMany(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{registration: true})
	s := w.signIn()
	for _, member := range []string{"admin", "role", "id", "scopes", "scope", "email_verified", "locked", "created_at", "user_id", "session_id"} {
		for _, value := range []any{true, "admin", w.ada.ID} {
			w.refused(w.do("POST", "/api/auth/register", "", object{"email": "eve@example.com", "password": adaPassword, member: value}), 400, "INVALID_REQUEST")
			w.refused(w.do("PATCH", "/api/profile", s.AccessToken, object{"name": "Eve", member: value}), 400, "INVALID_REQUEST")
			w.refused(w.do("POST", "/api/auth/login", "", object{"email": adaEmail, "password": adaPassword, member: value}), 400, "INVALID_REQUEST")
			w.refused(w.do("POST", "/api/auth/refresh", "", object{"refresh_token": s.RefreshToken, member: value}), 400, "INVALID_REQUEST")
		}
	}
	w.refused(w.do("PATCH", "/api/profile", s.AccessToken, object{"name": "Eve", "email": "eve@example.com"}), 400, "INVALID_REQUEST")
	var me profile
	if r := w.do("GET", "/api/profile", s.AccessToken, nil); json.Unmarshal(r.body, &me) != nil || me.Name != "Ada" || !slices.Equal(me.Scopes, []string{"profile"}) {
		t.Errorf("profile after all that: %s", r.body)
	}
}

// The key set contains what verifiers need, and nothing else.
func TestKeySetIsPublic(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	r := w.do("GET", "/.well-known/jwks.json", "", nil)
	if got := r.Header.Get("Content-Type"); got != "application/jwk-set+json" {
		t.Errorf("Content-Type: %s", got)
	}
	if got := r.Header.Get("Cache-Control"); !strings.Contains(got, "max-age=") || r.Header.Get("ETag") == "" {
		t.Errorf("how long it may be kept: %s, ETag %s", got, r.Header.Get("ETag"))
	}
	var set struct{ Keys []map[string]any }
	if err := json.Unmarshal(r.body, &set); err != nil || len(set.Keys) < 2 {
		t.Fatalf("%v, %d keys, want the signing one and a spare: %s", err, len(set.Keys), r.body)
	}
	public := []string{"alg", "crv", "kid", "kty", "use", "x", "y"}
	for _, key := range set.Keys {
		if got := slices.Sorted(maps.Keys(key)); !slices.Equal(got, public) {
			t.Errorf("members of a key: %v, want %v", got, public)
		}
	}
	again, err := http.NewRequest("GET", w.url+"/.well-known/jwks.json", nil)
	if err != nil {
		t.Fatal(err)
	}
	again.Header.Set("If-None-Match", r.Header.Get("ETag"))
	if got := w.send(again); got.StatusCode != 304 || len(got.body) > 0 {
		t.Errorf("asked again: %s", got.Status)
	}
}

// Debug endpoints do not exist, and no request switches them on.
func TestNothingElseIsServed(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	token := w.signIn().AccessToken
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/vars", "/metrics", "/debug", "/.git/config", "/.env", "/durward.db", "/master.key",
		"/api/admin", "/api/admin/", "/static/", "/templates/error.html", "/openapi.yaml"} {
		for _, method := range []string{"GET", "POST"} {
			w.refused(w.do(method, path, token, nil), 404, "NOT_FOUND")
		}
	}
	for path := range routeCases {
		if strings.Contains(path, "{") || strings.HasSuffix(path, "/") {
			continue
		}
		for _, more := range []string{"/x.css", "/", "x", ".json", "/a.js"} {
			// Below a list stands one of its items, which is a path of its own.
			item := func(lists ...string) bool {
				return slices.ContainsFunc(lists, func(list string) bool { return strings.HasPrefix(path+more, list) })
			}
			switch got := w.do("GET", path+more, token, nil); {
			case got.StatusCode == 404:
			case got.StatusCode == 405 && item("/api/auth/sessions/", "/api/auth/passkeys/", "/api/keys/", "/api/apps/"):
			case got.StatusCode == 403 && item("/api/admin/users/", "/api/admin/clients/", "/api/admin/denials/"):
			default:
				t.Errorf("%s: %s", path+more, got.Status)
			}
		}
		for _, method := range []string{"TRACE", "PROPFIND", "PUT"} {
			if got := w.do(method, path, token, nil); got.StatusCode != 405 || got.Header.Get("Allow") == "" {
				t.Errorf("%s %s: %s", method, path, got.Status)
			}
		}
	}
}

// Every route with a session cookie: a valid one works like a token, an ended one opens nothing,
// and requests from pages of other origins change nothing.
func TestEveryRouteByCookie(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{registration: true})
	ctx := context.Background()
	bob, err := w.people.Add(ctx, account.NewUser{Email: "bob@example.com", Password: adaPassword}, store.EventUserAdded, request.Info{Actor: "operator"})
	if err != nil {
		t.Fatal(err)
	}
	idle := w.cookieOf(adaEmail)
	w.clock.Advance(31 * time.Minute)
	locked := w.cookieOf("bob@example.com")
	if err := w.sessions.LockUser(ctx, bob.ID, request.Info{Actor: "operator"}); err != nil {
		t.Fatal(err)
	}
	out := w.cookieOf(adaEmail)
	if r := w.byCookie("POST", "/api/auth/logout", out, nil); r.StatusCode != 204 {
		t.Fatal(r.Status)
	}
	stranger := newEnv(t, settings{}).cookieOf(adaEmail)
	var stale []string // valid, signed in ten minutes ago: one for each route, because a sign-out ends one
	for _, list := range routeCases {
		for range list {
			stale = append(stale, sessionCookie+"="+w.cookieOf(adaEmail))
		}
	}
	w.clock.Advance(10 * time.Minute)
	good := func() string { return sessionCookie + "=" + w.cookieOf(adaEmail) }
	plain := func(value string) func() string { return func() string { return value } }
	const own = "http://127.0.0.1:8401"
	always := []string{"GET", "POST", "PATCH", "DELETE"}
	changing := always[1:]
	for _, kind := range []struct {
		name   string
		cookie func() string
		fields map[string]string
		status int // 0: accepted
		code   string
		at     []string // methods that refuse it
		clears bool
		fresh  bool // accepted at routes that require a recent sign-in
	}{
		{"good", good, nil, 0, "", nil, false, true},
		{"good, from a page of this origin", good, map[string]string{"Origin": own}, 0, "", nil, false, true},
		{"valid, from a page of this origin, with Sec-Fetch-Site", good, map[string]string{"Origin": own, "Sec-Fetch-Site": "same-origin"}, 0, "", nil, false, true},
		{"valid, sign-in 10 minutes ago", func() string { cookie := stale[0]; stale = stale[1:]; return cookie }, nil, 0, "", nil, false, false},
		{"valid, from a page of another site", good, map[string]string{"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}, 403, "CROSS_SITE", changing, false, true},
		{"valid, from a page of another site, without Sec-Fetch-Site", good, map[string]string{"Origin": own + ".evil.example"}, 403, "CROSS_SITE", changing, false, true},
		{"valid, from a page with the origin null", good, map[string]string{"Origin": "null"}, 403, "CROSS_SITE", changing, false, true},
		{"valid, from a sibling domain", good, map[string]string{"Sec-Fetch-Site": "same-site"}, 403, "CROSS_SITE", changing, false, true},
		{"valid, two origins in one field", good, map[string]string{"Origin": own + ", https://evil.example"}, 403, "CROSS_SITE", changing, false, true},
		{"valid, with an invalid token", good, map[string]string{"Authorization": "Bearer x"}, 401, "INVALID_TOKEN", always, false, true},
		{"valid, with an invalid key", good, map[string]string{"X-API-Key": "dk_x"}, 401, "INVALID_API_KEY", always, false, true},
		{"ended, with a valid token", plain(sessionCookie + "=" + out), map[string]string{"Authorization": ""}, 0, "", nil, false, true},
		{"signed out", plain(sessionCookie + "=" + out), nil, 401, "SESSION_EXPIRED", always, true, true},
		{"idle too long", plain(sessionCookie + "=" + idle), nil, 401, "SESSION_EXPIRED", always, true, true},
		{"of a locked user", plain(sessionCookie + "=" + locked), nil, 401, "SESSION_EXPIRED", always, true, true},
		{"of another server", plain(sessionCookie + "=" + stranger), nil, 401, "SESSION_EXPIRED", always, true, true},
		{"made up by the client", plain(sessionCookie + "=" + strings.Repeat("A", 43)), nil, 401, "SESSION_EXPIRED", always, true, true},
		{"malformed", plain(sessionCookie + "=x"), nil, 401, "SESSION_EXPIRED", always, true, true},
		{"empty", plain(sessionCookie + "="), nil, 401, "SESSION_EXPIRED", always, true, true},
		{"two cookies, one valid", func() string { return good() + "; " + sessionCookie + "=" + out }, nil, 401, "SESSION_EXPIRED", always, true, true},
		{"another spelling of the name", func() string { return strings.ToLower(good()) }, nil, 401, "AUTHENTICATION_REQUIRED", always, false, true},
		{"another name", func() string { return strings.TrimPrefix(good(), "__Host-") }, nil, 401, "AUTHENTICATION_REQUIRED", always, false, true},
	} {
		for _, pattern := range slices.Sorted(maps.Keys(routeCases)) {
			for _, d := range routeCases[pattern] {
				t.Run(d.method+" "+pattern+" "+kind.name, func(t *testing.T) {
					w := w.in(t)
					r, err := http.NewRequest(d.method, w.url+d.path, strings.NewReader(d.body))
					if err != nil {
						t.Fatal(err)
					}
					if d.body != "" {
						r.Header.Set("Content-Type", "application/json")
					}
					for name, value := range kind.fields {
						if name == "Authorization" && value == "" {
							value = "Bearer " + w.signIn().AccessToken
						}
						r.Header.Set(name, value)
					}
					r.Header.Set("Cookie", kind.cookie())
					got := w.send(r)
					refused := d.guarded && slices.Contains(kind.at, d.method)
					byToken := strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ")
					want := d.status
					if pattern == "/api/auth/token" && !byToken {
						want = 200 // tokens are refused here
					}
					switch {
					case refused:
						w.refused(got, kind.status, kind.code)
					case pattern == "/api/auth/logout" && kind.code == "CROSS_SITE":
						w.refused(got, 403, "CROSS_SITE")
					case (justSignedIn[d.method+" "+pattern] || forAdmins(pattern) && d.method != "GET") && !kind.fresh:
						w.refused(got, 401, "STEP_UP_REQUIRED")
					case forPrograms[d.method+" "+pattern] || forAdmins(pattern):
						w.refused(got, 403, "INSUFFICIENT_SCOPE")
					case got.StatusCode != want:
						t.Errorf("got %s %s, want %d", got.Status, got.body, want)
					}
					// An ended cookie is cleared, and the sign-out clears any. Nothing else is set.
					clears := kind.clears && refused || pattern == "/api/auth/logout" && strings.HasPrefix(r.Header.Get("Cookie"), sessionCookie) && kind.code != "CROSS_SITE" && !byToken
					if set := strings.Join(got.Header["Set-Cookie"], "|"); clears != (set == sessionCookie+"=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax") || !clears && set != "" {
						t.Errorf("Set-Cookie: %q, want it cleared: %v", set, clears)
					}
					if got.Header.Get("Access-Control-Allow-Credentials") != "" {
						t.Errorf("a foreign origin is allowed: %v", got.Header)
					}
					if cache := got.Header.Get("Cache-Control"); !d.public && cache != "no-store" {
						t.Errorf("Cache-Control: %s", cache)
					}
					if d.guarded && !strings.Contains(strings.Join(got.Header.Values("Vary"), ","), "Cookie") {
						t.Errorf("Vary: %v", got.Header.Values("Vary"))
					}
				})
			}
		}
	}
}

// classOf returns the column of a route in the table of TestEveryRouteByRole.
func classOf(method, pattern string, guarded bool) string {
	endpoint := method + " " + pattern
	switch {
	case !guarded:
		return "open"
	case forPrograms[endpoint]:
		return "program"
	case forAdmins(pattern) && method == "GET":
		return "admin read"
	case forAdmins(pattern):
		return "admin change"
	case justSignedIn[endpoint]:
		return "fresh"
	case withFactor[endpoint]:
		return "factor"
	case inSession[endpoint]:
		return "session"
	}
	return "own"
}

// Every route for every role, with the default settings: a half-finished sign-in opens nothing, and
// administration is for administrators who signed in with a second factor.
func TestEveryRouteByRole(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{registration: true, adminFactor: true})
	ctx := t.Context()
	add := func(email string, admin bool) store.User {
		u, err := w.people.Add(ctx, account.NewUser{Email: email, Password: adaPassword, Admin: admin}, store.EventUserAdded, request.Info{Actor: store.Operator})
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	withFactor := func(email string, admin bool) store.User {
		u := add(email, admin)
		w.enrol(email)
		u, err := w.db.UserByID(ctx, u.ID)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	weakAdmin, weakRole := add("weak@example.com", true), w.ada
	grace, root := withFactor("grace@example.com", false), withFactor("root@example.com", true)
	signIn := func(u store.User, methods string, ago time.Duration) func() string {
		p := account.Proof{User: u, ACR: "urn:durward:acr:1fa", Methods: strings.Fields(methods)}
		if len(p.Methods) > 1 {
			p.ACR = twoFactor
		}
		return func() string {
			p.At = w.clock.Now().Add(-ago)
			t, err := w.sessions.SignIn(ctx, p, nil, request.Info{})
			if err != nil {
				panic(err)
			}
			return "Bearer " + t.Access
		}
	}
	key := func(u store.User, scopes ...string) func() string {
		_, key, err := w.people.CreateKey(ctx, &durward.Principal{Subject: u.ID, Scopes: account.ScopesOf(u)}, account.NewKey{Name: "key", Scopes: scopes}, request.Info{})
		if err != nil {
			t.Fatal(err)
		}
		return func() string { return "Bearer " + key.Reveal() }
	}
	half := w.half("grace@example.com")
	const (
		anonymous = "AUTHENTICATION_REQUIRED"
		invalid   = "INVALID_TOKEN"
		stepUp    = "STEP_UP_REQUIRED"
		enrol     = "ENROLMENT_REQUIRED"
		scope     = "INSUFFICIENT_SCOPE"
		forbidden = "FORBIDDEN"
		ok        = ""
	)
	classes := []string{"own", "session", "factor", "fresh", "program", "admin read", "admin change"}
	for _, role := range []struct {
		name  string
		value func() string // of Authorization
		codes []string      // by class
	}{
		{"anonymous", func() string { return "" }, []string{anonymous, anonymous, anonymous, anonymous, anonymous, anonymous, anonymous}},
		{"half-finished sign-in", func() string { return "Bearer " + half }, []string{invalid, invalid, invalid, invalid, invalid, invalid, invalid}},
		{"user", signIn(weakRole, "pwd", 0), []string{ok, ok, ok, ok, scope, scope, enrol}},
		{"user with a second factor", signIn(grace, "mfa otp pwd", 0), []string{ok, ok, ok, ok, scope, scope, scope}},
		{"user with a second factor, without it", signIn(grace, "pwd", 0), []string{ok, ok, stepUp, stepUp, scope, scope, stepUp}},
		{"administrator without a second factor", signIn(weakAdmin, "pwd", 0), []string{ok, ok, ok, ok, scope, enrol, enrol}},
		{"administrator, without the second factor", signIn(root, "pwd", 0), []string{ok, ok, stepUp, stepUp, scope, stepUp, stepUp}},
		{"administrator, 10 minutes ago", signIn(root, "mfa otp pwd", 10*time.Minute), []string{ok, ok, ok, stepUp, scope, ok, stepUp}},
		{"administrator", signIn(root, "mfa otp pwd", 0), []string{ok, ok, ok, ok, scope, ok, ok}},
		{"key of a user", key(w.ada), []string{ok, forbidden, forbidden, forbidden, scope, scope, forbidden}},
		{"key with the scope admin", key(root, "admin", "profile"), []string{ok, forbidden, forbidden, forbidden, scope, ok, forbidden}},
	} {
		for _, pattern := range slices.Sorted(maps.Keys(routeCases)) {
			for _, d := range routeCases[pattern] {
				class := classOf(d.method, pattern, d.guarded)
				code := ok
				if i := slices.Index(classes, class); i >= 0 {
					code = role.codes[i]
				}
				if d.method == "DELETE" && pattern == "/api/auth/mfa/totp" && code == ok {
					continue // it would remove the factor; TestRemoveTOTP does
				}
				r, err := http.NewRequest(d.method, w.url+d.path, strings.NewReader(d.body))
				if err != nil {
					t.Fatal(err)
				}
				if d.body != "" {
					r.Header.Set("Content-Type", "application/json")
				}
				if value := role.value(); value != "" {
					r.Header.Set("Authorization", value)
				}
				got := w.send(r)
				want := d.status
				if code != ok {
					want = durward.Code(code).Status()
				}
				var problem struct{ Code string }
				if _ = json.Unmarshal(got.body, &problem); got.StatusCode != want || code != ok && problem.Code != code {
					t.Errorf("%s %s (%s) by %s: got %s %s, want %d %s", d.method, pattern, class, role.name, got.Status, problem.Code, want, code)
				}
			}
		}
	}
}
