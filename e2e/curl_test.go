package e2e

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-auth/durward"
)

const account = user + ":" + password

func TestCurl(t *testing.T) {
	t.Parallel()
	needPrograms(t, "curl")
	many := func() []durward.Scheme {
		return []durward.Scheme{basic(), digest(durward.DigestConfig{SHA512256: true, InsecureMD5: true})}
	}
	for _, c := range []struct {
		name     string
		schemes  []durward.Scheme
		args     []string
		requests []string
		status   int
		printed  string
	}{
		{"Basic", many(), []string{"--basic", "-u", account},
			[]string{"GET /x: ada by Basic"}, 0, "hello, ada"},
		{"Basic, wrong", many(), []string{"--basic", "-f", "-u", "ada:wrong"},
			[]string{"GET /x: INVALID_CREDENTIALS by Basic"}, 22, "401"},
		{"Basic, POST", many(), []string{"--basic", "-u", account, "-d", "a=b"},
			[]string{"POST /x: ada by Basic"}, 0, `hello, ada; you sent "a=b"`},
		{"Digest", []durward.Scheme{digest(durward.DigestConfig{})}, []string{"--digest", "-u", account},
			[]string{"GET /x: AUTHENTICATION_REQUIRED", "GET /x: ada by Digest SHA-256"}, 0, "hello, ada"},
		// curl uses the first of several algorithms.
		{"Digest, of three", many(), []string{"--digest", "-u", account},
			[]string{"GET /x: AUTHENTICATION_REQUIRED", "GET /x: ada by Digest SHA-256"}, 0, "hello, ada"},
		{"Digest, sess", []durward.Scheme{digest(durward.DigestConfig{Sess: true})},
			[]string{"--digest", "-u", account},
			[]string{"GET /x: AUTHENTICATION_REQUIRED", "GET /x: ada by Digest SHA-256-sess"}, 0, "hello, ada"},
		{"Digest, wrong", many(), []string{"--digest", "-f", "-u", "ada:wrong"},
			[]string{"GET /x: AUTHENTICATION_REQUIRED", "GET /x: INVALID_CREDENTIALS by Digest SHA-256"}, 22, "401"},
		{"Digest, unknown user", many(), []string{"--digest", "-f", "-u", "eve:wrong"},
			[]string{"GET /x: AUTHENTICATION_REQUIRED", "GET /x: INVALID_CREDENTIALS by Digest SHA-256"}, 22, "401"},
		{"Digest, POST", many(), []string{"--digest", "-u", account, "-d", "a=b"},
			[]string{"POST /x: AUTHENTICATION_REQUIRED", "POST /x: ada by Digest SHA-256"}, 0,
			`hello, ada; you sent "a=b"`},
		{"Digest, HEAD", many(), []string{"--digest", "-I", "-u", account},
			[]string{"HEAD /x: AUTHENTICATION_REQUIRED", "HEAD /x: ada by Digest SHA-256"}, 0, "200 OK"},
		{"userhash", []durward.Scheme{digest(durward.DigestConfig{UserHash: true})},
			[]string{"--digest", "-u", account},
			[]string{"GET /x: AUTHENTICATION_REQUIRED", "GET /x: ada by Digest SHA-256 userhash"}, 0, "hello, ada"},
		{"auth-int", []durward.Scheme{digest(durward.DigestConfig{QOP: []string{"auth-int"}})},
			[]string{"--digest", "-u", account},
			[]string{"GET /x: AUTHENTICATION_REQUIRED", "GET /x: ada by Digest SHA-256 auth-int"}, 0, "hello, ada"},
		// A fault of curl: it hashes an empty body for any request.
		{"auth-int, POST", []durward.Scheme{digest(durward.DigestConfig{QOP: []string{"auth-int"}})},
			[]string{"--digest", "-f", "-u", account, "-d", "a=b"},
			[]string{"POST /x: AUTHENTICATION_REQUIRED", "POST /x: INVALID_CREDENTIALS by Digest SHA-256 auth-int"},
			22, "401"},
		{"any of Basic, Digest and Bearer", append(many(), bearer()), []string{"--anyauth", "-u", account},
			[]string{"GET /x: AUTHENTICATION_REQUIRED", "GET /x: ada by Digest SHA-256"}, 0, "hello, ada"},
		{"any, of Basic and Bearer", []durward.Scheme{basic(), bearer()}, []string{"--anyauth", "-u", account},
			[]string{"GET /x: AUTHENTICATION_REQUIRED", "GET /x: ada by Basic"}, 0, "hello, ada"},
		{"Bearer", append(many(), bearer()), []string{"--oauth2-bearer", token},
			[]string{"GET /x: ada by Bearer"}, 0, "hello, ada"},
		{"Bearer, wrong", append(many(), bearer()), []string{"-f", "--oauth2-bearer", "other"},
			[]string{"GET /x: INVALID_TOKEN by Bearer"}, 22, "401"},
		{"nothing", many(), []string{"-f"},
			[]string{"GET /x: AUTHENTICATION_REQUIRED"}, 22, "401"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			srv := newServer(t)
			srv.serve(srv.guard(durward.Config{Schemes: c.schemes, Realm: "e2e"}).Handler(hello))
			printed, status := command{}.run(t, "curl", append(c.args, "-sS", "--noproxy", "*", srv.url+"/x")...)
			wantOutput(t, printed, status, c.status, c.printed)
			srv.wantRequests(c.requests...)
		})
	}
}

// TestCurlStaleNonce lets a nonce expire between two requests: curl repeats the second one without
// asking its user.
func TestCurlStaleNonce(t *testing.T) {
	t.Parallel()
	needPrograms(t, "curl")
	var late atomic.Bool
	srv := newServer(t)
	g := srv.guard(durward.Config{
		Schemes: []durward.Scheme{digest(durward.DigestConfig{NonceLife: time.Minute})},
		Now: func() time.Time {
			if late.Load() {
				return time.Now().Add(2 * time.Minute)
			}
			return time.Now()
		},
		OnAccept: func(*http.Request, *durward.Principal) { late.Store(true) },
	})
	mux := http.NewServeMux()
	mux.Handle("/old", http.RedirectHandler("/new", http.StatusFound))
	mux.Handle("/new", hello)
	srv.serve(g.Handler(mux))
	printed, status := command{}.run(t, "curl", "-sSL", "--noproxy", "*", "--digest", "-u", account, srv.url+"/old")
	wantOutput(t, printed, status, 0, "hello, ada\n")
	srv.wantRequests("GET /old: AUTHENTICATION_REQUIRED", "GET /old: ada by Digest SHA-256",
		"GET /new: STALE_NONCE by Digest SHA-256", "GET /new: ada by Digest SHA-256")
}

// TestCurlUpload uploads over TLS with HTTP/1.1 and HTTP/2. curl must not send the body before its
// credentials are accepted.
func TestCurlUpload(t *testing.T) {
	t.Parallel()
	needPrograms(t, "curl")
	file := writeFile(t, filepath.Join(t.TempDir(), "upload"), strings.Repeat("octets, ", 400_000))
	const none, right, wrong = "PUT /x: AUTHENTICATION_REQUIRED", "PUT /x: ada by Digest SHA-256",
		"PUT /x: INVALID_CREDENTIALS by Digest SHA-256"
	for _, c := range []struct {
		version, how, password string
		requests               []string
		status                 int
		printed                string
	}{
		{"1.1", "--digest", password, []string{none, right}, 0, "ada put 3200000 octets\nHTTP 1.1 200"},
		{"1.1", "--digest", "wrong", []string{none, wrong}, 0, "HTTP 1.1 401"},
		{"1.1", "--anyauth", password, []string{none, right}, 0, "ada put 3200000 octets\nHTTP 1.1 200"},
		{"2", "--digest", password, []string{none, right}, 0, "ada put 3200000 octets\nHTTP 2 200"},
		// A fault of curl: a server may respond to an upload early and reset the stream (RFC 9113
		// s8.1), which curl sometimes reports as an error, with exit status 18 or 92. So the status
		// is not compared, and --anyauth, which sends the file at once, is not tested.
		{"2", "--digest", "wrong", []string{none, wrong}, -1, "HTTP 2 401"},
	} {
		t.Run(c.version+" "+c.how+" "+c.password, func(t *testing.T) {
			t.Parallel()
			srv := newServer(t)
			g := srv.guard(durward.Config{Schemes: []durward.Scheme{basic(), digest(durward.DigestConfig{})},
				Realm: "e2e"})
			srv.http.Config.Handler = g.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				n, err := io.Copy(io.Discard, r.Body)
				if err != nil {
					t.Error(err)
				}
				fmt.Fprintf(w, "%s put %d octets\n", durward.From(r.Context()).Subject, n)
			}))
			srv.http.EnableHTTP2 = c.version == "2"
			srv.http.StartTLS()
			t.Cleanup(srv.http.Close)
			printed, status := command{}.run(t, "curl", "-sS", "--noproxy", "*", "--cacert", srv.certificate(), c.how,
				"-u", user+":"+c.password,
				"-T", file, "-w", "HTTP %{http_version} %{http_code}", srv.http.URL+"/x")
			if c.status < 0 {
				c.status = status
			}
			wantOutput(t, printed, status, c.status, c.printed)
			srv.wantRequests(c.requests...)
		})
	}
}
