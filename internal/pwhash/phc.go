package pwhash

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/crypto/scrypt"
)

// params is an algorithm with its cost and the lengths of its parts in bytes. Hashes with equal
// params take equal work.
type params struct {
	name      string    // key of algorithms
	cost      [3]uint32 // in the order of algorithm.costs
	salt, key uint32
}

// algorithm is a way to hash a password whose hashes are PHC strings: $NAME$PARAMETERS$SALT$HASH.
type algorithm struct {
	fixed    string   // before the parameters of the cost
	costs    []string // names of these, in the order of String
	form     string   // for error texts
	encoding *base64.Encoding
	limits   func(cost [3]uint32, key uint32) error
	memory   func(cost [3]uint32) uint32 // KiB
	derive   func(secret []byte, s Stored) []byte
}

// Names of algorithms. New hashes are of argon2id; the others are for users who come from another
// product. fbscrypt is the scrypt of Firebase, in the form in which Supabase stores it.
const (
	argon2id = "argon2id"
	fbscrypt = "fbscrypt"
)

// argon2Version is the version of RFC 9106; version 16 is an older function.
const argon2Version = "v=19$"

// PHC strings have base64 without padding, those of fbscrypt with it; only the canonical spelling is
// accepted.
var (
	b64    = base64.RawStdEncoding.Strict()
	padded = base64.StdEncoding.Strict()
)

var algorithms = map[string]algorithm{
	argon2id: {
		fixed:    argon2Version,
		costs:    []string{"m", "t", "p"},
		form:     "$argon2id$v=19$m=KiB,t=PASSES,p=LANES$SALT$HASH",
		encoding: b64,
		limits:   limitArgon2,
		memory:   func(c [3]uint32) uint32 { return c[0] },
		derive: func(secret []byte, s Stored) []byte {
			c := s.params.cost
			return argon2.IDKey(secret, s.salt, c[1], c[0], uint8(c[2]), s.params.key)
		},
	},
	"argon2i": {
		fixed:    argon2Version,
		costs:    []string{"m", "t", "p"},
		form:     "$argon2i$v=19$m=KiB,t=PASSES,p=LANES$SALT$HASH",
		encoding: b64,
		limits:   limitArgon2,
		memory:   func(c [3]uint32) uint32 { return c[0] },
		derive: func(secret []byte, s Stored) []byte {
			c := s.params.cost
			return argon2.Key(secret, s.salt, c[1], c[0], uint8(c[2]), s.params.key)
		},
	},
	"scrypt": {
		costs:    []string{"ln", "r", "p"},
		form:     "$scrypt$ln=LOG2,r=BLOCK,p=LANES$SALT$HASH",
		encoding: b64,
		limits:   limitScrypt,
		memory:   memoryOfScrypt,
		derive: func(secret []byte, s Stored) []byte {
			return scryptKey(secret, s.salt, s.params.cost, int(s.params.key))
		},
	},
	fbscrypt: {
		fixed:    "v=1,",
		costs:    []string{"n", "r", "p"},
		form:     "$fbscrypt$v=1,n=LOG2,r=ROUNDS,p=1,ss=SEPARATOR,sk=SIGNER$SALT$HASH",
		encoding: padded,
		limits:   limitScrypt,
		memory:   memoryOfScrypt,
		derive:   firebaseKey,
	},
	"pbkdf2-sha256": {
		costs:    []string{"i"},
		form:     "$pbkdf2-sha256$i=ROUNDS$SALT$HASH",
		encoding: b64,
		limits:   func(c [3]uint32, key uint32) error { return limitPBKDF2(c[0], key, sha256.Size) },
		memory:   func([3]uint32) uint32 { return 0 },
		derive: func(secret []byte, s Stored) []byte {
			return derived(pbkdf2.Key(sha256.New, string(secret), s.salt, int(s.params.cost[0]), int(s.params.key)))
		},
	},
	"pbkdf2-sha512": {
		costs:    []string{"i"},
		form:     "$pbkdf2-sha512$i=ROUNDS$SALT$HASH",
		encoding: b64,
		limits:   func(c [3]uint32, key uint32) error { return limitPBKDF2(c[0], key, sha512.Size) },
		memory:   func([3]uint32) uint32 { return 0 },
		derive: func(secret []byte, s Stored) []byte {
			return derived(pbkdf2.Key(sha512.New, string(secret), s.salt, int(s.params.cost[0]), int(s.params.key)))
		},
	},
}

// derived returns a key, or no key if the parameters do not allow one. No key matches no password.
func derived(key []byte, err error) []byte {
	if err != nil {
		return nil
	}
	return key
}

func scryptKey(secret, salt []byte, cost [3]uint32, length int) []byte {
	return derived(scrypt.Key(secret, salt, 1<<cost[0], int(cost[1]), int(cost[2]), length))
}

// firebaseKey returns the hash of Firebase: scrypt of the salt with the project's separator gives a
// key of AES-256 in counter mode that encrypts the project's signer key.
func firebaseKey(secret []byte, s Stored) []byte {
	salt := append(append([]byte{}, s.salt...), s.separator...)
	block, err := aes.NewCipher(scryptKey(secret, salt, s.params.cost, 32))
	if err != nil {
		return nil
	}
	key := make([]byte, len(s.signer))
	cipher.NewCTR(block, make([]byte, aes.BlockSize)).XORKeyStream(key, s.signer)
	return key
}

// Limits of the cost, for configuration and for stored hashes: a stored hash must not determine how
// much memory and time each try takes. maxCost limits both, as the work is their product.
const (
	maxCost          = 256 << 10 // KiB x passes: 256 MiB once, or 64 MiB four times as PHP does
	maxTime          = 16
	maxThreads       = 16
	maxBlock         = 64      // of scrypt, in 128 bytes
	maxRounds        = 2 << 20 // of PBKDF2, for each part of the hash: one or two seconds
	minRounds        = 1000    // RFC 8018 s4.2
	minSalt, maxSalt = 8, 64
	minKey, maxKey   = 16, 64
	maxPHC           = 512 // longer than any hash within these limits
)

func limitArgon2(c [3]uint32, _ uint32) error {
	var errs []error
	memory, time, threads := c[0], c[1], c[2]
	if threads < 1 || threads > maxThreads {
		errs = append(errs, fmt.Errorf("%d threads, want 1 to %d", threads, maxThreads))
	}
	if time < 1 || time > maxTime {
		errs = append(errs, fmt.Errorf("%d passes, want 1 to %d", time, maxTime))
	}
	// RFC 9106 s3.1: at least 8 KiB for each lane.
	if least := 8 * min(max(threads, 1), maxThreads); memory < least || memory > maxCost {
		errs = append(errs, fmt.Errorf("memory of %d KiB, want %d to %d", memory, least, maxCost))
	} else if time <= maxTime && memory*time > maxCost {
		errs = append(errs, fmt.Errorf("memory of %d KiB in %d passes, want a product of at most %d", memory, time, maxCost))
	}
	return errors.Join(errs...)
}

// limitScrypt limits N, r and p (RFC 7914 s2) as maxCost does for argon2: p is the number of passes.
func limitScrypt(c [3]uint32, _ uint32) error {
	if c[0] < 1 || c[0] > 21 || c[1] < 1 || c[1] > maxBlock || c[2] < 1 || c[2] > maxTime {
		return fmt.Errorf("scrypt with N of 2 to the power of %d, r of %d and p of %d, want at most 21, %d and %d", c[0], c[1], c[2], maxBlock, maxTime)
	}
	if memoryOfScrypt(c)*c[2] > maxCost {
		return fmt.Errorf("memory of %d KiB in %d passes, want a product of at most %d", memoryOfScrypt(c), c[2], maxCost)
	}
	return nil
}

func memoryOfScrypt(c [3]uint32) uint32 {
	return uint32((uint64(128)<<c[0]*uint64(c[1]) + 1023) >> 10)
}

// limitPBKDF2 limits the rounds of all parts of a hash together: each part, of the size of the digest,
// takes all rounds (RFC 8018 s5.2).
func limitPBKDF2(rounds, key, size uint32) error {
	parts := max(1, (key+size-1)/size)
	if rounds < minRounds || rounds > maxRounds/parts {
		return fmt.Errorf("%d rounds for a hash of %d bytes, want %d to %d", rounds, key, minRounds, maxRounds/parts)
	}
	return nil
}

func (p params) check() error {
	errs := []error{algorithms[p.name].limits(p.cost, p.key)}
	if p.salt < minSalt || p.salt > maxSalt {
		errs = append(errs, fmt.Errorf("salt of %d bytes, want %d to %d", p.salt, minSalt, maxSalt))
	}
	if p.key < minKey || p.key > maxKey {
		errs = append(errs, fmt.Errorf("hash of %d bytes, want %d to %d", p.key, minKey, maxKey))
	}
	return errors.Join(errs...)
}

// bcrypt is for users who come from another product: this package makes no such hashes.
const (
	minBcrypt, maxBcrypt = 4, 14 // a cost of 14 takes about a second
	bcryptHolds          = 72    // bytes of a password that bcrypt uses
)

// bcryptForm is the form of a hash with its cost. $2x$ and $2$ mark the faulty versions of bcrypt.
var bcryptForm = regexp.MustCompile(`^\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}$`)

// Stored is a parsed hash of one of the algorithms or of bcrypt, with a cost within the limits.
type Stored struct {
	params            params
	salt, key         []byte
	separator, signer []byte // of fbscrypt
	bcrypt            string // the hash of bcrypt; then the other fields are empty
}

// Firebase returns a hash of Firebase Authentication. n and r are mem_cost and rounds of the project's
// hash parameters, signer and separator its base64_signer_key and base64_salt_separator. The error wraps
// ErrMalformed.
func Firebase(n, r uint32, separator, signer, salt, key []byte) (Stored, error) {
	s := Stored{
		params:    params{name: fbscrypt, cost: [3]uint32{n, r, 1}, salt: uint32(len(salt)), key: uint32(len(key))},
		salt:      salt,
		key:       key,
		separator: separator,
		signer:    signer,
	}
	if err := s.check(); err != nil {
		return Stored{}, err
	}
	return s, nil
}

// check checks the limits of s. The error wraps ErrMalformed.
func (s Stored) check() error {
	err := s.params.check()
	if s.params.name == fbscrypt && (len(s.signer) != len(s.key) || len(s.separator) > maxSalt) {
		err = errors.Join(err, errors.New("the signer key is not as long as the hash, or the separator is too long"))
	}
	if err != nil {
		return fmt.Errorf("%w: %s; want %s", ErrMalformed, strings.ReplaceAll(err.Error(), "\n", ", "), algorithms[s.params.name].form)
	}
	return nil
}

// String returns the text of s. Parse reads it as s.
func (s Stored) String() string {
	if s.bcrypt != "" {
		return s.bcrypt
	}
	encoding, texts := algorithms[s.params.name].encoding, ""
	if len(s.separator) > 0 {
		texts = ",ss=" + encoding.EncodeToString(s.separator)
	}
	if len(s.signer) > 0 {
		texts += ",sk=" + encoding.EncodeToString(s.signer)
	}
	return s.start() + texts + "$" + encoding.EncodeToString(s.salt) + "$" + encoding.EncodeToString(s.key)
}

// start returns the beginning of a hash, up to the parameters of its cost.
func (s Stored) start() string {
	return "$" + s.params.name + "$" + algorithms[s.params.name].fixed + s.params.costs()
}

// costs returns the parameters of the cost, such as m=19456,t=2,p=1.
func (p params) costs() string {
	var all []string
	for i, name := range algorithms[p.name].costs {
		all = append(all, fmt.Sprintf("%s=%d", name, p.cost[i]))
	}
	return strings.Join(all, ",")
}

// Parse reads a PHC string of argon2id, argon2i, scrypt, pbkdf2-sha256, pbkdf2-sha512 or fbscrypt, with
// its parameters in any order, or a hash of bcrypt. The error wraps ErrMalformed and contains no part of
// salt and hash.
func Parse(text string) (s Stored, err error) {
	if strings.HasPrefix(text, "$2") {
		return parseBcrypt(text)
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(text, "$"), "$")
	a, ok := algorithms[name]
	if !ok || !strings.HasPrefix(text, "$") {
		return Stored{}, fmt.Errorf("%w: another algorithm", ErrMalformed)
	}
	fail := func(why string) (Stored, error) {
		return Stored{}, fmt.Errorf("%w: %s; want %s", ErrMalformed, why, a.form)
	}
	if len(text) > maxPHC {
		return fail(fmt.Sprintf("%d bytes long", len(text)))
	}
	rest, ok := strings.CutPrefix(text, "$"+name+"$"+a.fixed)
	if !ok {
		return fail("another version")
	}
	parts := strings.Split(rest, "$")
	if len(parts) != 3 {
		return fail(fmt.Sprintf("%d parts, want parameters, salt and hash", len(parts)))
	}
	if _, plain := number(parts[0]); plain && len(a.costs) == 1 {
		// The libraries of Python write PBKDF2 without the name of its parameter, and . for + in base64.
		parts[0] = a.costs[0] + "=" + parts[0]
		parts[1], parts[2] = strings.ReplaceAll(parts[1], ".", "+"), strings.ReplaceAll(parts[2], ".", "+")
	}
	s.params.name = name
	// Each parameter names itself, so another order, as the most used library of Node.js writes it, has
	// one meaning too.
	values := make(map[string]string)
	for _, field := range strings.Split(parts[0], ",") {
		name, value, _ := strings.Cut(field, "=")
		if _, twice := values[name]; twice {
			return fail("a parameter is there twice")
		}
		values[name] = value
	}
	for i, name := range a.costs {
		if s.params.cost[i], ok = number(values[name]); !ok {
			return fail("parameter " + name + "= is missing, no number or too large")
		}
		delete(values, name)
	}
	if s.salt, err = decode(a.encoding, parts[1]); err != nil {
		return fail("the salt is not in base64, in its only spelling")
	}
	if s.key, err = decode(a.encoding, parts[2]); err != nil {
		return fail("the hash is not in base64, in its only spelling")
	}
	if name == fbscrypt {
		if s.separator, err = decode(a.encoding, values["ss"]); err == nil {
			s.signer, err = decode(a.encoding, values["sk"])
		}
		if err != nil {
			return fail("separator or signer key is not in base64, in its only spelling")
		}
		delete(values, "ss")
		delete(values, "sk")
	}
	if l, ok := values["l"]; ok && len(a.costs) == 1 && l == strconv.Itoa(len(s.key)) { // optional with PBKDF2
		delete(values, "l")
	}
	if len(values) > 0 {
		return fail("unknown parameters")
	}
	s.params.salt, s.params.key = uint32(len(s.salt)), uint32(len(s.key))
	if err := s.check(); err != nil {
		return Stored{}, err
	}
	return s, nil
}

func parseBcrypt(text string) (Stored, error) {
	form := bcryptForm.FindStringSubmatch(text)
	if form == nil {
		return Stored{}, fmt.Errorf("%w: not a bcrypt hash; want $2y$COST$ and 53 characters", ErrMalformed)
	}
	if cost, err := strconv.Atoi(form[1]); err != nil || cost < minBcrypt || cost > maxBcrypt {
		return Stored{}, fmt.Errorf("%w: bcrypt hash of cost %s, want %d to %d", ErrMalformed, form[1], minBcrypt, maxBcrypt)
	}
	return Stored{bcrypt: text}, nil
}

// Cost returns a name of the cost: hashes with equal names take equal work.
func (s Stored) Cost() string {
	if s.bcrypt != "" {
		return "bcrypt " + s.bcrypt[4:6]
	}
	return fmt.Sprintf("%s %s,%d", s.params.name, s.params.costs(), s.params.key)
}

// Pattern returns a pattern of LIKE in SQL. All hashes of the cost of s match it, and perhaps some that
// differ in the length of the hash.
func (s Stored) Pattern() string {
	if s.bcrypt != "" {
		return "$2_" + s.bcrypt[3:7] + "%" // $2a$, $2b$ and $2y$
	}
	if s.params.name == fbscrypt {
		return s.start() + ",%"
	}
	return s.start() + "$%"
}

// Blank returns a hash of the cost of s without its salt and key, to store or to compute in place of
// s. It belongs to no password.
func (s Stored) Blank() Stored {
	if s.bcrypt != "" {
		return Stored{bcrypt: "$2b$" + s.bcrypt[4:7] + strings.Repeat(".", 53)}
	}
	return Stored{
		params: s.params,
		salt:   make([]byte, len(s.salt)),
		key:    make([]byte, len(s.key)),
		signer: make([]byte, len(s.signer)),
	}
}

// Memory returns the KiB that Matches takes.
func (s Stored) Memory() uint32 {
	if s.bcrypt != "" {
		return 0
	}
	return algorithms[s.params.name].memory(s.params.cost)
}

// Holds returns the length of the longest password in bytes. Matches refuses a longer one, after the
// same work.
func (s Stored) Holds() int {
	if s.bcrypt != "" {
		return bcryptHolds
	}
	return MaxPassword
}

// Matches reports whether the hash was made from secret, a password from Prepare. The caller limits
// the number of calls at the same time, with Hasher.Do.
func (s Stored) Matches(secret []byte) bool {
	if s.bcrypt != "" {
		fits := len(secret) <= bcryptHolds // bcrypt would cut it
		if !fits {
			secret = dummySecret
		}
		return bcrypt.CompareHashAndPassword([]byte(s.bcrypt), secret) == nil && fits
	}
	key := algorithms[s.params.name].derive(secret, s)
	return subtle.ConstantTimeCompare(key, s.key) == 1 && len(key) > 0
}

// number reads a decimal number without sign or leading zero.
func number(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && s[0] != '0'
}

func decode(encoding *base64.Encoding, s string) ([]byte, error) {
	// The decoder ignores line breaks, which would allow a second spelling.
	if strings.ContainsAny(s, "\r\n") {
		return nil, base64.CorruptInputError(0)
	}
	return encoding.DecodeString(s)
}
