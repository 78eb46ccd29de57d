package testkit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// OpenAPI checks responses against a description in JSON (OpenAPI 3.1). It knows the keywords of JSON Schema that
// the server's description uses, and refuses a description with another one.
type OpenAPI struct {
	root     map[string]any
	patterns map[string]*regexp.Regexp
	paths    []describedPath
}

type describedPath struct {
	template   string
	pattern    *regexp.Regexp
	operations map[string]any // by method in lower case
}

// NewOpenAPI reads a description. Each of its references and patterns must be valid.
func NewOpenAPI(document []byte) (*OpenAPI, error) {
	root, err := decodeJSON(document)
	if err != nil {
		return nil, err
	}
	o := &OpenAPI{root: object(root), patterns: make(map[string]*regexp.Regexp)}
	if err := o.read(o.root, ""); err != nil {
		return nil, err
	}
	for template, operations := range object(o.root["paths"]) {
		pattern := "^" + parameter.ReplaceAllString(regexp.QuoteMeta(template), "[^/]+") + "$"
		o.paths = append(o.paths, describedPath{template, regexp.MustCompile(pattern), object(operations)})
	}
	if len(o.paths) == 0 {
		return nil, errors.New("the description has no paths")
	}
	slices.SortFunc(o.paths, func(a, b describedPath) int { // fixed segments win over parameters
		return strings.Compare(strings.ReplaceAll(a.template, "{", "\x7f"), strings.ReplaceAll(b.template, "{", "\x7f"))
	})
	return o, nil
}

var parameter = regexp.MustCompile(`\\\{[^/}]*\\\}`)

// keywords are the keywords of JSON Schema that check knows. Those with false say nothing about a value.
var keywords = map[string]bool{
	"$ref": true, "additionalProperties": true, "anyOf": true, "const": true, "enum": true, "format": true, "items": true,
	"maxItems": true, "maxLength": true, "maxProperties": true, "maximum": true, "minItems": true, "minLength": true,
	"minProperties": true, "minimum": true, "not": true, "oneOf": true, "pattern": true, "properties": true,
	"required": true, "type": true,
	"contentEncoding": false, "contentMediaType": false, "default": false, "description": false,
}

// read checks the references and schemas below x.
func (o *OpenAPI) read(x any, at string) error {
	switch x := x.(type) {
	case []any:
		for i, item := range x {
			if err := o.read(item, fmt.Sprintf("%s/%d", at, i)); err != nil {
				return err
			}
		}
	case map[string]any:
		if _, err := o.resolve(x); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
		for name, value := range x {
			var err error
			switch {
			case name == "schema":
				err = o.readSchema(value, at+"/"+name)
			case at == "/components" && name == "schemas":
				for name, schema := range object(value) {
					err = errors.Join(err, o.readSchema(schema, at+"/schemas/"+name))
				}
			default:
				err = o.read(value, at+"/"+name)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (o *OpenAPI) readSchema(x any, at string) error {
	schema, ok := x.(map[string]any)
	if !ok {
		return fmt.Errorf("%s is no schema", at)
	}
	if _, err := o.resolve(schema); err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	for name, value := range schema {
		if _, known := keywords[name]; !known {
			return fmt.Errorf("%s has the keyword %s, which this check does not know; teach it to check", at, name)
		}
		var err error
		switch name {
		case "pattern":
			text, _ := value.(string)
			o.patterns[text], err = regexp.Compile(text)
		case "format":
			if !slices.Contains([]any{"date-time", "int64", "uri-reference"}, value) {
				err = fmt.Errorf("unknown format %v", value)
			}
		case "type":
			if !slices.Contains([]any{"array", "boolean", "integer", "null", "number", "object", "string"}, value) {
				err = fmt.Errorf("unknown type %v", value)
			}
		case "items", "not":
			err = o.readSchema(value, at+"/"+name)
		case "additionalProperties":
			if _, isBool := value.(bool); !isBool {
				err = o.readSchema(value, at+"/"+name)
			}
		case "properties":
			for property, schema := range object(value) {
				err = errors.Join(err, o.readSchema(schema, at+"/properties/"+property))
			}
		case "anyOf", "oneOf":
			for i, schema := range array(value) {
				err = errors.Join(err, o.readSchema(schema, fmt.Sprintf("%s/%s/%d", at, name, i)))
			}
		}
		if err != nil {
			return fmt.Errorf("%s/%s: %w", at, name, err)
		}
	}
	return nil
}

// resolve follows the references of an object of the description.
func (o *OpenAPI) resolve(x map[string]any) (map[string]any, error) {
	for range 10 {
		reference, ok := x["$ref"].(string)
		if !ok {
			return x, nil
		}
		if len(x) > 1 {
			return nil, fmt.Errorf("other members beside the reference %s", reference)
		}
		var to any = o.root
		for name := range strings.SplitSeq(strings.TrimPrefix(reference, "#/"), "/") {
			to = object(to)[name]
		}
		if x, ok = to.(map[string]any); !ok {
			return nil, fmt.Errorf("the reference %s leads nowhere", reference)
		}
	}
	return nil, errors.New("a circle of references")
}

// resolved is resolve for objects that NewOpenAPI read.
func (o *OpenAPI) resolved(x any) map[string]any {
	to, _ := o.resolve(object(x))
	return to
}

// Check checks a response to a request with a path that begins at the server's URL. A request for a path or with a
// method that the description does not have is no operation: its response is not checked.
func (o *OpenAPI) Check(method, path string, status int, header http.Header, body []byte) error {
	i := slices.IndexFunc(o.paths, func(p describedPath) bool { return p.pattern.MatchString(path) })
	if i < 0 {
		return nil
	}
	operation, ok := o.paths[i].operations[strings.ToLower(method)]
	if !ok {
		return nil
	}
	described, ok := object(object(operation)["responses"])[fmt.Sprint(status)]
	if !ok {
		return fmt.Errorf("the status %d is not described", status)
	}
	response := o.resolved(described)
	var all []error
	for name, h := range object(response["headers"]) {
		field := o.resolved(h)
		switch values := header.Values(name); {
		case len(values) > 0:
			if err := o.check(field["schema"], strings.Join(values, ", "), "the field "+name); err != nil {
				all = append(all, err)
			}
		case field["required"] == true:
			all = append(all, fmt.Errorf("the field %s is missing", name))
		}
	}
	return errors.Join(append(all, o.checkBody(object(response["content"]), header.Get("Content-Type"), body))...)
}

func (o *OpenAPI) checkBody(content map[string]any, contentType string, body []byte) error {
	if len(content) == 0 {
		if len(body) > 0 {
			return errors.New("a body where none is described")
		}
		return nil
	}
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return fmt.Errorf("the content type %q: %w", contentType, err)
	}
	media, ok := content[kind]
	if !ok {
		return fmt.Errorf("the content type %s is not described; described are %q", kind, slices.Sorted(maps.Keys(content)))
	}
	schema, ok := object(media)["schema"]
	if !ok {
		return nil
	}
	var value any = string(body)
	if kind == "application/json" || strings.HasSuffix(kind, "+json") {
		if value, err = decodeJSON(body); err != nil {
			return fmt.Errorf("the body is no JSON: %w", err)
		}
	}
	return o.check(schema, value, "the body")
}

// check checks a value against a schema. The name at stands in the errors.
func (o *OpenAPI) check(schema, value any, at string) error {
	s := o.resolved(schema)
	if err := checkType(s["type"], value, at); err != nil {
		return err
	}
	var all []error
	fail := func(format string, args ...any) {
		all = append(all, fmt.Errorf("%s "+format, append([]any{at}, args...)...))
	}
	if c, ok := s["const"]; ok && !reflect.DeepEqual(c, value) {
		fail("is not %v", c)
	}
	if e, ok := s["enum"]; ok && !slices.ContainsFunc(array(e), func(c any) bool { return reflect.DeepEqual(c, value) }) {
		fail("is none of %v", e)
	}
	switch value := value.(type) {
	case string:
		outside(s, "minLength", "maxLength", float64(utf8.RuneCountInString(value)), fail)
		if p, ok := s["pattern"].(string); ok && !o.patterns[p].MatchString(value) {
			fail("does not match %s", p)
		}
		switch s["format"] {
		case "date-time":
			if _, err := time.Parse(time.RFC3339, value); err != nil {
				fail("is no time of RFC 3339")
			}
		case "uri-reference":
			if _, err := url.Parse(value); err != nil {
				fail("is no reference")
			}
		}
	case json.Number:
		n, _ := value.Float64()
		outside(s, "minimum", "maximum", n, fail)
		if _, err := value.Int64(); err != nil && s["format"] == "int64" {
			fail("is no number of 64 bits")
		}
	case []any:
		outside(s, "minItems", "maxItems", float64(len(value)), fail)
		if items, ok := s["items"]; ok {
			for i, item := range value {
				all = append(all, o.check(items, item, fmt.Sprintf("%s/%d", at, i)))
			}
		}
	case map[string]any:
		all = append(all, o.checkMembers(s, value, at))
	}
	if not, ok := s["not"]; ok && o.check(not, value, at) == nil {
		fail("is as the schema does not allow it")
	}
	for name, most := range map[string]int{"anyOf": math.MaxInt, "oneOf": 1} {
		if of, ok := s[name]; ok {
			var no []error
			fits := 0
			for _, schema := range array(of) {
				if err := o.check(schema, value, at); err != nil {
					no = append(no, err)
				} else {
					fits++
				}
			}
			if fits == 0 || fits > most {
				fail("fits %d of the schemas of %s: %w", fits, name, errors.Join(no...))
			}
		}
	}
	return errors.Join(all...)
}

func (o *OpenAPI) checkMembers(s, value map[string]any, at string) error {
	var all []error
	outside(s, "minProperties", "maxProperties", float64(len(value)), func(format string, args ...any) {
		all = append(all, fmt.Errorf("%s "+format, append([]any{at}, args...)...))
	})
	for _, name := range array(s["required"]) {
		if _, ok := value[name.(string)]; !ok {
			all = append(all, fmt.Errorf("%s has no member %s", at, name))
		}
	}
	properties := object(s["properties"])
	for name, member := range value {
		schema, ok := properties[name]
		if !ok {
			if schema = s["additionalProperties"]; schema == false {
				all = append(all, fmt.Errorf("%s has the member %s, which is not described", at, name))
				continue
			} else if schema == nil || schema == true {
				continue
			}
		}
		all = append(all, o.check(schema, member, at+"/"+name))
	}
	return errors.Join(all...)
}

// outside calls fail if n is not between two limits of a schema.
func outside(s map[string]any, least, most string, n float64, fail func(string, ...any)) {
	if limit, ok := s[least].(json.Number); ok {
		if l, _ := limit.Float64(); n < l {
			fail("is under the %s %s", least, limit)
		}
	}
	if limit, ok := s[most].(json.Number); ok {
		if l, _ := limit.Float64(); n > l {
			fail("is over the %s %s", most, limit)
		}
	}
}

func checkType(want, value any, at string) error {
	got := "null"
	switch value := value.(type) {
	case bool:
		got = "boolean"
	case string:
		got = "string"
	case []any:
		got = "array"
	case map[string]any:
		got = "object"
	case json.Number:
		got = "number"
		if n, err := value.Float64(); err == nil && n == math.Trunc(n) && want == "integer" {
			got = "integer"
		}
	}
	if want != nil && got != want {
		return fmt.Errorf("%s has the type %s, want %s", at, got, want)
	}
	return nil
}

// decodeJSON decodes one value; numbers become a json.Number.
func decodeJSON(text []byte) (value any, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&value); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("text after the value")
	}
	return value, nil
}

func object(x any) map[string]any { o, _ := x.(map[string]any); return o }

func array(x any) []any { a, _ := x.([]any); return a }
