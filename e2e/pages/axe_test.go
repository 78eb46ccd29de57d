package pages_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/durward-auth/durward/e2e/executable"
)

// axe returns the script of axe-core.
var axe = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(executable.Dir, "axe")
	if err := installed(dir, "../js"); err != nil {
		return "", err
	}
	source, err := os.ReadFile(filepath.Join(dir, "node_modules/axe-core/axe.min.js"))
	return string(source), err
})

// installed copies scripts to dir, outside the source tree, and installs their packages there.
func installed(dir, scripts string) error {
	if err := os.CopyFS(dir, os.DirFS(scripts)); err != nil {
		return err
	}
	cmd := exec.Command("npm", "ci", "--prefer-offline", "--no-fund", "--no-audit", "--ignore-scripts")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return nil
}

var themes = []string{"light", "dark"}

// emulate sets the width of the window and the theme. Nothing moves, or colours would change slowly.
func (b *tab) emulate(width, height int64, theme string) {
	b.Helper()
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: theme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}})
	do(b, chromedp.EmulateViewport(width, height))
}

// check looks at the page as it is with axe-core, in both themes at 320 and 1280 pixels, and requires that it is
// not wider than the window. It reports findings of every impact but the minor ones. With SCREENS set it writes
// screenshots, too.
func (b *tab) check(name string) {
	b.Helper()
	b.sees(`document.readyState === "complete"`)
	if b.noScripts { // the scripts of the page did not run, and do not run now
		b.withScripts(true)
		defer b.withScripts(false)
	}
	source, err := axe()
	switch {
	case err != nil && os.Getenv("CI") != "":
		b.Fatal(err)
	case err != nil:
		b.Logf("SKIPPED: axe-core: %v", err)
	default:
		// Scripts of the DevTools protocol run in spite of the page's policy.
		do(b, chromedp.Evaluate[string](source+`; ""`))
	}
	for _, width := range []int64{320, 1280} {
		for _, theme := range themes {
			b.emulate(width, 800, theme)
			if err == nil {
				found := b.script(`axe.run({resultTypes: ["violations"]}).then(r => r.violations.filter(v => v.impact !== "minor")
					.map(v => v.impact + " " + v.id + ": " + v.nodes.slice(0, 3).map(n => n.html.slice(0, 200) + " " + [...n.any, ...n.all, ...n.none][0]?.message).join(" | ")).join("\n"))`)
				if found != "" {
					b.Errorf("%s, %d pixels, %s:\n%s", name, width, theme, found)
				}
			}
			if wide := b.script(`document.documentElement.scrollWidth - innerWidth`); !strings.HasPrefix(wide, "-") && wide != "0" {
				b.Errorf("%s: the page is %s pixels wider than the window of %d", name, wide, width)
			}
		}
	}
	b.screens(name)
	b.emulate(1280, 800, "light")
}
