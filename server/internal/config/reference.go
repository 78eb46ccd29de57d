package config

import (
	"cmp"
	_ "embed"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"reflect"
	"strconv"
	"strings"
)

//go:embed config.go
var source string // of the comments of Config

// WriteReference writes the manual of all keys in Markdown: the comments of Config.
func WriteReference(w io.Writer) error {
	comments, err := comments()
	if err != nil {
		return err
	}
	fmt.Fprint(w, referenceHead)
	section := ""
	for _, s := range settingsOf(Default()) {
		if table, _, ok := strings.Cut(s.Key, "."); ok && table != section {
			section = table
			fmt.Fprintf(w, "\n## [%s]\n", section)
		}
		fmt.Fprintf(w, "\n### `%s`\n\n%s\n", s.Key, strings.TrimSpace(comments[s.Key]))
		fmt.Fprintf(w, "\n%s", cmp.Or(kinds[s.value.Type()], "Text"))
		if value := s.String(); !s.value.IsZero() {
			fmt.Fprintf(w, ", default `%s`", value)
		}
		fmt.Fprintf(w, ". Environment: `%s`", s.variable())
		if s.mayBeSecret() {
			fmt.Fprintf(w, ", or preferably `%s_FILE` with the path of a file", s.variable())
		}
		fmt.Fprint(w, ".")
		if s.Reloadable() {
			fmt.Fprint(w, " Applied at SIGHUP.")
		}
		fmt.Fprintln(w)
	}
	return nil
}

// comments returns the doc comment of each field of Config by key.
func comments() (map[string]string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", source, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	comments := make(map[string]string)
	var walk func(prefix string, s *ast.StructType)
	walk = func(prefix string, s *ast.StructType) {
		for _, field := range s.Fields.List {
			tag, _ := strconv.Unquote(field.Tag.Value)
			key := prefix + reflect.StructTag(tag).Get("toml")
			if section, ok := field.Type.(*ast.StructType); ok {
				walk(key+".", section)
				continue
			}
			comments[key] = field.Doc.Text()
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if t, ok := n.(*ast.TypeSpec); ok && t.Name.Name == "Config" {
			walk("", t.Type.(*ast.StructType))
		}
		return true
	})
	return comments, nil
}

const referenceHead = `# Configuration

This page is for operators. It describes every key of the server's configuration.
` + "`durward config docs`" + ` generates it from the comments in ` + "`server/internal/config/config.go`" + `.

Durward starts without any configuration. It reads settings from four places. Each one
overrides those before it:

1. the defaults,
2. one TOML file, named by ` + "`--config`" + ` or ` + "`DURWARD_CONFIG`" + ` (without either, no file is read),
3. environment variables,
4. flags.

An unknown key is an error, in the file and in the environment. All errors are reported
together, each with its file and line or its variable. ` + "`durward config check`" + ` reports them
without starting the server. ` + "`durward config show`" + ` prints the effective values and their
sources.

Write a duration with its unit: ` + "`30s`, `15m`, `168h`" + `. Separate the items of a list in an
environment variable by commas.

## Top level
`
