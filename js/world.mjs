// A world for the tests: a clock that only the test moves, tabs of one browser, and servers that are
// functions. It needs nothing beyond Node.js 18.

export class World {
  time = Date.UTC(2026, 0, 1);
  timers = [];
  channels = [];
  locks = new Map(); // name: promise of the last holder
  log = []; // "POST https://…" of each request
  stored = new Map(); // sessionStorage
  warnings = [];
  visited = [];

  /** @param {(request: Request, world: World) => Response | Promise<Response>} serve */
  constructor(serve) {
    this.serve = serve;
  }

  /** Moves the clock and runs the timers that are due, each with the promises that it settles. */
  async pass(ms) {
    const end = this.time + ms;
    for (;;) {
      await this.settle();
      const next = this.timers.filter((t) => t.at <= end).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      this.timers.splice(this.timers.indexOf(next), 1);
      this.time = Math.max(this.time, next.at);
      next.run();
    }
    this.time = end;
    await this.settle();
  }

  /** Lets all promises settle that need no timer. */
  async settle() {
    for (let i = 0; i < 20; i++) await new Promise((done) => setImmediate(done));
  }

  /** Waits for a promise and moves the clock as far as it needs, at most an hour. */
  async until(promise) {
    let done = false;
    const settled = promise.finally(() => (done = true));
    settled.catch(() => {});
    for (let i = 0; i < 36_000 && !done; i++) {
      await this.settle();
      if (!done) await this.pass(100);
    }
    if (!done) throw new Error("the promise is pending after an hour");
    return settled;
  }

  /** Returns the globals of a tab. without lists what the browser lacks or refuses. */
  tab(url = "https://app.example.com/inbox?box=1", without = []) {
    const world = this;
    const missing = (name) => without.includes(name);
    const tab = {
      location: Object.assign(new URL(url), { assign: (to) => world.visited.push(to) }),
      console: { warn: (text) => world.warnings.push(text) },
      AbortSignal: {
        timeout(ms) {
          const stop = new AbortController();
          tab.setTimeout(() => stop.abort(), ms);
          return stop.signal;
        },
      },
      setTimeout: (run, ms, ...args) => world.timers.push({ at: world.time + ms, run: () => run(...args) }),
      fetch: async (input, init) => {
        const target = typeof input === "string" ? new URL(input, tab.location.href) : input;
        const request = new Request(target, init?.body?.getReader ? { duplex: "half", ...init } : init);
        if (request.signal.aborted) throw request.signal.reason;
        world.log.push(`${request.method} ${request.url}`);
        await null;
        return world.serve(request, world);
      },
      navigator: { locks: { request: (...args) => world.lock(...args) } },
      sessionStorage: {
        getItem: (key) => world.stored.get(key) ?? null,
        setItem: (key, value) => world.stored.set(key, String(value)),
        removeItem: (key) => world.stored.delete(key),
      },
      BroadcastChannel: class extends EventTarget {
        constructor(name) {
          super();
          if (missing("BroadcastChannel")) throw new TypeError("BroadcastChannel is not a constructor");
          world.channels.push(Object.assign(this, { name }));
        }
        postMessage(data) {
          const copy = structuredClone(data);
          for (const c of world.channels) {
            if (c === this || c.name !== this.name || tab.closed) continue;
            setImmediate(() => c.dispatchEvent(Object.assign(new Event("message"), { data: copy })));
          }
        }
      },
      WebSocket: class extends EventTarget {
        constructor(url, protocols) {
          super();
          Object.assign(this, { url, protocols });
          setImmediate(() => world.handshake(this));
        }
      },
    };
    if (missing("locks")) delete tab.navigator.locks;
    if (missing("refused locks")) tab.navigator.locks.request = async () => { throw new Error("SecurityError"); };
    if (missing("sessionStorage")) Object.defineProperty(tab, "sessionStorage", { get() { throw new Error("SecurityError"); } });
    return tab;
  }

  async lock(name, { signal }, work) {
    const before = this.locks.get(name);
    let free;
    const held = new Promise((done) => (free = done));
    this.locks.set(name, Promise.resolve(before).then(() => held));
    const aborted = new Promise((_, no) => signal?.addEventListener("abort", () => no(new Error("AbortError"))));
    try {
      await Promise.race([before, aborted]);
      return await work();
    } finally {
      free();
    }
  }

  /** Returns how often a request was sent. */
  count(line) {
    return this.log.filter((l) => l === line).length;
  }
}

export const json = (status, body, headers = {}) =>
  new Response(body === undefined ? null : JSON.stringify(body), { status, headers: { "content-type": "application/json", ...headers } });

/** Returns a refusal of a Durward server. */
export const refusal = (status, code, challenge, headers = {}) =>
  json(status, { code }, { "content-type": "application/problem+json", ...(challenge && { "www-authenticate": challenge }), ...headers });

export const session = 'Session realm="app", login="https://app.example.com/login"';
