package e2e

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward/client"
)

// byHTTP opens a URL as a browser without scripts does, and follows its redirects.
func byHTTP(ctx context.Context, u string) error {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Jar: jar}).Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// A program signs its user in at Dex by a redirect to a port of this machine, refreshes, and takes no response
// that belongs to another sign-in.
func TestSignInAtDex(t *testing.T) {
	t.Parallel()
	d := newDex(t)
	d.serve()
	o := &client.OAuth{TokenURL: d.url + "/token", ClientID: "native", Scopes: []string{"openid", "offline_access"}}
	s := client.SignIn{AuthorizeURL: d.url + "/auth", Redirect: "http://localhost/callback", Open: byHTTP}
	token, err := o.SignIn(t.Context(), s)
	if err != nil {
		t.Fatalf("%v; its log:\n%s", err, d.logText())
	}
	if token.Access == "" || token.Refresh == "" || !token.Expires.After(time.Now()) {
		t.Errorf("got %v", token)
	}
	if next, err := o.Refresh(t.Context(), token); err != nil || next.Access == token.Access {
		t.Errorf("refresh: %v, %v", next, err)
	}

	// Requests of other programs before the response change nothing.
	s.Open = func(ctx context.Context, u string) error {
		page, err := url.Parse(u)
		if err != nil {
			return err
		}
		redirect := page.Query().Get("redirect_uri")
		for _, query := range []string{"", "?code=x", "?code=x&state=y", "?state=" + page.Query().Get("state"), "?code=x&state=" + page.Query().Get("state") + "&state=z"} {
			resp, err := http.Get(redirect + query)
			if err != nil {
				return err
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusBadRequest {
				t.Errorf("%q: %s, want 400", query, resp.Status)
			}
		}
		return byHTTP(ctx, u)
	}
	if _, err := o.SignIn(t.Context(), s); err != nil {
		t.Error(err)
	}

	// A refusal of the authorization server arrives with its reason.
	s.Open = byHTTP
	s.Params = url.Values{"scope": {"profile"}} // Dex wants openid
	_, err = o.SignIn(t.Context(), s)
	if refused, ok := errors.AsType[*client.ResponseError](err); !ok || refused.Reason != "invalid_scope" {
		t.Errorf("refusal: %v", err)
	}

	// A user who does nothing is not waited for without end.
	s.Params, s.Wait = nil, 50*time.Millisecond
	s.Open = func(context.Context, string) error { return nil }
	if _, err := o.SignIn(t.Context(), s); err == nil || !strings.Contains(err.Error(), "did not finish") {
		t.Errorf("no response: %v", err)
	}
	s.Wait, s.Issuer, s.Open = 0, "https://other.example", byHTTP
	if _, err := o.SignIn(t.Context(), s); err == nil || !strings.Contains(err.Error(), "another server") {
		t.Errorf("another issuer: %v", err)
	}
}
