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
