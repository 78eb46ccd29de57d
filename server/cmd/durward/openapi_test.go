package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/durward-auth/durward/server/internal/testkit"
)

// TestOpenAPIChecks validates the description of the API with kin-openapi. Then it compares that program with
// testkit.OpenAPI, which checks each response in the tests of httpapi, over responses that are made from the
// description, with changes.
func TestOpenAPIChecks(t *testing.T) {
	t.Parallel()
	const variants = 6 // of each described response
	text, err := os.ReadFile("../../internal/httpapi/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	ours, err := testkit.NewOpenAPI(text)
	if err != nil {
		t.Fatal(err)
	}
	document, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := document.Validate(context.Background()); err != nil {
		t.Fatal(err)
	}
	openapi3filter.RegisterBodyDecoder("text/html", openapi3filter.FileBodyDecoder)
	openapi3filter.RegisterBodyDecoder("application/jsonl", openapi3filter.FileBodyDecoder)

	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	m := &responseMaker{rand.New(rand.NewPCG(seed, 0))}
	accepted, refused := 0, 0
	for path, item := range document.Paths.Map() {
		for method, operation := range item.Operations() {
			route := &routers.Route{Spec: document, Path: path, PathItem: item, Method: method, Operation: operation}
			for code, response := range operation.Responses.Map() {
				if code == "304" {
					continue // kin-openapi does not look at its fields
				}
				for variant := range variants {
					status, err := strconv.Atoi(code)
					if err != nil {
						t.Fatal(err)
					}
					header, body := m.response(response.Value)
					if variant == 5 && m.IntN(5) == 0 {
						status = 299
					} else if variant > 0 {
						m.change(header, &body)
					}
					r, err := http.NewRequest(method, "http://127.0.0.1"+path, nil)
					if err != nil {
						t.Fatal(err)
					}
					theirs := kin(route, r, status, header, body)
					got := ours.Check(method, path, status, header, body)
					if (got == nil) != (theirs == nil) {
						t.Fatalf("%s %s %d\n%v\n%s\ngot %v\nkin-openapi %v", method, path, status, header, body, got, theirs)
					}
					if variant == 0 && got != nil {
						t.Fatalf("%s %s %d\n%v\n%s\nthe response without changes: %v", method, path, status, header, body, got)
					}
					if got == nil {
						accepted++
					} else {
						refused++
					}
				}
			}
		}
	}
	if accepted < 500 || refused < 500 {
		t.Errorf("%d accepted and %d refused responses, want 500 of each", accepted, refused)
	}
}

// kin checks a response with kin-openapi.
func kin(route *routers.Route, r *http.Request, status int, header http.Header, body []byte) error {
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, Route: route},
		Status:                 status,
		Header:                 header,
		Options:                &openapi3filter.Options{IncludeResponseStatus: true},
	}
	input.SetBodyBytes(body)
	if err := openapi3filter.ValidateResponse(context.Background(), input); err != nil {
		return err
	}
	if len(route.Operation.Responses.Status(status).Value.Content) == 0 && len(body) > 0 {
		return fmt.Errorf("a body where none is described")
	}
	return nil
}

// responseMaker makes responses at random.
type responseMaker struct{ *rand.Rand }

// response makes a response as it is described.
func (m *responseMaker) response(described *openapi3.Response) (http.Header, []byte) {
	header := make(http.Header)
	for name, h := range described.Headers {
		if h.Value.Required || m.IntN(2) == 0 {
			header.Set(name, fmt.Sprint(m.value(h.Value.Schema.Value)))
		}
	}
	for kind, media := range described.Content {
		header.Set("Content-Type", kind)
		value := m.value(media.Schema.Value)
		if s, ok := value.(string); ok && !strings.HasSuffix(kind, "json") {
			return header, []byte(s)
		}
		body, _ := json.Marshal(value)
		return header, body
	}
	return header, nil
}

// samples has a text for each pattern of the description.
var samples = []string{
	"dk_0123abcD", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "__Host-durward-device=a", "__Host-durward=a", "17",
	"dk_0123abcD_" + strings.Repeat("a", 49), "audience", "urn:durward:denial:01ARZ3NDEKTSV4RRFFQ69G5FAV",
	"ab12-ab12-ab12-ab12", strings.Repeat("A", 32), "otpauth://totp/a",
}

// value makes a value of a schema.
func (m *responseMaker) value(s *openapi3.Schema) any {
	switch {
	case s.Const != nil:
		return s.Const
	case len(s.Enum) > 0:
		return s.Enum[m.IntN(len(s.Enum))]
	case len(s.OneOf) > 0:
		return m.value(s.OneOf[m.IntN(len(s.OneOf))].Value)
	case s.Type.Is("boolean"):
		return m.IntN(2) == 0
	case s.Type.Is("integer"), s.Type.Is("number"):
		if s.Min != nil {
			return *s.Min
		}
		return m.IntN(100)
	case s.Type.Is("array"):
		items := []any{}
		for range max(int(s.MinItems), m.IntN(3)) {
			items = append(items, m.value(s.Items.Value))
		}
		return items
	case s.Type.Is("object"):
		members := make(map[string]any)
		for _, name := range s.Required {
			members[name] = "x" // unless it is a property
		}
		for name, p := range s.Properties {
			if slices.Contains(s.Required, name) || m.IntN(2) == 0 {
				members[name] = m.value(p.Value)
			}
		}
		return members
	case s.Format == "date-time":
		return "2026-01-02T03:04:05.678Z"
	case s.Pattern != "":
		for _, sample := range samples {
			if ok, _ := regexp.MatchString(s.Pattern, sample); ok {
				return sample
			}
		}
	}
	return strings.Repeat("é", max(int(s.MinLength), 3))
}

// change changes one thing of a response.
func (m *responseMaker) change(header http.Header, body *[]byte) {
	names := slices.Sorted(maps.Keys(header))
	var value any
	isJSON := json.Unmarshal(*body, &value) == nil
	switch n := m.IntN(10); {
	case n == 0 && len(names) > 0:
		header.Del(names[m.IntN(len(names))])
	case n == 1 && len(names) > 0:
		header.Set(names[m.IntN(len(names))], fmt.Sprint(m.other()))
	case n == 2:
		*body = append([]byte("x"), *body...) // kin-openapi ignores text after JSON
	case n == 3 && header.Get("Content-Type") != "":
		header.Set("Content-Type", header.Get("Content-Type")+"; charset=utf-8")
	case isJSON:
		*body, _ = json.Marshal(m.changed(value))
	}
}

// changed returns a value of JSON in which one value is another one, or one member is missing or too many.
func (m *responseMaker) changed(value any) any {
	switch value := value.(type) {
	case map[string]any:
		names := slices.Sorted(maps.Keys(value))
		switch n := m.IntN(6); {
		case n == 0:
			value["other"] = m.other()
			return value
		case len(names) == 0:
		case n == 1:
			delete(value, names[m.IntN(len(names))])
			return value
		case n > 2:
			name := names[m.IntN(len(names))]
			value[name] = m.changed(value[name])
			return value
		}
	case []any:
		if len(value) > 0 && m.IntN(4) > 0 {
			i := m.IntN(len(value))
			value[i] = m.changed(value[i])
			return value
		}
	}
	return m.other()
}

// other returns a value that most schemas refuse. It is not null, which kin-openapi refuses where no type is given;
// TestValidatorSees of httpapi has it.
func (m *responseMaker) other() any {
	others := []any{
		true, "", "a", "WHAT", "2026-01-02", strings.Repeat("é", 256), strings.Repeat("é", 1025), -1, 0, 7, 2.5, 1e6, 1e18,
		[]any{}, []any{"a", "a"}, []any{1}, map[string]any{}, map[string]any{"a": "b"}, map[string]any{"d": "x", "kty": "a"},
	}
	return others[m.IntN(len(others))]
}
