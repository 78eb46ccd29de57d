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

// feed is the table of revocations as a Follower sees it. Entries have numbers
// in the order they were written and are seen from visible on.
type feed struct {
	now func() time.Time

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

// write revokes a session for an hour; others see it after late.
func (f *feed) write(value string, late time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seq++
	f.entries = append(f.entries, Entry{Seq: f.seq, Kind: Session, Value: value, At: f.now(), Until: f.now().Add(time.Hour)})
	f.visible = append(f.visible, f.now().Add(late))
}

// restore is another feed under the same roof: numbers begin again.
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
		if (e.Seq > after || !e.At.Before(now.Add(-overlap))) && !now.Before(f.visible[i]) && now.Before(e.Until) {
			found = append(found, e)
		}
	}
	slices.Reverse(found) // any order will do
	return found, f.epoch, nil
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

// follow returns a follower of a new feed by a clock that the test moves.
func follow(t testing.TB, change ...func(*FollowerConfig)) (*Follower, *feed, *clock) {
	t.Helper()
	k := newClock()
	src := &feed{now: k.Now, epoch: "first"}
	c := FollowerConfig{List: NewList(k.Now), Poll: src.poll, Now: k.Now, Log: slog.New(slog.DiscardHandler)}
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

// knows demands that exactly these sessions of all are revoked.
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

func TestFollowerMistakesAreSaidTogether(t *testing.T) {
	t.Parallel()
	poll := (&feed{}).poll
	for _, c := range []struct {
		name   string
		config FollowerConfig
		want   []string
	}{
		{"nothing", FollowerConfig{}, []string{"no list to fill", "no feed to poll"}},
		{"all", FollowerConfig{Interval: -1, Overlap: -2, Timeout: -3, MaxAge: -4},
			[]string{"no list to fill", "no feed to poll", "interval of -1ns", "overlap of -2ns", "timeout of -3ns", "maximal age of -4ns"}},
		{"always too old", FollowerConfig{List: NewList(nil), Poll: poll, Interval: time.Minute}, []string{"maximal age of 5s is shorter than the interval of 1m0s"}},
	} {
		f, err := NewFollower(c.config)
		if err == nil || f != nil {
			t.Errorf("%s: got %v, want an error", c.name, f)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not say %q", c.name, err, want)
			}
		}
		if n := strings.Count(err.Error(), "\n") + 1; n != len(c.want) {
			t.Errorf("%s: %d mistakes named, want %d: %v", c.name, n, len(c.want), err)
		}
	}
	f, err := NewFollower(FollowerConfig{List: NewList(nil), Poll: poll})
	if err != nil {
		t.Fatal(err)
	}
	if f.c.Interval != 400*time.Millisecond || f.c.Overlap != time.Minute || f.c.Timeout != 5*time.Second || f.c.MaxAge != 5*time.Second || f.c.Log == nil || f.c.Now == nil {
		t.Errorf("standard values: %+v", f.c)
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	f, src, k := follow(t)
	if err := f.Err(); err == nil || !strings.Contains(err.Error(), "not loaded yet") {
		t.Errorf("before the first poll: %v", err)
	}
	if age := f.Age(); age != math.MaxInt64 {
		t.Errorf("before the first poll the list is %s old", age)
	}
	src.write("a", 0)
	k.advance(30 * time.Minute) // far beyond the overlap
	src.write("b", 0)
	away := errors.New("no route to host")
	src.fail(away)
	if err := f.Load(t.Context()); !errors.Is(err, away) {
		t.Errorf("a load that fails: %v", err)
	}
	if err := f.Err(); !errors.Is(err, away) || !strings.Contains(err.Error(), "not loaded") {
		t.Errorf("after a load that failed: %v", err)
	}
	if f.Age() != math.MaxInt64 {
		t.Error("a load that failed counts")
	}
	src.fail(nil)
	f.mustLoad(t)
	f.knows(t, "a b", "a b c")
	if q := src.last(); q.after != 0 || q.deadline {
		t.Errorf("the load asked %+v, want all there is and all the time it takes", q)
	}
	if err := f.Err(); err != nil || f.Age() != 0 {
		t.Errorf("after the load: %v, %s old", err, f.Age())
	}
}

// A number is taken when an entry is written and seen when it commits: the lower
// may come after the higher.
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
		t.Errorf("asked %+v, want what is above 2 and the last minute, within a bounded time", q)
	}
	k.advance(29 * time.Second)
	f.Poll(t.Context())
	f.knows(t, "late early", "late early")
}

// What committed late while the feed was away is as late as it was away.
func TestOverlapReachesBackOverAnOutage(t *testing.T) {
	t.Parallel()
	f, src, k := follow(t)
	f.mustLoad(t)
	src.write("late", 10*time.Minute)
	src.write("early", 0)
	f.Poll(t.Context())
	src.fail(errors.New("away"))
	for range 20 {
		k.advance(30 * time.Second)
		f.Poll(t.Context())
	}
	f.knows(t, "early", "late early")
	src.fail(nil)
	f.Poll(t.Context())
	if q := src.last(); q.overlap != 11*time.Minute {
		t.Errorf("after ten minutes away %s were read again, want 11m", q.overlap)
	}
	f.knows(t, "late early", "late early")
	f.Poll(t.Context())
	if q := src.last(); q.overlap != time.Minute {
		t.Errorf("afterwards %s are read again, want 1m", q.overlap)
	}
}

// Another epoch has its own numbers: all is read, and what the old one revoked
// stays revoked.
func TestEpochChange(t *testing.T) {
	t.Parallel()
	f, src, k := follow(t)
	for i := range 10 {
		src.write(fmt.Sprint("old", i), 0)
	}
	f.mustLoad(t)
	k.advance(2 * time.Minute) // nothing of now lies in the overlap
	src.restore("second")
	src.write("x", 0)
	src.write("y", 0)
	k.advance(5 * time.Minute)
	before := src.polls()
	f.Poll(t.Context())
	f.knows(t, "old0 old9 x y", "old0 old9 x y z")
	if q := src.last(); src.polls() != before+2 || q.after != 0 || q.deadline {
		t.Errorf("after the change %d polls, the last %+v; want a second one that reads all", src.polls()-before, q)
	}
	// From now on by the numbers of the new epoch, which are lower.
	src.write("z", 0)
	k.advance(2 * time.Minute)
	f.Poll(t.Context())
	if q := src.last(); q.after != 2 || src.polls() != before+3 {
		t.Errorf("asked %+v, want what is above 2", q)
	}
	f.knows(t, "x y z", "x y z")
	// The old ones end like all others.
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
	away := errors.New("away")
	f.c.Poll = func(ctx context.Context, after int64, overlap time.Duration) ([]Entry, string, error) {
		if after == 0 {
			return nil, "", away
		}
		return poll(ctx, after, overlap)
	}
	f.Poll(t.Context())
	if f.Age() != 10*time.Minute || !errors.Is(f.Err(), away) {
		t.Errorf("a poll counts whose load failed: %s old, %v", f.Age(), f.Err())
	}
	f.c.Poll = poll
	f.Poll(t.Context())
	f.knows(t, "old x y", "old x y")
	if f.Age() != 0 || f.Err() != nil {
		t.Errorf("after the load: %s old, %v", f.Age(), f.Err())
	}
}

// A feed that fails is an error only after MaxAge, the list serves on meanwhile,
// and one line of the log says each change.
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
		if got, want := f.Age(), time.Duration(second)*time.Second; got != want {
			t.Fatalf("%s old, want %s", got, want)
		}
		err := f.Err()
		if second <= 10 && err != nil || second > 10 && !errors.Is(err, away) {
			t.Fatalf("after %d s of failures: %v", second, err)
		}
	}
	f.knows(t, "a", "a")
	if err := f.Err(); !strings.Contains(err.Error(), "list is 30s old") {
		t.Errorf("the error does not say how old the list is: %v", err)
	}
	src.write("b", 0)
	src.fail(nil)
	f.Poll(t.Context())
	if f.Err() != nil || f.Age() != 0 {
		t.Errorf("after recovery: %v, %s old", f.Err(), f.Age())
	}
	f.knows(t, "a b", "a b")
	if got := lines.String(); strings.Count(got, "\n") != 2 || strings.Count(got, "level=ERROR") != 1 || strings.Count(got, "level=INFO") != 1 || !strings.Contains(got, "no route to host") {
		t.Errorf("the log has one line for each change:\n%s", got)
	}
	// Nobody polls at all: old without an error to tell.
	k.advance(11 * time.Second)
	if err := f.Err(); err == nil || !strings.Contains(err.Error(), "11s old") {
		t.Errorf("after 11 s without a poll: %v", err)
	}
}

// The age counts from when a poll began: what was written while it was on its way
// it may not have seen.
func TestAgeCountsFromTheBeginOfAPoll(t *testing.T) {
	t.Parallel()
	f, src, k := follow(t)
	poll := src.poll
	f.c.Poll = func(ctx context.Context, after int64, overlap time.Duration) ([]Entry, string, error) {
		entries, epoch, err := poll(ctx, after, overlap)
		k.advance(3 * time.Second)
		return entries, epoch, err
	}
	f.mustLoad(t)
	if f.Age() != 3*time.Second {
		t.Errorf("after a load of 3s: %s old", f.Age())
	}
	f.Poll(t.Context())
	if f.Age() != 3*time.Second {
		t.Errorf("after a poll of 3s: %s old", f.Age())
	}
}

// A clock set back makes the list new, not of negative age.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	f, _, k := follow(t)
	f.mustLoad(t)
	k.advance(-time.Hour)
	if f.Age() != 0 || f.Err() != nil {
		t.Errorf("%s old, %v", f.Age(), f.Err())
	}
}

// What ended by a clock that was ahead counts again when that is put back: also where
// no poll had yet seen it ahead, but the first load or a sweep had.
func TestClockThatWasAheadBetweenPolls(t *testing.T) {
	t.Parallel()
	f, src, k := follow(t)
	src.write("a", 0)
	k.advance(2 * time.Hour)
	src.write("b", 0)
	f.mustLoad(t)
	f.knows(t, "b", "a b")
	k.advance(-110 * time.Minute)
	f.Poll(t.Context())
	f.knows(t, "a b", "a b")

	f, src, k = follow(t)
	src.write("a", 0)
	k.advance(5 * time.Minute)
	f.mustLoad(t)
	k.advance(2 * time.Hour)
	for n := range 16 { // they sweep every shard
		f.c.List.Add(Entry{Kind: Session, Value: strconv.Itoa(n), Until: k.Now().Add(time.Hour)})
	}
	k.advance(-110 * time.Minute)
	f.knows(t, "", "a")
	src.fail(errors.New("away"))
	f.Poll(t.Context())
	src.fail(nil)
	f.Poll(t.Context())
	f.knows(t, "a", "a")
}

// Run loads where nobody has, polls at its pace, and ends with its context.
func TestRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := &feed{now: time.Now, epoch: "first"}
		f, err := NewFollower(FollowerConfig{List: NewList(nil), Poll: src.poll, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		src.write("a", 0)
		time.Sleep(2 * time.Minute)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); f.Run(ctx) }()
		time.Sleep(time.Second) // of the bubble's clock
		synctest.Wait()
		f.knows(t, "a", "a b")
		if f.Err() != nil || src.polls() != 2 {
			t.Errorf("after a second: %v, %d polls, want 2", f.Err(), src.polls())
		}
		// A change is seen within a second even if one poll fails.
		src.write("b", 0)
		src.fail(errors.New("away"))
		time.Sleep(400 * time.Millisecond)
		synctest.Wait()
		src.fail(nil)
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		f.knows(t, "a b", "a b")

		// What has ended goes without anybody adding anything.
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := f.c.List.Len(); n != 0 {
			t.Errorf("%d entries are held past their end", n)
		}

		cancel()
		synctest.Wait()
		select {
		case <-done:
		default:
			t.Error("Run goes on after its context has ended")
		}
		polls := src.polls()
		time.Sleep(time.Minute)
		if src.polls() != polls {
			t.Error("the feed is polled after the end")
		}
	})
}

// Who is woken polls at once, but for calm after another poll, once for many wakes,
// and goes on at its pace; a wake
// before it runs is not lost.
func TestWake(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := &feed{now: time.Now, epoch: "first"}
		f, err := NewFollower(FollowerConfig{List: NewList(nil), Poll: src.poll, Log: slog.New(slog.DiscardHandler)})
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
			t.Errorf("%d polls for two wakes before it ran, want 1", n)
		}
		src.write("a", 0)
		f.Wake()
		synctest.Wait() // no time passes: the poll before has only just ended
		f.knows(t, "", "a")
		time.Sleep(calm)
		synctest.Wait()
		f.knows(t, "a", "a")
		if n := src.polls(); n != 2 {
			t.Errorf("%d polls after a wake, want 2", n)
		}
		time.Sleep(800 * time.Millisecond)
		synctest.Wait()
		if n := src.polls(); n != 4 {
			t.Errorf("%d polls after two intervals more, want 4", n)
		}
	})
}

// A poll that hangs is given up, and the next one may succeed; one that hangs
// when the context ends is no failure of the feed.
func TestPollThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var lines bytes.Buffer
		src := &feed{now: time.Now, epoch: "first"}
		f, err := NewFollower(FollowerConfig{List: NewList(nil), Poll: src.poll, Timeout: 3 * time.Second, MaxAge: 2 * time.Second, Log: slog.New(slog.NewTextHandler(&lines, nil))})
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
			t.Errorf("while the first poll hangs: %v", err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if err := f.Err(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after a poll was given up: %v", err)
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
			t.Errorf("the end of the context counts as a failure: %v\n%s", f.Err(), lines.Bytes()[logged:])
		}
	})
}

// The first load has no bound but its context.
func TestLoadEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := &feed{now: time.Now, hangs: true}
		f, err := NewFollower(FollowerConfig{List: NewList(nil), Poll: src.poll, Log: slog.New(slog.DiscardHandler)})
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

// Everybody may ask and load while Run polls.
func TestFollowerFromMany(t *testing.T) {
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
					t.Errorf("entry %d of %d is not known after a poll", i, w)
				}
				if i%10 == 0 {
					if err := f.Load(t.Context()); err != nil {
						t.Error(err)
					}
				}
				if err := f.Err(); err != nil || f.Age() != 0 {
					t.Errorf("%v, %s old", err, f.Age())
				}
			}
		})
	}
	wg.Wait()
	if n := f.c.List.Len(); n != 200 || k.Now() != noon {
		t.Errorf("%d entries, want 200", n)
	}
}

// Whatever happens to the feed, after a good poll the list knows all that was
// ever seen in it, and what commits no later than the overlap is never lost.
func TestNothingIsLost(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		f, src, k := follow(t)
		end := make(map[string]time.Time)     // of all that a reader must know
		pending := make(map[string]time.Time) // from when it can be seen
		names, epochs := 0, 0
		rt.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				names++
				name := fmt.Sprint("s", names)
				late := time.Duration(rapid.SampledFrom([]int{0, 0, 1, 20, 60}).Draw(t, "late")) * time.Second
				src.write(name, late)
				pending[name], end[name] = k.Now().Add(late), k.Now().Add(time.Hour)
			},
			"wait":  func(t *rapid.T) { k.advance(time.Duration(rapid.IntRange(0, 120).Draw(t, "s")) * time.Second) },
			"break": func(*rapid.T) { src.fail(errors.New("away")) },
			"restore": func(*rapid.T) {
				// What was not read by now is forgotten with the old feed.
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
					t.Fatalf("after a good poll: %v", err)
				}
				for name, from := range pending {
					if k.Now().Before(from) || !k.Now().Before(end[name]) {
						continue
					}
					if !f.c.List.Revoked(Session, name) {
						t.Fatalf("%s, seen since %s, is not known at %s; the poll asked %+v", name, from, k.Now(), src.last())
					}
				}
			},
		})
	})
}
