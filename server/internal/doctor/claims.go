package doctor

import (
	"regexp"
	"slices"
	"strings"
)

// This file reads texts about a part of a token, about the key set of the server and about its
// network.

// Forms of texts about a part of a token, about the key set of the server and about its network.
var (
	claimInText = regexp.MustCompile(`(?i)\b(exp|nbf|iat|iss|aud|sub|jti|kid|typ|alg|azp|acr|amr|auth_time|session_id|tid|org_id)\b`)
	claimByName = regexp.MustCompile(`(?i)\bclaims?\b|\bjwt ?id\b|\(subject\)|\bsubject must be\b|\b(?:payload|token) (?:issuer|audience|subject)\b`)
	claimForm   = regexp.MustCompile(`(?i)\b(?:must be|should be|is not|not|has to be|expected to be) (?:an? |in |of type )?(?:positive |numeric |valid |non-empty )?` +
		`(?:[\w ]{0,12})?(?:number|numeric|integer|string|uuid|array|list|numeric ?date|object|boolean|date|timestamp)\b|\blonger than \d+ char|\binvalid type for claim\b|\bvalue must be (?:numeric|textual)`)
	claimValue   = regexp.MustCompile(`(?i)\b(?:unexpected|invalid|mismatch\w*|wrong|incorrect|not accepted|not allowed|not valid|not satisfied|(?:does not|doesn't|didn't) match|needs to be one of|rejected)\b`)
	claimEmpty   = regexp.MustCompile(`(?i)\b(?:empty|missing|no|without|lacks?)\b[^.;:]{0,12}["'` + "`" + `\[(]?(?:exp|nbf|iat|iss|aud|sub|jti|azp|acr|tid|issuer|subject|issue time|expiration time)\b|\b(?:exp|nbf|iat|iss|aud|sub|jti)\b["'` + "`" + `\])]? required\b`)
	claimForm2   = regexp.MustCompile(`(?i)\binvalid (?:exp|nbf|iat) value\b`)
	jsonWebToken = regexp.MustCompile(`(?i)\bjson web token\b`)
	decodeError  = regexp.MustCompile(`(?i)\b(?:not|isn't) (?:valid |in )?base64\b|\b(?:json|base64(?:url)?|utf-8|codec|deseriali[sz]e|unmarshal\w*)\b.*\b(?:character|byte|token)s?\b.{0,20}(?:$|\bin position|\bat |detected|input|')`)
	namedClaim   = regexp.MustCompile(`(?i)\bclaim ["'` + "`" + `][^"'` + "`" + `]+["'` + "`" + `].{0,20}(?:does not|doesn't) (?:have|match)|^unexpected ["'][\w.:/-]+["'] (?:claim )?value`)
	keySetBad    = regexp.MustCompile(`(?i)\bjson web key type\b|(?:\bjwks?\b|\bjson web key ?set\b|\bjwk set\b|\bkey ?set\b).{0,60}\b(?:malformed|pars(?:e|ing) error|parse|invalid|empty|not an array|` +
		`(?:no|any) (?:valid |usable |signing |public |supported )*keys?|(?:did|does) ?n[o']t (?:contain|have)|create key fail|wrong length)\b|\b(?:malformed|invalid|empty) (?:jwks?|json web key|jwk) ?set\b`)
	keySetSearch = regexp.MustCompile(`(?i)match|\bkid\b|\bfind\b|\bfound\b|correspond|applicable|multiple`)
	networkError = regexp.MustCompile(`\b(?:ENOTFOUND|ECONNREFUSED|ECONNRESET|ETIMEDOUT|EAI_AGAIN|EHOSTUNREACH|UnknownHostException|ConnectException|SocketTimeoutException|ResourceAccessException)\b|` +
		`(?i)\bgetaddrinfo\b|name or service not known|failure in name resolution|no such host\b|\burlopen error\b|\bi/o timeout\b|context deadline exceeded|` +
		`\bexpected 200 ok from\b|\b(?:request|connection|connect) timed out\b|\bresponded with (?:status )?(?:code )?(?:5\d\d|404)\b|\bstatus(?: code)?:? (?:5\d\d|404) from\b|\bindicates failure,? status=(?:5\d\d|404)\b`)
	remoteDocument = regexp.MustCompile(`(?i)jwks|key|issuer|discovery|well-known|introspect|userinfo|ldap|metadata|certs`)
)

// claimTopics are the causes of a value of a claim that a server does not accept.
var claimTopics = map[string]string{
	"iss": "wrong-issuer", "aud": "wrong-audience", "exp": "expired", "nbf": "not-yet-valid", "iat": "clock-wrong", "alg": "wrong-algorithm",
	"kid": "unknown-signing-key", "typ": "wrong-credential-kind", "acr": "second-factor-owed", "amr": "second-factor-owed", "auth_time": "second-factor-owed",
}

// partTopics completes the topics of a text that speaks of a part of a token, of the server's key set or of a failed
// connection. These forms say more than the general words that the lexicon finds in them.
func (w passage) partTopics(found []spoken) []spoken {
	if w.by == byPerson || len(w.text) > 1000 {
		return found
	}
	topic, always := w.partTopic()
	if topic == "" || !always && (slices.ContainsFunc(found, func(f spoken) bool { return f.topic == topic }) || special(found) == saysSpecial) {
		return found
	}
	kept := []spoken{{&phrase{topic: topic}, w.words, 0, min(len(w.words), 12)}}
	for _, f := range found {
		if !general[f.topic] && !vague[f.topic] && !always {
			kept = append(kept, f)
		}
	}
	return kept
}

// partTopic returns the topic, and whether it stands for all others of the text.
func (w passage) partTopic() (topic string, always bool) {
	text := jsonWebToken.ReplaceAllString(w.text, "JWT")
	names := map[string]bool{}
	for _, m := range claimInText.FindAllString(text, 8) {
		names[strings.ToLower(m)] = true
	}
	switch {
	case keySetBad.MatchString(text) && !keySetSearch.MatchString(text):
		return "server-misconfigured", true
	case networkError.MatchString(text) && (w.by == byServer || remoteDocument.MatchString(text) && w.at != "output of the client"):
		return "outage-as-refusal", true
	case (len(names) > 0 || claimByName.MatchString(text)) && claimForm.MatchString(text):
		return "claim-missing", true
	case decodeError.MatchString(text):
		return "malformed-credentials", true
	case claimForm2.MatchString(text):
		return "claim-missing", true
	case namedClaim.MatchString(text) && (len(names) == 0 || strings.Contains(strings.ToLower(text), "claim")):
		return "claim-missing", len(names) == 0
	case len(names) <= 1 && claimEmpty.MatchString(text):
		return "claim-missing", false
	case len(names) == 1 && claimValue.MatchString(text) && len(w.words) < 40:
		for name := range names {
			if topic, ok := claimTopics[name]; ok {
				return topic, name == "typ"
			}
			return "claim-missing", false
		}
	}
	return formOf(text)
}
