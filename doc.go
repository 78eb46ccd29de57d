// Package durward implements HTTP authentication for net/http servers. A [Guard] protects handlers:
// it verifies credentials and writes 401, 403 and 407 responses. Package client is the other side.
//
// Two lines protect an API with the access tokens of an issuer:
//
//	api := durward.Protect(mux, jwt.Bearer("https://auth.example.com", "https://api.example.com"))
//	log.Fatal(http.ListenAndServe("localhost:8080", api)) // in a handler: durward.From(r.Context()).Subject
//
// # Model
//
// A [Scheme] implements one authentication scheme: it issues challenges, extracts credentials from
// a request and verifies them. A [Guard] holds the schemes of a service, makes each decision in one
// fixed order and writes every refusal. A [Policy] states what a route requires beyond valid
// credentials, and which of the schemes it accepts. The result of a verification is a [Principal] in
// the request's context ([From]), or a [Refusal] whose [Code] is one of a closed list ([Codes]).
//
// The schemes of this package are [Bearer], [DPoP], [Basic], [Digest], [APIKey], [Cookie] and
// [ClientCert]; [Session] only names the sign-in page. Applications can add their own.
//
// # Order of a decision
//
// The guard performs these steps in this order; the comments of the code refer to their numbers.
// The first step that fails determines the response.
//
//  1. Path: it must be canonical, so that all servers map it to the same resource; otherwise 400.
//     On a guard with client certificates, the connection must be for the request's host name;
//     otherwise 421.
//  2. Preflight: a CORS preflight is answered here and never reaches the handler.
//  3. Transport: plain http is 403 without a challenge, so that a password is never requested over
//     it. Permitted are requests from loopback without a forwarding field, and requests for
//     which a trusted proxy states https. If PublicURL is https, navigations are redirected to it.
//  4. Scheme: the credentials in the request select the scheme, never the order of configuration.
//     Two sets of explicit credentials are 400. Explicit credentials win over ambient ones (cookie,
//     client certificate), and if they fail there is no fallback. Credentials of a scheme that
//     the route does not accept are 401.
//  5. No credentials: 401 with one challenge for each accepted scheme, or an anonymous request if
//     Policy.Optional is set.
//  6. Cross-site: an unsafe request or a WebSocket handshake with ambient credentials must come
//     from a page of this origin or of Config.Origins; otherwise 403.
//  7. Limits: the check of a guessable secret may answer 429 before it verifies the secret. A secret
//     that cannot be guessed is verified first.
//  8. Verification: the scheme verifies the credentials; its first failing check determines the
//     code, usually of a 401. An error without a code is 503.
//  9. Strength: a sign-in that is too weak or too old is 401 with the requirements (RFC 9470).
//  10. Authorization: missing scopes are 403, then Policy.Allow decides.
//
// Steps 7 and 8 belong to the scheme; the guard performs all others.
//
// # Guarantees
//
// A 401 always has a challenge (RFC 9110 s15.5.2); each challenge has its own field line, strongest
// first. Scripts in a browser receive no challenge that opens its password dialog if there is
// another one. An outage is never a 401: an error that wraps no Code is 503 with Retry-After, so
// that a failing database neither grants access nor signs users out. The texts for the client and
// the cause for the log are different fields; the denial id in the Durward-Denial field connects
// them. Refusals have Cache-Control: no-store. Handlers receive the ResponseWriter unwrapped, so
// that flushing, hijacking and deadlines work.
//
// # Limits of this package
//
// The package verifies no signatures and no password hashes: this is the task of the functions that
// schemes are created with, such as those of package jwt. It stores no sessions and no accounts. It
// reads no token from a query string or a form.
package durward
