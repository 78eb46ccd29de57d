package account

import (
	"slices"

	"github.com/durward-auth/durward/server/internal/store"
)

// ScopesOf returns the scopes of a user. A sign-in gets all of them.
func ScopesOf(u store.User) []string {
	if u.Admin {
		return []string{"profile", "admin"}
	}
	return []string{"profile"}
}

// givable returns the scopes that a maker with scopes may give to an API key. An administrator may
// also give revocations, which sign-ins do not have: it is for programs that follow the feed.
func givable(scopes []string) []string {
	if slices.Contains(scopes, "admin") {
		return append(slices.Clone(scopes), "revocations")
	}
	return scopes
}

// StillGranted returns those of the granted scopes that u still has. Scopes that u got later are not
// added.
func StillGranted(granted []string, u store.User) []string {
	may := givable(ScopesOf(u))
	return slices.DeleteFunc(slices.Clone(granted), func(s string) bool { return !slices.Contains(may, s) })
}
