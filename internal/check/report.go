package check

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"strings"
	"unicode/utf8"
)

// words are the outcomes as a report shows them.
var words = map[Outcome]string{Passed: "pass", Failed: "FAIL", NotApplicable: "-"}

// Text returns the report for a terminal: rows that failed first, with their remedy, then the others. A
// width below 60 columns counts as 60. With colour, words of outcomes are coloured; they mean the same
// without.
func (r *Report) Text(width int, colour bool) string {
	width = max(width, 60)
	var b strings.Builder
	b.WriteString(fill("", r.URL, width) + "\n")
	for _, failed := range []bool{true, false} {
		b.WriteString("\n")
		for _, row := range r.Rows {
			if (row.Outcome == Failed) != failed {
				continue
			}
			word := words[row.Outcome]
			if row.Outcome == Failed && row.Must {
				word = "MUST"
			}
			label := fmt.Sprintf("%-4s  %-18s  %2d  ", word, row.ID, row.Points)
			line := fill(label, row.Text, width)
			if colour {
				line = strings.Replace(line, word, paint(row, word), 1)
			}
			b.WriteString(line + "\n")
			if failed {
				b.WriteString(fill("      ", row.Subject+" ("+row.Clause+")", width) + "\n")
				b.WriteString(fill("      fix: ", row.Fix, width) + "\n")
			}
		}
		if failed && r.Gained == r.Possible {
			b.WriteString("no row failed\n")
		}
	}
	for _, n := range r.Notes {
		b.WriteString("\n" + fill("note: ", n, width) + "\n")
	}
	for _, l := range r.Limits {
		b.WriteString("\n" + fill("limit: ", l, width) + "\n")
	}
	b.WriteString("\n" + fill("", r.Summary(), width) + "\n")
	if failed := r.Possible - r.Gained; failed > 0 {
		b.WriteString(fill("", "MUST: a standard demands it. FAIL: a standard recommends it. -: does not apply.", width) + "\n")
	}
	return b.String()
}

// paint colours a word by the outcome of its row (ECMA-48 s8.3.117).
func paint(row Result, word string) string {
	code := map[Outcome]string{Passed: "32", NotApplicable: "2"}[row.Outcome]
	if row.Outcome == Failed {
		code = "1;33"
		if row.Must {
			code = "1;31"
		}
	}
	return "\x1b[" + code + "m" + word + "\x1b[0m"
}

// Summary returns the score in one sentence.
func (r *Report) Summary() string {
	if r.Forged {
		return "score 0 of 100: a forged token was accepted"
	}
	must := 0
	for _, row := range r.Rows {
		if row.Must && row.Outcome == Failed {
			must++
		}
	}
	text := fmt.Sprintf("score %d of 100: %d of %d points", r.Score, r.Gained, r.Possible)
	if must > 0 {
		text += fmt.Sprintf(", %d MUST failed", must)
	}
	return text
}

// fill breaks text into lines of width columns. The first line begins with label, the others with as
// many blanks.
func fill(label, text string, width int) string {
	indent := strings.Repeat(" ", utf8.RuneCountInString(label))
	var b strings.Builder
	line, empty := label, true
	for _, word := range strings.Fields(text) {
		if n := utf8.RuneCountInString(line) + 1 + utf8.RuneCountInString(word); !empty && n > width {
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			line, empty = indent, true
		}
		if !empty {
			line += " "
		}
		line, empty = line+word, false
		for utf8.RuneCountInString(line) > width { // a word that is longer than a line
			runes := []rune(line)
			b.WriteString(string(runes[:width]) + "\n")
			line = indent + string(runes[width:])
		}
	}
	b.WriteString(strings.TrimRight(line, " "))
	return b.String()
}

// JSON returns the report as JSON.
func (r *Report) JSON() ([]byte, error) {
	text, err := json.MarshalIndent(r, "", "  ")
	return append(text, '\n'), err
}

// JUnit returns the report in the XML form of JUnit, which systems for continuous integration read: a
// test case for each row.
func (r *Report) JUnit() ([]byte, error) {
	type message struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
	type testCase struct {
		Class   string   `xml:"classname,attr"`
		Name    string   `xml:"name,attr"`
		Failure *message `xml:"failure"`
		Skipped *message `xml:"skipped"`
	}
	suite := struct {
		XMLName  xml.Name   `xml:"testsuite"`
		Name     string     `xml:"name,attr"`
		Tests    int        `xml:"tests,attr"`
		Failures int        `xml:"failures,attr"`
		Skipped  int        `xml:"skipped,attr"`
		Cases    []testCase `xml:"testcase"`
	}{Name: "durward check " + r.URL, Tests: len(r.Rows)}
	for _, row := range r.Rows {
		one := testCase{Class: "durward.check", Name: row.ID}
		switch row.Outcome {
		case Failed:
			suite.Failures++
			one.Failure = &message{row.Text, row.Subject + " (" + row.Clause + ")\n" + row.Fix}
		case NotApplicable:
			suite.Skipped++
			one.Skipped = &message{Message: row.Text}
		}
		suite.Cases = append(suite.Cases, one)
	}
	text, err := xml.MarshalIndent(suite, "", "  ")
	return append([]byte(xml.Header), append(text, '\n')...), err
}

// SARIF returns the report in the form of SARIF 2.1.0, which code hosts show beside the code. artifact is
// the file that the failures belong to, such as the configuration of the server; empty: the URL.
func (r *Report) SARIF(artifact string) ([]byte, error) {
	type text struct {
		Text string `json:"text"`
	}
	type rule struct {
		ID      string `json:"id"`
		Short   text   `json:"shortDescription"`
		Help    text   `json:"help"`
		Default struct {
			Level string `json:"level"`
		} `json:"defaultConfiguration"`
	}
	type region struct {
		Line int `json:"startLine"`
	}
	type location struct {
		Physical struct {
			Artifact struct {
				URI string `json:"uri"`
			} `json:"artifactLocation"`
			Region *region `json:"region,omitempty"`
		} `json:"physicalLocation"`
	}
	type result struct {
		RuleID    string     `json:"ruleId"`
		RuleIndex int        `json:"ruleIndex"`
		Kind      string     `json:"kind"`
		Level     string     `json:"level"`
		Message   text       `json:"message"`
		Locations []location `json:"locations"`
	}
	type driver struct {
		Name           string `json:"name"`
		InformationURI string `json:"informationUri"`
		Rules          []rule `json:"rules"`
	}
	type run struct {
		Tool struct {
			Driver driver `json:"driver"`
		} `json:"tool"`
		Results []result `json:"results"`
	}
	var where location
	where.Physical.Artifact.URI = r.URL
	if artifact != "" {
		where.Physical.Artifact.URI, where.Physical.Region = artifact, &region{1} // code hosts want a line
	}
	one := run{Results: []result{}}
	one.Tool.Driver = driver{Name: "durward check", InformationURI: "https://github.com/durward-auth/durward"}
	for i, row := range r.Rows {
		level := "warning"
		if row.Must {
			level = "error"
		}
		described := rule{ID: row.ID, Short: text{row.Subject}, Help: text{row.Clause}}
		described.Default.Level = level
		one.Tool.Driver.Rules = append(one.Tool.Driver.Rules, described)
		if row.Outcome == Failed {
			one.Results = append(one.Results, result{
				RuleID: row.ID, RuleIndex: i, Kind: "fail", Level: level,
				Message:   text{row.Text + ". " + row.Fix + " (" + row.Clause + ")"},
				Locations: []location{where},
			})
		}
	}
	all, err := json.MarshalIndent(struct {
		Schema  string `json:"$schema"`
		Version string `json:"version"`
		Runs    []run  `json:"runs"`
	}{"https://json.schemastore.org/sarif-2.1.0.json", "2.1.0", []run{one}}, "", "  ")
	return append(all, '\n'), err
}

// Badge returns an SVG image with the score. Its text is drawn 6.5 units wide for each character, so it
// fits in any font of the system.
func (r *Report) Badge() []byte {
	const label = "auth check"
	value := fmt.Sprintf("%d/100", r.Score)
	colour := "#1a7f37" // contrast with white at least 4.5 to 1 (WCAG 2.2 s1.4.3), as the others
	switch {
	case r.MustFailed():
		colour = "#b42318"
		value += ", MUST failed"
	case r.Score < 100:
		colour = "#8a5a00"
	}
	left, right := 10+65*len(label)/10, 10+65*len(value)/10
	return fmt.Appendf(nil, `<svg xmlns="http://www.w3.org/2000/svg" width="%[1]d" height="20" role="img" aria-label="%[2]s: %[3]s">
<title>%[2]s: %[3]s</title>
<rect width="%[4]d" height="20" fill="#444"/>
<rect x="%[4]d" width="%[5]d" height="20" fill="%[6]s"/>
<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">
<text x="%[7]d" y="14" textLength="%[8]d">%[2]s</text>
<text x="%[9]d" y="14" textLength="%[10]d">%[3]s</text>
</g>
</svg>
`, left+right, label, value, left, right, colour, left/2, left-10, left+right/2, right-10)
}
