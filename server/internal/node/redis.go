package node

import (
	"context"
	"sync"
	"time"

	"github.com/durward-auth/durward/internal/revoked"
	"github.com/durward-auth/durward/internal/valkey"
	"github.com/durward-auth/durward/jwt"
	"github.com/durward-auth/durward/server/internal/limits"
	"github.com/durward-auth/durward/server/internal/revocation"
)

// redisParts are the parts that nodes share through Redis: counts of failures, used DPoP proofs and
// the push of revocations. A nil *redisParts is a node without Redis; its methods return nil.
type redisParts struct {
	client *valkey.Client
	shared *limits.Shared
	proofs *limits.Proofs
	push   *revocation.Push
}

// pollFunc reads the feed of revocations (revoked.FollowerConfig.Poll).
type pollFunc = func(ctx context.Context, after int64, overlap time.Duration) ([]revoked.Entry, string, error)

// newRedisParts makes the parts, each with a key of its own, which all nodes with the same master key
// derive. It does not wait for Redis. It returns nil if redis.url is empty.
func newRedisParts(c Config, now func() time.Time, list *revoked.List, poll pollFunc) (*redisParts, error) {
	if c.Settings.Redis.URL == "" {
		return nil, nil
	}
	var keys [3][]byte
	for i, purpose := range []string{"limits in redis", "proofs in redis", "revocations in redis"} {
		var err error
		if keys[i], err = c.Master.Derive(purpose); err != nil {
			return nil, err
		}
	}
	client, err := valkey.New(valkey.Config{URL: c.Settings.Redis.URL.Reveal(), Log: c.Log})
	if err != nil {
		return nil, err
	}
	r := &redisParts{client: client}
	if r.shared, err = limits.NewShared(client, keys[0]); err != nil {
		client.Close()
		return nil, err
	}
	if r.proofs, err = limits.NewProofs(client, keys[1]); err != nil {
		client.Close()
		return nil, err
	}
	r.push, err = revocation.NewPush(revocation.PushConfig{
		Redis: client,
		Key:   keys[2],
		List:  list,
		All: func(ctx context.Context) ([]revoked.Entry, error) {
			entries, _, err := poll(ctx, 0, 0)
			return entries, err
		},
		Now: now,
		Log: c.Log,
	})
	if err != nil {
		client.Close()
		return nil, err
	}
	return r, nil
}

func (r *redisParts) close() {
	if r != nil {
		r.client.Close()
	}
}

// counters returns the counts of failures of all nodes.
func (r *redisParts) counters() *limits.Shared {
	if r == nil {
		return nil
	}
	return r.shared
}

// usedProofs returns the DPoP proofs that were used at any node.
func (r *redisParts) usedProofs() jwt.SharedProofs {
	if r == nil {
		return nil // not a nil *limits.Proofs in the interface
	}
	return r.proofs
}

// fromFeed returns the function that takes new entries of the feed and stores them in Redis.
func (r *redisParts) fromFeed() func([]revoked.Entry) {
	if r == nil {
		return nil
	}
	return r.push.FromFeed
}

// err returns the function that reports whether Redis is reachable.
func (r *redisParts) err() func() error {
	if r == nil {
		return nil
	}
	return r.client.Err
}

// run runs the push and the upkeep of the counts until ctx ends.
func (r *redisParts) run(ctx context.Context) {
	if r == nil {
		return
	}
	var background sync.WaitGroup
	background.Go(func() { r.shared.Run(ctx) })
	r.push.Run(ctx)
	background.Wait()
}
