// Script of the account pages: copy, print, passkeys.

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

const passkeys = globalThis.PublicKeyCredential?.parseCreationOptionsFromJSON && navigator.credentials

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
	add.hidden = !passkeys
	document.getElementById('no-passkeys').hidden = !!passkeys
	const post = async (url, body) => {
		const response = await fetch(url, {
			method: 'POST',
			headers: { 'Content-Type': 'application/json' },
			body: JSON.stringify(body),
		})
		if (response.status === 401) location.reload() // the page asks for a sign-in
		if (!response.ok) throw new Error(String(response.status))
		return response.json()
	}
	add.addEventListener('submit', async event => {
		event.preventDefault()
		const button = add.querySelector('button'), failed = document.getElementById('add-failed')
		button.disabled = true
		failed.hidden = true
		try {
			const { public_key } = await post(add.dataset.begin, {})
			const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(public_key)
			const credential = await navigator.credentials.create({ publicKey })
			await post(add.dataset.finish, { credential: credential.toJSON() })
			location.assign(add.dataset.done)
		} catch (error) {
			failed.textContent = error.name === 'InvalidStateError' ? failed.dataset.taken : failed.dataset.failed
			failed.hidden = false
			button.disabled = false
		}
	})
}
