package client

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/durward-auth/durward"
)

// Token is what a client holds of an authorization server: an access token and what it
// takes to get the next one. Whoever has it can do what its owner can.
type Token struct {
	Access         string    `json:"access_token"`
	Type           string    `json:"token_type"`               // "Bearer" or "DPoP"
	Received       time.Time `json:"received"`                 // by this machine's clock, when it was asked for
	Expires        time.Time `json:"expires,omitzero"`         // end of Access by the same clock; zero where nobody said
	Refresh        string    `json:"refresh_token,omitempty"`  // rotates with each use
	RefreshExpires time.Time `json:"refresh_expires,omitzero"` // zero where nobody said
	Scope          string    `json:"scope,omitempty"`          // as granted
}

// String says how long the token lives and never what it is.
func (t Token) String() string {
	if t.Access == "" {
		return "no token"
	}
	return fmt.Sprintf("%s token until %s", t.Type, t.Expires.Format(time.RFC3339))
}

// GoString is String: a token is not printed by %#v either.
func (t Token) GoString() string { return t.String() }

// fresh reports whether the access token can be sent. A clock that was put back since
// tells nothing: then it is sent until it is refused.
func (t Token) fresh(now time.Time) bool {
	return t.Access != "" && (t.Expires.IsZero() || now.Before(t.Expires) || now.Before(t.Received))
}

// sendable reports whether there is a scheme for the token; none said is Bearer.
func (t Token) sendable() bool {
	return t.Type == "" || strings.EqualFold(t.Type, "Bearer") || strings.EqualFold(t.Type, "DPoP")
}

// TokenStore keeps a token for all processes that share it.
type TokenStore interface {
	// Load returns what is stored; the zero Token where nothing is.
	Load(ctx context.Context) (Token, error)

	// Update calls change with what is stored, while no other process does, and stores
	// what it returns before it returns itself; the zero Token empties the store. Where
	// change fails nothing is stored and its error is returned as it is.
	Update(ctx context.Context, change func(ctx context.Context, stored Token) (Token, error)) error
}

// TokensConfig is what [Tokens] is made of. Origins and one of Server and Next are
// required.
type TokensConfig struct {
	// Origins get the access token, such as https://api.example.com.
	Origins []string

	// Server is the public URL of a Durward server: tokens are refreshed there. Its
	// origin gets the access token too.
	Server string

	// Next gets the token after old, which is the zero Token where there is none:
	// [OAuth.Refresh] and [OAuth.ClientCredentials] do. Received is filled in where it is
	// left out. An error that wraps
	// [ErrSignedOut] says that there will be none until somebody signs in. Any other
	// changes nothing, and is asked again later; a [*RetryError] says when.
	Next func(ctx context.Context, old Token) (Token, error)

	// Store keeps the token between runs and for other processes: [FileStore] or package
	// tokenstore/redis. Nil keeps it in memory.
	Store TokenStore

	// Save is told of each new token before anybody uses it. Where it fails nobody does,
	// and it is called again with the same token before the next one is asked for.
	Save func(ctx context.Context, t Token) error

	// OnSignedOut is told once when the authorization server ends the sign-in, before
	// those are who wait for a token.
	OnSignedOut func(err error)

	// Prove makes DPoP proofs (RFC 9449 s4); package jwt has one. Nil takes Bearer tokens
	// alone.
	Prove func(durward.ProofRequest) (string, error)

	// Client sends the requests of Server; nil is one with a time-out of 30 s. It is not
	// to have this source.
	Client *http.Client

	// Timeout bounds getting a token, whoever waits for it; 0 is 30 s.
	Timeout time.Duration

	// InsecureHTTP sends tokens over plain http, where everybody on the way can read them.
	InsecureHTTP bool

	// Now is the clock; nil is [time.Now].
	Now func() time.Time
}

// ErrSignedOut says that there is no token and that none can be had until somebody
// signs in.
var ErrSignedOut = errors.New("durward: signed out")

// RetryError says that a token cannot be had just now. What there was is kept.
type RetryError struct {
	After time.Duration // that the server asked to wait; 0 where it did not say
	Err   error
}

// Error is that of Err.
func (e *RetryError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *RetryError) Unwrap() error { return e.Err }

// Tokens returns a source that sends an access token with each request to its origins
// and gets the next one in time.
//
// A token is renewed ahead, at the first request after a point drawn evenly between 70
// and 90 % of its life, without holding that request up; an unused one is left alone.
// A token that has ended, or is refused by invalid_token, is renewed once for all
// requests that wait. A waiter whose context ends ends its own wait alone. If it
// fails, all who waited get that error, and nobody asks again before a pause is over
// that grows from a second to a minute, or that the server asks for; meanwhile a token
// that has not ended is used. Only the authorization server's word that the sign-in
// is over ([ErrSignedOut]) throws a token away: an outage never does.
//
// What counts is expires_in (RFC 6749 s5.1), by this machine's clock from the moment
// of asking, so that a clock that is wrong does no harm.
func Tokens(c TokensConfig) Source {
	t := &tokens{c: c, now: c.Now, proofs: make(map[origin]*proofs)}
	if t.now == nil {
		t.now = time.Now
	}
	if t.c.Timeout == 0 {
		t.c.Timeout = 30 * time.Second
	}
	if t.c.Store == nil {
		t.c.Store = new(MemoryStore)
	}
	for _, text := range c.Origins {
		o, err := parseOrigin(text)
		if err != nil {
			t.wrong = append(t.wrong, "Origins: "+err.Error())
			continue
		}
		t.origins = append(t.origins, o)
	}
	if (c.Server == "") == (c.Next == nil) {
		t.wrong = append(t.wrong, "one of Server and Next is wanted")
	}
	if c.Server != "" {
		server, err := newServer(c)
		if err != nil {
			t.wrong = append(t.wrong, "Server: "+err.Error())
		} else {
			t.server, t.c.Next = server, server.refresh
			t.origins = append(t.origins, originOf(server.base))
		}
	}
	for _, o := range t.origins {
		t.proofs[o] = new(proofs)
	}
	return t
}

// tokens is one sign-in.
type tokens struct {
	c       TokensConfig // with defaults filled in
	now     func() time.Time
	origins []origin
	proofs  map[origin]*proofs // of origins
	server  *server            // nil where Next is the application's
	wrong   []string

	mu      sync.Mutex
	held    *heldToken // nil before the store was read, and when signed out
	out     error      // wraps ErrSignedOut; nil while signed in
	flight  *flight    // a renewal under way
	failed  error      // of the last one
	retry   time.Time  // no other before this
	pause   time.Duration
	unsaved *successor // that Save or the store has not taken yet
}

// heldToken is a token in use.
type heldToken struct {
	Token
	ahead time.Time // when it is renewed though it has not ended; zero for never
	field []string  // Authorization, the same in each request
}

// successor is a new token and the one that was given up for it.
type successor struct{ before, token Token }

// flight is one renewal, for all who wait.
type flight struct {
	done chan struct{} // closed at its end
	held *heldToken
	err  error
}

func (t *tokens) mistakes() (all []string) {
	all = slices.Clone(t.wrong)
	if len(t.c.Origins) == 0 && t.c.Server == "" {
		all = append(all, "Origins is empty: nobody would get a token")
	}
	for _, o := range t.origins {
		if !t.c.InsecureHTTP && !o.confidential() {
			all = append(all, fmt.Sprintf("%s: over plain http everybody on the way can read tokens: use https, or say InsecureHTTP", o))
		}
	}
	return all
}

func (t *tokens) Authorize(r *http.Request, offered []durward.Challenge) error {
	return authorize(t, r, offered)
}

// own reports whether u is one of the server's endpoints for signing in.
func (t *tokens) own(u *url.URL) bool {
	return t.server != nil && originOf(u) == originOf(t.server.base) && strings.HasPrefix(u.Path, t.server.base.Path+"/api/auth/")
}

func (t *tokens) answer(a *attempt, offered []durward.Challenge) error {
	if !slices.Contains(t.origins, a.origin) || a.field != "Authorization" {
		return ErrNoAnswer
	}
	refused := ""
	before, _ := a.state.(*heldToken)
	if offered != nil {
		c := offered[0]
		reason, _ := c.Param("error")
		bound := before != nil && before.bound()
		switch {
		case !strings.EqualFold(c.Scheme, "Bearer") && !strings.EqualFold(c.Scheme, "DPoP"),
			before != nil && bound != strings.EqualFold(c.Scheme, "DPoP"): // a token goes by its own scheme alone
			return ErrNoAnswer
		case before == nil: // it was not asked ahead
		case reason == "invalid_token":
			refused = before.Access
		case bound && t.proofs[a.origin].mend(reason): // by what observe has read
		default:
			return ErrNoAnswer
		}
	}
	h, err := t.get(a.r.Context(), refused)
	if err != nil {
		return err
	}
	if err := t.put(a, h); err != nil {
		return err
	}
	a.state = h
	return nil
}

// reload looks into the store again before the next token is sent: more was got.
func (t *tokens) reload() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.held, t.flight, t.retry = nil, nil, time.Time{} // what is under way may be without it
}

func (h *heldToken) bound() bool { return strings.EqualFold(h.Type, "DPoP") }

// put puts a token, and a proof where it is bound, into an attempt.
func (t *tokens) put(a *attempt, h *heldToken) error {
	a.r.Header["Authorization"] = h.field
	if !h.bound() {
		delete(a.r.Header, "Dpop") // where the one that was refused was bound
		return nil
	}
	if t.c.Prove == nil {
		return errors.New("durward: the token is bound to a DPoP key and Prove is nil")
	}
	proof, err := t.c.Prove(t.proofs[a.origin].request(a.r.Method, a.r.URL, h.Access))
	if err != nil {
		return fmt.Errorf("durward: DPoP proof: %w", err)
	}
	a.r.Header["Dpop"] = []string{proof}
	return nil
}

func (t *tokens) observe(a *attempt, resp *http.Response) error {
	t.proofs[a.origin].learn(resp)
	return nil
}

// get returns a token that is fit to be sent and is not the one that was refused.
func (t *tokens) get(ctx context.Context, refused string) (*heldToken, error) {
	t.mu.Lock()
	now := t.now()
	h := t.held
	if t.out != nil && h == nil && now.Before(t.retry) {
		defer t.mu.Unlock()
		return nil, t.out
	}
	waits := !now.Before(t.retry)
	if h != nil && h.Access != refused && h.fresh(now) {
		if t.flight == nil && waits && !h.ahead.IsZero() && !now.Before(h.ahead) {
			t.begin(ctx, h, "")
		}
		t.mu.Unlock()
		return h, nil
	}
	f := t.flight
	if f == nil {
		if !waits {
			defer t.mu.Unlock()
			return nil, t.failed
		}
		f = t.begin(ctx, h, refused)
	}
	t.mu.Unlock()
	select {
	case <-f.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	switch {
	case f.err != nil:
		return nil, f.err
	case f.held.Access == refused:
		return nil, fmt.Errorf("durward: the access token was refused and is given again: %w", ErrNoAnswer)
	}
	return f.held, nil
}

// begin begins a renewal that ends by itself: no waiter's context ends it. t.mu is
// held.
func (t *tokens) begin(ctx context.Context, h *heldToken, refused string) *flight {
	f := &flight{done: make(chan struct{})}
	t.flight = f
	// What the waiter's context knows is passed on, its end is not.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.c.Timeout)
	go func() {
		defer cancel()
		next, err := t.renew(ctx, h, refused)
		t.land(f, next, err)
	}()
	return f
}

// renew gets the token after h: another process's, or a new one.
func (t *tokens) renew(ctx context.Context, h *heldToken, refused string) (got Token, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("durward: getting a token panicked: %v", p)
		}
	}()
	if h == nil && refused == "" {
		// The first of this process: what is stored may do.
		stored, err := t.c.Store.Load(ctx)
		if err != nil {
			return Token{}, err
		}
		if stored.fresh(t.now()) {
			return stored, nil
		}
	}
	var out error
	err = t.c.Store.Update(ctx, func(ctx context.Context, stored Token) (Token, error) {
		t.mu.Lock()
		unsaved := t.unsaved
		t.mu.Unlock()
		next := stored
		switch {
		case unsaved != nil && unsaved.before.Access == stored.Access && unsaved.before.Refresh == stored.Refresh:
			next = unsaved.token
		case stored.fresh(t.now()) && stored.Access != refused && (h == nil || stored.Access != h.Access):
			got = stored // another process was first
			return stored, nil
		default:
			asked := t.now()
			if next, err = t.c.Next(ctx, stored); err != nil {
				if errors.Is(err, ErrSignedOut) {
					out = err
					return Token{}, nil
				}
				return Token{}, err
			}
			switch {
			case next.Access == "":
				return Token{}, errors.New("durward: Next returned neither a token nor an error")
			case !next.sendable():
				return Token{}, fmt.Errorf("durward: Next returned a token of type %q: Bearer and DPoP can be sent", next.Type)
			}
			if next.Received.IsZero() {
				next.Received = asked // by which its life is known
			}
			t.mu.Lock()
			t.unsaved = &successor{stored, next}
			t.mu.Unlock()
		}
		if t.c.Save != nil {
			if err := t.c.Save(ctx, next); err != nil {
				return Token{}, fmt.Errorf("durward: a new token could not be saved: %w", err)
			}
		}
		got = next
		return next, nil
	})
	if err == nil && out == nil {
		t.mu.Lock()
		t.unsaved = nil
		t.mu.Unlock()
	}
	return got, errors.Join(out, err)
}

// Pauses after a renewal that failed.
const (
	shortestPause = time.Second
	longestPause  = time.Minute
	longestWait   = time.Hour // that a server may ask for
)

// land ends a renewal.
func (t *tokens) land(f *flight, next Token, err error) {
	t.mu.Lock()
	now := t.now()
	tell := false
	if f.err = err; err == nil {
		f.held = &heldToken{Token: next, ahead: aheadOf(next), field: []string{"Bearer " + next.Access}}
		if f.held.bound() {
			f.held.field[0] = "DPoP " + next.Access
		}
	}
	switch {
	case t.flight != f: // somebody has looked for more since it began
	case err == nil:
		t.held, t.out, t.failed, t.retry, t.pause = f.held, nil, nil, time.Time{}, 0
	case errors.Is(err, ErrSignedOut):
		tell = t.out == nil
		t.held, t.unsaved, t.out, t.failed, t.pause = nil, nil, err, err, 0
		t.retry = now.Add(shortestPause) // somebody may have signed in by then, in this store
	default:
		t.pause = min(max(2*t.pause, shortestPause), longestPause)
		wait := t.pause
		if asked, ok := errors.AsType[*RetryError](err); ok {
			wait = max(wait, min(asked.After, longestWait))
		}
		t.failed, t.retry = err, now.Add(wait)
	}
	if t.flight == f {
		t.flight = nil
	}
	t.mu.Unlock()
	if tell && t.c.OnSignedOut != nil {
		t.c.OnSignedOut(err)
	}
	close(f.done)
}

// aheadOf draws when a token is renewed ahead: evenly between 70 and 90 % of its life.
// Zero where its life is not known.
func aheadOf(token Token) time.Time {
	life := token.Expires.Sub(token.Received)
	if token.Received.IsZero() || token.Expires.IsZero() || life <= 0 {
		return time.Time{}
	}
	var raw [8]byte
	_, _ = rand.Read(raw[:]) // crypto/rand.Read never returns an error
	part := float64(binary.BigEndian.Uint64(raw[:])>>11) / (1 << 53)
	return token.Received.Add(time.Duration(float64(life) * (0.7 + 0.2*part)))
}

// MemoryStore keeps a token in this process. The zero MemoryStore is empty.
type MemoryStore struct {
	changing sync.Mutex // held while a token is changed, which may take long

	mu    sync.Mutex
	token Token
}

// Load returns the token.
func (m *MemoryStore) Load(context.Context) (Token, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.token, nil
}

// Update changes the token.
func (m *MemoryStore) Update(ctx context.Context, change func(context.Context, Token) (Token, error)) error {
	m.changing.Lock()
	defer m.changing.Unlock()
	stored, err := m.Load(ctx)
	if err != nil {
		return err
	}
	next, err := change(ctx, stored)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.token = next
	return nil
}
