package durward

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// PasswordCheck verifies a user name and a password and returns the principal. Both are UTF-8
// without control characters, as the client sent them: the check applies the normalization of the
// stored accounts. The context is the request's.
//
// For a wrong user name or password it returns an error that wraps [InvalidCredentials], after the
// same amount of work for an unknown user as for a wrong password. [TooManyAttempts] limits
// guessing. A user with a second factor is refused with [InvalidCredentials], too, because the
// password alone is not sufficient. Any other error is [AuthUnavailable].
type PasswordCheck func(ctx context.Context, user, password string) (*Principal, error)

// Basic returns the scheme of RFC 7617: user name and password in each request. If check is
// deliberately slow, as a password hash is, wrap it in [Remember].
func Basic(check PasswordCheck) Scheme { return &basic{check} }

type basic struct{ check PasswordCheck }

func (b *basic) mistakes(report func(string, ...any)) {
	if b.check == nil {
		report("Schemes holds Basic(nil): pass a function that checks passwords")
	}
}

func (*basic) Presented(r *http.Request) (found, ambient bool) { return presents(r, "Basic"), false }

func (b *basic) Authenticate(r *http.Request) (*Principal, error) {
	st := stateOf(r.Context())
	user, password, err := basicCredentials(st.credentials.Token68, st.guard.c.MaxCredentials)
	if err != nil {
		return nil, err
	}
	p, err := b.check(r.Context(), user, password)
	return p.as("Basic"), err
}

func (*basic) Challenges(*http.Request, Code) []Challenge {
	return []Challenge{{Scheme: "Basic", Params: []Param{{"charset", "UTF-8"}}}} // RFC 7617 s2.1
}

// basicCredentials extracts user name and password from a token68 of at most most octets (RFC 7617
// s2).
func basicCredentials(token string, most int) (user, password string, err error) {
	if token == "" {
		return "", "", fmt.Errorf("Basic without a token68: %w", MalformedCredentials)
	}
	if len(token) > most {
		return "", "", tooLong("Basic", len(token), most)
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(token)
	if err != nil {
		return "", "", fmt.Errorf("Basic credentials are not base64: %w", MalformedCredentials)
	}
	user, password, ok := strings.Cut(string(raw), ":") // at the first colon: user names have none
	switch {
	case !ok:
		return "", "", fmt.Errorf("Basic credentials have no colon: %w", MalformedCredentials)
	case !utf8.Valid(raw):
		return "", "", &Refusal{Code: MalformedCredentials, Detail: "The user name or the password is not in UTF-8.",
			Hint: "Encode both in UTF-8, as the challenge states.", Err: errors.New("Basic credentials are not UTF-8")}
	case strings.ContainsFunc(string(raw), unicode.IsControl): // RFC 7617 s2
		return "", "", fmt.Errorf("control characters in Basic credentials: %w", MalformedCredentials)
	}
	return user, password, nil
}

// tooLong refuses credentials of a scheme without tokens.
func tooLong(scheme string, octets, most int) error {
	return &Refusal{
		Code:   MalformedCredentials,
		Detail: fmt.Sprintf("The credentials are longer than the %d octets that this server accepts.", most),
		Hint:   "Send shorter credentials.",
		Err:    fmt.Errorf("%s credentials of %d octets, at most %d are allowed: %w", scheme, octets, most, errTooLong),
	}
}

const (
	rememberFor   = time.Minute
	maxRemembered = 10_000
)

// Remember returns a check that calls check at most once a minute for each correct pair of user
// name and password. Wrong pairs are always checked; simultaneous requests with the same pair share
// one call. Only a keyed hash of the pair is kept, under a random key.
//
// state returns a string that changes whenever a cached result of the user must be discarded, such
// as the stored password hash. It is called for each request, so it must be fast. If it returns an
// error that wraps a [Code], check decides and its result is not cached; any other error is
// [AuthUnavailable].
//
// Principal.AsOf is the time of the call. On a route with Policy.Freshness check is called again if
// the cached result is too old.
func Remember(check PasswordCheck, state func(ctx context.Context, user string) (string, error)) PasswordCheck {
	if check == nil || state == nil {
		return nil // New reports it
	}
	return newPasswordCache(check, state).authenticate
}

func newPasswordCache(check PasswordCheck, state func(context.Context, string) (string, error)) *passwordCache {
	return &passwordCache{check: check, state: state, now: time.Now, pairs: newKeyedHash(nil),
		entries: make(map[[sha256.Size]byte]cachedCheck), inFlight: make(map[[sha256.Size]byte]*passwordCall)}
}

// passwordCache is the state of one Remember.
type passwordCache struct {
	check PasswordCheck
	state func(context.Context, string) (string, error)
	now   func() time.Time
	pairs *keyedHash // of user name and password

	mu       sync.Mutex                          // never held during check or state
	entries  map[[sha256.Size]byte]cachedCheck   // under mu, at most maxRemembered
	inFlight map[[sha256.Size]byte]*passwordCall // under mu: running checks
}

type cachedCheck struct {
	principal *Principal // never handed out: callers get a copy
	state     string
	until     time.Time
}

// passwordCall is a running check. Its result is set before done is closed.
type passwordCall struct {
	done  chan struct{}
	state string // of the user when the check began
	known bool   // state returned no error

	principal *Principal
	err       error
	gone      bool // the client that started the check disconnected, and there is no result
}

func (m *passwordCache) authenticate(ctx context.Context, user, password string) (*Principal, error) {
	sum := m.digest(user, password)
	for {
		state, err := m.state(ctx, user)
		known := err == nil
		if _, refused := errors.AsType[Code](err); err != nil && !refused {
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
			return m.check(ctx, user, password) // the running check may use the old state
		}
		select {
		case <-a.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if a.gone {
			continue // this client is still connected
		}
		return a.principal.clone(), a.err
	}
}

// ask calls check on behalf of all requests that wait for its result.
func (m *passwordCache) ask(ctx context.Context, a *passwordCall, sum [sha256.Size]byte, user, password string) (*Principal, error) {
	began := m.now()
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.inFlight, sum)
		if a.err == nil && a.principal != nil && a.known {
			kept := a.principal.clone()
			kept.AsOf = cmp.Or(kept.AsOf, began)
			m.keep(sum, cachedCheck{kept, a.state, m.now().Add(rememberFor)})
		}
		close(a.done)
	}()
	a.principal, a.err = m.check(ctx, user, password)
	var code Code
	a.gone = a.err != nil && ctx.Err() != nil && !errors.As(a.err, &code)
	return a.principal.clone(), a.err
}

// keep stores a result. If the cache is full, it removes expired results, then arbitrary ones until
// an eighth is free, so that the next calls need not search again.
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

// digest returns the keyed hash of a pair. The length prefix distinguishes pairs with equal
// concatenations.
func (m *passwordCache) digest(user, password string) [sha256.Size]byte {
	b := make([]byte, 0, 8+len(user)+len(password))
	b = binary.BigEndian.AppendUint64(b, uint64(len(user)))
	b = append(append(b, user...), password...)
	defer clear(b)
	return m.pairs.sum(b)
}
