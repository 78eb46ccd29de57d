// Package dpop is the client's part of DPoP (RFC 9449): it keeps the nonce and the clock of a server,
// and sends requests with proofs to the endpoints that issue tokens.
package dpop

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/retry"
)

// MaxToken is the longest token, nonce or set of Digest parameters that a client accepts from a
// server, in bytes.
const MaxToken = 8 << 10

// A Prover returns a signed DPoP proof.
type Prover func(durward.ProofRequest) (string, error)

// State holds the nonce and the clock of one server. The zero State is ready for use. It is
// safe for concurrent use.
type State struct {
	mu     sync.Mutex
	nonce  string        // the server's latest nonce (RFC 9449 s8.2)
	clock  time.Duration // the server's clock minus this machine's, at the latest refusal
	offset time.Duration // added to the time of issue of proofs
}

// Request describes the next proof for a request.
func (s *State) Request(method string, u *url.URL, token string) durward.ProofRequest {
	plain := *u // RFC 9449 s4.2: htu has neither query nor fragment
	plain.RawQuery, plain.ForceQuery, plain.Fragment, plain.RawFragment, plain.User = "", false, "", "", nil
	s.mu.Lock()
	defer s.mu.Unlock()
	r := durward.ProofRequest{Method: method, URL: plain.String(), Token: token, Nonce: s.nonce}
	if s.offset != 0 {
		r.Issued = time.Now().Add(s.offset)
	}
	return r
}

// minOffset is the smallest difference of two clocks that the client corrects.
const minOffset = 5 * time.Second

// Observe reads the nonce of a response, and the server's clock from a refusal.
func (s *State) Observe(resp *http.Response) {
	nonce := resp.Header["Dpop-Nonce"]
	given := len(nonce) == 1 && nonce[0] != "" && len(nonce[0]) <= MaxToken
	if !given && resp.StatusCode < http.StatusBadRequest {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if given {
		s.nonce = nonce[0]
	}
	if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil && resp.StatusCode >= http.StatusBadRequest {
		s.clock = time.Until(at)
	}
}

// Correct prepares the next proof after a server refused one for this reason. It reports whether the
// next proof differs. Observe must have read the response. Only a server that refused a proof
// changes the time of later proofs, and only of proofs for that server.
func (s *State) Correct(reason retry.Reason) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch reason {
	case retry.UseDPoPNonce:
		return s.nonce != ""
	case retry.InvalidProof:
		before := s.offset
		if s.offset = s.clock; s.offset.Abs() < minOffset {
			s.offset = 0
		}
		return s.offset != 0 || before != 0
	}
	return false
}

// A Request is a POST request to an endpoint that issues tokens.
type Request struct {
	Client        *http.Client
	URL           *url.URL
	ContentType   string
	Body          []byte
	Authorization string // value of the field; empty for none
	Token         string // access token in Authorization, covered by the proof; empty for none
	Prove         Prover // nil sends no proof
	State         *State // of the server; required with Prove
}

// Send sends the request. After a refused proof it sends the request again with a corrected proof,
// once for each reason.
func (r Request) Send(ctx context.Context) (*http.Response, error) {
	var once retry.Once
	for {
		resp, err := r.send(ctx)
		if err != nil || r.Prove == nil {
			return resp, err
		}
		r.State.Observe(resp)
		reason := reasonOf(resp)
		if !once.Allows(reason) || !r.State.Correct(reason) {
			return resp, nil
		}
		once.Use(reason)
		_ = resp.Body.Close()
	}
}

func (r Request) send(ctx context.Context) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL.String(), bytes.NewReader(r.Body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", r.ContentType)
	req.Header.Set("Accept", "application/json")
	if r.Prove != nil {
		proof, err := r.Prove(r.State.Request(req.Method, r.URL, r.Token))
		if err != nil {
			return nil, fmt.Errorf("durward: cannot make the DPoP proof: %w", err)
		}
		req.Header["Dpop"] = []string{proof}
	}
	if r.Authorization != "" {
		req.Header.Set("Authorization", r.Authorization)
	}
	return r.Client.Do(req)
}

// reasonOf returns the error of a refusal: that of a DPoP challenge (RFC 9449 s7.1), or that of a token
// endpoint's body (s5, s8), which remains readable. It returns the empty string if there is none.
func reasonOf(resp *http.Response) retry.Reason {
	if resp.StatusCode < http.StatusBadRequest {
		return ""
	}
	body := retry.Buffer(resp)
	challenges, _ := durward.ParseChallenges(resp.Header["Www-Authenticate"])
	for _, c := range challenges {
		if reason, _ := c.Param("error"); strings.EqualFold(c.Scheme, "DPoP") && reason != "" {
			return retry.Reason(reason)
		}
	}
	var e struct {
		Error string `json:"error"`
	}
	_ = json.Unmarshal(body, &e)
	return retry.Reason(e.Error)
}
