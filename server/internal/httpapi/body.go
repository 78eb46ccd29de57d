package httpapi

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/printable"
)

// maxBody is the largest body that is read.
const maxBody = 64 << 10

// decode reads the JSON object of a request: of the right type, no larger than
// maxBody, without unknown or doubled members.
func decode[T any](w http.ResponseWriter, r *http.Request) (T, error) {
	var v T
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" || !strings.EqualFold(orUTF8(params["charset"]), "utf-8") || len(r.Header["Content-Type"]) > 1 {
		cause := errors.New("Content-Type is not application/json")
		if n := len(r.Header["Content-Type"]); n != 1 {
			cause = fmt.Errorf("%d Content-Type fields", n)
		}
		return v, &durward.Refusal{Code: durward.UnsupportedMediaType, Err: cause}
	}
	if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return v, &durward.Refusal{Code: durward.UnsupportedMediaType, Detail: "The body of the request is encoded.", Hint: "Send it without Content-Encoding.", Err: errors.New("Content-Encoding set")}
	}
	if r.ContentLength > maxBody { // before a client that waits for 100 is told to send it
		w.Header().Set("Connection", "close")
		return v, &durward.Refusal{Code: durward.BodyTooLarge, Err: fmt.Errorf("body of %d octets, at most %d are read", r.ContentLength, maxBody)}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return v, &durward.Refusal{Code: durward.BodyTooLarge, Err: fmt.Errorf("body over %d octets", maxBody)}
		}
		return v, &durward.Refusal{Code: durward.InvalidRequest, Detail: "The body of the request could not be read to its end.", Err: errors.New("body cut short")}
	}
	if len(strings.TrimSpace(string(body))) == 0 {
		return v, &durward.Refusal{Code: durward.InvalidRequest, Detail: "The request has no body.", Hint: "Send a JSON object.", Err: errors.New("empty body")}
	}
	if err := json.Unmarshal(body, &v, json.RejectUnknownMembers(true)); err != nil {
		return v, notOurs(err)
	}
	return v, nil
}

func orUTF8(charset string) string {
	if charset == "" {
		return "utf-8"
	}
	return charset
}

// notOurs says what is wrong with a JSON body, naming the member but never its
// value.
func notOurs(err error) error {
	f := &durward.Refusal{Code: durward.InvalidRequest}
	var semantic *json.SemanticError
	var syntactic *jsontext.SyntacticError
	switch {
	case errors.As(err, &semantic):
		member := memberName(string(semantic.JSONPointer))
		f.Members = map[string]any{"member": member}
		switch {
		case errors.Is(err, json.ErrUnknownName):
			f.Detail = "The body has a member that is not known here: " + member + "."
			f.Hint = "Leave it out, or check its spelling; names are case-sensitive."
			f.Err = fmt.Errorf("JSON: no member %s is known", member)
		case member == "":
			f.Detail, f.Hint, f.Members = "The body is not a JSON object.", "Send an object in braces.", nil
			f.Err = errors.New("JSON: not an object")
		default:
			f.Detail = "The member " + member + " is not of the right type."
			f.Hint = "See /openapi.json for the shape of the body."
			f.Err = fmt.Errorf("JSON: member %s is of another type", member)
		}
	case errors.As(err, &syntactic):
		if errors.Is(err, jsontext.ErrDuplicateName) {
			member := memberName(string(syntactic.JSONPointer))
			f.Members = map[string]any{"member": member}
			f.Detail = "The body has the member " + member + " twice."
			f.Hint = "Send each member once."
			f.Err = fmt.Errorf("JSON: member %s twice", member)
		} else {
			f.Detail = fmt.Sprintf("The body is not valid JSON at octet %d.", syntactic.ByteOffset)
			f.Hint = "Send one JSON object in UTF-8 and nothing after it."
			f.Err = fmt.Errorf("JSON: syntax at octet %d", syntactic.ByteOffset)
		}
	default:
		f.Detail, f.Err = "The body is not valid JSON.", errors.New("JSON: not valid")
	}
	return f
}

// memberName returns the last name of a JSON pointer, safe to show in a refusal and on a page.
func memberName(pointer string) string {
	name := printable.Line(jsontext.Pointer(pointer).LastToken(), 40)
	return strings.NewReplacer("<", "?", ">", "?").Replace(name)
}

// answer writes v as JSON. What is answered to a person is nobody else's
// (RFC 9111 s5.2.2.5).
func answer(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return &durward.Refusal{Code: durward.Internal, Err: err}
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
	return nil
}

// noContent answers 204.
func noContent(w http.ResponseWriter) error {
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// hasBody reports whether a request that may do without a body has one. Reading
// a chunked body to find out would eat its first octet, so that is put back.
func hasBody(r *http.Request) bool {
	if r.ContentLength >= 0 {
		return r.ContentLength > 0
	}
	var first [1]byte
	if _, err := io.ReadFull(r.Body, first[:]); err != nil {
		return false
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(strings.NewReader(string(first[:])), r.Body), r.Body}
	return true
}

type field struct{ name, value string }

// present refuses a request that lacks one of the members it must have.
func present(fields ...field) error {
	for _, f := range fields {
		if f.value == "" {
			return &durward.Refusal{Code: durward.InvalidRequest, Detail: "The member " + f.name + " is missing or empty.",
				Hint: "See /openapi.json for the shape of the body.", Members: map[string]any{"member": f.name}, Err: fmt.Errorf("member %s is missing or empty", f.name)}
		}
	}
	return nil
}
