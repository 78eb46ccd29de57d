package httpapi

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/durward-auth/durward"
)

// A request passes the guard twice: around all routes, and in the route. A handler between the two
// replaces everything that client address, transport and path are resolved from. The response and
// the recorded refusal show the values of the first time: nothing is resolved again.
func TestRequestIsResolvedOnce(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	token := w.signIn().AccessToken
	routes, err := w.server.routes()
	if err != nil {
		t.Fatal(err)
	}
	addresses := make(map[string]int)
	srv := w.server.outermost(w.server.guard.OpenWith(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		before := durward.ClientAddr(r.Context())
		r.RemoteAddr = "203.0.113.9:1" // plain http from here would be 403
		r.Header.Set("X-Forwarded-For", "198.51.100.7")
		r.RequestURI = "/api/../x" // not canonical: would be 400
		r.URL.RawPath = "/api/%2e%2e/x"
		routes.ServeHTTP(rw, r)
		addresses[before.String()]++
	}), w.server.Schemes.Cookie))
	for _, c := range []struct {
		name, token string
		want        int
	}{
		{"valid token: 200", token, 200},
		{"no credentials: 401", "", 401},
	} {
		r := httptest.NewRequest("GET", "/api/profile", nil)
		r.RemoteAddr = "127.0.0.1:1"
		if c.token != "" {
			r.Header.Set("Authorization", "Bearer "+c.token)
		}
		rec := httptest.NewRecorder()
		srv.ServeHTTP(rec, r)
		if rec.Code != c.want {
			t.Errorf("GET /api/profile, %s: got %d %s", c.name, rec.Code, rec.Body)
		}
		if id := rec.Header().Get("Durward-Denial"); id != "" {
			w.eventually("the refusal is recorded", func() bool {
				d, err := w.db.DenialByID(t.Context(), id)
				if err == nil && d.Network != "127.0.0.0/24" {
					t.Errorf("refusal of network %q, want that of the first resolution", d.Network)
				}
				return err == nil
			})
		}
	}
	if len(addresses) != 1 || addresses["127.0.0.1"] != 2 {
		t.Errorf("client addresses: %v, want 127.0.0.1 twice", addresses)
	}
}
