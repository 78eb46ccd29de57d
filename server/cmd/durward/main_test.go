package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/durward-auth/durward/internal/services"
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

// Scripts over a database server: testdata/script/postgres/*.txtar.
func TestScriptsOfPostgres(t *testing.T) {
	t.Parallel()
	address := services.Database(t)
	testscript.Run(t, testscript.Params{Dir: "testdata/script/postgres", RequireExplicitExec: true, RequireUniqueNames: true, Setup: func(e *testscript.Env) error {
		e.Setenv("POSTGRES", address)
		e.Setenv("NOBODY", "127.0.0.1:1") // which no process is given by chance
		return nil
	}})
}
