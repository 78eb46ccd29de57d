package durward

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Code names why a request was refused. The list is closed: each code has one
// row in the table of refusals, which fixes its status, its challenge and what
// the client may read.
//
// A Code is an error. A check that refuses wraps one, with the cause for the
// log around it:
//
//	return nil, fmt.Errorf("kid %q is in no key set: %w", kid, durward.InvalidToken)
//
// An error that wraps no Code is [AuthUnavailable]: a check that could not be
// made neither opens the door nor tells the client to throw its credentials
// away.
type Code string

// Error returns the code itself.
func (c Code) Error() string { return string(c) }

// Status returns the HTTP status of the code, and 503 for a Code that is not
// on the list. A proxy's own refusals say 407 where this says 401.
func (c Code) Status() int {
	if row, ok := table[c]; ok {
		return row.status
	}
	return http.StatusServiceUnavailable
}

// Codes returns all codes, sorted.
func Codes() []Code { return slices.Sorted(maps.Keys(table)) }

const (
	// Who are you? Unanswered or wrongly answered: 401.

	AuthenticationRequired Code = "AUTHENTICATION_REQUIRED" // no credentials
	UnsupportedScheme      Code = "UNSUPPORTED_SCHEME"      // credentials of a scheme the route does not accept
	MalformedCredentials   Code = "MALFORMED_CREDENTIALS"   // not credentials by RFC 9110 s11.4 or by their scheme
	InvalidToken           Code = "INVALID_TOKEN"           // the token fails a check other than its end or revocation
	TokenExpired           Code = "TOKEN_EXPIRED"           // all well but exp
	TokenRevoked           Code = "TOKEN_REVOKED"           // the token, its session or its key was revoked
	InvalidCredentials     Code = "INVALID_CREDENTIALS"     // wrong user or password, never saying which
	InvalidAPIKey          Code = "INVALID_API_KEY"         // unknown, expired or revoked API key
	SessionExpired         Code = "SESSION_EXPIRED"         // session cookie unknown or past its end
	StaleNonce             Code = "STALE_NONCE"             // right Digest response for an old nonce
	InvalidProof           Code = "INVALID_PROOF"           // DPoP proof missing, wrong or replayed
	NonceRequired          Code = "NONCE_REQUIRED"          // DPoP proof without a fresh server nonce
	MFARequired            Code = "MFA_REQUIRED"            // password right, second factor owed

	// The refresh endpoint's own answers: only these sign a client out.

	RefreshInvalid Code = "REFRESH_INVALID"
	RefreshExpired Code = "REFRESH_EXPIRED"
	SessionRevoked Code = "SESSION_REVOKED"

	// Are you sure enough? Known, but too old or too weak a sign-in: 401.

	StepUpRequired Code = "STEP_UP_REQUIRED"

	// May you? Known, sure, not allowed: 403.

	InsufficientScope         Code = "INSUFFICIENT_SCOPE"
	Forbidden                 Code = "FORBIDDEN"
	CrossSite                 Code = "CROSS_SITE"
	EnrolmentRequired         Code = "ENROLMENT_REQUIRED"
	AccountDisabled           Code = "ACCOUNT_DISABLED"
	EmailUnverified           Code = "EMAIL_UNVERIFIED"
	PasswordChangeRequired    Code = "PASSWORD_CHANGE_REQUIRED"
	ClientCertificateRequired Code = "CLIENT_CERTIFICATE_REQUIRED"
	InsecureTransport         Code = "INSECURE_TRANSPORT"

	// The proxy's own question: 407.

	ProxyAuthenticationRequired Code = "PROXY_AUTHENTICATION_REQUIRED"

	// Not about who is asking.

	AmbiguousCredentials Code = "AMBIGUOUS_CREDENTIALS" // 400: two explicit credentials
	InvalidRequest       Code = "INVALID_REQUEST"       // 400
	MisdirectedRequest   Code = "MISDIRECTED_REQUEST"   // 421: the connection was opened for another name
	NotFound             Code = "NOT_FOUND"
	MethodNotAllowed     Code = "METHOD_NOT_ALLOWED"
	EmailTaken           Code = "EMAIL_TAKEN"
	BodyTooLarge         Code = "BODY_TOO_LARGE"
	UnsupportedMediaType Code = "UNSUPPORTED_MEDIA_TYPE"
	TooManyAttempts      Code = "TOO_MANY_ATTEMPTS" // 429, whether or not the account exists
	Internal             Code = "INTERNAL"
	AuthUnavailable      Code = "AUTH_UNAVAILABLE" // 503: who this is cannot be told just now; never a 401
)

// asks says which schemes' challenges go with a refusal.
type challengeRule int

const (
	noChallenge     challengeRule = iota
	allChallenges                 // one challenge for each scheme the route accepts
	ownChallenge                  // the scheme of the credentials alone, and only where it can carry the error
	oauthChallenges               // each scheme of the OAuth family
)

// row is what the table of refusals fixes for a code.
type row struct {
	status     int
	challenges challengeRule
	error      string // the OAuth error: parameter of the challenge and member of the body
	title      string
	detail     string // what the client may read: never more than the code says
	hint       string // what to do next
}

// table is the one list of refusals.
var table = map[Code]row{
	// RFC 6750 s3.1: a request without credentials gets no error code.
	AuthenticationRequired: {401, allChallenges, "", "Authentication required",
		"This resource needs credentials and the request carried none.",
		"Send credentials by one of the schemes named in WWW-Authenticate."},
	UnsupportedScheme: {401, allChallenges, "", "Authentication scheme not accepted",
		"The Authorization field names a scheme that is not accepted here.",
		"Use one of the schemes named in WWW-Authenticate."},
	MalformedCredentials: {401, allChallenges, "", "Malformed credentials",
		"The Authorization field does not hold well-formed credentials.",
		"The form is: scheme, one space, credentials; for a token: Authorization: Bearer TOKEN."},
	AmbiguousCredentials: {400, oauthChallenges, "invalid_request", "Ambiguous credentials",
		"The request carried more than one set of credentials.",
		"Send exactly one Authorization field, or one X-API-Key field, not both."},
	InvalidRequest: {400, noChallenge, "", "Invalid request",
		"The request is not one this server can read.", ""},
	MisdirectedRequest: {421, noChallenge, "", "Misdirected request",
		"The connection was opened for another host name than the request names.",
		"Open a new connection for this host name and send the request there."},
	InvalidToken: {401, allChallenges, "invalid_token", "Invalid access token",
		"The access token is not valid here.",
		"Get a new access token and send the request once more; if it is refused again, sign in again."},
	TokenExpired: {401, allChallenges, "invalid_token", "Access token expired",
		"The access token has expired.",
		"Refresh it and send the request once more with the new one."},
	TokenRevoked: {401, allChallenges, "invalid_token", "Access token revoked",
		"The access token or its session was revoked.",
		"Sign in again."},
	InvalidCredentials: {401, allChallenges, "", "Invalid credentials",
		"The user name or the password is wrong.",
		"Check both; which of them is wrong is never said."},
	InvalidAPIKey: {401, allChallenges, "invalid_token", "Invalid API key",
		"The API key is not valid here.",
		"Check that the key is whole, or make a new one."},
	SessionExpired: {401, allChallenges, "", "Session ended",
		"The session is over.",
		"Sign in again."},
	RefreshInvalid: {401, allChallenges, "", "Refresh token not valid",
		"The refresh token is not one that can be used.",
		"Sign in again."},
	RefreshExpired: {401, allChallenges, "", "Refresh token expired",
		"The refresh token has expired.",
		"Sign in again."},
	SessionRevoked: {401, allChallenges, "", "Session revoked",
		"The session was ended.",
		"Sign in again."},
	StaleNonce: {401, allChallenges, "", "Nonce no longer fresh",
		"The response was made with a nonce that is no longer fresh.",
		"Answer the new challenge with the same user name and password; nobody needs to be asked."},
	InvalidProof: {401, allChallenges, "invalid_dpop_proof", "Invalid DPoP proof",
		"The DPoP proof is missing or does not fit this request.",
		"Make a new proof for this method, this URL and this token."},
	NonceRequired: {401, allChallenges, "use_dpop_nonce", "DPoP nonce required",
		"The DPoP proof needs a nonce from this server.",
		"Make a new proof with the nonce in the DPoP-Nonce field and send the request once more."},
	MFARequired: {401, allChallenges, "", "Second factor required",
		"The password is right; a second factor is still owed.",
		"Finish at POST /api/auth/login/mfa with mfa_token and one of the methods."},
	// RFC 9470 s3.
	StepUpRequired: {401, allChallenges, "insufficient_user_authentication", "Stronger or fresher sign-in required",
		"This operation needs a stronger or more recent sign-in.",
		"Sign in again as the challenge asks and repeat the request."},
	EnrolmentRequired: {403, noChallenge, "", "Second factor must be set up",
		"This operation needs a second factor and the account has none.",
		"Set up a second factor, then repeat the request."},
	// RFC 6750 s3.1.
	InsufficientScope: {403, ownChallenge, "insufficient_scope", "Insufficient scope",
		"The credentials do not allow this.",
		"Ask for the scopes in required_scopes; the same credentials will be refused again."},
	Forbidden: {403, noChallenge, "", "Forbidden",
		"Known, but not allowed.",
		"Other credentials may be allowed; the same ones will be refused again."},
	CrossSite: {403, noChallenge, "", "Cross-site request refused",
		"A page of another site sent this request with the session cookie.",
		"Send it from a page of this site, or with an access token instead of the cookie."},
	AccountDisabled: {403, noChallenge, "", "Account disabled",
		"The account is locked.",
		"Ask an administrator."},
	EmailUnverified: {403, noChallenge, "", "E-mail address not verified",
		"The e-mail address of the account has not been verified.",
		"Follow the link in the verification mail."},
	PasswordChangeRequired: {403, noChallenge, "", "Password change required",
		"The password must be changed before signing in.",
		"Set a new password, then sign in."},
	ClientCertificateRequired: {403, noChallenge, "", "Client certificate required",
		"This resource needs a client certificate and none that is acceptable came.",
		"Connect with a client certificate."},
	InsecureTransport: {403, noChallenge, "", "HTTPS required",
		"The request came over plain http; credentials are not taken in the clear.",
		"Use https."},
	ProxyAuthenticationRequired: {407, allChallenges, "", "Proxy authentication required",
		"This proxy needs credentials and the request carried none.",
		"Send Proxy-Authorization by one of the schemes named in Proxy-Authenticate."},
	TooManyAttempts: {429, noChallenge, "", "Too many attempts",
		"Too many failed attempts.",
		"Wait as long as Retry-After says."},
	AuthUnavailable: {503, noChallenge, "", "Authentication unavailable",
		"Who is asking cannot be told just now.",
		"Keep the credentials: nothing is wrong with them. Try again as Retry-After says."},
	NotFound: {404, noChallenge, "", "Not found",
		"There is nothing here.", ""},
	MethodNotAllowed: {405, noChallenge, "", "Method not allowed",
		"This resource does not take this method.",
		"Use one of the methods in Allow."},
	EmailTaken: {409, noChallenge, "", "E-mail address taken",
		"There is an account with this e-mail address.",
		"Sign in, or use another address."},
	BodyTooLarge: {413, noChallenge, "", "Body too large",
		"The body of the request is too large.",
		"Send at most 64 KiB."},
	UnsupportedMediaType: {415, noChallenge, "", "Unsupported media type",
		"The body of the request is not of a type that is taken here.",
		"Send Content-Type: application/json."},
	Internal: {500, noChallenge, "", "Internal error",
		"Something went wrong on the server.",
		"Give the operator the identifier in instance."},
}

// Refusal is a request refused: what the client reads, and apart from it the
// true cause, which goes to the log alone.
//
// It is an error, so a check may return one in place of a [Code] to say more
// than the code does; fields left zero are filled in from the table. What
// [Guard.Check] returns is complete.
type Refusal struct {
	Code   Code
	Detail string // replaces the table's sentence; the client reads it
	Hint   string // replaces the table's next step; the client reads it

	// Members are further members of the problem details (RFC 9457 s3.2). The
	// client reads them.
	Members map[string]any

	RetryAfter time.Duration // sent in whole seconds, rounded up, with 429 and 503
	Allow      []string      // methods, sent with 405

	// Err is the true cause: which check failed and by how much. It is for the
	// log and never reaches the client. It holds no secret.
	Err error

	// The guard sets the rest.

	ID         string      // denial id, a ULID
	Status     int         // HTTP status: the code's, 407 for a proxy, 303 for a person who is sent to sign in
	Scheme     string      // registered name of the scheme the credentials came in, if any
	Challenges []Challenge // as sent, strongest first
	Location   string      // where a person is sent to sign in, with 303
	Page       bool        // a person reads the answer, which is HTML
}

// Error says code and cause. It is for the log.
func (f *Refusal) Error() string {
	if f == nil {
		return "nil refusal"
	}
	if f.Err == nil {
		return string(f.Code)
	}
	return string(f.Code) + ": " + f.Err.Error()
}

// Unwrap returns the code and the cause.
func (f *Refusal) Unwrap() []error {
	if f == nil {
		return nil
	}
	if f.Err == nil {
		return []error{f.Code}
	}
	return []error{f.Code, f.Err}
}

// complete copies what err says into a new Refusal and fills in what it leaves
// open. now dates the denial id.
func complete(err error, now time.Time) *Refusal {
	f := new(Refusal)
	var given *Refusal
	var code Code
	switch {
	case errors.As(err, &given) && given == nil:
		f.Code, f.Err = Internal, errors.New("refused by a nil *Refusal")
	case given != nil:
		*f = *given
		// The wrapping says more than the Refusal inside it.
		if err != error(given) {
			f.Err = err
		}
	case errors.As(err, &code):
		f.Code, f.Err = code, err
	case err == nil:
		f.Code, f.Err = Internal, errors.New("refused without a reason")
	default:
		// A check that could not be made is never a 401.
		f.Code, f.Err = AuthUnavailable, err
	}
	row, ok := table[f.Code]
	if !ok {
		f.Err = errors.Join(fmt.Errorf("code %q is on no row of the table", string(f.Code)), f.Err)
		f.Code = AuthUnavailable
		row = table[AuthUnavailable]
	}
	f.ID = denialID(now)
	f.Status = row.status
	if f.Detail == "" {
		f.Detail = row.detail
	}
	if f.Hint == "" {
		f.Hint = row.hint
	}
	if f.RetryAfter <= 0 {
		switch f.Status {
		case http.StatusTooManyRequests:
			f.RetryAfter = time.Minute
		case http.StatusServiceUnavailable:
			f.RetryAfter = 5 * time.Second
		}
	}
	return f
}

// oauthError returns the error of the problem details: that of a challenge, so
// absent where no challenge carries one.
func (f *Refusal) oauthError() string {
	for _, c := range f.Challenges {
		if e, ok := c.Param("error"); ok {
			return e
		}
	}
	return ""
}

// body renders the problem details (RFC 9457 s3.1). docs is the base of the
// explanation pages, or empty. It is written out by hand, since it is most of what
// a flood of refusals would cost.
func (f *Refusal) body(docs string) []byte {
	kind, title := "about:blank", http.StatusText(f.Status) // RFC 9457 s4.2.1
	if docs != "" {
		kind, title = docs+"/"+string(f.Code), table[f.Code].title
	}
	b := make([]byte, 0, 512)
	text := func(name, value string) {
		b = append(append(append(b, '"'), name...), `":`...)
		b = append(appendText(b, value), ',')
	}
	b = append(b, '{')
	text("type", kind)
	text("title", title)
	b = append(strconv.AppendInt(append(b, `"status":`...), int64(f.Status), 10), ',')
	text("code", string(f.Code))
	if e := f.oauthError(); e != "" {
		text("error", e)
	}
	text("detail", f.Detail)
	if f.Hint != "" {
		text("hint", f.Hint)
	}
	text("instance", "urn:durward:denial:"+f.ID)
	for _, name := range slices.Sorted(maps.Keys(f.Members)) {
		b = append(appendJSON(append(appendText(b, name), ':'), f.Members[name]), ',')
	}
	return append(b[:len(b)-1], "}\n"...)
}

// appendText appends a string as JSON.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			return appendJSON(b, s)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// appendJSON appends a value as JSON; what has none is null.
func appendJSON(b []byte, value any) []byte {
	to := bytes.NewBuffer(b)
	e := json.NewEncoder(to)
	e.SetEscapeHTML(false)
	if e.Encode(value) != nil {
		return append(b, "null"...)
	}
	return bytes.TrimSuffix(to.Bytes(), []byte{'\n'})
}

// retryAfter renders a duration as delay-seconds, rounded up so that a client
// that obeys is never early (RFC 9110 s10.2.3).
func retryAfter(d time.Duration) string {
	seconds := int64(d / time.Second)
	if d%time.Second > 0 {
		seconds++
	}
	return strconv.FormatInt(seconds, 10)
}

// denialID returns a ULID: 48 bits of milliseconds and 80 random bits in
// Crockford's base 32.
func denialID(now time.Time) string {
	const digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	var raw [16]byte
	ms := uint64(now.UnixMilli())
	for i := range 6 {
		raw[i] = byte(ms >> (40 - 8*i))
	}
	_, _ = rand.Read(raw[6:]) // crypto/rand.Read never returns an error
	var id [26]byte
	// 26 digits hold 130 bits: the first carries the top 3 of the 128.
	var acc uint32
	bits := 2
	n := 0
	for _, b := range raw {
		acc = acc<<8 | uint32(b)
		bits += 8
		for bits >= 5 {
			bits -= 5
			id[n] = digits[acc>>bits&31]
			n++
		}
	}
	return string(id[:])
}
