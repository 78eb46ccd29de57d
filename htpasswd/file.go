package htpasswd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/pwhash"
)

// maxCosts bounds how many hashes a check computes.
const maxCosts = 16

// Config is what a [File] is made of. Only Path is required.
type Config struct {
	// Path is the file. Lines are USER:HASH; empty ones and those that begin with #
	// are passed over. Others than its owner and group must not be able to write
	// it. It should not be readable by others either.
	Path string

	// Concurrent is how many passwords are checked at once; 0 is one for each
	// processor. A check whose argon2id takes more than 19 MiB counts for as many
	// as it takes.
	Concurrent int

	// Waiting is how many may wait for their turn; 0 is 64.
	Waiting int

	// InsecureSHA1 reads {SHA}: one round of SHA-1 without salt, of which a stolen
	// file gives up nearly all passwords.
	InsecureSHA1 bool

	// InsecureCrypt reads $apr1$ and $1$ (a thousand rounds of MD5), $5$ and $6$
	// (1000 to 1,000,000 rounds of SHA-2), which cost an attacker far less than
	// bcrypt does.
	InsecureCrypt bool
}

// File is a password file. It is safe for concurrent use.
type File struct {
	file   *watched[passwords]
	hasher *pwhash.Hasher
}

// Open reads a password file. Its error names every mistake of c, or of the file.
func Open(c Config) (*File, error) {
	hasher, err := pwhash.New(pwhash.Config{Concurrent: c.Concurrent, Waiting: c.Waiting})
	if err != nil {
		return nil, fmt.Errorf("htpasswd: %w", err)
	}
	file, err := watch(c.Path, func(text []byte, info fs.FileInfo) (passwords, error) {
		if info.Mode().Perm()&0o002 != 0 {
			return passwords{}, fmt.Errorf("htpasswd: %s can be written by everybody: chmod o-w %[1]s", c.Path)
		}
		return readPasswords(text, c)
	})
	if err != nil {
		return nil, err
	}
	return &File{file, hasher}, nil
}

// passwords is what a password file says.
type passwords struct {
	users map[string]hashed // by name in NFC

	// each has one hash of each cost. It is computed where the user has none of
	// that cost, and what comes of it is thrown away.
	each   []hashed
	memory uint32 // KiB of the largest
}

// nobody is what a hash of Line costs.
var nobody = func() hashed {
	h, err := readArgon2("$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	if err != nil {
		panic(err)
	}
	return h
}()

func readPasswords(text []byte, c Config) (passwords, error) {
	p := passwords{users: make(map[string]hashed)}
	err := lines(c.Path, text, func(_ int, line string) error {
		name, stored, ok := strings.Cut(line, ":") // the first colon: a user name has none
		if !ok {
			return errors.New("no colon: want USER:HASH")
		}
		name = norm.NFC.String(name)
		if err := checkName("user name", name); err != nil {
			return err
		}
		h, err := readHash(stored, c)
		if err != nil {
			return err
		}
		if _, twice := p.users[name]; twice {
			return errors.New("this user name is on a line before")
		}
		if !slices.ContainsFunc(p.each, func(other hashed) bool { return other.cost == h.cost }) {
			if len(p.each) == maxCosts {
				return fmt.Errorf("hashes of more than %d costs, each of which every check computes: make new ones of one cost", maxCosts)
			}
			p.each = append(p.each, h)
			p.memory = max(p.memory, h.memory)
		}
		p.users[name] = h
		return nil
	})
	if err != nil {
		return passwords{}, err
	}
	if len(p.each) == 0 {
		p.each, p.memory = []hashed{nobody}, nobody.memory
	}
	return p, nil
}

// Check judges a user name and a password. It is a [durward.PasswordCheck]: the
// error wraps [durward.InvalidCredentials] whichever was wrong, and
// [durward.AuthUnavailable] where too many are waiting; any other says that the
// file cannot be read or what is wrong with it. The subject of the principal is
// the name as it stands in the file, in NFC.
func (f *File) Check(ctx context.Context, user, password string) (*durward.Principal, error) {
	p, err := f.file.load(ctx)
	if err != nil {
		return nil, err
	}
	user = norm.NFC.String(user)
	own, known := p.users[user]
	secret, forbidden := pwhash.Prepare(password)
	if forbidden != nil {
		secret = dummySecret
	}
	right := false
	err = f.hasher.Do(ctx, p.memory, func() {
		for _, h := range p.each {
			if known && h.cost == own.cost {
				right = own.opens(secret)
			} else {
				h.opens(secret)
			}
		}
	})
	switch {
	case errors.Is(err, pwhash.ErrBusy):
		return nil, fmt.Errorf("htpasswd: %w: %w", durward.AuthUnavailable, err)
	case err != nil:
		return nil, err
	case !known:
		return nil, fmt.Errorf("htpasswd: no such user: %w", durward.InvalidCredentials)
	case forbidden != nil:
		return nil, fmt.Errorf("htpasswd: %w: %w", forbidden, durward.InvalidCredentials)
	case !right && len(secret) > own.holds:
		return nil, fmt.Errorf("htpasswd: the password is longer than the %d bytes that the user's hash holds: %w", own.holds, durward.InvalidCredentials)
	case !right:
		return nil, fmt.Errorf("htpasswd: wrong password: %w", durward.InvalidCredentials)
	}
	return &durward.Principal{Subject: user}, nil
}

// State returns the stored hash of a user, which [durward.Remember] asks for: what
// is remembered is void when the hash changes. For a name that nobody has the
// error wraps [durward.InvalidCredentials].
func (f *File) State(ctx context.Context, user string) (string, error) {
	p, err := f.file.load(ctx)
	if err != nil {
		return "", err
	}
	own, known := p.users[norm.NFC.String(user)]
	if !known {
		return "", fmt.Errorf("htpasswd: no such user: %w", durward.InvalidCredentials)
	}
	return own.text, nil
}

// Basic returns the scheme of RFC 7617 over the file. A right password is hashed
// once a minute, and remembered in between as [durward.Remember] does.
func (f *File) Basic() durward.Scheme {
	return durward.Basic(durward.Remember(f.Check, f.State))
}

// Line returns a line of a password file for a user and a password, hashed by
// argon2id. The error says what a user name or a password may not be.
func Line(user, password string) (string, error) {
	user = norm.NFC.String(user)
	if err := checkNew(user); err != nil {
		return "", err
	}
	hasher, err := pwhash.New(pwhash.Config{})
	if err != nil {
		return "", fmt.Errorf("htpasswd: %w", err)
	}
	hash, err := hasher.Hash(context.Background(), password)
	if err != nil {
		return "", fmt.Errorf("htpasswd: %w", err)
	}
	return user + ":" + hash, nil
}

// checkNew says what is wrong with a name that is to be written to a file.
func checkNew(user string) error {
	if err := checkName("user name", user); err != nil {
		return fmt.Errorf("htpasswd: %w", err)
	}
	if strings.HasPrefix(user, "#") || strings.HasPrefix(user, "\ufeff") {
		return errors.New("htpasswd: a user name that begins with # or a byte order mark cannot stand in a file")
	}
	return nil
}
