package revoked

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/durward-auth/durward/internal/clock"
)

// FollowerConfig configures a Follower. List and Poll are required.
type FollowerConfig struct {
	List *List

	// Poll reads the feed: all entries with a Seq above after, and those with At within overlap
	// of the feed's clock, in any order, without ended ones. With after 0 it reads all entries; only
	// a load has overlap 0. It calls take with the entries, in parts if they are many; take overwrites
	// them. epoch names the feed; it changes after a restore, when numbers may start again.
	Poll func(ctx context.Context, after int64, overlap time.Duration, take func([]Entry)) (epoch string, err error)

	// Interval is the time from one poll to the next; 0 means 400 ms, so that a change is visible
	// within a second even if one poll is slow or fails.
	Interval time.Duration

	// Timeout is the time limit of a poll; 0 means 5 s. It does not apply to the first load and the
	// load after a change of the epoch, which end with the context.
	Timeout time.Duration

	// MaxAge is the age of the last successful poll from which Err returns an error; 0 means 5 s.
	MaxAge time.Duration

	// OnFresh receives the entries of a poll that were not in the list. It must not block. It may
	// be nil.
	OnFresh func([]Entry)

	Log   *slog.Logger     // logs changes of state; nil means slog.Default
	Now   func() time.Time // nil means time.Now
	Local func() time.Time // measures the time that passes; nil means Now
}

// LateCommit is the time that each poll reads again. An entry gets its number when it is written but is
// visible when its transaction commits. So a lower number can appear after a higher one, but not
// later than this.
const LateCommit = time.Minute

// Follower updates a List from a feed. It is safe for concurrent use.
type Follower struct {
	c    FollowerConfig
	news chan struct{} // holds a Wake until the next poll starts

	pollMu sync.Mutex // held during a poll
	last   int64      // highest Seq in this epoch
	epoch  string
	watch  clock.Watch
	jumped bool          // the clock jumped since the last successful load
	ahead  time.Duration // how far the clock jumped ahead, until all entries from before are visible
	left   time.Duration // until then

	asOf atomic.Pointer[time.Time] // start of the last successful poll; nil before the first

	mu    sync.Mutex
	err   error     // of the last poll
	ended time.Time // end of the last successful poll, by the clock of this machine with its monotonic reading
}

// NewFollower returns a Follower that has not read anything. The error lists every mistake in c.
func NewFollower(c FollowerConfig) (*Follower, error) {
	var errs []error
	if c.List == nil {
		errs = append(errs, errors.New("List is nil"))
	}
	if c.Poll == nil {
		errs = append(errs, errors.New("Poll is nil"))
	}
	c.Interval = cmp.Or(c.Interval, 400*time.Millisecond)
	c.Timeout = cmp.Or(c.Timeout, 5*time.Second)
	c.MaxAge = cmp.Or(c.MaxAge, 5*time.Second)
	if c.Interval < 0 || c.Timeout < 0 || c.MaxAge < 0 {
		errs = append(errs, fmt.Errorf("negative: Interval %s, Timeout %s or MaxAge %s", c.Interval, c.Timeout, c.MaxAge))
	}
	if c.MaxAge > 0 && c.MaxAge < c.Interval {
		errs = append(errs, fmt.Errorf("MaxAge is %s, want at least the Interval, %s", c.MaxAge, c.Interval))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("revocation: %w", err)
	}
	c.Log = cmp.Or(c.Log, slog.Default())
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Local == nil {
		c.Local = c.Now
	}
	f := &Follower{c: c, news: make(chan struct{}, 1), watch: clock.NewWatch(c.Now, c.Local)}
	c.List.wake = f.Wake
	return f, nil
}

// Load reads the whole feed. A node must not report ready or verify a token before Load has
// succeeded.
func (f *Follower) Load(ctx context.Context) error {
	f.pollMu.Lock()
	defer f.pollMu.Unlock()
	began := f.c.Now()
	err := f.load(ctx)
	f.done(ctx, began, err)
	if err != nil {
		return fmt.Errorf("revocation: cannot load the list: %w", err)
	}
	return nil
}

// Wake makes Run poll at once. It does not wait. Several calls during one poll cause one more poll.
func (f *Follower) Wake() {
	select {
	case f.news <- struct{}{}:
	default:
	}
}

// minPause is the shortest time between two polls, because each reads the last minute again.
const minPause = 50 * time.Millisecond

// Run polls at each interval and after each Wake until ctx ends. It loads first if Load has not
// succeeded. After an error it keeps its pace: a poll is a small query.
func (f *Follower) Run(ctx context.Context) {
	tick := time.NewTicker(f.c.Interval) // drops ticks during a slow poll
	defer tick.Stop()
	var ended time.Time // end of the last poll
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-f.news:
			select {
			case <-ctx.Done():
				return
			case <-time.After(minPause - time.Since(ended)):
			}
		}
		f.Poll(ctx)
		ended = time.Now()
	}
}

// AsOf returns the start of the last successful poll: the list contains the entries that were
// visible then. It is zero before the first.
func (f *Follower) AsOf() time.Time {
	if t := f.asOf.Load(); t != nil {
		return *t
	}
	return time.Time{}
}

// age returns the time from the start of the last successful poll to now; before the first it is
// longer than any limit.
func (f *Follower) age(now time.Time) time.Duration {
	began := f.asOf.Load()
	if began == nil {
		return math.MaxInt64
	}
	return max(now.Sub(*began), 0)
}

// Err returns nil while the list is loaded and not older than MaxAge. It is for health checks and
// logs, not for API clients.
func (f *Follower) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	// By Now alone, a list would be fresh for as long as a clock was set back.
	age, loaded := max(f.age(f.c.Now()), time.Since(f.ended)), f.asOf.Load() != nil
	switch {
	case !loaded && f.err != nil:
		return fmt.Errorf("revocation: list not loaded: %w", f.err)
	case !loaded:
		return errors.New("revocation: list not loaded yet")
	case age <= f.c.MaxAge:
		return nil
	case f.err != nil:
		return fmt.Errorf("revocation: list is %s old: %w", age.Round(time.Second), f.err)
	}
	return fmt.Errorf("revocation: list is %s old: no poll has ended since", age.Round(time.Second))
}

// Poll polls once, as Run does. Err returns its error.
func (f *Follower) Poll(ctx context.Context) {
	f.pollMu.Lock()
	defer f.pollMu.Unlock()
	began := f.c.Now()
	_, passed, jump := f.watch.Step()
	f.left -= passed
	if jump != 0 {
		// Entries may be missing that had ended by the wrong clock. A transaction that commits after a
		// jump ahead has a time from before, for as long as the overlap.
		f.jumped, f.ahead, f.left = true, f.ahead+max(jump, 0), LateCommit
		f.c.Log.Warn("the clock jumped, the whole list of revocations is read again", "by", jump, "now", began)
	}
	var err error
	if f.asOf.Load() != nil && !f.jumped {
		err = f.catchUp(ctx, f.age(began)+f.ahead)
	} else {
		err = f.load(ctx)
	}
	if err == nil && f.left <= 0 { // this poll read what was visible after the overlap
		f.ahead = 0
	}
	f.done(ctx, began, err)
	f.c.List.sweep(sweepPoll)
}

// catchUp reads the entries since the last successful poll, age ago by the clock. f.pollMu is held.
func (f *Follower) catchUp(ctx context.Context, age time.Duration) error {
	bounded, cancel := context.WithTimeout(ctx, f.c.Timeout)
	defer cancel()
	// A transaction may commit as late as the outage was long, so the overlap starts at the last
	// successful poll.
	epoch, last, err := f.read(bounded, f.last, LateCommit+age)
	if err != nil {
		return err
	}
	f.last = last
	if epoch == f.epoch {
		return nil
	}
	f.c.Log.Warn("the feed of revocations has another epoch, the whole list is read again", "epoch", epoch, "was", f.epoch)
	return f.load(ctx)
}

// load reads the whole feed. Entries of the list remain, because a restored feed may lack them and
// revoked tokens must stay revoked. f.pollMu is held.
func (f *Follower) load(ctx context.Context) error {
	epoch, last, err := f.read(ctx, 0, 0)
	if err == nil {
		f.epoch, f.last, f.jumped = epoch, last, false
	}
	return err
}

// read adds the entries of a poll and returns the highest number, at least after.
func (f *Follower) read(ctx context.Context, after int64, overlap time.Duration) (epoch string, last int64, err error) {
	last = after
	epoch, err = f.c.Poll(ctx, after, overlap, func(entries []Entry) {
		for _, e := range entries {
			last = max(last, e.Seq)
		}
		if entries = f.c.List.AddFresh(entries); f.c.OnFresh != nil {
			f.c.OnFresh(entries)
		}
	})
	return epoch, last, err
}

// done records the result of a poll and logs a change.
func (f *Follower) done(ctx context.Context, began time.Time, err error) {
	if err != nil && ctx.Err() != nil {
		return // the context ended: not an error of the feed
	}
	f.mu.Lock()
	age, was := f.age(f.c.Now()), f.err
	f.err = err
	if err == nil {
		f.asOf.Store(&began)
		f.ended = time.Now()
	}
	f.mu.Unlock()
	switch {
	case err != nil && was == nil:
		f.c.Log.Error("cannot read revocations, the last list is used", "error", err)
	case err == nil && was != nil:
		f.c.Log.Info("revocations can be read again", "after", age)
	}
}
