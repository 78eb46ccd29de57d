package doctor

// This file chooses the test that tells the first two causes apart.

// pair is a test that tells two causes apart.
type pair struct{ a, b, test string }

// pairs lists tests with different results for two causes that are often the first two.
var pairs = []pair{
	{"no-credentials", "header-stripped", "Print the fields that the client sends (curl -v): without Authorization it is no-credentials, with it the front end takes it away."},
	{"no-credentials", "credentials-not-chosen", "Print what the tool sends (its verbose switch) and compare it with its configuration: the entry for this host, port and path is there, or it is not."},
	{"no-credentials", "cookie-not-sent", "Look at the cookies of the request in the browser's developer tools: one that is listed as blocked was not sent, an empty list means that the sign-in never set one."},
	{"no-credentials", "metadata-missing", "Send the request once with a token: 200 means that only the way to find the sign-in is missing."},
	{"wrong-secret", "expired", "Make a new key or token and send it once: if it is accepted, look at the date of the old one, which tells expired from wrong."},
	{"wrong-secret", "revoked", "Look for the key in the list of keys where it was made: listed as revoked, absent, or active and so copied wrongly."},
	{"wrong-secret", "wrong-place", "Send the same secret once to the address that its maker documents: 200 there means that this address is the wrong place."},
	{"wrong-secret", "header-stripped", "Send a secret that is certainly wrong: if the answer is the same to the byte, the field does not arrive."},
	{"wrong-secret", "app-password-needed", "Sign in on the web with the same password, once: if that works, the password is right and not for this."},
	{"wrong-secret", "request-signature-mismatch", "Sign and send the same request past the proxy: accepted there, the proxy changes it; refused there, the secret is wrong."},
	{"wrong-secret", "account-not-active", "Sign in on the web once: the page says whether the account is active."},
	{"wrong-secret", "not-permitted", "Ask an address that every user may read with the same credentials: accepted there, a permission is missing here."},
	{"wrong-secret", "session-ended", "Sign in anew and repeat at once: accepted, the session was over; refused, the secret is wrong."},
	{"wrong-secret", "server-store-mangled", "Let the operator set a simple test password anew: accepted, the stored one was damaged."},
	{"wrong-secret", "scheme-unusable", "Ask once with each offered scheme forced (curl --basic, --digest, --ntlm, --negotiate)."},
	{"expired", "clock-wrong", "Compare exp with the Date of a fresh response and with a time server: a difference of Date and the true time is the clock."},
	{"expired", "revoked", "Decode the token (durward token inspect): exp before Date means expired, exp ahead means that it was ended."},
	{"expired", "wrong-audience", "Decode the token: exp before Date means expired; else compare aud with the name of this API."},
	{"expired", "wrong-issuer", "Decode the token: exp before Date means expired; else compare iss with the issuer that the server trusts."},
	{"expired", "bad-signature", "Decode the token: exp before Date means expired; else verify it with the issuer's published key."},
	{"expired", "session-ended", "Decode the token: exp ahead of Date means that the session behind it is over."},
	{"expired", "request-signature-mismatch", "Compare the end in the address (Expires, se, X-Amz-Date with X-Amz-Expires) with Date; then make a new signed address and ask at once."},
	{"expired", "method-retired", "Look at the secret: with the form of a token it is expired, with that of a password the way was retired."},
	{"not-yet-valid", "clock-wrong", "Wait until nbf has passed and send again; then compare the issuer's clock with Date."},
	{"insufficient-scope", "not-permitted", "Decode the token: a scope that the documentation of the address names and the token lacks is the cause; else it is a role."},
	{"insufficient-scope", "wrong-audience", "Decode the token: compare aud with the name of this API first, then scope with the one that is wanted."},
	{"insufficient-scope", "wrong-secret", "Ask an address that needs no special right with the same token: accepted there, a scope is missing."},
	{"not-permitted", "network-not-allowed", "Send the same request from another network: accepted there, the address is the reason."},
	{"not-permitted", "edge-refused", "Repeat with the User-Agent of a browser, and ask the origin past the edge: a different answer means the edge."},
	{"not-permitted", "cross-site-refused", "Repeat the same with GET, or with the CSRF field that the page gives: accepted means the check against forged requests."},
	{"kerberos", "scheme-unusable", "Run klist after a try, and ask by the machine's full name: a ticket for HTTP/name means that the scheme works and the name was wrong."},
	{"kerberos", "wrong-secret", "Run klist after a try: without a ticket for HTTP/name it is Kerberos, with one look at the account."},
	{"ntlm-connection", "wrong-secret", "Ask the server past the proxy or balancer with the same user: accepted there, the proxy splits the connection."},
	{"scheme-unusable", "proxy-credentials-missing", "Give user and password to the proxy once, with the scheme forced (curl --proxy-ntlm, --proxy-negotiate): accepted, the client could not choose it."},
	{"wrong-scheme", "wrong-secret", "Send the same secret once in the scheme that the challenge offers."},
	{"wrong-scheme", "two-sign-ins-one-field", "Ask the application behind the front end directly with the same field: accepted there, the front end uses up the field."},
	{"wrong-scheme", "dpop-proof-missing", "Decode the token: with cnf.jkt send it in the scheme DPoP, together with a proof."},
	{"unknown-signing-key", "bad-signature", "Fetch the issuer's key set and look for the token's kid: absent, the key is unknown; present, the signature is bad."},
	{"unknown-signing-key", "outage-as-refusal", "Fetch the issuer's key set from the server's own network: no answer means an outage."},
	{"account-locked", "network-not-allowed", "Try once from another network: the same answer means that the account is locked."},
	{"rate-limited", "not-permitted", "Wait as long as Retry-After says, or an hour, then send once: accepted means a limit."},
	{"session-ended", "cookie-not-sent", "Look at the request's cookies in the developer tools: sent and refused, the session is over; listed as blocked, the browser kept it back."},
	{"wrong-credential-kind", "claim-missing", "Decode the token: a project's or application's token has no sub; that of a user has one."},
	{"wrong-issuer", "identity-unknown-here", "Compare iss with the issuers that the server lists: absent, it must be registered; spelled otherwise, correct it."},
	{"malformed-credentials", "wrong-secret", "Build the field with a library from the same user and password (curl -u) and send it once."},
}

// nextTest returns the test for the first two causes of a report, or the role and the log line to
// ask for.
func nextTest(r *Report) string {
	if len(r.Causes) == 0 {
		return "Ask the operator for the server's log line of this request, by its time or request ID."
	}
	first := r.Causes[0]
	if len(r.Causes) > 1 {
		second := r.Causes[1].ID
		for _, p := range pairs {
			if p.a == first.ID && p.b == second || p.b == first.ID && p.a == second {
				return p.test
			}
		}
	}
	if c, ok := CauseByID(first.ID); ok && c.NextTest != "" {
		return c.NextTest
	}
	return "Ask the operator for the server's log line of this request, by its time or request ID."
}
