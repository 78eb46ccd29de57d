package api_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/client"
)

// stored returns a store with a token.
func stored(t *testing.T, token client.Token) *client.MemoryStore {
	t.Helper()
	store := new(client.MemoryStore)
	set := func(context.Context, client.Token) (client.Token, error) { return token, nil }
	if err := store.Update(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	return store
}

// newClient returns a client, or ends the test.
func newClient(t *testing.T, c api.ClientConfig) *api.Client {
	t.Helper()
	a, err := api.NewClient(c)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestClientConfig checks that NewClient refuses a URL that would expose credentials, and that no
// error shows a password of the URL.
func TestClientConfig(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		config api.ClientConfig
		want   string // in the error; empty for none
	}{
		{api.ClientConfig{URL: "https://auth.example.com"}, ""},
		{api.ClientConfig{URL: "http://localhost:8080/"}, ""},
		{api.ClientConfig{URL: "http://auth.example.com"}, "plain http"},
		{api.ClientConfig{URL: "http://auth.example.com", InsecureHTTP: true}, ""},
		{api.ClientConfig{URL: "auth.example.com"}, "not an origin"},
		{api.ClientConfig{URL: "https://auth.example.com/x"}, "an origin only"},
		{api.ClientConfig{URL: "https://ada:marked@auth.example.com"}, "an origin only"},
		{api.ClientConfig{URL: "http://ada:marked@auth.example.com"}, "plain http"},
		{api.ClientConfig{URL: "https://ada:marked@auth.example.com?q"}, "an origin only"},
	} {
		_, err := api.NewClient(c.config)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", c.config.URL, err, c.want)
		}
		if strings.Contains(fmt.Sprint(err), "marked") {
			t.Errorf("%s: the error shows the password: %v", c.config.URL, err)
		}
	}
}

func load(t *testing.T, s client.TokenStore) client.Token {
	t.Helper()
	token, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// Only the authorization server's own word signs out.
func TestSignedOut(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status int
		body   string
		out    bool
	}{
		"REFRESH_INVALID":  {401, `{"code":"REFRESH_INVALID"}`, true},
		"REFRESH_EXPIRED":  {401, `{"code":"REFRESH_EXPIRED"}`, true},
		"SESSION_REVOKED":  {401, `{"code":"SESSION_REVOKED"}`, true},
		"another 401":      {401, `{"code":"AUTHENTICATION_REQUIRED"}`, false},
		"a proxy's 401":    {401, `<html>`, false},
		"a proxy's 403":    {403, `<html>`, false},
		"an unknown code":  {401, `{"code":"SOMETHING"}`, false},
		"not found":        {404, ``, false},
		"too many":         {429, `{"code":"TOO_MANY_ATTEMPTS"}`, false},
		"an outage":        {503, `{"code":"AUTH_UNAVAILABLE"}`, false},
		"no token":         {200, `{}`, false},
		"a page":           {200, `<html>`, false},
		"a MAC token":      {200, `{"access_token":"a","token_type":"MAC"}`, false},
		"a broken token":   {200, `{"access_token":"a\nb","token_type":"Bearer"}`, false},
		"a redirect":       {307, ``, false},
		"a page by the MB": {200, strings.Repeat("x", 3<<20), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int64
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/api/auth/refresh" {
					t.Errorf("asked for %s", r.URL)
				}
				calls.Add(1)
				w.Header().Set("Content-Type", "application/problem+json")
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.body)
			}))
			defer s.Close()
			store := stored(t, client.Token{Access: "a", Type: "Bearer", Refresh: "dr_secret", Received: time.Now().Add(-time.Hour), Expires: time.Now().Add(-time.Minute)})
			var told atomic.Int64
			c := client.New(newClient(t, api.ClientConfig{URL: s.URL, Store: store}).Source(client.TokensConfig{OnSignedOut: func(error) { told.Add(1) }}))
			for range 3 {
				if _, err := c.Get(s.URL + "/api/profile"); err == nil || errors.Is(err, client.ErrSignedOut) != test.out {
					t.Errorf("error %v", err)
				} else if strings.Contains(err.Error(), "secret") {
					t.Errorf("the error holds a token: %v", err)
				}
			}
			left, err := store.Load(t.Context())
			if err != nil || (left.Refresh == "") != test.out {
				t.Errorf("left is %v, %v", left, err)
			}
			if calls.Load() != 1 || (told.Load() == 1) != test.out {
				t.Errorf("%d calls, told %d times", calls.Load(), told.Load())
			}
		})
	}
}

// A step-up goes by the scheme of the token that is held, whether or not the client could
// prove a key.
func TestStepUpScheme(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"Bearer", "DPoP"} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if got := r.Header.Get("Authorization"); got != scheme+" first" || r.URL.Path != "/api/auth/step-up" {
				t.Errorf("%s with %q", r.URL.Path, got)
			}
			fmt.Fprintf(w, `{"access_token":"second","token_type":%q}`, scheme)
		}))
		defer s.Close()
		store := stored(t, client.Token{Access: "first", Type: scheme})
		c := api.ClientConfig{URL: s.URL, Store: store, Prove: func(durward.ProofRequest) (string, error) { return "proof", nil }}
		if got, err := newClient(t, c).StepUp(t.Context(), "secret"); err != nil || got.Access != "second" || load(t, store).Access != "second" {
			t.Errorf("%s: %v, %v", scheme, got, err)
		}
	}
}

// A refresh does not come between a step-up and the store: it would be undone, and the
// refresh token that it got lost.
func TestStepUpStores(t *testing.T) {
	t.Parallel()
	store := stored(t, client.Token{Access: "first", Type: "Bearer", Refresh: "r-1"})
	done := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		go func() {
			defer close(done)
			err := store.Update(t.Context(), func(_ context.Context, stored client.Token) (client.Token, error) {
				if stored.Access != "second" {
					t.Errorf("a refresh began with %q", stored.Access)
				}
				return client.Token{Access: "third", Refresh: "r-2"}, nil
			})
			if err != nil {
				t.Error(err)
			}
		}()
		select {
		case <-done:
		case <-time.After(100 * time.Millisecond):
		}
		fmt.Fprint(w, `{"access_token":"second","token_type":"Bearer","refresh_token":"r-1"}`)
	}))
	defer s.Close()
	if _, err := newClient(t, api.ClientConfig{URL: s.URL, Store: store}).StepUp(t.Context(), "secret"); err != nil {
		t.Fatal(err)
	}
	<-done
	if got, err := store.Load(t.Context()); err != nil || got.Refresh != "r-2" {
		t.Errorf("left is %q, %v", got.Refresh, err)
	}
}
