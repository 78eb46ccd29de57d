package durward

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"time"
)

// Rechecked is a [Scheme] that can verify the credentials of a request again while the request is
// in progress. On routes with Policy.Stream its Authenticate is called at the interval that Recheck
// returns, with a context for which [Rechecking] is true. The interval is one second for Bearer
// tokens, DPoP tokens, API keys, cookies and client certificates, and one minute for Basic. Digest
// cannot verify again: its response is valid for one request.
type Rechecked interface {
	Scheme
	Recheck() (every time.Duration)
}

func (*bearer) Recheck() time.Duration     { return time.Second }
func (*dpop) Recheck() time.Duration       { return time.Second }
func (*apiKey) Recheck() time.Duration     { return time.Second }
func (*cookie) Recheck() time.Duration     { return time.Second }
func (*clientCert) Recheck() time.Duration { return time.Second }
func (*basic) Recheck() time.Duration      { return time.Minute } // a slow hash each time

// Rechecking reports whether a check is called again for a request that was accepted before and is
// still in progress (see Policy.Stream). Such a call is not a use of the credentials: it must not
// extend an idle time.
func Rechecking(ctx context.Context) bool {
	st := stateOf(ctx)
	return st != nil && st.rechecking
}

// Recheck verifies again that the credentials of r, which g accepted and which is still in
// progress, are valid and satisfy the route's policy. It is for handlers that wait before they
// answer. Its error is for [Guard.Refuse]. Digest credentials are not verified again.
func (g *Guard) Recheck(r *http.Request) error {
	st := stateOf(r.Context())
	if st == nil || st.guard != g || st.principal == nil {
		return nil
	}
	again := *st
	if s, ok := g.c.Schemes[st.chosen].(Rechecked); ok {
		who, err := recheck(s, st.rechecked(r.Context(), r))
		if err == nil {
			err = g.checkFreshness(st.route, who)
		}
		if err != nil {
			return err
		}
		again.principal = who
	}
	if expires := again.principal.Expires; !expires.IsZero() && !g.c.Now().Before(expires) {
		return fmt.Errorf("the credentials expired while the request waited: %w", TokenExpired)
	}
	again.Context = r.Context()
	return g.authorize(r.WithContext(&again), &again)
}

// rechecked returns a copy of r and its state for which Rechecking is true.
func (st *requestState) rechecked(ctx context.Context, r *http.Request) *http.Request {
	again := *st
	again.Context, again.rechecking = ctx, true
	asked := r.Clone(&again)
	asked.Body = http.NoBody
	return asked
}

// outageTolerance is how long a stream continues while its credentials cannot be verified.
const outageTolerance = time.Minute

// recheckTimeout is the timeout of one such verification.
const recheckTimeout = 10 * time.Second

// stream returns r with a context that ends when the credentials do. stop ends the watch; call it
// when the handler has returned.
func (g *Guard) stream(r *http.Request, st *requestState) (_ *http.Request, stop func()) {
	st.streaming = true
	ctx, end := context.WithCancelCause(r.Context())
	left := time.Duration(math.MaxInt64) // for credentials that do not expire
	if expires := st.principal.Expires; !expires.IsZero() {
		left = expires.Sub(g.c.Now())
	}
	watch := &streamWatch{guard: g, end: end}
	watch.expiry = time.AfterFunc(left, watch.expired)
	if s, ok := g.c.Schemes[st.chosen].(Rechecked); ok {
		// A copy from before the handler runs: changes that the handler makes to r do not affect it.
		go watch.run(ctx, s, st.rechecked(ctx, r), st.principal.Expires)
	}
	return r.WithContext(ctx), func() {
		watch.expiry.Stop()
		end(context.Canceled)
	}
}

type streamWatch struct {
	guard  *Guard
	end    context.CancelCauseFunc
	expiry *time.Timer
}

func (w *streamWatch) expired() {
	w.end(fmt.Errorf("the credentials of the stream expired: %w", TokenExpired))
}

// run verifies the credentials with s at its interval, until the stream ends.
func (w *streamWatch) run(ctx context.Context, s Rechecked, asked *http.Request, expires time.Time) {
	every := time.NewTicker(s.Recheck())
	defer every.Stop()
	lastGood := time.Now() // of the last successful verification, by the monotonic clock
	policy := stateOf(asked.Context()).route
	tolerance := outageTolerance
	if policy.Freshness > 0 {
		tolerance = min(tolerance, policy.Freshness)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		p, err := recheck(s, asked)
		if err == nil {
			if old := w.guard.checkFreshness(policy, p); old != nil {
				w.end(fmt.Errorf("the credentials of the stream: %w: %w", old, AuthUnavailable))
				return
			}
		}
		now := w.guard.c.Now()
		var code Code
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			lastGood = time.Now()
			if !p.Expires.Equal(expires) {
				// Other requests extended the session.
				if expires = p.Expires; expires.IsZero() {
					w.expiry.Stop()
				} else {
					w.expiry.Reset(expires.Sub(now))
				}
			}
		case errors.As(err, &code) && code != AuthUnavailable && code != TooManyAttempts:
			w.end(fmt.Errorf("the credentials of the stream are no longer valid: %w", err))
			return
		case time.Since(lastGood) >= tolerance:
			w.end(fmt.Errorf("the credentials of the stream could not be verified for %s: %w", time.Since(lastGood).Truncate(time.Second), err))
			return
		}
		if !expires.IsZero() && !now.Before(expires) {
			// The system clock was set forward, which a timer does not notice.
			w.expired()
			return
		}
	}
}

// recheck calls the scheme once, with a timeout. It recovers from a panic of the scheme, because no
// caller above it would.
func recheck(s Scheme, asked *http.Request) (p *Principal, err error) {
	st := *stateOf(asked.Context())
	ctx, cancel := context.WithTimeout(st.Context, recheckTimeout)
	defer cancel()
	defer func() {
		if caught := recover(); caught != nil {
			p, err = nil, errors.New("the scheme panicked")
		}
	}()
	st.Context = ctx
	p, err = s.Authenticate(asked.WithContext(&st))
	if err == nil && p == nil {
		err = errors.New("the scheme returned neither a principal nor an error")
	}
	return p, err
}
