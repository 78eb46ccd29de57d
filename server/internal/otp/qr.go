package otp

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"strings"

	"github.com/boombuler/barcode/qr"
)

const (
	quiet = 4 // light modules around the code (ISO/IEC 18004 s9.1)
	scale = 6 // pixels of a module in a PNG image
)

// modules returns the QR code of a text as a square of modules, true for dark, with its quiet zone.
func modules(text string) ([][]bool, error) {
	code, err := qr.Encode(text, qr.M, qr.Auto)
	if err != nil {
		return nil, fmt.Errorf("otp: cannot make a QR code of %d characters: %w", len(text), err)
	}
	size := code.Bounds().Dx()
	square := make([][]bool, size+2*quiet)
	for y := range square {
		square[y] = make([]bool, size+2*quiet)
	}
	for y := range size {
		for x := range size {
			brightness := color.GrayModel.Convert(code.At(x, y)).(color.Gray).Y
			square[y+quiet][x+quiet] = brightness < 128
		}
	}
	return square, nil
}

// QR returns the QR code of a text as an SVG document and as a PNG image. Both are black on white in
// dark pages too, because many apps do not read inverted codes.
func QR(text string) (svg string, pngImage []byte, err error) {
	square, err := modules(text)
	if err != nil {
		return "", nil, err
	}
	size := len(square)
	var dark strings.Builder
	pixels := image.NewPaletted(image.Rect(0, 0, size*scale, size*scale), color.Palette{color.White, color.Black})
	for y, row := range square {
		for x, is := range row {
			if !is {
				continue
			}
			fmt.Fprintf(&dark, "M%d %dh1v1h-1z", x, y)
			for i := range scale * scale {
				pixels.SetColorIndex(x*scale+i%scale, y*scale+i/scale, 1)
			}
		}
	}
	svg = fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %[1]d %[1]d" shape-rendering="crispEdges">`+
		`<path fill="#fff" d="M0 0h%[1]dv%[1]dH0z"/><path d="%[2]s"/></svg>`, size, dark.String())
	var b bytes.Buffer
	if err := png.Encode(&b, pixels); err != nil {
		return "", nil, fmt.Errorf("otp: %w", err)
	}
	return svg, b.Bytes(), nil
}
