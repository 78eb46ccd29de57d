package doctor

// This file defines the report.

// Schema names the form of a Report in JSON.
const Schema = "durward.doctor/1"

// Verdict is the outcome of a diagnosis.
type Verdict string

// The verdicts: the confidence in the first cause, or that there is none.
const (
	Certain   Verdict = "certain"   // a fact decides, and no fact contradicts it
	Likely    Verdict = "likely"    // strong facts, clearly ahead of the next cause
	Possible  Verdict = "possible"  // of one cause alone; a report is then Undecided
	Undecided Verdict = "undecided" // the input cannot decide; NextTest does
	Accepted  Verdict = "accepted"  // the server accepted the request
)

// Source says where a fact comes from.
type Source string

// The sources of facts.
const (
	Computed Source = "computed" // read or computed by the doctor
	Coded    Source = "coded"    // a closed code of a standard or a known product
	Said     Source = "said"     // words of the server: never certain
)

// Fact is one thing read or computed from the case.
type Fact struct {
	ID     string `json:"id"`
	Source Source `json:"source"`
	At     string `json:"at,omitzero"` // where: "Authorization", "claim exp", "body member code"
	Text   string `json:"text"`        // one line for the reader, without secrets
}

// Finding is one cause with the facts that speak for it.
type Finding struct {
	ID         string  `json:"id"`
	Confidence Verdict `json:"confidence"`
	Points     int     `json:"points"`
	FixBy      string  `json:"fix_by"`
	Meaning    string  `json:"meaning"`
	Fix        string  `json:"fix"`
	Facts      []Fact  `json:"facts"`
	URL        string  `json:"url"`
}

// RuledOut is a cause that a fact makes impossible.
type RuledOut struct {
	ID   string `json:"id"`
	Fact Fact   `json:"fact"`
}

// Fault is a defect of the response, reported beside the cause.
type Fault struct {
	ID     string `json:"id"`     // the row of the conformance check
	Clause string `json:"clause"` // such as "RFC 9110 s15.5.2"
	Text   string `json:"text"`

	// Place holds pairs of lines: a part of a field, and a caret below the octet that breaks the
	// grammar.
	Place []string `json:"place,omitzero"`
}

// Report is the outcome of a diagnosis. It holds no secret.
type Report struct {
	SchemaName string     `json:"schema"` // Schema
	Verdict    Verdict    `json:"verdict"`
	Status     int        `json:"status,omitzero"` // of the response that is explained
	Method     string     `json:"method,omitzero"`
	Host       string     `json:"host,omitzero"`
	Path       string     `json:"path,omitzero"`
	Causes     []Finding  `json:"causes"` // in order, five at most
	AlsoWrong  []Finding  `json:"also_wrong"`
	RuledOut   []RuledOut `json:"ruled_out"`
	Faults     []Fault    `json:"faults"`
	NextTest   string     `json:"next_test,omitzero"`
	Product    string     `json:"product,omitzero"` // the server's product, if it is known
	Input      Kind       `json:"input"`
	Notes      []string   `json:"notes"` // notes of the reader of the input
	Limits     []string   `json:"limits_met"`
	Requests   []string   `json:"requests"` // requests that the doctor sent
}
