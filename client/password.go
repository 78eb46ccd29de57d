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

// PasswordConfig is what [Password] is made of. Origin, User and Password are required.
type PasswordConfig struct {
	// Origin is where the password goes, such as https://files.example.com. For
	// Transport.ProxySources it is the proxy's, such as http://proxy.example.com:3128.
	Origin string

	// Realm, where it is set, is the only realm that is answered.
	Realm string

	// User and Password in UTF-8. A name with a colon cannot be sent by Basic.
	User, Password string

	// NoBasic never sends the password itself: only Digest is answered.
	NoBasic bool

	// InsecureBasic sends the password by Basic over plain http, where everybody on the
	// way can read it. Without it Basic goes by https and on this machine alone.
	InsecureBasic bool

	// InsecureMD5 answers Digest by MD5, for servers that know nothing else.
	InsecureMD5 bool
}

// Password returns a source that answers Basic (RFC 7617) and Digest (RFC 7616) with a
// user name and a password. Nothing is sent before the origin has asked; after that
// requests to the same protection space have their answer at once. A password that was
// refused is not sent to that realm again.
func Password(c PasswordConfig) Source {
	p := &password{c: c}
	p.origin, p.wrong = parseOrigin(c.Origin)
	return p
}

// password is one user name and password at one origin.
type password struct {
	c      PasswordConfig
	origin origin
	wrong  error // of Origin

	mu      sync.Mutex
	spaces  []*space // the last used first
	refused []string // realms
	floor   int      // strength of what was last answered with success
}

// space is a protection space (RFC 9110 s11.5) of which is known what it wants.
type space struct {
	realm  string
	under  []string // paths that it is known of begin with one of these
	level  int
	digest *digestClient // nil for Basic
}

// maxSpaces bounds what is remembered of one origin.
const maxSpaces = 64

// answered is what an attempt was answered with.
type answered struct {
	space *space
	fresh bool   // the challenge was of this exchange: a refusal is one of the password
	count uint32 // of the nonce
	nonce string // that count is of
}

func (p *password) mistakes() (all []string) {
	if p.wrong != nil {
		all = append(all, "Origin: "+p.wrong.Error())
	}
	if p.c.User == "" && p.c.Password == "" {
		all = append(all, "neither User nor Password")
	}
	for _, s := range []struct{ name, value string }{{"User", p.c.User}, {"Password", p.c.Password}} {
		if !utf8.ValidString(s.value) || strings.ContainsFunc(s.value, unicode.IsControl) { // RFC 7617 s2
			all = append(all, s.name+" holds control characters or is not UTF-8")
		}
	}
	return all
}

func (p *password) Authorize(r *http.Request, offered []durward.Challenge) error {
	return authorize(p, r, offered)
}

func (p *password) answer(a *attempt, offered []durward.Challenge) error {
	if a.origin != p.origin || p.origin == (origin{}) {
		return ErrNoAnswer
	}
	if offered == nil {
		return p.ahead(a)
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
		if stale, _ := c.Param("stale"); before != nil && before.fresh && before.space.realm == s.realm && !strings.EqualFold(stale, "true") {
			continue // an answer to this realm's own challenge was refused
		}
		return p.send(a, s, true)
	}
	return ErrNoAnswer
}

// ahead answers what has not been asked in this exchange, where it is known what will
// be (RFC 7617 s2.2, RFC 7616 s3.6).
func (p *password) ahead(a *attempt) error {
	p.mu.Lock()
	var found *space
	nearest := -1
	for _, s := range p.spaces {
		if reach := s.reach(a.path()); reach > nearest {
			found, nearest = s, reach
		}
	}
	floor := p.floor
	p.mu.Unlock()
	if found == nil || found.level < floor {
		return ErrNoAnswer
	}
	return p.send(a, found, false)
}

// reach is the length of what a path begins with that makes it one of a space; -1 where
// nothing does.
func (s *space) reach(path string) int {
	longest := -1
	for _, prefix := range s.under {
		if path == "" || strings.HasPrefix(path, prefix) {
			longest = max(longest, len(prefix))
		}
	}
	return longest
}

// spaceOf is the space of a challenge that can be answered here, or nil.
func (p *password) spaceOf(a *attempt, c durward.Challenge) (*space, error) {
	realm, _ := c.Param("realm")
	p.mu.Lock()
	refused, floor := slices.Contains(p.refused, realm), p.floor
	p.mu.Unlock()
	if p.c.Realm != "" && realm != p.c.Realm || refused {
		return nil, nil
	}
	level := challengeStrength(c)
	if level < floor {
		return nil, nil // weaker than last time: somebody on the way may have asked
	}
	switch strings.ToLower(c.Scheme) {
	case "basic":
		if p.c.NoBasic || !p.c.InsecureBasic && !a.origin.confidential() || strings.Contains(p.c.User, ":") {
			return nil, nil
		}
		return &space{realm: realm, level: level, under: []string{folderOf(a.path())}}, nil
	case "digest":
		d, err := newDigestClient(c, p.c)
		if d == nil || err != nil {
			return nil, err
		}
		return &space{realm: realm, level: level, under: domainOf(c, a.origin), digest: d}, nil
	}
	return nil, nil
}

// folderOf is the path up to its last slash: what is under it is taken to be of the
// same space (RFC 7617 s2.2).
func folderOf(path string) string { return path[:strings.LastIndexByte(path, '/')+1] }

// domainOf is the paths of this origin that a Digest challenge says that it is for; all
// where it says none (RFC 7616 s3.3).
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

// send puts the answer of a space into an attempt.
func (p *password) send(a *attempt, s *space, fresh bool) error {
	done := &answered{space: s, fresh: fresh}
	if s.digest == nil {
		a.r.Header[a.field] = []string{"Basic " + base64.StdEncoding.EncodeToString([]byte(p.c.User+":"+p.c.Password))}
	} else {
		value, err := s.digest.respond(a, done)
		if err != nil {
			return err
		}
		a.r.Header[a.field] = []string{value}
	}
	a.state = done
	return nil
}

// observe learns from the response to an answer.
func (p *password) observe(a *attempt, resp *http.Response) error {
	done, ok := a.state.(*answered)
	if !ok {
		return nil
	}
	status, field := http.StatusUnauthorized, "Authentication-Info"
	if a.toProxy() {
		status, field = http.StatusProxyAuthRequired, "Proxy-Authentication-Info"
	}
	if resp.StatusCode == status {
		p.judge(done, resp.Header[challengeField(status)])
		return nil
	}
	p.keep(done)
	if done.space.digest != nil && len(resp.Header[field]) > 0 {
		return done.space.digest.learn(a, done, resp.Header[field])
	}
	return nil
}

func challengeField(status int) string {
	if status == http.StatusProxyAuthRequired {
		return "Proxy-Authenticate"
	}
	return "Www-Authenticate"
}

// keep remembers a space whose answer was taken.
func (p *password) keep(done *answered) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.floor = max(p.floor, done.space.level)
	if len(p.spaces) > 0 && p.spaces[0] == done.space {
		return
	}
	if !done.fresh && !slices.Contains(p.spaces, done.space) {
		return // forgotten or followed by another while the answer was on its way
	}
	for i, s := range p.spaces {
		if s == done.space {
			p.spaces = slices.Delete(p.spaces, i, i+1)
			break
		}
		if s.realm == done.space.realm && (s.digest == nil) == (done.space.digest == nil) {
			// The same space under another nonce, or seen from another path.
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

// judge forgets a space whose answer was refused, and never tries the realm again where
// it was the password that was.
func (p *password) judge(done *answered, lines []string) {
	challenges, _ := durward.ParseChallenges(lines)
	same, stale := false, false
	for _, c := range challenges {
		realm, _ := c.Param("realm")
		text, _ := c.Param("stale")
		if realm == done.space.realm && strings.EqualFold(c.Scheme, done.scheme()) {
			same = true
			stale = stale || strings.EqualFold(text, "true")
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spaces = slices.DeleteFunc(p.spaces, func(s *space) bool { return s == done.space })
	// An answer with a nonce of before may be refused for that alone. Basic has none.
	if same && !stale && (done.fresh || done.space.digest == nil) && !slices.Contains(p.refused, done.space.realm) {
		p.refused = append(p.refused[max(0, len(p.refused)-maxSpaces+1):], done.space.realm)
	}
}

func (d *answered) scheme() string {
	if d.space.digest == nil {
		return "Basic"
	}
	return "Digest"
}

// learn takes a proxy's refusal of CONNECT, which was sent with the credentials given,
// so that the next one has an answer.
func (p *password) learn(a *attempt, sent string, challenges []durward.Challenge) error {
	slices.SortStableFunc(challenges, func(x, y durward.Challenge) int { return challengeStrength(y) - challengeStrength(x) })
	for _, c := range challenges {
		s, err := p.spaceOf(a, c)
		if err != nil {
			return err
		}
		if s == nil {
			continue
		}
		if stale, _ := c.Param("stale"); sent != "" && !strings.EqualFold(stale, "true") {
			scheme, _, _ := strings.Cut(sent, " ")
			if strings.EqualFold(scheme, c.Scheme) && !p.older() {
				p.judge(&answered{space: s, fresh: true}, []string{c.String()})
				p.mu.Lock()
				p.spaces = nil // nor does the next CONNECT bring it
				p.mu.Unlock()
				continue
			}
		}
		p.mu.Lock()
		p.spaces = []*space{s} // a proxy has one
		p.floor = max(p.floor, s.level)
		p.mu.Unlock()
		return nil
	}
	return ErrNoAnswer
}

// older reports whether the nonce that was used was of an earlier exchange: it was
// counted before.
func (p *password) older() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.spaces) > 0 && p.spaces[0].digest != nil && p.spaces[0].digest.used() > 1
}
