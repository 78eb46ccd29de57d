package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	durwardclient "github.com/durward-auth/durward/client"
	"github.com/durward-auth/durward/jwt"
)

// signIn signs the user in at a client and returns a refresh token.
func (i *issuer) signIn(client, jkt string) string {
	i.t.Helper()
	body, err := json.Marshal(map[string]string{"account": user, "client_id": client, "resource": forJWT, "jkt": jkt})
	if err != nil {
		i.t.Fatal(err)
	}
	resp, err := http.Post(i.url+"/sign-in", "application/json", strings.NewReader(string(body)))
	if err != nil {
		i.t.Fatal(err)
	}
	defer resp.Body.Close()
	token, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		i.t.Fatalf("sign-in: %s %s %v; its log:\n%s", resp.Status, token, err, i.logText())
	}
	return string(token)
}

// granted compares the grants in the log of the token endpoint.
func (i *issuer) granted(want ...string) {
	i.t.Helper()
	var got []string
	for line := range strings.Lines(i.logText()) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "granted ") || strings.HasPrefix(line, "refused ") {
			got = append(got, line)
		}
	}
	if !slices.Equal(got, want) {
		i.t.Errorf("the issuer has\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// held returns a store with a refresh token.
func held(t *testing.T, refresh string) *durwardclient.MemoryStore {
	t.Helper()
	store := new(durwardclient.MemoryStore)
	err := store.Update(t.Context(), func(context.Context, durwardclient.Token) (durwardclient.Token, error) {
		return durwardclient.Token{Refresh: refresh}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// takes returns a verifier of the issuer's JWTs.
func (i *issuer) takes(now func() time.Time) *jwt.Verifier {
	i.t.Helper()
	return verifierOf(i.t, jwt.RemoteConfig{Issuer: i.url}, jwt.Config{Audience: []string{forJWT}, Now: now})
}

// TestTransportOIDCProvider: oidc-provider rotates refresh tokens and treats a spent one as theft.
// The client must use each token once, also with fifty concurrent requests, and an outage must not
// sign the user out.
func TestTransportOIDCProvider(t *testing.T) {
	t.Parallel()
	needScripts(t)
	for _, client := range []string{"robot", "phone"} {
		t.Run(client, func(t *testing.T) {
			t.Parallel()
			_, signs := privateKey(t, "ES256")
			i := &issuer{process: newProcess(t)}
			i.url = "http://" + i.address
			i.serve(signs)
			v := i.takes(nil)
			srv := newServer(t)
			srv.serve(srv.guard(durward.Config{Schemes: []durward.Scheme{v.Scheme()},
				Realm: "notes"}).Require(durward.Policy{Scopes: []string{"read"}}, hello))

			var now clock
			var out atomic.Int64
			store := held(t, i.signIn(client, ""))
			oauth := durwardclient.OAuth{TokenURL: i.url + "/token", ClientID: client, Resources: []string{forJWT},
				Now: now.now}
			if client == "robot" {
				oauth.Secret = robot["client_secret"].(string)
			}
			c := byTokens(t, durwardclient.TokensConfig{
				Origins: []string{srv.url}, Next: oauth.Refresh, Store: store, Now: now.now,
				OnSignedOut: func(error) { out.Add(1) },
			})
			race := func(want func(string, error) bool) {
				t.Helper()
				var all sync.WaitGroup
				for range 50 {
					all.Go(func() {
						if got, err := send(c, "POST", srv.url+"/x", "a body"); !want(got, err) {
							t.Errorf("%q, %v", got, err)
						}
					})
				}
				all.Wait()
			}
			good := func(got string, err error) bool {
				return err == nil && got == "200 hello, ada; you sent \"a body\"\n"
			}
			granted := "granted refresh_token " + client
			race(good)
			i.granted(granted)
			now.advance(11 * time.Minute) // the token has expired
			race(good)
			i.granted(granted, granted)
			now.advance(595 * time.Second) // the token is due for early renewal and still valid
			old, err := store.Load(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			race(good)
			for deadline := time.Now().Add(runTimeout); ; time.Sleep(10 * time.Millisecond) {
				token, err := store.Load(t.Context())
				if err != nil || time.Now().After(deadline) {
					t.Fatalf("not renewed ahead: %v", err)
				}
				if token.Access != old.Access {
					break
				}
			}
			i.granted(granted, granted, granted)

			// After the sign-in ended, all requests fail, and the issuer gets one request.
			form := map[string][]string{"token": {stored(t, store).Refresh}, "client_id": {client}}
			if client == "robot" {
				i.post("/token/revocation", form)
			} else if resp, err := http.PostForm(i.url+"/token/revocation", form); err != nil ||
				resp.StatusCode != 200 {
				t.Fatal(resp, err)
			}
			now.advance(11 * time.Minute)
			race(func(_ string, err error) bool { return errors.Is(err, durwardclient.ErrSignedOut) })
			i.granted(granted, granted, granted, "refused refresh_token invalid_grant")
			if out.Load() != 1 || stored(t, store).Access != "" {
				t.Errorf("told %d times that it is over; the store holds %v", out.Load(), stored(t, store))
			}

			// While the issuer is down, no token is discarded.
			store2 := held(t, i.signIn(client, ""))
			c = byTokens(t, durwardclient.TokensConfig{
				Origins: []string{srv.url}, Next: oauth.Refresh, Store: store2, Now: now.now,
				OnSignedOut: func(error) { out.Add(1) },
			})
			race(good)
			i.stop()
			now.advance(11 * time.Minute)
			race(func(_ string, err error) bool { return err != nil && !errors.Is(err, durwardclient.ErrSignedOut) })
			if out.Load() != 1 || stored(t, store2).Refresh == "" {
				t.Errorf("told %d times that it is over; the store holds %v", out.Load(), stored(t, store2))
			}
		})
	}
}

func stored(t *testing.T, s durwardclient.TokenStore) durwardclient.Token {
	t.Helper()
	token, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// TestTransportOIDCProviderDPoP: oidc-provider binds tokens to a key, with client credentials and
// with refresh tokens. The issuer and the API each require their own nonce in proofs.
func TestTransportOIDCProviderDPoP(t *testing.T) {
	t.Parallel()
	needScripts(t)
	for _, alg := range []string{"ES256", "EdDSA"} {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			_, signs := privateKey(t, "ES256")
			key, _ := privateKey(t, alg)
			i := &issuer{process: newProcess(t), nonces: true}
			i.url = "http://" + i.address
			i.serve(signs)
			var want []string
			for _, grant := range []string{"client_credentials", "refresh_token"} {
				srv := newDPoPServer(t, i.takes(nil))
				oauth := durwardclient.OAuth{TokenURL: i.url + "/token", ClientID: "robot",
					Secret: robot["client_secret"].(string), Scopes: []string{"read"}, Resources: []string{forJWT},
					Prove: key.Prove}
				config, subject := durwardclient.TokensConfig{Origins: []string{srv.url}, Prove: key.Prove,
					Next: oauth.ClientCredentials}, "robot"
				if grant == "refresh_token" {
					oauth.ClientID, oauth.Secret, subject = "phone", "", user
					config.Next, config.Store = oauth.Refresh, held(t, i.signIn("phone", key.ID()))
				}
				c := byTokens(t, config)
				for range 3 {
					gets(t, c, "POST", srv.url+"/x", "a body",
						fmt.Sprintf("200 hello, %s; you sent \"a body\"\n", subject))
				}
				good := "POST /x: " + subject + " by DPoP"
				srv.wantRequests("POST /x: NONCE_REQUIRED by DPoP", good, good, good)
				want = append(want, "refused "+grant+" use_dpop_nonce", "granted "+grant+" "+oauth.ClientID)
				i.granted(want...)
			}
		})
	}
}
