package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward/server/internal/testkit"
)

// marked opens a database with a mark.
func marked(t testing.TB, address, path string) (*DB, error) {
	t.Helper()
	db, err := Open(t.Context(), Config{URL: address, Mark: path, Now: func() time.Time { return noon }})
	if (db == nil) != (err != nil) {
		t.Fatalf("Open: %v %v", db, err)
	}
	return db, err
}

// tamper changes a database behind the back of what it is for.
func tamper(t testing.TB, db *DB, query string, args ...any) {
	t.Helper()
	must(t, db.do(t.Context(), func(tx *tx) error {
		_, err := tx.exec(query, args...)
		return err
	}))
}

func revoke(t testing.TB, db *DB, values ...string) {
	t.Helper()
	for _, v := range values {
		_, err := db.Revoke(t.Context(), "sid", v, later)
		must(t, err)
	}
}

// A database that went back is told by the mark from one that went on.
func TestMark(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name   string
		change func(t *testing.T, db *DB)
		want   string // of the error; empty is none
	}{
		{"as it was", func(*testing.T, *DB) {}, ""},
		{"went on", func(t *testing.T, db *DB) { revoke(t, db, "c", "d") }, ""},
		{"one revocation less", func(t *testing.T, db *DB) { tamper(t, db, `DELETE FROM revocations WHERE value = 'b'`) }, "last revocation is number 1, where there was one of number 2"},
		{"none left", func(t *testing.T, db *DB) { tamper(t, db, `DELETE FROM revocations`) }, "last revocation is number 0"},
		{"back and on another way", func(t *testing.T, db *DB) {
			tamper(t, db, `UPDATE revocations SET value = 'another' WHERE value = 'b'`)
			revoke(t, db, "c", "d")
		}, "revocation number 2 is another"},
		{"back, and on past the number", func(t *testing.T, db *DB) {
			revoke(t, db, "c", "d")
			tamper(t, db, `DELETE FROM revocations WHERE value = 'b'`)
		}, "revocation number 2 is another"},
		{"forgotten in order", func(t *testing.T, db *DB) {
			tamper(t, db, `UPDATE revocations SET until = $1`, micros(noon.Add(-48*time.Hour)))
			must(t, db.PurgeRevocations(t.Context()))
			if rows, err := db.Revocations(t.Context(), 0, time.Time{}); err != nil || len(rows) != 0 {
				t.Fatalf("revocations %v %v", rows, err)
			}
		}, ""},
		{"another epoch", func(t *testing.T, db *DB) { tamper(t, db, `UPDATE meta SET value = 'ANOTHER' WHERE name = 'epoch'`) }, "of the epoch ANOTHER"},
		{"an epoch that followed", func(t *testing.T, db *DB) {
			tamper(t, db, `INSERT INTO meta (name, value) VALUES ('past_epochs', $1)`, "FIRST "+db.Epoch())
			tamper(t, db, `UPDATE meta SET value = 'ANOTHER' WHERE name = 'epoch'`)
			tamper(t, db, `DELETE FROM revocations`)
		}, ""},
	}
	testkit.EachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				address, path := fresh(t), filepath.Join(t.TempDir(), "durward.mark")
				db, err := marked(t, address, path)
				must(t, err)
				revoke(t, db, "a", "b")
				must(t, db.KeepMark(t.Context()))
				must(t, db.Close())
				before, err := os.ReadFile(path)
				must(t, err)
				if m, err := parseMark(string(before)); err != nil || m.seq != 2 || m.epoch != db.Epoch() || m.sum == "" {
					t.Fatalf("the mark is %+v, %v", m, err)
				}
				if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("mode %v, %v", info.Mode(), err)
				}
				other, err := marked(t, address, "")
				must(t, err)
				c.change(t, other)
				must(t, other.Close())

				db, err = marked(t, address, path)
				if c.want == "" {
					must(t, err)
					must(t, db.KeepMark(t.Context()))
					p, _, err := db.reader(t.Context()).position(0)
					must(t, err)
					if m, found, err := readMark(path); err != nil || !found || m.epoch != p.epoch || m.seq != p.seq {
						t.Errorf("the mark is %+v, %v, the database is at %+v", m, err, p)
					}
					must(t, db.Close())
					return
				}
				var open *OpenError
				if !errors.Is(err, ErrWentBack) || !strings.Contains(err.Error(), c.want) || !errors.As(err, &open) || !strings.Contains(open.Hint, "--accept-rollback") {
					t.Errorf("Open: %v, want %q", err, c.want)
				}
				if _, _, err := Migrate(t.Context(), Config{URL: address, Mark: path}); !errors.Is(err, ErrWentBack) {
					t.Errorf("Migrate: %v", err)
				}
				if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
					t.Errorf("the mark was %q and is %q, %v", before, after, err)
				}
				reading, err := Open(t.Context(), Config{URL: address, Mark: path, WentBack: true})
				must(t, err)
				must(t, errors.Join(reading.KeepMark(t.Context()), reading.Close()))

				// Accepted, it begins a new epoch, and goes on.
				ended, wentBack, err := AcceptRollback(t.Context(), Config{URL: address, Mark: path}, NewEpoch{At: noon, Until: later, Event: anEvent(EventEpochBegun, "")})
				if err != nil || !wentBack || ended.Epoch == "" {
					t.Fatalf("AcceptRollback: %+v %t %v", ended, wentBack, err)
				}
				db, err = marked(t, address, path)
				must(t, err)
				if db.Epoch() != ended.Epoch || db.SessionEpoch() != ended.Epoch {
					t.Errorf("epoch %s of sessions %s, want %s", db.Epoch(), db.SessionEpoch(), ended.Epoch)
				}
				must(t, db.Close())
				if _, wentBack, err := AcceptRollback(t.Context(), Config{URL: address, Mark: path}, NewEpoch{At: noon, Until: later, Event: anEvent(EventEpochBegun, "")}); err != nil || wentBack {
					t.Errorf("a second time: %t %v", wentBack, err)
				}
			})
		}
	})
}

// A database that is another than the one that the mark is of, or none at all.
func TestMarkOfAnother(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		path := filepath.Join(t.TempDir(), "durward.mark")
		if err := MayBeNew(Config{Mark: path}); err != nil {
			t.Errorf("the first start of all: %v", err)
		}
		db, err := marked(t, fresh(t), path)
		must(t, err)
		if _, err := os.Stat(path); err == nil {
			t.Error("there is a mark before anybody knows whether this is the right database")
		}
		must(t, errors.Join(db.KeepMark(t.Context()), db.Close()))
		empty := fresh(t)
		if _, err := marked(t, empty, path); !errors.Is(err, ErrWentBack) || !strings.Contains(err.Error(), "the database is empty") && !strings.Contains(err.Error(), "of the epoch ,") {
			t.Errorf("an empty one: %v", err)
		}
		if err := MayBeNew(Config{Mark: path}); !errors.Is(err, ErrWentBack) {
			t.Errorf("a new one in the place of an old: %v", err)
		}
		db, err = marked(t, empty, "")
		must(t, errors.Join(err, db.Close()))
		if _, err := marked(t, empty, path); !errors.Is(err, ErrWentBack) {
			t.Errorf("another: %v", err)
		}
		for _, text := range []string{"", "nonsense", "durward-mark-1\nepoch A\nseq 1", "durward-mark-2\n"} {
			must(t, os.WriteFile(path, []byte(text), 0o600))
			var open *OpenError
			if _, err := marked(t, empty, path); !errors.As(err, &open) || errors.Is(err, ErrWentBack) || !strings.Contains(err.Error(), path) {
				t.Errorf("a mark of %q: %v", text, err)
			}
		}
		// A folder that cannot be written to is found at the start, not in the middle.
		if _, err := marked(t, empty, filepath.Join(path, "nowhere", "durward.mark")); err == nil {
			t.Error("a mark that cannot be written was taken")
		}
	})
}

// A database that goes back under a running node is noticed, and the mark stays for
// the next start to notice it too.
func TestMarkWhileRunning(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		path := filepath.Join(t.TempDir(), "durward.mark")
		db, err := marked(t, fresh(t), path)
		must(t, err)
		defer func() { must(t, db.Close()) }()
		revoke(t, db, "a", "b")
		must(t, db.KeepMark(t.Context()))
		before, err := os.ReadFile(path)
		must(t, err)
		tamper(t, db, `DELETE FROM revocations WHERE value = 'b'`)
		for range 2 {
			if err := db.KeepMark(t.Context()); !errors.Is(err, ErrWentBack) {
				t.Errorf("KeepMark: %v", err)
			}
		}
		tamper(t, db, `UPDATE meta SET value = 'ANOTHER' WHERE name = 'epoch'`)
		if err := db.KeepMark(t.Context()); !errors.Is(err, ErrWentBack) {
			t.Errorf("KeepMark: %v", err)
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
			t.Errorf("the mark was %q and is %q, %v", before, after, err)
		}
	})
}

// What a new epoch ends, and what it keeps.
func TestNewEpoch(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		for _, keep := range []bool{false, true} {
			t.Run(map[bool]string{false: "ends", true: "keeps"}[keep], func(t *testing.T) {
				t.Parallel()
				address := fresh(t)
				db := openAt(t, address)
				furnish(t, db)
				must(t, db.AddKey(t.Context(), aKey("key-refresh", UseRefresh, KeyActive, 1), anEvent(EventKeyCreated, "")))
				first := db.Epoch()
				e, err := openEngine(t.Context(), Config{URL: address}.whole())
				must(t, err)
				ended, err := beginEpoch(t.Context(), e, NewEpoch{KeepSessions: keep, Past: []string{"OTHER", first}, At: noon, Until: later, Event: anEvent(EventEpochBegun, "")})
				must(t, errors.Join(err, e.close()))
				count := func(query string) (n int64) {
					must(t, db.reader(t.Context()).row(query).Scan(&n))
					return n
				}
				alive := map[string]int64{
					"signing keys": count(`SELECT count(*) FROM keys WHERE use_for = 'signing' AND (state <> 'gone' OR length(sealed) > 0)`),
					"API keys":     count(`SELECT count(*) FROM api_keys WHERE revoked_at = 0`),
					"sessions":     count(`SELECT count(*) FROM sessions WHERE ended_at = 0`),
					"grants":       count(`SELECT count(*) FROM grants WHERE ended_at = 0`),
					"cookies":      count(`SELECT count(*) FROM cookies`),
				}
				for what, n := range alive {
					if (n > 0) != keep {
						t.Errorf("%d %s are alive", n, what)
					}
				}
				if (ended.SigningKeys > 0) == keep || (ended.APIKeys > 0) == keep || (ended.Sessions > 0) == keep {
					t.Errorf("ended %+v", ended)
				}
				if n := count(`SELECT count(*) FROM revocations WHERE kind = 'kid'`); n != ended.SigningKeys {
					t.Errorf("%d keys revoked, %d ended", n, ended.SigningKeys)
				}
				if n := count(`SELECT count(*) FROM keys WHERE use_for = 'refresh' AND state = 'active' AND length(sealed) > 0`); n == 0 {
					t.Error("the refresh key ended, which the epoch is mixed with anyway")
				}
				again := openAt(t, address)
				sessions := ended.Epoch
				if keep {
					sessions = first
				}
				p, _, err := again.reader(t.Context()).position(0)
				must(t, err)
				if again.Epoch() != ended.Epoch || again.SessionEpoch() != sessions || strings.Join(p.past, " ") != "OTHER "+first {
					t.Errorf("epoch %s, of sessions %s, past %v", again.Epoch(), again.SessionEpoch(), p.past)
				}
			})
		}
	})
}

// What is read is what is written, and nothing else is read.
func FuzzMark(f *testing.F) {
	for _, m := range []mark{{"EPOCH", 0, ""}, {"4RCS6Y3Z5KCX7TCZ2WJNEGFVQZ", 1 << 40, "0123456789abcdef"}} {
		f.Add(m.String())
	}
	f.Add("")
	f.Add("durward-mark-2\nepoch E\nseq 1 -\n")
	f.Add("durward-mark-1\nepoch E\nseq -1 -\n")
	f.Add("durward-mark-1\nepoch E\nseq 01 -\n")
	f.Add("durward-mark-1\nepoch E\nseq 1 -\nmore")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := parseMark(text)
		if err != nil {
			if m != (mark{}) {
				t.Errorf("%q: %v beside %v", text, m, err)
			}
			if strings.ContainsAny(err.Error(), "\n\x00\x1b") {
				t.Errorf("%q: the error repeats it: %q", text, err)
			}
			return
		}
		if m.String() != text || m.seq < 0 || m.epoch == "" {
			t.Errorf("%q is read as %+v", text, m)
		}
	})
}
