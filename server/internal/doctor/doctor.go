// Package doctor explains why a server refused a request. Its input is a HAR, a curl command, a raw
// exchange, a transcript of a terminal, a token or a log. It gathers facts from the input and
// orders the causes of a closed catalogue by these facts. It works for servers of any vendor.
//
// The way of a diagnosis: Read recognises the input and returns a Case (input.go and one file for
// each kind of input); Facts reads and computes facts from it (facts.go, products/, phrases.txt);
// the table of rules weighs them (rules.go); Diagnose puts both together and returns a Report
// (report.go). Only Probe uses the network. Mask (mask.go) takes secrets out of all that leaves the
// package.
package doctor

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Kind says how an input was read.
type Kind string

// The kinds of input. Read recognises them by content.
const (
	KindHAR        Kind = "har"        // a HAR file, or one entry of it
	KindCurl       Kind = "curl"       // a curl command or a copy of another tool's, never run
	KindRaw        Kind = "raw"        // one or several raw exchanges, also as curl -v and wget -S print them
	KindTranscript Kind = "transcript" // commands with their output, log and configuration lines between them
	KindToken      Kind = "token"      // a token, proof, key or signed address
	KindURL        Kind = "url"        // an address to probe
	KindDenial     Kind = "denial"     // the identifier of a refusal of a Durward server
	KindText       Kind = "text"       // a log or a body alone
)

// Case is all that is known of one refusal.
type Case struct {
	Kind      Kind
	Exchanges []Exchange // in the order of time; Subject is the one to explain
	Subject   int        // index in Exchanges of the refusal to explain; -1 if there is no exchange
	Tokens    []Token    // tokens, proofs and keys that stand outside of an exchange
	URL       string     // address of KindURL
	DenialID  string     // identifier of KindDenial
	Log       []string   // lines of the server's log, of the client's output, of configuration and of prose
	Notes     []Note     // facts that only a reader of the input can see
	Limits    []string   // bounds that the input met, each a sentence
	Requests  []string   // requests that a probe sent, each a line
}

// Exchange is a request with its response. One of them may be missing.
type Exchange struct {
	Request  *Request
	Response *Response
	Command  string    // the tool of the command that made it, such as "curl"; empty if unknown
	Error    string    // output of the client in place of a response, such as a TLS failure
	Entry    int       // number of its entry in a HAR, from 1; otherwise 0
	Time     time.Time // time of the request by the client's clock; zero if unknown
	Probe    string    // the part of a probe that made it, one of the Probe constants; empty if it was given
}

// Parts of a probe.
const (
	ProbeAnonymous        = "anonymous"         // the request without credentials
	ProbeCredentials      = "credentials"       // the request with them
	ProbePreflight        = "preflight"         // the preflight of a browser (Fetch s4.8)
	ProbeResourceMetadata = "resource-metadata" // RFC 9728 s3
	ProbeServerMetadata   = "server-metadata"   // RFC 8414 s3, OpenID Connect Discovery s4
	ProbeKeySet           = "key-set"           // RFC 7517 s5
)

// Request is a request as it was seen. Its fields are as they were sent, repetitions included, as
// octets: they may break every rule of RFC 9110.
type Request struct {
	Method string // empty if unknown
	URL    string // absolute if the host is known, else the request target
	Proto  string
	Header Fields
	Body   []byte
	Whole  bool // all fields were seen; false if the reader knows a part (a log line, a page)
	// ClientCertificate: a certificate was sent in TLS.
	ClientCertificate bool
}

// Response is a response as it was seen.
type Response struct {
	Status    int
	Reason    string
	Proto     string
	Header    Fields
	Body      []byte
	Truncated bool // Body is the beginning of a longer body
	Whole     bool // all fields were seen
}

// Token is a value that stands alone in the input.
type Token struct {
	Value string
	Label string // words before it, such as the name of a variable; empty if there are none
}

// Note is a fact that only the reader of an input can see.
type Note struct {
	ID   string // one of the Note constants
	At   string // where: "line 3", "entry 12", "the argument of -H"
	Text string // one sentence, without secrets
}

// IDs of notes.
const (
	NoteVariableUnset   = "variable-unset"     // a shell variable stands where a value belongs
	NoteVariableInside  = "variable-inside"    // a shell variable stands within a password
	NoteAddressCut      = "address-cut"        // an unquoted & ended the address in the shell
	NoteUnknownFlag     = "unknown-flag"       // a flag of curl that the reader does not know
	NoteSubstitution    = "substitution"       // a command substitution was not run
	NoteFollowsRedirect = "follows-redirects"  // the client follows redirects (curl -L)
	NoteSendsToOthers   = "sends-to-others"    // --location-trusted: credentials go to other origins
	NoteNetrc           = "netrc"              // the client takes credentials from a netrc file
	NoteInsecureTLS     = "insecure-tls"       // the client does not check certificates (curl -k)
	NoteProxy           = "proxy"              // the client uses a proxy
	NotePasswordPrompt  = "password-prompt"    // a user name without a password: the tool asks for it
	NoteMalformedLine   = "malformed-line"     // a line that is not HTTP stands among the fields
	NotePart            = "part-unreadable"    // a part of the input could not be read
	NoteUnquoted        = "unquoted"           // white space without quotes split an argument
	NoteTypographic     = "typographic-quotes" // “ or ” stands where the shell wants quotes
	NoteFieldNotSent    = "field-not-sent"     // the tool does not send a field that the command gives
	NoteAuthMethod      = "auth-method"        // the tool answers a challenge with a scheme (curl --digest)
	NoteConfigFile      = "config-file"        // the tool reads fields, cookies or options from a file
	NoteLeftOut         = "left-out"           // the exporter may have left out credentials and cookies
	NoteCertificateWish = "certificate-wish"   // the server asked for a certificate, and the client proved none (curl -v)
	NoteProbe           = "probe"              // a probe left something out
)

// Field is one line of a header.
type Field struct {
	Name  string // as sent
	Value string // without the white space at its ends
	Raw   string // as sent, if Value differs from it in more than white space at its ends
	At    string // where in the input: "line 3", "entry 12"

	// Variable is the name of a shell variable or the word "command" for a command substitution, if
	// one stands in Value. Then the value that was sent is unknown.
	Variable string
}

// Fields are the lines of a header in their order.
type Fields []Field

// Values returns the values of all lines with a name, compared case-insensitively.
func (f Fields) Values(name string) []string {
	var values []string
	for _, field := range f {
		if strings.EqualFold(field.Name, name) {
			values = append(values, field.Value)
		}
	}
	return values
}

// Get returns the first value of a field, or "".
func (f Fields) Get(name string) string {
	for _, field := range f {
		if strings.EqualFold(field.Name, name) {
			return field.Value
		}
	}
	return ""
}

// Has reports whether a line has this name.
func (f Fields) Has(name string) bool {
	for _, field := range f {
		if strings.EqualFold(field.Name, name) {
			return true
		}
	}
	return false
}

// FieldsOf returns the lines of a header of net/http, by name.
func FieldsOf(h http.Header) Fields {
	var f Fields
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, v := range h[name] {
			f = append(f, Field{Name: name, Value: v})
		}
	}
	return f
}

// Refusal returns the exchange to explain, or nil if the case has none.
func (c *Case) Refusal() *Exchange {
	if c.Subject < 0 || c.Subject >= len(c.Exchanges) {
		return nil
	}
	return &c.Exchanges[c.Subject]
}

// Earlier returns the exchanges before the one to explain.
func (c *Case) Earlier() []Exchange {
	if c.Subject <= 0 || c.Subject > len(c.Exchanges) {
		return nil
	}
	return c.Exchanges[:c.Subject]
}
