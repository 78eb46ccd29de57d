package httpapi

import (
	_ "embed"
	"net/http"
)

//go:generate go run openapi_gen.go

//go:embed openapi.json
var openAPIDocument []byte

// openAPI is GET /openapi.json.
func openAPI() http.Handler { return fixed("application/json", openAPIDocument) }
