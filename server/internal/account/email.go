package account

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/mail"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/cases"
	"golang.org/x/text/secure/precis"
	"golang.org/x/text/unicode/norm"

	outbox "github.com/durward-auth/durward/server/internal/mail"
	"github.com/durward-auth/durward/server/internal/store"
)

// maxEmail is the length of the longest address in octets (RFC 5321 s4.5.3.1.3).
const maxEmail = 254

// canonicalEmail returns a trimmed address and the key by which addresses are compared: NFKC, case
// folding and the Unicode form of the domain, so that spellings of one address are one account. The
// key of a key is the key itself.
func canonicalEmail(typed string) (email, key string, err error) {
	email = strings.TrimSpace(typed)
	key = emailKey(email)
	switch {
	case email == "":
		return "", "", badEmail("email_missing", "The e-mail address is missing.")
	case len(email) > maxEmail || len(key) > maxEmail:
		return "", "", badEmail("email_long", "The e-mail address is too long.")
	case !utf8.ValidString(email) || strings.ContainsFunc(email, unprintable) ||
		strings.ContainsFunc(key, unprintable) || strings.ContainsFunc(key, unseen):
		return "", "", badEmail("email_characters", badCharacters)
	case !plainForm(key):
		return "", "", badEmail("email_form", "The e-mail address is not in its plain form.")
	}
	return email, key, nil
}

const badCharacters = "The e-mail address contains characters that are not allowed in one."

// badEmail refuses an address.
func badEmail(rule, detail string) error {
	return breaks(Rule{Name: rule}, "email", detail, "An address looks like ada@example.com.")
}

// plainForm reports whether key is an address that can be sent in Basic credentials, which excludes a
// colon (RFC 7617 s2), and that all mail programs read alike: they parse quotes, brackets and blanks
// differently.
func plainForm(key string) bool {
	local, domain, _ := strings.Cut(key, "@")
	if local == "" || strings.Contains("."+domain+".", "..") || strings.ContainsAny(key, ` :;,"()<>[]\`) {
		return false
	}
	parsed, err := mail.ParseAddress(key) // the mailer's parser
	return err == nil && parsed.Address == key && parsed.Name == "" && !strings.Contains(domain, "@")
}

// domains maps and validates internationalized domain names (UTS 46). Names of a local network may have
// underscores, and names without a dot are accepted.
var domains = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(false))

// emailKey returns the form in which addresses are compared. A domain that is no valid name is only
// folded.
func emailKey(email string) string {
	key := fold(email)
	if at := strings.LastIndexByte(key, '@'); at >= 0 {
		if name, err := domains.ToUnicode(key[at+1:]); err == nil {
			key = key[:at+1] + fold(name)
		}
	}
	return key
}

func fold(s string) string {
	folded := cases.Fold().String(norm.NFKC.String(s))
	return strings.TrimSpace(norm.NFKC.String(strings.Map(foldCherokee, folded)))
}

// checkNewEmail refuses the key of a new address with characters that are no letters, marks, digits or
// ASCII: many symbols are invisible or look alike (RFC 8264 s4.2, RFC 5890 s2.3.2.1). Accounts of older
// versions may have such addresses.
func checkNewEmail(key string) error {
	local, domain, _ := strings.Cut(key, "@")
	_, err := precis.UsernameCasePreserved.String(local)
	if _, bad := domains.ToASCII(domain); err != nil || bad != nil {
		return badEmail("email_characters", badCharacters)
	}
	return nil
}

// skeletonVersion names the rule of skeletons. Change it with the rule or with the table
// confusables.txt: the users of an existing database are then indexed again.
const skeletonVersion = "2"

// skeletons returns the skeletons of an address as it is seen and of its key (UTS 39 s4). A person can
// take addresses with a common skeleton for one: capital I looks like a small l, and folds to i.
func skeletons(email, key string) []string {
	return slices.Compact([]string{skeleton(key), skeleton(seen(email))})
}

// seen returns an address as typed, with one kind of dot in the domain and its labels in Unicode (UTS 46 s4).
func seen(email string) string {
	email = norm.NFKC.String(email)
	at := strings.LastIndexByte(email, '@') + 1
	labels := strings.FieldsFunc(email[at:], func(r rune) bool { return r == '.' || r == '\u3002' })
	for i, label := range labels {
		if name, err := domains.ToUnicode(label); err == nil && len(label) > 4 && strings.EqualFold(label[:4], "xn--") {
			labels[i] = name
		}
	}
	return email[:at] + strings.Join(labels, ".")
}

// skeleton returns the skeleton of s, without marks that repeat or lie on the dot of i and j and are
// therefore invisible (UTS 39 s5.4).
func skeleton(s string) string {
	last := rune(-1)
	visible := strings.Map(func(r rune) rune {
		hidden := unicode.Is(unicode.Mn, r) && (r == last || r == '\u0307' && (last == 'i' || last == 'j'))
		if hidden {
			return -1
		}
		last = r
		return r
	}, unicodeSkeleton(s))
	return norm.NFC.String(visible)
}

// unicodeSkeleton returns the skeleton of s in NFD (UTS 39 s4): characters without ink are left out, and each other
// one is replaced by its representative.
func unicodeSkeleton(s string) string {
	var b strings.Builder
	for _, r := range norm.NFD.String(s) {
		if !unicode.IsGraphic(r) && r != unicode.ReplacementChar {
			continue
		}
		if to, ok := confusables()[r]; ok {
			b.WriteString(to)
		} else {
			b.WriteRune(r)
		}
	}
	return norm.NFD.String(b.String())
}

//go:embed confusables.txt
var confusablesText string

// confusables returns the replacements of Unicode. TestSkeletonVersion checks that each line is read.
var confusables = sync.OnceValue(func() map[rune]string {
	table := make(map[rune]string)
	for line := range strings.Lines(confusablesText) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		var runes []rune
		for _, hex := range strings.Fields(line) {
			r, _ := strconv.ParseUint(hex, 16, 32)
			runes = append(runes, rune(r))
		}
		table[runes[0]] = string(runes[1:])
	}
	return table
})

// IndexEmails adds the users of an older version to the index of addresses that look alike.
func (m *Manager) IndexEmails(ctx context.Context) error {
	return m.DB.IndexSkeletons(ctx, skeletonVersion, func(u store.User) []string { return skeletons(u.Email, emailKey(u.Email)) })
}

// userByKey returns the user with an address, or store.ErrNotFound. The key of an older version did not
// change the domain.
func (m *Manager) userByKey(ctx context.Context, email, key string) (store.User, error) {
	u, err := m.DB.UserByEmailKey(ctx, key)
	if old := fold(email); errors.Is(err, store.ErrNotFound) && old != key {
		return m.DB.UserByEmailKey(ctx, old)
	}
	return u, err
}

// foldCherokee folds Cherokee letters. They fold to capitals (CaseFolding.txt), but package cases swaps
// their capitals and small letters.
func foldCherokee(r rune) rune {
	if unicode.Is(unicode.Cherokee, r) {
		return unicode.ToUpper(r)
	}
	return r
}

// mailbox returns an address of an account in the form that mail is sent to: the local part as the user
// typed it, the domain in ASCII. Its error wraps mail.ErrRefused.
func mailbox(email string) (string, error) {
	plain := norm.NFKC.String(email)
	at := strings.LastIndexByte(plain, '@')
	if at < 0 || strings.ContainsFunc(plain, unprintable) {
		return "", fmt.Errorf("account: the address is not a plain e-mail address: %w", outbox.ErrRefused)
	}
	domain, err := domains.ToASCII(plain[at+1:])
	address := plain[:at+1] + domain
	if parsed, bad := mail.ParseAddress(address); err != nil || bad != nil || parsed.Address != address || parsed.Name != "" {
		return "", fmt.Errorf("account: the address is not a plain e-mail address: %w", outbox.ErrRefused)
	}
	return address, nil
}

// unseen reports blanks that NFKC keeps, and letters and marks that are invisible. With them two
// different accounts would look the same.
func unseen(r rune) bool {
	return r != ' ' && unicode.IsSpace(r) || unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// unprintable reports characters that are invisible or change the text around them.
func unprintable(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co, unicode.Cs) || r == utf8.RuneError
}
