package seal

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

func testMaster(t testing.TB) *Master {
	t.Helper()
	m, err := Open(filepath.Join(t.TempDir(), "master.key"), true)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func seal(t testing.TB, m *Master, label, identity string, plaintext []byte) []byte {
	t.Helper()
	sealed, err := m.Seal(label, identity, plaintext)
	if err != nil {
		t.Fatalf("Seal(%q, %q, %x): %v", label, identity, plaintext, err)
	}
	return sealed
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	m := testMaster(t)
	for _, plaintext := range [][]byte{{}, {0}, []byte("a seed"), bytes.Repeat([]byte("x"), 1<<16)} {
		sealed := seal(t, m, "signing key", "row", plaintext)
		if len(sealed) != len(plaintext)+overhead {
			t.Errorf("Seal of %d bytes: got %d, want %d", len(plaintext), len(sealed), len(plaintext)+overhead)
		}
		if len(plaintext) > 4 && bytes.Contains(sealed, plaintext) {
			t.Errorf("Seal(%.20q): the plaintext stands in it", plaintext)
		}
		if again := seal(t, m, "signing key", "row", plaintext); bytes.Equal(again, sealed) {
			t.Errorf("Seal(%.20q) twice gives the same", plaintext)
		}
		got, err := m.Unseal("signing key", "row", sealed)
		if err != nil || !bytes.Equal(got, plaintext) {
			t.Errorf("Unseal: got %.20q %v, want %.20q", got, err, plaintext)
		}
	}
}

// A recorded key opens a recorded secret: later versions open the secrets in existing databases.
func TestFormatStays(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := Open(path, false)
	if err != nil {
		t.Fatal(err)
	}
	const wantID = "4c696b6850c9e037"
	if got := m.KeyID(); got != wantID {
		t.Errorf("KeyID: got %s, want %s", got, wantID)
	}
	sealed, err := hex.DecodeString("01b6d8ea709f65e40b236170551df52d5d8cf7650e6a6366fa1272a4d9cf922d366a01a472208b48fc0eecb50bcc162095")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := m.Unseal("signing key", "row 7", sealed); err != nil || string(got) != "a secret of long ago" {
		t.Errorf("Unseal: got %q %v, want %q", got, err, "a secret of long ago")
	}
}

func TestTamper(t *testing.T) {
	t.Parallel()
	m := testMaster(t)
	sealed := seal(t, m, "totp", "ada", []byte("JBSWY3DPEHPK3PXP"))
	for i := range sealed {
		for _, bit := range []byte{1, 0x80} {
			bad := slices.Clone(sealed)
			bad[i] ^= bit
			got, err := m.Unseal("totp", "ada", bad)
			if got != nil || err == nil || errors.Is(err, ErrWrongKey) != (i > 0) {
				t.Errorf("byte %d changed by %#x: got %q %v, want no plaintext and ErrWrongKey (but for the version)", i, bit, got, err)
			}
		}
	}
	for n := range sealed {
		if got, err := m.Unseal("totp", "ada", sealed[:n]); got != nil || err == nil {
			t.Errorf("cut to %d bytes: got %q %v, want an error", n, got, err)
		}
	}
	if got, err := m.Unseal("totp", "ada", append(slices.Clone(sealed), 0)); got != nil || !errors.Is(err, ErrWrongKey) {
		t.Errorf("a byte more: got %q %v, want ErrWrongKey", got, err)
	}
}

// A secret opens in its own place alone.
func TestBoundToItsPlace(t *testing.T) {
	t.Parallel()
	m, other := testMaster(t), testMaster(t)
	if m.KeyID() == other.KeyID() || len(m.KeyID()) != 16 {
		t.Errorf("key ids %q and %q, want two of 16 digits", m.KeyID(), other.KeyID())
	}
	sealed := seal(t, m, "ab", "cd", []byte("secret"))
	for _, c := range []struct {
		master          *Master
		label, identity string
	}{
		{m, "ab", "ce"}, {m, "ab", "c"}, {m, "ab", "cdd"}, {m, "ax", "cd"}, {m, "abc", "d"}, {m, "a", "bcd"}, {m, "cd", "ab"}, {other, "ab", "cd"},
	} {
		if got, err := c.master.Unseal(c.label, c.identity, sealed); got != nil || !errors.Is(err, ErrWrongKey) {
			t.Errorf("Unseal(%q, %q) with key %s: got %q %v, want ErrWrongKey", c.label, c.identity, c.master.KeyID(), got, err)
		}
	}
	// The identity is bound by the associated data, the label by its key too.
	if bytes.Equal(associated("ab", "cd"), associated("abc", "d")) {
		t.Error("two pairs read the same")
	}
	for _, c := range [][2]string{{"", "x"}, {"x", ""}} {
		if _, err := m.Seal(c[0], c[1], nil); err == nil {
			t.Errorf("Seal(%q, %q): no error", c[0], c[1])
		}
		if _, err := m.Unseal(c[0], c[1], sealed); err == nil {
			t.Errorf("Unseal(%q, %q): no error", c[0], c[1])
		}
	}
	var zero Master
	if _, err := zero.Seal("a", "b", nil); err == nil {
		t.Error("the zero Master seals")
	}
	if _, err := (*Master)(nil).Unseal("a", "b", sealed); err == nil {
		t.Error("no Master unseals")
	}
	for _, none := range []*Master{&zero, nil} {
		if got := none.KeyID(); got != "none" {
			t.Errorf("KeyID of no master key: %q", got)
		}
	}
}

func TestOpen(t *testing.T) {
	t.Parallel()
	key := strings.Repeat("0123456789abcdef", 4)
	for _, c := range []struct {
		name, text string
		mode       fs.FileMode
		want       string // in the error; empty: opens
	}{
		{"as made", key + "\n", 0o600, ""},
		{"no line end", key, 0o600, ""},
		{"upper case", strings.ToUpper(key) + "\n", 0o600, ""},
		{"line end of Windows", key + "\r\n", 0o600, ""},
		{"read only", key, 0o400, ""},
		{"group reads", key, 0o640, "run: chmod 600 "},
		{"others read", key, 0o604, "run: chmod 600 "},
		{"group writes", key, 0o620, "run: chmod 600 "},
		{"everybody", key, 0o666, "mode 0666"},
		{"empty", "", 0o600, "is empty"},
		{"only a line end", "\n", 0o600, "is empty"},
		{"short", key[:63], 0o600, "has 63 characters"},
		{"16 bytes", key[:32] + "\n", 0o600, "has 32 characters"},
		{"long", key + "0", 0o600, "too long"},
		{"two lines", key + "\n\n", 0o600, "too long"},
		{"two keys", key + "\n" + key + "\n", 0o600, "too long"},
		{"a gigabyte's start", strings.Repeat(key, 1000), 0o600, "too long"},
		{"not hexadecimal", key[:63] + "g", 0o600, "not hexadecimal digits"},
		{"blank at the start", " " + key[1:], 0o600, "not hexadecimal digits"},
		{"zeros", strings.Repeat("0", 64), 0o600, "not a random key"},
		{"one byte", strings.Repeat("ab", 32), 0o600, "not a random key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "master.key")
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, c.mode); err != nil {
				t.Fatal(err)
			}
			for _, create := range []bool{false, true} { // a file that is there is never replaced
				m, err := Open(path, create)
				if c.want == "" {
					if err != nil {
						t.Errorf("Open(create %v): %v", create, err)
					} else if want := testKey(t, key); !bytes.Equal(m.key, want) {
						t.Errorf("Open: got key %x, want %x", m.key, want)
					}
					continue
				}
				if m != nil || err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
					t.Errorf("Open(create %v): got %v %v, want an error with %q and the path", create, m, err, c.want)
				}
				if err != nil && (strings.Contains(err.Error(), key[:16]) || strings.Contains(err.Error(), "%!")) {
					t.Errorf("Open: the error holds the key, or is misprinted: %v", err)
				}
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != c.text {
				t.Errorf("the file changed: %q %v", got, err)
			}
		})
	}
}

// A key that is kept elsewhere is read like a file, and its text is not
// repeated.
func TestParse(t *testing.T) {
	t.Parallel()
	key := strings.Repeat("0123456789abcdef", 4)
	for _, text := range []string{key, key + "\n", strings.ToUpper(key)} {
		if m, err := Parse(Secret(text)); err != nil || !bytes.Equal(m.key, testKey(t, key)) {
			t.Errorf("Parse(%q): %v", text, err)
		}
	}
	for text, want := range map[string]string{
		"": "is empty", key[1:]: "has 63 characters", key + "0": "too long", key[1:] + "g": "not hexadecimal digits", strings.Repeat("a5", 32): "not a random key", " " + key[1:]: "not hexadecimal digits",
	} {
		m, err := Parse(Secret(text))
		if m != nil || err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "234567") {
			t.Errorf("Parse(%q): got %v %v, want %q and nothing of the text", text, m, err, want)
		}
	}
}

func testKey(t *testing.T, text string) []byte {
	t.Helper()
	key, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestOpenMissing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "master.key")
	if m, err := Open(path, false); m != nil || !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "put back the key file") {
		t.Errorf("missing: got %v %v, want what to do", m, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("a missing key left %v %v", entries, err)
	}
	away := filepath.Join(dir, "no such folder", "master.key")
	if m, err := Open(away, true); m != nil || err == nil || !strings.Contains(err.Error(), "run: mkdir -m 700 -p '"+filepath.Dir(away)+"'") {
		t.Errorf("folder missing: got %v %v, want what to do", m, err)
	}
	if m, err := Open(dir, true); m != nil || err == nil || !strings.Contains(err.Error(), "not a file") && !strings.Contains(err.Error(), "read by others") {
		t.Errorf("a folder: got %v %v", m, err)
	}
	dangling := filepath.Join(dir, "dangling")
	if err := os.Symlink(filepath.Join(dir, "nowhere"), dangling); err != nil {
		t.Fatal(err)
	}
	if m, err := Open(dangling, true); m != nil || err == nil {
		t.Errorf("a link to nowhere: got %v %v, want an error", m, err)
	}
}

func TestCreate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "master.key")
	first, err := Open(path, true)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 || info.Size() != 65 {
		t.Errorf("the file: %v of %d bytes, %v; want -rw------- of 65", info.Mode(), info.Size(), err)
	}
	for _, create := range []bool{false, true} {
		again, err := Open(path, create)
		if err != nil || !bytes.Equal(again.key, first.key) {
			t.Errorf("Open again (create %v): another key, or %v", create, err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left in the folder: %v %v, want the key alone", entries, err)
	}
	// Through a link, as secrets are often mounted.
	link := filepath.Join(dir, "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if m, err := Open(link, false); err != nil || !bytes.Equal(m.key, first.key) {
		t.Errorf("through a link: %v", err)
	}
}

// Whoever starts at the same moment gets the same key.
func TestCreateTogether(t *testing.T) {
	t.Parallel()
	for range 20 {
		dir := t.TempDir()
		path := filepath.Join(dir, "master.key")
		keys := make([]string, 16)
		start := make(chan struct{})
		var all sync.WaitGroup
		for i := range keys {
			all.Go(func() {
				<-start
				m, err := Open(path, true)
				if err != nil {
					t.Error(err)
					return
				}
				keys[i] = m.KeyID()
			})
		}
		close(start)
		all.Wait()
		slices.Sort(keys)
		if got := slices.Compact(keys); len(got) != 1 {
			t.Errorf("keys %q, want one", got)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Errorf("left in the folder: %v %v, want the key alone", entries, err)
		}
	}
}

func TestQuote(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/var/lib/durward/master.key": "/var/lib/durward/master.key",
		"/my data/key":                "'/my data/key'",
		"/it's/$(key)":                `'/it'\''s/$(key)'`,
	} {
		if got := quote(path); got != want {
			t.Errorf("quote(%q): got %s, want %s", path, got, want)
		}
	}
}

// Nothing that prints shows a secret, wherever it stands.
func TestMasked(t *testing.T) {
	t.Parallel()
	const text = "hunter2-and-more"
	m := Master{key: []byte(text + text)}
	type config struct {
		Password Secret
		Key      Master
		KeyPtr   *Master
		Map      map[string]Secret
		List     []Secret
	}
	c := config{Secret(text), m, &m, map[string]Secret{"a": text}, []Secret{text}}
	var out strings.Builder
	for _, value := range []any{Secret(text), m, &m, c, &c, []any{Secret(text), m}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%T %v", "%100.3v", "%b", "%c", "%U", "%e"} {
			args := []any{value}
			if strings.HasPrefix(verb, "%T") {
				args = append(args, value)
			}
			fmt.Fprintf(&out, verb+"\n", args...)
		}
		fmt.Fprintln(&out, value)
		b, err := json.Marshal(value)
		if err != nil {
			t.Error(err)
		}
		out.Write(b)
		for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			slog.New(handler).Info("message", "value", value, slog.Group("g", "value", value))
		}
		fmt.Fprintln(&out, fmt.Errorf("wrapped: %v", value))
	}
	for _, s := range []fmt.Stringer{Secret(text), m} {
		out.WriteString(s.String())
		b, err := s.(interface{ MarshalText() ([]byte, error) }).MarshalText()
		if err != nil {
			t.Error(err)
		}
		out.Write(b)
	}
	got := out.String()
	for _, leak := range []string{text, text[:7], hex.EncodeToString([]byte(text))[:12], strings.ToUpper(hex.EncodeToString([]byte(text)))[:12], fmt.Sprint([]byte(text[:4])), "104 117 110"} {
		if leak = strings.Trim(leak, "[]"); strings.Contains(got, leak) {
			t.Errorf("%q was printed:\n%s", leak, got)
		}
	}
	if n := strings.Count(got, mask); n < 100 {
		t.Errorf("%d masks printed, want many", n)
	}
	var read struct{ Password Secret }
	if err := json.Unmarshal([]byte(`{"Password":"`+text+`"}`), &read); err != nil || read.Password.Reveal() != text {
		t.Errorf("read from JSON: %q %v, want %q", read.Password.Reveal(), err, text)
	}
}

// The parser of key files never panics, and an accepted key has 32 bytes and is written the same.
func FuzzParse(f *testing.F) {
	key := strings.Repeat("0123456789abcdef", 4)
	for _, seed := range []string{"", "\n", key, key + "\n", key + "\r\n", key[1:], key + "0", strings.Repeat("0", 64), strings.Repeat("g", 64)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		key, err := parse(text)
		if err != nil {
			if key != nil {
				t.Fatalf("parse(%q): got %x and %v", text, key, err)
			}
			return
		}
		if want := strings.ToLower(strings.TrimRight(string(text), "\r\n")); hex.EncodeToString(key) != want {
			t.Fatalf("parse(%q): got %x", text, key)
		}
	})
}

// Text that was not sealed with the key causes an error.
func FuzzUnseal(f *testing.F) {
	m := testMaster(f)
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{version}, overhead))
	f.Add(seal(f, testMaster(f), "label", "row", []byte("sealed with another key")))
	f.Fuzz(func(t *testing.T, sealed []byte) {
		if got, err := m.Unseal("label", "row", sealed); got != nil || err == nil {
			t.Fatalf("Unseal(%x): got %x %v", sealed, got, err)
		}
	})
}

func BenchmarkUnseal(b *testing.B) {
	m := testMaster(b)
	sealed := seal(b, m, "label", "row", bytes.Repeat([]byte("x"), 200))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Unseal("label", "row", sealed); err != nil {
			b.Fatal(err)
		}
	}
}

// Processes with one master key derive one key for a label; it differs from those of other labels and of
// sealing.
func TestDerive(t *testing.T) {
	t.Parallel()
	a, err := Parse(Secret(strings.Repeat("5a7c", 16)))
	if err != nil {
		t.Fatal(err)
	}
	b, err := Parse(Secret(strings.Repeat("5a7d", 16)))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{a.KeyID(): true, string(a.key): true}
	for _, m := range []*Master{a, b} {
		for _, label := range []string{"one", "two"} {
			key, err := m.Derive(label)
			again, _ := m.Derive(label)
			if err != nil || len(key) != 32 || string(key) != string(again) || seen[string(key)] {
				t.Errorf("%s: %x and %x, %v", label, key, again, err)
			}
			seen[string(key)] = true
		}
	}
	sealing, err := hkdf.Key(sha256.New, a.key, nil, labelInfo+"one", 32)
	if err != nil || seen[string(sealing)] {
		t.Errorf("a derived key is one that seals: %v", err)
	}
	for _, bad := range []func() ([]byte, error){func() ([]byte, error) { return new(Master).Derive("one") }, func() ([]byte, error) { return a.Derive("") }} {
		if key, err := bad(); err == nil || key != nil {
			t.Errorf("%x, %v", key, err)
		}
	}
}
