// Passkeys on the pages. A button with data-passkey ("get" or "create") stands in a form with a hidden field
// "assertion" or "credential". It gets its options from the path in data-begin, asks the browser for the
// passkey, and submits the form with the response. With data-autofill the browser offers the passkey in the
// list of its password manager, too.

/** supported reports whether the browser has passkeys. */
export const supported = () => Boolean(window.PublicKeyCredential?.parseRequestOptionsFromJSON)

/** options gets the options of a call of WebAuthn from the server. */
async function options(path) {
  const response = await fetch(path, {method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{}'})
  if (!response.ok) throw Object.assign(new Error(path), {status: response.status})
  return (await response.json()).public_key
}

/** get asks the browser for a passkey of the user. It returns the response as JSON text. */
export async function get(path, more = {}) {
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(await options(path))
  return JSON.stringify(await navigator.credentials.get({publicKey, ...more}))
}

/** create makes a passkey for the user. It returns the response as JSON text. */
export async function create(path) {
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(await options(path))
  return JSON.stringify(await navigator.credentials.create({publicKey}))
}

// A challenge ends after five minutes; the offer in the password manager gets a new one before that.
const renewal = 4 * 60 * 1000

let offer // of the passkey in the password manager: an AbortController

async function offerPasskey(button) {
  if (!await PublicKeyCredential.isConditionalMediationAvailable?.()) return
  for (;;) {
    const mine = offer = new AbortController()
    const timer = setTimeout(() => mine.abort('renewal'), renewal)
    try {
      submit(button, await get(button.dataset.begin, {mediation: 'conditional', signal: mine.signal}))
      return
    } catch {
      if (mine.signal.reason !== 'renewal') return
    } finally {
      clearTimeout(timer)
    }
  }
}

function submit(button, response) {
  const form = button.form
  form.elements[button.dataset.passkey === 'get' ? 'assertion' : 'credential'].value = response
  form.requestSubmit()
}

for (const button of supported() ? document.querySelectorAll('button[data-passkey]') : []) {
  const failed = button.form.querySelector('[data-passkey-failed]')
  button.form.querySelector('[data-passkey-missing]')?.remove()
  button.hidden = false
  button.addEventListener('click', async () => {
    offer?.abort('button') // one call at a time
    failed.hidden = true
    button.disabled = true
    try {
      submit(button, await (button.dataset.passkey === 'get' ? get : create)(button.dataset.begin))
    } catch {
      button.disabled = false
      failed.hidden = false
    }
  })
  if ('autofill' in button.dataset) offerPasskey(button)
}
