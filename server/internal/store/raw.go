package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"net/url"
	"path/filepath"
	"strings"
	"time"
)

// Table describes a table for copies and backups.
type Table struct {
	Name    string
	Key     string // columns of the primary key, with commas between; rows are read in its order
	Columns string // all columns, with spaces between
}

// Tables lists every table, each after the tables that it references. A migration that adds a table
// or a column adds it here.
var Tables = []Table{
	{"meta", "name", "name value"},
	{"users", "id", "id email email_key name password admin created_at password_changed_at locked_at language unverified second_factor_at unlocks factor_required_at"},
	{"skeletons", "skeleton, user_id", "skeleton user_id"},
	{"user_groups", "user_id, name", "user_id name"},
	{"factor_groups", "name", "name required_at"},
	{"deleted_addresses", "hash", "hash deleted_at"},
	{"totp", "id", "id user_id sealed created_at confirmed_at last_step"},
	{"recovery_codes", "user_id, hash", "user_id hash created_at"},
	{"factor_failures", "user_id, factor", "user_id factor total recent"},
	{"passkeys", "id", "id user_id credential public_key flags sign_count aaguid transports name created_at used_at"},
	{"spent_challenges", "hash", "hash ends_at"},
	{"signins", "hash", "hash user_id stage methods password_changed_at second_factor_at use_cookies jkt started_at ends_at tries remembered"},
	{"sessions", "id", "id user_id client_id scope created_at ends_at ended_at end_reason auth_time acr amr network device agent failures remembered parent_id"},
	{"grants", "id", "id session_id client_id scope generation salt key_number moved_0 moved_1 moved_2 moved_3 replays network agent created_at idle_ends ends ended_at end_reason jkt resources claims"},
	{"cookies", "hash", "hash session_id scope auth_time acr amr created_at used_at idle_ends replaced_at"},
	{"clients", "id", "id name auth redirect_uris grants scopes resources introspects id_token_alg pkce_optional trusted from_config session_id created_at disabled_at"},
	{"client_secrets", "id", "id client_id hash created_at"},
	{"oauth_requests", "hash", "hash browser client_id parameters progress created_at step_ends ends_at"},
	{"codes", "hash", "hash client_id user_id parent_id redirect_uri challenge nonce scope resources claims jkt auth_time acr amr created_at ends_at tries spent_at session_id"},
	{"consents", "user_id, client_id, resource", "user_id client_id resource scope created_at"},
	{"revocations", "seq", "seq kind value at until"},
	{"keys", "id", "id use_for algorithm state number sealed created_at activated_at retired_at"},
	{"places", "user_id, network, browser", "user_id network browser seen_at"},
	{"notifications", "id", "id user_id kind at device network read"},
	{"events", "id", "id kind at user_id actor session_id outcome network device denial_id detail number hash"},
	{"seals", "number", "number first_event last_event first_kept before hash at signed_by signature"},
	{"counts", "at, node, name, labels", "at node name labels n"},
	{"hour_counts", "at, name, labels", "at name labels n"},
	{"denials", "id", "id code status at method path scheme cause network subject request_id"},
	{"api_keys", "id", "id user_id name public_id hash scope session_id created_at expires_at revoked_at last_used_at"},
	{"outbox", "id", "id kind user_id address language device network created_at due_at attempts"},
	{"mail_tokens", "hash", "hash purpose user_id email_key address mail_id created_at ends_at"},
	{"devices", "id", "id user_id hash created_at seen_at"},
}

// references lists the columns that hold the id of a row of another table.
var references = []struct{ table, column, to string }{
	{"sessions", "user_id", "users"}, {"grants", "session_id", "sessions"}, {"cookies", "session_id", "sessions"},
	{"skeletons", "user_id", "users"}, {"user_groups", "user_id", "users"}, {"places", "user_id", "users"}, {"notifications", "user_id", "users"}, {"api_keys", "user_id", "users"},
	{"mail_tokens", "user_id", "users"},
	{"totp", "user_id", "users"}, {"recovery_codes", "user_id", "users"}, {"factor_failures", "user_id", "users"}, {"signins", "user_id", "users"}, {"devices", "user_id", "users"}, {"passkeys", "user_id", "users"},
	{"client_secrets", "client_id", "clients"}, {"codes", "user_id", "users"}, {"consents", "user_id", "users"},
}

// MetaBackup is the name of a row of the table meta that only a backup has. Reading and counting
// rows leaves it out.
const MetaBackup = "backup"

func (t Table) from() string {
	if t.Name == "meta" {
		return " FROM meta WHERE name <> '" + MetaBackup + "'"
	}
	return " FROM " + t.Name
}

// Raw is an open database below the rules of DB: its schema and whole tables. Package backup uses it.
type Raw struct {
	engine engine // nil for a backup file
	config Config
	file   *sql.DB // a backup file
}

// Access tells how OpenRaw shares a database with other processes.
type Access int

const (
	Shared    Access = iota // other processes may use the database
	Exclusive               // ErrInUse if another process has it open; keeps others out until Close
	Scratch                 // a new SQLite file, not synced; a crash may damage it
)

// OpenRaw opens a database without changing its schema.
func OpenRaw(ctx context.Context, c Config, a Access) (*Raw, error) {
	c = c.withDefaults()
	c.exclusive, c.scratch = a == Exclusive, a == Scratch
	e, err := openEngine(ctx, c)
	if err != nil {
		return nil, err
	}
	return &Raw{engine: e, config: c}, nil
}

// OpenBackupFile opens a backup, an SQLite file, for reading. It neither reads nor creates the files
// that SQLite keeps beside a database, and refuses a file with triggers or views.
func OpenBackupFile(ctx context.Context, path string) (*Raw, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	q := url.Values{"mode": {"ro"}, "immutable": {"1"}, "_pragma": {"query_only(ON)", "trusted_schema(OFF)", "cell_size_check(ON)"}}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", OmitHost: true, Path: abs, RawQuery: q.Encode()}).String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	var others int
	err = db.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_schema WHERE type NOT IN ('table', 'index')`).Scan(&others)
	if err == nil && others > 0 {
		err = errors.New("the file has triggers or views, which no Durward database has")
	}
	if err != nil {
		return nil, errors.Join(classify(err), db.Close())
	}
	return &Raw{file: db}, nil
}

// Close closes the database.
func (r *Raw) Close() error {
	if r.file != nil {
		return r.file.Close()
	}
	return r.engine.close()
}

// Now returns the time that all nodes of the database agree on.
func (r *Raw) Now() time.Time { return r.engine.now() }

// maintain calls use as engine.maintain does.
func (r *Raw) maintain(use func(*sql.DB, dialect) error) error {
	if r.file != nil {
		return use(r.file, sqliteDialect)
	}
	return r.engine.maintain(use)
}

// Migrate brings the schema to SchemaVersion. It does not call Config.CheckHistory.
func (r *Raw) Migrate(ctx context.Context) error {
	_, err := migrate(ctx, r.engine, r.config)
	return err
}

// Schema returns the version of the schema, 0 if the database is empty, and ErrForeign if it belongs to
// another program.
func (r *Raw) Schema(ctx context.Context) (version int64, err error) {
	err = r.maintain(func(db *sql.DB, d dialect) error {
		v, foreign, err := schemaOf(ctx, db, d.tables)
		if len(foreign) > 0 {
			return foreignError(foreign)
		}
		version = v
		return err
	})
	return version, err
}

// Position returns the position of the database in its history, with the checksum of revocation seq.
// An empty database has the zero position.
func (r *Raw) Position(ctx context.Context, seq int64) (p Position, err error) {
	err = r.maintain(func(db *sql.DB, d dialect) error {
		version, _, err := schemaOf(ctx, db, d.tables)
		if err != nil || version == 0 {
			return err
		}
		return inTransaction(ctx, db, d, d.beginRead, func(t *RawTx) (err error) {
			p, err = t.Position(seq)
			return err
		})
	})
	return p, err
}

// Read calls work with a transaction that reads the database as it is at one moment, while other
// connections write.
func (r *Raw) Read(ctx context.Context, work func(*RawTx) error) error {
	return r.maintain(func(db *sql.DB, d dialect) error { return inTransaction(ctx, db, d, d.beginRead, work) })
}

// Write calls work with a transaction, which is committed if work returns nil.
func (r *Raw) Write(ctx context.Context, work func(*RawTx) error) error {
	return r.maintain(func(db *sql.DB, d dialect) error { return inTransaction(ctx, db, d, d.begin, work) })
}

func inTransaction(ctx context.Context, db *sql.DB, d dialect, begin string, work func(*RawTx) error) (err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return classify(err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if _, err := conn.ExecContext(ctx, begin); err != nil {
		return classify(err)
	}
	t := &RawTx{tx{ctx: ctx, on: conn}, conn, d}
	err = cmp.Or(work(t), classify(t.err))
	if err == nil {
		_, err = conn.ExecContext(ctx, "COMMIT")
		err = classify(err)
	}
	if err != nil {
		// This fails if the connection was lost, or if SQLite has rolled back already, as it does on a full disk.
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
	}
	return err
}

// RawTx is a transaction over whole tables.
type RawTx struct {
	tx
	conn    *sql.Conn
	dialect dialect
}

// Engine returns the name of the engine, "sqlite" or "postgres".
func (t *RawTx) Engine() string { return t.dialect.name }

// Meta returns a value of the table meta, empty if there is none.
func (t *RawTx) Meta(name string) (string, error) {
	value := t.meta(name)
	return value, t.err
}

// DeleteMeta deletes a value of the table meta.
func (t *RawTx) DeleteMeta(name string) error {
	return t.exec(`DELETE FROM meta WHERE name = $1`, name)
}

// Count returns the number of rows of a table.
func (t *RawTx) Count(of Table) (int64, error) {
	n := t.number("SELECT count(*)" + of.from())
	return n, classify(t.err)
}

// Empty reports whether no table has a row.
func (t *RawTx) Empty() (bool, error) {
	var n int64
	for _, of := range Tables {
		n += t.number("SELECT count(*) FROM (SELECT 1 FROM " + of.Name + " LIMIT 1) AS first")
	}
	return n == 0, classify(t.err)
}

// Clear deletes all rows of all tables.
func (t *RawTx) Clear() error { return classify(t.dialect.clear(t.ctx, t.conn)) }

// SetLastRevocation makes the next revocation get the number after last.
func (t *RawTx) SetLastRevocation(last int64) error {
	return classify(t.dialect.setLastRevocation(t.ctx, t.conn, last))
}

// CheckFile asks SQLite whether the file is whole.
func (t *RawTx) CheckFile() error {
	var problem string
	if err := t.row(`PRAGMA integrity_check(1)`).Scan(&problem); err != nil {
		return classify(err)
	}
	if problem != "ok" {
		return errors.New(problem)
	}
	return nil
}

// Rows reads the rows of a table in the order of its key, one at a time. Next, Values and Err are as
// pgx.Conn.CopyFrom expects them.
type Rows struct {
	rows   *sql.Rows
	values []any
	into   []any
	n      int64
	step   func()
	err    error
}

// Rows reads a table and calls step, if it is not nil, after each row. The caller closes the result.
func (t *RawTx) Rows(of Table, step func()) (*Rows, error) {
	rows, err := t.conn.QueryContext(t.ctx, "SELECT "+strings.ReplaceAll(of.Columns, " ", ", ")+of.from()+" ORDER BY "+of.Key)
	if err != nil {
		return nil, classify(err)
	}
	r := &Rows{rows: rows, values: make([]any, len(strings.Fields(of.Columns))), step: step}
	for i := range r.values {
		r.into = append(r.into, &r.values[i])
	}
	return r, nil
}

// Next advances to the next row. It returns false after the last row and after an error.
func (r *Rows) Next() bool {
	if r.err != nil || !r.rows.Next() {
		return false
	}
	if r.err = r.rows.Scan(r.into...); r.err != nil {
		return false
	}
	for i, v := range r.values {
		// No column may be NULL, but a driver returns an empty BLOB as nil and writes nil as NULL.
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

// Values returns the current row. Next overwrites it.
func (r *Rows) Values() ([]any, error) { return r.values, nil }

// Count returns how many rows Next has read.
func (r *Rows) Count() int64 { return r.n }

// Err returns the error that ended the reading, nil after the last row.
func (r *Rows) Err() error { return classify(errors.Join(r.err, r.rows.Err())) }

// Close ends the reading.
func (r *Rows) Close() error { return r.rows.Close() }

// Insert adds the rows that Next has not read yet to a table.
func (t *RawTx) Insert(into Table, rows *Rows) error {
	return classify(t.dialect.insert(t.ctx, t.conn, into, rows))
}
