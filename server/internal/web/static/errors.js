// Levels of the explanations without a new page, and a list that is filtered while the user types. Both
// work without this script: by a link with ?level= and by a form.

const key = 'durward-level'
const remembered = {
  get() { try { return localStorage.getItem(key) } catch { return null } }, // a browser may forbid storage
  set(level) { try { localStorage.setItem(key, level) } catch { /* the choice lasts for this page */ } }
}

const links = [...document.querySelectorAll('.levels a')]

// show makes one level visible. It returns false if the page does not have it.
function show(level) {
  if (!links.some(link => link.dataset.level === level)) return false
  for (const link of links) {
    const chosen = link.dataset.level === level
    if (chosen) link.setAttribute('aria-current', 'true')
    else link.removeAttribute('aria-current')
    document.getElementById(link.dataset.level).hidden = !chosen
  }
  return true
}

for (const link of links) {
  link.addEventListener('click', event => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return
    event.preventDefault()
    show(link.dataset.level)
    remembered.set(link.dataset.level)
    history.replaceState(null, '', link.href)
  })
}
// The level of the URL counts before the remembered one.
if (!new URLSearchParams(location.search).has('level')) show(remembered.get())

const search = document.querySelector('form.search')
if (search) {
  const field = search.elements.q
  const status = document.querySelector('.found')
  const entries = [...document.querySelectorAll('.reasons li')].map(item => ({ item, text: item.textContent.toLowerCase() }))
  // The list of a search on the server is not complete, so its form is sent again.
  if (!field.value) {
    const filter = () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean)
      let found = 0
      for (const { item, text } of entries) {
        item.hidden = !words.every(word => text.includes(word))
        if (!item.hidden) found++
      }
      for (const group of document.querySelectorAll('.group')) group.hidden = !group.querySelector('li:not([hidden])')
      status.textContent = words.length ? search.dataset.filter.replace('#', found) : ''
    }
    field.addEventListener('input', filter)
    search.addEventListener('submit', event => {
      event.preventDefault()
      event.stopPropagation() // page.js disables the button of a form that is sent
      filter()
    })
    if (field.value) filter()
  }
}
