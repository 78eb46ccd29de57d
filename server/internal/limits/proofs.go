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

// Proofs is what nodes remember together of DPoP proofs: each is one key in Redis,
// which is written once and ends by itself,
//
//	durward:proof:EPOCH:ID
//
// and nonces that all nodes take are under a key that is made of the nodes' common
// one and of an epoch, which is drawn at random and kept in Redis beside the proofs.
// A Redis that has lost the proofs has lost the epoch as well, or, where it came back
// with an older state, is given another; the next one makes other nonces, so that no
// proof of before is taken again anywhere. It is a jwt.SharedProofs and safe for
// concurrent use.
type Proofs struct {
	redis  *valkey.Client
	secret []byte

	mu      sync.Mutex
	epoch   string // "" is none known
	key     []byte
	emptied uint64 // what the connection said when the epoch was read
}

// NewProofs returns a Proofs. key is that of all nodes, of at least 32 octets.
func NewProofs(redis *valkey.Client, key []byte) (*Proofs, error) {
	if redis == nil || len(key) < sha256.Size {
		return nil, errors.New("limits: a connection and a key of 32 octets are required")
	}
	return &Proofs{redis: redis, secret: key}, nil
}

// The epoch is kept for a day after the last proof. One that is void is replaced.
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

// mac is a hash under the common key.
func (p *Proofs) mac(what string) []byte {
	m := hmac.New(sha256.New, p.secret)
	m.Write([]byte(what))
	return m.Sum(nil)
}

// epochKey is where the epoch stands: each installation has its own.
func (p *Proofs) epochKey() string {
	return "durward:proofs:" + hex.EncodeToString(p.mac("epoch")[:16])
}

// Key returns the key of nonces that all nodes take, nil while Redis is away.
func (p *Proofs) Key() []byte {
	if up, _ := p.redis.Up(); !up {
		return nil
	}
	emptied := p.redis.Emptied()
	p.mu.Lock()
	key, void := p.key, ""
	if p.emptied != emptied {
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
	p.epoch, p.key, p.emptied = epoch, key, emptied
	p.mu.Unlock()
	return key
}

// errForgotten says that Redis has lost what was spent.
var errForgotten = errors.New("limits: Redis has lost the proofs that were spent")

// Spend remembers a proof for all nodes and reports whether it is new. key is what
// Key gave for its nonce.
func (p *Proofs) Spend(ctx context.Context, key []byte, id string, life time.Duration) (isNew bool, err error) {
	emptied := p.redis.Emptied()
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
