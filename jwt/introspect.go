package jwt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/durward-auth/durward"
)

// IntrospectorConfig is what an [Introspector] is made of. URL, Audience, and one
// of ClientID and Authorize are required.
type IntrospectorConfig struct {
	// URL is the issuer's introspection endpoint (RFC 7662 s2): https, or http on
	// loopback.
	URL string

	// Issuer, if set, is the exact iss that answers must have; it is the Issuer of
	// principals.
	Issuer string

	// Audience is the names of this service: aud must have one of them. An answer
	// without aud is taken only where AnyAudience says so.
	Audience    []string
	AnyAudience bool

	// ClientID and ClientSecret are sent by Basic, as RFC 6749 s2.3.1 encodes them.
	ClientID     string
	ClientSecret string

	// Authorize, in their place, adds this service's own credentials to a request.
	Authorize func(*http.Request) error

	// CacheFor is how long an answer may be used again, and so how long after its
	// revocation a token may still be taken: 0 is 10 s, a negative duration is not at
	// all. Routes with durward.Policy.Freshness ask sooner where they want it.
	CacheFor time.Duration

	// CacheSize is how many answers are remembered; 0 is 10,000.
	CacheSize int

	// AtOnce is how many questions are under way at the most, 0 is 32; further tokens
	// wait for their turn, and no longer than Timeout.
	AtOnce int

	// Timeout is for one question; 0 is 5 s.
	Timeout time.Duration

	Client *http.Client     // as in RemoteConfig
	Now    func() time.Time // nil is time.Now
}

// Introspector judges opaque tokens by asking their issuer (RFC 7662). Answers are
// remembered for a moment, and a token that comes many times at once is asked for
// once. That the issuer cannot be asked, or does not know this service, is
// [durward.AuthUnavailable], never a refusal of the token.
type Introspector struct {
	c      IntrospectorConfig // with defaults filled in
	client http.Client
	turn   chan struct{}

	mu    sync.Mutex // never held while the issuer is asked
	known map[[sha256.Size]byte]*verdict
}

// verdict is what the issuer says of a token. All but done is set before done is
// closed.
type verdict struct {
	done      chan struct{}
	until     time.Time // when it has to be asked anew; zero while it is asked
	principal durward.Principal
	bound     *Confirmation
	expires   time.Time
	err       error
}

// NewIntrospector returns an introspector, or an error that names every mistake
// in c.
func NewIntrospector(c IntrospectorConfig) (*Introspector, error) {
	var errs []error
	mistake := func(format string, args ...any) { errs = append(errs, fmt.Errorf("jwt: "+format, args...)) }
	if _, err := fetchable("introspection endpoint", c.URL); err != nil {
		errs = append(errs, err)
	}
	if len(c.Audience) == 0 && !c.AnyAudience || slices.Contains(c.Audience, "") {
		mistake("no Audience, or an empty one: give the name by which tokens mean this service, or say AnyAudience")
	}
	if (c.ClientID == "") == (c.Authorize == nil) {
		mistake("ClientID or Authorize, one of them: an endpoint that answers anybody tells anybody (RFC 7662 s2.1)")
	}
	fill := func(to *time.Duration, standard time.Duration) {
		if *to == 0 {
			*to = standard
		}
	}
	fill(&c.CacheFor, 10*time.Second)
	fill(&c.Timeout, 5*time.Second)
	if c.CacheSize == 0 {
		c.CacheSize = 10_000
	}
	if c.AtOnce == 0 {
		c.AtOnce = 32
	}
	if c.Timeout < 0 || c.AtOnce < 0 || c.CacheSize < 0 {
		mistake("Timeout, AtOnce and CacheSize may not be negative")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	c.Audience = slices.Clone(c.Audience)
	return &Introspector{
		c: c, client: stayingClient(c.Client), turn: make(chan struct{}, c.AtOnce), known: make(map[[sha256.Size]byte]*verdict),
	}, nil
}

// Scheme returns the Bearer scheme that takes these tokens.
func (i *Introspector) Scheme() durward.Scheme { return durward.Bearer(i.Verify) }

// Verify judges a token as it was sent and returns who it speaks for; the
// principal is the caller's to keep. The error wraps [durward.InvalidToken], also
// for a token that has ended, since the issuer does not say why one is inactive;
// [durward.TokenExpired] where a remembered answer knew its end; or
// [durward.AuthUnavailable].
func (i *Introspector) Verify(ctx context.Context, token string) (*durward.Principal, error) {
	if len(token) > maxToken {
		return nil, fmt.Errorf("jwt: token of %d octets, at most %d are read: %w", len(token), maxToken, durward.InvalidToken)
	}
	sum := digest(token)
	v, err := i.verdict(ctx, sum, token)
	if err == nil {
		err = v.err
	}
	if err == nil {
		if why := v.bound.sentBy("", durward.ClientCertificate(ctx)); why != nil {
			err = fmt.Errorf("%w: %w", why, durward.InvalidToken)
		} else if why := ended(v.expires, i.c.Now(), 0); why != nil && !v.expires.IsZero() {
			err = fmt.Errorf("%w: %w", why, durward.TokenExpired)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("jwt: token %s: %w", hex.EncodeToString(sum[:4]), coded(err))
	}
	p := v.principal
	p.Scopes, p.AMR = slices.Clone(p.Scopes), slices.Clone(p.AMR)
	return &p, nil
}

// verdict returns what the issuer says of a token, now or a moment ago.
func (i *Introspector) verdict(ctx context.Context, sum [sha256.Size]byte, token string) (*verdict, error) {
	now := i.c.Now()
	i.mu.Lock()
	v := i.known[sum]
	if v == nil || !v.until.IsZero() && (!now.Before(v.until) || now.Before(v.until.Add(-i.c.CacheFor)) || !durward.FreshEnough(ctx, now.Sub(v.principal.AsOf))) {
		if delete(i.known, sum); !i.room(now) {
			i.mu.Unlock()
			return nil, fmt.Errorf("%d tokens wait for the issuer's answer already: %w", i.c.CacheSize, durward.AuthUnavailable)
		}
		v = &verdict{done: make(chan struct{})}
		i.known[sum] = v
		// The question outlives the request that began it: others wait for it.
		go i.ask(context.WithoutCancel(ctx), sum, token, v)
	}
	i.mu.Unlock()
	select {
	case <-v.done:
		return v, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the issuer's answer: %w: %w", ctx.Err(), durward.AuthUnavailable)
	}
}

// room makes room for one more answer: of what has to be asked anew, else of any
// that is not being asked. It reports whether there is some.
func (i *Introspector) room(now time.Time) bool {
	if len(i.known) < i.c.CacheSize {
		return true
	}
	for sum, v := range i.known {
		if !v.until.IsZero() && !now.Before(v.until) {
			delete(i.known, sum)
		}
	}
	for sum, v := range i.known {
		if len(i.known) < i.c.CacheSize {
			break
		}
		if !v.until.IsZero() {
			delete(i.known, sum)
		}
	}
	return len(i.known) < i.c.CacheSize
}

// ask asks the issuer and tells all who wait.
func (i *Introspector) ask(ctx context.Context, sum [sha256.Size]byte, token string, v *verdict) {
	ctx, cancel := context.WithTimeout(ctx, i.c.Timeout)
	defer cancel()
	keep := false
	select {
	case i.turn <- struct{}{}:
		keep = i.question(ctx, token, v)
		<-i.turn
	case <-ctx.Done():
		v.err = fmt.Errorf("%d questions are under way already: %w", i.c.AtOnce, durward.AuthUnavailable)
	}
	i.mu.Lock()
	if keep && i.c.CacheFor > 0 {
		v.until = i.c.Now().Add(i.c.CacheFor)
	} else if i.known[sum] == v {
		delete(i.known, sum)
	}
	i.mu.Unlock()
	close(v.done)
}

// maxIntrospection is the largest answer that is read, in octets.
const maxIntrospection = 64 << 10

// question asks for one token. keep reports whether it was answered: an outage is
// not remembered.
func (i *Introspector) question(ctx context.Context, token string, v *verdict) (keep bool) {
	asked := i.c.Now()
	answer, err := i.post(ctx, token)
	if err != nil {
		v.err = fmt.Errorf("introspection: %w: %w", err, durward.AuthUnavailable)
		return false
	}
	if v.err = answer.fit(&i.c); v.err != nil {
		v.err = fmt.Errorf("introspection: %w: %w", v.err, durward.InvalidToken)
		return true
	}
	subject := answer.Subject
	if subject == "" {
		subject = answer.ClientID // a client that speaks for itself (RFC 7662 s2.2)
	}
	issuer := answer.Issuer
	if i.c.Issuer != "" {
		issuer = i.c.Issuer
	}
	v.principal = durward.Principal{
		Scheme: "Bearer", Subject: subject, Issuer: issuer, ClientID: answer.ClientID, SessionID: answer.SessionID, TokenID: answer.ID,
		ACR: answer.ACR, AMR: answer.AMR, AuthTime: answer.AuthTime, Expires: answer.Expires, Scopes: answer.Scopes,
		AsOf: asked,
	}
	v.bound, v.expires = answer.Confirmation, answer.Expires
	return true
}

func (i *Introspector) post(ctx context.Context, token string) (*introspection, error) {
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, i.c.URL, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if i.c.Authorize != nil {
		if err := i.c.Authorize(req); err != nil {
			return nil, fmt.Errorf("this service's own credentials: %w", err)
		}
	} else {
		req.SetBasicAuth(url.QueryEscape(i.c.ClientID), url.QueryEscape(i.c.ClientSecret)) // RFC 6749 s2.3.1
	}
	resp, err := i.client.Do(req)
	if err != nil {
		var of *url.Error
		if errors.As(err, &of) {
			err = of.Err // without the URL, which may have a secret in its query
		}
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusBadRequest {
		// RFC 7662 s2.3: 401 is about this service's credentials, not about the token.
		return nil, fmt.Errorf("the issuer answered %s", cut(resp.Status))
	}
	if kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, fmt.Errorf("the issuer answered with Content-Type %s", shown(resp.Header.Get("Content-Type")))
	}
	body, err := readBounded(resp.Body, maxIntrospection)
	if err != nil {
		return nil, err
	}
	answer := new(introspection)
	if err := json.Unmarshal(body, answer); err != nil {
		return nil, fmt.Errorf("the issuer's answer is not the JSON it may be: %w", syntax(err))
	}
	if resp.StatusCode == http.StatusBadRequest {
		// Some issuers say by the word of RFC 7009 s2.2.1, where RFC 7662 s2.2 has them
		// say inactive, that they never introspect such a token.
		if answer.refused != "unsupported_token_type" {
			return nil, fmt.Errorf("the issuer answered %s", cut(resp.Status))
		}
		answer.active = new(bool)
	}
	if answer.active == nil {
		return nil, errors.New("the issuer's answer has no active of true or false (RFC 7662 s2.2)")
	}
	return answer, nil
}

// introspection is an answer (RFC 7662 s2.2): active, and claims like those of a
// token, none of which must be there.
type introspection struct {
	reading
	active  *bool
	refused string // error of an answer that is none
}

// UnmarshalJSONFrom reads an answer.
func (n *introspection) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	return readObject(d, func(name string) error {
		if name == "error" {
			_, err := readString(d, &n.refused)
			return err
		}
		if name != "active" {
			return n.member(d, name)
		}
		if k := d.PeekKind(); k != 't' && k != 'f' {
			return skip(d)
		}
		t, err := d.ReadToken()
		if err == nil {
			is := t.Bool()
			n.active = &is
		}
		return err
	})
}

// fit says why the token is not good here.
func (n *introspection) fit(c *IntrospectorConfig) error {
	now := c.Now()
	switch {
	case !*n.active:
		return errors.New("not active")
	case n.iss != nil:
		return n.iss
	case len(n.bad) > 0:
		return n.bad[0]
	case c.Issuer != "" && n.Issuer != c.Issuer:
		return fmt.Errorf("iss is %s, the issuer is %s", shown(n.Issuer), shown(c.Issuer))
	case len(n.Audience) == 0 && !c.AnyAudience, len(n.Audience) > 0 && len(c.Audience) > 0 && !slices.ContainsFunc(c.Audience, func(a string) bool { return slices.Contains(n.Audience, a) }):
		return fmt.Errorf("aud is %s, this service is %s", shown(strings.Join(n.Audience, " ")), shown(strings.Join(c.Audience, " ")))
	case n.Subject == "" && n.ClientID == "":
		return errors.New("neither sub nor client_id: it speaks for nobody")
	}
	if !n.Expires.IsZero() {
		if err := ended(n.Expires, now, 0); err != nil {
			return err
		}
	}
	return n.ahead(now)
}
