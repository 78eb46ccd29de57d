// What every page does more comfortably with a script. Each page works without it.

// A button beside each password shows what was typed.
for (const button of document.querySelectorAll('button.show')) {
  const field = document.getElementById(button.getAttribute('aria-controls'))
  button.hidden = false
  button.addEventListener('click', () => {
    const show = field.type === 'password'
    field.type = show ? 'text' : 'password'
    button.setAttribute('aria-pressed', show)
    field.focus()
  })
  // A browser offers to save passwords, not texts.
  field.form?.addEventListener('submit', () => { field.type = 'password' })
}

// The mistakes of a form have the focus. A browser gives it to the part of the page that the address names, if it names
// one, as after the link to the content.
const mistakes = document.querySelector('.summary[autofocus]')
if (mistakes && location.hash) {
  history.replaceState(history.state, '', location.pathname + location.search)
  mistakes.focus()
}

// A code of an authenticator app is sent when its last digit is typed.
for (const field of document.querySelectorAll('input[data-full]')) {
  field.addEventListener('input', () => {
    if (field.value.replace(/\s/g, '').length === Number(field.dataset.full) && !field.form.dataset.busy) {
      field.form.requestSubmit()
    }
  })
}

// A form is sent once: the second press of a button does nothing. The buttons are disabled after the browser
// has read the form, which includes the button.
document.addEventListener('submit', event => {
  const form = event.target
  if (form.dataset.busy) {
    event.preventDefault()
    return
  }
  form.dataset.busy = 'yes'
  setTimeout(() => {
    for (const button of form.querySelectorAll('button')) button.disabled = true
    event.submitter?.setAttribute('aria-busy', 'true')
  })
})

// The browser may show this page again from its memory.
addEventListener('pageshow', event => {
  if (!event.persisted) return
  for (const form of document.forms) {
    delete form.dataset.busy
    for (const button of form.querySelectorAll('button')) {
      button.disabled = false
      button.removeAttribute('aria-busy')
    }
  }
})

// A button beside the id of a denial copies it, where the browser lets a script write the clipboard.
for (const button of document.querySelectorAll('.denial button')) {
  button.hidden = !navigator.clipboard // there is none on a page that came by plain http
  button.addEventListener('click', async () => {
    await navigator.clipboard.writeText(button.dataset.copy)
    button.textContent = button.dataset.copied
  })
}
