package httpapi

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

func (w *env) postToken(path, token string) reply {
	w.t.Helper()
	return w.do("POST", path, "", object{"token": token})
}

// one sends the mails of the outbox and returns the only one.
func (w *env) one() sentMail {
	w.t.Helper()
	mails := w.mailed()
	if len(mails) != 1 {
		w.t.Fatalf("%d mails, want 1: %+v", len(mails), mails)
	}
	return mails[0]
}

// With verified addresses, the response to a registration is the same for every address. The mail tells the
// owner how to continue, and the account opens only after its link.
func TestVerifiedRegistration(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{registration: true, verifyEmail: true})
	const email = "grace@example.com"
	var first reply
	register := func(email, password string) {
		t.Helper()
		before := w.hasher.Runs()
		got := w.do("POST", "/api/auth/register", "", object{"email": email, "password": password})
		got.Header.Del("Date")
		if first.Response == nil {
			first = got
		}
		if got.StatusCode != 202 || string(got.body) != string(first.body) || !maps.EqualFunc(got.Header, first.Header, slices.Equal) {
			t.Errorf("%s: got %s %v %s, want 202 and the same for all", email, got.Status, got.Header, got.body)
		}
		if n := w.hasher.Runs() - before; n != 1 {
			t.Errorf("%s: %d hashes, want 1", email, n)
		}
	}
	login := func(password string) reply {
		return w.do("POST", "/api/auth/login", "", object{"email": email, "password": password})
	}
	register(adaEmail, newPassword)
	if m := w.one(); m.to != "<ada@example.com>" || m.token != "" || !strings.Contains(m.subject, "already") {
		t.Errorf("known address: %+v, want a mail that says so", m)
	}
	register("\u0430da@example.com", newPassword) // Cyrillic
	if mails := w.mailed(); len(mails) != 0 {
		t.Errorf("look-alike: %+v, want no mail", mails)
	}
	w.refused(w.do("POST", "/api/auth/login", "", object{"email": adaEmail, "password": newPassword}), 401, "INVALID_CREDENTIALS")

	register(email, adaPassword)
	thief := w.one()
	register(email, newPassword) // the owner, after a thief
	m := w.one()
	if m.to != "<grace@example.com>" || m.token == "" {
		t.Fatalf("%+v, want a link", m)
	}
	w.refused(login(adaPassword), 401, "INVALID_CREDENTIALS") // of the first registration
	r := login(newPassword)
	if p := w.refused(r, 403, "EMAIL_UNVERIFIED"); !strings.Contains(p["hint"].(string), "/api/auth/email/verify/send") {
		t.Errorf("hint: %v", p)
	}
	for _, token := range []string{thief.token, strings.Repeat("A", 43), w.resetToken()} {
		w.refused(w.postToken("/api/auth/email/verify", token), 400, "INVALID_REQUEST")
	}
	w.refused(w.postToken("/api/auth/email/undo", m.token), 400, "INVALID_REQUEST")
	w.refused(w.reset(m.token, newPassword), 400, "INVALID_REQUEST")
	if r := w.postToken("/api/auth/email/verify", m.token); r.StatusCode != 204 || len(r.Header["Set-Cookie"]) > 0 {
		t.Fatalf("%s %s", r.Status, r.body)
	}
	w.refused(w.postToken("/api/auth/email/verify", m.token), 400, "INVALID_REQUEST")
	w.tokens(login(newPassword))
	if e := w.events(store.EventEmailVerified); len(e) != 1 {
		t.Errorf("%d events, want 1", len(e))
	}
	register(email, adaPassword)
	if m := w.one(); m.token != "" {
		t.Errorf("%+v, want no link for a verified user", m)
	}
	w.tokens(login(newPassword))
}

// A mail to confirm the address is sent again, with the same response for every address. A reset of the
// password confirms the address too.
func TestSendVerification(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{registration: true, verifyEmail: true})
	register := func(email string) {
		t.Helper()
		if r := w.do("POST", "/api/auth/register", "", object{"email": email, "password": adaPassword}); r.StatusCode != 202 {
			t.Fatalf("%s %s", r.Status, r.body)
		}
	}
	register("grace@example.com")
	old := w.one()
	for email, want := range map[string]int{"Grace@example.com": 1, adaEmail: 0, "nobody@example.com": 0} {
		if r := w.do("POST", "/api/auth/email/verify/send", "", object{"email": email}); r.StatusCode != 202 || string(r.body) != "{}\n" {
			t.Errorf("%s: %s %s, want 202", email, r.Status, r.body)
		}
		mails := w.mailed()
		if len(mails) != want {
			t.Errorf("%s: %d mails, want %d", email, len(mails), want)
		}
		if want == 0 {
			continue
		}
		w.refused(w.postToken("/api/auth/email/verify", old.token), 400, "INVALID_REQUEST")
		w.clock.Advance(30*time.Minute - time.Second)
		if r := w.postToken("/api/auth/email/verify", mails[0].token); r.StatusCode != 204 {
			t.Errorf("%s %s", r.Status, r.body)
		}
	}
	register("eve@example.com")
	w.one()
	w.do("POST", "/api/auth/password/forgot", "", object{"email": "eve@example.com"})
	if r := w.reset(w.one().token, newPassword); r.StatusCode != 204 {
		t.Fatalf("%s %s", r.Status, r.body)
	}
	w.tokens(w.do("POST", "/api/auth/login", "", object{"email": "eve@example.com", "password": newPassword}))
}

// A user who registered while addresses were not verified, and signed in, is not registered anew by a
// stranger.
func TestRegisteredBefore(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{registration: true})
	credentials := object{"email": "grace@example.com", "password": adaPassword}
	if r := w.do("POST", "/api/auth/register", "", credentials); r.StatusCode != 201 {
		t.Fatalf("%s %s", r.Status, r.body)
	}
	w.tokens(w.do("POST", "/api/auth/login", "", credentials))
	w.people.VerifyEmail = true
	w.refused(w.do("POST", "/api/auth/login", "", credentials), 403, "EMAIL_UNVERIFIED")
	w.mailed()
	if r := w.do("POST", "/api/auth/register", "", object{"email": "grace@example.com", "password": newPassword}); r.StatusCode != 202 {
		t.Fatalf("%s %s", r.Status, r.body)
	}
	if m := w.one(); m.token != "" {
		t.Errorf("%+v, want no link", m)
	}
	w.refused(w.do("POST", "/api/auth/login", "", credentials), 403, "EMAIL_UNVERIFIED") // the password is right
	w.do("POST", "/api/auth/email/verify/send", "", object{"email": "grace@example.com"})
	if r := w.postToken("/api/auth/email/verify", w.one().token); r.StatusCode != 204 {
		t.Fatalf("%s %s", r.Status, r.body)
	}
	w.tokens(w.do("POST", "/api/auth/login", "", credentials))
}

// A new address proves itself before it counts, and the former one gets a link to undo the change, also if
// a thief changes it twice.
func TestEmailChange(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	ctx := context.Background()
	if _, err := w.people.Add(ctx, account.NewUser{Email: "bob@example.com", Password: adaPassword}, store.EventUserAdded, request.Info{Actor: "operator"}); err != nil {
		t.Fatal(err)
	}
	signIn := func(email string) string {
		return w.tokens(w.do("POST", "/api/auth/login", "", object{"email": email, "password": adaPassword})).AccessToken
	}
	token := signIn(adaEmail)
	ask := func(email string) {
		t.Helper()
		if r := w.do("POST", "/api/profile/email", token, object{"email": email}); r.StatusCode != 202 || string(r.body) != "{}\n" {
			t.Fatalf("%s: %s %s", email, r.Status, r.body)
		}
	}
	address := func() string {
		u, err := w.db.UserByID(ctx, w.ada.ID)
		if err != nil {
			t.Fatal(err)
		}
		return u.Email
	}
	change := func(email string) (undo string) {
		t.Helper()
		before := address()
		ask(email)
		m := w.one()
		if address() != before || m.to != "<"+email+">" || m.token == "" {
			t.Fatalf("%s: the address is %s after %+v", email, address(), m)
		}
		if r := w.postToken("/api/auth/email/verify", m.token); r.StatusCode != 204 {
			t.Fatalf("%s: %s %s", email, r.Status, r.body)
		}
		w.refused(w.postToken("/api/auth/email/verify", m.token), 400, "INVALID_REQUEST")
		m = w.one()
		if address() != email || m.to != "<"+before+">" || m.token == "" {
			t.Fatalf("%s: the address is %s, and the former one got %+v", email, address(), m)
		}
		return m.token
	}
	for _, bad := range []string{"no address", "a\u2800da@example.com", "x@example.com\r\nBcc: y@example.com"} {
		w.refused(w.do("POST", "/api/profile/email", token, object{"email": bad}), 400, "INVALID_REQUEST")
	}
	ask("bob@example.com") // taken
	if mails := w.mailed(); len(mails) != 0 {
		t.Errorf("taken address: %+v, want no mail", mails)
	}
	// A look-alike is refused when its owner confirms it.
	ask("b\u043eb@example.com")
	w.refused(w.postToken("/api/auth/email/verify", w.one().token), 409, "EMAIL_TAKEN")

	undo := change("thief@evil.example")
	w.refused(w.do("POST", "/api/auth/login", "", object{"email": adaEmail, "password": adaPassword}), 401, "INVALID_CREDENTIALS")
	thief := signIn("thief@evil.example")
	w.mailed()
	later := change("second@evil.example")
	reset := func() string {
		w.do("POST", "/api/auth/password/forgot", "", object{"email": "second@evil.example"})
		return w.one().token
	}()
	for _, wrong := range []string{reset, strings.Repeat("A", 43)} {
		w.refused(w.postToken("/api/auth/email/undo", wrong), 400, "INVALID_REQUEST")
	}
	w.clock.Advance(7*24*time.Hour - time.Second)
	var done, refused atomic.Int64
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			switch w.postToken("/api/auth/email/undo", undo).StatusCode {
			case 204:
				done.Add(1)
			case 400:
				refused.Add(1)
			}
		})
	}
	all.Wait()
	if done.Load() != 1 || refused.Load() != 19 || address() != adaEmail {
		t.Fatalf("%d done, %d refused, the address is %s; want 1, 19 and %s", done.Load(), refused.Load(), address(), adaEmail)
	}
	if r := w.do("GET", "/api/profile", thief, nil); r.StatusCode != 401 {
		t.Errorf("the thief's session: %s", r.Status)
	}
	w.refused(w.postToken("/api/auth/email/undo", later), 400, "INVALID_REQUEST")
	w.refused(w.reset(reset, newPassword), 400, "INVALID_REQUEST")
	w.refused(w.do("POST", "/api/auth/login", "", object{"email": adaEmail, "password": adaPassword}), 401, "INVALID_CREDENTIALS")
	m := w.one()
	if m.to != "<"+adaEmail+">" || m.token == "" {
		t.Fatalf("%+v, want a mail to set a password", m)
	}
	if r := w.reset(m.token, newPassword); r.StatusCode != 204 {
		t.Fatalf("%s %s", r.Status, r.body)
	}
	w.tokens(w.do("POST", "/api/auth/login", "", object{"email": adaEmail, "password": newPassword}))
	for kind, want := range map[string]int{store.EventEmailChanged: 2, store.EventEmailUndone: 1} {
		if e := w.events(kind); len(e) != want {
			t.Errorf("%s: %d events, want %d", kind, len(e), want)
		}
	}
}

// Undoing a change of the address ends what a thief has: sessions, links in mails, and a second factor of
// the last seven days. An older factor stays, so that the former mailbox alone does not open the account.
func TestUndoAfterTheft(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for name, test := range map[string]struct {
		age  time.Duration // of the factor when the address changes
		kept bool
	}{
		"new factor: removed": {time.Minute, false},
		"6 days: removed":     {6 * day, false},
		"8 days: kept":        {8 * day, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newEnv(t, settings{})
			seed, _ := w.enrol(adaEmail)
			w.clock.Advance(test.age)
			finish := func(email string) api.TokenResponse {
				t.Helper()
				return w.tokens(w.do("POST", "/api/auth/login/mfa", "", object{
					"mfa_token": w.half(email), "method": "totp", "code": w.nextCode(seed),
				}))
			}
			w.mailed()
			w.do("POST", "/api/profile/email", finish(adaEmail).AccessToken, object{"email": "thief@evil.example"})
			w.postToken("/api/auth/email/verify", w.one().token)
			undo := w.one().token
			thief := finish("thief@evil.example")
			w.works(thief.AccessToken)
			w.mailed()
			w.do("POST", "/api/auth/password/forgot", "", object{"email": "thief@evil.example"})
			link := w.one().token

			if r := w.postToken("/api/auth/email/undo", undo); r.StatusCode != 204 {
				t.Fatalf("undo: got %s %s", r.Status, r.body)
			}
			w.dead(thief.AccessToken, "TOKEN_REVOKED")
			w.refused(w.reset(link, newPassword), 400, "INVALID_REQUEST")
			if r := w.reset(w.one().token, newPassword); r.StatusCode != 204 {
				t.Fatalf("reset: got %s %s", r.Status, r.body)
			}
			r := w.do("POST", "/api/auth/login", "", object{"email": adaEmail, "password": newPassword})
			if test.kept {
				w.refused(r, 401, "MFA_REQUIRED")
			} else {
				w.tokens(r)
			}
		})
	}
}

// The link to undo a change ends after seven days.
func TestUndoEnds(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	w.do("POST", "/api/profile/email", w.signIn().AccessToken, object{"email": "new@example.com"})
	w.postToken("/api/auth/email/verify", w.one().token)
	undo := w.one().token
	w.clock.Advance(7 * 24 * time.Hour)
	w.refused(w.postToken("/api/auth/email/undo", undo), 400, "INVALID_REQUEST")
}

// An invited user sets a password by the link of the mail, within seven days and once. Without it, no
// password opens the account.
func TestInvitation(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{mode: "invite"})
	operator := request.Info{Actor: "operator"}
	invite := func(email string) string {
		t.Helper()
		if _, err := w.people.Invite(context.Background(), account.NewUser{Email: email, Name: "Grace"}, operator); err != nil {
			t.Fatal(err)
		}
		m := w.one()
		if m.to != "<"+email+">" || m.token == "" || !strings.Contains(m.raw, "/invite") {
			t.Fatalf("%+v, want an invitation", m)
		}
		return m.token
	}
	accept := func(token, password, name string) reply {
		return w.do("POST", "/api/auth/invite", "", object{"token": token, "password": password, "name": name})
	}
	w.refused(w.do("POST", "/api/auth/register", "", object{"email": "eve@example.com", "password": adaPassword}), 403, "FORBIDDEN")
	token := invite("grace@example.com")
	for _, password := range []string{"", "durward: no password", adaPassword} {
		w.refused(w.do("POST", "/api/auth/login", "", object{"email": "grace@example.com", "password": password + " "}), 401, "INVALID_CREDENTIALS")
	}
	if p := w.refused(accept(token, "short", ""), 400, "INVALID_REQUEST"); p["member"] != "password" {
		t.Errorf("short password: %v", p)
	}
	if p := w.refused(accept(token, adaPassword, "a\nb"), 400, "INVALID_REQUEST"); p["member"] != "name" {
		t.Errorf("name of two lines: %v", p)
	}
	w.refused(w.reset(token, newPassword), 400, "INVALID_REQUEST")
	w.clock.Advance(7*24*time.Hour - time.Second)
	if r := accept(token, adaPassword, "Grace Hopper"); r.StatusCode != 204 || len(r.Header["Set-Cookie"]) > 0 {
		t.Fatalf("%s %s", r.Status, r.body)
	}
	w.refused(accept(token, newPassword, ""), 400, "INVALID_REQUEST")
	s := w.tokens(w.do("POST", "/api/auth/login", "", object{"email": "grace@example.com", "password": adaPassword}))
	if r := w.do("GET", "/api/profile", s.AccessToken, nil); !strings.Contains(string(r.body), "Grace Hopper") {
		t.Errorf("profile: %s", r.body)
	}
	if e := w.events(store.EventInvited); len(e) != 1 {
		t.Errorf("%d events, want 1", len(e))
	}
	// A password that was set by a reset ends the invitation.
	token = invite("eve@example.com")
	w.do("POST", "/api/auth/password/forgot", "", object{"email": "eve@example.com"})
	if r := w.reset(w.one().token, newPassword); r.StatusCode != 204 {
		t.Fatalf("%s %s", r.Status, r.body)
	}
	w.refused(accept(token, adaPassword, ""), 400, "INVALID_REQUEST")
	w.one() // about the password
	token = invite("late@example.com")
	w.clock.Advance(7 * 24 * time.Hour)
	w.refused(accept(token, adaPassword, ""), 400, "INVALID_REQUEST")

	off := newEnv(t, settings{})
	off.refused(off.do("POST", "/api/auth/invite", "", object{"token": "x", "password": adaPassword}), 403, "FORBIDDEN")
}
