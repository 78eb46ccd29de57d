package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/durward-auth/durward/client"
	"github.com/durward-auth/durward/internal/check"
)

const marked = "s3cr3t-marker-0123456789"

// recorder is a server that keeps the requests it got.
type recorder struct {
	*httptest.Server
	mu   sync.Mutex
	seen []string // "METHOD PATH Authorization"
}

func record(t *testing.T, h func(w http.ResponseWriter, r *http.Request)) *recorder {
	rec := new(recorder)
	rec.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec.mu.Lock()
		rec.seen = append(rec.seen, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+r.Header.Get("Authorization")))
		rec.mu.Unlock()
		h(w, r)
	}))
	t.Cleanup(rec.Close)
	return rec
}

// requests returns the requests so far.
func (r *recorder) requests() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.seen)
}

// refuse writes a 401 with a challenge.
func refuse(challenge string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", challenge)
		w.WriteHeader(http.StatusUnauthorized)
	}
}

func bearer(token string) Fields { return Fields{{Name: "Authorization", Value: "Bearer " + token}} }

// TestProbe: the request without credentials, then once with them; then the documents.
func TestProbe(t *testing.T) {
	t.Parallel()
	var server *recorder
	server = record(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/.well-known/oauth-protected-resource/api":
			fmt.Fprintf(w, `{"resource":%q,"authorization_servers":[%q]}`, server.URL+"/api", server.URL+"/as")
		case "/as/.well-known/openid-configuration":
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, server.URL+"/as", server.URL+"/keys")
		case "/keys":
			fmt.Fprint(w, `{"keys":[]}`)
		case "/api":
			refuse("Bearer")(w, r)
		default:
			http.NotFound(w, r)
		}
	})
	c, err := Probe(t.Context(), ProbeConfig{
		URL: server.URL + "/api", Header: Fields{{Name: "Origin", Value: "https://app.example"}}, Credentials: bearer(marked),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"GET /api", "GET /api Bearer " + marked, "OPTIONS /api", "GET /.well-known/oauth-protected-resource/api",
		"GET /.well-known/oauth-authorization-server/as", "GET /as/.well-known/openid-configuration", "GET /keys",
	}
	if got := server.requests(); !slices.Equal(got, want) {
		t.Errorf("requests\n%q, want\n%q", got, want)
	}
	if refusal := c.Refusal(); refusal.Probe != ProbeCredentials || refusal.Response.Status != http.StatusUnauthorized {
		t.Errorf("the refusal is %+v", refusal)
	}
	if sent := strings.Join(c.Requests, "\n"); strings.Contains(sent, marked) || strings.Count(sent, "\n") != len(want)-1 {
		t.Errorf("requests told:\n%s", sent)
	}
}

// TestProbeOtherOrigin: neither a redirect nor a document brings credentials to another origin.
func TestProbeOtherOrigin(t *testing.T) {
	t.Parallel()
	other := record(t, refuse("Bearer"))
	server := record(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/meta" {
			refuse(fmt.Sprintf("Bearer resource_metadata=%q", other.URL+"/document"))(w, r)
			return
		}
		http.Redirect(w, r, other.URL+"/moved", http.StatusFound)
	})
	for _, path := range []string{"/a", "/meta"} {
		if _, err := Probe(t.Context(), ProbeConfig{URL: server.URL + path, Credentials: append(bearer(marked), Field{Name: "Cookie", Value: "id=" + marked})}); err != nil {
			t.Fatal(err)
		}
	}
	got := other.requests()
	for _, r := range got {
		if strings.Contains(r, marked) {
			t.Errorf("the other origin got %q", r)
		}
	}
	if !slices.Contains(got, "GET /moved") || !slices.Contains(got, "GET /document") {
		t.Errorf("the other origin got %q", got)
	}
}

// TestProbePassword: a password is sent once, and once more for a new nonce alone.
func TestProbePassword(t *testing.T) {
	t.Parallel()
	nonce := 0
	server := record(t, func(w http.ResponseWriter, r *http.Request) {
		nonce++
		refuse(fmt.Sprintf(`Digest realm="x", qop="auth", algorithm=SHA-256, nonce="n%d", stale=%t`, nonce, nonce == 2))(w, r)
	})
	c, err := Probe(t.Context(), ProbeConfig{
		URL: server.URL, Source: client.Password(client.PasswordConfig{Origin: server.URL, User: "ada", Password: marked}),
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(server.requests()); n != 3 {
		t.Errorf("%d requests, want 3", n)
	}
	if c.Subject != 2 || !strings.Contains(c.Refusal().Request.Header.Get("Authorization"), `nonce="n2"`) {
		t.Errorf("exchange %d: %+v", c.Subject, c.Refusal().Request)
	}
	basic := record(t, refuse(`Basic realm="x"`))
	if _, err := Probe(t.Context(), ProbeConfig{
		URL: basic.URL, Source: client.Password(client.PasswordConfig{Origin: basic.URL, User: "ada", Password: marked}),
	}); err != nil {
		t.Fatal(err)
	}
	if got := basic.requests(); len(got) != 2 {
		t.Errorf("requests %q, want the password once", got)
	}
}

// TestProbeRefuses: configuration, and the words of the error.
func TestProbeRefuses(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		config ProbeConfig
		want   string
	}{
		{ProbeConfig{URL: "ftp://host.example/"}, "http or https"},
		{ProbeConfig{URL: "https://ada:pw@host.example/"}, "user name"},
		{ProbeConfig{URL: "http://host.example/"}, "--allow-http"},
		{ProbeConfig{URL: "https://host.example/", Method: "DELETE"}, "DELETE"},
		{ProbeConfig{URL: "https://\x7f/"}, "parsed"},
	} {
		_, err := Probe(t.Context(), row.config)
		if !errors.Is(err, check.ErrConfig) || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%+v: error %v, want %q", row.config, err, row.want)
		}
	}
}

// TestProbeHostile: a server, and how the probe ends.
func TestProbeHostile(t *testing.T) {
	t.Parallel()
	loop := record(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/again", http.StatusFound) })
	c, err := Probe(t.Context(), ProbeConfig{URL: loop.URL, Credentials: bearer(marked)})
	if err != nil || len(c.Limits) == 0 || len(loop.requests()) > maxProbes {
		t.Errorf("redirect loop: %v, limits %q, %d requests", err, c.Limits, len(loop.requests()))
	}

	long := record(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		for range 40 {
			_, _ = w.Write(make([]byte, 1<<16)) // the probe closes the connection early
		}
	})
	c, err = Probe(t.Context(), ProbeConfig{URL: long.URL})
	if err != nil || !c.Refusal().Response.Truncated || len(c.Refusal().Response.Body) != maxProbeBody {
		t.Errorf("long body: %v, %d octets", err, len(c.Refusal().Response.Body))
	}

	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	if _, err = Probe(t.Context(), ProbeConfig{URL: secure.URL}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("unknown certificate: %v", err)
	}

	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, cancel := context.WithCancel(t.Context())
	accepted := make(chan struct{})
	go func() {
		if conn, err := silent.Accept(); err == nil {
			defer conn.Close()
			close(accepted)
			<-ctx.Done()
		}
	}()
	go func() { <-accepted; cancel() }()
	if c, err = Probe(ctx, ProbeConfig{URL: "http://" + silent.Addr().String()}); err == nil || c.Refusal().Error == "" {
		t.Errorf("silent server: %v", err)
	}
}

// TestProbeOf: a pasted request, the fields that a probe sends, and the texts of the others.
func TestProbeOf(t *testing.T) {
	t.Parallel()
	row := func(method, field, value string, status int) *Case {
		return &Case{Exchanges: []Exchange{{
			Request: &Request{
				Method: method, URL: "https://host.example/a",
				Header: Fields{{Name: field, Value: value}, {Name: "Accept", Value: "*/*"}, {Name: "Host", Value: "evil.example"}},
			},
			Response: &Response{Status: status},
		}}}
	}
	for _, r := range []struct {
		name        string
		c           *Case
		credentials int
		left        string
	}{
		{"a token is sent", row("GET", "Authorization", "Bearer x", 401), 1, ""},
		{"a password that was refused is not sent", row("GET", "Authorization", "Basic eDp5", 401), 0, "lock"},
		{"a password that was not refused is sent", row("GET", "Authorization", "Basic eDp5", 302), 1, ""},
		{"a digest proves one request", row("GET", "Authorization", "Digest username=x", 401), 0, "one request"},
		{"a signature proves one request", row("GET", "Authorization", "AWS4-HMAC-SHA256 x", 403), 0, "one request"},
		{"a proof proves one request", row("GET", "DPoP", "x.y.z", 401), 0, "one request"},
		{"a cookie is sent", row("GET", "Cookie", "a=b", 401), 1, ""},
		{"POST becomes GET", row("POST", "X-Api-Key", "k", 401), 1, "in place of POST"},
	} {
		config, left, err := ProbeOf(r.c)
		if err != nil || len(config.Credentials) != r.credentials || !strings.Contains(strings.Join(left, "\n"), r.left) || r.left == "" && len(left) > 0 {
			t.Errorf("%s: credentials %v, left %q, %v", r.name, config.Credentials, left, err)
		}
		if len(config.Header) != 1 {
			t.Errorf("%s: header %v, want Accept alone", r.name, config.Header)
		}
	}
}
