package limits

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"sync"
	"time"

	"github.com/durward-auth/durward/internal/valkey"
)

// Proofs remembers used DPoP proofs for all nodes. Each is a key in Redis that is written once and
// expires:
//
//	durward:proof:EPOCH:ID
//
// The nonces that all nodes accept use a key derived from the nodes' common key and an epoch, a
// random value beside the proofs in Redis. If Redis loses the proofs it loses the epoch too. If it
// restarts from an older snapshot, the nodes replace the epoch. Another epoch means other nonces,
// so no earlier proof is accepted again. Proofs is a jwt.SharedProofs and safe for concurrent use.
type Proofs struct {
	redis  *valkey.Client
	secret []byte

	mu      sync.Mutex
	epoch   string // "" if unknown
	key     []byte
	emptied uint64 // Emptied of redis when the epoch was read
}

// NewProofs returns a Proofs. All nodes have the same key of at least 32 bytes.
func NewProofs(redis *valkey.Client, key []byte) (*Proofs, error) {
	if redis == nil || len(key) < sha256.Size {
		return nil, errors.New("limits: a connection and a key of at least 32 bytes are required")
	}
	return &Proofs{redis: redis, secret: key}, nil
}

// The epoch expires a day after the last proof. epochScript replaces a void one.
var (
	epochScript = valkey.NewScript(`local epoch, void = redis.call('GET', KEYS[1]), ARGV[2]
if not epoch or epoch == void then
  epoch = ARGV[1]
  redis.call('SET', KEYS[1], epoch)
end
redis.call('PEXPIRE', KEYS[1], 86400000)
return {epoch}`)

	spendScript = valkey.NewScript(`if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {-1} end
redis.call('PEXPIRE', KEYS[1], 86400000)
return {redis.call('SET', KEYS[2], '1', 'NX', 'PX', ARGV[2]) and 1 or 0}`)
)

// mac returns an HMAC with the common key.
func (p *Proofs) mac(what string) []byte {
	m := hmac.New(sha256.New, p.secret)
	m.Write([]byte(what))
	return m.Sum(nil)
}

// epochKey returns the Redis key of the epoch; it differs between installations.
func (p *Proofs) epochKey() string {
	return "durward:proofs:" + hex.EncodeToString(p.mac("epoch")[:16])
}

// Key returns the key of the nonces that all nodes accept, or nil while Redis is down.
func (p *Proofs) Key() []byte {
	redis := p.redis.State()
	if !redis.Up {
		return nil
	}
	p.mu.Lock()
	key, void := p.key, ""
	if p.emptied != redis.Emptied {
		key, void = nil, p.epoch
	} else if p.epoch == "" {
		key = nil
	}
	p.mu.Unlock()
	if key != nil {
		return key
	}
	answer, err := p.redis.Run(context.Background(), epochScript, []string{p.epochKey()}, rand.Text(), void)
	if err != nil || len(answer) != 1 {
		return nil
	}
	epoch, err := answer[0].ToString()
	if err != nil || epoch == "" {
		return nil
	}
	key = p.mac("nonces of " + epoch)
	p.mu.Lock()
	p.epoch, p.key, p.emptied = epoch, key, redis.Emptied
	p.mu.Unlock()
	return key
}

// errForgotten means that Redis has lost used proofs.
var errForgotten = errors.New("limits: Redis has lost used DPoP proofs")

// Spend records a proof for all nodes and reports whether it is new. key is the result of Key for
// its nonce.
func (p *Proofs) Spend(ctx context.Context, key []byte, id string, life time.Duration) (isNew bool, err error) {
	emptied := p.redis.State().Emptied
	p.mu.Lock()
	epoch, same := p.epoch, hmac.Equal(p.key, key) && p.emptied == emptied
	p.mu.Unlock()
	if epoch == "" || !same {
		return false, errForgotten
	}
	answer, err := p.redis.Run(ctx, spendScript, []string{p.epochKey(), "durward:proof:" + epoch + ":" + id}, epoch, whole(life.Milliseconds()))
	if err != nil {
		return false, err
	}
	said := int64(-1)
	if len(answer) == 1 {
		said, err = answer[0].AsInt64()
	}
	if err != nil || said < 0 {
		p.mu.Lock()
		p.epoch = ""
		p.mu.Unlock()
		return false, errForgotten
	}
	return said == 1, nil
}
