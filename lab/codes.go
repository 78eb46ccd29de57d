package lab

import (
	"context"
	"crypto/x509"
	"net/http"
	"time"

	"github.com/durward-auth/durward"
)

// trigger is a server and a request that make package durward refuse with one code.
type trigger struct {
	serve  http.Handler
	fields []Field        // credentials of the request; those of the client are removed
	fresh  func() []Field // fields that are made anew for each request, in place of fields
}

// codes returns an endpoint for every code of package durward. It refuses every request with it.
func (s *site) codes() (all []endpoint) {
	for _, code := range durward.Codes() {
		path := "/lab/code/" + string(code)
		t := s.trigger(code, path)
		all = append(all, endpoint{
			Endpoint: Endpoint{
				Path: path, About: "Every request gets the refusal with the code " + string(code) + ".",
				Methods: []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete},
				Code:    code, Status: code.Status(), GoodClient: goodClient(code),
			},
			send: func() []Request { return []Request{s.get(path)} },
			serve: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r = r.Clone(r.Context())
				for _, name := range []string{"Authorization", "Proxy-Authorization", "X-Api-Key", "Cookie", "Dpop"} {
					r.Header.Del(name)
				}
				fields := t.fields
				if t.fresh != nil {
					fields = t.fresh()
				}
				for _, f := range fields {
					r.Header.Add(f.Name, f.Value)
				}
				t.serve.ServeHTTP(w, r)
			}),
		})
	}
	return all
}

// goodClient returns what a good client does after a refusal with a code.
func goodClient(code durward.Code) string {
	switch code {
	case durward.InvalidToken, durward.TokenExpired, durward.TokenRevoked:
		return refreshesOnce
	case durward.StaleNonce, durward.NonceRequired:
		return answersNonce
	case durward.InvalidProof:
		return "makes a new proof, once"
	case durward.RefreshInvalid, durward.RefreshExpired, durward.SessionRevoked:
		return "deletes its tokens and signs out"
	case durward.StepUpRequired, durward.MFARequired:
		return "lets its user sign in as the response states, then repeats once"
	}
	switch code.Status() {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return "keeps its tokens and waits for the time in Retry-After"
	case durward.AuthenticationRequired.Status(), durward.ProxyAuthenticationRequired.Status():
		return "does not send the same credentials again"
	}
	return keepsTokens
}

// trigger returns the trigger of a code.
func (s *site) trigger(code durward.Code, path string) trigger {
	tokens := s.verifier(path).Scheme()
	// guarded requires credentials, and sends some.
	guarded := func(scheme durward.Scheme, p durward.Policy, fields ...Field) trigger {
		return trigger{serve: require(s.guard(path, scheme), p), fields: fields}
	}
	token := func(kind string, p durward.Policy) trigger {
		t := guarded(tokens, p)
		t.fresh = func() []Field { return []Field{authorization("Bearer " + s.token(kind, path))} }
		return t
	}
	password := func(right error) trigger {
		return guarded(basicScheme(right), durward.Policy{}, authorization(basic(labUser, labPassword)))
	}
	// refusing refuses without a look at credentials, as a sign-in does.
	refusing := func(f *durward.Refusal) trigger {
		g := s.guard(path, durward.Session())
		return trigger{serve: g.Open(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.Refuse(w, r, f) }))}
	}
	switch code {
	case durward.AuthenticationRequired:
		return trigger{serve: require(s.guard(path, tokens, basicScheme(nil)), durward.Policy{})}
	case durward.UnsupportedScheme:
		return guarded(tokens, durward.Policy{}, authorization("Negotiate bGFi"))
	case durward.MalformedCredentials:
		return guarded(tokens, durward.Policy{}, authorization("Bearer"))
	case durward.AmbiguousCredentials:
		return guarded(tokens, durward.Policy{}, authorization("Bearer lab"), authorization("Bearer lab"))
	case durward.InvalidToken:
		return token("bad-signature", durward.Policy{})
	case durward.TokenExpired:
		return token("expired", durward.Policy{})
	case durward.TokenRevoked:
		return token("revoked", durward.Policy{})
	case durward.InvalidCredentials:
		return guarded(basicScheme(nil), durward.Policy{}, authorization(basic(labUser, "wrong-password")))
	case durward.AccountDisabled, durward.EmailUnverified, durward.PasswordChangeRequired, durward.TooManyAttempts:
		return password(code)
	case durward.InvalidAPIKey:
		keys := durward.APIKey("lab_", func(context.Context, string) (*durward.Principal, error) { return nil, durward.InvalidAPIKey })
		return guarded(keys, durward.Policy{}, Field{"X-API-Key", "lab_unknown"})
	case durward.SessionExpired:
		return guarded(cookieScheme(), durward.Policy{}, Field{"Cookie", cookieName + "=lab-session-ended"})
	case durward.CrossSite:
		return refusing(&durward.Refusal{Code: code})
	case durward.StaleNonce:
		return trigger{serve: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Header.Set("Authorization", digestAnswer(r.Method, r.RequestURI, s.nonceFrom(-time.Hour)))
			require(s.guard(path, digestScheme()), durward.Policy{}).ServeHTTP(w, r)
		})}
	case durward.InvalidProof, durward.NonceRequired:
		t := guarded(s.dpop(path, code == durward.NonceRequired), durward.Policy{})
		return trigger{serve: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			token := s.token("dpop-bound", path)
			r.Header.Set("Authorization", "DPoP "+token)
			if code == durward.NonceRequired {
				r.Header.Set("DPoP", proofKey.prove(r.Method, s.origin+path, token, ""))
			}
			t.serve.ServeHTTP(w, r)
		})}
	case durward.MFARequired:
		return refusing(&durward.Refusal{Code: code, Members: map[string]any{"mfa_token": "lab-mfa-token", "methods": []string{"totp", "recovery_code"}}})
	case durward.StepUpRequired:
		return token("good", durward.Policy{ACR: []string{"urn:durward:acr:2fa"}})
	case durward.EnrolmentRequired:
		g := s.guardWith(durward.Config{
			Schemes: []durward.Scheme{tokens}, Metadata: s.metadataURL(path),
			Strongest: func(context.Context, *durward.Principal) (string, error) { return "urn:durward:acr:1fa", nil },
		})
		t := token("good", durward.Policy{})
		t.serve = require(g, durward.Policy{ACR: []string{"urn:durward:acr:2fa"}})
		return t
	case durward.InsufficientScope:
		return token("good", durward.Policy{Scopes: []string{"write"}})
	case durward.Forbidden:
		return token("good", allow(&durward.Refusal{Code: code}))
	case durward.ClientCertificateRequired:
		return guarded(noCertificates(), durward.Policy{})
	case durward.ProxyAuthenticationRequired:
		return trigger{serve: s.guard(path, basicScheme(nil), digestScheme()).Proxy(durward.Policy{}, http.HandlerFunc(accepted))}
	case durward.MethodNotAllowed:
		return refusing(&durward.Refusal{Code: code, Allow: []string{http.MethodTrace}})
	}
	return refusing(&durward.Refusal{Code: code})
}

// noCertificates returns the scheme of client certificates of no authority.
func noCertificates() durward.Scheme {
	return durward.ClientCert(durward.ClientCertConfig{
		Roots: x509.NewCertPool(),
		Check: func(context.Context, *x509.Certificate) (*durward.Principal, error) {
			return nil, durward.ClientCertificateRequired
		},
	})
}
