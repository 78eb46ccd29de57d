// The sample application. Its server is the folder above: durward serve --demo, or examples/spa.
import { AuthError, createClient } from "../durward.js";

const server = new URL("..", import.meta.url).href;
const at = (path) => new URL(path, server).href;
const show = (id) => document.getElementById(id);

let shift = 0; // of this page's clock, in milliseconds
let damage = false; // the next token is damaged

const byCookie = createClient({ server });

/** A source of tokens that can damage one, to show a refusal. Without that wish, createClient has one of its own. */
async function nextToken(_, fetch) {
  const response = await fetch(at("api/auth/token"), { method: "POST" });
  if (response.status === 401) throw new AuthError("signedout", "the session has ended");
  if (!response.ok) throw new AuthError("unavailable", "the server gave no token", +response.headers.get("retry-after"));
  const token = await response.json();
  if (damage) token.access_token = token.access_token.slice(0, -8) + "AAAAAAAA";
  damage = false;
  return token;
}

let byToken;
try {
  byToken = createClient({ server, origins: [location.origin], token: nextToken, now: () => Date.now() + shift, name: "demo" });
} catch {
  document.querySelector("[value=token]").disabled = true; // plain http from another host
}
let client = byCookie;

// The panel.

function line(kind, title, ...codes) {
  const item = document.createElement("li");
  const bold = document.createElement("b");
  item.className = kind;
  bold.textContent = title;
  item.append(bold);
  for (const text of codes.filter(Boolean)) item.append(Object.assign(document.createElement("code"), { textContent: text }));
  const log = show("log");
  log.append(item);
  if (log.children.length > 200) log.firstChild.remove();
  log.parentElement.scrollTop = log.parentElement.scrollHeight;
}

const path = (url) => url.replace(location.origin, "");
const carried = { cookie: "with the session cookie", token: "with an access token", none: "without credentials" };
const challengeText = ({ scheme, params }) =>
  "WWW-Authenticate: " + scheme + Object.entries(params).map(([key, value]) => ` ${key}="${value}"`).join(",");

const write = {
  request: (t) => line("", `→ ${t.method} ${path(t.url)}`, carried[t.credentials]),
  response: (t) => line(t.status < 400 ? "good" : "bad", `← ${t.status} ${t.code ?? ""}`, ...(t.challenges ?? []).map(challengeText), t.denial && "Durward-Denial: " + t.denial),
  renewal: () => line("note", "Renewal: POST " + path(at("api/auth/token"))),
  renewed: (t) => line("good", `New access token, for ${t.expiresIn} seconds`),
  failed: (t) => line("bad", "Renewal failed", t.message),
  warning: (t) => line("note", "Note", t.message),
};

// The application.

function showState(profile, reason) {
  show("state").textContent = "";
  show("in").hidden = !profile;
  show("out").hidden = !!profile;
  if (profile) {
    show("name").textContent = profile.name || "—";
    show("email").textContent = profile.email;
    return;
  }
  show("reason").textContent = reason;
  show("sign-in").focus();
}

async function load() {
  try {
    const [profile, notifications] = await Promise.all(["api/profile", "api/notifications"].map((p) => client.fetch(at(p))));
    if (profile.status === 401) return; // the event signedout has shown it
    if (!profile.ok || !notifications.ok) throw new AuthError("unavailable", "status " + profile.status);
    showState(await profile.json());
    const { items } = await notifications.json();
    show("notifications").replaceChildren(...(items.length ? items : [{ kind: "none yet" }]).map(({ kind, at }) =>
      Object.assign(document.createElement("li"), { textContent: kind.replaceAll("_", " ") + (at ? ", " + new Date(at).toLocaleString() : "") })));
  } catch (error) {
    if (error.code !== "signedout") show("state").textContent = "The server does not answer now. You are still signed in: try again.";
  }
}

const reasons = {
  AUTHENTICATION_REQUIRED: "Sign in to see your profile.",
  SIGNED_OUT: "You have signed out, in all tabs.",
};
for (const c of [byCookie, byToken].filter(Boolean)) {
  c.addEventListener("trace", ({ detail }) => write[detail.kind](detail));
  c.addEventListener("signedout", ({ detail }) => {
    line("bad", "You are signed out", detail.reason);
    showState(undefined, reasons[detail.reason] ?? "Your session has ended. Sign in again: you come back to this page.");
  });
}

const click = (id, act) => show(id).addEventListener("click", act);
click("sign-in", () => client.signIn());
click("sign-out", () => client.signOut().catch((error) => line("bad", "You are still signed in", error.message)));
click("load", load);
click("clear", () => show("log").replaceChildren());
click("many", () => Promise.allSettled(Array.from({ length: 20 }, () => client.fetch(at("api/profile")))));
click("later", () => {
  shift += 16 * 60_000;
  line("note", "This page's clock is 16 minutes later");
  return load();
});
click("damage", () => {
  damage = true;
  shift += 16 * 60_000; // so that the page gets the damaged token
  return load();
});
click("elsewhere", async () => {
  // Without the module, so that this page does not know.
  const { items } = await (await fetch(at("api/auth/sessions"))).json();
  await fetch(at("api/auth/sessions/" + items.find((s) => s.current).id), { method: "DELETE" });
  line("note", "The session was ended elsewhere");
  return load();
});

function choose() {
  const token = document.querySelector("[value=token]").checked;
  client = token ? byToken : byCookie;
  for (const id of ["later", "damage"]) show(id).disabled = !token;
}
for (const radio of document.querySelectorAll("[name=credentials]")) radio.addEventListener("change", () => (choose(), load()));
choose();
load();
