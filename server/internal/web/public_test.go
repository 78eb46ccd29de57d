package web_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/config"
	"github.com/durward-auth/durward/server/internal/mail"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

const newPassword = "a few words in a row"

var inMail = regexp.MustCompile(regexp.QuoteMeta(origin+testPrefix) + `(/[a-z-]+)#t=([\w-]{43})`)

// links returns the links of all mails that were sent, path and token each, newest last.
func (e *env) links() (all [][2]string) {
	e.t.Helper()
	files, err := filepath.Glob(filepath.Join(e.dir, "mail", "*.eml"))
	e.must(err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		e.must(err)
		plain := strings.NewReplacer("=\r\n", "", "=\n", "", "=3D", "=").Replace(string(text))
		if m := inMail.FindStringSubmatch(plain); m != nil {
			all = append(all, [2]string{m[1], m[2]})
		}
	}
	return all
}

// mailed waits for the number-th mail with a link to path, and returns its token.
func (e *env) mailed(path string, number int) (token string) {
	e.t.Helper()
	e.eventually(fmt.Sprintf("mail %d with a link to %s", number, path), func() bool {
		found := 0
		for _, link := range e.links() {
			if link[0] == path {
				found, token = found+1, link[1]
			}
		}
		return found >= number
	})
	return token
}

// rawMails returns all mails that were sent.
func (e *env) rawMails() string {
	e.t.Helper()
	files, err := filepath.Glob(filepath.Join(e.dir, "mail", "*.eml"))
	e.must(err)
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		e.must(err)
		all.Write(text)
	}
	return all.String()
}

// in returns e for another test.
func (e *env) in(t *testing.T) *env {
	inner := *e
	inner.t = t
	return &inner
}

// goesTo requires a redirect and opens its target.
func (b *browser) goesTo(p page, want string) page {
	b.e.t.Helper()
	if got := p.location(); got != want {
		b.e.t.Fatalf("%s %s: leads to %s, want %s", p.Request.Method, p.Request.URL, got, want)
	}
	return b.follow(p).want(http.StatusOK)
}

// verifies makes new users confirm their address.
func verifies(c *config.Config) { c.VerifyEmail = true }

// A visitor registers, confirms the address with the link of the mail and signs in. A second use of the link
// is refused beside the field.
func TestRegister(t *testing.T) {
	t.Parallel()
	e := newEnv(t, verifies)
	b := e.browser()
	b.get("/login").want(http.StatusOK).shows(`href="/register"`, `href="/forgot"`)
	b.get("/register").want(http.StatusOK).shows(`autocomplete="new-password"`, "15 characters")
	b.goesTo(b.post("/register", "email", "cy@example.com", "name", "Cy", "password", newPassword), "/register/sent").shows("/verify-email/send")
	b.post("/login", "email", "cy@example.com", "password", newPassword).want(http.StatusUnprocessableEntity).shows("not confirmed")
	b.goesTo(b.post("/verify-email/send", "email", "cy@example.com"), "/verify-email/sent")
	token := e.mailed("/verify-email", 2)
	b.get("/verify-email").want(http.StatusOK).shows(`src="/static/token.js"`)
	b.goesTo(b.post("/verify-email", "token", token), "/verify-email/done")
	p := b.post("/verify-email", "token", token).want(http.StatusUnprocessableEntity).shows("This link does not work")
	e.eventually("record of the refusal", func() bool {
		why, err := e.node.DB.DenialByID(context.Background(), p.denial())
		return err == nil && why.Code == "INVALID_REQUEST"
	})
	b.post("/login", "email", "cy@example.com", "password", newPassword).want(http.StatusSeeOther)
}

// A registration that began at a page leads back to that page after the confirmation and the sign-in, as long as
// the link is opened in the same browser. The mail carries no target.
func TestRegisterReturns(t *testing.T) {
	t.Parallel()
	href := regexp.MustCompile(`href="(/(?:register|login)\?[^"]*)"`)
	for _, verified := range []bool{false, true} {
		e := newEnv(t, func(c *config.Config) {
			c.VerifyEmail = verified
			c.CORS.Origins = []string{"https://app.example.com"}
		})
		for n, c := range []struct{ name, query, want string }{
			{"a page of this server", "return_to=/app%3Ftab=2", "/app?tab=2"},
			{"a configured origin", "return_to=https://app.example.com/x", "/hop?to=" + url.QueryEscape("https://app.example.com/x")},
			{"an origin of a thief", "return_to=https://evil.example/x", "/account"},
			{"a host", "return_to=//evil.example", "/account"},
			{"a script", "return_to=javascript:alert(1)", "/account"},
			{"a language", "return_to=/app&ui_locales=de", "/app"},
			{"twice", "return_to=/app&return_to=https://evil.example", "/app"},
		} {
			name := fmt.Sprintf("%s, confirmation %t", c.name, verified)
			b := e.browser()
			link := func(p page, to string) string {
				t.Helper()
				found := href.FindStringSubmatch(p.want(http.StatusOK).Body)
				if found == nil || !strings.HasPrefix(found[1], to+"?") {
					t.Fatalf("%s: %s has no link to %s with parameters:\n%s", name, p.Request.URL, to, p.Body)
				}
				return html.UnescapeString(found[1])
			}
			email := fmt.Sprintf("new%d@example.com", n)
			at := link(b.get("/login?"+c.query), "/register")
			link(b.get(at), "/login")
			p := b.post(at, "email", email, "name", "", "password", newPassword)
			if verified {
				link(b.follow(p), "/login")
				p = b.post("/verify-email", "token", e.mailed("/verify-email", n+1))
				if b.cookie("__Host-durward-return") != "" {
					t.Errorf("%s: the cookie of the registration is left", name)
				}
			}
			p = b.post(link(b.follow(p), "/login"), "email", email, "password", newPassword)
			if strings.HasPrefix(c.want, "/hop") {
				p.want(http.StatusOK).shows(c.want)
			} else if got := p.location(); got != c.want {
				t.Errorf("%s: the sign-in leads to %s, want %s", name, got, c.want)
			}
		}
	}
}

// A target that is too long for a cookie is dropped at the mail.
func TestRegisterLongReturn(t *testing.T) {
	t.Parallel()
	e := newEnv(t, verifies)
	b := e.browser()
	b.post("/register?return_to=/"+strings.Repeat("x", 3000), "email", "cy@example.com", "name", "", "password", newPassword).want(http.StatusSeeOther)
	b.goesTo(b.post("/verify-email", "token", e.mailed("/verify-email", 1)), "/verify-email/done")
}

// In another browser than that of the registration, the confirmation leads to the sign-in alone. A cookie that
// the browser made up does no harm.
func TestRegisterInOtherBrowser(t *testing.T) {
	t.Parallel()
	e := newEnv(t, verifies)
	b := e.browser()
	b.post("/register?return_to=/app", "email", "cy@example.com", "name", "", "password", newPassword).want(http.StatusSeeOther)
	token := e.mailed("/verify-email", 1)
	if raw := e.rawMails(); strings.Contains(raw, "return_to") || strings.Contains(raw, "/app") {
		t.Errorf("the mail carries a target: %s", raw)
	}
	other := e.browser()
	other.Fields.Set("Cookie", "__Host-durward-return=!!!; __Host-durward-return=x")
	other.post("/verify-email", "token", "x").want(http.StatusUnprocessableEntity)
	other.Fields.Set("Cookie", "__Host-durward-return="+base64.RawURLEncoding.EncodeToString([]byte("%zz")))
	other.goesTo(other.post("/verify-email", "token", token), "/verify-email/done").shows(`href="/login"`)
}

// A mail has the language that the user sees, not the one that the browser prefers.
func TestMailLanguage(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.browser()
	b.post("/language", "language", "de", "return_to", "/forgot").want(http.StatusSeeOther)
	b.get("/forgot").want(http.StatusOK).shows("Passwort vergessen?", `lang="de"`)
	b.post("/forgot", "email", ada).want(http.StatusSeeOther)
	e.eventually("a row for a German mail", func() bool {
		files, _ := filepath.Glob(filepath.Join(e.dir, "mail", "*.eml"))
		for _, file := range files {
			if text, _ := os.ReadFile(file); strings.Contains(string(text), "Passwort") {
				return true
			}
		}
		return false
	})
}

// A user sets a new password with the link of a mail. All sessions end, and the old password is refused.
func TestForgot(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	other := e.browser()
	other.signIn(ada)
	b := e.browser()
	b.goesTo(b.post("/forgot", "email", ada), "/forgot/sent")
	token := e.mailed("/reset", 1)
	// A refused password keeps the token, so that the user need not open the mail again.
	b.post("/reset", "token", token, "new_password", "short").want(http.StatusUnprocessableEntity).
		shows("too short", `value="`+token+`"`, `aria-invalid="true"`).lacks(`value="short"`)
	b.goesTo(b.post("/reset", "token", token, "new_password", newPassword), "/reset/done")
	if p := other.get("/account"); p.StatusCode != http.StatusSeeOther {
		t.Errorf("session of before the reset: %s, want the sign-in page", p.Status)
	}
	b.post("/login", "email", ada, "password", password).want(http.StatusUnprocessableEntity)
	b.post("/login", "email", ada, "password", newPassword).want(http.StatusSeeOther)
}

// An invited user sets name and password. An invitation is good once, also for two tabs at once.
func TestInvite(t *testing.T) {
	t.Parallel()
	e := newEnv(t, func(c *config.Config) { c.Registration = "invite" })
	_, err := e.node.Accounts.Invite(context.Background(), account.NewUser{Email: "dee@example.com"}, request.Info{Actor: store.Operator})
	e.must(err)
	token := e.mailed("/invite", 1)
	b := e.browser()
	b.get("/login").lacks(`href="/register"`)
	b.get("/register").want(http.StatusOK).shows("closed").lacks("<input id=")
	b.post("/register", "email", "x@example.com", "password", newPassword).want(http.StatusForbidden)
	b.get("/invite").want(http.StatusOK).shows(`name="name"`)
	var wait sync.WaitGroup
	results := make([]int, 5)
	for i := range results {
		wait.Go(func() {
			results[i] = e.browser().post("/invite", "token", token, "name", "Dee", "password", newPassword).StatusCode
		})
	}
	wait.Wait()
	slices.Sort(results)
	if want := []int{303, 422, 422, 422, 422}; !slices.Equal(results, want) {
		t.Errorf("five tabs with one invitation: %v, want %v", results, want)
	}
	b.post("/login", "email", "dee@example.com", "password", newPassword).want(http.StatusSeeOther)
	if u := e.user("dee@example.com"); u.Name != "Dee" {
		t.Errorf("name is %q, want Dee", u.Name)
	}
}

// With the link of the first start a visitor adds the first administrator, once.
func TestSetup(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.browser()
	b.get("/setup").want(http.StatusOK)
	b.post("/setup", "token", strings.Repeat("A", 43), "email", "eve@example.com", "password", newPassword).
		want(http.StatusUnprocessableEntity).shows("This link does not work")
	e.must(e.node.Sessions.DeleteUser(context.Background(), e.user(bea).ID, request.Info{Actor: store.Operator}))
	token, err := e.node.Accounts.BeginSetup(context.Background())
	e.must(err)
	b.post("/setup", "token", token.Reveal(), "email", ada, "password", newPassword).
		want(http.StatusUnprocessableEntity).shows("There is an account with this e-mail address", token.Reveal())
	b.goesTo(b.post("/setup", "token", token.Reveal(), "email", "eve@example.com", "name", "Eve", "password", newPassword), "/setup/done")
	if u := e.user("eve@example.com"); !u.Admin || u.Name != "Eve" {
		t.Errorf("the first administrator is %+v", u)
	}
	b.post("/setup", "token", token.Reveal(), "email", "two@example.com", "password", newPassword).want(http.StatusUnprocessableEntity)
}

// Five tabs send one link at the same instant: one wins, the others get the page with the reason, and what they
// typed stays, passwords excepted. The password of the winner is the one that works.
func TestLinksTwiceAtOnce(t *testing.T) {
	t.Parallel()
	e := newEnv(t, verifies)
	tab := func(n int) string { return fmt.Sprintf("%s of tab %d", newPassword, n) }
	race := func(name string, post func(tab int) page) (winner int) {
		t.Helper()
		pages := make([]page, 5)
		start := make(chan struct{})
		var wait sync.WaitGroup
		for n := range pages {
			wait.Go(func() {
				<-start
				pages[n] = post(n)
			})
		}
		close(start)
		wait.Wait()
		winner = -1
		for n, p := range pages {
			switch {
			case p.StatusCode == http.StatusSeeOther && winner < 0:
				winner = n
			case p.StatusCode == http.StatusSeeOther:
				t.Errorf("%s: tabs %d and %d won", name, winner, n)
			default:
				p.want(http.StatusUnprocessableEntity).shows("This link does not work", `aria-invalid="true"`).lacks(tab(n))
				p.denial()
			}
		}
		if winner < 0 {
			t.Fatalf("%s: no tab won", name)
		}
		return winner
	}

	e.browser().post("/forgot", "email", ada).want(http.StatusSeeOther)
	token := e.mailed("/reset", 1)
	won := race("reset", func(n int) page {
		return e.browser().post("/reset", "token", token, "new_password", tab(n))
	})
	for n := range 5 {
		want := http.StatusUnprocessableEntity
		if n == won {
			want = http.StatusSeeOther
		}
		e.browser().post("/login", "email", ada, "password", tab(n)).want(want)
	}

	e.browser().post("/register", "email", "cy@example.com", "name", "Cy", "password", newPassword).want(http.StatusSeeOther)
	token = e.mailed("/verify-email", 1)
	race("verify", func(int) page { return e.browser().post("/verify-email", "token", token) })
	if found := e.events(store.EventEmailVerified); len(found) != 1 {
		t.Errorf("%d events of the confirmation, want 1", len(found))
	}
	e.browser().post("/login", "email", "cy@example.com", "password", newPassword).want(http.StatusSeeOther)

	e.must(e.node.Sessions.DeleteUser(context.Background(), e.user(bea).ID, request.Info{Actor: store.Operator}))
	first, err := e.node.Accounts.BeginSetup(context.Background())
	e.must(err)
	email := func(n int) string { return fmt.Sprintf("root%d@example.com", n) }
	won = race("setup", func(n int) page {
		p := e.browser().post("/setup", "token", first.Reveal(), "email", email(n), "name", fmt.Sprint("Root ", n), "password", tab(n))
		if p.StatusCode == http.StatusUnprocessableEntity {
			p.shows(`value="`+email(n)+`"`, fmt.Sprint(`value="Root `, n, `"`))
		}
		return p
	})
	all, err := e.node.DB.FindUsers(context.Background(), store.UserFilter{Admin: true, Limit: 10})
	e.must(err)
	if len(all) != 1 || all[0].Email != email(won) || all[0].Name != fmt.Sprint("Root ", won) {
		t.Errorf("administrators: %+v, want %s alone", all, email(won))
	}
	e.browser().post("/login", "email", email(won), "password", tab(won)).want(http.StatusSeeOther)
}

// The former owner of an address takes its change back.
func TestUndoEmail(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	u := e.user(ada)
	e.must(e.node.Accounts.RequestEmailChange(context.Background(), u.ID, "thief@example.com", request.Info{}))
	b := e.browser()
	b.goesTo(b.post("/verify-email", "token", e.mailed("/verify-email", 1)), "/verify-email/done")
	if got := e.user("thief@example.com"); got.ID != u.ID {
		t.Fatal("the address was not changed")
	}
	b.goesTo(b.post("/undo-email", "token", e.mailed("/undo-email", 1)), "/undo-email/done")
	if got := e.user(ada); got.ID != u.ID {
		t.Error("the change was not undone")
	}
	e.mailed("/reset", 1)
}

// Each mail with a link names a page that takes its token.
func TestLinksOfMails(t *testing.T) {
	t.Parallel()
	e := newEnv(t, verifies)
	b := e.browser()
	for _, link := range mail.Links() {
		b.get(link.Path).want(http.StatusOK).shows(`name="token"`, "/static/token.js")
	}
}

// With confirmation of addresses, no response of the pages tells whether an address has an account.
func TestPagesEnumeration(t *testing.T) {
	t.Parallel()
	e := newEnv(t, verifies)
	seen := func(p page) string {
		h := p.Header.Clone()
		h.Del("Date")
		return fmt.Sprint(p.StatusCode, h, p.Body)
	}
	for _, c := range []struct{ path, pairs string }{
		{"/forgot", ""},
		{"/verify-email/send", ""},
		{"/register", "password=" + newPassword},
	} {
		var got []string
		for _, email := range []string{ada, "una@example.com"} { // of one length
			pairs := []string{"email", email}
			if name, value, ok := strings.Cut(c.pairs, "="); ok {
				pairs = append(pairs, name, value)
			}
			b := e.browser()
			p := b.post(c.path, pairs...).want(http.StatusSeeOther)
			got = append(got, seen(p)+seen(b.follow(p)))
		}
		if got[0] != got[1] {
			t.Errorf("%s: a known and an unknown address differ:\n%s\n%s", c.path, got[0], got[1])
		}
	}
}

// publicForms are the forms for visitors, with fields that the rules accept, except for the token.
var publicForms = map[string][]string{
	"/login":             {"email", "password"},
	"/register":          {"email", "password", "name?"},
	"/verify-email":      {"token"},
	"/verify-email/send": {"email"},
	"/undo-email":        {"token"},
	"/forgot":            {"email"},
	"/reset":             {"token", "new_password"},
	"/invite":            {"token", "password", "name?"},
	"/setup":             {"token", "email", "password", "name?"},
}

// Each form with missing, repeated, unknown, too long and wrongly encoded fields: nonsense gets 400, a mistake
// gets the page with the field marked. No password comes back.
func TestPublicForms(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	token := strings.Repeat("A", 43)
	good := map[string]string{"email": "zed@example.com", "password": newPassword, "new_password": newPassword, "name": "Zed", "token": token}
	const form = "application/x-www-form-urlencoded"
	for path, fields := range publicForms {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			e := e.in(t)
			b := e.browser()
			all := ""
			for _, field := range fields {
				name, _ := strings.CutSuffix(field, "?")
				all += name + "=" + good[name] + "&"
			}
			b.send("POST", path, form, all+"other=1").want(http.StatusBadRequest)
			b.send("POST", path, form, all+"%zz=1").want(http.StatusBadRequest)
			b.send("POST", path, "application/json", `{}`).want(http.StatusUnsupportedMediaType)
			b.send("POST", path, "multipart/form-data; boundary=x", "--x--").want(http.StatusUnsupportedMediaType)
			b.send("POST", path, form, all+strings.Repeat("x", 70<<10)).want(http.StatusRequestEntityTooLarge)
			b.Fields.Set("Origin", "https://evil.example")
			b.Fields.Set("Sec-Fetch-Site", "cross-site")
			b.send("POST", path, form, all).want(http.StatusForbidden)
			b.Fields = http.Header{"Origin": {"null"}, "Sec-Fetch-Site": nil}
			b.send("POST", path, form, all).want(http.StatusForbidden)
			b.Fields = http.Header{}
			for _, field := range fields {
				name, optional := strings.CutSuffix(field, "?")
				b.send("POST", path, form, all+name+"=again").want(http.StatusBadRequest)
				b.send("POST", path, form, strings.Replace(all, name+"="+good[name], name+"=%ff%fe", 1)).want(http.StatusBadRequest)
				if !optional {
					for _, body := range []string{strings.Replace(all, name+"="+good[name]+"&", "", 1), strings.Replace(all, name+"="+good[name], name+"=", 1)} {
						p := b.send("POST", path, form, body).want(http.StatusUnprocessableEntity)
						p.shows(`href="#`+name+`"`, `aria-describedby="`+name+`-mistake`, `role="alert"`).lacks(newPassword)
					}
				}
				long := strings.Replace(all, name+"="+good[name], name+"="+strings.Repeat("x", 5000), 1)
				if p := b.send("POST", path, form, long).want(http.StatusUnprocessableEntity); strings.Contains(p.Body, newPassword) {
					t.Errorf("%s, long %s: the password is in the page", path, name)
				}
			}
			if b.send("PUT", path, form, all).want(http.StatusMethodNotAllowed); slices.Contains(fields, "token") {
				b.send("POST", path, form, all).want(http.StatusUnprocessableEntity).shows(`href="#token"`)
			}
		})
	}
}

// A refused password is explained in both languages, with the limit.
func TestPasswordRules(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	for text, words := range map[string][2]string{
		"short":                         {"at least 15 characters", "mindestens 15 Zeichen"},
		strings.Repeat("long ", 60):     {"at most 256 characters", "höchstens 256 Zeichen"},
		"my zed@example.com is the one": {"must not contain your e-mail address", "darf Ihre E-Mail-Adresse nicht enthalten"},
		"control\acharacters in here":   {"cannot type", "nicht haben"},
	} {
		for i, language := range []string{"en", "de"} {
			b := e.browser()
			b.Fields.Set("Accept-Language", language)
			b.post("/register", "email", "zed@example.com", "password", text).
				want(http.StatusUnprocessableEntity).shows(words[i], `id="password-mistake"`, `value="zed@example.com"`)
		}
	}
}

// The well-known URLs of passwords and passkeys lead to the account.
func TestWellKnown(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.browser()
	if p := b.get("/.well-known/change-password").want(http.StatusFound); p.Header.Get("Location") != "/account/password" {
		t.Errorf("change-password leads to %s", p.Header.Get("Location"))
	}
	p := b.get("/.well-known/passkey-endpoints").want(http.StatusOK).shows(`"enroll":"https://auth.example.com/account/passkeys"`, `"manage":"https://auth.example.com/account/passkeys"`)
	if p.Header.Get("Content-Type") != "application/json" {
		t.Errorf("passkey-endpoints: Content-Type is %s", p.Header.Get("Content-Type"))
	}
}
