// Package durward is HTTP authentication for net/http: what a server answers to
// a request that does not say who it is, and what it takes to be let in.
//
// Two lines guard an API with the access tokens of an issuer:
//
//	api := durward.Protect(mux, jwt.Bearer("https://auth.example.com", "https://api.example.com"))
//	log.Fatal(http.ListenAndServe("localhost:8080", api)) // in a handler: durward.From(r.Context()).Subject
//
// # Model
//
// A [Scheme] is one way of showing who one is; it challenges, finds its
// credentials in a request and judges them. A [Guard] holds the schemes of a
// service, takes each decision in one fixed order and writes every refusal. A
// [Policy] is what a route wants beyond good credentials. What a check found is
// a [Principal] in the request's context ([From]); what it refused is a
// [Refusal], whose [Code] is one of a closed list.
//
// The schemes here are [Bearer], [DPoP], [Basic], [Digest], [APIKey], [Cookie] and
// [ClientCert]; [Session] only says where to sign in. An application adds its own.
//
// The order of a decision is:
//
//  1. The path is one that every reader reads alike, or 400.
//  2. A CORS preflight is answered; it never reaches the handler.
//  3. Plain http is refused, or redirected for people, before anybody is asked
//     for a password: unless it comes from loopback with no proxy in between,
//     or a trusted proxy says that the client came by https.
//  4. What is presented decides the scheme, never the order of configuration.
//     Two explicit credentials are 400. Explicit ones win over ambient ones, and
//     if they fail there is no falling back.
//  5. Nothing presented is 401 with one challenge for each scheme, or anonymous
//     where the policy says Optional.
//  6. The credentials are judged. The first failure names the code.
//  7. Too weak or too old a sign-in is 401 with what is wanted (RFC 9470).
//  8. Missing scopes, then the policy's own rule, are 403.
//
// # Passwords
//
// [Basic] sends the password in each request, so a check that is slow on purpose is
// wrapped in [Remember], which asks it once a minute for each pair that is right
// and forgets at once what has changed. [Digest] never sends the password; what
// the server stores for it ([HA1]) is as good as one for whoever steals it.
//
// # Keys, cookies and certificates
//
// An [APIKey] comes in X-API-Key or as a Bearer token; what it begins with says that
// it is one. A [Cookie] and a [ClientCert] are ambient: a browser sends them whatever
// page asks, so a request with one that changes something must come from a page of
// this origin or of Config.Origins. Explicit credentials beside them win, and if
// they are refused nothing stands in. A certificate goes before a cookie. A route
// that takes certificates alone answers 403, since there is no challenge for one.
//
// # People
//
// On a route with Policy.Pages a person who has to sign in is sent to the LoginURL
// by 303 and comes back by [ReturnTo]; frames and forms get the refusal as a page.
// Scripts and other programs get problem details all the same, and where another
// scheme is there, no challenge at which a browser opens a password box over the
// script's page.
//
// # Requests that last
//
// On a route with Policy.Stream the request's context ends when the credentials do:
// when they expire, and within a second of when their scheme calls them revoked.
//
// # Proxies
//
// Two things are called so. Peers in Config.Proxies stand before this server, and
// their forwarding fields are believed. [Guard.Proxy] stands before a forward proxy
// of one's own and asks for its users: 407, Proxy-Authenticate and
// Proxy-Authorization, by Basic and Digest alone. What belongs to the origin passes
// as it came.
//
// # Logs
//
// OnRefusal is told of each refusal with its true cause, OnAccept once of each
// request that is let through.
//
// # Guarantees
//
// A 401 always carries a challenge (RFC 9110 s15.5.2), each on its own field
// line, strongest first. An outage is never a 401: an error that wraps no Code
// is 503 with Retry-After, so that a broken database neither opens the door nor
// signs anybody out. What the client reads and what the log gets are different
// fields; the denial id in the Durward-Denial field ties them together. Refusals
// are never stored by caches. The ResponseWriter is handed on as it is, so that
// flushing, hijacking and deadlines work.
//
// # Not done here
//
// The package checks no signature and no password hash: that is behind the small
// functions that schemes are made of, such as those of package jwt. It keeps no
// sessions and no accounts. It reads no token from a query string or a form.
package durward
