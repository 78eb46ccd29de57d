package oauth

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/durward-auth/durward/server/internal/store"
)

// shop returns the rules for two resources.
func shop() *Manager {
	return &Manager{c: Config{
		Audience: []string{"https://auth.example.com"},
		Resources: []Resource{
			{URL: "https://API.example.com", Scopes: []Scope{{Name: "items:read"}, {Name: "items:write", Groups: []string{"staff", "owners"}}}},
			{URL: "https://files.example.com/v1", Scopes: []Scope{{Name: "files"}, {Name: "items:read", Groups: []string{"owners"}}}},
			{URL: "https://secret.example.com", Scopes: []Scope{{Name: "secret"}}},
		},
	}}
}

func clerk() store.Client {
	return store.Client{
		ID:        "clerk",
		Grants:    []string{GrantCode, GrantRefresh},
		Scopes:    strings.Fields("openid profile offline_access revocations admin items:read items:write files secret legacy"),
		Resources: []string{"https://api.example.com/", "https://files.example.com/v1", "https://gone.example.com"},
	}
}

// A user gives the scopes that the client has, for resources that have them, as the user's groups allow.
func TestGrantScopes(t *testing.T) {
	t.Parallel()
	m, c := shop(), clerk()
	api, files := m.c.Resources[0], m.c.Resources[1]
	withoutRefresh := clerk()
	withoutRefresh.Grants = []string{GrantCode}
	for _, row := range []struct {
		name      string
		client    store.Client
		groups    string
		resources []Resource
		requested string
		want      string
	}{
		{"no scope: all but offline_access, and none of a group", c, "", []Resource{api}, "", "openid profile items:read legacy"},
		{"no scope, a user of a group", c, "staff", []Resource{api}, "", "openid profile items:read items:write legacy"},
		{"another group", c, "guests", []Resource{api}, "items:write", ""},
		{"a scope of another resource", c, "staff", []Resource{api}, "files secret", ""},
		{"a scope of two resources: each has its own groups", c, "staff", []Resource{files}, "items:read files", "files"},
		{"both resources: one of them gives it to every user", c, "", []Resource{api, files}, "items:read files", "items:read files"},
		{"offline_access where asked for", c, "", []Resource{api}, "offline_access openid", "offline_access openid"},
		{"offline_access without refresh tokens", withoutRefresh, "", []Resource{api}, "offline_access openid", "openid"},
		{"a scope that the client does not have", c, "", []Resource{api}, "email openid", "openid"},
		{"a scope of the server's own API", c, "", []Resource{api}, "admin", ""},
		{"the revocations of all users", c, "", []Resource{api}, "revocations", ""},
		{"twice", c, "", []Resource{api}, "openid openid", "openid"},
		{"not a scope", c, "", []Resource{api}, "\x00 Openid OPENID", ""},
	} {
		got := m.GrantScopes(row.client, strings.Fields(row.groups), row.resources, strings.Fields(row.requested))
		if strings.Join(got, " ") != row.want {
			t.Errorf("%s: got %q, want %q", row.name, strings.Join(got, " "), row.want)
		}
	}
}

// A client has the scopes of the operator for itself. It has no scopes of users.
func TestClientScopes(t *testing.T) {
	t.Parallel()
	m, c := shop(), clerk()
	api := m.c.Resources[:1]
	for requested, want := range map[string]string{
		"":                         "revocations items:read items:write legacy",
		"items:write":              "items:write",
		"openid profile":           "",
		"offline_access admin":     "",
		"files":                    "",
		"revocations items:delete": "revocations",
	} {
		if got := strings.Join(m.ClientScopes(c, api, strings.Fields(requested)), " "); got != want {
			t.Errorf("%q: got %q, want %q", requested, got, want)
		}
	}
}

// A client gets tokens for the resources that it has, as their URLs are configured.
func TestTargets(t *testing.T) {
	t.Parallel()
	m, c := shop(), clerk()
	for _, row := range []struct {
		name      string
		client    store.Client
		requested []string
		want      []string // nil: invalid_target
	}{
		{"none: the first of the client", c, nil, []string{"https://API.example.com"}},
		{"none, for a client without resources", store.Client{}, nil, []string{"https://auth.example.com"}},
		{"none, if the first was removed", store.Client{Resources: []string{"https://gone.example.com", "https://files.example.com/v1"}}, nil, []string{"https://files.example.com/v1"}},
		{"another spelling", c, []string{"HTTPS://api.example.com:443/"}, []string{"https://API.example.com"}},
		{"two spellings", c, []string{"https://api.example.com", "https://api.example.com/"}, []string{"https://API.example.com"}},
		{"two", c, []string{"https://files.example.com/v1", "https://api.example.com"}, []string{"https://files.example.com/v1", "https://API.example.com"}},
		{"another path", c, []string{"https://files.example.com/v1/"}, nil},
		{"of another client", c, []string{"https://secret.example.com"}, nil},
		{"removed from the configuration", c, []string{"https://gone.example.com"}, nil},
		{"empty", c, []string{""}, nil},
		{"one of two", c, []string{"https://api.example.com", "https://evil.example.com"}, nil},
		{"six", c, slices.Repeat([]string{"https://api.example.com"}, 6), nil},
	} {
		targets, err := m.Targets(row.client, row.requested)
		var got []string
		for _, r := range targets {
			got = append(got, r.URL)
		}
		refused, _ := errors.AsType[*Error](err)
		if !slices.Equal(got, row.want) || (row.want == nil) != (refused != nil && refused.Code == InvalidTarget) {
			t.Errorf("%s: got %q, %v, want %q", row.name, got, err, row.want)
		}
	}
}
