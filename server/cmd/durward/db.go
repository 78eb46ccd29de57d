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
	"github.com/durward-auth/durward/server/internal/oauth"
	"github.com/durward-auth/durward/server/internal/store"
)

type dbVerbs struct {
	Backup  dbBackup  `cmd:"" help:"Write a backup to a file, while servers run too. The keys in it are sealed; the master key is not in it."`
	Restore dbRestore `cmd:"" help:"Put a backup in the place of the database. Everybody signs in again, and nothing that was revoked is alive."`
	Copy    dbCopy    `cmd:"" help:"Copy the database to an empty one, of the same engine or another. Nobody signs in again."`
	Migrate dbMigrate `cmd:"" help:"Bring the schema to this program's version, as a start does unless database.migrate is false."`
	Check   dbCheck   `cmd:"" help:"Look for damage: of the database, of references, of the schema, of the keys."`
}

type dbBackup struct {
	place
	output
	File  string `arg:"" help:"File to write."`
	Force bool   `help:"Replace the file where it is there."`
}

func (v dbBackup) Run(e *environment) error {
	l, err := v.load(e)
	if err != nil {
		return err
	}
	if _, err := prepare(e, l, false); err != nil {
		return err
	}
	began := time.Now()
	bar := v.bar(e)
	m, err := store.Backup(e, storeConfig(l), v.File, v.Force, bar.show)
	bar.end()
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
	fmt.Fprintf(e.stdout, "%s: %d rows of %s, %d bytes, in %s; read again and found whole\n", v.File, m.Rows(), l.DatabaseName(), info.Size(), time.Since(began).Round(time.Millisecond))
	fmt.Fprintln(e.stdout, "its keys are sealed: keep the master key too, in another place")
	return nil
}

type dbRestore struct {
	place
	output
	File         string `arg:"" help:"Backup that durward db backup made."`
	Replace      bool   `help:"Replace the database that is there. It is kept in a file beside it."`
	KeepSessions bool   `help:"Keep sessions and keys. What was revoked after the backup is alive again."`
}

func (v dbRestore) Run(e *environment) error {
	l, err := v.load(e)
	if err != nil {
		return err
	}
	folder := l.DataDir
	if path, ok := l.DatabaseURL().File(); ok {
		folder = filepath.Dir(path)
	}
	for _, dir := range []string{l.DataDir, folder} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return &exitError{exitUnreachable, fmt.Errorf("the data folder cannot be made: %w", err), "Choose another with --data DIR."}
		}
	}
	master, err := masterKey(l, false)
	if err != nil {
		return &exitError{exitUnreachable, err, "A backup holds no master key: put the key file of its server in place first. Nothing was changed."}
	}
	now := time.Now()
	epoch := oauth.NewEpoch(v.KeepSessions, now)
	if mark := store.MarkedEpoch(l.CheckpointPath()); mark != "" {
		epoch.Past = append(epoch.Past, mark)
	}
	bar := v.bar(e)
	done, err := store.Restore{
		Backup: v.File, To: store.Config{URL: string(l.DatabaseURL())}, Replace: v.Replace, Folder: folder, Epoch: epoch, Progress: bar.show,
		Kept: filepath.Join(folder, "durward.db.replaced-"+now.UTC().Format("20060102T150405.000Z")),
		Check: func(ctx context.Context, db *store.DB) error {
			if err := db.Issuer(ctx, l.IssuerURL()); err != nil {
				return &exitError{exitRefused, err, "Restore it with the configuration of its server. Nothing was changed."}
			}
			if err := oauth.Opens(ctx, db, master); err != nil {
				return &exitError{exitUnreachable, err, "Put the key file of the backup's server in place first. Nothing was changed."}
			}
			return nil
		},
	}.Do(e)
	bar.end()
	if err != nil {
		return err
	}
	if v.JSON {
		return e.json(map[string]any{"database": l.DatabaseName(), "manifest": done.Manifest, "epoch": done.Ended.Epoch, "kept": done.Kept, "rows": done.Rows(),
			"sessions_ended": done.Sessions, "api_keys_ended": done.APIKeys, "signing_keys_ended": done.SigningKeys})
	}
	fmt.Fprintf(e.stdout, "%s is as it was on %s: %d rows\n", l.DatabaseName(), done.At.Format(time.RFC3339), done.Rows())
	if done.Kept != "" {
		fmt.Fprintf(e.stdout, "what was there before is kept in %s\n", done.Kept)
	}
	for _, line := range endedLines(done.Ended, v.KeepSessions, l.Tokens.Algorithm) {
		fmt.Fprintln(e.stdout, line)
	}
	return nil
}

type dbCopy struct {
	place
	output
	To string `required:"" help:"Address of an empty database: sqlite:PATH or postgres://USER@HOST/DATABASE. A password goes into PGPASSWORD or PGPASSFILE." placeholder:"URL"`
}

func (v dbCopy) Run(e *environment) error {
	l, err := v.load(e)
	if err != nil {
		return err
	}
	if why := config.DatabaseURL(v.To).Fault(); why != "" {
		return &exitError{exitUsage, errors.New("--to " + why), "durward db copy --help shows what there is."}
	}
	if u, err := url.Parse(v.To); err == nil && u.User != nil {
		if _, has := u.User.Password(); has {
			return &exitError{exitUsage, errors.New("that address holds a password, and everybody on the machine can read the arguments"), "Leave it out and set PGPASSWORD or PGPASSFILE. The password may be seen by others now: change it."}
		}
	}
	if _, err := prepare(e, l, false); err != nil {
		return err
	}
	began := time.Now()
	bar := v.bar(e)
	done, err := store.Copy(e, storeConfig(l), store.Config{URL: v.To}, bar.show)
	bar.end()
	if err != nil {
		return err
	}
	var rows int64
	for _, n := range done.Rows {
		rows += n
	}
	if v.JSON {
		return e.json(map[string]any{"from": l.DatabaseName(), "to": config.DatabaseURL(v.To), "rows": rows, "tables": done.Rows, "epoch": done.Epoch, "seq": done.Seq})
	}
	fmt.Fprintf(e.stdout, "%d rows of %s are in %s, in %s; every column was read again and compared\n", rows, l.DatabaseName(), config.DatabaseURL(v.To), time.Since(began).Round(time.Millisecond))
	fmt.Fprintln(e.stdout, "nobody signs in again: set database.url to it and start the server")
	return nil
}

// bar shows on a terminal how far a copy is; elsewhere it is silent.
type bar struct {
	w    io.Writer // nil shows nothing
	last time.Time
}

func (o output) bar(e *environment) *bar {
	if f, ok := e.stderr.(*os.File); ok && !o.JSON && term.IsTerminal(int(f.Fd())) {
		return &bar{w: f}
	}
	return new(bar)
}

func (b *bar) show(p store.Progress) {
	if b.w == nil || time.Since(b.last) < 100*time.Millisecond {
		return
	}
	b.last = time.Now()
	const width = 30
	full := int(p.Done * width / max(p.Total, 1))
	fmt.Fprintf(b.w, "\r%-9s [%s%s] %3d%% %-13s", p.Step, strings.Repeat("#", full), strings.Repeat(".", width-full), p.Done*100/max(p.Total, 1), p.Table)
}

// end takes the bar away.
func (b *bar) end() {
	if b.w != nil {
		fmt.Fprint(b.w, "\r\x1b[K")
	}
}

type dbMigrate struct {
	place
	output
}

func (v dbMigrate) Run(e *environment) error {
	l, err := v.load(e)
	if err != nil {
		return err
	}
	// A file that is not there was named wrongly. A database of a server is there, and
	// may be empty: the right to make tables may be this verb's alone.
	_, file := l.DatabaseURL().File()
	isNew, err := prepare(e, l, !file)
	if err != nil {
		return err
	}
	from, to, err := store.Migrate(e, storeConfig(l))
	if err != nil {
		return err
	}
	if isNew { // its key is made with it
		if _, err := masterKey(l, true); err != nil {
			return &exitError{exitUnreachable, err, ""}
		}
	}
	if v.JSON {
		return e.json(map[string]any{"database": l.DatabaseName(), "from": from, "to": to})
	}
	if from == to {
		fmt.Fprintf(e.stdout, "%s: the schema is of version %d already\n", l.DatabaseName(), to)
	} else {
		fmt.Fprintf(e.stdout, "%s: the schema was of version %d and is of version %d now\n", l.DatabaseName(), from, to)
	}
	return nil
}

type dbCheck struct {
	place
	output
}

func (v dbCheck) Run(e *environment) (err error) {
	l, err := v.load(e)
	if err != nil {
		return err
	}
	if _, err := prepare(e, l, false); err != nil {
		return err
	}
	var problems []string
	hint := "Stop the server, keep the file, and restore the last backup."
	c := storeConfig(l)
	c.KeepSchema = true // it looks
	db, err := store.Open(e, c)
	if open := new(store.OpenError); errors.Is(err, store.ErrWentBack) && errors.As(err, &open) {
		problems, hint = append(problems, err.Error()), open.Hint
		c.WentBack = true
		db, err = store.Open(e, c)
	}
	if errors.Is(err, store.ErrDamaged) {
		problems = []string{err.Error()}
	} else if err != nil {
		return err // a newer schema, or a disk that does not answer: a restored backup would only lose data
	} else {
		defer func() { err = errors.Join(err, db.Close()) }()
		found, err := db.Check(e)
		if err != nil {
			found = append(found, err.Error())
		}
		problems = append(problems, found...)
		if master, err := masterKey(l, false); err != nil {
			problems = append(problems, err.Error())
		} else if found, err := oauth.CheckKeys(e, db, master); err != nil {
			return err
		} else {
			problems = append(problems, found...)
		}
	}
	if v.JSON {
		if err := e.json(map[string]any{"path": l.DatabaseName(), "problems": append([]string{}, problems...)}); err != nil {
			return err
		}
	} else {
		for _, p := range problems {
			fmt.Fprintln(e.stdout, printable.Text(p))
		}
	}
	if len(problems) > 0 {
		return refused(hint, "%s: %d things are wrong", l.DatabaseName(), len(problems))
	}
	if !v.JSON {
		fmt.Fprintf(e.stdout, "%s: integrity, references, schema and keys are good\n", l.DatabaseName())
	}
	return nil
}

// endedLines says what a new epoch ended.
func endedLines(ended store.Ended, kept bool, algorithm string) []string {
	if kept {
		return []string{"A new epoch has begun and everybody stays signed in: what was revoked in the time that the database lost is alive again, sessions, tokens and API keys."}
	}
	lines := []string{
		fmt.Sprintf("A new epoch has begun: everybody signs in again (%d sessions ended), and nothing that was revoked is alive.", ended.Sessions),
		fmt.Sprintf("%d API keys ended, since any of them may have been revoked in the time that the database lost: their owners make new ones.", ended.APIKeys),
	}
	if algorithm == "HS256" {
		return append(lines, "Access tokens that were signed with tokens.shared_secret are alive until their end: change it to end them now.")
	}
	return append(lines, fmt.Sprintf("%d signing keys ended with all access tokens that they signed: new ones are made at the next start, and verifiers elsewhere read the key set anew.", ended.SigningKeys))
}
