package backup

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/testkit"
)

// openChecked opens a database with a checkpoint.
func openChecked(t testing.TB, address, path string) (*store.DB, *Checkpoint, error) {
	t.Helper()
	c := NewCheckpoint(path)
	db, err := store.Open(t.Context(), store.Config{URL: address, CheckHistory: c.Check, Now: func() time.Time { return noon }})
	if (db == nil) != (err != nil) {
		t.Fatalf("Open: %v %v", db, err)
	}
	return db, c, err
}

func TestCheckpoint(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name   string
		change func(t *testing.T, address string)
		want   string // of the error; empty is none
	}{
		{"unchanged database: accepted", func(*testing.T, string) {}, ""},
		{"two more revocations: accepted", func(t *testing.T, address string) {
			revoke(t, address, "c")
			revoke(t, address, "d")
		}, ""},
		{"last revocation missing: refused", func(t *testing.T, address string) {
			execute(t, address, `DELETE FROM revocations WHERE value = 'b'`)
		}, "last revocation has number 1, expected 2"},
		{"all revocations missing: refused", func(t *testing.T, address string) {
			execute(t, address, `DELETE FROM revocations`)
		}, "last revocation has number 0"},
		{"rollback, then other revocations: refused", func(t *testing.T, address string) {
			execute(t, address, `UPDATE revocations SET value = 'another' WHERE value = 'b'`)
			revoke(t, address, "c")
			revoke(t, address, "d")
		}, "revocation number 2 differs"},
		{"recorded revocation missing, later ones present: refused", func(t *testing.T, address string) {
			revoke(t, address, "c")
			revoke(t, address, "d")
			execute(t, address, `DELETE FROM revocations WHERE value = 'b'`)
		}, "revocation number 2 differs"},
		{"recorded revocation purged: accepted", func(t *testing.T, address string) {
			execute(t, address, `UPDATE revocations SET until = $1`, noon.Add(-48*time.Hour).UnixMicro())
			db := open(t, address)
			must(t, db.PurgeRevocations(t.Context()))
			if rows, err := db.Revocations(t.Context(), 0, time.Time{}); err != nil || len(rows) != 0 {
				t.Fatalf("revocations %v %v", rows, err)
			}
			must(t, db.Close())
		}, ""},
		{"unknown epoch: refused", func(t *testing.T, address string) {
			execute(t, address, `UPDATE meta SET value = 'ANOTHER' WHERE name = 'epoch'`)
		}, "epoch of the database is ANOTHER"},
		{"later epoch: accepted", func(t *testing.T, address string) {
			execute(t, address, `INSERT INTO meta (name, value) SELECT 'past_epochs', 'FIRST ' || value FROM meta WHERE name = 'epoch'`)
			execute(t, address, `UPDATE meta SET value = 'ANOTHER' WHERE name = 'epoch'`)
			execute(t, address, `DELETE FROM revocations`)
		}, ""},
	}
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				address, path := engine(t), filepath.Join(t.TempDir(), "durward.mark")
				db, checkpoint, err := openChecked(t, address, path)
				must(t, err)
				revoke(t, address, "a")
				revoke(t, address, "b")
				must(t, errors.Join(checkpoint.Save(t.Context(), db), db.Close()))
				before, err := os.ReadFile(path)
				must(t, err)
				if r, err := parseRecord(string(before)); err != nil || r.seq != 2 || r.epoch != db.Epoch() || r.sum == "" {
					t.Fatalf("the checkpoint is %+v, %v", r, err)
				}
				if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
				}
				c.change(t, address)

				db, checkpoint, err = openChecked(t, address, path)
				if c.want == "" {
					must(t, err)
					must(t, checkpoint.Save(t.Context(), db))
					p, err := db.Position(t.Context(), 0)
					must(t, errors.Join(err, db.Close()))
					if r, found, err := checkpoint.read(); err != nil || !found || r.epoch != p.Epoch || r.seq != p.Seq {
						t.Errorf("the checkpoint is %+v, %v, the database is at %+v", r, err, p)
					}
					return
				}
				var open *store.OpenError
				if !errors.Is(err, ErrRollback) || !strings.Contains(err.Error(), c.want) || !errors.As(err, &open) || !strings.Contains(open.Hint, "--accept-rollback") {
					t.Errorf("Open: %v, want %q", err, c.want)
				}
				if _, _, err := store.Migrate(t.Context(), store.Config{URL: address, CheckHistory: checkpoint.Check}); !errors.Is(err, ErrRollback) {
					t.Errorf("Migrate: %v", err)
				}
				if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
					t.Errorf("the checkpoint was %q and is %q, %v", before, after, err)
				}

				ended, rollback, err := AcceptRollback(t.Context(), store.Config{URL: address}, checkpoint, newEpoch())
				if err != nil || !rollback || ended.Epoch == "" {
					t.Fatalf("AcceptRollback: %+v %t %v", ended, rollback, err)
				}
				db, checkpoint, err = openChecked(t, address, path)
				must(t, err)
				if db.Epoch() != ended.Epoch || db.SessionEpoch() != ended.Epoch {
					t.Errorf("epoch %s of sessions %s, want %s", db.Epoch(), db.SessionEpoch(), ended.Epoch)
				}
				must(t, db.Close())
				if _, rollback, err := AcceptRollback(t.Context(), store.Config{URL: address}, checkpoint, newEpoch()); err != nil || rollback {
					t.Errorf("a second AcceptRollback: %t %v", rollback, err)
				}
			})
		}
	})
}

func TestCheckpointOfAnotherDatabase(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		path := filepath.Join(t.TempDir(), "durward.mark")
		if err := NewCheckpoint(path).CheckNew(); err != nil {
			t.Errorf("CheckNew without a file: %v", err)
		}
		db, checkpoint, err := openChecked(t, engine(t), path)
		must(t, err)
		if _, err := os.Stat(path); err == nil {
			t.Error("Open wrote the checkpoint, want it written by Save alone")
		}
		must(t, errors.Join(checkpoint.Save(t.Context(), db), db.Close()))
		empty := engine(t)
		if _, _, err := openChecked(t, empty, path); !errors.Is(err, ErrRollback) || !strings.Contains(err.Error(), "the database is empty") && !strings.Contains(err.Error(), "epoch of the database is ,") {
			t.Errorf("empty database: %v", err)
		}
		if err := NewCheckpoint(path).CheckNew(); !errors.Is(err, ErrRollback) {
			t.Errorf("CheckNew with a checkpoint: %v, want ErrRollback", err)
		}
		must(t, open(t, empty).Close())
		if _, _, err := openChecked(t, empty, path); !errors.Is(err, ErrRollback) {
			t.Errorf("another database: %v, want ErrRollback", err)
		}
		for _, text := range []string{"", "nonsense", "durward-mark-1\nepoch A\nseq 1", "durward-mark-2\n"} {
			must(t, os.WriteFile(path, []byte(text), 0o600))
			var open *store.OpenError
			if _, _, err := openChecked(t, empty, path); !errors.As(err, &open) || errors.Is(err, ErrRollback) || !strings.Contains(err.Error(), path) {
				t.Errorf("content %q: %v, want an error that names the file", text, err)
			}
		}
		if _, _, err := openChecked(t, empty, filepath.Join(path, "nowhere", "durward.mark")); err == nil {
			t.Error("Open accepted a checkpoint in a folder that is a file")
		}
	})
}

// TestRollbackWhileRunning checks that Save detects a rollback under an open database and keeps the
// file for the next start.
func TestRollbackWhileRunning(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		address, path := engine(t), filepath.Join(t.TempDir(), "durward.mark")
		db, checkpoint, err := openChecked(t, address, path)
		must(t, err)
		defer func() { must(t, db.Close()) }()
		revoke(t, address, "a")
		revoke(t, address, "b")
		must(t, checkpoint.Save(t.Context(), db))
		before, err := os.ReadFile(path)
		must(t, err)
		execute(t, address, `DELETE FROM revocations WHERE value = 'b'`)
		for range 2 {
			if err := checkpoint.Save(t.Context(), db); !errors.Is(err, ErrRollback) {
				t.Errorf("Save after a missing revocation: %v, want ErrRollback", err)
			}
		}
		execute(t, address, `UPDATE meta SET value = 'ANOTHER' WHERE name = 'epoch'`)
		if err := checkpoint.Save(t.Context(), db); !errors.Is(err, ErrRollback) {
			t.Errorf("Save after another epoch: %v, want ErrRollback", err)
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
			t.Errorf("the checkpoint was %q and is %q, %v", before, after, err)
		}
	})
}

// TestNoCheckpoint checks that a nil checkpoint refuses and records nothing.
func TestNoCheckpoint(t *testing.T) {
	t.Parallel()
	var none *Checkpoint
	if err := errors.Join(none.Check(nil), none.CheckNew(), none.Save(t.Context(), nil)); err != nil {
		t.Error(err)
	}
}

func FuzzCheckpoint(f *testing.F) {
	for _, r := range []record{{"EPOCH", 0, ""}, {"4RCS6Y3Z5KCX7TCZ2WJNEGFVQZ", 1 << 40, "0123456789abcdef"}} {
		f.Add(r.String())
	}
	f.Add("")
	f.Add("durward-mark-2\nepoch E\nseq 1 -\n")
	f.Add("durward-mark-1\nepoch E\nseq -1 -\n")
	f.Add("durward-mark-1\nepoch E\nseq 01 -\n")
	f.Add("durward-mark-1\nepoch E\nseq 1 -\nmore")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseRecord(text)
		if err != nil {
			if r != (record{}) {
				t.Errorf("%q: got %v and the error %v", text, r, err)
			}
			if strings.ContainsAny(err.Error(), "\n\x00\x1b") {
				t.Errorf("%q: control characters in the error %q", text, err)
			}
			return
		}
		if r.String() != text || r.seq < 0 || r.epoch == "" {
			t.Errorf("%q: parsed as %+v", text, r)
		}
	})
}
