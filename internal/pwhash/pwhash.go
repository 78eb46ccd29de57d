// Package pwhash hashes and checks passwords with argon2id (RFC 9106).
//
// A password is first brought to one spelling by the OpaqueString profile
// (RFC 8265 s4.2: Unicode NFC, every kind of space is a space), so that the same
// password typed on two systems is the same password. Nothing is cut off or
// trimmed. Hashes are PHC strings:
//
//	$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH
//
// A person who does not exist, a hash that is malformed and a password that no
// hash can hold cost the same work as a wrong password, so that the time of the
// answer tells nothing.
//
// All hashing goes through one gate, first come first served: a flood of
// sign-ins costs a bounded amount of memory, and whoever finds the gate's queue
// full is told so at once. A hash that has begun is not interrupted.
//
// An attacker chooses the password, up to MaxPassword bytes. Whoever can write
// to the database chooses the stored hash; its cost is bounded before any work.
package pwhash

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/sync/semaphore"
	"golang.org/x/text/secure/precis"
)

// MaxPassword is the longest password in bytes of UTF-8, before normalisation:
// 1024 characters of four bytes, in a spelling that NFC makes a third as long. A
// longer one is refused before any work.
const MaxPassword = 3 * 4 * 1024

// Lengths of the salts and hashes made here, in bytes (RFC 9106 s3.1: 16 bytes
// of salt are recommended; s4: a tag of 256 bits).
const (
	saltLength = 16
	keyLength  = 32
)

var (
	// ErrForbidden means that the new password can never be used: ask for another
	// one. The text around it says why and holds nothing of the password.
	ErrForbidden = errors.New("pwhash: password cannot be used")

	// ErrBusy means that the queue is full: answer 503 and let the client come
	// again. No work was done.
	ErrBusy = errors.New("pwhash: too many passwords are being checked")

	// ErrMalformed means that a stored hash is none that this package reads, or
	// costs more than it allows. No password opens it: set a new one.
	ErrMalformed = errors.New("pwhash: malformed password hash")
)

// Config is the cost of new hashes and the width of the gate.
type Config struct {
	Memory  uint32 // KiB for each hash; 0 is 19456 (OWASP's minimum with Time 2); from 8 x Threads (RFC 9106 s3.1) to 262144
	Time    uint32 // passes; 0 is 2; up to 16
	Threads uint8  // lanes; 0 is 1; up to 16

	// Concurrent is how many hashes are computed at once; 0 is GOMAXPROCS. A
	// stored hash that takes more than Memory counts for as many as it takes, so
	// that memory stays under Concurrent x Memory, or that of one hash if it alone
	// takes more.
	Concurrent int

	// Waiting is how many callers may wait for their turn; 0 is 64.
	Waiting int
}

// Hasher hashes and checks passwords. It is safe for concurrent use.
type Hasher struct {
	params     params
	concurrent int64
	most       int64 // callers inside, at work or waiting
	gate       *semaphore.Weighted
	inside     atomic.Int64
	runs       atomic.Uint64
}

// New returns a Hasher, or an error that names every mistake in c.
func New(c Config) (*Hasher, error) {
	if c.Memory == 0 {
		c.Memory = 19456
	}
	if c.Time == 0 {
		c.Time = 2
	}
	if c.Threads == 0 {
		c.Threads = 1
	}
	if c.Concurrent == 0 {
		c.Concurrent = runtime.GOMAXPROCS(0)
	}
	if c.Waiting == 0 {
		c.Waiting = 64
	}
	p := params{memory: c.Memory, time: c.Time, threads: c.Threads, salt: saltLength, key: keyLength}
	errs := []error{p.check()}
	if c.Concurrent < 0 || c.Concurrent > 1<<16 {
		errs = append(errs, fmt.Errorf("%d hashes at once, want 1 to 65536", c.Concurrent))
	}
	if c.Waiting < 0 || c.Waiting > 1<<20 {
		errs = append(errs, fmt.Errorf("%d callers waiting, want 1 to 1048576", c.Waiting))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("pwhash: %w", err)
	}
	return &Hasher{
		params:     p,
		concurrent: int64(c.Concurrent),
		most:       int64(c.Concurrent) + int64(c.Waiting),
		gate:       semaphore.NewWeighted(int64(c.Concurrent)),
	}, nil
}

// Hash returns the PHC string of a new password. It fails with ErrForbidden,
// ErrBusy, or the context's error if that ends while waiting.
func (h *Hasher) Hash(ctx context.Context, password string) (phc string, err error) {
	secret, err := Prepare(password)
	if err != nil {
		return "", err
	}
	salt := make([]byte, saltLength)
	_, _ = rand.Read(salt) // crypto/rand.Read never returns an error
	key, err := h.run(ctx, h.params, secret, salt)
	if err != nil {
		return "", err
	}
	return format(h.params, salt, key), nil
}

// What is hashed where there is nothing to compare with. Constants, so that
// start-up costs no hash; that they are known helps nobody, since their result
// is thrown away.
var (
	dummySecret = []byte("durward: no password")
	dummySalt   = []byte("durward: no salt")
)

// Verify says whether password is the one that phc was made from, and whether a
// right one should be hashed anew because phc has another cost than Config.
//
// An empty phc is a person who does not exist: the work of the current cost is
// done and ok is false. The same goes for a phc that is malformed, with an error
// that wraps ErrMalformed for the log. Other errors are ErrBusy and the
// context's; nothing was judged then.
func (h *Hasher) Verify(ctx context.Context, phc, password string) (ok, rehash bool, err error) {
	p, salt, want := h.params, dummySalt, []byte(nil)
	var malformed error
	if phc != "" {
		stored, storedSalt, storedKey, err := parse(phc)
		if err != nil {
			malformed = err
		} else {
			p, salt, want = stored, storedSalt, storedKey
		}
	}
	secret, forbidden := Prepare(password)
	if forbidden != nil {
		secret = dummySecret
	}
	got, err := h.run(ctx, p, secret, salt)
	if err != nil {
		return false, false, err
	}
	if malformed != nil {
		return false, false, malformed
	}
	// A nil want is the dummy's: lengths differ and nothing is equal to it.
	ok = subtle.ConstantTimeCompare(got, want) == 1 && forbidden == nil
	return ok, ok && p != h.params, nil
}

// Runs counts the hashes computed so far.
func (h *Hasher) Runs() uint64 { return h.runs.Load() }

// run computes one hash behind the gate.
func (h *Hasher) run(ctx context.Context, p params, secret, salt []byte) (key []byte, err error) {
	err = h.Do(ctx, p.memory, func() {
		h.runs.Add(1)
		key = argon2.IDKey(secret, salt, p.time, p.memory, p.threads, p.key)
	})
	return key, err
}

// Do runs work behind the gate, for hashes of other kinds; memory is the KiB that
// it takes. An error is ErrBusy or the context's, and then work did not run.
func (h *Hasher) Do(ctx context.Context, memory uint32, work func()) error {
	defer h.inside.Add(-1)
	if h.inside.Add(1) > h.most {
		return ErrBusy
	}
	weight := (int64(memory) + int64(h.params.memory) - 1) / int64(h.params.memory)
	weight = max(1, min(weight, h.concurrent))
	if err := h.gate.Acquire(ctx, weight); err != nil { // first come, first served
		return err
	}
	defer h.gate.Release(weight)
	work()
	return nil
}

// Prepare brings a password to its one spelling, or says by ErrForbidden why it
// has none.
func Prepare(password string) ([]byte, error) {
	switch {
	case len(password) > MaxPassword:
		return nil, fmt.Errorf("%w: %d bytes long, at most %d", ErrForbidden, len(password), MaxPassword)
	case password == "":
		return nil, fmt.Errorf("%w: it is empty", ErrForbidden) // RFC 8265 s4.2.2 rule 5
	case !utf8.ValidString(password):
		return nil, fmt.Errorf("%w: it is not valid UTF-8", ErrForbidden)
	}
	// RFC 8265 s4.2. The FreeformClass has no control characters (RFC 8264 s4.3).
	secret, err := precis.OpaqueString.Bytes([]byte(password))
	if err != nil {
		return nil, fmt.Errorf("%w: it holds a character that passwords may not have, such as a control character", ErrForbidden)
	}
	return secret, nil
}
