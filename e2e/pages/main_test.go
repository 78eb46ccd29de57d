// Package pages_test walks the pages of the server and the browser module in Chromium and Firefox.
package pages_test

import (
	"os"
	"testing"

	"github.com/durward-auth/durward/e2e/executable"
)

func TestMain(m *testing.M) { os.Exit(executable.Run(m)) }
