package client

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/durward-auth/durward"
)

// PasswordConfig configures [Password]. Origin is required, and User or Password: some servers take
// an API key as one of them, with the other empty.
type PasswordConfig struct {
	// Origin receives the password, such as https://files.example.com. In Transport.ProxySources it
	// is the proxy's, such as http://proxy.example.com:3128.
	Origin string

	// Realm, if set, restricts the answers to challenges of this realm.
	Realm string

	// User and Password are UTF-8. Basic cannot send a user name with a colon.
	User, Password string

	// NoBasic answers Digest only, so the password itself is never sent.
	NoBasic bool

	// InsecureBasic sends the password by Basic over plain http, where anyone on the network path
	// can read it. Otherwise Basic needs https or a loopback host.
	InsecureBasic bool

	// InsecureMD5 answers Digest with MD5, for servers that support nothing else.
	InsecureMD5 bool

	// InsecureNoQOP answers Digest without qop (RFC 2069), for old cameras and phones; most of them
	// need InsecureMD5 too. An attacker on the network path can send such an answer again, and can
	// find a weak password with tables made in advance.
	InsecureNoQOP bool
}

// Password returns a source that answers Basic (RFC 7617) and Digest (RFC 7616) challenges. It
// sends nothing before the origin has sent a challenge; later requests to the same protection space
// carry the answer at once. After a refused password it does not answer that realm again.
func Password(c PasswordConfig) Source {
	p := &password{c: c}
	p.origin = p.originIn("Origin", c.Origin, "", true)
	if c.User == "" && c.Password == "" {
		p.mistake("User and Password are empty")
	}
	for _, s := range []struct{ name, value string }{{"User", c.User}, {"Password", c.Password}} {
		if !utf8.ValidString(s.value) || strings.ContainsFunc(s.value, unicode.IsControl) { // RFC 7617 s2
			p.mistake("%s has control characters or is not UTF-8", s.name)
		}
	}
	return own{p}
}

type password struct {
	checked
	c      PasswordConfig
	origin origin

	mu      sync.Mutex
	spaces  []*space // most recently used first
	refused []string // realms that refused the password
	floor   int      // weaker challenges are not answered
}

// space is a protection space (RFC 9110 s11.5) with its latest challenge.
type space struct {
	scheme string
	realm  string
	under  []string     // path prefixes
	level  int          // strength of the challenge
	digest *digestState // nil for Basic
	unused bool         // no answer to the challenge was sent yet; p.mu is held
}

// maxSpaces bounds the protection spaces of one origin.
const maxSpaces = 64

// answered describes the answer in an attempt.
type answered struct {
	space *space
	fresh bool   // the first to its challenge, so a refusal means that the password is wrong
	nonce string // of the answer
}

func (p *password) answer(a *attempt, offered []durward.Challenge) error {
	if a.origin != p.origin || p.origin == (origin{}) {
		return ErrNoAnswer
	}
	if offered == nil {
		return p.preempt(a)
	}
	before, _ := a.state.(*answered)
	for _, c := range offered {
		s, err := p.spaceOf(a, c)
		if err != nil {
			return err
		}
		if s == nil {
			continue
		}
		if before != nil && before.fresh && !isStale(c) {
			continue // the server refused the answer to its own challenge, whatever realm it names now
		}
		return p.send(a, s, true)
	}
	return ErrNoAnswer
}

// preempt answers the known challenge of the nearest protection space (RFC 7617 s2.2, RFC 7616
// s3.6).
func (p *password) preempt(a *attempt) error {
	p.mu.Lock()
	var found *space
	longest := -1
	for _, s := range p.spaces {
		if n := s.match(a.path()); n > longest {
			found, longest = s, n
		}
	}
	if found == nil || found.level < p.floor {
		p.mu.Unlock()
		return ErrNoAnswer
	}
	unused := found.unused
	found.unused = false
	p.mu.Unlock()
	return p.send(a, found, unused)
}

// match returns the length of the longest prefix of path in the space, or -1.
func (s *space) match(path string) int {
	longest := -1
	for _, prefix := range s.under {
		if path == "" || strings.HasPrefix(path, prefix) {
			longest = max(longest, len(prefix))
		}
	}
	return longest
}

// spaceOf returns the space of a challenge that this source can answer, or nil.
func (p *password) spaceOf(a *attempt, c durward.Challenge) (*space, error) {
	realm, _ := c.Param("realm")
	p.mu.Lock()
	refused, floor := slices.Contains(p.refused, realm), p.floor
	p.mu.Unlock()
	if p.c.Realm != "" && realm != p.c.Realm || refused {
		return nil, nil
	}
	level := strength(c)
	if level < floor {
		return nil, nil // weaker than before: an attacker on the path may have replaced the challenge
	}
	switch strings.ToLower(c.Scheme) {
	case "basic":
		if p.c.NoBasic || !p.c.InsecureBasic && !a.origin.confidential() || strings.Contains(p.c.User, ":") {
			return nil, nil
		}
		return &space{scheme: "Basic", realm: realm, level: level, under: []string{folderOf(a.path())}}, nil
	case "digest":
		d, err := newDigestState(c, p.c)
		if d == nil || err != nil {
			return nil, err
		}
		return &space{scheme: "Digest", realm: realm, level: level, under: domainOf(c, a.origin), digest: d}, nil
	}
	return nil, nil
}

// folderOf returns the path up to its last slash. Paths below it are in the same space
// (RFC 7617 s2.2).
func folderOf(path string) string { return path[:strings.LastIndexByte(path, '/')+1] }

// domainOf returns the path prefixes of a Digest challenge on this origin: all paths, unless the
// challenge lists some (RFC 7616 s3.3).
func domainOf(c durward.Challenge, of origin) (under []string) {
	domain, _ := c.Param("domain")
	for _, text := range strings.Fields(domain) {
		u, err := url.Parse(text)
		if err != nil || u.IsAbs() && originOf(u) != of || !strings.HasPrefix(u.Path, "/") {
			continue
		}
		if under = append(under, pathOf(u)); len(under) == maxSpaces {
			break
		}
	}
	if domain == "" || len(under) == 0 {
		return []string{"/"}
	}
	return under
}

// send puts the answer for a space into an attempt.
func (p *password) send(a *attempt, s *space, fresh bool) error {
	done := &answered{space: s, fresh: fresh}
	if fresh && s.digest != nil { // from now on never by Basic, also if this answer is refused
		p.mu.Lock()
		p.floor = max(p.floor, digestFloor)
		p.mu.Unlock()
	}
	if s.digest == nil {
		pair := base64.StdEncoding.EncodeToString([]byte(p.c.User + ":" + p.c.Password))
		a.r.Header[a.field()] = []string{"Basic " + pair}
	} else {
		value, err := s.digest.respond(a, done)
		if err != nil {
			return err
		}
		a.r.Header[a.field()] = []string{value}
	}
	a.state = done
	return nil
}

// observe keeps or drops the space of an answer, by the response to it.
func (p *password) observe(a *attempt, resp *http.Response) error {
	done, ok := a.state.(*answered)
	if !ok {
		return nil
	}
	status, field := http.StatusUnauthorized, "Authentication-Info"
	if a.toProxy {
		status, field = http.StatusProxyAuthRequired, "Proxy-Authentication-Info"
	}
	if resp.StatusCode == status {
		p.drop(done, parseChallenges(resp.Header[challengeField(status)]))
		return nil
	}
	p.keep(done)
	if done.space.digest != nil && len(resp.Header[field]) > 0 {
		return done.space.digest.observe(a, done, resp.Header[field])
	}
	return nil
}

func challengeField(status int) string {
	if status == http.StatusProxyAuthRequired {
		return "Proxy-Authenticate"
	}
	return "Www-Authenticate"
}

// keep stores the space of an accepted answer.
func (p *password) keep(done *answered) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.floor = max(p.floor, done.space.level)
	if len(p.spaces) > 0 && p.spaces[0] == done.space {
		return
	}
	if !done.fresh && !slices.Contains(p.spaces, done.space) {
		return // dropped or replaced while the response was on its way
	}
	for i, s := range p.spaces {
		if s.realm == done.space.realm && s.scheme == done.space.scheme {
			// The same space, perhaps with another nonce, or found at another path.
			for _, prefix := range s.under {
				if len(done.space.under) < maxSpaces && !slices.Contains(done.space.under, prefix) {
					done.space.under = append(done.space.under, prefix)
				}
			}
			p.spaces = slices.Delete(p.spaces, i, i+1)
			break
		}
	}
	p.spaces = slices.Insert(p.spaces, 0, done.space)
	p.spaces = p.spaces[:min(len(p.spaces), maxSpaces)]
}

// drop removes the space of a refused answer. If the password was refused, not only the nonce, it
// blocks the realm.
func (p *password) drop(done *answered, challenges []durward.Challenge) {
	same, stale := false, false
	for _, c := range challenges {
		if realm, _ := c.Param("realm"); strings.EqualFold(c.Scheme, done.space.scheme) {
			same = same || realm == done.space.realm
			stale = stale || isStale(c)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spaces = slices.DeleteFunc(p.spaces, func(s *space) bool { return s == done.space })
	// The server may have refused an older nonce. Basic has none. A fresh answer was for this
	// request, also if the server names another realm now.
	if !stale && (done.fresh || same && done.space.digest == nil) && !slices.Contains(p.refused, done.space.realm) {
		p.refused = append(p.refused[max(0, len(p.refused)-maxSpaces+1):], done.space.realm)
	}
}

// offer keeps the space of an answer that was not sent, for later requests.
func (p *password) offer(unsent *answered) {
	s := unsent.space
	s.unused = true
	if s.digest != nil {
		s.digest.restart()
	}
	p.keep(unsent)
}
