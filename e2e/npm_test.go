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
	"github.com/durward-auth/durward/jwt"
)

// install copies the scripts of js/ beside what they import. Nothing of it is left
// in the source tree. oidc-provider is of version 8, the last that runs on Debian
// 12's Node.js.
var install = sync.OnceValue(func() error {
	dir := filepath.Join(buildDir, "js")
	if err := os.CopyFS(dir, os.DirFS("js")); err != nil {
		return err
	}
	cmd := exec.Command("npm", "ci", "--prefer-offline", "--no-fund", "--no-audit", "--ignore-scripts")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return nil
})

// needScripts is need for Node.js and the packages that the scripts import.
func needScripts(t *testing.T) {
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

// script is the command that runs a script of js/ with input as JSON in its
// standard input.
func script(t *testing.T, name string, input any) (args []string, stdin string) {
	t.Helper()
	text, err := json.Marshal(input)
	if err != nil {
		t.Fatal(err)
	}
	// jose wants the global that Debian 12's Node.js has behind this flag.
	return []string{"--experimental-global-webcrypto", "--no-warnings", filepath.Join(buildDir, "js", name)}, string(text)
}

// runScript runs one and returns the lines that it printed.
func runScript(t *testing.T, name string, input any) []string {
	t.Helper()
	args, stdin := script(t, name, input)
	printed, status := command{stdin: stdin}.run(t, "node", args...)
	wantOutput(t, printed, status, 0)
	return strings.Split(strings.TrimSuffix(printed, "\n"), "\n")
}

// compare compares lines that a script printed.
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
			t.Errorf("line %d:\n\t%s\nwant\n\t%s", i+1, g, w)
		}
	}
}

// privateKey makes a key and the JWK that a script takes it as.
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

// jose takes our tokens by our key set.
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
			token, err := key.Sign(jwt.Claims{Issuer: issuer, Audience: []string{to, "x"}, Subject: user, ClientID: "e2e", ID: "1",
				Scopes: []string{"read", "write"}, IssuedAt: now, Expires: now.Add(time.Minute)})
			if err != nil {
				t.Fatal(err)
			}
			tokens = append(tokens, token)
		}
		keys = append(keys, key.Public())
		want = append(want, alg+" ada read write", "ERR_JWT_CLAIM_VALIDATION_FAILED")
	}
	badCertificate, _ := privateKey(t, "ES256")
	token, err := badCertificate.Sign(jwt.Claims{Issuer: issuer, Audience: []string{audience}, Subject: user, ClientID: "e2e", ID: "1",
		IssuedAt: time.Now(), Expires: time.Now().Add(time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	tokens, want = append(tokens, token), append(want, "ERR_JWKS_NO_MATCHING_KEY")
	set, err := jwt.MarshalKeySet(keys)
	if err != nil {
		t.Fatal(err)
	}
	published := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(set) }))
	defer published.Close()
	wantLines(t, runScript(t, "verify.mjs", map[string]any{"keys": published.URL, "issuer": issuer, "audience": audience, "tokens": tokens}), want)
}

// proofs is the door of an API that takes DPoP with nonces, and Bearer.
func newDPoPServer(t *testing.T, v *jwt.Verifier) *server {
	t.Helper()
	srv := newServer(t)
	srv.serve(srv.guard(durward.Config{Schemes: []durward.Scheme{v.Scheme(), v.DPoP(jwt.DPoPConfig{Nonces: true})}, Realm: "notes", PublicURL: srv.url}).Handler(hello))
	return srv
}

// What oauth4webapi reads in the challenges of a refused proof, and of none.
const (
	badProof  = "dpop notes invalid_dpop_proof ES256 EdDSA Ed25519, bearer notes"
	badToken  = "dpop notes invalid_token ES256 EdDSA Ed25519, bearer notes"
	wantNonce = "nonce wanted: dpop notes use_dpop_nonce ES256 EdDSA Ed25519, bearer notes"
	asBearer  = "dpop notes ES256 EdDSA Ed25519, bearer notes invalid_token"
)

// What dpop.mjs prints and what the API saw of it: requests by oauth4webapi, then
// those whose proof jose signed.
var (
	byOAuth4webapi = []string{"first 401 " + wantNonce, "again 200 hello, %s", "next 200 hello, %s", "replayed 401  " + badProof, "as Bearer 401  " + asBearer,
		"other key, first 401 " + wantNonce, "other key 401  " + badToken}
	byJose = []string{"jose 200 hello, %s", "jose, query 200 hello, %s", "jose, POST 401  " + badProof, "jose, elsewhere 401  " + badProof,
		"jose, no ath 401  " + badProof, "jose, other ath 401  " + badProof, "jose, old 401  " + badProof, "jose, typ 401  " + badProof,
		"jose, no nonce 401 " + wantNonce, "jose, own nonce 401 " + wantNonce, "jose, key 401  " + badProof}
	requestsOAuth4webapi = []string{"GET /x: NONCE_REQUIRED by DPoP", "GET /x: %s by DPoP", "GET /x: %s by DPoP", "GET /x: INVALID_PROOF by DPoP",
		"GET /x: INVALID_TOKEN by Bearer", "GET /x: NONCE_REQUIRED by DPoP", "GET /x: INVALID_TOKEN by DPoP"}
	requestsJose = []string{"GET /x: %s by DPoP", "GET /x: %s by DPoP", "GET /x: INVALID_PROOF by DPoP", "GET /x: INVALID_PROOF by DPoP",
		"GET /x: INVALID_PROOF by DPoP", "GET /x: INVALID_PROOF by DPoP", "GET /x: INVALID_PROOF by DPoP", "GET /x: INVALID_PROOF by DPoP",
		"GET /x: NONCE_REQUIRED by DPoP", "GET /x: NONCE_REQUIRED by DPoP", "GET /x: INVALID_PROOF by DPoP"}
)

// as is lines with a subject filled in.
func withSubject(subject string, lists ...[]string) (lines []string) {
	for _, line := range slices.Concat(lists...) {
		lines = append(lines, strings.ReplaceAll(line, "%s", subject))
	}
	return lines
}

// oauth4webapi and jose prove that they hold the key of a token.
func TestDPoPClients(t *testing.T) {
	t.Parallel()
	needScripts(t)
	for _, alg := range []string{"ES256", "EdDSA", "Ed25519"} { // oauth4webapi names the last two Ed25519 (RFC 9864)
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			issuer := durwardtest.NewIssuer(t)
			keys, err := jwt.NewRemoteKeys(jwt.RemoteConfig{Issuer: issuer.URL})
			if err != nil {
				t.Fatal(err)
			}
			v, err := jwt.New(jwt.Config{Issuer: issuer.URL, Audience: []string{durwardtest.Audience}, Keys: keys})
			if err != nil {
				t.Fatal(err)
			}
			key, jwk := privateKey(t, alg)
			_, other := privateKey(t, alg)
			srv := newDPoPServer(t, v)
			wantLines(t, runScript(t, "dpop.mjs", map[string]any{"api": srv.url + "/x", "key": jwk, "other": other,
				"token": issuer.Token(func(c *jwt.Claims) { c.Subject, c.Confirmation = user, &jwt.Confirmation{JKT: key.ID()} })}), withSubject(user, byOAuth4webapi, byJose))
			srv.wantRequests(withSubject(user, requestsOAuth4webapi, requestsJose)...)
		})
	}
}
