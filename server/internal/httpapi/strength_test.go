package httpapi

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// How strongly a user authenticated is recorded in account.Proof. No handler names an
// authentication method or an authentication context class of its own.
func TestNoHandlerNamesStrength(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	fields := []string{"ACR", "AMR", "ACRValues", "Methods"}
	methods := []string{"pwd", "otp", "mfa", "hwk", "swk", "pop", "user"} // RFC 8176 s2, those that this server may use
	set := token.NewFileSet()
	read := 0
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(set, e.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		read++
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				if slices.Contains(fields, n.Sel.Name) {
					t.Errorf("%s: uses field %s", set.Position(n.Pos()), n.Sel.Name)
				}
			case *ast.KeyValueExpr:
				if key, ok := n.Key.(*ast.Ident); ok && slices.Contains(fields, key.Name) {
					t.Errorf("%s: sets field %s", set.Position(n.Pos()), key.Name)
				}
			case *ast.BasicLit:
				text, err := strconv.Unquote(n.Value)
				if n.Kind == token.STRING && err == nil && (slices.Contains(methods, text) || strings.HasPrefix(text, "urn:durward:acr:")) {
					t.Errorf("%s: names %q", set.Position(n.Pos()), text)
				}
			}
			return true
		})
	}
	if read < 5 {
		t.Errorf("read %d files, want all of this package", read)
	}
}
