package otp

import (
	"bytes"
	"fmt"
	"image/png"
	"net/url"
	"strings"
	"testing"
	"time"
)

// rfcSeed is the seed of the test vectors of RFC 6238 appendix B for SHA-1.
var rfcSeed = []byte("12345678901234567890")

// The vectors of RFC 6238 appendix B, of which six digits are used here.
func TestVectors(t *testing.T) {
	t.Parallel()
	for seconds, code := range map[int64]string{
		59: "94287082", 1111111109: "07081804", 1111111111: "14050471", 1234567890: "89005924", 2000000000: "69279037",
	} {
		at := time.Unix(seconds, 0)
		if step, ok := Verify(rfcSeed, code[2:], at, 0); !ok || step != seconds/30 {
			t.Errorf("%d: got step %d, %t; want %d", seconds, step, ok, seconds/30)
		}
	}
}

// A code is accepted from one step before to one step after its own, and never again once its step or a
// later one was used.
func TestWindow(t *testing.T) {
	t.Parallel()
	const code, own = "050471", 1111111111 / 30
	for _, c := range []struct {
		step int64 // of the clock
		last int64
		want bool
	}{
		{own - 2, 0, false}, {own - 1, 0, true}, {own, 0, true}, {own + 1, 0, true}, {own + 2, 0, false},
		{own, own - 1, true}, {own, own, false}, {own + 1, own, false}, {own - 1, own, false}, {own, own + 1, false},
	} {
		if step, ok := Verify(rfcSeed, code, time.Unix(c.step*30, 0), c.last); ok != c.want || ok && step != own {
			t.Errorf("clock at step %+d, last step %d: got step %d, %t; want %t", c.step-own, c.last, step, ok, c.want)
		}
	}
	for text, want := range map[string]bool{
		"050 471": true, " 050471 ": true, "50471": false, "0050471": false, "05047l": false, "": false, "٠٥٠٤٧١": false, "+50471": false,
	} {
		if _, ok := Verify(rfcSeed, text, time.Unix(own*30, 0), 0); ok != want {
			t.Errorf("code %q: got %t, want %t", text, ok, want)
		}
	}
}

func TestURI(t *testing.T) {
	t.Parallel()
	text := URI(rfcSeed, "auth.example.com", "ada+x y@example.com")
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "otpauth" || u.Host != "totp" || u.Path != "/auth.example.com:ada+x y@example.com" || strings.Contains(text, " ") {
		t.Errorf("got %s, %v", text, err)
	}
	want := url.Values{"secret": {"GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"}, "issuer": {"auth.example.com"}, "algorithm": {"SHA1"}, "digits": {"6"}, "period": {"30"}}
	if got := u.Query().Encode(); got != want.Encode() {
		t.Errorf("got the query %s, want %s", got, want.Encode())
	}
	if a, b := NewSeed(), NewSeed(); len(a) != 20 || bytes.Equal(a, b) {
		t.Errorf("NewSeed: got %d octets, and twice the same: %t", len(a), bytes.Equal(a, b))
	}
}

// The SVG document and the PNG image show the same modules, in black on white with a quiet zone.
func TestQR(t *testing.T) {
	t.Parallel()
	svg, image, err := QR(URI(NewSeed(), "auth.example.com", strings.Repeat("a", 242)+"@example.com"))
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := png.Decode(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	size, darks := decoded.Bounds().Dx()/scale, 0
	for y := range size {
		for x := range size {
			r, _, _, _ := decoded.At(x*scale+scale/2, y*scale+scale/2).RGBA()
			dark := r == 0
			if dark {
				darks++
			}
			if in := strings.Contains(svg, fmt.Sprintf("M%d %dh1v1h-1z", x, y)); in != dark {
				t.Fatalf("module %d %d: dark in the PNG image is %t, in the SVG document %t", x, y, dark, in)
			}
			if edge := min(x, y, size-1-x, size-1-y); dark && edge < quiet {
				t.Fatalf("module %d %d in the quiet zone is dark", x, y)
			}
		}
	}
	if darks < size || !strings.Contains(svg, fmt.Sprintf(`viewBox="0 0 %[1]d %[1]d"`, size)) {
		t.Errorf("got %d dark modules of %d, SVG %.120s", darks, size*size, svg)
	}
	if _, _, err := QR(strings.Repeat("x", 5000)); err == nil {
		t.Error("a text that is too long: got no error")
	}
}

// A recovery code is accepted as users type it, belongs to its user, and has one value.
func TestRecoveryCode(t *testing.T) {
	t.Parallel()
	code := NewRecoveryCode()
	hash, ok := RecoveryHash("ada", code)
	if !ok || len(hash) != 32 || len(code) != 19 || NewRecoveryCode() == code {
		t.Fatalf("code %q: got the hash %x, %t", code, hash, ok)
	}
	typed := strings.NewReplacer("-", " ", "0", "O", "1", "l").Replace(strings.ToUpper(code))
	for _, text := range []string{typed, strings.ReplaceAll(code, "-", ""), " " + code + " "} {
		if got, ok := RecoveryHash("ada", text); !ok || !bytes.Equal(got, hash) {
			t.Errorf("%q: got another hash than %q", text, code)
		}
	}
	if got, _ := RecoveryHash("bob", code); bytes.Equal(got, hash) {
		t.Error("two users have the same hash of one code")
	}
	for _, text := range []string{"", "123456", code[:18], code + "0", strings.Replace(code, "-", "\n", 1), "uuuu-uuuu-uuuu-uuuu"} {
		if _, ok := RecoveryHash("ada", text); ok {
			t.Errorf("%q is accepted as the form of a recovery code", text)
		}
	}
}

// Whatever a client sends as a code, Verify and RecoveryHash answer without a panic, and only codes of
// the right form pass.
func FuzzCode(f *testing.F) {
	f.Add("050471")
	f.Add("0123-4567-89ab-cdef")
	f.Fuzz(func(t *testing.T, text string) {
		now := time.Unix(1111111111, 0)
		if _, ok := Verify(rfcSeed, text, now, 0); ok && !IsCode(strings.ReplaceAll(text, " ", "")) {
			t.Errorf("Verify accepts %q", text)
		}
		if hash, ok := RecoveryHash("ada", text); ok != (len(hash) == 32) {
			t.Errorf("RecoveryHash(%q): got %x, %t", text, hash, ok)
		}
	})
}
