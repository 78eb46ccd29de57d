package mail

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	netmail "net/mail"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gomail "github.com/wneessen/go-mail"

	"github.com/durward-auth/durward/internal/services"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/testkit"
)

// env is an outbox with a Manager.
type env struct {
	*Manager
	t     *testing.T
	db    *store.DB
	clock *testkit.Clock
	logs  *testkit.Log
}

func newEnv(t *testing.T, database string, change func(*Config)) *env {
	t.Helper()
	w := &env{t: t, clock: testkit.NewClock(time.Date(2026, 3, 5, 7, 8, 9, 0, time.UTC)), logs: new(testkit.Log)}
	var err error
	w.db, err = store.Open(t.Context(), store.Config{URL: database, Now: w.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.db.Close() })
	c := Config{
		DB: w.db,
		Recipient: func(_ context.Context, row store.Mail) (Recipient, error) {
			to := Recipient{Address: row.Address}
			if _, ok := LinkOf(row.Kind); ok {
				to.Token = "TOKEN"
			}
			return to, nil
		},
		From:   netmail.Address{Name: "Durward", Address: "no-reply@auth.example.com"},
		Name:   "auth.example.com",
		Folder: filepath.Join(t.TempDir(), "mail"),
		Log:    w.logs.Logger(),
	}
	if change != nil {
		change(&c)
	}
	if w.Manager, err = New(c); err != nil {
		t.Fatal(err)
	}
	w.SetPublicURL("https://auth.example.com")
	return w
}

// add adds a mail to the outbox.
func (w *env) add(kind, address string) {
	w.t.Helper()
	err := w.db.AddMail(w.t.Context(), store.Mail{
		ID: store.NewID(), Kind: kind, Address: address, Device: "Firefox on Linux", Network: "192.0.2.0/24", CreatedAt: w.clock.Now(),
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// deliver makes one attempt and checks how many mails were sent and how many wait then.
func (w *env) deliver(sent int, waiting int64) {
	w.t.Helper()
	got, err := w.Deliver(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	n, _, err := w.db.MailsWaiting(w.t.Context())
	if err != nil || got != sent || n != waiting {
		w.t.Fatalf("%d sent and %d waiting (%v), want %d and %d\n%s", got, n, err, sent, waiting, w.logs)
	}
}

// fake is a transport with results that the test chooses.
type fake struct {
	mu   sync.Mutex
	errs map[string]error // by address
	sent []*gomail.Msg
}

func (f *fake) send(_ context.Context, messages []*gomail.Msg) (errs []error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range messages {
		err := f.errs[m.GetTo()[0].Address]
		if err == nil {
			f.sent = append(f.sent, m)
		}
		errs = append(errs, err)
	}
	return errs
}

// A failed attempt is repeated after growing pauses, for three days; a refused mail is not repeated.
func TestRetry(t *testing.T) {
	t.Parallel()
	w := newEnv(t, testkit.SQLite(t), nil)
	away := errors.New("connection refused")
	f := &fake{errs: map[string]error{"ada@example.com": away, "bob@example.com": refused(errors.New("550 no such user"))}}
	w.transport = f
	for _, address := range []string{"ada@example.com", "bob@example.com", "eve@example.com"} {
		w.add("new_place", address)
	}
	w.deliver(1, 1)
	if err := w.Err(); err != nil {
		t.Errorf("Err after a mail was sent: got %v", err)
	}
	began := w.clock.Now()
	for _, pause := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 15 * time.Minute, 15 * time.Minute} {
		w.clock.Advance(pause - time.Second)
		w.deliver(0, 1)
		if rows, err := w.db.ClaimMails(t.Context(), 1, 0); err != nil || len(rows) != 0 {
			t.Fatalf("%s: due a second early: %v %v", pause, rows, err)
		}
		w.clock.Advance(time.Second)
		w.deliver(0, 1)
	}
	if err := w.Err(); !errors.Is(err, away) {
		t.Errorf("Err: got %v, want %v", err, away)
	}
	for w.clock.Now().Sub(began) < keptTrying {
		w.clock.Advance(lastPause)
		if _, err := w.Deliver(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w.deliver(0, 0)
	events, err := w.db.Events(t.Context(), store.EventFilter{Kind: store.EventMailFailed})
	if err != nil || len(events) != 2 || events[0].Detail != "new_place" {
		t.Errorf("events: %v %v, want one for each mail that was given up", events, err)
	}
	// The server returns.
	w.add("new_place", "ada@example.com")
	w.deliver(0, 1)
	delete(f.errs, "ada@example.com")
	w.clock.Advance(firstPause)
	w.deliver(1, 0)
	if err := w.Err(); err != nil || len(f.sent) != 2 {
		t.Errorf("Err: got %v after %d mails, want none after 2", err, len(f.sent))
	}
	if logs := w.logs.String(); strings.Count(logs, "cannot send mail; retrying") != 1 || strings.Count(logs, "can send mail again") != 1 || strings.Contains(logs, "@example.com") {
		t.Errorf("logs:\n%s\nwant one failure, one return, and no addresses", logs)
	}
}

// Several nodes send each mail once. A node that is killed with a claimed mail loses none: another one
// sends it after the lease.
func TestLease(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		database := engine(t)
		a := newEnv(t, database, nil)
		f := new(fake)
		a.transport = f
		const mails = 60
		for i := range mails {
			a.add("new_place", fmt.Sprintf("u%d@example.com", i))
		}
		killed, err := a.db.ClaimMails(t.Context(), 3, lease)
		if err != nil || len(killed) != 3 {
			t.Fatal(killed, err)
		}
		nodes := []*env{a}
		if strings.HasPrefix(database, "postgres") {
			b := newEnv(t, database, nil)
			b.transport, b.clock = f, a.clock
			nodes = append(nodes, b)
		}
		var all sync.WaitGroup
		for _, node := range nodes {
			for range 4 {
				all.Go(func() {
					for sent := 1; sent > 0; {
						var err error
						if sent, err = node.Deliver(context.Background()); err != nil {
							t.Error(err)
						}
					}
				})
			}
		}
		all.Wait()
		check := func(want int) {
			t.Helper()
			to := make(map[string]int)
			for _, m := range f.sent {
				to[m.GetTo()[0].Address]++
			}
			if len(f.sent) != want || len(to) != want {
				t.Fatalf("%d mails to %d addresses, want %d to as many", len(f.sent), len(to), want)
			}
		}
		check(mails - 3)
		a.clock.Advance(lease - time.Second)
		a.deliver(0, 3)
		a.clock.Advance(time.Second)
		a.deliver(3, 0)
		check(mails)
		// The killed node was only slow: its late report changes nothing.
		a.add("new_place", "late@example.com")
		late, err := a.db.ClaimMails(t.Context(), 1, lease)
		if err != nil || len(late) != 1 {
			t.Fatal(late, err)
		}
		a.clock.Advance(lease)
		if again, err := a.db.ClaimMails(t.Context(), 1, lease); err != nil || len(again) != 1 {
			t.Fatal(again, err)
		}
		if err := errors.Join(a.db.DropMail(t.Context(), late[0], store.Event{}), a.db.PostponeMail(t.Context(), late[0], a.clock.Now())); err != nil {
			t.Fatal(err)
		}
		a.deliver(0, 1)
	})
}

// Every kind has texts in every language, with the same placeholders.
func TestTexts(t *testing.T) {
	t.Parallel()
	all, err := texts()
	if err != nil {
		t.Fatal(err)
	}
	english := all[request.Languages[0]]
	placeholders := func(s string) string {
		found := regexp.MustCompile(`\{[a-z]*\}`).FindAllString(s, -1)
		slices.Sort(found)
		return strings.Join(found, " ")
	}
	for _, name := range request.Languages {
		l := all[name]
		if got, want := slices.Sorted(maps.Keys(l.Kinds)), slices.Sorted(maps.Keys(english.Kinds)); !slices.Equal(got, want) {
			t.Errorf("%s: kinds %q, want %q", name, got, want)
		}
		for _, field := range [][2]string{{l.Date, english.Date}, {l.Minutes, english.Minutes}, {l.Days, english.Days}, {l.Origin, english.Origin}, {l.Footer, english.Footer}} {
			if field[0] == "" || placeholders(field[0]) != placeholders(field[1]) {
				t.Errorf("%s: %q has other placeholders than %q", name, field[0], field[1])
			}
		}
		if len(l.Months) != 12 || l.On == "" || l.UnknownDevice == "" || l.UnknownNetwork == "" {
			t.Errorf("%s: texts are missing: %+v", name, l)
		}
		for kind, text := range l.Kinds {
			other := english.Kinds[kind]
			if text.Subject == "" || text.Advice == "" || len(text.Text) == 0 ||
				placeholders(text.Subject) != placeholders(other.Subject) || placeholders(strings.Join(text.Text, "")) != placeholders(strings.Join(other.Text, "")) {
				t.Errorf("%s: %s has other placeholders than in English: %+v", name, kind, text)
			}
			if _, link := LinkOf(kind); link != strings.Contains(strings.Join(text.Text, ""), "{life}") {
				t.Errorf("%s: %s: the text names a life of a link: %v, want %v", name, kind, !link, link)
			}
		}
	}
	for kind := range links {
		if _, ok := english.Kinds[kind]; !ok {
			t.Errorf("%s has a link and no text", kind)
		}
	}
}

// notified finds the kinds of notifications in the source of package store and of its callers.
var notified = regexp.MustCompile(`notify\([^,]+, "([a-z_]+)"|EndSession\(.*, "([a-z_]+)"\)|endSessionAfter\(.*"([a-z_]+)"\)|m\.end\(.*"([a-z_]+)"\)`)

// Every notification has a text.
func TestEveryNotificationHasText(t *testing.T) {
	t.Parallel()
	all, err := texts()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, pattern := range []string{"../store/*.go", "../session/*.go", "../account/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, match := range notified.FindAllStringSubmatch(string(source), -1) {
				found++
				if kind := strings.Join(match[1:], ""); len(all["en"].Kinds[kind].Text) == 0 {
					t.Errorf("%s: there is no text for the notification %q", file, kind)
				}
			}
		}
	}
	if found < 6 {
		t.Errorf("found %d kinds of notifications, want 6 or more: the test does not read the source", found)
	}
}

// parts returns the fields and the text and HTML parts of a message.
func parts(t *testing.T, raw []byte) (fields netmail.Header, text, html string) {
	t.Helper()
	msg, err := netmail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatalf("%v\n%s", err, raw)
	}
	kind, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		t.Fatalf("%s (%v), want multipart/alternative", kind, err)
	}
	var found []string
	for r := multipart.NewReader(msg.Body, params["boundary"]); ; {
		p, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if encoding := p.Header.Get("Content-Transfer-Encoding"); !strings.EqualFold(encoding, "quoted-printable") {
			t.Fatalf("encoding %s", encoding)
		}
		body, err := io.ReadAll(quotedprintable.NewReader(p))
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, p.Header.Get("Content-Type"), strings.ReplaceAll(string(body), "\r\n", "\n"))
	}
	if len(found) != 4 || !strings.HasPrefix(found[0], "text/plain; charset=UTF-8") || !strings.HasPrefix(found[2], "text/html; charset=UTF-8") {
		t.Fatalf("parts: %q", found)
	}
	return msg.Header, found[1], found[3]
}

// Every mail of every kind and language has the fields of an automatic message, both forms of the text,
// and its link on a line of its own.
func TestMessage(t *testing.T) {
	t.Parallel()
	w := newEnv(t, testkit.SQLite(t), nil)
	all, err := texts()
	if err != nil {
		t.Fatal(err)
	}
	for name, l := range all {
		for kind := range l.Kinds {
			row := store.Mail{ID: store.NewID(), Kind: kind, Device: "unknown device on Linux", Network: "192.0.2.0/24", CreatedAt: w.clock.Now()}
			to := Recipient{Address: "ada@example.com", Language: name}
			link, hasLink := LinkOf(kind)
			if hasLink {
				to.Token = "TOKEN_-"
			}
			msg, err := w.message(row, to)
			if err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			if _, err := msg.WriteTo(&b); err != nil {
				t.Fatal(err)
			}
			fields, text, html := parts(t, b.Bytes())
			for field, want := range map[string]string{
				"From": `"Durward" <no-reply@auth.example.com>`, "To": "<ada@example.com>", "Message-Id": "<" + row.ID + "@auth.example.com>",
				"Auto-Submitted": "auto-generated", "List-Id": "<accounts.durward.auth.example.com>", "Date": "Thu, 05 Mar 2026 07:08:09 +0000",
				"Mime-Version": "1.0", "User-Agent": "", "X-Mailer": "",
			} {
				if got := fields.Get(field); got != want {
					t.Errorf("%s %s: %s: got %q, want %q", name, kind, field, got, want)
				}
			}
			subject, err := new(mime.WordDecoder).DecodeHeader(fields.Get("Subject"))
			if err != nil || !strings.Contains(subject, "auth.example.com") {
				t.Errorf("%s %s: subject %q %v", name, kind, subject, err)
			}
			url := "https://auth.example.com" + link.Path + "#t=TOKEN_-"
			if hasLink != strings.Contains(text, "\n\n"+url+"\n\n") || hasLink != strings.Contains(html, `<a href="`+url+`">`+url+`</a>`) {
				t.Errorf("%s %s: the link is on a line of its own: want %v:\n%s\n%s", name, kind, hasLink, text, html)
			}
			for _, bad := range []string{"{", "}", "<img", "<script", "http://"} {
				if strings.Contains(text, bad) || strings.Contains(strings.ReplaceAll(html, "{", ""), bad) && bad != "{" && bad != "}" {
					t.Errorf("%s %s: contains %q:\n%s\n%s", name, kind, bad, text, html)
				}
			}
			date, device := "5 March 2026, 07:08 UTC", "unknown device on Linux"
			if name == "de" {
				date, device = "5. März 2026, 07:08 UTC", "unbekanntes Gerät unter Linux"
			}
			for _, want := range []string{date, device, "192.0.2.0/24"} {
				if !strings.Contains(text, want) || !strings.Contains(html, want) {
					t.Errorf("%s %s: %q is missing:\n%s\n%s", name, kind, want, text, html)
				}
			}
			if b.Len() > 20<<10 {
				t.Errorf("%s %s: %d octets, want 20 kB or less", name, kind, b.Len())
			}
		}
	}
	if _, err := w.message(store.Mail{Kind: "no such kind"}, Recipient{Address: "ada@example.com"}); !errors.Is(err, ErrRefused) {
		t.Errorf("unknown kind: got %v, want %v", err, ErrRefused)
	}
}

// The language is that of the user, else that of the request, else that of the configuration.
func TestLanguage(t *testing.T) {
	t.Parallel()
	w := newEnv(t, testkit.SQLite(t), func(c *Config) { c.Language = "de" })
	for _, c := range []struct{ user, asked, want string }{
		{"en", "de", "Dear"}, {"", "en", "Dear"}, {"", "", "Lieb"}, {"fr", "en", "Dear"}, {"de", "en", "Lieb"},
	} {
		l, err := w.letter(store.Mail{Kind: "new_place", Language: c.asked}, Recipient{Language: c.user})
		german := strings.Contains(l.Footer, "automatische")
		if err != nil || german != (c.want == "Lieb") {
			t.Errorf("user %q, request %q: got %q %v", c.user, c.asked, l.Footer, err)
		}
	}
}

// No text in an address or in the configuration adds a field to a message.
func TestHeaderInjection(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"ada@example.com\r\nBcc: eve@example.com", "ada@example.com\nBcc: eve@example.com", "a\r\n\r\nbody", "ada@example.com>\r\nRCPT TO:<eve@example.com"} {
		w := newEnv(t, testkit.SQLite(t), func(c *Config) { c.Name, c.From.Name = bad, bad })
		msg, err := w.message(store.Mail{ID: "1", Kind: "new_place", Device: bad, Network: bad}, Recipient{Address: bad})
		if err != nil {
			continue
		}
		var b bytes.Buffer
		if _, err := msg.WriteTo(&b); err != nil {
			continue
		}
		head, _, _ := strings.Cut(b.String(), "\r\n\r\n")
		for line := range strings.SplitSeq(head, "\r\n") {
			if field, _, ok := strings.Cut(line, ":"); ok && (strings.EqualFold(field, "bcc") || strings.HasPrefix(line, "RCPT")) {
				t.Errorf("%q adds the field %q", bad, line)
			}
		}
	}
}

// A mail in the folder is a file that only the owner reads. The oldest are deleted beyond a thousand.
func TestFolder(t *testing.T) {
	t.Parallel()
	w := newEnv(t, testkit.SQLite(t), nil)
	w.add(store.MailResetPassword, "ada@example.com")
	w.deliver(1, 0)
	list := func() []string {
		names, err := filepath.Glob(filepath.Join(w.c.Folder, "*"))
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	names := list()
	if len(names) != 1 || !strings.HasSuffix(names[0], ".eml") {
		t.Fatalf("files: %q, want one", names)
	}
	for path, want := range map[string]os.FileMode{names[0]: 0o600, w.c.Folder: 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v %v, want mode %o", path, info.Mode(), err, want)
		}
	}
	raw, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	if fields, text, _ := parts(t, raw); fields.Get("To") != "<ada@example.com>" || !strings.Contains(text, "/reset#t=TOKEN\n") {
		t.Errorf("%s", raw)
	}
	for i := range maxFiles {
		if err := os.WriteFile(filepath.Join(w.c.Folder, fmt.Sprintf("00%04d.eml", i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.add("new_place", "ada@example.com")
	w.deliver(1, 0)
	if names = list(); len(names) != maxFiles || filepath.Base(names[0]) != "000002.eml" {
		t.Errorf("%d files, the first is %s; want %d without the oldest two", len(names), names[0], maxFiles)
	}
	// Without the folder nothing is lost.
	if err := os.RemoveAll(w.c.Folder); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.c.Folder, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.add("new_place", "ada@example.com")
	w.deliver(0, 1)
}

func TestCheckURL(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"smtp://mail.example.com":                             "",
		"smtp://ada:marked@mail.example.com":                  "",
		"smtps://ada%40example.com:m%2Fed@mail.example.com:1": "",
		"smtp+plain://localhost":                              "",
		"smtp+plain://127.0.0.1:2525":                         "",
		"smtp+plain://[::1]:2525/":                            "",
		"smtp+plain://mail.example.com":                       "without TLS to another machine",
		"smtp+plain://ada:marked@localhost":                   "never sent without TLS",
		"http://marked.example.com":                           "another scheme",
		"mail.example.com:25":                                 "another scheme",
		"marked":                                              "another scheme",
		"smtp://":                                             "not a valid address",
		"smtp://ada@mail.example.com":                         "without a password",
		"smtp://:marked@mail.example.com":                     "without a password",
		"smtp://mail.example.com/marked":                      "not a valid address",
		"smtp://mail.example.com?tls=marked":                  "not a valid address",
		"smtp://mail.example.com:0":                           "invalid port",
		"smtp://mail.example.com:99999":                       "invalid port",
		"smtp://ada:ma%zzrked@mail.example.com":               "not a valid address",
	} {
		err := CheckURL(seal.Secret(url))
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "marked")) {
			t.Errorf("%s: got %v, want %q", url, err, want)
		}
	}
}

// A real SMTP server with STARTTLS and a password gets each mail once, also after it was away for an hour.
func TestSMTP(t *testing.T) {
	t.Parallel()
	p := services.NewPostfix(t)
	w := newEnv(t, testkit.SQLite(t), func(c *Config) { c.SMTP, c.CAFile = seal.Secret(p.URL()), p.CAFile() })
	w.add(store.MailResetPassword, "ada@example.com")
	w.deliver(1, 0)
	p.Kill(t)
	total := 1
	add := func(address string) {
		w.add("new_place", address)
		total++
	}
	add("m\u00e4rz@example.com") // needs SMTPUTF8
	for minute := range int64(60) {
		if minute%10 == 0 {
			add(fmt.Sprintf("minute%d@example.com", minute))
		}
		w.deliver(0, 2+minute/10)
		w.clock.Advance(time.Minute)
	}
	if w.Err() == nil {
		t.Error("Err: got none while the server is away")
	}
	p.Start(t)
	w.add("new_place", "refused@example.com")
	for waiting := int64(1); waiting > 0; {
		if w.clock.Now().Sub(time.Date(2026, 3, 5, 8, 24, 0, 0, time.UTC)) > 0 {
			t.Fatalf("%d mails wait 15 minutes after the server returned\n%s", waiting, w.logs)
		}
		w.clock.Advance(time.Minute)
		_, err := w.Deliver(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if waiting, _, err = w.db.MailsWaiting(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Err(); err != nil {
		t.Errorf("Err: got %v after the server returned", err)
	}
	mails, ids := p.Mails(t), make(map[string]bool)
	for _, raw := range mails {
		fields, text, _ := parts(t, []byte(raw))
		ids[fields.Get("Message-Id")] = true
		if !strings.Contains(fields.Get("Received"), "with ") || !strings.Contains(raw, "UTF8SMTPSA") && !strings.Contains(raw, "ESMTPSA") || !strings.Contains(text, "auth.example.com") {
			t.Errorf("not sent with TLS and a password: %s", raw)
		}
	}
	if len(mails) != total || len(ids) != total {
		t.Errorf("%d mails with %d Message-IDs arrived, want %d", len(mails), len(ids), total)
	}
	if events, err := w.db.Events(t.Context(), store.EventFilter{Kind: store.EventMailFailed}); err != nil || len(events) != 1 {
		t.Errorf("events: %v %v, want one for the refused address", events, err)
	}
	if logs := w.logs.String(); strings.Contains(logs, "refused@") || !strings.Contains(logs, `5.1.1 <ADDRESS>`) {
		t.Errorf("logs:\n%s\nwant the answer of the server, without the address", logs)
	}
}

// A mail is not sent to a server that has no TLS, another certificate or another password, and is kept.
func TestSMTPRefuses(t *testing.T) {
	t.Parallel()
	p := services.NewPostfix(t)
	for name, c := range map[string]struct{ url, ca string }{
		"authorities of the system": {p.URL(), ""},
		"wrong password":            {strings.Replace(p.URL(), "plenty", "marked", 1), p.CAFile()},
		"no password":               {"smtp://" + p.Addr(), p.CAFile()},
		"no TLS":                    {"smtp+plain://" + p.Addr(), ""},
		"TLS at once":               {strings.Replace(p.URL(), "smtp:", "smtps:", 1), p.CAFile()},
	} {
		w := newEnv(t, testkit.SQLite(t), func(config *Config) { config.SMTP, config.CAFile = seal.Secret(c.url), c.ca })
		w.add("new_place", "ada@example.com")
		w.deliver(0, 1)
		if w.Err() == nil || strings.Contains(w.logs.String(), "marked") {
			t.Errorf("%s: got %v, want an error without the password\n%s", name, w.Err(), w.logs)
		}
	}
	if got := p.Mails(t); len(got) != 0 {
		t.Errorf("mails arrived: %s", got)
	}
}

// A server that does not offer STARTTLS gets neither a mail nor the password.
func TestNoSTARTTLS(t *testing.T) {
	t.Parallel()
	for _, credentials := range []string{"", "ada:marked@"} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		heard := make(chan string, 1)
		go func() {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			fmt.Fprint(conn, "220 mx.example.com ESMTP\r\n")
			var all strings.Builder
			for lines := bufio.NewScanner(conn); lines.Scan(); {
				all.WriteString(lines.Text() + "\n")
				if strings.HasPrefix(lines.Text(), "EHLO") {
					fmt.Fprint(conn, "250-mx.example.com\r\n250 AUTH PLAIN LOGIN\r\n")
					continue
				}
				fmt.Fprint(conn, "250 ok\r\n")
			}
			heard <- all.String()
		}()
		w := newEnv(t, testkit.SQLite(t), func(c *Config) { c.SMTP = seal.Secret("smtp://" + credentials + listener.Addr().String()) })
		w.add("new_place", "ada@example.com")
		w.deliver(0, 1)
		if w.Err() == nil {
			t.Error("Err: got none")
		}
		runtime.GC() // closes the connection
		select {
		case got := <-heard:
			if strings.Contains(got, "AUTH") || strings.Contains(got, "MAIL") {
				t.Errorf("the server heard %q", got)
			}
		case <-time.After(20 * time.Second):
			t.Error("the connection stays open")
		}
	}
}
