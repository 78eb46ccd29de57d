package doctor

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
)

// This file adds the facts that combine others.

// derive adds facts that combine others. The order counts: later functions use the facts of earlier
// ones.
func (d *diagnosis) derive() {
	e := d.evidence
	if status := e.response.Status; status != 0 {
		e.add("status-known", Computed, "status", "the status is %d", status)
	}
	e.reasonFacts()
	e.namedCredential()
	e.clientFacts()
	e.betweenFacts()
	e.formFacts()
	e.keptFacts()
	e.registryFacts()
	e.tokenUserFacts()
	e.tokenBodyFacts()
	e.discoveryFacts()
	e.refusedFacts()
	e.silenceFacts()
	e.addressFacts()
	e.schemeSetFacts()
	e.frontProxyFacts()
	e.markedTimeFacts()
}

// claimCauses are the causes that concern a claim of a token.
var claimCauses = []string{"expired", "not-yet-valid", "clock-wrong", "wrong-issuer", "wrong-audience", "claim-missing", "wrong-algorithm"}

// readTopics reports whether a reason shows that the server read the credentials: it speaks of the
// account or of the content of the token.
func readTopics(topic, family string) bool {
	switch family {
	case "who":
		return !slices.Contains([]string{"network-not-allowed", "not-permitted", "insecure-transport", "cross-site-refused"}, topic)
	case "token":
		return !slices.Contains([]string{"wrong-secret", "oauth-client-refused", "session-ended"}, topic)
	}
	return false
}

// reasonFacts adds facts about the kinds of reasons that the server gives in codes and in words.
func (e *evidence) reasonFacts() {
	status := e.response.Status
	for _, f := range e.list {
		topic, said := strings.CutPrefix(f.ID, "said:")
		code, coded := strings.CutPrefix(f.ID, "code:")
		usually, usual := strings.CutPrefix(f.ID, "usual:")
		switch {
		case coded:
			topic = code
		case usual:
			topic = usually
		case !said:
			continue
		}
		if (coded || usual) && !general[topic] {
			e.add("coded-special", Coded, f.At, "%s", f.Text)
		}
		if usual {
			continue
		}
		if topic == "expired" && f.Source == Said && e.seen["exp-ahead"] && slices.ContainsFunc(e.words, func(w passage) bool { return w.by == byServer && orInvalid.MatchString(w.text) }) {
			e.add("invalid-not-expired", Computed, f.At, "the server says that the token is expired or invalid, and exp lies ahead: %s", f.Text)
			continue
		}
		if slices.Contains(claimCauses, topic) {
			e.add("said-claim", f.Source, f.At, "%s", f.Text)
		}
		if !general[topic] && !vague[topic] {
			e.add("said-special", f.Source, f.At, "%s", f.Text)
		}
		c, _ := CauseByID(topic)
		if readTopics(topic, c.Family) {
			e.add("credentials-read", f.Source, f.At, "the server read the credentials: it speaks of what is behind them")
		}
		if status >= 500 && (c.Family == "token" || c.Family == "nothing" || topic == "none" || topic == "login" || topic == "bad-token") {
			e.refusalIn500()
		}
	}
}

// refusalIn500 adds the fact that an answer with a status of 500 or more has the words of a refusal.
// Each fault of SOAP has the status 500 (SOAP 1.1 s6.2).
func (e *evidence) refusalIn500() {
	if body := e.response.Body; bytes.Contains(body[:min(len(body), 8<<10)], []byte("Fault>")) {
		return
	}
	e.add("refusal-in-500", Computed, "status", "the answer has the words of a refusal and the status %d, a fault of the server", e.response.Status)
}

// refusals lists the facts of answers that refuse a request without a status of 400 or more.
var refusals = []string{
	"refused", "to-sign-in", "to-https", "to-itself", "preflight-lacks", "to-second-factor", "to-denied-page", "sign-in-page", "sign-in-failed",
}

// reasoned reports whether the server gives a reason, by a code or in words.
func (e *evidence) reasoned() bool {
	return slices.ContainsFunc(e.list, func(f Fact) bool {
		return strings.HasPrefix(f.ID, "code:") || strings.HasPrefix(f.ID, "usual:") || strings.HasPrefix(f.ID, "said:")
	})
}

// statusMembers are members of a body that hold the status which another status stands for.
var statusMembers = []string{"error", "errorcode", "error_code", "errcode", "code", "status", "statuscode", "status_code", "retcode", "ret"}

// refusedFacts adds whether the request was refused at all. Answers with another status than 401 and
// 403 refuse too.
func (e *evidence) refusedFacts() {
	status := e.response.Status
	if status >= 500 && slices.ContainsFunc(e.words, func(w passage) bool {
		return len(w.words) > 0 && len(w.words) <= 3 && slices.Contains([]string{"unauthorized", "unauthenticated", "forbidden"}, w.words[0])
	}) {
		e.refusalIn500()
	}
	for _, code := range e.codes { // 200 with an error of OAuth, or with ok=false where refusals have 200
		if status >= 200 && status < 300 && code.alone && strings.HasPrefix(code.at, "body") && (code.name == "error" && slices.Contains(oauthErrors, strings.ToLower(code.value)) ||
			slices.Contains(statusMembers, code.name) && (code.value == "401" || code.value == "403") || code.is("success=false") || code.is("status=failure") ||
			code.is("ok=false") && e.seen["quirk-refuses-with-200"]) {
			e.add("refused", Computed, code.at, "the body has the code of a refusal: %s", e.quote(code.value))
		}
	}
	if status >= 400 || e.reasoned() || slices.ContainsFunc(refusals, func(id string) bool { return e.seen[id] }) || status == 0 && e.c.Subject < 0 {
		e.add("refused", Computed, "status", "the request was refused")
	}
	if status == 404 && e.has("quirk-hides-as-404") {
		e.add("hides", Computed, "status", "404 stands for a refusal")
	}
}

// silenceFacts adds whether the server says nothing.
func (e *evidence) silenceFacts() {
	if e.reasoned() {
		return
	}
	e.add("said-nothing", Computed, "response", "the response gives no reason")
	if !slices.ContainsFunc(e.words, func(w passage) bool { return w.by == byServer && ofBody(w.at) && !statusWords(w.words) }) {
		e.add("silent", Computed, "response", "the response has no words but those of its status")
	}
}

// mcpSegment matches a segment of a path with the word mcp.
var mcpSegment = regexp.MustCompile(`/(?:[a-z0-9.]+[-_])?mcp(?:[-_](?:server|http|stream|api|v\d+))?(?:/|$)`)

// addressFacts adds whether the address is one of the Model Context Protocol.
func (e *evidence) addressFacts() {
	path := strings.ToLower(e.target.Path)
	host := strings.HasPrefix(strings.ToLower(e.target.Host), "mcp.") && !oauthPath.MatchString(path) && !e.has("registration-address")
	if host || mcpSegment.MatchString(path) || strings.HasSuffix(path, "/sse") || e.request.Header.Has("MCP-Protocol-Version") {
		e.add("mcp", Computed, "address", "the address is one of the Model Context Protocol")
	}
}

// schemeSetFacts adds whether the request has another scheme than the program sets in a line beside
// the exchange.
func (e *evidence) schemeSetFacts() {
	auth := e.sent(secretInAuthorization)
	if auth == nil || auth.scheme != "basic" {
		return
	}
	for _, w := range e.words {
		if w.by != byLog {
			continue
		}
		lower := strings.ToLower(w.text)
		if strings.Contains(lower, "authorization") && strings.Contains(lower, "bearer") && !strings.Contains(lower, "basic") {
			e.add("scheme-not-set", Computed, "client", "the program sets Bearer and the request has %s", e.quote(auth.scheme))
		} else if m := schemeShown.FindStringSubmatch(w.text); m != nil {
			if set := strings.ToLower(m[1]); set != "basic" && set != "none" && slices.Contains(schemes, set) {
				e.add("scheme-not-set", Computed, "client", "the program sets %s and the request has %s", e.quote(set), e.quote(auth.scheme))
			}
		}
	}
}

// frontProxyFacts adds the fields that a front end adds.
func (e *evidence) frontProxyFacts() {
	for _, f := range e.response.Header {
		if slices.Contains([]string{"via", "x-envoy-upstream-service-time", "x-forwarded-server"}, strings.ToLower(f.Name)) {
			e.add("front-proxy", Computed, f.Name, "the field is one that a front end adds")
		}
	}
}

// markedTimeFacts adds the marks by which a person says that the time of a signed request is wrong.
func (e *evidence) markedTimeFacts() {
	if auth := e.sent(secretInAuthorization); auth != nil {
		if m := markedStamp.FindStringSubmatch(auth.value); m != nil && offMark.MatchString(m[1]) {
			e.add("mark-time-wrong", Said, "Authorization", "the input says that the time of the request is wrong: %s", e.quote(m[1]))
		}
	}
	if v := e.request.Header.Get("X-Amz-Date") + e.request.Header.Get("X-Ms-Date") + e.request.Header.Get("Date"); strings.Contains(v, "<") && offMark.MatchString(v) {
		e.add("mark-time-wrong", Said, "Date", "the input says that the time of the request is wrong")
	}
}

// orInvalid matches texts that name an expired token as one of two reasons.
var orInvalid = regexp.MustCompile(`(?i)\binvalid(?: or |/)(?:has )?expired\b|\bexpired(?: or |/)(?:is )?invalid\b`)

// markedStamp matches words in place of the time of a signed request.
var markedStamp = regexp.MustCompile(`(?i)\b(?:oauth_timestamp|timestamp|created|ts)="?(<[^<>]+>)`)

// ofBody reports whether a passage stands in the body, the challenge or the reason phrase. Other
// fields count only if their words have a topic.
func ofBody(at string) bool {
	return strings.HasPrefix(at, "body") || strings.HasPrefix(at, "WWW-Authenticate") || at == "reason phrase" || strings.Contains(at, "member")
}

// statusWords reports whether words say no more than a status does.
func statusWords(words []string) bool {
	return !slices.ContainsFunc(words, func(w string) bool {
		return strings.Trim(w, "v0123456789.") != "" && !slices.Contains([]string{"401", "403", "404", "unauthorized", "forbidden", "not", "found", "error", "status", "failure", "http", "request", sentenceEnd}, w)
	})
}

// missedSchemes lists schemes that a server names where it misses credentials.
var missedSchemes = []string{"bearer", "basic", "dpop", "digest"}

// namedCredential adds facts about the credential that the server missed and the request has in
// another place.
func (e *evidence) namedCredential() {
	if !e.seen["said:none"] && !e.seen["code:no-credentials"] && !e.seen["code:header-stripped"] {
		return
	}
	for _, w := range e.words {
		if w.by != byServer {
			continue
		}
		text := " " + strings.Join(w.words, " ") + " "
		key := strings.Contains(text, " api key ") || strings.Contains(text, " apikey ") || strings.Contains(text, " subscription key ")
		header := strings.Contains(text, " authorization ") || strings.Contains(text, " bearer ") || strings.Contains(text, " jwt ")
		if key && !header && e.seen["authorization-sent"] && !e.seen["key-sent"] {
			e.add("none-names-key", Computed, w.at, "the server requires a key in another field, and the request has only Authorization")
		}
		if auth := e.sent(secretInAuthorization); auth != nil && slices.Contains(missedSchemes, auth.scheme) && !strings.Contains(text, " "+auth.scheme+" ") {
			if i := slices.IndexFunc(missedSchemes, func(s string) bool { return strings.Contains(text, " "+s+" ") }); i >= 0 {
				e.add("none-names-scheme", Computed, w.at, "the server misses the scheme %s, and the request has %s", e.quote(missedSchemes[i]), e.quote(auth.scheme))
			}
		}
		if header && !key && e.seen["key-sent"] && e.seen["authorization-absent"] {
			e.add("none-names-authorization", Computed, w.at, "the server requires Authorization, and the request has a key elsewhere")
		}
	}
}
