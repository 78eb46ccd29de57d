// Package limits counts failures of guessing, so that a secret that can be
// guessed is not.
//
// What counts is a failure: a try whose secret was checked and was wrong. The
// same wrong secret again, as a mail client sends that has an old password,
// counts once. An account that does not exist is counted like one that does.
// Check and count are one step: a try that could be one too many waits until the
// tries under way are decided.
//
// A client chooses the account it names and, within its network, its address;
// so addresses are counted by network (IPv4 address, IPv6 /64, and at higher
// limits /56 and /48), and one network can fill only its own share of the
// memory.
//
// A Limiter counts in the memory of its process, always. With a [Shared] it counts
// in Redis as well, in sum over all nodes, and what Redis says decides. What this
// node has counted is part of what Redis has, so that both say the same for as long
// as Redis has lost nothing; when it is away, or was and has come back empty, this
// node still knows what it has seen itself.
package limits

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Config is the limits; a zero field is the default.
type Config struct {
	AccountFailures int           // failures of one account from one network until it is blocked; default 5
	AccountWindow   time.Duration // within which they count; default 15 min
	AccountBlock    time.Duration // default 1 h

	NetworkFailures     int // failures of one network in a minute, all accounts; default 10
	NetworkFailuresHour int // in an hour; default 100
	NetworkUnlimited    bool

	Now func() time.Time

	Shared *Shared // counts for all nodes; nil is this process alone. Set does not change it
}

// An IPv6 customer is often given a /56 or /48: those count too, at higher
// limits.
const (
	wideFactor   = 4  // of a /56
	widestFactor = 16 // of a /48
)

// bounds are bounds on memory.
type bounds struct {
	accounts  int // counts of accounts, over all networks
	ofNetwork int // of one network
	networks  int // networks, of IPv6 each /64, /56 and /48
	waiting   int // tries that wait for others
}

var standard = bounds{accounts: 100_000, ofNetwork: 1000, networks: 200_000, waiting: 1024}

// looksAt is how many networks are weighed where one must go.
const looksAt = 16

// Blocked says that a try was refused and for how long more it will be.
type Blocked struct {
	RetryAfter time.Duration
	Why        string // for the log
}

func (b *Blocked) Error() string {
	return fmt.Sprintf("limits: %s, for %s more", b.Why, b.RetryAfter.Truncate(time.Second))
}

// ErrBusy says that more tries are under way than can be counted: try again.
var ErrBusy = errors.New("limits: too many tries at once")

// Limiter counts in the memory of one process. It is safe for concurrent use.
type Limiter struct {
	c      Config
	bounds bounds
	secret [32]byte // of the hashes of wrong secrets
	shared *Shared  // nil where this process counts alone

	mu       sync.Mutex
	networks map[netip.Prefix]*networkCount
	accounts int           // over all networks
	waiting  int           // tries that wait for others
	decided  chan struct{} // closed, and made anew, when a try is decided
	swept    time.Time
}

// accountCount is the failures of one account from one network.
type accountCount struct {
	failures []time.Time // within the window, oldest first
	recent   [3][16]byte // hashes of the last wrong secrets
	blocked  time.Time   // until when
	underWay int         // tries being judged
}

// networkCount is the failures of one network over all accounts.
type networkCount struct {
	failures []time.Time // within an hour, oldest first
	underWay int
	accounts map[string]*accountCount
}

// complete fills in the defaults. Its error names every mistake.
func (c *Config) complete() error {
	fill := func(v *int, standard int) {
		if *v == 0 {
			*v = standard
		}
	}
	fillTime := func(v *time.Duration, standard time.Duration) {
		if *v == 0 {
			*v = standard
		}
	}
	fill(&c.AccountFailures, 5)
	fillTime(&c.AccountWindow, 15*time.Minute)
	fillTime(&c.AccountBlock, time.Hour)
	fill(&c.NetworkFailures, 10)
	fill(&c.NetworkFailuresHour, 100)
	var errs []error
	if c.AccountFailures < 1 || c.AccountFailures > 100 { // NIST SP 800-63B-4 s3.2.2: 100 at most
		errs = append(errs, fmt.Errorf("limits: %d failures of an account, from 1 to 100 make sense", c.AccountFailures))
	}
	if c.NetworkFailures < 1 || c.NetworkFailuresHour < 1 || c.NetworkFailuresHour > 10_000 || c.NetworkFailures > 10_000 {
		errs = append(errs, fmt.Errorf("limits: %d failures a minute and %d an hour of a network, from 1 to 10000 make sense", c.NetworkFailures, c.NetworkFailuresHour))
	}
	if c.AccountWindow < 0 || c.AccountBlock < 0 {
		errs = append(errs, errors.New("limits: a negative time"))
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return errors.Join(errs...)
}

// New returns a Limiter, or an error that names every mistake in c.
func New(c Config) (*Limiter, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	l := &Limiter{c: c, bounds: standard, shared: c.Shared, networks: make(map[netip.Prefix]*networkCount), decided: make(chan struct{})}
	if c.Shared != nil {
		l.secret = c.Shared.secret // all nodes know a wrong secret again
	} else {
		_, _ = rand.Read(l.secret[:]) // crypto/rand.Read never returns an error
	}
	return l, nil
}

// Set changes the limits. What was counted stays; blocks keep their end.
func (l *Limiter) Set(c Config) error {
	if err := c.complete(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.c = c
	close(l.decided) // who waits looks again
	l.decided = make(chan struct{})
	return nil
}

// network returns the address that failures are counted under: IPv4 whole, IPv6
// to the /64.
func network(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits) // the zero Prefix where there is no address
	return p
}

// wider returns a network and, of IPv6, what it is part of.
func wider(n netip.Prefix) []netip.Prefix {
	if !n.Addr().Is6() {
		return []netip.Prefix{n}
	}
	p56, _ := n.Addr().Prefix(56)
	p48, _ := n.Addr().Prefix(48)
	return []netip.Prefix{n, p56, p48}
}

// factor is by how much the limits of a prefix are higher.
func factor(p netip.Prefix) int {
	switch {
	case p.Addr().Is6() && p.Bits() == 56:
		return wideFactor
	case p.Addr().Is6() && p.Bits() == 48:
		return widestFactor
	}
	return 1
}

// Attempt is one try under way. Exactly one of its methods decides it; calls
// after the first do nothing.
type Attempt struct {
	l       *Limiter
	account string
	network netip.Prefix
	lease   string // in Redis, "" for none
	once    sync.Once
}

// Begin asks whether a secret may be tried. It returns a *Blocked where not. An
// attempt that it returns must be decided. Where the tries under way could still
// fail and make this one too many, it waits for them, or returns ctx's error or
// ErrBusy.
func (l *Limiter) Begin(ctx context.Context, account string, addr netip.Addr) (*Attempt, error) {
	n := network(addr)
	a, err := l.begin(ctx, account, n)
	if l.shared == nil {
		return a, err
	}
	var here, all *Blocked
	if errors.As(err, &here) {
		// In sum it may be refused for longer.
		if _, err := l.ask(ctx, &Attempt{account: account, network: n}, ""); errors.As(err, &all) && all.RetryAfter > here.RetryAfter {
			return nil, all
		}
	}
	if err != nil {
		return nil, err
	}
	// What waits now waits for tries of other nodes: those of this one were waited
	// for already.
	if err := l.reserve(ctx, a); err != nil {
		a.Cancel()
		return nil, err
	}
	return a, nil
}

// begin is Begin within the memory of this process.
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

// wait lets others go on until one of them is decided.
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

// room reports whether one more try stays within the limits even if all that
// are under way fail.
func (l *Limiter) room(account string, n netip.Prefix, now time.Time) bool {
	// Where none is under way there is nothing to wait for: under limits that were
	// lowered meanwhile, the next failure blocks.
	if c := l.known(account, n); c != nil && c.underWay > 0 && len(c.failures)+c.underWay >= l.c.AccountFailures {
		return false
	}
	if l.c.NetworkUnlimited {
		return true
	}
	for _, p := range wider(n) {
		if count := l.networks[p]; count != nil && count.underWay > 0 {
			inMinute := len(after(count.failures, now.Add(-time.Minute)))
			if inMinute+count.underWay >= l.c.NetworkFailures*factor(p) || len(count.failures)+count.underWay >= l.c.NetworkFailuresHour*factor(p) {
				return false
			}
		}
	}
	return true
}

// Blocked reports whether the account is blocked for this network just now.
func (l *Limiter) Blocked(ctx context.Context, account string, addr netip.Addr) bool {
	n := network(addr)
	l.mu.Lock()
	known, now := l.known(account, n), l.c.Now()
	blocked := known != nil && now.Before(known.blocked)
	l.mu.Unlock()
	return blocked || l.shared != nil && l.shared.blocked(ctx, account, n, now)
}

// blocked returns the longer of the account's block and the networks'.
func (l *Limiter) blocked(account string, n netip.Prefix, now time.Time) error {
	var b Blocked
	if c := l.known(account, n); c != nil {
		if c.failures = after(c.failures, now.Add(-l.c.AccountWindow)); len(c.failures) == 0 {
			c.recent = [3][16]byte{}
		}
		if wait := c.blocked.Sub(now); wait > 0 {
			b = Blocked{wait, "the account is blocked for this network"}
		}
	}
	if !l.c.NetworkUnlimited {
		for _, p := range wider(n) {
			if wait := l.networks[p].wait(now, l.c.NetworkFailures*factor(p), l.c.NetworkFailuresHour*factor(p)); wait > b.RetryAfter {
				b = Blocked{wait, "too many failures of network " + p.String()}
			}
		}
	}
	if b.RetryAfter > 0 {
		return &b
	}
	return nil
}

// wait is how long until a network's failures fall under its limits.
func (n *networkCount) wait(now time.Time, aMinute, anHour int) time.Duration {
	if n == nil {
		return 0
	}
	n.failures = after(n.failures, now.Add(-time.Hour))
	var wait time.Duration
	if len(n.failures) >= anHour {
		wait = n.failures[len(n.failures)-anHour].Add(time.Hour).Sub(now)
	}
	if len(n.failures) >= aMinute {
		wait = max(wait, n.failures[len(n.failures)-aMinute].Add(time.Minute).Sub(now))
	}
	return wait
}

// after returns the times after a moment; they stand in order.
func after(times []time.Time, moment time.Time) []time.Time {
	n := 0
	for n < len(times) && !times[n].After(moment) {
		n++
	}
	return times[n:]
}

// decide ends an attempt.
func (a *Attempt) decide(how func(c *accountCount, now time.Time)) {
	l := a.l
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.known(a.account, a.network) // there: an entry under way is not dropped
	c.underWay--
	for _, p := range wider(a.network) {
		l.networks[p].underWay--
	}
	how(c, l.c.Now())
	close(l.decided)
	l.decided = make(chan struct{})
}

// Cancel says that the secret was not judged. Nothing is counted.
func (a *Attempt) Cancel() {
	a.once.Do(func() {
		a.tell(outcome{kind: cancelled})
		a.decide(func(*accountCount, time.Time) {})
	})
}

// Succeed says that the secret was right. The account's own failures from this
// network are forgotten, and nobody else's.
func (a *Attempt) Succeed() {
	a.once.Do(func() {
		a.tell(outcome{kind: succeeded})
		a.decide(func(c *accountCount, now time.Time) { c.failures, c.recent = nil, [3][16]byte{} })
	})
}

// Fail says that the secret was wrong. secret is kept as a keyed hash, to know
// it again.
func (a *Attempt) Fail(secret string) {
	a.once.Do(func() {
		mac := hmac.New(sha256.New, a.l.secret[:])
		mac.Write([]byte(a.account + "\x00" + secret))
		var hash [16]byte
		copy(hash[:], mac.Sum(nil))
		said := a.tell(outcome{kind: failed, secret: hash})
		a.decide(func(c *accountCount, now time.Time) { a.l.failed(c, a.network, hash, said, now) })
	})
}

// failed counts a failure. said is what Redis said of it, nil where it was not
// asked or gave no answer. l.mu is held.
func (l *Limiter) failed(c *accountCount, n netip.Prefix, hash [16]byte, said *verdict, now time.Time) {
	if slices.Contains(c.recent[:], hash) || said != nil && !said.counted {
		return
	}
	c.recent = [3][16]byte{hash, c.recent[0], c.recent[1]}
	c.failures = append(c.failures, now)
	if len(c.failures) >= l.c.AccountFailures {
		l.block(c, now.Add(l.c.AccountBlock))
	}
	if said != nil {
		l.learnBlock(c, said.blocked, now)
	}
	for _, p := range wider(n) {
		count := l.networks[p]
		if most := l.c.NetworkFailuresHour * factor(p); len(count.failures) >= most {
			count.failures = count.failures[len(count.failures)-most+1:] // as many as the limit asks about
		}
		count.failures = append(count.failures, now)
	}
}

// learnBlock blocks an account for as long as Redis says.
func (l *Limiter) learnBlock(c *accountCount, until, now time.Time) {
	if until.After(now) && until.After(c.blocked) {
		l.block(c, until)
	}
}

// block blocks an account.
func (*Limiter) block(c *accountCount, until time.Time) {
	c.blocked = until
	c.failures, c.recent = nil, [3][16]byte{}
}

// known returns the count of an account from a network, or nil.
func (l *Limiter) known(account string, n netip.Prefix) *accountCount {
	if count := l.networks[n]; count != nil {
		return count.accounts[account]
	}
	return nil
}

// account returns the count of an account from a network, making it, and room
// for it, where there is none.
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

// network returns the count of a network, making it, and room for it, where
// there is none.
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

// aBlock weighs more than any number of failures.
const aBlock = 1 << 20

// weight is how much is known about an account. What would forget it must have
// failed more often itself.
func (c *accountCount) weight(now time.Time) int {
	if now.Before(c.blocked) {
		return aBlock
	}
	return len(c.failures)
}

// lightest is an account of a network about which least is known, leaving out
// those under way. One failure is as little as none: a flood need not be searched
// to its end.
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

// dropFrom forgets an account of a network: a flood of made-up accounts forgets
// its own.
func (l *Limiter) dropFrom(n *networkCount, now time.Time) bool {
	account, _, ok := n.lightest(now)
	if ok {
		delete(n.accounts, account)
		l.accounts--
	}
	return ok
}

// dropSomewhere forgets, of some networks, the account about which least is
// known; of equal ones that of the network that holds most.
func (l *Limiter) dropSomewhere(now time.Time) bool {
	var from *networkCount
	victim, least, looked := "", 0, 0
	for _, n := range l.networks { // in no order
		account, weight, ok := n.lightest(now)
		if !ok {
			continue
		}
		if from == nil || weight < least || weight == least && len(n.accounts) > len(from.accounts) {
			from, victim, least = n, account, weight
		}
		if looked++; looked == looksAt {
			break
		}
	}
	if from == nil {
		return false
	}
	delete(from.accounts, victim)
	l.accounts--
	return true
}

// dropNetwork forgets, of some networks, the one about which least is known.
// Where all are under way there is one more for as long as they are: the work on
// secrets has its own bound.
func (l *Limiter) dropNetwork(now time.Time) {
	var victim netip.Prefix
	least, looked := -1, 0
	for p, n := range l.networks { // in no order
		if n.underWay > 0 {
			continue
		}
		weight := len(n.failures)
		for _, c := range n.accounts {
			weight += c.weight(now)
		}
		if least < 0 || weight < least {
			victim, least = p, weight
		}
		if looked++; looked == looksAt {
			break
		}
	}
	if least >= 0 {
		l.accounts -= len(l.networks[victim].accounts)
		delete(l.networks, victim)
	}
}

// sweep forgets, once a minute, what says nothing any more.
func (l *Limiter) sweep(now time.Time) {
	if since := now.Sub(l.swept); since < time.Minute && since >= 0 {
		return
	}
	l.swept = now
	for p, n := range l.networks {
		for account, c := range n.accounts {
			c.failures = after(c.failures, now.Add(-l.c.AccountWindow))
			if len(c.failures) == 0 && !now.Before(c.blocked) && c.underWay == 0 {
				delete(n.accounts, account)
				l.accounts--
			}
		}
		n.failures = after(n.failures, now.Add(-time.Hour))
		if len(n.failures) == 0 && len(n.accounts) == 0 && n.underWay == 0 {
			delete(l.networks, p)
		}
	}
}
