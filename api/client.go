package api

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/client"
	"github.com/durward-auth/durward/internal/dpop"
	"github.com/durward-auth/durward/internal/loopback"
)

// ClientConfig configures a [Client]. URL is required.
type ClientConfig struct {
	// URL is the server's origin, such as https://auth.example.com.
	URL string

	// Store keeps the token of the sign-in. StepUp and SignOut need it. Nil keeps it in memory.
	Store client.TokenStore

	// Prove makes DPoP proofs (RFC 9449 s4): the Prove method of a jwt.PrivateKey. Then the server
	// binds tokens to that key.
	Prove func(durward.ProofRequest) (string, error)

	// Token returns the credentials for Revocations: an API key or access token with the scope
	// revocations.
	Token func(context.Context) (string, error)

	// HTTP sends the requests; nil means a client with a timeout of 30 s. Redirects are not
	// followed. It must not add credentials of its own.
	HTTP *http.Client

	// InsecureHTTP accepts a URL over plain http beyond loopback, where anyone on the network path
	// can read passwords and tokens.
	InsecureHTTP bool

	// Now is the clock; nil means [time.Now].
	Now func() time.Time
}

// A Client calls the API of one Durward server. It is safe for concurrent use.
type Client struct {
	c      ClientConfig // with defaults
	base   *url.URL
	http   http.Client
	proofs dpop.State
}

// NewClient returns a client, or an error that names the mistake in the URL.
func NewClient(c ClientConfig) (*Client, error) {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil:
		return nil, errors.New("api: cannot parse URL")
	case u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("api: URL %q is not an origin such as https://auth.example.com", u.Redacted())
	case u.Scheme == "http" && !loopback.Host(u.Hostname()) && !c.InsecureHTTP:
		return nil, fmt.Errorf("api: URL %q: plain http would expose credentials; use https", u.Redacted())
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		return nil, fmt.Errorf("api: URL %q: give an origin only, without user, path, query and fragment", u.Redacted())
	}
	c.Store = cmp.Or[client.TokenStore](c.Store, new(client.MemoryStore))
	if c.Now == nil {
		c.Now = time.Now
	}
	a := &Client{c: c, base: &url.URL{Scheme: u.Scheme, Host: u.Host}, http: http.Client{Timeout: 30 * time.Second}}
	if c.HTTP != nil {
		a.http = *c.HTTP
	}
	a.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return a, nil
}

// Source returns a source for [client.Transport] that sends the access token of this client's sign-in
// to the server and to t.Origins, and refreshes it. It sets t.Next and t.AuthEndpoints, adds the server
// to t.Origins, and takes Store, Prove, InsecureHTTP and Now from the client unless t has them.
func (a *Client) Source(t client.TokensConfig) client.Source {
	t.Origins = append([]string{a.base.String()}, t.Origins...)
	t.Next, t.AuthEndpoints = a.Refresh, a.base.JoinPath("/api/auth/").String()
	t.Store = cmp.Or(t.Store, a.c.Store)
	if t.Prove == nil {
		t.Prove = a.c.Prove
	}
	if t.Now == nil {
		t.Now = a.c.Now
	}
	t.InsecureHTTP = t.InsecureHTTP || a.c.InsecureHTTP
	return client.Tokens(t)
}

// FactorRequiredError is the error of [Client.SignIn] for a user with a second factor. It wraps
// [durward.MFARequired].
type FactorRequiredError struct {
	Token   string   // names the sign-in for ten minutes; keep it secret
	Methods []string // second factors of the user, such as [FactorTOTP]
	err     error
}

func (e *FactorRequiredError) Error() string { return e.err.Error() }

// Unwrap returns the refusal.
func (e *FactorRequiredError) Unwrap() error { return e.err }

// SignIn signs a user in with e-mail address and password, and stores the token. A wrong address or
// password is an error that wraps [durward.InvalidCredentials]. For a user with a second factor the error
// is a *[FactorRequiredError]: call FinishSignIn with a code.
func (a *Client) SignIn(ctx context.Context, email, password string) (client.Token, error) {
	return a.signIn(ctx, "/api/auth/login", LoginRequest{Email: email, Password: password})
}

// FinishSignIn finishes a sign-in with a code of a second factor, and stores the token. A wrong code is an
// error that wraps [durward.InvalidCredentials]; another may be sent. [durward.SessionExpired] means that
// the sign-in has ended: begin again with SignIn.
func (a *Client) FinishSignIn(ctx context.Context, half *FactorRequiredError, method, code string) (client.Token, error) {
	return a.signIn(ctx, "/api/auth/login/mfa", MFARequest{MFAToken: half.Token, Method: method, Code: code})
}

func (a *Client) signIn(ctx context.Context, path string, body any) (t client.Token, err error) {
	if t, err = a.tokens(ctx, path, body, client.Token{}); err != nil {
		return client.Token{}, err
	}
	err = a.c.Store.Update(ctx, func(context.Context, client.Token) (client.Token, error) { return t, nil })
	if err != nil {
		return client.Token{}, err
	}
	return t, nil
}

// StepUp sends the user's password again, as [client.Transport.OnStepUp] may need, and replaces the
// stored token. A user with a second factor is refused with [durward.MFARequired]: call StepUpWith.
func (a *Client) StepUp(ctx context.Context, password string) (client.Token, error) {
	return a.StepUpWith(ctx, StepUpRequest{Password: password})
}

// StepUpWith is StepUp with the password or a code of a second factor.
func (a *Client) StepUpWith(ctx context.Context, by StepUpRequest) (t client.Token, err error) {
	// No refresh may run between the request and the store: its token would be lost.
	err = a.c.Store.Update(ctx, func(ctx context.Context, old client.Token) (client.Token, error) {
		t, err = a.tokens(ctx, "/api/auth/step-up", by, old)
		return t, err
	})
	if err != nil {
		return client.Token{}, err
	}
	return t, nil
}

// SignOut ends the sign-in at the server and empties the store. If the server does not answer, it
// changes nothing.
func (a *Client) SignOut(ctx context.Context) error {
	return a.c.Store.Update(ctx, func(ctx context.Context, t client.Token) (client.Token, error) {
		if t.Refresh == "" {
			return client.Token{}, nil
		}
		resp, err := a.post(ctx, "/api/auth/logout", LogoutRequest{RefreshToken: t.Refresh}, client.Token{})
		if err != nil {
			return client.Token{}, err
		}
		defer resp.Body.Close()
		return client.Token{}, check(resp, http.StatusNoContent)
	})
}

// Refresh gets the token after old. It has the form of [client.TokensConfig.Next]. Only a 401 of this
// endpoint with one of its own codes means [client.ErrSignedOut].
func (a *Client) Refresh(ctx context.Context, old client.Token) (client.Token, error) {
	if old.Refresh == "" {
		return client.Token{}, fmt.Errorf("%w: no refresh token", client.ErrSignedOut)
	}
	t, err := a.tokens(ctx, "/api/auth/refresh", RefreshRequest{RefreshToken: old.Refresh}, client.Token{})
	for _, code := range []durward.Code{durward.RefreshInvalid, durward.RefreshExpired, durward.SessionRevoked} {
		if errors.Is(err, code) {
			return client.Token{}, fmt.Errorf("%w: %w", client.ErrSignedOut, err)
		}
	}
	return t, err
}

// tokens sends a request and reads the token in its response.
func (a *Client) tokens(ctx context.Context, path string, body any, with client.Token) (client.Token, error) {
	asked := a.c.Now()
	resp, err := a.post(ctx, path, body, with)
	if err != nil {
		return client.Token{}, err
	}
	defer resp.Body.Close()
	var refused bytes.Buffer
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.TeeReader(resp.Body, &refused), resp.Body}
	if err := check(resp, http.StatusOK); err != nil {
		return client.Token{}, factorRequired(refused.Bytes(), err)
	}
	var in TokenResponse
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxTokens)).Decode(&in); err != nil {
		return client.Token{}, fmt.Errorf("api: cannot read the response of %s; is it a Durward server? %w", path, err)
	}
	if in.AccessToken == "" || in.TokenType == "" {
		return client.Token{}, fmt.Errorf("api: the response of %s has no token; is it a Durward server?", path)
	}
	t := client.Token{
		Access:   in.AccessToken,
		Type:     in.TokenType,
		Received: asked,
		Refresh:  in.RefreshToken,
		Scope:    in.Scope,
	}
	if in.ExpiresIn > 0 {
		t.Expires = asked.Add(time.Duration(in.ExpiresIn) * time.Second)
	}
	if in.RefreshExpiresIn > 0 {
		t.RefreshExpires = asked.Add(time.Duration(in.RefreshExpiresIn) * time.Second)
	}
	return t, nil
}

// factorRequired adds the members of the refusal MFA_REQUIRED to err.
func factorRequired(body []byte, err error) error {
	var in struct {
		Token   string   `json:"mfa_token"`
		Methods []string `json:"methods"`
	}
	if !errors.Is(err, durward.MFARequired) || json.Unmarshal(body, &in) != nil || in.Token == "" {
		return err
	}
	return &FactorRequiredError{in.Token, in.Methods, err}
}

func (a *Client) post(ctx context.Context, path string, body any, with client.Token) (*http.Response, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	r := dpop.Request{
		Client:      &a.http,
		URL:         a.base.JoinPath(path),
		ContentType: "application/json",
		Body:        text,
		Token:       with.Access,
		Prove:       a.c.Prove,
		State:       &a.proofs,
	}
	switch {
	case strings.EqualFold(with.Type, "DPoP"):
		r.Authorization = "DPoP " + with.Access
	case with.Access != "":
		r.Authorization = "Bearer " + with.Access
	}
	return r.Send(ctx)
}

// check returns an error unless the response has the wanted status: for a refusal a
// [*client.ResponseError].
func check(resp *http.Response, want int) error {
	if resp.StatusCode == want {
		return nil
	}
	if err := client.CheckResponse(resp); err != nil {
		return err
	}
	return fmt.Errorf("api: unexpected status %d; is it a Durward server?", resp.StatusCode)
}
