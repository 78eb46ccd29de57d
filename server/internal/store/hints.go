package store

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	hintFull       = "The disk is full: free some space."
	hintReadOnly   = "The file or the disk is read-only: check the mount options, and owner and mode of the file."
	hintPermission = "Owner and mode of the folder or the file do not let this user write: run as the owner, or change them."
	hintOpenFiles  = "This process has too many open files: raise its limit (ulimit -n)."
	hintDamaged    = "If this is the right file, keep a copy of it and restore the last backup."
	hintRefused    = "No database server listens there: start it, or correct host and port."
	hintTimeout    = "The database server did not answer in time: check its load, its locks and the network."
)

// sqliteHints maps result codes to advice. A primary code is the low octet of the others.
var sqliteHints = map[int]string{
	sqlite3.SQLITE_FULL:     hintFull,
	sqlite3.SQLITE_READONLY: hintReadOnly,
	sqlite3.SQLITE_PERM:     hintPermission,
	sqlite3.SQLITE_CANTOPEN: "Check that the folder exists, that this user may write to it, and that the limit on open files is not reached.",
	sqlite3.SQLITE_BUSY:     "Another process holds the lock on the database: wait, or end that process.",
	sqlite3.SQLITE_LOCKED:   "Another process holds the lock on the database: wait, or end that process.",
	sqlite3.SQLITE_CORRUPT:  hintDamaged,
	sqlite3.SQLITE_NOTADB:   hintDamaged,
	sqlite3.SQLITE_IOERR:    "The disk reported an error: read the system's log.",

	sqlite3.SQLITE_IOERR_SHMSIZE: hintFull,
}

// postgresHints maps SQLSTATE codes to advice.
var postgresHints = map[string]string{
	"28P01": hintAuthentication,
	"28000": hintAuthentication,
	"3D000": "The database does not exist: create it (createdb NAME); durward fills it at its first start.",
	"42501": "The user needs the rights to connect and to create tables in the schema that is first in its search_path.",
	"53300": fmt.Sprintf("Each node opens up to %d connections: raise max_connections, or leave fewer to other programs.", maxWriters+maxReaders+1),
	"53100": "The disk of the database server is full: free some space there.",
	"57P03": "The database server is starting or stopping: try again in a moment.",
	"25006": hintStandby,
	"57014": hintTimeout, // statement_timeout
	"55P03": hintTimeout, // lock_timeout
	"40001": hintConflict,
	"40P01": hintConflict,
	"42P05": hintPooler,
	"26000": hintPooler,
	"08P01": hintPoolerFails,
	"XX001": hintDamagedServer,
	"XX002": hintDamagedServer,
}

const (
	hintAuthentication = "Check user and password, and that pg_hba.conf admits this machine."
	hintStandby        = "The database server is a standby or read-only: name the primary in database.url."
	hintConflict       = "Other transactions changed the same rows: try again."
	hintPooler         = `A connection pooler answers at this address: set database.pool = "transaction", or name the database server itself in database.url.`
	hintPoolerFails    = "The connection pooler has no connection to the database server, or its limits are reached: read its log."
	hintDirect         = `It cannot run through a transaction pooler. Name the database server itself for this command: DURWARD_DATABASE_URL=postgres://… DURWARD_DATABASE_POOL=session.`
	hintDamagedServer  = "The database server found damaged data: read its log, and restore the last backup."
)

// systemHints maps errors of the system and of this package to advice.
var systemHints = []struct {
	err  error
	hint string
}{
	{syscall.ENOSPC, hintFull},
	{syscall.EDQUOT, hintFull},
	{syscall.EROFS, hintReadOnly},
	{fs.ErrPermission, hintPermission},
	{syscall.EMFILE, hintOpenFiles},
	{syscall.ENFILE, hintOpenFiles},
	{fs.ErrNotExist, "The folder of the database does not exist: create it, or correct database.url."},
	{pgconn.ErrStandbyConnection, hintStandby},
	{syscall.ECONNREFUSED, hintRefused},
	{errNoAnswer, hintTimeout},
	{ErrDamaged, hintDamaged},
}

// Hint returns advice for the operator on the cause of a database error. It is empty if the cause is
// not known.
func Hint(err error) string {
	if open, ok := errors.AsType[*OpenError](err); ok && open.Hint != "" {
		return open.Hint
	}
	if lite, ok := errors.AsType[*sqlite.Error](err); ok {
		return cmp.Or(sqliteHints[lite.Code()], sqliteHints[lite.Code()&0xff])
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		if strings.Contains(pg.Message, "startup parameter") { // "unsupported startup parameter: lock_timeout", of PgBouncer
			return hintPooler
		}
		return postgresHints[pg.Code]
	}
	for _, h := range systemHints {
		if errors.Is(err, h.err) {
			return h.hint
		}
	}
	if pgconn.Timeout(err) {
		return hintTimeout
	}
	return ""
}
