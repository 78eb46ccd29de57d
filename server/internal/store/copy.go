package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

// Rows are copied from one database to another, whichever engines they are of: to
// a backup, from one, or on to another engine. They go through memory one at a time.

// table is what a copy knows of a table.
type table struct {
	name    string
	key     string // its primary key, by which its rows are ordered
	columns string // all of them, with blanks between
}

// tables is all tables, each after those that its rows refer to. A migration that
// adds to the schema adds here.
var tables = []table{
	{"meta", "name", "name value"},
	{"users", "id", "id email email_key name password admin created_at password_changed_at locked_at"},
	{"sessions", "id", "id user_id client_id scope created_at ends_at ended_at end_reason auth_time acr amr network device agent"},
	{"grants", "id", "id session_id client_id scope generation salt key_number moved_0 moved_1 moved_2 moved_3 replays network agent created_at idle_ends ends ended_at end_reason jkt"},
	{"cookies", "hash", "hash session_id scope auth_time acr amr created_at used_at idle_ends replaced_at"},
	{"revocations", "seq", "seq kind value at until"},
	{"keys", "id", "id use_for algorithm state number sealed created_at activated_at retired_at"},
	{"places", "user_id, network, browser", "user_id network browser seen_at"},
	{"notifications", "id", "id user_id kind at device network read"},
	{"events", "id", "id kind at user_id actor session_id outcome network device denial_id detail"},
	{"denials", "id", "id code status at method path scheme cause network subject request_id"},
	{"api_keys", "id", "id user_id name public_id hash scope session_id created_at expires_at revoked_at last_used_at"},
}

// references are what rows refer to, by id.
var references = []struct{ table, column, to string }{
	{"sessions", "user_id", "users"}, {"grants", "session_id", "sessions"}, {"cookies", "session_id", "sessions"},
	{"places", "user_id", "users"}, {"notifications", "user_id", "users"}, {"api_keys", "user_id", "users"},
}

// metaBackup is the row of meta that a backup has and no database.
const metaBackup = "backup"

func (t table) where() string {
	if t.name == "meta" {
		return " WHERE name <> '" + metaBackup + "'"
	}
	return ""
}

// Progress says how far a copy is.
type Progress struct {
	Step        string // what is done: "copying", "comparing"
	Table       string
	Done, Total int64 // rows of all tables
}

// side is one end of a copy: a connection in a transaction.
type side struct {
	conn     *sql.Conn
	postgres bool
}

// begin begins a transaction on a connection of its own. One that only reads sees
// one moment of the database, whatever others write.
func begun(ctx context.Context, db *sql.DB, m migrations, reads bool) (side, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return side{}, classify(err)
	}
	s := side{conn, m.dialect == goose.DialectPostgres}
	how := beginBatch
	switch {
	case s.postgres && reads:
		how = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
	case s.postgres, reads:
		how = "BEGIN"
	}
	if _, err := conn.ExecContext(ctx, how); err != nil {
		return side{}, errors.Join(classify(err), conn.Close())
	}
	return s, nil
}

// end ends the transaction: what was written is there once it returns nil.
func (s side) end(ctx context.Context, err error) error {
	how := commitBatch
	if err != nil {
		ctx = context.WithoutCancel(ctx)
		how = rollbackBatch
	}
	_, ended := s.conn.ExecContext(ctx, how)
	return errors.Join(err, classify(ended), s.conn.Close())
}

func (s side) tx(ctx context.Context) *tx { return &tx{ctx: ctx, on: s.conn} }

// counts returns the rows of each table.
func (s side) counts(ctx context.Context) (of map[string]int64, total int64, err error) {
	of = make(map[string]int64)
	for _, t := range tables {
		var n int64
		if err := s.conn.QueryRowContext(ctx, "SELECT count(*) FROM "+t.name+t.where()).Scan(&n); err != nil {
			return nil, 0, classify(err)
		}
		of[t.name] = n
		total += n
	}
	return of, total, nil
}

// reading is the rows of a table, in the order of its key.
type reading struct {
	rows   *sql.Rows
	values []any
	into   []any
	n      int64
	step   func()
	err    error
}

func (s side) read(ctx context.Context, t table, step func()) (*reading, error) {
	rows, err := s.conn.QueryContext(ctx, "SELECT "+strings.ReplaceAll(t.columns, " ", ", ")+" FROM "+t.name+t.where()+" ORDER BY "+t.key)
	if err != nil {
		return nil, classify(err)
	}
	r := &reading{rows: rows, step: step}
	for range strings.Fields(t.columns) {
		r.values = append(r.values, nil)
	}
	for i := range r.values {
		r.into = append(r.into, &r.values[i])
	}
	return r, nil
}

// Next, Values and Err are what pgx copies from.
func (r *reading) Next() bool {
	if r.err != nil || !r.rows.Next() {
		return false
	}
	if r.err = r.rows.Scan(r.into...); r.err != nil {
		return false
	}
	for i, v := range r.values {
		// No column may be NULL: nil is how a driver gives no octets, and takes NULL.
		if b, ok := v.([]byte); v == nil || ok && b == nil {
			r.values[i] = []byte{}
		}
	}
	r.n++
	if r.step != nil {
		r.step()
	}
	return true
}

func (r *reading) Values() ([]any, error) { return r.values, nil }

func (r *reading) Err() error { return errors.Join(r.err, r.rows.Err()) }

func (r *reading) close() error { return r.rows.Close() }

// copyAll writes all rows of from to to, whose tables are empty, and sees that
// revocations are numbered on from there.
func copyAll(ctx context.Context, from, to side, progress func(Progress)) error {
	_, total, err := from.counts(ctx)
	if err != nil {
		return err
	}
	var done int64
	for _, t := range tables {
		rows, err := from.read(ctx, t, func() {
			if done++; progress != nil {
				progress(Progress{"copying", t.name, done, total})
			}
		})
		if err != nil {
			return err
		}
		if err := errors.Join(to.write(ctx, t, rows), rows.close()); err != nil {
			return fmt.Errorf("store: copying %s: %w", t.name, classify(err))
		}
	}
	p, _, err := from.tx(ctx).position(0)
	if err != nil {
		return classify(err)
	}
	return to.numberFrom(ctx, p.seq)
}

// write adds rows to a table.
func (s side) write(ctx context.Context, t table, rows *reading) error {
	columns := strings.Fields(t.columns)
	if s.postgres {
		return s.conn.Raw(func(c any) error {
			_, err := c.(*stdlib.Conn).Conn().CopyFrom(ctx, pgx.Identifier{t.name}, columns, rows)
			return errors.Join(err, rows.Err())
		})
	}
	places := make([]string, len(columns))
	for i := range places {
		places[i] = fmt.Sprintf("$%d", i+1)
	}
	insert, err := s.conn.PrepareContext(ctx, "INSERT INTO "+t.name+" ("+strings.Join(columns, ", ")+") VALUES ("+strings.Join(places, ", ")+")")
	if err != nil {
		return err
	}
	defer insert.Close()
	for rows.Next() {
		if _, err := insert.ExecContext(ctx, rows.values...); err != nil {
			return err
		}
	}
	return rows.Err()
}

// numberFrom has the next revocation get the number after last.
func (s side) numberFrom(ctx context.Context, last int64) error {
	var err error
	switch {
	case s.postgres && last == 0:
		_, err = s.conn.ExecContext(ctx, "ALTER TABLE revocations ALTER COLUMN seq RESTART")
	case s.postgres:
		_, err = s.conn.ExecContext(ctx, "SELECT setval(pg_get_serial_sequence('revocations', 'seq'), $1)", last)
	default: // the row is there once the table had one
		if _, err = s.conn.ExecContext(ctx, "DELETE FROM sqlite_sequence WHERE name = 'revocations'"); err == nil {
			_, err = s.conn.ExecContext(ctx, "INSERT INTO sqlite_sequence (name, seq) VALUES ('revocations', $1)", last)
		}
	}
	return classify(err)
}

// Sum is what was in a table.
type Sum struct {
	Columns string `json:"columns"`
	Rows    int64  `json:"rows"`
	SHA256  string `json:"sha256"` // of all values, in the order of the key
}

// ErrDiffers means that a copy is not as what it was made of.
var ErrDiffers = errors.New("store: the copy differs")

// compareAll reads both sides in the order of the keys and compares every column of
// every row. It returns what there is.
func compareAll(ctx context.Context, a, b side, progress func(Progress)) (map[string]Sum, error) {
	_, total, err := a.counts(ctx)
	if err != nil {
		return nil, err
	}
	var done int64
	sums := make(map[string]Sum)
	for _, t := range tables {
		step := func() {
			if done++; progress != nil {
				progress(Progress{"comparing", t.name, done, total})
			}
		}
		sum, err := compare(ctx, a, b, t, step)
		if err != nil {
			return nil, err
		}
		sums[t.name] = sum
	}
	return sums, nil
}

func compare(ctx context.Context, a, b side, t table, step func()) (Sum, error) {
	ours, err := a.read(ctx, t, step)
	if err != nil {
		return Sum{}, err
	}
	defer ours.close()
	theirs, err := b.read(ctx, t, nil)
	if err != nil {
		return Sum{}, err
	}
	defer theirs.close()
	columns := strings.Fields(t.columns)
	digest := sha256.New()
	for {
		one, other := ours.Next(), theirs.Next()
		if err := errors.Join(ours.Err(), theirs.Err()); err != nil {
			return Sum{}, classify(err)
		}
		switch {
		case one != other:
			return Sum{}, fmt.Errorf("%w: %s has %d rows or more on one side, and fewer on the other", ErrDiffers, t.name, max(ours.n, theirs.n))
		case !one:
			return Sum{t.columns, ours.n, hex.EncodeToString(digest.Sum(nil))}, nil
		}
		for i := range columns {
			if !same(ours.values[i], theirs.values[i]) {
				return Sum{}, fmt.Errorf("%w: row %d of %s, by its key, has another %s", ErrDiffers, ours.n, t.name, columns[i])
			}
			addTo(digest, ours.values[i])
		}
	}
}

func same(a, b any) bool {
	if x, ok := a.([]byte); ok {
		y, ok := b.([]byte)
		return ok && bytes.Equal(x, y)
	}
	return a == b
}

// addTo adds a value to a digest, in one way whichever engine it is of.
func addTo(digest hash.Hash, value any) {
	var b []byte
	var kind byte
	switch v := value.(type) {
	case int64:
		kind, b = 'i', binary.BigEndian.AppendUint64(nil, uint64(v))
	case string:
		kind, b = 't', []byte(v)
	case []byte:
		kind, b = 'b', v
	default:
		kind, b = '?', fmt.Append(nil, v)
	}
	var head [9]byte
	head[0] = kind
	binary.BigEndian.PutUint64(head[1:], uint64(len(b)))
	digest.Write(head[:])
	digest.Write(b)
}

// empty reports whether no table has a row.
func (s side) empty(ctx context.Context) (bool, error) {
	for _, t := range tables {
		var n int64
		if err := s.conn.QueryRowContext(ctx, "SELECT count(*) FROM (SELECT 1 FROM "+t.name+" LIMIT 1) AS first").Scan(&n); err != nil {
			return false, classify(err)
		}
		if n > 0 {
			return false, nil
		}
	}
	return true, nil
}
