package durward_test

import (
	"bufio"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"hash"
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
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/txtar"
)

var update = flag.Bool("update", false, "rewrite the answers in testdata/wire")

// noon is the clock of the wire tests.
var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// TestWire sends each request in testdata/wire, octet for octet, to a real listener and compares
// the complete response. Lines "guard: NAME" and "route: NAME" in a file's comment select from the
// maps below; other lines are prose. The requests of a file go to one guard, one after another.
// Values that a Digest client computes are in braces, see fill.
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
			w := newWire(t, setting(archive.Comment, "guard", "bearer"), setting(archive.Comment, "route", "plain"))
			for i := 0; i+1 < len(archive.Files); i += 2 {
				ask, want := archive.Files[i], &archive.Files[i+1]
				got := w.exchange(t, w.fill(t, ask.Data))
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

// tokens maps each token of the wire tests to the verifier's error.
var tokens = map[string]error{
	"good": nil, "weak": nil, "stale": nil, "client": nil, "heard": nil, "unheard": nil,
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
	case "heard":
		p.AsOf = noon.Add(-10 * time.Second)
	case "unheard":
		p.AsOf = noon.Add(-10*time.Second - 1)
	}
	return p, nil
}

// realm is the realm of all guards with passwords.
const realm, password = "api", "correct horse"

func checkPassword(_ context.Context, user, sent string) (*durward.Principal, error) {
	switch {
	case user == "away":
		return nil, errors.New("dial tcp 10.0.0.7:5432: connection refused")
	case user == "busy":
		return nil, fmt.Errorf("eleventh try: %w", durward.TooManyAttempts)
	case user == "locked" && sent == password:
		return nil, fmt.Errorf("locked by an administrator: %w", durward.AccountDisabled)
	case user != "ada" || sent != password:
		return nil, fmt.Errorf("user %q: %w", user, durward.InvalidCredentials)
	}
	return &durward.Principal{Subject: "ada"}, nil
}

// digest returns the Digest scheme with the account of checkPassword.
func digest(c durward.DigestConfig) durward.Scheme {
	c.HA1 = func(ctx context.Context, claim durward.DigestClaim) ([]byte, *durward.Principal, error) {
		if hidden, err := durward.UserHash(claim.Algorithm, "ada", realm); err != nil || claim.UserHash == hidden {
			claim.User = "ada"
		}
		p, err := checkPassword(ctx, claim.User, password)
		if err != nil {
			return nil, nil, err
		}
		ha1, err := durward.HA1(claim.Algorithm, claim.User, realm, password)
		return ha1, p, err
	}
	return durward.Digest(c)
}

var guards = map[string]durward.Config{
	"basic":  {Schemes: []durward.Scheme{durward.Basic(checkPassword)}, Realm: realm},
	"digest": {Schemes: []durward.Scheme{digest(durward.DigestConfig{})}, Realm: realm},
	"digest, all of it": {Schemes: []durward.Scheme{digest(durward.DigestConfig{SHA512256: true, InsecureMD5: true, UserHash: true,
		QOP: []string{"auth", "auth-int"}, MaxBody: 16})}, Realm: realm},
	"dpop": {Schemes: []durward.Scheme{durward.Bearer(verify), durward.DPoP(durward.DPoPConfig{Check: checkProof, Nonces: true})}, Realm: realm},
	"one factor": {Schemes: []durward.Scheme{durward.Bearer(verify)}, Realm: realm,
		Strongest: func(context.Context, *durward.Principal) (string, error) { return "urn:durward:acr:1fa", nil }},
	"digest, sess": {Schemes: []durward.Scheme{digest(durward.DigestConfig{Sess: true})}, Realm: realm},
	"all schemes": {Schemes: []durward.Scheme{durward.Session(), durward.Basic(checkPassword), durward.Bearer(verify), digest(durward.DigestConfig{InsecureMD5: true})},
		Realm: realm, PublicURL: "https://api.example.com", LoginURL: "https://auth.example.com/login"},
	"passwords": {Schemes: []durward.Scheme{durward.Basic(checkPassword), digest(durward.DigestConfig{})}, Realm: realm, PublicURL: "https://api.example.com"},
	"bearer":    {Schemes: []durward.Scheme{durward.Bearer(verify)}, Realm: "api"},
	"documented": {Schemes: []durward.Scheme{durward.Bearer(verify)}, Realm: "api", PublicURL: "https://api.example.com", InsecureAllowHTTP: true,
		Docs: "https://auth.example.com/errors", Metadata: "https://api.example.com/.well-known/oauth-protected-resource",
		Hints: map[durward.Code]string{durward.TokenExpired: "Refresh it at POST /api/auth/refresh and send the new one."}},
	"keys":    {Schemes: []durward.Scheme{durward.APIKey("dk_", checkKey)}, Realm: "api"},
	"cookies": cookies,
	// With a trusted proxy that hands on certificates, ClientCert is added.
	"certificates": {Realm: "api", Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, ClientCertFromProxies: true},
	"seven schemes": {Schemes: []durward.Scheme{durward.Session(), durward.Basic(checkPassword), durward.APIKey("dk_", checkKey), durward.Cookie(cookieName, checkSession),
		durward.Bearer(verify), digest(durward.DigestConfig{})}, Realm: realm, PublicURL: "https://api.example.com", LoginURL: "https://auth.example.com/login",
		Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, ClientCertFromProxies: true},
	"two schemes": {Schemes: []durward.Scheme{durward.Session(), durward.Bearer(verify)}, Realm: "api", LoginURL: "https://auth.example.com/login"},
	"sign-in":     {Schemes: []durward.Scheme{durward.Session()}, Realm: "auth", LoginURL: "https://auth.example.com/login"},
	"public":      {Schemes: []durward.Scheme{durward.Bearer(verify)}, Realm: "api", PublicURL: "https://api.example.com"},
	"proxied":     {Schemes: []durward.Scheme{durward.Bearer(verify)}, Realm: "api", Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
}

var cookies = durward.Config{Schemes: []durward.Scheme{durward.Cookie(cookieName, checkSession), durward.Bearer(verify)}, Realm: "api",
	PublicURL: "https://api.example.com", LoginURL: "https://auth.example.com/login", Origins: []string{"https://app.example.com"}}

var routes = map[string]durward.Policy{
	"plain":                   {},
	"optional":                {Optional: true},
	"pages":                   {Pages: true},
	"write":                   {Scopes: []string{"profile", "write"}},
	"strong":                  {ACR: []string{"urn:durward:acr:2fa"}},
	"fresh":                   {MaxAge: 5 * time.Minute},
	"freshness":               {Freshness: 10 * time.Second},
	"strong, fresh and write": {ACR: []string{"phr", "urn:durward:acr:2fa"}, MaxAge: 5 * time.Minute, Scopes: []string{"write"}},
	"forbidden": {Allow: func(_ *http.Request, p *durward.Principal) error {
		return fmt.Errorf("%s may not: %w", p.Subject, durward.Forbidden)
	}},
	"undecided": {Allow: func(*http.Request, *durward.Principal) error { return errors.New("policy store: timeout") }},
}

// proxyRoutes are the policies of forward proxies.
var proxyRoutes = map[string]durward.Policy{
	"proxy":          {},
	"optional proxy": {Optional: true},
	"proxy for some": {Allow: func(*http.Request, *durward.Principal) error { return durward.Forbidden }},
}

// checkProof takes the proof "proof" with a nonce that is good behind its dot, and
// then whatever token verify takes.
func checkProof(ctx context.Context, p durward.DPoPProof) (*durward.Principal, error) {
	name, nonce, _ := strings.Cut(p.Proof, ".")
	switch {
	case name != "proof":
		return nil, fmt.Errorf("not signed by its key: %w", durward.InvalidProof)
	case !p.Fresh(nonce):
		return nil, fmt.Errorf("no good nonce: %w", durward.NonceRequired)
	}
	return verify(ctx, p.Token)
}

// refusals are handlers that refuse by themselves.
var refusals = map[string]error{
	"login wrong":     durward.InvalidCredentials,
	"login blocked":   &durward.Refusal{Code: durward.TooManyAttempts, RetryAfter: 3599*time.Second + 1},
	"login owed":      &durward.Refusal{Code: durward.MFARequired, Members: map[string]any{"mfa_token": "m1", "methods": []string{"totp"}}},
	"refresh":         fmt.Errorf("spent token used again: %w", durward.SessionRevoked),
	"refresh unknown": fmt.Errorf("never issued: %w", durward.RefreshInvalid),
	"refresh late":    fmt.Errorf("not refreshed for too long: %w", durward.RefreshExpired),
	"mail unproven":   durward.EmailUnverified,
	"password old":    durward.PasswordChangeRequired,
	"address taken":   durward.EmailTaken,
	"kind of body":    durward.UnsupportedMediaType,
	"panic":           &durward.Refusal{Code: durward.Internal, Err: errors.New("index out of range")},
	"method":          &durward.Refusal{Code: durward.MethodNotAllowed, Allow: []string{"GET", "HEAD"}},
	"missing":         durward.NotFound,
	"broken":          errors.New("disk full"),
}

// wire is a listener behind a guard.
type wire struct {
	address string
	clock   atomic.Pointer[time.Time]
	nonce   string // of the Digest response that was sent last
	people  *issuer
}

func newWire(t *testing.T, guard, route string) *wire {
	t.Helper()
	config, ok := guards[guard]
	if !ok {
		t.Fatalf("no guard %q", guard)
	}
	w := new(wire)
	w.clock.Store(&noon)
	if config.ClientCertFromProxies {
		w.people = newAuthority(t, "people")
		config.Schemes = append(slices.Clone(config.Schemes), durward.ClientCert(durward.ClientCertConfig{Roots: pool(w.people), Check: byName}))
	}
	config.Now = func() time.Time { return *w.clock.Load() }
	g, err := durward.New(config)
	if err != nil {
		t.Fatal(err)
	}
	greet := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := "anonymous"
		if p := durward.From(r.Context()); !p.Anonymous() {
			who = p.Subject
		}
		fmt.Fprintln(w, who, "from", durward.ClientAddr(r.Context()))
		if body, err := io.ReadAll(r.Body); err != nil || len(body) > 0 {
			fmt.Fprintf(w, "with a body of %q, %v\n", body, err)
		}
		for _, field := range []string{"Authorization", "Proxy-Authorization"} {
			if r.URL.IsAbs() && r.Header[field] != nil {
				fmt.Fprintln(w, "with", field)
			}
		}
	})
	var handler http.Handler
	if refusal, ok := refusals[route]; ok {
		handler = g.Open(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.Refuse(w, r, refusal) }))
	} else if policy, ok := routes[route]; ok {
		handler = g.Require(policy, greet)
	} else if policy, ok := proxyRoutes[route]; ok {
		handler = g.Proxy(policy, greet)
	} else {
		t.Fatalf("no route %q", route)
	}
	srv := httptest.NewServer(handler)
	t.Cleanup(srv.Close)
	w.address = srv.Listener.Addr().String()
	return w
}

// exchange sends a request and returns the answer.
func (w *wire) exchange(t *testing.T, raw string) string {
	t.Helper()
	conn, err := net.Dial("tcp", w.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	head, body, _ := strings.Cut(strings.TrimRight(raw, "\n"), "\n\n")
	if _, err := io.WriteString(conn, strings.ReplaceAll(head, "\n", "\r\n")+"\r\nConnection: close\r\n\r\n"+body); err != nil {
		t.Fatal(err)
	}
	return readable(t, conn)
}

var (
	blank  = regexp.MustCompile(`\{\{(nonce|same|userhash|response|certificate|stranger)(?: ([^}]*))?\}\}`)
	hashes = map[string]func() hash.Hash{"": md5.New, "MD5": md5.New, "SHA-256": sha256.New, "SHA-512-256": sha512.New512_256}
)

// fill computes the values of a Digest client and of a proxy with client certificates:
//
//	{{certificate ada}} Client-Cert of a certificate of the guard's authority for this name
//	{{stranger ada}}    the same, self-signed
//	{{nonce}}           a nonce from a challenge of this guard
//	{{nonce 6m}}        a nonce that is 6 minutes old
//	{{same}}            the nonce of the last request
//	{{userhash}}        the hash of the user name ada
//	{{response WORDS}}  the response for this password and the other parameters of the field
func (w *wire) fill(t *testing.T, raw []byte) string {
	t.Helper()
	filled := blank.ReplaceAllStringFunc(string(raw), func(b string) string {
		m := blank.FindStringSubmatch(b)
		switch m[1] {
		case "nonce":
			if w.nonce = w.challenge(t, m[2]); w.nonce == "" {
				t.Fatal("no challenge of Digest")
			}
			return w.nonce
		case "same":
			return w.nonce
		case "certificate":
			return field(w.people.issue(t, newKey(t), m[2], nil).Certificate[0])
		case "stranger":
			return field((*issuer)(nil).issue(t, newKey(t), m[2], nil).Certificate[0])
		}
		return b
	})
	method, _, _ := strings.Cut(filled, " ")
	_, body, _ := strings.Cut(strings.TrimRight(filled, "\n"), "\n\n")
	var out strings.Builder
	for line := range strings.Lines(filled) {
		_, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if c, err := durward.ParseCredentials(value); err == nil && strings.EqualFold(c.Scheme, "Digest") {
			param := func(name string) string { v, _ := c.Param(name); return v }
			name, sess := strings.CutSuffix(param("algorithm"), "-sess")
			h := func(text string) string {
				sum := hashes[name]()
				_, _ = io.WriteString(sum, text)
				return hex.EncodeToString(sum.Sum(nil))
			}
			line = blank.ReplaceAllStringFunc(line, func(b string) string {
				m := blank.FindStringSubmatch(b)
				if m[1] == "userhash" {
					return h("ada:" + realm)
				}
				ha1, a2 := h("ada:"+realm+":"+m[2]), method+":"+param("uri")
				if sess {
					ha1 = h(ha1 + ":" + param("nonce") + ":" + param("cnonce"))
				}
				if param("qop") == "auth-int" {
					a2 += ":" + h(body)
				}
				return h(strings.Join([]string{ha1, param("nonce"), param("nc"), param("cnonce"), param("qop"), h(a2)}, ":"))
			})
		}
		out.WriteString(line)
	}
	return out.String()
}

// challenge asks for a nonce and returns it as old as wanted.
func (w *wire) challenge(t *testing.T, age string) (nonce string) {
	t.Helper()
	if age != "" {
		ago, err := time.ParseDuration(age)
		if err != nil {
			t.Fatal(err)
		}
		then := noon.Add(-ago)
		w.clock.Store(&then)
		defer w.clock.Store(&noon)
	}
	ask, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+w.address, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"Authorization", "Proxy-Authorization"} {
		ask.Header.Set(field, "Other dGhhdCBub2JvZHkgdGFrZXM=") // optional routes, too, have to answer with a challenge
	}
	r, err := (&http.Client{Transport: new(http.Transport)}).Do(ask)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	list, err := durward.ParseChallenges(append(r.Header.Values("WWW-Authenticate"), r.Header.Values("Proxy-Authenticate")...))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range list {
		if c.Scheme == "Digest" {
			nonce, _ = c.Param("nonce")
		}
	}
	if fresh := r.Header.Get("DPoP-Nonce"); fresh != "" {
		return fresh
	}
	return nonce
}

var (
	denialField = regexp.MustCompile(`[0-9A-HJKMNP-TV-Z]{26}`)
	nonceField  = regexp.MustCompile(`(Dpop-Nonce: )[0-9A-Za-z_-]{32}`)
	drawn       = regexp.MustCompile(`(nonce="|nextnonce=")[0-9A-Za-z_-]{32}"|(rspauth=")[0-9a-f]{32,64}"`)
	style       = regexp.MustCompile(`(?s)<style>.*</style>`)
	dropped     = []string{"Date", "Connection"}
)

// readable formats a response with sorted field lines, without random values and styles, and checks
// that the denial ids of field and body are equal.
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
	if id != "" && body != "" && !strings.Contains(body, id) {
		t.Errorf("the denial id %s of the field is not that of the body %s", id, body)
	}
	shown := style.ReplaceAllString(out.String(), "<style>…</style>")
	shown = nonceField.ReplaceAllString(drawn.ReplaceAllString(shown, `$1$2…"`), "$1…")
	return denialField.ReplaceAllString(shown, "<denial>")
}
