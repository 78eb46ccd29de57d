package web_test

import (
	"context"
	"regexp"
	"strings"
	"testing"

	"github.com/durward-auth/durward/server/internal/config"
	"github.com/durward-auth/durward/server/internal/oauth"
	"github.com/durward-auth/durward/server/internal/store"
)

// An administrator adds an application, sees its secret once, gives it another, disables and deletes it.
func TestConsoleApplications(t *testing.T) {
	t.Parallel()
	e := newEnv(t, func(set *config.Config) {
		set.Resources = []config.Resource{{URL: "https://api.example.com", Name: "The API", Scopes: []config.Scope{{Name: "items:read"}}}}
		set.Clients = []config.Client{{ID: "web", Auth: store.ClientPublic, RedirectURIs: []string{"https://web.example.com/"}}}
	})
	b := e.admin()
	b.get("/console/applications").want(200).shows("web", "in the configuration")
	b.get("/console/new-application").want(200).shows("The API")

	const form = "/console/new-application"
	b.post(form, "name", "", "auth", "none", "grant-client_credentials", "yes", "redirect_uris", "http://a.example/", "scopes", "nonsense", "resource-0", "https://api.example.com", "pkce", "yes").want(422).
		shows("Give a name", "These URLs cannot be used", "staying signed in needs", "One of these scopes does not exist", "must use PKCE", "http://a.example/", "nonsense")
	b.post(form, "name", "My App", "grant-authorization_code", "yes", "resource-1", "https://other.example.com").want(400)

	added := b.post(form, "name", "My App", "auth", "client_secret", "grant-authorization_code", "yes", "grant-refresh_token", "yes",
		"redirect_uris", "https://app.example.com/cb\r\nhttps://app.example.com/other\r\n", "scopes", "openid items:read", "resource-0", "https://api.example.com", "trusted", "yes")
	at := "/console/applications/my-app"
	p := b.follow(added).want(200).shows("The application is added", "Copy it now", "https://app.example.com/other", "trusted")
	first := regexp.MustCompile(`dcs_[0-9A-Za-z]{43}`).FindString(p.Body)
	if first == "" {
		t.Fatal("the page does not show the secret")
	}
	b.get(at).want(200).lacks(first, "Copy it now")
	c, err := e.node.DB.ClientByID(context.Background(), "my-app")
	e.must(err)
	if !c.Trusted || len(c.RedirectURIs) != 2 || len(c.Grants) != 2 || c.Resources[0] != "https://api.example.com" || strings.Join(c.Scopes, " ") != "openid items:read" {
		t.Errorf("got %+v", c)
	}
	b.post(form, "name", "My App", "grant-authorization_code", "yes", "redirect_uris", "https://app.example.com/cb").want(422).shows("with this id already")

	// The form has the properties of the application, and changes them.
	b.get(at).shows(at + "/change")
	b.get(at+"/change").want(200).shows(`value="My App"`, "https://app.example.com/other", `value="openid items:read"`, `name="resource-0" value="https://api.example.com" checked`,
		`name="grant-refresh_token" value="yes" checked`, `name="trusted" value="yes" checked`).lacks(`name="grant-client_credentials" value="yes" checked`, `name="pkce" value="yes" checked`, `name="auth"`, `name="id"`)
	b.post(at+"/change", "name", "", "grant-authorization_code", "yes", "redirect_uris", "http://a.example/", "scopes", "openid").want(422).
		shows("Give a name", "These URLs cannot be used", "http://a.example/", at+"/change")
	b.post(at+"/change", "name", "My App", "auth", "none", "grant-authorization_code", "yes", "redirect_uris", "https://app.example.com/cb").want(400)
	b.follow(b.post(at+"/change", "name", "Our App", "grant-authorization_code", "yes", "redirect_uris", "https://app.example.com/new", "scopes", "openid")).want(200).
		shows("The application is changed", "Our App", "https://app.example.com/new").lacks("items:read", "trusted")
	c, err = e.node.DB.ClientByID(context.Background(), "my-app")
	e.must(err)
	if c.Trusted || c.Auth != store.ClientSecret || len(c.RedirectURIs) != 1 || len(c.Grants) != 1 || len(c.Resources) != 0 || strings.Join(c.Scopes, " ") != "openid" {
		t.Errorf("after the change: %+v", c)
	}
	if events := e.events(store.EventClientChanged); len(events) != 1 || events[0].Actor != e.user(bea).ID {
		t.Errorf("events of the change: %+v", events)
	}

	p = b.follow(b.post(at+"/add-secret")).want(200).shows("The new secret is made", "Copy it now")
	if second := regexp.MustCompile(`dcs_[0-9A-Za-z]{43}`).FindString(p.Body); second == "" || second == first {
		t.Errorf("the second secret is %q", second)
	}
	b.post(at + "/add-secret").want(422).shows("two secrets already")
	secrets, err := e.node.DB.ClientSecrets(context.Background(), "my-app")
	e.must(err)
	b.follow(b.post(at+"/remove-secret", "secret", secrets[0].ID)).want(200).shows("The secret no longer works", secrets[1].ID).lacks(secrets[0].ID)
	b.follow(b.post(at+"/disable")).want(200).shows("is disabled", "Enable")
	b.follow(b.post(at + "/enable")).want(200).shows("can get tokens again")
	b.post(at+"/delete", "confirm", "Our App").want(422).shows("This is not the id of the application")
	b.follow(b.post(at+"/delete", "confirm", "my-app")).want(200).shows("The application is deleted").lacks("Our App")
	b.get(at).want(404)
	for _, kind := range []string{store.EventClientDisabled, store.EventClientDeleted} {
		if events := e.events(kind); len(events) != 1 || events[0].Actor != e.user(bea).ID {
			t.Errorf("%s: %+v", kind, events)
		}
	}

	b.get("/console/applications/web").want(200).shows("It can be changed there only").lacks("/disable", "/delete", "/change")
	b.get("/console/applications/web/change").want(303)
	b.post("/console/applications/web/change", "name", "Web", "grant-authorization_code", "yes", "redirect_uris", "https://web.example.com/").want(422).shows("defines this client")
	b.post("/console/applications/web/disable").want(422).shows("defines this client")
	b.post("/console/applications/web/delete", "confirm", "web").want(422).shows("defines this client")
	if c, err := e.node.OAuth.ViewClient(context.Background(), "web"); err != nil || !c.DisabledAt.IsZero() || c.PKCE != oauth.PKCERequired {
		t.Errorf("got %+v, %v", c, err)
	}
}

// Names and URLs of clients are text on the pages of the console.
func TestConsoleApplicationsHostileText(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.admin()
	const hostile = `<script>alert(1)</script>`
	b.post("/console/new-application", "name", hostile, "id", "x", "grant-authorization_code", "yes", "redirect_uris", "https://app.example.com/?a=<script>").want(303)
	for _, path := range []string{"/console/applications", "/console/applications/x"} {
		if p := b.get(path).want(200).shows("&lt;script&gt;"); strings.Contains(p.Body, "<script>") {
			t.Errorf("%s: a name is mark-up:\n%s", path, p.Body)
		}
	}
}

// The page of signing keys names the key of ID tokens once there is one, and rotates it alone.
func TestConsoleKeyOfIDTokens(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.admin()
	b.get("/console/signing-keys").want(200).lacks("ID tokens with RS256", `name="use"`)
	_, err := e.node.Issuer.SignFor(context.Background(), "RS256", "JWT", func(string) any { return struct{}{} })
	e.must(err)
	b.get("/console/signing-keys").want(200).shows("ID tokens with RS256", `<option value="id_token">`)
	before, err := e.node.DB.Keys(context.Background(), store.UseSigning)
	e.must(err)
	b.follow(b.post("/console/signing-keys/rotate", "use", "id_token", "now", "yes")).want(200)
	keys, err := e.node.DB.Keys(context.Background(), store.UseIDToken)
	e.must(err)
	after, err := e.node.DB.Keys(context.Background(), store.UseSigning)
	e.must(err)
	if len(keys) != 2 || len(after) != len(before) {
		t.Errorf("keys of ID tokens: %v, others: %v, before %v", keys, after, before)
	}
	b.post("/console/signing-keys/rotate", "use", "refresh").want(422)
}
