package client

import (
	"net/http"

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
	s.origin, s.wrong = parseOrigin(c.Origin)
	return s
}

type key struct {
	defaults
	c      KeyConfig
	origin origin
	wrong  error // of Origin
}

func (k *key) mistakes() (all []string) {
	switch {
	case k.wrong != nil:
		all = append(all, "Origin: "+k.wrong.Error())
	case !k.c.InsecureHTTP && !k.origin.confidential():
		all = append(all, "Origin: plain http would expose the key; use https or set InsecureHTTP")
	}
	if k.c.Key == "" || !isToken(k.c.Key) {
		all = append(all, "Key is empty or has characters that a key cannot have")
	}
	return all
}

func (k *key) Authorize(r *http.Request, offered []durward.Challenge) error {
	return authorize(k, r, offered)
}

func (k *key) answer(a *attempt, offered []durward.Challenge) error {
	switch {
	case a.origin != k.origin || k.origin == (origin{}) || offered != nil:
		return ErrNoAnswer // there is no other key to send after a refusal
	case !k.c.AsBearer:
		a.r.Header["X-Api-Key"] = []string{k.c.Key}
	default:
		a.r.Header[a.field] = []string{"Bearer " + k.c.Key}
	}
	return nil
}
