package client

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/durward-auth/durward/internal/loopback"
	"github.com/durward-auth/durward/internal/printable"
)

// SignIn signs a user in at an OAuth 2.0 authorization server, in the browser of this machine: by the
// authorization code flow (RFC 6749 s4.1) with PKCE (RFC 7636), whose response comes to a port of this machine
// (RFC 8252 s7.3). It is for programs on the user's own machine. Open and AuthorizeURL are required.
type SignIn struct {
	AuthorizeURL string

	// Open shows the user a URL, in a browser or as text.
	Open func(ctx context.Context, url string) error

	// Redirect is the registered redirect URI; empty means http://127.0.0.1/callback. Without a port
	// in it, each sign-in uses a free port.
	Redirect string

	// Issuer, if set, must be the iss of the response (RFC 9207): for clients of several servers.
	Issuer string

	Params url.Values    // of the authorization request, such as prompt or login_hint
	Wait   time.Duration // for the user; default 10 min
}

// signedInPage is shown to the user at the end.
const signedInPage = "<!DOCTYPE html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">" +
	"<title>Return to the program</title><h1>Return to the program</h1><p>You can close this page.</p></html>\n"

// SignIn asks the user for a token with the scopes and resources of o, and returns it. It returns a
// [*ResponseError] with the error of the authorization server (RFC 6749 s4.1.2.1) as its Reason: access_denied
// if the user declined.
//
// With Prove set, the tokens are bound to its key from the token request on (RFC 9449 s5).
func (o *OAuth) SignIn(ctx context.Context, s SignIn) (Token, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(s.Wait, 10*time.Minute))
	defer cancel()
	page, err := url.Parse(s.AuthorizeURL)
	switch {
	case s.Open == nil:
		return Token{}, errors.New("durward: SignIn: set Open, which shows the user a URL")
	case err != nil || originOf(page) == (origin{}) || page.Fragment != "":
		return Token{}, fmt.Errorf("durward: SignIn: AuthorizeURL %q is not an http or https URL", s.AuthorizeURL)
	case !o.InsecureHTTP && !originOf(page).confidential():
		return Token{}, fmt.Errorf("durward: SignIn: AuthorizeURL %s: plain http would expose the sign-in; use https", page.Redacted())
	}
	l, redirect, err := listen(ctx, cmp.Or(s.Redirect, "http://127.0.0.1/callback"))
	if err != nil {
		return Token{}, err
	}
	defer l.Close()
	state, verifier := secret(), secret()
	challenge := sha256.Sum256([]byte(verifier)) // RFC 7636 s4.2
	query := page.Query()
	if len(o.Scopes) > 0 {
		query.Set("scope", strings.Join(o.Scopes, " "))
	}
	if len(o.Resources) > 0 {
		query["resource"] = o.Resources
	}
	maps.Copy(query, s.Params)
	maps.Copy(query, url.Values{
		"response_type":         {"code"},
		"client_id":             {o.ClientID},
		"redirect_uri":          {redirect.String()},
		"state":                 {state},
		"code_challenge":        {base64.RawURLEncoding.EncodeToString(challenge[:])},
		"code_challenge_method": {"S256"},
	})
	page.RawQuery = query.Encode()

	answers := make(chan url.Values, 1)
	server := http.Server{
		Handler:           received(redirect.EscapedPath(), state, answers),
		ReadHeaderTimeout: 10 * time.Second,
		WriteTimeout:      10 * time.Second,
		MaxHeaderBytes:    64 << 10,
	}
	go func() { _ = server.Serve(l) }() // it ends with Shutdown below
	defer func() {
		// The page of the response is on its way.
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		_ = server.Shutdown(ending)
	}()
	if err := s.Open(ctx, page.String()); err != nil {
		return Token{}, fmt.Errorf("durward: SignIn: cannot show the user the sign-in page: %w", err)
	}
	var answer url.Values
	select {
	case answer = <-answers:
	case <-ctx.Done():
		return Token{}, fmt.Errorf("durward: SignIn: the user did not finish the sign-in: %w", context.Cause(ctx))
	}
	// RFC 9207 s2.4: also the issuer of an error is compared.
	if iss := answer.Get("iss"); s.Issuer != "" && iss != s.Issuer {
		return Token{}, fmt.Errorf("durward: SignIn: the response is of the issuer %q, want %q: another server may have mixed itself in",
			printable.Line(iss, maxShown), s.Issuer)
	}
	if reason := answer.Get("error"); reason != "" {
		return Token{}, (&ResponseError{Status: http.StatusBadRequest}).withReason(reason, answer.Get("error_description"))
	}
	t, err := o.post(ctx, Token{}, url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {answer.Get("code")},
		"redirect_uri":  {redirect.String()},
		"code_verifier": {verifier},
	})
	if err == nil && t.Scope == "" {
		t.Scope = strings.Join(o.Scopes, " ") // RFC 6749 s5.1
	}
	return t, err
}

// StepUp returns a function for [Transport.OnStepUp]: it signs the user in again as the server asks, with the
// needed acr_values and max_age (RFC 9470 s4) or with the further scopes, and stores the new token. store is
// that of the [Tokens] source.
func (o *OAuth) StepUp(s SignIn, store TokenStore) func(context.Context, StepUp) error {
	return func(ctx context.Context, need StepUp) error {
		s := s
		s.Params = maps.Clone(s.Params)
		if s.Params == nil {
			s.Params = url.Values{}
		}
		if len(need.ACRValues) > 0 {
			s.Params.Set("acr_values", strings.Join(need.ACRValues, " "))
		}
		if need.MaxAge != "" {
			s.Params.Set("max_age", need.MaxAge)
		}
		if need.Claims != "" {
			s.Params.Set("claims", need.Claims)
		}
		old, err := store.Load(ctx)
		if err != nil {
			return err
		}
		// A token for the further scopes alone would lose those of other requests.
		scopes := slices.Clone(o.Scopes)
		for _, scope := range append(strings.Fields(old.Scope), need.Scopes...) {
			if !slices.Contains(scopes, scope) {
				scopes = append(scopes, scope)
			}
		}
		if len(scopes) > 0 {
			s.Params.Set("scope", strings.Join(scopes, " "))
		}
		t, err := o.SignIn(ctx, s)
		if err != nil {
			return err
		}
		return store.Update(ctx, func(context.Context, Token) (Token, error) { return t, nil })
	}
}

// listen listens for the response to a redirect URI at a loopback address, and returns the URI with its port.
func listen(ctx context.Context, text string) (net.Listener, *url.URL, error) {
	redirect, err := url.Parse(text)
	if err != nil || redirect.Scheme != "http" || !loopback.Host(redirect.Hostname()) || redirect.Fragment != "" || redirect.User != nil {
		return nil, nil, fmt.Errorf("durward: SignIn: Redirect %q is not an http URL of this machine, such as http://127.0.0.1/callback", text)
	}
	host := redirect.Hostname()
	if host == "localhost" { // the listener must not be reachable from other machines (RFC 8252 s8.3)
		host = "127.0.0.1"
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(host, cmp.Or(redirect.Port(), "0")))
	if err != nil {
		return nil, nil, fmt.Errorf("durward: SignIn: cannot wait for the response at %s: %w", text, err)
	}
	if redirect.Port() == "" {
		_, port, _ := net.SplitHostPort(l.Addr().String())
		redirect.Host = net.JoinHostPort(redirect.Hostname(), port)
	}
	if redirect.Path == "" {
		redirect.Path = "/"
	}
	return l, redirect, nil
}

// received returns the handler of the redirect URI. It passes on the parameters of the first response with the
// right state; other programs of this machine do not know it.
func received(path, state string, answers chan<- url.Values) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		query := r.URL.Query()
		switch {
		case r.URL.EscapedPath() != path:
			http.NotFound(w, r)
			return
		case r.Method != http.MethodGet:
			h.Set("Allow", "GET")
			http.Error(w, "GET only", http.StatusMethodNotAllowed)
			return
		case len(query["state"]) != 1 || subtle.ConstantTimeCompare([]byte(query.Get("state")), []byte(state)) != 1:
			http.Error(w, "This response belongs to another sign-in.", http.StatusBadRequest)
			return
		case query.Get("code") == "" && query.Get("error") == "":
			http.Error(w, "This response has neither a code nor an error.", http.StatusBadRequest)
			return
		}
		select {
		case answers <- query:
		default: // the first response counts
		}
		h.Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, signedInPage)
	})
}

// secret returns 256 random bits in base64url.
func secret() string {
	octets := make([]byte, 32)
	_, _ = rand.Read(octets) // crypto/rand.Read never returns an error
	return base64.RawURLEncoding.EncodeToString(octets)
}
