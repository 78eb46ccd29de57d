// Package valkey connects a node to the Redis or Valkey server that all nodes of an installation
// share.
//
// The server may be down, also at start, and its data may be lost; the callers work without it. New
// therefore returns a [Client] at once, which connects in the background. While the server does not
// answer, commands fail at once with [ErrDown]. The first command that detects an outage waits for
// Config.Timeout. A probe detects the end of the outage.
//
// The server is a single one or the primary of a replicated one, not a cluster.
package valkey

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valkey-io/valkey-go"
)

// ErrDown means that the server does not answer.
var ErrDown = errors.New("valkey: the server does not answer")

// errNotYet is the error before the end of the first probe.
var errNotYet = errors.New("not connected yet")

// Config configures a Client. URL is required.
type Config struct {
	// URL is redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]. The scheme valkey means the same;
	// rediss and valkeys use TLS with the system's root certificates.
	URL string

	// Timeout is the time limit of a command; 0 means 150 ms. A server that exceeds it counts as
	// down until a probe succeeds.
	Timeout time.Duration

	// Probe is the time between two probes; 0 means a second. While the server is down it is a
	// quarter of that.
	Probe time.Duration

	Log *slog.Logger // logs changes of state; nil means slog.Default
}

// Client is a connection to a server that may be down. It is safe for concurrent use.
type Client struct {
	c       Config
	options valkey.ClientOption
	marker  string // key of a counter, which detects lost data

	// Only run uses these: the number of writes to the marker, the last one that succeeded, and the
	// server process and the number of connections at that time.
	writes, written int64
	process         string
	known           int64

	dials atomic.Int64 // connections opened so far

	stop context.CancelFunc
	done chan struct{}
	busy chan struct{} // semaphore of maxCalls

	mu      sync.Mutex
	now     State // without Changed
	changed chan struct{}
	err     error // the reason, while the server is down
	deaf    error // the server refuses to subscribe
}

// maxCalls is the number of calls at the same time. The queue of valkey-go has 1024 places; when it
// is full, a call waits there for as long as the server hangs.
const maxCalls = 512

const defaultTimeout = 150 * time.Millisecond

// Check validates the URL of a server. The error contains no part of it, because a password may be
// part of it.
func Check(text string) error {
	_, err := parse(text)
	return err
}

// parse parses the URL of a server.
func parse(text string) (o valkey.ClientOption, err error) {
	u, err := url.Parse(text)
	if err != nil {
		return o, errors.New("is not a URL; want redis://HOST:PORT")
	}
	host, port := u.Hostname(), cmp.Or(u.Port(), "6379")
	switch u.Scheme {
	case "rediss", "valkeys":
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	case "redis", "valkey":
	default:
		return o, errors.New("has an unknown scheme; want redis://HOST:PORT, or rediss:// for TLS")
	}
	number, portErr := strconv.ParseUint(port, 10, 16)
	switch {
	case host == "" || u.Opaque != "":
		return o, errors.New("has no host; want redis://HOST:PORT")
	case portErr != nil || number == 0:
		return o, errors.New("has an invalid port")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return o, errors.New("has a query or a fragment; want redis://[USER:PASSWORD@]HOST:PORT[/DATABASE]")
	}
	if path := strings.TrimPrefix(u.Path, "/"); path != "" {
		database, err := strconv.ParseUint(path, 10, 15)
		if err != nil {
			return o, errors.New("has an invalid number of a database")
		}
		o.SelectDB = int(database)
	}
	o.InitAddress = []string{net.JoinHostPort(host, port)}
	o.Username = u.User.Username()
	o.Password, _ = u.User.Password()
	if u.User != nil && o.Password == "" {
		return o, errors.New("has a user but no password; want redis://USER:PASSWORD@HOST:PORT")
	}
	return o, nil
}

// New returns a Client and starts to connect. It does not wait for the server. The error explains
// the mistake in c. The caller must call Close.
func New(c Config) (*Client, error) { return start(c, nil) }

// start is New. Tests use change to modify the connection options.
func start(c Config, change func(*valkey.ClientOption)) (*Client, error) {
	options, err := parse(c.URL)
	if err == nil && (c.Timeout < 0 || c.Probe < 0) {
		err = errors.New("of a Config with a negative Timeout or Probe")
	}
	if err != nil {
		return nil, fmt.Errorf("valkey: the URL of the server %w", err)
	}
	c.Timeout = cmp.Or(c.Timeout, defaultTimeout)
	c.Probe = cmp.Or(c.Probe, time.Second)
	c.Log = cmp.Or(c.Log, slog.Default())
	options.ClientName = "durward"
	options.ForceSingleClient = true
	options.DisableCache = true     // each key is read once
	options.DisableRetry = true     // the caller decides what to do without an answer
	options.AlwaysPipelining = true // detects a closed connection at once
	options.PipelineMultiplex = -1  // one connection
	options.ReadBufferEachConn, options.WriteBufferEachConn = 64<<10, 64<<10
	// A connection without any data is closed and replaced.
	options.Dialer.Timeout = max(time.Second, c.Timeout)
	options.Dialer.KeepAlive = time.Second
	options.ConnWriteTimeout = max(time.Second, c.Timeout)
	ctx, stop := context.WithCancel(context.Background())
	client := &Client{
		c:       c,
		marker:  "durward:marker:" + rand.Text(),
		stop:    stop,
		done:    make(chan struct{}),
		busy:    make(chan struct{}, maxCalls),
		now:     State{Since: time.Now()},
		changed: make(chan struct{}),
		err:     errNotYet,
	}
	options.DialCtxFn = client.dial
	if change != nil {
		change(&options)
	}
	client.options = options
	go client.run(ctx)
	return client, nil
}

// Close closes the connection and waits for the background work to end.
func (c *Client) Close() {
	c.stop()
	<-c.done
}

// dial opens a connection, and counts it.
func (c *Client) dial(ctx context.Context, address string, d *net.Dialer, t *tls.Config) (conn net.Conn, err error) {
	if t == nil {
		conn, err = d.DialContext(ctx, "tcp", address)
	} else {
		conn, err = (&tls.Dialer{NetDialer: d, Config: t}).DialContext(ctx, "tcp", address)
	}
	if err == nil {
		c.dials.Add(1)
	}
	return conn, err
}

// State is the state of a connection at one time.
type State struct {
	Up    bool      // the server answers
	Since time.Time // the last change of Up

	// Emptied is how often the server may have lost data: the last write of a probe is missing, or
	// another process answers. A new process may lack the last second. It is 1 after the first
	// connection.
	Emptied uint64

	// Connected increases with Emptied and with each new connection, since an answered write may be
	// lost with the old one. It is 1 after the first connection.
	Connected uint64

	// Changed is closed at the next change of Up, Emptied or Connected.
	Changed <-chan struct{}

	client valkey.Client // nil until the first connection
}

// State returns the present state.
func (c *Client) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.now
	s.Changed = c.changed
	return s
}

// Err returns nil while the server answers and sends messages to Subscribe. It is for health checks and
// logs, not for API clients.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now.Up {
		return c.deaf
	}
	return fmt.Errorf("%w: %w", ErrDown, c.err)
}

// Script is a Lua script. The server runs it atomically.
type Script struct{ lua *valkey.Lua }

// NewScript returns a Script with this source.
func NewScript(text string) *Script { return &Script{valkey.NewLuaScript(text)} }

// Run runs a script. After an error the script may or may not have run.
func (c *Client) Run(ctx context.Context, s *Script, keys []string, args ...string) (answer []valkey.ValkeyMessage, err error) {
	err = c.With(ctx, func(ctx context.Context, client valkey.Client) error {
		answer, err = s.lua.Exec(ctx, client, keys, args).ToArray()
		return err
	})
	if err != nil {
		return nil, err
	}
	return answer, nil
}

// With calls do with the connection and a context that ends after Config.Timeout, if the server is
// up. If do fails before ctx ends, the server counts as down: further calls return ErrDown at once
// until a probe succeeds. An error that equals ErrDown, and does not only wrap it, means that do
// was not called.
func (c *Client) With(ctx context.Context, do func(context.Context, valkey.Client) error) error {
	if !c.State().Up {
		return ErrDown
	}
	bounded, cancel := context.WithTimeout(ctx, c.c.Timeout)
	defer cancel()
	select {
	case c.busy <- struct{}{}:
		defer func() { <-c.busy }()
	case <-bounded.Done():
		return c.failed(ctx, bounded.Err())
	}
	// Another call may have detected an outage meanwhile.
	s := c.State()
	if !s.Up {
		return ErrDown
	}
	if err := do(bounded, s.client); err != nil {
		return c.failed(ctx, err)
	}
	return nil
}

// failed marks the server as down, unless ctx has ended.
func (c *Client) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	c.set(false, false, plain(err))
	return fmt.Errorf("%w: %w", ErrDown, plain(err))
}

// Subscribe calls each with the messages of a channel until ctx ends. Messages sent while the
// server is down are lost.
func (c *Client) Subscribe(ctx context.Context, channel string, each func(message string)) {
	for ctx.Err() == nil {
		s := c.State()
		if client := s.client; s.Up {
			confirmed := valkey.WithOnSubscriptionHook(ctx, func(valkey.PubSubSubscription) { c.setDeaf(nil) })
			// Receive returns when the connection or ctx ends, or at once if the server refuses.
			err := client.Receive(confirmed, client.B().Subscribe().Channel(channel).Build(), func(m valkey.PubSubMessage) { each(m.Message) })
			if refusal, ok := valkey.IsValkeyErr(err); ok && ctx.Err() == nil {
				c.setDeaf(fmt.Errorf("valkey: cannot subscribe to messages: %w", refusal))
			}
		}
		select {
		case <-ctx.Done():
		case <-s.Changed:
		case <-time.After(c.c.Probe / 4): // the connection closed and no call has detected it
		}
	}
}

// setDeaf records whether the server refuses to subscribe, and logs the first refusal.
func (c *Client) setDeaf(err error) {
	c.mu.Lock()
	before := c.deaf
	c.deaf = err
	c.mu.Unlock()
	if err != nil && before == nil {
		c.c.Log.Warn("Redis sends no messages; check the permissions of the user", "server", c.options.InitAddress[0], "error", err)
	}
}

// plain replaces the error of a timeout by a readable one. Errors of the server never contain a
// password.
func plain(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("timeout")
	}
	return err
}

// run probes the server until ctx ends.
func (c *Client) run(ctx context.Context) {
	defer close(c.done)
	for ctx.Err() == nil {
		emptied, connected, err := c.probe(ctx)
		if ctx.Err() != nil {
			break
		}
		c.mu.Lock()
		if emptied {
			c.now.Emptied++
		}
		if connected {
			c.now.Connected++
		}
		c.mu.Unlock()
		c.set(err == nil, connected, err)
		wait := c.c.Probe
		if err != nil {
			wait /= 4
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	c.mu.Lock()
	client := c.now.client
	c.now.Up, c.err = false, errors.New("closed")
	c.mu.Unlock()
	if client != nil {
		client.Close()
	}
}

// mark writes the marker and returns its previous value and the id of the server process. The id is
// empty if the user may not read it. A script needs the same permissions as the other calls.
var mark = NewScript(`local info = redis.pcall('INFO', 'server')
return {redis.call('SET', KEYS[1], ARGV[1], 'EX', '3600', 'GET') or '0', type(info) == 'string' and info:match('run_id:(%w+)') or ''}`)

// probe sends a probe; without a connection it connects first. It reports events for Emptied and
// Connected.
func (c *Client) probe(ctx context.Context) (emptied, connected bool, err error) {
	client := c.State().client
	if client == nil {
		if client, err = valkey.NewClient(c.options); err != nil {
			if client != nil {
				client.Close()
			}
			return false, false, plain(err)
		}
		c.mu.Lock()
		c.now.client = client
		c.mu.Unlock()
	}
	bounded, cancel := context.WithTimeout(ctx, c.c.Timeout)
	defer cancel()
	c.writes++
	answer, err := mark.lua.Exec(bounded, client, []string{c.marker}, []string{strconv.FormatInt(c.writes, 10)}).AsStrSlice()
	if err == nil && len(answer) != 2 {
		err = fmt.Errorf("script returned %d values, want 2", len(answer))
	}
	var last int64
	if err == nil {
		last, err = strconv.ParseInt(answer[0], 10, 64)
	}
	if err != nil {
		return false, false, plain(err)
	}
	dials := c.dials.Load()
	emptied = last < max(c.written, 1) || answer[1] != c.process
	connected = emptied || dials != c.known
	c.written, c.process, c.known = c.writes, answer[1], dials
	return emptied, connected, nil
}

// set records the result of a probe or call, and logs a change. event is true after a change of
// Connected.
func (c *Client) set(up, event bool, err error) {
	c.mu.Lock()
	was, before := c.now.Up, c.err
	c.err = err
	if up != was {
		c.now.Up, c.now.Since = up, time.Now()
	}
	if up != was || event {
		close(c.changed)
		c.changed = make(chan struct{})
	}
	c.mu.Unlock()
	address := c.options.InitAddress[0]
	switch {
	case up && !was:
		c.c.Log.Info("Redis answers", "server", address)
	case !up && (was || errors.Is(before, errNotYet)):
		c.c.Log.Warn("Redis does not answer; each node counts alone until it does", "server", address, "error", err)
	}
}
