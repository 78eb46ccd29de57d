// Package jwt makes and verifies access tokens: JWTs of the profile of RFC 9068,
// signed by RFC 7515, judged by the practice of RFC 8725.
//
// An API that takes the tokens of an issuer:
//
//	api := durward.Protect(mux, jwt.Bearer("https://auth.example.com", "https://api.example.com"))
//
// # Model
//
// A [PrivateKey] signs [Claims]. A [Key] verifies, and it fixes the algorithm: a
// token that names another is refused, whatever is in it. A [KeySet] finds keys
// by their kid: [Keys] holds them in memory, [RemoteKeys] follows the document
// an issuer publishes. A [Verifier] holds one issuer's keys and judges tokens
// meant for one audience; a service that takes the tokens of two issuers has two
// verifiers.
//
// # Guarantees
//
// A token is looked at in one order, and the first failure names the cause:
// size, form, typ, alg, iss, key, signature, the types of the claims, the length
// of its life, aud, nbf and iat, cnf, then exp, then revocation. So an expired
// token with a bad signature is never called expired.
//
// Every token has exactly one spelling that is accepted: canonical base64url
// without padding, JSON without doubled names and in valid UTF-8, signatures of
// exact length. What a token says about keys (jwk, jku, x5c, x5u) is refused,
// never followed. Work and memory are bounded by the size of a token, 8 KiB.
//
// An error wraps exactly one [durward.Code]. Its text is for the operator's log:
// it says which check failed and by how much, and names a token only by the
// first 8 hex digits of its SHA-256. A key set that cannot be read is
// [durward.AuthUnavailable], never [durward.InvalidToken].
//
// A verified token is remembered under its SHA-256 until it expires, so that its
// signature is paid for once. Its key, its end and its revocation are looked at
// in each request all the same.
//
// A token that is bound to a key (cnf) is taken with what proves that its sender
// holds it, and refused without: a DPoP proof (RFC 9449, [Verifier.DPoP]), a client
// certificate (RFC 8705).
//
// # Not done here
//
// No encryption (RFC 7516), no unsigned or nested tokens, no JSON serialisation,
// no detached or unencoded payloads (RFC 7797), no ES384, ES512, RS384 and kin.
// Of a JWT nothing is asked of the issuer but its key set; an [Introspector] asks
// about tokens that are none (RFC 7662).
package jwt
