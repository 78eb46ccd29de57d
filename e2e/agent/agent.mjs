// An agent of the TypeScript SDK that calls tools. Standard input: {package, endpoint, address, calls}. It prints
// "open URL" where its user has to sign in, and a line for each result with the scopes of the token.
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';

const input = JSON.parse(readFileSync(0, 'utf8'));
const second = input.package === '@modelcontextprotocol/client'; // the SDK's version 2
const { Client, StreamableHTTPClientTransport, UnauthorizedError } = Object.assign({}, ...await Promise.all(
  (second ? [''] : ['/client/index.js', '/client/streamableHttp.js', '/client/auth.js']).map((path) => import(input.package + path))));

const redirect = `http://${input.address}/callback`;
let arrived;
const callbacks = createServer((request, answer) => {
  const url = new URL(request.url, redirect);
  if (url.pathname !== '/callback') return answer.writeHead(404).end(); // the browser asks for an icon
  answer.setHeader('Content-Type', 'text/plain').end('signed in\n');
  arrived(url.searchParams);
});
const [host, port] = input.address.split(':');
await once(callbacks.listen(port, host), 'listening');

let response, tokens, verifier, state, information = { client_id: 'agent' };
const authProvider = {
  redirectUrl: redirect,
  clientMetadata: { client_name: 'Agent', redirect_uris: [redirect] },
  clientInformation: () => information,
  saveClientInformation: (i) => { information = i; },
  state: () => state = crypto.randomUUID(),
  tokens: () => tokens,
  saveTokens: (t) => { tokens = t; },
  codeVerifier: () => verifier,
  saveCodeVerifier: (v) => { verifier = v; },
  redirectToAuthorization: (url) => {
    response = new Promise((resolve) => { arrived = resolve; });
    console.log('open', url.href);
  },
};
let transport;

// signedIn does a step, again after a sign-in if the SDK asks for one.
async function signedIn(step) {
  try {
    return await step();
  } catch (e) {
    if (!(e instanceof UnauthorizedError)) throw e;
  }
  const got = await response;
  if (got.get('state') !== state) throw new Error(`state: ${got}`);
  await transport.finishAuth(second ? got : got.get('code'));
  return step();
}

const client = new Client({ name: 'agent', version: '1' });
await signedIn(() => client.connect(transport = new StreamableHTTPClientTransport(new URL(input.endpoint), { authProvider })));
for (const call of input.calls) {
  const result = await signedIn(() => client.callTool(call));
  console.log(`${call.name}: ${result.content[0].text} with ${tokens.scope}`);
}
await client.close();
callbacks.close();
callbacks.closeAllConnections();
