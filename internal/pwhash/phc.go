package pwhash

import (
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
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

// Stored is a parsed hash with a cost within the limits.
type Stored struct {
	params    params
	salt, key []byte
}

// PHC strings have base64 without padding; only the canonical spelling is accepted.
var b64 = base64.RawStdEncoding.Strict()

// String returns the PHC string of s.
func (s Stored) String() string {
	p := s.params
	return fmt.Sprintf("%sm=%d,t=%d,p=%d$%s$%s", prefix, p.memory, p.time, p.threads, b64.EncodeToString(s.salt), b64.EncodeToString(s.key))
}

// Parse reads a PHC string in its only spelling: String returns the same bytes. The error wraps
// ErrMalformed and contains no part of salt and hash.
func Parse(phc string) (s Stored, err error) {
	fail := func(why string) (Stored, error) {
		return Stored{}, fmt.Errorf("%w: %s; want %s", ErrMalformed, why, wantForm)
	}
	if len(phc) > maxPHC {
		return fail(fmt.Sprintf("%d bytes long", len(phc)))
	}
	rest, ok := strings.CutPrefix(phc, prefix)
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
	var n [3]uint32
	for i, name := range []string{"m=", "t=", "p="} {
		digits, ok := strings.CutPrefix(costs[i], name)
		if !ok {
			return fail("parameters are not m, t and p in this order")
		}
		if n[i], ok = number(digits); !ok {
			return fail("parameter " + name + " is no number, or too large")
		}
	}
	if n[2] > maxThreads { // before the conversion to uint8
		return fail(fmt.Sprintf("%d threads, want 1 to %d", n[2], maxThreads))
	}
	if s.salt, err = decode(parts[1]); err != nil {
		return fail("the salt is not base64 without padding")
	}
	if s.key, err = decode(parts[2]); err != nil {
		return fail("the hash is not base64 without padding")
	}
	s.params = params{memory: n[0], time: n[1], threads: uint8(n[2]), salt: uint32(len(s.salt)), key: uint32(len(s.key))}
	if err := s.params.check(); err != nil {
		return fail(strings.ReplaceAll(err.Error(), "\n", ", "))
	}
	return s, nil
}

// Cost returns a name of the cost: hashes with equal names take equal work.
func (s Stored) Cost() string {
	p := s.params
	return fmt.Sprintf("argon2id m=%d,t=%d,p=%d,%d", p.memory, p.time, p.threads, p.key)
}

// Memory returns the KiB that Matches takes.
func (s Stored) Memory() uint32 { return s.params.memory }

// Matches reports whether the hash was made from secret, a password from Prepare. The caller limits
// the number of calls at the same time, with Hasher.Do.
func (s Stored) Matches(secret []byte) bool {
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
