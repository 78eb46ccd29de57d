// Package pages_test walks the pages of the server and the browser module in Chromium and Firefox.
package pages_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/durward-auth/durward/e2e/executable"
)

func TestMain(m *testing.M) {
	status := executable.Run(m, func() { stopBrowser() })
	if wantScreens {
		if err := writeIndex(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			status = 1
		}
	}
	os.Exit(status)
}
