package durward

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash"
	"sync"
	"time"
)

// nonces creates and recognizes nonces without storing them. A nonce contains its time of creation
// and a MAC for one use and one realm:
//
//	base64url( milliseconds since 1970 6 | random 6 | MAC 12 )
type nonces struct {
	use  string
	keys *keyedHash
}

// keyedHash computes HMAC-SHA-256 under one key.
type keyedHash struct{ pool sync.Pool } // of hash.Hash

// newKeyedHash returns the hash under a copy of key, or under a random key if it is nil.
func newKeyedHash(key []byte) *keyedHash {
	key = bytes.Clone(key)
	if key == nil {
		key = make([]byte, sha256.Size)
		_, _ = rand.Read(key) // crypto/rand.Read never returns an error
	}
	k := new(keyedHash)
	k.pool.New = func() any {
		mac := hmac.New(sha256.New, key)
		mac.Reset() // caches the keyed state
		return mac
	}
	return k
}

func (k *keyedHash) sum(text []byte) (sum [sha256.Size]byte) {
	mac := k.pool.Get().(hash.Hash)
	mac.Write(text)
	mac.Sum(sum[:0])
	mac.Reset() // removes the end of the text from its buffer
	k.pool.Put(mac)
	return sum
}

// nonceID identifies a nonce: its milliseconds and random octets.
type nonceID [12]byte

func (id nonceID) made() time.Time {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(id[:]) >> 16))
}

const nonceOctets = 24

// weakNonceKey returns why key is too short, or "".
func weakNonceKey(key []byte) string {
	if key != nil && len(key) < sha256.Size {
		return fmt.Sprintf("Key has %d octets, at least %d are required", len(key), sha256.Size)
	}
	return ""
}

func (n *nonces) seal(realm string, now time.Time) string {
	var raw [nonceOctets]byte
	binary.BigEndian.PutUint64(raw[:], uint64(now.UnixMilli())<<16)
	_, _ = rand.Read(raw[6:12]) // crypto/rand.Read never returns an error
	mac := n.mac(nonceID(raw[:12]), realm)
	copy(raw[12:], mac[:])
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

// open returns the id of a nonce if it was created with this key, for this realm.
func (n *nonces) open(nonce, realm string) (id nonceID, ok bool) {
	var raw [nonceOctets]byte
	if len(nonce) != nonceOctets/3*4 {
		return id, false
	}
	if n, err := base64.RawURLEncoding.Decode(raw[:], []byte(nonce)); err != nil || n != nonceOctets {
		return id, false
	}
	id = nonceID(raw[:12])
	mac := n.mac(id, realm)
	return id, hmac.Equal(mac[:], raw[12:])
}

func (n *nonces) mac(id nonceID, realm string) [12]byte {
	text := append(append(make([]byte, 0, 128), n.use...), id[:]...)
	sum := n.keys.sum(append(text, realm...))
	return [12]byte(sum[:12])
}
