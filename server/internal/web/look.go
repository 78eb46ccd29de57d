package web

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"strconv"
)

// Look is the operator's choice of name, logo and colour of the pages.
type Look struct {
	Name string // at the head of each page and in its title

	logo     []byte // empty: none
	logoFile string // such as "logo.svg"
	style    string // rules after the style sheet
}

// maxLogo is the maximum size of a logo, in octets. Every page loads it.
const maxLogo = 128 << 10

// NewLook returns the look with a name, the SVG or PNG file of a logo and an accent colour such as #17497a. Logo
// and accent may be empty. The warning says that the colour is hard to read and what the pages use in its place.
func NewLook(name, logo, accent string) (look Look, warning string, err error) {
	look.Name = name
	if logo != "" {
		if look.logo, look.logoFile, err = readLogo(logo); err != nil {
			return look, "", err
		}
	}
	if accent != "" {
		if look.style, warning, err = accentStyle(accent); err != nil {
			return look, "", err
		}
	}
	return look, warning, nil
}

func readLogo(path string) (content []byte, name string, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, "", fmt.Errorf("pages.logo: cannot open the file: %w", err)
	}
	defer file.Close()
	content, err = io.ReadAll(io.LimitReader(file, maxLogo+1))
	switch {
	case err != nil:
		return nil, "", fmt.Errorf("pages.logo: cannot read %s: %w", path, err)
	case len(content) > maxLogo:
		return nil, "", fmt.Errorf("pages.logo: %s has more than %d KiB; every page loads it", path, maxLogo>>10)
	case bytes.HasPrefix(content, []byte("\x89PNG\r\n\x1a\n")):
		return content, "logo.png", nil
	case isSVG(content):
		return content, "logo.svg", nil
	}
	return nil, "", fmt.Errorf("pages.logo: %s is no SVG and no PNG file", path)
}

// isSVG reports whether the root element of content is svg. What else is inside does no harm: browsers run no
// scripts of an image, and the file is served with a policy that forbids them.
func isSVG(content []byte) bool {
	for d := xml.NewDecoder(bytes.NewReader(content)); ; {
		token, err := d.Token()
		if err != nil {
			return false
		}
		if root, ok := token.(xml.StartElement); ok {
			return root.Name.Local == "svg"
		}
	}
}

// logoSecurity is the Content-Security-Policy of the logo, for a browser that opens it as a page.
const logoSecurity = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"

// color is red, green and blue from 0 to 255.
type color [3]float64

// Colours of the style sheet that the accent lies on.
var (
	lightPaper = color{0xfb, 0xfa, 0xf7}
	darkPaper  = color{0x19, 0x18, 0x16}
	black      = color{}
	white      = color{255, 255, 255}
)

// wantedContrast is the contrast of text on the pages (WCAG 2.2, 1.4.6).
const wantedContrast = 7

var hexColor = regexp.MustCompile(`^#[0-9a-fA-F]{6}$`)

// accentStyle returns the rules for an accent colour in both themes. A colour that is hard to read on a theme is
// made darker or lighter until it is not; the warning is about the light one.
func accentStyle(accent string) (style, warning string, err error) {
	if !hexColor.MatchString(accent) {
		return "", "", errors.New("pages.accent: want a colour such as #17497a")
	}
	given := parseColor(accent)
	light, dark := readable(given, lightPaper, black), readable(given, darkPaper, white)
	if light != given {
		warning = fmt.Sprintf("pages.accent %s has a contrast of %.1f : 1 to the page, less than %d : 1, so the pages use %s in its place",
			accent, contrast(given, lightPaper), wantedContrast, light)
	}
	rules := func(c color) string { return fmt.Sprintf(":root { --accent: %s; --on-accent: %s; }", c, textOn(c)) }
	return fmt.Sprintf("\n@layer base {\n  %s\n  @media (prefers-color-scheme: dark) { %s }\n}\n", rules(light), rules(dark)), warning, nil
}

// readable mixes c with end until it has the wanted contrast to paper.
func readable(c, paper, end color) color {
	mixed := c
	for step := 1.0; contrast(mixed, paper) < wantedContrast && step <= 50; step++ {
		for i := range mixed {
			mixed[i] = math.Round(c[i] + (end[i]-c[i])*step/50)
		}
	}
	return mixed
}

// textOn returns the one of black and white with the higher contrast to c.
func textOn(c color) color {
	if contrast(c, black) > contrast(c, white) {
		return black
	}
	return white
}

// contrast returns the contrast ratio of two colours (WCAG 2.2).
func contrast(a, b color) float64 {
	bright, dim := a.luminance(), b.luminance()
	if bright < dim {
		bright, dim = dim, bright
	}
	return (bright + 0.05) / (dim + 0.05)
}

// luminance returns the relative luminance of c (WCAG 2.2).
func (c color) luminance() float64 {
	var linear color
	for i, v := range c {
		if v /= 255; v <= 0.04045 {
			linear[i] = v / 12.92
		} else {
			linear[i] = math.Pow((v+0.055)/1.055, 2.4)
		}
	}
	return 0.2126*linear[0] + 0.7152*linear[1] + 0.0722*linear[2]
}

// String returns c as #rrggbb.
func (c color) String() string {
	return fmt.Sprintf("#%02x%02x%02x", int(c[0]), int(c[1]), int(c[2]))
}

func parseColor(hex string) (c color) {
	for i := range c {
		v, _ := strconv.ParseUint(hex[1+2*i:3+2*i], 16, 8) // the caller checked the digits
		c[i] = float64(v)
	}
	return c
}
