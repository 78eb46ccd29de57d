package issuer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/store"
)

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

// Retire retires a signing key without revoking tokens. An active key signs until its successor was
// published for long enough, and then verifies its tokens until they end. A spare key is deleted.
//
// With now, Retire withdraws a stolen key at once: its tokens are revoked, the spare becomes active
// and a new spare is made. Refresh tokens are not signed with the key, so users stay signed in.
//
// If the key cannot be retired, Retire returns a [durward.Refusal] with the reason.
func (i *Issuer) Retire(ctx context.Context, keyID string, now bool) (Retired, error) {
	// Another process may change the keys between reading and writing.
	for range 5 {
		r, err := i.retire(ctx, keyID, now)
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

func (i *Issuer) retire(ctx context.Context, keyID string, now bool) (Retired, error) {
	cannot := func(detail, hint string) (Retired, error) {
		return Retired{}, &durward.Refusal{Code: durward.InvalidRequest, Detail: detail, Hint: hint}
	}
	if i.c.Algorithm == "HS256" {
		return cannot("With tokens.algorithm HS256 the only key is tokens.shared_secret.",
			"Change it in the configuration and restart: older access tokens are refused then, and clients refresh.")
	}
	keys, err := i.signingKeys(ctx, keyID)
	if err != nil {
		return Retired{}, err
	}
	key, spares := keys.named, keys.spares
	r := Retired{Key: key, State: store.KeyGone, Revoked: now, Signs: keys.active}
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
		return cannot(fmt.Sprintf("There is no signing key %q.", keyID), "List the keys with durward key list.")
	case key.State == store.KeyGone:
		return cannot(fmt.Sprintf("The key %s is gone already: its tokens are refused.",
			keyID), "List the keys with durward key list.")
	case key.State == store.KeyRetiring && !now:
		return cannot(fmt.Sprintf("The key %s is retiring already and is gone after %s, when its last token has ended.",
			keyID, key.RetiredAt.Add(verifyAfter).Format(time.RFC3339)),
			"With --now its tokens are revoked at once.")
	case key.State == store.KeyPending && !now && len(spares) == 1:
		return cannot(fmt.Sprintf("The key %s is the only spare: without it, other servers would not know the next key in time.",
			keyID),
			"Make another spare first with durward key rotate, or replace this one at once with --now.")
	case key.State == store.KeyActive && !now:
		return i.retireInOrder(ctx, r, spares)
	case key.State == store.KeyActive && len(spares) > 0:
		r.Signs = spares[0]
		g.Next = r.Signs.ID
		events = append(events, i.keyEvent(store.EventKeyState, r.Signs.ID, store.KeyActive))
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
func (i *Issuer) retireInOrder(ctx context.Context, r Retired, spares []store.Key) (Retired, error) {
	for len(spares) < 2 {
		spare, err := i.addSpare(ctx)
		if err != nil {
			return Retired{}, err
		}
		spares = append(spares, spare)
	}
	if err := i.promote(ctx, publishBefore); err != nil {
		return Retired{}, err
	}
	keys, err := i.signingKeys(ctx, r.Key.ID)
	if err != nil {
		return Retired{}, err
	}
	r.State, r.Signs = keys.named.State, keys.active
	if r.State == store.KeyActive { // RotateDue promotes the successor later
		r.Next, r.Takes = spares[0], spares[0].CreatedAt.Add(publishBefore)
	}
	return r, nil
}
