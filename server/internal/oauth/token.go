package oauth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/jwt"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/session"
	"github.com/durward-auth/durward/server/internal/store"
)

// TokenRequest is a request to the token endpoint (RFC 6749 s4.1.3, s4.4.2, s6).
type TokenRequest struct {
	GrantType    string
	Code         string
	RedirectURI  string
	Verifier     string // of PKCE (RFC 7636 s4.5)
	RefreshToken string
	Scope        []string // empty: all that may be given
	Resources    []string
	Key          *durward.HeldKey // of the DPoP proof; nil without one
}

// Issued is a token response (RFC 6749 s5.1).
type Issued struct {
	Access     string
	AccessLife time.Duration
	Bound      bool   // to a DPoP key: the token type is DPoP
	Refresh    string // empty for none
	ID         string // ID token; empty for none
	Scope      string
}

// Token gives tokens to a client that has authenticated. It refuses with an *Error or with a durward.Code; a
// refusal issues nothing and leaves code and refresh token as they were.
func (m *Manager) Token(ctx context.Context, c store.Client, q TokenRequest, from request.Info) (t Issued, err error) {
	issue, known := map[string]func(context.Context, store.Client, TokenRequest, request.Info) (Issued, error){
		GrantCredentials: m.credentials,
		GrantCode:        m.useCode,
		GrantRefresh:     m.refresh,
	}[q.GrantType]
	switch {
	case q.GrantType == "":
		err = refuse(InvalidRequest, "The parameter grant_type is missing.")
	case !known:
		err = refuse(UnsupportedGrantType, "This server has no such grant_type.")
	case !slices.Contains(c.Grants, q.GrantType):
		err = refuse(UnauthorizedClient, "This client may not use this grant_type.")
	default:
		t, err = issue(ctx, c, q, from)
	}
	m.c.Metrics.Issued(grantLabel(q.GrantType, known), outcomeOf(err))
	return t, err
}

func grantLabel(grant string, known bool) string {
	if known {
		return grant
	}
	return "other"
}

// outcomeOf names the result of a request for metrics.
func outcomeOf(err error) string {
	if refused, ok := errors.AsType[*Error](err); ok {
		return refused.Code
	}
	switch code, ok := errors.AsType[durward.Code](err); {
	case err == nil:
		return "issued"
	case !ok || code == durward.AuthUnavailable:
		return "unavailable"
	}
	return "refused"
}

// credentials answers a client that wants a token for itself (RFC 6749 s4.4).
func (m *Manager) credentials(ctx context.Context, c store.Client, q TokenRequest, _ request.Info) (t Issued, err error) {
	if c.Auth == store.ClientPublic {
		return t, refuse(UnauthorizedClient, "A client without a secret gets no tokens for itself.")
	}
	targets, err := m.Targets(c, q.Resources)
	if err != nil {
		return t, err
	}
	if len(q.Resources) > 1 {
		return t, errOneResource
	}
	scopes := m.ClientScopes(c, targets, q.Scope)
	if len(scopes) == 0 && len(q.Scope) > 0 {
		return t, errNoScope
	}
	jkt, err := spend(q.Key)
	if err != nil {
		return t, err
	}
	return m.access(jwt.Claims{
		Subject:   c.ID, // RFC 9068 s2.2
		ClientID:  c.ID,
		SessionID: c.SessionID,
		Audience:  m.audience(urls(targets)),
		Scopes:    scopes,
	}, jkt)
}

var (
	errOneResource = refuse(InvalidTarget, "Name one resource in each request for a token.")
	errNoScope     = refuse(InvalidScope, "The client may have none of the scopes that it asks for.")
)

// spend uses up a proof and returns the thumbprint of its key, or "".
func spend(key *durward.HeldKey) (string, error) {
	if key == nil {
		return "", nil
	}
	return key.Thumbprint, key.Spend()
}

// access signs an access token.
func (m *Manager) access(c jwt.Claims, jkt string) (t Issued, err error) {
	if jkt != "" {
		c.Confirmation = &jwt.Confirmation{JKT: jkt} // RFC 9449 s6.1
	}
	t = Issued{Scope: strings.Join(c.Scopes, " "), Bound: jkt != ""}
	t.Access, t.AccessLife, err = m.c.Issuer.Sign(c)
	return t, err
}

func urls(resources []Resource) (list []string) {
	for _, r := range resources {
		list = append(list, r.URL)
	}
	return list
}

// audience returns the audience of a token for the first of the resources that it may be for. Those of all tokens
// of the server belong together.
func (m *Manager) audience(resources []string) []string {
	if len(resources) == 0 || slices.Equal(resources, m.c.Audience) {
		return m.c.Audience
	}
	return resources[:1]
}

// choose returns the resource of a token: the requested one, if it was granted (RFC 8707 s2.2),
// or the first granted one.
func (m *Manager) choose(granted, requested []string) ([]string, error) {
	switch {
	case len(requested) == 0:
		return m.audience(granted), nil
	case len(requested) > 1:
		return nil, errOneResource
	}
	r, ok := m.Resource(requested[0])
	if !ok || !slices.ContainsFunc(granted, func(g string) bool { return canonical(g) == canonical(r.URL) }) {
		return nil, refuse(InvalidTarget, "The grant is not for the resource of the request.")
	}
	return []string{r.URL}, nil
}

// forUser gives the tokens of an application's session.
type forUser struct {
	client   store.Client
	session  store.Session
	user     store.User
	groups   []string
	audience []string
	scopes   []string
	claims   string // requested ones, as JSON
	nonce    string
	jkt      string
}

// narrowed returns what of the granted scopes the user may still give to the client, for the audience of the
// token, and of that the requested scopes.
func (m *Manager) narrowed(c store.Client, groups, audience []string, granted string, requested []string) []string {
	var targets []Resource
	for _, url := range audience {
		r, ok := m.Resource(url)
		if !ok {
			r = Resource{URL: url}
		}
		targets = append(targets, r)
	}
	scopes := strings.Fields(granted)
	if len(scopes) == 0 {
		return nil
	}
	scopes = m.GrantScopes(c, groups, targets, scopes)
	if len(requested) > 0 {
		scopes = slices.DeleteFunc(scopes, func(s string) bool { return !slices.Contains(requested, s) })
	}
	return scopes
}

// give signs the tokens of u.
func (m *Manager) give(ctx context.Context, u forUser) (Issued, error) {
	claims := jwt.Claims{
		Subject:   u.user.ID,
		ClientID:  u.client.ID,
		SessionID: u.session.ID,
		Audience:  u.audience,
		Scopes:    u.scopes,
		AuthTime:  u.session.AuthTime,
		ACR:       u.session.ACR,
		AMR:       u.session.AMR,
		Expires:   u.session.EndsAt,
	}
	for _, url := range u.audience {
		if r, ok := m.Resource(url); ok && slices.Contains(r.Claims, ScopeGroups) {
			claims.Groups = u.groups
		}
	}
	openID := slices.Contains(u.scopes, ScopeOpenID)
	if openID && m.c.UserInfo != "" {
		claims.Audience = append(slices.Clone(u.audience), m.c.UserInfo)
	}
	t, err := m.access(claims, u.jkt)
	if err == nil && openID {
		t.ID, err = m.idToken(ctx, u, t.Access)
	}
	return t, err
}

// useCode exchanges an authorization code (RFC 6749 s4.1.3).
func (m *Manager) useCode(ctx context.Context, c store.Client, q TokenRequest, from request.Info) (t Issued, err error) {
	if q.Code == "" {
		return t, refuse(InvalidRequest, "The parameter code is missing.")
	}
	jkt, err := spend(q.Key)
	if err != nil {
		return t, err
	}
	grantKey := jkt
	if c.Auth != store.ClientPublic {
		grantKey = "" // RFC 9449 s5: such a client authenticates
	}
	var audience []string
	use, r, err := m.c.Sessions.BeginApplication(ctx, session.UseCode{
		Code: q.Code,
		JKT:  grantKey,
		Check: func(code store.Code) error {
			err := checkCode(code, c, q, jkt)
			if err == nil {
				audience, err = m.choose(code.Resources, q.Resources)
			}
			return err
		},
		Grant: func(store.Code) bool { return slices.Contains(c.Grants, GrantRefresh) },
	}, from)
	switch {
	case err != nil:
		return t, err
	case errors.Is(use.Refused, store.ErrNotFound):
		return t, badGrant("The code is not known, or it has expired.", durward.InvalidToken, use.Refused)
	case errors.Is(use.Refused, store.ErrSpent):
		return t, badGrant("The code was used before.", durward.TokenRevoked, fmt.Errorf("a code of the client %s was used again: %w", use.Code.ClientID, use.Refused))
	case errors.Is(use.Refused, store.ErrChanged):
		return t, badGrant("The sign-in of the code has ended.", durward.SessionRevoked, use.Refused)
	case use.Refused != nil:
		return t, use.Refused
	}
	t, err = m.give(ctx, forUser{
		client:   c,
		session:  r.Session,
		user:     use.User,
		groups:   use.Groups,
		audience: audience,
		scopes:   m.narrowed(c, use.Groups, audience, use.Code.Scope, nil),
		claims:   use.Code.Claims,
		nonce:    use.Code.Nonce,
		jkt:      jkt,
	})
	t.Refresh = r.Refresh
	return t, err
}

// Lengths of a code_verifier (RFC 7636 s4.1).
const (
	minVerifier = 43
	maxVerifier = 128
)

// checkCode refuses a request that is not of the client, redirect URI, verifier or key of a code.
func checkCode(code store.Code, c store.Client, q TokenRequest, jkt string) error {
	wrong := func(description string) error { return badGrant(description, durward.InvalidRequest, nil) }
	switch {
	case code.ClientID != c.ID:
		// As for an unknown code: another client learns nothing about it.
		return badGrant("The code is not known, or it has expired.", durward.InvalidToken, fmt.Errorf("a code of the client %s, sent by %s", code.ClientID, c.ID))
	case q.RedirectURI != code.RedirectURI && (q.RedirectURI != "" || code.Challenge == ""):
		// RFC 6749 s4.1.3. With PKCE it may be absent (OAuth 2.1 s10.2).
		return wrong("The parameter redirect_uri is another one than in the authorization request.")
	case code.Challenge == "" && q.Verifier != "":
		// RFC 9700 s2.1.1: a challenge was removed on the way.
		return wrong("The authorization request had no code_challenge, but this one has a code_verifier.")
	case code.Challenge != "" && !verifies(q.Verifier, code.Challenge):
		return wrong("The parameter code_verifier does not belong to the code_challenge of the authorization request.")
	case code.JKT != "" && code.JKT != jkt:
		// RFC 9449 s10
		return badGrant("The DPoP proof is not of the key in the parameter dpop_jkt of the authorization request.", durward.InvalidProof, nil)
	}
	return nil
}

// verifies reports whether a code_verifier belongs to a challenge of S256 (RFC 7636 s4.6).
func verifies(verifier, challenge string) bool {
	if len(verifier) < minVerifier || len(verifier) > maxVerifier || strings.ContainsFunc(verifier, notUnreserved) {
		return false
	}
	sum := sha256.Sum256([]byte(verifier))
	return subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(challenge)) == 1
}

// notUnreserved reports whether a verifier must not have a character (RFC 3986 s2.3).
func notUnreserved(c rune) bool {
	return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-._~", c))
}

// badGrant returns the refusal of a code or refresh token.
func badGrant(description string, cause durward.Code, err error) *Error {
	return &Error{Code: InvalidGrant, Description: description, Cause: cause, Err: err}
}

// refresh answers a client that has a refresh token (RFC 6749 s6). Client, lock, groups and consent count as they
// are now.
func (m *Manager) refresh(ctx context.Context, c store.Client, q TokenRequest, from request.Info) (t Issued, err error) {
	if q.RefreshToken == "" {
		return t, refuse(InvalidRequest, "The parameter refresh_token is missing.")
	}
	var u forUser
	r, err := m.c.Sessions.RefreshApplication(ctx, q.RefreshToken, c.ID, q.Key, from, func(r *session.Rotated) error {
		audience, err := m.choose(r.Grant.Resources, q.Resources)
		if err != nil {
			return err
		}
		if wider := slices.ContainsFunc(q.Scope, func(s string) bool { return !slices.Contains(strings.Fields(r.Grant.Scope), s) }); wider {
			return refuse(InvalidScope, "The grant does not have every scope of the request.")
		}
		groups, err := m.c.DB.Groups(ctx, r.User.ID)
		if err != nil {
			return err
		}
		u = forUser{client: c, user: r.User, groups: groups, audience: audience, claims: r.Grant.Claims}
		u.scopes = m.narrowed(c, groups, audience, r.Grant.Scope, q.Scope)
		if len(u.scopes) == 0 && r.Grant.Scope != "" {
			return refuse(InvalidScope, "The user may give none of these scopes to the client any more.")
		}
		return nil
	})
	switch code, _ := errors.AsType[durward.Code](err); code {
	case durward.EnrolmentRequired: // nothing changed: the authorization endpoint leads the user to the enrolment
		return t, badGrant("The user has to set up a second factor first, at the authorization endpoint.", code, err)
	case durward.RefreshInvalid, durward.RefreshExpired, durward.SessionRevoked:
		return t, badGrant(refreshTexts[code], code, err)
	}
	if err != nil {
		return t, err
	}
	u.session = r.Session
	if q.Key != nil {
		u.jkt = q.Key.Thumbprint
	}
	t, err = m.give(ctx, u)
	t.Refresh = r.Refresh
	return t, err
}

// refreshTexts are the descriptions of refused refresh tokens.
var refreshTexts = map[durward.Code]string{
	durward.RefreshInvalid: "The refresh token is not valid for this client.",
	durward.RefreshExpired: "The refresh token has expired.",
	durward.SessionRevoked: "The grant of the refresh token has ended.",
}
