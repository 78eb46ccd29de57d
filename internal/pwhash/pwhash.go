// Package pwhash hashes passwords with argon2id and checks them, a bounded
// number at a time, so that a flood of sign-ins costs bounded memory.
package pwhash

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/secure/precis"
)

var (
	// ErrBusy says that as many hashes as may wait are waiting: try again later.
	ErrBusy = errors.New("pwhash: too many passwords are being checked at once")

	// ErrForbidden says that a password cannot be one: it is empty, too long, or
	// holds characters that are not typed alike everywhere (RFC 8265 s4.2).
	ErrForbidden = errors.New("pwhash: not usable as a password")

	// ErrHash says that a stored hash cannot be read or asks for more work than
	// any that was made here. It never verifies.
	ErrHash = errors.New("pwhash: the stored hash cannot be used")
)

// maxPassword is the longest password that is looked at, in octets.
const maxPassword = 1024

// Config is the cost of a hash and how many are computed at once.
type Config struct {
	Memory     uint32 // KiB; default 19456, OWASP's minimum for the time below
	Time       uint32 // passes; default 2
	Threads    uint8  // lanes; default 1
	Concurrent int    // hashes at once; default one for each core
	Waiting    int    // callers that wait for their turn; default 64
}

// Hasher hashes and checks. It is safe for concurrent use.
type Hasher struct {
	c     Config
	queue chan struct{} // room for those who compute and those who wait
	turns chan struct{} // room for those who compute
	runs  atomic.Uint64
}

// Bounds on the cost, of new hashes and of stored ones: one that asks for more
// is refused before any work.
const (
	maxMemory  = 1 << 20 // KiB
	maxTime    = 16
	maxThreads = 16
)

// New returns a Hasher, or an error that names every mistake in c.
func New(c Config) (*Hasher, error) {
	c.Memory = orElse(c.Memory, 19456)
	c.Time = orElse(c.Time, 2)
	c.Threads = orElse(c.Threads, 1)
	c.Concurrent = orElse(c.Concurrent, runtime.GOMAXPROCS(0))
	c.Waiting = orElse(c.Waiting, 64)
	var errs []error
	if c.Memory > maxMemory || c.Memory < 8*uint32(c.Threads) { // RFC 9106 s3.1
		errs = append(errs, fmt.Errorf("pwhash: memory of %d KiB is not between 8 a lane and %d", c.Memory, maxMemory))
	}
	if c.Time > maxTime {
		errs = append(errs, fmt.Errorf("pwhash: %d passes, at most %d", c.Time, maxTime))
	}
	if c.Threads > maxThreads {
		errs = append(errs, fmt.Errorf("pwhash: %d lanes, at most %d", c.Threads, maxThreads))
	}
	if c.Concurrent < 1 || c.Waiting < 0 {
		errs = append(errs, fmt.Errorf("pwhash: %d at once and %d waiting make no sense", c.Concurrent, c.Waiting))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return &Hasher{c: c, queue: make(chan struct{}, c.Concurrent+c.Waiting), turns: make(chan struct{}, c.Concurrent)}, nil
}

func orElse[T comparable](v, standard T) T {
	var zero T
	if v == zero {
		return standard
	}
	return v
}

// Runs returns how many hashes were computed: whether two answers cost the same
// work can be counted.
func (h *Hasher) Runs() uint64 { return h.runs.Load() }

// Hash returns the PHC string of a new password. It returns ErrForbidden for
// what cannot be one, and ErrBusy.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	prepared, err := prepare(password)
	if err != nil {
		return "", err
	}
	p := phc{memory: h.c.Memory, time: h.c.Time, threads: h.c.Threads, salt: make([]byte, 16), key: make([]byte, 32)}
	_, _ = rand.Read(p.salt) // crypto/rand.Read never returns an error
	if p.key, err = h.compute(ctx, p, prepared); err != nil {
		return "", err
	}
	return p.String(), nil
}

// Verify checks a password against a stored hash. stale reports that the hash
// was made at another cost than new ones are. An empty stored hash is nobody's:
// the same work is done and the answer is no. A password that cannot be one is
// wrong, after the same work.
func (h *Hasher) Verify(ctx context.Context, stored, password string) (ok, stale bool, err error) {
	p, parseErr := h.nobody(), error(nil)
	if stored != "" {
		var read phc
		if read, parseErr = parse(stored); parseErr == nil {
			p = read
		}
	}
	prepared, badPassword := prepare(password) // nil where it cannot be one
	key, err := h.compute(ctx, p, prepared)
	if err != nil {
		return false, false, err
	}
	if parseErr != nil {
		return false, false, parseErr
	}
	equal := subtle.ConstantTimeCompare(key, p.key) == 1
	if !equal || stored == "" || badPassword != nil {
		return false, false, nil
	}
	return true, p.memory != h.c.Memory || p.time != h.c.Time || p.threads != h.c.Threads, nil
}

// nobody is a hash at the present cost that no password has.
func (h *Hasher) nobody() phc {
	return phc{memory: h.c.Memory, time: h.c.Time, threads: h.c.Threads, salt: make([]byte, 16), key: make([]byte, 32)}
}

// prepare brings a password into the one form that is hashed, so that it is the
// same from every keyboard (RFC 8265 s4.2, OpaqueString).
func prepare(password string) ([]byte, error) {
	if len(password) > maxPassword {
		return nil, fmt.Errorf("%w: over %d octets", ErrForbidden, maxPassword)
	}
	prepared, err := precis.OpaqueString.String(password)
	if err != nil || !utf8.ValidString(password) {
		return nil, fmt.Errorf("%w: empty, not UTF-8, or with control characters", ErrForbidden)
	}
	return []byte(prepared), nil
}

// compute waits for its turn and hashes.
func (h *Hasher) compute(ctx context.Context, p phc, password []byte) ([]byte, error) {
	select {
	case h.queue <- struct{}{}:
	default:
		return nil, ErrBusy
	}
	defer func() { <-h.queue }()
	select {
	case h.turns <- struct{}{}: // goroutines that wait on a channel are served in their order
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-h.turns }()
	h.runs.Add(1)
	return argon2.IDKey(password, p.salt, p.time, p.memory, p.threads, uint32(len(p.key))), nil
}

// phc is a stored hash:
//
//	$argon2id$v=19$m=19456,t=2,p=1$SALT$KEY
type phc struct {
	memory, time uint32
	threads      uint8
	salt, key    []byte
}

var b64 = base64.RawStdEncoding.Strict()

func (p phc) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.memory, p.time, p.threads, b64.EncodeToString(p.salt), b64.EncodeToString(p.key))
}

// parse reads the one form that String writes, within the bounds.
func parse(s string) (phc, error) {
	bad := func(what string) (phc, error) { return phc{}, fmt.Errorf("%w: %s", ErrHash, what) }
	if len(s) > 512 {
		return bad("too long")
	}
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" {
		return bad("not of the form of an argon2id hash")
	}
	if parts[2] != "v="+strconv.Itoa(argon2.Version) {
		return bad("an unknown version")
	}
	costs := strings.Split(parts[3], ",")
	if len(costs) != 3 {
		return bad("no cost")
	}
	var p phc
	for i, c := range []struct {
		name string
		max  uint64
		into func(uint64)
	}{
		{"m=", maxMemory, func(v uint64) { p.memory = uint32(v) }},
		{"t=", maxTime, func(v uint64) { p.time = uint32(v) }},
		{"p=", maxThreads, func(v uint64) { p.threads = uint8(v) }},
	} {
		text, ok := strings.CutPrefix(costs[i], c.name)
		v, err := strconv.ParseUint(text, 10, 32)
		if !ok || err != nil || strconv.FormatUint(v, 10) != text || v == 0 || v > c.max {
			return bad("a cost out of bounds")
		}
		c.into(v)
	}
	if p.memory < 8*uint32(p.threads) {
		return bad("a cost out of bounds")
	}
	var err error
	if p.salt, err = b64.DecodeString(parts[4]); err != nil || len(p.salt) < 8 || len(p.salt) > 64 || strings.ContainsAny(parts[4], "\r\n") {
		return bad("the salt")
	}
	if p.key, err = b64.DecodeString(parts[5]); err != nil || len(p.key) < 16 || len(p.key) > 64 || strings.ContainsAny(parts[5], "\r\n") {
		return bad("the key")
	}
	return p, nil
}
