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

// TestMain has the life of tokens checked for some seconds: each deed waits for
// the disk. MODEL_CHECKS asks for more.
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

// clock is one that only the test moves.
type clock struct{ at atomic.Int64 } // Unix microseconds

func (c *clock) Now() time.Time { return time.UnixMicro(c.at.Load()).UTC() }

// Where requests come from.
var (
	home      = request.Info{Addr: netip.MustParseAddr("192.0.2.7"), UserAgent: "curl/8.5.0"}
	cafe      = request.Info{Addr: netip.MustParseAddr("198.51.100.7"), UserAgent: "curl/8.5.0"}
	homeFox   = request.Info{Addr: netip.MustParseAddr("192.0.2.8"), UserAgent: "Mozilla/5.0 Firefox/140.0"}
	elsewhere = request.Info{Addr: netip.MustParseAddr("203.0.113.7"), UserAgent: "Mozilla/5.0 Firefox/140.0"}
	places    = []request.Info{home, home, home, cafe, homeFox, elsewhere}
)

// peer is one of the nodes over one database.
type peer struct {
	*Node
	w    *world
	name string
	keys map[string]bool // signing keys that it has read

	fresh time.Time // when it last read the feed
}

// world is real nodes over a real database, beside what the model says of them.
type world struct {
	*rapid.T
	*model
	clock   *clock
	setBack bool // the clock was, at some time
	config  Config
	peers   [3]*peer // Node is nil while it is down
	dropped []*Node
	raw     *sql.DB // behind the store's back
	proved  []judged
}

// judged is a proof of a while ago.
type judged struct {
	who     *modelPerson
	changes int
	proof   account.Proof
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// TestLife drives three nodes over one database through sign-ins, refreshes,
// replays, revocations, crashes and steps of the clock in any order, and wants of
// each answer that the model allows it.
func TestLife(t *testing.T) {
	t.Parallel()
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		dir, n := t.TempDir(), 0
		rapid.Check(t, func(t *rapid.T) {
			n++
			path := filepath.Join(dir, strconv.Itoa(n)+".db")
			raw, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(5000)")
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

// empty makes a database as it was before anybody used it.
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

// life is one run over one empty database.
func life(t *rapid.T, database string, raw *sql.DB) {
	master, err := seal.Parse(seal.Secret(strings.Repeat("0123456789abcdef", 4)))
	if err != nil {
		t.Fatal(err)
	}
	c := new(clock)
	c.at.Store(time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC).UnixMicro())
	w := &world{
		T: t, clock: c, raw: raw, model: &model{now: c.Now, gone: make(map[string]time.Time), withdrawn: make(map[string]*modelRevocation)},
		config: Config{
			Settings: config.Default(),
			Master:   master,
			Now:      c.Now,
		},
	}
	set := w.config.Settings
	set.Database.URL, set.Issuer = config.DatabaseURL(database), "https://auth.example.com"
	set.Passwords.Argon2Memory, set.Passwords.Argon2Time = 8, 1
	set.Limits.NetworkFailures = 0
	defer func() {
		for _, n := range w.dropped {
			_ = n.Close()
		}
		for _, p := range w.peers {
			if p != nil && p.Node != nil {
				_ = p.Close()
			}
		}
	}()
	for i := range w.peers {
		w.peers[i] = &peer{w: w, name: string(rune('A' + i))}
	}
	w.start(w.peers[0])
	w.start(w.peers[1])
	for i := range 2 {
		w.addPerson(i)
	}
	actions := make(map[string]func(*rapid.T))
	for _, a := range []struct {
		name  string
		times int // as likely as this
		do    func(*world)
	}{
		{"sign in", 6, (*world).signIn},
		{"sign in late", 1, (*world).signInLate},
		{"sign in by cookie", 3, (*world).signInCookie},
		{"refresh", 4, (*world).refreshHonestly},
		{"refresh often", 4, (*world).refreshOften},
		{"lose an answer", 3, (*world).loseAnswer},
		{"come back late", 2, (*world).comeBackLate},
		{"crash before an answer", 2, (*world).crashBeforeAnswer},
		{"replay", 4, (*world).replay},
		{"replay quickly", 3, (*world).replayQuickly},
		{"spray", 2, (*world).spray},
		{"race", 2, (*world).race},
		{"verify", 4, (*world).verifySome},
		{"use a cookie", 4, (*world).useCookie},
		{"step up", 2, (*world).stepUp},
		{"step up a cookie", 2, (*world).stepUpCookie},
		{"sign out", 1, (*world).signOut},
		{"end one session", 1, (*world).endOne},
		{"revoke a token", 2, (*world).revokeToken},
		{"lock or unlock", 2, (*world).lockOrUnlock},
		{"change the password", 1, (*world).changePassword},
		{"make a key", 1, (*world).makeKey},
		{"use keys", 2, (*world).useKeys},
		{"end a key", 1, (*world).endKey},
		{"list sessions", 1, (*world).list},
		{"moments", 5, (*world).moments},
		{"time", 2, (*world).time},
		{"the clock steps", 2, (*world).stepClock},
		{"crash", 1, (*world).crash},
		{"outage", 1, (*world).blackout},
		{"start", 2, (*world).startOne},
		{"tick", 2, (*world).tickOne},
		{"housekeeping", 1, (*world).keepHouse},
		{"rotate keys", 1, (*world).rotate},
		{"retire a key", 1, (*world).retire},
		{"the store goes back", 2, (*world).goBack},
	} {
		for n := range a.times {
			actions[fmt.Sprintf("%s %d", a.name, n)] = w.does(a.do)
		}
	}
	t.Repeat(actions)
	w.T = t
	w.audit()
}

// does runs an action with what rapid draws for it.
func (w *world) does(action func(*world)) func(*rapid.T) {
	return func(t *rapid.T) {
		w.T = t
		w.advance(time.Millisecond) // no two deeds are of one moment
		action(w)
	}
}

func draw[V any](w *world, what string, of []V) V {
	if len(of) == 0 {
		w.Skip("none")
	}
	return of[rapid.IntRange(0, len(of)-1).Draw(w.T, what)]
}

func (w *world) duration(what string, least, most time.Duration) time.Duration {
	return time.Duration(rapid.Int64Range(int64(least/time.Millisecond), int64(most/time.Millisecond)).Draw(w.T, what)) * time.Millisecond
}

// advance moves the clock and nothing else.
func (w *world) advance(d time.Duration) {
	w.clock.at.Add(d.Microseconds())
	w.passed()
}

func (w *world) up() (all []*peer) {
	for _, p := range w.peers {
		if p.Node != nil {
			all = append(all, p)
		}
	}
	return all
}

func (w *world) anyPeer() *peer { return draw(w, "node", w.up()) }

// start begins a node, as a process does.
func (w *world) start(p *peer) {
	w.Helper()
	others, down := len(w.up()) > 0, w.now()
	w.startAfter(p, others, down)
}

func (w *world) startAfter(p *peer, others bool, down time.Time) {
	w.Helper()
	n, err := Open(ctx, w.config)
	w.must(err)
	w.must(n.Sessions.Start(ctx))
	p.Node = n
	w.readKeys(p)
	w.polled(p)
	w.started(others, down)
	w.Logf("%s: node %s is up", w.now().Format(time.StampMilli), p.name)
}

// readKeys notes which signing keys a node has read just now.
func (w *world) readKeys(p *peer) {
	w.Helper()
	rows, err := p.DB.Keys(ctx, store.UseSigning)
	w.must(err)
	p.keys = make(map[string]bool)
	active := 0
	for _, row := range rows {
		switch row.State {
		case store.KeyGone:
			w.gone[row.ID] = row.RetiredAt
			continue
		case store.KeyActive:
			active++
		}
		p.keys[row.ID] = true
	}
	if active != 1 {
		w.Fatalf("%d keys sign", active)
	}
}

// tick is what a node does each second.
func (w *world) tick(p *peer) {
	w.Helper()
	p.revocations.Poll(ctx)
	w.must(p.revocations.Err())
	w.must(p.Issuer.ReadKeys(ctx))
	w.must(p.DB.Beat(ctx, w.now()))
	w.readKeys(p)
	w.polled(p)
	w.alive, w.unsure = w.now(), false
}

// Time.

func (w *world) moments() { w.pass(w.duration("for", 0, 2*refreshGrace)) }

func (w *world) time() {
	w.pass(draw(w, "for", []time.Duration{
		time.Minute, time.Minute, 5 * time.Minute, 14 * time.Minute, accessLife, accessLife, 29 * time.Minute, 31 * time.Minute, 2 * time.Hour, cookieAbsolute,
		25 * time.Hour, 30 * time.Hour, 3 * 24 * time.Hour, refreshLife - time.Minute, refreshLife, 31 * 24 * time.Hour,
	}))
}

// pass lets time pass while nodes are up, which they notice.
func (w *world) pass(d time.Duration) {
	w.advance(d)
	for _, p := range w.up() {
		w.tick(p)
	}
}

// stepClock sets the clock that all nodes share.
func (w *world) stepClock() {
	d := draw(w, "by", []time.Duration{time.Second, 20 * time.Second, refreshGrace, 10 * time.Minute, accessLife, time.Hour, 2 * time.Hour, 24 * time.Hour, 8 * 24 * time.Hour})
	if rapid.Bool().Draw(w.T, "back") {
		d, w.setBack, w.unsure = -d, true, true
	}
	w.advance(d)
}

func (w *world) tickOne() { w.tick(w.anyPeer()) }

func (w *world) keepHouse() {
	p := w.anyPeer()
	w.must(errors.Join(p.Issuer.RotateDue(ctx), p.DB.PurgeRevocations(ctx), p.DB.PurgeSessions(ctx, w.now().Add(-sessionsKept)), p.Issuer.ReadKeys(ctx)))
	w.readKeys(p)
	w.purge()
}

func (w *world) rotate() {
	p := w.anyPeer()
	w.must(p.Issuer.Rotate(ctx, rapid.Bool().Draw(w.T, "at once")))
	w.readKeys(p)
}

// retire gives up a signing key, in order or as a stolen one.
func (w *world) retire() {
	p := w.anyPeer()
	rows, err := p.DB.Keys(ctx, store.UseSigning)
	w.must(err)
	slices.SortStableFunc(rows, func(a, b store.Key) int { return strings.Compare(a.State, b.State) }) // ids are drawn
	key, now := draw(w, "key", rows), rapid.Bool().Draw(w.T, "now")
	_, err = p.Issuer.Retire(ctx, key.ID, now)
	switch {
	case key.State == store.KeyGone:
		w.wants("retirement of a key that is gone", err, durward.InvalidRequest)
	case now:
		w.must(err)
		r := w.revoke(p)
		r.until = w.now().Add(keyWithdrawnFor)
		w.withdrawn[key.ID] = r
	default:
		w.wants("retirement", err, "", durward.InvalidRequest) // the only spare stays
	}
	if err == nil {
		w.readKeys(p)
	}
}

// Crashes.

// drop lets a node go as a crash does: nothing is closed.
func (w *world) drop(p *peer) {
	w.Logf("%s: node %s crashes", w.now().Format(time.StampMilli), p.name)
	w.dropped = append(w.dropped, p.Node)
	p.Node = nil
}

func (w *world) crash() {
	if len(w.up()) < 2 {
		w.blackout()
		return
	}
	w.drop(w.anyPeer())
}

func (w *world) startOne() {
	var down []*peer
	for _, p := range w.peers {
		if p.Node == nil {
			down = append(down, p)
		}
	}
	w.start(draw(w, "node", down))
}

// blackout is a time in which no node is up.
func (w *world) blackout() {
	for _, p := range w.up() {
		w.drop(p)
	}
	down := w.now()
	w.advance(draw(w, "for", []time.Duration{time.Second, 10 * time.Second, refreshGrace, 2 * time.Minute, time.Hour, 24 * time.Hour}))
	first := draw(w, "first", w.peers[:])
	w.startAfter(first, false, down)
	for _, p := range w.peers {
		if p != first && rapid.Bool().Draw(w.T, "also "+p.name) {
			w.advance(w.duration("later", 0, 5*time.Second))
			w.start(p)
		}
	}
}

// Accounts.

func password(n int) string { return fmt.Sprintf("plenty of words in a row %d", n) }

func (w *world) addPerson(n int) {
	p := &modelPerson{email: fmt.Sprintf("p%d@example.com", n), password: password(0)}
	u, err := w.up()[0].Accounts.Add(ctx, account.NewUser{Email: p.email, Password: p.password}, store.EventUserAdded, home)
	w.must(err)
	p.id = u.ID
	w.people = append(w.people, p)
}

// proves has a person type their password.
func (w *world) proves(who *modelPerson, p *peer) account.Proof {
	w.Helper()
	proof, err := p.Accounts.Authenticate(ctx, who.email, who.password, home)
	if who.locked {
		w.wants("sign-in of somebody locked", err, durward.AccountDisabled)
		w.Skip("locked")
	}
	w.must(err)
	return proof
}

// wants wants an error of one of these codes; an empty one is none.
func (w *world) wants(what string, err error, allowed ...durward.Code) {
	w.Helper()
	if got := codeOf(err); !slices.Contains(allowed, got) {
		w.Fatalf("%s: %v (%q), want %q", what, err, got, allowed)
	}
}

func codeOf(err error) durward.Code {
	var code durward.Code
	if err != nil && !errors.As(err, &code) {
		return "no code"
	}
	return code
}

func (w *world) signIn() {
	who, p := draw(w, "who", w.people), w.anyPeer()
	proof := w.proves(who, p)
	w.proved = append(w.proved, judged{who, who.changes, proof})
	w.signedIn(who, proof, w.anyPeer())
}

func held(key string) *durward.HeldKey {
	if key == "" {
		return nil
	}
	return &durward.HeldKey{Thumbprint: key, Spend: func() error { return nil }}
}

var proofKeys = []string{"", "", "thumbprint-one", "thumbprint-two"}

func (w *world) signedIn(who *modelPerson, proof account.Proof, p *peer) {
	w.Helper()
	key := draw(w, "key", proofKeys)
	t, err := p.Sessions.SignIn(ctx, proof, held(key), home)
	w.must(err)
	w.addSession(who, proof, t, key, p)
}

func (w *world) addSession(who *modelPerson, proof account.Proof, t session.Tokens, key string, p *peer) {
	w.Helper()
	now := w.now()
	s := &modelSession{id: t.Session, who: who, made: now, ends: now.Add(refreshAbsolute), auth: proof.At}
	s.grant = &modelGrant{session: s, key: key, tokens: []string{t.Refresh}, came: []time.Time{now}, grace: make(map[int]deadline), idle: now.Add(refreshLife), from: home}
	for _, other := range w.sessions() {
		if other.id == s.id {
			w.Fatalf("session %s began twice", s.id)
		}
	}
	who.sessions = append(who.sessions, s)
	w.addAccess(s, t, key != "", s.auth, p)
}

// addAccess notes an access token that a session was given.
func (w *world) addAccess(s *modelSession, t session.Tokens, bound bool, auth time.Time, p *peer) {
	w.Helper()
	principal, err := p.Issuer.Verifier().VerifyEnded(ctx, t.Access)
	w.must(err)
	issued := w.now().Truncate(time.Second)
	a := &modelAccess{session: s, token: t.Access, kid: keyOf(w, t.Access), issued: issued, expires: earlier(issued.Add(accessLife), s.ends.Truncate(time.Second)), auth: earlier(auth, issued).Truncate(time.Second), bound: bound}
	if s.grant != nil {
		a.expires = issued.Add(accessLife)
	}
	if principal.SessionID != s.id || principal.Subject != s.who.id || !principal.Expires.Equal(a.expires) && s.grant != nil || principal.Expires.After(a.expires) || !principal.AuthTime.Equal(a.auth) {
		w.Fatalf("access token of %s, session %s, until %s, signed in %s; want %s, %s, %s, %s", principal.Subject, principal.SessionID, principal.Expires, principal.AuthTime, s.who.id, s.id, a.expires, a.auth)
	}
	a.expires = principal.Expires
	s.access = append(s.access, a)
	if n := len(s.access); n > 12 {
		s.access = slices.Delete(s.access, 2, 3) // the first ones and the last ones tell most
	}
}

// signInLate uses a right password that was judged a while ago.
func (w *world) signInLate() {
	j, p := draw(w, "judged", w.proved), w.anyPeer()
	t, err := p.Sessions.SignIn(ctx, j.proof, nil, home)
	if j.who.locked || j.changes != j.who.changes {
		w.wants("sign-in of somebody changed since", err, durward.InvalidCredentials)
		return
	}
	w.must(err)
	w.addSession(j.who, j.proof, t, "", p)
}

func (w *world) signInCookie() {
	who, p := draw(w, "who", w.people), w.anyPeer()
	proof := w.proves(who, p)
	cookies, of := w.cookies()
	var old *modelCookie
	value := ""
	if len(cookies) > 0 && rapid.Bool().Draw(w.T, "with the old one") {
		old = draw(w, "old", cookies)
		value = old.value
	}
	p = w.anyPeer()
	value, err := p.Sessions.SignInCookie(ctx, proof, value, home)
	w.must(err)
	if old != nil {
		w.end(of[old], p)
	}
	now := w.now()
	principal, err := p.Sessions.AuthenticateCookie(ctx, value, false)
	w.must(err)
	s := &modelSession{id: principal.SessionID, who: who, made: now, ends: now.Add(cookieAbsolute), auth: proof.At}
	s.cookies = []*modelCookie{{value: value, used: now, auth: proof.At}}
	who.sessions = append(who.sessions, s)
}

// Refreshing.

// present shows token n of a grant at a node.
func (w *world) present(p *peer, g *modelGrant, n int, key string, from request.Info) (answer, session.Tokens) {
	w.Helper()
	allowed := w.refresh(g, n, key, from)
	t, err := p.Sessions.Refresh(ctx, g.tokens[n], held(key), from)
	a := w.answered(p, g, n, from, t, err, allowed)
	if s := g.session; err == nil {
		w.verify(s.access[len(s.access)-1], p)
	}
	return a, t
}

// answered judges an answer and changes the model by it.
func (w *world) answered(p *peer, g *modelGrant, n int, from request.Info, t session.Tokens, err error, allowed []answer) answer {
	w.Helper()
	at := g.at
	a := answer(codeOf(err))
	switch {
	case err == nil && n == at:
		a = moved
	case err == nil:
		a = again
	case t != (session.Tokens{}):
		w.Fatal("tokens beside an error")
	case slices.Contains(allowed, garbage) && (a == invalid || a == answer(durward.TooManyAttempts)):
		a = garbage
	}
	if !slices.Contains(allowed, a) {
		w.Fatalf("node %s, token %d of a grant at %d, %s after it was spent: %q (%v), want %q", p.name, n, at, w.now().Sub(g.grace[n].may.Add(-refreshGrace)), a, err, allowed)
	}
	w.must(w.refreshed(g, n, a, t.Refresh, from, p))
	w.Logf("%s: node %s answers token %d of session %s: %s", w.now().Format(time.StampMilli), p.name, n, g.session.id[24:], a)
	if err == nil {
		s := g.session
		if left := earlier(g.idle, s.ends).Sub(w.now()); t.RefreshLife != left || t.Session != s.id || t.Subject != s.who.id || t.Bound != (g.key != "") {
			w.Fatalf("a refresh token of %s for session %s, bound %t; want %s, %s, %t", t.RefreshLife, t.Session, t.Bound, left, s.id, g.key != "")
		}
		w.addAccess(s, t, g.key != "", s.auth, p)
	}
	return a
}

// anyGrant prefers what lives.
func (w *world) anyGrant() *modelGrant {
	all := w.grants()
	if alive := slices.DeleteFunc(slices.Clone(all), func(g *modelGrant) bool {
		return g.session.dead != nil || !w.now().Before(earlier(g.idle, g.session.ends))
	}); len(alive) > 0 && rapid.IntRange(0, 9).Draw(w.T, "alive") > 0 {
		all = alive
	}
	return draw(w, "grant", all)
}

// refreshHonestly is a client that shows the last token that it was given.
func (w *world) refreshHonestly() {
	g := w.anyGrant()
	if a, _ := w.present(w.anyPeer(), g, g.held, g.key, draw(w, "from", places)); a == moved || a == again {
		g.held = g.at
	}
}

func (w *world) refreshOften() {
	g := w.anyGrant()
	for range rapid.IntRange(1, 6).Draw(w.T, "times") {
		g.held = min(g.at, len(g.tokens)-1)
		if a, _ := w.present(w.anyPeer(), g, g.held, g.key, home); a == moved || a == again {
			g.held = g.at
		}
		w.advance(w.duration("then", 0, 20*time.Second))
	}
}

// loseAnswer is a client that does not get its answer and asks again, at any node.
func (w *world) loseAnswer() {
	g := w.anyGrant()
	n := g.at
	if a, _ := w.present(w.anyPeer(), g, n, g.key, home); a != moved {
		return
	}
	for range rapid.IntRange(1, 5).Draw(w.T, "tries") {
		w.advance(w.duration("then", 0, 5900*time.Millisecond))
		if a, _ := w.present(w.anyPeer(), g, n, g.key, home); a != again {
			w.Fatalf("an honest client was signed out: %s", a)
		}
	}
	g.held = g.at
}

// comeBackLate is a client that lost an answer and asks again after a while, from
// wherever it then is.
func (w *world) comeBackLate() {
	g := w.anyGrant()
	n := g.at
	from := draw(w, "from", places)
	if a, _ := w.present(w.anyPeer(), g, n, g.key, from); a != moved {
		return
	}
	w.pass(draw(w, "after", []time.Duration{time.Second, refreshGrace - time.Second, refreshGrace, time.Minute, time.Hour, 24 * time.Hour}))
	w.present(w.anyPeer(), g, n, g.key, draw(w, "from there", places))
}

// crashBeforeAnswer is a node that dies between a move and its answer, alone or as
// the last one that was up.
func (w *world) crashBeforeAnswer() {
	g, p := w.anyGrant(), w.anyPeer()
	n := g.at
	a, _ := w.present(p, g, n, g.key, home)
	g.held = min(g.held, n)
	w.drop(p)
	sure := !w.unsure || len(w.up()) > 0
	if len(w.up()) == 0 {
		down := w.now()
		w.advance(w.duration("down for", 0, 2*time.Hour))
		w.startAfter(p, false, down)
		w.advance(w.duration("then", 0, refreshGrace-time.Second))
	} else {
		w.advance(w.duration("then", 0, refreshGrace-10*time.Second))
	}
	if got, _ := w.present(w.anyPeer(), g, n, g.key, home); a == moved && got != again && sure && w.now().Before(earlier(g.idle, g.session.ends)) {
		w.Fatalf("a crash signed a client out: %s", got)
	}
}

// replay shows any token from anywhere, with or without a key.
func (w *world) replay() {
	g := w.anyGrant()
	n := rapid.IntRange(max(0, g.at-rapid.SampledFrom([]int{1, 1, 2, 5, 100}).Draw(w.T, "back")), len(g.tokens)-1).Draw(w.T, "n")
	key := g.key
	if rapid.IntRange(0, 2).Draw(w.T, "another key") == 0 {
		key = draw(w, "key", proofKeys)
	}
	times := rapid.SampledFrom([]int{1, 1, 1, 7}).Draw(w.T, "times")
	for range times {
		w.present(w.anyPeer(), g, n, key, draw(w, "from", places))
		if n >= g.at {
			return
		}
		w.advance(w.duration("then", 0, 3*time.Second))
	}
}

// replayQuickly shows one of the last tokens within the grace of them all.
func (w *world) replayQuickly() {
	g := w.anyGrant()
	for range draw(w, "moves", []int{5, 4, 3, 2, 6}) {
		if a, _ := w.present(w.anyPeer(), g, g.at, g.key, home); a != moved {
			return
		}
		w.advance(w.duration("then", 0, 4*time.Second))
	}
	w.present(w.anyPeer(), g, max(0, g.at-draw(w, "back", []int{5, 4, 3, 2, 1, 6})), g.key, draw(w, "from", places))
}

// spray shows the current token at all nodes at once: one successor comes of it.
func (w *world) spray() {
	g := w.anyGrant()
	n, key := g.at, g.key
	if allowed := w.refresh(g, n, key, home); !slices.Contains(allowed, moved) {
		w.Skip("dead")
	}
	many := rapid.IntRange(2, 8).Draw(w.T, "many")
	answers := make([]session.Tokens, many)
	errs := make([]error, many)
	nodes := make([]*peer, many)
	var all sync.WaitGroup
	for i := range many {
		nodes[i] = w.anyPeer()
		all.Go(func() { answers[i], errs[i] = nodes[i].Sessions.Refresh(ctx, g.tokens[n], held(key), home) })
	}
	all.Wait()
	w.answered(nodes[0], g, n, home, answers[0], errs[0], []answer{moved})
	for i := range many {
		if errs[i] != nil || answers[i].Refresh != answers[0].Refresh {
			w.Fatalf("one of %d at once: %v, the same successor %t", many, errs[i], answers[i].Refresh == answers[0].Refresh)
		}
	}
	g.held = g.at
}

// race lets a session be refreshed while it is ended, and somebody sign in while
// their account changes: what was ended stays so.
func (w *world) race() {
	who := draw(w, "who", w.people)
	if who.locked {
		w.Skip("locked")
	}
	p, other, ender := w.anyPeer(), w.anyPeer(), w.anyPeer()
	proof := w.proves(who, p)
	w.signedIn(who, proof, p)
	g := who.sessions[len(who.sessions)-1].grant
	deed := rapid.SampledFrom([]string{"sign out", "everywhere", "lock", "password", "theft"}).Draw(w.T, "deed")
	if deed == "theft" {
		w.present(p, g, 0, g.key, home)
	}
	n := g.at
	w.advance(time.Millisecond)
	var late, next session.Tokens
	var errLate, errNext, errDeed error
	var cookie string
	var errCookie error
	var all sync.WaitGroup
	all.Go(func() { next, errNext = p.Sessions.Refresh(ctx, g.tokens[n], held(g.key), home) })
	all.Go(func() { late, errLate = other.Sessions.SignIn(ctx, proof, nil, home) })
	principal, err := p.Issuer.Verifier().VerifyEnded(ctx, g.session.access[len(g.session.access)-1].token)
	w.must(err)
	var stepped session.Tokens
	var errStep error
	if w.now().Truncate(time.Second).Equal(g.session.auth.Truncate(time.Second)) { // so that the refresh beside it says the same
		all.Go(func() { stepped, errStep = other.Sessions.StepUp(ctx, proof, principal, home) })
	} else {
		errStep = durward.TokenRevoked
	}
	all.Go(func() { cookie, errCookie = p.Sessions.SignInCookie(ctx, proof, "", home) })
	all.Go(func() {
		switch deed {
		case "sign out":
			errDeed = ender.Sessions.SignOut(ctx, who.id, g.session.id, false, home)
		case "everywhere":
			errDeed = ender.Sessions.SignOut(ctx, who.id, g.session.id, true, home)
		case "lock":
			errDeed = ender.Sessions.LockUser(ctx, who.id, home)
		case "password":
			errDeed = ender.Sessions.SetPassword(ctx, proof.User, password(who.changes+1), home)
		case "theft":
			_, err := ender.Sessions.Refresh(ctx, g.tokens[0], held(g.key), elsewhere)
			if codeOf(err) != durward.SessionRevoked {
				errDeed = fmt.Errorf("theft is answered with %w", err)
			}
		}
	})
	all.Wait()
	w.must(errDeed)
	w.wants("refresh beside an end", errNext, "", durward.SessionRevoked)
	if errNext == nil {
		w.answered(p, g, n, home, next, nil, []answer{moved})
	}
	bad := durward.InvalidCredentials
	if deed != "lock" && deed != "password" {
		bad = "" // nothing about the person changed
	}
	w.wants("sign-in beside an end", errLate, "", bad)
	w.wants("step-up beside an end", errStep, "", bad, durward.TokenRevoked)
	if errStep == nil {
		g.session.auth = proof.At
		w.addAccess(g.session, stepped, g.key != "", g.session.auth, other)
	}
	w.wants("sign-in for a cookie beside an end", errCookie, "", bad)
	if errLate == nil {
		w.addSession(who, proof, late, "", other)
	}
	if errCookie == nil {
		id, err := w.sessionOf(p, cookie)
		w.must(err)
		s := &modelSession{id: id, who: who, made: w.now(), ends: w.now().Add(cookieAbsolute), auth: proof.At}
		s.cookies = []*modelCookie{{value: cookie, used: w.now(), auth: proof.At}}
		who.sessions = append(who.sessions, s)
	}
	switch deed {
	case "lock":
		who.locked = true
		w.endAll(who, nil, ender)
	case "password":
		who.changes++
		who.password = password(who.changes)
		w.endAll(who, nil, ender)
	case "everywhere":
		// Those that began meanwhile ended with the others, or began after.
		listed, err := ender.Sessions.List(ctx, who.id)
		w.must(err)
		for _, s := range who.sessions {
			if s == g.session || !slices.ContainsFunc(listed, func(row store.SessionRow) bool { return row.ID == s.id }) {
				w.end(s, ender)
			}
		}
		if len(listed) > 2 {
			w.Fatalf("%d sessions after the sign-out of all", len(listed))
		}
	case "theft":
		who.thefts++
		w.end(g.session, ender)
	default:
		w.end(g.session, ender)
	}
	for _, p := range w.up() {
		w.present(p, g, g.at, g.key, home)
	}
}

func (w *world) sessionOf(p *peer, cookie string) (string, error) {
	_, id, err := p.Sessions.SessionOfCookie(ctx, cookie)
	return id, err
}

// goBack loses the last moves of a grant, as a failover to a copy that lags does.
func (w *world) goBack() {
	g := w.anyGrant()
	steps := rapid.IntRange(1, 2).Draw(w.T, "steps")
	for range steps {
		if a, _ := w.present(w.anyPeer(), g, g.at, g.key, home); a != moved {
			return
		}
		w.advance(w.duration("then", 0, 10*time.Second))
	}
	for range steps {
		_, err := w.raw.ExecContext(ctx, `UPDATE grants SET generation = generation - 1, moved_0 = moved_1, moved_1 = moved_2, moved_2 = moved_3, moved_3 = 0 WHERE session_id = $1`, g.session.id)
		w.must(err)
		g.at--
		g.came = g.came[:g.at+1]
		delete(g.grace, g.at)
		// When the older ones were spent is lost with it.
		for n := range g.grace {
			if n <= g.at-4+steps {
				g.grace[n] = deadline{may: g.grace[n].may, from: g.grace[n].from}
			}
		}
	}
	if rapid.Bool().Draw(w.T, "and then") {
		w.present(w.anyPeer(), g, rapid.IntRange(g.at, g.at+steps).Draw(w.T, "n"), g.key, home)
	}
}

// Access tokens.

func keyOf(w *world, token string) string {
	kid, err := keyIDOf(token)
	w.must(err)
	return kid
}

// verify shows an access token at a node.
func (w *world) verify(a *modelAccess, p *peer) durward.Code {
	w.Helper()
	principal, err := p.Issuer.Verifier().Verify(ctx, a.token)
	w.wants(fmt.Sprintf("node %s, access token of session %s, issued at %s, now %s", p.name, a.session.id, a.issued, w.now()), err, w.verified(a, p)...)
	if err == nil && (principal.SessionID != a.session.id || principal.Subject != a.session.who.id || !principal.AuthTime.Equal(a.auth)) {
		w.Fatalf("the token is of %s, session %s, signed in at %s", principal.Subject, principal.SessionID, principal.AuthTime)
	}
	return codeOf(err)
}

// anyAccess prefers what has not ended.
func (w *world) anyAccess() *modelAccess {
	all := w.tokens()
	if alive := slices.DeleteFunc(slices.Clone(all), func(a *modelAccess) bool { return !w.now().Before(a.expires) }); len(alive) > 0 && rapid.IntRange(0, 9).Draw(w.T, "alive") > 0 {
		all = alive
	}
	return draw(w, "token", all)
}

func (w *world) verifySome() {
	for range 6 {
		w.verify(w.anyAccess(), w.anyPeer())
	}
}

func (w *world) revokeToken() {
	a, p := w.anyAccess(), w.anyPeer()
	principal, err := p.Issuer.Verifier().VerifyEnded(ctx, a.token)
	if err != nil { // its key is gone
		w.Skip(err)
	}
	until := a.expires.Add(time.Minute + time.Hour)
	_, err = p.DB.Revoke(ctx, string(revoked.Token), principal.TokenID, until)
	w.must(err)
	p.revocations.Poll(ctx)
	w.must(p.revocations.Err())
	r := w.revoke(p)
	r.until = until
	w.polled(p)
	if !w.now().Before(r.until) {
		clear(r.known)
	}
	if a.revoked == nil {
		a.revoked = r
	}
	w.verify(a, p)
}

// Cookies.

func (w *world) useCookie() {
	cookies, of := w.cookies()
	c := w.anyCookie(cookies, of)
	s, p, use := of[c], w.anyPeer(), rapid.Bool().Draw(w.T, "use")
	if rapid.Bool().Draw(w.T, "after a while") {
		w.pass(draw(w, "for", []time.Duration{30 * time.Second, time.Minute, 20 * time.Minute}))
	}
	may, mayNot := w.cookie(c, s)
	principal, err := p.Sessions.AuthenticateCookie(ctx, c.value, use)
	w.taken("cookie", err, may, mayNot)
	if err != nil {
		return
	}
	if principal.SessionID != s.id || principal.Subject != s.who.id || !principal.AuthTime.Equal(c.auth) || principal.Expires.After(s.ends) {
		w.Fatalf("a cookie speaks for %s, session %s, signed in at %s until %s; want %s, %s, %s, %s at the latest", principal.Subject, principal.SessionID, principal.AuthTime, principal.Expires, s.who.id, s.id, c.auth, s.ends)
	}
	if use && c.replaced.IsZero() {
		c.used = later(c.used, w.now())
	}
	if rapid.Bool().Draw(w.T, "token") && s.ends.Sub(w.now()) > 2*time.Second && principal.Expires.Sub(w.now()) > 2*time.Second {
		t, err := p.Sessions.CookieToken(ctx, c.value)
		w.must(err)
		if t.Refresh != "" {
			w.Fatal("a cookie gave a refresh token")
		}
		w.addAccess(s, t, false, c.auth, p)
	}
}

// anyCookie prefers what lives.
func (w *world) anyCookie(all []*modelCookie, of map[*modelCookie]*modelSession) *modelCookie {
	alive := slices.DeleteFunc(slices.Clone(all), func(c *modelCookie) bool {
		may, _ := w.cookie(c, of[c])
		return !may
	})
	if len(alive) > 0 && rapid.IntRange(0, 9).Draw(w.T, "alive") > 0 {
		all = alive
	}
	return draw(w, "cookie", all)
}

func (w *world) taken(what string, err error, may, mayNot bool) {
	w.Helper()
	switch {
	case may && mayNot:
		w.wants(what, err, "", durward.SessionExpired)
	case may:
		w.wants(what, err, "")
	default:
		w.wants(what, err, durward.SessionExpired)
	}
}

func (w *world) stepUpCookie() {
	cookies, of := w.cookies()
	c := w.anyCookie(cookies, of)
	s, p := of[c], w.anyPeer()
	may, mayNot := w.cookie(c, s)
	principal, err := p.Sessions.AuthenticateCookie(ctx, c.value, false)
	w.taken("cookie", err, may, mayNot)
	if err != nil {
		return
	}
	proof := w.proves(s.who, p)
	value, err := p.Sessions.StepUpCookie(ctx, proof, principal, c.value, home)
	w.must(err)
	if value == c.value {
		w.Fatal("the cookie of before")
	}
	for _, other := range s.cookies {
		if !other.replaced.IsZero() && !w.now().Before(earlier(other.replaced.Add(replacedGrace), other.used.Add(cookieIdle))) {
			other.swept = true
		}
	}
	if c.replaced.IsZero() {
		c.replaced = w.now()
	}
	s.auth = w.now()
	s.cookies = append(s.cookies, &modelCookie{value: value, used: w.now(), auth: w.now()})
}

// stepUp proves anew who somebody is, within a session of tokens.
func (w *world) stepUp() {
	a, p := w.anyAccess(), w.anyPeer()
	if w.verify(a, p) != "" || a.session.grant == nil {
		w.Skip("dead")
	}
	s, g := a.session, a.session.grant
	principal, err := p.Issuer.Verifier().Verify(ctx, a.token)
	w.must(err)
	proof := w.proves(s.who, p)
	t, err := p.Sessions.StepUp(ctx, proof, principal, home)
	if s.dead != nil || s.purged || !w.now().Before(earlier(g.idle, s.ends)) {
		w.wants("step-up of what has ended", err, durward.TokenRevoked)
		return
	}
	w.must(err)
	if t.Refresh != g.tokens[g.at] {
		w.Fatal("a step-up spent a refresh token")
	}
	s.auth = w.now()
	w.addAccess(s, t, g.key != "", s.auth, p)
}

// Ends.

func (w *world) signOut() {
	all := w.sessions()
	s, p := draw(w, "session", all), w.anyPeer()
	if s.purged {
		w.Skip("forgotten")
	}
	user, id := "", ""
	var err error
	if s.grant != nil {
		user, id, err = p.Sessions.SessionOfRefreshToken(ctx, draw(w, "token", s.grant.tokens))
	} else {
		user, id, err = p.Sessions.SessionOfCookie(ctx, draw(w, "cookie", s.cookies).value)
		if codeOf(err) == durward.SessionExpired { // a replaced one that was swept
			w.Skip(err)
		}
	}
	w.must(err)
	if user != s.who.id || id != s.id {
		w.Fatalf("a token of %s, session %s, is said to be of %s, %s", s.who.id, s.id, user, id)
	}
	everywhere := rapid.IntRange(0, 5).Draw(w.T, "everywhere") == 0
	w.must(p.Sessions.SignOut(ctx, user, id, everywhere, home))
	if everywhere {
		w.endAll(s.who, nil, p)
	} else {
		w.end(s, p)
	}
}

func (w *world) endOne() {
	s, who, p := draw(w, "session", w.sessions()), draw(w, "who", w.people), w.anyPeer()
	err := p.Sessions.End(ctx, who.id, s.id, store.EventSessionEnded, home)
	if who != s.who || s.purged {
		if !errors.Is(err, store.ErrNotFound) {
			w.Fatalf("somebody else's session: %v", err)
		}
		return
	}
	w.must(err)
	w.end(s, p)
}

func (w *world) lockOrUnlock() {
	who, p := draw(w, "who", w.people), w.anyPeer()
	if who.locked {
		w.must(p.Accounts.Unlock(ctx, who.id, home))
		who.locked = false
		return
	}
	if rapid.IntRange(0, 2).Draw(w.T, "lock") > 0 {
		w.Skip("not now")
	}
	w.must(p.Sessions.LockUser(ctx, who.id, home))
	who.locked = true
	w.proved = slices.DeleteFunc(w.proved, func(j judged) bool { return j.who == who && rapid.Bool().Draw(w.T, "forget") })
	w.endAll(who, nil, p)
}

func (w *world) changePassword() {
	who, p := draw(w, "who", w.people), w.anyPeer()
	if who.locked {
		w.Skip("locked")
	}
	next := password(who.changes + 1)
	var keep *modelSession
	if rapid.Bool().Draw(w.T, "by the operator") {
		proof := w.proves(who, p)
		w.must(p.Sessions.SetPassword(ctx, proof.User, next, home))
	} else {
		keep = draw(w, "keep", who.sessions)
		_, err := p.Sessions.ChangePassword(ctx, &durward.Principal{Subject: who.id, SessionID: keep.id}, who.password, next, "", home)
		w.must(err)
	}
	who.changes++
	who.password = next
	w.endAll(who, keep, p)
}

// API keys.

func (w *world) makeKey() {
	a, p := w.anyAccess(), w.anyPeer()
	if w.verify(a, p) != "" {
		w.Skip("dead")
	}
	maker, err := p.Issuer.Verifier().Verify(ctx, a.token)
	w.must(err)
	k, text, err := p.Accounts.CreateKey(ctx, maker, account.NewKey{Name: "robot"}, home)
	if a.session.dead != nil || a.session.purged || a.session.who.locked {
		w.wants("key of a session that has ended", err, durward.TokenRevoked)
		return
	}
	w.must(err)
	a.session.who.keys = append(a.session.who.keys, &modelKey{text: text.Reveal(), id: k.ID})
}

func (w *world) useKeys() {
	who := draw(w, "who", w.people)
	for _, k := range who.keys {
		got, err := w.anyPeer().Accounts.AuthenticateKey(ctx, k.text, home)
		if k.revoked || who.locked {
			w.wants("dead key", err, durward.InvalidAPIKey)
			continue
		}
		w.must(err)
		if got.UserID != who.id {
			w.Fatalf("a key of %s is said to be of %s", who.id, got.UserID)
		}
	}
}

func (w *world) endKey() {
	who := draw(w, "who", w.people)
	k := draw(w, "key", who.keys)
	err := w.anyPeer().Accounts.RevokeKey(ctx, who.id, k.id, "", home)
	if k.revoked {
		if !errors.Is(err, store.ErrNotFound) {
			w.Fatalf("a key that was revoked: %v", err)
		}
		return
	}
	w.must(err)
	k.revoked = true
}

// What is there in the end.

func (w *world) list() {
	who, p := draw(w, "who", w.people), w.anyPeer()
	w.lists(who, p)
}

func (w *world) lists(who *modelPerson, p *peer) {
	w.Helper()
	must, may := w.listed(who)
	rows, err := p.Sessions.List(ctx, who.id)
	w.must(err)
	for _, row := range rows {
		if !may[row.ID] {
			w.Fatalf("session %s is listed and has ended, or never began", row.ID)
		}
		delete(must, row.ID)
		may[row.ID] = false // not twice
	}
	if len(must) > 0 {
		w.Fatalf("sessions %v live and are not listed", slices.Collect(maps.Keys(must)))
	}
}

// audit compares all that was ever made with the rows, and shows each token once
// more at each node, after a poll.
func (w *world) audit() {
	for _, p := range w.up() {
		w.tick(p)
		for _, a := range w.tokens() {
			w.verify(a, p)
		}
	}
	p := w.up()[0]
	var sessions, grants int
	w.must(w.raw.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM sessions), (SELECT count(*) FROM grants)`).Scan(&sessions, &grants))
	for _, who := range w.people {
		w.lists(who, p)
		told, err := p.DB.Notifications(ctx, who.id, "", 1000)
		w.must(err)
		thefts := 0
		for _, n := range told {
			if n.Kind == "session_ended_by_theft" {
				thefts++
			}
		}
		if thefts != who.thefts {
			w.Fatalf("%s was told of %d thefts, there were %d", who.email, thefts, who.thefts)
		}
		for _, s := range who.sessions {
			if s.purged {
				continue
			}
			sessions--
			var ends, ended int64
			w.must(w.raw.QueryRowContext(ctx, `SELECT ends_at, ended_at FROM sessions WHERE id = $1 AND user_id = $2`, s.id, who.id).Scan(&ends, &ended))
			if !time.UnixMicro(ends).Equal(s.ends) || (ended != 0) != (s.dead != nil) {
				w.Fatalf("session %s ends at %s, want %s; it has ended: %t, want %t", s.id, time.UnixMicro(ends).UTC(), s.ends, ended != 0, s.dead != nil)
			}
			if s.grant == nil {
				continue
			}
			grants--
			var generation int
			w.must(w.raw.QueryRowContext(ctx, `SELECT generation, ends, ended_at FROM grants WHERE session_id = $1`, s.id).Scan(&generation, &ends, &ended))
			if generation != s.grant.at || !time.UnixMicro(ends).Equal(s.ends) || (ended != 0) != (s.dead != nil) {
				w.Fatalf("the grant is at %d until %s, want %d until %s; it has ended: %t, want %t", generation, time.UnixMicro(ends).UTC(), s.grant.at, s.ends, ended != 0, s.dead != nil)
			}
		}
	}
	if sessions != 0 || grants != 0 {
		w.Fatalf("%d sessions and %d grants too many", sessions, grants)
	}
	// The last word of every client that lives.
	for _, g := range w.grants() {
		w.present(w.anyUp(), g, g.at, g.key, home)
	}
	for _, p := range w.up() {
		for _, who := range w.people {
			w.lists(who, p)
		}
	}
}

func (w *world) anyUp() *peer { return w.up()[len(w.proved)%len(w.up())] }

// keyIDOf reads which key signed a token.
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
