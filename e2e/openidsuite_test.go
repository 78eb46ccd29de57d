package e2e

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// openIDSuite is a running conformance suite of the OpenID Foundation.
type openIDSuite struct {
	t      *testing.T
	url    string
	client *http.Client // accepts any certificate: both servers listen on loopback
}

// The plans that run, with the variant that each needs besides a discovered provider and registered clients.
var openIDPlans = []struct {
	name    string
	variant map[string]string
	column  string // of docs/conformance.md
}{
	{"oidcc-config-certification-test-plan", nil, "Config"},
	{"oidcc-basic-certification-test-plan", map[string]string{"server_metadata": "discovery", "client_registration": "static_client"}, "Basic"},
	{"oidcc-formpost-basic-certification-test-plan", map[string]string{"server_metadata": "discovery", "client_registration": "static_client"}, "Form Post"},
}

// suiteModule is the state of one test module.
type suiteModule struct {
	ID     string `json:"id"`
	Status string `json:"status"`
	Result string `json:"result"`
}

// call sends a request to the API of the suite and parses its answer.
func (s *openIDSuite) call(method, path string, query url.Values, body, answer any) {
	s.t.Helper()
	var send io.Reader
	kind := "application/json"
	switch b := body.(type) {
	case nil:
	case string:
		send, kind = strings.NewReader(b), "text/plain"
	default:
		text, err := json.Marshal(b)
		if err != nil {
			s.t.Fatal(err)
		}
		send = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path+"?"+query.Encode(), send)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", kind)
	resp, err := s.client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	printed, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode/100 != 2 {
		s.t.Fatalf("%s %s: %s %s %v", method, path, resp.Status, printed, err)
	}
	if answer == nil {
		return
	}
	if err := json.Unmarshal(printed, answer); err != nil {
		s.t.Fatalf("%s %s: %v: %s", method, path, err, printed)
	}
}

// suiteLimit limits one module. The slowest waits for 30 seconds.
const suiteLimit = 5 * time.Minute

// run runs a module until its end, with a new browser for the pages that it wants opened, and returns its result.
func (s *openIDSuite) run(plan, name string, variant json.RawMessage) string {
	s.t.Helper()
	var m suiteModule
	query := url.Values{"test": {name}, "plan": {plan}}
	if len(variant) > 0 {
		query.Set("variant", string(variant))
	}
	s.call(http.MethodPost, "/api/runner", query, nil, &m)
	v := newVisitor(s.t, partyUser, partyPassword)
	v.anyEnd = true
	v.client.Transport = s.client.Transport
	for deadline := time.Now().Add(suiteLimit); ; time.Sleep(100 * time.Millisecond) {
		s.call(http.MethodGet, "/api/info/"+m.ID, nil, nil, &m)
		switch m.Status {
		case "FINISHED", "INTERRUPTED":
			s.report(m.ID)
			if m.Status == "INTERRUPTED" {
				return "INTERRUPTED"
			}
			return m.Result
		case "WAITING":
			if !s.open(v, m.ID) {
				s.picture(m.ID)
			}
		}
		if time.Now().After(deadline) {
			s.report(m.ID)
			s.t.Fatalf("the module does not end: %+v", m)
		}
	}
}

// submission finds the URL to which a script of the suite's callback page sends the fragment.
var submission = regexp.MustCompile(`xhr\.open\('POST', "([^"]+)"`)

// open opens the first page that a module waits for.
func (s *openIDSuite) open(v *visitor, id string) bool {
	s.t.Helper()
	var running struct {
		Browser struct {
			URLs []struct{ URL, Method string } `json:"urlsWithMethod"`
		} `json:"browser"`
	}
	s.call(http.MethodGet, "/api/runner/"+id, nil, nil, &running)
	if len(running.Browser.URLs) == 0 {
		return false
	}
	page := running.Browser.URLs[0]
	s.call(http.MethodPost, "/api/runner/browser/"+id+"/visit", url.Values{"url": {page.URL}}, nil, nil)
	r := v.request(http.MethodGet, page.URL, nil, nil)
	if page.Method == http.MethodPost {
		to, query, _ := strings.Cut(page.URL, "?")
		form, err := url.ParseQuery(query)
		if err != nil {
			s.t.Fatal(err)
		}
		from, err := url.Parse(s.url)
		if err != nil {
			s.t.Fatal(err)
		}
		r = v.request(http.MethodPost, to, form, from)
	}
	end := strings.Join(v.follow(r), "\n")
	if m := submission.FindStringSubmatch(end); m != nil {
		s.call(http.MethodPost, strings.TrimPrefix(strings.ReplaceAll(m[1], `\/`, "/"), s.url), nil, " ", nil)
	}
	return true
}

// picture uploads an image of one pixel where a module wants a screenshot. The result is then REVIEW.
func (s *openIDSuite) picture(id string) {
	s.t.Helper()
	var log []struct{ Upload string }
	s.call(http.MethodGet, "/api/log/"+id, nil, nil, &log)
	for _, entry := range log {
		if entry.Upload != "" {
			s.call(http.MethodPost, "/api/log/"+id+"/images/"+entry.Upload, nil, onePixel, nil)
			return
		}
	}
}

const onePixel = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

// report logs what the suite objects to.
func (s *openIDSuite) report(id string) {
	s.t.Helper()
	var log []struct{ Src, Msg, Result string }
	s.call(http.MethodGet, "/api/log/"+id, nil, nil, &log)
	for _, entry := range log {
		if slices.Contains([]string{"FAILURE", "WARNING", "REVIEW", "INTERRUPTED"}, entry.Result) {
			s.t.Logf("%s: %s: %s", entry.Result, entry.Src, entry.Msg)
		}
	}
}

// TestOpenIDSuite runs three plans of the OpenID Foundation's conformance suite against our server. SUITE is
// the URL of a running suite in its development mode. docs/conformance.md has the result of each module.
func TestOpenIDSuite(t *testing.T) {
	at := strings.TrimSuffix(os.Getenv("SUITE"), "/")
	if at == "" {
		t.Skip("SKIPPED: SUITE names no running conformance suite")
	}
	insecure := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(insecure.CloseIdleConnections)
	s := &openIDSuite{t: t, url: at, client: &http.Client{Transport: insecure, Timeout: suiteLimit}}

	p := newProcess(t)
	front := httptest.NewTLSServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: p.address})
		r.Out.Host = r.In.Host
		r.SetXForwarded()
	}})
	t.Cleanup(front.Close)
	const alias = "durward"
	var settings strings.Builder
	fmt.Fprintln(&settings, `trusted_proxies = ["127.0.0.0/8"]`)
	for _, client := range []string{"basic", "post", "second"} {
		fmt.Fprintf(&settings, "\n[[client]]\nid = %q\nsecret = %q\npkce = \"optional\"\nid_token_alg = \"RS256\"\nredirect_uris = [%q]\nscopes = [\"openid\", \"profile\", \"email\", \"offline_access\"]\n",
			client, partySecret, at+"/test/a/"+alias+"/callback")
	}
	serveAs(p, front.URL, settings.String())
	client := func(id string) map[string]string {
		return map[string]string{"client_id": id, "client_secret": partySecret}
	}
	config := map[string]any{
		"alias":              alias,
		"server":             map[string]string{"discoveryUrl": front.URL + "/.well-known/openid-configuration", "login_hint": partyUser},
		"client":             client("basic"),
		"client_secret_post": client("post"),
		"client2":            client("second"),
	}
	document, err := os.ReadFile("../docs/conformance.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, plan := range openIDPlans {
		var made struct {
			ID      string
			Modules []struct {
				Module  string          `json:"testModule"`
				Variant json.RawMessage `json:"variant"`
			}
		}
		query := url.Values{"planName": {plan.name}}
		if plan.variant != nil {
			text, err := json.Marshal(plan.variant)
			if err != nil {
				t.Fatal(err)
			}
			query.Set("variant", string(text))
		}
		s.call(http.MethodPost, "/api/plan", query, config, &made)
		for _, m := range made.Modules {
			t.Run(plan.column+"/"+m.Module, func(t *testing.T) {
				of := *s
				of.t = t
				got := of.run(made.ID, m.Module, m.Variant)
				if plan.column == "Form Post" && strings.HasPrefix(m.Module, "oidcc-unsigned-request-object") {
					// The response mode stands in the request object alone, so the refusal comes in the query.
					if got != "INTERRUPTED" {
						t.Errorf("result: %s, want INTERRUPTED", got)
					}
					return
				}
				want := regexp.MustCompile("(?m)^\\| `" + m.Module + "` \\| ([A-Z]+) ").FindSubmatch(document)
				if want == nil || got != string(want[1]) {
					t.Errorf("result: %s, docs/conformance.md has %q", got, want)
				}
			})
		}
	}
}
