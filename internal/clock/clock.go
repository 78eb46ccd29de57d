// Package clock tells by which time data may be deleted. A clock of the machine that is ahead for a
// while, or was behind, must delete nothing early: a deleted revocation makes a token valid again.
package clock

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// MinJump is the smallest change of the wall clock that counts as a jump.
const MinJump = time.Minute

// Watch compares a wall clock with the time that passes. It is not safe for concurrent use.
type Watch struct {
	wall, local       func() time.Time
	wallWas, localWas time.Time
}

// NewWatch returns a Watch. Differences of two times of local are the time that passed: time.Now, with
// its monotonic reading.
func NewWatch(wall, local func() time.Time) Watch {
	return Watch{wall, local, wall().Round(0), local()}
}

// Step returns the time of the wall clock, the time that passed since the last Step, and how much more
// or less the wall clock moved. A jump of less than MinJump is 0.
func (w *Watch) Step() (now time.Time, passed, jump time.Duration) {
	now, local := w.wall().Round(0), w.local() // Round drops the monotonic reading
	passed = max(local.Sub(w.localWas), 0)
	if jump = now.Sub(w.wallWas) - passed; jump.Abs() < MinJump {
		jump = 0
	}
	w.wallWas, w.localWas = now, local
	return now, passed, jump
}

// Clock is a clock for deletions: it is never ahead of the wall clock, and it runs only while a process
// runs. So data that has ended by it had that much time to end, whatever the wall clock showed.
//
// It lags behind the wall clock by the time in which no process ran. After settle of running without a
// jump it forgets the lag: data that lives shorter than settle and is older than that has ended, and
// the times of younger data are those of a clock that did not jump. It is safe for concurrent use.
type Clock struct {
	settle time.Duration
	mu     sync.Mutex
	watch  Watch
	s      State
}

// State is the state of a Clock between two processes.
type State struct {
	Round int64         // number of the times that Next started again
	Time  time.Time     // of the Clock
	Next  time.Time     // of a Clock that started at the last jump, and replaces Time after settle
	Ran   time.Duration // since Next started
}

// New returns a Clock that continues from a state. The zero State starts at the wall clock.
func New(wall, local func() time.Time, settle time.Duration, s State) *Clock {
	c := &Clock{settle: settle, watch: NewWatch(wall, local), s: s}
	if s.Time.IsZero() {
		c.s.Time = c.watch.wallWas
	}
	if s.Next.IsZero() {
		c.s.Next = c.watch.wallWas
	}
	return c
}

// Now returns the time.
func (c *Clock) Now() time.Time { return c.State().Time }

// State returns the state at present.
func (c *Clock) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.step()
	return c.s
}

// Merge takes over what other processes, which ran at the same time, have stored. Several processes
// together do not make the clock faster.
func (c *Clock) Merge(stored State) State {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.step()
	switch {
	case stored.Round > c.s.Round:
		c.s = stored
	case stored.Round == c.s.Round:
		c.s.Time, c.s.Next = later(c.s.Time, stored.Time), later(c.s.Next, stored.Next)
		c.s.Ran = max(c.s.Ran, stored.Ran)
	}
	return c.s
}

// step moves the clock. c.mu is held.
func (c *Clock) step() {
	now, passed, jump := c.watch.Step()
	s := &c.s
	s.Time, s.Next, s.Ran = s.Time.Add(passed), s.Next.Add(passed), s.Ran+passed
	switch {
	case jump != 0 || s.Time.Sub(now) >= MinJump: // or the wall clock was set back before the start
		s.Next = now
	case s.Ran >= c.settle:
		s.Time, s.Next = s.Next, now
	default:
		s.Time, s.Next = earlier(s.Time, now), earlier(s.Next, now)
		return
	}
	s.Time, s.Ran, s.Round = earlier(s.Time, now), 0, s.Round+1
}

// String returns the text that ParseState reads.
func (s State) String() string {
	return fmt.Sprintf("%d %d %d %d", s.Round, s.Time.UnixMicro(), s.Next.UnixMicro(), s.Ran.Microseconds())
}

// ParseState parses the text of a State.
func ParseState(text string) (s State, ok bool) {
	var round, at, next, ran int64
	if n, _ := fmt.Sscanf(text, "%d %d %d %d", &round, &at, &next, &ran); n != 4 {
		return State{}, false
	}
	return State{round, time.UnixMicro(at).UTC(), time.UnixMicro(next).UTC(), time.Duration(ran) * time.Microsecond}, true
}

func earlier(a, b time.Time) time.Time { return slices.MinFunc([]time.Time{a, b}, time.Time.Compare) }

func later(a, b time.Time) time.Time { return slices.MaxFunc([]time.Time{a, b}, time.Time.Compare) }
