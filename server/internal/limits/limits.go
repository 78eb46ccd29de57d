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
// Failures in a row, from all networks together, lock an account. A known device is exempt from that
// lock and has counts of its own, so that an attacker cannot lock the user of the account out there.
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
	rows     map[string]*rowCount // by the key of a try's row
	accounts int                  // in all networks
	waiting  int                  // tries that wait for the decision of others
	decided  chan struct{}        // closed and replaced when a try is decided
	swept    time.Time
}

// accountCount counts the failures of one account from one network.
type accountCount struct {
	failures []time.Time // within the window, oldest first
	recent   [3][16]byte // hashes of the last wrong secrets
	blocked  time.Time   // end of the block
	underWay int         // undecided tries
}

// rowCount counts failures in a row, of an account from all networks or of one known device.
type rowCount struct {
	failures int         // since the last success or lock
	locks    int         // since the last success
	recent   [3][16]byte // hashes of the last wrong secrets
	last     time.Time   // failure
	locked   time.Time   // end of the lock
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
	l := &Limiter{
		c:        c,
		bounds:   standard,
		shared:   c.Shared,
		networks: make(map[netip.Prefix]*networkCount),
		rows:     make(map[string]*rowCount),
		decided:  make(chan struct{}),
	}
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
	holder  netip.Prefix // whose failures block the account: the network or a known device
	row     string       // key of the row of failures that locks it; "" for none
	ends    string       // key of the row of failures that a success ends
	lease   string       // id of its lease in Redis; "" if it has none
	once    sync.Once
}

// attempt returns the attempt of a try.
func (l *Limiter) attempt(t Try) *Attempt {
	a := &Attempt{l: l, account: t.Account, network: network(t.Addr)}
	a.holder, a.row = a.network, accountRow(t.Account)
	if t.Device != "" {
		a.holder, a.row = deviceHolder(t.Device), deviceRow(t.Account, t.Device)
	}
	if a.ends = a.row; t.SignedIn && t.Device == "" {
		a.row = ""
	}
	return a
}

// counted returns the networks that count the undecided try. The holder is the first: enter must count there
// before another network needs room.
func (a *Attempt) counted() []netip.Prefix {
	if a.holder != a.network {
		return append([]netip.Prefix{a.holder}, wider(a.network)...)
	}
	return wider(a.network)
}

// Begin starts a try of a secret, or returns a *Blocked. The caller must decide the attempt. If the
// undecided tries could still use up the limit, Begin waits for them; the error is that of ctx, or
// ErrBusy.
func (l *Limiter) Begin(ctx context.Context, t Try) (*Attempt, error) {
	a := l.attempt(t)
	err := l.begin(ctx, a)
	if l.shared == nil {
		if err != nil {
			return nil, err
		}
		return a, nil
	}
	var here, all *Blocked
	if errors.As(err, &here) {
		// The sum of all nodes may refuse it for longer.
		if _, err := l.ask(ctx, a, ""); errors.As(err, &all) && all.RetryAfter > here.RetryAfter {
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
func (l *Limiter) begin(ctx context.Context, a *Attempt) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		now := l.c.Now()
		l.sweep(now)
		if err := l.blocked(a, now); err != nil {
			return err
		}
		if l.room(a, now) {
			return l.enter(a)
		}
		if l.waiting >= l.bounds.waiting {
			return ErrBusy
		}
		if err := l.wait(ctx); err != nil {
			return err
		}
	}
}

// enter counts an undecided try.
func (l *Limiter) enter(a *Attempt) error {
	row, err := l.row(a.row)
	if err != nil {
		return err
	}
	c, err := l.account(a.account, a.holder)
	if err != nil {
		return err // the next sweep drops a row without failures
	}
	c.underWay++
	if row != nil {
		row.underWay++
	} else {
		a.row = "" // also if the lock is switched on before the decision
	}
	for _, p := range a.counted() {
		l.network(p).underWay++
	}
	return nil
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
func (l *Limiter) room(a *Attempt, now time.Time) bool {
	// Without undecided tries there is nothing to wait for: if the limits were lowered meanwhile,
	// the next failure blocks.
	if c := l.known(a.account, a.holder); c != nil && c.underWay > 0 && len(c.failures)+c.underWay >= l.c.AccountFailures {
		return false
	}
	if r, most := l.rows[a.row], l.c.lockAfter(a.row); most > 0 && r != nil && r.underWay > 0 && r.failures+r.underWay >= most {
		return false
	}
	if l.c.NetworkUnlimited {
		return true
	}
	for _, p := range wider(a.network) {
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

// Blocked reports whether the account is blocked for this network, or locked, for a client without a
// known device.
func (l *Limiter) Blocked(ctx context.Context, account string, addr netip.Addr) bool {
	a := l.attempt(Try{Account: account, Addr: addr})
	l.mu.Lock()
	if l.c.lockAfter(a.row) == 0 {
		a.row = ""
	}
	known, row, now := l.known(account, a.holder), l.rows[a.row], l.c.Now()
	blocked := known != nil && now.Before(known.blocked) || row != nil && now.Before(row.locked)
	l.mu.Unlock()
	return blocked || l.shared != nil && l.shared.blocked(ctx, a, now)
}

// blocked returns the longest of the blocks of the account and its networks, and of its lock.
func (l *Limiter) blocked(a *Attempt, now time.Time) error {
	var b Blocked
	if c := l.known(a.account, a.holder); c != nil {
		if c.failures = after(c.failures, now.Add(-l.c.AccountWindow)); len(c.failures) == 0 {
			c.recent = [3][16]byte{}
		}
		if wait := c.blocked.Sub(now); wait > 0 {
			b = accountBlocked(wait)
		}
	}
	if r := l.rows[a.row]; r != nil && l.c.lockAfter(a.row) > 0 {
		r.expire(now)
		if wait := r.locked.Sub(now); wait > b.RetryAfter {
			b = accountLocked(wait)
		}
	}
	if !l.c.NetworkUnlimited {
		for _, p := range wider(a.network) {
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
		// Counts with undecided tries are not dropped. r is nil if no lock holds for the try.
		c, r := l.known(a.account, a.holder), l.rows[a.row]
		c.underWay--
		if r != nil {
			r.underWay--
		}
		for _, p := range a.counted() {
			l.networks[p].underWay--
		}
		now := l.c.Now()
		switch o.kind {
		case succeeded:
			c.reset()
			if r = l.rows[a.ends]; r != nil {
				r.reset()
			}
		case failed:
			free := l.blocked(a, now) == nil
			l.failed(c, a.network, o.secret, said, now)
			if r != nil {
				l.failedRow(a.row, r, o.secret, said, now)
			}
			if l.c.OnBlock != nil && free && l.blocked(a, now) != nil {
				l.c.OnBlock()
			}
		}
		// A count that holds nothing goes at once, so that a flood of refused tries leaves none.
		l.tidy(a.holder, a.account, c, now)
		if r != nil {
			l.tidyRow(a.ends, r, now)
		}
		for _, p := range a.counted() {
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
// reset, and its failures in a row; for a known device those of the device, and no others.
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

// failedRow counts a failure in a row, as failed does.
func (l *Limiter) failedRow(key string, r *rowCount, hash [16]byte, said *verdict, now time.Time) {
	r.expire(now)
	if slices.Contains(r.recent[:], hash) || said != nil && !said.inRow {
		return
	}
	r.recent = [3][16]byte{hash, r.recent[0], r.recent[1]}
	r.failures++
	r.last = now
	if most := l.c.lockAfter(key); most > 0 && r.failures >= most {
		r.lock(now.Add(l.c.lockTime(r.locks)), r.locks+1)
	}
	if said != nil {
		r.learnLock(said.locked)
	}
}

// learnLock takes over the lock of a row from Redis, also one that is over: the failures before it count no
// more.
func (r *rowCount) learnLock(until time.Time) {
	if until.UnixMicro() > 0 && until.After(r.locked) {
		r.lock(until, max(r.locks, 1))
	}
}

// lock locks the tries of a row.
func (r *rowCount) lock(until time.Time, locks int) {
	r.locked, r.locks, r.failures, r.recent = until, locks, 0, [3][16]byte{}
}

// expire forgets a row some time after its last failure and its lock.
func (r *rowCount) expire(now time.Time) {
	if now.Sub(r.last) >= rowKept && now.Sub(r.locked) >= rowKept {
		r.reset()
	}
}

// reset forgets the failures of a row. A lock keeps its end.
func (r *rowCount) reset() { *r = rowCount{last: r.last, locked: r.locked, underWay: r.underWay} }

// weight returns the importance of a row, as that of an account.
func (r *rowCount) weight(now time.Time) int {
	if now.Before(r.locked) {
		return blockWeight
	}
	return r.failures + sampleSize*r.locks
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

// row returns the row of a key, or nil if no lock holds for its tries. It creates a new row, and drops
// another if there is no room.
func (l *Limiter) row(key string) (*rowCount, error) {
	if l.c.lockAfter(key) == 0 {
		return nil, nil
	}
	if r := l.rows[key]; r != nil {
		return r, nil
	}
	if len(l.rows) >= l.bounds.accounts && !l.dropRow(l.c.Now()) {
		return nil, ErrBusy
	}
	r := new(rowCount)
	l.rows[key] = r
	return r, nil
}

// dropRow drops the row with the lowest weight in a sample.
func (l *Limiter) dropRow(now time.Time) bool {
	victim, least, looked := "", 0, 0
	for key, r := range l.rows { // in random order
		if r.underWay > 0 {
			continue
		}
		if w := r.weight(now); victim == "" || w < least {
			victim, least = key, w
		}
		if looked++; looked == sampleSize {
			break
		}
	}
	delete(l.rows, victim)
	return victim != ""
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
	for key, r := range l.rows {
		l.tidyRow(key, r, now)
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

// tidyRow drops a row if it holds nothing.
func (l *Limiter) tidyRow(key string, r *rowCount, now time.Time) {
	r.expire(now)
	if r.failures+r.locks == 0 && !now.Before(r.locked) && r.underWay == 0 {
		delete(l.rows, key)
	}
}
