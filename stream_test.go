package durward_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/durward-auth/durward"
)

// pipes is a listener with pipes as connections, so that server and clients run on virtual time.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	gone  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.gone:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.gone) }); return nil }
func (p *pipes) Addr() net.Addr { return pipeAddr{} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	p.conns <- addressed{server}
	return client, nil
}

type addressed struct{ net.Conn }

func (addressed) RemoteAddr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "127.0.0.1:4711" }

// serving runs a real server with h inside a bubble and returns what reaches it.
func serving(t *testing.T, h http.Handler) *pipes {
	t.Helper()
	l := &pipes{conns: make(chan net.Conn), gone: make(chan struct{})}
	s := &http.Server{Handler: h}
	var served sync.WaitGroup
	served.Go(func() { _ = s.Serve(l) })
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		served.Wait()
	})
	return l
}

// follow reads an event stream to its end and returns how long it lasted.
func follow(t *testing.T, l *pipes, field, value string) (lasted time.Duration, lines []string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: l.dial, DisableKeepAlives: true}}
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), "GET", "http://api.example.com/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set(field, value)
	began := time.Now()
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 200 {
		t.Fatalf("%s %s", res.Status, body)
	}
	return time.Since(began), strings.Split(strings.TrimSpace(string(body)), "\n")
}

// ticking is an event stream: a line every half second until its context ends, then
// one that says why.
func ticking(w http.ResponseWriter, r *http.Request) {
	r.Header.Set("Authorization", "Bearer spoilt") // must not affect the watch
	r.Header.Del("Cookie")
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for range 2 * 1800 { // a stream that nothing ends is one too long
		select {
		case <-r.Context().Done():
			var code durward.Code
			errors.As(context.Cause(r.Context()), &code)
			fmt.Fprintf(w, "end: %s %s\n", code, durward.From(r.Context()).Subject)
			return
		case <-tick.C:
			fmt.Fprintln(w, "tick")
			_ = http.NewResponseController(w).Flush()
		}
	}
}

// judge is a check of tokens, keys and cookies that a test changes its mind about.
type judge struct {
	mu      sync.Mutex
	expires time.Time
	err     error
	panics  bool
	hangs   bool
	asked   int // beyond the first
	used    int // not as a recheck
}

func (j *judge) set(change func(*judge)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	change(j)
}

func (j *judge) check(ctx context.Context, credentials string) (*durward.Principal, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if credentials != "good" && credentials != "dk_good" {
		return nil, fmt.Errorf("%q: %w", credentials, durward.InvalidToken)
	}
	if !durward.Rechecking(ctx) {
		j.used++
	} else {
		j.asked++
		if j.panics {
			panic("a check")
		}
		if j.hangs {
			j.mu.Unlock()
			<-ctx.Done()
			j.mu.Lock()
			return nil, ctx.Err()
		}
	}
	if j.err != nil {
		return nil, j.err
	}
	return &durward.Principal{Subject: "ada", Expires: j.expires}, nil
}

func streamGuard(t *testing.T, j *judge, c durward.Config) *durward.Guard {
	t.Helper()
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Schemes = append(c.Schemes, durward.Bearer(j.check), durward.APIKey("dk_", j.check), durward.Cookie("__Host-session", j.check))
	return newGuard(t, c)
}

// A stream ends with its credentials, and says why; a request that only looks like
// one, on a route without Stream, does not.
func TestStream(t *testing.T) {
	t.Parallel()
	outage := errors.New("the database is away")
	for _, c := range []struct {
		name   string
		expiry time.Duration // of the credentials; 0 is none
		after  time.Duration // until the change; 0 is none
		change func(*judge)
		least  time.Duration // of the stream
		most   time.Duration
		code   durward.Code
	}{
		{"expired", 5 * time.Second, 0, nil, 5 * time.Second, 5 * time.Second, durward.TokenExpired},
		{"revoked", time.Hour, 3500 * time.Millisecond, func(j *judge) { j.err = fmt.Errorf("by a test: %w", durward.TokenRevoked) }, 3500 * time.Millisecond, 4500 * time.Millisecond, durward.TokenRevoked},
		{"the session was ended", 0, time.Minute, func(j *judge) { j.err = durward.SessionExpired }, time.Minute, 61 * time.Second, durward.SessionExpired},
		{"slides on", 5 * time.Second, 2500 * time.Millisecond, func(j *judge) { j.expires = j.expires.Add(10 * time.Second) }, 15 * time.Second, 15 * time.Second, durward.TokenExpired},
		{"is cut short", time.Hour, 2500 * time.Millisecond, func(j *judge) { j.expires = time.Now().Add(2 * time.Second) }, 4500 * time.Millisecond, 4500 * time.Millisecond, durward.TokenExpired},
		{"gets an end", 0, 2500 * time.Millisecond, func(j *judge) { j.expires = time.Now().Add(3 * time.Second) }, 5500 * time.Millisecond, 5500 * time.Millisecond, durward.TokenExpired},
		{"an outage", 0, 2500 * time.Millisecond, func(j *judge) { j.err = outage }, time.Minute, 63 * time.Second, ""},
		{"an outage, said by its code", 0, 2500 * time.Millisecond, func(j *judge) { j.err = durward.AuthUnavailable }, time.Minute, 63 * time.Second, durward.AuthUnavailable},
		{"blocked by somebody else's guesses", 0, 2500 * time.Millisecond, func(j *judge) { j.err = durward.TooManyAttempts }, time.Minute, 63 * time.Second, durward.TooManyAttempts},
		{"an outage does not outlast an end", 10 * time.Second, 2500 * time.Millisecond, func(j *judge) { j.err = outage }, 10 * time.Second, 10 * time.Second, durward.TokenExpired},
		{"a check that hangs", 8 * time.Second, 2500 * time.Millisecond, func(j *judge) { j.hangs = true }, 8 * time.Second, 8 * time.Second, durward.TokenExpired},
		{"a check that hangs, without an end", 0, 2500 * time.Millisecond, func(j *judge) { j.hangs = true }, time.Minute, 75 * time.Second, ""},
		{"a check that panics", 0, 2500 * time.Millisecond, func(j *judge) { j.panics = true }, time.Minute, 63 * time.Second, ""},
	} {
		for _, carrier := range [][2]string{{"Authorization", "Bearer good"}, {"X-API-Key", "dk_good"}, {"Authorization", "Bearer dk_good"}, {"Cookie", "__Host-session=good"}} {
			t.Run(c.name+"/"+carrier[0]+" "+carrier[1], func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					j := new(judge)
					if c.expiry > 0 {
						j.expires = time.Now().Add(c.expiry)
					}
					g := streamGuard(t, j, durward.Config{InsecureAllowHTTP: true})
					l := serving(t, g.Require(durward.Policy{Stream: true}, http.HandlerFunc(ticking)))
					if c.change != nil {
						time.AfterFunc(c.after, func() { j.set(c.change) })
					}
					lasted, lines := follow(t, l, carrier[0], carrier[1])
					if lasted < c.least || lasted > c.most {
						t.Errorf("the stream lasted %s, want %s to %s", lasted, c.least, c.most)
					}
					if last := lines[len(lines)-1]; last != fmt.Sprintf("end: %s ada", c.code) {
						t.Errorf("it ended with %q, want the code %q", last, c.code)
					}
					if j.used != 1 {
						t.Errorf("%d uses of the credentials, want the first request alone", j.used)
					}
				})
			})
		}
	}
}

// What passes within a minute ends nothing, and each second is asked once.
func TestStreamGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := new(judge)
		g := streamGuard(t, j, durward.Config{InsecureAllowHTTP: true})
		l := serving(t, g.Require(durward.Policy{Stream: true}, http.HandlerFunc(ticking)))
		for n := range 5 { // five outages of 50 seconds each
			time.AfterFunc(time.Duration(n)*100*time.Second+500*time.Millisecond, func() { j.set(func(j *judge) { j.err = errors.New("away") }) })
			time.AfterFunc(time.Duration(n)*100*time.Second+50*time.Second, func() { j.set(func(j *judge) { j.err = nil }) })
		}
		time.AfterFunc(600*time.Second, func() { j.set(func(j *judge) { j.err = durward.TokenRevoked }) })
		lasted, _ := follow(t, l, "Authorization", "Bearer good")
		if lasted < 600*time.Second || lasted > 601*time.Second {
			t.Errorf("lasted %s, want ten minutes", lasted)
		}
		if j.asked < 599 || j.asked > 601 {
			t.Errorf("asked %d times, want each second", j.asked)
		}
	})
}

// A clock that is set forward ends the streams of expired credentials.
func TestStreamByTheClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var ahead atomic.Int64
		now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		j := &judge{expires: time.Now().Add(time.Hour)}
		g := streamGuard(t, j, durward.Config{InsecureAllowHTTP: true, Now: now})
		l := serving(t, g.Require(durward.Policy{Stream: true}, http.HandlerFunc(ticking)))
		time.AfterFunc(10*time.Second, func() { ahead.Store(int64(time.Hour)) })
		if lasted, _ := follow(t, l, "Authorization", "Bearer good"); lasted < 10*time.Second || lasted > 11*time.Second {
			t.Errorf("lasted %s, want ten seconds", lasted)
		}
	})
}

// When a handler returns, its watch ends: a bubble with a remaining goroutine would not end. Nested
// guards watch once.
func TestStreamLeavesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := new(judge)
		g := streamGuard(t, j, durward.Config{InsecureAllowHTTP: true})
		var inside error
		quick := g.Require(durward.Policy{Stream: true}, g.Require(durward.Policy{Stream: true}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(10*time.Second + 500*time.Millisecond)
			inside = r.Context().Err()
			fmt.Fprintln(w, "done")
		})))
		l := serving(t, quick)
		if _, lines := follow(t, l, "Authorization", "Bearer good"); lines[0] != "done" || inside != nil {
			t.Errorf("%q, %v", lines, inside)
		}
		if j.asked != 10 {
			t.Errorf("asked %d times in ten seconds, want 10", j.asked)
		}
		time.Sleep(time.Minute)
		if j.asked != 10 {
			t.Errorf("asked %d times after the end", j.asked-10)
		}
	})
	// Requests on other routes and anonymous requests are not watched.
	synctest.Test(t, func(t *testing.T) {
		j := new(judge)
		g := streamGuard(t, j, durward.Config{InsecureAllowHTTP: true})
		slow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Minute)
			fmt.Fprintln(w, r.Context().Err())
		})
		for _, c := range []struct {
			policy       durward.Policy
			field, value string
		}{{durward.Policy{}, "Authorization", "Bearer good"}, {durward.Policy{Stream: true, Optional: true}, "Accept", "*/*"}} {
			if _, lines := follow(t, serving(t, g.Require(c.policy, slow)), c.field, c.value); lines[0] != "<nil>" || j.asked != 0 {
				t.Errorf("%+v: %q, asked %d times", c.policy, lines, j.asked)
			}
		}
	})
}

// A scheme of one's own is asked again where it says how often; a Digest response is
// good for one request and is not asked about again; a password each minute.
func TestStreamOfOtherSchemes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := new(judge)
		check := func(ctx context.Context, user, password string) (*durward.Principal, error) {
			return j.check(ctx, password)
		}
		g := newGuard(t, durward.Config{InsecureAllowHTTP: true, Now: time.Now, Schemes: []durward.Scheme{durward.Basic(check)}})
		l := serving(t, g.Require(durward.Policy{Stream: true}, http.HandlerFunc(ticking)))
		time.AfterFunc(150*time.Second, func() { j.set(func(j *judge) { j.err = durward.InvalidCredentials }) })
		lasted, lines := follow(t, l, "Authorization", "Basic YWRhOmdvb2Q=")
		if lasted != 3*time.Minute || lines[len(lines)-1] != "end: INVALID_CREDENTIALS ada" || j.asked != 3 {
			t.Errorf("lasted %s, asked %d times, ended with %q", lasted, j.asked, lines[len(lines)-1])
		}
	})
}

// A WebSocket is a hijacked connection that its handler closes when the context
// ends. A page of another origin opens none with the cookie of this one.
func TestStreamOfAnUpgrade(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := new(judge)
		g := streamGuard(t, j, durward.Config{InsecureAllowHTTP: true, PublicURL: "https://app.example.com"})
		l := serving(t, g.Require(durward.Policy{Stream: true}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			<-r.Context().Done()
		})))
		upgrade := func(origin string) (*http.Response, time.Duration) {
			conn, _ := l.dial(t.Context(), "", "")
			defer conn.Close()
			began := time.Now()
			go io.WriteString(conn, "GET /socket HTTP/1.1\r\nHost: app.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nOrigin: "+origin+"\r\nCookie: __Host-session=good\r\n\r\n")
			in := bufio.NewReader(conn)
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode == 101 {
				if _, err := in.ReadByte(); err != io.EOF {
					t.Errorf("the connection: %v, want its end", err)
				}
			}
			return res, time.Since(began)
		}
		if res, _ := upgrade("https://evil.example.com"); res.StatusCode != 403 {
			t.Errorf("a foreign page: %s, want 403", res.Status)
		}
		time.AfterFunc(20*time.Second, func() { j.set(func(j *judge) { j.err = durward.SessionExpired }) })
		if res, lasted := upgrade("https://app.example.com"); res.StatusCode != 101 || lasted < 20*time.Second || lasted > 21*time.Second {
			t.Errorf("%s, closed after %s; want 101 and 20 s", res.Status, lasted)
		}
	})
}
