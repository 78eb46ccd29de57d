package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-auth/durward/internal/pwhash"
	"github.com/durward-auth/durward/jwt"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/testkit"
)

// ready waits until /readyz responds with a status and names exactly these checks as failed.
func (w *env) ready(status int, failed ...string) {
	w.t.Helper()
	var last string
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		r := w.do("GET", "/readyz", "", nil)
		var body readiness
		if err := json.Unmarshal(r.body, &body); err != nil {
			w.t.Fatal(err)
		}
		var got []string
		for _, c := range body.Checks {
			if !c.OK {
				got = append(got, c.Name)
			}
		}
		if last = fmt.Sprint(r.StatusCode, " ", string(r.body)); r.StatusCode == status && slices.Equal(got, failed) {
			return
		}
	}
	w.t.Errorf("readyz: got %s, want %d and the failed checks %v", last, status, failed)
}

// Each check of /readyz fails when its part is broken, and only that one.
func TestReadinessChecks(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	w.ready(200)
	db := testkit.OpenSQLite(t, w.dir)
	exec := func(query string, args ...any) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), query, args...); err != nil {
			t.Fatal(err)
		}
	}

	// The clock of this env does not move, so the list would be fresh for ever by that clock alone.
	exec(`ALTER TABLE revocations RENAME TO gone`)
	w.ready(503, "revocations")
	exec(`ALTER TABLE gone RENAME TO revocations`)
	w.ready(200)

	exec(`UPDATE keys SET state = 'gone-' || state WHERE use_for = 'signing'`)
	w.ready(200, "keys") // with the keys in memory the node can work
	exec(`UPDATE keys SET state = substr(state, 6) WHERE use_for = 'signing'`)
	w.ready(200)

	release := make(chan struct{})
	var hashing sync.WaitGroup
	var full atomic.Bool
	for !full.Load() {
		hashing.Go(func() {
			if err := w.hasher.Do(context.Background(), 64, func() { <-release }); errors.Is(err, pwhash.ErrBusy) {
				full.Store(true)
			}
		})
	}
	w.ready(200, "hash_queue")
	close(release)
	hashing.Wait()
	w.ready(200)

	master, err := seal.Open(filepath.Join(w.dir, "master.key"), false)
	if err != nil {
		t.Fatal(err)
	}
	key, err := jwt.SharedSecret("symmetric", bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	text, err := key.MarshalJWK()
	if err != nil {
		t.Fatal(err)
	}
	row := store.Key{ID: key.ID(), Use: store.UseSigning, Algorithm: "HS256", State: store.KeyPending, CreatedAt: w.clock.Now()}
	if row.Sealed, err = master.Seal("signing key", row.ID, text); err == nil {
		err = w.db.AddKey(t.Context(), row, store.Event{ID: store.NewID(), Kind: store.EventKeyCreated, At: w.clock.Now()})
	}
	if err != nil {
		t.Fatal(err)
	}
	exec(`UPDATE keys SET state = CASE id WHEN $1 THEN 'active' ELSE 'retiring' END WHERE use_for = 'signing'`, row.ID)
	w.ready(503, "keys") // no other service can verify the tokens
}
