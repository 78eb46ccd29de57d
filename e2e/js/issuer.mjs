// An issuer: oidc-provider with its store in memory. What it is to be it reads
// from standard input: {address, jwks, clients: [{client_id, client_secret,
// grant_types}], resources: {URL: "jwt" or "opaque"}}.
import { readFileSync } from 'node:fs';
import Provider, { errors } from 'oidc-provider';

const c = JSON.parse(readFileSync(0, 'utf8'));
const [host, port] = c.address.split(':');
const provider = new Provider(`http://${c.address}`, {
  jwks: c.jwks,
  clients: c.clients.map((client) => ({ ...client, redirect_uris: [], response_types: [], id_token_signed_response_alg: 'ES256' })),
  scopes: ['read', 'write'],
  ttl: { ClientCredentials: 3600 },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    dPoP: { enabled: true },
    introspection: { enabled: true, allowedPolicy: () => true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo(_, resource) {
        const accessTokenFormat = c.resources[resource];
        if (!accessTokenFormat) throw new errors.InvalidTarget();
        return { scope: 'read write', audience: resource, accessTokenFormat, jwt: { sign: { alg: 'ES256' } } };
      },
    },
  },
});
provider.on('server_error', (_, err) => console.error(err));
provider.listen(Number(port), host);
