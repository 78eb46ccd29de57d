package doctor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/durward-auth/durward"
)

// This file reads the response: passages of text with their speakers, codes, challenges and the
// members of the body.

// speaker is the speaker of a passage.
type speaker int

const (
	byServer speaker = iota
	byLog
	byPerson
)

// passage is a text of the case, in normalised words for the lexicon.
type passage struct {
	at    string
	text  string
	by    speaker
	words []string
}

// codeToken is a value of the response that may be a closed code.
type codeToken struct {
	name  string // member or field, in lower case
	value string
	at    string
	alone bool // the member holds nothing but codes, or value is one by its form
	log   bool // it stands in a log
}

// is compares the token with "member=value" or a value, in lower case.
func (c codeToken) is(want string) bool {
	if name, value, ok := strings.Cut(want, "="); ok {
		return c.name == name && (value == "*" || strings.ToLower(c.value) == value)
	}
	return strings.ToLower(c.value) == want
}

// Limits of what is read of a response and a log.
const (
	maxBody     = 64 << 10
	maxPassages = 200
	maxCodes    = 400
	maxDepth    = 8
	maxLogLines = 400
	maxSaid     = 4000 // octets of one text
)

// thrownBy matches the name of an exception and its place behind a reason. Their words say nothing.
var thrownBy = regexp.MustCompile(`\s+[-–]\s+[A-Z][A-Za-z.]*(Exception|Error)(\s*\([^()\n]*\))?`)

// newPassage returns a passage with its words.
func newPassage(at, text string, by speaker) passage {
	return passage{at: at, text: text, by: by, words: normalise(thrownBy.ReplaceAllString(addressWords.ReplaceAllString(text, " "), ""))}
}

// anyReason is a part of the words of RFC 6750 s3.1 that libraries send with invalid_token for
// every cause.
const anyReason = "expired, revoked, malformed, or invalid for other reasons"

// stockSentences are the definitions of error codes in RFC 6749 s5.2 and RFC 6750 s3.1, which
// libraries send for every reason of the code. What follows them may be the reason.
var stockSentences = regexp.MustCompile(`(?i)(?:the )?(?:provided )?authorization grant (?:\([^)]*\) )?or refresh token is invalid, expired, revoked, does not match.{1,140}?issued to another client\.?|` +
	`(?:the )?request is missing a required parameter,? (?:includes|has) an? (?:unsupported|invalid) parameter.{1,260}?otherwise malformed\.?|` +
	`(?:the )?requested scope is invalid, unknown,? (?:or )?malformed(?:,? or exceeds the scope granted by the resource owner)?\.?|` +
	`client authentication failed \(e\.g\.,? unknown client.{1,100}?authentication method\)\.?|` +
	`the resource owner or authorization server denied the request\.?`)

// say adds a passage, without those of its words that libraries send for every reason.
func (e *evidence) say(at, text string, by speaker) {
	if slices.Contains(oauthErrors, strings.ToLower(strings.TrimSpace(text))) {
		return // a code of a standard has rules of its own; its words say no more
	}
	if strings.Contains(strings.ReplaceAll(strings.ToLower(text), "malformed or", "malformed, or"), anyReason) {
		return
	}
	if by == byLog {
		if shape := lineShape(text); e.shapes[shape] >= maxAlike {
			return
		} else {
			e.shapes[shape]++
		}
	}
	text = skewAllowed.ReplaceAllString(stackFrame.ReplaceAllString(text, ""), "")
	if by == byLog {
		text = logClient.ReplaceAllString(javaMethod.ReplaceAllString(text, ""), "")
		text = javaName.ReplaceAllString(text, "$1") // "auth" and "principal" in the name of a package say nothing
	}
	text = stockSentences.ReplaceAllString(text, "")
	if by != byPerson {
		text = known().withoutCommon(text)
	}
	if len(e.words) < maxPassages && strings.TrimSpace(text) != "" {
		if len(text) > maxSaid {
			text = text[:strings.LastIndexAny(text[:maxSaid], " \n")+1] // never a part of a secret
		}
		e.words = append(e.words, newPassage(at, e.masker.Mask(text), by)) // words lose the form that the mask knows
	}
}

// maxAlike bounds the lines of a log that differ in numbers alone: more of them say no more.
const maxAlike = 3

// lineShape returns a line with each number as 0, but for those that may be a status.
func lineShape(line string) string {
	var b strings.Builder
	for i := 0; i < len(line); {
		end := i
		for end < len(line) && '0' <= line[end] && line[end] <= '9' {
			end++
		}
		switch {
		case end == i:
			b.WriteByte(line[i])
			end++
		case end-i == 3 && '2' <= line[i] && line[i] <= '5':
			b.WriteString(line[i:end])
		default:
			b.WriteByte('0')
		}
		i = end
	}
	return b.String()
}

// code adds a code of the response.
func (e *evidence) code(name, value, at string, alone bool) {
	if len(e.codes) < maxCodes && value != "" && len(value) <= 200 {
		e.codes = append(e.codes, codeToken{strings.ToLower(name), value, at, alone, strings.HasPrefix(at, "log line") || at == belowResponse})
	}
}

// readChallenges parses each line of the challenge fields. A syntax error ends its line only.
func (e *evidence) readChallenges() {
	for _, f := range e.response.Header {
		proxy := strings.EqualFold(f.Name, "Proxy-Authenticate")
		if !proxy && !strings.EqualFold(f.Name, "WWW-Authenticate") || len(e.challenges) > 64 {
			continue
		}
		if c, ok := relaxed(f.Value); ok {
			e.add("parameters-without-comma", Computed, f.Name, "the parameters of the challenge have no comma between them (RFC 9110 s11.6.1)")
			e.challenges = append(e.challenges, challenge{c, proxy})
			continue
		}
		list, err := durward.ParseChallenges([]string{f.Value})
		for _, c := range list {
			e.challenges = append(e.challenges, challenge{c, proxy})
		}
		if err != nil {
			at := 0
			if broken, ok := errors.AsType[*durward.SyntaxError](err); ok {
				at = broken.Offset + 1
			}
			e.add("challenge-unreadable", Computed, f.Name, "the challenge cannot be parsed at octet %d (RFC 9110 s11.6.1)", at)
			if len(list) == 0 {
				e.guessChallenge(f.Value, proxy)
			}
		}
		if strings.TrimSpace(f.Value) == "" {
			e.add("challenge-unreadable", Computed, f.Name, "the challenge field is empty")
		}
	}
	for _, c := range e.challenges {
		if c.Scheme != "" && len(c.Params) == 0 && c.Token68 == "" && !slices.Contains(schemes, strings.ToLower(c.Scheme)) {
			e.add("challenge-odd", Computed, e.challengeField(), "%s is no scheme in use and has no parameters", e.quote(c.Scheme))
		}
	}
}

// scheme and parameters of challenges that break the grammar in ways that are often seen.
var (
	looseScheme     = regexp.MustCompile(`(?i)^\s*([a-z][a-z0-9_-]{1,30})(?:\s|$)`)
	looseParam      = regexp.MustCompile(`([A-Za-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([^",\s]+))`)
	schemelessError = regexp.MustCompile(`(?i)^\s*error\s*=`)
	commaless       = regexp.MustCompile(`"\s+[A-Za-z_]+="`)
)

// relaxed reads a challenge without commas between its parameters.
func relaxed(value string) (durward.Challenge, bool) {
	if !commaless.MatchString(value) {
		return durward.Challenge{}, false
	}
	if list, err := durward.ParseChallenges([]string{value}); err == nil && len(list) > 0 {
		return durward.Challenge{}, false
	}
	return loose(value)
}

// loose parses a challenge with defects that durward.ParseChallenges does not accept.
func loose(value string) (c durward.Challenge, ok bool) {
	switch m := looseScheme.FindStringSubmatch(value); {
	case m != nil:
		c.Scheme = m[1]
	case schemelessError.MatchString(value):
		c.Scheme = "Bearer" // the parameters are those of RFC 6750 s3
	default:
		return c, false
	}
	for _, p := range looseParam.FindAllStringSubmatch(value, 20) {
		c.Params = append(c.Params, durward.Param{Name: p[1], Value: p[2] + p[3] + p[4]})
	}
	return c, true
}

// guessChallenge keeps what can be read of a challenge that does not parse.
func (e *evidence) guessChallenge(value string, proxy bool) {
	if c, ok := loose(value); ok {
		e.challenges = append(e.challenges, challenge{c, proxy})
	}
}

// skewAllowed matches the leeway that a library names beside the times of a token. It says nothing
// about a clock.
var skewAllowed = regexp.MustCompile(`(?i)\b(?:allowed|permitted|maximum|max|tolerated) clock skew(?: is| of|:)? *[0-9]+ *(?:milliseconds|seconds|minutes|ms|s)?`)

// stackFrame matches a place in a program, as exceptions of Java, JavaScript and .NET list them.
var stackFrame = regexp.MustCompile(`\bat (?:[\w.$<>/]+\([\w.$]+:\d+\)|(?:async |new )?(?:[\w.$<>]+ )?(?:\[as \w+\] )?\(?[^()\s]*[/\\.][A-Za-z_][\w-]*:\d+:\d+\)?)`)

// javaName matches the name of a class with its package, as logs of Java have it.
var javaName = regexp.MustCompile(`\b(?:[a-z][a-z0-9_]*\.){2,}([A-Z]\w*)`)

// javaMethod matches the method that wrote a line of a log of Java:
// "….authenticator.BasicAuthenticator.doAuthenticate".
var javaMethod = regexp.MustCompile(`\b(?:[a-z][a-z0-9_]*\.){2,}[A-Z]\w*\.[a-z]\w*(?:\s|$)`)

// logClient matches the address of the client before the text of a line. It says nothing of
// networks.
var logClient = regexp.MustCompile(`(?:^|\s)[0-9]{1,3}(?:\.[0-9]{1,3}){3}:[0-9]{1,5} - `)

// ordinaryFields are fields of a response that say nothing about a refusal.
var ordinaryFields = regexp.MustCompile(`(?i)^(date|server|via|content-.*|set-cookie|cache-control|etag|expires|last-modified|vary|location|link|` +
	`strict-transport-security|x-request-id|x-correlation-id|.*-id|connection|transfer-encoding|access-control-.*|alt-svc|nel|report-to|reporting-endpoints|` +
	`cf-ray|cf-cache-status|x-frame-options|x-content-type-options|x-xss-protection|permissions-policy|referrer-policy|age|x-cache.*|p3p|pragma|keep-alive|` +
	`accept.*|allow|www-authenticate|proxy-authenticate|x-powered-by|x-runtime|x-served-by|x-timer|dpop-nonce|x-amz-cf-.*|x-github-media-type|x-oauth-.*|` +
	`x-accepted-oauth-scopes|x-ratelimit.*|ratelimit.*|x-robots-tag|origin-agent-cluster|cross-origin-.*|server-timing|x-envoy-upstream-service-time)$`)

// errorCategory matches the class of an error that Microsoft names beside its reason. The class
// stands for many reasons.
var errorCategory = regexp.MustCompile(`;?\s*(?:error_)?category="[^"]*"`)

// Forms of codes inside of text.
var (
	numberedCode = regexp.MustCompile(`\b[A-Z][A-Z0-9_]{0,14}-?[0-9]{2,8}[A-Z]?\b`)
	snakeCode    = regexp.MustCompile(`\b[A-Za-z][a-z0-9]*(?:_[A-Za-z0-9]+)+\b|\b[A-Z]{2,}(?:_[A-Z0-9]+)+\b`)
	windowsCode  = regexp.MustCompile(`\b0[xX][0-9A-Fa-f]{8}\b`)
	iisLine      = regexp.MustCompile(`^\d{4}-\d\d-\d\d .* (40[13]) (\d{1,3}) (\d{1,10})(?: \d+)*\s*$`)
	camelCode    = regexp.MustCompile(`\b[A-Z][a-z0-9]+(?:[A-Z][a-z0-9]+)+\b`)
	xmlLeaf      = regexp.MustCompile(`<(?:[\w.-]+:)?([\w.-]+)(?:\s[^<>]*)?>([^<]{1,1000})</`)
	htmlTag      = regexp.MustCompile(`(?is)<(script|style)\b.*?</(script|style)>|<!--.*?-->|<[^>]*>`)
	htmlTitle    = regexp.MustCompile(`(?is)<title[^>]*>(.{1,200}?)</title>`)
)

// readWords collects the texts and the codes of the response and of the log.
func (e *evidence) readWords() {
	r := e.response
	if r.Reason != "" && !ordinaryReason(r.Status, r.Reason) {
		e.say("reason phrase", r.Reason, byServer)
	}
	for _, f := range r.Header {
		e.code(f.Name, f.Value, f.Name, true)
		if !ordinaryFields.MatchString(f.Name) && len(f.Value) < 1000 {
			value := errorCategory.ReplaceAllString(f.Value, "")
			e.say(f.Name, value, byServer)
			e.embedded(value, f.Name)
		}
	}
	for _, c := range e.challenges {
		for _, p := range c.Params {
			switch name := strings.ToLower(p.Name); name {
			case "error_description", "error", "reason", "message", "error_uri", "error-description", "msg", "cause":
				if name != "error_uri" {
					e.say("WWW-Authenticate "+name, p.Value, byServer)
					e.embedded(p.Value, "WWW-Authenticate "+name)
				}
				e.code(name, p.Value, "WWW-Authenticate "+name, true)
			}
		}
	}
	if to := r.Header.Get("Location"); r.Status >= 300 && r.Status < 400 && to != "" {
		e.addressError(to, "Location")
	}
	if u := e.request.URL; u != "" {
		e.addressError(u, "address")
	}
	if r.Header.Get("Content-Length") == "0" { // the lines below are no body
		for line := range strings.Lines(string(r.Body[:min(len(r.Body), 16<<10)])) {
			if line = strings.TrimSpace(line); strings.HasPrefix(line, "{") {
				e.readBody(withoutMessage([]byte(line)), belowResponse, byLog)
			} else if line != "" {
				e.say(belowResponse, logPrefix.ReplaceAllString(line, ""), byLog)
				e.embedded(line, belowResponse)
			}
		}
	} else {
		e.readBody(r.Body, "body", byServer)
	}
	if x := e.c.Refusal(); x != nil && x.Error != "" {
		e.say("output of the client", x.Error, byLog)
		e.embedded(x.Error, "output of the client")
	}
	for i, line := range e.c.Log[:min(len(e.c.Log), maxLogLines)] {
		at := fmt.Sprintf("log line %d", i+1)
		if trimmed := strings.TrimSpace(line); strings.HasPrefix(trimmed, "{") {
			e.readBody(withoutMessage([]byte(trimmed)), at, byLog)
			continue
		}
		e.say(at, logPrefix.ReplaceAllString(line, ""), byLog)
		e.embedded(line, at)
	}
}

// addressError reads the error that an authorization server returns in the query or the fragment of
// the address of a client (RFC 6749 s4.1.2.1 and s4.2.2.1).
func (e *evidence) addressError(address, at string) {
	u, err := url.Parse(address)
	if err != nil {
		return
	}
	for _, query := range []string{u.RawQuery, u.EscapedFragment()} {
		q, err := url.ParseQuery(query)
		if err == nil && at == "Location" && e.request.Method == "POST" && failedSignIn(q) && signInPath.MatchString(u.Path) {
			e.add("sign-in-failed", Computed, at, "the answer to a sign-in leads back to the sign-in page with a failure")
		}
		if code := q.Get("error"); err == nil && code != "" && len(code) <= 100 {
			e.add("error-in-address", Computed, at, "the address carries the error %s", e.quote(code))
			e.code("error", code, at, true)
			if text := q.Get("error_description"); text != "" {
				e.leaf("error_description", text, at, byServer)
			}
		}
	}
}

// failedSignIn reports whether the query of a sign-in page says that the sign-in before it failed.
func failedSignIn(q url.Values) bool {
	return slices.ContainsFunc([]string{"error", "failed", "failure", "login_error", "authfail", "login_failed"}, q.Has)
}

// logPrefix matches what a server writes before the text of a line: its module, process and client.
var logPrefix = regexp.MustCompile(`^(?:\s*\[[^\[\]]{1,120}\])+\s*`)

// withoutMessage removes the general message of a line in JSON that has an error of its own. The
// error says more.
func withoutMessage(line []byte) []byte {
	var members map[string]json.RawMessage
	if json.Unmarshal(line, &members) != nil {
		return line
	}
	for _, name := range []string{"error", "err", "reason", "cause"} {
		var text string
		if json.Unmarshal(members[name], &text) != nil || len(newPassage("", text, byLog).topics()) == 0 {
			continue
		}
		delete(members, "msg")
		delete(members, "message")
		if shorter, err := json.Marshal(members); err == nil {
			return shorter
		}
	}
	return line
}

// ordinaryReason reports whether a reason phrase is the usual one of its status.
func ordinaryReason(status int, reason string) bool {
	switch strings.ToLower(reason) {
	case "unauthorized", "forbidden", "not found", "bad request", "ok", "proxy authentication required", "found", "internal server error":
		return true
	}
	return status < 400
}

// belowResponse is the place of lines of a log that stand where the body of a response would.
const belowResponse = "line below the response"

// readBody collects the texts and codes of a body: JSON, XML, HTML or text.
func (e *evidence) readBody(body []byte, at string, by speaker) {
	body = bytes.TrimSpace(bytes.TrimPrefix(body[:min(len(body), maxBody)], []byte("\xef\xbb\xbf")))
	if len(body) == 0 {
		return
	}
	switch {
	case body[0] == '{' || body[0] == '[':
		var value any
		d := json.NewDecoder(bytes.NewReader(body))
		d.UseNumber()
		if err := d.Decode(&value); err == nil {
			e.add("body-json", Computed, at, "the body is JSON")
			budget := 2000
			e.readJSON(value, "", at, by, 0, &budget)
			return
		}
	case body[0] == '<':
		lower := bytes.ToLower(body[:min(len(body), 2000)])
		if bytes.Contains(lower, []byte("<html")) || bytes.Contains(lower, []byte("<!doctype html")) || bytes.Contains(lower, []byte("<title")) {
			e.add("body-html", Computed, at, "the body is an HTML page")
			if m := htmlTitle.FindSubmatch(body); m != nil {
				e.say(at+" title", html.UnescapeString(string(m[1])), byServer)
			}
			if text := htmlTag.ReplaceAllString(string(body[:min(len(body), 16<<10)]), " . "); !known().ownPage(text) {
				e.say(at, html.UnescapeString(text), by)
			}
			return
		}
		if !xmlLeaf.Match(body) || pagePart.Match(body) {
			e.say(at, html.UnescapeString(htmlTag.ReplaceAllString(string(body[:min(len(body), 16<<10)]), " . ")), by)
			return
		}
		for _, m := range xmlLeaf.FindAllSubmatch(withoutMarks(body), 200) {
			name, value := string(m[1]), html.UnescapeString(string(m[2]))
			e.leaf(name, value, at+" "+name, by)
		}
		return
	}
	if by == byServer && (logBegin.MatchString(string(body[:min(len(body), 200)])+"\n") || innerWords.Match(body[:min(len(body), 120)])) { // lines below a response without a body
		for line := range strings.Lines(string(body)) {
			e.say(belowResponse, line, byLog)
			e.embedded(line, belowResponse)
		}
		return
	}
	e.say(at, string(body), by)
	e.embedded(string(body), at)
}

// openingTag matches a tag that opens an element, or a mark such as <id> in place of a value.
var openingTag = regexp.MustCompile(`<([A-Za-z][\w.:-]*)(?: [\w ]{1,40})?>`)

// withoutMarks returns an XML body without the brackets of marks: an element has an end.
func withoutMarks(body []byte) []byte {
	return openingTag.ReplaceAllFunc(body, func(tag []byte) []byte {
		name, _, _ := bytes.Cut(tag[1:len(tag)-1], []byte(" "))
		if bytes.Contains(body, append([]byte("</"), name...)) {
			return tag
		}
		return tag[1 : len(tag)-1]
	})
}

// pagePart matches the beginning of a part of an HTML page.
var pagePart = regexp.MustCompile(`(?i)^<(?:pre|p|h[1-6]|center|div|br|body|head|span|b|strong|ul|table|font)\b[^<>]*>`)

// innerWords are words of libraries for Kerberos, Windows and LDAP, which stand in logs and in no
// answer.
var innerWords = regexp.MustCompile(`^Access to \w+ at '|^Cross-Origin Request Blocked|\b(?:gss_\w+\(|GSS ERROR|krb5|K(?:DC|RB(?:5\w*)?_AP)_ERR|SEC_E_|An account failed to log on|LdapErr|ldap_\w+:|LDAP [Rr]esult [Cc]ode|GSSException|SpnegoError)`)

// logBegin matches the beginning of a line of a log, of the output of a client or of a program.
var logBegin = regexp.MustCompile(`^(?:\d{4}[-/]\d\d[-/]\d\d|\d\d[./]\d\d[./]\d{4} |\[?[A-Z][a-z]{2} [A-Z][a-z]{2} \d\d|(?:\w+\.)*\w+(?:Error|Exception)\b|\w+\s*=\s*[\[{"']|` +
	`Traceback|(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) |\d\d:\d\d:\d\d[,. ]|\w+ \d{3} with |level=|time=|ts=|[\w.-]{2,40}(?: *\||:) +(?:level=|time=|ts=|\{"|\d{4}-\d\d-\d\d)|AH\d{5}|curl: |user "|client: |(?:trce|dbug|info|warn|fail|crit): |TLS: |\[[\w.:-]+\]\s*\n|(?:location|server|upstream) \S*\s*\{|<(?:VirtualHost|Location|Directory|set-header|IfModule)\b|--[a-z][\w-]+=|(?:environment|labels|services|env|command|annotations):\s*\n|- ["']?[A-Z][A-Z0-9_]+=|[A-Z][A-Z0-9_]{3,}=|\[(?:\w+:)?(?:error|warn|info|notice|debug|crit)\b|(?:ERROR|WARN|INFO|DEBUG)\b)`)

// readJSON walks a JSON value.
func (e *evidence) readJSON(value any, name, at string, by speaker, depth int, budget *int) {
	if *budget--; *budget < 0 || depth > maxDepth {
		return
	}
	switch v := value.(type) {
	case map[string]any:
		names := make([]string, 0, len(v))
		for member := range v {
			names = append(names, member)
		}
		slices.Sort(names)
		for _, member := range names {
			e.readJSON(v[member], member, at, by, depth+1, budget)
		}
	case []any:
		if name == "loc" && len(v) == 2 && v[0] == "header" && v[1] == "authorization" { // the place of a fault, as Pydantic names it
			e.say(strings.TrimSpace(at+" member loc"), "authorization header missing", by)
		}
		for _, one := range v {
			e.readJSON(one, name, at, by, depth+1, budget)
		}
	case string:
		e.leaf(name, v, strings.TrimSpace(at+" member "+name), by)
	case json.Number:
		e.code(name, v.String(), strings.TrimSpace(at+" member "+name), true)
	case bool:
		e.code(name, strconv.FormatBool(v), strings.TrimSpace(at+" member "+name), true)
	}
}

// leaf takes one value of a structured body.
func (e *evidence) leaf(name, value, at string, by speaker) {
	if name == "" {
		name = "text"
	}
	e.code(name, value, at, true)
	if strings.HasPrefix(value, "http://") || strings.HasPrefix(value, "https://") {
		return
	}
	e.say(at, value, by)
	e.embedded(value, at)
}

// embedded takes the codes that stand inside of a text.
func (e *evidence) embedded(text, at string) {
	if len(text) > 4000 {
		text = text[:4000]
	}
	if m := iisLine.FindStringSubmatch(text); m != nil { // the fields sc-status, sc-substatus and sc-win32-status
		e.code("sc-status", m[1]+"."+m[2], at, false)
		e.code("sc-win32-status", m[3], at, false)
		if n, err := strconv.ParseUint(m[3], 10, 32); err == nil && n>>31 == 1 {
			e.code("text", fmt.Sprintf("0x%08X", n), at, false)
		}
	}
	for _, shape := range []*regexp.Regexp{numberedCode, windowsCode, snakeCode, camelCode} {
		for _, m := range shape.FindAllString(text, 20) {
			if m != text {
				e.code("text", m, at, false)
			}
		}
	}
}

// challengeField returns the name of the field with the challenges of the response.
func (e *evidence) challengeField() string {
	if e.response.Status == 407 {
		return "Proxy-Authenticate"
	}
	return "WWW-Authenticate"
}
