package node

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/durward-auth/durward/internal/revoked"
	"github.com/durward-auth/durward/internal/valkey"
	"github.com/durward-auth/durward/jwt"
	"github.com/durward-auth/durward/server/internal/limits"
	"github.com/durward-auth/durward/server/internal/revocation"
)

// redisParts are the parts that nodes share through Redis: counts of failures, used DPoP proofs and
// the push of revocations. The zero value is a node without Redis.
type redisParts struct {
	client   *valkey.Client
	err      func() error // reports whether Redis answers and takes revocations
	shared   *limits.Shared
	proofs   jwt.SharedProofs
	push     *revocation.Push
	fromFeed func([]revoked.Entry) // stores new entries of the feed in Redis
}

// open makes the parts, each with a key of its own, which all nodes with the same master key derive.
// It does not wait for Redis. It makes nothing if redis.url is empty.
func (r *redisParts) open(
	c Config, now func() time.Time, list *revoked.List, feed *revocation.Feed, received func([]revoked.Entry),
) (err error) {
	if c.Settings.Redis.URL == "" {
		return nil
	}
	var keys [3][]byte
	for i, purpose := range []string{"limits in redis", "proofs in redis", "revocations in redis"} {
		if keys[i], err = c.Master.Derive(purpose); err != nil {
			return err
		}
	}
	if r.client, err = valkey.New(valkey.Config{URL: c.Settings.Redis.URL.Reveal(), Log: c.Log}); err != nil {
		return err
	}
	if r.shared, err = limits.NewShared(r.client, keys[0]); err != nil {
		return err
	}
	if r.proofs, err = limits.NewProofs(r.client, keys[1]); err != nil {
		return err
	}
	r.push, err = revocation.NewPush(revocation.PushConfig{
		Redis:      r.client,
		Key:        keys[2],
		List:       list,
		Each:       feed.Each,
		OnReceived: received,
		Now:        now,
		Log:        c.Log,
	})
	if err == nil {
		r.fromFeed = r.push.FromFeed
		r.err = func() error { return errors.Join(r.client.Err(), r.push.Err()) }
	}
	return err
}

// run runs the push and the upkeep of the counts until ctx ends.
func (r *redisParts) run(ctx context.Context) {
	if r.client == nil {
		return
	}
	var background sync.WaitGroup
	background.Go(func() { r.shared.Run(ctx) })
	r.push.Run(ctx)
	background.Wait()
}
