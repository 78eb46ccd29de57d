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

	"go.uber.org/goleak"

	"github.com/valkey-io/valkey-go"

	"github.com/durward-auth/durward/internal/services"
)

// buffer is a log that may be written and read at once.
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

// fast is a connection that looks often.
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
			t.Fatalf("not within half a minute: %s", what)
		}
	}
}

func isUp(c *Client) func() bool { return func() bool { up, _ := c.Up(); return up } }

func isDown(c *Client) func() bool { return func() bool { up, _ := c.Up(); return !up } }

// ask is a command, and whether it was answered.
func ask(c *Client) error {
	return c.With(context.Background(), func(ctx context.Context, v valkey.Client) error {
		return v.Do(ctx, v.B().Set().Key("x").Value("1").Build()).Error()
	})
}

// A server that is away at start, comes, is killed, comes back empty: each is seen,
// and said once.
func TestComesAndGoes(t *testing.T) {
	t.Parallel()
	r := services.NewRedis(t)
	r.Kill(t)
	c, log := fast(t, r.URL(), patient)
	until(t, "the first warning", func() bool { return strings.Contains(log.String(), "does not answer") })
	for range 3 {
		if err := ask(c); !errors.Is(err, ErrDown) || !errors.Is(c.Err(), ErrDown) {
			t.Errorf("away: %v, %v; want ErrDown", err, c.Err())
		}
	}
	r.Start(t)
	until(t, "up", isUp(c))
	if err := errors.Join(ask(c), c.Err()); err != nil || c.Emptied() != 1 {
		t.Errorf("there: %v, emptied %d times, want 1", err, c.Emptied())
	}
	r.Kill(t)
	until(t, "down", isDown(c))
	r.Start(t)
	until(t, "up again", isUp(c))
	if err := ask(c); err != nil || c.Emptied() != 2 {
		t.Errorf("back: %v, emptied %d times, want 2", err, c.Emptied())
	}
	if warned, told := strings.Count(log.String(), "does not answer"), strings.Count(log.String(), "Redis answers"); warned != 2 || told != 2 {
		t.Errorf("%d warnings and %d returns, want 2 and 2:\n%s", warned, told, log)
	}
}

// A server that is emptied, and goes on answering, is known to be empty.
func TestEmptied(t *testing.T) {
	t.Parallel()
	r := services.NewRedis(t)
	c, _ := fast(t, r.URL(), patient)
	until(t, "up", isUp(c))
	changed := c.Changed()
	if err := c.With(t.Context(), func(ctx context.Context, v valkey.Client) error {
		return v.Do(ctx, v.B().Flushall().Build()).Error()
	}); err != nil {
		t.Fatal(err)
	}
	until(t, "emptied", func() bool { return c.Emptied() == 2 })
	<-changed
	if !isUp(c)() {
		t.Error("an emptied server is not down")
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
	if took := time.Since(began); took < standardTimeout/2 {
		t.Errorf("first command: failed after %s, want %s", took, standardTimeout)
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
	if n := most.Load(); n > mostCalls {
		t.Errorf("%d commands were sent at the same time, want at most %d", n, mostCalls)
	}
}

// A probe closes the circuit again.
func TestGoesOn(t *testing.T) {
	t.Parallel()
	r := services.NewRedis(t)
	c, _ := fast(t, r.URL())
	until(t, "up", isUp(c))
	r.Pause(t)
	until(t, "down", isDown(c))
	r.Resume(t)
	until(t, "up again", isUp(c))
	if c.Emptied() != 1 {
		t.Errorf("emptied %d times, want 1: a pause loses nothing", c.Emptied())
	}
}

// Who asks and goes away says nothing about the server.
func TestAskerGone(t *testing.T) {
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
		t.Errorf("%v, up %v", err, isUp(c)())
	}
}

// A password is sent, a wrong one is told, and neither is shown.
func TestPassword(t *testing.T) {
	t.Parallel()
	r := services.NewRedis(t, "--requirepass", "s3cret-of-redis")
	for _, good := range []bool{true, false} {
		password := map[bool]string{true: "s3cret-of-redis", false: "n0t-the-secret"}[good]
		c, log := fast(t, "redis://default:"+password+"@"+r.Addr()+"/5", patient)
		if good {
			until(t, "up", isUp(c))
		} else {
			until(t, "told", func() bool { return strings.Contains(log.String(), "WRONGPASS") })
		}
		if good == isDown(c)() || strings.Contains(log.String()+errText(c.Err()), password) {
			t.Errorf("good %v: %v\n%s", good, c.Err(), log)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TLS is spoken where it is asked for, and a certificate that nobody vouches for is
// refused.
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

// What is sent is heard, also after the server was away.
func TestSubscribe(t *testing.T) {
	t.Parallel()
	r := services.NewRedis(t)
	c, _ := fast(t, r.URL(), patient)
	var heard atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.Subscribe(ctx, "news", func(m string) {
			if m == "x" {
				heard.Add(1)
			}
		})
	}()
	for range 2 {
		was := heard.Load()
		until(t, "heard", func() bool {
			_ = c.With(ctx, func(ctx context.Context, v valkey.Client) error {
				return v.Do(ctx, v.B().Publish().Channel("news").Message("x").Build()).Error()
			})
			return heard.Load() > was
		})
		r.Kill(t)
		until(t, "down", isDown(c))
		r.Start(t)
	}
	cancel()
	<-done
}

// Nothing is left behind, whatever state the server is in.
func TestNothingIsLeft(t *testing.T) {
	r := services.NewRedis(t)
	before := goleak.IgnoreCurrent()
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
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
}

func TestURLs(t *testing.T) {
	t.Parallel()
	for _, good := range []string{
		"redis://localhost", "redis://127.0.0.1:6379", "redis://:secret@h/0", "valkey://u:p%40ss@[::1]:7000/15", "rediss://h:1", "valkeys://h", "redis://h/",
	} {
		if err := Check(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for bad, want := range map[string]string{
		"": "scheme", "localhost:6379": "scheme", "http://h": "scheme", "redis://": "no host", "redis:6379": "no host", "redis://h:0": "port", "redis://h:99999": "port",
		"redis://u:hunter2@h:port": "no URL", "redis://u:hunter2@h/x": "database", "redis://u:hunter2@h/-1": "database", "redis://h/1/2": "database", "redis://h/99999": "database",
		"redis://u:hunter2@h?db=1": "query", "redis://hunter2@h": "no password", "redis://u:hunter2@h/\x00": "no URL", "redis://u:hunter2@h#x": "fragment",
	} {
		err := Check(bad)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v, want %q", bad, err, want)
		}
		if c, err := New(Config{URL: bad}); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("New takes %q: %v", bad, err)
			c.Close()
		}
	}
	o, err := parse("valkeys://u:p%40ss@[::1]:7000/15")
	if err != nil || o.Username != "u" || o.Password != "p@ss" || o.InitAddress[0] != "[::1]:7000" || o.SelectDB != 15 || o.TLSConfig == nil || o.TLSConfig.ServerName != "::1" {
		t.Errorf("%+v, %v", o, err)
	}
}

// No URL makes New panic, and no mistake shows what may be a password.
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
