package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// beDurward in the environment makes the test binary the program itself, so that
// tests run the real main as a process of its own.
const beDurward = "BE_DURWARD"

func TestMain(m *testing.M) {
	if os.Getenv(beDurward) != "" {
		main()
		return
	}
	testscript.Main(m, map[string]func(){"durward": main})
}

// Scripts of the command line: testdata/script/*.txtar.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{Dir: "testdata/script", RequireExplicitExec: true, RequireUniqueNames: true})
}
