// Package issuer makes the access tokens of the server and the keys that sign and verify them. It
// imports neither HTTP nor SQL.
package issuer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/revoked"
	"github.com/durward-auth/durward/jwt"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
)

// Config configures an Issuer. URL, DB, Master and Revoked are required.
type Config struct {
	URL      string   // iss of every token
	Audience []string // aud of every token; default URL

	DB      *store.DB
	Master  *seal.Master // seals keys at rest
	Revoked *revoked.List
	Log     *slog.Logger // nil means no log

	Now func() time.Time // nil means the clock of DB

	// RevokedAsOf returns the time as of which Revoked is complete: the follower's AsOf. If that is
	// longer ago than the life of an access token, all tokens are refused. If RevokedAsOf is nil,
	// routes with a Freshness accept only tokens younger than it.
	RevokedAsOf func() time.Time

	// Algorithm of new signing keys: ES256 (default), EdDSA, RS256, PS256, or HS256. HS256 has one
	// key, SharedSecret.
	Algorithm    string
	SharedSecret []byte

	AccessTTL time.Duration // default 15 min
	Leeway    time.Duration // after exp, 0 to 60 s; default 0
}

// Issuer signs and verifies access tokens. It is safe for concurrent use.
type Issuer struct {
	c         Config
	verifier  *jwt.Verifier
	keys      jwt.Keys               // public keys that verify tokens
	published atomic.Pointer[[]byte] // the JWKS document
	signer    atomic.Pointer[jwt.PrivateKey]
	idSigner  atomic.Pointer[jwt.PrivateKey] // RS256, for clients that need it; nil before the first need
	ring      atomic.Pointer[[]RefreshKey]   // newest last
	proof     atomic.Pointer[proof]          // last check of the signing key
	verifiers sync.Map                       // *jwt.Verifier by audience
	readErr   atomic.Pointer[error]          // why the keys in the database cannot be used

	mu     sync.Mutex                 // held while keys are read from the database
	opened map[string]*jwt.PrivateKey // published signing keys by id, so that each is unsealed once
}

// New reads the keys, or makes them if the database has none, and returns the issuer. Its error names
// every mistake in c.
func New(ctx context.Context, c Config) (*Issuer, error) {
	var errs []error
	mistake := func(format string, args ...any) { errs = append(errs, fmt.Errorf("issuer: "+format, args...)) }
	if c.URL == "" {
		mistake("no issuer URL")
	}
	if c.DB == nil || c.Master == nil || c.Revoked == nil {
		mistake("database, master key and revocation list are required")
	}
	if len(c.Audience) == 0 {
		c.Audience = []string{c.URL}
	}
	if slices.Contains(c.Audience, enrolmentAudience(c.URL)) {
		mistake("the audience %q belongs to tokens that set up a second factor", enrolmentAudience(c.URL))
	}
	c.Algorithm = cmp.Or(c.Algorithm, "ES256")
	if !slices.Contains(algorithms, c.Algorithm) {
		mistake("algorithm %q is not one of %s", c.Algorithm, strings.Join(algorithms, ", "))
	}
	if (c.Algorithm == "HS256") != (c.SharedSecret != nil) {
		mistake("HS256 needs a shared secret, and no other algorithm takes one")
	}
	c.AccessTTL = cmp.Or(c.AccessTTL, 15*time.Minute)
	if c.AccessTTL < time.Second || c.AccessTTL > longestLife {
		mistake("the life of access tokens is %s, want 1s to %s", c.AccessTTL, longestLife)
	}
	if c.Leeway < 0 || c.Leeway > maxLeeway {
		mistake("the leeway is %s, want 0s to %s", c.Leeway, maxLeeway)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if c.Now == nil {
		c.Now = c.DB.Now
	}
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))

	i := &Issuer{c: c}
	if err := c.DB.Issuer(ctx, c.URL); err != nil {
		return nil, err
	}
	if c.Algorithm == "HS256" {
		if err := i.useSharedSecret(); err != nil {
			return nil, err
		}
	}
	if err := i.makeKeys(ctx); err != nil {
		return nil, err
	}
	if err := i.ReadKeys(ctx); err != nil {
		return nil, err
	}
	var err error
	if i.verifier, err = i.VerifierFor(i.Audience(), nil); err != nil {
		return nil, err
	}
	i.prove(ctx)
	if err := i.Err(); err != nil {
		return nil, err
	}
	return i, nil
}

// useSharedSecret makes the shared secret of HS256 the only key. It is not in the key set.
func (i *Issuer) useSharedSecret() error {
	key, err := jwt.SharedSecret("shared", i.c.SharedSecret)
	if err != nil {
		return err
	}
	i.signer.Store(key)
	i.published.Store(new([]byte(`{"keys":[]}`)))
	return i.keys.Set(key.Public())
}

// algorithms are those of new signing keys. A token must have the algorithm of its key, so keys made
// under an earlier setting verify until they are gone.
var algorithms = []string{"ES256", "EdDSA", "RS256", "PS256", "HS256"}

// Limits on the time in which a token can be valid after it was signed.
const (
	longestLife = 24 * time.Hour // of a token made by the operator; verifiers refuse longer lives
	maxLeeway   = time.Minute
	clockMargin = time.Hour   // for differences between clocks
	leastStale  = time.Minute // a short failure of the database refuses no token, however short tokens live
)

// URL returns the issuer's URL, the claim iss.
func (i *Issuer) URL() string { return i.c.URL }

// Algorithm returns the algorithm of new signing keys.
func (i *Issuer) Algorithm() string { return i.c.Algorithm }

// AccessTTL returns the life of an access token.
func (i *Issuer) AccessTTL() time.Duration { return i.c.AccessTTL }

// Audience returns the audiences of tokens for the server itself.
func (i *Issuer) Audience() []string {
	return append(slices.Clone(i.c.Audience), enrolmentAudience(i.c.URL))
}

// VerifierFor returns a verifier of the issuer's tokens for an audience. check, if it is not nil, returns an error
// with a durward.Code for the principal of a token that is refused all the same.
func (i *Issuer) VerifierFor(audience []string, check func(*durward.Principal) error) (*jwt.Verifier, error) {
	return jwt.New(jwt.Config{
		Issuer:     i.c.URL,
		Audience:   audience,
		Algorithms: algorithms,
		Keys:       verifyingKeys{i},
		Check: func(ctx context.Context, p *durward.Principal) error {
			if err := checkEnrolment(ctx, p); err != nil || check == nil {
				return err
			}
			return check(p)
		},
		Leeway:      i.c.Leeway,
		MaxLifetime: longestLife,
		Revoked:     i.c.Revoked.Check,
		Now:         i.c.Now,
		RevokedAsOf: i.c.RevokedAsOf,
		MaxStale:    i.maxStale(),
	})
}

func (i *Issuer) maxStale() time.Duration { return max(i.c.AccessTTL, leastStale) }

// Verifier returns the verifier of tokens for the audience of the server.
func (i *Issuer) Verifier() *jwt.Verifier { return i.verifier }

// TokensEnd returns the time from which no token of a session is valid that was signed up to now.
// Revocations of sessions are kept until then.
func (i *Issuer) TokensEnd(now time.Time) time.Time {
	return now.Add(i.c.AccessTTL + maxLeeway + clockMargin)
}

// Sign completes and signs the claims of a session's access token, and returns the token and the time
// that it is valid. It sets iss, iat, jti and exp, and aud if it is empty. If c.Expires is set, the token ends
// then at the latest; Sign refuses with SessionExpired if less than a second is left.
func (i *Issuer) Sign(c jwt.Claims) (token string, life time.Duration, err error) {
	// NumericDate has whole seconds: exp is rounded down.
	now := i.c.Now()
	issued := now.Truncate(time.Second)
	expires := issued.Add(i.c.AccessTTL)
	if !c.Expires.IsZero() && c.Expires.Before(expires) {
		if expires = c.Expires.Truncate(time.Second); !expires.After(issued) {
			return "", 0, fmt.Errorf("issuer: session %s ends within a second: %w", c.SessionID, durward.SessionExpired)
		}
	}
	c.IssuedAt, c.Expires = issued, expires
	if c.AuthTime.After(issued) { // the clock was set back; auth_time must not be in the future
		c.AuthTime = issued
	}
	audience := i.c.Audience
	if slices.Contains(c.Scopes, ScopeEnrolment) {
		audience = []string{enrolmentAudience(i.c.URL)}
	}
	token, err = i.sign(&c, audience)
	return token, expires.Sub(now), err
}

// ScopeEnrolment is the scope of tokens that set up a second factor for a user who owes one. They have an
// audience of their own, so that no other service accepts them.
const ScopeEnrolment = "urn:durward:enrolment"

// checkEnrolment refuses a token with ScopeEnrolment in a request that sets up no second factor.
func checkEnrolment(ctx context.Context, p *durward.Principal) error {
	if !p.HasScope(ScopeEnrolment) || request.IsForEnrolment(ctx) {
		return nil
	}
	return &durward.Refusal{
		Code:   durward.EnrolmentRequired,
		Detail: "This token sets up a second factor and does nothing else.",
		Hint:   "Set up a second factor at POST /api/auth/mfa/totp, and use the tokens of the response.",
		Err:    fmt.Errorf("issuer: an enrolment token of user %s at a route for other tokens", p.Subject),
	}
}

func enrolmentAudience(issuer string) string { return issuer + "#enrolment" }

// sign completes c with iss, jti and an empty aud, and signs it with the active key.
func (i *Issuer) sign(c *jwt.Claims, audience []string) (string, error) {
	signer, err := i.signing()
	if err != nil {
		return "", err
	}
	c.Issuer, c.ID = i.c.URL, store.NewID()
	if len(c.Audience) == 0 {
		c.Audience = audience
	}
	return signer.Sign(*c)
}

// Operator is the client_id of tokens that the operator makes.
const Operator = "durward-cli"

// Issue makes an access token for the operator. The token has no session and cannot be refreshed.
// Issue records it in the security log first.
func (i *Issuer) Issue(
	ctx context.Context, subject string, scopes []string, life time.Duration,
) (string, jwt.Claims, error) {
	if life < time.Second || life > longestLife {
		return "", jwt.Claims{}, fmt.Errorf("issuer: the life of the token is %s, want 1s to %s", life, longestLife)
	}
	now := i.c.Now().Truncate(time.Second)
	c := jwt.Claims{
		Subject:  subject,
		Expires:  now.Add(life),
		IssuedAt: now,
		ClientID: Operator,
		Scopes:   scopes,
	}
	token, err := i.sign(&c, i.c.Audience)
	if err != nil {
		return "", jwt.Claims{}, err
	}
	event := store.Event{
		ID:      store.NewID(),
		Kind:    store.EventTokenIssued,
		At:      now,
		UserID:  subject,
		Actor:   store.Operator,
		Outcome: "ok",
		Detail:  "token " + c.ID + ", scope " + strings.Join(scopes, " "),
	}
	if err := i.c.DB.AddEvents(ctx, []store.Event{event}); err != nil {
		return "", jwt.Claims{}, err
	}
	return token, c, nil
}

// Run reads the keys every second until ctx ends. Every minute it rotates them and checks that other
// services can verify the tokens of this node.
func (i *Issuer) Run(ctx context.Context) {
	store.EverySecond(ctx, i.c.Log, "read, rotate or verify the keys", func(n int) error { return i.keepKeys(ctx, n) })
}

// proof is the result of a call of prove.
type proof struct {
	at     time.Time
	signer *jwt.PrivateKey
	err    error
}

// proofLife is how long a proof counts. Run makes one every minute.
const proofLife = 3 * time.Minute

// Err returns nil while tokens of this node verify against the key set that it publishes. It is for
// health checks and logs, not for API clients.
func (i *Issuer) Err() error {
	p := i.proof.Load()
	if age := time.Since(p.at); age > proofLife {
		return fmt.Errorf("issuer: the last check of the signing key was %s ago", age.Round(time.Second))
	}
	return p.err
}

// ReadErr returns nil while the keys in the database can be read and opened. Without them the node
// continues with those in memory, until its next start.
func (i *Issuer) ReadErr() error {
	if err := i.readErr.Load(); err != nil {
		return *err
	}
	return nil
}

// prove signs a token and verifies it as other services do, by the published key set alone. With a
// shared secret that set is empty, so the secret verifies.
func (i *Issuer) prove(ctx context.Context) {
	p := &proof{at: time.Now()}
	// The second try is for a key that was withdrawn between signature and verification.
	for range 2 {
		p.signer = i.signer.Load()
		if p.err = i.verifyOwn(ctx); p.err == nil {
			break
		}
	}
	i.proof.Store(p)
}

func (i *Issuer) verifyOwn(ctx context.Context) error {
	token, _, err := i.Sign(jwt.Claims{Subject: "readiness", ClientID: "durward"})
	if err != nil {
		return err
	}
	keys := &i.keys
	if i.c.Algorithm != "HS256" {
		public, err := jwt.ParseKeySet(i.JWKS())
		if err != nil {
			return err
		}
		keys = new(jwt.Keys)
		if err := keys.Set(public...); err != nil {
			return err
		}
	}
	v, err := jwt.New(jwt.Config{
		Issuer:     i.c.URL,
		Audience:   i.c.Audience,
		Algorithms: algorithms,
		Keys:       keys,
		Now:        i.c.Now,
	})
	if err == nil {
		_, err = v.Verify(ctx, token)
	}
	if err != nil {
		return fmt.Errorf("issuer: the published key set does not verify a token of this node: %v", err)
	}
	return nil
}

// keepKeys is the n-th step of Run.
func (i *Issuer) keepKeys(ctx context.Context, n int) error {
	var rotated error
	minute := n%60 == 0
	if minute {
		rotated = i.RotateDue(ctx)
	}
	read := i.ReadKeys(ctx)
	if read == nil && (minute || i.ReadErr() != nil) {
		read = Opens(ctx, i.c.DB, i.c.Master) // ReadKeys opens each key once
	}
	i.readErr.Store(&read)
	if minute || i.Err() != nil || i.signer.Load() != i.proof.Load().signer {
		i.prove(ctx)
	}
	return errors.Join(rotated, read, i.Err())
}
