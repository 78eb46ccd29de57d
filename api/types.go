package api

import (
	"encoding/json"
	"time"
)

// LoginRequest is the body of POST /api/auth/login.
type LoginRequest struct {
	Email      string `json:"email"`
	Password   string `json:"password"`
	UseCookies bool   `json:"use_cookies,omitzero"` // answer with a session cookie instead of tokens
	Remember   bool   `json:"remember,omitzero"`    // with UseCookies: stay signed in after the browser ends
}

// RefreshRequest is the body of POST /api/auth/refresh.
type RefreshRequest struct {
	RefreshToken string `json:"refresh_token"`
}

// Second factors, in [MFARequest] and [FactorRequiredError].
const (
	FactorTOTP         = "totp"          // code of an authenticator app (RFC 6238)
	FactorRecoveryCode = "recovery_code" // one of the codes that the user keeps for a lost device
	FactorPasskey      = "passkey"       // response of a passkey (WebAuthn level 3)
)

// MFARequest is the body of POST /api/auth/login/mfa.
type MFARequest struct {
	MFAToken  string          `json:"mfa_token"` // of the refusal MFA_REQUIRED
	Method    string          `json:"method"`    // FactorTOTP, FactorRecoveryCode or FactorPasskey
	Code      string          `json:"code,omitzero"`
	Assertion json.RawMessage `json:"assertion,omitzero"` // of a passkey, in place of Code: as in PasskeyLoginRequest
}

// StepUpRequest is the body of POST /api/auth/step-up. It has one of its members: the password, or for a
// user with a second factor a code of it or the response of a passkey.
type StepUpRequest struct {
	Password     string          `json:"password,omitzero"`
	TOTP         string          `json:"totp,omitzero"`
	RecoveryCode string          `json:"recovery_code,omitzero"`
	Passkey      json.RawMessage `json:"passkey,omitzero"` // response to POST /api/auth/passkeys/step-up/begin
}

// PasskeyOptions is the body of the responses of POST /api/auth/passkeys/begin, …/login/begin and
// …/step-up/begin.
type PasskeyOptions struct {
	PublicKey json.RawMessage `json:"public_key"` // options in the JSON form of WebAuthn level 3 s5.1.8 or s5.1.9
	ExpiresIn int64           `json:"expires_in"` // life of the challenge, in seconds
}

// PasskeyLoginRequest is the body of POST /api/auth/passkeys/login/finish.
type PasskeyLoginRequest struct {
	Assertion  json.RawMessage `json:"assertion"`            // AuthenticationResponseJSON of WebAuthn level 3 s5.1
	UseCookies bool            `json:"use_cookies,omitzero"` // as of LoginRequest
	Remember   bool            `json:"remember,omitzero"`    // as of LoginRequest
}

// TOTPEnrolment is the body of the response of POST /api/auth/mfa/totp: a new seed for an authenticator app.
// It counts once a code of it was sent to POST /api/auth/mfa/totp/confirm.
type TOTPEnrolment struct {
	Secret string `json:"secret"` // in base32, to type
	URI    string `json:"uri"`    // otpauth://totp/…
	SVG    string `json:"qr_svg"` // QR code of the URI, an SVG document
	PNG    []byte `json:"qr_png"` // the same as a PNG image
}

// Factors is the body of GET /api/auth/mfa.
type Factors struct {
	Methods       []string  `json:"methods"`                  // second factors that can be used now
	Passkeys      int       `json:"passkeys"`                 // how many there are
	TOTPSince     time.Time `json:"totp_since,omitzero"`      // when the authenticator app was confirmed
	RecoveryCodes int       `json:"recovery_codes"`           // that are left
	Locked        []string  `json:"locked_methods,omitempty"` // after too many wrong codes
}

// RecoveryCodes is the body of the response of POST /api/auth/mfa/recovery-codes. No other response has them.
type RecoveryCodes struct {
	Codes []string `json:"codes"`
}

// LogoutRequest is the body of POST /api/auth/logout. A request with an access token or a cookie may
// leave out the refresh token.
type LogoutRequest struct {
	RefreshToken string `json:"refresh_token,omitzero"`
	Everywhere   bool   `json:"everywhere,omitzero"` // end all sessions of the user
}

// TokenResponse is the body of a successful sign-in, refresh or step-up: RFC 6749 s5.1 with the life
// of the refresh token. Lives are in seconds.
type TokenResponse struct {
	AccessToken      string `json:"access_token"`
	TokenType        string `json:"token_type"` // "Bearer" or "DPoP"
	ExpiresIn        int64  `json:"expires_in"`
	RefreshToken     string `json:"refresh_token,omitzero"`
	RefreshExpiresIn int64  `json:"refresh_expires_in,omitzero"`
	Scope            string `json:"scope"`
}

// RevocationPage is the body of GET /api/revocations.
type RevocationPage struct {
	Epoch string       `json:"epoch"` // if it changes, the feed started again: read it from its start
	Next  int64        `json:"next"`  // number to ask for in the next request
	More  bool         `json:"more,omitempty"`
	Items []Revocation `json:"items"` // by Seq; an earlier page may have had some of them
}

// Revocation is one revoked token, session or signing key.
type Revocation struct {
	Seq   int64     `json:"seq"`
	Kind  string    `json:"kind"` // the claim or header parameter that it matches: jti, sid, kid
	Value string    `json:"value"`
	At    time.Time `json:"at"`
	Until time.Time `json:"until"` // when every token that it matches has expired
}

// AsOfField is the response field of GET /api/revocations that tells when the page was complete, in
// seconds from the arrival of the request, so clocks need not agree.
const AsOfField = "Durward-As-Of"
