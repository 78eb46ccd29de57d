package doctor

import (
	"bytes"
	"cmp"
	"embed"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/pelletier/go-toml/v2"
)

// This file reads the products, recognises the product of a case and adds facts about its codes,
// habits and secrets.

//go:embed products/*.toml
var productFiles embed.FS

// product is what the doctor knows of one family of servers. The TOML names of its fields are
// explained in docs/doctor.md.
type product struct {
	Name string
	// Source holds where its codes and signs stand: the repository and files of its source, or the
	// address of its documentation. testdata/products/ has a refusal of each product with a source.
	Source []string
	// Unmistakable: no other product has these codes, so they count without a sign of the product.
	Unmistakable bool
	Signs        []sign
	Decides      map[string][]string // cause → codes that prove it
	Suggests     map[string][]string // cause → codes that it usually has
	Hints        map[string][]string // cause → codes that it may have
	Quirks       []string            // habits, such as "permission-as-401"
	Hollow       []string            // its texts that stand for every cause: their words say nothing; in lower case
	Pages        []string            // words of its own error page or message that are the same for every cause; in lower case
	Secrets      []secretShapeOf
	Users        []cutUser // user names that a shell shortens
}

// sign is a mark of a product. One unmistakable sign or two weak ones identify it.
type sign struct {
	Host     string // the host, or an ending that begins with a dot
	Path     string // a part of the path or the query
	Header   string // the name of a field of the response; with Contains, a part of its value
	Request  string // the name of a field of the request
	Cookie   string // the beginning of a cookie's name
	Realm    string // a part of a challenge's realm
	Scheme   string // a scheme that is offered
	Body     string // a part of the body or of a log; behind ^ the beginning of the body
	Code     string // a code of the response, "member=value"
	Contains string
	Weak     bool
}

// secretShapeOf is a form of secrets that shows who made them.
type secretShapeOf struct {
	Prefix string
	Label  string   // stands in masks: "GitHub token"
	Kind   string   // "access token", "API key", "publishable key", "refresh token"
	Mode   string   // "test" or "live", if the prefix says so
	Hosts  []string // hosts that take it; empty if any host may
	Wrong  bool     // not the kind that an API takes
	Not    []string // hosts of its maker that take another kind
	kind   string   // with the maker, for a fact
	maker  *product
}

// cutUser is a user name that a shell shortens.
type cutUser struct{ Cut, Mark string }

// A codeEntry is one meaning of a code.
type codeEntry struct {
	cause  string
	points int // 8, 4 or 2
	of     *product
}

// knowledge is what products/ holds, prepared for look-up.
type knowledge struct {
	products []*product
	codes    map[string][]codeEntry // by code in lower case; "member=value" or a value
	phrases  []phraseCode           // codes that are parts of texts
	shapes   []*secretShapeOf       // longest prefix first
	pages    []string               // of all products
}

// ownPage reports whether the text of a page is a product's own error page. Its words say nothing
// about this refusal.
func (k *knowledge) ownPage(text string) bool {
	text = strings.Join(strings.Fields(strings.ToLower(text)), " ")
	return slices.ContainsFunc(k.pages, func(p string) bool { return strings.Contains(text, p) })
}

// withoutCommon returns a text without the words that a product says for every cause.
func (k *knowledge) withoutCommon(text string) string {
	lower := strings.ToLower(text)
	if len(lower) != len(text) {
		return text
	}
	for _, p := range k.pages {
		if i := strings.Index(lower, p); i >= 0 {
			text, lower = text[:i]+text[i+len(p):], lower[:i]+lower[i+len(p):]
		}
	}
	return text
}

// phraseCode is a closed message of a product, found in a text.
type phraseCode struct {
	text  string // in lower case
	entry codeEntry
}

// known returns the products. A mistake in an embedded file is a mistake of the program: it panics.
var known = sync.OnceValue(func() *knowledge {
	k, err := readProducts()
	if err != nil {
		panic(err)
	}
	return k
})

// readProducts parses the embedded files of products/.
func readProducts() (*knowledge, error) {
	k := &knowledge{codes: map[string][]codeEntry{}}
	names, err := productFiles.ReadDir("products")
	if err != nil {
		return nil, err
	}
	for _, entry := range names {
		octets, err := productFiles.ReadFile("products/" + entry.Name())
		if err != nil {
			return nil, err
		}
		var file struct{ Product []*product }
		d := toml.NewDecoder(bytes.NewReader(octets))
		d.DisallowUnknownFields()
		if err := d.Decode(&file); err != nil {
			return nil, fmt.Errorf("doctor: products/%s: %w", entry.Name(), err)
		}
		for _, p := range file.Product {
			if err := k.take(p); err != nil {
				return nil, fmt.Errorf("doctor: products/%s: %w", entry.Name(), err)
			}
		}
	}
	slices.SortStableFunc(k.shapes, func(a, b *secretShapeOf) int { return len(b.Prefix) - len(a.Prefix) })
	return k, nil
}

// take checks a product and adds it.
func (k *knowledge) take(p *product) error {
	k.products = append(k.products, p)
	k.pages = append(k.pages, p.Pages...)
	for _, table := range []struct {
		points int
		codes  map[string][]string
	}{{8, p.Decides}, {4, p.Suggests}, {2, p.Hints}} {
		for cause, codes := range table.codes {
			if _, ok := CauseByID(cause); !ok {
				return fmt.Errorf("%s: no cause is called %q", p.Name, cause)
			}
			for _, code := range codes {
				entry := codeEntry{cause, table.points, p}
				code = strings.ToLower(code)
				if part, ok := strings.CutPrefix(code, "~"); ok {
					k.phrases = append(k.phrases, phraseCode{part, entry})
				} else {
					k.codes[code] = append(k.codes[code], entry)
				}
			}
		}
	}
	for i := range p.Secrets {
		s := &p.Secrets[i]
		if s.Prefix == "" || s.Label == "" {
			return fmt.Errorf("%s: the secret %q lacks a prefix or a label", p.Name, s.Prefix)
		}
		s.maker, s.kind = p, cmp.Or(s.Kind, "secret")+" of "+p.Name
		k.shapes = append(k.shapes, s)
	}
	return nil
}

// shapeOf returns the form of a secret, or nil if it is not known.
func shapeOf(value string) *secretShapeOf {
	value = strings.Trim(value, `"' `)
	if len(value) < 4 || strings.Contains(value, " ") && !strings.Contains(value, "<") {
		return nil
	}
	for _, s := range known().shapes {
		if strings.HasPrefix(value, s.Prefix) && len(value) > len(s.Prefix) {
			return s
		}
	}
	return nil
}

// hostIs reports whether host is name, or ends with it if name begins with a dot.
func hostIs(host, name string) bool {
	host, _, _ = strings.Cut(strings.ToLower(host), ":")
	return host == name || strings.HasPrefix(name, ".") && (strings.HasSuffix(host, name) || host == name[1:])
}

// recognise finds the products by their signs in the case.
func (e *evidence) recognise() {
	body := strings.ToLower(string(e.response.Body[:min(len(e.response.Body), 16<<10)]))
	if e.response.Status == 0 { // a log alone
		for _, w := range e.words {
			if w.by == byLog && len(body) < 16<<10 {
				body += "\n" + strings.ToLower(w.text)
			}
		}
	}
	for _, line := range e.c.Log[:min(len(e.c.Log), maxLogLines)] {
		body += "\n" + strings.ToLower(line[:min(len(line), maxSaid)])
	}
	service := serviceAt(e.target.Host)
	for _, p := range known().products {
		points, why, hosted, weak := 0, "", false, true
		for _, s := range p.Signs {
			if !e.shows(s, body) {
				continue
			}
			if points++; !s.Weak {
				points++
				weak = false
			}
			if s.Host != "" && hostIs(e.target.Host, s.Host) && publicHost(e.target.Hostname()) {
				hosted = true
			}
			if why == "" {
				why = cmp.Or(s.Host, s.Header, s.Cookie, s.Realm, s.Path, s.Body, s.Code, s.Scheme, s.Request)
			}
		}
		if weak && service && !slices.ContainsFunc(p.Signs, func(s sign) bool { return s.Host != "" }) {
			continue // a program that people run themselves does not stand at the address of a service
		}
		if points >= 2 {
			e.products = append(e.products, p)
			e.add("product", Computed, "response", "the server is %s: %s", p.Name, e.quote(why))
			if hosted {
				e.add("hosted-service", Computed, "address", "%s is the address of a service, %s", e.quote(e.target.Host), p.Name)
			}
			for _, q := range p.Quirks {
				e.add("quirk-"+q, Computed, "product", "%s: %s", p.Name, quirkText[q])
			}
		}
	}
}

// quirkText explains the habits of products.
var quirkText = map[string]string{
	"permission-as-401":     "a missing permission is answered with 401",
	"refuses-with-403":      "unknown credentials are answered with 403",
	"hides-as-404":          "404 stands for a refusal, so that a name is not given away",
	"refuses-with-200":      "refusals have the status 200",
	"no-challenge":          "refusals have no challenge",
	"signatures-403":        "signed requests are refused with 403",
	"takes-bare-token":      "Authorization takes a token without a scheme",
	"wants-app-password":    "the account's own password is not taken by its API",
	"basic-retired":         "passwords in Basic were switched off",
	"clients-use-digest":    "its usual clients can Digest alone",
	"many-causes-one-401":   "one answer stands for several causes",
	"static-front":          "it checks passwords itself and passes requests on",
	"reads-jwts-alone":      "its tokens are JWTs",
	"sign-in-page-203":      "a sign-in page with 203 or 302 stands for a refusal",
	"keys-beside-token":     "it wants a key field beside Authorization",
	"token-only":            "it takes tokens alone, no user and password",
	"wants-client-audience": "the audience of its tokens is a client ID of Google",
	"takes-escapes":         "its credentials are %-escaped",
	"none-means-no-route":   "the words for missing credentials also stand for an address that does not exist",
	"scoped-elsewhere":      "tokens with scopes are taken at another host, api.atlassian.com",
	"oauth-only":            "an API key is not taken where the data of a user are asked",
}

// shows reports whether the case has a sign of a product.
func (e *evidence) shows(s sign, body string) bool {
	all, any := true, false
	check := func(used bool, ok func() bool) {
		if used && all {
			any = true
			all = ok()
		}
	}
	contains := strings.ToLower(s.Contains)
	check(s.Host != "", func() bool {
		return hostIs(e.target.Host, s.Host) || e.target.Host == "" && e.response.Status == 0 && namesHost(body, s.Host)
	})
	check(s.Path != "", func() bool {
		return strings.Contains(strings.ToLower(e.target.Path+"?"+e.target.RawQuery), strings.ToLower(s.Path))
	})
	check(s.Header != "", func() bool {
		return slices.ContainsFunc(e.response.Header, func(f Field) bool {
			return nameIs(f.Name, s.Header) && strings.Contains(strings.ToLower(f.Value), contains)
		})
	})
	check(s.Request != "", func() bool {
		return slices.ContainsFunc(e.request.Header, func(f Field) bool {
			return nameIs(f.Name, s.Request) && strings.Contains(strings.ToLower(f.Value), contains)
		})
	})
	check(s.Cookie != "", func() bool {
		return slices.ContainsFunc(append(cookieNames(e.request.Header), setCookieNames(e.response.Header)...), func(name string) bool {
			return strings.HasPrefix(strings.ToLower(name), strings.ToLower(s.Cookie))
		})
	})
	check(s.Realm != "", func() bool {
		return slices.ContainsFunc(e.challenges, func(c challenge) bool {
			realm, _ := c.Param("realm")
			return strings.Contains(strings.ToLower(realm), strings.ToLower(s.Realm))
		})
	})
	check(s.Scheme != "", func() bool { return slices.Contains(e.offered(), strings.ToLower(s.Scheme)) })
	check(s.Body != "", func() bool {
		part, first := strings.CutPrefix(strings.ToLower(s.Body), "^")
		return strings.Contains(body, part) && (!first || strings.HasPrefix(strings.TrimSpace(body), part))
	})
	check(s.Code != "", func() bool {
		return slices.ContainsFunc(e.codes, func(c codeToken) bool { return c.is(strings.ToLower(s.Code)) })
	})
	return any && all
}

// namesHost reports whether a log has an address of a host.
func namesHost(log, name string) bool {
	for rest := log; ; {
		i := strings.Index(rest, name)
		if i < 0 {
			return false
		}
		end := i + len(name)
		if strings.Contains(rest[max(0, i-80):i], "://") && (end == len(rest) || strings.ContainsRune("/:?\"' ,)\n", rune(rest[end]))) {
			return true
		}
		rest = rest[end:]
	}
}

// nameIs compares the name of a field with one of a sign. That may end with a hyphen for a family.
func nameIs(name, want string) bool {
	if strings.HasSuffix(want, "-") {
		return len(name) >= len(want) && strings.EqualFold(name[:len(want)], want)
	}
	return strings.EqualFold(name, want)
}

// minPhraseCode is the length of a closed message that counts without a sign of its product.
const minPhraseCode = 16

// minSentence is the length of a closed message that means what its product means by it without a
// sign of the product.
const minSentence = 20

// codeFacts adds a fact for each closed code of a product.
func (e *evidence) codeFacts() {
	decided := map[string]bool{}
	report := func(entry codeEntry, at, code string) {
		switch id := entry.cause; entry.points {
		case 8:
			decided[id] = true
			e.add("code:"+id, Coded, at, "%s of %s", e.quote(code), entry.of.Name)
			if slices.Contains(e.products, entry.of) {
				e.add("product-decides", Coded, at, "%s of %s", e.quote(code), entry.of.Name)
			}
			e.add("product-code", Coded, at, "%s of %s", e.quote(code), entry.of.Name)
		case 4:
			e.add("usual:"+id, Coded, at, "%s of %s", e.quote(code), entry.of.Name)
			if !slices.Contains(e.products, entry.of) {
				break
			}
			e.add("product-code", Coded, at, "%s of %s", e.quote(code), entry.of.Name)
		default:
			e.add("may:"+id, Coded, at, "%s of %s", e.quote(code), entry.of.Name)
		}
	}
	for _, c := range e.codes {
		for _, key := range []string{c.name + "=" + strings.ToLower(c.value), strings.ToLower(c.value), c.name + "=*"} {
			entries := known().codes[key]
			for _, entry := range e.meant(entries, key) {
				full := slices.IndexFunc(entries, func(f codeEntry) bool { return f.of == entry.of && f.cause == entry.cause })
				if c.log && slices.Contains(statusNames, strings.ToLower(c.value)) && !slices.Contains(e.products, entry.of) {
					entry.points = min(entry.points, weak) // every server writes it
				} else if c.log && entry.of.Unmistakable && full >= 0 && (distinctive(key) || strings.HasPrefix(key, "0x")) {
					entry = entries[full] // a code of a log is one that this server wrote
				}
				if c.log && entry.points == 8 {
					e.add("log-code", Coded, c.at, "%s of %s", e.quote(c.value), entry.of.Name)
				}
				if key == c.name+"=*" {
					report(entry, c.at, c.name)
				} else {
					if !strings.Contains(c.value, " ") && entry.points >= strong && entry.cause != "no-credentials" {
						e.reported[c.value] = true
					}
					report(entry, c.at, c.value)
				}
			}
			if slices.ContainsFunc(entries, func(entry codeEntry) bool { return slices.Contains(e.products, entry.of) }) {
				break // the meaning of the same word for other products does not matter
			}
		}
	}
	for _, w := range e.words {
		if w.by == byPerson {
			continue
		}
		lower := strings.ToLower(w.text)
		if strings.Contains(lower, "_") { // "Jwt_is_expired" in a log is the message "Jwt is expired"
			lower += "\n" + strings.ReplaceAll(strings.ReplaceAll(lower, "n_t_", "n't_"), "_", " ")
		}
		for _, p := range known().phrases {
			if strings.Contains(lower, p.text) {
				if !e.request.Header.Has("Authorization") && p.entry.cause == "wrong-secret" && missingOrBad.MatchString(w.text) && !missingOrBad.MatchString(p.text) {
					continue // "missing or invalid token": of two reasons, the one that fits the request
				}
				if !slices.Contains(e.products, p.entry.of) && (!p.entry.of.Unmistakable || len(p.text) < minPhraseCode && w.by != byLog) {
					continue
				}
				entries := []codeEntry{p.entry}
				if w.by != byLog {
					entries = e.meant(entries, p.text)
				}
				for _, entry := range entries {
					if w.by != byLog && !slices.Contains(e.products, entry.of) {
						entry.points = min(entry.points, strong) // other servers may use the same words
					}
					sentence := len(p.text) >= minSentence && (p.entry.points == decides && 4*len(p.text) >= len(w.text) || p.entry.points == strong && 2*len(p.text) >= len(w.text))
					if (slices.Contains(e.products, entry.of) || sentence) && entry.points >= strong {
						e.meaning[w.text] = append(e.meaning[w.text], entry.cause)
						// A whole closed message says more than the general words of another
						// server.
						if sentence && p.entry.points == decides && 2*len(p.text) > len(w.text) && w.by == byServer {
							e.add("reason:"+entry.cause, Coded, w.at, "%s of %s", e.quote(p.text), entry.of.Name)
						}
						if 2*len(p.text) > len(w.text) {
							e.reported[w.text] = true
						}
					}
					if w.by == byLog && entry.points == 8 {
						e.add("log-code", Coded, w.at, "%s of %s", e.quote(p.text), entry.of.Name)
					}
					report(entry, w.at, p.text)
				}
			}
		}
	}
}

// statusNames are the names of statuses that servers of every kind write, such as those of gRPC.
var statusNames = []string{"permission_denied", "permissiondenied", "unauthenticated", "unauthorized", "forbidden", "access_denied", "accessdenied", "authentication_failed"}

// meant returns the entries of a code that count in this case: those of a recognised product, those
// that are unmistakable, and, one step weaker, those of an unknown server if all products agree.
func (e *evidence) meant(entries []codeEntry, code string) (list []codeEntry) {
	for _, entry := range entries {
		if slices.Contains(e.products, entry.of) {
			list = append(list, entry)
		}
	}
	if len(list) > 0 {
		return list
	}
	_, value, named := strings.Cut(code, "=")
	if slices.Contains(oauthErrors, code) || named && slices.Contains(oauthErrors, value) {
		return nil // a code of a standard is no code of a product
	}
	if (value == "unauthorized" || value == "unauthenticated") && len(e.products) > 0 {
		return nil // servers of every kind write it, and the server is known
	}
	for _, entry := range entries {
		if entry.of.Unmistakable && !(plainWords(code) && e.codedHere()) {
			if !strings.ContainsAny(code, "0123456789") {
				entry.points = min(entry.points, strong) // a word that other servers may use too
			}
			list = append(list, entry)
		}
	}
	if len(list) > 0 || !distinctive(code) {
		return list
	}
	for _, entry := range entries {
		if entry.cause != entries[0].cause {
			return nil
		}
	}
	if len(entries) > 0 {
		entry := entries[0]
		entry.points = max(2, entry.points/2)
		list = append(list, entry)
	}
	return list
}

// plainWords reports whether a code is a message in words that the lexicon reads. What they mean to
// another product than that of the case does not matter.
func plainWords(code string) bool {
	_, value, ok := strings.Cut(code, "=")
	return ok && strings.Contains(value, " ") && len(find(normalise(value))) > 0
}

// codedHere reports whether the response has a code of a product that was recognised.
func (e *evidence) codedHere() bool {
	return slices.ContainsFunc(e.codes, func(c codeToken) bool {
		value := strings.ToLower(c.value)
		return slices.ContainsFunc(slices.Concat(known().codes[c.name+"="+value], known().codes[value]), func(entry codeEntry) bool {
			return slices.Contains(e.products, entry.of)
		})
	})
}

// distinctive reports whether a code is more than a common word or a short number.
func distinctive(code string) bool {
	_, value, ok := strings.Cut(code, "=")
	if !ok {
		value = code
	}
	return len(value) >= 9 && strings.ContainsAny(value, "_-. abcdefghijklmnopqrstuvwxyz") && (strings.ContainsAny(value, "_-. ") || len(value) >= 14)
}

// Patterns of tokens in the place of a password, of user names of robots, and of tokens that a
// runner gives to its jobs.
var (
	tokenMark = regexp.MustCompile(`(?i)(?:^|[\s_-])(?:token|pat|personal access token|deploy token|access token)$|^(?:access |personal |deploy |job )?token\b|^(?:gh[pousr]_|glpat-|glcbt-|npm_|pypi-|dckr_)`)
	robotUser = regexp.MustCompile(`^(?:robot\$.+|gitlab\+deploy-token-?\w*|\$oauthtoken|[a-z0-9_]+\+[a-z0-9_]+)$`)
	jobToken  = regexp.MustCompile(`(?i)\bGITHUB_TOKEN\b|\bCI_JOB_TOKEN\b|\bjob token\b|\bSystem\.AccessToken\b|^gitlab-ci-token$|\bworkflow token\b`)
)

// kindOf adds facts about the kind of a secret and the place that it is for.
func (e *evidence) kindOf(c *credential) {
	if s := c.shape; s != nil && c.kind != secretAlone {
		if slices.Contains(e.products, s.maker) && !s.Wrong && !c.masked && len(c.value) >= 20 {
			e.add("secret-well-formed", Computed, c.place, "the secret has the complete form of a %s", s.kind)
		}
		here := e.target.Host != ""
		for _, h := range s.Hosts {
			if hostIs(e.target.Host, h) {
				here = false
			}
		}
		if here && len(s.Hosts) > 0 && publicHost(e.target.Hostname()) {
			e.add("secret-elsewhere", Computed, c.place, "the secret is a %s, the address is %s", s.kind, e.quote(e.target.Host))
		}
		if here && len(s.Hosts) > 0 && slices.Contains(e.products, s.maker) && c.kind == secretInAuthorization {
			e.add("relayed", Computed, c.place, "the secret is a %s, the answer is that of its maker, and the address %s is not: a program in the middle asked for the client", s.kind, e.quote(e.target.Host))
		}
		if here && len(s.Hosts) > 0 && e.vendorHost(s.maker) {
			e.add("secret-of-other-vendor", Computed, c.place, "the secret is a %s; the address is that of another vendor: %s", s.kind, e.quote(e.target.Host))
		}
		if here && len(s.Hosts) == 0 && len(s.Prefix) >= 5 && s.Mode == "" && e.seen["hosted-service"] && e.vendorHost(s.maker) && !slices.Contains(e.products, s.maker) {
			e.add("secret-of-other-vendor", Computed, c.place, "the secret is a %s; the address is that of another vendor: %s", s.kind, e.quote(e.target.Host))
		}
		if (strings.Contains(s.Kind, "publishable") || s.Kind == "public key" && c.kind == secretInAuthorization) && !s.Wrong && !(c.scheme == "basic" && c.pass != "") {
			e.add("public-key-sent", Computed, c.place, "the secret is a %s, a key for pages in a browser", s.kind)
		}
		if s.Wrong && c.kind != secretInBody && !e.seen["token-address"] {
			e.add("secret-of-wrong-kind", Computed, c.place, "the secret is a %s; an API takes another kind", s.kind)
		}
		if slices.ContainsFunc(s.Not, func(h string) bool { return hostIs(e.target.Host, h) }) {
			e.add("secret-not-here", Computed, c.place, "the secret is a %s; %s takes another kind", s.kind, e.quote(e.target.Host))
		}
		if s.Mode != "" {
			e.add("mode-"+s.Mode, Computed, c.place, "the secret is for the %s mode", s.Mode)
		}
		if strings.Contains(s.Kind, "token") || strings.Contains(s.Kind, "key") {
			e.add("secret-is-token", Computed, c.place, "the secret is a %s", s.kind)
		}
		if strings.Contains(s.Kind, "key") {
			e.add("secret-is-key", Computed, c.place, "the secret is a %s", s.kind)
		}
	}
	mark := strings.ToLower(c.mark)
	switch {
	case mark == "":
	case markAppPass.MatchString(mark):
		e.add("app-password-sent", Computed, c.place, "the input says that the secret is an app password")
	case strings.Contains(mark, "password") || strings.Contains(mark, "pw"):
		e.add("password-sent", Computed, c.place, "the input says that the secret is a password")
	case strings.Contains(mark, "personal access token") || personalToken.MatchString(c.mark):
		e.add("secret-is-token", Computed, c.place, "the input says that the secret is a personal access token")
		e.add("api-token-sent", Computed, c.place, "the input says that the secret is a personal access token")
	case strings.Contains(mark, "api token"):
		e.add("secret-is-token", Computed, c.place, "the input says that the secret is an API token")
		e.add("api-token-sent", Computed, c.place, "the input says that the secret is an API token")
	case markOfKey.MatchString(mark):
		e.add("secret-is-key", Computed, c.place, "the input says that the secret is a key")
	}
	if c.scheme == "basic" && c.masked && tokenMark.MatchString(c.pass) {
		e.add("secret-is-token", Computed, c.place, "the input says that the password of Basic is a token")
	}
	if jobToken.MatchString(c.mark) || jobToken.MatchString(c.user) {
		e.add("job-token", Computed, c.place, "the token is that of a job, valid while the job runs and for its own project")
	}
	switch strings.ToLower(c.user) {
	case "x", "x-access-token", "x-oauth-basic", "oauth2", "__token__", "token", "x-token-auth", "oauth", "apikey", "_token", "_json_key", "gitlab-ci-token", "oauth2accesstoken", "api", "aws", "_dcgcloud_token", "00000000-0000-0000-0000-000000000000":
		e.add("secret-is-token", Computed, c.place, "the user name %s is the one that goes with a token", e.quote(c.user))
	}
	if c.scheme == "basic" && c.user == "" && c.pass != "" {
		e.add("secret-is-token", Computed, c.place, "no user name stands before the password: it is a token or a key")
	}
	if robotUser.MatchString(c.user) {
		e.add("secret-is-token", Computed, c.place, "the user name %s is that of a robot or a deploy token", e.quote(c.user))
	}
	if strings.HasSuffix(strings.ToLower(c.user), "/token") {
		e.add("secret-is-token", Computed, c.place, "the user name ends with /token: a token is its password")
	}
	if e.seen["secret-is-token"] {
		return
	}
	if c.scheme == "basic" && !e.seen["app-password-sent"] && c.shape == nil && c.pass != "" && c.token == nil && !c.masked {
		e.add("password-sent", Computed, c.place, "Basic has a password without the form of a token")
	}
}

// personalToken matches the short name of a personal access token.
var personalToken = regexp.MustCompile(`\bPAT\b|\bpat\b`)

// markOfKey matches words in place of a secret that call it a key; the name Keycloak does not
// count.
var markOfKey = regexp.MustCompile(`(?:^|[^a-z])(?:api|access|secret|license|sdk|app|master|admin)?[-_ ]?keys?(?:$|[^a-z])`)

// vendorHost reports whether the address belongs to a product other than maker by its host.
func (e *evidence) vendorHost(maker *product) bool {
	for _, p := range e.products {
		if p != maker && slices.ContainsFunc(p.Signs, func(s sign) bool { return s.Host != "" && hostIs(e.target.Host, s.Host) }) {
			return true
		}
	}
	return false
}

// publicHost reports whether a name may be a public one.
func publicHost(name string) bool {
	return strings.Contains(name, ".") && !localHost(name) && strings.Trim(name, "0123456789.") != ""
}
