package account

import (
	"bytes"
	"crypto/sha256"
	"math/big"
	"regexp"
	"strings"
	"testing"
)

// aKey was made by another program. Its secret is the SHA-256 of the empty text; its checksum is the
// CRC-32 that gzip and PNG use.
const aKey = "dk_4fKq81Zx_RZwTDmWjELXeEmMEb0eIIegKayGGUPNsuJweEPhlXi502OQ2n"

func TestKeyText(t *testing.T) {
	t.Parallel()
	shape := regexp.MustCompile(`^dk_[0-9A-Za-z]{8}_[0-9A-Za-z]{43}[0-9A-Za-z]{6}$`)
	seen := make(map[string]bool)
	for range 200 {
		text := newKeyText()
		publicID, err := parseKeyText(text)
		if err != nil || !shape.MatchString(text) || len(text) != keyChars || seen[text] || seen[publicID] {
			t.Fatalf("got a malformed or repeated key of %d characters, %v", len(text), err)
		}
		seen[text], seen[publicID] = true, true
		if publicID != text[3:11] {
			t.Fatalf("got public id %q of key %s", publicID, text[:11])
		}
	}
	if publicID, err := parseKeyText(aKey); err != nil || publicID != "4fKq81Zx" || keyText(publicID, sha256.Sum256(nil)) != aKey {
		t.Errorf("key of another program: got %q, %v", publicID, err)
	}
	// The smallest and the largest key have the same length.
	for publicID, octet := range map[string]byte{"00000000": 0, "ZZZZZZZZ": 0xff} {
		key := keyText(publicID, [secretOctets]byte(bytes.Repeat([]byte{octet}, secretOctets)))
		if got, err := parseKeyText(key); err != nil || got != publicID {
			t.Errorf("%s: got %q, %v", publicID, got, err)
		}
	}
}

func TestKeyTextRefused(t *testing.T) {
	t.Parallel()
	// The number after the largest secret, with a correct checksum.
	beyond := KeyPrefix + "00000000_" + base62(new(big.Int).Lsh(big.NewInt(1), 256), secretDigits)
	beyond += keySum(beyond)
	signed := KeyPrefix + "00000000_-" + strings.Repeat("0", secretDigits-1)
	signed += keySum(signed)
	good := newKeyText()
	if _, err := parseKeyText(good); err != nil {
		t.Fatal(err)
	}
	bad := []string{"", "dk_", good[:len(good)-1], good + "0", strings.ToUpper(good), strings.ToLower(good), " " + good[1:], good[1:] + " ",
		"dr" + good[2:], strings.Replace(good, "_", "-", 2), beyond, signed, strings.Repeat("0", keyChars), strings.Repeat("é", keyChars/2) + "0"}
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
		publicID, err := parseKeyText(s)
		if err == nil || publicID != "" {
			t.Errorf("%q: got a key, want an error", s)
		} else if len(s) > 8 && strings.Contains(err.Error(), s[3:8]) {
			t.Errorf("the error repeats the key: %v", err)
		}
	}
}

func TestWithoutKeys(t *testing.T) {
	t.Parallel()
	key := newKeyText()
	for s, want := range map[string]string{
		"/api/keys/" + key:             "/api/keys/" + key[:shownKey] + "_[redacted]",
		key + "/" + key[:30] + "/x":    key[:shownKey] + "_[redacted]/" + key[:shownKey] + "_[redacted]/x",
		"/api/keys/" + key[:shownKey]:  "/api/keys/" + key[:shownKey],
		"/api/profile":                 "/api/profile",
		"/dk_":                         "/dk_",
		"/" + strings.ToUpper(key)[3:]: "/" + strings.ToUpper(key)[3:],
	} {
		if got := WithoutKeys(s); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// A key that parses has one spelling, and other texts give an error and no key.
func FuzzKeyText(f *testing.F) {
	for _, s := range []string{newKeyText(), keyText("00000000", [secretOctets]byte{}), "dk_", "", aKey, strings.Repeat("Z", keyChars)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		publicID, err := parseKeyText(s)
		if err != nil && publicID != "" {
			t.Errorf("%q: got an error and a public id", s)
		}
		if err == nil {
			n, _ := new(big.Int).SetString(s[shownKey+1:keyBody], 62)
			if again := keyText(publicID, [secretOctets]byte(n.FillBytes(make([]byte, secretOctets)))); again != s {
				t.Errorf("%q: got key %q, want the same text", s, again)
			}
		}
		if err == nil && strings.Contains(WithoutKeys(s), s[shownKey+1:]) {
			t.Errorf("WithoutKeys(%q) keeps the secret", s)
		}
	})
}
