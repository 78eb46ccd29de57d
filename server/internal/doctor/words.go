package doctor

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// This file reads the words of words.txt: subjects, predicates and the causes of their pairs.

//go:embed words.txt
var wordFile string

// vocabulary is the content of words.txt.
type vocabulary struct {
	entries  map[string][]wordEntry // by the first word, the longest first
	negators map[string]bool
	pairs    map[[2]string]string // subject and predicate → topic
}

// wordEntry is one word or a few in a row, with the concept that they stand for.
type wordEntry struct {
	words   []string
	concept string
	kind    wordKind
}

// wordKind is the role of a word in a sentence.
type wordKind int

const (
	aSubject   wordKind = iota
	aPredicate          // counts without a negator: "expired"
	aNegated            // counts behind a negator: "not valid"
)

// lexis returns the vocabulary. It panics on an invalid line: the file is part of the program.
var lexis = sync.OnceValue(func() *vocabulary {
	v, err := readVocabulary(wordFile)
	if err != nil {
		panic(err)
	}
	return v
})

// readVocabulary parses words.txt: sections in brackets, lines "concept: entry, entry".
func readVocabulary(file string) (*vocabulary, error) {
	v := &vocabulary{entries: map[string][]wordEntry{}, negators: map[string]bool{}, pairs: map[[2]string]string{}}
	section, known := "", map[string]bool{}
	for i, line := range strings.Split(file, "\n") {
		line = strings.TrimSpace(line)
		fail := func(why string) error { return fmt.Errorf("doctor: words.txt line %d: %s", i+1, why) }
		switch {
		case line == "" || line[0] == '#':
			continue
		case line[0] == '[':
			section = strings.Trim(line, "[]")
			continue
		case section == "negators":
			for _, w := range strings.Split(line, ", ") {
				v.negators[w] = true
			}
			continue
		}
		concept, list, ok := strings.Cut(line, ": ")
		if !ok {
			return nil, fail("no colon")
		}
		kind := aSubject
		switch section {
		case "subjects":
		case "predicates":
			kind = aPredicate
		case "negated":
			kind = aNegated
		case "pairs":
			for _, one := range strings.Split(list, ", ") {
				predicate, topic, _ := strings.Cut(one, " ")
				if !known[concept] || !known[predicate] {
					return nil, fail("no such word: " + concept + " " + predicate)
				}
				v.pairs[[2]string{concept, predicate}] = topic
			}
			continue
		default:
			return nil, fail("no section " + section)
		}
		known[concept] = true
		for _, one := range strings.Split(list, ", ") {
			w := normalise(one)
			if len(w) == 0 {
				return nil, fail("an entry is empty")
			}
			v.entries[w[0]] = append(v.entries[w[0]], wordEntry{w, concept, kind})
		}
	}
	for _, list := range v.entries {
		slices.SortStableFunc(list, func(a, b wordEntry) int { return len(b.words) - len(a.words) })
	}
	return v, nil
}

// Bounds of a pair in words.
const (
	maxApart   = 8 // between subject and predicate
	maxNegated = 3 // between a negator and the word that it negates
)

// ofWords stand between a part and its whole: "the audience of the token" is an audience.
var ofWords = []string{"of", "in", "from", "within", "du", "de", "del", "des", "della", "do", "da", "van", "im", "der", "en"}

// conditions begin a part of a sentence that states nothing: "if the token is expired, get a new
// one".
var conditions = []string{"if", "when", "whether", "unless", "wenn", "falls", "si", "se", "als", "если"}

// conceptAt is a concept at a place of a text.
type conceptAt struct {
	wordEntry
	from, to int // words
}

// concepts returns the subjects and the predicates of a text.
func (v *vocabulary) concepts(text []string) (list []conceptAt) {
	negated := -1        // the place of the last negator of the sentence
	conditional := false // the rest of the sentence is advice
	for i := 0; i < len(text); {
		w := text[i]
		if w == sentenceEnd {
			negated, conditional = -1, false
		}
		conditional = conditional || slices.Contains(conditions, w)
		found, step := false, 1
		for _, e := range v.entries[w] {
			if i+len(e.words) > len(text) || !slices.Equal(e.words, text[i:i+len(e.words)]) {
				continue
			}
			if e.kind != aSubject && conditional {
				continue
			}
			if e.kind == aNegated && (negated < 0 || i-negated > maxNegated) {
				continue
			}
			if e.kind == aPredicate && negated >= 0 && i-negated <= 1 && !found {
				continue // "not expired" says that something else is wrong
			}
			list = append(list, conceptAt{e, i, i + len(e.words)})
			found, step = true, len(e.words)
			break
		}
		if v.negators[w] {
			negated = i
			if !found && i+1 < len(text) && (w == "no" || w == "kein" || w == "keine" || w == "keinen" || w == "geen") {
				list = append(list, conceptAt{wordEntry{text[i : i+1], "missing", aPredicate}, i, i + 1})
			}
		}
		i += step
	}
	return list
}

// pairsIn returns the topics of the pairs of subject and predicate in a text: for each predicate
// the nearest subject of its sentence with which it makes a pair.
func (v *vocabulary) pairsIn(text []string) (found []spoken) {
	list := v.concepts(text)
	for at, p := range list {
		if p.kind == aSubject {
			continue
		}
		best, apart := spoken{}, maxApart+1
		for i := max(0, at-maxApart-1); i < min(len(list), at+maxApart+2); i++ { // each concept has a word at least
			if list[i].kind != aSubject {
				continue
			}
			if list[i].concept == "network" && isOrigin(text, list[i].from, p.concept) {
				continue
			}
			s := v.head(list, i, text)
			topic, ok := v.pairs[[2]string{s.concept, p.concept}]
			gap := max(s.from-p.to, p.from-list[i].to)
			from, to := min(s.from, p.from), max(s.to, p.to)
			if !ok || gap >= apart || slices.Contains(text[from:to], sentenceEnd) {
				continue
			}
			best, apart = spoken{&phrase{topic: topic}, text, from, to}, gap
		}
		if apart <= maxApart {
			found = append(found, best)
		}
	}
	return found
}

// isOrigin reports whether the network at a place of a text is where a failed sign-in came from, and
// not its reason: "login of bob from IP address 192.0.2.7 failed".
func isOrigin(text []string, at int, predicate string) bool {
	if predicate != "failed" && predicate != "unknown" && predicate != "invalid" {
		return false
	}
	for at--; at >= 0 && slices.Contains([]string{"ip", "address", "adresse", "client", "host", "remote", "the"}, text[at]); at-- {
	}
	return at >= 0 && slices.Contains([]string{"from", "von", "depuis", "desde", "dal", "van"}, text[at])
}

// head returns the subject that list[i] speaks of: of neighbours the last ("token audience"), of a
// part and its whole the part ("audience of the token").
func (v *vocabulary) head(list []conceptAt, i int, text []string) conceptAt {
	s := list[i]
	for _, next := range list[i+1:] {
		if next.kind != aSubject || next.from != s.to || next.concept == "field" {
			break
		}
		s = next
	}
	for j := i - 1; j >= 0 && list[j].kind == aSubject; j-- {
		between := text[list[j].to:s.from]
		if len(between) == 0 || len(between) > 3 || !slices.Contains(ofWords, between[0]) {
			break
		}
		s = list[j]
	}
	return s
}
