// A relying party of oauth4webapi: a public client with PKCE.
import * as oauth from 'oauth4webapi';
import { callback, input, scope, serve, text } from './web.mjs';

const insecure = { [oauth.allowInsecureRequests]: true };
const issuer = new URL(input.issuer);
const as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { ...insecure, algorithm: 'oauth2' }));
const client = { client_id: input.client };
const verifier = oauth.generateRandomCodeVerifier(), state = oauth.generateRandomState(), nonce = oauth.generateRandomNonce();

serve(async () => {
  const url = new URL(as.authorization_endpoint);
  url.search = new URLSearchParams({
    client_id: input.client, redirect_uri: callback, response_type: 'code', scope, resource: input.api, state, nonce,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256',
  });
  return url;
}, async function* (request) {
  const params = oauth.validateAuthResponse(as, client, new URL(request.url), state);
  const response = await oauth.authorizationCodeGrantRequest(as, client, oauth.None(), params, callback, verifier, insecure);
  const tokens = await oauth.processAuthorizationCodeResponse(as, client, response, { expectedNonce: nonce, requireIdToken: true });
  await oauth.validateApplicationLevelSignature(as, response, insecure); // of the ID token, with the key set
  const { sub } = oauth.getValidatedIdTokenClaims(tokens);
  yield `signed in ${sub}`;
  const info = await oauth.processUserInfoResponse(as, client, sub, await oauth.userInfoRequest(as, client, tokens.access_token, insecure));
  yield `userinfo ${info.email}`;
  const call = async (token) => text(await oauth.protectedResourceRequest(token, 'GET', new URL(input.api), undefined, undefined, insecure));
  yield `api ${await call(tokens.access_token)}`;
  const refresh = async (token) => oauth.processRefreshTokenResponse(as, client,
    await oauth.refreshTokenGrantRequest(as, client, oauth.None(), token, insecure));
  const next = await refresh(tokens.refresh_token);
  yield `refreshed, api ${await call(next.access_token)}`;
  await oauth.processRevocationResponse(await oauth.revocationRequest(as, client, oauth.None(), next.refresh_token, insecure));
  yield 'revoked';
  yield `refresh: ${await refresh(next.refresh_token).catch((err) => err.error)}`;
  const refused = await oauth.userInfoRequest(as, client, next.access_token, insecure)
    .then((r) => oauth.processUserInfoResponse(as, client, sub, r)).catch((err) => err.cause[0].parameters.error);
  yield `userinfo: ${refused}`;
});
