// Package seal encrypts stored secrets: signing keys, refresh keys, seeds of second factors, readable
// client secrets.
//
// One master key of 32 bytes is in a file beside the data. An attacker needs both the file and the
// database to read a secret.
//
// Each use has a label and its own key, derived from the master key by HKDF-SHA-256 (RFC 5869). A sealed
// secret is bound to its label and to the identity of its row, so an attacker who can write to the
// database cannot move it to another row or use. This package does not detect that a row was deleted or
// replaced by its older value.
//
// A sealed secret is
//
//	version 1 byte | nonce 12 | ciphertext as long as the secret | tag 16
//
// by AES-256-GCM with a random nonce (NIST SP 800-38D s8.2.2), for up to 2^32 seals of each label
// (s8.3).
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

	// Info strings of HKDF. The label follows labelInfo and deriveInfo; no label makes two of the
	// strings equal.
	labelInfo  = "durward seal 1 label "
	idInfo     = "durward seal 1 key id"
	deriveInfo = "durward seal 1 derived "
)

// ErrWrongKey means that a secret cannot be decrypted: it was sealed with another master key, label or
// identity, or it was altered. The cipher does not tell these cases apart.
var ErrWrongKey = errors.New("seal: cannot open a secret: it was sealed with another master key, or altered; put back the right key file")

// Master is the master key. Its String, Format, LogValue and Marshal methods return a mask. It is safe for
// concurrent use. Methods of the zero Master return an error.
type Master struct {
	key []byte // keySize bytes, nil in the zero Master
}

// Seal encrypts plaintext. The label is a constant that names the use, the identity names the row. Unseal
// needs both again.
func (m *Master) Seal(label, identity string, plaintext []byte) ([]byte, error) {
	aead, err := m.aead(label, identity)
	if err != nil {
		return nil, err
	}
	sealed := make([]byte, 1, overhead+len(plaintext))
	sealed[0] = version
	return aead.Seal(sealed, nil, plaintext, associated(label, identity)), nil
}

// Unseal decrypts a result of Seal. It returns ErrWrongKey if label, identity or master key differ, and
// another error if sealed is too short or has an unknown version.
func (m *Master) Unseal(label, identity string, sealed []byte) ([]byte, error) {
	aead, err := m.aead(label, identity)
	if err != nil {
		return nil, err
	}
	if len(sealed) < overhead {
		return nil, fmt.Errorf("seal: cannot open a secret of %d bytes, want at least %d: it was cut short; restore it from a backup", len(sealed), overhead)
	}
	if sealed[0] != version {
		return nil, fmt.Errorf("seal: cannot open a secret of version %d, this program reads %d: use the newer program that wrote it", sealed[0], version)
	}
	plaintext, err := aead.Open(nil, nil, sealed[1:], associated(label, identity))
	if err != nil {
		return nil, ErrWrongKey
	}
	return plaintext, nil
}

// KeyID returns a fingerprint of the master key, 16 hexadecimal digits. It does not reveal the key, so it
// may be stored and logged.
func (m *Master) KeyID() string {
	id, err := m.derive(idInfo, 8)
	if err != nil {
		return "none"
	}
	return hex.EncodeToString(id)
}

// Derive returns a key of 32 bytes for a use other than sealing. It is the same in all processes with the
// same master key. The label is a constant that names the use.
func (m *Master) Derive(label string) ([]byte, error) {
	if label == "" {
		return nil, errors.New("seal: cannot derive a key without a label: name its use")
	}
	return m.derive(deriveInfo+label, keySize)
}

// derive returns a key of size bytes by HKDF.
func (m *Master) derive(info string, size int) ([]byte, error) {
	if m == nil || len(m.key) != keySize {
		return nil, errors.New("seal: no master key: open one first")
	}
	return hkdf.Key(sha256.New, m.key, nil, info, size)
}

// aead returns the cipher of a label. Sealing is rare, so the key is derived each time.
func (m *Master) aead(label, identity string) (cipher.AEAD, error) {
	if label == "" || identity == "" {
		return nil, fmt.Errorf("seal: label %q with identity %q: both are required, they bind a secret to its place", label, identity)
	}
	key, err := m.derive(labelInfo+label, keySize)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// associated returns the associated data: the version, then label and identity, each after its length, so
// that two different pairs never give the same bytes.
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

// Format writes a mask for every verb.
func (Master) Format(f fmt.State, _ rune) { writeMask(f) }

// LogValue returns a mask.
func (Master) LogValue() slog.Value { return slog.StringValue(mask) }

// MarshalText returns a mask, also for JSON.
func (Master) MarshalText() ([]byte, error) { return []byte(mask), nil }
