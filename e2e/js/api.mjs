// An API of express-oauth2-jwt-bearer. Standard input: {address, issuer, resource}. GET /notes needs a token,
// GET /admin the scope admin.
import { readFileSync } from 'node:fs';
import express from 'express';
import { auth, requiredScopes } from 'express-oauth2-jwt-bearer';

const c = JSON.parse(readFileSync(0, 'utf8'));
const [host, port] = c.address.split(':');
const api = express();
api.use(auth({ issuerBaseURL: c.issuer, audience: c.resource, tokenSigningAlg: 'ES256' }));
api.get('/notes', (_req, res) => res.send('notes'));
api.get('/admin', requiredScopes('admin'), (_req, res) => res.send('admin'));
api.use((_req, res) => res.status(404).end());
api.use((err, _req, res, _next) => res.status(err.status ?? 500).set(err.headers ?? {}).send({ error: err.code }));
api.listen(Number(port), host);
