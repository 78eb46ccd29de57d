package api

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/client"
	"github.com/durward-auth/durward/internal/revoked"
)

// Config is what [Revocations] are made of. URL and Token are required, as in
// [ClientConfig].
type Config struct {
	URL   string
	Token func(context.Context) (string, error)
	HTTP  *http.Client

	// Wait is how long the server holds an answer back while there is no news: 0 is
	// 5 s, from 1 to 30 s in whole seconds. In quiet times AsOf is as old as that before
	// each answer, so it stays below the Freshness of any route.
	Wait time.Duration

	Log *slog.Logger // changes of state alone; nil is slog.Default
}

// How long it is until the next question, each with up to as much again by chance.
const (
	firstPause = 250 * time.Millisecond // after a failure; doubled with each
	mostPause  = 15 * time.Second
	leastPause = 50 * time.Millisecond // after news
	idlePause  = time.Second           // after an answer without news that did not wait
	mostAsked  = 5 * time.Minute       // of what Retry-After may ask for
)

// Revocations is what a server has revoked, followed from another program. It is safe
// for concurrent use; Check takes no lock.
type Revocations struct {
	c      Config
	client *Client
	list   *revoked.List

	follower *revoked.Follower
	asOf     atomic.Pointer[time.Time]

	// Of the poll under way; polls come one after another.
	next      int64
	etag      string
	epoch     string
	heard     time.Time // as of when the poll knows everything
	unchanged bool
	failures  int
	asked     time.Duration // Retry-After of the last failure
}

// NewRevocations reads the whole list and returns it, or an error that names every
// mistake in c or says why the list cannot be had. ctx bounds the reading alone. Then
// [Revocations.Run] follows.
func NewRevocations(ctx context.Context, c Config) (*Revocations, error) {
	var errs []error
	client, err := NewClient(ClientConfig{URL: c.URL, Token: c.Token, HTTP: c.HTTP})
	if err != nil {
		errs = append(errs, err)
	}
	if c.Token == nil {
		errs = append(errs, errNoToken)
	}
	if c.Wait == 0 {
		c.Wait = 5 * time.Second
	}
	if c.Wait < time.Second || c.Wait > 30*time.Second || c.Wait%time.Second != 0 {
		errs = append(errs, fmt.Errorf("api: Wait is %s, it may be from 1s to 30s in whole seconds", c.Wait))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	r := &Revocations{c: c, client: client, list: revoked.NewList(nil)}
	r.follower, err = revoked.NewFollower(revoked.FollowerConfig{
		List: r.list, Poll: r.poll, Interval: c.Wait, Overlap: overlap, Timeout: c.Wait + slack, MaxAge: c.Wait + slack, Log: c.Log,
	})
	if err != nil {
		return nil, err
	}
	if err := r.follower.Load(ctx); err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	r.told()
	return r, nil
}

// Run follows until ctx ends, and returns then. While the server cannot be asked, it
// is asked again after a pause that grows to half a minute, or as long as it says.
func (r *Revocations) Run(ctx context.Context) {
	for ctx.Err() == nil {
		began := time.Now()
		r.asked = 0
		r.follower.Poll(ctx)
		pause := leastPause
		switch {
		case r.heard.IsZero():
			pause = max(min(firstPause<<min(r.failures, 10), mostPause), min(r.asked, mostAsked))
			r.failures++
		case r.unchanged && time.Since(began) < r.c.Wait/2:
			r.told()
			pause = idlePause // it drains, or something in between does not let it wait
		default:
			r.told()
			if r.unchanged {
				pause = 0
			}
		}
		timer := time.NewTimer(pause + jitter(pause))
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// told notes that a poll has ended well.
func (r *Revocations) told() {
	heard := r.heard
	r.failures = 0
	r.asOf.Store(&heard)
}

// Check says whether an access token was revoked: it is what jwt.Config.Revoked wants.
func (r *Revocations) Check(p *durward.Principal, keyID string) error {
	return r.list.Check(p, keyID)
}

// AsOf is the moment as of which Check knows everything: it is what
// jwt.Config.RevokedAsOf wants.
func (r *Revocations) AsOf() time.Time { return *r.asOf.Load() }

// Err is nil while the server can be asked. It is for health checks and logs.
func (r *Revocations) Err() error { return r.follower.Err() }

// Len is how many revocations are held.
func (r *Revocations) Len() int { return r.list.Len() }

// overlap tells a load from a later poll; lateness is the server's to care for.
const overlap = time.Minute

// poll reads what is new, page by page, or the whole list. What to ask for next the
// server has said, so after counts for nothing else.
func (r *Revocations) poll(ctx context.Context, after int64, back time.Duration) ([]revoked.Entry, string, error) {
	r.heard, r.unchanged = time.Time{}, false // also where a poll asks twice, and the second time in vain
	next, etag, wait := r.next, r.etag, r.c.Wait
	if after == 0 && back == overlap {
		// A load. A later poll of an empty list reaches back further, to the one before.
		next, etag, wait = 0, "", 0
	}
	epoch := ""
	var entries []revoked.Entry
	for {
		n, err := r.client.Revocations(ctx, next, wait, etag)
		if err != nil {
			if refusal, ok := errors.AsType[*client.ResponseError](err); ok {
				r.asked = refusal.RetryAfter
			}
			return nil, "", err
		}
		if n.Unchanged {
			r.heard, r.unchanged = n.AsOf, true
			return nil, r.epoch, nil
		}
		if epoch != "" && n.Page.Epoch != epoch {
			return nil, "", errors.New("api: the feed has begun anew while it was read")
		}
		epoch, next = n.Page.Epoch, n.Page.Next
		for _, e := range n.Page.Items {
			entries = append(entries, revoked.Entry{Seq: e.Seq, Kind: revoked.Kind(e.Kind), Value: e.Value, At: e.At, Until: e.Until})
		}
		if !n.Page.More {
			r.next, r.etag, r.epoch, r.heard, r.unchanged = next, n.ETag, epoch, n.AsOf, len(n.Page.Items) == 0
			return entries, epoch, nil
		}
		if len(entries) >= maxItems {
			// A long list is taken as it comes, so that it need not be held twice.
			r.list.Add(entries...)
			entries = entries[:0]
		}
		wait, etag = 0, ""
	}
}

// jitter is up to most, by chance, so that not all who were cut off come back at once.
func jitter(most time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	var b [8]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never returns an error
	return time.Duration(binary.BigEndian.Uint64(b[:]) % uint64(most))
}
