package durward

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// DPoPConfig is the configuration of the [DPoP] scheme. Only Check is required.
type DPoPConfig struct {
	// Check verifies a token and its proof and returns the principal. It refuses with an error that
	// wraps [InvalidProof], [NonceRequired] or a code of Bearer tokens; any other error is
	// [AuthUnavailable]. Package jwt has an implementation. The context is the request's. If
	// [Rechecking] reports true for it, the proof is the one that was accepted before: Check must
	// then ignore its age, its nonce and that it was used.
	Check func(ctx context.Context, p DPoPProof) (*Principal, error)

	// CheckKey verifies a proof that a client sends without a token, to request one (RFC 9449 s5),
	// and returns the key that the proof was signed with. It refuses like Check. [Guard.HeldKey]
	// calls it; it may be nil on servers that issue no tokens.
	CheckKey func(ctx context.Context, p DPoPProof) (*HeldKey, error)

	// Algorithms are the accepted signature algorithms of proofs; the challenge names them. The
	// default is ES256, EdDSA and Ed25519.
	Algorithms []string

	// Nonces requires a nonce of this server in each proof (RFC 9449 s9), so that proofs cannot be
	// created in advance.
	Nonces bool

	// NonceLife is the lifetime of a nonce; the default is 5 minutes.
	NonceLife time.Duration

	// Key is the key of at least 32 octets that authenticates nonces. If it is nil, a random key is
	// used: proofs with nonces of another node, or from before a restart, are then refused with
	// [NonceRequired].
	Key []byte

	// SharedKey returns a key of at least 32 octets for nonces that several servers accept, so that
	// a client can change from one to another; it returns nil while there is none. While there is
	// one, new nonces use it; nonces of Key remain valid on this server. Servers that share nonces
	// must share used proofs, too: see [DPoPProof.Shared].
	SharedKey func() []byte
}

// maxProof is the maximum length of a proof, in octets.
const maxProof = 8 << 10

// DPoPProof is the token and the proof of a request.
type DPoPProof struct {
	Token  string // as sent, at most Config.MaxCredentials of token68 characters; empty for a proof without a token
	Proof  string // the DPoP field, as sent; at most 8 KiB
	Method string // of the request: the expected htm
	URL    string // of the request without query: the expected htu

	// Fresh reports whether a nonce is valid on this server; nil if nonces are not required.
	Fresh func(nonce string) bool

	// Shared returns the key, as SharedKey returned it, of a nonce that other servers accept too: a
	// proof with that nonce may have been used there. It returns nil for other nonces, and is nil
	// if no nonces are shared.
	Shared func(nonce string) []byte
}

// ProofRequest describes a DPoP proof that a client wants to send (RFC 9449 s4.2).
type ProofRequest struct {
	Method string    // of the HTTP request
	URL    string    // without query and fragment
	Token  string    // access token sent with the proof; empty for none
	Nonce  string    // nonce that the server asked for; empty for none
	Issued time.Time // time of issue by the server's clock; zero means now
}

// HeldKey is a key that the client has proved to hold.
type HeldKey struct {
	// Thumbprint is the key's SHA-256 thumbprint by RFC 7638, in base64url: the jkt of a token that
	// is bound to the key (RFC 9449 s6.1).
	Thumbprint string

	// Spend marks the proof as used. Call it after all other checks, so that proofs of
	// unauthenticated clients occupy no memory. For a proof that was used before, it returns an
	// error that wraps [InvalidProof].
	Spend func() error
}

// DPoP returns the scheme of RFC 9449: an access token that is bound to a key, and with each
// request a proof of possession of that key. A proof is valid for one method and one URL. The URL's
// origin is the guard's PublicURL or, without one, the request's own Host.
func DPoP(c DPoPConfig) Scheme {
	if c.Algorithms == nil {
		c.Algorithms = []string{"ES256", "EdDSA", "Ed25519"}
	}
	c.NonceLife = cmp.Or(c.NonceLife, 5*time.Minute)
	return &dpop{c: c, own: &nonces{"DPoP nonce", newKeyedHash(c.Key)}}
}

type dpop struct {
	c      DPoPConfig // with defaults filled in
	own    *nonces    // valid on this server only
	shared atomic.Pointer[sharedNonces]
}

// sharedNonces are nonces under a key that several servers have.
type sharedNonces struct {
	*nonces
	key []byte
}

// sharing returns the nonces that are shared at this moment, or nil.
func (d *dpop) sharing() *sharedNonces {
	if d.c.SharedKey == nil {
		return nil
	}
	key := d.c.SharedKey()
	if weakNonceKey(key) != "" || key == nil {
		return nil
	}
	s := d.shared.Load()
	if s == nil || !bytes.Equal(s.key, key) {
		s = &sharedNonces{&nonces{"shared DPoP nonce", newKeyedHash(key)}, bytes.Clone(key)}
		d.shared.Store(s)
	}
	return s
}

// nonce returns a new nonce.
func (d *dpop) nonce(g *Guard) string {
	n := d.own
	if s := d.sharing(); s != nil {
		n = s.nonces
	}
	return n.seal(g.c.Realm, g.c.Now())
}

func (d *dpop) mistakes(report func(string, ...any)) {
	if d.c.Check == nil {
		report("DPoP: Check is nil: pass a function that verifies tokens and proofs")
	}
	for _, a := range d.c.Algorithms {
		if a == "none" || strings.HasPrefix(a, "HS") || !isToken(a) { // RFC 9449 s4.2
			report("DPoP: algorithm %q is prohibited: only asymmetric ones are allowed", a)
		}
	}
	if len(d.c.Algorithms) == 0 {
		report("DPoP: Algorithms is empty: no proof would be valid")
	}
	if why := weakNonceKey(d.c.Key); why != "" {
		report("DPoP: %s", why)
	}
	if d.c.SharedKey != nil && !d.c.Nonces {
		report("DPoP: SharedKey requires Nonces")
	}
	if d.c.NonceLife < 0 {
		report("DPoP: NonceLife may not be negative")
	}
}

func (*dpop) Presented(r *http.Request) (found, ambient bool) { return presents(r, "DPoP"), false }

func (d *dpop) Authenticate(r *http.Request) (*Principal, error) {
	st := stateOf(r.Context())
	token, err := st.token("DPoP")
	if err != nil {
		return nil, err
	}
	p, err := d.proof(r, st)
	if err != nil {
		return nil, err
	}
	p.Token = token
	who, err := d.c.Check(r.Context(), p)
	if err != nil {
		return nil, err
	}
	if who == nil {
		return nil, errors.New("DPoP: Check returned neither a principal nor an error")
	}
	return who.as("DPoP"), nil
}

// proof reads the proof of a request.
func (d *dpop) proof(r *http.Request, st *requestState) (DPoPProof, error) {
	p := DPoPProof{Method: r.Method, URL: st.guard.target(r, st)}
	switch lines := r.Header["Dpop"]; { // RFC 9449 s4.3: exactly one
	case len(lines) != 1:
		return DPoPProof{}, fmt.Errorf("%d DPoP fields: %w", len(lines), InvalidProof)
	case len(lines[0]) > maxProof:
		return DPoPProof{}, fmt.Errorf("DPoP field of %d octets, at most %d are allowed: %w", len(lines[0]), maxProof, InvalidProof)
	default:
		p.Proof = lines[0]
	}
	if d.c.Nonces {
		good := func(n *nonces, nonce string) bool {
			id, ok := n.open(nonce, st.guard.c.Realm)
			return ok && st.guard.c.Now().Sub(id.made()) <= d.c.NonceLife
		}
		p.Fresh = func(nonce string) bool { return good(d.own, nonce) }
		if shared := d.sharing(); shared != nil {
			p.Fresh = func(nonce string) bool { return good(d.own, nonce) || good(shared.nonces, nonce) }
			p.Shared = func(nonce string) []byte {
				if good(shared.nonces, nonce) {
					return shared.key
				}
				return nil
			}
		}
	}
	return p, nil
}

// HeldKey verifies the DPoP proof of a request for a token and returns the proof's key. If the
// request has no DPoP field, there is no key to bind a token to, and HeldKey returns nil without an
// error. Its errors wrap [InvalidProof] or [NonceRequired] and are for [Guard.Refuse]. It is for
// handlers inside [Guard.Open]. If the guard has no DPoP scheme with a CheckKey, HeldKey returns
// nil.
func (g *Guard) HeldKey(r *http.Request) (*HeldKey, error) {
	if len(r.Header["Dpop"]) == 0 {
		return nil, nil
	}
	st := stateOf(r.Context())
	if st == nil || st.guard != g {
		r, st = g.resolve(r, g.every)
	}
	for _, s := range g.c.Schemes {
		d, ok := s.(*dpop)
		if !ok || d.c.CheckKey == nil {
			continue
		}
		p, err := d.proof(r, st)
		if err != nil {
			return nil, err
		}
		key, err := d.c.CheckKey(r.Context(), p)
		if err != nil {
			return nil, err
		}
		if key == nil { // the client would receive a Bearer token although it requested a bound one
			return nil, errors.New("DPoP: CheckKey returned neither a key nor an error")
		}
		return key, nil
	}
	return nil, nil
}

func (d *dpop) Challenges(_ *http.Request, code Code) []Challenge {
	params := append([]Param{{"algs", strings.Join(d.c.Algorithms, " ")}}, oauthParams(code)...) // RFC 9449 s7.1
	return []Challenge{{Scheme: "DPoP", Params: params}}
}

// target returns the URL of r without its query, as the client knows it.
func (g *Guard) target(r *http.Request, st *requestState) string {
	scheme, host := g.origin(r, st)
	return scheme + "://" + host + g.prefix + r.URL.EscapedPath()
}
