// Types of durward.js. docs/browser.md explains how to use them.

/** One challenge of WWW-Authenticate. Names are in lower case. */
export interface Challenge {
  scheme: string;
  params: Record<string, string>;
}

/** A token response (RFC 6749 s5.1). Without expires_in, only a refusal causes a renewal. */
export interface Token {
  access_token: string;
  refresh_token?: string;
  /** Must be Bearer, if it is set. */
  token_type?: string;
  /** Seconds. */
  expires_in?: number | string;
}

/**
 * Returns a new token. last is the token before, of this tab or another. Throw an AuthError with the code
 * "signedout" if the sign-in has ended; every other error counts as an outage.
 */
export type TokenSource = (last: Token | undefined, fetch: typeof globalThis.fetch) => Promise<Token>;

export interface Options {
  /** URL of the Durward server, with its path prefix. Default: the origin of the page. */
  server?: string;
  /** Origins that get an access token, such as "https://api.example.com". Other origins get none. */
  origins?: string[];
  /** Gets tokens. Default: POST /api/auth/token of the server, with the session cookie. */
  token?: TokenSource;
  /** URL that answers 200 while the user is signed in, and 401 otherwise. Default: /api/profile of the server. */
  check?: string;
  /** Opens the sign-in page after signedout, unless that would be a loop. Default: false. */
  redirect?: boolean;
  /** Default: /login of the server. */
  loginURL?: string;
  /** Default: /step-up of the server. */
  stepUpURL?: string;
  /** Ends the session at a server that is not Durward. */
  signOut?: () => Promise<Response | void>;
  /** Returns the subprotocols of a WebSocket to one of origins. Default: such WebSockets are not opened. */
  webSocketProtocols?: (token: string, protocols: string | string[]) => string[];
  /** Clients with the same name share tokens between tabs. Default: the URL of the server. */
  name?: string;
  /** Milliseconds since 1970. Default: Date.now. */
  now?: () => number;
}

/** The error of a request that could not be sent with credentials. */
export class AuthError extends Error {
  constructor(code: "signedout" | "unavailable", message: string, retryAfter?: number);
  /** "unavailable": the user is still signed in, try again later. */
  code: "signedout" | "unavailable";
  /** Seconds; 0 if the server named no time. */
  retryAfter: number;
}

/** A refusal, as the events report it. */
export interface Refusal {
  status: number;
  /** Empty if there is none, or if the server does not expose WWW-Authenticate to other origins. */
  challenges: Challenge[];
  /** Member code of the body, such as "TOKEN_EXPIRED". */
  code?: string;
  /** Parameter error of a challenge, such as "invalid_token". */
  error?: string;
  /** Durward-Denial: durward why tells the operator the cause. */
  denial: string | null;
}

/** The server wants a newer or stronger sign-in (RFC 9470), or another scope. */
export interface StepUp extends Refusal {
  url: string;
  /** Separated by blanks, as in the challenge. */
  acrValues?: string;
  /** Seconds. */
  maxAge?: string;
  scope?: string;
  /** Call it with a promise that is fulfilled after the step-up: the request is then sent once more. */
  waitUntil(promise: Promise<unknown>): void;
}

/** What the client does, as it happens. It has no token. */
export type Trace =
  | { kind: "request"; method: string; url: string; credentials: "token" | "cookie" | "none" }
  | ({ kind: "response"; method: string; url: string; status: number } & Partial<Refusal>)
  | { kind: "renewal" }
  | { kind: "renewed"; expiresIn?: number | string }
  | { kind: "failed"; code: "signedout" | "unavailable"; message: string }
  | { kind: "warning"; code: "refused" | "bare" | "storage" | "loop"; message: string };

export interface Events {
  /** Fires once, in all tabs. reason is a code, "SIGNED_OUT" after signOut. */
  signedout: { reason: string };
  stepup: StepUp;
  trace: Trace;
}

export interface Client extends Omit<EventTarget, "addEventListener"> {
  addEventListener<K extends keyof Events>(
    type: K,
    listener: (event: Event & { detail: Events[K] }) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  /** Replaces fetch. It throws AuthError if there is no token to send. */
  fetch: typeof globalThis.fetch;
  /** Reports whether the user is signed in. It throws AuthError if that cannot be told now. */
  check(): Promise<boolean>;
  /** Opens the sign-in page, which comes back to the URL back, this page by default. False: that would be a loop. */
  signIn(back?: string): boolean;
  /** Ends the session, in all tabs. It throws AuthError if the server did not confirm it. */
  signOut(): Promise<void>;
  /** Opens the page for a stronger or newer sign-in. */
  stepUp(wanted?: { acrValues?: string; maxAge?: string }, back?: string): boolean;
  /** Opens a WebSocket. If that fails because the session has ended, signedout is reported. */
  webSocket(url: string | URL, protocols?: string | string[]): Promise<WebSocket>;
}

export function createClient(options?: Options, platform?: object): Client;

/** Returns a TokenSource: the refresh_token grant of any OAuth server. */
export function oauth(options: {
  tokenURL: string;
  clientID: string;
  /** The first refresh token. Later ones stay in memory. */
  refreshToken: string;
  /** More parameters of the request, such as resource (RFC 8707). */
  parameters?: Record<string, string>;
  /** Values of error that end the sign-in, besides "invalid_grant". */
  signedOutBy?: string[];
}): TokenSource;

export function parseChallenges(field: string): Challenge[];
