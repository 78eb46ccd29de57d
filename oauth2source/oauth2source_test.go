package oauth2source_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/durward-auth/durward/client"
	"github.com/durward-auth/durward/oauth2source"
)

// endpoint returns the URL of a token endpoint that sends this response.
func endpoint(t *testing.T, status int, retry, answer string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if retry != "" {
			w.Header().Set("Retry-After", retry)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func refresh(url string) func(context.Context, client.Token) (client.Token, error) {
	return oauth2source.Refresh(&oauth2.Config{ClientID: "c", ClientSecret: "marked", Endpoint: oauth2.Endpoint{TokenURL: url, AuthStyle: oauth2.AuthStyleInHeader}})
}

// The error of a refusal tells whether the sign-in ended and when to try again. It shows no secret.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status        int
		retry, answer string
		out           bool
		after         time.Duration // -1 if the error is no RetryError
	}{
		"invalid_grant":  {400, "", `{"error":"invalid_grant","error_description":"marked"}`, true, -1},
		"invalid_client": {401, "", `{"error":"invalid_client"}`, false, -1},
		"outage":         {503, "20", `marked`, false, 20 * time.Second},
		"too many":       {429, "", `{}`, false, 0},
		"a past date":    {503, "Wed, 21 Oct 2015 07:28:00 GMT", ``, false, 0},
		"nonsense":       {503, "99999999999999999999", ``, false, 0},
		"a long code":    {400, "", `{"error":"` + strings.Repeat("long", 10_000) + `"}`, false, -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := refresh(endpoint(t, test.status, test.retry, test.answer))(t.Context(), client.Token{Refresh: "marked"})
			if err == nil || got != (client.Token{}) || errors.Is(err, client.ErrSignedOut) != test.out || strings.Contains(err.Error(), "marked") || len(err.Error()) > 500 {
				t.Errorf("%v, %v", got, err)
			}
			again, ok := errors.AsType[*client.RetryError](err)
			if ok != (test.after >= 0) || ok && again.After != test.after {
				t.Errorf("got the RetryError %v, want a wait of %s", again, test.after)
			}
		})
	}
	if _, err := refresh("http://127.0.0.1:1")(t.Context(), client.Token{}); !errors.Is(err, client.ErrSignedOut) {
		t.Errorf("without a refresh token: %v", err)
	}
	if _, err := refresh("http://127.0.0.1:1")(t.Context(), client.Token{Refresh: "r"}); err == nil || errors.Is(err, client.ErrSignedOut) {
		t.Errorf("an unreachable server: got %v, want an error other than ErrSignedOut", err)
	}
}

// A token keeps the values that the response omits, and ends by expires_in.
func TestRefresh(t *testing.T) {
	t.Parallel()
	old := client.Token{Refresh: "first", RefreshExpires: time.Now().Add(time.Hour), Scope: "read"}
	got, err := refresh(endpoint(t, 200, "", `{"access_token":"a","token_type":"bearer","expires_in":60}`))(t.Context(), old)
	if err != nil || got.Access != "a" || got.Type != "Bearer" || got.Refresh != "first" || got.RefreshExpires != old.RefreshExpires || got.Scope != "read" {
		t.Errorf("%#v, %v", got, err)
	}
	if life := got.Expires.Sub(got.Received); life != time.Minute {
		t.Errorf("it lives for %s", life)
	}
	got, err = refresh(endpoint(t, 200, "", `{"access_token":"a","token_type":"Bearer","refresh_token":"second","scope":"read write"}`))(t.Context(), old)
	if err != nil || got.Refresh != "second" || !got.RefreshExpires.IsZero() || got.Scope != "read write" || !got.Expires.IsZero() {
		t.Errorf("%#v, %v", got, err)
	}
}

// With the source in a Transport a 401 gets the next token, once.
func TestTransportOAuth2(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	n := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path == "/token" {
			n++
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"access_token":"token-%d","token_type":"Bearer","expires_in":3600}`, n)
			return
		}
		if r.Header.Get("Authorization") != "Bearer token-2" {
			w.Header().Set("WWW-Authenticate", `Bearer realm="r", error="invalid_token"`)
			w.WriteHeader(401)
		}
	}))
	defer s.Close()
	c := client.New(client.Tokens(client.TokensConfig{Origins: []string{s.URL},
		Next: oauth2source.ClientCredentials(&clientcredentials.Config{ClientID: "c", ClientSecret: "s", TokenURL: s.URL + "/token", AuthStyle: oauth2.AuthStyleInHeader})}))
	for range 3 {
		resp, err := c.Get(s.URL + "/api")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("status %d", resp.StatusCode)
		}
	}
	if n != 2 {
		t.Errorf("%d tokens, want 2", n)
	}
}
