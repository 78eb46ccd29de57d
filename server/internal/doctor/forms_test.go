package doctor

import "testing"

// TestForms reads texts that have a form, and similar texts that have none. The key of a row is the
// expected topic of its texts.
func TestForms(t *testing.T) {
	t.Parallel()
	for topic, texts := range map[string][]string{
		"server-misconfigured": {"No authentication backends were configured on this server.", "Error: misconfigured csrf", "Server lacks JWT secret", "secretOrPublicKey is not valid key material",
			"Could not open group file: /etc/groups", "X509 parse pubkey fails", "open /certs/root.crt: no such file or directory"},
		"cross-site-refused":         {"Host check error", "CSRF token validation failed", "The referrer does not match the host.", "Cross-site POST form submissions are forbidden", "cross-origin request detected from Sec-Fetch-Site header"},
		"clock-wrong":                {"jwt issue time after current time", "Request timestamp expired", "Wsse authorized time check failed.", "token iat validation failed", "Query out of time"},
		"wrong-algorithm":            {"Unsigned authorization token", "'none' signature type is not allowed", "Incorrect key for this algorithm", "must be an asymmetric key when using RS256"},
		"insecure-transport":         {"received plaintext http traffic on an https channel", "Client sent an HTTP request to an HTTPS server.", "Password not allowed for insecure authentication"},
		"identity-unknown-here":      {"Signup is not allowed for this client", "ARN is not mapped", "valid token, but no corresponding publisher", `role "editor" does not exist`},
		"method-retired":             {"provider_disabled", "recently stopped supporting account passwords", "Password login has been disabled", "[[error:local-login-disabled]]"},
		"second-factor-owed":         {"need tfa", "session not elevated", "Fresh token required", "Please enter the verification code", "More factors are required to complete the sign in process.", "Password confirmation required."},
		"insufficient-scope":         {"token doesn't allow to push on the repository", "requesting privileged intents", "You are missing the required permission droplet:create.", "API key is read-only", "This API key cannot perform the specified action on this gem.", "Method not allowed with this API key"},
		"wrong-credential-kind":      {"expected a different token type for this endpoint", "Only non-refresh tokens are allowed", "The API key provided is not a user key"},
		"not-permitted":              {"you don't have access", "must be an organization owner", "unauthorized to create", "not_admin", "User does not have the right roles.", `user "ada" not in required orgs or teams`, "user 'bob' does not meet 'require'ments for user"},
		"malformed-credentials":      {"could not find signature in authorization field", "Invalid payload padding", "Bad token; invalid JSON", "Payload of JWS object is not a valid JSON object", "Error while decoding from JSON"},
		"claim-missing":              {"The JSON Web Token must contain a kid header value but did not.", "username in token must be set", "token expiration required"},
		"edge-refused":               {"checking if the site connection is secure", "A potentially unsafe operation has been detected", "Request not allowed due to WAF block.", "ModSecurity: Access denied with code 403", "Making sure you're not a bot!"},
		"rate-limited":               {"You have triggered an abuse detection mechanism.", "Please try again in 4 seconds", `limiting connections by zone "addr"`},
		"organisation-rule":          {"client requires user consent", "app_not_installed_on_org", "account is required to sign in with SSO", "App can only be used within its organization", "user is not admin approved to access this app"},
		"request-signature-mismatch": {"signature does not match event payload and secret", "Webhook body must be passed as the raw JSON string"},
		"wrong-audience":             {"cannot find 'client_id' in 'aud'", "Invalid token does not contain resource id (oauth2-resource)"},
		"unknown-signing-key":        {"Unable to validate the token: no Keys have been found", "Invalid JWT key ID", "Unable to find an appropriate signature validator for ID Token."},
		"outage-as-refusal":          {"authentication server cannot be contacted", "error while fetching public key certificates", "Failed to load OIDC key set", "Failed to retrieve verification certificates", "No connected db."},
		"revoked":                    {"The user's password has been changed.", "Invalid security stamp"},
		"session-ended":              {"after exceeding configured session inactivity", "oauth_state_not_found", "login session expired, try again", "permission denied - invalid PVE ticket"},
		"account-locked":             {"exceed password retry limit", "PASSWORD_LOCKOUT", "This request is blocked due to recurrent login failures", "Login has been temporarily blocked For User"},
		"account-not-active":         {"User account has expired", "not authenticated due to expired account", "feature_not_enabled", "only available for paid plans", "You must enable Billing on the project", "You are not subscribed to this API."},
		"wrong-place":                {"can only be used with testmode keys", "Fastly error: unknown domain", "The requested store does not match the store this API key belongs to.", "Unauthorized use of live credentials"},
		"expired":                    {"Token maximum age exceeded", "The ID token you provided was issued too long ago."},
		"none":                       {"npm error need auth", "Could not automatically determine credentials", "not_authed", "Anonymous caller does not have storage.objects.get access", "Forbidden (user=system:anonymous, verb=get)"},
		"required-field-missing":     {"Request header OK-ACCESS-PASSPHRASE cannot be empty.", "Value cannot be null or empty."},
		"server-store-mangled":       {"argon2: hash is not in the correct format", "crypto/bcrypt: hashedSecret too short to be a bcrypted password"},
		"metadata-missing":           {"Incompatible auth server: does not support dynamic client registration", "no valid metadata found at any discovery endpoint"},
		"refresh-refused":            {"pkce verification failed", "code_verifier_missing"},
		"network-not-allowed":        {"Untrusted upstream", "remote is not a trusted proxy"},
		"oauth-client-refused":       {"unregistered redirect_uri", "The 'redirect_uri' parameter does not match any of the registered ones."},
		"": {"Access to the file is read by all", "The request has no time", "You may wait here", "Use another key of the keyboard", "The signature of the letter", "Configuration of the page", "Missing permission to speak",
			"The form was sent across the site", "the algorithm of this server", "Sign in to see your groups", "This is plain text"},
	} {
		for _, text := range texts {
			if got, _ := formOf(text); got != topic {
				t.Errorf("%q: %q, want %q", text, got, topic)
			}
		}
	}
}
