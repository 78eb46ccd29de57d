package e2e

import (
	"os"
	"os/exec"
	"testing"

	"github.com/durward-auth/durward"
)

// python is the interpreter of Debian, with the modules of Debian.
const python = "/usr/bin/python3"

// needModule skips the test without a Python module; with CI set, the test fails.
func needModule(t *testing.T, module string) {
	t.Helper()
	needPrograms(t, python)
	if exec.Command(python, "-c", "import "+module).Run() == nil {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("python3-%s is not installed", module)
	}
	t.Skipf("SKIPPED: python3-%s is not installed", module)
}

// Each script gets the URL, the user name and the password.
const (
	requestsScript = `
import requests, sys
from requests.auth import HTTPBasicAuth, HTTPDigestAuth
_, how, url, user, password = sys.argv
s = requests.Session()
s.trust_env = False
# Basic encodes text as Latin-1, so it gets bytes; Digest encodes text as UTF-8.
s.auth = HTTPDigestAuth(user, password) if how == "Digest" else HTTPBasicAuth(user, password.encode())
for _ in range(2):
    try:
        r = s.get(url)
        print(r.status_code, r.text)
    except TypeError as e:
        print("TypeError", e)
`
	httpxScript = `
import httpx, sys
_, how, url, user, password = sys.argv
auth = {"Basic": httpx.BasicAuth, "Digest": httpx.DigestAuth}[how](user, password)
with httpx.Client(auth=auth, trust_env=False) as c:
    for _ in range(2):
        r = c.get(url)
        print(r.status_code, r.text)
`
	urllibScript = `
import sys, urllib.error, urllib.request as u
_, how, url, user, password = sys.argv
m = u.HTTPPasswordMgrWithDefaultRealm()
m.add_password(None, url, user, password)
h = {"Basic": u.HTTPBasicAuthHandler, "Digest": u.HTTPDigestAuthHandler}[how](m)
o = u.build_opener(u.ProxyHandler({}), h)
for _ in range(2):
    try:
        print(o.open(url, timeout=10).read().decode())
    except (urllib.error.HTTPError, ValueError, AttributeError) as e:
        print(type(e).__name__, e)
`
)

func TestPython(t *testing.T) {
	t.Parallel()
	sha256, withMD5 := durward.DigestConfig{}, durward.DigestConfig{InsecureMD5: true}
	for _, c := range []struct {
		name, module, script, how string
		schemes                   []durward.Scheme
		password                  string
		requests                  []string
		printed                   string
	}{
		{"requests, Basic", "requests", requestsScript, "Basic", []durward.Scheme{basic()}, password,
			[]string{"GET /x: ada by Basic", "GET /x: ada by Basic"}, "200 hello, ada"},
		{"requests, Digest", "requests", requestsScript, "Digest", []durward.Scheme{digest(sha256)}, password,
			[]string{"GET /x: AUTHENTICATION_REQUIRED", "GET /x: ada by Digest SHA-256",
				"GET /x: ada by Digest SHA-256"}, "200 hello, ada"},
		// A fault of requests: it uses the last of several algorithms and fails with an unknown
		// one.
		{"requests, with MD5 offered too", "requests", requestsScript, "Digest", []durward.Scheme{digest(withMD5)},
			password,
			[]string{"GET /x: AUTHENTICATION_REQUIRED", "GET /x: ada by Digest MD5", "GET /x: ada by Digest MD5"},
			"200 hello, ada"},
		{"requests, with SHA-512-256 offered too", "requests", requestsScript, "Digest",
			[]durward.Scheme{digest(durward.DigestConfig{SHA512256: true})}, password,
			[]string{"GET /x: AUTHENTICATION_REQUIRED", "GET /x: AUTHENTICATION_REQUIRED"}, "TypeError"},
		{"requests, wrong", "requests", requestsScript, "Digest", []durward.Scheme{digest(sha256)}, "wrong",
			[]string{"GET /x: AUTHENTICATION_REQUIRED", "GET /x: INVALID_CREDENTIALS by Digest SHA-256",
				"GET /x: INVALID_CREDENTIALS by Digest SHA-256", "GET /x: INVALID_CREDENTIALS by Digest SHA-256"},
			"401"},
		{"requests, Digest and Basic", "requests", requestsScript, "Digest",
			[]durward.Scheme{digest(sha256), basic()}, password,
			[]string{"GET /x: AUTHENTICATION_REQUIRED", "GET /x: ada by Digest SHA-256",
				"GET /x: ada by Digest SHA-256"}, "200 hello, ada"},
		{"httpx, Basic", "httpx", httpxScript, "Basic", []durward.Scheme{basic()}, password,
			[]string{"GET /x: ada by Basic", "GET /x: ada by Basic"}, "200 hello, ada"},
		{"httpx, Digest", "httpx", httpxScript, "Digest", []durward.Scheme{digest(sha256)}, password,
			[]string{"GET /x: AUTHENTICATION_REQUIRED", "GET /x: ada by Digest SHA-256",
				"GET /x: ada by Digest SHA-256"}, "200 hello, ada"},
		{"httpx, with MD5 offered too", "httpx", httpxScript, "Digest", []durward.Scheme{digest(withMD5), basic()},
			password,
			[]string{"GET /x: AUTHENTICATION_REQUIRED", "GET /x: ada by Digest SHA-256",
				"GET /x: ada by Digest SHA-256"}, "200 hello, ada"},
		{"httpx, with SHA-512-256 offered too", "httpx", httpxScript, "Digest",
			[]durward.Scheme{digest(durward.DigestConfig{SHA512256: true})}, password,
			[]string{"GET /x: AUTHENTICATION_REQUIRED", "GET /x: ada by Digest SHA-256",
				"GET /x: ada by Digest SHA-256"}, "200 hello, ada"},
		{"httpx, wrong", "httpx", httpxScript, "Digest", []durward.Scheme{digest(sha256)}, "wrong",
			[]string{"GET /x: AUTHENTICATION_REQUIRED", "GET /x: INVALID_CREDENTIALS by Digest SHA-256",
				"GET /x: INVALID_CREDENTIALS by Digest SHA-256", "GET /x: INVALID_CREDENTIALS by Digest SHA-256"},
			"401"},
		{"urllib, Basic", "urllib", urllibScript, "Basic", []durward.Scheme{basic()}, password,
			[]string{"GET /x: AUTHENTICATION_REQUIRED", "GET /x: ada by Basic", "GET /x: AUTHENTICATION_REQUIRED",
				"GET /x: ada by Basic"}, "hello, ada"},
		// A fault of urllib: it supports only MD5 and reads only the first challenge.
		{"urllib, Digest", "urllib", urllibScript, "Digest", []durward.Scheme{digest(sha256)}, password,
			[]string{"GET /x: AUTHENTICATION_REQUIRED", "GET /x: AUTHENTICATION_REQUIRED"},
			"Unsupported digest authentication algorithm 'SHA-256'"},
		{"urllib, with MD5 offered too", "urllib", urllibScript, "Digest", []durward.Scheme{digest(withMD5)}, password,
			[]string{"GET /x: AUTHENTICATION_REQUIRED", "GET /x: AUTHENTICATION_REQUIRED"},
			"Unsupported digest authentication algorithm 'SHA-256'"},
		{"urllib, Digest and Basic", "urllib", urllibScript, "Digest", []durward.Scheme{digest(withMD5), basic()},
			password,
			[]string{"GET /x: AUTHENTICATION_REQUIRED", "GET /x: AUTHENTICATION_REQUIRED"},
			"Unsupported digest authentication algorithm 'SHA-256'"},
		{"urllib, wrong", "urllib", urllibScript, "Basic", []durward.Scheme{basic()}, "wrong",
			[]string{"GET /x: AUTHENTICATION_REQUIRED", "GET /x: INVALID_CREDENTIALS by Basic",
				"GET /x: AUTHENTICATION_REQUIRED", "GET /x: INVALID_CREDENTIALS by Basic"},
			"HTTP Error 401: Unauthorized"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			needModule(t, c.module)
			srv := newServer(t)
			srv.serve(srv.guard(durward.Config{Schemes: c.schemes, Realm: "e2e"}).Handler(hello))
			printed, status := command{}.run(t, python, "-c", c.script, c.how, srv.url+"/x", user, c.password)
			wantOutput(t, printed, status, 0, c.printed)
			srv.wantRequests(c.requests...)
		})
	}
}
