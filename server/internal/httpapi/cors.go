package httpapi

import (
	"net/http"

	"github.com/rs/cors"

	"github.com/durward-auth/durward"
)

// forOrigins returns CORS for the configured origins. Their scripts can use the whole API, with
// tokens, keys and the session cookie, and read every field of a refusal.
func forOrigins(origins []string) *cors.Cors {
	return cors.New(cors.Options{
		AllowedOrigins:   origins,
		AllowedMethods:   []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPatch, http.MethodDelete},
		AllowedHeaders:   []string{"Authorization", "DPoP", "X-API-Key", "Content-Type"},
		ExposedHeaders:   durward.ExposedFields(),
		AllowCredentials: true,
		MaxAge:           600,
	})
}

// crossOrigin returns the handler of preflights, or nil without origins.
func crossOrigin(origins []string) http.Handler {
	if len(origins) == 0 { // rs/cors takes an empty list as all origins
		return nil
	}
	return http.HandlerFunc(forOrigins(origins).HandlerFunc)
}

// readable lets scripts of the origins read the responses of next.
func readable(origins []string, next http.Handler) http.Handler {
	if len(origins) == 0 {
		return next
	}
	return forOrigins(origins).Handler(next)
}
