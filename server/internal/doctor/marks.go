package doctor

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// This file reads the words of the user: masks in place of a secret, and what the input says of the
// credentials.

// marks are words in place of a secret, with the fact that they state.
var marks = []struct {
	words *regexp.Regexp
	facts string
	text  string
}{
	{regexp.MustCompile(`(?i)\bcnf[ .]?jkt|bound to a (?:dpop )?key|(?:dpop|key|sender)[- ](?:bound|constrained)`), "bound-to-key", "the token is bound to a key"},
	{regexp.MustCompile(`(?i)x5t|bound to (?:a|another|the other) (?:client )?cert|certificate[- ]bound`), "bound-to-certificate", "the token is bound to a certificate"},
	{regexp.MustCompile(`(?i)(another|other|different|wrong) (audience|api|resource)`), "aud-elsewhere", "the token is for another API"},
	{regexp.MustCompile(`(?i)without (scp|scope|scopes|roles|permissions)`), "rights-absent", "the token has no scope"},
	{regexp.MustCompile(`(?i)\bapp(?:lication)?[- ]only\b|\bclient[- _]credentials\b|\b(?:application|tenant|service account|app)(?:'s)? (?:access )?token\b`), "token-of-program", "the token stands for a program, not for a person"},
	{regexp.MustCompile(`(?i)without (exp|expiry)`), "exp-absent", "the token has no exp"},
	{regexp.MustCompile(`(?i)without sub`), "sub-absent", "the token has no sub"},
	{regexp.MustCompile(`(?i)without iss`), "iss-absent", "the token has no iss"},
	{regexp.MustCompile(`(?i)without aud`), "aud-absent", "the token has no aud"},
	{regexp.MustCompile(`(?i)without kid`), "kid-absent", "the token has no kid"},
	{regexp.MustCompile(`(?i)\b(id[_ -]?token|refresh[_ -]?token)\b|\bcustom[_ -]?token\b|\bcreateCustomToken\b`), "token-of-other-kind", "the token is no access token"},
	{regexp.MustCompile(`(?i)\bcut (?:off|at|after|in|short)\b|\bhalf\b|\btruncated\b|\bincomplete\b|\bfirst (?:two|2) parts\b|\bwithout (?:its )?signature part\b`), "jwt-cut", "the token was cut off"},
	{regexp.MustCompile(`(?i)token alone|without (a )?colon|no colon`), "basic-no-colon", "no colon stands before the secret"},
	{regexp.MustCompile(`(?i)too many|padding|not canonical`), "basic-padding", "the padding of base64 is wrong"},
	{regexp.MustCompile(`(?i)\bopaque\b|\breference[- ]token\b`), "opaque-sent opaque-told", "the token is opaque"},
	{regexp.MustCompile(`(?i)\b(?:empty|unset|unexpanded|undefined|unresolved|placeholder|not set|literal(?:ly)?)\b`), "placeholder-told", "the value is empty or a placeholder"},
	{regexp.MustCompile(`(?i)\b(?:publishable|public key|dsn|client[- ]?id|client[- ]?secret|app secret|webhook(?: signing)? secret|signing (?:secret|key)|authori[sz]ation code|registration token|license key|ingest(?:ion)? key|write key|site key|deploy key|activation key|shared secret|private key|account (?:number|id)|key id|token id|user ?name|secret id|fingerprint)\b`), "no-api-secret", "the secret is of a kind that an API does not take"},
	{regexp.MustCompile(`(?i)line ?end|newline|carriage return|\bCR ?LF\b|\bBOM\b|zero[- ]width|(?:leading|trailing) (?:blank|space|whitespace)|(?:space|blank) at (?:its|the) end|smart quotes|double quotes|(?:quotes|quotation marks|brackets) around|in quotes|in brackets|(?:with|including) (?:its )?(?:quotes|brackets|newline)`), "stray-octets", "a line end, a blank or a quotation mark stands in the secret"},
	{regexp.MustCompile(`(?i)\bread[-_ ]?only\b|\bread(?:_\w+)? (?:access )?(?:token|key|pat)\b|\b(?:token|key|pat)\b.{0,20}\b(?:read[-_ ]only|(?:to|for|with) read(?:ing)?\b)`), "token-for-reading", "the token allows only reading"},
}

// described are words in place of a token, with the mistake that they name. The first row that
// matches counts.
var described = []struct {
	words *regexp.Regexp
	cause string
}{
	{regexp.MustCompile(`(?i)\bgood\b|\bvalid\b|\bright\b|\bcorrect\b`), ""},
	{regexp.MustCompile(`(?i)\bfirebase\b.*\banother\b.*\bproject\b|\banother firebase project\b`), "wrong-audience"},
	{regexp.MustCompile(`(?i)\bbefore (?:the |a |its |my )?(?:password|account|reset|re-?install|restart|upgrade|update|rotation)|\b(?:old|previous|former|replaced) (?:api |access |personal )?(?:token|key|PAT)\b|\bpassword (?:was |has been )?(?:changed|reset)\b|\bafter (?:a |the )?password (?:change|reset)`), "revoked"},
	{regexp.MustCompile(`(?i)\b(?:made|issued|created|fetched|obtained|got|minted|from) (?:\w+ )?\d+ (?:minutes?|hours?|days?|weeks?|months?) (?:ago|before|earlier)\b|\b\d+ minutes old\b`), "expired"},
	{regexp.MustCompile(`(?i)\bnbf\b.*\b(?:tomorrow|hours?|days?|weeks?|far)\b`), "not-yet-valid"},
	{regexp.MustCompile(`(?i)\b(?:iat|nbf|issued)\b.*\b(?:ahead|future|later|after)\b|\bclock\b`), "clock-wrong"},
	{regexp.MustCompile(`(?i)\b(?:exp|expiry|expires|end)\b.*\b(?:past|yesterday|ago|over|before|reached)\b|\bexpired\b|\b(?:hours?|days?|weeks?|months?|year) old\b|\b(?:too|out) old\b|\bof yesterday\b|\byesterday's\b|\blast (?:week|month|year)`), "expired"},
	{regexp.MustCompile(`(?i)\bkid\b.*\b(?:not|unknown|missing from|absent from|other)\b|\bunknown kid\b|\b(?:rotated|retired|old|new|unpublished) (?:signing )?key\b|\bkey\b.*\bnot in\b`), "unknown-signing-key"},
	{regexp.MustCompile(`(?i)\bsigned (?:with|by|using) (?:another|a different|the wrong|an?other|the other|an? (?:foreign|wrong|own)|someone)|\b(?:changed|altered|modified|tampered|forged|edited)\b|\b(?:wrong|bad|broken|invalid) signature\b|\bself[- ]signed\b`), "bad-signature"},
	{regexp.MustCompile(`(?i)\b(?:without|lacking|no|missing) (?:an? |the )?(?:exp|sub|iss|aud|jti|iat|nbf|kid|tid|tenant|role|roles claim|\w+ claim)\b|\bexp as (?:a )?string\b`), "claim-missing"},
	{regexp.MustCompile(`(?i)\b(?:iss|issuer)\b|\bv[12](?:\.0)? token\b|\bissued by (?:another|a different|the other)`), "wrong-issuer"},
	{regexp.MustCompile(`(?i)\b(?:aud|audience|recipient)\b|\b(?:for|to) (?:another|a different|the other|the wrong|other) (?:api|audience|resource|service|app|application|client)\b|` +
		`\b(?:access )?token (?:for|of) (?:microsoft )?(?:graph|another api|the front ?end|userinfo)\b`), "wrong-audience"},
	{regexp.MustCompile(`(?i)\balg(?:orithm)?\b|\b(?:HS|RS|ES|PS)(?:256|384|512)\b|\bEdDSA\b`), "wrong-algorithm"},
	{regexp.MustCompile(`(?i)\b(?:revoked|rolled|withdrawn|blacklisted|rotated|superseded)\b`), "revoked"},
	{regexp.MustCompile(`(?i)\b(?:signed|logged) out\b|\bafter (?:sign|log)[- ]?out\b|\bended session\b`), "session-ended"},
	{regexp.MustCompile(`(?i)\b(?:of|for|from|in) (?:another|a different|the wrong|the other|other) (?:tenant|project|environment|region|account|organi[sz]ation|workspace|cluster|realm|instance|site|stage|server)\b|\b(?:tenant|project|account) B\b`), "wrong-place"},
	{regexp.MustCompile(`(?i)\b(?:token|key|jwt) with (?:only |the |scopes? )*[\w:.-]*\b(?:read|readonly|view)\b[\w:.-]*(?: only| alone)?$`), "insufficient-scope"},
	{regexp.MustCompile(`(?i)\b(?:disabled|deleted|suspended|deactivated|banned|unverified) (?:user|account|person)`), "account-not-active"},
}

// firebaseToken matches an ID token of Firebase. Its servers take this kind.
var firebaseToken = regexp.MustCompile(`(?i)\bfirebase\b.*\bid[_ -]?token\b|\bid[_ -]?token\b.*\b(?:firebase|revokeRefreshTokens)\b`)

// describes returns the cause that words in place of a token state, or "".
func describes(mark string) string {
	for _, d := range described {
		if d.words.MatchString(mark) {
			return d.cause
		}
	}
	return ""
}

// states lists words in place of a secret about its owner, its past or its rights, with the fact
// that they state.
var states = []struct {
	words *regexp.Regexp
	fact  string
	text  string
}{
	{regexp.MustCompile(`(?i)\b(?:good|right|correct|valid|working)\b`), "said-good", "the credentials are right"},
	{regexp.MustCompile(`(?i)\bread(?:[- ]only)?\b|\bread:|\b\w+-only\b|\b(?:limited|restricted|reduced|narrow|fine-grained)\b|\bwithout (?:access|permission|write|the (?:right|scope|permission|role))\b|\b(?:only|just) (?:the )?(?:scope|read)|\bwith (?:the )?(?:scopes? )?\w+:\w+`), "said-limited", "the credentials have few rights"},
	{regexp.MustCompile(`(?i)\b(?:normal|ordinary|plain|other|another|regular|guest|viewer|non-?admin\w*|unprivileged|member)\b ?(?:user|account|person|member|role)?|\b(?:user|account|member) without\b|\bno admin\b|\bnot (?:an )?admin\w*`), "said-lesser", "the user lacks a right that others have"},
	{regexp.MustCompile(`(?i)\b(?:of|for) the (?:front|proxy|ingress|gateway|reverse proxy|web server|balancer)\b|\b(?:front|proxy|ingress|nginx|traefik|caddy|htpasswd|apache)(?:'s)? (?:user|password|credentials|login)\b`), "said-of-front", "the credentials are those of a front end"},
	{regexp.MustCompile(`(?i)\b(?:of|for|from) the (?:app|application|program|backend)\b|\bapp(?:lication)?'s\b`), "said-of-application", "the credentials are those of the application"},
	{regexp.MustCompile(`(?i)\bafter (?:\w+ )?(?:wrong|bad|failed|false|incorrect)\b|\btoo many (?:tries|attempts)\b|\bafter (?:several|many|some|few|\d+) (?:tries|attempts)\b`), "said-after-failures", "there were earlier failed attempts"},
	{regexp.MustCompile(`(?i)\b(?:works?|good|accepted|fine|ok) (?:from|at|in|on|over|behind) (?:the |my |an?other |our |a )?(?:office|laptop|home|vpn|lan|local\w*|inside|network|house|phone|country|intranet|desktop|pc|workstation)`), "works-at-other-network", "the credentials work from another place"},
	{regexp.MustCompile(`(?i)\b(?:works?|good|accepted|fine|ok) (?:with|in|by|from|using) (?:the |a |my )?(?:browser|curl|postman|firefox|chrome|safari|insomnia|httpie|wget|another client)`), "said-works-with", "the credentials work with another client"},
	{regexp.MustCompile(`(?i)\bfrom (?:the |a |my )?(?:environment|env\b|\.env|compose|docker-compose|variable|secret file|file|config\w*|helm|values|chart|vault|(?:\w+ ){0,2}secret\b)`), "said-from-file", "the secret comes from a file or a variable"},
	{regexp.MustCompile(`(?i)\b(?:since|after) (?:the |an? |last )?(?:upgrade|update|migration|move|restart|reinstall\w*|deploy\w*|new version|release)\b|\bno (?:key|token|user|password|account)s? (?:works?|is taken)`), "said-since-change", "the refusals began with a change of the server"},
	{regexp.MustCompile(`(?i)\bnew (?:user|person|account|colleague|member|employee|login)\b|\bfirst (?:sign|log)[- ]?in\b|\bnever (?:signed|logged) in\b|\bnot (?:yet )?(?:in|known to|mapped|provisioned)\b`), "said-new-person", "the user is new on this server"},
	{regexp.MustCompile(`(?i)\b(?:all|every|other) (?:the )?(?:users?|clients?|tokens?|callers?|people|requests)\b.{0,24}\b(?:refused|fail\w*|rejected|401|403|too)\b|\b(?:everybody|everyone)\b|\bsince \d|\bfor all (?:users|clients)\b`), "said-all-refused", "other users are refused too"},
	{regexp.MustCompile(`(?i)\bwork(?:s|ed) (?:a |an |one |some |\d+ )?(?:minute|second|hour|day|week|moment|yesterday|before|until|till|last|earlier|fine)|\bunchanged\b|\bstill (?:good|valid)\b`), "said-worked", "the credentials worked before"},
}

// basicMarks lists words in place of the user name and password of Basic, with the fact that they
// state.
var basicMarks = []struct {
	words *regexp.Regexp
	fact  string
	text  string
}{
	{escapeInside, "escape-in-password", "user name or password has a %-escape, which belongs in an address and not in the field"},
	{markedElsewhere, "secret-elsewhere", "the credentials are those of another system"},
	{otherSigns, "basic-outside-ascii", "user name or password has characters outside of ASCII"},
}

// noLonger matches words that deny a good state.
var noLonger = regexp.MustCompile(`(?i)\b(?:no longer|not|once|was|were|formerly) (?:a )?(?:good|right|correct|valid|working)\b|\bright (?:to|of)\b|\b(?:good|valid|right) (?:until|till|for another|elsewhere|at another)\b`)

// describable are the causes that rules count strongly if the input says them of the token and the
// server gives no other reason.
var describable = []string{
	"wrong-audience", "wrong-issuer", "bad-signature", "unknown-signing-key", "wrong-algorithm", "claim-missing", "revoked",
	"insufficient-scope", "session-ended", "not-yet-valid", "clock-wrong", "wrong-place", "account-not-active",
}

// environmentMark matches the name of an environment in words that stand in place of a secret, or
// in a host.
var environmentMark = regexp.MustCompile(`(?i)\b(?:sandbox|staging|testnet|uat|preprod|production|live|prod)\b`)

// markedAudience matches the audience in words that stand in place of a token.
var markedAudience = regexp.MustCompile(`(?i)\b(?:aud(?:ience)?(?: is|:|=)?|(?:token|jwt) for) ?["']?(https?://[^\s"'<>,]+)`)

// Patterns of masks that name a host or a right.
var (
	markedHost = regexp.MustCompile(`(?i)\b(?:of|for|from) ((?:[a-z0-9-]+\.)+[a-z]{2,10})(?:$|[\s/>:,])`)
	fileName   = regexp.MustCompile(`(?i)\.(?:json|toml|xml|ya?ml|env|conf|config|txt|properties|pem|key|ini)$`)
)

// markedElsewhere matches words that assign the credentials to another system.
var markedElsewhere = regexp.MustCompile(`(?i)\b(?:of|for|from|at) (?:another|a different|the other|the wrong|other) (?:server|host|machine|device|nas|camera|site|instance|realm|directory|domain|cluster|environment|registry|region|stage|installation|company|tenant|organi[sz]ation|project)\b`)

// otherSigns matches words about characters whose octets depend on the encoding.
var otherSigns = regexp.MustCompile(`(?i)\bumlauts?\b|\bnon-?ascii\b|\blatin-?1\b|\biso[- ]?8859|\baccent(?:s|ed)?\b|\bunicode\b|\bcyrillic\b|\bchinese\b`)

// markFacts adds the words in place of a secret. It is said: it never decides.
func (e *evidence) markFacts(c *credential) {
	if c.mark == "" {
		return
	}
	parameters := slices.Contains([]string{"digest", "hawk", "oauth", "mac", "ntlm", "negotiate"}, c.scheme) // masks in these schemes stand for parameters
	if cause := describes(c.mark); cause != "" && !parameters && (c.kind == secretInAuthorization && c.scheme != "basic" || c.kind == secretInField) {
		e.add("mark:"+cause, Said, c.place, "the input says: %s", e.quote(c.mark))
		e.add("token-described", Said, c.place, "the input says what is wrong with the token")
	}
	for _, s := range states {
		if s.words.MatchString(c.mark) && !noLonger.MatchString(c.mark) && (!parameters || s.fact == "said-good") {
			e.add(s.fact, Said, c.place, "the input says: %s", s.text)
		}
	}
	for _, m := range environmentMark.FindAllString(c.mark, 4) {
		host := strings.ToLower(e.target.Hostname())
		switch word := strings.ToLower(m); {
		case !publicHost(host):
		case (word == "production" || word == "live" || word == "prod") && environmentMark.MatchString(host) && !strings.Contains(host, word):
			fallthrough
		case word != "production" && word != "live" && word != "prod" && !environmentMark.MatchString(host):
			e.add("mark-environment", Said, c.place, "the input says that the secret is one of %s, the address is %s", e.quote(word), e.quote(host))
		}
	}
	for _, m := range basicMarks {
		if c.scheme == "basic" && m.words.MatchString(c.mark) {
			e.add(m.fact, Said, c.place, "the input says: %s", m.text)
		}
	}
	if c.scheme == "basic" && hashForm.MatchString(c.pass) {
		e.add("password-is-hash", Said, c.place, "the password has the form of a password hash")
	}
	for _, m := range marks {
		if m.facts == "token-of-other-kind" && (firebaseToken.MatchString(c.mark) || c.kind == secretInCookie || c.kind == secretInBody && strings.HasSuffix(strings.ToLower(c.place), "_token")) {
			continue
		}
		if parameters && m.facts == "no-api-secret" {
			continue
		}
		text := c.mark
		if m.facts == "no-api-secret" && c.scheme == "basic" { // the words before the colon name the user
			if _, secret, ok := strings.Cut(text, ":"); ok {
				text = secret
			}
		}
		if m.words.MatchString(text) {
			for fact := range strings.FieldsSeq(m.facts) {
				e.add(fact, Said, c.place, "the input says: %s", m.text)
			}
		}
	}
	if m := markedAudience.FindStringSubmatch(c.mark); m != nil && e.target.Host != "" {
		if u, err := url.Parse(m[1]); err == nil && u.Host != "" && !strings.EqualFold(u.Hostname(), e.target.Hostname()) {
			e.add("aud-elsewhere", Said, c.place, "the input says: the token is for %s", e.quote(m[1]))
		}
	}
	if m := markedHost.FindStringSubmatch(c.mark); m != nil && e.target.Host != "" && !strings.EqualFold(m[1], e.target.Hostname()) && !fileName.MatchString(m[1]) {
		e.add("mark-of-other-host", Said, c.place, "the input says that the secret is for %s; the address is that of %s", e.quote(m[1]), e.quote(e.target.Host))
	}
	for _, ch := range e.challenges {
		if resource, _ := ch.Param("resource"); resource != "" && e.seen["mark-of-other-host"] {
			e.add("mark-other-than-resource", Said, c.place, "the challenge names the resource %s; the input says that the token is for another", e.quote(resource))
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
				e.withheld(c, e.target, time.Time{})
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
