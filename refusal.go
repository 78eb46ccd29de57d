package durward

import "net/http"

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
	NotFound             Code = "NOT_FOUND"
	MethodNotAllowed     Code = "METHOD_NOT_ALLOWED"
	EmailTaken           Code = "EMAIL_TAKEN"
	BodyTooLarge         Code = "BODY_TOO_LARGE"
	UnsupportedMediaType Code = "UNSUPPORTED_MEDIA_TYPE"
	TooManyAttempts      Code = "TOO_MANY_ATTEMPTS" // 429, whether or not the account exists
	Internal             Code = "INTERNAL"
	AuthUnavailable      Code = "AUTH_UNAVAILABLE" // 503: who this is cannot be told just now; never a 401
)

// row is what the table of refusals fixes for a code.
type row struct {
	status int
}

var table = map[Code]row{}
