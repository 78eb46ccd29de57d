package jwt

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/printable"
)

const (
	maxToken    = 16 << 10 // default of Config.MaxSize
	maxElements = 256      // default of Config.MaxElements
	maxDepth    = 16       // maximum nesting of JSON in a token
	maxMembers  = 128      // maximum members of an object of a proof or a key, and elements of a list that is signed
)

// b64 decodes base64url without padding and with zero trailing bits (RFC 7515 s2, RFC 4648 s3.5).
// It ignores CR and LF: split refuses those first.
var b64 = base64.RawURLEncoding.Strict()

// tooLarge returns an error if a token is larger than most.
func tooLarge(token string, most int) error {
	if len(token) <= most {
		return nil
	}
	return fmt.Errorf("jwt: token of %d octets, want at most %d; MaxSize may allow more: %w", len(token), most, durward.InvalidToken)
}

// compact is a parsed token in JWS Compact Serialization (RFC 7515 s7.1).
type compact struct {
	head      []byte // decoded
	header    header // of head, after its parse
	payload   []byte // decoded
	signature []byte // decoded
	input     []byte // signed bytes: header and payload, encoded
}

// scratch is the memory for parsing one token. The fields of compact refer to it.
type scratch struct{ spelled, decoded []byte }

// split decodes the three parts of a token. It does not parse them:
//
//	BASE64URL(header) "." BASE64URL(payload) "." BASE64URL(signature)
func split(token string, s *scratch) (c compact, err error) {
	dot1 := strings.IndexByte(token, '.')
	dot2 := strings.LastIndexByte(token, '.')
	if dot1 < 0 || dot1 == dot2 || strings.IndexByte(token[dot1+1:dot2], '.') >= 0 {
		switch n := strings.Count(token, ".") + 1; {
		case strings.HasPrefix(token, "{"):
			return c, errors.New("JSON serialization (RFC 7515 s7.2), not the compact one")
		case n == 5:
			return c, errors.New("5 parts: an encrypted token (JWE, RFC 7516), a signed one has 3")
		default:
			return c, fmt.Errorf("%d parts separated by dots, a signed token has 3 (RFC 7515 s7.1)", n)
		}
	}
	if i := strings.IndexAny(token, "\r\n"); i >= 0 {
		return c, fmt.Errorf("line break at octet %d", i)
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
	if c.head, err = part("header", s.spelled[:dot1]); err != nil {
		return c, err
	}
	if c.payload, err = part("payload", s.spelled[dot1+1:dot2]); err != nil {
		return c, err
	}
	c.signature, err = part("signature", s.spelled[dot2+1:])
	return c, err
}

// signedBy returns an error if the signature is not by key. The key decides which algorithms it
// serves, and the header must name one of them (RFC 8725 s3.1).
func (t *compact) signedBy(key *Key) error {
	if !key.serves(t.header.alg) {
		return wrongAlgorithm(t.header.alg, key)
	}
	if !key.verify(t.header.alg, t.input, t.signature) {
		return fmt.Errorf("signature is not one of key %s, %s", shown(key.id), t.header.alg)
	}
	return nil
}

// header is the JOSE header (RFC 7515 s4). Unknown members are ignored, as RFC 7515 s4 requires;
// members that change the meaning of a token or bring a key are refused.
type header struct {
	alg, typ, kid string
	hint          string   // x5t or x5t#S256, if the header has one
	ignored       []string // refused members that are ignored
	bad           error    // first member with a wrong type or that is refused
}

// refusedMembers maps refused header members to the reason.
var refusedMembers = map[string]string{
	"jwk":  "a key inside the token is never trusted (RFC 8725 s3.10)",
	"jku":  "a key set named by the token is never fetched (RFC 8725 s3.10)",
	"x5u":  "a certificate named by the token is never fetched (RFC 8725 s3.10)",
	"x5c":  "a certificate inside the token is never trusted (RFC 8725 s3.10)",
	"crit": "no extension is understood here (RFC 7515 s4.1.11)",
	"b64":  "a JWT has an encoded payload (RFC 7797 s7)",
	"cty":  "a nested token is not an access token (RFC 7519 s5.2)",
	"enc":  "encrypted tokens are not supported (RFC 7516)", "zip": "compressed tokens are not supported (RFC 8725 s3.6)",
	"p2c": "encrypted tokens are not supported (RFC 7516)", "p2s": "encrypted tokens are not supported (RFC 7516)",
	"epk": "encrypted tokens are not supported (RFC 7516)", "apu": "encrypted tokens are not supported (RFC 7516)",
	"apv": "encrypted tokens are not supported (RFC 7516)", "iv": "encrypted tokens are not supported (RFC 7516)",
	"tag": "encrypted tokens are not supported (RFC 7516)",
}

// parse parses a header. It ignores the refused members in ignored.
func (h *header) parse(text []byte, ignored []string) error {
	*h = header{ignored: ignored}
	if err := json.Unmarshal(text, h); err != nil {
		return fmt.Errorf("header is not the JSON that a token may hold: %w", syntax(err))
	}
	return h.fault()
}

// fault returns the reason to refuse a header that has been parsed.
func (h *header) fault() error {
	if h.bad == nil && h.hint != "" && h.kid == "" {
		return refusedMember(h.hint, "keys are found by kid alone")
	}
	return h.bad
}

func refusedMember(name, why string) error {
	hint := ""
	if slices.Contains(ignorable, name) {
		hint = "; Profile.IgnoredHeader can ignore it"
	}
	return fmt.Errorf("header has %q: %s%s", name, why, hint)
}

// UnmarshalJSONFrom parses the header object.
func (h *header) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	return readMembers(d, func(name []byte) error { return h.member(d, name) })
}

// member parses one member of the header.
func (h *header) member(d *jsontext.Decoder, name []byte) error {
	var field *string
	switch string(name) {
	case "alg":
		field = &h.alg
	case "typ":
		field = &h.typ
	case "kid":
		field = &h.kid
	case "x5t", "x5t#S256":
		// RFC 7515 s4.1.7, s4.1.8: hints to the key, which kid has found.
		if !slices.Contains(h.ignored, string(name)) {
			h.hint = string(name)
		}
		return skip(d)
	default:
		if why, ok := refusedMembers[string(name)]; ok && h.bad == nil && !slices.Contains(h.ignored, string(name)) {
			h.bad = refusedMember(string(name), why)
		}
		return skip(d)
	}
	if d.PeekKind() != '"' && h.bad == nil {
		h.bad = fmt.Errorf("%s in the header is not a string", name)
	}
	_, err := readString(d, field)
	return err
}

var errNotObject = errors.New("not a JSON object")

// readMembers parses an object and calls member for each name; member parses the value, which
// overwrites name. The decoder refuses duplicate names in all spellings and invalid UTF-8 (RFC 8725
// s3.7, RFC 7519 s4). The size of the text limits the number of members.
func readMembers(d *jsontext.Decoder, member func(name []byte) error) error {
	if d.PeekKind() != '{' {
		if err := skip(d); err != nil {
			return err
		}
		return errNotObject
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	for d.PeekKind() == '"' {
		raw, err := d.ReadValue()
		if err != nil {
			return err
		}
		if err := member(unquoted(raw)); err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}

// readObject is readMembers for at most maxMembers.
func readObject(d *jsontext.Decoder, member func(name []byte) error) error {
	n := 0
	return readMembers(d, func(name []byte) error {
		if n++; n > maxMembers {
			return fmt.Errorf("an object of more than %d members", maxMembers)
		}
		return member(name)
	})
}

// unquoted returns the value of a valid JSON string, in raw itself if it has no escapes.
func unquoted(raw []byte) []byte {
	if !bytes.ContainsRune(raw, '\\') {
		return raw[1 : len(raw)-1]
	}
	b, _ := jsontext.AppendUnquote(nil, raw) // the decoder has validated raw
	return b
}

// readString parses a string. If the value has another type, it is skipped and ok is false.
func readString(d *jsontext.Decoder, to *string) (ok bool, err error) {
	if d.PeekKind() != '"' {
		return false, skip(d)
	}
	raw, err := d.ReadValue()
	if err != nil {
		return false, err
	}
	*to = string(unquoted(raw))
	return true, nil
}

// readList parses a list of at most most elements and calls element for each; element parses it.
func readList(d *jsontext.Decoder, name string, most int, element func(n int) error) error {
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	for n := 0; d.PeekKind() != ']'; n++ {
		if n == most {
			return fmt.Errorf("%s has more than %d elements", name, most)
		}
		if err := element(n); err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}

// skip parses a value of any type with limited depth.
func skip(d *jsontext.Decoder) error {
	base := d.StackDepth()
	for {
		if _, err := d.ReadToken(); err != nil {
			return err
		}
		switch depth := d.StackDepth(); {
		case depth == base:
			return nil
		case depth > maxDepth:
			return fmt.Errorf("nested more than %d deep", maxDepth)
		}
	}
}

// syntax reduces an error of the JSON decoder to a text that is safe to log.
func syntax(err error) error {
	if se, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return fmt.Errorf("%s at octet %d", cut(se.Err.Error()), se.ByteOffset)
	}
	if me, ok := errors.AsType[*json.SemanticError](err); ok && me.Err != nil {
		return me.Err
	}
	return errors.New(cut(err.Error()))
}

// shown returns a value of a token for a log or an error: quoted, printable, at most 64 bytes.
func shown(s string) string { return strconv.Quote(cut(s)) }

func cut(s string) string { return printable.Line(s, 64) }
