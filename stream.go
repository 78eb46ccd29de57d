package durward

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"time"
)

// Rechecked is a [Scheme] whose Authenticate may be asked again about a request
// that is still under way: on routes with Policy.Stream it is, this often, with a
// context for which [Rechecking] is true. Bearer tokens, DPoP tokens, API keys,
// cookies and client certificates are asked about each second, Basic credentials
// each minute. Digest is not: its response is good for one request.
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

// Rechecking reports whether a check is asked again about a request that was let
// through and is still under way (see Policy.Stream). It is then no use of the
// credentials: it must not lengthen an idle time.
func Rechecking(ctx context.Context) bool {
	st := stateOf(ctx)
	return st != nil && st.rechecking
}

// Recheck asks once more, of a request that g let through and that is still under
// way, what it was let in by: whether the credentials are good, and whether they
// satisfy the policy still. It is for handlers that wait and then answer; the error
// is for [Guard.Refuse]. Digest cannot be asked again, and is not.
func (g *Guard) Recheck(r *http.Request) error {
	st := stateOf(r.Context())
	if st == nil || st.guard != g || st.principal == nil {
		return nil
	}
	again := *st
	if s, ok := g.c.Schemes[st.chosen].(Rechecked); ok {
		who, err := again.ask(r.Context(), s, r)
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

// ask asks s again about r, which v was let through with. What it is asked about is a
// copy.
func (st *requestState) ask(ctx context.Context, s Rechecked, r *http.Request) (*Principal, error) {
	again := *st
	again.Context, again.rechecking = ctx, true
	asked := r.Clone(&again)
	asked.Body = http.NoBody
	return recheck(s, asked)
}

// outageTolerance is how long a stream goes on while it cannot be told whether its
// credentials are still good.
const outageTolerance = time.Minute

// recheckTimeout is how long one answer to that is waited for.
const recheckTimeout = 10 * time.Second

// stream returns r with a context that ends when the credentials that v was let
// through with do. stop, called when the handler has returned, ends the watch.
func (g *Guard) stream(r *http.Request, st *requestState) (_ *http.Request, stop func()) {
	st.streaming = true
	ctx, end := context.WithCancelCause(r.Context())
	left := time.Duration(math.MaxInt64) // for credentials without an end
	if expires := st.principal.Expires; !expires.IsZero() {
		left = expires.Sub(g.c.Now())
	}
	watch := &streamWatch{guard: g, end: end}
	watch.expiry = time.AfterFunc(left, watch.expired)
	if s, ok := g.c.Schemes[st.chosen].(Rechecked); ok {
		// A copy, made before the handler has r: nothing it does to r is seen there.
		again := *st
		again.Context, again.rechecking = ctx, true
		asked := r.Clone(&again)
		asked.Body = http.NoBody
		go watch.run(ctx, s, asked, st.principal.Expires)
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
	w.end(fmt.Errorf("the credentials of a stream have expired: %w", TokenExpired))
}

// run asks s again until the stream ends.
func (w *streamWatch) run(ctx context.Context, s Rechecked, asked *http.Request, expires time.Time) {
	every := time.NewTicker(s.Recheck())
	defer every.Stop()
	lastGood := time.Now() // when it was last known that they are good, by a clock that nobody sets
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
				w.end(fmt.Errorf("the credentials of a stream: %w: %w", old, AuthUnavailable))
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
				// A session that slid on by other requests.
				if expires = p.Expires; expires.IsZero() {
					w.expiry.Stop()
				} else {
					w.expiry.Reset(expires.Sub(now))
				}
			}
		case errors.As(err, &code) && code != AuthUnavailable && code != TooManyAttempts:
			w.end(fmt.Errorf("the credentials of a stream are good no longer: %w", err))
			return
		case time.Since(lastGood) >= tolerance:
			w.end(fmt.Errorf("for %s nobody could tell whether the credentials of a stream are good: %w", time.Since(lastGood).Truncate(time.Second), err))
			return
		}
		if !expires.IsZero() && !now.Before(expires) {
			// By a clock that was set ahead, of which a timer knows nothing.
			w.expired()
			return
		}
	}
}

// recheck asks a scheme once, for a while. Nothing stands above it that would catch
// a panic.
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
