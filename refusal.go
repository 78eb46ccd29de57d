package durward

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Code is the reason for a refusal. The list is closed: each code has one row in the table of
// refusals, which determines its status, its challenges and the texts that the client receives.
//
// A Code is an error. A check refuses a request by wrapping one, together with the cause for the
// log:
//
//	return nil, fmt.Errorf("kid %q is in no key set: %w", kid, durward.InvalidToken)
//
// An error that wraps no Code is treated as [AuthUnavailable]: the check failed for an internal
// reason. Access is denied, and the client keeps its credentials.
type Code string

// Error returns the code itself.
func (c Code) Error() string { return string(c) }

// Status returns the HTTP status of the code, and 503 for a Code that is not in the table. Where
// this is 401, refusals by [Guard.Proxy] are 407.
func (c Code) Status() int {
	if row, ok := table[c]; ok {
		return row.status
	}
	return http.StatusServiceUnavailable
}

// Codes returns all codes, sorted.
func Codes() []Code { return slices.Sorted(maps.Keys(table)) }

const (
	// Authentication failed or is missing: 401.

	AuthenticationRequired Code = "AUTHENTICATION_REQUIRED" // no credentials
	UnsupportedScheme      Code = "UNSUPPORTED_SCHEME"      // credentials of a scheme that the route does not accept
	MalformedCredentials   Code = "MALFORMED_CREDENTIALS"   // not credentials by RFC 9110 s11.4 or by their scheme
	InvalidToken           Code = "INVALID_TOKEN"           // the token fails a check other than expiry or revocation
	TokenExpired           Code = "TOKEN_EXPIRED"           // valid except for exp
	TokenRevoked           Code = "TOKEN_REVOKED"           // the token, its session or its key was revoked
	InvalidCredentials     Code = "INVALID_CREDENTIALS"     // wrong user or password, never stating which
	InvalidAPIKey          Code = "INVALID_API_KEY"         // unknown, expired or revoked API key
	SessionExpired         Code = "SESSION_EXPIRED"         // session cookie unknown, expired or signed out
	StaleNonce             Code = "STALE_NONCE"             // correct Digest response to an old nonce
	InvalidProof           Code = "INVALID_PROOF"           // DPoP proof missing, wrong or replayed
	NonceRequired          Code = "NONCE_REQUIRED"          // DPoP proof without a fresh server nonce
	MFARequired            Code = "MFA_REQUIRED"            // password correct, second factor missing

	// Refusals of the refresh endpoint, 401: only these sign a client out.

	RefreshInvalid Code = "REFRESH_INVALID"
	RefreshExpired Code = "REFRESH_EXPIRED"
	SessionRevoked Code = "SESSION_REVOKED"

	// Authenticated, but by a sign-in that is too weak or too old: 401.

	StepUpRequired Code = "STEP_UP_REQUIRED"

	// Authenticated, but not allowed: 403.

	InsufficientScope         Code = "INSUFFICIENT_SCOPE"
	Forbidden                 Code = "FORBIDDEN"
	CrossSite                 Code = "CROSS_SITE"
	EnrolmentRequired         Code = "ENROLMENT_REQUIRED"
	AccountDisabled           Code = "ACCOUNT_DISABLED"
	EmailUnverified           Code = "EMAIL_UNVERIFIED"
	PasswordChangeRequired    Code = "PASSWORD_CHANGE_REQUIRED"
	ClientCertificateRequired Code = "CLIENT_CERTIFICATE_REQUIRED"
	InsecureTransport         Code = "INSECURE_TRANSPORT"

	// Authentication to a forward proxy: 407.

	ProxyAuthenticationRequired Code = "PROXY_AUTHENTICATION_REQUIRED"

	// Not about authentication.

	AmbiguousCredentials Code = "AMBIGUOUS_CREDENTIALS" // 400: two sets of explicit credentials
	InvalidRequest       Code = "INVALID_REQUEST"       // 400
	MisdirectedRequest   Code = "MISDIRECTED_REQUEST"   // 421: the connection was opened for another host name
	NotFound             Code = "NOT_FOUND"
	MethodNotAllowed     Code = "METHOD_NOT_ALLOWED"
	EmailTaken           Code = "EMAIL_TAKEN"
	BodyTooLarge         Code = "BODY_TOO_LARGE"
	UnsupportedMediaType Code = "UNSUPPORTED_MEDIA_TYPE"
	TooManyAttempts      Code = "TOO_MANY_ATTEMPTS" // 429, whether or not the account exists
	Internal             Code = "INTERNAL"
	AuthUnavailable      Code = "AUTH_UNAVAILABLE" // 503: verification failed for an internal reason; never a 401
)

// challengeRule states which challenges accompany a refusal.
type challengeRule int

const (
	noChallenge     challengeRule = iota
	allChallenges                 // one for each scheme that the route accepts
	ownChallenge                  // that of the refused credentials, if it can carry the error
	oauthChallenges               // Bearer and DPoP
)

// row is the part of a refusal that its code determines.
type row struct {
	status     int
	challenges challengeRule
	error      string // OAuth error: parameter of the challenge, member of the body
	title      string
	detail     string // for the client: no more than the code itself reveals
	hint       string // for the client: what to do next
}

// table is the list of all refusals.
var table = map[Code]row{
	// RFC 6750 s3.1: a request without credentials gets no error code.
	AuthenticationRequired: {401, allChallenges, "", "Authentication required",
		"The request has no credentials, and this resource requires them.",
		"Send credentials of a scheme that WWW-Authenticate names."},
	UnsupportedScheme: {401, allChallenges, "", "Authentication scheme not accepted",
		"The Authorization field has a scheme that this resource does not accept.",
		"Use a scheme that WWW-Authenticate names."},
	MalformedCredentials: {401, allChallenges, "", "Malformed credentials",
		"The Authorization field is not well-formed.",
		"Send a scheme, one space and the credentials; for a token: Authorization: Bearer TOKEN."},
	AmbiguousCredentials: {400, oauthChallenges, "invalid_request", "Ambiguous credentials",
		"The request has more than one set of credentials.",
		"Send one Authorization field or one X-API-Key field, not both."},
	InvalidRequest: {400, noChallenge, "", "Invalid request",
		"The request is not valid.", ""},
	MisdirectedRequest: {421, noChallenge, "", "Misdirected request",
		"The connection was opened for another host name than that of the request.",
		"Open a new connection to this host name and send the request again."},
	InvalidToken: {401, allChallenges, "invalid_token", "Invalid access token",
		"The access token is not valid.",
		"Get a new access token and send the request once more. If it is refused again, sign in again."},
	TokenExpired: {401, allChallenges, "invalid_token", "Access token expired",
		"The access token has expired.",
		"Refresh the token and send the request again."},
	TokenRevoked: {401, allChallenges, "invalid_token", "Access token revoked",
		"The access token was revoked.",
		"Sign in again."},
	InvalidCredentials: {401, allChallenges, "", "Invalid credentials",
		"The user name or the password is wrong.",
		"Check both. The server never states which of them is wrong."},
	InvalidAPIKey: {401, allChallenges, "invalid_token", "Invalid API key",
		"The API key is not valid.",
		"Check that the key is complete, or create a new one."},
	SessionExpired: {401, allChallenges, "", "Session ended",
		"The session has ended.",
		"Sign in again."},
	RefreshInvalid: {401, allChallenges, "", "Refresh token not valid",
		"The refresh token is not valid.",
		"Sign in again."},
	RefreshExpired: {401, allChallenges, "", "Refresh token expired",
		"The refresh token has expired.",
		"Sign in again."},
	SessionRevoked: {401, allChallenges, "", "Session revoked",
		"The session was revoked.",
		"Sign in again."},
	StaleNonce: {401, allChallenges, "", "Stale nonce",
		"The response is correct, but its nonce has expired.",
		"Answer the new challenge with the same user name and password, without asking the user."},
	InvalidProof: {401, allChallenges, "invalid_dpop_proof", "Invalid DPoP proof",
		"The DPoP proof is missing or not valid for this request.",
		"Create a new proof for this method, this URL and this token."},
	NonceRequired: {401, allChallenges, "use_dpop_nonce", "DPoP nonce required",
		"The DPoP proof has no fresh nonce of this server.",
		"Create a new proof with the nonce of the DPoP-Nonce field and send the request again."},
	MFARequired: {401, allChallenges, "", "Second factor required",
		"The password is correct, but the sign-in also requires a second factor.",
		"Send mfa_token and one of the methods to POST /api/auth/login/mfa."},
	// RFC 9470 s3.
	StepUpRequired: {401, allChallenges, "insufficient_user_authentication", "Stronger or more recent sign-in required",
		"This operation requires a stronger or more recent sign-in.",
		"Sign in again as the challenge states and send the request again."},
	EnrolmentRequired: {403, noChallenge, "", "Second factor not set up",
		"This operation requires a second factor, and the account has none.",
		"Set up a second factor and send the request again."},
	// RFC 6750 s3.1.
	InsufficientScope: {403, ownChallenge, "insufficient_scope", "Insufficient scope",
		"The credentials do not have the required scopes.",
		"Request the scopes in required_scopes. The same credentials will be refused again."},
	Forbidden: {403, noChallenge, "", "Forbidden",
		"The user or client is not allowed to do this.",
		"Other credentials may be allowed. The same credentials will be refused again."},
	CrossSite: {403, noChallenge, "", "Cross-site request refused",
		"A page of another site sent this request with the session cookie.",
		"Send it from a page of this site, or use an access token instead of the cookie."},
	AccountDisabled: {403, noChallenge, "", "Account disabled",
		"The account is locked.",
		"Contact an administrator."},
	EmailUnverified: {403, noChallenge, "", "E-mail address not verified",
		"The e-mail address of the account is not verified.",
		"Open the link in the verification e-mail."},
	PasswordChangeRequired: {403, noChallenge, "", "Password change required",
		"The password must be changed before the next sign-in.",
		"Set a new password, then sign in."},
	ClientCertificateRequired: {403, noChallenge, "", "Client certificate required",
		"This resource requires a valid client certificate.",
		"Connect with a valid client certificate."},
	InsecureTransport: {403, noChallenge, "", "HTTPS required",
		"The request was sent over plain http, where credentials can be read by others.",
		"Send the request over https."},
	ProxyAuthenticationRequired: {407, allChallenges, "", "Proxy authentication required",
		"The request has no credentials, and this proxy requires them.",
		"Send credentials in Proxy-Authorization, of a scheme that Proxy-Authenticate names."},
	TooManyAttempts: {429, noChallenge, "", "Too many attempts",
		"There were too many attempts.",
		"Wait for the number of seconds in Retry-After."},
	AuthUnavailable: {503, noChallenge, "", "Authentication unavailable",
		"The credentials could not be checked because of a temporary failure.",
		"Keep the credentials and try again after the number of seconds in Retry-After."},
	NotFound: {404, noChallenge, "", "Not found",
		"There is no resource at this path.", ""},
	MethodNotAllowed: {405, noChallenge, "", "Method not allowed",
		"This resource does not support this method.",
		"Use a method that Allow names."},
	EmailTaken: {409, noChallenge, "", "E-mail address taken",
		"An account with this e-mail address exists.",
		"Sign in, or use another address."},
	BodyTooLarge: {413, noChallenge, "", "Body too large",
		"The body of the request is too large.",
		"Send at most 64 KiB."},
	UnsupportedMediaType: {415, noChallenge, "", "Unsupported media type",
		"The body of the request has a type that this resource does not accept.",
		"Send Content-Type: application/json."},
	Internal: {500, noChallenge, "", "Internal error",
		"The server failed to process the request.",
		"Report the identifier in instance to the operator."},
}

// Refusal is a refused request: the texts for the client, and apart from them the cause, which is
// only for the log.
//
// It is an error, so a check may return one in place of a [Code] to give more details than the code
// does; zero fields are filled in from the table. A Refusal that [Guard.Check] returns is complete.
type Refusal struct {
	Code   Code
	Detail string // for the client; replaces the table's detail
	Hint   string // for the client; replaces the table's hint

	// Members are additional members of the problem details (RFC 9457 s3.2), for the client.
	Members map[string]any

	RetryAfter time.Duration // sent with 429 and 503, in whole seconds, rounded up
	Allow      []string      // methods; sent with 405

	// Err is the cause: the check that failed and its values. It is for the log, is never sent to
	// the client and contains no secret.
	Err error

	// The guard sets the remaining fields.

	ID         string      // denial id, a ULID
	Status     int         // HTTP status: the code's, 407 for a proxy, 303 for a redirect to sign in
	Scheme     string      // registered name of the scheme of the refused credentials, if any
	Challenges []Challenge // as sent, strongest first
	Location   string      // URL of the sign-in page, with 303
	Page       bool        // the body is an HTML page instead of problem details
}

// Error returns code and cause, for the log.
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

// Cause returns Err without the code at its end, for logs that have a field for the code.
func (f *Refusal) Cause() string {
	if f == nil || f.Err == nil {
		return ""
	}
	return strings.TrimSuffix(strings.TrimSuffix(f.Err.Error(), string(f.Code)), ": ")
}

// logRefusal logs a refusal. It is the default of Config.OnRefusal.
func logRefusal(r *http.Request, f *Refusal) {
	level := slog.LevelInfo
	if f.Status >= http.StatusInternalServerError {
		level = slog.LevelError
	}
	log := slog.Default()
	if !log.Enabled(r.Context(), level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("code", string(f.Code)),
		slog.Int("status", f.Status),
		slog.String("cause", f.Cause()),
		slog.String("denial", f.ID),
		slog.String("method", r.Method),
		slog.String("path", r.URL.Path), // without the query, which may hold secrets
	}
	if st := stateOf(r.Context()); st != nil && st.client.IsValid() {
		attrs = append(attrs, slog.String("client", st.client.String()))
	}
	if _, coded := errors.AsType[Code](f.Err); f.Code == AuthUnavailable && !coded {
		attrs = append(attrs, slog.String("note", "the error wraps no durward.Code, so it counts as an outage; wrap one, such as durward.InvalidToken, to refuse"))
	}
	log.LogAttrs(r.Context(), level, "request refused", attrs...)
}

// complete copies the refusal that err describes and fills in its zero fields.
func (g *Guard) complete(err error) *Refusal {
	f := new(Refusal)
	var given *Refusal
	var code Code
	switch {
	case errors.As(err, &given) && given == nil:
		f.Code, f.Err = Internal, errors.New("refused by a nil *Refusal")
	case given != nil:
		*f = *given
		// The wrapping error contains the cause and more.
		if err != error(given) {
			f.Err = err
		}
	case errors.As(err, &code):
		f.Code, f.Err = code, err
	case err == nil:
		f.Code, f.Err = Internal, errors.New("refused without a reason")
	default:
		// An internal failure is never a 401.
		f.Code, f.Err = AuthUnavailable, err
	}
	if _, ok := table[f.Code]; !ok {
		f.Err = errors.Join(fmt.Errorf("code %q is not in the table", string(f.Code)), f.Err)
		f.Code = AuthUnavailable
	}
	f.ID = denialID(g.c.Now())
	g.fill(f, f.Code)
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

// fill sets the code of f, its status, and its detail and hint if they are empty.
func (g *Guard) fill(f *Refusal, code Code) {
	row := table[code]
	f.Code, f.Status = code, row.status
	f.Detail = cmp.Or(f.Detail, row.detail)
	if hint, ok := g.c.Hints[code]; ok {
		row.hint = hint
	}
	f.Hint = cmp.Or(f.Hint, row.hint)
}

// body renders the problem details (RFC 9457 s3.1). docs is the base of the explanation pages, or
// empty. The JSON is written by hand, because it is most of the cost of a refusal.
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
	for _, c := range f.Challenges {
		if e, ok := c.Param("error"); ok {
			text("error", e)
			break
		}
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

// appendJSON appends value as JSON, and null if it cannot be encoded.
func appendJSON(b []byte, value any) []byte {
	to := bytes.NewBuffer(b)
	e := json.NewEncoder(to)
	e.SetEscapeHTML(false)
	if e.Encode(value) != nil {
		return append(b, "null"...)
	}
	return bytes.TrimSuffix(to.Bytes(), []byte{'\n'})
}

var crockford = base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ")

// denialID returns a ULID: 48 bits of milliseconds and 80 random bits, in Crockford's base 32.
func denialID(now time.Time) string {
	var raw [20]byte // with four zero octets in front: 32 digits, of which a ULID is the last 26
	binary.BigEndian.PutUint64(raw[4:], uint64(now.UnixMilli())<<16)
	_, _ = rand.Read(raw[10:]) // crypto/rand.Read never returns an error
	return crockford.EncodeToString(raw[:])[6:]
}
