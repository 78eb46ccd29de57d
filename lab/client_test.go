package lab_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/durward-auth/durward"
	durwardclient "github.com/durward-auth/durward/client"
	"github.com/durward-auth/durward/jwt"
	"github.com/durward-auth/durward/lab"
)

// text returns the body of a URL of the lab.
func text(t *testing.T, url string) string {
	t.Helper()
	return string(do(t, lab.Request{Method: http.MethodGet, URL: url}).body)
}

// token returns a token of the lab.
func token(t *testing.T, origin, kind, path string) string {
	t.Helper()
	return strings.TrimSpace(text(t, origin+"/lab/token?kind="+kind+"&for="+path))
}

// proofKey returns the DPoP key of the lab.
func proofKey(t *testing.T, origin string) *jwt.PrivateKey {
	t.Helper()
	key, err := jwt.ParsePrivateKey([]byte(text(t, origin+"/lab/key")))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// A server that refuses a mistake of the request accepts the request without it. So the request has no
// other mistake.
func TestGoodRequests(t *testing.T) {
	t.Parallel()
	srv, _ := start(t)
	const user = "Basic bGFiOmR1cndhcmQtbGFi" // lab:durward-lab
	send := func(path string, fields ...lab.Field) {
		t.Helper()
		resp := do(t, lab.Request{Method: http.MethodGet, URL: srv.URL + "/lab/" + path, Fields: fields})
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: got %d %s, want 200", path, resp.StatusCode, resp.body)
		}
	}
	for _, path := range []string{
		"no-credentials", "preflight-refused", "prefix-missing", "stray-characters", "placeholder", "ambiguous-credentials",
		"wrong-credential-kind", "not-a-jwt", "expired", "not-yet-valid", "clock-wrong", "wrong-issuer", "wrong-audience", "unknown-signing-key",
		"bad-signature", "wrong-algorithm", "claim-missing", "revoked", "certificate-binding", "challenge-lost",
		"metadata-missing", "fault/none", "flow/refresh",
	} {
		send(path, lab.Field{Name: "Authorization", Value: "Bearer " + token(t, srv.URL, "good", "/lab/"+path)})
	}
	for _, path := range []string{"credentials-not-chosen", "lost-on-redirect/here", "malformed-credentials", "wrong-secret"} {
		send(path, lab.Field{Name: "Authorization", Value: user})
	}
	for _, path := range []string{"cookie-not-sent", "session-ended", "cross-site-refused"} {
		send(path, lab.Field{Name: "Cookie", Value: "lab_session=lab-session-good"})
	}
	send("proxy-credentials-missing", lab.Field{Name: "Proxy-Authorization", Value: user})
	send("required-field-missing", lab.Field{Name: "Authorization", Value: "Bearer " + token(t, srv.URL, "good", "/lab/required-field-missing")},
		lab.Field{Name: "Lab-Tenant", Value: "lab"})
	send("insufficient-scope", lab.Field{Name: "Authorization", Value: "Bearer " + token(t, srv.URL, "write", "/lab/insufficient-scope")})
	send("second-factor-owed", lab.Field{Name: "Authorization", Value: "Bearer " + token(t, srv.URL, "strong", "/lab/second-factor-owed")})
	key := proofKey(t, srv.URL)
	for _, path := range []string{"dpop-proof-missing", "dpop-proof-wrong", "dpop-url-mismatch"} {
		access := token(t, srv.URL, "dpop-bound", "/lab/"+path)
		proof, err := key.Prove(durward.ProofRequest{Method: http.MethodGet, URL: srv.URL + "/lab/" + path, Token: access})
		if err != nil {
			t.Fatal(err)
		}
		send(path, lab.Field{Name: "Authorization", Value: "DPoP " + access}, lab.Field{Name: "DPoP", Value: proof})
	}
	password := durwardclient.New(durwardclient.Password(durwardclient.PasswordConfig{Origin: srv.URL, User: "lab", Password: "durward-lab"}))
	for _, path := range []string{"stale-nonce", "digest-answer-wrong", "wrong-scheme"} {
		if status := getStatus(t, password, srv.URL+"/lab/"+path); status != http.StatusOK {
			t.Errorf("%s with Digest: got %d, want 200", path, status)
		}
	}
	form := url.Values{"grant_type": {"client_credentials"}}
	for path, good := range map[string]lab.Request{
		"oauth-client-refused": {Body: form.Encode(), Fields: []lab.Field{
			{Name: "Authorization", Value: "Basic bGFiLWNsaWVudDpkdXJ3YXJkLWxhYi1jbGllbnQ="}, // lab-client:durward-lab-client
			{Name: "Content-Type", Value: "application/x-www-form-urlencoded"},
		}},
		"refresh-refused": {Body: `{"refresh_token":"lab-refresh-good"}`, Fields: []lab.Field{{Name: "Content-Type", Value: "application/json"}}},
	} {
		good.Method, good.URL = http.MethodPost, srv.URL+"/lab/"+path
		if resp := do(t, good); resp.StatusCode != http.StatusOK || !strings.Contains(string(resp.body), `"access_token":"`) {
			t.Errorf("%s: got %d %s, want a token", path, resp.StatusCode, resp.body)
		}
	}
}

func getStatus(t *testing.T, c *http.Client, url string) int {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatalf("GET %s: %v", url, err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// counting counts the requests to the lab.
type counting struct{ n atomic.Int32 }

func (c *counting) RoundTrip(r *http.Request) (*http.Response, error) {
	c.n.Add(1)
	return http.DefaultTransport.RoundTrip(r)
}

// The client of this module passes each flow, without a request too many.
func TestFlows(t *testing.T) {
	t.Parallel()
	srv, _ := start(t)
	// A source of its own for each flow: after Digest it would not send the password by Basic.
	password := func() durwardclient.Source {
		return durwardclient.Password(durwardclient.PasswordConfig{Origin: srv.URL, User: "lab", Password: "durward-lab"})
	}
	key := proofKey(t, srv.URL)
	path := func(name string) string { return "/lab/flow/" + name }
	give := func(kind, name, scheme string) func(context.Context, durwardclient.Token) (durwardclient.Token, error) {
		return func(context.Context, durwardclient.Token) (durwardclient.Token, error) {
			return durwardclient.Token{Access: token(t, srv.URL, kind, path(name)), Type: scheme}, nil
		}
	}
	oauth := &durwardclient.OAuth{TokenURL: srv.URL + "/lab/flow/refresh/token", ClientID: "lab-client"}
	strong := "good"
	for _, c := range []struct {
		name      string
		transport *durwardclient.Transport
		requests  int32 // without those for tokens
	}{
		{"stale-nonce", &durwardclient.Transport{Sources: []durwardclient.Source{password()}}, 3},
		{"redirect", &durwardclient.Transport{Sources: []durwardclient.Source{password()}}, 3},
		{"dpop-nonce", &durwardclient.Transport{Sources: []durwardclient.Source{durwardclient.Tokens(durwardclient.TokensConfig{
			Origins: []string{srv.URL}, Prove: key.Prove, Next: give("dpop-bound", "dpop-nonce", "DPoP"),
		})}}, 2},
		{"refresh", &durwardclient.Transport{Sources: []durwardclient.Source{durwardclient.Tokens(durwardclient.TokensConfig{
			Origins: []string{srv.URL}, Next: func(ctx context.Context, old durwardclient.Token) (durwardclient.Token, error) {
				if old.Access != "" {
					return oauth.Refresh(ctx, old)
				}
				var first struct {
					Access  string `json:"access_token"`
					Refresh string `json:"refresh_token"`
				}
				err := json.Unmarshal([]byte(text(t, srv.URL+"/lab/flow/refresh/start")), &first)
				return durwardclient.Token{Access: first.Access, Refresh: first.Refresh}, err
			},
		})}}, 2},
		{"step-up", &durwardclient.Transport{
			Sources: []durwardclient.Source{stepUpSource{t, srv.URL, &strong}},
			OnStepUp: func(_ context.Context, s durwardclient.StepUp) error {
				if !slices.Equal(s.ACRValues, []string{"urn:durward:acr:2fa"}) {
					t.Errorf("step-up: acr_values %q", s.ACRValues)
				}
				strong = "strong"
				return nil
			},
		}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			count := new(counting)
			c.transport.Base = count
			resp, err := (&http.Client{Transport: c.transport}).Get(srv.URL + path(c.name))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if body := bodyOf(t, resp); resp.StatusCode != http.StatusOK || count.n.Load() != c.requests {
				t.Errorf("got %d %s after %d requests, want 200 after %d", resp.StatusCode, body, count.n.Load(), c.requests)
			}
		})
	}
}

// stepUpSource sends the token of a kind that OnStepUp changes.
type stepUpSource struct {
	t      *testing.T
	origin string
	kind   *string
}

func (s stepUpSource) Authorize(r *http.Request, _ []durward.Challenge) error {
	r.Header.Set("Authorization", "Bearer "+token(s.t, s.origin, *s.kind, r.URL.Path))
	return nil
}

// The flow of a container registry: the challenge names where to fetch the token.
func TestRegistryToken(t *testing.T) {
	t.Parallel()
	srv, _ := start(t)
	at := srv.URL + "/lab/flow/registry-token"
	refused := do(t, lab.Request{Method: http.MethodGet, URL: at})
	list, err := durward.ParseChallenges(refused.Header.Values("WWW-Authenticate"))
	if err != nil || len(list) != 1 || list[0].Scheme != "Bearer" {
		t.Fatalf("got the challenges %v (%v), want one of Bearer", list, err)
	}
	param := func(name string) string { value, _ := list[0].Param(name); return value }
	q := url.Values{"service": {param("service")}, "scope": {param("scope")}}
	var answer struct{ Token string }
	if err := json.Unmarshal([]byte(text(t, param("realm")+"?"+q.Encode())), &answer); err != nil {
		t.Fatal(err)
	}
	resp := do(t, lab.Request{Method: http.MethodGet, URL: at, Fields: []lab.Field{{Name: "Authorization", Value: "Bearer " + answer.Token}}})
	if resp.StatusCode != http.StatusOK {
		t.Errorf("with the token: got %d %s, want 200", resp.StatusCode, resp.body)
	}
	if resp := do(t, lab.Request{Method: http.MethodGet, URL: param("realm") + "?service=other"}); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a token for another service: got %d, want 400", resp.StatusCode)
	}
}

// A client that sends credentials to the other origin is told so.
func TestLeak(t *testing.T) {
	t.Parallel()
	srv, _ := start(t)
	resp := do(t, lab.Request{Method: http.MethodGet, URL: srv.URL + "/lab/flow/redirect/here", Fields: []lab.Field{{Name: "Authorization", Value: "Bearer x"}}})
	if resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(resp.body), `"Authorization"`) {
		t.Errorf("got %d %s, want 400 that names Authorization", resp.StatusCode, resp.body)
	}
}

// curl runs curl and returns the status of the last response, its challenges and its body.
func curl(t *testing.T, args ...string) (status int, challenges []string, body string) {
	t.Helper()
	out, err := exec.Command("curl", append([]string{"-sS", "-i", "--max-time", "30", "--noproxy", "*"}, args...)...).Output()
	if err != nil {
		t.Fatalf("curl %q: %v", args, err)
	}
	rest := string(out)
	for strings.HasPrefix(rest, "HTTP/1.1 ") { // with -L and --digest there are several
		var head string
		head, rest, _ = strings.Cut(rest, "\r\n\r\n")
		lines := strings.Split(head, "\r\n")
		if status, err = strconv.Atoi(lines[0][9:12]); err != nil {
			t.Fatalf("curl %q: status line %q", args, lines[0])
		}
		challenges = nil
		length := 0
		for _, line := range lines[1:] {
			name, value, _ := strings.Cut(line, ": ")
			if strings.EqualFold(name, "WWW-Authenticate") {
				challenges = append(challenges, value)
			}
			if strings.EqualFold(name, "Content-Length") {
				length, _ = strconv.Atoi(value)
			}
		}
		// curl prints the bodies of responses that it acts on, too, without -L.
		if length > 0 && len(rest) > length && strings.HasPrefix(rest[length:], "HTTP/1.1 ") {
			rest = rest[length:]
		}
	}
	return status, challenges, rest
}

// A real curl gets the same refusals as Go's client.
func TestCurl(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("SKIPPED: curl is not installed")
	}
	srv, x := start(t)
	for _, e := range x.Endpoints {
		if len(e.Send) > 1 || e.Cause == "" { // the others need values of a response, or differ little
			continue
		}
		r := e.Send[0]
		args := []string{"-X", r.Method}
		for _, f := range r.Fields {
			args = append(args, "-H", f.Name+": "+f.Value)
		}
		if r.Body != "" {
			args = append(args, "--data-binary", r.Body)
		}
		status, challenges, body := curl(t, append(args, r.URL)...)
		if status != e.Status {
			t.Errorf("%s: curl got %d, want %d", e.Path, status, e.Status)
		}
		if e.Code != "" && !strings.Contains(body, `"code":"`+string(e.Code)+`"`) {
			t.Errorf("%s: curl got %s, want code %s", e.Path, body, e.Code)
		}
		if e.Status == 401 && len(e.Faults) == 0 && len(challenges) == 0 {
			t.Errorf("%s: curl got no challenge", e.Path)
		}
	}
	for _, c := range []struct {
		name string
		args []string
		want int
	}{
		{"Digest answers the second challenge too", []string{"--digest", "-u", "lab:durward-lab", srv.URL + "/lab/flow/stale-nonce"}, 200},
		{"a redirect loses the credentials", []string{"-L", "-u", "lab:durward-lab", srv.URL + "/lab/lost-on-redirect"}, 401},
		{"--location-trusted keeps them", []string{"--location-trusted", "-u", "lab:durward-lab", srv.URL + "/lab/lost-on-redirect"}, 200},
		{"the redirect of the flow", []string{"-L", "-u", "lab:durward-lab", srv.URL + "/lab/flow/redirect"}, 200},
		{"--location-trusted leaks there", []string{"--location-trusted", "-u", "lab:durward-lab", srv.URL + "/lab/flow/redirect"}, 400},
	} {
		if status, _, body := curl(t, c.args...); status != c.want {
			t.Errorf("%s: curl %q got %d %s, want %d", c.name, c.args, status, body, c.want)
		}
	}
}
