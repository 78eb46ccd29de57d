package valkey

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/durward-auth/durward/internal/goroutines"
	"github.com/durward-auth/durward/internal/services"
)

// buffer is a log that is safe for concurrent use.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// fast returns a client with short probes, and its log.
func fast(t testing.TB, url string, change ...func(*Config)) (*Client, *buffer) {
	t.Helper()
	log := new(buffer)
	config := Config{URL: url, Probe: 100 * time.Millisecond, Log: slog.New(slog.NewTextHandler(log, nil))}
	for _, f := range change {
		f(&config)
	}
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, log
}

func patient(c *Config) { c.Timeout = 10 * time.Second }

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

func isUp(c *Client) func() bool { return func() bool { return c.State().Up } }

func isDown(c *Client) func() bool { return func() bool { return !c.State().Up } }

// ask runs a command.
func ask(c *Client) error {
	return c.With(context.Background(), func(ctx context.Context, v valkey.Client) error {
		return v.Do(ctx, v.B().Set().Key("x").Value("1").Build()).Error()
	})
}

// A server that is down at start, starts, is killed and restarts empty: each change is detected and
// logged once.
func TestRestarts(t *testing.T) {
	t.Parallel()
	r := services.NewRedis(t)
	r.Kill(t)
	c, log := fast(t, r.URL(), patient)
	until(t, "the first warning", func() bool { return strings.Contains(log.String(), "does not answer") })
	for range 3 {
		if err := ask(c); !errors.Is(err, ErrDown) || !errors.Is(c.Err(), ErrDown) {
			t.Errorf("server down: got %v and %v, want ErrDown", err, c.Err())
		}
	}
	r.Start(t)
	until(t, "up", isUp(c))
	if err := errors.Join(ask(c), c.Err()); err != nil || c.State().Emptied != 1 {
		t.Errorf("server up: got %v and Emptied %d, want no error and 1", err, c.State().Emptied)
	}
	r.Kill(t)
	until(t, "down", isDown(c))
	r.Start(t)
	until(t, "up again", isUp(c))
	if err := ask(c); err != nil || c.State().Emptied != 2 {
		t.Errorf("server restarted: got %v and Emptied %d, want no error and 2", err, c.State().Emptied)
	}
	if warned, told := strings.Count(log.String(), "does not answer"), strings.Count(log.String(), "Redis answers"); warned != 2 || told != 2 {
		t.Errorf("got %d warnings and %d recoveries in the log, want 2 and 2:\n%s", warned, told, log)
	}
}

// A server that loses its data without closing connections is detected.
func TestEmptied(t *testing.T) {
	t.Parallel()
	r := services.NewRedis(t)
	c, _ := fast(t, r.URL(), patient)
	until(t, "up", isUp(c))
	changed := c.State().Changed
	if err := c.With(t.Context(), func(ctx context.Context, v valkey.Client) error {
		return v.Do(ctx, v.B().Flushall().Build()).Error()
	}); err != nil {
		t.Fatal(err)
	}
	until(t, "emptied", func() bool { return c.State().Emptied == 2 })
	<-changed
	if !isUp(c)() {
		t.Error("emptied server: got down, want up")
	}
}

// do runs a command.
func do(t testing.TB, c *Client, words ...string) {
	t.Helper()
	if err := c.With(context.Background(), func(ctx context.Context, v valkey.Client) error {
		return v.Do(ctx, v.B().Arbitrary(words...).Build()).Error()
	}); err != nil {
		t.Fatal(err)
	}
}

// A restart counts as lost data even if the last write of a probe is there, because later writes of
// other calls may be missing.
func TestRestartWithTheMarker(t *testing.T) {
	t.Parallel()
	r := services.NewRedis(t)
	c, _ := fast(t, r.URL(), patient, func(c *Config) { c.Probe = 3 * time.Second }) // no probe after SAVE
	until(t, "up", isUp(c))
	do(t, c, "SAVE")
	r.Kill(t)
	r.Start(t)
	until(t, "another process", func() bool { return c.State().Emptied == 2 && c.State().Connected == 2 })
}

// A connection that drops and comes back increases Connected, not Emptied.
func TestConnectionDrops(t *testing.T) {
	t.Parallel()
	r := services.NewRedis(t)
	c, _ := fast(t, r.URL(), patient)
	until(t, "up", isUp(c))
	if c.State().Connected != 1 {
		t.Errorf("after the first connection: got Connected %d, want 1", c.State().Connected)
	}
	changed := c.State().Changed
	other, _ := fast(t, r.URL(), patient)
	until(t, "up", isUp(other))
	do(t, other, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	until(t, "another connection", func() bool { return c.State().Connected == 2 })
	<-changed
	if c.State().Emptied != 1 {
		t.Errorf("after a dropped connection: got Emptied %d, want 1", c.State().Emptied)
	}
}

// Err returns an error while the server answers but refuses writes or messages.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, commands := range map[string][2]string{
		"full":      {"CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"},
		"replica":   {"REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"},
		"subscribe": {"ACL SETUSER node -subscribe", "ACL SETUSER node +subscribe"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := services.NewRedis(t)
			admin, _ := fast(t, r.URL(), patient)
			until(t, "up", isUp(admin))
			do(t, admin, strings.Fields("ACL SETUSER node on >secret +@all ~* &*")...)
			c, log := fast(t, strings.Replace(r.URL(), "redis://", "redis://node:secret@", 1), patient)
			go c.Subscribe(t.Context(), "news", func(string) {})
			until(t, "up", func() bool { return c.Err() == nil })
			conn, err := net.Dial("tcp", r.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			say := func(command string) {
				t.Helper()
				fmt.Fprint(conn, command+"\r\n")
				if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || line != "+OK\r\n" {
					t.Fatalf("%s: %q, %v", command, line, err)
				}
			}
			say(commands[0])
			if name == "subscribe" {
				do(t, admin, "CLIENT", "KILL", "USER", "node")
			}
			until(t, "an error", func() bool { return c.Err() != nil })
			t.Log(c.Err())
			say(commands[1])
			until(t, "no error", func() bool { return c.Err() == nil })
			if n := strings.Count(log.String(), "Redis sends no messages"); name == "subscribe" && n != 1 {
				t.Errorf("got %d lines about messages in the log, want 1:\n%s", n, log)
			}
		})
	}
}

// A command to a server that hangs fails after Timeout; the next ones are not sent.
func TestHangs(t *testing.T) {
	t.Parallel()
	r := services.NewRedis(t)
	c, _ := fast(t, r.URL(), func(c *Config) { c.Probe = time.Minute }) // the command detects it, not a probe
	until(t, "up", isUp(c))
	r.Pause(t)
	defer r.Resume(t)
	began := time.Now()
	if err := ask(c); !errors.Is(err, ErrDown) || err == ErrDown {
		t.Errorf("first command: got %v, want one that wraps ErrDown: it was sent", err)
	}
	if took := time.Since(began); took < defaultTimeout/2 {
		t.Errorf("first command: failed after %s, want %s", took, defaultTimeout)
	}
	for n := range 1000 {
		if err := ask(c); err != ErrDown {
			t.Fatalf("command %d: got %v, want ErrDown itself: it was not sent", n, err)
		}
	}
}

// At most maxCalls commands are sent to a server that hangs; none waits in the queue of valkey-go.
func TestHangsForMany(t *testing.T) {
	t.Parallel()
	r := services.NewRedis(t)
	c, _ := fast(t, r.URL(), func(c *Config) { c.Probe = time.Minute }) // the commands detect it, not a probe
	until(t, "up", isUp(c))
	r.Pause(t)
	defer r.Resume(t)
	var all sync.WaitGroup
	var sent, most atomic.Int64
	start := make(chan struct{})
	for range 5000 {
		all.Go(func() {
			<-start
			err := c.With(t.Context(), func(ctx context.Context, v valkey.Client) error {
				n := sent.Add(1)
				defer sent.Add(-1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				return v.Do(ctx, v.B().Set().Key("x").Value("1").Build()).Error()
			})
			if !errors.Is(err, ErrDown) {
				t.Errorf("got %v, want ErrDown", err)
			}
		})
	}
	close(start)
	all.Wait() // forever, if a command waits in a queue
	if n := most.Load(); n > maxCalls {
		t.Errorf("%d commands were sent at the same time, want at most %d", n, maxCalls)
	}
}

// A probe detects that the server answers again.
func TestAnswersAgain(t *testing.T) {
	t.Parallel()
	r := services.NewRedis(t)
	c, _ := fast(t, r.URL())
	until(t, "up", isUp(c))
	r.Pause(t)
	until(t, "down", isDown(c))
	r.Resume(t)
	until(t, "up again", isUp(c))
	if c.State().Emptied != 1 {
		t.Errorf("after a pause: got Emptied %d, want 1", c.State().Emptied)
	}
}

// A canceled context does not mark the server as down.
func TestCanceled(t *testing.T) {
	t.Parallel()
	r := services.NewRedis(t)
	c, _ := fast(t, r.URL(), patient)
	until(t, "up", isUp(c))
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	err := c.With(gone, func(ctx context.Context, v valkey.Client) error {
		return v.Do(ctx, v.B().Get().Key("x").Build()).Error()
	})
	if !errors.Is(err, context.Canceled) || !isUp(c)() {
		t.Errorf("canceled context: got %v, up %v, want context.Canceled, true", err, isUp(c)())
	}
}

// The password is sent, a wrong one is reported, and the log contains neither.
func TestPassword(t *testing.T) {
	t.Parallel()
	r := services.NewRedis(t, "--requirepass", "s3cret-of-redis")
	for _, correct := range []bool{true, false} {
		password := map[bool]string{true: "s3cret-of-redis", false: "n0t-the-secret"}[correct]
		c, log := fast(t, "redis://default:"+password+"@"+r.Addr()+"/5", patient)
		if correct {
			until(t, "up", isUp(c))
		} else {
			until(t, "reported", func() bool { return strings.Contains(log.String(), "WRONGPASS") })
		}
		if correct == isDown(c)() || strings.Contains(log.String()+errText(c.Err()), password) {
			t.Errorf("correct password %v: got %v\n%s", correct, c.Err(), log)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// rediss uses TLS and refuses a certificate of an unknown authority.
func TestTLS(t *testing.T) {
	t.Parallel()
	dir, r := t.TempDir(), services.NewRedis(t)
	host, _, _ := net.SplitHostPort(r.Addr())
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "redis"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.ParseIP(host)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert": {Type: "CERTIFICATE", Bytes: der}, "key": {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := net.Dial("tcp", r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const port = "6380"
	if _, err := fmt.Fprintf(conn, "CONFIG SET tls-cert-file %[1]s tls-key-file %[2]s tls-ca-cert-file %[1]s tls-auth-clients no tls-port "+port+"\r\n", filepath.Join(dir, "cert"), filepath.Join(dir, "key")); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || line != "+OK\r\n" {
		t.Fatalf("CONFIG SET: %q, %v", line, err)
	}
	c, log := fast(t, "rediss://"+host+":"+port, patient)
	until(t, "refused", func() bool { return strings.Contains(log.String(), "unknown authority") })
	if isUp(c)() {
		t.Error("up")
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	trusting, err := start(Config{URL: "rediss://" + host + ":" + port, Timeout: 10 * time.Second}, func(o *valkey.ClientOption) { o.TLSConfig.RootCAs = roots })
	if err != nil {
		t.Fatal(err)
	}
	defer trusting.Close()
	until(t, "up", isUp(trusting))
}

// Messages arrive, also after a restart of the server.
func TestSubscribe(t *testing.T) {
	t.Parallel()
	r := services.NewRedis(t)
	c, _ := fast(t, r.URL(), patient)
	var received atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.Subscribe(ctx, "news", func(m string) {
			if m == "x" {
				received.Add(1)
			}
		})
	}()
	for range 2 {
		was := received.Load()
		until(t, "message received", func() bool {
			_ = c.With(ctx, func(ctx context.Context, v valkey.Client) error {
				return v.Do(ctx, v.B().Publish().Channel("news").Message("x").Build()).Error()
			})
			return received.Load() > was
		})
		r.Kill(t)
		until(t, "down", isDown(c))
		r.Start(t)
	}
	cancel()
	<-done
}

// Close ends all goroutines, whether the server answers, hangs or is down.
func TestClose(t *testing.T) {
	r := services.NewRedis(t)
	ended := goroutines.Remain(t)
	for _, state := range []string{"there", "hangs", "gone"} {
		c, err := New(Config{URL: r.URL(), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		until(t, "up", isUp(c))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { c.Subscribe(ctx, "news", func(string) {}); close(done) }()
		switch state {
		case "hangs":
			r.Pause(t)
			_ = ask(c)
		case "gone":
			r.Kill(t)
			until(t, "down", isDown(c))
		}
		began := time.Now()
		cancel()
		c.Close()
		<-done
		t.Logf("%s: closed in %s", state, time.Since(began).Round(time.Millisecond))
		if state == "hangs" {
			r.Resume(t)
		}
	}
	ended()
}

func TestURLs(t *testing.T) {
	t.Parallel()
	for _, valid := range []string{
		"redis://localhost", "redis://127.0.0.1:6379", "redis://:secret@h/0", "valkey://u:p%40ss@[::1]:7000/15", "rediss://h:1", "valkeys://h", "redis://h/",
	} {
		if err := Check(valid); err != nil {
			t.Errorf("%s: got %v, want no error", valid, err)
		}
	}
	for bad, want := range map[string]string{
		"": "scheme", "localhost:6379": "scheme", "http://h": "scheme", "redis://": "no host", "redis:6379": "no host", "redis://h:0": "port", "redis://h:99999": "port",
		"redis://u:hunter2@h:port": "not a URL", "redis://u:hunter2@h/x": "database", "redis://u:hunter2@h/-1": "database", "redis://h/1/2": "database", "redis://h/99999": "database",
		"redis://u:hunter2@h?db=1": "query", "redis://hunter2@h": "no password", "redis://u:hunter2@h/\x00": "not a URL", "redis://u:hunter2@h#x": "fragment",
	} {
		err := Check(bad)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: got %v, want an error with %q", bad, err, want)
		}
		if c, err := New(Config{URL: bad}); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("New(%q): got %v, want an error", bad, err)
			c.Close()
		}
	}
	o, err := parse("valkeys://u:p%40ss@[::1]:7000/15")
	if err != nil || o.Username != "u" || o.Password != "p@ss" || o.InitAddress[0] != "[::1]:7000" || o.SelectDB != 15 || o.TLSConfig == nil || o.TLSConfig.ServerName != "::1" {
		t.Errorf("%+v, %v", o, err)
	}
}

// No URL makes New panic, and no error contains a password.
func FuzzURL(f *testing.F) {
	for _, s := range []string{"redis://u:hunter2@h:6379/3", "rediss://h", "valkey://:hunter2@[::1]", "x:hunter2@"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		o, err := parse(text)
		if err != nil {
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		if host, port, err := net.SplitHostPort(o.InitAddress[0]); err != nil || host == "" || port == "" || o.SelectDB < 0 {
			t.Errorf("%q: %q, %v", text, o.InitAddress, err)
		}
	})
}
