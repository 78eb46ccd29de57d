package client

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/digest"
	"github.com/durward-auth/durward/internal/printable"
	"github.com/durward-auth/durward/internal/retry"
)

var (
	weakestFirst     = []string{"Basic", "Digest", "Session", "ApiKey", "Bearer", "DPoP"}
	weakestHashFirst = []string{"MD5", "SHA-256", "SHA-512-256"}
	digestFloor      = strength(durward.Challenge{Scheme: "Digest"}) // more than Basic
)

// maxBroken bounds how many lines with a syntax error are skipped in one response.
const maxBroken = 8

// parseChallenges returns the challenges of a response. A syntax error ends its line only: the
// challenges before it and those of the other lines count. A line that begins with the scheme Basic
// counts as a challenge without parameters, for servers that send realm=Please log in: Basic needs
// no parameter.
func parseChallenges(lines []string) (all []durward.Challenge) {
	for range maxBroken {
		some, err := durward.ParseChallenges(lines)
		all = append(all, some...)
		broken, ok := errors.AsType[*durward.SyntaxError](err)
		if !ok {
			break
		}
		line := lines[broken.Line]
		if scheme, _, _ := strings.Cut(line, " "); strings.EqualFold(scheme, "Basic") {
			if before, _ := durward.ParseChallenges([]string{line}); len(before) == 0 {
				all = append(all, durward.Challenge{Scheme: scheme})
			}
		}
		lines = lines[broken.Line+1:]
	}
	return all
}

// isToken reports whether the scheme of c is one for access tokens.
func isToken(c durward.Challenge) bool {
	return strings.EqualFold(c.Scheme, "Bearer") || strings.EqualFold(c.Scheme, "DPoP")
}

// isPassword reports whether the scheme of c is one for passwords.
func isPassword(c durward.Challenge) bool {
	return strings.EqualFold(c.Scheme, "Basic") || strings.EqualFold(c.Scheme, "Digest")
}

// An outcome is a server's decision about the token or API key of a request.
type outcome int

const (
	undecided outcome = iota // an outage, a limit, or a refusal for another reason
	tokenAccepted
	tokenRefused
)

// outcomeOf reads the outcome from a response.
func outcomeOf(resp *http.Response) outcome {
	if resp.StatusCode < http.StatusBadRequest {
		return tokenAccepted
	}
	if resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests {
		return undecided
	}
	bare := true // no challenge has a reason
	for _, c := range parseChallenges(resp.Header["Www-Authenticate"]) {
		switch reason, ok := reasonOf(c); {
		case reason == retry.InvalidToken, reason == retry.Claims:
			return tokenRefused
		case isToken(c) && (!ok || reason != ""):
			bare = false
		}
	}
	switch {
	case resp.StatusCode != http.StatusUnauthorized:
		return tokenAccepted
	case bare:
		return tokenRefused
	}
	return undecided
}

// strength orders challenges; more is stronger. A scheme that only the application knows is
// stronger than the schemes for passwords and weaker than the schemes for tokens. Digest without
// qop is weaker than Digest with it.
func strength(c durward.Challenge) int {
	i := slices.IndexFunc(weakestFirst, func(scheme string) bool { return strings.EqualFold(scheme, c.Scheme) })
	if i < 0 {
		i = slices.Index(weakestFirst, "Session")
	}
	level := 10 * i
	if weakestFirst[i] == "Digest" {
		name, _ := c.Param("algorithm")
		a, _ := digest.Parse(name)
		level += slices.Index(weakestHashFirst, a.Name)
		if qop, _ := c.Param("qop"); qop != "" {
			level += len(weakestHashFirst)
		}
	}
	return level
}

func strongestFirst(a, b durward.Challenge) int { return strength(b) - strength(a) }

// reasonOf returns why the server refused the request, and false if the client must not answer that
// reason. The empty reason means that the challenge names none.
func reasonOf(c durward.Challenge) (r retry.Reason, known bool) {
	text, _ := c.Param("error")
	switch r = retry.Reason(text); {
	case r == "" && isStale(c):
		return retry.Stale, true
	case r == "", r == retry.InvalidToken, r == retry.UseDPoPNonce, r == retry.InvalidProof, r == retry.StepUp:
		return r, true
	case r == retry.Claims:
		return r, claimsOf(c) != ""
	}
	return "", false
}

func isStale(c durward.Challenge) bool {
	stale, _ := c.Param("stale")
	return strings.EqualFold(stale, "true")
}

// insufficient returns the challenge that accepts the credentials and asks for a stronger or newer
// sign-in (RFC 9470 s3), for more scope (RFC 6750 s3.1) or for more claims, or nil. A source may
// have a token with that scope or those claims.
func insufficient(challenges []durward.Challenge) (found *durward.Challenge, bySource bool) {
	for _, c := range challenges {
		text, _ := c.Param("error")
		reason, ok := reasonOf(c)
		if bySource = reason == retry.StepUp || reason == retry.Claims && ok; bySource ||
			text == "insufficient_user_authentication" {
			return &c, bySource // a copy: the caller sorts the challenges
		}
	}
	return nil, false
}

// maxClaims bounds the claims parameter of a challenge, in bytes.
const maxClaims = 8 << 10

// claimsOf returns the claims that a challenge of Microsoft Entra ID asks for, a JSON object in the
// form of OpenID Connect Core s5.5. Its parameter claims has them in base64, in either alphabet,
// with or without padding. The result is empty if there are none.
func claimsOf(c durward.Challenge) string {
	text, _ := c.Param("claims")
	if len(text) > maxClaims {
		return ""
	}
	text = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
	decoded, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil || len(decoded) == 0 || decoded[0] != '{' || !json.Valid(decoded) {
		return ""
	}
	return string(decoded)
}

// maxShown is the largest number of bytes of a server's text that an error shows.
const maxShown = 500

// shownParams lists the parameters of challenges that describe shows, in this order. Nonces and the
// like mean nothing to a reader.
var shownParams = []string{
	"realm", "algorithm", "qop", "stale", "algs", "field", "login", "error", "error_description", "error_uri",
	"scope", "acr_values", "max_age", "resource_metadata",
}

// describe lists challenges for an error text.
func describe(challenges []durward.Challenge) string {
	const most = 8
	var all []string
	for i, c := range challenges {
		if i == most {
			all = append(all, fmt.Sprintf("one of %d others", len(challenges)-most))
			break
		}
		var params []string
		for _, name := range shownParams {
			if value, ok := c.Param(name); ok {
				params = append(params, fmt.Sprintf("%s %q", name, printable.Line(value, maxShown)))
			}
		}
		if strings.EqualFold(c.Scheme, "Digest") {
			name, _ := c.Param("algorithm")
			if a, _ := digest.Parse(name); a.Name == "MD5" {
				params = append(params, "MD5 needs InsecureMD5")
			}
			if qop, _ := c.Param("qop"); qop == "" {
				params = append(params, "no qop: it needs InsecureNoQOP")
			}
		}
		text := printable.Line(c.Scheme, maxShown)
		if len(params) > 0 {
			text += " (" + strings.Join(params, ", ") + ")"
		}
		all = append(all, text)
	}
	if len(all) == 0 {
		return "no scheme (the response has no challenge)"
	}
	return strings.Join(all, " or ")
}

// maxToken is the longest access token or API key that is sent, in bytes. Servers refuse longer
// fields.
const maxToken = 32 << 10

// sendable reports whether s can be sent as a token or API key: visible ASCII. RFC 6749 A.12 lets
// an issuer choose these characters; the token68 of RFC 6750 s2.1 has fewer, and several vendors
// issue tokens with others, such as | and !.
func sendable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != "" && len(s) <= maxToken
}
