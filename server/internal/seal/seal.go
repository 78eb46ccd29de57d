// Package seal keeps secrets at rest: signing keys, refresh keys, seeds of
// second factors, client secrets that must be readable.
//
// There is one master key of 32 bytes, in a file beside the data. A stolen
// database without the file gives nothing away, nor does the file without the
// database; both together give everything.
//
// Each use has a label, and a key of its own derived from the master key by
// HKDF-SHA-256 (RFC 5869). What is sealed is bound to its label and to the
// identity of its row, so that whoever can write to the database cannot move a
// secret to another row or use. A row can still be put back to an older value of
// itself, or removed: that is not noticed here.
//
// A sealed secret is
//
//	version 1 byte | nonce 12 | ciphertext as long as the secret | tag 16
//
// by AES-256-GCM with a random nonce (NIST SP 800-38D s8.2.2: up to 2^32 seals
// for each label).
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
)

const (
	keySize  = 32
	version  = 1
	overhead = 1 + 12 + 16 // version, nonce, tag

	// Info strings of HKDF. What follows the first is a label, so that no label
	// makes the second.
	labelInfo  = "durward seal 1 label "
	idInfo     = "durward seal 1 key id"
	deriveInfo = "durward seal 1 derived "
)

// ErrWrongKey means that a secret does not open: it was sealed with another
// master key, or under another label or identity, or somebody changed it. Which
// of these cannot be told.
var ErrWrongKey = errors.New("seal: does not open: sealed with another master key, or changed since")

// Master is the master key. It prints as a mask, whatever prints it.
// It is safe for concurrent use. The zero Master seals nothing.
type Master struct {
	key []byte // keySize bytes, nil in the zero Master
}

// Seal encrypts plaintext. label names the use and is a constant of the program;
// identity names the row. Both are wanted again by Unseal, byte for byte.
func (m *Master) Seal(label, identity string, plaintext []byte) ([]byte, error) {
	aead, err := m.aead(label, identity)
	if err != nil {
		return nil, err
	}
	sealed := make([]byte, 1, overhead+len(plaintext))
	sealed[0] = version
	return aead.Seal(sealed, nil, plaintext, associated(label, identity)), nil
}

// Unseal decrypts what Seal gave. It fails with ErrWrongKey where label,
// identity and master key are not those of Seal, and with another error where
// sealed is too short or of a version that this program does not know.
func (m *Master) Unseal(label, identity string, sealed []byte) ([]byte, error) {
	aead, err := m.aead(label, identity)
	if err != nil {
		return nil, err
	}
	if len(sealed) < overhead {
		return nil, fmt.Errorf("seal: sealed secret of %d bytes, at least %d: it was cut short or is none", len(sealed), overhead)
	}
	if sealed[0] != version {
		return nil, fmt.Errorf("seal: sealed secret of version %d, this program reads %d: it was written by a newer one or is none", sealed[0], version)
	}
	plaintext, err := aead.Open(nil, nil, sealed[1:], associated(label, identity))
	if err != nil {
		return nil, ErrWrongKey
	}
	return plaintext, nil
}

// KeyID is a fingerprint of the master key, 16 hexadecimal digits. It is derived
// from the key and tells nothing of it, so it may stand in a database or a log.
func (m *Master) KeyID() string {
	if m == nil || len(m.key) != keySize {
		return "none"
	}
	id, err := hkdf.Key(sha256.New, m.key, nil, idInfo, 8)
	if err != nil { // only with a length that HKDF cannot give
		return "none"
	}
	return hex.EncodeToString(id)
}

// Derive returns a key of 32 octets for a use that is not sealing, the same for all
// who hold the master key. label names the use and is a constant of the program.
func (m *Master) Derive(label string) ([]byte, error) {
	if m == nil || len(m.key) != keySize || label == "" {
		return nil, errors.New("seal: a key is derived from a master key, under a label")
	}
	key, err := hkdf.Key(sha256.New, m.key, nil, deriveInfo+label, keySize)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return key, nil
}

// aead is the cipher of a label. Sealing is rare enough to derive it each time.
func (m *Master) aead(label, identity string) (cipher.AEAD, error) {
	switch {
	case m == nil || len(m.key) != keySize:
		return nil, errors.New("seal: no master key: open one first")
	case label == "" || identity == "":
		return nil, fmt.Errorf("seal: label %q with identity %q: both are required, they bind a secret to its place", label, identity)
	}
	key, err := hkdf.Key(sha256.New, m.key, nil, labelInfo+label, 32)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return aead, nil
}

// associated is the version, and label and identity each after its length, so
// that no two pairs read the same.
func associated(label, identity string) []byte {
	data := make([]byte, 0, 1+8+len(label)+8+len(identity))
	data = append(data, version)
	data = binary.BigEndian.AppendUint64(data, uint64(len(label)))
	data = append(data, label...)
	data = binary.BigEndian.AppendUint64(data, uint64(len(identity)))
	return append(data, identity...)
}

// String returns a mask.
func (Master) String() string { return mask }

// GoString returns a mask.
func (Master) GoString() string { return mask }

// Format writes a mask, for every verb.
func (Master) Format(f fmt.State, _ rune) { writeMask(f) }

// LogValue is a mask.
func (Master) LogValue() slog.Value { return slog.StringValue(mask) }

// MarshalJSON returns a mask.
func (Master) MarshalJSON() ([]byte, error) { return []byte(`"` + mask + `"`), nil }

// MarshalText returns a mask.
func (Master) MarshalText() ([]byte, error) { return []byte(mask), nil }
