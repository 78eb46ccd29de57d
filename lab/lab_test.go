package lab_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/lab"
)

// client follows no redirects and keeps no cookies.
var client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// start starts a lab on loopback and reads its index.
func start(t *testing.T) (*httptest.Server, lab.Index) {
	t.Helper()
	srv := httptest.NewServer(lab.Handler())
	t.Cleanup(srv.Close)
	return srv, indexOf(t, srv.URL)
}

func indexOf(t *testing.T, url string) (x lab.Index) {
	t.Helper()
	resp, err := client.Get(url + "/lab.json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	d := json.NewDecoder(resp.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&x); err != nil {
		t.Fatal(err)
	}
	return x
}

// response is a response with its body.
type response struct {
	*http.Response
	body []byte
}

// do sends a request of the index as it stands.
func do(t *testing.T, r lab.Request) response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), r.Method, r.URL, strings.NewReader(r.Body))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Fields {
		req.Header.Add(f.Name, f.Value)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	defer resp.Body.Close()
	return response{resp, []byte(bodyOf(t, resp))}
}

func bodyOf(t *testing.T, resp *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// TestEndpoints sends the requests of each endpoint and compares the responses with the index.
func TestEndpoints(t *testing.T) {
	t.Parallel()
	_, x := start(t)
	for _, e := range x.Endpoints {
		t.Run(strings.TrimPrefix(e.Path, "/lab/"), func(t *testing.T) {
			if e.About == "" || e.GoodClient == "" || len(e.Methods) == 0 {
				t.Errorf("%s: about %q, good_client %q, methods %q: none may be empty", e.Path, e.About, e.GoodClient, e.Methods)
			}
			refused := 0
			for i, r := range e.Send {
				resp := do(t, r)
				if resp.StatusCode != r.Status {
					t.Errorf("request %d of %s, %s %s: got %d %s, want %d", i, e.Path, r.Method, r.URL, resp.StatusCode, resp.body, r.Status)
				}
				if !r.Refused {
					continue
				}
				refused++
				checkRefusal(t, e, r, resp)
			}
			if refused != 1 {
				t.Errorf("%s: %d requests are refused, want 1", e.Path, refused)
			}
		})
	}
}

// checkRefusal compares the refusal of an endpoint with its entry in the index.
func checkRefusal(t *testing.T, e lab.Endpoint, r lab.Request, resp response) {
	t.Helper()
	if r.Status != e.Status {
		t.Errorf("%s: the refused request has status %d, the endpoint %d", e.Path, r.Status, e.Status)
	}
	if !slices.Contains(e.Methods, r.Method) {
		t.Errorf("%s: the refused request has method %s, which is not in %q", e.Path, r.Method, e.Methods)
	}
	if e.Code != "" {
		var problem struct{ Code durward.Code }
		if err := json.Unmarshal(resp.body, &problem); err != nil || problem.Code != e.Code {
			t.Errorf("%s: got %s (%v), want code %s", e.Path, resp.body, err, e.Code)
		}
		if resp.Header.Get("Durward-Denial") == "" {
			t.Errorf("%s: the refusal has no Durward-Denial", e.Path)
		}
	}
	if faulty := len(e.Faults) > 0; !faulty {
		lines := resp.Header.Values("WWW-Authenticate")
		if e.Status == http.StatusProxyAuthRequired {
			lines = resp.Header.Values("Proxy-Authenticate")
		}
		list, err := durward.ParseChallenges(lines)
		if needed := e.Status == 401 || e.Status == 407; err != nil || needed && len(list) == 0 {
			t.Errorf("%s: status %d has the challenges %q (%v)", e.Path, e.Status, lines, err)
		}
	}
	for _, f := range r.Fields {
		_, secret, _ := strings.Cut(f.Value, " ")
		if f.Name == "Authorization" && len(secret) > 6 && strings.Contains(string(resp.body), secret) {
			t.Errorf("%s: the refusal repeats the credentials %s", e.Path, secret)
		}
	}
	if got := resp.Header.Get("Cache-Control"); got != "no-store" && len(e.Faults) == 0 {
		t.Errorf("%s: Cache-Control is %q, want no-store", e.Path, got)
	}
}
