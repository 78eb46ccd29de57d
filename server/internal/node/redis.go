package node

import (
	"context"
	"sync"
	"time"

	"github.com/durward-auth/durward/internal/revoked"
	"github.com/durward-auth/durward/internal/valkey"
	"github.com/durward-auth/durward/server/internal/httpapi"
	"github.com/durward-auth/durward/server/internal/limits"
	"github.com/durward-auth/durward/server/internal/revocation"
)

// together is what the nodes of one installation share in Redis: counters,
// DPoP proofs, a push of revocations. Nil is a node without Redis.
type together struct {
	redis  *valkey.Client
	shared *limits.Shared
	proofs *limits.Proofs
	push   *revocation.Push
}

// connect makes what is shared. It waits for no server.
func connect(c Config) (*together, error) {
	if c.Redis == "" {
		return nil, nil
	}
	t := new(together)
	var err error
	if t.redis, err = valkey.New(valkey.Config{URL: c.Redis, Log: c.Log}); err != nil {
		return nil, err
	}
	if err := t.fill(c); err != nil {
		t.redis.Close()
		return nil, err
	}
	return t, nil
}

// fill makes the parts over the connection, each under a key of its own, which all
// nodes with one master key have.
func (t *together) fill(c Config) error {
	counters, err := c.Master.Derive("limits in redis")
	if err != nil {
		return err
	}
	proofs, err := c.Master.Derive("proofs in redis")
	if err != nil {
		return err
	}
	if t.shared, err = limits.NewShared(t.redis, counters); err != nil {
		return err
	}
	t.proofs, err = limits.NewProofs(t.redis, proofs)
	return err
}

func (t *together) close() {
	if t != nil {
		t.redis.Close()
	}
}

// counters are where failures are counted in sum, nil for this process alone.
func (t *together) counters() *limits.Shared {
	if t == nil {
		return nil
	}
	return t.shared
}

// feed is where revocations are read.
type feed = func(context.Context, int64, time.Duration) ([]revoked.Entry, string, error)

// revocations makes what spreads revocations.
func (t *together) revocations(c Config, list *revoked.List, from feed) (*revocation.Push, error) {
	if t == nil {
		return nil, nil
	}
	key, err := c.Master.Derive("revocations in redis")
	if err != nil {
		return nil, err
	}
	all := func(ctx context.Context) ([]revoked.Entry, error) {
		entries, _, err := from(ctx, 0, 0)
		return entries, err
	}
	t.push, err = revocation.NewPush(revocation.PushConfig{Redis: t.redis, Key: key, List: list, All: all, Now: c.Now, Log: c.Log})
	return t.push, err
}

// run spreads and hears revocations, and keeps what is counted in order, until ctx
// ends.
func (t *together) run(ctx context.Context) {
	if t == nil {
		return
	}
	var all sync.WaitGroup
	all.Go(func() { t.shared.Run(ctx) })
	t.push.Run(ctx)
	all.Wait()
}

// serve gives a server what is shared.
func (t *together) serve(p *httpapi.Parts) {
	if t != nil {
		p.Redis, p.Proofs = t.redis.Err, t.proofs
	}
}
