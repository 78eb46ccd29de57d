package jwt

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Profile states how the access tokens of an identity provider differ from RFC 9068. The zero value
// is RFC 9068 itself. Take one of the variables, such as [Keycloak], and replace fields of the copy:
//
//	p := jwt.Keycloak
//	p.Roles = []string{"/resource_access/orders/roles"}
//
// A profile changes neither the signature's check nor the exact comparison of issuer and audience.
type Profile struct {
	// Name is the name of the provider in error texts and in [Inspection].
	Name string

	// Types lists the accepted values of typ in the header, in any case and without "application/".
	// "" accepts a token without typ. Default: at+jwt.
	Types []string

	// Required lists the claims that a token must have: "name", or "name=value" if its value must
	// be that string. Several values of one name are alternatives. client_id and scope stand for
	// the claims in Client and Scopes. A subject, an audience and exp are always required, and so is
	// iss without TrustDomain. Default: client_id, jti and iat; an empty list requires no more.
	Required []string

	// IDToken lists the marks of an ID token, in the form of Required. A token with one of them is
	// refused. Default: none if Types is at+jwt alone, else at_hash, c_hash, nonce, typ=ID and
	// token_use=id; an empty list means no marks.
	IDToken []string

	// Subject, Client and Audience list the claims of the principal's Subject and ClientID, and of
	// the audience. The first one that a token has counts. Defaults: sub, client_id, aud.
	Subject, Client, Audience []string

	// Scopes and Roles list the claims of the principal's Scopes and Roles. All of them count. A
	// name that starts with "/" is a JSON Pointer (RFC 6901): /realm_access/roles. Defaults: scope,
	// none.
	Scopes, Roles []string

	// Tenant is the claim, or JSON Pointer, of the principal's Tenant. Default: none.
	Tenant string

	// TrustDomain takes the issuer from the subject and ignores iss: Config.Issuer is a SPIFFE
	// trust domain such as spiffe://example.org, and the subject a SPIFFE ID in it.
	TrustDomain bool

	// StringOrList accepts a list of strings for scopes, and one string for amr and roles.
	StringOrList bool

	// IgnoredHeader lists members of the header that are ignored, never followed or trusted, in
	// place of a refusal of the token: jku, jwk, x5u, x5c, x5t, x5t#S256, zip. Beside a kid, x5t and
	// x5t#S256 are always ignored (RFC 7515 s4.1.7: they are hints).
	IgnoredHeader []string

	// MaxLifetime is the default of Config.MaxLifetime for this provider.
	MaxLifetime time.Duration
}

// Profiles of identity providers. docs/providers.md shows the settings of each provider, and the
// ones for which an ID token cannot be told from an access token.
var (
	// Keycloak is for Keycloak, with its switch for at+jwt and without. Roles are those of the realm.
	Keycloak = Profile{
		Name:     "Keycloak",
		Types:    []string{"JWT", "at+jwt"},
		Required: []string{"client_id", "jti", "iat", "typ=Bearer", "typ=DPoP"},
		IDToken:  []string{"typ=ID"}, // access tokens of old versions have a nonce
		Client:   []string{"azp", "client_id"},
		Roles:    []string{"/realm_access/roles"},
	}

	// EntraV1 is for Microsoft Entra ID where the API's manifest asks for version 1, the default.
	EntraV1 = Profile{
		Name:         "Entra ID v1",
		Types:        []string{"JWT"},
		Required:     []string{"appid", "iat", "tid", "ver=1.0"},
		Client:       []string{"appid"},
		Scopes:       []string{"scp"},
		Roles:        []string{"roles"},
		Tenant:       "tid",
		StringOrList: true,
		MaxLifetime:  29 * time.Hour, // with continuous access evaluation: 28 h
	}

	// EntraV2 is for Microsoft Entra ID where the API's manifest asks for version 2.
	EntraV2 = Profile{
		Name:         "Entra ID v2",
		Types:        []string{"JWT"},
		Required:     []string{"azp", "iat", "tid", "ver=2.0"},
		Client:       []string{"azp"},
		Scopes:       []string{"scp"},
		Roles:        []string{"roles"},
		Tenant:       "tid",
		StringOrList: true,
		MaxLifetime:  29 * time.Hour,
	}

	// Auth0 is for both token dialects of Auth0. Roles are the permissions.
	Auth0 = Profile{
		Name:     "Auth0",
		Types:    []string{"JWT", "at+jwt"},
		Required: []string{"client_id", "iat"},
		Client:   []string{"azp", "client_id"},
		Roles:    []string{"permissions"},
		Tenant:   "org_id",
	}

	// Cognito is for user pools of Amazon Cognito. A token without aud is for its client, so
	// Config.Audience lists the app clients of the API.
	Cognito = Profile{
		Name:     "Cognito",
		Types:    []string{""},
		Required: []string{"client_id", "jti", "iat", "token_use=access"},
		Audience: []string{"aud", "client_id"},
		Roles:    []string{"cognito:groups"},
	}

	// Okta is for custom authorization servers of Okta. Roles are the groups.
	Okta = Profile{
		Name:         "Okta",
		Types:        []string{""},
		Required:     []string{"client_id", "jti", "iat"},
		Client:       []string{"cid"},
		Scopes:       []string{"scp"},
		Roles:        []string{"groups"},
		StringOrList: true,
	}

	// Google is for ID tokens of Google that service accounts and users send to a service. Tenant is
	// the Workspace domain.
	Google = Profile{
		Name:     "Google",
		Types:    []string{"JWT"},
		Required: []string{"client_id", "iat", "iss=https://accounts.google.com"},
		IDToken:  []string{"nonce"}, // at_hash is in tokens for services too
		Client:   []string{"azp"},
		Tenant:   "hd",
	}

	// Firebase is for Firebase Authentication and Identity Platform, whose ID tokens are sent to the
	// application's own API.
	Firebase = Profile{
		Name:     "Firebase",
		Types:    []string{"JWT"},
		Required: []string{"iat", "auth_time", "firebase"},
		Tenant:   "/firebase/tenant",
	}

	// GitHubActions is for the tokens of GitHub's workflows. Tenant is the owner of the repository.
	GitHubActions = Profile{
		Name:     "GitHub Actions",
		Types:    []string{"JWT"},
		Required: []string{"jti", "iat", "repository", "run_id"},
		Tenant:   "repository_owner",
	}

	// GitLabCI is for the tokens of GitLab's jobs (id_tokens). Tenant is the path of the namespace.
	GitLabCI = Profile{
		Name:     "GitLab CI",
		Types:    []string{"JWT"},
		Required: []string{"jti", "iat", "project_path", "pipeline_id"},
		Tenant:   "namespace_path",
	}

	// Kubernetes is for service account tokens with an audience. Tenant is the namespace.
	Kubernetes = Profile{
		Name:        "Kubernetes",
		Types:       []string{""},
		Required:    []string{"iat", "nbf", "kubernetes.io"},
		Tenant:      "/kubernetes.io/namespace",
		MaxLifetime: 366 * 24 * time.Hour, // clusters extend tokens to a year by default
	}

	// UAA is for Cloud Foundry UAA and SAP XSUAA. Roles are the authorities of a client, Tenant is
	// the zone.
	UAA = Profile{
		Name:          "UAA",
		Types:         []string{"JWT"},
		Required:      []string{"client_id", "jti", "iat", "scope", "zid"},
		IDToken:       []string{"at_hash", "c_hash", "email_verified"},
		Roles:         []string{"authorities"},
		Tenant:        "zid",
		StringOrList:  true,
		IgnoredHeader: []string{"jku"},
	}

	// IdentityServer is for Duende IdentityServer and IdentityServer4 from version 3. The subject of a
	// client's own token is the client.
	IdentityServer = Profile{
		Name:         "IdentityServer",
		Required:     []string{"client_id", "iat", "scope"},
		Subject:      []string{"sub", "client_id"},
		Roles:        []string{"role"},
		StringOrList: true,
	}

	// SPIFFE is for JWT-SVIDs. Config.Issuer is the trust domain, such as spiffe://example.org.
	SPIFFE = Profile{
		Name:        "SPIFFE JWT-SVID",
		Types:       []string{"", "JWT", "JOSE"},
		Required:    []string{},
		TrustDomain: true,
	}
)

// kind is the meaning of a claim.
type kind uint8

const (
	kindOther  kind = iota // at most its presence or value matters
	kindText               // identifier in reading.texts
	kindObject             // object with members that are read
	kindIssuer
	kindID
	kindSession
	kindACR
	kindAudience
	kindScope
	kindRoles
	kindAMR
	kindExpires
	kindNotBefore
	kindIssuedAt
	kindAuthTime
	kindConfirmation
)

// registered claims have one meaning in each profile (RFC 9068 s2.2).
var registered = map[string]kind{
	"iss": kindIssuer, "exp": kindExpires, "nbf": kindNotBefore, "iat": kindIssuedAt, "jti": kindID,
	"sid": kindSession, "auth_time": kindAuthTime, "acr": kindACR, "amr": kindAMR, "cnf": kindConfirmation,
}

// maxTexts is the number of different claims that Subject, Client, Audience and Tenant may name.
const maxTexts = 8

// claim is a claim that a profile reads.
type claim struct {
	name   string // in error texts
	kind   kind
	bit    uint64            // in reading.seen, set if a token has the claim
	slot   int               // of a kindText, in reading.texts
	values []string          // accepted values; nil accepts all
	mark   bool              // its presence marks an ID token
	marks  []string          // values that mark an ID token
	inner  map[string]*claim // of a kindObject
}

// need is a requirement that one of some claims fulfils.
type need struct {
	name   string // in error texts
	why    string // for error texts: who requires it, and the setting that could do without it
	bits   uint64
	access bool // an ID token has none of these claims
}

// rules is a Profile prepared for the reading of tokens. It is immutable.
type rules struct {
	Profile                    // with defaults
	list     int               // maximum elements of a list that is read
	claims   map[string]*claim // by name
	ordinal  int               // number of claims
	texts    int               // number of claims of kindText
	subject  []int             // slots, the first present one counts
	client   []int             // likewise
	audience []int             // likewise; -1 is aud itself
	tenant   []int             // likewise, at most one
	needs    []need
	own      bool // requires claims or values that tell the provider's tokens from those of others
}

// standard is RFC 9068.
var standard = func() *rules { u, _ := Profile{}.rules(); return u }()

// ignorable lists the header members that a profile may ignore.
var ignorable = []string{"jku", "jwk", "x5u", "x5c", "x5t", "x5t#S256", "zip"}

// rules prepares p. It returns all mistakes.
func (p Profile) rules() (*rules, []error) {
	u := &rules{Profile: p, list: maxElements, claims: make(map[string]*claim)}
	var mistakes []error
	mistake := func(format string, args ...any) { mistakes = append(mistakes, fmt.Errorf("jwt: "+format, args...)) }
	fallback := func(list *[]string, values ...string) {
		if *list = slices.Clone(*list); *list == nil {
			*list = values
		}
	}
	fallback(&u.Types, "at+jwt")
	fallback(&u.Required, "client_id", "jti", "iat")
	if !slices.ContainsFunc(u.Types, func(t string) bool { return !strings.EqualFold(t, "at+jwt") }) {
		fallback(&u.IDToken)
	} else {
		fallback(&u.IDToken, "at_hash", "c_hash", "nonce", "typ=ID", "token_use=id")
	}
	fallback(&u.Subject, "sub")
	fallback(&u.Client, "client_id")
	fallback(&u.Audience, "aud")
	fallback(&u.Scopes, "scope")
	u.Roles, u.IgnoredHeader = slices.Clone(p.Roles), slices.Clone(p.IgnoredHeader)
	for _, name := range u.IgnoredHeader {
		if !slices.Contains(ignorable, name) {
			mistake("Profile.IgnoredHeader has %q, it may have %s", name, strings.Join(ignorable, ", "))
		}
	}
	if p.MaxLifetime < 0 {
		mistake("Profile.MaxLifetime is %s, it must be positive", p.MaxLifetime)
	}

	for name, k := range registered {
		u.at(name).kind = k
	}
	// as gives the claim with this name or pointer a meaning.
	as := func(field, name string, k kind) *claim {
		c := u.at(name)
		if name == "" || c == nil || c.kind != kindOther && c.kind != k {
			mistake("Profile.%s has %q, which is no claim or has another meaning", field, name)
			return &claim{}
		}
		if c.kind = k; k == kindText && c.slot < 0 {
			if c.slot = u.texts; u.texts == maxTexts {
				mistake("Profile.%s has %q: Subject, Client, Audience and Tenant may have %d claims together", field, name, maxTexts)
				c.slot = 0
			} else {
				u.texts++
			}
		}
		return c
	}
	// why completes the error text of a missing claim.
	why := func(name, setting string) string {
		switch {
		case p.Name != "":
			return ", the profile " + p.Name + " requires it" + setting
		case slices.Contains([]string{"sub", "client_id", "jti", "aud", "exp", "iat"}, name):
			return " (RFC 9068 s2.2)" + setting
		}
		return setting
	}
	// first returns the slots of alternatives, and the need for one of them.
	first := func(field string, names []string) (slots []int, n need) {
		n.name = strings.Join(names, " or ")
		n.why = why(n.name, "; Profile."+field+" may name another claim")
		for _, name := range names {
			if field == "Audience" && name == "aud" {
				n.bits |= as(field, name, kindAudience).bit
				slots = append(slots, -1)
				continue
			}
			c := as(field, name, kindText)
			n.bits |= c.bit
			slots = append(slots, c.slot)
		}
		return slots, n
	}
	var subject, client, audience need
	u.subject, subject = first("Subject", u.Subject)
	u.client, client = first("Client", u.Client)
	u.audience, audience = first("Audience", u.Audience)
	if p.Tenant != "" {
		u.tenant = []int{as("Tenant", p.Tenant, kindText).slot}
	}
	scope := need{name: strings.Join(u.Scopes, " or "), why: why("scope", "; Profile.Scopes may name another claim")}
	for _, name := range u.Scopes {
		scope.bits |= as("Scopes", name, kindScope).bit
	}
	client.access, scope.access = true, true
	for _, name := range u.Roles {
		as("Roles", name, kindRoles)
	}

	u.needs = []need{subject}
	for _, entry := range u.Required {
		name, value, valued := strings.Cut(entry, "=")
		n := need{name: name, why: why(name, "; Profile.Required can do without it")}
		switch c := u.at(name); {
		case c == nil || name == "" || valued && c.kind != kindOther && c.kind != kindIssuer:
			mistake("Profile.Required has %q: it may have names, and values of claims without a meaning of their own", entry)
			continue
		case name == "client_id":
			n = client
		case name == "scope":
			n = scope
		default:
			n.bits, n.access = c.bit, c.bit&(client.bits|scope.bits) != 0
			if valued {
				c.values = append(c.values, value)
			}
			_, common := registered[name]
			u.own = u.own || valued || !common && !n.access
		}
		if !slices.ContainsFunc(u.needs, func(o need) bool { return o.bits == n.bits }) {
			u.needs = append(u.needs, n)
		}
	}
	u.needs = append(u.needs, audience, need{name: "exp", why: why("exp", ""), bits: u.at("exp").bit})
	for _, entry := range u.IDToken {
		name, value, valued := strings.Cut(entry, "=")
		c := u.at(name)
		switch {
		case c == nil || name == "" || valued && c.kind != kindOther:
			mistake("Profile.IDToken has %q: it may have names, and values of claims without a meaning of their own", entry)
		case valued:
			c.marks = append(c.marks, value)
		default:
			c.mark = true
		}
	}
	if u.ordinal > 64 {
		mistake("Profile has %d claims, want at most 64", u.ordinal)
	}
	return u, mistakes
}

// at returns the claim with a name or JSON Pointer (RFC 6901), which it makes if necessary; nil if
// the pointer leads through a claim with another meaning.
func (u *rules) at(name string) *claim {
	path := []string{name}
	pointer := strings.HasPrefix(name, "/")
	if pointer {
		path = strings.Split(name[1:], "/")
	}
	claims := u.claims
	for i, segment := range path {
		if pointer {
			segment = strings.NewReplacer("~1", "/", "~0", "~").Replace(segment)
		}
		c := claims[segment]
		if c == nil {
			c = &claim{name: segment, bit: 1 << u.ordinal, slot: -1}
			u.ordinal++
			claims[segment] = c
		}
		if i == len(path)-1 {
			c.name = name
			return c
		}
		if c.kind != kindOther && c.kind != kindObject {
			return nil
		}
		if c.kind = kindObject; c.inner == nil {
			c.inner = make(map[string]*claim)
		}
		claims = c.inner
	}
	return nil
}

// called is how error texts name the profile.
func (u *rules) called() string { return cmp.Or(u.Name, "RFC 9068") }

// accepts returns an error if typ is not that of an access token. RFC 9068 s4: "at+jwt" or
// "application/at+jwt". RFC 7515 s4.1.9: media types are case-insensitive.
func (u *rules) accepts(typ string) error {
	short := typ
	if n := len("application/"); len(typ) > n && strings.EqualFold(typ[:n], "application/") {
		short = typ[n:]
	}
	for _, t := range u.Types {
		if strings.EqualFold(short, t) {
			return nil
		}
	}
	is := "missing"
	if typ != "" {
		is = shown(typ)
	}
	if slices.Equal(u.Types, []string{"at+jwt"}) {
		return fmt.Errorf(`typ in the header is %s, an access token says "at+jwt" (RFC 9068 s2.1); Config.Profile accepts that of a provider, Profile.Types any`, is)
	}
	return fmt.Errorf("typ in the header is %s, the profile %s accepts %q; Profile.Types may list others", is, u.called(), u.Types)
}

// inTrustDomain reports whether id is a SPIFFE ID with a path in a trust domain (SPIFFE-ID s2).
func inTrustDomain(id, domain string) bool {
	path, ok := strings.CutPrefix(id, domain+"/")
	if !ok || len(id) > 2048 {
		return false
	}
	for segment := range strings.SplitSeq(path, "/") {
		if !isSegment(segment) {
			return false
		}
	}
	return true
}

// trustDomainOf returns the trust domain in a SPIFFE ID or trust domain; "" if it is none.
func trustDomainOf(id string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(id, "spiffe://"), "/")
	if !isSegment(name) || !strings.HasPrefix(id, "spiffe://") {
		return ""
	}
	return "spiffe://" + name
}

// isSegment reports whether s is a path segment of letters, digits, ".", "-" and "_".
func isSegment(s string) bool {
	return s != "" && s != "." && s != ".." && !strings.ContainsFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '-' && c != '_'
	})
}
