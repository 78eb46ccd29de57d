package httpapi

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/printable"
)

// maxBody is the maximum size of a request body in bytes.
const maxBody = 64 << 10

// decode reads the JSON object in the body of a request. It refuses another media type, a body
// over maxBody, unknown and duplicate members, and an empty member without the option omitzero.
func decode[T any](w http.ResponseWriter, r *http.Request) (T, error) {
	var v T
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" || !strings.EqualFold(cmp.Or(params["charset"], "utf-8"), "utf-8") || len(r.Header["Content-Type"]) > 1 {
		cause := errors.New("Content-Type is not application/json")
		if n := len(r.Header["Content-Type"]); n != 1 {
			cause = fmt.Errorf("%d Content-Type fields", n)
		}
		return v, &durward.Refusal{Code: durward.UnsupportedMediaType, Err: cause}
	}
	if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return v, refusal(durward.UnsupportedMediaType, "The body of the request has a content coding.",
			"Send it without Content-Encoding.", "Content-Encoding set")
	}
	if r.ContentLength > maxBody { // refused before a client with Expect: 100-continue sends it
		w.Header().Set("Connection", "close")
		return v, &durward.Refusal{Code: durward.BodyTooLarge, Err: fmt.Errorf("body of %d bytes, limit is %d", r.ContentLength, maxBody)}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
			return v, &durward.Refusal{Code: durward.BodyTooLarge, Err: fmt.Errorf("body over %d bytes", maxBody)}
		}
		return v, invalidBody("The body of the request is incomplete.", "")
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return v, invalidBody("The request has no body.", "Send a JSON object.")
	}
	if err := json.Unmarshal(body, &v, json.RejectUnknownMembers(true)); err != nil {
		return v, invalidJSON(err)
	}
	fields := reflect.ValueOf(v)
	for i := range fields.NumField() {
		if name, options, _ := strings.Cut(fields.Type().Field(i).Tag.Get("json"), ","); options != "omitzero" && fields.Field(i).IsZero() {
			return v, invalid(name, "The member "+name+" is missing or empty.", "See /openapi.json for the shape of the body.")
		}
	}
	return v, nil
}

// decodeOptional is decode for an optional body. Without a body it returns the zero value.
func decodeOptional[T any](w http.ResponseWriter, r *http.Request) (v T, err error) {
	if r.ContentLength < 0 { // chunked
		body := bufio.NewReader(r.Body)
		if _, err := body.Peek(1); errors.Is(err, io.EOF) {
			return v, nil
		}
		r.Body = struct {
			io.Reader
			io.Closer
		}{body, r.Body}
	} else if r.ContentLength == 0 {
		return v, nil
	}
	return decode[T](w, r)
}

// invalidJSON returns the refusal for an error of the JSON decoder. It names the member, never its
// value.
func invalidJSON(err error) error {
	semantic, ofType := errors.AsType[*json.SemanticError](err)
	syntactic, ofSyntax := errors.AsType[*jsontext.SyntacticError](err)
	switch {
	case ofType:
		member := memberName(semantic.JSONPointer)
		switch {
		case errors.Is(err, json.ErrUnknownName):
			return invalid(member, "The body has an unknown member: "+member+".", "Check its spelling, or leave it out. Names are case-sensitive.")
		case member == "":
			return invalidBody("The body is not a JSON object.", "Send an object: { … }.")
		}
		return invalid(member, "The member "+member+" has the wrong type.", "See /openapi.json for the shape of the body.")
	case errors.Is(err, jsontext.ErrDuplicateName) && ofSyntax:
		member := memberName(syntactic.JSONPointer)
		return invalid(member, "The body has the member "+member+" twice.", "Send each member once.")
	case ofSyntax:
		return invalidBody(fmt.Sprintf("The body is not valid JSON at byte %d.", syntactic.ByteOffset), "Send one JSON object in UTF-8, without text after it.")
	}
	return invalidBody("The body is not valid JSON.", "")
}

// memberName returns the last name of a JSON pointer, safe to show in a refusal and on a page.
func memberName(pointer jsontext.Pointer) string {
	name := printable.Line(pointer.LastToken(), 40)
	return strings.NewReplacer("<", "?", ">", "?").Replace(name)
}

// answer writes v as JSON, or returns err. No cache may store it, since most responses belong to one
// user (RFC 9111 s5.2.2.5).
func answer(w http.ResponseWriter, status int, v any, err error) error {
	if err != nil {
		return err
	}
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

// noContent writes a response with status 204, or returns err.
func noContent(w http.ResponseWriter, err error) error {
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// invalid returns the refusal for a wrong member or parameter.
func invalid(name, detail, hint string) error {
	f := invalidBody(detail, hint)
	f.Members = map[string]any{"member": name}
	return f
}

// invalidBody returns the refusal for a wrong body.
func invalidBody(detail, hint string) *durward.Refusal {
	return refusal(durward.InvalidRequest, detail, hint, strings.TrimSuffix(detail, "."))
}

// refusal returns a refusal. The client receives detail and hint, the operator sees cause.
func refusal(code durward.Code, detail, hint, cause string) *durward.Refusal {
	return &durward.Refusal{Code: code, Detail: detail, Hint: hint, Err: errors.New(cause)}
}
