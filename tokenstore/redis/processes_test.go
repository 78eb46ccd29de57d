package redis_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-auth/durward/client"
	"github.com/durward-auth/durward/internal/services"
	"github.com/durward-auth/durward/tokenstore/redis"
)

// shortLife is the life of the access tokens in these tests.
const shortLife = 300 * time.Millisecond

// rotating is an authorization server with rotating refresh tokens, and an API. It counts the refreshes of
// each generation and repeats a lost response as Durward does.
type rotating struct {
	mu      sync.Mutex
	n       int
	expires time.Time
	calls   []int // by generation
	lost    int   // repeated responses
	wrong   []string
}

func (s *rotating) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if r.URL.Path != "/token" {
		// Like a real API it accepts a token that another process has replaced. Otherwise a request
		// could be refused twice by chance.
		n, err := strconv.Atoi(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer access-"))
		if err != nil || n > s.n || n < s.n-5 {
			w.Header().Set("WWW-Authenticate", `Bearer realm="r", error="invalid_token"`)
			w.WriteHeader(401)
		}
		return
	}
	n, err := strconv.Atoi(strings.TrimPrefix(r.PostFormValue("refresh_token"), "refresh-"))
	switch {
	case err == nil && n == s.n:
		s.n++
		s.expires = now.Add(shortLife)
		s.calls = append(s.calls, 1)
	case err == nil && n == s.n-1: // lost response: it is sent again, with a new access token
		s.expires = now.Add(shortLife)
		s.calls[n]++
		s.lost++
	default:
		s.wrong = append(s.wrong, fmt.Sprintf("refresh token %d at generation %d", n, s.n))
		w.WriteHeader(400)
		fmt.Fprint(w, `{"error":"invalid_grant"}`)
		return
	}
	// The response takes a while; the client may be killed before it arrives.
	s.mu.Unlock()
	time.Sleep(100 * time.Millisecond)
	s.mu.Lock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": fmt.Sprintf("access-%d", s.n), "token_type": "Bearer",
		"expires_in": max(time.Until(s.expires).Seconds(), 0.001), "refresh_token": fmt.Sprintf("refresh-%d", s.n)}) // a client that is gone hears nothing
}

// storeOf opens the store with this address.
func storeOf(t testing.TB, where string) client.TokenStore {
	if path, ok := strings.CutPrefix(where, "file:"); ok {
		return client.FileStore{Path: path}
	}
	s, err := redis.New(redis.Config{URL: where, Name: "processes", Lease: 3 * time.Second, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sharedTokens(t testing.TB, server, where string) client.Source {
	return client.Tokens(client.TokensConfig{
		Origins: []string{server}, Store: storeOf(t, where), Next: (&client.OAuth{TokenURL: server + "/token", ClientID: "c"}).Refresh,
	})
}

// TestTransportProcess is the main function of a child process: it calls the API in a loop and prints each
// result.
func TestTransportProcess(t *testing.T) {
	server, where, ok := strings.Cut(os.Getenv("TRANSPORT_PROCESS"), " ")
	if !ok {
		t.Skip("a part of TestTransportProcesses")
	}
	c := client.New(sharedTokens(t, server, where))
	for {
		resp, err := c.Get(server + "/api")
		switch {
		case err != nil:
			fmt.Printf("said error %v\n", err)
		default:
			resp.Body.Close()
			fmt.Printf("said %d\n", resp.StatusCode)
		}
		time.Sleep(5 * time.Millisecond) // between two requests
	}
}

// process starts a child process and counts its results.
type process struct {
	cmd  *exec.Cmd
	mu   sync.Mutex
	good int
	bad  []string
}

func start(t *testing.T, server, where string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(os.Args[0], "-test.run=^TestTransportProcess$", "-test.timeout=10m")}
	p.cmd.Env = append(os.Environ(), "TRANSPORT_PROCESS="+server+" "+where)
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			p.mu.Lock()
			switch said, ok := strings.CutPrefix(lines.Text(), "said "); {
			case said == "200":
				p.good++
			case ok:
				p.bad = append(p.bad, said)
			}
			p.mu.Unlock()
		}
	}()
	return p
}

func (p *process) said() (good int, bad []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.good, p.bad
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// Two processes with one store refresh once for each generation, even if one is killed at any time.
func TestTransportProcesses(t *testing.T) {
	t.Parallel()
	rounds := 10
	if n, err := strconv.Atoi(os.Getenv("TRANSPORT_ROUNDS")); err == nil {
		rounds = n
	}
	for name, where := range map[string]func(*testing.T) string{
		"file":  func(t *testing.T) string { return "file:" + filepath.Join(t.TempDir(), "token.json") },
		"redis": func(t *testing.T) string { return services.NewRedis(t).URL() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			where := where(t)
			server := &rotating{expires: time.Now().Add(shortLife)}
			s := httptest.NewServer(server)
			defer s.Close()
			first := client.Token{Access: "access-0", Type: "Bearer", Refresh: "refresh-0", Received: time.Now(), Expires: server.expires}
			if err := storeOf(t, where).Update(t.Context(), func(context.Context, client.Token) (client.Token, error) { return first, nil }); err != nil {
				t.Fatal(err)
			}
			pair := []*process{start(t, s.URL, where), start(t, s.URL, where)}
			defer func() {
				for _, p := range pair {
					p.kill()
				}
			}()
			kills := 0
			for round := range rounds {
				// Both succeed, in this generation or a later one.
				for _, p := range pair {
					good, _ := p.said()
					deadline := time.Now().Add(60 * time.Second)
					for reached := good; reached < good+3; reached, _ = p.said() {
						if time.Now().After(deadline) {
							_, bad := p.said()
							t.Fatalf("round %d: a process gets through no more: %q", round, bad)
						}
						time.Sleep(time.Millisecond)
					}
				}
				i := round % 2
				time.Sleep(time.Duration(round*37%300) * time.Millisecond) // some other moment of a token's life
				_, bad := pair[i].said()
				pair[i].kill()
				kills++
				for _, text := range bad {
					t.Errorf("round %d: a process saw %s", round, text)
				}
				pair[i] = start(t, s.URL, where)
			}
			for _, p := range pair {
				_, bad := p.said()
				for _, text := range bad {
					t.Errorf("a process saw %s", text)
				}
			}
			server.mu.Lock()
			defer server.mu.Unlock()
			for _, w := range server.wrong {
				t.Error(w)
			}
			if server.lost > kills {
				t.Errorf("%d answers were asked for again, and %d processes killed", server.lost, kills)
			}
			for n, calls := range server.calls {
				if calls > 2 {
					t.Errorf("generation %d was refreshed %d times", n, calls)
				}
			}
			if len(server.calls) < rounds/2 {
				t.Errorf("%d generations: the test tests nothing", len(server.calls))
			}
			t.Logf("%d rounds, %d generations, %d refreshes asked for again after a kill", rounds, len(server.calls), server.lost)
		})
	}
}

// A waiting process ends with its own context.
func TestTransportStoreWaits(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "token.json")
	held, release := make(chan struct{}), make(chan struct{})
	go func() {
		_ = client.FileStore{Path: path}.Update(context.Background(), func(context.Context, client.Token) (client.Token, error) {
			close(held)
			<-release
			return client.Token{Access: "a", Type: "Bearer"}, nil
		})
	}()
	<-held
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := client.FileStore{Path: path}.Update(ctx, func(context.Context, client.Token) (client.Token, error) {
		t.Error("two change at once")
		return client.Token{}, nil
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want the end of the context", err)
	}
	close(release)
}
