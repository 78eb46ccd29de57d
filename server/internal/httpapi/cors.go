package httpapi

import (
	"net/http"

	"github.com/rs/cors"

	"github.com/durward-auth/durward"
)

// crossOrigin returns CORS for the configured origins: the handler of preflights, nil without
// origins, and a wrapper of the routes. Scripts of the origins can use the whole API, with tokens,
// keys and the session cookie, and read every field of a refusal.
func crossOrigin(origins []string) (preflight http.Handler, wrap func(http.Handler) http.Handler) {
	if len(origins) == 0 { // rs/cors takes an empty list as all origins
		return nil, func(next http.Handler) http.Handler { return next }
	}
	c := cors.New(cors.Options{
		AllowedOrigins:   origins,
		AllowedMethods:   []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPatch, http.MethodDelete},
		AllowedHeaders:   []string{"Authorization", "DPoP", "X-API-Key", "Content-Type"},
		ExposedHeaders:   durward.ExposedFields(),
		AllowCredentials: true,
		MaxAge:           600,
	})
	return http.HandlerFunc(c.HandlerFunc), c.Handler
}
