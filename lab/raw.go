package lab

import (
	"net/http"
	"strings"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/jwt"
)

// This file writes responses by hand: those of servers with a fault, and those in the form of other
// vendors' servers. Correct refusals come from a guard.

// answer is a response that is written as it stands.
type answer struct {
	status int
	fields []Field
	body   string
}

func (a answer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	for _, f := range a.fields {
		h.Add(f.Name, f.Value)
	}
	if a.body != "" && h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/json")
		if strings.HasPrefix(a.body, "<") {
			h.Set("Content-Type", "application/xml")
		}
	}
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(a.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write([]byte(a.body)) // an error means that the client disconnected
	}
}

func challenge(value string) Field { return Field{"WWW-Authenticate", value} }

// Refusals of causes. Each has the codes and fields by which its kind of server is known.
var (
	preflightRefused = answer{401, []Field{challenge(`Bearer realm="lab"`)}, `{"error":"unauthorized"}`}

	appPasswordNeeded = answer{401, []Field{challenge(`Basic realm="lab"`)},
		`{"error":"app_password_required","message":"An application-specific password is required."}`}

	// The code and the region in the text are those of S3 (AuthorizationHeaderMalformed).
	wrongRegion = answer{400, []Field{{"Server", "AmazonS3"}},
		`<?xml version="1.0" encoding="UTF-8"?><Error><Code>AuthorizationHeaderMalformed</Code><Message>The region 'eu-central-1' is wrong; expecting 'us-east-1'</Message><Region>us-east-1</Region></Error>`}

	methodRetired = answer{410, nil,
		`{"error":"gone","message":"Basic authentication with a password is no longer supported."}`}

	invalidClient = answer{401, []Field{challenge(`Basic realm="lab"`)},
		`{"error":"invalid_client","error_description":"The client authentication failed."}`}

	// NTLM messages inside Negotiate begin with TlRMTVNT; the server takes Kerberos tickets alone.
	negotiate = answer{401, []Field{challenge("Negotiate")}, ""}

	ntlmAgain = answer{401, []Field{challenge("NTLM"), {"Via", "1.1 balancer"}}, ""}

	ssoRequired = answer{403, []Field{{"Server", "github.com"}},
		`{"message":"Resource protected by organization SAML enforcement. Authorize this token for the organization.","status":"403"}`}

	accountLocked = answer{403, nil, `{"error":"forbidden","reason":"The account is temporarily locked after too many failed sign-ins."}`}

	identityUnknown = answer{403, nil, `{"error":"forbidden","message":"The account ada is not provisioned in this system."}`}

	// The page shows that nginx refused, and not an application behind it.
	frontPage = answer{401, []Field{challenge(`Basic realm="Restricted"`), {"Server", "nginx"}, {"Content-Type", "text/html"}},
		"<html>\r\n<head><title>401 Authorization Required</title></head>\r\n<body>\r\n<center><h1>401 Authorization Required</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"}

	upstreamRefused = answer{502, nil, `{"error":"bad_gateway","message":"The upstream directory answered 401 Unauthorized."}`}

	challengeLost = answer{401, []Field{{"x-amzn-Remapped-WWW-Authenticate", `Bearer realm="lab"`}, {"x-amzn-RequestId", "00000000-0000-4000-8000-000000000000"}},
		`{"message":"Unauthorized"}`}

	edgeRefused = answer{403, []Field{{"Server", "cloudflare"}, {"cf-mitigated", "challenge"}, {"CF-RAY", "0000000000000000-LAB"}, {"Content-Type", "text/html; charset=UTF-8"}},
		`<!DOCTYPE html><html lang="en"><head><title>Just a moment...</title></head><body>Checking your browser.</body></html>`}

	wrongStatus = answer{200, []Field{{"Content-Type", "text/html; charset=utf-8"}},
		`<!DOCTYPE html><html lang="en"><head><title>Sign in</title></head><body><form method="post" action="/login"><input name="user"><input name="password" type="password"><button>Sign in</button></form></body></html>`}

	outageAsRefusal = answer{401, []Field{challenge(`Bearer realm="lab", error="invalid_token"`)},
		`{"error":"invalid_token","message":"The key set could not be fetched: connection refused."}`}

	rateLimited = answer{403, []Field{{"Retry-After", "60"}, {"X-RateLimit-Limit", "60"}, {"X-RateLimit-Remaining", "0"}},
		`{"message":"Rate limit exceeded."}`}

	// The quotation mark at the end is missing.
	challengeFaulty = answer{401, []Field{challenge(`Bearer realm="lab`)}, `{"error":"unauthorized"}`}
)

// signatureMismatch answers as S3 does, with the request as the server read it.
func signatureMismatch(r *http.Request) answer {
	canonical := r.Method + "\n" + r.URL.EscapedPath() + "\n\nhost:inner.lab.example\nx-amz-date:" + xmlText(r.Header.Get("X-Amz-Date")) + "\n\nhost;x-amz-date\nUNSIGNED-PAYLOAD"
	return answer{403, []Field{{"Server", "AmazonS3"}},
		`<?xml version="1.0" encoding="UTF-8"?><Error><Code>SignatureDoesNotMatch</Code><Message>The request signature that was calculated does not match the signature of the request.</Message><CanonicalRequest>` +
			canonical + `</CanonicalRequest></Error>`}
}

// fault is a server that fails one row of durward check and does everything else right.
type fault struct {
	id     string
	about  string
	send   func(s *site, path string) Request // provokes it; nil: a GET without credentials
	status int                                // of the response to it
	change func(r *http.Request, a *answer, h http.Header)

	// enter changes a request before the server sees it, or answers it and returns nil.
	enter func(s *site, w http.ResponseWriter, r *http.Request) *http.Request
}

// refusedWith returns a change that replaces the responses for which when is true. They have no
// challenge.
func refusedWith(status int, text string, when func(r *http.Request, a *answer) bool) func(*http.Request, *answer, http.Header) {
	return func(r *http.Request, a *answer, h http.Header) {
		if when(r, a) {
			h.Del("WWW-Authenticate")
			h.Set("Content-Type", "application/json")
			a.status, a.body = status, text
		}
	}
}

// onRefusal returns a change of the fields of each 401.
func onRefusal(change func(r *http.Request, h http.Header)) func(*http.Request, *answer, http.Header) {
	return func(r *http.Request, a *answer, h http.Header) {
		if a.status == http.StatusUnauthorized {
			change(r, h)
		}
	}
}

// sent returns the credentials of a request, and "" for none or several.
func sent(r *http.Request) string {
	if lines := r.Header["Authorization"]; len(lines) == 1 {
		return lines[0]
	}
	return ""
}

// withToken returns a function for a request with a token of a kind.
func withToken(kind string) func(*site, string) Request {
	return func(s *site, path string) Request {
		return s.get(path, authorization("Bearer "+s.token(kind, path)))
	}
}

// withFields returns a function for a request with fields.
func withFields(method string, fields ...Field) func(*site, string) Request {
	return func(s *site, path string) Request {
		r := s.get(path, fields...)
		r.Method = method
		return r
	}
}

// faults lists the rows of durward check with a server that fails each. "none" has no fault.
var faults = []fault{
	{id: "none", about: "This server has no fault: it gets full marks.", status: 401},
	{
		id: "anonymous-401", about: "A request without credentials gets 403.", status: 403,
		change: refusedWith(403, `{"message":"Forbidden"}`, func(r *http.Request, a *answer) bool {
			return a.status == 401 && r.Header["Authorization"] == nil
		}),
	},
	{
		id: "challenge", about: "The 401 has no challenge.", status: 401,
		change: onRefusal(func(_ *http.Request, h http.Header) { h.Del("WWW-Authenticate") }),
	},
	{
		id: "challenge-grammar", about: "A comma is missing between the parameters of the challenge.", status: 401,
		change: onRefusal(func(_ *http.Request, h http.Header) {
			h.Set("WWW-Authenticate", strings.Replace(h.Get("WWW-Authenticate"), ", ", " ", 1))
		}),
	},
	{
		id: "realm", about: "Basic is offered without a realm.", status: 401,
		change: onRefusal(func(_ *http.Request, h http.Header) { h.Add("WWW-Authenticate", `Basic charset="UTF-8"`) }),
	},
	{
		id: "no-error-anonymous", about: "A request without credentials gets an error code.", status: 401,
		change: onRefusal(func(r *http.Request, h http.Header) {
			if r.Header["Authorization"] == nil {
				h.Set("WWW-Authenticate", h.Get("WWW-Authenticate")+`, error="invalid_token"`)
			}
		}),
	},
	{
		id: "garbage-token", about: "A token that cannot be parsed gets 500.", status: 500, send: withFields(http.MethodGet, authorization("Bearer x.y.z")),
		change: refusedWith(500, `{"message":"Internal Server Error"}`, func(r *http.Request, a *answer) bool {
			token, ok := strings.CutPrefix(sent(r), "Bearer ")
			_, err := jwt.Inspect(token)
			return ok && err != nil && a.status == 401
		}),
	},
	{
		id: "forged-token", about: "An unsigned token is accepted.", status: 200, send: withToken("unsigned"),
		change: refusedWith(200, `{"ok":true}`, func(r *http.Request, _ *answer) bool {
			return strings.Count(sent(r), ".") == 2 && strings.HasSuffix(sent(r), ".")
		}),
	},
	{
		id: "malformed", about: "An empty Authorization field gets 500.", status: 500, send: withFields(http.MethodGet, authorization("")),
		change: refusedWith(500, `{"message":"Internal Server Error"}`, func(r *http.Request, _ *answer) bool {
			return r.Header["Authorization"] != nil && sent(r) == "" && len(r.Header["Authorization"]) == 1
		}),
	},
	{
		id: "unknown-scheme", about: "Credentials of an unknown scheme get 500.", status: 500, send: withFields(http.MethodGet, authorization("Nonsense x")),
		change: refusedWith(500, `{"message":"Internal Server Error"}`, func(r *http.Request, a *answer) bool {
			scheme, _, _ := strings.Cut(sent(r), " ")
			return a.status == 401 && scheme != "" && !strings.EqualFold(scheme, "Bearer") && !strings.EqualFold(scheme, "Basic")
		}),
	},
	{
		id: "two-fields", about: "Of two Authorization fields the last one decides.", status: 200,
		send: func(s *site, path string) Request {
			return s.get(path, authorization("Bearer x.y.z"), authorization("Bearer "+s.token("good", path)))
		},
		enter: func(_ *site, _ http.ResponseWriter, r *http.Request) *http.Request {
			if lines := r.Header["Authorization"]; len(lines) > 1 {
				r.Header.Set("Authorization", lines[len(lines)-1])
			}
			return r
		},
	},
	{
		id: "token-in-query", about: "A token in the query is accepted.", status: 200,
		send: func(s *site, path string) Request {
			return s.get(path + "?access_token=" + s.token("good", path))
		},
		enter: func(_ *site, _ http.ResponseWriter, r *http.Request) *http.Request {
			if token := r.URL.Query().Get("access_token"); token != "" && r.Header["Authorization"] == nil {
				r.Header.Set("Authorization", "Bearer "+token)
			}
			return r
		},
	},
	{
		id: "expired", about: "An expired token gets 403.", status: 403, send: withToken("expired"),
		change: refusedWith(403, `{"message":"Forbidden"}`, func(_ *http.Request, a *answer) bool { return strings.Contains(a.body, `"TOKEN_EXPIRED"`) }),
	},
	{
		id: "audience", about: "A token for another API gets 403.", status: 403, send: withToken("wrong-audience"),
		change: refusedWith(403, `{"message":"Forbidden"}`, func(_ *http.Request, a *answer) bool { return strings.Contains(a.body, "not valid: aud ") }),
	},
	{
		id: "scope", about: "A token without the scope gets 403 without the name of the scope.", status: 403, send: withToken("no-scope"),
		change: refusedWith(403, `{"message":"Forbidden"}`, func(_ *http.Request, a *answer) bool { return a.status == 403 }),
	},
	{
		id: "head", about: "HEAD gets 405.", status: 405, send: withFields(http.MethodHead),
		change: refusedWith(405, "", func(r *http.Request, _ *answer) bool { return r.Method == http.MethodHead }),
	},
	{
		id: "caching", about: "Caches may keep the 401 for an hour.", status: 401,
		change: onRefusal(func(_ *http.Request, h http.Header) { h.Set("Cache-Control", "public, max-age=3600") }),
	},
	{
		id: "body", about: "The body of the 401 says that its status is 200.", status: 401,
		change: func(_ *http.Request, a *answer, _ http.Header) {
			a.body = strings.Replace(a.body, `"status":401`, `"status":200`, 1)
		},
	},
	{
		id: "preflight", about: "A preflight gets 401.", status: 401,
		send: withFields(http.MethodOptions, Field{"Origin", "https://app.lab.example"}, Field{"Access-Control-Request-Method", "GET"},
			Field{"Access-Control-Request-Headers", "authorization"}),
		change: func(r *http.Request, a *answer, h http.Header) {
			if r.Method == http.MethodOptions {
				h.Set("WWW-Authenticate", `Bearer realm="lab"`)
				a.status = 401
			}
		},
	},
	{
		id: "readable", about: "The 401 has no CORS fields, so that a page sees a network error.", status: 401,
		send:   withFields(http.MethodGet, Field{"Origin", "https://app.lab.example"}),
		change: onRefusal(func(_ *http.Request, h http.Header) { h.Del("Access-Control-Allow-Origin") }),
	},
	{
		id: "api-no-redirect", about: "A script that accepts JSON is redirected to a page.", status: 302,
		send: withFields(http.MethodGet, Field{"Accept", "application/json"}),
		change: func(r *http.Request, a *answer, h http.Header) {
			if a.status == 401 && r.Header.Get("Accept") == "application/json" {
				h.Del("WWW-Authenticate")
				h.Set("Location", "/lab/")
				a.status, a.body = 302, ""
			}
		},
	},
	{
		id: "in-the-clear", about: "The server asks for credentials over plain http. This one needs a lab with https and a proxy that forwards http to it.", status: 401,
		send: withFields(http.MethodGet, Field{"X-Forwarded-Proto", "http"}),
	},
	{
		id: "tls", about: "Responses over https have no Strict-Transport-Security. This one needs a lab with https.", status: 401,
		change: func(_ *http.Request, _ *answer, h http.Header) { h.Del("Strict-Transport-Security") },
	},
	{
		id: "date", about: "Responses have no Date.", status: 401,
		change: func(_ *http.Request, _ *answer, h http.Header) { h["Date"] = nil }, // net/http then adds none
	},
	{
		id: "digest", about: "Digest is offered with MD5 alone.", status: 401,
		change: onRefusal(func(_ *http.Request, h http.Header) {
			h.Add("WWW-Authenticate", `Digest realm="lab", nonce="bGFiLW5vbmNl", algorithm=MD5, qop="auth"`)
		}),
	},
	{
		id: "dpop", about: "DPoP is offered without its algorithms.", status: 401,
		change: onRefusal(func(_ *http.Request, h http.Header) { h.Add("WWW-Authenticate", `DPoP realm="lab"`) }),
	},
	{
		id: "metadata", about: "The resource metadata is about another resource.", status: 200,
		send: func(s *site, path string) Request { return s.get(wellKnown + path) }, // see giveMetadata
	},
	{
		id: "proxy-407", about: "The lab as a proxy for this address asks for credentials with 401. Use the lab as the client's proxy.", status: 401,
		enter: func(_ *site, w http.ResponseWriter, r *http.Request) *http.Request {
			if r.URL.Host != "" && r.Header.Get("Proxy-Authorization") == "" { // absolute form (RFC 9112 s3.2.2)
				w.Header().Set("WWW-Authenticate", `Basic realm="lab proxy"`)
				w.WriteHeader(http.StatusUnauthorized)
				return nil
			}
			return r
		},
	},
}

// faulty returns the endpoints below /lab/fault.
func (s *site) faulty() (all []endpoint) {
	for _, f := range faults {
		path := "/lab/fault/" + f.id
		e := endpoint{
			Endpoint: Endpoint{
				Path: path, About: f.about, Methods: []string{http.MethodGet, http.MethodHead, http.MethodOptions}, Status: f.status,
				GoodClient: "reports the fault and sends its credentials nowhere else", Faults: []string{f.id},
			},
			send: func() []Request {
				if f.send == nil {
					return []Request{s.get(path)}
				}
				return []Request{f.send(s, path)}
			},
		}
		if f.id == "none" {
			e.Faults, e.GoodClient = nil, "sends a good token"
		}
		right := s.faultless(path, f.id == "in-the-clear")
		e.serve = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if f.enter != nil {
				if r = f.enter(s, w, r); r == nil {
					return
				}
			}
			if f.change == nil {
				right.ServeHTTP(w, r)
				return
			}
			c := &recorder{h: w.Header()}
			right.ServeHTTP(c, r)
			a := answer{status: c.status, body: c.body.String()}
			c.h.Del("Content-Length")
			f.change(r, &a, c.h)
			a.ServeHTTP(w, r)
		})
		all = append(all, e)
	}
	return all
}

// faultless returns a server that does everything right, for tokens with the scope read.
func (s *site) faultless(path string, clear bool) http.Handler {
	cors := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Access-Control-Allow-Methods", "GET, HEAD")
		h.Set("Access-Control-Allow-Headers", "Authorization, DPoP, X-API-Key, Content-Type") // Fetch s4.8: "*" does not include Authorization
		w.WriteHeader(http.StatusNoContent)
	})
	bearer := s.bearer(path)
	g := s.guardWith(durward.Config{Schemes: []durward.Scheme{bearer, basicScheme(nil)}, Metadata: s.metadataURL(path), Preflight: cors})
	proxy := g.Proxy(durward.Policy{}, http.HandlerFunc(accepted))
	tokens := g.Require(durward.Policy{Schemes: []durward.Scheme{bearer}, Scopes: []string{"read"}}, http.HandlerFunc(accepted))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		if strings.HasPrefix(s.origin, "https:") {
			w.Header().Set("Strict-Transport-Security", "max-age=31536000")
			// Only a proxy that terminates TLS knows what its client used.
			if !clear && r.TLS == nil && r.Header.Get("X-Forwarded-Proto") == "http" {
				g.Refuse(w, r, durward.InsecureTransport)
				return
			}
		}
		if r.URL.Host != "" && r.Method != http.MethodOptions { // absolute form: the lab is the client's proxy
			proxy.ServeHTTP(w, r)
			return
		}
		tokens.ServeHTTP(w, r)
	})
}
