package htpasswd

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/durward-auth/durward"
)

// DigestConfig is what a [DigestFile] is made of. Only Path is required.
type DigestConfig struct {
	// Path is the file. Lines are USER:REALM:HASH, as htdigest and lighttpd have
	// them; empty ones and those that begin with # are passed over. Whoever reads
	// the file can sign in as anybody in it, so it must be its owner's alone.
	Path string

	// Algorithm is what a hash of 64 digits was made by: "SHA-256", which is also
	// the default, or "SHA-512-256". Their hashes look alike, so it cannot be told
	// from the file.
	Algorithm string

	// InsecureMD5 reads hashes of 32 digits, which are MD5's and which htdigest
	// makes. [durward.DigestConfig] has its own switch to offer MD5 to clients.
	InsecureMD5 bool
}

// DigestFile is a file of what Digest computes with. It is safe for concurrent
// use.
type DigestFile struct {
	file *watched[digests]
}

// OpenDigest reads a file for Digest. Its error names every mistake of c, or of
// the file.
func OpenDigest(c DigestConfig) (*DigestFile, error) {
	switch c.Algorithm {
	case "":
		c.Algorithm = "SHA-256"
	case "SHA-256", "SHA-512-256":
	default:
		return nil, fmt.Errorf("htpasswd: Algorithm %q: SHA-256 or SHA-512-256", c.Algorithm)
	}
	file, err := watch(c.Path, func(text []byte, info fs.FileInfo) (digests, error) {
		if info.Mode().Perm()&0o077 != 0 {
			return digests{}, fmt.Errorf("htpasswd: others than its owner may read or write %s, and what is in it signs in like a password: chmod 600 %[1]s", c.Path)
		}
		return readDigests(text, c)
	})
	if err != nil {
		return nil, err
	}
	return &DigestFile{file}, nil
}

// digests is what a file for Digest says.
type digests struct {
	byName map[digestKey]digestUser
	byHash map[digestKey]digestUser
}

type digestKey struct {
	algorithm, realm string
	name             string // or its hash
}

type digestUser struct {
	name string
	ha1  []byte
}

func readDigests(text []byte, c DigestConfig) (digests, error) {
	d := digests{make(map[digestKey]digestUser), make(map[digestKey]digestUser)}
	err := lines(c.Path, text, func(_ int, line string) error {
		parts := strings.Split(line, ":")
		if len(parts) != 3 {
			return fmt.Errorf("%d parts between colons: want USER:REALM:HASH", len(parts))
		}
		name, realm := parts[0], parts[1]
		if err := checkName("user name", name); err != nil {
			return err
		}
		if err := checkName("realm", realm); err != nil {
			return err
		}
		if !norm.NFC.IsNormalString(name) { // RFC 7616 s4
			return errors.New("the user name is not in Unicode NFC, in which clients hash it: make the line anew")
		}
		ha1, err := hex.DecodeString(parts[2])
		if err != nil {
			return errors.New("the hash is not in hexadecimal digits") // err has one of them
		}
		algorithm := c.Algorithm
		switch {
		case len(ha1) == md5.Size && c.InsecureMD5:
			algorithm = "MD5"
		case len(ha1) == md5.Size:
			return errors.New("an MD5 hash, which is read only with InsecureMD5: make one by SHA-256")
		case len(ha1) != sha256.Size:
			return fmt.Errorf("a hash of %d digits, want 64", len(parts[2]))
		}
		key, user := digestKey{algorithm, realm, name}, digestUser{name, ha1}
		if _, twice := d.byName[key]; twice {
			return errors.New("this user name is on a line before, for the same realm and algorithm")
		}
		hash, err := durward.UserHash(algorithm, name, realm)
		if err != nil {
			return err
		}
		d.byName[key] = user
		key.name = hash
		d.byHash[key] = user
		return nil
	})
	if err != nil {
		return digests{}, err
	}
	return d, nil
}

// HA1 finds what is stored of a user for a realm and an algorithm, by name or by
// the hash of the name. It is fit for [durward.DigestConfig]: the error wraps
// [durward.InvalidCredentials] where the file has no such line; any other says
// that the file cannot be read or what is wrong with it.
func (f *DigestFile) HA1(ctx context.Context, claim durward.DigestClaim) (ha1 []byte, p *durward.Principal, err error) {
	d, err := f.file.load(ctx)
	if err != nil {
		return nil, nil, err
	}
	index, name := d.byName, claim.User
	if claim.UserHash != "" { // RFC 7616 s3.4.4
		index, name = d.byHash, claim.UserHash
	}
	user, known := index[digestKey{claim.Algorithm, claim.Realm, name}]
	if !known {
		return nil, nil, fmt.Errorf("htpasswd: no hash by %s of this user for this realm: %w", claim.Algorithm, durward.InvalidCredentials)
	}
	return bytes.Clone(user.ha1), &durward.Principal{Subject: user.name}, nil
}

// DigestLine returns a line of a file for Digest, by "SHA-256", "SHA-512-256" or
// "MD5". The realm is the guard's. User name and password are brought to NFC, as
// clients do (RFC 7616 s4).
func DigestLine(algorithm, user, realm, password string) (string, error) {
	user, password = norm.NFC.String(user), norm.NFC.String(password)
	if err := checkNew(user); err != nil {
		return "", err
	}
	if err := checkName("realm", realm); err != nil {
		return "", fmt.Errorf("htpasswd: %w", err)
	}
	if password == "" {
		return "", errors.New("htpasswd: the password is empty")
	}
	ha1, err := durward.HA1(algorithm, user, realm, password)
	if err != nil {
		return "", err
	}
	return user + ":" + realm + ":" + hex.EncodeToString(ha1), nil
}
