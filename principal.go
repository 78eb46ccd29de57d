package durward

import (
	"slices"
	"time"
)

// Principal is the authenticated user or client of a request. A nil *Principal is an anonymous one;
// its methods work and return false or nothing.
type Principal struct {
	Scheme    string    // scheme of the credentials, as registered: "Bearer", "Basic", …
	Subject   string    // stable identifier, unique within Issuer; never empty
	Issuer    string    // issuer of Subject: the token's iss, or empty for local accounts
	Tenant    string    // tenant or organization of Subject, if the issuer serves several
	ClientID  string    // OAuth client to which the credentials were issued, if any
	SessionID string    // session the credentials belong to (sid), if any
	TokenID   string    // the token's jti, if any
	ACR       string    // authentication context class, as the issuer names it
	AMR       []string  // authentication methods, RFC 8176 names
	AuthTime  time.Time // time of the user's last sign-in; zero if unknown
	Expires   time.Time // when the credentials expire; zero if they do not
	AsOf      time.Time // when the credentials were last known not to be revoked; zero: verified for this request
	Scopes    []string  // granted scopes
	Roles     []string  // roles or groups, as the issuer names them
	User      any       // the application's own record, set by its check
}

// Anonymous reports whether p is nil: the request is not authenticated.
func (p *Principal) Anonymous() bool { return p == nil }

// HasScope reports whether all of scopes are granted. Scopes are compared octet by octet (RFC 6749
// s3.3).
func (p *Principal) HasScope(scopes ...string) bool {
	for _, s := range scopes {
		if p == nil || !slices.Contains(p.Scopes, s) {
			return false
		}
	}
	return true
}

// as returns p with Scheme set to scheme, unless it is already set.
func (p *Principal) as(scheme string) *Principal {
	if p == nil || p.Scheme != "" {
		return p
	}
	named := *p
	named.Scheme = scheme
	return &named
}

// clone returns a copy that shares no slice with p.
func (p *Principal) clone() *Principal {
	if p == nil {
		return nil
	}
	c := *p
	c.Scopes, c.Roles, c.AMR = slices.Clone(p.Scopes), slices.Clone(p.Roles), slices.Clone(p.AMR)
	return &c
}
