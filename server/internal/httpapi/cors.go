package httpapi

import (
	"net/http"

	"github.com/rs/cors"

	"github.com/durward-auth/durward"
)

// forOrigins is what the scripts of pages of other origins may do: all that the
// API does, with tokens, keys and the session cookie, and read all that it says.
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

// crossOrigin answers preflights, or is nil where no origin may do anything.
func crossOrigin(origins []string) http.Handler {
	if len(origins) == 0 { // which to the library would mean all
		return nil
	}
	return http.HandlerFunc(forOrigins(origins).HandlerFunc)
}

// readable lets the scripts of pages of origins read what next answers.
func readable(origins []string, next http.Handler) http.Handler {
	if len(origins) == 0 {
		return next
	}
	return forOrigins(origins).Handler(next)
}
