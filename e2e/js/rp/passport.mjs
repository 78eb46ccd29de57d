// A relying party of passport-openidconnect, which has no PKCE, refresh or revocation. It sends its secret in the body.
import express from 'express';
import session from 'express-session';
import passport from 'passport';
import Strategy from 'passport-openidconnect';
import { callback, input, listen, renewAndEnd, text } from './web.mjs';

passport.use(new Strategy({
  issuer: input.issuer, authorizationURL: input.issuer + '/oauth/authorize', tokenURL: input.issuer + '/oauth/token',
  userInfoURL: input.issuer + '/oauth/userinfo', clientID: input.client, clientSecret: input.secret, callbackURL: callback,
  scope: ['email', 'offline_access', 'notes'], nonce: true, maxAge: 3600,
}, (_issuer, ui, id, _context, _idToken, access, refresh, _params, done) => done(null, { id: id.id, email: ui.emails[0].value, access, refresh })));
const app = express();
app.use(session({ secret: 'of this test', resave: false, saveUninitialized: false }));
app.get('/start', passport.authenticate('openidconnect'));
app.get('/callback', passport.authenticate('openidconnect', { session: false }), async ({ user }, res) => {
  const answer = await text(await fetch(input.api, { headers: { Authorization: `Bearer ${user.access}` } }));
  const lines = [`signed in ${user.id}`, `userinfo ${user.email}`, `api ${answer}`];
  for await (const line of renewAndEnd(user.refresh)) lines.push(line);
  res.type('text/plain').send(lines.join('\n') + '\n');
});
app.use((err, _req, res, _next) => res.status(500).type('text/plain').send(`failed: ${err.code ?? err.name} ${err.message}\n`));
listen(app);
