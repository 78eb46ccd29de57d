package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/revocation"
	"github.com/durward-auth/durward/server/internal/store"
)

// feedKey creates an administrator and their key for the feed.
func (w *env) feedKey() (key, id string, admin store.User) {
	w.t.Helper()
	admin, err := w.people.Add(w.t.Context(), account.NewUser{Email: "root@example.com", Password: adaPassword, Admin: true}, store.EventUserAdded, request.Info{Actor: "operator"})
	if err != nil {
		w.t.Fatal(err)
	}
	k, secret, err := w.people.CreateKey(w.t.Context(), &durward.Principal{Subject: admin.ID, Scopes: account.ScopesOf(admin)}, account.NewKey{Name: "feed", Scopes: []string{"revocations"}}, request.Info{Actor: "operator"})
	if err != nil {
		w.t.Fatal(err)
	}
	return secret.Reveal(), k.ID, admin
}

// feedPage returns the feed's page after a number, without a request.
func (w *env) feedPage(after int64) revocation.Page {
	w.t.Helper()
	page, err := w.server.c.Feed.Get(w.t.Context(), revocation.Query{After: after})
	if err != nil {
		w.t.Fatal(err)
	}
	return page
}

// feed requests the revocations.
func (w *env) feed(key, query, etag string) (reply, api.RevocationPage) {
	w.t.Helper()
	r, err := http.NewRequest("GET", w.url+"/api/revocations"+query, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("X-API-Key", key)
	if etag != "" {
		r.Header.Set("If-None-Match", etag)
	}
	got := w.send(r)
	var page api.RevocationPage
	if got.StatusCode == 200 {
		if err := json.Unmarshal(got.body, &page); err != nil {
			w.t.Fatalf("%s: %v", got.body, err)
		}
	}
	return got, page
}

// A client receives everything once, and then each new entry at once.
func TestFeed(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	key, _, _ := w.feedKey()
	first, page := w.feed(key, "", "")
	if first.StatusCode != 200 || page.Epoch == "" || len(page.Items) != 0 || first.Header.Get("ETag") == "" || first.Header.Get("Cache-Control") != "no-store" || first.Header.Get(api.AsOfField) == "" {
		t.Fatalf("%s %v %s", first.Status, first.Header, first.body)
	}
	etag := first.Header.Get("ETag")
	began := time.Now()
	if r, _ := w.feed(key, "?wait=1", etag); r.StatusCode != 304 || time.Since(began) < time.Second || r.Header.Get("ETag") != etag || len(r.body) != 0 {
		t.Errorf("nothing new: %s after %s", r.Status, time.Since(began))
	}
	s := w.signIn()
	type feedReply struct {
		r    reply
		page api.RevocationPage
	}
	waits := make(chan feedReply)
	go func() {
		r, page := w.feed(key, fmt.Sprintf("?after=%d&wait=30", page.Next), etag)
		waits <- feedReply{r, page}
	}()
	for w.server.c.Feed.Waiting() == 0 {
		time.Sleep(time.Millisecond)
	}
	w.do("POST", "/api/auth/logout", s.AccessToken, nil)
	got := <-waits
	if got.r.StatusCode != 200 || len(got.page.Items) != 1 || got.page.Items[0].Kind != "sid" || got.page.Next != got.page.Items[0].Seq || !got.page.Items[0].Until.After(w.clock.Now()) {
		t.Fatalf("%s %s", got.r.Status, got.r.body)
	}
	if r, p := w.feed(key, fmt.Sprintf("?after=%d", got.page.Next), got.r.Header.Get("ETag")); r.StatusCode != 304 {
		t.Errorf("what it has already: %s %+v", r.Status, p)
	}
	if r, p := w.feed(key, fmt.Sprintf("?after=%d&wait=1", got.page.Next), ""); r.StatusCode != 200 || len(p.Items) != 0 {
		t.Errorf("without an ETag: %s %+v", r.Status, p)
	}
	if r, p := w.feed(key, "?after=0&wait=30", got.r.Header.Get("ETag")); r.StatusCode != 200 || len(p.Items) != 1 {
		t.Errorf("everything: %s %+v", r.Status, p)
	}
	for _, query := range []string{"?after=-1", "?after=x", "?after=99999999999999999999", "?wait=31", "?wait=-1", "?wait=1.5"} {
		r, _ := w.feed(key, query, "")
		w.refused(r, 400, "INVALID_REQUEST")
	}
}

// A waiting request causes no query: the poll of the node serves all.
func TestWaitingAsksNothing(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	key, _, _ := w.feedKey()
	first, page := w.feed(key, "", "")
	done := make(chan int)
	for range 50 {
		go func() {
			r, _ := w.feed(key, fmt.Sprintf("?after=%d&wait=2", page.Next), first.Header.Get("ETag"))
			done <- r.StatusCode
		}()
	}
	for w.server.c.Feed.Waiting() < 50 {
		time.Sleep(time.Millisecond)
	}
	// Their keys are checked again after the wait, so the polls are counted before that.
	before := w.polls.Load()
	for range 50 {
		if status := <-done; status != 304 {
			t.Errorf("%d", status)
		}
	}
	// One poll each 50 ms, for any number of requests.
	if n := w.polls.Load() - before; n > 60 {
		t.Errorf("%d polls in two seconds with 50 waiting requests, want at most 60", n)
	}
}

// A waiting request is refused if its key was revoked, or its session ended, during the wait.
func TestRevokedDuringWait(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	key, id, admin := w.feedKey()
	first, page := w.feed(key, "", "")
	s := w.signIn()
	waits := make(chan reply)
	go func() {
		r, _ := w.feed(key, fmt.Sprintf("?after=%d&wait=30", page.Next), first.Header.Get("ETag"))
		waits <- r
	}()
	for w.server.c.Feed.Waiting() == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := w.people.RevokeKey(t.Context(), admin.ID, id, "", request.Info{Actor: "operator"}); err != nil {
		t.Fatal(err)
	}
	w.do("POST", "/api/auth/logout", s.AccessToken, nil)
	w.refused(<-waits, 401, "INVALID_API_KEY")
}

// Waiting requests get a response when the server stops.
func TestWaitEndsWithTheServer(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	key, _, _ := w.feedKey()
	first, page := w.feed(key, "", "")
	waits := make(chan reply)
	began := time.Now()
	go func() {
		r, _ := w.feed(key, fmt.Sprintf("?after=%d&wait=30", page.Next), first.Header.Get("ETag"))
		waits <- r
	}()
	for w.server.c.Feed.Waiting() == 0 {
		time.Sleep(time.Millisecond)
	}
	w.server.Drain()
	if r := <-waits; r.StatusCode != 304 || time.Since(began) > 20*time.Second {
		t.Errorf("%s after %s", r.Status, time.Since(began))
	}
}

// A long list comes in pages, from memory and from the database, and is complete.
func TestFeedInPages(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	key, _, _ := w.feedKey()
	const many, pageSize = 5_020, 5_000
	var writing sync.WaitGroup
	for first := range 20 { // at once, so that they share their commits
		writing.Go(func() {
			for i := first; i < many; i += 20 {
				if _, err := w.db.Revoke(t.Context(), "jti", fmt.Sprint("token ", i), w.clock.Now().Add(3*time.Hour)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writing.Wait()
	for _, old := range []bool{false, true} { // in memory, and not any more
		if old {
			w.clock.Advance(7 * time.Minute)
			for w.feedPage(0).InMemory || w.server.c.Revocations.Err() != nil {
				time.Sleep(time.Millisecond)
			}
		} else {
			for len(w.feedPage(0).Entries) < pageSize || w.feedPage(pageSize).Next < many {
				time.Sleep(time.Millisecond)
			}
		}
		seen, deadline := make(map[string]bool), time.Now().Add(2*time.Minute)
		for after, more := int64(0), true; more; {
			r, page := w.feed(key, fmt.Sprintf("?after=%d", after), "")
			if r.StatusCode == 503 && time.Now().Before(deadline) { // the node is behind, or the database is slow
				time.Sleep(time.Millisecond)
				continue
			}
			if r.StatusCode != 200 || len(page.Items) > pageSize || page.More && page.Next <= after {
				t.Fatalf("%s, %d items, next %d after %d", r.Status, len(page.Items), page.Next, after)
			}
			for _, e := range page.Items {
				seen[e.Value] = true
			}
			after, more = page.Next, page.More
		}
		if len(seen) != many {
			t.Errorf("old %v: %d of %d", old, len(seen), many)
		}
	}
}

// Only an administrator can give a key the scope revocations. No sign-in has it, and the key loses
// it when its user stops being an administrator.
func TestFeedScope(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	_, _, admin := w.feedKey()
	want := object{"name": "feed", "scopes": []string{"revocations"}}
	w.refused(w.do("POST", "/api/keys", w.signIn().AccessToken, want), 400, "INVALID_REQUEST")
	root := w.tokens(w.do("POST", "/api/auth/login", "", object{"email": admin.Email, "password": adaPassword}))
	if root.Scope != "profile admin" {
		t.Errorf("a sign-in has the scope %q", root.Scope)
	}
	made := w.do("POST", "/api/keys", root.AccessToken, want)
	var k account.KeyView
	if err := json.Unmarshal(made.body, &k); err != nil || made.StatusCode != 201 {
		t.Fatalf("%s %s", made.Status, made.body)
	}
	rotated := w.do("POST", "/api/keys/"+k.ID+"/rotate", root.AccessToken, nil)
	if err := json.Unmarshal(rotated.body, &k); err != nil || rotated.StatusCode != 201 {
		t.Fatalf("%s %s", rotated.Status, rotated.body)
	}
	if r, _ := w.feed(k.Key, "", ""); r.StatusCode != 200 {
		t.Errorf("%s %s", r.Status, r.body)
	}
	w.refused(w.do("GET", "/api/profile", k.Key, nil), 403, "INSUFFICIENT_SCOPE")
}
