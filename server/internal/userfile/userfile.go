// Package userfile reads files of users with the hashes of their passwords: CSV and JSON lines in the
// form of durward user import, and the exports of Auth0, Firebase, Keycloak and Supabase.
//
// A fault of one row keeps no other row out. No error and no fault contains a part of a hash.
package userfile

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// ErrForm means that the whole file has another form than expected.
var ErrForm = errors.New("the file has another form")

// User is one user of a file.
type User struct {
	Email  string `json:"email"`
	Hash   string `json:"hash"` // empty if the user has no password
	Name   string `json:"name"`
	Admin  bool   `json:"admin"`
	Locked bool   `json:"locked"`
}

// Row is one user of a file, or the fault of the row.
type Row struct {
	Unit   string // "line" or "user"
	Number int    // the line of the row in the file, or the number of the user
	User   User
	Fault  error
}

// Config tells how to read a file.
type Config struct {
	// Format is one of Formats; "" is the form of durward user import.
	Format string

	// Firebase is required for the format firebase.
	Firebase *Firebase

	Now time.Time // a ban of Supabase that ended before is none
}

// Formats are the names of the forms of other products.
var Formats = []string{"auth0", "firebase", "keycloak", "supabase"}

// Read calls add with each row of a file in their order. The error of add ends it. Other errors wrap
// ErrForm, or are those of in. A byte order mark, as Excel writes it, is ignored.
func Read(in io.Reader, c Config, add func(Row) error) error {
	r := bufio.NewReaderSize(in, maxLine)
	if mark, _ := r.Peek(3); string(mark) == "\ufeff" {
		_, _ = r.Discard(len(mark)) // it is in the buffer
	}
	first, err := r.Peek(1)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	isJSON := bytes.ContainsAny(first, "{[")
	switch c.Format {
	case "":
		if bytes.Equal(first, []byte("{")) {
			return readLines(r, add)
		}
		return readCSV(r, ownColumns, ofRow, add)
	case "auth0":
		return readDocument(r, "", convert(ofAuth0), add)
	case "firebase":
		if c.Firebase == nil {
			return fmt.Errorf("%w: its hashes need the parameters of the project", ErrForm)
		}
		return readDocument(r, "users", convert(c.Firebase.user), add)
	case "keycloak":
		return readDocument(r, "users", convert(ofKeycloak), add)
	case "supabase":
		of := func(s supabaseUser) (User, error) { return s.user(c.Now) }
		if isJSON {
			return readDocument(r, "", convert(of), add)
		}
		return readCSV(r, nil, func(names, row []string) (User, error) { return of(supabaseOfRow(names, row)) }, add)
	}
	return fmt.Errorf("%w: the format %q is unknown, want one of %s", ErrForm, c.Format, strings.Join(Formats, ", "))
}

// maxLine is the size limit of a line of JSON, in octets.
const maxLine = 64 << 10

func readLines(r *bufio.Reader, add func(Row) error) error {
	for number := 1; ; number++ {
		line, end := r.ReadSlice('\n')
		var fault error
		for errors.Is(end, bufio.ErrBufferFull) {
			fault = fmt.Errorf("the line is longer than %d octets", maxLine)
			line, end = r.ReadSlice('\n')
		}
		if end != nil && !errors.Is(end, io.EOF) {
			return end
		}
		if fault != nil || len(bytes.TrimSpace(line)) > 0 {
			var u User
			if fault == nil {
				u, fault = ofLine(line)
			}
			if err := add(Row{"line", number, u, fault}); err != nil {
				return err
			}
		}
		if end != nil {
			return nil
		}
	}
}

// ofLine parses a line. The error of the decoder may repeat a value, so it is not returned.
func ofLine(line []byte) (u User, err error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if d.Decode(&u) != nil || d.More() {
		return User{}, fmt.Errorf("not a JSON object with the members %s", strings.Join(ownColumns, ", "))
	}
	return u, nil
}

// ownColumns are the columns and members of a user in the form of durward user import.
var ownColumns = []string{"email", "hash", "name", "admin", "locked"}

// readCSV reads rows below a line of names. known are the allowed names; the first two are
// required. nil allows all names and requires those of Supabase.
func readCSV(r *bufio.Reader, known []string, of func(names, row []string) (User, error), add func(Row) error) error {
	rows := csv.NewReader(r)
	rows.TrimLeadingSpace = true
	rows.LazyQuotes = known == nil
	required := known
	if known == nil {
		required = supabaseColumns
	}
	names, err := rows.Read()
	unknown := func(name string) bool { return known != nil && !slices.Contains(known, name) }
	if err != nil || !slices.Contains(names, required[0]) || !slices.Contains(names, required[1]) || slices.ContainsFunc(names, unknown) {
		if known == nil {
			return fmt.Errorf("%w: the first line of the CSV does not name the columns %s and %s", ErrForm, required[0], required[1])
		}
		return fmt.Errorf("%w: the first line of the CSV does not name the columns email and hash, and of %s no other", ErrForm, strings.Join(known, ", "))
	}
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		var wrong *csv.ParseError
		if err != nil && !errors.As(err, &wrong) {
			return err
		}
		var line int
		var u User
		if wrong != nil {
			line, err = wrong.StartLine, wrong.Err
		} else {
			line, _ = rows.FieldPos(0)
			u, err = of(names, row)
		}
		if err := add(Row{"line", line, u, err}); err != nil {
			return err
		}
	}
}

func ofRow(names, row []string) (u User, err error) {
	for i, value := range row {
		switch names[i] {
		case "email":
			u.Email = value
		case "hash":
			u.Hash = value
		case "name":
			u.Name = value
		case "admin":
			u.Admin, err = boolean(value)
		case "locked":
			u.Locked, err = boolean(value)
		}
		if err != nil {
			return u, fmt.Errorf("%s is neither true nor false", names[i])
		}
	}
	return u, nil
}

func boolean(value string) (bool, error) {
	if value == "" {
		return false, nil
	}
	return strconv.ParseBool(value)
}

// readDocument reads the users of a JSON array, of one object per line, or of the array member of one
// object. member is "" for files with users as the objects.
func readDocument(r io.Reader, member string, of func(jsontext.Value) (User, error), add func(Row) error) error {
	d := jsontext.NewDecoder(r, lenient)
	number := 0
	one := func() error {
		value, err := d.ReadValue()
		if err != nil {
			return document(err)
		}
		number++
		u, fault := of(value)
		return add(Row{"user", number, u, fault})
	}
	array := func() error {
		if _, err := d.ReadToken(); err != nil {
			return document(err)
		}
		for d.PeekKind() != ']' {
			if err := one(); err != nil {
				return err
			}
		}
		_, err := d.ReadToken()
		return document(err)
	}
	for {
		var err error
		switch kind := d.PeekKind(); {
		case kind == '[':
			err = array()
		case kind == '{' && member == "":
			err = one()
		case kind == '{':
			err = members(d, member, array)
		default:
			if _, err = d.ReadToken(); errors.Is(err, io.EOF) {
				if number == 0 {
					return fmt.Errorf("%w: it has no users", ErrForm)
				}
				return nil
			}
			err = errors.Join(fmt.Errorf("%w: a user is no JSON object", ErrForm), document(err))
		}
		if err != nil {
			return err
		}
	}
}

// members reads an object and calls array at the beginning of the array that is its member name.
func members(d *jsontext.Decoder, name string, array func() error) error {
	if _, err := d.ReadToken(); err != nil {
		return document(err)
	}
	for d.PeekKind() != '}' {
		token, err := d.ReadToken()
		if err != nil {
			return document(err)
		}
		if token.String() == name && d.PeekKind() == '[' {
			err = array()
		} else {
			err = document(d.SkipValue())
		}
		if err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return document(err)
}

// document returns err of a decoder as ErrForm with the place of the mistake. It repeats no value.
func document(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: it ends in the middle", ErrForm)
	}
	if wrong, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return fmt.Errorf("%w: no JSON at octet %d", ErrForm, wrong.ByteOffset)
	}
	return err
}
