// Package oauth holds the rules of the issuer: the tokens a sign-in gives, how
// they are refreshed, when they end, and the keys that make them. It knows no
// HTTP and writes no SQL.
package oauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/revoked"
	"github.com/durward-auth/durward/jwt"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/limits"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/revocation"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/store/backup"
)

// FirstParty is the client that the server's own sign-in gives tokens to.
const FirstParty = "durward"

// Config is what the issuer needs. URL, DB, Master and Revoked are required.
type Config struct {
	URL      string   // iss of every token
	Audience []string // aud of every token; default URL

	DB         *store.DB
	Checkpoint *backup.Checkpoint // detects a rollback of DB; nil: none
	Master     *seal.Master       // seals keys at rest
	Revoked    *revoked.List

	// RevokedAsOf is as of when Revoked knows everything: the follower's AsOf. Where
	// that is longer ago than an access token lives, none is taken any more. Nil:
	// nobody knows, and routes that want fresh news take new tokens alone.
	RevokedAsOf func() time.Time

	Rate *limits.Rate // bad refresh tokens of one network; nil is no limit

	// Algorithm of new signing keys: ES256 (default), EdDSA, RS256, PS256, or
	// HS256 with SharedSecret, which then is the one key.
	Algorithm    string
	SharedSecret []byte

	AccessTTL       time.Duration // default 15 min
	RefreshTTL      time.Duration // since the last refresh; default 7 days
	RefreshAbsolute time.Duration // since the sign-in; default 30 days
	RefreshGrace    time.Duration // default 30 s
	Leeway          time.Duration // after exp, 0 to 60 s; default 0

	SessionIdle     time.Duration // of a cookie that is not used; default 30 min
	SessionAbsolute time.Duration // of a cookie's session, since the sign-in; default 12 h

	Now func() time.Time
	Log *slog.Logger
}

// Issuer makes, refreshes and verifies tokens.
type Issuer struct {
	c         Config
	verifier  *jwt.Verifier
	keys      *jwt.Keys              // what tokens are verified with
	published atomic.Pointer[[]byte] // the JWKS document
	signer    atomic.Pointer[jwt.PrivateKey]
	outage    atomic.Pointer[store.Outage] // the last; its UpAt is zero while it lasts

	mu       sync.Mutex                 // held while keys are read anew
	opened   map[string]*jwt.PrivateKey // published signing keys by id, so that each is unsealed once
	ring     atomic.Pointer[ring]
	wentBack atomic.Bool // a token from the store's future was seen
}

// New opens the keys, making them where the database has none, and returns the
// issuer, or an error that names every mistake in c.
func New(ctx context.Context, c Config) (*Issuer, error) {
	var errs []error
	mistake := func(format string, args ...any) { errs = append(errs, fmt.Errorf("oauth: "+format, args...)) }
	if c.URL == "" {
		mistake("no issuer URL")
	}
	if c.DB == nil || c.Master == nil || c.Revoked == nil {
		mistake("database, master key and revocation list are required")
	}
	if len(c.Audience) == 0 {
		c.Audience = []string{c.URL}
	}
	if c.Algorithm == "" {
		c.Algorithm = "ES256"
	}
	if !slices.Contains(algorithms, c.Algorithm) {
		mistake("algorithm %q is not one of %s", c.Algorithm, strings.Join(algorithms, ", "))
	}
	if (c.Algorithm == "HS256") != (c.SharedSecret != nil) {
		mistake("a shared secret is what HS256 needs, and of no use to any other algorithm")
	}
	fill := func(d *time.Duration, standard time.Duration, name string, least time.Duration) {
		if *d == 0 {
			*d = standard
		}
		if *d < least {
			mistake("%s is %s, at least %s", name, *d, least)
		}
	}
	fill(&c.AccessTTL, 15*time.Minute, "the life of access tokens", time.Second)
	if c.AccessTTL > longestLife {
		mistake("the life of access tokens is %s, at most %s", c.AccessTTL, longestLife)
	}
	fill(&c.RefreshTTL, 7*24*time.Hour, "the life of refresh tokens", time.Second)
	fill(&c.RefreshAbsolute, 30*24*time.Hour, "the absolute life of refresh tokens", time.Second)
	fill(&c.RefreshGrace, 30*time.Second, "the refresh grace", time.Millisecond)
	fill(&c.SessionIdle, 30*time.Minute, "the idle time of a cookie session", time.Second)
	fill(&c.SessionAbsolute, 12*time.Hour, "the life of a cookie session", time.Second)
	if c.Leeway < 0 || c.Leeway > mostLeeway {
		mistake("the leeway is %s, from 0 to %s", c.Leeway, mostLeeway)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}

	i := &Issuer{c: c, opened: make(map[string]*jwt.PrivateKey)}
	var err error
	if err := c.DB.Issuer(ctx, c.URL); err != nil {
		return nil, err
	}
	if i.keys, err = jwt.NewKeys(); err != nil {
		return nil, err
	}
	if err := i.makeKeys(ctx); err != nil {
		return nil, err
	}
	if err := i.ReadKeys(ctx); err != nil {
		return nil, err
	}
	i.verifier, err = jwt.New(jwt.Config{
		Issuer: c.URL, Audience: c.Audience, Algorithms: algorithms,
		Keys: verifyingKeys{i}, Leeway: c.Leeway, MaxLifetime: longestLife, Revoked: c.Revoked.Check, Now: c.Now,
		RevokedAsOf: c.RevokedAsOf, MaxStale: max(c.AccessTTL, leastStale),
	})
	if err != nil {
		return nil, err
	}
	return i, nil
}

// algorithms are those of new keys. A token is held to the one of its key, and
// keys made under an earlier setting verify until they are gone.
var algorithms = []string{"ES256", "EdDSA", "RS256", "PS256", "HS256"}

// Bounds on how long any token can be of use after it was signed.
const (
	longestLife  = 24 * time.Hour // of a token that the operator makes, and what a verifier takes at most
	mostLeeway   = time.Minute
	leastStale   = time.Minute // a hiccup of the database is no outage, however short tokens live
	marginClocks = time.Hour   // for clocks that differ
)

// Start says that this node begins to answer. A refresh whose answer was lost
// while no node was up is then known for what it is.
func (i *Issuer) Start(ctx context.Context) error {
	outage, err := i.c.DB.Start(ctx, i.c.Now(), i.c.RefreshGrace)
	if err == nil {
		i.outage.Store(&outage)
	}
	return err
}

// AccessTTL is the life of access tokens.
func (i *Issuer) AccessTTL() time.Duration { return i.c.AccessTTL }

// Verifier judges the issuer's own tokens.
func (i *Issuer) Verifier() *jwt.Verifier { return i.verifier }

// Tokens is what a sign-in or a refresh gives.
type Tokens struct {
	Access           string
	AccessLife       time.Duration
	Refresh          string
	RefreshLife      time.Duration // the smaller of what is left until the idle and the absolute end
	Scope            string
	Session, Subject string
	Bound            bool // to a DPoP key: the access token is of the type DPoP, not Bearer
}

// SignIn begins a session for the user in proof and returns its first tokens. It refuses with
// InvalidCredentials if the user was locked, or the password changed, since the proof.
//
// If key is not nil, all tokens of the session are bound to it, refresh tokens included, because the
// client is public (RFC 9449 s5). A DPoP proof that was used before is refused with InvalidProof.
func (i *Issuer) SignIn(ctx context.Context, proof account.Proof, key *durward.HeldKey, from request.Info) (Tokens, error) {
	jkt := ""
	if key != nil {
		if err := key.Spend(); err != nil {
			return Tokens{}, err
		}
		jkt = key.Thumbprint
	}
	now := i.c.Now()
	k := i.ring.Load().newest()
	s := newSession(proof, now.Add(i.c.RefreshAbsolute), now, from)
	g := store.Grant{
		ID: uuid.Must(uuid.NewV7()), SessionID: s.ID, ClientID: FirstParty, Scope: s.Scope,
		Salt: newSalt(), Key: k.number, Network: s.Network, Agent: s.Agent, JKT: jkt,
		CreatedAt: now, IdleEnds: earlier(now.Add(i.c.RefreshTTL), s.EndsAt), Ends: s.EndsAt,
	}
	_, err := i.c.DB.CreateSession(ctx, s, g, signedIn(s), store.Place{Network: s.Network, Browser: s.Agent}, proof.User.PasswordChangedAt)
	if err != nil {
		return Tokens{}, changedSince(err)
	}
	return i.tokens(g, s, 0, now)
}

// newSession returns the session that a sign-in with proof begins.
func newSession(proof account.Proof, ends, now time.Time, from request.Info) store.Session {
	return store.Session{
		ID: store.NewID(), UserID: proof.User.ID, ClientID: FirstParty, Scope: scopeOf(proof.User), CreatedAt: now, EndsAt: ends,
		AuthTime: proof.At, ACR: proof.ACR, AMR: proof.Methods,
		Network: from.Network(), Device: from.Device(), Agent: from.Browser(),
	}
}

func signedIn(s store.Session) store.Event {
	return store.Event{ID: store.NewID(), Kind: store.EventSignedIn, At: s.CreatedAt, UserID: s.UserID, SessionID: s.ID, Outcome: "ok", Network: s.Network, Device: s.Device}
}

// changedSince says what a deed means that found somebody else's right to it gone.
func changedSince(err error) error {
	if errors.Is(err, store.ErrChanged) || errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("oauth: locked, removed or with another password since it was judged: %w: %w", err, durward.InvalidCredentials)
	}
	return err
}

// tokens signs a fresh access token beside refresh token n of a grant.
func (i *Issuer) tokens(g store.Grant, s store.Session, n uint32, now time.Time) (Tokens, error) {
	refresh, err := i.refreshToken(g, n)
	if err != nil {
		return Tokens{}, err
	}
	access, life, err := i.access(s, g.ClientID, g.Scope, g.JKT, time.Time{}, now)
	if err != nil {
		return Tokens{}, err
	}
	return Tokens{
		Access: access, AccessLife: life,
		Refresh: refresh, RefreshLife: earlier(g.IdleEnds, g.Ends).Sub(now),
		Scope: g.Scope, Session: s.ID, Subject: s.UserID, Bound: g.JKT != "",
	}, nil
}

// access signs an access token of a session, bound to the DPoP key of a thumbprint
// where that is not empty. It ends at ends at the latest, where that is not zero.
func (i *Issuer) access(s store.Session, clientID, scope, jkt string, ends, now time.Time) (token string, life time.Duration, err error) {
	// NumericDate has whole seconds: the token ends no later than it says.
	issued := now.Truncate(time.Second)
	expires := issued.Add(i.c.AccessTTL)
	if !ends.IsZero() {
		if expires = earlier(expires, ends.Truncate(time.Second)); !expires.After(issued) {
			return "", 0, fmt.Errorf("oauth: session %s ends within a second: %w", s.ID, durward.SessionExpired)
		}
	}
	var bound *jwt.Confirmation
	if jkt != "" {
		bound = &jwt.Confirmation{JKT: jkt} // RFC 9449 s6.1
	}
	signer, err := i.signing()
	if err != nil {
		return "", 0, err
	}
	token, err = signer.Sign(jwt.Claims{
		Confirmation: bound,
		Issuer:       i.c.URL, Subject: s.UserID, Audience: i.c.Audience,
		Expires: expires, IssuedAt: issued, ID: store.NewID(),
		ClientID: clientID, Scopes: strings.Fields(scope), SessionID: s.ID,
		// Under a clock that was put back the sign-in lies ahead, which no token may say.
		AuthTime: earlier(s.AuthTime, issued), ACR: s.ACR, AMR: s.AMR,
	})
	if err != nil {
		return "", 0, err
	}
	return token, expires.Sub(now), nil
}

// sessionsKept is how long a session is remembered after its absolute end: whoever
// comes with its token is told that it ended, and why stands in the log.
const sessionsKept = 7 * 24 * time.Hour

// operatorClient is the client of tokens that the operator makes by hand.
const operatorClient = "durward-cli"

// Issue makes an access token by the operator's word: it belongs to no session
// and cannot be refreshed. It is given only once it is written down that it was
// made.
func (i *Issuer) Issue(ctx context.Context, subject string, scopes []string, life time.Duration) (string, jwt.Claims, error) {
	if life < time.Second || life > longestLife {
		return "", jwt.Claims{}, fmt.Errorf("oauth: a life of %s, from 1s to %s is possible", life, longestLife)
	}
	now := i.c.Now().Truncate(time.Second)
	c := jwt.Claims{
		Issuer: i.c.URL, Subject: subject, Audience: i.c.Audience, Expires: now.Add(life), IssuedAt: now,
		ID: store.NewID(), ClientID: operatorClient, Scopes: scopes,
	}
	signer, err := i.signing()
	if err != nil {
		return "", jwt.Claims{}, err
	}
	token, err := signer.Sign(c)
	if err != nil {
		return "", jwt.Claims{}, err
	}
	event := store.Event{ID: store.NewID(), Kind: store.EventTokenIssued, At: now, UserID: subject, Actor: "operator", Outcome: "ok", Detail: "token " + c.ID + ", scope " + strings.Join(scopes, " ")}
	if err := i.c.DB.AddEvents(ctx, []store.Event{event}); err != nil {
		return "", jwt.Claims{}, err
	}
	return token, c, nil
}

// Revoke declares the access token of p dead. It is when Revoke returns nil, and
// may not be when it returns an error.
func (i *Issuer) Revoke(ctx context.Context, p *durward.Principal) error {
	if p == nil || p.TokenID == "" || p.Expires.IsZero() {
		return errors.New("oauth: that is no access token of this issuer: it has no id or no end")
	}
	// Its own end: what the operator made lives longer than other tokens.
	r, err := i.c.DB.Revoke(ctx, string(revoked.Token), p.TokenID, p.Expires.Add(mostLeeway+marginClocks))
	if err != nil {
		return err
	}
	i.push([]store.Revocation{r})
	return nil
}

// revokedUntil is when the last token of a session that ends now is of no more
// use.
func (i *Issuer) revokedUntil(now time.Time) time.Time {
	return now.Add(i.c.AccessTTL + mostLeeway + marginClocks)
}

func (i *Issuer) push(written []store.Revocation) {
	revocation.Publish(i.c.Revoked, written)
}

// stillOf is what is left of a granted scope that u may still do: a right that
// was taken away is gone at the next refresh, one that was given wants a sign-in.
func stillOf(scope string, u store.User) string {
	may := strings.Fields(scopeOf(u))
	granted := strings.Fields(scope)
	return strings.Join(slices.DeleteFunc(granted, func(s string) bool { return !slices.Contains(may, s) }), " ")
}

// Direct returns the principal of a user who authenticates each request: it has no session and no
// token that could be revoked.
func (i *Issuer) Direct(proof account.Proof) *durward.Principal {
	return &durward.Principal{
		Subject: proof.User.ID, Issuer: i.c.URL, ClientID: FirstParty, Scopes: account.ScopesOf(proof.User),
		ACR: proof.ACR, AMR: proof.Methods, AuthTime: proof.At,
	}
}

// Keyed is somebody who came with an API key: its scopes, no sign-in to renew and
// no session. ClientID is the part of the key that may be shown.
func (i *Issuer) Keyed(k store.APIKey) *durward.Principal {
	return &durward.Principal{Subject: k.UserID, Issuer: i.c.URL, ClientID: account.KeyShown(k), Scopes: k.Scopes, Expires: k.ExpiresAt}
}

// scopeOf is what a first-party sign-in of u may do.
func scopeOf(u store.User) string { return strings.Join(account.ScopesOf(u), " ") }

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
