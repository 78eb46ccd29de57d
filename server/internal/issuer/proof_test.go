package issuer

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/durward-auth/durward/jwt"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/testkit"
)

// A node does not start if its tokens do not verify against its published key set, and says so.
// A symmetric key signs, and no key set contains it.
func TestKeyThatIsNotPublished(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		e := newEnv(t, engine, nil)
		e.must(e.keepKeys(t.Context(), 1))
		key, err := jwt.SharedSecret("symmetric", bytes.Repeat([]byte{7}, 32))
		e.must(err)
		text, err := key.MarshalJWK()
		e.must(err)
		row := store.Key{ID: key.ID(), Use: store.UseSigning, Algorithm: "HS256", State: store.KeyPending, CreatedAt: noon}
		row.Sealed, err = e.c.Master.Seal(sealLabel(row), row.ID, text)
		e.must(err)
		e.must(e.db.AddKey(t.Context(), row, keyEvent(operator, store.EventKeyCreated, row.ID, "pending", e.clock.Now())))
		active := e.signs()
		e.exec(`UPDATE keys SET state = 'retiring' WHERE state = 'active' AND use_for = 'signing'`)
		e.exec(`UPDATE keys SET state = 'active' WHERE id = $1`, row.ID)
		const want = "the published key set does not verify a token of this node"
		if err := e.keepKeys(t.Context(), 1); err == nil || !strings.Contains(err.Error(), want) || e.Err() == nil || e.ReadErr() != nil {
			t.Errorf("a symmetric key signs: got %v, Err %v, ReadErr %v, want %q", err, e.Err(), e.ReadErr(), want)
		}
		if i, err := New(t.Context(), e.c); i != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New: got %v, want %q", err, want)
		}
		e.exec(`UPDATE keys SET state = 'retiring' WHERE id = $1`, row.ID)
		e.exec(`UPDATE keys SET state = 'active' WHERE id = $1`, active)
		e.must(e.keepKeys(t.Context(), 1))
		e.must(e.Err())
	})
}

// The check of the signing key is made every minute, also if no key changed.
func TestKeysAreProvenEveryMinute(t *testing.T) {
	t.Parallel()
	e := newEnv(t, testkit.SQLite, nil)
	first := e.proof.Load()
	e.must(e.keepKeys(context.Background(), 59))
	if e.proof.Load() != first {
		t.Error("got another proof within the minute")
	}
	e.must(e.keepKeys(context.Background(), 60))
	if e.proof.Load() == first {
		t.Error("got no proof after a minute")
	}
	old := *e.proof.Load()
	old.at = old.at.Add(-proofLife - 1)
	e.proof.Store(&old)
	if err := e.Err(); err == nil || !strings.Contains(err.Error(), "3m0s ago") {
		t.Errorf("without a proof for %s: got %v", proofLife, err)
	}
}

// A key in the database that no longer opens is found, although the node has it in memory.
func TestKeyThatNoLongerOpens(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		e := newEnv(t, engine, nil)
		_, err := e.SignFor(t.Context(), RS256, "JWT", none) // makes its key
		e.must(err)
		e.must(e.keepKeys(t.Context(), 60))
		for _, use := range uses {
			keys, err := e.db.Keys(t.Context(), use)
			e.must(err)
			damaged := bytes.Clone(keys[0].Sealed)
			damaged[20] ^= 1
			e.exec(`UPDATE keys SET sealed = $1 WHERE id = $2`, damaged, keys[0].ID)
			if err := e.keepKeys(t.Context(), 60); err == nil || e.ReadErr() == nil || e.Err() != nil {
				t.Errorf("a damaged %s key: got %v, ReadErr %v, Err %v, want an error of the key only", use, err, e.ReadErr(), e.Err())
			}
			if err := e.keepKeys(t.Context(), 61); err == nil {
				t.Errorf("a damaged %s key, a second later: got no error", use)
			}
			e.exec(`UPDATE keys SET sealed = $1 WHERE id = $2`, keys[0].Sealed, keys[0].ID)
			e.must(e.keepKeys(t.Context(), 62))
			e.must(e.ReadErr())
		}
	})
}
