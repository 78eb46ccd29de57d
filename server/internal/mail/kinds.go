package mail

import (
	"maps"
	"time"

	"github.com/durward-auth/durward/server/internal/store"
)

// Link is the link of a mail. Its token is in the fragment, which browsers do not send, and is used by a
// POST only: programs that open the links of a mail use nothing up.
type Link struct {
	Path string
	Life time.Duration // of the token, since the mail is sent
}

// links are the links by kinds of mails. A notice has none.
var links = map[string]Link{
	store.MailResetPassword: {"/reset", 30 * time.Minute},
	store.MailVerifyEmail:   {"/verify-email", 30 * time.Minute},
	store.MailChangeEmail:   {"/verify-email", 30 * time.Minute},
	store.MailEmailChanged:  {"/undo-email", 7 * 24 * time.Hour},
	store.MailInvitation:    {"/invite", 7 * 24 * time.Hour},
}

// LinkOf returns the link of a kind of mails. ok is false for a kind without one.
func LinkOf(kind string) (link Link, ok bool) {
	link, ok = links[kind]
	return link, ok
}

// Links returns the links by kinds of mails.
func Links() map[string]Link { return maps.Clone(links) }
