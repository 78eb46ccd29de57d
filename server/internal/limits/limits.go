// Package limits limits the guessing of secrets by counting failures.
//
// A failure is a try with a secret that was checked and was wrong. The same wrong secret again, as
// from a mail client with an old password, counts once for its account, but each repeat costs a hash
// and counts for the network. Unknown accounts are counted like known ones. Check and count are one
// step: a try waits while the undecided tries could still use up the limit.
//
// A client chooses the account and, within its network, its address. So failures are counted by
// network (IPv4 address, IPv6 /64, and with higher limits /56 and /48), and one network uses only
// its own share of the memory.
//
// A Limiter always counts in the memory of its process. With a [Shared] it also counts in Redis,
// for all nodes together, and the answer of Redis decides. Failures of this node are counted in
// both, so the two agree as long as Redis loses no data. If Redis is down or restarts empty, the
// node still knows the failures that it counted itself.
package limits

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// sampleSize is the number of networks that are compared before one is dropped.
const sampleSize = 16

// ErrBusy means that too many tries are waiting: try again later.
var ErrBusy = errors.New("limits: too many tries at the same time")

// Limiter counts failures. It is safe for concurrent use.
type Limiter struct {
	c      Config
	bounds bounds
	secret [32]byte // key of the hashes of wrong secrets
	shared *Shared  // nil: only this process counts

	mu       sync.Mutex
	networks map[netip.Prefix]*networkCount
	accounts int           // in all networks
	waiting  int           // tries that wait for the decision of others
	decided  chan struct{} // closed and replaced when a try is decided
	swept    time.Time
}

// accountCount counts the failures of one account from one network.
type accountCount struct {
	failures []time.Time // within the window, oldest first
	recent   [3][16]byte // hashes of the last wrong secrets
	blocked  time.Time   // end of the block
	underWay int         // undecided tries
}

// networkCount counts the failures of one network for all accounts.
type networkCount struct {
	failures []time.Time // within an hour, oldest first
	repeats  []time.Time // of the last wrong secrets, within a minute
	underWay int
	accounts map[string]*accountCount
}

// New returns a Limiter. The error lists every mistake in c.
func New(c Config) (*Limiter, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	l := &Limiter{c: c, bounds: standard, shared: c.Shared, networks: make(map[netip.Prefix]*networkCount), decided: make(chan struct{})}
	if c.Shared != nil {
		l.secret = c.Shared.secret // all nodes recognize the same wrong secrets
	} else {
		_, _ = rand.Read(l.secret[:]) // crypto/rand.Read never returns an error
	}
	return l, nil
}

// Set changes the limits. Counts remain; blocks keep their end.
func (l *Limiter) Set(s Settings) error {
	if err := s.complete(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.c.Settings = s
	l.wake()
	return nil
}

// Attempt is an undecided try. The caller must call exactly one of its methods; later calls do
// nothing.
type Attempt struct {
	l       *Limiter
	account string
	network netip.Prefix
	lease   string // id of its lease in Redis; "" if it has none
	once    sync.Once
}

// Begin starts a try of a secret, or returns a *Blocked. The caller must decide the attempt. If the
// undecided tries could still use up the limit, Begin waits for them; the error is that of ctx, or
// ErrBusy.
func (l *Limiter) Begin(ctx context.Context, account string, addr netip.Addr) (*Attempt, error) {
	n := network(addr)
	a, err := l.begin(ctx, account, n)
	if l.shared == nil {
		return a, err
	}
	var here, all *Blocked
	if errors.As(err, &here) {
		// The sum of all nodes may refuse it for longer.
		if _, err := l.ask(ctx, &Attempt{account: account, network: n}, ""); errors.As(err, &all) && all.RetryAfter > here.RetryAfter {
			return nil, all
		}
	}
	if err != nil {
		return nil, err
	}
	// This waits for tries of other nodes; those of this node are decided.
	if err := l.reserve(ctx, a); err != nil {
		a.Cancel()
		return nil, err
	}
	return a, nil
}

// begin is Begin in the memory of this process.
func (l *Limiter) begin(ctx context.Context, account string, n netip.Prefix) (*Attempt, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		now := l.c.Now()
		l.sweep(now)
		if err := l.blocked(account, n, now); err != nil {
			return nil, err
		}
		if l.room(account, n, now) {
			c, err := l.account(account, n)
			if err != nil {
				return nil, err
			}
			c.underWay++
			for _, p := range wider(n) {
				l.network(p).underWay++
			}
			return &Attempt{l: l, account: account, network: n}, nil
		}
		if l.waiting >= l.bounds.waiting {
			return nil, ErrBusy
		}
		if err := l.wait(ctx); err != nil {
			return nil, err
		}
	}
}

// wait releases l.mu until another try is decided.
func (l *Limiter) wait(ctx context.Context) error {
	decided := l.decided
	l.waiting++
	l.mu.Unlock()
	var err error
	select {
	case <-decided:
	case <-ctx.Done():
		err = ctx.Err()
	}
	l.mu.Lock()
	l.waiting--
	return err
}

// room reports whether another try stays within the limits even if all undecided tries fail.
func (l *Limiter) room(account string, n netip.Prefix, now time.Time) bool {
	// Without undecided tries there is nothing to wait for: if the limits were lowered meanwhile,
	// the next failure blocks.
	if c := l.known(account, n); c != nil && c.underWay > 0 && len(c.failures)+c.underWay >= l.c.AccountFailures {
		return false
	}
	if l.c.NetworkUnlimited {
		return true
	}
	for _, p := range wider(n) {
		if count := l.networks[p]; count != nil && count.underWay > 0 {
			inMinute := len(after(count.failures, now.Add(-time.Minute)))
			aMinute, anHour := l.c.networkLimits(p)
			repeats := len(after(count.repeats, now.Add(-time.Minute)))
			if inMinute+count.underWay >= aMinute || len(count.failures)+count.underWay >= anHour || repeats+count.underWay >= repeatLimit(p) {
				return false
			}
		}
	}
	return true
}

// Blocked reports whether the account is blocked for this network.
func (l *Limiter) Blocked(ctx context.Context, account string, addr netip.Addr) bool {
	n := network(addr)
	l.mu.Lock()
	known, now := l.known(account, n), l.c.Now()
	blocked := known != nil && now.Before(known.blocked)
	l.mu.Unlock()
	return blocked || l.shared != nil && l.shared.blocked(ctx, account, n, now)
}

// blocked returns the longer of the blocks of the account and its networks.
func (l *Limiter) blocked(account string, n netip.Prefix, now time.Time) error {
	var b Blocked
	if c := l.known(account, n); c != nil {
		if c.failures = after(c.failures, now.Add(-l.c.AccountWindow)); len(c.failures) == 0 {
			c.recent = [3][16]byte{}
		}
		if wait := c.blocked.Sub(now); wait > 0 {
			b = accountBlocked(wait)
		}
	}
	if !l.c.NetworkUnlimited {
		for _, p := range wider(n) {
			aMinute, anHour := l.c.networkLimits(p)
			if wait := l.networks[p].wait(now, aMinute, anHour, repeatLimit(p)); wait > b.RetryAfter {
				b = networkBlocked(wait, p)
			}
		}
	}
	if b.RetryAfter > 0 {
		return &b
	}
	return nil
}

// wait returns the time until a network's failures fall below its limits.
func (n *networkCount) wait(now time.Time, aMinute, anHour, repeats int) time.Duration {
	if n == nil {
		return 0
	}
	n.expire(now)
	var wait time.Duration
	if len(n.failures) >= anHour {
		wait = n.failures[len(n.failures)-anHour].Add(time.Hour).Sub(now)
	}
	if len(n.failures) >= aMinute {
		wait = max(wait, n.failures[len(n.failures)-aMinute].Add(time.Minute).Sub(now))
	}
	if len(n.repeats) >= repeats {
		wait = max(wait, n.repeats[len(n.repeats)-repeats].Add(time.Minute).Sub(now))
	}
	return wait
}

// expire drops the times that no longer count.
func (n *networkCount) expire(now time.Time) {
	n.failures, n.repeats = after(n.failures, now.Add(-time.Hour)), after(n.repeats, now.Add(-time.Minute))
}

// after returns the times after a moment. times is in ascending order.
func after(times []time.Time, moment time.Time) []time.Time {
	n := 0
	for n < len(times) && !times[n].After(moment) {
		n++
	}
	return times[n:]
}

// decide ends an attempt, in Redis and on this node.
func (a *Attempt) decide(o outcome) {
	a.once.Do(func() {
		said := a.tell(o)
		l := a.l
		l.mu.Lock()
		defer l.mu.Unlock()
		c := l.known(a.account, a.network) // not nil: accounts with undecided tries are not dropped
		c.underWay--
		for _, p := range wider(a.network) {
			l.networks[p].underWay--
		}
		now := l.c.Now()
		switch o.kind {
		case succeeded:
			c.reset()
		case failed:
			l.failed(c, a.network, o.secret, said, now)
		}
		// A count that holds nothing goes at once, so that a flood of refused tries leaves none.
		l.tidy(a.network, a.account, c, now)
		for _, p := range wider(a.network) {
			l.tidyNetwork(p, l.networks[p], now)
		}
		l.wake()
	})
}

// wake makes waiting tries check again. l.mu is held.
func (l *Limiter) wake() {
	close(l.decided)
	l.decided = make(chan struct{})
}

// Cancel ends an attempt without a check of its secret. Nothing is counted.
func (a *Attempt) Cancel() { a.decide(outcome{kind: cancelled}) }

// Succeed ends an attempt with a correct secret. The account's failures from this network are
// reset, and no others.
func (a *Attempt) Succeed() { a.decide(outcome{kind: succeeded}) }

// Fail ends an attempt with a wrong secret. A keyed hash of secret is kept, to recognize it later.
func (a *Attempt) Fail(secret string) {
	mac := hmac.New(sha256.New, a.l.secret[:])
	mac.Write([]byte(a.account + "\x00" + secret))
	a.decide(outcome{failed, [16]byte(mac.Sum(nil))})
}

// failed counts a failure. said is the answer of Redis; nil: there is none. l.mu is held.
func (l *Limiter) failed(c *accountCount, n netip.Prefix, hash [16]byte, said *verdict, now time.Time) {
	if slices.Contains(c.recent[:], hash) || said != nil && !said.counted {
		for _, p := range wider(n) {
			push(&l.networks[p].repeats, now, repeatLimit(p))
		}
		return
	}
	c.recent = [3][16]byte{hash, c.recent[0], c.recent[1]}
	c.failures = append(c.failures, now)
	if len(c.failures) >= l.c.AccountFailures {
		c.block(now.Add(l.c.AccountBlock))
	}
	if said != nil {
		c.learnBlock(said.blocked, now)
	}
	for _, p := range wider(n) {
		_, anHour := l.c.networkLimits(p)
		push(&l.networks[p].failures, now, anHour)
	}
}

// push appends a time and keeps as many times as the limit needs.
func push(times *[]time.Time, now time.Time, limit int) {
	*times = append((*times)[max(0, len(*times)-limit+1):], now)
}

// learnBlock takes over the block of an account from Redis.
func (c *accountCount) learnBlock(until, now time.Time) {
	if until.After(now) && until.After(c.blocked) {
		c.block(until)
	}
}

// block blocks an account.
func (c *accountCount) block(until time.Time) {
	c.blocked = until
	c.reset()
}

// reset forgets the failures of an account.
func (c *accountCount) reset() { c.failures, c.recent = nil, [3][16]byte{} }

// known returns the count of an account from a network, or nil.
func (l *Limiter) known(account string, n netip.Prefix) *accountCount {
	if count := l.networks[n]; count != nil {
		return count.accounts[account]
	}
	return nil
}

// account returns the count of an account from a network. It creates a new count, and drops another
// if there is no room.
func (l *Limiter) account(account string, n netip.Prefix) (*accountCount, error) {
	count := l.network(n)
	if c := count.accounts[account]; c != nil {
		return c, nil
	}
	now := l.c.Now()
	if len(count.accounts) >= l.bounds.ofNetwork && !l.dropFrom(count, now) {
		return nil, ErrBusy
	}
	if l.accounts >= l.bounds.accounts && !l.dropSomewhere(now) {
		return nil, ErrBusy
	}
	if count.accounts == nil {
		count.accounts = make(map[string]*accountCount)
	}
	c := new(accountCount)
	count.accounts[account] = c
	l.accounts++
	return c, nil
}

// network returns the count of a network. It creates a new count, and drops another if there is no
// room.
func (l *Limiter) network(p netip.Prefix) *networkCount {
	n, ok := l.networks[p]
	if !ok {
		if len(l.networks) >= l.bounds.networks {
			l.dropNetwork(l.c.Now())
		}
		n = new(networkCount)
		l.networks[p] = n
	}
	return n
}

// blockWeight is more than any number of failures.
const blockWeight = 1 << 20

// weight returns the importance of a count. An account is dropped only in favour of accounts with
// more failures.
func (c *accountCount) weight(now time.Time) int {
	if now.Before(c.blocked) {
		return blockWeight
	}
	return len(c.failures)
}

// lightest returns the account of a network with the lowest weight. Accounts with undecided tries
// do not count. It stops at a weight of 1, which makes a flood of accounts cheap.
func (n *networkCount) lightest(now time.Time) (account string, weight int, ok bool) {
	for a, c := range n.accounts {
		if c.underWay > 0 {
			continue
		}
		if w := c.weight(now); !ok || w < weight {
			account, weight, ok = a, w, true
			if w <= 1 {
				break
			}
		}
	}
	return account, weight, ok
}

// dropFrom drops an account of a network, so that a flood of invented accounts drops its own.
func (l *Limiter) dropFrom(n *networkCount, now time.Time) bool {
	account, _, ok := n.lightest(now)
	if ok {
		delete(n.accounts, account)
		l.accounts--
	}
	return ok
}

// dropSomewhere drops the account with the lowest weight in a sample of networks; of equal ones,
// that of the network with most accounts.
func (l *Limiter) dropSomewhere(now time.Time) bool {
	var from *networkCount
	least, looked := 0, 0
	for _, n := range l.networks { // in random order
		_, weight, ok := n.lightest(now)
		if !ok {
			continue
		}
		if from == nil || weight < least || weight == least && len(n.accounts) > len(from.accounts) {
			from, least = n, weight
		}
		if looked++; looked == sampleSize {
			break
		}
	}
	return from != nil && l.dropFrom(from, now)
}

// dropNetwork drops the network with the lowest weight in a sample. If all have undecided tries, it
// drops none: the number of undecided tries has its own limit.
func (l *Limiter) dropNetwork(now time.Time) {
	var victim netip.Prefix
	least, looked := -1, 0
	for p, n := range l.networks { // in random order
		if n.underWay > 0 {
			continue
		}
		weight := len(n.failures) + len(n.repeats)
		for _, c := range n.accounts {
			weight += c.weight(now)
		}
		if least < 0 || weight < least {
			victim, least = p, weight
		}
		if looked++; looked == sampleSize {
			break
		}
	}
	if least >= 0 {
		l.accounts -= len(l.networks[victim].accounts)
		delete(l.networks, victim)
	}
}

// sweep drops, once a minute, the counts that no longer matter.
func (l *Limiter) sweep(now time.Time) {
	if since := now.Sub(l.swept); since < time.Minute && since >= 0 {
		return
	}
	l.swept = now
	for p, n := range l.networks {
		for account, c := range n.accounts {
			l.tidy(p, account, c, now)
		}
		l.tidyNetwork(p, n, now)
	}
}

// tidy drops the count of an account if it holds nothing.
func (l *Limiter) tidy(n netip.Prefix, account string, c *accountCount, now time.Time) {
	c.failures = after(c.failures, now.Add(-l.c.AccountWindow))
	if len(c.failures) == 0 && !now.Before(c.blocked) && c.underWay == 0 {
		delete(l.networks[n].accounts, account)
		l.accounts--
	}
}

// tidyNetwork drops the count of a network if it holds nothing.
func (l *Limiter) tidyNetwork(p netip.Prefix, n *networkCount, now time.Time) {
	n.expire(now)
	if len(n.failures)+len(n.repeats) == 0 && len(n.accounts) == 0 && n.underWay == 0 {
		delete(l.networks, p)
	}
}
