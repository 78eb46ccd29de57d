package pwhash

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"golang.org/x/crypto/argon2"
)

var ctx = context.Background()

// quick is a Hasher that is cheap enough for tests.
func quick(t testing.TB) *Hasher {
	t.Helper()
	h, err := New(Config{Memory: 64, Time: 1})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestHashAndVerify(t *testing.T) {
	t.Parallel()
	h := quick(t)
	const password = "correct horse battery staple"
	stored, err := h.Hash(ctx, password)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(stored, "$argon2id$v=19$m=64,t=1,p=1$") {
		t.Errorf("form: %s", stored)
	}
	if again, _ := h.Hash(ctx, password); again == stored {
		t.Error("two hashes of one password are alike: no salt")
	}
	for _, c := range []struct {
		stored, password string
		ok               bool
	}{
		{stored, password, true},
		{stored, password + " ", false},
		{stored, "Correct horse battery staple", false},
		{stored, "", false},
		{stored, password + "\x00", false},
		{stored, strings.Repeat("a", 5000), false},
		{stored, "\xff", false},
		{"", password, false},
		{"", "", false},
	} {
		before := h.Runs()
		ok, stale, err := h.Verify(ctx, c.stored, c.password)
		if ok != c.ok || stale || err != nil {
			t.Errorf("Verify(%q, %.40q) = %v, %v, %v; want %v", c.stored, c.password, ok, stale, err, c.ok)
		}
		if n := h.Runs() - before; n != 1 {
			t.Errorf("Verify(%q, %.40q) computed %d hashes, want 1 whatever is asked", c.stored, c.password, n)
		}
	}
}

// One password, two ways to type it: NFC and NFD are the same (RFC 8265 s4.2.2).
func TestNormalisation(t *testing.T) {
	t.Parallel()
	h := quick(t)
	stored, err := h.Hash(ctx, "caf\u00e9 au lait")
	if err != nil {
		t.Fatal(err)
	}
	for _, typed := range []string{"caf\u00e9 au lait", "cafe\u0301 au lait", "caf\u00e9\u00a0au lait"} {
		if ok, _, err := h.Verify(ctx, stored, typed); !ok || err != nil {
			t.Errorf("%q: %v, %v", typed, ok, err)
		}
	}
	for _, bad := range []string{"", "a\x00b", "a\tb", "a\x7fb", "\xff\xfe", strings.Repeat("x", 1025)} {
		if got, err := h.Hash(ctx, bad); !errors.Is(err, ErrForbidden) || got != "" {
			t.Errorf("Hash(%.20q) = %q, %v; want ErrForbidden", bad, got, err)
		}
	}
}

func TestStale(t *testing.T) {
	t.Parallel()
	stored, err := quick(t).Hash(ctx, "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []Config{{Memory: 128, Time: 1}, {Memory: 64, Time: 2}, {Memory: 64, Time: 1, Threads: 2}} {
		h, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		if ok, stale, err := h.Verify(ctx, stored, "correct horse"); !ok || !stale || err != nil {
			t.Errorf("%+v: %v, %v, %v", c, ok, stale, err)
		}
	}
}

// A hash that is broken or asks for too much never verifies, costs no more than
// any other, and says so.
func TestStoredHashes(t *testing.T) {
	t.Parallel()
	h := quick(t)
	good, err := h.Hash(ctx, "p")
	if err != nil {
		t.Fatal(err)
	}
	salt, key := strings.Split(good, "$")[4], strings.Split(good, "$")[5]
	for _, bad := range []string{
		"x", "$", "$argon2id$", "p", " " + good, good + " ", good + "$", strings.Replace(good, "argon2id", "argon2i", 1), strings.Replace(good, "v=19", "v=16", 1),
		"$argon2id$v=19$m=4194304,t=1,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=64,t=4000000000,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=64,t=1,p=255$" + salt + "$" + key,
		"$argon2id$v=19$m=0,t=1,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=+64,t=1,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=064,t=1,p=1$" + salt + "$" + key,
		"$argon2id$v=19$t=1,m=64,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=64,t=1,p=1$$" + key,
		"$argon2id$v=19$m=64,t=1,p=1$" + salt + "$",
		"$argon2id$v=19$m=64,t=1,p=1$" + salt + "$" + key[:len(key)-1] + "=",
		"$argon2id$v=19$m=64,t=1,p=1$" + salt + "$" + base64.RawStdEncoding.EncodeToString(make([]byte, 65)),
	} {
		before := h.Runs()
		if ok, _, err := h.Verify(ctx, bad, "p"); ok || !errors.Is(err, ErrHash) {
			t.Errorf("Verify(%q) = %v, %v; want ErrHash", bad, ok, err)
		}
		if h.Runs() != before+1 {
			t.Errorf("Verify(%q) did not do the same work", bad)
		}
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	_, err := New(Config{Memory: 1 << 30, Time: 100, Threads: 200, Concurrent: -1})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"memory", "passes", "lanes", "at once"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not speak of %s: %v", want, err)
		}
	}
}

// As many as may compute compute, as many as may wait wait, the next is told at
// once; and who gives up leaves.
func TestGate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, err := New(Config{Memory: 64, Time: 1, Concurrent: 1, Waiting: 2})
		if err != nil {
			t.Fatal(err)
		}
		h.turns <- struct{}{} // somebody computes
		h.queue <- struct{}{}
		var wg sync.WaitGroup
		results := make([]error, 2)
		giveUp, cancel := context.WithCancel(t.Context())
		for i, c := range []context.Context{t.Context(), giveUp} {
			wg.Go(func() { _, _, results[i] = h.Verify(c, "", "x") })
		}
		synctest.Wait()
		if _, _, err := h.Verify(t.Context(), "", "x"); !errors.Is(err, ErrBusy) {
			t.Errorf("past the bound: %v, want ErrBusy", err)
		}
		cancel()
		synctest.Wait()
		if !errors.Is(results[1], context.Canceled) {
			t.Errorf("gave up: %v", results[1])
		}
		if h.Runs() != 0 {
			t.Errorf("%d hashes while somebody else computes", h.Runs())
		}
		<-h.turns
		<-h.queue
		wg.Wait()
		if results[0] != nil || h.Runs() != 1 {
			t.Errorf("waited: %v, %d hashes", results[0], h.Runs())
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add("$argon2id$v=19$m=64,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Add("$argon2id$v=19$m=19456,t=2,p=1$$")
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := parse(s); err == nil && p.String() != s {
			t.Errorf("%q is read as %q: two spellings of one hash", s, p)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	h, err := New(Config{})
	if err != nil {
		b.Fatal(err)
	}
	stored, err := h.Hash(ctx, "correct horse battery staple")
	if err != nil {
		b.Fatal(err)
	}
	b.Run("raw argon2id", func(b *testing.B) {
		salt := make([]byte, 16)
		for b.Loop() {
			argon2.IDKey([]byte("correct horse battery staple"), salt, 2, 19456, 1, 32)
		}
	})
	b.Run("Verify", func(b *testing.B) {
		for b.Loop() {
			if ok, _, err := h.Verify(ctx, stored, "correct horse battery staple"); !ok || err != nil {
				b.Fatal(fmt.Sprint(ok, err))
			}
		}
	})
}
