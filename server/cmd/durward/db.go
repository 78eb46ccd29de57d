package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/durward-auth/durward/internal/printable"
	"github.com/durward-auth/durward/server/internal/config"
	"github.com/durward-auth/durward/server/internal/issuer"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/store/backup"
)

type dbVerbs struct {
	Backup  dbBackup  `cmd:"" help:"Write a backup to a file. Servers may run meanwhile. Keys in it are sealed; the master key is not included."`
	Restore dbRestore `cmd:"" help:"Replace the database by a backup. All users sign in again, and revoked credentials stay revoked."`
	Copy    dbCopy    `cmd:"" help:"Copy the database to an empty one, of the same engine or another. Users stay signed in."`
	Migrate dbMigrate `cmd:"" help:"Migrate the schema to the version of this program. A server does it at start unless database.migrate is false."`
	Check   dbCheck   `cmd:"" help:"Check integrity, references, schema and keys of the database."`
}

type dbBackup struct {
	location
	output
	File  string `arg:"" help:"File to write."`
	Force bool   `help:"Replace an existing file."`
}

func (v dbBackup) Run(e *environment) error {
	c, err := v.load(e)
	if err != nil {
		return err
	}
	if _, err := checkDatabase(e, c, false); err != nil {
		return err
	}
	began := time.Now()
	bar := v.progressBar(e)
	m, err := backup.Write(e, storeConfig(c), v.File, v.Force, bar.show)
	bar.clear()
	if err != nil {
		return err
	}
	info, err := os.Stat(v.File)
	if err != nil {
		return err
	}
	if v.JSON {
		return e.json(map[string]any{"file": v.File, "bytes": info.Size(), "rows": m.Rows(), "manifest": m})
	}
	fmt.Fprintf(e.stdout, "%s: wrote and verified %d rows of %s, %d bytes, in %s\n",
		v.File, m.Rows(), c.DatabaseName(), info.Size(), time.Since(began).Round(time.Millisecond))
	fmt.Fprintln(e.stdout, "the keys in it are sealed: keep the master key too, in another place")
	return nil
}

type dbRestore struct {
	location
	output
	File         string `arg:"" help:"Backup that durward db backup wrote."`
	Replace      bool   `help:"Replace an existing database. It is kept in a file beside the new one."`
	KeepSessions bool   `help:"Keep sessions and keys. Revocations after the backup are undone."`
}

func (v dbRestore) Run(e *environment) error {
	c, err := v.load(e)
	if err != nil {
		return err
	}
	folder := c.DataDir
	if path, ok := c.DatabaseURL().File(); ok {
		folder = filepath.Dir(path)
	}
	for _, dir := range []string{c.DataDir, folder} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return &exitError{exitUnreachable, fmt.Errorf("cannot create the data folder: %w", err), "Name another folder with --data DIR."}
		}
	}
	master, err := masterKey(c, false)
	if err != nil {
		return &exitError{exitUnreachable, err, "A backup contains no master key. First copy the key file of the backup's server to this place. Nothing was changed."}
	}
	now := time.Now()
	epoch := issuer.NewEpoch(v.KeepSessions, now)
	if past := backup.NewCheckpoint(c.CheckpointPath()).Epoch(); past != "" {
		epoch.Past = append(epoch.Past, past)
	}
	bar := v.progressBar(e)
	done, err := backup.Restore(e, backup.RestoreConfig{
		Backup:   v.File,
		To:       store.Config{URL: string(c.DatabaseURL())},
		Replace:  v.Replace,
		Folder:   folder,
		Epoch:    epoch,
		Progress: bar.show,
		Kept:     filepath.Join(folder, "durward.db.replaced-"+now.UTC().Format("20060102T150405.000Z")),
		Check: func(ctx context.Context, db *store.DB) error {
			if err := db.Issuer(ctx, c.IssuerURL()); err != nil {
				return &exitError{exitRefused, err, "Restore with the configuration of the backup's server. Nothing was changed."}
			}
			if err := issuer.Opens(ctx, db, master); err != nil {
				return &exitError{exitUnreachable, err, "First copy the key file of the backup's server to this place. Nothing was changed."}
			}
			return nil
		},
	})
	bar.clear()
	if err != nil {
		return err
	}
	if v.JSON {
		return e.json(map[string]any{
			"database":           c.DatabaseName(),
			"manifest":           done.Manifest,
			"epoch":              done.Ended.Epoch,
			"kept":               done.Kept,
			"rows":               done.Rows(),
			"sessions_ended":     done.Sessions,
			"api_keys_ended":     done.APIKeys,
			"signing_keys_ended": done.SigningKeys,
		})
	}
	fmt.Fprintf(e.stdout, "%s: restored %d rows, the state of %s\n", c.DatabaseName(), done.Rows(), done.At.Format(time.RFC3339))
	if done.Kept != "" {
		fmt.Fprintf(e.stdout, "the replaced database is kept in %s\n", done.Kept)
	}
	for _, line := range epochReport(done.Ended, v.KeepSessions, c.Tokens.Algorithm) {
		fmt.Fprintln(e.stdout, line)
	}
	return nil
}

type dbCopy struct {
	location
	output
	To string `required:"" help:"Address of an empty database: sqlite:PATH or postgres://USER@HOST/DATABASE. Set its password in PGPASSWORD or PGPASSFILE." placeholder:"URL"`
}

func (v dbCopy) Run(e *environment) error {
	c, err := v.load(e)
	if err != nil {
		return err
	}
	to := config.DatabaseURL(v.To)
	if fault := to.Fault(); fault != "" {
		return &exitError{exitUsage, errors.New("--to " + fault), "Run durward db copy --help for usage."}
	}
	if u, err := url.Parse(v.To); err == nil && u.User != nil {
		if _, has := u.User.Password(); has {
			return &exitError{
				exitUsage, errors.New("--to contains a password, and every user of the machine can read command line arguments"),
				"Set PGPASSWORD or PGPASSFILE instead. Change this password: other users may have read it.",
			}
		}
	}
	if _, err := checkDatabase(e, c, false); err != nil {
		return err
	}
	began := time.Now()
	bar := v.progressBar(e)
	done, err := backup.Copy(e, storeConfig(c), store.Config{URL: v.To}, bar.show)
	bar.clear()
	if err != nil {
		return err
	}
	var rows int64
	for _, n := range done.Rows {
		rows += n
	}
	if v.JSON {
		return e.json(map[string]any{
			"from":   c.DatabaseName(),
			"to":     to.String(),
			"rows":   rows,
			"tables": done.Rows,
			"epoch":  done.Epoch,
			"seq":    done.Seq,
		})
	}
	fmt.Fprintf(e.stdout, "copied %d rows of %s to %s in %s and compared every column\n",
		rows, c.DatabaseName(), to, time.Since(began).Round(time.Millisecond))
	fmt.Fprintln(e.stdout, "users stay signed in: set database.url to the copy and start the server")
	return nil
}

// progressBar shows the progress of a copy on a terminal. With a nil w it shows nothing.
type progressBar struct {
	w    io.Writer
	last time.Time // of the last update
}

// progressBar returns a progress bar that is visible only on a terminal.
func (o output) progressBar(e *environment) *progressBar {
	if f, ok := e.stderr.(*os.File); ok && !o.JSON && term.IsTerminal(int(f.Fd())) {
		return &progressBar{w: f}
	}
	return new(progressBar)
}

func (b *progressBar) show(p backup.Progress) {
	if b.w == nil || time.Since(b.last) < 100*time.Millisecond {
		return
	}
	b.last = time.Now()
	const width = 30
	full := int(p.Done * width / max(p.Total, 1))
	fmt.Fprintf(b.w, "\r%-9s [%s%s] %3d%% %-13s", p.Step, strings.Repeat("#", full), strings.Repeat(".", width-full), p.Done*100/max(p.Total, 1), p.Table)
}

// clear erases the bar.
func (b *progressBar) clear() {
	if b.w != nil {
		fmt.Fprint(b.w, "\r\x1b[K")
	}
}

type dbMigrate struct {
	location
	output
}

func (v dbMigrate) Run(e *environment) error {
	c, err := v.load(e)
	if err != nil {
		return err
	}
	// A missing file is a wrong path. A database of PostgreSQL exists and may be empty: perhaps
	// only the user of this verb may create tables.
	_, isFile := c.DatabaseURL().File()
	isNew, err := checkDatabase(e, c, !isFile)
	if err != nil {
		return err
	}
	from, to, err := store.Migrate(e, storeConfig(c))
	if err != nil {
		return err
	}
	if isNew {
		if _, err := masterKey(c, true); err != nil {
			return &exitError{exitUnreachable, err, ""}
		}
	}
	if v.JSON {
		return e.json(map[string]any{"database": c.DatabaseName(), "from": from, "to": to})
	}
	if from == to {
		fmt.Fprintf(e.stdout, "%s: the schema already has version %d\n", c.DatabaseName(), to)
	} else {
		fmt.Fprintf(e.stdout, "%s: migrated the schema from version %d to version %d\n", c.DatabaseName(), from, to)
	}
	return nil
}

type dbCheck struct {
	location
	output
}

func (v dbCheck) Run(e *environment) error {
	c, err := v.load(e)
	if err != nil {
		return err
	}
	if _, err := checkDatabase(e, c, false); err != nil {
		return err
	}
	problems, hint, err := findProblems(e, c)
	if err != nil {
		return err
	}
	if v.JSON {
		if err := e.json(map[string]any{"path": c.DatabaseName(), "problems": append([]string{}, problems...)}); err != nil {
			return err
		}
	} else {
		for _, p := range problems {
			fmt.Fprintln(e.stdout, printable.Text(p))
		}
	}
	if len(problems) > 0 {
		return refused(hint, "%s failed the check; problems found: %d", c.DatabaseName(), len(problems))
	}
	if !v.JSON {
		fmt.Fprintf(e.stdout, "%s: integrity, references, schema and keys are good\n", c.DatabaseName())
	}
	return nil
}

// findProblems checks the database and returns its faults, with a hint for the user. It returns an
// error if the database cannot be checked: a newer schema, or a disk or server that fails. Then a
// restored backup would only lose data.
func findProblems(ctx context.Context, c *config.Loaded) (problems []string, hint string, err error) {
	hint = "Stop the server, keep a copy of the database, and restore the last backup."
	s := storeConfig(c)
	s.KeepSchema = true // the check changes nothing
	db, err := store.Open(ctx, s)
	if open := new(store.OpenError); errors.Is(err, backup.ErrRollback) && errors.As(err, &open) {
		problems, hint = append(problems, err.Error()), open.Hint
		s.CheckHistory = nil
		db, err = store.Open(ctx, s)
	}
	switch {
	case errors.Is(err, store.ErrDamaged):
		return []string{err.Error()}, hint, nil
	case err != nil:
		return nil, "", err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	found, err := db.Check(ctx)
	if err != nil {
		found = append(found, err.Error())
	}
	problems = append(problems, found...)
	master, err := masterKey(c, false)
	if err != nil {
		return append(problems, err.Error()), hint, nil
	}
	found, err = issuer.CheckKeys(ctx, db, master)
	return append(problems, found...), hint, err
}

// epochReport describes the start of a new epoch after a rollback or a restored backup.
func epochReport(ended store.Ended, keepSessions bool, algorithm string) []string {
	if keepSessions {
		return []string{"Began a new epoch. All users stay signed in, and sessions, tokens and API keys that were revoked in the lost period are valid again."}
	}
	lines := []string{
		fmt.Sprintf("Began a new epoch. All users have to sign in again (%d sessions ended), and revoked credentials stay revoked.", ended.Sessions),
		fmt.Sprintf("%d API keys ended, because any of them may have been revoked in the lost period. Their owners have to create new ones.", ended.APIKeys),
	}
	if algorithm == "HS256" {
		return append(lines, "Access tokens signed with tokens.shared_secret stay valid until they expire. Change the secret to end them now.")
	}
	return append(lines, fmt.Sprintf("%d signing keys ended, with all access tokens that they signed. The next start creates new keys. Other verifiers read the key set again.", ended.SigningKeys))
}
