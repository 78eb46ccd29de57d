module github.com/durward-auth/durward/tokenstore/redis

go 1.26.0

require (
	github.com/durward-auth/durward v0.0.0
	github.com/durward-auth/durward/internal/valkey v0.0.0
)

require (
	github.com/valkey-io/valkey-go v1.0.79 // indirect
	golang.org/x/sys v0.50.0 // indirect
)

replace github.com/durward-auth/durward => ../../

replace github.com/durward-auth/durward/internal/valkey => ../../internal/valkey/
