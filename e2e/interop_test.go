package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward/api"
	durwardclient "github.com/durward-auth/durward/client"
	"github.com/durward-auth/durward/internal/check"
	"github.com/durward-auth/durward/jwt"
	"github.com/durward-auth/durward/server/servertest"
)

// javaTimeout limits the start of a Java program. Keycloak compiles itself at its first start.
const javaTimeout = 10 * time.Minute

// needFetched skips a test of make interop, or returns the path of a file that .ci/interop has fetched.
func needFetched(t *testing.T, name string) string {
	t.Helper()
	if os.Getenv("INTEROP") == "" {
		t.Skip("SKIPPED: make interop runs it")
	}
	path, err := filepath.Abs(filepath.Join("../.build/interop", name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Skipf("SKIPPED: NOT TESTED: %v", err)
	}
	return path
}

// subjectOf returns the sub of a token.
func subjectOf(t *testing.T, token string) string {
	t.Helper()
	i, err := jwt.Inspect(token)
	if err != nil || i.Claims.Subject == "" {
		t.Fatalf("no sub, %v", err)
	}
	return i.Claims.Subject
}

// checkAPI sends requests with tokens of our server to an API that start starts. The API requires
// the scope profile for /x. The rows failed fail in the check of the API, and at least passed others pass.
func checkAPI(t *testing.T, failed []string, passed int, start func(p *process, issuer string)) {
	t.Helper()
	s, other := servertest.New(t), servertest.New(t)
	p := newProcess(t)
	p.patience = javaTimeout
	start(p, s.URL)
	origin := "http://" + p.address

	signIn := func(s *servertest.Server) (*api.Client, durwardclient.Token) {
		t.Helper()
		s.AddUser("ada@example.com", "correct horse battery staple", false)
		c, err := api.NewClient(api.ClientConfig{URL: s.URL})
		if err != nil {
			t.Fatal(err)
		}
		token, err := c.SignIn(t.Context(), "ada@example.com", "correct horse battery staple")
		if err != nil {
			t.Fatal(err)
		}
		return c, token
	}
	c, token := signIn(s)
	_, foreign := signIn(other)

	get := func(what, path, token string, status int, body string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, origin+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		printed, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != status || body != "" && string(printed) != body {
			t.Errorf("%s: %s %s %v, %q, want %d %s; its log:\n%s", what, resp.Status, printed, err,
				resp.Header["Www-Authenticate"], status, body, p.logText())
		}
	}
	hello := "hello, " + subjectOf(t, token.Access)
	dot := strings.LastIndex(token.Access, ".")
	get("a token", "/x", token.Access, 200, hello)
	get("a token without the scope", "/other", token.Access, 403, "")
	get("a token of another server", "/x", foreign.Access, 401, "")
	get("a token with the signature of another", "/x",
		token.Access[:dot]+foreign.Access[strings.LastIndex(foreign.Access, "."):], 401, "")
	get("no token", "/x", "", 401, "")

	// The doctor on the refusals of the API.
	with := func(token, path string) []string {
		return []string{"-H", "Authorization: Bearer " + token, origin + path}
	}
	refusals(t, t.Name(), []refusedRequest{
		{"no token", []string{origin + "/x"}, "no-credentials", true},
		{"an opaque token", with("invented", "/x"), "not-a-jwt", false},
		{"too few scopes", with(token.Access, "/other"), "insufficient-scope", true},
		{"another scheme", []string{"-u", "ada:wrong", origin + "/x"}, "wrong-scheme", false},
	})

	wantCheck(t, check.Config{URL: origin + "/x", Good: token.Access}, failed, passed)

	// Our client with the source of our server.
	client := durwardclient.New(c.Source(durwardclient.TokensConfig{Origins: []string{origin}}))
	resp, err := client.Get(origin + "/x")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != hello {
		t.Errorf("our client: %s %s %v", resp.Status, body, err)
	}
}

// quickStart is an option of Java for programs that run for seconds: they start sooner without the second compiler.
const quickStart = "-XX:TieredStopAtLevel=1"

// spring returns the command that runs a class of interop/spring.
func spring(folder, class string, args ...string) *exec.Cmd {
	path := filepath.Join(folder, "classes") + ":" + filepath.Join(folder, "lib", "*")
	return exec.Command("java", append([]string{quickStart, "-XX:+UseSerialGC", "-cp", path, class}, args...)...)
}

// TestInteropSpring lets Spring Security verify the tokens of our server, by the rules of RFC 9068.
func TestInteropSpring(t *testing.T) {
	t.Parallel()
	folder := needFetched(t, "spring")
	checkAPI(t, nil, 14, func(p *process, issuer string) {
		_, port, _ := strings.Cut(p.address, ":")
		p.start(spring(folder, "Resource", "--server.address="+p.host(), "--server.port="+port, "--issuer="+issuer, "--audience="+issuer,
			"--client=durward"))
	})
}

// TestInteropFastAPI lets Authlib verify the tokens of our server in FastAPI, by the rules of RFC 9068.
func TestInteropFastAPI(t *testing.T) {
	t.Parallel()
	folder := needFetched(t, "python")
	checkAPI(t, []string{"no-error-anonymous", "head"}, 14, func(p *process, issuer string) {
		input, err := json.Marshal(map[string]string{"address": p.address, "issuer": issuer, "audience": issuer})
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(filepath.Join(folder, "bin", "python"), "interop/python/resource.py")
		cmd.Stdin = bytes.NewReader(input)
		p.start(cmd)
	})
}

// TestInteropRelyingParties signs a user in at Authlib of PyPI and at Spring Security.
func TestInteropRelyingParties(t *testing.T) {
	t.Parallel()
	var parties []relyingParty
	t.Run("python", func(t *testing.T) {
		folder := needFetched(t, "python")
		parties = append(parties, relyingParty{
			client: "pypi-authlib",
			start:  byAuthlib(filepath.Join(folder, "bin", "python")),
			lines:  introspecting,
		})
	})
	t.Run("spring", func(t *testing.T) {
		folder := needFetched(t, "spring")
		parties = append(parties, relyingParty{
			client:   "spring",
			callback: "/login/oauth2/code/durward",
			settings: "id_token_alg = \"RS256\"\n", // Spring knows no other unless it is told
			patience: javaTimeout,
			lines:    complete,
			start: func(p *process, in partyInput) {
				_, port, _ := strings.Cut(p.address, ":")
				const registration = "--spring.security.oauth2.client.registration.durward."
				p.start(spring(folder, "Client", "--server.address="+p.host(), "--server.port="+port, "--api="+in.API,
					"--spring.security.oauth2.client.provider.durward.issuer-uri="+in.Issuer,
					registration+"client-id="+in.Client, registration+"client-secret="+in.Secret,
					registration+"scope=openid,email,offline_access,notes"))
			},
		})
	})
	if len(parties) > 0 {
		signInAt(t, parties)
	}
}
