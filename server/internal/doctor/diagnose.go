package doctor

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// This file makes the diagnosis: it weighs the causes by the rules, orders them and decides on the
// verdict.

// Option changes a diagnosis.
type Option func(*diagnosis)

// At sets the time of the diagnosis, in place of the current time.
func At(now time.Time) Option { return func(d *diagnosis) { d.now = now } }

// WithTrace writes to trace each rule that fired: cause, points, group and facts.
func WithTrace(trace *[]string) Option { return func(d *diagnosis) { d.trace = trace } }

// maxCauses bounds the causes of a report.
const maxCauses = 5

// diagnosis is the work on one case.
type diagnosis struct {
	now   time.Time
	trace *[]string
	*evidence
	scores []*score
}

// score is what speaks for and against one cause.
type score struct {
	cause    Cause
	groups   map[string]int // the strongest points of each group
	facts    map[string]int // IDs of the facts that count, with the most points of their rules
	decided  bool           // a rule decides, and its facts are not all said
	closed   bool           // decided by more than a rule that only leads
	coded    bool           // decided by a code alone
	seconded bool           // a fact that is no code speaks for it
	against  bool           // a rule contradicts
	vetoedBy string         // the ID of the fact that makes it impossible
	order    int            // for ties
	form     int            // half points of the form of the request, for the order behind the first cause
}

// points returns the sum of the points of all groups.
func (s *score) points() (n int) {
	for _, p := range s.groups {
		n += p
	}
	return n
}

// prepared returns the rules with their facts split into words.
var prepared = sync.OnceValue(func() []preparedRule {
	var list []preparedRule
	for _, r := range ruleSet() {
		list = append(list, preparedRule{r, r.parts()})
	}
	return list
})

// preparedRule is a rule with its facts split into words.
type preparedRule struct {
	rule
	ids []string
}

// coded reports whether the rule rests on a code of a product.
func (r preparedRule) coded() bool {
	return slices.ContainsFunc(r.ids, func(id string) bool {
		return strings.HasPrefix(id, "code:") || strings.HasPrefix(id, "usual:") || strings.HasPrefix(id, "may:")
	})
}

// Diagnose weighs the facts of a case and returns the report. It does not use the network.
func Diagnose(c *Case, options ...Option) *Report {
	d := &diagnosis{now: time.Now()}
	for _, o := range options {
		o(d)
	}
	d.evidence = gather(c, d.now)
	d.derive()
	d.weigh(prepared())
	return d.report()
}

// refusals lists the facts of answers that refuse a request without a status of 400 or more.
var refusals = []string{
	"refused", "to-sign-in", "to-https", "to-itself", "preflight-lacks", "to-second-factor", "to-denied-page", "sign-in-page", "sign-in-failed",
}

// derive adds facts that combine others.
func (d *diagnosis) derive() {
	e := d.evidence
	status := e.response.Status
	if status != 0 {
		e.add("status-known", Computed, "status", "the status is %d", status)
	}
	coded, said := false, false
	for _, f := range e.list {
		switch {
		case strings.HasPrefix(f.ID, "code:"), strings.HasPrefix(f.ID, "usual:"):
			coded = true
		case strings.HasPrefix(f.ID, "said:"):
			said = true
		}
	}
	for _, f := range e.list {
		topic, ok := strings.CutPrefix(f.ID, "usual:")
		if !ok {
			topic, ok = strings.CutPrefix(f.ID, "code:")
		}
		if ok && !general[topic] {
			e.add("coded-special", Coded, f.At, "%s", f.Text)
		}
	}
	for _, f := range e.list {
		topic, ok := strings.CutPrefix(f.ID, "said:")
		if !ok {
			if topic, ok = strings.CutPrefix(f.ID, "code:"); !ok {
				continue
			}
		}
		c, _ := CauseByID(topic)
		if slices.Contains([]string{"expired", "not-yet-valid", "clock-wrong", "wrong-issuer", "wrong-audience", "claim-missing", "wrong-algorithm"}, topic) {
			e.add("said-claim", f.Source, f.At, "%s", f.Text)
		}
		if !general[topic] && !vague[topic] {
			e.add("said-special", f.Source, f.At, "%s", f.Text)
		}
		if c.Family == "who" && topic != "network-not-allowed" && topic != "not-permitted" && topic != "insecure-transport" && topic != "cross-site-refused" ||
			c.Family == "token" && topic != "wrong-secret" && topic != "oauth-client-refused" && topic != "session-ended" {
			e.add("credentials-read", f.Source, f.At, "the server read the credentials: it speaks of what is behind them")
		}
		if status >= 500 && (c.Family == "token" || c.Family == "nothing" || topic == "none" || topic == "login" || topic == "bad-token") {
			e.add("refusal-in-500", Computed, "status", "the answer has the words of a refusal and the status %d, a fault of the server", status)
		}
	}
	e.namedCredential()
	e.clientFacts()
	e.betweenFacts()
	e.formFacts()
	e.keptFacts()
	e.registryFacts()
	e.tokenUserFacts()
	e.tokenBodyFacts()
	e.discoveryFacts()
	if status >= 500 {
		for _, w := range e.words {
			if len(w.words) <= 3 && len(w.words) > 0 && (w.words[0] == "unauthorized" || w.words[0] == "unauthenticated" || w.words[0] == "forbidden") {
				e.add("refusal-in-500", Computed, "status", "the answer has the words of a refusal and the status %d, a fault of the server", status)
			}
		}
	}
	for _, code := range e.codes { // 200 with an error of OAuth, or with ok=false where refusals have 200
		if status >= 200 && status < 300 && code.alone && strings.HasPrefix(code.at, "body") && (code.name == "error" && slices.Contains(oauthErrors, strings.ToLower(code.value)) ||
			slices.Contains(statusMembers, code.name) && (code.value == "401" || code.value == "403") || code.is("success=false") || code.is("status=failure") ||
			code.is("ok=false") && e.seen["quirk-refuses-with-200"]) {
			e.add("refused", Computed, code.at, "the body has the code of a refusal: %s", e.quote(code.value))
		}
	}
	refusal := status >= 400 || coded || said || slices.ContainsFunc(refusals, func(id string) bool { return e.seen[id] }) || status == 0 && e.c.Subject < 0
	if refusal {
		e.add("refused", Computed, "status", "the request was refused")
	}
	if !coded && !said {
		e.add("said-nothing", Computed, "response", "the response gives no reason")
	}
	if !coded && !said && !slices.ContainsFunc(e.words, func(w passage) bool { return w.by == byServer && ofBody(w.at) && !statusWords(w.words) }) {
		e.add("silent", Computed, "response", "the response has no words but those of its status")
	}
	if status == 404 && e.has("quirk-hides-as-404") {
		e.add("hides", Computed, "status", "404 stands for a refusal")
	}
	path := strings.ToLower(e.target.Path)
	if strings.HasSuffix(path, "/mcp") || strings.Contains(path, "/mcp/") || strings.HasPrefix(strings.ToLower(e.target.Host), "mcp.") && !oauthPath.MatchString(path) && !e.has("registration-address") || strings.HasSuffix(path, "/sse") || e.request.Header.Has("MCP-Protocol-Version") {
		e.add("mcp", Computed, "address", "the address is one of the Model Context Protocol")
	}
	for _, w := range e.words {
		if w.by != byLog {
			continue
		}
		lower := strings.ToLower(w.text)
		if auth := e.sent(secretInAuthorization); auth != nil && strings.Contains(lower, "authorization") && strings.Contains(lower, "bearer") && auth.scheme == "basic" && !strings.Contains(lower, "basic") {
			e.add("scheme-not-set", Computed, "client", "the program sets Bearer and the request has %s", e.quote(auth.scheme))
		} else if m := schemeShown.FindStringSubmatch(w.text); m != nil && auth != nil && auth.scheme == "basic" {
			if set := strings.ToLower(m[1]); set != "basic" && set != "none" && slices.Contains(schemes, set) {
				e.add("scheme-not-set", Computed, "client", "the program sets %s and the request has %s", e.quote(set), e.quote(auth.scheme))
			}
		}
	}
	for _, f := range e.response.Header {
		if l := strings.ToLower(f.Name); l == "via" || l == "x-envoy-upstream-service-time" || l == "x-forwarded-server" {
			e.add("front-proxy", Computed, f.Name, "the field is one that a front end adds")
		}
	}
	if auth := e.sent(secretInAuthorization); auth != nil {
		if m := markedStamp.FindStringSubmatch(auth.value); m != nil && offMark.MatchString(m[1]) {
			e.add("mark-time-wrong", Said, "Authorization", "the input says that the time of the request is wrong: %s", e.quote(m[1]))
		}
	}
	if v := e.request.Header.Get("X-Amz-Date") + e.request.Header.Get("X-Ms-Date") + e.request.Header.Get("Date"); strings.Contains(v, "<") && offMark.MatchString(v) {
		e.add("mark-time-wrong", Said, "Date", "the input says that the time of the request is wrong")
	}
}

// markedStamp matches words in place of the time of a signed request.
var markedStamp = regexp.MustCompile(`(?i)\b(?:oauth_timestamp|timestamp|created|ts)="?(<[^<>]+>)`)

// ofBody reports whether a passage stands in the body, the challenge or the reason phrase. Other
// fields count only if their words have a topic.
func ofBody(at string) bool {
	return strings.HasPrefix(at, "body") || strings.HasPrefix(at, "WWW-Authenticate") || at == "reason phrase" || strings.Contains(at, "member")
}

// statusWords reports whether words say no more than a status does.
func statusWords(words []string) bool {
	return !slices.ContainsFunc(words, func(w string) bool {
		return strings.Trim(w, "v0123456789.") != "" && !slices.Contains([]string{"401", "403", "404", "unauthorized", "forbidden", "not", "found", "error", "status", "failure", "http", "request", sentenceEnd}, w)
	})
}

// Programs that keep credentials for many servers, and the files and settings that hold them.
var (
	toolAgent     = regexp.MustCompile(`(?i)^(docker|npm|pnpm|yarn|pip|twine|poetry|uv|git|maven|apache-maven|gradle|cargo|helm|containerd|buildkit|podman|skopeo|terraform|nuget|composer|bundler|kubectl|aws-cli|gcloud|gh)\b`)
	configuration = regexp.MustCompile(`(?i)\bnetrc\b|[._]netrc|^\s*machine \S+(?:\s+login\b.*)?\s*$|\.npmrc|\.pypirc|\.docker/config\.json|\bauths?"\s*:|settings\.xml|\.git-credentials|credential\.helper|kubeconfig|aws_profile|pip\.conf|nuget\.config|gradle\.properties|auth\.json|_authtoken|credential helper|` +
		`^\s*(?:@[\w-]+:|//\S+:)?_(?:auth|password)\s*=|registry/config\.json|<servers?>|^\s*(?:basic_auth|authorization|bearer_token|bearer_token_file|password_file|credentials_file):|\.aws/credentials|\.yarnrc|npmAuthToken|\.condarc|http-basic|\.config/gh/hosts|"matchHost"`)
)

// fromVariable matches a line of a configuration with a variable for its secret.
var fromVariable = regexp.MustCompile(`(?i)(?:token|password|secret|auth|key)\w*["']?\s*[=:]\s*["']?\$\{?([A-Za-z_]\w*)\}?["']?\s*$`)

// clientFacts adds facts about the client's program and its configuration.
func (e *evidence) clientFacts() {
	if agent := e.request.Header.Get("User-Agent"); toolAgent.MatchString(agent) {
		e.add("client-tool", Computed, "User-Agent", "the client keeps credentials for many servers: %s", e.quote(agent))
	}
	for _, w := range e.words {
		if w.by == byLog && configuration.MatchString(w.text) {
			e.add("configuration-named", Computed, w.at, "the input has a line of the client's configuration: %s", e.quoteLine(w.text))
			if m := fromVariable.FindStringSubmatch(w.text); m != nil {
				e.add("configuration-variable", Computed, w.at, "the configuration takes the secret from the variable %s", e.quote(m[1]))
			}
		}
	}
}

// namedCredential adds facts about the credential that the server missed and the request has in
// another place.
func (e *evidence) namedCredential() {
	if !e.seen["said:none"] && !e.seen["code:no-credentials"] {
		return
	}
	for _, w := range e.words {
		if w.by != byServer {
			continue
		}
		text := " " + strings.Join(w.words, " ") + " "
		key := strings.Contains(text, " api key ") || strings.Contains(text, " apikey ") || strings.Contains(text, " subscription key ")
		header := strings.Contains(text, " authorization ") || strings.Contains(text, " bearer ") || strings.Contains(text, " jwt ")
		if key && !header && e.seen["authorization-sent"] && !e.seen["key-sent"] {
			e.add("none-names-key", Computed, w.at, "the server requires a key in another field, and the request has only Authorization")
		}
		if header && !key && e.seen["key-sent"] && e.seen["authorization-absent"] {
			e.add("none-names-authorization", Computed, w.at, "the server requires Authorization, and the request has a key elsewhere")
		}
	}
}

// weigh lets every rule count.
func (d *diagnosis) weigh(rules []preparedRule) {
	byID := map[string]*score{}
	for i, c := range Causes {
		s := &score{cause: c, groups: map[string]int{}, facts: map[string]int{}, order: tieOrder(c)*1000 + i}
		byID[c.ID] = s
		d.scores = append(d.scores, s)
	}
	said := map[string]bool{} // facts that are only said
	for _, f := range d.list {
		if was, ok := said[f.ID]; !ok || was {
			said[f.ID] = f.Source == Said
		}
	}
	for _, r := range rules {
		if !d.has(r.ids...) {
			continue
		}
		s, points := byID[r.cause], r.points
		onlySaid, positive := true, []string{}
		for _, id := range r.ids {
			if id[0] != '!' {
				positive = append(positive, id)
				onlySaid = onlySaid && said[id]
			}
		}
		if onlySaid && points >= decides {
			points = strong // servers err: words alone never decide
		}
		if d.trace != nil {
			*d.trace = append(*d.trace, fmt.Sprintf("%+4d %-28s %s (%s)", points, r.cause, r.facts, r.group))
		}
		switch {
		case points == impossible:
			if s.vetoedBy == "" && len(positive) > 0 {
				s.vetoedBy = positive[0]
			}
			continue
		case points >= decides:
			s.coded = (s.coded || !s.decided) && r.coded()
			s.decided, s.closed = true, s.closed || points != leads
		case points <= contradicts:
			s.against = true
		}
		if was, ok := s.groups[r.group]; !ok || abs(points) > abs(was) {
			s.groups[r.group] = points
		}
		s.seconded = s.seconded || points >= weak && r.group != "reason" && !r.coded()
		if points > 0 {
			for _, id := range positive {
				s.facts[id] = max(s.facts[id], points)
			}
		}
	}
}

// abs returns the absolute value of n.
func abs(n int) int { return max(n, -n) }

// tieOrder returns the place of a family among causes with equal points.
func tieOrder(c Cause) int {
	return slices.Index([]string{"between", "nothing", "form", "kind", "proof", "token", "who", "server"}, c.Family)
}

// metFirst is the order in which a server meets mistakes (the order of decisions of package
// durward). Causes that are not listed come last.
var metFirst = []string{
	"challenge-lost", "edge-refused", "proxy-credentials-missing", "insecure-transport", "client-certificate-missing", "preflight-refused",
	"rate-limited", "network-not-allowed", "lost-on-redirect", "cookie-not-sent", "ambiguous-credentials", "prefix-missing", "placeholder",
	"stray-characters", "malformed-credentials", "credentials-not-chosen", "wrong-scheme", "header-stripped", "metadata-missing", "challenge-faulty", "no-credentials",
	"cross-site-refused", "required-field-missing", "account-locked", "wrong-place", "method-retired", "not-a-jwt", "wrong-credential-kind",
	"app-password-needed", "wrong-algorithm", "wrong-issuer", "unknown-signing-key", "bad-signature", "claim-missing", "wrong-audience", "clock-wrong",
	"not-yet-valid", "dpop-proof-missing", "dpop-nonce-needed", "dpop-url-mismatch", "dpop-proof-wrong", "certificate-binding",
	"digest-answer-wrong", "request-signature-mismatch", "stale-nonce", "expired", "oauth-client-refused", "revoked", "session-ended", "refresh-refused",
	"wrong-secret", "identity-unknown-here", "account-not-active", "second-factor-owed", "organisation-rule", "insufficient-scope", "not-permitted",
}

// report returns the outcome.
func (d *diagnosis) report() *Report {
	e := d.evidence
	r := &Report{
		SchemaName: Schema, Status: e.response.Status, Method: e.quote(e.request.Method), Host: e.quote(e.target.Host), Path: e.quote(e.target.Path),
		Input:  e.c.Kind,
		Causes: []Finding{}, AlsoWrong: []Finding{}, RuledOut: []RuledOut{}, Faults: []Fault{},
		Notes: []string{}, Limits: append([]string{}, e.c.Limits...), Requests: append([]string{}, e.c.Requests...),
	}
	for _, n := range e.c.Notes {
		r.Notes = append(r.Notes, e.quote(cmp.Or(n.Text, n.ID)))
	}
	r.Notes = append(r.Notes, e.schemeNotes()...)
	if len(e.products) > 0 {
		r.Product = e.products[0].Name
	}
	ranked := d.related(d.rank())
	for i, s := range ranked {
		switch {
		case i > 0 && s.decided && !s.against && ranked[0].decided:
			r.AlsoWrong = append(r.AlsoWrong, d.finding(s, Possible))
		case len(r.Causes) < maxCauses:
			r.Causes = append(r.Causes, d.finding(s, Possible))
		}
	}
	for _, s := range d.scores {
		if s.vetoedBy != "" {
			if facts := e.facts(s.vetoedBy); len(facts) > 0 {
				r.RuledOut = append(r.RuledOut, RuledOut{s.cause.ID, facts[0]})
			}
		}
	}
	r.Faults = append(r.Faults, e.faults()...)
	d.decide(r, ranked)
	return r
}

// rank orders the causes that facts speak for.
func (d *diagnosis) rank() (ranked []*score) {
	for _, s := range d.scores {
		if s.vetoedBy == "" && s.points() >= 1 {
			ranked = append(ranked, s)
		}
	}
	slices.SortStableFunc(ranked, func(a, b *score) int {
		if a.sure() != b.sure() {
			if a.sure() {
				return -1
			}
			return 1
		}
		if a.sure() {
			return cmp.Or(cmp.Compare(met(a), met(b)), cmp.Compare(b.points(), a.points()))
		}
		return cmp.Or(cmp.Compare(b.points(), a.points()), cmp.Compare(a.order, b.order))
	})
	return ranked
}

// sure reports whether a fact decides for the cause and none contradicts it.
func (s *score) sure() bool { return s.decided && !s.against }

// met returns the place of a cause in the order in which a server meets mistakes.
func met(s *score) int {
	if i := slices.Index(metFirst, s.cause.ID); i >= 0 {
		return i
	}
	return len(metFirst)
}

// decide sets the verdict, the confidence of the first cause and the next test.
func (d *diagnosis) decide(r *Report, ranked []*score) {
	if d.accepted(ranked) {
		r.Verdict, r.Causes, r.AlsoWrong = Accepted, []Finding{}, []Finding{}
		return
	}
	r.Verdict = Undecided
	if len(ranked) > 0 {
		first, next := ranked[0], 0
		others := false
		for _, s := range ranked[1:] {
			if s.groups["kin"] == 0 {
				next = max(next, s.points())
			}
			others = others || s.decided
		}
		switch {
		case first.sure() && first.closed && !others && first.points() >= next+strong && !d.disputed(ranked):
			r.Verdict = Certain
		case first.points() >= strong && first.points() >= next+weak+base, first.sure() && (len(ranked) == 1 || !ranked[1].sure()):
			r.Verdict = Likely
		}
		if r.Verdict != Undecided {
			r.Causes[0].Confidence = r.Verdict
		}
	}
	if r.Verdict != Certain {
		r.NextTest = nextTest(r)
	}
}

// disputed reports whether the deciding fact does not close the case. A code alone does not:
// servers use one code for several reasons. It closes the case if another fact, or the words, speak
// for the same cause, and the server itself names no alternative. A computed fact closes it unless
// the server names a cause of another kind.
func (d *diagnosis) disputed(ranked []*score) bool {
	first := ranked[0]
	if first.coded && (!first.seconded || d.has("alternatives-told")) {
		return true
	}
	return first.groups["words"] <= 0 && slices.ContainsFunc(d.scores, func(s *score) bool {
		return s != first && s.vetoedBy == "" && s.groups["words"] >= strong && !general[s.cause.ID] && s.cause.Family != first.cause.Family
	})
}

// related adds the causes that are likely in the form of the request, and to a short list those
// that often look the same as the first. It orders the causes behind the first; if only base rates
// support the first, it orders the first too.
func (d *diagnosis) related(ranked []*score) []*score {
	if len(ranked) == 0 && !d.has("refused") || len(ranked) > 0 && ranked[0].sure() && ranked[0].closed {
		return ranked
	}
	expected := d.expected(ranked)
	others := expected
	if len(ranked) > 0 && len(ranked) < maxRelated {
		others = append(slices.Clone(expected), kin[ranked[0].cause.ID]...)
	}
	for i, id := range others {
		for _, s := range d.scores {
			if s.cause.ID != id || s.vetoedBy != "" || s.against {
				continue
			}
			if i < len(expected) {
				s.form = max(1, 2-i)
			} else if len(ranked) >= maxRelated {
				continue
			}
			if !slices.Contains(ranked, s) {
				s.groups["kin"] = 1 - s.points()
				s.facts["refused"], s.facts["status-"+statusText(d.response.Status)] = base, base
				ranked = append(ranked, s)
			}
		}
	}
	rest := ranked
	if len(rest) > 0 && (rest[0].points() > base || !slices.Contains(expected, rest[0].cause.ID)) {
		rest = rest[1:]
	}
	slices.SortStableFunc(rest, func(a, b *score) int {
		if a.sure() != b.sure() {
			if a.sure() {
				return -1
			}
			return 1
		}
		return cmp.Compare(2*b.points()+b.form, 2*a.points()+a.form)
	})
	return ranked
}

// maxRelated is the length up to which the list is filled with causes that look the same.
const maxRelated = 3

// accepted reports whether the server accepted the request.
func (d *diagnosis) accepted(ranked []*score) bool {
	status := d.response.Status
	return status >= 200 && status < 300 && !d.has("refused") && !slices.ContainsFunc(ranked, (*score).sure)
}

// maxShown bounds the facts of a finding.
const maxShown = 6

// sources is the order of facts with equal points.
var sources = []Source{Computed, Coded, Said}

// usual matches the IDs of facts that most refusals have. A finding shows them if it has no others.
var usual = regexp.MustCompile(`^(refused|status-.*|authorization-sent|(bearer|basic|digest|jwt|opaque)-sent|scheme-offered|bare-challenge|no-challenge|said-nothing)$`)

// finding returns a cause with its facts, the deciding ones first.
func (d *diagnosis) finding(s *score, confidence Verdict) Finding {
	f := Finding{
		ID: s.cause.ID, Confidence: confidence, Points: s.points(), FixBy: s.cause.FixBy,
		Meaning: s.cause.Meaning, Fix: s.cause.Fix, Facts: []Fact{}, URL: "/errors/cause/" + s.cause.ID,
	}
	perID := map[string]int{}
	for _, fact := range d.list {
		if _, ok := s.facts[fact.ID]; ok && perID[fact.ID] < 3 {
			perID[fact.ID]++
			if !slices.ContainsFunc(f.Facts, func(g Fact) bool { return g.Text == fact.Text }) {
				f.Facts = append(f.Facts, fact)
			}
		}
	}
	if special := slices.DeleteFunc(slices.Clone(f.Facts), func(f Fact) bool { return usual.MatchString(f.ID) }); len(special) > 0 {
		f.Facts = special
	}
	slices.SortStableFunc(f.Facts, func(a, b Fact) int {
		return cmp.Or(s.facts[b.ID]-s.facts[a.ID], slices.Index(sources, a.Source)-slices.Index(sources, b.Source))
	})
	f.Facts = f.Facts[:min(len(f.Facts), maxShown)]
	return f
}

// statusMembers are members of a body that hold the status which another status stands for.
var statusMembers = []string{"error", "errorcode", "error_code", "errcode", "code", "status", "statuscode", "status_code", "retcode", "ret"}
