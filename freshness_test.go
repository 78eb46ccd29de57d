package durward_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/durward-auth/durward"
)

// news is a scheme. The test sets the time at which its credentials were last known to be valid.
type news struct {
	asOf  atomic.Pointer[time.Time]
	asked atomic.Int64
}

func (n *news) heard(t time.Time) { n.asOf.Store(&t) }

func (n *news) check(context.Context, string) (*durward.Principal, error) {
	n.asked.Add(1)
	return &durward.Principal{Subject: "ada", AsOf: *n.asOf.Load()}, nil
}

// scheme is one that a browser sends by itself, or one that it does not.
func (n *news) scheme(ambient bool) durward.Scheme {
	if ambient {
		return durward.Cookie(cookieName, n.check)
	}
	return durward.Bearer(n.check)
}

// once is a scheme that cannot be asked again.
type once struct{ durward.Scheme }

// askOnce sends one request, with a cookie where the credentials are that.
func askOnce(h http.Handler, ambient bool) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", "http://127.0.0.1/", nil)
	r.RemoteAddr = "127.0.0.1:4711"
	if ambient {
		r.AddCookie(&http.Cookie{Name: cookieName, Value: "x"})
	} else {
		r.Header.Set("Authorization", "Bearer x")
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

var whoAsks = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	if p := durward.From(r.Context()); p != nil {
		w.Header().Set("Who", p.Subject)
	}
})

func guardOf(t *testing.T, s durward.Scheme) *durward.Guard {
	t.Helper()
	g, err := durward.New(durward.Config{Schemes: []durward.Scheme{s}, Now: func() time.Time { return noon }})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestFreshness(t *testing.T) {
	t.Parallel()
	want := durward.Policy{Freshness: 10 * time.Second}
	for _, c := range []struct {
		name     string
		age      time.Duration
		ambient  bool
		optional bool
		status   int
		who      string
	}{
		{"heard just now", 0, false, false, 200, "ada"},
		{"heard in time", 10 * time.Second, false, false, 200, "ada"},
		{"of a clock that is ahead", -time.Hour, false, false, 200, "ada"},
		{"too long ago", 10*time.Second + 1, false, false, 503, ""},
		{"too long ago, optional", 11 * time.Second, false, true, 503, ""}, // explicit: an outage is said
		{"too long ago, by itself", 11 * time.Second, true, false, 503, ""},
		{"too long ago, by itself, optional", 11 * time.Second, true, true, 200, ""}, // anonymous
	} {
		n := new(news)
		n.heard(noon.Add(-c.age))
		p := want
		p.Optional = c.optional
		for name, h := range map[string]http.Handler{
			"alone":  guardOf(t, n.scheme(c.ambient)).Require(p, whoAsks),
			"inside": func() http.Handler { g := guardOf(t, n.scheme(c.ambient)); return g.Handler(g.Require(p, whoAsks)) }(),
		} {
			w := askOnce(h, c.ambient)
			if w.Code != c.status || w.Header().Get("Who") != c.who {
				t.Errorf("%s, %s: %d for %q, want %d for %q", c.name, name, w.Code, w.Header().Get("Who"), c.status, c.who)
			}
			if c.status == 503 && (w.Header().Get("Retry-After") == "" || w.Header().Get("WWW-Authenticate") != "" || !strings.Contains(w.Body.String(), "AUTH_UNAVAILABLE")) {
				t.Errorf("%s, %s: %v %s", c.name, name, w.Header(), w.Body)
			}
			if c.optional && c.ambient && name == "alone" && w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%s, %s: Cache-Control %q", c.name, name, w.Header().Get("Cache-Control"))
			}
		}
		if w := askOnce(guardOf(t, n.scheme(c.ambient)).Handler(whoAsks), c.ambient); w.Code != 200 {
			t.Errorf("%s: a route that wants no fresh news: %d", c.name, w.Code)
		}
	}
}

// A scheme that can be asked again is, where a route inside wants newer news than the
// one outside.
func TestFreshnessInsideAsksAgain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		later  time.Duration // age of the news when the inner route is asked for
		again  bool
		status int
		asked  int64
	}{
		{"newer news", 0, true, 200, 2},
		{"no newer news", time.Minute, true, 503, 2},
		{"cannot be asked again", 0, false, 503, 1},
	} {
		n := new(news)
		n.heard(noon.Add(-time.Minute))
		s := n.scheme(false)
		if !c.again {
			s = once{s}
		}
		g := guardOf(t, s)
		inner := g.Require(durward.Policy{Freshness: 10 * time.Second}, whoAsks)
		w := askOnce(g.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n.heard(noon.Add(-c.later))
			inner.ServeHTTP(w, r)
		})), false)
		if w.Code != c.status || n.asked.Load() != c.asked {
			t.Errorf("%s: %d, asked %d times, want %d and %d", c.name, w.Code, n.asked.Load(), c.status, c.asked)
		}
	}
}

// A remembered password is asked for anew where a route wants to know it sooner.
func TestFreshnessOfWhatIsRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		check := durward.Remember(func(context.Context, string, string) (*durward.Principal, error) {
			asked++
			return &durward.Principal{Subject: "ada"}, nil
		}, func(context.Context, string) (string, error) { return "", nil })
		g, err := durward.New(durward.Config{Schemes: []durward.Scheme{durward.Basic(check)}})
		if err != nil {
			t.Fatal(err)
		}
		fresh := durward.Policy{Freshness: 10 * time.Second}
		for i, step := range []struct {
			wait  time.Duration
			h     http.Handler
			asked int
		}{
			{0, g.Handler(whoAsks), 1}, {10 * time.Second, g.Require(fresh, whoAsks), 1},
			{time.Second, g.Handler(whoAsks), 1}, {0, g.Require(fresh, whoAsks), 2}, {0, g.Require(fresh, whoAsks), 2},
			{30 * time.Second, g.Handler(g.Require(fresh, whoAsks)), 3}, // outside it was remembered
		} {
			time.Sleep(step.wait)
			r := httptest.NewRequest("GET", "http://127.0.0.1/", nil)
			r.RemoteAddr = "127.0.0.1:4711"
			r.SetBasicAuth("ada", "x")
			w := httptest.NewRecorder()
			step.h.ServeHTTP(w, r)
			if w.Code != 200 || asked != step.asked {
				t.Errorf("step %d: %d, asked %d times, want %d", i, w.Code, asked, step.asked)
			}
		}
	})
}

// A stream ends when the news is older than its route takes.
func TestFreshnessOfAStream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := new(news)
		n.heard(time.Now())
		g, err := durward.New(durward.Config{Schemes: []durward.Scheme{n.scheme(false)}})
		if err != nil {
			t.Fatal(err)
		}
		var cause error
		began := time.Now()
		askOnce(g.Require(durward.Policy{Freshness: 10 * time.Second, Stream: true}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-time.After(time.Minute):
			}
			cause = context.Cause(r.Context())
		})), false)
		if lasted := time.Since(began); lasted != 11*time.Second || !errors.Is(cause, durward.AuthUnavailable) {
			t.Errorf("it lasted %s, %v", lasted, cause)
		}
	})
}

// Recheck verifies the credentials of an accepted request again.
func TestRecheck(t *testing.T) {
	t.Parallel()
	now := noon
	var says error
	scopes := []string{"read"}
	expires := noon.Add(time.Minute)
	g, err := durward.New(durward.Config{Now: func() time.Time { return now }, Schemes: []durward.Scheme{
		durward.Bearer(func(ctx context.Context, _ string) (*durward.Principal, error) {
			return &durward.Principal{Subject: "ada", Scopes: scopes, Expires: expires}, says
		}),
	}})
	if err != nil {
		t.Fatal(err)
	}
	away := errors.New("no route to host")
	for _, c := range []struct {
		name   string
		change func()
		want   error
	}{
		{"nothing", func() {}, nil},
		{"revoked", func() { says = durward.TokenRevoked }, durward.TokenRevoked},
		{"nobody can tell", func() { says = away }, away},
		{"fewer rights", func() { scopes = nil }, durward.InsufficientScope},
		{"expired", func() { now = expires }, durward.TokenExpired},
	} {
		now, says, scopes = noon, nil, []string{"read"}
		var got error
		w := askOnce(g.Require(durward.Policy{Scopes: []string{"read"}}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c.change()
			got = g.Recheck(r)
			if durward.Rechecking(r.Context()) {
				t.Errorf("%s: the handler's own request is asked again", c.name)
			}
		})), false)
		if w.Code != 200 || c.want == nil && got != nil || !errors.Is(got, c.want) {
			t.Errorf("%s: %d %v, want %v", c.name, w.Code, got, c.want)
		}
	}
	r := httptest.NewRequest("GET", "/", nil)
	if err := g.Recheck(r); err != nil {
		t.Errorf("a request of no guard: %v", err)
	}
}
