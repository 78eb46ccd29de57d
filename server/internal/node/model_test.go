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

// This file models tokens and sessions after docs/server.md, independently of the program: the
// outcome of each action at a time of the clock, and its effect. It has no database and no tokens. If
// the rules leave a matter open, it lists all allowed outcomes.

// The default settings.
const (
	accessLife      = 15 * time.Minute
	refreshLife     = 7 * 24 * time.Hour
	refreshAbsolute = 30 * 24 * time.Hour
	refreshGrace    = 30 * time.Second
	cookieIdle      = 30 * time.Minute
	cookieAbsolute  = 12 * time.Hour
	cookieExact     = time.Minute      // precision of the idle end of a cookie
	replacedGrace   = 30 * time.Second // of a replaced cookie
	ahead           = 10 * time.Second // accepted lead of a token's time

	// A revocation counts until the last affected token has expired, plus a minute of leeway and
	// an hour for clocks. The database keeps it one day longer.
	revokedFor  = accessLife + time.Minute + time.Hour
	revokedKept = 24 * time.Hour

	// All tokens of a signing key have expired after this time.
	keyWithdrawnFor = 24*time.Hour + time.Minute + time.Hour

	sessionsKept = 7 * 24 * time.Hour // after their absolute end
)

// answer is the outcome of a refresh: the next token, the current one again, or a code.
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

// modelUser is a user with an account.
type modelUser struct {
	id, email, password string
	locked              bool
	thefts              int // that the user was notified of
	sessions            []*modelSession
	keys                []*modelKey
	changes             int // password changes and locks
}

// modelSession is one sign-in, with a grant or with cookies.
type modelSession struct {
	id      string
	who     *modelUser
	made    time.Time
	born    time.Time // in time of running
	ends    time.Time // never moves
	auth    time.Time // of the last proof
	dead    *modelRevocation
	purged  bool
	grant   *modelGrant
	cookies []*modelCookie
	access  []*modelAccess
}

// modelGrant is a chain of refresh tokens: all that were issued, by number. at is the number of the
// current one.
type modelGrant struct {
	session *modelSession
	key     string // thumbprint of the DPoP key; empty for none
	tokens  []string
	at      int
	came    []time.Time      // time at which each number became current
	grace   map[int]deadline // of the used ones
	idle    time.Time
	from    request.Info // of the last refresh
	fewest  int          // least number of repeated responses of this generation that count
	most    int
	held    int // number that the honest client has
}

// deadline is the end of a grace period. Before must the token works; from may on it does not.
// Between them the rules leave it open, because a node cannot know whether another was running.
//
// If the clock was set back to before the start of a node, the node cannot distinguish tokens that
// were used before and after it. So from each time in from, such a token may work for another grace
// period.
//
// anew is the time at which an outage restarted the grace period. If the clock was set back to before
// it, the rules leave the outcome open.
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
	auth     time.Time // time of the proof that its rights come from
	replaced time.Time // zero while it is current
	swept    bool      // deleted after its end
}

type modelAccess struct {
	session *modelSession
	token   string
	kid     string
	issued  time.Time // whole seconds
	expires time.Time
	auth    time.Time
	bound   bool
	revoked *modelRevocation // by its own id
}

type modelKey struct {
	text, id string
	revoked  bool
}

// modelRevocation is one entry of the feed, with the nodes that certainly know it.
type modelRevocation struct {
	until     time.Time // in time of running
	known     map[*peer]bool
	forgotten bool // deleted by the database
}

// model is the whole state.
type model struct {
	now         func() time.Time
	running     func() time.Time // moves only while a node runs
	users       []*modelUser
	revocations []*modelRevocation
	alive       time.Time                   // last heartbeat of a node
	starts      []time.Time                 // of nodes
	unsure      bool                        // the clock was set back since the last heartbeat
	gone        map[string]time.Time        // ended signing keys, with the end of their signing
	withdrawn   map[string]*modelRevocation // stolen ones
}

func (m *model) sessions() (all []*modelSession) {
	for _, p := range m.users {
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

// revoke adds a revocation that the node at knows.
func (m *model) revoke(at *peer) *modelRevocation {
	r := &modelRevocation{until: m.running().Add(revokedFor), known: map[*peer]bool{at: true}}
	m.revocations = append(m.revocations, r)
	return r
}

// end ends a session at a node.
func (m *model) end(s *modelSession, at *peer) {
	if s.dead == nil && !s.purged {
		s.dead = m.revoke(at)
	}
}

func (m *model) endAll(p *modelUser, keep *modelSession, at *peer) {
	for _, s := range p.sessions {
		if s != keep {
			m.end(s, at)
		}
	}
}

// polled records that a node has read the feed.
func (m *model) polled(at *peer) {
	at.fresh = m.now()
	for _, r := range m.revocations {
		if !r.forgotten {
			r.known[at] = true
		}
	}
}

// passed records a change of the clock: nodes may have deleted expired revocations from memory. They
// read them again if the clock is set back.
func (m *model) passed() {
	for _, r := range m.revocations {
		if !m.running().Before(r.until) {
			clear(r.known)
		}
	}
}

// purge deletes old rows, as the cleaning of a node does.
func (m *model) purge() {
	for _, r := range m.revocations {
		if !m.running().Before(r.until.Add(revokedKept)) {
			r.forgotten = true
		}
	}
}

// started records the start of a node. others reports whether another was running; down is the time
// at which the last one stopped.
func (m *model) started(others bool, down time.Time) {
	now := m.now()
	for _, g := range m.grants() {
		for n, d := range g.grace {
			if !others && !m.unsure && d.must.After(down) && !down.Before(d.anew) {
				// The grace period had not ended when the last node stopped: it restarts.
				d.must, d.anew = now.Add(refreshGrace), now
			}
			if d.may.After(earlier(m.alive, down)) || m.alive.After(now) || m.unsure { // a heartbeat in the future proves nothing
				d.may = later(d.may, now.Add(refreshGrace))
			}
			g.grace[n] = d
		}
	}
	m.alive, m.unsure, m.starts = now, false, append(m.starts, now)
}

// refresh returns the allowed outcomes of a refresh with token n of g.
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
		return []answer{again} // the store was rolled back by one refresh
	case n > g.at+1:
		return []answer{invalid}
	case g.from.Network() != from.Network() && g.from.Browser() != from.Browser():
		return []answer{ended}
	}
	lost := []answer{ended} // after the grace period, or after too many repetitions
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

// counts reports whether a repeated response now counts as one of the five.
func (m *model) counts(g *modelGrant) bool { return m.now().Sub(g.came[g.at]).Abs() >= time.Second }

// refreshed updates the model after a refresh.
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
				return errors.New("got a token that was issued before")
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
		return fmt.Errorf("got another token than number %d of the grant: there are two successors", g.at)
	}
	return nil
}

// verified returns the allowed outcomes of a verification. A node with revocations older than
// the lifetime of a token accepts no token.
func (m *model) verified(a *modelAccess, at *peer) []durward.Code {
	all := m.verifiedFresh(a, at)
	if m.now().Sub(at.fresh) > accessLife {
		all = append(slices.DeleteFunc(all, func(c durward.Code) bool { return c == "" }), durward.AuthUnavailable)
	}
	return all
}

func (m *model) verifiedFresh(a *modelAccess, at *peer) (all []durward.Code) {
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
		case !at.keys[a.kid] || stolen.known[at]:
			return all
		}
		return append(all, ok)
	case a.bound, gone && !at.keys[a.kid]:
		// It was sent without a proof of its key, or its signing key has ended. A key may end before
		// its last token only if the clock was set back, or if the signer had not yet read the end of
		// its key.
		if !a.bound && !a.issued.After(retired) && now.Before(a.expires) && !at.e.setBack {
			return []durward.Code{"want the key to verify until its last token has expired"}
		}
		return []durward.Code{durward.InvalidToken}
	case !at.keys[a.kid]:
		return []durward.Code{durward.InvalidToken} // this node has not read the key yet
	case a.issued.After(now.Add(ahead)):
		all = append(all, durward.InvalidToken) // an earlier verification is cached
	}
	dead := func(r *modelRevocation) (can, must bool) {
		return r != nil, r != nil && r.known[at]
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

// cookie reports whether a cookie may be accepted, and whether it may be refused.
func (m *model) cookie(c *modelCookie, s *modelSession) (may, mayNot bool) {
	now := m.now()
	if c.swept {
		defer func() { mayNot = true }()
	}
	switch idle := c.used.Add(cookieIdle); {
	case s.dead != nil || s.purged || !now.Before(s.ends) || !now.Before(idle):
		return false, true
	case !c.replaced.IsZero() && !now.Before(c.replaced.Add(replacedGrace)):
		return false, true
	case !now.Before(idle.Add(-cookieExact)):
		return true, true
	}
	return true, false
}

// listed returns the sessions of a user that the list must contain, and those that it may contain.
func (m *model) listed(p *modelUser) (must, may map[string]bool) {
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
