package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/e2e/executable"
	"github.com/durward-auth/durward/jwt"
)

// TestApplicationEnds ends applications in each way: the user withdraws the consent, the operator disables the client,
// removes the user from a group or locks the user. The server is another process than the guard of the API, which
// follows its revocations. The guard then refuses the access token, and the server the refresh token.
func TestApplicationEnds(t *testing.T) {
	t.Parallel()
	var guarded http.Handler
	notes := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { guarded.ServeHTTP(w, r) }))
	t.Cleanup(notes.Close)
	code := ""
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		code = r.URL.Query().Get("code")
		w.Header().Set("Content-Type", "text/plain")
	}))
	t.Cleanup(app.Close)

	p := newProcess(t)
	issuer := "http://" + p.address
	file := serveAs(p, issuer, fmt.Sprintf("[[resource]]\nurl = %q\nname = \"Notes\"\n\n[[resource.scopes]]\nname = \"notes\"\ngroups = [\"staff\"]\n", notes.URL))
	program, err := executable.Build()
	if err != nil {
		t.Fatal(err)
	}
	verb := func(words string, args ...string) []byte {
		t.Helper()
		cmd := exec.Command(program, append(append(strings.Fields(words), args...), "--config", file)...)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("durward %s: %v", words, err)
		}
		return out
	}
	verb("user group add", partyUser, "staff")
	for _, id := range []string{"withdrawn", "disabled", "other"} {
		verb("client add App --auth none --scope openid,notes", "--id", id, "--redirect", app.URL, "--resource", notes.URL)
	}
	var follower struct {
		Secret string `json:"secret"`
	}
	if err := json.Unmarshal(verb("client add Follower --id follower --grant client_credentials --scope revocations --json"), &follower); err != nil {
		t.Fatal(err)
	}
	own := clientcredentials.Config{ClientID: "follower", ClientSecret: follower.Secret, TokenURL: issuer + "/oauth/token"}
	tokens := own.TokenSource(context.Background())
	feed, err := api.NewRevocations(t.Context(), api.Config{
		URL: issuer,
		Token: func(context.Context) (string, error) {
			token, err := tokens.Token()
			if err != nil {
				return "", err
			}
			return token.AccessToken, nil
		},
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { feed.Run(ctx) })
	t.Cleanup(func() { stop(); running.Wait() })
	keys, err := jwt.NewRemoteKeys(jwt.RemoteConfig{URL: issuer + "/.well-known/jwks.json"})
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := jwt.New(jwt.Config{Issuer: issuer, Audience: []string{notes.URL}, Keys: keys, Revoked: feed.Check, RevokedAsOf: feed.AsOf})
	if err != nil {
		t.Fatal(err)
	}
	g, err := durward.New(durward.Config{Schemes: []durward.Scheme{verifier.Scheme()}})
	if err != nil {
		t.Fatal(err)
	}
	guarded = g.Require(durward.Policy{Scopes: []string{"notes"}}, hello)

	c, err := api.NewClient(api.ClientConfig{URL: issuer})
	if err != nil {
		t.Fatal(err)
	}
	user, err := c.SignIn(t.Context(), partyUser, partyPassword)
	if err != nil {
		t.Fatal(err)
	}
	withdraw := func() {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, issuer+"/api/apps/withdrawn", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+user.Access)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusNoContent {
			t.Fatalf("withdrawal: %s", resp.Status)
		}
	}
	v := newVisitor(t, partyUser, partyPassword)
	for _, end := range []struct {
		name, client string
		do           func()
	}{
		{"consent withdrawn", "withdrawn", withdraw},
		{"client disabled", "disabled", func() { verb("client disable disabled") }},
		{"group lost", "other", func() { verb("user group remove", partyUser, "staff"); verb("user group add", partyUser, "staff") }},
		{"user locked", "other", func() { verb("user lock", partyUser) }},
	} {
		client := oauth2.Config{
			ClientID:    end.client,
			Endpoint:    oauth2.Endpoint{AuthURL: issuer + "/oauth/authorize", TokenURL: issuer + "/oauth/token", AuthStyle: oauth2.AuthStyleInParams},
			RedirectURL: app.URL,
			Scopes:      []string{"openid", "notes"},
		}
		proof := oauth2.GenerateVerifier()
		v.visit(client.AuthCodeURL("a state", oauth2.S256ChallengeOption(proof)))
		token, err := client.Exchange(t.Context(), code, oauth2.VerifierOption(proof))
		if err != nil {
			t.Fatalf("%s: %v", end.name, err)
		}
		call := func() string { return callAPI(t, notes.URL, token.AccessToken) }
		if got := call(); !strings.HasPrefix(got, "hello, ") {
			t.Fatalf("%s: before it the API answers %s", end.name, got)
		}
		end.do()
		began := time.Now()
		for got := call(); !strings.Contains(got, `error="invalid_token"`); got = call() {
			if time.Since(began) > executable.WaitLimit {
				t.Fatalf("%s: the API still answers %s", end.name, got)
			}
			time.Sleep(5 * time.Millisecond)
		}
		t.Logf("%s: refused after %s", end.name, time.Since(began).Round(time.Millisecond))
		if _, err := client.TokenSource(t.Context(), &oauth2.Token{RefreshToken: token.RefreshToken}).Token(); err == nil {
			t.Errorf("%s: the refresh token still works", end.name)
		}
	}
}
