// Fills the token of a link, which stands in the fragment of the URL, into the form, and removes it from
// the URL and the history of the browser.
const field = document.getElementById("token");
const language = document.querySelector("footer form");

function fill() {
  const token = /^#t=([\w-]+)$/.exec(location.hash)?.[1];
  if (token) {
    field.value = token;
    history.replaceState(null, "", location.pathname + location.search);
  }
  // A user who came by the link has nothing to paste. A field with a mistake stays visible.
  field.closest(".field").hidden = field.value !== "" && field.getAttribute("aria-invalid") !== "true";
}

fill();
addEventListener("hashchange", fill); // another link, opened in this tab

// The redirect after the choice of a language keeps the fragment, so the token is not lost.
language.addEventListener("submit", () => {
  if (field.value) language.action = language.getAttribute("action") + "#t=" + field.value;
});
