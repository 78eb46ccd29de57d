package httpapi

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	netmail "net/mail"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/limits"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/testkit"
)

// sentMail is a mail in the folder.
type sentMail struct {
	to, subject, token, raw string
}

var link = regexp.MustCompile(`(https://auth\.example\.com/[a-z-]+)#t=3D([A-Za-z0-9_=\r\n-]+)"`)

// mailed sends the mails of the outbox and returns the new ones, the oldest first.
func (w *env) mailed() (mails []sentMail) {
	w.t.Helper()
	folder := filepath.Join(w.dir, "mail")
	if err := os.RemoveAll(folder); err != nil {
		w.t.Fatal(err)
	}
	for sent := 1; sent > 0; {
		var err error
		if sent, err = w.mail.Deliver(context.Background()); err != nil {
			w.t.Fatal(err)
		}
	}
	names, err := filepath.Glob(filepath.Join(folder, "*.eml"))
	if err != nil {
		w.t.Fatal(err)
	}
	slices.Sort(names)
	for _, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			w.t.Fatal(err)
		}
		msg, err := netmail.ReadMessage(bytes.NewReader(raw))
		if err != nil {
			w.t.Fatal(err)
		}
		m := sentMail{to: msg.Header.Get("To"), subject: msg.Header.Get("Subject"), raw: string(raw)}
		if found := link.FindStringSubmatch(m.raw); found != nil {
			m.token = strings.ReplaceAll(found[2], "=\r\n", "")
		}
		mails = append(mails, m)
	}
	return mails
}

// resetToken asks for a reset of Ada's password and returns the token of the mail.
func (w *env) resetToken() string {
	w.t.Helper()
	if r := w.do("POST", "/api/auth/password/forgot", "", object{"email": adaEmail}); r.StatusCode != 202 {
		w.t.Fatalf("forgot: %s %s", r.Status, r.body)
	}
	mails := w.mailed()
	if len(mails) != 1 || len(mails[0].token) != 43 {
		w.t.Fatalf("mails: %+v, want one with a token", mails)
	}
	return mails[0].token
}

func (w *env) reset(token, password string) reply {
	w.t.Helper()
	return w.do("POST", "/api/auth/password/reset", "", object{"token": token, "new_password": password})
}

const newPassword = "a quite different sentence"

// A reset by mail sets the password, ends all sessions, begins none, and tells the user.
func TestPasswordReset(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	cookie, tokens := w.cookieOf(adaEmail), w.signIn()
	w.mailed()
	token := w.resetToken()
	if strings.Contains(w.logs.String(), token) {
		t.Error("the log has the token")
	}
	p := w.refused(w.reset(token, "short"), 400, "INVALID_REQUEST")
	if p["member"] != "new_password" {
		t.Errorf("a short password: %v, want the member new_password", p)
	}
	if r := w.reset(token, newPassword); r.StatusCode != 204 || len(r.Header["Set-Cookie"]) != 1 || w.givenDevice(r) == "" {
		t.Fatalf("reset: %s %s %v", r.Status, r.body, r.Header)
	}
	w.dead(tokens.AccessToken, "TOKEN_REVOKED")
	w.refused(w.refreshWith(tokens.RefreshToken), 401, "SESSION_REVOKED")
	w.refused(w.byCookie("GET", "/api/profile", cookie, nil), 401, "SESSION_EXPIRED")
	login := object{"email": adaEmail, "password": adaPassword}
	w.refused(w.do("POST", "/api/auth/login", "", login), 401, "INVALID_CREDENTIALS")
	login["password"] = newPassword
	w.tokens(w.do("POST", "/api/auth/login", "", login))
	if p := w.refused(w.reset(token, newPassword+"!"), 400, "INVALID_REQUEST"); p["member"] != "token" {
		t.Errorf("a used token: %v, want the member token", p)
	}
	if e := w.events(store.EventPasswordReset); len(e) != 1 || e[0].UserID != w.ada.ID || e[0].Network != "127.0.0.0/24" {
		t.Errorf("events: %+v, want one password_reset", e)
	}
	if e := w.events(store.EventLinkMailed); len(e) != 1 || e[0].UserID != w.ada.ID || e[0].Detail != "reset_password" {
		t.Errorf("events: %+v, want one link_mailed", e)
	}
	if mails := w.mailed(); len(mails) != 1 || mails[0].to != "<ada@example.com>" || !strings.Contains(mails[0].subject, "password") || mails[0].token != "" {
		t.Errorf("mails: %+v, want one about the changed password", mails)
	}
}

// Every address gets the same response; only the address of the account gets a mail, in the language of
// the request, and links have the configured origin, whatever the fields of the request say.
func TestForgot(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	locked, err := w.people.Add(context.Background(), account.NewUser{Email: "locked@example.com", Password: adaPassword}, store.EventUserAdded, request.Info{Actor: "operator"})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.sessions.LockUser(context.Background(), locked.ID, request.Info{Actor: "operator"}); err != nil {
		t.Fatal(err)
	}
	w.mailed()
	var first reply
	for email, to := range map[string]string{
		adaEmail:                                  "<ada@example.com>",
		" ADA@Example.COM ":                       "<ada@example.com>",
		"nobody@example.com":                      "",
		"locked@example.com":                      "",
		"\u0430da@example.com":                    "", // Cyrillic
		"ad\u0101@example.com":                    "",
		"\uff41da@example.com":                    "<ada@example.com>", // NFKC
		"ada@example.com\u3002evil":               "",
		"ada+eve@example.com":                     "",
		"ada@EXAMPLE\uff0ecom":                    "<ada@example.com>",
		"eve@evil.example":                        "",
		strings.Repeat("a", 240) + "@example.com": "",
	} {
		r, err := http.NewRequest("POST", w.url+"/api/auth/password/forgot", strings.NewReader(fmt.Sprintf(`{"email":%q}`, email)))
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "evil.example"
		for name, value := range map[string]string{
			"Content-Type": "application/json", "Accept-Language": "de-AT,de;q=0.9,en;q=0.5", "X-Original-Host": "evil.example",
			"X-Host": "evil.example", "Origin": "https://evil.example", "Referer": "https://evil.example/",
		} {
			r.Header.Set(name, value)
		}
		got := w.send(r)
		got.Header.Del("Date")
		if first.Response == nil {
			first = got
		}
		if got.StatusCode != 202 || got.StatusCode != first.StatusCode || string(got.body) != string(first.body) || !maps.EqualFunc(got.Header, first.Header, slices.Equal) {
			t.Errorf("%q: got %s %v %s, want %s %v %s", email, got.Status, got.Header, got.body, first.Status, first.Header, first.body)
		}
		mails := w.mailed()
		if (len(mails) == 1) != (to != "") || len(mails) > 1 {
			t.Errorf("%q: %d mails, want one: %v", email, len(mails), to != "")
			continue
		}
		if to == "" {
			continue
		}
		if m := mails[0]; m.to != to || strings.Contains(m.raw, "evil") || !strings.Contains(m.raw, "Neues Passwort") && !strings.Contains(m.subject, "Neues") || m.token == "" {
			t.Errorf("%q: got %s, want a German mail to %s with a link to the server", email, m.raw, to)
		}
	}
	for _, bad := range []string{"no address", "a@b@c", "ada@example.com\r\nBcc: eve@evil.example", "ada@example.com\x00", `"ada"@example.com`, "<ada@example.com>", strings.Repeat("a", 255) + "@example.com"} {
		w.refused(w.do("POST", "/api/auth/password/forgot", "", object{"email": bad}), 400, "INVALID_REQUEST")
	}
	if mails := w.mailed(); len(mails) != 0 {
		t.Errorf("mails: %+v, want none", mails)
	}
}

// The mails that clients ask for are limited by network and by address. The response stays the same.
func TestMailLimits(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	rate := func(most int) *limits.Rate {
		return limits.NewRate(limits.RateConfig{Name: "test", Most: most, Window: time.Hour, Now: func() time.Time { return now }})
	}
	w := newEnv(t, settings{mails: account.MailLimits{OfNetwork: rate(6), OfAddress: rate(3), BadTokens: rate(2)}})
	ask := func(email string, times, want int) {
		t.Helper()
		for range times {
			if r := w.do("POST", "/api/auth/password/forgot", "", object{"email": email}); r.StatusCode != 202 || string(r.body) != "{}\n" {
				t.Errorf("%s: got %s %s, want 202", email, r.Status, r.body)
			}
		}
		if n := len(w.mailed()); n != want {
			t.Errorf("%s: %d mails, want %d", email, n, want)
		}
	}
	ask(adaEmail, 4, 3)
	ask("Ada@Example.com", 1, 0) // another spelling
	ask("nobody@example.com", 1, 0)
	ask(adaEmail, 1, 0)
	now = now.Add(time.Hour)
	ask("nobody@example.com", 6, 0) // the network's six
	ask(adaEmail, 1, 0)
	now = now.Add(time.Hour)
	ask(adaEmail, 1, 1)
	// Forged tokens are limited, valid ones are not.
	token := w.resetToken()
	for range 2 {
		w.refused(w.reset(strings.Repeat("A", 43), newPassword), 400, "INVALID_REQUEST")
	}
	r := w.reset(strings.Repeat("A", 43), newPassword)
	w.refused(r, 429, "TOO_MANY_ATTEMPTS")
	if r.Header.Get("Retry-After") == "" {
		t.Error("429 without Retry-After")
	}
	if r := w.reset(token, newPassword); r.StatusCode != 204 {
		t.Errorf("valid token after forged ones: %s %s", r.Status, r.body)
	}
}

// A token works once, for 30 minutes, for its user and purpose; a newer one, a changed password and a lock
// end it, and no request but POST uses it up.
func TestResetToken(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	dead := func(name, token string) {
		t.Helper()
		if p := w.refused(w.reset(token, newPassword), 400, "INVALID_REQUEST"); p["member"] != "token" || p["detail"] != "The link has expired, was used already or is incomplete." {
			t.Errorf("%s: got %v, want the same refusal for every token", name, p)
		}
	}
	token := w.resetToken()
	for name, bad := range map[string]string{
		"empty but for a blank": " ", "cut": token[:42], "longer": token + "A", "padded": token + "=", "line break": token[:20] + "\n" + token[20:],
		"other last bits": token[:42] + string(token[42]+1), "whole fragment": "#t=" + token, "not base64url": strings.Repeat("+", 43), "unknown": strings.Repeat("A", 43),
	} {
		dead(name, bad)
	}
	for _, method := range []string{"GET", "HEAD"} {
		for _, path := range []string{"/api/auth/password/reset?token=" + token, "/reset?t=" + token, "/reset"} {
			if r := w.do(method, path, "", nil); r.StatusCode < 400 {
				t.Errorf("%s %s: %s", method, path, r.Status)
			}
		}
	}
	newer := w.resetToken()
	dead("replaced by a newer mail", token)
	w.clock.Advance(30*time.Minute - time.Second)
	if r := w.reset(newer, newPassword); r.StatusCode != 204 {
		t.Fatalf("after 29:59: %s %s", r.Status, r.body)
	}
	w.mailed()
	token = w.resetToken()
	w.clock.Advance(30 * time.Minute)
	dead("after 30 minutes", token)

	token = w.resetToken()
	ada, err := w.people.ByEmail(context.Background(), adaEmail)
	if err != nil {
		t.Fatal(err)
	}
	operator := request.Info{Actor: "operator"}
	if err := w.sessions.SetPassword(context.Background(), ada, adaPassword, operator); err != nil {
		t.Fatal(err)
	}
	dead("another password since", token)
	w.mailed()
	token = w.resetToken()
	if err := w.sessions.LockUser(context.Background(), ada.ID, operator); err != nil {
		t.Fatal(err)
	}
	dead("locked user", token)
	if err := w.people.Unlock(context.Background(), ada.ID, operator); err != nil {
		t.Fatal(err)
	}
	for _, row := range []string{"UPDATE mail_tokens SET email_key = 'other@example.com'", "UPDATE mail_tokens SET purpose = 'another'"} {
		w.mailed()
		token = w.resetToken()
		w.sql(row)
		dead(row, token)
	}
}

// Of twenty uses of a token at once, one succeeds.
func TestResetOnce(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	token := w.resetToken()
	var done, refused atomic.Int64
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			switch r := w.reset(token, fmt.Sprintf("%s %d", newPassword, i)); r.StatusCode {
			case 204:
				done.Add(1)
			case 400:
				refused.Add(1)
			}
		})
	}
	all.Wait()
	if done.Load() != 1 || refused.Load() != 19 {
		t.Errorf("%d done and %d refused, want 1 and 19", done.Load(), refused.Load())
	}
	if e := w.events(store.EventPasswordReset); len(e) != 1 {
		t.Errorf("%d events, want 1", len(e))
	}
}

// A user gets a mail for each notification, in the language of the last sign-in; beyond ten an hour, only
// the account page has them.
func TestNotices(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	signIn := func(agent, language string) {
		t.Helper()
		r, err := http.NewRequest("POST", w.url+"/api/auth/login", strings.NewReader(fmt.Sprintf(`{"email":%q,"password":%q}`, adaEmail, adaPassword)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("User-Agent", agent)
		r.Header.Set("Accept-Language", language)
		w.tokens(w.send(r))
	}
	signIn("curl/8", "")
	if mails := w.mailed(); len(mails) != 0 {
		t.Errorf("first sign-in: %+v, want no mail", mails)
	}
	signIn("Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0 <script>", "de-DE,de;q=0.8")
	if mails := w.mailed(); len(mails) != 1 || mails[0].to != "<ada@example.com>" || !strings.Contains(mails[0].raw, "Firefox unter Linux") || strings.Contains(mails[0].raw, "script") {
		t.Errorf("new place: %+v, want one German mail", mails)
	}
	agents := []string{"Edg", "OPR/", "SamsungBrowser/", "Vivaldi/", "Chrome/", "Safari/", "Wget/", "HTTPie/", "PostmanRuntime/", "insomnia/", "okhttp/"}
	for _, agent := range agents {
		signIn(agent, "")
	}
	if mails := w.mailed(); len(mails) != 9 || !strings.Contains(mails[8].raw, "Neue Anmeldung") && !strings.Contains(mails[8].subject, "Neue") {
		t.Errorf("%d mails about %d new places, want 9 German ones", len(mails), len(agents))
	}
	w.clock.Advance(time.Hour)
	if err := w.sessions.LockUser(context.Background(), w.ada.ID, request.Info{Actor: "operator"}); err != nil {
		t.Fatal(err)
	}
	if mails := w.mailed(); len(mails) != 1 || !strings.Contains(mails[0].raw, "gesperrt") {
		t.Errorf("locked: %+v, want one mail", mails)
	}
}

// sql runs a statement on the database.
func (w *env) sql(statement string) {
	w.t.Helper()
	db := testkit.OpenSQLite(w.t, w.dir)
	defer db.Close()
	if _, err := db.Exec(statement); err != nil {
		w.t.Fatal(err)
	}
}
