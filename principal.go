package durward

import (
	"slices"
	"time"
)

// Principal is who a request was found to come from. A nil *Principal is an
// anonymous one: its methods work and say no.
type Principal struct {
	Scheme    string    // scheme of the credentials, as registered: "Bearer", "Basic", …
	Subject   string    // stable identifier, unique within Issuer; never empty
	Issuer    string    // who vouches for Subject: the token's iss, or empty for local checks
	ClientID  string    // OAuth client the credentials were given to, if any
	SessionID string    // session the credentials belong to (sid), if any
	TokenID   string    // the token's jti, if any
	ACR       string    // authentication context class, as the issuer names it
	AMR       []string  // authentication methods, RFC 8176 names
	AuthTime  time.Time // when the person last signed in; zero if unknown
	Expires   time.Time // when the credentials end; zero if they do not
	AsOf      time.Time // as of when it is known that they were not revoked; zero: asked for this request
	Scopes    []string  // what the credentials allow; nil is nothing
	User      any       // the application's own record, set by its verifier
}

// Anonymous reports whether nobody is known to be asking.
func (p *Principal) Anonymous() bool { return p == nil }

// HasScope reports whether the credentials carry every one of scopes.
// Scopes are compared octet by octet (RFC 6749 s3.3).
func (p *Principal) HasScope(scopes ...string) bool {
	for _, s := range scopes {
		if p == nil || !slices.Contains(p.Scopes, s) {
			return false
		}
	}
	return true
}

// as returns p with the name of the scheme its credentials came in, unless it
// has one.
func (p *Principal) as(scheme string) *Principal {
	if p == nil || p.Scheme != "" {
		return p
	}
	named := *p
	named.Scheme = scheme
	return &named
}

// clone returns a copy that shares no list with p.
func (p *Principal) clone() *Principal {
	if p == nil {
		return nil
	}
	c := *p
	c.Scopes, c.AMR = slices.Clone(p.Scopes), slices.Clone(p.AMR)
	return &c
}
