package durward

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// digestClient answers challenges with one nonce after another. It is safe for
// concurrent use.
type digestClient struct {
	user      string // name or its hash, as sent
	userhash  bool
	extended  bool // the server knows username*
	realm     string
	opaque    string
	hasOpaque bool
	algorithm digestAlgorithm
	named     string // algorithm as the server spells it; empty where it names none
	qop       string
	ha1       []byte

	mu     sync.Mutex
	nonce  string
	cnonce string // for -sess the one that the session began with
	secret []byte // hash of A1 for this nonce, in hex
	count  uint32
}

// clientAlgorithm is the algorithm that a challenge names; MD5 where it names none
// (RFC 7616 s3.3).
func clientAlgorithm(name string) (a digestAlgorithm, sess bool) {
	if name == "" {
		name = "MD5"
	}
	plain, sess := strings.CutSuffix(strings.ToUpper(name), "-SESS")
	return digestAlgorithms[plain], sess
}

// newDigestClient reads a challenge. It returns nil where it cannot be answered or may
// not: an unknown algorithm, MD5, no quality of protection.
func newDigestClient(c Challenge, p PasswordConfig) (*digestClient, error) {
	d := &digestClient{user: p.User}
	d.named, _ = c.Param("algorithm")
	a, sess := clientAlgorithm(d.named)
	d.algorithm = a
	d.realm, _ = c.Param("realm")
	d.opaque, d.hasOpaque = c.Param("opaque")
	d.nonce, _ = c.Param("nonce")
	charset, _ := c.Param("charset")
	d.extended = strings.EqualFold(charset, "UTF-8") // RFC 7616 s3.3
	offered, _ := c.Param("qop")
	for _, q := range strings.FieldsFunc(strings.ToLower(offered), func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
		if q == "auth" || q == "auth-int" && d.qop == "" {
			d.qop = q
		}
	}
	// Without qop an answer can be replayed and a password guessed by whoever chose the
	// nonce (RFC 2069).
	if a.name == "" || a.name == "MD5" && !p.InsecureMD5 || d.qop == "" || d.nonce == "" {
		return nil, nil
	}
	if len(d.nonce)+len(d.realm)+len(d.opaque) > maxToken {
		return nil, nil
	}
	var err error
	if d.ha1, err = HA1(a.name, p.User, d.realm, p.Password); err != nil {
		return nil, err
	}
	if hidden, _ := c.Param("userhash"); strings.EqualFold(hidden, "true") { // RFC 7616 s3.4.4
		d.userhash = true
		if d.user, err = UserHash(a.name, p.User, d.realm); err != nil {
			return nil, err
		}
	}
	d.begin(d.nonce, sess)
	return d, nil
}

// begin makes what belongs to one nonce.
func (d *digestClient) begin(nonce string, sess bool) {
	d.nonce, d.count, d.cnonce = nonce, 0, ""
	d.secret = hex.AppendEncode(nil, d.ha1)
	if sess {
		d.cnonce = newCnonce()
		text := append(append(append(append(slices.Clone(d.secret), ':'), nonce...), ':'), d.cnonce...)
		d.secret = d.algorithm.appendHex(nil, text) // RFC 7616 s3.4.2
	}
}

func newCnonce() string {
	var raw [15]byte
	_, _ = rand.Read(raw[:]) // crypto/rand.Read never returns an error
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

// used is how often the nonce was answered with.
func (d *digestClient) used() uint32 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.count
}

// respond returns the credentials for an attempt (RFC 7616 s3.4).
func (d *digestClient) respond(a *attempt, done *answered) (string, error) {
	d.mu.Lock()
	d.count++
	count, nonce, cnonce, secret := d.count, d.nonce, d.cnonce, d.secret
	d.mu.Unlock()
	if cnonce == "" {
		cnonce = newCnonce()
	}
	answer := digestAnswer{uri: a.target(), nonce: nonce, nc: fmt.Sprintf("%08x", count), cnonce: cnonce, qop: d.qop}
	var body []byte
	if d.qop == "auth-int" {
		var err error
		if body, err = d.bodyHash(a); err != nil {
			return "", err
		}
	}
	response := string(answer.answer(nil, d.algorithm, secret, a.r.Method, body))
	done.count, done.nonce = count, nonce
	params := make([]Param, 0, 12)
	switch {
	case d.userhash:
		params = append(params, Param{"username", d.user}, Param{"userhash", "true"})
	case isASCII(d.user) || !d.extended: // servers of before RFC 7616 know username alone
		params = append(params, Param{"username", d.user})
	default:
		params = append(params, Param{"username*", "UTF-8''" + extendedOctets(d.user)}) // RFC 8187 s3.2
	}
	params = append(params, Param{"realm", d.realm}, Param{"nonce", nonce}, Param{"uri", answer.uri}, Param{"response", response})
	if d.named != "" {
		params = append(params, Param{"algorithm", d.named})
	}
	if d.hasOpaque {
		params = append(params, Param{"opaque", d.opaque})
	}
	params = append(params, Param{"qop", d.qop}, Param{"nc", answer.nc}, Param{"cnonce", cnonce})
	c := Credentials{Scheme: "Digest", Params: params}
	if err := c.Valid(); err != nil {
		return "", err
	}
	return c.String(), nil
}

// bodyHash is the hash of the body that will be sent (RFC 7616 s3.4.3), in hex.
func (d *digestClient) bodyHash(a *attempt) ([]byte, error) {
	h := d.algorithm.new()
	if a.r.Body != nil && a.r.Body != http.NoBody {
		if a.r.GetBody == nil {
			return nil, fmt.Errorf("durward: Digest auth-int wants a body that can be read twice: %w", ErrNoAnswer)
		}
		body, err := a.r.GetBody()
		if err != nil {
			return nil, fmt.Errorf("durward: Digest auth-int: the body: %w", err)
		}
		_, err = io.Copy(h, body)
		if err = errors.Join(err, body.Close()); err != nil {
			return nil, fmt.Errorf("durward: Digest auth-int: the body: %w", err)
		}
	}
	return hex.AppendEncode(nil, h.Sum(nil)), nil
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// extendedOctets encodes the value of an ext-value (RFC 8187 s3.2.1).
func extendedOctets(s string) string {
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', strings.IndexByte("!#$&+-.^_`|~", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// errForged says that whoever answered does not know the password.
var errForged = errors.New("durward: the server shows by rspauth that it does not know the password (RFC 7616 s3.5): what it answers is not to be trusted")

// learn takes what a server says of itself and of its next nonce (RFC 7616 s3.5).
func (d *digestClient) learn(a *attempt, done *answered, lines []string) error {
	params, err := ParseAuthInfo(lines)
	if err != nil {
		return nil // no part of what was asked for
	}
	sent, _ := ParseCredentials(a.r.Header.Get(a.field))
	cnonce, _ := sent.Param("cnonce")
	nc, _ := sent.Param("nc")
	said := func(name string) string { v, _ := param(params, name); return v }
	if proof := said("rspauth"); proof != "" && said("qop") == "auth" && said("cnonce") == cnonce && said("nc") == nc {
		d.mu.Lock()
		secret, current := d.secret, d.nonce == done.nonce
		d.mu.Unlock()
		answer := digestAnswer{uri: a.target(), nonce: done.nonce, nc: nc, cnonce: cnonce, qop: "auth"}
		if current && subtle.ConstantTimeCompare(answer.answer(nil, d.algorithm, secret, "", nil), []byte(strings.ToLower(proof))) == 0 {
			return errForged
		}
	}
	if next := said("nextnonce"); next != "" && len(next) <= maxToken {
		d.mu.Lock()
		if d.nonce == done.nonce { // of many answers in flight the first moves on
			d.begin(next, d.cnonce != "")
		}
		d.mu.Unlock()
	}
	return nil
}
