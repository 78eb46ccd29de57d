package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/node"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/userfile"
)

type userImport struct {
	location
	output
	File string `arg:"" help:"File with one user per line: CSV with a first line of names, or JSON objects. Names: email, hash, name, admin, locked. The hash is of argon2, bcrypt, scrypt or PBKDF2. - is standard input."`

	Format             string `enum:",auth0,firebase,keycloak,supabase" default:"" placeholder:"PRODUCT" help:"The file is an export of auth0, firebase, keycloak or supabase."`
	FirebaseParameters string `placeholder:"FILE" help:"File with the password hash parameters of the Firebase project, as its console shows them."`
	DryRun             bool   `help:"Check each user of the file and add none."`
	Report             string `placeholder:"FILE" help:"Write the users that were not added to a file, one JSON object per line."`
	WithoutHash        bool   `help:"Add users without a hash too. Each of them needs a new password."`
	Restart            bool   `help:"Begin at the first user, although an import was interrupted."`
	LookAlike          bool   `help:"Accept addresses that look like those of other users."`
}

// whereInFile returns the place of a user in the file.
func whereInFile(f account.ImportFault) string {
	if f.Line > 0 {
		return fmt.Sprint("line ", f.Line)
	}
	return fmt.Sprint("user ", f.User)
}

// flagOf returns the flag of an option.
func flagOf(option string) string { return "--" + option }

// importState is the state of an import, stored with the users of each batch, so that the import
// continues there after an interruption.
type importState struct {
	File   string `json:"file"` // SHA-256
	Rows   int    `json:"rows"` // read so far
	Added  int    `json:"added"`
	Faults int    `json:"faults"`
	Report int64  `json:"report"` // octets of the report
}

// shownFaults is the number of faults that are printed as text.
const shownFaults = 100

// Run adds the users. A row with a mistake keeps no other user out.
func (v userImport) Run(e *environment) error {
	c := userfile.Config{Format: v.Format, Now: time.Now()}
	if err := v.readParameters(&c); err != nil {
		return err
	}
	i := importer{userImport: v, e: e}
	if v.File != "-" {
		f, err := os.Open(v.File)
		if err != nil {
			return unreachable("Name a file of users, or - for standard input.", "cannot open the users: %w", err)
		}
		defer f.Close()
		if i.state.File, i.size, err = checksum(f); err != nil {
			return unreachable("", "cannot read the users: %w", err)
		}
		i.in.r = f
	} else {
		i.in.r = e.stdin
	}
	access := node.Creating
	if v.DryRun {
		access = node.Writing
	}
	s, err := v.open(e, access)
	if err != nil {
		return err
	}
	i.node = s
	i.to = account.Import{Accounts: s.Accounts, From: operator, LookAlike: v.LookAlike, WithoutHash: v.WithoutHash, DryRun: v.DryRun}
	if err := i.resume(); err != nil {
		return err
	}
	if v.Report != "" {
		if i.report, err = os.OpenFile(v.Report, os.O_CREATE|os.O_WRONLY, 0o600); err == nil {
			defer i.report.Close()
			err = i.report.Truncate(i.state.Report) // what a batch wrote that was not stored
		}
		if err != nil {
			return unreachable("", "cannot write the report: %w", err)
		}
	}
	err = userfile.Read(&i.in, c, i.row)
	if err == nil {
		err = i.flush()
	}
	i.erase()
	if err == nil && i.stored != "" && !v.DryRun {
		err = s.DB.EndImport(e, i.stored)
	}
	return i.end(err)
}

// readParameters reads the parameters of a Firebase project into c.
func (v userImport) readParameters(c *userfile.Config) error {
	const hint = "Copy them from the console of Firebase: Authentication, Users, the menu, Password hash parameters."
	switch {
	case v.Format != "firebase" && v.FirebaseParameters != "":
		return usage("Add --format firebase.", "--firebase-parameters is for the format firebase")
	case v.Format != "firebase":
		return nil
	case v.FirebaseParameters == "":
		return usage(hint, "the format firebase needs --firebase-parameters")
	}
	text, err := os.ReadFile(v.FirebaseParameters)
	if err != nil {
		return unreachable(hint, "cannot read the parameters of Firebase: %w", err)
	}
	if c.Firebase, err = userfile.ParseFirebase(string(text)); err != nil {
		return usage(hint, "cannot use the parameters of Firebase: %w", err)
	}
	return nil
}

// checksum returns the SHA-256 and the size of a file, of which the next read gives the beginning.
func checksum(f *os.File) (sum string, size int64, err error) {
	h := sha256.New()
	if size, err = io.Copy(h, f); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	return hex.EncodeToString(h.Sum(nil)), size, err
}

// importer is a running import.
type importer struct {
	userImport
	e      *environment
	node   *node.Node
	to     account.Import
	in     countingReader
	size   int64    // of the file, 0 if unknown
	report *os.File // nil without one

	state   importState
	stored  string // state in the database
	skip    int    // rows that were stored before
	batch   []userfile.Row
	faults  []account.ImportFault // of this run
	began   time.Time
	lastBar time.Time
	bar     bool
}

// countingReader counts the octets that were read.
type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// resume continues an import of the same file that was interrupted.
func (i *importer) resume() (err error) {
	i.began = time.Now()
	if i.stored, err = i.node.DB.ImportState(i.e); err != nil || i.stored == "" {
		return err
	}
	var was importState
	if err := json.Unmarshal([]byte(i.stored), &was); err != nil {
		was = importState{} // of a newer version
	}
	switch {
	case i.Restart:
	case i.state.File == "" || was.File != i.state.File:
		return refused("Import that file again: it continues. Or add --restart to forget that import; its users stay.",
			"an import of another file was interrupted after %d users", was.Rows)
	default:
		i.state, i.skip = was, was.Rows
		i.e.note("continuing after the first %d users, which an interrupted import read", was.Rows)
	}
	return nil
}

// row takes one row of the file.
func (i *importer) row(r userfile.Row) error {
	if i.skip > 0 {
		i.skip--
		return nil
	}
	if i.batch = append(i.batch, r); len(i.batch) < account.ImportBatch {
		return nil
	}
	return i.flush()
}

// flush adds the users of the batch, in one transaction with the state of the import.
func (i *importer) flush() error {
	if len(i.batch) == 0 {
		return nil
	}
	var state importState
	var stored string
	var faults []account.ImportFault
	finish := func(refusals []error) (err error) {
		state, faults = i.state, nil
		state.Rows += len(i.batch)
		for n, err := range refusals {
			if err != nil {
				faults = append(faults, account.ImportFaultOf(i.batch[n], err, flagOf))
			}
		}
		state.Added += len(i.batch) - len(faults)
		state.Faults += len(faults)
		if state.Report, err = i.write(faults); err != nil {
			return unreachable("", "cannot write the report: %w", err)
		}
		text, err := json.Marshal(state)
		stored = string(text)
		return err
	}
	refusals, err := i.to.AddRows(i.e, i.batch, i.stored, func(refusals []error) (string, error) {
		err := finish(refusals)
		return stored, err
	})
	if errors.Is(err, store.ErrChanged) {
		return refused("Wait until it ends.", "another import runs")
	}
	if err == nil && i.DryRun {
		err = finish(refusals)
	}
	if err != nil {
		return err
	}
	if !i.DryRun {
		i.stored = stored
	}
	i.state, i.faults, i.batch = state, append(i.faults, faults...), i.batch[:0]
	i.show()
	return nil
}

// write writes faults to the report, behind those of the batches before, and returns its size.
func (i *importer) write(faults []account.ImportFault) (size int64, err error) {
	size = i.state.Report
	if i.report == nil {
		return size, nil
	}
	var text []byte
	for _, f := range faults {
		line, err := json.Marshal(f)
		if err != nil {
			return 0, err
		}
		text = append(append(text, line...), '\n')
	}
	if _, err = i.report.WriteAt(text, size); err == nil {
		err = i.report.Sync()
	}
	return size + int64(len(text)), err
}

// show draws the progress on a terminal.
func (i *importer) show() {
	f, ok := i.e.stderr.(*os.File)
	if !ok || i.JSON || !term.IsTerminal(int(f.Fd())) || time.Since(i.lastBar) < 100*time.Millisecond {
		return
	}
	i.lastBar, i.bar = time.Now(), true
	done := i.in.n
	if i.size == 0 {
		done = 0
	}
	drawBar(f, "users", done, i.size, fmt.Sprintf("%d added, %d not", i.state.Added, i.state.Faults))
}

// erase removes the progress.
func (i *importer) erase() {
	if i.bar {
		fmt.Fprint(i.e.stderr, "\r\x1b[K")
	}
}

// end prints the result. err is the reason why the rest of the file was not read.
func (i *importer) end(err error) error {
	if errors.Is(err, userfile.ErrForm) {
		err = usage("For example: email,name,hash. --format reads the exports of other products.", "cannot read the users: %w", err)
	}
	added, verb := i.state.Added, "added"
	if i.DryRun {
		verb = "would add"
	}
	switch {
	case err != nil && i.state.Rows == 0:
		return err
	case i.JSON:
		if err := i.e.json(map[string]any{"added": added, "dry_run": i.DryRun, "faults": append([]account.ImportFault{}, i.faults...)}); err != nil {
			return err
		}
	default:
		fmt.Fprintf(i.e.stdout, "%s %d users; each gets a hash of this server at the next sign-in\n", verb, added)
		for n, f := range i.faults {
			if n == shownFaults {
				i.e.note("%d more lines; --report FILE writes all to a file", len(i.faults)-n)
				break
			}
			i.e.note("%s: %s", whereInFile(f), f.Error)
		}
	}
	if err != nil { // the rest of the file was not read
		return err
	}
	if i.state.Faults > 0 {
		return refused("Mend these lines and import the file again.", "%d lines were not imported", i.state.Faults)
	}
	return nil
}
