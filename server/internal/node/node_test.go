package node_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/durward-auth/durward/internal/services"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/config"
	"github.com/durward-auth/durward/server/internal/node"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
)

const issuerURL = "http://127.0.0.1:8401"

// plain is a client of its own: the end of each test server closes the idle connections of the default one,
// also those that another test is about to use.
var plain = &http.Client{Transport: new(http.Transport)}

// start starts a node on a machine with a clock that is off by shift. It returns the node's URL too.
func start(t *testing.T, database string, master *seal.Master, shift time.Duration, change ...func(*config.Config)) (*node.Node, string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	set := config.Default()
	set.DataDir = t.TempDir()
	set.Database.URL, set.PublicURL = config.DatabaseURL(database), issuerURL
	set.Passwords.Argon2Memory, set.Passwords.Argon2Time = 64, 1
	set.Limits.NetworkFailures, set.Limits.NetworkHashes = 0, 0
	for _, f := range change {
		f(set)
	}
	n, err := node.Open(ctx, node.Config{
		Settings: set,
		Master:   master,
		Local:    func() time.Time { return time.Now().Add(shift) },
	})
	must(err)
	s, err := n.Server(&config.Loaded{Config: set})
	must(err)
	wait, err := n.Run(ctx)
	must(err)
	web := httptest.NewServer(s)
	t.Cleanup(func() {
		web.Close()
		stop()
		wait()
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n, web.URL
}

// Two nodes with clocks three minutes apart accept each other's tokens, and a revocation at one takes
// effect at the other within a second.
func TestNodesWhoseClocksDiffer(t *testing.T) {
	t.Parallel()
	database := services.Database(t)
	master, err := seal.Open(t.TempDir()+"/master.key", true)
	if err != nil {
		t.Fatal(err)
	}
	a, ahead := start(t, database, master, 90*time.Second)
	_, behind := start(t, database, master, -90*time.Second)
	const email, password = "ada@example.com", "correct horse battery staple"
	u, err := a.Accounts.Add(t.Context(), account.NewUser{Email: email, Password: password}, store.EventUserAdded, request.Info{Actor: "operator"})
	if err != nil {
		t.Fatal(err)
	}
	type tokens struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	post := func(where, path string, body any) (got tokens) {
		t.Helper()
		text, _ := json.Marshal(body)
		res, err := plain.Post(where+path, "application/json", bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		answer, _ := io.ReadAll(res.Body)
		if err := json.Unmarshal(answer, &got); err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s%s: %s: %s", where, path, res.Status, answer)
		}
		return got
	}
	status := func(where, token string) int {
		t.Helper()
		r, _ := http.NewRequest("GET", where+"/api/profile", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		res, err := plain.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		return res.StatusCode
	}
	held := post(ahead, "/api/auth/login", map[string]string{"email": email, "password": password})
	for i, where := range []string{behind, ahead, behind, ahead} {
		for _, other := range []string{ahead, behind} {
			if got := status(other, held.Access); got != http.StatusOK {
				t.Errorf("refresh %d: profile is %d at %s, want 200", i, got, other)
			}
		}
		held = post(where, "/api/auth/refresh", map[string]string{"refresh_token": held.Refresh})
	}
	if err := a.Sessions.LockUser(t.Context(), u.ID, request.Info{Actor: "operator"}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for status(behind, held.Access) == http.StatusOK {
		if time.Since(began) > 30*time.Second {
			t.Fatal("the other node accepts the revoked token after 30 s")
		}
		time.Sleep(time.Millisecond)
	}
	t.Logf("revoked at the other node after %s", time.Since(began))
}
