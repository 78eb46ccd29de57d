package httpapi

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/server/internal/issuer"
	"github.com/durward-auth/durward/server/internal/session"
)

func TestRefreshGivenAgainWithinTheGrace(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{grace: 10 * time.Second})
	first := w.signIn()
	second := w.tokens(w.refreshWith(first.RefreshToken))
	w.clock.Advance(2 * time.Second)
	again := w.tokens(w.refreshWith(first.RefreshToken))
	if again.RefreshToken != second.RefreshToken {
		t.Errorf("a lost answer is given again: got %s, want %s", again.RefreshToken, second.RefreshToken)
	}
	if again.AccessToken == second.AccessToken {
		t.Error("the access token given again is not a fresh one")
	}
	w.works(again.AccessToken)
	w.works(second.AccessToken)
	w.tokens(w.refreshWith(second.RefreshToken))
}

// A lost response that is requested again too late ends the session without an alarm.
func TestRefreshAnswerLost(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{grace: 10 * time.Second})
	first := w.signIn()
	second := w.tokens(w.refreshWith(first.RefreshToken))
	w.clock.Advance(10 * time.Second)
	w.refused(w.refreshWith(first.RefreshToken), 401, "REFRESH_INVALID")
	w.dead(second.AccessToken, "TOKEN_REVOKED")
	w.refused(w.refreshWith(second.RefreshToken), 401, "SESSION_REVOKED")
	if len(w.events("refresh_answer_lost")) != 1 || len(w.events("refresh_theft")) != 0 {
		t.Errorf("events: %v %v", w.events("refresh_answer_lost"), w.events("refresh_theft"))
	}
	var notified list[notification]
	if r := w.do("GET", "/api/notifications", w.signIn().AccessToken, nil); json.Unmarshal(r.body, &notified) != nil || len(notified.Items) != 0 {
		t.Errorf("notifications after a lost response: %s, want none about theft", r.body)
	}
}

func TestRefreshTheft(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{grace: 10 * time.Second})
	sibling := w.signIn()
	first := w.signIn()
	second := w.tokens(w.refreshWith(first.RefreshToken))
	third := w.tokens(w.refreshWith(second.RefreshToken))
	w.clock.Advance(10 * time.Second)
	w.refused(w.refreshWith(first.RefreshToken), 401, "SESSION_REVOKED")
	for _, s := range []api.TokenResponse{first, second, third} {
		w.dead(s.AccessToken, "TOKEN_REVOKED")
		w.refused(w.refreshWith(s.RefreshToken), 401, "SESSION_REVOKED")
	}
	if n := len(w.events("refresh_theft")); n != 1 {
		t.Errorf("%d events of one theft", n)
	}
	w.works(sibling.AccessToken)
	w.tokens(w.refreshWith(sibling.RefreshToken))
	var notified list[notification]
	if r := w.do("GET", "/api/notifications", sibling.AccessToken, nil); json.Unmarshal(r.body, &notified) != nil || len(notified.Items) != 1 || notified.Items[0].Kind != "session_ended_by_theft" {
		t.Errorf("notifications after theft: %s, want one", r.body)
	}
}

// The number of repeated requests within the grace is limited too.
func TestRefreshGraceIsBoundedInNumber(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{grace: time.Minute})
	first := w.signIn()
	w.tokens(w.refreshWith(first.RefreshToken))
	w.clock.Advance(2 * time.Second)
	for range 5 {
		w.tokens(w.refreshWith(first.RefreshToken))
	}
	w.refused(w.refreshWith(first.RefreshToken), 401, "REFRESH_INVALID")
}

func TestRefreshFromElsewhereIsTheft(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	first := w.signIn()
	w.tokens(w.refreshWith(first.RefreshToken))
	// Another browser in the same network is another tool of the same user.
	r, _ := http.NewRequest("POST", w.url+"/api/auth/refresh", strings.NewReader(`{"refresh_token":"`+first.RefreshToken+`"}`))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "Mozilla/5.0 Firefox/140.0")
	w.tokens(w.send(r))
}

func TestRefreshEnds(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{tweak: func(_ *issuer.Config, c *session.Config) {
		c.RefreshTTL, c.RefreshAbsolute = 7*24*time.Hour, 10*24*time.Hour
	}})
	s := w.signIn()
	w.clock.Advance(6 * 24 * time.Hour)
	s = w.tokens(w.refreshWith(s.RefreshToken))
	if s.RefreshExpiresIn != 4*24*3600 {
		t.Errorf("refresh_expires_in %d is not what is left until the absolute end", s.RefreshExpiresIn)
	}
	w.clock.Advance(4 * 24 * time.Hour)
	w.refused(w.refreshWith(s.RefreshToken), 401, "REFRESH_EXPIRED")

	s = w.signIn()
	w.clock.Advance(7 * 24 * time.Hour)
	w.refused(w.refreshWith(s.RefreshToken), 401, "REFRESH_EXPIRED")
}

func TestRefreshGarbage(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	s := w.signIn()
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(s.RefreshToken, "dr_"))
	if err != nil || len(raw) != 48 {
		t.Fatalf("form of %s: %v", s.RefreshToken, err)
	}
	bad := []string{"x", "dr_", s.AccessToken, s.RefreshToken + "A", s.RefreshToken[:len(s.RefreshToken)-1], s.RefreshToken + "=", "DR_" + s.RefreshToken[3:], " " + s.RefreshToken, s.RefreshToken[:10] + "\n" + s.RefreshToken[11:]}
	for i := range raw {
		flipped := append([]byte(nil), raw...)
		flipped[i] ^= 1
		bad = append(bad, "dr_"+base64.RawURLEncoding.EncodeToString(flipped))
	}
	for _, token := range bad {
		r := w.refreshWith(token)
		if r.StatusCode == 429 { // the limit on bad ones
			continue
		}
		w.refused(r, 401, "REFRESH_INVALID")
	}
	// Valid tokens are not affected.
	w.tokens(w.refreshWith(s.RefreshToken))
	// A refresh token does not work as an access token, nor the reverse.
	w.refused(w.do("GET", "/api/profile", s.RefreshToken, nil), 401, "INVALID_TOKEN")
}

func TestManyAtOnceRefreshOneToken(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	first := w.signIn()
	const many = 200
	answers := make([]api.TokenResponse, many)
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range many {
		wg.Go(func() {
			<-start
			answers[i] = w.tokens(w.refreshWith(first.RefreshToken))
		})
	}
	close(start)
	wg.Wait()
	for i, a := range answers {
		if a.RefreshToken != answers[0].RefreshToken {
			t.Fatalf("answer %d has another successor", i)
		}
	}
	w.works(answers[many-1].AccessToken)
	// One move: the successor is token 1.
	raw, _ := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(answers[0].RefreshToken, "dr_"))
	if n := fmt.Sprintf("%x", raw[18:22]); n != "00000001" {
		t.Errorf("after one round the grant stands at %s", n)
	}
}

// The clock of the grace period stands still while the server is down.
func TestGraceOutlastsAnOutage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := newEnv(t, settings{dir: dir, grace: 10 * time.Second})
	first := w.signIn()
	second := w.tokens(w.refreshWith(first.RefreshToken))
	if err := w.db.Beat(context.Background(), w.clock.Now()); err != nil {
		t.Fatal(err)
	}
	down := w.clock.Now()

	later := newEnv(t, settings{dir: dir, grace: 10 * time.Second, tweak: func(keys *issuer.Config, c *session.Config) {
		started := down.Add(time.Hour)
		c.Now = func() time.Time { return started.Add(5 * time.Second) }
		keys.Now = c.Now
	}})
	again := later.tokens(later.refreshWith(first.RefreshToken))
	if again.RefreshToken != second.RefreshToken {
		t.Error("the answer lost before the outage is not given again after it")
	}
}
