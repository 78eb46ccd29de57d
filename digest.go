package durward

import (
	"bytes"
	"cmp"
	"context"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	rfc7616 "github.com/durward-auth/durward/internal/digest"
)

// DigestConfig is the configuration of the [Digest] scheme. Only HA1 is required.
type DigestConfig struct {
	// HA1 returns the stored hash of a user for a realm and an algorithm, as the function [HA1]
	// computes it, and the user's principal. The hash is sufficient to sign in: protect it like a
	// password. For an unknown user it returns an error that wraps [InvalidCredentials]; the guard
	// then performs the same work as for a known one. A user without a hash of the algorithm's length
	// is refused in the same way. Any other error refuses or is an outage, as for a scheme. The
	// context is the request's.
	//
	// HA1 is called before the response is verified. Use Policy.Allow for conditions that only a
	// client with the correct password may learn, such as that the account is locked.
	HA1 func(ctx context.Context, claim DigestClaim) (ha1 []byte, p *Principal, err error)

	// Judged, if it is set, is called with the result of each verification, so that wrong responses
	// can be counted; HA1 then refuses with [TooManyAttempts].
	Judged func(ctx context.Context, claim DigestClaim, right bool)

	// SHA512256 offers SHA-512-256 (FIPS 180-4) after SHA-256. Few clients compute it correctly.
	SHA512256 bool

	// InsecureMD5 offers MD5 last, for clients that support nothing else.
	InsecureMD5 bool

	// Sess offers the -sess variant of each algorithm instead of the plain one.
	Sess bool

	// QOP lists the offered qualities of protection: "auth", "auth-int", or both. The default is
	// "auth". With auth-int the body of a request is read before its handler runs, and a body
	// longer than MaxBody is 413.
	QOP []string

	// MaxBody is the maximum length of a body for auth-int, in octets; the default is 64 KiB.
	MaxBody int64

	// UserHash permits clients to hide the user name (RFC 7616 s3.4.4). HA1 must then find users by
	// DigestClaim.UserHash.
	UserHash bool

	// NonceLife is the lifetime of a nonce; the default is 5 minutes. Do not make it short: many
	// clients do not react to a stale nonce.
	NonceLife time.Duration

	// Key is the key of at least 32 octets that authenticates nonces. If it is nil, a random key is
	// used, and nonces from before a restart are unknown. Guards with the same key accept each
	// other's nonces but do not share their counts.
	Key []byte

	// MaxNonces limits the nonces with counts in memory; the default is 10,000.
	// Above it, the oldest nonces become stale early. Only correct responses occupy an entry.
	MaxNonces int
}

// DigestClaim is the user that a Digest response claims to come from. The client controls User and
// UserHash.
type DigestClaim struct {
	User      string // user name, in UTF-8; empty if UserHash is set
	UserHash  string // lower-case hex of the hash of user ":" realm, or empty
	Realm     string // the guard's realm
	Algorithm string // algorithm of the requested HA1: "SHA-256", "SHA-512-256" or "MD5"
}

// HA1 returns the hash of user ":" realm ":" password (RFC 7616 s3.4.2) that a server stores for
// [Digest]. algorithm is "SHA-256", "SHA-512-256" or "MD5". A user name with a colon is an error,
// because its hash could equal that of another user.
func HA1(algorithm, user, realm, password string) ([]byte, error) {
	return rfc7616.HA1(algorithm, user, realm, password)
}

// UserHash returns the hash by which a client may hide a user's name (RFC 7616 s3.4.4), as in
// [DigestClaim].
func UserHash(algorithm, user, realm string) (string, error) {
	return rfc7616.UserHash(algorithm, user, realm)
}

// Digest returns the scheme of RFC 7616. SHA-256 is always offered first; MD5 and SHA-512-256 only
// if they are configured.
//
// Nonces are not stored: they contain their time and realm under a MAC. Each count of a nonce is
// accepted once; counts may arrive out of order by up to 127. Responses to correct credentials have
// an Authentication-Info field.
func Digest(c DigestConfig) Scheme {
	d := &digest{c: c}
	if d.c.QOP == nil {
		d.c.QOP = []string{"auth"}
	}
	d.c.MaxBody = cmp.Or(d.c.MaxBody, 64<<10)
	d.c.NonceLife = cmp.Or(d.c.NonceLife, 5*time.Minute)
	d.c.MaxNonces = cmp.Or(d.c.MaxNonces, 10_000)
	// Strongest first (RFC 7616 s3.7); MD5 last.
	d.offered = []rfc7616.Algorithm{rfc7616.Named("SHA-256")}
	if c.SHA512256 {
		d.offered = append(d.offered, rfc7616.Named("SHA-512-256"))
	}
	if c.InsecureMD5 {
		d.offered = append(d.offered, rfc7616.Named("MD5"))
	}
	d.nonces = &nonces{"digest nonce", newKeyedHash(c.Key)}
	d.counts.most, d.counts.taken = d.c.MaxNonces, make(map[nonceID]*window)
	return d
}

type digest struct {
	c       DigestConfig // with defaults filled in
	offered []rfc7616.Algorithm
	nonces  *nonces
	counts  nonceCounts
}

func (d *digest) mistakes(report func(string, ...any)) {
	if d.c.HA1 == nil {
		report("Digest: HA1 is nil: pass a function that returns the stored hash of a user")
	}
	for i, q := range d.c.QOP {
		if q != "auth" && q != "auth-int" || slices.Contains(d.c.QOP[:i], q) {
			report("Digest: QOP %q: allowed are auth and auth-int, each once", q)
		}
	}
	if len(d.c.QOP) == 0 {
		report("Digest: QOP is empty: without one there is no protection against replay")
	}
	if why := weakNonceKey(d.c.Key); why != "" {
		report("Digest: %s", why)
	}
	if d.c.NonceLife < 0 || d.c.MaxBody < 0 || d.c.MaxNonces < 0 {
		report("Digest: NonceLife, MaxBody and MaxNonces may not be negative")
	}
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

// Authenticate verifies a response (RFC 7616 s3.4). It reads the body only if the nonce is
// authentic.
func (d *digest) Authenticate(r *http.Request) (*Principal, error) {
	st := stateOf(r.Context())
	realm, now := st.guard.c.Realm, st.guard.c.Now()
	a, err := readDigestAnswer(st.credentials.Params, st.quoted, st.guard.c.MaxCredentials)
	if err != nil {
		return nil, err
	}
	if !sameTarget(a.URI, r, st) { // RFC 7616 s3.4.6
		return nil, &Refusal{Code: InvalidRequest, Detail: "The uri of the Digest response is not the target of the request.",
			Hint: "Compute the response for the target of the request line, with its query.", Err: errors.New("Digest: uri is not the request target")}
	}
	algorithm, sess := rfc7616.Parse(a.algorithm) // without a name it is MD5 (RFC 7616 s3.4)
	switch {
	case sess != d.c.Sess || !slices.Contains(d.offered, algorithm):
		return nil, malformedDigest("The Digest response uses an algorithm that was not offered.", "algorithm %q was not offered", a.algorithm)
	case a.QOP == "":
		return nil, malformedDigest("The Digest response has no qop.", "no qop: the form of RFC 2069")
	case !slices.Contains(d.c.QOP, a.QOP):
		return nil, malformedDigest("The Digest response has a qop that was not offered.", "qop %q was not offered", a.QOP)
	case a.userHash && !d.c.UserHash:
		return nil, malformedDigest("The Digest response hides the user name, which was not offered.", "userhash was not offered")
	case a.realm != realm:
		return nil, fmt.Errorf("Digest: wrong realm: %w", InvalidCredentials)
	}
	nonce, ok := d.nonces.open(a.Nonce, realm)
	if !ok {
		return nil, fmt.Errorf("Digest: the nonce is not authentic for this server and realm: %w", InvalidCredentials)
	}

	claim := DigestClaim{User: a.user, Realm: realm, Algorithm: algorithm.Name}
	if a.userHash {
		claim.User, claim.UserHash = "", a.user
	}
	ha1, p, err := d.c.HA1(r.Context(), claim)
	// An unknown user and one without a usable hash: do the same work, with a hash that matches no
	// response. The response does not tell who exists.
	unknown := ""
	switch {
	case errors.Is(err, InvalidCredentials):
		unknown = "no such user"
	case err != nil:
		return nil, err
	case len(ha1) != algorithm.Size:
		unknown = fmt.Sprintf("HA1 returned %d octets for %s, which has %d", len(ha1), algorithm.Name, algorithm.Size)
	}
	if unknown != "" {
		ha1, _ = rfc7616.Hash(algorithm.Name, a.Nonce)
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
	right := subtle.ConstantTimeCompare(a.AppendResponse(want[:0], algorithm, secret, r.Method, body), []byte(a.response)) == 1 && unknown == ""
	if d.c.Judged != nil {
		d.c.Judged(r.Context(), claim, right)
	}
	if !right {
		return nil, fmt.Errorf("Digest: %s: %w", cmp.Or(unknown, "wrong response"), InvalidCredentials)
	}
	if p == nil {
		return nil, errors.New("Digest: HA1 returned neither a principal nor an error")
	}

	// RFC 7616 s3.3: stale means that only the nonce of the response is wrong.
	age := now.Sub(nonce.made())
	if age > d.c.NonceLife {
		return nil, fmt.Errorf("Digest: the nonce is %s old, at most %s is allowed: %w", age.Truncate(time.Second), d.c.NonceLife, StaleNonce)
	}
	if why := d.counts.take(nonce, a.count, now.Add(-d.c.NonceLife)); why != "" {
		return nil, fmt.Errorf("Digest: %s: %w", why, StaleNonce)
	}
	st.authInfo = d.authInfo(st, a, algorithm, secret, age > d.c.NonceLife/2)
	return p.as("Digest"), nil
}

// malformedDigest refuses a response that cannot be verified.
func malformedDigest(detail, format string, args ...any) error {
	return &Refusal{Code: MalformedCredentials, Detail: detail, Hint: "Answer the challenge in WWW-Authenticate as RFC 7616 s3.4 describes.",
		Err: fmt.Errorf("Digest: "+format, args...)}
}

// sameTarget reports whether uri equals the request target, octet by octet. Clients of a proxy may
// send the origin form of the absolute target. A path of Config.PublicURL is part of the target.
func sameTarget(uri string, r *http.Request, st *requestState) bool {
	if st.route.proxy {
		return uri == r.RequestURI || r.Method != http.MethodConnect && uri == r.URL.RequestURI()
	}
	rest, ok := strings.CutPrefix(uri, st.guard.prefix)
	return ok && rest == r.RequestURI
}

// readBody reads the body and replaces it by a buffer for the handler.
func (d *digest) readBody(r *http.Request) ([]byte, error) {
	tooLarge := &Refusal{Code: BodyTooLarge, Hint: fmt.Sprintf("Send at most %d octets, or use qop=auth.", d.c.MaxBody),
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

// readAgain is a body that is buffered for the handler.
type readAgain struct {
	io.Reader
	io.Closer
}

// authInfo returns the value of Authentication-Info (RFC 7616 s3.5). The quality is always auth,
// because the body of the response is not read.
func (d *digest) authInfo(st *requestState, a digestAnswer, algorithm rfc7616.Algorithm, secret []byte, next bool) string {
	a.QOP = "auth"
	var room [64]byte
	params := make([]Param, 0, 5)
	if next {
		params = append(params, Param{"nextnonce", d.nonces.seal(st.guard.c.Realm, st.guard.c.Now())})
	}
	params = append(params, Param{"qop", a.QOP}, Param{"rspauth", string(a.AppendResponse(room[:0], algorithm, secret, "", nil))},
		Param{"cnonce", a.CNonce}, Param{"nc", a.NC})
	return string(appendParams(make([]byte, 0, 192), params, authInfoTokens))
}

// digestAnswer is the parsed credentials of Digest (RFC 7616 s3.4).
type digestAnswer struct {
	rfc7616.Parts
	user      string // or its hash
	userHash  bool
	realm     string
	response  string
	algorithm string
	count     uint32 // NC
}

// maxDigestParams is far above the number that any client sends.
const maxDigestParams = 32

// mustQuote and mustNotQuote follow RFC 7616 s3.4. It also requires qop, algorithm and nc unquoted,
// but widely used clients quote them.
var (
	mustQuote    = []string{"username", "realm", "nonce", "uri", "response", "cnonce", "opaque"}
	mustNotQuote = []string{"userhash", "username*"}
)

// readDigestAnswer parses credentials of at most most octets. Repeated and wrongly quoted
// parameters are 400; missing and malformed ones are 401.
func readDigestAnswer(params []Param, quoted quotes, most int) (a digestAnswer, err error) {
	bad := func(detail, format string, args ...any) (digestAnswer, error) {
		return digestAnswer{}, &Refusal{Code: InvalidRequest, Detail: detail, Hint: "See RFC 7616 s3.4 for the form of the credentials.",
			Err: fmt.Errorf("Digest: "+format, args...)}
	}
	if len(params) == 0 {
		return a, fmt.Errorf("Digest without parameters: %w", MalformedCredentials)
	}
	if len(params) > maxDigestParams {
		return bad("The Digest credentials have too many parameters.", "%d parameters, at most %d are allowed", len(params), maxDigestParams)
	}
	octets := 0
	for i, p := range params {
		name := strings.ToLower(p.Name)
		if octets += len(p.Name) + len(p.Value); octets > most {
			return digestAnswer{}, tooLong("Digest", octets, most)
		}
		if _, ok := (Credentials{Params: params[:i]}).Param(name); ok {
			return bad("A parameter of the Digest credentials is repeated.", "parameter %d is repeated", i)
		}
		if slices.Contains(mustQuote, name) && !quoted.has(i) || slices.Contains(mustNotQuote, name) && quoted.has(i) {
			return bad("A parameter of the Digest credentials is quoted although it must not be, or unquoted although it must be quoted.", "%s is wrongly quoted", name)
		}
	}
	value := func(name string) string { v, _ := Credentials{Params: params}.Param(name); return v }
	a = digestAnswer{
		user:      value("username"),
		userHash:  strings.EqualFold(value("userhash"), "true"),
		realm:     value("realm"),
		response:  value("response"),
		algorithm: value("algorithm"),
	}
	a.URI, a.Nonce, a.NC, a.CNonce = value("uri"), value("nonce"), value("nc"), value("cnonce")
	a.QOP = strings.ToLower(value("qop"))
	extended := value("username*")
	switch {
	case extended != "" && a.user != "":
		return bad("The Digest credentials have both username and username*.", "username and username*") // RFC 7616 s3.4
	case extended != "" && a.userHash:
		return bad("The Digest credentials have userhash and username*.", "userhash with username*") // RFC 7616 s3.4.4
	case extended != "":
		if a.user = rfc7616.DecodeName(extended); a.user == "" {
			return bad("The username* of the Digest credentials is malformed.", "username* is not UTF-8 by RFC 8187")
		}
	case !utf8.ValidString(a.user):
		return digestAnswer{}, malformedDigest("The user name is not in UTF-8.", "username is not UTF-8")
	}
	if a.userHash {
		a.user = strings.ToLower(a.user)
	}
	for _, f := range [...]struct{ name, value string }{{"username", a.user}, {"nonce", a.Nonce}, {"uri", a.URI}, {"response", a.response}} {
		if f.value == "" {
			return digestAnswer{}, malformedDigest("The Digest credentials lack the parameter "+f.name+".", "no %s", f.name)
		}
	}
	if a.QOP == "" {
		return a, nil // Authenticate refuses it
	}
	count, err := hex.DecodeString(a.NC) // RFC 7616 s3.4: 8LHEX
	if err != nil || len(count) != 4 || a.CNonce == "" {
		return digestAnswer{}, malformedDigest("The Digest credentials lack nc or cnonce, or nc is not eight hex digits.", "nc or cnonce is malformed")
	}
	a.count = binary.BigEndian.Uint32(count)
	return a, nil
}

// nonceCounts stores the used counts of each nonce, in bounded memory.
type nonceCounts struct {
	most int

	mu    sync.Mutex
	taken map[nonceID]*window
	floor time.Time // nonces created until then and not in taken are stale
}

// window is the used counts of one nonce: the highest, and a bit for each of the 127 below it.
type window struct {
	highest uint32
	below   [2]uint64 // bit i is highest-i
}

// take marks a count of a nonce as used. It returns why it may not be used, or "". Nonces created
// before gone have expired.
func (c *nonceCounts) take(id nonceID, count uint32, gone time.Time) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if count == 0 {
		return "the count is 0" // RFC 7616 s3.4: the first is 1
	}
	w := c.taken[id]
	if w == nil {
		if len(c.taken) >= c.most && id.made().After(c.floor) {
			c.shrink(gone)
		}
		if !id.made().After(c.floor) {
			return "the counts of this nonce are no longer stored"
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

// shift moves the window up and marks the new highest count.
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

// shrink removes expired nonces and, if that is not enough, the older half, which is stale from
// then on.
func (c *nonceCounts) shrink(gone time.Time) {
	if gone = gone.Add(-time.Millisecond); gone.After(c.floor) {
		c.floor = gone
	}
	stale := func(id nonceID, _ *window) bool { return !id.made().After(c.floor) }
	maps.DeleteFunc(c.taken, stale)
	if len(c.taken) > c.most/2 {
		ids := slices.SortedFunc(maps.Keys(c.taken), func(a, b nonceID) int { return a.made().Compare(b.made()) })
		c.floor = ids[len(ids)-(c.most+1)/2].made()
		maps.DeleteFunc(c.taken, stale)
	}
}
