package doctor

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// marks are words in place of a secret, with the fact that they state.
var marks = []struct {
	words *regexp.Regexp
	fact  string
	text  string
}{
	{regexp.MustCompile(`(?i)\bcnf[ .]?jkt|bound to a (?:dpop )?key|(?:dpop|key|sender)[- ](?:bound|constrained)`), "bound-to-key", "the token is bound to a key"},
	{regexp.MustCompile(`(?i)x5t|bound to (?:a|another|the other) (?:client )?cert|certificate[- ]bound`), "bound-to-certificate", "the token is bound to a certificate"},
	{regexp.MustCompile(`(?i)(another|other|different|wrong) (audience|api|resource)`), "aud-elsewhere", "the token is for another API"},
	{regexp.MustCompile(`(?i)without (scp|scope|scopes|roles|permissions)`), "rights-absent", "the token has no scope"},
	{regexp.MustCompile(`(?i)without (exp|expiry)`), "exp-absent", "the token has no exp"},
	{regexp.MustCompile(`(?i)without sub`), "sub-absent", "the token has no sub"},
	{regexp.MustCompile(`(?i)without iss`), "iss-absent", "the token has no iss"},
	{regexp.MustCompile(`(?i)without aud`), "aud-absent", "the token has no aud"},
	{regexp.MustCompile(`(?i)without kid`), "kid-absent", "the token has no kid"},
	{regexp.MustCompile(`(?i)\b(id[_ -]?token|refresh[_ -]?token)\b`), "token-of-other-kind", "the token is no access token"},
	{regexp.MustCompile(`(?i)token alone|without (a )?colon|no colon`), "basic-no-colon", "no colon stands before the secret"},
	{regexp.MustCompile(`(?i)too many|padding|not canonical`), "basic-padding", "the padding of base64 is wrong"},
	{regexp.MustCompile(`(?i)\bopaque\b`), "opaque-sent", "the token is opaque"},
	{regexp.MustCompile(`(?i)line ?end|newline|trailing (blank|space)|quotes around|in quotes`), "stray-octets", "a line end, a blank or a quotation mark stands in the secret"},
}

// markedAudience matches the audience in words that stand in place of a token.
var markedAudience = regexp.MustCompile(`(?i)\baud(?:ience)?(?: is|:|=)? ?["']?(https?://[^\s"'<>,]+)`)

// markFacts adds the words in place of a secret. It is said: it never decides.
func (e *evidence) markFacts(c *credential) {
	if c.mark == "" {
		return
	}
	for _, m := range marks {
		if m.words.MatchString(c.mark) {
			e.add(m.fact, Said, c.place, "the input says: %s", m.text)
		}
	}
	if m := markedAudience.FindStringSubmatch(c.mark); m != nil && e.target.Host != "" {
		if u, err := url.Parse(m[1]); err == nil && u.Host != "" && !strings.EqualFold(u.Hostname(), e.target.Hostname()) {
			e.add("aud-elsewhere", Said, c.place, "the input says: the token is for %s", e.quote(m[1]))
		}
	}
	if c.scheme == "bearer" && e.seen["bound-to-key"] {
		e.add("bound-as-bearer", Said, c.place, "a token that is bound to a key came as Bearer (RFC 9449 s7.1)")
	}
	if e.seen["bound-to-certificate"] && !e.request.ClientCertificate {
		e.add("bound-without-certificate", Said, c.place, "the token is bound to a certificate; the input shows none")
	}
}

// Exchanges that a line of a log or of the user describes.
var (
	cookieLine    = regexp.MustCompile(`(?i)set-cookie:\s*([^\r\n]{3,400})`)
	preflightLine = regexp.MustCompile(`\bOPTIONS\b[^\r\n]{0,200}\b(401|403|407)\b`)
	redirectLine  = regexp.MustCompile(`(?i)(https?://[^\s"'<>]+)[^\r\n]{0,120}\b30[12378]\b[^\r\n]{0,40}?(https?://[^\s"'<>]+)`)
)

// toldFacts adds facts about earlier exchanges that stand in lines of the log.
func (e *evidence) toldFacts() {
	for _, w := range e.words {
		if w.by != byLog {
			continue
		}
		if m := cookieLine.FindStringSubmatch(w.text); m != nil {
			if c, err := http.ParseSetCookie(strings.ReplaceAll(m[1], "=...", "=x")); err == nil {
				e.withheld(c, e.target)
			}
		}
		if m := preflightLine.FindStringSubmatch(w.text); m != nil && !e.seen["preflight"] {
			e.add("preflight-failed", Computed, w.at, "the log has a preflight that was answered %s", m[1])
		}
		if strings.Contains(strings.ToLower(w.text), "www-authenticate") && !strings.Contains(strings.ToLower(w.text), "without www-authenticate") && e.response.Status == 401 && !e.seen["challenged"] {
			e.add("challenge-told", Computed, w.at, "the log has a challenge, the response has none: %s", e.quote(w.text))
		}
		if m := redirectLine.FindStringSubmatch(w.text); m != nil && e.seen["authorization-absent"] {
			from, err1 := url.Parse(m[1])
			to, err2 := url.Parse(m[2])
			if err1 == nil && err2 == nil && originOf(from) != originOf(to) && strings.EqualFold(to.Host, e.target.Host) {
				e.add("redirected", Computed, w.at, "a redirect led from %s to %s", e.quote(originOf(from)), e.quote(originOf(to)))
				if strings.Contains(w.text, "Authorization") {
					e.add("lost-at-redirect", Computed, w.at, "a redirect led from %s to %s, and the client dropped Authorization", e.quote(originOf(from)), e.quote(originOf(to)))
				}
			}
		}
	}
}
