package issuer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/revoked"
	"github.com/durward-auth/durward/jwt"
	"github.com/durward-auth/durward/server/internal/revocation"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
)

// Life of a signing key: pending (published, so that every verifier knows it
// before it signs) → active → retiring (verifies until its last token has ended)
// → gone. One spare is always pending.
const (
	publishBefore = time.Hour + time.Minute // a key is in every node's key set for a full cache time before it signs
	signingLife   = 90 * 24 * time.Hour     // then the spare takes over

	// Any key may have signed a token of the operator's in its last moment.
	verifyAfter = longestLife + maxLeeway + clockMargin
)

const (
	signingLabel = "signing key"
	refreshLabel = "refresh key"
)

// makeKeys fills an empty database, or one whose keys ended with its epoch: one
// refresh key, one signing key and its spare. Of several processes that start at once, one makes them.
func (i *Issuer) makeKeys(ctx context.Context) error {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // crypto/rand.Read never returns an error
	now := i.c.Now()
	k := store.Key{ID: store.NewID(), Use: store.UseRefresh, Algorithm: "HS256", State: store.KeyActive, Number: 1, CreatedAt: now, ActivatedAt: now}
	var err error
	if k.Sealed, err = i.c.Master.Seal(refreshLabel, k.ID, secret); err != nil {
		return err
	}
	if err := i.c.DB.AddKeyIfNone(ctx, k); err != nil {
		return err
	}
	// Where another's with another master key came first, nothing is put beside it.
	if err := i.readRing(ctx); err != nil {
		return err
	}
	if i.c.Algorithm == "HS256" {
		return nil
	}
	keys, err := i.c.DB.Keys(ctx, store.UseSigning)
	if err != nil || slices.ContainsFunc(keys, func(k store.Key) bool { return k.State != store.KeyGone }) {
		return err
	}
	active, err := i.newSigningKey(store.KeyActive)
	if err != nil {
		return err
	}
	if err := i.c.DB.AddKeyIfNone(ctx, active); err != nil {
		return err
	}
	return i.RotateDue(ctx)
}

func (i *Issuer) newSigningKey(state string) (store.Key, error) {
	key, err := jwt.GenerateKey(i.c.Algorithm)
	// Its name is typed at the command line, where one that begins with a dash is a flag.
	for err == nil && strings.HasPrefix(key.ID(), "-") {
		key, err = jwt.GenerateKey(i.c.Algorithm)
	}
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
				return wrongMaster(i.c.Master, "signing key "+row.ID, err)
			}
			if key, err = jwt.ParsePrivateKey(jwk); err != nil {
				return fmt.Errorf("issuer: signing key %s: %w", row.ID, err)
			}
		}
		opened[row.ID] = key
		public = append(public, key.Public())
		if row.State == store.KeyActive {
			signer = key
		}
	}
	if signer == nil {
		return errors.New("issuer: the database holds no active signing key: restore it, or make one with durward key rotate --now")
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

// wrongMaster says what to do when a key does not open.
func wrongMaster(master *seal.Master, what string, err error) error {
	if errors.Is(err, seal.ErrWrongKey) {
		return fmt.Errorf("issuer: %s in the database was sealed with another master key than %s: put the right key file back, or restore database and key file of the same server: %w", what, master.KeyID(), err)
	}
	return fmt.Errorf("issuer: %s: %w", what, err)
}

// JWKS is the public keys as served (RFC 7517 s5).
func (i *Issuer) JWKS() []byte { return *i.published.Load() }

// Rotate makes a new pending key. The oldest pending one takes over as soon as
// every verifier can know it, or at once with now.
func (i *Issuer) Rotate(ctx context.Context, now bool) error {
	if i.c.Algorithm == "HS256" {
		return errors.New("issuer: with tokens.algorithm HS256 the one key is tokens.shared_secret: change it there and restart")
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

// RotateDue moves the keys along: promotes what is due, retires what has been
// promoted over, forgets what verifies nothing any more, and keeps a spare.
func (i *Issuer) RotateDue(ctx context.Context) error {
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
	err = i.c.DB.PromoteKey(ctx, next, active, now, i.keyEvent(store.EventKeyState, next, store.KeyActive))
	if errors.Is(err, store.ErrChanged) {
		return nil // somebody else was first
	}
	return err
}

// Retired is what became of a signing key that was to be retired.
type Retired struct {
	Key     store.Key // as it was found
	State   string    // as it is now; KeyActive while it waits for its successor
	Revoked bool      // all that it signed is dead
	Signs   store.Key // what signs now
	Next    store.Key // where Key is still active: what will take over
	Takes   time.Time // and when, at the earliest
}

// PublishedFor reports since when verifiers elsewhere can know the key that signs
// now, and whether that is long enough for all of them to know it.
func (r Retired) PublishedFor(now time.Time) (time.Duration, bool) {
	d := now.Sub(r.Signs.CreatedAt)
	return d, d >= publishBefore
}

// Retire retires a signing key in order: an active one signs until its successor
// has been published for long enough and then verifies what it signed, a spare
// that never signed is given up. No token dies of it.
//
// With now the key is given up at once, as one that was stolen: all that it signed
// is dead, the spare signs, and a new spare is made. Refresh tokens are not signed
// with it, so that nobody signs in again.
//
// What cannot be done is refused with a [durward.Refusal] that says why.
func (i *Issuer) Retire(ctx context.Context, keyID string, now bool) (Retired, error) {
	// Another process may change the keys between reading and writing.
	for range retireRounds {
		r, err := i.retire(ctx, keyID, now)
		if errors.Is(err, store.ErrChanged) {
			continue
		}
		if err != nil {
			return Retired{}, err
		}
		return r, i.ReadKeys(ctx)
	}
	return Retired{}, errors.New("issuer: the signing keys changed faster than they could be read")
}

const retireRounds = 5

func (i *Issuer) retire(ctx context.Context, keyID string, now bool) (Retired, error) {
	cannot := func(detail, hint string) (Retired, error) {
		return Retired{}, &durward.Refusal{Code: durward.InvalidRequest, Detail: detail, Hint: hint}
	}
	if i.c.Algorithm == "HS256" {
		return cannot("With tokens.algorithm HS256 the one key is tokens.shared_secret.", "Change it there and restart: every access token of before is refused then, and clients refresh.")
	}
	rows, err := i.c.DB.Keys(ctx, store.UseSigning)
	if err != nil {
		return Retired{}, err
	}
	var key, active store.Key
	var spares []store.Key // oldest first
	for _, row := range rows {
		if row.ID == keyID {
			key = row
		}
		switch row.State {
		case store.KeyActive:
			active = row
		case store.KeyPending:
			spares = append(spares, row)
		}
	}
	r := Retired{Key: key, State: store.KeyGone, Revoked: now, Signs: active}
	g := store.GivenUp{ID: key.ID, State: key.State, At: i.c.Now()}
	event := i.keyEvent(store.EventKeyState, key.ID, store.KeyGone)
	if now {
		g.Until = g.At.Add(verifyAfter)
		event.Kind = store.EventKeyWithdrawn
	}
	event.Actor = "operator"
	events := []store.Event{event}
	add := func(state string) (store.Key, error) {
		k, err := i.newSigningKey(state)
		if err == nil {
			g.Add = append(g.Add, k)
			events = append(events, i.keyEvent(store.EventKeyCreated, k.ID, state))
		}
		return k, err
	}

	switch {
	case key.ID == "":
		return cannot(fmt.Sprintf("There is no signing key %q.", keyID), "durward key list shows what there is.")
	case key.State == store.KeyGone:
		return cannot(fmt.Sprintf("The key %s is gone already: nothing that it signed is taken.", keyID), "durward key list shows what there is.")
	case key.State == store.KeyRetiring && !now:
		return cannot(fmt.Sprintf("The key %s is retiring already and is gone after %s, when the last token that it can have signed has ended.", keyID, key.RetiredAt.Add(verifyAfter).Format(time.RFC3339)),
			"With --now all that it signed is dead at once.")
	case key.State == store.KeyPending && !now && len(spares) == 1:
		return cannot(fmt.Sprintf("The key %s is the only spare: without it the next key would be one that verifiers elsewhere do not know.", keyID),
			"durward key rotate makes another spare first; with --now this one is gone at once and a new one is made.")
	case key.State == store.KeyActive && !now:
		return i.retireInOrder(ctx, r, spares)
	case key.State == store.KeyActive && len(spares) > 0:
		r.Signs = spares[0]
		g.Next = r.Signs.ID
		events = append(events, i.keyEvent(store.EventKeyState, r.Signs.ID, store.KeyActive))
		spares = spares[1:]
	case key.State == store.KeyActive: // somebody took the spare out of the database
		if r.Signs, err = add(store.KeyActive); err != nil {
			return Retired{}, err
		}
	case key.State == store.KeyPending:
		spares = slices.DeleteFunc(spares, func(k store.Key) bool { return k.ID == keyID })
	}
	if len(spares) == 0 {
		if _, err := add(store.KeyPending); err != nil {
			return Retired{}, err
		}
	}
	revoked, err := i.c.DB.GiveUpKey(ctx, g, events...)
	if err != nil {
		return Retired{}, err
	}
	revocation.Publish(i.c.Revoked, revoked)
	return r, nil
}

// retireInOrder has a spare take over from the active key as soon as every
// verifier can know it, and sees that there is a spare after that.
func (i *Issuer) retireInOrder(ctx context.Context, r Retired, spares []store.Key) (Retired, error) {
	for len(spares) < 2 {
		spare, err := i.newSigningKey(store.KeyPending)
		if err != nil {
			return Retired{}, err
		}
		if err := i.c.DB.AddKey(ctx, spare, i.keyEvent(store.EventKeyCreated, spare.ID, store.KeyPending)); err != nil {
			return Retired{}, err
		}
		spares = append(spares, spare)
	}
	if err := i.promote(ctx, publishBefore); err != nil {
		return Retired{}, err
	}
	rows, err := i.c.DB.Keys(ctx, store.UseSigning)
	if err != nil {
		return Retired{}, err
	}
	for _, row := range rows {
		if row.ID == r.Key.ID {
			r.State = row.State
		}
		if row.State == store.KeyActive {
			r.Signs = row
		}
	}
	if r.State == store.KeyActive { // RotateDue goes on from here
		r.Next, r.Takes = spares[0], spares[0].CreatedAt.Add(publishBefore)
	}
	return r, nil
}

// verifyingKeys is the keys that tokens are verified with. A key that was withdrawn
// is in it no more, but is told from one that never was, so that its tokens are
// refused as what they are.
type verifyingKeys struct{ i *Issuer }

func (k verifyingKeys) Key(ctx context.Context, keyID string) (*jwt.Key, error) {
	key, err := k.i.keys.Key(ctx, keyID)
	if err != nil && k.i.c.Revoked.Revoked(revoked.SigningKey, keyID) {
		return nil, fmt.Errorf("signing key %q was withdrawn: %w", keyID, durward.TokenRevoked)
	}
	return key, err
}

// signing returns the key that signs. One that was withdrawn a moment ago signs no
// more, though the keys have not been read anew since: its tokens would be dead
// when they arrive.
func (i *Issuer) signing() (*jwt.PrivateKey, error) {
	key := i.signer.Load()
	if !i.c.Revoked.Revoked(revoked.SigningKey, key.ID()) {
		return key, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), readKeysTime)
	defer cancel()
	if err := i.ReadKeys(ctx); err != nil {
		return nil, err
	}
	if key = i.signer.Load(); i.c.Revoked.Revoked(revoked.SigningKey, key.ID()) {
		return nil, fmt.Errorf("issuer: signing key %s was withdrawn, and no other signs yet", key.ID())
	}
	return key, nil
}

// readKeysTime bounds a reading of the keys that a request waits for.
const readKeysTime = 5 * time.Second

func (i *Issuer) keyEvent(kind, keyID, state string) store.Event {
	return store.Event{ID: store.NewID(), Kind: kind, At: i.c.Now(), Outcome: state, Detail: "key " + keyID}
}
