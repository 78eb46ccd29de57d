package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"time"
)

// Client is a program that gets tokens from the server (RFC 6749 s1.1).
type Client struct {
	ID           string
	Name         string   // for display
	Auth         string   // method of its authentication, such as ClientSecret
	RedirectURIs []string // compared as strings
	Grants       []string // values of grant_type
	Scopes       []string
	Resources    []string // URLs of APIs that it may call; the first is the default audience
	Introspects  []string // it may introspect tokens with these audiences
	IDTokenAlg   string   // algorithm of its ID tokens; empty: that of the server
	PKCEOptional bool
	Trusted      bool   // its users are not asked for consent
	FromConfig   bool   // of the configuration: read-only elsewhere
	SessionID    string // the claim sid of its own tokens
	CreatedAt    time.Time
	DisabledAt   time.Time // zero while it is enabled
}

// Methods of client authentication (RFC 7591 s2).
const (
	ClientPublic = "none"          // has no secret
	ClientSecret = "client_secret" // client_secret_basic or client_secret_post
)

// HashedSecret is a secret of a confidential client.
type HashedSecret struct {
	ID        string // sorts by time
	ClientID  string
	Hash      [32]byte // SHA-256 of the secret
	CreatedAt time.Time
}

const clientColumns = `clients.id, clients.name, clients.auth, clients.redirect_uris, clients.grants, clients.scopes, clients.resources, clients.introspects,
	clients.id_token_alg, clients.pkce_optional, clients.trusted, clients.from_config, clients.session_id, clients.created_at, clients.disabled_at`

func (c *Client) fields() []any {
	return []any{&c.ID, &c.Name, &c.Auth, (*wordsColumn)(&c.RedirectURIs), (*wordsColumn)(&c.Grants), (*wordsColumn)(&c.Scopes),
		(*wordsColumn)(&c.Resources), (*wordsColumn)(&c.Introspects), &c.IDTokenAlg, &c.PKCEOptional, &c.Trusted, &c.FromConfig,
		&c.SessionID, into(&c.CreatedAt), into(&c.DisabledAt)}
}

func (s *HashedSecret) fields() []any {
	return []any{&s.ID, &s.ClientID, (*keyHash)(&s.Hash), into(&s.CreatedAt)}
}

// properties returns the columns of a client that the operator chooses, in the order of setProperties.
func (c *Client) properties() []any {
	return []any{c.Name, c.Auth, strings.Join(c.RedirectURIs, " "), strings.Join(c.Grants, " "), strings.Join(c.Scopes, " "),
		strings.Join(c.Resources, " "), strings.Join(c.Introspects, " "), c.IDTokenAlg, flag(c.PKCEOptional), flag(c.Trusted), flag(c.FromConfig)}
}

// CreateClient adds a client with its secrets. It returns ErrTaken if its id is in use.
func (db *DB) CreateClient(ctx context.Context, c Client, secrets []HashedSecret, e Event) error {
	return db.do(ctx, func(tx *tx) error {
		if !tx.insertClient(c) && tx.err == nil {
			return ErrTaken
		}
		for _, s := range secrets {
			tx.insertSecret(s)
		}
		return tx.event(e)
	})
}

// insertClient reports whether the id of c was free.
func (t *tx) insertClient(c Client) bool {
	args := append([]any{c.ID}, c.properties()...)
	return t.changed(`INSERT INTO clients (id, name, auth, redirect_uris, grants, scopes, resources, introspects, id_token_alg, pkce_optional, trusted, from_config, session_id, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT DO NOTHING`, append(args, c.SessionID, micros(c.CreatedAt))...) > 0
}

func (t *tx) insertSecret(s HashedSecret) {
	t.exec(`INSERT INTO client_secrets (id, client_id, hash, created_at) VALUES ($1, $2, $3, $4)`, s.ID, s.ClientID, s.Hash[:], micros(s.CreatedAt))
}

// SetClient gives a client other properties. ID, CreatedAt, SessionID and DisabledAt of c are ignored. If the
// client has another grant, scope, resource or method of authentication then, its own tokens are revoked:
// newSID is the claim sid of the next ones. SetClient returns ErrNotFound, ErrConfigured, or ErrChanged if the
// client has other properties than was.
func (db *DB) SetClient(ctx context.Context, was, c Client, newSID string, until time.Time, e Event) ([]Revocation, error) {
	return write(ctx, db, func(tx *tx) ([]Revocation, error) {
		now, err := tx.operatorsClient(was.ID)
		if err != nil {
			return nil, err
		}
		if !slices.Equal(now.properties(), was.properties()) {
			return nil, ErrChanged
		}
		c.ID, c.FromConfig = was.ID, false
		return tx.setClient(now, c, newSID, e.At, until), tx.event(e)
	})
}

// setClient gives the client now the properties of c.
func (t *tx) setClient(now, c Client, newSID string, at, until time.Time) (revoked []Revocation) {
	t.exec(`UPDATE clients SET name = $2, auth = $3, redirect_uris = $4, grants = $5, scopes = $6, resources = $7, introspects = $8,
		id_token_alg = $9, pkce_optional = $10, trusted = $11, from_config = $12 WHERE id = $1`, append([]any{now.ID}, c.properties()...)...)
	rights := func(c Client) []string {
		return []string{c.Auth, strings.Join(c.Grants, " "), strings.Join(c.Scopes, " "), strings.Join(c.Resources, " ")}
	}
	if !slices.Equal(rights(now), rights(c)) {
		revoked = append(revoked, t.revokeOwnTokens(now, newSID, at, until))
	}
	return revoked
}

// operatorsClient returns a client and locks its row. It returns ErrNotFound, or ErrConfigured if the client
// is one of the configuration.
func (t *tx) operatorsClient(id string) (c Client, err error) {
	err = t.get([]record{&c}, `SELECT `+clientColumns+` FROM clients WHERE id = $1`+t.forUpdate("clients"), id)
	if err == nil && c.FromConfig {
		err = ErrConfigured
	}
	return c, err
}

// checkEnabled returns ErrChanged if a client is disabled or deleted. The client stays as it is until the
// transaction ends.
func (t *tx) checkEnabled(id string) error {
	lock := ""
	if t.concurrent {
		lock = " FOR SHARE OF clients"
	}
	var found string
	err := t.row(`SELECT id FROM clients WHERE id = $1 AND disabled_at = 0`+lock, id).Scan(&found)
	if errors.Is(err, ErrNotFound) {
		return ErrChanged
	}
	return err
}

// revokeOwnTokens revokes the tokens that a client got for itself. newSID is the claim sid of the next ones.
func (t *tx) revokeOwnTokens(c Client, newSID string, at, until time.Time) Revocation {
	t.exec(`UPDATE clients SET session_id = $2 WHERE id = $1`, c.ID, newSID)
	return t.revoke("sid", c.SessionID, at, until)
}

// DisableClient makes a client one that gets no tokens, ends all its sessions and revokes its own tokens. It
// changes nothing of a client that is disabled already but sessions that are left, and returns ErrNotFound or
// ErrConfigured. With an error it may have revoked some.
func (db *DB) DisableClient(ctx context.Context, id, newSID string, until time.Time, e Event) ([]Revocation, error) {
	revoked, err := write(ctx, db, func(tx *tx) ([]Revocation, error) {
		tx.lockUsersOf(id)
		c, err := tx.operatorsClient(id)
		if err != nil || !c.DisabledAt.IsZero() {
			return nil, err
		}
		tx.exec(`UPDATE clients SET disabled_at = $2 WHERE id = $1`, id, micros(e.At))
		return tx.endClient(c, newSID, e.Kind, e.At, until), tx.event(e)
	})
	if err != nil {
		return nil, err
	}
	more, err := db.endSessionsOf(ctx, id, 0, e.Kind, e.At, until)
	return append(revoked, more...), err
}

// endSessionsOf ends the sessions of a client, some in each transaction, until at most rest are left. If more
// than that are live, the client is disabled first, so that it begins no others.
func (db *DB) endSessionsOf(ctx context.Context, clientID string, rest int, reason string, at, until time.Time) (revoked []Revocation, err error) {
	for {
		some, err := write(ctx, db, func(tx *tx) ([]Revocation, error) {
			if tx.number(`SELECT count(*) FROM sessions WHERE client_id = $1 AND ended_at = 0`, clientID) <= int64(rest) {
				return nil, tx.err
			}
			tx.lockUsersOf(clientID)
			tx.exec(`UPDATE clients SET disabled_at = CASE WHEN disabled_at = 0 THEN $2 ELSE disabled_at END WHERE id = $1`, clientID, micros(at))
			some := tx.endSessionsOf(clientID, reason, at, until)
			return some, tx.notifyNodes()
		})
		if revoked = append(revoked, some...); err != nil || len(some) == 0 {
			return revoked, err
		}
	}
}

// lockUsersOf locks the users of a client before the client: users come first in the order of locks.
func (t *tx) lockUsersOf(clientID string) {
	if t.concurrent {
		_, _ = texts(t, `SELECT id FROM users WHERE id IN (SELECT user_id FROM sessions WHERE client_id = $1 AND ended_at = 0 ORDER BY id LIMIT $2) ORDER BY id`+t.forUpdate("users"),
			clientID, endedAtOnce)
	}
}

// endClient ends all that a client got: sessions, codes, requests and its own tokens.
func (t *tx) endClient(c Client, newSID, reason string, at, until time.Time) (revoked []Revocation) {
	t.exec(`DELETE FROM codes WHERE client_id = $1`, c.ID)
	t.exec(`DELETE FROM oauth_requests WHERE client_id = $1`, c.ID)
	revoked = t.endSessionsOf(c.ID, reason, at, until) // the revocation below notifies the nodes
	return append(revoked, t.revokeOwnTokens(c, newSID, at, until))
}

// endedAtOnce bounds the sessions that one transaction ends, and so the time that others wait.
const endedAtOnce = 1000

// endSessionsOf ends up to endedAtOnce sessions of a client as endOne does.
func (t *tx) endSessionsOf(clientID, reason string, at, until time.Time) []Revocation {
	ids, _ := texts(t, `SELECT id FROM sessions WHERE client_id = $1 AND client_id <> '`+firstParty+`' AND ended_at = 0 ORDER BY id LIMIT $2`+t.forUpdate("sessions"), clientID, endedAtOnce)
	if len(ids) == 0 {
		return nil
	}
	const sessions = `FROM sessions WHERE client_id = $1 AND ended_at = 0 AND id <= $2`
	const issued = `(SELECT max(at) FROM (SELECT CAST($3 AS bigint) AS at UNION ALL SELECT sessions.created_at UNION ALL SELECT sessions.auth_time
		UNION ALL SELECT moved_0 FROM grants WHERE session_id = sessions.id) AS times)`
	last := ids[len(ids)-1]
	revoked, _ := collect(t, revocationFields, `INSERT INTO revocations (kind, value, at, until)
		SELECT 'sid', id, CAST($3 AS bigint), CAST($4 AS bigint) + `+issued+` - CAST($3 AS bigint) `+sessions+` ORDER BY id RETURNING seq, kind, value, at, until`,
		clientID, last, micros(at), micros(until))
	t.exec(`UPDATE grants SET ended_at = $3, end_reason = $4 WHERE ended_at = 0 AND session_id IN (SELECT id `+sessions+`)`, clientID, last, micros(at), reason)
	t.exec(`UPDATE sessions SET ended_at = $3, end_reason = $4 WHERE client_id = $1 AND ended_at = 0 AND id <= $2`, clientID, last, micros(at), reason)
	return revoked
}

// EnableClient makes a disabled client one that gets tokens again. It does nothing to an enabled client, and
// returns ErrNotFound or ErrConfigured.
func (db *DB) EnableClient(ctx context.Context, id string, e Event) error {
	return db.do(ctx, func(tx *tx) error {
		c, err := tx.operatorsClient(id)
		if err != nil || c.DisabledAt.IsZero() {
			return err
		}
		tx.exec(`UPDATE clients SET disabled_at = 0 WHERE id = $1`, id)
		return tx.event(e)
	})
}

// DeleteClient deletes a client with its secrets and the consents that it got, ends all its sessions and
// revokes its own tokens. It returns ErrNotFound or ErrConfigured. With another error it may have revoked some
// and disabled the client.
func (db *DB) DeleteClient(ctx context.Context, id string, until time.Time, e Event) ([]Revocation, error) {
	c, err := db.ClientByID(ctx, id)
	if err == nil && c.FromConfig {
		err = ErrConfigured
	}
	if err != nil {
		return nil, err
	}
	revoked, err := db.endSessionsOf(ctx, id, endedAtOnce, e.Kind, e.At, until)
	if err != nil {
		return revoked, err
	}
	last, err := write(ctx, db, func(tx *tx) ([]Revocation, error) {
		tx.lockUsersOf(id)
		c, err := tx.operatorsClient(id)
		if err != nil {
			return nil, err
		}
		return tx.deleteClient(c, e.Kind, e.At, until), tx.event(e)
	})
	return append(revoked, last...), err
}

func (t *tx) deleteClient(c Client, reason string, at, until time.Time) (revoked []Revocation) {
	revoked = t.endClient(c, "", reason, at, until)
	t.exec(`DELETE FROM consents WHERE client_id = $1`, c.ID)
	t.exec(`DELETE FROM clients WHERE id = $1`, c.ID)
	return revoked
}

// MaxClientSecrets is the number of secrets that a client may have at once: an old one and its successor.
const MaxClientSecrets = 2

// AddClientSecret adds a secret. It returns ErrTooMany if the client has MaxClientSecrets already, ErrNotFound
// if there is no such client with secrets, or ErrConfigured.
func (db *DB) AddClientSecret(ctx context.Context, s HashedSecret, e Event) error {
	return db.do(ctx, func(tx *tx) error {
		c, err := tx.operatorsClient(s.ClientID)
		switch {
		case err != nil:
			return err
		case c.Auth != ClientSecret:
			return ErrNotFound
		case tx.number(`SELECT count(*) FROM client_secrets WHERE client_id = $1`, s.ClientID) >= MaxClientSecrets:
			return ErrTooMany
		}
		tx.insertSecret(s)
		return tx.event(e)
	})
}

// RemoveClientSecret removes a secret and revokes the client's own tokens, because a thief of the secret may have
// got some. It returns ErrNotFound or ErrConfigured.
func (db *DB) RemoveClientSecret(ctx context.Context, clientID, id, newSID string, until time.Time, e Event) ([]Revocation, error) {
	return write(ctx, db, func(tx *tx) ([]Revocation, error) {
		c, err := tx.operatorsClient(clientID)
		if err != nil {
			return nil, err
		}
		if tx.changed(`DELETE FROM client_secrets WHERE id = $1 AND client_id = $2`, id, clientID) == 0 {
			return nil, ErrNotFound
		}
		return []Revocation{tx.revokeOwnTokens(c, newSID, e.At, until)}, tx.event(e)
	})
}

// ConfiguredClient is a client of the configuration with the SHA-256 of its secrets.
type ConfiguredClient struct {
	Client Client
	Hashes [][32]byte
}

// TakenClientError is the error of SyncClients for a client of the configuration with the id of a client
// that the operator added otherwise.
type TakenClientError struct{ ID string }

func (e *TakenClientError) Error() string {
	return "store: a client of the configuration has the id of another client: " + e.ID
}

// SyncClients makes the clients of the configuration those of the list: it adds, changes and deletes clients as
// CreateClient, SetClient and DeleteClient do, and leaves all others as they are. CreatedAt and SessionID of the
// list are for clients that it adds; FromConfig is ignored. The function event returns the event of a change of
// a client. SyncClients returns a *TakenClientError, and then adds and changes no client.
func (db *DB) SyncClients(ctx context.Context, clients []ConfiguredClient, at, until time.Time, event func(kind, id string) Event) ([]Revocation, error) {
	leaves := func(c Client) bool {
		return !slices.ContainsFunc(clients, func(n ConfiguredClient) bool { return n.Client.ID == c.ID })
	}
	const configured = `SELECT ` + clientColumns + ` FROM clients WHERE from_config = 1 ORDER BY id`
	before, err := list[Client](db.reader(ctx), configured)
	if err != nil {
		return nil, err
	}
	if len(before)+len(clients) == 0 {
		return nil, nil // a server without clients starts on a disk that is full
	}
	var first []Revocation
	for _, c := range before {
		if leaves(c) {
			some, err := db.endSessionsOf(ctx, c.ID, endedAtOnce, EventClientDeleted, at, until)
			if first = append(first, some...); err != nil {
				return first, err
			}
		}
	}
	var taken *TakenClientError
	revoked, err := write(ctx, db, func(tx *tx) (revoked []Revocation, err error) {
		tx.lock("configured clients") // of two nodes that start at the same time
		taken = nil
		before, err := list[Client](tx, configured)
		if err != nil {
			return nil, err
		}
		for _, c := range before {
			if leaves(c) {
				tx.lockUsersOf(c.ID)
				revoked = append(revoked, tx.deleteClient(c, EventClientDeleted, at, until)...)
				tx.event(event(EventClientDeleted, c.ID))
			}
		}
		for _, n := range clients {
			n.Client.FromConfig = true
			i := slices.IndexFunc(before, func(c Client) bool { return c.ID == n.Client.ID })
			if i >= 0 {
				revoked = append(revoked, tx.syncClient(before[i], n, at, until, event)...)
				continue
			}
			if !tx.insertClient(n.Client) && tx.err == nil {
				taken = &TakenClientError{n.Client.ID}
				return nil, ErrTaken
			}
			tx.insertHashes(n.Client.ID, n.Hashes, at)
			tx.event(event(EventClientAdded, n.Client.ID))
		}
		return revoked, tx.err
	})
	if taken != nil && errors.Is(err, ErrTaken) {
		return first, taken
	}
	return append(first, revoked...), err
}

// syncClient makes the client now the one of the configuration. If it loses a secret, its own tokens are revoked.
func (t *tx) syncClient(now Client, n ConfiguredClient, at, until time.Time, event func(kind, id string) Event) (revoked []Revocation) {
	sid := n.Client.SessionID
	if !slices.Equal(now.properties(), n.Client.properties()) {
		revoked = t.setClient(now, n.Client, sid, at, until)
		t.event(event(EventClientChanged, now.ID))
	}
	if !now.DisabledAt.IsZero() { // as it left the configuration before
		t.exec(`UPDATE clients SET disabled_at = 0 WHERE id = $1`, now.ID)
		t.event(event(EventClientEnabled, now.ID))
	}
	stored, _ := list[HashedSecret](t, `SELECT id, client_id, hash, created_at FROM client_secrets WHERE client_id = $1 ORDER BY id`, now.ID)
	fresh := slices.DeleteFunc(slices.Clone(n.Hashes), func(h [32]byte) bool {
		return slices.ContainsFunc(stored, func(s HashedSecret) bool { return s.Hash == h })
	})
	lost := false
	for _, s := range stored {
		if !slices.Contains(n.Hashes, s.Hash) {
			lost = true
			t.exec(`DELETE FROM client_secrets WHERE id = $1`, s.ID)
			t.event(event(EventClientSecretRemoved, now.ID))
		}
	}
	if lost && len(revoked) == 0 {
		revoked = append(revoked, t.revokeOwnTokens(now, sid, at, until))
	}
	if len(fresh) > 0 {
		t.insertHashes(now.ID, fresh, at)
		t.event(event(EventClientSecretAdded, now.ID))
	}
	return revoked
}

func (t *tx) insertHashes(clientID string, hashes [][32]byte, at time.Time) {
	for _, h := range hashes {
		t.insertSecret(HashedSecret{ID: NewID(), ClientID: clientID, Hash: h, CreatedAt: at})
	}
}

// Clients returns a page of clients in the order of their ids, beginning after the id after.
func (db *DB) Clients(ctx context.Context, after string, limit int) ([]Client, error) {
	return list[Client](db.reader(ctx), `SELECT `+clientColumns+` FROM clients WHERE id > $1 ORDER BY id LIMIT $2`, after, limit)
}

// ClientByID returns a client, also a disabled one, or ErrNotFound.
func (db *DB) ClientByID(ctx context.Context, id string) (c Client, err error) {
	err = db.reader(ctx).get([]record{&c}, `SELECT `+clientColumns+` FROM clients WHERE id = $1`, id)
	return c, err
}

// ClientWithSecrets returns a client, also a disabled one, and the hashes of its secrets, or ErrNotFound. It is one
// query, because every request of a client needs it.
func (db *DB) ClientWithSecrets(ctx context.Context, id string) (c Client, hashes [][32]byte, err error) {
	type row struct {
		client Client
		hash   []byte // nil for a client without secrets
	}
	rows, err := collect(db.reader(ctx), func(r *row) []any { return append(r.client.fields(), &r.hash) },
		`SELECT `+clientColumns+`, client_secrets.hash FROM clients LEFT JOIN client_secrets ON client_secrets.client_id = clients.id WHERE clients.id = $1`, id)
	if err == nil && len(rows) == 0 || errors.Is(err, ErrText) {
		err = ErrNotFound
	}
	if err != nil {
		return c, nil, err
	}
	for _, r := range rows {
		if len(r.hash) == sha256.Size {
			hashes = append(hashes, [32]byte(r.hash))
		}
	}
	return rows[0].client, hashes, nil
}

// ClientSecrets returns the secrets of a client, oldest first.
func (db *DB) ClientSecrets(ctx context.Context, clientID string) ([]HashedSecret, error) {
	return list[HashedSecret](db.reader(ctx), `SELECT id, client_id, hash, created_at FROM client_secrets WHERE client_id = $1 ORDER BY id`, clientID)
}
