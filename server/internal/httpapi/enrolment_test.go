package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/jwt"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

// requireFactor requires a second factor of ada.
func (w *env) requireFactor() {
	w.t.Helper()
	if err := w.people.RequireFactor(context.Background(), w.ada.ID, true, request.Info{Actor: store.Operator}); err != nil {
		w.t.Fatal(err)
	}
}

// enrolmentToken returns the token in the refusal of a user who owes a second factor.
func (w *env) enrolmentToken(r reply) string {
	w.t.Helper()
	p := w.refused(r, 403, "ENROLMENT_REQUIRED")
	token, _ := p["enrolment_token"].(string)
	if strings.Count(token, ".") != 2 || p["access_token"] != nil || p["refresh_token"] != nil {
		w.t.Fatalf("enrolment token: %v", p)
	}
	return token
}

// confirmed sets up an authenticator app by a token and returns the response to the right code.
func (w *env) confirmed(token string) reply {
	w.t.Helper()
	var e api.TOTPEnrolment
	if r := w.do("POST", "/api/auth/mfa/totp", token, nil); r.StatusCode != 201 || json.Unmarshal(r.body, &e) != nil {
		w.t.Fatalf("seed: %s %s", r.Status, r.body)
	}
	return w.do("POST", "/api/auth/mfa/totp/confirm", token, object{"code": w.code(e.Secret)})
}

// cookieOfRefusal returns the value of the session cookie that a refusal sets.
func cookieOfRefusal(r reply) string {
	for _, c := range r.Cookies() {
		if c.Name == sessionCookie {
			return c.Value
		}
	}
	return ""
}

// ordinary lists routes of users that set up no second factor.
var ordinary = []struct{ method, path string }{
	{"GET", "/api/profile"}, {"PATCH", "/api/profile"}, {"POST", "/api/profile/email"}, {"GET", "/api/notifications"},
	{"GET", "/api/auth/sessions"}, {"DELETE", "/api/auth/sessions/none"}, {"POST", "/api/auth/token"}, {"POST", "/api/auth/password/change"},
	{"DELETE", "/api/auth/mfa/totp"}, {"POST", "/api/auth/mfa/recovery-codes"}, {"GET", "/api/auth/passkeys"},
	{"PATCH", "/api/auth/passkeys/none"}, {"DELETE", "/api/auth/passkeys/none"},
	{"GET", "/api/keys"}, {"POST", "/api/keys"}, {"DELETE", "/api/keys/none"}, {"POST", "/api/keys/none/rotate"},
	{"GET", "/api/admin/users"}, {"GET", "/api/revocations"},
}

// The password of a user who owes a second factor gives a token that sets one up and opens nothing else. The
// session then continues with ordinary tokens.
func TestOwedFactorAtSignIn(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	w.requireFactor()
	token := w.enrolmentToken(w.password(adaEmail))
	for _, to := range ordinary {
		w.refused(w.do(to.method, to.path, token, nil), 403, "ENROLMENT_REQUIRED")
	}
	guarded := w.applicationRoute()
	guarded.refused(guarded.do("GET", "/", token, nil), 403, "ENROLMENT_REQUIRED")
	if r := w.do("GET", "/api/auth/mfa", token, nil); r.StatusCode != 200 {
		t.Errorf("factors: %s %s", r.Status, r.body)
	}
	limited, err := w.issuer.Verifier().VerifyEnded(t.Context(), token)
	if err != nil || limited.SessionID == "" || strings.Join(limited.Scopes, " ") != "profile urn:durward:enrolment" {
		t.Errorf("claims: %+v, %v", limited, err)
	}
	full := w.tokens(w.confirmed(token))
	w.strength("after the enrolment", full.AccessToken, twoFactor, "mfa otp pwd", w.clock.Now())
	if got := w.claims(full.AccessToken).SessionID; got != limited.SessionID {
		t.Errorf("session: %s, want that of the sign-in, %s", got, limited.SessionID)
	}
	w.works(full.AccessToken)
	w.works(w.tokens(w.refreshWith(full.RefreshToken)).AccessToken)
	w.refused(w.do("GET", "/api/profile", token, nil), 403, "ENROLMENT_REQUIRED")
	w.half(adaEmail)
}

// applicationRoute returns w for a route of a program that runs the server, with the guard of Application.
func (w *env) applicationRoute() *env {
	w.t.Helper()
	guard, err := w.server.Application(w.server.c.PublicURL)
	if err != nil {
		w.t.Fatal(err)
	}
	listener := httptest.NewServer(w.server.Tagged(guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html") // as the document describes /
	}))))
	w.t.Cleanup(listener.Close)
	there := *w
	there.url = listener.URL
	return &there
}

// No other service accepts an enrolment token.
func TestEnrolmentTokenElsewhere(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	w.requireFactor()
	token := w.enrolmentToken(w.password(adaEmail))
	published, err := jwt.ParseKeySet(w.issuer.JWKS())
	if err != nil {
		t.Fatal(err)
	}
	keys, err := jwt.NewKeys(published...)
	if err != nil {
		t.Fatal(err)
	}
	other, err := jwt.New(jwt.Config{Issuer: w.issuer.URL(), Audience: []string{w.issuer.URL()}, Keys: keys, Now: w.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Verify(t.Context(), token); !errors.Is(err, durward.InvalidToken) || !strings.Contains(err.Error(), "aud") {
		t.Errorf("got %v, want a refusal of aud", err)
	}
	if _, err := other.Verify(t.Context(), w.tokens(w.confirmed(token)).AccessToken); err != nil {
		t.Errorf("the next token: %v", err)
	}
}

// A session that is alive when the requirement begins is not signed out: a refresh says what is missing, changes
// nothing, and works again afterwards.
func TestOwedFactorAtRefresh(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	old := w.signIn()
	w.requireFactor()
	w.clock.Advance(10 * time.Minute)
	w.enrolmentToken(w.refreshWith(old.RefreshToken))
	token := w.enrolmentToken(w.refreshWith(old.RefreshToken)) // the refresh token stays
	// The sign-in is too old to add a factor, so the password comes first.
	w.refused(w.do("POST", "/api/auth/mfa/totp", token, nil), 401, "STEP_UP_REQUIRED")
	fresh := w.enrolmentToken(w.do("POST", "/api/auth/step-up", token, object{"password": adaPassword}))
	full := w.tokens(w.confirmed(fresh))
	if full.RefreshToken != old.RefreshToken {
		t.Error("the refresh token is another one")
	}
	w.works(w.tokens(w.refreshWith(old.RefreshToken)).AccessToken)
	if ended := w.events(store.EventSessionEnded); len(ended) > 0 {
		t.Errorf("sessions ended: %+v", ended)
	}
}

// A requirement that ends lets the session continue without a factor.
func TestFactorNoLongerRequired(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	old, cookie := w.signIn(), w.cookieOf(adaEmail)
	w.requireFactor()
	w.enrolmentToken(w.refreshWith(old.RefreshToken))
	w.refused(w.byCookie("GET", "/api/profile", cookie, nil), 403, "ENROLMENT_REQUIRED")
	if err := w.people.RequireFactor(t.Context(), w.ada.ID, false, request.Info{Actor: store.Operator}); err != nil {
		t.Fatal(err)
	}
	w.works(w.tokens(w.refreshWith(old.RefreshToken)).AccessToken)
	w.cookieWorks(cookie)
}

// A superseded refresh token of a user who owes a factor gives no enrolment token, and a stolen one ends the
// session all the same.
func TestOwedFactorAndTheft(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	first := w.signIn()
	second := w.tokens(w.refreshWith(first.RefreshToken))
	w.requireFactor()
	if p := w.refused(w.refreshWith(first.RefreshToken), 403, "ENROLMENT_REQUIRED"); p["enrolment_token"] != nil {
		t.Error("within the grace: got an enrolment token")
	}
	w.enrolmentToken(w.refreshWith(second.RefreshToken))
	for range 2 {
		if err := w.people.RequireFactor(t.Context(), w.ada.ID, false, request.Info{Actor: store.Operator}); err != nil {
			t.Fatal(err)
		}
		second = w.tokens(w.refreshWith(second.RefreshToken))
	}
	w.requireFactor()
	w.clock.Advance(time.Minute)
	w.refused(w.refreshWith(first.RefreshToken), 401, "SESSION_REVOKED")
	w.refused(w.refreshWith(second.RefreshToken), 401, "SESSION_REVOKED")
}

// The cookie of a user who owes a second factor sets one up and opens nothing else. It goes on afterwards.
func TestOwedFactorByCookie(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	old := w.cookieOf(adaEmail)
	w.requireFactor()
	r := w.do("POST", "/api/auth/login", "", object{"email": adaEmail, "password": adaPassword, "use_cookies": true})
	if p := w.refused(r, 403, "ENROLMENT_REQUIRED"); p["enrolment_token"] != nil {
		t.Error("a script could steal the enrolment token")
	}
	cookie := cookieOfRefusal(r)
	guarded := w.applicationRoute()
	for _, value := range []string{old, cookie} {
		for _, to := range ordinary {
			if to.path != "/api/admin/users" && to.path != "/api/revocations" {
				w.refused(w.byCookie(to.method, to.path, value, nil), 403, "ENROLMENT_REQUIRED")
			}
		}
		guarded.refused(guarded.byCookie("GET", "/", value, nil), 403, "ENROLMENT_REQUIRED")
	}
	var e api.TOTPEnrolment
	if r := w.byCookie("POST", "/api/auth/mfa/totp", cookie, nil); r.StatusCode != 201 || json.Unmarshal(r.body, &e) != nil {
		t.Fatalf("seed: %s %s", r.Status, r.body)
	}
	r = w.byCookie("POST", "/api/auth/mfa/totp/confirm", cookie, object{"code": w.code(e.Secret)})
	if r.StatusCode != 200 {
		t.Fatalf("confirmation: %s %s", r.Status, r.body)
	}
	w.cookieWorks(w.given(r))
	w.cookieWorks(old) // another session of the user, who has a factor now
	if r := guarded.byCookie("GET", "/", old, nil); r.StatusCode != 200 {
		t.Errorf("application: %s", r.Status)
	}
}

// A user who owes a second factor can sign out, by token and by cookie.
func TestOwedFactorAndSignOut(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	w.requireFactor()
	token := w.enrolmentToken(w.password(adaEmail))
	w.status(w.do("POST", "/api/auth/logout", token, nil), 204)
	w.refused(w.do("POST", "/api/auth/mfa/totp", token, nil), 401, "TOKEN_REVOKED")
	cookie := cookieOfRefusal(w.do("POST", "/api/auth/login", "", object{"email": adaEmail, "password": adaPassword, "use_cookies": true}))
	w.status(w.byCookie("POST", "/api/auth/logout", cookie, nil), 204)
	w.refused(w.byCookie("POST", "/api/auth/mfa/totp", cookie, nil), 401, "SESSION_EXPIRED")
}

// A passkey fulfils the requirement. The enrolment token steps up with it.
func TestOwedFactorByPasskey(t *testing.T) {
	t.Parallel()
	w := newPasskeyEnv(t, settings{})
	w.requireFactor()
	token := w.enrolmentToken(w.password(adaEmail))
	a, _ := w.addPasskey(token)
	options := w.options("/api/auth/passkeys/step-up/begin", token)
	full := w.tokens(w.do("POST", "/api/auth/step-up", token, object{"passkey": json.RawMessage(a.Get(t, options))}))
	w.works(full.AccessToken)
	w.works(w.tokens(w.refreshWith(full.RefreshToken)).AccessToken)
}

// API keys and passwords with each request are refused while their user owes a second factor.
func TestOwedFactorOfOtherCredentials(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{basic: true})
	key := w.key(w.signIn().AccessToken, object{"name": "backup"}).Key
	w.keyWorks(key)
	if r := w.withPassword(adaEmail, adaPassword); r.StatusCode != 200 {
		t.Fatalf("Basic: %s", r.Status)
	}
	w.requireFactor()
	w.refused(w.withKey("GET", "/api/profile", key), 403, "FORBIDDEN")
	w.refused(w.withPassword(adaEmail, adaPassword), 403, "ENROLMENT_REQUIRED") // also if the password is cached
	w.refused(w.withPassword(adaEmail, "wrong "+adaPassword), 401, "INVALID_CREDENTIALS")
	w.tokens(w.confirmed(w.enrolmentToken(w.password(adaEmail))))
	w.keyWorks(key)
	w.refused(w.withPassword(adaEmail, adaPassword), 401, "INVALID_CREDENTIALS")
}

// With a group, the requirement begins and ends with the membership.
func TestOwedFactorByGroup(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	by := request.Info{Actor: store.Operator}
	if err := w.people.RequireFactorOfGroup(t.Context(), "staff", true, by); err != nil {
		t.Fatal(err)
	}
	cookie := w.cookieOf(adaEmail)
	if err := w.people.AddToGroup(t.Context(), w.ada.ID, "staff", by); err != nil {
		t.Fatal(err)
	}
	w.refused(w.byCookie("GET", "/api/profile", cookie, nil), 403, "ENROLMENT_REQUIRED")
	if err := w.sessions.RemoveFromGroup(t.Context(), w.ada.ID, "staff", by); err != nil {
		t.Fatal(err)
	}
	w.cookieWorks(cookie)
}

// The last second factor stays while one is required, also against an administrator who removes it alone. All of
// them can be removed for a user who lost them.
func TestLastRequiredFactor(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{publicURL: "https://auth.example.com"})
	_, root := w.administrator("root@example.com")
	_, full := w.enrol(adaEmail)
	w.requireFactor()
	p := w.refused(w.do("DELETE", "/api/auth/mfa/totp", full.AccessToken, nil), 403, "FORBIDDEN")
	if detail, _ := p["detail"].(string); !strings.Contains(detail, "required") {
		t.Errorf("detail: %q", detail)
	}
	at := "/api/admin/users/" + w.ada.ID
	w.refused(w.do("DELETE", at+"/mfa/totp", root, nil), 403, "FORBIDDEN")
	w.works(full.AccessToken) // nothing changed, no session ended
	_, made := w.addPasskey(full.AccessToken)
	w.status(w.do("DELETE", "/api/auth/mfa/totp", full.AccessToken, nil), 204)
	w.refused(w.do("DELETE", "/api/auth/passkeys/"+made.ID, full.AccessToken, nil), 403, "FORBIDDEN")
	w.refused(w.do("DELETE", at+"/passkeys/"+made.ID, root, nil), 403, "FORBIDDEN")
	w.status(w.do("DELETE", at+"/mfa", root, nil), 204)
	w.enrolmentToken(w.password(adaEmail))
}

// Tokens that are bound to a key set up the factor with that key.
func TestOwedFactorBound(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{dpop: true})
	w.requireFactor()
	h := w.holder().meet()
	token := w.enrolmentToken(h.proven("POST", "/api/auth/login", "", adasLogin, h.proof("POST", "/api/auth/login", "")))
	w.refused(w.do("GET", "/api/auth/mfa", token, nil), 401, "INVALID_TOKEN")
	if r := h.proven("GET", "/api/auth/mfa", "DPoP "+token, "", h.proof("GET", "/api/auth/mfa", token)); r.StatusCode != 200 {
		t.Errorf("factors: %s %s", r.Status, r.body)
	}
	w.refused(h.call(token), 403, "ENROLMENT_REQUIRED")
}

// Administrators require a second factor of users and of groups; the log says who did.
func TestRequireFactorByAPI(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	root, token := w.administrator("root@example.com")
	at := "/api/admin/users/" + w.ada.ID
	required := func() string {
		u := read[userItem](w, token, at)
		var groups []string
		for _, g := range read[list[groupItem]](w, token, at+"/groups").Items {
			if g.FactorRequired {
				groups = append(groups, g.Name)
			}
		}
		return fmt.Sprint(u.NeedsFactor, groups)
	}
	w.status(w.do("POST", at+"/groups", token, object{"name": "staff"}), 201)
	for _, step := range []struct {
		path string
		on   bool
		want string
	}{
		{at, true, "true []"},
		{"/api/admin/groups/staff", true, "true [staff]"},
		{at, false, "true [staff]"},
		{"/api/admin/groups/staff", false, "false []"},
	} {
		w.status(w.do("POST", step.path+"/require-factor", token, object{"required": step.on}), 200)
		if got := required(); got != step.want {
			t.Errorf("%s %t: got %s, want %s", step.path, step.on, got, step.want)
		}
	}
	for kind, want := range map[string]int{store.EventFactorRequired: 2, store.EventFactorNotRequired: 2} {
		events := w.events(kind)
		if len(events) != want || events[0].Actor != root || events[1].Actor != root {
			t.Errorf("%s: %+v", kind, events)
		}
	}
	w.refused(w.do("POST", "/api/admin/groups/No%20Group/require-factor", token, object{"required": true}), 400, "INVALID_REQUEST")
	w.refused(w.do("POST", at+"/require-factor", w.signIn().AccessToken, object{"required": true}), 403, "INSUFFICIENT_SCOPE")
}
