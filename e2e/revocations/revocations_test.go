package revocations

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/jwt"
	"github.com/durward-auth/durward/server/servertest"
)

const password = "plenty of words in a row"

// front stands before a server, and can be away.
type front struct {
	*httptest.Server
	to     atomic.Pointer[httputil.ReverseProxy]
	key    atomic.Pointer[string]
	status atomic.Int64 // answered in its place; 0 is none, 1 cuts the connection
	whole  atomic.Bool  // only to who asks for everything
	asked  atomic.Int64
	denied atomic.Int64 // how often status was the answer
}

func newFront(t *testing.T) *front {
	t.Helper()
	f := new(front)
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.asked.Add(1)
		status := int(f.status.Load())
		if f.whole.Load() && r.URL.Query().Get("after") != "0" {
			status = 0
		}
		if status != 0 {
			f.denied.Add(1)
		}
		switch status {
		case 0:
			f.to.Load().ServeHTTP(w, r)
		case 1:
			panic(http.ErrAbortHandler)
		default:
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(status)
		}
	}))
	t.Cleanup(f.Close)
	return f
}

// shows has the front show a server, whose revocations may be followed with a key.
func (f *front) shows(t *testing.T, s *servertest.Server) {
	t.Helper()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	key := s.AddKey(s.AddPerson(fmt.Sprintf("root%d@example.com", time.Now().UnixNano()), password, true), "revocations")
	f.key.Store(&key)
	f.to.Store(&httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(u) }, // without forwarding fields
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(502) },
	})
}

// follow returns revocations that are followed until the test ends.
func follow(t *testing.T, f *front, wait time.Duration) *api.Revocations {
	t.Helper()
	r, err := api.NewRevocations(t.Context(), api.Config{URL: f.URL, Wait: wait, Log: slog.New(slog.DiscardHandler),
		Token: func(context.Context) (string, error) { return *f.key.Load(), nil }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx) })
	t.Cleanup(func() { stop(); running.Wait() })
	return r
}

// service is an application that takes the tokens of a server.
func service(t *testing.T, issuer string, r *api.Revocations, p durward.Policy) *httptest.Server {
	t.Helper()
	keys, err := jwt.NewRemoteKeys(jwt.RemoteConfig{URL: issuer + "/.well-known/jwks.json"})
	if err != nil {
		t.Fatal(err)
	}
	v, err := jwt.New(jwt.Config{Issuer: issuer, Audience: []string{issuer}, Keys: keys, Revoked: r.Check, RevokedAsOf: r.AsOf})
	if err != nil {
		t.Fatal(err)
	}
	g, err := durward.New(durward.Config{Schemes: []durward.Scheme{v.Scheme()}})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(g.Require(p, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	t.Cleanup(s.Close)
	return s
}

func ask(t *testing.T, method, url, token string) int {
	t.Helper()
	r, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
}

// until polls until ok or fails.
func until(t *testing.T, what string, ok func() bool) (took time.Duration) {
	t.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) > 20*time.Second {
			t.Fatalf("%s: not within 20 s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(began)
}

// What is signed out at the server is refused at an application, for which nobody is
// asked in each request.
func TestRevokedThereIsDeadHere(t *testing.T) {
	t.Parallel()
	auth, f := servertest.New(t), newFront(t)
	f.shows(t, auth)
	auth.AddPerson("ada@example.com", password, false)
	app := service(t, auth.URL, follow(t, f, 5*time.Second), durward.Policy{})
	var times []time.Duration
	for range 100 {
		token, _ := auth.SignIn("ada@example.com", password)
		if status := ask(t, "GET", app.URL, token); status != 200 {
			t.Fatalf("a good token: %d", status)
		}
		if status := ask(t, "POST", auth.URL+"/api/auth/logout", token); status != 204 {
			t.Fatalf("sign-out: %d", status)
		}
		times = append(times, until(t, "the token is refused", func() bool { return ask(t, "GET", app.URL, token) == 401 }))
	}
	slices.Sort(times)
	t.Logf("100 tokens were refused elsewhere after a median of %s, at worst %s", times[50].Round(time.Millisecond), times[99].Round(time.Millisecond))
}

// While the server is away the last list serves, and routes that want fresh news say
// that they have none. When it is back, all is well, and what happened meanwhile known.
func TestServerAway(t *testing.T) {
	t.Parallel()
	auth, f := servertest.New(t), newFront(t)
	f.shows(t, auth)
	auth.AddPerson("ada@example.com", password, false)
	r := follow(t, f, time.Second)
	plain, fresh := service(t, auth.URL, r, durward.Policy{}), service(t, auth.URL, r, durward.Policy{Freshness: 2 * time.Second})
	good, _ := auth.SignIn("ada@example.com", password)
	dead, _ := auth.SignIn("ada@example.com", password)
	later, _ := auth.SignIn("ada@example.com", password)
	ask(t, "POST", auth.URL+"/api/auth/logout", dead)
	until(t, "the first is refused", func() bool { return ask(t, "GET", plain.URL, dead) == 401 })
	for name, status := range map[string]int64{"cut off": 1, "told to wait": 503, "told to slow down": 429, "refused": 401, "nonsense": 200} {
		until(t, name+": fresh before", func() bool { return ask(t, "GET", fresh.URL, good) == 200 })
		f.status.Store(status)
		f.CloseClientConnections()
		until(t, name+": no fresh news", func() bool { return ask(t, "GET", fresh.URL, good) == 503 })
		if a, b := ask(t, "GET", plain.URL, good), ask(t, "GET", plain.URL, dead); a != 200 || b != 401 {
			t.Errorf("%s: %d for a good token and %d for a revoked one", name, a, b)
		}
		f.status.Store(0)
	}
	until(t, "fresh again", func() bool { return ask(t, "GET", fresh.URL, good) == 200 })
	f.status.Store(1)
	f.CloseClientConnections()
	ask(t, "POST", auth.URL+"/api/auth/logout", later)
	f.status.Store(0)
	until(t, "what ended meanwhile", func() bool { return ask(t, "GET", plain.URL, later) == 401 })
}

// Another server's feed in the place of the first, as after a restore: all of it is
// read, and what was revoked stays so.
func TestAnotherEpoch(t *testing.T) {
	t.Parallel()
	first, second, f := servertest.New(t), servertest.New(t), newFront(t)
	first.AddPerson("ada@example.com", password, false)
	second.AddPerson("bob@example.com", password, false)
	f.shows(t, first)
	ada, _ := first.SignIn("ada@example.com", password)
	bob, _ := second.SignIn("bob@example.com", password)
	for range 3 { // its numbers go further than the second's
		token, _ := first.SignIn("ada@example.com", password)
		ask(t, "POST", first.URL+"/api/auth/logout", token)
	}
	ask(t, "POST", first.URL+"/api/auth/logout", ada)
	ask(t, "POST", second.URL+"/api/auth/logout", bob)
	r := follow(t, f, time.Second)
	adas, bobs := service(t, first.URL, r, durward.Policy{}), service(t, second.URL, r, durward.Policy{})
	until(t, "of the first", func() bool { return ask(t, "GET", adas.URL, ada) == 401 })
	if status := ask(t, "GET", bobs.URL, bob); status != 200 {
		t.Fatalf("of the second, before: %d", status)
	}
	f.shows(t, second)
	f.CloseClientConnections()
	until(t, "of the second", func() bool { return ask(t, "GET", bobs.URL, bob) == 401 })
	if status := ask(t, "GET", adas.URL, ada); status != 401 {
		t.Errorf("of the first, after: %d", status)
	}
}

// While all of another epoch cannot be read, no news is fresh, and nobody is hammered.
func TestAnotherEpochCannotBeRead(t *testing.T) {
	t.Parallel()
	first, second, f := servertest.New(t), servertest.New(t), newFront(t)
	f.shows(t, first)
	for _, s := range []*servertest.Server{first, second} {
		s.AddPerson("ada@example.com", password, false)
		token, _ := s.SignIn("ada@example.com", password)
		ask(t, "POST", s.URL+"/api/auth/logout", token)
	}
	r := follow(t, f, time.Second)
	until(t, "of the first", func() bool { return r.Len() == 1 })
	f.whole.Store(true)
	f.status.Store(500)
	f.shows(t, second)
	f.CloseClientConnections()
	until(t, "the first failure", func() bool { return f.denied.Load() > 1 })
	asOf, asked, began := r.AsOf(), f.asked.Load(), time.Now()
	time.Sleep(2 * time.Second)
	if n := f.asked.Load() - asked; !r.AsOf().Equal(asOf) || n > 12 {
		t.Errorf("in %s of failures: %d questions, and the list is said to be %s younger", time.Since(began), n, r.AsOf().Sub(asOf))
	}
	f.status.Store(0)
	until(t, "of the second", func() bool { return r.AsOf().After(began) })
}

// A quiet feed is asked once for each wait, a broken one at a slackening pace.
func TestNobodyIsHammered(t *testing.T) {
	t.Parallel()
	auth, f := servertest.New(t), newFront(t)
	f.shows(t, auth)
	follow(t, f, time.Second)
	count := func(of time.Duration) int64 {
		before := f.asked.Load()
		time.Sleep(of)
		return f.asked.Load() - before
	}
	if n := count(3 * time.Second); n < 2 || n > 5 {
		t.Errorf("quiet, %d questions in 3 s with a wait of 1 s", n)
	}
	for _, status := range []int64{1, 401, 200, 304, 429} {
		f.status.Store(status)
		f.CloseClientConnections()
		if n := count(2 * time.Second); n > 6 {
			t.Errorf("%d: %d questions in 2 s", status, n)
		}
	}
}

// NewRevocations says why there is no list, and waits for none.
func TestNoList(t *testing.T) {
	t.Parallel()
	auth := servertest.New(t)
	id := auth.AddPerson("ada@example.com", password, true)
	nothing := func(context.Context) (string, error) { return "", errors.New("the vault is shut") }
	with := func(key string) func(context.Context) (string, error) {
		return func(context.Context) (string, error) { return key, nil }
	}
	away := httptest.NewServer(http.NotFoundHandler())
	away.Close()
	var leaked atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { leaked.Add(1) }))
	defer other.Close()
	redirects := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer redirects.Close()
	huge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	}))
	defer huge.Close()
	for _, c := range []struct {
		name   string
		config api.Config
		want   string
	}{
		{"nothing", api.Config{Wait: 1}, "no Token"},
		{"a wait out of bounds", api.Config{URL: auth.URL, Token: nothing, Wait: time.Minute}, "Wait is 1m0s"},
		{"plain http", api.Config{URL: "http://auth.example.com", Token: nothing}, "use https"},
		{"a path", api.Config{URL: "https://auth.example.com/api", Token: nothing}, "an origin only"},
		{"no credentials", api.Config{URL: auth.URL, Token: nothing}, "the vault is shut"},
		{"garbage", api.Config{URL: auth.URL, Token: with("garbage")}, "401 INVALID_TOKEN"},
		{"another scope", api.Config{URL: auth.URL, Token: with(auth.AddKey(id, "profile", "admin"))}, "403 INSUFFICIENT_SCOPE"},
		{"away", api.Config{URL: away.URL, Token: with("k")}, "refused"},
		{"elsewhere", api.Config{URL: redirects.URL, Token: with("k")}, "307"},
		{"no server of ours", api.Config{URL: other.URL, Token: with("k")}, "is that a Durward server?"},
		{"without an end", api.Config{URL: huge.URL, Token: with("k")}, "more than"},
	} {
		c.config.Log = slog.New(slog.DiscardHandler)
		r, err := api.NewRevocations(t.Context(), c.config)
		if err == nil || r != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if c.name == "elsewhere" && leaked.Load() != 0 {
			t.Errorf("%s: credentials crossed a redirect", c.name)
		}
	}
}

// A thousand followers wait at once, and one sign-out reaches all of them.
func TestAThousandWait(t *testing.T) {
	t.Parallel()
	auth := servertest.New(t)
	key := auth.AddKey(auth.AddPerson("root@example.com", password, true), "revocations")
	auth.AddPerson("ada@example.com", password, false)
	token, _ := auth.SignIn("ada@example.com", password)
	client, err := api.NewClient(api.ClientConfig{URL: auth.URL, Token: func(context.Context) (string, error) { return key, nil },
		HTTP: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1000}}})
	if err != nil {
		t.Fatal(err)
	}
	start, err := client.Revocations(t.Context(), 0, 0, "")
	if err != nil || start.ETag == "" {
		t.Fatalf("%+v, %v", start, err)
	}
	const many = 1000
	var waiting sync.WaitGroup
	var heard atomic.Int64
	for range many {
		waiting.Go(func() {
			n, err := client.Revocations(t.Context(), start.Page.Next, 30*time.Second, start.ETag)
			if err != nil || n.Unchanged || len(n.Page.Items) != 1 || n.Page.Items[0].Kind != "sid" {
				t.Errorf("%+v, %v", n, err)
				return
			}
			heard.Add(1)
		})
	}
	until(t, "all wait", func() bool { return auth.Waiting() == many })
	ask(t, "POST", auth.URL+"/api/auth/logout", token)
	waiting.Wait()
	if heard.Load() != many {
		t.Errorf("%d of %d heard of it", heard.Load(), many)
	}
}
