package httpapi

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

// administrator adds an administrator and returns their id and an access token.
func (w *env) administrator(email string) (id, token string) {
	w.t.Helper()
	u, err := w.people.Add(w.t.Context(), account.NewUser{Email: email, Password: adaPassword, Admin: true}, store.EventUserAdded, request.Info{Actor: store.Operator})
	if err != nil {
		w.t.Fatal(err)
	}
	return u.ID, w.signInAs(email)
}

func (w *env) signInAs(email string) (token string) {
	w.t.Helper()
	return w.tokens(w.do("POST", "/api/auth/login", "", object{"email": email, "password": adaPassword})).AccessToken
}

// found returns a page of users.
func (w *env) found(token, query string) list[userItem] {
	w.t.Helper()
	var page list[userItem]
	if r := w.do("GET", "/api/admin/users"+query, token, nil); r.StatusCode != 200 || json.Unmarshal(r.body, &page) != nil {
		w.t.Fatalf("users%s: %s %s", query, r.Status, r.body)
	}
	return page
}

// status requires the status of a response.
func (w *env) status(r reply, want int) {
	w.t.Helper()
	if r.StatusCode != want {
		w.t.Fatalf("got %s %s, want %d", r.Status, r.body, want)
	}
}

func TestFindUsers(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{registration: true})
	_, token := w.administrator("root@example.com")
	for _, u := range []object{
		{"email": "Bob_100%@example.com", "name": "Bob Stone"},
		{"email": "bobx100y@example.com", "name": "Mallory"},
		{"email": "eve@example.com", "name": `back\slash`},
	} {
		u["password"] = adaPassword
		w.status(w.do("POST", "/api/auth/register", "", u), 201)
	}
	eve := w.found(token, "?search=eve").Items[0]
	w.status(w.do("POST", "/api/admin/users/"+eve.ID+"/lock", token, nil), 204)
	for _, c := range []struct{ query, want string }{
		{"", "eve bobx100y Bob_100% ada root"},
		{"?search=BOB", "bobx100y Bob_100%"},
		{"?search=stone", "Bob_100%"},
		{"?search=b_1", "Bob_100%"},
		{"?search=100%25", "Bob_100%"},
		{"?search=k%5Cs", "eve"},
		{"?search=nobody", ""},
		{"?admin=true", "root"},
		{"?locked=true", "eve"},
		{"?search=" + eve.ID, "eve"},
		{"?search=example&limit=2", "eve bobx100y"},
	} {
		var got []string
		for _, u := range w.found(token, c.query).Items {
			name, _, _ := strings.Cut(u.Email, "@")
			got = append(got, name)
		}
		want := strings.Fields(c.want)
		if slices.Sort(got); !slices.Equal(got, sorted(want)) {
			t.Errorf("users%s: got %q, want %q", c.query, got, want)
		}
	}
	var all []string
	for after := ""; ; {
		page := w.found(token, "?limit=2&after="+after)
		for _, u := range page.Items {
			all = append(all, u.ID)
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if len(all) != 5 || len(slices.Compact(sorted(all))) != 5 {
		t.Errorf("pages of 2: %q, want 5 users once each", all)
	}
	for _, query := range []string{"?limit=0", "?limit=201", "?admin=false", "?locked=1", "?search=%00", "?search=" + strings.Repeat("a", 255)} {
		w.refused(w.do("GET", "/api/admin/users"+query, token, nil), 400, "INVALID_REQUEST")
	}
}

func sorted(words []string) []string { return slices.Sorted(slices.Values(words)) }

// A lock, the end of all sessions and deletion end the tokens, cookies and keys that the table in
// docs/server.md names.
func TestAdministrationEndsCredentials(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		action, method, path string
		keyLives             bool
	}{
		{"lock", "POST", "/lock", false},
		{"sign-out", "POST", "/sign-out", true},
		{"delete", "DELETE", "", false},
	} {
		t.Run(c.action, func(t *testing.T) {
			t.Parallel()
			w := newEnv(t, settings{})
			_, token := w.administrator("root@example.com")
			s := w.signIn()
			cookie := w.cookieOf(adaEmail)
			key := w.key(s.AccessToken, object{}).Key
			w.status(w.do(c.method, "/api/admin/users/"+w.ada.ID+c.path, token, nil), 204)
			w.dead(s.AccessToken, "TOKEN_REVOKED")
			if r := w.refreshWith(s.RefreshToken); r.StatusCode != 401 {
				t.Errorf("refresh: %s", r.Status)
			}
			w.cookieDead(cookie)
			if c.keyLives {
				w.keyWorks(key)
			} else {
				w.keyDead(key)
				if r := w.do("POST", "/api/auth/login", "", object{"email": adaEmail, "password": adaPassword}); r.StatusCode == 200 {
					t.Error("the user can sign in")
				}
			}
			w.works(token)
		})
	}
}

func TestUnlockUser(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	root, token := w.administrator("root@example.com")
	s := w.signIn()
	key := w.key(s.AccessToken, object{}).Key
	user := "/api/admin/users/" + w.ada.ID
	w.status(w.do("POST", user+"/lock", token, nil), 204)
	w.refused(w.do("POST", "/api/auth/login", "", object{"email": adaEmail, "password": adaPassword}), 403, "ACCOUNT_DISABLED")
	if u := w.found(token, "?locked=true").Items; len(u) != 1 || u[0].LockedAt.IsZero() {
		t.Errorf("locked users: %v", u)
	}
	w.status(w.do("POST", user+"/unlock", token, nil), 204)
	w.signIn()
	w.keyWorks(key)
	w.dead(s.AccessToken, "TOKEN_REVOKED")
	for _, kind := range []string{store.EventUserLocked, store.EventUserUnlocked} {
		if e := w.events(kind); len(e) != 1 || e[0].Actor != root || e[0].UserID != w.ada.ID {
			t.Errorf("events %s: %+v, want one about Ada by the administrator", kind, e)
		}
	}
	// The notice about the lock tells nothing about the administrator.
	notices, err := w.db.Notifications(t.Context(), w.ada.ID, "", 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range notices {
		if n.Kind == "account_locked" && (n.Device != "" || n.Network != "") {
			t.Errorf("notice of the lock: %+v, want no device and network", n)
		}
	}
}

// A user who loses the right loses all tokens with it; a new administrator needs a new sign-in.
func TestDemotion(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	root, token := w.administrator("root@example.com")
	user := "/api/admin/users/" + w.ada.ID
	before := w.signIn()
	w.status(w.do("PATCH", user, token, object{"admin": true, "name": " Countess "}), 200)
	w.refused(w.do("GET", "/api/admin/users", before.AccessToken, nil), 403, "INSUFFICIENT_SCOPE")
	ada := w.signIn()
	w.found(ada.AccessToken, "")
	key := w.key(ada.AccessToken, object{"scopes": []string{"admin", "profile"}}).Key
	if r := w.withKey("GET", "/api/admin/users", key); r.StatusCode != 200 {
		t.Fatalf("key of an administrator: %s %s", r.Status, r.body)
	}
	if r := w.do("PATCH", user, token, object{"admin": false}); r.StatusCode != 200 || !strings.Contains(string(r.body), `"name":"Countess"`) || !strings.Contains(string(r.body), `"admin":false`) {
		t.Fatalf("PATCH: %s %s", r.Status, r.body)
	}
	w.dead(ada.AccessToken, "TOKEN_REVOKED")
	w.refused(w.refreshWith(ada.RefreshToken), 401, "SESSION_REVOKED")
	w.refused(w.withKey("GET", "/api/admin/users", key), 403, "INSUFFICIENT_SCOPE")
	w.keyWorks(key)
	if events := w.events(store.EventUserChanged); len(events) != 2 || events[0].Detail != "admin=false" || events[1].Detail != "name admin=true" || events[0].Actor != root {
		t.Errorf("events: %+v", events)
	}
	// The name alone ends nothing.
	s := w.signIn()
	w.status(w.do("PATCH", user, token, object{"name": "Ada"}), 200)
	w.works(s.AccessToken)
}

// Administrators cannot take the right from themselves, so there is always one.
func TestAdministratorsOnThemselves(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	root, token := w.administrator("root@example.com")
	for _, c := range []struct {
		method, path string
		body         any
	}{
		{"PATCH", "", object{"admin": false}}, {"DELETE", "", nil}, {"POST", "/lock", nil},
	} {
		p := w.refused(w.do(c.method, "/api/admin/users/"+root+c.path, token, c.body), 403, "FORBIDDEN")
		if detail, _ := p["detail"].(string); !strings.Contains(detail, "themselves") {
			t.Errorf("%s %s: %v, want the reason", c.method, c.path, p)
		}
	}
	w.status(w.do("PATCH", "/api/admin/users/"+root, token, object{"name": "Root"}), 200)
	w.works(token)
}

// The user of an invitation sets the password. The right to administrate comes with the invitation.
func TestInviteUser(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{mode: "invite"})
	root, token := w.administrator("root@example.com")
	var u userItem
	r := w.do("POST", "/api/admin/users", token, object{"email": "Eve@example.com", "name": "Eve", "admin": true})
	if json.Unmarshal(r.body, &u) != nil || r.StatusCode != 201 || u.Email != "Eve@example.com" || !u.Admin || u.HasPassword {
		t.Fatalf("invitation: %s %s", r.Status, r.body)
	}
	w.refused(w.do("POST", "/api/admin/users", token, object{"email": "eve@example.com"}), 409, "EMAIL_TAKEN")
	w.refused(w.do("POST", "/api/admin/users", token, object{"email": "mallory@example.com", "password": adaPassword}), 400, "INVALID_REQUEST")
	mails := w.mailed()
	if len(mails) != 1 || mails[0].token == "" {
		t.Fatalf("mails: %+v, want one invitation", mails)
	}
	w.refused(w.do("POST", "/api/auth/login", "", object{"email": "eve@example.com", "password": adaPassword}), 401, "INVALID_CREDENTIALS")
	w.status(w.do("POST", "/api/auth/invite", "", object{"token": mails[0].token, "password": adaPassword}), 204)
	w.found(w.signInAs("eve@example.com"), "")
	if e := w.events(store.EventUserInvited); len(e) != 1 || e[0].Actor != root {
		t.Errorf("events: %+v", e)
	}
	off := newEnv(t, settings{})
	_, token = off.administrator("root@example.com")
	off.refused(off.do("POST", "/api/admin/users", token, object{"email": "eve@example.com"}), 403, "FORBIDDEN")
}

// The administrator causes the mail with the link and learns nothing from it.
func TestSendPasswordReset(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	root, token := w.administrator("root@example.com")
	s := w.signIn()
	r := w.do("POST", "/api/admin/users/"+w.ada.ID+"/password-reset", token, nil)
	w.status(r, 202)
	if string(r.body) != "{}\n" {
		t.Errorf("body: %s, want {}", r.body)
	}
	mails := w.mailed()
	if len(mails) != 1 || !strings.Contains(mails[0].to, adaEmail) || mails[0].token == "" {
		t.Fatalf("mails: %+v, want one to Ada with a link", mails)
	}
	w.works(s.AccessToken)
	w.signIn()
	w.status(w.reset(mails[0].token, "another fine password"), 204)
	w.dead(s.AccessToken, "TOKEN_REVOKED")
	if e := w.events(store.EventResetSent); len(e) != 1 || e[0].Actor != root || e[0].UserID != w.ada.ID {
		t.Errorf("events: %+v", e)
	}
}

func TestSessionsAndKeysOfUsers(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	root, token := w.administrator("root@example.com")
	s, other := w.signIn(), w.signIn()
	k := w.key(s.AccessToken, object{})
	user := "/api/admin/users/" + w.ada.ID
	var page list[sessionItem]
	if r := w.do("GET", user+"/sessions", token, nil); json.Unmarshal(r.body, &page) != nil || len(page.Items) != 2 || page.Items[0].Current {
		t.Fatalf("sessions: %s", r.body)
	}
	var ofAda list[sessionItem]
	if r := w.do("GET", "/api/auth/sessions", s.AccessToken, nil); json.Unmarshal(r.body, &ofAda) != nil {
		t.Fatalf("sessions: %s", r.body)
	}
	current := ofAda.Items[slices.IndexFunc(ofAda.Items, func(i sessionItem) bool { return i.Current })].ID
	// The id of a session alone is not enough: it belongs to the user in the path.
	w.refused(w.do("DELETE", "/api/admin/users/"+root+"/sessions/"+current, token, nil), 404, "NOT_FOUND")
	w.works(s.AccessToken)
	w.status(w.do("DELETE", user+"/sessions/"+current, token, nil), 204)
	w.dead(s.AccessToken, "TOKEN_REVOKED")
	w.works(other.AccessToken)

	var keys list[account.KeyView]
	if r := w.do("GET", user+"/keys", token, nil); json.Unmarshal(r.body, &keys) != nil || len(keys.Items) != 1 || keys.Items[0].ID != k.ID || keys.Items[0].Key != "" {
		t.Fatalf("keys: %s", r.body)
	}
	w.refused(w.do("DELETE", "/api/admin/users/"+root+"/keys/"+k.ID, token, nil), 404, "NOT_FOUND")
	w.keyWorks(k.Key)
	w.status(w.do("DELETE", user+"/keys/"+k.ID, token, nil), 204)
	w.keyDead(k.Key)
	if e := w.events(store.EventAPIKeyRevoked); len(e) != 1 || e[0].Actor != root || e[0].UserID != w.ada.ID {
		t.Errorf("events: %+v", e)
	}
}

// After deletion the security log has the id and no name or address, and the address is free.
func TestDeleteUser(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{registration: true})
	_, token := w.administrator("root@example.com")
	w.signIn()
	w.status(w.do("DELETE", "/api/admin/users/"+w.ada.ID, token, nil), 204)
	w.refused(w.do("DELETE", "/api/admin/users/"+w.ada.ID, token, nil), 404, "NOT_FOUND")
	w.refused(w.do("POST", "/api/auth/login", "", object{"email": adaEmail, "password": adaPassword}), 401, "INVALID_CREDENTIALS")
	if e := w.events(store.EventUserDeleted); len(e) != 1 || e[0].UserID != w.ada.ID {
		t.Errorf("events: %+v", e)
	}
	for _, e := range w.events("") {
		if text := e.Detail + e.Outcome; strings.Contains(text, adaEmail) || strings.Contains(text, "Ada") {
			t.Errorf("the security log keeps more than the id: %+v", e)
		}
	}
	if mails := w.mailed(); len(mails) != 0 {
		t.Errorf("mails to a deleted user: %+v", mails)
	}
	w.refused(w.do("POST", "/api/auth/register", "", object{"email": adaEmail, "password": adaPassword}), 409, "EMAIL_TAKEN")
}

// By default, administration needs a second factor. A user who lost theirs gets another chance.
func TestAdministrationWithFactor(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{adminFactor: true})
	root, weak := w.administrator("root@example.com")
	w.enrol(adaEmail)
	user := "/api/admin/users/" + w.ada.ID
	w.refused(w.do("GET", "/api/admin/users", weak, nil), 403, "ENROLMENT_REQUIRED")
	w.refused(w.do("POST", user+"/lock", weak, nil), 403, "ENROLMENT_REQUIRED")
	_, strong := w.enrol("root@example.com")
	w.refused(w.do("GET", "/api/admin/users", weak, nil), 401, "STEP_UP_REQUIRED")
	r := w.do("DELETE", user+"/mfa", weak, nil)
	w.refused(r, 401, "STEP_UP_REQUIRED")
	if got := strings.Join(r.Header.Values("WWW-Authenticate"), "|"); !strings.Contains(got, `acr_values="`+twoFactor+` phr"`) || !strings.Contains(got, `max_age="300"`) {
		t.Errorf("challenge: %s, want acr_values and max_age", got)
	}
	half := w.half(adaEmail)
	w.refused(w.do("GET", "/api/admin/users", half, nil), 401, "INVALID_TOKEN")
	w.status(w.do("DELETE", user+"/mfa", strong.AccessToken, nil), 204)
	w.refused(w.do("DELETE", user+"/mfa", strong.AccessToken, nil), 404, "NOT_FOUND")
	w.signIn()
	if e := w.events(store.EventFactorRemoved); len(e) != 1 || e[0].Actor != root || e[0].UserID != w.ada.ID {
		t.Errorf("events: %+v", e)
	}
	// A key of administration was made with the factor and reads without it.
	key := w.key(strong.AccessToken, object{"scopes": []string{"admin"}}).Key
	if r := w.withKey("GET", "/api/admin/users", key); r.StatusCode != 200 {
		t.Errorf("key of administration: %s %s", r.Status, r.body)
	}
	if r := w.withKey("POST", user+"/lock", key); r.StatusCode != 403 {
		t.Errorf("change with a key: %s %s", r.Status, r.body)
	}
}

// Without that setting, an administrator who has a second factor still needs it for changes.
func TestAdministrationWithOwnFactor(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	_, before := w.administrator("root@example.com")
	w.enrol("root@example.com")
	w.refused(w.do("POST", "/api/admin/users/"+w.ada.ID+"/lock", before, nil), 401, "STEP_UP_REQUIRED")
}

// Changes need a recent sign-in, one with the cookie from a page of this server.
func TestAdministrationIsFresh(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	_, token := w.administrator("root@example.com")
	cookie := w.cookieOf("root@example.com")
	lock := "/api/admin/users/" + w.ada.ID + "/lock"
	w.refused(w.byCookie("POST", lock, cookie, nil, "Sec-Fetch-Site", "cross-site"), 403, "CROSS_SITE")
	w.clock.Advance(recentSignIn + time.Second)
	w.eventually("the list of revocations is fresh", func() bool {
		return w.do("GET", "/api/admin/users", token, nil).StatusCode == http.StatusOK
	})
	r := w.do("POST", lock, token, nil)
	w.refused(r, 401, "STEP_UP_REQUIRED")
	if got := r.Header.Get("WWW-Authenticate"); !strings.Contains(got, `max_age="300"`) {
		t.Errorf("challenge: %s, want max_age", got)
	}
	again := w.tokens(w.do("POST", "/api/auth/step-up", token, object{"password": adaPassword}))
	w.status(w.do("POST", lock, again.AccessToken, nil), 204)
}

// Administrators put users in groups and take them out.
func TestGroups(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	root, token := w.administrator("root@example.com")
	groups := "/api/admin/users/" + w.ada.ID + "/groups"
	names := func(path string) string {
		var all []string
		for _, g := range read[list[groupItem]](w, token, path).Items {
			all = append(all, g.Name+strings.Repeat("+", g.Users))
		}
		return strings.Join(all, " ")
	}
	for _, name := range []string{"ops", "team.a", "ops"} {
		w.status(w.do("POST", groups, token, object{"name": name}), 201)
	}
	w.status(w.do("POST", "/api/admin/users/"+root+"/groups", token, object{"name": "ops"}), 201)
	if got := names(groups); got != "ops team.a" {
		t.Errorf("groups of ada: %s", got)
	}
	if got := names("/api/admin/groups"); got != "ops++ team.a+" {
		t.Errorf("all groups: %s", got)
	}
	for _, name := range []string{"", "Ops", "a b", "-a", "a/b", "\x00", strings.Repeat("a", 65)} {
		if p := w.refused(w.do("POST", groups, token, object{"name": name}), 400, "INVALID_REQUEST"); p["member"] != "name" {
			t.Errorf("%q: %v, want the member name", name, p)
		}
	}
	w.refused(w.do("DELETE", groups+"/none", token, nil), 404, "NOT_FOUND")
	w.status(w.do("DELETE", groups+"/ops", token, nil), 204)
	w.status(w.do("DELETE", groups+"/team.a", token, nil), 204)
	if got := names(groups); got != "" {
		t.Errorf("after the removal: %s", got)
	}
	if events := w.events(store.EventGroupAdded); len(events) != 3 || events[0].Actor != root || events[0].Detail == "" {
		t.Errorf("events: %+v, want one for each group and user, with the administrator", events)
	}
	if events := w.events(store.EventGroupRemoved); len(events) != 2 {
		t.Errorf("events: %+v, want 2", events)
	}
}

// Administrators see the second factors of a user and remove single ones, which ends the user's sessions.
func TestFactorsOfUsers(t *testing.T) {
	t.Parallel()
	w := newPasskeyEnv(t, settings{})
	root, token := w.administrator("root@example.com")
	_, s := w.enrol(adaEmail)
	_, key := w.addPasskey(s.AccessToken)
	user := "/api/admin/users/" + w.ada.ID
	if f := read[api.Factors](w, token, user+"/mfa"); f.Passkeys != 1 || f.TOTPSince.IsZero() {
		t.Errorf("factors: %+v, want a passkey and an app", f)
	}
	if keys := read[list[account.PasskeyView]](w, token, user+"/passkeys"); len(keys.Items) != 1 || keys.Items[0].ID != key.ID {
		t.Errorf("passkeys: %+v, want %s", keys, key.ID)
	}
	// The id of a passkey alone is not enough: it belongs to the user in the path.
	w.refused(w.do("DELETE", "/api/admin/users/"+root+"/passkeys/"+key.ID, token, nil), 404, "NOT_FOUND")
	w.works(s.AccessToken)
	w.status(w.do("DELETE", user+"/passkeys/"+key.ID, token, nil), 204)
	w.dead(s.AccessToken, "TOKEN_REVOKED")
	w.status(w.do("DELETE", user+"/mfa/totp", token, nil), 204)
	w.refused(w.do("DELETE", user+"/mfa/totp", token, nil), 404, "NOT_FOUND")
	if f := read[api.Factors](w, token, user+"/mfa"); len(f.Methods) != 0 {
		t.Errorf("factors: %+v, want none", f)
	}
	for _, kind := range []string{store.EventPasskeyRemoved, store.EventFactorRemoved} {
		if e := w.events(kind); len(e) != 1 || e[0].Actor != root || e[0].UserID != w.ada.ID {
			t.Errorf("%s: %+v, want one by the administrator", kind, e)
		}
	}
}

// A file of users: each row is added or reported with its line, and the same file again adds none.
func TestImportUsers(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	root, token := w.administrator("root@example.com")
	const hash = "$2y$04$EVTD5jzxRNGqIo5.afCf0uwnt25IRD16kxCN1mrpesG0Z10/EU7a2"
	file := "email,hash,name,admin\n" +
		"new@example.com," + hash + ",New,\n" +
		"no address," + hash + ",,\n" +
		adaEmail + "," + hash + ",,\n" +
		"empty@example.com,,,\n" +
		"boss@example.com," + hash + ",,true\n" +
		"new@example.com," + hash + ",,\n" +
		"bad@example.com,secret-hash,,\n"
	send := func(query, kind, body string) reply {
		t.Helper()
		r, err := http.NewRequest("POST", w.url+"/api/admin/users/import"+query, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", kind)
		r.Header.Set("Authorization", "Bearer "+token)
		return w.send(r)
	}
	type report struct {
		Added  int                   `json:"added"`
		DryRun bool                  `json:"dry_run"`
		Faults []account.ImportFault `json:"faults"`
	}
	imported := func(query, kind, body string) (got report) {
		t.Helper()
		r := send(query, kind, body)
		if r.StatusCode != 200 || json.Unmarshal(r.body, &got) != nil {
			t.Fatalf("import%s: %s %s", query, r.Status, r.body)
		}
		if strings.Contains(string(r.body), "secret-hash") {
			t.Errorf("the report has a hash: %s", r.body)
		}
		return got
	}
	lines := func(r report) (lines []int) {
		for _, f := range r.Faults {
			lines = append(lines, f.Line)
		}
		return lines
	}
	dry := imported("?dry_run=true", "text/csv", file)
	if dry.Added != 2 || !dry.DryRun || !slices.Equal(lines(dry), []int{3, 4, 5, 7, 8}) {
		t.Errorf("dry run: %+v", dry)
	}
	if page := read[list[userItem]](w, token, "/api/admin/users?search=new@"); len(page.Items) != 0 {
		t.Errorf("a dry run added %+v", page.Items)
	}
	got := imported("", "text/csv", file)
	if got.Added != 2 || got.DryRun || !slices.Equal(got.Faults, dry.Faults) {
		t.Errorf("import: %+v, want the faults of the dry run %+v", got, dry.Faults)
	}
	if !strings.Contains(got.Faults[2].Error, "without_hash=true") {
		t.Errorf("%+v does not name the parameter", got.Faults[2])
	}
	if page := read[list[userItem]](w, token, "/api/admin/users?search=boss@"); len(page.Items) != 1 || !page.Items[0].Admin || !page.Items[0].HasPassword {
		t.Errorf("boss: %+v", page.Items)
	}
	if e := w.events(store.EventUserAdded); len(e) < 2 || e[0].Actor != root || e[1].Actor != root {
		t.Errorf("events: %+v, want two by the administrator", e)
	}
	if again := imported("?without_hash=true", "text/csv; charset=utf-8", file); again.Added != 1 || len(again.Faults) != 6 {
		t.Errorf("again, without hashes: %+v, want the user without a hash", again)
	}
	if got := imported("", "application/jsonl", `{"email":"json@example.com","hash":"`+hash+`"}`); got.Added != 1 {
		t.Errorf("JSON lines: %+v", got)
	}

	w.refused(send("", "text/plain", file), 415, "UNSUPPORTED_MEDIA_TYPE")
	w.refused(send("", "text/csv", "name\nAda\n"), 400, "INVALID_REQUEST")
	w.refused(send("?format=firebase", "application/json", "{}"), 400, "INVALID_REQUEST")
	w.refused(send("?dry_run=yes", "text/csv", file), 400, "INVALID_REQUEST")
	w.refused(send("", "text/csv", "email,hash\n"+strings.Repeat("x", MaxImport)), 413, "BODY_TOO_LARGE")
	w.refused(send("", "text/csv", "email,hash\n"+strings.Repeat("x,\n", maxImportRows+1)), 400, "INVALID_REQUEST")
	// An import of the command line that was interrupted is not disturbed.
	w.sql(`INSERT INTO meta (name, value) VALUES ('import', '{}') ON CONFLICT (name) DO UPDATE SET value = '{}'`)
	w.refused(send("", "text/csv", "email,hash\nlate@example.com,"+hash+"\n"), 400, "INVALID_REQUEST")
	if page := read[list[userItem]](w, token, "/api/admin/users?search=late@"); len(page.Items) != 0 {
		t.Errorf("an import during another added %+v", page.Items)
	}
}
