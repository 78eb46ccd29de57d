package account

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/pwhash"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

//go:embed blocklist.txt
var shippedBlocklist string

// PasswordRules are asked when a password is set, never when one is checked.
type PasswordRules struct {
	MinLength int    // characters after normalisation; default 15 (NIST SP 800-63B-4, single factor)
	MaxLength int    // characters; default 256
	Blocklist string // file with one refused password a line, beside the list that ships; empty for none

	blocked map[string]bool
}

// maxCharacters is what the longest password may be set to; the hash takes as
// many in every spelling.
const maxCharacters = 1024

// maxBlocklist bounds an operator's list, in octets.
const maxBlocklist = 256 << 20

func (p *PasswordRules) complete() error {
	if p.MinLength == 0 {
		p.MinLength = 15
	}
	if p.MaxLength == 0 {
		p.MaxLength = 256
	}
	// NIST SP 800-63B-4 s3.1.1.2: passwords of 64 characters are taken.
	if p.MinLength < 8 || p.MaxLength < max(p.MinLength, 64) || p.MaxLength > maxCharacters {
		return fmt.Errorf("account: password length from %d to %d: the shortest is 8 or more, the longest from 64 to %d", p.MinLength, p.MaxLength, maxCharacters)
	}
	p.blocked = make(map[string]bool)
	p.block(strings.NewReader(shippedBlocklist))
	if p.Blocklist == "" {
		return nil
	}
	f, err := os.Open(p.Blocklist)
	if err != nil {
		return fmt.Errorf("account: the list of refused passwords: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() > maxBlocklist {
		return fmt.Errorf("account: the list of refused passwords %s is over %d MiB", p.Blocklist, maxBlocklist>>20)
	}
	if err := p.block(f); err != nil {
		return fmt.Errorf("account: the list of refused passwords %s: %w", p.Blocklist, err)
	}
	return nil
}

func (p *PasswordRules) block(list io.Reader) error {
	lines := bufio.NewScanner(list)
	for lines.Scan() {
		if line := blockForm(lines.Text()); line != "" {
			p.blocked[line] = true
		}
	}
	return lines.Err()
}

// blockForm is what whole passwords are compared in.
func blockForm(password string) string {
	return strings.ToLower(norm.NFKC.String(password))
}

// check says what is wrong with a new password, in words that do not repeat it.
// address is the person's, as it is compared.
func (p *PasswordRules) check(member, password, address string) error {
	password = norm.NFC.String(password)
	n := utf8.RuneCountInString(password)
	switch {
	case n < p.MinLength:
		return mistake(member, "The password is too short.", fmt.Sprintf("At least %d characters; a few words in a row are easy to remember.", p.MinLength))
	case n > p.MaxLength:
		return mistake(member, "The password is too long.", fmt.Sprintf("At most %d characters.", p.MaxLength))
	case p.blocked[blockForm(password)]:
		return mistake(member, "The password is one of the most common ones.", "Choose another; a few words in a row are easy to remember.")
	}
	if containsAddress(password, address) {
		return mistake(member, "The password contains the e-mail address.", "Choose one that has nothing to do with the account.")
	}
	return nil
}

// containsAddress reports whether a password holds the whole address, or is the
// part before the @ over and over. The part alone may stand in a password: it
// can be one letter.
func containsAddress(password, address string) bool {
	folded := emailKey(password) // compared as addresses are
	if address == "" || folded == "" {
		return false
	}
	local, _, _ := strings.Cut(address, "@")
	return strings.Contains(folded, address) || local != "" && strings.ReplaceAll(folded, local, "") == ""
}

// hashNew checks a new password by the rules and hashes it.
func (p *People) hashNew(ctx context.Context, member, password, emailKey string) (string, error) {
	if err := p.Passwords.check(member, password, emailKey); err != nil {
		return "", err
	}
	hash, err := p.Hasher.Hash(ctx, password)
	if errors.Is(err, pwhash.ErrForbidden) {
		return "", mistake(member, "The password holds characters that cannot be typed everywhere.", "Leave out control characters.")
	}
	return hash, busy(err)
}

// busy turns a full gate into the answer of an outage.
func busy(err error) error {
	if errors.Is(err, pwhash.ErrBusy) {
		return &durward.Refusal{Code: durward.AuthUnavailable, Err: err}
	}
	return err
}

// SetPassword sets a password without asking for the old one: the operator's
// deed. All sessions of the person end.
func (p *People) SetPassword(ctx context.Context, u store.User, password string, from request.Info) error {
	return p.setPassword(ctx, u, "password", password, "", time.Time{}, store.EventPasswordSet, from)
}

// ChangePassword replaces a user's password after it verified the current one as Reauthenticate
// does. It ends all sessions but keep, and returns a Proof of the user with the new password.
func (p *People) ChangePassword(ctx context.Context, userID, current, newPassword, keep string, from request.Info) (Proof, error) {
	u, err := p.DB.UserByID(ctx, userID)
	if err != nil {
		return Proof{}, err
	}
	// The rules for new passwords come first: a refusal by them discloses nothing about the current
	// password and costs no hash.
	if err := p.Passwords.check("new", newPassword, u.EmailKey); err != nil {
		return Proof{}, err
	}
	proof, err := p.reauthenticate(ctx, u, current, keep, from)
	if err != nil {
		return Proof{}, err
	}
	err = p.setPassword(ctx, proof.User, "new", newPassword, keep, u.PasswordChangedAt, store.EventPasswordChanged, from)
	if errors.Is(err, store.ErrChanged) {
		return Proof{}, fmt.Errorf("account: the password was changed while the current one was verified: %w: %w", err, durward.InvalidCredentials)
	} else if err != nil {
		return Proof{}, err
	}
	proof.User, err = p.DB.UserByID(ctx, userID)
	return proof, err
}

// setPassword sets a password. was is when the one that was judged had been set,
// and zero where none was.
func (p *People) setPassword(ctx context.Context, u store.User, member, password, keep string, was time.Time, kind string, from request.Info) error {
	hash, err := p.hashNew(ctx, member, password, u.EmailKey)
	if err != nil {
		return err
	}
	now := p.Now()
	event := from.Event(kind, "ok", now)
	event.UserID, event.SessionID = u.ID, keep
	revoked, err := p.DB.ChangePassword(ctx, u.ID, hash, keep, was, p.revokedUntil(now), event)
	p.push(revoked)
	return err
}
