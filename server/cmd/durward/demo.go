package main

import (
	"crypto/rand"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/config"
	"github.com/durward-auth/durward/server/internal/node"
	"github.com/durward-auth/durward/server/internal/store"
)

// Users of the demo. The administrator gets a new random password at each start.
const (
	demoEmail    = "ada@example.com"
	demoPassword = "correct horse battery staple"
	demoAdmin    = "root@example.com"
)

// setDemoDefaults sets the demo's values of keys that the operator has not set.
func setDemoDefaults(c *config.Loaded) error {
	if c.Database.URL != "" {
		return usage("Name a folder with --data DIR, or omit it for a temporary folder.",
			"--demo cannot be used with database.url: it adds users whose passwords are public")
	}
	var errs []error
	for key, value := range demoDefaults {
		errs = append(errs, c.SetDefault(key, value, "--demo"))
	}
	return errors.Join(errs...)
}

// demoDefaults are the demo's defaults of settings.
var demoDefaults = map[string]string{"registration": "open", "tokens.refresh_grace": "2s"}

// addDemoUsers adds the users of the demo and returns the new password of the administrator.
func addDemoUsers(e *environment, c *config.Loaded) (adminPassword string, err error) {
	s, err := openNode(e, c, node.Starting, slog.New(slog.DiscardHandler))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, node.CloseData(s)) }()
	generated := strings.ToLower(rand.Text())
	for _, p := range []account.NewUser{
		{Email: demoEmail, Name: "Ada", Password: demoPassword},
		{Email: demoAdmin, Name: "Root", Password: generated, Admin: true},
	} {
		u, err := s.Accounts.ByEmail(e, p.Email)
		switch {
		case errors.Is(err, store.ErrNotFound):
			if others, err := s.DB.Users(e, "", 1); err == nil && len(others) > 0 && !p.Admin {
				e.note("warning: the database in %s has users already; the demo adds %s, whose password is public", c.DataDir, p.Email)
			}
			_, err = s.Accounts.Add(e, p, store.EventUserAdded, operator)
		case err == nil && p.Admin: // the password of an earlier demo is unknown
			err = s.Sessions.SetPassword(e, u, p.Password, operator)
		}
		if err != nil {
			return "", err
		}
	}
	return generated, nil
}

// printDemo prints the curl commands and the page to open. The commands work in a shell with another current folder.
func printDemo(e *environment, c *config.Loaded, adminPassword string) error {
	dir, err := filepath.Abs(c.DataDir)
	if err != nil {
		return err
	}
	signedIn, refreshed := shellQuote(filepath.Join(dir, "signed-in.json")), shellQuote(filepath.Join(dir, "refreshed.json"))
	member := func(name, file string) string {
		return `$(sed 's/.*"` + name + `":"\([^"]*\)".*/\1/' ` + file + `)`
	}
	_, err = strings.NewReplacer(
		"{USER}", demoEmail, "{PASSWORD}", demoPassword, "{ADMIN}", demoAdmin, "{ADMIN_PASSWORD}", adminPassword,
		"{URL}", c.PublicURL, "{JSON}", `-H 'Content-Type: application/json'`, "{DATA}", shellQuote(dir),
		"{SIGNED_IN}", signedIn, "{REFRESHED}", refreshed,
		"{ACCESS}", member("access_token", signedIn), "{REFRESH}", member("refresh_token", signedIn),
		"{ACCESS2}", member("access_token", refreshed),
	).WriteString(e.stdout, demoText)
	return err
}

const demoText = `# Durward demo. Users: {USER} / {PASSWORD}
# and the administrator {ADMIN} / {ADMIN_PASSWORD} .
# Paste these lines into another terminal, one at a time.

# 1. Without credentials: 401 with a challenge, and a body that says what to do.
curl -i {URL}/api/profile

# 2. Sign in.
curl -s {JSON} -d '{"email":"{USER}","password":"{PASSWORD}"}' {URL}/api/auth/login | tee {SIGNED_IN}

# 3. Call the API.
curl -i -H "Authorization: Bearer {ACCESS}" {URL}/api/profile

# 4. Refresh: a new pair of tokens.
curl -s {JSON} -d "{\"refresh_token\":\"{REFRESH}\"}" {URL}/api/auth/refresh | tee {REFRESHED}

# 5. Sign out. The tokens are invalid at once: the second line gets a 401.
curl -i -X POST -H "Authorization: Bearer {ACCESS2}" {URL}/api/auth/logout
curl -i -H "Authorization: Bearer {ACCESS2}" {URL}/api/profile

# 6. Ask why. Use the Durward-Denial field of that response.
#   durward why --data {DATA} 01...

# 7. Or use a browser: sign in as one of the users above. The mails are at {URL}/dev/mail ,
# a sample application is at {URL}/demo/ .
#
# 8. For agents: start an MCP server with the sources of Durward. Its agents have the client_id demo-agent.
#   go run ./examples/mcp -issuer {URL}

# Open this page: {URL}/login

`
