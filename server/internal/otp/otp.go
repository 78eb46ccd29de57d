// Package otp implements second factors that are texts: the codes of authenticator apps (TOTP, RFC
// 6238) and recovery codes. It stores nothing.
package otp

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"
)

// Properties of TOTP that every authenticator app supports: codes of HMAC-SHA-1.
const (
	period = 30 // seconds in a step (RFC 6238 s5.2)
	digits = 6
	window = 1  // accepted steps before and after the current one (RFC 6238 s5.2)
	seed   = 20 // octets of a seed (RFC 4226 s4, R6)
)

// NewSeed returns a random seed.
func NewSeed() []byte {
	s := make([]byte, seed)
	_, _ = rand.Read(s) // crypto/rand.Read never returns an error
	return s
}

// SeedText returns a seed in base32, which users can type.
func SeedText(seed []byte) string {
	return seedText.EncodeToString(seed)
}

var seedText = base32.StdEncoding.WithPadding(base32.NoPadding)

// URI returns the address of a seed that authenticator apps read from a QR code. The app shows issuer
// and account.
func URI(seed []byte, issuer, account string) string {
	q := url.Values{
		"secret":    {SeedText(seed)},
		"issuer":    {issuer},
		"algorithm": {"SHA1"},
		"digits":    {"6"},
		"period":    {"30"},
	}
	// Apps do not decode + as a space.
	query := strings.ReplaceAll(q.Encode(), "+", "%20")
	label := url.PathEscape(issuer) + ":" + url.PathEscape(account)
	return "otpauth://totp/" + label + "?" + query
}

// Step returns the number of the step that contains t.
func Step(t time.Time) int64 { return t.Unix() / period }

// Verify reports whether code is that of a step after last and near now, and returns the step. The
// caller stores the step as the new last, so that no code is accepted twice (RFC 6238 s5.2).
func Verify(seed []byte, code string, now time.Time, last int64) (step int64, ok bool) {
	code = strings.ReplaceAll(code, " ", "") // apps show two groups
	if !IsCode(code) {
		return 0, false
	}
	for s := Step(now) - window; s <= Step(now)+window; s++ {
		right := subtle.ConstantTimeCompare([]byte(code), []byte(codeOf(seed, s))) == 1
		if right && s > last {
			step, ok = s, true
		}
	}
	return step, ok
}

// codeOf returns the code of a step (RFC 4226 s5.3, RFC 6238 s4.2).
func codeOf(seed []byte, step int64) string {
	h := hmac.New(sha1.New, seed)
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(step)))
	sum := h.Sum(nil)
	offset := sum[len(sum)-1] & 0xf
	number := binary.BigEndian.Uint32(sum[offset:]) &^ (1 << 31)
	return fmt.Sprintf("%0*d", digits, number%1_000_000)
}

// AppCode returns the code that an authenticator app shows at a time for the text of a seed. The server
// does not need it; tests do.
func AppCode(text string, at time.Time) (string, error) {
	seed, err := seedText.DecodeString(text)
	if err != nil {
		return "", fmt.Errorf("otp: malformed seed: %w", err)
	}
	return codeOf(seed, Step(at)), nil
}

// IsCode reports whether text has the form of a code of an authenticator app.
func IsCode(text string) bool {
	notDigit := func(r rune) bool { return r < '0' || r > '9' }
	return len(text) == digits && !strings.ContainsFunc(text, notDigit)
}

// recoveryOctets is the length of a recovery code: 80 random bits, so that a fast hash of it is
// sufficient.
const recoveryOctets = 10

// alphabet is that of Crockford's base32: no letter looks like a digit.
const alphabet = "0123456789abcdefghjkmnpqrstvwxyz"

var recoveryText = base32.NewEncoding(alphabet).WithPadding(base32.NoPadding)

// NewRecoveryCode returns a random recovery code: four groups of four characters.
func NewRecoveryCode() string {
	var raw [recoveryOctets]byte
	_, _ = rand.Read(raw[:]) // crypto/rand.Read never returns an error
	text := recoveryText.EncodeToString(raw[:])
	return text[:4] + "-" + text[4:8] + "-" + text[8:12] + "-" + text[12:]
}

// readAs maps characters that users type to those of the alphabet.
var readAs = strings.NewReplacer("-", "", " ", "", "o", "0", "i", "1", "l", "1")

// RecoveryHash returns the hash of a recovery code of a user, for storage. Upper case, blanks, hyphens
// and letters that look like digits do not matter. ok is false if code has not the form of one.
func RecoveryHash(userID, code string) (hash []byte, ok bool) {
	text := readAs.Replace(strings.ToLower(code))
	raw, err := recoveryText.DecodeString(text)
	if err != nil || len(raw) != recoveryOctets || len(text) != recoveryText.EncodedLen(recoveryOctets) {
		return nil, false
	}
	h := sha256.New()
	_, _ = io.WriteString(h, "durward recovery code\x00"+userID+"\x00")
	h.Write(raw)
	return h.Sum(nil), true
}
