// Script of the account pages: copy, print, passkeys.
import { create, supported } from './passkeys.js'

for (const button of document.querySelectorAll('button.copy')) {
	button.hidden = !navigator.clipboard
	button.addEventListener('click', async () => {
		await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent.trim())
		const copied = document.getElementById('copied')
		copied.textContent = copied.dataset.text
	})
}

for (const button of document.querySelectorAll('button.print')) {
	button.hidden = false
	button.addEventListener('click', () => print())
}

// WebAuthn level 3 s5.1.10: the passkey provider hides passkeys that the server does not know any more, and
// shows the new name of the user.
const signal = document.getElementById('signal')
if (signal) {
	const { allAcceptedCredentialIds, name, displayName, ...user } = JSON.parse(signal.dataset.signal)
	globalThis.PublicKeyCredential?.signalAllAcceptedCredentials?.({ ...user, allAcceptedCredentialIds }).catch(() => {})
	globalThis.PublicKeyCredential?.signalCurrentUserDetails?.({ ...user, name, displayName }).catch(() => {})
}

const add = document.getElementById('add')
if (add) {
	add.hidden = !supported()
	document.getElementById('no-passkeys').hidden = supported()
	add.addEventListener('submit', async event => {
		event.preventDefault()
		const button = add.querySelector('button'), failed = document.getElementById('add-failed')
		button.disabled = true
		failed.hidden = true
		try {
			const response = await fetch(add.dataset.finish, {
				method: 'POST',
				headers: { 'Content-Type': 'application/json' },
				body: `{"credential": ${await create(add.dataset.begin)}}`,
			})
			if (!response.ok) throw Object.assign(new Error(response.statusText), { status: response.status })
			location.assign(add.dataset.done)
		} catch (error) {
			if (error.status === 401) location.reload() // the page asks for a sign-in
			failed.textContent = error.name === 'InvalidStateError' ? failed.dataset.taken : failed.dataset.failed
			failed.hidden = false
			button.disabled = false
			button.removeAttribute('aria-busy')
			delete add.dataset.busy
		}
	})
}
