package e2e

import (
	"testing"

	"github.com/durward-auth/durward"
)

func TestWget(t *testing.T) {
	t.Parallel()
	needPrograms(t, "wget")
	for _, c := range []struct {
		name     string
		schemes  []durward.Scheme
		args     []string
		requests []string
		status   int
		printed  string
	}{
		{"Basic", []durward.Scheme{basic()}, []string{"--password=" + password},
			[]string{"GET /x: AUTHENTICATION_REQUIRED", "GET /x: ada by Basic"}, 0, "hello, ada"},
		{"Basic, preemptive", []durward.Scheme{basic()}, []string{"--auth-no-challenge", "--password=" + password},
			[]string{"GET /x: ada by Basic"}, 0, "hello, ada"},
		{"Basic, wrong", []durward.Scheme{basic()}, []string{"--password=wrong"},
			[]string{"GET /x: AUTHENTICATION_REQUIRED", "GET /x: INVALID_CREDENTIALS by Basic"}, 6,
			"Username/Password Authentication Failed"},
		// A fault of wget: it answers with MD5 for any algorithm.
		{"Digest", []durward.Scheme{digest(durward.DigestConfig{})}, []string{"--password=" + password},
			[]string{"GET /x: AUTHENTICATION_REQUIRED", "GET /x: MALFORMED_CREDENTIALS by Digest MD5"}, 6,
			"Username/Password Authentication Failed"},
		{"Digest, with MD5 offered too", []durward.Scheme{digest(durward.DigestConfig{InsecureMD5: true})},
			[]string{"--password=" + password},
			[]string{"GET /x: AUTHENTICATION_REQUIRED", "GET /x: ada by Digest MD5"}, 0, "hello, ada"},
		{"Digest and Basic", []durward.Scheme{digest(durward.DigestConfig{}), basic()},
			[]string{"--password=" + password},
			[]string{"GET /x: AUTHENTICATION_REQUIRED", "GET /x: ada by Basic"}, 0, "hello, ada"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			srv := newServer(t)
			srv.serve(srv.guard(durward.Config{Schemes: c.schemes, Realm: "e2e"}).Handler(hello))
			printed, status := command{}.run(t, "wget",
				append(c.args, "--no-proxy", "-nv", "-t1", "-O-", "--user="+user, srv.url+"/x")...)
			wantOutput(t, printed, status, c.status, c.printed)
			srv.wantRequests(c.requests...)
		})
	}
}
