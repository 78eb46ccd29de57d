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

	"github.com/durward-auth/durward/internal/pwhash"
)

// Limits of stored hashes and of passwords. Without them a line of the file determines how long a
// check takes: a million rounds take about a second.
const (
	minRounds, maxRounds = 1000, 1_000_000 // with fewer rounds implementations differ
	defaultRounds        = 5000            // if the hash does not name its rounds

	// The work of crypt grows with the square of the password's length; libxcrypt has the same limit.
	cryptHolds = 511
)

// hashed is a stored hash, or the reason why its user cannot sign in.
type hashed struct {
	refused error // then the other fields are empty

	text    string // the hash in the file
	cost    string // kind and cost: hashes of equal cost take equal work
	memory  uint32 // KiB
	holds   int    // longest password in bytes
	matches func(secret []byte) bool
}

// opens reports whether the hash was made from secret. It takes the same work for a wrong secret
// and for one that is too long.
func (h hashed) opens(secret []byte) bool {
	fits := len(secret) <= h.holds
	if !fits {
		secret = dummySecret
	}
	return h.matches(secret) && fits
}

// dummySecret is hashed in place of a password that is not allowed or too long. The result is
// ignored.
var dummySecret = []byte("durward: no password")

// The accepted forms of hashes; each hash has one spelling.
var (
	md5Form    = regexp.MustCompile(`^\$(apr1|1)\$[./A-Za-z0-9]{1,8}\$[./A-Za-z0-9]{22}$`)
	sha256Form = regexp.MustCompile(`^\$(5)\$(?:rounds=([1-9][0-9]{0,9})\$)?[./A-Za-z0-9]{1,16}\$[./A-Za-z0-9]{43}$`)
	sha512Form = regexp.MustCompile(`^\$(6)\$(?:rounds=([1-9][0-9]{0,9})\$)?[./A-Za-z0-9]{1,16}\$[./A-Za-z0-9]{86}$`)
)

// readHash reads a stored hash. The error contains no part of it.
func readHash(text string, c Config) (hashed, error) {
	switch {
	case text == "":
		return hashed{}, errors.New("no hash after the user name")
	case strings.HasPrefix(text, "$$"):
		return hashed{}, errors.New("the hash begins with $$: compose files double dollar signs, a password file has them once")
	case strings.HasPrefix(text, "$argon2id$"), strings.HasPrefix(text, "$2"):
		return readStored(text)
	case strings.HasPrefix(text, "{SHA}"):
		if !c.InsecureSHA1 {
			return hashed{}, errors.New("SHA-1 hash without the option InsecureSHA1; create another hash with htpasswd -B -C 10")
		}
		return readSHA1(text)
	case strings.HasPrefix(text, "$apr1$"), strings.HasPrefix(text, "$1$"), strings.HasPrefix(text, "$5$"), strings.HasPrefix(text, "$6$"):
		if !c.InsecureCrypt {
			return hashed{}, errors.New("crypt hash without the option InsecureCrypt; create another hash with htpasswd -B -C 10")
		}
		return readCrypt(text)
	}
	return hashed{}, errors.New("unsupported hash (plain text and DES crypt are never read); create one with htpasswd -B -C 10")
}

// readStored reads a hash of argon2id or bcrypt.
func readStored(text string) (hashed, error) {
	stored, err := pwhash.Parse(text)
	if err != nil {
		return hashed{}, err
	}
	return hashed{
		text:    text,
		cost:    stored.Cost(),
		memory:  stored.Memory(),
		holds:   stored.Holds(),
		matches: stored.Matches,
	}, nil
}

func readSHA1(text string) (hashed, error) {
	encoded := strings.TrimPrefix(text, "{SHA}")
	want, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || len(want) != sha1.Size || base64.StdEncoding.EncodeToString(want) != encoded {
		return hashed{}, errors.New("malformed SHA-1 hash; want {SHA} and 28 characters of base64")
	}
	return hashed{text: text, cost: "SHA-1", holds: pwhash.MaxPassword, matches: func(secret []byte) bool {
		got := sha1.Sum(secret)
		return subtle.ConstantTimeCompare(got[:], want) == 1
	}}, nil
}

func readCrypt(text string) (hashed, error) {
	if form := md5Form.FindStringSubmatch(text); form != nil {
		if form[1] == "apr1" {
			return hashed{text: text, cost: "apr1", holds: cryptHolds, matches: func(secret []byte) bool {
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
		return hashed{}, errors.New("malformed crypt hash; want $ID$SALT$HASH or $ID$rounds=N$SALT$HASH")
	}
	rounds := defaultRounds
	if form[2] != "" {
		n, err := strconv.Atoi(form[2])
		if err != nil || n < minRounds || n > maxRounds {
			return hashed{}, fmt.Errorf("crypt hash with %s rounds, want %d to %d", form[2], minRounds, maxRounds)
		}
		rounds = n
	}
	return library(text, fmt.Sprintf("sha-crypt %s, %d rounds", form[1], rounds), shacrypt.Decode)
}

// library decodes a crypt hash. The caller has checked its form and cost.
func library(text, cost string, decode func(string) (algorithm.Digest, error)) (hashed, error) {
	digest, err := decode(text)
	if err != nil { // err may contain the hash
		return hashed{}, errors.New("malformed crypt hash")
	}
	return hashed{text: text, cost: cost, holds: cryptHolds, matches: digest.MatchBytes}, nil
}
