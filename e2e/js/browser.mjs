// Uses durward.js with servers and programs of other projects. Standard input: {module, doc, issuer, resource,
// refreshToken, client}. It prints one line for each result.
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
import axios from 'axios';
import express from 'express';
import { auth } from 'express-oauth2-jwt-bearer';

const c = JSON.parse(readFileSync(0, 'utf8'));
const durward = await import(c.module);

// An API of express-oauth2-jwt-bearer, with the tokens of oidc-provider.
const api = express();
const sent = [];
api.use((req, _, next) => (sent.push(req.method), next()));
api.use(auth({ issuerBaseURL: c.issuer, audience: c.resource, tokenSigningAlg: 'ES256' }));
api.all('/notes', express.text(), (req, res) => res.send(`${req.auth.payload.sub} ${req.body ?? ''}`));
api.use((_req, res) => res.status(404).end());
api.use((err, _req, res, _next) =>  res.status(err.status ?? 500).set(err.headers ?? {}).end());
const listening = api.listen(0, '127.0.0.1');
await new Promise((done) => listening.once('listening', done));
const at = `http://127.0.0.1:${listening.address().port}`;

let shift = 0, damage = false, renewals = 0;
const source = durward.oauth({ tokenURL: c.issuer + '/token', clientID: c.client, refreshToken: c.refreshToken, parameters: { resource: c.resource } });
const tabs = [1, 2].map(() => {
  const client = durward.createClient({
    server: at, origins: [at], name: 'express', now: () => Date.now() + shift,
    token: async (last, fetch) => {
      renewals++;
      const token = await source(last, fetch);
      if (damage) token.access_token += 'x';
      damage = false;
      return token;
    },
  });
  client.addEventListener('signedout', ({ detail }) => console.log('signedout', detail.reason));
  client.addEventListener('trace', ({ detail: t }) => t.status >= 400 && console.log('refused', t.status, t.error, t.challenges?.map((x) => x.scheme).join()));
  return client;
});
const say = async (what, promise) => {
  sent.length = renewals = 0;
  const text = await promise.then(async (r) => `${r.status} ${await r.text()}`, (e) => `${e.name} ${e.code}`);
  console.log(`${what}: ${text}; ${sent.length} requests, ${renewals} renewals`);
};
await say('first', tabs[0].fetch(at + '/notes'));
await say('other tab', tabs[1].fetch(at + '/notes', { method: 'POST', body: 'milk' }));
shift += 700_000;
damage = true;
await say('damaged', tabs[0].fetch(at + '/notes', { method: 'POST', body: 'milk', headers: { 'Content-Type': 'text/plain' } }));
shift += 700_000;
await say('fifty', Promise.all(Array.from({ length: 50 }, () => tabs[1].fetch(at + '/notes'))).then((all) => all[49]));
await say('no such page', tabs[0].fetch(at + '/other'));
const used = durward.createClient({ server: at, origins: [at], name: 'used', token: durward.oauth({ tokenURL: c.issuer + '/token', clientID: c.client, refreshToken: c.refreshToken }) });
used.addEventListener('signedout', ({ detail }) => console.log('signedout', detail.reason));
await say('a spent refresh token', used.fetch(at + '/notes'));
listening.close();

// The blocks of the document, with a server that plays all of its hosts.
const hosts = createServer((req, res) => {
  const path = req.url.split('?')[0];
  requests.push(`${req.method} ${path}${req.headers.authorization ? ' ' + req.headers.authorization : ''}`);
  res.setHeader('Content-Type', 'application/json');
  if (/token$/.test(path)) return res.end(JSON.stringify({ access_token: 'a', refresh_token: 'r', expires_in: 900 }));
  res.end(JSON.stringify({ name: 'Ada' }));
});
await new Promise((done) => hosts.listen(0, '127.0.0.1', done));
let requests = [];
const here = `http://127.0.0.1:${hosts.address().port}`;
const platform = {
  location: Object.assign(new URL('https://app.example.com/inbox'), { assign: (url) => console.log('visits', url) }),
  fetch: (input, init) => fetch(here + new URL(input, 'https://app.example.com').pathname, init),
  setTimeout, console, AbortSignal, navigator: {},
  WebSocket: class extends EventTarget {
    constructor(url) {
      super();
      requests.push('WebSocket ' + url);
      setTimeout(() => this.dispatchEvent(new Event('open')));
    }
  },
};
const names = {
  durward: { ...durward, createClient: (options) => durward.createClient(options, platform) }, axiosPackage: axios,
  document: {}, refreshToken: 'r0', showSignIn() {}, askForPassword() {}, showNotice() {}, show() {},
};
const blocks = [...readFileSync(c.doc, 'utf8').matchAll(/^```(js|html)( before)?\n([^]*?)^```/gm)];
for (const [, language, before, text] of blocks) {
  requests = [];
  const code = (language === 'html' ? text.replace(/<\/?script.*>/g, '') : text)
    .replace(/import (\{.*\}) from "\/durward.js";/, 'const $1 = durward;')
    .replace('import axios from "axios";', 'const axios = axiosPackage;');
  const run = new (async () => {}).constructor(...Object.keys(names), before ? `const run = async () => {${code}}` : code);
  await run(...Object.values(names)); // code that the module replaces is only parsed
  console.log('block', before ? 'parsed' : requests.join(', '));
}
process.exit(0);
