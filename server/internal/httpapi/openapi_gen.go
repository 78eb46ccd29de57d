//go:build ignore

// Program openapi_gen converts openapi.yaml to openapi.json.
package main

import (
	"log"
	"os"

	"github.com/oasdiff/yaml"
)

func main() {
	source, err := os.ReadFile("openapi.yaml")
	if err != nil {
		log.Fatal(err)
	}
	document, err := yaml.YAMLToJSON(source)
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile("openapi.json", append(document, '\n'), 0o644); err != nil {
		log.Fatal(err)
	}
}
