package revocations

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/client"
	"github.com/durward-auth/durward/jwt"
	"github.com/durward-auth/durward/server/servertest"
)

const password = "plenty of words in a row"

// network connects the servers and clients of a test in memory. Unlike sockets, its connections
// work in a synctest bubble: time passes there when all goroutines wait.
type network struct {
	t      *testing.T
	client *http.Client
	mu     sync.Mutex
	hosts  map[string]*listener
}

func newNetwork(t *testing.T) *network {
	n := &network{t: t, hosts: make(map[string]*listener)}
	transport := &http.Transport{DialContext: n.dial}
	n.client = &http.Client{Transport: transport}
	t.Cleanup(transport.CloseIdleConnections)
	return n
}

func (n *network) dial(ctx context.Context, _, address string) (net.Conn, error) {
	n.mu.Lock()
	l := n.hosts[address]
	n.mu.Unlock()
	ours, theirs := net.Pipe()
	select {
	case l.conns <- conn{theirs}:
		return conn{ours}, nil
	case <-l.closed:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// serve serves h until the test ends and returns its URL.
func (n *network) serve(h http.Handler) *httptest.Server {
	n.mu.Lock()
	l := &listener{make(chan net.Conn), make(chan struct{}), sync.Once{}}
	address := fmt.Sprintf("127.0.0.1:%d", 1+len(n.hosts))
	n.hosts[address] = l
	n.mu.Unlock()
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: h}}
	s.Start()
	s.URL = "http://" + address
	n.t.Cleanup(s.Close)
	return s
}

// start starts a Durward server.
func (n *network) start() *servertest.Server {
	var s *servertest.Server
	front := n.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.Handler.ServeHTTP(w, r) }))
	s = servertest.NewAt(n.t, front.URL)
	return s
}

type listener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *listener) Addr() net.Addr { return loopback }

// conn is a pipe with addresses as of TCP.
type conn struct{ net.Conn }

var loopback = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1024}

func (conn) LocalAddr() net.Addr  { return loopback }
func (conn) RemoteAddr() net.Addr { return loopback }

// front is a reverse proxy before a server. It can fail instead of forwarding.
type front struct {
	*httptest.Server
	net      *network
	to       atomic.Pointer[httputil.ReverseProxy]
	key      atomic.Pointer[string]
	status   atomic.Int64 // the answer to each request; 0: forward it, 1: cut the connection
	whole    atomic.Bool  // status answers only requests for the whole list
	requests atomic.Int64
	failed   atomic.Int64 // requests answered by status
}

func (n *network) front() *front {
	f := &front{net: n}
	f.Server = n.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.requests.Add(1)
		status := int(f.status.Load())
		if f.whole.Load() && r.URL.Query().Get("after") != "0" {
			status = 0
		}
		if status != 0 {
			f.failed.Add(1)
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
	return f
}

// forward makes the front forward to s, with a key to follow its revocations.
func (f *front) forward(s *servertest.Server) {
	f.net.t.Helper()
	u, err := url.Parse(s.URL)
	if err != nil {
		f.net.t.Fatal(err)
	}
	key := s.AddKey(s.AddUser(fmt.Sprintf("root%d@example.com", f.requests.Load()), password, true), "revocations")
	f.key.Store(&key)
	f.to.Store(&httputil.ReverseProxy{
		Transport:    f.net.client.Transport,
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(u) }, // without forwarding fields
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(502) },
	})
}

// follow follows the revocations of the front's server until the test ends.
func follow(f *front, wait time.Duration) *api.Revocations {
	t := f.net.t
	t.Helper()
	r, err := api.NewRevocations(t.Context(), api.Config{
		URL:   f.URL,
		Token: func(context.Context) (string, error) { return *f.key.Load(), nil },
		HTTP:  f.net.client,
		Wait:  wait,
		Log:   slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx) })
	t.Cleanup(func() { stop(); running.Wait() })
	return r
}

// service serves an application that accepts the tokens of an issuer, and returns its URL.
func (n *network) service(issuer string, r *api.Revocations, p durward.Policy) string {
	n.t.Helper()
	keys, err := jwt.NewRemoteKeys(jwt.RemoteConfig{URL: issuer + "/.well-known/jwks.json", Client: n.client})
	if err != nil {
		n.t.Fatal(err)
	}
	v, err := jwt.New(jwt.Config{Issuer: issuer, Audience: []string{issuer}, Keys: keys, Revoked: r.Check, RevokedAsOf: r.AsOf})
	if err != nil {
		n.t.Fatal(err)
	}
	g, err := durward.New(durward.Config{Schemes: []durward.Scheme{v.Scheme()}})
	if err != nil {
		n.t.Fatal(err)
	}
	return n.serve(g.Require(p, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))).URL
}

// get and signOut send a request with a token and return the status.
func (n *network) get(url, token string) int { return send(n.t, n.client, "GET", url, token) }
func (n *network) signOut(s *servertest.Server, token string) int {
	return send(n.t, n.client, "POST", s.URL+"/api/auth/logout", token)
}

func send(t *testing.T, c *http.Client, method, url, token string) int {
	t.Helper()
	r, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	res, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
}

// until polls until ok and returns how long that took. It fails after 20 s.
func until(t *testing.T, what string, ok func() bool) (took time.Duration) {
	t.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) > 2*time.Minute {
			t.Fatalf("%s: not within 2 min", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(began)
}

// A token that is revoked at the server is refused by an application within a second, which asks
// the server nothing during its requests.
func TestRevokedWithinASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		auth, f := n.start(), n.front()
		f.forward(auth)
		auth.AddUser("ada@example.com", password, false)
		app := n.service(auth.URL, follow(f, 5*time.Second), durward.Policy{})
		var times []time.Duration
		for range 100 {
			token, _ := auth.SignIn("ada@example.com", password)
			if status := n.get(app, token); status != 200 {
				t.Fatalf("valid token: got %d, want 200", status)
			}
			if status := n.signOut(auth, token); status != 204 {
				t.Fatalf("sign-out: got %d, want 204", status)
			}
			times = append(times, until(t, "the token is refused", func() bool { return n.get(app, token) == 401 }))
		}
		slices.Sort(times)
		if times[99] > time.Second {
			t.Errorf("100 revoked tokens: refused after up to %s, want at most 1s", times[99])
		}
	})
}

// While the server is away the last list is used, and routes with a Freshness answer 503. When the
// server is back, the routes work and the revocations made meanwhile are known.
func TestServerAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		auth, f := n.start(), n.front()
		f.forward(auth)
		auth.AddUser("ada@example.com", password, false)
		r := follow(f, time.Second)
		plain, fresh := n.service(auth.URL, r, durward.Policy{}), n.service(auth.URL, r, durward.Policy{Freshness: 2 * time.Second})
		valid, _ := auth.SignIn("ada@example.com", password)
		revoked, _ := auth.SignIn("ada@example.com", password)
		later, _ := auth.SignIn("ada@example.com", password)
		n.signOut(auth, revoked)
		until(t, "revoked token: 401", func() bool { return n.get(plain, revoked) == 401 })
		for name, status := range map[string]int64{"connection cut": 1, "unavailable": 503, "too many requests": 429, "unauthorized": 401, "no list in the body": 200} {
			until(t, name+": before: fresh route 200", func() bool { return n.get(fresh, valid) == 200 })
			f.status.Store(status)
			f.CloseClientConnections()
			until(t, name+": fresh route 503", func() bool { return n.get(fresh, valid) == 503 })
			if got, want := [2]int{n.get(plain, valid), n.get(plain, revoked)}, [2]int{200, 401}; got != want {
				t.Errorf("%s: valid and revoked token: got %d, want %d", name, got, want)
			}
			f.status.Store(0)
		}
		until(t, "server back: fresh route 200", func() bool { return n.get(fresh, valid) == 200 })
		f.status.Store(1)
		f.CloseClientConnections()
		n.signOut(auth, later)
		f.status.Store(0)
		until(t, "token revoked meanwhile: 401", func() bool { return n.get(plain, later) == 401 })
	})
}

// The feed of another server takes the place of the first, as after a restore: all of it is read,
// and tokens that were revoked before stay revoked.
func TestAnotherEpoch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		first, second, f := n.start(), n.start(), n.front()
		first.AddUser("ada@example.com", password, false)
		second.AddUser("bob@example.com", password, false)
		f.forward(first)
		ada, _ := first.SignIn("ada@example.com", password)
		bob, _ := second.SignIn("bob@example.com", password)
		for range 3 { // its numbers are higher than those of the second
			token, _ := first.SignIn("ada@example.com", password)
			n.signOut(first, token)
		}
		n.signOut(first, ada)
		n.signOut(second, bob)
		r := follow(f, time.Second)
		adas, bobs := n.service(first.URL, r, durward.Policy{}), n.service(second.URL, r, durward.Policy{})
		until(t, "token revoked by the first: 401", func() bool { return n.get(adas, ada) == 401 })
		if status := n.get(bobs, bob); status != 200 {
			t.Fatalf("before the change, token revoked by the second: got %d, want 200", status)
		}
		f.forward(second)
		f.CloseClientConnections()
		until(t, "token revoked by the second: 401", func() bool { return n.get(bobs, bob) == 401 })
		if status := n.get(adas, ada); status != 401 {
			t.Errorf("after the change, token revoked by the first: got %d, want 401", status)
		}
	})
}

// While the list of a new epoch cannot be read, the list does not count as fresh, and the follower
// asks at a slackening pace.
func TestAnotherEpochCannotBeRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		first, second, f := n.start(), n.start(), n.front()
		f.forward(first)
		for _, s := range []*servertest.Server{first, second} {
			s.AddUser("ada@example.com", password, false)
			token, _ := s.SignIn("ada@example.com", password)
			n.signOut(s, token)
		}
		r := follow(f, time.Second)
		until(t, "one revocation", func() bool { return r.Len() == 1 })
		f.whole.Store(true)
		f.status.Store(500)
		f.forward(second)
		f.CloseClientConnections()
		until(t, "the first failure", func() bool { return f.failed.Load() > 1 })
		asOf, before, began := r.AsOf(), f.requests.Load(), time.Now()
		time.Sleep(2 * time.Second)
		if requests := f.requests.Load() - before; !r.AsOf().Equal(asOf) || requests > 12 {
			t.Errorf("2 s of failures: got %d requests and a list %s younger, want at most 12 and 0s", requests, r.AsOf().Sub(asOf))
		}
		f.status.Store(0)
		until(t, "list of the second", func() bool { return r.AsOf().After(began) })
	})
}

// A feed without news is asked once in each Wait, a failing one at a slackening pace.
func TestPace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		auth, f := n.start(), n.front()
		f.forward(auth)
		follow(f, time.Second)
		requests := func(in time.Duration) int64 {
			before := f.requests.Load()
			time.Sleep(in)
			return f.requests.Load() - before
		}
		if got := requests(3 * time.Second); got < 2 || got > 5 {
			t.Errorf("no news, Wait 1s: got %d requests in 3s, want 2 to 5", got)
		}
		for _, status := range []int64{1, 401, 200, 304, 429} {
			f.status.Store(status)
			f.CloseClientConnections()
			if got := requests(2 * time.Second); got > 6 {
				t.Errorf("status %d: got %d requests in 2s, want at most 6", status, got)
			}
		}
	})
}

// NewRevocations fails at once if it cannot read the list; the error says why.
func TestNoList(t *testing.T) {
	t.Parallel()
	auth := servertest.New(t)
	id := auth.AddUser("ada@example.com", password, true)
	nothing := func(context.Context) (string, error) { return "", errors.New("the secret store is locked") }
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
		{"no URL and no Token", api.Config{Wait: 1}, "no Token"},
		{"Wait too long", api.Config{URL: auth.URL, Token: nothing, Wait: time.Minute}, "Wait is 1m0s"},
		{"plain http", api.Config{URL: "http://auth.example.com", Token: nothing}, "use https"},
		{"a path", api.Config{URL: "https://auth.example.com/api", Token: nothing}, "an origin only"},
		{"Token fails", api.Config{URL: auth.URL, Token: nothing}, "the secret store is locked"},
		{"malformed credentials", api.Config{URL: auth.URL, Token: with("garbage")}, "401 Unauthorized (INVALID_TOKEN)"},
		{"another scope", api.Config{URL: auth.URL, Token: with(auth.AddKey(id, "profile", "admin"))}, "403 Forbidden (INSUFFICIENT_SCOPE)"},
		{"server away", api.Config{URL: away.URL, Token: with("k")}, "refused"},
		{"redirect to another origin", api.Config{URL: redirects.URL, Token: with("k")}, "307"},
		{"not a Durward server", api.Config{URL: other.URL, Token: with("k")}, "is that a Durward server?"},
		{"endless body", api.Config{URL: huge.URL, Token: with("k")}, "more than"},
	} {
		c.config.Log = slog.New(slog.DiscardHandler)
		r, err := api.NewRevocations(t.Context(), c.config)
		if err == nil || r != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", c.name, err, c.want)
		}
		if c.name == "redirect to another origin" && leaked.Load() != 0 {
			t.Errorf("%s: credentials crossed a redirect", c.name)
		}
	}
}

// One sign-out reaches a thousand clients that wait at the same time.
func TestThousandClientsWait(t *testing.T) { // not parallel: all clients have to send within one wait
	auth := servertest.New(t)
	key := auth.AddKey(auth.AddUser("root@example.com", password, true), "revocations")
	auth.AddUser("ada@example.com", password, false)
	token, _ := auth.SignIn("ada@example.com", password)
	feed, err := api.NewClient(api.ClientConfig{
		URL:   auth.URL,
		Token: func(context.Context) (string, error) { return key, nil },
		HTTP:  &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1000}},
	})
	if err != nil {
		t.Fatal(err)
	}
	start, err := feed.Revocations(t.Context(), 0, 0, "")
	if err != nil || start.ETag == "" {
		t.Fatalf("first page: got %+v, %v, want one with an ETag", start, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	const many = 1000
	var waiting sync.WaitGroup
	var received atomic.Int64
	for range many {
		waiting.Go(func() {
			for { // on a busy machine the first wait may end before the last client has sent its request
				n, err := feed.Revocations(ctx, start.Page.Next, 30*time.Second, start.ETag)
				if err == nil && n.Unchanged {
					continue
				}
				if again, ok := errors.AsType[*client.RetryError](err); ok { // 503: a thousand answers at once need time
					time.Sleep(max(again.After, 10*time.Millisecond))
					continue
				}
				if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil { // so do a thousand connections
					continue
				}
				if err != nil || len(n.Page.Items) != 1 || n.Page.Items[0].Kind != "sid" {
					t.Errorf("a waiting client: got %+v, %v, want the ended session", n, err)
					return
				}
				received.Add(1)
				return
			}
		})
	}
	until(t, "all wait", func() bool { return auth.Waiting() == many })
	send(t, &http.Client{Transport: new(http.Transport)}, "POST", auth.URL+"/api/auth/logout", token)
	waiting.Wait()
	if received.Load() != many {
		t.Errorf("got %d answers with the revocation, want %d", received.Load(), many)
	}
}
