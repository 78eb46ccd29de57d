package client

import (
	"net/http"
	"sync/atomic"

	"github.com/durward-auth/durward"
)

// KeyConfig configures [Key]. Origin and Key are required.
type KeyConfig struct {
	Origin string // such as https://api.example.com

	// Key is sent with each request to Origin: in the field X-API-Key, or with AsBearer as a Bearer
	// token.
	Key      string
	AsBearer bool

	// InsecureHTTP sends the key over plain http, where anyone on the network path can read it.
	InsecureHTTP bool
}

// Key returns a source that sends an API key with each request to one origin.
func Key(c KeyConfig) Source {
	s := &key{c: c}
	s.origin = s.originIn("Origin", c.Origin, "the key", c.InsecureHTTP)
	if !sendable(c.Key) {
		s.mistake("Key is empty or has characters other than visible ASCII, or is longer than %d bytes", maxToken)
	}
	return own{s}
}

type key struct {
	checked
	c        KeyConfig
	origin   origin
	accepted atomic.Bool // the origin has accepted the key
}

func (k *key) answer(a *attempt, offered []durward.Challenge) error {
	switch {
	case a.origin != k.origin || k.origin == (origin{}) || offered != nil:
		return ErrNoAnswer // there is no other key to send after a refusal
	case !k.c.AsBearer:
		a.r.Header["X-Api-Key"] = []string{k.c.Key}
	default:
		a.r.Header[a.field()] = []string{"Bearer " + k.c.Key}
	}
	return nil
}

func (k *key) observe(_ *attempt, resp *http.Response) error {
	if !k.accepted.Load() && outcomeOf(resp) == tokenAccepted {
		k.accepted.Store(true)
	}
	return nil
}

func (k *key) acceptedToken(o origin) bool { return o == k.origin && k.accepted.Load() }
