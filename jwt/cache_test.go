package jwt

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/durward-auth/durward"
)

// sumOf returns a key for a number; all keys are in one shard.
func sumOf(n int) (sum [sha256.Size]byte) {
	binary.BigEndian.PutUint64(sum[8:], uint64(n))
	return sum
}

func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	c := newCache(160) // 10 in a shard
	at := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Second) }
	for i := range 1000 {
		c.put(sumOf(i), &entry{principal: durward.Principal{Expires: noon.Add(time.Hour)}}, at(i))
		if n := len(c.shards[0].m); n > 10 {
			t.Fatalf("%d entries in a shard of 10", n)
		}
		// A token in use remains: it is among the eight most recent of ten.
		if c.get(sumOf(0), at(i)) == nil {
			t.Fatalf("the entry in use made room at %d", i)
		}
	}
	// An expired token is dropped first, even if it was used last.
	c = newCache(32)
	c.put(sumOf(1), &entry{principal: durward.Principal{Expires: noon.Add(time.Hour)}}, noon)
	c.put(sumOf(2), &entry{principal: durward.Principal{Expires: noon.Add(time.Second)}}, noon.Add(time.Minute))
	c.put(sumOf(3), &entry{principal: durward.Principal{Expires: noon.Add(time.Hour)}}, noon.Add(2*time.Minute))
	if c.get(sumOf(1), noon) == nil || c.get(sumOf(2), noon) != nil || c.get(sumOf(3), noon) == nil {
		t.Error("the entry that had ended did not make room first")
	}
	// The same token again needs no room.
	c.put(sumOf(1), &entry{}, noon)
	if len(c.shards[0].m) != 2 {
		t.Errorf("%d entries, want 2", len(c.shards[0].m))
	}
	c.drop(sumOf(1))
	if c.get(sumOf(1), noon) != nil {
		t.Error("a dropped entry is there")
	}
	// A nil cache is disabled.
	var none *cache
	none.put(sumOf(1), &entry{}, noon)
	none.drop(sumOf(1))
	if none.get(sumOf(1), noon) != nil {
		t.Error("a cache that is off remembers")
	}
}

// Only verified tokens that are not revoked are cached; expiry and revocation are checked each
// time.
func TestRememberedTokens(t *testing.T) {
	t.Parallel()
	k := generate(t, "ES256")
	now, asked := noon, 0
	var revoked error
	v := verifier(t, Config{
		Now: func() time.Time { return now },
		Revoked: func(p *durward.Principal, keyID string) error {
			asked++
			if keyID != k.ID() || p.TokenID != example().ID || p.SessionID != example().SessionID {
				t.Errorf("asked for key %q and %+v", keyID, p)
			}
			return revoked
		},
	}, k.Public())
	token := sign(t, k, example())

	revoked = durward.TokenRevoked
	_, err := v.Verify(t.Context(), token)
	refused(t, token, err, durward.TokenRevoked, "")
	if v.remembers() != 0 {
		t.Error("a revoked token is remembered")
	}
	revoked = nil
	for range 3 {
		if _, err := v.Verify(t.Context(), token); err != nil {
			t.Fatal(err)
		}
	}
	if asked != 4 || v.remembers() != 1 {
		t.Errorf("asked %d times, want 4; %d remembered, want 1", asked, v.remembers())
	}
	revoked = durward.TokenRevoked
	_, err = v.Verify(t.Context(), token)
	refused(t, token, err, durward.TokenRevoked, "")

	revoked, now = nil, example().Expires.Add(-1)
	if _, err := v.Verify(t.Context(), token); err != nil {
		t.Errorf("a nanosecond before its end: %v", err)
	}
	now = example().Expires
	_, err = v.Verify(t.Context(), token)
	refused(t, token, err, durward.TokenExpired, "expired 0s ago")
	if v.remembers() != 0 {
		t.Error("a token that has ended is remembered")
	}
	_, err = v.Verify(t.Context(), token)
	refused(t, token, err, durward.TokenExpired, "expired 0s ago")
	if v.remembers() != 0 {
		t.Error("a token that came after its end is remembered")
	}

	// Refused tokens are not cached, and no token is if the cache is disabled.
	for i := range 100 {
		_, err := v.Verify(t.Context(), token[:len(token)-i-1])
		if !errors.Is(err, durward.InvalidToken) {
			t.Fatal(err)
		}
	}
	if v.remembers() != 0 {
		t.Error("a refused token is remembered")
	}
	off := verifier(t, Config{CacheSize: -1}, k.Public())
	if _, err := off.Verify(t.Context(), token); err != nil || off.cache != nil {
		t.Errorf("remembering off: %v", err)
	}
}

// A verifier does not use the cache of another one: each has its own audience.
func TestVerifiersShareNothing(t *testing.T) {
	t.Parallel()
	k := generate(t, "ES256")
	ours := verifier(t, Config{}, k.Public())
	keys, err := NewKeys(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := New(Config{Issuer: issuer, Audience: []string{"https://other.example"}, Keys: keys, Now: func() time.Time { return noon }})
	if err != nil {
		t.Fatal(err)
	}
	token := sign(t, k, example())
	if _, err := ours.Verify(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	_, err = theirs.Verify(t.Context(), token)
	refused(t, token, err, durward.InvalidToken, "this service is")
}

// Changes to a principal are not visible in the next request, for lists of any number and length.
func TestPrincipalIsACopy(t *testing.T) {
	t.Parallel()
	k := generate(t, "EdDSA")
	v := verifier(t, Config{}, k.Public())
	for _, n := range []int{0, 1, 4, 7, 8, 9, 40} {
		c := example()
		c.Scopes, c.AMR = nil, nil
		for i := range n {
			c.Scopes = append(c.Scopes, fmt.Sprintf("s%d", i))
			c.AMR = append(c.AMR, fmt.Sprintf("m%d", i))
		}
		token := sign(t, k, c)
		first, err := v.Verify(t.Context(), token)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			p, err := v.Verify(t.Context(), token)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(p.Scopes, c.Scopes) || !reflect.DeepEqual(p.AMR, c.AMR) || !reflect.DeepEqual(p, first) {
				t.Fatalf("%d elements: got %v and %v", n, p.Scopes, p.AMR)
			}
			for i := range n {
				p.Scopes[i], p.AMR[i] = "admin", "admin"
			}
			p.Scopes, p.AMR, p.Subject = append(p.Scopes, "more"), append(p.AMR, "more"), "other"
			if n > 0 && (p.Scopes[0] != "admin" || p.AMR[0] != "admin") {
				t.Errorf("%d elements: the lists of one principal share memory: %v, %v", n, p.Scopes, p.AMR)
			}
		}
	}
}

// With a thousand tokens in parallel, each gets its own principal.
func TestNoIdentityAnswersForAnother(t *testing.T) {
	t.Parallel()
	k := generate(t, "EdDSA")
	v := verifier(t, Config{CacheSize: 300}, k.Public()) // smaller than the number of tokens
	tokens := make([]string, 1000)
	for i := range tokens {
		c := example()
		c.Subject = fmt.Sprint(i)
		c.Scopes = []string{fmt.Sprintf("s%d", i)}
		tokens[i] = sign(t, k, c)
	}
	var wg sync.WaitGroup
	for i := range tokens {
		wg.Go(func() {
			for range 3 {
				p, err := v.Verify(t.Context(), tokens[i])
				if err != nil || p.Subject != fmt.Sprint(i) || len(p.Scopes) != 1 || p.Scopes[0] != fmt.Sprintf("s%d", i) {
					t.Errorf("token of %d: got %+v, %v", i, p, err)
				}
			}
		})
	}
	wg.Wait()
	if n := v.remembers(); n > 304 {
		t.Errorf("%d tokens remembered, want at most 19 in each of 16 shards", n)
	}
}
