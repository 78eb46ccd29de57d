package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/durward-auth/durward/server/internal/testkit"
)

var update = flag.Bool("update", false, "make openapi.json from openapi.yaml")

var openAPI = sync.OnceValues(func() (*testkit.OpenAPI, error) { return testkit.NewOpenAPI(openAPIDocument) })

// A test of server/cmd/durward validates the document with another program.
func TestOpenAPIDocument(t *testing.T) {
	t.Parallel()
	if _, err := openAPI(); err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var document any
	if err := yaml.Unmarshal(source, &document); err != nil {
		t.Fatal(err)
	}
	made, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	made = append(made, '\n')
	if *update {
		if err := os.WriteFile("openapi.json", made, 0o644); err != nil {
			t.Fatal(err)
		}
	} else if !bytes.Equal(made, openAPIDocument) {
		t.Error("openapi.json is not made from openapi.yaml: run go generate ./server/internal/httpapi")
	}
}

// validated checks each response against the document: status, fields and body.
func validated(t testing.TB, base http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		res, err := base.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			return nil, errors.Join(err, res.Body.Close())
		}
		if err := res.Body.Close(); err != nil {
			return nil, err
		}
		res.Body = io.NopCloser(bytes.NewReader(body))
		if err := asDescribed(r, res, body); err != nil {
			t.Errorf("%s %s: the response differs from openapi.yaml: %v\n%s", r.Method, r.URL.Path, err, body)
		}
		return res, nil
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func asDescribed(r *http.Request, res *http.Response, body []byte) error {
	description, err := openAPI()
	if err != nil {
		return err
	}
	return description.Check(r.Method, strings.TrimPrefix(r.URL.Path, testPrefix), res.StatusCode, res.Header, body)
}

// The check itself finds mistakes.
func TestValidatorSees(t *testing.T) {
	t.Parallel()
	const good = `{"id":"a","email":"b","name":"c","created_at":"2026-01-02T03:04:05Z","scopes":[]}`
	for name, c := range map[string]struct {
		status           int
		kind, body, want string
	}{
		"good":            {200, "application/json", good, ""},
		"member too many": {200, "application/json", strings.Replace(good, `{`, `{"password":"x",`, 1), "password"},
		"member missing":  {200, "application/json", strings.Replace(good, `"email":"b",`, ``, 1), "email"},
		"type":            {200, "application/json", strings.Replace(good, `[]`, `"x"`, 1), "scopes"},
		"null":            {200, "application/json", strings.Replace(good, `"b"`, `null`, 1), "email"},
		"text after it":   {200, "application/json", good + "x", "JSON"},
		"content type":    {200, "text/plain", good, "content"},
		"status":          {299, "application/json", good, "status"},
		"no challenge":    {401, "application/problem+json", `{"type":"a","title":"b","status":401,"code":"INVALID_TOKEN","detail":"c","instance":"urn:durward:denial:01ARZ3NDEKTSV4RRFFQ69G5FAV"}`, "Www-Authenticate"},
		"code not listed": {500, "application/problem+json", `{"type":"a","title":"b","status":500,"code":"WHAT","detail":"c","instance":"urn:durward:denial:01ARZ3NDEKTSV4RRFFQ69G5FAV"}`, "code"},
		"no retry after":  {503, "application/problem+json", `{"type":"a","title":"b","status":503,"code":"INTERNAL","detail":"c","instance":"urn:durward:denial:01ARZ3NDEKTSV4RRFFQ69G5FAV"}`, "Retry-After"},
	} {
		r, _ := http.NewRequest("GET", "http://127.0.0.1/api/profile", nil)
		res := &http.Response{StatusCode: c.status, Header: http.Header{"Content-Type": {c.kind}, "Cache-Control": {"no-store"}, "Durward-Denial": {"01ARZ3NDEKTSV4RRFFQ69G5FAV"}}}
		err := asDescribed(r, res, []byte(c.body))
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(c.want)) {
			t.Errorf("%s: %v; want an error about %q", name, err, c.want)
		}
	}
}
