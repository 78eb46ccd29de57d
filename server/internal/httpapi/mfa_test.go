package httpapi

import (
	"encoding/base32"
	"encoding/json"
	"errors"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/otp"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
)

// code returns the code of a seed at the time of the clock.
func (w *env) code(seed string) string {
	w.t.Helper()
	code, err := otp.AppCode(seed, w.clock.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	return code
}

// nextCode moves the clock to the next step and returns its code.
func (w *env) nextCode(seed string) string {
	w.t.Helper()
	w.clock.Advance(30 * time.Second)
	return w.code(seed)
}

// password signs in with the password of every user of these tests.
func (w *env) password(email string) reply {
	w.t.Helper()
	return w.do("POST", "/api/auth/login", "", object{"email": email, "password": adaPassword})
}

// enrol sets up an authenticator app and returns its seed and the tokens afterwards.
func (w *env) enrol(email string) (seed string, t api.TokenResponse) {
	w.t.Helper()
	t = w.tokens(w.password(email))
	var e api.TOTPEnrolment
	if r := w.do("POST", "/api/auth/mfa/totp", t.AccessToken, nil); r.StatusCode != 201 || json.Unmarshal(r.body, &e) != nil {
		w.t.Fatalf("enrolment: %s %s", r.Status, r.body)
	}
	return e.Secret, w.tokens(w.do("POST", "/api/auth/mfa/totp/confirm", t.AccessToken, object{"code": w.code(e.Secret)}))
}

// half signs in with the password and returns the mfa_token.
func (w *env) half(email string) string {
	w.t.Helper()
	p := w.refused(w.password(email), 401, "MFA_REQUIRED")
	token, _ := p["mfa_token"].(string)
	if len(token) != 43 {
		w.t.Fatalf("mfa_token: %v", p)
	}
	return token
}

// finish finishes a sign-in with a code.
func (w *env) finish(token, method, code string) reply {
	w.t.Helper()
	return w.do("POST", "/api/auth/login/mfa", "", object{"mfa_token": token, "method": method, "code": code})
}

// recoveryCodes makes recovery codes.
func (w *env) recoveryCodes(token string) []string {
	w.t.Helper()
	var codes api.RecoveryCodes
	if r := w.do("POST", "/api/auth/mfa/recovery-codes", token, nil); r.StatusCode != 201 || json.Unmarshal(r.body, &codes) != nil || len(codes.Codes) != 10 {
		w.t.Fatalf("recovery codes: %s %s", r.Status, r.body)
	}
	return codes.Codes
}

// claims returns the claims of an access token.
func (w *env) claims(token string) *durward.Principal {
	w.t.Helper()
	c, err := w.issuer.Verifier().Verify(w.t.Context(), token)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// strength checks acr, amr and auth_time of an access token.
func (w *env) strength(name, token, acr, amr string, at time.Time) {
	w.t.Helper()
	c := w.claims(token)
	if c.ACR != acr || strings.Join(c.AMR, " ") != amr || !c.AuthTime.Equal(at.Truncate(time.Second)) {
		w.t.Errorf("%s: got acr %q, amr %q, auth_time %s; want %q, %q, %s", name, c.ACR, c.AMR, c.AuthTime, acr, amr, at)
	}
}

const (
	oneFactor = "urn:durward:acr:1fa"
	twoFactor = "urn:durward:acr:2fa"
)

// A user sets up an authenticator app, signs in with it, and the tokens say so.
func TestTOTP(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	first := w.signIn()
	w.strength("password", first.AccessToken, oneFactor, "pwd", w.clock.Now())
	r := w.do("POST", "/api/auth/mfa/totp", first.AccessToken, nil)
	var e api.TOTPEnrolment
	if r.StatusCode != 201 || json.Unmarshal(r.body, &e) != nil || !strings.HasPrefix(e.SVG, "<svg ") || !strings.HasPrefix(string(e.PNG), "\x89PNG") ||
		!strings.Contains(e.URI, "secret="+e.Secret) || !strings.HasPrefix(e.URI, "otpauth://totp/Durward:ada@example.com?") {
		t.Fatalf("enrolment: %s %s", r.Status, r.body)
	}
	if seed, err := base32.StdEncoding.DecodeString(e.Secret); err != nil || len(seed) != 20 {
		t.Errorf("seed: %d octets, %v", len(seed), err)
	}
	w.signIn() // a seed that is not confirmed does not count
	w.refused(w.do("POST", "/api/auth/mfa/totp/confirm", first.AccessToken, object{"code": "000000"}), 400, "INVALID_REQUEST")
	w.clock.Advance(time.Minute)
	second := w.tokens(w.do("POST", "/api/auth/mfa/totp/confirm", first.AccessToken, object{"code": w.code(e.Secret)}))
	w.strength("confirmed", second.AccessToken, twoFactor, "mfa otp pwd", w.clock.Now())
	w.refused(w.do("POST", "/api/auth/mfa/totp/confirm", second.AccessToken, object{"code": w.nextCode(e.Secret)}), 404, "NOT_FOUND")

	p := w.refused(w.password(adaEmail), 401, "MFA_REQUIRED")
	if methods, _ := p["methods"].([]any); !slices.Equal(methods, []any{"totp"}) {
		t.Errorf("methods: %v", p["methods"])
	}
	half := p["mfa_token"].(string)
	w.dead(half, "INVALID_TOKEN")
	w.refused(w.finish(half, "recovery_code", "0000-0000-0000-0000"), 401, "INVALID_CREDENTIALS")
	w.refused(w.finish(half, "passkey", "000000"), 400, "INVALID_REQUEST")
	signed := w.tokens(w.finish(half, "totp", w.nextCode(e.Secret)))
	w.strength("sign-in", signed.AccessToken, twoFactor, "mfa otp pwd", w.clock.Now())
	at := w.clock.Now()
	w.clock.Advance(time.Hour)
	w.strength("refresh", w.tokens(w.refreshWith(signed.RefreshToken)).AccessToken, twoFactor, "mfa otp pwd", at)
	if begun, done := w.events(store.EventSignInBegun), w.events(store.EventSignedIn); len(begun) != 1 || done[0].Detail != "with totp" {
		t.Errorf("events: %+v, %+v", begun, done)
	}
	if added := w.events(store.EventFactorAdded); len(added) != 1 || added[0].SessionID == "" || added[0].Detail != "totp" {
		t.Errorf("events: %+v", added)
	}
	secret := e.Secret
	if logs := w.logs.String(); strings.Contains(logs, secret) || strings.Contains(logs, half) {
		t.Error("the log has a seed or an mfa_token")
	}
}

// A half-finished sign-in ends after ten minutes, after five wrong codes and once it was used.
func TestHalfSignInEnds(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	seed, _ := w.enrol(adaEmail)
	over := func(name, token string) {
		t.Helper()
		w.refused(w.finish(token, "totp", w.nextCode(seed)), 401, "SESSION_EXPIRED")
	}
	half := w.half(adaEmail)
	w.clock.Advance(10*time.Minute - 31*time.Second)
	w.tokens(w.finish(half, "totp", w.nextCode(seed)))
	over("used", half)
	half = w.half(adaEmail)
	w.clock.Advance(10*time.Minute - 30*time.Second)
	over("after ten minutes", half)
	for _, garbage := range []string{"x", strings.Repeat("A", 43), strings.Repeat("A", 42) + "B", half + "\n"} {
		over("garbage", garbage)
	}
	half = w.half(adaEmail)
	for n := range 5 {
		p := w.refused(w.finish(half, "totp", "00000"+string(rune('0'+n))), 401, "INVALID_CREDENTIALS")
		if detail, _ := p["detail"].(string); strings.Contains(detail, "has ended") != (n == 4) {
			t.Errorf("code %d: %s", n+1, detail)
		}
	}
	over("void", half)
	w.refused(w.password(adaEmail), 429, "TOO_MANY_ATTEMPTS") // five failures of the account, too
	if void := w.events(store.EventSignInVoid); len(void) != 1 || void[0].UserID != w.ada.ID {
		t.Errorf("events: %+v", void)
	}
	w.clock.Advance(time.Hour)
	half = w.half(adaEmail)
	w.tokens(w.finish(half, "totp", w.nextCode(seed)))
}

// Of many requests at once with one code, one mfa_token or one recovery code, one signs in.
func TestFactorOnce(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	seed, tokens := w.enrol(adaEmail)
	recovery := w.recoveryCodes(tokens.AccessToken)
	const many = 20
	race := func(name string, request func(n int) reply) {
		t.Helper()
		var won atomic.Int64
		var together sync.WaitGroup
		for n := range many {
			together.Go(func() {
				if r := request(n); r.StatusCode == 200 {
					won.Add(1)
				}
			})
		}
		together.Wait()
		if won.Load() != 1 {
			t.Errorf("%s: %d sign-ins, want 1", name, won.Load())
		}
		w.clock.Advance(2 * time.Hour) // no limit counts in the next race
	}
	tokensOf := func() (all []string) {
		for range many {
			all = append(all, w.half(adaEmail))
		}
		return all
	}
	w.clock.Advance(time.Minute)
	half, code := tokensOf(), w.code(seed)
	race("one code", func(n int) reply { return w.finish(half[n], "totp", code) })
	half = tokensOf()
	race("one recovery code", func(n int) reply { return w.finish(half[n], "recovery_code", recovery[0]) })
	one := w.half(adaEmail)
	race("one mfa_token", func(n int) reply { return w.finish(one, "recovery_code", recovery[1+n%9]) })
}

// Ten wrong codes in an hour are the most, and a hundred without a right one lock the factor: another factor
// still works, and a new app.
func TestFactorGuessing(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	seed, tokens := w.enrol(adaEmail)
	recovery := w.recoveryCodes(tokens.AccessToken)
	wrong, half := 0, ""
	guess := func() reply {
		t.Helper()
		if wrong%5 == 0 {
			if wrong > 0 { // the account is blocked for an hour after five failures
				w.clock.Advance(time.Hour)
			}
			half = w.half(adaEmail)
		}
		wrong++
		return w.finish(half, "totp", "000000")
	}
	for range 99 {
		w.refused(guess(), 401, "INVALID_CREDENTIALS")
	}
	w.clock.Advance(time.Hour)
	half = w.half(adaEmail)
	w.refused(w.finish(half, "totp", "000000"), 401, "INVALID_CREDENTIALS")
	if locked := w.events(store.EventFactorLocked); len(locked) != 1 || locked[0].Outcome != "totp" {
		t.Errorf("events: %+v", locked)
	}
	p := w.refused(w.finish(half, "totp", w.nextCode(seed)), 401, "INVALID_CREDENTIALS")
	if detail, _ := p["detail"].(string); !strings.Contains(detail, "locked") {
		t.Errorf("detail: %s", detail)
	}
	p = w.refused(w.password(adaEmail), 401, "MFA_REQUIRED")
	if methods, _ := p["methods"].([]any); !slices.Equal(methods, []any{"recovery_code"}) {
		t.Errorf("methods: %v", p["methods"])
	}
	back := w.tokens(w.finish(half, "recovery_code", recovery[3]))
	w.strength("recovery code", back.AccessToken, twoFactor, "mfa pwd", w.clock.Now())
	var e api.TOTPEnrolment
	if r := w.do("POST", "/api/auth/mfa/totp", back.AccessToken, nil); json.Unmarshal(r.body, &e) != nil {
		t.Fatalf("%s %s", r.Status, r.body)
	}
	w.tokens(w.do("POST", "/api/auth/mfa/totp/confirm", back.AccessToken, object{"code": w.code(e.Secret)}))
	half = w.half(adaEmail)
	w.refused(w.finish(half, "totp", w.nextCode(seed)), 401, "INVALID_CREDENTIALS") // of the old app
	w.tokens(w.finish(half, "totp", w.nextCode(e.Secret)))
}

// A user with a second factor steps up with a code, once for each, and not with the password alone.
func TestStepUpWithCode(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	seed, tokens := w.enrol(adaEmail)
	recovery := w.recoveryCodes(tokens.AccessToken)
	stepUp := func(body object) reply { return w.do("POST", "/api/auth/step-up", tokens.AccessToken, body) }
	w.clock.Advance(recentSignIn + time.Second)
	r := w.do("POST", "/api/auth/mfa/recovery-codes", tokens.AccessToken, nil)
	w.refused(r, 401, "STEP_UP_REQUIRED")
	if got := r.Header.Get("WWW-Authenticate"); !strings.Contains(got, `max_age="300"`) {
		t.Errorf("challenge: %s", got)
	}
	p := w.refused(stepUp(object{"password": adaPassword}), 401, "MFA_REQUIRED")
	if methods, _ := p["methods"].([]any); !slices.Equal(methods, []any{"totp", "recovery_code"}) || p["mfa_token"] != nil {
		t.Errorf("step-up with the password: %v", p)
	}
	w.refused(stepUp(object{}), 400, "INVALID_REQUEST")
	w.refused(stepUp(object{"password": adaPassword, "totp": w.code(seed)}), 400, "INVALID_REQUEST")
	w.refused(stepUp(object{"totp": w.code(seed), "recovery_code": recovery[0]}), 400, "INVALID_REQUEST")
	w.refused(stepUp(object{"totp": "000000"}), 401, "INVALID_CREDENTIALS")
	code := w.nextCode(seed)
	fresh := w.tokens(stepUp(object{"totp": code}))
	w.strength("step-up", fresh.AccessToken, twoFactor, "mfa otp pwd", w.clock.Now())
	w.refused(stepUp(object{"totp": code}), 401, "INVALID_CREDENTIALS")
	again := w.tokens(stepUp(object{"recovery_code": recovery[0]}))
	w.refused(stepUp(object{"recovery_code": recovery[0]}), 401, "INVALID_CREDENTIALS")
	next := w.recoveryCodes(again.AccessToken)
	w.refused(stepUp(object{"recovery_code": recovery[1]}), 401, "INVALID_CREDENTIALS") // of the earlier set
	var f api.Factors
	if r := w.do("GET", "/api/auth/mfa", again.AccessToken, nil); json.Unmarshal(r.body, &f) != nil || !slices.Equal(f.Methods, []string{"totp", "recovery_code"}) || f.RecoveryCodes != 10 || f.TOTPSince.IsZero() {
		t.Errorf("factors: %s", r.body)
	}
	w.tokens(stepUp(object{"recovery_code": strings.ToUpper(next[0])}))
	if r := w.do("GET", "/api/auth/mfa", again.AccessToken, nil); json.Unmarshal(r.body, &f) != nil || f.RecoveryCodes != 9 {
		t.Errorf("factors: %s", r.body)
	}
}

// Each use of a recovery code notifies the user, and the security log says how many are left. A wrong one
// does neither.
func TestRecoveryCodeUsed(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	_, tokens := w.enrol(adaEmail)
	recovery := w.recoveryCodes(tokens.AccessToken)
	w.refused(w.finish(w.half(adaEmail), "recovery_code", "0000-0000-0000-0000"), 401, "INVALID_CREDENTIALS")
	w.tokens(w.do("POST", "/api/auth/step-up", tokens.AccessToken, object{"recovery_code": recovery[0]}))
	half := w.half(adaEmail)
	w.tokens(w.finish(half, "recovery_code", recovery[1]))
	w.refused(w.finish(half, "recovery_code", recovery[2]), 401, "SESSION_EXPIRED")
	var details []string
	for _, e := range w.events(store.EventRecoveryCodeUsed) {
		details = append(details, e.Detail)
	}
	if !slices.Equal(details, []string{"8 left", "9 left"}) {
		t.Errorf("events, newest first: %q", details)
	}
	var notified list[struct{ Kind string }]
	r := w.do("GET", "/api/notifications", tokens.AccessToken, nil)
	if err := json.Unmarshal(r.body, &notified); err != nil || strings.Count(string(r.body), `"recovery_code_used"`) != 2 {
		t.Errorf("notifications: %v %s", err, r.body)
	}
}

// CheckSeeds names the users whose seeds the master key does not open.
func TestCheckSeeds(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	check := func(file string, want ...string) {
		t.Helper()
		master, err := seal.Open(file, true)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := account.CheckSeeds(t.Context(), w.db, master); err != nil || !slices.Equal(got, want) {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	own, other := filepath.Join(w.dir, "master.key"), filepath.Join(t.TempDir(), "master.key")
	check(other)
	w.enrol(adaEmail)
	check(own)
	check(other, "the master key does not open the seed of the authenticator app of user "+w.ada.ID)
}

// Wrong codes at step-up count in the session: the fifth ends it.
func TestStepUpCodeGuessing(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	_, tokens := w.enrol(adaEmail)
	for range 5 {
		w.refused(w.do("POST", "/api/auth/step-up", tokens.AccessToken, object{"totp": "000000"}), 401, "INVALID_CREDENTIALS")
	}
	w.dead(tokens.AccessToken, "TOKEN_REVOKED")
}

// A session of before the second factor cannot take it away: the factor is needed for what a password was
// sufficient for.
func TestSessionBeforeFactor(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	old := w.signIn()
	seed, _ := w.enrol(adaEmail)
	w.works(old.AccessToken)
	for _, request := range [][2]string{
		{"DELETE", "/api/auth/mfa/totp"}, {"POST", "/api/auth/mfa/totp"}, {"POST", "/api/auth/mfa/recovery-codes"}, {"POST", "/api/keys"}, {"POST", "/api/auth/password/change"},
	} {
		r := w.do(request[0], request[1], old.AccessToken, nil)
		w.refused(r, 401, "STEP_UP_REQUIRED")
		if got := r.Header.Get("WWW-Authenticate"); !strings.Contains(got, `acr_values="`+twoFactor+` phr"`) {
			t.Errorf("%s: challenge %s", request[1], got)
		}
	}
	fresh := w.tokens(w.do("POST", "/api/auth/step-up", old.AccessToken, object{"totp": w.nextCode(seed)}))
	w.recoveryCodes(fresh.AccessToken)
	const second = "another horse battery staple"
	if r := w.do("POST", "/api/auth/password/change", fresh.AccessToken, object{"current": adaPassword, "new": second}); r.StatusCode != 204 {
		t.Errorf("password change: %s %s", r.Status, r.body)
	}
	w.strength("after the change", w.tokens(w.refreshWith(fresh.RefreshToken)).AccessToken, twoFactor, "mfa otp pwd", w.clock.Now())
}

// Removing the app ends the other sessions and the recovery codes. Then the password is sufficient again.
func TestRemoveTOTP(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	seed, tokens := w.enrol(adaEmail)
	recovery := w.recoveryCodes(tokens.AccessToken)
	other := w.tokens(w.finish(w.half(adaEmail), "totp", w.nextCode(seed)))
	half := w.half(adaEmail)
	if r := w.do("DELETE", "/api/auth/mfa/totp", tokens.AccessToken, nil); r.StatusCode != 204 {
		t.Fatalf("%s %s", r.Status, r.body)
	}
	w.dead(other.AccessToken, "TOKEN_REVOKED")
	w.works(tokens.AccessToken)
	w.refused(w.do("DELETE", "/api/auth/mfa/totp", tokens.AccessToken, nil), 404, "NOT_FOUND")
	w.refused(w.finish(half, "recovery_code", recovery[0]), 401, "INVALID_CREDENTIALS") // it began with the factor
	w.refused(w.do("POST", "/api/auth/mfa/recovery-codes", w.signIn().AccessToken, nil), 403, "ENROLMENT_REQUIRED")
	w.enrol(adaEmail)
	w.refused(w.finish(w.half(adaEmail), "recovery_code", recovery[1]), 401, "INVALID_CREDENTIALS") // they went with the first app
	var notified list[struct{ Kind string }]
	r := w.do("GET", "/api/notifications", tokens.AccessToken, nil)
	if err := json.Unmarshal(r.body, &notified); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"factor_added", "factor_removed", "recovery_codes_made", "factor_added"} {
		if len(notified.Items) <= i || notified.Items[i].Kind != want {
			t.Errorf("notifications: %s, want %s at %d", r.body, want, i)
		}
	}
}

// Basic is refused for users with a second factor as for a wrong password: same response, same counters.
// Only the log has the reason.
func TestBasicWithFactor(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{basic: true})
	if r := w.withPassword(adaEmail, adaPassword); r.StatusCode != 200 {
		t.Fatalf("%s %s", r.Status, r.body)
	}
	r, err := http.NewRequest("POST", w.url+"/api/auth/mfa/totp", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth(adaEmail, adaPassword)
	w.refused(w.send(r), 403, "FORBIDDEN") // it has no session that the factor could be part of
	w.enrol(adaEmail)
	strip := func(r reply) string {
		p := w.refused(r, 401, "INVALID_CREDENTIALS")
		delete(p, "instance")
		text, _ := json.Marshal(p)
		return string(text) + strings.Join(r.Header.Values("WWW-Authenticate"), "|")
	}
	right, wrong := strip(w.withPassword(adaEmail, adaPassword)), strip(w.withPassword(adaEmail, randomPassword()))
	if right != wrong {
		t.Errorf("right password: %s\nwrong password: %s", right, wrong)
	}
	w.eventually("the log has the reason", func() bool {
		return slices.ContainsFunc(w.events("sign_in_refused"), func(e store.Event) bool { return e.Outcome == "password without the second factor" })
	})
	for range 3 {
		w.refused(w.withPassword(adaEmail, randomPassword()), 401, "INVALID_CREDENTIALS")
	}
	w.refused(w.withPassword(adaEmail, adaPassword), 429, "TOO_MANY_ATTEMPTS") // the right one was counted
}

// Administrators need a second factor for keys with the rights of administrators.
func TestAdministrationNeedsFactor(t *testing.T) {
	t.Parallel()
	for _, needed := range []bool{true, false} {
		w := newEnv(t, settings{adminFactor: needed})
		const root = "root@example.com"
		w.add(root, true)
		create := func(token, scope string) reply {
			return w.do("POST", "/api/keys", token, object{"name": "key", "scopes": []string{scope}})
		}
		token := w.tokens(w.password(root)).AccessToken
		if r := create(token, "profile"); r.StatusCode != 201 {
			t.Errorf("key for the profile: %s %s", r.Status, r.body)
		}
		r := create(token, "revocations")
		if !needed {
			if r.StatusCode != 201 {
				t.Errorf("needed is off: %s %s", r.Status, r.body)
			}
			continue
		}
		w.refused(r, 403, "ENROLMENT_REQUIRED")
		w.refused(create(token, "admin"), 403, "ENROLMENT_REQUIRED")
		seed, strong := w.enrol(root)
		var key struct{ ID string }
		if r := create(strong.AccessToken, "admin"); r.StatusCode != 201 || json.Unmarshal(r.body, &key) != nil {
			t.Errorf("with the factor: %s %s", r.Status, r.body)
		}
		r = w.do("POST", "/api/keys/"+key.ID+"/rotate", token, nil)
		w.refused(r, 401, "STEP_UP_REQUIRED")
		signed := w.tokens(w.finish(w.half(root), "totp", w.nextCode(seed))).AccessToken
		if r := w.do("POST", "/api/keys/"+key.ID+"/rotate", signed, nil); r.StatusCode != 201 {
			t.Errorf("rotate with the factor: %s %s", r.Status, r.body)
		}
		// Without its factor, an administrator rotates no key of administration.
		if r := w.do("DELETE", "/api/auth/mfa/totp", signed, nil); r.StatusCode != 204 {
			t.Fatalf("%s %s", r.Status, r.body)
		}
		w.add("bob@example.com", false)
		weak := w.tokens(w.password(root)).AccessToken
		var page list[struct {
			ID     string
			Scopes []string
		}]
		if r := w.do("GET", "/api/keys", weak, nil); json.Unmarshal(r.body, &page) != nil || len(page.Items) == 0 {
			t.Fatalf("%s %s", r.Status, r.body)
		}
		for _, k := range page.Items {
			r := w.do("POST", "/api/keys/"+k.ID+"/rotate", weak, nil)
			if slices.Contains(k.Scopes, "admin") {
				w.refused(r, 403, "ENROLMENT_REQUIRED")
				bob := w.tokens(w.password("bob@example.com")).AccessToken
				w.refused(w.do("POST", "/api/keys/"+k.ID+"/rotate", bob, nil), 404, "NOT_FOUND")
			} else if r.StatusCode != 201 {
				t.Errorf("rotate an ordinary key: %s %s", r.Status, r.body)
			}
		}
	}
}

// A sign-in for a cookie ends with a cookie, on the same origin only; the cookie that the browser sends is
// replaced, and confirming an app renews a cookie.
func TestCookieWithFactor(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	first := w.cookieOf(adaEmail)
	var e api.TOTPEnrolment
	if r := w.byCookie("POST", "/api/auth/mfa/totp", first, nil); json.Unmarshal(r.body, &e) != nil || r.StatusCode != 201 {
		t.Fatalf("%s %s", r.Status, r.body)
	}
	second := w.given(w.byCookie("POST", "/api/auth/mfa/totp/confirm", first, object{"code": w.code(e.Secret)}))
	if r := w.byCookie("POST", "/api/auth/mfa/recovery-codes", second, nil); r.StatusCode != 201 {
		t.Fatalf("%s %s", r.Status, r.body)
	}
	p := w.refused(w.byCookie("POST", "/api/auth/login", second, object{"email": adaEmail, "password": adaPassword, "use_cookies": true}), 401, "MFA_REQUIRED")
	w.cookieWorks(second) // a half sign-in ends nothing
	half := object{"mfa_token": p["mfa_token"], "method": "totp", "code": w.nextCode(e.Secret)}
	for _, site := range []string{"cross-site", "same-site"} {
		w.refused(w.byCookie("POST", "/api/auth/login/mfa", second, half, "Sec-Fetch-Site", site, "Origin", "https://evil.example"), 403, "CROSS_SITE")
	}
	w.cookieDead(p["mfa_token"].(string))
	third := w.given(w.byCookie("POST", "/api/auth/login/mfa", second, half))
	w.cookieWorks(third)
	w.cookieDead(second)
	fourth := w.given(w.byCookie("POST", "/api/auth/step-up", third, object{"totp": w.nextCode(e.Secret)}))
	w.cookieWorks(fourth)
	// A password change gives another cookie; the sign-in stays that of the second factor.
	r := w.byCookie("POST", "/api/auth/password/change", fourth, object{"current": adaPassword, "new": "another horse battery staple"})
	if r.StatusCode != 204 || len(r.Header["Set-Cookie"]) != 1 {
		t.Fatalf("%s %s", r.Status, r.body)
	}
	fifth := cookieLine.FindStringSubmatch(r.Header["Set-Cookie"][0])[1]
	var token api.TokenResponse
	if r := w.byCookie("POST", "/api/auth/token", fifth, nil); json.Unmarshal(r.body, &token) != nil {
		t.Fatalf("%s %s", r.Status, r.body)
	}
	w.strength("after a password change", token.AccessToken, twoFactor, "mfa otp pwd", w.clock.Now())
}

// A sign-in that began with a DPoP proof ends with one of the same key, and its tokens are bound.
func TestBoundSignInWithFactor(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{dpop: true})
	seed, _ := w.enrol(adaEmail)
	h, thief := w.holder().meet(), w.holder().meet()
	login := func() string {
		t.Helper()
		r := h.proven("POST", "/api/auth/login", "", `{"email":"`+adaEmail+`","password":"`+adaPassword+`"}`, h.proof("POST", "/api/auth/login", ""))
		token, _ := w.refused(r, 401, "MFA_REQUIRED")["mfa_token"].(string)
		return token
	}
	half := login()
	finish := func(by *holder, proofs ...string) reply {
		t.Helper()
		return by.proven("POST", "/api/auth/login/mfa", "", `{"mfa_token":"`+half+`","method":"totp","code":"`+w.code(seed)+`"}`, proofs...)
	}
	w.clock.Advance(30 * time.Second)
	w.refused(finish(h), 401, "INVALID_PROOF")
	w.refused(finish(thief, thief.proof("POST", "/api/auth/login/mfa", "")), 401, "INVALID_PROOF")
	proof := h.proof("POST", "/api/auth/login/mfa", "")
	signed := w.tokens(finish(h, proof))
	if signed.TokenType != "DPoP" || h.call(signed.AccessToken).StatusCode != 200 {
		t.Errorf("got %+v, want a bound token", signed)
	}
	w.refused(w.do("GET", "/api/profile", signed.AccessToken, nil), 401, "INVALID_TOKEN")
	half = login()
	w.clock.Advance(30 * time.Second)
	w.refused(finish(h, proof), 401, "INVALID_PROOF") // used before
}

// A sign-in that waits for its second factor ends with the password and with a lock of the user.
func TestHalfSignInOfChangedUser(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	seed, _ := w.enrol(adaEmail)
	half := w.half(adaEmail)
	ada, err := w.people.ByEmail(t.Context(), adaEmail)
	if err != nil {
		t.Fatal(err)
	}
	operator := request.Info{Actor: "operator"}
	w.clock.Advance(time.Second)
	if err := w.sessions.SetPassword(t.Context(), ada, "another horse battery staple", operator); err != nil {
		t.Fatal(err)
	}
	w.refused(w.finish(half, "totp", w.nextCode(seed)), 401, "INVALID_CREDENTIALS")
	if err := w.sessions.SetPassword(t.Context(), ada, adaPassword, operator); err != nil {
		t.Fatal(err)
	}
	half = w.half(adaEmail)
	if err := w.sessions.LockUser(t.Context(), ada.ID, operator); err != nil {
		t.Fatal(err)
	}
	w.refused(w.finish(half, "totp", w.nextCode(seed)), 403, "ACCOUNT_DISABLED")
	if err := w.people.Unlock(t.Context(), ada.ID, operator); err != nil {
		t.Fatal(err)
	}
	if err := w.sessions.ResetFactors(t.Context(), ada.ID, operator); err != nil {
		t.Fatal(err)
	}
	w.refused(w.finish(half, "totp", w.nextCode(seed)), 401, "INVALID_CREDENTIALS")
	w.signIn()
	if err := w.sessions.ResetFactors(t.Context(), ada.ID, operator); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a second reset: got %v", err)
	}
}

// During an outage of the database no code is refused as wrong.
func TestFactorOutage(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	seed, tokens := w.enrol(adaEmail)
	half := w.half(adaEmail)
	if err := w.db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, r := range []reply{
		w.finish(half, "totp", w.nextCode(seed)), w.do("POST", "/api/auth/step-up", tokens.AccessToken, object{"totp": w.code(seed)}),
		w.do("GET", "/api/auth/mfa", tokens.AccessToken, nil), w.do("POST", "/api/auth/mfa/totp", tokens.AccessToken, nil),
		w.do("POST", "/api/auth/mfa/totp/confirm", tokens.AccessToken, object{"code": "000000"}), w.do("DELETE", "/api/auth/mfa/totp", tokens.AccessToken, nil),
		w.do("POST", "/api/auth/mfa/recovery-codes", tokens.AccessToken, nil),
	} {
		w.refused(r, 503, "AUTH_UNAVAILABLE")
	}
}

// add adds a user with the password of these tests.
func (w *env) add(email string, admin bool) {
	w.t.Helper()
	u := account.NewUser{Email: email, Password: adaPassword, Admin: admin}
	if _, err := w.people.Add(w.t.Context(), u, store.EventUserAdded, request.Info{Actor: "operator"}); err != nil {
		w.t.Fatal(err)
	}
}
