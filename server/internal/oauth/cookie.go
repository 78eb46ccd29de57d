package oauth

import (
	"context"
	"crypto/rand"
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

// A session cookie is drawn, 256 bits in base64url, and stands in the database as a
// hash alone. There is nothing to refresh: it slides until its session ends.
const cookieOctets = 32

const (
	// cookieGrace is how long a cookie that was replaced still works, with the rights
	// it had, so that requests under way beside the one that replaced it are not
	// signed out.
	cookieGrace = 30 * time.Second

	// The use of a cookie is written down at most once a minute, and this often within
	// a short idle time.
	cookieUse  = time.Minute
	usesOfIdle = 30
)

func newCookie() string {
	var raw [cookieOctets]byte
	_, _ = rand.Read(raw[:]) // crypto/rand.Read never returns an error
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

// cookieHash is what a cookie is kept and found as. The store's epoch is in it, so
// that a restored copy revives no cookie.
func (i *Issuer) cookieHash(value string) ([]byte, error) {
	// Strict, and of one length: another last character, or a line break, which the
	// decoder passes over, would be another spelling of the same octets.
	raw, err := base64.RawURLEncoding.Strict().DecodeString(value)
	if err != nil || len(raw) != cookieOctets || len(value) != base64.RawURLEncoding.EncodedLen(cookieOctets) {
		return nil, fmt.Errorf("oauth: not of the form of a session cookie: %w", durward.SessionExpired)
	}
	h := sha256.New()
	_, _ = io.WriteString(h, "durward session cookie\x00"+i.c.DB.SessionEpoch()+"\x00")
	h.Write(raw)
	return h.Sum(nil), nil
}

// SignInCookie begins a session as SignIn does, with a cookie instead of tokens, and returns the
// cookie's value. replaced is the cookie that the browser sent, or empty: its session ends, whichever
// user it belongs to.
func (i *Issuer) SignInCookie(ctx context.Context, proof account.Proof, replaced string, from request.Info) (value string, err error) {
	now := i.c.Now()
	s := newSession(proof, now.Add(i.c.SessionAbsolute), now, from)
	value, c, err := i.makeCookie(s, now)
	if err != nil {
		return "", err
	}
	old := store.Replaced{EventID: store.NewID(), Kind: store.EventSignedOut, Reason: "signed in anew", Until: i.revokedUntil(now)}
	if replaced != "" {
		// What is no cookie of ours replaces nothing, and is never adopted.
		old.Hash, _ = i.cookieHash(replaced)
	}
	revoked, err := i.c.DB.CreateCookieSession(ctx, s, c, signedIn(s), store.Place{Network: s.Network, Browser: s.Agent}, proof.User.PasswordChangedAt, old)
	i.push(revoked)
	if err != nil {
		return "", changedSince(err)
	}
	return value, nil
}

// makeCookie draws a cookie with the rights that s was signed in with.
func (i *Issuer) makeCookie(s store.Session, now time.Time) (string, store.Cookie, error) {
	value := newCookie()
	hash, err := i.cookieHash(value)
	if err != nil {
		return "", store.Cookie{}, err
	}
	return value, store.Cookie{
		Hash: hash, SessionID: s.ID, Scope: s.Scope, AuthTime: s.AuthTime, ACR: s.ACR, AMR: s.AMR,
		CreatedAt: now, UsedAt: now, IdleEnds: earlier(now.Add(i.c.SessionIdle), s.EndsAt),
	}, nil
}

// Cookie judges a session cookie: it returns who it speaks for, or an error that
// wraps SessionExpired. With use it lengthens the session's idle time, which is
// durable when it returns.
func (i *Issuer) Cookie(ctx context.Context, value string, use bool) (*durward.Principal, error) {
	c, s, u, err := i.liveCookie(ctx, value)
	if err != nil {
		return nil, err
	}
	now := i.c.Now()
	every := min(cookieUse, i.c.SessionIdle/usesOfIdle)
	if use && c.ReplacedAt.IsZero() && now.Sub(c.UsedAt) >= every {
		c.IdleEnds = earlier(now.Add(i.c.SessionIdle), s.EndsAt)
		if err := i.c.DB.UseCookie(ctx, c.Hash, now, now.Add(-every), c.IdleEnds); err != nil {
			return nil, err
		}
	}
	return &durward.Principal{
		Subject: u.ID, Issuer: i.c.URL, ClientID: s.ClientID, SessionID: s.ID, Scopes: strings.Fields(stillOf(c.Scope, u)),
		ACR: c.ACR, AMR: c.AMR, AuthTime: c.AuthTime, Expires: earlier(c.IdleEnds, s.EndsAt),
	}, nil
}

// liveCookie returns a cookie with its session and its person if all of them are
// alive.
func (i *Issuer) liveCookie(ctx context.Context, value string) (store.Cookie, store.Session, store.User, error) {
	refuse := func(err error) (store.Cookie, store.Session, store.User, error) {
		return store.Cookie{}, store.Session{}, store.User{}, err
	}
	c, s, u, err := i.anyCookie(ctx, value)
	if err != nil {
		return refuse(err)
	}
	now := i.c.Now()
	ended := func(what string, at time.Time) error {
		return fmt.Errorf("oauth: session %s %s %s ago: %w", s.ID, what, now.Sub(at).Truncate(time.Second), durward.SessionExpired)
	}
	switch {
	case !s.EndedAt.IsZero():
		return refuse(ended("ended ("+s.EndReason+")", s.EndedAt))
	case !now.Before(s.EndsAt):
		return refuse(ended("passed its absolute end", s.EndsAt))
	case !now.Before(c.IdleEnds) && !c.ReplacedAt.IsZero():
		return refuse(ended("got another cookie", c.ReplacedAt))
	case !now.Before(c.IdleEnds):
		return refuse(ended("was idle for too long, ended", c.IdleEnds))
	case !u.LockedAt.IsZero():
		return refuse(fmt.Errorf("oauth: %s is locked: %w", u.ID, durward.SessionExpired))
	}
	return c, s, u, nil
}

// anyCookie returns a cookie with its session and its person, alive or not.
func (i *Issuer) anyCookie(ctx context.Context, value string) (store.Cookie, store.Session, store.User, error) {
	hash, err := i.cookieHash(value)
	if err != nil {
		return store.Cookie{}, store.Session{}, store.User{}, err
	}
	c, s, u, err := i.c.DB.CookieByHash(ctx, hash)
	if errors.Is(err, store.ErrNotFound) {
		err = fmt.Errorf("oauth: no session has this cookie: %w", durward.SessionExpired)
	}
	return c, s, u, err
}

// CookieSession returns whose session a cookie belongs to, dead or alive, for
// signing out. It refuses what was never issued with SessionExpired.
func (i *Issuer) CookieSession(ctx context.Context, value string) (userID, sessionID string, err error) {
	_, s, _, err := i.anyCookie(ctx, value)
	if err != nil {
		return "", "", err
	}
	return s.UserID, s.ID, nil
}

// CookieToken gives an access token of a cookie's session, with the cookie's
// rights, and no refresh token: the cookie is what lasts. It ends with the session
// at the latest.
func (i *Issuer) CookieToken(ctx context.Context, value string) (Tokens, error) {
	c, s, u, err := i.liveCookie(ctx, value)
	if err != nil {
		return Tokens{}, err
	}
	s.AuthTime, s.ACR, s.AMR = c.AuthTime, c.ACR, c.AMR
	return i.accessAlone(s, s.ClientID, stillOf(c.Scope, u), earlier(c.IdleEnds, s.EndsAt))
}

// accessAlone signs an access token that ends at ends at the latest.
func (i *Issuer) accessAlone(s store.Session, clientID, scope string, ends time.Time) (Tokens, error) {
	now := i.c.Now()
	access, life, err := i.access(s, clientID, scope, "", ends, now)
	if err != nil {
		return Tokens{}, err
	}
	return Tokens{Access: access, AccessLife: life, Scope: scope, Session: s.ID, Subject: s.UserID}, nil
}

// StepUp renews the sign-in of the session of p, an access token of the user in proof: the session
// and its further tokens carry auth_time, acr and amr of proof. A refresh does not renew them. The
// result has the grant's current refresh token, which stays unused, or none if the session has a
// cookie. Tokens stay bound to their key. StepUp refuses with TokenRevoked if the session has ended,
// and with InvalidCredentials if the user was locked, or the password changed, since the proof.
func (i *Issuer) StepUp(ctx context.Context, proof account.Proof, p *durward.Principal, from request.Info) (Tokens, error) {
	now, u := i.c.Now(), proof.User
	row := storedProof(proof, p)
	s, g, err := i.c.DB.ProveWithGrant(ctx, row, p.ClientID, i.steppedUp(row, from))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return Tokens{}, fmt.Errorf("oauth: session %s has ended: %w", p.SessionID, durward.TokenRevoked)
	case err != nil:
		return Tokens{}, changedSince(err)
	case g.SessionID == "":
		return i.accessAlone(s, p.ClientID, stillOf(strings.Join(p.Scopes, " "), u), s.EndsAt)
	}
	g.Scope = stillOf(g.Scope, u)
	return i.tokens(g, s, g.Generation, now)
}

// StepUpCookie renews the sign-in of a cookie's session as StepUp does, and returns the value of a
// new cookie. The old cookie keeps its old rights for cookieGrace.
func (i *Issuer) StepUpCookie(ctx context.Context, proof account.Proof, p *durward.Principal, value string, from request.Info) (string, error) {
	_, s, _, err := i.liveCookie(ctx, value)
	if err != nil {
		return "", err
	}
	now := i.c.Now()
	row := storedProof(proof, p)
	s.AuthTime, s.ACR, s.AMR, s.Scope = row.At, row.ACR, row.AMR, stillOf(s.Scope, proof.User)
	fresh, c, err := i.makeCookie(s, now)
	if err != nil {
		return "", err
	}
	old, err := i.cookieHash(value)
	if err != nil {
		return "", err
	}
	err = i.c.DB.ProveWithCookie(ctx, row, old, now.Add(cookieGrace), c, i.steppedUp(row, from))
	if errors.Is(err, store.ErrNotFound) {
		return "", fmt.Errorf("oauth: session %s has ended: %w", p.SessionID, durward.SessionExpired)
	} else if err != nil {
		return "", changedSince(err)
	}
	return fresh, nil
}

// storedProof returns proof as the store keeps it for the session of p.
func storedProof(proof account.Proof, p *durward.Principal) store.Proof {
	return store.Proof{
		SessionID: p.SessionID, UserID: proof.User.ID,
		At: proof.At, ACR: proof.ACR, AMR: proof.Methods,
		PasswordChangedAt: proof.User.PasswordChangedAt,
	}
}

func (i *Issuer) steppedUp(p store.Proof, from request.Info) store.Event {
	return store.Event{ID: store.NewID(), Kind: store.EventSteppedUp, At: i.c.Now(), UserID: p.UserID, SessionID: p.SessionID, Outcome: "ok", Network: from.Network(), Device: from.Device()}
}
