package doctor

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// This file compares the token of a request with the settings of the server in lines beside the
// exchange.

// Patterns of settings of a server that checks tokens, as properties, YAML, JSON, code and options
// of a command. A value ends with the line.
var (
	issuerSetting    = regexp.MustCompile(`(?i)(?:(?:\biss|issuers?|issuer[-_. ]?(?:ur[il]|base[-_]?url|domain)s?|\bauthority|auth-server-url|VALID_ISSUERS\w*|oidc[-_]discovery[-_]url|openid-config url|metadata-?address|discovery[-_]?(?:ur[il]|endpoint))["'\])]*\s*(?:=>|[:=])\s*|\bbound_issuer\s+)(.{4,400})$`)
	audienceSetting  = regexp.MustCompile(`(?i)(?:(?:(?:\b|_)aud|audiences?|resource_server_urls?|oidc-client-id|allowed[-_]?audiences?)["'\])]*\s*(?:=>|[:=]|\(\s*&?\[?(?:["'` + "`" + `]))\s*|\bbound_audiences?\s+)(.{2,400})$`)
	algorithmSetting = regexp.MustCompile(`(?i)(?:\b|_)(?:alg|algorithms?|algs|(?:jws|signing|signature|jwt|token)[-_.]?(?:sign(?:ing)?[-_.]?)?alg(?:orithm)?s?|sign-alg)["'\])]*\s*(?:=>|[:=])\s*(.{3,200})$`)
	claimSetting     = regexp.MustCompile(`(?i)(?:claims?[-_]?namespace|\bclaims?[._](?:principal|user|groups?|roles?|mail|name|dn)|(?:user(?:name)?|groups?|roles?|email|subject|principal|tenant|authorities|permissions?)[-_.]?claims?(?:[-_.]?(?:name|key|path))?|role_attribute_path|claim[-_]?name|(?:^\s*|uid |user |_)claim|mapping[-_.](?:uid|user|email|groups?)|(?:user(?:name)?|uid|login|email)[-_]?(?:attribute|field))["'\])]*\s*(?:=>|[:=]|\s\s)\s*["'` + "`" + `.\[]*([A-Za-z][\w.:/-]{1,80})(?:["'` + "`" + `\])},;]*\s*$|["']\s*[,}\]])`)
	secretSetting    = regexp.MustCompile(`(?i)(?:\b|_)(?:jwt[\w.]{0,30}secret(?:\.\w+){0,3}|jwt[-_.]?(?:signing[-_.]?)?(?:secret|key)|secretOrKey|token[-_.]?secret)["'\])]*\s*(?:=>|[:=])\s*["'` + "`" + `]?([^\s"'` + "`" + `,;{}]{4,200})`)
	keySetSetting    = regexp.MustCompile(`(?i)(?:jwks?(?:[-_]?set)?[-_]?(?:ur[il]|endpoint)|jwks(?:\.json)?|public[-_.]?key(?:[-_.]?(?:location|pem))?|certs[-_]?ur[il])["'\])]*\s*(?:=>|[:=])\s*["'` + "`" + `]?(\S{8,200})|issuer-uri\s*[:=]\s*(https?://\S+)`)
	keysTold         = regexp.MustCompile(`(?i)\b(?:kids?|key ids?|keys)\b["']?(?: (?:are|in (?:the )?(?:jwks|cache|key ?set)))?\s*[:=\[(]*\s+?["'\[(]*((?:[\w./+=-]{2,64}["']?(?:,\s*|\s+and\s+)?["']?)+)`)
	algorithmName    = regexp.MustCompile(`\b(?:HS|RS|ES|PS)(?:256K?|384|512)\b|\bEdDSA\b|\bEd25519\b`)
	settingValue     = regexp.MustCompile("[^\\s\"'`\\[\\](){}<>,;|]{2,300}")
	settingMark      = regexp.MustCompile(`^[A-Z][A-Z0-9_]+$|[${}<>*]|^process\.|^env\.|^os\.|^config\.|^this\.`)
	wellKnown        = regexp.MustCompile(`(?i)/?\.well-known/(?:openid-configuration|oauth-authorization-server)/?$`)
	innerCall        = regexp.MustCompile(`https?://([A-Za-z0-9.-]+(?::\d+)?)(?:/[^\s"']*)?\b.{0,60}\b(401|403)\b`)
	bareIssuer       = regexp.MustCompile(`^[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,}(?::\d+)?(?:/[\w./-]*)?$`)
	tenantSetting    = regexp.MustCompile(`(?i)tenant[-_ ]?id["'\])]*\s*(?:=>|[:=])\s*["'` + "`" + `]?([0-9a-f]{8}-[0-9a-f-]{27})`)
	rightSetting     = regexp.MustCompile(`(?i)(?:allowed|required?|needed|admin)[-_ ]?(group|role|scope)s?["'\])]*\s*(?:=>|[:=])\s*(.{2,200})$|\bhas(?:Any)?(Authority|Role|Scope)\(([^)]{2,120})\)|\b(RequiredScope|RolesAllowed|RequireRole|requiredScopes)\(([^)]{2,120})\)`)
	googleClient     = regexp.MustCompile(`\b[\w-]+\.apps\.googleusercontent\.com\b`)
	nowAndThen       = regexp.MustCompile(`(?i)\bnow and then\b|\bsometimes\b|\bintermittent(?:ly)?\b|\brandom(?:ly)?\b|\boccasional(?:ly)?\b|\bflaky\b|\bfrom time to time\b|\bnot always\b`)
	laterWorks       = regexp.MustCompile(`(?i)\b(?:works?|accepted|succeeds?|fine|ok|200)\b.{0,40}\b(?:(?:seconds?|minutes?|moments?|bit|while) later|after (?:a (?:few|short)|some|\w+) (?:seconds?|minutes?|while|wait|delay)|from \w+ (?:seconds?|minutes?) (?:later|on))|\b(?:wait\w*|sleep\w*|delay\w*)\b.{0,20}\b(?:seconds?|minutes?|ms)\b.{0,40}\b(?:works?|helps?|mends?|accepted)\b`)
	keysRotated      = regexp.MustCompile(`(?i)\brotat\w+ (?:of )?(?:its|their|the|our|signing|jwks|realm|idp)? ?(?:signing |jwks |realm )?keys?\b|\b(?:signing |jwks? |realm )keys? (?:\w+ )?rotat|\bkey rotation\b`)
	readsTokens      = regexp.MustCompile(`(?i)\bverifyIdToken\b|\bjwt\.verify\b|\bjwt\.decode\b|oauth2\.resourceserver\.jwt|\bjwks(?:_?ur[il]|-rsa)|\bissuer-uri\b|JwtDecoder|\bAddJwtBearer\b|\bjwtVerify\b|createRemoteJWKSet|parseClaimsJws|validate-jwt`)
)

// linePatterns lists patterns of lines beside the exchange that need no comparison, with the fact
// that each one shows.
var linePatterns = []struct {
	pattern *regexp.Regexp
	fact    string
	source  Source
	say     string
}{
	{nowAndThen, "fails-sometimes", Said, "the input says that the request fails sometimes"},
	{laterWorks, "works-later", Said, "the input says that the request is accepted some time later"},
	{keysRotated, "keys-rotated", Said, "the input names a change of the signing keys"},
	{readsTokens, "reads-jwts", Computed, "a line of the server reads JWTs"},
}

// values returns the values of a setting without variables and masks.
func values(text string) (list []string) {
	for _, v := range settingValue.FindAllString(text, 8) {
		if v = strings.TrimRight(v, "."); v != "" && !settingMark.MatchString(v) && v != "true" && v != "false" && v != "new" && v != "string" {
			list = append(list, v)
		}
	}
	return list
}

// settingFacts adds facts about lines of a configuration or a log, and compares the token of the
// request with them: issuer, audience, algorithms, keys, and the claims that the server reads.
func (e *evidence) settingFacts() {
	for i := range e.credentials {
		e.documentedToken(&e.credentials[i])
	}
	lines := slices.DeleteFunc(e.linesBeside(true), func(w passage) bool { // a JSON object on one line is an answer, not a configuration
		text := strings.TrimSpace(w.text)
		return w.at == "body line 1" && strings.HasPrefix(text, "{") && strings.HasSuffix(text, "}") || strings.HasPrefix(text, "claims: {") // the token itself
	})
	if len(lines) == 0 {
		return
	}
	for _, w := range lines {
		if len(w.text) > 600 {
			continue
		}
		for _, p := range linePatterns {
			if p.pattern.MatchString(w.text) {
				e.add(p.fact, p.source, w.at, "%s: %s", p.say, e.quote(strings.TrimSpace(w.text)))
			}
		}
		if m := innerCall.FindStringSubmatch(w.text); m != nil && !strings.Contains(w.text, "<a href") && e.target.Host != "" && !strings.EqualFold(m[1], e.target.Host) && !sameSite(m[1], e.target.Hostname()) {
			e.add("inner-call-refused", Computed, w.at, "the log has a request to another server, which was answered %s: %s", m[2], e.quote(strings.TrimSpace(w.text)))
		}
	}
	for i := range e.credentials {
		c := &e.credentials[i]
		if c.token == nil || c.kind == secretInCookie || c.token.partial && c.token.claims == nil {
			continue
		}
		e.compareSettings(c, lines)
		break
	}
}

// compareSettings compares a token with the settings in the lines.
func (e *evidence) compareSettings(c *credential, lines []passage) {
	iss, aud, alg, kid := text(c.token.claims, "iss"), texts(c.token.claims, "aud"), text(c.token.header, "alg"), text(c.token.header, "kid")
	var issuers, audiences, algorithms, secrets []string
	at := map[string]string{}
	for _, w := range lines {
		if len(w.text) > 600 {
			continue
		}
		if m := issuerSetting.FindStringSubmatch(w.text); m != nil {
			if whole := strings.Trim(m[1], " \"'`,;"); strings.TrimRight(whole, "./") == strings.TrimRight(iss, "/") && whole != iss && iss != "" && strings.HasSuffix(whole, ".") {
				e.add("iss-slash", Computed, w.at, "iss is %s, the configuration has %s: they differ in the last character", e.quote(iss), e.quote(whole))
			}
			for _, v := range values(m[1]) {
				address := strings.Contains(iss, "://")
				if !strings.Contains(v, "://") && (address && bareIssuer.MatchString(v) || !address && v == strings.Trim(m[1], " \"'`,;")) {
					issuers, at["iss"] = append(issuers, v), w.at
				}
			}
			for _, a := range addressIn.FindAllString(m[1], 4) {
				a = wellKnown.ReplaceAllString(strings.TrimRight(a, ".,;)]}`"), "")
				if !strings.ContainsAny(a, "${}<>*") {
					issuers, at["iss"] = append(issuers, a), w.at
				}
			}
		}
		if m := audienceSetting.FindStringSubmatch(w.text); m != nil {
			rest, _, _ := strings.Cut(m[1], "issuer") // the next setting of the line
			if list := values(rest); len(list) > 0 {
				audiences, at["aud"] = append(audiences, list...), w.at
			}
		}
		if list := googleClient.FindAllString(w.text, 4); list != nil && len(aud) == 1 && googleClient.MatchString(aud[0]) {
			audiences, at["aud"] = append(audiences, list...), w.at
		}
		e.rightsWanted(c, w)
		if m := algorithmSetting.FindStringSubmatch(w.text); m != nil {
			if list := algorithmName.FindAllString(m[1], 8); len(list) > 0 {
				algorithms, at["alg"] = append(algorithms, list...), w.at
			}
		}
		if m := secretSetting.FindStringSubmatch(w.text); m != nil && !strings.HasPrefix(m[1], "http") {
			secrets, at["secret"] = append(secrets, m[1]), w.at
		}
		if m := keySetSetting.FindStringSubmatch(w.text); m != nil {
			at["keys"] = w.at
			e.keySetElsewhere(w, iss, m[1])
		}
		if m := tenantSetting.FindStringSubmatch(w.text); m != nil {
			if tid := text(c.token.claims, "tid"); tid != "" && !strings.EqualFold(tid, m[1]) {
				e.add("tid-other-than-set", Computed, w.at, "tid is %s, the configuration has %s", e.quote(tid), e.quote(m[1]))
			}
		}
		if m := keysTold.FindStringSubmatch(w.text); m != nil && kid != "" && !strings.Contains(w.text, kid) {
			if !strings.ContainsAny(m[1], "0123456789") {
				continue // words, no names of keys
			}
			if strings.Contains(strings.ToLower(w.text), "kid") || strings.Contains(strings.ToLower(w.text), "jwks") {
				e.add("kid-not-listed", Computed, w.at, "kid is %s, and the line with the keys of the server does not have it: %s", e.quote(kid), e.quote(strings.TrimSpace(w.text)))
			}
		}
		for _, m := range claimSetting.FindAllStringSubmatch(w.text, 4) {
			name := m[1]
			if c.token.claims[name] != nil || c.token.partial {
				continue
			}
			if !strings.Contains(name, "://") {
				if name, _, _ = strings.Cut(name, "."); c.token.claims[name] != nil {
					continue
				}
			}
			e.add("claim-wanted-absent", Computed, w.at, "the configuration reads the claim %s, and the token has none", e.quote(m[1]))
		}
	}
	symmetric := strings.HasPrefix(alg, "HS")
	switch {
	case len(issuers) == 0 || slices.Contains(issuers, iss) || iss == "" || microsoftIssuer(iss, issuers):
	case slices.ContainsFunc(issuers, func(one string) bool { return strings.TrimRight(one, "/") == strings.TrimRight(iss, "/") }):
		e.add("iss-slash", Computed, at["iss"], "iss is %s, the configuration has %s: they differ in a slash at the end", e.quote(iss), e.quote(issuers[0]))
	default:
		e.add("iss-other-than-set", Computed, at["iss"], "iss is %s, the configuration has %s", e.quote(iss), e.quote(strings.Join(issuers, " ")))
	}
	if len(audiences) > 0 && !slices.ContainsFunc(audiences, func(one string) bool { return slices.Contains(aud, one) }) {
		if len(aud) > 0 {
			e.add("aud-other-than-set", Computed, at["aud"], "aud is %s, the configuration has %s", e.quote(strings.Join(aud, " ")), e.quote(strings.Join(audiences, " ")))
		} else if client := text(c.token.claims, "client_id"); !c.token.partial && !slices.Contains(audiences, client) {
			e.add("aud-other-than-set", Computed, at["aud"], "the token has no aud, the configuration has %s", e.quote(strings.Join(audiences, " ")))
		}
	}
	switch {
	case alg == "":
	case len(algorithms) > 0 && !slices.Contains(algorithms, alg):
		e.add("alg-other-than-set", Computed, at["alg"], "alg is %s, the configuration has %s", e.quote(alg), e.quote(strings.Join(algorithms, " ")))
	case at["keys"] != "" && symmetric && len(secrets) == 0:
		e.add("alg-other-than-key", Computed, at["keys"], "alg is %s, which needs a shared secret; the server has public keys", e.quote(alg))
	case len(secrets) > 0 && !symmetric && at["keys"] == "" && iss != "" && !strings.Contains(strings.Join(secrets, " "), "BEGIN"):
		e.add("alg-other-than-key", Computed, at["secret"], "alg is %s, which needs a public key; the server has a shared secret", e.quote(alg))
	}
	if symmetric && len(secrets) > 1 && slices.ContainsFunc(secrets, func(s string) bool { return s != secrets[0] }) {
		e.add("secrets-differ", Computed, at["secret"], "the configuration has two secrets for tokens, and they differ")
	}
}

// rightsWanted compares the rights that a line requires with those of the token.
func (e *evidence) rightsWanted(c *credential, w passage) {
	m := rightSetting.FindStringSubmatch(w.text)
	if m == nil || c.token.partial {
		return
	}
	kind := strings.ToLower(m[1] + m[3] + m[5])
	var list []string
	for _, v := range settingValue.FindAllString(m[2]+m[4]+m[6], 8) {
		if !strings.Contains(v, "$") {
			list = append(list, v)
		}
	}
	claims := c.token.claims
	scopes := append(strings.Fields(text(claims, "scope")), texts(claims, "scope")...)
	for _, s := range texts(claims, "scp") {
		scopes = append(scopes, strings.Fields(s)...)
	}
	groups := append(texts(claims, "groups"), texts(claims, "roles")...)
	for _, name := range []string{"role", "permissions", "cognito:groups", "authorities"} {
		groups = append(groups, texts(claims, name)...)
	}
	if realm, ok := claims["realm_access"].(map[string]any); ok {
		groups = append(groups, texts(realm, "roles")...)
	}
	if len(list) == 0 || len(scopes)+len(groups) == 0 {
		return
	}
	scope := strings.Contains(kind, "scope")
	for _, want := range list {
		plain := strings.TrimPrefix(want, "SCOPE_")
		scope = scope || plain != want
		has := func(s string) bool {
			return strings.EqualFold(strings.TrimPrefix(strings.TrimPrefix(s, "ROLE_"), "/"), strings.TrimPrefix(plain, "ROLE_"))
		}
		if slices.ContainsFunc(scopes, has) || slices.ContainsFunc(groups, has) {
			return
		}
	}
	if scope {
		e.add("scope-wanted-absent", Computed, w.at, "the server requires the scope %s; the token has %s", e.quote(strings.Join(list, " ")), e.quote(strings.Join(scopes, " ")))
	} else {
		e.add("role-wanted-absent", Computed, w.at, "the server requires the role or group %s; the token has %s", e.quote(strings.Join(list, " ")), e.quote(strings.Join(groups, " ")))
	}
}

// microsoftIssuer reports whether one of the settings is the authority of Microsoft that issues tokens of this version. The text
// of an authority differs from that of its issuer.
func microsoftIssuer(iss string, issuers []string) bool {
	host := issuerHost(iss)
	for _, one := range issuers {
		if !hostIs(issuerHost(one), ".login.microsoftonline.com") && issuerHost(one) != "login.microsoftonline.com" {
			continue
		}
		second := strings.Contains(one, "/v2.0")
		u, err := url.Parse(one)
		if err == nil && strings.Trim(u.Path, "/") == "" || strings.Contains(one, "/common") || strings.Contains(one, "/organizations") {
			return true // the tenant stands in another setting
		}
		if host == "sts.windows.net" && !second || host == "login.microsoftonline.com" && strings.HasPrefix(iss, strings.TrimRight(one, "/")) {
			return true
		}
	}
	return false
}

// keySetElsewhere adds a fact if the key set is that of another realm or tenant than the issuer.
func (e *evidence) keySetElsewhere(w passage, iss, address string) {
	set, err := url.Parse(strings.TrimRight(address, "\"'`,;)"))
	own, err2 := url.Parse(iss)
	if err != nil || err2 != nil || set.Host == "" || own.Host == "" {
		return
	}
	_, realm := realmAddress(set)
	_, other := realmAddress(own)
	tenant := func(host string) bool {
		return slices.ContainsFunc(tenants, func(end string) bool { return strings.HasSuffix(host, end) })
	}
	if realm != "" && other != "" && realm != other || tenant(set.Host) && tenant(own.Host) && set.Host != own.Host ||
		strings.HasPrefix(set.Host, "cognito-idp.") && strings.HasPrefix(own.Host, "cognito-idp.") && !strings.HasPrefix(set.Path, strings.TrimRight(own.Path, "/")+"/") {
		e.add("keys-elsewhere", Computed, w.at, "the address of the key set is %s, iss is %s", e.quote(set.Host+set.Path), e.quote(iss))
	}
}
