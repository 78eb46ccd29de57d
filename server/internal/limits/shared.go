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

// Shared counts in Redis or Valkey, for all nodes with the same key. Each step is a script, so that
// check and count are one step there too. NETWORK, ACCOUNT and ROW are keyed hashes, so that no address
// and no name leaves the node. The keys are:
//
//	durward:limits:NETWORK          hash: ACCOUNT -> its count, as MessagePack; NETWORK is an IPv4 address, a /64 or a known device
//	durward:limits:NETWORK:failures list: times of failures
//	durward:limits:NETWORK:repeats  list: times of repeated wrong secrets
//	durward:limits:NETWORK:tries    sorted set: leases of undecided tries, by their end
//	durward:limits:ROW              count of failures in a row, as MessagePack; ROW is an account or a known device
//	durward:rate:NAME:WINDOW:KEY    counter of a Rate; KEY is a keyed hash too
//
// All keys expire. A network has as many accounts as in memory. The number of networks is limited
// by the work of checking a secret before each failure.
type Shared struct {
	redis  *valkey.Client
	secret [32]byte
	lease  time.Duration // leaseLife, except in tests
	wake   chan struct{} // holds a signal after owed has grown

	mu   sync.Mutex
	owed []call // decisions that Redis has not received
}

// call holds the keys and arguments of a script.
type call struct{ keys, args []string }

// NewShared returns a Shared. All nodes have the same key of at least 32 bytes.
func NewShared(redis *valkey.Client, key []byte) (*Shared, error) {
	if redis == nil || len(key) < sha256.Size {
		return nil, errors.New("limits: a connection and a key of at least 32 bytes are required")
	}
	return &Shared{redis: redis, secret: sha256.Sum256(key), lease: leaseLife, wake: make(chan struct{}, 1)}, nil
}

// Run sends the decisions that Redis missed while it was down, until ctx ends. Without Run these
// tries occupy their places until their leases end.
func (s *Shared) Run(ctx context.Context) {
	for ctx.Err() == nil {
		redis := s.redis.State()
		if redis.Up {
			s.release(ctx)
		}
		select {
		case <-ctx.Done():
		case <-redis.Changed:
		case <-s.wake:
		}
	}
}

const (
	// maxOwed limits the decisions that are kept. Others end with their leases.
	maxOwed = 1024

	// releaseDelay is the time from the end of an outage to the first decision. A server that hung
	// first executes the commands that were sent to it meanwhile, and one of them may begin the
	// try.
	releaseDelay = 100 * time.Millisecond
)

// owe keeps a decision for Run.
func (s *Shared) owe(c call) {
	s.mu.Lock()
	if len(s.owed) < maxOwed {
		s.owed = append(s.owed, c)
	}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// release sends the decisions. It keeps those that fail.
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
	case <-time.After(releaseDelay):
	}
	for i, c := range owed {
		if _, err := s.redis.Run(ctx, decideScript, c.keys, c.args...); err != nil {
			s.mu.Lock()
			s.owed = append(s.owed, owed[i:]...)
			s.owed = s.owed[:min(len(s.owed), maxOwed)]
			s.mu.Unlock()
			return
		}
	}
}

// leaseLife is how long an undecided try keeps its place after its node has failed. A try that
// takes longer still counts when it fails.
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

	blockedScript = valkey.NewScript(`local raw, row = redis.call('HGET', KEYS[1], ARGV[1]), redis.call('GET', KEYS[2])
return {math.max(raw and cmsgpack.unpack(raw).b or 0, ARGV[2] == '1' and row and cmsgpack.unpack(row).b or 0)}`)

	rateScript = valkey.NewScript(`if tonumber(redis.call('GET', KEYS[1]) or 0) >= tonumber(ARGV[1]) then return {0} end
redis.call('INCR', KEYS[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {1}`)
)

// outcome is the decision of a try.
type outcome struct {
	kind   string
	secret [16]byte // hash of the wrong secret
}

// kindArg is the index of the outcome's kind in the arguments of decide.lua.
const kindArg = 6

const (
	cancelled = "cancelled"
	succeeded = "succeeded"
	failed    = "failed"
)

// verdict is the answer of Redis to a failure.
type verdict struct {
	counted bool      // false: the secret is one of the last wrong ones
	blocked time.Time // end of the account's block
	inRow   bool      // as counted, for the failures in a row
	locked  time.Time // end of the lock
}

// hash returns the keyed hash of a name, by which Redis knows it.
func (s *Shared) hash(what, name string) string {
	mac := hmac.New(sha256.New, s.secret[:])
	mac.Write([]byte(what + "\x00" + name))
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

func (s *Shared) networkKey(n netip.Prefix) string {
	return "durward:limits:" + s.hash("network", n.String())
}

func (s *Shared) rowKey(row string) string { return "durward:limits:" + s.hash("row", row) }

// keys returns the keys of a try: the accounts of its network or known device; then failures, tries and
// repeats of each network that counts it; then the row.
func (s *Shared) keys(a *Attempt, row string) []string {
	keys := []string{s.networkKey(a.holder)}
	for _, p := range wider(a.network) {
		key := s.networkKey(p)
		keys = append(keys, key+":failures", key+":tries", key+":repeats")
	}
	return append(keys, s.rowKey(row))
}

func whole(n int64) string { return strconv.FormatInt(n, 10) }

// limitsOf returns the limits of each network that counts a try, then those of a row, as arguments of
// the scripts.
func (c *Config) limitsOf(a *Attempt, row string) (all []string) {
	for _, p := range wider(a.network) {
		aMinute, anHour := c.networkLimits(p)
		all = append(all, whole(int64(aMinute)), whole(int64(anHour)), whole(int64(repeatLimit(p))))
	}
	return append(all, whole(int64(c.lockAfter(row))), whole(c.Lock.Microseconds()), whole(c.LockMax.Microseconds()), whole(rowKept.Microseconds()))
}

// While it waits for tries of other nodes, a node asks again with growing pauses. It gives up
// before the lease of a failed node ends.
const (
	firstPause  = 5 * time.Millisecond
	lastPause   = 80 * time.Millisecond
	longestWait = 10 * time.Second
)

// reserve asks Redis whether a try that this node allows may begin. It waits for tries of other
// nodes, or returns a *Blocked. If Redis does not answer, the counts of this node decide.
func (l *Limiter) reserve(ctx context.Context, a *Attempt) error {
	lease, began := rand.Text(), time.Now()
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		switch word, err := l.ask(ctx, a, lease); {
		case err != nil:
			if ctx.Err() != nil { // there may be a lease
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
		var dice [1]byte // nodes that wait for each other ask at different times
		_, _ = rand.Read(dice[:])
		if err := l.pause(ctx, pause/2+pause*time.Duration(dice[0])/512); err != nil {
			return err
		}
	}
}

// ask asks Redis once. It returns ok, wait or busy; away if Redis was not asked; or nothing if it
// did not answer. The error is that of ctx, or a *Blocked. Without a lease Redis only reports
// whether the try would be refused, and reserves nothing.
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
	}, c.limitsOf(a, a.row)...)
	answer, err := l.shared.redis.Run(ctx, beginScript, l.shared.keys(a, a.row), args...)
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case err == valkey.ErrDown:
		return "away", nil
	case err != nil || len(answer) != 7:
		return "", nil
	}
	word, err = answer[0].ToString()
	// Wait, index of the network (-1 for the row), end of the block, time of the last success; both of the row.
	var n [6]int64
	for i := range n {
		if err == nil {
			n[i], err = answer[i+1].AsInt64()
		}
	}
	if err != nil {
		return "", nil
	}
	l.learn(a, time.UnixMicro(n[2]), time.UnixMicro(n[3]))
	l.learnRow(a, time.UnixMicro(n[4]), time.UnixMicro(n[5]))
	if word != "blocked" {
		return word, nil
	}
	wait := time.Duration(n[0]) * time.Microsecond
	b := accountBlocked(wait)
	if n[1] < 0 {
		b = accountLocked(wait)
	}
	if all := wider(a.network); n[1] > 0 && int(n[1]) <= len(all) {
		b = networkBlocked(wait, all[n[1]-1])
	}
	return "", &b
}

// pause waits before the next question to Redis.
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

// learn takes over the results of other nodes for an account: a block, in case Redis fails, and a
// success, which resets earlier failures.
func (l *Limiter) learn(a *Attempt, blocked, right time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.known(a.account, a.holder)
	if c == nil { // refused, without a count on this node
		return
	}
	c.learnBlock(blocked, l.c.Now())
	if n := len(c.failures); n > 0 {
		if c.failures = after(c.failures, right); len(c.failures) < n && len(c.failures) == 0 {
			c.recent = [3][16]byte{}
		}
	}
}

// learnRow takes over a lock and a success, as learn does.
func (l *Limiter) learnRow(a *Attempt, locked, right time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.rows[a.row]
	if r == nil {
		return
	}
	if right.UnixMicro() > 0 && !right.Before(r.last) {
		r.reset()
	}
	r.learnLock(locked)
}

// tell sends the decision of a try to Redis. It returns nil if Redis was not asked or did not
// answer; then this node decides alone.
func (a *Attempt) tell(o outcome) *verdict {
	l := a.l
	l.mu.Lock()
	c, now := l.c, l.c.Now()
	l.mu.Unlock()
	if l.shared == nil || o.kind == cancelled && a.lease == "" {
		return nil
	}
	row := a.row
	if o.kind == succeeded {
		row = a.ends
	}
	args := append([]string{
		l.shared.hash("account", a.account), whole(now.UnixMicro()), a.lease, whole(l.shared.lease.Milliseconds()),
		whole(int64(c.AccountFailures)), whole(c.AccountWindow.Microseconds()), o.kind, string(o.secret[:]), whole(c.keep().Milliseconds()),
		whole(c.AccountBlock.Microseconds()),
	}, c.limitsOf(a, row)...)
	keys := l.shared.keys(a, row)
	// The decision counts even if the request was canceled.
	answer, err := l.shared.redis.Run(context.Background(), decideScript, keys, args...)
	if err != nil && a.lease != "" {
		args[kindArg] = cancelled // Redis may have counted it
		l.shared.owe(call{keys, args})
	}
	if err != nil || len(answer) != 4 {
		return nil
	}
	var n [4]int64
	for i := range n {
		n[i], _ = answer[i].AsInt64()
	}
	return &verdict{
		counted: n[0] == 1,
		blocked: time.UnixMicro(n[1]),
		inRow:   n[2] == 1,
		locked:  time.UnixMicro(n[3]),
	}
}

// blocked reports whether Redis has an account as blocked or locked; false if it does not answer.
func (s *Shared) blocked(ctx context.Context, a *Attempt, now time.Time) bool {
	locks := "1"
	if a.row == "" {
		locks = "0"
	}
	keys := []string{s.networkKey(a.holder), s.rowKey(a.row)}
	answer, err := s.redis.Run(ctx, blockedScript, keys, s.hash("account", a.account), locks)
	if err != nil || len(answer) != 1 {
		return false
	}
	until, _ := answer[0].AsInt64()
	return until > now.UnixMicro()
}

// rate counts a request for a key in a window of c and reports whether it is within the limit; true
// if Redis does not answer. The counter ends after two windows, as clocks differ.
func (s *Shared) rate(ctx context.Context, c RateConfig, key string, window int64, most int) bool {
	key = fmt.Sprintf("durward:rate:%s:%d:%s", c.Name, window, s.hash("rate", key))
	answer, err := s.redis.Run(ctx, rateScript, []string{key}, whole(int64(most)), whole(2*c.Window.Milliseconds()))
	if err != nil || len(answer) != 1 {
		return true
	}
	ok, _ := answer[0].AsInt64()
	return ok == 1
}
