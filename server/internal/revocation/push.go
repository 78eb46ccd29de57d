// Package revocation distributes revocations: the Feed to clients of the API, the Push to other nodes
// over Redis. Package revoked holds the list that both fill.
package revocation

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/durward-auth/durward/internal/revoked"
	connection "github.com/durward-auth/durward/internal/valkey"
)

// PushConfig configures a [Push]. Redis, Key, List and Each are required.
type PushConfig struct {
	Redis *connection.Client
	Key   []byte        // shared by all nodes, at least 32 bytes
	List  *revoked.List // gets the entries of other nodes; its own announcements go to them

	// Each calls its argument with all entries that have not ended, page by page.
	Each func(context.Context, func([]revoked.Entry) error) error

	// OnReceived gets the entries of other nodes that the list did not hold. It must not block. It may
	// be nil.
	OnReceived func([]revoked.Entry)

	Log *slog.Logger // nil is slog.Default

	// Now is the time by which keys end, the same as that of List. Nil is time.Now.
	Now func() time.Time
}

// Push sends revocations over Redis. Other nodes receive a message at once. Other software, in any
// language, finds a key for each entry, which expires when the entry ends:
//
//	revoked:JTI  revoked:sid:SID  revoked:kid:KID
//
// The database remains authoritative. While Redis is unreachable, nodes receive entries with their
// next poll of the database. After each new connection all keys are set again, because a server that
// was killed loses the writes of its last second. A message carries a MAC with the key of the nodes,
// so an attacker who can write to Redis cannot add entries to a list.
//
// It is safe for concurrent use. Only Run waits for Redis.
type Push struct {
	c       PushConfig
	channel string
	wake    chan struct{}

	mu     sync.Mutex
	keys   []revoked.Entry // entries without a key yet
	news   []revoked.Entry // entries of keys that the other nodes have not received
	behind bool            // keys are missing: set all
	err    error           // of the last write

	forged sync.Once
}

const (
	maxPending  = 50_000    // entries without a key; beyond this, all entries are read again
	batchSize   = 500       // keys set at the same time
	messageSize = 100       // entries in a message
	maxMessage  = 256 << 10 // bytes
)

// NewPush returns a Push, or an error. It registers with c.List for announcements.
func NewPush(c PushConfig) (*Push, error) {
	if c.Redis == nil || c.List == nil || c.Each == nil || len(c.Key) < sha256.Size {
		return nil, errors.New("revocation: Redis, Key (32 bytes or more), List and Each are required")
	}
	c.Log = cmp.Or(c.Log, slog.Default())
	if c.Now == nil {
		c.Now = time.Now
	}
	p := &Push{c: c, wake: make(chan struct{}, 1), behind: true}
	p.channel = "durward:revocations:" + hex.EncodeToString(p.mac("channel")[:8])
	c.List.OnAnnounce(func(entries []revoked.Entry) { p.take(entries, true) })
	return p, nil
}

func (p *Push) mac(text string) []byte {
	m := hmac.New(sha256.New, p.c.Key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// FromFeed receives entries that a follower has read and that its list did not hold yet.
func (p *Push) FromFeed(entries []revoked.Entry) { p.take(entries, false) }

func (p *Push) take(entries []revoked.Entry, news bool) {
	if len(entries) == 0 {
		return
	}
	p.mu.Lock()
	if len(p.keys)+len(entries) > maxPending {
		p.keys, p.behind = nil, true
	} else {
		p.keys = append(p.keys, entries...)
	}
	if news && len(p.news)+len(entries) <= maxPending { // otherwise the next poll brings them
		p.news = append(p.news, entries...)
	}
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Err returns the error of the last write to Redis, nil if it succeeded.
func (p *Push) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Run sends and receives until ctx ends.
func (p *Push) Run(ctx context.Context) {
	var background sync.WaitGroup
	defer background.Wait()
	background.Go(func() { p.c.Redis.Subscribe(ctx, p.channel, p.receive) })
	var (
		connected uint64               // value of Redis.Connected when the last fill began
		read      chan []revoked.Entry // pages of the fill; nil while there is none
		rest      []revoked.Entry      // of its last page, those to set
		stop      = func() {}          // ends the fill
	)
	now := make(chan time.Time)
	close(now)
	for ctx.Err() == nil {
		redis := p.c.Redis.State()
		var again <-chan time.Time
		if !redis.Up {
			p.drop(read != nil || len(rest) > 0)
			stop()
			read, rest = nil, nil
		} else {
			if p.takeBehind() || redis.Connected != connected {
				stop()
				filling, cancel := context.WithCancel(ctx)
				pages := make(chan []revoked.Entry)
				connected, rest, read, stop = redis.Connected, nil, pages, cancel
				background.Go(func() { p.readAll(filling, pages) })
			}
			some := rest[:min(batchSize, len(rest))]
			rest = rest[len(some):]
			if !p.send(ctx, some) {
				again = time.After(time.Second)
			} else if len(rest) > 0 {
				again = now
			}
		}
		pages := read
		if len(rest) > 0 {
			pages = nil
		}
		select {
		case <-ctx.Done():
		case <-p.wake:
		case <-redis.Changed:
		case <-again:
		case page, ok := <-pages:
			if rest = page; !ok {
				read = nil
			}
		}
	}
	stop()
}

// drop discards the pending entries while Redis is unreachable. If there are some, or missing is true,
// all keys are set when it is back.
func (p *Push) drop(missing bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.behind = p.behind || missing || len(p.keys) > 0
	p.keys, p.news = nil, nil
}

// takeBehind reports whether keys are missing, once.
func (p *Push) takeBehind() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	behind := p.behind
	p.behind = false
	return behind
}

// readAll sends all entries that have not ended to pages and closes it. If that fails, it has Run begin
// again after a second.
func (p *Push) readAll(ctx context.Context, pages chan<- []revoked.Entry) {
	defer close(pages)
	err := p.c.Each(ctx, func(page []revoked.Entry) error {
		select {
		case pages <- page:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if err == nil || ctx.Err() != nil {
		return
	}
	p.c.Log.Warn("cannot read revocations for Redis; retrying", "error", err)
	select {
	case <-ctx.Done():
	case <-time.After(time.Second):
		p.mu.Lock()
		p.behind = true
		p.mu.Unlock()
	}
}

// send sets the pending keys, publishes the news and sets the keys of some entries more. It reports
// whether it succeeded; otherwise all keys are set again.
func (p *Push) send(ctx context.Context, more []revoked.Entry) bool {
	p.mu.Lock()
	keys, news := p.keys, p.news
	p.keys, p.news = nil, nil
	p.mu.Unlock()
	// Keys come before messages. If this node stops between the two, the others read the entries in
	// the database and set the keys themselves.
	err := p.set(ctx, keys)
	if err == nil {
		err = p.publish(ctx, news)
	}
	if err == nil {
		err = p.set(ctx, more)
	}
	p.mu.Lock()
	if err != nil || len(keys)+len(more) > 0 {
		p.err, p.behind = err, p.behind || err != nil
	}
	p.mu.Unlock()
	return err == nil // the connection logs the error
}

// keyOf returns the Redis key of an entry.
func keyOf(e revoked.Entry) string {
	if e.Kind == revoked.Token {
		return "revoked:" + e.Value
	}
	return "revoked:" + e.Kind + ":" + e.Value
}

// set writes the keys of entries.
func (p *Push) set(ctx context.Context, entries []revoked.Entry) error {
	for some := range slices.Chunk(entries, batchSize) {
		err := p.c.Redis.With(ctx, func(ctx context.Context, c valkey.Client) error {
			var commands valkey.Commands
			for _, e := range some {
				if left := e.Until.Sub(p.c.Now()).Milliseconds(); left > 0 {
					commands = append(commands, c.B().Set().Key(keyOf(e)).Value("1").PxMilliseconds(left).Build())
				}
			}
			for _, answer := range c.DoMulti(ctx, commands...) {
				if err := answer.Error(); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// message is the wire form of an entry.
type message struct {
	Kind  string `json:"kind"`
	Value string `json:"value"`
	At    int64  `json:"at"`    // seconds
	AtUs  int64  `json:"at_us"` // microseconds besides; 0 from an older node
	Until int64  `json:"until"` // seconds
}

// publish sends entries to the other nodes.
func (p *Push) publish(ctx context.Context, entries []revoked.Entry) error {
	for some := range slices.Chunk(entries, messageSize) {
		text := p.format(some)
		err := p.c.Redis.With(ctx, func(ctx context.Context, c valkey.Client) error {
			return c.Do(ctx, c.B().Publish().Channel(p.channel).Message(text).Build()).Error()
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// format writes a message:
//
//	base64url( HMAC-SHA-256 ) "." JSON
func (p *Push) format(entries []revoked.Entry) string {
	all := make([]message, len(entries))
	for i, e := range entries {
		until := e.Until.Unix()
		if e.Until.Nanosecond() > 0 { // rounded up, so that no entry ends early
			until++
		}
		all[i] = message{
			Kind:  e.Kind,
			Value: e.Value,
			At:    e.At.Unix(),
			AtUs:  int64(e.At.Nanosecond() / 1000),
			Until: until,
		}
	}
	body, _ := json.Marshal(all) // strings and numbers cannot fail
	return base64.RawURLEncoding.EncodeToString(p.mac(string(body))) + "." + string(body)
}

// parse reads a message. It reports false for a message that no node has written.
func (p *Push) parse(text string) ([]revoked.Entry, bool) {
	if len(text) > maxMessage {
		return nil, false
	}
	sum, body, _ := strings.Cut(text, ".")
	mac, err := base64.RawURLEncoding.Strict().DecodeString(sum)
	if err != nil || !hmac.Equal(mac, p.mac(body)) {
		return nil, false
	}
	var all []message
	if err := json.Unmarshal([]byte(body), &all); err != nil {
		return nil, false
	}
	entries := make([]revoked.Entry, len(all))
	for i, m := range all {
		entries[i] = revoked.Entry{
			Kind:  m.Kind,
			Value: m.Value,
			At:    time.Unix(m.At, m.AtUs*1000),
			Until: time.Unix(m.Until, 0),
		}
	}
	return entries, true
}

// receive adds the entries of a message, from another node or from this one, to the list.
func (p *Push) receive(text string) {
	entries, ok := p.parse(text)
	if !ok {
		p.forged.Do(func() {
			p.c.Log.Warn("ignored a revocation message with a wrong MAC; check which programs can write to this Redis")
		})
		return
	}
	if fresh := p.c.List.AddFresh(entries); p.c.OnReceived != nil {
		p.c.OnReceived(fresh)
	}
}
