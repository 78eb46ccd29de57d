package jwt

import (
	"cmp"
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

// IntrospectorConfig configures an [Introspector]. URL, Audience, and one of ClientID and Authorize
// are required.
type IntrospectorConfig struct {
	// URL is the introspection endpoint of the issuer (RFC 7662 s2): https, or http on loopback.
	URL string

	// InsecureAllowHTTP allows http on other hosts. An attacker who can modify a response can then
	// be any user, and can read tokens and ClientSecret: use it only inside a private network.
	InsecureAllowHTTP bool

	// Issuer is the exact iss of answers, and the Issuer of principals. Optional.
	Issuer string

	// Audience lists the names of this service; the aud of an answer must contain one of them.
	// AnyAudience accepts answers without aud, and answers whose aud is empty or null.
	Audience    []string
	AnyAudience bool

	// Profile names the claims of answers: Subject, Client, Audience, Scopes, Roles and Tenant.
	// StringOrList, Required values and IDToken apply too, other fields do not. By default the
	// subject is sub, or client_id for a client's own token; a server that sends neither for a user
	// needs Subject: []string{"sub", "username"}.
	Profile Profile

	// ClientID and ClientSecret are sent by Basic, encoded as RFC 6749 s2.3.1 requires.
	ClientID     string
	ClientSecret string

	// Authorize adds the credentials of this service to a request, in place of ClientID and
	// ClientSecret.
	Authorize func(*http.Request) error

	// CacheFor is the time for which an answer is used again, and so the longest time for which a
	// revoked token is still accepted; 0 means 10 s, a negative value disables the cache. Routes
	// with a shorter durward.Policy.Freshness ask earlier.
	CacheFor time.Duration

	// CacheSize is the number of cached answers; 0 means 10,000.
	CacheSize int

	// MaxSize is the maximum size of a token, in bytes; 0 means 16 KiB. MaxElements is that of
	// Config.
	MaxSize     int
	MaxElements int

	// AtOnce is the number of requests to the issuer at the same time; 0 means 32. Further tokens
	// wait, at most Timeout.
	AtOnce int

	// Timeout is the time limit of a request to the issuer; 0 means 5 s.
	Timeout time.Duration

	Client *http.Client     // as in RemoteConfig
	Now    func() time.Time // nil means time.Now
}

// Introspector verifies opaque tokens by asking their issuer (RFC 7662). Answers are cached for a
// short time, and concurrent requests with one token share a question. If the issuer does not
// answer or refuses the credentials of this service, the code is [durward.AuthUnavailable], not
// that of an invalid token.
type Introspector struct {
	c      IntrospectorConfig // with defaults
	rules  *rules             // of c.Profile
	client http.Client
	turn   chan struct{}

	mu    sync.Mutex // not held while the issuer is asked
	known map[[sha256.Size]byte]*verdict
}

// verdict is the issuer's answer for a token. All fields but done are set before done is closed.
type verdict struct {
	done      chan struct{}
	until     time.Time // when it expires; zero until the answer
	principal durward.Principal
	bound     *Confirmation
	err       error
}

// NewIntrospector returns an introspector. The error lists every mistake in c.
func NewIntrospector(c IntrospectorConfig) (*Introspector, error) {
	var errs []error
	mistake := func(format string, args ...any) { errs = append(errs, fmt.Errorf("jwt: "+format, args...)) }
	if _, err := fetchable("introspection endpoint", c.URL, c.InsecureAllowHTTP); err != nil {
		errs = append(errs, err)
	}
	if len(c.Audience) == 0 && !c.AnyAudience || slices.Contains(c.Audience, "") {
		mistake("no Audience, or an empty one: give the name by which tokens mean this service, or say AnyAudience")
	}
	if (c.ClientID == "") == (c.Authorize == nil) {
		mistake("ClientID or Authorize: set one of them; an introspection endpoint requires credentials (RFC 7662 s2.1)")
	}
	c.CacheFor = cmp.Or(c.CacheFor, 10*time.Second)
	c.Timeout = cmp.Or(c.Timeout, 5*time.Second)
	c.CacheSize = cmp.Or(c.CacheSize, 10_000)
	c.AtOnce = cmp.Or(c.AtOnce, 32)
	c.MaxSize = cmp.Or(c.MaxSize, maxToken)
	if c.Timeout < 0 || c.AtOnce < 0 || c.CacheSize < 0 || c.MaxSize < 0 || c.MaxElements < 0 {
		mistake("Timeout, AtOnce, CacheSize, MaxSize and MaxElements may not be negative")
	}
	if c.Profile.Subject == nil {
		c.Profile.Subject = []string{"sub", "client_id"} // RFC 7662 s2.2: client credentials
	}
	rules, wrong := c.Profile.rules()
	errs = append(errs, wrong...)
	rules.list = cmp.Or(c.MaxElements, maxElements)
	if c.Now == nil {
		c.Now = time.Now
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	c.Audience = slices.Clone(c.Audience)
	return &Introspector{
		c: c, rules: rules, client: stayingClient(c.Client), turn: make(chan struct{}, c.AtOnce), known: make(map[[sha256.Size]byte]*verdict),
	}, nil
}

// Scheme returns the Bearer scheme for tokens of the issuer.
func (i *Introspector) Scheme() durward.Scheme { return durward.Bearer(i.Verify) }

// Verify verifies a token and returns its principal, which the caller may modify. The error wraps
// [durward.InvalidToken], also for an expired token, because the issuer does not explain why a
// token is inactive; [durward.TokenExpired] if a cached answer has expired with its token; or
// [durward.AuthUnavailable].
func (i *Introspector) Verify(ctx context.Context, token string) (*durward.Principal, error) {
	if err := tooLarge(token, i.c.MaxSize); err != nil {
		return nil, err
	}
	sum := digest(token)
	v, err := i.verdict(ctx, sum, token)
	if err == nil {
		err = v.err
	}
	if err == nil {
		if why := v.bound.sentBy("", durward.ClientCertificate(ctx)); why != nil {
			err = fmt.Errorf("%w: %w", why, durward.InvalidToken)
		} else if why := ended(v.principal.Expires, i.c.Now(), 0); why != nil && !v.principal.Expires.IsZero() {
			err = fmt.Errorf("%w: %w", why, durward.TokenExpired)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("jwt: token %s: %w", hex.EncodeToString(sum[:4]), coded(err))
	}
	p := v.principal
	p.Scopes, p.Roles, p.AMR = slices.Clone(p.Scopes), slices.Clone(p.Roles), slices.Clone(p.AMR)
	return &p, nil
}

// verdict returns a new or cached answer.
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
		// Other requests may wait for the answer, so it does not end with this request.
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

// room makes room for an answer. It drops an expired one, or any that is not being asked for. It
// reports whether there is room.
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

// ask asks the issuer and publishes the answer to all waiting requests.
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

// maxIntrospection is the maximum size of an answer, in bytes.
const maxIntrospection = 64 << 10

// question asks about one token. keep reports whether the issuer answered: outages are not cached.
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
	v.principal, v.bound = answer.principal(), answer.Confirmation
	v.principal.Issuer = cmp.Or(i.c.Issuer, answer.Issuer)
	v.principal.AsOf = asked
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
		if of, ok := errors.AsType[*url.Error](err); ok {
			err = of.Err // without the URL: its query may contain a secret
		}
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusBadRequest {
		// RFC 7662 s2.3: 401 refers to the credentials of this service, not to the token.
		return nil, fmt.Errorf("the issuer answered %s", cut(resp.Status))
	}
	if kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, fmt.Errorf("the issuer answered with Content-Type %s", shown(resp.Header.Get("Content-Type")))
	}
	body, err := readBounded(resp.Body, maxIntrospection)
	if err != nil {
		return nil, err
	}
	answer := &introspection{reading: reading{rules: i.rules, lax: true}}
	if err := json.Unmarshal(body, answer); err != nil {
		return nil, fmt.Errorf("the issuer's answer is not the JSON it may be: %w", syntax(err))
	}
	answer.resolve()
	if resp.StatusCode == http.StatusBadRequest {
		// For token types that they never introspect, some issuers answer with the error of RFC
		// 7009 s2.2.1 instead of the inactive of RFC 7662 s2.2.
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

// introspection is an answer (RFC 7662 s2.2): active, and the claims of a token, all optional.
type introspection struct {
	reading
	active  *bool
	refused string // error member of an error response
}

// UnmarshalJSONFrom parses an answer.
func (n *introspection) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	return readMembers(d, func(name []byte) error {
		if string(name) == "error" {
			_, err := readString(d, &n.refused)
			return err
		}
		if string(name) != "active" {
			return n.member(d, n.rules.claims, name)
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

// fit returns an error if the token is not valid for this service.
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
		return fmt.Errorf("iss is %s, the issuer is %s (IntrospectorConfig.Issuer)", shown(n.Issuer), shown(c.Issuer))
	case len(n.Audience) == 0 && !c.AnyAudience, len(n.Audience) > 0 && len(c.Audience) > 0 && !slices.ContainsFunc(c.Audience, func(a string) bool { return slices.Contains(n.Audience, a) }):
		return fmt.Errorf("%s is %s, this service is %s (IntrospectorConfig.Audience, AnyAudience)", strings.Join(n.rules.Audience, " or "), shown(strings.Join(n.Audience, " ")), shown(strings.Join(c.Audience, " ")))
	case n.Subject == "":
		return fmt.Errorf("no %s; Profile.Subject may name another claim, such as username", strings.Join(n.rules.Subject, " and no "))
	}
	if !n.Expires.IsZero() {
		if err := ended(n.Expires, now, 0); err != nil {
			return err
		}
	}
	return n.ahead(now)
}
