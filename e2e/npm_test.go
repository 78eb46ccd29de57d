package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/durwardtest"
	"github.com/durward-auth/durward/e2e/executable"
	"github.com/durward-auth/durward/jwt"
)

// install copies the scripts of js/ to executable.Dir and installs their packages there, outside
// the source tree. oidc-provider is version 8, the last for the Node.js of Debian 12.
var install = sync.OnceValue(func() error { return installFolder("js") })

// installFolder copies a folder with a package-lock.json to executable.Dir and installs the packages.
func installFolder(name string) error {
	dir := filepath.Join(executable.Dir, name)
	if err := os.CopyFS(dir, os.DirFS(name)); err != nil {
		return err
	}
	cmd := exec.Command("npm", "ci", "--prefer-offline", "--no-fund", "--no-audit", "--ignore-scripts")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return nil
}

// needScripts skips the test without Node.js or the packages of the scripts; with CI set, the test
// fails.
func needScripts(t *testing.T) {
	t.Helper()
	needPackages(t, install)
}

// needPackages skips the test without npm or the packages that install fetches; with CI set, the test fails.
func needPackages(t *testing.T, install func() error) {
	t.Helper()
	for _, p := range []string{"node", "npm"} {
		if _, err := exec.LookPath(p); err != nil && os.Getenv("CI") != "" {
			t.Fatalf("%s is not installed: apt-get install --no-install-recommends nodejs npm", p)
		}
	}
	needPrograms(t, "node", "npm")
	if err := install(); err != nil && os.Getenv("CI") != "" {
		t.Fatal(err)
	} else if err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
}

// script returns the arguments of node that run a script of js/, and its standard input: input as
// JSON.
func script(t *testing.T, name string, input any) (args []string, stdin string) {
	t.Helper()
	text, err := json.Marshal(input)
	if err != nil {
		t.Fatal(err)
	}
	// jose needs a global that the Node.js of Debian 12 has only with this flag.
	return []string{"--experimental-global-webcrypto", "--no-warnings", filepath.Join(executable.Dir, "js", name)},
		string(text)
}

// runScript runs a script and returns the lines of its output.
func runScript(t *testing.T, name string, input any) []string {
	t.Helper()
	args, stdin := script(t, name, input)
	printed, status := command{stdin: stdin}.run(t, "node", args...)
	wantOutput(t, printed, status, 0)
	return strings.Split(strings.TrimSuffix(printed, "\n"), "\n")
}

// wantLines compares the lines of a script's output.
func wantLines(t *testing.T, got, want []string) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		var g, w string
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Errorf("line %d: got\n\t%s\nwant\n\t%s", i+1, g, w)
		}
	}
}

// privateKey returns a new key, also as a JWK for scripts.
func privateKey(t *testing.T, alg string) (key *jwt.PrivateKey, jwk json.RawMessage) {
	t.Helper()
	key, err := jwt.GenerateKey(alg)
	if err != nil {
		t.Fatal(err)
	}
	jwk, err = key.MarshalJWK()
	if err != nil {
		t.Fatal(err)
	}
	return key, jwk
}

// TestJose verifies our tokens with jose and our key set.
func TestJose(t *testing.T) {
	t.Parallel()
	needScripts(t)
	const issuer, audience = "https://auth.example.com", "https://api.example.com"
	var keys []*jwt.Key
	var tokens, want []string
	for _, alg := range []string{"ES256", "EdDSA", "Ed25519", "RS256", "PS256"} {
		key, _ := privateKey(t, alg)
		for _, to := range []string{audience, "https://other.example.com"} {
			now := time.Now()
			token, err := key.Sign(jwt.Claims{Issuer: issuer, Audience: []string{to, "x"}, Subject: user,
				ClientID: "e2e", ID: "1",
				Scopes: []string{"read", "write"}, IssuedAt: now, Expires: now.Add(time.Minute)})
			if err != nil {
				t.Fatal(err)
			}
			tokens = append(tokens, token)
		}
		keys = append(keys, key.Public())
		want = append(want, alg+" ada read write", "ERR_JWT_CLAIM_VALIDATION_FAILED")
	}
	otherKey, _ := privateKey(t, "ES256")
	token, err := otherKey.Sign(jwt.Claims{Issuer: issuer, Audience: []string{audience}, Subject: user,
		ClientID: "e2e", ID: "1",
		IssuedAt: time.Now(), Expires: time.Now().Add(time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	tokens, want = append(tokens, token), append(want, "ERR_JWKS_NO_MATCHING_KEY")
	set, err := jwt.MarshalKeySet(keys)
	if err != nil {
		t.Fatal(err)
	}
	published := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_,
			_ = w.Write(set)
	}))
	defer published.Close()
	wantLines(t, runScript(t, "verify.mjs", map[string]any{"keys": published.URL, "issuer": issuer,
		"audience": audience, "tokens": tokens}), want)
}

// newDPoPServer starts an API that accepts DPoP with nonces, and Bearer.
func newDPoPServer(t *testing.T, v *jwt.Verifier) *server {
	t.Helper()
	srv := newServer(t)
	srv.serve(srv.guard(durward.Config{Schemes: []durward.Scheme{v.Scheme(), v.DPoP(jwt.DPoPConfig{Nonces: true})},
		Realm: "notes", PublicURL: srv.url}).Handler(hello))
	return srv
}

// The challenges as oauth4webapi parses them.
const (
	badProof  = "dpop notes invalid_dpop_proof ES256 EdDSA Ed25519, bearer notes"
	badToken  = "dpop notes invalid_token ES256 EdDSA Ed25519, bearer notes"
	wantNonce = "nonce wanted: dpop notes use_dpop_nonce ES256 EdDSA Ed25519, bearer notes"
	asBearer  = "dpop notes ES256 EdDSA Ed25519, bearer notes invalid_token"
)

// The output of dpop.mjs and the requests at the API: first those of oauth4webapi, then those with
// a proof signed by jose.
var (
	byOAuth4webapi = []string{"first 401 " + wantNonce, "again 200 hello, %s", "next 200 hello, %s",
		"replayed 401  " + badProof, "as Bearer 401  " + asBearer,
		"other key, first 401 " + wantNonce, "other key 401  " + badToken}
	byJose = []string{"jose 200 hello, %s", "jose, query 200 hello, %s", "jose, POST 401  " + badProof,
		"jose, elsewhere 401  " + badProof,
		"jose, no ath 401  " + badProof, "jose, other ath 401  " + badProof, "jose, old 401  " + badProof,
		"jose, typ 401  " + badProof,
		"jose, no nonce 401 " + wantNonce, "jose, own nonce 401 " + wantNonce, "jose, key 401  " + badProof}
	requestsOAuth4webapi = []string{"GET /x: NONCE_REQUIRED by DPoP", "GET /x: %s by DPoP", "GET /x: %s by DPoP",
		"GET /x: INVALID_PROOF by DPoP",
		"GET /x: INVALID_TOKEN by Bearer", "GET /x: NONCE_REQUIRED by DPoP", "GET /x: INVALID_TOKEN by DPoP"}
	requestsJose = []string{"GET /x: %s by DPoP", "GET /x: %s by DPoP", "GET /x: INVALID_PROOF by DPoP",
		"GET /x: INVALID_PROOF by DPoP",
		"GET /x: INVALID_PROOF by DPoP", "GET /x: INVALID_PROOF by DPoP", "GET /x: INVALID_PROOF by DPoP",
		"GET /x: INVALID_PROOF by DPoP",
		"GET /x: NONCE_REQUIRED by DPoP", "GET /x: NONCE_REQUIRED by DPoP", "GET /x: INVALID_PROOF by DPoP"}
)

// withSubject replaces %s in the lines of lists by subject.
func withSubject(subject string, lists ...[]string) (lines []string) {
	for _, line := range slices.Concat(lists...) {
		lines = append(lines, strings.ReplaceAll(line, "%s", subject))
	}
	return lines
}

// TestDPoPClients sends proofs of oauth4webapi and jose.
func TestDPoPClients(t *testing.T) {
	t.Parallel()
	needScripts(t)
	for _, alg := range []string{"ES256", "EdDSA", "Ed25519"} { // oauth4webapi calls the last two Ed25519 (RFC 9864)
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			issuer := durwardtest.NewIssuer(t)
			v := verifierOf(t, jwt.RemoteConfig{Issuer: issuer.URL}, jwt.Config{Audience: []string{durwardtest.Audience}})
			key, jwk := privateKey(t, alg)
			_, other := privateKey(t, alg)
			srv := newDPoPServer(t, v)
			wantLines(t, runScript(t, "dpop.mjs", map[string]any{"api": srv.url + "/x", "key": jwk, "other": other,
				"token": issuer.Token(func(c *jwt.Claims) {
					c.Subject, c.Confirmation = user,
						&jwt.Confirmation{JKT: key.ID()}
				})}), withSubject(user, byOAuth4webapi, byJose))
			srv.wantRequests(withSubject(user, requestsOAuth4webapi, requestsJose)...)
		})
	}
}
