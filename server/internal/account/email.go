package account

import (
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// maxEmail is the length of the longest address in octets (RFC 5321 s4.5.3.1.3).
const maxEmail = 254

// canonicalEmail returns a trimmed address and the key by which addresses are compared: NFKC and case
// folding, so that similar spellings are one account. The key of a key is the key itself.
func canonicalEmail(typed string) (email, key string, err error) {
	email = strings.TrimSpace(typed)
	key = emailKey(email)
	bad := func(detail string) (string, string, error) {
		return "", "", mistake("email", detail, "An address looks like ada@example.com.")
	}
	switch {
	case email == "":
		return bad("The e-mail address is missing.")
	case len(email) > maxEmail || len(key) > maxEmail:
		return bad("The e-mail address is too long.")
	case !utf8.ValidString(email) || strings.ContainsFunc(key, unprintable) || strings.ContainsFunc(email, unprintable) || strings.ContainsFunc(key, unseen):
		return bad("The e-mail address contains characters that are not allowed in one.")
	case !plainForm(key):
		return bad("The e-mail address is not in its plain form.")
	}
	return email, key, nil
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

// emailKey returns the form in which addresses are compared.
func emailKey(email string) string {
	folded := cases.Fold().String(norm.NFKC.String(email))
	return strings.TrimSpace(norm.NFKC.String(strings.Map(foldCherokee, folded)))
}

// foldCherokee folds Cherokee letters. They fold to capitals (CaseFolding.txt), but package cases swaps
// their capitals and small letters.
func foldCherokee(r rune) rune {
	if unicode.Is(unicode.Cherokee, r) {
		return unicode.ToUpper(r)
	}
	return r
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
