package config

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/durward-auth/durward/server/internal/oauth"
	"github.com/durward-auth/durward/server/internal/store"
)

// load reads a configuration file with the text.
func load(t *testing.T, text string, env ...string) (*Loaded, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "durward.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(Flags{Config: file}, env)
}

// Resources and clients of the file get their defaults, and secrets of all three forms become hashes.
func TestTables(t *testing.T) {
	t.Parallel()
	secret := strings.Repeat("s", 40)
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	other := sha256.Sum256([]byte("another secret"))
	l, err := load(t, fmt.Sprintf(`
[[resource]]
url = "https://api.example.com/v1"
claims = ["groups"]
[[resource.scopes]]
name = "items:read"
title = "Read items"
[[resource.scopes]]
name = "items:write"
groups = ["staff"]

[[client]]
id = "web"
secret_file = %q
secret_sha256 = ["%x"]
redirect_uris = ["https://app.example.com/callback"]
scopes = ["openid", "items:read"]
resources = ["https://api.example.com/v1"]
pkce = "optional"
trusted = true

[[client]]
id = "job"
name = "Nightly job"
secret = %q
grants = ["client_credentials"]
`, file, other, secret))
	if err != nil {
		t.Fatal(err)
	}
	resources, clients := l.OAuthResources(), l.OAuthClients()
	if len(resources) != 1 || resources[0].Name != "api.example.com" || len(resources[0].Scopes) != 2 || resources[0].Scopes[0].Title != "Read items" || resources[0].Scopes[1].Groups[0] != "staff" {
		t.Errorf("got resources %+v", resources)
	}
	hash := sha256.Sum256([]byte(secret))
	web, job := clients[0], clients[1]
	if web.Client.Name != "web" || web.Client.Auth != store.ClientSecret || len(web.Client.Grants) != 2 || !web.Client.PKCEOptional || !web.Client.Trusted || len(web.Hashes) != 2 || web.Hashes[0] != hash || web.Hashes[1] != other {
		t.Errorf("got %+v", web)
	}
	if job.Client.Name != "Nightly job" || job.Client.Grants[0] != oauth.GrantCredentials || len(job.Hashes) != 1 || job.Hashes[0] != hash {
		t.Errorf("got %+v", job)
	}
	if len(l.Exposed) != 1 || l.Exposed[0].Path != file {
		t.Errorf("a secret file that others can read: got %v", l.Exposed)
	}
	s := l.Setting("client")
	if s.String() != "web,job" || strings.Contains(fmt.Sprintf("%+v %v", l.Config, s.JSON()), secret) {
		t.Errorf("the setting is %s, or shows the secret", s)
	}
	if !s.Reloadable() || s.Equal(noClients(t)) {
		t.Error("a change of clients is not applied by a reload")
	}
}

func noClients(t *testing.T) *Setting {
	t.Helper()
	l, err := load(t, "")
	if err != nil {
		t.Fatal(err)
	}
	return l.Setting("client")
}

// Every mistake in an array of tables is reported with its line.
func TestMistakesInTables(t *testing.T) {
	t.Parallel()
	const client = "[[client]]\nid = \"web\"\nauth = \"none\"\nredirect_uris = [\"https://app.example.com/\"]\n"
	for _, c := range []struct {
		name, text string
		want       []string // parts of lines of the error
	}{
		{"right", client, nil},
		{"one table", "[client]\nid = \"web\"\n", []string{":1: client is not an array of tables; write [[client]]"}},
		{"unknown key", client + "redirect_uri = \"x\"\n", []string{":5: client[0].redirect_uri is not a known key; did you mean redirect_uris?"}},
		{"wrong types", "[[client]]\nid = 1\ngrants = \"x\"\ntrusted = \"yes\"\n", []string{":2: client[0].id is not a string", ":3: client[0].grants is not a list", ":4: client[0].trusted is neither"}},
		{"second client", client + "\n[[client]]\nid = \"https://x\"\nauth = \"none\"\ngrants = [\"password\"]\n", []string{":7: client[1].id is", ":9: client[1].grants has \"password\""}},
		{"same id", client + client, []string{":6: client[1].id is \"web\", as that of another client"}},
		{"no secret", strings.Replace(client, "none", "client_secret", 1), []string{":1: client[0] has no secret"}},
		{"secret of a public client", client + "secret = \"" + strings.Repeat("s", 32) + "\"\n", []string{":1: client[0] has a secret"}},
		{"short secret", strings.Replace(client, "none", "client_secret", 1) + "secret = \"hunter2\"\n", []string{":5: client[0].secret has 7 characters"}},
		{"no hash", strings.Replace(client, "none", "client_secret", 1) + "secret_sha256 = [\"abc\"]\n", []string{":5: client[0].secret_sha256 has a value that is not 64"}},
		{"no file", strings.Replace(client, "none", "client_secret", 1) + "secret_file = \"/no/such/file\"\n", []string{":5: client[0].secret_file cannot be read"}},
		{"pkce", client + "pkce = \"off\"\n", []string{":5: client[0].pkce is \"off\"; want one of: required, optional"}},
		{"unknown resource", client + "resources = [\"https://api.example.com\"]\n", []string{":5: client[0].resources has \"https://api.example.com\""}},
		{"relative resource", "[[resource]]\nurl = \"/api\"\n", []string{":1: resource[0] is invalid: the resource \"/api\""}},
		{"reserved scope", "[[resource]]\nurl = \"https://a.example\"\nscopes = [{ name = \"admin\" }]\n", []string{":1: resource[0] is invalid: the scope admin"}},
		{"unknown claim", "[[resource]]\nurl = \"https://a.example\"\nclaims = [\"email\"]\n", []string{":1: resource[0] is invalid: the claim"}},
		{"key of a scope", "[[resource]]\nurl = \"https://a.example\"\n[[resource.scopes]]\nnam = \"x\"\n", []string{":4: resource[0].scopes[0].nam is not a known key; did you mean name?"}},
		{"key of an inline scope", "[[resource]]\nurl = \"https://a.example\"\nscopes = [{ nam = \"x\" }]\n", []string{":3: resource[0].scopes[0].nam is not a known key"}},
		{"same resource", "[[resource]]\nurl = \"https://a.example\"\n[[resource]]\nurl = \"https://A.example:443/\"\n", []string{"is there twice"}},
	} {
		_, err := load(t, c.text)
		if (err == nil) != (c.want == nil) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
			continue
		}
		for _, part := range c.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: got %v, want %q", c.name, err, part)
			}
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error shows a secret", c.name)
		}
	}
	_, err := load(t, "", "DURWARD_CLIENT=web")
	if err == nil || !strings.Contains(err.Error(), "write [[client]] there") {
		t.Errorf("a variable: got %v", err)
	}
}

// The demonstration adds a valid resource and client, and leaves those of the configuration as they are.
func TestAddDemo(t *testing.T) {
	t.Parallel()
	l, err := load(t, `
[[resource]]
url = "https://api.example.com"
[[client]]
id = "demo-agent"
auth = "none"
redirect_uris = ["https://app.example.com/callback"]
`)
	if err != nil {
		t.Fatal(err)
	}
	l.AddDemo()
	if len(l.Resources) != 2 || len(l.Clients) != 1 || l.Clients[0].RedirectURIs[0] != "https://app.example.com/callback" {
		t.Errorf("resources %+v and clients %+v, want one more resource and the same client", l.Resources, l.Clients)
	}
	if l, err = load(t, ""); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		l.AddDemo()
	}
	if len(l.Resources) != 1 || len(l.Clients) != 1 {
		t.Errorf("resources %+v and clients %+v, want one of each", l.Resources, l.Clients)
	}
	if mistakes := l.checkTables(); len(mistakes) > 0 {
		t.Errorf("mistakes: %v", mistakes)
	}
}
