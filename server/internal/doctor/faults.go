package doctor

import (
	"encoding/json"
	"net/http"

	"github.com/durward-auth/durward/internal/check"
)

// This file lists defects of a response.

// faults returns the defects of the response, beside the cause. Their IDs are rows of the
// conformance check.
func (e *evidence) faults() (list []Fault) {
	r := e.response
	fault := func(id, clause, text string) { list = append(list, Fault{ID: id, Clause: clause, Text: text}) }
	header := make(http.Header)
	for _, f := range r.Header {
		header.Add(f.Name, f.Value)
	}
	var body []byte
	if json.Valid(r.Body) { // a body that was shortened by hand is no fault of the server
		body = r.Body
	}
	for _, row := range check.Response(r.Status, header, body, e.has("none-sent")) {
		if row.ID != "challenge" || r.Whole {
			fault(row.ID, row.Clause, e.quote(row.Text))
		}
		if row.ID == "challenge-grammar" && len(list) > 0 {
			list[len(list)-1].Place = e.places()
		}
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

// places shows where the challenges break the grammar, as Fault.Place: three places at most.
func (e *evidence) places() (list []string) {
	for _, name := range []string{"WWW-Authenticate", "Proxy-Authenticate"} {
		for _, line := range Challenges(e.response.Header.Values(name)) {
			for _, broken := range line.Errors {
				if len(list) == 6 {
					return list
				}
				text, caret := line.place(broken, e.masker.Mask)
				list = append(list, text, caret)
			}
		}
	}
	return list
}
