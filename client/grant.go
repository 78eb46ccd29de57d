package client

import (
	"bytes"
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
	"github.com/durward-auth/durward/internal/printable"
)

// maxAnswer bounds the octets that are read of an authorization server's answer.
const maxAnswer = 1 << 20

// server is a Durward server as a client sees it.
type server struct {
	base   *url.URL
	client *http.Client
	prove  func(durward.ProofRequest) (string, error)
	now    func() time.Time
	proofs proofs
}

func newServer(c TokensConfig) (*server, error) {
	base, err := url.Parse(strings.TrimRight(c.Server, "/"))
	switch {
	case err == nil && base.User != nil:
		return nil, errors.New("holds a user name: a password belongs into no URL")
	case err != nil || originOf(base) == (origin{}) || base.RawQuery != "" || base.Fragment != "":
		return nil, fmt.Errorf("%q is no URL of a server, such as https://auth.example.com", c.Server)
	}
	s := &server{base: base, client: tokenClient(c.Client), prove: c.Prove, now: c.Now}
	if s.now == nil {
		s.now = time.Now
	}
	return s, nil
}

// tokenClient is a client that follows no redirect: what it sends is for one server.
func tokenClient(c *http.Client) *http.Client {
	own := &http.Client{Timeout: 30 * time.Second}
	if c != nil {
		*own = *c
	}
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return own
}

// SignIn signs a person in at the Durward server c.Server with their address and
// password. The token goes into c.Store, where there is one, and is returned. With
// c.Prove it is bound to that key. A wrong password is an error that wraps
// [InvalidCredentials].
func SignIn(ctx context.Context, c TokensConfig, email, password string) (Token, error) {
	s, err := privateServer(c)
	if err != nil {
		return Token{}, err
	}
	t, err := s.post(ctx, "/api/auth/login", map[string]string{"email": email, "password": password}, Token{})
	if err != nil || c.Store == nil {
		return t, err
	}
	if err := c.Store.Update(ctx, func(context.Context, Token) (Token, error) { return t, nil }); err != nil {
		return Token{}, err
	}
	return t, nil
}

// StepUpWithPassword shows a person's password again at the Durward server c.Server, as
// [Transport.OnStepUp] may have to. The new token takes the place of the one in c.Store.
func StepUpWithPassword(ctx context.Context, c TokensConfig, password string) (Token, error) {
	s, err := privateServer(c)
	if err != nil {
		return Token{}, err
	}
	if c.Store == nil {
		return Token{}, errors.New("durward: there is no Store to take the token from")
	}
	var next Token
	err = c.Store.Update(ctx, func(ctx context.Context, old Token) (Token, error) { // no refresh between asking and storing
		next, err = s.post(ctx, "/api/auth/step-up", map[string]string{"password": password}, old)
		return next, err
	})
	if err != nil {
		return Token{}, err
	}
	return next, nil
}

// SignOut ends the sign-in whose token is in c.Store at the Durward server c.Server and
// empties the store. Where the server does not answer nothing changes.
func SignOut(ctx context.Context, c TokensConfig) error {
	s, err := privateServer(c)
	if err != nil {
		return err
	}
	if c.Store == nil {
		return errors.New("durward: there is no Store to take the token from")
	}
	return c.Store.Update(ctx, func(ctx context.Context, t Token) (Token, error) {
		if t.Refresh == "" {
			return Token{}, nil
		}
		resp, err := s.send(ctx, "/api/auth/logout", map[string]string{"refresh_token": t.Refresh}, Token{})
		if err != nil {
			return Token{}, err
		}
		defer resp.Body.Close()
		return Token{}, CheckResponse(resp)
	})
}

// privateServer is the server of c, where nobody can read what is sent to it.
func privateServer(c TokensConfig) (*server, error) {
	s, err := newServer(c)
	if err == nil && !c.InsecureHTTP && !originOf(s.base).confidential() {
		err = fmt.Errorf("%s: over plain http everybody on the way can read what is sent: use https, or say InsecureHTTP", c.Server)
	}
	if err != nil {
		return nil, fmt.Errorf("durward: Server: %w", err)
	}
	return s, nil
}

// refresh is Next of a Durward server. Only its own 401 signs out (contract of
// POST /api/auth/refresh).
func (s *server) refresh(ctx context.Context, old Token) (Token, error) {
	if old.Refresh == "" {
		return Token{}, fmt.Errorf("%w: there is no refresh token", ErrSignedOut)
	}
	t, err := s.post(ctx, "/api/auth/refresh", map[string]string{"refresh_token": old.Refresh}, Token{})
	for _, code := range []durward.Code{durward.RefreshInvalid, durward.RefreshExpired, durward.SessionRevoked} {
		if errors.Is(err, code) {
			return Token{}, fmt.Errorf("%w: %w", ErrSignedOut, err)
		}
	}
	return t, err
}

// post sends one of the server's own requests and reads the token that it answers with.
func (s *server) post(ctx context.Context, path string, body map[string]string, with Token) (Token, error) {
	asked := s.now()
	resp, err := s.send(ctx, path, body, with)
	if err != nil {
		return Token{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return Token{}, CheckResponse(resp)
	}
	return readToken(resp, asked)
}

func (s *server) send(ctx context.Context, path string, body map[string]string, with Token) (*http.Response, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	return grantRequest{
		client: s.client, url: s.base.JoinPath(path), contentType: "application/json", body: text, prove: s.prove, with: with, proofs: &s.proofs,
	}.send(ctx)
}

// grantRequest is a request to an authorization server.
type grantRequest struct {
	client        *http.Client
	url           *url.URL
	contentType   string
	body          []byte
	authorization string // of the client; empty for none
	prove         func(durward.ProofRequest) (string, error)
	with          Token   // sent with it; the zero Token for none
	proofs        *proofs // that the server wants
}

// send sends the request, and once more for each of the reasons for which another proof
// may be taken.
func (g grantRequest) send(ctx context.Context) (*http.Response, error) {
	var done []string
	for {
		resp, err := g.once(ctx)
		if err != nil || g.prove == nil {
			return resp, err
		}
		g.proofs.learn(resp)
		reason := reasonOf(resp)
		if slices.Contains(done, reason) || !g.proofs.mend(reason) {
			return resp, nil
		}
		done = append(done, reason)
		_ = resp.Body.Close()
	}
}

func (g grantRequest) once(ctx context.Context) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, g.url.String(), bytes.NewReader(g.body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", g.contentType)
	r.Header.Set("Accept", "application/json")
	if g.prove != nil {
		proof, err := g.prove(g.proofs.request(r.Method, g.url, g.with.Access))
		if err != nil {
			return nil, fmt.Errorf("durward: DPoP proof: %w", err)
		}
		r.Header["Dpop"] = []string{proof}
	}
	switch {
	case strings.EqualFold(g.with.Type, "DPoP"):
		r.Header.Set("Authorization", "DPoP "+g.with.Access)
	case g.with.Access != "":
		r.Header.Set("Authorization", "Bearer "+g.with.Access)
	case g.authorization != "":
		r.Header.Set("Authorization", g.authorization)
	}
	return g.client.Do(r)
}

// reasonOf is the error by which a request was refused: that of a challenge
// (RFC 9449 s7.1), or of a token endpoint's answer, which stays to be read (s5, s8).
// Empty where there is none.
func reasonOf(resp *http.Response) string {
	if resp.StatusCode < http.StatusBadRequest {
		return ""
	}
	body := setAside(resp)
	challenges, _ := durward.ParseChallenges(resp.Header["Www-Authenticate"])
	for _, c := range challenges {
		if reason, _ := c.Param("error"); strings.EqualFold(c.Scheme, "DPoP") && reason != "" {
			return reason
		}
	}
	var e oauthError
	_ = json.Unmarshal(body, &e)
	return e.Name
}

// tokenAnswer is RFC 6749 s5.1 with refresh_expires_in of Durward.
type tokenAnswer struct {
	Access         string      `json:"access_token"`
	Type           string      `json:"token_type"`
	ExpiresIn      json.Number `json:"expires_in"` // some servers send a string
	Refresh        string      `json:"refresh_token"`
	RefreshExpires json.Number `json:"refresh_expires_in"`
	Scope          string      `json:"scope"`
	Error          string      `json:"error"`
	Description    string      `json:"error_description"`
}

// readToken reads a token that was asked for at a moment.
func readToken(resp *http.Response, asked time.Time) (Token, error) {
	var a tokenAnswer
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&a); err != nil {
		return Token{}, fmt.Errorf("durward: the answer of %s is no token: %w", resp.Request.URL.Redacted(), err)
	}
	t := Token{Access: a.Access, Type: a.Type, Received: asked, Refresh: a.Refresh, Scope: a.Scope}
	switch {
	case a.Access == "" && a.Error != "": // some servers refuse by 200
		return Token{}, &oauthError{resp.StatusCode, a.Error, a.Description}
	case a.Access == "" || a.Type == "" || !t.sendable():
		return Token{}, fmt.Errorf("durward: the answer of %s holds no Bearer or DPoP token", resp.Request.URL.Redacted())
	}
	if (durward.Credentials{Scheme: "Bearer", Token68: a.Access}).Valid() != nil || len(a.Access) > maxToken {
		return Token{}, fmt.Errorf("durward: the access token of %s cannot be sent", resp.Request.URL.Redacted())
	}
	t.Expires, t.RefreshExpires = after(asked, a.ExpiresIn), after(asked, a.RefreshExpires)
	return t, nil
}

// after is a moment so many seconds after another; zero where nobody said how many.
func after(asked time.Time, seconds json.Number) time.Time {
	n, err := strconv.ParseFloat(string(seconds), 64)
	if err != nil || n <= 0 || n > 10*365*86400 {
		return time.Time{}
	}
	return asked.Add(time.Duration(n * float64(time.Second)))
}

// OAuth gets tokens at the token endpoint of an authorization server (RFC 6749).
// TokenURL and ClientID are required, and no field is to be changed after its first use.
// Its methods are for [TokensConfig.Next].
type OAuth struct {
	TokenURL string
	ClientID string

	// Secret of a confidential client. It is sent by Basic (RFC 6749 s2.3.1), or in the
	// body with SecretInBody.
	Secret       string
	SecretInBody bool

	Scopes    []string
	Resources []string   // RFC 8707
	Params    url.Values // sent with each request

	Prove        func(durward.ProofRequest) (string, error) // as in TokensConfig
	Client       *http.Client                               // nil is one with a time-out of 30 s
	InsecureHTTP bool                                       // take a TokenURL over plain http from beyond loopback
	Now          func() time.Time

	proofs proofs
}

// Refresh gets the token after old with its refresh token (RFC 6749 s6).
func (o *OAuth) Refresh(ctx context.Context, old Token) (Token, error) {
	if old.Refresh == "" {
		return Token{}, fmt.Errorf("%w: there is no refresh token", ErrSignedOut)
	}
	t, err := o.post(ctx, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {old.Refresh}})
	if err == nil && t.Refresh == "" {
		t.Refresh, t.RefreshExpires = old.Refresh, old.RefreshExpires // RFC 6749 s6: it may stay the same
	}
	if err == nil && t.Scope == "" {
		t.Scope = old.Scope // RFC 6749 s5.1
	}
	return t, err
}

// ClientCredentials gets a token for the client itself (RFC 6749 s4.4).
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
		return Token{}, errors.New("durward: OAuth: TokenURL holds a user name: that is ClientID, and its password Secret")
	case err != nil || originOf(u) == (origin{}):
		return Token{}, fmt.Errorf("durward: OAuth: TokenURL %q is no URL", o.TokenURL)
	case !o.InsecureHTTP && !originOf(u).confidential():
		return Token{}, fmt.Errorf("durward: OAuth: TokenURL %s: over plain http everybody on the way can read tokens", o.TokenURL)
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
		authorization = "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(o.ClientID)+":"+url.QueryEscape(o.Secret)))
	}
	now := o.Now
	if now == nil {
		now = time.Now
	}
	asked := now()
	resp, err := grantRequest{
		client: tokenClient(o.Client), url: u, contentType: "application/x-www-form-urlencoded", body: []byte(form.Encode()),
		authorization: authorization, prove: o.Prove, proofs: &o.proofs,
	}.send(ctx)
	if err != nil {
		return Token{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return Token{}, o.refused(resp)
	}
	return readToken(resp, asked)
}

// oauthError is RFC 6749 s5.2.
type oauthError struct {
	Status      int    `json:"-"`
	Name        string `json:"error"`
	Description string `json:"error_description"`
}

// Error says what the server said, cut.
func (e *oauthError) Error() string {
	text := fmt.Sprintf("durward: the authorization server refuses (%d %s)", e.Status, http.StatusText(e.Status))
	if e.Name != "" {
		text += ": " + printable.Line(e.Name, maxShown)
	}
	if e.Description != "" {
		text += ": " + printable.Line(e.Description, maxShown)
	}
	return text
}

// refused reads a token endpoint's refusal. A grant that is not good signs out; what is
// wrong with the client or the request does not, since the grant may be good.
func (o *OAuth) refused(resp *http.Response) error {
	e := &oauthError{Status: resp.StatusCode}
	_ = json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(e)
	switch {
	case e.Name == "invalid_grant" && (resp.StatusCode == http.StatusBadRequest || resp.StatusCode == http.StatusUnauthorized):
		return fmt.Errorf("%w: %w", ErrSignedOut, e)
	case resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500:
		return &RetryError{After: waitAsked(resp), Err: e}
	}
	return e
}

// waitAsked is how long a response asks to wait (RFC 9110 s10.2.3).
func waitAsked(resp *http.Response) time.Duration {
	text := resp.Header.Get("Retry-After")
	if n, err := strconv.Atoi(text); err == nil && n >= 0 && n < 1<<31 {
		return time.Duration(n) * time.Second
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	from := time.Now()
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		from = date // the server's clock, not ours
	}
	return max(at.Sub(from), 0)
}

// ResponseError is a refusal as a client reads it. It wraps Code where that is one of
// Durward's, and is a [*RetryError] underneath where the server asks to come back.
type ResponseError struct {
	Status     int
	Code       durward.Code // of Durward's problem details; empty from others
	Detail     string       // what the server says to people, cut; it chose the text
	Hint       string
	Denial     string              // id by which the operator finds the cause
	Challenges []durward.Challenge // of WWW-Authenticate or Proxy-Authenticate
	RetryAfter time.Duration
}

// Error says what the server wants.
func (e *ResponseError) Error() string {
	text := fmt.Sprintf("durward: %d %s", e.Status, http.StatusText(e.Status))
	if e.Code != "" {
		text += " (" + string(e.Code) + ")"
	}
	if e.Detail != "" {
		text += ": " + strings.TrimSuffix(e.Detail, ".")
	}
	if len(e.Challenges) > 0 {
		text += "; it wants " + schemesOf(e.Challenges)
	}
	if e.Denial != "" {
		text += "; denial " + e.Denial
	}
	return text
}

// Unwrap returns the code, and where the server asks to come back later a
// [*RetryError].
func (e *ResponseError) Unwrap() []error {
	var all []error
	if e.Code != "" {
		all = append(all, e.Code)
	}
	if e.Status == http.StatusTooManyRequests || e.Status >= 500 {
		all = append(all, &RetryError{After: e.RetryAfter, Err: errors.New(http.StatusText(e.Status))})
	}
	return all
}

// CheckResponse reads what a response that is no success says about why: challenges, and
// Durward's problem details where they are there. It reads the body, and returns nil
// for a status below 400.
func CheckResponse(resp *http.Response) error {
	if resp.StatusCode < http.StatusBadRequest {
		return nil
	}
	e := &ResponseError{Status: resp.StatusCode, RetryAfter: waitAsked(resp), Denial: printable.Line(resp.Header.Get("Durward-Denial"), maxShown)}
	e.Challenges, _ = durward.ParseChallenges(resp.Header[challengeField(resp.StatusCode)])
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/problem+json") {
		var p struct{ Code, Detail, Hint string }
		if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&p); err == nil {
			if code := durward.Code(p.Code); slices.Contains(durward.Codes(), code) {
				e.Code = code
			}
			e.Detail, e.Hint = printable.Line(p.Detail, maxShown), printable.Line(p.Hint, maxShown)
		}
	}
	return e
}

// maxShown is the largest number of bytes of a server's text that an error shows.
const maxShown = 500
