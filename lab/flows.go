package lab

import (
	"net/http"
	"time"

	"github.com/durward-auth/durward"
)

// flows returns the endpoints below /lab/flow. A good client of each passes: its last request gets 200.
func (s *site) flows() (all []endpoint) {
	add := func(e endpoint) {
		if e.Status == 0 {
			e.Status = e.Code.Status()
		}
		all = append(all, e)
	}
	follow := s.beside

	stale := "/lab/flow/stale-nonce"
	old := require(s.at(-time.Hour).guard(stale, digestScheme()), durward.Policy{})
	fresh := require(s.guard(stale, digestScheme()), durward.Policy{})
	add(endpoint{
		Endpoint: Endpoint{
			Path: stale, About: "The nonce of the first challenge is old. The second challenge says stale=true.",
			Code: durward.StaleNonce, GoodClient: answersNonce,
		},
		send: func() []Request {
			answer := func(age time.Duration) Request {
				return s.get(stale, authorization(digestAnswer(http.MethodGet, stale, s.nonceFrom(-age))))
			}
			return []Request{follow(401, s.get(stale)), answer(time.Hour), follow(200, answer(0))}
		},
		serve: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header["Authorization"] == nil {
				old.ServeHTTP(w, r) // its clock is an hour behind, so its nonce is an hour old
				return
			}
			fresh.ServeHTTP(w, r)
		}),
	})

	dpop := "/lab/flow/dpop-nonce"
	dpopGuard := s.guard(dpop, s.dpop(dpop, true))
	add(endpoint{
		Endpoint: Endpoint{
			Path: dpop, About: "The server asks for its nonce in the proof. /lab/token?kind=dpop-bound&jkt=… binds a token to a key.",
			Code: durward.NonceRequired, GoodClient: answersNonce,
		},
		send: func() []Request {
			token := s.token("dpop-bound", dpop)
			with := func(nonce string) Request {
				return s.get(dpop, authorization("DPoP "+token), Field{"DPoP", proofKey.prove(http.MethodGet, s.origin+dpop, token, nonce)})
			}
			return []Request{with(""), follow(200, with(s.ask(dpopGuard).Get("DPoP-Nonce")))}
		},
		serve: require(dpopGuard, durward.Policy{}),
	})

	redirect := "/lab/flow/redirect"
	from := s.guard(redirect, s.bearer(redirect), basicScheme(nil)).Handler(http.RedirectHandler(s.other+redirect+"/here", http.StatusTemporaryRedirect))
	add(endpoint{
		Endpoint: Endpoint{
			Path: redirect, About: "The answer to good credentials is a redirect to another origin, which needs none and complains about any.",
			Code: durward.AuthenticationRequired, GoodClient: "follows the redirect without credentials",
		},
		send: func() []Request {
			here := s.get(redirect + "/here")
			here.URL = s.other + redirect + "/here"
			return []Request{s.get(redirect), follow(307, s.get(redirect, authorization(basic(labUser, labPassword)))), follow(200, here)}
		},
		serve: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == redirect {
				from.ServeHTTP(w, r)
				return
			}
			leaked := []string{}
			for _, name := range []string{"Authorization", "Cookie", "DPoP", "X-API-Key"} {
				if r.Header[http.CanonicalHeaderKey(name)] != nil {
					leaked = append(leaked, name)
				}
			}
			if len(leaked) > 0 {
				writeJSON(w, http.StatusBadRequest, map[string]any{"ok": false, "detail": "The client sent credentials to another origin.", "fields": leaked})
				return
			}
			accepted(w, r)
		}),
	})

	registry := "/lab/flow/registry-token"
	const service, pull = "lab-registry", "repository:lab/image:pull"
	images := require(s.guardWith(durward.Config{
		Schemes: []durward.Scheme{&registryScheme{s.verifier(registry).Scheme(), service, pull}}, Realm: s.origin + registry + "/token",
	}), durward.Policy{})
	add(endpoint{
		Endpoint: Endpoint{
			Path: registry, About: "The challenge names a token address, a service and a scope, as container registries do.",
			Code: durward.AuthenticationRequired, GoodClient: "fetches a token at the realm with service and scope, then repeats once",
		},
		send: func() []Request {
			return []Request{
				s.get(registry), follow(200, s.get(registry+"/token?service="+service+"&scope="+pull)),
				follow(200, s.get(registry, authorization("Bearer "+s.token("good", registry)))),
			}
		},
		serve: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch q := r.URL.Query(); {
			case r.URL.Path != registry+"/token":
				images.ServeHTTP(w, r)
			case q.Get("service") != service || q.Get("scope") != pull:
				writeJSON(w, http.StatusBadRequest, map[string]any{"details": "service or scope is not that of the challenge"})
			default:
				token := s.token("good", registry)
				writeJSON(w, http.StatusOK, map[string]any{"token": token, "access_token": token, "expires_in": int(tokenLife.Seconds())})
			}
		}),
	})

	refresh := "/lab/flow/refresh"
	form := "application/x-www-form-urlencoded"
	resource := require(s.guard(refresh, s.bearer(refresh)), durward.Policy{})
	add(endpoint{
		Endpoint: Endpoint{
			Path: refresh, About: "The access token of /lab/flow/refresh/start is expired; its refresh token is good at /lab/flow/refresh/token.",
			Code: durward.TokenExpired, GoodClient: refreshesOnce + ", and shares the new token between its requests",
		},
		send: func() []Request {
			return []Request{
				follow(200, s.get(refresh+"/start")), s.get(refresh, authorization("Bearer "+s.token("expired", refresh))),
				follow(200, s.post(refresh+"/token", form, "grant_type=refresh_token&client_id="+labClient+"&refresh_token="+goodRefresh)),
				follow(200, s.get(refresh, authorization("Bearer "+s.token("good", refresh)))),
			}
		},
		serve: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case refresh + "/start":
				start := s.tokenResponse(refresh)
				start["access_token"] = s.token("expired", refresh)
				writeJSON(w, http.StatusOK, start)
			case tokenPath:
				s.giveRefreshed(w, r, refresh)
			default:
				resource.ServeHTTP(w, r)
			}
		}),
	})

	stepUp := "/lab/flow/step-up"
	strong := require(s.guard(stepUp, s.bearer(stepUp)), durward.Policy{ACR: []string{"urn:durward:acr:2fa"}})
	add(endpoint{
		Endpoint: Endpoint{
			Path: stepUp, About: "The operation requires a second factor. /lab/flow/step-up/token?acr_values=… plays the sign-in.",
			Code: durward.StepUpRequired, GoodClient: "lets its user sign in as the challenge states, then repeats once",
		},
		send: func() []Request {
			return []Request{
				s.get(stepUp, authorization("Bearer "+s.token("good", stepUp))), follow(200, s.get(stepUp+"/token?acr_values=urn:durward:acr:2fa")),
				follow(200, s.get(stepUp, authorization("Bearer "+s.token("strong", stepUp)))),
			}
		},
		serve: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != stepUp+"/token" {
				strong.ServeHTTP(w, r)
				return
			}
			answer := s.tokenResponse(stepUp)
			if r.URL.Query().Get("acr_values") == "urn:durward:acr:2fa" {
				answer["access_token"] = s.token("strong", stepUp)
			}
			writeJSON(w, http.StatusOK, answer)
		}),
	})
	return all
}

// registryScheme is Bearer with the parameters of a container registry.
type registryScheme struct {
	durward.Scheme
	service, scope string
}

func (r *registryScheme) Challenges(q *http.Request, code durward.Code) []durward.Challenge {
	list := r.Scheme.Challenges(q, code)
	for i := range list {
		list[i].Params = append(list[i].Params, durward.Param{Name: "service", Value: r.service}, durward.Param{Name: "scope", Value: r.scope})
	}
	return list
}

// giveRefreshed answers a token request for the API at path: the grants refresh_token (RFC 6749 s6) and
// client_credentials.
func (s *site) giveRefreshed(w http.ResponseWriter, r *http.Request, path string) {
	form := bodyOf(r)
	switch {
	case form["grant_type"] == "client_credentials":
		s.giveClientToken(w, r, path)
	case form["grant_type"] != "refresh_token":
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "unsupported_grant_type"}) // RFC 6749 s5.2
	case form["refresh_token"] != goodRefresh:
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant", "error_description": "The refresh token is spent or unknown."})
	default:
		writeJSON(w, http.StatusOK, s.tokenResponse(path))
	}
}
