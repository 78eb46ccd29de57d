package oauth

import (
	"slices"
	"strings"
	"testing"

	"github.com/durward-auth/durward/server/internal/store"
)

// All mistakes in the properties of a client are reported together, and a right client has none.
func TestCheckClient(t *testing.T) {
	t.Parallel()
	resources := []Resource{
		{URL: "https://api.example.com", Scopes: []Scope{{Name: "items:read"}, {Name: "items:write"}}},
		{URL: "https://files.example.com", Scopes: []Scope{{Name: "files:read"}}},
	}
	right := func() store.Client {
		return store.Client{
			ID: "web", Name: "Web", Auth: store.ClientSecret, RedirectURIs: []string{"https://app.example.com/cb"}, Grants: []string{GrantCode, GrantRefresh},
			Scopes: []string{"openid", "offline_access", "items:read"}, Resources: []string{"https://api.example.com/"},
		}
	}
	many := func(n int) (list []string) {
		for i := range n {
			list = append(list, "https://app.example.com/"+strings.Repeat("a", i))
		}
		return list
	}
	for _, c := range []struct {
		name   string
		change func(*store.Client)
		want   []string // properties
	}{
		{"right", func(*store.Client) {}, nil},
		{"20 redirect URIs", func(c *store.Client) { c.RedirectURIs = many(20) }, nil},
		{"21 redirect URIs", func(c *store.Client) { c.RedirectURIs = many(21) }, []string{"redirect_uris"}},
		{"long redirect URI", func(c *store.Client) { c.RedirectURIs = []string{"https://a.example/" + strings.Repeat("a", 2048)} }, []string{"redirect_uris"}},
		{"redirect URI twice", func(c *store.Client) { c.RedirectURIs = append(c.RedirectURIs, c.RedirectURIs[0]) }, []string{"redirect_uris"}},
		{"plain http", func(c *store.Client) { c.RedirectURIs = []string{"http://app.example.com/"} }, []string{"redirect_uris"}},
		{"no redirect URI", func(c *store.Client) { c.RedirectURIs = nil }, []string{"redirect_uris"}},
		{"id like a document", func(c *store.Client) { c.ID = "https://app.example.com/client.json" }, []string{"id"}},
		{"id like a user", func(c *store.Client) { c.ID = "018f6f1e-0000-7000-8000-000000000000" }, []string{"id"}},
		{"id like a user without hyphens", func(c *store.Client) { c.ID = "018f6f1e000070008000000000000000" }, []string{"id"}},
		{"id with a space", func(c *store.Client) { c.ID = "a b" }, []string{"id"}},
		{"long id", func(c *store.Client) { c.ID = strings.Repeat("a", 65) }, []string{"id"}},
		{"own id", func(c *store.Client) { c.ID = "durward" }, []string{"id"}},
		{"own id of the command line", func(c *store.Client) { c.ID = "durward-cli" }, []string{"id"}},
		{"no name", func(c *store.Client) { c.Name = " " }, []string{"name"}},
		{"name with a line break", func(c *store.Client) { c.Name = "a\nb" }, []string{"name"}},
		{"name that is turned around", func(c *store.Client) { c.Name = "a\u202eb" }, []string{"name"}},
		{"auth", func(c *store.Client) { c.Auth = "private_key_jwt" }, []string{"auth"}},
		{"unknown grant", func(c *store.Client) { c.Grants = append(c.Grants, "password") }, []string{"grants"}},
		{"no grant", func(c *store.Client) { c.Grants, c.RedirectURIs, c.Scopes = nil, nil, nil }, []string{"grants"}},
		{"refresh alone", func(c *store.Client) { c.Grants, c.RedirectURIs = []string{GrantRefresh}, nil }, []string{"grants"}},
		{"redirect URI without the grant", func(c *store.Client) { c.Grants, c.Scopes = []string{GrantCredentials}, nil }, []string{"redirect_uris"}},
		{"offline_access without refresh", func(c *store.Client) { c.Grants = []string{GrantCode} }, []string{"scopes"}},
		{"public client", func(c *store.Client) { c.Auth = store.ClientPublic }, nil},
		{"public client with too many rights", func(c *store.Client) {
			c.Auth, c.PKCEOptional, c.Introspects = store.ClientPublic, true, []string{"https://api.example.com"}
			c.Grants = append(c.Grants, GrantCredentials)
		}, []string{"grants", "pkce", "introspects"}},
		{"PKCE optional", func(c *store.Client) { c.PKCEOptional = true }, nil},
		{"RS256", func(c *store.Client) { c.IDTokenAlg = "RS256" }, nil},
		{"none", func(c *store.Client) { c.IDTokenAlg = "none" }, []string{"id_token_alg"}},
		{"unknown resource", func(c *store.Client) { c.Resources = append(c.Resources, "https://other.example.com") }, []string{"resources"}},
		{"introspects the audience", func(c *store.Client) { c.Introspects = []string{"https://auth.example.com"} }, nil},
		{"introspects another audience", func(c *store.Client) { c.Introspects = []string{"https://other.example.com"} }, []string{"introspects"}},
		{"scope of another resource", func(c *store.Client) { c.Scopes = []string{"files:read"} }, []string{"scopes"}},
		{"unknown scope", func(c *store.Client) { c.Scopes = []string{"items:raed"} }, []string{"scopes"}},
		{"scope of an API that is no resource", func(c *store.Client) { c.Scopes, c.Resources = []string{"jobs:run"}, nil }, nil},
		{"scope of the server's own pages", func(c *store.Client) { c.Scopes, c.Resources = []string{"admin"}, nil }, []string{"scopes"}},
		{"scope that is no word", func(c *store.Client) { c.Scopes, c.Resources = []string{"a\"b"}, nil }, []string{"scopes"}},
		{"all at once", func(c *store.Client) {
			*c = store.Client{ID: "?", Auth: "x", Grants: []string{"y"}, Scopes: []string{"admin"}}
		}, []string{"id", "name", "auth", "grants", "scopes"}},
	} {
		client := right()
		c.change(&client)
		var got []string
		mistakes := CheckClient(client, resources, []string{"https://auth.example.com"})
		for _, one := range mistakes {
			if !slices.Contains(got, one.Property) {
				got = append(got, one.Property)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want mistakes in %v", c.name, mistakes, c.want)
		}
	}
}

// An imported secret is as hard to guess as 32 characters are, and can be sent.
func TestCheckSecret(t *testing.T) {
	t.Parallel()
	for secret, want := range map[string]bool{
		strings.Repeat("a", 31): false, strings.Repeat("a", 32): true, strings.Repeat("a", 256): true, strings.Repeat("a", 257): false,
		strings.Repeat("a", 32) + " ": false, strings.Repeat("ä", 32): false, "": false,
	} {
		if err := CheckSecret(secret); (err == nil) != want {
			t.Errorf("%q: got %v, want right: %t", secret, err, want)
		}
	}
}

// The id of a client without one is made of its name.
func TestIDOfName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"My App": "my-app", " Ärger & Co. ": "rger-co", strings.Repeat("ab ", 30): strings.TrimSuffix(strings.Repeat("ab-", 14)[:40], "-")} {
		if got := idOf(name); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
	if got := idOf("漢字"); !clientID.MatchString(got) || !strings.HasPrefix(got, "client-") {
		t.Errorf("got %q", got)
	}
}
