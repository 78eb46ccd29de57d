package jwt

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// maxInspect is the maximum length of the text that [Inspect] reads, in bytes.
const maxInspect = 64 << 10

// Inspection is the unverified content of a token.
type Inspection struct {
	Header  []byte // JSON, unchanged
	Payload []byte // JSON, unchanged
	Claims  Claims // the claims that could be parsed

	// Problems lists the reasons why a [Verifier] would refuse the token now, apart from signature,
	// issuer and audience. Each is a sentence.
	Problems []string
}

// Inspect parses a token without verifying it, so an attacker can have chosen everything in it. Use
// it to display tokens, never for a decision. The error explains why the text is not a token.
func Inspect(token string) (*Inspection, error) { return inspect(token, time.Now()) }

func inspect(token string, now time.Time) (*Inspection, error) {
	in := new(Inspection)
	problem := func(err error) {
		if err != nil {
			in.Problems = append(in.Problems, err.Error())
		}
	}
	if len(token) > maxInspect {
		return nil, fmt.Errorf("jwt: %d octets, want at most %d: is it a token?", len(token), maxInspect)
	}
	if t := strings.TrimSpace(token); t != token {
		problem(errors.New("there is white space around the token"))
		token = t
	}
	if len(token) > maxToken {
		problem(fmt.Errorf("the token has %d octets, want at most %d", len(token), maxToken))
	}
	parts := strings.SplitN(token, ".", 7)
	switch {
	case len(parts) == 5:
		return nil, errors.New("jwt: 5 parts: an encrypted token (JWE, RFC 7516), only its recipient can read it")
	case len(parts) != 3:
		return nil, fmt.Errorf("jwt: %d parts separated by dots, a signed token has 3 (RFC 7515 s7.1): is it an opaque token, or cut off?", strings.Count(token, ".")+1)
	}
	var err error
	if in.Header, err = in.part("header", parts[0]); err != nil {
		return nil, err
	}
	if in.Payload, err = in.part("payload", parts[1]); err != nil {
		return nil, err
	}
	if _, err := in.part("signature", parts[2]); err != nil {
		problem(errors.New(strings.TrimPrefix(err.Error(), "jwt: ")))
	}
	for _, p := range []struct {
		name string
		text jsontext.Value
	}{{"header", in.Header}, {"payload", in.Payload}} {
		if !p.text.IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) {
			return nil, fmt.Errorf("jwt: the %s is not JSON: is it another kind of token?", p.name)
		}
	}

	var h header
	problem(h.parse(in.Header))
	problem(h.wrongType())
	if !slices.Contains(algorithms, h.alg) {
		problem(fmt.Errorf("alg is %s, none of %s", shown(h.alg), strings.Join(algorithms, ", ")))
	}
	if h.kid == "" {
		problem(errors.New("kid is missing from the header"))
	}
	r := reading{all: true}
	problem(r.read(in.Payload))
	problem(r.iss)
	for _, err := range r.bad {
		problem(err)
	}
	in.Claims = r.Claims
	if !r.Expires.IsZero() && !r.IssuedAt.IsZero() {
		problem(r.tooLong(24 * time.Hour))
	}
	problem(r.ahead(now))
	problem(r.Confirmation.sentBy("", nil))
	if !r.Expires.IsZero() {
		problem(ended(r.Expires, now, 0))
	}
	return in, nil
}

// part decodes one part, in spellings that a verifier refuses too.
func (in *Inspection) part(name, text string) ([]byte, error) {
	b, err := b64.DecodeString(text)
	if err == nil && !strings.ContainsAny(text, "\r\n") {
		return b, nil
	}
	forgiven := strings.NewReplacer("+", "-", "/", "_", "=", "", "\r", "", "\n", "").Replace(text)
	if b, err = base64.RawURLEncoding.DecodeString(forgiven); err != nil {
		return nil, fmt.Errorf("jwt: the %s is not base64url: %w", name, err)
	}
	in.Problems = append(in.Problems, fmt.Sprintf("the %s is not canonical base64url without padding (RFC 7515 s2)", name))
	return b, nil
}
