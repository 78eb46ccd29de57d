package doctor

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// This file checks the times, the issuer, the audience and the scopes of tokens, and signed
// requests and addresses.

// showTime returns a time as a fact shows it.
func showTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

// Limits of the comparison of two clocks.
const (
	clockLeeway = 5 * time.Second  // Date has whole seconds, and a response takes time
	clockError  = 15 * time.Minute // a clock that is wrong is seldom wrong by more than this and right in date
)

// tokenFacts compares each JSON Web Token with the time of the response, the challenge and the
// documents of its issuer.
func (e *evidence) tokenFacts() {
	for i := range e.credentials {
		c := &e.credentials[i]
		if c.token == nil || c.kind == secretInCookie {
			continue
		}
		before := len(e.list)
		e.tokenTimes(c)
		e.tokenIdentity(c)
		e.tokenTenant(c)
		e.tokenKind(c)
		e.tokenBinding(c)
		e.tokenRights(c)
		if c.token.partial {
			e.forgetAbsent(before)
		}
	}
	for _, line := range e.request.Header.Values("Cookie") {
		for pair := range strings.SplitSeq(line, ";") {
			name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
			if t := decodeToken(value); t != nil {
				if exp := numericDate(t.claims, "exp"); !exp.IsZero() && !e.at.IsZero() && exp.Before(e.at) {
					e.add("cookie-token-past", Computed, "Cookie", "the cookie %s holds a token that was good until %s, Date is %s", e.quote(name), showTime(exp), showTime(e.at))
				}
			}
		}
	}
	if x := e.sent(secretInAuthorization); x != nil && x.token != nil {
		e.add("token-readable", Computed, x.place, "the token can be read")
	}
}

// forgetAbsent removes the facts about absent members of a token, from the place before on.
func (e *evidence) forgetAbsent(before int) {
	kept := e.list[:before]
	for _, f := range e.list[before:] {
		if strings.HasSuffix(f.ID, "-absent") || f.ID == "unbound" || f.ID == "alg-none" {
			delete(e.seen, f.ID)
			continue
		}
		kept = append(kept, f)
	}
	e.list = kept
}

// tokenTimes compares exp, nbf and iat (RFC 7519 s4.1) with the reference.
func (e *evidence) tokenTimes(c *credential) {
	ref, name := e.reference()
	dated := name == "Date"
	exp, nbf, iat := numericDate(c.token.claims, "exp"), numericDate(c.token.claims, "nbf"), numericDate(c.token.claims, "iat")
	compare := func(claim string, t time.Time) string {
		d := t.Sub(ref)
		if d < 0 {
			return fmt.Sprintf("%s is %s, %s is %s: %s before", claim, showTime(t), name, showTime(ref), showDuration(d))
		}
		return fmt.Sprintf("%s is %s, %s is %s: %s after", claim, showTime(t), name, showTime(ref), showDuration(d))
	}
	for _, name := range []string{"exp", "nbf", "iat"} {
		switch v := c.token.claims[name].(type) {
		case json.Number:
			if n, err := v.Float64(); err == nil && n > 1e11 {
				e.add("claim-form", Computed, "claim "+name, "%s counts milliseconds; seconds belong there (RFC 7519 s2)", name)
			}
		case nil:
		default:
			e.add("claim-form", Computed, "claim "+name, "%s is no number (RFC 7519 s2)", name)
		}
	}
	switch {
	case exp.IsZero() && c.token.claims["exp"] != nil: // of a wrong form
	case exp.IsZero():
		e.add("exp-absent", Computed, "claim exp", "the token has no exp")
	case !exp.After(ref) && dated:
		e.add("exp-past", Computed, "claim exp", "%s", compare("exp", exp))
		if ref.Sub(exp) < 2*time.Minute {
			e.add("exp-just-past", Computed, "claim exp", "%s", compare("exp", exp))
		}
	case !exp.After(ref):
		e.add("exp-past-now", Computed, "claim exp", "%s; the response has no Date", compare("exp", exp))
	case dated:
		e.add("exp-ahead", Computed, "claim exp", "%s", compare("exp", exp))
	default: // the refusal was before now, so the token had time left
		e.add("exp-ahead", Computed, "claim exp", "%s; the response has no Date", compare("exp", exp))
	}
	if !dated {
		return
	}
	if d := ref.Sub(iat); !iat.IsZero() && d >= 0 && d <= 5*time.Second {
		e.add("token-fresh", Computed, "claim iat", "%s: one of several servers with another clock may refuse it", compare("iat", iat))
	}
	if d := iat.Sub(ref); !iat.IsZero() && d > 0 && d <= clockLeeway {
		e.add("iat-just-ahead", Computed, "claim iat", "%s", compare("iat", iat))
	}
	for _, x := range e.c.Earlier() {
		if x.Response != nil {
			if t := parseHTTPDate(x.Response.Header.Get("Date")); !t.IsZero() && t.After(ref) {
				e.add("dates-backwards", Computed, "Date", "an earlier response has the Date %s, this one has %s", showTime(t), showTime(ref))
			}
		}
	}
	early := func(t time.Time) bool { return !t.IsZero() && t.Sub(ref) > clockLeeway }
	switch {
	case early(iat):
		e.add("iat-ahead", Computed, "claim iat", "%s: issuer and server differ in time", compare("iat", iat))
		if early(nbf) {
			e.add("nbf-ahead", Computed, "claim nbf", "%s", compare("nbf", nbf))
		}
	case early(nbf) && (nbf.Sub(ref) > clockError || !iat.IsZero() && nbf.Sub(iat) > time.Minute):
		e.add("nbf-ahead", Computed, "claim nbf", "%s", compare("nbf", nbf))
		e.add("nbf-far-ahead", Computed, "claim nbf", "%s, iat is not: the issuer meant it", compare("nbf", nbf))
	case early(nbf):
		e.add("nbf-ahead", Computed, "claim nbf", "%s", compare("nbf", nbf))
	}
}

// tenants are the ends of hosts of vendors that give each customer a host.
var tenants = []string{".supabase.co", ".auth0.com", ".okta.com", ".oktapreview.com", ".b2clogin.com"}

// tokenTenant compares the customer of a vendor that a token names with the one of the address.
func (e *evidence) tokenTenant(c *credential) {
	host := strings.ToLower(e.target.Hostname())
	if other := strings.ToLower(issuerHost(text(c.token.claims, "iss"))); hostIs(host, ".okta.com") && hostIs(other, ".oktapreview.com") || hostIs(host, ".oktapreview.com") && hostIs(other, ".okta.com") {
		e.add("token-of-other-tenant", Computed, c.place, "the token names %s; the address is that of %s", e.quote(other), e.quote(host))
	}
	for _, end := range tenants {
		here, ok := strings.CutSuffix(host, end)
		if !ok || strings.Contains(here, "<") {
			continue
		}
		there := ""
		if u, err := url.Parse(text(c.token.claims, "iss")); err == nil {
			there, _ = strings.CutSuffix(strings.ToLower(u.Hostname()), end)
			if there == strings.ToLower(u.Hostname()) {
				there = ""
			}
		}
		if ref := text(c.token.claims, "ref"); ref != "" && end == ".supabase.co" {
			there = strings.ToLower(ref)
		}
		if there != "" && there != here {
			e.add("token-of-other-tenant", Computed, c.place, "the token names %s; the address is that of %s", e.quote(there+end), e.quote(host))
		}
	}
	for _, name := range []string{"url", "path"} {
		if named := strings.Trim(text(c.token.claims, name), "/"); c.kind == secretInQuery && named != "" && !strings.HasSuffix(strings.Trim(e.target.Path, "/"), named) && !strings.Contains(named, "://") {
			e.add("token-of-other-address", Computed, "claim "+name, "%s of the token is %s, the address has another path", name, e.quote(named))
		}
	}
}

// tokenIdentity compares iss, aud and kid with what the server named.
func (e *evidence) tokenIdentity(c *credential) {
	claims := c.token.claims
	iss, aud := text(claims, "iss"), texts(claims, "aud")
	for _, name := range []string{"sub", "iss", "exp", "aud"} {
		if claims[name] == nil {
			e.add("claim-absent", Computed, "claim "+name, "the token has no %s", name)
			e.add(name+"-absent", Computed, "claim "+name, "the token has no %s", name)
		} else if claims[name] == "" {
			e.add("claim-empty", Computed, "claim "+name, "%s of the token is empty", name)
		}
	}
	if text(c.token.header, "kid") == "" {
		e.add("kid-absent", Computed, "header kid", "the token has no kid")
	}
	alg := text(c.token.header, "alg")
	if strings.HasPrefix(alg, "HS") {
		e.add("alg-symmetric", Computed, "header alg", "the token is signed with a shared secret (alg %s)", e.quote(alg))
	}
	if iss == "https://accounts.google.com" || iss == "accounts.google.com" {
		e.add("iss-google", Computed, "claim iss", "iss is Google; aud of its identity tokens is the client ID of the receiver")
		if !slices.ContainsFunc(aud, func(a string) bool {
			return strings.HasSuffix(a, ".apps.googleusercontent.com") || strings.HasPrefix(a, "/projects/")
		}) {
			e.add("aud-no-client", Computed, "claim aud", "aud is %s, which is no client ID of Google", e.quote(strings.Join(aud, " ")))
		}
	}
	if strings.EqualFold(alg, "none") || alg == "" {
		e.add("alg-none", Computed, "header alg", "the token is not signed (alg %s)", e.quote(alg))
	}
	for _, ch := range e.challenges {
		if resource, _ := ch.Param("resource"); resource != "" && len(aud) > 0 && !slices.ContainsFunc(aud, func(a string) bool {
			return strings.EqualFold(strings.TrimRight(a, "/"), strings.TrimRight(resource, "/"))
		}) && vendorHosts(aud[0]) == nil {
			e.add("aud-other-than-service", Computed, "claim aud", "aud is %s, the challenge names the resource %s", e.quote(strings.Join(aud, " ")), e.quote(resource))
		}
		authority, _ := ch.Param("authorization")
		if authority == "" {
			authority, _ = ch.Param("authorization_uri")
		}
		if named, tid := tenantIn.FindString(authority), text(claims, "tid"); named != "" && tid != "" && !strings.EqualFold(named, tid) {
			e.add("tid-other-than-set", Computed, "claim tid", "tid is %s, the challenge names the tenant %s", e.quote(tid), e.quote(named))
		}
		if service, _ := ch.Param("service"); service != "" && len(aud) > 0 && !slices.Contains(aud, service) {
			e.add("aud-other-than-service", Computed, "claim aud", "aud is %s, the challenge names the service %s", e.quote(strings.Join(aud, " ")), e.quote(service))
		}
	}
	if len(aud) > 0 && strings.HasPrefix(text(claims, "sub"), "system:serviceaccount:") && !slices.Contains(aud, iss) && !slices.Contains(aud, "api") && e.sent(secretInAuthorization) == c &&
		slices.ContainsFunc(e.products, func(p *product) bool { return p.Name == "Kubernetes" }) {
		e.add("aud-not-of-cluster", Computed, "claim aud", "aud is %s; the API server of a cluster is the audience that iss names", e.quote(strings.Join(aud, " ")))
	}
	if len(aud) > 0 && e.target.Host != "" && e.sent(secretInAuthorization) == c {
		elsewhere := true
		for _, a := range aud {
			u, err := url.Parse(a)
			if slices.ContainsFunc(vendorHosts(a), func(h string) bool { return hostIs(e.target.Hostname(), "."+h) }) {
				elsewhere = false
			}
			if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || localHost(e.target.Hostname()) || !strings.Contains(e.target.Hostname(), ".") || clusterName.MatchString(u.Hostname()) || sameSite(u.Hostname(), e.target.Hostname()) || u.Hostname() == e.target.Hostname() {
				elsewhere = false
			}
		}
		if elsewhere {
			e.add("aud-elsewhere", Computed, "claim aud", "aud is %s, the address is of %s", e.quote(strings.Join(aud, " ")), e.quote(e.target.Host))
		}
	}
	e.vendorAudience(c, iss, aud)
	if c.kind == secretInBody && strings.Contains(c.place, "assertion") && len(aud) > 0 && e.target.Host != "" && !slices.ContainsFunc(aud, func(a string) bool {
		return issuerHost(a) == "" || strings.EqualFold(issuerHost(a), e.target.Hostname())
	}) {
		e.add("assertion-aud-elsewhere", Computed, "claim aud", "aud of the assertion is %s; the token address is that of %s", e.quote(strings.Join(aud, " ")), e.quote(e.target.Host))
	}
	// The documents that a probe or the history holds.
	for _, doc := range e.documents() {
		if keys := keyIDs(doc.members); keys != nil {
			if kid := text(c.token.header, "kid"); kid != "" && !slices.Contains(keys, kid) {
				e.add("kid-unknown", Computed, "header kid", "kid %s is not among the %d keys of %s", e.quote(kid), len(keys), e.quote(doc.url))
			} else if kid != "" {
				e.add("kid-published", Computed, "header kid", "kid %s is in the key set of %s", e.quote(kid), e.quote(doc.url))
			}
		}
		if servers := texts(doc.members, "authorization_servers"); len(servers) > 0 && iss != "" && !slices.Contains(servers, iss) {
			e.add("iss-other", Computed, "claim iss", "iss is %s, the resource names %s", e.quote(iss), e.quote(strings.Join(servers, " ")))
		}
		if issuer := text(doc.members, "issuer"); issuer != "" && iss != "" && issuer != iss && issuerKin(issuer, iss) {
			e.add("iss-other", Computed, "claim iss", "iss is %s, the metadata says %s", e.quote(iss), e.quote(issuer))
		}
		if resource := text(doc.members, "resource"); resource != "" && len(aud) > 0 && !slices.Contains(aud, resource) {
			e.add("aud-other-than-resource", Computed, "claim aud", "aud is %s, the metadata names the resource %s", e.quote(strings.Join(aud, " ")), e.quote(resource))
		}
		if algs := texts(doc.members, "id_token_signing_alg_values_supported"); len(algs) > 0 && alg != "" && !slices.Contains(algs, alg) {
			e.add("alg-other", Computed, "header alg", "alg is %s, the metadata names %s", e.quote(alg), e.quote(strings.Join(algs, " ")))
		}
	}
	if iss == "" {
		return
	}
	for _, w := range e.words { // an address in the answer or the log that is the issuer but for its spelling
		if w.by == byPerson {
			continue
		}
		for _, m := range addressIn.FindAllString(w.text, 6) {
			m = strings.TrimRight(m, ".,;)\"'")
			if m != iss && issuerKin(m, iss) {
				e.add("iss-spelled-otherwise", Computed, w.at, "iss is %s, the server speaks of %s", e.quote(iss), e.quote(m))
			}
		}
	}
}

// vendorAudiences are audiences of services that verify their tokens themselves, with the ends of
// their hosts. The names are those of the first-party applications of Microsoft.
var vendorAudiences = map[string][]string{
	"00000003-0000-0000-c000-000000000000": {"graph.microsoft.com", "graph.microsoft.us", "microsoftgraph.chinacloudapi.cn"},
	"00000002-0000-0000-c000-000000000000": {"graph.windows.net"},
	"00000002-0000-0ff1-ce00-000000000000": {"outlook.office365.com", "outlook.office.com", "ps.outlook.com"},
	"00000003-0000-0ff1-ce00-000000000000": {"sharepoint.com"},
	"797f4846-ba00-4fd7-ba43-dac1f8f63013": {"management.azure.com", "management.core.windows.net"},
	"cfa8b339-82a2-471a-a3c9-0fc0be7a4093": {"vault.azure.net"},
	"e406a681-f3d4-42a8-90b6-c2b029497af1": {"storage.azure.com", "core.windows.net"},
	"499b84ac-1321-427f-aa17-267ca6975798": {"dev.azure.com", "visualstudio.com"},
}

// tenantIn matches the ID of a tenant in an address.
var tenantIn = regexp.MustCompile(`[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}`)

// vendorHosts returns the hosts of the service that an audience means, or nil.
func vendorHosts(aud string) []string {
	if hosts := vendorAudiences[strings.ToLower(strings.TrimPrefix(aud, "spn:"))]; hosts != nil {
		return hosts
	}
	u, err := url.Parse(aud)
	if err != nil || u.Host == "" {
		return nil
	}
	for _, hosts := range vendorAudiences {
		if slices.ContainsFunc(hosts, func(h string) bool { return hostIs(u.Hostname(), "."+h) }) {
			return hosts
		}
	}
	return nil
}

// vendorAudience adds facts about tokens that their issuer made for its own service.
func (e *evidence) vendorAudience(c *credential, iss string, aud []string) {
	if e.target.Host == "" || e.sent(secretInAuthorization) != c {
		return
	}
	here := e.target.Hostname()
	for _, a := range aud {
		hosts := vendorHosts(a)
		if hosts != nil && !slices.ContainsFunc(hosts, func(h string) bool { return hostIs(here, "."+h) }) {
			e.add("aud-of-vendor", Computed, "claim aud", "aud is %s, the service at %s; the address is of %s", e.quote(a), e.quote(hosts[0]), e.quote(e.target.Host))
		}
		if u, err := url.Parse(a); err == nil && a == iss && u.Path == "" && hostIs(u.Host, ".okta.com") && !hostIs(here, ".okta.com") {
			e.add("aud-of-vendor", Computed, "claim aud", "the token is of Okta's own authorization server, for the API of Okta alone")
		}
		if len(aud) == 1 && a == strings.TrimRight(iss, "/")+"/userinfo" && !sameSite(issuerHost(iss), here) {
			e.add("aud-of-vendor", Computed, "claim aud", "aud is %s alone: the token is for user info of its issuer", e.quote(a))
		}
		if a == "account" && len(aud) == 1 && strings.Contains(iss, "/realms/") && !strings.Contains(e.target.Path, "/realms/") && !sameSite(issuerHost(iss), here) {
			e.add("aud-default", Computed, "claim aud", "aud is account alone, which Keycloak sets if no audience is configured")
		}
	}
	if own, realm := realmAddress(e.target); realm != "" && strings.HasSuffix(strings.TrimRight(iss, "/"), "/realms/"+realm) && !strings.EqualFold(iss, own) {
		e.add("iss-other-realm-address", Computed, "claim iss", "iss is %s, the realm is asked at %s", e.quote(iss), e.quote(own))
	}
	if host := issuerHost(iss); host != "" && here != "" && (localHost(here) && !strings.Contains(host, ".") && !localHost(host) || localHost(host) && !strings.Contains(here, ".") && !localHost(here)) {
		e.add("iss-container", Computed, "claim iss", "iss is %s, the address is that of %s, and one of them is a name inside containers", e.quote(iss), e.quote(e.target.Host))
	}
	if host := issuerHost(iss); (localHost(host) || clusterName.MatchString(host) || host != "" && !strings.Contains(host, ".")) && publicHost(here) {
		e.add("iss-inner", Computed, "claim iss", "iss is %s, an inner name; the address is of %s", e.quote(iss), e.quote(e.target.Host))
	}
	if u, err := url.Parse(iss); err == nil && strings.EqualFold(u.Hostname(), here) && (u.Scheme == "http" || u.Scheme == "https") && u.Scheme != e.target.Scheme && e.target.Scheme != "" {
		e.add("iss-other-scheme", Computed, "claim iss", "iss is %s, this host with another scheme than the address has", e.quote(iss))
	}
}

// realmAddress returns the issuer of the realm of Keycloak that an address belongs to, and the name
// of the realm.
func realmAddress(u *url.URL) (issuer, realm string) {
	before, after, ok := strings.Cut(u.Path, "/realms/")
	if !ok || u.Host == "" {
		return "", ""
	}
	realm, _, _ = strings.Cut(after, "/")
	return u.Scheme + "://" + u.Host + strings.TrimSuffix(before, "/admin") + "/realms/" + realm, realm
}

// issuerHost returns the host of an issuer.
func issuerHost(iss string) string {
	u, err := url.Parse(iss)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// addressIn matches an address inside other text.
var addressIn = regexp.MustCompile(`https?://[^\s"'<>\\,]{3,200}`)

// issuerKin reports whether two issuers differ in scheme, port, case or a final slash only.
func issuerKin(a, b string) bool {
	plain := func(s string) string {
		u, err := url.Parse(strings.ToLower(s))
		if err != nil {
			return s
		}
		return u.Hostname() + strings.TrimRight(u.Path, "/")
	}
	return a != b && plain(a) == plain(b)
}

// sameSite reports whether two hosts have the last two labels in common.
func sameSite(a, b string) bool { return site(a) == site(b) }

// site returns the last two labels of a host, three under a public suffix of two short ones.
func site(host string) string {
	labels := strings.Split(strings.ToLower(strings.TrimSuffix(host, ".")), ".")
	if len(labels) <= 2 || strings.Trim(host, "0123456789.") == "" {
		return strings.Join(labels, ".")
	}
	n := 2
	if second := labels[len(labels)-2]; len(labels[len(labels)-1]) == 2 && (len(second) <= 3 || second == "gov") {
		n = 3
	}
	return strings.Join(labels[len(labels)-n:], ".")
}

// idTokenClaims are claims that ID tokens have and access tokens lack (OpenID Connect Core s2,
// s3.3.2.11).
var idTokenClaims = []string{"at_hash", "c_hash", "s_hash"}

// firebaseHost matches the services of Google that take ID tokens of Firebase, appIssuer the IDs of
// apps of GitHub.
var (
	firebaseHost = regexp.MustCompile(`^(?:firestore|firebase\w*|identitytoolkit|securetoken)\.`)
	appIssuer    = regexp.MustCompile(`^(?:\d{4,10}|Iv\d+\.\w+|Iv23\w+)$`)
)

// tokenKind adds facts about what a JSON Web Token is for.
func (e *evidence) tokenKind(c *credential) {
	claims := c.token.claims
	typ := strings.ToLower(text(c.token.header, "typ"))
	kind, why := "", ""
	switch use := strings.ToLower(text(claims, "token_use")); {
	case use == "id":
		kind, why = "an ID token", "token_use is id"
	case strings.EqualFold(text(claims, "typ"), "ID"):
		kind, why = "an ID token", "typ is ID"
	case strings.Contains(typ, "refresh") || strings.EqualFold(text(claims, "token_type"), "refresh_token") || strings.HasSuffix(text(claims, "scope"), ".refresh"):
		kind, why = "a refresh token", "its type says so"
	case strings.EqualFold(text(claims, "typ"), "Refresh") || strings.EqualFold(text(claims, "typ"), "Offline") || strings.EqualFold(text(claims, "token_type"), "refresh") || strings.EqualFold(text(claims, "type"), "refresh"):
		kind, why = "a refresh token", "its type says so"
	case typ == "logout+jwt" || claims["events"] != nil:
		kind, why = "a logout token", "it has events"
	case typ == "dpop+jwt":
		kind, why = "a DPoP proof", "typ is dpop+jwt"
	case strings.Contains(text(claims, "aud"), "identitytoolkit.googleapis.com"):
		kind, why = "a custom token of Firebase, to be exchanged for an ID token", "aud is the token exchange"
	case text(claims, "iss") == "https://accounts.google.com" && slices.ContainsFunc(e.words, func(w passage) bool { return firebaseToken.MatchString(w.text) }):
		kind, why = "an ID token of Google itself, to be exchanged for one of Firebase", "iss is Google"
	case strings.HasPrefix(text(claims, "iss"), "https://securetoken.google.com/") && hostIs(e.target.Hostname(), ".googleapis.com") && !firebaseHost.MatchString(e.target.Host):
		kind, why = "an ID token of Firebase", "iss is "+e.quote(text(claims, "iss"))
	case e.target.Hostname() == "api.github.com" && appIssuer.MatchString(text(claims, "iss")) && claims["sub"] == nil && !strings.HasPrefix(e.target.Path, "/app"):
		kind, why = "the token of a GitHub App itself, to be exchanged for one of an installation", "iss is the app"
	case strings.ToLower(text(claims, "token_use")) == "access" && e.response.Header.Has("x-amzn-ErrorType") && hostIs(e.target.Hostname(), ".amazonaws.com") && strings.Contains(e.target.Host, ".execute-api."):
		e.add("cognito-access-token", Computed, "claim token_use", "token_use says that the token is an access token of Cognito")
		return
	case claims["sdkKey"] != nil || claims["appKey"] != nil && claims["tokenExp"] != nil:
		kind, why = "a signature for the SDK of meetings", "it has an SDK key"
	case strings.HasPrefix(text(c.token.header, "cty"), "twilio-fpa") && e.target.Hostname() == "api.twilio.com":
		kind, why = "a token for the SDK of a client", "cty is twilio-fpa"
	case typ == "id+jwt":
		kind, why = "an ID token", "typ is id+jwt"
	default:
		for _, name := range idTokenClaims {
			if claims[name] != nil {
				kind, why = "an ID token", "it has "+name
			}
		}
		if kind == "" && claims["nonce"] != nil && claims["scope"] == nil && claims["scp"] == nil && text(claims, "azp") == "" {
			kind, why = "an ID token", "it has a nonce and no scope"
		}
		if role := text(claims, "role"); kind == "" && (role == "anon" || role == "service_role") && claims["sub"] == nil {
			e.add("project-key", Computed, "claim role", "the token is the %s key of a project, not the token of a user", e.quote(role))
		}
	}
	if kind == "" {
		return
	}
	if strings.Contains(kind, "ID token") && c.kind == secretAlone {
		return // no request is seen that it was wrong for
	}
	if c.kind == secretInBody {
		return
	}
	e.add("token-of-other-kind", Computed, c.place, "the token is %s: %s", kind, why)
}

// tokenBinding compares cnf (RFC 7800 s3.1) with the request.
func (e *evidence) tokenBinding(c *credential) {
	cnf, _ := c.token.claims["cnf"].(map[string]any)
	if cnf == nil {
		e.add("unbound", Computed, "claim cnf", "the token is bound to no key")
		return
	}
	if cnf["jkt"] != nil {
		e.add("bound-to-key", Computed, "claim cnf", "the token is bound to a key for DPoP (RFC 9449 s6.1)")
		if c.scheme == "bearer" {
			e.add("bound-as-bearer", Computed, "Authorization", "a token that is bound to a key came as Bearer (RFC 9449 s7.1)")
		}
	}
	if cnf["x5t#S256"] != nil {
		e.add("bound-to-certificate", Computed, "claim cnf", "the token is bound to a certificate (RFC 8705 s3.1)")
		if !e.request.ClientCertificate {
			e.add("bound-without-certificate", Computed, "TLS", "the token is bound to a certificate; the input shows none")
		}
	}
}

// readScope matches scopes that allow only reading.
var readScope = regexp.MustCompile(`(?i)(?:^|[.:/_-])(?:read|readonly|view|list)(?:$|[.:/_-])|^(?:openid|profile|email|offline_access)$`)

// identityScopes lists scopes that only tell the client the identity of the user.
var identityScopes = []string{"openid", "profile", "email", "offline_access", "address", "phone", "user.read"}

// tokenRights compares the scopes of a token with those that the challenge names.
func (e *evidence) tokenRights(c *credential) {
	granted := append(strings.Fields(text(c.token.claims, "scope")), texts(c.token.claims, "scp")...)
	for _, s := range texts(c.token.claims, "scp") {
		granted = append(granted, strings.Fields(s)...)
	}
	granted = append(granted, texts(c.token.claims, "scope")...)
	roles := texts(c.token.claims, "roles")
	if !strings.HasPrefix(text(c.token.claims, "sub"), "system:") && len(granted) == 0 && len(roles) == 0 && c.token.claims["permissions"] == nil && c.token.claims["realm_access"] == nil {
		e.add("rights-absent", Computed, "claims", "the token has neither scope nor scp nor roles")
	}
	if method := e.request.Method; len(granted) > 0 && method != "" && method != "GET" && method != "HEAD" && method != "OPTIONS" &&
		!slices.ContainsFunc(granted, func(s string) bool { return !readScope.MatchString(s) }) && slices.ContainsFunc(granted, func(s string) bool { return strings.Contains(strings.ToLower(s), "read") }) {
		e.add("scope-reads-alone", Computed, "claim scope", "the scopes of the token allow only reading (%s), and the method is %s", e.quote(strings.Join(granted, " ")), e.quote(method))
	}
	if strings.HasSuffix(strings.ToLower(strings.TrimRight(e.target.Path, "/")), "/userinfo") && len(granted) > 0 && !slices.Contains(granted, "openid") {
		e.add("openid-not-granted", Computed, "claim scope", "user info needs the scope openid (OpenID Connect Core s5.3); the token has %s", e.quote(strings.Join(granted, " ")))
	}
	if len(granted) > 0 {
		e.add("scope-listed", Computed, "claim scope", "the token has the scope %s", e.quote(strings.Join(granted, " ")))
	}
	if len(granted) > 0 && len(roles) == 0 && c.token.claims["permissions"] == nil && !slices.ContainsFunc(strings.Fields(strings.Join(granted, " ")), func(s string) bool { return !slices.Contains(identityScopes, strings.ToLower(s)) }) {
		e.add("rights-of-identity", Computed, "claim scope", "the token has only scopes of a sign-in: %s", e.quote(strings.Join(granted, " ")))
	}
	for _, ch := range e.challenges {
		want, _ := ch.Param("scope")
		for _, s := range strings.Fields(want) {
			if e.response.Status == 403 && len(granted) > 0 && !slices.Contains(granted, s) {
				e.add("scope-not-granted", Computed, "claim scope", "the challenge wants the scope %s, the token lacks it", e.quote(s))
			}
		}
	}
}

// Times of signed requests and addresses.
var (
	awsScope      = regexp.MustCompile(`Credential=[^/,\s]+/(\d{8}|<[^>]*>)/([^/,\s]+)/([^/,\s]+)/aws4_request`)
	signedHeaders = regexp.MustCompile(`SignedHeaders=([a-z0-9;_-]+)`)
	expecting     = regexp.MustCompile(`(?i)expect(?:ing|ed)(?: region)?:? ?['"]?([a-z]{2}(?:-[a-z]+)+-\d)['"]?`)
	awsHostRegion = regexp.MustCompile(`[.-]([a-z]{2}(?:-gov|-iso[a-z]?)?-[a-z]+-\d)(?:\.[a-z0-9-]{2,20})?\.amazonaws\.com`)
	stamp         = regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?|\d{8}T\d{6}Z|[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d (?:GMT|UTC)`)
)

// signatureFacts adds facts about signed requests and signed addresses.
func (e *evidence) signatureFacts() {
	ref := e.at
	q := lowerQuery(e.target)
	h := e.request.Header
	auth := h.Get("Authorization")
	compare := func(at, text string) {
		t := parseHTTPDate(text)
		if n, err := strconv.ParseInt(text, 10, 64); t.IsZero() && err == nil && n > 1e9 && n < 1e14 {
			if n > 1e11 {
				n /= 1000
			}
			t = time.Unix(n, 0).UTC()
		}
		if t.IsZero() || ref.IsZero() {
			return
		}
		if d := t.Sub(ref); d.Abs() < time.Minute {
			e.add("signing-time-near", Computed, at, "%s is %s, Date is %s: the clocks agree", e.quote(at), showTime(t), showTime(ref))
		} else if d > 4*time.Minute || d < -4*time.Minute {
			e.add("signing-time-off", Computed, at, "%s is %s, Date is %s: %s apart", e.quote(at), showTime(t), showTime(ref), showDuration(d))
		}
	}
	signed := false
	if h.Has("X-Amz-Security-Token") {
		e.add("session-token-sent", Computed, "X-Amz-Security-Token", "the keys are temporary")
	} else if e.request.Whole && q["x-amz-security-token"] == "" && (temporaryKey.MatchString(auth) || strings.HasPrefix(q["x-amz-credential"]+q["awsaccesskeyid"], "ASIA")) {
		e.add("session-token-absent", Computed, "Credential", "the key is a temporary one (ASIA…) and X-Amz-Security-Token is missing")
	} else if e.request.Whole && !h.Has("X-Oss-Security-Token") && !h.Has("X-Acs-Security-Token") && q["security-token"]+q["x-oss-security-token"] == "" && (temporaryKeyOSS.MatchString(auth) || strings.HasPrefix(q["ossaccesskeyid"]+q["x-oss-credential"], "STS.")) {
		e.add("session-token-absent", Computed, "Credential", "the key is a temporary one (STS.…) and its security token is missing")
	}
	if strings.HasPrefix(auth, "AWS4-") && strings.Contains(auth, " ") && !e.seen["scheme-glued"] {
		signed = true
		e.amazonFields(auth)
	} else if c := e.sent(secretInAuthorization); c != nil && slices.Contains([]string{"hmac", "signature", "sharedkey", "sharedkeylite", "sharedaccesssignature", "hawk", "aws", "oss", "obs", "oauth", "acs3-hmac-sha256", "tc3-hmac-sha256", "mac"}, c.scheme) {
		signed = true
		if m := regexpTimestamp.FindStringSubmatch(auth); m != nil {
			compare("the timestamp", m[1])
		}
	}
	for _, f := range h {
		if l := strings.ToLower(f.Name); strings.Contains(l, "signature") && !strings.HasSuffix(l, "timestamp") || strings.HasSuffix(l, "-sign") || strings.HasSuffix(l, "-hmac") || l == "signature-input" || l == "sign" || l == "x-verify" {
			signed = true
		}
	}
	if signed {
		e.add("signed-request", Computed, "request", "the request is signed")
		e.cavageFields()
		for _, name := range []string{"Signature", "Signature-Input"} {
			if m := regexpTimestamp.FindStringSubmatch(h.Get(name)); m != nil {
				compare("created", m[1])
			}
		}
		for _, name := range []string{"X-Amz-Date", "X-Ms-Date", "Date", "X-Date", "X-Timestamp", "X-Request-Timestamp", "X-Bapi-Timestamp", "CB-ACCESS-TIMESTAMP", "OK-ACCESS-TIMESTAMP", "X-TC-Timestamp", "X-Sdk-Date", "Timestamp", "KC-API-TIMESTAMP", "ACCESS-TIMESTAMP",
			"X-Slack-Request-Timestamp", "webhook-timestamp", "svix-timestamp", "X-Signature-Timestamp", "X-HubSpot-Request-Timestamp", "x-zm-request-timestamp",
			"X-Twilio-Email-Event-Webhook-Timestamp", "X-Hub-Timestamp", "X-Webhook-Timestamp", "X-Zoho-Timestamp", "X-Lark-Request-Timestamp"} {
			if v := h.Get(name); v != "" {
				compare(name, v)
			}
		}
		for _, name := range []string{"Stripe-Signature", "Paddle-Signature", "Intercom-Signature", "Mux-Signature"} {
			if m := signedAt.FindStringSubmatch(h.Get(name)); m != nil {
				compare(name, m[1])
			}
		}
	} else if v := h.Get("X-Amz-Date"); v != "" {
		compare("X-Amz-Date", v)
	}
	e.signedAddressTimes(q)
	e.timesInWords()
}

// signedAt matches the time in the signature of a webhook.
var signedAt = regexp.MustCompile(`(?:^|[,;] *)(?:t|ts)=(\d{10,13})`)

// cavageHeaders matches the list of fields that a signature by draft-cavage-http-signatures covers.
var cavageHeaders = regexp.MustCompile(`\bkeyId="[^"]*".*\bheaders="([^"]*)"|\bheaders="([^"]*)".*\bkeyId="`)

// cavageFields compares the fields that such a signature covers with those of the request.
func (e *evidence) cavageFields() {
	value := e.request.Header.Get("Signature")
	if value == "" {
		value = e.request.Header.Get("Authorization")
	}
	m := cavageHeaders.FindStringSubmatch(value)
	if m == nil {
		return
	}
	names := strings.Fields(strings.ToLower(m[1] + m[2]))
	if slices.Contains([]string{"POST", "PUT", "PATCH"}, strings.ToUpper(e.request.Method)) && !slices.Contains(names, "digest") && !slices.Contains(names, "content-digest") {
		e.add("digest-unsigned", Computed, "Signature", "the request has a body, and the signature does not cover Digest")
	}
	for _, name := range names {
		if name != "host" && !strings.HasPrefix(name, "(") && e.request.Whole && !e.request.Header.Has(name) {
			e.add("signed-field-absent", Computed, "Signature", "the signature covers %s, and the request has no such field", e.quote(name))
		}
	}
}

// temporaryKey matches a temporary access key of AWS in Authorization.
var temporaryKey = regexp.MustCompile(`^AWS(?:4-HMAC-SHA256 Credential=| )ASIA`)

// temporaryKeyOSS matches a temporary access key of Alibaba Cloud in Authorization.
var temporaryKeyOSS = regexp.MustCompile(`^(?:OSS |OSS4-HMAC-SHA256 Credential=|ACS3-HMAC-SHA256 Credential=)STS\.`)

// regexpTimestamp matches the time of a signed request, in seconds or milliseconds.
var regexpTimestamp = regexp.MustCompile(`(?i)\b(?:oauth_timestamp|timestamp|created|ts)="?(\d{10,13})"?`)

// lowerQuery returns the parameters of an address by their names in lower case.
func lowerQuery(u *url.URL) map[string]string {
	q := map[string]string{}
	for name, values := range u.Query() {
		if len(values) > 0 {
			q[strings.ToLower(name)] = values[0]
		}
	}
	return q
}

// amazonFields checks the fields of an AWS signature, version 4.
func (e *evidence) amazonFields(auth string) {
	h := e.request.Header
	if e.request.Whole && !h.Has("X-Amz-Date") && !h.Has("Date") && !strings.Contains(auth, "date") {
		e.add("date-absent", Computed, "request", "a signature of version 4 needs X-Amz-Date or Date, and neither was sent")
	}
	if m := signedHeaders.FindStringSubmatch(auth); m != nil {
		names := strings.Split(m[1], ";")
		for _, f := range h {
			l := strings.ToLower(f.Name)
			if strings.HasPrefix(l, "x-amz-") && l != "x-amz-date" && l != "x-amz-content-sha256" && l != "x-amz-security-token" && !slices.Contains(names, l) {
				e.add("field-unsigned", Computed, f.Name, "the field %s was sent and is not among SignedHeaders", e.quote(f.Name))
			}
		}
	}
	scope := awsScope.FindStringSubmatch(auth)
	if scope == nil {
		return
	}
	region := scope[2]
	for _, w := range e.words {
		if m := expecting.FindStringSubmatch(w.text); m != nil && m[1] != region && w.by == byServer {
			e.add("region-named", Computed, w.at, "the request was signed for the region %s, the server expects %s", e.quote(region), m[1])
		}
	}
	if named := e.response.Header.Get("X-Amz-Bucket-Region"); named != "" && named != region && !strings.ContainsAny(region+named, "<.") {
		e.add("region-named", Computed, "X-Amz-Bucket-Region", "the request was signed for the region %s; the response says that the bucket is in %s", e.quote(region), e.quote(named))
	}
	if m := awsHostRegion.FindStringSubmatch(e.target.Host); m != nil && m[1] != region && !strings.ContainsAny(region, "<.") {
		e.add("region-differs", Computed, "Authorization", "the request was signed for the region %s, the address is in %s", e.quote(region), m[1])
	}
}

// edgeEnd matches the expiry time in a token of a content network, policyEnd the one in a policy of
// CloudFront.
var (
	edgeEnd   = regexp.MustCompile(`(?:^|~)exp=(\d{10})`)
	policyEnd = regexp.MustCompile(`"AWS:EpochTime"\s*:\s*(\d{10})`)
)

// signedAddressFields compares the fields that the signature of an address covers with those of the
// request.
func (e *evidence) signedAddressFields(q map[string]string) {
	h := e.request.Header
	list := q["x-amz-signedheaders"] + q["x-goog-signedheaders"]
	if list == "" {
		if q["signature"] != "" && q["awsaccesskeyid"]+q["googleaccessid"]+q["ossaccesskeyid"] != "" && h.Has("Content-Type") && e.request.Method == "PUT" {
			e.add("signed-type", Computed, "Content-Type", "the request has a Content-Type, which a signature of version 2 has to cover")
		}
		return
	}
	names := strings.Split(strings.ToLower(list), ";")
	for _, name := range names {
		if name != "host" && name != "content-length" && name != "x-amz-date" && e.request.Method != "" && !h.Has(name) && q[name] == "" {
			e.add("signed-field-absent", Computed, "address", "the address was signed with the field %s, and the request has none", e.quote(name))
		}
	}
	for _, f := range h {
		if l := strings.ToLower(f.Name); (strings.HasPrefix(l, "x-amz-") || strings.HasPrefix(l, "x-goog-")) && !slices.Contains(names, l) && l != "x-amz-content-sha256" {
			e.add("field-unsigned", Computed, f.Name, "the field %s was sent, and the address was signed without it", e.quote(f.Name))
		}
	}
	parts := strings.Split(q["x-amz-credential"], "/")
	if m := awsHostRegion.FindStringSubmatch(e.target.Host); m != nil && len(parts) == 5 && parts[2] != m[1] && !strings.ContainsAny(parts[2], "<.") {
		e.add("region-differs", Computed, "address", "the address was signed for the region %s; its host is in %s", e.quote(parts[2]), m[1])
	}
}

// signedAddressTimes compares begin and end of a signed address with the Date of the response.
func (e *evidence) signedAddressTimes(q map[string]string) {
	if !signedAddress(e.target) {
		return
	}
	e.add("signed-address", Computed, "address", "the address is signed")
	e.signedAddressFields(q)
	var begin, end time.Time
	parse := func(text string) time.Time {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil && n > 1e8 {
			if n > 1e11 {
				n /= 1000
			}
			return time.Unix(n, 0).UTC()
		}
		return parseHTTPDate(text)
	}
	for _, name := range []string{"x-amz-date", "x-goog-date", "st", "x-oss-date", "x-cos-date"} {
		if v := q[name]; v != "" {
			begin = parse(v)
		}
	}
	for _, name := range []string{"x-amz-expires", "x-goog-expires", "x-oss-expires"} {
		if n, err := strconv.Atoi(q[name]); err == nil && !begin.IsZero() && n >= 0 && n < 1e9 {
			end = begin.Add(time.Duration(n) * time.Second)
		}
	}
	for _, name := range []string{"se", "expires", "exp", "expiry", "expire", "e", "validuntil", "expiration"} {
		if v := q[name]; v != "" && end.IsZero() {
			end = parse(v)
		}
	}
	for name, v := range q { // one value holds all
		if m := edgeEnd.FindStringSubmatch(v); m != nil && end.IsZero() && edgeTokens.MatchString(name) {
			end = parse(m[1])
		}
	}
	if v := q["policy"]; v != "" && end.IsZero() && q["key-pair-id"] != "" { // CloudFront
		policy := strings.NewReplacer("-", "+", "_", "=", "~", "/").Replace(v)
		if octets, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(policy, "=")); err == nil {
			if m := policyEnd.FindSubmatch(octets); m != nil {
				end = parse(string(m[1]))
			}
		}
	}
	for _, name := range []string{"x-amz-date", "se", "expires", "exp", "st"} { // a mark in place of the time
		e.markedTime(name, q[name])
	}
	ref, name := e.reference()
	switch {
	case !end.IsZero() && end.Before(ref) && name == "Date":
		e.add("address-expired", Computed, "address", "the address was good until %s, Date is %s", showTime(end), showTime(ref))
	case !end.IsZero() && end.Before(ref):
		e.add("address-expired-now", Computed, "address", "the address was good until %s; the response has no Date", showTime(end))
	case !end.IsZero() && name == "Date":
		e.add("address-not-expired", Computed, "address", "the address is good until %s, Date is %s", showTime(end), showTime(ref))
	}
	if temporary := q["x-amz-security-token"] != "" || strings.HasPrefix(q["x-amz-credential"], "ASIA"); temporary && !begin.IsZero() && name == "Date" && ref.Sub(begin) > time.Hour && end.After(ref) {
		e.add("temporary-address-old", Computed, "address", "the address was signed %s earlier with temporary keys, whose end is its end", showDuration(ref.Sub(begin)))
	}
	if sp := q["sp"]; q["sv"] != "" && sp != "" {
		want := map[string]string{"GET": "rl", "HEAD": "rl", "PUT": "wcapt", "DELETE": "dx", "POST": "apwc", "PATCH": "wua"}[e.request.Method]
		if want != "" && !strings.ContainsAny(sp, want) {
			e.add("signed-right-absent", Computed, "address", "the address was signed for %s, and the method is %s", e.quote("sp="+sp), e.quote(e.request.Method))
		}
	}
	if !begin.IsZero() && name == "Date" && begin.Sub(ref) > clockLeeway {
		e.add("address-begins-later", Computed, "address", "the address is good from %s, Date is %s", showTime(begin), showTime(ref))
	}
}

// Words in place of a time that is past, or ahead.
var (
	pastMark   = regexp.MustCompile(`(?i)\b(?:past|ago|yesterday|expired|elapsed|over|old)\b`)
	futureMark = regexp.MustCompile(`(?i)\b(?:future|ahead|tomorrow|later)\b`)
	offMark    = regexp.MustCompile(`(?i)\b(?:off|ahead|behind|slow|fast|late|early|old|wrong|skewed|ago|future|past)\b`)
)

// markedTime reads a word in place of a time.
func (e *evidence) markedTime(name, value string) {
	end := name == "se" || name == "expires" || name == "exp"
	switch {
	case name != "st" && pastMark.MatchString(value):
		e.add("mark-past", Said, "parameter "+name, "the input says that %s is past", name)
	case !end && futureMark.MatchString(value):
		e.add("mark-future", Said, "parameter "+name, "the input says that %s is in the future", name)
	}
}

// limitsInWords compares the begin, the end and the time of the server, which stand in this order.
func (e *evidence) limitsInWords(w passage, times []time.Time) {
	if now, end := times[len(times)-1], times[len(times)-2]; now.After(end) {
		e.add("end-named", Computed, w.at, "the server names the end %s and its own time %s", showTime(end), showTime(now))
	} else if begin := times[0]; now.Before(begin) {
		h := e.request.Header
		if own := parseHTTPDate(cmp.Or(h.Get("X-Ms-Date"), h.Get("Date"))); own.Equal(begin) {
			e.add("times-named", Computed, w.at, "the server names its own time, and the time of the request is %s ahead", showDuration(begin.Sub(now)))
			return
		}
		e.add("begin-named", Computed, w.at, "the server names the begin %s and its own time %s", showTime(begin), showTime(now))
	}
}

// timesInWords compares the times that the server itself names.
func (e *evidence) timesInWords() {
	for _, w := range e.words {
		if w.by == byPerson {
			continue
		}
		found := stamp.FindAllString(w.text, 4)
		var times []time.Time
		for _, f := range found {
			if t := parseHTTPDate(f); !t.IsZero() {
				times = append(times, t)
			}
		}
		if len(times) == 0 {
			continue
		}
		said := func(list ...string) bool {
			return slices.ContainsFunc(list, func(one string) bool { return strings.Contains(strings.ToLower(w.text), one) })
		}
		end := len(times) >= 3 && said("expiry", "expires", "expired", "end")
		switch {
		case end && said("start") && said("expiry"):
			e.limitsInWords(w, times)
		case len(times) >= 2 && said("signature expired", "signature not yet current", "skew", "server time", "request time", "too old", "clock"):
			gap := times[len(times)-1].Sub(times[0]).Abs()
			e.add("times-named", Computed, w.at, "the server names its own time and that of the request: %s apart", showDuration(gap))
		case end:
			e.limitsInWords(w, times)
		case len(times) == 2 && said("expired", "expiration", "expires"):
			if gap := math.Abs(times[1].Sub(times[0]).Seconds()); gap > 0 {
				e.add("end-named", Computed, w.at, "the server names an end and its own time: %.0f s apart", gap)
			}
		case len(times) == 2 && said("issuedat", "issued at", "iat") && said("future", "before", "early"):
			e.add("times-named", Computed, w.at, "the server names the time of issue and its own time: %s apart", showDuration(times[1].Sub(times[0])))
		case len(times) == 2 && said("before", "not yet", "future", "early"):
			gap := times[1].Sub(times[0]).Abs()
			if gap < clockError {
				e.add("begin-near", Computed, w.at, "the server names a begin and its own time: %s apart", showDuration(gap))
			} else {
				e.add("begin-named", Computed, w.at, "the server names a begin and its own time: %s apart", showDuration(gap))
			}
		case len(times) == 1 && !e.at.IsZero() && said("expired", "expires", "expiration"):
			if times[0].Before(e.at) {
				e.add("end-named", Computed, w.at, "the server names the end %s, Date is %s", showTime(times[0]), showTime(e.at))
			}
		case len(times) == 1 && !e.at.IsZero() && said("before", "not yet", "future", "early"):
			if gap := times[0].Sub(e.at); gap > 0 && gap < clockError {
				e.add("begin-near", Computed, w.at, "the server names the begin %s, %s after Date", showTime(times[0]), showDuration(gap))
			} else if gap > 0 {
				e.add("begin-named", Computed, w.at, "the server names the begin %s, %s after Date", showTime(times[0]), showDuration(gap))
			}
		}
	}
}

// showDuration returns the size of a duration in one unit: seconds, minutes, hours, days or years.
func showDuration(d time.Duration) string {
	d = d.Abs()
	for _, unit := range []struct {
		size time.Duration
		name string
	}{{365 * 24 * time.Hour, "years"}, {24 * time.Hour, "days"}, {time.Hour, "hours"}, {time.Minute, "minutes"}} {
		if d >= 2*unit.size {
			return fmt.Sprintf("%d %s", (d+unit.size/2)/unit.size, unit.name)
		}
	}
	return fmt.Sprintf("%d seconds", (d+time.Second/2)/time.Second)
}
