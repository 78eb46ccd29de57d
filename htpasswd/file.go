package htpasswd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/pwhash"
)

// maxCosts limits the number of hashes that one check computes.
const maxCosts = 16

// Config configures a [File]. Only Path is required.
type Config struct {
	// Path is the file. Its lines are USER:HASH or USER:HASH:COMMENT; empty lines and lines that
	// start with # are ignored. Only its owner and group may have write permission. Other users
	// should not have read permission either.
	Path string

	// Log gets a warning for each line that cannot be used, with its number; nil means
	// slog.Default.
	Log *slog.Logger

	// Concurrent is the number of passwords that are checked at the same time; 0 means the number of
	// processors less one, at least one. A check with an argon2id hash of more than 19 MiB counts as
	// several, in proportion to its memory.
	Concurrent int

	// Waiting is the number of checks that may wait; 0 means 64.
	Waiting int

	// InsecureSHA1 accepts {SHA}: one round of SHA-1 without salt. Whoever steals the file recovers
	// nearly all passwords.
	InsecureSHA1 bool

	// InsecureCrypt accepts $apr1$ and $1$ (a thousand rounds of MD5), $5$ and $6$ (1000 to
	// 1,000,000 rounds of SHA-2). They are much cheaper to attack than bcrypt.
	InsecureCrypt bool

	// InsecureFileMode accepts a file that every user of the system can write. It is for folders of
	// Docker Desktop and WSL, where all files have mode 0777 and chmod has no effect.
	InsecureFileMode bool
}

// File is a password file. It is safe for concurrent use.
type File struct {
	file   *watched[passwords]
	hasher *pwhash.Hasher
}

// Open reads a password file. The error lists every mistake in c, or means that the file cannot be
// used. A line with a mistake disables its user alone, see the package comment.
func Open(c Config) (*File, error) {
	hasher, err := pwhash.New(pwhash.Config{Concurrent: c.Concurrent, Waiting: c.Waiting})
	if err != nil {
		return nil, fmt.Errorf("htpasswd: %w", err)
	}
	file, err := watch(c.Path, c.Log, func(text []byte, info fs.FileInfo) (passwords, []error, error) {
		if info.Mode().Perm()&0o002 != 0 && !c.InsecureFileMode {
			return passwords{}, nil, fmt.Errorf("htpasswd: %s is writable by all users of the system; run chmod o-w %[1]s, or set InsecureFileMode if chmod has no effect, as with Docker Desktop and WSL", c.Path)
		}
		return readPasswords(text, c)
	})
	if err != nil {
		return nil, err
	}
	return &File{file, hasher}, nil
}

// passwords is the content of a password file.
type passwords struct {
	users map[string]hashed // by name in NFC

	// each has one hash of each cost. A check computes those that the user does not have, too, and
	// ignores their results.
	each   []hashed
	memory uint32 // KiB of the largest hash
}

// unknownUser has the cost of a hash that Line makes. The text is valid, so there is no error.
var unknownUser, _ = readStored("$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")

// readPasswords reads the lines of a file. It returns an error if no line can be used.
func readPasswords(text []byte, c Config) (passwords, []error, error) {
	p := passwords{users: make(map[string]hashed)}
	found := mistakes{path: c.Path}
	lineOf := make(map[string]int)
	usable := false
	err := lines(c.Path, text, func(number int, line string, bad error) {
		name, rest, colon := strings.Cut(line, ":") // at the first colon: user names have none
		name = norm.NFC.String(strings.TrimRight(name, blanks))
		if !colon {
			bad = cmp.Or(bad, errors.New("no colon; want USER:HASH"))
		}
		if err := checkName("user name", name); err != nil || !colon {
			_ = found.add(number, cmp.Or(bad, err))
			return
		}
		if before := lineOf[name]; before > 0 {
			// The first line counts, as in Apache and nginx, even if it has a mistake or locks the user.
			_ = found.add(number, fmt.Errorf("duplicate user name; line %d counts", before))
			return
		}
		lineOf[name] = number
		text, _, _ := strings.Cut(rest, ":") // the rest is a comment
		text = strings.Trim(text, blanks)
		if bad == nil && isLocked(text) {
			usable, p.users[name] = true, hashed{refused: at(c.Path, number, errLocked)}
			return
		}
		h, err := hashed{}, bad
		if err == nil {
			h, err = readHash(text, c)
		}
		if err == nil {
			err = p.addCost(h)
		}
		if err != nil {
			h = hashed{refused: found.add(number, err)}
		}
		usable, p.users[name] = usable || err == nil, h
	})
	if err == nil && !usable {
		err = errors.Join(found.all()...) // nil for a file without users
	}
	if err != nil {
		return passwords{}, nil, err
	}
	if len(p.each) == 0 {
		p.each, p.memory = []hashed{unknownUser}, unknownUser.memory
	}
	return p, found.all(), nil
}

// addCost adds h to the hashes that each check computes, if none has its cost.
func (p *passwords) addCost(h hashed) error {
	if slices.ContainsFunc(p.each, func(other hashed) bool { return other.cost == h.cost }) {
		return nil
	}
	if len(p.each) == maxCosts {
		return fmt.Errorf("hashes of more than %d costs; every check computes one of each: create hashes of one cost", maxCosts)
	}
	p.each = append(p.each, h)
	p.memory = max(p.memory, h.memory)
	return nil
}

// Check verifies a user name and a password. It is a [durward.PasswordCheck]: the error wraps
// [durward.InvalidCredentials] if either is wrong, or if the user's line has a mistake or locks the
// user, and [durward.AuthUnavailable] if too many checks are waiting. Any other error means that the
// file cannot be used. The principal's subject is the user name of the file, in NFC.
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
	case own.refused != nil:
		return nil, fmt.Errorf("%w: %w", own.refused, durward.InvalidCredentials)
	case forbidden != nil:
		return nil, fmt.Errorf("htpasswd: %w: %w", forbidden, durward.InvalidCredentials)
	case !right && len(secret) > own.holds:
		return nil, fmt.Errorf("htpasswd: the password is longer than %d bytes, the limit of the user's hash: %w", own.holds, durward.InvalidCredentials)
	case !right:
		return nil, fmt.Errorf("htpasswd: wrong password: %w", durward.InvalidCredentials)
	}
	return &durward.Principal{Subject: user}, nil
}

// State returns the stored hash of a user. [durward.Remember] uses it to discard a remembered
// password when the hash changes. For an unknown or disabled user the error wraps
// [durward.InvalidCredentials].
func (f *File) State(ctx context.Context, user string) (string, error) {
	p, err := f.file.load(ctx)
	if err != nil {
		return "", err
	}
	own, known := p.users[norm.NFC.String(user)]
	if !known {
		return "", fmt.Errorf("htpasswd: no such user: %w", durward.InvalidCredentials)
	}
	if own.refused != nil {
		return "", fmt.Errorf("%w: %w", own.refused, durward.InvalidCredentials)
	}
	return own.text, nil
}

// Basic returns the scheme of RFC 7617 with the users of the file. It remembers a correct password
// for a minute, as [durward.Remember] does, so that it is not hashed for each request.
func (f *File) Basic() durward.Scheme {
	return durward.Basic(durward.Remember(f.Check, f.State))
}

// Line returns a line of a password file, with an argon2id hash. The error explains which user
// names or passwords are not allowed.
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

// checkNew checks a user name for a new line of a file.
func checkNew(user string) error {
	if err := checkName("user name", user); err != nil {
		return fmt.Errorf("htpasswd: %w", err)
	}
	if strings.HasPrefix(user, "#") || strings.HasPrefix(user, "\ufeff") || strings.Trim(user, blanks) != user {
		return errors.New("htpasswd: the user name begins with # or a byte order mark, or has blanks around it")
	}
	return nil
}
