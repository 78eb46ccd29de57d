package client

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/digest"
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
	algorithm digest.Algorithm
	named     string // algorithm as the server spells it; empty where it names none
	qop       string
	ha1       []byte

	mu     sync.Mutex
	nonce  string
	cnonce string // for -sess the one that the session began with
	secret []byte // hash of A1 for this nonce, in hex
	count  uint32
}

// newDigestClient reads a challenge. It returns nil where it cannot be answered or may
// not: an unknown algorithm, MD5, no quality of protection.
func newDigestClient(c durward.Challenge, p PasswordConfig) (*digestClient, error) {
	d := &digestClient{user: p.User}
	d.named, _ = c.Param("algorithm")
	a, sess := digest.Parse(d.named)
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
	if a.Name == "" || a.Name == "MD5" && !p.InsecureMD5 || d.qop == "" || d.nonce == "" {
		return nil, nil
	}
	if len(d.nonce)+len(d.realm)+len(d.opaque) > maxToken {
		return nil, nil
	}
	var err error
	if d.ha1, err = digest.HA1(a.Name, p.User, d.realm, p.Password); err != nil {
		return nil, err
	}
	if hidden, _ := c.Param("userhash"); strings.EqualFold(hidden, "true") { // RFC 7616 s3.4.4
		d.userhash = true
		if d.user, err = digest.UserHash(a.Name, p.User, d.realm); err != nil {
			return nil, err
		}
	}
	d.begin(d.nonce, sess)
	return d, nil
}

// begin makes what belongs to one nonce.
func (d *digestClient) begin(nonce string, sess bool) {
	d.nonce, d.count, d.cnonce = nonce, 0, ""
	if sess {
		d.cnonce = newCnonce()
	}
	d.secret = digest.AppendSecret(nil, d.algorithm, sess, d.ha1, nonce, d.cnonce)
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
	parts := digest.Parts{URI: a.target(), Nonce: nonce, NC: fmt.Sprintf("%08x", count), CNonce: cnonce, QOP: d.qop}
	var body []byte
	if d.qop == "auth-int" {
		var err error
		if body, err = d.bodyHash(a); err != nil {
			return "", err
		}
	}
	response := string(parts.AppendResponse(nil, d.algorithm, secret, a.r.Method, body))
	done.count, done.nonce = count, nonce
	params := make([]durward.Param, 0, 12)
	add := func(name, value string) { params = append(params, durward.Param{Name: name, Value: value}) }
	switch {
	case d.userhash:
		add("username", d.user)
		add("userhash", "true")
	case isASCII(d.user) || !d.extended: // servers of before RFC 7616 know username alone
		add("username", d.user)
	default:
		add("username*", digest.EncodeName(d.user)) // RFC 8187 s3.2
	}
	add("realm", d.realm)
	add("nonce", nonce)
	add("uri", parts.URI)
	add("response", response)
	if d.named != "" {
		add("algorithm", d.named)
	}
	if d.hasOpaque {
		add("opaque", d.opaque)
	}
	add("qop", d.qop)
	add("nc", parts.NC)
	add("cnonce", cnonce)
	c := durward.Credentials{Scheme: "Digest", Params: params}
	if err := c.Valid(); err != nil {
		return "", err
	}
	return c.String(), nil
}

// bodyHash is the hash of the body that will be sent (RFC 7616 s3.4.3), in hex.
func (d *digestClient) bodyHash(a *attempt) ([]byte, error) {
	h := d.algorithm.New()
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

// errForged says that whoever answered does not know the password.
var errForged = errors.New("durward: the server shows by rspauth that it does not know the password (RFC 7616 s3.5): what it answers is not to be trusted")

// learn takes what a server says of itself and of its next nonce (RFC 7616 s3.5).
func (d *digestClient) learn(a *attempt, done *answered, lines []string) error {
	params, err := durward.ParseAuthInfo(lines)
	if err != nil {
		return nil // no part of what was asked for
	}
	sent, _ := durward.ParseCredentials(a.r.Header.Get(a.field))
	cnonce, _ := sent.Param("cnonce")
	nc, _ := sent.Param("nc")
	said := func(name string) string { v, _ := durward.Challenge{Params: params}.Param(name); return v }
	if proof := said("rspauth"); proof != "" && said("qop") == "auth" && said("cnonce") == cnonce && said("nc") == nc {
		d.mu.Lock()
		secret, current := d.secret, d.nonce == done.nonce
		d.mu.Unlock()
		parts := digest.Parts{URI: a.target(), Nonce: done.nonce, NC: nc, CNonce: cnonce, QOP: "auth"}
		if current && subtle.ConstantTimeCompare(parts.AppendResponse(nil, d.algorithm, secret, "", nil), []byte(strings.ToLower(proof))) == 0 {
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
