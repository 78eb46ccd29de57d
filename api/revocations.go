package api

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/client"
	"github.com/durward-auth/durward/internal/revoked"
)

// Config configures [Revocations]. URL and Token are required; URL, Token and HTTP are those of
// [ClientConfig].
type Config struct {
	URL   string
	Token func(context.Context) (string, error)
	HTTP  *http.Client

	// Wait is how long the server delays a response without news: 1 to 30 s in whole seconds; 0 means
	// 5 s. Without news AsOf becomes this old, so Wait must be below the Freshness of every route.
	Wait time.Duration

	Log *slog.Logger // receives changes of state; nil means slog.Default
}

// Pauses before the next request. A random part of up to the same length is added to each, so that
// clients do not all return at the same time.
const (
	firstPause = 250 * time.Millisecond // after a failure; doubled after each further one
	mostPause  = 15 * time.Second
	leastPause = 50 * time.Millisecond // after news
	idlePause  = time.Second           // after a response without news that came early
	mostAsked  = 5 * time.Minute       // largest Retry-After that is obeyed
)

// Revocations holds the revocations of a server and follows its feed. It is safe for concurrent use;
// Check makes no request.
type Revocations struct {
	c      Config
	client *Client
	list   *revoked.List

	follower *revoked.Follower
	asOf     atomic.Pointer[time.Time]

	// State of the running poll. There is one poll at a time.
	next      int64
	etag      string
	epoch     string
	asOfPoll  time.Time // when the poll was complete
	unchanged bool
	failures  int
	asked     time.Duration // Retry-After of the last failure
}

// NewRevocations reads the whole list. It fails if c has mistakes, all of which the error names, or if
// the server does not send the list. ctx bounds the reading only. Call [Revocations.Run] next.
func NewRevocations(ctx context.Context, c Config) (*Revocations, error) {
	var errs []error
	client, err := NewClient(ClientConfig{URL: c.URL, Token: c.Token, HTTP: c.HTTP})
	if err != nil {
		errs = append(errs, err)
	}
	if c.Token == nil {
		errs = append(errs, errNoToken)
	}
	c.Wait = cmp.Or(c.Wait, 5*time.Second)
	if c.Wait < time.Second || c.Wait > 30*time.Second || c.Wait%time.Second != 0 {
		errs = append(errs, fmt.Errorf("api: Wait is %s, it may be from 1s to 30s in whole seconds", c.Wait))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	c.Log = cmp.Or(c.Log, slog.Default())
	r := &Revocations{c: c, client: client, list: revoked.NewList(nil)}
	r.follower, err = revoked.NewFollower(revoked.FollowerConfig{
		List: r.list, Poll: r.poll, Interval: c.Wait, Timeout: c.Wait + slack, MaxAge: c.Wait + slack, Log: c.Log,
	})
	if err != nil {
		return nil, err
	}
	if err := r.follower.Load(ctx); err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	r.succeeded()
	return r, nil
}

// Run follows the feed until ctx ends. After a failure it pauses, up to half a minute or as long as
// the server asks for.
func (r *Revocations) Run(ctx context.Context) {
	for ctx.Err() == nil {
		began := time.Now()
		r.asked = 0
		r.follower.Poll(ctx)
		pause := leastPause
		switch {
		case r.asOfPoll.IsZero():
			pause = max(min(firstPause<<min(r.failures, 10), mostPause), min(r.asked, mostAsked))
			r.failures++
		case r.unchanged && time.Since(began) < r.c.Wait/2:
			r.succeeded()
			pause = idlePause // the server stops, or a proxy does not allow the wait
		default:
			r.succeeded()
			if r.unchanged {
				pause = 0
			}
		}
		random, _ := rand.Int(rand.Reader, big.NewInt(int64(pause)+1)) // crypto/rand.Reader never fails
		timer := time.NewTimer(pause + time.Duration(random.Int64()))
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// succeeded records a successful poll.
func (r *Revocations) succeeded() {
	asOfPoll := r.asOfPoll
	r.failures = 0
	r.asOf.Store(&asOfPoll)
}

// Check returns an error if an access token was revoked. It has the form of jwt.Config.Revoked.
func (r *Revocations) Check(p *durward.Principal, keyID string) error {
	return r.list.Check(p, keyID)
}

// AsOf returns the time up to which Check knows all revocations. It has the form of
// jwt.Config.RevokedAsOf.
func (r *Revocations) AsOf() time.Time { return *r.asOf.Load() }

// Err returns the error of the latest poll, or nil. It is for health checks and logs.
func (r *Revocations) Err() error { return r.follower.Err() }

// Len returns the number of revocations.
func (r *Revocations) Len() int { return r.list.Len() }

// poll reads the news or, with overlap 0, the whole list, page by page. The server's Next replaces
// after, and the server itself handles late commits.
func (r *Revocations) poll(
	ctx context.Context, _ int64, overlap time.Duration, take func([]revoked.Entry),
) (epoch string, err error) {
	r.asOfPoll, r.unchanged = time.Time{}, false // also if the second request of a poll fails
	next, etag, wait := r.next, r.etag, r.c.Wait
	if overlap == 0 {
		next, etag, wait = 0, "", 0
	}
	for {
		n, err := r.client.Revocations(ctx, next, wait, etag)
		if err != nil {
			if refusal, ok := errors.AsType[*client.ResponseError](err); ok {
				r.asked = refusal.RetryAfter
			}
			return "", err
		}
		if n.Unchanged {
			r.asOfPoll, r.unchanged = n.AsOf, true
			return r.epoch, nil
		}
		if epoch != "" && n.Page.Epoch != epoch {
			return "", errors.New("api: the feed started again during the read")
		}
		epoch, next = n.Page.Epoch, n.Page.Next
		entries := make([]revoked.Entry, len(n.Page.Items))
		for i, e := range n.Page.Items {
			entries[i] = revoked.Entry(e)
		}
		take(entries)
		if !n.Page.More {
			r.next, r.etag, r.epoch, r.asOfPoll, r.unchanged = next, n.ETag, epoch, n.AsOf, len(entries) == 0
			return epoch, nil
		}
		wait, etag = 0, ""
	}
}
