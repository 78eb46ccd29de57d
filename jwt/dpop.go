package jwt

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/origin"
)

// DPoPConfig configures DPoP (RFC 9449). The zero value is ready for use.
type DPoPConfig struct {
	// Algorithms lists the accepted algorithms of proofs: those of [Config], except HS256. Default:
	// ES256, EdDSA and Ed25519.
	Algorithms []string

	// Window is the maximum age of a proof; 0 means a minute. A proof may be up to 10 s in the
	// future.
	Window time.Duration

	// Nonces requires a nonce of this server in each proof.
	Nonces bool

	// NonceLife is the lifetime of a nonce; 0 means 5 minutes.
	NonceLife time.Duration

	// NonceKey encrypts nonces. It has at least 32 bytes; nil means a random key.
	NonceKey []byte

	// MaxProofs is the number of proofs that are remembered to detect replays, about a hundred
	// bytes each; 0 means 1,000,000. If it is exceeded, further proofs get
	// [durward.AuthUnavailable] until old ones expire.
	MaxProofs int

	// Shared is the memory of several servers, so that a client can change the server without a new
	// nonce. It requires Nonces. Nil means that this server is alone.
	Shared SharedProofs
}

// SharedProofs is a memory of proofs that several servers share. It may be unavailable; then each
// server uses its own nonces.
type SharedProofs interface {
	// Key returns the key of the nonces that all servers accept, of at least 32 bytes. It changes
	// after the memory has lost data, and is nil while the memory is unavailable.
	Key() []byte

	// Spend records a proof for the time life and reports whether it is new. key is the result of
	// Key for its nonce. It returns an error if the memory is unavailable or its key has changed;
	// then the response is [durward.NonceRequired], and the client makes another proof.
	Spend(ctx context.Context, key []byte, id string, life time.Duration) (isNew bool, err error)
}

// DPoP returns a scheme that accepts the tokens of v with a proof. It refuses tokens that are not
// bound to a DPoP key (RFC 9449 s7.1), as the Bearer scheme refuses those that are.
func (v *Verifier) DPoP(c DPoPConfig) durward.Scheme {
	d := &dpop{v: v, c: c}
	if d.c.Algorithms == nil {
		d.c.Algorithms = []string{"ES256", "EdDSA", "Ed25519"}
	}
	d.c.Window = cmp.Or(d.c.Window, time.Minute)
	d.c.MaxProofs = cmp.Or(d.c.MaxProofs, 1_000_000)
	config := durward.DPoPConfig{
		Check: d.check, CheckKey: d.heldKey, Algorithms: d.c.Algorithms, Nonces: d.c.Nonces, NonceLife: d.c.NonceLife, Key: d.c.NonceKey,
	}
	if d.c.Shared != nil {
		config.SharedKey = d.c.Shared.Key
	}
	return durward.DPoP(config)
}

type dpop struct {
	v    *Verifier
	c    DPoPConfig // with defaults
	seen replays
}

// check makes the checks of RFC 9449 s4.3, then those of the token. The proof is marked as used
// after all other checks.
func (d *dpop) check(ctx context.Context, p durward.DPoPProof) (*durward.Principal, error) {
	proof, err := d.judge(ctx, p)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(p.Token))
	if subtle.ConstantTimeCompare([]byte(proof.tokenHash), []byte(base64.RawURLEncoding.EncodeToString(sum[:]))) == 0 {
		return nil, badProof(errors.New("ath is not the hash of the token"))
	}
	who, err := d.v.verify(ctx, p.Token, proof.key.id)
	if err != nil {
		return nil, err
	}
	// When the token of a stream is checked again, its proof has already been used.
	if !durward.Rechecking(ctx) {
		if err := d.spend(ctx, proof); err != nil {
			return nil, err
		}
	}
	return who, nil
}

// heldKey checks a proof without a token.
func (d *dpop) heldKey(ctx context.Context, p durward.DPoPProof) (*durward.HeldKey, error) {
	proof, err := d.judge(ctx, p)
	if err != nil {
		return nil, err
	}
	if proof.tokenHash != "" {
		return nil, badProof(errors.New("ath without a token: the proof is for a request with one (RFC 9449 s4.2)"))
	}
	return &durward.HeldKey{Thumbprint: proof.key.id, Spend: func() error { return d.spend(ctx, proof) }}, nil
}

func badProof(err error) error {
	return fmt.Errorf("jwt: DPoP proof: %w: %w", err, durward.InvalidProof)
}

// judge makes the checks of RFC 9449 s4.3 that do not concern the token.
func (d *dpop) judge(ctx context.Context, p durward.DPoPProof) (*proof, error) {
	proof, err := parseProof(p.Proof)
	if err != nil {
		return nil, badProof(err)
	}
	switch {
	case !slices.Contains(d.c.Algorithms, proof.key.alg):
		return nil, badProof(fmt.Errorf("alg is %s, accepted are %s (DPoPConfig.Algorithms)", proof.key.alg, strings.Join(d.c.Algorithms, ", ")))
	case proof.method != p.Method:
		return nil, badProof(fmt.Errorf("htm is %s, the method is %s", shown(proof.method), p.Method))
	case !sameURL(proof.url, p.URL):
		return nil, badProof(fmt.Errorf("htu is %s, the request is for %s", shown(proof.url), shown(p.URL)))
	}
	if durward.Rechecking(ctx) {
		return proof, nil // its age was checked at the start of the stream
	}
	if p.Fresh != nil && !p.Fresh(proof.nonce) {
		return nil, fmt.Errorf("jwt: DPoP proof: the nonce is not valid: %w", durward.NonceRequired)
	}
	if err := d.inTime(proof, d.v.c.Now()); err != nil {
		return nil, err
	}
	if p.Shared != nil {
		proof.shared = p.Shared(proof.nonce)
	}
	return proof, nil
}

func (d *dpop) inTime(proof *proof, now time.Time) error {
	if age := now.Sub(proof.issued); age > d.c.Window || age < -iatSkew {
		return badProof(fmt.Errorf("proof is %s old, want at most %s", rough(age), d.c.Window))
	}
	return nil
}

// spend marks a verified proof as used. It checks the age again: the record of the proof expires
// with the age limit, and this call may be later than the first check.
func (d *dpop) spend(ctx context.Context, proof *proof) error {
	now := d.v.c.Now()
	if err := d.inTime(proof, now); err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(proof.key.id + " " + proof.id)) // a thumbprint contains no space
	switch fresh, full := d.seen.spend(sum, now, d.c.Window+iatSkew, d.c.MaxProofs); {
	case full:
		return fmt.Errorf("jwt: more than %d proofs in the last %s", d.c.MaxProofs, d.c.Window)
	case !fresh:
		return badProof(errors.New("it was used before"))
	}
	// Only this server accepts its own nonces, so only it can have seen the proof. A nonce of all
	// servers may have been used at another one.
	if proof.shared == nil {
		return nil
	}
	switch isNew, err := d.c.Shared.Spend(ctx, proof.shared, base64.RawURLEncoding.EncodeToString(sum[:]), d.c.Window+iatSkew); {
	case err != nil:
		return fmt.Errorf("jwt: DPoP proof: cannot check whether another server has seen it: %w: %w", err, durward.NonceRequired)
	case !isNew:
		return badProof(errors.New("it was used before, at another server"))
	}
	return nil
}

// proof is a DPoP proof with a verified signature: its sender holds key.
type proof struct {
	key             *Key // its ID is the thumbprint of RFC 7638
	id, method, url string
	nonce           string
	tokenHash       string // ath
	issued          time.Time
	shared          []byte // the key of its nonce if all servers accept it; else nil
}

// maxProofID is the maximum length of the jti of a proof, in bytes.
const maxProofID = 256

// parseProof parses a proof and verifies it with the key that it contains.
func parseProof(text string) (*proof, error) {
	var s scratch
	head := new(proofHeader)
	t, err := split(text, &s)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(t.head, head); err != nil {
		return nil, fmt.Errorf("header is not the JSON that a proof may hold: %w", syntax(err))
	}
	if err := head.fault(); err != nil {
		return nil, err
	}
	if !strings.EqualFold(head.typ, "dpop+jwt") && !strings.EqualFold(head.typ, "application/dpop+jwt") {
		return nil, fmt.Errorf("typ is %s, not \"dpop+jwt\" (RFC 9449 s4.2)", shown(head.typ))
	}
	if head.key == nil {
		return nil, errors.New("jwk is missing from the header (RFC 9449 s4.2)")
	}
	key, err := head.key.proofKey(head.alg)
	if err != nil {
		return nil, fmt.Errorf("jwk: %w", err)
	}
	t.header = head.header
	if err := t.signedBy(key); err != nil {
		return nil, err
	}
	p := &proof{key: key}
	return p, p.read(t.payload)
}

// proofKey returns the key of a proof: an asymmetric public key.
func (j *jwk) proofKey(alg string) (*Key, error) {
	if name := j.hasSecret(); name != "" {
		return nil, fmt.Errorf("%s belongs to a private or symmetric key (RFC 9449 s4.3)", name)
	}
	if said := j.members["alg"]; said != "" && said != alg {
		return nil, fmt.Errorf("alg is %s, the header says %s", shown(said), shown(alg))
	}
	return j.public("", alg)
}

// proofHeader is the JOSE header of a proof: that of a token, and the key.
type proofHeader struct {
	header
	key *jwk
}

// UnmarshalJSONFrom parses the header object.
func (h *proofHeader) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	return readObject(d, func(name []byte) error {
		if string(name) != "jwk" {
			return h.member(d, name)
		}
		if d.PeekKind() != '{' {
			if h.bad == nil {
				h.bad = errors.New("jwk in the header is not an object")
			}
			return skip(d)
		}
		h.key = new(jwk)
		return h.key.UnmarshalJSONFrom(d)
	})
}

// read parses the claims of a proof (RFC 9449 s4.2).
func (p *proof) read(payload []byte) error {
	if err := json.Unmarshal(payload, p); err != nil {
		return fmt.Errorf("payload is not the JSON that a proof may hold: %w", syntax(err))
	}
	for _, c := range [...]struct {
		name string
		ok   bool
	}{{"jti", p.id != "" && len(p.id) <= maxProofID}, {"htm", p.method != ""}, {"htu", p.url != ""}, {"iat", !p.issued.IsZero()}} {
		if !c.ok {
			return fmt.Errorf("%s is missing or not of its form (RFC 9449 s4.2)", c.name)
		}
	}
	return nil
}

// UnmarshalJSONFrom parses the claims; one of the wrong type counts as missing.
func (p *proof) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	texts := map[string]*string{"jti": &p.id, "htm": &p.method, "htu": &p.url, "nonce": &p.nonce, "ath": &p.tokenHash}
	return readObject(d, func(name []byte) error {
		if to, ok := texts[string(name)]; ok {
			_, err := readString(d, to)
			return err
		}
		if string(name) == "iat" {
			var r reading
			return r.date(d, "iat", &p.issued)
		}
		return skip(d)
	})
}

// sameURL compares htu with the URL of the request, without query and fragment and with the
// normalization of RFC 3986 s6.2.2 and s6.2.3 (RFC 9449 s4.3).
func sameURL(said, is string) bool {
	a, errA := url.Parse(said)
	b, errB := url.Parse(is)
	if errA != nil || errB != nil || a.User != nil || a.Opaque != "" {
		return false
	}
	// Path is decoded: different percent-encodings of the same bytes are equal.
	return origin.Of(a.Scheme, a.Host) == origin.Of(b.Scheme, b.Host) && cmp.Or(a.Path, "/") == cmp.Or(b.Path, "/")
}

// replays records used proofs until they are too old to be accepted.
type replays struct {
	mu       sync.Mutex
	now, old map[[sha256.Size]byte]struct{} // of this window and of the previous one
	turned   time.Time                      // start of now
}

// spend records the hash of a proof. full reports that there is no room for it.
func (r *replays) spend(sum [sha256.Size]byte, now time.Time, window time.Duration, most int) (fresh, full bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch since := now.Sub(r.turned); {
	case r.now == nil || since >= 2*window:
		r.now, r.old, r.turned = make(map[[sha256.Size]byte]struct{}), nil, now
	case since >= window:
		r.now, r.old, r.turned = make(map[[sha256.Size]byte]struct{}), r.now, now
	}
	_, inNow := r.now[sum]
	_, inOld := r.old[sum]
	switch {
	case inNow || inOld:
		return false, false
	case len(r.now)+len(r.old) >= most:
		return false, true
	}
	r.now[sum] = struct{}{}
	return true, false
}

// Thumbprint returns the x5t#S256 of a certificate: its SHA-256 in base64url (RFC 8705 s3.1).
func Thumbprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Prove returns a DPoP proof (RFC 9449 s4.2) for one request. Use it as the Prove field of
// client.TokensConfig.
func (k *PrivateKey) Prove(r durward.ProofRequest) (string, error) {
	if k.signer == nil {
		return "", errors.New("jwt: a proof wants a key pair, not a shared secret (RFC 9449 s4.2)")
	}
	jwk, err := (&jose.JSONWebKey{Key: k.key.m.public}).MarshalJSON()
	if err != nil {
		return "", fmt.Errorf("jwt: proof: %w", err)
	}
	if r.Issued.IsZero() {
		r.Issued = time.Now()
	}
	var id [16]byte
	_, _ = rand.Read(id[:]) // crypto/rand.Read never returns an error
	claims := struct {
		ID     string `json:"jti"`
		Method string `json:"htm"`
		URL    string `json:"htu"`
		Issued int64  `json:"iat"`
		Token  string `json:"ath,omitempty"`
		Nonce  string `json:"nonce,omitempty"`
	}{ID: base64.RawURLEncoding.EncodeToString(id[:]), Method: r.Method, URL: r.URL, Issued: r.Issued.Unix(), Nonce: r.Nonce}
	if r.Token != "" {
		sum := sha256.Sum256([]byte(r.Token))
		claims.Token = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("jwt: proof: %w", err)
	}
	// typ and alg need no escaping.
	header := append(append([]byte(`{"typ":"dpop+jwt","alg":"`+k.key.alg+`","jwk":`), jwk...), '}')
	text := base64.RawURLEncoding.AppendEncode(nil, header)
	text = base64.RawURLEncoding.AppendEncode(append(text, '.'), payload)
	signature, err := k.sign(text)
	if err != nil {
		return "", fmt.Errorf("jwt: proof: sign with %s: %w", k, err)
	}
	return string(base64.RawURLEncoding.AppendEncode(append(text, '.'), signature)), nil
}
