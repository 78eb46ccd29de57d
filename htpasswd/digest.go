package htpasswd

import (
	"bytes"
	"cmp"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/durward-auth/durward"
)

// DigestConfig configures a [DigestFile]. Only Path is required.
type DigestConfig struct {
	// Path is the file. Its lines are USER:REALM:HASH, as those of htdigest and lighttpd, or
	// USER:REALM:HASH:COMMENT; empty lines and lines that start with # are ignored. A hash is as
	// good as a password for signing in, so only the owner may write the file, and only the owner
	// and the group of the file may read it.
	Path string

	// Log gets a warning for each line that cannot be used, with its number; nil means
	// slog.Default.
	Log *slog.Logger

	// Algorithm is the algorithm of hashes with 64 digits: "SHA-256", which is the default, or
	// "SHA-512-256". The two look alike, so the file cannot tell.
	Algorithm string

	// InsecureMD5 accepts hashes with 32 digits. They are MD5, and htdigest makes no others. To
	// offer MD5 to clients, set the field of the same purpose in [durward.DigestConfig] too.
	InsecureMD5 bool

	// InsecureFileMode accepts a file that every user of the system can read and write. It is for
	// folders of Docker Desktop and WSL, where all files have mode 0777 and chmod has no effect.
	InsecureFileMode bool
}

// DigestFile is a file of hashes for Digest. It is safe for concurrent use.
type DigestFile struct {
	file *watched[digests]
}

// OpenDigest reads a file for Digest. The error lists every mistake in c, or means that the file
// cannot be used. A line with a mistake disables its user alone, see the package comment.
func OpenDigest(c DigestConfig) (*DigestFile, error) {
	switch c.Algorithm {
	case "":
		c.Algorithm = "SHA-256"
	case "SHA-256", "SHA-512-256":
	default:
		return nil, fmt.Errorf("htpasswd: Algorithm is %q, want SHA-256 or SHA-512-256", c.Algorithm)
	}
	file, err := watch(c.Path, c.Log, func(text []byte, info fs.FileInfo) (digests, []error, error) {
		// The group may read: files of a service that runs as another user are root:www-data, 0640.
		if info.Mode().Perm()&0o037 != 0 && !c.InsecureFileMode {
			return nil, nil, fmt.Errorf("htpasswd: other users of the system have permissions for %s, whose hashes are as good as passwords; run chmod 600 %[1]s, or chmod 640 if the service reads it by its group, or set InsecureFileMode if chmod has no effect, as with Docker Desktop and WSL", c.Path)
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

// digestUser is a line of the file, or the reason why its user cannot sign in.
type digestUser struct {
	name    string
	ha1     []byte
	refused error // then ha1 is nil
}

// readDigests reads the lines of a file. It returns an error if no line can be used.
func readDigests(text []byte, c DigestConfig) (digests, []error, error) {
	type account struct{ realm, name string }
	d := make(digests)
	found := mistakes{path: c.Path}
	lineOf := make(map[digestKey]int)
	refused := make(map[account]error) // by a line without a hash
	usable := false
	err := lines(c.Path, text, func(number int, line string, bad error) {
		parts := strings.SplitN(line, ":", 4) // the fourth is a comment
		for i := range parts {
			parts[i] = strings.Trim(parts[i], blanks)
		}
		if len(parts) < 3 {
			_ = found.add(number, cmp.Or(bad, fmt.Errorf("%d parts between colons: want USER:REALM:HASH", len(parts))))
			return
		}
		who := account{realm: parts[1], name: parts[0]}
		if err := checkDigestUser(who.name, who.realm); err != nil {
			_ = found.add(number, cmp.Or(bad, err))
			return
		}
		if isLocked(parts[2]) { // also in a line with a mistake
			usable, refused[who] = true, at(c.Path, number, errLocked)
			if bad != nil {
				_ = found.add(number, bad)
			}
			return
		}
		var algorithm string
		var ha1 []byte
		if bad == nil {
			algorithm, ha1, bad = c.readHA1(parts[2])
		}
		if bad != nil {
			if err := found.add(number, bad); refused[who] == nil {
				refused[who] = err
			}
			return
		}
		key := digestKey{algorithm, who.realm, who.name, false}
		if before := lineOf[key]; before > 0 {
			_ = found.add(number, fmt.Errorf("duplicate user name for this realm and algorithm; line %d counts", before))
			return
		}
		usable, lineOf[key] = true, number
		d.set(key, digestUser{name: who.name, ha1: ha1})
	})
	if err == nil && !usable {
		err = errors.Join(found.all()...) // nil for a file without users
	}
	if err != nil {
		return nil, nil, err
	}
	for who, why := range refused {
		for _, algorithm := range []string{c.Algorithm, "MD5"} {
			key := digestKey{algorithm, who.realm, who.name, false}
			// A lock holds for all algorithms, a mistake only where no other line has a hash.
			if _, has := d[key]; !has || errors.Is(why, errLocked) {
				d.set(key, digestUser{name: who.name, refused: why})
			}
		}
	}
	return d, found.all(), nil
}

// set stores a user by name and by the hash of the name.
func (d digests) set(key digestKey, user digestUser) {
	hash, err := durward.UserHash(key.algorithm, key.name, key.realm)
	if err != nil {
		return // an unknown algorithm: OpenDigest refuses it
	}
	d[key], d[digestKey{key.algorithm, key.realm, hash, true}] = user, user
}

// checkDigestUser validates a user name and a realm.
func checkDigestUser(name, realm string) error {
	if err := checkName("user name", name); err != nil {
		return err
	}
	if err := checkName("realm", realm); err != nil {
		return err
	}
	if !norm.NFC.IsNormalString(name) { // RFC 7616 s4
		return errors.New("the user name is not in Unicode NFC, as clients hash it; create the line with DigestLine")
	}
	return nil
}

// readHA1 reads a stored hash. The error contains no part of it.
func (c DigestConfig) readHA1(text string) (algorithm string, ha1 []byte, err error) {
	ha1, err = hex.DecodeString(text)
	switch {
	case err != nil:
		return "", nil, errors.New("the hash is not in hexadecimal digits") // the error of DecodeString contains a digit
	case len(ha1) == md5.Size && c.InsecureMD5:
		return "MD5", ha1, nil
	case len(ha1) == md5.Size:
		return "", nil, errors.New("MD5 hash without the option InsecureMD5; create a SHA-256 hash")
	case len(ha1) != sha256.Size:
		return "", nil, fmt.Errorf("hash of %d digits, want 64", len(text))
	}
	return c.Algorithm, ha1, nil
}

// HA1 returns the stored hash of a user for a realm and an algorithm. It finds the user by name or
// by the hash of the name. Use it as HA1 of [durward.DigestConfig]: the error wraps
// [durward.InvalidCredentials] if the file has no such line, or if the line has a mistake or locks
// the user. Any other error means that the file cannot be used.
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
	if user.refused != nil {
		return nil, nil, fmt.Errorf("%w: %w", user.refused, durward.InvalidCredentials)
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
	if strings.Trim(realm, blanks) != realm { // a reader of the file would drop them
		return "", errors.New("htpasswd: the realm has blanks around it")
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
