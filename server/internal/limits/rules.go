package limits

import (
	"cmp"
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
}

// Settings are the limits. The zero value of a field means its default.
type Settings struct {
	AccountFailures int           // failures of one account from one network that block it; default 5
	AccountWindow   time.Duration // failures count for this long; default 15 min
	AccountBlock    time.Duration // length of a block; default 1 h

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
	s.NetworkFailures = cmp.Or(s.NetworkFailures, 10)
	s.NetworkFailuresHour = cmp.Or(s.NetworkFailuresHour, 100)
	var errs []error
	if s.AccountFailures < 1 || s.AccountFailures > 100 { // NIST SP 800-63B-4 s3.2.2: at most 100
		errs = append(errs, fmt.Errorf("limits: AccountFailures is %d, want 1 to 100", s.AccountFailures))
	}
	if s.NetworkFailures < 1 || s.NetworkFailuresHour < 1 || s.NetworkFailuresHour > 10_000 || s.NetworkFailures > 10_000 {
		errs = append(errs, fmt.Errorf("limits: NetworkFailures is %d and NetworkFailuresHour %d, want 1 to 10000", s.NetworkFailures, s.NetworkFailuresHour))
	}
	if s.AccountWindow < 0 || s.AccountBlock < 0 {
		errs = append(errs, errors.New("limits: AccountWindow or AccountBlock is negative"))
	}
	return errors.Join(errs...)
}

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

func networkBlocked(wait time.Duration, p netip.Prefix) Blocked {
	return Blocked{wait, "too many failures of network " + p.String()}
}
