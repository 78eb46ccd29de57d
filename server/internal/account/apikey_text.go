package account

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"hash/crc32"
	"math/big"
	"regexp"
	"strings"
)

// An API key has this form:
//
//	dk_ SSSSSSSS _ BBBBBBB…43 KKKKKK
//	    |          |          |
//	    |          |          CRC-32 of the text before it, 6 characters
//	    |          32 random octets, 43 characters
//	    public id, 8 characters
//
// Each part is a number in base 62 (0-9, a-z, A-Z), most significant digit first, padded with zeros to
// the length of its largest value. So a key has one length and one spelling, scanners find leaked
// keys, and a typing error is detected without a look-up.
const (
	// KeyPrefix is the start of every API key.
	KeyPrefix = "dk_"

	publicDigits = 8
	secretOctets = 32
	secretDigits = 43 // 62^42 < 2^256 < 62^43
	sumDigits    = 6  // 62^5 < 2^32 < 62^6

	// shownKey is the length of the public part of a key: prefix and public id.
	shownKey = len(KeyPrefix) + publicDigits
	keyBody  = shownKey + 1 + secretDigits
	keyChars = keyBody + sumDigits
)

// newKeyText returns a random key.
func newKeyText() string {
	var secret [secretOctets]byte
	_, _ = rand.Read(secret[:]) // crypto/rand.Read never returns an error
	n, err := rand.Int(rand.Reader, new(big.Int).Exp(big.NewInt(62), big.NewInt(publicDigits), nil))
	if err != nil {
		panic(err) // as above
	}
	return keyText(base62(n, publicDigits), secret)
}

func keyText(publicID string, secret [secretOctets]byte) string {
	body := KeyPrefix + publicID + "_" + base62(new(big.Int).SetBytes(secret[:]), secretDigits)
	return body + keySum(body)
}

func keySum(body string) string {
	return base62(big.NewInt(int64(crc32.ChecksumIEEE([]byte(body)))), sumDigits)
}

func base62(n *big.Int, digits int) string {
	text := n.Text(62)
	return strings.Repeat("0", digits-len(text)) + text
}

func isBase62(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool {
		return !(c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z')
	})
}

// parseKeyText returns the public id of a key in its only spelling. Its errors contain nothing of s.
func parseKeyText(s string) (publicID string, err error) {
	switch {
	case len(s) != keyChars:
		return "", errors.New("an API key has another length")
	case s[:len(KeyPrefix)] != KeyPrefix || s[shownKey] != '_' || !isBase62(s[len(KeyPrefix):shownKey]) || !isBase62(s[shownKey+1:]):
		return "", errors.New("an API key has another form")
	case keySum(s[:keyBody]) != s[keyBody:]:
		return "", errors.New("the checksum of the API key is wrong")
	}
	n, ok := new(big.Int).SetString(s[shownKey+1:keyBody], 62)
	if !ok || n.BitLen() > 8*secretOctets {
		return "", errors.New("the secret of the API key has more than 256 bits")
	}
	return s[len(KeyPrefix):shownKey], nil
}

// keyHash returns the hash that the store keeps. A key has 256 random bits and cannot be guessed, so a
// fast hash is sufficient.
func keyHash(key string) [sha256.Size]byte { return sha256.Sum256([]byte(key)) }

var keysIn = regexp.MustCompile(`(dk_[0-9A-Za-z]{8})_[0-9A-Za-z]+`)

// WithoutKeys removes the secret part of API keys from a text, such as the path of a request.
func WithoutKeys(s string) string {
	if !strings.Contains(s, KeyPrefix) {
		return s
	}
	return keysIn.ReplaceAllString(s, "${1}_[redacted]")
}
