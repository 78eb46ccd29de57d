// Package mail sends the mails of the outbox: through an SMTP server, or into a folder.
//
// A row of the outbox is written in the transaction of its cause, so no mail is lost. A node claims rows
// with a lease, sends them and deletes them. Another node sends a row only when the lease has ended, so
// each mail is sent once unless the node ends between the acceptance by the SMTP server and the deletion
// of the row; both copies then have the same Message-ID. A failed attempt is repeated with growing pauses
// for three days.
//
// The text of a mail is made when it is sent. It has no text that a user or a client chose: no name, no
// address and no User-Agent field. A token for its link is made then too, so neither the outbox nor the
// database holds one in plain form.
package mail

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	netmail "net/mail"
	"sync/atomic"
	"time"

	gomail "github.com/wneessen/go-mail"

	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
)

const (
	batch = 10 // mails that a node claims at once

	// lease is the time after which another node sends a claimed mail. A batch takes less, as each mail
	// has smtpTimeout.
	lease = 10 * time.Minute

	firstPause = 30 * time.Second // after the first failed attempt; doubled after each
	lastPause  = 15 * time.Minute
	keptTrying = 3 * 24 * time.Hour // since the cause of the mail
)

// Config configures a Manager. DB, Recipient, From and SMTP or Folder are required.
type Config struct {
	DB *store.DB

	// Recipient returns the recipient of a mail, with a new token if its kind has a link. It returns
	// ErrNoRecipient if the mail must not be sent.
	Recipient func(context.Context, store.Mail) (Recipient, error)

	From     netmail.Address // sender; its domain is the one of Message-ID and List-Id
	Name     string          // of the service, in texts
	Language string          // of users with an unknown language; default Languages[0] of package request

	SMTP   seal.Secret // see CheckURL; empty: mails are written to Folder
	CAFile string      // PEM file of the authorities of the SMTP server; empty for those of the system
	Folder string      // is created if it is missing

	Log *slog.Logger     // nil: no log
	Now func() time.Time // nil: the clock of DB
}

// Recipient is the addressee of a mail.
type Recipient struct {
	Address  string // as sent to the SMTP server
	Language string // empty if unknown
	UserID   string
	Token    string // for the link of the mail
}

// ErrNoRecipient means that a mail must not be sent: no user has the address, or the user is locked out.
var ErrNoRecipient = errors.New("mail: no recipient")

// ErrRefused means that a mail cannot be delivered, now or later.
var ErrRefused = errors.New("mail: refused for good")

// transport sends messages. The result has an error, or nil, for each. An error that wraps ErrRefused is
// final.
type transport interface {
	send(context.Context, []*gomail.Msg) []error
}

// Manager sends the mails of one database. It is safe for concurrent use.
type Manager struct {
	c         Config
	transport transport
	public    atomic.Pointer[string]
	failed    atomic.Pointer[error] // of the last attempt
}

// New returns a Manager, or an error that names every mistake in c.
func New(c Config) (*Manager, error) {
	var errs []error
	if c.DB == nil || c.Recipient == nil || c.From.Address == "" || c.SMTP == "" && c.Folder == "" {
		errs = append(errs, errors.New("mail: database, recipient, sender and SMTP server or folder are required"))
	}
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	if c.Now == nil && c.DB != nil {
		c.Now = c.DB.Now
	}
	m := &Manager{c: c, transport: folder(c.Folder)}
	if c.SMTP != "" {
		relay, err := newRelay(c.SMTP, c.CAFile)
		errs = append(errs, err)
		m.transport = relay
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	m.SetPublicURL("")
	return m, nil
}

// SetPublicURL sets the origin for links. Call it before Run.
func (m *Manager) SetPublicURL(origin string) { m.public.Store(&origin) }

// Err returns the error of the last attempt to send mails, nil if one was sent.
func (m *Manager) Err() error {
	if err := m.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// Run sends mails that are due, every second, until ctx ends. Every hour it deletes ended tokens.
func (m *Manager) Run(ctx context.Context) {
	if m.c.SMTP == "" {
		m.c.Log.Info("mails are written to a folder; with smtp.url they are sent", "folder", m.c.Folder)
	}
	store.EverySecond(ctx, m.c.Log, "read the outbox", func(n int) error {
		var err error
		if n%3600 == 0 {
			err = m.c.DB.PurgeMailTokens(ctx)
		}
		for claimed := batch; claimed == batch && err == nil && ctx.Err() == nil; {
			_, claimed, err = m.deliver(ctx)
		}
		return err
	})
}

// Deliver makes one attempt to send the mails that are due, at most 10, and returns how many were sent. Its
// error is one of the database; Err reports those of the SMTP server.
func (m *Manager) Deliver(ctx context.Context) (sent int, err error) {
	sent, _, err = m.deliver(ctx)
	return sent, err
}

// deliver is Deliver. It also returns how many mails were due, at most 10.
func (m *Manager) deliver(ctx context.Context) (sent, claimed int, err error) {
	mails, err := m.c.DB.ClaimMails(ctx, batch, lease)
	if err != nil || len(mails) == 0 {
		return 0, 0, err
	}
	claimed = len(mails)
	ctx = context.WithoutCancel(ctx) // the claimed mails are finished
	var messages []*gomail.Msg
	var ready []store.Mail
	var events []store.Event // of the mails that are sent
	for _, row := range mails {
		to, err := m.c.Recipient(ctx, row)
		if errors.Is(err, ErrNoRecipient) {
			if err := m.c.DB.DropMail(ctx, row, store.Event{}); err != nil {
				return 0, claimed, err
			}
			continue
		}
		var msg *gomail.Msg
		if err == nil {
			msg, err = m.message(row, to)
		}
		if err != nil {
			if err := m.fail(ctx, row, to, err); err != nil {
				return 0, claimed, err
			}
			continue
		}
		var e store.Event
		if to.Token != "" {
			e = m.event(row, to, store.EventLinkMailed, "ok")
		}
		messages, ready, events = append(messages, msg), append(ready, row), append(events, e)
	}
	var last error
	for i, failed := range m.transport.send(ctx, messages) {
		if failed == nil {
			sent++
			m.c.Log.Info("mail sent", "mail", ready[i].ID, "kind", ready[i].Kind, "attempt", ready[i].Attempts)
			err = errors.Join(err, m.c.DB.DropMail(ctx, ready[i], events[i]))
			continue
		}
		if !errors.Is(failed, ErrRefused) {
			last = failed
		}
		err = errors.Join(err, m.fail(ctx, ready[i], Recipient{UserID: events[i].UserID}, failed))
	}
	switch {
	case sent > 0:
		m.note(nil)
	case len(messages) > 0:
		m.note(last)
	}
	return sent, claimed, err
}

// fail decides about a mail that could not be sent.
func (m *Manager) fail(ctx context.Context, row store.Mail, to Recipient, cause error) error {
	now := m.c.Now()
	if !errors.Is(cause, ErrRefused) && now.Sub(row.CreatedAt) < keptTrying {
		return m.c.DB.PostponeMail(ctx, row, now.Add(pause(row.Attempts)))
	}
	m.c.Log.Warn("a mail cannot be delivered", "mail", row.ID, "kind", row.Kind, "user", cmp.Or(row.UserID, to.UserID), "attempts", row.Attempts, "error", cause)
	return m.c.DB.DropMail(ctx, row, m.event(row, to, store.EventMailFailed, "failed"))
}

// pause returns the time until the attempt after a failed one.
func pause(attempts int) time.Duration {
	p := firstPause
	for range attempts - 1 {
		if p *= 2; p >= lastPause {
			return lastPause
		}
	}
	return p
}

// event returns an event about a mail.
func (m *Manager) event(row store.Mail, to Recipient, kind, outcome string) store.Event {
	return store.Event{
		ID:      store.NewID(),
		Kind:    kind,
		At:      m.c.Now(),
		UserID:  cmp.Or(row.UserID, to.UserID),
		Outcome: outcome,
		Network: row.Network,
		Device:  row.Device,
		Detail:  row.Kind,
	}
}

// note stores the result of an attempt, and logs when it changes from success to failure or back.
func (m *Manager) note(err error) {
	var failed *error
	if err != nil {
		failed = &err
	}
	switch before := m.failed.Swap(failed); {
	case err != nil && before == nil:
		m.c.Log.Error("cannot send mail; retrying", "error", err)
	case err == nil && before != nil:
		m.c.Log.Info("can send mail again")
	}
}

// refused marks an error as final.
func refused(err error) error { return fmt.Errorf("%w: %w", ErrRefused, err) }
