package htpasswd

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/durward-auth/durward"
)

// mistaken fails unless err is safe to log: each line names the file, and no line has content of
// the file.
func mistaken(t *testing.T, err error, text []byte) {
	t.Helper()
	said := err.Error()
	if len(said) > 16<<10 || !utf8.ValidString(said) || strings.ContainsAny(said, "\r\x00\x1b") || errors.As(err, new(durward.Code)) {
		t.Fatalf("%q: got the error %q", text, said)
	}
	for line := range strings.Lines(said) {
		if !strings.HasPrefix(line, "htpasswd: FILE: ") {
			t.Fatalf("%q: the error has a line %q", text, line)
		}
	}
	for line := range bytes.Lines(text) {
		if _, hash, ok := bytes.Cut(bytes.TrimSpace(line), []byte("$secret$")); ok && len(hash) > 20 && strings.Contains(said, string(hash)) {
			t.Fatalf("%q: the error repeats a hash: %q", text, said)
		}
	}
}

func names(t *testing.T, what, name string) {
	t.Helper()
	if name == "" || len(name) > maxName || strings.Contains(name, ":") || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
		t.Fatalf("%s %q", what, name)
	}
}

// A password file that is used has valid user names, hashes of limited cost, and one hash of each
// cost. Its users written to a new file are read again without a mistake. The error for any other file,
// and each mistake, names its lines.
func FuzzPasswords(f *testing.F) {
	f.Add([]byte(recorded(f, "apache.htpasswd")))
	f.Add([]byte("\n#\r\na:" + sha1of + "\r\n"))
	f.Add([]byte(" a : " + sha1of + " : b\na:!\nb:*\n"))
	for _, h := range hostile {
		f.Add([]byte(h.line))
	}
	for _, h := range []string{good, argon, sha1of, apr1of, md5of, sha5, sha6} {
		f.Add([]byte("ada:" + h + "\ngrace:" + h + "$secret$"))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 64<<10 {
			return
		}
		config := everything
		config.Path = "FILE"
		p, found, err := readPasswords(text, config)
		if err != nil {
			if p.users != nil || p.each != nil || found != nil {
				t.Fatalf("%q: both %+v and %v", text, p, err)
			}
			mistaken(t, err, text)
			return
		}
		for _, err := range found {
			mistaken(t, err, text)
		}
		costs := make(map[string]bool)
		var again strings.Builder
		for name, h := range p.users {
			names(t, "user name", name)
			if h.refused != nil {
				if h.text != "" || h.cost != "" || h.matches != nil {
					t.Fatalf("%q: %q is refused and has %+v", text, name, h)
				}
				mistaken(t, h.refused, text)
				continue
			}
			if !norm.NFC.IsNormalString(name) || h.text == "" || h.cost == "" || h.holds < 72 || h.memory > 256<<10 || h.matches == nil || strings.ContainsAny(h.text, ": \t") {
				t.Fatalf("%q: %q has %+v", text, name, h)
			}
			if slices.Contains([]string{"SHA-1", "apr1", "md5", "bcrypt 04"}, h.cost) && h.opens([]byte("\x00")) {
				t.Fatalf("%q: %q is opened by what is no password", text, h.text)
			}
			costs[h.cost] = true
			fmt.Fprintf(&again, "%s:%s\n", name, h.text)
		}
		if len(costs) == 0 {
			costs[unknownUser.cost] = true
		}
		if len(p.each) != len(costs) || len(p.each) > maxCosts {
			t.Fatalf("%q: %d hashes for %d costs", text, len(p.each), len(costs))
		}
		q, found, err := readPasswords([]byte(again.String()), config)
		if err != nil || len(found) != 0 || len(q.users) != strings.Count(again.String(), "\n") {
			t.Fatalf("%q: read again as %q: %v, %v", text, again.String(), err, found)
		}
		// Without the options fewer hashes are accepted, never others.
		if p, _, err := readPasswords(text, Config{Path: "FILE"}); err == nil {
			for name, h := range p.users {
				if h.refused == nil && !strings.HasPrefix(h.text, "$2") && !strings.HasPrefix(h.text, "$argon2id$") {
					t.Fatalf("%q: %q has %q without a switch", text, name, h.text)
				}
			}
		}
	})
}

// A file for Digest that is accepted is found by name and by the hash of the name, with hashes of
// the length of their algorithm.
func FuzzDigests(f *testing.F) {
	for _, file := range []string{"apache.htdigest", "sha256.htdigest", "sha512-256.htdigest"} {
		f.Add([]byte(recorded(f, file)), true)
	}
	for _, h := range hostileDigest {
		f.Add([]byte(h.line), false)
	}
	sizes := map[string]int{"MD5": 16, "SHA-256": 32, "SHA-512-256": 32}
	f.Fuzz(func(t *testing.T, text []byte, insecure bool) {
		if len(text) > 64<<10 {
			return
		}
		config := DigestConfig{Path: "FILE", Algorithm: "SHA-512-256", InsecureMD5: insecure}
		d, found, err := readDigests(text, config)
		if err != nil {
			if d != nil || found != nil {
				t.Fatalf("%q: both %+v and %v", text, d, err)
			}
			mistaken(t, err, text)
			return
		}
		for _, err := range found {
			mistaken(t, err, text)
		}
		byName, refused := 0, 0
		var again strings.Builder
		for key, user := range d {
			if key.hashed {
				continue
			}
			byName++
			if user.refused != nil {
				refused++
				mistaken(t, user.refused, text)
				if user.ha1 != nil {
					t.Fatalf("%q: %+v is refused and has %+v", text, key, user)
				}
				continue
			}
			names(t, "user name", key.name)
			names(t, "realm", key.realm)
			hash, err := durward.UserHash(key.algorithm, key.name, key.realm)
			if err != nil {
				t.Fatal(err)
			}
			same := d[digestKey{key.algorithm, key.realm, hash, true}]
			if user.name != key.name || same.name != key.name || !bytes.Equal(same.ha1, user.ha1) || len(user.ha1) != sizes[key.algorithm] || key.algorithm == "MD5" && !insecure {
				t.Fatalf("%q: %+v has %+v, by hash %+v", text, key, user, same)
			}
			fmt.Fprintf(&again, "%s:%s:%s\n", key.name, key.realm, hex.EncodeToString(user.ha1))
		}
		if len(d) != 2*byName {
			t.Fatalf("%q: %d by name, %d by hash", text, byName, len(d)-byName)
		}
		q, found, err := readDigests([]byte(again.String()), config)
		if err != nil || len(found) != 0 || len(q) != len(d)-2*refused {
			t.Fatalf("%q: read again as %q: %v, %v", text, again.String(), err, found)
		}
	})
}
