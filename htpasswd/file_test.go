package htpasswd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/pwhash"
)

const horse = "correct horse battery staple"

// everything accepts every kind of hash.
var everything = Config{InsecureSHA1: true, InsecureCrypt: true}

// write creates a file with permissions for its owner only.
func write(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users")
	replace(t, path, text)
	return path
}

// replace renames a new file to path.
func replace(t testing.TB, path, text string) {
	t.Helper()
	overwrite(t, path+".new", text)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// overwrite writes a file in place, with the test's time as its modification time (virtual in a
// synctest bubble).
func overwrite(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if err := os.Chtimes(path, now, now); err != nil {
		t.Fatal(err)
	}
}

func recorded(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func open(t testing.TB, text string, c Config) *File {
	t.Helper()
	c.Path, c.Log = write(t, text), cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	f, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// keptLog is a slog.Handler that keeps the values of attributes.
type keptLog struct{ errors []string }

func (l *keptLog) Enabled(context.Context, slog.Level) bool { return true }
func (l *keptLog) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *keptLog) WithGroup(string) slog.Handler            { return l }
func (l *keptLog) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool { l.errors = append(l.errors, a.Value.String()); return true })
	return nil
}

// logTo sets a Log and returns its records.
func logTo(log **slog.Logger) *keptLog {
	kept := new(keptLog)
	*log = slog.New(kept)
	return kept
}

// judge returns "" if Check succeeds, else the code, or "outage" for an error without a code.
func judge(t testing.TB, f *File, user, password string) string {
	t.Helper()
	p, err := f.Check(t.Context(), user, password)
	var code durward.Code
	switch {
	case err == nil && p != nil:
		return ""
	case err == nil || p != nil:
		t.Fatalf("Check(%q): got %v and %v", user, p, err)
	case errors.As(err, &code):
		return string(code)
	}
	return "outage"
}

var wrong = string(durward.InvalidCredentials)

// Hashes by Apache's htpasswd, openssl and argon2 match their passwords and no others.
func TestRecorded(t *testing.T) {
	t.Parallel()
	f := open(t, recorded(t, "apache.htpasswd"), everything)
	passwords := map[string]string{
		"bcrypt": horse, "josé": "pässword", "sha1": horse, "apr1": horse, "apr1-utf8": "pässword: with a colon",
		"sha256": horse, "sha256-1000": "pässword", "sha512": horse, "sha512-10000": strings.Repeat("a", 200), "md5": horse, "argon2id": horse,
	}
	p, err := f.file.load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := slices.Sorted(maps.Keys(p.users)), slices.Sorted(maps.Keys(passwords)); !slices.Equal(got, want) {
		t.Fatalf("users: got %q, want %q", got, want)
	}
	for user, password := range passwords {
		alone := open(t, user+":"+p.users[user].text, everything)
		if p, err := alone.Check(t.Context(), user, password); err != nil || p.Subject != user {
			t.Errorf("%s: got %+v, %v", user, p, err)
		}
		for _, other := range []string{password + "a", password[1:], strings.ToUpper(password), "", p.users[user].text} {
			if got := judge(t, alone, user, other); got != wrong {
				t.Errorf("%s with %q: got %q, want %s", user, other, got, wrong)
			}
		}
		if got := judge(t, f, user, password); got != "" {
			t.Errorf("%s among the others: got %s", user, got)
		}
	}
	for _, user := range []string{"", "nobody", "Bcrypt", "bcrypt ", "#", "bcrypt\x00", "josé:"} {
		if got := judge(t, f, user, horse); got != wrong {
			t.Errorf("user %q: got %q, want %s", user, got, wrong)
		}
	}
}

// some returns the recorded lines of these users.
func some(t testing.TB, users ...string) string {
	t.Helper()
	var text strings.Builder
	for line := range strings.Lines(recorded(t, "apache.htpasswd")) {
		if name, _, _ := strings.Cut(line, ":"); slices.Contains(users, name) {
			text.WriteString(line)
		}
	}
	if got := strings.Count(text.String(), "\n"); got != len(users) {
		t.Fatalf("%d of %q are recorded", got, users)
	}
	return text.String()
}

// User names and passwords are normalized (RFC 8265 s4.2).
func TestSpellings(t *testing.T) {
	t.Parallel()
	f := open(t, some(t, "josé"), everything)
	for _, user := range []string{"josé", "jose\u0301"} {
		for _, password := range []string{"pässword", "pa\u0308ssword"} {
			p, err := f.Check(t.Context(), user, password)
			if err != nil || p.Subject != "josé" {
				t.Errorf("%+q, %+q: got %+v, %v", user, password, p, err)
			}
			if state, err := f.State(t.Context(), user); err != nil || !strings.HasPrefix(state, "$2y$05$") {
				t.Errorf("State(%+q): got %q, %v", user, state, err)
			}
		}
	}
	decomposed := open(t, strings.Replace(some(t, "josé"), "josé:", "jose\u0301:", 1), everything)
	if got := judge(t, decomposed, "josé", "pässword"); got != "" {
		t.Errorf("a decomposed name in the file: got %s", got)
	}
}

// Bytes that bcrypt would ignore count, and a password that is too long for crypt is refused after
// the same work.
func TestTooLong(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 72)
	digest := func(password string) string {
		for _, line := range strings.Split(recorded(t, "long.htpasswd"), "\n") {
			if rest, ok := strings.CutPrefix(line, fmt.Sprintf("%d:", len(password))); ok {
				return rest
			}
		}
		t.Fatalf("nothing recorded for %d letters", len(password))
		return ""
	}
	f := open(t, "bcrypt:"+digest(long)+"\ncrypt:"+digest(strings.Repeat("a", 511))+"\n", everything)
	for _, c := range []struct {
		user, password, want string
	}{
		{"bcrypt", long, ""}, {"bcrypt", long + "a", wrong}, {"bcrypt", long + "\x00", wrong}, {"bcrypt", long[:71], wrong},
		{"bcrypt", strings.Repeat("ä", 36), wrong}, {"bcrypt", strings.Repeat("a", 4096), wrong},
		{"crypt", strings.Repeat("a", 511), ""}, {"crypt", strings.Repeat("a", 512), wrong}, {"crypt", strings.Repeat("a", 510), wrong},
	} {
		if got := judge(t, f, c.user, c.password); got != c.want {
			t.Errorf("%s, %d bytes: got %q, want %q", c.user, len(c.password), got, c.want)
		}
	}
	// The work of crypt grows with the square of the secret's length.
	given := 0
	onHash(f, func(_ hashed, secret []byte) { given = max(given, len(secret)) })
	if got := judge(t, f, "nobody", strings.Repeat("a", 4096)); got != wrong || given > 511 || given == 0 {
		t.Errorf("4096 bytes: got %q after hashing a secret of %d bytes, want at most 511", got, given)
	}
	_, err := f.Check(t.Context(), "bcrypt", long+"a")
	if err == nil || !strings.Contains(err.Error(), "72 bytes") {
		t.Errorf("log: got %v", err)
	}
	// The stand-in for a long password matches no hash.
	line, err := Line("dummy", string(dummySecret))
	if err != nil {
		t.Fatal(err)
	}
	dummy := open(t, line, Config{})
	if got := judge(t, dummy, "dummy", "pass\x00word"); got != wrong {
		t.Errorf("password that is not allowed, hash of the stand-in: got %q, want a refusal", got)
	}
	h := hashed{holds: 4, matches: func(secret []byte) bool { return string(secret) == string(dummySecret) }}
	if h.opens([]byte("12345")) {
		t.Error("password that is too long, hash of the stand-in: got true, want false")
	}
}

// onHash calls before each time that one of f's hashes is computed. It stops the file's clock:
// a reload would replace the hashes that it changed.
func onHash(f *File, before func(h hashed, secret []byte)) {
	stopped := f.file.since
	f.file.now = func() time.Time { return stopped }
	observe := func(h hashed) hashed {
		matches := h.matches
		h.matches = func(secret []byte) bool {
			before(h, secret)
			return matches(secret)
		}
		return h
	}
	p := f.file.current.Load().value
	for name, h := range p.users {
		p.users[name] = observe(h)
	}
	for i, h := range p.each {
		p.each[i] = observe(h)
	}
}

// counted returns the number of hashes that f computes from now on, by cost.
func counted(f *File) map[string]int {
	counts := make(map[string]int)
	onHash(f, func(h hashed, _ []byte) { counts[h.cost]++ })
	return counts
}

// Every check computes the same hashes, for known and unknown users, correct and wrong passwords.
func TestSameWork(t *testing.T) {
	t.Parallel()
	users := []string{"bcrypt", "sha1", "apr1", "md5", "argon2id"}
	f := open(t, some(t, users...), everything)
	counts := counted(f)
	want := make(map[string]int)
	for _, h := range f.file.current.Load().value.users {
		want[h.cost] = 1
	}
	if len(want) != len(users) {
		t.Fatalf("got %d costs in the file: %v", len(want), want)
	}
	for _, user := range append(users, "nobody", "", "a:b") {
		for _, password := range []string{horse, "wrong", "", "pass\x00word", strings.Repeat("x", 73), strings.Repeat("x", 600), strings.Repeat("x", pwhash.MaxPassword+1), "\xff"} {
			clear(counts)
			_, _ = f.Check(t.Context(), user, password)
			if !maps.Equal(counts, want) {
				t.Errorf("%q with %.20q: hashes %v, want %v", user, password, counts, want)
			}
		}
	}

	empty := open(t, "# no users yet\n", Config{})
	counts = counted(empty)
	if got := judge(t, empty, "nobody", horse); got != wrong || !maps.Equal(counts, map[string]int{unknownUser.cost: 1}) {
		t.Errorf("file without users: got %q after %v", got, counts)
	}
	line, err := Line("ada", horse)
	if err != nil {
		t.Fatal(err)
	}
	if h, err := readHash(line[len("ada:"):], Config{}); err != nil || h.cost != unknownUser.cost {
		t.Errorf("Line: got cost %q, %v, want %q", h.cost, err, unknownUser.cost)
	}
}

// When all turns are taken and the queue is full, a check fails at once and computes no hash.
func TestBusy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := open(t, some(t, "bcrypt"), Config{Concurrent: 1, Waiting: 1})
		counts := counted(f)
		release := make(chan struct{})
		working := make(chan error, 1)
		go func() { working <- f.hasher.Do(t.Context(), 0, func() { <-release }) }()
		synctest.Wait()
		waitingContext, cancel := context.WithCancel(t.Context())
		waiting := make(chan error, 1)
		go func() {
			_, err := f.Check(waitingContext, "bcrypt", horse)
			waiting <- err
		}()
		synctest.Wait()
		_, err := f.Check(t.Context(), "bcrypt", horse)
		if !errors.Is(err, durward.AuthUnavailable) || !errors.Is(err, pwhash.ErrBusy) {
			t.Errorf("queue full: got %v, want %s", err, durward.AuthUnavailable)
		}
		cancel()
		if err := <-waiting; !errors.Is(err, context.Canceled) {
			t.Errorf("canceled while waiting: got %v, want %v", err, context.Canceled)
		}
		if len(counts) != 0 {
			t.Errorf("hashes computed while busy: got %v, want none", counts)
		}
		close(release)
		if err := <-working; err != nil {
			t.Errorf("working: got %v, want no error", err)
		}
		if got := judge(t, f, "bcrypt", horse); got != "" {
			t.Errorf("queue empty again: got %s, want no error", got)
		}
	})
}

const (
	other10 = "$2y$05$Zx/F8kLmge7Vel6nSx04b.j.21nn3DYFY2SXZc/e/.ZtSuKfCTvg."
	good    = "$2y$04$EVTD5jzxRNGqIo5.afCf0uwnt25IRD16kxCN1mrpesG0Z10/EU7a2"
	argon   = "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$Sr6N/nCmohWCvF7EZislLIdwA8ojCXux0K30ccqFS30"
	sha1of  = "{SHA}q/eq1kOINtvlJqojGr3i0O73TUI="
	apr1of  = "$apr1$X.xtIgl1$s2wv96UYbRMriL7GrRHM4."
	md5of   = "$1$saltsalt$BsXyQbZiQujHkdhwPwdol."
	sha5    = "$5$YbGA20nyL2NhGTx6$zgeFmGKqSxawfq3OIDMl/a3850VIzbj13mt8zwSrL72"
	sha6    = "$6$ZmnWuqlY1nztx.06$W3QTqMxYYRMn65VCqcL1kqL1Epy.ELYuKLCJ/j3FJKxrVCRX0wDmNZtW2bU8uLwtO5/rWP5hBqPrwjl85kU2L1"
)

// Lines with a mistake, with a part of the error. The error contains no part of the line.
var hostile = []struct{ line, says string }{
	{"ada", "no colon"},
	{"hunter2hunter2", "no colon"},
	{":" + good, "user name is empty"},
	{"ada:", "no hash"},
	{"ada:hunter2hunter2", "plain text"},
	{"ada:UazqbqmqrFWjo", "DES crypt"}, // htpasswd -nbd
	{"ada:$$2y$$04$$" + good[7:], "$$"},
	{"ada:x" + good, "unsupported hash"},
	{"ada:" + good + "a", "bcrypt"},
	{"ada:" + good[:59], "bcrypt"},
	{"ada:$2x$04" + good[6:], "bcrypt"},
	{"ada:$2$04" + good[6:], "bcrypt"},
	{"ada:$2y$03" + good[6:], "cost 03, want 4 to 14"},
	{"ada:$2y$15" + good[6:], "cost 15, want 4 to 14"},
	{"ada:$2y$31" + good[6:], "cost 31, want 4 to 14"},
	{"ada:$2y$4$" + good[7:] + "a", "bcrypt"},
	{"ada:$2y$-1" + good[6:], "bcrypt"},
	{"ada:" + strings.Replace(argon, "m=64", "m=262145", 1), "memory of 262145 KiB"},
	{"ada:" + strings.Replace(argon, "m=64", "m=4194304", 1), "want 8 to 262144"},
	{"ada:" + strings.Replace(argon, "t=2", "t=17", 1), "17 passes"},
	{"ada:" + strings.Replace(argon, "p=1", "p=17", 1), "17 threads"},
	{"ada:" + strings.Replace(argon, "argon2id", "argon2i", 1), "unsupported hash"},
	{"ada:" + argon[:len(argon)-1], "base64"},
	{"ada:" + strings.TrimSuffix(sha1of, "="), "SHA-1"},
	{"ada:" + strings.Replace(sha1of, "I=", "J=", 1), "SHA-1"}, // unused bits at the end
	{"ada:{SHA}" + strings.Repeat("A", 40), "SHA-1"},
	{"ada:{SSHA}" + strings.Repeat("A", 40), "unsupported hash"},
	{"ada:" + strings.Replace(sha5, "$5$", "$5$rounds=999$", 1), "999 rounds"},
	{"ada:" + strings.Replace(sha5, "$5$", "$5$rounds=1000001$", 1), "1000001 rounds"},
	{"ada:" + strings.Replace(sha6, "$6$", "$6$rounds=999999999$", 1), "999999999 rounds"},
	{"ada:" + strings.Replace(sha6, "$6$", "$6$rounds=05000$", 1), "malformed crypt"},
	{"ada:" + strings.Replace(sha6, "$6$", "$6$rounds=99999999999$", 1), "malformed crypt"},
	{"ada:" + strings.Replace(sha6, "$6$", "$6$rounds=-1$", 1), "malformed crypt"},
	{"ada:" + strings.Replace(sha6, "$6$", "$6$rounds=5000,rounds=5000$", 1), "malformed crypt"},
	{"ada:" + strings.Replace(sha6, "$6$", "$5$", 1), "malformed crypt"},
	{"ada:$6$" + strings.Repeat("s", 17) + sha6[19:], "malformed crypt"},
	{"ada:$6$$" + sha6[20:], "malformed crypt"},
	{"ada:$1$" + strings.Repeat("s", 9) + md5of[11:], "malformed crypt"},
	{"ada:$apr1$$" + apr1of[15:], "malformed crypt"},
	{"ada:$apr1$salt$", "malformed crypt"},
	{"ada:$md5,rounds=4294967295$salt$$" + md5of[12:], "unsupported hash"},
	{"ada:$y$j9T$salt$hash", "unsupported hash"},
	{"ad\x01a:" + good, "control character"},
	{"ad\u0085a:" + good, "control character"},
	{"ada\r:" + good, "control character"},
	{"ad\xffa:" + good, "UTF-8"},
	{"\ufeffada:" + good, "byte order mark"},
	{strings.Repeat("a", 256) + ":" + good, "user name of 256 bytes"},
	{"ada:" + strings.Repeat("x", 1021), "1025 bytes long"},
	{"grace:" + good, "duplicate user name; line 3 counts"},
	{"grace:hunter2hunter2", "duplicate user name; line 3 counts"},
}

// A line with a mistake disables its user alone. The log and the error of the refusal name its number.
func TestMistakes(t *testing.T) {
	t.Parallel()
	for _, c := range hostile {
		config := everything
		log := logTo(&config.Log)
		f := open(t, "# a comment\n\ngrace:"+good+"\n"+c.line+"\nlast:"+good+"\n", config)
		at := "htpasswd: " + f.file.path + ": line 4: "
		if len(log.errors) != 1 || !strings.HasPrefix(log.errors[0], at) || !strings.Contains(log.errors[0], c.says) {
			t.Errorf("%.60q: logged %q, want line 4 and %q", c.line, log.errors, c.says)
			continue
		}
		if piece := leaks(strings.TrimPrefix(log.errors[0], at), c.line); piece != "" {
			t.Errorf("%.60q: the log repeats %q: %v", c.line, piece, log.errors)
		}
		if got := judge(t, f, "grace", horse) + judge(t, f, "last", horse); got != "" {
			t.Errorf("%.60q: the users of the other lines: got %s, want no error", c.line, got)
		}
		if !strings.HasPrefix(strings.TrimPrefix(c.line, "\ufeff"), "ada:") {
			continue // a line without a user
		}
		for _, password := range []string{horse, "hunter2hunter2", ""} {
			_, err := f.Check(t.Context(), "ada", password)
			if !errors.Is(err, durward.InvalidCredentials) || !strings.HasPrefix(err.Error(), log.errors[0]) {
				t.Errorf("%.60q: sign-in of ada: got %v, want %s and the line", c.line, err, durward.InvalidCredentials)
			}
		}
		if state, err := f.State(t.Context(), "ada"); state != "" || !errors.Is(err, durward.InvalidCredentials) {
			t.Errorf("%.60q: State of ada: got %q, %v", c.line, state, err)
		}
	}

	// All mistakes are logged, each with its line number.
	config := everything
	log := logTo(&config.Log)
	open(t, "a:hunter2\r\nb:"+good+"\r\n\nc\nb:"+good+"\n", config)
	for i, want := range []string{"line 1: unsupported hash", "line 4: no colon", "line 5: duplicate user name; line 2 counts"} {
		if len(log.errors) != 3 || !strings.Contains(log.errors[i], want) {
			t.Errorf("three mistakes: logged %q, want %q", log.errors, want)
		}
	}
	log.errors = nil
	open(t, "b:"+good+"\n"+strings.Repeat("x\n", 1000), config)
	if n := len(log.errors); n != maxReported+1 || !strings.Contains(log.errors[n-1], "980 more mistakes") {
		t.Errorf("a thousand mistakes: logged %q", log.errors)
	}
}

// A file without a line that can be used, or in another encoding, is an outage. The error lists the
// mistakes.
func TestUnusable(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text string
		want       string // of the error; "" if the file is used
	}{
		{"one bad line: error", "ada:hunter2\n", "line 1: unsupported hash"},
		{"bad lines only: error", "ada\nada:hunter2\n", "line 1: no colon"},
		{"a thousand bad lines: error", strings.Repeat("x\n", 1000), "980 more mistakes"},
		{"UTF-16: error", "\xff\xfea\x00d\x00a\x00:\x00", "save it as UTF-8"},
		{"UTF-16, other byte order: error", "\xfe\xff\x00a\x00d\x00a\x00:", "save it as UTF-8"},
		{"UTF-16 without a mark: error", "a\x00:\x00x\x00\n\x00", "line 1: a control character"},
		{"a bad line and a locked user: used", "ada:hunter2\ngrace:!\n", ""},
		{"comments only: used", "# none\n  # none\n \t\n", ""},
		{"empty file: used", "", ""},
	} {
		config := everything
		config.Path = write(t, c.text)
		logTo(&config.Log)
		f, err := Open(config)
		if (f == nil) != (c.want != "") || c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
		if err != nil && (errors.As(err, new(durward.Code)) || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%s: got %v, want no code and nothing of the file", c.name, err)
		}
	}
}

// Forms of lines that other servers and tools write.
func TestForms(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text string
		want       string // of ada's sign-in
		says       string // in the error, for the log
	}{
		{"comment after the hash: signed in", "ada:" + good + ":Ada Lovelace\n", "", ""},
		{"comment with colons and a hash: signed in", "ada:" + good + ":a:b:{SHA}x:" + good + "\n", "", ""},
		{"empty comment: signed in", "ada:" + good + ":\n", "", ""},
		{"bcrypt of $2a$: signed in", "ada:$2a$" + good[4:] + "\n", "", ""},
		{"bcrypt of $2b$: signed in", "ada:$2b$" + good[4:] + "\n", "", ""},
		{"blank after the colon: signed in", "ada: " + good + "\n", "", ""},
		{"blanks around all parts: signed in", " \tada \t:\t" + good + " :x \r\n", "", ""},
		{"blank at the end: signed in", "ada:" + good + " \n", "", ""},
		{"no line break at the end: signed in", "ada:" + good, "", ""},
		{"argon2id with m, p, t: signed in", "ada:" + strings.Replace(argon, "m=64,t=2,p=1", "m=64,p=1,t=2", 1) + "\n", "", ""},
		{"argon2id with t, m, p: signed in", "ada:" + strings.Replace(argon, "m=64,t=2,p=1", "t=2,m=64,p=1", 1) + "\n", "", ""},
		{"byte order mark before a comment: signed in", "\ufeff# users\nada:" + good + "\n", "", ""},
		{"twice: the first counts", "ada:" + good + "\nada:hunter2\n", "", ""},
		{"twice, the first with another password: refused", "ada:" + other10 + "\nada:" + good + "\n", wrong, "wrong password"},
		{"twice, the first with a mistake: refused", "ada:$2y$15" + good[6:] + "\nada:" + good + "\n", wrong, "line 2: pwhash: malformed password hash: bcrypt hash of cost 15"},
		{"twice, the first locked: refused", "ada:!\nada:" + good + "\n", wrong, "line 2: the user is locked"},
		{"locked with !: refused", "ada:!\n", wrong, "line 2: the user is locked"},
		{"locked with ! before the hash: refused", "ada:!" + good + "\n", wrong, "line 2: the user is locked"},
		{"locked with *: refused", "ada:*\n", wrong, "line 2: the user is locked"},
		{"locked with a blank before: refused", "ada: * :away\n", wrong, "line 2: the user is locked"},
		{"doubled dollar signs: refused, the log names them", "ada:" + strings.ReplaceAll(good, "$", "$$") + "\n", wrong, "$$: compose files double"},
		{"the name has a blank inside: another user", "ad a:" + good + "\n", wrong, "no such user"},
	} {
		config := Config{}
		logTo(&config.Log)
		f := open(t, "grace:"+good+"\n"+c.text, config)
		_, err := f.Check(t.Context(), "ada", horse)
		if got := judge(t, f, "ada", horse); got != c.want || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %q, %v, want %q and %q", c.name, got, err, c.want, c.says)
		}
		if got := judge(t, f, "grace", horse); got != "" {
			t.Errorf("%s: the other user: got %s, want no error", c.name, got)
		}
	}
}

// leaks returns 10 characters that are in both text and line, or "". The form of argon2id that the
// error asks for does not count.
func leaks(text, line string) string {
	text, _, _ = strings.Cut(text, "; want $argon2id$")
	for i := 0; i+10 <= len(line); i++ {
		if piece := line[i : i+10]; strings.Contains(text, piece) {
			return piece
		}
	}
	return ""
}

// Insecure hashes are accepted only with their option.
func TestInsecure(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		hash  string
		names string
		allow Config
	}{
		{sha1of, "InsecureSHA1", Config{InsecureSHA1: true}},
		{apr1of, "InsecureCrypt", Config{InsecureCrypt: true}},
		{md5of, "InsecureCrypt", Config{InsecureCrypt: true}},
		{sha5, "InsecureCrypt", Config{InsecureCrypt: true}},
		{sha6, "InsecureCrypt", Config{InsecureCrypt: true}},
	} {
		path := write(t, "ada:"+c.hash)
		for _, config := range []Config{{}, {InsecureSHA1: true}, {InsecureCrypt: true}} {
			allowed := config == c.allow
			config.Path = path
			f, err := Open(config)
			if allowed {
				if err != nil || judge(t, f, "ada", horse) != "" {
					t.Errorf("%s with %+v: %v", c.hash, config, err)
				}
			} else if err == nil || !strings.Contains(err.Error(), "line 1: ") || !strings.Contains(err.Error(), c.names) {
				t.Errorf("%s with %+v: got %v, want %s in it", c.hash, config, err, c.names)
			}
		}
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	fails := func(c Config, want string) {
		t.Helper()
		f, err := Open(c)
		if f != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
	fails(Config{}, "Path is empty")
	fails(Config{Path: t.TempDir()}, "not a regular file")
	fails(Config{Path: filepath.Join(t.TempDir(), "none")}, "no such file")
	fails(Config{Path: write(t, ""), Concurrent: -1, Waiting: -1}, "waiting")

	path := write(t, strings.Repeat("#", maxFile+1))
	fails(Config{Path: path}, "larger than 16 MiB")
	if err := os.Truncate(path, maxFile); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Path: path}); err != nil {
		t.Errorf("file of the maximum size: got %v, want no error", err)
	}

	var many strings.Builder
	for i := range maxUsers {
		fmt.Fprintf(&many, "%d:%s\n", i, sha1of)
	}
	if _, err := Open(Config{Path: write(t, many.String()), InsecureSHA1: true}); err != nil {
		t.Errorf("maximum number of users: got %v, want no error", err)
	}
	fails(Config{Path: write(t, many.String()+"more:"+good), InsecureSHA1: true}, "line 100001: more than 100000 users")

	var costs strings.Builder
	for i := range maxCosts {
		fmt.Fprintf(&costs, "%d:%s\n", i, strings.Replace(argon, "m=64", fmt.Sprintf("m=%d", 64+i), 1))
	}
	if _, err := Open(Config{Path: write(t, costs.String())}); err != nil {
		t.Errorf("maximum number of costs: got %v, want no error", err)
	}
	var config Config
	log := logTo(&config.Log)
	f := open(t, costs.String()+"more:"+good, config)
	if got := judge(t, f, "more", horse) + judge(t, f, "0", horse); got != wrong || len(log.errors) != 1 || !strings.Contains(log.errors[0], "line 17: hashes of more than 16 costs") {
		t.Errorf("one cost more: got %s and logged %q, want %s for the last user alone", got, log.errors, wrong)
	}

	path = write(t, "ada:"+good)
	if err := os.Chmod(path, 0o646); err != nil {
		t.Fatal(err)
	}
	fails(Config{Path: path}, "chmod o-w "+path+", or set InsecureFileMode")
	for _, mode := range []os.FileMode{0o646, 0o666, 0o777} { // 0777: Docker Desktop, WSL
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		fails(Config{Path: path}, "InsecureFileMode")
		if _, err := Open(Config{Path: path, InsecureFileMode: true}); err != nil {
			t.Errorf("mode %o with InsecureFileMode: got %v, want no error", mode, err)
		}
	}
	if err := os.Chmod(path, 0o664); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Path: path}); err != nil {
		t.Errorf("writable by the group: got %v, want no error", err)
	}
}

func TestLine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ user, password string }{
		{"ada", horse}, {"jose\u0301", "pa\u0308ssword"}, {"two words", strings.Repeat("x", 500)}, {strings.Repeat("a", maxName), "x"},
	} {
		line, err := Line(c.user, c.password)
		if err != nil || !strings.Contains(line, ":$argon2id$v=19$m=19456,t=2,p=1$") {
			t.Errorf("Line(%q): got %q, %v", c.user, line, err)
			continue
		}
		if got := judge(t, open(t, line+"\n", Config{}), c.user, c.password); got != "" {
			t.Errorf("Line(%q): Check says %s", c.user, got)
		}
	}
	for _, c := range []struct{ user, password, says string }{
		{"", horse, "empty"}, {"a:b", horse, "colon"}, {"a\nb", horse, "control"}, {"#a", horse, "begins with"}, {"\ufeffa", horse, "begins with"}, {"a\xff", horse, "UTF-8"},
		{" a", horse, "blanks around"}, {"a ", horse, "blanks around"},
		{strings.Repeat("a", maxName+1), horse, "256 bytes"}, {"ada", "", "empty"}, {"ada", "hunter2\x00hunter2", "control"}, {"ada", strings.Repeat("hunter2", 2000), "bytes long"},
	} {
		line, err := Line(c.user, c.password)
		if line != "" || err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Line(%.20q, %.20q): got %q, %v, want %q in it", c.user, c.password, line, err, c.says)
		}
	}
}
