package doctor

// faults returns the defects of the response, beside the cause. Their IDs are rows of the
// conformance check.
func (e *evidence) faults() (list []Fault) {
	r := e.response
	fault := func(id, clause, text string) { list = append(list, Fault{id, clause, text}) }
	switch {
	case r.Status == 0 || !r.Whole:
	case r.Status == 401 && e.seen["no-challenge"]:
		fault("challenge", "RFC 9110 s15.5.2", "401 without WWW-Authenticate")
	case r.Status == 407 && e.seen["no-challenge"]:
		fault("challenge", "RFC 9110 s15.5.8", "407 without Proxy-Authenticate")
	}
	if e.seen["challenge-unreadable"] {
		fault("challenge-grammar", "RFC 9110 s11.6.1", "a challenge cannot be parsed")
	}
	if e.has("none-sent") && (e.seen["error-invalid_token"] || e.seen["error-insufficient_scope"]) && e.seen["challenged"] {
		fault("no-error-anonymous", "RFC 6750 s3.1", "the challenge has an error although no credentials were sent")
	}
	if e.has("none-sent") && (r.Status == 403 || r.Status == 404 || r.Status >= 500) && (e.seen["said:none"] || e.seen["said:login"]) {
		fault("anonymous-401", "RFC 9110 s15.5.2", "a request without credentials was not answered 401")
	}
	if e.seen["error-invalid_token"] && r.Status != 401 && r.Status >= 400 {
		fault("expired", "RFC 6750 s3.1", "invalid_token belongs to 401")
	}
	if e.seen["error-insufficient_scope"] && r.Status == 401 {
		fault("scope", "RFC 6750 s3.1", "insufficient_scope belongs to 403")
	}
	if r.Status >= 200 && r.Status < 300 && e.seen["refused"] {
		fault("anonymous-401", "RFC 9110 s15.5.2", "a refusal has a status of success")
	}
	if e.seen["to-sign-in"] && (e.seen["authorization-sent"] || e.request.Header.Get("Accept") == "application/json") {
		fault("api-no-redirect", "RFC 9110 s15.5.2", "an API request was redirected to a sign-in page")
	}
	if e.seen["refusal-unreadable"] {
		fault("readable", "Fetch s3.3", "the refusal has no Access-Control-Allow-Origin: a page cannot read it")
	}
	if e.seen["preflight"] && (r.Status == 401 || r.Status == 403) {
		fault("preflight", "Fetch s3.2.2", "a preflight, which never has credentials, was refused")
	}
	if e.seen["token-in-query-refused"] {
		fault("token-in-query", "RFC 9700 s4.3.2", "a token stands in the address")
	}
	return list
}
