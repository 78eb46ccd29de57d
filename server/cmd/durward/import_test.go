package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// A byte order mark is ignored, and a line that is too long keeps no other out.
func TestReadImport(t *testing.T) {
	t.Parallel()
	long := `{"email":"` + strings.Repeat("x", 2*maxImportLine) + `"}` + "\n"
	for _, c := range []struct{ name, text, want string }{
		{"CSV of Excel: read", "\ufeffemail,hash\r\nada@example.com,x\r\n", "2 ada@example.com <nil>\n"},
		{"JSON with a byte order mark: read", "\ufeff{\"email\":\"ada@example.com\"}\n", "1 ada@example.com <nil>\n"},
		{"long line: a fault of that line", "{\"email\":\"a\"}\n" + long + "\n{\"email\":\"b\"}",
			"1 a <nil>\n2  the line is longer than 65536 octets\n4 b <nil>\n"},
		{"long last line: a fault of that line", "{}\n" + strings.TrimSpace(long), "1  <nil>\n2  the line is longer than 65536 octets\n"},
	} {
		got := ""
		err := readImport(strings.NewReader(c.text), func(line int, u importedUser, fault error) error {
			got += fmt.Sprintln(line, u.Email, fault)
			return nil
		})
		if err != nil || got != c.want {
			t.Errorf("%s: got %q, %v, want %q", c.name, got, err, c.want)
		}
	}
}

// A file of users is read to its end, or refused as a whole; lines are counted, and no error repeats a
// value of the file.
func FuzzImport(f *testing.F) {
	const secret = "$2y$04$EVTD5jzxRNGqIo5.afCf0uwnt25IRD16kxCN1mrpesG0Z10/EU7a2"
	f.Add("email,name,hash\nada@example.com,Ada," + secret + "\n")
	f.Add("hash,email,admin\n\"" + secret + "\",a,true\n,b,perhaps\nx\n\"\n")
	f.Add(`{"email":"a","hash":"` + secret + `"}` + "\n\n" + `{"hash":"` + secret + `","x":1}` + "\n{}{}\n[")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		last := 0
		stop := errors.New("stop")
		calls := 0
		readOnce := func(add func(int, importedUser, error) error) error { return readImport(strings.NewReader(text), add) }
		err := readOnce(func(line int, u importedUser, fault error) error {
			calls++
			if line <= last || line > strings.Count(text, "\n")+strings.Count(text, "\r")+1 {
				t.Fatalf("%q: line %d after line %d", text, line, last)
			}
			last = line
			if fault != nil && strings.Contains(fault.Error(), secret[7:]) {
				t.Fatalf("%q: the error repeats a hash: %v", text, fault)
			}
			return nil
		})
		if err != nil && strings.Contains(err.Error(), secret[7:]) {
			t.Fatalf("%q: the error repeats a hash: %v", text, err)
		}
		// The error of the caller ends the file.
		again := 0
		err = readOnce(func(int, importedUser, error) error { again++; return stop })
		if calls > 0 && (again != 1 || !errors.Is(err, stop)) {
			t.Fatalf("%q: %d calls and %v after the caller stopped", text, again, err)
		}
	})
}
