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

// maxBody is the maximum size of a request body in bytes.
const maxBody = 64 << 10

// decode reads the JSON object in the body of a request. It refuses another media type, a body
// over maxBody, and unknown or duplicate members.
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
		return v, &durward.Refusal{
			Code:   durward.UnsupportedMediaType,
			Detail: "The body of the request has a content coding.",
			Hint:   "Send it without Content-Encoding.",
			Err:    errors.New("Content-Encoding set"),
		}
	}
	if r.ContentLength > maxBody { // refused before a client with Expect: 100-continue sends it
		w.Header().Set("Connection", "close")
		return v, &durward.Refusal{Code: durward.BodyTooLarge, Err: fmt.Errorf("body of %d bytes, limit is %d", r.ContentLength, maxBody)}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return v, &durward.Refusal{Code: durward.BodyTooLarge, Err: fmt.Errorf("body over %d bytes", maxBody)}
		}
		return v, &durward.Refusal{
			Code:   durward.InvalidRequest,
			Detail: "The body of the request is incomplete.",
			Err:    errors.New("incomplete body"),
		}
	}
	if len(strings.TrimSpace(string(body))) == 0 {
		return v, &durward.Refusal{
			Code:   durward.InvalidRequest,
			Detail: "The request has no body.",
			Hint:   "Send a JSON object.",
			Err:    errors.New("empty body"),
		}
	}
	if err := json.Unmarshal(body, &v, json.RejectUnknownMembers(true)); err != nil {
		return v, invalidJSON(err)
	}
	return v, nil
}

func orUTF8(charset string) string {
	if charset == "" {
		return "utf-8"
	}
	return charset
}

// invalidJSON returns the refusal for an error of the JSON decoder. It names the member, never its
// value.
func invalidJSON(err error) error {
	f := &durward.Refusal{Code: durward.InvalidRequest}
	var semantic *json.SemanticError
	var syntactic *jsontext.SyntacticError
	switch {
	case errors.As(err, &semantic):
		member := memberName(string(semantic.JSONPointer))
		f.Members = map[string]any{"member": member}
		switch {
		case errors.Is(err, json.ErrUnknownName):
			f.Detail = "The body has an unknown member: " + member + "."
			f.Hint = "Check its spelling, or leave it out. Names are case-sensitive."
			f.Err = fmt.Errorf("JSON: unknown member %s", member)
		case member == "":
			f.Detail, f.Hint, f.Members = "The body is not a JSON object.", "Send an object: { … }.", nil
			f.Err = errors.New("JSON: not an object")
		default:
			f.Detail = "The member " + member + " has the wrong type."
			f.Hint = "See /openapi.json for the shape of the body."
			f.Err = fmt.Errorf("JSON: wrong type of member %s", member)
		}
	case errors.As(err, &syntactic):
		if errors.Is(err, jsontext.ErrDuplicateName) {
			member := memberName(string(syntactic.JSONPointer))
			f.Members = map[string]any{"member": member}
			f.Detail = "The body has the member " + member + " twice."
			f.Hint = "Send each member once."
			f.Err = fmt.Errorf("JSON: duplicate member %s", member)
		} else {
			f.Detail = fmt.Sprintf("The body is not valid JSON at byte %d.", syntactic.ByteOffset)
			f.Hint = "Send one JSON object in UTF-8, without text after it."
			f.Err = fmt.Errorf("JSON: syntax error at byte %d", syntactic.ByteOffset)
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

// answer writes v as JSON. No cache may store it, since most responses belong to one user (RFC 9111
// s5.2.2.5).
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

// noContent writes a response with status 204.
func noContent(w http.ResponseWriter) error {
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// hasBody reports whether a request has a body. For a chunked body it reads one
// byte and puts it back.
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

// decodeOptional is decode for an optional body. Without a body it returns the zero value.
func decodeOptional[T any](w http.ResponseWriter, r *http.Request) (v T, err error) {
	if !hasBody(r) {
		return v, nil
	}
	return decode[T](w, r)
}

type field struct{ name, value string }

// required refuses a request with a missing or empty field.
func required(fields ...field) error {
	for _, f := range fields {
		if f.value == "" {
			return invalid(f.name, "The member "+f.name+" is missing or empty.", "See /openapi.json for the shape of the body.")
		}
	}
	return nil
}

// invalid returns the refusal for a wrong member or parameter.
func invalid(name, detail, hint string) error {
	return &durward.Refusal{
		Code:    durward.InvalidRequest,
		Detail:  detail,
		Hint:    hint,
		Members: map[string]any{"member": name},
		Err:     errors.New(strings.TrimSuffix(detail, ".")),
	}
}
