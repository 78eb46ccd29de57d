package jwt

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/durward-auth/durward/internal/printable"
)

const (
	maxToken   = 8 << 10 // octets of a token that are looked at
	maxDepth   = 16      // nesting of JSON in a token
	maxMembers = 128     // members of one JSON object in a token, elements of one array
)

// b64 decodes base64url without padding and with zero trailing bits (RFC 7515
// s2, RFC 4648 s3.5). It passes over CR and LF: split refuses those first.
var b64 = base64.RawURLEncoding.Strict()

// compact is a token in JWS Compact Serialization taken apart (RFC 7515 s7.1).
type compact struct {
	header    header
	payload   []byte // decoded
	signature []byte // decoded
	input     []byte // what was signed: header and payload as they were spelled
}

// scratch is memory for taking one token apart. What compact holds lives in it.
type scratch struct{ spelled, decoded []byte }

// split takes a token apart and reads its header. The error says what is wrong
// with its form.
//
//	BASE64URL(header) "." BASE64URL(payload) "." BASE64URL(signature)
func split(token string, s *scratch) (compact, error) {
	c, head, err := takeApart(token, s)
	if err != nil {
		return c, err
	}
	return c, c.header.parse(head)
}

// takeApart is split without a look into the header, which it returns.
func takeApart(token string, s *scratch) (c compact, head []byte, err error) {
	dot1 := strings.IndexByte(token, '.')
	dot2 := strings.LastIndexByte(token, '.')
	if dot1 < 0 || dot1 == dot2 || strings.IndexByte(token[dot1+1:dot2], '.') >= 0 {
		switch n := strings.Count(token, ".") + 1; {
		case strings.HasPrefix(token, "{"):
			return c, nil, errors.New("JSON serialization (RFC 7515 s7.2), not the compact one")
		case n == 5:
			return c, nil, errors.New("5 parts: an encrypted token (JWE, RFC 7516), a signed one has 3")
		default:
			return c, nil, fmt.Errorf("%d parts separated by dots, a signed token has 3 (RFC 7515 s7.1)", n)
		}
	}
	if i := strings.IndexAny(token, "\r\n"); i >= 0 {
		return c, nil, fmt.Errorf("line break at octet %d", i)
	}

	s.spelled = append(s.spelled[:0], token...)
	c.input = s.spelled[:dot2]
	if cap(s.decoded) < len(token) {
		s.decoded = make([]byte, 0, max(len(token), 1024))
	}
	buf := s.decoded[:0]
	part := func(name string, text []byte) ([]byte, error) {
		at := len(buf)
		var err error
		if buf, err = b64.AppendDecode(buf, text); err != nil {
			return nil, fmt.Errorf("%s is not canonical base64url without padding (RFC 7515 s2): %w", name, err)
		}
		return buf[at:len(buf):len(buf)], nil
	}
	if head, err = part("header", s.spelled[:dot1]); err != nil {
		return c, nil, err
	}
	if c.payload, err = part("payload", s.spelled[dot1+1:dot2]); err != nil {
		return c, nil, err
	}
	if c.signature, err = part("signature", s.spelled[dot2+1:]); err != nil {
		return c, nil, err
	}
	return c, head, nil
}

// signedBy reports that key did not make the token. The algorithm is the key's,
// and the token must say the same (RFC 8725 s3.1).
func (t *compact) signedBy(key *Key) error {
	if key.alg != t.header.alg {
		return fmt.Errorf("key %s is for %s, the token says %s (RFC 8725 s3.1)", shown(key.id), key.alg, shown(t.header.alg))
	}
	if !key.verify(t.input, t.signature) {
		return fmt.Errorf("signature is not one of key %s, %s", shown(key.id), key.alg)
	}
	return nil
}

// header is the JOSE header (RFC 7515 s4). Members that are not known here are
// ignored, as RFC 7515 s4 demands; those that would change what a token means,
// or bring their own key, are refused.
type header struct {
	alg, typ, kid string
	bad           error // the first member of the wrong type or refused outright
}

// refusedMembers are header members with which no token is taken, and why.
var refusedMembers = map[string]string{
	"jwk": "a key inside the token is never trusted (RFC 8725 s3.10)",
	"jku": "a key set named by the token is never fetched (RFC 8725 s3.10)",
	"x5u": "a certificate named by the token is never fetched (RFC 8725 s3.10)",
	"x5c": "a certificate inside the token is never trusted (RFC 8725 s3.10)",
	"x5t": "keys are found by kid alone", "x5t#S256": "keys are found by kid alone",
	"crit": "no extension is understood here (RFC 7515 s4.1.11)",
	"b64":  "a JWT has an encoded payload (RFC 7797 s7)",
	"cty":  "a nested token is not an access token (RFC 7519 s5.2)",
	"enc":  "encrypted tokens are not taken (RFC 7516)", "zip": "compressed tokens are not taken (RFC 8725 s3.6)",
	"p2c": "encrypted tokens are not taken (RFC 7516)", "p2s": "encrypted tokens are not taken (RFC 7516)",
	"epk": "encrypted tokens are not taken (RFC 7516)", "apu": "encrypted tokens are not taken (RFC 7516)",
	"apv": "encrypted tokens are not taken (RFC 7516)", "iv": "encrypted tokens are not taken (RFC 7516)",
	"tag": "encrypted tokens are not taken (RFC 7516)",
}

func (h *header) parse(text []byte) error {
	*h = header{}
	if err := json.Unmarshal(text, h); err != nil {
		return fmt.Errorf("header is not the JSON that a token may hold: %w", syntax(err))
	}
	return h.bad
}

// UnmarshalJSONFrom reads the header object.
func (h *header) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	return readObject(d, func(name string) error { return h.member(d, name) })
}

// member reads one member of the header.
func (h *header) member(d *jsontext.Decoder, name string) error {
	var field *string
	switch name {
	case "alg":
		field = &h.alg
	case "typ":
		field = &h.typ
	case "kid":
		field = &h.kid
	default:
		if why, ok := refusedMembers[name]; ok && h.bad == nil {
			h.bad = fmt.Errorf("header has %q: %s", name, why)
		}
		return skip(d)
	}
	ok, err := readString(d, field)
	if !ok && h.bad == nil {
		h.bad = fmt.Errorf("%s in the header is not a string", name)
	}
	return err
}

// wrongType reports a token that does not say it is an access token.
func (h *header) wrongType() error {
	// RFC 9068 s4: "at+jwt" or "application/at+jwt". RFC 7515 s4.1.9: media types
	// are compared without regard to case.
	if strings.EqualFold(h.typ, "at+jwt") || strings.EqualFold(h.typ, "application/at+jwt") {
		return nil
	}
	if h.typ == "" {
		return errors.New(`typ is missing, an access token says "at+jwt" (RFC 9068 s2.1)`)
	}
	return fmt.Errorf("typ is %s, an access token says \"at+jwt\" (RFC 9068 s2.1)", shown(h.typ))
}

var errNotObject = errors.New("not a JSON object")

// readObject reads an object and calls member for each name; member reads the
// value. Doubled names, whatever their spelling, and invalid UTF-8 are errors of
// the decoder (RFC 8725 s3.7, RFC 7519 s4).
func readObject(d *jsontext.Decoder, member func(name string) error) error {
	if d.PeekKind() != '{' {
		if err := skip(d); err != nil {
			return err
		}
		return errNotObject
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	for n := 0; d.PeekKind() == '"'; n++ {
		if n == maxMembers {
			return fmt.Errorf("an object of more than %d members", maxMembers)
		}
		raw, err := d.ReadValue()
		if err != nil {
			return err
		}
		if err := member(intern(raw)); err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}

// intern returns the string that a JSON string stands for, without allocating
// for the names that tokens have.
func intern(raw []byte) string {
	switch string(raw) {
	case `"alg"`:
		return "alg"
	case `"typ"`:
		return "typ"
	case `"kid"`:
		return "kid"
	case `"iss"`:
		return "iss"
	case `"sub"`:
		return "sub"
	case `"aud"`:
		return "aud"
	case `"exp"`:
		return "exp"
	case `"nbf"`:
		return "nbf"
	case `"iat"`:
		return "iat"
	case `"jti"`:
		return "jti"
	case `"client_id"`:
		return "client_id"
	case `"scope"`:
		return "scope"
	case `"sid"`:
		return "sid"
	case `"auth_time"`:
		return "auth_time"
	case `"acr"`:
		return "acr"
	case `"amr"`:
		return "amr"
	case `"cnf"`:
		return "cnf"
	}
	return unquoted(raw)
}

// unquoted returns what a JSON string that the decoder has passed stands for.
func unquoted(raw []byte) string {
	inner := raw[1 : len(raw)-1]
	for _, c := range inner {
		if c == '\\' {
			b, _ := jsontext.AppendUnquote(nil, raw) // passed by the decoder
			return string(b)
		}
	}
	return string(inner)
}

// readString reads a string. ok is false where the value is of another type,
// which is then skipped.
func readString(d *jsontext.Decoder, to *string) (ok bool, err error) {
	if d.PeekKind() != '"' {
		return false, skip(d)
	}
	raw, err := d.ReadValue()
	if err != nil {
		return false, err
	}
	*to = unquoted(raw)
	return true, nil
}

// skip reads one value of any type, of bounded depth and width.
func skip(d *jsontext.Decoder) error {
	base := d.StackDepth()
	for {
		if _, err := d.ReadToken(); err != nil {
			return err
		}
		depth := d.StackDepth()
		if depth == base {
			return nil
		}
		if depth > maxDepth {
			return fmt.Errorf("nested more than %d deep", maxDepth)
		}
		kind, n := d.StackIndex(depth)
		if kind == '{' {
			n /= 2 // it counts names and values
		}
		if n > maxMembers {
			return fmt.Errorf("more than %d members or elements in one place", maxMembers)
		}
	}
}

// syntax reduces an error of the JSON decoder to what may be logged.
func syntax(err error) error {
	var se *jsontext.SyntacticError
	if errors.As(err, &se) {
		return fmt.Errorf("%s at octet %d", cut(se.Err.Error()), se.ByteOffset)
	}
	var me *json.SemanticError
	if errors.As(err, &me) && me.Err != nil {
		return me.Err
	}
	return errors.New(cut(err.Error()))
}

// shown returns a value of a token for a log or an error: quoted, printable, at most 64 bytes.
func shown(s string) string { return strconv.Quote(cut(s)) }

func cut(s string) string { return printable.Line(s, 64) }
