package doctor

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

// This file finds tokens that the input shows in decoded form, as debuggers print them.

// Bounds of the search for decoded tokens.
const (
	maxDecodedText  = 64 << 10
	maxDecodedTries = 50
	wholeClaims     = 4 // a token that shows so many registered claims is taken as shown whole
)

var (
	registeredClaims = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "azp", "client_id", "scp", "scope"} // RFC 7519 s4.1, RFC 9068 s2.2
	claimsLabel      = regexp.MustCompile(`(?i)(?:claims|payload|decoded|jwt|token)[^{}]{0,20}$`)
)

// decodedToken returns the token that the input shows in decoded form, as debuggers of tokens print
// it, or nil.
func (e *evidence) decodedToken() *webToken {
	texts := []string{strings.Join(e.c.Log, "\n")}
	if body := strings.TrimSpace(string(e.response.Body[:min(len(e.response.Body), maxDecodedText)])); !strings.HasPrefix(body, "{") {
		texts = append(texts, body)
	}
	t := &webToken{header: map[string]any{}}
	for _, text := range texts {
		t.readDecoded(text[:min(len(text), maxDecodedText)])
	}
	if t.claims == nil {
		return nil
	}
	t.partial = countClaims(t.claims) < wholeClaims || len(t.header) == 0
	return t
}

// readDecoded takes the first header and the first claims from the JSON objects of a text.
func (t *webToken) readDecoded(text string) {
	for tries, i := 0, 0; tries < maxDecodedTries; tries++ {
		open := strings.IndexByte(text[i:], '{')
		if open < 0 {
			return
		}
		d := json.NewDecoder(strings.NewReader(text[i+open:]))
		d.UseNumber()
		var object map[string]any
		if d.Decode(&object) != nil {
			i += open + 1
			continue
		}
		t.take(object, claimsLabel.MatchString(text[i:i+open]))
		i += open + int(d.InputOffset())
	}
}

// take keeps an object that is a header or claims, or holds both.
func (t *webToken) take(object map[string]any, labelled bool) {
	_, alg := object["alg"].(string)
	switch n := countClaims(object); {
	case alg && n == 0 && len(t.header) == 0:
		t.header = object
	case t.claims == nil && (n >= 2 || n == 1 && labelled):
		t.claims = object
	case n == 0:
		for _, name := range []string{"header", "payload", "claims"} {
			if inner, ok := object[name].(map[string]any); ok {
				t.take(inner, true)
			}
		}
	}
}

// countClaims returns the number of members of an object that are registered claims.
func countClaims(object map[string]any) (n int) {
	for name := range object {
		if slices.Contains(registeredClaims, name) {
			n++
		}
	}
	return n
}
