package node

import (
	"github.com/durward-auth/durward/internal/limits"
	"github.com/durward-auth/durward/internal/server"
	"github.com/durward-auth/durward/internal/valkey"
)

// together is what the nodes of one installation share in Redis: counters. Nil is a
// node without Redis.
type together struct {
	redis  *valkey.Client
	shared *limits.Shared
}

// connect makes what is shared. It waits for no server.
func connect(c Config) (*together, error) {
	if c.Redis == "" {
		return nil, nil
	}
	key, err := c.Master.Derive("limits in redis")
	if err != nil {
		return nil, err
	}
	t := new(together)
	if t.redis, err = valkey.New(valkey.Config{URL: c.Redis, Log: c.Log}); err != nil {
		return nil, err
	}
	if t.shared, err = limits.NewShared(t.redis, key); err != nil {
		t.redis.Close()
		return nil, err
	}
	return t, nil
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

// serve gives a server what is shared.
func (t *together) serve(c *server.Config) {
	if t != nil {
		c.Redis = t.redis.Err
	}
}
