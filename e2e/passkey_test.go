package e2e

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"

	"github.com/durward-auth/durward/e2e/chromium"
	"github.com/durward-auth/durward/e2e/executable"
	"github.com/durward-auth/durward/server/servertest"
)

// Two clients turn the options of the server into calls of the browser, and credentials into JSON: the browser
// itself, and the npm package @simplewebauthn/browser.
const (
	ownClient = `globalThis.client = {
		create: async o => (await navigator.credentials.create({publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(o)})).toJSON(),
		get: async o => (await navigator.credentials.get({publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(o)})).toJSON(),
	}; ''`
	simpleClient = `globalThis.client = {
		create: optionsJSON => SimpleWebAuthnBrowser.startRegistration({optionsJSON}),
		get: optionsJSON => SimpleWebAuthnBrowser.startAuthentication({optionsJSON}),
	}; ''`
)

// passkeyPage is what the script of an application does with passkeys.
const passkeyPage = `
	const send = async (path, body, token) => {
		const r = await fetch(path, {
			method: 'POST', body: JSON.stringify(body ?? {}),
			headers: {'Content-Type': 'application/json', ...(token && {Authorization: 'Bearer ' + token})},
		})
		return {status: r.status, ...await r.json()}
	}
	const post = async (path, body, token) => {
		const answer = await send(path, body, token)
		if (answer.status > 201) throw new Error(path + ': ' + JSON.stringify(answer))
		return answer
	}
	const acr = tokens => JSON.parse(atob(tokens.access_token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/'))).acr
	const get = begun => client.get(begun.public_key)
	const email = 'ada@example.com', password = 'correct horse battery staple'
`

// passkeyRound adds a passkey, signs in with it, steps up, and signs in with the password and the passkey. It
// returns the acr of the tokens.
const passkeyRound = `(async () => {` + passkeyPage + `
	await post('/api/auth/register', {email, password})
	const first = await post('/api/auth/login', {email, password})
	const begun = await post('/api/auth/passkeys/begin', {}, first.access_token)
	const credential = await client.create(begun.public_key)
	await post('/api/auth/passkeys/finish', {credential, name: 'Chromium'}, first.access_token)
	const second = await post('/api/auth/passkeys/login/finish', {assertion: await get(await post('/api/auth/passkeys/login/begin'))})
	const third = await post('/api/auth/step-up', {
		passkey: await get(await post('/api/auth/passkeys/step-up/begin', {}, first.access_token)),
	}, first.access_token)
	const half = await send('/api/auth/login', {email, password})
	const fourth = await post('/api/auth/login/mfa', {
		mfa_token: half.mfa_token, method: half.methods[0],
		assertion: await get(await post('/api/auth/passkeys/login/begin', {mfa_token: half.mfa_token})),
	})
	return [first, second, third, fourth].map(acr).join(' ')
})().catch(e => String(e))`

// passkeyRefused tries to sign in with the passkey and returns the code of the refusal.
const passkeyRefused = `(async () => {` + passkeyPage + `
	const answer = await send('/api/auth/passkeys/login/finish', {assertion: await get(await post('/api/auth/passkeys/login/begin'))})
	return answer.status + ' ' + answer.code
})().catch(e => String(e))`

// The passkeys of Chromium's virtual authenticator sign in, through both clients. A false signature and a
// response without a verified user do not.
func TestPasskeyInChromium(t *testing.T) {
	t.Parallel()
	needScripts(t)
	bundle, err := os.ReadFile(filepath.Join(executable.Dir, "js/node_modules/@simplewebauthn/browser/dist/bundle/index.umd.min.js"))
	if err != nil {
		t.Fatal(err)
	}
	open := browse(t)
	for name, client := range map[string]string{"own": ownClient, "simplewebauthn": string(bundle) + ";" + simpleClient} {
		t.Run(name, func(t *testing.T) { signInWithPasskey(t, open(t, ""), client) })
	}
}

func signInWithPasskey(t *testing.T, b *tab, client string) {
	var s *servertest.Server
	listener := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.Handler.ServeHTTP(w, r) }))
	t.Cleanup(listener.Close)
	url := strings.Replace(listener.URL, "127.0.0.1", "localhost", 1) // an IP address has no passkeys
	s = servertest.NewAt(t, url)
	authenticator := chromium.AddAuthenticator(t, b.ctx)
	do(b, chromedp.Navigate(url+"/healthz")) // a page without a policy for scripts
	do(b, chromedp.Evaluate[string](client))
	if got := do(b, chromedp.Evaluate[string](passkeyRound, chromedp.EvalAwaitPromise)); got != "urn:durward:acr:1fa phr phr phr" {
		t.Errorf("got %s", got)
	}
	yes := true
	for name, bits := range map[string]webauthn.SetResponseOverrideBitsParams{
		"false signature":   {IsBogusSignature: &yes},
		"user not verified": {IsBadUV: &yes},
	} {
		bits.AuthenticatorID = authenticator
		if _, err := chromedp.Call(b.ctx, webauthn.SetResponseOverrideBits, bits); err != nil {
			t.Fatal(err)
		}
		if got := do(b, chromedp.Evaluate[string](passkeyRefused, chromedp.EvalAwaitPromise)); got != "401 INVALID_CREDENTIALS" {
			t.Errorf("%s: got %s", name, got)
		}
	}
}
