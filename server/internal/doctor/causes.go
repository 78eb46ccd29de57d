package doctor

import "slices"

// This file holds the catalogue of causes.

// Cause is one entry of the catalogue. Its ID is never renamed and never used again.
type Cause struct {
	ID       string
	Family   string   // ID of its family
	FixBy    string   // "client", "server" (its author), "operator" or "user"
	Meaning  string   // one sentence
	Fix      string   // what corrects it
	NextTest string   // the test that decides it, if the input cannot
	Codes    []string // codes of refusals of package durward with this cause
}

// Family is a group of causes.
type Family struct{ ID, Title string }

// Families lists the families of causes.
var Families = []Family{
	{"nothing", "Nothing usable arrived"},
	{"form", "Something arrived that cannot be read"},
	{"kind", "The wrong thing was sent"},
	{"token", "The right kind of thing, no longer or not here good"},
	{"proof", "A proof or signature does not fit"},
	{"who", "Known, and still no"},
	{"between", "Something between client and server"},
	{"server", "The server is at fault"},
}

// Causes is the catalogue. New causes are added at the end of their family.
var Causes = []Cause{
	{
		ID: "no-credentials", Family: "nothing", FixBy: "client",
		Meaning:  "The request carried no credentials at all.",
		Fix:      "Send what the challenge asks for; where the challenge names a token address, fetch a token there first.",
		NextTest: "Send the same request once with credentials.",
		Codes:    []string{"AUTHENTICATION_REQUIRED"},
	},
	{
		ID: "credentials-not-chosen", Family: "nothing", FixBy: "client",
		Meaning:  "The client has credentials, but picked none or others for this address.",
		Fix:      "Give the credentials the exact key the tool looks up (host, port, path, scope, server id); look for a second source that wins.",
		NextTest: "Print what the tool sends (its verbose switch) and compare with what was set.",
		Codes:    []string{"AUTHENTICATION_REQUIRED"},
	},
	{
		ID: "header-stripped", Family: "nothing", FixBy: "operator",
		Meaning:  "Authorization was sent and did not reach the application.",
		Fix:      "Let the front end pass Authorization on (SetEnvIf / CGIPassAuth, WSGIPassAuthorization, fastcgi_param, proxy_set_header).",
		NextTest: "Send the same credentials straight to the application behind the front end.",
		Codes:    []string{"AUTHENTICATION_REQUIRED"},
	},
	{
		ID: "lost-on-redirect", Family: "nothing", FixBy: "client",
		Meaning:  "A redirect changed host, scheme or port, and the client dropped its credentials.",
		Fix:      "Ask the final address; the server should redirect with the outside scheme and host (trusted forwarding fields).",
		NextTest: "Ask the first address without following redirects and read Location.",
		Codes:    []string{"AUTHENTICATION_REQUIRED"},
	},
	{
		ID: "cookie-not-sent", Family: "nothing", FixBy: "server",
		Meaning:  "The browser holds a session cookie and did not send it.",
		Fix:      "Set the cookie for the way it is used: same site, or SameSite=None with Secure over https; credentials: 'include' in the page.",
		NextTest: "Look at the request's Cookies tab: the browser names the reason.",
		Codes:    []string{"AUTHENTICATION_REQUIRED", "SESSION_EXPIRED", "CROSS_SITE"},
	},
	{
		ID: "preflight-refused", Family: "nothing", FixBy: "server",
		Meaning:  "The browser's preflight, which never carries credentials, was refused; or the refusal lacks CORS fields, so a page sees a network error only.",
		Fix:      "Answer preflights before the identity check; put the CORS fields on refusals too.",
		NextTest: "Send OPTIONS with Origin and Access-Control-Request-Method and no credentials.",
	},
	{
		ID: "client-certificate-missing", Family: "nothing", FixBy: "client",
		Meaning:  "The route wants a client certificate and none, or none it accepts, came.",
		Fix:      "Connect with certificate and key; behind a proxy let the proxy ask for it and pass it on.",
		NextTest: "Repeat with --cert; look whether the handshake asks for one.",
		Codes:    []string{"CLIENT_CERTIFICATE_REQUIRED"},
	},
	{
		ID: "required-field-missing", Family: "nothing", FixBy: "client",
		Meaning:  "A field that is not a credential is missing: tenant, organisation, API key beside a token, date, version, CSRF-like field.",
		Fix:      "Send the field that is named.",
		NextTest: "Add the field and send again.",
		Codes:    []string{"INVALID_REQUEST"},
	},
	{
		ID: "proxy-credentials-missing", Family: "nothing", FixBy: "client",
		Meaning:  "A proxy on the way wants its own credentials.",
		Fix:      "Give user and password where the client's proxy is set; the site was not asked yet.",
		NextTest: "Ask without the proxy, or from another network.",
		Codes:    []string{"PROXY_AUTHENTICATION_REQUIRED"},
	},
	{
		ID: "prefix-missing", Family: "form", FixBy: "client",
		Meaning:  "A token or key stands in Authorization without its scheme.",
		Fix:      "Authorization: Bearer TOKEN (or the scheme that the challenge names).",
		NextTest: "Add the scheme and send again.",
		Codes:    []string{"MALFORMED_CREDENTIALS"},
	},
	{
		ID: "stray-characters", Family: "form", FixBy: "client",
		Meaning:  "Quotation marks, blanks, line ends, a BOM, colour codes, %-escapes or a part eaten by the shell stand in the credential.",
		Fix:      "Set the secret without quotes and line end (printf, not echo; single quotes around $).",
		NextTest: "Print length and first and last octet as hex, never the secret.",
		Codes:    []string{"MALFORMED_CREDENTIALS", "INVALID_TOKEN"},
	},
	{
		ID: "placeholder", Family: "form", FixBy: "client",
		Meaning:  "The variable was empty or still an example: nothing after the scheme, null, undefined, YOUR_TOKEN, ${TOKEN}.",
		Fix:      "Set the variable where the program runs; stop when it is empty.",
		NextTest: "Print whether the variable is set and how long it is.",
		Codes:    []string{"MALFORMED_CREDENTIALS"},
	},
	{
		ID: "malformed-credentials", Family: "form", FixBy: "client",
		Meaning:  "The field is there and is not credentials of its scheme: not base64, no colon, broken parameters.",
		Fix:      "Build the field with a library; Basic is base64 of user:password.",
		NextTest: "Parse it with durward doctor: the octet that is wrong is shown by number.",
		Codes:    []string{"MALFORMED_CREDENTIALS", "INVALID_REQUEST"},
	},
	{
		ID: "ambiguous-credentials", Family: "form", FixBy: "client",
		Meaning:  "Two sets of credentials were sent.",
		Fix:      "Send one. Look for a netrc entry, a URL with user@, or a proxy that adds one.",
		NextTest: "Remove one and send again.",
		Codes:    []string{"AMBIGUOUS_CREDENTIALS"},
	},
	{
		ID: "wrong-scheme", Family: "kind", FixBy: "client",
		Meaning:  "The credentials come in a scheme that is not taken here.",
		Fix:      "Use a scheme of WWW-Authenticate.",
		NextTest: "Send the same secret in the scheme that is offered.",
		Codes:    []string{"UNSUPPORTED_SCHEME"},
	},
	{
		ID: "wrong-credential-kind", Family: "kind", FixBy: "client",
		Meaning:  "Another kind of secret than wanted: ID token for access token, API key for token, token under the wrong user name, publishable for secret key, refresh token as access token.",
		Fix:      "Use the kind that the server names; an API wants an access token made for it.",
		NextTest: "Decode the token; compare the secret's prefix with the vendor's list.",
		Codes:    []string{"INVALID_TOKEN", "INVALID_API_KEY"},
	},
	{
		ID: "not-a-jwt", Family: "kind", FixBy: "client",
		Meaning:  "An opaque or cut-off value was sent where a JWT is read.",
		Fix:      "Ask for a token with the API's audience or resource; check that it was copied whole.",
		NextTest: "Count the dots; ask the issuer's introspection if it is opaque by design.",
		Codes:    []string{"INVALID_TOKEN"},
	},
	{
		ID: "app-password-needed", Family: "kind", FixBy: "user",
		Meaning:  "The account's own password is not taken here: an app password, personal token or user token is.",
		Fix:      "Make an app password or personal token and use it in the password's place.",
		NextTest: "Sign in on the web: if that works, the password is right and not for this.",
		Codes:    []string{"INVALID_CREDENTIALS"},
	},
	{
		ID: "wrong-place", Family: "kind", FixBy: "client",
		Meaning:  "Good credentials, other place: another host, region, environment, tenant, organisation, registry, test against live.",
		Fix:      "Set the base address, region, tenant or profile that the secret belongs to.",
		NextTest: "Ask the address that the secret's maker documents.",
		Codes:    []string{"INVALID_TOKEN", "INVALID_API_KEY"},
	},
	{
		ID: "method-retired", Family: "kind", FixBy: "client",
		Meaning:  "The way of authenticating was switched off by the provider.",
		Fix:      "Move to the successor that the provider names.",
		NextTest: "Read the provider's change log for the date.",
	},
	{
		ID: "wrong-secret", Family: "token", FixBy: "user",
		Meaning:  "User, password, key or token is simply not known or not right.",
		Fix:      "Check both, the keyboard and the account; make a new key.",
		NextTest: "Sign in with it by hand at the same place, once: repeated tries lock accounts.",
		Codes:    []string{"INVALID_CREDENTIALS", "INVALID_API_KEY"},
	},
	{
		ID: "oauth-client-refused", Family: "token", FixBy: "operator",
		Meaning:  "The client's own credentials were refused at the token address.",
		Fix:      "Check client id, secret (its value, not its id), its end, and the registered method.",
		NextTest: "Ask with client_secret_basic and client_secret_post in turn.",
	},
	{
		ID: "expired", Family: "token", FixBy: "client",
		Meaning:  "Its time is over: token, key, certificate, signed address, stored login.",
		Fix:      "Refresh or sign in again; refresh ahead at four fifths of its life.",
		NextTest: "Compare exp with Date; get a new one and send once.",
		Codes:    []string{"TOKEN_EXPIRED"},
	},
	{
		ID: "not-yet-valid", Family: "token", FixBy: "client",
		Meaning:  "Its time has not begun, by more than a clock's error.",
		Fix:      "Wait, or ask for one that begins now.",
		NextTest: "Compare nbf and iat with Date.",
		Codes:    []string{"INVALID_TOKEN"},
	},
	{
		ID: "clock-wrong", Family: "token", FixBy: "operator",
		Meaning:  "A clock is wrong: the client's, the issuer's or the server's.",
		Fix:      "Synchronise the clock; set iat a minute back; allow some leeway.",
		NextTest: "Compare Date of three servers with the local clock.",
		Codes:    []string{"INVALID_TOKEN", "INVALID_PROOF"},
	},
	{
		ID: "wrong-issuer", Family: "token", FixBy: "operator",
		Meaning:  "The token is from another issuer than the server trusts, or the issuer is spelled otherwise.",
		Fix:      "Fetch the token by the address the server knows; give the issuer its outside address; mind the final slash.",
		NextTest: "Compare iss with issuer in the discovery document, octet by octet.",
		Codes:    []string{"INVALID_TOKEN"},
	},
	{
		ID: "wrong-audience", Family: "token", FixBy: "client",
		Meaning:  "The token was made for another API.",
		Fix:      "Ask for the token with this API's audience, resource or scope.",
		NextTest: "Decode aud; compare with resource in the metadata or the API's documentation.",
		Codes:    []string{"INVALID_TOKEN"},
	},
	{
		ID: "unknown-signing-key", Family: "token", FixBy: "operator",
		Meaning:  "The key that signed the token is not among the keys the server has.",
		Fix:      "Point the server at the right key set; let it fetch anew on an unknown kid.",
		NextTest: "Fetch the issuer's key set and look for kid.",
		Codes:    []string{"INVALID_TOKEN"},
	},
	{
		ID: "bad-signature", Family: "token", FixBy: "operator",
		Meaning:  "The signature does not verify.",
		Fix:      "Use the same secret or key on both sides; the token was changed or cut.",
		NextTest: "Verify with the published key; compare SHA-256 of the secrets, not the secrets.",
		Codes:    []string{"INVALID_TOKEN"},
	},
	{
		ID: "wrong-algorithm", Family: "token", FixBy: "operator",
		Meaning:  "The token is signed with an algorithm that is not accepted, or the key is of another type.",
		Fix:      "Accept the issuer's algorithm, or let the issuer use an accepted one.",
		NextTest: "Compare alg with id_token_signing_alg_values and the key's alg.",
		Codes:    []string{"INVALID_TOKEN"},
	},
	{
		ID: "claim-missing", Family: "token", FixBy: "operator",
		Meaning:  "A claim that is demanded is missing or of a wrong form (exp, sub, iss, kid, scope, tenant).",
		Fix:      "Have the issuer put it in; ask for the scope that brings it.",
		NextTest: "Decode the token and compare with the server's list.",
		Codes:    []string{"INVALID_TOKEN"},
	},
	{
		ID: "revoked", Family: "token", FixBy: "user",
		Meaning:  "It had time left and was ended: revoked, rotated, leaked, password changed.",
		Fix:      "Sign in again or make a new key; look why it was ended.",
		NextTest: "Introspect it, or look at it in the list of keys.",
		Codes:    []string{"TOKEN_REVOKED", "INVALID_API_KEY"},
	},
	{
		ID: "session-ended", Family: "token", FixBy: "user",
		Meaning:  "The session behind the cookie or token is over: idle, signed out, restarted server, other node.",
		Fix:      "Sign in again; if it is often, look at idle time, store and stickiness.",
		NextTest: "Sign in and repeat at once, then after the idle time.",
		Codes:    []string{"SESSION_EXPIRED", "SESSION_REVOKED"},
	},
	{
		ID: "refresh-refused", Family: "token", FixBy: "client",
		Meaning:  "The refresh token is spent, expired, revoked or of another client.",
		Fix:      "Refresh in one place, store the successor before using it; sign in again.",
		NextTest: "Look for two refreshes with the same token in the client's log.",
		Codes:    []string{"REFRESH_INVALID", "REFRESH_EXPIRED", "SESSION_REVOKED"},
	},
	{
		ID: "request-signature-mismatch", Family: "proof", FixBy: "operator",
		Meaning:  "The request's signature does not fit the request as it arrived, or the secret is another.",
		Fix:      "Pass Host and path through unchanged; sign the final request; check the secret.",
		NextTest: "Sign and send past the proxy; compare the canonical requests.",
	},
	{
		ID: "dpop-proof-missing", Family: "proof", FixBy: "client",
		Meaning:  "A bound token came without its proof.",
		Fix:      "Send a proof with each request.",
		NextTest: "Decode the token: cnf.",
		Codes:    []string{"INVALID_PROOF"},
	},
	{
		ID: "dpop-proof-wrong", Family: "proof", FixBy: "client",
		Meaning:  "The proof does not fit: key, ath, jti, iat, typ, alg.",
		Fix:      "Make a new proof for this token with the bound key, once per request.",
		NextTest: "Let the doctor check the proof against the token.",
		Codes:    []string{"INVALID_PROOF"},
	},
	{
		ID: "dpop-url-mismatch", Family: "proof", FixBy: "operator",
		Meaning:  "htu or htm of the proof is not the address or method the server sees.",
		Fix:      "Tell the server its outside address; forward scheme and host from trusted proxies.",
		NextTest: "Compare htu with the address the server believes it has.",
		Codes:    []string{"INVALID_PROOF"},
	},
	{
		ID: "dpop-nonce-needed", Family: "proof", FixBy: "client",
		Meaning:  "The server wants its nonce in the proof.",
		Fix:      "Make one new proof with the nonce; remember it per origin.",
		NextTest: "Repeat once with the nonce.",
		Codes:    []string{"NONCE_REQUIRED"},
	},
	{
		ID: "certificate-binding", Family: "proof", FixBy: "operator",
		Meaning:  "The token is bound to a certificate and came over a connection without it, or with another.",
		Fix:      "Connect with the same certificate; let the proxy pass it on.",
		NextTest: "Compare thumbprints.",
		Codes:    []string{"INVALID_TOKEN"},
	},
	{
		ID: "stale-nonce", Family: "proof", FixBy: "client",
		Meaning:  "A Digest answer was right but for its old nonce.",
		Fix:      "Answer the new challenge with the same password, without asking.",
		NextTest: "Answer the new challenge once.",
		Codes:    []string{"STALE_NONCE"},
	},
	{
		ID: "digest-answer-wrong", Family: "proof", FixBy: "client",
		Meaning:  "A Digest answer is built wrongly: uri, realm, quoting, nc, hash of another kind.",
		Fix:      "Use another client or fix the named parameter.",
		NextTest: "curl --digest with the same user, once.",
		Codes:    []string{"INVALID_REQUEST", "INVALID_CREDENTIALS"},
	},
	{
		ID: "scheme-unusable", Family: "proof", FixBy: "client",
		Meaning:  "The client cannot do what is offered, or chose one it cannot finish (Negotiate without ticket, SHA-256 Digest, an unknown first scheme).",
		Fix:      "Choose the scheme by hand; offer one that the client can.",
		NextTest: "Ask with each scheme forced in turn.",
	},
	{
		ID: "kerberos", Family: "proof", FixBy: "operator",
		Meaning:  "Kerberos found no ticket or key: service name, alias, keytab, expired ticket, clock.",
		Fix:      "Register the service name for each alias; renew the keytab; mind the clock.",
		NextTest: "klist after a try; ask by the machine's full name.",
	},
	{
		ID: "ntlm-connection", Family: "proof", FixBy: "operator",
		Meaning:  "An NTLM handshake was torn apart: each step went over another connection or to another server.",
		Fix:      "Keep one connection per client at the proxy, or use Kerberos.",
		NextTest: "Ask the server past the balancer.",
	},
	{
		ID: "insufficient-scope", Family: "who", FixBy: "client",
		Meaning:  "Known, and the token was not given the right to do this.",
		Fix:      "Ask for the scope that is named; same token will be refused again.",
		NextTest: "Compare scope in the challenge with scope, scp or roles of the token.",
		Codes:    []string{"INSUFFICIENT_SCOPE"},
	},
	{
		ID: "not-permitted", Family: "who", FixBy: "operator",
		Meaning:  "Known, and a rule or role says no.",
		Fix:      "Give the role, or let a user with the role do it.",
		NextTest: "Ask with an administrator's credentials.",
		Codes:    []string{"FORBIDDEN"},
	},
	{
		ID: "identity-unknown-here", Family: "who", FixBy: "operator",
		Meaning:  "The credentials are good, their owner is not known to this system.",
		Fix:      "Map, invite or provision the user or issuer.",
		NextTest: "Look for the subject in the system's own list.",
		Codes:    []string{"FORBIDDEN", "INVALID_TOKEN"},
	},
	{
		ID: "account-locked", Family: "who", FixBy: "user",
		Meaning:  "Too many failures: locked, or a captcha is owed.",
		Fix:      "Wait or unlock; find the program that keeps trying an old password.",
		NextTest: "Sign in on the web once.",
		Codes:    []string{"TOO_MANY_ATTEMPTS"},
	},
	{
		ID: "account-not-active", Family: "who", FixBy: "user",
		Meaning:  "The account is disabled, unverified, unpaid, or its password must change.",
		Fix:      "Do what is named: verify, pay, change, or ask an administrator.",
		NextTest: "Sign in on the web.",
		Codes:    []string{"ACCOUNT_DISABLED", "EMAIL_UNVERIFIED", "PASSWORD_CHANGE_REQUIRED"},
	},
	{
		ID: "second-factor-owed", Family: "who", FixBy: "user",
		Meaning:  "The sign-in is too weak or too old for this.",
		Fix:      "Sign in again as strongly as asked, then repeat.",
		NextTest: "Compare acr, amr and auth_time with acr_values and max_age.",
		Codes:    []string{"MFA_REQUIRED", "STEP_UP_REQUIRED", "ENROLMENT_REQUIRED"},
	},
	{
		ID: "organisation-rule", Family: "who", FixBy: "user",
		Meaning:  "An organisation's rule stands before it: single sign-on not authorised, device or risk policy, consent.",
		Fix:      "Authorise the token for the organisation, use a managed device, get consent.",
		NextTest: "Open the address that the field or text names.",
		Codes:    []string{"FORBIDDEN"},
	},
	{
		ID: "network-not-allowed", Family: "who", FixBy: "operator",
		Meaning:  "Asked from a place that is not allowed: address list, country, localhost only, a ban.",
		Fix:      "Ask from an allowed place, or add the address; lift the ban.",
		NextTest: "Ask from another network.",
		Codes:    []string{"FORBIDDEN"},
	},
	{
		ID: "cross-site-refused", Family: "who", FixBy: "client",
		Meaning:  "A check against forged requests said no.",
		Fix:      "Send the CSRF field or Origin the page gives, or a token instead of the cookie.",
		NextTest: "Repeat the same with GET.",
		Codes:    []string{"CROSS_SITE"},
	},
	{
		ID: "insecure-transport", Family: "who", FixBy: "client",
		Meaning:  "Credentials are not taken over plain http.",
		Fix:      "Use https; behind a proxy, forward the scheme.",
		NextTest: "Ask the same by https.",
		Codes:    []string{"INSECURE_TRANSPORT"},
	},
	{
		ID: "two-sign-ins-one-field", Family: "between", FixBy: "operator",
		Meaning:  "Two sign-ins share one Authorization field: something on the way adds, replaces or uses up what the other needs.",
		Fix:      "Remove Authorization at the front before passing on, or switch off the application's own Basic.",
		NextTest: "Ask the application directly.",
		Codes:    []string{"AMBIGUOUS_CREDENTIALS"},
	},
	{
		ID: "challenge-lost", Family: "between", FixBy: "operator",
		Meaning:  "A front end dropped or changed the challenge that the server sent.",
		Fix:      "Pass WWW-Authenticate on, all lines.",
		NextTest: "Ask behind the front and compare.",
	},
	{
		ID: "edge-refused", Family: "between", FixBy: "operator",
		Meaning:  "A content network, firewall or bot rule answered; the application was not asked.",
		Fix:      "Let the API's paths and clients pass the rule.",
		NextTest: "Repeat with a browser's User-Agent; ask the origin.",
		Codes:    []string{"FORBIDDEN"},
	},
	{
		ID: "upstream-refused", Family: "between", FixBy: "operator",
		Meaning:  "The server is in order with you; its own call to another was refused.",
		Fix:      "Renew the server's own credentials towards that service.",
		NextTest: "Call another endpoint with the same credentials.",
		Codes:    []string{"AUTH_UNAVAILABLE"},
	},
	{
		ID: "wrong-status", Family: "server", FixBy: "server",
		Meaning:  "Another status stands for the refusal (200, 302, 400, 404, 500) so that clients act wrongly.",
		Fix:      "Answer 401 with challenge, 403 with reason.",
		NextTest: "durward check.",
	},
	{
		ID: "outage-as-refusal", Family: "server", FixBy: "operator",
		Meaning:  "Something the check needs does not answer, and that was told as a refusal.",
		Fix:      "Restore it; answer 503 with Retry-After.",
		NextTest: "Ask again in a minute with the same credentials; ask as another user.",
		Codes:    []string{"AUTH_UNAVAILABLE"},
	},
	{
		ID: "rate-limited", Family: "server", FixBy: "client",
		Meaning:  "A limit was told as 401 or 403.",
		Fix:      "Wait as said; call less.",
		NextTest: "Wait, then once more.",
		Codes:    []string{"TOO_MANY_ATTEMPTS"},
	},
	{
		ID: "metadata-missing", Family: "server", FixBy: "server",
		Meaning:  "A client that starts from the challenge cannot find where to sign in: metadata missing, unreachable or for another resource.",
		Fix:      "Send resource_metadata; serve the document at the path-inserted address with resource equal to the address used.",
		NextTest: "Follow the chain: challenge, document, issuer's metadata.",
	},
	{
		ID: "challenge-faulty", Family: "server", FixBy: "server",
		Meaning:  "The challenge is missing or cannot be read, so the client cannot go on.",
		Fix:      "Send one well-formed challenge per line.",
		NextTest: "durward check.",
	},
	{
		ID: "server-store-mangled", Family: "server", FixBy: "operator",
		Meaning:  "What the server stores as the secret is not what was meant: dollar signs expanded, a hash it cannot read, an old file.",
		Fix:      "Write the hash literally; use a kind that the server knows; reload.",
		NextTest: "Hash a test password anew on the server.",
		Codes:    []string{"INVALID_CREDENTIALS"},
	},
	{
		ID: "server-misconfigured", Family: "server", FixBy: "operator",
		Meaning:  "The check itself is set up wrongly: order, guard, missing secret, unreadable file.",
		Fix:      "Mend what the log names.",
		NextTest: "A minimal route with the same check.",
		Codes:    []string{"INTERNAL", "AUTH_UNAVAILABLE"},
	},
}

// CauseByID returns a cause of the catalogue, and false if there is none with this ID.
func CauseByID(id string) (Cause, bool) {
	if i := slices.IndexFunc(Causes, func(c Cause) bool { return c.ID == id }); i >= 0 {
		return Causes[i], true
	}
	return Cause{}, false
}
