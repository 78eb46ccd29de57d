package client

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/dpop"
	"github.com/durward-auth/durward/internal/printable"
)

// OAuth gets tokens from the token endpoint of an OAuth 2.0 authorization server (RFC 6749).
// TokenURL and ClientID are required. Do not change or copy it after its first use. Its methods
// have the form of [TokensConfig.Next].
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

	// TokenType is the type of tokens whose response names none, or one that is no authentication
	// scheme: "Bearer" for LinkedIn (none), Slack ("bot", "user") and Apigee ("BearerToken"). By
	// default such a response is an error (RFC 6749 s7.1). A response that says Bearer or DPoP is
	// believed.
	TokenType string

	// SignedOutBy lists errors of the token endpoint that end the sign-in, beside invalid_grant
	// (RFC 6749 s5.2): bad_refresh_token of GitHub, invalid_refresh_token of Slack,
	// refresh_token_not_found of Supabase, TOKEN_EXPIRED of Firebase. Other errors keep the token.
	SignedOutBy []string

	// Prove makes DPoP proofs, as in TokensConfig. The latest nonce of the token endpoint is kept
	// for the next proof.
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
	t, err := o.post(ctx, old, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {old.Refresh}})
	if err == nil && t.Refresh == "" {
		t.Refresh, t.RefreshExpires = old.Refresh, old.RefreshExpires // RFC 6749 s6: it stays valid
	}
	if err == nil && t.Scope == "" {
		t.Scope = old.Scope // RFC 6749 s5.1
	}
	return t, err
}

// ClientCredentials gets a token for the client itself (RFC 6749 s4.4). Of the old token it uses
// only Claims.
func (o *OAuth) ClientCredentials(ctx context.Context, old Token) (Token, error) {
	form := url.Values{"grant_type": {"client_credentials"}}
	if len(o.Scopes) > 0 {
		form.Set("scope", strings.Join(o.Scopes, " "))
	}
	return o.post(ctx, old, form)
}

func (o *OAuth) post(ctx context.Context, old Token, form url.Values) (Token, error) {
	u, err := url.Parse(o.TokenURL)
	switch {
	case err == nil && u.User != nil:
		return Token{}, errors.New("durward: OAuth: TokenURL holds a user name; set ClientID and Secret")
	case err != nil || originOf(u) == (origin{}):
		return Token{}, fmt.Errorf("durward: OAuth: TokenURL %q is not an http or https URL", o.TokenURL)
	case !o.InsecureHTTP && !originOf(u).confidential():
		return Token{}, fmt.Errorf("durward: OAuth: TokenURL %s: plain http would expose tokens; use https", o.TokenURL)
	case !(Token{Type: o.TokenType}).hasScheme():
		return Token{}, fmt.Errorf("durward: OAuth: TokenType is %q; set Bearer or DPoP", o.TokenType)
	}
	for name, values := range o.Params {
		form[name] = values
	}
	if len(o.Resources) > 0 {
		form["resource"] = o.Resources
	}
	if old.Claims != "" {
		form.Set("claims", old.Claims) // OpenID Connect Core s5.5, here at the token endpoint
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
	t, refusal, err := readToken(resp, asked)
	switch {
	case refusal != nil:
		return Token{}, o.refused(refusal)
	case err != nil:
		return Token{}, err
	case t.Type == "" || !t.hasScheme():
		if o.TokenType == "" {
			return Token{}, fmt.Errorf("durward: the response of %s has a token of type %q, not Bearer or DPoP; "+
				"if it is sent as a Bearer token, set OAuth.TokenType", u.Redacted(), printable.Line(t.Type, maxShown))
		}
		t.Type = o.TokenType
	}
	return t, nil
}

// refused returns the error for a token endpoint's refusal. Only an invalid grant, or an error that
// the configuration lists, signs out; after an error of the client or the request the grant may
// still be valid, as after an outage.
func (o *OAuth) refused(e *ResponseError) error {
	ends := e.Reason == "invalid_grant" || e.Reason != "" && slices.Contains(o.SignedOutBy, e.Reason)
	if ends && e.Status < 500 && e.Status != http.StatusTooManyRequests {
		return fmt.Errorf("%w: %w", ErrSignedOut, e)
	}
	return e
}

// readToken reads the response of a token endpoint (RFC 6749 s5.1): a token or a refusal. Of the
// members that the client does not need, one in another form counts as absent.
func readToken(resp *http.Response, asked time.Time) (t Token, refusal *ResponseError, err error) {
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return Token{}, newResponseError(resp), nil
	}
	var a struct {
		Access                string `json:"access_token"`
		Type                  text   `json:"token_type"`
		ExpiresIn             number `json:"expires_in"`
		Refresh               string `json:"refresh_token"`
		RefreshExpiresIn      number `json:"refresh_expires_in"`       // of Keycloak and others
		RefreshTokenExpiresIn number `json:"refresh_token_expires_in"` // of GitHub, LinkedIn, Apigee
		Scope                 words  `json:"scope"`
		failure
	}
	at := resp.Request.URL.Redacted()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(&a); err != nil {
		return Token{}, nil, fmt.Errorf("durward: cannot read the token response of %s: %w", at, err)
	}
	reason, description := a.failure.reason()
	switch {
	case a.Access == "" && reason != "": // GitHub and Slack refuse with status 200
		return Token{}, (&ResponseError{Status: resp.StatusCode}).withReason(reason, description), nil
	case a.Access == "":
		return Token{}, nil, fmt.Errorf("durward: the response of %s has no access_token", at)
	}
	t = Token{
		Access:         a.Access,
		Type:           string(a.Type),
		Received:       asked,
		Expires:        a.ExpiresIn.after(asked),
		Refresh:        a.Refresh,
		RefreshExpires: cmp.Or(a.RefreshExpiresIn, a.RefreshTokenExpiresIn).after(asked),
		Scope:          string(a.Scope),
	}
	return t, nil, nil
}

// number is a JSON number of seconds, or a string with one. Another form is the zero number.
type number float64

// UnmarshalJSON never fails.
func (n *number) UnmarshalJSON(text []byte) error {
	f, err := strconv.ParseFloat(strings.Trim(string(text), `"`), 64)
	if err != nil || !(f > 0 && f <= 10*365*86400) {
		f = 0
	}
	*n = number(f)
	return nil
}

// after returns the time n seconds after asked, or the zero time if n is 0.
func (n number) after(asked time.Time) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return asked.Add(time.Duration(float64(n) * float64(time.Second)))
}

// words is a JSON string of words with spaces between them, or a list of them, as Twitch sends
// scope. Another form is the empty string.
type words string

// UnmarshalJSON never fails.
func (w *words) UnmarshalJSON(text []byte) error {
	var one string
	var list []string
	if json.Unmarshal(text, &one) != nil && json.Unmarshal(text, &list) == nil {
		one = strings.Join(list, " ")
	}
	*w = words(one)
	return nil
}
