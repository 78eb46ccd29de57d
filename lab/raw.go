package lab

import (
	"net/http"
	"strings"
)

// This file writes responses by hand: those of servers with a fault, and those in the form of other
// vendors' servers. Correct refusals come from a guard.

// answer is a response that is written as it stands.
type answer struct {
	status int
	fields []Field
	body   string
}

func (a answer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	for _, f := range a.fields {
		h.Add(f.Name, f.Value)
	}
	if a.body != "" && h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/json")
		if strings.HasPrefix(a.body, "<") {
			h.Set("Content-Type", "application/xml")
		}
	}
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(a.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write([]byte(a.body)) // an error means that the client disconnected
	}
}

func challenge(value string) Field { return Field{"WWW-Authenticate", value} }

// Refusals of causes. Each has the codes and fields by which its kind of server is known.
var (
	preflightRefused = answer{401, []Field{challenge(`Bearer realm="lab"`)}, `{"error":"unauthorized"}`}

	appPasswordNeeded = answer{401, []Field{challenge(`Basic realm="lab"`)},
		`{"error":"app_password_required","message":"The password of the account is not accepted here. Use an app password."}`}

	// The code and the region in the text are those of S3 (AuthorizationHeaderMalformed).
	wrongRegion = answer{400, []Field{{"Server", "AmazonS3"}},
		`<?xml version="1.0" encoding="UTF-8"?><Error><Code>AuthorizationHeaderMalformed</Code><Message>The region 'eu-central-1' is wrong; expecting 'us-east-1'</Message><Region>us-east-1</Region></Error>`}

	methodRetired = answer{410, nil,
		`{"error":"gone","message":"Basic authentication with a password was switched off. Use an access token."}`}

	invalidClient = answer{401, []Field{challenge(`Basic realm="lab"`)},
		`{"error":"invalid_client","error_description":"The client authentication failed."}`}

	// NTLM messages inside Negotiate begin with TlRMTVNT; the server takes Kerberos tickets alone.
	negotiate = answer{401, []Field{challenge("Negotiate")}, ""}

	ntlmAgain = answer{401, []Field{challenge("NTLM"), {"Via", "1.1 balancer"}}, ""}

	ssoRequired = answer{403, []Field{{"Server", "github.com"}},
		`{"message":"Resource protected by organization SAML enforcement. Authorize this token for the organization.","status":"403"}`}

	challengeLost = answer{401, []Field{{"x-amzn-Remapped-WWW-Authenticate", `Bearer realm="lab"`}, {"x-amzn-RequestId", "00000000-0000-4000-8000-000000000000"}},
		`{"message":"Unauthorized"}`}

	edgeRefused = answer{403, []Field{{"Server", "cloudflare"}, {"cf-mitigated", "challenge"}, {"CF-RAY", "0000000000000000-LAB"}, {"Content-Type", "text/html; charset=UTF-8"}},
		`<!DOCTYPE html><html lang="en"><head><title>Just a moment...</title></head><body>Checking your browser.</body></html>`}

	wrongStatus = answer{200, nil, `{"status":401,"error":"Unauthorized"}`}

	outageAsRefusal = answer{401, []Field{challenge(`Bearer realm="lab", error="invalid_token"`)},
		`{"error":"invalid_token","message":"The key set could not be fetched: connection timed out."}`}

	rateLimited = answer{403, []Field{{"Retry-After", "60"}, {"X-RateLimit-Limit", "60"}, {"X-RateLimit-Remaining", "0"}},
		`{"message":"Rate limit exceeded."}`}

	// The quotation mark at the end is missing.
	challengeFaulty = answer{401, []Field{challenge(`Bearer realm="lab`)}, `{"error":"unauthorized"}`}
)

// signatureMismatch answers as S3 does, with the request as the server read it.
func signatureMismatch(r *http.Request) answer {
	canonical := r.Method + "\n" + r.URL.EscapedPath() + "\n\nhost:inner.lab.example\nx-amz-date:" + xmlText(r.Header.Get("X-Amz-Date")) + "\n\nhost;x-amz-date\nUNSIGNED-PAYLOAD"
	return answer{403, []Field{{"Server", "AmazonS3"}},
		`<?xml version="1.0" encoding="UTF-8"?><Error><Code>SignatureDoesNotMatch</Code><Message>The request signature that was calculated does not match the signature of the request.</Message><CanonicalRequest>` +
			canonical + `</CanonicalRequest></Error>`}
}
