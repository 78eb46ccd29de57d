package durward

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// PasswordCheck judges a user name and a password, both in UTF-8 without control
// characters, as the client sent them: it normalises and compares as the place
// does that stores them. The context is the request's.
//
// It refuses by an error that wraps [InvalidCredentials], whichever of the two
// was wrong and with the same work for a name that nobody has, or
// [TooManyAttempts]; people who have a second factor are refused by
// [InvalidCredentials] too, since a password alone is not enough for them. Any
// other error is [AuthUnavailable].
type PasswordCheck func(ctx context.Context, user, password string) (*Principal, error)

// Basic returns the scheme of RFC 7617: user name and password in each request.
// Where check is slow on purpose, as a password hash is, wrap it in [Remember].
func Basic(check PasswordCheck) Scheme { return &basic{check} }

type basic struct{ check PasswordCheck }

func (b *basic) mistakes() []string {
	if b.check == nil {
		return []string{"Schemes holds Basic(nil): it needs a function that checks passwords"}
	}
	return nil
}

func (*basic) Presented(r *http.Request) (found, ambient bool) { return presents(r, "Basic"), false }

func (b *basic) Authenticate(r *http.Request) (*Principal, error) {
	user, password, err := basicCredentials(stateOf(r.Context()).credentials.Token68)
	if err != nil {
		return nil, err
	}
	p, err := b.check(r.Context(), user, password)
	if err != nil {
		return nil, err
	}
	return p.as("Basic"), nil
}

func (*basic) Challenges(*http.Request, Code) []Challenge {
	return []Challenge{{Scheme: "Basic", Params: []Param{{"charset", "UTF-8"}}}} // RFC 7617 s2.1
}

// basicCredentials takes user name and password out of a token68 (RFC 7617 s2).
func basicCredentials(token string) (user, password string, err error) {
	if token == "" {
		return "", "", fmt.Errorf("Basic without a token68: %w", MalformedCredentials)
	}
	if len(token) > maxToken {
		return "", "", fmt.Errorf("Basic credentials of %d octets, at most %d are read: %w", len(token), maxToken, MalformedCredentials)
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(token)
	if err != nil {
		return "", "", fmt.Errorf("Basic credentials are not base64: %w", MalformedCredentials)
	}
	user, password, ok := strings.Cut(string(raw), ":") // the first colon: a user name has none
	switch {
	case !ok:
		return "", "", fmt.Errorf("Basic credentials have no colon: %w", MalformedCredentials)
	case !utf8.Valid(raw):
		return "", "", &Refusal{Code: MalformedCredentials, Detail: "The user name or the password is not in UTF-8.",
			Hint: "Encode both in UTF-8, as the challenge says.", Err: errors.New("Basic credentials are not UTF-8")}
	case strings.ContainsFunc(string(raw), isControl): // RFC 7617 s2
		return "", "", fmt.Errorf("control characters in Basic credentials: %w", MalformedCredentials)
	}
	return user, password, nil
}

func isControl(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }

const (
	rememberFor   = time.Minute
	maxRemembered = 10_000
)

// Remember returns a check that asks check once a minute for each pair of user
// name and password that is right. Wrong ones are always asked for, and those
// that come at the same moment are asked for once. Of the pair only a hash is
// kept, under a key that is drawn at random.
//
// state returns what a user's standing is made of, such as the stored hash: when
// it changes, what is remembered of the user is void at once. It is asked in
// each request, so it must be fast. An error that wraps a [Code] is left to
// check to say, and nothing is remembered; any other is [AuthUnavailable].
//
// Principal.AsOf is when check was asked. On a route with Policy.Freshness it is
// asked anew where that was longer ago.
func Remember(check PasswordCheck, state func(ctx context.Context, user string) (string, error)) PasswordCheck {
	if check == nil || state == nil {
		return nil // which New reports
	}
	return newPasswordCache(check, state).authenticate
}

func newPasswordCache(check PasswordCheck, state func(context.Context, string) (string, error)) *passwordCache {
	m := &passwordCache{check: check, state: state, now: time.Now, entries: make(map[[sha256.Size]byte]cachedCheck), inFlight: make(map[[sha256.Size]byte]*passwordCall)}
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // crypto/rand.Read never returns an error
	m.macs.New = func() any {
		mac := hmac.New(sha256.New, key)
		mac.Reset() // it keeps its first state from here on
		return mac
	}
	return m
}

// memory is what Remember remembers.
type passwordCache struct {
	check PasswordCheck
	state func(context.Context, string) (string, error)
	now   func() time.Time
	macs  sync.Pool // of hash.Hash, keyed

	mu       sync.Mutex                          // never held while check or state is asked
	entries  map[[sha256.Size]byte]cachedCheck   // under mu, at most maxRemembered
	inFlight map[[sha256.Size]byte]*passwordCall // under mu: checks under way
}

type cachedCheck struct {
	principal *Principal // never handed out: a copy is
	state     string
	until     time.Time
}

// asking is a check under way. Its result is set before done is closed.
type passwordCall struct {
	done  chan struct{}
	state string // of the user when the check began
	known bool   // state could be had

	principal *Principal
	err       error
	gone      bool // the client that asked went away, and there is no verdict
}

func (m *passwordCache) authenticate(ctx context.Context, user, password string) (*Principal, error) {
	sum := m.digest(user, password)
	for {
		state, err := m.state(ctx, user)
		known := err == nil
		var code Code
		if err != nil && !errors.As(err, &code) {
			return nil, err
		}
		now := m.now()
		m.mu.Lock()
		if kept, ok := m.entries[sum]; ok {
			if known && kept.state == state && now.Before(kept.until) && !now.Before(kept.until.Add(-rememberFor)) && FreshEnough(ctx, now.Sub(kept.principal.AsOf)) {
				m.mu.Unlock()
				return kept.principal.clone(), nil
			}
			delete(m.entries, sum)
		}
		a := m.inFlight[sum]
		if a == nil {
			a = &passwordCall{done: make(chan struct{}), state: state, known: known, err: errors.New("durward: the password check did not return")}
			m.inFlight[sum] = a
			m.mu.Unlock()
			return m.ask(ctx, a, sum, user, password)
		}
		m.mu.Unlock()
		if a.state != state || a.known != known {
			return m.check(ctx, user, password) // the one under way may judge by what was
		}
		select {
		case <-a.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if a.gone {
			continue // this client is still here
		}
		return a.principal.clone(), a.err
	}
}

// ask asks the check for all who wait for its answer.
func (m *passwordCache) ask(ctx context.Context, a *passwordCall, sum [sha256.Size]byte, user, password string) (*Principal, error) {
	began := m.now()
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.inFlight, sum)
		if a.err == nil && a.principal != nil && a.known {
			kept := a.principal.clone()
			if kept.AsOf.IsZero() {
				kept.AsOf = began
			}
			m.keep(sum, cachedCheck{kept, a.state, m.now().Add(rememberFor)})
		}
		close(a.done)
	}()
	a.principal, a.err = m.check(ctx, user, password)
	var code Code
	a.gone = a.err != nil && ctx.Err() != nil && !errors.As(a.err, &code)
	return a.principal.clone(), a.err
}

// keep makes room where there is none: of what has ended, then of any until an
// eighth is free, so that not everybody who comes next looks through all.
func (m *passwordCache) keep(sum [sha256.Size]byte, r cachedCheck) {
	if len(m.entries) >= maxRemembered {
		now := m.now()
		for k, old := range m.entries {
			if !now.Before(old.until) {
				delete(m.entries, k)
			}
		}
		for k := range m.entries {
			if len(m.entries) <= maxRemembered/8*7 {
				break
			}
			delete(m.entries, k)
		}
	}
	m.entries[sum] = r
}

// digest is a keyed hash of a pair; the length keeps pairs apart that look the
// same when joined.
func (m *passwordCache) digest(user, password string) (sum [sha256.Size]byte) {
	mac := m.macs.Get().(hash.Hash)
	b := make([]byte, 0, 8+len(user)+len(password))
	b = binary.BigEndian.AppendUint64(b, uint64(len(user)))
	b = append(append(b, user...), password...)
	mac.Write(b)
	mac.Sum(sum[:0])
	mac.Reset() // its last block holds the end of the password
	clear(b)
	m.macs.Put(mac)
	return sum
}
