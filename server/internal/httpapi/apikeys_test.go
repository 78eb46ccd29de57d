package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/testkit"
)

// made reads the response with a new key, and fails the test for any other.
func (w *env) made(r reply) account.KeyView {
	w.t.Helper()
	var k account.KeyView
	if err := json.Unmarshal(r.body, &k); err != nil || r.StatusCode != 201 || k.Key == "" || r.Header.Get("Cache-Control") != "no-store" {
		w.t.Fatalf("no key: %s\n%s", r.Status, r.body)
	}
	if !strings.HasPrefix(k.Key, k.Prefix+"_") {
		w.t.Fatalf("the key %s does not begin with its prefix %s", k.ID, k.Prefix)
	}
	return k
}

// key creates a key with an access token.
func (w *env) key(token string, members object) account.KeyView {
	w.t.Helper()
	if members["name"] == nil {
		members["name"] = "Nightly"
	}
	return w.made(w.do("POST", "/api/keys", token, members))
}

// withKey sends a request with an API key in X-API-Key.
func (w *env) withKey(method, path, key string) reply {
	w.t.Helper()
	r, err := http.NewRequest(method, w.url+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("X-API-Key", key)
	return w.send(r)
}

// keyWorks and keyDead send the key in both fields.
func (w *env) keyWorks(key string) {
	w.t.Helper()
	for how, r := range map[string]reply{"X-API-Key": w.withKey("GET", "/api/profile", key), "Bearer": w.do("GET", "/api/profile", key, nil)} {
		if r.StatusCode != 200 {
			w.t.Fatalf("the key should work as %s: %s %s", how, r.Status, r.body)
		}
	}
}

func (w *env) keyDead(key string) {
	w.t.Helper()
	r := w.withKey("GET", "/api/profile", key)
	p := w.refused(r, 401, "INVALID_API_KEY")
	if got := strings.Join(r.Header.Values("WWW-Authenticate"), "|"); got != `Bearer realm="127.0.0.1"|ApiKey realm="127.0.0.1", field="X-API-Key"|Session realm="127.0.0.1"` {
		w.t.Fatalf("challenges: %s", got)
	}
	bearer := w.do("GET", "/api/profile", key, nil)
	other := w.refused(bearer, 401, "INVALID_API_KEY")
	if got := bearer.Header.Values("WWW-Authenticate"); len(got) != 3 || !strings.Contains(got[0], `error="invalid_token"`) {
		w.t.Fatalf("challenges as Bearer: %q", got)
	}
	if p["detail"] != other["detail"] || p["hint"] != other["hint"] {
		w.t.Fatalf("the two ways to send a key get different refusals: %v, %v", p, other)
	}
}

func (w *env) keysOf(u store.User) []store.APIKey {
	w.t.Helper()
	keys, err := w.db.APIKeys(context.Background(), u.ID, "", 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	return keys
}

func (w *env) listed(token, query string) list[account.KeyView] {
	w.t.Helper()
	var page list[account.KeyView]
	if r := w.do("GET", "/api/keys"+query, token, nil); r.StatusCode != 200 || json.Unmarshal(r.body, &page) != nil {
		w.t.Fatalf("no list: %s %s", r.Status, r.body)
	}
	return page
}

// A key is created, used, listed, rotated and revoked.
func TestKeys(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	token := w.signIn().AccessToken
	if page := w.listed(token, ""); len(page.Items) != 0 || page.Items == nil {
		t.Fatalf("list of a user without keys: %v, want none", page)
	}
	first := w.key(token, object{"name": " Nightly backup ", "expires_in": 3600})
	if first.Name != "Nightly backup" || !slices.Equal(first.Scopes, []string{"profile"}) || !first.ExpiresAt.Equal(w.clock.Now().Add(time.Hour)) || !first.CreatedAt.Equal(w.clock.Now()) || !first.LastUsedAt.IsZero() {
		t.Errorf("made: %+v", first)
	}
	w.keyWorks(first.Key)
	if r := w.withKey("GET", "/api/profile", " \t"+first.Key+" "); r.StatusCode != 200 { // spaces around a field value do not count (RFC 9110 s5.5)
		t.Errorf("%s %s", r.Status, r.body)
	}
	var p profile
	if r := w.withKey("GET", "/api/profile", first.Key); json.Unmarshal(r.body, &p) != nil || p.ID != w.ada.ID || !slices.Equal(p.Scopes, []string{"profile"}) {
		t.Errorf("whose it is: %s", r.body)
	}

	// The list does not contain the key itself.
	w.eventually("the last use is written down", func() bool { return !w.listed(token, "").Items[0].LastUsedAt.IsZero() })
	r := w.do("GET", "/api/keys", token, nil)
	if strings.Contains(string(r.body), first.Key[12:]) || strings.Contains(string(r.body), `"key"`) {
		t.Errorf("a list shows a key: %s", r.body)
	}
	want := first
	want.Key, want.LastUsedAt = "", w.clock.Now()
	if got := w.listed(token, "").Items; len(got) != 1 || fmt.Sprint(got[0]) != fmt.Sprint(want) {
		t.Errorf("listed %+v\nwant %+v", got, want)
	}

	// Rotation.
	second := w.made(w.do("POST", "/api/keys/"+first.ID+"/rotate", token, nil))
	w.keyDead(first.Key)
	w.keyWorks(second.Key)
	if second.Name != first.Name || !slices.Equal(second.Scopes, first.Scopes) || !second.ExpiresAt.Equal(first.ExpiresAt) || second.ID == first.ID || second.Prefix == first.Prefix {
		t.Errorf("%+v\nin the place of %+v", second, first)
	}
	w.refused(w.do("POST", "/api/keys/"+first.ID+"/rotate", token, nil), 404, "NOT_FOUND")
	w.refused(w.do("DELETE", "/api/keys/"+first.ID, token, nil), 404, "NOT_FOUND")
	if got := w.listed(token, "").Items; len(got) != 1 || got[0].ID != second.ID {
		t.Errorf("listed %+v, want the new one alone", got)
	}

	// Revocation.
	if r := w.do("DELETE", "/api/keys/"+second.ID, token, nil); r.StatusCode != 204 {
		t.Fatalf("%s %s", r.Status, r.body)
	}
	w.keyDead(second.Key)
	w.refused(w.do("DELETE", "/api/keys/"+second.ID, token, nil), 404, "NOT_FOUND")
	if got := w.listed(token, "").Items; len(got) != 0 {
		t.Errorf("listed %+v, want none", got)
	}

	// The user gets a notification of each new key, and the security log has an event of each
	// operation.
	var notified list[notification]
	if r := w.do("GET", "/api/notifications", token, nil); json.Unmarshal(r.body, &notified) != nil || len(notified.Items) != 2 || notified.Items[0].Kind != "key_created" || notified.Items[1].Kind != "key_created" || notified.Items[0].Device != "curl" {
		t.Errorf("notifications: %s", r.body)
	}
	for kind, detail := range map[string]string{
		store.EventAPIKeyCreated: "key " + first.Prefix + ", scope profile", store.EventAPIKeyRotated: "key " + second.Prefix + ", in place of " + first.Prefix, store.EventAPIKeyRevoked: "key " + second.Prefix,
	} {
		if events := w.events(kind); len(events) != 1 || events[0].UserID != w.ada.ID || events[0].SessionID == "" || events[0].Detail != detail || events[0].Network == "" {
			t.Errorf("%s: %+v, want the detail %q", kind, events, detail)
		}
	}
	w.works(token)
}

func TestKeyPages(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	token := w.signIn().AccessToken
	var want []string
	for n := range 5 {
		want = append(want, w.key(token, object{"name": fmt.Sprint(n)}).ID)
	}
	slices.Reverse(want)
	var got []string
	for query := "?limit=2"; query != ""; {
		page := w.listed(token, query)
		if len(page.Items) > 2 {
			t.Fatalf("a page of %d", len(page.Items))
		}
		for _, k := range page.Items {
			got = append(got, k.ID)
		}
		if query = ""; page.Next != "" {
			query = "?limit=2&after=" + page.Next
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, limit := range []string{"0", "201", "x", "-1"} {
		if p := w.refused(w.do("GET", "/api/keys?limit="+limit, token, nil), 400, "INVALID_REQUEST"); p["member"] != "limit" {
			t.Errorf("limit=%s: %v", limit, p)
		}
	}
}

// Invalid members of a new key: the refusal names the member.
func TestKeyMistakes(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	token := w.signIn().AccessToken
	for _, c := range []struct {
		body   object
		member string
	}{
		{object{}, "name"}, {object{"name": ""}, "name"}, {object{"name": "  "}, "name"}, {object{"name": strings.Repeat("é", 101)}, "name"}, {object{"name": "a\u202eb"}, "name"}, {object{"name": 1}, "name"},
		{object{"name": "n", "scopes": []string{}}, "scopes"}, {object{"name": "n", "scopes": []string{"profile", "profile"}}, "scopes"},
		{object{"name": "n", "scopes": []string{""}}, "scopes"}, {object{"name": "n", "scopes": []string{"profile admin"}}, "scopes"}, {object{"name": "n", "scopes": []string{"PROFILE"}}, "scopes"},
		{object{"name": "n", "scopes": "profile"}, "scopes"},
		{object{"name": "n", "expires_in": 0}, "expires_in"}, {object{"name": "n", "expires_in": -1}, "expires_in"}, {object{"name": "n", "expires_in": 315360001}, "expires_in"},
		{object{"name": "n", "expires_in": 9223372036854775807}, "expires_in"}, {object{"name": "n", "expires_in": 1.5}, "expires_in"}, {object{"name": "n", "expires_in": "1h"}, "expires_in"},
		{object{"name": "n", "key": "dk_"}, "key"}, {object{"name": "n", "user_id": "x"}, "user_id"},
	} {
		if p := w.refused(w.do("POST", "/api/keys", token, c.body), 400, "INVALID_REQUEST"); p["member"] != c.member {
			t.Errorf("%v: member %v, want %s", c.body, p["member"], c.member)
		}
	}
	if keys := w.keysOf(w.ada); len(keys) != 0 {
		t.Errorf("made: %v", keys)
	}
	if k := w.key(token, object{"expires_in": 315360000}); k.ExpiresAt.IsZero() {
		t.Error("a key with the longest life has no end")
	}
}

// A key with one changed character is refused. Only a key with a correct checksum costs a query.
func TestKeySpellings(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	token := w.signIn().AccessToken
	good := w.key(token, object{}).Key
	other := w.key(token, object{}).Key
	swapped := []byte(good)
	swapped[20], swapped[21] = swapped[21], swapped[20]
	if swapped[20] == swapped[21] {
		swapped[20]++
	}
	for name, key := range map[string]string{
		"cut": good[:len(good)-1], "without its checksum": good[:len(good)-6], "the prefix": good[:11], "lengthened": good + "0", "twice": good + good,
		"upper case": "dk_" + strings.ToUpper(good[3:]), "lower case": strings.ToLower(good), "a digit changed": good[:30] + string("01"[b2i(good[30] == '0')]) + good[31:],
		"two that changed places": string(swapped), "another's checksum": good[:len(good)-6] + other[len(other)-6:], "another's public id": other[:11] + good[11:],
		"another's random part": good[:11] + other[11:], "with a hyphen": good[:11] + "-" + good[12:],
	} {
		if key == good {
			t.Fatalf("%s: it is the same", name)
		}
		w.t.Log(name)
		w.keyDead(key)
	}
	for name, key := range map[string]string{"blank inside": good[:20] + " " + good[20:], "tab": good[:20] + "\t" + good[20:], "another alphabet": strings.Replace(good, "k", "к", 1), "DK": "DK" + good[2:], "quoted": `"` + good + `"`} {
		if r := w.withKey("GET", "/api/profile", key); r.StatusCode != 401 {
			t.Errorf("%s in its field: %s", name, r.Status)
		}
		if r := w.do("GET", "/api/profile", key, nil); r.StatusCode != 401 {
			t.Errorf("%s as Bearer: %s", name, r.Status)
		}
	}
	w.keyWorks(good)
	w.keyWorks(other)
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// A key in a path or query opens nothing and is not logged, also in the place of its id.
func TestKeyInTheAddress(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	token := w.signIn().AccessToken
	key := w.key(token, object{}).Key
	for _, query := range []string{"api_key=", "access_token=", "key=", "X-API-Key=", "token="} {
		w.refused(w.do("GET", "/api/profile?"+query+key, "", nil), 401, "AUTHENTICATION_REQUIRED")
	}
	w.clock.Advance(time.Second) // recorded causes are limited for each network and second
	misplaced := w.refused(w.do("DELETE", "/api/keys/"+key, token, nil), 404, "NOT_FOUND")
	w.refused(w.do("GET", "/"+key+"/"+key, "", nil), 404, "NOT_FOUND")
	w.keyWorks(key)
	var d store.Denial
	w.eventually("the refusal is written down", func() bool {
		var err error
		d, err = w.db.DenialByID(context.Background(), strings.TrimPrefix(misplaced["instance"].(string), "urn:durward:denial:"))
		return err == nil
	})
	if d.Path != testPrefix+"/api/keys/"+key[:11]+"_[redacted]" {
		t.Errorf("recorded path: %s", strings.ReplaceAll(d.Path, key, "THE KEY"))
	}
	if logs := w.logs.String(); strings.Contains(logs, key) || strings.Contains(logs, key[12:]) || !strings.Contains(logs, "/api/profile") {
		t.Error("a key is in the log, or nothing is")
	}
}

// keyMeets is the status that an API key with the scope profile gets at every endpoint that wants
// credentials. At the others it changes nothing.
var keyMeets = map[string]int{
	"POST /api/auth/token":           403, // the cookie alone
	"POST /api/auth/step-up":         403,
	"POST /api/auth/password/change": 403,
	"GET /api/profile":               200,
	"PATCH /api/profile":             200,
	"POST /api/profile/email":        403,
	"GET /api/notifications":         200,
	"GET /api/auth/sessions":         403,
	"DELETE /api/auth/sessions/{id}": 403,
	"GET /api/auth/mfa":              200,
	"POST /api/auth/mfa/totp":        403,
	"DELETE /api/auth/mfa/totp":      403,
	"GET /api/keys":                  200,

	"POST /api/auth/mfa/totp/confirm":   403,
	"POST /api/auth/mfa/recovery-codes": 403,

	"GET /api/auth/passkeys":                200,
	"POST /api/auth/passkeys/begin":         403,
	"POST /api/auth/passkeys/finish":        403,
	"POST /api/auth/passkeys/step-up/begin": 403,
	"PATCH /api/auth/passkeys/{id}":         403,
	"DELETE /api/auth/passkeys/{id}":        403,

	"GET /api/apps":             403,
	"DELETE /api/apps/{client}": 403,

	"POST /api/keys":             403,
	"DELETE /api/keys/{id}":      403,
	"POST /api/keys/{id}/rotate": 403,
	"GET /api/revocations":       403, // another scope
}

// A key, and a token without a session, cannot act on the sign-ins of their owner: neither see nor end
// a session, change the password, step up or use up the tries of a password.
func TestKeyAndSignIns(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	signed := w.signIn()
	var page list[sessionItem]
	if r := w.do("GET", "/api/auth/sessions", signed.AccessToken, nil); json.Unmarshal(r.body, &page) != nil || len(page.Items) != 1 {
		t.Fatalf("%s %s", r.Status, r.body)
	}
	k := w.key(signed.AccessToken, object{})
	issued, _, err := w.issuer.Issue(context.Background(), w.ada.ID, []string{"profile"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for pattern, cases := range routeCases {
		for _, c := range cases {
			endpoint := c.method + " " + pattern
			want, known := keyMeets[endpoint]
			code := "FORBIDDEN"
			if forPrograms[endpoint] || forAdmins(pattern) && c.method == "GET" {
				code = "INSUFFICIENT_SCOPE"
			}
			if forAdmins(pattern) {
				want, known = 403, true
			}
			if known != c.guarded {
				t.Errorf("%s: in the table of this test: %v, wants credentials: %v", endpoint, known, c.guarded)
			}
			path := strings.NewReplacer("{id}", page.Items[0].ID, "{session}", page.Items[0].ID, "{key}", k.ID, "{kid}", "none").Replace(pattern)
			if strings.HasPrefix(path, "/api/keys/") {
				path = strings.NewReplacer("{id}", k.ID).Replace(pattern)
			}
			if c.path == "/" || strings.HasSuffix(pattern, "/") {
				path = c.path
			}
			body := c.body
			switch pattern {
			case "/api/auth/step-up":
				body = `{"password":"a wrong password, a long one"}`
			case "/api/auth/password/change":
				body = `{"current":"a wrong password, a long one","new":"a quite different sentence"}`
			case "/api/auth/logout":
				body = `{"everywhere":true}`
			}
			for name, field := range map[string][2]string{
				"key as X-API-Key":        {"X-API-Key", k.Key},
				"key as Bearer":           {"Authorization", "Bearer " + k.Key},
				"token without a session": {"Authorization", "Bearer " + issued},
			} {
				for range 6 { // one more than the failures that block an account or end a session
					r, err := http.NewRequest(c.method, w.url+path, strings.NewReader(body))
					if err != nil {
						t.Fatal(err)
					}
					r.Header.Set("Content-Type", "application/json")
					r.Header.Set(field[0], field[1])
					got := w.send(r)
					if known && got.StatusCode != want {
						t.Errorf("%s with a %s: got %s %s, want %d", endpoint, name, got.Status, got.body, want)
					}
					if known && want == 403 {
						w.refused(got, 403, code)
					}
				}
			}
		}
	}
	w.works(signed.AccessToken)
	w.tokens(w.refreshWith(signed.RefreshToken))
	w.signIn()
	for _, kind := range []string{store.EventSessionEnded, store.EventSignedOut, store.EventPasswordChanged} {
		if events := w.events(kind); len(events) != 0 {
			t.Errorf("events %s: %+v, want none", kind, events)
		}
	}
}

// A key is read from X-API-Key and from Bearer credentials. In the places of other products it is
// refused with a hint, and works afterwards.
func TestKeyInOtherPlaces(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	k := w.key(w.signIn().AccessToken, object{})
	for _, c := range []struct{ name, field, value, code string }{
		{"Authorization: ApiKey: 401", "Authorization", "ApiKey " + k.Key, "UNSUPPORTED_SCHEME"},
		{"Authorization: Token: 401", "Authorization", "Token " + k.Key, "UNSUPPORTED_SCHEME"},
		{"Authorization: the key alone: 401", "Authorization", k.Key, "MALFORMED_CREDENTIALS"},
		{"Api-Key: 401", "Api-Key", k.Key, "AUTHENTICATION_REQUIRED"},
	} {
		r, err := http.NewRequest("GET", w.url+"/api/profile", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set(c.field, c.value)
		got := w.send(r)
		if p := w.refused(got, 401, c.code); p["hint"] == nil || !strings.Contains(strings.Join(got.Header.Values("WWW-Authenticate"), "|"), `ApiKey realm="127.0.0.1", field="X-API-Key"`) {
			t.Errorf("%s: got %s with %q, want a hint and the challenge of keys", c.name, got.body, got.Header.Values("WWW-Authenticate"))
		}
	}
	w.keyWorks(k.Key)
}

// API keys, and tokens without a session, cannot create, rotate or revoke keys.
func TestKeyMakesNoKey(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	k := w.key(w.signIn().AccessToken, object{})
	issued, _, err := w.issuer.Issue(context.Background(), w.ada.ID, []string{"profile", "admin"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{"key": k.Key, "operator's token": issued} {
		for _, c := range [][2]string{{"POST", "/api/keys"}, {"POST", "/api/keys/" + k.ID + "/rotate"}, {"DELETE", "/api/keys/" + k.ID}} {
			r := w.do(c[0], c[1], token, object{"name": "of a key"})
			w.refused(r, 403, "FORBIDDEN")
			if r.Header.Get("WWW-Authenticate") != "" {
				t.Errorf("%s: %s %s has a challenge: nothing can step up", name, c[0], c[1])
			}
		}
	}
	if len(w.keysOf(w.ada)) != 1 {
		t.Error("a key made or ended a key")
	}
	w.keyWorks(k.Key)
	// They cannot end a session by signing out either.
	if r := w.do("POST", "/api/auth/logout", k.Key, object{"everywhere": true}); r.StatusCode != 204 {
		t.Errorf("%s %s", r.Status, r.body)
	}
	w.keyWorks(k.Key)
	if events := w.events(store.EventSignedOut); len(events) != 0 {
		t.Errorf("a key signed out: %+v", events)
	}
}

// The password in the request (Basic) counts as a recent sign-in, although there is no session.
func TestKeyByPassword(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{basic: true})
	ask := func(password string) reply {
		r, err := http.NewRequest("POST", w.url+"/api/keys", strings.NewReader(`{"name":"by password"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.SetBasicAuth(adaEmail, password)
		return w.send(r)
	}
	w.keyWorks(w.made(ask(adaPassword)).Key)
	w.refused(ask("not the right one"), 401, "INVALID_CREDENTIALS")
	if keys := w.keysOf(w.ada); len(keys) != 1 || keys[0].SessionID != "" {
		t.Errorf("keys: %+v", keys)
	}
}

// Changes to the ways of signing in require a recent sign-in; reading does not.
func TestKeysWantAFreshSignIn(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	s := w.signIn()
	k := w.key(s.AccessToken, object{})
	w.clock.Advance(recentSignIn)
	w.key(s.AccessToken, object{}) // not older than
	w.clock.Advance(time.Second)
	token := w.tokens(w.refreshWith(s.RefreshToken)).AccessToken // a refresh does not count as a sign-in
	for _, c := range [][2]string{{"POST", "/api/keys"}, {"POST", "/api/keys/" + k.ID + "/rotate"}, {"DELETE", "/api/keys/" + k.ID}} {
		r := w.do(c[0], c[1], token, object{"name": "late"})
		w.refused(r, 401, "STEP_UP_REQUIRED")
		if got := r.Header.Get("WWW-Authenticate"); !strings.Contains(got, `error="insufficient_user_authentication"`) || !strings.Contains(got, `max_age="300"`) {
			t.Errorf("challenge: %s", got)
		}
	}
	if got := w.listed(token, "").Items; len(got) != 2 {
		t.Errorf("listed %+v", got)
	}
	w.keyWorks(k.Key)
	if r := w.do("DELETE", "/api/keys/"+k.ID, w.signIn().AccessToken, nil); r.StatusCode != 204 {
		t.Errorf("after signing in again: %s %s", r.Status, r.body)
	}
}

// change executes SQL for states that no code produces yet.
func (w *env) change(statement string, args ...any) {
	w.t.Helper()
	db := testkit.OpenSQLite(w.t, w.dir)
	defer db.Close()
	if _, err := db.Exec(statement, args...); err != nil {
		w.t.Fatal(err)
	}
}

// A key has no scope that its creator or the current user lacks.
func TestKeyScopes(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	root, err := w.people.Add(context.Background(), account.NewUser{Email: "root@example.com", Password: adaPassword, Admin: true}, store.EventUserAdded, request.Info{Actor: "operator"})
	if err != nil {
		t.Fatal(err)
	}
	signIn := func(email string) string {
		return w.tokens(w.do("POST", "/api/auth/login", "", object{"email": email, "password": adaPassword})).AccessToken
	}
	ada, admin := signIn(adaEmail), signIn("root@example.com")
	if p := w.refused(w.do("POST", "/api/keys", ada, object{"name": "n", "scopes": []string{"profile", "admin"}}), 400, "INVALID_REQUEST"); p["member"] != "scopes" {
		t.Errorf("more than its maker has: %v", p)
	}
	scopes := func(key string) []string {
		t.Helper()
		var p profile
		if r := w.withKey("GET", "/api/profile", key); r.StatusCode != 200 || json.Unmarshal(r.body, &p) != nil {
			t.Fatalf("%s %s", r.Status, r.body)
		}
		return p.Scopes
	}
	all := w.key(admin, object{"scopes": []string{"admin", "profile"}})
	least := w.key(admin, object{})
	alone := w.key(admin, object{"scopes": []string{"admin"}})
	if got := scopes(all.Key); !slices.Equal(got, []string{"admin", "profile"}) {
		t.Errorf("scopes %v", got)
	}
	if got := scopes(least.Key); !slices.Equal(got, []string{"profile"}) {
		t.Errorf("an administrator's key has %v without being asked to", got)
	}
	p := w.refused(w.withKey("GET", "/api/profile", alone.Key), 403, "INSUFFICIENT_SCOPE")
	if fmt.Sprint(p["granted_scopes"], p["required_scopes"]) != "[admin] [profile]" {
		t.Errorf("refused with %v", p)
	}

	w.change(`UPDATE users SET admin = 0 WHERE id = ?`, root.ID)
	if got := scopes(all.Key); !slices.Equal(got, []string{"profile"}) {
		t.Errorf("scopes of a user who was an administrator: %v", got)
	}
	// The token is older and still has the scope admin; neither a new nor a rotated key gets it.
	if p := w.refused(w.do("POST", "/api/keys", admin, object{"name": "n", "scopes": []string{"admin"}}), 400, "INVALID_REQUEST"); p["member"] != "scopes" {
		t.Errorf("more than its owner has: %v", p)
	}
	if got := w.made(w.do("POST", "/api/keys/"+all.ID+"/rotate", admin, nil)); !slices.Equal(got.Scopes, []string{"profile"}) {
		t.Errorf("rotated with %v", got.Scopes)
	}
	w.refused(w.do("POST", "/api/keys/"+alone.ID+"/rotate", admin, nil), 403, "FORBIDDEN")

	// The other direction: the creator has fewer scopes than the key.
	w.change(`UPDATE users SET admin = 1 WHERE id = ?`, w.ada.ID)
	strong := w.key(signIn(adaEmail), object{"scopes": []string{"admin", "profile"}})
	w.refused(w.do("POST", "/api/keys/"+strong.ID+"/rotate", ada, nil), 403, "FORBIDDEN")
	if p := w.refused(w.do("POST", "/api/keys", ada, object{"name": "n", "scopes": []string{"admin"}}), 400, "INVALID_REQUEST"); p["member"] != "scopes" {
		t.Errorf("more than its maker has, though the owner has it: %v", p)
	}
	if got := scopes(strong.Key); len(got) != 2 {
		t.Errorf("a rotation that was refused left %v", got)
	}
}

// A revoked key is refused at the next request, whichever process revoked it.
func TestDeadKeys(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	s := w.signIn()
	ctx := context.Background()
	forever, ending := w.key(s.AccessToken, object{}), w.key(s.AccessToken, object{"expires_in": 60})

	// Expiry, to the second.
	w.clock.Advance(time.Minute - time.Second)
	w.keyWorks(ending.Key)
	w.clock.Advance(time.Second)
	w.keyDead(ending.Key)
	w.refused(w.do("POST", "/api/keys/"+ending.ID+"/rotate", s.AccessToken, nil), 404, "NOT_FOUND")
	if got := w.listed(s.AccessToken, "").Items; len(got) != 2 { // so that the user sees the reason
		t.Errorf("listed %+v", got)
	}

	// A new password and a sign-out end sessions, not keys.
	if r := w.do("POST", "/api/auth/logout", s.AccessToken, object{"everywhere": true}); r.StatusCode != 204 {
		t.Fatal(r.Status)
	}
	w.keyWorks(forever.Key)

	// Another process, with its own database handle.
	shell, err := store.Open(ctx, store.Config{URL: "sqlite:" + filepath.Join(w.dir, "durward.db"), Now: w.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer shell.Close()
	lock := store.Event{ID: "lock", Kind: store.EventUserLocked, At: w.clock.Now(), UserID: w.ada.ID}
	if _, err := shell.LockUser(ctx, w.ada.ID, w.clock.Now().Add(time.Hour), lock); err != nil {
		t.Fatal(err)
	}
	w.keyDead(forever.Key)
	if err := shell.UnlockUser(ctx, w.ada.ID, store.Event{ID: "unlock", Kind: store.EventUserUnlocked, At: w.clock.Now(), UserID: w.ada.ID}); err != nil {
		t.Fatal(err)
	}
	w.keyWorks(forever.Key)
	if err := shell.RevokeAPIKey(ctx, forever.ID, w.ada.ID, store.Event{ID: "revoke", Kind: store.EventAPIKeyRevoked, At: w.clock.Now(), UserID: w.ada.ID}); err != nil {
		t.Fatal(err)
	}
	w.keyDead(forever.Key)

	last := w.key(w.signIn().AccessToken, object{})
	w.keyWorks(last.Key)
	w.change(`DELETE FROM users WHERE id = ?`, w.ada.ID)
	w.keyDead(last.Key)
}

// The key of another user is answered like a key that does not exist.
func TestSomebodyElsesKey(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{registration: true})
	k := w.key(w.signIn().AccessToken, object{})
	if r := w.do("POST", "/api/auth/register", "", object{"email": "eve@example.com", "password": adaPassword}); r.StatusCode != 201 {
		t.Fatal(r.Status)
	}
	eve := w.tokens(w.do("POST", "/api/auth/login", "", object{"email": "eve@example.com", "password": adaPassword})).AccessToken
	for _, id := range []string{k.ID, "none", k.Prefix, strings.ToUpper(k.ID)} {
		var bodies []string
		for _, c := range [][2]string{{"DELETE", "/api/keys/" + id}, {"POST", "/api/keys/" + id + "/rotate"}} {
			r := w.do(c[0], c[1], eve, nil)
			p := w.refused(r, 404, "NOT_FOUND")
			delete(p, "instance")
			bodies = append(bodies, fmt.Sprint(p))
		}
		if bodies[0] != bodies[1] {
			t.Errorf("unknown key and key of another user get different responses: %v", bodies)
		}
	}
	if got := w.listed(eve, "").Items; len(got) != 0 {
		t.Errorf("list contains keys of another user: %+v", got)
	}
	w.keyWorks(k.Key)
}

// A user has at most 100 active keys, also with concurrent requests.
func TestAHundredKeys(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	token := w.signIn().AccessToken
	last := w.key(token, object{"expires_in": 60})
	for range 97 {
		w.key(token, object{})
	}
	var made, refused atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			switch r := w.do("POST", "/api/keys", token, object{"name": "one of many"}); r.StatusCode {
			case 201:
				made.Add(1)
			case 403:
				refused.Add(1)
			}
		})
	}
	all.Wait()
	if made.Load() != 2 || refused.Load() != 6 {
		t.Fatalf("%d were made and %d refused, want 2 and 6", made.Load(), refused.Load())
	}
	p := w.refused(w.do("POST", "/api/keys", token, object{"name": "n"}), 403, "FORBIDDEN")
	if p["detail"] != "There are 100 keys already." {
		t.Errorf("detail: %v", p["detail"])
	}
	// A key can be rotated then, and an expired key does not count.
	w.made(w.do("POST", "/api/keys/"+last.ID+"/rotate", token, nil))
	w.clock.Advance(time.Minute)
	w.key(token, object{})
}

// Keys that never existed are refused without a query after 30 a minute and network. Valid keys and
// expired ones are not affected.
func TestBadKeys(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{badKeys: 30})
	token := w.signIn().AccessToken
	good, ending := w.key(token, object{}).Key, w.key(token, object{"expires_in": 1}).Key
	forged := good[:11] + ending[11:]
	w.clock.Advance(2 * time.Minute)
	for n := range 30 {
		bad := []string{"dk_garbage", good[:60], forged}[n%3]
		w.refused(w.withKey("GET", "/api/profile", bad), 401, "INVALID_API_KEY")
	}
	for range 3 {
		r := w.withKey("GET", "/api/profile", forged)
		w.refused(r, 429, "TOO_MANY_ATTEMPTS")
		if wait := r.Header.Get("Retry-After"); wait == "" || wait == "0" {
			t.Errorf("Retry-After: %q", wait)
		}
		w.keyWorks(good)
		w.keyDead(ending)
	}
	w.clock.Advance(time.Minute)
	w.refused(w.withKey("GET", "/api/profile", forged), 401, "INVALID_API_KEY")
}

// During an outage of the database a possible key gets 503, and text that cannot be a key 401.
func TestKeyOutage(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	key := w.key(w.signIn().AccessToken, object{}).Key
	w.keyWorks(key)
	if err := w.db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, r := range []reply{w.withKey("GET", "/api/profile", key), w.do("GET", "/api/profile", key, nil)} {
		w.refused(r, 503, "AUTH_UNAVAILABLE")
		if r.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	w.keyDead("dk_garbage")
}

// Rotation during use: after the response the old key is refused, and no request is taken for
// another user's or for an outage.
func TestKeyRotatedInUse(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	token := w.signIn().AccessToken
	k := w.key(token, object{})
	var current atomic.Pointer[account.KeyView]
	current.Store(&k)
	var stop atomic.Bool
	var users sync.WaitGroup
	for range 4 {
		users.Go(func() {
			for !stop.Load() {
				mine := current.Load()
				r := w.withKey("GET", "/api/profile", mine.Key)
				if r.StatusCode != 200 && !(r.StatusCode == 401 && current.Load() != mine) {
					// The key may have been rotated while the request was on its way. The pointer
					// follows before that response ends.
					deadline := time.Now().Add(20 * time.Second)
					for current.Load() == mine && time.Now().Before(deadline) {
						time.Sleep(time.Millisecond)
					}
					if r.StatusCode != 401 || current.Load() == mine {
						w.t.Errorf("a key in use: %s %s", r.Status, r.body)
						return
					}
				}
			}
		})
	}
	for range 10 {
		old := current.Load()
		next := w.made(w.do("POST", "/api/keys/"+old.ID+"/rotate", token, nil))
		current.Store(&next)
		if r := w.withKey("GET", "/api/profile", old.Key); r.StatusCode != 401 {
			t.Errorf("the old key after the answer: %s", r.Status)
		}
	}
	stop.Store(true)
	users.Wait()
	// Of many concurrent rotations one succeeds.
	last := current.Load()
	var done atomic.Int64
	for range 6 {
		users.Go(func() {
			if r := w.do("POST", "/api/keys/"+last.ID+"/rotate", token, nil); r.StatusCode == 201 {
				done.Add(1)
			} else if r.StatusCode != 404 {
				w.t.Errorf("%s %s", r.Status, r.body)
			}
		})
	}
	users.Wait()
	if done.Load() != 1 || len(w.keysOf(w.ada)) != 1 {
		t.Errorf("%d rotations, %d keys, want 1 and 1", done.Load(), len(w.keysOf(w.ada)))
	}
}

// The last use is stored at most once a minute.
func TestKeyLastUse(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	k := w.key(w.signIn().AccessToken, object{})
	last := func() time.Time { return w.keysOf(w.ada)[0].LastUsedAt }
	began := w.clock.Now()
	w.keyWorks(k.Key)
	w.eventually("the first use is written down", func() bool { return last().Equal(began) })
	w.clock.Advance(time.Minute - time.Second)
	w.keyWorks(k.Key)
	w.clock.Advance(time.Second)
	w.keyWorks(k.Key)
	var seen []time.Time
	w.eventually("the use a minute later is written down", func() bool {
		if at := last(); len(seen) == 0 || !seen[len(seen)-1].Equal(at) {
			seen = append(seen, at)
		}
		return last().Equal(began.Add(time.Minute))
	})
	if len(seen) > 2 || !seen[0].Equal(began) && !seen[0].Equal(began.Add(time.Minute)) {
		t.Errorf("last uses seen: %v", seen)
	}
}
