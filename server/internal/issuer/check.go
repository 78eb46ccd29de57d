package issuer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
)

// NewEpoch returns the epoch that begins after the database lost part of its history. Revocations in
// that part are lost, so sessions, API keys and signing keys end: a revoked one among them must not
// become valid again. With keep nothing ends.
func NewEpoch(keep bool, now time.Time) store.NewEpoch {
	return store.NewEpoch{
		KeepSessions: keep, At: now, Until: now.Add(verifyAfter),
		Event: store.Event{ID: store.NewID(), Kind: store.EventEpochBegun, At: now, Actor: "operator", Outcome: "ok"},
	}
}

// Opens returns an error if master does not open the keys in a database. It changes nothing.
func Opens(ctx context.Context, db *store.DB, master *seal.Master) error {
	for use, label := range map[string]string{store.UseSigning: signingLabel, store.UseRefresh: refreshLabel} {
		keys, err := db.Keys(ctx, use)
		if err != nil {
			return err
		}
		for _, k := range keys {
			if k.State == store.KeyGone {
				continue
			}
			if _, err := master.Unseal(label, k.ID, k.Sealed); err != nil {
				return wrongMaster(master, label+" "+k.ID, err)
			}
		}
	}
	return nil
}

// CheckKeys returns the problems with the keys of a database: a key that master does not open, no
// active key, more than one active signing key.
func CheckKeys(ctx context.Context, db *store.DB, master *seal.Master) (problems []string, err error) {
	if err := Opens(ctx, db, master); errors.Is(err, store.ErrUnavailable) {
		return nil, err
	} else if err != nil {
		problems = append(problems, err.Error())
	}
	for _, use := range []string{store.UseSigning, store.UseRefresh} {
		keys, err := db.Keys(ctx, use)
		if err != nil {
			return nil, err
		}
		alive, active := 0, 0
		for _, k := range keys {
			if k.State != store.KeyGone {
				alive++
			}
			if k.State == store.KeyActive {
				active++
			}
		}
		// No signing key at all is correct: with a shared secret, and after a new epoch until the
		// next start makes new ones.
		if alive > 0 && active == 0 || use == store.UseSigning && active > 1 {
			problems = append(problems, fmt.Sprintf("%d %s keys are active, want 1", active, use))
		}
	}
	return problems, nil
}
