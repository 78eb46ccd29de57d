// Package seal keeps secrets at rest: signing keys and whatever else a stolen
// database must not give away. One master key, in a file beside the data or
// elsewhere, opens them all.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
)

// ErrWrongKey says that a sealed secret does not open: it was sealed with
// another master key, for another row, or was changed.
var ErrWrongKey = errors.New("seal: does not open with this master key")

const (
	keyOctets = 32
	version   = 1
)

// Master is a master key. It prints as a mask.
type Master struct{ key [keyOctets]byte }

// NewMaster takes a key in its written form: 64 hexadecimal digits. White space
// around it is dropped.
func NewMaster(text string) (*Master, error) {
	m := new(Master)
	raw, err := hex.DecodeString(strings.TrimSpace(text))
	if err != nil || len(raw) != keyOctets {
		return nil, fmt.Errorf("seal: a master key is %d hexadecimal digits, this is not one", 2*keyOctets)
	}
	copy(m.key[:], raw)
	return m, nil
}

// Open reads the master key file at path, and makes it first where create is set
// and there is none. A file that group or others can read is refused.
func Open(path string, create bool) (*Master, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && create {
		if err := make0600(path); err != nil {
			return nil, fmt.Errorf("seal: the master key %s cannot be made: %w", path, err)
		}
		f, err = os.Open(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("seal: there is no master key at %s: put back the one this database was made with; without it its keys cannot be opened: %w", path, err)
	} else if err != nil {
		return nil, fmt.Errorf("seal: master key: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("seal: master key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("seal: the master key %s can be read by group or others: chmod 600 %s", path, path)
	}
	text, err := io.ReadAll(io.LimitReader(f, 1024))
	if err != nil {
		return nil, fmt.Errorf("seal: master key: %w", err)
	}
	m, err := NewMaster(string(text))
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, path)
	}
	return m, nil
}

// make0600 writes a new key durably. Of several processes that start at once one
// wins, and the others read what it wrote: the file appears whole or not at all.
func make0600(path string) error {
	raw := make([]byte, keyOctets)
	_, _ = rand.Read(raw)                                    // crypto/rand.Read never returns an error
	f, err := os.CreateTemp(filepath.Dir(path), ".master-*") // made with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(hex.EncodeToString(raw) + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Seal encrypts plaintext for one use and one row. label names the use and
// identity the row; what is sealed for one opens for no other.
//
//	version 1 | nonce 12 | AES-256-GCM ciphertext and tag
func (m *Master) Seal(label, identity string, plaintext []byte) ([]byte, error) {
	aead, err := m.aead(label)
	if err != nil {
		return nil, err
	}
	sealed := make([]byte, 1+aead.NonceSize(), 1+aead.NonceSize()+len(plaintext)+aead.Overhead())
	sealed[0] = version
	_, _ = rand.Read(sealed[1:]) // crypto/rand.Read never returns an error
	return aead.Seal(sealed, sealed[1:], plaintext, associated(label, identity)), nil
}

// Unseal opens what Seal made, or returns ErrWrongKey.
func (m *Master) Unseal(label, identity string, sealed []byte) ([]byte, error) {
	aead, err := m.aead(label)
	if err != nil {
		return nil, err
	}
	n := 1 + aead.NonceSize()
	if len(sealed) < n || sealed[0] != version {
		return nil, ErrWrongKey
	}
	plaintext, err := aead.Open(nil, sealed[1:n], sealed[n:], associated(label, identity))
	if err != nil {
		return nil, ErrWrongKey
	}
	return plaintext, nil
}

// KeyID is a short name of the key, for messages: it tells keys apart and
// nothing else.
func (m *Master) KeyID() string {
	id, err := hkdf.Key(sha256.New, m.key[:], nil, "durward master key id", 4)
	if err != nil {
		return "unknown"
	}
	return hex.EncodeToString(id)
}

func (m *Master) aead(label string) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, m.key[:], nil, "durward seal: "+label, keyOctets)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return cipher.NewGCM(block)
}

// associated is label and identity, each with its length before it.
func associated(label, identity string) []byte {
	var b []byte
	for _, s := range []string{label, identity} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	return b
}

const mask = "[redacted]"

// String returns a mask.
func (*Master) String() string { return mask }

// GoString returns a mask.
func (*Master) GoString() string { return mask }

// LogValue returns a mask.
func (*Master) LogValue() slog.Value { return slog.StringValue(mask) }

// Secret is text that no log, error or answer may show: however it is printed,
// it is a mask.
type Secret string

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// String returns a mask, or nothing for an empty secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return mask
}

// Format prints as String does, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue returns a mask.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText returns a mask, for JSON and other encodings.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
