package issuer

import (
	"cmp"
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
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

// The life of a signing key: pending (published, so that every verifier knows it before it signs) →
// active → retiring (verifies until its last token has ended) → gone. One spare is always pending.
const (
	publishBefore = time.Hour + time.Minute // verifiers cache the key set for up to an hour
	signingLife   = 90 * 24 * time.Hour     // then the spare becomes active

	// A key may have signed a token of the operator with the longest life just before it retired.
	verifyAfter = longestLife + maxLeeway + clockMargin
)

// makeKeys makes the missing keys of a new database or a new epoch: one refresh key, one signing key
// and its spare. If several processes start at once, one of them makes the keys.
func (i *Issuer) makeKeys(ctx context.Context) error {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // crypto/rand.Read never returns an error
	now := i.c.Now()
	k := store.Key{ID: store.NewID(), Use: store.UseRefresh, Algorithm: "HS256", State: store.KeyActive, Number: 1, CreatedAt: now, ActivatedAt: now}
	var err error
	if k.Sealed, err = i.c.Master.Seal(sealLabel(k), k.ID, secret); err != nil {
		return err
	}
	if err := i.c.DB.AddKeyIfNone(ctx, k); err != nil {
		return err
	}
	// If another process with another master key was first, add no keys to its own.
	if err := i.readRing(ctx); err != nil {
		return err
	}
	if i.c.Algorithm == "HS256" {
		return nil
	}
	keys, err := liveKeys(ctx, i.c.DB, store.UseSigning)
	if err != nil || len(keys) > 0 {
		return err
	}
	active, err := i.newKey(store.UseSigning, store.KeyActive)
	if err != nil {
		return err
	}
	if err := i.c.DB.AddKeyIfNone(ctx, active); err != nil {
		return err
	}
	return i.RotateDue(ctx)
}

// newKey generates a signing key for a use and seals it.
func (i *Issuer) newKey(use, state string) (store.Key, error) {
	algorithm := i.c.Algorithm
	if use == store.UseIDToken {
		algorithm = RS256
	}
	key, err := jwt.GenerateKey(algorithm)
	// At the command line an id with a leading dash would be a flag.
	for err == nil && strings.HasPrefix(key.ID(), "-") {
		key, err = jwt.GenerateKey(algorithm)
	}
	if err != nil {
		return store.Key{}, err
	}
	jwk, err := key.MarshalJWK()
	if err != nil {
		return store.Key{}, err
	}
	now := i.c.Now()
	k := store.Key{ID: key.ID(), Use: use, Algorithm: algorithm, State: state, CreatedAt: now}
	if state == store.KeyActive {
		k.ActivatedAt = now
	}
	k.Sealed, err = i.c.Master.Seal(sealLabel(k), k.ID, jwk)
	return k, err
}

// addSpare adds a pending signing key for a use.
func (i *Issuer) addSpare(ctx context.Context, use string, by request.Info) (store.Key, error) {
	spare, err := i.newKey(use, store.KeyPending)
	if err != nil {
		return store.Key{}, err
	}
	return spare, i.c.DB.AddKey(ctx, spare, keyEvent(by, store.EventKeyCreated, spare.ID, store.KeyPending, i.c.Now()))
}

// ReadKeys reads the keys from the database, so that changes by other processes take effect.
func (i *Issuer) ReadKeys(ctx context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if err := i.readRing(ctx); err != nil {
		return err
	}
	var rows []store.Key
	for _, use := range signingUses {
		if use == store.UseSigning && i.c.Algorithm == "HS256" {
			continue
		}
		keys, err := liveKeys(ctx, i.c.DB, use)
		if err != nil {
			return err
		}
		rows = append(rows, keys...)
	}
	var published, public []*jwt.Key
	signers := make(map[string]*jwt.PrivateKey) // active keys by use
	opened := make(map[string]*jwt.PrivateKey)
	if i.c.Algorithm == "HS256" {
		shared := i.signer.Load()
		signers[store.UseSigning], public = shared, []*jwt.Key{shared.Public()}
	}
	for _, row := range rows {
		key, ok := i.opened[row.ID]
		if !ok {
			jwk, err := unseal(i.c.Master, row)
			if err != nil {
				return err
			}
			if key, err = jwt.ParsePrivateKey(jwk); err != nil {
				return fmt.Errorf("issuer: %s key %s: %w", row.Use, row.ID, err)
			}
		}
		opened[row.ID] = key
		published = append(published, key.Public())
		if row.Use == store.UseSigning { // a key of ID tokens verifies no access token
			public = append(public, key.Public())
		}
		if row.State == store.KeyActive {
			signers[row.Use] = key
		}
	}
	signer := signers[store.UseSigning]
	if signer == nil {
		return errors.New("issuer: the database has no active signing key; restore it, or make a key with durward key rotate --now")
	}
	// opened changes only after the keys were published, so that a failed attempt is repeated.
	if !maps.Equal(opened, i.opened) {
		set, err := jwt.MarshalKeySet(published)
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
	i.idSigner.Store(signers[store.UseIDToken])
	return nil
}

// JWKS returns the public keys as a JWK set (RFC 7517 s5).
func (i *Issuer) JWKS() []byte { return *i.published.Load() }

// Publishes reports whether JWKS has keys. A shared secret is never in it.
func (i *Issuer) Publishes() bool { return i.c.Algorithm != "HS256" }

// Rotate makes a new pending key for a use, UseSigning if it is empty. The oldest pending key becomes active as
// soon as every verifier can know it, or at once with now.
//
// With a shared secret, for another use, and for a use without a key, Rotate returns a [durward.Refusal].
func (i *Issuer) Rotate(ctx context.Context, use string, now bool, by request.Info) error {
	use = cmp.Or(use, store.UseSigning)
	switch keys, err := i.signingKeys(ctx, use, ""); {
	case err != nil:
		return err
	case !slices.Contains(signingUses, use):
		return &durward.Refusal{
			Code:   durward.InvalidRequest,
			Detail: fmt.Sprintf("Keys have no use %q.", use),
			Hint:   "The uses are " + strings.Join(signingUses, " and ") + ".",
		}
	case use == store.UseSigning && i.c.Algorithm == "HS256":
		return errShared
	case use == store.UseIDToken && keys.active.ID == "":
		return &durward.Refusal{
			Code:   durward.InvalidRequest,
			Detail: "There is no key for ID tokens yet.",
			Hint:   "It is made for the first client with id_token_alg RS256.",
		}
	}
	if _, err := i.addSpare(ctx, use, by); err != nil {
		return err
	}
	if now {
		if err := i.promote(ctx, use, 0, by); err != nil {
			return err
		}
	}
	return i.ReadKeys(ctx)
}

// errShared refuses changes of signing keys that do not exist.
var errShared = &durward.Refusal{
	Code:   durward.InvalidRequest,
	Detail: "With tokens.algorithm HS256 the only key is tokens.shared_secret.",
	Hint:   "Change it in the configuration and restart: older access tokens are refused then, and clients refresh.",
	Err:    errors.New("issuer: the only key is tokens.shared_secret"),
}

// RotateDue replaces the active key of each use at the end of its life, deletes the secrets of retired keys that no
// token needs, and makes a spare if there is none. A use without keys gets none.
func (i *Issuer) RotateDue(ctx context.Context) error {
	for _, use := range signingUses {
		if err := i.rotateDue(ctx, use); err != nil {
			return err
		}
	}
	return nil
}

func (i *Issuer) rotateDue(ctx context.Context, use string) error {
	keys, err := i.signingKeys(ctx, use, "")
	if err != nil || use == store.UseSigning && i.c.Algorithm == "HS256" || use == store.UseIDToken && keys.active.ID == "" {
		return err
	}
	now := i.c.DB.TokenTime() // a clock that is ahead for a while retires no key
	for _, k := range keys.retiring {
		if now.Sub(k.RetiredAt) > verifyAfter {
			if err := i.c.DB.ForgetKey(ctx, k.ID, keyEvent(request.Info{}, store.EventKeyState, k.ID, store.KeyGone, i.c.Now())); err != nil {
				return err
			}
		}
	}
	pending, due := len(keys.spares), keys.active.ID != "" && now.Sub(keys.active.ActivatedAt) >= signingLife
	// The new spare is added before the old one becomes active, so that there is always one.
	if pending == 0 || due && pending == 1 {
		if _, err := i.addSpare(ctx, use, request.Info{}); err != nil {
			return err
		}
	}
	if pending > 1 || due && pending > 0 {
		return i.promote(ctx, use, publishBefore, request.Info{})
	}
	return nil
}

// promote makes the oldest key of a use that was pending for at least published the active key. If there is
// none, it changes nothing.
func (i *Issuer) promote(ctx context.Context, use string, published time.Duration, by request.Info) error {
	keys, err := i.signingKeys(ctx, use, "")
	if err != nil {
		return err
	}
	known := i.c.DB.TokenTime().Add(-published)
	oldest := slices.IndexFunc(keys.spares, func(k store.Key) bool { return published == 0 || !k.CreatedAt.After(known) })
	if oldest < 0 {
		return nil
	}
	next := keys.spares[oldest].ID
	at := i.c.Now()
	err = i.c.DB.PromoteKey(ctx, next, keys.active.ID, at, keyEvent(by, store.EventKeyState, next, store.KeyActive, at))
	if errors.Is(err, store.ErrChanged) {
		return nil // another process was first
	}
	return err
}

// verifyingKeys looks up the keys that verify tokens. For a withdrawn key it returns TokenRevoked
// instead of InvalidToken.
type verifyingKeys struct{ i *Issuer }

func (k verifyingKeys) Key(ctx context.Context, keyID, alg string) (*jwt.Key, error) {
	key, err := k.i.keys.Key(ctx, keyID, alg)
	if err != nil && k.i.c.Revoked.Revoked(revoked.SigningKey, keyID) {
		return nil, fmt.Errorf("signing key %q was withdrawn: %w", keyID, durward.TokenRevoked)
	}
	return key, err
}

// signing returns the active key. If the key was withdrawn since the keys were read, it reads them
// again, because tokens of a withdrawn key are refused.
func (i *Issuer) signing() (*jwt.PrivateKey, error) {
	key := i.signer.Load()
	if !i.c.Revoked.Revoked(revoked.SigningKey, key.ID()) {
		return key, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := i.ReadKeys(ctx); err != nil {
		return nil, err
	}
	if key = i.signer.Load(); i.c.Revoked.Revoked(revoked.SigningKey, key.ID()) {
		return nil, fmt.Errorf("issuer: signing key %s was withdrawn, and there is no other active key yet", key.ID())
	}
	return key, nil
}

// keyEvent returns the event of a change of a key: by an administrator or the operator, or by the server
// itself if by is empty.
func keyEvent(by request.Info, kind, keyID, state string, at time.Time) store.Event {
	e := store.Event{ID: store.NewID(), Kind: kind, At: at, Actor: by.Actor, Network: by.Network(), Outcome: state, Detail: "key " + keyID}
	if by.UserAgent != "" {
		e.Device = by.Device()
	}
	return e
}

// KeyView is a signing key without its secret, as JSON.
type KeyView struct {
	ID          string    `json:"kid"`
	Use         string    `json:"use"` // store.UseSigning or store.UseIDToken
	Algorithm   string    `json:"alg"`
	State       string    `json:"state"`
	CreatedAt   time.Time `json:"created_at"`
	ActivatedAt time.Time `json:"activated_at,omitzero"`
	RetiredAt   time.Time `json:"retired_at,omitzero"`
}

// KeyViewOf returns a signing key as JSON.
func KeyViewOf(k store.Key) KeyView {
	return KeyView{k.ID, k.Use, k.Algorithm, k.State, k.CreatedAt, k.ActivatedAt, k.RetiredAt}
}

// SigningKeys returns the signing keys of db of all uses, oldest first in each use. Keys that sign nothing but ID
// tokens come last.
func SigningKeys(ctx context.Context, db *store.DB) (keys []store.Key, err error) {
	for _, use := range signingUses {
		more, err := db.Keys(ctx, use)
		if err != nil {
			return nil, err
		}
		keys = append(keys, more...)
	}
	return keys, nil
}

// NextChange returns when the pending key takes over from an active key, if no administrator changes keys.
func NextChange(active store.Key) time.Time { return active.ActivatedAt.Add(signingLife) }

// Retired is the result of Retire.
type Retired struct {
	Key     store.Key // before Retire
	State   string    // after Retire; KeyActive while the key waits for its successor
	Revoked bool      // its tokens are revoked
	Signs   store.Key // the active key
	Known   bool      // Signs was published for long enough that all verifiers can know it
	Next    store.Key // the successor, if Key is still active
	Takes   time.Time // the earliest time at which Next becomes active
}

// RetiredView is a Retired as JSON.
type RetiredView struct {
	ID      string    `json:"kid"`
	State   string    `json:"state"`
	Revoked bool      `json:"revoked"`          // the tokens that the key signed
	Signs   string    `json:"signs"`            // kid of the active key
	Since   time.Time `json:"signs_published"`  // when the active key entered the key set
	Known   bool      `json:"signs_known"`      // to every verifier that reads the key set once an hour
	Next    string    `json:"next,omitzero"`    // kid of the successor
	Takes   time.Time `json:"next_at,omitzero"` // it becomes active then or later
}

// View returns r as JSON.
func (r Retired) View() RetiredView {
	return RetiredView{r.Key.ID, r.State, r.Revoked, r.Signs.ID, r.Signs.CreatedAt, r.Known, r.Next.ID, r.Takes}
}

// Retire retires a signing key without revoking tokens. An active key signs until its successor was
// published for long enough, and then verifies its tokens until they end. A spare key is deleted.
//
// With now, Retire withdraws a stolen key at once: its tokens are revoked, the spare becomes active
// and a new spare is made. Refresh tokens are not signed with the key, so users stay signed in.
//
// If the key cannot be retired, Retire returns a [durward.Refusal] with the reason.
func (i *Issuer) Retire(ctx context.Context, keyID string, now bool, by request.Info) (Retired, error) {
	// Another process may change the keys between reading and writing.
	for range 5 {
		r, err := i.retire(ctx, keyID, now, by)
		if errors.Is(err, store.ErrChanged) {
			continue
		}
		if err != nil {
			return Retired{}, err
		}
		r.Known = i.c.Now().Sub(r.Signs.CreatedAt) >= publishBefore
		return r, i.ReadKeys(ctx)
	}
	return Retired{}, errors.New("issuer: other processes changed the signing keys at the same time; try again")
}

func (i *Issuer) retire(ctx context.Context, keyID string, now bool, by request.Info) (Retired, error) {
	refuse := func(code durward.Code, detail, hint string) (Retired, error) {
		return Retired{}, &durward.Refusal{Code: code, Detail: detail, Hint: hint}
	}
	cannot := func(detail, hint string) (Retired, error) { return refuse(durward.InvalidRequest, detail, hint) }
	keys, err := i.signingKeys(ctx, store.UseIDToken, keyID)
	if err == nil && keys.named.ID == "" {
		keys, err = i.signingKeys(ctx, store.UseSigning, keyID)
	}
	if err != nil {
		return Retired{}, err
	}
	key, spares := keys.named, keys.spares
	if key.Use != store.UseIDToken && i.c.Algorithm == "HS256" {
		return Retired{}, errShared
	}
	r := Retired{Key: key, State: store.KeyGone, Revoked: now, Signs: keys.active}
	g := store.GivenUp{ID: key.ID, State: key.State, At: i.c.Now()}
	event := keyEvent(by, store.EventKeyState, key.ID, store.KeyGone, g.At)
	if now {
		g.Until = g.At.Add(verifyAfter)
		event.Kind = store.EventKeyWithdrawn
	}
	events := []store.Event{event}
	add := func(state string) (store.Key, error) {
		k, err := i.newKey(key.Use, state)
		if err == nil {
			g.Add = append(g.Add, k)
			events = append(events, keyEvent(by, store.EventKeyCreated, k.ID, state, g.At))
		}
		return k, err
	}

	switch {
	case key.ID == "":
		return refuse(durward.NotFound, fmt.Sprintf("There is no signing key %q.", keyID), "durward key list and GET /api/admin/signing-keys list the keys.")
	case key.State == store.KeyGone:
		return cannot(fmt.Sprintf("The key %s is gone already: its tokens are refused.",
			keyID), "durward key list and GET /api/admin/signing-keys list the keys.")
	case key.State == store.KeyRetiring && !now:
		return cannot(fmt.Sprintf("The key %s is retiring already and is gone after %s, when its last token has ended.",
			keyID, key.RetiredAt.Add(verifyAfter).Format(time.RFC3339)),
			"With now its tokens are revoked at once.")
	case key.State == store.KeyPending && !now && len(spares) == 1:
		return cannot(fmt.Sprintf("The key %s is the only spare: without it, other servers would not know the next key in time.",
			keyID),
			"Make another spare first by a rotation, or replace this one at once with now.")
	case key.State == store.KeyActive && !now:
		return i.retireInOrder(ctx, r, spares, by)
	case key.State == store.KeyActive && len(spares) > 0:
		r.Signs = spares[0]
		g.Next = r.Signs.ID
		events = append(events, keyEvent(by, store.EventKeyState, r.Signs.ID, store.KeyActive, g.At))
		spares = spares[1:]
	case key.State == store.KeyActive: // the spare was deleted from the database
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
	i.c.Revoked.Announce(revoked...)
	return r, nil
}

// retireInOrder makes a spare the active key as soon as every verifier can know it, and makes a further
// spare.
func (i *Issuer) retireInOrder(ctx context.Context, r Retired, spares []store.Key, by request.Info) (Retired, error) {
	for len(spares) < 2 {
		spare, err := i.addSpare(ctx, r.Key.Use, by)
		if err != nil {
			return Retired{}, err
		}
		spares = append(spares, spare)
	}
	if err := i.promote(ctx, r.Key.Use, publishBefore, by); err != nil {
		return Retired{}, err
	}
	keys, err := i.signingKeys(ctx, r.Key.Use, r.Key.ID)
	if err != nil {
		return Retired{}, err
	}
	r.State, r.Signs = keys.named.State, keys.active
	if r.State == store.KeyActive { // RotateDue promotes the successor later
		r.Next, r.Takes = spares[0], spares[0].CreatedAt.Add(publishBefore)
	}
	return r, nil
}
