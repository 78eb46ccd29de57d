// Package valkey is the connection to a Redis or Valkey server that the nodes of
// one installation share.
//
// The server may be away, at start and at any time later: what stands in it may be
// lost, and whoever uses it goes on without it. So a [Client] is there at once,
// connects behind the requests, and knows whether the server answers. Where it
// does not, commands fail at once with [ErrDown]; the first that finds out waits
// for Config.Timeout and no longer. A probe goes on asking and brings the Client
// back.
//
// One server, or the address of a primary, is spoken to; a cluster is not.
package valkey

import (
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
	"time"

	"github.com/valkey-io/valkey-go"
)

// ErrDown says that the server does not answer just now.
var ErrDown = errors.New("valkey: the server does not answer")

// errNotYet is the state before the first probe has ended.
var errNotYet = errors.New("not connected yet")

// Config says which server and how. URL is required.
type Config struct {
	// URL is redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE], with valkey for redis if
	// you like; rediss and valkeys are over TLS, with the roots of the system.
	URL string

	// Timeout is how long a command may take; 0 is 150 ms. A server that takes longer
	// is as good as gone, until a probe says otherwise.
	Timeout time.Duration

	// Probe is the time between two looks at the server; 0 is a second, and a quarter
	// of it while the server does not answer.
	Probe time.Duration

	Log *slog.Logger // changes of state alone; nil is slog.Default
}

// Client is a connection that comes and goes. It is safe for concurrent use.
type Client struct {
	c       Config
	options valkey.ClientOption
	marker  string // a key that says whether the server has kept what was written

	// Of run alone: how often the marker was written, and the last time that this was
	// answered.
	writes, written int64

	stop context.CancelFunc
	done chan struct{}
	busy chan struct{} // holds one for each call under way

	mu      sync.Mutex
	client  valkey.Client // nil until the first connection
	up      bool
	since   time.Time // of this state
	err     error     // why it is down
	emptied uint64    // how often the server was found without the marker, or with an older one
	changed chan struct{}
}

// mostCalls is how many are under way at once. The library keeps a queue of 1024, and
// who finds it full waits there for as long as the server hangs.
const mostCalls = 512

// Standards of Config.
const (
	standardTimeout = 150 * time.Millisecond
	standardProbe   = time.Second
)

// Check says what is wrong with the URL of a server. It never shows what the URL
// holds: a password may be part of it.
func Check(text string) error {
	_, err := parse(text)
	return err
}

// parse reads the URL of a server.
func parse(text string) (o valkey.ClientOption, err error) {
	u, err := url.Parse(text)
	if err != nil {
		return o, errors.New("is no URL; want redis://HOST:PORT")
	}
	host, port := u.Hostname(), u.Port()
	switch u.Scheme {
	case "rediss", "valkeys":
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	case "redis", "valkey":
	default:
		return o, errors.New("begins with no scheme that is known; want redis://HOST:PORT, or rediss:// for TLS")
	}
	if port == "" {
		port = "6379"
	}
	number, portErr := strconv.ParseUint(port, 10, 16)
	switch {
	case host == "" || u.Opaque != "":
		return o, errors.New("names no host; want redis://HOST:PORT")
	case portErr != nil || number == 0:
		return o, errors.New("has a port that is none")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return o, errors.New("has a query or a fragment; want redis://[USER:PASSWORD@]HOST:PORT[/DATABASE]")
	}
	if path := strings.TrimPrefix(u.Path, "/"); path != "" {
		database, err := strconv.ParseUint(path, 10, 15)
		if err != nil {
			return o, errors.New("ends with something that is no number of a database")
		}
		o.SelectDB = int(database)
	}
	o.InitAddress = []string{net.JoinHostPort(host, port)}
	o.Username = u.User.Username()
	o.Password, _ = u.User.Password()
	if u.User != nil && o.Password == "" {
		return o, errors.New("has a user and no password; want redis://USER:PASSWORD@HOST:PORT")
	}
	return o, nil
}

// New returns a Client that begins to connect, or an error that says what is wrong
// with c. It does not wait for the server. The caller closes it.
func New(c Config) (*Client, error) { return start(c, nil) }

// start is New; change may change how to connect.
func start(c Config, change func(*valkey.ClientOption)) (*Client, error) {
	options, err := parse(c.URL)
	if err == nil && (c.Timeout < 0 || c.Probe < 0) {
		err = errors.New("a time may not be negative")
	}
	if err != nil {
		return nil, fmt.Errorf("valkey: the URL of the server %w", err)
	}
	if c.Timeout == 0 {
		c.Timeout = standardTimeout
	}
	if c.Probe == 0 {
		c.Probe = standardProbe
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	options.ClientName = "durward"
	options.ForceSingleClient = true
	options.DisableCache = true     // nothing is read twice
	options.DisableRetry = true     // who asks decides what to do without an answer
	options.AlwaysPipelining = true // a connection that is cut is noticed at once
	options.PipelineMultiplex = -1  // one connection
	options.ReadBufferEachConn, options.WriteBufferEachConn = 64<<10, 64<<10
	// A connection over which nothing comes is given up, and another made.
	options.Dialer.Timeout = max(time.Second, c.Timeout)
	options.Dialer.KeepAlive = time.Second
	options.ConnWriteTimeout = max(time.Second, c.Timeout)
	if change != nil {
		change(&options)
	}
	ctx, stop := context.WithCancel(context.Background())
	client := &Client{
		c: c, options: options, marker: "durward:marker:" + rand.Text(), since: time.Now(),
		stop: stop, done: make(chan struct{}), busy: make(chan struct{}, mostCalls), changed: make(chan struct{}), err: errNotYet,
	}
	go client.run(ctx)
	return client, nil
}

// Close ends the connection and what goes on behind it.
func (c *Client) Close() {
	c.stop()
	<-c.done
}

// Up reports whether the server answers, and since when that is so or not so.
func (c *Client) Up() (up bool, since time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.up, c.since
}

// Err is nil while the server answers. It is for health checks and logs, never for
// clients.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.up {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrDown, c.err)
}

// Emptied is how often the server was found to have forgotten what it had been told,
// all of it or, where it came back with what it had written to its disk before, the
// last of it: 1 after the first connection, and one more for each loss.
func (c *Client) Emptied() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.emptied
}

// Changed is closed at the next change of what Up and Emptied say.
func (c *Client) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

// Script is a program that the server runs in one step.
type Script struct{ lua *valkey.Lua }

// NewScript returns a Script of the Lua that Redis and Valkey run.
func NewScript(text string) *Script { return &Script{valkey.NewLuaScript(text)} }

// Run runs a script. An error means that the answer is not known; the script may
// have run.
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

// With calls do with the connection, if the server answers, and with a context
// that ends after Config.Timeout. An error of do that is not the end of ctx opens
// the circuit: those who come next get ErrDown at once, until a probe is answered.
// An error that is ErrDown, and does not only wrap it, says that do was not called.
func (c *Client) With(ctx context.Context, do func(context.Context, valkey.Client) error) error {
	if up, _ := c.Up(); !up {
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
	// Those before may have found out.
	c.mu.Lock()
	client, up := c.client, c.up
	c.mu.Unlock()
	if !up {
		return ErrDown
	}
	if err := do(bounded, client); err != nil {
		return c.failed(ctx, err)
	}
	return nil
}

// failed opens the circuit, unless whoever asked has gone.
func (c *Client) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	c.set(false, false, plain(err))
	return fmt.Errorf("%w: %w", ErrDown, plain(err))
}

// Subscribe calls each with the messages of a channel until ctx ends. While the
// server does not answer there are none, and what was sent meanwhile is lost.
func (c *Client) Subscribe(ctx context.Context, channel string, each func(message string)) {
	for ctx.Err() == nil {
		changed := c.Changed()
		c.mu.Lock()
		client, up := c.client, c.up
		c.mu.Unlock()
		if up {
			// It ends with the connection, or with ctx.
			_ = client.Receive(ctx, client.B().Subscribe().Channel(channel).Build(), func(m valkey.PubSubMessage) { each(m.Message) })
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-time.After(c.c.Probe / 4): // the connection was cut, and nobody else has noticed
		}
	}
}

// plain is an error of the library without what could be secret in it: what the
// server says is kept, and it never repeats a password.
func plain(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("no answer in time")
	}
	return err
}

// run looks at the server until ctx ends.
func (c *Client) run(ctx context.Context) {
	defer close(c.done)
	for ctx.Err() == nil {
		emptied, err := c.probe(ctx)
		if ctx.Err() != nil {
			break
		}
		c.set(err == nil, emptied, err)
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
	client := c.client
	c.up, c.err = false, errors.New("closed")
	c.mu.Unlock()
	if client != nil {
		client.Close()
	}
}

// mark writes the marker and answers what it was. It is a script so that a
// probe wants the same rights as what comes after it.
var mark = NewScript(`return {tonumber(redis.call('SET', KEYS[1], ARGV[1], 'EX', '3600', 'GET') or 0)}`)

// probe asks the server, connecting first where there is no connection. emptied
// says that it does not hold what was written last.
func (c *Client) probe(ctx context.Context) (emptied bool, err error) {
	c.mu.Lock()
	client := c.client
	c.mu.Unlock()
	if client == nil {
		if client, err = valkey.NewClient(c.options); err != nil {
			if client != nil {
				client.Close()
			}
			return false, plain(err)
		}
		c.mu.Lock()
		c.client = client
		c.mu.Unlock()
	}
	bounded, cancel := context.WithTimeout(ctx, c.c.Timeout)
	defer cancel()
	c.writes++
	answer, err := mark.lua.Exec(bounded, client, []string{c.marker}, []string{strconv.FormatInt(c.writes, 10)}).AsIntSlice()
	if err == nil && len(answer) != 1 {
		err = fmt.Errorf("an answer of %d parts to a script", len(answer))
	}
	if err != nil {
		return false, plain(err)
	}
	emptied = answer[0] < max(c.written, 1)
	c.written = c.writes
	return emptied, nil
}

// set notes whether the server answers and whether it was found empty, and logs it
// if that is news.
func (c *Client) set(up, emptied bool, err error) {
	c.mu.Lock()
	was, before := c.up, c.err
	c.err = err
	if up != was {
		c.up, c.since = up, time.Now()
	}
	if emptied {
		c.emptied++
	}
	if up != was || emptied {
		close(c.changed)
		c.changed = make(chan struct{})
	}
	c.mu.Unlock()
	address := c.options.InitAddress[0]
	switch {
	case up && !was:
		c.c.Log.Info("Redis answers", "server", address)
	case !up && (was || errors.Is(before, errNotYet)):
		c.c.Log.Warn("Redis does not answer: each node counts alone, and requests go on", "server", address, "error", err)
	}
}
