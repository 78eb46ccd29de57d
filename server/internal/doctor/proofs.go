package doctor

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/durward-auth/durward"
	digestalg "github.com/durward-auth/durward/internal/digest"
)

// This file checks Digest credentials, DPoP proofs and client assertions against the request and
// the challenge.

// quotedDigest matches parameters that have no quotation marks in an answer.
var quotedDigest = regexp.MustCompile(`(?i)\b(qop|nc)="`)

// pathOf returns an address without scheme and host.
func pathOf(address string) string {
	if _, rest, ok := strings.Cut(address, "://"); ok {
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			return rest[i:]
		}
		return "/"
	}
	return address
}

// digestFacts compares a Digest answer with the request and with the challenges (RFC 7616 s3.4).
func (e *evidence) digestFacts() {
	for _, c := range e.challenges {
		if !strings.EqualFold(c.Scheme, "Digest") {
			continue
		}
		if stale, _ := c.Param("stale"); strings.EqualFold(stale, "true") {
			e.add("stale-true", Coded, "WWW-Authenticate", "stale=true: the answer was right but for its old nonce (RFC 7616 s3.3)")
		}
	}
	auth := e.sent(secretInAuthorization, secretInProxyAuthorization)
	if auth == nil || auth.scheme != "digest" {
		return
	}
	value := strings.TrimRight(strings.NewReplacer("...", "", "…", "").Replace(auth.value), ", ")
	credentials, err := durward.ParseCredentials("Digest " + value)
	if err != nil {
		c, ok := loose("Digest " + value)
		if !ok || len(c.Params) < 3 {
			return
		}
		credentials.Params = c.Params
	}
	param := func(name string) string { v, _ := credentials.Param(name); return v }
	shortened := strings.Contains(auth.value, "...\"") || strings.Contains(auth.value, "…\"") || maskShape.MatchString(pathOf(e.request.URL))
	if uri := param("uri"); uri != "" && !shortened && !maskShape.MatchString(uri) && e.request.URL != "" {
		target := e.target.RequestURI()
		if e.request.Method == "CONNECT" {
			target = e.request.URL
		}
		if u, err := url.Parse(uri); err == nil && uri != target && u.RequestURI() != target {
			e.add("digest-uri-differs", Computed, "Authorization", "uri is %s, the request asks for %s (RFC 7616 s3.4.6)", e.quote(uri), e.quote(target))
		} else if err == nil && u.IsAbs() && e.request.Header.Get("Proxy-Authorization") == "" && strings.HasPrefix(target, "/") {
			e.add("digest-uri-absolute", Computed, "Authorization", "uri is an absolute address, the request has a path: most devices take them for different")
		}
	}
	if oldMark.MatchString(param("nonce")) {
		e.add("digest-nonce-old", Said, "Authorization", "the input says that the nonce is an old one: %s", e.quote(param("nonce")))
	}
	if maskShape.MatchString(param("uri")) && otherMark.MatchString(param("uri")) {
		e.add("digest-uri-differs", Said, "Authorization", "the input says that uri is not the address of the request: %s", e.quote(param("uri")))
	}
	if response := param("response"); maskShape.MatchString(response) {
		if m := proofMethod.FindStringSubmatch(response); m != nil && e.request.Method != "" && m[1] != e.request.Method {
			e.add("digest-response-differs", Said, "Authorization", "the input says that the response is computed for the method %s; the method is %s (RFC 7616 s3.4.3)", m[1], e.quote(e.request.Method))
		} else if otherMark.MatchString(response) {
			e.add("digest-response-differs", Said, "Authorization", "the input says how the response is computed: %s", e.quote(response))
		}
	}
	if nc := param("nc"); nc != "" && strings.Trim(nc, "0") == "" {
		e.add("digest-count-zero", Computed, "Authorization", "nc begins at 0, it begins at 00000001 (RFC 7616 s3.4)")
	} else if nc != "" && len(nc) != 8 {
		e.add("digest-count-form", Computed, "Authorization", "nc has %d digits, 8 belong there (RFC 7616 s3.4)", len(nc))
	}
	if quotedDigest.MatchString(auth.value) {
		e.add("digest-quoted", Computed, "Authorization", "qop or nc stands in quotation marks; they have none (RFC 7616 s3.4)")
	}
	if _, ok := credentials.Param("qop"); !ok && !auth.masked {
		for _, c := range e.digestOffers() {
			if qop, _ := c.Param("qop"); qop != "" {
				e.add("digest-without-qop", Computed, "Authorization", "the challenge has qop=%s, the answer has none (RFC 7616 s3.4)", e.quote(qop))
			}
		}
	}
	if _, ok := credentials.Param("password"); ok {
		e.add("digest-parameter-absent", Computed, "Authorization", "the Digest credentials have a parameter password in place of a computed response (RFC 7616 s3.4)")
	}
	for _, name := range []string{"username", "realm", "nonce", "uri", "response"} {
		if _, ok := credentials.Param(name); !ok && !auth.masked && !strings.Contains(auth.value, "...") {
			e.add("digest-parameter-absent", Computed, "Authorization", "the Digest answer has no %s (RFC 7616 s3.4)", name)
		}
	}
	e.digestHistory(credentials)
	offered := e.digestOffers()
	if len(offered) == 0 {
		return
	}
	if qop, ok := credentials.Param("qop"); ok && !auth.masked && !slices.ContainsFunc(offered, func(c durward.Challenge) bool {
		list, _ := c.Param("qop")
		return slices.ContainsFunc(strings.Split(list, ","), func(one string) bool { return strings.EqualFold(strings.TrimSpace(one), qop) })
	}) {
		e.add("digest-qop-unoffered", Computed, "Authorization", "qop is %s, and no challenge offers it (RFC 7616 s3.4)", e.quote(qop))
	}
	if opaque, ok := offered[0].Param("opaque"); ok && opaque != "" && !auth.masked && !maskShape.MatchString(opaque) {
		if sent, ok := credentials.Param("opaque"); !ok && !strings.Contains(auth.value, "...") {
			e.add("digest-opaque-absent", Computed, "Authorization", "the challenge has opaque, the Digest credentials have none (RFC 7616 s3.4)")
		} else if ok && sent == "" {
			e.add("digest-opaque-absent", Computed, "Authorization", "the challenge has opaque; that of the Digest credentials is empty (RFC 7616 s3.4)")
		}
	}
	algorithm, session := digestalg.Parse(param("algorithm"))
	fits := false
	var realms []string
	for _, c := range offered {
		a, _ := c.Param("algorithm")
		if known, sess := digestalg.Parse(a); known == algorithm && sess == session {
			fits = true
		}
		r, _ := c.Param("realm")
		realms = append(realms, r)
	}
	if size, ok := digestSizes[strings.TrimSuffix(strings.ToUpper(param("algorithm")), "-SESS")]; ok && !auth.masked && hexDigits.MatchString(param("response")) && len(param("response")) != size {
		e.add("digest-response-length", Computed, "Authorization", "response has %d digits; the algorithm gives %d (RFC 7616 s3.4.1)", len(param("response")), size)
	}
	if !fits {
		e.add("digest-algorithm-differs", Computed, "Authorization", "the answer has an algorithm that no challenge offers")
	}
	if realm, ok := credentials.Param("realm"); ok && !slices.Contains(realms, realm) && !maskShape.MatchString(realm) {
		e.add("digest-realm-differs", Computed, "Authorization", "the realm of the answer is not that of the challenge")
	}
	e.digestPair(param("algorithm"), param("nonce"))
	if last := e.lastNonce(); last != "" && param("nonce") != "" && param("nonce") != last && !auth.masked {
		e.add("digest-nonce-old", Computed, "Authorization", "the nonce is not the last one that the server gave")
	}
}

// digestPair adds a fact if the answer has the algorithm of one challenge and the nonce of another
// one of the same response.
func (e *evidence) digestPair(algorithm, nonce string) {
	if nonce == "" || maskShape.MatchString(nonce) {
		return
	}
	for _, x := range e.c.Earlier() {
		if x.Response == nil {
			continue
		}
		for _, c := range challengesOf(x.Response.Header.Values("WWW-Authenticate")) {
			a, _ := c.Param("algorithm")
			if n, _ := c.Param("nonce"); n != nonce || !strings.EqualFold(c.Scheme, "Digest") {
				continue
			}
			offered, _ := digestalg.Parse(a)
			if sent, _ := digestalg.Parse(algorithm); sent != offered {
				e.add("digest-nonce-of-other", Computed, "Authorization", "the answer has the algorithm %s and the nonce of a challenge with %s", e.quote(algorithm), e.quote(cmp.Or(a, "MD5")))
			}
		}
	}
}

// digestSizes gives the number of hexadecimal digits of a response by algorithm (RFC 7616 s3.4.1).
var digestSizes = map[string]int{"": 32, "MD5": 32, "SHA-256": 64, "SHA-512-256": 64}

// hexDigits matches a response of Digest.
var hexDigits = regexp.MustCompile(`^[0-9A-Fa-f]{8,128}$`)

// digestHistory compares Digest credentials with earlier ones: a server may accept a nonce or a
// count only once (RFC 7616 s3.4).
func (e *evidence) digestHistory(credentials durward.Credentials) {
	nonce, _ := credentials.Param("nonce")
	count, _ := credentials.Param("nc")
	if nonce == "" || maskShape.MatchString(nonce) || slices.ContainsFunc(e.digestOffers(), func(c durward.Challenge) bool { n, _ := c.Param("nonce"); return n == nonce }) {
		return
	}
	for _, x := range e.c.Earlier() {
		if x.Request == nil || x.Response == nil || !sameHost(parseTarget(x.Request), e.target) {
			continue
		}
		before, err := durward.ParseCredentials(x.Request.Header.Get("Authorization"))
		if was, _ := before.Param("nonce"); err != nil || was != nonce {
			continue
		}
		if n, _ := before.Param("nc"); n == count && count != "" {
			e.add("digest-count-repeated", Computed, "Authorization", "nc is %s, as in an earlier request with this nonce: it has to increase (RFC 7616 s3.4)", e.quote(count))
		} else if x.Response.Status >= 200 && x.Response.Status < 300 {
			e.add("digest-nonce-spent", Computed, "history", "an earlier request with this nonce was accepted; the refusal offers another nonce")
		}
	}
}

// digestOffers returns the Digest challenges of the case, the latest first.
func (e *evidence) digestOffers() (list []durward.Challenge) {
	for _, c := range e.challenges {
		if strings.EqualFold(c.Scheme, "Digest") {
			list = append(list, c.Challenge)
		}
	}
	return list
}

// lastNonce returns the nonce of the Digest challenge just before the request, if there is one.
func (e *evidence) lastNonce() (nonce string) {
	for _, x := range e.c.Earlier() {
		if x.Response == nil {
			continue
		}
		for _, c := range challengesOf(x.Response.Header.Values("WWW-Authenticate")) {
			if n, ok := c.Param("nonce"); ok && strings.EqualFold(c.Scheme, "Digest") {
				nonce = n
			}
		}
	}
	return nonce
}

var (
	wrongProof  = regexp.MustCompile(`(?i)(another|other|different|wrong|old|foreign) (token|key|ath|typ|alg|jwk|proof)|re-?used|\b(?:used|seen|sent) (?:before|already|twice|again)|\balready used|\b(?:second|minute|hour|day)s? (?:ago|old)\b|\bexpired\b|replay|same jti|without (ath|jti|iat|jwk)|ath (of|differs|wrong)|too old`)
	proofMethod = regexp.MustCompile(`(?:htm(?: is|:|=)? ?"?|\bfor (?:a )?)(GET|POST|PUT|PATCH|DELETE|HEAD|OPTIONS)`)
)

// proofTarget matches words about a proof for another method or address.
var proofTarget = regexp.MustCompile(`(?i)\b(?:another|other|different|wrong|inner|internal) (?:url|uri|address|target|method|path|host|origin|htu|htm)\b`)

// proofWithout matches words about a proof without a current nonce.
var proofWithout = regexp.MustCompile(`(?i)\b(?:without|no|old|wrong|stale|expired|previous) (?:a )?nonce`)

// oldNonce matches words about a nonce of an earlier time.
var oldNonce = regexp.MustCompile(`(?i)\bnonce\b.*\b(?:ago|old|expired|yesterday|earlier|before|last)\b|\b(?:old|expired|earlier|previous|last|spent) nonce\b`)

// Patterns of words in place of a parameter of Digest credentials.
var (
	oldMark   = regexp.MustCompile(`(?i)^<[^<>]*\b(?:old|first|earlier|previous|prior|expired|stale|used|last|spent|other|another)\b[^<>]*>$`)
	otherMark = regexp.MustCompile(`(?i)\bwithout\b|\b(?:path|address) (?:only|alone)\b|\b(?:other|another|wrong|different|rewritten|outer|inner|public|internal|full|absolute)\b`)
)

// dpopFacts compares DPoP proofs with the request (RFC 9449 s4.3).
func (e *evidence) dpopFacts() {
	proofs := e.request.Header.Values("DPoP")
	auth := e.sent(secretInAuthorization)
	if len(proofs) > 1 {
		e.add("dpop-two-proofs", Computed, "DPoP", "the request has %d DPoP fields, one is allowed (RFC 9449 s4.3)", len(proofs))
	}
	if len(proofs) == 0 {
		if auth != nil && auth.scheme == "dpop" && e.request.Whole {
			e.add("dpop-proof-absent", Computed, "DPoP", "the scheme is DPoP and the request has no proof (RFC 9449 s7.1)")
		}
		return
	}
	value := proofs[0]
	e.add("dpop-proof-sent", Computed, "DPoP", "the request has a DPoP proof")
	if m := markWords.FindStringSubmatch(value); m != nil {
		e.markedProof(m[1])
		return
	}
	proof := decodeToken(value)
	if proof == nil {
		if !maskShape.MatchString(value) {
			e.add("dpop-unreadable", Computed, "DPoP", "the proof is not a JWT (RFC 9449 s4.2)")
		}
		return
	}
	if typ := text(proof.header, "typ"); typ != "dpop+jwt" {
		e.add("dpop-wrong", Computed, "DPoP", "typ is %s, dpop+jwt belongs there (RFC 9449 s4.2)", e.quote(typ))
	}
	if proof.header["jwk"] == nil {
		e.add("dpop-wrong", Computed, "DPoP", "the proof has no jwk (RFC 9449 s4.2)")
	}
	for _, x := range e.c.Earlier() {
		if x.Request == nil {
			continue
		}
		if earlier := decodeToken(x.Request.Header.Get("DPoP")); earlier != nil && text(earlier.claims, "jti") != "" && text(earlier.claims, "jti") == text(proof.claims, "jti") {
			e.add("dpop-reused", Computed, "DPoP", "the proof has the jti of an earlier proof (RFC 9449 s11.1)")
		}
	}
	for _, name := range []string{"jti", "htm", "htu", "iat"} {
		if proof.claims[name] == nil {
			e.add("dpop-wrong", Computed, "DPoP", "the proof has no %s (RFC 9449 s4.2)", name)
		}
	}
	if iat := numericDate(proof.claims, "iat"); !iat.IsZero() && !e.at.IsZero() {
		if d := iat.Sub(e.at); d > clockLeeway {
			e.add("dpop-iat-ahead", Computed, "DPoP", "iat of the proof is %s after Date: the client's clock is ahead", d)
		} else if d < -2*clockError/3 {
			e.add("dpop-wrong", Computed, "DPoP", "the proof is %s old: each request needs a new one", -d)
		}
	}
	if htm := text(proof.claims, "htm"); htm != "" && e.request.Method != "" && htm != e.request.Method {
		e.add("dpop-target-differs", Computed, "DPoP", "htm is %s, the method is %s (RFC 9449 s4.3)", e.quote(htm), e.quote(e.request.Method))
	}
	if htu := text(proof.claims, "htu"); htu != "" {
		e.compareTarget(htu)
	}
	if nonce := text(proof.claims, "nonce"); nonce == "" && e.response.Header.Has("DPoP-Nonce") {
		e.add("dpop-nonce-absent", Computed, "DPoP", "the proof has no nonce and the response gives one")
	}
	if ath := text(proof.claims, "ath"); auth != nil && !auth.masked && auth.value != "" {
		sum := sha256.Sum256([]byte(strings.TrimSpace(auth.value)))
		switch want := base64.RawURLEncoding.EncodeToString(sum[:]); {
		case ath == "":
			e.add("dpop-wrong", Computed, "DPoP", "the proof has no ath, the hash of the token (RFC 9449 s4.3)")
		case ath != want && !strings.Contains(auth.value, "..."):
			e.add("dpop-wrong", Computed, "DPoP", "ath is not the hash of the token that was sent (RFC 9449 s4.3)")
		}
	}
	if auth != nil && auth.masked && auth.scheme == "dpop" && text(proof.claims, "ath") == "" {
		e.add("dpop-wrong", Computed, "DPoP", "the proof has no ath, the hash of the token (RFC 9449 s4.3)")
	}
	e.proofAlgorithm(text(proof.header, "alg"))
}

// proofAlgorithm compares the algorithm of a proof with those that the challenge offers.
func (e *evidence) proofAlgorithm(alg string) {
	for _, c := range e.challenges {
		if algs, ok := c.Param("algs"); ok && strings.EqualFold(c.Scheme, "DPoP") && alg != "" && !slices.Contains(strings.Fields(algs), alg) {
			e.add("dpop-wrong", Computed, "DPoP", "alg is %s, the challenge offers %s (RFC 9449 s7.1)", e.quote(alg), e.quote(algs))
		}
	}
}

// compareTarget compares htu with the address without its query (RFC 9449 s4.3).
func (e *evidence) compareTarget(htu string) {
	want, err := url.Parse(htu)
	if err != nil || e.target.Host == "" {
		return
	}
	have := *e.target
	if !strings.EqualFold(want.Host, have.Host) || have.Scheme != "" && !strings.EqualFold(want.Scheme, have.Scheme) ||
		strings.TrimSuffix(want.Path, "/") != strings.TrimSuffix(have.Path, "/") {
		have.RawQuery = ""
		e.add("dpop-target-differs", Computed, "DPoP", "htu is %s, the request goes to %s (RFC 9449 s4.3)", e.quote(htu), e.quote(have.String()))
	}
}

// markedProof reads words in place of a proof.
func (e *evidence) markedProof(words string) {
	if oldNonce.MatchString(words) && e.response.Header.Has("DPoP-Nonce") {
		e.add("dpop-nonce-absent", Said, "DPoP", "the input says that the nonce of the proof is an old one, and the response gives another")
	} else if wrongProof.MatchString(words) {
		e.add("dpop-wrong", Said, "DPoP", "the input says what is wrong with the proof")
	}
	if m := proofMethod.FindStringSubmatch(words); m != nil && e.request.Method != "" && m[1] != e.request.Method {
		e.add("dpop-target-differs", Said, "DPoP", "htm is %s, the method is %s (RFC 9449 s4.3)", m[1], e.quote(e.request.Method))
	}
	if proofTarget.MatchString(words) {
		e.add("dpop-target-differs", Said, "DPoP", "the input says that the proof is for another address or method")
	}
	if proofWithout.MatchString(words) && e.response.Header.Has("DPoP-Nonce") {
		e.add("dpop-nonce-absent", Computed, "DPoP", "the input says that the proof has no nonce, and the response gives one")
	}
	if m := addressIn.FindString(words); m != "" && strings.Contains(words, "htu") {
		e.compareTarget(m)
	}
}
