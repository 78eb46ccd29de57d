package oauth

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Resource is an API that accepts access tokens (RFC 8707, RFC 9728).
type Resource struct {
	URL    string // the audience of its tokens, exactly as it is spelt here
	Name   string // for display
	Scopes []Scope
	Claims []string // claims of users that its access tokens have: "groups"
}

// Scope is a right at a resource.
type Scope struct {
	Name   string
	Title  string   // on the page of consent; empty: the name
	Groups []string // only their users may give it; empty: every user
}

// Scopes that need no resource (OpenID Connect Core s5.4, s11).
const (
	ScopeOpenID  = "openid"
	ScopeProfile = "profile"
	ScopeEmail   = "email"
	ScopeGroups  = "groups"
	ScopeOffline = "offline_access"

	// ScopeRevocations lets a client read the list of revoked tokens of this server.
	ScopeRevocations = "revocations"
)

// ownScopes are those of this server, in the order of their display.
var ownScopes = []string{ScopeOpenID, ScopeProfile, ScopeEmail, ScopeGroups, ScopeOffline, ScopeRevocations}

// CheckResources returns an error that names every mistake in a list of resources.
func CheckResources(list []Resource) error {
	var errs []error
	seen := map[string]bool{}
	for _, r := range list {
		u, err := url.Parse(r.URL)
		switch {
		case err != nil || !u.IsAbs() || u.Host == "" || strings.Contains(r.URL, "#") || !uriText(r.URL):
			errs = append(errs, fmt.Errorf("the resource %q is not an absolute URL without a fragment", r.URL))
		case seen[canonical(r.URL)]:
			errs = append(errs, fmt.Errorf("the resource %s is there twice", r.URL))
		}
		seen[canonical(r.URL)] = true
		if len(r.URL) > maxURI {
			errs = append(errs, fmt.Errorf("a resource has a URL longer than %d octets", maxURI))
		}
		for _, claim := range r.Claims {
			if claim != ScopeGroups {
				errs = append(errs, fmt.Errorf("the claim %q of %s is not one that access tokens can have; want %s", claim, r.URL, ScopeGroups))
			}
		}
		for i, s := range r.Scopes {
			switch {
			case slices.ContainsFunc(r.Scopes[:i], func(o Scope) bool { return o.Name == s.Name }):
				errs = append(errs, fmt.Errorf("the scope %s of %s is there twice", s.Name, r.URL))
			case !scopeToken(s.Name):
				errs = append(errs, fmt.Errorf("the scope %q of %s is not a word of printable ASCII", s.Name, r.URL))
			case slices.Contains(ownScopes, s.Name) || slices.Contains(reservedScopes, s.Name):
				errs = append(errs, fmt.Errorf("the scope %s of %s has a meaning at this server; choose another name", s.Name, r.URL))
			}
		}
	}
	return errors.Join(errs...)
}

// reservedScopes are those of the server's own API, which no application gets.
var reservedScopes = []string{"admin", "notifications"}

// scopeToken reports whether name is a scope-token (RFC 6749 s3.3).
func scopeToken(name string) bool {
	for _, c := range []byte(name) {
		if c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return name != ""
}

// canonical returns the form in which URLs of resources are compared: scheme and host in lower case, without
// the default port and a lone slash as the path. Programs that build the URL by a parser add such a slash.
func canonical(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return text
	}
	u.Scheme, u.Host = strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	if port := u.Port(); u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
		u.Host = strings.TrimSuffix(u.Host, ":"+port)
	}
	if u.EscapedPath() == "/" && u.RawQuery == "" {
		u.Path, u.RawPath = "", ""
	}
	return u.String()
}

// Resources returns all resources.
func (m *Manager) Resources() []Resource {
	if configured := m.resources.Load(); configured != nil {
		return *configured
	}
	return m.c.Resources
}

// Resource returns the resource of a URL, as canonical compares it.
func (m *Manager) Resource(text string) (Resource, bool) {
	return resourceOf(m.Resources(), text)
}

func resourceOf(resources []Resource, text string) (Resource, bool) {
	wanted := canonical(text)
	i := slices.IndexFunc(resources, func(r Resource) bool { return canonical(r.URL) == wanted })
	if i < 0 {
		return Resource{}, false
	}
	return resources[i], true
}
