package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/durward-auth/durward/e2e/executable"
)

// peers builds the programs of the module peers at its first call. It returns the folder of Dex.
var peers = sync.OnceValues(func() (dex string, err error) {
	env := append(os.Environ(), "GOWORK=off")
	if err := executable.GoBuild("peers", executable.Dir+"/", "./...", env); err != nil {
		return "", err
	}
	list := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/dexidp/dex")
	list.Dir, list.Env = "peers", env
	out, err := list.Output()
	return strings.TrimSpace(string(out)), err
})

// startPeer builds the module peers and starts one of its programs, with input on its standard input.
func (p *process) startPeer(name string, input map[string]string) {
	p.t.Helper()
	if _, err := peers(); err != nil {
		p.t.Fatal(err)
	}
	text, err := json.Marshal(input)
	if err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(executable.Dir, name))
	cmd.Stdin = bytes.NewReader(text)
	p.start(cmd)
}

// postForm sends a form to a URL of the process and returns the body of the response.
func (p *process) postForm(to string, form url.Values) []byte {
	p.t.Helper()
	resp, err := http.PostForm(to, form)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 300 {
		p.t.Fatalf("%s: %s %s %v; its log:\n%s", to, resp.Status, body, err, p.logText())
	}
	return body
}
