package check

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/origin"
)

// verdict is the outcome of one row.
type verdict struct {
	outcome Outcome
	text    string
	forged  bool // a forged token was accepted
}

func pass(format string, args ...any) verdict {
	return verdict{outcome: Passed, text: fmt.Sprintf(format, args...)}
}

func fail(format string, args ...any) verdict {
	return verdict{outcome: Failed, text: fmt.Sprintf(format, args...)}
}

func skip(format string, args ...any) verdict {
	return verdict{outcome: NotApplicable, text: fmt.Sprintf(format, args...)}
}

// String returns the answer for the reader: "401" or "no response".
func (a *answer) String() string {
	switch {
	case a == nil:
		return "not asked"
	case a.err != nil:
		return "no response"
	}
	return strconv.Itoa(a.status)
}

func (a *answer) ok() bool { return a != nil && a.err == nil && a.status >= 200 && a.status < 300 }

func (a *answer) redirects() bool {
	return a != nil && a.err == nil && a.status >= 300 && a.status < 400 && a.header.Get("Location") != ""
}

// refuses reports whether a is a refusal of the credentials: 401 or 400.
func (a *answer) refuses() bool {
	return a != nil && a.err == nil && (a.status == http.StatusUnauthorized || a.status == http.StatusBadRequest)
}

// refusals returns the answers with 401, and the 407 of a proxy.
func (s *session) refusals() []*answer {
	var all []*answer
	for _, a := range s.order {
		if a.err == nil && a.method != http.MethodOptions && a.name != "clear" &&
			(a.status == http.StatusUnauthorized || a.status == http.StatusProxyAuthRequired) {
			all = append(all, a)
		}
	}
	return all
}

// challenges returns the challenges of an answer; those before a mistake if it has one.
func (s *session) challenges(a *answer) []durward.Challenge {
	if a == nil || a.err != nil {
		return nil
	}
	all, _ := durward.ParseChallenges(a.lines()) // the row challenge-grammar reports a mistake
	return all
}

// offers reports whether the first 401 offers a scheme.
func (s *session) offers(scheme string) bool {
	return slices.ContainsFunc(s.challenges(s.answers["anonymous"]), func(c durward.Challenge) bool {
		return strings.EqualFold(c.Scheme, scheme)
	})
}

// guarded returns why a row of credentials does not apply, or "".
func (s *session) guarded() string {
	a := s.answers["anonymous"]
	if a == nil {
		return "no request without credentials was sent"
	}
	if a.status != http.StatusUnauthorized {
		return fmt.Sprintf("the request without credentials got %s, not 401", a)
	}
	return ""
}

// limited is the verdict of rows with the answer 429: the server did not judge the request.
var limited = skip("429: the server limits requests")

// isLimited reports whether a server asks for fewer requests (RFC 6585 s4).
func (a *answer) isLimited() bool {
	return a != nil && a.err == nil && a.status == http.StatusTooManyRequests
}

func anonymous401(s *session) verdict {
	a := s.answers["anonymous"]
	switch {
	case a.isLimited():
		return limited
	case a.status == http.StatusUnauthorized:
		return pass("401")
	case a.redirects():
		return fail("%d: a redirect in place of a refusal", a.status)
	case a.ok():
		return fail("%d: the address answers without credentials", a.status)
	case a.status == http.StatusForbidden:
		return fail("403: it tells clients that no credentials help")
	}
	return fail("%d in place of 401", a.status)
}

func challenge(s *session) verdict {
	all := s.refusals()
	if len(all) == 0 {
		return skip("no 401 was received")
	}
	for _, a := range all {
		if strings.TrimSpace(strings.Join(a.lines(), "")) == "" {
			return fail("%s: %d without a challenge", a.text, a.status)
		}
	}
	var names []string
	for _, c := range s.challenges(all[0]) {
		if !slices.Contains(names, c.Scheme) {
			names = append(names, c.Scheme)
		}
	}
	return pass("%s", strings.Join(names, ", "))
}

func challengeGrammar(s *session) verdict {
	read := 0
	for _, a := range s.refusals() {
		lines := a.lines()
		if strings.TrimSpace(strings.Join(lines, "")) == "" {
			continue // the row challenge reports it
		}
		all, err := durward.ParseChallenges(lines)
		if err != nil {
			return fail("%s: %v", a.text, err)
		}
		for _, c := range all {
			names := make(map[string]bool)
			for _, p := range c.Params {
				name := strings.ToLower(p.Name)
				if names[name] && name != "realm" { // the row realm reports that one
					return fail("%s: %s has %s twice", a.text, c.Scheme, name) // RFC 9110 s11.2
				}
				names[name] = true
			}
		}
		read += len(all)
	}
	if read == 0 {
		return skip("no challenge was received")
	}
	return pass("%d challenges", read)
}

// grammatical returns the challenges of all refusals, or why they cannot be judged.
func (s *session) grammatical() (all []durward.Challenge, why string) {
	for _, a := range s.refusals() {
		challenges, err := durward.ParseChallenges(a.lines())
		if err != nil {
			return nil, "a challenge has a mistake of grammar"
		}
		all = append(all, challenges...)
	}
	if len(all) == 0 {
		return nil, "no challenge was received"
	}
	return all, ""
}

func realm(s *session) verdict {
	all, why := s.grammatical()
	if why != "" {
		return skip("%s", why)
	}
	judged := false
	for _, c := range all {
		scheme, realms := strings.ToLower(c.Scheme), 0
		for _, p := range c.Params {
			if strings.EqualFold(p.Name, "realm") {
				realms++
			}
		}
		switch {
		case realms > 1:
			return fail("%s has %d realms", c.Scheme, realms) // RFC 6750 s3
		case (scheme == "basic" || scheme == "digest") && realms == 0:
			return fail("%s has no realm", c.Scheme) // RFC 7617 s2, RFC 7616 s3.3
		case scheme == "bearer" && len(c.Params) == 0:
			return fail("Bearer has no parameter") // RFC 6750 s3
		}
		judged = judged || realms > 0 || scheme == "bearer"
	}
	if !judged {
		return skip("no scheme that needs a realm is offered")
	}
	return pass("each challenge has what its scheme needs")
}

func noErrorAnonymous(s *session) verdict {
	if why := s.guarded(); why != "" {
		return skip("%s", why)
	}
	all, err := durward.ParseChallenges(s.answers["anonymous"].lines())
	if err != nil || len(all) == 0 {
		return skip("no readable challenge was received")
	}
	token := false
	for _, c := range all {
		for _, name := range []string{"error", "error_description", "error_uri"} {
			if value, ok := c.Param(name); ok {
				return fail("%s has %s=%q", c.Scheme, name, cut(value))
			}
		}
		token = token || strings.EqualFold(c.Scheme, "Bearer") || strings.EqualFold(c.Scheme, "DPoP")
	}
	if !token {
		return skip("no scheme with error codes is offered")
	}
	return pass("no error code")
}

// cut shortens a value of the server.
func cut(value string) string {
	if len(value) > 60 {
		return value[:60] + "…"
	}
	return value
}

// refusedToken judges the answer to a token that is not valid.
func (s *session) refusedToken(name, without string) verdict {
	a := s.answers[name]
	if why := s.guarded(); why != "" {
		return skip("%s", why)
	} else if a == nil {
		return skip("%s", without)
	}
	switch {
	case a.isLimited():
		return limited
	case a.err != nil:
		return fail("no response")
	case a.ok():
		return fail("%d: accepted", a.status)
	case a.status != http.StatusUnauthorized:
		return fail("%d in place of 401", a.status)
	}
	if strings.TrimSpace(strings.Join(a.lines(), "")) == "" {
		return skip("401 without a challenge: the row challenge counts it")
	}
	if _, err := durward.ParseChallenges(a.lines()); err != nil {
		return skip("401 with an unreadable challenge: the row challenge-grammar counts it")
	}
	code, offered := s.errorOf(a)
	switch {
	case !offered:
		return fail("401 without a Bearer challenge")
	case code == "":
		return fail("401 without error=\"invalid_token\"")
	case code != "invalid_token":
		return fail("401 with error=%q", cut(code))
	}
	return pass("401 invalid_token")
}

// errorOf returns the error code of the challenges for tokens.
func (s *session) errorOf(a *answer) (code string, offered bool) {
	for _, c := range s.challenges(a) {
		if !strings.EqualFold(c.Scheme, "Bearer") && !strings.EqualFold(c.Scheme, "DPoP") {
			continue
		}
		offered = true
		if value, ok := c.Param("error"); ok && code == "" {
			code = value
		}
	}
	return code, offered
}

func garbageToken(s *session) verdict {
	return s.refusedToken("garbage", "the server offers no Bearer")
}

func forgedToken(s *session) verdict {
	if why := s.guarded(); why != "" {
		return skip("%s", why)
	}
	asked := 0
	for _, a := range s.order {
		if !strings.HasPrefix(a.name, "forged-") {
			continue
		}
		if a.isLimited() {
			return limited
		}
		asked++
		if a.ok() {
			v := fail("%s: %d, accepted", a.text, a.status)
			v.forged = true
			return v
		}
		if a.err != nil || a.status >= 500 {
			return fail("%s: %s", a.text, a)
		}
	}
	if asked == 0 {
		return skip("the server offers no Bearer")
	}
	return pass("%d forged tokens were refused", asked)
}

func malformed(s *session) verdict {
	if why := s.guarded(); why != "" {
		return skip("%s", why)
	}
	for _, name := range []string{"empty", "no-blank"} {
		if a := s.answers[name]; a.isLimited() {
			return limited
		} else if a != nil && !a.refuses() {
			return fail("%s: %s", a.text, a)
		}
	}
	return pass("400 or 401")
}

func unknownScheme(s *session) verdict {
	a := s.answers["unknown"]
	if why := s.guarded(); why != "" || a == nil {
		return skip("%s", why)
	}
	if a.isLimited() {
		return limited
	}
	if !a.refuses() {
		return fail("%s", a)
	}
	return pass("%s", a)
}

func twoFields(s *session) verdict {
	a := s.answers["two-fields"]
	if why := s.guarded(); why != "" || a == nil {
		return skip("%s", why)
	}
	switch {
	case a.isLimited():
		return limited
	case a.ok() && s.Good != "":
		return fail("%d: one of two fields was chosen", a.status)
	case !a.refuses():
		return fail("%s", a)
	}
	return pass("%s", a)
}

func tokenInQuery(s *session) verdict {
	a := s.answers["query"]
	if why := s.goodToken(); why != "" || a == nil {
		return skip("%s", why)
	}
	if a.ok() {
		return fail("%d: accepted", a.status)
	}
	return pass("%s", a)
}

// goodToken returns why a row that compares with the good token does not apply, or "".
func (s *session) goodToken() string {
	if why := s.guarded(); why != "" {
		return why
	}
	a := s.answers["good"]
	if a == nil {
		return "no good token was given"
	}
	if a.err != nil || a.status == http.StatusUnauthorized || a.status == http.StatusForbidden {
		return fmt.Sprintf("the good token is not accepted: %s", a)
	}
	return ""
}

func expired(s *session) verdict { return s.refusedToken("expired", "no expired token was given") }
func audience(s *session) verdict {
	return s.refusedToken("audience", "no token for another audience was given")
}

func scope(s *session) verdict {
	a := s.answers["no-scope"]
	if why := s.guarded(); why != "" {
		return skip("%s", why)
	} else if a == nil {
		return skip("no token without scope was given")
	}
	switch {
	case a.isLimited():
		return limited
	case a.err != nil || a.status != http.StatusForbidden:
		return fail("%s in place of 403", a)
	case len(s.challenges(s.answers["anonymous"])) == 0:
		return skip("403; no answer has a readable challenge")
	}
	code, _ := s.errorOf(a)
	if code != "insufficient_scope" {
		return fail("403 without error=\"insufficient_scope\"")
	}
	for _, c := range s.challenges(a) {
		if value, _ := c.Param("scope"); value != "" {
			return pass("403 insufficient_scope, scope %q", cut(value))
		}
	}
	return fail("403 insufficient_scope that does not name the scope")
}

// shape returns the schemes of the challenges with the names of their parameters. Nonces differ from
// answer to answer.
func (s *session) shape(a *answer) string {
	var all []string
	for _, c := range s.challenges(a) {
		names := []string{strings.ToLower(c.Scheme)}
		for _, p := range c.Params {
			names = append(names, strings.ToLower(p.Name))
		}
		all = append(all, strings.Join(names, " "))
	}
	return strings.Join(all, ", ")
}

func head(s *session) verdict {
	get, a := s.answers["anonymous"], s.answers["head"]
	switch {
	case a == nil:
		return skip("not asked")
	case a.isLimited() || get.isLimited():
		return limited
	case a.err != nil:
		return fail("no response")
	case a.status != get.status:
		return fail("HEAD got %d, GET %d", a.status, get.status)
	case s.shape(a) != s.shape(get):
		return fail("the challenges differ: HEAD %q, GET %q", cut(s.shape(a)), cut(s.shape(get)))
	}
	for _, name := range []string{"Cache-Control", "Content-Type", "Vary"} {
		if h, g := a.header.Get(name), get.header.Get(name); h != g {
			return fail("%s differs: HEAD %q, GET %q", name, cut(h), cut(g))
		}
	}
	return pass("the same as GET")
}

// directives returns the directives of Cache-Control in lower case.
func directives(h http.Header) map[string]string {
	all := make(map[string]string)
	for one := range strings.SplitSeq(strings.Join(h["Cache-Control"], ","), ",") {
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(one)), "=")
		all[name] = strings.Trim(value, `"`)
	}
	return all
}

// storable returns the directive that lets a shared cache answer other users with a response, or "". A
// 401 or 403 without any is not stored (RFC 9110 s15.1).
func storable(h http.Header) string {
	d := directives(h)
	for _, name := range []string{"no-store", "private", "no-cache"} {
		if _, ok := d[name]; ok {
			return ""
		}
	}
	for _, name := range []string{"s-maxage", "max-age"} {
		if seconds, ok := d[name]; ok && strings.Trim(seconds, "0") != "" {
			return name + "=" + cut(seconds)
		} else if ok {
			return ""
		}
	}
	if _, ok := d["public"]; ok {
		return "public"
	}
	expires, err := http.ParseTime(h.Get("Expires"))
	if at, wrong := http.ParseTime(h.Get("Date")); err == nil && wrong == nil && expires.After(at) {
		return "Expires"
	}
	return ""
}

func caching(s *session) verdict {
	all := s.refusals()
	for _, a := range all {
		if d := storable(a.header); d != "" {
			return fail("%s: %d with %s", a.text, a.status, d)
		}
	}
	for _, a := range s.order {
		allowed := ""
		if a.err == nil {
			allowed = a.header.Get("Access-Control-Allow-Origin")
		}
		if a.name == "origin" && allowed != "" && allowed != "*" && !varies(a.header, "origin") {
			return fail("Access-Control-Allow-Origin names an origin, and Vary does not (Fetch standard)")
		}
	}
	if a := s.answers["good"]; a.ok() {
		d := directives(a.header)
		_, public := d["public"]
		_, shared := d["s-maxage"]
		if (public || shared) && !varies(a.header, "authorization") { // RFC 9111 s3.5
			return fail("the answer to the good token may be stored for other users")
		}
	}
	if len(all) == 0 {
		return skip("no 401 was received")
	}
	if d := all[0].header.Get("Cache-Control"); d != "" {
		return pass("Cache-Control: %s", cut(d))
	}
	return pass("no Cache-Control; caches do not keep a 401 by themselves")
}

// varies reports whether Vary names a field.
func varies(h http.Header, field string) bool {
	for name := range strings.SplitSeq(strings.ToLower(strings.Join(h["Vary"], ",")), ",") {
		if name = strings.TrimSpace(name); name == field || name == "*" {
			return true
		}
	}
	return false
}

// maxTrace is the part of a body that is searched for a stack trace, in octets.
const maxTrace = 64 << 10

// stackTrace matches lines of stack traces: Python, Java, Go, JavaScript, .NET, PHP and Ruby.
var stackTrace = regexp.MustCompile(`Traceback \(most recent call last\)|(?m:^\s*at [\w.$<>]+\([\w$]+\.(?:java|kt|scala):\d+\))` +
	`|goroutine \d+ \[running\]|(?m:^\s*at .{1,120}\((?:/|file:|node:)[^)\n]{1,200}:\d+:\d+\))|\.cs:line \d+` +
	`|(?m:^#\d+ /\S+\.php\(\d+\))|\.rb:\d+:in ['` + "`" + `]`)

func body(s *session) verdict {
	judged := 0
	for _, a := range s.order {
		if a.err != nil || a.status < 400 || a.method == http.MethodHead || a.method == http.MethodOptions || a.name == "clear" || len(a.body) == 0 {
			continue
		}
		judged++
		if stackTrace.Match(a.body[:min(len(a.body), maxTrace)]) {
			return fail("%s: the body contains a stack trace", a.text)
		}
		if text := s.disagrees(a); text != "" {
			return fail("%s: %s", a.text, text)
		}
	}
	if judged == 0 {
		return skip("no refusal has a body")
	}
	return pass("%d bodies agree with their status and fields", judged)
}

// disagrees returns how the body of a refusal contradicts its status or fields, or "".
func (s *session) disagrees(a *answer) string {
	kind, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	isJSON := err == nil && (kind == "application/json" || strings.HasSuffix(kind, "+json"))
	var members map[string]any
	wrong := json.Unmarshal(a.body, &members)
	text := bytes.TrimSpace(a.body)
	switch {
	case isJSON && !json.Valid(a.body) && len(a.body) < maxBody:
		return fmt.Sprintf("Content-Type is %s, the body is not JSON", cut(kind))
	case !isJSON && wrong == nil && len(text) > 0 && text[0] == '{':
		return fmt.Sprintf("the body is JSON, Content-Type is %q", cut(a.header.Get("Content-Type")))
	case wrong != nil:
		return ""
	}
	for _, name := range []string{"status", "statusCode", "status_code"} {
		if status, ok := members[name].(float64); ok && int(status) != a.status && status >= 100 && status < 600 {
			return fmt.Sprintf("the status is %d, the member %s of the body %d", a.status, name, int(status)) // RFC 9457 s3.1.2
		}
	}
	code, _ := s.errorOf(a)
	if inBody, ok := members["error"].(string); ok && code != "" && inBody != code && !strings.Contains(inBody, " ") {
		return fmt.Sprintf("the challenge says %q, the member error of the body %q", cut(code), cut(inBody))
	}
	return ""
}

// allows reports whether an answer allows the origin of the check to read it.
func (s *session) allows(a *answer) bool {
	if a == nil || a.err != nil {
		return false
	}
	from := s.Origin
	if from == "" {
		from = foreignOrigin
	}
	allowed := a.header.Get("Access-Control-Allow-Origin")
	return allowed == "*" || strings.EqualFold(allowed, from)
}

// cors returns why the rows of pages do not apply, or "".
func (s *session) cors() string {
	if s.Origin == "" && !s.allows(s.answers["preflight"]) && !s.allows(s.answers["origin"]) {
		return "the server allows no unknown origin; --origin names one that it knows"
	}
	return ""
}

func preflight(s *session) verdict {
	a := s.answers["preflight"]
	if why := s.cors(); why != "" || a == nil {
		return skip("%s", why)
	}
	switch {
	case a.err != nil:
		return fail("no response")
	case !a.ok():
		return fail("%d: a browser sends no credentials with a preflight", a.status)
	case !s.allows(a):
		return fail("%d without Access-Control-Allow-Origin for the origin", a.status)
	}
	// Fetch standard s4.8: the wildcard does not include Authorization.
	allowed := strings.ToLower(strings.Join(a.header["Access-Control-Allow-Headers"], ","))
	if !slices.ContainsFunc(strings.Split(allowed, ","), func(name string) bool { return strings.TrimSpace(name) == "authorization" }) {
		return fail("%d without authorization in Access-Control-Allow-Headers", a.status)
	}
	return pass("%d", a.status)
}

func readable(s *session) verdict {
	a := s.answers["origin"]
	if why := s.cors(); why != "" || a == nil {
		return skip("%s", why)
	}
	if why := s.guarded(); why != "" {
		return skip("%s", why)
	}
	if !s.allows(a) {
		return fail("%s without Access-Control-Allow-Origin for the origin: the page sees a network error", a)
	}
	return pass("%s with Access-Control-Allow-Origin", a)
}

func apiNoRedirect(s *session) verdict {
	a := s.answers["json"]
	switch {
	case a == nil || a.err != nil:
		return skip("%s", a)
	case s.answers["anonymous"].redirects():
		return skip("every request is redirected: the row anonymous-401 counts it")
	case a.redirects():
		return fail("%d to a page", a.status)
	}
	return pass("%s", a)
}

func inTheClear(s *session) verdict {
	if s.plainHTTP() {
		if len(s.refusals()) > 0 {
			return fail("the address is plain http and asks for credentials")
		}
		return skip("no 401 was received")
	}
	a := s.answers["clear"]
	switch {
	case a == nil:
		return skip("the address has no counterpart over plain http")
	case a.err != nil:
		return pass("http is not answered")
	case a.status == http.StatusUnauthorized:
		return fail("http asks for credentials with 401")
	case a.ok():
		return fail("http answers %d", a.status)
	case a.redirects():
		if to, err := a.url.Parse(a.header.Get("Location")); err != nil || to.Scheme != "https" {
			return fail("http redirects to an address that is not https")
		}
	}
	return pass("%s over http", a)
}

func tlsRow(s *session) verdict {
	a := s.answers["anonymous"]
	if s.target.Scheme != "https" {
		return skip("the address is not https")
	}
	for one := range strings.SplitSeq(a.header.Get("Strict-Transport-Security"), ";") {
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(one)), "=")
		if seconds, err := strconv.Atoi(strings.Trim(value, `"`)); name == "max-age" && err == nil && seconds > 0 {
			return pass("max-age=%d", seconds)
		}
	}
	return fail("no Strict-Transport-Security with a max-age")
}

// maxSkew is the difference between the clocks of server and check that is accepted.
const maxSkew = 5 * time.Minute

func date(s *session) verdict {
	value := s.answers["anonymous"].header.Get("Date")
	if value == "" {
		return fail("no Date")
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return fail("Date is not a date")
	}
	if skew := time.Since(at).Abs(); skew > maxSkew {
		return fail("Date differs from the clock of this machine by %s", skew.Round(time.Second))
	}
	return pass("%s", at.UTC().Format(time.RFC3339))
}

// Parameters of a Digest challenge that RFC 7616 s3.3 wants quoted, and those that it wants as tokens.
var (
	digestUnquoted = regexp.MustCompile(`(?i)[ ,\t](realm|domain|nonce|opaque|qop)\s*=\s*[^"\s]`)
	digestQuoted   = regexp.MustCompile(`(?i)[ ,\t](algorithm|stale)\s*=\s*"`)
)

func digest(s *session) verdict {
	all, why := s.grammatical()
	if why != "" {
		return skip("%s", why)
	}
	var algorithms []string
	for _, c := range all {
		if !strings.EqualFold(c.Scheme, "Digest") {
			continue
		}
		algorithm, ok := c.Param("algorithm")
		if !ok {
			algorithm = "MD5" // RFC 7616 s3.3
		}
		if !slices.Contains(algorithms, strings.ToUpper(algorithm)) {
			algorithms = append(algorithms, strings.ToUpper(algorithm))
		}
		for _, name := range []string{"nonce", "qop"} {
			if value, _ := c.Param(name); value == "" {
				return fail("Digest has no %s", name)
			}
		}
	}
	if len(algorithms) == 0 {
		return skip("the server does not offer Digest")
	}
	for _, a := range s.refusals() {
		for _, line := range a.lines() {
			if i := strings.Index(strings.ToLower(line), "digest "); i >= 0 {
				if m := digestUnquoted.FindStringSubmatch(line[i:]); m != nil {
					return fail("%s is not quoted", m[1])
				}
				if m := digestQuoted.FindStringSubmatch(line[i:]); m != nil {
					return fail("%s is quoted", m[1])
				}
			}
		}
	}
	for _, a := range algorithms {
		if strings.HasPrefix(a, "SHA-256") || strings.HasPrefix(a, "SHA-512-256") {
			return pass("%s", strings.Join(algorithms, ", "))
		}
	}
	return fail("only %s", strings.Join(algorithms, ", "))
}

func dpop(s *session) verdict {
	all, why := s.grammatical()
	if why != "" {
		return skip("%s", why)
	}
	offered := ""
	for _, c := range all {
		if !strings.EqualFold(c.Scheme, "DPoP") {
			continue
		}
		algs, _ := c.Param("algs")
		if algs == "" {
			return fail("DPoP has no algs")
		}
		for alg := range strings.FieldsSeq(algs) {
			if strings.EqualFold(alg, "none") || strings.HasPrefix(alg, "HS") { // RFC 9449 s4.2
				return fail("DPoP offers %s", cut(alg))
			}
		}
		offered = algs
	}
	if offered == "" {
		return skip("the server does not offer DPoP")
	}
	return pass("%s", cut(offered))
}

func metadata(s *session) verdict {
	at := s.metadataURL()
	if at == nil {
		return skip("no challenge names metadata")
	}
	if !s.sameOrigin(at) {
		return skip("the metadata are at another origin, which is not asked")
	}
	a := s.answers["resource"]
	if a == nil {
		return skip("not asked")
	}
	var document struct {
		Resource string   `json:"resource"`
		Servers  []string `json:"authorization_servers"`
	}
	switch {
	case a.err != nil || a.status != http.StatusOK:
		return fail("the metadata of the resource: %s", a)
	case json.Unmarshal(a.body, &document) != nil:
		return fail("the metadata of the resource are not JSON")
	case !s.isResource(document.Resource):
		return fail("resource is %q, not the address", cut(document.Resource)) // RFC 9728 s3.3
	}
	issuer := s.answers["issuer"]
	if issuer == nil || len(document.Servers) == 0 {
		return pass("resource %s", cut(document.Resource))
	}
	var of struct {
		Issuer string `json:"issuer"`
	}
	switch {
	case issuer.err != nil || issuer.status != http.StatusOK:
		return fail("the metadata of the authorization server: %s", issuer)
	case json.Unmarshal(issuer.body, &of) != nil || of.Issuer != document.Servers[0]:
		return fail("the metadata of the authorization server name the issuer %q", cut(of.Issuer)) // RFC 8414 s3.3
	}
	return pass("resource %s, issuer %s", cut(document.Resource), cut(of.Issuer))
}

// isResource reports whether a resource identifier covers the address: the same origin, and its path or
// a parent of it. One resource has many addresses.
func (s *session) isResource(identifier string) bool {
	u, err := url.Parse(identifier)
	if err != nil || u.Fragment != "" || origin.Of(u.Scheme, u.Host) != origin.Of(s.target.Scheme, s.target.Host) {
		return false
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	own := s.target.EscapedPath()
	return path == "" || own == path || strings.HasPrefix(own, path+"/")
}

func proxy407(s *session) verdict {
	a := s.answers["proxy"]
	switch {
	case s.Proxy == nil:
		return skip("no proxy was given")
	case a == nil:
		return skip("not asked")
	case a.err != nil:
		return fail("no response through the proxy")
	case a.status != http.StatusProxyAuthRequired:
		return fail("%d in place of 407", a.status)
	}
	return pass("407")
}
