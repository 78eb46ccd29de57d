package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/durward-auth/durward/server/internal/testkit"
)

// A migration that adds a table or a column adds it to what copies know.
func TestTablesAreAll(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		address := fresh(t)
		db := openAt(t, address)
		query, names := `SELECT m.name, p.name FROM sqlite_schema m, pragma_table_info(m.name) p WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' ORDER BY m.name, p.cid`, make(map[string][]string)
		if strings.HasPrefix(address, "postgres") {
			query = `SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema() ORDER BY table_name, ordinal_position`
		}
		rows, err := db.engine.pool().QueryContext(t.Context(), query)
		must(t, err)
		defer rows.Close()
		for rows.Next() {
			var table, column string
			must(t, rows.Scan(&table, &column))
			if table != "goose_db_version" {
				names[table] = append(names[table], column)
			}
		}
		must(t, rows.Err())
		for _, of := range tables {
			want := names[of.name]
			delete(names, of.name)
			if got := strings.Fields(of.columns); !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))) {
				t.Errorf("copies know of %s the columns %v, there are %v", of.name, got, want)
			}
		}
		if len(names) > 0 {
			t.Errorf("copies do not know of %v", names)
		}
	})
}

// furnished is the address of a database with a row and more in each table.
func furnished(t testing.TB, address string) string {
	t.Helper()
	db, err := Open(context.Background(), Config{URL: address})
	must(t, err)
	furnish(t, db)
	must(t, db.AddKey(t.Context(), aKey("key-refresh", UseRefresh, KeyActive, 1), anEvent(EventKeyCreated, "")))
	must(t, db.ForgetKey(t.Context(), "key-retiring", anEvent(EventKeyState, ""))) // a column without an octet
	must(t, db.AddEvents(t.Context(), []Event{anEvent("ünï \"quoted\" \\ \t\n", "ada")}))
	must(t, db.Close())
	return address
}

// rowsOf is all that is in a database, but for its epochs.
func rowsOf(t testing.TB, address string) []string {
	t.Helper()
	db, err := Open(context.Background(), Config{URL: address})
	must(t, err)
	defer func() { must(t, db.Close()) }()
	return slices.DeleteFunc(contents(t, db), func(line string) bool {
		return strings.Contains(line, "past_epochs") || strings.Contains(line, "session_epoch")
	})
}

// every runs a test for each pair of engines.
func every(t *testing.T, test func(t *testing.T, from, to func(testing.TB) string)) {
	engines := testkit.Engines
	for a, from := range engines {
		for b, to := range engines {
			t.Run(a+" to "+b, func(t *testing.T) {
				t.Parallel()
				test(t, from, to)
			})
		}
	}
}

func TestCopy(t *testing.T) {
	t.Parallel()
	every(t, func(t *testing.T, from, to func(testing.TB) string) {
		a, b := furnished(t, from(t)), to(t)
		before := rowsOf(t, a)
		steps := make(map[string]int64)
		done, err := Copy(t.Context(), Config{URL: a}, Config{URL: b}, func(p Progress) { steps[p.Step] = p.Done })
		must(t, err)
		after := rowsOf(t, b)
		if !slices.Equal(before, after) {
			t.Errorf("the copy has\n%s\nthe original\n%s", strings.Join(after, "\n"), strings.Join(before, "\n"))
		}
		var rows int64
		for _, n := range done.Rows {
			rows += n
		}
		if rows != int64(len(before)) || steps["copying"] != rows || steps["comparing"] != rows {
			t.Errorf("%d rows, %v steps, there are %d", rows, steps, len(before))
		}
		// Revocations are numbered on.
		db := openAt(t, b)
		r, err := db.Revoke(t.Context(), "sid", "next", later)
		must(t, err)
		if r.Seq != done.Seq+1 || done.Seq == 0 {
			t.Errorf("the next revocation has the number %d, the last had %d", r.Seq, done.Seq)
		}
		// Neither in use, nor over another, nor over itself.
		if _, err := Copy(t.Context(), Config{URL: a}, Config{URL: a}, nil); err == nil {
			t.Error("a copy over the original")
		}
		must(t, db.Close())
		if _, err := Copy(t.Context(), Config{URL: a}, Config{URL: b}, nil); !errors.Is(err, ErrNotEmpty) {
			t.Errorf("over another: %v", err)
		}
	})
}

// running opens a database as a server does that works with it.
func running(t testing.TB, address string) (stop func()) {
	t.Helper()
	db := openAt(t, address)
	must(t, db.Beat(t.Context(), noon))
	ctx, cancel := context.WithCancel(context.Background())
	heard, done := make(chan struct{}, 9), make(chan struct{})
	go func() {
		defer close(done)
		db.Follow(ctx, func() { heard <- struct{}{} })
	}()
	if strings.HasPrefix(address, "postgres") {
		<-heard
	}
	return func() { cancel(); <-done; must(t, db.Close()) }
}

func TestInUse(t *testing.T) {
	t.Parallel()
	every(t, func(t *testing.T, from, to func(testing.TB) string) {
		a, b := furnished(t, from(t)), furnished(t, to(t))
		path := filepath.Join(t.TempDir(), "backup")
		if _, err := Backup(t.Context(), Config{URL: a}, path, false, nil); err != nil {
			t.Fatal(err)
		}
		r := Restore{Backup: path, To: Config{URL: b}, Replace: true, Kept: filepath.Join(t.TempDir(), "kept"), Folder: t.TempDir(),
			Check: func(context.Context, *DB) error { return nil }, Epoch: NewEpoch{At: noon, Until: later, Event: anEvent(EventEpochBegun, "")}}
		before := rowsOf(t, b)
		stop := running(t, b)
		if _, err := r.Do(t.Context()); !errors.Is(err, ErrInUse) {
			t.Errorf("restored under a server: %v", err)
		}
		if _, err := Copy(t.Context(), Config{URL: b}, Config{URL: testkit.SQLite(t)}, nil); !errors.Is(err, ErrInUse) {
			t.Errorf("copied under a server: %v", err)
		}
		if _, _, err := AcceptRollback(t.Context(), Config{URL: b}, NewEpoch{}); !errors.Is(err, ErrInUse) {
			t.Errorf("a new epoch under a server: %v", err)
		}
		stop()
		if after := rowsOf(t, b); len(after) < len(before) {
			t.Errorf("%d rows were there, %d are", len(before), len(after))
		}
	})
}

// A node or a verb that is started while a database is restored or copied does not
// begin with it.
func TestStartedMeanwhile(t *testing.T) {
	t.Parallel()
	address := furnished(t, testkit.Postgres(t))
	alone, err := openEngine(t.Context(), Config{URL: address, alone: true}.whole())
	must(t, err)
	var open *OpenError
	if db, err := Open(t.Context(), Config{URL: address}); !errors.Is(err, ErrInUse) || !errors.As(err, &open) || open.Hint == "" || db != nil {
		t.Errorf("opened meanwhile: %v", err)
	}
	must(t, alone.close())
	db, err := Open(t.Context(), Config{URL: address})
	must(t, err)
	must(t, db.Close())
}

func TestBackup(t *testing.T) {
	t.Parallel()
	every(t, func(t *testing.T, from, to func(testing.TB) string) {
		a := furnished(t, from(t))
		before := rowsOf(t, a)
		dir := t.TempDir()
		path := filepath.Join(dir, "backup.db")
		stop := running(t, a) // whoever works with it is not disturbed
		m, err := Backup(t.Context(), Config{URL: a}, path, false, nil)
		must(t, err)
		stop()
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v %v", info.Mode(), err)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Errorf("the folder holds %v", entries)
		}
		if read, err := VerifyBackup(t.Context(), path); err != nil || fmt.Sprint(read) != fmt.Sprint(m) || m.Schema != schemaVersion || m.Seq == 0 || m.Epoch == "" {
			t.Errorf("the manifest is %+v, %v, was %+v", read, err, m)
		}
		if _, err := Backup(t.Context(), Config{URL: a}, path, false, nil); !errors.Is(err, fs.ErrExist) {
			t.Errorf("over a file: %v", err)
		}
		_, err = Backup(t.Context(), Config{URL: a}, path, true, nil)
		must(t, err)

		b := to(t)
		r := Restore{Backup: path, To: Config{URL: b}, Kept: filepath.Join(t.TempDir(), "kept.db"), Folder: t.TempDir(),
			Check: func(context.Context, *DB) error { return nil },
			Epoch: NewEpoch{KeepSessions: true, Past: []string{"MARKED"}, At: noon, Until: later, Event: anEvent(EventEpochBegun, "")}}
		if name, ok := strings.CutPrefix(b, "sqlite:"); ok {
			r.Folder = filepath.Dir(name)
		}
		refused := errors.New("no")
		r.Check = func(context.Context, *DB) error { return refused }
		if _, err := r.Do(t.Context()); !errors.Is(err, refused) {
			t.Errorf("what Check refuses: %v", err)
		}
		if name, ok := strings.CutPrefix(b, "sqlite:"); ok {
			if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("something was made: %v", err)
			}
		}
		r.Check = func(context.Context, *DB) error { return nil }
		done, err := r.Do(t.Context())
		must(t, err)
		if done.Kept != "" || done.Rows() != m.Rows() {
			t.Errorf("restored %+v", done)
		}
		after := rowsOf(t, b)
		same := func(lines []string) []string {
			return slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return strings.Contains(l, "epoch") || strings.Contains(l, "alive_at") })
		}
		if x, y := same(before), same(after); !slices.Equal(x, y) {
			t.Errorf("restored\n%s\nwas\n%s", strings.Join(y, "\n"), strings.Join(x, "\n"))
		}
		db := openAt(t, b)
		p, _, err := db.reader(t.Context()).position(0)
		must(t, err)
		if db.Epoch() != done.Ended.Epoch || db.SessionEpoch() != m.Epoch || !slices.Contains(p.past, "MARKED") || !slices.Contains(p.past, m.Epoch) {
			t.Errorf("epoch %s, of sessions %s, past %v", db.Epoch(), db.SessionEpoch(), p.past)
		}
		next, err := db.Revoke(t.Context(), "sid", "next", later)
		must(t, err)
		if next.Seq != m.Seq+1 {
			t.Errorf("the next revocation has the number %d, the last had %d", next.Seq, m.Seq)
		}
		if problems, err := db.Check(t.Context()); err != nil || len(problems) > 0 {
			t.Errorf("Check: %v %v", problems, err)
		}
		second := db.Epoch()
		must(t, db.Close())

		// Over what is there, which is kept.
		if _, err := r.Do(t.Context()); !errors.Is(err, ErrNotEmpty) {
			t.Errorf("over a database: %v", err)
		}
		r.Replace = true
		done, err = r.Do(t.Context())
		must(t, err)
		if done.Kept != r.Kept {
			t.Errorf("kept in %q", done.Kept)
		}
		if rows := rowsOf(t, "sqlite:"+done.Kept); !slices.ContainsFunc(rows, func(l string) bool { return strings.Contains(l, "next") }) {
			t.Errorf("what was kept has not the last revocation:\n%s", strings.Join(rows, "\n"))
		}
		db = openAt(t, b)
		if p, _, err := db.reader(t.Context()).position(0); err != nil || !slices.Contains(p.past, second) || p.seq != m.Seq {
			t.Errorf("at %+v, %v", p, err)
		}
	})
}

// What is not whole is found before anything is changed.
func TestBadBackups(t *testing.T) {
	t.Parallel()
	a := furnished(t, testkit.SQLite(t))
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole")
	_, err := Backup(t.Context(), Config{URL: a}, whole, false, nil)
	must(t, err)
	good, err := os.ReadFile(whole)
	must(t, err)
	altered := func(name, query string) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, good, 0o600))
		db, err := Open(t.Context(), Config{URL: "sqlite:" + path})
		must(t, err)
		tamper(t, db, query)
		must(t, db.Close())
		return path
	}
	written := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, text, 0o600))
		return path
	}
	for name, path := range map[string]string{
		"empty":            written("empty", nil),
		"text":             written("text", []byte("no database")),
		"half":             written("half", good[:len(good)/2]),
		"cut by a page":    written("page", good[:len(good)-4096]),
		"cut by an octet":  written("octet", good[:len(good)-1]),
		"zeroes":           written("zeroes", append(slices.Clone(good[:8192]), make([]byte, len(good)-8192)...)),
		"a row less":       altered("less", `DELETE FROM denials`),
		"a row more":       altered("more", `INSERT INTO meta (name, value) VALUES ('a', 'b')`),
		"an altered value": altered("value", `UPDATE users SET admin = 1 - admin`),
		"no manifest":      altered("plain", `DELETE FROM meta WHERE name = 'backup'`),
		"a bad manifest":   altered("manifest", `UPDATE meta SET value = '{' WHERE name = 'backup'`),
		"a trigger":        altered("trigger", `CREATE TRIGGER x AFTER INSERT ON users BEGIN DELETE FROM keys; END`),
		"a folder":         dir,
	} {
		t.Run(name, func(t *testing.T) {
			var open *OpenError
			m, err := VerifyBackup(t.Context(), path)
			if !errors.Is(err, ErrNotBackup) || !errors.As(err, &open) || open.Hint == "" || m.Tables != nil {
				t.Errorf("%+v %v", m, err)
			}
			target := testkit.SQLite(t)
			if _, err := (Restore{Backup: path, To: Config{URL: target}, Folder: t.TempDir()}).Do(t.Context()); !errors.Is(err, ErrNotBackup) {
				t.Errorf("restored: %v", err)
			}
			if _, err := os.Stat(strings.TrimPrefix(target, "sqlite:")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a database was made: %v", err)
			}
		})
	}
	newer := altered("newer", `INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)`)
	if _, err := VerifyBackup(t.Context(), newer); !errors.Is(err, ErrNewer) {
		t.Errorf("of a newer program: %v", err)
	}
	if _, err := VerifyBackup(t.Context(), filepath.Join(dir, "nowhere")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// A damaged file is kept, and what was backed up takes its place.
func TestRestoreOverDamage(t *testing.T) {
	t.Parallel()
	a := furnished(t, testkit.SQLite(t))
	path := filepath.Join(t.TempDir(), "backup")
	_, err := Backup(t.Context(), Config{URL: a}, path, false, nil)
	must(t, err)
	name := strings.TrimPrefix(a, "sqlite:")
	must(t, os.WriteFile(name, []byte(strings.Repeat("damaged ", 2000)), 0o600))
	kept := filepath.Join(filepath.Dir(name), "kept")
	r := Restore{Backup: path, To: Config{URL: a}, Kept: kept, Folder: filepath.Dir(name), Check: func(context.Context, *DB) error { return nil }, Epoch: NewEpoch{At: noon, Until: later, Event: anEvent(EventEpochBegun, "")}}
	if _, err := r.Do(t.Context()); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("without a word: %v", err)
	}
	r.Replace = true
	done, err := r.Do(t.Context())
	must(t, err)
	if text, err := os.ReadFile(done.Kept); err != nil || !strings.HasPrefix(string(text), "damaged") {
		t.Errorf("what was there is not kept: %v", err)
	}
	if rows := rowsOf(t, a); len(rows) == 0 {
		t.Error("nothing was restored")
	}
}
