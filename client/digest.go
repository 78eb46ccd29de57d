package client

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"unicode"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/digest"
	"github.com/durward-auth/durward/internal/dpop"
)

// digestState answers the challenges of one protection space. It is safe for concurrent use.
type digestState struct {
	user      string // user name or its hash, as sent
	parameter string // that holds user: username or username*
	userhash  bool
	realm     string
	opaque    string
	hasOpaque bool
	algorithm digest.Algorithm
	spelled   string // algorithm as the server spells it; empty if the challenge names none
	qop       string // empty for the form of RFC 2069
	ha1       []byte

	mu     sync.Mutex
	nonce  string
	cnonce string // with -sess the one that this nonce's session began with
	secret []byte // hash of A1 for this nonce, in hex
	count  uint32 // answers with this nonce
}

// newDigestState reads a challenge. It returns nil for a challenge that the client cannot answer or
// must not answer.
func newDigestState(c durward.Challenge, p PasswordConfig) (*digestState, error) {
	d := &digestState{user: p.User, parameter: "username"}
	d.spelled, _ = c.Param("algorithm")
	a, sess := digest.Parse(d.spelled)
	d.algorithm = a
	d.realm, _ = c.Param("realm")
	d.opaque, d.hasOpaque = c.Param("opaque")
	d.nonce, _ = c.Param("nonce")
	offered, _ := c.Param("qop")
	isSeparator := func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }
	for _, q := range strings.FieldsFunc(strings.ToLower(offered), isSeparator) {
		if q == "auth" || q == "auth-int" && d.qop == "" {
			d.qop = q
		}
	}
	// Without qop (RFC 2069) an answer can be replayed, and an attacker who chose the nonce can use
	// precomputed tables to find the password. A session key (sess) needs the cnonce that qop
	// brings.
	noQOP := p.InsecureNoQOP && offered == "" && !sess
	if a.Name == "" || a.Name == "MD5" && !p.InsecureMD5 || d.qop == "" && !noQOP || d.nonce == "" {
		return nil, nil
	}
	if len(d.nonce)+len(d.realm)+len(d.opaque) > dpop.MaxToken {
		return nil, nil
	}
	var err error
	if d.ha1, err = digest.HA1(a.Name, p.User, d.realm, p.Password); err != nil {
		return nil, err
	}
	charset, _ := c.Param("charset")
	isWide := func(r rune) bool { return r > unicode.MaxASCII }
	if hidden, _ := c.Param("userhash"); strings.EqualFold(hidden, "true") { // RFC 7616 s3.4.4
		d.userhash = true
		if d.user, err = digest.UserHash(a.Name, p.User, d.realm); err != nil {
			return nil, err
		}
	} else if strings.EqualFold(charset, "UTF-8") && strings.ContainsFunc(p.User, isWide) {
		// RFC 8187 s3.2. Servers older than RFC 7616 support only username; they do not send
		// charset.
		d.parameter, d.user = "username*", digest.EncodeName(p.User)
	}
	d.begin(d.nonce, sess)
	return d, nil
}

// begin starts to use a nonce.
func (d *digestState) begin(nonce string, sess bool) {
	d.nonce, d.count, d.cnonce = nonce, 0, ""
	if sess {
		d.cnonce = rand.Text()
	}
	d.secret = digest.AppendSecret(nil, d.algorithm, sess, d.ha1, nonce, d.cnonce)
}

// restart forgets the answers with the nonce: none was sent.
func (d *digestState) restart() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count = 0
}

// respond returns the credentials for an attempt (RFC 7616 s3.4).
func (d *digestState) respond(a *attempt, done *answered) (string, error) {
	d.mu.Lock()
	d.count++
	count, nonce, cnonce, secret := d.count, d.nonce, d.cnonce, d.secret
	d.mu.Unlock()
	if cnonce == "" {
		cnonce = rand.Text()
	}
	parts := digest.Parts{
		URI:    a.target(),
		Nonce:  nonce,
		NC:     fmt.Sprintf("%08x", count),
		CNonce: cnonce,
		QOP:    d.qop,
	}
	var body []byte
	if d.qop == "auth-int" {
		var err error
		if body, err = d.bodyHash(a); err != nil {
			return "", err
		}
	}
	var response []byte
	if d.qop == "" {
		response = parts.AppendResponseWithoutQOP(nil, d.algorithm, secret, a.r.Method)
	} else {
		response = parts.AppendResponse(nil, d.algorithm, secret, a.r.Method, body)
	}
	done.nonce = nonce
	params := make([]durward.Param, 0, 12)
	add := func(name, value string) { params = append(params, durward.Param{Name: name, Value: value}) }
	add(d.parameter, d.user)
	if d.userhash {
		add("userhash", "true")
	}
	add("realm", d.realm)
	add("nonce", nonce)
	add("uri", parts.URI)
	add("response", string(response))
	if d.spelled != "" {
		add("algorithm", d.spelled)
	}
	if d.hasOpaque {
		add("opaque", d.opaque)
	}
	if d.qop != "" {
		add("qop", d.qop)
		add("nc", parts.NC)
		add("cnonce", cnonce)
	}
	c := durward.Credentials{Scheme: "Digest", Params: params}
	return c.String(), c.Valid()
}

// bodyHash returns the hash of the request's body in hex (RFC 7616 s3.4.3).
func (d *digestState) bodyHash(a *attempt) ([]byte, error) {
	h := d.algorithm.New()
	if a.r.Body != nil && a.r.Body != http.NoBody {
		if a.r.GetBody == nil {
			return nil, fmt.Errorf("durward: Digest auth-int needs a request with GetBody: %w", ErrNoAnswer)
		}
		body, err := a.r.GetBody()
		if err != nil {
			return nil, fmt.Errorf("durward: Digest auth-int: GetBody: %w", err)
		}
		_, err = io.Copy(h, body)
		if err = errors.Join(err, body.Close()); err != nil {
			return nil, fmt.Errorf("durward: Digest auth-int: cannot read the body: %w", err)
		}
	}
	return hex.AppendEncode(nil, h.Sum(nil)), nil
}

// errForged means that the sender of the response does not know the password.
var errForged = errors.New("durward: the response has a wrong rspauth (RFC 7616 s3.5): " +
	"the server does not know the password; do not trust the response")

// observe checks rspauth and reads the next nonce of a response (RFC 7616 s3.5).
func (d *digestState) observe(a *attempt, done *answered, lines []string) error {
	params, err := durward.ParseAuthInfo(lines)
	if err != nil {
		return nil // the field is optional
	}
	sent, _ := durward.ParseCredentials(a.r.Header.Get(a.field()))
	cnonce, _ := sent.Param("cnonce")
	nc, _ := sent.Param("nc")
	info := durward.Credentials{Params: params}
	get := func(name string) string { v, _ := info.Param(name); return v }
	if proof := get("rspauth"); proof != "" && get("qop") == "auth" && get("cnonce") == cnonce && get("nc") == nc {
		d.mu.Lock()
		secret, current := d.secret, d.nonce == done.nonce
		d.mu.Unlock()
		parts := digest.Parts{URI: a.target(), Nonce: done.nonce, NC: nc, CNonce: cnonce, QOP: "auth"}
		want := parts.AppendResponse(nil, d.algorithm, secret, "", nil)
		if current && subtle.ConstantTimeCompare(want, []byte(strings.ToLower(proof))) == 0 {
			return errForged
		}
	}
	if next := get("nextnonce"); next != "" && len(next) <= dpop.MaxToken {
		d.mu.Lock()
		if d.nonce == done.nonce { // only the first of several concurrent responses moves on
			d.begin(next, d.cnonce != "")
		}
		d.mu.Unlock()
	}
	return nil
}
