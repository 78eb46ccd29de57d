// What the relying parties of this folder share. Standard input: {address, issuer, client, secret, api}. GET /start
// begins a sign-in. /callback completes it, uses all that the library offers, and answers with a line for each step.
import { webcrypto } from 'node:crypto';
import { readFileSync } from 'node:fs';
import express from 'express';

globalThis.crypto ??= webcrypto; // Node 18, as in Debian 12, has it under its own name alone

export const input = JSON.parse(readFileSync(0, 'utf8'));
export const origin = `http://${input.address}`;
export const callback = origin + '/callback';
export const scope = 'openid email offline_access notes';

// serve answers /start with the URL that start returns, and /callback with the lines that finish yields for the
// request: a Request of the Fetch standard.
export function serve(start, finish) {
  const app = express();
  app.get('/start', async (_, res) => res.redirect((await start()).href));
  app.all('/callback', express.text({ type: 'application/x-www-form-urlencoded' }), async (req, res) => {
    const lines = [];
    try {
      const init = req.method === 'POST' ? { method: 'POST', body: req.body, headers: { 'Content-Type': req.get('Content-Type') } } : {};
      for await (const line of finish(new Request(origin + req.url, init))) lines.push(line);
    } catch (err) {
      lines.push(`failed: ${err.code ?? err.name} ${err.error ?? err.message}`);
      console.error(err);
    }
    res.type('text/plain').send(lines.join('\n') + '\n');
  });
  listen(app);
}

export function listen(app) {
  const [host, port] = input.address.split(':');
  app.listen(Number(port), host);
}

// text returns the body of a successful response of the API.
export async function text(response) {
  return response.ok ? (await response.text()).trim() : `${response.status} ${response.headers.get('WWW-Authenticate')}`;
}

// renewAndEnd does what the library has not, as its applications do: it refreshes, revokes, and tries again.
export async function* renewAndEnd(refreshToken) {
  const post = async (path, parameters) => fetch(input.issuer + path, {
    method: 'POST', body: new URLSearchParams({ ...parameters, client_id: input.client, client_secret: input.secret }),
  });
  const refresh = async (token) => (await post('/oauth/token', { grant_type: 'refresh_token', refresh_token: token })).json();
  const call = async (url, token) => fetch(url, { headers: { Authorization: `Bearer ${token}` } });
  const next = await refresh(refreshToken);
  yield `refreshed, api ${await text(await call(input.api, next.access_token))}`;
  const revocation = await post('/oauth/revoke', { token: next.refresh_token });
  yield revocation.ok ? 'revoked' : `revoke: ${revocation.status}`;
  yield `refresh: ${(await refresh(next.refresh_token)).error}`;
  const refused = await call(input.issuer + '/oauth/userinfo', next.access_token);
  yield `userinfo: ${/error="(\w+)"/.exec(refused.headers.get('WWW-Authenticate'))?.[1]}`;
}
