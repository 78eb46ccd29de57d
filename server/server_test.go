package server_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/jwt"
	"github.com/durward-auth/durward/server"
)

const (
	public   = "https://app.example.com/auth"
	email    = "ada@example.com"
	password = "plenty of words in a row"
)

// fast are settings for fast tests.
var fast = map[string]string{"passwords.argon2_memory": "64", "passwords.argon2_time": "1"}

// program is a program with an embedded server.
type program struct {
	*testing.T
	*server.Server
	mux *http.ServeMux
}

// embed starts a program with a server of c at public, and one user.
func embed(t *testing.T, c server.Config) *program {
	t.Helper()
	c.Folder, c.Defaults = t.TempDir(), fast
	if c.PublicURL == "" {
		c.PublicURL = public
	}
	srv, err := server.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := srv.AddUser(t.Context(), server.User{Email: email, Password: password}); err != nil {
		t.Fatal(err)
	}
	p := &program{t, srv, http.NewServeMux()}
	p.mux.Handle("/auth/", srv)
	p.mux.Handle("/.well-known/", srv)
	p.mux.Handle("/", srv.Guard().Handler(who))
	return p
}

// who answers with the user's id.
var who = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	io.WriteString(w, durward.From(r.Context()).Subject)
})

// send sends a request over https, with an optional JSON body and fields.
func (p *program) send(method, path string, body any, fields ...string) *httptest.ResponseRecorder {
	p.Helper()
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			p.Fatal(err)
		}
		sent = bytes.NewReader(text)
	}
	r := httptest.NewRequest(method, "https://app.example.com"+path, sent)
	r.URL.Scheme, r.URL.Host = "", "" // as net/http parses the request line
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	w := httptest.NewRecorder()
	p.mux.ServeHTTP(w, r)
	return w
}

type object = map[string]any

// signIn returns the fields of a request with a cookie, and of one with an access token.
func (p *program) signIn() (cookie, token []string) { return p.signInAs(email) }

func (p *program) signInAs(email string) (cookie, token []string) {
	p.Helper()
	login := object{"email": email, "password": password}
	var tokens struct {
		Access string `json:"access_token"`
	}
	w := p.send("POST", "/auth/api/auth/login", login)
	if json.Unmarshal(w.Body.Bytes(), &tokens) != nil || tokens.Access == "" {
		p.Fatalf("sign-in: %d %s", w.Code, w.Body)
	}
	login["use_cookies"] = true
	w = p.send("POST", "/auth/api/auth/login", login, "Origin", "https://app.example.com")
	value, _, _ := strings.Cut(w.Header().Get("Set-Cookie"), ";")
	if w.Code != 200 || !strings.HasPrefix(value, "__Host-durward~auth=") {
		p.Fatalf("sign-in with a cookie: %d %s, Set-Cookie %q", w.Code, w.Body, value)
	}
	return []string{"Cookie", value, "Origin", "https://app.example.com"}, []string{"Authorization", "Bearer " + tokens.Access}
}

var navigation = []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}

// The guard of a program's routes accepts the credentials of the server beside it, sends browsers to the
// sign-in page, and refuses an ended session from the next request on.
func TestGuard(t *testing.T) {
	t.Parallel()
	p := embed(t, server.Config{})
	w := p.send("GET", "/orders?page=2", nil)
	if w.Code != 401 || !strings.Contains(strings.Join(w.Header()["Www-Authenticate"], "\n"), `login="`+public+`/login"`) || !strings.Contains(w.Body.String(), public+"/errors/AUTHENTICATION_REQUIRED") {
		t.Errorf("a program without credentials: %d %q %s", w.Code, w.Header()["Www-Authenticate"], w.Body)
	}
	w = p.send("GET", "/orders?page=2", nil, navigation...)
	if w.Code != 303 || w.Header().Get("Location") != public+"/login?return_to=%2Forders%3Fpage%3D2" {
		t.Errorf("a browser without a session: %d to %q", w.Code, w.Header().Get("Location"))
	}
	cookie, token := p.signIn()
	for name, fields := range map[string][]string{"cookie": cookie, "token": token} {
		if w := p.send("GET", "/orders", nil, fields...); w.Code != 200 || len(w.Body.String()) != 36 {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
		if w := p.send("POST", "/auth/api/auth/logout", object{}, fields...); w.Code != 204 || w.Header().Get("Clear-Site-Data") != `"cache", "storage"` {
			t.Errorf("%s: sign-out: %d %s %q", name, w.Code, w.Body, w.Header())
		}
		if w := p.send("GET", "/orders", nil, fields...); w.Code != 401 {
			t.Errorf("%s after the sign-out: %d %s, want 401 at once", name, w.Code, w.Body)
		}
	}
	// A cookie of a server at the root of the host is another one.
	cookie, _ = p.signIn()
	cookie[1] = strings.Replace(cookie[1], "~auth", "", 1)
	if w := p.send("GET", "/orders", nil, cookie...); w.Code != 401 {
		t.Errorf("cookie of another server: %d, want 401", w.Code)
	}
	// Pages of other sites cannot use the cookie.
	cookie, _ = p.signIn()
	cookie[3] = "https://evil.example"
	if w := p.send("POST", "/orders", nil, cookie...); w.Code != 403 {
		t.Errorf("a page of another site: %d, want 403", w.Code)
	}
}

// A program's routes take API keys of the server, with their scopes, until they are revoked.
func TestGuardAPIKey(t *testing.T) {
	t.Parallel()
	p := embed(t, server.Config{})
	g := p.Guard()
	p.mux.Handle("/reports", g.Require(durward.Policy{Schemes: []durward.Scheme{g.Schemes().APIKey}, Scopes: []string{"profile"}}, who))
	p.mux.Handle("/admin", g.Require(durward.Policy{Scopes: []string{"admin"}}, who))
	p.mux.Handle("/vault", g.Require(durward.Policy{MaxAge: time.Hour}, who))
	cookie, token := p.signIn()
	var made struct{ ID, Key string }
	w := p.send("POST", "/auth/api/keys", object{"name": "reports", "scopes": []string{"profile"}}, token...)
	if w.Code != 201 || json.Unmarshal(w.Body.Bytes(), &made) != nil {
		t.Fatalf("key: %d %s", w.Code, w.Body)
	}
	var profile struct{ ID string }
	if w := p.send("GET", "/auth/api/profile", nil, token...); json.Unmarshal(w.Body.Bytes(), &profile) != nil {
		t.Fatalf("profile: %d %s", w.Code, w.Body)
	}
	inField, bearer := []string{"X-API-Key", made.Key}, []string{"Authorization", "Bearer " + made.Key}
	for name, c := range map[string]struct {
		path   string
		fields []string
		status int
		code   string
	}{
		"in its field":                         {"/reports", inField, 200, ""},
		"as a token":                           {"/orders", bearer, 200, ""},
		"at a route for every scheme":          {"/orders", inField, 200, ""},
		"at a route of another scope":          {"/admin", inField, 403, "INSUFFICIENT_SCOPE"},
		"at a route for recent sign-ins":       {"/vault", inField, 403, "FORBIDDEN"},
		"a letter changed":                     {"/reports", []string{"X-API-Key", made.Key[:len(made.Key)-1] + "_"}, 401, "INVALID_API_KEY"},
		"no key":                               {"/reports", nil, 401, "AUTHENTICATION_REQUIRED"},
		"a cookie at a route for API keys":     {"/reports", cookie, 401, "AUTHENTICATION_REQUIRED"},
		"a token at a route for API keys":      {"/reports", token, 401, "UNSUPPORTED_SCHEME"},
		"a key beside a token":                 {"/orders", append(slices.Clone(inField), token...), 400, "AMBIGUOUS_CREDENTIALS"},
		"a browser that opens a page with one": {"/orders", append(slices.Clone(inField), navigation...), 200, ""},
	} {
		w := p.send("GET", c.path, nil, c.fields...)
		if w.Code != c.status || c.status == 200 && w.Body.String() != profile.ID || !strings.Contains(w.Body.String(), c.code) {
			t.Errorf("%s: %d %s, want %d %s", name, w.Code, w.Body, c.status, c.code)
		}
	}
	if w := p.send("DELETE", "/auth/api/keys/"+made.ID, nil, token...); w.Code != 204 {
		t.Fatalf("revocation: %d %s", w.Code, w.Body)
	}
	if w := p.send("GET", "/reports", nil, inField...); w.Code != 401 {
		t.Errorf("a revoked key: %d %s, want 401 at once", w.Code, w.Body)
	}
}

// A program's routes take bound tokens of the server with a proof for that very request, once.
func TestGuardDPoP(t *testing.T) {
	t.Parallel()
	p := embed(t, server.Config{Settings: map[string]string{"dpop": "true"}})
	g := p.Guard()
	p.mux.Handle("/vault", g.Require(durward.Policy{Schemes: []durward.Scheme{g.Schemes().DPoP}}, who))
	p.mux.Handle("/plain", g.Require(durward.Policy{Schemes: []durward.Scheme{g.Schemes().Token}}, who))
	key, err := jwt.GenerateKey("ES256")
	if err != nil {
		t.Fatal(err)
	}
	thief, err := jwt.GenerateKey("ES256")
	if err != nil {
		t.Fatal(err)
	}
	nonce := ""
	prove := func(key *jwt.PrivateKey, method, path, token string) string {
		t.Helper()
		proof, err := key.Prove(durward.ProofRequest{
			Method: method,
			URL:    "https://app.example.com" + path,
			Token:  token,
			Nonce:  nonce,
		})
		if err != nil {
			t.Fatal(err)
		}
		return proof
	}
	const login = "/auth/api/auth/login"
	var tokens struct {
		Access string `json:"access_token"`
		Type   string `json:"token_type"`
	}
	w := p.send("POST", login, object{"email": email, "password": password}, "DPoP", prove(key, "POST", login, ""))
	if nonce = w.Header().Get("DPoP-Nonce"); nonce == "" {
		t.Fatalf("no nonce: %d %s", w.Code, w.Body)
	}
	w = p.send("POST", login, object{"email": email, "password": password}, "DPoP", prove(key, "POST", login, ""))
	if json.Unmarshal(w.Body.Bytes(), &tokens) != nil || tokens.Type != "DPoP" {
		t.Fatalf("sign-in: %d %s", w.Code, w.Body)
	}
	ask := func(path, scheme string, proofs ...string) *httptest.ResponseRecorder {
		t.Helper()
		r := httptest.NewRequest("GET", "https://app.example.com"+path, nil)
		r.URL.Scheme, r.URL.Host = "", ""
		r.Header.Set("Authorization", scheme+" "+tokens.Access)
		for _, proof := range proofs {
			r.Header.Add("DPoP", proof)
		}
		w := httptest.NewRecorder()
		p.mux.ServeHTTP(w, r)
		return w
	}
	once := prove(key, "GET", "/vault", tokens.Access)
	for _, c := range []struct {
		name, path, scheme string
		proofs             []string
		status             int
		code               string
	}{
		{"a proof of this request", "/vault", "DPoP", []string{once}, 200, ""},
		{"the same proof again", "/vault", "DPoP", []string{once}, 401, "INVALID_PROOF"},
		{"with a query, which a proof leaves out", "/orders?page=2", "DPoP", []string{prove(key, "GET", "/orders", tokens.Access)}, 200, ""},
		{"no proof", "/vault", "DPoP", nil, 401, "INVALID_PROOF"},
		{"two proofs", "/vault", "DPoP", []string{prove(key, "GET", "/vault", tokens.Access), prove(key, "GET", "/vault", tokens.Access)}, 401, "INVALID_PROOF"},
		{"a proof of another route", "/vault", "DPoP", []string{prove(key, "GET", "/orders", tokens.Access)}, 401, "INVALID_PROOF"},
		{"a proof of another method", "/vault", "DPoP", []string{prove(key, "POST", "/vault", tokens.Access)}, 401, "INVALID_PROOF"},
		{"a proof without the token", "/vault", "DPoP", []string{prove(key, "GET", "/vault", "")}, 401, "INVALID_PROOF"},
		{"a proof by the key of a thief", "/vault", "DPoP", []string{prove(thief, "GET", "/vault", tokens.Access)}, 401, "INVALID_TOKEN"},
		{"a bound token as a plain one", "/orders", "Bearer", nil, 401, "INVALID_TOKEN"},
		{"a bound token at a route for plain ones", "/plain", "DPoP", []string{prove(key, "GET", "/plain", tokens.Access)}, 401, "UNSUPPORTED_SCHEME"},
	} {
		w := ask(c.path, c.scheme, c.proofs...)
		if w.Code != c.status || c.status == 200 && len(w.Body.String()) != 36 || !strings.Contains(w.Body.String(), c.code) {
			t.Errorf("%s: %d %s, want %d %s", c.name, w.Code, w.Body, c.status, c.code)
		}
	}
	if w := ask("/vault", "DPoP", prove(key, "GET", "/vault", tokens.Access)); w.Code != 200 {
		t.Errorf("after the refusals: %d %s", w.Code, w.Body)
	}
	r := httptest.NewRequest("POST", "https://app.example.com/auth/api/auth/logout", strings.NewReader("{}"))
	r.URL.Scheme, r.URL.Host = "", ""
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "DPoP "+tokens.Access)
	r.Header.Set("DPoP", prove(key, "POST", "/auth/api/auth/logout", tokens.Access))
	w = httptest.NewRecorder()
	p.mux.ServeHTTP(w, r)
	if w.Code != 204 {
		t.Fatalf("sign-out: %d %s", w.Code, w.Body)
	}
	if w := ask("/vault", "DPoP", prove(key, "GET", "/vault", tokens.Access)); w.Code != 401 || !strings.Contains(w.Body.String(), "TOKEN_REVOKED") {
		t.Errorf("after the sign-out: %d %s, want 401 at once", w.Code, w.Body)
	}
}

// A browser of a user without the second factor that a route needs gets a page that leads to the page that sets
// it up, and back to the route. A route for recent sign-ins leads to the step-up.
func TestGuardWantsMore(t *testing.T) {
	t.Parallel()
	p := embed(t, server.Config{})
	p.mux.Handle("/vault", p.Guard().Require(durward.Policy{Pages: true, ACR: []string{"urn:durward:acr:2fa"}}, who))
	p.mux.Handle("/orders/pay", p.Guard().Require(durward.Policy{Pages: true, MaxAge: time.Nanosecond}, who))
	cookie, _ := p.signIn()
	fields := append(navigation, cookie...)
	w := p.send("GET", "/vault?shelf=2", nil, fields...)
	const enrol = "/auth/login/enrol?return_to=%2Fvault%3Fshelf%3D2"
	if w.Code != 403 || !strings.Contains(w.Body.String(), `href="`+enrol+`"`) {
		t.Errorf("no second factor: %d %s", w.Code, w.Body)
	}
	if w := p.send("GET", enrol, nil, fields...); w.Code != 200 {
		t.Errorf("%s: %d %s", enrol, w.Code, w.Body)
	}
	w = p.send("GET", "/orders/pay?id=3", nil, fields...)
	to, _ := url.Parse(w.Header().Get("Location"))
	if w.Code != 303 || to.Path != "/auth/login" {
		t.Fatalf("old sign-in: %d to %s", w.Code, to)
	}
	w = p.send("GET", to.RequestURI(), nil, fields...)
	to, _ = url.Parse(w.Header().Get("Location"))
	if w.Code != 303 || to.Path != "/auth/step-up" || to.Query().Get("return_to") != "/orders/pay?id=3" {
		t.Fatalf("sign-in page: %d to %s", w.Code, to)
	}
	if w := p.send("GET", to.RequestURI(), nil, fields...); w.Code != 200 {
		t.Errorf("step-up: %d %s", w.Code, w.Body)
	}
}

// The server answers below its prefix and at the well-known place of its metadata, and nowhere else.
func TestPrefix(t *testing.T) {
	t.Parallel()
	p := embed(t, server.Config{})
	for path, status := range map[string]int{
		"/auth/healthz": 200,
		"/auth/login":   200,
		"/auth/":        200,
		"/authx/login":  401, // of the program
		"/login":        401,
		"/.well-known/oauth-authorization-server/auth": 200,
		"/auth/.well-known/openid-configuration":       200,
		"/.well-known/openid-configuration":            404,
		"/.well-known/jwks.json":                       404,
		"/.well-known/change-password":                 302,
		"/auth/.well-known/change-password":            302,
		"/.well-known/passkey-endpoints":               200,
		"/.well-known/passkey-endpoints/x":             404,
	} {
		if w := p.send("GET", path, nil); w.Code != status {
			t.Errorf("%s: %d, want %d", path, w.Code, status)
		}
	}
	// A password manager asks at the root of the host, and comes to the page below the prefix.
	w := p.send("GET", "/.well-known/change-password", nil)
	if to := w.Header().Get("Location"); to != "/auth/account/password" {
		t.Errorf("change-password leads to %s", to)
	}
	if w := p.send("GET", w.Header().Get("Location"), nil, navigation...); w.Code != 303 || w.Header().Get("Location") != public+"/login?return_to=%2Fauth%2Faccount%2Fpassword" {
		t.Errorf("the page of the password: %d to %s", w.Code, w.Header().Get("Location"))
	}
	w = p.send("GET", "/.well-known/passkey-endpoints", nil)
	if want := `{"enroll":"` + public + `/account/passkeys","manage":"` + public + `/account/passkeys"}`; w.Body.String() != want {
		t.Errorf("passkey-endpoints: %s, want %s", w.Body, want)
	}
	if w := p.send("POST", "/.well-known/change-password", nil); w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d, Allow %q", w.Code, w.Header().Get("Allow"))
	}
}

// A guard follows the settings: after Reload, it accepts and refuses by the new ones.
func TestReload(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "durward.toml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("basic = true\n")
	p := embed(t, server.Config{File: file})
	schemes := p.Guard().Schemes()
	if schemes.Basic == nil {
		t.Fatal("the setting basic has no effect")
	}
	p.mux.Handle("/basic", p.Guard().Require(durward.Policy{Schemes: []durward.Scheme{schemes.Basic}}, who))
	p.mux.Handle("/both", p.Guard().Require(durward.Policy{Schemes: []durward.Scheme{schemes.Basic, schemes.Cookie}}, who))
	cookie, _ := p.signIn()
	ask := func(path string, with []string, want int) {
		t.Helper()
		if w := p.send("GET", path, nil, with...); w.Code != want {
			t.Errorf("%s: %d %s, want %d", path, w.Code, w.Body, want)
		}
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.SetBasicAuth(email, password)
	basic := []string{"Authorization", r.Header.Get("Authorization")}
	ask("/basic", basic, 200)
	ask("/both", cookie, 200)

	write("nonsense = 1\nlimits.network_failures = -1\n")
	if err := p.Reload(); err == nil || !strings.Contains(err.Error(), "nonsense") || !strings.Contains(err.Error(), "network_failures") {
		t.Errorf("wrong settings: %v", err)
	}
	ask("/basic", basic, 200)

	write("basic = false\n")
	if err := p.Reload(); err != nil {
		t.Fatal(err)
	}
	ask("/basic", basic, 503) // no scheme is left, and that is no fault of the client
	ask("/both", basic, 401)
	ask("/both", cookie, 200)
	ask("/orders", basic, 401)

	write("basic = true\n")
	if err := p.Reload(); err != nil {
		t.Fatal(err)
	}
	ask("/basic", basic, 200)
	ask("/both", cookie, 200)
}

// At another host than the server's, routes take tokens, and no browser is sent to a sign-in page from which
// it would come back without a cookie.
func TestApplicationAtAnotherHost(t *testing.T) {
	t.Parallel()
	p := embed(t, server.Config{PublicURL: "https://auth.example.com/auth", Application: "https://app.example.com"})
	if w := p.send("GET", "/orders", nil, navigation...); w.Code != 401 {
		t.Errorf("a browser: %d, want 401", w.Code)
	}
	var tokens struct {
		Access string `json:"access_token"`
	}
	w := p.send("POST", "/auth/api/auth/login", object{"email": email, "password": password})
	if err := json.Unmarshal(w.Body.Bytes(), &tokens); err != nil {
		t.Fatal(err)
	}
	if w := p.send("GET", "/orders", nil, "Authorization", "Bearer "+tokens.Access); w.Code != 200 {
		t.Errorf("a token: %d %s", w.Code, w.Body)
	}
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, want string
		config     server.Config
	}{
		{"no public URL", "Config.PublicURL is empty", server.Config{}},
		{"unknown key", "nonsense is not a known key", server.Config{PublicURL: public, Settings: map[string]string{"nonsense": "x"}}},
		{"path with an encoded slash", "want a path of letters", server.Config{PublicURL: public + "/a%2Fb"}},
		{"path with a tilde", "want a path of letters", server.Config{PublicURL: public + "~x"}},
		{"plain http", "want https", server.Config{PublicURL: "http://app.example.com/auth"}},
		{"application", "Config.Application", server.Config{PublicURL: public, Application: "app"}},
	} {
		c.config.Folder, c.config.Defaults = t.TempDir(), fast
		s, err := server.New(c.config)
		if err == nil {
			err = errors.Join(errors.New("no error"), s.Close())
		}
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// The link for the first administrator is below the prefix, and there is none beside users.
func TestSetupLink(t *testing.T) {
	t.Parallel()
	s, err := server.New(server.Config{Folder: t.TempDir(), PublicURL: public, Defaults: fast})
	if err != nil {
		t.Fatal(err)
	}
	link, err := s.SetupLink(t.Context())
	if err != nil || !strings.HasPrefix(link, public+"/setup#t=") || server.SetupLife > time.Hour {
		t.Errorf("%q, %v", link, err)
	}
	if _, err := s.AddUser(t.Context(), server.User{Email: email, Password: password}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AddUser(t.Context(), server.User{Email: email, Password: password}); !errors.Is(err, durward.EmailTaken) {
		t.Errorf("the same address: %v, want EMAIL_TAKEN", err)
	}
	if link, err := s.SetupLink(t.Context()); link != "" || err != nil {
		t.Errorf("beside a user: %q, %v", link, err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// links matches the URLs of a page.
var links = regexp.MustCompile(`(?:href|src|action|data-[a-z]+)="(/[^"]*)"`)

// Every link, form and file of the pages is below the prefix, and leads to a page: for visitors, users and
// administrators.
func TestLinksUnderPrefix(t *testing.T) {
	t.Parallel()
	p := embed(t, server.Config{
		DemoPages: true,
		Settings:  map[string]string{"registration": "open", "admin.second_factor": "false"},
	})
	if _, err := p.AddUser(t.Context(), server.User{Email: "root@example.com", Password: password, Admin: true}); err != nil {
		t.Fatal(err)
	}
	user, _ := p.signIn()
	admin, _ := p.signInAs("root@example.com")
	for name, fields := range map[string][]string{"visitor": nil, "user": user, "administrator": admin} {
		seen, open := make(map[string]bool), []string{"/auth/", "/auth/login", "/auth/account", "/auth/console", "/auth/errors/", "/auth/demo/"}
		for len(open) > 0 && len(seen) < 400 {
			at := open[0]
			open = open[1:]
			if seen[at] {
				continue
			}
			seen[at] = true
			w := p.send("GET", at, nil, append(slices.Clone(fields), navigation...)...)
			page := w.Body.String()
			switch to := w.Header().Get("Location"); {
			case w.Code >= 300 && w.Code < 400:
				to = strings.TrimPrefix(to, "https://app.example.com")
				if !strings.HasPrefix(to, "/auth/") {
					t.Errorf("%s: %s redirects to %s", name, at, to)
				}
				open = append(open, to)
			case w.Code == 403 && name != "administrator", w.Code == 401:
			case w.Code == 405: // the target of a form
			case w.Code != 200:
				t.Errorf("%s: %s: %d, want a page", name, at, w.Code)
			}
			if !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
				continue
			}
			for _, m := range links.FindAllStringSubmatch(page, -1) {
				to, _, _ := strings.Cut(html.UnescapeString(m[1]), "#")
				if !strings.HasPrefix(to, "/auth/") && to != "/" {
					t.Errorf("%s: %s has the link %s, which is not below the prefix", name, at, to)
				} else if to != "/" {
					open = append(open, to)
				}
			}
		}
		t.Logf("%s: %d pages and files", name, len(seen))
		if len(seen) < 10 {
			t.Errorf("%s: found %d pages and files, want ten at least", name, len(seen))
		}
	}
}
