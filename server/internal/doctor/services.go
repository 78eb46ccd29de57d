package doctor

import (
	"regexp"
	"slices"
	"strings"
)

// serviceRules are the rules of services on the Internet. They belong to the table of rules.go.
var serviceRules = []rule{
	// A service on the Internet has no front end that the operator could mend.
	{"header-stripped", "hosted-service !code:header-stripped", contradicts, "hosted"},
	{"two-sign-ins-one-field", "hosted-service", contradicts, "hosted"},
	{"challenge-lost", "hosted-service", -weak, "hosted"},
	{"wrong-secret", "hosted-service said:none authorization-sent !scheme-not-offered !scheme-missing", weak, "hosted"},
	{"wrong-secret", "hosted-service said:login authorization-sent !scheme-not-offered !scheme-missing", weak, "hosted"},
	{"placeholder", "echoed-placeholder", leads, "echo"},
	{"wrong-place", "echoed-of-other-vendor", leads, "echo"},
	{"wrong-secret", "echoed-placeholder", contradicts, "echo"},
	{"wrong-secret", "echoed-of-other-vendor", contradicts, "echo"},
	{"not-a-jwt", "said-claim", contradicts, "claim"},

	// A server that names another reason read the password.
	{"app-password-needed", "said-special !said:app-password-needed !said:second-factor-owed !said:wrong-secret", contradicts, "special"},
	{"app-password-needed", "said:not-permitted !said:wrong-secret !said:app-password-needed", contradicts, "special"},
	{"app-password-needed", "usual:not-permitted !said:wrong-secret", contradicts, "special"},
	{"app-password-needed", "status-404", contradicts, "404"},
	{"app-password-needed", "status-403 said-nothing", contradicts, "special"},
}

// addressWords matches addresses and names of repositories: their parts are no words of a sentence.
var addressWords = regexp.MustCompile(`https?://[^\s"'<>]*[^\s"'<>.,;:)\]]|\b[\w.-]+/[\w.-]+\.git\b`)

// keyEchoed matches the secret that a server repeats.
var keyEchoed = regexp.MustCompile("(?i)\\b(?:keys?|token|secret|credentials?) (?:provided|received|passed|given|sent|supplied)\\s*[:=]\\s*[\"'`]?([^\\s\"'`,;\\\\]{3,200})")

// echoFacts looks at the secret that the server repeats: "Incorrect API key provided: undefined". Services hide its middle.
func (e *evidence) echoFacts() {
	if e.response.Status < 400 {
		return
	}
	for _, m := range keyEchoed.FindAllSubmatch(e.response.Body[:min(len(e.response.Body), 4<<10)], 4) {
		value := strings.TrimRight(string(m[1]), ".")
		if placeholderShape.MatchString(value) || exampleShape.MatchString(value) || strings.HasPrefix(value, "${") || strings.HasPrefix(value, "https://") {
			e.add("echoed-placeholder", Computed, "body", "the server repeats what it got, and that is no secret: %s", e.quote(value))
		} else if s := shapeOf(value); s != nil && len(s.Hosts) > 0 && e.vendorHost(s.maker) && !slices.ContainsFunc(s.Hosts, func(h string) bool { return hostIs(e.target.Host, h) }) {
			e.add("echoed-of-other-vendor", Computed, "body", "the server repeats the begin of the secret, which is a %s", s.kind)
		}
	}
}
