// Access tokens judged by jose, by the profile of RFC 9068. Standard input: {keys:
// URL of the key set, issuer, audience, tokens}. A line of output is who a token
// speaks for, or jose's code for what is wrong with it.
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
