package durward_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/durward-auth/durward"
)

// A user who cannot reach the required class is told to set up a second factor, another one to step
// up. Credentials without a sign-in get neither.
func TestEnrolment(t *testing.T) {
	t.Parallel()
	const one, two = "urn:durward:acr:1fa", "urn:durward:acr:2fa"
	for _, c := range []struct {
		name      string
		who       durward.Principal
		policy    durward.Policy
		strongest string
		err       error
		want      durward.Code // "" is let in
		asked     bool
	}{
		{"no second factor", durward.Principal{ACR: one, AuthTime: noon}, durward.Policy{ACR: []string{two}}, one, nil, durward.EnrolmentRequired, true},
		{"nothing is known", durward.Principal{ACR: one, AuthTime: noon}, durward.Policy{ACR: []string{two}}, "", nil, durward.EnrolmentRequired, true},
		{"a second factor", durward.Principal{ACR: one, AuthTime: noon}, durward.Policy{ACR: []string{two}}, two, nil, durward.StepUpRequired, true},
		{"a stronger one", durward.Principal{ACR: one, AuthTime: noon}, durward.Policy{ACR: []string{two}}, "phr", nil, durward.StepUpRequired, true},
		{"one of two is within reach", durward.Principal{ACR: one, AuthTime: noon}, durward.Policy{ACR: []string{"phr", two}}, two, nil, durward.StepUpRequired, true},
		{"too old and out of reach", durward.Principal{ACR: one, AuthTime: noon.Add(-time.Hour)}, durward.Policy{ACR: []string{two}, MaxAge: time.Minute}, one, nil, durward.EnrolmentRequired, true},
		{"too old alone", durward.Principal{ACR: one, AuthTime: noon.Add(-time.Hour)}, durward.Policy{MaxAge: time.Minute}, one, nil, durward.StepUpRequired, false},
		{"too old, strong enough", durward.Principal{ACR: two, AuthTime: noon.Add(-time.Hour)}, durward.Policy{ACR: []string{two}, MaxAge: time.Minute}, one, nil, durward.StepUpRequired, false},
		{"strong enough", durward.Principal{ACR: two, AuthTime: noon}, durward.Policy{ACR: []string{two}}, one, nil, "", false},
		{"an API key", durward.Principal{}, durward.Policy{ACR: []string{two}}, one, nil, durward.Forbidden, false},
		{"a client, by its age", durward.Principal{ClientID: "batch"}, durward.Policy{MaxAge: time.Minute}, two, nil, durward.Forbidden, false},
		{"the store is away", durward.Principal{ACR: one, AuthTime: noon}, durward.Policy{ACR: []string{two}}, two, errors.New("away"), durward.AuthUnavailable, true},
	} {
		asked := false
		g := newGuard(t, durward.Config{
			Schemes: []durward.Scheme{durward.Bearer(func(context.Context, string) (*durward.Principal, error) {
				p := c.who
				p.Subject = "ada"
				return &p, nil
			})},
			Strongest: func(_ context.Context, p *durward.Principal) (string, error) {
				asked = true
				if p.Subject != "ada" {
					t.Errorf("%s: asked about %q", c.name, p.Subject)
				}
				return c.strongest, c.err
			},
		})
		w := serve(g.Require(c.policy, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})), get("x"))
		if got := codeOf(w); got != c.want || asked != c.asked {
			t.Errorf("%s: got %q, asked %v; want %q, %v", c.name, got, asked, c.want, c.asked)
		}
		if c.want == durward.EnrolmentRequired && (w.Code != 403 || w.Header()["Www-Authenticate"] != nil) {
			t.Errorf("%s: %d with the challenge %q", c.name, w.Code, w.Header()["Www-Authenticate"])
		}
	}
}

// SameOrigin performs the guard's cross-site check for a handler that starts a session.
func TestSameOrigin(t *testing.T) {
	t.Parallel()
	g := newGuard(t, durward.Config{PublicURL: "https://app.example.com", Origins: []string{"https://shop.example.com"}})
	other := newGuard(t, durward.Config{})
	for _, c := range []struct {
		name, method string
		fields       map[string]string
		ok           bool
	}{
		{"no browser", "POST", nil, true},
		{"this origin", "POST", map[string]string{"Origin": "https://app.example.com"}, true},
		{"this origin, says the browser", "POST", map[string]string{"Origin": "https://app.example.com", "Sec-Fetch-Site": "same-origin"}, true},
		{"one that is named", "POST", map[string]string{"Origin": "https://shop.example.com", "Sec-Fetch-Site": "same-site"}, true},
		{"another", "POST", map[string]string{"Origin": "https://evil.example"}, false},
		{"another, a form", "POST", map[string]string{"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}, false},
		{"a sibling", "POST", map[string]string{"Sec-Fetch-Site": "same-site"}, false},
		{"none that is said", "POST", map[string]string{"Origin": "null"}, false},
		{"in the clear", "POST", map[string]string{"Origin": "http://app.example.com"}, false},
		{"another, by a method that changes nothing", "GET", map[string]string{"Sec-Fetch-Site": "cross-site"}, true},
	} {
		r := httptest.NewRequest(c.method, "https://app.example.com/login", nil)
		for name, value := range c.fields {
			r.Header.Set(name, value)
		}
		var inside error
		serve(g.Open(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { inside = g.SameOrigin(r) })), r.Clone(r.Context()))
		var within error
		serve(other.Open(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { within = g.SameOrigin(r) })), r.Clone(r.Context()))
		for where, err := range map[string]error{"inside": inside, "outside": g.SameOrigin(r), "inside another": within} {
			if (err == nil) != c.ok || err != nil && !errors.Is(err, durward.CrossSite) {
				t.Errorf("%s, %s the guard: %v, want it let in: %v", c.name, where, err, c.ok)
			}
		}
	}
}
