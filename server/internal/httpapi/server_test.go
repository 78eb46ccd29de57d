package httpapi

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	netmail "net/mail"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/internal/pwhash"
	"github.com/durward-auth/durward/internal/revoked"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/issuer"
	"github.com/durward-auth/durward/server/internal/limits"
	"github.com/durward-auth/durward/server/internal/mail"
	"github.com/durward-auth/durward/server/internal/oauth"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/revocation"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/securitylog"
	"github.com/durward-auth/durward/server/internal/session"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/testkit"
)

const (
	adaEmail    = "ada@example.com"
	adaPassword = "correct horse battery staple"
)

// testPrefix is the path of the public URL of these tests' servers, "" or such as "/auth".
var testPrefix = os.Getenv("DURWARD_TEST_PREFIX")

// Names of the cookies of these tests' servers.
var (
	sessionCookie = cookieNamesOf(testPrefix).Session
	deviceCookie  = cookieNamesOf(testPrefix).Device
)

// env is a whole server with a database file and a listener, and one user.
type env struct {
	t           *testing.T
	clock       *testkit.Clock
	dir         string
	url         string
	db          *store.DB
	people      *account.Manager
	issuer      *issuer.Issuer
	sessions    *session.Manager
	oauth       *oauth.Manager
	hasher      *pwhash.Hasher
	server      *Server
	list        *revoked.List
	client      *http.Client
	ada         store.User
	logs        *testkit.Log
	securityLog *securitylog.Writer
	polls       *atomic.Int64 // of the feed of revocations
	mail        *mail.Manager
}

// settings configure an env.
type settings struct {
	local        func() time.Time // the time that passes, as of store.Config; nil: w.clock
	dir          string
	registration bool   // open
	mode         string // of registration, in place of it
	verifyEmail  bool
	basic        bool
	dpop         bool
	origins      []string
	grace        time.Duration
	adminFactor  bool // administrators need a second factor for administration
	badKeys      int  // a minute and network; 0 is no limit
	badPasskeys  int  // a minute and network; 0 is no limit
	badClients   int  // a minute and network; 0 is no limit
	publicURL    string
	resources    []oauth.Resource
	mails        account.MailLimits
	tweak        func(*issuer.Config, *session.Config)
}

func newEnv(t *testing.T, set settings) *env {
	t.Helper()
	if set.registration {
		set.mode = "open"
	}
	if set.dir == "" {
		set.dir = t.TempDir()
	}
	w := &env{t: t, clock: testkit.NewClock(time.Now().UTC().Truncate(time.Second)), dir: set.dir, logs: new(testkit.Log), polls: new(atomic.Int64)}
	ctx, cancel := context.WithCancel(context.Background())
	log := w.logs.Logger()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	w.db, err = store.Open(ctx, store.Config{URL: "sqlite:" + filepath.Join(set.dir, "durward.db"), Now: w.clock.Now, Local: set.local, Log: log})
	must(err)
	master, err := seal.Open(filepath.Join(set.dir, "master.key"), true)
	must(err)
	w.hasher, err = pwhash.New(pwhash.Config{Memory: 64, Time: 1, Waiting: 1000})
	must(err)
	limiter, err := limits.New(limits.Config{Now: w.clock.Now})
	must(err)
	w.list = revoked.NewList(w.clock.Now)
	config := issuer.Config{URL: "http://127.0.0.1:8401", DB: w.db, Master: master, Revoked: w.list, Now: w.clock.Now, Log: log}
	config.RevokedAsOf = w.clock.Now // it leaps, and the follower polls by another
	held := session.Config{DB: w.db, Revoked: w.list, RefreshGrace: set.grace, Now: w.clock.Now, Log: log}
	if set.tweak != nil {
		set.tweak(&config, &held)
	}
	w.issuer, err = issuer.New(ctx, config)
	must(err)
	w.securityLog, err = securitylog.New(securitylog.Config{DB: w.db, Master: master, Log: log, Now: w.clock.Now})
	must(err)
	var badKeys *limits.Rate
	if set.badKeys > 0 {
		badKeys = limits.NewRate(limits.RateConfig{Name: "keys", Most: set.badKeys, Now: w.clock.Now})
	}
	var badPasskeys *limits.Rate
	if set.badPasskeys > 0 {
		badPasskeys = limits.NewRate(limits.RateConfig{Name: "passkeys", Most: set.badPasskeys, Now: w.clock.Now})
	}
	w.people, err = account.New(account.Config{
		DB:          w.db,
		Master:      master,
		Hasher:      w.hasher,
		Limits:      limiter,
		SecurityLog: w.securityLog,
		BadKeys:     badKeys,
		BadPasskeys: badPasskeys,
		Mails:       set.mails,
		VerifyEmail: set.verifyEmail,
		Now:         w.clock.Now,
		Log:         log,
	})
	must(err)
	w.mail, err = mail.New(mail.Config{
		DB: w.db, Recipient: w.people.Recipient, From: netmail.Address{Address: "no-reply@auth.example.com"}, Name: "auth.example.com",
		Folder: filepath.Join(set.dir, "mail"), Log: log,
	})
	must(err)
	w.mail.SetPublicURL("https://auth.example.com")
	held.Accounts, held.Issuer = w.people, w.issuer
	w.sessions, err = session.New(held)
	must(err)
	must(w.sessions.Start(ctx))
	var badClients *limits.Rate
	if set.badClients > 0 {
		badClients = limits.NewRate(limits.RateConfig{Name: "clients", Most: set.badClients, Now: w.clock.Now})
	}
	w.oauth, err = oauth.New(oauth.Config{DB: w.db, Accounts: w.people, Issuer: w.issuer, Sessions: w.sessions, Now: w.clock.Now, Log: log, UserInfo: cmp.Or(set.publicURL, "http://127.0.0.1:8401") + testPrefix + "/oauth/userinfo", Resources: set.resources, BadClients: badClients})
	must(err)
	feed := revocation.NewFeed(w.db, w.clock.Now)
	poll := func(ctx context.Context, after int64, overlap time.Duration, take func([]revoked.Entry)) (string, error) {
		defer w.polls.Add(1)
		return feed.Poll(ctx, after, overlap, take)
	}
	follower, err := revoked.NewFollower(revoked.FollowerConfig{List: w.list, Poll: poll, Interval: 50 * time.Millisecond, Now: w.clock.Now, Local: set.local, Log: log})
	must(err)
	must(follower.Load(ctx))
	w.server, err = New(Config{
		Parts: Parts{
			DB:          w.db,
			Accounts:    w.people,
			Issuer:      w.issuer,
			Sessions:    w.sessions,
			OAuth:       w.oauth,
			Revocations: follower,
			Feed:        feed,
			SecurityLog: w.securityLog,
			Mail:        w.mail.Err,
			Now:         w.clock.Now,
			Log:         log,
		},
		Settings: Settings{
			PublicURL:          cmp.Or(set.publicURL, "http://127.0.0.1:8401") + testPrefix,
			Registration:       set.mode,
			AdminWithoutFactor: !set.adminFactor,
			Basic:              set.basic,
			DPoP:               set.dpop,
			Origins:            set.origins,
		},
	})
	must(err)
	var background sync.WaitGroup
	for _, run := range []func(context.Context){follower.Run, w.securityLog.Run, w.people.Run, w.issuer.Run, w.sessions.Run} {
		background.Go(func() { run(ctx) })
	}
	w.ada, err = w.people.ByEmail(ctx, adaEmail)
	if err != nil {
		w.ada, err = w.people.Add(ctx, account.NewUser{Email: adaEmail, Name: "Ada", Password: adaPassword}, store.EventUserAdded, request.Info{Actor: "operator"})
		must(err)
	}
	listener := httptest.NewServer(w.server)
	w.url = listener.URL + testPrefix
	w.client = &http.Client{Transport: validated(t, http.DefaultTransport.(*http.Transport).Clone()), Timeout: 30 * time.Second}
	t.Cleanup(func() {
		listener.Close()
		cancel()
		background.Wait()
		if err := w.db.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// address returns the address of the listener.
func (w *env) address() string {
	return strings.TrimPrefix(strings.TrimSuffix(w.url, testPrefix), "http://")
}

// in returns w for another test.
func (w *env) in(t *testing.T) *env {
	inner := *w
	inner.t = t
	return &inner
}

// reply is a response with its body.
type reply struct {
	*http.Response
	body []byte
}

// do sends a request with an optional JSON body and an optional access token.
func (w *env) do(method, path, token string, body any) reply {
	w.t.Helper()
	var reader io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			w.t.Fatal(err)
		}
		reader = bytes.NewReader(data)
	}
	r, err := http.NewRequest(method, w.url+path, reader)
	if err != nil {
		w.t.Fatal(err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return w.send(r)
}

func (w *env) send(r *http.Request) reply {
	w.t.Helper()
	if r.UserAgent() == "" {
		r.Header.Set("User-Agent", "curl/7.88.1")
	}
	res, err := w.client.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return reply{res, data}
}

type object = map[string]any

// tokens reads a token response, and fails the test for any other.
func (w *env) tokens(r reply) api.TokenResponse {
	w.t.Helper()
	var t api.TokenResponse
	if r.StatusCode != 200 || json.Unmarshal(r.body, &t) != nil || t.AccessToken == "" || t.RefreshToken == "" {
		w.t.Fatalf("not a token response: %s\n%s", r.Status, r.body)
	}
	return t
}

// refused reads a refusal and checks the fields that every refusal has.
func (w *env) refused(r reply, status int, code string) object {
	w.t.Helper()
	var p object
	if err := json.Unmarshal(r.body, &p); err != nil || r.StatusCode != status || p["code"] != code {
		w.t.Fatalf("got %s %s\nwant %d %s", r.Status, r.body, status, code)
	}
	if (status == 401) != (r.Header.Get("WWW-Authenticate") != "") && code != "INSUFFICIENT_SCOPE" && code != "AMBIGUOUS_CREDENTIALS" {
		w.t.Fatalf("%s: WWW-Authenticate is %q", code, r.Header.Values("WWW-Authenticate"))
	}
	if r.Header.Get("Durward-Denial") == "" || r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("Content-Type") != "application/problem+json" {
		w.t.Fatalf("%s: fields of a refusal are missing: %v", code, r.Header)
	}
	return p
}

func (w *env) signIn() api.TokenResponse {
	w.t.Helper()
	return w.tokens(w.do("POST", "/api/auth/login", "", object{"email": adaEmail, "password": adaPassword}))
}

func (w *env) refreshWith(token string) reply {
	w.t.Helper()
	return w.do("POST", "/api/auth/refresh", "", object{"refresh_token": token})
}

// works requires that an access token is accepted, dead that it is refused.
func (w *env) works(token string) {
	w.t.Helper()
	if r := w.do("GET", "/api/profile", token, nil); r.StatusCode != 200 {
		w.t.Fatalf("access token: got %s %s, want 200", r.Status, r.body)
	}
}

func (w *env) dead(token, code string) {
	w.t.Helper()
	r := w.do("GET", "/api/profile", token, nil)
	w.refused(r, 401, code)
	if got := r.Header.Get("WWW-Authenticate"); !strings.Contains(got, `error="invalid_token"`) {
		w.t.Fatalf("challenge for a refused token: %s", got)
	}
}

// eventually waits for another goroutine. It asks without a pause and gives up after 20 s.
func (w *env) eventually(what string, ok func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			w.t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func (w *env) events(kind string) []store.Event {
	w.t.Helper()
	events, err := w.db.Events(context.Background(), store.EventFilter{Kind: kind, Limit: 100})
	if err != nil {
		w.t.Fatal(err)
	}
	return events
}

func randomPassword() string { return fmt.Sprintf("wrong %s", rand.Text()) }
