// A relying party of openid-client: a confidential client that asks for the response by form_post.
import * as oidc from 'openid-client';
import { callback, input, scope, serve, text } from './web.mjs';

const config = await oidc.discovery(new URL(input.issuer), input.client, input.secret, oidc.ClientSecretBasic(input.secret),
  { execute: [oidc.allowInsecureRequests] });
const pkceCodeVerifier = oidc.randomPKCECodeVerifier(), expectedState = oidc.randomState(), expectedNonce = oidc.randomNonce();

serve(async () => oidc.buildAuthorizationUrl(config, {
  redirect_uri: callback, scope, resource: input.api, response_mode: 'form_post', prompt: 'consent',
  code_challenge: await oidc.calculatePKCECodeChallenge(pkceCodeVerifier), code_challenge_method: 'S256',
  state: expectedState, nonce: expectedNonce, max_age: '3600',
}), async function* (request) {
  const tokens = await oidc.authorizationCodeGrant(config, request, { pkceCodeVerifier, expectedState, expectedNonce, maxAge: 3600, idTokenExpected: true });
  const { sub } = tokens.claims();
  yield `signed in ${sub}`;
  yield `userinfo ${(await oidc.fetchUserInfo(config, tokens.access_token, sub)).email}`;
  const call = async (token) => text(await oidc.fetchProtectedResource(config, token, new URL(input.api), 'GET'));
  yield `api ${await call(tokens.access_token)}`;
  const next = await oidc.refreshTokenGrant(config, tokens.refresh_token, { resource: input.api });
  yield `refreshed, api ${await call(next.access_token)}`;
  const found = await oidc.tokenIntrospection(config, next.refresh_token);
  yield `introspected ${found.active} ${found.sub}`;
  await oidc.tokenRevocation(config, next.refresh_token);
  yield 'revoked';
  yield `refresh: ${await oidc.refreshTokenGrant(config, next.refresh_token).catch((err) => err.error)}`;
  yield `userinfo: ${await oidc.fetchUserInfo(config, next.access_token, sub).catch((err) => err.cause[0].parameters.error)}`;
});
