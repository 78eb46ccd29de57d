// A relying party of Auth.js. Its callback redirects on to /lines. It refreshes as its guide says: with a request of the
// application's own.
import { ExpressAuth } from '@auth/express';
import express from 'express';
import { input, listen, origin, scope, text } from './web.mjs';

let signedIn;
const config = {
  secret: 'of this test, and long enough', trustHost: true,
  providers: [{
    id: 'durward', name: 'Durward', type: 'oidc', issuer: input.issuer, clientId: input.client, clientSecret: input.secret,
    checks: ['pkce', 'state', 'nonce'], authorization: { params: { scope, resource: input.api } }, idToken: false,
  }],
  callbacks: {
    jwt({ token, account, profile }) {
      if (account) signedIn = { ...account, ...profile };
      return token;
    },
    redirect: () => origin + '/lines',
  },
};
const app = express();
app.set('trust proxy', true);
app.use('/auth', ExpressAuth(config));
app.get('/start', (_, res) => res.redirect('/auth/signin')); // its page of one button
app.get('/lines', async (_, res) => {
  const call = async (token) => text(await fetch(input.api, { headers: { Authorization: `Bearer ${token}` } }));
  const refreshed = await (await fetch(input.issuer + '/oauth/token', {
    method: 'POST',
    body: new URLSearchParams({ grant_type: 'refresh_token', refresh_token: signedIn.refresh_token, client_id: input.client, client_secret: input.secret }),
  })).json();
  res.type('text/plain').send([`signed in ${signedIn.sub}`, `userinfo ${signedIn.email}`, `api ${await call(signedIn.access_token)}`,
    `refreshed, api ${await call(refreshed.access_token)}`].join('\n') + '\n');
});
listen(app);
