// A relying party of Auth.js. Its callback redirects on to /lines. It refreshes as its guide says: with a request of the
// application's own. It has no revocation.
import { ExpressAuth } from '@auth/express';
import express from 'express';
import { input, listen, origin, renewAndEnd, scope, text } from './web.mjs';

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
  const answer = await text(await fetch(input.api, { headers: { Authorization: `Bearer ${signedIn.access_token}` } }));
  const lines = [`signed in ${signedIn.sub}`, `userinfo ${signedIn.email}`, `api ${answer}`];
  for await (const line of renewAndEnd(signedIn.refresh_token)) lines.push(line);
  res.type('text/plain').send(lines.join('\n') + '\n');
});
listen(app);
