package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/dpop"
)

// OAuth gets tokens from the token endpoint of an OAuth 2.0 authorization server (RFC 6749). TokenURL
// and ClientID are required. Do not change or copy it after its first use. Its methods have the form
// of [TokensConfig.Next].
type OAuth struct {
	TokenURL string
	ClientID string

	// Secret of a confidential client. It is sent by Basic (RFC 6749 s2.3.1), or with SecretInBody
	// in the body.
	Secret       string
	SecretInBody bool

	Scopes    []string
	Resources []string   // RFC 8707
	Params    url.Values // sent with each request

	// Prove makes DPoP proofs, as in TokensConfig. The latest nonce of the token endpoint is kept for
	// the next proof.
	Prove func(durward.ProofRequest) (string, error)

	HTTP         *http.Client     // nil means a client with a timeout of 30 s; redirects are not followed
	InsecureHTTP bool             // accept a TokenURL over plain http beyond loopback
	Now          func() time.Time // the clock; nil means time.Now

	proofs dpop.State
}

// Refresh gets the token after old with its refresh token (RFC 6749 s6).
func (o *OAuth) Refresh(ctx context.Context, old Token) (Token, error) {
	if old.Refresh == "" {
		return Token{}, fmt.Errorf("%w: no refresh token", ErrSignedOut)
	}
	t, err := o.post(ctx, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {old.Refresh}})
	if err == nil && t.Refresh == "" {
		t.Refresh, t.RefreshExpires = old.Refresh, old.RefreshExpires // RFC 6749 s6: it stays valid
	}
	if err == nil && t.Scope == "" {
		t.Scope = old.Scope // RFC 6749 s5.1
	}
	return t, err
}

// ClientCredentials gets a token for the client itself (RFC 6749 s4.4). It ignores the old token.
func (o *OAuth) ClientCredentials(ctx context.Context, _ Token) (Token, error) {
	form := url.Values{"grant_type": {"client_credentials"}}
	if len(o.Scopes) > 0 {
		form.Set("scope", strings.Join(o.Scopes, " "))
	}
	return o.post(ctx, form)
}

func (o *OAuth) post(ctx context.Context, form url.Values) (Token, error) {
	u, err := url.Parse(o.TokenURL)
	switch {
	case err == nil && u.User != nil:
		return Token{}, errors.New("durward: OAuth: TokenURL holds a user name; set ClientID and Secret")
	case err != nil || originOf(u) == (origin{}):
		return Token{}, fmt.Errorf("durward: OAuth: TokenURL %q is not an http or https URL", o.TokenURL)
	case !o.InsecureHTTP && !originOf(u).confidential():
		return Token{}, fmt.Errorf("durward: OAuth: TokenURL %s: plain http would expose tokens; use https", o.TokenURL)
	}
	for name, values := range o.Params {
		form[name] = values
	}
	if len(o.Resources) > 0 {
		form["resource"] = o.Resources
	}
	authorization := ""
	switch {
	case o.Secret == "":
		form.Set("client_id", o.ClientID)
	case o.SecretInBody:
		form.Set("client_id", o.ClientID)
		form.Set("client_secret", o.Secret)
	default: // RFC 6749 s2.3.1: both are form-encoded first
		pair := url.QueryEscape(o.ClientID) + ":" + url.QueryEscape(o.Secret)
		authorization = "Basic " + base64.StdEncoding.EncodeToString([]byte(pair))
	}
	now := o.Now
	if now == nil {
		now = time.Now
	}
	h := &http.Client{Timeout: 30 * time.Second}
	if o.HTTP != nil {
		*h = *o.HTTP
	}
	h.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	asked := now()
	resp, err := dpop.Request{
		Client:        h,
		URL:           u,
		ContentType:   "application/x-www-form-urlencoded",
		Body:          []byte(form.Encode()),
		Authorization: authorization,
		Prove:         o.Prove,
		State:         &o.proofs,
	}.Send(ctx)
	if err != nil {
		return Token{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return Token{}, refused(resp)
	}
	return readToken(resp, asked)
}

// refused returns the error of a token endpoint's refusal. Only an invalid grant signs out; after an
// error of the client or the request the grant may still be valid.
func refused(resp *http.Response) error {
	e := newResponseError(resp)
	if e.Reason == "invalid_grant" && (e.Status == http.StatusBadRequest || e.Status == http.StatusUnauthorized) {
		return fmt.Errorf("%w: %w", ErrSignedOut, e)
	}
	return e
}

// readToken reads the response of a token endpoint (RFC 6749 s5.1).
func readToken(resp *http.Response, asked time.Time) (Token, error) {
	var a struct {
		Access           string      `json:"access_token"`
		Type             string      `json:"token_type"`
		ExpiresIn        json.Number `json:"expires_in"` // some servers send a string
		Refresh          string      `json:"refresh_token"`
		RefreshExpiresIn json.Number `json:"refresh_expires_in"` // not in RFC 6749; several servers send it
		Scope            string      `json:"scope"`
		Error            string      `json:"error"`
		Description      string      `json:"error_description"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(&a); err != nil {
		return Token{}, fmt.Errorf("durward: cannot read the token response of %s: %w", resp.Request.URL.Redacted(), err)
	}
	t := Token{Access: a.Access, Type: a.Type, Received: asked, Refresh: a.Refresh, Scope: a.Scope}
	switch {
	case a.Access == "" && a.Error != "": // some servers refuse with status 200
		return Token{}, (&ResponseError{Status: resp.StatusCode}).withReason(a.Error, a.Description)
	case a.Access == "" || a.Type == "" || !t.hasScheme():
		return Token{}, fmt.Errorf("durward: the response of %s has no Bearer or DPoP token", resp.Request.URL.Redacted())
	}
	t.Expires, t.RefreshExpires = after(asked, a.ExpiresIn), after(asked, a.RefreshExpiresIn)
	return t, nil
}

// after returns the time a number of seconds after asked, or the zero time for an unknown number.
func after(asked time.Time, seconds json.Number) time.Time {
	n, err := strconv.ParseFloat(string(seconds), 64)
	if err != nil || n <= 0 || n > 10*365*86400 {
		return time.Time{}
	}
	return asked.Add(time.Duration(n * float64(time.Second)))
}
