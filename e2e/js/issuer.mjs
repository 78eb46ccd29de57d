// Runs an issuer: oidc-provider with its store in memory. Standard input: {address, alg, jwks, clients:
// [{client_id, client_secret, grant_types}], resources: {URL: "jwt" or "opaque"}, nonces?: true}.
// POST /sign-in with {account, client_id, resource, jkt?} as JSON simulates a user that signs in and
// consents; the response is a refresh token. Each grant is a line on standard error.
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import Provider, { errors } from 'oidc-provider';

const c = JSON.parse(readFileSync(0, 'utf8'));
const [host, port] = c.address.split(':');
const provider = new Provider(`http://${c.address}`, {
  jwks: c.jwks,
  clients: c.clients.map((client) => ({ ...client, redirect_uris: [], response_types: [], id_token_signed_response_alg: c.alg })),
  scopes: ['openid', 'offline_access', 'read', 'write'],
  ttl: { AccessToken: 600, ClientCredentials: 3600, Grant: 86400, RefreshToken: 86400 },
  rotateRefreshToken: true,
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    dPoP: c.nonces ? { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => true } : { enabled: true },
    introspection: { enabled: true, allowedPolicy: () => true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo(_, resource) {
        const accessTokenFormat = c.resources[resource];
        if (!accessTokenFormat) throw new errors.InvalidTarget();
        return { scope: 'read write', audience: resource, accessTokenFormat, jwt: { sign: { alg: c.alg } } };
      },
    },
  },
});
provider.use(async (ctx, next) => {
  if (ctx.path !== '/sign-in') return next();
  const chunks = [];
  for await (const chunk of ctx.req) chunks.push(chunk);
  const { account: accountId, client_id: clientId, resource, jkt } = JSON.parse(Buffer.concat(chunks));
  const client = await provider.Client.find(clientId);
  const grant = new provider.Grant({ accountId, clientId });
  grant.addOIDCScope('openid offline_access');
  grant.addResourceScope(resource, 'read');
  const token = new provider.RefreshToken({
    accountId, client, grantId: await grant.save(), gty: 'authorization_code', resource, scope: 'openid offline_access read',
    authTime: Math.floor(Date.now() / 1000), iiat: Math.floor(Date.now() / 1000), rotations: 0, claims: {}, jkt,
  });
  ctx.body = await token.save();
});
provider.on('grant.success', (ctx) => console.error('granted', ctx.oidc.params.grant_type, ctx.oidc.client.clientId));
provider.on('grant.error', (ctx, err) => console.error('refused', ctx.oidc.params?.grant_type, err.error));
provider.on('server_error', (_, err) => console.error(err));
provider.listen(Number(port), host);
