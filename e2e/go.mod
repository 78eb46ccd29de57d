module github.com/durward-auth/durward/e2e

go 1.26.0

replace github.com/durward-auth/durward => ..

require (
	connectrpc.com/connect v1.21.1
	github.com/chromedp/cdproto v0.159.2
	github.com/chromedp/chromedp v0.23.0
	github.com/durward-auth/durward v0.0.0-00010101000000-000000000000
	github.com/icholy/digest v1.2.0
	golang.org/x/net v0.62.0
	google.golang.org/protobuf v1.36.11
)

require (
	github.com/go-jose/go-jose/v4 v4.1.9 // indirect
	github.com/go-json-experiment/json v1.27.2 // indirect
)
