package compare

import (
	"bytes"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the tables to docs/library.md")

const (
	page     = "../../docs/library.md"
	begin    = "<!-- Written by go test ./bench/compare -update. -->\n"
	end      = "<!-- End of the measured tables. -->\n"
	audience = "orders"
)

// issuer is a provider with the URLs and the tokens of Keycloak.
type issuer struct {
	*httptest.Server
	url  string
	keys []*rsa.PrivateKey
	away atomic.Bool
}

var b64 = base64.RawURLEncoding

// newIssuer starts a provider that publishes a key; newKey adds another.
func newIssuer(t *testing.T) *issuer {
	i := new(issuer)
	i.newKey(t)
	mux := http.NewServeMux()
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if i.away.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(i.Close)
	i.url = i.URL + "/realms/shop"
	keys := i.url + "/protocol/openid-connect/certs"
	mux.HandleFunc("/realms/shop/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q,"id_token_signing_alg_values_supported":["RS256"]}`, i.url, keys)
	})
	mux.HandleFunc("/realms/shop/protocol/openid-connect/certs", func(w http.ResponseWriter, _ *http.Request) {
		var all []string
		for n, k := range i.keys {
			all = append(all, fmt.Sprintf(`{"kid":"%d","kty":"RSA","alg":"RS256","use":"sig","n":%q,"e":%q}`, n,
				b64.EncodeToString(k.N.Bytes()), b64.EncodeToString(big.NewInt(int64(k.E)).Bytes())))
		}
		fmt.Fprintf(w, `{"keys":[%s]}`, strings.Join(all, ","))
	})
	return i
}

func (i *issuer) newKey(t *testing.T) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	i.keys = append(i.keys, key)
}

// token returns a token of the newest key, with the claims that change sets; nil removes a claim. It was
// issued before it expired.
func (i *issuer) token(t *testing.T, change map[string]any) string {
	t.Helper()
	if exp, ok := change["exp"].(int64); ok && change["iat"] == nil {
		change["iat"] = min(exp, time.Now().Unix()) - 60
	}
	newest := len(i.keys) - 1
	signed := i.unsigned(t, fmt.Sprintf(`{"alg":"RS256","typ":"JWT","kid":"%d"}`, newest), change)
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, i.keys[newest], crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + b64.EncodeToString(signature)
}

func (i *issuer) unsigned(t *testing.T, header string, change map[string]any) string {
	t.Helper()
	now := time.Now().Unix()
	claims := map[string]any{
		"exp":          now + 300,
		"iat":          now - 60,
		"jti":          "7c1e",
		"iss":          i.url,
		"aud":          audience,
		"sub":          "ada",
		"typ":          "Bearer",
		"azp":          "shop-web",
		"scope":        "profile",
		"realm_access": map[string]any{"roles": []string{"clerk"}},
	}
	for name, value := range change {
		if value == nil {
			delete(claims, name)
		} else {
			claims[name] = value
		}
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return b64.EncodeToString([]byte(header)) + "." + b64.EncodeToString(payload)
}

// confused returns a token with alg HS256, whose secret is the public key in PEM.
func (i *issuer) confused(t *testing.T) string {
	t.Helper()
	signed := i.unsigned(t, `{"alg":"HS256","typ":"JWT","kid":"0"}`, nil)
	public, err := x509.MarshalPKIXPublicKey(i.keys[0].Public())
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))
	mac.Write([]byte(signed))
	return signed + "." + b64.EncodeToString(mac.Sum(nil))
}

// answer sends a token to a handler and returns the cells status, challenge and text.
func answer(h http.Handler, token string) (status int, cells string) {
	r := httptest.NewRequest("GET", "https://api.example.com/orders", nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	text := strings.TrimSpace(w.Body.String())
	var body map[string]any
	if json.Unmarshal(w.Body.Bytes(), &body) == nil {
		text = ""
		for _, name := range []string{"code", "error", "error_code", "detail", "error_description"} {
			if member, ok := body[name].(string); ok && (name != "error" || body["code"] == nil) {
				text += member + ". "
			}
		}
		text = strings.ReplaceAll(strings.TrimSpace(text), "..", ".")
	}
	var challenges []string
	for _, c := range w.Header().Values("WWW-Authenticate") {
		challenges = append(challenges, "`"+algs.ReplaceAllString(c, `algs="…"`)+"`")
	}
	if len(challenges) == 0 {
		challenges = []string{"none"}
	}
	return w.Code, fmt.Sprintf("%d | %s | %s", w.Code, strings.Join(challenges, ", "), cell(text))
}

var variable = regexp.MustCompile(`http://127\.0\.0\.1:\d+|\d{4}-\d\d-\d\d[ T][0-9:.]+ ?\S+( UTC)?|\d+(\.\d+)?[mµ]?s\b`)

var algs = regexp.MustCompile(`algs="[^"]*"`)

// cell returns a text without the parts that differ between runs, as a cell of a table.
func cell(text string) string {
	text = variable.ReplaceAllString(text, "…")
	return strings.NewReplacer("|", "\\|", "\n", " ", "<", "&lt;").Replace(text)
}

// linesOf returns the number of lines of each job in a file, without blank lines and comments.
func linesOf(t *testing.T, file string) map[string]int {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines, job := make(map[string]int), ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "// job: "); ok {
			job = name
		} else if job != "" && line != "" && !strings.HasPrefix(line, "//") {
			lines[job]++
		}
	}
	return lines
}

// version returns the version of a module that go.mod requires.
func version(t *testing.T, module string) string {
	t.Helper()
	text, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(text), "\t"+module+" v")
	if !ok {
		t.Fatalf("go.mod does not require %s", module)
	}
	return strings.Fields(after)[0]
}

// must returns a function that returns its handler if there is no error.
func must(t *testing.T) func(http.Handler, error) http.Handler {
	return func(h http.Handler, err error) http.Handler {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
}

// TestTables measures the tables of docs/library.md and compares them with the page.
func TestTables(t *testing.T) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	i, second, third := newIssuer(t), newIssuer(t), newIssuer(t)
	var names []string
	var jobs [5][]string
	lines := make([]map[string]int, len(libraries))
	add := func(job int, lines int, cells string) {
		if lines > 0 {
			cells = fmt.Sprint(lines, " | ", cells)
		}
		jobs[job] = append(jobs[job], cells)
	}
	variants := []struct{ name, token string }{
		{"without `exp`", i.token(t, map[string]any{"exp": nil})},
		{"expired 5 seconds ago", i.token(t, map[string]any{"exp": time.Now().Unix() - 5})},
		{"`nbf` in two minutes", i.token(t, map[string]any{"nbf": time.Now().Unix() + 120})},
		{"`iat` in an hour", i.token(t, map[string]any{"iat": time.Now().Unix() + 3600})},
		{"for a year", i.token(t, map[string]any{"exp": time.Now().Unix() + 365*86400})},
		{"an ID token for this audience", i.token(t, map[string]any{"typ": "ID", "at_hash": "x", "nonce": "n", "scope": nil})},
		{"for another audience", i.token(t, map[string]any{"aud": "other"})},
		{"HS256 with the public key as the secret", i.confused(t)},
	}
	accepted := make([][]string, len(variants))
	var starts []string

	for n, l := range libraries {
		name := l.name
		if l.module != "" {
			name += " " + version(t, l.module)
		}
		names = append(names, name)
		lines[n] = linesOf(t, l.file)
		guard := must(t)(l.guard(i.url, audience))
		if status, cells := answer(guard, i.token(t, nil)); status != http.StatusOK {
			t.Fatalf("%s refuses a good token: %s", name, cells)
		}
		_, cells := answer(guard, "")
		add(0, lines[n]["guard"], cells)
		_, cells = answer(guard, i.token(t, map[string]any{"exp": time.Now().Unix() - 3600}))
		add(1, 0, cells)
		for v, variant := range variants {
			status, _ := answer(guard, variant.token)
			accepted[v] = append(accepted[v], map[bool]string{true: "accepted", false: "refused"}[status == http.StatusOK])
		}

		scope := must(t)(l.scope(i.url, audience, "write"))
		if status, cells := answer(scope, i.token(t, map[string]any{"scope": "profile write"})); status != http.StatusOK {
			t.Fatalf("%s refuses a token with the scope: %s", name, cells)
		}
		_, cells = answer(scope, i.token(t, nil))
		add(3, lines[n]["scope"], cells)

		both := must(t)(l.issuers(i.url, second.url, audience))
		for _, good := range []*issuer{i, second} {
			if status, cells := answer(both, good.token(t, nil)); status != http.StatusOK {
				t.Fatalf("%s refuses a token of one of two issuers: %s", name, cells)
			}
		}
		_, cells = answer(both, third.token(t, nil))
		add(4, lines[n]["issuers"], cells)

		down := newIssuer(t)
		down.away.Store(true)
		if h, err := l.guard(down.url, audience); err != nil {
			starts = append(starts, "no")
		} else {
			status, _ := answer(h, down.token(t, nil))
			starts = append(starts, fmt.Sprintf("yes; status %d", status))
		}

		// The issuer signs with a new key, and its key set is unavailable.
		rotating := newIssuer(t)
		outage := must(t)(l.guard(rotating.url, audience))
		rotating.newKey(t)
		rotating.away.Store(true)
		_, cells = answer(outage, rotating.token(t, nil))
		add(2, 0, cells)
	}

	var out strings.Builder
	const lined, unlined = "| lines | status | challenge | text |\n|---|---|---|---|---|\n",
		"| status | challenge | text |\n|---|---|---|---|\n"
	for n, title := range []string{
		"| Guard an API; a request without a token " + lined,
		"| An expired token " + unlined,
		"| An outage of the key set; a token of a new key " + unlined,
		"| Require a scope; a token without it " + lined,
		"| Accept two issuers; a token of a third " + lined,
	} {
		out.WriteString(title)
		for k, name := range names {
			fmt.Fprintf(&out, "| %s | %s |\n", name, jobs[n][k])
		}
		out.WriteByte('\n')
	}
	fmt.Fprintf(&out, "| token | %s |\n|---%s|\n", strings.Join(names, " | "), strings.Repeat("|---", len(names)))
	for v, variant := range variants {
		fmt.Fprintf(&out, "| %s | %s |\n", variant.name, strings.Join(accepted[v], " | "))
	}
	fmt.Fprintf(&out, "| *starts while the issuer is unavailable* | %s |\n\n", strings.Join(starts, " | "))
	compareWithPage(t, out.String())
}

// compareWithPage compares the measured tables with the page, or writes them to it.
func compareWithPage(t *testing.T, tables string) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := bytes.Cut(text, []byte(begin))
	written, after, ok2 := bytes.Cut(rest, []byte(end))
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the tables", page)
	}
	want := "\n" + tables
	switch {
	case *update:
		text = bytes.Join([][]byte{before, []byte(begin), []byte(want), []byte(end), after}, nil)
		if err := os.WriteFile(page, text, 0o644); err != nil {
			t.Fatal(err)
		}
	case string(written) != want:
		t.Errorf("%s has the tables\n%s\nwant\n%s\nRun go test ./bench/compare -update.", page, written, want)
	}
}
