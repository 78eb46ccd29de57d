package node_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward/internal/services"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/config"
	"github.com/durward-auth/durward/server/internal/node"
	"github.com/durward-auth/durward/server/internal/otp"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
)

// scrape returns the metrics of a node.
func scrape(n *node.Node) string {
	text, _ := n.Metrics.Text()
	return text
}

// Every metric is fed by the operation that it counts.
func TestMetricsOfANode(t *testing.T) {
	t.Parallel()
	database := services.Database(t)
	master, err := seal.Open(t.TempDir()+"/master.key", true)
	if err != nil {
		t.Fatal(err)
	}
	a, url := start(t, database, master, 0)
	b, _ := start(t, database, master, 0)
	const email, password = "ada@example.com", "correct horse battery staple"
	operator := request.Info{Actor: "operator"}
	u, err := a.Accounts.Add(t.Context(), account.NewUser{Email: email, Password: password}, store.EventUserAdded, operator)
	if err != nil {
		t.Fatal(err)
	}
	type response struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
		Half    string `json:"mfa_token"`
		Secret  string `json:"secret"`
	}
	do := func(method, path, token string, status int, body any) (got response) {
		t.Helper()
		text, _ := json.Marshal(body)
		r, _ := http.NewRequest(method, url+path, bytes.NewReader(text))
		r.Header.Set("Content-Type", "application/json")
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if err := json.NewDecoder(res.Body).Decode(&got); res.StatusCode != status || err != nil {
			t.Fatalf("%s: status %d, %v, want %d", path, res.StatusCode, err, status)
		}
		return got
	}
	type object map[string]string
	login := func(password string, status int) response {
		t.Helper()
		return do("POST", "/api/auth/login", "", status, object{"email": email, "password": password})
	}
	refresh := func(token string, status int) response {
		t.Helper()
		return do("POST", "/api/auth/refresh", "", status, object{"refresh_token": token})
	}

	// A rotation, the same again at once, and a token that was used long before.
	first := login(password, 200).Refresh
	last := refresh(first, 200).Refresh
	refresh(first, 200)
	for range 4 {
		last = refresh(last, 200).Refresh
	}
	refresh(first, 401)

	login("wrong", 401)
	do("GET", "/api/profile", "none", 401, nil)

	signed := login(password, 200).Access
	seed := do("POST", "/api/auth/mfa/totp", signed, 201, nil).Secret
	code := func(at time.Time) string {
		code, err := otp.AppCode(seed, at)
		if err != nil {
			t.Fatal(err)
		}
		return code
	}
	confirmed := time.Now()
	do("POST", "/api/auth/mfa/totp/confirm", signed, 200, object{"code": code(confirmed)})
	half := login(password, 401).Half
	do("POST", "/api/auth/login/mfa", "", 401, object{"mfa_token": half, "method": "recovery_code", "code": "0000-0000-0000-0000"})
	next := confirmed.Add(30 * time.Second) // a step counts once
	if now := time.Now(); now.After(next) {
		next = now
	}
	do("POST", "/api/auth/login/mfa", "", 200, object{"mfa_token": half, "method": "totp", "code": code(next)})

	for n := range 5 {
		login(fmt.Sprint("wrong ", n), 401)
	}
	login(password, 429)
	if err := a.Sessions.LockUser(t.Context(), u.ID, operator); err != nil {
		t.Fatal(err)
	}

	text := scrape(a)
	for _, want := range []string{
		`durward_sign_ins_total{factor="password",outcome="ok"} 2`,
		`durward_sign_ins_total{factor="password",outcome="wrong_password"} 6`,
		`durward_sign_ins_total{factor="password",outcome="second_factor_required"} 1`,
		`durward_sign_ins_total{factor="password",outcome="too_many_attempts"} 1`,
		`durward_sign_ins_total{factor="recovery_code",outcome="wrong_code"} 1`,
		`durward_sign_ins_total{factor="totp",outcome="ok"} 1`,
		`durward_refreshes_total{outcome="rotated"} 5`,
		`durward_refreshes_total{outcome="repeated"} 1`,
		`durward_refusals_total{code="INVALID_TOKEN",scheme="Bearer"} 1`,
		`durward_refusals_total{code="TOO_MANY_ATTEMPTS",scheme=""} 1`,
		`durward_blocks_total 1`,
		`durward_events_total{kind="refresh_theft"} 1`,
		`durward_events_total{kind="factor_added"} 1`,
		`durward_events_total{kind="user_locked"} 1`,
		`durward_request_seconds_count{method="POST",route="/api/auth/refresh"} 7`,
		`durward_revocation_list_age_seconds `,
		`durward_mails_waiting `,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in:\n%s", want, text)
		}
	}
	for _, absent := range []string{`durward_password_hashes_total 0`, u.ID, email, "127.0.0.1"} {
		if strings.Contains(text, absent) {
			t.Errorf("%s in:\n%s", absent, text)
		}
	}
	// The revocations of the theft and the lock arrive at the other node.
	for deadline := time.Now().Add(time.Minute); strings.Contains(scrape(b), "durward_revocation_lag_seconds_count 0"); {
		if time.Now().After(deadline) {
			t.Fatalf("no revocation arrived:\n%s", scrape(b))
		}
		time.Sleep(10 * time.Millisecond) // between two checks
	}
	if text := scrape(b); strings.Contains(text, "durward_sign_ins_total{") {
		t.Errorf("the other node counts sign-ins that it did not serve:\n%s", text)
	}
}

// The lag of a revocation is also observed when it comes over Redis, before the next poll.
func TestRevocationLagOverRedis(t *testing.T) {
	t.Parallel()
	database, redis := services.Database(t), services.NewRedis(t).URL()
	master, err := seal.Open(t.TempDir()+"/master.key", true)
	if err != nil {
		t.Fatal(err)
	}
	withRedis := func(set *config.Config) { set.Redis.URL = seal.Secret(redis) }
	a, _ := start(t, database, master, 0, withRedis)
	b, _ := start(t, database, master, 0, withRedis)
	operator := request.Info{Actor: "operator"}
	u, err := a.Accounts.Add(t.Context(), account.NewUser{Email: "ada@example.com", Password: "correct horse battery staple"}, store.EventUserAdded, operator)
	if err != nil {
		t.Fatal(err)
	}
	observed := func(n *node.Node) (count int) {
		_, after, _ := strings.Cut(scrape(n), "\ndurward_revocation_lag_seconds_count ")
		if _, err := fmt.Sscan(after, &count); err != nil {
			t.Fatalf("cannot read the metric: %v\n%s", err, scrape(n))
		}
		return count
	}
	const rounds = 20
	revoked := 0
	for deadline := time.Now().Add(time.Minute); revoked < rounds || observed(b) == 0; revoked++ {
		if time.Now().After(deadline) {
			t.Fatalf("no revocation arrived:\n%s", scrape(b))
		}
		proof := account.Proof{User: u, Methods: []string{"pwd"}, ACR: "urn:durward:acr:1fa", At: time.Now()}
		signed, err := a.Sessions.SignIn(t.Context(), proof, nil, operator)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Sessions.SignOut(t.Context(), u.ID, signed.Session, false, operator); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond) // between two checks
	}
	// A poll between the commit and the announcement of a revocation counts it at its own node, too.
	if own := observed(a); own > revoked/2 {
		t.Errorf("the node that revoked observed %d of its %d revocations: want few or none", own, revoked)
	}
}
