package store

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/durward-auth/durward/server/internal/testkit"
)

// live returns the number of live sessions of a client.
func live(t *testing.T, db *DB, client string) int {
	t.Helper()
	return count(t, db, `SELECT count(*) FROM sessions WHERE client_id = $1 AND ended_at = 0`, client)
}

// sidsOf returns the values of revocations of kind sid.
func sidsOf(revoked []Revocation) (sids []string) {
	for _, r := range revoked {
		if r.Kind == "sid" {
			sids = append(sids, r.Value)
		}
	}
	slices.Sort(sids)
	return sids
}

// begin begins a session of a client by a code of a user who has session.
func begin(t *testing.T, db *DB, client, user, session, child string) error {
	t.Helper()
	code := aCode("code of " + child)
	code.ClientID, code.UserID, code.ParentID = client, user, session
	must(t, db.CreateCode(t.Context(), code, session))
	s := aSpending(child, anEvent(EventApplicationSignedIn, user))
	s.Hash = code.Hash
	use, err := db.SpendCode(t.Context(), s)
	must(t, err)
	return use.Refused
}

// The end of a client ends its sessions, codes and own tokens, and nothing of other clients or of the browser.
func TestClientsEnd(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		for name, end := range map[string]func(*DB) ([]Revocation, error){
			"disabled": func(db *DB) ([]Revocation, error) {
				return db.DisableClient(t.Context(), "app", "sid 2 of app", later, anEvent(EventClientDisabled, ""))
			},
			"deleted": func(db *DB) ([]Revocation, error) {
				return db.DeleteClient(t.Context(), "app", later, anEvent(EventClientDeleted, ""))
			},
		} {
			db := openAt(t, fresh(t))
			addClient(t, db, "app")
			addClient(t, db, "other")
			addUser(t, db, "ada")
			addUser(t, db, "bob")
			signIn(t, db, "ada", "session-1", "grant-1")
			signIn(t, db, "bob", "session-2", "grant-2")
			must(t, errors.Join(
				begin(t, db, "app", "ada", "session-1", "child-1"),
				begin(t, db, "app", "bob", "session-2", "child-2"),
				begin(t, db, "other", "ada", "session-1", "child-3"),
			))
			must(t, db.CreateCode(t.Context(), aCode("code-1"), "session-1"))
			revoked, err := end(db)
			must(t, err)
			if got, want := sidsOf(revoked), []string{"child-1", "child-2", "sid of app"}; !slices.Equal(got, want) {
				t.Errorf("%s: revoked %q, want %q", name, got, want)
			}
			if live(t, db, "app") != 0 || live(t, db, "other") != 1 || live(t, db, firstParty) != 2 {
				t.Errorf("%s: live sessions of app, other and the server: %d, %d, %d; want 0, 1, 2", name, live(t, db, "app"), live(t, db, "other"), live(t, db, firstParty))
			}
			if n := count(t, db, `SELECT count(*) FROM codes WHERE client_id = 'app'`); n != 0 {
				t.Errorf("%s: %d codes are left", name, n)
			}
			if err := begin(t, db, "app", "ada", "session-1", "child-9"); !errors.Is(err, ErrChanged) {
				t.Errorf("%s: a code begins a session: %v, want ErrChanged", name, err)
			}
			c, err := db.ClientByID(t.Context(), "app")
			if name == "deleted" {
				if !errors.Is(err, ErrNotFound) || count(t, db, `SELECT count(*) FROM client_secrets WHERE client_id = 'app'`) != 0 {
					t.Errorf("%s: the client or a secret is left: %v", name, err)
				}
				continue
			}
			must(t, err)
			if c.DisabledAt != noon || c.SessionID != "sid 2 of app" {
				t.Errorf("%s: got %+v", name, c)
			}
			must(t, db.EnableClient(t.Context(), "app", anEvent(EventClientEnabled, "")))
			must(t, begin(t, db, "app", "ada", "session-1", "child-10"))
			clean(t, db)
		}
	})
}

// A code that is used while its client is disabled begins no session that lives.
func TestCodeWhileClientIsDisabled(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		addUser(t, db, "ada")
		signIn(t, db, "ada", "session-1", "grant-1")
		for n := range 10 {
			id := fmt.Sprint("app-", n)
			addClient(t, db, id)
			code := aCode("code of " + id)
			code.ClientID = id
			must(t, db.CreateCode(t.Context(), code, "session-1"))
			done := make(chan error)
			go func() {
				s := aSpending("child of "+id, anEvent(EventApplicationSignedIn, "ada"))
				s.Hash = code.Hash
				_, err := db.SpendCode(t.Context(), s)
				done <- err
			}()
			_, err := db.DisableClient(t.Context(), id, "sid-2", later, anEvent(EventClientDisabled, ""))
			must(t, errors.Join(err, <-done))
			if live(t, db, id) != 0 {
				t.Errorf("a disabled client has a live session")
			}
		}
	})
}

// Own tokens of a client are revoked when its rights change, and when it loses a secret. A change of its name
// revokes nothing.
func TestChangesOfClients(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		addClient(t, db, "app")
		was := aClient("app")
		for _, c := range []struct {
			name   string
			change func(*Client)
			want   []string
		}{
			{"name", func(c *Client) { c.Name = "Other" }, nil},
			{"scopes", func(c *Client) { c.Scopes = []string{"openid"} }, []string{"sid of app"}},
			{"grants", func(c *Client) { c.Grants = []string{"refresh_token"} }, []string{"sid after scopes"}},
			{"resources", func(c *Client) { c.Resources = nil }, []string{"sid after grants"}},
		} {
			to := was
			c.change(&to)
			revoked, err := db.SetClient(t.Context(), was, to, "sid after "+c.name, later, anEvent(EventClientChanged, ""))
			must(t, err)
			if got := sidsOf(revoked); !slices.Equal(got, c.want) {
				t.Errorf("%s: revoked %q, want %q", c.name, got, c.want)
			}
			was = to
		}
		if _, err := db.SetClient(t.Context(), aClient("app"), was, "sid", later, anEvent(EventClientChanged, "")); !errors.Is(err, ErrChanged) {
			t.Errorf("a change of a client that has changed: %v, want ErrChanged", err)
		}
		must(t, db.AddClientSecret(t.Context(), aSecret("second", "app"), anEvent(EventClientSecretAdded, "")))
		if err := db.AddClientSecret(t.Context(), aSecret("third", "app"), anEvent(EventClientSecretAdded, "")); !errors.Is(err, ErrTooMany) {
			t.Errorf("third secret: %v, want ErrTooMany", err)
		}
		revoked, err := db.RemoveClientSecret(t.Context(), "app", "second", "sid-3", later, anEvent(EventClientSecretRemoved, ""))
		must(t, err)
		if got := sidsOf(revoked); !slices.Equal(got, []string{"sid after resources"}) {
			t.Errorf("removed secret: revoked %q", got)
		}
		if _, err := db.RemoveClientSecret(t.Context(), "other", "secret of app", "sid-3", later, anEvent(EventClientSecretRemoved, "")); !errors.Is(err, ErrNotFound) {
			t.Errorf("secret of another client: %v, want ErrNotFound", err)
		}
		public := aClient("public")
		public.Auth = ClientPublic
		must(t, db.CreateClient(t.Context(), public, nil, anEvent(EventClientAdded, "")))
		if err := db.AddClientSecret(t.Context(), aSecret("s", "public"), anEvent(EventClientSecretAdded, "")); !errors.Is(err, ErrNotFound) {
			t.Errorf("secret of a public client: %v, want ErrNotFound", err)
		}
	})
}

// SyncClients adds, changes and deletes the clients of the configuration, and no others.
func TestSyncClients(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		addClient(t, db, "operators")
		addUser(t, db, "ada")
		signIn(t, db, "ada", "session-1", "grant-1")
		sync := func(clients ...ConfiguredClient) (kinds []string, revoked []Revocation, err error) {
			revoked, err = db.SyncClients(t.Context(), clients, noon, later, func(kind, id string) Event {
				kinds = append(kinds, kind+" "+id)
				return anEvent(kind, "")
			})
			return kinds, revoked, err
		}
		web, job := ConfiguredClient{Client: aClient("web")}, ConfiguredClient{Client: aClient("job")}
		web.Hashes = [][32]byte{{1}, {2}}
		changed := web
		changed.Client.Name, changed.Hashes = "Web 2", [][32]byte{{2}, {3}}
		taken := ConfiguredClient{Client: aClient("operators")}
		for _, c := range []struct {
			name    string
			list    []ConfiguredClient
			events  []string
			revoked []string
		}{
			{"added", []ConfiguredClient{web, job}, []string{"client_added web", "client_added job"}, nil},
			{"again", []ConfiguredClient{web, job}, nil, nil},
			{"changed", []ConfiguredClient{changed, job}, []string{"client_changed web", "client_secret_removed web", "client_secret_added web"}, []string{"sid of web"}},
			{"left", []ConfiguredClient{job}, []string{"client_deleted web"}, []string{"child", "sid of web"}},
		} {
			if c.name == "left" {
				must(t, begin(t, db, "web", "ada", "session-1", "child"))
			}
			events, revoked, err := sync(c.list...)
			must(t, err)
			if !slices.Equal(events, c.events) || !slices.Equal(sidsOf(revoked), c.revoked) {
				t.Errorf("%s: events %q, revoked %q; want %q, %q", c.name, events, sidsOf(revoked), c.events, c.revoked)
			}
			if secrets, err := db.ClientSecrets(t.Context(), "web"); err != nil || c.name == "changed" && (len(secrets) != 2 || secrets[0].Hash != [32]byte{2} || secrets[1].Hash != [32]byte{3}) {
				t.Errorf("%s: secrets %v, %v", c.name, secrets, err)
			}
		}
		_, _, err := sync(web, taken)
		if e, ok := errors.AsType[*TakenClientError](err); !ok || e.ID != "operators" {
			t.Errorf("id of another client: %v", err)
		}
		if _, err := db.ClientByID(t.Context(), "web"); !errors.Is(err, ErrNotFound) {
			t.Errorf("a refused list added a client: %v", err)
		}
		all, err := db.Clients(t.Context(), "", 10)
		if err != nil || len(all) != 2 || all[0].ID != "job" || !all[0].FromConfig || all[1].ID != "operators" || all[1].FromConfig {
			t.Errorf("got %+v, %v", all, err)
		}
		for name, err := range map[string]error{
			"set":     errOf(db.SetClient(t.Context(), all[0], all[0], "sid", later, anEvent(EventClientChanged, ""))),
			"disable": errOf(db.DisableClient(t.Context(), "job", "sid", later, anEvent(EventClientDisabled, ""))),
			"enable":  db.EnableClient(t.Context(), "job", anEvent(EventClientEnabled, "")),
			"delete":  errOf(db.DeleteClient(t.Context(), "job", later, anEvent(EventClientDeleted, ""))),
			"add":     db.AddClientSecret(t.Context(), aSecret("s", "job"), anEvent(EventClientSecretAdded, "")),
			"remove":  errOf(db.RemoveClientSecret(t.Context(), "job", "s", "sid", later, anEvent(EventClientSecretRemoved, ""))),
		} {
			if !errors.Is(err, ErrConfigured) {
				t.Errorf("%s a client of the configuration: %v, want ErrConfigured", name, err)
			}
		}
		clean(t, db)
	})
}

// A client with more sessions than one transaction ends loses all of them, also one of the configuration.
func TestClientWithManySessions(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		addUser(t, db, "ada")
		web := ConfiguredClient{Client: aClient("web")}
		_, err := db.SyncClients(t.Context(), []ConfiguredClient{web}, noon, later, func(kind, _ string) Event { return anEvent(kind, "") })
		must(t, err)
		addClient(t, db, "app")
		const many = endedAtOnce + 10
		sessions := func(client string) {
			must(t, db.do(t.Context(), func(tx *tx) error {
				for n := range many {
					s := aSession(fmt.Sprint(client, " session ", n), "ada")
					s.ClientID = client
					tx.insertSession(s)
				}
				return nil
			}))
		}
		sessions("app")
		sessions("web")
		revoked, err := db.DisableClient(t.Context(), "app", "sid-2", later, anEvent(EventClientDisabled, ""))
		if must(t, err); len(revoked) != many+1 || live(t, db, "app") != 0 {
			t.Errorf("disabled: %d revocations, %d live sessions", len(revoked), live(t, db, "app"))
		}
		revoked, err = db.SyncClients(t.Context(), nil, noon, later, func(kind, _ string) Event { return anEvent(kind, "") })
		if must(t, err); len(revoked) != many+1 || live(t, db, "web") != 0 {
			t.Errorf("left the configuration: %d revocations, %d live sessions", len(revoked), live(t, db, "web"))
		}
	})
}
