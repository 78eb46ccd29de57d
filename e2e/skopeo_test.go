package e2e

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/durward-auth/durward"
)

// TestSkopeo reads an image's manifest from a registry that requires Bearer. A token endpoint that
// requires Basic issues the tokens. As with other registries, the challenge's realm is the URL of
// that endpoint.
func TestSkopeo(t *testing.T) {
	t.Parallel()
	needPrograms(t, "skopeo")
	const kind = "application/vnd.oci.image.manifest.v1+json"
	config := `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},"config":{}}`
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%x","size":%d},"layers":[]}`,
		kind, sha256.Sum256([]byte(config)), len(config))
	const ping, notes, asked = "GET /v2/: ", "GET /v2/notes/manifests/one: ",
		"GET /token?account=ada&scope=repository%3Anotes%3Apull: "
	for _, c := range []struct {
		name     string
		args     []string
		requests []string
		status   int
		printed  string
	}{
		{"token", []string{"--registry-token", token},
			[]string{ping + "AUTHENTICATION_REQUIRED", notes + "ada by Bearer"}, 0, `"schemaVersion":2`},
		{"wrong token", []string{"--registry-token", "other"},
			[]string{ping + "AUTHENTICATION_REQUIRED", notes + "INVALID_TOKEN by Bearer"}, 1, "unauthorized"},
		{"password", []string{"--creds", account},
			[]string{ping + "AUTHENTICATION_REQUIRED", asked + "ada by Basic", notes + "ada by Bearer"}, 0,
			`"schemaVersion":2`},
		{"wrong password", []string{"--creds", "ada:wrong"},
			[]string{ping + "AUTHENTICATION_REQUIRED", asked + "INVALID_CREDENTIALS by Basic"}, 1,
			"invalid username/password"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			srv := newServer(t)
			registry := srv.guard(durward.Config{Schemes: []durward.Scheme{bearer()}, Realm: srv.url + "/token"})
			tokens := srv.guard(durward.Config{Schemes: []durward.Scheme{basic()}, Realm: "tokens"})
			mux := http.NewServeMux()
			mux.Handle("/v2/", registry.Handler(http.NotFoundHandler()))
			mux.Handle("GET /v2/notes/manifests/one",
				registry.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Type", kind)
					_, _ = io.WriteString(w, manifest)
				})))
			mux.Handle("GET /token", tokens.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				fmt.Fprintf(w, `{"token":%q}`, token)
			})))
			srv.serve(mux)
			host, port := hostPort(srv)
			dir := t.TempDir()
			policy := writeFile(t, filepath.Join(dir, "policy.json"), `{"default":[{"type":"insecureAcceptAnything"}]}`)
			args := append([]string{"--policy", policy, "inspect", "--raw", "--tls-verify=false", "--retry-times=0"},
				c.args...)
			printed, status := command{dir: dir, env: []string{"XDG_RUNTIME_DIR=" + dir}}.run(t, "skopeo",
				append(args, "docker://"+host+":"+port+"/notes:one")...)
			wantOutput(t, printed, status, c.status, c.printed)
			srv.wantRequests(c.requests...)
		})
	}
}
