package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/node"
	"github.com/durward-auth/durward/server/internal/store"
)

type userImport struct {
	location
	output
	File string `arg:"" help:"File with one user per line: CSV with a first line of names, or JSON objects. Names: email, hash, name, admin. The hash is of argon2, bcrypt, scrypt or PBKDF2. - is standard input."`

	LookAlike bool `help:"Accept addresses that look like those of other users."`
}

// importedUser is one line of the file.
type importedUser struct {
	Email string `json:"email"`
	Hash  string `json:"hash"`
	Name  string `json:"name"`
	Admin bool   `json:"admin"`
}

// importFault is a line that was not imported.
type importFault struct {
	Line  int    `json:"line"`
	Error string `json:"error"`
}

// Run adds the users one by one: a line with a mistake does not keep the others out, and the same file
// can be imported again.
func (v userImport) Run(e *environment) error {
	in := e.stdin
	if v.File != "-" {
		f, err := os.Open(v.File)
		if err != nil {
			return unreachable("Name a file of users, or - for standard input.", "cannot open the users: %w", err)
		}
		defer f.Close()
		in = f
	}
	s, err := v.open(e, creating)
	if err != nil {
		return err
	}
	added, faults := 0, []importFault{}
	err = readImport(in, func(line int, u importedUser, fault error) (err error) {
		if fault == nil {
			if fault, err = v.add(e, s, u); err != nil {
				return err
			}
		}
		if fault == nil {
			added++
		} else {
			faults = append(faults, importFault{line, fault.Error()})
		}
		return nil
	})
	switch {
	case err != nil && added == 0 && len(faults) == 0:
		return err
	case v.JSON:
		if err := e.json(map[string]any{"added": added, "faults": faults}); err != nil {
			return err
		}
	default:
		fmt.Fprintf(e.stdout, "added %d users; each gets a hash of this server at the next sign-in\n", added)
		for _, f := range faults {
			e.note("line %d: %s", f.Line, f.Error)
		}
	}
	if err != nil { // the rest of the file was not read
		return err
	}
	if len(faults) > 0 {
		return refused("Mend these lines and import the file again.", "%d lines were not imported", len(faults))
	}
	return nil
}

// add adds a user. fault is a mistake in the line of the user, err any other failure.
func (v userImport) add(e *environment, s *node.Node, u importedUser) (fault, err error) {
	if u.Hash == "" {
		return errors.New("no hash"), nil
	}
	_, err = s.Accounts.Add(e, account.NewUser{
		Email:     u.Email,
		Name:      u.Name,
		Hash:      u.Hash,
		Admin:     u.Admin,
		LookAlike: v.LookAlike,
	}, store.EventUserAdded, operator)
	refusal, mistaken := errors.AsType[*durward.Refusal](err)
	switch {
	case errors.Is(err, store.ErrLookAlike):
		return errors.New("the address looks like that of another user; --look-alike adds it all the same"), nil
	case errors.Is(err, durward.EmailTaken):
		return errors.New("the address has an account already"), nil
	case mistaken:
		return errors.New(strings.TrimSpace(refusal.Detail + " " + refusal.Hint)), nil
	}
	return nil, err
}

// maxImportLine is the size limit of a line of JSON, in octets.
const maxImportLine = 64 << 10

// readImport calls add with each user of a file, or with the mistake in its line. A file that begins
// with a brace has JSON lines. The error of add ends it. A byte order mark, as Excel writes it, is ignored.
func readImport(in io.Reader, add func(line int, u importedUser, err error) error) error {
	r := bufio.NewReaderSize(in, maxImportLine)
	if mark, _ := r.Peek(3); string(mark) == "\ufeff" {
		_, _ = r.Discard(len(mark)) // it is in the buffer
	}
	first, err := r.Peek(1)
	if err != nil && !errors.Is(err, io.EOF) {
		return unreachable("", "cannot read the users: %w", err)
	}
	if bytes.Equal(first, []byte("{")) {
		return readJSONLines(r, add)
	}
	return readCSV(r, add)
}

func readJSONLines(r *bufio.Reader, add func(int, importedUser, error) error) error {
	for number := 1; ; number++ {
		line, end := r.ReadSlice('\n')
		var fault error
		for errors.Is(end, bufio.ErrBufferFull) {
			fault = fmt.Errorf("the line is longer than %d octets", maxImportLine)
			line, end = r.ReadSlice('\n')
		}
		if end != nil && !errors.Is(end, io.EOF) {
			return unreachable("", "cannot read line %d of the users: %w", number, end)
		}
		if fault != nil || len(bytes.TrimSpace(line)) > 0 {
			var u importedUser
			if fault == nil {
				u, fault = userOfJSON(line)
			}
			if err := add(number, u, fault); err != nil {
				return err
			}
		}
		if end != nil {
			return nil
		}
	}
}

// userOfJSON parses a line. The error of the decoder may repeat a value, so it is not returned.
func userOfJSON(line []byte) (u importedUser, err error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if d.Decode(&u) != nil || d.More() {
		return importedUser{}, fmt.Errorf("not a JSON object with the members %s", strings.Join(importNames, ", "))
	}
	return u, nil
}

// importNames are the columns and members of a user.
var importNames = []string{"email", "hash", "name", "admin"}

func readCSV(r *bufio.Reader, add func(int, importedUser, error) error) error {
	rows := csv.NewReader(r)
	rows.TrimLeadingSpace = true
	names, err := rows.Read()
	known := func(name string) bool { return slices.Contains(importNames, name) }
	if err != nil || !slices.Contains(names, "email") || !slices.Contains(names, "hash") || slices.ContainsFunc(names, func(n string) bool { return !known(n) }) {
		return usage("For example: email,name,hash", "the first line of the CSV does not name the columns email and hash, and of %s no other", strings.Join(importNames, ", "))
	}
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		var wrong *csv.ParseError
		if err != nil && !errors.As(err, &wrong) {
			return unreachable("", "cannot read the users: %w", err)
		}
		var line int
		var u importedUser
		if wrong != nil {
			line, err = wrong.StartLine, wrong.Err
		} else {
			line, _ = rows.FieldPos(0)
			u, err = userOfRow(names, row)
		}
		if err := add(line, u, err); err != nil {
			return err
		}
	}
}

func userOfRow(names, row []string) (u importedUser, err error) {
	for i, value := range row {
		switch names[i] {
		case "email":
			u.Email = value
		case "hash":
			u.Hash = value
		case "name":
			u.Name = value
		case "admin":
			if value == "" {
				continue
			}
			if u.Admin, err = strconv.ParseBool(value); err != nil {
				return u, errors.New("admin is neither true nor false")
			}
		}
	}
	return u, nil
}
