package client

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/retry"
)

// A Source holds credentials for some origins. [Password], [Tokens], [Key] and [Certificate] return
// sources; an application may have its own.
type Source interface {
	// Authorize puts credentials into the header of r, the Transport's own copy of a request. For a
	// proxy the field is Proxy-Authorization. Authorize is safe for concurrent use.
	//
	// Before the first request offered is nil. After a refusal it holds one challenge of that
	// refusal; then r still has the credentials of this source and of no other. An error that wraps
	// [ErrNoAnswer] means that the source has no credentials for the request; any other error ends
	// the request.
	Authorize(r *http.Request, offered []durward.Challenge) error
}

// ErrNoAnswer means that a [Source] has no credentials for a request.
var ErrNoAnswer = errors.New("durward: no credentials for this request")

// CheckSources returns all mistakes in the configuration of sources. A [Transport] returns the same
// error from its first request.
func CheckSources(sources ...Source) error { return (&Transport{Sources: sources}).prepare() }

// source is the internal interface of this package's own sources.
type source interface {
	// mistakes returns the mistakes in the configuration.
	mistakes() []string

	// answer puts credentials into a.r. Its error and offered are those of Source.Authorize.
	answer(a *attempt, offered []durward.Challenge) error

	// observe reads the response to an attempt that this source answered.
	observe(a *attempt, resp *http.Response) error

	// acceptedToken reports whether the origin has accepted an access token or API key of this
	// source.
	acceptedToken(origin) bool
}

// own is a source of this package as a Source.
type own struct{ source }

func (o own) Authorize(r *http.Request, offered []durward.Challenge) error {
	return o.answer(&attempt{r: r, origin: originOf(r.URL)}, offered)
}

// checked is the part of a source that records the mistakes in its configuration.
type checked struct{ wrong []string }

func (c *checked) mistakes() []string { return c.wrong }

func (c *checked) mistake(format string, args ...any) {
	c.wrong = append(c.wrong, fmt.Sprintf(format, args...))
}

// originIn parses the origin in a field. Unless insecure is set, plain http beyond loopback is a
// mistake: it would expose the credentials, which the text names.
func (c *checked) originIn(field, text, credentials string, insecure bool) origin {
	o, err := parseOrigin(text)
	switch {
	case err != nil:
		c.mistake("%s: %v", field, err)
	case !insecure && !o.confidential():
		c.mistake("%s %s: plain http would expose %s; use https or set InsecureHTTP", field, o, credentials)
	}
	return o
}

// observe does nothing: most sources do not need the response.
func (c *checked) observe(*attempt, *http.Response) error { return nil }

// acceptedToken returns false: most sources have no token.
func (c *checked) acceptedToken(origin) bool { return false }

// custom adapts a source of the application.
type custom struct {
	checked
	Source
}

func (c custom) answer(a *attempt, offered []durward.Challenge) error {
	return c.Authorize(a.r, offered)
}

func asSource(s Source) source {
	if o, ok := s.(own); ok {
		return o.source
	}
	return &custom{Source: s}
}

// attempt is one sending of a request, with credentials for the server or for the proxy.
type attempt struct {
	r      *http.Request // the copy that is sent
	origin origin        // of the server or proxy that the credentials are for
	from   source        // that put in the credentials; nil for none
	state  any           // from's own record of its answer

	reason  retry.Reason // of the refusal that this attempt answers; empty for none
	renewed bool         // it has a token that replaces one refused in this exchange
	toProxy bool         // the credentials are for the proxy
}

// field returns the name of the field for the credentials.
func (a *attempt) field() string {
	if a.toProxy {
		return "Proxy-Authorization"
	}
	return "Authorization"
}

// target returns the request target as it is sent.
func (a *attempt) target() string {
	if !a.toProxy || a.r.Method == http.MethodConnect {
		return a.r.URL.RequestURI()
	}
	return a.r.URL.Scheme + "://" + cmp.Or(a.r.Host, a.r.URL.Host) + a.r.URL.RequestURI()
}

// path returns the path that selects a protection space. A proxy has one space: its path is empty.
func (a *attempt) path() string {
	if a.toProxy {
		return ""
	}
	return pathOf(a.r.URL)
}
