package doctor

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestProductCodes shows each code of products/ to its product and expects its cause.
func TestProductCodes(t *testing.T) {
	t.Parallel()
	codes := 0
	empty := gather(&Case{Exchanges: []Exchange{{Request: &Request{}, Response: &Response{Status: 401}}}}, testTime)
	for _, p := range known().products {
		for _, table := range []struct {
			fact  string
			codes map[string][]string
		}{{"code:", p.Decides}, {"usual:", p.Suggests}, {"may:", p.Hints}} {
			for cause, list := range table.codes {
				for _, code := range list {
					codes++
					name, value, ok := strings.Cut(code, "=")
					if text, closed := strings.CutPrefix(code, "~"); closed || !ok {
						name, value = "message", text
					} else if value == "*" {
						value = "1"
					}
					body, err := json.Marshal(map[string]string{name: value})
					if err != nil {
						t.Fatal(err)
					}
					e := *empty
					e.products, e.words, e.codes, e.list, e.seen = []*product{p}, nil, nil, nil, map[string]bool{}
					e.readBody(body, "body", byServer)
					e.codeFacts()
					if !e.seen[table.fact+cause] {
						t.Errorf("%s: %q does not add the fact %s%s", p.Name, code, table.fact, cause)
					}
				}
			}
		}
	}
	t.Logf("%d products, %d codes", len(known().products), codes)
	page, err := os.ReadFile("../../../docs/doctor.md")
	if err != nil {
		t.Fatal(err)
	}
	told := regexp.MustCompile(`more than (\d+) products and ([\d,]+) codes`).FindStringSubmatch(string(page))
	if told == nil {
		t.Fatal("docs/doctor.md does not say how many products and codes are known")
	}
	for i, have := range []int{len(known().products), codes} {
		if n, _ := strconv.Atoi(strings.ReplaceAll(told[i+1], ",", "")); n == 0 || n >= have {
			t.Errorf("docs/doctor.md says %q; products/ has %d products and %d codes", told[0], len(known().products), codes)
		}
	}
}

// TestProductSamples diagnoses refusals of products. A line of testdata/products/*.txt has
// product|cause|request line|fields|status|fields of the response|body and log. The product is
// recognised and the cause is named first. A cause behind ? is one that the input does not show: it
// is within the first three and not certain. The sign ⏎ ends a line of the body; without a status
// there is a log alone.
func TestProductSamples(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/products/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("testdata/products: %d files, %v", len(paths), err)
	}
	sampled := map[string]bool{}
	for _, path := range paths {
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(file)) {
			line = strings.TrimSpace(line)
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			name, line, _ := strings.Cut(line, "|")
			sampled[name] = true
			hidden := strings.HasPrefix(line, "?")
			c, causes := generalCase(t, strings.TrimPrefix(line, "?"))
			named := func(p *product) bool { return p.Name == name }
			told := func(f Fact) bool { return strings.HasSuffix(f.Text, " of "+name) }
			if e := gather(c, testTime); !slices.ContainsFunc(e.products, named) && !slices.ContainsFunc(e.list, told) {
				t.Errorf("%s: %s is not recognised: %s", path, name, line)
			}
			r := Diagnose(c, At(testTime))
			rank := slices.IndexFunc(r.Causes, func(f Finding) bool { return slices.Contains(causes, f.ID) })
			if rank < 0 || rank > 2 || rank > 0 && !hidden || hidden && r.Verdict == Certain {
				t.Errorf("%s: %s: %s\n%s %s", path, name, line, r.Verdict, causesOf(r))
			}
		}
	}
	for _, p := range known().products {
		if len(p.Source) > 0 && !sampled[p.Name] {
			t.Errorf("%s has no refusal in testdata/products/", p.Name)
		}
		delete(sampled, p.Name)
	}
	for name := range sampled {
		t.Errorf("products/ has no product %q of testdata/products/", name)
	}
}
