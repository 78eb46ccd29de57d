package revoked

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// feed is a table of revocations. Entries have numbers in the order of writing and become readable
// at visible.
type feed struct {
	now   func() time.Time
	local func() time.Time
	alive func() time.Time // entries that end later have not ended

	mu      sync.Mutex
	epoch   string
	seq     int64
	entries []Entry
	visible []time.Time
	err     error
	hangs   bool
	asked   []question
}

type question struct {
	after    int64
	overlap  time.Duration
	deadline bool
}

// write revokes a session for an hour; it becomes readable after late.
func (f *feed) write(value string, late time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seq++
	f.entries = append(f.entries, Entry{Seq: f.seq, Kind: Session, Value: value, At: f.now(), Until: f.now().Add(time.Hour)})
	f.visible = append(f.visible, f.local().Add(late))
}

// restore replaces the feed: numbers start again.
func (f *feed) restore(epoch string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.epoch, f.seq, f.entries, f.visible = epoch, 0, nil, nil
}

func (f *feed) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *feed) poll(ctx context.Context, after int64, overlap time.Duration) ([]Entry, string, error) {
	f.mu.Lock()
	_, deadline := ctx.Deadline()
	f.asked = append(f.asked, question{after, overlap, deadline})
	if f.hangs {
		f.mu.Unlock()
		<-ctx.Done()
		return nil, "", ctx.Err()
	}
	defer f.mu.Unlock()
	if err := errors.Join(f.err, ctx.Err()); err != nil {
		return nil, "", err
	}
	now := f.now()
	var found []Entry
	for i, e := range f.entries {
		if (e.Seq > after || !e.At.Before(now.Add(-overlap))) && !f.local().Before(f.visible[i]) && f.alive().Before(e.Until) {
			found = append(found, e)
		}
	}
	slices.Reverse(found) // the order does not matter
	return found, f.epoch, nil
}

// taking makes a poll of a feed that of a FollowerConfig.
func taking(
	poll func(context.Context, int64, time.Duration) ([]Entry, string, error),
) func(context.Context, int64, time.Duration, func([]Entry)) (string, error) {
	return func(ctx context.Context, after int64, overlap time.Duration, take func([]Entry)) (string, error) {
		entries, epoch, err := poll(ctx, after, overlap)
		if err == nil {
			take(entries)
		}
		return epoch, err
	}
}

func (f *feed) last() question {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked[len(f.asked)-1]
}

func (f *feed) polls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.asked)
}

// follow returns a follower of a new feed, with a virtual clock.
func follow(t testing.TB, change ...func(*FollowerConfig)) (*Follower, *feed, *fakeClock) {
	t.Helper()
	k := newClock()
	src := &feed{now: k.Now, local: k.Local, alive: k.trusted(), epoch: "first"}
	c := FollowerConfig{List: NewList(k.trusted()), Poll: taking(src.poll), Now: k.Now, Local: k.Local, Log: slog.New(slog.DiscardHandler)}
	for _, f := range change {
		f(&c)
	}
	f, err := NewFollower(c)
	if err != nil {
		t.Fatal(err)
	}
	return f, src, k
}

func (f *Follower) mustLoad(t testing.TB) {
	t.Helper()
	if err := f.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// knows checks that of all sessions exactly those in want are revoked.
func (f *Follower) knows(t testing.TB, want string, all string) {
	t.Helper()
	var got []string
	for value := range strings.FieldsSeq(all) {
		if f.c.List.Revoked(Session, value) {
			got = append(got, value)
		}
	}
	if strings.Join(got, " ") != want {
		t.Errorf("revoked of %s: got %q, want %q", all, strings.Join(got, " "), want)
	}
}

func TestFollowerConfig(t *testing.T) {
	t.Parallel()
	poll := (&feed{}).poll
	for _, c := range []struct {
		name   string
		config FollowerConfig
		want   []string
	}{
		{"nothing", FollowerConfig{}, []string{"List is nil", "Poll is nil"}},
		{"all", FollowerConfig{Interval: -1, Timeout: -3, MaxAge: -4},
			[]string{"List is nil", "Poll is nil", "negative: Interval -1ns, Timeout -3ns or MaxAge -4ns"}},
		{"MaxAge below the interval", FollowerConfig{List: NewList(nil), Poll: taking(poll), Interval: time.Minute}, []string{"MaxAge is 5s, want at least the Interval, 1m0s"}},
	} {
		f, err := NewFollower(c.config)
		if err == nil || f != nil {
			t.Errorf("%s: got %v, want an error", c.name, f)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %q, want an error with %q", c.name, err, want)
			}
		}
		if n := strings.Count(err.Error(), "\n") + 1; n != len(c.want) {
			t.Errorf("%s: got %d mistakes, want %d: %v", c.name, n, len(c.want), err)
		}
	}
	f, err := NewFollower(FollowerConfig{List: NewList(nil), Poll: taking(poll)})
	if err != nil {
		t.Fatal(err)
	}
	if f.c.Interval != 400*time.Millisecond || f.c.Timeout != 5*time.Second || f.c.MaxAge != 5*time.Second || f.c.Log == nil || f.c.Now == nil {
		t.Errorf("defaults: got %+v", f.c)
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	f, src, k := follow(t)
	if err := f.Err(); err == nil || !strings.Contains(err.Error(), "not loaded yet") {
		t.Errorf("before the first poll: %v", err)
	}
	if age := f.age(f.c.Now()); age != math.MaxInt64 {
		t.Errorf("before the first poll: got age %s, want the maximum", age)
	}
	src.write("a", 0)
	k.advance(30 * time.Minute) // far more than the overlap
	src.write("b", 0)
	away := errors.New("no route to host")
	src.fail(away)
	if err := f.Load(t.Context()); !errors.Is(err, away) {
		t.Errorf("load fails: got %v", err)
	}
	if err := f.Err(); !errors.Is(err, away) || !strings.Contains(err.Error(), "not loaded") {
		t.Errorf("after a failed load: got %v", err)
	}
	if f.age(f.c.Now()) != math.MaxInt64 {
		t.Error("after a failed load: got a fresh list")
	}
	src.fail(nil)
	f.mustLoad(t)
	f.knows(t, "a b", "a b c")
	if q := src.last(); q.after != 0 || q.deadline {
		t.Errorf("load: got the query %+v, want all entries and no timeout", q)
	}
	if err := f.Err(); err != nil || f.age(f.c.Now()) != 0 {
		t.Errorf("after the load: got %v and age %s", err, f.age(f.c.Now()))
	}
}

// An entry gets its number when it is written and is readable after its commit: a lower number can
// appear after a higher one.
func TestLateCommitsAreNotLost(t *testing.T) {
	t.Parallel()
	f, src, k := follow(t)
	f.mustLoad(t)
	src.write("late", 59*time.Second)
	src.write("early", 0)
	f.Poll(t.Context())
	f.knows(t, "early", "late early")
	k.advance(30 * time.Second)
	f.Poll(t.Context())
	f.knows(t, "early", "late early")
	if q := src.last(); q.after != 2 || q.overlap < time.Minute || !q.deadline {
		t.Errorf("poll: got the query %+v, want entries above 2 and of the last minute, with a timeout", q)
	}
	k.advance(29 * time.Second)
	f.Poll(t.Context())
	f.knows(t, "late early", "late early")
}

// After an outage of the feed the overlap is longer by the outage.
func TestOverlapReachesBackOverAnOutage(t *testing.T) {
	t.Parallel()
	f, src, k := follow(t)
	f.mustLoad(t)
	src.write("late", 10*time.Minute)
	src.write("early", 0)
	f.Poll(t.Context())
	src.fail(errors.New("unavailable"))
	for range 20 {
		k.advance(30 * time.Second)
		f.Poll(t.Context())
	}
	f.knows(t, "early", "late early")
	src.fail(nil)
	f.Poll(t.Context())
	if q := src.last(); q.overlap != 11*time.Minute {
		t.Errorf("after an outage of 10m: got an overlap of %s, want 11m", q.overlap)
	}
	f.knows(t, "late early", "late early")
	f.Poll(t.Context())
	if q := src.last(); q.overlap != time.Minute {
		t.Errorf("next poll: got an overlap of %s, want 1m", q.overlap)
	}
}

// After a change of epoch all entries are read, and entries of the old epoch remain.
func TestEpochChange(t *testing.T) {
	t.Parallel()
	f, src, k := follow(t)
	for i := range 10 {
		src.write(fmt.Sprint("old", i), 0)
	}
	f.mustLoad(t)
	k.advance(2 * time.Minute) // the overlap contains no entry
	src.restore("second")
	src.write("x", 0)
	src.write("y", 0)
	k.advance(5 * time.Minute)
	before := src.polls()
	f.Poll(t.Context())
	f.knows(t, "old0 old9 x y", "old0 old9 x y z")
	if q := src.last(); src.polls() != before+2 || q.after != 0 || q.deadline {
		t.Errorf("after the change: got %d polls, the last %+v, want a second one that reads all", src.polls()-before, q)
	}
	// The following polls use the lower numbers of the new epoch.
	src.write("z", 0)
	k.advance(2 * time.Minute)
	f.Poll(t.Context())
	if q := src.last(); q.after != 2 || src.polls() != before+3 {
		t.Errorf("got the query %+v, want entries above 2", q)
	}
	f.knows(t, "x y z", "x y z")
	// Entries of the old epoch end as usual.
	k.advance(time.Hour)
	f.Poll(t.Context())
	f.knows(t, "", "old0 old9 x y z")
}

func TestEpochChangeWhileTheLoadFails(t *testing.T) {
	t.Parallel()
	f, src, k := follow(t)
	src.write("old", 0)
	f.mustLoad(t)
	k.advance(5 * time.Minute)
	src.restore("second")
	src.write("x", 0)
	k.advance(5 * time.Minute)
	src.write("y", 0)
	poll := src.poll
	away := errors.New("unavailable")
	f.c.Poll = taking(func(ctx context.Context, after int64, overlap time.Duration) ([]Entry, string, error) {
		if after == 0 {
			return nil, "", away
		}
		return poll(ctx, after, overlap)
	})
	f.Poll(t.Context())
	if f.age(f.c.Now()) != 10*time.Minute || !errors.Is(f.Err(), away) {
		t.Errorf("poll with a failed load: got age %s, %v", f.age(f.c.Now()), f.Err())
	}
	f.c.Poll = taking(poll)
	f.Poll(t.Context())
	f.knows(t, "old x y", "old x y")
	if f.age(f.c.Now()) != 0 || f.Err() != nil {
		t.Errorf("after the load: got age %s, %v", f.age(f.c.Now()), f.Err())
	}
}

// While the feed fails the list is used. Err returns an error after MaxAge, and the log has one
// line for each change.
func TestFailureAndRecovery(t *testing.T) {
	t.Parallel()
	var lines bytes.Buffer
	f, src, k := follow(t, func(c *FollowerConfig) {
		c.Log = slog.New(slog.NewTextHandler(&lines, nil))
		c.MaxAge = 10 * time.Second
	})
	src.write("a", 0)
	f.mustLoad(t)
	away := errors.New("no route to host")
	src.fail(away)
	for second := 1; second <= 30; second++ {
		k.advance(time.Second)
		f.Poll(t.Context())
		if got, want := f.age(f.c.Now()), time.Duration(second)*time.Second; got != want {
			t.Fatalf("got age %s, want %s", got, want)
		}
		err := f.Err()
		if second <= 10 && err != nil || second > 10 && !errors.Is(err, away) {
			t.Fatalf("after %d s of failures: %v", second, err)
		}
	}
	f.knows(t, "a", "a")
	if err := f.Err(); !strings.Contains(err.Error(), "list is 30s old") {
		t.Errorf("got %v, want an error with the age of the list", err)
	}
	src.write("b", 0)
	src.fail(nil)
	f.Poll(t.Context())
	if f.Err() != nil || f.age(f.c.Now()) != 0 {
		t.Errorf("after recovery: got %v and age %s", f.Err(), f.age(f.c.Now()))
	}
	f.knows(t, "a b", "a b")
	if got := lines.String(); strings.Count(got, "\n") != 2 || strings.Count(got, "level=ERROR") != 1 || strings.Count(got, "level=INFO") != 1 || !strings.Contains(got, "no route to host") {
		t.Errorf("got this log, want one line for each change:\n%s", got)
	}
	// Without polls the list becomes old without an error of the feed.
	k.advance(11 * time.Second)
	if err := f.Err(); err == nil || !strings.Contains(err.Error(), "11s old") {
		t.Errorf("after 11 s without a poll: %v", err)
	}
}

// The age starts at the beginning of a poll, because the poll may miss entries that are written
// during it.
func TestAgeCountsFromTheBeginOfAPoll(t *testing.T) {
	t.Parallel()
	f, src, k := follow(t)
	poll := src.poll
	f.c.Poll = taking(func(ctx context.Context, after int64, overlap time.Duration) ([]Entry, string, error) {
		entries, epoch, err := poll(ctx, after, overlap)
		k.advance(3 * time.Second)
		return entries, epoch, err
	})
	f.mustLoad(t)
	if f.age(f.c.Now()) != 3*time.Second {
		t.Errorf("after a load of 3s: got age %s", f.age(f.c.Now()))
	}
	f.Poll(t.Context())
	if f.age(f.c.Now()) != 3*time.Second {
		t.Errorf("after a poll of 3s: got age %s", f.age(f.c.Now()))
	}
}

// After the clock was set back the age is zero, not negative.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	f, _, k := follow(t)
	f.mustLoad(t)
	k.advance(-time.Hour)
	if f.age(f.c.Now()) != 0 || f.Err() != nil {
		t.Errorf("got age %s, %v", f.age(f.c.Now()), f.Err())
	}
}

// While no poll succeeds, the list becomes too old although the clock was set back or stands still.
func TestErrWithoutAClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, src, k := follow(t)
		f.mustLoad(t)
		k.advance(-time.Hour)
		src.fail(errors.New("unavailable"))
		time.Sleep(f.c.MaxAge + time.Millisecond) // virtual
		f.Poll(t.Context())
		if err := f.Err(); err == nil || !strings.Contains(err.Error(), "unavailable") {
			t.Errorf("without a poll for more than %s: got %v, want its error", f.c.MaxAge, err)
		}
	})
}

// A clock that jumps ahead ends no entry early, neither in the list nor at an addition. After it is
// set back, entries that a node did not read meanwhile count again with the first poll.
func TestClockThatWasAheadBetweenPolls(t *testing.T) {
	t.Parallel()
	f, src, k := follow(t)
	src.write("a", 0)
	k.jump(2 * time.Hour)
	src.alive = k.Now // a feed that believes the clock
	src.write("b", 0)
	f.mustLoad(t)
	f.knows(t, "b", "a b")
	k.jump(-110 * time.Minute)
	f.Poll(t.Context())
	f.knows(t, "a b", "a b")

	f, src, k = follow(t)
	src.write("a", 0)
	k.advance(5 * time.Minute)
	f.mustLoad(t)
	k.jump(2 * time.Hour)
	for n := range 16 { // they sweep every slot
		f.c.List.Add(Entry{Kind: Session, Value: strconv.Itoa(n), Until: k.Now().Add(time.Hour)})
	}
	f.knows(t, "a", "a")
	src.fail(errors.New("unavailable"))
	f.Poll(t.Context())
	f.knows(t, "a", "a")
	k.jump(-2 * time.Hour)
	f.Poll(t.Context())
	f.knows(t, "a", "a")
}

// After a jump of the clock the whole list is read, again if the feed fails.
func TestJumpReadsTheWholeList(t *testing.T) {
	t.Parallel()
	for _, jump := range []time.Duration{-365 * 24 * time.Hour, -time.Minute, time.Minute, 45 * 24 * time.Hour} {
		f, src, k := follow(t)
		src.write("a", 0)
		f.mustLoad(t)
		f.Poll(t.Context())
		k.jump(jump)
		for _, fails := range []error{errors.New("unavailable"), nil} {
			src.fail(fails)
			f.Poll(t.Context())
			if q := src.last(); q.after != 0 || q.overlap != 0 {
				t.Errorf("jump by %s: got the query %+v, want the whole list", jump, q)
			}
		}
		f.Poll(t.Context())
		if q, want := src.last(), time.Minute+max(jump, 0); q.after == 0 || q.overlap != want {
			t.Errorf("after the load: got the query %+v, want an overlap of %s", q, want)
		}
		k.advance(time.Minute)
		f.Poll(t.Context())
		f.Poll(t.Context())
		if q := src.last(); q.overlap != time.Minute {
			t.Errorf("a minute later: got the query %+v, want an overlap of a minute", q)
		}
	}
}

// An entry that has ended by the receiver's clock counts for its whole life.
func TestEntryOfAnotherClock(t *testing.T) {
	t.Parallel()
	k := newClock()
	l := NewList(k.trusted())
	l.Add(Entry{Kind: Token, Value: "a", At: noon.Add(-2 * time.Hour), Until: noon.Add(-time.Hour)})
	for _, want := range []bool{true, true, false} {
		if got := l.Revoked(Token, "a"); got != want {
			t.Errorf("%s after the addition: got %v, want %v", k.Now().Sub(noon), got, want)
		}
		k.advance(30 * time.Minute)
		l.sweep(sweepPoll)
	}
}

// Run loads, polls at its interval, and ends with its context.
func TestRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := &feed{now: time.Now, local: time.Now, alive: time.Now, epoch: "first"}
		f, err := NewFollower(FollowerConfig{List: NewList(nil), Poll: taking(src.poll), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		src.write("a", 0)
		time.Sleep(2 * time.Minute)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); f.Run(ctx) }()
		time.Sleep(time.Second) // virtual
		synctest.Wait()
		f.knows(t, "a", "a b")
		if f.Err() != nil || src.polls() != 2 {
			t.Errorf("after a second: %v, %d polls, want 2", f.Err(), src.polls())
		}
		// A change is visible within a second even if one poll fails.
		src.write("b", 0)
		src.fail(errors.New("unavailable"))
		time.Sleep(400 * time.Millisecond)
		synctest.Wait()
		src.fail(nil)
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		f.knows(t, "a b", "a b")

		// Ended entries are removed without additions.
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := f.c.List.Len(); n != 0 {
			t.Errorf("got %d entries after their end, want 0", n)
		}

		cancel()
		synctest.Wait()
		select {
		case <-done:
		default:
			t.Error("Run has not returned after the end of its context")
		}
		polls := src.polls()
		time.Sleep(time.Minute)
		if src.polls() != polls {
			t.Error("got a poll after the end of Run")
		}
	})
}

// Wake makes Run poll at once but minPause after another poll, once for several wakes; a Wake
// before Run is not lost.
func TestWake(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := &feed{now: time.Now, local: time.Now, alive: time.Now, epoch: "first"}
		f, err := NewFollower(FollowerConfig{List: NewList(nil), Poll: taking(src.poll), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		f.Wake()
		f.Wake()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go f.Run(ctx)
		synctest.Wait()
		if n := src.polls(); n != 1 {
			t.Errorf("two Wake calls before Run: got %d polls, want 1", n)
		}
		src.write("a", 0)
		f.Wake()
		synctest.Wait() // the last poll has just ended
		f.knows(t, "", "a")
		time.Sleep(minPause)
		synctest.Wait()
		f.knows(t, "a", "a")
		if n := src.polls(); n != 2 {
			t.Errorf("after Wake: got %d polls, want 2", n)
		}
		time.Sleep(800 * time.Millisecond)
		synctest.Wait()
		if n := src.polls(); n != 4 {
			t.Errorf("after two more intervals: got %d polls, want 4", n)
		}
	})
}

// A poll that hangs fails, and the next may succeed. A poll that hangs when the context ends is not
// an error of the feed.
func TestPollThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var lines bytes.Buffer
		src := &feed{now: time.Now, local: time.Now, alive: time.Now, epoch: "first"}
		f, err := NewFollower(FollowerConfig{List: NewList(nil), Poll: taking(src.poll), Timeout: 3 * time.Second, MaxAge: 2 * time.Second, Log: slog.New(slog.NewTextHandler(&lines, nil))})
		if err != nil {
			t.Fatal(err)
		}
		f.mustLoad(t)
		src.hangs = true
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); f.Run(ctx) }()
		time.Sleep(2500 * time.Millisecond)
		synctest.Wait()
		if err := f.Err(); err == nil || !strings.Contains(err.Error(), "no poll has ended since") {
			t.Errorf("while the first poll hangs: got %v", err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if err := f.Err(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after the timeout: got %v", err)
		}
		src.mu.Lock()
		src.hangs = false
		src.mu.Unlock()
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if err := f.Err(); err != nil {
			t.Errorf("after recovery: %v", err)
		}
		src.mu.Lock()
		src.hangs = true
		src.mu.Unlock()
		time.Sleep(time.Second)
		logged := lines.Len()
		cancel()
		<-done
		if f.Err() != nil || lines.Len() != logged {
			t.Errorf("end of the context: got %v, want no error\n%s", f.Err(), lines.Bytes()[logged:])
		}
	})
}

// Only the context ends the first load.
func TestLoadEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := &feed{now: time.Now, hangs: true}
		f, err := NewFollower(FollowerConfig{List: NewList(nil), Poll: taking(src.poll), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		began := time.Now()
		if err := f.Load(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Hour {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
	})
}

// The methods of Follower may run at the same time.
func TestFollowerConcurrently(t *testing.T) {
	t.Parallel()
	f, src, k := follow(t)
	f.mustLoad(t)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 50 {
				src.write(fmt.Sprint(w, "-", i), 0)
				f.Poll(t.Context())
				if !f.c.List.Revoked(Session, fmt.Sprint(w, "-", i)) {
					t.Errorf("entry %d of %d after a poll: not in the list", i, w)
				}
				if i%10 == 0 {
					if err := f.Load(t.Context()); err != nil {
						t.Error(err)
					}
				}
				if err := f.Err(); err != nil || f.age(f.c.Now()) != 0 {
					t.Errorf("%v, %s old", err, f.age(f.c.Now()))
				}
			}
		})
	}
	wg.Wait()
	if n := f.c.List.Len(); n != 200 || k.Now() != noon {
		t.Errorf("%d entries, want 200", n)
	}
}

// After each successful poll the list contains every entry that was readable; an entry that commits
// within the overlap is never lost, and a jump of the clock ends none.
func TestNothingIsLost(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		f, src, k := follow(t)
		end := make(map[string]time.Time)     // of all entries that the list must contain
		pending := make(map[string]time.Time) // when the entry becomes readable
		names, epochs := 0, 0
		rt.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				names++
				name := fmt.Sprint("s", names)
				late := time.Duration(rapid.SampledFrom([]int{0, 0, 1, 20, 60}).Draw(t, "late")) * time.Second
				src.write(name, late)
				pending[name], end[name] = k.Local().Add(late), k.Local().Add(time.Hour)
			},
			"wait": func(t *rapid.T) { k.advance(time.Duration(rapid.IntRange(0, 120).Draw(t, "s")) * time.Second) },
			"jump": func(t *rapid.T) {
				k.jump(time.Duration(rapid.SampledFrom([]int{-1e6, -100, -1, -1, 1, 1, 100, 1e6}).Draw(t, "minutes")) * time.Minute)
				src.alive() // all three look at the clock more often than it jumps
				f.c.List.sweep(1)
				f.Poll(context.Background())
			},
			"break": func(*rapid.T) { src.fail(errors.New("unavailable")) },
			"restore": func(*rapid.T) {
				// Entries that were not read are lost with the old feed.
				for name := range pending {
					if !f.c.List.Revoked(Session, name) {
						delete(pending, name)
					}
				}
				epochs++
				src.restore(fmt.Sprint("epoch ", epochs))
			},
			"poll": func(t *rapid.T) {
				src.fail(nil)
				f.Poll(context.Background())
				if err := f.Err(); err != nil {
					t.Fatalf("after a successful poll: got %v", err)
				}
				for name, from := range pending {
					if k.Local().Before(from) || !k.Local().Before(end[name]) {
						continue
					}
					if !f.c.List.Revoked(Session, name) {
						t.Fatalf("%s, readable since %s, now %s: not in the list; the last query was %+v", name, from, k.Now(), src.last())
					}
				}
			},
		})
	})
}
