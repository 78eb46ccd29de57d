package httpapi

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward/server/internal/oauth"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/session"
	"github.com/durward-auth/durward/server/internal/store"
)

// decoded decodes the body of a response.
func decoded[T any](w *env, r reply) (v T) {
	w.t.Helper()
	if err := json.Unmarshal(r.body, &v); err != nil {
		w.t.Fatalf("%s: %v", r.body, err)
	}
	return v
}

// Administrators add, change, disable and delete clients; each change is an event with its administrator.
func TestClients(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	root, token := w.administrator("root@example.com")
	const path = "/api/admin/clients"
	r := w.do("POST", path, token, object{"name": "My App", "redirect_uris": []string{"https://app.example.com/cb"}, "scopes": []string{"openid"}, "pkce": "optional"})
	w.status(r, 201)
	made := decoded[oauth.ClientView](w, r)
	if made.ID != "my-app" || made.PKCE != "optional" || len(made.Grants) != 2 || len(made.Secrets) != 1 || !strings.HasPrefix(made.Secret, "dcs_") || len(made.Secret) != 47 {
		t.Fatalf("got %s", r.body)
	}
	w.status(w.do("POST", path, token, object{"name": "Phone", "id": "phone", "auth": "none", "redirect_uris": []string{"com.example.phone:/cb"}}), 201)
	w.status(w.do("POST", path, token, object{"name": "Job", "id": "job", "grants": []string{"client_credentials"}, "secret": strings.Repeat("s", 32)}), 201)
	var ids []string
	for after := ""; ; {
		page := read[list[oauth.ClientView]](w, token, path+"?limit=2&after="+after)
		for _, c := range page.Items {
			ids = append(ids, c.ID)
			if c.Secret != "" || c.Secrets != nil {
				t.Errorf("a list shows secrets of %s", c.ID)
			}
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if strings.Join(ids, " ") != "job my-app phone" {
		t.Errorf("got %q", ids)
	}

	p := w.refused(w.do("POST", path, token, object{"name": "N", "id": "https://x", "auth": "x", "grants": []string{"password"}}), 400, "INVALID_REQUEST")
	if mistakes, _ := p["mistakes"].([]any); p["member"] != "id" || len(mistakes) != 3 {
		t.Errorf("got %v, want three mistakes", p)
	}
	for member, body := range map[string]object{
		"id": {"name": "My App", "redirect_uris": []string{"https://a.example/"}}, "pkce": {"name": "N", "pkce": "off"},
		"secret": {"name": "N", "grants": []string{"client_credentials"}, "secret": "hunter2"},
	} {
		if p := w.refused(w.do("POST", path, token, body), 400, "INVALID_REQUEST"); p["member"] != member || strings.Contains(fmt.Sprint(p), "hunter2") {
			t.Errorf("%s: got %v", member, p)
		}
	}

	app := path + "/my-app"
	r = w.do("PATCH", app, token, object{"name": "Other", "scopes": []string{}})
	w.status(r, 200)
	if c := decoded[oauth.ClientView](w, r); c.Name != "Other" || len(c.Scopes) != 0 || len(c.RedirectURIs) != 1 || c.PKCE != "optional" || c.Secret != "" {
		t.Errorf("after the change: %s", r.body)
	}
	w.refused(w.do("PATCH", app, token, object{"auth": "none"}), 400, "INVALID_REQUEST")
	w.refused(w.do("PATCH", app, token, object{}), 400, "INVALID_REQUEST")
	w.refused(w.do("PATCH", app, token, object{"redirect_uris": []string{"http://a.example/"}}), 400, "INVALID_REQUEST")
	r = w.do("POST", app+"/secrets", token, nil)
	w.status(r, 201)
	second := decoded[oauth.SecretView](w, r)
	if len(second.Secret) != 47 || second.Secret == made.Secret {
		t.Errorf("got %s", r.body)
	}
	w.refused(w.do("POST", app+"/secrets", token, nil), 400, "INVALID_REQUEST")
	w.refused(w.do("DELETE", path+"/job/secrets/"+second.ID, token, nil), 404, "NOT_FOUND")
	w.status(w.do("DELETE", app+"/secrets/"+made.Secrets[0].ID, token, nil), 204)
	if c := read[oauth.ClientView](w, token, app); len(c.Secrets) != 1 || c.Secrets[0].ID != second.ID || c.Secrets[0].Secret != "" {
		t.Errorf("secrets: %+v", c.Secrets)
	}
	w.status(w.do("POST", app+"/disable", token, nil), 204)
	if c := read[oauth.ClientView](w, token, app); c.DisabledAt.IsZero() {
		t.Error("the client is not disabled")
	}
	w.status(w.do("POST", app+"/enable", token, nil), 204)
	w.status(w.do("DELETE", app, token, nil), 204)
	w.refused(w.do("GET", app, token, nil), 404, "NOT_FOUND")
	for kind, want := range map[string]int{
		store.EventClientAdded: 3, store.EventClientChanged: 1, store.EventClientSecretAdded: 1, store.EventClientSecretRemoved: 1,
		store.EventClientDisabled: 1, store.EventClientEnabled: 1, store.EventClientDeleted: 1,
	} {
		events := w.events(kind)
		if len(events) != want || events[0].Actor != root || !strings.HasPrefix(events[0].Detail, "client ") {
			t.Errorf("%s: got %+v, want %d events of the administrator", kind, events, want)
		}
	}
}

// Disabling a client ends its sessions before the response, and revokes the tokens that it has for itself.
func TestDisabledClient(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	_, token := w.administrator("root@example.com")
	w.status(w.do("POST", "/api/admin/clients", token, object{"name": "App", "redirect_uris": []string{"https://app.example.com/cb"}}), 201)
	before, err := w.db.ClientByID(t.Context(), "app")
	if err != nil {
		t.Fatal(err)
	}
	code, err := w.sessions.NewCode(t.Context(), store.Code{ClientID: "app", UserID: w.ada.ID, AuthTime: w.clock.Now()}, "", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	use, _, err := w.sessions.BeginApplication(t.Context(), session.UseCode{
		Code:  code,
		Check: func(store.Code) error { return nil },
		Grant: func(store.Code) bool { return true },
	}, request.Info{})
	if err != nil || use.Refused != nil {
		t.Fatal(err, use.Refused)
	}
	w.status(w.do("POST", "/api/admin/clients/app/disable", token, nil), 204)
	for name, sid := range map[string]string{"session of a user": use.New.Session.ID, "own tokens": before.SessionID} {
		if !w.list.Revoked("sid", sid) {
			t.Errorf("%s: %s is not revoked", name, sid)
		}
	}
	w.works(token)
}

// A client of the configuration is read-only.
func TestConfiguredClient(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	_, token := w.administrator("root@example.com")
	c := store.Client{ID: "web", Name: "Web", Auth: store.ClientPublic, Grants: []string{oauth.GrantCode}, RedirectURIs: []string{"https://web.example.com/"}}
	if err := w.oauth.Configure(t.Context(), nil, []store.ConfiguredClient{{Client: c}}); err != nil {
		t.Fatal(err)
	}
	if c := read[oauth.ClientView](w, token, "/api/admin/clients/web"); !c.Configured {
		t.Errorf("got %+v", c)
	}
	for _, one := range []struct {
		method, path string
		body         any
	}{
		{"PATCH", "", object{"name": "N"}}, {"DELETE", "", nil}, {"POST", "/disable", nil}, {"POST", "/enable", nil}, {"DELETE", "/secrets/x", nil},
	} {
		p := w.refused(w.do(one.method, "/api/admin/clients/web"+one.path, token, one.body), 403, "FORBIDDEN")
		if hint, _ := p["hint"].(string); !strings.Contains(hint, "[[client]]") {
			t.Errorf("%s %s: got %v", one.method, one.path, p)
		}
	}
}

// The key set has the key of a client's ID tokens before the first one: clients keep the key set for a while.
func TestKeyOfIDTokens(t *testing.T) {
	t.Parallel()
	rs256 := store.Client{ID: "web", Name: "Web", Auth: store.ClientPublic, Grants: []string{oauth.GrantCode}, RedirectURIs: []string{"https://web.example.com/"}, IDTokenAlg: "RS256"}
	plain := rs256
	plain.IDTokenAlg = ""
	for name, add := range map[string]func(w *env) error{
		"added": func(w *env) error {
			_, _, err := w.oauth.AddClient(w.t.Context(), rs256, "", request.Info{})
			return err
		},
		"changed": func(w *env) error {
			if _, _, err := w.oauth.AddClient(w.t.Context(), plain, "", request.Info{}); err != nil {
				return err
			}
			_, err := w.oauth.ChangeClient(w.t.Context(), "web", func(c *store.Client) { c.IDTokenAlg = "RS256" }, request.Info{})
			return err
		},
		"of the configuration": func(w *env) error {
			return w.oauth.Configure(w.t.Context(), nil, []store.ConfiguredClient{{Client: rs256}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newEnv(t, settings{})
			if err := add(w); err != nil {
				t.Fatal(err)
			}
			if keys := string(w.issuer.JWKS()); strings.Count(keys, `"RS256"`) != 1 {
				t.Errorf("key set: %s, want one key for RS256", keys)
			}
		})
	}
}
