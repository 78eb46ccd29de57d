package htpasswd_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/htpasswd"
)

// temporary creates a file for an example.
func temporary(lines ...string) (path string, remove func()) {
	dir, err := os.MkdirTemp("", "htpasswd")
	if err != nil {
		panic(err)
	}
	path = filepath.Join(dir, "users")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		panic(err)
	}
	return path, func() { os.RemoveAll(dir) }
}

func ExampleOpen() {
	path, remove := temporary(
		"# htpasswd -nbB -C 10 ada 'correct horse battery staple'",
		"ada:$2y$10$t7GS3HFMtD1F7BO.2I4jTedYsu/2oaeXHf79wg9/auYCi4YRFKWlq",
	)
	defer remove()

	users, err := htpasswd.Open(htpasswd.Config{Path: path})
	if err != nil {
		fmt.Println(err)
		return
	}
	api := durward.Protect(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		fmt.Println("hello,", durward.From(r.Context()).Subject)
	}), users.Basic())

	for _, password := range []string{"correct horse battery staple", "a guess"} {
		r := httptest.NewRequest("GET", "https://api.example/notes", nil)
		r.SetBasicAuth("ada", password)
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r)
		fmt.Println(w.Code, w.Header()["Www-Authenticate"])
	}
	// Output:
	// hello, ada
	// 200 []
	// 401 [Basic realm="restricted", charset="UTF-8"]
}

// The error lists all mistakes of a file, without any content of the file.
func ExampleOpen_mistakes() {
	path, remove := temporary("ada", "grace:hunter2", "joan:{SHA}q/eq1kOINtvlJqojGr3i0O73TUI=")
	defer remove()

	_, err := htpasswd.Open(htpasswd.Config{Path: path})
	fmt.Println(strings.ReplaceAll(err.Error(), path, "users"))
	// Output:
	// htpasswd: users: line 1: no colon; want USER:HASH
	// htpasswd: users: line 2: unsupported hash (plain text and DES crypt are never read); create one with htpasswd -B -C 10
	// htpasswd: users: line 3: SHA-1 hash without the option InsecureSHA1; create another hash with htpasswd -B -C 10
}

// Wrap Check to count failures or to add scopes.
func ExampleFile_Check() {
	line, err := htpasswd.Line("ada", "correct horse battery staple")
	if err != nil {
		fmt.Println(err)
		return
	}
	path, remove := temporary(line)
	defer remove()
	users, err := htpasswd.Open(htpasswd.Config{Path: path})
	if err != nil {
		fmt.Println(err)
		return
	}
	check := func(ctx context.Context, user, password string) (*durward.Principal, error) {
		p, err := users.Check(ctx, user, password)
		if err != nil {
			return nil, err // count the failure here
		}
		p.Scopes = []string{"read"}
		return p, nil
	}
	p, err := durward.Remember(check, users.State)(context.Background(), "ada", "correct horse battery staple")
	fmt.Println(p.Subject, p.Scopes, err)
	// Output: ada [read] <nil>
}

func ExampleOpenDigest() {
	line, err := htpasswd.DigestLine("SHA-256", "ada", "notes", "correct horse battery staple")
	if err != nil {
		fmt.Println(err)
		return
	}
	path, remove := temporary(line)
	defer remove()

	users, err := htpasswd.OpenDigest(htpasswd.DigestConfig{Path: path})
	if err != nil {
		fmt.Println(err)
		return
	}
	guard, err := durward.New(durward.Config{
		Realm:   "notes", // the realm of the file
		Schemes: []durward.Scheme{durward.Digest(durward.DigestConfig{HA1: users.HA1, UserHash: true})},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	w := httptest.NewRecorder()
	guard.Handler(http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest("GET", "https://api.example/notes", nil))
	fmt.Println(w.Code, strings.HasPrefix(w.Header().Get("WWW-Authenticate"), `Digest realm="notes"`))
	// Output: 401 true
}

func ExampleLine() {
	line, err := htpasswd.Line("ada", "correct horse battery staple")
	fmt.Println(line[:len("ada:$argon2id$v=19$m=19456,t=2,p=1$")], err)
	// Output: ada:$argon2id$v=19$m=19456,t=2,p=1$ <nil>
}
