package limits

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/durward-auth/durward/internal/valkey"
)

// Shared is counting in Redis or Valkey, in sum over all nodes that have the same
// key. Each step is one script, so that check and count are one step there, too.
// Keys, where NETWORK and ACCOUNT are hashes under the key, so that no address and
// no name leaves the node:
//
//	durward:limits:NETWORK          hash: ACCOUNT -> what is known, as MessagePack; of the narrowest network
//	durward:limits:NETWORK:failures list: moments of failures, of each network
//	durward:limits:NETWORK:tries    sorted set: tries under way, by their end
//	durward:rate:NAME:MINUTE:NETWORK counter
//
// All of them end by themselves. One network holds as many accounts as in memory;
// how many networks there are is bounded by the work of judging a secret, which
// comes before each failure.
type Shared struct {
	redis  *valkey.Client
	secret [32]byte
	lease  time.Duration // leaseLife
	wake   chan struct{} // holds one that owed has grown

	mu   sync.Mutex
	owed []call // release what Redis could not be told the end of
}

// call is the keys and arguments of a script.
type call struct{ keys, args []string }

// NewShared returns a Shared. key is that of all nodes, of at least 32 octets.
func NewShared(redis *valkey.Client, key []byte) (*Shared, error) {
	if redis == nil || len(key) < sha256.Size {
		return nil, errors.New("limits: a connection and a key of 32 octets are required")
	}
	return &Shared{redis: redis, secret: sha256.Sum256(key), lease: leaseLife, wake: make(chan struct{}, 1)}, nil
}

// Run gives back, when Redis is there again, the places of tries that ended while it
// was not, until ctx ends. Without it they end with their leases, and whoever is as
// close to a limit waits for them.
func (s *Shared) Run(ctx context.Context) {
	for ctx.Err() == nil {
		changed := s.redis.Changed()
		if up, _ := s.redis.Up(); up {
			s.release(ctx)
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-s.wake:
		}
	}
}

const (
	// mostOwed bounds what is remembered. What is more ends with its lease.
	mostOwed = 1024

	// afterwards is how much later than its return Redis is told: one that hung first
	// takes what was sent to it meanwhile, and a try may be about to begin there.
	afterwards = 100 * time.Millisecond
)

// owe remembers a release.
func (s *Shared) owe(c call) {
	s.mu.Lock()
	if len(s.owed) < mostOwed {
		s.owed = append(s.owed, c)
	}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// release gives back what is owed. What it cannot, it owes still.
func (s *Shared) release(ctx context.Context) {
	s.mu.Lock()
	owed := s.owed
	s.owed = nil
	s.mu.Unlock()
	if len(owed) == 0 {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(afterwards):
	}
	for i, c := range owed {
		if _, err := s.redis.Run(ctx, decideScript, c.keys, c.args...); err != nil {
			s.mu.Lock()
			s.owed = append(s.owed, owed[i:]...)
			s.owed = s.owed[:min(len(s.owed), mostOwed)]
			s.mu.Unlock()
			return
		}
	}
}

// leaseLife is how long a try holds its place if nobody decides it, because its
// node is gone. A try that takes longer is still counted when it fails.
const leaseLife = 30 * time.Second

var (
	//go:embed account.lua
	accountLua string
	//go:embed begin.lua
	beginLua string
	//go:embed decide.lua
	decideLua string

	beginScript  = valkey.NewScript(accountLua + beginLua)
	decideScript = valkey.NewScript(accountLua + decideLua)

	blockedScript = valkey.NewScript(`local raw = redis.call('HGET', KEYS[1], ARGV[1])
return {raw and cmsgpack.unpack(raw).b or 0}`)

	rateScript = valkey.NewScript(`if tonumber(redis.call('GET', KEYS[1]) or 0) >= tonumber(ARGV[1]) then return {0} end
redis.call('INCR', KEYS[1])
redis.call('PEXPIRE', KEYS[1], 120000)
return {1}`)
)

// outcome is how a try ended.
type outcome struct {
	kind   string
	secret [16]byte // the hash of a wrong one
}

// kindArg is where the kind of an outcome stands among the arguments of decide.lua.
const kindArg = 6

const (
	cancelled = "cancelled"
	succeeded = "succeeded"
	failed    = "failed"
)

// verdict is what Redis says of a failure.
type verdict struct {
	counted bool      // it is not one of the last wrong secrets
	blocked time.Time // until when the account is
}

// hash names something in Redis without telling it.
func (s *Shared) hash(what, name string) string {
	mac := hmac.New(sha256.New, s.secret[:])
	mac.Write([]byte(what + "\x00" + name))
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

func (s *Shared) networkKey(n netip.Prefix) string {
	return "durward:limits:" + s.hash("network", n.String())
}

// keys are those of a try: the accounts of its network, then failures and tries of
// each network that it counts under.
func (s *Shared) keys(n netip.Prefix) []string {
	keys := []string{s.networkKey(n)}
	for _, p := range wider(n) {
		key := s.networkKey(p)
		keys = append(keys, key+":failures", key+":tries")
	}
	return keys
}

func whole(n int64) string { return strconv.FormatInt(n, 10) }

// keep is how long an account of a network is kept after its last change.
func (c *Config) keep() time.Duration {
	return max(c.AccountWindow, c.AccountBlock, time.Hour) + time.Minute
}

// limitsOf are the limits of each network, a minute and an hour.
func (c *Config) limitsOf(n netip.Prefix) (all []string) {
	for _, p := range wider(n) {
		all = append(all, whole(int64(c.NetworkFailures*factor(p))), whole(int64(c.NetworkFailuresHour*factor(p))))
	}
	return all
}

// Waiting for tries of other nodes is asking again, ever less often, and not for as
// long as the lease of a node that is gone.
const (
	firstPause  = 5 * time.Millisecond
	lastPause   = 80 * time.Millisecond
	longestWait = 10 * time.Second
)

// reserve asks Redis whether a try that this node lets through may begin. It
// returns a *Blocked where not and waits for tries of other nodes. Where Redis gives
// no answer, what this node knows is enough.
func (l *Limiter) reserve(ctx context.Context, a *Attempt) error {
	lease, began := rand.Text(), time.Now()
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		switch word, err := l.ask(ctx, a, lease); {
		case err != nil:
			if ctx.Err() != nil { // whether there is a lease is not known
				a.lease = lease
			}
			return err
		case word == "busy", word == "wait" && time.Since(began) > longestWait:
			return ErrBusy
		case word == "away":
			return nil
		case word != "wait":
			a.lease = lease
			return nil
		}
		var dice [1]byte // nodes that wait for one another ask at different moments
		_, _ = rand.Read(dice[:])
		if err := l.pause(ctx, pause/2+pause*time.Duration(dice[0])/512); err != nil {
			return err
		}
	}
}

// ask asks Redis once: its answer is ok, wait, busy; away where it was not asked, or
// nothing where no answer came. The error is ctx's, or a *Blocked. Without a lease the
// question is only whether the try is refused, and the answer else is ok.
func (l *Limiter) ask(ctx context.Context, a *Attempt, lease string) (word string, err error) {
	l.mu.Lock()
	c, room, now := l.c, l.bounds.ofNetwork, l.c.Now()
	l.mu.Unlock()
	unlimited := "0"
	if c.NetworkUnlimited {
		unlimited = "1"
	}
	args := append([]string{
		l.shared.hash("account", a.account), whole(now.UnixMicro()), lease, whole(l.shared.lease.Milliseconds()),
		whole(int64(c.AccountFailures)), whole(c.AccountWindow.Microseconds()), unlimited, whole(int64(room)), whole(c.keep().Milliseconds()),
	}, c.limitsOf(a.network)...)
	answer, err := l.shared.redis.Run(ctx, beginScript, l.shared.keys(a.network), args...)
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case err == valkey.ErrDown:
		return "away", nil
	case err != nil || len(answer) != 5:
		return "", nil
	}
	word, err = answer[0].ToString()
	var n [4]int64 // wait, which network, blocked until, right secret at
	for i := range n {
		if err == nil {
			n[i], err = answer[i+1].AsInt64()
		}
	}
	if err != nil {
		return "", nil
	}
	l.learn(a, time.UnixMicro(n[2]), time.UnixMicro(n[3]))
	if word != "blocked" {
		return word, nil
	}
	b := &Blocked{time.Duration(n[0]) * time.Microsecond, "the account is blocked for this network"}
	if all := wider(a.network); n[1] > 0 && int(n[1]) <= len(all) {
		b.Why = "too many failures of network " + all[n[1]-1].String()
	}
	return "", b
}

// pause waits for a moment before Redis is asked again.
func (l *Limiter) pause(ctx context.Context, d time.Duration) error {
	l.mu.Lock()
	if l.waiting >= l.bounds.waiting {
		l.mu.Unlock()
		return ErrBusy
	}
	l.waiting++
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		l.waiting--
		l.mu.Unlock()
	}()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// learn takes over what other nodes have seen of an account: a block, for when Redis
// is gone, and a right secret, after which failures from before count no more.
func (l *Limiter) learn(a *Attempt, blocked, right time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.known(a.account, a.network)
	if c == nil { // refused, and nothing known of it here
		return
	}
	l.learnBlock(c, blocked, l.c.Now())
	if n := len(c.failures); n > 0 {
		if c.failures = after(c.failures, right); len(c.failures) < n && len(c.failures) == 0 {
			c.recent = [3][16]byte{}
		}
	}
}

// tell tells Redis how a try ended. It returns nil where nobody was asked or no
// answer came: then this node decides alone.
func (a *Attempt) tell(o outcome) *verdict {
	l := a.l
	l.mu.Lock()
	c, now := l.c, l.c.Now()
	l.mu.Unlock()
	if l.shared == nil || o.kind == cancelled && a.lease == "" {
		return nil
	}
	args := append([]string{
		l.shared.hash("account", a.account), whole(now.UnixMicro()), a.lease, whole(l.shared.lease.Milliseconds()),
		whole(int64(c.AccountFailures)), whole(c.AccountWindow.Microseconds()), o.kind, string(o.secret[:]), whole(c.keep().Milliseconds()),
		whole(c.AccountBlock.Microseconds()),
	}, c.limitsOf(a.network)...)
	keys := l.shared.keys(a.network)
	// Whoever asked may be gone; what was judged is counted all the same.
	answer, err := l.shared.redis.Run(context.Background(), decideScript, keys, args...)
	if err != nil && a.lease != "" {
		args[kindArg] = cancelled // it may have been counted
		l.shared.owe(call{keys, args})
	}
	if err != nil || len(answer) != 2 {
		return nil
	}
	counted, _ := answer[0].AsInt64()
	until, _ := answer[1].AsInt64()
	return &verdict{counted == 1, time.UnixMicro(until)}
}

// blocked reports whether an account is blocked by what Redis says; without an
// answer it is not.
func (s *Shared) blocked(ctx context.Context, account string, n netip.Prefix, now time.Time) bool {
	answer, err := s.redis.Run(ctx, blockedScript, []string{s.networkKey(n)}, s.hash("account", account))
	if err != nil || len(answer) != 1 {
		return false
	}
	until, _ := answer[0].AsInt64()
	return until > now.UnixMicro()
}

// rate counts a bad one of a network in a minute and reports whether it is not one
// too many; without an answer it is not.
func (s *Shared) rate(ctx context.Context, name string, n netip.Prefix, minute int64, most int) bool {
	key := fmt.Sprintf("durward:rate:%s:%d:%s", name, minute, s.hash("network", n.String()))
	answer, err := s.redis.Run(ctx, rateScript, []string{key}, whole(int64(most)))
	if err != nil || len(answer) != 1 {
		return true
	}
	ok, _ := answer[0].AsInt64()
	return ok == 1
}
