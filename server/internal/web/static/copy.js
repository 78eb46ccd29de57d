// Shows the buttons that copy a text, where the browser lets a script write the clipboard.
for (const button of document.querySelectorAll(".denial button")) {
  if (!navigator.clipboard) continue; // the page came by plain http
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = button.dataset.copied;
  });
}
