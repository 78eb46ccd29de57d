package jwt

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/durward-auth/durward"
)

// Config configures a [Verifier].
type Config struct {
	// Issuer is the exact iss of the tokens. Required. If all tenants of a provider share one key
	// set, {tenantid} stands for the tenant: https://login.microsoftonline.com/{tenantid}/v2.0. The
	// tenant in iss and the claim of Profile.Tenant must agree.
	Issuer string

	// Tenants lists the accepted tenants for an Issuer with {tenantid}. AnyTenant accepts all: every
	// customer of the provider can then get tokens for this service, and the application decides by
	// Principal.Tenant. Such an Issuer requires one of the two.
	Tenants   []string
	AnyTenant bool

	// Audience lists the names of this service. The aud of a token must contain one of them
	// exactly. Required.
	Audience []string

	// Profile is that of the identity provider, such as [Keycloak]. The zero value is RFC 9068.
	Profile Profile

	// Algorithms lists the accepted algorithms: ES256, ES384, ES512, EdDSA, Ed25519, RS256, RS384,
	// RS512, PS256, PS384, PS512, HS256. A key that names its algorithm is used with that one only,
	// another with those of its type. Default: ES256, EdDSA and Ed25519.
	Algorithms []string

	// Keys holds the keys of the issuer, and of no other issuer. Required.
	Keys KeySet

	// AllowMissingKeyID accepts tokens without kid, or with an empty one (RFC 7515 s4.1.4), as long
	// as exactly one key of the set serves the token's algorithm.
	AllowMissingKeyID bool

	// Leeway is the time for which a token is accepted after exp: 0 to 60 s, default 0.
	Leeway time.Duration

	// MaxLifetime is the longest accepted lifetime, exp minus iat. Default: that of Profile, or 24 h.
	MaxLifetime time.Duration

	// MaxSize is the maximum size of a token, in bytes. Default 16 KiB. The guard has a limit of
	// its own, and so has the HTTP server.
	MaxSize int

	// MaxElements is the maximum number of elements of each list that is read, such as aud or the
	// roles. Claims that are not read do not count. Default 256.
	MaxElements int

	// CacheSize is the number of verified tokens in the cache, about half a kilobyte each. 0 means
	// 10,000; a negative number disables the cache.
	CacheSize int

	// Revoked returns nil, or an error if the token, its session or its key is revoked. That error
	// wraps [durward.TokenRevoked]; an error without a code becomes [durward.AuthUnavailable]. It
	// is called for each request, so it must answer from memory. If Revoked is nil, no token is
	// ever revoked.
	Revoked func(p *durward.Principal, keyID string) error

	// RevokedAsOf returns the time up to which Revoked knows all revocations; zero means that it
	// knows none yet. It becomes Principal.AsOf, which routes with durward.Policy.Freshness
	// require. If RevokedAsOf is nil, AsOf is the time of issue.
	RevokedAsOf func() time.Time

	// MaxStale is the age of RevokedAsOf from which every token gets [durward.AuthUnavailable]. It
	// is the lifetime of the issuer's access tokens: after that, the list lacks revocations of all
	// valid tokens. Tokens with a longer lifetime do not extend it. Default 15 min; only with
	// RevokedAsOf.
	MaxStale time.Duration

	// Check is called for each request after all other checks, with the context of the request. It
	// returns nil to accept the token, or an error with a [durward.Code] to refuse it; an error
	// without a code becomes [durward.AuthUnavailable]. Nil accepts all.
	Check func(ctx context.Context, p *durward.Principal) error

	// Now returns the time; nil means time.Now.
	Now func() time.Time
}

// Verifier verifies the access tokens of one issuer for one service. It is safe for concurrent use.
type Verifier struct {
	c      Config
	rules  *rules    // of c.Profile
	around [2]string // c.Issuer before and after {tenantid}, if it has that
	cache  *cache    // nil if disabled
}

// tenantID stands for the tenant in Config.Issuer.
const tenantID = "{tenantid}"

// New returns a verifier. The error lists every mistake in c.
func New(c Config) (*Verifier, error) {
	var errs []error
	mistake := func(format string, args ...any) { errs = append(errs, fmt.Errorf("jwt: "+format, args...)) }
	if c.Issuer == "" {
		mistake("no Issuer: give the exact iss of the tokens, such as https://auth.example.com")
	}
	if len(c.Audience) == 0 || slices.Contains(c.Audience, "") {
		mistake("no Audience, or an empty one: give the name by which tokens mean this service, such as https://api.example.com")
	}
	c.Audience, c.Tenants = slices.Clone(c.Audience), slices.Clone(c.Tenants)
	rules, wrong := c.Profile.rules()
	errs = append(errs, wrong...)
	before, after, many := strings.Cut(c.Issuer, tenantID)
	switch {
	case strings.ContainsAny(before+after, "{}"):
		mistake("Issuer %q has a brace: it may only have %s, once", c.Issuer, tenantID)
	case many && (len(c.Tenants) > 0) == c.AnyTenant:
		mistake("Issuer has %s: give either Tenants, the accepted tenants, or AnyTenant", tenantID)
	case many && strings.Count(before, "/") < 3:
		mistake("Issuer %q has %s in its host, want it in the path", c.Issuer, tenantID)
	case many && c.Profile.Tenant == "":
		mistake("Issuer has %s, but Profile.Tenant names no claim that agrees with it, such as tid", tenantID)
	case !many && (len(c.Tenants) > 0 || c.AnyTenant):
		mistake("Tenants or AnyTenant without %s in Issuer: one issuer has one tenant", tenantID)
	case c.Profile.TrustDomain && (many || trustDomainOf(c.Issuer) != c.Issuer):
		mistake("Issuer is %q, want a SPIFFE trust domain such as spiffe://example.org", c.Issuer)
	}
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
	if c.Leeway < 0 || c.Leeway > maxLeeway {
		mistake("Leeway is %s, it may be from 0 to %s", c.Leeway, maxLeeway)
	}
	c.MaxSize = cmp.Or(c.MaxSize, maxToken)
	c.MaxElements = cmp.Or(c.MaxElements, maxElements)
	if c.MaxSize < 0 || c.MaxElements < 0 {
		mistake("MaxSize is %d and MaxElements %d, they must be positive", c.MaxSize, c.MaxElements)
	}
	rules.list = c.MaxElements
	c.MaxLifetime = cmp.Or(c.MaxLifetime, c.Profile.MaxLifetime, 24*time.Hour)
	if c.MaxLifetime < 0 {
		mistake("MaxLifetime is %s, it must be positive", c.MaxLifetime)
	}
	if c.RevokedAsOf != nil && c.Revoked == nil {
		mistake("RevokedAsOf without Revoked: give both, or neither")
	}
	c.MaxStale = cmp.Or(c.MaxStale, 15*time.Minute)
	if c.MaxStale < 0 {
		mistake("MaxStale is %s, it must be positive", c.MaxStale)
	}
	c.CacheSize = cmp.Or(c.CacheSize, 10_000)
	if c.Now == nil {
		c.Now = time.Now
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	v := &Verifier{c: c, rules: rules}
	if many {
		v.around = [2]string{before, after}
	}
	if c.CacheSize > 0 {
		v.cache = newCache(c.CacheSize)
	}
	return v, nil
}

// Bearer returns a scheme that accepts the access tokens of issuer for audience. They are signed
// with ES256, Ed25519, RS256 or PS256. The issuer's metadata names the keys (OpenID Connect
// Discovery s4, RFC 8414 s3); without metadata they are at /.well-known/jwks.json of the issuer.
// Bearer panics on a mistake in its arguments, like [regexp.MustCompile]. [New] and [NewRemoteKeys]
// return errors and have more options.
//
// profile is that of the identity provider, such as [Keycloak]; without one it is RFC 9068. For
// several issuers see [NewIssuers].
func Bearer(issuer, audience string, profile ...Profile) durward.Scheme {
	return VerifierOf(issuer, audience, profile...).Scheme()
}

// VerifierOf returns the verifier of [Bearer], for [NewIssuers] and [Verifier.DPoP]. It panics as
// Bearer does.
func VerifierOf(issuer, audience string, profile ...Profile) *Verifier {
	keys, err := NewRemoteKeys(RemoteConfig{Issuer: issuer, Log: slog.Default()})
	if err != nil {
		panic(err)
	}
	c := Config{
		Issuer: issuer, Audience: []string{audience}, Keys: keys,
		// RFC 9068 s2.1 requires issuers and services to support RS256.
		Algorithms: []string{"ES256", "EdDSA", "Ed25519", "RS256", "PS256"},
	}
	if len(profile) > 1 {
		panic("jwt: Bearer takes one profile at most")
	} else if len(profile) == 1 {
		c.Profile = profile[0]
	}
	v, err := New(c)
	if err != nil {
		panic(err)
	}
	return v
}

// Scheme returns the Bearer scheme for the tokens of v.
func (v *Verifier) Scheme() durward.Scheme { return durward.Bearer(v.Verify) }

// Verify verifies a token and returns its principal. The caller may modify the principal.
//
// The error wraps exactly one code: [durward.InvalidToken]; [durward.TokenExpired] if the token is
// only expired; the code of Config.Revoked; or [durward.AuthUnavailable] if the keys cannot be
// fetched.
//
// A token that is bound to a client certificate (RFC 8705) must arrive on a connection with that
// certificate, as durward.ClientCertificate returns it. A token that is bound to a DPoP key is
// refused; see [Verifier.DPoP].
func (v *Verifier) Verify(ctx context.Context, token string) (*durward.Principal, error) {
	return v.verify(ctx, token, "")
}

// verify verifies a token. thumbprint is that of the DPoP proof's key; "" if the request has no
// proof.
func (v *Verifier) verify(ctx context.Context, token, thumbprint string) (*durward.Principal, error) {
	// Check the size before any work that depends on it.
	if err := tooLarge(token, v.c.MaxSize); err != nil {
		return nil, err
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
	// Each request checks expiry and revocation, as the last checks.
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
		// Before the call of Revoked, which then knows everything up to asOf.
		asOf := v.c.RevokedAsOf()
		if age := now.Sub(asOf); age > v.c.MaxStale {
			return nil, fmt.Errorf("jwt: token %s: the list of revocations is %s old, at most %s is allowed: %w", hex.EncodeToString(sum[:4]), age.Truncate(time.Second), v.c.MaxStale, durward.AuthUnavailable)
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
	if v.c.Check != nil {
		if err := v.c.Check(ctx, p); err != nil {
			return nil, fmt.Errorf("jwt: token %s: %w", hex.EncodeToString(sum[:4]), coded(err))
		}
	}
	if p.AsOf.After(now) {
		p.AsOf = now // the clock of the issuer is ahead
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

// remembered returns the cached entry of a token if its key is still in the key set, else nil.
func (v *Verifier) remembered(ctx context.Context, sum [sha256.Size]byte, now time.Time) *entry {
	e := v.cache.get(sum, now)
	if e == nil {
		return nil
	}
	if k, err := v.c.Keys.Key(ctx, e.key.id, e.alg); err != nil || k != e.key {
		v.cache.drop(sum)
		return nil
	}
	return e
}

// coded adds AuthUnavailable to an error without a code.
func coded(err error) error {
	if _, ok := errors.AsType[durward.Code](err); ok {
		return err
	}
	return fmt.Errorf("%w: %w", err, durward.AuthUnavailable)
}

// working is the memory for verifying one token.
type working struct {
	scratch
	reading
}

var workings = sync.Pool{New: func() any { return new(working) }}

// judge makes all checks except expiry and revocation, in the order of the package comment.
func (v *Verifier) judge(ctx context.Context, token string, now time.Time) (*entry, error) {
	w := workings.Get().(*working)
	defer func() {
		w.reading = reading{}
		workings.Put(w)
	}()
	refuse := func(err error) error { return fmt.Errorf("%w: %w", err, durward.InvalidToken) }

	t, err := split(token, &w.scratch)
	if err == nil {
		err = t.header.parse(t.head, v.rules.IgnoredHeader)
	}
	if err != nil {
		return nil, refuse(err)
	}
	// iss is checked before the signature, so the payload is parsed here. No other claim is used
	// before the signature is verified.
	r := &w.reading
	r.rules = v.rules
	if err := r.read(t.payload); err != nil {
		return nil, refuse(err)
	}
	if err := v.rules.accepts(t.header.typ); err != nil {
		return nil, refuse(err)
	}
	at := slices.Index(v.c.Algorithms, t.header.alg)
	if at < 0 {
		return nil, refuse(fmt.Errorf("alg is %s, accepted are %s (Config.Algorithms)", shown(t.header.alg), strings.Join(v.c.Algorithms, ", ")))
	}
	if err := v.issued(r); err != nil {
		return nil, refuse(err)
	}
	if t.header.kid == "" && !v.c.AllowMissingKeyID {
		return nil, refuse(errors.New("kid is missing from the header; Config.AllowMissingKeyID accepts that"))
	}
	key, err := v.c.Keys.Key(ctx, t.header.kid, t.header.alg)
	if err != nil {
		return nil, coded(err)
	}
	if err := t.signedBy(key); err != nil {
		keys, ok := v.c.Keys.(*RemoteKeys)
		if !ok {
			return nil, refuse(err)
		}
		newer, failed := keys.replacement(ctx, key, t.header.kid, t.header.alg)
		if newer == nil {
			return nil, refuse(fmt.Errorf("%w; %w", err, failed))
		}
		if err := t.signedBy(newer); err != nil {
			return nil, refuse(err)
		}
		key = newer
	}
	if !key.servesIssuer(r.Issuer) {
		return nil, refuse(fmt.Errorf("key %s is for the issuer %s (issuer of the JWK), iss is %s: give the key set of that issuer",
			shown(key.id), shown(key.issuer), shown(r.Issuer)))
	}

	if len(r.bad) > 0 {
		return nil, refuse(r.bad[0])
	}
	if v.around[0] != "" {
		if tenant := v.tenantOf(r.Issuer); r.tenant != tenant {
			return nil, refuse(fmt.Errorf("%s is %s, but iss is that of tenant %s", v.rules.Tenant, shown(r.tenant), shown(tenant)))
		}
	}
	if err := r.tooLong(v.c.MaxLifetime, now); err != nil {
		return nil, refuse(err)
	}
	if !slices.ContainsFunc(v.c.Audience, func(a string) bool { return slices.Contains(r.Audience, a) }) {
		return nil, refuse(fmt.Errorf("%s is %s, this service is %s (Config.Audience)", strings.Join(v.rules.Audience, " or "), shown(strings.Join(r.Audience, " ")), shown(strings.Join(v.c.Audience, " "))))
	}
	if err := r.ahead(now); err != nil {
		return nil, refuse(err)
	}
	if r.IssuedAt.IsZero() {
		r.IssuedAt = r.Expires.Add(-v.c.MaxLifetime) // the earliest possible
	}
	return &entry{key: key, alg: v.c.Algorithms[at], bound: r.Confirmation, issued: r.IssuedAt, principal: r.principal()}, nil
}

// issued returns an error if iss, or the subject's trust domain, is not that of v. It sets
// r.Issuer.
func (v *Verifier) issued(r *reading) error {
	switch {
	case v.rules.TrustDomain:
		if !inTrustDomain(r.Subject, v.c.Issuer) {
			return fmt.Errorf("sub is %s, keys are held for the trust domain %s (Config.Issuer)", shown(r.Subject), shown(v.c.Issuer))
		}
	case r.iss != nil:
		return r.iss
	case v.around[0] != "":
		tenant := v.tenantOf(r.Issuer)
		if tenant == "" {
			return fmt.Errorf("iss is %s, keys are held for %s (Config.Issuer)", shown(r.Issuer), shown(v.c.Issuer))
		}
		if !v.c.AnyTenant && !slices.Contains(v.c.Tenants, tenant) {
			return fmt.Errorf("iss is that of tenant %s, which Config.Tenants does not list", shown(tenant))
		}
		return nil
	case r.Issuer != v.c.Issuer: // RFC 9068 s4: iss must match exactly
		return fmt.Errorf("iss is %s, keys are held for %s (Config.Issuer)", shown(r.Issuer), shown(v.c.Issuer))
	}
	r.Issuer = v.c.Issuer // one string for all cached tokens
	return nil
}

// tenantOf returns the tenant in an iss; "" if the Issuer of v has no {tenantid}, or another form.
func (v *Verifier) tenantOf(iss string) string {
	if v.around[0] == "" {
		return ""
	}
	return between(v.around[0], iss, v.around[1])
}

// between returns the tenant in an iss that is before, tenant and after; else "".
func between(before, iss, after string) string {
	rest, ok := strings.CutPrefix(iss, before)
	tenant, okay := strings.CutSuffix(rest, after)
	if !ok || !okay || len(tenant) > 128 || !isSegment(tenant) {
		return ""
	}
	return tenant
}

// VerifyEnded verifies a token as [Verifier.Verify] does, but accepts expired and revoked tokens.
// Use it for sign-out, to learn the session of the token, or where you check expiry and revocation yourself.
func (v *Verifier) VerifyEnded(ctx context.Context, token string) (*durward.Principal, error) {
	if err := tooLarge(token, v.c.MaxSize); err != nil {
		return nil, err
	}
	now := v.c.Now()
	sum := digest(token)
	e := v.remembered(ctx, sum, now)
	if e == nil {
		var err error
		if e, err = v.judge(ctx, token, now); err != nil {
			return nil, fmt.Errorf("jwt: token %s: %w", hex.EncodeToString(sum[:4]), err)
		}
		if ended(e.principal.Expires, now, v.c.Leeway) == nil {
			v.cache.put(sum, e, now)
		}
	}
	return e.copy(), nil
}

// Issuers combines the verifiers of several issuers for one service. The iss of a token selects the
// verifier, and only that verifier's keys are used (RFC 8725 s3.8).
type Issuers struct {
	of    map[string]*Verifier
	rules []*Verifier // those with {tenantid} or a trust domain
	most  int         // largest MaxSize
}

// NewIssuers combines verifiers, such as those of [VerifierOf]. Two verifiers of one issuer are an
// error.
func NewIssuers(verifiers ...*Verifier) (*Issuers, error) {
	s := &Issuers{of: make(map[string]*Verifier, len(verifiers))}
	var errs []error
	for _, v := range verifiers {
		switch {
		case v == nil:
			errs = append(errs, errors.New("jwt: a nil Verifier"))
			continue
		case s.of[v.c.Issuer] != nil:
			errs = append(errs, fmt.Errorf("jwt: two verifiers of issuer %q", v.c.Issuer))
		}
		s.of[v.c.Issuer] = v
		s.most = max(s.most, v.c.MaxSize)
		if v.around[0] != "" || v.rules.TrustDomain {
			s.rules = append(s.rules, v)
		}
	}
	if len(verifiers) == 0 {
		errs = append(errs, errors.New("jwt: no verifier"))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return s, nil
}

// find returns the verifier of an issuer, or of a subject's trust domain; nil if there is none. An
// exact issuer precedes one with {tenantid}.
func (s *Issuers) find(iss, sub string) *Verifier {
	if v := s.of[iss]; v != nil && !v.rules.TrustDomain {
		return v
	}
	for _, v := range s.rules {
		if v.tenantOf(iss) != "" || v.rules.TrustDomain && inTrustDomain(sub, v.c.Issuer) {
			return v
		}
	}
	return nil
}

// Scheme returns the Bearer scheme for the tokens of all these issuers.
func (s *Issuers) Scheme() durward.Scheme { return durward.Bearer(s.Verify) }

// Verify verifies a token with the verifier of its issuer, as [Verifier.Verify] does. The error for
// an unknown issuer wraps [durward.InvalidToken].
func (s *Issuers) Verify(ctx context.Context, token string) (*durward.Principal, error) {
	if err := tooLarge(token, s.most); err != nil {
		return nil, err
	}
	w := workings.Get().(*working)
	t, err := split(token, &w.scratch)
	var of selector
	if err == nil {
		if err = json.Unmarshal(t.payload, &of); err != nil {
			err = fmt.Errorf("no issuer can be read from it: %w", syntax(err))
		}
	}
	workings.Put(w)
	v := s.find(of.iss, of.sub)
	if err == nil && v == nil {
		err = fmt.Errorf("iss is %s, which is not a known issuer", shown(of.iss))
	}
	if err != nil {
		sum := digest(token)
		return nil, fmt.Errorf("jwt: token %s: %w: %w", hex.EncodeToString(sum[:4]), err, durward.InvalidToken)
	}
	return v.Verify(ctx, token)
}

// selector holds the claims that select the verifier of a token. They are not verified; one that is
// not a string counts as absent.
type selector struct{ iss, sub string }

// UnmarshalJSONFrom parses the claims.
func (s *selector) UnmarshalJSONFrom(d *jsontext.Decoder) (err error) {
	return readMembers(d, func(name []byte) error {
		switch string(name) {
		case "iss":
			_, err = readString(d, &s.iss)
		case "sub":
			_, err = readString(d, &s.sub)
		default:
			err = skip(d)
		}
		return err
	})
}
