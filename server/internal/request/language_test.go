package request

import (
	"strings"
	"testing"
)

func TestLanguage(t *testing.T) {
	t.Parallel()
	for field, want := range map[string]string{
		"":                          "",
		"de":                        "de",
		"de-AT,de;q=0.9,en;q=0.5":   "de",
		"en-GB":                     "en",
		"fr,de;q=0.5":               "de",
		"fr":                        "",
		"*":                         "",
		"en;q=0.1, de;q=0.9":        "de",
		"xx-garbage-@@@":            "",
		"de\r\nX: y":                "",
		strings.Repeat("de,", 1000): "",
	} {
		if got := Language(field); got != want {
			t.Errorf("%.40q: got %q, want %q", field, got, want)
		}
	}
}
