import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { gzipSync } from "node:zlib";

import { AuthError, createClient, oauth, parseChallenges } from "./durward.js";
import { json, refusal, session, World } from "./world.mjs";

const app = "https://app.example.com", api = "https://api.example.com";
const tokenRequest = `POST ${app}/api/auth/token`;

/** A Durward server at app with a live session, and an API that accepts the newest token, for 900 s. */
function servers(change = {}) {
  const state = { issued: 0, ended: false, valid: [], ...change };
  return new World((request, world) => {
    const url = new URL(request.url);
    if (state.answer) {
      const answer = state.answer(request, world, state);
      if (answer) return answer;
    }
    if (url.href === app + "/api/auth/token") {
      if (state.ended) return refusal(401, "SESSION_EXPIRED", session);
      state.valid.push({ token: `t${++state.issued}`, end: world.time + 900_000 });
      return json(200, { access_token: `t${state.issued}`, token_type: "Bearer", expires_in: 900, scope: "profile" });
    }
    if (url.href === app + "/api/auth/logout") {
      state.ended = true;
      return new Response(null, { status: 204 });
    }
    if (url.origin === app) return state.ended ? refusal(401, "SESSION_EXPIRED", session) : json(200, { id: "1" });
    const sent = request.headers.get("authorization");
    if (!sent) return refusal(401, "AUTHENTICATION_REQUIRED", 'Bearer realm="api"');
    const known = state.valid.find((v) => sent === "Bearer " + v.token);
    if (!known) return refusal(401, "INVALID_TOKEN", 'Bearer realm="api", error="invalid_token"');
    if (world.time >= known.end) return refusal(401, "TOKEN_EXPIRED", 'Bearer realm="api", error="invalid_token"');
    return json(200, { ok: true });
  });
}

/** Opens a tab with a client and collects its events. */
function open(world, options = {}, without = [], url) {
  const client = createClient({ origins: [api], now: () => world.time, ...options }, world.tab(url, without));
  client.seen = [];
  for (const type of ["signedout", "stepup", "trace"]) {
    client.addEventListener(type, ({ detail }) => type !== "trace" ? client.seen.push(`${type} ${detail.reason ?? detail.error}`)
      : /warning|failed/.test(detail.kind) && client.seen.push(`${detail.kind} ${detail.code}`));
  }
  return client;
}

const status = async (world, promise) => (await world.until(promise)).status;

test("parseChallenges", () => {
  const text = (field) => parseChallenges(field).map((c) => [c.scheme, ...Object.entries(c.params).map((p) => p.join("="))].join(" "));
  for (const [field, want] of [
    ["", []],
    ["Bearer", ["bearer"]],
    ['Bearer realm="a, b", error="invalid_token", Session realm="x"', ["bearer realm=a, b error=invalid_token", "session realm=x"]],
    ['Basic realm="a \\"b\\" \\\\", charset="UTF-8"', ['basic realm=a "b" \\ charset=UTF-8']],
    ["Negotiate abc==, Digest realm=x, stale=true", ["negotiate", "digest realm=x stale=true"]],
    ['Bearer realm = "a" , Error="x", error="y"', ["bearer realm=a error=x"]],
    [', ,Bearer ,, Basic realm="b",', ["bearer", "basic realm=b"]],
    ['Bearer realm="open', []],
    ['realm="x", Bearer', []],
    ['Bearer __proto__="x", constructor=y', ["bearer __proto__=x constructor=y"]],
  ]) {
    if (field === 'Bearer realm="open') assert.ok(text(field).length <= 1, field);
    else assert.deepEqual(text(field), want, field);
  }
  const began = Date.now();
  parseChallenges("a ".repeat(100_000) + '"'.repeat(1000));
  parseChallenges('B x="' + "\\".repeat(100_000));
  parseChallenges(",".repeat(100_000) + " " .repeat(100_000) + "é");
  assert.ok(Date.now() - began < 10_000, "hostile fields are parsed in linear time");
});

test("createClient refuses origins that get no token", () => {
  for (const bad of ["api.example.com", "https://api.example.com/", "https://api.example.com/v1", "http://api.example.com", "ws://localhost", "null", "data:x", "https://a@b.example.com", "HTTPS://api.example.com"]) {
    assert.throws(() => createClient({ server: app, origins: [bad] }, {}), TypeError, bad);
  }
  createClient({ server: app, origins: ["http://localhost:8080", "http://127.0.0.1:1", "https://[::1]:2"] }, {});
});

test("other origins: no token, no cookie, no event", async () => {
  const world = servers();
  const client = open(world);
  const seen = [];
  world.serve = (request) => {
    seen.push(`${request.credentials} ${request.headers.get("authorization")}`);
    return new Response("", { status: 401, headers: { "www-authenticate": session } });
  };
  assert.equal(await status(world, client.fetch("https://evil.example.com/x")), 401);
  assert.equal(await status(world, client.fetch("https://api.example.com.evil.example/x")), 401);
  assert.equal(await status(world, client.fetch("http://api.example.com/x")), 401);
  assert.deepEqual(seen, Array(3).fill("same-origin null"));
  assert.deepEqual(client.seen, []);
});

test("an Authorization field of the caller is sent unchanged", async () => {
  const world = servers();
  const client = open(world);
  assert.equal(await status(world, client.fetch(api + "/x", { headers: { Authorization: "Basic eA==" } })), 401);
  assert.deepEqual(world.log, [`GET ${api}/x`]);
});

test("50 parallel fetches at expiry: one renewal", async () => {
  const world = servers();
  const client = open(world);
  assert.equal(await status(world, client.fetch(api + "/x")), 200);
  await world.pass(901_000);
  const all = await world.until(Promise.all(Array.from({ length: 50 }, () => client.fetch(api + "/x"))));
  assert.ok(all.every((r) => r.ok));
  assert.equal(world.count(tokenRequest), 2);
  assert.equal(world.count(`GET ${api}/x`), 51);
});

for (const without of [[], ["locks"], ["refused locks"]]) {
  test(`two tabs, 50 fetches at expiry, without [${without}]: one renewal for both`, async () => {
    const world = servers();
    const tabs = [open(world, {}, without), open(world, {}, without)];
    assert.equal(await status(world, tabs[0].fetch(api + "/x")), 200);
    await world.pass(901_000);
    const all = await world.until(Promise.all(Array.from({ length: 50 }, (_, i) => tabs[i % 2].fetch(api + "/x"))));
    assert.ok(all.every((r) => r.ok));
    // Without locks both may begin at the same instant: each tab renews once at most.
    const most = without.length ? 3 : 2;
    assert.ok(world.count(tokenRequest) <= most, `${world.count(tokenRequest)} token requests`);
  });
}

test("without BroadcastChannel: each tab renews for itself", async () => {
  const world = servers();
  const tabs = [1, 2].map(() => open(world, {}, ["BroadcastChannel"]));
  const all = await world.until(Promise.all(Array.from({ length: 50 }, (_, i) => tabs[i % 2].fetch(api + "/x"))));
  assert.ok(all.every((r) => r.ok));
  assert.equal(world.count(tokenRequest), 2);
});

test("a new tab gets the token of an open one", async () => {
  const world = servers();
  await status(world, open(world).fetch(api + "/x"));
  assert.equal(await status(world, open(world).fetch(api + "/x")), 200);
  assert.equal(world.count(tokenRequest), 1);
});

test("a hung tab that holds the lock: the others renew after ten seconds", async () => {
  const world = servers();
  world.lock("durward " + app, {}, () => new Promise(() => {}));
  const began = world.time;
  assert.equal(await status(world, open(world).fetch(api + "/x")), 200);
  assert.ok(world.time - began < 15_000);
});

test("a tab that does not answer is waited for once", async () => {
  const world = servers();
  const silent = new (world.tab().BroadcastChannel)("durward " + app);
  const client = open(world);
  silent.postMessage({ kind: "hello", from: "silent" });
  await world.settle();
  const began = world.time;
  assert.equal(await status(world, client.fetch(api + "/x")), 200);
  assert.ok(world.time - began <= 1500);
});

test("early renewal: between 70 and 90 % of the life, at the next request, which is not delayed", async () => {
  const points = [];
  for (let i = 0; i < 40; i++) {
    const world = servers({
      answer: (request, w, state) => request.url.endsWith("/api/auth/token") && state.issued ? new Promise(() => {}) : undefined,
    });
    const client = open(world);
    await status(world, client.fetch(api + "/x"));
    const began = world.time;
    while (world.count(tokenRequest) === 1) {
      await world.pass(9_000);
      const response = client.fetch(api + "/x");
      await world.settle();
      assert.equal((await response).status, 200, "the request waits for the renewal");
      await world.pass(1500);
      assert.ok(world.time - began < 890_000, "no early renewal");
    }
    points.push((world.time - began) / 900_000);
  }
  assert.ok(Math.min(...points) >= 0.69 && Math.max(...points) <= 0.92, `${points}`);
  assert.ok(Math.max(...points) - Math.min(...points) > 0.05, "the points are spread");
});

test("an idle client renews nothing", async () => {
  const world = servers();
  await status(world, open(world).fetch(api + "/x"));
  await world.pass(7_200_000);
  assert.equal(world.count(tokenRequest), 1);
});

test("a token revoked before its end: one renewal, one retry, for all requests", async () => {
  const world = servers();
  const state = { revoked: true };
  const serve = world.serve;
  world.serve = (request, w) => state.revoked && request.headers.get("authorization") === "Bearer t1"
    ? refusal(401, "TOKEN_REVOKED", 'Bearer realm="api", error="invalid_token"') : serve(request, w);
  const client = open(world);
  const all = await world.until(Promise.all(Array.from({ length: 20 }, (_, i) => client.fetch(api + "/x", { method: "POST", body: "b" + i }))));
  assert.ok(all.every((r) => r.ok));
  assert.equal(world.count(tokenRequest), 2);
  assert.equal(world.count(`POST ${api}/x`), 40);
});

test("bodies: sent again in full, or not at all", async () => {
  const stream = () => new ReadableStream({ start(c) { c.enqueue(new TextEncoder().encode("abc")); c.close(); } });
  for (const [what, args, want] of [
    ["text", [api + "/x", { method: "POST", body: "abc" }], [401, 200]],
    ["bytes", [api + "/x", { method: "POST", body: new TextEncoder().encode("abc") }], [401, 200]],
    ["blob", [api + "/x", { method: "POST", body: new Blob(["abc"]) }], [401, 200]],
    ["form", [api + "/x", { method: "POST", body: new URLSearchParams({ abc: "" }) }], [401, 200]],
    ["none", [api + "/x", { method: "DELETE" }], [401, 200]],
    ["stream", [api + "/x", { method: "POST", body: stream(), duplex: "half" }], [401]],
    ["iterator", [api + "/x", { method: "POST", body: (async function* () { yield Buffer.from("abc"); })(), duplex: "half" }], [401]],
    ["Request without a body", [new Request(api + "/x")], [401, 200]],
    ["Request with a body", [new Request(api + "/x", { method: "POST", body: "abc" })], [401]],
  ]) {
    const world = servers();
    const got = [], bodies = [];
    const serve = world.serve;
    world.serve = async (request, w) => {
      const response = request.headers.get("authorization") === "Bearer t1" ? refusal(401, "INVALID_TOKEN", 'Bearer error="invalid_token"') : await serve(request, w);
      if (request.url.startsWith(api)) {
        got.push(response.status);
        bodies.push(await request.text());
      }
      return response;
    };
    const client = open(world);
    assert.equal(await status(world, client.fetch(...args)), want.at(-1), what);
    assert.deepEqual(got, want, what);
    if (want.length === 2) assert.equal(bodies[0], bodies[1], what);
    await world.pass(2000); // after a refusal without a retry, the next request has a new token
    assert.equal(await status(world, client.fetch(api + "/y")), 200, what);
    assert.equal(got.filter((s) => s === 401).length, 1, what);
  }
});

test("an API that always answers 401: one retry, and pauses between renewals", async () => {
  for (const challenge of ['Bearer realm="api", error="invalid_token"', 'Bearer realm="api"', undefined]) {
    const world = servers();
    const serve = world.serve;
    world.serve = (request, w) => request.url.startsWith(api) ? refusal(401, undefined, challenge) : serve(request, w);
    const client = open(world);
    assert.equal(await status(world, client.fetch(api + "/x")), 401);
    assert.equal(world.count(`GET ${api}/x`), 2, `${challenge}`);
    assert.ok(client.seen.includes("warning refused"), "it says so");
    for (let i = 0; i < 600; i++) {
      await status(world, client.fetch(api + "/x"));
      await world.pass(1000);
    }
    assert.ok(world.count(tokenRequest) < 35, `${world.count(tokenRequest)} renewals in ten minutes`);
    assert.ok(!client.seen.some((s) => s.startsWith("signedout")), "nobody is signed out");
  }
});

test("a challenge that is not exposed: as a 401 without a reason", async () => {
  const world = servers();
  const serve = world.serve;
  world.serve = (request, w) => request.headers.get("authorization") === "Bearer t1" ? new Response("no", { status: 401 }) : serve(request, w);
  assert.equal(await status(world, open(world).fetch(api + "/x")), 200);
  assert.equal(world.count(tokenRequest), 2);
});

test("the token endpoint answers 401 without a readable challenge: no sign-out, and it says so", async () => {
  const world = new World(() => new Response("proxy login", { status: 401 }));
  const client = open(world);
  const error = await world.until(client.fetch(api + "/x")).catch((e) => e);
  assert.ok(error instanceof AuthError);
  assert.equal(error.code, "unavailable");
  assert.match(error.message, /cors\.origins/);
  assert.deepEqual(client.seen, ["failed unavailable"]);
});

test("invalid_token with 400 and 403, as some servers send it: one renewal", async () => {
  for (const code of [400, 403]) {
    const world = servers();
    const serve = world.serve;
    world.serve = (request, w) => request.headers.get("authorization") === "Bearer t1" ? refusal(code, "X", 'Bearer error="invalid_token"') : serve(request, w);
    assert.equal(await status(world, open(world).fetch(api + "/x")), 200, `${code}`);
  }
});

test("503 and 429 of the token endpoint: nobody is signed out, Retry-After is obeyed, requests keep the valid token", async () => {
  for (const code of [503, 429, 500]) {
    const world = servers();
    const client = open(world);
    await status(world, client.fetch(api + "/x"));
    const serve = world.serve;
    world.serve = (request, w) => request.url === app + "/api/auth/token" ? refusal(code, "AUTH_UNAVAILABLE", "", { "retry-after": "120" }) : serve(request, w);
    await world.pass(850_000);
    assert.equal(await status(world, client.fetch(api + "/x")), 200, "the token is valid for another 50 s");
    await world.pass(30_000);
    assert.equal(await status(world, client.fetch(api + "/x")), 200);
    assert.equal(world.count(tokenRequest), 2, "no second call within Retry-After");
    await world.pass(30_000);
    const error = await world.until(client.fetch(api + "/x")).catch((e) => e);
    assert.equal(error.code, "unavailable");
    assert.equal(error.retryAfter, 120);
    assert.equal(world.count(tokenRequest), 2);
    world.serve = serve;
    await world.pass(120_000);
    assert.equal(await status(world, client.fetch(api + "/x")), 200, "after the outage");
    assert.ok(!client.seen.some((s) => s.startsWith("signedout")));
  }
});

test("no network at the token endpoint: unavailable, with growing pauses", async () => {
  const world = new World(() => { throw new TypeError("Failed to fetch"); });
  const client = open(world);
  for (let i = 0; i < 300; i++) {
    const error = await world.until(client.fetch(api + "/x")).catch((e) => e);
    assert.equal(error.code, "unavailable");
    await world.pass(1000);
  }
  assert.ok(world.log.length <= 12, `${world.log.length} calls in five minutes`);
});

test("a token endpoint that never answers: unavailable after ten seconds", async () => {
  const world = new World(() => new Promise(() => {}));
  const began = world.time;
  const error = await world.until(open(world).fetch(api + "/x")).catch((e) => e);
  assert.equal(error.code, "unavailable");
  assert.ok(world.time - began < 12_000);
});

test("503 of the API: the response is the caller's", async () => {
  const world = servers();
  const serve = world.serve;
  world.serve = (request, w) => request.url === api + "/x" ? refusal(503, "AUTH_UNAVAILABLE", "", { "retry-after": "5" }) : serve(request, w);
  const client = open(world);
  assert.equal(await status(world, client.fetch(api + "/x")), 503);
  assert.equal(await status(world, client.fetch(api + "/y")), 200);
  assert.equal(world.count(tokenRequest), 1);
});

test("the session has ended: signedout once, in all tabs, and again after the next sign-in", async () => {
  const world = servers();
  const state = {};
  const serve = world.serve;
  world.serve = (request, w) => state.ended && request.url.startsWith(app) ? refusal(401, "SESSION_EXPIRED", session) : serve(request, w);
  const tabs = [open(world), open(world)];
  assert.equal(await status(world, tabs[0].fetch("/inbox.json")), 200);
  state.ended = true;
  for (let i = 0; i < 3; i++) assert.equal(await status(world, tabs[0].fetch("/inbox.json")), 401);
  await world.settle();
  for (const tab of tabs) assert.deepEqual(tab.seen, ["signedout SESSION_EXPIRED"]);
  state.ended = false;
  assert.equal(await status(world, tabs[0].fetch("/inbox.json")), 200);
  state.ended = true;
  await status(world, tabs[0].fetch("/inbox.json"));
  assert.deepEqual(tabs[0].seen, ["signedout SESSION_EXPIRED", "signedout SESSION_EXPIRED"]);
});

test("a token request after the end of the session: signedout, and the fetch fails", async () => {
  const world = servers({ ended: true });
  const client = open(world);
  const error = await world.until(client.fetch(api + "/x")).catch((e) => e);
  assert.equal(error.code, "signedout");
  assert.deepEqual(client.seen, ["failed signedout", "signedout SESSION_EXPIRED"]);
  assert.equal(world.count(`GET ${api}/x`), 0);
});

test("other 401 of the session's server: no sign-out", async () => {
  for (const [code, challenge] of [["INVALID_CREDENTIALS", session], ["MFA_REQUIRED", session], ["INVALID_TOKEN", `Bearer error="invalid_token", ${session}`]]) {
    const world = new World(() => refusal(401, code, challenge));
    const client = open(world);
    assert.equal(await status(world, client.fetch("/form", { method: "POST", body: "x" })), 401);
    assert.deepEqual(client.seen, [], code);
    assert.equal(world.log.length, 1, "never sent again");
  }
});

test("the server's own endpoints are called once", async () => {
  const world = new World(() => refusal(401, "SESSION_EXPIRED", session));
  const client = open(world);
  assert.equal(await status(world, client.fetch("/api/auth/login", { method: "POST", body: "{}" })), 401);
  assert.equal(world.log.length, 1);
  assert.deepEqual(client.seen, []);
});

test("a bare 401: the check decides, or it says so", async () => {
  for (const [check, alive, want] of [["/me", true, []], ["/me", false, ["signedout SESSION_EXPIRED"]], [undefined, true, ["warning bare"]]]) {
    const world = new World((request) => new Response("", { status: request.url === app + "/me" && alive ? 200 : 401 }));
    const client = open(world, { check });
    assert.equal(await status(world, client.fetch("/x")), 401);
    assert.deepEqual(client.seen, want, `${check} ${alive}`);
  }
});

test("signOut: all tabs, the tokens are gone; a failure is reported", async () => {
  const world = servers();
  const tabs = [open(world), open(world)];
  await status(world, tabs[0].fetch(api + "/x"));
  const serve = world.serve;
  world.serve = () => refusal(503, "AUTH_UNAVAILABLE", "", { "retry-after": "1" });
  const error = await world.until(tabs[0].signOut()).catch((e) => e);
  assert.equal(error.code, "unavailable");
  assert.deepEqual(tabs.flatMap((t) => t.seen), []);
  world.serve = serve;
  await world.until(tabs[0].signOut());
  await world.settle();
  for (const tab of tabs) assert.deepEqual(tab.seen, ["signedout SIGNED_OUT"]);
  const refused = await world.until(tabs[1].fetch(api + "/x")).catch((e) => e);
  assert.equal(refused.code, "signedout", "no token is left in the other tab");
  assert.deepEqual(world.visited, []);
});

test("redirect to the sign-in page and back", async () => {
  const world = servers({ ended: true });
  const client = open(world, { redirect: true }, [], app + "/inbox?box=1#m2");
  await status(world, client.fetch("/x"));
  assert.deepEqual(world.visited, [app + "/login?return_to=%2Finbox%3Fbox%3D1%23m2"]);
  // Another origin gets the whole URL.
  const other = new World(() => refusal(401, "SESSION_EXPIRED", session));
  await status(other, open(other, { redirect: true, server: "https://auth.example.com/a", loginURL: "https://auth.example.com/a/login" }).fetch("/x"));
  assert.deepEqual(other.visited, ["https://auth.example.com/a/login?return_to=https%3A%2F%2Fapp.example.com%2Finbox%3Fbox%3D1"]);
});

test("redirect loop: the second redirect within a minute does not happen, and it says so", async () => {
  const world = new World((request) => request.url.endsWith("/public") ? json(200) : refusal(401, "SESSION_EXPIRED", session));
  for (let i = 0; i < 20; i++) { // each sign-in page comes back at once, and the page loads anew
    const client = open(world, { redirect: true });
    await status(world, client.fetch("/public"));
    await status(world, client.fetch("/x"));
    if (i > 0) assert.deepEqual(client.seen, ["signedout SESSION_EXPIRED", "warning loop"]);
    await world.pass(500);
  }
  assert.equal(world.visited.length, 1);
  await world.pass(61_000);
  await status(world, open(world, { redirect: true }).fetch("/x"));
  assert.equal(world.visited.length, 2, "later it is no loop");
  world.time -= 3_600_000; // a clock set back
  await status(world, open(world, { redirect: true }).fetch("/x"));
  assert.equal(world.visited.length, 3);
});

test("a click opens the sign-in page at any time", async () => {
  const world = servers({ ended: true });
  const tab = world.tab();
  tab.navigator.userActivation = { isActive: true };
  const client = createClient({ now: () => world.time }, tab);
  for (let i = 0; i < 3; i++) assert.equal(client.signIn(), true);
  assert.equal(world.visited.length, 3);
});

test("storage disabled: no automatic redirect, and it says so", async () => {
  const world = servers({ ended: true });
  const client = open(world, { redirect: true }, ["sessionStorage"]);
  assert.equal(await status(world, client.fetch("/x")), 401);
  assert.deepEqual(client.seen, ["signedout SESSION_EXPIRED", "warning storage"]);
  assert.deepEqual(world.visited, []);
});

test("back from the sign-in page: tokens of the session before are dropped in all tabs", async () => {
  const world = servers();
  const first = open(world);
  await status(world, first.fetch(api + "/x"));
  await world.pass(1000);
  world.stored.set("durward", `${world.time} ${app}/x`);
  const back = open(world);
  await status(world, back.fetch(api + "/x"));
  assert.equal(world.count(tokenRequest), 2);
  assert.equal(world.stored.size, 0, "the mark is gone");
  await status(world, first.fetch(api + "/x"));
  assert.equal(world.count(tokenRequest), 2, "the first tab has the new token");
});

test("a clock that is an hour off, or jumps: requests still succeed", async () => {
  for (const jump of [3_600_000, -3_600_000]) {
    const world = servers();
    let shift = 0;
    const client = open(world, { now: () => world.time + shift });
    await status(world, client.fetch(api + "/x"));
    shift = jump;
    assert.equal(await status(world, client.fetch(api + "/x")), 200);
    await world.pass(901_000);
    assert.equal(await status(world, client.fetch(api + "/x")), 200);
    assert.ok(world.count(tokenRequest) <= 3);
    assert.ok(!client.seen.some((s) => s.startsWith("signedout")));
  }
});

test("step-up: one event for all waiting requests, then each is sent once more with a new token", async () => {
  const world = servers();
  const serve = world.serve;
  let strong = "";
  world.serve = async (request, w) => request.url.startsWith(api) && request.headers.get("authorization") !== strong
    ? refusal(401, "STEP_UP_REQUIRED", 'Bearer realm="api", error="insufficient_user_authentication", acr_values="phr 2fa", max_age="300"') : serve(request, w);
  const client = open(world);
  const details = [];
  client.addEventListener("stepup", ({ detail }) => {
    details.push(detail);
    strong = "Bearer t2";
    detail.waitUntil(Promise.resolve());
  });
  const all = await world.until(Promise.all([1, 2, 3].map((i) => client.fetch(api + "/" + i))));
  assert.deepEqual(all.map((r) => r.status), [200, 200, 200]);
  assert.equal(details.length, 1);
  assert.deepEqual([details[0].acrValues, details[0].maxAge, details[0].code], ["phr 2fa", "300", "STEP_UP_REQUIRED"]);
  assert.equal(client.stepUp(details[0]), true);
  assert.deepEqual(world.visited, [app + "/step-up?acr_values=phr+2fa&max_age=300&return_to=%2Finbox%3Fbox%3D1"]);
});

test("step-up without a listener, given up or in vain: the response is the caller's", async () => {
  for (const [wait, sent] of [[undefined, 1], [() => Promise.reject(new Error("no")), 1], [() => Promise.resolve(), 2]]) {
    const world = new World(() => refusal(401, "STEP_UP_REQUIRED", 'Session realm="a", error="insufficient_user_authentication", max_age="300"'));
    const client = open(world);
    if (wait) client.addEventListener("stepup", ({ detail }) => detail.waitUntil(wait()));
    assert.equal(await status(world, client.fetch("/x", { method: "POST", body: "x" })), 401);
    assert.equal(world.log.length, sent);
    assert.deepEqual(client.seen, ["stepup insufficient_user_authentication"]);
  }
});

test("a scope that is missing: stepup with the scopes", async () => {
  const world = new World((request) => request.url.endsWith("/token") ? json(200, { access_token: "t", expires_in: 900 })
    : refusal(403, "INSUFFICIENT_SCOPE", 'Bearer error="insufficient_scope", scope="read write"'));
  const client = open(world);
  client.addEventListener("stepup", ({ detail }) => assert.equal(detail.scope, "read write"));
  assert.equal(await status(world, client.fetch(api + "/x")), 403);
  assert.deepEqual(client.seen, ["stepup insufficient_scope"]);
});

test("oauth: rotating refresh tokens, shared by the tabs; invalid_grant signs out; an outage does not", async () => {
  let current = "r0", n = 0, mode = "ok";
  const used = [];
  const world = new World(async (request) => {
    if (!request.url.startsWith("https://id.example.com/")) return request.headers.get("authorization") === "Bearer a" + n ? json(200) : new Response("", { status: 401 });
    const form = new URLSearchParams(await request.text());
    if (mode === "down") return new Response("oops", { status: 502 });
    if (mode === "slack") return json(200, { ok: false, error: "token_revoked" });
    used.push(form.get("refresh_token"));
    if (form.get("refresh_token") !== current) return json(400, { error: "invalid_grant" });
    current = "r" + ++n;
    return json(200, { access_token: "a" + n, refresh_token: current, token_type: "bearer", expires_in: "3600" });
  });
  const options = () => ({ token: oauth({ tokenURL: "https://id.example.com/token", clientID: "spa", refreshToken: "r0", signedOutBy: ["token_revoked"] }), name: "id" });
  const tabs = [open(world, options()), open(world, options())];
  for (let round = 0; round < 3; round++) {
    const all = await world.until(Promise.all(Array.from({ length: 10 }, (_, i) => tabs[i % 2].fetch(api + "/x"))));
    assert.ok(all.every((r) => r.ok), `round ${round}`);
    await world.pass(3_601_000);
  }
  assert.deepEqual(used, ["r0", "r1", "r2"]);
  mode = "down";
  assert.equal((await world.until(tabs[0].fetch(api + "/x")).catch((e) => e)).code, "unavailable");
  mode = "ok";
  await world.pass(2000);
  assert.equal(await status(world, tabs[1].fetch(api + "/x")), 200);
  for (const last of ["stolen", "slack"]) {
    await world.pass(3_601_000);
    if (last === "slack") mode = "slack";
    current = last;
    const seen = tabs[0].seen.length;
    assert.equal((await world.until(tabs[0].fetch(api + "/x")).catch((e) => e)).code, "signedout");
    if (last === "stolen") assert.deepEqual(tabs[0].seen.slice(seen), ["failed signedout", "signedout REFRESH_INVALID"]);
  }
});

test("a source of the application: bad answers end well", async () => {
  for (const bad of [undefined, {}, { access_token: "" }, { access_token: "a\r\nb" }, { access_token: "t", token_type: "DPoP" }]) {
    const world = servers();
    const error = await world.until(open(world, { token: async () => bad }).fetch(api + "/x")).catch((e) => e);
    assert.equal(error.code, "unavailable");
  }
  // A source with one token for ever: a refusal of it is the caller's, other requests go on.
  const world = new World((request) => request.url === api + "/no" ? new Response("", { status: 401 }) : json(200));
  const client = open(world, { token: async () => ({ access_token: "fixed" }) });
  assert.equal(await status(world, client.fetch(api + "/no")), 401);
  assert.equal(world.count(`GET ${api}/no`), 1, "the refused token is not sent again");
  assert.equal(await status(world, client.fetch(api + "/yes")), 200);
});

test("the end of a caller's signal ends its wait alone", async () => {
  let answer;
  const world = servers({ answer: (request) => request.url.endsWith("/token") && !answer ? new Promise((done) => (answer = done)) : undefined });
  const client = open(world);
  const stop = new AbortController();
  const one = client.fetch(api + "/x", { signal: stop.signal }).catch((e) => e.name), two = client.fetch(api + "/x");
  await world.pass(200);
  stop.abort();
  assert.equal(await one, "AbortError");
  answer(json(200, { access_token: "t9", expires_in: 900 }));
  assert.equal(await status(world, two), 200);
});

test("streams: the body of a response arrives in pieces", async () => {
  const world = new World(() => new Response(new ReadableStream({ start(c) { c.enqueue(new TextEncoder().encode("first")); } })));
  const response = await world.until(open(world).fetch("/events"));
  const { value } = await response.body.getReader().read();
  assert.equal(new TextDecoder().decode(value), "first");
});

test("webSocket: opens; a refused handshake with a dead session signs out", async () => {
  const world = servers();
  const client = open(world, { webSocketProtocols: (token, protocols) => [...protocols, "bearer." + token] });
  world.handshake = (socket) => socket.dispatchEvent(new Event("open"));
  const socket = await world.until(client.webSocket("/live"));
  assert.equal(socket.url, "wss://app.example.com/live");
  const other = await world.until(client.webSocket("wss://api.example.com/live", ["chat"]));
  assert.deepEqual(other.protocols, ["chat", "bearer.t1"]);
  world.handshake = (s) => s.dispatchEvent(Object.assign(new Event("close"), { code: 1006 }));
  assert.equal((await world.until(client.webSocket("/live")).catch((e) => e)).code, "unavailable");
  assert.deepEqual(client.seen, []);
  await world.until(client.fetch("/api/auth/logout", { method: "POST" }));
  assert.equal((await world.until(client.webSocket("/live")).catch((e) => e)).code, "signedout");
  assert.deepEqual(client.seen, ["signedout SESSION_EXPIRED"]);
});

test("no event and no storage has a token", async () => {
  const world = servers();
  const client = open(world);
  const seen = [];
  client.addEventListener("trace", ({ detail }) => seen.push(JSON.stringify(detail)));
  await status(world, client.fetch(api + "/x"));
  world.stored.forEach((value, key) => seen.push(key + value));
  assert.ok(seen.length > 3);
  assert.ok(!seen.some((s) => /\bt1\b/.test(s)), seen.join("\n"));
  assert.ok(!JSON.stringify(client).includes("t1"));
});

test("the module is under 6 kB with gzip -9, and imports nothing", () => {
  const text = readFileSync(new URL("durward.js", import.meta.url));
  const size = gzipSync(text, { level: 9 }).length;
  assert.ok(size < 6000, `${size} octets`);
  const code = String(text).replace(/\/\*[^]*?\*\/|\/\/.*/g, "");
  assert.ok(!/^\s*import\s|\bimport\(|\brequire\(|\beval\(|localStorage|indexedDB|document\.cookie/m.test(code));
});
