package config

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/durward-auth/durward/server/internal/oauth"
	"github.com/durward-auth/durward/server/internal/store"
)

// readTables sets s, an array of tables, to a value of the TOML parser, and reads the files that it names.
func (l *Loaded) readTables(s *Setting, value any) {
	setTables(s.value, s.Key, value, l.tableMistake)
	if s.Key != "client" {
		return
	}
	for i, c := range l.Clients {
		if c.SecretFile == "" {
			continue
		}
		at := fmt.Sprintf("client[%d].secret_file", i)
		secret, err := ReadSecretFile(c.SecretFile)
		if err != nil {
			l.tableMistake(at, "cannot be read: %s", err)
			continue
		}
		if err := oauth.CheckSecret(secret); err != nil {
			l.tableMistake(at, "%s", err)
		}
		l.Clients[i].fileHash = [][32]byte{sha256.Sum256([]byte(secret))}
		if info, err := os.Stat(c.SecretFile); err == nil && info.Mode().IsRegular() && exposed(info) {
			l.Exposed = append(l.Exposed, ExposedSecret{at, c.SecretFile})
		}
	}
}

// tableMistake records a mistake in a key of an array of tables, such as client[0].id, with its line.
func (l *Loaded) tableMistake(key, format string, args ...any) {
	line := l.lines[key]
	for at := key; line == 0 && at != ""; line = l.lines[at] { // a missing key, or one inside an inline table
		at = at[:len(at)-1]
	}
	l.inTables = append(l.inTables, fmt.Errorf("%s:%d: %s %s", l.path, line, key, fmt.Sprintf(format, args...)))
}

// setTables sets v, a slice of structs, to an array of tables. The function mistake gets the key of each mistake,
// such as client[0].id.
func setTables(v reflect.Value, key string, value any, mistake func(key, format string, args ...any)) {
	list, isList := value.([]any)
	if !isList {
		mistake(key, "is not an array of tables; write [[%s]] before each one", key)
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(list), len(list)))
	for i, element := range list {
		at := fmt.Sprintf("%s[%d]", key, i)
		table, isTable := element.(map[string]any)
		if !isTable {
			mistake(at, "is not a table")
			continue
		}
		fields := make(map[string]reflect.Value)
		for f, field := range v.Index(i).Fields() {
			if f.IsExported() {
				fields[f.Tag.Get("toml")] = field
			}
		}
		known := slices.Sorted(maps.Keys(fields))
		for _, name := range slices.Sorted(maps.Keys(table)) {
			field, ok := fields[name]
			switch {
			case !ok:
				mistake(at+"."+name, "%s", unknown(name, known))
			case isTables(field.Type()):
				setTables(field, at+"."+name, table[name], mistake)
			default:
				if err := (&Setting{value: field}).set(table[name]); err != nil {
					mistake(at+"."+name, "%s", err)
				}
			}
		}
	}
}

// checkTables validates resources and clients, and returns all mistakes in them.
func (l *Loaded) checkTables() []error {
	resources := l.OAuthResources()
	for i := range resources {
		if err := oauth.CheckResources(resources[i : i+1]); err != nil {
			l.tableMistake(fmt.Sprintf("resource[%d]", i), "is invalid: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
		}
	}
	if err := oauth.CheckResources(resources); err != nil && len(l.inTables) == 0 {
		l.tableMistake("resource", "is invalid: %s", err)
	}
	audience := l.Tokens.Audience
	if len(audience) == 0 {
		audience = []string{l.IssuerURL()}
	}
	clients := l.OAuthClients()
	for i, c := range clients {
		at, set := fmt.Sprintf("client[%d]", i), l.Clients[i]
		for _, one := range oauth.CheckClient(c.Client, resources, audience) {
			l.tableMistake(at+"."+one.Property, "%s", one.Text)
		}
		if set.PKCE != "" && set.PKCE != oauth.PKCERequired && set.PKCE != oauth.PKCEOptional {
			l.tableMistake(at+".pkce", "is %q; want one of: %s, %s", set.PKCE, oauth.PKCERequired, oauth.PKCEOptional)
		}
		if err := oauth.CheckSecret(set.Secret.Reveal()); set.Secret != "" && err != nil {
			l.tableMistake(at+".secret", "%s", err)
		}
		for _, text := range set.SecretSHA256 {
			if _, ok := hashOf(text); !ok {
				l.tableMistake(at+".secret_sha256", "has a value that is not 64 hexadecimal digits")
			}
		}
		switch n := len(c.Hashes); {
		case c.Client.Auth == store.ClientPublic && n > 0:
			l.tableMistake(at, "has a secret, and a client with auth none has none")
		case c.Client.Auth == store.ClientSecret && n == 0 && len(set.SecretSHA256) == 0 && set.SecretFile == "":
			l.tableMistake(at, "has no secret; set secret, secret_file or secret_sha256, or auth none for an app whose users can read it")
		case n > store.MaxClientSecrets:
			l.tableMistake(at, "has %d secrets; want at most %d", n, store.MaxClientSecrets)
		}
		if slices.ContainsFunc(clients[:i], func(o store.ConfiguredClient) bool { return o.Client.ID == c.Client.ID }) {
			l.tableMistake(at+".id", "is %q, as that of another client", c.Client.ID)
		}
	}
	return l.inTables
}

func hashOf(text string) (hash [32]byte, ok bool) {
	decoded, err := hex.DecodeString(text)
	copy(hash[:], decoded)
	return hash, err == nil && len(decoded) == len(hash)
}

// AddDemo adds the resource of the example examples/mcp and a public client for agents, unless the configuration has them.
func (c *Config) AddDemo() {
	resource := Resource{
		URL:  "http://127.0.0.1:8090/mcp",
		Name: "Notes for agents",
		Scopes: []Scope{
			{Name: "notes:read", Title: "Read your notes"},
			{Name: "notes:write", Title: "Add notes"},
		},
	}
	if !slices.ContainsFunc(c.Resources, func(r Resource) bool { return r.URL == resource.URL }) {
		c.Resources = append(c.Resources, resource)
	}
	agent := Client{
		ID:           "demo-agent",
		Name:         "Agent of the demonstration",
		Auth:         store.ClientPublic,
		RedirectURIs: []string{"http://127.0.0.1/callback", "http://localhost/callback", "http://localhost/oauth/callback"},
		Scopes:       []string{"notes:read", "notes:write", oauth.ScopeOffline},
		Resources:    []string{resource.URL},
	}
	if !slices.ContainsFunc(c.Clients, func(o Client) bool { return o.ID == agent.ID }) {
		c.Clients = append(c.Clients, agent)
	}
}

// OAuthResources returns the resources with their defaults.
func (c *Config) OAuthResources() (resources []oauth.Resource) {
	for _, r := range c.Resources {
		to := oauth.Resource{URL: r.URL, Name: r.Name, Claims: r.Claims}
		if u, err := url.Parse(r.URL); err == nil {
			to.Name = cmp.Or(to.Name, u.Host)
		}
		for _, s := range r.Scopes {
			to.Scopes = append(to.Scopes, oauth.Scope{Name: s.Name, Title: s.Title, Groups: s.Groups})
		}
		resources = append(resources, to)
	}
	return resources
}

// OAuthClients returns the clients with their defaults, and the hashes of their secrets.
func (c *Config) OAuthClients() (clients []store.ConfiguredClient) {
	for _, set := range c.Clients {
		n := store.ConfiguredClient{Client: store.Client{
			ID: set.ID, Name: cmp.Or(set.Name, set.ID), Auth: cmp.Or(set.Auth, store.ClientSecret), RedirectURIs: set.RedirectURIs,
			Grants: set.Grants, Scopes: set.Scopes, Resources: set.Resources, Introspects: set.Introspects, IDTokenAlg: set.IDTokenAlg,
			PKCEOptional: set.PKCE == oauth.PKCEOptional, Trusted: set.Trusted,
		}}
		if set.Grants == nil {
			n.Client.Grants = []string{oauth.GrantCode, oauth.GrantRefresh}
		}
		n.Hashes = slices.Clone(set.fileHash)
		if set.Secret != "" {
			n.Hashes = append(n.Hashes, sha256.Sum256([]byte(set.Secret.Reveal())))
		}
		for _, text := range set.SecretSHA256 {
			if hash, ok := hashOf(text); ok {
				n.Hashes = append(n.Hashes, hash)
			}
		}
		clients = append(clients, n)
	}
	return clients
}
