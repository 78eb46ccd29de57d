package account

import (
	"bufio"
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/pwhash"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

//go:embed blocklist.txt
var shippedBlocklist string

// PasswordRules apply when a password is set, not when one is verified.
type PasswordRules struct {
	MinLength int // characters after normalisation; default 15 (NIST SP 800-63B-4, single factor)
	MaxLength int // characters; default 256

	// MinLengthSecondFactor is the minimum for a user with a second factor, at most MinLength; default 8.
	MinLengthSecondFactor int

	Blocklist string // file with one refused password per line, in addition to the built-in list; empty for none

	// Words are names that guesses begin with, such as that of the organisation: a password needs
	// letters besides them.
	Words []string

	blocked map[string]bool
	words   []string // in the form of blockForm, the longest first
}

// maxCharacters is the highest value of MaxLength. The hasher accepts that many characters of every
// script.
const maxCharacters = 1024

// minWord is the minimum length of one of the Words, in characters: shorter ones are in many passwords.
const minWord = 3

// maxBlocklist is the size limit of the operator's list, in octets.
const maxBlocklist = 256 << 20

func (p *PasswordRules) complete() error {
	p.MinLength = cmp.Or(p.MinLength, 15)
	p.MaxLength = cmp.Or(p.MaxLength, 256)
	p.MinLengthSecondFactor = cmp.Or(p.MinLengthSecondFactor, 8)
	// NIST SP 800-63B-4 s3.1.1.2: a verifier accepts passwords of 64 characters.
	if p.MinLength < 8 || p.MaxLength < max(p.MinLength, 64) || p.MaxLength > maxCharacters {
		return fmt.Errorf("account: password length from %d to %d: want a minimum of 8 or more and a maximum from 64 to %d",
			p.MinLength, p.MaxLength, maxCharacters)
	}
	if p.MinLengthSecondFactor < 8 || p.MinLengthSecondFactor > p.MinLength {
		return fmt.Errorf("account: password length of %d with a second factor: want 8 to %d", p.MinLengthSecondFactor, p.MinLength)
	}
	for _, word := range p.Words {
		form := blockForm(strings.TrimSpace(word))
		if utf8.RuneCountInString(form) < minWord {
			return fmt.Errorf("account: word %q of the passwords is too short, want %d characters or more", word, minWord)
		}
		p.words = append(p.words, form)
	}
	slices.SortFunc(p.words, func(a, b string) int { return len(b) - len(a) })
	p.blocked = make(map[string]bool)
	p.block(strings.NewReader(shippedBlocklist))
	if p.Blocklist == "" {
		return nil
	}
	f, err := os.Open(p.Blocklist)
	if err != nil {
		return fmt.Errorf("account: cannot open the list of refused passwords: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() > maxBlocklist {
		return fmt.Errorf("account: the list of refused passwords %s is larger than %d MiB",
			p.Blocklist, maxBlocklist>>20)
	}
	if err := p.block(f); err != nil {
		return fmt.Errorf("account: cannot read the list of refused passwords %s: %w", p.Blocklist, err)
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

// blockForm returns the form in which passwords are compared with the list.
func blockForm(password string) string {
	return strings.ToLower(norm.NFKC.String(password))
}

// Check refuses a new password that breaks the rules. The refusal names member, the member of the
// request that has the password. Of u, the user who gets it, EmailKey and SecondFactorAt count.
func (p *PasswordRules) Check(member, password string, u store.User) error {
	shortest := p.MinLength
	if !u.SecondFactorAt.IsZero() {
		shortest = p.MinLengthSecondFactor
	}
	password = norm.NFC.String(password)
	n := utf8.RuneCountInString(password)
	switch {
	case n < shortest:
		return breaks(Rule{Name: "password_short", Limit: shortest}, member, "The password is too short.",
			fmt.Sprintf("At least %d characters; a few words in a row are easy to remember.", shortest))
	case n > p.MaxLength:
		return breaks(Rule{Name: "password_long", Limit: p.MaxLength}, member, "The password is too long.", fmt.Sprintf("At most %d characters.", p.MaxLength))
	case p.blocked[blockForm(password)]:
		return breaks(Rule{Name: "password_common"}, member, "The password is one of the most common ones.",
			"Choose another; a few words in a row are easy to remember.")
	case p.onlyWords(password):
		return breaks(Rule{Name: "password_words"}, member, "The password has no letters besides names that are easy to guess.",
			"Add a few words that are unrelated to this service.")
	case containsAddress(password, u.EmailKey):
		return breaks(Rule{Name: "password_address"}, member, "The password contains the e-mail address.",
			"Choose one that is unrelated to the account.")
	}
	return nil
}

// onlyWords reports whether a password has no letters besides the words.
func (p *PasswordRules) onlyWords(password string) bool {
	form := blockForm(password)
	rest := form
	for _, word := range p.words {
		rest = strings.ReplaceAll(rest, word, " ")
	}
	return rest != form && !strings.ContainsFunc(rest, unicode.IsLetter)
}

// containsAddress reports whether a password contains the whole address, or consists of repetitions of
// the part before the @. That part may occur in a password, because it can be a single letter.
func containsAddress(password, address string) bool {
	folded := emailKey(password) // folded like an address
	if address == "" || folded == "" {
		return false
	}
	local, _, _ := strings.Cut(address, "@")
	return strings.Contains(folded, address) || local != "" && strings.ReplaceAll(folded, local, "") == ""
}

// countHash counts a password hash for the network of a request, or refuses with TooManyAttempts. It is
// called before each hash, so that one network cannot occupy the processors. The operator has no limit.
func (m *Manager) countHash(ctx context.Context, from request.Info) error {
	if from.Actor != "" {
		return nil
	}
	if wait, ok := m.Hashes.Network(ctx, from.Addr); !ok {
		err := errors.New("account: too many password hashes for this network")
		return &durward.Refusal{Code: durward.TooManyAttempts, RetryAfter: wait, Err: err}
	}
	return nil
}

// hash returns the hash of a password and counts it.
func (m *Manager) hash(ctx context.Context, password string, from request.Info) (string, error) {
	if err := m.countHash(ctx, from); err != nil {
		return "", err
	}
	return m.Hasher.Hash(ctx, password)
}

// HashNewPassword checks a new password of u as PasswordRules.Check does and returns its hash.
func (m *Manager) HashNewPassword(
	ctx context.Context, u store.User, member, password string, from request.Info,
) (string, error) {
	if err := m.Passwords.Check(member, password, u); err != nil {
		return "", err
	}
	if u.ID != "" { // the caller has verified the user
		ctx = pwhash.First(ctx)
	}
	hash, err := m.hash(ctx, password, from)
	if errors.Is(err, pwhash.ErrForbidden) {
		return "", breaks(Rule{Name: "password_control"}, member, "The password contains control characters.",
			"Leave them out; some keyboards cannot type them.")
	}
	return hash, unavailable(err)
}

// unavailable turns a full queue of password hashes into AuthUnavailable.
func unavailable(err error) error {
	if errors.Is(err, pwhash.ErrBusy) {
		return &durward.Refusal{Code: durward.AuthUnavailable, Err: err}
	}
	return err
}
