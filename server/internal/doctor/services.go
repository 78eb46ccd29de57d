package doctor

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// This file reads lines of logs and errors that clients and services print.

// addressWords matches addresses and names of repositories: their parts are no words of a sentence.
var addressWords = regexp.MustCompile(`https?://[^\s"'<>]*[^\s"'<>.,;:)\]]|\b[\w.-]+/[\w.-]+\.git\b`)

// keyEchoed matches the secret that a server repeats.
var keyEchoed = regexp.MustCompile("(?i)\\b(?:keys?|token|secret|credentials?) (?:provided|received|passed|given|sent|supplied)\\s*[:=]\\s*[\"'`]?([^\\s\"'`,;\\\\]{3,200})")

// strayEchoed matches a key that a server repeats behind a bracket or a quotation mark of its own.
var strayEchoed = regexp.MustCompile("(?i)\\bapi key provided: *(?:[{\\[“”\"'`]+|Bearer )[A-Za-z]{2,12}[-_]")

// Forms of what clients print.
var (
	toldStatus = regexp.MustCompile(`(?i)(?:\bstatus(?:[ _]?code)?|returned error|\bhttp(?: error)?|\berror(?: code)?|\bcode)\W{0,4}(401|403|407)\b|` +
		`\b(401|403|407)\b[ :,-]{1,3}\(?(?:unauthorized|forbidden|client error|proxy auth)|\bE(401|403)\b`)
	webhookField = regexp.MustCompile(`(?i)^(x-hub-signature(-256)?|stripe-signature|svix-signature|webhook-signature|x-slack-signature|x-signature-ed25519|` +
		`x-shopify-hmac-sha256|x-twilio-signature|x-gitea-signature|x-gogs-signature|paddle-signature|x-line-signature|x-zm-signature|linear-signature|` +
		`sentry-hook-signature|x-hubspot-signature(-v3)?|intuit-signature|x-square-hmacsha256-signature|x-pagerduty-signature|x-dropbox-signature)$`)
	fieldUnsendable = regexp.MustCompile(`(?i)\b(?:illegal|invalid) header (?:field )?value\b|\binvalid (?:character|value)s? (?:in|for) header\b|\bERR_INVALID_CHAR\b|\binvalid header value char|\bheader value\b.{0,60}\b(?:leading|trailing|newline|line break|line feed|carriage return|non-ascii|iso-8859-1|latin-1|control char)`)
	fieldEmptyTold  = regexp.MustCompile(`(?i)\bheader (?:field )?value:? b?["'](?:Bearer|Basic|Token|ApiKey) ?["']`)
	scopesNamed     = regexp.MustCompile(`(?i)\bmissing (?:(?:the|a|required|necessary|following|oauth) )*scopes?["']?\s*[:=]\s*["'\[]*[a-z]`)
	secretAssigned  = regexp.MustCompile(`(?i)\b\w*(?:KEY|TOKEN|SECRET)["'\]]*\s*[=:]\s*["']?([A-Za-z][\w.-]{11,200})`)
	// Regions of Amazon that are a partition of their own, or that an account has to switch on: the keys and session tokens of
	// others are not known there.
	regionApart = regexp.MustCompile(`\b(?:us-gov-(?:east|west)|cn-(?:north|northwest)|us-isob?-\w+|af-south|ap-east|ap-south-2|ap-southeast-[3-7]|ca-west|eu-south|eu-central-2|me-south|me-central|il-central|mx-central)(?:-\d)?\b`)
	// The configuration of Docker knows its hub as https://index.docker.io/v1/ alone.
	registryNameWrong = regexp.MustCompile(`"(?:https://)?(?:docker\.io|registry-1\.docker\.io|hub\.docker\.com|registry\.hub\.docker\.com)/?"\s*:\s*\{`)
	// A line of the user that tells why the client did not take the credentials.
	toldNotPicked = regexp.MustCompile(`(?i)\b(?:does not|doesn't|did not|didn't|never) (?:read|use|pick up|look up|find|send|take|honou?r|see|consult) (?:\w+ ){0,4}(?:credentials?\b|token|\.?netrc|profile|keyring|config\.json|credential helper)|` +
		`\b(?:has|have|with|there is) no AWS_PROFILE|` +
		`^\s*#.*(?:\bsends nothing|\b(?:overrides?|overrode|shadows|wins over|takes? precedence)\b|\b[A-Z]*_[A-Z_]+ (?:is|was|are|were) (?:still )?set\b|\bunder (?:another|a different|the wrong) (?:host|name|registry|server|key|id)\b)`)
	// clientLooked matches a line of a client that found no credentials and continued without them.
	clientLooked = regexp.MustCompile(`(?i)\bno (?:matching|suitable|stored|applicable) (?:credentials?|auth\w*|logins?)\b|\bfalling back (?:to|on) anonymous\b|\bno (?:credentials?|auth config) (?:found )?for (?:host|registry|realm|server|url)\b`)
	ofProvider   = regexp.MustCompile(`\b[A-Z][A-Za-z]+Exception - |(?i:\blitellm\.AuthenticationError\b|\berror from provider\b|^provider returned error\b)`)
)

// outputFacts reads the status that the output of a client tells, and the words of a gateway about its provider.
func (e *evidence) outputFacts() {
	for _, f := range e.request.Header {
		if webhookField.MatchString(f.Name) {
			e.add("webhook-signed", Computed, f.Name, "the request is a webhook: its body is signed in %s", e.quote(f.Name))
		}
	}
	for i, line := range e.c.Log[:min(len(e.c.Log), maxLogLines)] {
		if toldNotPicked.MatchString(line) {
			e.add("told-not-picked", Said, fmt.Sprintf("log line %d", i+1), "the input says that the client did not take the credentials: %s", e.quote(line))
		}
		if clientLooked.MatchString(line) {
			e.add("client-looked", Said, fmt.Sprintf("log line %d", i+1), "a line of the client says that it found no matching credentials for this server: %s", e.quote(line))
		}
		if registryNameWrong.MatchString(line) {
			e.add("registry-name-wrong", Computed, fmt.Sprintf("log line %d", i+1), "the configuration keeps the credentials of Docker Hub under a name that is not looked up; that is https://index.docker.io/v1/")
		}
	}
	for _, w := range e.words {
		if w.by != byPerson && e.response.Status >= 400 && ofProvider.MatchString(w.text) && !strings.Contains(w.text, "auth provider returned") { // Caddy calls its own sign-in so
			e.add("provider-told", Computed, w.at, "the text has the answer of another server: %s", e.quote(w.text))
		}
		if w.by != byPerson && scopesNamed.MatchString(w.text) {
			e.add("scopes-named", Said, w.at, "the text names the scope that is missing: %s", e.quote(w.text))
		}
		if w.by == byLog && fieldUnsendable.MatchString(w.text) {
			e.add("field-unsendable", Computed, w.at, "the client cannot send the field, because its value has a character that no field may have: %s", e.quote(w.text))
			if fieldEmptyTold.MatchString(w.text) {
				e.add("field-empty-told", Computed, w.at, "nothing stands behind the scheme: %s", e.quote(w.text))
			}
		}
		if m := regionApart.FindString(w.text); m != "" {
			e.add("region-apart", Computed, w.at, "the region %s is one where the keys or session tokens of other regions are unknown", m)
		}
		if w.by == byPerson || e.request.Method != "" || e.request.URL != "" || e.response.Status != 0 {
			continue
		}
		for _, m := range toldStatus.FindAllStringSubmatch(w.text, 4) {
			e.add("told-"+m[1]+m[2]+m[3], Said, w.at, "the text tells the status %s", m[1]+m[2]+m[3])
		}
	}
}

// echoFacts looks at the secret that a server repeats: "Incorrect API key provided: undefined". Services hide its middle.
func (e *evidence) echoFacts() {
	text := e.response.Body[:min(len(e.response.Body), 4<<10)]
	if e.response.Status < 400 {
		text = []byte(strings.Join(e.c.Log[:min(len(e.c.Log), maxLogLines)], "\n"))
	}
	if m := strayEchoed.Find(text); m != nil {
		e.add("echoed-stray", Computed, "body", "the server repeats the begin of the secret, and a quotation mark or bracket stands there: %s", e.quote(string(m)))
	}
	for _, line := range e.c.Log[:min(len(e.c.Log), maxLogLines)] {
		for _, m := range secretAssigned.FindAllStringSubmatch(line, 4) {
			if s := shapeOf(m[1]); s != nil && len(s.Hosts) > 0 && len(e.products) > 0 && !slices.Contains(e.products, s.maker) && e.request.Method == "" {
				e.add("configured-of-other-vendor", Computed, "log", "the configuration sets a %s, and another service answers", s.kind)
			}
		}
	}
	for _, m := range keyEchoed.FindAllSubmatch(text, 4) {
		value := strings.TrimRight(string(m[1]), ".")
		if placeholderShape.MatchString(value) || exampleShape.MatchString(value) || strings.HasPrefix(value, "${") || strings.HasPrefix(value, "https://") {
			e.add("echoed-placeholder", Computed, "body", "the server repeats what it got, and that is no secret: %s", e.quote(value))
			continue
		}
		if s := shapeOf(value); s != nil && len(s.Hosts) > 0 && len(e.products) > 0 && !slices.Contains(e.products, s.maker) {
			e.add("echoed-of-other-vendor", Computed, "body", "the server repeats the begin of the secret, which is a %s", s.kind)
		}
	}
}
