package pages_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/durward-auth/durward/e2e/executable"
)

// axe returns the script of axe-core, which npm installs outside the source tree.
var axe = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(executable.Dir, "axe")
	if err := os.CopyFS(dir, os.DirFS("../js")); err != nil {
		return "", err
	}
	cmd := exec.Command("npm", "ci", "--prefer-offline", "--no-fund", "--no-audit", "--ignore-scripts")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	source, err := os.ReadFile(filepath.Join(dir, "node_modules/axe-core/axe.min.js"))
	return string(source), err
})

// needAxe skips the test without axe-core; with CI set, the test fails.
func needAxe(t *testing.T) {
	t.Helper()
	if _, err := axe(); err != nil && os.Getenv("CI") != "" {
		t.Fatal(err)
	} else if err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
}

// accessible checks the page with axe-core, narrow in the light theme and wide in the dark one. It reports rules of every
// impact but the minor ones. Scripts of a debugger run in spite of the page's policy.
func (b spaTab) accessible(name string) {
	b.Helper()
	source, err := axe()
	if err != nil {
		b.Fatal(err)
	}
	for width, theme := range map[int64]string{320: "light", 1280: "dark"} {
		if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{
				{Name: "prefers-color-scheme", Value: theme},
				{Name: "prefers-reduced-motion", Value: "reduce"}, // else colours change slowly
			},
		}); err != nil {
			b.Fatal(err)
		}
		do(b, chromedp.EmulateViewport(width, 800))
		do(b, chromedp.Evaluate[string](source+";''"))
		found := b.script(`axe.run().then(r => r.violations.filter(v => v.impact !== "minor")
			.map(v => v.impact + " " + v.id + ": " + v.nodes.map(n => n.html + " " + (n.any[0]?.message ?? "")).join(" | ")).join("\n"))`)
		if found != "" {
			b.Errorf("%s, %d px, %s: %s", name, width, theme, found)
		}
		if wide := b.script(`document.documentElement.scrollWidth > innerWidth`); wide != "false" {
			b.Errorf("%s, %d px: the page is wider than the window", name, width)
		}
	}
	do(b, chromedp.EmulateViewport(1280, 800))
}
