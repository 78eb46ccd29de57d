package httpapi

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/jwt"
	"github.com/durward-auth/durward/server/internal/issuer"
	"github.com/durward-auth/durward/server/internal/oauth"
	"github.com/durward-auth/durward/server/internal/session"
	"github.com/durward-auth/durward/server/internal/store"
)

// ofClient is an endpoint for a client that has authenticated. It gets the parameters of the body.
type ofClient func(w http.ResponseWriter, r *http.Request, c store.Client, form url.Values) error

// forClients serves e to clients of OAuth 2.0. An error is answered by refuseOAuth. The client is authenticated
// before e reads its parameters, so that no other client tests codes or tokens.
func (s *Server) forClients(e ofClient) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		form, err := readForm(w, r)
		if err == nil {
			var c store.Client
			if c, err = s.authenticateClient(r, form); err == nil {
				err = e(w, r, c, form)
			}
		}
		if err != nil {
			s.refuseOAuth(w, r, err)
		}
	})
}

// readForm reads the parameters of a request to an endpoint of OAuth 2.0. It refuses another media type,
// parameters in the URL and parameters that are there twice, except resource (RFC 6749 s3.2; RFC 8707 s2).
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	bad := func(description string) error {
		return &oauth.Error{Code: oauth.InvalidRequest, Description: description}
	}
	// RFC 6749 s2.3.1: parameters with secrets must not be in the URL. There they reach logs.
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || slices.ContainsFunc(formParameters, query.Has) {
		return nil, bad("The URL has parameters of the request; send them in the body.")
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" || len(r.Header["Content-Type"]) > 1 || r.Header.Get("Content-Encoding") != "" {
		return nil, bad("The body is not application/x-www-form-urlencoded.")
	}
	if r.ContentLength > maxBody {
		w.Header().Set("Connection", "close")
		return nil, bad("The body is larger than 64 KiB.")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, bad("The body is larger than 64 KiB.")
	} else if err != nil {
		return nil, bad("The body is incomplete.")
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, bad("The body is not well-formed application/x-www-form-urlencoded.")
	}
	for name, values := range form {
		if len(values) > 1 && name != "resource" {
			return nil, bad("A parameter is there twice.")
		}
	}
	return form, nil
}

// formParameters belong in the body.
var formParameters = []string{
	"client_id", "client_secret", "client_assertion", "client_assertion_type", "grant_type", "code", "code_verifier", "redirect_uri",
	"refresh_token", "access_token", "token", "token_type_hint", "id_token", "username", "password", "scope", "resource",
	"device_code", "assertion", "subject_token", "actor_token",
}

// authenticateClient returns the client of a request.
func (s *Server) authenticateClient(r *http.Request, form url.Values) (store.Client, error) {
	a := oauth.Authentication{
		ClientID:  form.Get("client_id"),
		Secret:    form.Get("client_secret"),
		Assertion: form.Get("client_assertion") != "",
	}
	switch fields := r.Header["Authorization"]; len(fields) {
	case 0:
	case 1:
		if a.User, a.Password, a.Basic = r.BasicAuth(); !a.Basic {
			a.Unsupported = true
		}
	default:
		return store.Client{}, fmt.Errorf("%d Authorization fields: %w", len(fields), durward.AmbiguousCredentials)
	}
	return s.c.OAuth.Authenticate(r.Context(), a, durward.ClientAddr(r.Context()))
}

// oauthToken is POST /oauth/token (RFC 6749 s3.2).
func (s *Server) oauthToken(w http.ResponseWriter, r *http.Request, c store.Client, form url.Values) error {
	key, err := s.proofKey(r)
	if err != nil {
		return err
	}
	t, err := s.c.OAuth.Token(r.Context(), c, oauth.TokenRequest{
		GrantType:    form.Get("grant_type"),
		Code:         form.Get("code"),
		RedirectURI:  form.Get("redirect_uri"),
		Verifier:     form.Get("code_verifier"),
		RefreshToken: form.Get("refresh_token"),
		Scope:        strings.Fields(form.Get("scope")),
		Resources:    form["resource"],
		Key:          key,
	}, from(r))
	if s.Schemes.DPoP == nil && errors.Is(err, durward.InvalidProof) {
		// The token was bound before the operator switched DPoP off: only a new sign-in helps.
		err = fmt.Errorf("%v, and DPoP is off: %w", err, durward.RefreshInvalid)
	}
	kind := "Bearer"
	if t.Bound {
		kind = "DPoP" // RFC 9449 s5
	}
	return answer(w, http.StatusOK, struct {
		AccessToken  string `json:"access_token"`
		TokenType    string `json:"token_type"`
		ExpiresIn    int64  `json:"expires_in"`
		RefreshToken string `json:"refresh_token,omitzero"`
		IDToken      string `json:"id_token,omitzero"`
		Scope        string `json:"scope"`
	}{t.Access, kind, seconds(t.AccessLife), t.Refresh, t.ID, t.Scope}, err)
}

// proofKey returns the key of the DPoP proof of a request, or nil without one or while DPoP is off.
func (s *Server) proofKey(r *http.Request) (*durward.HeldKey, error) {
	if s.Schemes.DPoP == nil {
		return nil, nil
	}
	return s.guard.HeldKey(r)
}

// required returns a parameter of a form.
func required(form url.Values, name string) (string, error) {
	value := form.Get(name)
	if value == "" {
		return "", &oauth.Error{Code: oauth.InvalidRequest, Description: "The parameter " + name + " is missing."}
	}
	return value, nil
}

// oauthRevoke is POST /oauth/revoke (RFC 7009 s2).
func (s *Server) oauthRevoke(w http.ResponseWriter, r *http.Request, c store.Client, form url.Values) error {
	token, err := required(form, "token")
	if err == nil {
		err = s.c.OAuth.Revoke(r.Context(), c, token, from(r))
	}
	if err == nil {
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusOK)
	}
	return err
}

// introspectionType is the media type of signed answers (RFC 9701 s5).
const introspectionType = "application/token-introspection+jwt"

// oauthIntrospect is POST /oauth/introspect (RFC 7662 s2).
func (s *Server) oauthIntrospect(w http.ResponseWriter, r *http.Request, c store.Client, form url.Values) error {
	token, err := required(form, "token")
	if err != nil {
		return err
	}
	found, err := s.c.OAuth.Introspect(r.Context(), c, token)
	if err != nil || !strings.Contains(r.Header.Get("Accept"), introspectionType) {
		return answer(w, http.StatusOK, found, err)
	}
	signed, err := s.c.OAuth.SignedIntrospection(r.Context(), c, found)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", introspectionType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	_, _ = io.WriteString(w, signed)
	return nil
}

// userInfo returns the handler of GET and POST /oauth/userinfo (OpenID Connect Core s5.3). Its guard accepts
// access tokens for the endpoint alone, and in the field Authorization alone.
func (s *Server) userInfo() (http.Handler, error) {
	verifier, err := s.c.Issuer.VerifierFor([]string{s.c.OAuth.UserInfoURL()}, nil)
	if err != nil {
		return nil, err
	}
	guard, err := s.guardFor(verifier)
	if err != nil {
		return nil, err
	}
	p := durward.Policy{Scopes: []string{oauth.ScopeOpenID}}
	serve := guard.Require(p, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, err := s.c.OAuth.UserInfo(r.Context(), durward.From(r.Context()))
		if err = answer(w, http.StatusOK, claims, err); err != nil {
			guard.Refuse(w, r, asRefusal(err))
		}
	}))
	return forEveryOrigin(serve), nil
}

// guardFor returns a guard with the rules of the server, the tokens that a verifier accepts and other schemes.
func (s *Server) guardFor(verifier *jwt.Verifier, others ...durward.Scheme) (*durward.Guard, error) {
	c := s.rules
	c.LoginURL, c.Page = "", nil
	c.Schemes = append(others, verifier.Scheme())
	if s.Schemes.DPoP != nil {
		c.Schemes = append(c.Schemes, verifier.DPoP(s.proofs))
	}
	return durward.New(c)
}

// ofOwnProgram refuses a token of an application (RFC 6749 s1.1). The server's own API is for its own sign-in and
// for the operator's tokens: scopes of OpenID Connect, such as profile, have another meaning there.
func ofOwnProgram(p *durward.Principal) error {
	if p.ClientID == session.FirstParty || p.ClientID == issuer.Operator {
		return nil
	}
	return fmt.Errorf("a token of the application %s; this API accepts tokens of the server's own sign-in alone: %w", p.ClientID, durward.InvalidToken)
}

// openPaths are the endpoints that scripts of every origin may call, without cookies.
var openPaths = map[string]bool{
	"/.well-known/jwks.json": true, "/oauth/token": true, "/oauth/revoke": true, "/oauth/userinfo": true,
}

// openPreflight answers preflights of openPaths and of metadata for every origin, and passes others to next, which
// is nil without configured origins.
func (s *Server) openPreflight(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		if next != nil {
			next.ServeHTTP(fieldsOnly{h}, r)
		} else {
			h.Add("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
		}
		open := openPaths[r.URL.Path] || strings.HasPrefix(r.URL.Path, "/.well-known/openid-configuration") || strings.HasPrefix(r.URL.Path, "/.well-known/oauth-")
		if open && h.Get("Access-Control-Allow-Origin") == "" {
			toEveryOrigin(w)
			h.Set("Access-Control-Allow-Methods", "GET, POST")
			h.Set("Access-Control-Allow-Headers", "Authorization, DPoP, Content-Type, MCP-Protocol-Version")
			h.Set("Access-Control-Max-Age", "600")
		}
		w.WriteHeader(http.StatusNoContent)
	})
}

// forEveryOrigin lets scripts of every origin call next, without cookies.
func forEveryOrigin(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		toEveryOrigin(w)
		next.ServeHTTP(w, r)
	})
}
