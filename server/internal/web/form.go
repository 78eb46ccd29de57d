package web

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"unicode/utf8"

	"github.com/durward-auth/durward"
)

// maxForm is the maximum size of a form, in octets.
const maxForm = 64 << 10

// form holds the fields of a submitted form, each at most once, and the mistakes that were found in them.
type form struct {
	values   url.Values
	Mistakes []mistake // in the order of the fields on the page
	Denial   string    // id of the refusal behind a mistake, for the summary
}

// mistake is a mistake in a field, for the summary at the top of the page and beside the field.
type mistake struct {
	Field string // name of the field; empty for one of the whole form
	Text  string // in the language of the page
}

// readForm reads a form with the given fields. It refuses a form with other or repeated fields, or that is
// no UTF-8, with InvalidRequest: no browser sends one. A missing field is empty.
func readForm(w http.ResponseWriter, r *http.Request, fields ...string) (*form, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, &durward.Refusal{
			Code: durward.UnsupportedMediaType,
			Hint: "Send the form as application/x-www-form-urlencoded.",
			Err:  errors.New("web: the form has another media type"),
		}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, fmt.Errorf("web: the form has more than %d octets: %w", maxForm, durward.BodyTooLarge)
	} else if err != nil {
		return nil, &durward.Refusal{Code: durward.InvalidRequest, Err: fmt.Errorf("web: cannot read the form: %w", err)}
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, &durward.Refusal{Code: durward.InvalidRequest, Err: errors.New("web: the form is not in the form of application/x-www-form-urlencoded")}
	}
	for name, sent := range values {
		switch {
		case !slices.Contains(fields, name):
			return nil, badForm("", "has a field that this page does not have")
		case len(sent) > 1:
			return nil, badForm(name, "is repeated")
		case !utf8.ValidString(sent[0]):
			return nil, badForm(name, "is not valid UTF-8")
		}
	}
	return &form{values: values}, nil
}

// readUpload reads a form with a file and other fields, as readForm does. It refuses a file over maxFile octets
// with BodyTooLarge.
func readUpload(w http.ResponseWriter, r *http.Request, file string, maxFile int64, fields ...string) (*form, []byte, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "multipart/form-data" {
		return nil, nil, &durward.Refusal{
			Code: durward.UnsupportedMediaType,
			Hint: "Send the form as multipart/form-data.",
			Err:  errors.New("web: the form has another media type"),
		}
	}
	tooLarge := fmt.Errorf("web: the file has more than %d octets: %w", maxFile, durward.BodyTooLarge)
	malformed := func(err error) error {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return tooLarge
		}
		return &durward.Refusal{Code: durward.InvalidRequest, Err: fmt.Errorf("web: cannot read the form: %w", err)}
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxFile+maxForm)
	parts, err := r.MultipartReader() // RFC 7578
	if err != nil {
		return nil, nil, malformed(err)
	}
	f := &form{values: url.Values{}}
	var content []byte
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return f, content, nil
		} else if err != nil {
			return nil, nil, malformed(err)
		}
		name := part.FormName()
		value, err := io.ReadAll(part)
		switch {
		case err != nil:
			return nil, nil, malformed(err)
		case name != file && !slices.Contains(fields, name):
			return nil, nil, badForm("", "has a field that this page does not have")
		case f.values.Has(name):
			return nil, nil, badForm(name, "is repeated")
		case name == file && int64(len(value)) > maxFile:
			return nil, nil, tooLarge
		case name == file:
			content, value = value, nil
		case !utf8.Valid(value):
			return nil, nil, badForm(name, "is not valid UTF-8")
		}
		f.values.Set(name, string(value))
	}
}

// badForm refuses a form that no page of this server sends.
func badForm(field, fault string) error {
	if field == "" {
		field = "form"
	}
	return &durward.Refusal{
		Code:   durward.InvalidRequest,
		Detail: "The form is not one of this page: " + field + " " + fault + ".",
		Hint:   "Open the page again.",
		Err:    fmt.Errorf("web: form: %s %s", field, fault),
	}
}

// Value returns a field as it was sent.
func (f *form) Value(name string) string {
	if f == nil {
		return ""
	}
	return f.values.Get(name)
}

// Has reports whether a box is checked.
func (f *form) Has(name string) bool { return f.Value(name) != "" }

// Wrong adds a mistake in a field, or of the whole form if field is empty.
func (f *form) Wrong(field, text string) { f.Mistakes = append(f.Mistakes, mistake{field, text}) }

// Mistake returns the text of the first mistake in a field, or "".
func (f *form) Mistake(field string) string {
	if f == nil {
		return ""
	}
	for _, m := range f.Mistakes {
		if m.Field == field {
			return m.Text
		}
	}
	return ""
}
