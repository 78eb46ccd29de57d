// Package session holds the rules about sessions: how one begins, is refreshed, stepped up and
// listed, and how it ends. A client holds a session by a refresh token or by a cookie. The package
// imports neither HTTP nor SQL.
//
// A rule that refuses returns an error that wraps a durward.Code. Any other error means that the
// rule could not be applied because of a temporary failure.
package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/revoked"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/issuer"
	"github.com/durward-auth/durward/server/internal/limits"
	"github.com/durward-auth/durward/server/internal/metrics"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/store/backup"
)

// FirstParty is the client_id of sessions that begin at the server's own sign-in.
const FirstParty = "durward"

// Config configures a Manager. DB, Accounts, Issuer and Revoked are required.
type Config struct {
	DB         *store.DB
	Checkpoint *backup.Checkpoint // detects a rollback of DB; nil means none is detected
	Accounts   *account.Manager
	Issuer     *issuer.Issuer
	Revoked    *revoked.List
	BadTokens  *limits.Rate     // limits forged refresh tokens of one network; nil means no limit
	Log        *slog.Logger     // nil means no log
	Metrics    *metrics.Metrics // nil: nothing is counted

	Now func() time.Time // nil means the clock of DB

	RefreshTTL      time.Duration // since the last refresh; default 7 days
	RefreshAbsolute time.Duration // since the sign-in; default 30 days
	RefreshGrace    time.Duration // default 30 s

	CookieIdle     time.Duration // since the last use of a cookie; default 30 min
	CookieAbsolute time.Duration // since the sign-in; default 12 h

	RememberIdle     time.Duration // as CookieIdle for a user who wants to stay signed in; default 7 days
	RememberAbsolute time.Duration // as CookieAbsolute for such a user; default 30 days
}

// Manager applies the rules about sessions to one database. It is safe for concurrent use.
type Manager struct {
	c          Config
	outage     atomic.Pointer[store.Outage] // the last one; its UpAt is zero while it lasts
	rolledBack atomic.Bool
	unrecorded atomic.Bool   // the checkpoint could not be written
	undecided  time.Duration // undecidedTries, except in tests
}

// New returns a Manager, or an error that names every mistake in c.
func New(c Config) (*Manager, error) {
	var errs []error
	if c.DB == nil || c.Accounts == nil || c.Issuer == nil || c.Revoked == nil {
		errs = append(errs, errors.New("session: database, accounts, issuer and revocation list are required"))
	}
	setDefault := func(d *time.Duration, value time.Duration, name string, least time.Duration) {
		if *d = cmp.Or(*d, value); *d < least {
			errs = append(errs, fmt.Errorf("session: %s is %s, want %s or more", name, *d, least))
		}
	}
	setDefault(&c.RefreshTTL, 7*24*time.Hour, "the life of refresh tokens", time.Second)
	setDefault(&c.RefreshAbsolute, 30*24*time.Hour, "the absolute life of refresh tokens", time.Second)
	setDefault(&c.RefreshGrace, 30*time.Second, "the refresh grace", time.Millisecond)
	setDefault(&c.CookieIdle, 30*time.Minute, "the idle time of a cookie session", time.Second)
	setDefault(&c.CookieAbsolute, 12*time.Hour, "the life of a cookie session", time.Second)
	setDefault(&c.RememberIdle, 7*24*time.Hour, "the idle time of a remembered session", time.Second)
	setDefault(&c.RememberAbsolute, 30*24*time.Hour, "the life of a remembered session", time.Second)
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if c.Now == nil {
		c.Now = c.DB.Now
	}
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	return &Manager{c: c, undecided: undecidedTries}, nil
}

// Tokens is the result of a sign-in, a refresh or a step-up.
type Tokens struct {
	Access           string
	AccessLife       time.Duration
	Refresh          string        // empty if the session has a cookie
	RefreshLife      time.Duration // until the idle or the absolute end, whichever is earlier
	Scope            string
	Session, Subject string
	Bound            bool // to a DPoP key: the token type is DPoP, not Bearer
}

// SignIn begins a session for the user in proof and returns its first tokens. It refuses with
// InvalidCredentials if the user was locked, or the password or the second factor changed, since the proof.
//
// If key is not nil, all tokens of the session are bound to it, refresh tokens included, because the
// client is public (RFC 9449 s5). A DPoP proof that was used before is refused with InvalidProof.
//
// A user who owes a second factor has a session afterwards, but gets no tokens: SignIn refuses as refuseOwing
// does.
func (m *Manager) SignIn(
	ctx context.Context, proof account.Proof, key *durward.HeldKey, from request.Info,
) (Tokens, error) {
	jkt, err := spend(key)
	if err != nil {
		return Tokens{}, err
	}
	now := m.c.Now()
	s := newSession(proof, now.Add(m.c.RefreshAbsolute), now, from)
	g := m.newGrant(s, jkt)
	event := from.Event(store.EventSignedIn, "ok", s.UserID, s.ID, now)
	place := store.Place{Network: s.Network, Browser: s.Agent}
	if _, err := m.c.DB.CreateSession(ctx, s, g, event, place, proof.User); err != nil {
		return Tokens{}, refuseChanged(err)
	}
	if proof.User.OwesFactor() {
		return Tokens{}, m.refuseOwing(s, proof.User, jkt)
	}
	return m.tokens(g, s, 0, now)
}

// newSession returns the session that a sign-in with proof begins.
func newSession(proof account.Proof, ends, now time.Time, from request.Info) store.Session {
	return store.Session{
		ID:        store.NewID(),
		UserID:    proof.User.ID,
		ClientID:  FirstParty,
		Scope:     strings.Join(account.ScopesOf(proof.User), " "),
		CreatedAt: now,
		EndsAt:    ends,
		AuthTime:  proof.At,
		ACR:       proof.ACR,
		AMR:       proof.Methods,
		Network:   from.Network(),
		Device:    from.Device(),
		Agent:     from.Browser(),
	}
}

// DirectPrincipal returns the principal of a user who authenticates each request. It has no session
// and no token that could be revoked.
func (m *Manager) DirectPrincipal(proof account.Proof) *durward.Principal {
	return &durward.Principal{
		Subject:  proof.User.ID,
		Issuer:   m.c.Issuer.URL(),
		ClientID: FirstParty,
		Scopes:   account.ScopesOf(proof.User),
		ACR:      proof.ACR,
		AMR:      proof.Methods,
		AuthTime: proof.At,
	}
}

// KeyPrincipal returns the principal of a request with an API key. It has no session and no sign-in
// that could be stepped up. Its ClientID is the public part of the key.
func (m *Manager) KeyPrincipal(k store.APIKey) *durward.Principal {
	return &durward.Principal{
		Subject:  k.UserID,
		Issuer:   m.c.Issuer.URL(),
		ClientID: account.KeyShown(k),
		Scopes:   k.Scopes,
		Expires:  k.ExpiresAt,
	}
}

// refuseChanged refuses with InvalidCredentials if the user changed since the proof.
func refuseChanged(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("session: the user was removed: %w: %w", err, durward.InvalidCredentials)
	}
	return account.RefuseChanged(err, durward.InvalidCredentials)
}

func earlier(a, b time.Time) time.Time { return slices.MinFunc([]time.Time{a, b}, time.Time.Compare) }

// List returns a user's live sessions.
func (m *Manager) List(ctx context.Context, userID string) ([]store.SessionRow, error) {
	return m.c.DB.Sessions(ctx, userID, m.c.Now())
}

// End ends one session of a user; its tokens are refused when End returns. It returns
// store.ErrNotFound if the user has no such session. kind is the event in the security log.
func (m *Manager) End(ctx context.Context, userID, sessionID, kind string, from request.Info) error {
	return m.end(ctx, kind, from.Event(kind, "ok", userID, sessionID, m.c.Now()), "")
}

// SignOut ends one session, or all sessions of the user. It is no error if the session ended earlier.
func (m *Manager) SignOut(ctx context.Context, userID, sessionID string, everywhere bool, from request.Info) error {
	if !everywhere {
		err := m.End(ctx, userID, sessionID, store.EventSignedOut, from)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		return err
	}
	now := m.c.Now()
	event := from.Event(store.EventSignedOut, "everywhere", userID, sessionID, now)
	return m.publish(m.c.DB.EndSessions(ctx, userID, "", event.Kind, m.c.Issuer.TokensEnd(now), event))
}

// EndOthers ends all sessions of the user of p but that of p; their tokens and cookies are refused when
// EndOthers returns. It forgets the known devices of the user, because another person may own one.
func (m *Manager) EndOthers(ctx context.Context, p *durward.Principal, from request.Info) error {
	if err := CheckSignedIn(p); err != nil {
		return err
	}
	now := m.c.Now()
	event := from.Event(store.EventSignedOut, "everywhere else", p.Subject, p.SessionID, now)
	return m.publish(m.c.DB.EndSessions(ctx, p.Subject, p.SessionID, event.Kind, m.c.Issuer.TokensEnd(now), event))
}

// end ends the session of event. notification is the kind of the notification that the user gets, or
// empty for none.
func (m *Manager) end(ctx context.Context, reason string, event store.Event, notification string) error {
	until := m.c.Issuer.TokensEnd(event.At)
	return m.publish(m.c.DB.EndSession(ctx, event.SessionID, event.UserID, reason, until, event, notification))
}

// publish makes revocations that are in the database known to this process and to the push, so that
// they hold before the response is sent. It returns err, so that it can take both results of a transaction.
func (m *Manager) publish(revoked []store.Revocation, err error) error {
	m.c.Revoked.Announce(revoked...)
	return err
}
