package clock_test

import (
	"testing"
	"time"

	"github.com/durward-auth/durward/internal/clock"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// machine has a wall clock and a local clock. run moves both; a jump moves the wall clock alone.
type machine struct{ wall, local time.Time }

func (m *machine) run(d time.Duration) { m.wall, m.local = m.wall.Add(d), m.local.Add(d) }

func (m *machine) start(settle time.Duration, s clock.State) *clock.Clock {
	return clock.New(func() time.Time { return m.wall }, func() time.Time { return m.local }, settle, s)
}

const (
	day    = 24 * time.Hour
	settle = 2 * day
)

// A jump of the wall clock, with and without a restart, makes the clock neither faster than the process
// nor later than the wall clock.
func TestJumps(t *testing.T) {
	t.Parallel()
	for _, jump := range []time.Duration{2 * time.Minute, time.Hour, 36 * time.Hour, 45 * day, 10 * 365 * day} {
		for _, restart := range []bool{false, true} {
			m := &machine{noon, noon}
			c := m.start(settle, clock.State{})
			again := func() {
				if restart {
					s, ok := clock.ParseState(c.State().String())
					if !ok {
						t.Fatal("the stored state cannot be parsed")
					}
					c = m.start(settle, s)
				}
			}
			want := func(what string, at time.Time) {
				t.Helper()
				if got := c.Now(); !got.Equal(at) {
					t.Errorf("%s by %s, restart %v: got %s, want %s", what, jump, restart, got, at)
				}
			}
			m.run(time.Minute)
			m.wall = m.wall.Add(jump)
			again()
			m.run(time.Minute)
			want("ahead", noon.Add(2*time.Minute))
			m.wall = m.wall.Add(-jump)
			again()
			m.run(time.Minute)
			want("ahead and right again", noon.Add(3*time.Minute))
			m.wall = m.wall.Add(-jump)
			again()
			m.run(time.Minute)
			want("behind", noon.Add(4*time.Minute-jump))
			m.wall = m.wall.Add(jump)
			again()
			m.run(time.Minute)
			want("behind and right again", noon.Add(5*time.Minute-jump)) // times written meanwhile were behind
			for range 2 * settle / time.Hour {
				m.run(time.Hour)
				c.Now()
			}
			want("settled", m.wall)
		}
	}
}

// A clock that is wrong for as long as the clock needs to settle is taken for right.
func TestSettles(t *testing.T) {
	t.Parallel()
	m := &machine{noon, noon}
	c := m.start(settle, clock.State{})
	m.run(day)
	m.wall = m.wall.Add(45 * day)
	c.Now()
	m.run(settle - time.Second)
	if got, want := c.Now(), noon.Add(day+settle-time.Second); !got.Equal(want) {
		t.Errorf("before it settles: got %s, want %s", got, want)
	}
	m.run(time.Second)
	if got := c.Now(); !got.Equal(m.wall) {
		t.Errorf("settled: got %s, want %s", got, m.wall)
	}
}

// Time in which no process runs is a lag, which ends when the clock has settled.
func TestDowntime(t *testing.T) {
	t.Parallel()
	m := &machine{noon, noon}
	s := m.start(settle, clock.State{}).State()
	m.run(10 * day)
	c := m.start(settle, s)
	m.run(time.Hour)
	if got, want := c.Now(), noon.Add(time.Hour); !got.Equal(want) {
		t.Errorf("after the start: got %s, want %s", got, want)
	}
	for range 2 * settle / time.Hour {
		m.run(time.Hour)
		c.Now()
	}
	if got := c.Now(); !got.Equal(m.wall) {
		t.Errorf("settled: got %s, want %s", got, m.wall)
	}
}

// Three processes that store their states in turn are as fast as one, also if a jump reaches one first.
func TestProcesses(t *testing.T) {
	t.Parallel()
	m := &machine{noon, noon}
	stored := m.start(settle, clock.State{}).State()
	var all []*clock.Clock
	for range 3 {
		all = append(all, m.start(settle, stored))
	}
	pass := func() {
		for _, c := range all {
			m.run(time.Minute)
			stored = c.Merge(stored)
		}
	}
	began := m.local
	pass()
	m.wall = m.wall.Add(45 * day)
	for range 10 {
		pass()
	}
	for _, c := range all {
		if got, want := c.Now(), noon.Add(m.local.Sub(began)); !got.Equal(want) {
			t.Errorf("ahead: got %s, want %s", got, want)
		}
	}
	m.wall = m.wall.Add(-46 * day)
	for range 10 {
		pass()
	}
	if got := all[0].Now(); got.After(m.wall) {
		t.Errorf("behind: got %s, later than the wall clock, %s", got, m.wall)
	}
	late := m.start(settle, clock.State{Time: noon.Add(365 * day)}) // not the state of a process of these
	if got := late.Merge(stored); got.Time.After(m.wall) {
		t.Errorf("another state: got %s, later than the wall clock, %s", got.Time, m.wall)
	}
}

// A Watch reports jumps of a minute or more, in both directions, and not the time that passes.
func TestWatch(t *testing.T) {
	t.Parallel()
	m := &machine{noon, noon}
	w := clock.NewWatch(func() time.Time { return m.wall }, func() time.Time { return m.local })
	for _, jump := range []time.Duration{0, 59 * time.Second, -59 * time.Second, time.Minute, -time.Minute, day, -day} {
		m.run(time.Hour)
		m.wall = m.wall.Add(jump)
		want := jump
		if jump.Abs() < clock.MinJump {
			want = 0
		}
		now, passed, got := w.Step()
		if got != want || passed != time.Hour || !now.Equal(m.wall) {
			t.Errorf("jump by %s: got %s after %s", jump, got, passed)
		}
	}
}

func TestParseState(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "1 2 3", "a 2 3 4", "1 2 3 x"} {
		if s, ok := clock.ParseState(text); ok {
			t.Errorf("%q: got %v, want no state", text, s)
		}
	}
	s := clock.State{Round: 3, Time: noon, Next: noon.Add(day), Ran: time.Minute}
	if got, ok := clock.ParseState(s.String()); !ok || got != s {
		t.Errorf("%s: got %s, %v", s, got, ok)
	}
}

// What a process stored before the wall clock was set back does not undo that in another one.
func TestMergeAfterSetBack(t *testing.T) {
	t.Parallel()
	m := &machine{noon, noon}
	c := m.start(settle, clock.State{})
	stored := c.State()
	for _, jump := range []time.Duration{-day, day} {
		m.wall = m.wall.Add(jump)
		c.Now()
	}
	if got := c.Merge(stored); !got.Time.Equal(noon.Add(-day)) {
		t.Errorf("merged with an earlier round: got %s, want %s", got.Time, noon.Add(-day))
	}
	if got := m.start(settle, stored).Merge(c.State()); !got.Time.Equal(noon.Add(-day)) {
		t.Errorf("merged with a later round: got %s, want %s", got.Time, noon.Add(-day))
	}
}
