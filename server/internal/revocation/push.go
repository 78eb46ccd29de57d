// Package revocation spreads revocations between the nodes of one server.
package revocation

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/durward-auth/durward/internal/revoked"
	connection "github.com/durward-auth/durward/internal/valkey"
)

// SharedConfig is what a [Shared] is made of. Redis, Key, List and All are required.
type SharedConfig struct {
	Redis *connection.Client
	Key   []byte        // of all nodes, at least 32 octets
	List  *revoked.List // gets what other nodes say; what this node announces is told to them

	// All reads what is in force.
	All func(context.Context) ([]revoked.Entry, error)

	Log *slog.Logger     // nil is slog.Default
	Now func() time.Time // nil is time.Now
}

// Shared spreads revocations by Redis: a push to the other nodes, and for other
// software, in any language, a key for each entry, with the entry's remaining life:
//
//	revoked:JTI  revoked:sid:SID  revoked:kid:KID
//
// The truth stays where a [Follower] reads it. What Redis cannot be told is found
// there: by the nodes with their next poll, and for the keys all is read anew when
// Redis is back. A push carries a MAC under the key of all nodes, so that whoever can
// write to Redis fills no list with entries that are none.
//
// It is safe for concurrent use, and nothing but Run waits for Redis.
type Shared struct {
	c       SharedConfig
	channel string
	wake    chan struct{}

	mu     sync.Mutex
	keys   []revoked.Entry // whose keys are to be set
	news   []revoked.Entry // of those, what the other nodes are to be told
	behind bool            // something could not be set

	forged sync.Once
}

const (
	mostPending = 50_000 // entries that wait to be set; past that all are read anew
	batch       = 500    // keys set at once
	ofMessage   = 100    // entries of one message
	mostMessage = 256 << 10
)

// NewShared returns a Shared, or an error that names every mistake in c. List
// announces to it from now on.
func NewShared(c SharedConfig) (*Shared, error) {
	if c.Redis == nil || c.List == nil || c.All == nil || len(c.Key) < sha256.Size {
		return nil, errors.New("revocation: a connection, a key of 32 octets, a list and a way to read all are required")
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	s := &Shared{c: c, wake: make(chan struct{}, 1), behind: true}
	s.channel = "durward:revocations:" + hex.EncodeToString(s.mac("channel")[:8])
	c.List.OnAnnounce(s.told)
	return s, nil
}

func (s *Shared) mac(text string) []byte {
	m := hmac.New(sha256.New, s.c.Key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// told takes what this node has revoked.
func (s *Shared) told(entries []revoked.Entry) { s.take(entries, true) }

// FromFeed takes entries that a follower read and its list did not hold yet.
func (s *Shared) FromFeed(entries []revoked.Entry) { s.take(entries, false) }

func (s *Shared) take(entries []revoked.Entry, news bool) {
	if len(entries) == 0 {
		return
	}
	s.mu.Lock()
	if len(s.keys)+len(entries) > mostPending {
		s.keys, s.behind = nil, true
	} else {
		s.keys = append(s.keys, entries...)
	}
	if news && len(s.news)+len(entries) <= mostPending { // else the next poll has them
		s.news = append(s.news, entries...)
	}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run spreads and hears until ctx ends.
func (s *Shared) Run(ctx context.Context) {
	var hearing sync.WaitGroup
	hearing.Go(func() { s.c.Redis.Subscribe(ctx, s.channel, s.hear) })
	defer hearing.Wait()
	var filled uint64 // what the connection said when all was set
	for ctx.Err() == nil {
		changed := s.c.Redis.Changed()
		var again <-chan time.Time
		if up, _ := s.c.Redis.Up(); !up {
			s.drop()
		} else if err := s.spread(ctx, &filled); err != nil && ctx.Err() == nil {
			if !errors.Is(err, connection.ErrDown) { // which was said
				s.c.Log.Warn("what is revoked cannot be set in Redis, it is tried again", "error", err)
			}
			again = time.After(time.Second)
		}
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-changed:
		case <-again:
		}
	}
}

// drop forgets what waits, while nobody is there to be told. All is set when Redis
// is back.
func (s *Shared) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.keys) > 0 {
		s.behind = true
	}
	s.keys, s.news = nil, nil
}

// spread tells the nodes what is new, sets what waits, and all where Redis was found
// empty or something could not be set.
func (s *Shared) spread(ctx context.Context, filled *uint64) error {
	emptied := s.c.Redis.Emptied()
	s.mu.Lock()
	keys, news, all := s.keys, s.news, s.behind || emptied != *filled
	s.keys, s.news, s.behind = nil, nil, false
	s.mu.Unlock()
	// The nodes hear of what has its key: of what has none yet they read in the feed, if
	// this node ends here, and set it then.
	err := s.set(ctx, keys)
	if err == nil {
		err = s.publish(ctx, news)
	}
	if err == nil && all {
		err = s.setAll(ctx)
	}
	if err != nil {
		s.mu.Lock()
		s.behind = true
		s.mu.Unlock()
		return err
	}
	*filled = emptied
	return nil
}

// name is the key of an entry.
func name(e revoked.Entry) string {
	if e.Kind == revoked.Token {
		return "revoked:" + e.Value
	}
	return "revoked:" + string(e.Kind) + ":" + e.Value
}

// set sets the keys of entries.
func (s *Shared) set(ctx context.Context, entries []revoked.Entry) error {
	for some := range slices.Chunk(entries, batch) {
		err := s.c.Redis.With(ctx, func(ctx context.Context, c valkey.Client) error {
			var commands valkey.Commands
			for _, e := range some {
				if left := e.Until.Sub(s.c.Now()).Milliseconds(); left > 0 {
					commands = append(commands, c.B().Set().Key(name(e)).Value("1").PxMilliseconds(left).Build())
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

// setAll sets the keys of all that is in force.
func (s *Shared) setAll(ctx context.Context) error {
	entries, err := s.c.All(ctx)
	if err != nil {
		return fmt.Errorf("revocation: %w", err)
	}
	return s.set(ctx, entries)
}

// message is an entry as it is sent.
type message struct {
	Kind  revoked.Kind `json:"kind"`
	Value string       `json:"value"`
	At    int64        `json:"at"`    // seconds
	Until int64        `json:"until"` // seconds
}

// publish tells the other nodes.
func (s *Shared) publish(ctx context.Context, entries []revoked.Entry) error {
	for some := range slices.Chunk(entries, ofMessage) {
		text, err := s.format(some)
		if err != nil {
			return err
		}
		err = s.c.Redis.With(ctx, func(ctx context.Context, c valkey.Client) error {
			return c.Do(ctx, c.B().Publish().Channel(s.channel).Message(text).Build()).Error()
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
func (s *Shared) format(entries []revoked.Entry) (string, error) {
	all := make([]message, len(entries))
	for i, e := range entries {
		until := e.Until.Unix()
		if e.Until.Nanosecond() > 0 { // none ends early
			until++
		}
		all[i] = message{e.Kind, e.Value, e.At.Unix(), until}
	}
	body, err := json.Marshal(all)
	if err != nil {
		return "", fmt.Errorf("revocation: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(s.mac(string(body))) + "." + string(body), nil
}

// parse reads a message. What no node wrote is nothing.
func (s *Shared) parse(text string) ([]revoked.Entry, bool) {
	if len(text) > mostMessage {
		return nil, false
	}
	sum, body, _ := strings.Cut(text, ".")
	mac, err := base64.RawURLEncoding.Strict().DecodeString(sum)
	if err != nil || !hmac.Equal(mac, s.mac(body)) {
		return nil, false
	}
	var all []message
	if err := json.Unmarshal([]byte(body), &all); err != nil {
		return nil, false
	}
	entries := make([]revoked.Entry, len(all))
	for i, m := range all {
		entries[i] = revoked.Entry{Kind: m.Kind, Value: m.Value, At: time.Unix(m.At, 0), Until: time.Unix(m.Until, 0)}
	}
	return entries, true
}

// hear takes a message of another node, or of this one.
func (s *Shared) hear(text string) {
	entries, ok := s.parse(text)
	if !ok {
		s.forged.Do(func() {
			s.c.Log.Warn("messages about revocations that no node of ours wrote are passed over: who else can write to Redis?")
		})
		return
	}
	s.c.List.Add(entries...)
}
