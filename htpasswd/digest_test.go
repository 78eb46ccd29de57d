package htpasswd

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/durward-auth/durward"
)

func openDigest(t testing.TB, text string, c DigestConfig) *DigestFile {
	t.Helper()
	c.Path = write(t, text)
	f, err := OpenDigest(c)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// The files of Apache's htdigest, of lighttpd's recipe and of openssl have the hashes that Digest
// computes. They are found by name and by the hash of the name.
func TestRecordedDigest(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		file      string
		config    DigestConfig
		algorithm string
		users     [][3]string // user, realm, password
	}{
		{"apache.htdigest", DigestConfig{InsecureMD5: true}, "MD5", [][3]string{{"Mufasa", "notes", "Circle of Life"}, {"josé", "notes", "pässword"}, {"Mufasa", "other", "another"}}},
		{"sha256.htdigest", DigestConfig{}, "SHA-256", [][3]string{{"Mufasa", "notes", "Circle of Life"}, {"josé", "notes", "pässword"}}},
		{"sha256.htdigest", DigestConfig{Algorithm: "SHA-256"}, "SHA-256", [][3]string{{"Mufasa", "notes", "Circle of Life"}}},
		{"sha512-256.htdigest", DigestConfig{Algorithm: "SHA-512-256"}, "SHA-512-256", [][3]string{{"Mufasa", "notes", "Circle of Life"}}},
	} {
		f := openDigest(t, recorded(t, c.file), c.config)
		for _, who := range c.users {
			user, realm, password := who[0], who[1], who[2]
			want, err := durward.HA1(c.algorithm, user, realm, password)
			if err != nil {
				t.Fatal(err)
			}
			hash, err := durward.UserHash(c.algorithm, user, realm)
			if err != nil {
				t.Fatal(err)
			}
			for _, claim := range []durward.DigestClaim{
				{User: user, Realm: realm, Algorithm: c.algorithm}, {UserHash: hash, Realm: realm, Algorithm: c.algorithm},
			} {
				ha1, p, err := f.HA1(t.Context(), claim)
				if err != nil || !bytes.Equal(ha1, want) || p.Subject != user {
					t.Errorf("%s: %+v: got %x, %+v, %v, want %x", c.file, claim, ha1, p, err, want)
					continue
				}
				clear(ha1) // HA1 returns a copy
			}
			line, err := DigestLine(c.algorithm, user, realm, password)
			if err != nil || !strings.Contains(recorded(t, c.file), "\n"+line+"\n") {
				t.Errorf("%s: DigestLine is %q, %v", c.file, line, err)
			}
		}
		user, err := durward.UserHash(c.algorithm, "Mufasa", "notes")
		if err != nil {
			t.Fatal(err)
		}
		for _, claim := range []durward.DigestClaim{
			{}, {User: "nobody", Realm: "notes", Algorithm: c.algorithm}, {User: "mufasa", Realm: "notes", Algorithm: c.algorithm},
			{User: "Mufasa", Realm: "third", Algorithm: c.algorithm}, {User: "Mufasa", Realm: "notes", Algorithm: "SHA-1"}, {User: "Mufasa", Realm: "notes"},
			{User: user, Realm: "notes", Algorithm: c.algorithm},                          // hash as a name
			{UserHash: "Mufasa", Realm: "notes", Algorithm: c.algorithm},                  // name as a hash
			{UserHash: user, Realm: "other", Algorithm: c.algorithm},                      // hash for another realm
			{UserHash: strings.ToUpper(user), Realm: "notes", Algorithm: c.algorithm},     // DigestClaim has lower case
			{User: "Mufasa", UserHash: "nobody", Realm: "notes", Algorithm: c.algorithm},  // UserHash takes precedence
			{User: "Mufasa:notes", Realm: "Circle of Life", Algorithm: c.algorithm},       // other split between name and realm
			{User: "Mufasa", Realm: "notes:7d894304c4d1f22c", Algorithm: "MD5-sess"},      // unknown algorithm
			{User: "Mufasa", Realm: "notes", Algorithm: strings.ToLower(c.algorithm)},     // unknown algorithm
			{User: "Mufasa", Realm: "notes", Algorithm: other(c.algorithm)},               // algorithm without hashes
			{UserHash: user[:len(user)-1] + "g", Realm: "notes", Algorithm: c.algorithm},  // unknown hash
			{UserHash: user + user, Realm: "notes", Algorithm: c.algorithm},               // unknown hash
			{UserHash: user, Realm: "notes", Algorithm: other(c.algorithm), User: "josé"}, // algorithm without hashes
		} {
			ha1, p, err := f.HA1(t.Context(), claim)
			if ha1 != nil || p != nil || !errors.Is(err, durward.InvalidCredentials) {
				t.Errorf("%s: %+v: got %x, %+v, %v, want %s", c.file, claim, ha1, p, err, durward.InvalidCredentials)
			}
		}
	}
}

func other(algorithm string) string {
	if algorithm == "SHA-256" {
		return "SHA-512-256"
	}
	return "SHA-256"
}

// A file can have a user for several realms and algorithms.
func TestSeveralAlgorithms(t *testing.T) {
	t.Parallel()
	f := openDigest(t, recorded(t, "apache.htdigest")+recorded(t, "sha256.htdigest"), DigestConfig{InsecureMD5: true})
	for algorithm, size := range map[string]int{"MD5": 16, "SHA-256": 32} {
		ha1, p, err := f.HA1(t.Context(), durward.DigestClaim{User: "josé", Realm: "notes", Algorithm: algorithm})
		if err != nil || len(ha1) != size || p.Subject != "josé" {
			t.Errorf("%s: got %x, %+v, %v", algorithm, ha1, p, err)
		}
	}
}

const sha256of = "7d894304c4d1f22c1d57fa2c78031d85d7006fd206ad5f2b106c50f1004ee315"

var hostileDigest = []struct{ line, says string }{
	{"Mufasa", "1 parts"},
	{"Mufasa:" + sha256of, "2 parts"},
	{"Mufasa:no:tes:" + sha256of, "hexadecimal"}, // a comment after the hash "tes"
	{":notes:" + sha256of, "user name is empty"},
	{"Mufasa::" + sha256of, "realm is empty"},
	{"Mufasa:notes:", "0 digits"},
	{"Mufasa:notes:Circle of Life", "hexadecimal"},
	{"Mufasa:notes:" + sha256of[:63] + "g", "hexadecimal"},
	{"Mufasa:notes:" + sha256of[:63], "hexadecimal"},
	{"Mufasa:notes:" + sha256of[:62], "62 digits"},
	{"Mufasa:notes:" + sha256of + sha256of, "128 digits"},
	{"Mufasa:notes:" + sha256of[:40], "40 digits"},
	{"Mufasa:notes:1dea6601a2ae32e989fce16038013bb4", "InsecureMD5"},
	{"Muf\x00asa:notes:" + sha256of, "control character in the user name"},
	{"Mufasa:no\x7ftes:" + sha256of, "control character in the realm"},
	{"Muf\xc0asa:notes:" + sha256of, "UTF-8"},
	{"jose\u0301:notes:" + sha256of, "NFC"},
	{strings.Repeat("a", 256) + ":notes:" + sha256of, "user name of 256"},
	{"Mufasa:" + strings.Repeat("a", 256) + ":" + sha256of, "realm of 256"},
	{"Scar:notes:" + sha256of, "duplicate user name for this realm and algorithm; line 1 counts"},
}

// A line with a mistake disables its user alone, as in a password file.
func TestDigestMistakes(t *testing.T) {
	t.Parallel()
	for _, c := range hostileDigest {
		config := DigestConfig{}
		log := logTo(&config.Log)
		f := openDigest(t, "Scar:notes:"+sha256of+"\n"+c.line+"\nlast:notes:"+sha256of+"\n", config)
		at := "htpasswd: " + f.file.path + ": line 2: "
		if len(log.errors) != 1 || !strings.HasPrefix(log.errors[0], at) || !strings.Contains(log.errors[0], c.says) {
			t.Errorf("%.60q: logged %q, want line 2 and %q", c.line, log.errors, c.says)
			continue
		}
		if piece := leaks(strings.TrimPrefix(log.errors[0], at), c.line); piece != "" {
			t.Errorf("%.60q: the log repeats %q: %v", c.line, piece, log.errors)
		}
		for _, user := range []string{"Scar", "last"} {
			if _, _, err := f.HA1(t.Context(), durward.DigestClaim{User: user, Realm: "notes", Algorithm: "SHA-256"}); err != nil {
				t.Errorf("%.60q: the other user %s: got %v, want no error", c.line, user, err)
			}
		}
		if !strings.HasPrefix(c.line, "Mufasa:notes:") {
			continue // a line without a user
		}
		if why := refusedDigest(t, f, "Mufasa", "SHA-256"); why != log.errors[0] {
			t.Errorf("%.60q: the error for the log: got %q, want %q", c.line, why, log.errors[0])
		}
	}
	if _, err := OpenDigest(DigestConfig{Path: write(t, ""), Algorithm: "MD5"}); err == nil || !strings.Contains(err.Error(), "SHA-512-256") {
		t.Errorf("Algorithm MD5: got %v", err)
	}
	if _, err := OpenDigest(DigestConfig{}); err == nil || !strings.Contains(err.Error(), "Path is empty") {
		t.Errorf("no path: got %v", err)
	}
	for _, c := range [][5]string{
		{"SHA-256", "", "notes", "x", "empty"}, {"SHA-256", "a:b", "notes", "x", "colon"}, {"SHA-256", "#a", "notes", "x", "begins with"},
		{"SHA-256", "a", "no:tes", "x", "colon"}, {"SHA-256", "a", "", "x", "empty"}, {"SHA-256", "a", " notes", "x", "blanks around"}, {"SHA-256", "a", "notes", "", "empty"}, {"SHA-1", "a", "notes", "x", "algorithm"},
	} {
		if line, err := DigestLine(c[0], c[1], c[2], c[3]); line != "" || err == nil || !strings.Contains(err.Error(), c[4]) {
			t.Errorf("DigestLine%q: got %q, %v", c[:4], line, err)
		}
	}
}

// refusedDigest requires that a user is refused, by name and by the hash of the name, and returns the
// cause.
func refusedDigest(t *testing.T, f *DigestFile, user, algorithm string) (why string) {
	t.Helper()
	hash, err := durward.UserHash(algorithm, user, "notes")
	if err != nil {
		t.Fatal(err)
	}
	for _, claim := range []durward.DigestClaim{{User: user}, {UserHash: hash}} {
		claim.Realm, claim.Algorithm = "notes", algorithm
		ha1, p, err := f.HA1(t.Context(), claim)
		if ha1 != nil || p != nil || !errors.Is(err, durward.InvalidCredentials) {
			t.Errorf("%+v: got %x, %v, %v, want %s", claim, ha1, p, err, durward.InvalidCredentials)
			continue
		}
		why = strings.TrimSuffix(err.Error(), ": "+string(durward.InvalidCredentials))
	}
	return why
}

// Forms of lines that other servers and tools write.
func TestDigestForms(t *testing.T) {
	t.Parallel()
	const md5of = "1dea6601a2ae32e989fce16038013bb4"
	for _, c := range []struct {
		name, text string
		refused    string // of SHA-256; "" if there is a hash
	}{
		{"comment after the hash: found", "ada:notes:" + sha256of + ":Ada: Lovelace\n", ""},
		{"blanks around all parts: found", " ada : notes : " + sha256of + "\t\r\n", ""},
		{"a mistake, then a line of another algorithm: found", "ada:notes:" + md5of + "\nada:notes:" + sha256of + "\n", ""},
		{"twice: the first counts", "ada:notes:" + sha256of + "\nada:notes:" + strings.Repeat("00", 32) + "\n", ""},
		{"locked: refused", "ada:notes:!\n", "line 2: the user is locked"},
		{"locked, then a hash: refused", "ada:notes:*\nada:notes:" + sha256of + "\n", "line 2: the user is locked"},
		{"a hash, then locked: refused", "ada:notes:" + sha256of + "\nada:notes:!\n", "line 3: the user is locked"},
		{"locked in a line with a mistake, then a hash: refused", "\ufeffada:notes:!\nada:notes:" + sha256of + "\n", "line 2: the user is locked"},
		{"a mistake: refused", "ada:notes:x\n", "line 2: the hash is not in hexadecimal"},
	} {
		config := DigestConfig{}
		logTo(&config.Log)
		f := openDigest(t, "grace:notes:"+sha256of+"\n"+c.text, config)
		if c.refused == "" {
			ha1, _, err := f.HA1(t.Context(), durward.DigestClaim{User: "ada", Realm: "notes", Algorithm: "SHA-256"})
			if err != nil || hex.EncodeToString(ha1) != sha256of {
				t.Errorf("%s: got %x, %v, want the hash", c.name, ha1, err)
			}
		} else if why := refusedDigest(t, f, "ada", "SHA-256"); !strings.Contains(why, c.refused) {
			t.Errorf("%s: the error for the log: got %q, want %q", c.name, why, c.refused)
		}
	}
	for _, text := range []string{"Mufasa:notes:x\n", "\xff\xfeM\x00"} {
		if f, err := OpenDigest(DigestConfig{Path: write(t, text)}); f != nil || err == nil || errors.As(err, new(durward.Code)) {
			t.Errorf("%q, no line can be used: got %v, want an error without a code", text, err)
		}
	}
}

// Users of the system must not have permissions for the file, except its owner and, to read, its group.
func TestDigestMode(t *testing.T) {
	t.Parallel()
	path := write(t, recorded(t, "sha256.htdigest"))
	for _, c := range []struct {
		mode os.FileMode
		ok   bool
	}{
		{0o600, true}, {0o400, true}, {0o640, true}, {0o440, true},
		{0o604, false}, {0o620, false}, {0o602, false}, {0o610, false}, {0o601, false}, {0o644, false}, {0o660, false}, {0o777, false},
	} {
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		_, err := OpenDigest(DigestConfig{Path: path})
		if (err == nil) != c.ok || err != nil && (!strings.Contains(err.Error(), "chmod 600 "+path) || !strings.Contains(err.Error(), "InsecureFileMode")) {
			t.Errorf("mode %v: got %v", c.mode, err)
		}
		if _, err := OpenDigest(DigestConfig{Path: path, InsecureFileMode: true}); err != nil {
			t.Errorf("mode %v with InsecureFileMode: got %v, want no error", c.mode, err)
		}
	}
}
