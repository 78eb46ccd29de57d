package oauth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/durward-auth/durward/internal/seal"
	"github.com/durward-auth/durward/internal/store"
	"github.com/durward-auth/durward/jwt"
)

// Life of a signing key: pending (published, so that every verifier knows it
// before it signs) → active → retiring (verifies until its last token has ended)
// → gone. One spare is always pending.
const (
	publishBefore = time.Hour + time.Minute // a key is in every node's key set for a full cache time before it signs
	signingLife   = 90 * 24 * time.Hour     // then the spare takes over

	// Any key may have signed a token of the operator's in its last moment.
	verifyAfter = longestLife + mostLeeway + marginClocks
)

const (
	signingLabel = "signing key"
	refreshLabel = "refresh key"
)

// ring is the refresh keys, newest last.
type ring struct {
	keys []refreshKey
	rows []string // ids of the rows that they were read from
}

func (r *ring) newest() refreshKey { return r.keys[len(r.keys)-1] }

func (r *ring) key(number uint8) (refreshKey, bool) {
	for _, k := range r.keys {
		if k.number == number {
			return k, true
		}
	}
	return refreshKey{}, false
}

// makeKeys fills an empty database: one refresh key, one signing key and its
// spare. Of several processes that start at once, one makes them.
func (i *Issuer) makeKeys(ctx context.Context) error {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // crypto/rand.Read never returns an error
	now := i.c.Now()
	k := store.Key{ID: newID(), Use: store.UseRefresh, Algorithm: "HS256", State: store.KeyActive, Number: 1, CreatedAt: now, ActivatedAt: now}
	var err error
	if k.Sealed, err = i.c.Master.Seal(refreshLabel, k.ID, secret); err != nil {
		return err
	}
	if err := i.c.DB.AddKeyIfNone(ctx, k); err != nil {
		return err
	}
	if i.c.Algorithm == "HS256" {
		return nil
	}
	keys, err := i.c.DB.Keys(ctx, store.UseSigning)
	if err != nil || len(keys) > 0 {
		return err
	}
	active, err := i.newSigningKey(store.KeyActive)
	if err != nil {
		return err
	}
	if err := i.c.DB.AddKeyIfNone(ctx, active); err != nil {
		return err
	}
	return i.Tend(ctx)
}

func (i *Issuer) newSigningKey(state string) (store.Key, error) {
	key, err := jwt.GenerateKey(i.c.Algorithm)
	if err != nil {
		return store.Key{}, err
	}
	jwk, err := key.MarshalJWK()
	if err != nil {
		return store.Key{}, err
	}
	now := i.c.Now()
	k := store.Key{ID: key.ID(), Use: store.UseSigning, Algorithm: i.c.Algorithm, State: state, CreatedAt: now}
	if state == store.KeyActive {
		k.ActivatedAt = now
	}
	k.Sealed, err = i.c.Master.Seal(signingLabel, k.ID, jwk)
	return k, err
}

// ReadKeys reads the keys anew: what another process or the operator changed
// holds from then on.
func (i *Issuer) ReadKeys(ctx context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if err := i.readRing(ctx); err != nil {
		return err
	}
	if i.c.Algorithm == "HS256" {
		key, err := jwt.SharedSecret("shared", i.c.SharedSecret)
		if err != nil {
			return err
		}
		if i.signer.Load() == nil {
			i.signer.Store(key)
			empty := []byte(`{"keys":[]}`)
			i.published.Store(&empty)
			return i.keys.Set(key.Public())
		}
		return nil
	}

	rows, err := i.c.DB.Keys(ctx, store.UseSigning)
	if err != nil {
		return err
	}
	var public []*jwt.Key
	var signer *jwt.PrivateKey
	opened := make(map[string]*jwt.PrivateKey)
	for _, row := range rows {
		if row.State == store.KeyGone {
			continue
		}
		key, ok := i.opened[row.ID]
		if !ok {
			jwk, err := i.c.Master.Unseal(signingLabel, row.ID, row.Sealed)
			if err != nil {
				return i.wrongMaster("signing key "+row.ID, err)
			}
			if key, err = jwt.ParsePrivateKey(jwk); err != nil {
				return fmt.Errorf("oauth: signing key %s: %w", row.ID, err)
			}
		}
		opened[row.ID] = key
		public = append(public, key.Public())
		if row.State == store.KeyActive {
			signer = key
		}
	}
	if signer == nil {
		return errors.New("oauth: the database holds no active signing key: restore it, or make one with durward key rotate --now")
	}
	// What was read counts as known only once it is published.
	if !maps.Equal(opened, i.opened) {
		set, err := jwt.MarshalKeySet(public)
		if err != nil {
			return err
		}
		if err := i.keys.Set(public...); err != nil {
			return err
		}
		i.published.Store(&set)
		i.opened = opened
	}
	i.signer.Store(signer)
	return nil
}

func (i *Issuer) readRing(ctx context.Context) error {
	rows, err := i.c.DB.Keys(ctx, store.UseRefresh)
	if err != nil {
		return err
	}
	rows = slices.DeleteFunc(rows, func(row store.Key) bool { return row.State == store.KeyGone })
	fresh := new(ring)
	for _, row := range rows {
		fresh.rows = append(fresh.rows, row.ID)
	}
	if old := i.ring.Load(); old != nil && slices.Equal(old.rows, fresh.rows) {
		return nil
	}
	for _, row := range rows {
		secret, err := i.c.Master.Unseal(refreshLabel, row.ID, row.Sealed)
		if err != nil {
			return i.wrongMaster("refresh key "+row.ID, err)
		}
		// The epoch is mixed in, so that a restored database honours no token of
		// the time that it forgot.
		mixed := hmac.New(sha256.New, secret)
		mixed.Write([]byte("epoch " + i.c.DB.Epoch()))
		fresh.keys = append(fresh.keys, refreshKey{number: row.Number, secret: mixed.Sum(nil)})
	}
	if len(fresh.keys) == 0 {
		return errors.New("oauth: the database holds no refresh key")
	}
	i.ring.Store(fresh)
	return nil
}

// wrongMaster says what to do when a key does not open.
func (i *Issuer) wrongMaster(what string, err error) error {
	if errors.Is(err, seal.ErrWrongKey) {
		return fmt.Errorf("oauth: %s in the database was sealed with another master key than %s: put the right key file back, or restore database and key file of the same server: %w", what, i.c.Master.KeyID(), err)
	}
	return fmt.Errorf("oauth: %s: %w", what, err)
}

// JWKS is the public keys as served (RFC 7517 s5).
func (i *Issuer) JWKS() []byte { return *i.published.Load() }

// Rotate makes a new pending key. The oldest pending one takes over as soon as
// every verifier can know it, or at once with now.
func (i *Issuer) Rotate(ctx context.Context, now bool) error {
	if i.c.Algorithm == "HS256" {
		return errors.New("oauth: with tokens.algorithm HS256 the one key is tokens.shared_secret: change it there and restart")
	}
	spare, err := i.newSigningKey(store.KeyPending)
	if err != nil {
		return err
	}
	if err := i.c.DB.AddKey(ctx, spare, i.keyEvent(store.EventKeyCreated, spare.ID, "pending")); err != nil {
		return err
	}
	if now {
		if err := i.promote(ctx, 0); err != nil {
			return err
		}
	}
	return i.ReadKeys(ctx)
}

// Tend moves the keys along: promotes what is due, retires what has been
// promoted over, forgets what verifies nothing any more, and keeps a spare.
func (i *Issuer) Tend(ctx context.Context) error {
	if i.c.Algorithm == "HS256" {
		return nil
	}
	rows, err := i.c.DB.Keys(ctx, store.UseSigning)
	if err != nil {
		return err
	}
	now := i.c.Now()
	pending, due := 0, false
	for _, row := range rows {
		switch row.State {
		case store.KeyPending:
			pending++
		case store.KeyActive:
			due = now.Sub(row.ActivatedAt) >= signingLife
		case store.KeyRetiring:
			if now.Sub(row.RetiredAt) > verifyAfter {
				if err := i.c.DB.ForgetKey(ctx, row.ID, i.keyEvent(store.EventKeyState, row.ID, store.KeyGone)); err != nil {
					return err
				}
			}
		}
	}
	// The spare's successor first, so that there always is a spare.
	if pending == 0 || due && pending == 1 {
		spare, err := i.newSigningKey(store.KeyPending)
		if err != nil {
			return err
		}
		if err := i.c.DB.AddKey(ctx, spare, i.keyEvent(store.EventKeyCreated, spare.ID, "pending")); err != nil {
			return err
		}
	}
	if pending > 1 || due && pending > 0 {
		return i.promote(ctx, publishBefore)
	}
	return nil
}

// promote makes the oldest key that has been pending for at least published the
// active one. Where none has, nothing changes.
func (i *Issuer) promote(ctx context.Context, published time.Duration) error {
	rows, err := i.c.DB.Keys(ctx, store.UseSigning)
	if err != nil {
		return err
	}
	now := i.c.Now()
	var next, active string
	var oldest time.Time
	for _, row := range rows {
		switch row.State {
		case store.KeyPending:
			if now.Sub(row.CreatedAt) >= published && (next == "" || row.CreatedAt.Before(oldest)) {
				next, oldest = row.ID, row.CreatedAt
			}
		case store.KeyActive:
			active = row.ID
		}
	}
	if next == "" {
		return nil
	}
	return i.c.DB.PromoteKey(ctx, next, active, now, i.keyEvent(store.EventKeyState, next, store.KeyActive))
}

func (i *Issuer) keyEvent(kind, keyID, state string) store.Event {
	return store.Event{ID: newID(), Kind: kind, At: i.c.Now(), Outcome: state, Detail: "key " + keyID}
}

// Run keeps the keys as the database has them and moves them along, and tells
// the database that this node is up, until ctx ends.
func (i *Issuer) Run(ctx context.Context) {
	beat := time.NewTicker(time.Second)
	defer beat.Stop()
	failing := false
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
		}
		var err error
		if n%60 == 0 {
			err = errors.Join(i.Tend(ctx), i.c.DB.PurgeRevocations(ctx), i.c.DB.PurgeSessions(ctx, i.c.Now().Add(-sessionsKept)))
		}
		if n%5 == 0 {
			err = errors.Join(err, i.c.DB.Beat(ctx, i.c.Now()))
		}
		err = errors.Join(err, i.ReadKeys(ctx))
		if (err != nil) != failing && ctx.Err() == nil {
			failing = err != nil
			if failing {
				i.c.Log.Error("signing keys cannot be followed", "error", err)
			} else {
				i.c.Log.Info("signing keys are followed again")
			}
		}
	}
}
