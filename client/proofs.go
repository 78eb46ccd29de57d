package client

import (
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/durward-auth/durward"
)

// maxToken is the longest token, nonce or group of Digest parameters that the client accepts from a
// server, in bytes.
const maxToken = 8 << 10

// proofs is what one server wants of DPoP proofs.
type proofs struct {
	mu    sync.Mutex
	nonce string        // that it last gave (RFC 9449 s8.2)
	date  time.Duration // how far ahead of this machine's clock it was at its last refusal
	ahead time.Duration // how far proofs are dated ahead
}

// request is what a proof for the server is to be made of.
func (p *proofs) request(method string, u *url.URL, token string) durward.ProofRequest {
	plain := *u // RFC 9449 s4.2: htu
	plain.RawQuery, plain.ForceQuery, plain.Fragment, plain.RawFragment, plain.User = "", false, "", "", nil
	p.mu.Lock()
	defer p.mu.Unlock()
	r := durward.ProofRequest{Method: method, URL: plain.String(), Token: token, Nonce: p.nonce}
	if p.ahead != 0 {
		r.Issued = time.Now().Add(p.ahead)
	}
	return r
}

// leastSkew is how far two clocks are apart before one counts as wrong.
const leastSkew = 5 * time.Second

// learn reads what a response says about proofs.
func (p *proofs) learn(resp *http.Response) {
	nonce := resp.Header["Dpop-Nonce"]
	given := len(nonce) == 1 && nonce[0] != "" && len(nonce[0]) <= maxToken
	if !given && resp.StatusCode < http.StatusBadRequest {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if given {
		p.nonce = nonce[0]
	}
	if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil && resp.StatusCode >= http.StatusBadRequest {
		p.date = time.Until(at)
	}
}

// mend does what a server wants that refused a proof for a reason, and reports whether
// the next may be taken. learn has read the response. Only the server that refused a proof
// says what its clock is, and only for proofs that are its own.
func (p *proofs) mend(reason string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch reason {
	case "use_dpop_nonce": // RFC 9449 s8, s9
		return p.nonce != ""
	case "invalid_dpop_proof":
		before := p.ahead
		if p.ahead = p.date; p.ahead.Abs() < leastSkew {
			p.ahead = 0
		}
		return p.ahead != 0 || before != 0
	}
	return false
}
