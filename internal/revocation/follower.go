package revocation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// FollowerConfig says whose entries are followed.
type FollowerConfig struct {
	List *List

	// Poll returns the entries numbered after a number, and again those of the
	// last overlap: a number is taken when a row is written and seen when it is
	// committed, so that a lower one can appear after a higher. epoch changes
	// when the source is no longer the one that was followed.
	Poll func(ctx context.Context, after int64, overlap time.Duration) (entries []Entry, epoch string, err error)

	Interval time.Duration // between polls; default 400 ms, so that a change is seen within a second even when one poll is slow
	MaxAge   time.Duration // without a good poll for longer, Err reports it; default 5 s
	Log      *slog.Logger
}

// overlap is how far back each poll reads again.
const overlap = 60 * time.Second

// Follower keeps a List as its source has it.
type Follower struct {
	c FollowerConfig

	mu    sync.Mutex
	seq   int64
	epoch string
	good  time.Time // of the last good poll, by this process's clock
	err   error     // of the last poll
}

// NewFollower returns a follower that has followed nothing yet.
func NewFollower(c FollowerConfig) (*Follower, error) {
	if c.List == nil || c.Poll == nil {
		return nil, errors.New("revocation: a follower needs a list and a source")
	}
	if c.Interval == 0 {
		c.Interval = 400 * time.Millisecond
	}
	if c.MaxAge == 0 {
		c.MaxAge = 5 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Follower{c: c}, nil
}

// Load reads the whole list. A node that has not loaded it must not say that it
// is ready.
func (f *Follower) Load(ctx context.Context) error {
	if err := f.poll(ctx); err != nil {
		return fmt.Errorf("revocation: the list cannot be loaded: %w", err)
	}
	return nil
}

// Run polls until ctx ends. Failures are logged when they begin and when they
// end.
func (f *Follower) Run(ctx context.Context) {
	tick := time.NewTicker(f.c.Interval)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := f.poll(ctx)
		if ctx.Err() != nil {
			return
		}
		if (err != nil) != failing {
			failing = err != nil
			if failing {
				f.c.Log.Error("revocations cannot be followed; the last list serves", "error", err)
			} else {
				f.c.Log.Info("revocations are followed again")
			}
		}
		f.c.List.Sweep()
	}
}

func (f *Follower) poll(ctx context.Context) error {
	f.mu.Lock()
	seq, epoch := f.seq, f.epoch
	f.mu.Unlock()
	entries, now, err := f.c.Poll(ctx, seq, overlap)
	if err == nil && epoch != "" && now != epoch {
		// Another past: numbers mean other things there.
		seq = 0
		if entries, now, err = f.c.Poll(ctx, 0, overlap); err == nil {
			f.c.List.clear()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err = err; err != nil {
		return err
	}
	f.c.List.Add(entries...)
	f.seq = seq
	for _, e := range entries {
		f.seq = max(f.seq, e.Seq)
	}
	f.epoch, f.good = now, time.Now()
	return nil
}

// Err says why the list is not fresh, or nil.
func (f *Follower) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch age := time.Since(f.good); {
	case f.good.IsZero():
		return errors.New("revocation: the list was never loaded")
	case age > f.c.MaxAge:
		return fmt.Errorf("revocation: the list is %s old: %w", age.Truncate(time.Second), orStuck(f.err))
	}
	return nil
}

func orStuck(err error) error {
	if err == nil {
		return errors.New("a poll does not return")
	}
	return err
}
