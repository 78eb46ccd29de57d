// Package pwhash hashes and checks passwords with argon2id (RFC 9106). It also checks hashes that come
// from other products: argon2i, scrypt (RFC 7914), also that of Firebase, PBKDF2 (RFC 8018) and bcrypt.
//
// A password is first normalized by the OpaqueString profile (RFC 8265 s4.2: Unicode NFC, every
// kind of space becomes a space), so that it is the same password on every system. It is never cut
// or trimmed. Hashes are PHC strings:
//
//	$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH
//
// An unknown user, a malformed hash and a password that is not allowed take the same work as a
// wrong password. So the response time reveals none of them. Hashes that come from another product
// have other costs; with [Hasher.SetImported] each check takes the work of all costs together.
//
// A [Hasher] computes a limited number of hashes at the same time, in the order of the calls, so
// that a flood of sign-ins uses a limited amount of memory. If its queue is full, a call fails at
// once. A hash that has started is not interrupted. Calls with a context of [First] have a queue of
// their own and overtake the others, so that a flood of strangers does not keep known users out.
//
// An attacker chooses the password, up to MaxPassword bytes. A person with write access to the
// database chooses the stored hash; its cost is limited before any work.
package pwhash

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"golang.org/x/sync/semaphore"
	"golang.org/x/text/secure/precis"
)

// MaxPassword is the maximum length of a password in bytes of UTF-8, before normalization: 1024
// characters of four bytes, in a spelling that NFC shortens to a third. A longer password is
// refused before any work.
const MaxPassword = 3 * 4 * 1024

// Lengths of salts and hashes made here, in bytes (RFC 9106 s3.1 recommends 16 bytes of salt, s4 a
// tag of 256 bits).
const (
	saltLength = 16
	keyLength  = 32
)

var (
	// ErrForbidden means that the password is not allowed: ask for another one. The wrapping error
	// explains why and contains no part of the password.
	ErrForbidden = errors.New("pwhash: password cannot be used")

	// ErrBusy means that the queue is full: answer 503, so that the client retries. No work was
	// done.
	ErrBusy = errors.New("pwhash: too many passwords are being checked")

	// ErrMalformed means that a stored hash has another form or a higher cost than this package
	// accepts. It matches no password: set a new one.
	ErrMalformed = errors.New("pwhash: malformed password hash")
)

// Config configures the cost of new hashes and the number of hashes at the same time.
type Config struct {
	Memory  uint32 // KiB for each hash; 0 means 19456 (OWASP's minimum with Time 2); 8 x Threads (RFC 9106 s3.1) to 262144
	Time    uint32 // passes; 0 means 2; up to 16, and Memory x Time up to 262144
	Threads uint8  // lanes; 0 means 1; up to 16

	// Concurrent is the number of hashes computed at the same time; 0 means one less than GOMAXPROCS,
	// at least one, which leaves a processor to cheaper work. A stored hash that takes more than
	// Memory counts as several, in proportion. So all hashes together take at most Concurrent x
	// Memory, or the memory of one larger hash.
	Concurrent int

	// Waiting is the number of calls that may wait, in each of the two queues; 0 means 64.
	Waiting int

	// Garbage is the memory of finished hashes in KiB after which garbage is collected, before the
	// next hash begins. 0 leaves it to the runtime, which lets as much garbage pile up as is in use.
	Garbage uint32
}

// Hasher hashes and checks passwords. It is safe for concurrent use.
type Hasher struct {
	params     params
	concurrent int64
	most       int64               // calls that run or wait, of each queue
	gate       *semaphore.Weighted // for all calls
	others     *semaphore.Weighted // before it, for calls without First
	inside     [2]atomic.Int64     // by queue: others, first
	runs       atomic.Uint64
	imported   atomic.Pointer[map[string]Stored] // one blank hash of each cost, by its name
	refused    atomic.Pointer[time.Time]         // last ErrBusy
	collect    int64                             // Config.Garbage
	garbage    atomic.Int64                      // KiB since the last collection
	gc         func()                            // runtime.GC, except in tests
}

// New returns a Hasher. The error lists every mistake in c.
func New(c Config) (*Hasher, error) {
	c.Memory = cmp.Or(c.Memory, 19456)
	c.Time = cmp.Or(c.Time, 2)
	c.Threads = cmp.Or(c.Threads, 1)
	c.Concurrent = cmp.Or(c.Concurrent, max(1, runtime.GOMAXPROCS(0)-1))
	c.Waiting = cmp.Or(c.Waiting, 64)
	p := params{name: argon2id, cost: [3]uint32{c.Memory, c.Time, uint32(c.Threads)}, salt: saltLength, key: keyLength}
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
		others:     semaphore.NewWeighted(int64(c.Concurrent)),
		collect:    int64(c.Garbage),
		gc:         runtime.GC,
	}, nil
}

// Hash returns the PHC string of a new password. The error is ErrForbidden, ErrBusy, or that of ctx
// if it ends while waiting.
func (h *Hasher) Hash(ctx context.Context, password string) (phc string, err error) {
	secret, err := Prepare(password)
	if err != nil {
		return "", err
	}
	stored := Stored{params: h.params, salt: make([]byte, saltLength)}
	_, _ = rand.Read(stored.salt) // crypto/rand.Read never returns an error
	err = h.Do(ctx, stored.Memory(), func() {
		h.runs.Add(1)
		stored.key = algorithms[argon2id].derive(secret, stored)
	})
	if err != nil {
		return "", err
	}
	return stored.String(), nil
}

// SetImported names the hashes of users who came from another product. From then on each Verify
// computes one hash of each of their costs and one of Config; otherwise the response time would
// reveal these users. Only the costs of hashes matter.
func (h *Hasher) SetImported(hashes []Stored) {
	own := Stored{params: h.params}.Cost()
	costs := make(map[string]Stored)
	for _, s := range hashes {
		if s.Cost() != own {
			costs[s.Cost()] = s.Blank()
		}
	}
	h.imported.Store(&costs)
}

// besides returns the hashes that Verify computes besides s, and the memory of the largest of all.
func (h *Hasher) besides(s Stored) (others []Stored, memory uint32) {
	memory = s.Memory()
	costs := h.imported.Load()
	if costs == nil || len(*costs) == 0 {
		return nil, memory
	}
	others = slices.Collect(maps.Values(*costs))
	if _, imported := (*costs)[s.Cost()]; imported {
		others = slices.DeleteFunc(others, func(other Stored) bool { return other.Cost() == s.Cost() })
		others = append(others, Stored{params: h.params, salt: dummySalt})
	}
	for _, other := range others {
		memory = max(memory, other.Memory())
	}
	return others, memory
}

// Verify hashes these if it has no hash or no valid password. They are constants so that start-up
// computes no hash. They need not be secret: the result is ignored.
var (
	dummySecret = []byte("durward: no password")
	dummySalt   = []byte("durward: no salt")
)

// Verify reports whether phc was made from password, and whether a correct password should be
// hashed again because phc is of another algorithm or its cost differs from Config.
//
// An empty phc stands for an unknown user: Verify does the work of the current cost and ok is
// false. The same holds for a malformed phc, with an error that wraps ErrMalformed for the log.
// Other errors are ErrBusy and that of ctx; then the password was not checked.
func (h *Hasher) Verify(ctx context.Context, phc, password string) (ok, rehash bool, err error) {
	stored := Stored{params: h.params, salt: dummySalt}
	var malformed error
	if phc != "" {
		if s, err := Parse(phc); err != nil {
			malformed = err
		} else {
			stored = s
		}
	}
	secret, forbidden := Prepare(password)
	if forbidden != nil {
		secret = dummySecret
	}
	right := false
	others, memory := h.besides(stored)
	err = h.Do(ctx, memory, func() {
		right = stored.Matches(secret) // false for the dummy, which has no key
		h.runs.Add(1)
		for _, other := range others {
			_ = other.Matches(secret)
			h.runs.Add(1)
		}
	})
	if err != nil {
		return false, false, err
	}
	if malformed != nil {
		return false, false, malformed
	}
	ok = right && forbidden == nil
	return ok, ok && stored.params != h.params, nil
}

// Runs returns the number of hashes computed so far.
func (h *Hasher) Runs() uint64 { return h.runs.Load() }

// firstKey is the key of First in a context.
type firstKey struct{}

// First returns a context with which calls go first: they have a queue of their own and wait for at
// most Concurrent calls of the other queue.
func First(ctx context.Context) context.Context { return context.WithValue(ctx, firstKey{}, 1) }

// queue returns the index of a call's queue.
func queue(ctx context.Context) int {
	n, _ := ctx.Value(firstKey{}).(int)
	return n
}

// Busy returns ErrBusy if a call with ctx would fail with it now.
func (h *Hasher) Busy(ctx context.Context) error {
	if h.inside[queue(ctx)].Load() >= h.most {
		return h.refuse()
	}
	return nil
}

func (h *Hasher) refuse() error {
	h.refused.Store(new(time.Now()))
	return ErrBusy
}

// Pending returns the number of calls that run or wait.
func (h *Hasher) Pending() int64 { return h.inside[0].Load() + h.inside[1].Load() }

// Full reports whether ErrBusy was returned within the last ten seconds.
func (h *Hasher) Full() bool {
	at := h.refused.Load()
	return at != nil && time.Since(*at) < 10*time.Second
}

// Do runs work within the limits, for other kinds of hashes; memory is the KiB that work takes. The
// error is ErrBusy or that of ctx; then work did not run.
func (h *Hasher) Do(ctx context.Context, memory uint32, work func()) error {
	q := queue(ctx)
	defer h.inside[q].Add(-1)
	if h.inside[q].Add(1) > h.most {
		return h.refuse()
	}
	weight := (int64(memory) + int64(h.params.cost[0]) - 1) / int64(h.params.cost[0])
	weight = max(1, min(weight, h.concurrent))
	// Each gate serves in the order of the calls. At the inner one, a call that goes first meets only
	// those others that hold the outer one.
	if q == 0 {
		if err := h.others.Acquire(ctx, weight); err != nil {
			return err
		}
		defer h.others.Release(weight)
	}
	if err := h.gate.Acquire(ctx, weight); err != nil {
		return err
	}
	defer h.gate.Release(weight)
	work()
	if h.collect > 0 && h.garbage.Add(int64(memory)) >= h.collect {
		h.garbage.Store(0)
		h.gc()
	}
	return nil
}

// Prepare normalizes a password. The error wraps ErrForbidden.
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
