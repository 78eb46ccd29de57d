// Package client is the client side of HTTP authentication: an [http.RoundTripper] that answers the
// challenges of servers and proxies with passwords, tokens, API keys and client certificates.
//
//	c := client.New(client.Password(client.PasswordConfig{
//		Origin: "https://files.example.com", User: "ada", Password: password,
//	}))
//	resp, err := c.Get("https://files.example.com/notes.txt")
//
// # Model
//
// A [Transport] wraps another RoundTripper. Its sources hold credentials, and each source names the
// origins (scheme, host and port) that may receive them. Package api has a source for the sign-in
// of a user at a Durward server; [OAuth] gets tokens from any OAuth server.
//
// # Reaction to a refusal
//
// The Transport reacts to a 401, a 403 or a 407 response, and to a 400 response with a challenge,
// in this order:
//
//  1. It returns the response to the caller if it has no source, if the body cannot be sent again
//     (GetBody is nil), or if the URL is an endpoint where a source gets its tokens.
//  2. If the server accepts the credentials and wants a stronger sign-in or, with a 403, more
//     scope, it calls OnStepUp.
//  3. Else it takes the challenges from the strongest to the weakest: DPoP, Bearer, API key, Digest
//     with SHA-512-256, SHA-256 and MD5, Basic. The first source that can answer one does.
//  4. For invalid_token the source gets another token. For use_dpop_nonce, invalid_dpop_proof and
//     stale=true it makes a new proof or answer. For insufficient_scope with a 401, and for
//     insufficient_claims, it may have a token for that scope or those claims, else OnStepUp is
//     called.
//  5. A 401 without an error, or without a challenge, refuses the access token that the request
//     had: it counts as invalid_token. Many APIs send no more.
//  6. Each of these reasons is answered once for each request. If the answer equals a refused one,
//     the caller gets the response (RFC 9110 s15.5.2).
//
// If an origin refuses a renewed token too, the next token that it refuses is renewed after a
// second at the earliest, then after two, and so on up to a minute. Until then the caller gets the
// responses.
//
// A 429 or 503 response goes to the caller, and the credentials stay in use. A challenge with a
// syntax error is not answered; those on other field lines are.
//
// # Guarantees
//
//   - Credentials are sent only to the origins of their source. A challenge cannot change that, and
//     nothing follows a redirect to another origin.
//   - Passwords by Basic, API keys and tokens need https or a loopback host, unless a field with
//     the prefix Insecure allows plain http.
//   - After a scheme was accepted at an origin, a password is never sent there in a weaker one.
//     After an answer by Digest it is never sent by Basic: not after a refusal, and not for another
//     realm.
//   - An origin that has accepted an access token or API key of a Transport gets no password from
//     it. For a server with both kinds of paths use two Transports.
//   - A request is not sent again with the credentials that were refused for it. A refused password
//     is not sent again in its realm.
//   - One refresh serves all requests that wait for a token, and with a shared [TokenStore] all
//     processes. Only the authorization server can end a sign-in; an outage cannot.
//   - The Request of a response is the caller's own, without credentials.
//
// # Limits
//
//   - A request is sent at most six times.
//   - A request that has an Authorization field is sent unchanged and its challenges are not
//     answered.
//   - A body of a refusal is read for a second and up to 256 KiB, so that its connection can be
//     reused.
//   - Negotiate, NTLM and other schemes that authenticate a connection need a [Source] of your own,
//     and cannot be supported fully: a source sees one request at a time.
package client
