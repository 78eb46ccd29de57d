package durward

import (
	"fmt"
	"slices"
	"strings"
)

// Challenge is one challenge of a WWW-Authenticate or Proxy-Authenticate field
// (RFC 9110 s11.3): a scheme with a token68, with parameters, or alone.
type Challenge struct {
	Scheme  string  // name as sent; compared case-insensitively
	Token68 string  // with trailing equals signs; empty if Params is set
	Params  []Param // in order, repetitions included
}

// Credentials are the value of an Authorization or Proxy-Authorization field
// (RFC 9110 s11.4).
type Credentials struct {
	Scheme  string
	Token68 string
	Params  []Param
}

// Param is one auth-param (RFC 9110 s11.2). Name is as sent. Value is a sequence of octets,
// unquoted; the sender controls it.
type Param struct{ Name, Value string }

// Param returns the value of the first parameter with this name, compared case-insensitively.
func (c Challenge) Param(name string) (value string, ok bool) {
	for _, p := range c.Params {
		if strings.EqualFold(p.Name, name) {
			return p.Value, true
		}
	}
	return "", false
}

// Param returns the value of the first parameter with this name, compared case-insensitively.
func (c Credentials) Param(name string) (value string, ok bool) { return Challenge(c).Param(name) }

// SyntaxError is a violation of the grammar of RFC 9110 s11 in field lines. It never quotes the
// lines, which may contain a secret.
type SyntaxError struct {
	Line   int // index of the field line
	Offset int // octet in that line
	Reason string
}

// Error returns position and reason.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("field line %d, octet %d: %s", e.Line, e.Offset, e.Reason)
}

// Limits of the parser, so that the size of its result stays in proportion to the input.
const (
	maxFieldOctets = 1 << 20 // all lines together
	maxParams      = 256     // of one challenge
	maxParamsInAll = 1024
	maxChallenges  = 256
)

// ParseChallenges parses the lines of a WWW-Authenticate or Proxy-Authenticate field. The lines are
// one list (RFC 9110 s5.3), so a challenge may begin on one and end on another. It accepts no lines
// and empty list members. With a [*SyntaxError] it returns the challenges completed before it. More
// than 1 MiB in all, 256 challenges, 256 parameters of one, or 1024 of all are errors.
func ParseChallenges(lines []string) ([]Challenge, error) {
	p, err := newParser(lines)
	if err != nil {
		return nil, err
	}
	var done []Challenge
	for {
		p.skipEmpty()
		if p.end() {
			return done, nil
		}
		if len(done) == maxChallenges {
			return done, p.fail("more than 256 challenges")
		}
		c, err := p.challenge()
		if err != nil {
			return done, err
		}
		done = append(done, Challenge(c))
	}
}

// ParseCredentials parses the value of an Authorization or Proxy-Authorization field: exactly one
// set of credentials. A scheme alone is accepted; whether it is valid depends on the scheme.
// Token68 shares memory with line.
func ParseCredentials(line string) (Credentials, error) {
	c, _, err := parseCredentials(line)
	return c, err
}

// quotes records which parameters of credentials were quoted.
type quotes [maxParams / 64]uint64

func (q *quotes) set(i int)      { q[i/64] |= 1 << (i % 64) }
func (q *quotes) has(i int) bool { return q[i/64]&(1<<(i%64)) != 0 }

// parseCredentials is ParseCredentials that also reports which values were quoted.
func parseCredentials(line string) (Credentials, quotes, error) {
	p := parser{line: line, room: 10}
	if len(line) > maxFieldOctets {
		return Credentials{}, quotes{}, p.fail("over 1 MiB")
	}
	p.blank()
	if p.end() {
		return Credentials{}, quotes{}, p.fail("no credentials")
	}
	c, err := p.challenge()
	if err != nil {
		return Credentials{}, quotes{}, err
	}
	if p.blank(); len(c.Params) > 0 {
		p.skipEmpty() // a list may end in commas, a token68 may not
	}
	if !p.end() {
		return Credentials{}, quotes{}, p.fail("something follows the credentials")
	}
	return c, p.quotes, nil
}

// ParseAuthInfo parses the lines of an Authentication-Info or
// Proxy-Authentication-Info field (RFC 9110 s11.6.3).
func ParseAuthInfo(lines []string) ([]Param, error) {
	p, err := newParser(lines)
	if err != nil {
		return nil, err
	}
	var params []Param
	for {
		p.skipEmpty()
		if p.end() {
			return params, nil
		}
		if len(params) == maxParams {
			return params, p.fail("more than 256 parameters")
		}
		name := p.token()
		if name == "" {
			return params, p.fail("a parameter begins with its name")
		}
		one, _, err := p.param(name)
		if err != nil {
			return params, err
		}
		params = append(params, one)
		if err := p.endOfMember(); err != nil {
			return params[:len(params)-1], err
		}
	}
}

// parser reads field lines as if they were joined by ", ".
type parser struct {
	lines  []string
	line   string // lines[index], the line being read
	index  int
	at     int    // octet in line
	params int    // read so far
	room   int    // initial capacity for parameters of a challenge; Digest has nine
	quotes quotes // of the challenge being read
}

func newParser(lines []string) (*parser, error) {
	p := &parser{lines: lines}
	total := 0
	for _, l := range lines {
		total += len(l)
	}
	if total > maxFieldOctets {
		return nil, p.fail("over 1 MiB in all")
	}
	if len(lines) > 0 {
		p.line = lines[0]
	}
	return p, nil
}

func (p *parser) fail(reason string) error { return &SyntaxError{p.index, p.at, reason} }

// eol reports the end of a line, which separates list members like a comma.
func (p *parser) eol() bool { return p.at >= len(p.line) }

// end reports the end of the last line.
func (p *parser) end() bool { return p.eol() && p.index+1 >= len(p.lines) }

func (p *parser) peek() byte {
	if p.eol() {
		return 0
	}
	return p.line[p.at]
}

// blank skips OWS or BWS and reports whether there was any (RFC 9110 s5.6.3).
func (p *parser) blank() bool {
	from := p.at
	for !p.eol() && (p.line[p.at] == ' ' || p.line[p.at] == '\t') {
		p.at++
	}
	return p.at > from
}

// skipEmpty skips empty list members (RFC 9110 s5.6.1.2) and line ends.
func (p *parser) skipEmpty() {
	for {
		p.blank()
		switch {
		case !p.eol() && p.line[p.at] == ',':
			p.at++
		case p.eol() && !p.end():
			p.index++
			p.line, p.at = p.lines[p.index], 0
		default:
			return
		}
	}
}

// endOfMember returns an error unless a list member ends here.
func (p *parser) endOfMember() error {
	if p.blank(); !p.eol() && p.line[p.at] != ',' {
		return p.fail("a comma or the end of the line is wanted")
	}
	return nil
}

// token reads a token (RFC 9110 s5.6.2), or nothing.
func (p *parser) token() string {
	from := p.at
	for !p.eol() && tchars[p.line[p.at]] {
		p.at++
	}
	return p.line[from:p.at]
}

// challenge reads one challenge; credentials have the same grammar. It stops
// before the comma or line end that closes it.
func (p *parser) challenge() (Credentials, error) {
	var c Credentials
	p.quotes = quotes{}
	if c.Scheme = p.token(); c.Scheme == "" {
		return c, p.fail("a scheme is wanted")
	}
	if p.peek() != ' ' { // RFC 9110 s11.3: 1*SP, so HTAB is an error
		return c, p.endOfMember()
	}
	for p.peek() == ' ' {
		p.at++
	}
	if c.Token68 = p.token68(); c.Token68 != "" {
		return c, nil
	}
	p.blank() // after 1*SP, a list with an empty first member: OWS and a comma
	for {
		// The comma may end the challenge, too: only a name with an
		// equals sign continues it; a name alone is the next scheme.
		end := *p
		p.skipEmpty()
		name := p.token()
		beforeBlank := p.at
		p.blank()
		if name == "" || p.peek() != '=' {
			if *p = end; len(c.Params) == 0 && !p.eol() && p.peek() != ',' {
				return c, p.fail("neither a token68 nor a parameter")
			}
			return c, nil
		}
		p.at = beforeBlank
		if len(c.Params) == maxParams || p.params == maxParamsInAll {
			return c, p.fail("too many parameters")
		}
		p.params++
		one, quoted, err := p.param(name)
		if err != nil {
			return c, err
		}
		if quoted {
			p.quotes.set(len(c.Params))
		}
		if c.Params == nil {
			c.Params = make([]Param, 0, p.room)
		}
		c.Params = append(c.Params, one)
		if err := p.endOfMember(); err != nil {
			return c, err
		}
	}
}

// token68 reads a token68 (RFC 9110 s11.2) if one makes up the rest of the list
// member; otherwise it stays where it is.
func (p *parser) token68() string {
	// Hot: these loops read every octet of every access token.
	start, line, at := p.at, p.line, p.at
	for ; at+4 <= len(line); at += 4 {
		if four := line[at : at+4]; !(token68Chars[four[0]] && token68Chars[four[1]] && token68Chars[four[2]] && token68Chars[four[3]]) {
			break
		}
	}
	for at < len(line) && token68Chars[line[at]] {
		at++
	}
	if p.at = at; at > start {
		for p.peek() == '=' {
			p.at++
		}
		token := p.line[start:p.at]
		end := p.at
		if p.endOfMember() == nil {
			p.at = end
			return token
		}
	}
	p.at = start
	return ""
}

// param reads the rest of a parameter after its name: BWS, an equals sign, BWS,
// and a token or quoted-string (RFC 9110 s11.2).
func (p *parser) param(name string) (one Param, quoted bool, err error) {
	p.blank()
	if p.peek() != '=' {
		return Param{}, false, p.fail("an equals sign is wanted")
	}
	p.at++
	p.blank()
	if p.peek() == '"' {
		value, err := p.quoted()
		return Param{name, value}, true, err
	}
	value := p.token()
	if value == "" {
		return Param{}, false, p.fail("a value is wanted")
	}
	return Param{name, value}, false, nil
}

// quoted reads a quoted-string (RFC 9110 s5.6.4).
func (p *parser) quoted() (string, error) {
	p.at++
	from := p.at
	escaped := false
	for ; !p.eol(); p.at++ {
		switch b := p.line[p.at]; {
		case b == '"':
			value := p.line[from:p.at]
			p.at++
			if escaped {
				value = unescape(value)
			}
			return value, nil
		case b == '\\':
			escaped = true
			if p.at++; p.eol() || !textChars[p.line[p.at]] {
				return "", p.fail("a backslash quotes nothing")
			}
		case !textChars[b]:
			return "", p.fail("a control character in a quoted string")
		}
	}
	return "", p.fail("a quoted string does not end")
}

func unescape(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// charset is a set of octets.
type charset [256]bool

var (
	tchars       = alphanumericsAnd("!#$%&'*+-.^_`|~") // of a token (RFC 9110 s5.6.2)
	token68Chars = alphanumericsAnd("-._~+/")          // before its equals signs
	textChars    charset                               // of a quoted string, escaped or not: HTAB, SP, VCHAR, obs-text
)

func init() {
	for b := range textChars {
		textChars[b] = b == '\t' || b >= 0x20 && b != 0x7f
	}
}

func alphanumericsAnd(more string) (set charset) {
	const alphanumerics = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	for _, c := range []byte(alphanumerics + more) {
		set[c] = true
	}
	return set
}

// holds reports whether every octet of s is in the set.
func (set *charset) holds(s string) bool {
	for i := range len(s) {
		if !set[s[i]] {
			return false
		}
	}
	return true
}

func isToken(s string) bool { return s != "" && tchars.holds(s) }

// Valid returns an error if c cannot be sent: a scheme or name that is not a token, a value with
// control characters, or a token68 beside parameters.
func (c Challenge) Valid() error {
	if !isToken(c.Scheme) {
		return fmt.Errorf("durward: the scheme %q is no token", c.Scheme)
	}
	if c.Token68 != "" {
		if len(c.Params) > 0 {
			return fmt.Errorf("durward: %s with a token68 and parameters", c.Scheme)
		}
		if text := strings.TrimRight(c.Token68, "="); text == "" || !token68Chars.holds(text) {
			return fmt.Errorf("durward: %s with a token68 that is none", c.Scheme)
		}
	}
	for _, p := range c.Params {
		if !isToken(p.Name) {
			return fmt.Errorf("durward: %s parameter %q: the name is no token", c.Scheme, p.Name)
		}
		if !textChars.holds(p.Value) {
			return fmt.Errorf("durward: %s parameter %s holds a control character", c.Scheme, p.Name)
		}
	}
	return nil
}

// Valid returns an error if c cannot be sent, as for a [Challenge].
func (c Credentials) Valid() error { return Challenge(c).Valid() }

// String returns c as one list member of a field line, which parses back to c. For an invalid c
// (see [Challenge.Valid]) it returns "", so that no value can split a header.
func (c Challenge) String() string { return c.format(digestChallengeTokens) }

// String returns c as the value of a field, as for a [Challenge].
func (c Credentials) String() string { return Challenge(c).format(digestCredentialsTokens) }

// The parameters of Digest that are sent as tokens; all others are quoted. Some clients and servers
// accept no other form.
var (
	digestChallengeTokens   = []string{"algorithm", "stale", "charset", "userhash"}       // RFC 7616 s3.3
	digestCredentialsTokens = []string{"algorithm", "qop", "nc", "userhash", "username*"} // RFC 7616 s3.4
	authInfoTokens          = []string{"qop", "nc"}                                       // RFC 7616 s3.5
)

// format is String, with the parameters that Digest sends as tokens.
func (c Challenge) format(digestTokens []string) string {
	if c.Valid() != nil {
		return ""
	}
	if !strings.EqualFold(c.Scheme, "Digest") {
		digestTokens = nil
	}
	b := append(make([]byte, 0, 256), c.Scheme...)
	if c.Token68 != "" {
		b = append(append(b, ' '), c.Token68...)
	}
	if len(c.Params) > 0 {
		b = appendParams(append(b, ' '), c.Params, digestTokens)
	}
	return string(b)
}

func appendParams(b []byte, params []Param, unquoted []string) []byte {
	for i, p := range params {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(append(b, p.Name...), '=')
		if len(unquoted) > 0 && slices.Contains(unquoted, strings.ToLower(p.Name)) && isToken(p.Value) {
			b = append(b, p.Value...)
			continue
		}
		b = append(b, '"')
		for j := range len(p.Value) {
			if p.Value[j] == '"' || p.Value[j] == '\\' {
				b = append(b, '\\')
			}
			b = append(b, p.Value[j])
		}
		b = append(b, '"')
	}
	return b
}
