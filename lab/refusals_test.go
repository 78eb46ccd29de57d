package lab_test

import (
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/lab"
)

var update = flag.Bool("update", false, "rewrite testdata/refusals.txt")

// varying matches the parts of requests and responses that differ from run to run.
var varying = []struct {
	pattern *regexp.Regexp
	to      string
}{
	{regexp.MustCompile(`eyJ[\w-]+\.[\w-]+\.[\w-]*`), "TOKEN"},
	{regexp.MustCompile(`lab_[a-z2-7]{26}`), "OPAQUE"},
	{regexp.MustCompile(`nonce="[\w-]{32}"`), `nonce="NONCE"`},
	{regexp.MustCompile(`(DPoP-Nonce: )[\w-]{32}|(Dpop-Nonce: )[\w-]{32}`), "${1}${2}NONCE"},
	{regexp.MustCompile(`response="[0-9a-f]{64}"`), `response="RESPONSE"`},
	{regexp.MustCompile(`\b01[0-9A-HJKMNP-TV-Z]{24}\b`), "DENIAL"},
	{regexp.MustCompile(`\b20\d{6}T\d{6}Z`), "DATETIME"},
	{regexp.MustCompile(`\b20\d{6}/`), "DATE/"},
	{regexp.MustCompile(`is \S+ ahead of`), "is DISTANCE ahead of"},
	{regexp.MustCompile(`\(\d{3} octets, first (0x\w\w), last (?:0x\w\w)\)`), "(N octets, first $1)"},
}

// TestRefusals compares the refusal of each endpoint with testdata/refusals.txt: the request that gets
// it, its status, fields and body.
func TestRefusals(t *testing.T) {
	t.Parallel()
	srv, x := start(t)
	var b strings.Builder
	for _, e := range x.Endpoints {
		for _, r := range e.Send {
			if !r.Refused {
				continue
			}
			resp := do(t, r)
			fmt.Fprintf(&b, "-- %s --\n> %s %s\n", strings.TrimPrefix(e.Path, "/lab/"), r.Method, r.URL)
			for _, f := range r.Fields {
				fmt.Fprintf(&b, "> %s: %s\n", f.Name, f.Value)
			}
			fmt.Fprintf(&b, "< %d\n", resp.StatusCode)
			for _, name := range slices.Sorted(maps.Keys(resp.Header)) {
				if name == "Date" || name == "Content-Length" {
					continue
				}
				for _, value := range resp.Header[name] {
					fmt.Fprintf(&b, "< %s: %s\n", name, value)
				}
			}
			fmt.Fprintf(&b, "%s\n\n", strings.TrimSpace(string(resp.body)))
		}
	}
	got := strings.ReplaceAll(b.String(), srv.URL, "http://LAB")
	got = strings.ReplaceAll(got, strings.Replace(srv.URL, "127.0.0.1", "localhost", 1), "http://OTHER")
	got = strings.ReplaceAll(got, strings.TrimPrefix(srv.URL, "http://"), "LAB")
	for _, v := range varying {
		got = v.pattern.ReplaceAllString(got, v.to)
	}
	const file = "testdata/refusals.txt"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("go test -run TestRefusals -update rewrites %s; it differs (-want +got):\n%s", file, d)
	}
}

// The index has an endpoint for each code of package durward.
func TestCodes(t *testing.T) {
	t.Parallel()
	srv, x := start(t)
	for _, code := range durward.Codes() {
		i := slices.IndexFunc(x.Endpoints, func(e lab.Endpoint) bool { return e.Path == "/lab/code/"+string(code) })
		if i < 0 {
			t.Errorf("no endpoint for %s", code)
			continue
		}
		// Credentials of the client change nothing.
		r := lab.Request{Method: http.MethodPost, URL: srv.URL + x.Endpoints[i].Path, Fields: []lab.Field{
			{Name: "Authorization", Value: "Bearer " + token(t, srv.URL, "good", x.Endpoints[i].Path)}, {Name: "Cookie", Value: "lab_session=lab-session-good"},
		}}
		if resp := do(t, r); resp.StatusCode != code.Status() || !strings.Contains(string(resp.body), `"code":"`+string(code)+`"`) {
			t.Errorf("POST with good credentials to %s: got %d %s, want %d", r.URL, resp.StatusCode, resp.body, code.Status())
		}
	}
}

// The lab bounds its work for clients that it does not trust.
func TestBounds(t *testing.T) {
	t.Parallel()
	srv, _ := start(t)
	for _, c := range []struct {
		name string
		send lab.Request
		want int
	}{
		{"a good body of 1 MiB: no token", lab.Request{Method: http.MethodPost, URL: srv.URL + "/lab/refresh-refused", Body: `{"refresh_token":"lab-refresh-good","x":"` + strings.Repeat("x", 1<<20) + `"}`,
			Fields: []lab.Field{{Name: "Content-Type", Value: "application/json"}}}, 401},
		{"an unknown kind of token: 400", lab.Request{Method: http.MethodGet, URL: srv.URL + "/lab/token?kind=other"}, 400},
		{"a token for another path: 400", lab.Request{Method: http.MethodGet, URL: srv.URL + "/lab/token?for=/api"}, 400},
		{"a jkt that is no thumbprint: 400", lab.Request{Method: http.MethodGet, URL: srv.URL + "/lab/token?jkt=x"}, 400},
		{"POST for a token: 405", lab.Request{Method: http.MethodPost, URL: srv.URL + "/lab/token"}, 405},
		{"an unknown path: 404", lab.Request{Method: http.MethodGet, URL: srv.URL + "/lab/other"}, 404},
		{"metadata of an unknown path: 404", lab.Request{Method: http.MethodGet, URL: srv.URL + "/.well-known/oauth-protected-resource/lab/other"}, 404},
		{"the index by POST: 405", lab.Request{Method: http.MethodPost, URL: srv.URL + "/lab.json"}, 405},
		{"the root: the page", lab.Request{Method: http.MethodGet, URL: srv.URL + "/"}, 302},
	} {
		if resp := do(t, c.send); resp.StatusCode != c.want {
			t.Errorf("%s: got %d %.300s", c.name, resp.StatusCode, resp.body)
		}
	}
}

// A lab without PublicURL serves every Host, and keeps few of them in memory.
func TestHosts(t *testing.T) {
	t.Parallel()
	h := lab.Handler()
	ask := func(host string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/lab/no-credentials", nil)
		r.Host = host
		h.ServeHTTP(w, r)
		return w
	}
	for i := range 40 { // more than are kept
		host := fmt.Sprintf("lab-%d.example:8404", i)
		if w := ask(host); w.Code != 401 || !strings.Contains(w.Header().Get("WWW-Authenticate"), "http://"+host+"/") {
			t.Fatalf("Host %s: got %d with %q, want metadata of this host", host, w.Code, w.Header().Get("WWW-Authenticate"))
		}
	}
	for _, host := range []string{"", strings.Repeat("x", 300), "a@b", "a/b"} {
		if w := ask(host); w.Code != http.StatusBadRequest {
			t.Errorf("Host %q: got %d, want 400", host, w.Code)
		}
	}
	if n := lab.Sites(h); n != 16 {
		t.Errorf("%d sites are in memory after 40 hosts, want 16", n)
	}
}

// With PublicURL the lab ignores Host, and OtherOrigin is the target of redirects.
func TestPublicURL(t *testing.T) {
	t.Parallel()
	h, err := lab.New(lab.Config{PublicURL: "https://lab.example", OtherOrigin: "https://other.example"})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	x := indexOf(t, srv.URL)
	for _, e := range x.Endpoints {
		for _, r := range e.Send {
			if !strings.HasPrefix(r.URL, "https://lab.example/") && !strings.HasPrefix(r.URL, "https://other.example/lab/") {
				t.Errorf("%s: a request goes to %s", e.Path, r.URL)
			}
		}
	}
	r := lab.Request{Method: http.MethodGet, URL: srv.URL + "/lab/lost-on-redirect"}
	if at := do(t, r).Header.Get("Location"); at != "https://other.example/lab/lost-on-redirect/here" {
		t.Errorf("the redirect goes to %q", at)
	}
	for _, c := range []lab.Config{{PublicURL: "https://lab.example/x"}, {PublicURL: "lab.example"}, {OtherOrigin: "https://LAB.example:443"}} {
		if _, err := lab.New(c); err == nil {
			t.Errorf("New(%+v): no error", c)
		}
	}
}

// The page lists every endpoint, without scripts.
func TestPage(t *testing.T) {
	t.Parallel()
	srv, x := start(t)
	resp, err := client.Get(srv.URL + "/lab/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if p := resp.Header.Get("Content-Security-Policy"); !strings.HasPrefix(p, "default-src 'none'; style-src 'sha256-") || strings.Contains(p, "unsafe") {
		t.Errorf("Content-Security-Policy is %q", p)
	}
	if strings.Contains(string(body), "<script") {
		t.Error("the page has a script")
	}
	for _, e := range x.Endpoints {
		if !strings.Contains(string(body), `<a href="`+e.Path+`">`) {
			t.Errorf("the page does not list %s", e.Path)
		}
	}
}

func FuzzHandler(f *testing.F) {
	h := lab.Handler()
	f.Add("GET", "/lab/expired", "Bearer x.y.z", "", "")
	f.Add("POST", "/lab/refresh-refused", "", "application/json", `{"refresh_token":1}`)
	f.Add("POST", "/lab/flow/refresh/token", "Basic bGFiLWNsaWVudDp4", "application/x-www-form-urlencoded", "grant_type=refresh_token&refresh_token=%")
	f.Add("GET", "/lab/token?kind=dpop-bound&for=/lab/x&jkt=%00", "", "", "")
	f.Add("GET", "/.well-known/oauth-protected-resource/lab/fault/metadata", "", "", "")
	f.Add("GET", "/lab/code/STALE_NONCE?\"", "Digest uri=\"", "", "")
	f.Add("OPTIONS", "/lab/fault/preflight", "", "", "")
	f.Fuzz(func(t *testing.T, method, target, authorization, contentType, body string) {
		r, err := http.NewRequest(method, "http://lab.example"+target, strings.NewReader(body))
		if err != nil || r.URL.Host != "lab.example" {
			return
		}
		r.URL.Scheme, r.URL.Host, r.RequestURI = "", "", target
		r.Header["Authorization"], r.Header["Content-Type"] = []string{authorization}, []string{contentType}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r) // no panic
		if w.Code == http.StatusUnauthorized && len(w.Header()["Www-Authenticate"]) == 0 && !slices.Contains([]string{"/lab/challenge-lost", "/lab/fault/challenge"}, strings.TrimRight(r.URL.Path, "/")) {
			t.Errorf("%s %q: a 401 without a challenge", method, target)
		}
	})
}
