package pwhash

import (
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// params is the cost of a hash and the lengths of its parts in bytes. Hashes with equal params take
// equal work.
type params struct {
	memory    uint32 // KiB
	time      uint32
	threads   uint8
	salt, key uint32
}

// Limits of the cost, for configuration and for stored hashes: a stored hash must not determine how
// much memory and time each try takes. maxCost limits both, as the work is their product.
const (
	maxCost          = 256 << 10 // KiB x passes: 256 MiB once, or 64 MiB four times as PHP does
	maxTime          = 16
	maxThreads       = 16
	minSalt, maxSalt = 8, 64
	minKey, maxKey   = 16, 64
	maxPHC           = 256 // longer than any hash within these limits
	prefix           = "$argon2id$v=19$"
	wantForm         = "$argon2id$v=19$m=KiB,t=PASSES,p=LANES$SALT$HASH"
)

func (p params) check() error {
	var errs []error
	if p.threads < 1 || p.threads > maxThreads {
		errs = append(errs, fmt.Errorf("%d threads, want 1 to %d", p.threads, maxThreads))
	}
	if p.time < 1 || p.time > maxTime {
		errs = append(errs, fmt.Errorf("%d passes, want 1 to %d", p.time, maxTime))
	}
	// RFC 9106 s3.1: at least 8 KiB for each lane.
	if least := 8 * uint32(max(p.threads, 1)); p.memory < least || p.memory > maxCost {
		errs = append(errs, fmt.Errorf("memory of %d KiB, want %d to %d", p.memory, least, maxCost))
	} else if p.time <= maxTime && p.memory*p.time > maxCost {
		errs = append(errs, fmt.Errorf("memory of %d KiB in %d passes, want a product of at most %d", p.memory, p.time, maxCost))
	}
	if p.salt < minSalt || p.salt > maxSalt {
		errs = append(errs, fmt.Errorf("salt of %d bytes, want %d to %d", p.salt, minSalt, maxSalt))
	}
	if p.key < minKey || p.key > maxKey {
		errs = append(errs, fmt.Errorf("hash of %d bytes, want %d to %d", p.key, minKey, maxKey))
	}
	return errors.Join(errs...)
}

// bcrypt is for users who come from another product: this package makes no such hashes.
const (
	minBcrypt, maxBcrypt = 4, 14 // a cost of 14 takes about a second
	bcryptHolds          = 72    // bytes of a password that bcrypt uses
)

// bcryptForm is the form of a hash with its cost. $2x$ and $2$ mark the faulty versions of bcrypt.
var bcryptForm = regexp.MustCompile(`^\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}$`)

// Stored is a parsed hash of argon2id or bcrypt, with a cost within the limits.
type Stored struct {
	params    params // of argon2id
	salt, key []byte
	bcrypt    string // the hash of bcrypt; then the other fields are empty
}

// PHC strings have base64 without padding; only the canonical spelling is accepted.
var b64 = base64.RawStdEncoding.Strict()

// String returns the text of s. Parse reads it as s.
func (s Stored) String() string {
	if s.bcrypt != "" {
		return s.bcrypt
	}
	p := s.params
	return fmt.Sprintf("%sm=%d,t=%d,p=%d$%s$%s", prefix, p.memory, p.time, p.threads, b64.EncodeToString(s.salt), b64.EncodeToString(s.key))
}

// Parse reads a PHC string of argon2id, with its parameters in any order, or a hash of bcrypt. The
// error wraps ErrMalformed and contains no part of salt and hash.
func Parse(text string) (s Stored, err error) {
	if strings.HasPrefix(text, "$2") {
		return parseBcrypt(text)
	}
	fail := func(why string) (Stored, error) {
		return Stored{}, fmt.Errorf("%w: %s; want %s", ErrMalformed, why, wantForm)
	}
	if len(text) > maxPHC {
		return fail(fmt.Sprintf("%d bytes long", len(text)))
	}
	rest, ok := strings.CutPrefix(text, prefix)
	if !ok {
		return fail("another algorithm or version")
	}
	parts := strings.Split(rest, "$")
	if len(parts) != 3 {
		return fail(fmt.Sprintf("%d parts after the version, want 3", len(parts)))
	}
	costs := strings.Split(parts[0], ",")
	if len(costs) != 3 {
		return fail(fmt.Sprintf("%d parameters, want m, t and p", len(costs)))
	}
	// The reference implementation writes m, t and p in this order. Each names itself, so another order,
	// as the most used library of Node.js writes it, has one meaning too.
	n := make(map[string]uint32)
	for _, cost := range costs {
		name, digits, _ := strings.Cut(cost, "=")
		if name != "m" && name != "t" && name != "p" {
			return fail("parameters are not m, t and p") // with one twice, another is missing, and 0
		}
		if n[name], ok = number(digits); !ok {
			return fail("parameter " + name + "= is no number, or too large")
		}
	}
	if n["p"] > maxThreads { // before the conversion to uint8
		return fail(fmt.Sprintf("%d threads, want 1 to %d", n["p"], maxThreads))
	}
	if s.salt, err = decode(parts[1]); err != nil {
		return fail("the salt is not base64 without padding")
	}
	if s.key, err = decode(parts[2]); err != nil {
		return fail("the hash is not base64 without padding")
	}
	s.params = params{
		memory:  n["m"],
		time:    n["t"],
		threads: uint8(n["p"]),
		salt:    uint32(len(s.salt)),
		key:     uint32(len(s.key)),
	}
	if err := s.params.check(); err != nil {
		return fail(strings.ReplaceAll(err.Error(), "\n", ", "))
	}
	return s, nil
}

func parseBcrypt(text string) (Stored, error) {
	form := bcryptForm.FindStringSubmatch(text)
	if form == nil {
		return Stored{}, fmt.Errorf("%w: not a bcrypt hash; want $2y$COST$ and 53 characters", ErrMalformed)
	}
	if cost, err := strconv.Atoi(form[1]); err != nil || cost < minBcrypt || cost > maxBcrypt {
		return Stored{}, fmt.Errorf("%w: bcrypt hash of cost %s, want %d to %d", ErrMalformed, form[1], minBcrypt, maxBcrypt)
	}
	return Stored{bcrypt: text}, nil
}

// Cost returns a name of the cost: hashes with equal names take equal work.
func (s Stored) Cost() string {
	if s.bcrypt != "" {
		return "bcrypt " + s.bcrypt[4:6]
	}
	p := s.params
	return fmt.Sprintf("argon2id m=%d,t=%d,p=%d,%d", p.memory, p.time, p.threads, p.key)
}

// Blank returns a hash of the cost of s without its salt and key, to store or to compute in place of
// s. It belongs to no password.
func (s Stored) Blank() Stored {
	if s.bcrypt != "" {
		return Stored{bcrypt: "$2b$" + s.bcrypt[4:7] + strings.Repeat(".", 53)}
	}
	return Stored{params: s.params, salt: make([]byte, s.params.salt), key: make([]byte, s.params.key)}
}

// Memory returns the KiB that Matches takes.
func (s Stored) Memory() uint32 { return s.params.memory }

// Holds returns the length of the longest password in bytes. Matches refuses a longer one, after the
// same work.
func (s Stored) Holds() int {
	if s.bcrypt != "" {
		return bcryptHolds
	}
	return MaxPassword
}

// Matches reports whether the hash was made from secret, a password from Prepare. The caller limits
// the number of calls at the same time, with Hasher.Do.
func (s Stored) Matches(secret []byte) bool {
	if s.bcrypt != "" {
		fits := len(secret) <= bcryptHolds // bcrypt would cut it
		if !fits {
			secret = dummySecret
		}
		return bcrypt.CompareHashAndPassword([]byte(s.bcrypt), secret) == nil && fits
	}
	p := s.params
	return subtle.ConstantTimeCompare(argon2.IDKey(secret, s.salt, p.time, p.memory, p.threads, p.key), s.key) == 1
}

// number reads a decimal number without sign or leading zero.
func number(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && s[0] != '0'
}

func decode(s string) ([]byte, error) {
	// The decoder ignores line breaks, which would allow a second spelling.
	if strings.ContainsAny(s, "\r\n") {
		return nil, base64.CorruptInputError(0)
	}
	return b64.DecodeString(s)
}
