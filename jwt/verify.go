package jwt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/durward-auth/durward"
)

// Config is what a [Verifier] is made of.
type Config struct {
	// Issuer is the exact iss of the tokens. Required.
	Issuer string

	// Audience is the names of this service: a token is taken if one of them is in
	// its aud, octet by octet. Required.
	Audience []string

	// Algorithms are those accepted, each only with a key that is for it: ES256,
	// EdDSA, Ed25519, RS256, PS256, HS256. Default: ES256, EdDSA and Ed25519.
	Algorithms []string

	// Keys are the issuer's, and no other issuer's. Required.
	Keys KeySet

	// Leeway is how long after exp a token is still taken: 0 to 60 s, default 0.
	Leeway time.Duration

	// MaxLifetime is the longest life, exp less iat, that a token may have.
	// Default 24 h.
	MaxLifetime time.Duration

	// CacheSize is how many verified tokens are remembered, each with about half a
	// kilobyte. 0 is 10,000; a negative number switches remembering off.
	CacheSize int

	// Revoked says whether a token, its session or its key was revoked: nil is
	// no, otherwise an error that wraps [durward.TokenRevoked]. One that wraps no
	// code is [durward.AuthUnavailable]. It is asked for each request, so it must
	// answer from memory. Nil: nothing is ever revoked.
	Revoked func(p *durward.Principal, keyID string) error

	// RevokedAsOf is the moment as of which Revoked knows everything; zero is that it
	// knows nothing yet. It is Principal.AsOf, by which routes with
	// durward.Policy.Freshness judge. Nil: nobody knows, so that a token is known to be
	// good as of when it was issued alone.
	RevokedAsOf func() time.Time

	// MaxStale is how long ago RevokedAsOf may be before no token is taken any more,
	// which is [durward.AuthUnavailable]: the life of the issuer's access tokens, after
	// which all that were alive at the last news have ended, and the list says nothing
	// of those that came since. A token that lives longer does not lengthen it.
	// Default 15 min; with RevokedAsOf alone.
	MaxStale time.Duration

	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Verifier judges the access tokens of one issuer that are meant for one
// service. It is safe for use by many at once.
type Verifier struct {
	c     Config
	cache *cache // nil where switched off
}

// New returns a verifier, or an error that names every mistake in c.
func New(c Config) (*Verifier, error) {
	var errs []error
	mistake := func(format string, args ...any) { errs = append(errs, fmt.Errorf("jwt: "+format, args...)) }
	if c.Issuer == "" {
		mistake("no Issuer: give the exact iss of the tokens, such as https://auth.example.com")
	}
	if len(c.Audience) == 0 || slices.Contains(c.Audience, "") {
		mistake("no Audience, or an empty one: give the name by which tokens mean this service, such as https://api.example.com")
	}
	c.Audience = slices.Clone(c.Audience)
	if len(c.Algorithms) == 0 {
		c.Algorithms = []string{"ES256", "EdDSA", "Ed25519"}
	}
	c.Algorithms = slices.Clone(c.Algorithms)
	for _, a := range c.Algorithms {
		if !slices.Contains(algorithms, a) {
			mistake("algorithm %q is not one of %s", a, strings.Join(algorithms, ", "))
		}
	}
	if keys, ok := c.Keys.(*Keys); c.Keys == nil || ok && keys == nil {
		mistake("no Keys: give NewKeys or NewRemoteKeys")
	} else if keys, ok := c.Keys.(*RemoteKeys); ok && keys == nil {
		mistake("no Keys: NewRemoteKeys returned an error")
	}
	if c.Leeway < 0 || c.Leeway > time.Minute {
		mistake("Leeway is %s, it may be from 0 to 1m0s", c.Leeway)
	}
	if c.MaxLifetime == 0 {
		c.MaxLifetime = 24 * time.Hour
	}
	if c.MaxLifetime < 0 {
		mistake("MaxLifetime is %s, it must be positive", c.MaxLifetime)
	}
	if c.RevokedAsOf != nil && c.Revoked == nil {
		mistake("RevokedAsOf without Revoked: give both, or neither")
	}
	if c.MaxStale == 0 {
		c.MaxStale = 15 * time.Minute
	}
	if c.MaxStale < 0 {
		mistake("MaxStale is %s, it must be positive", c.MaxStale)
	}
	if c.CacheSize == 0 {
		c.CacheSize = 10_000
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	v := &Verifier{c: c}
	if c.CacheSize > 0 {
		v.cache = newCache(c.CacheSize)
	}
	return v, nil
}

// Bearer returns the scheme that takes the access tokens of issuer, signed with
// ES256 or Ed25519 by the keys at its /.well-known/jwks.json and meant for
// audience. It panics on a mistake, as [regexp.MustCompile] does; [New] and
// [NewRemoteKeys] report mistakes and have more to set.
func Bearer(issuer, audience string) durward.Scheme {
	keys, err := NewRemoteKeys(RemoteConfig{URL: strings.TrimSuffix(issuer, "/") + "/.well-known/jwks.json"})
	if err != nil {
		panic(err)
	}
	v, err := New(Config{Issuer: issuer, Audience: []string{audience}, Keys: keys})
	if err != nil {
		panic(err)
	}
	return v.Scheme()
}

// Scheme returns the Bearer scheme that takes these tokens.
func (v *Verifier) Scheme() durward.Scheme { return durward.Bearer(v.Verify) }

// Verify judges a token as it was sent and returns who it speaks for; the
// principal is the caller's to keep and to change.
//
// The error wraps exactly one code: [durward.InvalidToken],
// [durward.TokenExpired] where nothing else is wrong, what Config.Revoked
// returned, or [durward.AuthUnavailable] where the keys cannot be had.
//
// A token that is bound to a client certificate (RFC 8705) must come with it, as
// durward.ClientCertificate has it; one that is bound to a DPoP key is refused
// here, see [Verifier.DPoP].
func (v *Verifier) Verify(ctx context.Context, token string) (*durward.Principal, error) {
	return v.verify(ctx, token, "")
}

// verify judges a token that came with a DPoP proof of the key with a thumbprint,
// or without one.
func (v *Verifier) verify(ctx context.Context, token, thumbprint string) (*durward.Principal, error) {
	// Before anything is done with it that takes time by its length.
	if len(token) > maxToken {
		return nil, fmt.Errorf("jwt: token of %d octets, at most %d are read: %w", len(token), maxToken, durward.InvalidToken)
	}
	now := v.c.Now()
	sum := digest(token)
	e := v.remembered(ctx, sum, now)
	fresh := e == nil
	if fresh {
		var err error
		if e, err = v.judge(ctx, token, now); err != nil {
			return nil, fmt.Errorf("jwt: token %s: %w", hex.EncodeToString(sum[:4]), err)
		}
	}
	if err := e.bound.sentBy(thumbprint, durward.ClientCertificate(ctx)); err != nil {
		return nil, fmt.Errorf("jwt: token %s: %w: %w", hex.EncodeToString(sum[:4]), err, durward.InvalidToken)
	}
	// Last but for revocation, in each request: all else is well.
	if err := ended(e.principal.Expires, now, v.c.Leeway); err != nil {
		if !fresh {
			v.cache.drop(sum)
		}
		return nil, fmt.Errorf("jwt: token %s: %w: %w", hex.EncodeToString(sum[:4]), err, durward.TokenExpired)
	}
	p := e.copy()
	if thumbprint != "" {
		p.Scheme = "DPoP"
	}
	p.AsOf = e.issued
	if v.c.RevokedAsOf != nil {
		// Asked before Revoked is: what is known as of then, Revoked knows.
		asOf := v.c.RevokedAsOf()
		if age := now.Sub(asOf); age > v.c.MaxStale {
			return nil, fmt.Errorf("jwt: token %s: the list of what was revoked is of %s ago, at most %s: %w", hex.EncodeToString(sum[:4]), age.Truncate(time.Second), v.c.MaxStale, durward.AuthUnavailable)
		}
		if asOf.After(p.AsOf) {
			p.AsOf = asOf
		}
	}
	if v.c.Revoked != nil {
		if err := v.c.Revoked(p, e.key.id); err != nil {
			return nil, fmt.Errorf("jwt: token %s: %w", hex.EncodeToString(sum[:4]), coded(err))
		}
	}
	if p.AsOf.After(now) {
		p.AsOf = now // iat of an issuer whose clock is ahead
	}
	if fresh {
		v.cache.put(sum, e, now)
	}
	return p, nil
}

var octets = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

func digest(token string) [sha256.Size]byte {
	b := octets.Get().(*[]byte)
	*b = append((*b)[:0], token...)
	sum := sha256.Sum256(*b)
	octets.Put(b)
	return sum
}

// remembered returns the entry of a token that was verified before and whose key
// is still the issuer's, or nil.
func (v *Verifier) remembered(ctx context.Context, sum [sha256.Size]byte, now time.Time) *entry {
	e := v.cache.get(sum, now)
	if e == nil {
		return nil
	}
	if k, err := v.c.Keys.Key(ctx, e.key.id); err != nil || k != e.key {
		v.cache.drop(sum)
		return nil
	}
	return e
}

// coded returns err with the code of an outage where it has none.
func coded(err error) error {
	var code durward.Code
	if errors.As(err, &code) {
		return err
	}
	return fmt.Errorf("%w: %w", err, durward.AuthUnavailable)
}

// working is memory for judging one token.
type working struct {
	scratch
	reading
}

var workings = sync.Pool{New: func() any { return new(working) }}

// judge takes every check but exp and revocation, in the one order that makes
// the first failure the cause.
func (v *Verifier) judge(ctx context.Context, token string, now time.Time) (*entry, error) {
	w := workings.Get().(*working)
	defer func() {
		w.reading = reading{}
		workings.Put(w)
	}()
	refuse := func(err error) error { return fmt.Errorf("%w: %w", err, durward.InvalidToken) }

	t, err := split(token, &w.scratch)
	if err != nil {
		return nil, refuse(err)
	}
	// Nothing of the payload is believed before the signature, but iss is judged
	// before it, so it is read here.
	r := &w.reading
	if err := r.read(t.payload); err != nil {
		return nil, refuse(err)
	}
	if err := t.header.wrongType(); err != nil {
		return nil, refuse(err)
	}
	if !slices.Contains(v.c.Algorithms, t.header.alg) {
		return nil, refuse(fmt.Errorf("alg is %s, accepted are %s", shown(t.header.alg), strings.Join(v.c.Algorithms, ", ")))
	}
	if r.iss != nil {
		return nil, refuse(r.iss)
	}
	// RFC 9068 s4: exactly.
	if r.Issuer != v.c.Issuer {
		return nil, refuse(fmt.Errorf("iss is %s, keys are held for %s", shown(r.Issuer), shown(v.c.Issuer)))
	}
	if t.header.kid == "" {
		return nil, refuse(errors.New("kid is missing from the header"))
	}
	key, err := v.c.Keys.Key(ctx, t.header.kid)
	if err != nil {
		return nil, coded(err)
	}
	if err := t.signedBy(key); err != nil {
		return nil, refuse(err)
	}

	if len(r.bad) > 0 {
		return nil, refuse(r.bad[0])
	}
	if err := r.tooLong(v.c.MaxLifetime); err != nil {
		return nil, refuse(err)
	}
	if !slices.ContainsFunc(v.c.Audience, func(a string) bool { return slices.Contains(r.Audience, a) }) {
		return nil, refuse(fmt.Errorf("aud is %s, this service is %s", shown(strings.Join(r.Audience, " ")), shown(strings.Join(v.c.Audience, " "))))
	}
	if err := r.ahead(now); err != nil {
		return nil, refuse(err)
	}
	return &entry{key: key, bound: r.Confirmation, issued: r.IssuedAt, principal: durward.Principal{
		Scheme: "Bearer", Subject: r.Subject, Issuer: v.c.Issuer, ClientID: r.ClientID,
		SessionID: r.SessionID, TokenID: r.ID, ACR: r.ACR, AMR: r.AMR,
		AuthTime: r.AuthTime, Expires: r.Expires, Scopes: r.Scopes,
	}}, nil
}
