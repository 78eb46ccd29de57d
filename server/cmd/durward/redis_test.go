package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/durward-auth/durward/internal/services"
	connection "github.com/durward-auth/durward/internal/valkey"
)

// Two nodes with one master key and one Redis count failures together. Both work while Redis is down,
// at the start and later.
func TestServeWithRedis(t *testing.T) {
	t.Parallel()
	r := services.NewRedis(t)
	r.Kill(t)
	env := []string{"DURWARD_REDIS_URL=" + r.URL(), "DURWARD_MASTER_KEY=" + strings.Repeat("5a7c", 16), "DURWARD_LIMITS_NETWORK_FAILURES=0", "DURWARD_LIMITS_NETWORK_HASHES=0"}
	var nodes []*process
	for n := range 2 {
		nodes = append(nodes, serve(t, program(env, "serve", "--listen", "127.0.0.1:0", "--data", filepath.Join(t.TempDir(), fmt.Sprint("node", n)))))
	}
	ready := func(want string) {
		t.Helper()
		for n, p := range nodes {
			for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
				a := p.ask("GET", "/readyz", "", "")
				if a.status != http.StatusOK {
					t.Fatalf("node %d: readyz is %d %s, want 200 with or without Redis", n, a.status, a.body)
				}
				if strings.Contains(string(a.body), want) {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("node %d: readyz is %s, want %s", n, a.body, want)
				}
			}
		}
	}
	guess := func(node int, account string) int {
		t.Helper()
		return nodes[node].ask("POST", "/api/auth/login", "", fmt.Sprintf(`{"email":%q,"password":"wrong %d"}`, account, time.Now().UnixNano())).status
	}
	ready(`"status":"degraded"`)
	ready(`{"name":"redis","ok":false}`)
	if status := guess(0, "ada@example.com"); status != http.StatusUnauthorized {
		t.Errorf("without Redis: %d, want 401", status)
	}
	r.Start(t)
	ready(`{"name":"redis","ok":true}`)
	ready(`"status":"ready"`)
	// On a busy machine Redis may time out. The node logs it, and the test repeats with another account.
	timeouts := func() int {
		return strings.Count(nodes[0].stderr.String()+nodes[1].stderr.String(), "Redis does not answer")
	}
	account := ""
	for round := 0; account == ""; round++ {
		account = fmt.Sprintf("bob%d@example.com", round)
		ready(`{"name":"redis","ok":true}`)
		before := timeouts()
		for n := range 7 {
			want := http.StatusUnauthorized
			if n >= 5 {
				want = http.StatusTooManyRequests
			}
			if status := guess(n%2, account); status != want {
				if timeouts() == before || round == 5 {
					t.Fatalf("guess %d: %d, want %d", n+1, status, want)
				}
				account = ""
				break
			}
		}
	}
	r.Kill(t)
	ready(`{"name":"redis","ok":false}`)
	for n := range nodes {
		if status := guess(n, account); status != http.StatusTooManyRequests {
			t.Errorf("node %d: guess at a blocked account without Redis: %d, want 429", n, status)
		}
	}
	for n, p := range nodes {
		if status := p.stop(); status != 0 {
			t.Errorf("node %d: exit status %d, want 0: %s", n, status, p.stderr)
		}
		if text := p.stderr.String(); strings.Count(text, "Redis does not answer") < 2 || !strings.Contains(text, "Redis answers") {
			t.Errorf("node %d: want a report of two outages and a recovery of Redis:\n%s", n, text)
		}
	}
}

// Two nodes with one PostgreSQL and one Redis: a sign-out at one node revokes the tokens at the other,
// and other software finds the revocation in Redis, also after Redis lost its data.
func TestSignedOutAtBothNodes(t *testing.T) {
	t.Parallel()
	r := services.NewRedis(t)
	env := []string{"DURWARD_REDIS_URL=" + r.URL(), "DURWARD_DATABASE_URL=" + services.Database(t), "DURWARD_MASTER_KEY=" + strings.Repeat("5a7c", 16), "DURWARD_REGISTRATION=open"}
	var nodes []*process
	for n := range 2 {
		nodes = append(nodes, serve(t, program(env, "serve", "--listen", "127.0.0.1:0", "--data", filepath.Join(t.TempDir(), fmt.Sprint("node", n)))))
	}
	if a := nodes[0].ask("POST", "/api/auth/register", "", `{"email":"ada@example.com","password":"`+testPassword+`"}`); a.status != http.StatusCreated {
		t.Fatalf("register: %d %s", a.status, a.body)
	}
	client, err := connection.New(connection.Config{URL: r.URL(), Timeout: 10 * time.Second, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	wantKey := func(key string) {
		t.Helper()
		eventually(t, func() error {
			return client.With(t.Context(), func(ctx context.Context, c valkey.Client) error {
				left, err := c.Do(ctx, c.B().Pttl().Key(key).Build()).AsInt64()
				if err == nil && left <= 0 {
					err = fmt.Errorf("Redis has no key %s", key)
				}
				return err
			})
		})
	}
	var took []time.Duration
	var keys []string
	for n := range 20 {
		from, to := nodes[n%2], nodes[1-n%2]
		token := from.signIn("ada@example.com", testPassword).member("access_token")
		if a := to.ask("GET", "/api/profile", token, ""); a.status != http.StatusOK {
			t.Fatalf("round %d: a token of the other node: %d %s", n, a.status, a.body)
		}
		if a := from.ask("POST", "/api/auth/logout", token, ""); a.status != http.StatusNoContent {
			t.Fatalf("round %d: logout: %d %s", n, a.status, a.body)
		}
		began := time.Now()
		eventually(t, func() error {
			if a := to.ask("GET", "/api/profile", token, ""); a.status != http.StatusUnauthorized || a.member("code") != "TOKEN_REVOKED" {
				return fmt.Errorf("round %d: %d %s", n, a.status, a.body)
			}
			return nil
		})
		took = append(took, time.Since(began))
		var claims struct{ SID string }
		payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
		if err == nil {
			err = json.Unmarshal(payload, &claims)
		}
		if err != nil || claims.SID == "" {
			t.Fatalf("%s: %v", payload, err)
		}
		keys = append(keys, "revoked:sid:"+claims.SID)
	}
	slices.Sort(took)
	t.Logf("revoked at the other node: median %s, worst %s of %d", took[len(took)/2], took[len(took)-1], len(took))
	for _, key := range keys {
		wantKey(key)
	}
	r.Kill(t)
	r.Start(t)
	for _, key := range keys {
		wantKey(key)
	}
}
