package doctor

import (
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// This file compares the form of the credentials with the forms that an API takes by its
// documentation (habits.txt).

//go:embed habits.txt
var habitFile string

// habit is the way in which one API takes credentials, by its documentation.
type habit struct {
	name    string
	places  []string // where it holds; see habits.txt
	takes   []string // forms of credentials; see formTaken
	retired []string // forms that it took once
	beside  []string // fields that belong beside the credentials
}

// habits returns the content of habits.txt. It panics on an invalid line: the file is part of the
// program.
var habits = sync.OnceValue(func() []habit {
	list, err := readHabits(habitFile)
	if err != nil {
		panic(err)
	}
	return list
})

// formShape matches a form of credentials: a scheme, bare, cookie or body; a field with a colon
// behind it; a parameter with a question mark before it. Behind an equals sign stands how the
// secret begins, or the user name of Basic; behind a star at the end the form takes no keys.
var formShape = regexp.MustCompile(`^(?:[a-z][a-z0-9-]+(?:=\S+)?\*?|[A-Za-z][A-Za-z0-9_-]+:(?:=!\S+)?|\?[A-Za-z0-9_-]+)$`)

// readHabits parses habits.txt: lines "name | places | forms | retired forms | fields beside"; the
// last three may be empty.
func readHabits(file string) (list []habit, err error) {
	first := map[string]int{} // by place: the line that has it
	for i, line := range strings.Split(file, "\n") {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		parts := strings.Split(line, "|")
		if len(parts) < 3 || len(parts) > 5 {
			return nil, fmt.Errorf("doctor: habits.txt line %d: the line has %d parts, 3 to 5 are allowed", i+1, len(parts))
		}
		h := habit{name: strings.TrimSpace(parts[0]), places: strings.Fields(parts[1]), takes: strings.Fields(parts[2])}
		if name, ok := strings.CutPrefix(strings.TrimSpace(parts[1]), "@"); ok {
			h.places = []string{"@" + name}
			if !slices.ContainsFunc(known().products, func(p *product) bool { return p.Name == name }) {
				return nil, fmt.Errorf("doctor: habits.txt line %d: no product is called %q", i+1, name)
			}
		}
		for _, place := range h.places {
			if n, ok := first[place]; ok {
				return nil, fmt.Errorf("doctor: habits.txt line %d: %s stands in line %d too", i+1, place, n)
			}
			first[place] = i + 1
		}
		if len(parts) > 3 {
			h.retired = strings.Fields(parts[3])
		}
		if len(parts) > 4 {
			h.beside = strings.Fields(parts[4])
		}
		for _, field := range h.beside {
			if strings.Trim(field, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
				return nil, fmt.Errorf("doctor: habits.txt line %d: %q is no name of a field", i+1, field)
			}
		}
		for _, form := range slices.Concat(h.takes, h.retired) {
			if !formShape.MatchString(form) {
				return nil, fmt.Errorf("doctor: habits.txt line %d: %q is no form of credentials", i+1, form)
			}
		}
		list = append(list, h)
	}
	return list, nil
}

// place returns the place of the habit that is one of the server of this case, or "".
func (h habit) place(e *evidence) string {
	i := slices.IndexFunc(h.places, func(place string) bool {
		if name, ok := strings.CutPrefix(place, "@"); ok {
			return slices.ContainsFunc(e.products, func(p *product) bool { return p.Name == name })
		}
		host, path, _ := strings.Cut(place, "/")
		path = strings.TrimPrefix(path, "/")
		if path != "" && !strings.Contains(strings.ToLower(e.target.Path), "/"+path) {
			return false
		}
		if port, ok := strings.CutPrefix(host, ":"); ok {
			return e.target.Port() == port
		}
		if name, ok := strings.CutPrefix(host, "~"); ok {
			label, _, _ := strings.Cut(strings.ToLower(e.target.Hostname()), ".")
			return strings.Contains("-"+label+"-", "-"+name+"-")
		}
		return host == "" || hostIs(e.target.Host, host)
	})
	if i < 0 {
		return ""
	}
	return h.places[i]
}

// serviceAt reports whether a host is that of a service of habits.txt.
func serviceAt(host string) bool {
	return slices.ContainsFunc(habits(), func(h habit) bool {
		return slices.ContainsFunc(h.places, func(place string) bool {
			name, _, _ := strings.Cut(place, "/")
			return name != "" && hostIs(host, name)
		})
	})
}

// elsewhere reports whether a secret is one of another server than that of the habit: a token with
// claims, or a key of another maker.
func (h habit) elsewhere(c *credential) bool {
	return c.token != nil || c.shape != nil && !strings.Contains(c.shape.maker.Name, h.name)
}

// Words of the user for a secret.
var (
	apiKeyMark = regexp.MustCompile(`(?i)\bkey\b|\b(?:api|personal|user|bot|hec|job|integration|service|app)[- _]?(?:api[- _]?|access[- _]?)?(?:token|key)\b|\bapi[-_]?key\b|\bapi[- _]?secret\b|\bPAT\b|JOB_TOKEN|API_TOKEN|API_KEY`)
	jobMark    = regexp.MustCompile(`(?i)\bjob[ _-]?token\b|CI_JOB_TOKEN`)
)

// apiKey reports whether a secret is a key or an API token, by its form or by its mark. Tokens of
// OAuth are neither.
func apiKey(c *credential) bool {
	return apiKeyMark.MatchString(c.mark) || c.shape != nil || !c.masked && c.token == nil
}

// formTaken reports whether a credential of the request has a form. For Basic, the value of the
// form is the user name that a token is sent with: "*/token" matches an ending, "-" a token in the
// place of the user name.
func (e *evidence) formTaken(c *credential, form string, retired bool) bool {
	if parameter, ok := strings.CutPrefix(form, "?"); ok {
		return strings.EqualFold(c.place, "parameter "+parameter) || !retired && e.target.Query().Has(parameter)
	}
	if field, other, ok := strings.Cut(form, ":"); ok && !strings.Contains(field, "=") {
		if other, ok = strings.CutPrefix(other, "=!"); ok && strings.HasPrefix(c.value, other) {
			return false
		}
		return c.kind == secretInField && strings.EqualFold(c.place, field) || !retired && e.request.Header.Has(field)
	}
	form, tokensAlone := strings.CutSuffix(form, "*")
	if tokensAlone && apiKey(c) {
		return false
	}
	name, begin, _ := strings.Cut(form, "=")
	switch name {
	case "cookie":
		return c.kind == secretInCookie
	case "body":
		return c.kind == secretInBody
	case "path":
		return c.place == "path"
	case "bare":
		return c.kind == secretInAuthorization && c.scheme == "" && strings.HasPrefix(c.value, begin)
	case "basic":
		if begin == "app-password" {
			return c.kind == secretInAuthorization && c.scheme == "basic" && e.seen["app-password-sent"]
		}
		if begin == "password" {
			return c.kind == secretInAuthorization && c.scheme == "basic" && !e.seen["secret-is-token"] && (!retired || e.seen["password-sent"])
		}
		return c.kind == secretInAuthorization && c.scheme == "basic" && (begin == "" || !e.seen["secret-is-token"] && !e.seen["secret-is-key"] || c.user == "" || userFits(c, begin))
	}
	if c.kind != secretInAuthorization || c.scheme != name {
		return false
	}
	if other, ok := strings.CutPrefix(begin, "!"); ok {
		return !strings.HasPrefix(c.value, other) && (other != "ey" || !strings.Contains(strings.ToLower(c.mark), "jwt"))
	}
	if begin == "" || strings.HasPrefix(c.value, begin) {
		return true
	}
	// A mask does not show how the secret begins, but "40 hex" has no such begin.
	return strings.HasPrefix(c.value, "<") && e.seen["secret-is-key"] == retired && !e.seen["api-token-sent"] && !strings.Contains(strings.ToLower(c.mark), "hex")
}

// nameWord matches words that stand in place of a user name that is no mail address.
var nameWord = regexp.MustCompile(`(?i)\b(?:user ?name|login(?: name)?)\b`)

// userFits reports whether the user name of Basic is the one that belongs to a token.
func userFits(c *credential, want string) bool {
	switch {
	case want == "@":
		return strings.Contains(c.user, "@") || strings.HasPrefix(c.user, "x-") || c.masked && !nameWord.MatchString(c.user)
	case want == "-":
		return c.pass == "" || shapeOf(c.user) != nil || tokenWords.MatchString(c.user)
	case strings.HasPrefix(want, "*"):
		return strings.HasSuffix(strings.ToLower(c.user), want[1:])
	}
	return strings.EqualFold(c.user, want)
}

// gitlabFields are the fields that GitLab takes its tokens in, by the beginning of a token.
var gitlabFields = map[string]string{"glpat": "PRIVATE-TOKEN", "glcbt": "JOB-TOKEN", "gldt-": "Deploy-Token"}

// jobPath matches the addresses of GitLab that take the token of a job.
var jobPath = regexp.MustCompile(`(?i)/api/v4/(?:job(?:/|$)|projects/[^/]+/(?:packages|jobs/[^/]+/(?:artifacts|trace)|jobs/artifacts|releases|trigger|terraform|secure_files|environments|deployments|registry)|groups/[^/]+/-/packages|packages)`)

// Words of the user about where or when the same request is accepted.
var (
	otherNetwork = regexp.MustCompile(`(?i)\b(?:works?|worked|succeeds?|is (?:accepted|fine|200)|200) (?:fine )?(?:from|at|in|on|over|through|via|with) (?:the |my |our |a |an |another )*(?:office|home|vpn|laptop|lan|local network|network|corporate network|intranet|other (?:network|machine|host|country|ip)|\w+ ?ip\b|hotspot|phone|data ?cent(?:er|re)|country)|` +
		`\bnot from (?:the |my |our |a )*(?:\w+ )?(?:server|runner|cloud|vps|data ?cent(?:er|re)|office|home|vpn|outside|internet|container)\b`)
	afterOrganisation = regexp.MustCompile(`(?i)\b(?:works?|worked|accepted|200) (?:again )?(?:after|once|when)\b.{0,60}\b(?:sso|saml|single sign-?on|consent|organi[sz]ation|identity provider)\b`)
)

// toldNetwork adds facts about words of the user: where or when the same request is accepted.
func (e *evidence) toldNetwork() {
	for i, line := range e.c.Log[:min(len(e.c.Log), maxLogLines)] {
		at := fmt.Sprintf("log line %d", i+1)
		if otherNetwork.MatchString(line) {
			e.add("works-at-other-network", Said, at, "the input says that the request works from another network: %s", e.quote(line))
		}
		if afterOrganisation.MatchString(line) {
			e.add("works-after-organisation", Said, at, "the input says that the request works after a sign-in of the organisation: %s", e.quote(line))
		}
	}
}

// tokenWords matches words that stand in place of a token or key.
var tokenWords = regexp.MustCompile(`(?i)\b(?:token|key|secret)\b`)

// habitFacts compares the form of the credentials with the forms that the server takes by its
// documentation.
func (e *evidence) habitFacts() {
	e.toldNetwork()
	var sent []*credential
	for i := range e.credentials {
		if c := &e.credentials[i]; c.kind != secretAlone && c.kind != secretInProxyAuthorization && strings.TrimSpace(c.value) != "" {
			sent = append(sent, c)
		}
	}
	if len(sent) == 0 || e.response.Status == 407 {
		return
	}
	for _, c := range sent {
		if job := strings.EqualFold(c.place, "JOB-TOKEN") || strings.EqualFold(c.place, "parameter job_token") || strings.Contains(c.value, "CI_JOB_TOKEN") || strings.HasPrefix(c.value, "glcbt-"); job &&
			strings.Contains(e.target.Path, "/api/v4/") && !jobPath.MatchString(e.target.Path) {
			e.add("job-token-elsewhere", Computed, c.place, "the token is that of a job; GitLab takes it at few addresses, and not at this one")
		}
		if field := gitlabFields[c.value[:min(len(c.value), 5)]]; field != "" && c.kind == secretInField && !strings.EqualFold(c.place, field) && (strings.EqualFold(c.place, "PRIVATE-TOKEN") || strings.EqualFold(c.place, "JOB-TOKEN") || strings.EqualFold(c.place, "Deploy-Token")) {
			e.add("secret-of-wrong-kind", Computed, c.place, "GitLab takes a token of this kind in the field %s", field)
		}
		if c.scheme == "bearer" && hostIs(e.target.Host, ".core.windows.net") && e.request.Whole && !e.request.Header.Has("X-Ms-Version") && !signedAddress(e.target) {
			e.add("companion-absent", Computed, "X-Ms-Version", "Azure Storage takes Bearer only beside the field X-Ms-Version, and the request does not have it")
		}
		if c.scheme == "bearer" && jobMark.MatchString(c.mark) && strings.Contains(e.target.Path, "/api/v4/") {
			e.add("form-not-taken", Computed, c.place, "GitLab takes the token of a job in the field JOB-TOKEN; the request has it as Bearer")
			return
		}
		if c.scheme == "basic" && c.user == "guest" && !localHost(e.target.Hostname()) &&
			(e.target.Port() == "15672" || slices.ContainsFunc(e.products, func(p *product) bool { return p.Name == "RabbitMQ" })) {
			e.add("user-of-localhost", Computed, c.place, "the user name is guest, which RabbitMQ accepts only from its own machine")
		}
	}
	for _, h := range habits() {
		place := h.place(e)
		path := strings.HasPrefix(place, "/") && !strings.HasPrefix(place, "//") // the path alone tells the program: another one or a version of it may take more
		if place == "" || path && h.elsewhere(sent[0]) {
			continue
		}
		for _, c := range sent {
			if c.kind == secretInField && c.token != nil && slices.Contains(h.takes, "bearer*") {
				e.add("form-not-taken", Computed, c.place, "%s takes tokens of OAuth as Bearer; the request has one in %s", h.name, e.quote(c.place))
				return
			}
		}
		fits := func(forms []string, retired bool) (place string) {
			for _, c := range sent {
				if slices.ContainsFunc(forms, func(form string) bool { return e.formTaken(c, form, retired) }) {
					return c.place
				}
			}
			return ""
		}
		if at := fits(h.retired, true); at != "" {
			e.add("form-retired", Computed, at, "%s no longer takes credentials in this form; it takes %s", h.name, showForms(h.takes))
			return
		}
		for _, name := range h.beside {
			// The companion of a key in a field stands in a field too; a token in Authorization has none there.
			if strings.HasSuffix(h.takes[0], ":") && sent[0].kind != secretInField {
				break
			}
			if e.request.Whole && !e.request.Header.Has(name) {
				e.add("companion-absent", Computed, name, "%s requires the field %s beside the credentials, and the request does not have it", h.name, name)
			}
		}
		if c := sent[0]; !path && c.kind == secretInAuthorization && c.scheme == "" && slices.Contains(h.takes, "bare") && !e.seen["quirk-takes-bare-token"] {
			e.add("quirk-takes-bare-token", Computed, c.place, "%s: Authorization takes a token without a scheme", h.name)
		}
		if len(h.takes) == 0 || fits(h.takes, false) != "" {
			return
		}
		c := sent[0]
		if slices.Contains(h.takes, "elsewhere") && c.kind != secretInBody {
			e.add("address-of-pages", Computed, "address", "%s is the address of pages; the API of the service has another host", e.quote(e.target.Host))
			return
		}
		if c.kind == secretInCookie || c.kind == secretInBody {
			return // a page, or a sign-in: other facts speak of it
		}
		if c.kind == secretInAuthorization && c.scheme == "" {
			if !slices.ContainsFunc(h.takes, func(form string) bool { return strings.HasSuffix(form, ":") }) {
				e.add("scheme-wanted", Computed, c.place, "%s takes credentials as %s; the request has no scheme", h.name, showForms(h.takes))
			}
			return
		}
		if c.scheme != "" && slices.ContainsFunc(h.takes, func(form string) bool {
			return strings.HasPrefix(form, c.scheme+"=!") && !e.formTaken(c, strings.TrimSuffix(form, "*"), false)
		}) {
			e.add("kind-not-taken", Computed, c.place, "the tokens of %s are no JWTs, and the request has one", h.name)
			return
		}
		basic := slices.IndexFunc(h.takes, func(form string) bool { return strings.HasPrefix(form, "basic=") && form != "basic=password" })
		if c.scheme == "basic" && basic >= 0 {
			e.add("user-not-of-token", Computed, c.place, "%s takes a token %s, and the user name is %s", h.name, showUser(h.takes[basic]), e.quote(c.user))
			return
		}
		id := "form-not-taken"
		if path {
			id = "form-unusual"
		}
		e.add(id, Computed, c.place, "%s takes credentials as %s; the request has them in %s", h.name, showForms(h.takes), e.showPlace(c))
		return
	}
}

// showUser returns text for the user name that belongs to a token.
func showUser(form string) string {
	switch user := strings.TrimPrefix(form, "basic="); {
	case user == "-":
		return "in the place of the user name, with an empty password"
	case user == "@":
		return "with a mail address as the user name"
	case strings.HasPrefix(user, "*"):
		return "with a user name that ends with " + user[1:]
	default:
		return "with the user name " + user
	}
}

// showForms returns text for the forms.
func showForms(forms []string) string {
	var words []string
	for _, form := range forms {
		form, tokens := strings.CutSuffix(form, "*")
		name, begin, _ := strings.Cut(form, "=")
		switch {
		case name == "elsewhere":
			continue
		case strings.HasPrefix(name, "?"):
			name = "the parameter " + name[1:]
		case strings.HasSuffix(name, ":"):
			name = "the field " + strings.TrimSuffix(name, ":")
		case name == "bare":
			name = "Authorization without a scheme"
		case name == "cookie", name == "body", name == "path":
			name = "a secret in the " + name
		default:
			name = strings.ToUpper(name[:1]) + name[1:]
		}
		switch {
		case tokens:
			name += " with a token of OAuth"
		case begin != "" && begin[0] != '!' && !strings.HasPrefix(form, "basic="):
			name += " with a secret that begins with " + begin
		}
		if !slices.Contains(words, name) {
			words = append(words, name)
		}
	}
	return strings.Join(words, " or ")
}

// showPlace returns text for the place of a credential.
func (e *evidence) showPlace(c *credential) string {
	if c.scheme != "" {
		return "the scheme " + e.quote(c.scheme)
	}
	return e.quote(c.place)
}
