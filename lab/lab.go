// Package lab serves a known refusal at each of its URLs, for tests of HTTP clients and of tools that
// explain refusals. Every cause of a 401 has an endpoint at /lab/{cause}: a client that sends there
// what /lab.json says gets the refusal that a real server gives for that cause.
//
//	srv := httptest.NewServer(lab.Handler())
//	resp, err := http.Get(srv.URL + "/lab/no-credentials") // 401 with a challenge
//
// [Index] is the form of /lab.json. Each [Endpoint] in it has the requests to send, the status of each
// response, and a sentence that says how a good client behaves.
//
// # Limits
//
// All keys, passwords and names of the lab are public. It protects nothing and keeps nothing of its
// clients: nonces are computed, not stored, and all its memory is bounded. So it may serve the internet.
// Refusals that a correct server sends are written by a [durward.Guard]. Those of faulty servers, and
// those in the form of other vendors' servers, are written by hand in raw.go.
package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/loopback"
	"github.com/durward-auth/durward/internal/origin"
)

// Bounds of the lab.
const (
	maxBody  = 64 << 10 // octets of a request's body
	maxSites = 16       // origins with their guards in memory
)

// Config configures a lab. The zero value serves under the host name of each request.
type Config struct {
	// PublicURL is the origin under which clients reach the lab, such as "https://lab.example.com".
	// It is required behind a proxy that terminates TLS or changes Host. If it is empty, the origin is
	// that of each request.
	PublicURL string

	// OtherOrigin is a second origin at which clients reach the same lab, for redirects to another
	// origin. If it is empty, it is localhost for a lab at a loopback address and the reverse, and
	// otherwise the same host with the other one of http and https.
	OtherOrigin string

	// Now is the clock; the default is time.Now.
	Now func() time.Time
}

// Index is the content of /lab.json.
type Index struct {
	Endpoints []Endpoint `json:"endpoints"`
}

// Endpoint describes one endpoint of the lab.
type Endpoint struct {
	Path       string       `json:"path"`
	About      string       `json:"about"` // one sentence
	Methods    []string     `json:"methods"`
	Cause      string       `json:"cause,omitzero"` // id in the catalogue of causes
	Code       durward.Code `json:"code,omitzero"`  // of the refusal, if a guard writes it
	Status     int          `json:"status"`         // of the refusal
	Send       []Request    `json:"send"`           // in order; the last one that is Refused gets the refusal
	GoodClient string       `json:"good_client"`    // one sentence: what a good client does
	Faults     []string     `json:"faults"`         // ids of rows of durward check that the server fails on purpose
	Doctor     Doctor       `json:"doctor"`
}

// Request is one request of an exchange with the lab. Tokens and proofs in it are made for this copy
// of the index: tokens are valid for an hour, proofs for a minute and one use.
type Request struct {
	Method  string  `json:"method"`
	URL     string  `json:"url"` // absolute, with its query
	Fields  []Field `json:"fields"`
	Body    string  `json:"body,omitzero"`
	Status  int     `json:"status"`           // of the response
	Refused bool    `json:"refused,omitzero"` // the response is the refusal of the endpoint
}

// Field is one line of a request's header. A name may occur on several lines.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Doctor states what a tool can conclude from the exchange.
type Doctor struct {
	Cause string `json:"cause,omitzero"`

	// Confidence is "certain" if a fact of the exchange decides, "likely" if its words or codes name
	// the cause, and "possible" if only the server's log decides.
	Confidence string `json:"confidence,omitzero"`

	// Log has lines of a log, of a configuration or of the client's user that belong to the case.
	Log []string `json:"log,omitzero"`
}

// Handler returns a lab with the zero Config.
func Handler() http.Handler {
	l, err := New(Config{})
	if err != nil { // the zero Config has no mistakes
		panic(err)
	}
	return l
}

// New returns a lab: the handler of /lab/, /lab.json and the well-known paths of its metadata. Serve it
// at the root of an origin.
func New(c Config) (http.Handler, error) {
	var errs []error
	for _, o := range []struct{ name, value string }{{"PublicURL", c.PublicURL}, {"OtherOrigin", c.OtherOrigin}} {
		u, err := url.Parse(o.value)
		if o.value != "" && (err != nil || u.Host == "" || origin.Of(u.Scheme, u.Host) != o.value) {
			errs = append(errs, fmt.Errorf("lab: %s %q: want an origin as browsers write it, such as https://lab.example.com", o.name, o.value))
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return &lab{c: c, sites: make(map[string]*site)}, nil
}

// lab serves one site for each origin.
type lab struct {
	c Config

	mu    sync.Mutex
	sites map[string]*site // by origin
	order []string         // origins, oldest first
}

func (l *lab) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := l.site(r)
	if s == nil {
		http.Error(w, "the Host field is missing or too long", http.StatusBadRequest)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	w.Header().Set("Cache-Control", "no-store")
	s.mux.ServeHTTP(w, r)
}

// site returns the site of a request's origin, or nil if the request has no usable host.
func (l *lab) site(r *http.Request) *site {
	at := l.c.PublicURL
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	if own := origin.Of(scheme, r.Host); at == "" || own == l.c.OtherOrigin {
		at = own
	}
	if u, err := url.Parse(at); err != nil || u.Host == "" || u.User != nil || u.Path != "" || len(at) > 255 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sites[at]
	if s == nil {
		if len(l.order) == maxSites { // clients choose Host: keep the newest
			delete(l.sites, l.order[0])
			l.order = l.order[1:]
		}
		s = newSite(l.c, at)
		l.sites[at], l.order = s, append(l.order, at)
	}
	return s
}

// site is the lab under one origin.
type site struct {
	origin    string // such as http://127.0.0.1:8404
	other     string // another origin of the same lab
	now       func() time.Time
	mux       *http.ServeMux
	open      *durward.Guard // of pages without credentials
	endpoints []endpoint
}

// endpoint is an Endpoint with its handler. Path and Status are set by the list that it stands in.
type endpoint struct {
	Endpoint
	send  func() []Request // makes Endpoint.Send anew for each index
	serve http.Handler     // of the path and all paths below it
}

func newSite(c Config, at string) *site {
	s := &site{origin: at, other: otherOrigin(c, at), now: c.Now, mux: http.NewServeMux()}
	s.open = s.guard("/lab", durward.Session())
	s.endpoints = slices.Concat(s.causes(), s.codes(), s.faulty(), s.flows())
	for i := range s.endpoints {
		e := &s.endpoints[i]
		if e.Methods == nil {
			e.Methods = []string{http.MethodGet}
		}
		if e.Faults == nil {
			e.Faults = []string{}
		}
		s.mux.Handle(e.Path, e.serve)
		s.mux.Handle(e.Path+"/", e.serve)
	}
	s.mux.Handle("/lab/{$}", s.open.Open(http.HandlerFunc(s.list)))
	s.mux.Handle("/{$}", http.RedirectHandler("/lab/", http.StatusFound))
	s.mux.Handle("/lab.json", s.document(func() any { return s.index() }))
	s.handleTokens()
	s.mux.Handle("/", s.open.Open(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.open.Refuse(w, r, &durward.Refusal{Code: durward.NotFound, Hint: "/lab.json and /lab/ list all endpoints."})
	})))
	return s
}

// otherOrigin returns another origin of the lab at an origin.
func otherOrigin(c Config, at string) string {
	switch c.OtherOrigin {
	case "":
	case at:
		if c.PublicURL != "" {
			return c.PublicURL
		}
	default:
		return c.OtherOrigin
	}
	u, err := url.Parse(at)
	switch {
	case err != nil: // not possible: at was parsed before
		return at
	case loopback.Host(u.Hostname()):
		host := "localhost"
		if strings.EqualFold(u.Hostname(), host) {
			host = "127.0.0.1"
		}
		if u.Port() != "" {
			host = net.JoinHostPort(host, u.Port())
		}
		return origin.Of(u.Scheme, host)
	case u.Scheme == "https":
		return "http://" + u.Hostname()
	}
	return "https://" + u.Hostname()
}

// index returns the index with new tokens and proofs.
func (s *site) index() Index {
	var x Index
	for _, e := range s.endpoints {
		e.Send = e.send()
		for i := range e.Send {
			if e.Send[i].Fields == nil {
				e.Send[i].Fields = []Field{}
			}
			if e.Send[i].Refused {
				e.Send[i].Status = e.Status
			}
		}
		x.Endpoints = append(x.Endpoints, e.Endpoint)
	}
	return x
}

// document serves a JSON document without authentication. Scripts of all origins may read it.
func (s *site) document(content func() any) http.Handler {
	return s.open.Open(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			s.open.Refuse(w, r, &durward.Refusal{Code: durward.MethodNotAllowed, Allow: []string{http.MethodGet, http.MethodHead}})
			return
		}
		w.Header().Set("Access-Control-Allow-Origin", "*")
		writeJSON(w, http.StatusOK, content())
	}))
}

// writeJSON writes a response that is no refusal of a guard.
func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // an error means that the client disconnected
}

// accepted answers a request with good credentials.
func accepted(w http.ResponseWriter, r *http.Request) { answerAccepted(w, durward.From(r.Context())) }

func answerAccepted(w http.ResponseWriter, p *durward.Principal) {
	answer := map[string]any{"ok": true}
	if !p.Anonymous() {
		answer["subject"], answer["scheme"] = p.Subject, p.Scheme
	}
	writeJSON(w, http.StatusOK, answer)
}

// guard returns the guard of an endpoint, whose challenges name its metadata.
func (s *site) guard(path string, schemes ...durward.Scheme) *durward.Guard {
	return s.guardWith(durward.Config{Schemes: schemes, Metadata: s.metadataURL(path)})
}

// guardWith returns a guard with settings of its own.
func (s *site) guardWith(c durward.Config) *durward.Guard {
	if c.Realm == "" {
		c.Realm = "lab"
	}
	c.PublicURL, c.Now = s.origin, s.now
	c.InsecureAllowHTTP = true                             // the lab has no secrets
	c.OnRefusal = func(*http.Request, *durward.Refusal) {} // a refusal is what clients come for
	g, err := durward.New(c)
	if err != nil { // a mistake of this package
		panic(err)
	}
	return g
}

// require passes accepted requests on to the answer of accepted.
func require(g *durward.Guard, p durward.Policy) http.Handler {
	return g.Require(p, http.HandlerFunc(accepted))
}

// showing is like require. Its refusals show the request as it arrived, for causes in the client.
func showing(g *durward.Guard) http.Handler {
	return g.Open(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, err := g.Check(r, durward.Policy{})
		if f, ok := errors.AsType[*durward.Refusal](err); ok {
			f.Members = map[string]any{"request": arrived(r)}
			g.Refuse(w, r, f)
			return
		}
		answerAccepted(w, p)
	}))
}

// plainFields are fields without secrets.
var plainFields = []string{
	"Accept", "Accept-Encoding", "Accept-Language", "Connection", "Content-Length", "Content-Type", "Origin", "User-Agent", "Via",
}

// arrived describes a request for its own client. Of all fields but plainFields it has what outline
// returns.
func arrived(r *http.Request) map[string]any {
	fields := []Field{}
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		for _, value := range r.Header[name] {
			if !slices.Contains(plainFields, name) {
				value = outline(value)
			}
			fields = append(fields, Field{name, value})
		}
	}
	return map[string]any{"method": r.Method, "target": r.URL.EscapedPath(), "host": r.Host, "fields": fields}
}

// outline describes a credential by its scheme, the user of Basic, its length and its first and last
// octet.
func outline(value string) string {
	scheme, rest, found := strings.Cut(value, " ")
	if !found || strings.ContainsAny(scheme, ".=\"") {
		scheme, rest = "", value
	}
	if rest == "" {
		return scheme + " (nothing after it)"
	}
	text := fmt.Sprintf("(%d octets, first 0x%02x, last 0x%02x)", len(rest), rest[0], rest[len(rest)-1])
	if user, ok := userOf(scheme, rest); ok {
		text = fmt.Sprintf("(user %q) ", user) + text
	}
	return strings.TrimSpace(scheme + " " + text)
}

// recorder keeps a response of the lab, which is short.
type recorder struct {
	h      http.Header
	status int
	body   strings.Builder
}

func (c *recorder) Header() http.Header { return c.h }
func (c *recorder) WriteHeader(status int) {
	if c.status == 0 {
		c.status = status
	}
}

func (c *recorder) Write(b []byte) (int, error) {
	c.WriteHeader(http.StatusOK)
	return c.body.Write(b)
}
