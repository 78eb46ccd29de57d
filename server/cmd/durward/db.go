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
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/config"
	"github.com/durward-auth/durward/server/internal/issuer"
	"github.com/durward-auth/durward/server/internal/node"
	"github.com/durward-auth/durward/server/internal/securitylog"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/store/backup"
)

type dbVerbs struct {
	Backup  dbBackup  `cmd:"" help:"Write a backup to a file. Servers may run meanwhile. Keys in it are sealed; the master key is not included."`
	Restore dbRestore `cmd:"" help:"Replace the database by a backup. All users sign in again, and revoked credentials stay revoked."`
	Copy    dbCopy    `cmd:"" help:"Copy the database to an empty one, of the same engine or another. Users stay signed in."`
	Migrate dbMigrate `cmd:"" help:"Migrate the schema to the version of this program. A server does it at start unless database.migrate is false."`
	Check   dbCheck   `cmd:"" help:"Check integrity, references, schema, keys, second factors and security log of the database."`
}

type dbBackup struct {
	location
	output
	File  string `arg:"" help:"File to write."`
	Force bool   `help:"Replace an existing file."`
}

func (v dbBackup) Run(e *environment, c *config.Loaded) error {
	if _, err := checkDatabase(e, c, false); err != nil {
		return err
	}
	began := time.Now()
	show, clear := v.progressBar(e)
	m, err := backup.Write(e, storeConfig(c), v.File, v.Force, show)
	clear()
	if err != nil {
		return err
	}
	info, err := os.Stat(v.File)
	if err != nil {
		return err
	}
	return v.print(e, map[string]any{"file": v.File, "bytes": info.Size(), "rows": m.Rows(), "manifest": m},
		"%s: wrote and verified %d rows of %s, %d bytes, in %s\nthe keys in it are sealed: keep the master key too, in another place",
		v.File, m.Rows(), c.DatabaseName(), info.Size(), time.Since(began).Round(time.Millisecond))
}

type dbRestore struct {
	location
	output
	File         string `arg:"" help:"Backup that durward db backup wrote."`
	Replace      bool   `help:"Replace an existing database. It is kept in a file beside the new one."`
	KeepSessions bool   `help:"Keep sessions and keys. Revocations after the backup are undone."`
}

func (v dbRestore) Run(e *environment, c *config.Loaded) error {
	folder := c.DataDir
	if path, ok := c.DatabaseURL().File(); ok {
		folder = filepath.Dir(path)
	}
	if err := node.MakeFolders(c.DataDir, folder); err != nil {
		return err
	}
	master, err := masterKey(c, false)
	if err != nil {
		return unreachable("A backup contains no master key. First copy the key file of the backup's server to this place. Nothing was changed.", "%w", err)
	}
	now := time.Now()
	epoch := issuer.NewEpoch(v.KeepSessions, now)
	if past := backup.NewCheckpoint(c.CheckpointPath()).Epoch(); past != "" {
		epoch.Past = append(epoch.Past, past)
	}
	show, clear := v.progressBar(e)
	done, err := backup.Restore(e, backup.RestoreConfig{
		Backup:   v.File,
		To:       store.Config{URL: string(c.DatabaseURL()), Pooled: c.Pooled()},
		Replace:  v.Replace,
		Folder:   folder,
		Epoch:    epoch,
		Progress: show,
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
	clear()
	if err != nil {
		return err
	}
	lines := []string{fmt.Sprintf("%s: restored %d rows, the state of %s", c.DatabaseName(), done.Rows(), done.At.Format(time.RFC3339))}
	if done.Kept != "" {
		lines = append(lines, "the replaced database is kept in "+done.Kept)
	}
	lines = append(lines, epochReport(done.Ended, v.KeepSessions, c.Tokens.Algorithm)...)
	return v.print(e, map[string]any{
		"database":           c.DatabaseName(),
		"manifest":           done.Manifest,
		"epoch":              done.Ended.Epoch,
		"kept":               done.Kept,
		"rows":               done.Rows(),
		"sessions_ended":     done.Sessions,
		"api_keys_ended":     done.APIKeys,
		"signing_keys_ended": done.SigningKeys,
	}, "%s", strings.Join(lines, "\n"))
}

type dbCopy struct {
	location
	output
	To string `required:"" help:"Address of an empty database: sqlite:PATH or postgres://USER@HOST/DATABASE. Set its password in PGPASSWORD or PGPASSFILE." placeholder:"URL"`
}

func (v dbCopy) Run(e *environment, c *config.Loaded) error {
	to := config.DatabaseURL(v.To)
	if fault := to.Fault(); fault != "" {
		return usage("Run durward db copy --help for usage.", "--to %s", fault)
	}
	if u, err := url.Parse(v.To); err == nil && u.User != nil {
		if _, has := u.User.Password(); has {
			return usage("Set PGPASSWORD or PGPASSFILE instead. Change this password: other users may have read it.",
				"--to contains a password, and every user of the machine can read command line arguments")
		}
	}
	if _, err := checkDatabase(e, c, false); err != nil {
		return err
	}
	began := time.Now()
	show, clear := v.progressBar(e)
	done, err := backup.Copy(e, storeConfig(c), store.Config{URL: v.To}, show)
	clear()
	if err != nil {
		return err
	}
	tables := make(map[string]int64)
	for name, sum := range done.Tables {
		tables[name] = sum.Rows
	}
	return v.print(e, map[string]any{
		"from":   c.DatabaseName(),
		"to":     to.String(),
		"rows":   done.Rows(),
		"tables": tables,
		"epoch":  done.Epoch,
		"seq":    done.Seq,
	}, "copied %d rows of %s to %s in %s and compared every column\nusers stay signed in: set database.url to the copy and start the server",
		done.Rows(), c.DatabaseName(), to, time.Since(began).Round(time.Millisecond))
}

// progressBar returns functions that show the progress of a copy and erase it. It is visible only
// on a terminal.
func (o output) progressBar(e *environment) (show func(backup.Progress), clear func()) {
	f, ok := e.stderr.(*os.File)
	if !ok || o.JSON || !term.IsTerminal(int(f.Fd())) {
		return func(backup.Progress) {}, func() {}
	}
	var last time.Time // of the last update
	show = func(p backup.Progress) {
		if time.Since(last) < 100*time.Millisecond {
			return
		}
		last = time.Now()
		drawBar(f, p.Step, p.Done, p.Total, p.Table)
	}
	return show, func() { fmt.Fprint(f, "\r\x1b[K") }
}

// drawBar draws a progress bar over the one before.
func drawBar(w io.Writer, step string, done, total int64, tail string) {
	const width = 30
	done, total = min(done, max(total, 1)), max(total, 1)
	full := int(done * width / total)
	fmt.Fprintf(w, "\r%-9s [%s%s] %3d%% %-13s", step, strings.Repeat("#", full), strings.Repeat(".", width-full), done*100/total, tail)
}

type dbMigrate struct {
	location
	output
}

func (v dbMigrate) Run(e *environment, c *config.Loaded) error {
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
			return unreachable("", "%w", err)
		}
	}
	text := fmt.Sprintf("migrated the schema from version %d to version %d", from, to)
	if from == to {
		text = fmt.Sprintf("the schema already has version %d", to)
	}
	return v.print(e, map[string]any{"database": c.DatabaseName(), "from": from, "to": to}, "%s: %s", c.DatabaseName(), text)
}

type dbCheck struct {
	location
	output
}

func (v dbCheck) Run(e *environment, c *config.Loaded) error {
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
		fmt.Fprintf(e.stdout, "%s: integrity, references, schema, keys, second factors and security log are good\n", c.DatabaseName())
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
	problems = append(problems, found...)
	if err != nil {
		return problems, hint, err
	}
	seeds, err := account.CheckSeeds(ctx, db, master)
	if err != nil {
		return problems, hint, err
	}
	if len(problems) == 0 && len(seeds) > 0 {
		hint = "These users cannot sign in with a code. Use the master key with which they set up the app, or run durward user reset-factors for each."
	}
	problems = append(problems, seeds...)
	found, err = securitylog.Check(ctx, db, master)
	if len(problems) == 0 {
		hint = "An attacker or another program changed the security log. Keep a copy of the database as evidence, and compare it with a backup and with the log lines \"security log sealed\"."
	}
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
