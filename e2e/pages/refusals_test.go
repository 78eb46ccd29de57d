package pages_test

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server"
)

// refusals are refusals with a page of their own, by the name of the page on screenshots.
var refusals = map[string]durward.Refusal{
	"refused-400": {Code: durward.InvalidRequest},
	"refused-401": {Code: durward.InvalidCredentials},
	"refused-429": {Code: durward.TooManyAttempts, RetryAfter: 5 * time.Minute},
	"refused-500": {Code: durward.Internal},
	"refused-503": {Code: durward.AuthUnavailable, RetryAfter: 30 * time.Second},
}

// TestRefusalPages checks the pages of refusals with axe-core. A program that embeds the server refuses the
// requests; the guard answers them with the pages of the server.
func TestRefusalPages(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	web := httptest.NewServer(mux)
	t.Cleanup(web.Close)
	f := &front{origin: strings.Replace(web.URL, "127.0.0.1", "localhost", 1)}
	srv, err := server.New(server.Config{Folder: t.TempDir(), PublicURL: f.origin + "/auth"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
	mux.Handle("/auth/", srv)
	for name, refusal := range refusals {
		mux.Handle("/"+name, srv.Guard().Open(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			srv.Guard().Refuse(w, r, &refusal)
		})))
	}
	b := browse(t, f)()
	for _, name := range slices.Sorted(maps.Keys(refusals)) {
		b.visit("/" + name)
		b.sees(`performance.getEntriesByType("navigation")[0].responseStatus === ` + name[len("refused-"):] +
			` && document.querySelector(".denial code") && document.querySelector("header")`)
		b.checkBoth(name, "/"+name)
	}
}
