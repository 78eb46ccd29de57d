package store

import (
	"context"
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
	Introspects  []string // audiences whose tokens it may introspect
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

// CreateClient adds a client with its secrets. It returns ErrTaken if its id is in use.
func (db *DB) CreateClient(ctx context.Context, c Client, secrets []HashedSecret, e Event) error {
	return db.do(ctx, func(tx *tx) error {
		n := tx.changed(`INSERT INTO clients (id, name, auth, redirect_uris, grants, scopes, resources, introspects, id_token_alg, pkce_optional, trusted, from_config, session_id, created_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT DO NOTHING`,
			c.ID, c.Name, c.Auth, strings.Join(c.RedirectURIs, " "), strings.Join(c.Grants, " "), strings.Join(c.Scopes, " "),
			strings.Join(c.Resources, " "), strings.Join(c.Introspects, " "), c.IDTokenAlg, flag(c.PKCEOptional), flag(c.Trusted), flag(c.FromConfig),
			c.SessionID, micros(c.CreatedAt))
		if tx.err == nil && n == 0 {
			return ErrTaken
		}
		for _, s := range secrets {
			tx.insertSecret(s)
		}
		return tx.event(e)
	})
}

func (t *tx) insertSecret(s HashedSecret) {
	t.exec(`INSERT INTO client_secrets (id, client_id, hash, created_at) VALUES ($1, $2, $3, $4)`, s.ID, s.ClientID, s.Hash[:], micros(s.CreatedAt))
}

// ClientByID returns a client, also a disabled one, or ErrNotFound.
func (db *DB) ClientByID(ctx context.Context, id string) (c Client, err error) {
	err = db.reader(ctx).get([]record{&c}, `SELECT `+clientColumns+` FROM clients WHERE id = $1`, id)
	return c, err
}

// ClientSecrets returns the secrets of a client, oldest first.
func (db *DB) ClientSecrets(ctx context.Context, clientID string) ([]HashedSecret, error) {
	return list[HashedSecret](db.reader(ctx), `SELECT id, client_id, hash, created_at FROM client_secrets WHERE client_id = $1 ORDER BY id`, clientID)
}
