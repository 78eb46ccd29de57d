package durwardtest_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/durwardtest"
	"github.com/durward-auth/durward/jwt"
)

// A test of a service, in its own _test.go file.
func ExampleCheck() {
	_ = func(t *testing.T) {
		issuer := durwardtest.NewIssuer(t)
		notes := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "notes") })
		api := durward.Protect(notes, jwt.Bearer(issuer.URL, durwardtest.Audience))
		durwardtest.Check(t, api, durwardtest.CheckConfig{
			URL:    durwardtest.Audience + "/notes",
			Good:   issuer.Token(nil),
			Except: []string{"tls"}, // the proxy in front of the service adds Strict-Transport-Security
		})
	}
}
