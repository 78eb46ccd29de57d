// Package retry holds the rules for repeating a refused request: once for each reason, and only after
// the refusal has been read.
package retry

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"time"
)

// A Reason names why a server refused a request that the client may repeat. Except for Stale and
// TunnelRefused it is the error parameter of a challenge.
type Reason string

// The reasons.
const (
	InvalidToken  Reason = "invalid_token"       // RFC 6750 s3.1: the client gets another token
	UseDPoPNonce  Reason = "use_dpop_nonce"      // RFC 9449 s8, s9: the next proof has the server's nonce
	InvalidProof  Reason = "invalid_dpop_proof"  // RFC 9449 s7.1: the next proof has the server's time
	StepUp        Reason = "insufficient_scope"  // RFC 6750 s3.1, RFC 9470 s3: the client gets a stronger token
	Claims        Reason = "insufficient_claims" // Microsoft Entra ID: the client gets a token with these claims
	Stale         Reason = "stale"               // RFC 7616 s3.3: the next answer has the new nonce
	TunnelRefused Reason = "tunnel refused"      // the first CONNECT had no credentials for the proxy
)

// Once records the reasons of one request's repetitions. The zero Once is empty.
type Once struct{ used []Reason }

// Allows reports whether the request may be repeated for r: it was not before.
func (o *Once) Allows(r Reason) bool { return !slices.Contains(o.used, r) }

// Use records that the request is repeated for r.
func (o *Once) Use(r Reason) { o.used = append(o.used, r) }

// Limits for reading the body of a refusal.
const (
	maxBody = 256 << 10 // bytes
	maxTime = time.Second
)

// Buffer reads the start of the body of resp, so that its connection can serve other requests while
// the client prepares the next one. The body remains readable from its start. Buffer returns the bytes
// that it read, or nil for a body that does not arrive within a second.
func Buffer(resp *http.Response) []byte {
	body := resp.Body
	b := &buffered{Closer: body, done: make(chan struct{})}
	go func() {
		defer close(b.done)
		b.start, _ = io.ReadAll(io.LimitReader(body, maxBody)) // the caller gets the same error from body
		b.all = io.MultiReader(bytes.NewReader(b.start), body)
	}()
	resp.Body = b
	select {
	case <-b.done:
		return b.start
	case <-time.After(maxTime): // an endless body must not block the request
		return nil
	}
}

// buffered is a response body with its start in memory.
type buffered struct {
	io.Closer
	done  chan struct{} // closed when the fields below are set
	start []byte
	all   io.Reader // start and the rest of the body
}

func (b *buffered) Read(p []byte) (int, error) {
	<-b.done
	return b.all.Read(p)
}
