package e2e

import (
	"os"
	"os/exec"
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
