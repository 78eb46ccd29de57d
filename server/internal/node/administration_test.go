package node_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/services"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/config"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
)

// What an administrator ends at one node ends at the other one too, and stays ended at a node that starts
// later. The rows are those of the table in docs/server.md.
func TestAdministrationAtTwoNodes(t *testing.T) {
	t.Parallel()
	database := services.Database(t)
	master, err := seal.Open(t.TempDir()+"/master.key", true)
	if err != nil {
		t.Fatal(err)
	}
	set := func(set *config.Config) { set.Admin.SecondFactor = false }
	a, first := start(t, database, master, 0, set)
	b, second := start(t, database, master, 0, set)
	const password = "correct horse battery staple"
	from := request.Info{Actor: store.Operator}
	add := func(email string, admin bool) store.User {
		u, err := a.Accounts.Add(t.Context(), account.NewUser{Email: email, Password: password, Admin: admin}, store.EventUserAdded, from)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	send := func(method, url, token, body string) (status int, answer map[string]any) {
		t.Helper()
		r, err := http.NewRequest(method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if body != "" {
			r.Header.Set("Content-Type", "application/json")
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		_ = json.Unmarshal(text, &answer) // no body, no members
		return res.StatusCode, answer
	}
	signIn := func(url string, u store.User) (access, refresh string) {
		t.Helper()
		status, got := send("POST", url+"/api/auth/login", "", `{"email":"`+u.Email+`","password":"`+password+`"}`)
		if status != http.StatusOK {
			t.Fatalf("login: %d %v", status, got)
		}
		return got["access_token"].(string), got["refresh_token"].(string)
	}
	root := add("root@example.com", true)
	admin, _ := signIn(first, root)

	type row struct {
		name, method, path, body string
		admin                    bool // the user is an administrator before
		key                      int  // status of their API key afterwards
		user                     store.User
		access, refresh, apiKey  string
	}
	rows := []*row{
		{name: "lock", method: "POST", path: "/lock", key: 401},
		{name: "delete", method: "DELETE", key: 401},
		{name: "demote", method: "PATCH", body: `{"admin":false}`, admin: true, key: 200},
		{name: "sign out", method: "POST", path: "/sign-out", key: 200},
	}
	for _, r := range rows {
		r.user = add(strings.ReplaceAll(r.name, " ", "-")+"@example.com", r.admin)
		r.access, r.refresh = signIn(second, r.user)
		_, key, err := a.Accounts.CreateKey(t.Context(), &durward.Principal{Subject: r.user.ID, Scopes: account.ScopesOf(r.user)}, account.NewKey{Name: "key", Scopes: []string{"profile"}}, from)
		if err != nil {
			t.Fatal(err)
		}
		r.apiKey = key.Reveal()
		for what, token := range map[string]string{"access token": r.access, "key": r.apiKey} {
			if status, got := send("GET", second+"/api/profile", token, ""); status != http.StatusOK {
				t.Fatalf("%s: %s before: %d %v", r.name, what, status, got)
			}
		}
	}
	for _, r := range rows {
		if status, got := send(r.method, first+"/api/admin/users/"+r.user.ID+r.path, admin, r.body); status >= 300 {
			t.Fatalf("%s: %d %v", r.name, status, got)
		}
		began := time.Now()
		for {
			if status, _ := send("GET", second+"/api/profile", r.access, ""); status == http.StatusUnauthorized {
				break
			}
			if time.Since(began) > 30*time.Second {
				t.Fatalf("%s: the other node accepts the token after 30 s", r.name)
			}
			time.Sleep(time.Millisecond) // between two checks
		}
		t.Logf("%s: ended at the other node after %s", r.name, time.Since(began))
	}
	_, third := start(t, database, master, 0, set)
	for _, url := range []string{first, second, third} {
		for _, r := range rows {
			if status, got := send("GET", url+"/api/profile", r.access, ""); status != http.StatusUnauthorized || got["code"] != "TOKEN_REVOKED" {
				t.Errorf("%s: access token: %d %v, want TOKEN_REVOKED", r.name, status, got)
			}
			if status, got := send("POST", url+"/api/auth/refresh", "", `{"refresh_token":"`+r.refresh+`"}`); status != http.StatusUnauthorized {
				t.Errorf("%s: refresh: %d %v, want 401", r.name, status, got)
			}
			if status, got := send("GET", url+"/api/profile", r.apiKey, ""); status != r.key {
				t.Errorf("%s: API key: %d %v, want %d", r.name, status, got, r.key)
			}
		}
	}
	if e, err := b.DB.Events(t.Context(), store.EventFilter{Actor: root.ID}); err != nil || len(e) != len(rows) {
		t.Errorf("events of the administrator: %+v, %v, want %d", e, err, len(rows))
	}
}
