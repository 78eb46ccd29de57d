package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"strings"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/jwt"
)

func authorization(value string) Field { return Field{"Authorization", value} }

func xmlText(s string) string { return html.EscapeString(s) }

// get returns a request that gets the refusal of its endpoint.
func (s *site) get(path string, fields ...Field) Request {
	return Request{Method: http.MethodGet, URL: s.origin + path, Fields: fields, Refused: true}
}

// beside returns a request that comes before or after the refused one, and gets status.
func (s *site) beside(status int, r Request) Request {
	r.Status, r.Refused = status, false
	return r
}

// chain returns the requests that follow the challenge of the endpoint at path to the issuer's keys
// (RFC 9728 s5.1, RFC 8414 s3).
func (s *site) chain(path string) []Request {
	return []Request{
		s.beside(200, s.get(wellKnown+path)), s.beside(200, s.get("/.well-known/oauth-authorization-server")), s.beside(200, s.get("/lab/jwks.json")),
	}
}

// bearer returns the scheme of access tokens for path. Its refusals name the check that failed, as
// many servers do.
func (s *site) bearer(path string) durward.Scheme {
	v := s.verifier(path)
	return durward.Bearer(func(ctx context.Context, token string) (*durward.Principal, error) {
		p, err := v.Verify(ctx, token)
		if err == nil || !errors.Is(err, durward.InvalidToken) {
			return p, err
		}
		f := &durward.Refusal{Code: durward.InvalidToken, Err: err}
		_, why, _ := strings.Cut(strings.TrimPrefix(f.Cause(), "jwt: token "), ": ") // without the token's hash
		why, _, _ = strings.Cut(why, "; ")                                           // the rest is for the operator
		why, _, _ = strings.Cut(why, " (Config.")
		f.Detail = "The access token is not valid: " + why + "."
		if strings.Count(token, ".") != 2 {
			f.Detail = "The access token is not a JWT: " + why + "."
		}
		return nil, f
	})
}

// basicScheme returns the scheme of the lab's user. right decides about the right password.
func basicScheme(right error) durward.Scheme {
	return durward.Basic(func(_ context.Context, user, password string) (*durward.Principal, error) {
		switch {
		case user != labUser || password != labPassword:
			return nil, fmt.Errorf("wrong user or password: %w", durward.InvalidCredentials)
		case right != nil:
			return nil, right
		}
		return &durward.Principal{Subject: user}, nil
	})
}

// digestScheme returns Digest with nonces that need no memory until a response is correct.
func digestScheme() durward.Scheme {
	return durward.Digest(durward.DigestConfig{
		Key: nonceSecret("digest"), MaxNonces: 1000,
		HA1: func(_ context.Context, c durward.DigestClaim) ([]byte, *durward.Principal, error) {
			if c.User != labUser {
				return nil, nil, fmt.Errorf("no such user: %w", durward.InvalidCredentials)
			}
			ha1, err := durward.HA1(c.Algorithm, c.User, c.Realm, labPassword)
			return ha1, &durward.Principal{Subject: c.User}, err
		},
	})
}

// dpop returns the DPoP scheme for path.
func (s *site) dpop(path string, nonces bool) durward.Scheme {
	return s.verifier(path).DPoP(jwt.DPoPConfig{Algorithms: []string{"ES256"}, Nonces: nonces, NonceKey: nonceSecret("dpop"), MaxProofs: 1000})
}

// cookieScheme returns the scheme of the session cookie.
func cookieScheme() durward.Scheme {
	return durward.Cookie(cookieName, func(_ context.Context, value string) (*durward.Principal, error) {
		if value != goodCookie {
			return nil, fmt.Errorf("no such session: %w", durward.SessionExpired)
		}
		return &durward.Principal{Subject: labUser}, nil
	})
}

// nonceFrom returns a Digest nonce of the lab that was made at a distance from now.
func (s *site) nonceFrom(distance time.Duration) string {
	list, err := durward.ParseChallenges(s.ask(s.at(distance).guard("/lab", digestScheme())).Values("WWW-Authenticate"))
	if err != nil || len(list) == 0 {
		return ""
	}
	nonce, _ := list[0].Param("nonce")
	return nonce
}

// at returns the site with its clock at a distance from now.
func (s *site) at(distance time.Duration) *site {
	then := *s
	then.now = func() time.Time { return s.now().Add(distance) }
	return &then
}

// ask returns the fields of a guard's refusal of a request without credentials.
func (s *site) ask(g *durward.Guard) http.Header {
	r, err := http.NewRequest(http.MethodGet, s.origin+"/lab", nil)
	if err != nil { // not possible: the origin was parsed before
		panic(err)
	}
	c := &recorder{h: make(http.Header)}
	g.Handler(http.HandlerFunc(accepted)).ServeHTTP(c, r)
	return c.h
}

// allow returns a policy that refuses accepted credentials with f.
func allow(f *durward.Refusal) durward.Policy {
	return durward.Policy{Allow: func(*http.Request, *durward.Principal) error { return f }}
}

// bodyOf returns the body of a request, within the bound of the lab.
func bodyOf(r *http.Request) (form map[string]string) {
	form = make(map[string]string)
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		var members map[string]any
		if json.NewDecoder(r.Body).Decode(&members) == nil {
			for name, value := range members {
				if text, ok := value.(string); ok {
					form[name] = text
				}
			}
		}
		return form
	}
	if r.ParseForm() == nil {
		for name := range r.PostForm {
			form[name] = r.PostForm.Get(name)
		}
	}
	return form
}

// inFront removes fields of requests, as a proxy does in front of next.
func inFront(next http.Handler, remove ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.Clone(r.Context())
		for _, name := range remove {
			r.Header.Del(name)
		}
		w.Header().Set("Via", "1.1 front")
		next.ServeHTTP(w, r)
	})
}

// Sentences about good clients that several endpoints share.
const (
	refreshesOnce = "refreshes its token once, then stops"
	keepsTokens   = "keeps its tokens and reports the refusal"
	asksUser      = "reports the refusal to its user and does not repeat the request"
	sendsBearer   = "sends the token as Authorization: Bearer TOKEN"
	answersNonce  = "answers once with the new nonce"
)

// causes returns the endpoints of all causes, in the order of the catalogue.
func (s *site) causes() []endpoint {
	var all []endpoint
	// add adds the endpoint of a cause. The fields of e that are the same for most are filled in.
	add := func(e endpoint) {
		e.Path = "/lab/" + e.Cause
		e.Doctor.Cause = e.Cause
		if e.Status == 0 {
			e.Status = e.Code.Status()
		}
		all = append(all, e)
	}
	// send returns a function for one request to the endpoint of cause.
	send := func(cause string, fields func(path string) []Field) func() []Request {
		path := "/lab/" + cause
		return func() []Request { return []Request{s.get(path, fields(path)...)} }
	}
	always := func(fields ...Field) func(string) []Field { return func(string) []Field { return fields } }
	token := func(kind string) func(string) []Field {
		return func(path string) []Field { return []Field{authorization("Bearer " + s.token(kind, path))} }
	}
	// tokenCause adds an endpoint that verifies tokens correctly, for a token with one property.
	tokenCause := func(cause, kind, about string, code durward.Code, goodClient string) {
		path := "/lab/" + cause
		add(endpoint{
			Endpoint: Endpoint{Cause: cause, About: about, Code: code, GoodClient: goodClient, Doctor: Doctor{Confidence: "certain"}},
			send:     func() []Request { return append(send(cause, token(kind))(), s.chain(path)...) },
			serve:    require(s.guard(path, s.bearer(path)), durward.Policy{}),
		})
	}
	certain, likely := Doctor{Confidence: "certain"}, Doctor{Confidence: "likely"}
	withLog := func(d Doctor, lines ...string) Doctor {
		d.Log = lines
		return d
	}

	// Nothing usable arrived.

	add(endpoint{
		Endpoint: Endpoint{
			Cause: "no-credentials", About: "A request without credentials gets a challenge for each scheme.",
			Code: durward.AuthenticationRequired, GoodClient: "sends credentials of a scheme that the challenge names, once", Doctor: certain,
		},
		send:  send("no-credentials", always()),
		serve: require(s.guard("/lab/no-credentials", s.bearer("/lab/no-credentials"), basicScheme(nil)), durward.Policy{}),
	})
	add(endpoint{
		Endpoint: Endpoint{
			Cause: "credentials-not-chosen", About: "An entry of ~/.netrc for the host replaces the token that the program set.",
			Code: durward.InvalidCredentials, GoodClient: "sends what its program set, and shows which entry of its configuration it chose",
			Doctor: withLog(certain, "# ~/.netrc", "machine lab login "+labUser+" password old-password", "The program sets the header field Authorization to Bearer and a token."),
		},
		send:  send("credentials-not-chosen", always(authorization(basic(labUser, "old-password")))),
		serve: showing(s.guard("/lab/credentials-not-chosen", s.bearer("/lab/credentials-not-chosen"), basicScheme(nil))),
	})
	add(endpoint{
		Endpoint: Endpoint{
			Cause: "header-stripped", About: "A front end removes Authorization before the application sees it.",
			Code: durward.AuthenticationRequired, GoodClient: keepsTokens, Doctor: certain,
		},
		send:  send("header-stripped", token("good")),
		serve: inFront(require(s.guard("/lab/header-stripped", s.bearer("/lab/header-stripped")), durward.Policy{}), "Authorization"),
	})
	redirected := require(s.guard("/lab/lost-on-redirect/here", basicScheme(nil)), durward.Policy{})
	add(endpoint{
		Endpoint: Endpoint{
			Cause: "lost-on-redirect", About: "A redirect leads to another origin, to which a client sends no credentials.",
			Code: durward.AuthenticationRequired, GoodClient: "sends nothing to the other origin and tells its user the final address", Doctor: certain,
		},
		send: func() []Request {
			there := s.get("/lab/lost-on-redirect/here")
			there.URL = s.other + "/lab/lost-on-redirect/here"
			return []Request{s.beside(307, s.get("/lab/lost-on-redirect", authorization(basic(labUser, labPassword)))), there}
		},
		serve: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/lab/lost-on-redirect" {
				redirected.ServeHTTP(w, r)
				return
			}
			http.Redirect(w, r, s.other+"/lab/lost-on-redirect/here", http.StatusTemporaryRedirect)
		}),
	})
	withCookie := require(s.guard("/lab/cookie-not-sent", cookieScheme()), durward.Policy{})
	add(endpoint{
		Endpoint: Endpoint{
			Cause: "cookie-not-sent", About: "The sign-in sets a cookie whose Path does not contain the other pages.",
			Code: durward.AuthenticationRequired, GoodClient: "does not send the cookie outside its Path (RFC 6265 s5.1.4)", Doctor: certain,
		},
		send: func() []Request {
			signIn := s.get("/lab/cookie-not-sent/sign-in")
			signIn.Method = http.MethodPost
			return []Request{s.beside(204, signIn), s.get("/lab/cookie-not-sent")}
		},
		serve: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/lab/cookie-not-sent/sign-in" {
				withCookie.ServeHTTP(w, r)
				return
			}
			http.SetCookie(w, &http.Cookie{Name: cookieName, Value: goodCookie, Path: r.URL.Path, HttpOnly: true, SameSite: http.SameSiteLaxMode})
			w.WriteHeader(http.StatusNoContent)
		}),
	})
	behindPreflight := require(s.guard("/lab/preflight-refused", s.bearer("/lab/preflight-refused")), durward.Policy{})
	add(endpoint{
		Endpoint: Endpoint{
			Cause: "preflight-refused", About: "The server asks a browser's preflight for credentials, which a preflight never has.",
			Methods: []string{http.MethodOptions, http.MethodGet}, Status: 401, Faults: []string{"preflight"},
			GoodClient: "reports that the preflight was refused", Doctor: certain,
		},
		send: func() []Request {
			r := s.get("/lab/preflight-refused", Field{"Origin", "https://app.lab.example"},
				Field{"Access-Control-Request-Method", "GET"}, Field{"Access-Control-Request-Headers", "authorization"})
			r.Method = http.MethodOptions
			return []Request{r}
		},
		serve: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodOptions {
				preflightRefused.ServeHTTP(w, r)
				return
			}
			behindPreflight.ServeHTTP(w, r)
		}),
	})
	add(endpoint{
		Endpoint: Endpoint{
			Cause: "client-certificate-missing", About: "The route accepts only a client certificate, and none came.",
			Code: durward.ClientCertificateRequired, GoodClient: "connects with a certificate", Doctor: certain,
		},
		send:  send("client-certificate-missing", always()),
		serve: require(s.guard("/lab/client-certificate-missing", noCertificates()), durward.Policy{}),
	})
	add(endpoint{
		Endpoint: Endpoint{
			Cause: "required-field-missing", About: "A field that is not a credential is missing: Lab-Tenant.",
			Code: durward.InvalidRequest, GoodClient: "sends the field that the body names", Doctor: likely,
		},
		send: send("required-field-missing", token("good")),
		serve: require(s.guard("/lab/required-field-missing", s.bearer("/lab/required-field-missing")), durward.Policy{
			Allow: func(r *http.Request, _ *durward.Principal) error {
				if r.Header.Get("Lab-Tenant") != "" {
					return nil
				}
				return &durward.Refusal{
					Code: durward.InvalidRequest, Detail: "The request header field Lab-Tenant is missing.",
					Hint: "Send Lab-Tenant with the name of a tenant, such as lab.", Members: map[string]any{"missing_field": "Lab-Tenant"},
				}
			},
		}),
	})
	proxyGuard := s.guard("/lab/proxy-credentials-missing", basicScheme(nil), digestScheme())
	add(endpoint{
		Endpoint: Endpoint{
			Cause: "proxy-credentials-missing", About: "A proxy requires credentials of its own.",
			Code: durward.ProxyAuthenticationRequired, GoodClient: "sends Proxy-Authorization, and keeps Authorization for the site", Doctor: certain,
		},
		send:  send("proxy-credentials-missing", always()),
		serve: proxyGuard.Proxy(durward.Policy{}, http.HandlerFunc(accepted)),
	})

	// Something arrived that cannot be read.

	formCause := func(cause, about string, code durward.Code, goodClient string, fields func(path string) []Field) {
		path := "/lab/" + cause
		add(endpoint{
			Endpoint: Endpoint{Cause: cause, About: about, Code: code, GoodClient: goodClient, Doctor: certain},
			send:     send(cause, fields),
			serve:    showing(s.guard(path, s.bearer(path), basicScheme(nil))),
		})
	}
	formCause("prefix-missing", "The token stands in Authorization without the word Bearer.", durward.MalformedCredentials, sendsBearer,
		func(path string) []Field { return []Field{authorization(s.token("good", path))} })
	formCause("stray-characters", "Quotation marks stand around the token.", durward.MalformedCredentials, sendsBearer,
		func(path string) []Field { return []Field{authorization(`Bearer "` + s.token("good", path) + `"`)} })
	formCause("placeholder", "The name of a variable was sent instead of its value.", durward.MalformedCredentials, "stops before it sends an unset variable",
		always(authorization("Bearer ${TOKEN}")))
	formCause("malformed-credentials", "The credentials of Basic are not in base64.", durward.MalformedCredentials, "lets a library build the field",
		always(authorization("Basic "+labUser+":"+labPassword)))
	formCause("ambiguous-credentials", "The request has two Authorization fields.", durward.AmbiguousCredentials, "sends one set of credentials",
		func(path string) []Field {
			return []Field{authorization("Bearer " + s.token("good", path)), authorization(basic(labUser, labPassword))}
		})

	// The wrong thing was sent.

	add(endpoint{
		Endpoint: Endpoint{
			Cause: "wrong-scheme", About: "The server takes Digest, and a Bearer token came.",
			Code: durward.UnsupportedScheme, GoodClient: "uses a scheme of WWW-Authenticate", Doctor: certain,
		},
		send:  send("wrong-scheme", token("good")),
		serve: require(s.guard("/lab/wrong-scheme", digestScheme()), durward.Policy{}),
	})
	tokenCause("wrong-credential-kind", "id", "An ID token came where an access token belongs.", durward.InvalidToken, "sends the access token")
	tokenCause("not-a-jwt", "opaque", "An opaque token came where a JWT is read.", durward.InvalidToken, "asks for a token for this API")
	add(endpoint{
		Endpoint: Endpoint{
			Cause: "app-password-needed", About: "The password of the account is right, but an app password is wanted.",
			Status: 401, GoodClient: asksUser, Doctor: likely,
		},
		send:  send("app-password-needed", always(authorization(basic(labUser, labPassword)))),
		serve: appPasswordNeeded,
	})
	add(endpoint{
		Endpoint: Endpoint{
			Cause: "wrong-place", About: "The request is signed for another region than that of the address.",
			Status: 400, Faults: []string{}, GoodClient: "signs for the region that the body names", Doctor: certain,
		},
		send: send("wrong-place", func(string) []Field { return s.awsFields("eu-central-1") }), serve: wrongRegion,
	})
	add(endpoint{
		Endpoint: Endpoint{
			Cause: "method-retired", About: "The provider switched off Basic with a password.",
			Status: 410, GoodClient: asksUser, Doctor: certain,
		},
		send: send("method-retired", always(authorization(basic(labUser, labPassword)))), serve: methodRetired,
	})

	// The right kind of thing, no longer or not here good.

	add(endpoint{
		Endpoint: Endpoint{
			Cause: "wrong-secret", About: "The password is wrong.",
			Code: durward.InvalidCredentials, GoodClient: "asks its user and does not try the same password again", Doctor: certain,
		},
		send:  send("wrong-secret", always(authorization(basic(labUser, "wrong-password")))),
		serve: require(s.guard("/lab/wrong-secret", basicScheme(nil)), durward.Policy{}),
	})
	add(endpoint{
		Endpoint: Endpoint{
			Cause: "oauth-client-refused", About: "The token endpoint refuses the secret of the client.",
			Methods: []string{http.MethodPost}, Status: 401, GoodClient: "reports a mistake of configuration and does not ask its user", Doctor: certain,
		},
		send: func() []Request {
			return []Request{s.post("/lab/oauth-client-refused", "application/x-www-form-urlencoded", "grant_type=client_credentials",
				authorization(basic(labClient, "wrong-secret")))}
		},
		serve: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.giveClientToken(w, r, "/lab/oauth-client-refused") }),
	})
	tokenCause("expired", "expired", "The access token expired an hour ago.", durward.TokenExpired, refreshesOnce)
	tokenCause("not-yet-valid", "not-yet-valid", "The access token becomes valid in an hour.", durward.InvalidToken, refreshesOnce)
	tokenCause("clock-wrong", "clock-wrong", "The access token was issued ten minutes ahead of the server's clock.", durward.InvalidToken, refreshesOnce)
	tokenCause("wrong-issuer", "wrong-issuer", "The issuer of the token has a slash more than the trusted one.", durward.InvalidToken, refreshesOnce)
	tokenCause("wrong-audience", "wrong-audience", "The access token is for another API.", durward.InvalidToken, "asks for a token for this API, once")
	tokenCause("unknown-signing-key", "foreign-key", "The key that signed the token is not in the issuer's key set.", durward.InvalidToken, refreshesOnce)
	tokenCause("bad-signature", "bad-signature", "The signature of the token does not verify with the key that it names.", durward.InvalidToken, refreshesOnce)
	tokenCause("wrong-algorithm", "wrong-algorithm", "The token is signed with HS256, and the issuer's key is for ES256.", durward.InvalidToken, refreshesOnce)
	tokenCause("claim-missing", "no-subject", "The token has no claim sub.", durward.InvalidToken, refreshesOnce)
	tokenCause("revoked", "revoked", "The access token was revoked.", durward.TokenRevoked, "refreshes its token once; if that is refused, it signs out")
	add(endpoint{
		Endpoint: Endpoint{
			Cause: "session-ended", About: "The session of the cookie is over; the response clears the cookie.",
			Code: durward.SessionExpired, GoodClient: "sends its user to the sign-in page", Doctor: certain,
		},
		send:  send("session-ended", always(Field{"Cookie", cookieName + "=lab-session-ended"})),
		serve: require(s.guard("/lab/session-ended", cookieScheme()), durward.Policy{}),
	})
	add(endpoint{
		Endpoint: Endpoint{
			Cause: "refresh-refused", About: "The refresh token was used before.",
			Methods: []string{http.MethodPost}, Code: durward.RefreshInvalid, GoodClient: "deletes its tokens and signs out", Doctor: certain,
		},
		send: func() []Request {
			return []Request{s.post("/lab/refresh-refused", "application/json", `{"refresh_token":"lab-refresh-spent"}`)}
		},
		serve: s.refresh("/lab/refresh-refused"),
	})

	// A proof or signature does not fit.

	add(endpoint{
		Endpoint: Endpoint{
			Cause: "request-signature-mismatch", About: "A proxy changed Host, which is part of the signed request.",
			Status: 403, GoodClient: keepsTokens, Doctor: certain,
		},
		send:  send("request-signature-mismatch", func(string) []Field { return s.awsFields("us-east-1") }),
		serve: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { signatureMismatch(r).ServeHTTP(w, r) }),
	})
	proofCause := func(cause, about string, nonces bool, code durward.Code, goodClient string, fields func(path, token string) []Field) {
		path := "/lab/" + cause
		add(endpoint{
			Endpoint: Endpoint{Cause: cause, About: about, Code: code, GoodClient: goodClient, Doctor: certain},
			send: send(cause, func(path string) []Field {
				token := s.token("dpop-bound", path)
				return append([]Field{authorization("DPoP " + token)}, fields(path, token)...)
			}),
			serve: require(s.guard(path, s.dpop(path, nonces)), durward.Policy{}),
		})
	}
	const newProof = "makes a new proof, once"
	proofCause("dpop-proof-missing", "A token that is bound to a key came without a proof.", false, durward.InvalidProof, newProof,
		func(string, string) []Field { return nil })
	proofCause("dpop-proof-wrong", "The proof is for another token.", false, durward.InvalidProof, newProof,
		func(path, _ string) []Field {
			return []Field{{"DPoP", proofKey.prove(http.MethodGet, s.origin+path, s.token("good", path), "")}}
		})
	proofCause("dpop-url-mismatch", "The proof is for the address of an inner server.", false, durward.InvalidProof, newProof,
		func(path, token string) []Field {
			return []Field{{"DPoP", proofKey.prove(http.MethodGet, "http://inner.lab.example"+path, token, "")}}
		})
	proofCause("dpop-nonce-needed", "The proof has no nonce of the server.", true, durward.NonceRequired, answersNonce,
		func(path, token string) []Field {
			return []Field{{"DPoP", proofKey.prove(http.MethodGet, s.origin+path, token, "")}}
		})
	tokenCause("certificate-binding", "certificate-bound", "The token is bound to a client certificate, and the connection has none.", durward.InvalidToken,
		"connects with its certificate")
	digestCause := func(cause, about string, code durward.Code, goodClient string, answer func(path string) string) {
		add(endpoint{
			Endpoint: Endpoint{Cause: cause, About: about, Code: code, GoodClient: goodClient, Doctor: certain},
			send:     send(cause, func(path string) []Field { return []Field{authorization(answer(path))} }),
			serve:    require(s.guard("/lab/"+cause, digestScheme()), durward.Policy{}),
		})
	}
	digestCause("stale-nonce", "The Digest response is right, but its nonce is an hour old.", durward.StaleNonce, answersNonce,
		func(path string) string { return digestAnswer(http.MethodGet, path, s.nonceFrom(-time.Hour)) })
	digestCause("digest-answer-wrong", "The uri of the Digest response is not the target of the request.", durward.InvalidRequest,
		"computes the response for the target of the request line",
		func(path string) string { return digestAnswer(http.MethodGet, "/", s.nonceFrom(0)) })
	// The beginnings of an NTLM message of type 1, of a ticket in SPNEGO, and of an NTLM message of type 3.
	const ntlm1, spnego, ntlm3 = "TlRMTVNTUAABAAAAB4IIogAAAAAAAAAAAAAAAAAAAAA=", "YIIBIAYGKwYBBQUCoIIBFDCCARCgDTALBgkqhkiG9xIBAgI=", "TlRMTVNTUAADAAAAGAAYAEAAAAAYABgAWAAAAA=="
	add(endpoint{
		Endpoint: Endpoint{
			Cause: "scheme-unusable", About: "The client has no Kerberos ticket and sends NTLM inside Negotiate.",
			Status: 401, GoodClient: asksUser, Doctor: certain,
		},
		send: send("scheme-unusable", always(authorization("Negotiate "+ntlm1))), serve: negotiate,
	})
	add(endpoint{
		Endpoint: Endpoint{
			Cause: "kerberos", About: "The server has no key for the name in the ticket.",
			Status: 401, GoodClient: asksUser,
			Doctor: withLog(likely, "[auth_gssapi:error] gss_accept_sec_context() failed: No key table entry found matching HTTP/alias.lab.example@LAB.EXAMPLE"),
		},
		send: send("kerberos", always(authorization("Negotiate "+spnego))), serve: negotiate,
	})
	add(endpoint{
		Endpoint: Endpoint{
			Cause: "ntlm-connection", About: "The last message of an NTLM handshake arrives on another connection than the first.",
			Status: 401, GoodClient: "keeps one connection for the handshake", Doctor: certain,
		},
		send: send("ntlm-connection", always(authorization("NTLM "+ntlm3))), serve: ntlmAgain,
	})

	// Known, and still no.

	path := "/lab/insufficient-scope"
	add(endpoint{
		Endpoint: Endpoint{
			Cause: "insufficient-scope", About: "The token lacks the scope write.",
			Code: durward.InsufficientScope, GoodClient: "asks its user for the scope that the challenge names, once", Doctor: certain,
		},
		send:  send("insufficient-scope", token("good")),
		serve: require(s.guard(path, s.bearer(path)), durward.Policy{Scopes: []string{"write"}}),
	})
	path = "/lab/not-permitted"
	add(endpoint{
		Endpoint: Endpoint{
			Cause: "not-permitted", About: "The user lacks a role.", Code: durward.Forbidden, GoodClient: asksUser, Doctor: likely,
		},
		send: send("not-permitted", token("good")),
		serve: require(s.guard(path, s.bearer(path)), allow(&durward.Refusal{
			Code: durward.Forbidden, Detail: "The user ada does not have the role editor, which this resource requires.",
		})),
	})
	add(endpoint{
		Endpoint: Endpoint{
			Cause: "identity-unknown-here", About: "The token is good, and its user has no account here.",
			Status: 403, GoodClient: asksUser, Doctor: likely,
		},
		send: send("identity-unknown-here", token("good")), serve: identityUnknown,
	})
	add(endpoint{
		Endpoint: Endpoint{
			Cause: "account-locked", About: "The account is locked after too many wrong passwords.",
			Status: 403, GoodClient: "does not try again by itself", Doctor: likely,
		},
		send: send("account-locked", always(authorization(basic(labUser, labPassword)))), serve: accountLocked,
	})
	add(endpoint{
		Endpoint: Endpoint{
			Cause: "account-not-active", About: "The e-mail address of the account is not verified.",
			Code: durward.EmailUnverified, GoodClient: asksUser, Doctor: certain,
		},
		send:  send("account-not-active", always(authorization(basic(labUser, labPassword)))),
		serve: require(s.guard("/lab/account-not-active", basicScheme(durward.EmailUnverified)), durward.Policy{}),
	})
	path = "/lab/second-factor-owed"
	add(endpoint{
		Endpoint: Endpoint{
			Cause: "second-factor-owed", About: "The sign-in had one factor, and the operation requires two.",
			Code: durward.StepUpRequired, GoodClient: "lets its user sign in as the challenge states, then repeats once", Doctor: certain,
		},
		send:  send("second-factor-owed", token("good")),
		serve: require(s.guard(path, s.bearer(path)), durward.Policy{ACR: []string{"urn:durward:acr:2fa"}}),
	})
	add(endpoint{
		Endpoint: Endpoint{
			Cause: "organisation-rule", About: "The organisation requires a single sign-on for this token.",
			Status: 403, GoodClient: "shows its user the address in X-GitHub-SSO", Doctor: certain,
		},
		send: send("organisation-rule", token("good")),
		serve: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-GitHub-SSO", "required; url="+s.origin+"/lab/organisation-rule/sso")
			ssoRequired.ServeHTTP(w, r)
		}),
	})
	path = "/lab/network-not-allowed"
	add(endpoint{
		Endpoint: Endpoint{
			Cause: "network-not-allowed", About: "Clients may not use the address of this one.",
			Code: durward.Forbidden, GoodClient: asksUser, Doctor: likely,
		},
		send: send("network-not-allowed", token("good")),
		serve: require(s.guard(path, s.bearer(path)), durward.Policy{Allow: func(r *http.Request, _ *durward.Principal) error {
			return &durward.Refusal{Code: durward.Forbidden,
				Detail: "The IP address " + durward.ClientAddr(r.Context()).String() + " is not allowed."}
		}}),
	})
	add(endpoint{
		Endpoint: Endpoint{
			Cause: "cross-site-refused", About: "A page of another site sent a POST with the session cookie.",
			Methods: []string{http.MethodPost}, Code: durward.CrossSite, GoodClient: "sends the request from a page of this site, or with a token", Doctor: certain,
		},
		send: func() []Request {
			return []Request{s.post("/lab/cross-site-refused", "application/json", "{}", Field{"Cookie", cookieName + "=" + goodCookie},
				Field{"Origin", "https://other.lab.example"}, Field{"Sec-Fetch-Site", "cross-site"})}
		},
		serve: require(s.guard("/lab/cross-site-refused", cookieScheme()), durward.Policy{}),
	})
	path = "/lab/insecure-transport"
	insecure := s.guard(path, s.bearer(path))
	add(endpoint{
		Endpoint: Endpoint{
			Cause: "insecure-transport", About: "The server takes no credentials over plain http, or believes that the client used it.",
			Code: durward.InsecureTransport, GoodClient: "uses https and does not send its token again over http", Doctor: certain,
		},
		send:  send("insecure-transport", token("good")),
		serve: insecure.Open(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { insecure.Refuse(w, r, durward.InsecureTransport) })),
	})

	// Something between client and server.

	add(endpoint{
		Endpoint: Endpoint{
			Cause: "two-sign-ins-one-field", About: "A front end wants Basic in the field in which the application's page sends its own token.",
			Status: 401, GoodClient: keepsTokens, Doctor: likely,
		},
		send:  send("two-sign-ins-one-field", token("good")),
		serve: frontPage,
	})
	path = "/lab/challenge-lost"
	behind := require(s.guard(path, s.bearer(path)), durward.Policy{})
	add(endpoint{
		Endpoint: Endpoint{
			Cause: "challenge-lost", About: "A gateway renames the challenge, so that no client sees it. With ?behind the server behind it answers.",
			Status: 401, Faults: []string{"challenge"}, GoodClient: "reports a 401 without a challenge", Doctor: certain,
		},
		send: func() []Request {
			direct := s.get("/lab/challenge-lost?behind")
			direct.URL = s.other + "/lab/challenge-lost?behind"
			return []Request{s.beside(401, direct), s.get("/lab/challenge-lost")}
		},
		serve: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.RawQuery == "behind" || r.Header.Get("Authorization") != "" {
				behind.ServeHTTP(w, r)
				return
			}
			challengeLost.ServeHTTP(w, r)
		}),
	})
	add(endpoint{
		Endpoint: Endpoint{
			Cause: "edge-refused", About: "A content network answers with a page for browsers; the application is not asked.",
			Status: 403, GoodClient: keepsTokens, Doctor: certain,
		},
		send: send("edge-refused", token("good")), serve: edgeRefused,
	})
	add(endpoint{
		Endpoint: Endpoint{
			Cause: "upstream-refused", About: "Another service refuses this server's own credentials.",
			Status: 502, GoodClient: keepsTokens, Doctor: likely,
		},
		send: send("upstream-refused", token("good")), serve: upstreamRefused,
	})

	// The server is at fault.

	add(endpoint{
		Endpoint: Endpoint{
			Cause: "wrong-status", About: "A page for signing in, with status 200, takes the place of a refusal.",
			Status: 200, Faults: []string{"anonymous-401"}, GoodClient: "reports a page where it expected data", Doctor: likely,
		},
		send: send("wrong-status", token("good")), serve: wrongStatus,
	})
	add(endpoint{
		Endpoint: Endpoint{
			Cause: "outage-as-refusal", About: "The server cannot fetch the issuer's keys, and calls the token invalid.",
			Status: 401, GoodClient: refreshesOnce, Doctor: likely,
		},
		send: send("outage-as-refusal", token("good")), serve: outageAsRefusal,
	})
	add(endpoint{
		Endpoint: Endpoint{
			Cause: "rate-limited", About: "A rate limit is reported as 403 instead of 429.",
			Status: 403, GoodClient: "keeps its tokens and waits for the time in Retry-After", Doctor: certain,
		},
		send: send("rate-limited", token("good")), serve: rateLimited,
	})
	path = "/lab/metadata-missing"
	add(endpoint{
		Endpoint: Endpoint{
			Cause: "metadata-missing", About: "The document that the challenge names as resource_metadata does not exist.",
			Code: durward.AuthenticationRequired, Faults: []string{"metadata"}, GoodClient: "reports that the metadata is missing", Doctor: certain,
		},
		send: func() []Request {
			return []Request{s.get("/lab/metadata-missing"), s.beside(404, s.get(wellKnown+"/lab/metadata-missing"))}
		},
		serve: require(s.guard(path, s.bearer(path)), durward.Policy{}),
	})
	add(endpoint{
		Endpoint: Endpoint{
			Cause: "challenge-faulty", About: "The challenge lacks a quotation mark, so that it cannot be read.",
			Status: 401, Faults: []string{"challenge-grammar"}, GoodClient: "reports the challenge that it cannot read", Doctor: certain,
		},
		send: send("challenge-faulty", always()), serve: challengeFaulty,
	})
	add(endpoint{
		Endpoint: Endpoint{
			Cause: "server-store-mangled", About: "The password is right, and the server has a hash that it cannot read.",
			Status: 401, GoodClient: "asks its user and does not try the same password again",
			Doctor: withLog(likely, `[error] htpasswd, line 1: unsupported hash "y05" of user lab; a shell has expanded the dollar signs of "$2y$05$…"`),
		},
		send: send("server-store-mangled", always(authorization(basic(labUser, labPassword)))), serve: frontPage,
	})
	path = "/lab/server-misconfigured"
	add(endpoint{
		Endpoint: Endpoint{
			Cause: "server-misconfigured", About: "The server cannot read its password file: it fails only for requests with credentials.",
			Code: durward.Internal, GoodClient: "keeps its credentials and reports the failure",
			Doctor: withLog(likely, "(13)Permission denied: Could not open password file: /etc/lab/htpasswd"),
		},
		send: func() []Request {
			return []Request{s.beside(401, s.get("/lab/server-misconfigured")), s.get("/lab/server-misconfigured", authorization(basic(labUser, labPassword)))}
		},
		serve: require(s.guard(path, basicScheme(durward.Internal)), durward.Policy{}),
	})
	return all
}

// post returns a request with a body that gets the refusal of its endpoint.
func (s *site) post(path, contentType, body string, fields ...Field) Request {
	return Request{
		Method: http.MethodPost, URL: s.origin + path, Fields: append(fields, Field{"Content-Type", contentType}), Body: body, Refused: true,
	}
}

// awsFields returns the fields of a request that is signed by AWS4-HMAC-SHA256 for a region.
func (s *site) awsFields(region string) []Field {
	now := s.now().UTC()
	return []Field{
		authorization("AWS4-HMAC-SHA256 Credential=LABKEY00000000000000/" + now.Format("20060102") + "/" + region +
			"/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=" + strings.Repeat("0123456789abcdef", 4)),
		{"X-Amz-Date", now.Format("20060102T150405Z")},
		{"X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD"},
	}
}

// refresh returns the handler of a refresh endpoint for the tokens of an API (see package api).
func (s *site) refresh(path string) http.Handler {
	g := s.guard(path, durward.Session())
	return g.Open(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if bodyOf(r)["refresh_token"] != goodRefresh {
			g.Refuse(w, r, fmt.Errorf("the refresh token is spent or unknown: %w", durward.RefreshInvalid))
			return
		}
		writeJSON(w, http.StatusOK, s.tokenResponse(path))
	}))
}

// goodRefresh is the refresh token that the lab accepts any number of times.
const goodRefresh = "lab-refresh-good"

// tokenResponse returns the response of a token endpoint (RFC 6749 s5.1).
func (s *site) tokenResponse(path string) map[string]any {
	return map[string]any{
		"access_token": s.token("good", path), "token_type": "Bearer", "expires_in": int(tokenLife.Seconds()), "refresh_token": goodRefresh,
	}
}

// giveClientToken answers the grant client_credentials (RFC 6749 s4.4) for the API at path.
func (s *site) giveClientToken(w http.ResponseWriter, r *http.Request, path string) {
	if user, password, ok := r.BasicAuth(); !ok || user != labClient || password != clientKey {
		invalidClient.ServeHTTP(w, r)
		return
	}
	writeJSON(w, http.StatusOK, s.tokenResponse(path))
}
