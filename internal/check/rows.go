package check

// row is one line of the table.
type row struct {
	id      string
	clause  string
	must    bool
	points  int
	subject string // the rule in one sentence
	fix     string // what corrects the server
	judge   func(*session) verdict
}

// rows is the table of the check. IDs are never renamed: reports of other tools contain them.
var rows = []row{
	{
		"anonymous-401", "RFC 9110 s15.5.2", true, 10,
		"A request without credentials gets 401.",
		"Answer 401 with a challenge, not 200, 403, 404 or a redirect to a page.", anonymous401,
	},
	{
		"challenge", "RFC 9110 s11.6.1", true, 10,
		"Each 401 has a challenge.",
		"Send WWW-Authenticate with each 401, and Proxy-Authenticate with each 407.", challenge,
	},
	{
		"challenge-grammar", "RFC 9110 s11.2", true, 8,
		"Each challenge follows the grammar.",
		"Write a scheme, one space, and name=\"value\" pairs with commas between them; a name occurs once.", challengeGrammar,
	},
	{
		"realm", "RFC 9110 s11.5", false, 5,
		"Basic and Digest name a realm; Bearer has a parameter.",
		"Add realm=\"…\" to the challenge, once.", realm,
	},
	{
		"no-error-anonymous", "RFC 6750 s3.1", false, 5,
		"The answer to a request without credentials names no error.",
		"Leave error and error_description out of the challenge if the request has no credentials.", noErrorAnonymous,
	},
	{
		"garbage-token", "RFC 6750 s3.1", true, 6,
		"An invalid token gets 401 and invalid_token.",
		"Answer 401 with error=\"invalid_token\" in the Bearer challenge; never 200, 403 or 5xx.", garbageToken,
	},
	{
		"forged-token", "RFC 8725 s3.1, s3.2", true, 10,
		"A forged token is refused.",
		"Verify the signature with the issuer's key set. Accept no alg of the token's choice and no key that the token brings.", forgedToken,
	},
	{
		"malformed", "RFC 9110 s11.6.2", false, 6,
		"Malformed credentials get 400 or 401.",
		"Treat an empty or unreadable Authorization field as a refusal: 400 or 401, never 5xx.", malformed,
	},
	{
		"unknown-scheme", "RFC 9110 s11.6.1", false, 6,
		"Credentials of an unknown scheme get 401 or 400.",
		"Answer 401 with the schemes that the server accepts.", unknownScheme,
	},
	{
		"two-fields", "RFC 9110 s5.3", false, 3,
		"Two Authorization fields are refused.",
		"Answer 400 or 401. Authorization is a field of one line; two parts of a system can read different ones.", twoFields,
	},
	{
		"token-in-query", "RFC 9700 s4.3.2", false, 2,
		"A token in the query is not accepted.",
		"Read tokens from the Authorization field alone: addresses are logged.", tokenInQuery,
	},
	{
		"expired", "RFC 6750 s3.1", true, 8,
		"An expired token gets 401 and invalid_token.",
		"Check exp, and answer 401 with error=\"invalid_token\", not 403: the client has to refresh.", expired,
	},
	{
		"audience", "RFC 6750 s3.1", true, 8,
		"A token for another audience gets 401 and invalid_token.",
		"Check aud, and answer 401 with error=\"invalid_token\", not 403.", audience,
	},
	{
		"scope", "RFC 6750 s3.1", false, 6,
		"A token without the scope gets 403 and insufficient_scope.",
		"Answer 403 with error=\"insufficient_scope\" and scope=\"…\" in the challenge.", scope,
	},
	{
		"head", "RFC 9110 s9.3.2", false, 3,
		"HEAD gets the same status and fields as GET.",
		"Send HEAD through the same checks as GET.", head,
	},
	{
		"caching", "RFC 9111 s3.5", false, 4,
		"No shared cache may keep an answer for other users.",
		"Send Cache-Control: no-store with refusals, and Vary: Origin if the answer names an origin.", caching,
	},
	{
		"body", "RFC 9457 s3", false, 4,
		"The body agrees with the status and the fields.",
		"Send problem details with the same status and error as the fields, and no stack trace.", body,
	},
	{
		"preflight", "Fetch standard s4.8", false, 5,
		"A preflight is answered without credentials.",
		"Answer OPTIONS before the check of credentials: 204, with authorization in Access-Control-Allow-Headers.", preflight,
	},
	{
		"readable", "Fetch standard s3.3", false, 2,
		"A page of an allowed origin can read the 401.",
		"Add the CORS fields to refusals too.", readable,
	},
	{
		"api-no-redirect", "RFC 9110 s15.5.2", false, 4,
		"A script gets a status, not a page for signing in.",
		"Redirect only navigations of browsers (Accept: text/html); answer 401 to others.", apiNoRedirect,
	},
	{
		"in-the-clear", "RFC 7617 s4, RFC 6750 s5.3", true, 5,
		"Plain http asks for no credentials.",
		"Redirect http to https or close the port; send no challenge over http.", inTheClear,
	},
	{
		"tls", "RFC 6797 s7.1", false, 4,
		"https answers carry Strict-Transport-Security.",
		"Send Strict-Transport-Security: max-age=31536000.", tlsRow,
	},
	{
		"date", "RFC 9110 s6.6.1", false, 4,
		"Answers carry a correct Date.",
		"Send Date, and synchronize the clock: clients compare token times with it.", date,
	},
	{
		"digest", "RFC 7616 s3.3", false, 5,
		"Digest offers SHA-256, qop and a nonce, quoted as the standard says.",
		"Offer algorithm=SHA-256 first, with qop=\"auth\"; quote realm, nonce, opaque, domain and qop, but not algorithm and stale.", digest,
	},
	{
		"dpop", "RFC 9449 s7.1", false, 5,
		"DPoP names its algorithms.",
		"Add algs=\"ES256\" or other asymmetric algorithms to the DPoP challenge.", dpop,
	},
	{
		"metadata", "RFC 9728 s3.3, RFC 8414 s3.3", true, 6,
		"The metadata that the challenge names describes this resource and its issuer.",
		"Serve the document at the named address, with resource equal to the address and the issuer's metadata behind it.", metadata,
	},
	{
		"proxy-407", "RFC 9110 s15.5.8", true, 10,
		"The proxy asks for credentials with 407.",
		"Answer 407 with Proxy-Authenticate, not 401 or 403.", proxy407,
	},
}
