package store

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-auth/durward/server/internal/testkit"
)

// An authorization request is answered once, however many requests try at once, and not after its time.
func TestRequestOnce(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		ctx := t.Context()
		addUser(t, db, "ada")
		signIn(t, db, "ada", "session-1", "grant-1")
		must(t, db.CreateRequest(ctx, aRequest("request-1"), 10))
		read, err := db.RequestByHash(ctx, aRequest("request-1").Hash, noon)
		if must(t, err); !cmp.Equal(read, aRequest("request-1")) {
			t.Errorf("the request is read as %+v", read)
		}
		for _, c := range []struct{ step, end time.Duration }{{0, time.Hour}, {10 * time.Minute, 0}} {
			over := aRequest(fmt.Sprint("over ", c))
			over.StepEnds, over.EndsAt = noon.Add(c.step), noon.Add(c.end)
			must(t, db.CreateRequest(ctx, over, 10))
			if _, err := db.RequestByHash(ctx, over.Hash, noon); !errors.Is(err, ErrNotFound) {
				t.Errorf("a request that ends at its step %s, in all %s: %v, want ErrNotFound", c.step, c.end, err)
			}
		}

		const many = 20
		results := make(chan error, many)
		for n := range many {
			code := aCode(fmt.Sprint("code ", n))
			code.Request = aRequest("request-1").Hash
			go func() { results <- db.CreateCode(ctx, code, "session-1") }()
		}
		given := 0
		for range many {
			if err := <-results; err == nil {
				given++
			} else if !errors.Is(err, ErrNotFound) {
				t.Error(err)
			}
		}
		if n := db.reader(ctx).number(`SELECT count(*) FROM codes`); given != 1 || n != 1 {
			t.Errorf("%d codes for one request, %d stored, want 1", given, n)
		}
	})
}

// The number of stored requests has a limit. Those whose time is over do not count, and are purged.
func TestRequestsAreBounded(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		ctx := t.Context()
		for n := range 3 {
			r := aRequest(fmt.Sprint("over ", n))
			r.StepEnds = noon.Add(-time.Second)
			must(t, db.CreateRequest(ctx, r, 2))
		}
		for n, want := range []error{nil, nil, ErrTooMany} {
			if err := db.CreateRequest(ctx, aRequest(fmt.Sprint("live ", n)), 2); !errors.Is(err, want) {
				t.Errorf("request %d of 2: %v, want %v", n+1, err, want)
			}
		}
		must(t, db.PurgeRequests(ctx))
		if n := db.reader(ctx).number(`SELECT count(*) FROM oauth_requests`); n != 2 {
			t.Errorf("%d requests after the purge, want the 2 live ones", n)
		}
	})
}

// A request without a browser belongs to the first one. Of two steps at once, one counts.
func TestRequestOfBrowser(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		ctx := t.Context()
		r := aRequest("request-1")
		r.Browser = nil
		must(t, db.CreateRequest(ctx, r, 10))
		for _, c := range []struct {
			browser string
			want    error
		}{{"first", nil}, {"second", ErrChanged}, {"first", nil}} {
			if err := db.BindRequest(ctx, r.Hash, []byte(c.browser)); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", c.browser, err, c.want)
			}
		}
		if err := db.BindRequest(ctx, []byte("none"), []byte("first")); !errors.Is(err, ErrNotFound) {
			t.Errorf("a request that is not stored: %v", err)
		}
		r.Progress, r.StepEnds = "further", noon.Add(20*time.Minute)
		for _, want := range []error{nil, ErrChanged} {
			if err := db.AdvanceRequest(ctx, r, "{}"); !errors.Is(err, want) {
				t.Errorf("AdvanceRequest: %v, want %v", err, want)
			}
		}
		if read, err := db.RequestByHash(ctx, r.Hash, noon.Add(15*time.Minute)); err != nil || read.Progress != "further" {
			t.Errorf("the request is read as %+v, %v", read, err)
		}
		for _, want := range []error{nil, ErrNotFound} {
			if err := db.EndRequest(ctx, r.Hash); !errors.Is(err, want) {
				t.Errorf("EndRequest: %v, want %v", err, want)
			}
		}
		if err := db.AdvanceRequest(ctx, r, "further"); !errors.Is(err, ErrNotFound) {
			t.Errorf("AdvanceRequest of a request that has ended: %v", err)
		}
	})
}

// Consents add up by resource. Withdrawing them ends the sessions of that client and user, and no other ones.
func TestConsents(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		ctx := t.Context()
		for _, id := range []string{"ada", "bob"} {
			addUser(t, db, id)
		}
		signIn(t, db, "ada", "session-1", "grant-1")
		for _, id := range []string{"app", "other"} {
			must(t, db.CreateClient(ctx, aClient(id), nil, anEvent(EventClientAdded, "")))
		}
		const api = "https://api.example.com"
		must(t, db.GiveConsents(ctx, []Consent{aConsent("", "openid"), aConsent(api, "items:read")}, anEvent(EventConsentGiven, "ada")))
		must(t, db.GiveConsents(ctx, []Consent{aConsent(api, "items:write items:read")}, anEvent(EventConsentGiven, "ada")))
		want := []Consent{aConsent("", "openid"), aConsent(api, "items:read items:write")}
		got, err := db.Consents(ctx, "ada", "app")
		if must(t, err); !cmp.Equal(got, want) {
			t.Errorf("consents: got %+v, want %+v", got, want)
		}

		child := func(id, user, client string) {
			s, g := aSession(id, user), aGrant(id+" grant", id)
			s.ClientID, g.ClientID = client, client
			must(t, db.do(ctx, func(tx *tx) error { tx.insertSession(s); return tx.insertGrant(g) }))
		}
		child("of app", "ada", "app")
		child("of other", "ada", "other")
		child("of bob", "bob", "app")
		code := aCode("code-1")
		must(t, db.CreateCode(ctx, code, "session-1"))

		rows, err := db.ConsentsOf(ctx, "ada", noon)
		must(t, err)
		var seen []string
		for _, r := range rows {
			seen = append(seen, r.Client.Name+" "+r.Resource+" "+r.Scope)
		}
		if want := []string{"App app  openid", "App app " + api + " items:read items:write", "App other  "}; !cmp.Equal(seen, want) {
			t.Errorf("ConsentsOf: got %q, want %q", seen, want)
		}

		revoked, err := db.WithdrawConsent(ctx, "ada", "app", later, anEvent(EventConsentWithdrawn, "ada"))
		if must(t, err); len(revoked) != 1 || revoked[0].Value != "of app" {
			t.Errorf("revoked: %+v, want the session of the client", revoked)
		}
		live, err := texts(db.reader(ctx), `SELECT id FROM sessions WHERE ended_at = 0 ORDER BY id`)
		if must(t, err); !cmp.Equal(live, []string{"of bob", "of other", "session-1"}) {
			t.Errorf("live sessions: %q", live)
		}
		if use, err := db.SpendCode(ctx, aSpending("child", anEvent(EventApplicationSignedIn, "ada"))); err != nil || !errors.Is(use.Refused, ErrNotFound) {
			t.Errorf("a code after the withdrawal: %+v, %v", use, err)
		}
		for _, c := range []struct{ user, client string }{{"ada", "app"}, {"ada", "durward"}, {"bob", "other"}, {"ada", "\x00"}} {
			if _, err := db.WithdrawConsent(ctx, c.user, c.client, later, anEvent(EventConsentWithdrawn, "ada")); !errors.Is(err, ErrNotFound) {
				t.Errorf("%+v: %v, want ErrNotFound", c, err)
			}
		}
	})
}
