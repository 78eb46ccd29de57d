package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/durward-auth/durward/internal/services"
)

// beDurward is an environment variable that makes the test binary run main, so that tests run the
// program in a process of its own.
const beDurward = "BE_DURWARD"

func TestMain(m *testing.M) {
	if os.Getenv(beDurward) != "" {
		main()
		return
	}
	testscript.Main(m, map[string]func(){"durward": main})
}

// Scripts of the command line in testdata/script.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{Dir: "testdata/script", RequireExplicitExec: true, RequireUniqueNames: true})
}

// Scripts with PostgreSQL in testdata/script/postgres.
func TestScriptsOfPostgres(t *testing.T) {
	t.Parallel()
	address := services.Database(t)
	testscript.Run(t, testscript.Params{Dir: "testdata/script/postgres", RequireExplicitExec: true, RequireUniqueNames: true, Setup: func(e *testscript.Env) error {
		e.Setenv("POSTGRES", address)
		e.Setenv("NOBODY", "127.0.0.1:1") // a port that the system never assigns
		return nil
	}})
}

// Scripts with PostgreSQL behind PgBouncer in testdata/script/pooler.
func TestScriptsOfPooler(t *testing.T) {
	t.Parallel()
	address := services.Database(t)
	pooler := services.Bounced(t, address)
	testscript.Run(t, testscript.Params{Dir: "testdata/script/pooler", RequireExplicitExec: true, RequireUniqueNames: true, Setup: func(e *testscript.Env) error {
		e.Setenv("POSTGRES", address)
		e.Setenv("POOLER", pooler)
		return nil
	}})
}
