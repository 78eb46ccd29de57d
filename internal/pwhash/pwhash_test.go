package pwhash

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// cheap is a low cost for tests of other things.
var cheap = Config{Memory: 64, Time: 1, Threads: 1}

func newHasher(t testing.TB, c Config) *Hasher {
	t.Helper()
	h, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func hash(t testing.TB, h *Hasher, password string) string {
	t.Helper()
	phc, err := h.Hash(context.Background(), password)
	if err != nil {
		t.Fatalf("Hash(%q): %v", password, err)
	}
	return phc
}

func verify(t testing.TB, h *Hasher, phc, password string) (ok, rehash bool) {
	t.Helper()
	ok, rehash, err := h.Verify(context.Background(), phc, password)
	if err != nil {
		t.Fatalf("Verify(%q, %q): %v", phc, password, err)
	}
	return ok, rehash
}

type vector struct {
	Memory   uint32 `json:"memory_KiB"`
	Passes   uint32 `json:"passes"`
	Lanes    uint8  `json:"lanes"`
	Length   uint32 `json:"tag_length"`
	Password string `json:"password_hex"`
	Salt     string `json:"salt_hex"`
	Secret   string `json:"secret_hex"`
	Tag      string `json:"tag_hex"`
	PHC      string `json:"phc"`
	Origin   string `json:"origin"`
}

func vectors(t testing.TB) []vector {
	t.Helper()
	data, err := os.ReadFile("testdata/rfc9106_argon2id.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Tests []vector }
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	var usable []vector
	for _, v := range file.Tests {
		if v.Secret == "" { // x/crypto/argon2 supports neither secret nor associated data
			usable = append(usable, v)
		}
	}
	if len(usable) < 3 {
		t.Fatalf("%d usable vectors, want at least 3", len(usable))
	}
	return usable
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVectors(t *testing.T) {
	t.Parallel()
	for _, v := range vectors(t) {
		password, salt, tag := unhex(t, v.Password), unhex(t, v.Salt), unhex(t, v.Tag)
		if got := argon2.IDKey(password, salt, v.Passes, v.Memory, v.Lanes, v.Length); !bytes.Equal(got, tag) {
			t.Errorf("argon2id of %s (%s): got %x, want %x", v.Password, v.Origin, got, tag)
		}
		got, err := Parse(v.PHC)
		want := params{argon2id, [3]uint32{v.Memory, v.Passes, uint32(v.Lanes)}, uint32(len(salt)), v.Length}
		if err != nil || got.params != want || !bytes.Equal(got.salt, salt) || !bytes.Equal(got.key, tag) {
			t.Errorf("Parse(%q): got %+v %x %x %v, want %+v %x %x", v.PHC, got.params, got.salt, got.key, err, want, salt, tag)
		}
		if got := (Stored{params: want, salt: salt, key: tag}).String(); got != v.PHC {
			t.Errorf("String: got %q, want %q", got, v.PHC)
		}
		// The vectors contain passwords with a NUL; forms do not.
		ok, rehash := verify(t, newHasher(t, Config{}), v.PHC, string(password))
		if want := !bytes.Contains(password, []byte{0}); ok != want {
			t.Errorf("Verify(%q, %q): got %v, want %v", v.PHC, password, ok, want)
		}
		if want := ok && v.Memory != 19456; rehash != want {
			t.Errorf("Verify(%q): got rehash %v, want %v", v.PHC, rehash, want)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	h := newHasher(t, cheap)
	for _, password := range []string{
		"x", "correct horse battery staple", " leading and trailing ", strings.Repeat("a", 64), strings.Repeat("a", MaxPassword),
		"with:colon", "пароль", "🔑🔑🔑", "pä" + strings.Repeat("ß", 300),
	} {
		phc := hash(t, h, password)
		if !strings.HasPrefix(phc, "$argon2id$v=19$m=64,t=1,p=1$") {
			t.Errorf("Hash(%q): got %q", password, phc)
		}
		if again := hash(t, h, password); again == phc {
			t.Errorf("Hash(%q) twice: %q both times, want another salt", password, phc)
		}
		if ok, rehash := verify(t, h, phc, password); !ok || rehash {
			t.Errorf("Verify(%q, %q): got %v %v, want true false", phc, password, ok, rehash)
		}
		// Passwords are not cut, trimmed or case-folded.
		for _, other := range []string{password[:len(password)-1], password[1:], password + " ", " " + password, password + "a", strings.ToUpper(password) + "A"} {
			if ok, rehash := verify(t, h, phc, other); ok || rehash {
				t.Errorf("Verify(hash of %q, %q): got %v %v, want false false", password, other, ok, rehash)
			}
		}
	}
}

// A password has one hash in all its spellings (RFC 8265 s4.2).
func TestSpellings(t *testing.T) {
	t.Parallel()
	h := newHasher(t, cheap)
	for _, same := range [][]string{
		{"p\u00e4ssword", "pa\u0308ssword"},               // composed, decomposed
		{"\u1e9b\u0323", "\u017f\u0323\u0307"},            // order of marks
		{"two words", "two\u00a0words", "two\u3000words"}, // kinds of space
		{"\uac00", "\u1100\u1161"},                        // Hangul
	} {
		for _, stored := range same {
			phc := hash(t, h, stored)
			for _, typed := range same {
				if ok, _ := verify(t, h, phc, typed); !ok {
					t.Errorf("Verify(hash of %+q, %+q): got false, want true", stored, typed)
				}
			}
		}
	}
	// A compatibility character is another password: OpaqueString is NFC, not NFKC.
	phc := hash(t, h, "ﬁne")
	if ok, _ := verify(t, h, phc, "fine"); ok {
		t.Error(`Verify(hash of "ﬁne" with a ligature, "fine"): got true, want false`)
	}
}

var forbidden = map[string]string{
	"empty":                 "",
	"NUL":                   "pass\x00word",
	"line feed":             "password\n",
	"delete":                "pass\x7fword",
	"C1 control":            "pass\u0085word",
	"control, beyond ASCII": "pässword\t",
	"not UTF-8":             "pass\xffword",
	"surrogate":             "pass\xed\xa0\x80word",
	"noncharacter":          "pass\ufdd0word",
	"too long":              strings.Repeat("a", MaxPassword+1),
	"a megabyte":            strings.Repeat("a", 1<<20),
}

func TestForbidden(t *testing.T) {
	t.Parallel()
	for name, password := range forbidden {
		h := newHasher(t, cheap)
		phc, err := h.Hash(context.Background(), password)
		if phc != "" || !errors.Is(err, ErrForbidden) || h.Runs() != 0 {
			t.Errorf("%s: Hash: got %q, %v after %d runs; want ErrForbidden before any work", name, phc, err, h.Runs())
		}
		if err != nil && password != "" && strings.Contains(err.Error(), password) {
			t.Errorf("%s: the error holds the password: %v", name, err)
		}
		for whose, phc := range map[string]string{"a person": hash(t, h, "right"), "nobody": ""} {
			before := h.Runs()
			ok, rehash := verify(t, h, phc, password)
			if runs := h.Runs() - before; ok || rehash || runs != 1 {
				t.Errorf("%s: Verify for %s: got %v %v after %d runs, want false false after 1", name, whose, ok, rehash, runs)
			}
		}
	}
}

// The stand-in for a password that is not allowed matches no hash.
func TestDummyOpensNothing(t *testing.T) {
	t.Parallel()
	h := newHasher(t, cheap)
	phc := hash(t, h, string(dummySecret))
	if ok, _ := verify(t, h, phc, "pass\x00word"); ok {
		t.Error("a forbidden password opened the hash of its stand-in")
	}
	for _, password := range []string{"", string(dummySecret), string(dummySalt), "anything"} {
		before := h.Runs()
		ok, rehash := verify(t, h, "", password)
		if runs := h.Runs() - before; ok || rehash || runs != 1 {
			t.Errorf("Verify(nobody, %q): got %v %v after %d runs, want false false after 1", password, ok, rehash, runs)
		}
	}
}

// A wrong password takes the work of the stored hash, an unknown user that of a new hash.
func TestRehash(t *testing.T) {
	t.Parallel()
	now := newHasher(t, Config{Memory: 128, Time: 2, Threads: 2})
	for _, c := range []struct {
		config Config
		want   bool
	}{
		{Config{Memory: 128, Time: 2, Threads: 2}, false},
		{Config{Memory: 64, Time: 2, Threads: 2}, true},
		{Config{Memory: 256, Time: 2, Threads: 2}, true},
		{Config{Memory: 128, Time: 1, Threads: 2}, true},
		{Config{Memory: 128, Time: 2, Threads: 1}, true},
	} {
		phc := hash(t, newHasher(t, c.config), "right")
		if ok, rehash := verify(t, now, phc, "right"); !ok || rehash != c.want {
			t.Errorf("%+v: got %v %v, want true %v", c.config, ok, rehash, c.want)
		}
		if ok, rehash := verify(t, now, phc, "wrong"); ok || rehash {
			t.Errorf("%+v, wrong password: got %v %v, want false false", c.config, ok, rehash)
		}
	}
	short := Stored{
		params: params{argon2id, [3]uint32{128, 2, 2}, 8, 32},
		salt:   []byte("saltsalt"),
		key:    argon2.IDKey([]byte("right"), []byte("saltsalt"), 2, 128, 2, 32),
	}.String()
	if ok, rehash := verify(t, now, short, "right"); !ok || !rehash {
		t.Errorf("short salt: got %v %v, want true true", ok, rehash)
	}
}

const (
	good     = "$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$lMhvVBq9s9mqv+pZqgOWNUlIPpwLGnkzbna1TO5skX4"
	salt16   = "MDEyMzQ1Njc4OWFiY2RlZg"
	key32    = "lMhvVBq9s9mqv+pZqgOWNUlIPpwLGnkzbna1TO5skX4"
	goodTail = "$" + salt16 + "$" + key32

	bcryptOf = "$2y$04$EVTD5jzxRNGqIo5.afCf0uwnt25IRD16kxCN1mrpesG0Z10/EU7a2" // correct horse battery staple

	// The sample of Firebase's documentation: the hash of user1password.
	firebaseOf = "$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==," +
		"sk=jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==" +
		"$42xEC+ixf3L2lw==$lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ=="
)

var malformed = []string{
	" ", "$", "x", "plaintext", "{SSHA}abcdef",
	"$2x$10" + bcryptOf[6:], "$2$10" + bcryptOf[6:], "$2b$03" + bcryptOf[6:], "$2b$15" + bcryptOf[6:], "$2b$31" + bcryptOf[6:],
	"$2b$4$" + bcryptOf[7:] + "a", "$2b$-1" + bcryptOf[6:], bcryptOf[:59], bcryptOf + "a", bcryptOf + "\n", " " + bcryptOf,
	good[1:], " " + good, good + " ", good + "\n", good + "$", good + "=", good[:len(good)-1], "$" + good,
	"$argon2i$v=16$m=64,t=1,p=1" + goodTail,
	"$argon2d$v=19$m=64,t=1,p=1" + goodTail,
	"$ARGON2ID$v=19$m=64,t=1,p=1" + goodTail,
	"$argon2id$m=64,t=1,p=1" + goodTail,
	"$argon2id$v=16$m=64,t=1,p=1" + goodTail,
	"$argon2id$v=019$m=64,t=1,p=1" + goodTail,
	"$argon2id$v=19$" + goodTail,
	"$argon2id$v=19$m=64,t=1" + goodTail,
	"$argon2id$v=19$m=64,t=1,t=1" + goodTail,
	"$argon2id$v=19$m=64,t=1,t=1,p=1" + goodTail,
	"$argon2id$v=19$m=64,m=64,p=1" + goodTail,
	"$argon2id$v=19$m=64,t=1,p=1,p=1" + goodTail,
	"$argon2id$v=19$m=64,t=1,P=1" + goodTail,
	"$argon2id$v=19$m=64,t=1,p" + goodTail,
	"$argon2id$v=19$m=64,t=1,=1" + goodTail,
	"$argon2id$v=19$m=64,t=1,p=1,keyid=AAAA" + goodTail,
	"$argon2id$v=19$m=64, t=1,p=1" + goodTail,
	"$argon2id$v=19$m=064,t=1,p=1" + goodTail,
	"$argon2id$v=19$m=+64,t=1,p=1" + goodTail,
	"$argon2id$v=19$m=-64,t=1,p=1" + goodTail,
	"$argon2id$v=19$m=6_4,t=1,p=1" + goodTail,
	"$argon2id$v=19$m=0x40,t=1,p=1" + goodTail,
	"$argon2id$v=19$m=٦٤,t=1,p=1" + goodTail,
	"$argon2id$v=19$m=,t=1,p=1" + goodTail,
	"$argon2id$v=19$m=7,t=1,p=1" + goodTail,          // RFC 9106 s3.1: 8 x p
	"$argon2id$v=19$m=64,t=1,p=9" + goodTail,         // at least 72 KiB for 9 lanes
	"$argon2id$v=19$m=4194304,t=1,p=1" + goodTail,    // 4 GiB
	"$argon2id$v=19$m=262145,t=1,p=1" + goodTail,     // one more than allowed
	"$argon2id$v=19$m=4294967360,t=1,p=1" + goodTail, // 64 if cut to 32 bits
	"$argon2id$v=19$m=64,t=0,p=1" + goodTail,
	"$argon2id$v=19$m=64,t=17,p=1" + goodTail,
	"$argon2id$v=19$m=64,t=1,p=0" + goodTail,
	"$argon2id$v=19$m=1024,t=1,p=17" + goodTail,
	"$argon2id$v=19$m=64,t=1,p=257" + goodTail, // 1 if cut to 8 bits
	"$argon2id$v=19$m=64,t=1,p=1$$" + key32,
	"$argon2id$v=19$m=64,t=1,p=1$" + salt16 + "$",
	"$argon2id$v=19$m=64,t=1,p=1$" + salt16,
	"$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Ng$" + key32,                         // 7 bytes of salt
	"$argon2id$v=19$m=64,t=1,p=1$" + strings.Repeat("AAAA", 22) + "$" + key32, // 66 bytes of salt
	"$argon2id$v=19$m=64,t=1,p=1$" + salt16 + "$" + strings.Repeat("AAAA", 5), // 15 bytes of hash
	"$argon2id$v=19$m=64,t=1,p=1$" + salt16 + "$" + strings.Repeat("AAAA", 22),
	"$argon2id$v=19$m=64,t=1,p=1$" + salt16 + "==$" + key32,
	"$argon2id$v=19$m=64,t=1,p=1$" + salt16[:21] + "h$" + key32, // unused bits at the end
	"$argon2id$v=19$m=64,t=1,p=1$" + salt16 + "$" + strings.ReplaceAll(key32, "+", "-"),
	"$argon2id$v=19$m=64,t=1,p=1$" + salt16 + "$" + key32[:10] + "\n" + key32[10:],
	"$scrypt$ln=0,r=8,p=1" + goodTail,
	"$scrypt$ln=18,r=9,p=1" + goodTail,  // 288 MiB
	"$scrypt$ln=22,r=1,p=1" + goodTail,  // 256 MiB, but N is too large
	"$scrypt$ln=33,r=8,p=1" + goodTail,  // 2 if cut to 32 bits
	"$scrypt$ln=10,r=65,p=1" + goodTail, //
	"$scrypt$ln=10,r=8,p=17" + goodTail,
	"$scrypt$ln=17,r=8,p=3" + goodTail, // 128 MiB in 3 passes
	"$scrypt$ln=10,r=8,p=1,l=32" + goodTail,
	"$scrypt$N=1024,r=8,p=1" + goodTail,
	"$pbkdf2$i=1000" + goodTail, // of SHA-1
	"$pbkdf2-sha1$i=1000" + goodTail,
	"$pbkdf2-sha256$i=999" + goodTail,
	"$pbkdf2-sha256$i=2097153" + goodTail,
	"$pbkdf2-sha256$i=4294968296" + goodTail,                              // 1000 if cut to 32 bits
	"$pbkdf2-sha256$1048577$" + salt16 + "$" + strings.Repeat("AAAA", 11), // 33 bytes take all rounds twice
	"$pbkdf2-sha256$i=1000,l=31" + goodTail,
	"$pbkdf2-sha256$i=1000,l=032" + goodTail,
	"$pbkdf2-sha256$" + goodTail,
	"$fbscrypt$v=1,n=10,r=8,p=1,ss=Bw==" + goodTail,
	"$fbscrypt$v=1,n=10,r=8,p=1,ss=Bw==,sk=" + salt16 + "==$" + salt16 + "==$" + key32 + "=", // a shorter signer key
	"$fbscrypt$v=1,n=10,r=8,p=1,ss=Bw==,sk=" + key32 + "$" + salt16 + "==$" + key32 + "=",
	strings.Replace(firebaseOf, "v=1", "v=2", 1),
	strings.Replace(firebaseOf, "n=14", "n=19", 1),
	good + strings.Repeat("A", 1<<20),
}

// A malformed hash matches no password, is reported for the log, and takes the work of a wrong
// password.
func TestMalformed(t *testing.T) {
	t.Parallel()
	h := newHasher(t, cheap)
	if _, err := Parse(good); err != nil {
		t.Fatalf("Parse(%q): %v", good, err)
	}
	for _, phc := range malformed {
		before := h.Runs()
		ok, rehash, err := h.Verify(context.Background(), phc, "password")
		if ok || rehash || !errors.Is(err, ErrMalformed) || h.Runs() != before+1 {
			t.Errorf("Verify(%.80q): got %v %v %v after %d runs; want ErrMalformed after 1", phc, ok, rehash, err, h.Runs()-before)
		}
		if err != nil && (strings.Contains(err.Error(), salt16) || strings.Contains(err.Error(), key32)) {
			t.Errorf("Verify(%.80q): the error holds salt or hash: %v", phc, err)
		}
	}
}

// A stored hash is accepted up to a product of memory and passes, whatever the two are.
func TestCost(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		memory, passes uint32
		accepted       bool
	}{
		{262144, 1, true}, {262145, 1, false}, {262144, 2, false}, {262144, 16, false},
		{131072, 2, true}, {131073, 2, false},
		{65536, 4, true}, {65537, 4, false}, {65536, 5, false}, // PHP makes m=65536,t=4
		{16384, 16, true}, {16385, 16, false}, {16384, 17, false},
		{19456, 13, true}, {19456, 14, false},
		{65536, 65536, false}, {65536, 131072, false}, // products of 0 in 32 bits
	} {
		phc := fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=1%s", c.memory, c.passes, goodTail)
		if _, err := Parse(phc); (err == nil) != c.accepted || err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("Parse with %d KiB in %d passes: got %v, want accepted %v", c.memory, c.passes, err, c.accepted)
		}
		if _, err := New(Config{Memory: c.memory, Time: c.passes}); (err == nil) != c.accepted {
			t.Errorf("New with %d KiB in %d passes: got %v, want accepted %v", c.memory, c.passes, err, c.accepted)
		}
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	h := newHasher(t, Config{})
	if want := (params{argon2id, [3]uint32{19456, 2, 1}, 16, 32}); h.params != want || h.most != h.concurrent+64 || h.concurrent != int64(max(1, runtime.GOMAXPROCS(0)-1)) {
		t.Errorf("zero Config: got %+v, %d at once, %d in all", h.params, h.concurrent, h.most)
	}
	_, err := New(Config{Memory: 262145, Time: 17, Threads: 17, Concurrent: -1, Waiting: -1})
	for _, want := range []string{"memory", "passes", "threads", "at once", "waiting"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New with five mistakes: got %v, want %q in it", err, want)
		}
	}
	for _, c := range []Config{{Memory: 7}, {Memory: 15, Threads: 2}, {Time: 17}, {Threads: 17}, {Concurrent: -1}, {Waiting: -1}} {
		if _, err := New(c); err == nil {
			t.Errorf("New(%+v): no error", c)
		}
	}
}

// Concurrent calls run, Waiting calls wait in order, the others fail; a call leaves the queue with
// its context.
func TestGate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHasher(t, Config{Memory: 64, Time: 1, Concurrent: 2, Waiting: 3})
		phc := hash(t, h, "right")
		background := context.Background()
		// The test takes the places of two hashes.
		h.inside[0].Add(2)
		if err := h.gate.Acquire(background, 2); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var order []string
		before := h.Runs()
		wait := func(ctx context.Context, name string) {
			go func() {
				ok, _, err := h.Verify(ctx, phc, "right")
				mu.Lock()
				defer mu.Unlock()
				order = append(order, fmt.Sprint(name, " ", ok, " ", err))
			}()
			synctest.Wait()
		}
		impatient, giveUp := context.WithCancel(background)
		wait(background, "a")
		wait(impatient, "b")
		wait(background, "c")
		wait(background, "d") // the queue is full
		giveUp()
		synctest.Wait()
		wait(background, "e") // b's place is free
		if h.Runs() != before {
			t.Errorf("%d hashes behind a closed gate", h.Runs()-before)
		}
		if _, err := h.Hash(background, "new"); !errors.Is(err, ErrBusy) {
			t.Errorf("Hash with a full queue: got %v, want ErrBusy", err)
		}
		h.inside[0].Add(-2)
		for range 2 { // one at a time, to observe the order
			h.gate.Release(1)
			synctest.Wait()
		}
		want := "[d false pwhash: too many passwords are being checked b false context canceled a true <nil> c true <nil> e true <nil>]"
		if got := fmt.Sprint(order); got != want {
			t.Errorf("order:\n got %s\nwant %s", got, want)
		}
		if n := h.inside[0].Load(); n != 0 {
			t.Errorf("%d inside at the end, want 0", n)
		}
	})
}

// Calls that go first have a queue of their own. They overtake all waiting calls but those that
// already wait for a running one.
func TestFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHasher(t, Config{Memory: 64, Time: 1, Concurrent: 1, Waiting: 2})
		phc := hash(t, h, "right")
		others, first := context.Background(), First(context.Background())
		release := make(chan bool)
		for _, ctx := range []context.Context{first, others} { // the running calls of both queues
			go h.Do(ctx, 0, func() { <-release })
			synctest.Wait()
		}
		var mu sync.Mutex
		var order []string
		verify := func(ctx context.Context, name string) {
			go func() {
				ok, _, err := h.Verify(ctx, phc, "right")
				mu.Lock()
				defer mu.Unlock()
				order = append(order, fmt.Sprint(name, " ", ok, " ", err))
			}()
			synctest.Wait()
		}
		for _, name := range []string{"a", "b", "c"} {
			verify(others, name)
		}
		if h.Busy(others) == nil || h.Busy(first) != nil {
			t.Errorf("full queue of the others: Busy is %v, and %v for calls that go first", h.Busy(others), h.Busy(first))
		}
		for _, name := range []string{"first 1", "first 2", "first 3"} {
			verify(first, name)
		}
		if h.Busy(first) == nil {
			t.Error("full queue of calls that go first: Busy is nil")
		}
		close(release)
		synctest.Wait()
		const busy = " false pwhash: too many passwords are being checked"
		want := "[c" + busy + " first 3" + busy + " first 1 true <nil> first 2 true <nil> a true <nil> b true <nil>]"
		if got := fmt.Sprint(order); got != want {
			t.Errorf("order:\n got %s\nwant %s", got, want)
		}
		if h.Busy(others) != nil || h.Busy(first) != nil || h.inside[0].Load() != 0 || h.inside[1].Load() != 0 {
			t.Errorf("at the end: %d and %d calls inside, want none", h.inside[0].Load(), h.inside[1].Load())
		}
	})
}

// Garbage of finished hashes is collected before it exceeds its limit.
func TestGarbage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		garbage uint32
		want    uint32 // collections of 6 hashes of 1 MiB
	}{{0, 0}, {2048, 3}, {3000, 2}, {1, 6}} {
		h := newHasher(t, Config{Memory: 1024, Time: 1, Garbage: c.garbage})
		var collections uint32
		h.gc = func() { collections++ }
		for range 6 {
			hash(t, h, "right")
		}
		if collections != c.want {
			t.Errorf("Garbage %d: got %d collections, want %d", c.garbage, collections, c.want)
		}
	}
}

// A stored hash with more memory than Config counts as several.
func TestGateWeighs(t *testing.T) {
	t.Parallel()
	h := newHasher(t, Config{Memory: 64, Time: 1, Concurrent: 4})
	big := hash(t, newHasher(t, Config{Memory: 192, Time: 1}), "right") // counts as three
	if err := h.gate.Acquire(context.Background(), 2); err != nil {
		t.Fatal(err)
	}
	ended, end := context.WithCancel(context.Background())
	end()
	if ok, _, err := h.Verify(ended, big, "right"); ok || !errors.Is(err, context.Canceled) || h.Runs() != 0 {
		t.Errorf("with two places free of the three wanted: got %v %v after %d runs, want to wait", ok, err, h.Runs())
	}
	h.gate.Release(1)
	if ok, _, err := h.Verify(context.Background(), big, "right"); !ok || err != nil {
		t.Errorf("with three places free: got %v %v, want true", ok, err)
	}
	// A hash that counts more than Concurrent takes all places and runs.
	h.gate.Release(1)
	huge := hash(t, newHasher(t, Config{Memory: 1024, Time: 1}), "right")
	if ok, _ := verify(t, h, huge, "right"); !ok {
		t.Error("a hash of more than all places: got false, want true")
	}
}

func TestParallel(t *testing.T) {
	t.Parallel()
	h := newHasher(t, Config{Memory: 64, Time: 1, Concurrent: 2, Waiting: 200})
	phc := hash(t, h, "right")
	var all sync.WaitGroup
	for n := range 64 {
		all.Go(func() {
			password, want := "right", true
			if n%2 == 0 {
				password, want = "wrong", false
			}
			if ok, _, err := h.Verify(context.Background(), phc, password); ok != want || err != nil {
				t.Errorf("Verify(%q): got %v %v, want %v", password, ok, err, want)
			}
		})
	}
	all.Wait()
	if h.Runs() != 65 {
		t.Errorf("%d runs, want 65", h.Runs())
	}
}

// A hash that Parse accepts is within the limits and has one spelling but for the order of its
// parameters; any other error wraps ErrMalformed.
func FuzzParse(f *testing.F) {
	f.Add(good)
	f.Add(bcryptOf)
	f.Add("$argon2id$v=19$p=1,t=1,m=64" + goodTail)
	for _, c := range foreign {
		f.Add(c.hash)
	}
	for _, v := range vectors(f) {
		f.Add(v.PHC)
	}
	for _, phc := range malformed[:len(malformed)-1] {
		f.Add(phc)
	}
	f.Fuzz(func(t *testing.T, phc string) {
		s, err := Parse(phc)
		if err != nil {
			if !errors.Is(err, ErrMalformed) || !reflect.DeepEqual(s, Stored{}) {
				t.Fatalf("Parse(%q): got %+v %x %x %v", phc, s.params, s.salt, s.key, err)
			}
			return
		}
		if s.bcrypt != "" {
			if s.bcrypt != phc || s.Holds() != 72 || s.Memory() != 0 || s.Blank().Cost() != s.Cost() {
				t.Fatalf("Parse(%q): got %+v", phc, s)
			}
			return
		}
		if err := s.params.check(); err != nil || int(s.params.salt) != len(s.salt) || int(s.params.key) != len(s.key) {
			t.Fatalf("Parse(%q): got %+v, salt %x, key %x: %v", phc, s.params, s.salt, s.key, err)
		}
		// The parameters may have another order, and PBKDF2 another form; String writes one.
		pbkdf2 := len(algorithms[s.params.name].costs) == 1
		if got, err := Parse(s.String()); err != nil || !reflect.DeepEqual(got, s) || !pbkdf2 && len(s.String()) != len(phc) {
			t.Fatalf("Parse(%q): written again it is %q, %v", phc, s, err)
		}
	})
}

// Prepare never panics, returns valid text, and applied to its result returns the same.
func FuzzPrepare(f *testing.F) {
	f.Add("correct horse battery staple")
	f.Add("pa\u0308ssword")
	f.Add("two\u3000words")
	for _, password := range forbidden {
		f.Add(password[:min(len(password), 100)])
	}
	f.Fuzz(func(t *testing.T, password string) {
		secret, err := Prepare(password)
		if err != nil {
			if !errors.Is(err, ErrForbidden) || secret != nil {
				t.Fatalf("Prepare(%q): got %q %v", password, secret, err)
			}
			return
		}
		if len(secret) == 0 || len(secret) > 4*MaxPassword || bytes.ContainsAny(secret, "\x00\n\r\x7f") {
			t.Fatalf("Prepare(%q): got %q", password, secret)
		}
		if len(secret) > MaxPassword {
			return
		}
		if again, err := Prepare(string(secret)); err != nil || !bytes.Equal(again, secret) {
			t.Fatalf("Prepare(%q): got %q, and from that %q %v", password, secret, again, err)
		}
	})
}

// The ratio to the hash alone is the overhead of Verify.
func BenchmarkVerify(b *testing.B) {
	h := newHasher(b, Config{})
	phc := hash(b, h, "correct horse battery staple")
	salt := []byte("0123456789abcdef")
	b.Run("raw", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			argon2.IDKey([]byte("correct horse battery staple"), salt, 2, 19456, 1, 32)
		}
	})
	b.Run("verify", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if ok, _, err := h.Verify(context.Background(), phc, "correct horse battery staple"); !ok || err != nil {
				b.Fatal(ok, err)
			}
		}
	})
	b.Run("nobody", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if ok, _, err := h.Verify(context.Background(), "", "correct horse battery staple"); ok || err != nil {
				b.Fatal(ok, err)
			}
		}
	})
	for _, cost := range []string{"m=262144,t=1,p=1", "m=16384,t=16,p=1", "m=262144,t=1,p=16"} { // the costliest stored hashes
		b.Run(cost, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if ok, _, err := h.Verify(context.Background(), "$argon2id$v=19$"+cost+goodTail, "wrong"); ok || err != nil {
					b.Fatal(ok, err)
				}
			}
		})
	}
	b.Run("raw in parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				argon2.IDKey([]byte("correct horse battery staple"), salt, 2, 19456, 1, 32)
			}
		})
	})
	b.Run("verify in parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if ok, _, err := h.Verify(context.Background(), phc, "correct horse battery staple"); !ok || err != nil {
					b.Error(ok, err)
					return
				}
			}
		})
	})
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(good); err != nil {
			b.Fatal(err)
		}
	}
}

// Stored matches the same passwords as Verify, and its cost has one name.
func TestStored(t *testing.T) {
	t.Parallel()
	h := newHasher(t, cheap)
	phc := hash(t, h, "right")
	stored, err := Parse(phc)
	if err != nil {
		t.Fatal(err)
	}
	for _, password := range []string{"right", "wrong", "right "} {
		secret, err := Prepare(password)
		if err != nil {
			t.Fatal(err)
		}
		if ok, _ := verify(t, h, phc, password); stored.Matches(secret) != ok {
			t.Errorf("%q: Matches says %v, Verify %v", password, !ok, ok)
		}
	}
	costs := map[string]bool{stored.Cost(): true}
	if again, err := Parse(hash(t, h, "another")); err != nil || !costs[again.Cost()] || again.Memory() != 64 {
		t.Errorf("another hash of the same cost: %+v, %v", again, err)
	}
	for _, c := range []Config{{Memory: 128, Time: 1, Threads: 1}, {Memory: 64, Time: 2, Threads: 1}, {Memory: 64, Time: 1, Threads: 2}} {
		other, err := Parse(hash(t, newHasher(t, c), "right"))
		if err != nil || costs[other.Cost()] {
			t.Errorf("%+v: cost %q, %v", c, other.Cost(), err)
		}
		costs[other.Cost()] = true
	}
	for _, phc := range malformed {
		if stored, err := Parse(phc); !errors.Is(err, ErrMalformed) || stored.key != nil {
			t.Errorf("Parse(%.80q): got %+v, %v", phc, stored, err)
		}
	}
}

// The parameters may have any order: each names itself.
func TestOrder(t *testing.T) {
	t.Parallel()
	h := newHasher(t, cheap)
	phc := hash(t, h, "right")
	for _, order := range []string{"m=64,p=1,t=1", "t=1,m=64,p=1", "t=1,p=1,m=64", "p=1,m=64,t=1", "p=1,t=1,m=64"} {
		other := strings.Replace(phc, "m=64,t=1,p=1", order, 1)
		if ok, rehash := verify(t, h, other, "right"); !ok || rehash {
			t.Errorf("%s: got %v %v, want true false", order, ok, rehash)
		}
		if ok, _ := verify(t, h, other, "wrong"); ok {
			t.Errorf("%s, wrong password: got true, want false", order)
		}
		if s, err := Parse(other); err != nil || s.String() != phc {
			t.Errorf("%s: written again it is %q, %v, want %q", order, s, err, phc)
		}
	}
}

// A hash of bcrypt is checked, never for a password that it would cut, and always replaced.
func TestBcrypt(t *testing.T) {
	t.Parallel()
	h := newHasher(t, cheap)
	long, err := bcrypt.GenerateFromPassword([]byte(strings.Repeat("a", 72)), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	stand, err := bcrypt.GenerateFromPassword(dummySecret, bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, hash, password string
		want                 bool
	}{
		{"$2y$: true", bcryptOf, "correct horse battery staple", true},
		{"$2a$: true", strings.Replace(bcryptOf, "$2y$", "$2a$", 1), "correct horse battery staple", true},
		{"$2b$: true", strings.Replace(bcryptOf, "$2y$", "$2b$", 1), "correct horse battery staple", true},
		{"wrong password: false", bcryptOf, "correct horse battery stapl", false},
		{"72 bytes: true", string(long), strings.Repeat("a", 72), true},
		{"73 bytes, which bcrypt would cut: false", string(long), strings.Repeat("a", 73), false},
		{"a megabyte: false", string(long), strings.Repeat("a", 1<<20), false},
		{"NUL, the hash of the stand-in: false", string(stand), "pass\x00word", false},
		{"73 bytes, the hash of the stand-in: false", string(stand), strings.Repeat("a", 73), false},
	} {
		before := h.Runs()
		if ok, rehash := verify(t, h, c.hash, c.password); ok != c.want || rehash != c.want || h.Runs() != before+1 {
			t.Errorf("%s: got %v %v after %d runs, want %v and a new hash after 1", c.name, ok, rehash, h.Runs()-before, c.want)
		}
	}
}

// foreign are hashes by other programs: Python's hashlib, the reference implementation of argon2, the
// documentation of Firebase.
var foreign = []struct{ hash, password string }{
	{"$argon2i$v=19$m=4096,t=4,p=4$c29tZXNhbHQ$oR97fz+T8CrUvdtZq2LRIeJ4NpKIoNDn", "password"},
	{"$scrypt$ln=10,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg$7AnzIswxwEinpwz+ntydndYfVHPvOACmX9Vvo8hO1qM", horse},
	{"$scrypt$p=2,ln=6,r=1$MDEyMzQ1Njc4OWFiY2RlZg$G/Gi4v4u18RNorDnAbKettLAcJNqAP0kJkSk0xQetYVVduNhkAfJ6y+/ie4F/5hYVylku0fc6OzsmmAK36SJEg", horse},
	{"$scrypt$ln=14,r=8,p=1$U29kaXVtQ2hsb3JpZGU$cCO9yzr9c0hGHAbNgf046/2o+7qQT44+qbVD9lRdofLVQylVYT8Pz2LUlwUkKpr55h6F3A1lHkDfzwF7RVdYhw", "pleaseletmein"}, // RFC 7914 s12
	{"$pbkdf2-sha256$i=1000$MDEyMzQ1Njc4OWFiY2RlZg$yqSq2SygY1sB4EcH9f2FG0JTMES+wqLsOT5YmiRBplI", horse},
	{"$pbkdf2-sha256$i=1000,l=64$MDEyMzQ1Njc4OWFiY2RlZg$yqSq2SygY1sB4EcH9f2FG0JTMES+wqLsOT5YmiRBplLYbawB4lwjdPCI3Ns1d3pRT9/+PGa1sFXN8qwjZx9S8g", horse},
	{"$pbkdf2-sha256$1000$MDEyMzQ1Njc4OWFiY2RlZg$yqSq2SygY1sB4EcH9f2FG0JTMES.wqLsOT5YmiRBplI", horse},
	{"$pbkdf2-sha512$i=1000$MDEyMzQ1Njc4OWFiY2RlZg$5bTW2oeyDJyGJPcmEr+mRDE11ghpozWrDGnSNhRXo2ZCu0KHRDiUMAVEGzLJC+oDhRoeIja9J1iLIv9ptDJMfQ", horse},
	{firebaseOf, "user1password"},
}

const horse = "correct horse battery staple"

// A hash of every algorithm matches its password and no other, and is replaced.
func TestForeign(t *testing.T) {
	t.Parallel()
	h := newHasher(t, cheap)
	costs := make(map[string]bool)
	for _, c := range foreign {
		before := h.Runs()
		if ok, rehash := verify(t, h, c.hash, c.password); !ok || !rehash {
			t.Errorf("%.20s, its password: got %v %v, want true true", c.hash, ok, rehash)
		}
		for _, wrong := range []string{c.password + " ", c.password[1:], "pass\x00word", strings.Repeat("a", 1<<20)} {
			if ok, rehash := verify(t, h, c.hash, wrong); ok || rehash {
				t.Errorf("%.20s, password %.20q: got %v %v, want false false", c.hash, wrong, ok, rehash)
			}
		}
		if n := h.Runs() - before; n != 5 {
			t.Errorf("%.20s: %d hashes for 5 passwords", c.hash, n)
		}
		s, err := Parse(c.hash)
		if err != nil {
			t.Fatal(err)
		}
		costs[s.Cost()] = true
		blank, err := Parse(s.Blank().String())
		if err != nil || blank.Cost() != s.Cost() || blank.Pattern() != s.Pattern() || blank.Matches([]byte(c.password)) ||
			strings.Contains(blank.String(), c.hash[len(c.hash)-10:]) {
			t.Errorf("%.20s: its blank is %q, %v", c.hash, blank, err)
		}
		if like := strings.TrimSuffix(s.Pattern(), "%"); !strings.HasPrefix(s.String(), like) || strings.ContainsAny(like, "_%") {
			t.Errorf("%.20s: pattern %q", c.hash, s.Pattern())
		}
	}
	if len(costs) != len(foreign)-1 { // one is there in two forms
		t.Errorf("%d costs, want %d: %v", len(costs), len(foreign)-1, costs)
	}
}

// The parts of a hash of Firebase make the hash that Parse reads.
func TestFirebase(t *testing.T) {
	t.Parallel()
	s, err := Parse(firebaseOf)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Firebase(14, 8, s.separator, s.signer, s.salt, s.key)
	if err != nil || got.String() != firebaseOf || !got.Matches([]byte("user1password")) {
		t.Errorf("got %s, %v", got, err)
	}
	for name, make := range map[string]func() (Stored, error){
		"cost":       func() (Stored, error) { return Firebase(19, 8, s.separator, s.signer, s.salt, s.key) },
		"signer key": func() (Stored, error) { return Firebase(14, 8, s.separator, s.signer[1:], s.salt, s.key) },
		"salt":       func() (Stored, error) { return Firebase(14, 8, s.separator, s.signer, s.salt[:7], s.key) },
	} {
		if got, err := make(); !errors.Is(err, ErrMalformed) || !reflect.DeepEqual(got, Stored{}) {
			t.Errorf("another %s: got %v, %v, want ErrMalformed", name, got, err)
		}
	}
}

// While hashes of another product are stored, every check does the work of all costs.
func TestImported(t *testing.T) {
	t.Parallel()
	h := newHasher(t, cheap)
	own := hash(t, h, "right")
	foreign := hash(t, newHasher(t, Config{Memory: 128, Time: 1}), "right")
	parse := func(text string) Stored {
		s, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	set := func(hashes ...string) {
		var all []Stored
		for _, text := range hashes {
			all = append(all, parse(text))
		}
		h.SetImported(all)
	}
	costs := func(phc string) (all []string) {
		s := Stored{params: h.params, salt: dummySalt} // an unknown user
		if phc != "" {
			s = parse(phc)
		}
		others, memory := h.besides(s)
		most := s.Memory()
		for _, o := range append(others, s) {
			all, most = append(all, o.Cost()), max(most, o.Memory())
		}
		if memory != most {
			t.Errorf("%q: memory is %d, want %d", phc, memory, most)
		}
		slices.Sort(all)
		return all
	}
	set(bcryptOf, foreign, own, strings.Replace(bcryptOf, "$2y$", "$2a$", 1))
	want := []string{parse(foreign).Cost(), parse(own).Cost(), parse(bcryptOf).Cost()}
	slices.Sort(want)
	for name, phc := range map[string]string{"unknown": "", "own": own, "argon2id of another cost": foreign, "bcrypt": bcryptOf} {
		if got := costs(phc); !slices.Equal(got, want) {
			t.Errorf("%s: costs %q, want %q", name, got, want)
		}
		for _, password := range []string{"right", "wrong", "pass\x00word", strings.Repeat("a", 100)} {
			before := h.Runs()
			_, _, err := h.Verify(context.Background(), phc, password)
			if runs := h.Runs() - before; runs != 3 || err != nil {
				t.Errorf("%s with %.10q: %d hashes, %v, want 3", name, password, runs, err)
			}
		}
	}
	if ok, rehash := verify(t, h, foreign, "right"); !ok || !rehash {
		t.Errorf("argon2id of another cost: got %v %v, want true true", ok, rehash)
	}
	if ok, rehash := verify(t, h, own, "right"); !ok || rehash {
		t.Errorf("own: got %v %v, want true false", ok, rehash)
	}
	// Blank hashes keep the cost and nothing else.
	for _, text := range []string{own, foreign, bcryptOf} {
		s := parse(text)
		blank := s.Blank().String()
		if got := parse(blank); got.Cost() != s.Cost() || strings.Contains(blank, text[len(text)-10:]) || got.Matches([]byte("right")) {
			t.Errorf("Blank of %q: got %q", text, blank)
		}
	}
	set()
	before := h.Runs()
	if verify(t, h, own, "right"); h.Runs() != before+1 {
		t.Errorf("none imported any more: %d hashes, want 1", h.Runs()-before)
	}
}

// Other work counts by its memory too.
func TestDo(t *testing.T) {
	t.Parallel()
	h := newHasher(t, Config{Memory: 64, Time: 1, Concurrent: 4, Waiting: 1})
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for _, c := range []struct {
		memory uint32
		leaves int64
	}{{0, 3}, {1, 3}, {64, 3}, {65, 2}, {256, 0}, {1 << 20, 0}} {
		ran := false
		err := h.Do(context.Background(), c.memory, func() {
			ran = true
			if !h.gate.TryAcquire(c.leaves) {
				t.Errorf("%d KiB leave fewer than %d turns", c.memory, c.leaves)
				return
			}
			defer h.gate.Release(c.leaves)
			if h.gate.TryAcquire(1) {
				t.Errorf("%d KiB leave more than %d turns", c.memory, c.leaves)
				h.gate.Release(1)
			}
		})
		if !ran || err != nil {
			t.Errorf("%d KiB: ran %v, %v", c.memory, ran, err)
		}
	}
	if err := h.Do(ended, 0, func() { t.Error("ran for a request that had ended") }); !errors.Is(err, context.Canceled) {
		t.Errorf("a request that had ended: %v", err)
	}
	if h.Full() {
		t.Error("Full before a call was refused: got true, want false")
	}
	h.inside[0].Add(h.most)
	if err := h.Do(context.Background(), 0, func() { t.Error("ran though the queue was full") }); !errors.Is(err, ErrBusy) {
		t.Errorf("a full queue: %v", err)
	}
	if !h.Full() {
		t.Error("Full after a call was refused: got false, want true")
	}
	h.refused.Store(new(time.Now().Add(-10 * time.Second)))
	if h.Full() {
		t.Error("Full ten seconds later: got true, want false")
	}
}
