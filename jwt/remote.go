package jwt

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/loopback"
	"github.com/durward-auth/durward/internal/origin"
	"github.com/durward-auth/durward/internal/printable"
)

const (
	fetchTimeout = 5 * time.Second  // for one fetch with redirects and body
	fetchPause   = 10 * time.Second // from the start of one fetch to that of the next
	keepFor      = 24 * time.Hour   // how long the last set is used while the issuer is unavailable
	maxRedirects = 3

	// Limits of Cache-Control, and the default without it.
	minFresh, maxFresh, defaultFresh = time.Minute, time.Hour, 15 * time.Minute
)

// RemoteConfig configures [RemoteKeys].
type RemoteConfig struct {
	// URL is the location of the issuer's JWK Set (RFC 7517 s5; jwks_uri in RFC 8414 s2): https, or
	// http on loopback. Either URL or Issuer is required.
	URL string

	// Issuer finds the JWK Set by the issuer's metadata (OpenID Connect Discovery s4 or RFC 8414
	// s3). The issuer in the metadata must be exactly this one. An issuer without metadata has its
	// keys at /.well-known/jwks.json.
	Issuer string

	// MetadataURL is the location of Issuer's metadata, if this service reaches the issuer under
	// another address than its users: http://keycloak:8080/realms/a/.well-known/openid-configuration
	// with the public Issuer. Optional.
	MetadataURL string

	// InsecureAllowHTTP allows http for hosts other than loopback, also for the jwks_uri of the
	// metadata. An attacker who can modify a response can then sign tokens for every user: use it
	// only inside a private network.
	InsecureAllowHTTP bool

	// Use is the use that each key must have, such as "jwt-svid" for a SPIFFE bundle. Empty means
	// that a key may have none, or "sig" (RFC 7517 s4.2).
	Use string

	// Client makes the requests; nil means a client with the default transport. Only its Transport
	// and Jar are used: redirects are followed within the origin of URL, and the timeout is 5 s.
	Client *http.Client

	Now func() time.Time // nil means time.Now
	Log *slog.Logger     // failed fetches and skipped keys; nil disables logging
}

// RemoteKeys fetches the keys of an issuer when they are first needed, and again as Cache-Control
// requires.
//
// A known key is returned at once; an old set is fetched again in the background, after a minute at
// the earliest and an hour at the latest. A token with an unknown kid causes a fetch, and so does one
// that the key of its kid did not sign, but at most one in 10 s for all tokens. While the issuer is
// unavailable the last set is used for 24 h.
//
// [ParseKeySet] explains which keys of a set are used. A set without a usable key is an outage.
type RemoteKeys struct {
	c      RemoteConfig
	client http.Client
	at     atomic.Pointer[location]  // of the set; nil until discovered
	set    atomic.Pointer[remoteSet] // last fetched set; nil before

	mu       sync.Mutex // guards the fields below; not held during a fetch
	fetching *fetch     // present fetch, or nil
	began    time.Time  // start of the last fetch
	failed   error      // error of the last finished fetch, or nil
}

// location is the address of a key set.
type location struct {
	url   string
	guess error // why there is no metadata, if url is the usual address
}

// remoteSet is a fetched set. It is immutable.
type remoteSet struct {
	keys    keyIndex
	skipped []error   // reasons for skipped keys
	etag    string    // for If-None-Match
	fetched time.Time // when the issuer last confirmed it
	refresh time.Time // when to fetch it again
}

// fetch is a fetch in progress. err is set before done is closed.
type fetch struct {
	done chan struct{}
	err  error
}

// NewRemoteKeys returns the keys at c.URL without fetching them. The error lists every mistake in
// c.
func NewRemoteKeys(c RemoteConfig) (*RemoteKeys, error) {
	name, text := "key set", c.URL
	switch {
	case c.URL+c.Issuer+c.MetadataURL == "":
		return nil, errors.New("jwt: no URL of the key set: give the issuer's jwks_uri, or the Issuer")
	case c.URL != "" && c.Issuer+c.MetadataURL != "":
		return nil, errors.New("jwt: URL and Issuer or MetadataURL: give one of them")
	case c.Issuer == "" && c.URL == "":
		return nil, errors.New("jwt: MetadataURL without Issuer: give the issuer that the metadata must name")
	case c.MetadataURL != "":
		name, text = "metadata", c.MetadataURL
	case c.URL == "":
		name, text = "issuer", c.Issuer
	}
	u, err := fetchable(name, text, c.InsecureAllowHTTP)
	if u != nil && name == "issuer" && u.RawQuery != "" {
		err = errors.Join(err, fmt.Errorf("jwt: issuer %q: an issuer has no query (RFC 8414 s2)", u.Redacted()))
	}
	if err != nil {
		return nil, err
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	r := &RemoteKeys{c: c, client: stayingClient(c.Client)}
	if c.URL != "" {
		r.at.Store(&location{url: c.URL})
	}
	return r, nil
}

// fetchable parses a URL to fetch. The error lists every mistake in it.
func fetchable(name, text string, allowHTTP bool) (*url.URL, error) {
	var errs []error
	mistake := func(format string, args ...any) { errs = append(errs, fmt.Errorf("jwt: "+format, args...)) }
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("jwt: the URL of the %s cannot be read: %w", name, errors.Unwrap(err))
	}
	if u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http" {
		mistake("%s %q: give an absolute https URL", name, u.Redacted())
	} else if u.Scheme == "http" && !allowHTTP && !loopback.Host(u.Hostname()) {
		// An attacker who can modify the response can sign tokens.
		mistake("%s %q: http is allowed on loopback only: use https, or InsecureAllowHTTP inside a private network", name, u.Redacted())
	}
	if u.User != nil {
		mistake("%s %q: a URL with user or password is not allowed", name, u.Redacted())
	}
	if u.Fragment != "" {
		mistake("%s %q: a fragment is never sent, leave it out", name, u.Redacted())
	}
	return u, errors.Join(errs...)
}

// stayingClient returns a copy of c that follows redirects within an origin only. c may be nil.
func stayingClient(c *http.Client) (staying http.Client) {
	if c != nil {
		staying = *c
	}
	staying.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		u := via[0].URL
		if to := origin.Of(req.URL.Scheme, req.URL.Host); to != origin.Of(u.Scheme, u.Host) {
			return fmt.Errorf("redirected to another origin, %s", to)
		}
		if len(via) > maxRedirects {
			return fmt.Errorf("redirected more than %d times", maxRedirects)
		}
		return nil
	}
	return staying
}

// Key returns the key with this kid that serves alg; an empty kid means the only key that serves alg.
// If the set has no such key, Key waits for a fetch; ctx ends the wait, not the fetch. The error
// wraps durward.InvalidToken if the key with this kid does not serve alg, or if a successful fetch
// of the last 10 s did not contain the key, and durward.AuthUnavailable if the set is unavailable.
func (r *RemoteKeys) Key(ctx context.Context, kid, alg string) (*Key, error) {
	now := r.c.Now()
	if set := r.usable(now); set != nil {
		if k, _ := set.keys.find(kid, alg); k != nil {
			if !now.Before(set.refresh) {
				r.begin(now) // in the background
			}
			return k, nil
		}
	}

	set, began, failed := r.await(ctx, now)
	if set != nil {
		if k, err := set.keys.find(kid, alg); k != nil || err != nil {
			return k, r.unfit(set, err)
		}
	}
	if failed != nil {
		// The key may be new, so the token may be valid.
		return nil, fmt.Errorf("kid %s: the key set %s could not be fetched %s ago: %w: %w", shown(kid), r.name(), rough(now.Sub(began)), failed, durward.AuthUnavailable)
	}
	return nil, r.unfit(set, fmt.Errorf("no key %s in the set %s, fetched %s ago", wanted(kid, alg), r.name(), rough(now.Sub(set.fetched))))
}

// replacement returns the key that serves kid and alg in place of k, which has not made a token's
// signature: the issuer may have a new key under the old kid. The set is fetched for it as for an
// unknown kid, so forged tokens cause at most one fetch in 10 s. Without a replacement the error
// describes the set, without a code.
func (r *RemoteKeys) replacement(ctx context.Context, k *Key, kid, alg string) (*Key, error) {
	now := r.c.Now()
	set, began, failed := r.await(ctx, now)
	if set != nil {
		if found, _ := set.keys.find(kid, alg); found != nil && found != k {
			return found, nil
		}
	}
	if failed != nil {
		return nil, fmt.Errorf("the key set %s could not be fetched %s ago: %w", r.name(), rough(now.Sub(began)), failed)
	}
	return nil, fmt.Errorf("the set %s, fetched %s ago, has no newer one", r.name(), rough(now.Sub(set.fetched)))
}

// await waits for a fetch, which it starts if the last started long enough ago. It returns the usable
// set, or nil, and the start and the error of the last fetch. The end of ctx ends the wait, not the
// fetch.
func (r *RemoteKeys) await(ctx context.Context, now time.Time) (set *remoteSet, began time.Time, failed error) {
	f, began, failed := r.begin(now)
	if f != nil {
		select {
		case <-f.done:
			failed = f.err
		case <-ctx.Done():
			// Not the cause of ctx, which may wrap another code.
			failed = fmt.Errorf("waiting for it: %w", ctx.Err())
		}
	}
	set = r.usable(now)
	if set == nil && failed == nil {
		failed = errors.New("the last set is too old to serve") // the clock was changed
	}
	return set, began, failed
}

// unfit adds a code and the skipped keys to the error that set lacks a key.
func (r *RemoteKeys) unfit(set *remoteSet, err error) error {
	if err == nil {
		return nil
	}
	code := durward.InvalidToken
	if len(set.keys) == 0 && len(set.skipped) > 0 {
		code = durward.AuthUnavailable // no token of this issuer can be verified
	}
	err = fmt.Errorf("%w: %w", err, code)
	if len(set.skipped) > 0 {
		skipped := strings.ReplaceAll(errors.Join(set.skipped...).Error(), "\n", "; ")
		err = fmt.Errorf("%w (skipped: %s)", err, printable.Line(skipped, 512))
	}
	return err
}

// usable returns the last set unless it is too old.
func (r *RemoteKeys) usable(now time.Time) *remoteSet {
	set := r.set.Load()
	if set == nil || now.Sub(set.fetched) > keepFor {
		return nil
	}
	return set
}

// begin returns the fetch in progress, or starts one if the last started long enough ago. Otherwise
// f is nil, and began and failed describe the last fetch.
func (r *RemoteKeys) begin(now time.Time) (f *fetch, began time.Time, failed error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fetching != nil {
		return r.fetching, r.began, nil
	}
	if since := now.Sub(r.began); !r.began.IsZero() && since >= 0 && since < fetchPause {
		return nil, r.began, r.failed
	}
	f = &fetch{done: make(chan struct{})}
	r.fetching, r.began = f, now
	go r.run(f, now) // ends within fetchTimeout
	return f, now, nil
}

func (r *RemoteKeys) run(f *fetch, now time.Time) {
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	old := r.set.Load()
	set, err := r.fetch(ctx, old, now)
	switch {
	case err == nil:
		r.set.Store(set)
	case old != nil:
		// Wait for the pause before the next background fetch.
		late := *old
		late.refresh = now.Add(fetchPause)
		r.set.Store(&late)
	}
	r.mu.Lock()
	was := r.failed
	f.err, r.failed, r.fetching = err, err, nil
	close(f.done)
	r.mu.Unlock()

	switch {
	case err != nil && was == nil:
		r.c.Log.Error("key set cannot be fetched", "url", r.name(), "error", err, "last_good_serves_for", keepFor)
	case err == nil && was != nil:
		r.c.Log.Info("key set is fetched again", "url", r.name())
	}
	if err == nil && (old == nil || !slices.EqualFunc(old.skipped, set.skipped, sameText)) {
		for _, why := range set.skipped {
			r.c.Log.Warn("key of the set skipped", "url", r.name(), "error", why)
		}
		if len(set.keys) == 0 && len(set.skipped) > 0 {
			r.c.Log.Error("no key of the set can be used", "url", r.name())
		}
	}
}

func sameText(a, b error) bool { return a.Error() == b.Error() }

// name returns the name of the key set for errors and logs.
func (r *RemoteKeys) name() string {
	if r.c.URL != "" {
		return r.c.URL
	}
	return "of " + r.c.Issuer
}

func (r *RemoteKeys) fetch(ctx context.Context, old *remoteSet, now time.Time) (set *remoteSet, err error) {
	if old == nil {
		old = new(remoteSet)
	}
	at := r.at.Load()
	if at == nil {
		if at, err = r.discover(ctx); err != nil {
			return nil, err
		}
		old = &remoteSet{keys: old.keys} // the ETag may be that of another location
		r.at.Store(at)
	}
	if r.c.URL == "" {
		defer func() {
			if err != nil {
				r.at.Store(nil) // the location may have changed
				if at.guess != nil {
					err = fmt.Errorf("%s: %w; %w", at.url, err, at.guess)
				}
			}
		}()
	}
	resp, body, err := get(ctx, &r.client, at.url, "application/jwk-set+json, application/json", old.etag, maxKeySet) // RFC 7517 s8.5.2
	if err != nil {
		return nil, err
	}
	set = &remoteSet{fetched: now, refresh: now.Add(freshness(resp.Header)), etag: resp.Header.Get("ETag")}
	if resp.StatusCode == http.StatusNotModified {
		set.keys, set.skipped, set.etag = old.keys, old.skipped, old.etag
		return set, nil
	}
	var uses []string
	if r.c.Use != "" {
		uses = []string{r.c.Use}
	}
	keys, skipped, err := parseKeySet(body, uses...)
	if err != nil {
		return nil, err
	}
	set.skipped = skipped
	set.keys, err = index(keys, old.keys)
	return set, err
}

// get fetches a document of at most most bytes from the issuer. etag is that of a known version of
// the document, or empty. The status is 200, or 304 if the document is still that version; another
// status is an error beside the response.
func get(ctx context.Context, client *http.Client, place, accept, etag string, most int64) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, place, nil)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Accept", accept)
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK && (resp.StatusCode != http.StatusNotModified || etag == "") {
		return resp, nil, fmt.Errorf("the issuer answered %s", cut(resp.Status))
	}
	body, err := readBounded(resp.Body, most)
	return resp, body, err
}

// freshness returns how long a response may be used before it is fetched again (RFC 9111 s4.2.1),
// within the limits.
func freshness(h http.Header) time.Duration {
	fresh := defaultFresh
	for directive := range strings.SplitSeq(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch strings.ToLower(name) {
		case "no-store", "no-cache":
			return minFresh
		case "max-age":
			// RFC 9111 s1.2.2: a number that overflows counts as infinite.
			seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31)
			if err != nil && !errors.Is(err, strconv.ErrRange) {
				return minFresh
			}
			fresh = time.Duration(seconds) * time.Second
			if age, err := strconv.ParseUint(h.Get("Age"), 10, 31); err == nil {
				fresh -= time.Duration(age) * time.Second
			}
		}
	}
	return min(max(fresh, minFresh), maxFresh)
}

// maxMetadata is the maximum size of the metadata document, in bytes.
const maxMetadata = 256 << 10

// noMetadata is the error of an address without metadata. All other errors are of metadata that is
// refused, or of an outage.
type noMetadata struct{ error }

// discover finds the key set of the issuer. It reads the metadata at MetadataURL; without that at
// the location of OpenID Connect Discovery s4, then at that of RFC 8414 s3.1.
func (r *RemoteKeys) discover(ctx context.Context) (*location, error) {
	base := strings.TrimSuffix(r.c.Issuer, "/")
	places := []string{r.c.MetadataURL}
	if r.c.MetadataURL == "" {
		u, err := url.Parse(r.c.Issuer)
		if err != nil {
			return nil, err
		}
		u.RawPath, u.Path = "", "/.well-known/oauth-authorization-server"+strings.TrimSuffix(u.Path, "/")
		places = []string{base + "/.well-known/openid-configuration", u.String()}
	}
	var failed error // of all places, on one line of a log
	absent := r.c.MetadataURL == ""
	for _, place := range places {
		jwksURI, err := r.fetchMetadata(ctx, place)
		if err == nil {
			return &location{url: jwksURI}, nil
		}
		_, none := errors.AsType[noMetadata](err)
		absent = absent && none
		err = fmt.Errorf("%s: %w", place, err)
		if failed != nil {
			err = fmt.Errorf("%w; %w", failed, err)
		}
		failed = err
	}
	err := fmt.Errorf("cannot fetch the issuer's metadata: %w", failed)
	if !absent {
		return nil, err
	}
	return &location{base + "/.well-known/jwks.json", err}, nil
}

// fetchMetadata returns the URL of the key set in the metadata (RFC 8414 s2) at place. It returns an
// error if the metadata belongs to another issuer, or if the URL is not allowed.
func (r *RemoteKeys) fetchMetadata(ctx context.Context, place string) (jwksURI string, err error) {
	resp, body, err := get(ctx, &r.client, place, "application/json", "", maxMetadata)
	if err != nil {
		if resp != nil && resp.StatusCode/100 == 4 && resp.StatusCode != http.StatusTooManyRequests {
			return "", noMetadata{err} // 404; storage services say 403
		}
		return "", err
	}
	body = bytes.TrimSpace(bytes.TrimPrefix(body, byteOrderMark))
	if !bytes.HasPrefix(body, []byte("{")) {
		return "", noMetadata{errors.New("not a JSON object")} // some sites have a page for every path
	}
	var m struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return "", fmt.Errorf("not the JSON of metadata: %w", syntax(err))
	}
	// RFC 8414 s3.3: identical. Otherwise an issuer could issue tokens in the name of another.
	if m.Issuer != r.c.Issuer {
		return "", fmt.Errorf("it is of issuer %s, not %s", shown(m.Issuer), shown(r.c.Issuer))
	}
	if m.JWKSURI == "" {
		return "", noMetadata{errors.New("it has no jwks_uri")}
	}
	keys, err := fetchable("key set", m.JWKSURI, r.c.InsecureAllowHTTP)
	if err != nil {
		return "", err
	}
	if of, err := url.Parse(place); err != nil || loopback.Host(keys.Hostname()) && !loopback.Host(of.Hostname()) {
		return "", errors.New("its jwks_uri is on this machine, the metadata is not: give the URL of the key set instead of Issuer")
	}
	return m.JWKSURI, nil
}

// readBounded reads a body of at most most bytes.
func readBounded(body io.Reader, most int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(body, most+1))
	if err == nil && int64(len(text)) > most {
		return nil, fmt.Errorf("too long a body, want at most %d octets", most)
	}
	return text, err
}
