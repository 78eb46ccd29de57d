module github.com/durward-auth/durward/internal/valkey

go 1.26.0

require (
	github.com/durward-auth/durward v0.0.0
	github.com/valkey-io/valkey-go v1.0.79
)

require (
	golang.org/x/net v0.62.0 // indirect
	golang.org/x/sys v0.50.0 // indirect
	golang.org/x/text v0.44.0 // indirect
)

replace github.com/durward-auth/durward => ../../
