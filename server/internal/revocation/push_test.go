package revocation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/valkey-io/valkey-go"
	"go.uber.org/goleak"

	"github.com/durward-auth/durward/internal/revoked"
	"github.com/durward-auth/durward/internal/services"
	connection "github.com/durward-auth/durward/internal/valkey"
)

// truth is what nodes share: what their feed reads.
type truth struct {
	mu      sync.Mutex
	entries []revoked.Entry
	away    bool
}

func (f *truth) add(k revoked.Kind, value string) revoked.Entry {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := revoked.Entry{Seq: int64(len(f.entries) + 1), Kind: k, Value: value, At: time.Now(), Until: time.Now().Add(time.Hour)}
	f.entries = append(f.entries, e)
	return e
}

func (f *truth) poll(_ context.Context, after int64, _ time.Duration) ([]revoked.Entry, string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.away {
		return nil, "", errors.New("away")
	}
	return slices.Clone(f.entries[min(int(after), len(f.entries)):]), "epoch", nil
}

func (f *truth) all(ctx context.Context) ([]revoked.Entry, error) {
	entries, _, err := f.poll(ctx, 0, 0)
	return entries, err
}

// spreading is a node: a list, what spreads, and a connection.
type spreading struct {
	list  *revoked.List
	s     *Shared
	redis *connection.Client
	stop  func()
}

func spread(t testing.TB, r *services.Redis, f *truth, key byte) *spreading {
	t.Helper()
	redis, err := connection.New(connection.Config{URL: r.URL(), Timeout: 10 * time.Second, Probe: 100 * time.Millisecond, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	n := &spreading{list: revoked.NewList(nil), redis: redis}
	n.s, err = NewShared(SharedConfig{Redis: redis, Key: bytes.Repeat([]byte{key}, 32), List: n.list, All: f.all, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { n.s.Run(ctx); close(done) }()
	n.stop = sync.OnceFunc(func() { cancel(); <-done; redis.Close() })
	t.Cleanup(n.stop)
	return n
}

func within(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within half a minute: %s", what)
		}
	}
}

// listens waits until n nodes listen.
func (n *spreading) listens(t testing.TB, nodes int64) {
	t.Helper()
	within(t, "all listen", func() bool {
		var heard int64
		err := n.redis.With(context.Background(), func(ctx context.Context, c valkey.Client) error {
			answer, err := c.Do(ctx, c.B().PubsubNumsub().Channel(n.s.channel).Build()).AsIntMap()
			heard = answer[n.s.channel]
			return err
		})
		return err == nil && heard == nodes
	})
}

// left is how long a key of Redis has left; 0 is that it is not there.
func (n *spreading) left(key string) (left time.Duration) {
	_ = n.redis.With(context.Background(), func(ctx context.Context, c valkey.Client) error {
		ms, err := c.Do(ctx, c.B().Pttl().Key(key).Build()).AsInt64()
		left = max(time.Duration(ms)*time.Millisecond, 0)
		return err
	})
	return left
}

// What one node revokes the other knows before it has polled, and any software finds
// under its key for as long as it lives.
func TestPush(t *testing.T) {
	t.Parallel()
	r := services.NewRedis(t)
	f := new(truth)
	a, b := spread(t, r, f, 1), spread(t, r, f, 1)
	a.listens(t, 2)
	var all []time.Duration
	for n := range 100 {
		e := f.add([]revoked.Kind{revoked.Token, revoked.Session, revoked.SigningKey}[n%3], fmt.Sprint("value ", n))
		began := time.Now()
		a.list.Announce(e)
		if !a.list.Revoked(e.Kind, e.Value) {
			t.Fatal("the node does not hold what it announces")
		}
		within(t, "pushed", func() bool { return b.list.Revoked(e.Kind, e.Value) })
		all = append(all, time.Since(began))
	}
	slices.Sort(all)
	t.Logf("from one node to the other: median %s, worst %s of %d", all[50], all[99], len(all))
	for _, key := range []string{"revoked:value 0", "revoked:sid:value 1", "revoked:kid:value 2"} {
		within(t, key, func() bool { return a.left(key) > 59*time.Minute })
		if left := a.left(key); left > time.Hour {
			t.Errorf("%s lives for %s, the entry for an hour", key, left)
		}
	}
	var many []revoked.Entry
	for n := range 1234 { // all sessions of somebody
		many = append(many, f.add(revoked.Session, fmt.Sprint("many ", n)))
	}
	a.list.Announce(many...)
	for _, e := range many {
		within(t, "many pushed", func() bool { return b.list.Revoked(e.Kind, e.Value) })
	}
}

// After a loss all that is in force is there again, whoever has revoked it, and what
// was revoked meanwhile.
func TestKeysAreSetAgain(t *testing.T) {
	t.Parallel()
	r := services.NewRedis(t)
	f := new(truth)
	f.add(revoked.Session, "before the start")
	f.entries = append(f.entries, revoked.Entry{Seq: 2, Kind: revoked.Token, Value: "ended", Until: time.Now().Add(-time.Minute)})
	n := spread(t, r, f, 1)
	there := func(when string, keys ...string) {
		t.Helper()
		for _, key := range keys {
			within(t, when+": "+key, func() bool { return n.left(key) > 0 })
		}
		if n.left("revoked:ended") != 0 {
			t.Error("an entry that has ended has a key")
		}
	}
	there("at start", "revoked:sid:before the start")
	n.list.Announce(f.add(revoked.Token, "one"))
	there("announced", "revoked:one")
	if err := n.redis.With(t.Context(), func(ctx context.Context, c valkey.Client) error {
		return c.Do(ctx, c.B().Flushall().Build()).Error()
	}); err != nil {
		t.Fatal(err)
	}
	there("emptied", "revoked:sid:before the start", "revoked:one")
	r.Kill(t)
	within(t, "down", func() bool { up, _ := n.redis.Up(); return !up })
	n.list.Announce(f.add(revoked.Token, "while it was away"))
	f.mu.Lock()
	f.away = true // the feed, for the first try after the return
	f.mu.Unlock()
	r.Start(t)
	within(t, "up", func() bool { up, _ := n.redis.Up(); return up })
	f.mu.Lock()
	f.away = false
	f.mu.Unlock()
	there("back", "revoked:sid:before the start", "revoked:one", "revoked:while it was away")

	// What is seen in the feed, as of a node that died before it told anybody.
	follower, err := revoked.NewFollower(revoked.FollowerConfig{List: n.list, Poll: f.poll, OnFresh: n.s.FromFeed, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := follower.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.add(revoked.Session, "of another node")
	follower.Poll(t.Context())
	there("seen", "revoked:sid:of another node")
	if !n.list.Revoked(revoked.Session, "of another node") {
		t.Error("what is seen is not held")
	}
}

// More than can wait is read anew.
func TestTooManyWaitToBeSet(t *testing.T) {
	t.Parallel()
	r := services.NewRedis(t)
	f := new(truth)
	n := spread(t, r, f, 1)
	within(t, "up", func() bool { up, _ := n.redis.Up(); return up })
	var many []revoked.Entry
	for i := range mostPending + 1 {
		many = append(many, f.add(revoked.Token, fmt.Sprint(i)))
	}
	n.s.FromFeed(many)
	n.s.mu.Lock()
	if len(n.s.keys) > mostPending {
		t.Errorf("%d wait", len(n.s.keys))
	}
	n.s.mu.Unlock()
	for _, key := range []string{"revoked:0", fmt.Sprint("revoked:", mostPending)} {
		within(t, key, func() bool { return n.left(key) > 0 })
	}
}

// Whoever can write to Redis, and has no key of the nodes, puts nothing into their
// lists.
func TestForgedPush(t *testing.T) {
	t.Parallel()
	r := services.NewRedis(t)
	f := new(truth)
	n := spread(t, r, f, 1)
	n.listens(t, 1)
	other, err := NewShared(SharedConfig{Redis: n.redis, Key: bytes.Repeat([]byte{2}, 32), List: revoked.NewList(nil), All: f.all})
	if err != nil {
		t.Fatal(err)
	}
	e := revoked.Entry{Kind: revoked.Session, Value: "somebody's", At: time.Now(), Until: time.Now().Add(time.Hour)}
	foreign, err := other.format([]revoked.Entry{e})
	if err != nil {
		t.Fatal(err)
	}
	good, err := n.s.format([]revoked.Entry{e})
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(foreign, ".")
	for _, text := range []string{"", ".", foreign, body, "." + body, strings.Replace(good, "somebody's", "nobody's!!", 1), good + " ", " " + good, strings.Repeat("x", mostMessage+1)} {
		n.s.hear(text)
	}
	if n.list.Len() != 0 {
		t.Errorf("%d entries", n.list.Len())
	}
	n.s.hear(good)
	if !n.list.Revoked(revoked.Session, "somebody's") {
		t.Error("a message of a node is not heard")
	}
}

func TestSharedConfig(t *testing.T) {
	t.Parallel()
	if s, err := NewShared(SharedConfig{Key: make([]byte, 31)}); s != nil || err == nil {
		t.Errorf("%v, %v", s, err)
	}
}

// Nothing is left behind.
func TestSharedEnds(t *testing.T) {
	r := services.NewRedis(t)
	before := goleak.IgnoreCurrent()
	f := new(truth)
	for _, away := range []bool{false, true} {
		n := spread(t, r, f, 1)
		within(t, "up", func() bool { up, _ := n.redis.Up(); return up })
		if away {
			r.Kill(t)
		}
		n.list.Announce(f.add(revoked.Token, fmt.Sprint(away)))
		n.stop()
	}
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
}

// FuzzMessage: what is read is what a node wrote, whole.
func FuzzMessage(f *testing.F) {
	s := &Shared{c: SharedConfig{Key: bytes.Repeat([]byte{1}, 32)}}
	valid, err := s.format([]revoked.Entry{{Kind: revoked.Token, Value: "a", At: time.Unix(1, 0), Until: time.Unix(2, 0)}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(valid, "a", "jti", int64(5))
	f.Add("AAAA.[]", "b", "sid", int64(1<<40))
	f.Fuzz(func(t *testing.T, text, value, kind string, until int64) {
		if entries, ok := s.parse(text); ok {
			if again, err := s.format(entries); err != nil || again != text {
				t.Errorf("%q is read, and written as %q, %v", text, again, err)
			}
		}
		want := []revoked.Entry{{Kind: revoked.Kind(strings.ToValidUTF8(kind, "?")), Value: strings.ToValidUTF8(value, "?"), At: time.Unix(1, 0), Until: time.Unix(until%(1<<40), 0)}}
		written, err := s.format(want)
		if err != nil {
			t.Fatal(err)
		}
		if len(written) > mostMessage {
			return
		}
		if got, ok := s.parse(written); !ok || !cmp.Equal(got, want) {
			t.Errorf("%v is read as %v, %v", want, got, ok)
		}
		if len(text) > 0 {
			if _, ok := s.parse(written + text); ok {
				t.Errorf("%q is taken with %q behind it", written, text)
			}
		}
	})
}
