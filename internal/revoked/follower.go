package revoked

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// FollowerConfig says what to follow and how. List and Poll are required.
type FollowerConfig struct {
	List *List

	// Poll reads the feed: all entries with a Seq above after, and those whose At
	// lies within overlap of the feed's own clock, in any order, without those
	// that have ended. after 0 is all there are. epoch names the feed; it is
	// another one after the feed was restored or made anew, when numbers may have
	// begun again.
	Poll func(ctx context.Context, after int64, overlap time.Duration) (entries []Entry, epoch string, err error)

	// Interval is the time from one poll to the next; 0 is 400 ms, so that a change
	// is seen within a second even if one poll is slow or fails.
	Interval time.Duration

	// Overlap is how far back each poll reads again; 0 is 60 s. An entry's number
	// is taken when it is written and seen when its transaction commits, so a
	// lower number may appear after a higher one, but not after longer than this.
	Overlap time.Duration

	// Timeout ends a poll that gets no answer; 0 is 5 s. The first load, and the
	// load after a change of epoch, have none: they end with the context.
	Timeout time.Duration

	// MaxAge is how old the last good poll may be before Err says so; 0 is 5 s.
	MaxAge time.Duration

	// OnFresh receives the entries of a poll that the list did not hold yet. It must not
	// block. Nil: they are added to the list alone.
	OnFresh func([]Entry)

	Log *slog.Logger     // changes of state alone; nil is slog.Default
	Now func() time.Time // nil is time.Now
}

// Follower keeps a List up with a feed. It is safe for concurrent use.
type Follower struct {
	c    FollowerConfig
	news chan struct{} // holds one wake that no poll has begun after

	pollMu sync.Mutex // held during a poll: they do not overtake each other
	last   int64      // highest Seq seen in this epoch
	epoch  string
	polled time.Time // the clock at the last good poll, or the latest since by which entries were swept, without its monotonic reading

	asOf atomic.Pointer[time.Time] // fresh, for who asks in each request; nil before the first good poll

	mu     sync.Mutex
	loaded bool
	fresh  time.Time // when the last good poll began
	err    error     // of the last poll
}

// NewFollower returns a Follower that has read nothing yet, or an error that
// names every mistake in c.
func NewFollower(c FollowerConfig) (*Follower, error) {
	var errs []error
	if c.List == nil {
		errs = append(errs, errors.New("no list to fill"))
	}
	if c.Poll == nil {
		errs = append(errs, errors.New("no feed to poll"))
	}
	for _, d := range []struct {
		name     string
		value    *time.Duration
		standard time.Duration
	}{
		{"interval", &c.Interval, 400 * time.Millisecond},
		{"overlap", &c.Overlap, time.Minute},
		{"timeout", &c.Timeout, 5 * time.Second},
		{"maximal age", &c.MaxAge, 5 * time.Second},
	} {
		if *d.value == 0 {
			*d.value = d.standard
		}
		if *d.value < 0 {
			errs = append(errs, fmt.Errorf("%s of %s, want more than 0", d.name, *d.value))
		}
	}
	if c.MaxAge > 0 && c.MaxAge < c.Interval {
		errs = append(errs, fmt.Errorf("maximal age of %s is shorter than the interval of %s", c.MaxAge, c.Interval))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("revocation: %w", err)
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	f := &Follower{c: c, news: make(chan struct{}, 1)}
	c.List.wake = f.Wake
	return f, nil
}

// Load reads the whole feed. A node must not say that it is ready, nor verify a
// token, before Load has succeeded.
func (f *Follower) Load(ctx context.Context) error {
	f.pollMu.Lock()
	defer f.pollMu.Unlock()
	began := f.c.Now()
	err := f.load(ctx)
	if err == nil {
		f.polled = began.Round(0)
	}
	f.done(ctx, began, err)
	if err != nil {
		return fmt.Errorf("revocation: cannot load the list: %w", err)
	}
	return nil
}

// Wake makes Run poll at once, because there may be something new. It does not wait;
// many wakes during one poll make one more.
func (f *Follower) Wake() {
	select {
	case f.news <- struct{}{}:
	default:
	}
}

// calm is the least time from one poll to the next, however often it is woken: each
// reads the last minute again.
const calm = 50 * time.Millisecond

// Run polls until ctx ends, and returns then: at each interval, and when woken. It
// loads first where Load has not. A failing feed is asked again at the same pace: it is
// one small query.
func (f *Follower) Run(ctx context.Context) {
	tick := time.NewTicker(f.c.Interval) // drops ticks while a poll is slow
	defer tick.Stop()
	var ended time.Time // the last poll
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-f.news:
			select {
			case <-ctx.Done():
				return
			case <-time.After(calm - time.Since(ended)):
			}
		}
		f.Poll(ctx)
		ended = time.Now()
	}
}

// Age is the time since the last good poll began; before the first it is longer
// than any limit. A route that wants fresh news compares it with what it allows.
func (f *Follower) Age() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.age(f.c.Now())
}

// AsOf is when the last good poll began: what had been seen by then is in the list.
// It is zero before the first.
func (f *Follower) AsOf() time.Time {
	if t := f.asOf.Load(); t != nil {
		return *t
	}
	return time.Time{}
}

// age is Age. f.mu is held.
func (f *Follower) age(now time.Time) time.Duration {
	if !f.loaded {
		return math.MaxInt64
	}
	return max(now.Sub(f.fresh), 0)
}

// Err is nil while the list is loaded and not older than MaxAge. It is for
// health checks and logs, never for clients.
func (f *Follower) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	age := f.age(f.c.Now())
	switch {
	case !f.loaded && f.err != nil:
		return fmt.Errorf("revocation: list not loaded: %w", f.err)
	case !f.loaded:
		return errors.New("revocation: list not loaded yet")
	case age <= f.c.MaxAge:
		return nil
	case f.err != nil:
		return fmt.Errorf("revocation: list is %s old: %w", age.Round(time.Second), f.err)
	}
	return fmt.Errorf("revocation: list is %s old and no poll has ended since", age.Round(time.Second))
}

// Poll reads what is new once, as Run does each interval. Err says how it went.
func (f *Follower) Poll(ctx context.Context) {
	f.pollMu.Lock()
	defer f.pollMu.Unlock()
	began := f.c.Now()
	f.mu.Lock()
	loaded, age := f.loaded, f.age(began)
	f.mu.Unlock()
	// A clock that was ahead may have let entries end that count again now that it
	// is set back: all of the feed is read.
	if swept := f.c.List.takeSwept(); swept.After(f.polled) {
		f.polled = swept
	}
	setBack := began.Round(0).Before(f.polled)
	var err error
	if loaded && !setBack {
		err = f.catchUp(ctx, age)
	} else {
		err = f.load(ctx)
	}
	if err == nil {
		f.polled = began.Round(0)
	}
	f.done(ctx, began, err)
	f.c.List.sweep(sweepPoll)
}

// catchUp reads what came since the last good poll, age ago. f.pollMu is held.
func (f *Follower) catchUp(ctx context.Context, age time.Duration) error {
	bounded, cancel := context.WithTimeout(ctx, f.c.Timeout)
	defer cancel()
	// What committed late during an outage of the feed is as late as the outage was
	// long, so the overlap reaches back from the last good poll.
	entries, epoch, err := f.c.Poll(bounded, f.last, f.c.Overlap+age)
	if err != nil {
		return err
	}
	f.take(entries)
	if epoch == f.epoch {
		return nil
	}
	f.c.Log.Warn("the feed of revocations has begun anew, all of it is read again", "epoch", epoch, "was", f.epoch)
	return f.load(ctx)
}

// load reads everything. What the list holds already stays: after a restore the
// feed may have forgotten it, and what was revoked does not revive.
// f.pollMu is held.
func (f *Follower) load(ctx context.Context) error {
	entries, epoch, err := f.c.Poll(ctx, 0, f.c.Overlap)
	if err != nil {
		return err
	}
	f.epoch, f.last = epoch, 0
	f.take(entries)
	return nil
}

// take merges entries and remembers how far the feed was read.
func (f *Follower) take(entries []Entry) {
	for _, e := range entries {
		f.last = max(f.last, e.Seq)
	}
	if f.c.OnFresh == nil {
		f.c.List.Add(entries...)
		return
	}
	f.c.OnFresh(f.c.List.AddFresh(entries))
}

// done notes how a poll ended and logs it if that is news.
func (f *Follower) done(ctx context.Context, began time.Time, err error) {
	if err != nil && ctx.Err() != nil {
		return // not the feed's failure: we are stopping
	}
	f.mu.Lock()
	age, was := f.age(f.c.Now()), f.err
	f.err = err
	if err == nil {
		f.loaded, f.fresh = true, began
		f.asOf.Store(&began)
	}
	f.mu.Unlock()
	switch {
	case err != nil && was == nil:
		f.c.Log.Error("revocations cannot be read, the last list is used", "error", err)
	case err == nil && was != nil:
		f.c.Log.Info("revocations are read again", "after", age)
	}
}
