package issuer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/revoked"
	"github.com/durward-auth/durward/jwt"
	"github.com/durward-auth/durward/server/internal/store"
)

// RS256 is the algorithm that every relying party of OpenID Connect knows (OpenID Connect Core s15.1).
const RS256 = "RS256"

// SignFor returns a JWT for a client, such as an ID token: typ is its header parameter typ, and
// claims returns its payload for the algorithm. An empty algorithm is that of the server's tokens. RS256, and a
// shared secret, which no client has, use a key of their own use, which is made at the first need.
func (i *Issuer) SignFor(ctx context.Context, algorithm, typ string, claims func(algorithm string) any) (string, error) {
	key, err := i.signerFor(ctx, algorithm)
	if err != nil {
		return "", err
	}
	return key.SignJWT(typ, claims(key.Algorithm()))
}

// MakeKeyFor makes the key that signs JWTs for clients with an algorithm, if there is none. A client that keeps the
// key set from before its first token then has that key (OpenID Connect Core s10.1).
func (i *Issuer) MakeKeyFor(ctx context.Context, algorithm string) error {
	_, err := i.signerFor(ctx, algorithm)
	return err
}

// signerFor returns the key that signs JWTs for clients with an algorithm.
func (i *Issuer) signerFor(ctx context.Context, algorithm string) (*jwt.PrivateKey, error) {
	switch {
	case algorithm != "" && algorithm != RS256 && algorithm != i.c.Algorithm:
		return nil, fmt.Errorf("issuer: no key signs with %s", algorithm)
	case i.c.Algorithm != "HS256" && algorithm != RS256:
		return i.signing()
	}
	if key, err := i.signing(); err == nil && key.Algorithm() == RS256 {
		return key, nil
	}
	if key := i.idKey(); key != nil {
		return key, nil
	}
	if i.idSigner.Load() == nil {
		k, err := i.newKey(store.UseIDToken, store.KeyActive)
		if err != nil {
			return nil, err
		}
		if err := i.c.DB.AddKeyIfNone(ctx, k); err != nil {
			return nil, err
		}
	}
	if err := i.ReadKeys(ctx); err != nil {
		return nil, err
	}
	if key := i.idKey(); key != nil {
		return key, nil
	}
	return nil, errors.New("issuer: the database has no active key for ID tokens")
}

// idKey returns the active key of ID tokens, or nil if there is none or it was withdrawn since the keys were read.
func (i *Issuer) idKey() *jwt.PrivateKey {
	key := i.idSigner.Load()
	if key != nil && i.c.Revoked.Revoked(revoked.SigningKey, key.ID()) {
		return nil
	}
	return key
}

// AccessToken returns the claims of an access token of this issuer for one of the audiences, from any sender: a
// token that is bound to a key needs no proof here. ok is false for another text and for a token that has ended
// or was revoked.
func (i *Issuer) AccessToken(ctx context.Context, token string, audiences []string) (c jwt.Claims, ok bool, err error) {
	in, err := jwt.Inspect(token)
	if err != nil {
		return c, false, nil
	}
	at := slices.IndexFunc(in.Claims.Audience, func(aud string) bool { return slices.Contains(audiences, aud) })
	if at < 0 {
		return c, false, nil
	}
	v, err := i.verifierOf(in.Claims.Audience[at])
	if err != nil {
		return c, false, err
	}
	p, err := v.VerifyEnded(ctx, token)
	switch code, refused := errors.AsType[durward.Code](err); {
	case err != nil && refused && code != durward.AuthUnavailable:
		return c, false, nil
	case err != nil:
		return c, false, err
	case i.c.RevokedAsOf != nil && i.c.Now().Sub(i.c.RevokedAsOf()) > i.maxStale():
		return c, false, errors.New("issuer: the revocations are too old to say that a token is valid")
	}
	var header struct {
		KeyID string `json:"kid"`
	}
	var payload struct { // Inspect leaves groups out
		Groups []string `json:"groups"`
	}
	if json.Unmarshal(in.Header, &header) != nil || json.Unmarshal(in.Payload, &payload) != nil || !i.c.Now().Before(p.Expires) || i.c.Revoked.Check(p, header.KeyID) != nil {
		return c, false, nil
	}
	in.Claims.Groups = payload.Groups
	return in.Claims, true, nil
}

// verifierOf returns a verifier for one audience, the same one in each call. Audiences are those of the
// configuration and of clients, so there are few.
func (i *Issuer) verifierOf(audience string) (*jwt.Verifier, error) {
	if v, ok := i.verifiers.Load(audience); ok {
		return v.(*jwt.Verifier), nil
	}
	v, err := i.VerifierFor([]string{audience}, nil)
	if err == nil {
		i.verifiers.Store(audience, v)
	}
	return v, err
}

// RevokeToken revokes one access token, until it would have ended.
func (i *Issuer) RevokeToken(ctx context.Context, c jwt.Claims) error {
	r, err := i.c.DB.Revoke(ctx, revoked.Token, c.ID, c.Expires.Add(maxLeeway+clockMargin))
	if err == nil {
		i.c.Revoked.Announce(r)
	}
	return err
}
