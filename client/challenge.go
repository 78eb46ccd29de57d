package client

import (
	"fmt"
	"slices"
	"strings"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/digest"
	"github.com/durward-auth/durward/internal/dpop"
	"github.com/durward-auth/durward/internal/printable"
	"github.com/durward-auth/durward/internal/retry"
)

var (
	weakestFirst     = []string{"Basic", "Digest", "Session", "ApiKey", "Bearer", "DPoP"}
	weakestHashFirst = []string{"MD5", "SHA-256", "SHA-512-256"}
)

// strength orders challenges; more is stronger. A scheme that only the application knows is stronger
// than the schemes for passwords and weaker than the schemes for tokens.
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
	}
	return "", false
}

func isStale(c durward.Challenge) bool {
	stale, _ := c.Param("stale")
	return strings.EqualFold(stale, "true")
}

// insufficient returns the challenge that accepts the credentials and asks for a stronger or newer
// sign-in (RFC 9470 s3) or for more scope (RFC 6750 s3.1), or nil.
func insufficient(challenges []durward.Challenge) *durward.Challenge {
	for i, c := range challenges {
		if reason, _ := c.Param("error"); reason == "insufficient_user_authentication" || lacksScope(c) {
			return &challenges[i]
		}
	}
	return nil
}

func lacksScope(c durward.Challenge) bool {
	reason, _ := c.Param("error")
	return retry.Reason(reason) == retry.StepUp
}

// maxShown is the largest number of bytes of a server's text that an error shows.
const maxShown = 500

// shownParams lists the parameters of challenges that describe shows, in this order. Nonces and the like
// mean nothing to a reader.
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

// isToken reports whether s can be sent as a Bearer token.
func isToken(s string) bool {
	return len(s) <= dpop.MaxToken && durward.Credentials{Scheme: "Bearer", Token68: s}.Valid() == nil
}
