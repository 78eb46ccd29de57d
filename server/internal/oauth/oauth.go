// Package oauth holds the rules of OAuth 2.0 and OpenID Connect: clients, resources, authorization requests,
// codes, consent and tokens of applications. It imports neither HTTP nor SQL.
//
// A rule that refuses returns an *Error. Any other error means that the rule could not be applied because of a
// temporary failure.
package oauth

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/issuer"
	"github.com/durward-auth/durward/server/internal/limits"
	"github.com/durward-auth/durward/server/internal/metrics"
	"github.com/durward-auth/durward/server/internal/session"
	"github.com/durward-auth/durward/server/internal/store"
)

// Config configures a Manager. DB, Accounts, Issuer and Sessions are required.
type Config struct {
	DB       *store.DB
	Accounts *account.Manager
	Issuer   *issuer.Issuer
	Sessions *session.Manager
	Log      *slog.Logger     // nil means no log
	Now      func() time.Time // nil means the clock of DB

	Resources []Resource    // at the start; Configure replaces them
	Audience  []string      // aud of a token for no resource; default the issuer
	CodeTTL   time.Duration // life of an authorization code, up to 10 min; default 60 s
	UserInfo  string        // URL of the userinfo endpoint, an audience of tokens with the scope openid

	Requests   *limits.Rate     // limits stored authorization requests of one network; nil means no limit
	BadClients *limits.Rate     // limits failed authentications of clients of one network; nil means no limit
	Metrics    *metrics.Metrics // nil: nothing is counted
}

// Manager applies the rules to one database. It is safe for concurrent use.
type Manager struct {
	c         Config
	resources atomic.Pointer[[]Resource] // of Configure; nil before it
	dpop      atomic.Bool                // of AllowDPoP
}

// AllowDPoP says whether the server binds tokens to keys (RFC 9449). Without it a request that binds its code to a key
// is refused.
func (m *Manager) AllowDPoP(allow bool) { m.dpop.Store(allow) }

// maxCodeTTL is the longest life of a code (RFC 6749 s4.1.2).
const maxCodeTTL = 10 * time.Minute

// New returns a Manager, or an error that names every mistake in c.
func New(c Config) (*Manager, error) {
	var errs []error
	if c.DB == nil || c.Accounts == nil || c.Issuer == nil || c.Sessions == nil {
		errs = append(errs, errors.New("oauth: database, accounts, issuer and sessions are required"))
	}
	if c.CodeTTL = cmp.Or(c.CodeTTL, time.Minute); c.CodeTTL < time.Second || c.CodeTTL > maxCodeTTL {
		errs = append(errs, fmt.Errorf("oauth: the life of codes is %s, want 1s to %s", c.CodeTTL, maxCodeTTL))
	}
	errs = append(errs, CheckResources(c.Resources))
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if c.Now == nil {
		c.Now = c.DB.Now
	}
	if len(c.Audience) == 0 {
		c.Audience = []string{c.Issuer.URL()}
	}
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	return &Manager{c: c}, nil
}

// Codes of errors in responses (RFC 6749 s4.1.2.1, s5.2; RFC 8707 s2; RFC 9449 s5; OpenID Connect Core s3.1.2.6).
const (
	InvalidRequest          = "invalid_request"
	InvalidClient           = "invalid_client"
	InvalidGrant            = "invalid_grant"
	UnauthorizedClient      = "unauthorized_client"
	UnsupportedGrantType    = "unsupported_grant_type"
	UnsupportedResponseType = "unsupported_response_type"
	InvalidScope            = "invalid_scope"
	InvalidTarget           = "invalid_target"
	AccessDenied            = "access_denied"
	LoginRequired           = "login_required"
	ConsentRequired         = "consent_required"
	InteractionRequired     = "interaction_required"
	AccountSelection        = "account_selection_required"
	UnmetAuthentication     = "unmet_authentication_requirements"
	TemporarilyUnavailable  = "temporarily_unavailable"

	RequestNotSupported      = "request_not_supported"
	RequestURINotSupported   = "request_uri_not_supported"
	RegistrationNotSupported = "registration_not_supported"
)

// Error is a refusal of a request of OAuth 2.0.
type Error struct {
	Code        string       // for the client, such as InvalidGrant
	Description string       // for the developer of the client: printable ASCII without quotes (RFC 6749 s5.2)
	Cause       durward.Code // the refusal of this server that it stands for; empty for none
	Err         error        // for the log
}

func (e *Error) Error() string {
	if e.Err != nil {
		return "oauth: " + e.Code + ": " + e.Err.Error()
	}
	return "oauth: " + e.Code + ": " + e.Description
}

func (e *Error) Unwrap() error { return e.Err }

// refuse returns an Error. Its description is its cause for the log, too.
func refuse(code, description string, args ...any) *Error {
	return &Error{Code: code, Description: fmt.Sprintf(description, args...)}
}
