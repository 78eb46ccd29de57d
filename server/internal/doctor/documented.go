package doctor

import (
	"slices"
	"strings"
	"time"
)

// This file compares tokens that clients sign themselves with the documentation of the API.

// signedByClient is the form of a token that the clients of one API sign.
type signedByClient struct {
	name       string
	place      string // a host or ".host" for its names below, with the beginning of the path
	audiences  []string
	algorithms []string
	claims     []string      // that the token needs; kid stands in its header
	life       time.Duration // from iat to exp at most
	age        time.Duration // from iat to the request at most
}

// signedTokens lists the documented forms. A zero duration is not limited.
var signedTokens = []signedByClient{
	{name: "App Store Connect", place: "api.appstoreconnect.apple.com/", audiences: []string{"appstoreconnect-v1"}, algorithms: []string{"ES256"}, claims: []string{"kid", "exp"}},
	{name: "App Store Server", place: ".itunes.apple.com/inapps", audiences: []string{"appstoreconnect-v1"}, algorithms: []string{"ES256"}, claims: []string{"kid", "iss", "iat", "exp", "bid"}, life: time.Hour},
	{name: "Apple Push Notification service", place: ".push.apple.com/3/device", algorithms: []string{"ES256"}, claims: []string{"kid", "iss", "iat"}, age: time.Hour},
	{name: "GitHub Apps", place: "api.github.com/app", algorithms: []string{"RS256"}, claims: []string{"iss", "exp"}},
	{name: "Mozilla Add-ons", place: "addons.mozilla.org/api", algorithms: []string{"HS256"}, claims: []string{"iss", "jti", "iat", "exp"}, life: 5 * time.Minute},
	{name: "Coinbase", place: "api.coinbase.com/api/v3", algorithms: []string{"ES256", "EdDSA"}, claims: []string{"kid", "sub", "exp", "uri"}, life: 2*time.Minute + time.Second},
	{name: "Vonage", place: "api.nexmo.com/v1", algorithms: []string{"RS256"}, claims: []string{"application_id", "iat", "jti"}},
	{name: "WeatherKit", place: "weatherkit.apple.com/", algorithms: []string{"ES256"}, claims: []string{"kid", "iss", "sub", "iat", "exp"}},
}

// documentedToken compares a token with the form that the API of this address documents.
func (e *evidence) documentedToken(c *credential) {
	if c.token == nil || c.token.partial || c.kind != secretInAuthorization || c.token.claims == nil {
		return
	}
	at := slices.IndexFunc(signedTokens, func(s signedByClient) bool {
		host, path, _ := strings.Cut(s.place, "/")
		rest, ok := strings.CutPrefix(e.target.Path, "/"+path)
		return hostIs(e.target.Host, host) && ok && (path == "" || rest == "" || rest[0] == '/')
	})
	if at < 0 {
		return
	}
	s, claims := signedTokens[at], c.token.claims
	if aud := texts(claims, "aud"); len(s.audiences) > 0 && !slices.ContainsFunc(aud, func(a string) bool { return slices.Contains(s.audiences, strings.Trim(a, "/")) }) {
		e.add("aud-other-than-set", Computed, "claim aud", "aud is %s; %s takes %s by its documentation", e.quote(strings.Join(aud, " ")), s.name, e.quote(s.audiences[0]))
	}
	if alg := text(c.token.header, "alg"); alg != "" && !slices.Contains(s.algorithms, alg) {
		e.add("alg-other-than-set", Computed, "header alg", "alg is %s; %s takes %s by its documentation", e.quote(alg), s.name, strings.Join(s.algorithms, " or "))
	}
	for _, name := range s.claims {
		if claims[name] == nil && c.token.header[name] == nil {
			e.add("claim-documented-absent", Computed, "token", "%s requires %s in the token, and the token has none", s.name, e.quote(name))
		}
	}
	exp, iat := numericDate(claims, "exp"), numericDate(claims, "iat")
	if s.life > 0 && !exp.IsZero() && !iat.IsZero() && exp.Sub(iat) > s.life {
		e.add("life-beyond-limit", Computed, "claim exp", "the token lives %s; %s takes %s at most", showDuration(exp.Sub(iat)), s.name, showDuration(s.life))
	}
	if now, by := e.reference(); s.age > 0 && !iat.IsZero() && by == "Date" && now.Sub(iat) > s.age {
		e.add("age-beyond-limit", Computed, "claim iat", "the token is %s old; %s takes %s at most", showDuration(now.Sub(iat)), s.name, showDuration(s.age))
	}
}
