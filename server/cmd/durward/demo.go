package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/config"
	"github.com/durward-auth/durward/server/internal/store"
)

// The people of the demo. The administrator's password is drawn at each start.
const (
	demoEmail    = "ada@example.com"
	demoPassword = "correct horse battery staple"
	demoAdmin    = "root@example.com"
)

// makeDemo changes a configuration to that of the demo, which keeps what was set
// by hand.
func makeDemo(l *config.Loaded) error {
	if l.Database.URL != "" {
		return &exitError{exitUsage, errors.New("the demo adds people whose passwords everybody knows: it takes no database.url"), "Say --data DIR, or nothing for a temporary folder."}
	}
	for key, value := range map[string]string{"registration": "open", "tokens.refresh_grace": "2s"} {
		if err := l.SetDefault(key, value, "--demo"); err != nil {
			return err
		}
	}
	return nil
}

// demo adds the demo's people and prints the lines of a full round.
func (v serveVerb) demo(e *environment, s *system) error {
	generated := strings.ToLower(rand.Text())
	for _, p := range []account.NewPerson{
		{Email: demoEmail, Name: "Ada", Password: demoPassword},
		{Email: demoAdmin, Name: "Root", Password: generated, Admin: true},
	} {
		u, err := s.People.ByEmail(e, p.Email)
		switch {
		case errors.Is(err, store.ErrNotFound):
			if others, err := s.DB.Users(e, "", 1); err == nil && len(others) > 0 && !p.Admin {
				e.say("warning: %s has people of its own; the demo adds %s to them, whose password everybody knows", s.settings.DataDir, p.Email)
			}
			_, err = s.People.Add(e, p, store.EventUserAdded, operator)
		case err == nil && p.Admin: // of an earlier demo: its password is known to nobody here
			err = s.People.SetPassword(e, u, p.Password, operator)
		}
		if err != nil {
			return err
		}
	}
	l := s.settings
	dir, err := filepath.Abs(l.DataDir) // the other terminal may be elsewhere
	if err != nil {
		return err
	}
	file := func(name string) string { return quote(filepath.Join(dir, name)) }
	member := func(name, file string) string {
		return `$(sed 's/.*"` + name + `":"\([^"]*\)".*/\1/' ` + file + `)`
	}
	body := `-H 'Content-Type: application/json'`
	fmt.Fprintf(e.stdout, `# Durward, a demonstration. %[1]s / %[2]s may sign in;
# %[3]s / %[4]s is an administrator. Paste these lines in another terminal:

# refused: 401, its challenge, and a body that says what to do
curl -i %[5]s/api/profile

# sign in
curl -s %[6]s -d '{"email":"%[1]s","password":"%[2]s"}' %[5]s/api/auth/login | tee %[7]s

# call
curl -i -H "Authorization: Bearer %[8]s" %[5]s/api/profile

# refresh: a new pair of tokens
curl -s %[6]s -d "{\"refresh_token\":\"%[9]s\"}" %[5]s/api/auth/refresh | tee %[10]s

# sign out: the tokens are dead at once
curl -i -X POST -H "Authorization: Bearer %[11]s" %[5]s/api/auth/logout
curl -i -H "Authorization: Bearer %[11]s" %[5]s/api/profile

# why was that refused? With the Durward-Denial of the answer:
#   durward why --data %[12]s 01...

`, demoEmail, demoPassword, demoAdmin, generated, l.PublicURL, body, file("signed-in.json"), member("access_token", file("signed-in.json")),
		member("refresh_token", file("signed-in.json")), file("refreshed.json"), member("access_token", file("refreshed.json")), quote(dir))
	return nil
}

// quote makes a path one word for a shell.
func quote(path string) string {
	if !strings.ContainsFunc(path, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-", r))
	}) {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
