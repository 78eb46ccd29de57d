package nodes

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-auth/durward/internal/faults"
)

const (
	oauthIssuer   = "https://auth.example.com"
	oauthCallback = "https://app.example.com/callback"
	codeVerifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" // RFC 7636 appendix B
	codeChallenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
	atOnce        = 20 // requests
)

// application is a client of OAuth 2.0 that needs no consent, and a user with a session cookie.
type application struct {
	cl         *cluster
	t          *testing.T
	id, secret string
	cookie     string
	http       *http.Client // follows no redirects
}

// newApplication adds the client and the user. The nodes have oauthIssuer as their public URL.
func newApplication(cl *cluster) *application {
	t := cl.t
	t.Helper()
	a := &application{cl: cl, t: t, id: "app", http: clientFrom(t, "127.0.0.1")}
	a.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	var made struct {
		Secret string `json:"secret"`
	}
	n := cl.nodes[0]
	text := n.verb("", "client", "add", "App", "--id", a.id, "--trusted", "--redirect", oauthCallback, "--scope", "openid,email", "--json")
	if err := json.Unmarshal([]byte(text), &made); err != nil || made.Secret == "" {
		t.Fatalf("client add: %v\n%s", err, text)
	}
	a.secret = made.Secret
	cl.users(1)
	signedIn := n.want(200, "POST", "/api/auth/login", "", fmt.Sprintf(`{"email":"user-0@example.com","password":%q,"use_cookies":true}`, password))
	a.cookie, _, _ = strings.Cut(signedIn.header.Get("Set-Cookie"), ";")
	return a
}

// send sends a request with a cookie, or without one.
func (a *application) send(n *node, method, path, cookie string, form url.Values) (got answer, err error) {
	r, err := http.NewRequestWithContext(a.t.Context(), method, n.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		return got, err
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if cookie != "" {
		r.Header.Set("Cookie", cookie)
	} else if form.Get("response_type") == "" {
		r.SetBasicAuth(a.id, a.secret)
	}
	got.sent = time.Now()
	res, err := a.http.Do(r)
	if err != nil {
		return got, err
	}
	defer res.Body.Close()
	got.status, got.header = res.StatusCode, res.Header
	got.body, err = io.ReadAll(res.Body)
	return got, err
}

func authorization() url.Values {
	return url.Values{
		"client_id": {"app"}, "redirect_uri": {oauthCallback}, "response_type": {"code"}, "scope": {"openid email"}, "state": {"a state"},
		"code_challenge": {codeChallenge}, "code_challenge_method": {"S256"},
	}
}

// codeOf returns the code of a redirect to the client, or "".
func codeOf(got answer) string {
	to, err := url.Parse(got.header.Get("Location"))
	if err != nil || got.status != http.StatusSeeOther || !strings.HasPrefix(to.String(), oauthCallback+"?") {
		return ""
	}
	return to.Query().Get("code")
}

func (a *application) authorize(n *node) (answer, error) {
	return a.send(n, "GET", "/oauth/authorize?"+authorization().Encode(), a.cookie, nil)
}

// newCode returns a code for the user of the cookie.
func (a *application) newCode(n *node) string {
	a.t.Helper()
	got, err := a.authorize(n)
	if err != nil || codeOf(got) == "" {
		a.t.Fatalf("authorize at node %s: %v %d %s %s", n.name, err, got.status, got.header.Get("Location"), got.body)
	}
	return codeOf(got)
}

func (a *application) useCode(n *node, code string) (answer, error) {
	return a.send(n, "POST", "/oauth/token", "", url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {oauthCallback}, "code_verifier": {codeVerifier},
	})
}

func (a *application) refresh(n *node, token string) (answer, error) {
	return a.send(n, "POST", "/oauth/token", "", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}})
}

// wantError checks an error of the token endpoint.
func (a *application) wantError(what string, got answer, err error, status int, code string) {
	a.t.Helper()
	if err != nil || got.status != status || got.member("error") != code {
		a.t.Errorf("%s: got %v %d %s, want %d %s", what, err, got.status, got.body, status, code)
	}
}

// wantTokens returns the tokens of a response.
func (a *application) wantTokens(what string, got answer, err error) session {
	a.t.Helper()
	s := session{got.member("access_token"), got.member("refresh_token")}
	if err != nil || got.status != 200 || s.access == "" || s.refresh == "" {
		a.t.Fatalf("%s: got %v %d %s, want tokens", what, err, got.status, got.body)
	}
	return s
}

// wantEnded checks that no node accepts the tokens of a session of the application, within maxDelay.
func (a *application) wantEnded(what string, s session, since time.Time) {
	a.t.Helper()
	for _, n := range a.cl.nodes {
		got, err := a.refresh(n, s.refresh)
		a.wantError(what+": refresh", got, err, 400, "invalid_grant")
		late := time.Duration(0)
		a.cl.eventually(func() error {
			got, err := ask(a.http, n, "GET", "/oauth/userinfo", s.access, "")
			if err == nil && got.status == 401 {
				return nil
			}
			late = got.sent.Sub(since)
			return fmt.Errorf("%s: node %s answers %d to the access token, %v", what, n.name, got.status, err)
		})
		if late > maxDelay {
			a.t.Errorf("%s: node %s accepted the access token for %s, want at most %s", what, n.name, late, maxDelay)
		}
	}
}

// together sends requests at once, in turn to each node, and kills one of the nodes meanwhile if it is not nil. It
// returns the responses; a request to the killed node may have none. The killed node runs again at the end.
func (a *application) together(victim *node, send func(n *node) (answer, error)) (got []answer) {
	a.t.Helper()
	answers, errs := make([]answer, atOnce), make([]error, atOnce)
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() {
			<-start
			answers[i], errs[i] = send(a.cl.nodes[i%len(a.cl.nodes)])
		})
	}
	close(start)
	if victim != nil {
		pause(150 * time.Millisecond)
		victim.kill()
	}
	all.Wait()
	if victim != nil {
		victim.start()
	}
	for i, err := range errs {
		if n := a.cl.nodes[i%len(a.cl.nodes)]; err == nil {
			got = append(got, answers[i])
		} else if n != victim {
			a.t.Errorf("node %s, which was not killed: %v", n.name, err)
		}
	}
	return got
}

// replays returns the number of events of codes that were used twice.
func (a *application) replays() int {
	a.t.Helper()
	return strings.Count(a.cl.newest().verb("", "event", "list", "--kind", "code_replayed", "--since", "24h", "--json"), `"code_replayed"`)
}

// TestApplicationThroughKills uses codes, stored authorization requests and refresh tokens many times at once at
// two nodes, and kills a node meanwhile. Codes and requests give one success; no client loses tokens that it got.
func TestApplicationThroughKills(t *testing.T) {
	t.Parallel()
	for _, w := range channels[:2] {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			w.nodes = 2
			w.env = []string{"DURWARD_PUBLIC_URL=" + oauthIssuer, "DURWARD_TOKENS_REFRESH_GRACE=30s"}
			cl := newCluster(t, w.clusterConfig)
			a := newApplication(cl)
			a.megabyteOfState()
			lost := 0
			for i := range rounds(30) {
				victim, other := cl.nodes[i%2], cl.nodes[(i+1)%2]
				a.codesAtOnce(nil)
				lost += a.codesAtOnce(victim)
				a.codeBeforeKill(victim, other)
				lost += a.requestsAtOnce(victim)
				a.refreshesAtOnce(victim)
				if t.Failed() {
					t.Fatalf("round %d\n%s\n%s", i, victim.stderr, other.stderr)
				}
			}
			t.Logf("%d successes had no response, because their node was killed", lost)
			if w.postgres {
				a.commitsLost()
				a.outage()
			}
		})
	}
}

// megabyteOfState sends state of a megabyte: it is refused, not redirected and not stored.
func (a *application) megabyteOfState() {
	a.t.Helper()
	form := authorization()
	form.Set("state", strings.Repeat("x", 1<<20))
	n := a.cl.nodes[0]
	for method, want := range map[string]int{"GET": http.StatusRequestHeaderFieldsTooLarge, "POST": http.StatusBadRequest} {
		path, body := "/oauth/authorize", form
		if method == "GET" {
			path, body = path+"?"+form.Encode(), nil
		}
		got, err := a.send(n, method, path, a.cookie, body)
		if err != nil || got.status != want || got.header.Get("Location") != "" || method == "POST" && got.header.Get("Cache-Control") != "no-store" {
			a.t.Errorf("%s with a megabyte of state: got %v %d %v, want %d", method, err, got.status, got.header, want)
		}
	}
}

// codesAtOnce uses one code many times at once. It returns 1 if the response of the success was lost.
func (a *application) codesAtOnce(victim *node) (lost int) {
	a.t.Helper()
	before := a.replays()
	code := a.newCode(a.cl.nodes[0])
	answers := a.together(victim, func(n *node) (answer, error) { return a.useCode(n, code) })
	for _, n := range a.cl.nodes {
		got, err := a.useCode(n, code)
		if err != nil {
			a.t.Fatal(err)
		}
		answers = append(answers, got)
	}
	done := time.Now()
	var given []session
	for _, got := range answers {
		if got.status == 200 {
			given = append(given, a.wantTokens("a code", got, nil))
		} else {
			a.wantError("a used code", got, nil, 400, "invalid_grant")
		}
	}
	if len(given) > 1 || victim == nil && len(given) == 0 {
		a.t.Errorf("a code at once: %d of %d uses gave tokens, want 1", len(given), len(answers))
	}
	for _, s := range given {
		a.wantEnded("after the second use", s, done)
	}
	if n := a.replays() - before; n != 1 {
		a.t.Errorf("a code at once: %d events of its second use, want 1", n)
	}
	return 1 - len(given)
}

// codeBeforeKill kills a node at once after its response to a code. The other node has to know its tokens, and
// that the code was used.
func (a *application) codeBeforeKill(victim, other *node) {
	a.t.Helper()
	before := a.replays()
	code := a.newCode(victim)
	got, err := a.useCode(victim, code)
	victim.kill()
	s := a.wantTokens("a code before the kill", got, err)
	got, err = a.refresh(other, s.refresh)
	s = a.wantTokens("refresh after the kill", got, err)
	other.want(200, "GET", "/oauth/userinfo", s.access, "")
	victim.start()
	victim.want(200, "GET", "/oauth/userinfo", s.access, "")
	got, err = a.useCode(victim, code)
	a.wantError("a code used before the kill", got, err, 400, "invalid_grant")
	a.wantEnded("after the second use", s, time.Now())
	if n := a.replays() - before; n != 1 {
		a.t.Errorf("a code used before the kill: %d events of its second use, want 1", n)
	}
}

// requestsAtOnce continues a stored authorization request many times at once. It returns 1 if the response of the
// success was lost.
func (a *application) requestsAtOnce(victim *node) (lost int) {
	a.t.Helper()
	stored, err := a.send(a.cl.nodes[0], "POST", "/oauth/authorize", "", authorization())
	to := strings.TrimPrefix(stored.header.Get("Location"), oauthIssuer)
	if err != nil || stored.status != http.StatusSeeOther || !strings.HasPrefix(to, "/oauth/continue?r=") {
		a.t.Fatalf("POST /oauth/authorize: %v %d %s", err, stored.status, stored.body)
	}
	var browser [32]byte
	_, _ = rand.Read(browser[:]) // never fails
	cookies := a.cookie + "; __Host-durward-oauth=" + base64.RawURLEncoding.EncodeToString(browser[:])
	resume := func(n *node) (answer, error) { return a.send(n, "GET", to, cookies, nil) }
	answers := a.together(victim, resume)
	for _, n := range a.cl.nodes {
		got, err := resume(n)
		if err != nil {
			a.t.Fatal(err)
		}
		answers = append(answers, got)
	}
	var codes []string
	for _, got := range answers {
		if code := codeOf(got); code != "" {
			codes = append(codes, code)
		} else if got.status != http.StatusBadRequest {
			a.t.Errorf("a request that was answered: got %d %s, want 400", got.status, got.header.Get("Location"))
		}
	}
	if len(codes) > 1 {
		a.t.Errorf("a request at once: %d codes, want 1", len(codes))
	}
	for _, code := range codes {
		got, err := a.useCode(a.cl.nodes[1], code)
		a.wantTokens("the code of a request", got, err)
	}
	return 1 - len(codes)
}

// refreshesAtOnce uses a refresh token of the application many times at once. All responses have the same next
// token, and the client can go on.
func (a *application) refreshesAtOnce(victim *node) {
	a.t.Helper()
	got, err := a.useCode(victim, a.newCode(victim))
	held := a.wantTokens("a code", got, err).refresh
	next := ""
	for _, got := range a.together(victim, func(n *node) (answer, error) { return a.refresh(n, held) }) {
		s := a.wantTokens("a refresh at once", got, nil)
		if next != "" && s.refresh != next {
			a.t.Error("refreshes at once: two different tokens")
		}
		next = s.refresh
	}
	if next == "" {
		next = held // every response was lost
	}
	for _, n := range a.cl.nodes {
		got, err := a.refresh(n, next)
		next = a.wantTokens("a refresh after the kill", got, err).refresh
	}
}

// commitsLost cuts connections between a COMMIT and its response, so that nodes have to find out whether a code or
// request was spent. The client gets its tokens.
func (a *application) commitsLost() {
	a.t.Helper()
	n := a.cl.nodes[0]
	events := a.replays()
	losing := func(send func() (answer, error)) (answer, error) {
		var once atomic.Bool
		n.database.Lose(func(answer []byte) bool { return faults.Committed(answer) && once.CompareAndSwap(false, true) })
		defer n.database.Heal()
		return send()
	}
	lost := n.database.Lost()
	for range rounds(50) {
		got, err := losing(func() (answer, error) { return a.authorize(n) })
		code := codeOf(got)
		if err != nil || code == "" {
			a.t.Fatalf("authorize whose COMMIT is lost: %v %d %s\n%s", err, got.status, got.body, n.stderr)
		}
		got, err = losing(func() (answer, error) { return a.useCode(n, code) })
		s := a.wantTokens("a code whose COMMIT is lost", got, err)
		got, err = losing(func() (answer, error) { return a.refresh(n, s.refresh) })
		s = a.wantTokens("a refresh whose COMMIT is lost", got, err)
		got, err = a.refresh(a.cl.nodes[1], s.refresh)
		a.wantTokens("the next refresh", got, err)
	}
	if lost = n.database.Lost() - lost; lost < rounds(50) {
		a.t.Errorf("lost responses to COMMIT: got %d, want at least %d", lost, rounds(50))
	}
	if got := a.replays(); got != events {
		a.t.Errorf("%d events of codes used twice, want none", got-events)
	}
}

// outage kills Postgres. Every endpoint answers 503 with Retry-After, and afterwards the user is signed in and the
// client has its code and tokens.
func (a *application) outage() {
	t := a.t
	t.Helper()
	n := a.cl.nodes[0]
	code := a.newCode(n)
	got, err := a.useCode(n, a.newCode(n))
	s := a.wantTokens("a code", got, err)
	stored, err := a.send(n, "POST", "/oauth/authorize", "", authorization())
	if err != nil || stored.status != http.StatusSeeOther {
		t.Fatalf("POST /oauth/authorize: %v %d", err, stored.status)
	}
	request := strings.TrimPrefix(stored.header.Get("Location"), oauthIssuer)
	silent := authorization()
	silent.Set("prompt", "none")

	a.cl.postgres.Kill(t)
	var all sync.WaitGroup
	for _, c := range []struct {
		name string
		send func() (answer, error)
		want string // error in the body; empty for a page
	}{
		{"a code", func() (answer, error) { return a.useCode(n, code) }, "temporarily_unavailable"},
		{"a refresh", func() (answer, error) { return a.refresh(n, s.refresh) }, "temporarily_unavailable"},
		{"client_credentials", func() (answer, error) {
			return a.send(n, "POST", "/oauth/token", "", url.Values{"grant_type": {"client_credentials"}})
		}, "temporarily_unavailable"},
		{"revoke", func() (answer, error) {
			return a.send(n, "POST", "/oauth/revoke", "", url.Values{"token": {s.refresh}})
		}, "temporarily_unavailable"},
		{"introspect", func() (answer, error) {
			return a.send(n, "POST", "/oauth/introspect", "", url.Values{"token": {s.access}})
		}, "temporarily_unavailable"},
		{"userinfo", func() (answer, error) { return ask(a.http, n, "GET", "/oauth/userinfo", s.access, "") }, ""},
		{"authorize", func() (answer, error) { return a.authorize(n) }, ""},
		{"authorize, prompt=none", func() (answer, error) {
			return a.send(n, "GET", "/oauth/authorize?"+silent.Encode(), a.cookie, nil)
		}, ""},
		{"POST of authorize", func() (answer, error) { return a.send(n, "POST", "/oauth/authorize", "", authorization()) }, ""},
		{"continue", func() (answer, error) { return a.send(n, "GET", request, a.cookie, nil) }, ""},
		{"consent", func() (answer, error) {
			return a.send(n, "GET", strings.Replace(request, "continue", "consent", 1), a.cookie, nil)
		}, ""},
		{"choice of the account", func() (answer, error) {
			return a.send(n, "GET", strings.Replace(request, "continue", "account", 1), a.cookie, nil)
		}, ""},
	} {
		all.Go(func() {
			got, err := c.send()
			if err != nil || got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" || got.header.Get("Location") != "" || got.header.Get("Set-Cookie") != "" {
				t.Errorf("%s without Postgres: got %v %d %v, want 503 with Retry-After alone", c.name, err, got.status, got.header)
			} else if c.want != "" && got.member("error") != c.want {
				t.Errorf("%s without Postgres: got %s, want %s", c.name, got.body, c.want)
			}
		})
	}
	all.Wait()
	if got, err := ask(a.http, n, "GET", "/.well-known/openid-configuration", "", ""); err != nil || got.status != 200 {
		t.Errorf("metadata without Postgres: %v %d", err, got.status)
	}
	a.cl.postgres.Start(t)
	a.cl.waitUntilReady()

	n.want(200, "GET", "/oauth/userinfo", s.access, "")
	got, err = a.refresh(n, s.refresh)
	a.wantTokens("the refresh token after the outage", got, err)
	if got, err = a.useCode(n, code); time.Since(stored.sent) < time.Minute/2 || got.status == 200 {
		a.wantTokens("the code after the outage", got, err)
	} // else the code may have expired
	a.newCode(n) // the user is signed in
}
