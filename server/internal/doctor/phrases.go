package doctor

import (
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"
)

// This file reads the general words of phrases.txt.

//go:embed phrases.txt
var phraseFile string

// phrase is one row of the lexicon: general words and the cause that servers mean by them.
type phrase struct {
	topic            string
	pattern          string
	items            []phraseItem
	example, counter string
}

// phraseItem is one place of a pattern.
type phraseItem struct {
	words    map[string]bool
	optional bool
	gap      int // at most so many other words of the same sentence; 0 if the item is words
}

// maxPhrases bounds the lexicon. More rows would hold sentences of products, which belong in
// products/ as codes.
const maxPhrases = 200

// lexicon returns the rows by the words that they begin with. A mistake in the embedded file is a
// mistake of the program: it panics.
var lexicon = sync.OnceValue(func() map[string][]*phrase {
	rows, err := readPhrases(phraseFile)
	if err != nil {
		panic(err)
	}
	index := map[string][]*phrase{}
	for _, p := range rows {
		for w := range p.items[0].words {
			index[w] = append(index[w], p)
		}
	}
	return index
})

// readPhrases parses the lexicon: topic | pattern | example | counter-example. In a pattern a/b is
// one of two words, w? may be absent, * is up to three other words and ** up to eight.
func readPhrases(file string) (rows []*phrase, err error) {
	for i, line := range strings.Split(file, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		parts := strings.Split(line, " | ")
		if len(parts) != 4 {
			return nil, fmt.Errorf("doctor: phrases.txt line %d has %d parts, want 4", i+1, len(parts))
		}
		p := &phrase{topic: parts[0], pattern: parts[1], example: parts[2], counter: parts[3]}
		for _, item := range strings.Fields(parts[1]) {
			switch item {
			case "*":
				p.items = append(p.items, phraseItem{gap: 3})
				continue
			case "**":
				p.items = append(p.items, phraseItem{gap: 8})
				continue
			}
			one := phraseItem{words: map[string]bool{}}
			item, one.optional = strings.CutSuffix(item, "?")
			for _, w := range strings.Split(item, "/") {
				one.words[w] = true
			}
			p.items = append(p.items, one)
		}
		if len(p.items) == 0 || p.items[0].words == nil || p.items[0].optional {
			return nil, fmt.Errorf("doctor: phrases.txt line %d: a pattern begins with words that must stand there", i+1)
		}
		rows = append(rows, p)
	}
	return rows, nil
}

// sentenceEnd is the word that stands for the end of a sentence. No gap passes it.
const sentenceEnd = "."

// loggedRequest matches the request in a line of an access log: its path has no words of the
// server.
var loggedRequest = regexp.MustCompile(`"[A-Z]{3,8} /\S* HTTP/[\d.]+"`)

// lifetimeName matches names of settings that say how long a token lives: they tell of no end.
var lifetimeName = regexp.MustCompile(`\$\w*expires\w*|\b(?:expiresIn|expires_in|expiresAt|expires_at|ExpiresIn)\b["']?\s*[:=]`)

// normalise returns the words of a text in lower case. Punctuation is folded, names in camel case
// are split, an apostrophe vanishes, and the end of a sentence is a word of its own.
func normalise(text string) (words []string) {
	text = loggedRequest.ReplaceAllString(lifetimeName.ReplaceAllString(text, " "), " ")
	text = headerNamed.ReplaceAllString(addressV4.ReplaceAllString(properNames.Replace(text), "ip"), "authorization header")
	var word []rune
	flush := func() {
		if len(word) > 0 {
			words = append(words, strings.ToLower(string(word)))
			word = word[:0]
		}
	}
	runes := []rune(text)
	for i, r := range runes {
		next := rune(0)
		if i+1 < len(runes) {
			next = runes[i+1]
		}
		switch {
		case unicode.In(r, unicode.Han, unicode.Hiragana): // written without blanks
			flush()
			words = append(words, string(r))
		case unicode.IsLetter(r) || unicode.IsDigit(r) || r == 'ー':
			if len(word) > 0 && unicode.IsUpper(r) {
				last := word[len(word)-1]
				if unicode.IsLower(last) || unicode.IsUpper(last) && unicode.IsLower(next) && (next != 's' || i+2 < len(runes) && unicode.IsLetter(runes[i+2])) {
					flush()
				}
			}
			word = append(word, r)
		case r == '\'' || r == '’':
		case (r == '.' || r == '!' || r == '?' || r == ';') && (next == 0 || unicode.IsSpace(next)) || r == '\n' || r == '。' || r == '！':
			flush()
			if n := len(words); n > 0 && words[n-1] != sentenceEnd {
				words = append(words, sentenceEnd)
			}
		default:
			flush()
		}
	}
	flush()
	return words
}

// spoken is one row that was found in a text.
type spoken struct {
	*phrase
	of       []string // the words of the text
	from, to int
}

// general are topics that lose to a more special one at the same place.
var general = map[string]bool{
	"none": true, "login": true, "bad-token": true, "not-permitted": true, "wrong-secret": true, "wrong-credential-kind": true,
	"malformed-credentials": true, "required-field-missing": true, "server-misconfigured": true,
}

// vague are topics that say nothing if the same text names one of another kind.
var vague = map[string]bool{"none": true, "login": true, "bad-token": true}

// keepsVague are topics that do not silence a vague one in the same text.
var keepsVague = map[string]bool{
	"not-permitted": true, "wrong-secret": true, "wrong-credential-kind": true, "malformed-credentials": true, "required-field-missing": true,
	"prefix-missing": true, "header-stripped": true, "server-misconfigured": true, "wrong-scheme": true, "stray-characters": true, "placeholder": true,
	"ambiguous-credentials": true, "scheme-unusable": true, "cookie-not-sent": true, "preflight-refused": true,
}

// ofClaims are topics that say more of a claim than that it is missing.
var ofClaims = []string{"insufficient-scope", "wrong-audience", "second-factor-owed", "wrong-algorithm"}

// find returns the rows that match words. At one place the row with more words counts, and a
// special topic before a general one: "session expired" is not an expired token.
func find(words []string) (found []spoken) {
	for i, w := range words {
		for _, p := range lexicon()[w] {
			if end := match(p.items, words, i); end > i {
				found = append(found, spoken{p, words, i, end})
			}
		}
	}
	special := false
	for _, f := range found {
		special = special || !vague[f.topic] && !keepsVague[f.topic]
	}
	kept := found[:0:0]
	for _, f := range found {
		loses := special && vague[f.topic]
		for _, g := range found {
			if g.topic == f.topic || g.from >= f.to || f.from >= g.to {
				continue
			}
			switch {
			case f.topic == "claim-missing" && slices.Contains(ofClaims, g.topic):
				loses = true
			case f.topic == "session-ended" && g.topic == "cross-site-refused", f.topic == "wrong-scheme" && g.topic == "wrong-algorithm":
				loses = true // "missing CSRF session token", "wrong signing method"
			case g.topic == "session-ended" && f.topic == "cross-site-refused", g.topic == "wrong-scheme" && f.topic == "wrong-algorithm":
			case g.topic == "claim-missing" && slices.Contains(ofClaims, f.topic):
			case general[f.topic] && !general[g.topic]:
				loses = true
			case !general[f.topic] && general[g.topic]:
			case g.literal() > f.literal():
				loses = true
			}
		}
		if !loses {
			kept = append(kept, f)
		}
	}
	return kept
}

// reasonFollows matches what stands between a general statement and its reason: "invalid session:
// account ada is disabled".
var reasonFollows = regexp.MustCompile(`[:;] |: ?$|\n| - | (?i:but|because|since|due to|however) `)

// becauseOf lists words that introduce a reason.
var becauseOf = map[string]bool{"because": true, "since": true, "due to": true}

// Weights of topics that stand in one text.
const (
	saysNothing = iota
	saysVague
	saysGeneral
	saysSpecial
)

// special returns how much the most special of the topics says.
func special(found []spoken) (most int) {
	for _, f := range found {
		switch {
		case vague[f.topic]:
			most = max(most, saysVague)
		case general[f.topic]:
			most = max(most, saysGeneral)
		default:
			most = max(most, saysSpecial)
		}
	}
	return most
}

// topics returns the topics that a text names. Pairs of words count where the patterns know nothing
// more special.
func (w passage) topics() []spoken {
	found := find(w.words)
	if w.by != byPerson && special(found) <= saysVague {
		pairs := lexis().pairsIn(w.words)
		if w.by == byLog { // the client of a log is the browser or program that sent the request
			pairs = slices.DeleteFunc(pairs, func(f spoken) bool { return f.topic == "oauth-client-refused" })
		}
		if len(found) == 0 && w.by == byServer || special(pairs) == saysSpecial {
			found = append(found, pairs...)
		}
	}
	return w.partTopics(found)
}

// adviceFollows matches the end of a sentence before one that tells what to check: that is no
// reason.
var adviceFollows = regexp.MustCompile(`(?i)[.!]\s+(?:please )?(?:check|make sure|ensure|verify|see|visit)\b`)

// reason returns the topic that a text gives as the reason for the rest, and the rest before it: a
// general statement comes first, the reason behind a colon. It returns "" if the text has one part.
func (w passage) reason() (topic, before string) {
	at := reasonFollows.FindAllStringIndex(w.text, 12)
	for _, gap := range slices.Backward(at) {
		rest := w.text[gap[1]:]
		if advice := adviceFollows.FindStringIndex(rest); advice != nil {
			rest = rest[:advice[0]]
		}
		if found := find(normalise(rest)); special(found) == saysSpecial {
			if between := strings.TrimSpace(w.text[gap[0]:gap[1]]); becauseOf[strings.ToLower(between)] {
				return found[0].topic, "" // "locked because of many failures": both count
			}
			return found[0].topic, w.text[:gap[0]]
		}
	}
	return "", ""
}

// literal returns how many words of a pattern must stand there.
func (p *phrase) literal() (n int) {
	for _, item := range p.items {
		if item.gap == 0 && !item.optional {
			n++
		}
	}
	return n
}

// match returns the end of the shortest match of items at words[at:], or -1.
func match(items []phraseItem, words []string, at int) int {
	if len(items) == 0 {
		return at
	}
	item := items[0]
	if item.gap > 0 {
		for skip := 0; skip <= item.gap && at+skip <= len(words); skip++ {
			if skip > 0 && words[at+skip-1] == sentenceEnd {
				return -1
			}
			if end := match(items[1:], words, at+skip); end >= 0 {
				return end
			}
		}
		return -1
	}
	if at < len(words) && item.words[words[at]] {
		if end := match(items[1:], words, at+1); end >= 0 {
			return end
		}
	}
	if item.optional {
		return match(items[1:], words, at)
	}
	return -1
}

// saidFacts adds a fact for each row of the lexicon that the server, the log or the input says.
func (e *evidence) saidFacts() {
	for _, w := range e.words {
		if e.reported[w.text] && len(e.meaning[w.text]) == 0 {
			continue // the name of a code says the same as the code
		}
		if w.by == byServer && e.hollow(w.text) || w.by == byLog && passesOn.MatchString(w.text) {
			continue // a line of a configuration tells no reason
		}
		all := w.topics()
		told := map[string]bool{} // topics of this text
		if reason, before := w.reason(); reason != "" && w.by != byPerson {
			e.add("reason:"+reason, Said, w.at, "given as the reason: %s", e.quote(w.text))
			for _, f := range find(normalise(before)) {
				told[f.topic] = f.topic != reason && w.by == byServer // the reason says more than the words before it
			}
		}
		for _, f := range all {
			if asksAgain[f.topic] && e.wantsValid(w) {
				f.phrase = &phrase{topic: "bad-token"}
			}
			if told[f.topic] {
				continue // a hostile text repeats itself
			}
			told[f.topic] = true
			if means := e.meaning[w.text]; len(means) > 0 && (f.topic != "bad-token" || slices.Contains(means, "malformed-credentials")) && !slices.Contains(means, f.topic) && (e.reported[w.text] || general[f.topic]) {
				continue // its product means something else by this text
			}
			if f.topic == "none" && w.by == byServer && (e.seen["authorization-sent"] || e.seen["key-sent"]) && missingOrBad.MatchString(w.text) {
				if told["wrong-secret"] || told["bad-token"] {
					continue
				}
				f.phrase, told["bad-token"] = &phrase{topic: "bad-token"}, true // of two reasons, the one that fits the request
			}
			if f.topic == "expired" && w.by == byServer && maybeExpired.MatchString(w.text) {
				f.phrase = &phrase{topic: "bad-token"}
			}
			if f.topic == "none" && w.by == byServer && ofToken.MatchString(strings.Join(w.words, " ")) && e.seen["authorization-sent"] {
				continue
			}
			if f.topic == "bad-signature" && w.by == byServer && !tokenNamed.MatchString(w.text) &&
				!slices.ContainsFunc(e.credentials, func(c credential) bool { return c.token != nil || jwtMark.MatchString(c.mark) }) {
				e.add("request-signature-said", Said, w.at, "the server speaks of a signature and of no token")
			}
			text := e.quote(strings.Join(f.of[max(0, f.from-2):min(len(f.of), f.to+2)], " "))
			switch w.by {
			case byPerson:
				e.add("mark:"+f.topic, Said, w.at, "the input says: %s", text)
			case byLog:
				e.add("said:"+f.topic, Said, w.at, "the log says: %s", text)
				e.add("log:"+f.topic, Said, w.at, "the log says: %s", text)
			default:
				e.add("said:"+f.topic, Said, w.at, "the server says: %s", text)
			}
		}
	}
}

// asksAgain are topics of texts that ask for credentials.
var asksAgain = map[string]bool{"none": true, "login": true, "wrong-credential-kind": true}

// validWanted matches the words for valid credentials that are asked for.
var validWanted = regexp.MustCompile(`(?i)\b(?:requires?|provide|send|include|supply|pass|use|need|needs|must have|with|^an?) (?:an? |the )?valid (?:[\w-]+ ){0,3}(token|jwt|key|apikey|credentials?)\b|` +
	`(?i)\bvalid (?:[\w-]+ ){0,3}(token|jwt|key|apikey|credentials?) (?:is |are )?(?:required|needed|necessary|expected)\b`)

// wantsValid reports whether a server asks for valid credentials of the kind that it got: they were
// not.
func (e *evidence) wantsValid(w passage) bool {
	m := validWanted.FindStringSubmatch(w.text)
	if m == nil || w.by != byServer {
		return false
	}
	if strings.HasSuffix(strings.ToLower(m[1]+m[2]), "key") {
		return e.seen["key-sent"]
	}
	return e.seen["bearer-sent"]
}

// headerNamed matches the field Authorization where its name stands behind the word for a field.
var headerNamed = regexp.MustCompile("(?i)\\b(?:header|field)(?: field| name| value)?(?: of type|:| named| called)? ?[\"'`(\\[]{0,2}authorization\\b[\"'`)\\]]{0,2}")

// maybeExpired matches an end of the time as a guess of the server.
var maybeExpired = regexp.MustCompile(`(?i)\b(?:may|might|could) (?:be|have) (?:been )?(?:\w+ or )?expired\b`)

// tokenNamed matches words that name the token of a signature.
var tokenNamed = regexp.MustCompile(`(?i)\b(?:jw[tskes]+|tokens?|assertion|saml|bearer|kid|jose|crypto/rsa)\b`)

// missingOrBad matches words that stand for a missing secret and for a wrong one alike.
var missingOrBad = regexp.MustCompile(`(?i)\b(?:missing|absent|empty|no)\b[^.]{0,30}(?:\bor\b|/) ?(?:is )?(?:an? )?(?:invalid|incorrect|wrong|bad|malformed|failed)|` +
	`\b(?:invalid|incorrect|wrong|bad)\b ?(?:\bor\b|/) ?(?:missing|absent|empty|no)\b|` +
	`\b(?:provide|supply|send|pass|specify|include)d? (?:an? |the |your )?(?:correct|proper)\b`)

// hollow reports whether a text of a recognised product stands for every cause.
func (e *evidence) hollow(text string) bool {
	text = strings.TrimRight(strings.ToLower(strings.TrimSpace(text)), ".!")
	return slices.ContainsFunc(e.products, func(p *product) bool { return slices.Contains(p.Hollow, text) })
}

// addressV4 finds addresses, which count as the word "ip".
var addressV4 = regexp.MustCompile(`\b[0-9]{1,3}(?:\.[0-9]{1,3}){3}\b`)

// properNames keeps names with capitals inside in one word.
var properNames = strings.NewReplacer(" form token", " csrf token", "Form token", "csrf token", "super-user", "superuser", "super-admin", "superadmin", "OAuth", "oauth", "SameSite", "samesite", "DPoP", "dpop", "WebAuthn", "webauthn", "GitHub", "github", "GitLab", "gitlab", "e-mail", "email", "E-mail", "Email", "E-Mail", "Email")
