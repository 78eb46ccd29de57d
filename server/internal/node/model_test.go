package node

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/request"
)

// What follows is the life of tokens and sessions in the plainest words, written
// from docs/server.md and not from the program: who may do what at a moment of the
// clock, and what that changes. It knows no database and makes no token. Where the
// rules leave a matter open, it names all answers that they allow.

// The standards that nobody changed.
const (
	accessLife      = 15 * time.Minute
	refreshLife     = 7 * 24 * time.Hour
	refreshAbsolute = 30 * 24 * time.Hour
	refreshGrace    = 30 * time.Second
	cookieIdle      = 30 * time.Minute
	cookieAbsolute  = 12 * time.Hour
	cookieExact     = time.Minute      // to which the idle end of a cookie is known
	replacedGrace   = 30 * time.Second // of a cookie that another took the place of
	ahead           = 10 * time.Second // that a token may lie in the future

	// A revocation counts until the last token that it could concern has ended, a
	// minute of leeway and an hour for clocks; it is written down a day longer.
	revokedFor  = accessLife + time.Minute + time.Hour
	revokedKept = 24 * time.Hour

	// What a signing key signed is of no use after so long, whoever signed it.
	keyWithdrawnFor = 24*time.Hour + time.Minute + time.Hour

	sessionsKept = 7 * 24 * time.Hour // after their absolute end
)

// answer is what a refresh gives: the next token, the current one again, or a
// code.
type answer string

const (
	moved   answer = "the next token"
	again   answer = "the current token again"
	garbage answer = "never issued"

	ended    = answer(durward.SessionRevoked)
	expired  = answer(durward.RefreshExpired)
	invalid  = answer(durward.RefreshInvalid)
	wrongKey = answer(durward.InvalidProof)
)

// modelPerson is somebody with an account.
type modelPerson struct {
	id, email, password string
	locked              bool
	thefts              int // of which they are told
	sessions            []*modelSession
	keys                []*modelKey
	changes             int // of the password, and locks
}

// modelSession is one sign-in, held by a grant or by cookies.
type modelSession struct {
	id      string
	who     *modelPerson
	made    time.Time
	ends    time.Time // never moves
	auth    time.Time // of the last proof
	dead    *modelRevocation
	purged  bool
	grant   *modelGrant
	cookies []*modelCookie
	access  []*modelAccess
}

// modelGrant is what refreshes. tokens are those that ever were given, by their
// numbers; at is the current one's.
type modelGrant struct {
	session *modelSession
	key     string // that it is bound to; empty for none
	tokens  []string
	at      int
	came    []time.Time      // when each number became current
	grace   map[int]deadline // of the spent ones
	idle    time.Time
	from    request.Info // of the last move
	fewest  int          // answers given again in this generation that count
	most    int
	held    int // that the honest client holds
}

// deadline is the end of a grace: before must the token works, from may on it does
// not. Between them the rules leave it open, where a node cannot know whether
// another was up.
//
// What was spent under a clock that was put back to before the start of a node, a
// node cannot tell from what was spent before it: from that moment on, for a grace,
// it may work again.
//
// A grace that an outage made begin anew did so at anew: of a clock that was put back
// to before that, the rules say nothing.
type deadline struct {
	must, may, anew time.Time
	from            []time.Time
}

func (d deadline) sure(now time.Time) bool { return now.Before(d.must) && !now.Before(d.anew) }

func (d deadline) open(now time.Time) bool {
	return now.Before(d.may) || slices.ContainsFunc(d.from, func(start time.Time) bool {
		return !now.Before(start) && now.Before(start.Add(refreshGrace))
	})
}

type modelCookie struct {
	value    string
	used     time.Time // the latest
	auth     time.Time // its rights are those of this proof
	replaced time.Time // zero while it is current
	swept    bool      // after it had ended
}

type modelAccess struct {
	session *modelSession
	token   string
	kid     string
	issued  time.Time // whole seconds
	expires time.Time
	auth    time.Time
	bound   bool
	revoked *modelRevocation // by itself
}

type modelKey struct {
	text, id string
	revoked  bool
}

// modelRevocation is one entry of the feed, and which nodes are sure to know it.
type modelRevocation struct {
	until     time.Time
	known     map[*peer]bool
	forgotten bool // by the database: a clock was ahead by days, and back again
}

// model is all of it at one moment of the clock.
type model struct {
	now         func() time.Time
	people      []*modelPerson
	revocations []*modelRevocation
	alive       time.Time                   // last sign of life that a node left
	starts      []time.Time                 // of nodes
	unsure      bool                        // the clock was put back since the last sign of life
	gone        map[string]time.Time        // signing keys that are no more, and when they ceased to sign
	withdrawn   map[string]*modelRevocation // stolen ones
}

func (m *model) sessions() (all []*modelSession) {
	for _, p := range m.people {
		all = append(all, p.sessions...)
	}
	return all
}

func (m *model) grants() (all []*modelGrant) {
	for _, s := range m.sessions() {
		if s.grant != nil {
			all = append(all, s.grant)
		}
	}
	return all
}

func (m *model) cookies() (all []*modelCookie, of map[*modelCookie]*modelSession) {
	of = make(map[*modelCookie]*modelSession)
	for _, s := range m.sessions() {
		for _, c := range s.cookies {
			all, of[c] = append(all, c), s
		}
	}
	return all, of
}

func (m *model) tokens() (all []*modelAccess) {
	for _, s := range m.sessions() {
		all = append(all, s.access...)
	}
	return all
}

// revoke enters a revocation that at knows.
func (m *model) revoke(at *peer) *modelRevocation {
	r := &modelRevocation{until: m.now().Add(revokedFor), known: map[*peer]bool{at: true}}
	m.revocations = append(m.revocations, r)
	return r
}

// end ends a session by a deed at a node.
func (m *model) end(s *modelSession, at *peer) {
	if s.dead == nil && !s.purged {
		s.dead = m.revoke(at)
	}
}

func (m *model) endAll(p *modelPerson, keep *modelSession, at *peer) {
	for _, s := range p.sessions {
		if s != keep {
			m.end(s, at)
		}
	}
}

// polled says that a node has read the feed.
func (m *model) polled(at *peer) {
	at.fresh = m.now()
	for _, r := range m.revocations {
		if !r.forgotten && m.now().Before(r.until) {
			r.known[at] = true
		}
	}
}

// passed is called when the clock was moved: what has ended by a node's clock may
// have been swept from its memory.
func (m *model) passed() {
	for _, r := range m.revocations {
		if !m.now().Before(r.until) {
			clear(r.known)
		}
	}
}

// purge is what the housekeeping of a node forgets.
func (m *model) purge() {
	for _, r := range m.revocations {
		if !m.now().Before(r.until.Add(revokedKept)) {
			r.forgotten = true
		}
	}
	for _, s := range m.sessions() {
		if s.ends.Before(m.now().Add(-sessionsKept)) {
			s.purged = true
		}
	}
}

// started says that a node came up at now, of which others were up before.
func (m *model) started(others bool, down time.Time) {
	now := m.now()
	for _, g := range m.grants() {
		for n, d := range g.grace {
			if !others && !m.unsure && d.must.After(down) && !down.Before(d.anew) {
				// The grace had not run out when the last node ended: it begins anew.
				d.must, d.anew = now.Add(refreshGrace), now
			}
			if d.may.After(earlier(m.alive, down)) || m.alive.After(now) || m.unsure { // a sign from the future says nothing
				d.may = later(d.may, now.Add(refreshGrace))
			}
			g.grace[n] = d
		}
	}
	m.alive, m.unsure, m.starts = now, false, append(m.starts, now)
}

// refresh says what token n of g may be answered with.
func (m *model) refresh(g *modelGrant, n int, key string, from request.Info) []answer {
	now, s := m.now(), g.session
	switch {
	case s.purged:
		return []answer{garbage}
	case s.dead != nil:
		return []answer{ended}
	case !now.Before(g.idle) || !now.Before(s.ends):
		return []answer{expired}
	case g.key != "" && key != g.key:
		return []answer{wrongKey}
	case n == g.at:
		return []answer{moved}
	case n == g.at+1:
		return []answer{again} // the store went one step back
	case n > g.at+1:
		return []answer{invalid}
	case g.from.Network() != from.Network() && g.from.Browser() != from.Browser():
		return []answer{ended}
	}
	lost := []answer{ended} // once the grace is over, or used up
	switch {
	case n == g.at-1 && g.key != "":
		lost = []answer{again}
	case n == g.at-1:
		lost = []answer{invalid}
	}
	if n < g.at-4 {
		return lost
	}
	d := g.grace[n]
	var all []answer
	if d.open(now) && (g.fewest < 5 || !m.counts(g)) {
		all = append(all, again)
	}
	if !d.sure(now) || g.most >= 5 && m.counts(g) {
		all = append(all, lost...)
	}
	return all
}

// counts says whether an answer given again now is one of the five.
func (m *model) counts(g *modelGrant) bool { return m.now().Sub(g.came[g.at]).Abs() >= time.Second }

// refreshed changes what an answer changes.
func (m *model) refreshed(g *modelGrant, n int, a answer, token string, from request.Info, at *peer) error {
	now := m.now()
	step := func(to int) {
		d := deadline{must: now.Add(refreshGrace), may: now.Add(refreshGrace)}
		for _, start := range m.starts {
			if now.Before(start) {
				d.from = append(d.from, start)
			}
		}
		g.grace[to-1] = d
		g.came = append(g.came[:to], now)
		g.at, g.from, g.idle, g.fewest, g.most = to, from, earlier(now.Add(refreshLife), g.session.ends), 0, 0
	}
	switch {
	case a == moved:
		step(g.at + 1)
		if len(g.tokens) == g.at {
			if slices.Contains(g.tokens, token) {
				return errors.New("a token was given twice")
			}
			g.tokens = append(g.tokens, token)
		}
	case a == again && n == g.at+1:
		step(n)
	case a == again:
		if m.counts(g) && g.grace[n].open(now) {
			g.most++
			if g.grace[n].sure(now) {
				g.fewest++
			}
		}
	case a == ended && g.session.dead == nil:
		g.session.who.thefts++
		m.end(g.session, at)
	case a == invalid:
		m.end(g.session, at)
	}
	if (a == moved || a == again) && g.tokens[g.at] != token {
		return fmt.Errorf("not token %d of the grant: there are two successors", g.at)
	}
	return nil
}

// verified says how a node may judge an access token. A list of revocations that is
// older than a token lives serves nobody.
func (m *model) verified(a *modelAccess, at *peer) []durward.Code {
	all := m.judged(a, at)
	if m.now().Sub(at.fresh) > accessLife {
		all = append(slices.DeleteFunc(all, func(c durward.Code) bool { return c == "" }), durward.AuthUnavailable)
	}
	return all
}

func (m *model) judged(a *modelAccess, at *peer) (all []durward.Code) {
	now := m.now()
	ok := durward.Code("")
	retired, gone := m.gone[a.kid]
	stolen := m.withdrawn[a.kid]
	switch {
	case stolen != nil && a.bound:
		return []durward.Code{durward.InvalidToken, durward.TokenRevoked}
	case stolen != nil:
		all = append(all, durward.InvalidToken, durward.TokenRevoked)
		switch {
		case !now.Before(a.expires):
			return append(all, durward.TokenExpired)
		case !at.keys[a.kid] || stolen.known[at] && now.Before(stolen.until):
			return all
		}
		return append(all, ok)
	case a.bound, gone && !at.keys[a.kid]:
		// It came without a proof of its key; or what signed it verifies no more.
		// The latter is soon enough only where a clock was put back, or the signer
		// had not heard that its key was to sign no more.
		if !a.bound && !a.issued.After(retired) && now.Before(a.expires) && !at.w.setBack {
			return []durward.Code{"a key that verifies until its last token has ended"}
		}
		return []durward.Code{durward.InvalidToken}
	case !at.keys[a.kid]:
		return []durward.Code{durward.InvalidToken} // this node has not heard of the key yet
	case a.issued.After(now.Add(ahead)):
		all = append(all, durward.InvalidToken) // what was verified before is not judged anew
	}
	dead := func(r *modelRevocation) (can, must bool) {
		return r != nil, r != nil && r.known[at] && now.Before(r.until)
	}
	can1, must1 := dead(a.session.dead)
	can2, must2 := dead(a.revoked)
	switch {
	case !now.Before(a.expires):
		return append(all, durward.TokenExpired)
	case must1 || must2:
		return append(all, durward.TokenRevoked)
	case can1 || can2:
		return append(all, durward.TokenRevoked, ok)
	}
	return append(all, ok)
}

// cookie says whether a cookie may be taken, and whether it may be refused.
func (m *model) cookie(c *modelCookie, s *modelSession) (may, mayNot bool) {
	now := m.now()
	switch idle := c.used.Add(cookieIdle); {
	case s.dead != nil || s.purged || c.swept || !now.Before(s.ends) || !now.Before(idle):
		return false, true
	case !c.replaced.IsZero() && !now.Before(c.replaced.Add(replacedGrace)):
		return false, true
	case !now.Before(idle.Add(-cookieExact)):
		return true, true
	}
	return true, false
}

// listed says which of a person's sessions are shown as live, and which may be.
func (m *model) listed(p *modelPerson) (must, may map[string]bool) {
	must, may = make(map[string]bool), make(map[string]bool)
	for _, s := range p.sessions {
		if s.dead != nil || s.purged || !m.now().Before(s.ends) {
			continue
		}
		if s.grant != nil && m.now().Before(s.grant.idle) {
			must[s.id], may[s.id] = true, true
		}
		for _, c := range s.cookies {
			can, not := m.cookie(c, s)
			may[s.id] = may[s.id] || can
			must[s.id] = must[s.id] || can && !not
		}
	}
	maps.DeleteFunc(must, func(_ string, is bool) bool { return !is })
	return must, may
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
