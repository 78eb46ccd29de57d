module github.com/durward-auth/durward/examples

go 1.26.0

replace github.com/durward-auth/durward => ..

require github.com/durward-auth/durward v0.0.0-00010101000000-000000000000

require (
	github.com/go-jose/go-jose/v4 v4.1.9 // indirect
	github.com/go-json-experiment/json v1.27.2 // indirect
)
