package account

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/pwhash"
	"github.com/durward-auth/durward/server/internal/limits"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/testkit"
)

// quietNetworks switches the limits on networks off.
func quietNetworks(c *Config) {
	l, err := limits.New(limits.Config{Settings: limits.Settings{NetworkUnlimited: true}, Now: c.Now})
	if err != nil {
		panic(err)
	}
	c.Limits = l
}

// Every wrong sign-in gets the same code and costs one hash.
func TestSameWork(t *testing.T) {
	t.Parallel()
	h := newEnv(t, testkit.SQLite, quietNetworks)
	for _, name := range []string{"locked", "empty", "broken", "foreign", "costly"} {
		u, err := h.Add(t.Context(), NewUser{Email: name + "@example.com", Password: adaPassword}, store.EventUserAdded, here)
		must(t, err)
		switch name {
		case "locked":
			must(t, h.lock(u.ID))
		case "empty":
			h.set(`UPDATE users SET password = '' WHERE id = $1`, u.ID)
		case "broken":
			h.set(`UPDATE users SET password = '$argon2id$v=19$m=64,t=1,p=1$x' WHERE id = $1`, u.ID)
		case "costly": // 256 MiB twice
			h.set(`UPDATE users SET password = '$argon2id$v=19$m=262144,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$lMhvVBq9s9mqv+pZqgOWNUlIPpwLGnkzbna1TO5skX4' WHERE id = $1`, u.ID)
		case "foreign":
			h.set(`UPDATE users SET password = '$1$abc$def' WHERE id = $1`, u.ID)
		}
	}
	for _, c := range []struct{ email, password string }{
		{adaEmail, "not the right one"},
		{adaEmail, ""},
		{adaEmail, "\xff"},
		{adaEmail, strings.Repeat("x", 1<<20)},
		{adaEmail, "durward: no password"}, // the text that is hashed for an unknown user
		{"nobody@example.com", adaPassword},
		{"nobody@example.com", "durward: no password"},
		{"", adaPassword},
		{"no address", adaPassword},
		{"ada@example.com@example.com", adaPassword},
		{strings.Repeat("ä", 1<<15) + "@example.com", adaPassword},
		{adaEmail + "\x00", adaPassword},
		{"' OR 1=1 --", adaPassword},
		{"locked@example.com", "not the right one"},
		{"empty@example.com", adaPassword},
		{"empty@example.com", ""},
		{"empty@example.com", "durward: no password"},
		{"broken@example.com", adaPassword},
		{"broken@example.com", "durward: no password"},
		{"foreign@example.com", adaPassword},
		{"costly@example.com", adaPassword},
	} {
		before := h.Hasher.Runs()
		err := h.try(c.email, c.password, here)
		refused(t, c.email, err, durward.InvalidCredentials)
		if runs := h.Hasher.Runs() - before; runs != 1 {
			t.Errorf("%.40q: got %d hashes, want 1", c.email, runs)
		}
		var refusal *durward.Refusal
		if errors.As(err, &refusal) {
			t.Errorf("%.40q: got a text of its own for the client: %+v", c.email, refusal)
		}
	}
	if logs := h.logs.String(); strings.Count(logs, "hash is malformed or too costly") != 4 || !strings.Contains(logs, "262144 KiB in 2 passes") || strings.Contains(logs, "correct horse") {
		t.Errorf("got logs:\n%s\nwant four malformed or costly hashes and no password", logs)
	}
	before := h.Hasher.Runs()
	must(t, h.try(adaEmail, adaPassword, elsewhere)) // five failures from here
	if runs := h.Hasher.Runs() - before; runs != 1 {
		t.Errorf("correct password: got %d hashes, want 1", runs)
	}
}

// All Unicode normalizations of a password are the same password. Nothing else of it is changed.
func TestSpellings(t *testing.T) {
	t.Parallel()
	h := newEnv(t, testkit.SQLite, quietNetworks)
	const composed, decomposed = "  Caf\u00e9 mit S\u00fc\u00dfigkeiten ", "  Cafe\u0301 mit Su\u0308\u00dfigkeiten "
	for _, set := range []string{composed, decomposed} {
		h.setPassword(set)
		for _, right := range []string{composed, decomposed, strings.ReplaceAll(composed, " ", "\u00a0")} {
			if err := h.try(adaEmail, right, here); err != nil {
				t.Errorf("set %q, typed %q: %v", set, right, err)
			}
		}
		for _, wrong := range []string{strings.TrimSpace(composed), strings.ToLower(composed), composed + " ", strings.ReplaceAll(composed, "ß", "ss")} {
			refused(t, wrong, h.try(adaEmail, wrong, here), durward.InvalidCredentials)
		}
		must(t, h.try(" ADA@example.com\n", composed, here))
	}
	// The longest password, in its longest encoding.
	long := strings.Repeat("\u0390", 256) // three code points each after decomposition
	h.setPassword(long)
	must(t, h.try(adaEmail, strings.Repeat("\u03b9\u0308\u0301", 256), here))
}

// The fifth failure gets the same response as the first. From the sixth attempt on, all passwords are
// refused until the block ends.
func TestBlock(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		h := newEnv(t, engine)
		for n := range 5 {
			if n == 3 {
				h.clock.Advance(14 * time.Minute)
			}
			refused(t, "failure", h.try(adaEmail, h.wrongPassword(), here), durward.InvalidCredentials)
		}
		before := h.Hasher.Runs()
		var first *durward.Refusal
		for _, password := range []string{h.wrongPassword(), adaPassword} {
			for _, email := range []string{adaEmail, " ADA@Example.com", "ａdA@example.com"} {
				var refusal *durward.Refusal
				err := h.try(email, password, here)
				if !errors.As(err, &refusal) || refusal.Code != durward.TooManyAttempts || refusal.RetryAfter != time.Hour {
					t.Fatalf("during the block: got %v, want TooManyAttempts for an hour", err)
				}
				if first == nil {
					first = refusal
				}
				if refusal.Error() != first.Error() || refusal.Detail != first.Detail || refusal.Hint != first.Hint || len(refusal.Members) > 0 {
					t.Errorf("got refusal %+v, want the same as the first, %+v", refusal, first)
				}
			}
		}
		if runs := h.Hasher.Runs() - before; runs != 0 {
			t.Errorf("during the block: got %d hashes, want none", runs)
		}
		must(t, h.try(adaEmail, adaPassword, elsewhere)) // other networks are not blocked
		h.clock.Advance(time.Hour - time.Second)
		var refusal *durward.Refusal
		if err := h.try(adaEmail, adaPassword, here); !errors.As(err, &refusal) || refusal.RetryAfter != time.Second {
			t.Errorf("a second before the end: got %v, want TooManyAttempts for a second", err)
		}
		h.clock.Advance(time.Second)
		must(t, h.try(adaEmail, adaPassword, here))
	})
}

// Unknown addresses are blocked like known ones.
func TestBlockOfUnknownUser(t *testing.T) {
	t.Parallel()
	for _, spellings := range [][]string{
		{"nobody@example.com", "NOBODY@example.com", "nobody@EXAMPLE.com ", "ｎobody@example.com"},
		{"no address", "NO address", " no address", "no\u00a0address"},
	} {
		h := newEnv(t, testkit.SQLite)
		for n := range 5 {
			refused(t, spellings[0], h.try(spellings[n%4], h.wrongPassword(), here), durward.InvalidCredentials)
		}
		for _, s := range spellings {
			var refusal *durward.Refusal
			if err := h.try(s, h.wrongPassword(), here); !errors.As(err, &refusal) || refusal.Code != durward.TooManyAttempts || refusal.RetryAfter != time.Hour {
				t.Errorf("%q: got %v, want TooManyAttempts for an hour", s, err)
			}
		}
	}
}

// A successful sign-in resets the failures of its account and network. The same wrong password counts
// once.
func TestWhatCounts(t *testing.T) {
	t.Parallel()
	h := newEnv(t, testkit.SQLite, quietNetworks)
	bob, err := h.Add(t.Context(), NewUser{Email: "bob@example.com", Password: other}, store.EventUserAdded, here)
	must(t, err)
	for range 4 {
		for _, email := range []string{adaEmail, bob.Email} {
			refused(t, email, h.try(email, h.wrongPassword(), here), durward.InvalidCredentials)
		}
		refused(t, "elsewhere", h.try(adaEmail, h.wrongPassword(), elsewhere), durward.InvalidCredentials)
	}
	must(t, h.try(adaEmail, adaPassword, here))
	for range 20 {
		refused(t, "last year's password", h.try(adaEmail, "last year's password", here), durward.InvalidCredentials)
	}
	must(t, h.try(adaEmail, adaPassword, here))
	for from, email := range map[request.Info]string{here: bob.Email, elsewhere: adaEmail} {
		refused(t, email, h.try(email, h.wrongPassword(), from), durward.InvalidCredentials)
		refused(t, email, h.try(email, h.wrongPassword(), from), durward.TooManyAttempts)
	}
}

// A network that tries many accounts is refused. An IPv6 /64 counts as one address.
func TestNetworkLimit(t *testing.T) {
	t.Parallel()
	h := newEnv(t, testkit.SQLite)
	at := func(n int) request.Info {
		addr := netip.MustParseAddr("2001:db8::").As16()
		addr[15] = byte(n)
		return request.Info{Addr: netip.AddrFrom16(addr)}
	}
	for n := range 10 {
		refused(t, "failure", h.try(strings.Repeat("x", n+1)+"@example.com", "the same password", at(n)), durward.InvalidCredentials)
	}
	var refusal *durward.Refusal
	if err := h.try(adaEmail, adaPassword, at(77)); !errors.As(err, &refusal) || refusal.Code != durward.TooManyAttempts || refusal.RetryAfter != time.Minute {
		t.Errorf("the eleventh: got %v, want TooManyAttempts for a minute", err)
	}
	must(t, h.try(adaEmail, adaPassword, here))
	h.clock.Advance(time.Minute)
	must(t, h.try(adaEmail, adaPassword, at(77)))
}

// After the hash settings were raised, the next sign-in stores a new hash.
func TestRehash(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		h := newEnv(t, engine)
		raised := h.Config
		raised.Hasher = newHasher(t, pwhash.Config{Memory: 128, Time: 2})
		p, err := New(raised)
		must(t, err)
		if _, err := p.Authenticate(t.Context(), adaEmail, h.wrongPassword(), here); codeOf(err) != durward.InvalidCredentials {
			t.Errorf("wrong: %v", err)
		}
		if u, err := h.DB.UserByID(t.Context(), h.ada.ID); err != nil || u.Password != h.ada.Password {
			t.Error("a wrong password was hashed")
		}
		got, err := p.Authenticate(t.Context(), adaEmail, adaPassword, here)
		must(t, err)
		kept, err := h.DB.UserByID(t.Context(), h.ada.ID)
		if err != nil || !strings.Contains(kept.Password, "$m=128,t=2,") || got.User != kept || !kept.PasswordChangedAt.Equal(h.ada.PasswordChangedAt.Truncate(time.Microsecond)) {
			t.Errorf("after the sign-in: %+v, returned %+v, %v", kept, got, err)
		}
		before := raised.Hasher.Runs()
		if _, err := p.Authenticate(t.Context(), adaEmail, adaPassword, here); err != nil || raised.Hasher.Runs() != before+1 {
			t.Errorf("the next sign-in: %v, %d hashes", err, raised.Hasher.Runs()-before)
		}
		// The proof has the hash of the time after the sign-in.
		lowered, err := New(h.Config)
		must(t, err)
		proof, err := lowered.Reauthenticate(t.Context(), h.ada.ID, adaPassword, here, nil)
		if must(t, err); proof.User.Password == kept.Password {
			t.Error("got the hash of before the sign-in")
		}
	})
}

// A full queue of hashes is an outage: AuthUnavailable, and no failure is counted.
func TestBusy(t *testing.T) {
	t.Parallel()
	h := newEnv(t, testkit.SQLite, quietNetworks)
	slow := h.Config
	slow.Hasher = newHasher(t, pwhash.Config{Memory: 8 << 10, Time: 2, Concurrent: 1, Waiting: 1})
	p, err := New(slow)
	must(t, err)
	codes := make(chan durward.Code, 12)
	var wg sync.WaitGroup
	for n := range cap(codes) {
		wg.Go(func() {
			_, err := p.Authenticate(context.Background(), strings.Repeat("x", n+1)+"@example.com", "not the right one", here)
			codes <- codeOf(err)
		})
	}
	wg.Wait()
	close(codes)
	counts := map[durward.Code]int{}
	for code := range codes {
		counts[code]++
	}
	if counts[durward.AuthUnavailable] == 0 || counts[durward.InvalidCredentials] == 0 || len(counts) != 2 {
		t.Errorf("twelve at once with a queue of two: got %v", counts)
	}
	// An attempt without a verification does not count and does not stay in progress.
	bounded, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	for n := range cap(codes) {
		for range 5 { // the verified ones have failed once
			_, err := h.Authenticate(bounded, strings.Repeat("x", n+1)+"@example.com", h.wrongPassword(), here)
			if code := codeOf(err); code != durward.InvalidCredentials && code != durward.TooManyAttempts {
				t.Fatalf("after the flood: got %v", err)
			}
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 7 {
		if _, err := h.Authenticate(ended, adaEmail, "not the right one", here); err == nil || codeOf(err) != "" {
			t.Fatalf("with an ended context: got %v, want an error without a code", err)
		}
	}
	must(t, h.try(adaEmail, adaPassword, here))
}

// While strangers fill the queue of hashes, known devices sign in: from a place of an earlier sign-in, or
// with a live session. All others are refused, whether the account exists, is blocked, or neither.
func TestKnownDeviceFirst(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		h := newEnv(t, engine, func(c *Config) {
			c.Hasher = newHasher(t, pwhash.Config{Memory: 64, Time: 1, Concurrent: 1, Waiting: 3})
		})
		for _, place := range []struct {
			from request.Info
			age  time.Duration
		}{{here, 89 * 24 * time.Hour}, {elsewhere, 91 * 24 * time.Hour}} {
			h.set(`INSERT INTO places (user_id, network, browser, seen_at) VALUES ($1, $2, $3, $4)`,
				h.ada.ID, place.from.Network(), place.from.Browser(), h.clock.Now().Add(-place.age).UnixMicro())
		}
		blocked := request.Info{Addr: netip.MustParseAddr("203.0.113.1")}
		for range 5 {
			refused(t, "failure", h.try(adaEmail, h.wrongPassword(), blocked), durward.InvalidCredentials)
		}
		release := make(chan bool)
		var all sync.WaitGroup
		for range 4 { // one runs, three wait
			all.Go(func() { must(t, h.Hasher.Do(t.Context(), 0, func() { <-release })) })
		}
		eventually := func(what string, done func() bool) {
			t.Helper()
			for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("never: " + what)
				}
			}
		}
		eventually("a full queue", func() bool { return h.Hasher.Busy(t.Context()) != nil })

		withCookie, otherCookie := elsewhere, elsewhere
		withCookie.Cookie, otherCookie.Cookie = h.ada.ID, "another user"
		sameNetwork, sameBrowser := here, elsewhere
		sameNetwork.UserAgent, sameBrowser.UserAgent = elsewhere.UserAgent, here.UserAgent
		bounded, stop := context.WithTimeout(t.Context(), 20*time.Second) // for one that waits in the queue
		defer stop()
		try := func(email string, from request.Info) error {
			_, err := h.Authenticate(bounded, email, adaPassword, from)
			return err
		}
		for what, err := range map[string]error{
			"place of 91 days ago":               try(adaEmail, elsewhere),
			"another browser":                    try(adaEmail, sameNetwork),
			"another network":                    try(adaEmail, sameBrowser),
			"cookie of another user":             try(adaEmail, otherCookie),
			"unknown user":                       try("nobody@example.com", here),
			"no address":                         try("", request.Info{}),
			"blocked account, before its counts": try(adaEmail, blocked),
		} {
			refused(t, what, err, durward.AuthUnavailable)
		}
		results := make(chan error, 4)
		for _, try := range []func() error{
			func() error { return h.try(adaEmail, adaPassword, here) },
			func() error { return h.try(adaEmail, adaPassword, withCookie) },
			func() error {
				_, err := h.Reauthenticate(t.Context(), h.ada.ID, adaPassword, elsewhere, nil)
				return err
			},
			func() error {
				_, err := h.HashNewPassword(t.Context(), h.ada, "new", "another long password", here)
				return err
			},
		} {
			all.Go(func() { results <- try() })
		}
		eventually("four known ones in their queue", func() bool { return len(results) > 0 || h.Hasher.Busy(pwhash.First(t.Context())) != nil })
		close(release)
		all.Wait()
		close(results)
		for err := range results {
			if err != nil {
				t.Errorf("known device: %v", err)
			}
		}
	})
}

// Reauthenticate shares the counters of sign-ins.
func TestReauthenticate(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		h := newEnv(t, engine)
		proof, err := h.Reauthenticate(t.Context(), h.ada.ID, adaPassword, here, nil)
		if err != nil || proof.User.ID != h.ada.ID || !proof.At.Equal(h.clock.Now()) || proof.ACR != oneFactor || len(proof.Methods) != 1 || proof.Methods[0] != "pwd" {
			t.Errorf("correct password: got %+v, %v", proof, err)
		}
		for n := 1; n <= 5; n++ {
			_, err := h.Reauthenticate(t.Context(), h.ada.ID, h.wrongPassword(), here, nil)
			refused(t, fmt.Sprint("failure ", n), err, durward.InvalidCredentials)
		}
		_, err = h.Reauthenticate(t.Context(), h.ada.ID, adaPassword, here, nil)
		refused(t, "correct password of a blocked account", err, durward.TooManyAttempts)
		refused(t, "sign-in", h.try(adaEmail, adaPassword, here), durward.TooManyAttempts)
		if _, err := h.Reauthenticate(t.Context(), "nobody", adaPassword, here, nil); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("unknown user: got %v, want ErrNotFound", err)
		}
	})
}

// Refused sign-ins are written to the security log, with a sum for each account and reason.
func TestRefusedAreWritten(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		h := newEnv(t, engine)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			h.SecurityLog.Run(ctx)
		}()
		for range 3 {
			_ = h.try(adaEmail, h.wrongPassword(), here)
		}
		for deadline := time.Now().Add(20 * time.Second); len(h.events(store.EventSignInRefused)) == 0; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("no event after 20 s")
			}
		}
		for range 4 {
			_ = h.try(adaEmail, h.wrongPassword(), here)
		}
		_ = h.try("nobody@example.com", h.wrongPassword(), here)
		cancel()
		<-ended
		times := map[string]int{}
		for _, e := range h.events(store.EventSignInRefused) {
			n := 1
			if e.Detail != "" {
				if _, err := fmt.Sscanf(e.Detail, "%d times", &n); err != nil {
					t.Errorf("detail %q", e.Detail)
				}
			}
			times[e.Outcome+" "+e.UserID] += n
			if e.Network != "192.0.2.0/24" || e.Device != "curl" || !e.At.Equal(h.clock.Now().Truncate(time.Microsecond)) {
				t.Errorf("%+v", e)
			}
		}
		if times["wrong password "+h.ada.ID] != 5 || times["too many attempts "+h.ada.ID] != 2 || times["no such account "] != 1 || len(times) != 3 {
			t.Errorf("got %v", times)
		}
	})
}

// One network causes a limited number of hashes a minute, at whichever endpoint, right or wrong. The operator
// has no limit.
func TestHashesOfNetwork(t *testing.T) {
	t.Parallel()
	h := newEnv(t, testkit.SQLite, quietNetworks, func(c *Config) {
		c.Hashes = limits.NewRate(limits.RateConfig{Name: "hashes", Most: 7, Now: c.Now})
	})
	requests := map[string]func(from request.Info) error{
		"right password": func(from request.Info) error { return h.try(adaEmail, adaPassword, from) },
		"wrong password": func(from request.Info) error { return h.try(adaEmail, h.wrongPassword(), from) },
		"repeated":       func(from request.Info) error { return h.try(adaEmail, "last year's password", from) },
		"unknown user":   func(from request.Info) error { return h.try("no-user@example.com", adaPassword, from) },
		"reauthentication": func(from request.Info) error {
			return errOf(h.Reauthenticate(t.Context(), h.ada.ID, adaPassword, from, nil))
		},
		"new password": func(from request.Info) error { return errOf(h.HashNewPassword(t.Context(), h.ada, "new", other, from)) },
		"registration": func(from request.Info) error {
			return errOf(h.Add(t.Context(), NewUser{Email: adaEmail, Password: adaPassword}, store.EventRegistered, from))
		},
	}
	before := h.Hasher.Runs()
	for name, request := range requests {
		if err := request(here); codeOf(err) == durward.TooManyAttempts {
			t.Errorf("%s within the limit: got %v", name, err)
		}
	}
	if runs := h.Hasher.Runs() - before; runs != 7 {
		t.Errorf("got %d hashes, want 7", runs)
	}
	h.clock.Advance(30 * time.Second) // the minute ends 30 s later
	for name, request := range requests {
		var refusal *durward.Refusal
		if err := request(here); !errors.As(err, &refusal) || refusal.Code != durward.TooManyAttempts || refusal.RetryAfter.Round(time.Second) != 30*time.Second {
			t.Errorf("%s over the limit: got %v, want TooManyAttempts for 30s", name, err)
		}
		if err := request(elsewhere); codeOf(err) == durward.TooManyAttempts {
			t.Errorf("%s from another network: got %v", name, err)
		}
	}
	if runs := h.Hasher.Runs() - before; runs != 14 {
		t.Errorf("got %d hashes, want 14", runs)
	}
	for range 10 {
		must(t, errOf(h.HashNewPassword(t.Context(), h.ada, "new", other, request.Info{Actor: "operator"})))
	}
	h.clock.Advance(30 * time.Second)
	must(t, h.try(adaEmail, adaPassword, here))
}

func errOf[T any](_ T, err error) error { return err }

// A user with a hash of any algorithm signs in with the password of the other product, and has a hash of
// this server from then on.
func TestEveryImportedAlgorithm(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		const horse = "correct horse battery staple"
		hashes := map[string]string{
			"argon2i":       "$argon2i$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$x/KCw2N8MhKp6JDp8+8iRpi/uyVO6cFG20eaviphv5M",
			"scrypt":        "$scrypt$ln=6,r=1,p=2$MDEyMzQ1Njc4OWFiY2RlZg$G/Gi4v4u18RNorDnAbKettLAcJNqAP0kJkSk0xQetYVVduNhkAfJ6y+/ie4F/5hYVylku0fc6OzsmmAK36SJEg",
			"pbkdf2-sha256": "$pbkdf2-sha256$1000$MDEyMzQ1Njc4OWFiY2RlZg$yqSq2SygY1sB4EcH9f2FG0JTMES.wqLsOT5YmiRBplI",
			"pbkdf2-sha512": "$pbkdf2-sha512$i=1000$MDEyMzQ1Njc4OWFiY2RlZg$5bTW2oeyDJyGJPcmEr+mRDE11ghpozWrDGnSNhRXo2ZCu0KHRDiUMAVEGzLJC+oDhRoeIja9J1iLIv9ptDJMfQ",
		}
		h := newEnv(t, engine, quietNetworks)
		for name, hash := range hashes {
			email := name + "@example.com"
			must(t, h.importUser(ImportedUser{Email: email, Hash: hash}))
			u, err := h.ByEmail(t.Context(), email)
			must(t, err)
			must(t, h.ReadImported(t.Context()))
			refused(t, name, errOf(h.Authenticate(t.Context(), email, "a wrong password, a long one", here)), durward.InvalidCredentials)
			must(t, errOf(h.Authenticate(t.Context(), email, horse, here)))
			after, err := h.DB.UserByID(t.Context(), u.ID)
			must(t, err)
			if !strings.HasPrefix(after.Password, "$argon2id$v=19$m=64,t=1,p=1$") {
				t.Errorf("%s: stored after the sign-in: %.30s, want a hash of this server", name, after.Password)
			}
			must(t, errOf(h.Authenticate(t.Context(), email, horse, here)))
		}
		// No user has a hash of them any more, so none of the costs is left.
		must(t, h.DB.DropImportedHashes(t.Context(), costPattern))
		if blanks, err := h.DB.ImportedHashes(t.Context()); len(blanks) != 0 || err != nil {
			t.Errorf("left: %q, %v, want none", blanks, err)
		}
	})
}

// A user comes with the hash of another product, signs in with the password, and has a hash of this
// server from then on. While such a user is left, every check takes the work of all costs.
func TestImportedHash(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		h := newEnv(t, engine, quietNetworks)
		const horse = "correct horse battery staple"
		add := func(email, hash string) error {
			t.Helper()
			return h.importUser(ImportedUser{Email: email, Hash: hash})
		}
		bcryptOf := "$2y$04$EVTD5jzxRNGqIo5.afCf0uwnt25IRD16kxCN1mrpesG0Z10/EU7a2"
		argonOf := "$argon2id$v=19$p=1,t=2,m=64$c29tZXNhbHRzb21lc2FsdA$Sr6N/nCmohWCvF7EZislLIdwA8ojCXux0K30ccqFS30"
		must(t, add("bcrypt@example.com", bcryptOf))
		must(t, add("argon2@example.com", argonOf))
		must(t, add("another@example.com", strings.Replace(bcryptOf, "$2y$", "$2a$", 1)))
		for name, hash := range map[string]string{
			"bcrypt of cost 15":        "$2y$15" + bcryptOf[6:],
			"argon2id of 4 GiB":        strings.Replace(argonOf, "m=64", "m=4194304", 1),
			"argon2d":                  strings.Replace(argonOf, "argon2id", "argon2d", 1),
			"PBKDF2 of SHA-1":          "$pbkdf2-sha1$i=1000$MDEyMzQ1Njc4OWFiY2RlZg$yqSq2SygY1sB4EcH9f2FG0JTMES+wqLsOT5YmiRBplI",
			"plain text":               horse,
			"a hash with a line break": bcryptOf + "\n",
		} {
			err := add("bad@example.com", hash)
			refusal, ok := errors.AsType[*durward.Refusal](err)
			if codeOf(err) != durward.InvalidRequest || !ok || refusal.Members["member"] != "hash" || strings.Contains(refusal.Detail+err.Error(), "EVTD5") || strings.Contains(refusal.Detail+err.Error(), horse) {
				t.Errorf("%s: got %v, want a refusal that names the member hash", name, err)
			}
		}
		must(t, h.ReadImported(t.Context()))
		try := func(email, password string, want durward.Code, hashes uint64) {
			t.Helper()
			before := h.Hasher.Runs()
			_, err := h.Authenticate(t.Context(), email, password, here)
			if runs := h.Hasher.Runs() - before; codeOf(err) != want || runs != hashes {
				t.Errorf("%s: got %v after %d hashes, want %q after %d", email, err, runs, want, hashes)
			}
		}
		for _, email := range []string{adaEmail, "nobody@example.com", "bcrypt@example.com", "argon2@example.com"} {
			try(email, "a wrong password, a long one", durward.InvalidCredentials, 3)
		}
		for _, email := range []string{"bcrypt@example.com", "argon2@example.com"} {
			try(email, horse, "", 4) // and one for the new hash
			u, err := h.ByEmail(t.Context(), email)
			must(t, err)
			if !strings.HasPrefix(u.Password, "$argon2id$v=19$m=64,t=1,p=1$") {
				t.Errorf("%s: stored after the sign-in: %.30s, want a hash of this server", email, u.Password)
			}
			try(email, horse, "", 3)
			try(email, "a wrong password, a long one", durward.InvalidCredentials, 3)
		}
		// A cost that no user has any more is dropped; that of the third user stays.
		must(t, h.DB.DropImportedHashes(t.Context(), costPattern))
		must(t, h.ReadImported(t.Context()))
		try(adaEmail, adaPassword, "", 2)
		try("another@example.com", horse, "", 3)
		must(t, h.DB.DropImportedHashes(t.Context(), costPattern))
		must(t, h.ReadImported(t.Context()))
		try(adaEmail, adaPassword, "", 1)
		if blanks, err := h.DB.ImportedHashes(t.Context()); len(blanks) != 0 || err != nil {
			t.Errorf("left: %q, %v, want none", blanks, err)
		}
		// The number of costs is limited, because each check takes the work of all.
		for cost := range maxImportedCosts {
			must(t, add(fmt.Sprintf("c%d@example.com", cost), fmt.Sprintf("$2b$%02d", 5+cost)+bcryptOf[6:]))
		}
		if err := add("more@example.com", "$2b$10"+bcryptOf[6:]); codeOf(err) != durward.InvalidRequest {
			t.Errorf("a fifth cost: got %v, want %s", err, durward.InvalidRequest)
		}
		must(t, add("same@example.com", "$2y$05"+bcryptOf[6:]))
	})
}

// An unlock by the operator lifts the block of an account in one network and its lock in all. Failures
// count anew.
func TestUnlockLiftsBlocks(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		h := newEnv(t, engine, quietNetworks)
		for round := range 2 {
			for range 5 {
				refused(t, "failure here", h.try(adaEmail, h.wrongPassword(), here), durward.InvalidCredentials)
			}
			for n := range 5 {
				from := request.Info{Addr: netip.AddrFrom4([4]byte{203, 0, 113, byte(n)})}
				refused(t, "failure of another network", h.try(adaEmail, h.wrongPassword(), from), durward.InvalidCredentials)
			}
			for _, from := range []request.Info{here, elsewhere} {
				refused(t, "locked", h.try(adaEmail, adaPassword, from), durward.TooManyAttempts)
				_, err := h.CredentialVersion(t.Context(), adaEmail, from)
				refused(t, "locked, remembered by Basic", err, durward.TooManyAttempts)
			}
			must(t, h.Unlock(t.Context(), h.ada.ID, here))
			for _, from := range []request.Info{here, elsewhere} {
				if err := h.try(adaEmail, adaPassword, from); err != nil {
					t.Errorf("round %d, unlocked: got %v", round, err)
				}
				if _, err := h.CredentialVersion(t.Context(), adaEmail, from); err != nil {
					t.Errorf("round %d, unlocked, remembered by Basic: got %v", round, err)
				}
			}
		}
	})
}

// Only the text that RememberDevice returned is the cookie of a device.
func TestDeviceCookie(t *testing.T) {
	t.Parallel()
	h := newEnv(t, testkit.SQLite)
	known := func(cookie string) bool {
		t.Helper()
		from := here
		from.DeviceCookie = cookie
		id, err := h.knownDevice(t.Context(), h.ada.ID, from)
		must(t, err)
		return id != ""
	}
	cookie, err := h.RememberDevice(t.Context(), h.ada, here)
	must(t, err)
	if !known(cookie) {
		t.Error("the cookie is not known")
	}
	for _, other := range []string{"", cookie[:42], cookie + "A", cookie + "=", "\n" + cookie, strings.ToLower(cookie), strings.Repeat("A", 1<<16)} {
		if known(other) {
			t.Errorf("%.50q is known", other)
		}
	}
	dump := fmt.Sprint(h.logs)
	if strings.Contains(dump, cookie) {
		t.Error("the log has the cookie")
	}
	changed := h.ada
	changed.PasswordChangedAt = changed.PasswordChangedAt.Add(time.Second)
	if again, err := h.RememberDevice(t.Context(), changed, here); again != "" || err != nil {
		t.Errorf("the password changed meanwhile: got %q, %v, want no cookie", again, err)
	}
}
