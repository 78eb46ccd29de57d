package session

import (
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/issuer"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

const (
	graceGenerations = 4           // superseded tokens that the grace accepts
	graceReplays     = 5           // repeated responses for each generation
	graceTogether    = time.Second // replays this soon after a rotation are parallel requests and not counted
)

// Refresh verifies a refresh token and returns the next one, or the same one again if its response may
// have been lost. It refuses with RefreshInvalid, RefreshExpired or SessionRevoked. The rotation is
// durable when Refresh returns. key is the DPoP key of the client, or nil; if the grant is bound to
// another key, Refresh refuses with InvalidProof and changes nothing. A user who owes a second factor gets
// the refusal of refuseOwing; the refresh token stays valid.
//
// It accepts tokens of the server's own sign-in alone: an application has to authenticate for its own.
func (m *Manager) Refresh(ctx context.Context, token string, key *durward.HeldKey, from request.Info) (Tokens, error) {
	r, err := m.refresh(ctx, token, FirstParty, key, from, func(r *Rotated) error {
		r.Grant.Scope = stillGranted(r.Grant.Scope, r.User)
		return nil
	})
	if err != nil {
		return Tokens{}, err
	}
	return m.tokens(r.Grant, r.Session, r.n, r.at)
}

// Rotated is the grant of a refresh token that was used.
type Rotated struct {
	Grant   store.Grant
	Session store.Session
	User    store.User

	Refresh     string        // the next token, or the same one again
	RefreshLife time.Duration // until the idle or the absolute end, whichever is earlier

	n  uint32 // number of Refresh
	at time.Time
}

// RefreshApplication is Refresh for a refresh token of the client clientID, which has authenticated. check
// returns an error if the client must not have the next tokens; then nothing changes. A token of another
// client is refused with RefreshInvalid, and nothing changes. So does EnrolmentRequired for a user who owes a
// second factor.
func (m *Manager) RefreshApplication(
	ctx context.Context, token, clientID string, key *durward.HeldKey, from request.Info, check func(*Rotated) error,
) (r Rotated, err error) {
	if r, err = m.refresh(ctx, token, clientID, key, from, check); err != nil {
		return Rotated{}, err
	}
	r.RefreshLife = earlier(r.Grant.IdleEnds, r.Grant.Ends).Sub(r.at)
	r.Refresh, err = m.refreshToken(r.Grant, r.n)
	return r, err
}

// refresh counts forged tokens of rotate.
func (m *Manager) refresh(
	ctx context.Context, token, clientID string, key *durward.HeldKey, from request.Info, check func(*Rotated) error,
) (Rotated, error) {
	r, err := m.rotate(ctx, token, clientID, key, from, check)
	if errors.Is(err, errNeverIssued) {
		// Only forged tokens are counted and limited. A valid token is never refused because of
		// another client's forged ones.
		if wait, ok := m.c.BadTokens.Network(ctx, from.Addr); !ok {
			return Rotated{}, &durward.Refusal{Code: durward.TooManyAttempts, RetryAfter: wait, Err: err}
		}
	}
	return r, err
}

// errNeverIssued marks a token that the server never issued.
var errNeverIssued = fmt.Errorf("never issued: %w", durward.RefreshInvalid)

func neverIssued(format string, args ...any) error {
	return fmt.Errorf("session: "+format+": %w", append(args, errNeverIssued)...)
}

// errRotated means that another request rotated the grant after it was read.
var errRotated = errors.New("session: other requests rotated the grant at the same time")

// rotate applies the rules to a refresh token and makes the next one, durably.
func (m *Manager) rotate(
	ctx context.Context, token, clientID string, key *durward.HeldKey, from request.Info, check func(*Rotated) error,
) (r Rotated, err error) {
	p, k, err := m.presented(token)
	if err != nil {
		return r, err
	}
	// Each rotation by another request makes this token one generation older, so a few rounds suffice.
	for round := range graceGenerations + 2 {
		if r.Grant, r.Session, r.User, err = m.granted(ctx, p, k); err != nil {
			return r, err
		}
		if r.Grant.ClientID != clientID {
			return r, fmt.Errorf("session: a refresh token of the client %s, sent as that of %s: %w", r.Grant.ClientID, clientID, durward.RefreshInvalid)
		}
		r.at = m.c.Now()
		if err := ended(r.Grant, r.Session, r.at); err != nil {
			return r, err
		}
		if err := boundTo(r.Grant, key); err != nil {
			return r, err
		}
		if !r.User.LockedAt.IsZero() {
			return r, fmt.Errorf("session: user %s is locked: %w", r.User.ID, durward.SessionRevoked)
		}
		if key != nil && round == 0 {
			// The proof is used up, even if the token is refused below.
			if err := key.Spend(); err != nil {
				return r, err
			}
		}
		if err := check(&r); err != nil {
			return r, err
		}
		owes := r.User.OwesFactor()
		if owes && p.n == r.Grant.Generation {
			return r, m.refuseOwing(r.Session, r.User, r.Grant.JKT) // without a rotation: the client keeps its token
		}
		err := m.decide(ctx, &r, p.n, from) // also of a user who owes a factor: a theft ends the session
		if err == nil && owes {
			err = account.RefuseOwing(r.User)
		}
		if !errors.Is(err, errRotated) {
			return r, err
		}
	}
	return r, errRotated
}

// presented checks the form, the key and the check octets of a token. It does not read the database.
func (m *Manager) presented(token string) (p refreshParts, k issuer.RefreshKey, err error) {
	if p, err = parseRefresh(token); err != nil {
		return p, k, err
	}
	k, ok := m.c.Issuer.RefreshKey(p.key)
	if !ok {
		return p, k, neverIssued("refresh key %d is not in the key ring", p.key)
	}
	if !hmac.Equal(checkOf(k, p.raw[:checkFrom]), p.raw[checkFrom:macFrom]) {
		return p, k, neverIssued("the check octets of the refresh token are wrong")
	}
	return p, k, nil
}

// granted verifies the MAC of a token and returns its grant, session and user, live or not.
func (m *Manager) granted(
	ctx context.Context, p refreshParts, k issuer.RefreshKey,
) (g store.Grant, s store.Session, u store.User, err error) {
	g, s, u, err = m.c.DB.GrantByID(ctx, p.grant)
	switch {
	case errors.Is(err, store.ErrNotFound):
		err = neverIssued("no grant %x", p.grant)
	case err != nil:
	case g.Key != p.key:
		err = neverIssued("refresh key %d in a token of grant %x, want key %d", p.key, p.grant, g.Key)
	case !hmac.Equal(macOf(k, p.raw[:checkFrom], g.Salt), p.raw[macFrom:]):
		err = neverIssued("the MAC of the refresh token of grant %x is wrong", p.grant)
	}
	return g, s, u, err
}

// ended refuses a grant that has ended. It raises no alarm.
func ended(g store.Grant, s store.Session, now time.Time) error {
	switch {
	case !g.EndedAt.IsZero():
		return fmt.Errorf("session: the grant ended %s ago (%s): %w",
			now.Sub(g.EndedAt).Truncate(time.Second), g.EndReason, durward.SessionRevoked)
	case !s.EndedAt.IsZero():
		return fmt.Errorf("session: session %s ended %s ago (%s): %w",
			s.ID, now.Sub(s.EndedAt).Truncate(time.Second), s.EndReason, durward.SessionRevoked)
	case !now.Before(g.IdleEnds):
		return fmt.Errorf("session: the grant was idle for too long and ended %s ago: %w",
			now.Sub(g.IdleEnds).Truncate(time.Second), durward.RefreshExpired)
	case !now.Before(earlier(g.Ends, s.EndsAt)):
		return fmt.Errorf("session: the grant reached its absolute end %s ago: %w",
			now.Sub(earlier(g.Ends, s.EndsAt)).Truncate(time.Second), durward.RefreshExpired)
	case g.Generation == math.MaxUint32:
		// The next number would be 0, which was used at the sign-in.
		return fmt.Errorf("session: the grant reached its last generation: %w", durward.RefreshExpired)
	}
	return nil
}

// boundTo refuses a client that has not proved possession of the key that the grant is bound to
// (RFC 9449 s5). An unbound grant accepts every key and stays unbound, so that the thief of a Bearer
// token cannot lock its owner out.
func boundTo(g store.Grant, key *durward.HeldKey) error {
	switch {
	case g.JKT == "":
		return nil
	case key == nil:
		return fmt.Errorf("session: grant %x is bound to a DPoP key, but the request has no proof: %w",
			g.ID, durward.InvalidProof)
	case key.Thumbprint != g.JKT:
		return fmt.Errorf("session: grant %x is bound to the DPoP key %s, but the proof has key %s: %w",
			g.ID, g.JKT, key.Thumbprint, durward.InvalidProof)
	}
	return nil
}

// decide applies the rules to token n of a live grant, and sets the number of the next token in r.
func (m *Manager) decide(ctx context.Context, r *Rotated, n uint32, from request.Info) error {
	g, s, now := r.Grant, r.Session, r.at
	switch g0 := g.Generation; {
	case n == g0:
		return m.move(ctx, r, n+1, from)
	case n < g0:
		return m.replay(ctx, r, n, from)
	case n == g0+1:
		// The database lost one rotation that it had acknowledged. The token is authentic, so the
		// grant continues from it.
		m.rolledBack.Store(true)
		event := from.Event(store.EventStoreWentBack, "noted", s.UserID, s.ID, now)
		event.Detail = "one step"
		if err := m.c.DB.AddEvents(ctx, []store.Event{event}); err != nil { // the refresh succeeds without it
			m.c.Log.Error("cannot write an event to the security log", "event", event.Kind, "session", s.ID, "error", err)
		}
		return m.move(ctx, r, n, from)
	default:
		m.rolledBack.Store(true)
		if err := m.endGrant(ctx, g, s, store.EventStoreWentBack, fmt.Sprintf("%d steps", n-g0), now, from); err != nil {
			return err
		}
		return fmt.Errorf("session: the database lost rotations: got token %d of a grant at %d: %w",
			n, g0, durward.RefreshInvalid)
	}
}

// move rotates the grant of r to a generation, durably.
func (m *Manager) move(ctx context.Context, r *Rotated, to uint32, from request.Info) error {
	g, now := r.Grant, r.at
	idle := earlier(now.Add(m.c.RefreshTTL), g.Ends)
	moved, err := m.c.DB.RotateRefresh(ctx, store.Rotate{
		GrantID: g.ID, From: g.Generation, To: to, At: now, IdleEnds: idle, Network: from.Network(), Agent: from.Browser(),
	})
	if err == nil && !moved {
		err = errRotated
	}
	if err != nil {
		return err
	}
	r.Grant.IdleEnds, r.n = idle, to
	m.c.Metrics.Refreshed("rotated")
	return nil
}

// replay handles a superseded token. Within the grace the next token is the current one again; later it ends
// the grant or, if the token may be stolen, the session.
func (m *Manager) replay(ctx context.Context, r *Rotated, n uint32, from request.Info) error {
	g, s, now := r.Grant, r.Session, r.at
	back := g.Generation - n // rotations since it was superseded; 1 or more
	if back <= graceGenerations {
		superseded := g.Moved[back-1]
		elsewhere := g.Network != from.Network() && g.Agent != from.Browser()
		if !elsewhere && m.sinceSuperseded(superseded, now) < m.c.RefreshGrace {
			given := 0
			// The distance is absolute, so that replays are counted after the clock was set back too.
			if now.Sub(g.Moved[0]).Abs() >= graceTogether {
				var err error
				given, err = m.c.DB.CountReplay(ctx, g.ID, g.Generation)
				if errors.Is(err, store.ErrNotFound) {
					return errRotated // or ended
				} else if err != nil {
					return err
				}
				m.c.Log.Info("a client repeated a refresh token within the grace",
					"session", s.ID, "token", n, "generation", g.Generation, "times", given, "network", from.Network())
			}
			if given <= graceReplays {
				r.n = g.Generation
				m.c.Metrics.Refreshed("repeated")
				return nil
			}
		}
		if back == 1 && !elsewhere && g.JKT != "" {
			// The client holds the DPoP key, so no other client could use the lost response.
			r.n = g.Generation
			m.c.Metrics.Refreshed("repeated")
			return nil
		}
		if back == 1 && !elsewhere {
			// The current token was never used; its response was probably lost. Theft cannot be ruled
			// out, so the grant ends without an alarm.
			if err := m.endGrant(ctx, g, s, store.EventRefreshAnswerLost, "", now, from); err != nil {
				return err
			}
			return fmt.Errorf("session: token %d was superseded %s ago and token %d was never used: %w",
				n, now.Sub(superseded).Truncate(time.Millisecond), g.Generation, durward.RefreshInvalid)
		}
	}
	// Two clients hold the token.
	event := from.Event(store.EventRefreshTheft, "ended", s.UserID, s.ID, now)
	event.Detail = fmt.Sprintf("token %d of a grant at %d", n, g.Generation)
	if err := m.end(ctx, event.Kind, event, "session_ended_by_theft"); err != nil {
		return err
	}
	return fmt.Errorf("session: used token %d of a grant at %d was sent again; session %s revoked: %w",
		n, g.Generation, s.ID, durward.SessionRevoked)
}

// sinceSuperseded returns the time since a token was superseded. If a node or the database was down in
// the grace after that, the time starts again at the end of the outage.
func (m *Manager) sinceSuperseded(at, now time.Time) time.Duration {
	if at.IsZero() {
		return m.c.RefreshGrace
	}
	if o := m.outage.Load(); o != nil && o.DownAt.Sub(at) < m.c.RefreshGrace {
		switch {
		case o.UpAt.IsZero(): // the outage lasts, or ends with this request
			return 0
		case at.Before(o.UpAt) && !now.Before(o.UpAt): // now is before UpAt if the clock was set back
			return now.Sub(o.UpAt)
		}
	}
	return now.Sub(at)
}

// endGrant ends a grant, and its session if that has no other grant.
func (m *Manager) endGrant(
	ctx context.Context, g store.Grant, s store.Session, reason, detail string, now time.Time, from request.Info,
) error {
	event := from.Event(reason, "ended", s.UserID, s.ID, now)
	event.Detail = detail
	return m.publish(m.c.DB.EndGrant(ctx, g.ID, reason, m.c.Issuer.TokensEnd(now), event))
}

// SessionOfRefreshToken returns the user and the session of a refresh token of the server's own sign-in, live
// or not, for a sign-out. It refuses with RefreshInvalid if the server never issued the token, or issued it to
// an application.
func (m *Manager) SessionOfRefreshToken(ctx context.Context, token string) (userID, sessionID string, err error) {
	r, err := m.GrantOfRefreshToken(ctx, token)
	if err == nil && r.Grant.ClientID != FirstParty {
		err = fmt.Errorf("session: a refresh token of the client %s: %w", r.Grant.ClientID, durward.RefreshInvalid)
	}
	if err != nil {
		return "", "", err
	}
	return r.Session.UserID, r.Session.ID, nil
}

// GrantOfRefreshToken returns the grant of a refresh token with its session and user, live or not. It refuses
// with RefreshInvalid if the server never issued the token.
func (m *Manager) GrantOfRefreshToken(ctx context.Context, token string) (r Rotated, err error) {
	p, k, err := m.presented(token)
	if err != nil {
		return r, err
	}
	r.Grant, r.Session, r.User, err = m.granted(ctx, p, k)
	return r, err
}

// Live refuses a grant that has ended, or whose session or user has, with SessionRevoked or RefreshExpired.
func (m *Manager) Live(r Rotated) error {
	if !r.User.LockedAt.IsZero() {
		return fmt.Errorf("session: user %s is locked: %w", r.User.ID, durward.SessionRevoked)
	}
	return ended(r.Grant, r.Session, m.c.Now())
}
