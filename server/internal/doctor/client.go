package doctor

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/durward-auth/durward/server/internal/explain"
)

// This file adds facts about the program that sent the request: lines of its source that set
// credentials, fields that it put into the body, and the environment that words of the user name.

// Patterns of lines of a program, of a command and of a configuration.
var (
	// programForm matches a line of source code, a command or an entry of a configuration.
	// credentialWord has to match too.
	programForm = regexp.MustCompile(`^\s*(?:\$ \S|PS ?[A-Z]?:?[^>]{0,60}> |>>> |In \[\d+\]: |(?:var|let|const|final|auto|val|local|my|set|export|curl_setopt(?:_array)?|await|import|using|use|env|with)\b.{0,40}[\s(:=]|` +
		`[$@]?[A-Za-z_][\w.]*(?:->|::|\.|\[)[\w"'.\]]{1,60}\s*(?:\(|=[^=\s]|= |\[)|[$@]?[A-Za-z_][\w.-]*(?:\s+(?:=|:=|=>)\s+\S|=["'$<{\[])|[A-Za-z_][\w.]*\(["'$\w]|["']?[\w-]+["']?\s*(?:=>|:)\s*(?:["'{\[$<]|Bearer |Basic |Token |\*{3})|` +
		`-{1,2}[A-Za-z][\w-]*[ =]|[A-Z]\w+(?:<[^<>]*>)? \w+ = |\.[A-Za-z]\w*\(|@[\w/-]+[:=]|<(?:server|servers|repository|repositories|settings|add|packageSourceCredentials)\b|[\w.~/-]+\.(?:json|xml|toml|ini|cfg|conf|ya?ml|properties|rc|env|tf|gradle|py|js|ts|php|go|cs|rb|java)\s*:|provider "|- [a-z_]+:|[a-z_.]+: \w+=\S+ \w+=\S)`)
	// requestCall matches a call of a library for HTTP with fields.
	requestCall    = regexp.MustCompile(`(?i)^\s*(?:(?:const |let |var )?[\w, ]+\s*:?=\s*)?(?:await )?(?:requests|httpx|axios|fetch|session|client|http|urllib3?|got|aiohttp|ky|superagent|req)\b[.(].*\bheaders?\b`)
	formBody       = regexp.MustCompile(`^[\w.-]+=[^\s]*(?:&[\w.-]+=|$)`)
	credentialWord = regexp.MustCompile(`(?i)authori[sz]ation|authenticat|bearer|token|passw|credential|api[-_ ]?key|secret|basic[-_]?auth|\bauth\b|_auth\b|netrc|userpwd|username`)
	// setsCredentials matches source code that sets credentials for its requests.
	setsCredentials = regexp.MustCompile(`(?i)["'\[(:]\s*(?:(?:proxy-)?authorization|x-api-key|api-?key|x-auth-token)["'\])]*\s*\]?\s*(?:=>|[:,=])|\bauthorization\s*[:=]\s*["'` + "`" + `$]|NetworkCredential\(|UsernamePasswordCredentials|\bsetCredentials\(|\badd_password\(|CredentialsProvider|` +
		`HTTP(?:Basic|Digest)Auth|\bauth\s*[=:]\s*[({\["']|CURLOPT_(?:USERPWD|USERNAME|XOAUTH2_BEARER)|\b(?:set_?)?basic_?auth(?:entication)?\s*[(=:]|\bset_?bearer_?(?:auth|token)?\(|bearer_?(?:token|auth)?\s*[(=]|with_?(?:token|auth|credentials)\(|` +
		`AuthenticationHeaderValue|DefaultRequestHeaders|\bpreemptive\b|\burl_(?:username|password)\b|\bforce_basic_auth\b|-H\s*["']?(?:Authorization|X-Api-Key)|--user[ =]|(?:^|\s)-u \S+:\S|\bpasswordCredentials\b|\bgetPasswordAuthentication\b|\b(?:url_)?user(?:name)?["']?\s*[=:]\s*\S.{0,120}\bpass(?:word|wd)?["']?\s*[=:]|\bhttp_?auth\s*[(=:]`)
	// bodyFields matches header fields inside a body: the program passed them as the wrong argument.
	bodyFields = regexp.MustCompile(`(?i)(?:["']headers["']\s*:\s*\{[^{}]*|^\s*\{\s*)["'](?:authorization|x-api-key|api-key|x-auth-token)["']\s*:|^(?:headers(?:\[|%5B)|authorization=)`)
)

// programLine reports whether a line belongs to a program or a configuration, and mentions credentials or sends a request with
// fields.
func programLine(text string) bool {
	return requestCall.MatchString(text) || len(text) < 400 && !formBody.MatchString(text) && programForm.MatchString(text) && credentialWord.MatchString(text)
}

// netrcAgent matches agents of libraries that use the entry of .netrc for a host, even if the program set Authorization.
var netrcAgent = regexp.MustCompile(`(?i)^(?:python-requests|httpie|rest-client|pip|twine|conda|poetry|gcloud|python-httpx/0\.[0-9]\.)\b`)

// noCORS matches the option of fetch that drops fields.
var noCORS = regexp.MustCompile(`(?i)\bmode['"]?\s*:\s*['"]no-cors['"]`)

// needsChallenge matches the renewal of tokens in the plugin Auth of the ktor client, which reads the challenge first.
var needsChallenge = regexp.MustCompile(`\brefreshTokens ?\{`)

// keyWord matches a part of a key.
var keyWord = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// cliAgent matches agents of command-line programs and of providers of Terraform.
var cliAgent = regexp.MustCompile(`(?i)\bcli\b|\bterraform\b|^(?:gh|glab|aws-cli|boto3|doctl|hcloud|kubectl|helm|rclone|restic|renovate|ansible|pulumi|codex|aider|goose)\b`)

// environments lists names of environments, as labels of a host and as words of the user. The value is true if the environment
// is not the one for production.
var environments = map[string]bool{
	"sandbox": true, "staging": true, "stage": true, "stg": true, "test": true, "testing": true, "testnet": true, "demo": true, "dev": true, "development": true,
	"uat": true, "qa": true, "preprod": true, "preview": true, "paper": true, "practice": true, "trial": true,
	"prod": false, "production": false, "live": false, "mainnet": false,
}

// regions lists names of regions, as labels of a host and as words of the user.
var regions = []string{"eu", "us", "uk", "au", "ap", "ca", "in", "jp", "cn", "intl", "international", "china", "europe", "global", "na", "emea", "apac"}

// realmOfFront matches realms that an operator writes into the configuration of a front end or into its password file.
// Programs use their own names.
var realmOfFront = regexp.MustCompile(`(?i)^(?:traefik|authelia|authentik|caddy|(?:restricted|private|protected|secured?|closed|internal)(?: \w+)?|administrator.?s area|(?:staging|dev(?:elopment)?|preview)\b.*|test(?: ?site| ?server)?|` +
	`(?:auth\w*|log-?in|sign-?in|password)(?: ?is)?(?: ?(?:required|needed|protected)(?: ?-.*)?)?|admin(?:istrat(?:or|ion))?(?:'?s)?(?: (?:area|login|only))?|members?(?: only| area)?|site|basic auth|no entry|please log ?in|who are you\??|enter password)$`)

// kindLimited matches words of the user for a kind of token that some interfaces alone take.
var kindLimited = regexp.MustCompile(`(?i)\b(?:app[- ]level|service[- ]account|deploy|job|project|installation|user|bot|account|group|admin|workspace|team|global|personal|machine|agent|device|session|temporary|read[- ]only|write)[- ]?(?:access[- ]?|api[- ]?)?(?:token|key)\b`)

var (
	labelBreak   = regexp.MustCompile(`[.-]`)
	labelDigits  = regexp.MustCompile(`^([a-z]+)\d{1,2}$`)
	markOfSecret = regexp.MustCompile(`(?i)\b([a-z]+) (?:api |access |secret |app |client |account |project |consumer )*(?:key|token|secret|credentials?|account|tenant|region|project|password|apikey|instance)\b|` +
		`\b(?:of|for|from|in) (?:the |an? )?([a-z]+)(?: (?:account|region|environment|instance|site|cloud|tenant|project|org|stack|data ?cent(?:er|re)))?$`)
	markOfHost = regexp.MustCompile(`(?i)\b(?:of|belongs to|made at|made on|created at|created on|issued for) (?:https?://)?((?:[a-z0-9-]+\.)+[a-z]{2,})\b`)
	selfHosted = regexp.MustCompile(`(?i)\bself[- ]hosted|\bon[- ]prem|\benterprise server\b|\bown (?:server|instance)\b|\blocal (?:server|instance)\b`)
	cloudKey   = regexp.MustCompile(`(?i)\bcloud\b|\bsaas\b|\bhosted\b`)
)

// hostLabels returns the labels of a host name; a label with digits at its end is also returned without them.
func hostLabels(host string) (labels []string) {
	for _, l := range labelBreak.Split(strings.ToLower(host), -1) {
		labels = append(labels, l)
		if m := labelDigits.FindStringSubmatch(l); m != nil {
			labels = append(labels, m[1])
		}
	}
	return labels
}

// placeFacts compares the environment and region that the words of the user name with the address.
func (e *evidence) placeFacts() {
	host := strings.ToLower(e.target.Hostname())
	if host == "" || localHost(host) {
		return
	}
	labels := hostLabels(host)
	path := strings.FieldsFunc(strings.ToLower(e.target.Path), func(r rune) bool { return r == '/' || r == '-' || r == '_' })
	trial, region, live := "", "", ""
	for _, l := range labels[:max(0, len(labels)-2)] { // the last two are the name of the owner
		if not, ok := environments[l]; ok && not {
			trial = l
		} else if ok {
			live = l
		}
		if slices.Contains(regions, l) {
			region = l
		}
	}
	for _, p := range path {
		if environments[p] {
			trial = p
		}
	}
	for name, not := range environments { // "sandboxapi", "api-sandbox2"
		if not && len(name) > 4 && strings.Contains(host, name) {
			trial = name
		}
	}
	if named := trial + live + region; named != "" && publicHost(host) {
		e.add("place-in-address", Computed, "address", "the host name contains a region or an environment: %s", e.quote(named))
	}
	for i := range e.credentials {
		c := &e.credentials[i]
		if c.mark == "" || c.kind == secretInCookie {
			continue
		}
		differs := func(what string) {
			e.add("place-of-mark-differs", Computed, c.place, "the input calls the secret %s; the address is %s", e.quote(c.mark), e.quote(host)+what)
		}
		for _, m := range markOfSecret.FindAllStringSubmatch(strings.ToLower(c.mark), 4) {
			word := m[1] + m[2]
			not, environment := environments[word]
			switch {
			case environment && not && trial == "" && (word != "test" && word != "dev" || e.seen["hosted-service"] || live != ""):
				differs(", without " + word)
			case environment && !not && trial != "":
				differs(" with " + trial)
			case slices.Contains(regions, word) && region != word && word != "global" && (region != "" || e.seen["hosted-service"]):
				differs("")
			}
		}
		if m := markOfHost.FindStringSubmatch(c.mark); m != nil && !strings.EqualFold(m[1], host) && !strings.HasSuffix(host, "."+strings.ToLower(m[1])) {
			differs("")
		}
		if e.seen["hosted-service"] && selfHosted.MatchString(c.mark) || !e.seen["hosted-service"] && strings.Contains(strings.ToLower(c.mark), " cloud") && cloudKey.MatchString(c.mark) {
			differs("")
		}
	}
	for name, v := range bodyMembers(e.request) {
		if e.has("hosted-service", "key-sent") && trial == "" && strings.EqualFold(v, "sandbox") {
			e.add("place-of-mark-differs", Computed, "body member "+name, "the user name is sandbox; the address is %s", e.quote(host))
		}
		if m := userOfEnvironment.FindStringSubmatch(v); m != nil && strings.EqualFold(name, "username") && trial == "" && publicHost(host) {
			e.add("user-of-environment", Computed, "body member "+name, "the user name ends with %s, and the address has no such word", e.quote(m[1]))
		}
	}
	for i := range e.credentials {
		c := &e.credentials[i]
		if named := namedHosts(c); len(named) > 0 && publicHost(host) && !slices.ContainsFunc(named, func(n string) bool { return n == host || strings.HasSuffix(host, "."+n) }) {
			e.add("secret-names-other-host", Computed, c.place, "the secret contains the address that it is for, %s; the address of the request is %s", e.quote(named[0]), e.quote(host))
		}
	}
	for _, p := range secretPlaces {
		for i := range e.credentials {
			value := e.credentials[i].value
			if e.credentials[i].scheme == "basic" {
				value = e.credentials[i].pass
			}
			if e.credentials[i].kind == secretInCookie {
				continue
			}
			if p.host.MatchString(host) && p.secret.MatchString(value) && !p.fits.MatchString(host) {
				e.add("secret-of-other-place", Computed, e.credentials[i].place, "the secret has the form of one for %s; the address is %s", p.want, e.quote(host))
			}
		}
	}
}

// userOfEnvironment matches a user name with the name of an environment at its end.
var userOfEnvironment = regexp.MustCompile(`(?i)@[\w-]+(?:\.[\w-]+)+\.(uat|sandbox|staging|preprod|qa|full|partial|devsandbox)$`)

// partWithJSON matches the part of a secret that has the form of JSON in base64.
var partWithJSON = regexp.MustCompile(`eyJ[A-Za-z0-9+/]{20,900}`)

// namedHosts returns the hosts of the addresses that a secret contains: tokens of some makers have
// a part with JSON.
func namedHosts(c *credential) (hosts []string) {
	if c.token != nil || c.masked || c.kind == secretInCookie || c.scheme == "basic" {
		return nil
	}
	octets, err := base64.RawStdEncoding.DecodeString(partWithJSON.FindString(c.value))
	var members map[string]any
	if err != nil || json.Unmarshal(octets, &members) != nil {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		address, _ := members[name].(string)
		if u, err := url.Parse(address); err == nil && strings.HasPrefix(u.Scheme, "http") && u.Hostname() != "" {
			hosts = append(hosts, strings.ToLower(u.Hostname()))
		}
	}
	return hosts
}

// secretPlaces lists secrets whose form tells which address of their maker takes them.
var secretPlaces = []struct {
	host, secret, fits *regexp.Regexp
	want               string
}{
	{regexp.MustCompile(`\bdeepl\.com$`), regexp.MustCompile(`:fx$`), regexp.MustCompile(`^api-free\.`), "api-free.deepl.com"},
	{regexp.MustCompile(`\balpaca\.markets$`), regexp.MustCompile(`^PK[A-Z0-9]{6,}|^PK<`), regexp.MustCompile(`^paper-api\.|^data\.`), "paper-api.alpaca.markets"},
	{regexp.MustCompile(`\balpaca\.markets$`), regexp.MustCompile(`^AK[A-Z0-9]{6,}|^AK<`), regexp.MustCompile(`^api\.|^data\.`), "api.alpaca.markets"},
	{regexp.MustCompile(`\bsquareup(?:sandbox)?\.com$`), regexp.MustCompile(`^EAAAl`), regexp.MustCompile(`sandbox`), "connect.squareupsandbox.com"},
	{regexp.MustCompile(`\bsquareup(?:sandbox)?\.com$`), regexp.MustCompile(`^EAAAE`), regexp.MustCompile(`squareup\.com`), "connect.squareup.com"},
	{regexp.MustCompile(`\bplaid\.com$`), regexp.MustCompile(`^access-sandbox-`), regexp.MustCompile(`^sandbox\.`), "sandbox.plaid.com"},
	{regexp.MustCompile(`\bplaid\.com$`), regexp.MustCompile(`^access-production-`), regexp.MustCompile(`^production\.`), "production.plaid.com"},
	{regexp.MustCompile(`\bpaddle\.com$`), regexp.MustCompile(`^pdl_sdbx_`), regexp.MustCompile(`^sandbox-`), "sandbox-api.paddle.com"},
	{regexp.MustCompile(`\bpaddle\.com$`), regexp.MustCompile(`^pdl_live_`), regexp.MustCompile(`^api\.`), "api.paddle.com"},
	{regexp.MustCompile(`^(?:api|test)\.stytch\.com$`), regexp.MustCompile(`^secret-test-`), regexp.MustCompile(`^test\.`), "test.stytch.com"},
	{regexp.MustCompile(`^(?:api|test)\.stytch\.com$`), regexp.MustCompile(`^secret-live-`), regexp.MustCompile(`^api\.`), "api.stytch.com"},
	{regexp.MustCompile(`\bmidtrans\.com$`), regexp.MustCompile(`^SB-Mid-`), regexp.MustCompile(`sandbox\.`), "the sandbox"},
	{regexp.MustCompile(`-admin\.okta(?:preview)?\.com$`), regexp.MustCompile(`.`), regexp.MustCompile(`^$`), "the host without -admin"},
	{regexp.MustCompile(`\.lightning\.force\.com$`), regexp.MustCompile(`^00D`), regexp.MustCompile(`\.my\.`), "the API, NAME.my.salesforce.com"},
	{regexp.MustCompile(`\bnewrelic\.com$|\bnr-data\.net$`), regexp.MustCompile(`^eu01xx`), regexp.MustCompile(`eu0?1?\.`), "the region EU"},
	{regexp.MustCompile(`\bpypi\.org$`), regexp.MustCompile(`^pypi-AgENdGVzdC5weXBpLm9yZ`), regexp.MustCompile(`^test\.`), "test.pypi.org"},
	{regexp.MustCompile(`\bpypi\.org$`), regexp.MustCompile(`^pypi-AgEIcHlwaS5vcm`), regexp.MustCompile(`^(?:upload\.)?pypi\.org$`), "pypi.org"},
	{regexp.MustCompile(`\bapi\.mailchimp\.com$`), regexp.MustCompile(`-us1$`), regexp.MustCompile(`^us1\.`), "us1.api.mailchimp.com"},
}

// clientLines adds facts from lines of the program, its User-Agent, its body and the form of its credentials.
func (e *evidence) clientLines() {
	if bodyFields.Match(e.request.Body[:min(len(e.request.Body), 16<<10)]) && e.seen["authorization-absent"] {
		e.add("fields-in-body", Computed, "body", "the body of the request contains the headers of a request, with Authorization or a key")
	}
	for name := range e.target.Query() {
		if l := strings.ToLower(name); e.seen["authorization-absent"] && (l == "headers[authorization]" || l == "headers.authorization" || l == "headers") {
			e.add("fields-in-body", Computed, "address", "the query contains the headers of a request")
		}
	}
	for _, w := range e.words {
		if w.by == byLog && setsCredentials.MatchString(w.text) && programLine(w.text) {
			e.add("program-sets", Computed, w.at, "the program sets credentials: %s", e.quoteLine(w.text))
		}
		if w.by == byLog && needsChallenge.MatchString(w.text) {
			e.add("client-needs-challenge", Computed, w.at, "the client renews its token only after a challenge: %s", e.quoteLine(w.text))
		}
		if w.by == byLog && noCORS.MatchString(w.text) {
			e.add("page-no-cors", Computed, w.at, "the mode of the request is no-cors, in which a page cannot set Authorization (Fetch s2.2.2)")
		}
	}
	for _, c := range e.challenges {
		if realm, _ := c.Param("realm"); strings.EqualFold(c.Scheme, "Basic") && realmOfFront.MatchString(realm) {
			e.add("realm-of-front", Computed, e.challengeField(), "the realm %s is a name that operators give to the password file of a front end", e.quote(realm))
		}
	}
	for i := range e.credentials {
		c := &e.credentials[i]
		if c.kind == secretInAuthorization && (c.shape != nil && c.shape.Kind == "app token" || kindLimited.MatchString(c.mark)) {
			e.add("kind-limited", Computed, c.place, "the token is of a kind that only some interfaces take")
		}
		if c.scheme == "basic" && c.kind == secretInAuthorization && keyUser.MatchString(c.user) {
			e.add("key-as-user", Computed, c.place, "the user name has the form of a key")
		}
		if c.kind == secretInAuthorization && c.scheme == "bearer" && c.shape != nil && c.token == nil && !slices.Contains(e.products, c.shape.maker) {
			e.add("opaque-of-vendor", Computed, c.place, "the token is a %s, which is no JWT; nothing shows a server of its vendor", c.shape.kind)
		}
		if words := strings.Fields(c.value); c.kind == secretInField && !c.masked && c.scheme == "" && len(words) == 2 && len(words[0]) > 3 && len(words[1]) > 7 && keyWord.MatchString(words[0]) && keyWord.MatchString(words[1]) {
			e.add("blank-in-key", Computed, c.place, "there is a blank inside the key")
		}
	}
	if strings.EqualFold(e.request.Header.Get("Sec-Fetch-Mode"), "no-cors") && strings.EqualFold(e.request.Header.Get("Sec-Fetch-Dest"), "empty") {
		e.add("page-no-cors", Computed, "Sec-Fetch-Mode", "the mode of the request is no-cors, in which a page cannot set Authorization (Fetch s2.2.2)")
	}
	for i, line := range e.c.Log[:min(len(e.c.Log), maxLogLines)] {
		if line = strings.TrimSpace(line); line == "[]" || line == "''" || line == `""` || line == "<>" || line == "||" {
			e.add("variable-empty", Computed, fmt.Sprintf("log line %d", i+1), "the output shows an empty variable: %s", line)
		}
	}
}

// keyUser matches user names that are keys of programs.
var keyUser = regexp.MustCompile(`^(?:(?:ck|pk|sk|api|key|app|client|rzp|AC|SK)[_-]?[0-9A-Za-z_-]{12,}|[0-9a-f]{24,}|[0-9A-Fa-f]{8}-[0-9A-Fa-f-]{27})$`)

// servicePlaces matches services with several regions or environments. A key of one is unknown in the others.
var servicePlaces = regexp.MustCompile(`(?i)(?:^|\.)(?:api\.mailgun\.net|go\.urbanairship\.com|api\.amadeus\.com|api\.datadoghq\.com|api\.newrelic\.com|(?:\w+\.)?posthog\.com|api\.intercom\.io|api\.opsgenie\.com|` +
	`api\.segment\.io|[\w-]+\.braze\.com|[\w-]+\.pinecone\.io|api\.smith\.langchain\.com|cloud\.langfuse\.com|api\.sumologic\.com|mixpanel\.com|amplitude\.com|api(?:-m)?\.paypal\.com|connect\.squareup\.com|` +
	`quickbooks\.api\.intuit\.com|plaid\.com|docusign\.net|zohoapis\.com|api\.moonshot\.(?:ai|cn)|dashscope(?:-intl)?\.aliyuncs\.com|api\.minimaxi?\.\w+|open\.bigmodel\.cn|api\.z\.ai|api\.siliconflow\.\w+|deepl\.com|` +
	`api\.binance\.(?:com|us)|api\.bybit\.com|alpaca\.markets|oanda\.com|api\.ebay\.com|fedex\.com|ups\.com|adyen\.com|africastalking\.com|api\.sendgrid\.com|logs\.\w+\.com|api\.twilio\.com|api\.iterable\.com|` +
	`api\.customer\.io|track\.customer\.io|api\.rollbar\.com|us\.sentry\.io|api\.honeycomb\.io|api\.launchdarkly\.com|logz\.io|api\.nylas\.com|api\.vonage\.com|api\.nexmo\.com|api\.kraken\.com|api\.coinbase\.com|` +
	`sentry\.io|dns\.hetzner\.com|(?:[\w-]+\.)*datadoghq\.(?:com|eu)|api(?:-testnet|-demo)\.bybit\.com|testnet\.\w+\.\w+|okx\.com|sandbox\.pro\.coinbase\.com|api\.amplitude\.com)$`)

// servicePlace adds a fact if the service has several regions or environments.
func (e *evidence) servicePlace() {
	if host := e.target.Hostname(); servicePlaces.MatchString(host) {
		e.add("several-places", Computed, "address", "the service at %s has several regions or environments, and each accepts only its own keys", e.quote(host))
	}
}

// otherNames lists names of fields that programs send in place of Authorization.
var otherNames = []string{"authentication", "authenticate", "authorisation", "authorize", "authorise", "authorized", "bearer", "auth-header", "auth_header", "authorization-header", "authorization_header", "authentification", "http_authorization", "http-authorization", "www-authenticate"}

// nearAuthorization reports whether a name is Authorization with one or two letters wrong, or a word in its place.
func nearAuthorization(name string) bool {
	name = strings.ToLower(name)
	const want = "authorization"
	if name == want {
		return false
	}
	if slices.Contains(otherNames, name) {
		return true
	}
	return len(name) <= len(want)+2 && !strings.HasPrefix(name, "x-") && explain.Distance(name, want) <= 2
}

// misplacedFields adds facts about a misspelled Authorization field and about Authorization in the query.
func (e *evidence) misplacedFields() {
	if !e.seen["authorization-absent"] {
		return
	}
	for _, f := range e.request.Header {
		scheme, rest, _ := strings.Cut(strings.TrimSpace(f.Value), " ")
		if nearAuthorization(f.Name) {
			e.add("field-misnamed", Computed, f.Name, "the field is named %s; servers read Authorization", e.quote(f.Name))
		} else if rest != "" && slices.Contains(schemes, strings.ToLower(scheme)) && !strings.EqualFold(f.Name, "Proxy-Authorization") {
			e.add("scheme-in-other-field", Computed, f.Name, "the field %s has a value in the form of Authorization: %s and credentials", e.quote(f.Name), e.quote(scheme))
		}
	}
	for name, values := range e.target.Query() {
		scheme, _, two := strings.Cut(strings.Join(values, " "), " ")
		if (nearAuthorization(name) || strings.EqualFold(name, "Authorization")) && two && slices.Contains(schemes, strings.ToLower(scheme)) {
			e.add("field-misnamed", Computed, "address", "the query contains %s, which belongs in a header field", e.quote(name))
		}
	}
}

// Programs that keep credentials for many servers, and the files and settings that hold them.
var (
	toolAgent     = regexp.MustCompile(`(?i)^(docker|npm|pnpm|yarn|pip|twine|poetry|uv|git|maven|apache-maven|gradle|cargo|helm|containerd|buildkit|podman|skopeo|terraform|nuget|composer|bundler|kubectl|aws-cli|gcloud|gh)\b`)
	configuration = regexp.MustCompile(`(?i)\bnetrc\b|[._]netrc|^\s*machine \S+(?:\s+login\b.*)?\s*$|\.npmrc|\.pypirc|\.docker/config\.json|\bauths?"\s*:|settings\.xml|\.git-credentials|credential\.helper|kubeconfig|aws_profile|pip\.conf|nuget\.config|gradle\.properties|auth\.json|_authtoken|credential helper|` +
		`^\s*(?:@[\w-]+:|//\S+:)?_(?:auth|password)\s*=|registry/config\.json|<servers?>|^\s*(?:basic_auth|authorization|bearer_token|bearer_token_file|password_file|credentials_file):|\.aws/credentials|\.yarnrc|npmAuthToken|\.condarc|http-basic|\.config/gh/hosts|"matchHost"`)
)

// otherLogin matches a line of a program that keeps a login and did not use it.
var otherLogin = regexp.MustCompile(`(?i)\blogged in to \S+ (?:account |as )?.{0,40}\((?:keyring|oauth_token|\S*hosts\.yml)\)|\b\w+ environment variable is being used\b|` +
	`\b(?:overrid(?:es|den|ing)|takes? precedence over|is used instead of|ignoring)\b.{0,60}\b(?:environment variable|stored|saved|cached|keyring|log-?in|credentials? file|config\w*)\b`)

// overridesLogin matches the setting of git that adds an Authorization field to each request.
var overridesLogin = regexp.MustCompile(`(?i)\.extraheader\b.{0,3}authorization:`)

// fromVariable matches a line of a configuration with a variable for its secret.
var fromVariable = regexp.MustCompile(`(?i)(?:token|password|secret|auth|key)\w*["']?\s*[=:]\s*["']?\$\{?([A-Za-z_]\w*)\}?["']?\s*$`)

// clientFacts adds facts about the client's program and its configuration.
func (e *evidence) clientFacts() {
	if agent := e.request.Header.Get("User-Agent"); toolAgent.MatchString(agent) {
		e.add("client-tool", Computed, "User-Agent", "the client keeps credentials for many servers: %s", e.quote(agent))
	}
	for _, w := range e.linesBeside(false) {
		if overridesLogin.MatchString(w.text) {
			e.add("other-login-kept", Computed, w.at, "the configuration of git sends another Authorization: %s", e.quoteLine(w.text))
		}
	}
	for _, w := range e.words {
		if w.by == byLog && otherLogin.MatchString(w.text) {
			e.add("other-login-kept", Computed, w.at, "the client has another login, or a variable takes its place: %s", e.quoteLine(w.text))
		}
		if w.by == byLog && configuration.MatchString(w.text) {
			e.add("configuration-named", Computed, w.at, "the input has a line of the client's configuration: %s", e.quoteLine(w.text))
			if m := fromVariable.FindStringSubmatch(w.text); m != nil {
				e.add("configuration-variable", Computed, w.at, "the configuration takes the secret from the variable %s", e.quote(m[1]))
			}
		}
	}
}
