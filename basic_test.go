package durward_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/durward-auth/durward"
)

// recorded returns a guard with Basic. Its check accepts all pairs and records them.
func recorded(t testing.TB) (h http.Handler, pairs *[][2]string) {
	pairs = new([][2]string)
	g := newGuard(t, durward.Config{Schemes: []durward.Scheme{durward.Basic(func(_ context.Context, user, password string) (*durward.Principal, error) {
		*pairs = append(*pairs, [2]string{user, password})
		return &durward.Principal{Subject: user}, nil
	})}})
	return g.Handler(hello), pairs
}

func TestBasicVectors(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/rfc/rfc7617_basic.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Tests []struct{ User, Password, Credentials, Section string }
	}
	if err := json.Unmarshal(data, &vectors); err != nil || len(vectors.Tests) == 0 {
		t.Fatalf("no vectors: %v", err)
	}
	for _, v := range vectors.Tests {
		h, pairs := recorded(t)
		w := serve(h, over("GET", "/x", "", "Basic "+v.Credentials))
		if want := [2]string{v.User, v.Password}; w.Code != 200 || w.Body.String() != v.User || len(*pairs) != 1 || (*pairs)[0] != want {
			t.Errorf("RFC 7617 s%s: got %d and %q, want %q", v.Section, w.Code, *pairs, want)
		}
	}
}

// TestBasic: the check receives exactly the pair that was sent.
func TestBasic(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 6000)
	encoded := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for _, c := range []struct{ name, credentials, user, password string }{
		{"plain", pair("ada", "secret"), "ada", "secret"},
		{"two blanks", "Basic  " + encoded("ada:secret"), "ada", "secret"},
		{"lower case", "basic " + encoded("ada:secret"), "ada", "secret"},
		{"upper case", "BASIC " + encoded("ada:secret"), "ada", "secret"},
		{"mixed case", "bAsIc " + encoded("ada:secret"), "ada", "secret"},
		{"blanks around", "  Basic " + encoded("ada:secret") + " ", "ada", "secret"},
		{"no user", pair("", "secret"), "", "secret"},
		{"no password", pair("ada", ""), "ada", ""},
		{"neither", pair("", ""), "", ""},
		{"colons in the password", pair("ada", ":a:b:"), "ada", ":a:b:"},
		{"blanks in both", pair(" a b ", " c d "), " a b ", " c d "},
		{"composed", pair("\u00e9", "\u00e9"), "\u00e9", "\u00e9"},
		{"decomposed, as sent", pair("e\u0301", "e\u0301"), "e\u0301", "e\u0301"},
		{"beyond the first plane", pair("\U0001f511", "\U0001f5dd"), "\U0001f511", "\U0001f5dd"},
		{"no-break space is no control", pair("a\u00a0b", "\u2028"), "a\u00a0b", "\u2028"},
		{"plus and slash", pair("???", ">>>"), "???", ">>>"},
		{"long", pair("ada", long), "ada", long},
	} {
		h, pairs := recorded(t)
		w := serve(h, over("GET", "/x", "", c.credentials))
		if want := [2]string{c.user, c.password}; w.Code != 200 || len(*pairs) != 1 || (*pairs)[0] != want {
			t.Errorf("%s: got %d and %q, want %q", c.name, w.Code, *pairs, want)
		}
	}
	if _, err := durward.New(durward.Config{Schemes: []durward.Scheme{durward.Basic(nil)}}); err == nil || !strings.Contains(err.Error(), "Basic(nil)") {
		t.Errorf("Basic(nil): got %v", err)
	}
	h, _ := recorded(t)
	if got := serve(h, over("GET", "/x", "", "")).Header().Values("WWW-Authenticate"); len(got) != 1 || got[0] != `Basic realm="api", charset="UTF-8"` {
		t.Errorf("the challenge is %q", got)
	}
}

// TestBasicMalformed: malformed pairs do not reach the check.
func TestBasicMalformed(t *testing.T) {
	t.Parallel()
	encoded := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for _, c := range []struct{ name, credentials, cause string }{
		{"nothing", "Basic", "single word"},
		{"blanks", "Basic   ", "single word"},
		{"parameters", `Basic user="ada", password="secret"`, "token68"},
		{"token68 and a parameter", "Basic " + encoded("ada:x") + `, a="b"`, "credentials"},
		{"two token68", "Basic " + encoded("ada:x") + " " + encoded("ada:x"), "octet"},
		{"no base64", "Basic a.b", "base64"},
		{"bare pair", "Basic ada:secret", "octet"},
		{"URL alphabet", "Basic " + base64.URLEncoding.EncodeToString([]byte("???:>>>")), "base64"},
		{"no padding", "Basic " + strings.TrimRight(encoded("ada:x"), "=") + "", "base64"},
		{"half a padding", "Basic " + encoded("a:bc")[:7], "base64"},
		{"too much padding", "Basic " + encoded("ada:xy") + "=", "base64"},
		{"trailing bits", "Basic YTpiYx==", "base64"},
		{"a line end", "Basic YTpi\r\n", "octet"},
		{"a tab after the scheme", "Basic\t" + encoded("ada:x"), "octet"},
		{"no colon", "Basic " + encoded("ada"), "colon"},
		{"full-width colon", "Basic " + encoded("ada\uff1ax"), "colon"},
		{"NUL", pair("ada", "a\x00"), "control"},
		{"line feed in the name", pair("a\nda", "x"), "control"},
		{"tab", pair("ada", "\t"), "control"},
		{"last C0 control", pair("ada", "\x1f"), "control"},
		{"DEL", pair("ada", "\x7f"), "control"},
		{"C1 control", pair("ada", "\u0085"), "control"},
		{"last C1 control", pair("ada", "\u009f"), "control"},
		{"Latin-1", pair("ada", "\xa3"), "UTF-8"},
		{"Latin-1 in the name", pair("J\xfcrgen", "x"), "UTF-8"},
		{"overlong", pair("ada", "\xc0\xba"), "UTF-8"},
		{"surrogate", pair("ada", "\xed\xa0\x80"), "UTF-8"},
		{"too long", "Basic " + strings.Repeat("YTph", 4097), "at most 16384"},
	} {
		var cause, detail string
		g := newGuard(t, durward.Config{
			Schemes: []durward.Scheme{durward.Basic(func(context.Context, string, string) (*durward.Principal, error) {
				t.Errorf("%s: the check was asked", c.name)
				return nil, durward.InvalidCredentials
			})},
			OnRefusal: func(_ *http.Request, f *durward.Refusal) { cause, detail = f.Error(), f.Detail },
		})
		r := over("GET", "/x", "", "")
		r.Header["Authorization"] = []string{c.credentials}
		w := serve(g.Handler(never(t)), r)
		wants(t, c.name, w, 401, durward.MalformedCredentials)
		if !strings.Contains(cause, c.cause) {
			t.Errorf("%s: the cause is %q, want one that tells of %q", c.name, cause, c.cause)
		}
		if c.cause == "UTF-8" && !strings.Contains(detail, "UTF-8") {
			t.Errorf("%s: the client reads %q", c.name, detail)
		}
		if _, sent, _ := strings.Cut(c.credentials, " "); len(sent) > 3 && strings.Contains(cause, strings.TrimSpace(sent)) {
			t.Errorf("%s: the cause repeats what was sent: %s", c.name, cause)
		}
	}
	// At the bound itself the check is asked.
	h, pairs := recorded(t)
	if w := serve(h, over("GET", "/x", "", "Basic "+strings.Repeat("YTph", 4096))); w.Code != 200 || len(*pairs) != 1 {
		t.Errorf("16384 octets: got %d", w.Code)
	}
}

// TestBasicCheck: the error of the check determines the response.
func TestBasicCheck(t *testing.T) {
	t.Parallel()
	type key struct{}
	for _, c := range []struct {
		name   string
		p      *durward.Principal
		err    error
		status int
		code   durward.Code
		retry  string
	}{
		{"right", &durward.Principal{Subject: "ada"}, nil, 200, "", ""},
		{"wrong", nil, fmt.Errorf("hash differs: %w", durward.InvalidCredentials), 401, durward.InvalidCredentials, ""},
		{"right and wrong at once", &durward.Principal{Subject: "ada"}, durward.InvalidCredentials, 401, durward.InvalidCredentials, ""},
		{"outage", nil, errors.New("dial tcp: refused"), 503, durward.AuthUnavailable, "5"},
		{"gave up", nil, context.DeadlineExceeded, 503, durward.AuthUnavailable, "5"},
		{"nobody and no error", nil, nil, 503, durward.AuthUnavailable, "5"},
		{"limit", nil, &durward.Refusal{Code: durward.TooManyAttempts, RetryAfter: 90 * time.Second}, 429, durward.TooManyAttempts, "90"},
		{"limit without a time", nil, durward.TooManyAttempts, 429, durward.TooManyAttempts, "60"},
		{"disabled", nil, durward.AccountDisabled, 403, durward.AccountDisabled, ""},
	} {
		g := newGuard(t, durward.Config{Schemes: []durward.Scheme{durward.Basic(func(ctx context.Context, _, _ string) (*durward.Principal, error) {
			if ctx.Value(key{}) != "value" || !durward.ClientAddr(ctx).IsValid() {
				t.Errorf("%s: the context is not the request's", c.name)
			}
			return c.p, c.err
		})}})
		r := over("GET", "/x", "", pair("ada", "secret"))
		w := serve(g.Handler(hello), r.WithContext(context.WithValue(r.Context(), key{}, "value")))
		wants(t, c.name, w, c.status, c.code)
		if got := w.Header().Get("Retry-After"); got != c.retry || (c.status == 401) != (w.Header().Get("WWW-Authenticate") != "") {
			t.Errorf("%s: Retry-After %q, want %q; %v", c.name, got, c.retry, w.Header())
		}
	}
	// The principal's scheme is Basic unless the check set one, and the returned principal is not
	// modified.
	own := &durward.Principal{Subject: "ada"}
	for _, c := range []struct {
		given *durward.Principal
		want  string
	}{{own, "Basic"}, {&durward.Principal{Subject: "ada", Scheme: "Ticket"}, "Ticket"}} {
		g := newGuard(t, durward.Config{Schemes: []durward.Scheme{durward.Basic(func(context.Context, string, string) (*durward.Principal, error) { return c.given, nil })}})
		if p, err := g.Check(over("GET", "/x", "", pair("ada", "x")), durward.Policy{}); err != nil || p.Scheme != c.want {
			t.Errorf("got %+v, %v, want the scheme %s", p, err, c.want)
		}
	}
	if own.Scheme != "" {
		t.Errorf("the check's own principal became %+v", own)
	}
}

// Two in one line, or a second line, are never taken for the first.
func TestBasicAmbiguous(t *testing.T) {
	t.Parallel()
	for _, lines := range [][]string{{pair("ada", "secret"), pair("ada", "secret")}, {pair("ada", "secret") + ", " + pair("eve", "x")}} {
		h, pairs := recorded(t)
		r := over("GET", "/x", "", "")
		r.Header["Authorization"] = lines
		wants(t, strings.Join(lines, "|"), serve(h, r), 400, durward.AmbiguousCredentials)
		if len(*pairs) != 0 {
			t.Errorf("%q: the check was asked", lines)
		}
	}
}

// FuzzBasic sends arbitrary token68s: the check receives exactly the decoded pair.
func FuzzBasic(f *testing.F) {
	h, pairs := recorded(f)
	for _, s := range []string{"QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "dGVzdDoxMjPCow==", "YTpiYx==", "Og==", "YTph", "", "====", "a, Basic b", `a="b"`, "4oCoOgA="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, token string) {
		*pairs = nil
		r := over("GET", "/x", "", "")
		r.Header["Authorization"] = []string{"Basic " + token}
		w := serve(h, r)
		switch {
		case w.Code == 200 && len(*pairs) == 1:
			user, password := (*pairs)[0][0], (*pairs)[0][1]
			if sent := strings.Trim(token, " \t"); base64.StdEncoding.EncodeToString([]byte(user+":"+password)) != sent || strings.Contains(user, ":") {
				t.Fatalf("%q was read as %q and %q", token, user, password)
			}
			if strings.ContainsFunc(user+password, func(r rune) bool { return r < 0x20 || r >= 0x7f && r <= 0x9f }) || strings.ToValidUTF8(user+password, "") != user+password {
				t.Fatalf("%q: the check was given %q and %q", token, user, password)
			}
		case (w.Code == 401 || w.Code == 400) && len(*pairs) == 0:
			if len(token) > 8 && strings.Contains(w.Body.String(), token) {
				t.Fatalf("%q is repeated to the client", token)
			}
		default:
			t.Fatalf("%q: got %d, the check was given %q", token, w.Code, *pairs)
		}
	})
}

// accounts is a store of names, passwords and states that counts how often it is
// asked, for the tests of Remember.
type accounts struct {
	mu       sync.Mutex
	password map[string]string
	version  map[string]int
	stateErr error
	checkErr error
	checked  int
	hold     func(ctx context.Context) // during a check, outside mu
}

func newAccounts() *accounts {
	return &accounts{password: map[string]string{"ada": "secret", "bob": "hidden"}, version: map[string]int{}}
}

func (a *accounts) set(user, password string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.password[user] = password
	a.version[user]++
}

func (a *accounts) counts() (checked int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.checked
}

func (a *accounts) check(ctx context.Context, user, password string) (*durward.Principal, error) {
	a.mu.Lock()
	a.checked++
	right, err, hold := a.password[user] == password && password != "", a.checkErr, a.hold
	a.mu.Unlock()
	if hold != nil {
		hold(ctx)
	}
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("interrupted") // a driver's own words
	case err != nil:
		return nil, err
	case !right:
		return nil, fmt.Errorf("wrong: %w", durward.InvalidCredentials)
	}
	return &durward.Principal{Subject: user, Scopes: []string{"read"}, AMR: []string{"pwd"}}, nil
}

func (a *accounts) state(_ context.Context, user string) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return fmt.Sprint(a.version[user]), a.stateErr
}

func TestRememberNil(t *testing.T) {
	t.Parallel()
	a := newAccounts()
	for _, check := range []durward.PasswordCheck{durward.Remember(nil, a.state), durward.Remember(a.check, nil)} {
		if _, err := durward.New(durward.Config{Schemes: []durward.Scheme{durward.Basic(check)}}); err == nil {
			t.Error("half a Remember is taken")
		}
	}
}

// A right pair is asked for once a minute, a wrong one always.
func TestRemember(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAccounts()
		check := durward.Remember(a.check, a.state)
		ask := func(what, user, password string, want string, checked int) {
			t.Helper()
			before := a.counts()
			p, err := check(t.Context(), user, password)
			got := "refused"
			switch {
			case err == nil && p != nil:
				got = p.Subject
			case p != nil || !errors.Is(err, durward.InvalidCredentials):
				t.Errorf("%s: got %v, %v", what, p, err)
			}
			if n := a.counts() - before; got != want || n != checked {
				t.Errorf("%s: got %s, asked %d times; want %s and %d", what, got, n, want, checked)
			}
		}
		ask("first", "ada", "secret", "ada", 1)
		ask("again", "ada", "secret", "ada", 0)
		ask("wrong password", "ada", "secret2", "refused", 1)
		ask("wrong again", "ada", "secret2", "refused", 1)
		ask("nobody", "eve", "x", "refused", 1)
		ask("nobody again", "eve", "x", "refused", 1)
		ask("right still", "ada", "secret", "ada", 0)
		ask("another's password", "bob", "secret", "refused", 1)
		ask("the same letters, cut elsewhere", "adas", "ecret", "refused", 1)
		ask("another", "bob", "hidden", "bob", 1)
		time.Sleep(time.Minute - time.Nanosecond)
		ask("a minute all but", "bob", "hidden", "bob", 0)
		time.Sleep(time.Nanosecond)
		ask("a minute", "bob", "hidden", "bob", 1)
		ask("and remembered again", "bob", "hidden", "bob", 0)
		a.set("bob", "changed")
		ask("the old password after a change", "bob", "hidden", "refused", 1)
		ask("the new one", "bob", "changed", "bob", 1)
		ask("the new one again", "bob", "changed", "bob", 0)
		ask("nobody else's is void", "ada", "secret", "ada", 1) // its own minute is over
		a.set("ada", "secret")
		ask("a change that keeps the password", "ada", "secret", "ada", 1)
		a.mu.Lock()
		a.version["ada"]--
		a.mu.Unlock()
		ask("a state of before is another", "ada", "secret", "ada", 1)
	})
}

func TestRememberState(t *testing.T) {
	t.Parallel()
	a := newAccounts()
	check := durward.Remember(a.check, a.state)
	// A refusal is left to the check, which does its work all the same, and nothing
	// is kept.
	for _, err := range []error{durward.InvalidCredentials, fmt.Errorf("nobody: %w", durward.AccountDisabled), &durward.Refusal{Code: durward.InvalidCredentials}} {
		a.stateErr = err
		for range 2 {
			before := a.counts()
			if p, err := check(t.Context(), "ada", "secret"); p == nil || err != nil || a.counts() != before+1 {
				t.Errorf("state says %v: got %v, %v, asked %d times", a.stateErr, p, err, a.counts()-before)
			}
		}
	}
	a.stateErr = nil
	before := a.counts()
	if _, err := check(t.Context(), "ada", "secret"); err != nil || a.counts() != before+1 {
		t.Errorf("something was kept while the state was not known: %v", err)
	}
	// A state that refuses discards the cached result.
	a.stateErr = durward.AccountDisabled
	a.checkErr = durward.AccountDisabled
	if p, err := check(t.Context(), "ada", "secret"); p != nil || !errors.Is(err, durward.AccountDisabled) {
		t.Errorf("disabled: got %v, %v", p, err)
	}
	a.stateErr, a.checkErr = nil, nil
	before = a.counts()
	if p, err := check(t.Context(), "ada", "secret"); p == nil || err != nil || a.counts() != before+1 {
		t.Errorf("enabled again: got %v, %v, asked %d times, want once", p, err, a.counts()-before)
	}
	// Any other error is an outage, remembered or not, and no check is asked.
	a.stateErr, a.checkErr = errors.New("disk full"), nil
	g := newGuard(t, durward.Config{Schemes: []durward.Scheme{durward.Basic(check)}})
	before = a.counts()
	wants(t, "state is away", serve(g.Handler(never(t)), over("GET", "/x", "", pair("ada", "secret"))), 503, durward.AuthUnavailable)
	if a.counts() != before {
		t.Error("the check was asked though the state is not known")
	}
	// Internal errors of a check are not cached either.
	a.stateErr, a.checkErr = nil, errors.New("disk full")
	for range 2 {
		before := a.counts()
		wants(t, "check is away", serve(g.Handler(never(t)), over("GET", "/x", "", pair("bob", "hidden"))), 503, durward.AuthUnavailable)
		if a.counts() != before+1 {
			t.Error("an outage was remembered")
		}
	}
}

// Each caller gets a principal of its own.
func TestRememberCopies(t *testing.T) {
	t.Parallel()
	a := newAccounts()
	check := durward.Remember(a.check, a.state)
	for range 3 {
		p, err := check(t.Context(), "ada", "secret")
		if err != nil || p.Subject != "ada" || p.Scopes[0] != "read" || p.AMR[0] != "pwd" {
			t.Fatalf("got %+v, %v", p, err)
		}
		p.Subject, p.Scopes[0], p.AMR[0] = "eve", "write", "otp"
	}
	if a.counts() != 1 {
		t.Errorf("asked %d times", a.counts())
	}
}

// TestRememberOddChecks: a check that returns a principal with an error, or neither, gives no
// access and is not cached. Changes that it makes afterwards to its result do not affect the cache.
func TestRememberOddChecks(t *testing.T) {
	t.Parallel()
	own := &durward.Principal{Subject: "ada", Scopes: []string{"read"}}
	for _, c := range []struct {
		name string
		p    *durward.Principal
		err  error
		want int // times that the check is asked
	}{
		{"a principal and an error", own, durward.InvalidCredentials, 2},
		{"neither", nil, nil, 2},
		{"its own principal", own, nil, 1},
	} {
		asked := 0
		check := durward.Remember(func(context.Context, string, string) (*durward.Principal, error) {
			asked++
			return c.p, c.err
		}, func(context.Context, string) (string, error) { return "", nil })
		for range 2 {
			p, err := check(t.Context(), "ada", "secret")
			if !errors.Is(err, c.err) || (p == nil) != (c.p == nil) || p != nil && (p.Subject != "ada" || p.Scopes[0] != "read") {
				t.Errorf("%s: got %+v, %v", c.name, p, err)
			}
			if c.want == 1 {
				own.Subject, own.Scopes[0] = "eve", "write"
			}
		}
		if asked != c.want {
			t.Errorf("%s: asked %d times, want %d", c.name, asked, c.want)
		}
	}
}

// The same pair at the same moment is asked for once, right or wrong.
func TestRememberTogether(t *testing.T) {
	t.Parallel()
	for _, password := range []string{"secret", "wrong"} {
		synctest.Test(t, func(t *testing.T) {
			a := newAccounts()
			a.hold = func(context.Context) { time.Sleep(time.Second) }
			check := durward.Remember(a.check, a.state)
			var right, wrong atomic.Int64
			var all sync.WaitGroup
			for range 300 {
				all.Go(func() {
					p, err := check(t.Context(), "ada", password)
					switch {
					case err == nil && p.Subject == "ada" && p.Scopes[0] == "read":
						right.Add(1)
						p.Scopes[0] = "write" // changes only this copy
					case p == nil && errors.Is(err, durward.InvalidCredentials):
						wrong.Add(1)
					default:
						t.Errorf("got %v, %v", p, err)
					}
				})
			}
			all.Wait()
			if a.counts() != 1 || right.Load() != map[bool]int64{true: 300}[password == "secret"] || right.Load()+wrong.Load() != 300 {
				t.Errorf("%s: asked %d times; %d right, %d wrong", password, a.counts(), right.Load(), wrong.Load())
			}
		})
	}
}

// Requests that wait for the check of another request survive that client's disconnect and a panic,
// and can be canceled.
func TestRememberLeader(t *testing.T) {
	t.Parallel()
	type outcome struct {
		p   *durward.Principal
		err error
	}
	// run starts a leader, then followers while its check is under way.
	run := func(t *testing.T, a *accounts, leader context.Context, followers ...context.Context) (lead outcome, rest []outcome) {
		check := durward.Remember(a.check, a.state)
		rest = make([]outcome, len(followers))
		var all sync.WaitGroup
		all.Go(func() {
			defer func() {
				if why := recover(); why != nil {
					lead.err = fmt.Errorf("panic: %v", why)
				}
			}()
			lead.p, lead.err = check(leader, "ada", "secret")
		})
		synctest.Wait()
		for i, ctx := range followers {
			all.Go(func() { rest[i].p, rest[i].err = check(ctx, "ada", "secret") })
		}
		all.Wait()
		return lead, rest
	}
	t.Run("cancelled", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newAccounts()
			a.hold = func(ctx context.Context) {
				select {
				case <-ctx.Done():
				case <-time.After(10 * time.Second):
				}
			}
			leader, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			start := time.Now()
			lead, rest := run(t, a, leader, t.Context(), t.Context(), t.Context())
			if lead.err == nil || lead.p != nil {
				t.Errorf("the leader got %v", lead)
			}
			for _, f := range rest {
				if f.err != nil || f.p == nil || f.p.Subject != "ada" {
					t.Errorf("a follower got %v", f)
				}
			}
			if took := time.Since(start); a.counts() != 2 || took != 11*time.Second {
				t.Errorf("asked %d times in %s, want 2 in 11s", a.counts(), took)
			}
		})
	})
	t.Run("cancelled, with a verdict", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			leader, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			asked := 0
			check := durward.Remember(func(context.Context, string, string) (*durward.Principal, error) {
				asked++
				time.Sleep(2 * time.Second)
				return nil, durward.InvalidCredentials
			}, func(context.Context, string) (string, error) { return "", nil })
			var all sync.WaitGroup
			for _, ctx := range []context.Context{leader, t.Context()} {
				all.Go(func() {
					if _, err := check(ctx, "ada", "secret"); !errors.Is(err, durward.InvalidCredentials) {
						t.Errorf("got %v", err)
					}
				})
				synctest.Wait()
			}
			all.Wait()
			if asked != 1 {
				t.Errorf("asked %d times, want once", asked)
			}
		})
	})
	t.Run("the check's own deadline", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newAccounts()
			a.checkErr = fmt.Errorf("pool: %w", context.DeadlineExceeded)
			a.hold = func(context.Context) { time.Sleep(5 * time.Second) }
			start := time.Now()
			lead, rest := run(t, a, t.Context(), t.Context(), t.Context(), t.Context())
			for _, o := range append(rest, lead) {
				if o.p != nil || !errors.Is(o.err, context.DeadlineExceeded) {
					t.Errorf("got %v", o)
				}
			}
			// No request waits a second time for the same outage.
			if took := time.Since(start); a.counts() != 1 || took != 5*time.Second {
				t.Errorf("asked %d times in %s, want once in 5s", a.counts(), took)
			}
		})
	})
	t.Run("panic", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newAccounts()
			var first atomic.Bool
			a.hold = func(context.Context) {
				time.Sleep(time.Second)
				if !first.Swap(true) {
					panic("out of luck")
				}
			}
			var code durward.Code
			lead, rest := run(t, a, t.Context(), t.Context())
			if lead.p != nil || lead.err == nil || !strings.Contains(lead.err.Error(), "out of luck") {
				t.Errorf("the leader got %v", lead)
			}
			// An outage, and no verdict.
			if rest[0].p != nil || rest[0].err == nil || errors.As(rest[0].err, &code) {
				t.Errorf("the follower got %v", rest[0])
			}
			lead, _ = run(t, a, t.Context())
			if lead.err != nil || lead.p.Subject != "ada" {
				t.Errorf("after a panic: got %v", lead)
			}
		})
	})
	t.Run("panic leaves nothing behind", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			asked := 0
			check := durward.Remember(func(context.Context, string, string) (*durward.Principal, error) {
				if asked++; asked == 1 {
					panic("out of luck")
				}
				return &durward.Principal{Subject: "ada"}, nil
			}, func(context.Context, string) (string, error) { return "", nil })
			func() {
				defer func() { _ = recover() }()
				_, _ = check(t.Context(), "ada", "secret")
			}()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if p, err := check(ctx, "ada", "secret"); err != nil || p.Subject != "ada" {
				t.Errorf("after a panic: got %v, %v", p, err)
			}
		})
	})
	t.Run("a follower goes away", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := newAccounts()
			a.hold = func(context.Context) { time.Sleep(10 * time.Second) }
			cause := errors.New("the client hung up")
			follower, cancel := context.WithTimeoutCause(t.Context(), time.Second, cause)
			defer cancel()
			lead, rest := run(t, a, t.Context(), follower)
			if lead.err != nil || lead.p == nil || rest[0].p != nil || !errors.Is(rest[0].err, cause) || a.counts() != 1 {
				t.Errorf("the leader got %v, the follower %v, asked %d times", lead, rest[0], a.counts())
			}
		})
	})
}

// A check that began before a change uses the old state: later requests do not share it, and it is
// not cached.
func TestRememberChangeUnderWay(t *testing.T) {
	t.Parallel()
	for _, unknown := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			a := newAccounts()
			a.hold = func(context.Context) { time.Sleep(time.Second) }
			check := durward.Remember(a.check, a.state)
			var all sync.WaitGroup
			all.Go(func() {
				if p, err := check(t.Context(), "ada", "secret"); err != nil || p == nil {
					t.Errorf("who asked before the change got %v, %v", p, err)
				}
			})
			synctest.Wait()
			if unknown {
				a.mu.Lock()
				a.stateErr, a.password["ada"] = durward.AccountDisabled, ""
				a.mu.Unlock()
			} else {
				a.set("ada", "changed")
			}
			if p, err := check(t.Context(), "ada", "secret"); p != nil || !errors.Is(err, durward.InvalidCredentials) {
				t.Errorf("the old password after the change: got %v, %v", p, err)
			}
			all.Wait()
			if p, err := check(t.Context(), "ada", "secret"); p != nil || !errors.Is(err, durward.InvalidCredentials) {
				t.Errorf("the old password was remembered: got %v, %v", p, err)
			}
		})
	}
}

// Hundreds of concurrent users with right and wrong passwords that change meanwhile: no user is
// mistaken for another, and no password works after its change has returned.
func TestRememberCrowd(t *testing.T) {
	t.Parallel()
	const people, requests = 200, 4
	a := newAccounts()
	for i := range people {
		a.set(fmt.Sprint("p", i), "first")
	}
	g := newGuard(t, durward.Config{Schemes: []durward.Scheme{durward.Basic(durward.Remember(a.check, a.state))}})
	h := g.Handler(hello)
	var all sync.WaitGroup
	for i := range people {
		name := fmt.Sprint("p", i)
		for range 3 {
			all.Go(func() {
				for n := range requests {
					if w := serve(h, over("GET", "/x", "", pair(name, "wrong"))); w.Code != 401 {
						t.Errorf("%s with a wrong password: got %d %s", name, w.Code, w.Body)
					}
					if w := serve(h, over("GET", "/x", "", pair(name, []string{"first", "second"}[n%2]))); w.Code == 200 && w.Body.String() != name {
						t.Errorf("%s came in as %s", name, w.Body)
					}
				}
			})
		}
		all.Go(func() {
			if w := serve(h, over("GET", "/x", "", pair(name, "first"))); w.Code != 200 || w.Body.String() != name {
				t.Errorf("%s before the change: got %d %s", name, w.Code, w.Body)
			}
			a.set(name, "second")
			for range requests {
				if w := serve(h, over("GET", "/x", "", pair(name, "first"))); w.Code != 401 {
					t.Errorf("%s with the old password: got %d", name, w.Code)
				}
				if w := serve(h, over("GET", "/x", "", pair(name, "second"))); w.Code != 200 || w.Body.String() != name {
					t.Errorf("%s with the new password: got %d %s", name, w.Code, w.Body)
				}
			}
		})
	}
	all.Wait()
}
