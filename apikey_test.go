package durward_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/durward-auth/durward"
)

// checkKey is the check of these tests and of the wire tests.
func checkKey(_ context.Context, key string) (*durward.Principal, error) {
	switch key {
	case "dk_good":
		return &durward.Principal{Subject: "robot", Scopes: []string{"profile", "read"}}, nil
	case "dk_revoked":
		return nil, fmt.Errorf("key 7 was revoked: %w", durward.InvalidAPIKey)
	case "dk_outage":
		return nil, errors.New("dial tcp 10.0.0.7:5432: connection refused")
	}
	return nil, fmt.Errorf("in no table: %w", durward.InvalidAPIKey)
}

// TestAPIKey: the field in which a key is sent determines its challenges; the prefix identifies a
// key. The order of configuration does not matter.
func TestAPIKey(t *testing.T) {
	t.Parallel()
	const (
		none    = `ApiKey realm="api", field="X-API-Key"`
		plain   = `Bearer realm="api"`
		basic   = `Basic realm="api", charset="UTF-8"`
		invalid = `Bearer realm="api", error="invalid_token", error_description="The API key is not valid."`
	)
	long := func(n int) string { return "dk_" + strings.Repeat("x", n-3) }
	for _, c := range []struct {
		name       string
		fields     http.Header
		status     int
		code       durward.Code // or who, with 200
		error      string       // of the problem details
		challenges []string
	}{
		{"none", nil, 401, durward.AuthenticationRequired, "", lines(plain, none, basic)},
		{"good", fields("X-API-Key", "dk_good"), 200, "robot", "", nil},
		{"good, blanks around", fields("X-API-Key", " \tdk_good\t "), 200, "robot", "", nil},
		{"good as Bearer", fields("Authorization", "Bearer dk_good"), 200, "robot", "", nil},
		{"good as bearer", fields("Authorization", "bEARER dk_good"), 200, "robot", "", nil},
		{"a token is no key", fields("Authorization", "Bearer good"), 200, "ada", "", nil},
		{"a key is no password", fields("Authorization", "Basic dk_good"), 401, durward.MalformedCredentials, "", lines(plain, none, basic)},
		{"unknown", fields("X-API-Key", "dk_unknown"), 401, durward.InvalidAPIKey, "", lines(plain, none, basic)},
		{"unknown as Bearer", fields("Authorization", "Bearer dk_unknown"), 401, durward.InvalidAPIKey, "invalid_token", lines(invalid, none, basic)},
		{"revoked", fields("X-API-Key", "dk_revoked"), 401, durward.InvalidAPIKey, "", lines(plain, none, basic)},
		{"revoked as Bearer", fields("Authorization", "Bearer dk_revoked"), 401, durward.InvalidAPIKey, "invalid_token", lines(invalid, none, basic)},
		{"outage", fields("X-API-Key", "dk_outage"), 503, durward.AuthUnavailable, "", nil},
		{"outage as Bearer", fields("Authorization", "Bearer dk_outage"), 503, durward.AuthUnavailable, "", nil},
		{"cut", fields("X-API-Key", "dk_goo"), 401, durward.InvalidAPIKey, "", lines(plain, none, basic)},
		{"lengthened", fields("X-API-Key", "dk_goodx"), 401, durward.InvalidAPIKey, "", lines(plain, none, basic)},
		{"another case", fields("X-API-Key", "dk_GOOD"), 401, durward.InvalidAPIKey, "", lines(plain, none, basic)},
		{"another case of the prefix", fields("X-API-Key", "DK_good"), 401, durward.InvalidAPIKey, "", lines(plain, none, basic)},
		{"the prefix alone", fields("X-API-Key", "dk_"), 401, durward.InvalidAPIKey, "", lines(plain, none, basic)},
		{"empty", fields("X-API-Key", ""), 401, durward.InvalidAPIKey, "", lines(plain, none, basic)},
		{"without its prefix", fields("X-API-Key", "good"), 401, durward.InvalidAPIKey, "", lines(plain, none, basic)},
		{"a token in the key's field", fields("X-API-Key", "Bearer dk_good"), 401, durward.InvalidAPIKey, "", lines(plain, none, basic)},
		{"a blank inside", fields("X-API-Key", "dk_ good"), 401, durward.InvalidAPIKey, "", lines(plain, none, basic)},
		{"a list", fields("X-API-Key", "dk_good, dk_good"), 401, durward.InvalidAPIKey, "", lines(plain, none, basic)},
		{"a look-alike", fields("X-API-Key", "dk_g\u043eod"), 401, durward.InvalidAPIKey, "", lines(plain, none, basic)},
		{"a no-break space around", fields("X-API-Key", "dk_good\u00a0"), 401, durward.InvalidAPIKey, "", lines(plain, none, basic)},
		{"a no-break space before", fields("X-API-Key", "\u00a0dk_good"), 401, durward.InvalidAPIKey, "", lines(plain, none, basic)},
		{"full width", fields("X-API-Key", "dk_\uff47\uff4f\uff4f\uff44"), 401, durward.InvalidAPIKey, "", lines(plain, none, basic)},
		{"invalid UTF-8", fields("X-API-Key", "dk_good\xff"), 401, durward.InvalidAPIKey, "", lines(plain, none, basic)},
		{"NUL", fields("X-API-Key", "dk_good\x00"), 401, durward.InvalidAPIKey, "", lines(plain, none, basic)},
		{"DEL", fields("X-API-Key", "dk_good\x7f"), 401, durward.InvalidAPIKey, "", lines(plain, none, basic)},
		{"too long", fields("X-API-Key", long(1025)), 401, durward.InvalidAPIKey, "", lines(plain, none, basic)},
		{"too long as Bearer", fields("Authorization", "Bearer "+long(1025)), 401, durward.InvalidAPIKey, "invalid_token", lines(invalid, none, basic)},
		{"in both places", fields("X-API-Key", "dk_good", "Authorization", "Bearer dk_good"), 400, durward.AmbiguousCredentials, "invalid_request",
			lines(`Bearer realm="api", error="invalid_request", error_description="The request has more than one set of credentials."`)},
		{"beside a password", fields("X-API-Key", "dk_good", "Authorization", pair("ada", password)), 400, durward.AmbiguousCredentials, "invalid_request",
			lines(`Bearer realm="api", error="invalid_request", error_description="The request has more than one set of credentials."`)},
		{"twice", fields("X-API-Key", "dk_good", "X-API-Key", "dk_good"), 400, durward.AmbiguousCredentials, "invalid_request",
			lines(`Bearer realm="api", error="invalid_request", error_description="The request has more than one set of credentials."`)},
	} {
		schemes := []durward.Scheme{durward.APIKey("dk_", checkKey), durward.Bearer(verify), durward.Basic(checkPassword)}
		for _, order := range []string{"as given", "backwards"} {
			g := newGuard(t, durward.Config{Schemes: slices.Clone(schemes)})
			slices.Reverse(schemes)
			r := get("")
			for name, values := range c.fields {
				r.Header[name] = values
			}
			w := serve(g.Handler(hello), r)
			if c.status == 200 {
				if w.Code != 200 || w.Body.String() != string(c.code) || w.Header().Get("Cache-Control") != "private" {
					t.Errorf("%s, %s: got %d %s %v, want 200 %s", c.name, order, w.Code, w.Body, w.Header(), c.code)
				}
				continue
			}
			wants(t, c.name+", "+order, w, c.status, c.code)
			if got := w.Header()["Www-Authenticate"]; !slices.Equal(got, c.challenges) {
				t.Errorf("%s, %s: got the challenges\n%s\nwant\n%s", c.name, order, strings.Join(got, "\n"), strings.Join(c.challenges, "\n"))
			}
			if want := fmt.Sprintf("%q:%q", "error", c.error); strings.Contains(w.Body.String(), `"error"`) != (c.error != "") || c.error != "" && !strings.Contains(w.Body.String(), want) {
				t.Errorf("%s, %s: want the error %q in\n%s", c.name, order, c.error, w.Body)
			}
			for _, key := range c.fields["X-Api-Key"] {
				if len(key) > 6 && strings.Contains(fmt.Sprint(w.Header(), w.Body), key) {
					t.Errorf("%s: the answer holds the key", c.name)
				}
			}
		}
	}
}

// The check receives exactly the key that was sent, up to 1 KiB, and nothing else.
func TestAPIKeyCheck(t *testing.T) {
	t.Parallel()
	var got []string
	g := newGuard(t, durward.Config{Schemes: []durward.Scheme{durward.APIKey("dk_", func(_ context.Context, key string) (*durward.Principal, error) {
		got = append(got, key)
		return &durward.Principal{Subject: "robot"}, nil
	})}})
	var scheme string
	h := g.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { scheme = durward.From(r.Context()).Scheme }))
	longest := "dk_" + strings.Repeat("~", 1021)
	for _, key := range []string{"dk_a", "dk_A-._~+/==", longest, "dk_!\"#$%&'()*,:;<>?@[]^`{|}"} {
		got, scheme = nil, ""
		r := get("")
		r.Header.Set("X-API-Key", key)
		if w := serve(h, r); w.Code != 200 || !slices.Equal(got, lines(key)) || scheme != "ApiKey" {
			t.Errorf("%.30q: got %d, the check was given %q, the scheme is %q", key, w.Code, got, scheme)
		}
	}
	got, scheme = nil, ""
	if w := serve(h, over("GET", "/x", "", "Bearer dk_A-._~+/==")); w.Code != 200 || !slices.Equal(got, lines("dk_A-._~+/==")) || scheme != "ApiKey" {
		t.Errorf("as Bearer: got %d, the check was given %q, the scheme is %q", w.Code, got, scheme)
	}
	// A Bearer token without the prefix of keys belongs to no scheme here.
	got = nil
	w := serve(g.Handler(never(t)), get("good"))
	wants(t, "a token", w, 401, durward.UnsupportedScheme)
	// A field without a line, as only a program makes it, is none.
	r := get("")
	r.Header["X-Api-Key"] = []string{}
	wants(t, "no line", serve(g.Handler(never(t)), r), 401, durward.AuthenticationRequired)
	// A key in the URL is not looked at.
	wants(t, "in the URL", serve(g.Handler(never(t)), httptest.NewRequest("GET", "https://api.example/x?api_key=dk_a&X-API-Key=dk_a", nil)), 401, durward.AuthenticationRequired)
	if got != nil {
		t.Errorf("the check was given %q", got)
	}
}

func TestAPIKeyConfig(t *testing.T) {
	t.Parallel()
	key := func(prefix string) durward.Scheme { return durward.APIKey(prefix, checkKey) }
	for _, c := range []struct {
		name    string
		schemes []durward.Scheme
		want    string // in the error; empty for none
	}{
		{"one", []durward.Scheme{key("dk_")}, ""},
		{"no check", []durward.Scheme{durward.APIKey("dk_", nil)}, "nil check"},
		{"no prefix", []durward.Scheme{key("")}, "prefix"},
		{"a blank in the prefix", []durward.Scheme{key("d k")}, "prefix"},
		{"a prefix beyond ASCII", []durward.Scheme{key("d\u00e9_")}, "prefix"},
		{"two families", []durward.Scheme{key("dk_"), key("pk_")}, ""},
		{"twice", []durward.Scheme{key("dk_"), key("dk_")}, "would match both"},
		{"one begins as the other", []durward.Scheme{key("dk_"), key("dk_test_")}, "would match both"},
		{"and the other way round", []durward.Scheme{key("dk_test_"), key("dk_")}, "would match both"},
	} {
		_, err := durward.New(durward.Config{Schemes: c.schemes})
		if (err != nil) != (c.want != "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error that names %q", c.name, err, c.want)
		}
	}
}

// Two families of keys are distinguished by their prefixes.
func TestAPIKeyFamilies(t *testing.T) {
	t.Parallel()
	family := func(name string) durward.KeyCheck {
		return func(_ context.Context, key string) (*durward.Principal, error) {
			if strings.HasSuffix(key, "bad") {
				return nil, durward.InvalidAPIKey
			}
			return &durward.Principal{Subject: name}, nil
		}
	}
	schemes := []durward.Scheme{durward.APIKey("dk_", family("people")), durward.APIKey("pk_", family("programs"))}
	for range 2 {
		slices.Reverse(schemes)
		g := newGuard(t, durward.Config{Schemes: slices.Clone(schemes)})
		for key, who := range map[string]string{"dk_1": "people", "pk_1": "programs"} {
			r := get("")
			r.Header.Set("X-API-Key", key)
			for place, r := range map[string]*http.Request{"field": r, "Bearer": get(key)} {
				if w := serve(g.Handler(hello), r); w.Code != 200 || w.Body.String() != who {
					t.Errorf("%s as %s: got %d %s, want %s", key, place, w.Code, w.Body, who)
				}
			}
		}
		r := get("")
		r.Header.Set("X-API-Key", "xk_1")
		wants(t, "of neither", serve(g.Handler(never(t)), r), 401, durward.InvalidAPIKey)
		wants(t, "bad", serve(g.Handler(never(t)), get("dk_bad")), 401, durward.InvalidAPIKey)
	}
}

// Refusals by a policy use the scheme in which the key was sent. A key cannot step up.
func TestAPIKeyPolicies(t *testing.T) {
	t.Parallel()
	g := newGuard(t, durward.Config{Schemes: []durward.Scheme{durward.APIKey("dk_", checkKey)}, Metadata: "https://api.example/.well-known/oauth-protected-resource"})
	const challenge = `Bearer realm="api", error="insufficient_scope", error_description="The credentials do not have the required scopes.", scope="read write", resource_metadata="https://api.example/.well-known/oauth-protected-resource"`
	for _, c := range []struct {
		name       string
		policy     durward.Policy
		status     int
		code       durward.Code
		challenges []string // where it came as Bearer; none as X-API-Key
	}{
		{"scopes that it has", durward.Policy{Scopes: lines("read")}, 200, "", nil},
		{"scopes that it has not", durward.Policy{Scopes: lines("read", "write")}, 403, durward.InsufficientScope, lines(challenge)},
		{"a strong sign-in", durward.Policy{ACR: lines("phr")}, 403, durward.Forbidden, nil},
		{"a fresh sign-in", durward.Policy{MaxAge: 1}, 403, durward.Forbidden, nil},
	} {
		inField := get("")
		inField.Header.Set("X-API-Key", "dk_good")
		for place, r := range map[string]*http.Request{"field": inField, "Bearer": get("dk_good")} {
			w := serve(g.Require(c.policy, hello), r)
			if c.status == 200 {
				if w.Code != 200 {
					t.Errorf("%s, %s: got %d, want 200", c.name, place, w.Code)
				}
				continue
			}
			wants(t, c.name+", "+place, w, c.status, c.code)
			want := c.challenges
			if place == "field" {
				want = nil
			}
			if got := w.Header()["Www-Authenticate"]; !slices.Equal(got, want) {
				t.Errorf("%s, %s: got the challenges %q, want %q", c.name, place, got, want)
			}
		}
	}
	// Optional does not mean that a bad key passes.
	for _, key := range lines("dk_unknown", "") {
		r := get("")
		r.Header.Set("X-API-Key", key)
		wants(t, "optional", serve(g.Require(durward.Policy{Optional: true}, never(t)), r), 401, durward.InvalidAPIKey)
	}
	r := get("")
	r.Header.Set("X-API-Key", "dk_outage")
	wants(t, "optional, outage", serve(g.Require(durward.Policy{Optional: true}, never(t)), r), 503, durward.AuthUnavailable)
}

// FuzzAPIKey: the check receives the field unchanged or not at all, and the response never contains
// it.
func FuzzAPIKey(f *testing.F) {
	for _, key := range []string{"dk_good", " dk_good ", "dk_", "", "dk_a b", "dk_\u00e9", "dk_\x00", "\u00a0dk_good", "DK_good", "Bearer dk_good", "dk_" + strings.Repeat("x", 1022)} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, field string) {
		var given []string
		g := newGuard(t, durward.Config{Schemes: []durward.Scheme{durward.APIKey("dk_", func(_ context.Context, key string) (*durward.Principal, error) {
			given = append(given, key)
			return &durward.Principal{Subject: "robot"}, nil
		})}})
		r := get("")
		r.Header.Set("X-API-Key", field)
		w := serve(g.Handler(hello), r)
		if w.Code != 200 {
			if wants(t, "refused", w, 401, durward.InvalidAPIKey); given != nil {
				t.Errorf("refused, and the check was given %q", given)
			}
			return
		}
		if len(given) != 1 || given[0] != strings.Trim(field, " \t") || len(given[0]) > 1024 || !strings.HasPrefix(given[0], "dk_") ||
			strings.ContainsFunc(given[0], func(c rune) bool { return c <= ' ' || c > '~' }) {
			t.Errorf("%q: the check was given %q", field, given)
		}
	})
}

// TestNewAPIKey: keys have the given prefix, differ, and pass the scheme with that prefix.
func TestNewAPIKey(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for range 100 {
		key := durward.NewAPIKey("notes_live_")
		if !strings.HasPrefix(key, "notes_live_") || seen[key] {
			t.Fatalf("got %q, want another key with the prefix notes_live_", key)
		}
		seen[key] = true
		api := durward.Protect(http.NotFoundHandler(), durward.APIKey("notes_live_",
			func(_ context.Context, got string) (*durward.Principal, error) {
				if got != key {
					t.Errorf("the check gets %q, want %q", got, key)
				}
				return &durward.Principal{Subject: "robot"}, nil
			}))
		r := httptest.NewRequest("GET", "https://api.example/", nil)
		r.Header.Set("X-API-Key", key)
		w := httptest.NewRecorder()
		if api.ServeHTTP(w, r); w.Code != http.StatusNotFound {
			t.Errorf("request with a new key: status %d, want 404", w.Code)
		}
	}
}
