package session

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

// cookieLabel is the label of the hashes of session cookies.
const cookieLabel = "durward session cookie"

const (
	// cookieGrace is how long a replaced cookie still works with its old rights, so that requests
	// sent together with the one that replaced it are not signed out.
	cookieGrace = 30 * time.Second

	// The last use of a cookie is stored at most once per useStep, or usesPerIdle times per idle
	// time if that is shorter.
	useStep     = time.Minute
	usesPerIdle = 30
)

// cookieHash returns the hash of a cookie in the database.
func (m *Manager) cookieHash(value string) ([]byte, error) { return m.secretHash(cookieLabel, value) }

// secretHash returns the hash of a secret in the database.
func (m *Manager) secretHash(label, value string) ([]byte, error) {
	// The checks allow one spelling per secret: Strict refuses other last characters, and the length
	// refuses line breaks, which the decoder skips.
	raw, err := base64.RawURLEncoding.Strict().DecodeString(value)
	if err != nil || len(raw) != secretOctets || len(value) != base64.RawURLEncoding.EncodedLen(secretOctets) {
		return nil, fmt.Errorf("session: not of the form of a session cookie: %w", durward.SessionExpired)
	}
	return m.hash(label, raw), nil
}

// hash returns the hash of the octets of a secret. It includes the epoch, so that a restored database
// accepts no secret from the time that it lost.
func (m *Manager) hash(label string, raw []byte) []byte {
	h := sha256.New()
	_, _ = io.WriteString(h, label+"\x00"+m.c.DB.SessionEpoch()+"\x00")
	h.Write(raw)
	return h.Sum(nil)
}

// Cookie is a session cookie for a browser.
type Cookie struct {
	Value string
	Kept  time.Duration // how long the browser keeps it; zero: until the browser ends
}

// CookieWish says what a client wants that signs in with a cookie.
type CookieWish struct {
	Wanted   bool   // false: tokens instead
	Remember bool   // stay signed in after the browser ends
	Replaced string // the cookie that the browser sent, or empty: its session ends, whichever user it belongs to
}

// SignInCookie begins a session as SignIn does, with a cookie instead of tokens.
func (m *Manager) SignInCookie(ctx context.Context, proof account.Proof, wish CookieWish, from request.Info) (Cookie, error) {
	now := m.c.Now()
	s := m.newCookieSession(proof, wish.Remember, now, from)
	cookie, c := m.newCookie(s, now)
	event := from.Event(store.EventSignedIn, "ok", s.UserID, s.ID, now)
	place := store.Place{Network: s.Network, Browser: s.Agent}
	err := m.publish(m.c.DB.CreateCookieSession(ctx, s, c, event, place, proof.User, m.replacedBy(wish.Replaced, now)))
	if err != nil {
		return Cookie{}, refuseChanged(err)
	}
	return cookie, nil
}

// newCookieSession returns a session for a cookie.
func (m *Manager) newCookieSession(proof account.Proof, remember bool, now time.Time, from request.Info) store.Session {
	life := m.c.CookieAbsolute
	if remember {
		life = m.c.RememberAbsolute
	}
	s := newSession(proof, now.Add(life), now, from)
	s.Remembered = remember
	return s
}

// idle returns how long a cookie of s stays valid without use.
func (m *Manager) idle(s store.Session) time.Duration {
	if s.Remembered {
		return m.c.RememberIdle
	}
	return m.c.CookieIdle
}

// replacedBy returns the replacement of a cookie by a sign-in. A value that is no cookie of this server
// replaces nothing.
func (m *Manager) replacedBy(value string, now time.Time) store.Replaced {
	old := store.Replaced{EventID: store.NewID(), Kind: store.EventSignedOut, Reason: "signed in anew", Until: m.c.Issuer.TokensEnd(now)}
	if value != "" {
		old.Hash, _ = m.cookieHash(value)
	}
	return old
}

// newCookie returns a random cookie with the rights of s.
func (m *Manager) newCookie(s store.Session, now time.Time) (Cookie, store.Cookie) {
	value, raw := newSecret()
	cookie := Cookie{Value: value}
	if s.Remembered {
		cookie.Kept = s.EndsAt.Sub(now)
	}
	return cookie, store.Cookie{
		Hash:      m.hash(cookieLabel, raw),
		SessionID: s.ID,
		Scope:     s.Scope,
		AuthTime:  s.AuthTime,
		ACR:       s.ACR,
		AMR:       s.AMR,
		CreatedAt: now,
		UsedAt:    now,
		IdleEnds:  earlier(now.Add(m.idle(s)), s.EndsAt),
	}
}

// AuthenticateCookie returns the principal of a session cookie, or an error that wraps
// SessionExpired, or that of account.CheckFactor. If use is true, it extends the idle time of the session durably.
func (m *Manager) AuthenticateCookie(ctx context.Context, value string, use bool) (*durward.Principal, error) {
	c, s, u, err := m.liveCookie(ctx, value)
	if err == nil {
		err = account.CheckFactor(ctx, u)
	}
	if err != nil {
		return nil, err
	}
	now := m.c.Now()
	idle := m.idle(s)
	every := min(useStep, idle/usesPerIdle)
	if use && c.ReplacedAt.IsZero() && now.Sub(c.UsedAt) >= every {
		c.IdleEnds = earlier(now.Add(idle), s.EndsAt)
		if err := m.c.DB.UseCookie(ctx, c.Hash, now, now.Add(-every), c.IdleEnds); err != nil {
			return nil, err
		}
	}
	return &durward.Principal{
		Subject: u.ID, Issuer: m.c.Issuer.URL(), ClientID: s.ClientID, SessionID: s.ID, Scopes: strings.Fields(stillGranted(c.Scope, u)),
		ACR: c.ACR, AMR: c.AMR, AuthTime: c.AuthTime, Expires: earlier(c.IdleEnds, s.EndsAt),
	}, nil
}

// liveCookie returns a cookie with its session and its user, or refuses with SessionExpired if one of
// them has ended or is locked.
func (m *Manager) liveCookie(
	ctx context.Context, value string,
) (c store.Cookie, s store.Session, u store.User, err error) {
	if c, s, u, err = m.anyCookie(ctx, value); err != nil {
		return c, s, u, err
	}
	now := m.c.Now()
	ended := func(why string, at time.Time) error {
		return fmt.Errorf("session: session %s %s %s ago: %w",
			s.ID, why, now.Sub(at).Truncate(time.Second), durward.SessionExpired)
	}
	switch {
	case !s.EndedAt.IsZero():
		err = ended("ended ("+s.EndReason+")", s.EndedAt)
	case !now.Before(s.EndsAt):
		err = ended("reached its absolute end", s.EndsAt)
	case !now.Before(c.IdleEnds) && !c.ReplacedAt.IsZero():
		err = ended("got another cookie", c.ReplacedAt)
	case !now.Before(c.IdleEnds):
		err = ended("was idle for too long and ended", c.IdleEnds)
	case !u.LockedAt.IsZero():
		err = fmt.Errorf("session: user %s is locked: %w", u.ID, durward.SessionExpired)
	}
	return c, s, u, err
}

// anyCookie returns a cookie with its session and its user, live or not.
func (m *Manager) anyCookie(ctx context.Context, value string) (store.Cookie, store.Session, store.User, error) {
	hash, err := m.cookieHash(value)
	if err != nil {
		return store.Cookie{}, store.Session{}, store.User{}, err
	}
	c, s, u, err := m.c.DB.CookieByHash(ctx, hash)
	if errors.Is(err, store.ErrNotFound) {
		err = fmt.Errorf("session: no session has this cookie: %w", durward.SessionExpired)
	}
	return c, s, u, err
}

// SessionOfCookie returns the user and the session of a cookie, live or not, for a sign-out. It
// refuses with SessionExpired if the server never issued the cookie.
func (m *Manager) SessionOfCookie(ctx context.Context, value string) (userID, sessionID string, err error) {
	_, s, _, err := m.anyCookie(ctx, value)
	return s.UserID, s.ID, err
}

// CookieToken returns an access token with the rights of a cookie, without a refresh token. It ends
// with the session at the latest. It refuses as account.CheckFactor does.
func (m *Manager) CookieToken(ctx context.Context, value string) (Tokens, error) {
	c, s, u, err := m.liveCookie(ctx, value)
	if err == nil {
		err = account.CheckFactor(ctx, u)
	}
	if err != nil {
		return Tokens{}, err
	}
	s.AuthTime, s.ACR, s.AMR = c.AuthTime, c.ACR, c.AMR
	return m.accessToken(s, s.ClientID, stillGranted(c.Scope, u), "", earlier(c.IdleEnds, s.EndsAt))
}
