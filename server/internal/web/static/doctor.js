// The page /doctor: masks secrets before the text leaves the browser, and copies the result.

// The signature of a JSON Web Token opens doors. Its claims explain the refusal, so they stay.
const token = /\b(eyJ[\w-]{5,}\.[\w-]{5,})\.[\w-]{10,}/g
// Shapes of secrets whose beginning tells their kind.
const kinds = '(?:sk|pk|rk)_(?:live|test)_|gh[pousr]_|github_pat_|glpat-|xox[abeprs]-|npm_|dckr_pat_|hvs\\.|SG\\.|AIza|ya29\\.|shpat_|dop_v1_'
const shape = new RegExp(`\\b((?:${kinds}))([\\w.-]{8,})`, 'g')
const kind = new RegExp(`^(?:${kinds})`)
// Other tokens and keys after the name of their scheme, and passwords of Basic.
const scheme = /(\b(?:Bearer|DPoP|Token|ApiKey|Api-Key|Key|SharedKey)[ \t]+)(?!eyJ)([\w.~+/-]{8,}=*)/gi
const basic = /(\bBasic[ \t]+)(?!realm\b|charset\b)([\w+/-]{4,}={0,2})/gi
// Values of fields, of entries of a HAR, of parameters, and of curl's -u and -b.
const names = 'x-api-key|api-key|apikey|x-auth-token|x-access-token|x-goog-api-key|x-vault-token|private-token|job-token|x-amz-security-token'
const inField = which => new RegExp(`((?:^|[>'"\\s])(?:${which})[ \\t]*:[ \\t]*)([^'"\\r\\n]+)`, 'gim')
const inEntry = which => new RegExp(`("name"\\s*:\\s*"(?:${which})"\\s*,\\s*"value"\\s*:\\s*")((?:[^"\\\\]|\\\\.)*)`, 'gi')
const cookies = /("cookies"\s*:\s*\[)([^\]]*)/g
const parameter = /([?&;"](?:access_token|refresh_token|id_token|token|api_key|apikey|key|sig|signature|x-amz-signature|client_secret|password|code)=)([^&\s"'#;]+)/gi
const user = /((?:^|\s)(?:-u|--user|-U|--proxy-user)[ =]?['"]?[^\s:'"]*:)([^\s'"]+)/g
const jar = /((?:^|\s)(?:-b|--cookie)[ =]?['"]?)([^'"\r\n]+)/g
const part = /(:\/\/[^\s:/@]*:)([^\s/@]+)@/g

// mask returns the text without secrets, and how many were removed. A mask has the length and the alphabet of
// what it replaces, so that the form of a credential can still be judged.
function mask(text) {
  let count = 0
  const letters = s => {
    count++
    const begin = s.match(kind)?.[0] ?? ''
    return begin + s.slice(begin.length).replace(/[A-Za-z0-9]/g, 'x')
  }
  const after = (_, before, secret) => before + letters(secret)
  const pairs = (_, before, all) => before + all.replace(/(=)([^;\s]+)/g, after)
  const first = (_, before, all) => before + all.replace(/(=)([^;\s]+)/, after) // its attributes stay
  return [text
    .replace(token, (_, claims) => { count++; return `${claims}.masked` })
    .replace(shape, after)
    .replace(basic, (_, name, secret) => { count++; return name + maskBasic(secret) })
    .replace(scheme, after)
    .replace(inField(names), after)
    .replace(inEntry(names), after)
    .replace(inField('cookie'), pairs)
    .replace(inEntry('cookie'), pairs)
    .replace(inField('set-cookie'), first)
    .replace(inEntry('set-cookie'), first)
    .replace(cookies, (_, before, all) => before + all.replace(/("value"\s*:\s*")((?:[^"\\]|\\.)*)/g, after))
    .replace(parameter, after)
    .replace(user, after)
    .replace(jar, pairs)
    .replace(part, (_, before, secret) => before + letters(secret) + '@'), count]
}

// maskBasic keeps the user name and the faults at the edges of the password: quotes, blanks, line ends.
function maskBasic(secret) {
  try {
    const plain = atob(secret)
    const colon = plain.indexOf(':')
    if (colon < 0) return secret
    return btoa(plain.slice(0, colon + 1) + plain.slice(colon + 1).replace(/[A-Za-z0-9]/g, 'x'))
  } catch {
    return secret.replace(/[A-Za-z0-9]/g, 'x')
  }
}

const form = document.querySelector('form.doctor')
let ready = false
form.addEventListener('submit', event => {
  if (ready) return
  // The form goes out again with the masked text, after the file was read.
  event.preventDefault()
  event.stopImmediatePropagation()
  send()
}, { capture: true })

async function send() {
  let removed = 0
  const box = form.elements.input
  const [text, inText] = mask(box.value)
  box.value = text
  removed += inText
  const file = form.elements.file.files[0]
  if (file && file.size <= 16 << 20) {
    const [content, inFile] = mask(await file.text())
    removed += inFile
    const list = new DataTransfer()
    list.items.add(new File([content], file.name, { type: 'text/plain' }))
    form.elements.file.files = list.files
  }
  form.querySelector('.masked').textContent = form.dataset.masked.replace('%s', removed)
  ready = true
  setTimeout(() => form.requestSubmit()) // not while the first event is dispatched (HTML s4.10.21.3)
}

// After "back" the form can be sent again.
addEventListener('pageshow', () => { ready = false })

for (const button of document.querySelectorAll('button.copy')) {
  button.hidden = !navigator.clipboard // there is none on a page that came by plain http
  button.addEventListener('click', async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.from).value)
    button.textContent = button.dataset.copied
  })
}
