package pages_test

import (
	"html/template"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// With SCREENS set, the tests write screenshots to screensDir, and a page index.html that shows them.
var (
	wantScreens = os.Getenv("SCREENS") != ""
	screensDir  = filepath.Join("..", "..", ".build", "screens")
)

// screen is a size of a window.
type screen struct {
	name          string
	width, height int64
}

var sizes = []screen{{"phone", 390, 844}, {"desktop", 1280, 800}}

// writeScreen writes a screenshot: of a page, on a phone or a desktop, in a theme and a language.
func writeScreen(page, size, theme, language string, png []byte) error {
	if err := os.MkdirAll(screensDir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(screensDir, strings.Join([]string{page, size, theme, language}, "-")+".png"), png, 0o644)
}

// screens writes screenshots of the page as it is: of both sizes, in both themes.
func (b *tab) screens(name string) {
	b.Helper()
	if !wantScreens {
		return
	}
	language := b.script(`document.documentElement.lang`)
	for _, size := range sizes {
		for _, theme := range themes {
			b.emulate(size.width, size.height, theme)
			if err := writeScreen(name, size.name, theme, language, do(b, chromedp.FullScreenshot(100))); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// checkBoth is check in English and, for the screenshots, in German, of a page that can be opened again by its path.
func (b *tab) checkBoth(name, path string) {
	b.Helper()
	b.check(name)
	if !wantScreens {
		return
	}
	before, token, found := strings.Cut(path, "#")
	before = regexp.MustCompile(`[?&]ui_locales=\w+`).ReplaceAllString(before, "")
	for _, language := range []string{"de", "en"} {
		b.visit(before + map[bool]string{true: "&", false: "?"}[strings.Contains(before, "?")] + "ui_locales=" + language + map[bool]string{true: "#"}[found] + token)
		b.sees(`document.documentElement.lang === "` + language + `"`)
		if language == "de" {
			b.screens(name)
		}
	}
	b.emulate(1280, 800, "light")
}

// checkSent is checkBoth for a page that answers a form. For the screenshots in the other language the browser sends
// the form again.
func (b *tab) checkSent(name string) {
	b.Helper()
	b.check(name)
	if !wantScreens {
		return
	}
	const status = `performance.getEntriesByType("navigation")[0].responseStatus`
	first, answered := b.script(`document.documentElement.lang`), b.script(status)
	for _, language := range []string{map[string]string{"en": "de", "de": "en"}[first], first} {
		b.speak(language)
		call(b, page.Reload, page.ReloadParams{})
		b.sees(`document.documentElement.lang === "` + language + `" && document.readyState === "complete" && ` + status + ` === ` + answered)
		if language != first {
			b.screens(name)
		}
	}
	b.emulate(1280, 800, "light")
}

// checkOnce is checkBoth for a page that shows a secret once, after the form that show sends.
func (b *tab) checkOnce(name string, show func()) {
	b.Helper()
	show()
	b.check(name)
	if !wantScreens {
		return
	}
	b.speak("de")
	show()
	b.screens(name)
	b.emulate(1280, 800, "light")
	b.speak("en")
}

// speak chooses the language of the next pages, as the button below each page does.
func (b *tab) speak(language string) {
	b.Helper()
	call(b, network.SetCookie, network.SetCookieParams{Name: "durward-language", Value: language, URL: b.origin})
}

// indexPage shows the screenshots, one section for each page.
var indexPage = template.Must(template.New("").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Screenshots</title>
<style>body { font: 1rem system-ui, sans-serif; margin: 2rem } div { display: flex; flex-wrap: wrap; gap: 1rem; align-items: start } figure { margin: 0 } img { border: 1px solid #888; max-inline-size: 30rem; block-size: auto } nav a { margin-inline-end: 1em }</style>
<h1>Screenshots</h1>
<nav>{{range .}}<a href="#{{.Page}}">{{.Page}}</a> {{end}}</nav>
{{range .}}<h2 id="{{.Page}}">{{.Page}}</h2>
<div>{{range .Files}}<figure><figcaption>{{.}}</figcaption><a href="{{.}}"><img src="{{.}}" alt="" loading="lazy"></a></figure>{{end}}</div>
{{end}}`))

// writeIndex writes the page that shows the screenshots, if there are any.
func writeIndex() error {
	found, _ := filepath.Glob(filepath.Join(screensDir, "*.png"))
	type section struct {
		Page  string
		Files []string
	}
	var sections []section
	slices.Sort(found)
	for _, path := range found {
		file := filepath.Base(path)
		page := file
		for range 3 { // size, theme, language
			page = page[:max(0, strings.LastIndexByte(page, '-'))]
		}
		if n := len(sections); n == 0 || sections[n-1].Page != page {
			sections = append(sections, section{Page: page})
		}
		last := &sections[len(sections)-1]
		last.Files = append(last.Files, file)
	}
	if sections == nil {
		return nil
	}
	var out strings.Builder
	if err := indexPage.Execute(&out, sections); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(screensDir, "index.html"), []byte(out.String()), 0o644)
}
