module github.com/durward-auth/durward/oauth2source

go 1.26.0

require (
	github.com/durward-auth/durward v0.0.0
	golang.org/x/oauth2 v0.38.0
)

replace github.com/durward-auth/durward => ../
