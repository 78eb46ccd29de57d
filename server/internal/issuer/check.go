package issuer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
)

// NewEpoch is what begins with a database that lost a part of its history. What was
// revoked in that part is not known any more, so all of it ends: sessions, by
// another secret that their tokens are mixed with; API keys; and signing keys, since
// access tokens may be alive whose session is not. With keep nothing ends.
func NewEpoch(keep bool, now time.Time) store.NewEpoch {
	return store.NewEpoch{
		KeepSessions: keep, At: now, Until: now.Add(verifyAfter),
		Event: store.Event{ID: store.NewID(), Kind: store.EventEpochBegun, At: now, Actor: "operator", Outcome: "ok"},
	}
}

// Opens sees that master opens what is sealed in a database. It changes nothing.
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

// CheckKeys looks for what is wrong with the keys of a database: one that master
// does not open, not one that signs, none for refresh tokens. No problems is nil.
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
		// With a shared secret there are no signing keys, and a new epoch ends them
		// all: the next start makes new ones.
		if alive > 0 && active == 0 || use == store.UseSigning && active > 1 {
			problems = append(problems, fmt.Sprintf("%d %s keys are active", active, use))
		}
	}
	return problems, nil
}
