package htpasswd

import (
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/GehirnInc/crypt/apr1_crypt"
	"github.com/go-crypt/crypt/algorithm"
	"github.com/go-crypt/crypt/algorithm/md5crypt"
	"github.com/go-crypt/crypt/algorithm/shacrypt"
	"golang.org/x/crypto/bcrypt"

	"github.com/durward-auth/durward/internal/pwhash"
)

// What a stored hash may cost and what may be hashed by it. A line of the file
// must not decide how long a check takes: a cost of 14 is about a second, and so
// are a million rounds.
const (
	minBcrypt, maxBcrypt = 4, 14
	minRounds, maxRounds = 1000, 1_000_000 // below the least, implementations differ
	defaultRounds        = 5000            // where a hash names none

	// bcrypt reads no more than 72 bytes. The work of crypt grows with the square
	// of the password; libxcrypt has the same limit.
	bcryptHolds = 72
	cryptHolds  = 511
)

// hashed is a stored hash.
type hashed struct {
	text    string // as it stands in the file
	cost    string // kind and cost: hashes of equal cost are equal work
	memory  uint32 // KiB
	holds   int    // bytes of password
	matches func(secret []byte) bool
}

// opens reports whether the hash was made from secret. The work is the same
// whether it was or not, and where secret is longer than the hash can hold.
func (h hashed) opens(secret []byte) bool {
	fits := len(secret) <= h.holds
	if !fits {
		secret = dummySecret
	}
	return h.matches(secret) && fits
}

// dummySecret is hashed in place of a password that no hash can hold. What comes
// of it is thrown away.
var dummySecret = []byte("durward: no password")

// The forms of hashes, one spelling each.
var (
	bcryptForm = regexp.MustCompile(`^\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}$`)
	md5Form    = regexp.MustCompile(`^\$(apr1|1)\$[./A-Za-z0-9]{1,8}\$[./A-Za-z0-9]{22}$`)
	sha256Form = regexp.MustCompile(`^\$(5)\$(?:rounds=([1-9][0-9]{0,9})\$)?[./A-Za-z0-9]{1,16}\$[./A-Za-z0-9]{43}$`)
	sha512Form = regexp.MustCompile(`^\$(6)\$(?:rounds=([1-9][0-9]{0,9})\$)?[./A-Za-z0-9]{1,16}\$[./A-Za-z0-9]{86}$`)
)

// readHash reads a stored hash. Its error holds nothing of it.
func readHash(text string, c Config) (hashed, error) {
	switch {
	case text == "":
		return hashed{}, errors.New("no hash after the user name")
	case strings.HasPrefix(text, "$argon2"):
		return readArgon2(text)
	case strings.HasPrefix(text, "$2"):
		return readBcrypt(text)
	case strings.HasPrefix(text, "{SHA}"):
		if !c.InsecureSHA1 {
			return hashed{}, errors.New("a SHA-1 hash, which is read only with InsecureSHA1: make a new one with htpasswd -B -C 10")
		}
		return readSHA1(text)
	case strings.HasPrefix(text, "$apr1$"), strings.HasPrefix(text, "$1$"), strings.HasPrefix(text, "$5$"), strings.HasPrefix(text, "$6$"):
		if !c.InsecureCrypt {
			return hashed{}, errors.New("a hash of crypt, which is read only with InsecureCrypt: make a new one with htpasswd -B -C 10")
		}
		return readCrypt(text)
	}
	return hashed{}, errors.New("no hash that is read here (plain text and DES crypt never are): make one with htpasswd -B -C 10")
}

func readArgon2(text string) (hashed, error) {
	stored, err := pwhash.Parse(text)
	if err != nil {
		return hashed{}, err
	}
	return hashed{text, stored.Cost(), stored.Memory(), pwhash.MaxPassword, stored.Matches}, nil
}

func readBcrypt(text string) (hashed, error) {
	form := bcryptForm.FindStringSubmatch(text)
	if form == nil {
		return hashed{}, errors.New("not a bcrypt hash of the form $2y$COST$ and 53 characters")
	}
	cost, err := strconv.Atoi(form[1])
	if err != nil || cost < minBcrypt || cost > maxBcrypt {
		return hashed{}, fmt.Errorf("a bcrypt hash of cost %s, from %d to %d are read", form[1], minBcrypt, maxBcrypt)
	}
	return hashed{text, "bcrypt " + form[1], 0, bcryptHolds, func(secret []byte) bool {
		return bcrypt.CompareHashAndPassword([]byte(text), secret) == nil
	}}, nil
}

func readSHA1(text string) (hashed, error) {
	encoded := strings.TrimPrefix(text, "{SHA}")
	want, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || len(want) != sha1.Size || base64.StdEncoding.EncodeToString(want) != encoded {
		return hashed{}, errors.New("not a SHA-1 hash of the form {SHA} and 28 characters of base64")
	}
	return hashed{text, "SHA-1", 0, pwhash.MaxPassword, func(secret []byte) bool {
		got := sha1.Sum(secret)
		return subtle.ConstantTimeCompare(got[:], want) == 1
	}}, nil
}

func readCrypt(text string) (hashed, error) {
	malformed := errors.New("not a hash of crypt of the form $ID$SALT$HASH or $ID$rounds=N$SALT$HASH")
	if form := md5Form.FindStringSubmatch(text); form != nil {
		if form[1] == "apr1" {
			return hashed{text, "apr1", 0, cryptHolds, func(secret []byte) bool {
				return apr1_crypt.New().Verify(text, secret) == nil
			}}, nil
		}
		return library(text, "md5", md5crypt.Decode)
	}
	form := sha256Form.FindStringSubmatch(text)
	if form == nil {
		form = sha512Form.FindStringSubmatch(text)
	}
	if form == nil {
		return hashed{}, malformed
	}
	rounds := defaultRounds
	if form[2] != "" {
		n, err := strconv.Atoi(form[2])
		if err != nil || n < minRounds || n > maxRounds {
			return hashed{}, fmt.Errorf("a hash of crypt with %s rounds, from %d to %d are read", form[2], minRounds, maxRounds)
		}
		rounds = n
	}
	return library(text, fmt.Sprintf("sha-crypt %s, %d rounds", form[1], rounds), shacrypt.Decode)
}

// library reads a hash of crypt whose form and cost were checked.
func library(text, cost string, decode func(string) (algorithm.Digest, error)) (hashed, error) {
	digest, err := decode(text)
	if err != nil { // whose text may hold the hash
		return hashed{}, errors.New("a hash of crypt that cannot be read")
	}
	return hashed{text, cost, 0, cryptHolds, digest.MatchBytes}, nil
}
