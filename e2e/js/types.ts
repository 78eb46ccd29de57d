// Compiles with the types of the npm package durward. Each @ts-expect-error is a mistake that the types find.
import { AuthError, createClient, oauth, parseChallenges, type Options, type Token } from "durward";

const options: Options = {
  origins: ["https://api.example.com"],
  token: oauth({ tokenURL: "https://id.example.com/token", clientID: "notes", refreshToken: "r" }),
  redirect: true,
};
const client = createClient(options);
client.addEventListener("signedout", ({ detail }) => detail.reason.toUpperCase());
client.addEventListener("stepup", ({ detail }) => {
  detail.waitUntil(Promise.resolve());
  client.stepUp(detail);
});
client.addEventListener("trace", ({ detail }) => {
  if (detail.kind === "response") detail.challenges?.map((c) => c.scheme + c.params.realm);
  // @ts-expect-error: a renewal has no status
  if (detail.kind === "renewal") detail.status;
});
const replaced: typeof fetch = client.fetch;
const alive: boolean = await client.check();
const socket: WebSocket = await client.webSocket("/live");
await client.signOut();
createClient({ token: async (last?: Token) => ({ access_token: last?.refresh_token ?? "t" }) });
if (new AuthError("unavailable", "later").retryAfter > 0) parseChallenges("Bearer")[0]?.scheme;
// @ts-expect-error: origins is a list
createClient({ origins: "https://api.example.com" });
// @ts-expect-error: no such event
client.addEventListener("signedin", ({ detail }) => detail);
// @ts-expect-error: no such code
new AuthError("other", "x");
export { alive, replaced, socket };
