package limits

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// The rules in this file hold for the counts in memory and in Redis.

// Config holds the settings and the parts of a Limiter.
type Config struct {
	Settings
	Now    func() time.Time // nil: time.Now
	Shared *Shared          // counts for all nodes; nil: for this process

	// OnBlock is called when a failure of this process begins a block of an account or a network. It must not
	// block. Nil: it is not called.
	OnBlock func()
}

// Settings are the limits. The zero value of a field means its default.
type Settings struct {
	AccountFailures int           // failures of one account from one network that block it; default 5
	AccountWindow   time.Duration // failures count for this long; default 15 min
	AccountBlock    time.Duration // length of a block; default 1 h

	LockFailures       int           // failures of one account in a row, from all networks, that lock it; default 10
	DeviceLockFailures int           // failures in a row of a known device that lock it; default 20
	Lock               time.Duration // length of the first lock; each further one is twice as long; default 15 min
	LockMax            time.Duration // length of the longest lock; default 24 h
	LockOff            bool          // no locks

	NetworkFailures     int // limit for one network in a minute, over all accounts; default 10
	NetworkFailuresHour int // in an hour; default 100
	NetworkUnlimited    bool
}

// An IPv6 customer often has a /56 or a /48. These are counted too, with higher limits.
const (
	wideFactor   = 4  // of a /56
	widestFactor = 16 // of a /48
)

// bounds limit the memory.
type bounds struct {
	accounts  int // accounts, in all networks
	ofNetwork int // accounts in one network
	networks  int // networks; of IPv6 each /64, /56 and /48
	waiting   int // waiting tries
}

var standard = bounds{accounts: 100_000, ofNetwork: 1000, networks: 200_000, waiting: 1024}

// complete sets the defaults. The error lists every mistake.
func (s *Settings) complete() error {
	s.AccountFailures = cmp.Or(s.AccountFailures, 5)
	s.AccountWindow = cmp.Or(s.AccountWindow, 15*time.Minute)
	s.AccountBlock = cmp.Or(s.AccountBlock, time.Hour)
	s.LockFailures = cmp.Or(s.LockFailures, 10)
	s.DeviceLockFailures = cmp.Or(s.DeviceLockFailures, 20)
	s.Lock = cmp.Or(s.Lock, 15*time.Minute)
	s.LockMax = cmp.Or(s.LockMax, 24*time.Hour)
	s.NetworkFailures = cmp.Or(s.NetworkFailures, 10)
	s.NetworkFailuresHour = cmp.Or(s.NetworkFailuresHour, 100)
	var errs []error
	if s.AccountFailures < 1 || s.AccountFailures > 100 { // NIST SP 800-63B-4 s3.2.2: at most 100
		errs = append(errs, fmt.Errorf("limits: AccountFailures is %d, want 1 to 100", s.AccountFailures))
	}
	if s.LockFailures < 1 || s.LockFailures > 100 || s.DeviceLockFailures < 1 || s.DeviceLockFailures > 100 {
		errs = append(errs, fmt.Errorf("limits: LockFailures is %d and DeviceLockFailures %d, want 1 to 100", s.LockFailures, s.DeviceLockFailures))
	}
	if s.Lock < 0 || s.LockMax < 0 {
		errs = append(errs, errors.New("limits: Lock or LockMax is negative"))
	}
	if s.NetworkFailures < 1 || s.NetworkFailuresHour < 1 || s.NetworkFailuresHour > 10_000 || s.NetworkFailures > 10_000 {
		errs = append(errs, fmt.Errorf("limits: NetworkFailures is %d and NetworkFailuresHour %d, want 1 to 10000", s.NetworkFailures, s.NetworkFailuresHour))
	}
	if s.AccountWindow < 0 || s.AccountBlock < 0 {
		errs = append(errs, errors.New("limits: AccountWindow or AccountBlock is negative"))
	}
	return errors.Join(errs...)
}

// Try describes a try of a secret.
type Try struct {
	Account string
	Addr    netip.Addr
	Device  string // ID of a known device of the account; empty: none

	// SignedIn says that the client holds a live session of the account, or a half-finished sign-in
	// after the password. These have counts of failures of their own. No lock holds for them, but their
	// success ends the row of failures of the account.
	SignedIn bool
}

// deviceHolder returns a prefix that counts for a known device as a network does. No network has it,
// because those of IPv6 are shorter.
func deviceHolder(device string) netip.Prefix {
	sum := sha256.Sum256([]byte("device\x00" + device))
	return netip.PrefixFrom(netip.AddrFrom16([16]byte(sum[:])), 128)
}

// accountRow and deviceRow return the keys of rows. The first octet says whose row it is.
func accountRow(account string) string        { return "a" + account }
func deviceRow(account, device string) string { return "d" + device + "\x00" + account }

// lockAfter returns how many failures in a row lock the tries of a row; 0 for no lock.
func (c *Config) lockAfter(row string) int {
	switch {
	case row == "" || c.LockOff:
		return 0
	case row[0] == 'd':
		return c.DeviceLockFailures
	}
	return c.LockFailures
}

// lockTime returns the length of a lock after a number of earlier ones.
func (c *Config) lockTime(earlier int) time.Duration {
	length := c.Lock
	for ; earlier > 0 && length < c.LockMax; earlier-- {
		length *= 2
	}
	return min(length, c.LockMax)
}

// rowKept is how long failures in a row, and the number of locks, are kept after the last failure and the
// end of the last lock.
const rowKept = 24 * time.Hour

// network returns the network of an address: an IPv4 address or an IPv6 /64. It is the zero Prefix
// for the zero Addr.
func network(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits)
	return p
}

// wider returns a network and, for IPv6, its /56 and /48.
func wider(n netip.Prefix) []netip.Prefix {
	if !n.Addr().Is6() {
		return []netip.Prefix{n}
	}
	p56, _ := n.Addr().Prefix(56)
	p48, _ := n.Addr().Prefix(48)
	return []netip.Prefix{n, p56, p48}
}

// factor returns how many times the limit of one network a prefix has.
func factor(p netip.Prefix) int {
	switch {
	case p.Addr().Is6() && p.Bits() == 56:
		return wideFactor
	case p.Addr().Is6() && p.Bits() == 48:
		return widestFactor
	}
	return 1
}

// networkLimits returns the limits of a network for a minute and for an hour.
func (c *Config) networkLimits(p netip.Prefix) (aMinute, anHour int) {
	return c.NetworkFailures * factor(p), c.NetworkFailuresHour * factor(p)
}

// repeatsAMinute limits how often one network may repeat wrong secrets, over all accounts. A mail client
// with an old password needs a few.
const repeatsAMinute = 30

// repeatLimit returns the limit of a network for repeats in a minute.
func repeatLimit(p netip.Prefix) int { return repeatsAMinute * factor(p) }

// keep returns how long a count is kept after its last change.
func (c *Config) keep() time.Duration {
	return max(c.AccountWindow, c.AccountBlock, time.Hour) + time.Minute
}

// Blocked is the refusal of a try.
type Blocked struct {
	RetryAfter time.Duration
	Why        string // for the log
}

func (b *Blocked) Error() string {
	return fmt.Sprintf("limits: %s, for %s more", b.Why, b.RetryAfter.Truncate(time.Second))
}

func accountBlocked(wait time.Duration) Blocked {
	return Blocked{wait, "the account is blocked for this network"}
}

func accountLocked(wait time.Duration) Blocked {
	return Blocked{wait, "the account is locked after failures in a row"}
}

func networkBlocked(wait time.Duration, p netip.Prefix) Blocked {
	return Blocked{wait, "too many failures of network " + p.String()}
}
