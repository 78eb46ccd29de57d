package web

import (
	"maps"
	"slices"

	"github.com/durward-auth/durward/server/internal/httpapi"
)

// Routes returns the methods of each URL of a demonstration, which has the pages of all other servers.
func Routes(api *httpapi.Server) map[string][]string {
	s := New(Config{Settings: httpapi.Settings{PublicURL: "https://auth.example.com"}, Demo: true}, api)
	all := make(map[string][]string)
	for pattern, methods := range s.routes() {
		all[pattern] = slices.Sorted(maps.Keys(methods))
	}
	return all
}
