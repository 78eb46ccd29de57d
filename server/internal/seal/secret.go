package seal

import (
	"fmt"
	"io"
	"log/slog"
)

// mask is printed instead of a secret.
const mask = "[redacted]"

// Secret is text that must not be printed: a password of another service, a shared key, a token in the
// configuration. Formatting, logging and encoding give a mask; Reveal returns the text. The conversion
// string(s) also returns the text, and encoding/json writes map keys of this type unmasked.
//
// A Secret is decoded from TOML, JSON or the environment like a string.
type Secret string

// Reveal returns the text.
func (s Secret) Reveal() string { return string(s) }

// String returns a mask.
func (Secret) String() string { return mask }

// Format writes a mask for every verb.
func (Secret) Format(f fmt.State, _ rune) { writeMask(f) }

// LogValue returns a mask.
func (Secret) LogValue() slog.Value { return slog.StringValue(mask) }

// MarshalText returns a mask, also for JSON.
func (Secret) MarshalText() ([]byte, error) { return []byte(mask), nil }

func writeMask(w io.Writer) {
	_, _ = io.WriteString(w, mask) // a fmt.State returns no error
}
