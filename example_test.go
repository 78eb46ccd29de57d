package durward_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/durward-auth/durward"
)

// lookUp stands for a verifier, such as that of package jwt or a table of tokens.
func lookUp(_ context.Context, token string) (*durward.Principal, error) {
	switch token {
	case "ada-token":
		return &durward.Principal{Scheme: "Bearer", Subject: "ada", Scopes: []string{"read"}}, nil
	case "old-token":
		return nil, fmt.Errorf("expired 3s ago: %w", durward.TokenExpired)
	}
	return nil, fmt.Errorf("in no table: %w", durward.InvalidToken)
}

// try sends a request with an Authorization field, unless it is empty, and prints the response.
func try(h http.Handler, authorization string) {
	r := httptest.NewRequest("GET", "https://api.example/notes", nil)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	fmt.Println(w.Code)
	for _, challenge := range w.Header().Values("WWW-Authenticate") {
		fmt.Println(" ", challenge)
	}
}

func ExampleProtect() {
	notes := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("hello,", durward.From(r.Context()).Subject)
	})
	api := durward.Protect(notes, durward.Bearer(lookUp))

	try(api, "")
	try(api, "Bearer old-token")
	try(api, "Bearer ada-token")
	// Output:
	// 401
	//   Bearer realm="restricted"
	// 401
	//   Bearer realm="restricted", error="invalid_token", error_description="The access token has expired."
	// hello, ada
	// 200
}

func ExampleGuard_Require() {
	guard, err := durward.New(durward.Config{
		Schemes: []durward.Scheme{durward.Bearer(lookUp)},
		Realm:   "notes",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ok := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	read := guard.Require(durward.Policy{Scopes: []string{"read"}}, ok)
	write := guard.Require(durward.Policy{Scopes: []string{"write"}}, ok)
	weekends := guard.Require(durward.Policy{Allow: func(*http.Request, *durward.Principal) error {
		return fmt.Errorf("it is a Monday: %w", durward.Forbidden) // the client reads the code, the log the cause
	}}, ok)

	try(read, "Bearer ada-token")
	try(write, "Bearer ada-token")
	try(weekends, "Bearer ada-token")
	// Output:
	// 200
	// 403
	//   Bearer realm="notes", error="insufficient_scope", error_description="The credentials do not have the required scopes.", scope="write"
	// 403
}

func ExampleFrom() {
	guard, err := durward.New(durward.Config{Schemes: []durward.Scheme{durward.Bearer(lookUp)}})
	if err != nil {
		fmt.Println(err)
		return
	}
	greet := guard.Require(durward.Policy{Optional: true}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := durward.From(r.Context())
		if who.Anonymous() { // its methods work on nil, its fields do not
			fmt.Println("hello, guest")
			return
		}
		fmt.Println("hello,", who.Subject, "- may write:", who.HasScope("write"))
	}))

	try(greet, "")
	try(greet, "Bearer ada-token")
	try(greet, "Bearer no-token") // optional does not mean that bad credentials pass
	// Output:
	// hello, guest
	// 200
	// hello, ada - may write: false
	// 200
	// 401
	//   Bearer realm="restricted", error="invalid_token", error_description="The access token is not valid."
}

// An error that wraps no Code is an outage: the client keeps its token and tries
// again.
func ExampleBearer_outage() {
	api := durward.Protect(http.NotFoundHandler(), durward.Bearer(func(context.Context, string) (*durward.Principal, error) {
		return nil, context.DeadlineExceeded // the database did not answer
	}))
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "https://api.example/notes", nil)
	r.Header.Set("Authorization", "Bearer ada-token")
	api.ServeHTTP(w, r)
	fmt.Println(w.Code, "after", w.Header().Get("Retry-After"), "seconds")
	// Output: 503 after 5 seconds
}

// A handler refuses with the same answers as the guard.
func ExampleGuard_Refuse() {
	guard, err := durward.New(durward.Config{
		Schemes: []durward.Scheme{durward.Session()},
		OnRefusal: func(r *http.Request, f *durward.Refusal) {
			fmt.Println("log:", f.Status, f) // the cause, only for the log
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	signIn := guard.Open(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		guard.Refuse(w, r, &durward.Refusal{
			Code: durward.TooManyAttempts, RetryAfter: 90 * time.Second,
			Err: fmt.Errorf("11 attempts from %s", durward.ClientAddr(r.Context())),
		})
	}))
	w := httptest.NewRecorder()
	signIn.ServeHTTP(w, httptest.NewRequest("POST", "https://auth.example/login", nil))
	fmt.Println("client:", w.Code, "wait", w.Header().Get("Retry-After"), "seconds")
	// Output:
	// log: 429 TOO_MANY_ATTEMPTS: 11 attempts from 192.0.2.1
	// client: 429 wait 90 seconds
}

// Basic with a check that is slow on purpose: it is asked once for a pair that is
// right, until the person's standing changes.
func ExampleRemember() {
	stored := map[string]string{"ada": "secret"} // a real store keeps a hash
	signIn := func(_ context.Context, user, password string) (*durward.Principal, error) {
		fmt.Println("  the slow check is asked")
		if want, ok := stored[user]; !ok || want != password {
			return nil, fmt.Errorf("wrong user or password: %w", durward.InvalidCredentials)
		}
		return &durward.Principal{Subject: user}, nil
	}
	standing := func(_ context.Context, user string) (string, error) { return stored[user], nil }
	ok := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	api := durward.Protect(ok, durward.Basic(durward.Remember(signIn, standing)))

	try(api, "Basic YWRhOnNlY3JldA==") // ada:secret
	try(api, "Basic YWRhOnNlY3JldA==")
	stored["ada"] = "another"
	try(api, "Basic YWRhOnNlY3JldA==")
	// Output:
	//   the slow check is asked
	// 200
	// 200
	//   the slow check is asked
	// 401
	//   Basic realm="restricted", charset="UTF-8"
}

func ExampleDigest() {
	ha1, err := durward.HA1("SHA-256", "ada", "notes", "secret") // when the password is set
	if err != nil {
		fmt.Println(err)
		return
	}
	digest := durward.Digest(durward.DigestConfig{
		HA1: func(_ context.Context, claim durward.DigestClaim) ([]byte, *durward.Principal, error) {
			if claim.User != "ada" || claim.Algorithm != "SHA-256" {
				return nil, nil, fmt.Errorf("nothing stored: %w", durward.InvalidCredentials)
			}
			return ha1, &durward.Principal{Subject: "ada"}, nil
		},
	})
	guard, err := durward.New(durward.Config{Schemes: []durward.Scheme{digest}, Realm: "notes"})
	if err != nil {
		fmt.Println(err)
		return
	}
	w := httptest.NewRecorder()
	guard.Handler(http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest("GET", "https://api.example/notes", nil))
	challenges, err := durward.ParseChallenges(w.Header().Values("WWW-Authenticate"))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, name := range []string{"realm", "qop", "algorithm", "charset"} {
		value, _ := challenges[0].Param(name)
		fmt.Println(name, "is", value)
	}
	// Output:
	// realm is notes
	// qop is auth
	// algorithm is SHA-256
	// charset is UTF-8
}

// The guard authenticates the users of a forward proxy. Fields for the origin are passed on.
func ExampleGuard_Proxy() {
	guard, err := durward.New(durward.Config{
		Schemes: []durward.Scheme{durward.Basic(func(_ context.Context, user, password string) (*durward.Principal, error) {
			if user != "ada" || password != "secret" {
				return nil, durward.InvalidCredentials
			}
			return &durward.Principal{Subject: user}, nil
		})},
		Realm: "gate",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	gate := guard.Proxy(durward.Policy{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println(durward.From(r.Context()).Subject, "asks the origin with", r.Header)
	}))
	r := httptest.NewRequest("GET", "https://origin.example/", nil)
	r.Header.Set("Authorization", "Bearer for-the-origin")
	for _, credentials := range []string{"", "Basic YWRhOnNlY3JldA=="} {
		if credentials != "" {
			r.Header.Set("Proxy-Authorization", credentials)
		}
		w := httptest.NewRecorder()
		gate.ServeHTTP(w, r)
		fmt.Println(w.Code, w.Header()["Proxy-Authenticate"])
	}
	// Output:
	// 407 [Basic realm="gate", charset="UTF-8"]
	// ada asks the origin with map[Authorization:[Bearer for-the-origin]]
	// 200 []
}

// People are sent to sign in and come back; scripts of the same page are told.
func ExamplePolicy_pages() {
	guard, err := durward.New(durward.Config{
		Schemes:   []durward.Scheme{durward.Session(), durward.Bearer(lookUp)},
		PublicURL: "https://app.example",
		LoginURL:  "https://app.example/login",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	notes := guard.Require(durward.Policy{Pages: true}, http.NotFoundHandler())
	for _, mode := range []string{"navigate", "cors"} {
		r := httptest.NewRequest("GET", "https://app.example/notes?page=2", nil)
		r.Header.Set("Sec-Fetch-Mode", mode) // as browsers do
		w := httptest.NewRecorder()
		notes.ServeHTTP(w, r)
		fmt.Printf("%s %d %q\n", mode, w.Code, w.Header().Get("Location"))
	}
	// The sign-in page asks before it follows return_to.
	fmt.Println(durward.ReturnTo("/notes?page=2"))
	fmt.Println(durward.ReturnTo("https://evil.example/"))
	fmt.Println(durward.ReturnTo("https://app.example/notes", "https://app.example"))
	// Output:
	// navigate 303 "https://app.example/login?return_to=%2Fnotes%3Fpage%3D2"
	// cors 401 ""
	// /notes?page=2
	// /
	// https://app.example/notes
}

// A mistake: the error of the database is returned unchanged, in the belief that any error refuses
// the request. It is an outage: the response is 503, and the client keeps its password. The reverse
// is also a mistake: a wrong password without InvalidCredentials is an outage, too, and the client
// never asks its user for the right one.
func ExampleBasic_mistake() {
	passwords := map[string]string{"ada": "secret"}
	wrong := durward.Protect(http.NotFoundHandler(), durward.Basic(func(_ context.Context, user, password string) (*durward.Principal, error) {
		if passwords[user] != password {
			return nil, fmt.Errorf("wrong password") // wraps no code
		}
		return &durward.Principal{Subject: user}, nil
	}))
	right := durward.Protect(http.NotFoundHandler(), durward.Basic(func(_ context.Context, user, password string) (*durward.Principal, error) {
		if want, ok := passwords[user]; !ok || want != password { // an unknown user has no password
			return nil, fmt.Errorf("wrong password: %w", durward.InvalidCredentials)
		}
		return &durward.Principal{Subject: user}, nil
	}))
	try(wrong, "Basic YWRhOm5v") // ada:no
	try(right, "Basic YWRhOm5v")
	// Output:
	// 503
	// 401
	//   Basic realm="restricted", charset="UTF-8"
}

// The table of keys holds the SHA-256 of each key, so a stolen table opens nothing.
func ExampleNewAPIKey() {
	owners := make(map[[sha256.Size]byte]string)
	key := durward.NewAPIKey("notes_") // shown to its owner once
	owners[sha256.Sum256([]byte(key))] = "ada"

	hello := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		fmt.Println("hello,", durward.From(r.Context()).Subject)
	})
	api := durward.Protect(hello, durward.APIKey("notes_", func(_ context.Context, key string) (*durward.Principal, error) {
		owner, found := owners[sha256.Sum256([]byte(key))]
		if !found {
			return nil, fmt.Errorf("in no table: %w", durward.InvalidAPIKey)
		}
		return &durward.Principal{Subject: owner}, nil
	}))
	try(api, "Bearer "+key)
	try(api, "Bearer "+durward.NewAPIKey("notes_"))
	// Output:
	// hello, ada
	// 200
	// 401
	//   Bearer realm="restricted", error="invalid_token", error_description="The API key is not valid."
	//   ApiKey realm="restricted", field="X-API-Key"
}

func ExampleAPIKey() {
	api := durward.Protect(http.NotFoundHandler(), durward.Bearer(lookUp), durward.APIKey("dk_", func(_ context.Context, key string) (*durward.Principal, error) {
		return nil, fmt.Errorf("in no table: %w", durward.InvalidAPIKey)
	}))
	try(api, "Bearer dk_0a1b2c") // an API key, because of its prefix
	try(api, "Bearer no-token")
	// Output:
	// 401
	//   Bearer realm="restricted", error="invalid_token", error_description="The API key is not valid."
	//   ApiKey realm="restricted", field="X-API-Key"
	// 401
	//   Bearer realm="restricted", error="invalid_token", error_description="The access token is not valid."
	//   ApiKey realm="restricted", field="X-API-Key"
}

// The same cookie, sent by a page of this origin, by a page of another, and by a
// program.
func ExampleCookie() {
	notes := durward.Protect(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), durward.Cookie("__Host-session",
		func(_ context.Context, value string) (*durward.Principal, error) {
			return &durward.Principal{Subject: "ada"}, nil // a real one looks for the session
		}))
	for _, site := range []string{"same-origin", "cross-site", ""} {
		r := httptest.NewRequest("POST", "https://api.example/notes", nil)
		r.Header.Set("Cookie", "__Host-session=4f7c")
		if site != "" {
			r.Header.Set("Sec-Fetch-Site", site) // as browsers do
		}
		w := httptest.NewRecorder()
		notes.ServeHTTP(w, r)
		fmt.Printf("%q %d\n", site, w.Code)
	}
	// Output:
	// "same-origin" 200
	// "cross-site" 403
	// "" 200
}

// A listener that asks for certificates, and a client that has none.
func ExampleClientCert() {
	roots := x509.NewCertPool() // add the authority that signs clients' certificates
	s := httptest.NewUnstartedServer(durward.Protect(http.NotFoundHandler(), durward.ClientCert(durward.ClientCertConfig{
		Roots: roots,
		Check: func(_ context.Context, c *x509.Certificate) (*durward.Principal, error) {
			return &durward.Principal{Subject: c.Subject.CommonName}, nil
		},
	})))
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert, ClientCAs: roots}
	s.StartTLS()
	defer s.Close()
	res, err := s.Client().Get(s.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer res.Body.Close()
	fmt.Println(res.StatusCode, res.Header["Www-Authenticate"]) // there is no challenge for a certificate
	// Output: 403 []
}

func ExampleParseChallenges() {
	// Two challenges on three lines, which form one list.
	challenges, err := durward.ParseChallenges([]string{
		`Digest realm="apps", qop="auth, auth-int"`,
		`algorithm=SHA-256`,
		`Bearer realm="apps"`,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, c := range challenges {
		realm, _ := c.Param("realm")
		fmt.Println(c.Scheme, realm, len(c.Params))
	}
	// Output:
	// Digest apps 3
	// Bearer apps 1
}

// The challenges before a syntax error are returned.
func ExampleParseChallenges_error() {
	challenges, err := durward.ParseChallenges([]string{`Basic realm="apps", Digest realm="no end`})
	fmt.Println(challenges, err)
	// Output: [Basic realm="apps"] field line 0, octet 40: a quoted string does not end
}

func ExampleChallenge_String() {
	c := durward.Challenge{Scheme: "Basic", Params: []durward.Param{{Name: "realm", Value: `the "inner" circle`}}}
	fmt.Println(c)
	// A value that would split the field is not formatted.
	c.Params[0].Value = "apps\r\nSet-Cookie: a=b"
	fmt.Printf("%q %v\n", c.String(), c.Valid())
	// Output:
	// Basic realm="the \"inner\" circle"
	// "" durward: Basic parameter realm holds a control character
}

// The sign-in needs no credentials, and its refusals ask for the cookie's sign-in only. The key
// route accepts API keys alone.
func ExampleGuard_OpenWith() {
	cookie := durward.Cookie("__Host-session", func(context.Context, string) (*durward.Principal, error) {
		return nil, durward.SessionExpired
	})
	keys := durward.APIKey("dk_", func(context.Context, string) (*durward.Principal, error) {
		return nil, durward.InvalidAPIKey
	})
	guard, err := durward.New(durward.Config{Schemes: []durward.Scheme{cookie, keys}})
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/login", guard.OpenWith(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		guard.Refuse(w, r, durward.InvalidCredentials)
	}), cookie))
	mux.Handle("/metrics", guard.Require(durward.Policy{Schemes: []durward.Scheme{keys}}, http.NotFoundHandler()))
	for _, path := range []string{"/login", "/metrics"} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", path, nil)
		r.RemoteAddr = "127.0.0.1:1"
		mux.ServeHTTP(w, r)
		fmt.Println(w.Code, w.Header()["Www-Authenticate"])
	}
	// Output:
	// 401 [Session realm="restricted"]
	// 401 [ApiKey realm="restricted", field="X-API-Key"]
}
