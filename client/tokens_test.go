package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// authority is an authorization server and an API in virtual time. Its responses are random, and it
// checks every request.
type authority struct {
	t    testing.TB
	rand *rand.Rand

	mu        sync.Mutex
	n         int // generation: refresh-n is current
	expires   time.Time
	under     int       // concurrent refreshes
	notBefore time.Time // after a failure: the earliest time of the next refresh
	failures  int
	calls     map[int]int               // refreshes by generation
	seen      map[string]map[string]int // tokens of each request
}

const tokenLife = 15 * time.Minute

func (a *authority) draw(n int) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rand.IntN(n)
}

// next implements TokensConfig.Next.
func (a *authority) next(ctx context.Context, old Token) (Token, error) {
	a.mu.Lock()
	a.under++
	if a.under > 1 {
		a.t.Error("two refreshes at once")
	}
	if time.Now().Before(a.notBefore) {
		a.t.Errorf("a refresh %s before its pause was over", time.Until(a.notBefore))
	}
	n, err := strconv.Atoi(strings.TrimPrefix(old.Refresh, "refresh-"))
	if err != nil || n != a.n && n != a.n-1 {
		a.t.Errorf("refreshed with %q at generation %d", old.Refresh, a.n)
	}
	a.calls[n]++
	how, slow := a.rand.IntN(10), time.Duration(a.rand.IntN(5000))*time.Millisecond
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		a.under--
		a.mu.Unlock()
	}()
	asked := time.Now()
	select {
	case <-time.After(slow):
	case <-ctx.Done():
		a.t.Errorf("a refresh was ended by somebody's context: %v", context.Cause(ctx))
		return Token{}, ctx.Err()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	fail := func(err error, pause time.Duration) (Token, error) {
		a.failures++
		a.notBefore = time.Now().Add(pause)
		return Token{}, err
	}
	switch how {
	case 0, 1: // outage
		return fail(errors.New("503"), time.Second)
	case 2: // outage with Retry-After
		return fail(&RetryError{After: 20 * time.Second, Err: errors.New("503")}, 20*time.Second)
	}
	if n == a.n { // else the response was lost and is sent again
		a.n++
		a.expires = time.Now().Add(tokenLife)
	}
	if how == 3 { // the response is lost
		return fail(errors.New("connection reset"), time.Second)
	}
	return Token{Access: fmt.Sprintf("access-%d", a.n), Type: "Bearer", Received: asked, Expires: asked.Add(time.Until(a.expires)), Refresh: fmt.Sprintf("refresh-%d", a.n)}, nil
}

// RoundTrip implements the API.
func (a *authority) RoundTrip(r *http.Request) (*http.Response, error) {
	name, sent := r.URL.Path, r.Header.Get("Authorization")
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		if err = errors.Join(err, r.Body.Close()); err != nil {
			return nil, err
		}
		if string(body) != name {
			a.t.Errorf("%s: a body of %q", name, body)
		}
	}
	time.Sleep(time.Duration(a.draw(300)) * time.Millisecond)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.seen[name] == nil {
		a.seen[name] = make(map[string]int)
	}
	if a.seen[name][sent]++; a.seen[name][sent] > 1 {
		a.t.Errorf("%s: sent twice with %q", name, sent)
	}
	if len(a.seen[name]) > 2 {
		a.t.Errorf("%s: sent %d times", name, len(a.seen[name]))
	}
	resp := &http.Response{StatusCode: 200, Header: make(http.Header), Body: http.NoBody, Request: r}
	good := sent == fmt.Sprintf("Bearer access-%d", a.n) || sent == fmt.Sprintf("Bearer access-%d", a.n-1)
	if !good || !time.Now().Before(a.expires) || a.rand.IntN(50) == 0 {
		resp.StatusCode = 401
		resp.Header.Set("WWW-Authenticate", `Bearer realm="test", error="invalid_token"`)
	}
	return resp, nil
}

// Hundreds of requests share a token: tokens expire, refreshes fail, are slow or lose their
// responses, and callers cancel.
func TestTransportTokensTogether(t *testing.T) {
	t.Parallel()
	rounds := 20
	if n, err := strconv.Atoi(os.Getenv("TRANSPORT_ROUNDS")); err == nil {
		rounds = n
	}
	for seed := range rounds {
		t.Run(strconv.Itoa(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { together(t, uint64(seed)) })
		})
	}
}

func together(t *testing.T, seed uint64) {
	a := &authority{t: t, rand: rand.New(rand.NewPCG(seed, 1)), calls: make(map[int]int), seen: make(map[string]map[string]int)}
	a.expires = time.Now().Add(tokenLife)
	store := new(MemoryStore)
	first := Token{Access: "access-0", Type: "Bearer", Received: time.Now(), Expires: a.expires, Refresh: "refresh-0"}
	if err := store.Update(t.Context(), func(context.Context, Token) (Token, error) { return first, nil }); err != nil {
		t.Fatal(err)
	}
	saved := make(map[string]bool)
	c := TokensConfig{
		Origins: []string{"https://api.example.com"}, Next: a.next, Store: store,
		Save: func(_ context.Context, token Token) error {
			if a.draw(8) == 0 {
				a.mu.Lock()
				a.notBefore = time.Now().Add(time.Second)
				a.mu.Unlock()
				return errors.New("disk full")
			}
			a.mu.Lock()
			saved["Bearer "+token.Access] = true
			a.mu.Unlock()
			return nil
		},
		OnSignedOut: func(err error) { t.Errorf("signed out: %v", err) },
	}
	tr := &Transport{Base: a, Sources: []Source{Tokens(c)}}
	var all sync.WaitGroup
	const clients, each = 100, 8
	for i := range clients {
		all.Go(func() {
			for j := range each {
				time.Sleep(time.Duration(a.draw(600)) * time.Second)
				name := fmt.Sprintf("/%d/%d", i, j)
				ctx, cancel := t.Context(), context.CancelFunc(func() {})
				own := a.draw(3) == 0
				if own {
					ctx, cancel = context.WithTimeout(ctx, time.Duration(a.draw(2000))*time.Millisecond)
				}
				r, err := http.NewRequestWithContext(ctx, "POST", "https://api.example.com"+name, strings.NewReader(name))
				if err != nil {
					t.Error(err)
					cancel()
					continue
				}
				once := a.draw(4) == 0
				if once {
					r.GetBody = nil
				}
				began := time.Now()
				resp, err := tr.RoundTrip(r)
				if took := time.Since(began); took > 31*time.Second {
					t.Errorf("%s took %s", name, took)
				}
				if err != nil && !own && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
					t.Errorf("%s was ended by somebody else's context: %v", name, err)
				}
				a.mu.Lock()
				if once && len(a.seen[name]) > 1 {
					t.Errorf("%s has a body that cannot be had again and was sent %d times", name, len(a.seen[name]))
				}
				for sent := range a.seen[name] {
					if sent != "Bearer access-0" && !saved[sent] {
						t.Errorf("%s: %s was used before it was saved", name, sent)
					}
				}
				a.mu.Unlock()
				if err == nil {
					resp.Body.Close()
				}
				cancel()
			}
		})
	}
	all.Wait()
	time.Sleep(time.Minute) // virtual: running early refreshes end
	a.mu.Lock()
	defer a.mu.Unlock()
	calls := 0
	for _, n := range a.calls {
		calls += n
	}
	if most := a.n + a.failures; calls > most {
		t.Errorf("%d refreshes for %d generations and %d failures", calls, a.n, a.failures)
	}
	if a.n < 3 {
		t.Errorf("only %d generations: the test tests nothing", a.n)
	}
}

// A token without Received is refreshed once in its life.
func TestTransportTokenWithoutReceived(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		stored := Token{Access: "0", Type: "Bearer", Expires: time.Now().Add(time.Hour)}
		source := Tokens(TokensConfig{Origins: []string{"https://h"}, Store: &MemoryStore{token: stored}, Next: func(context.Context, Token) (Token, error) {
			calls++
			return Token{Access: strconv.Itoa(calls), Type: "Bearer", Expires: time.Now().Add(time.Hour)}, nil
		}}).(own).source.(*tokens)
		for range 20 * 6 { // twenty hours
			if _, err := source.get(t.Context(), demand{}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			time.Sleep(10 * time.Minute)
		}
		if calls < 19 || calls > 20*60/42 { // an hour at first, then 42 to 60 minutes each
			t.Errorf("%d renewals in twenty hours", calls)
		}
	})
}
