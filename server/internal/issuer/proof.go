package issuer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/durward-auth/durward/jwt"
)

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
