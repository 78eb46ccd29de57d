package node

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/revoked"
	"github.com/durward-auth/durward/internal/services"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/config"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/session"
	"github.com/durward-auth/durward/server/internal/store"
)

// TestMain limits rapid to some seconds, because each action waits for the disk. The variable
// MODEL_CHECKS overrides the number of runs.
func TestMain(m *testing.M) {
	checks := os.Getenv("MODEL_CHECKS")
	if checks == "" {
		checks = "12"
	}
	for name, value := range map[string]string{"rapid.checks": checks, "rapid.steps": "150", "rapid.nofailfile": "true"} {
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	flag.Parse()
	os.Exit(m.Run())
}

var ctx = context.Background()

// clock moves only when the test moves it. Local moves only while nodes run.
type clock struct{ at, local atomic.Int64 } // Unix microseconds

func (c *clock) Now() time.Time   { return time.UnixMicro(c.at.Load()).UTC() }
func (c *clock) Local() time.Time { return time.UnixMicro(c.local.Load()).UTC() }

// Origins of requests.
var (
	home         = request.Info{Addr: netip.MustParseAddr("192.0.2.7"), UserAgent: "curl/8.5.0"}
	otherNetwork = request.Info{Addr: netip.MustParseAddr("198.51.100.7"), UserAgent: "curl/8.5.0"}
	otherBrowser = request.Info{Addr: netip.MustParseAddr("192.0.2.8"), UserAgent: "Mozilla/5.0 Firefox/140.0"}
	elsewhere    = request.Info{Addr: netip.MustParseAddr("203.0.113.7"), UserAgent: "Mozilla/5.0 Firefox/140.0"}
	operator     = request.Info{Actor: store.Operator}
	origins      = []request.Info{home, home, home, otherNetwork, otherBrowser, elsewhere}
)

// peer is one of the nodes that share a database.
type peer struct {
	*Node
	e    *env
	name string
	keys map[string]bool // signing keys that the node has read

	fresh time.Time // of its last reading of the feed
}

// env holds real nodes over a real database, and the model of their behaviour.
type env struct {
	*rapid.T
	*model
	clock   *clock
	setBack bool // the clock was set back at some time
	config  Config
	peers   [3]*peer // Node is nil while it is down
	dropped []*Node
	raw     *sql.DB // direct access to the database
	proofs  []earlierProof
}

// earlierProof is a proof of an earlier sign-in.
type earlierProof struct {
	who     *modelUser
	changes int
	proof   account.Proof
}

func (e *env) must(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

// TestLife drives three nodes over one database through sign-ins, refreshes, replays, revocations,
// crashes and clock changes in random order. The model has to allow each outcome.
func TestLife(t *testing.T) {
	t.Parallel()
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		dir, n := t.TempDir(), 0
		rapid.Check(t, func(t *rapid.T) {
			n++
			path := filepath.Join(dir, strconv.Itoa(n)+".db")
			raw, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(60000)")
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			life(t, "sqlite:"+path, raw)
		})
	})
	t.Run("Postgres", func(t *testing.T) {
		t.Parallel()
		url := services.Database(t)
		raw, err := sql.Open("pgx", url)
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		rapid.Check(t, func(t *rapid.T) {
			empty(t, raw)
			life(t, url, raw)
		})
	})
}

// empty deletes all rows.
func empty(t *rapid.T, raw *sql.DB) {
	var tables sql.NullString
	err := raw.QueryRowContext(ctx, `SELECT string_agg(tablename, ', ') FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'goose_db_version'`).Scan(&tables)
	if err == nil && tables.Valid {
		_, err = raw.ExecContext(ctx, `TRUNCATE `+tables.String+` RESTART IDENTITY`)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// life is one run with an empty database.
func life(t *rapid.T, database string, raw *sql.DB) {
	master, err := seal.Parse(seal.Secret(strings.Repeat("0123456789abcdef", 4)))
	if err != nil {
		t.Fatal(err)
	}
	c := new(clock)
	c.at.Store(time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC).UnixMicro())
	e := &env{
		T: t, clock: c, raw: raw, model: &model{now: c.Now, running: c.Local, gone: make(map[string]time.Time), withdrawn: make(map[string]*modelRevocation)},
		config: Config{
			Settings: config.Default(),
			Master:   master,
			Now:      c.Now,
			Local:    c.Local,
		},
	}
	set := e.config.Settings
	set.Database.URL, set.Issuer = config.DatabaseURL(database), "https://auth.example.com"
	set.Passwords.Argon2Memory, set.Passwords.Argon2Time = 8, 1
	set.Limits.NetworkFailures, set.Limits.NetworkHashes = 0, 0
	defer func() {
		for _, n := range e.dropped {
			_ = n.Close()
		}
		for _, p := range e.peers {
			if p != nil && p.Node != nil {
				_ = p.Close()
			}
		}
	}()
	for i := range e.peers {
		e.peers[i] = &peer{e: e, name: string(rune('A' + i))}
	}
	e.start(e.peers[0])
	e.start(e.peers[1])
	for i := range 2 {
		e.addUser(i)
	}
	actions := make(map[string]func(*rapid.T))
	for _, a := range []struct {
		name  string
		times int // relative frequency
		do    func(*env)
	}{
		{"sign in", 6, (*env).signIn},
		{"sign in late", 1, (*env).signInLate},
		{"sign in by cookie", 3, (*env).signInCookie},
		{"refresh", 4, (*env).refreshHonestly},
		{"refresh often", 4, (*env).refreshOften},
		{"lose a response", 3, (*env).loseResponse},
		{"come back late", 2, (*env).comeBackLate},
		{"crash before a response", 2, (*env).crashBeforeResponse},
		{"replay", 4, (*env).replay},
		{"replay quickly", 3, (*env).replayQuickly},
		{"spray", 2, (*env).spray},
		{"race", 2, (*env).race},
		{"verify", 4, (*env).verifySome},
		{"use a cookie", 4, (*env).useCookie},
		{"step up", 2, (*env).stepUp},
		{"step up a cookie", 2, (*env).stepUpCookie},
		{"sign out", 1, (*env).signOut},
		{"end one session", 1, (*env).endOne},
		{"revoke a token", 2, (*env).revokeToken},
		{"lock or unlock", 2, (*env).lockOrUnlock},
		{"change the password", 1, (*env).changePassword},
		{"create a key", 1, (*env).makeKey},
		{"use keys", 2, (*env).useKeys},
		{"revoke a key", 1, (*env).endKey},
		{"list sessions", 1, (*env).list},
		{"short time", 5, (*env).moments},
		{"time", 2, (*env).time},
		{"set the clock", 2, (*env).stepClock},
		{"crash", 1, (*env).crash},
		{"outage of all nodes", 1, (*env).outage},
		{"start", 2, (*env).startOne},
		{"tick", 2, (*env).tickOne},
		{"housekeeping", 1, (*env).clean},
		{"rotate keys", 1, (*env).rotate},
		{"retire a key", 1, (*env).retire},
		{"the store is rolled back", 2, (*env).rollBack},
	} {
		for n := range a.times {
			actions[fmt.Sprintf("%s %d", a.name, n)] = e.does(a.do)
		}
	}
	t.Repeat(actions)
	e.T = t
	e.audit()
}

// does runs an action with the values that rapid draws.
func (e *env) does(action func(*env)) func(*rapid.T) {
	return func(t *rapid.T) {
		e.T = t
		e.advance(time.Millisecond) // no two actions have the same time
		action(e)
	}
}

func draw[V any](e *env, what string, of []V) V {
	if len(of) == 0 {
		e.Skip("none")
	}
	return of[rapid.IntRange(0, len(of)-1).Draw(e.T, what)]
}

func (e *env) duration(what string, least, most time.Duration) time.Duration {
	return time.Duration(rapid.Int64Range(int64(least/time.Millisecond), int64(most/time.Millisecond)).Draw(e.T, what)) * time.Millisecond
}

// advance moves the clock while nodes run. They do not poll meanwhile.
func (e *env) advance(d time.Duration) {
	e.clock.local.Add(d.Microseconds())
	e.jump(d)
}

// jump moves the clock while no node runs, or by setting it.
func (e *env) jump(d time.Duration) {
	e.clock.at.Add(d.Microseconds())
	for _, p := range e.up() {
		e.must(p.DB.SaveClocks(ctx)) // as nodes do after a jump
	}
	e.passed()
}

func (e *env) up() (all []*peer) {
	for _, p := range e.peers {
		if p.Node != nil {
			all = append(all, p)
		}
	}
	return all
}

func (e *env) anyPeer() *peer { return draw(e, "node", e.up()) }

// start opens a node, as a new process does.
func (e *env) start(p *peer) {
	e.Helper()
	others, down := len(e.up()) > 0, e.now()
	e.startAfter(p, others, down)
}

func (e *env) startAfter(p *peer, others bool, down time.Time) {
	e.Helper()
	for _, r := range e.revocations {
		delete(r.known, p)
	}
	n, err := Open(ctx, e.config)
	e.must(err)
	e.must(n.Sessions.Start(ctx))
	p.Node = n
	e.readKeys(p)
	e.polled(p)
	e.started(others, down)
	e.Logf("%s: node %s is up", e.now().Format(time.StampMilli), p.name)
}

// readKeys records the signing keys that a node has just read.
func (e *env) readKeys(p *peer) {
	e.Helper()
	rows, err := p.DB.Keys(ctx, store.UseSigning)
	e.must(err)
	p.keys = make(map[string]bool)
	active := 0
	for _, row := range rows {
		switch row.State {
		case store.KeyGone:
			e.gone[row.ID] = row.RetiredAt
			continue
		case store.KeyActive:
			active++
		}
		p.keys[row.ID] = true
	}
	if active != 1 {
		e.Fatalf("%d active keys, want one", active)
	}
}

// tick runs the work that a node does every second.
func (e *env) tick(p *peer) {
	e.Helper()
	p.revocations.Poll(ctx)
	e.must(p.revocations.Err())
	e.must(p.Issuer.ReadKeys(ctx))
	e.must(p.DB.Beat(ctx, e.now()))
	e.readKeys(p)
	e.polled(p)
	e.alive, e.unsure = e.now(), false
}

// Time.

func (e *env) moments() { e.pass(e.duration("for", 0, 2*refreshGrace)) }

func (e *env) time() {
	e.pass(draw(e, "for", []time.Duration{
		time.Minute, time.Minute, 5 * time.Minute, 14 * time.Minute, accessLife, accessLife, 29 * time.Minute, 31 * time.Minute, 2 * time.Hour, cookieAbsolute,
		25 * time.Hour, 30 * time.Hour, 3 * 24 * time.Hour, refreshLife - time.Minute, refreshLife, 31 * 24 * time.Hour,
	}))
}

// pass moves the clock while nodes run, and runs their work.
func (e *env) pass(d time.Duration) {
	e.advance(d)
	for _, p := range e.up() {
		e.tick(p)
	}
}

// stepClock sets the common clock forward or back.
func (e *env) stepClock() {
	d := draw(e, "by", []time.Duration{time.Second, 20 * time.Second, refreshGrace, 10 * time.Minute, accessLife, time.Hour, 2 * time.Hour, 24 * time.Hour, 8 * 24 * time.Hour, 400 * 24 * time.Hour})
	if rapid.Bool().Draw(e.T, "back") {
		d, e.setBack, e.unsure = -d, true, true
	}
	e.jump(d)
}

func (e *env) tickOne() { e.tick(e.anyPeer()) }

func (e *env) clean() {
	p := e.anyPeer()
	e.must(errors.Join(p.Issuer.RotateDue(ctx), p.DB.SaveClocks(ctx), p.DB.PurgeRevocations(ctx), p.DB.PurgeSessions(ctx, sessionsKept), p.Issuer.ReadKeys(ctx)))
	e.readKeys(p)
	e.purge()
	rows := make(map[string]bool)
	found, err := e.raw.Query(`SELECT id FROM sessions`)
	e.must(err)
	for found.Next() {
		var id string
		e.must(found.Scan(&id))
		rows[id] = true
	}
	e.must(errors.Join(found.Err(), found.Close()))
	for _, s := range e.sessions() {
		if s.purged = s.purged || !rows[s.id]; s.purged && e.clock.Local().Sub(s.born) < s.ends.Add(sessionsKept).Sub(s.made) {
			e.Fatalf("session %s from %s to %s was deleted after %s", s.id, s.made, s.ends, e.clock.Local().Sub(s.born))
		}
	}
}

func (e *env) rotate() {
	p := e.anyPeer()
	e.must(p.Issuer.Rotate(ctx, "", rapid.Bool().Draw(e.T, "at once"), operator))
	e.readKeys(p)
}

// retire retires a signing key, with or without revocation of its tokens.
func (e *env) retire() {
	p := e.anyPeer()
	rows, err := p.DB.Keys(ctx, store.UseSigning)
	e.must(err)
	slices.SortStableFunc(rows, func(a, b store.Key) int { return strings.Compare(a.State, b.State) }) // ids are random
	key, now := draw(e, "key", rows), rapid.Bool().Draw(e.T, "now")
	_, err = p.Issuer.Retire(ctx, key.ID, now, operator)
	switch {
	case key.State == store.KeyGone:
		e.wantCode("retirement of an ended key", err, durward.InvalidRequest)
	case now:
		e.must(err)
		r := e.revoke(p)
		r.until = e.running().Add(keyWithdrawnFor)
		e.withdrawn[key.ID] = r
	default:
		e.wantCode("retirement", err, "", durward.InvalidRequest) // refused for the only pending key
	}
	if err == nil {
		e.readKeys(p)
	}
}

// Crashes.

// mostDropped bounds the crashed nodes that still hold their connections: the server has 300 for all tests.
const mostDropped = 2

// drop stops using a node without closing it, as after a crash.
func (e *env) drop(p *peer) {
	e.Logf("%s: node %s crashes", e.now().Format(time.StampMilli), p.name)
	e.dropped = append(e.dropped, p.Node)
	p.Node = nil
	if len(e.dropped) > mostDropped {
		_ = e.dropped[0].Close()
		e.dropped = e.dropped[1:]
	}
}

func (e *env) crash() {
	if len(e.up()) < 2 {
		e.outage()
		return
	}
	e.drop(e.anyPeer())
}

func (e *env) startOne() {
	var down []*peer
	for _, p := range e.peers {
		if p.Node == nil {
			down = append(down, p)
		}
	}
	e.start(draw(e, "node", down))
}

// outage stops all nodes for a while.
func (e *env) outage() {
	for _, p := range e.up() {
		e.drop(p)
	}
	down := e.now()
	e.jump(draw(e, "for", []time.Duration{time.Second, 10 * time.Second, refreshGrace, 2 * time.Minute, time.Hour, 24 * time.Hour}))
	first := draw(e, "first", e.peers[:])
	e.startAfter(first, false, down)
	for _, p := range e.peers {
		if p != first && rapid.Bool().Draw(e.T, "also "+p.name) {
			e.advance(e.duration("later", 0, 5*time.Second))
			e.start(p)
		}
	}
}

// Accounts.

func password(n int) string { return fmt.Sprintf("plenty of words in a row %d", n) }

func (e *env) addUser(n int) {
	p := &modelUser{email: fmt.Sprintf("p%d@example.com", n), password: password(0)}
	u, err := e.up()[0].Accounts.Add(ctx, account.NewUser{Email: p.email, Password: p.password}, store.EventUserAdded, home)
	e.must(err)
	p.id = u.ID
	e.users = append(e.users, p)
}

// authenticate signs a user in with the right password. A locked user ends the action.
func (e *env) authenticate(who *modelUser, p *peer) account.Proof {
	e.Helper()
	proof, err := p.Accounts.Authenticate(ctx, who.email, who.password, home)
	if who.locked {
		e.wantCode("sign-in of a locked user", err, durward.AccountDisabled)
		e.Skip("locked")
	}
	e.must(err)
	return proof
}

// wantCode checks that err has one of the codes. An empty code means no error.
func (e *env) wantCode(what string, err error, allowed ...durward.Code) {
	e.Helper()
	if got := codeOf(err); !slices.Contains(allowed, got) {
		e.Fatalf("%s: %v (%q), want %q", what, err, got, allowed)
	}
}

func codeOf(err error) durward.Code {
	var code durward.Code
	if err != nil && !errors.As(err, &code) {
		return "no code"
	}
	return code
}

func (e *env) signIn() {
	who, p := draw(e, "who", e.users), e.anyPeer()
	proof := e.authenticate(who, p)
	e.proofs = append(e.proofs, earlierProof{who, who.changes, proof})
	e.signedIn(who, proof, e.anyPeer())
}

func held(key string) *durward.HeldKey {
	if key == "" {
		return nil
	}
	return &durward.HeldKey{Thumbprint: key, Spend: func() error { return nil }}
}

var proofKeys = []string{"", "", "thumbprint-one", "thumbprint-two"}

func (e *env) signedIn(who *modelUser, proof account.Proof, p *peer) {
	e.Helper()
	key := draw(e, "key", proofKeys)
	t, err := p.Sessions.SignIn(ctx, proof, held(key), home)
	e.must(err)
	e.addSession(who, proof, t, key, p)
}

func (e *env) addSession(who *modelUser, proof account.Proof, t session.Tokens, key string, p *peer) {
	e.Helper()
	now := e.now()
	s := &modelSession{id: t.Session, who: who, made: now, born: e.running(), ends: now.Add(refreshAbsolute), auth: proof.At}
	s.grant = &modelGrant{session: s, key: key, tokens: []string{t.Refresh}, came: []time.Time{now}, grace: make(map[int]deadline), idle: now.Add(refreshLife), from: home}
	for _, other := range e.sessions() {
		if other.id == s.id {
			e.Fatalf("session %s began twice", s.id)
		}
	}
	who.sessions = append(who.sessions, s)
	e.addAccess(s, t, key != "", s.auth, p)
}

// addAccess adds an access token to the model.
func (e *env) addAccess(s *modelSession, t session.Tokens, bound bool, auth time.Time, p *peer) {
	e.Helper()
	principal, err := p.Issuer.Verifier().VerifyEnded(ctx, t.Access)
	e.must(err)
	issued := e.now().Truncate(time.Second)
	a := &modelAccess{session: s, token: t.Access, kid: keyOf(e, t.Access), issued: issued, expires: earlier(issued.Add(accessLife), s.ends.Truncate(time.Second)), auth: earlier(auth, issued).Truncate(time.Second), bound: bound}
	if s.grant != nil {
		a.expires = issued.Add(accessLife)
	}
	if principal.SessionID != s.id || principal.Subject != s.who.id || !principal.Expires.Equal(a.expires) && s.grant != nil || principal.Expires.After(a.expires) || !principal.AuthTime.Equal(a.auth) {
		e.Fatalf("access token of %s, session %s, until %s, signed in %s; want %s, %s, %s, %s", principal.Subject, principal.SessionID, principal.Expires, principal.AuthTime, s.who.id, s.id, a.expires, a.auth)
	}
	a.expires = principal.Expires
	s.access = append(s.access, a)
	if n := len(s.access); n > 12 {
		s.access = slices.Delete(s.access, 2, 3) // keep the first and the last ones
	}
}

// signInLate uses the proof of an earlier authentication.
func (e *env) signInLate() {
	j, p := draw(e, "judged", e.proofs), e.anyPeer()
	t, err := p.Sessions.SignIn(ctx, j.proof, nil, home)
	if j.who.locked || j.changes != j.who.changes {
		e.wantCode("sign-in with the proof of a changed account", err, durward.InvalidCredentials)
		return
	}
	e.must(err)
	e.addSession(j.who, j.proof, t, "", p)
}

func (e *env) signInCookie() {
	who, p := draw(e, "who", e.users), e.anyPeer()
	proof := e.authenticate(who, p)
	cookies, of := e.cookies()
	var old *modelCookie
	value := ""
	if len(cookies) > 0 && rapid.Bool().Draw(e.T, "with the old one") {
		old = draw(e, "old", cookies)
		value = old.value
	}
	p = e.anyPeer()
	cookie, err := p.Sessions.SignInCookie(ctx, proof, session.CookieWish{Replaced: value}, home)
	e.must(err)
	if old != nil {
		e.end(of[old], p)
	}
	now := e.now()
	principal, err := p.Sessions.AuthenticateCookie(ctx, cookie.Value, false)
	e.must(err)
	s := &modelSession{id: principal.SessionID, who: who, made: now, born: e.running(), ends: now.Add(cookieAbsolute), auth: proof.At}
	s.cookies = []*modelCookie{{value: cookie.Value, used: now, auth: proof.At}}
	who.sessions = append(who.sessions, s)
}

// Refreshing.

// send sends refresh token n of a grant to a node.
func (e *env) send(p *peer, g *modelGrant, n int, key string, from request.Info) (answer, session.Tokens) {
	e.Helper()
	allowed := e.refresh(g, n, key, from)
	t, err := p.Sessions.Refresh(ctx, g.tokens[n], held(key), from)
	a := e.answered(p, g, n, from, t, err, allowed)
	if s := g.session; err == nil {
		e.verify(s.access[len(s.access)-1], p)
	}
	return a, t
}

// answered checks an outcome and updates the model.
func (e *env) answered(p *peer, g *modelGrant, n int, from request.Info, t session.Tokens, err error, allowed []answer) answer {
	e.Helper()
	at := g.at
	a := answer(codeOf(err))
	switch {
	case err == nil && n == at:
		a = moved
	case err == nil:
		a = again
	case t != (session.Tokens{}):
		e.Fatal("got tokens and an error")
	case slices.Contains(allowed, garbage) && (a == invalid || a == answer(durward.TooManyAttempts)):
		a = garbage
	}
	if !slices.Contains(allowed, a) {
		e.Fatalf("node %s, token %d of a grant at %d, %s after it was spent: %q (%v), want %q", p.name, n, at, e.now().Sub(g.grace[n].may.Add(-refreshGrace)), a, err, allowed)
	}
	e.must(e.refreshed(g, n, a, t.Refresh, from, p))
	e.Logf("%s: node %s answers token %d of session %s: %s", e.now().Format(time.StampMilli), p.name, n, g.session.id[24:], a)
	if err == nil {
		s := g.session
		if left := earlier(g.idle, s.ends).Sub(e.now()); t.RefreshLife != left || t.Session != s.id || t.Subject != s.who.id || t.Bound != (g.key != "") {
			e.Fatalf("a refresh token of %s for session %s, bound %t; want %s, %s, %t", t.RefreshLife, t.Session, t.Bound, left, s.id, g.key != "")
		}
		e.addAccess(s, t, g.key != "", s.auth, p)
	}
	return a
}

// anyGrant returns a grant, mostly one that has not ended.
func (e *env) anyGrant() *modelGrant {
	all := e.grants()
	if alive := slices.DeleteFunc(slices.Clone(all), func(g *modelGrant) bool {
		return g.session.dead != nil || !e.now().Before(earlier(g.idle, g.session.ends))
	}); len(alive) > 0 && rapid.IntRange(0, 9).Draw(e.T, "alive") > 0 {
		all = alive
	}
	return draw(e, "grant", all)
}

// refreshHonestly is a client that sends its last token.
func (e *env) refreshHonestly() {
	g := e.anyGrant()
	if a, _ := e.send(e.anyPeer(), g, g.held, g.key, draw(e, "from", origins)); a == moved || a == again {
		g.held = g.at
	}
}

func (e *env) refreshOften() {
	g := e.anyGrant()
	for range rapid.IntRange(1, 6).Draw(e.T, "times") {
		g.held = min(g.at, len(g.tokens)-1)
		if a, _ := e.send(e.anyPeer(), g, g.held, g.key, home); a == moved || a == again {
			g.held = g.at
		}
		e.advance(e.duration("then", 0, 20*time.Second))
	}
}

// loseResponse is a client that loses the response and sends the same token again, to any node.
func (e *env) loseResponse() {
	g := e.anyGrant()
	n := g.at
	if a, _ := e.send(e.anyPeer(), g, n, g.key, home); a != moved {
		return
	}
	for range rapid.IntRange(1, 5).Draw(e.T, "tries") {
		e.advance(e.duration("then", 0, 5900*time.Millisecond))
		if a, _ := e.send(e.anyPeer(), g, n, g.key, home); a != again {
			e.Fatalf("an honest client was signed out: %s", a)
		}
	}
	g.held = g.at
}

// comeBackLate is a client that lost a response and sends the same token again later, perhaps from
// another network or browser.
func (e *env) comeBackLate() {
	g := e.anyGrant()
	n := g.at
	from := draw(e, "from", origins)
	if a, _ := e.send(e.anyPeer(), g, n, g.key, from); a != moved {
		return
	}
	e.pass(draw(e, "after", []time.Duration{time.Second, refreshGrace - time.Second, refreshGrace, time.Minute, time.Hour, 24 * time.Hour}))
	e.send(e.anyPeer(), g, n, g.key, draw(e, "from there", origins))
}

// crashBeforeResponse crashes a node after a refresh and before its response. It may be the last node.
func (e *env) crashBeforeResponse() {
	g, p := e.anyGrant(), e.anyPeer()
	n := g.at
	a, _ := e.send(p, g, n, g.key, home)
	g.held = min(g.held, n)
	e.drop(p)
	sure := !e.unsure || len(e.up()) > 0
	if len(e.up()) == 0 {
		down := e.now()
		e.jump(e.duration("down for", 0, 2*time.Hour))
		e.startAfter(p, false, down)
		e.advance(e.duration("then", 0, refreshGrace-time.Second))
	} else {
		e.advance(e.duration("then", 0, refreshGrace-10*time.Second))
	}
	if got, _ := e.send(e.anyPeer(), g, n, g.key, home); a == moved && got != again && sure && e.now().Before(earlier(g.idle, g.session.ends)) {
		e.Fatalf("a crash signed a client out: %s", got)
	}
}

// replay sends any token from any origin, with or without its key.
func (e *env) replay() {
	g := e.anyGrant()
	n := rapid.IntRange(max(0, g.at-rapid.SampledFrom([]int{1, 1, 2, 5, 100}).Draw(e.T, "back")), len(g.tokens)-1).Draw(e.T, "n")
	key := g.key
	if rapid.IntRange(0, 2).Draw(e.T, "another key") == 0 {
		key = draw(e, "key", proofKeys)
	}
	times := rapid.SampledFrom([]int{1, 1, 1, 7}).Draw(e.T, "times")
	for range times {
		e.send(e.anyPeer(), g, n, key, draw(e, "from", origins))
		if n >= g.at {
			return
		}
		e.advance(e.duration("then", 0, 3*time.Second))
	}
}

// replayQuickly sends one of the last tokens within the grace period of all of them.
func (e *env) replayQuickly() {
	g := e.anyGrant()
	for range draw(e, "moves", []int{5, 4, 3, 2, 6}) {
		if a, _ := e.send(e.anyPeer(), g, g.at, g.key, home); a != moved {
			return
		}
		e.advance(e.duration("then", 0, 4*time.Second))
	}
	e.send(e.anyPeer(), g, max(0, g.at-draw(e, "back", []int{5, 4, 3, 2, 1, 6})), g.key, draw(e, "from", origins))
}

// spray sends the current token to several nodes at once: all return the same successor.
func (e *env) spray() {
	g := e.anyGrant()
	n, key := g.at, g.key
	if allowed := e.refresh(g, n, key, home); !slices.Contains(allowed, moved) {
		e.Skip("dead")
	}
	many := rapid.IntRange(2, 8).Draw(e.T, "many")
	answers := make([]session.Tokens, many)
	errs := make([]error, many)
	nodes := make([]*peer, many)
	var all sync.WaitGroup
	for i := range many {
		nodes[i] = e.anyPeer()
		all.Go(func() { answers[i], errs[i] = nodes[i].Sessions.Refresh(ctx, g.tokens[n], held(key), home) })
	}
	all.Wait()
	e.answered(nodes[0], g, n, home, answers[0], errs[0], []answer{moved})
	for i := range many {
		if errs[i] != nil || answers[i].Refresh != answers[0].Refresh {
			e.Fatalf("one of %d requests at once: %v; same successor: %t", many, errs[i], answers[i].Refresh == answers[0].Refresh)
		}
	}
	g.held = g.at
}

// race refreshes a session while it is ended, and signs a user in while the account changes. An ended
// session stays ended.
func (e *env) race() {
	who := draw(e, "who", e.users)
	if who.locked {
		e.Skip("locked")
	}
	p, other, ender := e.anyPeer(), e.anyPeer(), e.anyPeer()
	proof := e.authenticate(who, p)
	e.signedIn(who, proof, p)
	g := who.sessions[len(who.sessions)-1].grant
	action := rapid.SampledFrom([]string{"sign out", "everywhere", "lock", "password", "theft"}).Draw(e.T, "action")
	if action == "theft" {
		e.send(p, g, 0, g.key, home)
	}
	n := g.at
	e.advance(time.Millisecond)
	var late, next session.Tokens
	var errLate, errNext, errAction error
	var cookie session.Cookie
	var errCookie error
	var all sync.WaitGroup
	all.Go(func() { next, errNext = p.Sessions.Refresh(ctx, g.tokens[n], held(g.key), home) })
	all.Go(func() { late, errLate = other.Sessions.SignIn(ctx, proof, nil, home) })
	principal, err := p.Issuer.Verifier().VerifyEnded(ctx, g.session.access[len(g.session.access)-1].token)
	e.must(err)
	var stepped session.Tokens
	var errStep error
	if e.now().Truncate(time.Second).Equal(g.session.auth.Truncate(time.Second)) { // so that the refresh returns the same auth_time
		all.Go(func() { stepped, errStep = other.Sessions.StepUp(ctx, proof, principal, home) })
	} else {
		errStep = durward.TokenRevoked
	}
	all.Go(func() { cookie, errCookie = p.Sessions.SignInCookie(ctx, proof, session.CookieWish{}, home) })
	all.Go(func() {
		switch action {
		case "sign out":
			errAction = ender.Sessions.SignOut(ctx, who.id, g.session.id, false, home)
		case "everywhere":
			errAction = ender.Sessions.SignOut(ctx, who.id, g.session.id, true, home)
		case "lock":
			errAction = ender.Sessions.LockUser(ctx, who.id, home)
		case "password":
			errAction = ender.Sessions.SetPassword(ctx, proof.User, password(who.changes+1), home)
		case "theft":
			_, err := ender.Sessions.Refresh(ctx, g.tokens[0], held(g.key), elsewhere)
			if codeOf(err) != durward.SessionRevoked {
				errAction = fmt.Errorf("theft: got %w, want SESSION_REVOKED", err)
			}
		}
	})
	all.Wait()
	e.must(errAction)
	e.wantCode("refresh during an end", errNext, "", durward.SessionRevoked)
	if errNext == nil {
		e.answered(p, g, n, home, next, nil, []answer{moved})
	}
	bad := durward.InvalidCredentials
	if action != "lock" && action != "password" {
		bad = "" // the account did not change
	}
	e.wantCode("sign-in during an end", errLate, "", bad)
	e.wantCode("step-up during an end", errStep, "", bad, durward.TokenRevoked)
	if errStep == nil {
		g.session.auth = proof.At
		e.addAccess(g.session, stepped, g.key != "", g.session.auth, other)
	}
	e.wantCode("cookie sign-in during an end", errCookie, "", bad)
	if errLate == nil {
		e.addSession(who, proof, late, "", other)
	}
	if errCookie == nil {
		id, err := e.sessionOf(p, cookie.Value)
		e.must(err)
		s := &modelSession{id: id, who: who, made: e.now(), born: e.running(), ends: e.now().Add(cookieAbsolute), auth: proof.At}
		s.cookies = []*modelCookie{{value: cookie.Value, used: e.now(), auth: proof.At}}
		who.sessions = append(who.sessions, s)
	}
	switch action {
	case "lock":
		who.locked = true
		e.endAll(who, nil, ender)
	case "password":
		who.changes++
		who.password = password(who.changes)
		e.endAll(who, nil, ender)
	case "everywhere":
		// Sessions that began meanwhile ended with the others or began afterwards.
		listed, err := ender.Sessions.List(ctx, who.id)
		e.must(err)
		for _, s := range who.sessions {
			if s == g.session || !slices.ContainsFunc(listed, func(row store.SessionRow) bool { return row.ID == s.id }) {
				e.end(s, ender)
			}
		}
		if len(listed) > 2 {
			e.Fatalf("%d sessions after the sign-out of all, want at most 2", len(listed))
		}
	case "theft":
		who.thefts++
		e.end(g.session, ender)
	default:
		e.end(g.session, ender)
	}
	for _, p := range e.up() {
		e.send(p, g, g.at, g.key, home)
	}
}

func (e *env) sessionOf(p *peer, cookie string) (string, error) {
	_, id, err := p.Sessions.SessionOfCookie(ctx, cookie)
	return id, err
}

// rollBack undoes the last refreshes of a grant, as a failover to a lagging replica does.
func (e *env) rollBack() {
	g := e.anyGrant()
	steps := rapid.IntRange(1, 2).Draw(e.T, "steps")
	for range steps {
		if a, _ := e.send(e.anyPeer(), g, g.at, g.key, home); a != moved {
			return
		}
		e.advance(e.duration("then", 0, 10*time.Second))
	}
	for range steps {
		_, err := e.raw.ExecContext(ctx, `UPDATE grants SET generation = generation - 1, moved_0 = moved_1, moved_1 = moved_2, moved_2 = moved_3, moved_3 = 0 WHERE session_id = $1`, g.session.id)
		e.must(err)
		g.at--
		g.came = g.came[:g.at+1]
		delete(g.grace, g.at)
		// The times at which older tokens were used are lost too.
		for n := range g.grace {
			if n <= g.at-4+steps {
				g.grace[n] = deadline{may: g.grace[n].may, from: g.grace[n].from}
			}
		}
	}
	if rapid.Bool().Draw(e.T, "and then") {
		e.send(e.anyPeer(), g, rapid.IntRange(g.at, g.at+steps).Draw(e.T, "n"), g.key, home)
	}
}

// Access tokens.

func keyOf(e *env, token string) string {
	kid, err := keyIDOf(token)
	e.must(err)
	return kid
}

// verify sends an access token to a node.
func (e *env) verify(a *modelAccess, p *peer) durward.Code {
	e.Helper()
	principal, err := p.Issuer.Verifier().Verify(ctx, a.token)
	e.wantCode(fmt.Sprintf("node %s, access token of session %s, issued at %s, now %s", p.name, a.session.id, a.issued, e.now()), err, e.verified(a, p)...)
	if err == nil && (principal.SessionID != a.session.id || principal.Subject != a.session.who.id || !principal.AuthTime.Equal(a.auth)) {
		e.Fatalf("got a token of %s, session %s, signed in at %s", principal.Subject, principal.SessionID, principal.AuthTime)
	}
	return codeOf(err)
}

// anyAccess returns an access token, mostly one that has not expired.
func (e *env) anyAccess() *modelAccess {
	all := e.tokens()
	if alive := slices.DeleteFunc(slices.Clone(all), func(a *modelAccess) bool { return !e.now().Before(a.expires) }); len(alive) > 0 && rapid.IntRange(0, 9).Draw(e.T, "alive") > 0 {
		all = alive
	}
	return draw(e, "token", all)
}

func (e *env) verifySome() {
	for range 6 {
		e.verify(e.anyAccess(), e.anyPeer())
	}
}

func (e *env) revokeToken() {
	a, p := e.anyAccess(), e.anyPeer()
	principal, err := p.Issuer.Verifier().VerifyEnded(ctx, a.token)
	if err != nil { // its key has ended
		e.Skip(err)
	}
	until := a.expires.Add(time.Minute + time.Hour)
	_, err = p.DB.Revoke(ctx, string(revoked.Token), principal.TokenID, until)
	e.must(err)
	p.revocations.Poll(ctx)
	e.must(p.revocations.Err())
	r := e.revoke(p)
	r.until = e.running().Add(until.Sub(e.now()))
	e.polled(p)
	if !e.now().Before(until) {
		clear(r.known)
	}
	if a.revoked == nil {
		a.revoked = r
	}
	e.verify(a, p)
}

// Cookies.

func (e *env) useCookie() {
	cookies, of := e.cookies()
	c := e.anyCookie(cookies, of)
	s, p, use := of[c], e.anyPeer(), rapid.Bool().Draw(e.T, "use")
	if rapid.Bool().Draw(e.T, "after a while") {
		e.pass(draw(e, "for", []time.Duration{30 * time.Second, time.Minute, 20 * time.Minute}))
	}
	may, mayNot := e.cookie(c, s)
	principal, err := p.Sessions.AuthenticateCookie(ctx, c.value, use)
	e.wantCookie("cookie", err, may, mayNot)
	if err != nil {
		return
	}
	if principal.SessionID != s.id || principal.Subject != s.who.id || !principal.AuthTime.Equal(c.auth) || principal.Expires.After(s.ends) {
		e.Fatalf("got a cookie of %s, session %s, signed in at %s until %s; want %s, %s, %s, %s at the latest", principal.Subject, principal.SessionID, principal.AuthTime, principal.Expires, s.who.id, s.id, c.auth, s.ends)
	}
	if use && c.replaced.IsZero() {
		c.used = later(c.used, e.now())
	}
	if rapid.Bool().Draw(e.T, "token") && s.ends.Sub(e.now()) > 2*time.Second && principal.Expires.Sub(e.now()) > 2*time.Second {
		t, err := p.Sessions.CookieToken(ctx, c.value)
		e.must(err)
		if t.Refresh != "" {
			e.Fatal("got a refresh token for a cookie")
		}
		e.addAccess(s, t, false, c.auth, p)
	}
}

// anyCookie returns a cookie, mostly one that has not ended.
func (e *env) anyCookie(all []*modelCookie, of map[*modelCookie]*modelSession) *modelCookie {
	alive := slices.DeleteFunc(slices.Clone(all), func(c *modelCookie) bool {
		may, _ := e.cookie(c, of[c])
		return !may
	})
	if len(alive) > 0 && rapid.IntRange(0, 9).Draw(e.T, "alive") > 0 {
		all = alive
	}
	return draw(e, "cookie", all)
}

func (e *env) wantCookie(what string, err error, may, mayNot bool) {
	e.Helper()
	switch {
	case may && mayNot:
		e.wantCode(what, err, "", durward.SessionExpired)
	case may:
		e.wantCode(what, err, "")
	default:
		e.wantCode(what, err, durward.SessionExpired)
	}
}

func (e *env) stepUpCookie() {
	cookies, of := e.cookies()
	c := e.anyCookie(cookies, of)
	s, p := of[c], e.anyPeer()
	may, mayNot := e.cookie(c, s)
	principal, err := p.Sessions.AuthenticateCookie(ctx, c.value, false)
	e.wantCookie("cookie", err, may, mayNot)
	if err != nil {
		return
	}
	proof := e.authenticate(s.who, p)
	value, err := p.Sessions.StepUpCookie(ctx, proof, principal, c.value, home)
	e.must(err)
	if value.Value == c.value {
		e.Fatal("got the old cookie, want a new one")
	}
	for _, other := range s.cookies {
		if !other.replaced.IsZero() && !e.now().Before(earlier(other.replaced.Add(replacedGrace), other.used.Add(cookieIdle))) {
			other.swept = true
		}
	}
	if c.replaced.IsZero() {
		c.replaced = e.now()
	}
	s.auth = e.now()
	s.cookies = append(s.cookies, &modelCookie{value: value.Value, used: e.now(), auth: e.now()})
}

// stepUp steps up a session with tokens.
func (e *env) stepUp() {
	a, p := e.anyAccess(), e.anyPeer()
	if e.verify(a, p) != "" || a.session.grant == nil {
		e.Skip("dead")
	}
	s, g := a.session, a.session.grant
	principal, err := p.Issuer.Verifier().Verify(ctx, a.token)
	e.must(err)
	proof := e.authenticate(s.who, p)
	t, err := p.Sessions.StepUp(ctx, proof, principal, home)
	if s.dead != nil || s.purged || !e.now().Before(earlier(g.idle, s.ends)) {
		e.wantCode("step-up of an ended session", err, durward.TokenRevoked)
		return
	}
	e.must(err)
	if t.Refresh != g.tokens[g.at] {
		e.Fatal("a step-up used a refresh token")
	}
	s.auth = e.now()
	e.addAccess(s, t, g.key != "", s.auth, p)
}

// Ends.

func (e *env) signOut() {
	all := e.sessions()
	s, p := draw(e, "session", all), e.anyPeer()
	if s.purged {
		e.Skip("forgotten")
	}
	user, id := "", ""
	var err error
	if s.grant != nil {
		user, id, err = p.Sessions.SessionOfRefreshToken(ctx, draw(e, "token", s.grant.tokens))
	} else {
		user, id, err = p.Sessions.SessionOfCookie(ctx, draw(e, "cookie", s.cookies).value)
		if codeOf(err) == durward.SessionExpired { // it was replaced and deleted
			e.Skip(err)
		}
	}
	e.must(err)
	if user != s.who.id || id != s.id {
		e.Fatalf("token of %s, session %s: got %s, %s", s.who.id, s.id, user, id)
	}
	everywhere := rapid.IntRange(0, 5).Draw(e.T, "everywhere") == 0
	e.must(p.Sessions.SignOut(ctx, user, id, everywhere, home))
	if everywhere {
		e.endAll(s.who, nil, p)
	} else {
		e.end(s, p)
	}
}

func (e *env) endOne() {
	s, who, p := draw(e, "session", e.sessions()), draw(e, "who", e.users), e.anyPeer()
	err := p.Sessions.End(ctx, who.id, s.id, store.EventSessionEnded, home)
	if who != s.who || s.purged {
		if !errors.Is(err, store.ErrNotFound) {
			e.Fatalf("another user's session: %v, want ErrNotFound", err)
		}
		return
	}
	e.must(err)
	e.end(s, p)
}

func (e *env) lockOrUnlock() {
	who, p := draw(e, "who", e.users), e.anyPeer()
	if who.locked {
		e.must(p.Accounts.Unlock(ctx, who.id, home))
		who.locked = false
		return
	}
	if rapid.IntRange(0, 2).Draw(e.T, "lock") > 0 {
		e.Skip("not now")
	}
	e.must(p.Sessions.LockUser(ctx, who.id, home))
	who.locked = true
	e.proofs = slices.DeleteFunc(e.proofs, func(j earlierProof) bool { return j.who == who && rapid.Bool().Draw(e.T, "forget") })
	e.endAll(who, nil, p)
}

func (e *env) changePassword() {
	who, p := draw(e, "who", e.users), e.anyPeer()
	if who.locked {
		e.Skip("locked")
	}
	next := password(who.changes + 1)
	var keep *modelSession
	if rapid.Bool().Draw(e.T, "by the operator") {
		proof := e.authenticate(who, p)
		e.must(p.Sessions.SetPassword(ctx, proof.User, next, home))
	} else {
		keep = draw(e, "keep", who.sessions)
		sure := e.now().Before(keep.ends)
		_, err := p.Sessions.ChangePassword(ctx, &durward.Principal{Subject: who.id, SessionID: keep.id}, who.password, next, "", home)
		if over := !e.now().Before(keep.ends); keep.dead != nil || keep.purged || over && (!sure || err != nil) {
			e.wantCode("password change of an ended session", err, durward.TokenRevoked)
			return
		}
		e.must(err)
	}
	who.changes++
	who.password = next
	e.endAll(who, keep, p)
}

// API keys.

func (e *env) makeKey() {
	a, p := e.anyAccess(), e.anyPeer()
	if e.verify(a, p) != "" {
		e.Skip("dead")
	}
	maker, err := p.Issuer.Verifier().Verify(ctx, a.token)
	e.must(err)
	k, text, err := p.Accounts.CreateKey(ctx, maker, account.NewKey{Name: "robot"}, home)
	if a.session.dead != nil || a.session.purged || a.session.who.locked {
		e.wantCode("key of an ended session", err, durward.TokenRevoked)
		return
	}
	e.must(err)
	a.session.who.keys = append(a.session.who.keys, &modelKey{text: text.Reveal(), id: k.ID})
}

func (e *env) useKeys() {
	who := draw(e, "who", e.users)
	for _, k := range who.keys {
		got, err := e.anyPeer().Accounts.AuthenticateKey(ctx, k.text, home)
		if k.revoked || who.locked {
			e.wantCode("revoked key", err, durward.InvalidAPIKey)
			continue
		}
		e.must(err)
		if got.UserID != who.id {
			e.Fatalf("key of %s: got the user %s", who.id, got.UserID)
		}
	}
}

func (e *env) endKey() {
	who := draw(e, "who", e.users)
	k := draw(e, "key", who.keys)
	err := e.anyPeer().Accounts.RevokeKey(ctx, who.id, k.id, "", home)
	if k.revoked {
		if !errors.Is(err, store.ErrNotFound) {
			e.Fatalf("revoked key: %v, want ErrNotFound", err)
		}
		return
	}
	e.must(err)
	k.revoked = true
}

// Final checks.

func (e *env) list() {
	who, p := draw(e, "who", e.users), e.anyPeer()
	e.lists(who, p)
}

func (e *env) lists(who *modelUser, p *peer) {
	e.Helper()
	must, may := e.listed(who)
	rows, err := p.Sessions.List(ctx, who.id)
	e.must(err)
	for _, row := range rows {
		if !may[row.ID] {
			e.Fatalf("the list contains session %s, which ended or never began", row.ID)
		}
		delete(must, row.ID)
		may[row.ID] = false // the list has it only once
	}
	if len(must) > 0 {
		e.Fatalf("the list lacks the sessions %v", slices.Collect(maps.Keys(must)))
	}
}

// audit compares the model with the rows of the database and sends each token to each node once more,
// after a poll.
func (e *env) audit() {
	for _, p := range e.up() {
		e.tick(p)
		for _, a := range e.tokens() {
			e.verify(a, p)
		}
	}
	p := e.up()[0]
	var sessions, grants int
	e.must(e.raw.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM sessions), (SELECT count(*) FROM grants)`).Scan(&sessions, &grants))
	for _, who := range e.users {
		e.lists(who, p)
		notifications, err := p.DB.Notifications(ctx, who.id, "", 1000)
		e.must(err)
		thefts := 0
		for _, n := range notifications {
			if n.Kind == "session_ended_by_theft" {
				thefts++
			}
		}
		if thefts != who.thefts {
			e.Fatalf("%s has %d notifications of theft, want %d", who.email, thefts, who.thefts)
		}
		for _, s := range who.sessions {
			if s.purged {
				continue
			}
			sessions--
			var ends, ended int64
			e.must(e.raw.QueryRowContext(ctx, `SELECT ends_at, ended_at FROM sessions WHERE id = $1 AND user_id = $2`, s.id, who.id).Scan(&ends, &ended))
			if !time.UnixMicro(ends).Equal(s.ends) || (ended != 0) != (s.dead != nil) {
				e.Fatalf("session %s ends at %s, want %s; it has ended: %t, want %t", s.id, time.UnixMicro(ends).UTC(), s.ends, ended != 0, s.dead != nil)
			}
			if s.grant == nil {
				continue
			}
			grants--
			var generation int
			e.must(e.raw.QueryRowContext(ctx, `SELECT generation, ends, ended_at FROM grants WHERE session_id = $1`, s.id).Scan(&generation, &ends, &ended))
			if generation != s.grant.at || !time.UnixMicro(ends).Equal(s.ends) || (ended != 0) != (s.dead != nil) {
				e.Fatalf("the grant is at %d until %s, want %d until %s; it has ended: %t, want %t", generation, time.UnixMicro(ends).UTC(), s.grant.at, s.ends, ended != 0, s.dead != nil)
			}
		}
	}
	if sessions != 0 || grants != 0 {
		e.Fatalf("%d sessions and %d grants are not in the model", sessions, grants)
	}
	// Each client refreshes once more.
	for _, g := range e.grants() {
		e.send(e.anyUp(), g, g.at, g.key, home)
	}
	for _, p := range e.up() {
		for _, who := range e.users {
			e.lists(who, p)
		}
	}
}

func (e *env) anyUp() *peer { return e.up()[len(e.proofs)%len(e.up())] }

// keyIDOf returns the id of the key that signed a token.
func keyIDOf(token string) (string, error) {
	head, _, _ := strings.Cut(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil {
		return "", err
	}
	var h struct {
		KeyID string `json:"kid"`
	}
	return h.KeyID, json.Unmarshal(raw, &h)
}
