package config

import (
	"fmt"
	"strings"
	"testing"
)

// String and Fault never contain the password of an address.
func TestDatabaseURL(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, url, text, fault string // fault is a part of Fault, "" for a valid address
	}{
		{"SQLite file: unchanged", "sqlite:/var/lib/x.db", "sqlite:/var/lib/x.db", ""},
		{"SQLite without path: fault", "sqlite:", "sqlite:", "names no file"},
		{"empty: unchanged", "", "", `begins with ""`},
		{"password: masked", "postgres://ada:marked@db/x", "postgres://ada:[redacted]@db/x", ""},
		{"user only: unchanged", "postgres://ada@db:5433/x", "postgres://ada@db:5433/x", ""},
		{"unknown parameter: masked", "postgres://db/x?sslmode=disable&sslpassword=marked", "postgres://db/x?sslmode=disable&sslpassword=[redacted]", ""},
		{"slash in the password: fault", "postgres://ada:ma/marked@db/x", "postgres:[redacted]", "is not a valid address"},
		{"no database: fault", "postgres://ada@db", "postgres://ada@db", "names no database"},
		{"other scheme: fault", "mysql://ada:marked@db/x", "mysql://ada:[redacted]@db/x", `begins with "mysql"`},
		{"no scheme: masked", "marked", "[redacted]", `begins with ""`},
	} {
		u := DatabaseURL(c.url)
		if u.String() != c.text {
			t.Errorf("%s: String of %q: got %q, want %q", c.name, c.url, u, c.text)
		}
		if got := u.Fault(); (got == "") != (c.fault == "") || !strings.Contains(got, c.fault) || strings.Contains(got, "marked") {
			t.Errorf("%s: Fault of %q: got %q, want %q", c.name, c.url, got, c.fault)
		}
		if text := fmt.Sprintf("%v %#v", u, u); strings.Contains(text, "marked") {
			t.Errorf("%s: formatting %q printed the password: %s", c.name, c.url, text)
		}
	}
}
