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
// the server or a log names a cause of another kind.
func (d *diagnosis) disputed(ranked []*score) bool {
	first := ranked[0]
	if first.coded && (!first.seconded || d.has("alternatives-told") || slices.ContainsFunc(d.scores, func(s *score) bool { return s != first && s.named() })) {
		return true
	}
	other := func(s *score) bool { return s.cause.Family != first.cause.Family && !general[s.cause.ID] }
	if !d.has("log:"+first.cause.ID) && slices.ContainsFunc(d.scores, func(s *score) bool { return other(s) && d.has("log:"+s.cause.ID) }) {
		return true
	}
	return first.groups["words"] <= 0 && slices.ContainsFunc(d.scores, func(s *score) bool { return other(s) && s.vetoedBy == "" && s.groups["words"] >= strong })
}

// named reports whether words speak for the cause, and it is one that they name only if they mean it.
func (s *score) named() bool {
	return s.vetoedBy == "" && s.groups["words"] >= strong && !general[s.cause.ID] && !vague[s.cause.ID]
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
				s.form = []int{4, 2, 1}[min(i, 2)] // the first counts like a point, the others break ties
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
		return cmp.Compare(4*b.points()+b.form, 4*a.points()+a.form)
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
