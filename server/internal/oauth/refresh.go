package oauth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

// A refresh token is derived, not drawn, so that a lost answer can be given
// again and a row is all a grant ever needs:
//
//	"dr_" base64url( version 1 | key 1 | grant 16 | n 4 | check 2 | mac 24 )
//
// check is over what precedes it, so that garbage is refused without reading the
// database. mac is over version … n and the salt in the grant's row, so that
// neither the key alone nor a copy of the database alone forges a token.
const (
	refreshPrefix  = "dr_"
	refreshVersion = 1
	refreshOctets  = 48
	refreshChars   = len(refreshPrefix) + refreshOctets/3*4
	macFrom        = 24
)

type refreshParts struct {
	raw   [refreshOctets]byte
	key   uint8
	grant [16]byte
	n     uint32
}

// parseRefresh reads the one canonical form.
func parseRefresh(token string) (refreshParts, error) {
	var p refreshParts
	if len(token) != refreshChars || !strings.HasPrefix(token, refreshPrefix) {
		return p, errors.New("not of the form of a refresh token")
	}
	text := token[len(refreshPrefix):]
	// The decoder passes over line breaks, so what it read is counted. 48 octets
	// leave no bits over, so there is no second spelling.
	if n, err := base64.RawURLEncoding.Decode(p.raw[:], []byte(text)); err != nil || n != refreshOctets {
		return p, errors.New("not base64url")
	}
	if p.raw[0] != refreshVersion {
		return p, fmt.Errorf("version %d of refresh tokens is not known", p.raw[0])
	}
	p.key = p.raw[1]
	copy(p.grant[:], p.raw[2:18])
	p.n = binary.BigEndian.Uint32(p.raw[18:22])
	return p, nil
}

// refreshToken derives token n of a grant.
func (i *Issuer) refreshToken(g store.Grant, n uint32) (string, error) {
	k, ok := i.ring.Load().key(g.Key)
	if !ok {
		return "", fmt.Errorf("oauth: refresh key %d of grant %x is not in the ring", g.Key, g.ID)
	}
	var raw [refreshOctets]byte
	raw[0], raw[1] = refreshVersion, g.Key
	copy(raw[2:18], g.ID[:])
	binary.BigEndian.PutUint32(raw[18:22], n)
	copy(raw[22:24], k.check(raw[:22]))
	copy(raw[macFrom:], k.mac(raw[:22], g.Salt))
	return refreshPrefix + base64.RawURLEncoding.EncodeToString(raw[:]), nil
}

// refreshKey is one K of the ring.
type refreshKey struct {
	number uint8
	secret []byte // mixed with the store's epoch
}

func (k refreshKey) sum(parts ...[]byte) []byte {
	h := hmac.New(sha256.New, k.secret)
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

func (k refreshKey) check(head []byte) []byte     { return k.sum(head)[:2] }
func (k refreshKey) mac(head, salt []byte) []byte { return k.sum(head, salt)[:refreshOctets-macFrom] }

func newSalt() []byte {
	salt := make([]byte, 32)
	_, _ = rand.Read(salt) // crypto/rand.Read never returns an error
	return salt
}

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
func (i *Issuer) Refresh(ctx context.Context, token string, key *durward.HeldKey, from request.Info) (Tokens, error) {
	t, err := i.refresh(ctx, token, key, from)
	if errors.Is(err, errGarbage) && i.c.Rate != nil {
		// Only bad ones are counted and only they are turned away: a good token
		// never waits for somebody else's bad ones.
		if wait, ok := i.c.Rate.Bad(ctx, from.Addr); !ok {
			return Tokens{}, &durward.Refusal{Code: durward.TooManyAttempts, RetryAfter: wait, Err: err}
		}
	}
	return t, err
}

// errGarbage marks a token that was never one of ours.
var errGarbage = fmt.Errorf("never issued: %w", durward.RefreshInvalid)

func (i *Issuer) refresh(ctx context.Context, token string, key *durward.HeldKey, from request.Info) (Tokens, error) {
	p, k, err := i.presented(token)
	if err != nil {
		return Tokens{}, err
	}
	// Somebody else may move the grant between reading and moving; each such
	// move makes this token older, so that a few rounds decide.
	for round := range graceGenerations + 2 {
		g, s, u, err := i.granted(ctx, p, k)
		if err != nil {
			return Tokens{}, err
		}
		now := i.c.Now()
		if err := ended(g, s, now); err != nil {
			return Tokens{}, err
		}
		if err := boundTo(g, key); err != nil {
			return Tokens{}, err
		}
		if !u.LockedAt.IsZero() {
			return Tokens{}, fmt.Errorf("oauth: %s is locked: %w", u.ID, durward.SessionRevoked)
		}
		if key != nil && round == 0 {
			// Whatever the token turns out to be, its proof is used up.
			if err := key.Spend(); err != nil {
				return Tokens{}, err
			}
		}
		g.Scope = stillOf(g.Scope, u)
		t, again, err := i.decide(ctx, g, s, p.n, now, from)
		if !again {
			return t, err
		}
	}
	return Tokens{}, errors.New("oauth: the grant moved faster than it could be read")
}

// presented judges what a token says by itself: its form, its key, its check
// octets. Nothing is read from the database for it.
func (i *Issuer) presented(token string) (refreshParts, refreshKey, error) {
	refuse := func(err error) (refreshParts, refreshKey, error) {
		return refreshParts{}, refreshKey{}, fmt.Errorf("oauth: %w: %w", err, errGarbage)
	}
	p, err := parseRefresh(token)
	if err != nil {
		return refuse(err)
	}
	k, ok := i.ring.Load().key(p.key)
	if !ok {
		return refuse(fmt.Errorf("refresh key %d is not in the ring", p.key))
	}
	if !hmac.Equal(k.check(p.raw[:22]), p.raw[22:macFrom]) {
		return refuse(errors.New("the check octets of the refresh token do not fit"))
	}
	return p, k, nil
}

// granted returns the grant that a token is of, with its session and its person,
// alive or not, once the MAC says that the token was issued.
func (i *Issuer) granted(ctx context.Context, p refreshParts, k refreshKey) (store.Grant, store.Session, store.User, error) {
	refuse := func(err error) (store.Grant, store.Session, store.User, error) {
		return store.Grant{}, store.Session{}, store.User{}, err
	}
	g, s, u, err := i.c.DB.GrantByID(ctx, p.grant)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return refuse(fmt.Errorf("oauth: no grant %x: %w", p.grant, errGarbage))
	case err != nil:
		return refuse(err)
	case g.Key != p.key:
		return refuse(fmt.Errorf("oauth: refresh key %d in a token of grant %x, which has %d: %w", p.key, p.grant, g.Key, errGarbage))
	case !hmac.Equal(k.mac(p.raw[:22], g.Salt), p.raw[macFrom:]):
		return refuse(fmt.Errorf("oauth: the MAC of the refresh token of grant %x does not fit: %w", p.grant, errGarbage))
	}
	return g, s, u, nil
}

// ended says why a grant cannot be refreshed any more, without an alarm.
func ended(g store.Grant, s store.Session, now time.Time) error {
	switch {
	case !g.EndedAt.IsZero():
		return fmt.Errorf("oauth: the grant ended %s ago (%s): %w", now.Sub(g.EndedAt).Truncate(time.Second), g.EndReason, durward.SessionRevoked)
	case !s.EndedAt.IsZero():
		return fmt.Errorf("oauth: session %s ended %s ago (%s): %w", s.ID, now.Sub(s.EndedAt).Truncate(time.Second), s.EndReason, durward.SessionRevoked)
	case !now.Before(g.IdleEnds):
		return fmt.Errorf("oauth: not refreshed for too long, ended %s ago: %w", now.Sub(g.IdleEnds).Truncate(time.Second), durward.RefreshExpired)
	case !now.Before(earlier(g.Ends, s.EndsAt)):
		return fmt.Errorf("oauth: absolute end passed %s ago: %w", now.Sub(earlier(g.Ends, s.EndsAt)).Truncate(time.Second), durward.RefreshExpired)
	case g.Generation == math.MaxUint32:
		// One more would be token 0 again, which was spent at the beginning.
		return fmt.Errorf("oauth: the grant moved as often as it can: %w", durward.RefreshExpired)
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
		return fmt.Errorf("oauth: grant %x is bound to a DPoP key and no proof came: %w", g.ID, durward.InvalidProof)
	case key.Thumbprint != g.JKT:
		return fmt.Errorf("oauth: grant %x is bound to the DPoP key %s, the proof is of %s: %w", g.ID, g.JKT, key.Thumbprint, durward.InvalidProof)
	}
	return nil
}

// decide answers token n of a live grant. again is true where the grant moved
// meanwhile.
func (i *Issuer) decide(ctx context.Context, g store.Grant, s store.Session, n uint32, now time.Time, from request.Info) (t Tokens, again bool, err error) {
	switch g0 := g.Generation; {
	case n == g0:
		return i.move(ctx, g, s, n+1, now, from)
	case n < g0:
		return i.replay(ctx, g, s, n, now, from)
	case n == g0+1:
		// The client holds a token this store does not know of: the store went
		// one step back. What the client holds is what counts.
		i.wentBack.Store(true)
		i.note(ctx, store.EventStoreWentBack, "one step", s, now, from)
		return i.move(ctx, g, s, n, now, from)
	default:
		i.wentBack.Store(true)
		err = i.endGrant(ctx, g, s, store.EventStoreWentBack, fmt.Sprintf("%d steps", n-g0), now, from)
		if err == nil {
			err = fmt.Errorf("oauth: token %d of a grant at %d: %w", n, g0, durward.RefreshInvalid)
		}
		return Tokens{}, false, err
	}
}

// move makes to the grant's generation, durably, and answers with its token.
func (i *Issuer) move(ctx context.Context, g store.Grant, s store.Session, to uint32, now time.Time, from request.Info) (Tokens, bool, error) {
	idle := earlier(now.Add(i.c.RefreshTTL), g.Ends)
	moved, err := i.c.DB.RotateRefresh(ctx, store.Rotate{
		GrantID: g.ID, From: g.Generation, To: to, At: now, IdleEnds: idle, Network: from.Network(), Agent: from.Browser(),
	})
	if err != nil || !moved {
		return Tokens{}, err == nil, err
	}
	g.IdleEnds = idle
	t, err := i.tokens(g, s, to, now)
	return t, false, err
}

// replay answers a superseded token: with the current one again where an answer
// was lost a moment ago, otherwise as what it is.
func (i *Issuer) replay(ctx context.Context, g store.Grant, s store.Session, n uint32, now time.Time, from request.Info) (t Tokens, again bool, err error) {
	back := g.Generation - n // how many moves ago it was superseded; 1 or more
	if back <= graceGenerations {
		superseded := g.Moved[back-1]
		elsewhere := g.Network != from.Network() && g.Agent != from.Browser()
		if !elsewhere && i.sinceSuperseded(superseded, now) < i.c.RefreshGrace {
			given := 0
			// Before or after the move: under a clock that was put back all are
			// counted too.
			if now.Sub(g.Moved[0]).Abs() >= graceTogether {
				given, err = i.c.DB.CountReplay(ctx, g.ID, g.Generation)
				if errors.Is(err, store.ErrNotFound) {
					return Tokens{}, true, nil // it moved or ended meanwhile
				} else if err != nil {
					return Tokens{}, false, err
				}
				i.c.Log.Info("a refresh answer is asked for again", "session", s.ID, "token", n, "generation", g.Generation, "times", given, "network", from.Network())
			}
			if given <= graceReplays {
				t, err = i.tokens(g, s, g.Generation, now)
				return t, false, err
			}
		}
		if back == 1 && !elsewhere && g.JKT != "" {
			// Whoever asks holds the key, so nobody else could have used the answer.
			t, err = i.tokens(g, s, g.Generation, now)
			return t, false, err
		}
		if back == 1 && !elsewhere {
			// The current token was never shown: its answer was lost for longer than
			// the grace. Nobody stole anything, but nobody can tell either.
			if err := i.endGrant(ctx, g, s, store.EventRefreshAnswerLost, "", now, from); err != nil {
				return Tokens{}, false, err
			}
			return Tokens{}, false, fmt.Errorf("oauth: token %d was superseded %s ago and token %d never came: %w",
				n, now.Sub(superseded).Truncate(time.Millisecond), g.Generation, durward.RefreshInvalid)
		}
	}
	if err := i.theft(ctx, s, n, g.Generation, now, from); err != nil {
		return Tokens{}, false, err
	}
	return Tokens{}, false, fmt.Errorf("oauth: spent token %d of a grant at %d used again: session %s revoked: %w", n, g.Generation, s.ID, durward.SessionRevoked)
}

// sinceSuperseded is how long a token has been superseded while a node was up to
// answer, and reached the database: an outage does not eat the grace, which begins
// anew after it.
func (i *Issuer) sinceSuperseded(at, now time.Time) time.Duration {
	if at.IsZero() {
		return i.c.RefreshGrace
	}
	if o := i.outage.Load(); o != nil && o.DownAt.Sub(at) < i.c.RefreshGrace {
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

// theft ends the session of a token that two parties hold.
func (i *Issuer) theft(ctx context.Context, s store.Session, n, generation uint32, now time.Time, from request.Info) error {
	event := i.event(store.EventRefreshTheft, fmt.Sprintf("token %d of a grant at %d", n, generation), s, now, from)
	revoked, err := i.c.DB.EndSession(ctx, s.ID, s.UserID, store.EventRefreshTheft, i.revokedUntil(now), event, "session_ended_by_theft")
	i.push(revoked)
	return err
}

func (i *Issuer) endGrant(ctx context.Context, g store.Grant, s store.Session, reason, detail string, now time.Time, from request.Info) error {
	revoked, err := i.c.DB.EndGrant(ctx, g.ID, reason, i.revokedUntil(now), i.event(reason, detail, s, now, from))
	i.push(revoked)
	return err
}

func (i *Issuer) event(kind, detail string, s store.Session, now time.Time, from request.Info) store.Event {
	return store.Event{ID: store.NewID(), Kind: kind, At: now, UserID: s.UserID, SessionID: s.ID, Outcome: "ended", Network: from.Network(), Device: from.Device(), Detail: detail}
}

// note writes an event down beside the deed; that it cannot is no reason to
// refuse.
func (i *Issuer) note(ctx context.Context, kind, detail string, s store.Session, now time.Time, from request.Info) {
	event := i.event(kind, detail, s, now, from)
	event.Outcome = "noted"
	if err := i.c.DB.AddEvents(ctx, []store.Event{event}); err != nil {
		i.c.Log.Error("an event could not be written to the security log", "event", kind, "session", s.ID, "error", err)
	}
}

// RefreshSession returns whose session a refresh token belongs to, dead or
// alive, for signing out. It refuses what was never issued.
func (i *Issuer) RefreshSession(ctx context.Context, token string) (userID, sessionID string, err error) {
	p, k, err := i.presented(token)
	if err != nil {
		return "", "", err
	}
	_, s, _, err := i.granted(ctx, p, k)
	if err != nil {
		return "", "", err
	}
	return s.UserID, s.ID, nil
}

// WentBack reports whether a token from the store's future was seen: the
// database lost what it had acknowledged.
func (i *Issuer) WentBack() bool { return i.wentBack.Load() }
