// Package digest computes the hashes of HTTP Digest authentication (RFC 7616). The server and the
// client share it.
package digest

import (
	"cmp"
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Algorithm is a hash function that Digest knows. The zero Algorithm is none.
type Algorithm struct {
	Name string // as in the IANA registry: "SHA-256", "SHA-512-256" or "MD5"
	Size int    // length of a hash in bytes
}

var algorithms = map[string]Algorithm{
	"SHA-256":     {"SHA-256", sha256.Size},
	"SHA-512-256": {"SHA-512-256", sha512.Size256},
	"MD5":         {"MD5", md5.Size},
}

// Named returns the algorithm with this exact name, or the zero Algorithm.
func Named(name string) Algorithm { return algorithms[name] }

// Parse reads the algorithm parameter of a challenge or of credentials. The empty string means MD5
// (RFC 7616 s3.3). It returns the zero Algorithm for an unknown name.
func Parse(parameter string) (a Algorithm, sess bool) {
	parameter = cmp.Or(parameter, "MD5")
	name, sess := strings.CutSuffix(strings.ToUpper(parameter), "-SESS")
	return algorithms[name], sess
}

// Sum appends the hash of text to dst. It is a switch instead of a table of functions, so that the
// caller's buffers stay on its stack.
func (a Algorithm) Sum(dst, text []byte) []byte {
	switch a.Name {
	case "SHA-512-256":
		s := sha512.Sum512_256(text)
		return append(dst, s[:]...)
	case "MD5":
		s := md5.Sum(text)
		return append(dst, s[:]...)
	}
	s := sha256.Sum256(text)
	return append(dst, s[:]...)
}

// New returns a new hash.Hash of the algorithm.
func (a Algorithm) New() hash.Hash {
	switch a.Name {
	case "SHA-512-256":
		return sha512.New512_256()
	case "MD5":
		return md5.New()
	}
	return sha256.New()
}

// AppendHex appends the hash of text in lower-case hex: the function H of RFC 7616 s3.3.
func (a Algorithm) AppendHex(dst, text []byte) []byte {
	var room [64]byte
	return hex.AppendEncode(dst, a.Sum(room[:0], text))
}

// HA1 returns the hash of user ":" realm ":" password (RFC 7616 s3.4.2). A user name with a colon is
// an error: it would have the same hash as another user in another realm.
func HA1(algorithm, user, realm, password string) ([]byte, error) {
	if strings.Contains(user, ":") {
		return nil, errors.New("durward: Digest: the user name contains a colon")
	}
	return Hash(algorithm, user+":"+realm+":"+password)
}

// UserHash returns the hash of user ":" realm in hex (RFC 7616 s3.4.4).
func UserHash(algorithm, user, realm string) (string, error) {
	sum, err := Hash(algorithm, user+":"+realm)
	return hex.EncodeToString(sum), err
}

// Hash returns the hash of text by the algorithm with this name.
func Hash(algorithm, text string) ([]byte, error) {
	a, ok := algorithms[algorithm]
	if !ok {
		return nil, fmt.Errorf("durward: Digest: unknown algorithm %q; use SHA-256, SHA-512-256 or MD5", algorithm)
	}
	return a.Sum(make([]byte, 0, a.Size), []byte(text)), nil
}

// AppendSecret appends the hash of A1 in hex (RFC 7616 s3.4.2): ha1 itself, or with sess a key for one
// nonce and one client nonce.
func AppendSecret(dst []byte, a Algorithm, sess bool, ha1 []byte, nonce, cnonce string) []byte {
	if !sess {
		return hex.AppendEncode(dst, ha1)
	}
	text := hex.AppendEncode(make([]byte, 0, 256), ha1)
	text = append(append(text, ':'), nonce...)
	text = append(append(text, ':'), cnonce...)
	return a.AppendHex(dst, text)
}

// Parts are the parameters that a response covers besides the secret, the method and the body.
type Parts struct{ URI, Nonce, NC, CNonce, QOP string }

// AppendResponse appends the response parameter (RFC 7616 s3.4.1, s3.4.3). secret is the result of
// AppendSecret. body is the hash of the body in hex; only auth-int uses it. With an empty method the
// result is the server's rspauth (s3.5).
func (p Parts) AppendResponse(dst []byte, a Algorithm, secret []byte, method string, body []byte) []byte {
	text := append(make([]byte, 0, 512), method...)
	text = append(append(text, ':'), p.URI...)
	if p.QOP == "auth-int" {
		text = append(append(text, ':'), body...)
	}
	var room [64]byte
	ha2 := a.AppendHex(room[:0], text)
	text = append(text[:0], secret...)
	for _, part := range [...]string{p.Nonce, p.NC, p.CNonce, p.QOP} {
		text = append(append(text, ':'), part...)
	}
	text = append(append(text, ':'), ha2...)
	return a.AppendHex(dst, text)
}

// AppendResponseWithoutQOP appends the response parameter of RFC 2069 s2.1.2, which covers neither a
// count nor a client nonce. Servers that check passwords with it can be sent the same answer twice.
func (p Parts) AppendResponseWithoutQOP(dst []byte, a Algorithm, secret []byte, method string) []byte {
	var room [64]byte
	ha2 := a.AppendHex(room[:0], []byte(method+":"+p.URI))
	text := append(append(append(make([]byte, 0, 512), secret...), ':'), p.Nonce...)
	return a.AppendHex(dst, append(append(text, ':'), ha2...))
}

// EncodeName returns the value of username* for a user name in UTF-8 (RFC 8187 s3.2.1).
func EncodeName(name string) string {
	var b strings.Builder
	b.WriteString("UTF-8''")
	for i := range len(name) {
		switch c := name[i]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', strings.IndexByte("!#$&+-.^_`|~", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// DecodeName reads the value of username* (RFC 8187 s3.2.1). It returns the empty string for another
// charset than UTF-8, wrong encoding or control characters.
func DecodeName(value string) string {
	charset, rest, ok := strings.Cut(value, "'")
	_, encoded, ok2 := strings.Cut(rest, "'")
	if !ok || !ok2 || !strings.EqualFold(charset, "UTF-8") {
		return ""
	}
	name, err := url.PathUnescape(encoded)
	if err != nil || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
		return ""
	}
	return name
}
