package backup

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/testkit"
)

var (
	noon  = time.Date(2026, 3, 4, 12, 0, 0, 123456000, time.UTC)
	later = noon.Add(2 * time.Hour) // when the tokens of a withdrawn key expire
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, address string) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), store.Config{URL: address, Now: func() time.Time { return noon }})
	must(t, err)
	return db
}

// execute runs a statement without package store.
func execute(t testing.TB, address, statement string, args ...any) {
	t.Helper()
	db := connect(t, address)
	_, err := db.ExecContext(t.Context(), statement, args...)
	must(t, errors.Join(err, db.Close()))
}

func connect(t testing.TB, address string) *sql.DB {
	t.Helper()
	driver := "pgx"
	if path, ok := strings.CutPrefix(address, "sqlite:"); ok {
		driver, address = "sqlite", "file:"+path+"?_pragma=busy_timeout(5000)"
	}
	db, err := sql.Open(driver, address)
	must(t, err)
	return db
}

// revoke adds a revocation and returns its number.
func revoke(t testing.TB, address, value string) (seq int64) {
	t.Helper()
	db := connect(t, address)
	err := db.QueryRowContext(t.Context(), `INSERT INTO revocations (kind, value, at, until) VALUES ('sid', $1, $2, $3) RETURNING seq`,
		value, noon.UnixMicro(), later.UnixMicro()).Scan(&seq)
	must(t, errors.Join(err, db.Close()))
	return seq
}

var integers = regexp.MustCompile(`^(admin|from_config|pkce_optional|trusted|attempts|failures|flags|n|sign_count|generation|key_number|last_step|moved_.|replays|status|total|remembered|tries|unlocks|use_cookies|number|first_event|last_event|first_kept|read|unverified|at|until|auth_time|.*_at|.*ends)$`)

// filled creates a database with two rows or more in each table and returns its address.
func filled(t testing.TB, address string) string {
	t.Helper()
	must(t, open(t, address).Close())
	for _, table := range store.Tables {
		columns := strings.Fields(strings.TrimPrefix(table.Columns, "seq "))
		for n := 1; n <= 2; n++ {
			var values []any
			var parameters []string
			for i, column := range columns {
				parameters = append(parameters, fmt.Sprintf("$%d", i+1))
				switch {
				case column == "user_id" && table.Name != "events":
					values = append(values, fmt.Sprint("users id ", n))
				case column == "session_id" && table.Name != "events" && table.Name != "api_keys":
					values = append(values, fmt.Sprint("sessions id ", n))
				case column == "client_id" && table.Name == "client_secrets":
					values = append(values, fmt.Sprint("clients id ", n))
				case slices.Contains([]string{"salt", "sealed", "hash", "before", "signature", "credential", "public_key"}, column),
					column == "browser" && table.Name == "oauth_requests":
					values = append(values, [][]byte{{}, []byte("\x00\xff" + table.Name)}[n-1])
				case integers.MatchString(column):
					values = append(values, noon.UnixMicro()+int64(n))
				default:
					values = append(values, fmt.Sprint(table.Name, " ", column, " ", n))
				}
			}
			execute(t, address, "INSERT INTO "+table.Name+" ("+strings.Join(columns, ", ")+") VALUES ("+strings.Join(parameters, ", ")+")", values...)
		}
	}
	return address
}

// rowsOf returns every row of a database, sorted, without its past epochs.
func rowsOf(t testing.TB, address string) (lines []string) {
	t.Helper()
	db := connect(t, address)
	defer db.Close()
	for _, table := range store.Tables {
		rows, err := db.QueryContext(t.Context(), "SELECT * FROM "+table.Name)
		must(t, err)
		columns, err := rows.Columns()
		must(t, err)
		for rows.Next() {
			values := make([]any, len(columns))
			for i := range values {
				values[i] = new(any)
			}
			must(t, rows.Scan(values...))
			line := table.Name
			for i, c := range columns {
				line += fmt.Sprintf(" %s=%v", c, *values[i].(*any))
			}
			lines = append(lines, line)
		}
		must(t, errors.Join(rows.Err(), rows.Close()))
	}
	slices.Sort(lines)
	return slices.DeleteFunc(lines, func(line string) bool {
		return strings.Contains(line, "past_epochs") || strings.Contains(line, "session_epoch")
	})
}

// eachPair runs a test for each pair of engines.
func eachPair(t *testing.T, test func(t *testing.T, from, to testkit.Engine)) {
	for a, from := range testkit.Engines {
		for b, to := range testkit.Engines {
			t.Run(a+" to "+b, func(t *testing.T) {
				t.Parallel()
				test(t, from, to)
			})
		}
	}
}

// restoreTo returns a configuration that restores path to a database.
func restoreTo(t testing.TB, path, address string) RestoreConfig {
	c := RestoreConfig{
		Backup: path,
		To:     store.Config{URL: address},
		Kept:   filepath.Join(t.TempDir(), "kept.db"),
		Folder: t.TempDir(),
		Check:  func(context.Context, *store.DB) error { return nil },
		Epoch:  newEpoch(),
	}
	if name, ok := strings.CutPrefix(address, "sqlite:"); ok {
		c.Folder = filepath.Dir(name)
		c.Kept = filepath.Join(c.Folder, "kept.db")
	}
	return c
}

func newEpoch() store.NewEpoch {
	return store.NewEpoch{At: noon, Until: later, Event: store.Event{ID: "01NEWEPOCH", Kind: store.EventEpochBegun, At: noon}}
}

func TestCopy(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, from, to testkit.Engine) {
		a, b := filled(t, from(t)), to(t)
		before := rowsOf(t, a)
		steps := make(map[string]int64)
		done, err := Copy(t.Context(), store.Config{URL: a}, store.Config{URL: b}, func(p Progress) { steps[p.Step] = p.Done })
		must(t, err)
		after := rowsOf(t, b)
		if !slices.Equal(before, after) {
			t.Errorf("copy:\n%s\noriginal:\n%s", strings.Join(after, "\n"), strings.Join(before, "\n"))
		}
		rows := done.Rows()
		if rows != int64(len(before)) || steps["copying"] != rows || steps["comparing"] != rows {
			t.Errorf("%d rows copied, steps %v, want %d", rows, steps, len(before))
		}
		if next := revoke(t, b, "next"); next != done.Seq+1 || done.Seq == 0 {
			t.Errorf("the next revocation has number %d, the last had %d", next, done.Seq)
		}
		if _, err := Copy(t.Context(), store.Config{URL: a}, store.Config{URL: a}, nil); err == nil {
			t.Error("a database was copied over itself")
		}
		if _, err := Copy(t.Context(), store.Config{URL: a}, store.Config{URL: b}, nil); !errors.Is(err, ErrNotEmpty) {
			t.Errorf("copied over another database: %v", err)
		}
	})
}

// running opens a database as a running server does.
func running(t testing.TB, address string) (stop func()) {
	t.Helper()
	db := open(t, address)
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
	eachPair(t, func(t *testing.T, from, to testkit.Engine) {
		a, b := filled(t, from(t)), filled(t, to(t))
		path := filepath.Join(t.TempDir(), "backup")
		if _, err := Write(t.Context(), store.Config{URL: a}, path, false, nil); err != nil {
			t.Fatal(err)
		}
		c := restoreTo(t, path, b)
		c.Replace = true
		before := rowsOf(t, b)
		stop := running(t, b)
		if _, err := Restore(t.Context(), c); !errors.Is(err, store.ErrInUse) {
			t.Errorf("restored while a server runs: %v", err)
		}
		if _, err := Copy(t.Context(), store.Config{URL: b}, store.Config{URL: testkit.SQLite(t)}, nil); !errors.Is(err, store.ErrInUse) {
			t.Errorf("copied while a server runs: %v", err)
		}
		if _, _, err := AcceptRollback(t.Context(), store.Config{URL: b}, nil, store.NewEpoch{}); !errors.Is(err, store.ErrInUse) {
			t.Errorf("epoch begun while a server runs: %v", err)
		}
		stop()
		if after := rowsOf(t, b); len(after) < len(before) {
			t.Errorf("%d rows before, %d after", len(before), len(after))
		}
	})
}

func TestBackup(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, from, to testkit.Engine) {
		a := filled(t, from(t))
		before := rowsOf(t, a)
		dir := t.TempDir()
		path := filepath.Join(dir, "backup.db")
		stop := running(t, a) // whoever works with it is not disturbed
		m, err := Write(t.Context(), store.Config{URL: a}, path, false, nil)
		must(t, err)
		stop()
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v %v", info.Mode(), err)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Errorf("the folder holds %v", entries)
		}
		if read, err := Verify(t.Context(), path); err != nil || fmt.Sprint(read) != fmt.Sprint(m) || m.Schema != store.SchemaVersion || m.Seq == 0 || m.Epoch == "" {
			t.Errorf("the manifest is %+v, %v, was %+v", read, err, m)
		}
		if _, err := Write(t.Context(), store.Config{URL: a}, path, false, nil); !errors.Is(err, fs.ErrExist) {
			t.Errorf("over a file: %v", err)
		}
		_, err = Write(t.Context(), store.Config{URL: a}, path, true, nil)
		must(t, err)

		b := to(t)
		c := restoreTo(t, path, b)
		c.Epoch.KeepSessions, c.Epoch.Past = true, []string{"MARKED"}
		refused := errors.New("no")
		c.Check = func(context.Context, *store.DB) error { return refused }
		if _, err := Restore(t.Context(), c); !errors.Is(err, refused) {
			t.Errorf("what Check refuses: %v", err)
		}
		if name, ok := strings.CutPrefix(b, "sqlite:"); ok {
			if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("something was made: %v", err)
			}
		}
		c.Check = func(context.Context, *store.DB) error { return nil }
		done, err := Restore(t.Context(), c)
		must(t, err)
		if done.Kept != "" || done.Rows() != m.Rows() {
			t.Errorf("restored %+v", done)
		}
		after := rowsOf(t, b)
		gone := regexp.MustCompile(`epoch|alive_at|^outbox |^mail_tokens `) // a new epoch has no mails of the former one
		same := func(lines []string) []string { return slices.DeleteFunc(slices.Clone(lines), gone.MatchString) }
		if x, y := same(before), same(after); !slices.Equal(x, y) {
			t.Errorf("restored\n%s\nwas\n%s", strings.Join(y, "\n"), strings.Join(x, "\n"))
		}
		db := open(t, b)
		p, err := db.Position(t.Context(), 0)
		must(t, err)
		if db.Epoch() != done.Ended.Epoch || db.SessionEpoch() != m.Epoch || !slices.Contains(p.Past, "MARKED") || !slices.Contains(p.Past, m.Epoch) {
			t.Errorf("epoch %s, of sessions %s, past %v", db.Epoch(), db.SessionEpoch(), p.Past)
		}
		if next := revoke(t, b, "next"); next != m.Seq+1 {
			t.Errorf("the next revocation has number %d, the last had %d", next, m.Seq)
		}
		if problems, err := db.Check(t.Context()); err != nil || len(problems) > 0 {
			t.Errorf("Check: %v %v", problems, err)
		}
		second := db.Epoch()
		must(t, db.Close())

		// The target has rows: it is refused and stays unchanged.
		if _, err := Restore(t.Context(), c); !errors.Is(err, ErrNotEmpty) {
			t.Errorf("over a database: %v", err)
		}
		c.Replace = true
		done, err = Restore(t.Context(), c)
		must(t, err)
		if done.Kept != c.Kept {
			t.Errorf("kept in %q", done.Kept)
		}
		if rows := rowsOf(t, "sqlite:"+done.Kept); !slices.ContainsFunc(rows, func(l string) bool { return strings.Contains(l, "next") }) {
			t.Errorf("what was kept has not the last revocation:\n%s", strings.Join(rows, "\n"))
		}
		db = open(t, b)
		defer func() { must(t, db.Close()) }()
		if p, err := db.Position(t.Context(), 0); err != nil || !slices.Contains(p.Past, second) || p.Seq != m.Seq {
			t.Errorf("at %+v, %v", p, err)
		}
	})
}

// A damaged backup is refused before the target changes.
func TestBadBackups(t *testing.T) {
	t.Parallel()
	a := filled(t, testkit.SQLite(t))
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole")
	_, err := Write(t.Context(), store.Config{URL: a}, whole, false, nil)
	must(t, err)
	good, err := os.ReadFile(whole)
	must(t, err)
	cut := bytes.TrimRight(good, "\x00") // SQLite reads missing zeroes
	altered := func(name, query string) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, good, 0o600))
		execute(t, "sqlite:"+path, query)
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
		"cut by an octet":  written("octet", cut[:len(cut)-1]),
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
			var open *store.OpenError
			m, err := Verify(t.Context(), path)
			if !errors.Is(err, ErrNotBackup) || !errors.As(err, &open) || open.Hint == "" || m.Tables != nil {
				t.Errorf("%+v %v", m, err)
			}
			target := testkit.SQLite(t)
			if _, err := Restore(t.Context(), RestoreConfig{Backup: path, To: store.Config{URL: target}, Folder: t.TempDir()}); !errors.Is(err, ErrNotBackup) {
				t.Errorf("restored: %v", err)
			}
			if _, err := os.Stat(strings.TrimPrefix(target, "sqlite:")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a database was made: %v", err)
			}
		})
	}
	newer := altered("newer", `INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)`)
	if _, err := Verify(t.Context(), newer); !errors.Is(err, store.ErrNewer) {
		t.Errorf("of a newer program: %v", err)
	}
	if _, err := Verify(t.Context(), filepath.Join(dir, "nowhere")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// A restore keeps a damaged file beside the restored one.
func TestRestoreOverDamage(t *testing.T) {
	t.Parallel()
	a := filled(t, testkit.SQLite(t))
	path := filepath.Join(t.TempDir(), "backup")
	_, err := Write(t.Context(), store.Config{URL: a}, path, false, nil)
	must(t, err)
	name := strings.TrimPrefix(a, "sqlite:")
	must(t, os.WriteFile(name, []byte(strings.Repeat("damaged ", 2000)), 0o600))
	c := restoreTo(t, path, a)
	if _, err := Restore(t.Context(), c); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("restored without Replace: %v", err)
	}
	c.Replace = true
	done, err := Restore(t.Context(), c)
	must(t, err)
	if text, err := os.ReadFile(done.Kept); err != nil || !strings.HasPrefix(string(text), "damaged") {
		t.Errorf("what was there is not kept: %v", err)
	}
	if rows := rowsOf(t, a); len(rows) == 0 {
		t.Error("nothing was restored")
	}
}
