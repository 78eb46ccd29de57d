package durward_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/durward-auth/durward"
)

var update = flag.Bool("update", false, "rewrite the answers in testdata/wire")

// noon is the clock of the wire tests.
var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// TestWire sends each request in testdata/wire, octet for octet, to a real
// listener and compares the whole answer. A file's comment may hold lines
// "guard: NAME" and "route: NAME", which choose among the maps below, and is
// otherwise prose.
func TestWire(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/wire/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no wire tests: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			archive := txtar.Parse(data)
			changed := false
			for i := 0; i+1 < len(archive.Files); i += 2 {
				ask, want := archive.Files[i], &archive.Files[i+1]
				got := exchange(t, setting(archive.Comment, "guard", "bearer"), setting(archive.Comment, "route", "plain"), ask.Data)
				if got == string(want.Data) {
					continue
				}
				if *update {
					want.Data, changed = []byte(got), true
					continue
				}
				t.Errorf("%s: the answer differs\nsent:\n%s\ngot:\n%s\nwant:\n%s", ask.Name, ask.Data, got, want.Data)
			}
			if changed {
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func setting(comment []byte, name, standard string) string {
	for line := range strings.Lines(string(comment)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+": "); ok {
			return value
		}
	}
	return standard
}

// tokens is what the wire tests' verifier says of each token.
var tokens = map[string]error{
	"good": nil, "weak": nil, "stale": nil, "client": nil,
	"expired": fmt.Errorf("expired 3s ago: %w", durward.TokenExpired),
	"revoked": fmt.Errorf("session s1 was ended: %w", durward.TokenRevoked),
	"forged":  fmt.Errorf("signature does not verify: %w", durward.InvalidToken),
	"outage":  errors.New("dial tcp 10.0.0.7:5432: connection refused"),
}

func verify(_ context.Context, token string) (*durward.Principal, error) {
	err, known := tokens[token]
	if !known {
		err = fmt.Errorf("unknown token: %w", durward.InvalidToken)
	}
	if err != nil {
		return nil, err
	}
	p := &durward.Principal{Scheme: "Bearer", Subject: "ada", Scopes: []string{"profile", "read"}, ACR: "urn:durward:acr:2fa", AuthTime: noon.Add(-time.Minute)}
	switch token {
	case "weak":
		p.ACR = "urn:durward:acr:1fa"
	case "stale":
		p.AuthTime = noon.Add(-time.Hour)
	case "client":
		p.ACR, p.AuthTime = "", time.Time{}
	}
	return p, nil
}

var guards = map[string]durward.Config{
	"bearer": {Schemes: []durward.Scheme{durward.Bearer(verify)}, Realm: "api"},
	"documented": {Schemes: []durward.Scheme{durward.Bearer(verify)}, Realm: "api", PublicURL: "https://api.example.com", InsecureAllowHTTP: true,
		Docs: "https://auth.example.com/errors", Metadata: "https://api.example.com/.well-known/oauth-protected-resource",
		Hints: map[durward.Code]string{durward.TokenExpired: "Refresh it at POST /api/auth/refresh and send the new one."}},
	"two schemes": {Schemes: []durward.Scheme{durward.Session(), durward.Bearer(verify)}, Realm: "api", LoginURL: "https://auth.example.com/login"},
	"sign-in":     {Schemes: []durward.Scheme{durward.Session()}, Realm: "auth", LoginURL: "https://auth.example.com/login"},
	"public":      {Schemes: []durward.Scheme{durward.Bearer(verify)}, Realm: "api", PublicURL: "https://api.example.com"},
	"proxied":     {Schemes: []durward.Scheme{durward.Bearer(verify)}, Realm: "api", Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
}

var routes = map[string]durward.Policy{
	"plain":                   {},
	"optional":                {Optional: true},
	"write":                   {Scopes: []string{"profile", "write"}},
	"strong":                  {ACR: []string{"urn:durward:acr:2fa"}},
	"fresh":                   {MaxAge: 5 * time.Minute},
	"strong, fresh and write": {ACR: []string{"phr", "urn:durward:acr:2fa"}, MaxAge: 5 * time.Minute, Scopes: []string{"write"}},
	"forbidden": {Allow: func(_ *http.Request, p *durward.Principal) error {
		return fmt.Errorf("%s may not: %w", p.Subject, durward.Forbidden)
	}},
	"undecided": {Allow: func(*http.Request, *durward.Principal) error { return errors.New("policy store: timeout") }},
}

// refusals are handlers that refuse by themselves.
var refusals = map[string]error{
	"login wrong":   durward.InvalidCredentials,
	"login blocked": &durward.Refusal{Code: durward.TooManyAttempts, RetryAfter: 3599*time.Second + 1},
	"login owed":    &durward.Refusal{Code: durward.MFARequired, Members: map[string]any{"mfa_token": "m1", "methods": []string{"totp"}}},
	"refresh":       fmt.Errorf("spent token used again: %w", durward.SessionRevoked),
	"method":        &durward.Refusal{Code: durward.MethodNotAllowed, Allow: []string{"GET", "HEAD"}},
	"missing":       durward.NotFound,
	"broken":        errors.New("disk full"),
}

func exchange(t *testing.T, guard, route string, raw []byte) string {
	t.Helper()
	config, ok := guards[guard]
	if !ok {
		t.Fatalf("no guard %q", guard)
	}
	config.Now = func() time.Time { return noon }
	g, err := durward.New(config)
	if err != nil {
		t.Fatal(err)
	}
	var handler http.Handler
	if refusal, ok := refusals[route]; ok {
		handler = g.Open(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.Refuse(w, r, refusal) }))
	} else {
		policy, ok := routes[route]
		if !ok {
			t.Fatalf("no route %q", route)
		}
		handler = g.Require(policy, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p := durward.From(r.Context())
			if p.Anonymous() {
				fmt.Fprintln(w, "anonymous from", durward.ClientAddr(r.Context()))
				return
			}
			fmt.Fprintln(w, p.Subject, "from", durward.ClientAddr(r.Context()))
		}))
	}
	srv := httptest.NewServer(handler)
	defer srv.Close()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	head := bytes.ReplaceAll(bytes.TrimRight(raw, "\n"), []byte("\n"), []byte("\r\n"))
	if _, err := conn.Write(append(head, "\r\nConnection: close\r\n\r\n"...)); err != nil {
		t.Fatal(err)
	}
	return readable(t, conn)
}

var (
	denialField = regexp.MustCompile(`[0-9A-HJKMNP-TV-Z]{26}`)
	dropped     = []string{"Date", "Connection"}
)

// readable renders an answer with its field lines sorted, and checks that the
// denial id of field and body are one.
func readable(t *testing.T, conn io.Reader) string {
	t.Helper()
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	head, body, _ := strings.Cut(string(answer), "\r\n\r\n")
	var out strings.Builder
	lines := bufio.NewScanner(strings.NewReader(head))
	lines.Scan()
	fmt.Fprintln(&out, lines.Text())
	var fields []string
	id := ""
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		if slices.Contains(dropped, name) {
			continue
		}
		if name == "Durward-Denial" {
			id = value
		}
		fields = append(fields, lines.Text())
	}
	slices.SortStableFunc(fields, func(a, b string) int {
		a, _, _ = strings.Cut(a, ":")
		b, _, _ = strings.Cut(b, ":")
		return strings.Compare(a, b) // lines of one field keep their order
	})
	for _, f := range fields {
		fmt.Fprintln(&out, f)
	}
	if body != "" {
		fmt.Fprintf(&out, "\n%s", body)
	}
	if id != "" && body != "" && !strings.Contains(body, `"urn:durward:denial:`+id+`"`) {
		t.Errorf("the denial id %s of the field is not that of the body %s", id, body)
	}
	return denialField.ReplaceAllString(out.String(), "<denial>")
}
