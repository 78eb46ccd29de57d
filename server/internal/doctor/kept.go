package doctor

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// This file adds facts about credentials that the configuration of a client keeps, such as .npmrc,
// .netrc and Docker's config.json, and about the tokens of registries.

// keptForms match lines of configurations with credentials. The first group is the host of the
// credentials.
var keptForms = []*regexp.Regexp{
	regexp.MustCompile(`^\s*//([^/\s:]+(?::\d+)?)/\S*:_(?:authToken|auth|password)\b`), // .npmrc
	regexp.MustCompile(`^\s*machine\s+([\w.-]+)`),                                      // netrc
	regexp.MustCompile(`\bmachine\s+([\w.-]+)\s+login\b`),
	regexp.MustCompile(`\bcredentials\s+"([\w.-]+(?::\d+)?)"\s*\{`),                                                                 // .terraformrc
	regexp.MustCompile(`\bregistry\.configs\."([\w.-]+(?::\d+)?)"\.auth\b`),                                                         // containerd
	regexp.MustCompile(`^\s*https?://[^\s/@:]*:[^\s/@]*@([\w.-]+(?::\d+)?)`),                                                        // .git-credentials
	regexp.MustCompile(`--docker-server[= ](?:https?://)?([\w.-]+(?::\d+)?)`),                                                       // kubectl create secret
	regexp.MustCompile(`"ServerURL"\s*:\s*"(?:https?://)?([\w.-]+(?::\d+)?)`),                                                       // the answer of a credential helper of Docker
	regexp.MustCompile(`"matchHost"\s*:\s*"(?:https?://)?([\w.-]+(?::\d+)?)`),                                                       // renovate
	regexp.MustCompile(`^\s*"?(?:https?://)?([\w-]+(?:\.[\w-]+)+(?::\d+)?)(?:/[\w./-]*)?"?\s*:\s*\{\s*"?(?:auth|username|email)\b`), // docker, one entry a line
}

// Patterns of configurations of registries and package managers.
var (
	keptList  = regexp.MustCompile(`"(?:auths|credHelpers)"\s*:\s*\{(.*)`) // of docker, podman, helm and kubelet
	keptEntry = regexp.MustCompile(`"(?:https?://)?([\w-]+(?:\.[\w-]+)*(?::\d+)?)(?:/[\w./-]*)?"\s*:\s*(?:\{|")`)
	// keptCertificate matches settings and switches of clients with a certificate.
	keptCertificate = regexp.MustCompile(`(?i)^\s*(?:client-certificate(?:-data)?\s*:|client_cert\s*[=:]|sslcert\s*=|ssl_cert\s*[=:])|\s--cert[ =]|\bhttp\.sslcert\b`)
	// keptSign matches names of files, settings and commands with credentials of registries.
	keptSign = regexp.MustCompile(`(?i)"cred(?:Helpers|sStore)"|\.terraformrc|terraform\.rc|credentials\.tfrc|\.cargo/credentials|^\s*\[registr(?:y|ies\.[\w-]+)\]|\bregistry\.configs\."|` +
		`\bkeyring\b|imagePullSecrets|registries\.yaml|<server>\s*<id>|\bCARGO_REGISTRIES_\w+_TOKEN|\bTF_TOKEN_\w+|\bPOETRY_HTTP_BASIC_\w+|\bUV_INDEX_\w+_(?:USERNAME|PASSWORD)|packageSourceCredentials|http-basic\.|--pass-credentials|--docker-server\b|\bnpmRegistries\b|\bnpmAuthToken\b|\.yarnrc`)
	serverID     = regexp.MustCompile(`(?s)<server>\s*<id>\s*([^<\s]+)\s*</id>`)
	repositoryID = regexp.MustCompile(`(?s)<(?:repository|snapshotRepository|mirror)>\s*<id>\s*([^<\s]+)\s*</id>`)
	foreignHash  = regexp.MustCompile(`^\s*[\w.@-]+:(\$apr1\$|\{SHA\}|\$1\$|\$5\$|\$6\$)`)
)

// keptFacts compares the hosts of the credentials in the client's configuration with the address of
// the request.
func (e *evidence) keptFacts() {
	lines := e.linesBeside(true)
	var whole strings.Builder
	var hosts []string
	at := ""
	for _, w := range lines {
		line, place := w.text, w.at
		whole.WriteString(line + "\n")
		found := keptHosts(line)
		if hosts = append(hosts, found...); len(found) > 0 && at == "" {
			at = place
		}
		if keptSign.MatchString(line) {
			e.add("configuration-named", Computed, place, "the input has a line of the client's configuration: %s", e.quoteLine(line))
		}
		if keptCertificate.MatchString(line) {
			e.add("certificate-configured", Computed, place, "the client has a certificate: %s", e.quoteLine(line))
		}
		if m := foreignHash.FindStringSubmatch(line); m != nil && slices.ContainsFunc(e.products, func(p *product) bool { return p.Name == "a container registry" }) {
			e.add("hash-unreadable", Computed, place, "the file of passwords has a hash of the form %s; the registry reads only bcrypt", e.quote(m[1]))
		}
	}
	servers, repositories := serverID.FindAllStringSubmatch(whole.String(), 10), repositoryID.FindAllStringSubmatch(whole.String(), 10)
	if len(servers) > 0 && len(repositories) > 0 {
		same := slices.ContainsFunc(servers, func(s []string) bool {
			return slices.ContainsFunc(repositories, func(r []string) bool { return r[1] == s[1] })
		})
		if !same {
			e.add("configuration-elsewhere", Computed, "configuration", "the configuration has credentials for the server %s; the repository is %s", e.quote(servers[0][1]), e.quote(repositories[0][1]))
		}
	}
	if c := e.sent(secretInAuthorization); c != nil && c.value == "XXXXX-XXXXX-XXXXX-XXXXX" {
		e.add("tool-placeholder", Computed, c.place, "the secret is the placeholder of actions/setup-node for a missing NODE_AUTH_TOKEN")
	}
	if len(hosts) == 0 || e.target.Host == "" {
		return
	}
	if slices.ContainsFunc(hosts, func(h string) bool { return strings.EqualFold(h, e.target.Host) }) {
		e.add("configuration-here", Computed, at, "the configuration has credentials for %s", e.quote(e.target.Host))
	} else {
		e.add("configuration-elsewhere", Computed, at, "the configuration has credentials for %s; the request goes to %s", e.quote(hosts[0]), e.quote(e.target.Host))
	}
}

// keptHosts returns the hosts for which a line of a configuration has credentials.
func keptHosts(line string) (hosts []string) {
	if m := keptList.FindStringSubmatch(line); m != nil {
		for _, entry := range keptEntry.FindAllStringSubmatch(m[1], 20) {
			if entry[1] != "auth" && entry[1] != "username" && entry[1] != "password" && entry[1] != "email" && entry[1] != "credsStore" && entry[1] != "identitytoken" && strings.ContainsAny(entry[1], ".:") {
				hosts = append(hosts, entry[1])
			}
		}
		return hosts
	}
	for _, form := range keptForms {
		if m := form.FindStringSubmatch(line); m != nil {
			hosts = append(hosts, m[1])
		}
	}
	return hosts
}

// openHosts lists hosts that need no credentials for reading packages.
var openHosts = []string{
	"repo1.maven.org", "repo.maven.apache.org", "files.pythonhosted.org", "pypi.org", "index.crates.io", "static.crates.io", "crates.io", "proxy.golang.org",
	"sum.golang.org", "rubygems.org", "repo.packagist.org", "packagist.org", "api.nuget.org", "plugins.gradle.org", "deb.debian.org", "archive.ubuntu.com",
}

// registryScope matches a scope of a registry: the repository and the actions.
var registryScope = regexp.MustCompile(`\b(repository:[^:\s"]+(?::\d+/[^:\s"]+)?):([a-z*,]+)`)

// registryFacts adds facts about the tokens of registries (distribution/distribution,
// docs/spec/auth/token.md) and about credentials that the client sent to other hosts.
func (e *evidence) registryFacts() {
	agent := e.request.Header.Get("User-Agent")
	open := slices.Contains(openHosts, strings.ToLower(e.target.Hostname())) || strings.EqualFold(e.target.Hostname(), "registry.npmjs.org") && !strings.HasPrefix(e.target.Path, "/@") && !strings.HasPrefix(e.target.Path, "/-/") // packages with a scope may be private
	if open && (e.request.Method == "" || e.request.Method == "GET" || e.request.Method == "HEAD") {
		e.add("open-host", Computed, "address", "%s needs no credentials for reading packages", e.quote(e.target.Host))
	}
	if e.seen["none-sent"] && agent != "" {
		for _, x := range e.c.Earlier() {
			if x.Request == nil || x.Response == nil || x.Probe != "" || x.Response.Status < 200 || x.Response.Status >= 300 || !x.Request.Header.Has("Authorization") {
				continue
			}
			if before := parseTarget(x.Request); !sameHost(before, e.target) && (x.Request.Header.Get("User-Agent") == agent || toolAgent.MatchString(agent)) {
				e.add("sent-elsewhere", Computed, "history", "the client sent credentials to %s, and none to %s", e.quote(before.Host), e.quote(e.target.Host))
			}
		}
	}
	wanted := map[string][]string{} // actions by repository
	for _, c := range e.challenges {
		scope, _ := c.Param("scope")
		for _, m := range registryScope.FindAllStringSubmatch(scope, 8) {
			wanted[m[1]] = append(wanted[m[1]], strings.Split(m[2], ",")...)
		}
	}
	if len(wanted) == 0 || !e.seen["authorization-sent"] {
		return
	}
	lacks := func(name string, granted []string) string {
		for _, action := range wanted[name] {
			if !slices.Contains(granted, action) && !slices.Contains(granted, "*") {
				return action
			}
		}
		return ""
	}
	for _, x := range e.c.Earlier() {
		if x.Request == nil || x.Response == nil || x.Response.Status != 200 {
			continue
		}
		for _, scope := range parseTarget(x.Request).Query()["scope"] {
			for _, m := range registryScope.FindAllStringSubmatch(scope, 8) {
				if action := lacks(m[1], strings.Split(m[2], ",")); action != "" {
					e.add("right-not-asked", Computed, "history", "the token was requested for %s; the challenge requires %s", e.quote(m[2]), e.quote(action))
				}
			}
		}
	}
	if c := e.sent(secretInAuthorization); c != nil && c.token != nil {
		list, ok := c.token.claims["access"].([]any)
		if !ok {
			return
		}
		granted := map[string][]string{}
		for _, one := range list {
			if m, ok := one.(map[string]any); ok {
				name := text(m, "type") + ":" + text(m, "name")
				granted[name] = append(granted[name], texts(m, "actions")...)
			}
		}
		for name := range wanted {
			if action := lacks(name, granted[name]); action != "" {
				e.add("right-not-given", Computed, "claim access", "the challenge requires %s for %s, which the token does not have", e.quote(action), e.quote(name))
			}
		}
	}
}

// tokenUsers lists user names that belong to tokens of one form.
var tokenUsers = []struct {
	user, host string
	form       *regexp.Regexp
	text       string
}{
	{"__token__", ".pypi.org", regexp.MustCompile(`^pypi-`), "a token of PyPI"},
	{"oauth2accesstoken", ".pkg.dev", regexp.MustCompile(`^ya29\.`), "an access token of Google"},
	{"_json_key", ".pkg.dev", regexp.MustCompile(`^\s*\{`), "the file of a service account"},
	{"_json_key_base64", ".pkg.dev", regexp.MustCompile(`^(?:ew|ey)[A-Za-z0-9+/\s]`), "the file of a service account in base64"},
	{"oauth2accesstoken", ".gcr.io", regexp.MustCompile(`^ya29\.`), "an access token of Google"},
	{"_json_key", ".gcr.io", regexp.MustCompile(`^\s*\{`), "the file of a service account"},
}

// shortLived matches user names of tokens with a lifetime of hours.
var shortLived = regexp.MustCompile(`^(?:AWS|oauth2accesstoken|gitlab-ci-token)$`)

// tokenUserFacts compares the user name of Basic with the form of its password.
func (e *evidence) tokenUserFacts() {
	for _, b := range e.credentials {
		if b.kind == secretInBody && b.shape != nil && strings.Contains(strings.ToLower(b.place), "pass") {
			e.add("token-as-password", Computed, b.place, "the password in the body has the form of a %s", b.shape.kind)
		}
	}
	c := e.sent(secretInAuthorization)
	if c != nil && c.scheme == "basic" && shortLived.MatchString(c.user) {
		e.add("short-lived", Computed, c.place, "the user name %s belongs to a token with a lifetime of hours", e.quote(c.user))
	}
	if c == nil || c.scheme != "basic" || c.masked || c.pass == "" {
		return
	}
	for _, u := range tokenUsers {
		host := e.target.Hostname()
		if !hostIs(host, u.host) {
			continue
		}
		switch fits := u.form.MatchString(c.pass); {
		case c.user == u.user && !fits:
			e.add("password-not-of-user", Computed, c.place, "the user name %s belongs to %s; the password has another form", e.quote(u.user), u.text)
		case c.user != u.user && fits:
			e.add("password-not-of-user", Computed, c.place, "the password has the form of %s; its user name is not %s", u.text, e.quote(u.user))
		}
	}
}

// tokenBodyFacts adds facts about clients that authenticate twice (RFC 6749 s2.3).
func (e *evidence) tokenBodyFacts() {
	members := bodyMembers(e.request)
	if e.seen["basic-sent"] && members["client_secret"] != "" {
		e.add("client-twice", Computed, "request", "the client authenticates in Authorization and in the body; only one is allowed (RFC 6749 s2.3)")
	}
	if q, err := url.ParseQuery(e.target.RawQuery); err == nil && e.seen["basic-sent"] && q.Get("client_secret") != "" {
		e.add("client-twice", Computed, "request", "the client authenticates in Authorization and in the address; only one is allowed (RFC 6749 s2.3)")
	}
}
