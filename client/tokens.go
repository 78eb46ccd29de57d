package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/dpop"
	"github.com/durward-auth/durward/internal/retry"
)

// TokensConfig configures [Tokens]. Origins and Next are required.
type TokensConfig struct {
	// Origins receive the access token, such as https://api.example.com.
	Origins []string

	// Next returns the token after old; old is the zero Token if there is none. [OAuth.Refresh],
	// [OAuth.ClientCredentials] and the Refresh method of an api.Client have this form. If Received
	// is zero, the source sets it. If Claims of old is set, the new token needs these claims.
	//
	// An error that wraps [ErrSignedOut] means that only a new sign-in can get a token. After any
	// other error the source keeps the token and tries again later; a [*RetryError] says when.
	Next func(ctx context.Context, old Token) (Token, error)

	// Store keeps the token between runs and shares it with other processes: a [FileStore] or the
	// store of package tokenstore/redis. Nil keeps the token in memory.
	Store TokenStore

	// Save is called with each new token before the token is used. If it fails, the token is not
	// used, and Save is called again with the same token before the source asks for another.
	Save func(ctx context.Context, t Token) error

	// OnSignedOut is called once when the authorization server has ended the sign-in, before
	// waiting requests fail.
	OnSignedOut func(err error)

	// Prove makes DPoP proofs (RFC 9449 s4): the Prove method of a jwt.PrivateKey. Nil accepts
	// Bearer tokens only.
	Prove func(durward.ProofRequest) (string, error)

	// AuthEndpoints is the URL prefix of the authorization server's own endpoints, such as
	// https://auth.example.com/api/auth/. The Transport does not answer refusals from there.
	AuthEndpoints string

	// Timeout bounds one call of Next; 0 means 30 s.
	Timeout time.Duration

	// InsecureHTTP sends tokens over plain http, where anyone on the network path can read them.
	InsecureHTTP bool

	// Now is the clock; nil means [time.Now].
	Now func() time.Time
}

// ErrSignedOut means that there is no token and that only a new sign-in can get one.
var ErrSignedOut = errors.New("durward: signed out")

// A RetryError means that a token is temporarily unavailable. The source keeps the old token.
type RetryError struct {
	After time.Duration // the wait that the server asked for; 0 if it named none
	Err   error
}

// Error returns the text of Err.
func (e *RetryError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *RetryError) Unwrap() error { return e.Err }

// Tokens returns a source that sends an access token with each request to its origins and refreshes
// the token.
//
// It refreshes a token early, at the first request after a random time between 70 and 90 % of the
// token's life, and does not delay that request. An unused token is not refreshed. If a token has
// expired or the server refuses it, with invalid_token or without a reason, one call of Next serves
// all waiting requests; the end of one request's context does not cancel that call. If the server
// refuses the new token too, its next refusal causes a call after a second at the earliest, then
// after two, and so on up to a minute.
//
// If Next fails, all waiting requests get its error. The next call follows after a pause of one
// second, doubled up to a minute, or as long as the server asks for. Until then a token that has
// not expired stays in use. Only [ErrSignedOut] discards a token, and not one without a refresh
// token that has neither expired nor been refused with invalid_token.
//
// The life of a token is counted from the request for it, by expires_in (RFC 6749 s5.1), so a wrong
// clock of this machine does no harm.
func Tokens(c TokensConfig) Source {
	t := &tokens{c: c}
	t.c.Timeout = cmp.Or(c.Timeout, 30*time.Second)
	if c.Now == nil {
		t.c.Now = time.Now
	}
	t.c.Store = cmp.Or[TokenStore](c.Store, new(MemoryStore))
	for _, text := range c.Origins {
		if o := t.originIn("Origins", text, "tokens", c.InsecureHTTP); o != (origin{}) {
			t.audience = append(t.audience, &recipient{origin: o})
		}
	}
	if len(c.Origins) == 0 {
		t.mistake("Origins is empty: name the origins that receive the token")
	}
	if c.Next == nil {
		t.mistake("Next is nil: set a function that gets tokens")
	}
	if c.AuthEndpoints != "" {
		var err error
		if t.authEndpoints, err = url.Parse(c.AuthEndpoints); err != nil || originOf(t.authEndpoints) == (origin{}) {
			t.mistake("AuthEndpoints is not a URL such as https://auth.example.com/api/auth/")
		}
	}
	return own{t}
}

// tokens is one sign-in.
type tokens struct {
	checked
	c             TokensConfig // with defaults
	audience      []*recipient
	authEndpoints *url.URL // nil for none

	mu        sync.Mutex
	current   *currentToken // nil before the store was read, and after signing out
	signedOut error         // wraps ErrSignedOut; nil while signed in
	refresh   *refresh      // the running refresh; nil for none
	lastErr   error         // of the last refresh
	retryAt   time.Time     // no refresh before this time
	pause     time.Duration // after lastErr
	unsaved   *replacement  // new token that Save or the store has not accepted yet
}

// recipient is an origin that receives the token.
type recipient struct {
	origin   origin
	proofs   dpop.State
	accepted atomic.Bool // it has accepted a token

	// A refused token is renewed at once, and not again before retryAt if the new one was refused
	// too. tokens.mu guards these fields.
	decided *currentToken // the latest renewed token that it accepted or refused
	retryAt time.Time
	pause   time.Duration // doubled with each renewal in vain
}

// currentToken is the token in use.
type currentToken struct {
	Token
	early time.Time // when to refresh it although it has not expired; zero means never
	field []string  // Authorization, shared by all requests
}

// replacement is a new token and the one that it replaces.
type replacement struct{ old, new Token }

// refresh is one run of the function renew, shared by all requests that wait for it.
type refresh struct {
	done  chan struct{} // closed when the fields below are set
	token *currentToken
	err   error
}

// at returns the recipient with an origin. It is nil if the origin receives no tokens.
func (t *tokens) at(o origin) *recipient {
	for _, to := range t.audience {
		if to.origin == o {
			return to
		}
	}
	return nil
}

func (t *tokens) acceptedToken(o origin) bool {
	to := t.at(o)
	return to != nil && to.accepted.Load()
}

// issues reports whether u is an endpoint where the source itself gets its tokens.
func (t *tokens) issues(u *url.URL) bool {
	return t.authEndpoints != nil && originOf(u) == originOf(t.authEndpoints) &&
		strings.HasPrefix(u.Path, t.authEndpoints.Path)
}

func (t *tokens) answer(a *attempt, offered []durward.Challenge) error {
	to := t.at(a.origin)
	if to == nil || a.toProxy {
		return ErrNoAnswer
	}
	var want demand
	before, _ := a.state.(*currentToken)
	if offered != nil {
		c := offered[0]
		bound := before != nil && before.bound()
		switch {
		case !isToken(c), before != nil && bound != strings.EqualFold(c.Scheme, "DPoP"): // a token has one scheme
			return ErrNoAnswer
		case before == nil: // the refused request had no token
		case a.reason == retry.InvalidToken, a.reason == retry.Claims:
			want = demand{refused: before.Access, by: to}
			reason, _ := reasonOf(c)
			if want.invalid = reason == retry.InvalidToken; reason == retry.Claims {
				want.claims = claimsOf(c)
			}
			a.renewed = true
		case bound && to.proofs.Correct(a.reason):
		default:
			return ErrNoAnswer
		}
	}
	token, err := t.get(a.r.Context(), want)
	if err != nil {
		return err
	}
	if err := t.put(a, to, token); err != nil {
		return err
	}
	a.state = token
	return nil
}

// demand says which token an attempt needs. The zero demand is any token that can be sent.
type demand struct {
	refused string     // access token that by refused; empty for none
	by      *recipient // that refused it
	invalid bool       // by said that the token is invalid, expired or revoked
	claims  string     // that the next token needs, as in Token.Claims
}

// reload makes the next request read the store: a step-up may have stored a stronger token. A
// running refresh may have begun without it, so its result is not kept.
func (t *tokens) reload() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.current, t.refresh, t.retryAt = nil, nil, time.Time{}
}

// put puts a token into an attempt, with a proof if the token is bound to a key.
func (t *tokens) put(a *attempt, to *recipient, token *currentToken) error {
	a.r.Header["Authorization"] = token.field
	if !token.bound() {
		delete(a.r.Header, "Dpop") // of a refused token that was bound
		return nil
	}
	if t.c.Prove == nil {
		return errors.New("durward: the token is bound to a DPoP key, but Prove is nil")
	}
	proof, err := t.c.Prove(to.proofs.Request(a.r.Method, a.r.URL, token.Access))
	if err != nil {
		return fmt.Errorf("durward: cannot make the DPoP proof: %w", err)
	}
	a.r.Header["Dpop"] = []string{proof}
	return nil
}

func (t *tokens) observe(a *attempt, resp *http.Response) error {
	to := t.at(a.origin)
	to.proofs.Observe(resp)
	if to.accepted.Load() && !a.renewed {
		return nil
	}
	o := outcomeOf(resp)
	if o == tokenAccepted {
		to.accepted.Store(true)
	}
	if token, ok := a.state.(*currentToken); ok && a.renewed {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.record(to, token, o)
	}
	return nil
}

// record stores whether a recipient accepted a token that replaces a refused one. The first
// decision about each token counts. The caller holds t.mu.
func (t *tokens) record(to *recipient, token *currentToken, o outcome) {
	if o == undecided || to.decided == token {
		return
	}
	to.decided = token
	if o == tokenAccepted {
		to.pause, to.retryAt = 0, time.Time{}
		return
	}
	to.pause = min(max(2*to.pause, minPause), maxPause)
	to.retryAt = t.c.Now().Add(to.pause)
}

// get returns a token that can be sent and is not the refused one.
func (t *tokens) get(ctx context.Context, want demand) (*currentToken, error) {
	t.mu.Lock()
	now := t.c.Now()
	token := t.current
	mayRefresh := !now.Before(t.retryAt)
	if token != nil && token.Access != want.refused && token.fresh(now) {
		if t.refresh == nil && mayRefresh && !token.early.IsZero() && !now.Before(token.early) {
			t.begin(ctx, token, demand{})
		}
		t.mu.Unlock()
		return token, nil
	}
	f := t.refresh
	if f == nil {
		if !mayRefresh {
			defer t.mu.Unlock()
			return nil, cmp.Or(t.signedOut, t.lastErr)
		}
		if want.by != nil && now.Before(want.by.retryAt) && token != nil && token.fresh(now) {
			defer t.mu.Unlock()
			return nil, ErrNoAnswer // the tokens before were refused too
		}
		f = t.begin(ctx, token, want)
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
	case f.token.Access == want.refused:
		t.mu.Lock()
		defer t.mu.Unlock()
		t.record(want.by, f.token, tokenRefused)
		return nil, fmt.Errorf("durward: Next returned the refused access token again: %w", ErrNoAnswer)
	}
	return f.token, nil
}

// begin starts a refresh. It keeps the values of ctx but not its end: no waiting request cancels
// the refresh. The caller holds t.mu.
func (t *tokens) begin(ctx context.Context, token *currentToken, want demand) *refresh {
	f := &refresh{done: make(chan struct{})}
	t.refresh = f
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.c.Timeout)
	go func() {
		defer cancel()
		next, err := t.renew(ctx, token, want)
		t.finish(f, next, err)
	}()
	return f
}

// renew returns the token after current: one that another process has stored, or a new one.
func (t *tokens) renew(ctx context.Context, current *currentToken, want demand) (got Token, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("durward: Next, Save or Store panicked: %v", p)
		}
	}()
	if current == nil && want.refused == "" {
		// This process has not read the store yet.
		stored, err := t.c.Store.Load(ctx)
		if err != nil {
			return Token{}, err
		}
		if stored.fresh(t.c.Now()) {
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
		case unsaved != nil && unsaved.old.Access == stored.Access && unsaved.old.Refresh == stored.Refresh:
			next = unsaved.new
		case stored.fresh(t.c.Now()) && stored.Access != want.refused &&
			(current == nil || stored.Access != current.Access):
			got = stored // from another process
			return stored, nil
		default:
			asked := t.c.Now()
			old := stored
			old.Claims = want.claims
			if next, err = t.c.Next(ctx, old); err != nil {
				switch {
				case !errors.Is(err, ErrSignedOut):
					return Token{}, err
				case stored.Refresh == "" && stored.fresh(t.c.Now()) && !want.invalid:
					// No refresh token was refused, so the access token is in use until its end.
					return Token{}, fmt.Errorf("durward: the token cannot be renewed (%v): %w", err, ErrNoAnswer)
				}
				out = err
				return Token{}, nil
			}
			next.Claims = ""
			switch {
			case next.Access == "":
				return Token{}, errors.New("durward: Next returned neither a token nor an error")
			case !next.hasScheme():
				return Token{}, fmt.Errorf("durward: Next returned a token of type %q, not Bearer or DPoP", next.Type)
			case !sendable(next.Access):
				return Token{}, fmt.Errorf("durward: Next returned an access token that cannot be sent: "+
					"it is longer than %d bytes or has a character other than visible ASCII", maxToken)
			}
			if next.Received.IsZero() {
				next.Received = asked
			}
			t.mu.Lock()
			t.unsaved = &replacement{stored, next}
			t.mu.Unlock()
		}
		if t.c.Save != nil {
			if err := t.c.Save(ctx, next); err != nil {
				return Token{}, fmt.Errorf("durward: cannot save the new token: %w", err)
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

// Limits of the pause after a failed refresh.
const (
	minPause      = time.Second
	maxPause      = time.Minute
	maxRetryAfter = time.Hour // that the client accepts from a server
)

// finish records the result of a refresh and wakes the waiting requests.
func (t *tokens) finish(f *refresh, next Token, err error) {
	t.mu.Lock()
	now := t.c.Now()
	notify := false
	if f.err = err; err == nil {
		f.token = &currentToken{Token: next, early: next.earlyRefresh(), field: []string{"Bearer " + next.Access}}
		if next.bound() {
			f.token.field[0] = "DPoP " + next.Access
		}
	}
	switch {
	case t.refresh != f: // reload was called after it began
	case err == nil:
		t.current, t.signedOut, t.lastErr, t.retryAt, t.pause = f.token, nil, nil, time.Time{}, 0
	case errors.Is(err, ErrSignedOut):
		notify = t.signedOut == nil
		t.current, t.unsaved, t.signedOut, t.lastErr, t.pause = nil, nil, err, err, 0
		t.retryAt = now.Add(minPause) // the user may have signed in again by then
	default:
		t.pause = min(max(2*t.pause, minPause), maxPause)
		wait := t.pause
		if asked, ok := errors.AsType[*RetryError](err); ok {
			wait = max(wait, min(asked.After, maxRetryAfter))
		}
		t.lastErr, t.retryAt = err, now.Add(wait)
		if t.current != nil && errors.Is(err, ErrNoAnswer) && now.Before(t.current.Expires) {
			// The token in use cannot be renewed. From its end on requests must fail: none is
			// sent without a token.
			t.retryAt = now.Add(min(wait, t.current.Expires.Sub(now)))
		}
	}
	if t.refresh == f {
		t.refresh = nil
	}
	t.mu.Unlock()
	if notify && t.c.OnSignedOut != nil {
		t.c.OnSignedOut(err)
	}
	close(f.done)
}
