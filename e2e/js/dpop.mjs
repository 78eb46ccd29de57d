// Sends requests with DPoP (RFC 9449) to an API: first with oauth4webapi, then with proofs signed by jose.
// Standard input: {api, token, key, other, metadata?, client?, resource?}, keys as private JWKs. Without a
// token the script requests one from the issuer. Each line of output has the name of the request, the
// status, and the body or the challenges as oauth4webapi parses them.
import { createHash, webcrypto } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { SignJWT } from 'jose';
import * as oauth from 'oauth4webapi';

const c = JSON.parse(readFileSync(0, 'utf8'));
const insecure = { [oauth.allowInsecureRequests]: true };

async function pair({ kty, crv, x, y, d }) {
  const algorithm = crv === 'Ed25519' ? { name: crv } : { name: 'ECDSA', namedCurve: crv };
  const open = (jwk, use) => webcrypto.subtle.importKey('jwk', jwk, algorithm, true, [use]);
  const publicJWK = JSON.parse(JSON.stringify({ kty, crv, x, y }));
  return { publicJWK, privateKey: await open({ ...publicJWK, d }, 'sign'), publicKey: await open(publicJWK, 'verify') };
}

let nonce; // the last that the API gave
let sent; // the last proof that went there

function fetchWith(proof) {
  return async (url, options) => {
    const headers = new Headers(options.headers);
    if (proof) headers.set('DPoP', proof);
    sent = headers.get('DPoP');
    const response = await fetch(url, { ...options, headers });
    nonce = response.headers.get('DPoP-Nonce') ?? nonce;
    return response;
  };
}

async function say(what, DPoP, proof) {
  try {
    const r = await oauth.protectedResourceRequest(c.token, 'GET', new URL(c.api), undefined, undefined,
      { ...insecure, DPoP, [oauth.customFetch]: fetchWith(proof) });
    console.log(what, r.status, (await r.text()).trim());
  } catch (e) {
    if (!(e instanceof oauth.WWWAuthenticateChallengeError)) throw e;
    const read = e.cause.map(({ scheme, parameters: { error, algs, realm } }) => [scheme, realm, error, algs].filter(Boolean).join(' '));
    console.log(what, e.status, oauth.isDPoPNonceError(e) ? 'nonce wanted:' : '', read.join(', '));
  }
}

const mine = await pair(c.key);
const other = await pair(c.other);
const handle = oauth.DPoP({}, mine);

if (!c.token) {
  const client = { client_id: c.client.client_id };
  const as = await oauth.processDiscoveryResponse(new URL(c.issuer), await oauth.discoveryRequest(new URL(c.issuer), insecure));
  const answer = await oauth.clientCredentialsGrantRequest(as, client, oauth.ClientSecretBasic(c.client.client_secret),
    { resource: c.resource, scope: 'read' }, { ...insecure, DPoP: handle });
  const got = await oauth.processClientCredentialsResponse(as, client, answer);
  console.log('token', got.token_type, got.scope);
  c.token = got.access_token;
}

await say('first', handle);
await say('again', handle);
await say('next', handle);
await say('replayed', handle, sent);
await say('as Bearer');
const stranger = oauth.DPoP({}, other);
await say('other key, first', stranger);
await say('other key', stranger);

const ath = createHash('sha256').update(c.token).digest('base64url');
const prove = (claims, header) => new SignJWT({ htm: 'GET', htu: c.api, ath, nonce, jti: webcrypto.randomUUID(), iat: Math.floor(Date.now() / 1000), ...claims })
  .setProtectedHeader({ typ: 'dpop+jwt', alg: c.key.alg, jwk: mine.publicJWK, ...header }).sign(mine.privateKey);
await say('jose', handle, await prove({}));
await say('jose, query', handle, await prove({ htu: c.api + '?a=b' }));
await say('jose, POST', handle, await prove({ htm: 'POST' }));
await say('jose, elsewhere', handle, await prove({ htu: c.api + '/other' }));
await say('jose, no ath', handle, await prove({ ath: undefined }));
await say('jose, other ath', handle, await prove({ ath: ath.slice(1) + 'A' }));
await say('jose, old', handle, await prove({ iat: Math.floor(Date.now() / 1000) - 90 }));
await say('jose, typ', handle, await prove({}, { typ: 'JWT' }));
await say('jose, no nonce', handle, await prove({ nonce: undefined }));
await say('jose, own nonce', handle, await prove({ nonce: 'my-own' }));
await say('jose, key', handle, await prove({}, { jwk: other.publicJWK }));
