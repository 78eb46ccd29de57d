// Verifies access tokens with jose, by the profile of RFC 9068. Standard input: {keys: URL of the key set,
// issuer, audience, tokens}. Each line of output has the algorithm, subject and scope of a token, or the
// error code of jose.
import { readFileSync } from 'node:fs';
import { createRemoteJWKSet, jwtVerify } from 'jose';

const c = JSON.parse(readFileSync(0, 'utf8'));
const keys = createRemoteJWKSet(new URL(c.keys));
for (const token of c.tokens) {
  try {
    const { payload, protectedHeader } = await jwtVerify(token, keys, {
      issuer: c.issuer, audience: c.audience, typ: 'at+jwt', requiredClaims: ['exp', 'iat', 'jti', 'client_id', 'sub'],
    });
    console.log(protectedHeader.alg, payload.sub, payload.scope);
  } catch (e) {
    console.log(e.code ?? e);
  }
}
