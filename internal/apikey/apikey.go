// Package apikey makes and parses API keys.
//
// A key has this form:
//
//	dk_ SSSSSSSS _ BBBBBBB…43 KKKKKK
//	|   |          |          |
//	|   |          |          CRC-32 of the text before it, 6 characters
//	|   |          32 random octets, 43 characters
//	|   public id, 8 characters
//	prefix, chosen by the application
//
// Each part after the prefix is a number in base 62 (0-9, a-z, A-Z), most significant digit first, padded
// with zeros to the length of its largest value. So a key has one length and one spelling, scanners find
// leaked keys, and a typing error is detected without a look-up.
package apikey

import (
	"crypto/rand"
	"errors"
	"hash/crc32"
	"math/big"
	"strings"
)

const (
	// PublicDigits is the length of a public id.
	PublicDigits = 8

	// SecretOctets is the length of the random secret in a key.
	SecretOctets = 32

	secretDigits = 43 // 62^42 < 2^256 < 62^43
	sumDigits    = 6  // 62^5 < 2^32 < 62^6
	bodyChars    = PublicDigits + 1 + secretDigits
)

// New returns a random key that begins with prefix.
func New(prefix string) string {
	var secret [SecretOctets]byte
	_, _ = rand.Read(secret[:]) // crypto/rand.Read never returns an error
	n, err := rand.Int(rand.Reader, new(big.Int).Exp(big.NewInt(62), big.NewInt(PublicDigits), nil))
	if err != nil {
		panic(err) // as above
	}
	return Text(prefix, base62(n, PublicDigits), secret)
}

// Text returns the key with a prefix, a public id and a secret.
func Text(prefix, publicID string, secret [SecretOctets]byte) string {
	body := prefix + publicID + "_" + base62(new(big.Int).SetBytes(secret[:]), secretDigits)
	return body + sum(body)
}

func sum(body string) string {
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

// Parse returns the parts of a key with the given prefix, in its only spelling. Its errors contain
// nothing of key.
func Parse(prefix, key string) (publicID string, secret [SecretOctets]byte, err error) {
	if len(key) != len(prefix)+bodyChars+sumDigits {
		return "", secret, errors.New("an API key has another length")
	}
	body, checksum := key[:len(prefix)+bodyChars], key[len(prefix)+bodyChars:]
	id, digits := body[len(prefix):len(body)-secretDigits-1], body[len(body)-secretDigits:]
	switch {
	case body[:len(prefix)] != prefix, body[len(body)-secretDigits-1] != '_', !isBase62(id), !isBase62(digits):
		return "", secret, errors.New("an API key has another form")
	case sum(body) != checksum:
		return "", secret, errors.New("the checksum of the API key is wrong")
	}
	n, ok := new(big.Int).SetString(digits, 62)
	if !ok || n.BitLen() > 8*SecretOctets {
		return "", secret, errors.New("the secret of the API key has more than 256 bits")
	}
	return id, [SecretOctets]byte(n.FillBytes(secret[:])), nil
}
