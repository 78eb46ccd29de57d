package oauth

import (
	"slices"

	"github.com/durward-auth/durward/server/internal/store"
)

// maxResources is the largest number of resources in one request.
const maxResources = 5

// Targets returns the resources that a client asks for, without duplicates and with their URLs as they are
// configured. Without a request it is the client's first resource, or for a client that has none the
// audience of all tokens. It refuses a resource that the client may not call with InvalidTarget (RFC 8707 s2).
func (m *Manager) Targets(c store.Client, requested []string) ([]Resource, error) {
	if len(requested) > maxResources {
		return nil, refuse(InvalidTarget, "The request names more than %d resources.", maxResources)
	}
	var targets []Resource
	for _, text := range requested {
		r, ok := m.Resource(text)
		if !ok || !mayCall(c, r) {
			return nil, refuse(InvalidTarget, "This client has no resource with the URL of the parameter resource.")
		}
		if !slices.ContainsFunc(targets, func(t Resource) bool { return t.URL == r.URL }) {
			targets = append(targets, r)
		}
	}
	if len(targets) > 0 {
		return targets, nil
	}
	for _, text := range c.Resources {
		if r, ok := m.Resource(text); ok {
			return []Resource{r}, nil
		}
	}
	for _, audience := range m.c.Audience {
		r, ok := m.Resource(audience)
		if !ok {
			r = Resource{URL: audience}
		}
		targets = append(targets, r)
	}
	return targets, nil
}

func mayCall(c store.Client, r Resource) bool {
	return slices.ContainsFunc(c.Resources, func(text string) bool { return canonical(text) == canonical(r.URL) })
}

// GrantScopes returns those of the requested scopes that a user may give to a client for some of its
// resources: the client has them, and if they are scopes of resources, one of the resources has them and
// the user is in a group that may give them. groups are those of the user. Other scopes are left out (RFC
// 6749 s3.3). Without a request it starts from all scopes of the client except offline_access.
//
// A refresh calls it with the scopes that were granted, because the client, the resources and the groups
// may have lost some of them.
func (m *Manager) GrantScopes(c store.Client, groups []string, resources []Resource, requested []string) []string {
	if len(requested) == 0 {
		requested = slices.DeleteFunc(slices.Clone(c.Scopes), func(s string) bool { return s == ScopeOffline })
	}
	return m.scopes(c, resources, requested, func(scope string, own bool, allowed []string) bool {
		switch {
		case scope == ScopeRevocations:
			return false // the list shows sessions of all users
		case scope == ScopeOffline:
			return slices.Contains(c.Grants, GrantRefresh)
		}
		return own || len(allowed) == 0 || slices.ContainsFunc(groups, func(g string) bool { return slices.Contains(allowed, g) })
	})
}

// ClientScopes returns those of the requested scopes that a client has for itself. Scopes that speak of a user
// are left out; groups do not count, because the operator gave the client its scopes.
func (m *Manager) ClientScopes(c store.Client, resources []Resource, requested []string) []string {
	if len(requested) == 0 {
		requested = c.Scopes
	}
	return m.scopes(c, resources, requested, func(scope string, own bool, _ []string) bool {
		return !own || scope == ScopeRevocations
	})
}

// scopes returns those of the requested scopes that the client has, that exist for one of the resources and
// that may accepts. may gets whether the scope is one of this server's own, or the groups that may give it.
func (m *Manager) scopes(c store.Client, resources []Resource, requested []string, may func(scope string, own bool, groups []string) bool) []string {
	granted := []string{}
	for _, scope := range requested {
		if !scopeToken(scope) || !slices.Contains(c.Scopes, scope) || slices.Contains(granted, scope) || slices.Contains(reservedScopes, scope) {
			continue
		}
		own := slices.Contains(ownScopes, scope)
		if !own && !m.exists(scope, resources) {
			continue
		}
		if may(scope, own, groupsOf(scope, resources)) {
			granted = append(granted, scope)
		}
	}
	return granted
}

// exists reports whether a scope is one of the resources, or of no resource at all: then the client alone
// names it.
func (m *Manager) exists(scope string, resources []Resource) bool {
	return hasScope(resources, scope) || !hasScope(m.Resources(), scope)
}

func hasScope(resources []Resource, scope string) bool {
	return slices.ContainsFunc(resources, func(r Resource) bool {
		return slices.ContainsFunc(r.Scopes, func(s Scope) bool { return s.Name == scope })
	})
}

// groupsOf returns the groups that may give a scope of resources. It is empty if every user may give it at one
// of them.
func groupsOf(scope string, resources []Resource) (groups []string) {
	for _, r := range resources {
		for _, s := range r.Scopes {
			if s.Name == scope && len(s.Groups) == 0 {
				return nil
			} else if s.Name == scope {
				groups = append(groups, s.Groups...)
			}
		}
	}
	return groups
}

// UserScopes returns the scopes that users may give to clients, in the order of their display: those of OpenID Connect
// and those of the resources.
func UserScopes(resources []Resource) []string {
	all := slices.DeleteFunc(slices.Clone(ownScopes), func(s string) bool { return s == ScopeRevocations })
	for _, r := range resources {
		for _, s := range r.Scopes {
			if !slices.Contains(all, s.Name) {
				all = append(all, s.Name)
			}
		}
	}
	return all
}
