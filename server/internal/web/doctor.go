package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/doctor"
	"github.com/durward-auth/durward/server/internal/limits"
	"github.com/durward-auth/durward/server/internal/outbound"
)

// maxDiagnosis is the maximum size of the form of /doctor, in octets: a HAR.
const maxDiagnosis = 16 << 20

// diagnoses limits the diagnoses of one network: two at a time, and ten addresses asked in a minute.
type diagnoses struct {
	asked *limits.Rate

	mu      sync.Mutex
	running map[netip.Prefix]int
}

func newDiagnoses() *diagnoses {
	return &diagnoses{
		asked:   limits.NewRate(limits.RateConfig{Name: "doctor", Most: 10}),
		running: map[netip.Prefix]int{},
	}
}

// begin counts a diagnosis of the network of addr until end is called. It refuses a third one.
func (d *diagnoses) begin(addr netip.Addr) (end func(), err error) {
	addr = addr.Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 56
	}
	network, _ := addr.Prefix(bits) // zero for an unknown address: these share one count
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.running[network] >= 2 {
		return nil, &durward.Refusal{
			Code: durward.TooManyAttempts, RetryAfter: 5 * time.Second, Err: errors.New("web: two diagnoses of this network are running"),
		}
	}
	d.running[network]++
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.running[network]--; d.running[network] == 0 {
			delete(d.running, network)
		}
	}, nil
}

// doctorPage is the data of the page /doctor.
type doctorPage struct {
	Report   *doctor.Report
	Markdown string
	JSON     string
	Outbound bool
	Examples []doctorExample
	Input    string // of an example
	Mistake  string // text of a mistake in the input, or empty
}

// doctorExample is an input that the page offers.
type doctorExample struct{ Name, Input string }

// doctorExamples are inputs that show what the doctor reads. Their texts have keys "doctor.example_NAME".
var doctorExamples = []doctorExample{
	{"expired", "GET /v1/items HTTP/1.1\nHost: api.example.com\nAuthorization: Bearer eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCIsImtpZCI6ImsxIn0." +
		"eyJpc3MiOiJodHRwczovL2F1dGguZXhhbXBsZS5jb20iLCJhdWQiOiJodHRwczovL2FwaS5leGFtcGxlLmNvbSIsInN1YiI6IjEiLCJleHAiOjE3OTU1MTA4MDB9.\n\n" +
		"HTTP/1.1 401 Unauthorized\nDate: Sun, 29 Nov 2026 10:07:12 GMT\nWWW-Authenticate: Bearer error=\"invalid_token\"\n"},
	{"scheme", "curl -i -H 'Authorization: Token 12ab34cd56ef78ab90cd12ef34ab56cd' https://api.example.com/v1/items\n" +
		"HTTP/2 401\nwww-authenticate: Bearer realm=\"api\"\ncontent-type: application/json\n\n{\"detail\":\"Authentication credentials were not provided.\"}\n"},
	{"proxy", "CONNECT pypi.org:443 HTTP/1.1\nHost: pypi.org:443\n\nHTTP/1.1 407 Proxy Authentication Required\nProxy-Authenticate: Negotiate\nProxy-Authenticate: NTLM\n"},
}

// showDoctor is GET /doctor.
func (s *Server) showDoctor(w http.ResponseWriter, r *http.Request) error {
	data := s.doctorPage()
	name := r.URL.Query().Get("example")
	for _, e := range doctorExamples {
		if e.Name == name {
			data.Input = e.Input
		}
	}
	return s.renderDoctor(w, r, http.StatusOK, data)
}

func (s *Server) doctorPage() *doctorPage {
	return &doctorPage{Outbound: s.c.DoctorOutbound, Examples: doctorExamples}
}

func (s *Server) renderDoctor(w http.ResponseWriter, r *http.Request, status int, data *doctorPage) error {
	p := s.pageOf(r, data)
	p.Here, p.Wide = s.path("/doctor"), true
	return s.write(w, r, status, "doctor.html", p)
}

// diagnose is POST /doctor. The input is neither stored nor logged.
func (s *Server) diagnose(w http.ResponseWriter, r *http.Request) error {
	end, err := s.diagnoses.begin(durward.ClientAddr(r.Context()))
	if err != nil {
		return err
	}
	defer end()
	c, ask, err := readDiagnosis(w, r)
	data := s.doctorPage()
	if _, ok := errors.AsType[*durward.Refusal](err); ok || errors.Is(err, durward.BodyTooLarge) {
		return err
	}
	if err == nil && c.Kind == doctor.KindURL && !ask {
		err = errNotAsked
	}
	if err == nil && ask {
		c, err = s.ask(r, c)
		if _, ok := errors.AsType[*durward.Refusal](err); ok {
			return err
		}
	}
	if err != nil {
		data.Mistake = err.Error()
		if wrong, ok := errors.AsType[*doctor.InputError](err); ok {
			data.Mistake = wrong.Problem + ". " + wrong.Hint
		} else if errors.Is(err, errNotAsked) {
			data.Mistake = text(languageOf(r), "doctor.not_asked")
		}
		return s.renderDoctor(w, r, http.StatusUnprocessableEntity, data)
	}
	data.Report = doctor.Diagnose(c)
	data.Markdown = data.Report.Markdown(false)
	asJSON, err := json.MarshalIndent(data.Report, "", "  ")
	if err != nil {
		return err
	}
	data.JSON = string(asJSON)
	return s.renderDoctor(w, r, http.StatusOK, data)
}

var errNotAsked = errors.New("web: the input is an address, and this server asks none")

// ask sends the request of c without credentials, if the operator allows it.
func (s *Server) ask(r *http.Request, c *doctor.Case) (*doctor.Case, error) {
	if !s.c.DoctorOutbound {
		return nil, errNotAsked
	}
	if wait, ok := s.diagnoses.asked.Network(r.Context(), durward.ClientAddr(r.Context())); !ok {
		return nil, &durward.Refusal{Code: durward.TooManyAttempts, RetryAfter: wait, Err: errors.New("web: too many addresses asked from this network")}
	}
	config, _, err := doctor.ProbeOf(c)
	if err != nil {
		return nil, err
	}
	if u, err := url.Parse(config.URL); err != nil || u.Scheme != "https" {
		return nil, &doctor.InputError{Problem: "only https addresses are asked"}
	}
	config.Credentials, config.Transport = nil, outbound.PublicTransport()
	ctx, cancel := context.WithTimeout(r.Context(), 25*time.Second)
	defer cancel()
	asked, err := doctor.Probe(ctx, config)
	if err != nil {
		return nil, err
	}
	if len(c.Exchanges) > 0 {
		// The refusal of the input is the one to explain.
		asked.Exchanges = append(asked.Exchanges, c.Exchanges...)
		asked.Subject = len(asked.Exchanges) - len(c.Exchanges) + max(c.Subject, 0)
		asked.Kind = c.Kind
	}
	return asked, nil
}

// readDiagnosis reads the form of /doctor as a stream: the field input or file, and the box ask.
func readDiagnosis(w http.ResponseWriter, r *http.Request) (c *doctor.Case, ask bool, err error) {
	body := http.MaxBytesReader(w, r.Body, maxDiagnosis)
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch kind {
	case "multipart/form-data":
		r.Body = body
		parts, err := r.MultipartReader()
		if err != nil {
			return nil, false, badForm("", "is not multipart/form-data")
		}
		for {
			part, err := parts.NextPart()
			switch {
			case errors.Is(err, io.EOF):
				if c == nil {
					return nil, ask, &doctor.InputError{Problem: "the input is empty", Hint: "Paste something, or choose a file."}
				}
				return c, ask, nil
			case err != nil:
				return nil, false, formError(err)
			}
			switch name := part.FormName(); name {
			case "ask":
				ask = true
			case "input", "file":
				first := make([]byte, 1)
				n, err := io.ReadFull(part, first)
				if n == 0 && errors.Is(err, io.EOF) {
					continue // the other one holds the input
				}
				if c, err = doctor.Read(io.MultiReader(bytes.NewReader(first[:n]), part), doctor.Options{}); err != nil {
					return nil, ask, formError(err)
				}
			default:
				return nil, false, badForm("", "has a field that this page does not have")
			}
		}
	case "application/x-www-form-urlencoded": // a client without files
		text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			return nil, false, formError(err)
		}
		values, err := url.ParseQuery(string(text))
		if err != nil {
			return nil, false, badForm("", "is not in the form of application/x-www-form-urlencoded")
		}
		c, err = doctor.Read(strings.NewReader(values.Get("input")), doctor.Options{})
		return c, values.Has("ask"), err
	}
	return nil, false, &durward.Refusal{
		Code: durward.UnsupportedMediaType, Hint: "Send the form as multipart/form-data.", Err: errors.New("web: the form has another media type"),
	}
}

// formError turns the error of a body that is too large into its refusal.
func formError(err error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return durward.BodyTooLarge
	}
	return err
}
