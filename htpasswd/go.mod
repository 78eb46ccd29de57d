module github.com/durward-auth/durward/htpasswd

go 1.26.0

require (
	github.com/GehirnInc/crypt v0.0.0-20230320061759-8cc1b52080c5
	github.com/durward-auth/durward v0.0.0
	github.com/durward-auth/durward/internal/pwhash v0.0.0
	github.com/go-crypt/crypt v0.14.15
	golang.org/x/text v0.44.0
)

require (
	github.com/go-crypt/x v0.4.16 // indirect
	github.com/stretchr/testify v1.12.1 // indirect
	golang.org/x/crypto v0.59.0 // indirect
	golang.org/x/sync v0.25.0 // indirect
	golang.org/x/sys v0.50.0 // indirect
)

replace github.com/durward-auth/durward => ../

replace github.com/durward-auth/durward/internal/pwhash => ../internal/pwhash/
