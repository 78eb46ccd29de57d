package durward

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"reflect"
	"testing"
	"time"
)

// anyPair is a check that accepts every pair. The state of steady never changes.
func anyPair(_ context.Context, user, _ string) (*Principal, error) {
	return &Principal{Subject: user}, nil
}

func steady(context.Context, string) (string, error) { return "1", nil }

// The number of cached results is bounded; removed pairs are checked again.
func TestRememberIsBounded(t *testing.T) {
	t.Parallel()
	m := newPasswordCache(anyPair, steady)
	now := time.Now()
	m.now = func() time.Time { return now }
	for i := range maxRemembered + 500 {
		if p, err := m.authenticate(t.Context(), fmt.Sprint("u", i), "x"); err != nil || p.Subject != fmt.Sprint("u", i) {
			t.Fatalf("got %v, %v", p, err)
		}
		if len(m.entries) > maxRemembered || len(m.inFlight) != 0 {
			t.Fatalf("after %d: %d remembered, %d under way", i, len(m.entries), len(m.inFlight))
		}
	}
	if len(m.entries) < maxRemembered/8*7 {
		t.Errorf("%d remembered, want most of %d", len(m.entries), maxRemembered)
	}
	if _, ok := m.entries[m.digest(fmt.Sprint("u", maxRemembered+499), "x")]; !ok {
		t.Error("the newest is not remembered")
	}
	// Expired results are removed first, all of them.
	now = now.Add(rememberFor / 2)
	for i := 0; len(m.entries) < maxRemembered; i++ {
		_, _ = m.authenticate(t.Context(), fmt.Sprint("fresh", i), "x")
	}
	now = now.Add(rememberFor / 2)
	_, _ = m.authenticate(t.Context(), "last", "x")
	if _, ok := m.entries[m.digest("fresh0", "x")]; !ok {
		t.Error("what had not ended was forgotten")
	}
	for _, kept := range m.entries {
		if !now.Before(kept.until) {
			t.Fatal("what had ended was kept")
		}
	}
}

// A clock that goes back makes nothing last longer.
func TestRememberClockGoesBack(t *testing.T) {
	t.Parallel()
	asked := 0
	m := newPasswordCache(func(ctx context.Context, user, password string) (*Principal, error) {
		asked++
		return anyPair(ctx, user, password)
	}, steady)
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	m.now = func() time.Time { return now }
	for _, step := range []struct {
		by    time.Duration
		asked int
	}{{0, 1}, {0, 1}, {-time.Nanosecond, 2}, {0, 2}, {-time.Hour, 3}, {rememberFor - 1, 3}, {1, 4}, {24 * time.Hour, 5}} {
		now = now.Add(step.by)
		if _, err := m.authenticate(t.Context(), "ada", "x"); err != nil || asked != step.asked {
			t.Errorf("at %s: asked %d times, want %d (%v)", now, asked, step.asked, err)
		}
	}
}

// octetsOf collects all strings, byte slices and arrays that v leads to.
func octetsOf(v reflect.Value, seen map[uintptr]bool, all *bytes.Buffer) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() || seen[v.Pointer()] {
			return
		}
		seen[v.Pointer()] = true
		octetsOf(v.Elem(), seen, all)
	case reflect.Interface:
		if !v.IsNil() {
			octetsOf(v.Elem(), seen, all)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			octetsOf(v.Field(i), seen, all)
		}
	case reflect.Map:
		for at := v.MapRange(); at.Next(); {
			octetsOf(at.Key(), seen, all)
			octetsOf(at.Value(), seen, all)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if e := v.Index(i); e.Kind() == reflect.Uint8 {
				all.WriteByte(byte(e.Uint()))
			} else {
				octetsOf(e, seen, all)
			}
		}
	case reflect.String:
		all.WriteString(v.String())
	}
}

// Nothing of a password, nor a hash of it without the key, is left in what
// Remember keeps: not in its tables, and not in the last block of its hashes.
func TestRememberKeepsNoPassword(t *testing.T) {
	t.Parallel()
	const password = "correct horse battery"
	m := newPasswordCache(anyPair, steady)
	// Always the same hash: a pool may drop its values.
	mac := m.pairs.pool.Get().(hash.Hash)
	m.pairs.pool.New = func() any { return mac }
	var sum [sha256.Size]byte
	for range 3 {
		if _, err := m.authenticate(t.Context(), "ada", password); err != nil {
			t.Fatal(err)
		}
		for sum = range m.entries {
		}
		var all bytes.Buffer
		seen := map[uintptr]bool{}
		octetsOf(reflect.ValueOf(m.entries), seen, &all)
		octetsOf(reflect.ValueOf(m.inFlight), seen, &all)
		octetsOf(reflect.ValueOf(mac), seen, &all)
		if !bytes.Contains(all.Bytes(), sum[:]) || !bytes.Contains(all.Bytes(), []byte("ada")) {
			t.Fatal("what is remembered was not found, so what is not cannot be known to be absent")
		}
		for i := range len(password) - 5 {
			if part := password[i : i+6]; bytes.Contains(all.Bytes(), []byte(part)) {
				t.Errorf("%q of the password is kept", part)
			}
		}
	}
	if newPasswordCache(anyPair, steady).digest("ada", password) == sum {
		t.Error("two memories share a key")
	}
	if m.digest("ada", password) != sum || m.digest("adac", password[1:]) == sum {
		t.Error("the hash is not of the pair")
	}
}
