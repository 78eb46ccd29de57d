package session

import (
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/issuer"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

const (
	graceGenerations = 4           // superseded tokens that a lost answer may bring back
	graceReplays     = 5           // answers given again, for each generation
	graceTogether    = time.Second // replays this soon after the move are the same moment's: tabs and retries that raced it
)

// Refresh judges a refresh token and answers with the next, or with the same
// again where an answer may have been lost. It refuses with RefreshInvalid,
// RefreshExpired or SessionRevoked; the move is durable when it returns. key is the
// one that the client has proved to hold, nil is none: a grant that is bound to
// another is refused with InvalidProof and stays as it is.
func (m *Manager) Refresh(ctx context.Context, token string, key *durward.HeldKey, from request.Info) (Tokens, error) {
	t, err := m.refresh(ctx, token, key, from)
	if errors.Is(err, errGarbage) && m.c.BadTokens != nil {
		// Only bad ones are counted and only they are turned away: a good token
		// never waits for somebody else's bad ones.
		if wait, ok := m.c.BadTokens.Bad(ctx, from.Addr); !ok {
			return Tokens{}, &durward.Refusal{Code: durward.TooManyAttempts, RetryAfter: wait, Err: err}
		}
	}
	return t, err
}

// errGarbage marks a token that was never one of ours.
var errGarbage = fmt.Errorf("never issued: %w", durward.RefreshInvalid)

func (m *Manager) refresh(ctx context.Context, token string, key *durward.HeldKey, from request.Info) (Tokens, error) {
	p, k, err := m.presented(token)
	if err != nil {
		return Tokens{}, err
	}
	// Somebody else may move the grant between reading and moving; each such
	// move makes this token older, so that a few rounds decide.
	for round := range graceGenerations + 2 {
		g, s, u, err := m.granted(ctx, p, k)
		if err != nil {
			return Tokens{}, err
		}
		now := m.c.Now()
		if err := ended(g, s, now); err != nil {
			return Tokens{}, err
		}
		if err := boundTo(g, key); err != nil {
			return Tokens{}, err
		}
		if !u.LockedAt.IsZero() {
			return Tokens{}, fmt.Errorf("session: %s is locked: %w", u.ID, durward.SessionRevoked)
		}
		if key != nil && round == 0 {
			// Whatever the token turns out to be, its proof is used up.
			if err := key.Spend(); err != nil {
				return Tokens{}, err
			}
		}
		g.Scope = stillGranted(g.Scope, u)
		t, again, err := m.decide(ctx, g, s, p.n, now, from)
		if !again {
			return t, err
		}
	}
	return Tokens{}, errors.New("session: the grant moved faster than it could be read")
}

// presented judges what a token says by itself: its form, its key, its check
// octets. Nothing is read from the database for it.
func (m *Manager) presented(token string) (refreshParts, issuer.RefreshKey, error) {
	refuse := func(err error) (refreshParts, issuer.RefreshKey, error) {
		return refreshParts{}, issuer.RefreshKey{}, fmt.Errorf("session: %w: %w", err, errGarbage)
	}
	p, err := parseRefresh(token)
	if err != nil {
		return refuse(err)
	}
	k, ok := m.c.Issuer.RefreshKey(p.key)
	if !ok {
		return refuse(fmt.Errorf("refresh key %d is not in the ring", p.key))
	}
	if !hmac.Equal(checkOf(k, p.raw[:checkFrom]), p.raw[checkFrom:macFrom]) {
		return refuse(errors.New("the check octets of the refresh token do not fit"))
	}
	return p, k, nil
}

// granted returns the grant that a token is of, with its session and its person,
// alive or not, once the MAC says that the token was issued.
func (m *Manager) granted(ctx context.Context, p refreshParts, k issuer.RefreshKey) (store.Grant, store.Session, store.User, error) {
	refuse := func(err error) (store.Grant, store.Session, store.User, error) {
		return store.Grant{}, store.Session{}, store.User{}, err
	}
	g, s, u, err := m.c.DB.GrantByID(ctx, p.grant)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return refuse(fmt.Errorf("session: no grant %x: %w", p.grant, errGarbage))
	case err != nil:
		return refuse(err)
	case g.Key != p.key:
		return refuse(fmt.Errorf("session: refresh key %d in a token of grant %x, which has %d: %w", p.key, p.grant, g.Key, errGarbage))
	case !hmac.Equal(macOf(k, p.raw[:checkFrom], g.Salt), p.raw[macFrom:]):
		return refuse(fmt.Errorf("session: the MAC of the refresh token of grant %x does not fit: %w", p.grant, errGarbage))
	}
	return g, s, u, nil
}

// ended says why a grant cannot be refreshed any more, without an alarm.
func ended(g store.Grant, s store.Session, now time.Time) error {
	switch {
	case !g.EndedAt.IsZero():
		return fmt.Errorf("session: the grant ended %s ago (%s): %w", now.Sub(g.EndedAt).Truncate(time.Second), g.EndReason, durward.SessionRevoked)
	case !s.EndedAt.IsZero():
		return fmt.Errorf("session: session %s ended %s ago (%s): %w", s.ID, now.Sub(s.EndedAt).Truncate(time.Second), s.EndReason, durward.SessionRevoked)
	case !now.Before(g.IdleEnds):
		return fmt.Errorf("session: not refreshed for too long, ended %s ago: %w", now.Sub(g.IdleEnds).Truncate(time.Second), durward.RefreshExpired)
	case !now.Before(earlier(g.Ends, s.EndsAt)):
		return fmt.Errorf("session: absolute end passed %s ago: %w", now.Sub(earlier(g.Ends, s.EndsAt)).Truncate(time.Second), durward.RefreshExpired)
	case g.Generation == math.MaxUint32:
		// One more would be token 0 again, which was spent at the beginning.
		return fmt.Errorf("session: the grant moved as often as it can: %w", durward.RefreshExpired)
	}
	return nil
}

// boundTo refuses whoever has not proved to hold the key that a grant is bound to
// (RFC 9449 s5). A grant that is bound to none takes any key, and stays unbound: a
// thief of a Bearer token must not make it theirs alone.
func boundTo(g store.Grant, key *durward.HeldKey) error {
	switch {
	case g.JKT == "":
		return nil
	case key == nil:
		return fmt.Errorf("session: grant %x is bound to a DPoP key and no proof came: %w", g.ID, durward.InvalidProof)
	case key.Thumbprint != g.JKT:
		return fmt.Errorf("session: grant %x is bound to the DPoP key %s, the proof is of %s: %w", g.ID, g.JKT, key.Thumbprint, durward.InvalidProof)
	}
	return nil
}

// decide answers token n of a live grant. again is true where the grant moved
// meanwhile.
func (m *Manager) decide(ctx context.Context, g store.Grant, s store.Session, n uint32, now time.Time, from request.Info) (t Tokens, again bool, err error) {
	switch g0 := g.Generation; {
	case n == g0:
		return m.move(ctx, g, s, n+1, now, from)
	case n < g0:
		return m.replay(ctx, g, s, n, now, from)
	case n == g0+1:
		// The client holds a token this store does not know of: the store went
		// one step back. What the client holds is what counts.
		m.rolledBack.Store(true)
		event := eventOf(store.EventStoreWentBack, "noted", s.UserID, s.ID, now, from)
		event.Detail = "one step"
		if err := m.c.DB.AddEvents(ctx, []store.Event{event}); err != nil { // no reason to refuse
			m.c.Log.Error("cannot write an event to the security log", "event", event.Kind, "session", s.ID, "error", err)
		}
		return m.move(ctx, g, s, n, now, from)
	default:
		m.rolledBack.Store(true)
		err = m.endGrant(ctx, g, s, store.EventStoreWentBack, fmt.Sprintf("%d steps", n-g0), now, from)
		if err == nil {
			err = fmt.Errorf("session: token %d of a grant at %d: %w", n, g0, durward.RefreshInvalid)
		}
		return Tokens{}, false, err
	}
}

// move makes to the grant's generation, durably, and answers with its token.
func (m *Manager) move(ctx context.Context, g store.Grant, s store.Session, to uint32, now time.Time, from request.Info) (Tokens, bool, error) {
	idle := earlier(now.Add(m.c.RefreshTTL), g.Ends)
	moved, err := m.c.DB.RotateRefresh(ctx, store.Rotate{
		GrantID: g.ID, From: g.Generation, To: to, At: now, IdleEnds: idle, Network: from.Network(), Agent: from.Browser(),
	})
	if err != nil || !moved {
		return Tokens{}, err == nil, err
	}
	g.IdleEnds = idle
	t, err := m.tokens(g, s, to, now)
	return t, false, err
}

// replay answers a superseded token: with the current one again where an answer
// was lost a moment ago, otherwise as what it is.
func (m *Manager) replay(ctx context.Context, g store.Grant, s store.Session, n uint32, now time.Time, from request.Info) (t Tokens, again bool, err error) {
	back := g.Generation - n // how many moves ago it was superseded; 1 or more
	if back <= graceGenerations {
		superseded := g.Moved[back-1]
		elsewhere := g.Network != from.Network() && g.Agent != from.Browser()
		if !elsewhere && m.sinceSuperseded(superseded, now) < m.c.RefreshGrace {
			given := 0
			// Before or after the move: under a clock that was put back all are
			// counted too.
			if now.Sub(g.Moved[0]).Abs() >= graceTogether {
				given, err = m.c.DB.CountReplay(ctx, g.ID, g.Generation)
				if errors.Is(err, store.ErrNotFound) {
					return Tokens{}, true, nil // it moved or ended meanwhile
				} else if err != nil {
					return Tokens{}, false, err
				}
				m.c.Log.Info("a refresh answer is asked for again", "session", s.ID, "token", n, "generation", g.Generation, "times", given, "network", from.Network())
			}
			if given <= graceReplays {
				t, err = m.tokens(g, s, g.Generation, now)
				return t, false, err
			}
		}
		if back == 1 && !elsewhere && g.JKT != "" {
			// Whoever asks holds the key, so nobody else could have used the answer.
			t, err = m.tokens(g, s, g.Generation, now)
			return t, false, err
		}
		if back == 1 && !elsewhere {
			// The current token was never shown: its answer was lost for longer than
			// the grace. Nobody stole anything, but nobody can tell either.
			if err := m.endGrant(ctx, g, s, store.EventRefreshAnswerLost, "", now, from); err != nil {
				return Tokens{}, false, err
			}
			return Tokens{}, false, fmt.Errorf("session: token %d was superseded %s ago and token %d never came: %w",
				n, now.Sub(superseded).Truncate(time.Millisecond), g.Generation, durward.RefreshInvalid)
		}
	}
	if err := m.endStolen(ctx, s, n, g.Generation, now, from); err != nil {
		return Tokens{}, false, err
	}
	return Tokens{}, false, fmt.Errorf("session: spent token %d of a grant at %d used again: session %s revoked: %w", n, g.Generation, s.ID, durward.SessionRevoked)
}

// sinceSuperseded is how long a token has been superseded while a node was up to
// answer, and reached the database: an outage does not eat the grace, which begins
// anew after it.
func (m *Manager) sinceSuperseded(at, now time.Time) time.Duration {
	if at.IsZero() {
		return m.c.RefreshGrace
	}
	if o := m.outage.Load(); o != nil && o.DownAt.Sub(at) < m.c.RefreshGrace {
		switch {
		case o.UpAt.IsZero(): // it lasts, or ends with this very answer
			return 0
		case at.Before(o.UpAt):
			if !now.Before(o.UpAt) { // else the clock was put back, and it says nothing
				return now.Sub(o.UpAt)
			}
		}
	}
	return now.Sub(at)
}

// endStolen ends the session of a refresh token that two clients hold.
func (m *Manager) endStolen(ctx context.Context, s store.Session, n, generation uint32, now time.Time, from request.Info) error {
	event := eventOf(store.EventRefreshTheft, "ended", s.UserID, s.ID, now, from)
	event.Detail = fmt.Sprintf("token %d of a grant at %d", n, generation)
	return m.end(ctx, s.UserID, s.ID, store.EventRefreshTheft, event, "session_ended_by_theft")
}

func (m *Manager) endGrant(ctx context.Context, g store.Grant, s store.Session, reason, detail string, now time.Time, from request.Info) error {
	event := eventOf(reason, "ended", s.UserID, s.ID, now, from)
	event.Detail = detail
	revoked, err := m.c.DB.EndGrant(ctx, g.ID, reason, m.c.Issuer.TokensEnd(now), event)
	m.publish(revoked)
	return err
}

// SessionOfRefreshToken returns whose session a refresh token belongs to, dead or
// alive, for signing out. It refuses what was never issued.
func (m *Manager) SessionOfRefreshToken(ctx context.Context, token string) (userID, sessionID string, err error) {
	p, k, err := m.presented(token)
	if err != nil {
		return "", "", err
	}
	_, s, _, err := m.granted(ctx, p, k)
	if err != nil {
		return "", "", err
	}
	return s.UserID, s.ID, nil
}
