// Keeps the user of a web application signed in. The types and their comments are in durward.d.ts.

const marker = "durward"; // key in sessionStorage: time and refused URL of a redirect, no secret

export class AuthError extends Error {
  /** @param {"signedout" | "unavailable"} code @param {string} message @param {number} [retryAfter] seconds */
  constructor(code, message, retryAfter = 0) {
    super("durward: " + message);
    Object.assign(this, { name: "AuthError", code, retryAfter });
  }
}

/** Parses WWW-Authenticate up to the first syntax error. @param {string} field */
export function parseChallenges(field) {
  const list = [];
  const part =
    /[\s,]*([!#$%&'*+.^`|~\w-]+)(?:\s*=\s*("(?:[^"\\]|\\.)*"|[!#$%&'*+.^`|~\w-]+)(?=\s*(?:,|$))|(?: +[\w.~+/-]+=*(?=\s*(?:,|$)))?(?=[\s,]|$))/y;
  for (let m; (m = part.exec(field)); ) {
    const [, name, value] = m;
    if (value === undefined) list.push({ scheme: name.toLowerCase(), params: Object.create(null) });
    else if (!list.length) break;
    else list.at(-1).params[name.toLowerCase()] ??= value.replace(/^"|"$|\\(.)/g, "$1");
  }
  return list;
}

/** Returns Retry-After in seconds, at most an hour. @param {Response} [response] */
function retryAfter(response) {
  const field = response?.headers?.get("retry-after");
  const seconds = field > 0 ? +field : (Date.parse(field) - Date.now()) / 1000;
  return seconds > 0 ? Math.min(seconds, 3600) : 0;
}

/** @type {import("./durward.d.ts").oauth} */
export const oauth = ({ tokenURL, clientID, refreshToken, parameters, signedOutBy = [] }) => async (last, fetch) => {
  const refresh_token = last?.refresh_token ?? refreshToken;
  const body = new URLSearchParams({ ...parameters, grant_type: "refresh_token", refresh_token, client_id: clientID });
  const response = await fetch(tokenURL, { method: "POST", body, credentials: "omit" });
  const json = await response.json().catch(() => ({}));
  if (["invalid_grant", ...signedOutBy].includes(json.error)) throw new AuthError("signedout", json.error);
  if (response.ok && !json.error) return { refresh_token, ...json };
  throw new AuthError("unavailable", `${tokenURL}: ${response.status} ${json.error}`, retryAfter(response));
};

/** Reports whether a body can be sent twice: a stream cannot. */
const repeats = (body) => !(body?.getReader || body?.next || body?.[Symbol.asyncIterator]);

/** @type {import("./durward.d.ts").createClient} */
export function createClient(options = {}, platform = globalThis) {
  const client = new EventTarget();
  const { location, navigator } = platform;
  const now = options.now ?? Date.now;
  const server = new URL(options.server ?? "/", location?.href);
  const base = server.href.replace(/\/$/, "");
  const checkURL = options.check ?? base + "/api/profile";
  const origins = new Map(); // origin: {wait, until} of renewals in vain
  for (const name of options.origins ?? []) {
    const { origin, protocol, hostname } = new URL(name);
    const safe = protocol == "https:" || /^(.+\.)?localhost$|^127(\.\d+){3}$|^\[::1\]$/.test(hostname);
    if (origin != name || !/^https?:/.test(protocol) || !safe) throw new TypeError(`durward: ${name} is not an https origin`);
    origins.set(name, {});
  }

  let token; // {access_token, refresh_token, asked, early, expires}, times in milliseconds
  let since = 0, era = 0; // of the sign-in or step-up: older tokens are dropped
  let renewing, lastError, pause = 0, retryAt = 0;
  let out, lastURL; // whether signedout was reported; the URL refused then
  let stepping, steps = 0;

  const emit = (type, detail) => client.dispatchEvent(Object.assign(new Event(type), { detail }));
  const trace = (kind, detail) => emit("trace", { kind, ...detail });
  const warn = (code, message) => {
    trace("warning", { code, message });
    platform.console?.warn("durward: " + message);
    return false;
  };
  const stored = (use) => {
    try {
      return use(platform.sessionStorage);
    } catch {} // disabled
  };
  const within = (ms, promise) => Promise.race([promise, new Promise((_, no) => platform.setTimeout(no, ms, "no answer"))]);
  const unlessAborted = (promise, signal) => Promise.race([
    promise,
    new Promise((_, no) => signal?.addEventListener("abort", () => no(signal.reason), { once: true })),
  ]);

  // Tabs share tokens and sign-outs over a channel, and renew one at a time.

  const name = "durward " + (options.name ?? base);
  const from = String(Math.random()), began = now();
  let peers = new Set(), heard, channel;
  try {
    channel = new platform.BroadcastChannel(name);
  } catch {} // without it, each tab renews for itself
  const post = (kind, detail) => channel?.postMessage({ kind, from, ...detail });
  channel?.addEventListener("message", ({ data }) => {
    peers.add(data.from);
    if (data.token?.asked >= since && !(data.token.asked < token?.asked)) adopt(data.token);
    if (data.kind == "answer") heard?.(data.from);
    else if (data.kind == "hello") post("here");
    else if (data.kind == "ask") post("answer", { token: usable(token) ? token : undefined });
    else if (data.kind == "bye") peers.delete(data.from);
    else if (data.kind == "fresh") forget(data.since);
    else if (data.kind == "signedout") ended(data.reason, true);
  });
  platform.addEventListener?.("pagehide", () => post("bye"));

  /** Asks the other tabs for a token newer than old. A tab that does not answer is gone. */
  async function ask(old) {
    if (!channel || (!peers.size && now() - began > 100)) return;
    const answered = new Set();
    const all = new Promise((done) => {
      heard = (tab) => {
        answered.add(tab);
        if (newer(old) || [...peers].every((p) => answered.has(p))) done();
      };
      post("ask");
    });
    await within(peers.size ? 1000 : 100, all).catch(() => {});
    peers = answered;
  }

  /** Runs work while no other tab does, if the browser has locks and no tab hangs. */
  async function alone(work) {
    let result;
    try {
      await navigator.locks.request(name, { signal: platform.AbortSignal.timeout(10_000) }, () => (result = work()));
    } catch {}
    return result ?? work();
  }

  const usable = (t) => t && now() < t.expires;
  const newer = (old) => usable(token) && token.access_token != old?.access_token;

  function adopt(t) {
    token = t;
    pause = retryAt = 0;
    proved();
  }

  function forget(time) {
    since = time;
    token = out = undefined;
    retryAt = 0;
    era++;
  }

  function proved() {
    out = false;
    stored((s) => s.removeItem(marker));
  }

  /** Returns an access token other than old. An early renewal delays no request. */
  function tokenFor(old) {
    if (!newer(old)) return renew(old ?? token);
    if (now() >= token.early && now() >= retryAt) renew(token).catch(() => {});
    return token;
  }

  /** All requests wait for one renewal. */
  async function renew(old) {
    if (newer(old)) return token;
    if (!renewing && now() < retryAt) throw lastError;
    return (renewing ??= alone(async () => {
      if (!newer(old)) await ask(old);
      return newer(old) ? token : obtain();
    }).catch(failed).finally(() => (renewing = undefined)));
  }

  async function obtain() {
    const asked = now(), before = era;
    trace("renewal");
    const got = await within(10_000, (options.token ?? byCookie)(token, (...request) => platform.fetch(...request)));
    const { access_token, refresh_token, token_type = "bearer", expires_in } = got;
    if (!/^[!-~]+$/.test(access_token ?? "") || !/^bearer$/i.test(token_type)) throw new Error("no Bearer token came");
    const life = expires_in > 0 ? expires_in * 1000 : Infinity;
    if (era != before) return obtain();
    // At random, so that a thief of a refresh token who races is noticed (contract s7).
    const early = asked + life * (0.7 + 0.2 * Math.random());
    adopt({ access_token, refresh_token, asked, early, expires: asked + life });
    post("token", { token });
    trace("renewed", { expiresIn: expires_in });
    return token;
  }

  async function byCookie(_, fetch) {
    const response = await fetch(base + "/api/auth/token", { method: "POST", credentials: "include" });
    if (response.ok) return response.json();
    const { status, session, code = "no readable reason, see cors.origins" } = await read(response);
    const end = status == 401 && session;
    throw Object.assign(new AuthError(end ? "signedout" : "unavailable", `no token: ${status}, ${code}`, retryAfter(response)), { reason: code });
  }

  /** Only the end of the session signs out. After an outage, the next renewal follows after a pause. */
  function failed(error) {
    lastError = error = error instanceof AuthError ? error : new AuthError("unavailable", `no token: ${error?.message ?? error}`);
    const { code, message, reason } = error;
    trace("failed", { code, message });
    pause = code == "signedout" ? 1000 : Math.min(Math.max(2 * pause, 1000), 60_000);
    retryAt = now() + Math.max(pause, error.retryAfter * 1000);
    if (code == "signedout") ended(reason ?? "REFRESH_INVALID");
    throw error;
  }

  function ended(reason, told) {
    token = undefined;
    era++; // drops a renewal under way
    if (out) return;
    out = true;
    if (!told) post("signedout", { reason });
    emit("signedout", { reason });
    if (options.redirect && reason != "SIGNED_OUT") signIn();
  }

  async function read(response) {
    const { status, headers } = response;
    const challenges = parseChallenges(headers.get("www-authenticate") ?? "");
    const json = /json/.test(headers.get("content-type")) && within(1000, response.clone().json()).catch(() => {});
    const params = challenges.find((c) => c.params.error)?.params ?? {};
    const session = challenges.some((c) => c.scheme == "session");
    return { status, challenges, code: (await json)?.code, error: params.error, params, session, denial: headers.get("durward-denial") };
  }

  async function fetch(input, init = {}) {
    const request = input instanceof Request ? input : undefined;
    const url = new URL(request?.url ?? input, location?.href);
    const { href, origin } = url;
    const headers = new Headers(init.headers ?? request?.headers);
    const method = (init.method ?? request?.method ?? "GET").toUpperCase();
    const vain = origins.get(origin);
    const atServer = origin == server.origin, here = origin == location?.origin;
    const own = href.startsWith(base + "/api/auth/"); // these endpoints answer for themselves
    const credentials = headers.has("authorization") ? "none" : vain && !own ? "token" : here || atServer ? "cookie" : "none";
    const repeatable = request && init.body == null ? request.body === null || /^(GET|HEAD)$/.test(method) : repeats(init.body);
    const signal = init.signal ?? request?.signal;
    const delay = () => (vain.until = now() + (vain.wait = Math.min(2 * vain.wait || 1000, 60_000)));
    let response, bearer, stepped;

    for (;;) {
      const before = steps;
      const sent = { ...init };
      const old = bearer;
      if (credentials == "token") {
        bearer = tokenFor(stepped ? undefined : old);
        if (bearer.then) bearer = await unlessAborted(bearer, signal);
        if (bearer.access_token == old?.access_token) return delay(), response;
        headers.set("authorization", "Bearer " + bearer.access_token);
        sent.headers = headers;
        sent.credentials ??= request?.credentials ?? "omit";
      } else if (credentials == "cookie" && !here) sent.credentials ??= "include";
      trace("request", { method, url: href, credentials });
      response?.body?.cancel().catch(() => {});
      response = await platform.fetch(input, sent);
      const { status } = response;
      const refusal = /^40[013]$/.test(status) && (await read(response));
      trace("response", { method, url: href, status, ...refusal });
      const elsewhere = response.redirected && new URL(response.url).origin != origin;
      if (own || credentials == "none" || !refusal || elsewhere) {
        if (vain) vain.wait = vain.until = 0;
        if (response.ok && href == lastURL) proved();
        return response;
      }
      const { error } = refusal;
      let again;
      if (/^insufficient_(scope|user_authentication)$/.test(error)) {
        again = !stepped && repeatable && (steps != before || (await step(refusal, href)));
        stepped = true;
      } else if (bearer && (error == "invalid_token" || (status == 401 && !error))) {
        if (old) delay(warn("refused", origin + " refused a new token too"));
        else if (newer(bearer) || !(now() < vain.until)) {
          again = repeatable;
          if (!again) renew(bearer).catch(() => {}); // for the next request
        }
      } else if (credentials == "cookie" && status == 401) await judge(refusal, href);
      if (!again) return response;
    }
  }

  /** Signs out if a 401 for a cookie ended the session. That of a wrong password did not. */
  async function judge({ session, challenges, denial, code = "SESSION_EXPIRED" }, href) {
    if (!/^(AUTHENTICATION_REQUIRED|SESSION_.*)$/.test(code)) return;
    lastURL = href;
    if (session || (denial && !challenges[0])) ended(code); // Firefox hides the challenges
    else if (options.check) await check().catch(() => {});
    else warn("bare", href + ": no Session challenge");
  }

  async function check() {
    const response = await platform.fetch(checkURL, { credentials: "include" }).catch(() => {});
    if (response?.ok) return proved(), true;
    if (response?.status != 401) throw new AuthError("unavailable", checkURL, retryAfter(response));
    ended((await read(response)).code ?? "SESSION_EXPIRED");
    return false;
  }

  /** Reports stepup, once for all waiting requests. */
  async function step(refusal, url) {
    const waits = [];
    const { acr_values: acrValues, max_age: maxAge, scope } = refusal.params;
    if (!stepping) emit("stepup", { ...refusal, url, acrValues, maxAge, scope, waitUntil: (promise) => waits.push(promise) });
    if (waits.length) {
      stepping = Promise.all(waits).then(() => {
        steps++;
        forget(now());
        post("fresh", { since });
        return true;
      }, () => false).finally(() => (stepping = undefined));
    }
    return stepping;
  }

  function visit(page, back, params) {
    const to = new URL(page, location.href), url = new URL(back ?? location.href, location.href);
    for (const key in params) if (params[key]) to.searchParams.set(key, params[key]);
    to.searchParams.set("return_to", to.origin == url.origin ? url.href.slice(url.origin.length) : url.href);
    location.assign(to.href);
    return true;
  }

  /** Returns false if the redirect would be a loop. A click is none. */
  function signIn(back) {
    if (!navigator?.userActivation?.isActive) {
      const last = stored((s) => s.getItem(marker));
      if (last === undefined) return warn("storage", "no sessionStorage");
      if (Math.abs(now() - parseInt(last)) < 60_000) return warn("loop", "refused after the sign-in, too");
    }
    stored((s) => s.setItem(marker, now() + " " + lastURL));
    return visit(options.loginURL ?? base + "/login", back);
  }

  const stepUp = ({ acrValues, maxAge } = {}, back) => visit(options.stepUpURL ?? base + "/step-up", back, { acr_values: acrValues, max_age: maxAge });

  async function signOut() {
    const end = options.signOut ?? (() => platform.fetch(base + "/api/auth/logout", { method: "POST", credentials: "include" }).catch(() => ({})));
    const response = await end();
    if (response && !response.ok) throw new AuthError("unavailable", "the sign-out failed", retryAfter(response));
    ended("SIGNED_OUT");
  }

  /** Scripts see no status of a refused handshake, so check looks at the session. */
  async function webSocket(address, protocols = []) {
    const url = new URL(new URL(address, location?.href).href.replace(/^ws/, "http"));
    const byToken = origins.has(url.origin);
    if (byToken) protocols = options.webSocketProtocols((await tokenFor()).access_token, protocols);
    return new Promise((resolve, reject) => {
      const socket = new platform.WebSocket(url.href.replace(/^http/, "ws"), protocols);
      socket.addEventListener("open", () => resolve(socket));
      socket.addEventListener("close", async ({ code }) => {
        const alive = byToken || code == 1000 || (await check().catch(() => true));
        reject(new AuthError(alive ? "unavailable" : "signedout", "the WebSocket did not open"));
      });
    });
  }

  lastURL = stored((s) => s.getItem(marker))?.split(" ")[1];
  if (lastURL) post("fresh", { since: (since = began) }); // back from the sign-in page
  post("hello");
  return Object.assign(client, { fetch, check, signIn, signOut, stepUp, webSocket });
}
