package durward_test

import (
	"context"
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

// try sends a request with an Authorization field, unless it is empty, and prints
// what comes back.
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
	//   Bearer realm="notes", error="insufficient_scope", error_description="The credentials do not allow this.", scope="write"
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
			fmt.Println("hello, whoever you are")
			return
		}
		fmt.Println("hello,", who.Subject, "- may write:", who.HasScope("write"))
	}))

	try(greet, "")
	try(greet, "Bearer ada-token")
	try(greet, "Bearer no-token") // optional does not mean that bad credentials pass
	// Output:
	// hello, whoever you are
	// 200
	// hello, ada - may write: false
	// 200
	// 401
	//   Bearer realm="restricted", error="invalid_token", error_description="The access token is not valid here."
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
			fmt.Println("log:", f.Status, f) // the cause, which the client never reads
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

func ExampleParseChallenges() {
	// Two challenges on three lines, which are one list.
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

// What was read before a mistake is not lost.
func ExampleParseChallenges_error() {
	challenges, err := durward.ParseChallenges([]string{`Basic realm="apps", Digest realm="no end`})
	fmt.Println(challenges, err)
	// Output: [Basic realm="apps"] field line 0, octet 40: a quoted string does not end
}

func ExampleChallenge_String() {
	c := durward.Challenge{Scheme: "Basic", Params: []durward.Param{{Name: "realm", Value: `the "inner" circle`}}}
	fmt.Println(c)
	// What would split the field is not written at all.
	c.Params[0].Value = "apps\r\nSet-Cookie: a=b"
	fmt.Printf("%q %v\n", c.String(), c.Valid())
	// Output:
	// Basic realm="the \"inner\" circle"
	// "" durward: Basic parameter realm holds a control character
}
