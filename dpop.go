package durward

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// DPoPConfig is what the [DPoP] scheme is made of. Only Check is required.
type DPoPConfig struct {
	// Check judges a token and its proof and returns who they speak for. It refuses
	// by an error that wraps [InvalidProof], [NonceRequired], or what a Bearer token
	// is refused by; any other error is [AuthUnavailable]. Package jwt has one. The
	// context is the request's. Where [Rechecking] is true of it, the proof is the one
	// that let the request in: its age, its nonce and that it was used before are no
	// longer asked for.
	Check func(ctx context.Context, p DPoPProof) (*Principal, error)

	// CheckKey judges a proof that comes without a token, with which a client asks for
	// one (RFC 9449 s5), and returns the key that it proves to hold. It refuses as
	// Check does. [Guard.HeldKey] asks it; nil where no tokens are given.
	CheckKey func(ctx context.Context, p DPoPProof) (*HeldKey, error)

	// Algorithms of proofs that are taken, named in the challenge. Default: ES256,
	// EdDSA and Ed25519.
	Algorithms []string

	// Nonces demands a nonce of this server in each proof (RFC 9449 s9), so that none
	// can be made ahead of time.
	Nonces bool

	// NonceLife is how long a nonce is good for; 0 is 5 minutes.
	NonceLife time.Duration

	// Key, of at least 32 octets, seals nonces. Nil draws one at random: a proof made
	// for another start or another node then meets [NonceRequired].
	Key []byte

	// SharedKey returns the key, of at least 32 octets, of nonces that other servers take
	// as well, so that a client may go from one to another; nil is that there is none
	// just now, or without a SharedKey ever. While there is one, new nonces are sealed
	// with it; those of Key stay good here. Whoever shares nonces must share what was
	// spent, too: see [DPoPProof.Shared].
	SharedKey func() []byte
}

// DPoPProof is a token and the proof that came with it.
type DPoPProof struct {
	Token  string // as sent, at most 8 KiB of token68 characters; empty for a proof alone
	Proof  string // the one DPoP field, as sent; at most 8 KiB
	Method string // of the request: what htm must be
	URL    string // of the request without query: what htu must be

	// Fresh reports whether a nonce is one that is good here; nil where none is
	// demanded.
	Fresh func(nonce string) bool

	// Shared returns the key, as SharedKey gave it, of a nonce that other servers take as
	// well: a proof with it may have been used there. It is nil for other nonces; Shared
	// is nil where none is shared.
	Shared func(nonce string) []byte
}

// HeldKey is a key that a client has proved to hold.
type HeldKey struct {
	// Thumbprint is that of RFC 7638 with SHA-256, in base64url: the jkt of a token
	// that is bound to the key (RFC 9449 s6.1).
	Thumbprint string

	// Spend takes the proof, which it does once, and is called when all else is well:
	// proofs of strangers then fill no memory. It refuses a proof that was spent before
	// by an error that wraps [InvalidProof].
	Spend func() error
}

// DPoP returns the scheme of RFC 9449: an access token that is bound to a key, and
// with each request a proof of holding it. A proof is for one method and one URL,
// that of the guard's PublicURL or, without one, of the request's own Host.
func DPoP(c DPoPConfig) Scheme {
	if c.Algorithms == nil {
		c.Algorithms = []string{"ES256", "EdDSA", "Ed25519"}
	}
	if c.NonceLife == 0 {
		c.NonceLife = 5 * time.Minute
	}
	return &dpop{c: c, own: newNonces("DPoP nonce", c.Key)}
}

type dpop struct {
	c      DPoPConfig // with defaults filled in
	own    *nonces    // of this server alone
	shared atomic.Pointer[sharedNonces]
}

// sharedNonces are nonces under a key that several servers have.
type sharedNonces struct {
	*nonces
	key []byte
}

// sharing returns the nonces that are shared just now, nil for none.
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
		s = &sharedNonces{newNonces("shared DPoP nonce", key), bytes.Clone(key)}
		d.shared.Store(s)
	}
	return s
}

// nonce makes a nonce.
func (d *dpop) nonce(g *Guard) string {
	n := d.own
	if s := d.sharing(); s != nil {
		n = s.nonces
	}
	return n.seal(g.c.Realm, g.c.Now())
}

func (d *dpop) mistakes() (all []string) {
	mistake := func(format string, args ...any) { all = append(all, fmt.Sprintf("DPoP: "+format, args...)) }
	if d.c.Check == nil {
		mistake("Check is nil: it needs a function that judges tokens and proofs")
	}
	for _, a := range d.c.Algorithms {
		if a == "none" || strings.HasPrefix(a, "HS") || !isToken(a) { // RFC 9449 s4.2
			mistake("algorithm %q: only asymmetric ones", a)
		}
	}
	if len(d.c.Algorithms) == 0 {
		mistake("Algorithms is empty: no proof could be right")
	}
	if why := weakNonceKey(d.c.Key); why != "" {
		mistake("%s", why)
	}
	if d.c.SharedKey != nil && !d.c.Nonces {
		mistake("SharedKey is of use with Nonces alone")
	}
	if d.c.NonceLife < 0 {
		mistake("NonceLife may not be negative")
	}
	return all
}

func (*dpop) Presented(r *http.Request) (found, ambient bool) { return presents(r, "DPoP"), false }

func (d *dpop) Authenticate(r *http.Request) (*Principal, error) {
	st := stateOf(r.Context())
	if err := checkToken("DPoP", st.credentials.Token68); err != nil {
		return nil, err
	}
	p, err := d.proof(r, st)
	if err != nil {
		return nil, err
	}
	p.Token = st.credentials.Token68
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
	switch lines := r.Header["Dpop"]; { // RFC 9449 s4.3: one, and no more
	case len(lines) != 1:
		return DPoPProof{}, fmt.Errorf("%d DPoP fields: %w", len(lines), InvalidProof)
	case len(lines[0]) > maxToken:
		return DPoPProof{}, fmt.Errorf("a DPoP field of %d octets, at most %d are read: %w", len(lines[0]), maxToken, InvalidProof)
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

// HeldKey judges the DPoP proof of a request that asks for a token, where it has a
// DPoP field: without one there is no key to bind a token to, and HeldKey returns
// nil without an error. It refuses by an error that wraps [InvalidProof] or
// [NonceRequired], for [Guard.Refuse] of a guard that has this scheme. It is for
// handlers inside [Guard.Open]; a guard without the scheme DPoP, or with one that
// has no CheckKey, finds no key.
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
		if key == nil { // which would be a Bearer token for who asked for a bound one
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

// target is the URL of a request without its query, as its client knows it.
func (g *Guard) target(r *http.Request, st *requestState) string {
	scheme, host := "http", r.Host
	if st.https {
		scheme = "https"
	}
	if g.public != nil { // never from the Host field where it is known
		scheme, host = g.public.Scheme, g.public.Host
	}
	return scheme + "://" + host + r.URL.EscapedPath()
}
