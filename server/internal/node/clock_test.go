package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/services"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/config"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/session"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/testkit"
)

// A clock that jumps and is set right again, with and without a restart at the wrong time, deletes no
// session, key or revocation, makes no revoked credential valid and ends no valid one.
func TestClockIsWrongForAWhile(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	engines := map[string]func(testing.TB) string{
		"sqlite":   testkit.SQLite,
		"postgres": func(t testing.TB) string { return services.Database(t) },
	}
	for engine, database := range engines {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restart %v", engine, restart), func(t *testing.T) {
				t.Parallel()
				w := newWrongClock(t, database(t))
				w.outlive(2*time.Hour, restart)
				for _, jump := range []time.Duration{2 * time.Minute, time.Hour, 36 * time.Hour, 45 * day, 400 * day, 10 * 365 * day} {
					for _, by := range []time.Duration{jump, -jump} {
						w.try(by, restart)
					}
				}
			})
		}
	}
}

const adaPassword = "plenty of words in a row"

// wrongClock is a node with a clock that the test sets.
type wrongClock struct {
	*testing.T
	*Node
	clock  *clock
	set    *config.Config
	master *seal.Master
	user   store.User
}

func newWrongClock(t *testing.T, database string) *wrongClock {
	w := &wrongClock{T: t, clock: new(clock), set: config.Default()}
	w.clock.at.Store(time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC).UnixMicro())
	w.set.Database.URL, w.set.Issuer = config.DatabaseURL(database), "https://auth.example.com"
	w.set.Passwords.Argon2Memory, w.set.Passwords.Argon2Time = 8, 1
	w.set.DataDir = t.TempDir() // for mails
	var err error
	w.master, err = seal.Open(t.TempDir()+"/master.key", true)
	w.must(err)
	w.open()
	t.Cleanup(func() { w.must(w.Close()) })
	w.user, err = w.Accounts.Add(t.Context(), account.NewUser{Email: "ada@example.com", Password: adaPassword}, store.EventUserAdded, home)
	w.must(err)
	return w
}

func (w *wrongClock) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *wrongClock) open() {
	var err error
	w.Node, err = Open(ctx, Config{Settings: w.set, Master: w.master, Now: w.clock.Now, Local: w.clock.Local})
	w.must(err)
	w.must(w.Sessions.Start(ctx))
}

// jump moves the clock, restarts the node or not, and does the work of a node for a minute.
func (w *wrongClock) jump(by time.Duration, restart bool) {
	w.Helper()
	ctx := w.Context()
	w.clock.at.Add(by.Microseconds())
	if restart {
		w.must(w.Close())
		w.open()
	}
	for range 2 {
		w.clock.at.Add(time.Second.Microseconds())
		w.clock.local.Add(time.Second.Microseconds())
		w.must(errors.Join(w.DB.SaveClocks(ctx), w.Issuer.RotateDue(ctx), w.Issuer.ReadKeys(ctx)))
		// Rows are kept for days after their end; this test deletes them at once.
		w.must(errors.Join(w.DB.PurgeRevocations(ctx), w.DB.PurgeSessions(ctx, 0), w.DB.PurgeAPIKeys(ctx, 0)))
		w.revocations.Poll(ctx)
		w.must(w.revocations.Err())
	}
}

func (w *wrongClock) signIn() session.Tokens {
	w.Helper()
	t, err := w.Sessions.SignIn(w.Context(), w.proof(), nil, home)
	w.must(err)
	return t
}

func (w *wrongClock) proof() account.Proof {
	return account.Proof{User: w.user, Methods: []string{"pwd"}, ACR: "urn:durward:acr:1fa", At: w.clock.Now()}
}

func (w *wrongClock) signOut(t session.Tokens) {
	w.Helper()
	w.must(w.Sessions.SignOut(w.Context(), w.user.ID, t.Session, false, home))
}

// verify checks that an access token is accepted or refused.
func (w *wrongClock) verify(what string, t session.Tokens, accepted bool) {
	w.Helper()
	if _, err := w.Issuer.Verifier().Verify(w.Context(), t.Access); (err == nil) != accepted {
		w.Errorf("%s: got %v, want it accepted: %v", what, err, accepted)
	}
}

// try signs in and out, sets the clock wrong and right again, and checks every credential.
func (w *wrongClock) try(by time.Duration, restart bool) {
	ctx := w.Context()
	what := func(credential string) string { return fmt.Sprintf("clock wrong by %s: %s", by, credential) }
	in, out, later := w.signIn(), w.signIn(), w.signIn()
	cookie, err := w.Sessions.SignInCookie(ctx, w.proof(), session.CookieWish{}, home)
	w.must(err)
	_, key, err := w.Accounts.CreateKey(ctx, &durward.Principal{Subject: w.user.ID, SessionID: in.Session, Scopes: account.ScopesOf(w.user), AuthTime: w.clock.Now()},
		account.NewKey{Name: what("key"), Life: time.Hour}, home)
	w.must(err)
	w.signOut(out)
	w.jump(0, false)
	keys := string(w.Issuer.JWKS())

	w.jump(by, restart)
	w.verify(what("token signed out before, by the wrong clock"), out, false)
	w.signOut(later)
	wrong := w.signIn()
	w.jump(0, restart)
	w.jump(-by, restart)

	w.verify(what("token signed out before"), out, false)
	w.verify(what("token signed out meanwhile"), later, false)
	w.verify(what("token of a live session"), in, true)
	w.signOut(wrong)
	if got := string(w.Issuer.JWKS()); got != keys {
		w.Errorf("%s: got %s, want %s", what("signing keys"), got, keys)
	}
	if _, err := w.Sessions.Refresh(ctx, in.Refresh, nil, home); err != nil {
		w.Errorf("%s: %v", what("refresh token"), err)
	}
	if _, err := w.Sessions.AuthenticateCookie(ctx, cookie.Value, true); err != nil {
		w.Errorf("%s: %v", what("cookie"), err)
	}
	if _, err := w.Accounts.AuthenticateKey(ctx, key.Reveal(), home); err != nil {
		w.Errorf("%s: %v", what("API key"), err)
	}
	w.jump(by-4*time.Second, restart) // the same wrong time again
	w.verify(what("token of the wrong time, signed out at the right one"), wrong, false)
	w.jump(4*time.Second-by, restart)
	w.verify(what("token signed out before, in the end"), out, false)
}

// outlive signs in while the clock is ahead, sets it right, signs out, and waits until the token is valid.
func (w *wrongClock) outlive(by time.Duration, restart bool) {
	w.jump(by, restart)
	wrong := w.signIn()
	w.jump(-by, restart)
	w.signOut(wrong)
	for range by / (10 * time.Minute) {
		w.clock.local.Add((10 * time.Minute).Microseconds())
		w.jump(10*time.Minute, restart)
	}
	w.verify("signed-out token of a clock that was ahead, in its time", wrong, false)
}

// A node that is killed soon after its clock was set back has stored so before it wrote anything: what
// was revoked meanwhile stays revoked.
func TestKilledWhileTheClockIsBehind(t *testing.T) {
	t.Parallel()
	const behind = -48 * time.Hour // more than a revocation outlives its token
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart %v", restart), func(t *testing.T) {
			t.Parallel()
			w := newWrongClock(t, testkit.SQLite(t))
			w.jump(0, false)
			if restart {
				w.clock.at.Add(behind.Microseconds())
				w.must(w.Close())
				w.open()
			} else {
				w.runThrough(time.Minute, behind) // at the first, the clocks are saved in any case
			}
			out := w.signIn()
			w.signOut(out)
			w.clock.at.Add(-behind.Microseconds())
			w.must(w.Close()) // which stores no clock, like a kill
			w.open()
			w.jump(0, false)
			w.jump(behind, false)
			w.verify("signed out while the clock was behind", out, false)
		})
	}
}

// A running node logs each jump of a minute or more and writes an event.
func TestJumpIsAnEvent(t *testing.T) {
	t.Parallel()
	w := newWrongClock(t, testkit.SQLite(t))
	w.runThrough(36*time.Hour, -time.Hour, time.Minute)
}

// runThrough runs the node while its clock jumps, and waits for the event of each jump.
func (w *wrongClock) runThrough(jumps ...time.Duration) {
	w.Helper()
	running, stop := context.WithCancel(w.Context())
	var background sync.WaitGroup
	background.Go(func() { w.Sessions.Run(running) })
	defer background.Wait()
	defer stop()
	var want []string
	for _, by := range jumps {
		w.clock.at.Add(by.Microseconds())
		want = append(want, "by "+by.String())
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
			events, err := w.DB.Events(w.Context(), store.EventFilter{Kind: store.EventClockJumped})
			w.must(err)
			var got []string
			for _, e := range events {
				got = append(got, e.Detail)
			}
			if slices.Sort(got); slices.Equal(got, slices.Sorted(slices.Values(want))) {
				break
			}
			if time.Now().After(deadline) {
				w.Fatalf("after a jump by %s: got the events %q, want %q", by, got, want)
			}
		}
	}
}

// A jump of the clock neither ends nor lengthens the block of a guesser.
func TestBlockAndAJump(t *testing.T) {
	t.Parallel()
	w := newWrongClock(t, testkit.SQLite(t))
	try := func(what, password string, want durward.Code) {
		t.Helper()
		var got durward.Code
		if _, err := w.Accounts.Authenticate(t.Context(), w.user.Email, password, home); err != nil && !errors.As(err, &got) {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
	}
	for i := range 5 {
		try("guess", fmt.Sprintf("guess number %d of many", i), durward.InvalidCredentials)
	}
	const day = 24 * time.Hour
	for _, by := range []time.Duration{day, -2 * day} {
		w.jump(by, false)
		try("after a jump by "+by.String(), adaPassword, durward.TooManyAttempts)
	}
	w.clock.local.Add(day.Microseconds())
	try("after a day, by a clock that is behind", adaPassword, "")
}

// A node with a fast clock sets the Redis keys of all revocations for as long as they count.
func TestRedisKeysWithAWrongClock(t *testing.T) {
	t.Parallel()
	w := newWrongClock(t, testkit.SQLite(t))
	w.set.Redis.URL = seal.Secret(services.NewRedis(t).URL())
	out := w.signIn()
	w.signOut(out)
	w.jump(2*time.Hour, true) // the node that starts now sets the keys
	running, stop := context.WithCancel(t.Context())
	var background sync.WaitGroup
	background.Go(func() { w.redis.run(running) })
	defer background.Wait()
	defer stop()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		var left int64 // milliseconds
		err := w.redis.client.With(t.Context(), func(ctx context.Context, c valkey.Client) (err error) {
			left, err = c.Do(ctx, c.B().Pttl().Key("revoked:sid:"+out.Session).Build()).AsInt64()
			return err
		})
		if err == nil && left > time.Hour.Milliseconds() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("key of the session: got a life of %d ms, %v, want more than an hour", left, err)
		}
	}
}
