package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/durward-auth/durward/e2e/executable"
	"github.com/durward-auth/durward/js"
)

// TestBrowserModuleWithOthers uses durward.js with the tokens of oidc-provider at an API of
// express-oauth2-jwt-bearer, and runs the blocks of docs/browser.md, one of them with axios.
func TestBrowserModuleWithOthers(t *testing.T) {
	t.Parallel()
	needScripts(t)
	_, key := privateKey(t, "ES256")
	i := &issuer{process: newProcess(t)}
	i.url = "http://" + i.address
	i.serve(key)
	folder := t.TempDir()
	module := filepath.Join(folder, "durward.mjs")
	if err := os.WriteFile(module, js.Module, 0o600); err != nil {
		t.Fatal(err)
	}
	doc, err := filepath.Abs("../docs/browser.md")
	if err != nil {
		t.Fatal(err)
	}
	wantLines(t, runScript(t, "browser.mjs", map[string]any{
		"module": module, "doc": doc, "issuer": i.url, "resource": forJWT, "client": "phone",
		"refreshToken": i.signIn("phone", ""),
	}), []string{
		"first: 200 ada ; 1 requests, 1 renewals",
		"other tab: 200 ada milk; 1 requests, 0 renewals",
		"refused 401 invalid_token bearer,dpop",
		"damaged: 200 ada milk; 2 requests, 2 renewals",
		"fifty: 200 ada ; 50 requests, 1 renewals",
		"refused 404 undefined undefined",
		"no such page: 404 ; 1 requests, 0 renewals",
		"signedout REFRESH_INVALID",
		"a spent refresh token: AuthError signedout; 0 requests, 0 renewals",
		"block GET /api/profile",
		"block POST /api/auth/token, POST /notes Bearer a",
		"block POST /token, GET /notes Bearer a",
		"block POST /bff/token, GET /notes Bearer a",
		"block GET /api/profile",
		"block POST /api/auth/token, GET /notes Bearer a",
		"block GET /api/profile, WebSocket wss://app.example.com/live",
		"block GET /api/profile",
		"block parsed",
		"block POST /api/auth/token, POST /notes Bearer a",
		"block parsed",
		"block GET /api/profile",
	})
}

// TestBrowserModuleTypes compiles a sample against the npm package, with its types.
func TestBrowserModuleTypes(t *testing.T) {
	t.Parallel()
	needScripts(t)
	dir := filepath.Join(executable.Dir, "js")
	pkg := filepath.Join(dir, "node_modules", "durward")
	if err := os.MkdirAll(pkg, 0o755); err != nil {
		t.Fatal(err)
	}
	manifest, err := os.ReadFile("../js/package.json")
	if err != nil {
		t.Fatal(err)
	}
	var files struct{ Files []string }
	if err := json.Unmarshal(manifest, &files); err != nil {
		t.Fatal(err)
	}
	for _, name := range append(files.Files, "package.json") { // the files that npm publishes
		text, err := os.ReadFile(filepath.Join("../js", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(pkg, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	printed, status := command{dir: dir}.run(t, "node", "node_modules/typescript/bin/tsc", "--strict", "--noEmit",
		"--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler", "--lib", "es2022,dom,dom.iterable",
		"types.ts")
	wantOutput(t, printed, status, 0)
}
