package account

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/store"
)

func rules(t testing.TB, r PasswordRules) *PasswordRules {
	t.Helper()
	if err := r.complete(); err != nil {
		t.Fatal(err)
	}
	return &r
}

func TestPasswordRules(t *testing.T) {
	t.Parallel()
	list := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(list, []byte("the operator's own\r\n\n  Twelve Blanks  \nzw\u00f6lf boxk\u00e4mpfer"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := rules(t, PasswordRules{Blocklist: list})
	for _, c := range []struct{ password, address, want string }{
		{strings.Repeat("é", 14), adaEmail, "too short"},
		{strings.Repeat("e\u0301", 14), adaEmail, "too short"}, // 28 code points, 14 characters after NFC
		{strings.Repeat("🔑", 14), adaEmail, "too short"},
		{strings.Repeat("e\u0301", 15), adaEmail, ""},
		{strings.Repeat("ab", 128), adaEmail, ""},
		{strings.Repeat("ab", 128) + "a", adaEmail, "too long"},
		{strings.Repeat("🔑", 256), adaEmail, ""},
		{strings.Repeat("e\u0301", 256), adaEmail, ""},
		{"               ", adaEmail, ""}, // no rule about composition
		{"passwordpassword", adaEmail, "most common"},
		{"PassWordPassWord", adaEmail, "most common"},
		{"ｐａｓｓｗｏｒｄpassword", adaEmail, "most common"},
		{"passwordpassword!", adaEmail, ""}, // whole passwords are compared
		{"The Operator's Own", adaEmail, "most common"},
		{"the operator's own two", adaEmail, ""},
		{"  twelve blanks  ", adaEmail, "most common"},
		{"Zwo\u0308lf Boxka\u0308mpfer", adaEmail, "most common"},
		{"I am ADA@Example.com", adaEmail, "e-mail address"},
		{"I am ａｄａ@example.com", adaEmail, "e-mail address"},
		{"my STRAßE@example.com", "strasse@example.com", "e-mail address"}, // folded as addresses are
		{"adaadaadaadaada", adaEmail, "e-mail address"},
		{"AdaADAadaAdaAdaAda", adaEmail, "e-mail address"},
		{"adaadaadaadaadaa", adaEmail, ""},
		{"ada likes long sentences", adaEmail, ""},
		{"aaaaaaaaaaaaaaaaa", "a@b.example", "e-mail address"},
		{"a password with an a", "a@b.example", ""}, // one letter forbids nothing
		{"it is a@b.example", "a@b.example", "e-mail address"},
		{"a sentence that is long", "", ""},
		{"a sentence that is long", "@example.com", ""},
		{"some @example.com text", "@example.com", "e-mail address"},
		{"\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n", adaEmail, ""}, // refused by the hash, by its own name
	} {
		err := r.Check("password", c.password, store.User{EmailKey: c.address})
		if c.want == "" && err != nil || c.want != "" && (codeOf(err) != durward.InvalidRequest || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%q for %s: got %v, want %q", c.password, c.address, err, c.want)
		}
	}
	named := rules(t, PasswordRules{Words: []string{"Acme", " Roadrunner ", "Acme Rockets"}})
	for password, ok := range map[string]bool{
		"acme-2026-ACME-2026":        false,
		"Acme Rockets!!!!!!!":        false,
		"ａｃｍｅroadrunneracme":         false,
		"acme likes long sentences":  true,
		"acme-2026-acme-2026x":       true,
		"123456789-987654321 123":    true, // none of the names
		"a sentence without a name!": true,
	} {
		if err := named.Check("password", password, store.User{EmailKey: adaEmail}); (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "names") {
			t.Errorf("%q with names: %v", password, err)
		}
	}
	// A second factor makes a shorter password sufficient; the other rules stay.
	protected := store.User{EmailKey: adaEmail, SecondFactorAt: time.Unix(1, 0)}
	for password, ok := range map[string]bool{"8 chars!": true, "7 chars": false, "12345678": false, "adaadaada": false} {
		if err := r.Check("password", password, protected); (err == nil) != ok {
			t.Errorf("%q with a second factor: %v", password, err)
		}
	}
	short := rules(t, PasswordRules{MinLength: 8})
	for password, ok := range map[string]bool{"8 chars!": true, "7 chars": false, "12345678": false, "zxcvbnm1": false} {
		if err := short.Check("password", password, store.User{EmailKey: adaEmail}); (err == nil) != ok {
			t.Errorf("%q with eight characters: %v", password, err)
		}
	}
}

func TestPasswordRulesMistakes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	long := filepath.Join(dir, "long line")
	if err := os.WriteFile(long, []byte(strings.Repeat("x", 1<<17)), 0o600); err != nil {
		t.Fatal(err)
	}
	huge := filepath.Join(dir, "huge") // a hole, not octets
	f, err := os.Create(huge)
	if err == nil {
		err = errors.Join(f.Truncate(maxBlocklist+1), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		rules PasswordRules
		want  string
	}{
		{PasswordRules{MinLength: 7}, "want a minimum of 8 or more"},
		{PasswordRules{MinLength: -1}, "want a minimum of 8 or more"},
		{PasswordRules{MinLengthSecondFactor: 7}, "want 8 to 15"},
		{PasswordRules{MinLengthSecondFactor: 16}, "want 8 to 15"},
		{PasswordRules{MaxLength: 63}, "a maximum from 64"},
		{PasswordRules{MaxLength: 1025}, "to 1024"},
		{PasswordRules{MinLength: 100, MaxLength: 99}, "from 100 to 99"},
		{PasswordRules{Words: []string{"acme", " ab "}}, "is too short"},
		{PasswordRules{Blocklist: filepath.Join(dir, "none")}, "no such file"},
		{PasswordRules{Blocklist: dir}, "is a directory"},
		{PasswordRules{Blocklist: long}, "too long"},
		{PasswordRules{Blocklist: huge}, "is larger than 256 MiB"},
	} {
		if err := c.rules.complete(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: got %v, want %q", c.rules, err, c.want)
		}
	}
}

// The rules refuse each password with a text of their own and never accept one that is too short, too
// long or contains the address.
func FuzzPasswordRules(f *testing.F) {
	for _, p := range []string{"", "short", adaPassword, strings.Repeat("e\u0301", 15), strings.Repeat("ada", 5), "\xff\xfe", "I am ada@example.com!", strings.Repeat("\u1e9e", 300), "\r\n"} {
		for _, a := range []string{"", "@", "a@b.example", adaEmail, "\xff@x"} {
			f.Add(p, a)
		}
	}
	r := rules(f, PasswordRules{})
	f.Fuzz(func(t *testing.T, password, address string) {
		address = emailKey(address)
		err := r.Check("password", password, store.User{EmailKey: address})
		if err != nil {
			var refusal *durward.Refusal
			if !errors.As(err, &refusal) || refusal.Code != durward.InvalidRequest || refusal.Members["member"] != "password" || len(refusal.Detail+refusal.Hint) > 200 {
				t.Fatalf("Check(%q, %q): %v", password, address, err)
			}
			return
		}
		n := utf8.RuneCountInString(norm.NFC.String(password))
		if n < 15 || n > 256 || r.blocked[strings.ToLower(password)] || address != "" && strings.Contains(password, address) {
			t.Fatalf("Check(%q, %q) takes it", password, address)
		}
	})
}
