package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"

	"github.com/durward-auth/durward/internal/loopback"
	"github.com/durward-auth/durward/server/internal/store"
)

// Request is a checked authorization request (RFC 6749 s4.1.1, OpenID Connect Core s3.1.2.1).
type Request struct {
	Client store.Client

	parameters url.Values
	response   Response // without an outcome
	scopes     []string // requested; empty for none
	targets    []Resource
	challenge  string // of S256 (RFC 7636 s4.2); empty for none
	prompt     []string
	maxAge     time.Duration // of the sign-in; negative for any
	acr        []string      // wanted, the best first
	essential  bool          // a sign-in without one of acr is of no use
	subject    string        // the user that the client expects; empty for any
	badHint    bool          // id_token_hint is no ID token of this server
	claims     requestedClaims
}

// Values of prompt (OpenID Connect Core s3.1.2.1, Initiating User Registration s4.1).
const (
	promptNone    = "none"
	promptLogin   = "login"
	promptSelect  = "select_account"
	promptConsent = "consent"
	promptCreate  = "create"
)

// Bounds of parameters, in octets.
const (
	maxRequest   = 32 << 10
	maxParameter = 4096
	maxHint      = 8192 // of id_token_hint
)

// Response is the response to an authorization request that the browser takes to the client.
type Response struct {
	RedirectURI string
	FormPost    bool // by a form instead of a redirect (OAuth 2.0 Form Post Response Mode s2)
	Parameters  url.Values
}

// URL returns the redirect URI with the parameters (RFC 6749 s4.1.2).
func (r Response) URL() string {
	separator := "?"
	if strings.Contains(r.RedirectURI, "?") {
		separator = "&"
	}
	return r.RedirectURI + separator + r.Parameters.Encode()
}

// with returns r with further pairs of names and values.
func (r Response) with(pairs ...string) Response {
	all := url.Values{}
	for name, values := range r.Parameters {
		all[name] = values
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		all.Set(pairs[i], pairs[i+1])
	}
	r.Parameters = all
	return r
}

// Refused is the refusal of an authorization request that the client gets at its redirect URI. An *Error without
// it is for the user alone: the browser must not be redirected (RFC 6749 s4.1.2.1).
type Refused struct {
	Response Response
	Err      *Error
}

func (r *Refused) Error() string { return r.Err.Error() }

func (r *Refused) Unwrap() error { return r.Err }

// refuse returns the refusal of the request with err.
func (r *Request) refuse(err *Error) *Refused {
	return &Refused{Response: r.response.with("error", err.Code, "error_description", err.Description), Err: err}
}

// ParseRequest checks an authorization request in the form of a query. It refuses with an *Error as long as
// client and redirect URI are not known to belong together, and from then on with a *Refused.
func (m *Manager) ParseRequest(ctx context.Context, query string) (*Request, error) {
	if len(query) > maxRequest {
		return nil, refuse(InvalidRequest, "The request has more than %d octets.", maxRequest)
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, refuse(InvalidRequest, "The parameters are not in the form of application/x-www-form-urlencoded.")
	}
	if len(values["client_id"]) != 1 || len(values["redirect_uri"]) != 1 {
		return nil, refuse(InvalidRequest, "The request needs one client_id and one redirect_uri.")
	}
	client, err := m.Client(ctx, values.Get("client_id"))
	if errors.Is(err, store.ErrText) {
		return nil, refuse(InvalidClient, "This client is not known.")
	} else if err != nil {
		return nil, err
	}
	r := &Request{Client: client, parameters: values, maxAge: -1}
	r.response = Response{RedirectURI: values.Get("redirect_uri"), Parameters: url.Values{"iss": {m.c.Issuer.URL()}}} // RFC 9207 s2
	if !mayRedirect(client, r.response.RedirectURI) {
		return nil, &Error{
			Code:        InvalidRequest,
			Description: "The redirect_uri is not one of this client.",
			Err:         errors.New("the redirect_uri is not one of the client " + client.ID),
		}
	}
	if refused := m.parse(r); refused != nil {
		return nil, r.refuse(refused)
	}
	return r, nil
}

// parse checks the parameters of r after client_id and redirect_uri.
func (m *Manager) parse(r *Request) *Error {
	values := r.parameters
	// These two say how the client gets an error, also one about other parameters.
	if mode := values["response_mode"]; len(mode) == 1 && mode[0] == "form_post" {
		r.response.FormPost = true
	}
	if state := values["state"]; len(state) == 1 && state[0] != "" && len(state[0]) <= maxParameter && utf8.ValidString(state[0]) {
		r.response.Parameters.Set("state", state[0])
	}
	for name, sent := range values {
		switch {
		case len(sent) > 1 && name != "resource": // RFC 6749 s3.1; RFC 8707 s2 allows several resources
			return refuse(InvalidRequest, "A parameter is repeated.")
		case !utf8.ValidString(sent[0]):
			return refuse(InvalidRequest, "A parameter is not valid UTF-8.")
		case len(sent[0]) > maxHint, name != "id_token_hint" && len(sent[0]) > maxParameter:
			return refuse(InvalidRequest, "A parameter is too long.")
		}
	}
	switch mode := values.Get("response_mode"); {
	case values.Get("request") != "":
		return refuse(RequestNotSupported, "Request objects are not supported.")
	case values.Get("request_uri") != "":
		return refuse(RequestURINotSupported, "Requests by reference are not supported.")
	case values.Get("registration") != "":
		return refuse(RegistrationNotSupported, "Registration in a request is not supported.")
	case mode != "" && mode != "query" && mode != "form_post":
		return refuse(InvalidRequest, "The response_mode is query or form_post.")
	case values.Get("response_type") == "":
		return refuse(InvalidRequest, "The response_type is missing.")
	case values.Get("response_type") != "code":
		return refuse(UnsupportedResponseType, "The response_type is code.")
	case !slices.Contains(r.Client.Grants, GrantCode):
		return refuse(UnauthorizedClient, "This client may not use authorization codes.")
	}
	if err := r.parseChallenge(); err != nil {
		return err
	}
	if r.parameters.Get("dpop_jkt") != "" && !m.dpop.Load() {
		// Its code could never be used, because no proof is read.
		return refuse(InvalidRequest, "This server has DPoP off, so it binds no code to a key; leave dpop_jkt out.")
	}
	return m.parseHints(r)
}

// parseChallenge checks the parameters of PKCE (RFC 7636 s4.3) and DPoP (RFC 9449 s10).
func (r *Request) parseChallenge() *Error {
	challenge, method := r.parameters.Get("code_challenge"), r.parameters.Get("code_challenge_method")
	switch {
	case challenge == "" && method == "" && r.Client.PKCEOptional && r.Client.Auth != store.ClientPublic:
	case challenge == "":
		return refuse(InvalidRequest, "The request needs a code_challenge with the method S256 (RFC 7636).")
	case method != "S256": // without a method it is plain, which an eavesdropper can use
		return refuse(InvalidRequest, "The code_challenge_method is S256.")
	case !isDigest(challenge):
		return refuse(InvalidRequest, "The code_challenge of S256 has 43 characters of base64url.")
	}
	if jkt := r.parameters.Get("dpop_jkt"); jkt != "" && !isDigest(jkt) {
		return refuse(InvalidRequest, "The dpop_jkt has 43 characters of base64url.")
	}
	r.challenge = challenge
	return nil
}

// isDigest reports whether text has the form of a SHA-256 in base64url.
func isDigest(text string) bool {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return len(text) == 43 && strings.Trim(text, alphabet) == ""
}

// parseHints checks scope, resource and the conditions of the sign-in.
func (m *Manager) parseHints(r *Request) *Error {
	var err error
	requested := slices.DeleteFunc(slices.Clone(r.parameters["resource"]), func(s string) bool { return s == "" })
	if r.targets, err = m.Targets(r.Client, requested); err != nil {
		refused, _ := errors.AsType[*Error](err) // Targets has no other errors
		return refused
	}
	r.scopes = strings.Fields(r.parameters.Get("scope"))
	r.prompt = strings.Fields(r.parameters.Get("prompt"))
	if r.wants(promptNone) && len(r.prompt) > 1 {
		return refuse(InvalidRequest, "The prompt none stands alone.")
	}
	if text := r.parameters.Get("max_age"); text != "" {
		seconds, err := strconv.ParseUint(text, 10, 31)
		if err != nil {
			return refuse(InvalidRequest, "The max_age is a number of seconds.")
		}
		r.maxAge = time.Duration(seconds) * time.Second
	}
	r.acr = strings.Fields(r.parameters.Get("acr_values"))
	if text := r.parameters.Get("claims"); text != "" {
		if err := r.parseClaims(text); err != nil {
			return err
		}
	}
	if hint := r.parameters.Get("id_token_hint"); hint != "" {
		subject, ok := m.subjectOf(hint)
		switch {
		case !ok:
			r.badHint = true
		case r.subject != "" && r.subject != subject:
			return refuse(InvalidRequest, "The id_token_hint and the claim sub name different users.")
		default:
			r.subject = subject
		}
	}
	return nil
}

// wants reports whether the client sent a value of prompt.
func (r *Request) wants(prompt string) bool { return slices.Contains(r.prompt, prompt) }

// LoginHint returns the address of the user that the client expects, or "".
func (r *Request) LoginHint() string { return r.parameters.Get("login_hint") }

// Destination returns the host that the response goes to. It is empty for an app or a program of the user's own
// device.
func (r *Request) Destination() string {
	u, err := url.Parse(r.response.RedirectURI)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || loopback.Host(u.Hostname()) {
		return ""
	}
	return u.Host
}

// Languages returns the languages that the client wants, the best first, with spaces between.
func (r *Request) Languages() string { return r.parameters.Get("ui_locales") }

// ACR returns the levels of the sign-in that the client wants, with spaces between.
func (r *Request) ACR() string { return strings.Join(r.acr, " ") }

// requestedClaims are the claims that a client asks for by name (OpenID Connect Core s5.5).
type requestedClaims struct {
	UserInfo map[string]*requestedClaim `json:"userinfo,omitempty"`
	IDToken  map[string]*requestedClaim `json:"id_token,omitempty"`
}

// requestedClaim says how a claim is wanted; nil asks for it without saying more.
type requestedClaim struct {
	Essential bool  `json:"essential,omitempty"`
	Value     any   `json:"value,omitempty"`
	Values    []any `json:"values,omitempty"`
}

// scopeOfClaim is the scope that a client needs for a claim of a user.
var scopeOfClaim = map[string]string{"name": ScopeProfile, "email": ScopeEmail, "email_verified": ScopeEmail, "groups": ScopeGroups}

// parseClaims reads the parameter claims. It keeps the claims that the client may have and that this server
// knows, without wanted values.
func (r *Request) parseClaims(text string) *Error {
	var sent requestedClaims
	if err := json.Unmarshal([]byte(text), &sent); err != nil {
		return refuse(InvalidRequest, "The parameter claims is not the JSON object of OpenID Connect Core s5.5.")
	}
	if acr := sent.IDToken["acr"]; acr != nil {
		var wanted []string
		for _, value := range append(acr.Values, acr.Value) {
			if text, ok := value.(string); ok && text != "" && !strings.ContainsAny(text, " \t\r\n") {
				wanted = append(wanted, text)
			}
		}
		if len(wanted) > 0 {
			r.acr, r.essential = wanted, acr.Essential
		}
	}
	if sub := sent.IDToken["sub"]; sub != nil {
		if text, ok := sub.Value.(string); ok {
			r.subject = text
		}
	}
	keep := func(claims map[string]*requestedClaim) map[string]*requestedClaim {
		kept := map[string]*requestedClaim{}
		for name, c := range claims {
			if scope := scopeOfClaim[name]; scope == "" || !slices.Contains(r.Client.Scopes, scope) {
				continue
			}
			if kept[name] = nil; c != nil && c.Essential {
				kept[name] = &requestedClaim{Essential: true}
			}
		}
		return kept
	}
	r.claims = requestedClaims{UserInfo: keep(sent.UserInfo), IDToken: keep(sent.IDToken)}
	return nil
}

// scopes returns the scopes that belong to the claims.
func (c requestedClaims) scopes() (scopes []string) {
	for _, claims := range []map[string]*requestedClaim{c.UserInfo, c.IDToken} {
		for name := range claims {
			scopes = append(scopes, scopeOfClaim[name])
		}
	}
	slices.Sort(scopes)
	return slices.Compact(scopes)
}

// text returns the claims as JSON, or "" for none.
func (c requestedClaims) text() string {
	if len(c.UserInfo) == 0 && len(c.IDToken) == 0 {
		return ""
	}
	text, _ := json.Marshal(c) // maps of flags always marshal
	return string(text)
}

// subjectOf returns the user of an ID token of this server, which may have expired (OpenID Connect Core
// s3.1.2.1). ok is false for another token, and for one whose key is no longer published.
func (m *Manager) subjectOf(hint string) (subject string, ok bool) {
	signed, err := jose.ParseSignedCompact(hint, []jose.SignatureAlgorithm{jose.EdDSA, jose.ES256, jose.RS256})
	if err != nil || len(signed.Signatures) != 1 {
		return "", false
	}
	// The type of an access token is at+jwt (RFC 9068 s2.1).
	if kind, _ := signed.Signatures[0].Header.ExtraHeaders[jose.HeaderType].(string); kind != "" && !strings.EqualFold(kind, "JWT") {
		return "", false
	}
	var keys jose.JSONWebKeySet
	if err := json.Unmarshal(m.c.Issuer.JWKS(), &keys); err != nil {
		return "", false
	}
	for _, key := range keys.Key(signed.Signatures[0].Header.KeyID) {
		payload, err := signed.Verify(key)
		if err != nil {
			continue
		}
		var claims struct {
			Issuer  string `json:"iss"`
			Subject string `json:"sub"`
		}
		if json.Unmarshal(payload, &claims) == nil && claims.Issuer == m.c.Issuer.URL() && claims.Subject != "" {
			return claims.Subject, true
		}
	}
	return "", false
}
