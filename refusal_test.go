package durward_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-auth/durward"
)

// refuse has a handler behind a guard refuse a request that came with a good
// token.
func refuse(g *durward.Guard, err error) *httptest.ResponseRecorder {
	return serve(g.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.Refuse(w, r, err) })), get("good"))
}

// TestTable holds every code to its status and to its challenges.
func TestTable(t *testing.T) {
	t.Parallel()
	const (
		none  = "" // no challenge
		plain = `^Bearer realm="api"$`
	)
	oauth := func(e string) string {
		return `^Bearer realm="api", error="` + e + `", error_description="[ !#-\[\]-~]+"`
	}
	wanted := map[durward.Code]struct {
		status    int
		challenge string
	}{
		durward.AuthenticationRequired:      {401, plain},
		durward.UnsupportedScheme:           {401, plain},
		durward.MalformedCredentials:        {401, plain},
		durward.AmbiguousCredentials:        {400, oauth("invalid_request")},
		durward.InvalidRequest:              {400, none},
		durward.InvalidToken:                {401, oauth("invalid_token")},
		durward.TokenExpired:                {401, oauth("invalid_token")},
		durward.TokenRevoked:                {401, oauth("invalid_token")},
		durward.InvalidCredentials:          {401, plain},
		durward.InvalidAPIKey:               {401, oauth("invalid_token")},
		durward.SessionExpired:              {401, plain},
		durward.RefreshInvalid:              {401, plain},
		durward.RefreshExpired:              {401, plain},
		durward.SessionRevoked:              {401, plain},
		durward.StaleNonce:                  {401, plain},
		durward.InvalidProof:                {401, oauth("invalid_dpop_proof")},
		durward.NonceRequired:               {401, oauth("use_dpop_nonce")},
		durward.MFARequired:                 {401, plain},
		durward.StepUpRequired:              {401, oauth("insufficient_user_authentication")},
		durward.EnrolmentRequired:           {403, none},
		durward.InsufficientScope:           {403, oauth("insufficient_scope")},
		durward.Forbidden:                   {403, none},
		durward.CrossSite:                   {403, none},
		durward.AccountDisabled:             {403, none},
		durward.EmailUnverified:             {403, none},
		durward.PasswordChangeRequired:      {403, none},
		durward.ClientCertificateRequired:   {403, none},
		durward.InsecureTransport:           {403, none},
		durward.ProxyAuthenticationRequired: {407, plain},
		durward.TooManyAttempts:             {429, none},
		durward.AuthUnavailable:             {503, none},
		durward.NotFound:                    {404, none},
		durward.MethodNotAllowed:            {405, none},
		durward.EmailTaken:                  {409, none},
		durward.BodyTooLarge:                {413, none},
		durward.UnsupportedMediaType:        {415, none},
		durward.Internal:                    {500, none},
		durward.MisdirectedRequest:          {421, none},
	}
	if got, want := durward.Codes(), slices.Sorted(maps.Keys(wanted)); !slices.Equal(got, want) {
		t.Errorf("got the codes %q, want %q", got, want)
	}
	for code, want := range wanted {
		g := newGuard(t, durward.Config{Docs: "https://auth.example/errors/"})
		w := refuse(g, code)
		wants(t, "status", w, want.status, code)
		if code.Status() != want.status {
			t.Errorf("%s: Status is %d, want %d", code, code.Status(), want.status)
		}
		asks, other := "Www-Authenticate", "Proxy-Authenticate"
		if want.status == 407 {
			asks, other = other, asks // RFC 9110 s15.5.8; never both in one answer
		}
		challenge := strings.Join(w.Header()[asks], "\n")
		if (challenge == "") != (want.challenge == none) || !regexp.MustCompile(want.challenge).MatchString(challenge) || w.Header()[other] != nil {
			t.Errorf("%s: got %s: %s and %s: %q, want %s", code, asks, challenge, other, w.Header()[other], want.challenge)
		}
		if got := w.Header().Get("Retry-After"); (got != "") != (want.status == 429 || want.status == 503) {
			t.Errorf("%s: Retry-After is %q", code, got)
		}
		for field, want := range map[string]string{"Cache-Control": "no-store", "Content-Type": "application/problem+json", "X-Content-Type-Options": "nosniff", "Content-Length": fmt.Sprint(w.Body.Len())} {
			if got := w.Header().Get(field); got != want {
				t.Errorf("%s: %s is %q, want %q", code, field, got, want)
			}
		}
		var body map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
			t.Fatalf("%s: %v in %s", code, err, w.Body)
		}
		oauthError := ""
		if c, err := durward.ParseChallenges(w.Header()[asks]); err == nil && len(c) > 0 {
			oauthError, _ = c[0].Param("error")
		}
		if got, _ := body["error"].(string); got != oauthError {
			t.Errorf("%s: the error of the body is %q, of the challenge %q", code, got, oauthError)
		}
		if body["type"] != "https://auth.example/errors/"+string(code) || body["title"] == "" || body["detail"] == "" || body["instance"] != "urn:durward:denial:"+w.Header().Get("Durward-Denial") {
			t.Errorf("%s: got the body %s", code, w.Body)
		}
		// Without pages, type is about:blank and title the status phrase (RFC 9457 s4.2.1).
		w = refuse(newGuard(t, durward.Config{}), code)
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || body["type"] != "about:blank" || body["title"] != http.StatusText(want.status) {
			t.Errorf("%s without pages: got the body %s", code, w.Body)
		}
	}
	if got := durward.Code("NO_SUCH_CODE").Status(); got != 503 {
		t.Errorf("the status of a code that is not in the table is %d, want 503", got)
	}
}

// What an error says ends up in the answer, in the log, or in both.
func TestRefusal(t *testing.T) {
	t.Parallel()
	var nothing *durward.Refusal
	cause := errors.New("row 7 of sessions")
	for _, c := range []struct {
		name   string
		err    error
		code   durward.Code
		answer []string // in the body
		fields map[string]string
		log    []string // in Refusal.Error
	}{
		{"a code", durward.Forbidden, durward.Forbidden, lines("The user or client is not allowed to do this."), nil, lines("FORBIDDEN")},
		{"a wrapped code", fmt.Errorf("%w: %w", cause, durward.Forbidden), durward.Forbidden, lines("The user or client is not allowed to do this."), nil, lines("row 7")},
		{"the words of a refusal", &durward.Refusal{Code: durward.InvalidRequest, Detail: "The member \"age\" is no number.", Hint: "Send <one>.", Err: cause}, durward.InvalidRequest,
			lines(`"detail":"The member \"age\" is no number."`, `"hint":"Send <one>."`), nil, lines("row 7")},
		{"a wrapped refusal", fmt.Errorf("outside: %w", &durward.Refusal{Code: durward.Forbidden, Detail: "No.", Err: cause}), durward.Forbidden, lines(`"detail":"No."`), nil, lines("outside", "row 7")},
		{"a refusal of another request", &durward.Refusal{Code: durward.Forbidden, Status: 200, Scheme: "X", Challenges: []durward.Challenge{{Scheme: "X"}}}, durward.Forbidden, nil, map[string]string{"Www-Authenticate": ""}, nil},
		{"members", &durward.Refusal{Code: durward.MFARequired, Members: map[string]any{"methods": []string{"totp"}, "a\"b": "<>"}}, durward.MFARequired, lines(`,"a\"b":"<>","methods":["totp"]}`), nil, nil},
		{"a member that is no JSON", &durward.Refusal{Code: durward.Forbidden, Members: map[string]any{"a": math.NaN(), "b": func() {}, "c": 1}}, durward.Forbidden, lines(`,"a":null,"b":null,"c":1}`), nil, nil},
		{"text that is no UTF-8", &durward.Refusal{Code: durward.Forbidden, Detail: "a\xffb\x00"}, durward.Forbidden, lines(`a\ufffdb\u0000`), nil, nil},
		{"methods", &durward.Refusal{Code: durward.MethodNotAllowed, Allow: lines("GET", "HEAD")}, durward.MethodNotAllowed, nil, map[string]string{"Allow": "GET, HEAD"}, nil},
		{"a second", &durward.Refusal{Code: durward.TooManyAttempts, RetryAfter: time.Second}, durward.TooManyAttempts, nil, map[string]string{"Retry-After": "1"}, nil},
		{"rounded up", &durward.Refusal{Code: durward.TooManyAttempts, RetryAfter: time.Second + 1}, durward.TooManyAttempts, nil, map[string]string{"Retry-After": "2"}, nil},
		{"for ever", &durward.Refusal{Code: durward.AuthUnavailable, RetryAfter: math.MaxInt64}, durward.AuthUnavailable, nil, map[string]string{"Retry-After": "9223372037"}, nil},
		{"a time that is past", &durward.Refusal{Code: durward.TooManyAttempts, RetryAfter: -time.Second}, durward.TooManyAttempts, nil, map[string]string{"Retry-After": "60"}, nil},
		{"no error", nil, durward.Internal, nil, nil, lines("without a reason")},
		{"a nil refusal", nothing, durward.Internal, nil, nil, lines("nil *Refusal")},
		{"a wrapped nil refusal", fmt.Errorf("outside: %w", nothing), durward.Internal, nil, nil, lines("nil *Refusal")},
		{"a refusal without a code", &durward.Refusal{}, durward.AuthUnavailable, nil, nil, lines(`code "" is not in the table`)},
	} {
		var told *durward.Refusal
		g := newGuard(t, durward.Config{OnRefusal: func(_ *http.Request, f *durward.Refusal) { told = f }})
		w := refuse(g, c.err)
		wants(t, c.name, w, c.code.Status(), c.code)
		if !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s: no JSON: %s", c.name, w.Body)
		}
		for _, part := range c.answer {
			if !strings.Contains(w.Body.String(), part) {
				t.Errorf("%s: got the body %s, want %s in it", c.name, w.Body, part)
			}
		}
		for field, want := range c.fields {
			if got := w.Header().Get(field); got != want {
				t.Errorf("%s: %s is %q, want %q", c.name, field, got, want)
			}
		}
		for _, part := range c.log {
			if !strings.Contains(told.Error(), part) {
				t.Errorf("%s: the log gets %v, want %q in it", c.name, told, part)
			}
		}
		if strings.Contains(told.Error(), "%!") {
			t.Errorf("%s: the log gets %v", c.name, told)
		}
		for _, secret := range lines("row 7", "outside", "nil *Refusal", "no row") {
			if strings.Contains(fmt.Sprint(w.Header(), w.Body), secret) {
				t.Errorf("%s: the client reads the cause:\n%v\n%s", c.name, w.Header(), w.Body)
			}
		}
		if !errors.Is(told, c.code) || c.err != nil && told.Err != nil && errors.Is(c.err, cause) != errors.Is(told, cause) {
			t.Errorf("%s: %v does not unwrap to its code and its cause", c.name, told)
		}
	}
	// Refuse does not modify its argument: one Refusal may serve many requests.
	shared := &durward.Refusal{Code: durward.TooManyAttempts}
	refuse(newGuard(t, durward.Config{}), shared)
	if diff := cmp.Diff(&durward.Refusal{Code: durward.TooManyAttempts}, shared); diff != "" {
		t.Errorf("the Refusal that was given is changed (-before +after):\n%s", diff)
	}
}

// Required and granted scopes are lists, also if they are empty.
func TestScopeMembers(t *testing.T) {
	t.Parallel()
	g := newGuard(t, durward.Config{Schemes: []durward.Scheme{fake{name: "Key"}}})
	r := get("")
	r.Header.Set("Key", "1")
	w := serve(g.Require(durward.Policy{Scopes: lines("a", "b")}, never(t)), r)
	wants(t, "no scope", w, 403, durward.InsufficientScope)
	if want := `,"granted_scopes":[],"required_scopes":["a","b"]}`; !strings.Contains(w.Body.String(), want) {
		t.Errorf("got %s, want %s in it", w.Body, want)
	}
}

// A policy that returns a nil *Refusal refuses the request.
func TestNilRefusalIsNotLeave(t *testing.T) {
	t.Parallel()
	g := newGuard(t, durward.Config{})
	h := g.Require(durward.Policy{Allow: func(*http.Request, *durward.Principal) error {
		var f *durward.Refusal
		return f
	}}, never(t))
	wants(t, "nil *Refusal", serve(h, get("good")), 500, durward.Internal)
	var f *durward.Refusal
	if got := f.Error(); got == "" || errors.Is(f, durward.Forbidden) {
		t.Errorf("a nil refusal says %q, or is one for a reason", got)
	}
}

func TestHints(t *testing.T) {
	t.Parallel()
	g := newGuard(t, durward.Config{Hints: map[durward.Code]string{durward.TokenExpired: "Ask Ada.", durward.Forbidden: ""}})
	hint := func(err error) string {
		var body struct{ Hint string }
		if err := json.Unmarshal(refuse(g, err).Body.Bytes(), &body); err != nil {
			t.Fatal(err)
		}
		return body.Hint
	}
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"the application's", durward.TokenExpired, "Ask Ada."},
		{"the table's", durward.TokenRevoked, "Sign in again."},
		{"the refusal's own", &durward.Refusal{Code: durward.TokenExpired, Hint: "Run."}, "Run."},
		{"an empty one of the application: none", durward.Forbidden, ""},
		{"an empty one of the application, and the refusal's own", &durward.Refusal{Code: durward.Forbidden, Hint: "Run."}, "Run."},
	} {
		if got := hint(c.err); got != c.want {
			t.Errorf("%s: got the hint %q, want %q", c.name, got, c.want)
		}
	}
}

// The denial id is a ULID: 26 digits of Crockford's base 32, of which the first ten are the
// milliseconds of the clock.
func TestDenialID(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^[0-7][0-9A-HJKMNP-TV-Z]{25}$`)
	seen := make(map[string]bool)
	for _, now := range []time.Time{time.UnixMilli(0), noon, time.UnixMilli(1<<48 - 1)} {
		g := newGuard(t, durward.Config{Now: func() time.Time { return now }})
		for range 100 {
			id := refuse(g, durward.Forbidden).Header().Get("Durward-Denial")
			if !form.MatchString(id) || seen[id] {
				t.Fatalf("%q is no ULID or not the first of its kind", id)
			}
			seen[id] = true
			ms := int64(0)
			for _, digit := range id[:10] {
				ms = ms<<5 | int64(strings.IndexRune("0123456789ABCDEFGHJKMNPQRSTVWXYZ", digit))
			}
			if ms != now.UnixMilli() {
				t.Fatalf("%s is of millisecond %d, want %d", id, ms, now.UnixMilli())
			}
		}
	}
}

// A refusal is readable to a script of another origin, and no field that the
// handler set for its own answer is left on it.
func TestRefusalFields(t *testing.T) {
	t.Parallel()
	g := newGuard(t, durward.Config{})
	r := get("")
	r.Header.Set("Origin", "https://app.example")
	w := httptest.NewRecorder()
	w.Header().Set("Content-Encoding", "gzip")
	w.Header().Set("Content-Length", "7")
	w.Header().Set("Content-Type", "image/png")
	w.Header().Set("Cache-Control", "public")
	g.Handler(never(t)).ServeHTTP(w, r)
	wants(t, "no credentials", w, 401, durward.AuthenticationRequired)
	for field, want := range map[string]string{
		"Access-Control-Expose-Headers": "WWW-Authenticate, DPoP-Nonce, Retry-After, Durward-Denial",
		"Content-Encoding":              "", "Content-Type": "application/problem+json", "Content-Length": fmt.Sprint(w.Body.Len()), "Cache-Control": "no-store",
	} {
		if got := w.Header().Get(field); got != want {
			t.Errorf("%s is %q, want %q", field, got, want)
		}
	}
	if w := serve(g.Handler(never(t)), get("")); w.Header()["Access-Control-Expose-Headers"] != nil {
		t.Errorf("no Origin, and yet %q", w.Header()["Access-Control-Expose-Headers"])
	}
}
