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

	"github.com/durward-auth/durward/internal/faults"
	"github.com/durward-auth/durward/internal/goroutines"
	"github.com/durward-auth/durward/internal/revoked"
	"github.com/durward-auth/durward/internal/services"
	connection "github.com/durward-auth/durward/internal/valkey"
)

// database stands for the database that the nodes share.
type database struct {
	mu      sync.Mutex
	entries []revoked.Entry
	away    bool
}

func (f *database) add(k string, value string) revoked.Entry {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := revoked.Entry{Seq: int64(len(f.entries) + 1), Kind: k, Value: value, At: time.Now(), Until: time.Now().Add(time.Hour)}
	f.entries = append(f.entries, e)
	return e
}

func (f *database) poll(_ context.Context, after int64, _ time.Duration) ([]revoked.Entry, string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.away {
		return nil, "", errors.New("away")
	}
	return slices.Clone(f.entries[min(int(after), len(f.entries)):]), "epoch", nil
}

func (f *database) each(ctx context.Context, use func([]revoked.Entry) error) error {
	_, err := f.follow(ctx, 0, 0, func(entries []revoked.Entry) { _ = use(entries) })
	return err
}

func (f *database) follow(ctx context.Context, after int64, overlap time.Duration, take func([]revoked.Entry)) (string, error) {
	entries, epoch, err := f.poll(ctx, after, overlap)
	if err == nil {
		take(entries)
	}
	return epoch, err
}

// node is a list, a running Push and its connection.
type node struct {
	list  *revoked.List
	s     *Push
	redis *connection.Client
	stop  func()
}

func newNode(t testing.TB, r *services.Redis, f *database, key byte) *node {
	t.Helper()
	return newNodeAt(t, r.URL(), 100*time.Millisecond, f, key)
}

// newNodeAt returns a node with the connection to a URL and the time between its probes.
func newNodeAt(t testing.TB, url string, probe time.Duration, f *database, key byte) *node {
	t.Helper()
	redis, err := connection.New(connection.Config{URL: url, Timeout: 10 * time.Second, Probe: probe, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{list: revoked.NewList(nil), redis: redis}
	n.s, err = NewPush(PushConfig{Redis: redis, Key: bytes.Repeat([]byte{key}, 32), List: n.list, Each: f.each, Log: slog.New(slog.DiscardHandler)})
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
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// listens waits until that many nodes have subscribed.
func (n *node) listens(t testing.TB, nodes int64) {
	t.Helper()
	within(t, "all nodes subscribe", func() bool {
		var subscribed int64
		err := n.redis.With(context.Background(), func(ctx context.Context, c valkey.Client) error {
			answer, err := c.Do(ctx, c.B().PubsubNumsub().Channel(n.s.channel).Build()).AsIntMap()
			subscribed = answer[n.s.channel]
			return err
		})
		return err == nil && subscribed == nodes
	})
}

// left returns the remaining life of a Redis key, or 0 without the key.
func (n *node) left(key string) (left time.Duration) {
	_ = n.redis.With(context.Background(), func(ctx context.Context, c valkey.Client) error {
		ms, err := c.Do(ctx, c.B().Pttl().Key(key).Build()).AsInt64()
		left = max(time.Duration(ms)*time.Millisecond, 0)
		return err
	})
	return left
}

// A revocation at one node reaches the other without a poll, and Redis has a key for it until the
// entry ends.
func TestPush(t *testing.T) {
	t.Parallel()
	r := services.NewRedis(t)
	f := new(database)
	a, b := newNode(t, r, f, 1), newNode(t, r, f, 1)
	a.listens(t, 2)
	var all []time.Duration
	for n := range 100 {
		e := f.add([]string{revoked.Token, revoked.Session, revoked.SigningKey}[n%3], fmt.Sprint("value ", n))
		began := time.Now()
		a.list.Announce(e)
		if !a.list.Revoked(e.Kind, e.Value) {
			t.Fatal("an announced entry is missing from the list of its own node")
		}
		within(t, "the entry reaches the other node", func() bool { return b.list.Revoked(e.Kind, e.Value) })
		all = append(all, time.Since(began))
	}
	slices.Sort(all)
	t.Logf("from one node to the other: median %s, worst %s of %d", all[50], all[99], len(all))
	for _, key := range []string{"revoked:value 0", "revoked:sid:value 1", "revoked:kid:value 2"} {
		within(t, key, func() bool { return a.left(key) > 59*time.Minute })
		if left := a.left(key); left > time.Hour {
			t.Errorf("key %s lives for %s, want at most the hour of its entry", key, left)
		}
	}
	var many []revoked.Entry
	for n := range 1234 { // as if all sessions of a user end
		many = append(many, f.add(revoked.Session, fmt.Sprint("many ", n)))
	}
	a.list.Announce(many...)
	for _, e := range many {
		within(t, "all entries reach the other node", func() bool { return b.list.Revoked(e.Kind, e.Value) })
	}
}

// After Redis lost its data, it has keys for all entries that have not ended: those of this node, of
// other nodes, and those made during the outage.
func TestKeysAreSetAgain(t *testing.T) {
	t.Parallel()
	r := services.NewRedis(t)
	f := new(database)
	f.add(revoked.Session, "before the start")
	f.entries = append(f.entries, revoked.Entry{Seq: 2, Kind: revoked.Token, Value: "ended", Until: time.Now().Add(-time.Minute)})
	n := newNode(t, r, f, 1)
	exist := func(when string, keys ...string) {
		t.Helper()
		for _, key := range keys {
			within(t, when+": "+key, func() bool { return n.left(key) > 0 })
		}
		if n.left("revoked:ended") != 0 {
			t.Error("an ended entry has a key")
		}
	}
	exist("at start", "revoked:sid:before the start")
	n.list.Announce(f.add(revoked.Token, "one"))
	exist("announced", "revoked:one")
	if err := n.redis.With(t.Context(), func(ctx context.Context, c valkey.Client) error {
		return c.Do(ctx, c.B().Flushall().Build()).Error()
	}); err != nil {
		t.Fatal(err)
	}
	exist("emptied", "revoked:sid:before the start", "revoked:one")
	r.Kill(t)
	within(t, "down", func() bool { return !n.redis.State().Up })
	n.list.Announce(f.add(revoked.Token, "during the outage"))
	f.mu.Lock()
	f.away = true // the first read after the outage fails
	f.mu.Unlock()
	r.Start(t)
	within(t, "up", func() bool { return n.redis.State().Up })
	f.mu.Lock()
	f.away = false
	f.mu.Unlock()
	exist("back", "revoked:sid:before the start", "revoked:one", "revoked:during the outage")

	// Entries that the follower reads, for example of a node that stopped before it published them.
	follower, err := revoked.NewFollower(revoked.FollowerConfig{List: n.list, Poll: f.follow, OnFresh: n.s.FromFeed, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := follower.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.add(revoked.Session, "of another node")
	follower.Poll(t.Context())
	exist("read by the follower", "revoked:sid:of another node")
	if !n.list.Revoked(revoked.Session, "of another node") {
		t.Error("an entry that the follower read is missing from the list")
	}
}

// do runs a command.
func (n *node) do(t testing.TB, words ...string) {
	t.Helper()
	err := n.redis.With(context.Background(), func(ctx context.Context, c valkey.Client) error {
		return c.Do(ctx, c.B().Arbitrary(words...).Build()).Error()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Redis restarts without the last revocations, but with every earlier write.
func TestKeysThatARestartLost(t *testing.T) {
	t.Parallel()
	r := services.NewRedis(t)
	f := new(database)
	n := newNodeAt(t, r.URL(), 3*time.Second, f, 1) // no probe writes between SAVE and the kill
	for round := range 3 {
		before, lost := fmt.Sprint("before ", round), fmt.Sprint("lost ", round)
		n.list.Announce(f.add(revoked.Token, before))
		within(t, before, func() bool { return n.left("revoked:"+before) > 0 })
		n.do(t, "SAVE")
		n.list.Announce(f.add(revoked.Token, lost))
		within(t, lost, func() bool { return n.left("revoked:"+lost) > 0 })
		r.Kill(t)
		r.Start(t)
		for _, e := range f.entries {
			within(t, "after the restart: "+e.Value, func() bool { return n.left("revoked:"+e.Value) > 0 })
		}
	}
}

// After a connection that only dropped, all keys are set again, because acknowledged ones may be lost.
func TestKeysAfterALostConnection(t *testing.T) {
	t.Parallel()
	r := services.NewRedis(t)
	between := faults.NewProxy(t, r.Addr())
	f := new(database)
	n := newNodeAt(t, "redis://"+between.Addr(), 100*time.Millisecond, f, 1)
	n.list.Announce(f.add(revoked.Token, "one"))
	within(t, "one", func() bool { return n.left("revoked:one") > 0 })
	within(t, "all keys were set", func() bool {
		n.s.mu.Lock()
		defer n.s.mu.Unlock()
		return !n.s.behind
	})
	direct := newNode(t, r, new(database), 2)
	within(t, "up", func() bool { return direct.redis.State().Up })
	emptied := n.redis.State().Emptied
	direct.do(t, "DEL", "revoked:one")
	between.Cut()
	within(t, "one again", func() bool { return direct.left("revoked:one") > 0 })
	if n.redis.State().Emptied != emptied {
		t.Error("a lost connection counts as lost data")
	}
}

// While 100,000 keys are set again, new revocations reach the other node.
func TestManyKeysAgain(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("writes 200,000 keys")
	}
	r := services.NewRedis(t)
	f := new(database)
	const many = 100_000
	for i := range many {
		f.add(revoked.Session, fmt.Sprint(i))
	}
	a, b := newNode(t, r, f, 1), newNode(t, r, new(database), 1)
	size := func() (n int64) {
		_ = a.redis.With(context.Background(), func(ctx context.Context, c valkey.Client) (err error) {
			n, err = c.Do(ctx, c.B().Dbsize().Build()).AsInt64()
			return err
		})
		return n
	}
	within(t, "all keys", func() bool { return size() >= many })
	a.listens(t, 2)
	a.do(t, "FLUSHALL")
	began, worst, during := time.Now(), time.Duration(0), 0
	for i := 0; size() < many; i++ {
		e := f.add(revoked.Token, fmt.Sprint("new ", i))
		announced := time.Now()
		a.list.Announce(e)
		within(t, "a new revocation reaches the other node", func() bool { return b.list.Revoked(e.Kind, e.Value) })
		worst, during = max(worst, time.Since(announced)), during+1
	}
	t.Logf("%d keys set again after %s; %d new revocations meanwhile, the slowest took %s", many, time.Since(began), during, worst)
}

// Beyond maxPending entries, all entries are read again from the database.
func TestTooManyPending(t *testing.T) {
	t.Parallel()
	r := services.NewRedis(t)
	f := new(database)
	n := newNode(t, r, f, 1)
	within(t, "up", func() bool { return n.redis.State().Up })
	var many []revoked.Entry
	for i := range maxPending + 1 {
		many = append(many, f.add(revoked.Token, fmt.Sprint(i)))
	}
	n.s.FromFeed(many)
	n.s.mu.Lock()
	if len(n.s.keys) > maxPending {
		t.Errorf("%d entries are pending, want at most the maximum", len(n.s.keys))
	}
	n.s.mu.Unlock()
	for _, key := range []string{"revoked:0", fmt.Sprint("revoked:", maxPending)} {
		within(t, key, func() bool { return n.left(key) > 0 })
	}
}

// A message without a valid MAC adds no entry to a list.
func TestForgedPush(t *testing.T) {
	t.Parallel()
	r := services.NewRedis(t)
	f := new(database)
	n := newNode(t, r, f, 1)
	n.listens(t, 1)
	other, err := NewPush(PushConfig{Redis: n.redis, Key: bytes.Repeat([]byte{2}, 32), List: revoked.NewList(nil), Each: f.each})
	if err != nil {
		t.Fatal(err)
	}
	e := revoked.Entry{Kind: revoked.Session, Value: "of a user", At: time.Now(), Until: time.Now().Add(time.Hour)}
	foreign, good := other.format([]revoked.Entry{e}), n.s.format([]revoked.Entry{e})
	_, body, _ := strings.Cut(foreign, ".")
	for _, text := range []string{"", ".", foreign, body, "." + body, strings.Replace(good, "of a user", "another!!", 1), good + " ", " " + good, strings.Repeat("x", maxMessage+1)} {
		n.s.receive(text)
	}
	if n.list.Len() != 0 {
		t.Errorf("%d entries after forged messages, want none", n.list.Len())
	}
	n.s.receive(good)
	if !n.list.Revoked(revoked.Session, "of a user") {
		t.Error("a valid message adds no entry")
	}
}

func TestPushConfig(t *testing.T) {
	t.Parallel()
	if s, err := NewPush(PushConfig{Key: make([]byte, 31)}); s != nil || err == nil {
		t.Errorf("NewPush with a short key: %v, %v, want an error", s, err)
	}
}

// Run leaves no goroutine behind, with Redis and without.
func TestPushEnds(t *testing.T) {
	r := services.NewRedis(t)
	ended := goroutines.Remain(t)
	f := new(database)
	for _, away := range []bool{false, true} {
		n := newNode(t, r, f, 1)
		within(t, "up", func() bool { return n.redis.State().Up })
		if away {
			r.Kill(t)
		}
		n.list.Announce(f.add(revoked.Token, fmt.Sprint(away)))
		n.stop()
	}
	ended()
}

// FuzzMessage checks that parse accepts exactly the messages that format writes.
func FuzzMessage(f *testing.F) {
	s := &Push{c: PushConfig{Key: bytes.Repeat([]byte{1}, 32)}}
	valid := s.format([]revoked.Entry{{Kind: revoked.Token, Value: "a", At: time.Unix(1, 0), Until: time.Unix(2, 0)}})
	f.Add(valid, "a", "jti", int64(5))
	f.Add("AAAA.[]", "b", "sid", int64(1<<40))
	f.Fuzz(func(t *testing.T, text, value, kind string, until int64) {
		if entries, ok := s.parse(text); ok {
			if again := s.format(entries); again != text {
				t.Errorf("parse accepts %q, format writes %q", text, again)
			}
		}
		want := []revoked.Entry{{Kind: strings.ToValidUTF8(kind, "?"), Value: strings.ToValidUTF8(value, "?"), At: time.Unix(1, 0), Until: time.Unix(until%(1<<40), 0)}}
		written := s.format(want)
		if len(written) > maxMessage {
			return
		}
		if got, ok := s.parse(written); !ok || !cmp.Equal(got, want) {
			t.Errorf("wrote %v, read %v, %v", want, got, ok)
		}
		if len(text) > 0 {
			if _, ok := s.parse(written + text); ok {
				t.Errorf("parse accepts %q followed by %q", written, text)
			}
		}
	})
}

// If Redis refuses the keys of revocations, Err says so, also while the probes of the connection succeed.
func TestRefusedKeys(t *testing.T) {
	t.Parallel()
	r := services.NewRedis(t)
	admin := newNode(t, r, new(database), 2)
	within(t, "up", func() bool { return admin.redis.State().Up })
	admin.do(t, "ACL", "SETUSER", "node", "on", ">secret", "+@all", "~durward:*", "&*")
	f := new(database)
	n := newNodeAt(t, strings.Replace(r.URL(), "redis://", "redis://node:secret@", 1), 100*time.Millisecond, f, 1)
	within(t, "up", func() bool { return n.redis.State().Up })
	if err := n.s.Err(); err != nil {
		t.Errorf("before a revocation: got %v, want no error", err)
	}
	n.list.Announce(f.add(revoked.Token, "one"))
	within(t, "refused", func() bool { return n.s.Err() != nil })
	within(t, "up again", func() bool { return n.redis.State().Up })
	if err := n.s.Err(); err == nil || !strings.Contains(err.Error(), "NOPERM") {
		t.Errorf("got %v, want NOPERM", err)
	}
	admin.do(t, "ACL", "SETUSER", "node", "~*")
	within(t, "accepted", func() bool { return n.s.Err() == nil && n.left("revoked:one") > 0 })
}
