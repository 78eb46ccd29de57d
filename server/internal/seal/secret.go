package seal

import (
	"fmt"
	"io"
	"log/slog"
)

// mask is what stands in place of a secret wherever one is printed.
const mask = "[redacted]"

// Secret is text that must not be printed: a password of another service, a
// shared key, a token in configuration. However it is formatted, logged or
// encoded, a mask comes out; Reveal gives the text. Ways round the mask remain:
// Reveal and the conversion string(s), which are seen in code, and a map that has
// secrets as keys, whose keys encoding/json writes as they are.
//
// It is read like any string, from TOML, JSON or the environment.
type Secret string

// Reveal returns the text.
func (s Secret) Reveal() string { return string(s) }

// String returns a mask.
func (Secret) String() string { return mask }

// GoString returns a mask.
func (Secret) GoString() string { return mask }

// Format writes a mask, for every verb.
func (Secret) Format(f fmt.State, _ rune) { writeMask(f) }

// LogValue is a mask.
func (Secret) LogValue() slog.Value { return slog.StringValue(mask) }

// MarshalJSON returns a mask.
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + mask + `"`), nil }

// MarshalText returns a mask.
func (Secret) MarshalText() ([]byte, error) { return []byte(mask), nil }

func writeMask(w io.Writer) {
	_, _ = io.WriteString(w, mask) // a fmt.State keeps what is written
}
