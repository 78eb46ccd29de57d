// Package testkit holds what tests of several server packages share: a clock, a log buffer, a check of responses, and an
// empty database on each engine. Package servertest runs a whole server. Testkit imports no server
// package, so every package's internal tests can use it.
package testkit

import (
	"database/sql"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-auth/durward/internal/services"
)

// Clock is a clock that only the test moves. It is safe for concurrent use.
type Clock struct {
	nanoseconds atomic.Int64 // since 1970
}

// NewClock returns a clock that stands at start.
func NewClock(start time.Time) *Clock {
	c := new(Clock)
	c.Set(start)
	return c
}

// Now returns the clock's time in UTC.
func (c *Clock) Now() time.Time { return time.Unix(0, c.nanoseconds.Load()).UTC() }

// Advance moves the clock by d, backwards if d is negative.
func (c *Clock) Advance(d time.Duration) { c.nanoseconds.Add(int64(d)) }

// Set moves the clock to at.
func (c *Clock) Set(at time.Time) { c.nanoseconds.Store(at.UnixNano()) }

// Log is an io.Writer that collects log output. The zero value is ready for use, also by several
// goroutines.
type Log struct {
	mu   sync.Mutex
	text strings.Builder
}

// Logger returns a logger that writes a line to l for each record, debug records included.
func (l *Log) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String returns the output so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Engine creates an empty database and returns its URL, as store.Config takes it.
type Engine = func(testing.TB) string

// SQLite returns the URL of an SQLite file that does not exist yet.
func SQLite(t testing.TB) string {
	t.Helper()
	return "sqlite:" + filepath.Join(t.TempDir(), "durward.db")
}

// OpenSQLite opens the database of the data folder dir beside a server that uses it. A statement waits
// up to a minute for the server's locks. The end of the test closes the database.
func OpenSQLite(t testing.TB, dir string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "durward.db")+"?_pragma=busy_timeout(60000)&_pragma=foreign_keys(ON)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// Postgres returns the URL of a Postgres database without rows. Its tables may exist already,
// because creating them takes half a second; services.Database returns a database without tables.
func Postgres(t testing.TB) string {
	t.Helper()
	return services.Emptied(t)
}

// Engines are the database engines by name.
var Engines = map[string]Engine{"sqlite": SQLite, "postgres": Postgres}

// EachEngine runs test in parallel once per engine.
func EachEngine(t *testing.T, test func(t *testing.T, engine Engine)) {
	t.Helper()
	for name, engine := range Engines {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, engine)
		})
	}
}
