package durward

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	rfc7616 "github.com/durward-auth/durward/internal/digest"
)

// DigestConfig is what the [Digest] scheme is made of. Only HA1 is required.
type DigestConfig struct {
	// HA1 returns what is stored of a user for a realm and an algorithm, as [HA1]
	// makes it, and who that is. Whoever has it can sign in: it is a secret like
	// the password itself. An error that wraps [InvalidCredentials] says that
	// nobody has the name; the same work is done then. Any other error refuses or
	// is an outage, as a scheme's. The context is the request's.
	//
	// It is asked before the response is judged. What only the right password may
	// learn, such as that the account is locked, is for Policy.Allow to say.
	HA1 func(ctx context.Context, claim DigestClaim) (ha1 []byte, p *Principal, err error)

	// Judged, if set, is told of each response whether it was right, so that
	// wrong ones can be counted; HA1 then refuses with [TooManyAttempts].
	Judged func(ctx context.Context, claim DigestClaim, right bool)

	// SHA512256 offers SHA-512-256 (FIPS 180-4) after SHA-256. Few clients compute
	// it rightly.
	SHA512256 bool

	// InsecureMD5 offers MD5 last, for clients that know nothing else.
	InsecureMD5 bool

	// Sess offers the -sess variant of each algorithm in place of the plain one.
	Sess bool

	// QOP is the offered qualities of protection: "auth", "auth-int", or both.
	// Default: "auth". With auth-int the body of a request is read before its
	// handler runs, and what does not fit in MaxBody is 413.
	QOP []string

	// MaxBody is how many octets of a body are read for auth-int; 0 is 64 KiB.
	MaxBody int64

	// UserHash tells clients that they may hide the name (RFC 7616 s3.4.4). HA1
	// must then find users by DigestClaim.UserHash.
	UserHash bool

	// NonceLife is how long a nonce is good for; 0 is 5 minutes. Many clients give
	// up at a stale nonce, so it is not to be short.
	NonceLife time.Duration

	// Key, of at least 32 octets, seals nonces. Nil draws one at random, and nonces
	// of an earlier start are then unknown. Guards that share a key take each
	// other's nonces but do not know of each other's counts.
	Key []byte

	// MaxNonces bounds how many nonces have their counts remembered; 0 is 10,000.
	// Past that the oldest are stale before their time. Only right responses take
	// a place.
	MaxNonces int
}

// DigestClaim is who a Digest response says it is from. The client chose User
// and UserHash.
type DigestClaim struct {
	User      string // the name, in UTF-8; empty where UserHash stands for it
	UserHash  string // lower-case hex of the hash of user ":" realm, or empty
	Realm     string // the guard's own
	Algorithm string // what HA1 is wanted by: "SHA-256", "SHA-512-256" or "MD5"
}

// HA1 returns the hash of user ":" realm ":" password (RFC 7616 s3.4.2) by
// "SHA-256", "SHA-512-256" or "MD5": what a server stores for [Digest]. A user
// name with a colon in it is an error, since it would be another's.
func HA1(algorithm, user, realm, password string) ([]byte, error) {
	return rfc7616.HA1(algorithm, user, realm, password)
}

// UserHash returns the hash by which a client may hide a user's name (RFC 7616
// s3.4.4), as it stands in a [DigestClaim].
func UserHash(algorithm, user, realm string) (string, error) {
	return rfc7616.UserHash(algorithm, user, realm)
}

// Digest returns the scheme of RFC 7616. SHA-256 is always offered; MD5 and
// SHA-512-256 where the configuration asks for them, after it.
//
// Nonces are sealed, not stored: they say when and for which realm they were
// made. A count of a nonce is taken once; counts may come out of order by up to
// 127. Answers to right responses carry Authentication-Info.
func Digest(c DigestConfig) Scheme {
	d := &digest{c: c}
	if d.c.QOP == nil {
		d.c.QOP = []string{"auth"}
	}
	if d.c.MaxBody == 0 {
		d.c.MaxBody = 64 << 10
	}
	if d.c.NonceLife == 0 {
		d.c.NonceLife = 5 * time.Minute
	}
	if d.c.MaxNonces == 0 {
		d.c.MaxNonces = 10_000
	}
	// Strongest first (RFC 7616 s3.7); MD5 last.
	d.offered = []rfc7616.Algorithm{rfc7616.Named("SHA-256")}
	if c.SHA512256 {
		d.offered = append(d.offered, rfc7616.Named("SHA-512-256"))
	}
	if c.InsecureMD5 {
		d.offered = append(d.offered, rfc7616.Named("MD5"))
	}
	d.nonces = newNonces("digest nonce", c.Key)
	d.counts.most = d.c.MaxNonces
	return d
}

type digest struct {
	c       DigestConfig // with defaults filled in
	offered []rfc7616.Algorithm
	nonces  *nonces
	counts  nonceCounts
}

func (d *digest) mistakes() (all []string) {
	mistake := func(format string, args ...any) { all = append(all, fmt.Sprintf("Digest: "+format, args...)) }
	if d.c.HA1 == nil {
		mistake("HA1 is nil: it needs a function that finds what is stored of a user")
	}
	for i, q := range d.c.QOP {
		if q != "auth" && q != "auth-int" || slices.Contains(d.c.QOP[:i], q) {
			mistake("QOP %q: only auth and auth-int, each once", q)
		}
	}
	if len(d.c.QOP) == 0 {
		mistake("QOP is empty: without one nothing protects against replay")
	}
	if why := weakNonceKey(d.c.Key); why != "" {
		mistake("%s", why)
	}
	if d.c.NonceLife < 0 || d.c.MaxBody < 0 || d.c.MaxNonces < 0 {
		mistake("NonceLife, MaxBody and MaxNonces may not be negative")
	}
	return all
}

func (*digest) Presented(r *http.Request) (found, ambient bool) { return presents(r, "Digest"), false }

// Challenges returns one challenge for each algorithm, all with the same nonce
// (RFC 7616 s3.7).
func (d *digest) Challenges(r *http.Request, code Code) (all []Challenge) {
	g := stateOf(r.Context()).guard
	nonce := d.nonces.seal(g.c.Realm, g.c.Now())
	all = make([]Challenge, 0, len(d.offered))
	for _, a := range d.offered {
		name := a.Name
		if d.c.Sess {
			name += "-sess"
		}
		params := make([]Param, 0, 6)
		params = append(params, Param{"qop", strings.Join(d.c.QOP, ", ")}, Param{"algorithm", name}, Param{"nonce", nonce})
		if code == StaleNonce {
			params = append(params, Param{"stale", "true"})
		}
		params = append(params, Param{"charset", "UTF-8"})
		if d.c.UserHash {
			params = append(params, Param{"userhash", "true"})
		}
		all = append(all, Challenge{Scheme: "Digest", Params: params})
	}
	return all
}

// Authenticate judges a response (RFC 7616 s3.4). Nothing of the body is read
// unless its nonce is one of ours.
func (d *digest) Authenticate(r *http.Request) (*Principal, error) {
	v := stateOf(r.Context())
	realm, now := v.guard.c.Realm, v.guard.c.Now()
	a, err := readDigestAnswer(v.credentials.Params, v.quoted)
	if err != nil {
		return nil, err
	}
	if !sameTarget(a.URI, r, v.route.proxy) { // RFC 7616 s3.4.6
		return nil, &Refusal{Code: InvalidRequest, Detail: "The uri of the Digest response is not the target of the request.",
			Hint: "Make the response for the request line that is sent, with its query.", Err: errors.New("Digest: uri is not the request target")}
	}
	algorithm, ok := d.algorithm(a.algorithm)
	switch {
	case !ok:
		return nil, unfit("The Digest response is made with an algorithm that was not offered.", "algorithm %q was not offered", a.algorithm)
	case a.QOP == "":
		return nil, unfit("The Digest response has no qop.", "no qop: the form of RFC 2069")
	case !slices.Contains(d.c.QOP, a.QOP):
		return nil, unfit("The Digest response has a qop that was not offered.", "qop %q was not offered", a.QOP)
	case a.userHash && !d.c.UserHash:
		return nil, unfit("The Digest response hides the user name, which was not offered.", "userhash was not offered")
	case a.realm != realm:
		return nil, fmt.Errorf("Digest: the realm is not ours: %w", InvalidCredentials)
	}
	nonce, ok := d.nonces.open(a.Nonce, realm)
	if !ok {
		return nil, fmt.Errorf("Digest: the nonce is not one that was made here for this realm: %w", InvalidCredentials)
	}

	claim := DigestClaim{User: a.user, Realm: realm, Algorithm: algorithm.Name}
	if a.userHash {
		claim.User, claim.UserHash = "", a.user
	}
	ha1, p, err := d.c.HA1(r.Context(), claim)
	unknown := errors.Is(err, InvalidCredentials)
	switch {
	case unknown:
		// The same work for a name that nobody has: no secret gives this hash.
		ha1, _ = rfc7616.Hash(algorithm.Name, a.Nonce)
	case err != nil:
		return nil, err
	case p == nil:
		return nil, errors.New("Digest: HA1 returned neither a principal nor an error")
	case len(ha1) != algorithm.Size:
		return nil, fmt.Errorf("Digest: HA1 returned %d octets for %s, which has %d", len(ha1), algorithm.Name, algorithm.Size)
	}
	var body []byte
	if a.QOP == "auth-int" {
		if body, err = d.readBody(r); err != nil {
			return nil, err
		}
		body = algorithm.AppendHex(nil, body)
	}
	var room [64]byte
	secret := rfc7616.AppendSecret(room[:0], algorithm, d.c.Sess, ha1, a.Nonce, a.CNonce)
	var want [64]byte
	right := subtle.ConstantTimeCompare(a.AppendResponse(want[:0], algorithm, secret, r.Method, body), []byte(a.response)) == 1 && !unknown
	if d.c.Judged != nil {
		d.c.Judged(r.Context(), claim, right)
	}
	if !right {
		why := "wrong response"
		if unknown {
			why = "no such user"
		}
		return nil, fmt.Errorf("Digest: %s: %w", why, InvalidCredentials)
	}

	// RFC 7616 s3.3: stale is for a response that is right but for its nonce.
	age := now.Sub(nonce.made())
	if age > d.c.NonceLife {
		return nil, fmt.Errorf("Digest: the nonce is %s old, it was good for %s: %w", age.Truncate(time.Second), d.c.NonceLife, StaleNonce)
	}
	if why := d.counts.take(nonce, a.count, now.Add(-d.c.NonceLife)); why != "" {
		return nil, fmt.Errorf("Digest: %s: %w", why, StaleNonce)
	}
	v.authInfo = d.authInfo(v, a, algorithm, secret, age > d.c.NonceLife/2)
	return p.as("Digest"), nil
}

// unfit refuses a response that a client made in a way that cannot be judged.
func unfit(detail, format string, args ...any) error {
	return &Refusal{Code: MalformedCredentials, Detail: detail, Hint: "Answer the challenge in WWW-Authenticate as RFC 7616 s3.4 says.",
		Err: fmt.Errorf("Digest: "+format, args...)}
}

// algorithm returns what a response was made with, if it was offered. A response
// that names none was made with MD5 (RFC 7616 s3.4).
func (d *digest) algorithm(name string) (a rfc7616.Algorithm, ok bool) {
	a, sess := rfc7616.Parse(name)
	return a, sess == d.c.Sess && slices.Contains(d.offered, a)
}

// sameTarget reports whether uri is the target of the request, octet by octet.
// Clients of a proxy name the origin form of the absolute target.
func sameTarget(uri string, r *http.Request, proxy bool) bool {
	return uri == r.RequestURI || proxy && r.Method != http.MethodConnect && uri == r.URL.RequestURI()
}

// readBody reads the body of a request and puts it back for the handler.
func (d *digest) readBody(r *http.Request) ([]byte, error) {
	tooLarge := &Refusal{Code: BodyTooLarge, Hint: fmt.Sprintf("Send at most %d octets, or answer with qop=auth.", d.c.MaxBody),
		Err: fmt.Errorf("Digest auth-int: a body of more than %d octets", d.c.MaxBody)}
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	if r.ContentLength > d.c.MaxBody {
		return nil, tooLarge
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, d.c.MaxBody+1))
	switch {
	case err != nil:
		return nil, &Refusal{Code: InvalidRequest, Detail: "The body of the request could not be read to its end.", Err: fmt.Errorf("Digest auth-int: %w", err)}
	case int64(len(body)) > d.c.MaxBody:
		return nil, tooLarge
	}
	r.Body = readAgain{bytes.NewReader(body), r.Body}
	return body, nil
}

// readAgain is a body that was read, to be read by the handler.
type readAgain struct {
	io.Reader
	io.Closer
}

// authInfo returns the value of Authentication-Info (RFC 7616 s3.5). The response
// is never read here, so its quality is auth whatever the request's.
func (d *digest) authInfo(v *requestState, a digestAnswer, algorithm rfc7616.Algorithm, secret []byte, next bool) string {
	a.QOP = "auth"
	var room [64]byte
	params := make([]Param, 0, 5)
	if next {
		params = append(params, Param{"nextnonce", d.nonces.seal(v.guard.c.Realm, v.guard.c.Now())})
	}
	params = append(params, Param{"qop", a.QOP}, Param{"rspauth", string(a.AppendResponse(room[:0], algorithm, secret, "", nil))},
		Param{"cnonce", a.CNonce}, Param{"nc", a.NC})
	return string(appendParams(make([]byte, 0, 192), params, authInfoTokens))
}

// digestAnswer is the credentials of Digest taken apart (RFC 7616 s3.4).
type digestAnswer struct {
	rfc7616.Parts
	user      string // or its hash
	userHash  bool
	realm     string
	response  string
	algorithm string
	count     uint32 // NC
}

// maxDigestParams is far more than any client sends.
const maxDigestParams = 32

// mustQuote and mustNotQuote are the forms of RFC 7616 s3.4. It wants qop and
// algorithm unquoted too, but widely used clients quote them.
var (
	mustQuote    = []string{"username", "realm", "nonce", "uri", "response", "cnonce", "opaque"}
	mustNotQuote = []string{"nc", "userhash", "username*"}
)

// readDigestAnswer takes credentials apart. Doubled and wrongly quoted parameters
// are 400; what is missing or of the wrong form is 401.
func readDigestAnswer(params []Param, quoted quotes) (a digestAnswer, err error) {
	bad := func(detail, format string, args ...any) (digestAnswer, error) {
		return digestAnswer{}, &Refusal{Code: InvalidRequest, Detail: detail, Hint: "See RFC 7616 s3.4 for the form of the credentials.",
			Err: fmt.Errorf("Digest: "+format, args...)}
	}
	if len(params) == 0 {
		return a, fmt.Errorf("Digest without parameters: %w", MalformedCredentials)
	}
	if len(params) > maxDigestParams {
		return bad("The Digest credentials have too many parameters.", "%d parameters, at most %d are read", len(params), maxDigestParams)
	}
	var extended string
	var hashed string
	octets := 0
	for i, p := range params {
		name := strings.ToLower(p.Name)
		if octets += len(p.Name) + len(p.Value); octets > maxToken {
			return digestAnswer{}, fmt.Errorf("Digest credentials of more than %d octets: %w", maxToken, MalformedCredentials)
		}
		if named(params[:i], name) {
			return bad("A parameter of the Digest credentials is there twice.", "parameter %d is there twice", i)
		}
		if slices.Contains(mustQuote, name) && !quoted.has(i) || slices.Contains(mustNotQuote, name) && quoted.has(i) {
			return bad("A parameter of the Digest credentials is quoted where it may not be, or not quoted where it must be.", "%s is wrongly quoted", name)
		}
		switch name {
		case "username":
			a.user = p.Value
		case "username*":
			extended = p.Value
		case "userhash":
			hashed = p.Value
		case "realm":
			a.realm = p.Value
		case "nonce":
			a.Nonce = p.Value
		case "uri":
			a.URI = p.Value
		case "response":
			a.response = p.Value
		case "algorithm":
			a.algorithm = p.Value
		case "cnonce":
			a.CNonce = p.Value
		case "qop":
			a.QOP = strings.ToLower(p.Value)
		case "nc":
			a.NC = p.Value
		}
	}
	a.userHash = strings.EqualFold(hashed, "true")
	switch {
	case extended != "" && a.user != "":
		return bad("The Digest credentials have both username and username*.", "username and username*") // RFC 7616 s3.4
	case extended != "" && a.userHash:
		return bad("The Digest credentials have userhash and username*.", "userhash with username*") // RFC 7616 s3.4.4
	case extended != "":
		if a.user = rfc7616.DecodeName(extended); a.user == "" {
			return bad("The username* of the Digest credentials cannot be read.", "username* is not UTF-8 by RFC 8187")
		}
	case !utf8.ValidString(a.user):
		return digestAnswer{}, unfit("The user name is not in UTF-8.", "username is not UTF-8")
	}
	if a.userHash {
		a.user = strings.ToLower(a.user)
	}
	for _, f := range [...]struct{ name, value string }{{"username", a.user}, {"nonce", a.Nonce}, {"uri", a.URI}, {"response", a.response}} {
		if f.value == "" {
			return digestAnswer{}, unfit("The Digest credentials lack the parameter "+f.name+".", "no %s", f.name)
		}
	}
	if a.QOP == "" {
		return a, nil // which is judged with the other things that were not offered
	}
	count, err := hex.DecodeString(a.NC) // RFC 7616 s3.4: 8LHEX
	if err != nil || len(count) != 4 || a.CNonce == "" {
		return digestAnswer{}, unfit("The Digest credentials lack nc or cnonce, or nc is not eight hex digits.", "nc or cnonce is not of its form")
	}
	a.count = binary.BigEndian.Uint32(count)
	return a, nil
}

// named reports whether one of params has this name, a token, in whatever case.
func named(params []Param, name string) bool {
	for _, p := range params {
		if len(p.Name) == len(name) && strings.EqualFold(p.Name, name) {
			return true
		}
	}
	return false
}

// nonceCounts remembers which counts of which nonces were taken, in bounded
// memory.
type nonceCounts struct {
	most int

	mu    sync.Mutex
	taken map[nonceID]*window
	floor time.Time // nonces made until then and not in taken are stale
}

// window is the counts taken of one nonce: the highest, and which of the 127
// below it.
type window struct {
	highest uint32
	below   [2]uint64 // bit i is highest-i
}

// take takes a count of a nonce, once. It says why it may not be taken, or "".
// Nonces made before gone are past their life.
func (c *nonceCounts) take(id nonceID, count uint32, gone time.Time) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if count == 0 {
		return "the count is 0" // RFC 7616 s3.4: the first is 1
	}
	w := c.taken[id]
	if w == nil {
		if !id.made().After(c.floor) {
			return "the counts of this nonce are no longer known"
		}
		if c.taken == nil {
			c.taken = make(map[nonceID]*window)
		}
		if len(c.taken) >= c.most {
			c.shrink(gone)
			if !id.made().After(c.floor) {
				return "the counts of this nonce are no longer known"
			}
		}
		c.taken[id] = &window{highest: count, below: [2]uint64{1, 0}}
		return ""
	}
	if count > w.highest {
		w.shift(count - w.highest)
		w.highest = count
		return ""
	}
	back := w.highest - count
	switch {
	case back >= 128:
		return fmt.Sprintf("count %d is too far behind %d", count, w.highest)
	case w.below[back/64]&(1<<(back%64)) != 0:
		return fmt.Sprintf("count %d of this nonce was used before", count)
	}
	w.below[back/64] |= 1 << (back % 64)
	return ""
}

// shift moves the window up and marks its new highest count.
func (w *window) shift(by uint32) {
	switch {
	case by >= 128:
		w.below = [2]uint64{}
	case by >= 64:
		w.below = [2]uint64{0, w.below[0] << (by - 64)}
	default:
		w.below = [2]uint64{w.below[0] << by, w.below[1]<<by | w.below[0]>>(64-by)}
	}
	w.below[0] |= 1
}

// shrink forgets nonces that are past their life, and where that is not enough
// the older half, which is stale from then on.
func (c *nonceCounts) shrink(gone time.Time) {
	times := make([]time.Time, 0, len(c.taken))
	for id := range c.taken {
		times = append(times, id.made())
	}
	slices.SortFunc(times, time.Time.Compare)
	c.floor = later(c.floor, gone.Add(-time.Millisecond))
	if left := len(times) - len(times[:upTo(times, c.floor)]); left > c.most/2 {
		c.floor = later(c.floor, times[len(times)/2])
	}
	for id := range c.taken {
		if !id.made().After(c.floor) {
			delete(c.taken, id)
		}
	}
}

// upTo is how many of sorted times are not after t.
func upTo(times []time.Time, t time.Time) int {
	n, _ := slices.BinarySearchFunc(times, t, func(a, b time.Time) int {
		if a.After(b) {
			return 1
		}
		return -1
	})
	return n
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
