package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"html"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/config"
	"github.com/durward-auth/durward/server/internal/httpapi"
	"github.com/durward-auth/durward/server/internal/node"
	"github.com/durward-auth/durward/server/internal/otp"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/testkit"
)

const (
	origin   = "https://auth.example.com"
	password = "correct horse battery staple" // of every user
	ada      = "ada@example.com"              // a user
	bea      = "bea@example.com"              // an administrator
)

// env is a whole server with a database file, a listener for https and a clock that only the test moves.
type env struct {
	t      *testing.T
	clock  *testkit.Clock
	dir    string // of the data, with the folder mail
	node   *node.Node
	server *httpapi.Server
	h      http.Handler // the server, with paths below its public URL
	logs   *testkit.Log
	target string // address of the listener
	tls    http.RoundTripper
}

// newEnv starts a server with the users ada and bea.
func newEnv(t *testing.T, change ...func(*config.Config)) *env {
	t.Helper()
	e := start(t, change...)
	e.addUser(ada, false)
	e.addUser(bea, true)
	return e
}

// start starts a server. Registration is open, and no limit of networks applies.
func start(t *testing.T, change ...func(*config.Config)) *env {
	t.Helper()
	e := &env{t: t, clock: testkit.NewClock(time.Now().UTC().Truncate(time.Second)), dir: t.TempDir(), logs: new(testkit.Log)}
	set := config.Default()
	set.DataDir = e.dir
	set.Database.URL, set.PublicURL = config.DatabaseURL("sqlite:"+filepath.Join(e.dir, "durward.db")), origin+testPrefix
	set.Registration = "open"
	set.Passwords.Argon2Memory, set.Passwords.Argon2Time = 64, 1
	set.Limits.NetworkFailures, set.Limits.RegistrationsNetwork, set.Limits.NetworkHashes = 0, 0, 0
	for _, f := range change {
		f(set)
	}
	master, err := seal.Open(filepath.Join(e.dir, "master.key"), true)
	e.must(err)
	ctx, stop := context.WithCancel(context.Background())
	e.node, err = node.Open(ctx, node.Config{Settings: set, Master: master, Log: e.logs.Logger(), Now: e.clock.Now})
	e.must(err)
	e.node.Demo = true
	s, err := e.node.Server(&config.Loaded{Config: set})
	e.must(err)
	wait, err := e.node.Run(ctx)
	e.must(err)
	e.server, e.h = s, s
	if set.PublicURL == origin+testPrefix {
		e.h = belowPrefix(t, s)
	}
	listener := httptest.NewTLSServer(e.h)
	e.target = listener.Listener.Addr().String()
	transport := listener.Client().Transport.(*http.Transport).Clone()
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, e.target)
	}
	transport.TLSClientConfig.ServerName = "example.com" // of the certificate
	e.tls = transport
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		s.Drain()
		listener.Close()
		stop()
		wait()
		if err := e.node.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func (e *env) must(err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
}

// addUser adds a user with the password of all users.
func (e *env) addUser(email string, admin bool) store.User {
	e.t.Helper()
	name, _, _ := strings.Cut(email, "@")
	u, err := e.node.Accounts.Add(context.Background(), account.NewUser{Email: email, Name: name, Password: password, Admin: admin}, store.EventUserAdded, request.Info{Actor: store.Operator})
	e.must(err)
	return u
}

// user returns a user as the database has it.
func (e *env) user(email string) store.User {
	e.t.Helper()
	u, err := e.node.Accounts.ByEmail(context.Background(), email)
	e.must(err)
	return u
}

// events returns the events of a kind in the security log, newest first.
func (e *env) events(kind string) []store.Event {
	e.t.Helper()
	found, err := e.node.DB.Events(context.Background(), store.EventFilter{Kind: kind, Limit: 100})
	e.must(err)
	return found
}

// eventually waits up to 20 s for another goroutine.
func (e *env) eventually(what string, ok func() bool) {
	e.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			e.t.Fatalf("not within 20 s: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// code returns the code of an authenticator app at the time of the clock. Each code is good once: nextCode
// moves the clock first.
func (e *env) code(seed string) string {
	e.t.Helper()
	code, err := otp.AppCode(seed, e.clock.Now())
	e.must(err)
	return code
}

func (e *env) nextCode(seed string) string {
	e.t.Helper()
	e.clock.Advance(30 * time.Second)
	return e.code(seed)
}

// browser is a browser with cookies of its own. It sends the fields that a browser sends with a navigation,
// and does not follow redirects.
type browser struct {
	e      *env
	client *http.Client
	Fields http.Header // replace the usual fields of each request; a field with no value is left out
}

func (e *env) browser() *browser {
	jar, _ := cookiejar.New(nil) // never fails
	return &browser{
		e: e,
		client: &http.Client{
			Transport:     e.tls,
			Jar:           jar,
			Timeout:       time.Minute,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		Fields: http.Header{},
	}
}

// page is a response.
type page struct {
	*http.Response
	e    *env
	Body string
}

func (b *browser) send(method, path, contentType, body string) page {
	b.e.t.Helper()
	r, err := http.NewRequest(method, origin+path, strings.NewReader(body))
	b.e.must(err)
	r.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
	r.Header.Set("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
	r.Header.Set("Accept-Language", "en")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Dest", "document")
	if method != http.MethodGet && method != http.MethodHead {
		r.Header.Set("Origin", origin)
		r.Header.Set("Content-Type", contentType)
	}
	for name, values := range b.Fields {
		r.Header[name] = values
		if len(values) == 0 {
			delete(r.Header, name)
		}
	}
	res, err := b.client.Do(r)
	b.e.must(err)
	defer res.Body.Close()
	read, err := io.ReadAll(res.Body)
	b.e.must(err)
	return page{res, b.e, string(read)}
}

// get opens a page.
func (b *browser) get(path string) page {
	b.e.t.Helper()
	return b.send(http.MethodGet, path, "", "")
}

// post sends a form with pairs of names and values.
func (b *browser) post(path string, pairs ...string) page {
	b.e.t.Helper()
	fields := make([]string, 0, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		fields = append(fields, url.QueryEscape(pairs[i])+"="+url.QueryEscape(pairs[i+1]))
	}
	return b.send(http.MethodPost, path, "application/x-www-form-urlencoded", strings.Join(fields, "&"))
}

// upload sends a form with a file, and with pairs of names and values.
func (b *browser) upload(path, field, content string, pairs ...string) page {
	b.e.t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for i := 0; i+1 < len(pairs); i += 2 {
		b.e.must(w.WriteField(pairs[i], pairs[i+1]))
	}
	file, err := w.CreateFormFile(field, "users.csv")
	b.e.must(err)
	_, err = file.Write([]byte(content))
	b.e.must(err)
	b.e.must(w.Close())
	return b.send(http.MethodPost, path, w.FormDataContentType(), body.String())
}

// script sends JSON as a script of a page does, and reads the JSON of the response into out unless that is nil.
func (b *browser) script(path string, in, out any) page {
	b.e.t.Helper()
	body, err := json.Marshal(in)
	b.e.must(err)
	before := b.Fields.Clone()
	b.Fields.Set("Sec-Fetch-Mode", "cors")
	b.Fields.Set("Sec-Fetch-Dest", "empty")
	b.Fields.Set("Accept", "*/*")
	p := b.send(http.MethodPost, path, "application/json", string(body))
	b.Fields = before
	if out != nil {
		if err := json.NewDecoder(bytes.NewReader([]byte(p.Body))).Decode(out); err != nil {
			b.e.t.Fatalf("POST %s: %v: %s", path, err, p.Body)
		}
	}
	return p
}

// follow opens the page that p redirects to, and requires that it is one.
func (b *browser) follow(p page) page {
	b.e.t.Helper()
	return b.get(strings.TrimPrefix(p.location(), origin))
}

// signIn signs a user without a second factor in.
func (b *browser) signIn(email string) {
	b.e.t.Helper()
	b.post("/login", "email", email, "password", password).want(http.StatusSeeOther)
}

// enrol signs a user in and sets up an authenticator app. It returns the seed of the app; the code of this
// time is used.
func (b *browser) enrol(email string) (seed string) {
	b.e.t.Helper()
	b.signIn(email)
	var made struct{ Secret string }
	b.script("/api/auth/mfa/totp", struct{}{}, &made).want(http.StatusCreated)
	b.script("/api/auth/mfa/totp/confirm", map[string]string{"code": b.e.code(made.Secret)}, nil).want(http.StatusOK)
	return made.Secret
}

// addPasskey adds a passkey to the account of a signed-in user.
func (b *browser) addPasskey() *testkit.Authenticator {
	b.e.t.Helper()
	a := testkit.NewAuthenticator(b.e.t, "auth.example.com")
	var asked struct {
		PublicKey json.RawMessage `json:"public_key"`
	}
	b.script("/api/auth/passkeys/begin", struct{}{}, &asked).want(http.StatusOK)
	made := json.RawMessage(a.Create(b.e.t, asked.PublicKey))
	b.script("/api/auth/passkeys/finish", map[string]any{"credential": made, "name": "key"}, nil).want(http.StatusCreated)
	return a
}

// cookie returns the value of a cookie of the browser, or "".
func (b *browser) cookie(name string) string {
	to, _ := url.Parse(origin)
	for _, c := range b.client.Jar.Cookies(to) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

// want requires a status.
func (p page) want(status int) page {
	p.e.t.Helper()
	if p.StatusCode != status {
		p.e.t.Fatalf("%s %s: got %s, want %d\nLocation: %s\n%s", p.Request.Method, p.Request.URL, p.Status, status, p.Header.Get("Location"), p.Body)
	}
	return p
}

// shows requires that the page contains each text.
func (p page) shows(texts ...string) page {
	p.e.t.Helper()
	for _, text := range texts {
		if !strings.Contains(p.Body, text) && !strings.Contains(html.UnescapeString(p.Body), text) {
			p.e.t.Fatalf("%s %s (%s) does not show %q:\n%s", p.Request.Method, p.Request.URL, p.Status, text, p.Body)
		}
	}
	return p
}

// lacks requires that the page contains none of the texts.
func (p page) lacks(texts ...string) page {
	p.e.t.Helper()
	for _, text := range texts {
		if strings.Contains(p.Body, text) || strings.Contains(html.UnescapeString(p.Body), text) {
			p.e.t.Fatalf("%s %s (%s) shows %q:\n%s", p.Request.Method, p.Request.URL, p.Status, text, p.Body)
		}
	}
	return p
}

// location returns the Location of a redirect.
func (p page) location() string {
	p.e.t.Helper()
	p.want(http.StatusSeeOther)
	return p.Header.Get("Location")
}

// denialID finds the id of a denial in a page.
var denialID = regexp.MustCompile(`<code>([0-9A-HJKMNP-TV-Z]{26})</code>`)

// denial returns the id of the denial that the page shows.
func (p page) denial() string {
	p.e.t.Helper()
	found := denialID.FindStringSubmatch(p.Body)
	if found == nil {
		p.e.t.Fatalf("%s %s (%s) shows no id of a denial:\n%s", p.Request.Method, p.Request.URL, p.Status, p.Body)
	}
	return found[1]
}
