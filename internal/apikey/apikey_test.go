package apikey

import (
	"bytes"
	"crypto/sha256"
	"math/big"
	"regexp"
	"strings"
	"testing"
)

// prefix is the prefix of the tests' keys.
const prefix = "dk_"

// aKey was made by another program. Its secret is the SHA-256 of the empty text; its checksum is the
// CRC-32 that gzip and PNG use.
const aKey = "dk_4fKq81Zx_RZwTDmWjELXeEmMEb0eIIegKayGGUPNsuJweEPhlXi502OQ2n"

func TestNew(t *testing.T) {
	t.Parallel()
	shape := regexp.MustCompile(`^dk_[0-9A-Za-z]{8}_[0-9A-Za-z]{43}[0-9A-Za-z]{6}$`)
	seen := make(map[string]bool)
	for range 200 {
		text := New(prefix)
		publicID, _, err := Parse(prefix, text)
		if err != nil || !shape.MatchString(text) || len(text) != len(aKey) || seen[text] || seen[publicID] {
			t.Fatalf("got a malformed or repeated key of %d characters, %v", len(text), err)
		}
		seen[text], seen[publicID] = true, true
		if publicID != text[3:11] {
			t.Fatalf("got public id %q of key %s", publicID, text[:11])
		}
	}
	publicID, secret, err := Parse(prefix, aKey)
	if err != nil || publicID != "4fKq81Zx" || secret != sha256.Sum256(nil) || Text(prefix, publicID, secret) != aKey {
		t.Errorf("key of another program: got %q, %v", publicID, err)
	}
	// The smallest and the largest key have the same length.
	for publicID, octet := range map[string]byte{"00000000": 0, "ZZZZZZZZ": 0xff} {
		key := Text(prefix, publicID, [SecretOctets]byte(bytes.Repeat([]byte{octet}, SecretOctets)))
		if got, _, err := Parse(prefix, key); err != nil || got != publicID {
			t.Errorf("%s: got %q, %v", publicID, got, err)
		}
	}
}

func TestParseRefused(t *testing.T) {
	t.Parallel()
	// The number after the largest secret, with a correct checksum.
	beyond := prefix + "00000000_" + base62(new(big.Int).Lsh(big.NewInt(1), 256), secretDigits)
	beyond += sum(beyond)
	signed := prefix + "00000000_-" + strings.Repeat("0", secretDigits-1)
	signed += sum(signed)
	good := New(prefix)
	if _, _, err := Parse(prefix, good); err != nil {
		t.Fatal(err)
	}
	bad := []string{"", "dk_", good[:len(good)-1], good + "0", strings.ToUpper(good), strings.ToLower(good), " " + good[1:], good[1:] + " ",
		"dr" + good[2:], strings.Replace(good, "_", "-", 2), beyond, signed, strings.Repeat("0", len(aKey)), strings.Repeat("é", len(aKey)/2) + "0"}
	for i := range good { // another digit, and a letter of another script
		other := byte('0')
		if good[i] == other {
			other = '1'
		}
		bad = append(bad, good[:i]+string(other)+good[i+1:], good[:i]+"а"+good[i+1:])
		if i+1 < len(good) && good[i] != good[i+1] { // two characters swapped
			bad = append(bad, good[:i]+good[i+1:i+2]+good[i:i+1]+good[i+2:])
		}
	}
	for _, s := range bad {
		publicID, _, err := Parse(prefix, s)
		if err == nil || publicID != "" {
			t.Errorf("%q: got a key, want an error", s)
		} else if len(s) > 8 && strings.Contains(err.Error(), s[3:8]) {
			t.Errorf("the error repeats the key: %v", err)
		}
	}
}

// A key that parses has one spelling, and other texts give an error and no key.
func FuzzParse(f *testing.F) {
	for _, s := range []string{New(prefix), Text(prefix, "00000000", [SecretOctets]byte{}), "dk_", "", aKey, strings.Repeat("Z", len(aKey))} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		publicID, secret, err := Parse(prefix, s)
		switch {
		case err != nil && publicID != "":
			t.Errorf("%q: got an error and a public id", s)
		case err == nil && Text(prefix, publicID, secret) != s:
			t.Errorf("%q: got key %q, want the same text", s, Text(prefix, publicID, secret))
		}
	})
}
