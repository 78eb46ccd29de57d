// Package jwt issues and verifies access tokens: signed JWTs (RFC 7515) with the profile of RFC
// 9068 and the checks of RFC 8725.
//
// An API that accepts the tokens of an issuer:
//
//	api := durward.Protect(mux, jwt.Bearer("https://auth.example.com", "https://api.example.com"))
//
// # Parts
//
// A [PrivateKey] signs [Claims]. A [Key] verifies signatures; a token that names an algorithm that
// the key does not serve is refused. A [KeySet] finds keys by their kid: [Keys] holds them in memory,
// [RemoteKeys] fetches the key set of an issuer. A [Verifier] verifies the tokens of one issuer for
// one service; [Issuers] combines several verifiers. An [Introspector] asks the issuer about opaque
// tokens (RFC 7662). A [Profile] states how the tokens of an identity provider differ from RFC 9068,
// such as [Keycloak] or [EntraV2].
//
// # Order of checks
//
// A Verifier checks in this order: size, form, typ, alg, iss, key, signature, types of the claims,
// lifetime, aud, nbf and iat, cnf, exp, revocation. The error names the first failure. So an
// expired token with a bad signature is never reported as expired.
//
// # Guarantees
//
// Each token is accepted in one spelling only: canonical base64url without padding, JSON in valid
// UTF-8 without duplicate names, signatures of the exact length. A token that brings or names a key
// (jwk, jku, x5c, x5u) is refused, or a profile ignores these members; they are never followed. The
// size of a token is limited, by default to 16 KiB, which limits work and memory.
//
// Defaults follow RFC 9068. Each deviation is a field of [Config] or [Profile], and the error of a
// refused token names the field that would accept it.
//
// An error wraps exactly one [durward.Code]. Its text is for the operator's log: it names the
// failed check and the values, and identifies a token only by the first 8 hex digits of its
// SHA-256. If the keys cannot be fetched, the code is [durward.AuthUnavailable], not
// [durward.InvalidToken].
//
// The claims of a verified token are cached by its SHA-256 until it expires, so that its signature
// is verified once. Each request still checks its key, its expiry and its revocation.
//
// A token that is bound to a key (cnf) is accepted only if its sender proves possession of the key,
// by a DPoP proof (RFC 9449, [Verifier.DPoP]) or by a client certificate (RFC 8705).
//
// # Not supported
//
// Encryption (RFC 7516), unsigned and nested tokens, JSON serialization, detached and unencoded
// payloads (RFC 7797), other algorithms than those of [Config].
package jwt
