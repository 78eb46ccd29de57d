package account

import (
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/durward-auth/durward"
	outbox "github.com/durward-auth/durward/server/internal/mail"
)

func TestCanonicalEmail(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 64) + "@" + strings.Repeat("b", 185) + ".com" // 254 octets
	for _, c := range []struct{ name, typed, email, key string }{
		{"plain", "ada@example.com", "ada@example.com", "ada@example.com"},
		{"blanks around", " \t ada@example.com\r\n", "ada@example.com", "ada@example.com"},
		{"blanks that are not ASCII around", "\u3000\u00a0ada@example.com\u2003", "ada@example.com", "ada@example.com"},
		{"upper case is kept and not compared", "Ada.Lovelace@EXAMPLE.Com", "Ada.Lovelace@EXAMPLE.Com", "ada.lovelace@example.com"},
		{"full width", "\uff21\uff44\uff41\uff20example\uff0ecom", "\uff21\uff44\uff41\uff20example\uff0ecom", "ada@example.com"},
		{"ligature", "o\ufb03ce@example.com", "o\ufb03ce@example.com", "office@example.com"},
		{"composed", "jos\u00e9@example.com", "jos\u00e9@example.com", "jos\u00e9@example.com"},
		{"decomposed", "jose\u0301@example.com", "jose\u0301@example.com", "jos\u00e9@example.com"},
		{"sharp s folds", "stra\u00dfe@example.com", "stra\u00dfe@example.com", "strasse@example.com"},
		{"final sigma folds", "\u03bf\u03b4\u03cc\u03c2@example.gr", "\u03bf\u03b4\u03cc\u03c2@example.gr", "\u03bf\u03b4\u03cc\u03c3@example.gr"},
		{"Cherokee capital", "\u13a0@example.com", "\u13a0@example.com", "\u13a0@example.com"},
		{"Cherokee small letter", "\uab70@example.com", "\uab70@example.com", "\u13a0@example.com"},
		{"Cherokee small letter of the other block", "\u13f8@example.com", "\u13f8@example.com", "\u13f0@example.com"},
		{"kelvin sign", "\u212aelvin@example.com", "\u212aelvin@example.com", "kelvin@example.com"},
		{"tag", "ada+news@example.com", "ada+news@example.com", "ada+news@example.com"},
		{"apostrophe", "O'Hara@example.com", "O'Hara@example.com", "o'hara@example.com"},
		{"all of atext", "a!#$%&'*+-/=?^_`{|}~b@example.com", "a!#$%&'*+-/=?^_`{|}~b@example.com", "a!#$%&'*+-/=?^_`{|}~b@example.com"},
		{"one label", "root@localhost", "root@localhost", "root@localhost"},
		{"punycode", "ada@xn--bcher-kva.example", "ada@xn--bcher-kva.example", "ada@b\u00fccher.example"},
		{"ideographic full stop", "ada@example\u3002com", "ada@example\u3002com", "ada@example.com"},
		{"underscore in the domain", "ada@my_host", "ada@my_host", "ada@my_host"},
		{"invalid punycode", "ada@xn--a.example", "ada@xn--a.example", "ada@xn--a.example"},
		{"umlaut domain", "ada@B\u00fccher.example", "ada@B\u00fccher.example", "ada@b\u00fccher.example"},
		{"the longest", long, long, long},
	} {
		email, key, err := canonicalEmail(c.typed)
		if err != nil || email != c.email || key != c.key {
			t.Errorf("%s: %q: got %q, %q, %v, want %q, %q", c.name, c.typed, email, key, err, c.email, c.key)
		}
	}
}

func TestEmailThatIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, typed string }{
		{"nothing", ""},
		{"blanks", " \t\n\u3000"},
		{"no at", "ada"},
		{"no local part", "@example.com"},
		{"no domain", "ada@"},
		{"two at", "ada@example.com@example.org"},
		{"two at, one of full width", "ada\uff20evil.example@example.com"},
		{"blank inside", "ada lovelace@example.com"},
		{"no-break space inside", "ada\u00a0lovelace@example.com"},
		{"ogham space inside", "ada\u1680lovelace@example.com"},
		{"tab inside", "ada\tlovelace@example.com"},
		{"line break inside", "ada@example.com\r\nBcc: eve@example.com"},
		{"colon", "ada:x@example.com"}, // RFC 7617 s2
		{"full width colon", "ada\uff1ax@example.com"},
		{"list", "ada@example.com,eve@example.com"},
		{"list with semicolon", "ada@example.com;eve@example.com"},
		{"quoted local part", `"ada"@example.com`},
		{"quoted at", `"ada@home"@example.com`},
		{"brackets", "<ada@example.com>"},
		{"name and brackets", "Ada <ada@example.com>"},
		{"comment", "ada(the first)@example.com"},
		{"address literal", "ada@[192.0.2.1]"},
		{"backslash", `ada\@example.com`},
		{"domain begins with dot", "ada@.example.com"},
		{"domain ends with dot", "ada@example.com."},
		{"two dots in the domain", "ada@example..com"},
		{"dots of full width in the domain", "ada@example\uff0e\uff0ecom"},
		{"two dot leader in the domain", "ada@example\u2025com"},
		{"local part begins with dot", ".ada@example.com"},
		{"local part ends with dot", "ada.@example.com"},
		{"two dots in the local part", "ada..b@example.com"},
		{"apostrophe with something odd", "o'hara,x@example.com"},
		{"NUL", "ada\x00@example.com"},
		{"delete", "ada\x7f@example.com"},
		{"C1 control", "ada\u0085@example.com"},
		{"invalid UTF-8", "ada\xff@example.com"},
		{"replacement character", "ada\ufffd@example.com"},
		{"zero width space", "ada\u200b@example.com"},
		{"soft hyphen", "a\u00adda@example.com"},
		{"byte order mark", "\ufeffada@example.com"},
		{"right to left override", "ada\u202emoc.elpmaxe@example.com"},
		{"line separator", "ada\u2028@example.com"},
		{"private use", "ada\ue000@example.com"},
		{"tag character", "ada\U000e0041@example.com"},
		{"variation selector", "ada\ufe0f@example.com"},
		{"variation selector of the supplement", "ada\U000e0100@example.com"},
		{"grapheme joiner", "ada\u034f@example.com"},
		{"Hangul filler", "ada\u3164@example.com"},
		{"too long", strings.Repeat("a", 300) + "@example.com"},
		{"by one too long", strings.Repeat("a", 64) + "@" + strings.Repeat("b", 186) + ".com"},
		{"too long once folded", strings.Repeat("\ufdfa", 40) + "@example.com"},
		{"far too long", strings.Repeat("a", 1<<20)},
	} {
		email, key, err := canonicalEmail(c.typed)
		if err == nil || email != "" || key != "" {
			t.Errorf("%s: %q is taken as %q, %q", c.name, c.typed, email, key)
			continue
		}
		var refusal *durward.Refusal
		if !errors.Is(err, durward.InvalidRequest) || !errors.As(err, &refusal) || refusal.Members["member"] != "email" || refusal.Detail == "" || refusal.Hint == "" {
			t.Errorf("%s: %q: got %#v, want InvalidRequest for email with a detail and a hint", c.name, c.typed, err)
			continue
		}
		if typed := strings.TrimSpace(c.typed); typed != "" && strings.Contains(err.Error()+refusal.Detail, typed) {
			t.Errorf("%s: the refusal repeats the address: %v", c.name, err)
		}
	}
}

// checkEmail checks the properties of accepted addresses.
func checkEmail(t testing.TB, typed string) {
	email, key, err := canonicalEmail(typed)
	if err != nil {
		if email != "" || key != "" || !errors.Is(err, durward.InvalidRequest) {
			t.Fatalf("%q: %q, %q, %v", typed, email, key, err)
		}
		return
	}
	if email != strings.TrimSpace(typed) {
		t.Fatalf("%q became %q", typed, email)
	}
	if len(email) > maxEmail || len(key) > maxEmail || !utf8.ValidString(key) || strings.Count(key, "@") != 1 {
		t.Fatalf("%q has the key %q", typed, key)
	}
	if strings.ContainsAny(key, ":\"<>()[]\\,;") || strings.ContainsFunc(key, unicode.IsSpace) || strings.ContainsFunc(key, unicode.IsControl) {
		t.Fatalf("%q has the key %q, which could be read as another", typed, key)
	}
	if !norm.NFKC.IsNormalString(key) {
		t.Fatalf("%q has the key %q, which is not NFKC", typed, key)
	}
	// Mail programs read the same address.
	if parsed, err := mail.ParseAddress(key); err != nil || parsed.Address != key {
		t.Fatalf("%q has the key %q, which mailers read as %v, %v", typed, key, parsed, err)
	}
	// The key of a key is the key, so that a look-up by either finds the user.
	again, keyOfKey, err := canonicalEmail(key)
	if err != nil || again != key || keyOfKey != key {
		t.Fatalf("%q has the key %q, whose key is %q, %v", typed, key, keyOfKey, err)
	}
	// Other case or other normalization is the same account.
	upper := strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' {
			return r - 'a' + 'A'
		}
		return r
	}, email)
	for _, other := range []string{upper, norm.NFD.String(email), norm.NFC.String(email), norm.NFKD.String(email), " " + email + "\t"} {
		if _, k, err := canonicalEmail(other); err == nil && k != key {
			t.Fatalf("%q has the key %q, but %q has %q", typed, key, other, k)
		}
	}
}

// Accepted addresses with one character of each kind, alone and beside combining characters.
func TestEachCharacterInAnEmail(t *testing.T) {
	t.Parallel()
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if !unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.P, unicode.S, unicode.Z, unicode.Cc, unicode.Cf, unicode.Co) {
			continue // not assigned
		}
		if r > 0x300 && r%256 != 0 && emailKey(string(r)) == string(r) && !unicode.In(r, unicode.M, unicode.Z, unicode.Cf) || unicode.In(r, unicode.Han, unicode.Hangul, unicode.Co) && r%64 != 0 {
			continue // similar characters
		}
		checkEmail(t, fmt.Sprintf("a%cb@example.com", r))
		checkEmail(t, fmt.Sprintf("\u03b1%c\u0345@%c.com", r, r))
	}
}

func FuzzCanonicalEmail(f *testing.F) {
	for _, s := range []string{"ada@example.com", " Ada@Example.COM ", "o'hara@example.com", "jose\u0301@example.com", "\uff21@b.c", "a@b@c", "a..b@c", "\"a\"@b", "stra\u00dfe@example.com", "\u0130@example.com", "a\u0345\u0301@b", "\u1fb3@b", "a\u1680b@c", "=?utf-8?q?a?=@b", "a@b\r\nTo: c@d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, typed string) { checkEmail(t, typed) })
}

// Mail goes to the local part as it was typed, at the ASCII form of the domain.
func TestMailbox(t *testing.T) {
	t.Parallel()
	for email, want := range map[string]string{
		"ada@example.com":               "ada@example.com",
		"Ada.L@Example.COM":             "Ada.L@example.com",
		"stra\u00dfe@b\u00fccher.de":    "stra\u00dfe@xn--bcher-kva.de",
		"\uff41da@example.com":          "ada@example.com",
		"ada@example\u3002com":          "ada@example.com",
		"ada\uff20example.com":          "ada@example.com",
		"ada":                           "",
		"ada@":                          "",
		"ada@example.com\r\nBcc: e@x.y": "",
		"ada@example.com\nx":            "",
		"ada@exa mple.com":              "",
		"a b@example.com":               "",
		"Ada <ada@example.com>":         "",
		"ada@example.com,eve@x.y":       "",
		"ada@example.com>,<eve@x.y":     "",
		"\u202eada@example.com":         "",
	} {
		got, err := mailbox(email)
		if got != want || (err == nil) != (want != "") || err != nil && !errors.Is(err, outbox.ErrRefused) {
			t.Errorf("%q: got %q %v, want %q", email, got, err, want)
		}
	}
}

// A mailbox is one plain address on one line, of ASCII after the @, and is its own mailbox.
func FuzzMailbox(f *testing.F) {
	for _, s := range []string{
		"ada@example.com", "Ada.L@Example.COM", "stra\u00dfe@b\u00fccher.de", "\uff41da@example\u3002com", "a@b@c", "ada@", "@example.com",
		"ada@example.com\r\nBcc: e@x.y", "Ada <ada@example.com>", "ada@example.com,eve@x.y", "\"a b\"@example.com", "ada@[192.0.2.1]", "a\u202e@x.y", "\x00@\xff",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, email string) {
		got, err := mailbox(email)
		if err != nil {
			if got != "" || !errors.Is(err, outbox.ErrRefused) {
				t.Fatalf("%q: got %q beside %v", email, got, err)
			}
			return
		}
		local, domain, _ := strings.Cut(got, "@")
		if strings.ContainsAny(got, "\r\n\x00<>,;: ()") || local == "" || domain == "" || strings.Contains(domain, "@") {
			t.Fatalf("%q: got %q, which is no plain address", email, got)
		}
		for _, r := range domain {
			if r > unicode.MaxASCII {
				t.Fatalf("%q: got %q with a domain that is not ASCII", email, got)
			}
		}
		if again, err := mailbox(got); err != nil || again != got {
			t.Fatalf("%q: got %q, and for that %q %v", email, got, again, err)
		}
	})
}
