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

// DigestConfig configures a [DigestFile]. Only Path is required.
type DigestConfig struct {
	// Path is the file. Its lines are USER:REALM:HASH, as those of htdigest and lighttpd; empty
	// lines and lines that start with # are ignored. A hash is as good as a password for signing
	// in, so only the owner may have permissions for the file.
	Path string

	// Algorithm is the algorithm of hashes with 64 digits: "SHA-256", which is the default, or
	// "SHA-512-256". The two look alike, so the file cannot tell.
	Algorithm string

	// InsecureMD5 accepts hashes with 32 digits. They are MD5, and htdigest makes no others. To
	// offer MD5 to clients, set the field of the same purpose in [durward.DigestConfig] too.
	InsecureMD5 bool
}

// DigestFile is a file of hashes for Digest. It is safe for concurrent use.
type DigestFile struct {
	file *watched[digests]
}

// OpenDigest reads a file for Digest. The error lists every mistake in c, or in the file.
func OpenDigest(c DigestConfig) (*DigestFile, error) {
	switch c.Algorithm {
	case "":
		c.Algorithm = "SHA-256"
	case "SHA-256", "SHA-512-256":
	default:
		return nil, fmt.Errorf("htpasswd: Algorithm is %q, want SHA-256 or SHA-512-256", c.Algorithm)
	}
	file, err := watch(c.Path, func(text []byte, info fs.FileInfo) (digests, error) {
		if info.Mode().Perm()&0o077 != 0 {
			return nil, fmt.Errorf("htpasswd: other users of the system have permissions for %s, whose hashes are as good as passwords; run chmod 600 %[1]s", c.Path)
		}
		return readDigests(text, c)
	})
	if err != nil {
		return nil, err
	}
	return &DigestFile{file}, nil
}

// digests is the content of a file for Digest. It has each user by name and by the hash of the name.
type digests map[digestKey]digestUser

type digestKey struct {
	algorithm, realm string
	name             string
	hashed           bool // name is the hash of a name (RFC 7616 s3.4.4)
}

type digestUser struct {
	name string
	ha1  []byte
}

func readDigests(text []byte, c DigestConfig) (digests, error) {
	d := make(digests)
	err := lines(c.Path, text, func(line string) error {
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
			return errors.New("the user name is not in Unicode NFC, as clients hash it; create the line with DigestLine")
		}
		ha1, err := hex.DecodeString(parts[2])
		if err != nil {
			return errors.New("the hash is not in hexadecimal digits") // the error of DecodeString contains a digit
		}
		algorithm := c.Algorithm
		switch {
		case len(ha1) == md5.Size && c.InsecureMD5:
			algorithm = "MD5"
		case len(ha1) == md5.Size:
			return errors.New("MD5 hash without the option InsecureMD5; create a SHA-256 hash")
		case len(ha1) != sha256.Size:
			return fmt.Errorf("hash of %d digits, want 64", len(parts[2]))
		}
		key := digestKey{algorithm, realm, name, false}
		if _, twice := d[key]; twice {
			return errors.New("duplicate user name for this realm and algorithm")
		}
		hash, err := durward.UserHash(algorithm, name, realm)
		if err != nil {
			return err
		}
		user := digestUser{name, ha1}
		d[key], d[digestKey{algorithm, realm, hash, true}] = user, user
		return nil
	})
	if err != nil {
		return nil, err
	}
	return d, nil
}

// HA1 returns the stored hash of a user for a realm and an algorithm. It finds the user by name or
// by the hash of the name. Use it as HA1 of [durward.DigestConfig]: the error wraps
// [durward.InvalidCredentials] if the file has no such line. Any other error means that the file
// cannot be read or has a mistake.
func (f *DigestFile) HA1(ctx context.Context, claim durward.DigestClaim) (ha1 []byte, p *durward.Principal, err error) {
	d, err := f.file.load(ctx)
	if err != nil {
		return nil, nil, err
	}
	key := digestKey{claim.Algorithm, claim.Realm, claim.User, false}
	if claim.UserHash != "" {
		key.name, key.hashed = claim.UserHash, true
	}
	user, known := d[key]
	if !known {
		return nil, nil, fmt.Errorf("htpasswd: no %s hash of this user for this realm: %w", claim.Algorithm, durward.InvalidCredentials)
	}
	return bytes.Clone(user.ha1), &durward.Principal{Subject: user.name}, nil
}

// DigestLine returns a line of a file for Digest. The algorithm is "SHA-256", "SHA-512-256" or
// "MD5", the realm that of the guard. User name and password are converted to NFC, as clients do
// (RFC 7616 s4).
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
