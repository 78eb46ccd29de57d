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

var (
	//go:embed config.go
	source string // of the comments of Config

	//go:embed reference.md
	referenceHead string
)

// WriteReference writes the manual of all keys in Markdown: the comments of Config.
func WriteReference(w io.Writer) error {
	comments, err := comments()
	if err != nil {
		return err
	}
	fmt.Fprint(w, referenceHead)
	section := ""
	for _, s := range settingsOf(Default()) {
		if s.isTables() {
			fmt.Fprintf(w, "\n## [[%s]]\n\n%s\n\nThe file alone can have it; environment variables do not. Applied at SIGHUP.\n", s.Key, strings.TrimSpace(comments[s.Key]))
			writeTable(w, s.Key, s.value.Type().Elem(), comments)
			continue
		}
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

// writeTable writes the keys of one table of an array.
func writeTable(w io.Writer, prefix string, table reflect.Type, comments map[string]string) {
	for field := range table.Fields() {
		if !field.IsExported() {
			continue
		}
		key := prefix + "." + field.Tag.Get("toml")
		fmt.Fprintf(w, "\n### `%s`\n\n%s\n\n%s.\n", key, strings.TrimSpace(comments[key]), cmp.Or(kinds[field.Type], "Text"))
		if isTables(field.Type) {
			writeTable(w, key, field.Type.Elem(), comments)
		}
	}
}

// comments returns the doc comment of each field of Config by key.
func comments() (map[string]string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", source, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	comments := make(map[string]string)
	types := make(map[string]*ast.StructType)
	ast.Inspect(file, func(n ast.Node) bool {
		if t, ok := n.(*ast.TypeSpec); ok {
			types[t.Name.Name], _ = t.Type.(*ast.StructType)
		}
		return true
	})
	var walk func(prefix string, s *ast.StructType)
	walk = func(prefix string, s *ast.StructType) {
		for _, field := range s.Fields.List {
			if field.Tag == nil { // no key
				continue
			}
			tag, _ := strconv.Unquote(field.Tag.Value)
			key := prefix + reflect.StructTag(tag).Get("toml")
			if section, ok := field.Type.(*ast.StructType); ok {
				walk(key+".", section)
				continue
			}
			comments[key] = field.Doc.Text()
			if list, ok := field.Type.(*ast.ArrayType); ok {
				if name, ok := list.Elt.(*ast.Ident); ok && types[name.Name] != nil {
					walk(key+".", types[name.Name])
				}
			}
		}
	}
	walk("", types["Config"])
	return comments, nil
}
