package durwardtest_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/durwardtest"
	"github.com/durward-auth/durward/jwt"
)

// recorder records the errors of a test in place of reporting them.
type recorder struct {
	testing.TB
	errors []string
}

func (r *recorder) Error(args ...any) { r.errors = append(r.errors, fmt.Sprint(args...)) }
func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

// hsts adds Strict-Transport-Security as a proxy would.
func hsts(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Strict-Transport-Security", "max-age=31536000")
		h.ServeHTTP(w, r)
	})
}

func TestCheck(t *testing.T) {
	t.Parallel()
	issuer := durwardtest.NewIssuer(t)
	api := durward.Protect(who, jwt.Bearer(issuer.URL, durwardtest.Audience))
	config := durwardtest.CheckConfig{
		URL:      durwardtest.Audience + "/notes",
		Good:     issuer.Token(nil),
		Audience: issuer.Token(func(c *jwt.Claims) { c.Audience = []string{"https://other.example"} }),
	}
	durwardtest.Check(t, hsts(api), config)

	open := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "open") })
	other := config
	other.Good = issuer.Token(func(c *jwt.Claims) { c.Audience = []string{"https://other.example"} })
	excepted := config
	excepted.Except = []string{"tls"}
	stale := config
	stale.Except = []string{"date"}
	for _, c := range []struct {
		name    string
		handler http.Handler
		config  durwardtest.CheckConfig
		want    []string // each error contains one
	}{
		{"no HSTS: an error", api, config, []string{"RFC 6797"}},
		{"no HSTS, excepted: none", api, excepted, nil},
		{"an exception that is not needed: an error", hsts(api), stale, []string{`"date"`}},
		{"an open handler: errors", hsts(open), config, []string{"anonymous-401", "in-the-clear", "not sent"}},
		{"a wrong token: an error", hsts(api), other, []string{"The good token got 401"}},
	} {
		r := &recorder{TB: t}
		durwardtest.Check(r, c.handler, c.config)
		missed := len(r.errors) != len(c.want)
		for i := range min(len(r.errors), len(c.want)) {
			missed = missed || !strings.Contains(r.errors[i], c.want[i])
		}
		if missed {
			t.Errorf("%s: got %q, want %q", c.name, r.errors, c.want)
		}
	}
}
