package httpapi

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"net/http"
	"strings"
)

//go:generate go test -run TestOpenAPIDocument -update

//go:embed openapi.json
var openAPIDocument []byte

// openAPI returns the description of the API with the address of this server.
func (s *Server) openAPI() []byte {
	if s.prefix == "" {
		return openAPIDocument
	}
	return bytes.Replace(openAPIDocument, []byte(`"This server.","url":"/"`), []byte(`"This server.","url":"`+s.prefix+`"`), 1)
}

// unchanged reports whether If-None-Match contains etag: in a list, compared weakly, or as an
// asterisk (RFC 9110 s13.1.2).
func unchanged(r *http.Request, etag string) bool {
	for _, line := range r.Header["If-None-Match"] {
		for tag := range strings.SplitSeq(line, ",") {
			if tag = strings.TrimSpace(tag); tag == "*" || strings.TrimPrefix(tag, "W/") == etag {
				return true
			}
		}
	}
	return false
}

// etagOf returns the ETag of content.
func etagOf(content []byte) string {
	sum := sha256.Sum256(content)
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
}

// public writes content that every cache may store.
func public(w http.ResponseWriter, r *http.Request, mediaType, cacheControl, etag string, content []byte) error {
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Cache-Control", cacheControl)
	h.Set("ETag", etag)
	h.Set("X-Content-Type-Options", "nosniff")
	if unchanged(r, etag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	_, _ = w.Write(content)
	return nil
}

// toEveryOrigin lets scripts of every origin read a public document, without credentials. For a
// configured origin, crossOrigin has set the field.
func toEveryOrigin(w http.ResponseWriter) {
	if h := w.Header(); h.Get("Access-Control-Allow-Origin") == "" {
		h.Set("Access-Control-Allow-Origin", "*")
	}
}

// Fixed serves content that is embedded in the program.
func Fixed(mediaType string, content []byte) http.Handler {
	etag := etagOf(content)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = public(w, r, mediaType, "public, max-age=300", etag, content) // it never fails
	})
}
