package e2e

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/durward-auth/durward/internal/check"
	"github.com/durward-auth/durward/lab"
)

// TestCheckReports checks each faulty server of the lab, and compares the reports in SARIF with its schema and those
// in JUnit with the form that Jenkins and GitLab read, which has no schema of its own.
func TestCheckReports(t *testing.T) {
	t.Parallel()
	handler, err := lab.New(lab.Config{})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	schema := sarifSchema(t)
	get := func(path string) []byte {
		resp, err := http.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	var x lab.Index
	if err := json.Unmarshal(get("/lab.json"), &x); err != nil {
		t.Fatal(err)
	}
	reports, failed := 0, 0
	for _, e := range x.Endpoints {
		if !strings.HasPrefix(e.Path, "/lab/fault/") {
			continue
		}
		token := strings.TrimSpace(string(get("/lab/token?kind=good&for=" + e.Path)))
		r, err := check.Run(t.Context(), check.Config{URL: server.URL + e.Path, Good: token})
		if err != nil {
			t.Fatal(err)
		}
		reports++
		for _, artifact := range []string{"", "nginx.conf"} {
			report, err := r.SARIF(artifact)
			if err != nil {
				t.Fatal(err)
			}
			if err := matches(schema, report); err != nil {
				t.Errorf("%s, artifact %q: the report does not match the schema of SARIF: %v", e.Path, artifact, err)
			}
		}
		report, err := r.JUnit()
		if err != nil {
			t.Fatal(err)
		}
		if err := validJUnit(report); err != nil {
			t.Errorf("%s: JUnit: %v\n%s", e.Path, err, report)
		}
		if r.Score < 100 {
			failed++
		}
	}
	if reports < 20 || failed < 15 {
		t.Errorf("%d reports, %d of them with failures, want at least 20 and 15", reports, failed)
	}
}

// TestWrongReports: the comparisons of TestCheckReports find mistakes.
func TestWrongReports(t *testing.T) {
	t.Parallel()
	schema := sarifSchema(t)
	for name, report := range map[string]string{
		"no runs":           `{"version": "2.1.0"}`,
		"another version":   `{"version": "2.0.0", "runs": []}`,
		"an unknown member": `{"version": "2.1.0", "runs": [], "score": 1}`,
		"an unknown level":  `{"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "x"}}, "results": [{"message": {"text": "x"}, "level": "MUST"}]}]}`,
		"line 0": `{"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "x"}}, "results": [{"message": {"text": "x"},
			"locations": [{"physicalLocation": {"artifactLocation": {"uri": "x"}, "region": {"startLine": 0}}}]}]}]}`,
		"no URI": `{"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "x", "informationUri": "a b"}}, "results": []}]}`,
	} {
		if matches(schema, []byte(report)) == nil {
			t.Errorf("SARIF, %s: no mistake found", name)
		}
	}
	const one = `<testcase classname="a" name="b"></testcase>`
	for name, report := range map[string]string{
		"another root":       `<suite></suite>`,
		"a wrong count":      `<testsuite name="x" tests="2" failures="0" skipped="0">` + one + `</testsuite>`,
		"an unknown element": `<testsuite name="x" tests="1" failures="0" skipped="0"><testcase classname="a" name="b"><score/></testcase></testsuite>`,
		"two cases of a name": `<testsuite name="x" tests="2" failures="0" skipped="0">` +
			one + one + `</testsuite>`,
		"both outcomes": `<testsuite name="x" tests="1" failures="1" skipped="1"><testcase classname="a" name="b"><failure message="m"/><skipped message="m"/></testcase></testsuite>`,
		"no name":       `<testsuite name="x" tests="1" failures="0" skipped="0"><testcase classname="a"></testcase></testsuite>`,
	} {
		if validJUnit([]byte(report)) == nil {
			t.Errorf("JUnit, %s: no mistake found", name)
		}
	}
}

// sarifSchema returns the schema of SARIF 2.1.0.
func sarifSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := os.ReadFile("../testdata/sarif-schema-2.1.0.json")
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("sarif.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("sarif.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// matches compares JSON with a schema.
func matches(schema *jsonschema.Schema, text []byte) error {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	return schema.Validate(value)
}

// junitAttributes lists the attributes that each element of a report has, by its path. All are required.
var junitAttributes = map[string][]string{
	"/testsuite":                  {"name", "tests", "failures", "skipped"},
	"/testsuite/testcase":         {"classname", "name"},
	"/testsuite/testcase/failure": {"message"},
	"/testsuite/testcase/skipped": {"message"},
}

// validJUnit reports a mistake in a report in the form of JUnit: an unknown or incomplete element, two cases of one
// name, a case with two outcomes, or counts that do not agree with the cases.
func validJUnit(text []byte) error {
	d := xml.NewDecoder(bytes.NewReader(text))
	counts, stated, names, path := map[string]int{}, map[string]string{}, map[string]bool{}, ""
	outcomes := 0 // of the current case
	for {
		token, err := d.Token()
		if err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		switch token := token.(type) {
		case xml.StartElement:
			path += "/" + token.Name.Local
			wanted, ok := junitAttributes[path]
			if !ok || token.Name.Space != "" {
				return fmt.Errorf("element %s is unknown", path)
			}
			attributes := map[string]string{}
			for _, a := range token.Attr {
				attributes[a.Name.Local] = a.Value
			}
			for _, name := range wanted {
				if attributes[name] == "" || len(attributes) != len(wanted) || len(token.Attr) != len(wanted) {
					return fmt.Errorf("element %s has the attributes %v, want %q with values", path, attributes, wanted)
				}
			}
			counts[token.Name.Local]++
			switch token.Name.Local {
			case "testsuite":
				stated = attributes
			case "testcase":
				outcomes = 0
				if name := attributes["classname"] + "." + attributes["name"]; names[name] {
					return fmt.Errorf("two cases are named %s", name)
				} else {
					names[name] = true
				}
			default:
				if outcomes++; outcomes > 1 {
					return fmt.Errorf("a case has %d outcomes", outcomes)
				}
			}
		case xml.EndElement:
			path = path[:strings.LastIndexByte(path, '/')]
		}
	}
	for attribute, element := range map[string]string{"tests": "testcase", "failures": "failure", "skipped": "skipped"} {
		if stated[attribute] != strconv.Itoa(counts[element]) {
			return fmt.Errorf("%s is %q, and there are %d elements %s", attribute, stated[attribute], counts[element], element)
		}
	}
	return nil
}
