package seal

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestSealed(t *testing.T) {
	t.Parallel()
	m, err := NewMaster(strings.Repeat("0f", 32))
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := m.Seal("signing key", "k1", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := m.Unseal("signing key", "k1", sealed); err != nil || string(got) != "secret" {
		t.Fatalf("Unseal: %q, %v", got, err)
	}
	again, err := m.Seal("signing key", "k1", []byte("secret"))
	if err != nil || string(again) == string(sealed) {
		t.Errorf("sealed twice alike: %v", err)
	}
	other, _ := NewMaster(strings.Repeat("0e", 32))
	if m.KeyID() == other.KeyID() {
		t.Error("two keys with one name")
	}
	for name, try := range map[string]func() ([]byte, error){
		"other key":         func() ([]byte, error) { return other.Unseal("signing key", "k1", sealed) },
		"other label":       func() ([]byte, error) { return m.Unseal("refresh key", "k1", sealed) },
		"other row":         func() ([]byte, error) { return m.Unseal("signing key", "k2", sealed) },
		"label into row":    func() ([]byte, error) { return m.Unseal("signing keyk", "1", sealed) },
		"nothing":           func() ([]byte, error) { return m.Unseal("signing key", "k1", nil) },
		"cut":               func() ([]byte, error) { return m.Unseal("signing key", "k1", sealed[:len(sealed)-1]) },
		"nonce and no more": func() ([]byte, error) { return m.Unseal("signing key", "k1", sealed[:13]) },
	} {
		if got, err := try(); !errors.Is(err, ErrWrongKey) || got != nil {
			t.Errorf("%s: %q, %v; want ErrWrongKey", name, got, err)
		}
	}
	for i := range sealed {
		bad := append([]byte(nil), sealed...)
		bad[i] ^= 1
		if _, err := m.Unseal("signing key", "k1", bad); !errors.Is(err, ErrWrongKey) {
			t.Errorf("octet %d changed: %v", i, err)
		}
	}
}

func TestKeyFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "master.key")
	if _, err := Open(path, false); err == nil || !strings.Contains(err.Error(), "put back") {
		t.Errorf("missing: %v", err)
	}
	// Several processes at once end with one key.
	var wg sync.WaitGroup
	ids := make([]string, 8)
	for i := range ids {
		wg.Go(func() {
			m, err := Open(path, true)
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = m.KeyID()
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("keys %v", ids)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".master-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, true); err == nil || !strings.Contains(err.Error(), "chmod 600 "+path) {
		t.Errorf("readable by the group: %v", err)
	}
	for _, bad := range []string{"", "zz", strings.Repeat("0", 63), strings.Repeat("0", 65), strings.Repeat("g", 64)} {
		bad := filepath.Join(t.TempDir(), "k"+fmt.Sprint(len(bad)))
		if err := os.WriteFile(bad, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(bad, true); err == nil || !strings.Contains(err.Error(), "64 hexadecimal digits") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestSecretsPrintAsMasks(t *testing.T) {
	t.Parallel()
	const hidden = "hunter2-hunter2"
	m, _ := NewMaster(strings.Repeat("5a", 32))
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", Secret(hidden), "master", m)
	encoded, err := json.Marshal(map[string]any{"s": Secret(hidden), "m": m})
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{log.String(), string(encoded), fmt.Sprint(Secret(hidden)), fmt.Sprintf("%q %v %+v %#v %x %s", Secret(hidden), Secret(hidden), Secret(hidden), Secret(hidden), Secret(hidden), Secret(hidden)), fmt.Sprintf("%v %+v %#v %s", m, m, m, m)} {
		if strings.Contains(shown, hidden) || strings.Contains(shown, "68756e74") || strings.Contains(shown, "5a5a") || strings.Contains(shown, "90, 90") {
			t.Errorf("shown: %s", shown)
		}
	}
	if Secret(hidden).Reveal() != hidden || Secret("").String() != "" {
		t.Error("Reveal or an empty secret")
	}
}
