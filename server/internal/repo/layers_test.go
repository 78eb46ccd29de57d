package repo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/durward-auth/durward"

// serverLayers lists the packages of the server module, top layer first. A package imports packages
// of lower layers, packages of the library and adapters, and the packages that sameLayer names.
var serverLayers = [][]string{
	{"server", "server/cmd/durward", "server/internal/config", "server/internal/node"},
	{"server/internal/doctor", "server/internal/httpapi", "server/internal/web"},
	{"server/internal/account", "server/internal/issuer", "server/internal/oauth", "server/internal/session"},
	{
		"server/internal/limits", "server/internal/mail", "server/internal/metrics", "server/internal/outbound", "server/internal/request",
		"server/internal/revocation", "server/internal/securitylog",
		"server/internal/store", "server/internal/store/backup",
	},
	{"server/internal/explain", "server/internal/otp", "server/internal/passkey", "server/internal/seal", "server/internal/userfile"},
}

// sameLayer lists the imports allowed between server packages of one layer. docs/adr/0028 gives the
// reasons.
var sameLayer = map[string][]string{
	"server/cmd/durward":           {"server", "server/internal/config", "server/internal/node"},
	"server":                       {"server/internal/config", "server/internal/node"},
	"server/internal/node":         {"server/internal/config"},
	"server/internal/web":          {"server/internal/doctor", "server/internal/httpapi"},
	"server/internal/oauth":        {"server/internal/account", "server/internal/issuer", "server/internal/session"},
	"server/internal/session":      {"server/internal/account", "server/internal/issuer"},
	"server/internal/mail":         {"server/internal/request", "server/internal/store"},
	"server/internal/request":      {"server/internal/store"},
	"server/internal/revocation":   {"server/internal/store"},
	"server/internal/metrics":      {"server/internal/store"},
	"server/internal/securitylog":  {"server/internal/metrics", "server/internal/store"},
	"server/internal/store/backup": {"server/internal/store"},
}

// libraryImports lists every package of the library and of the adapter modules with the packages of
// this repository that it may import.
var libraryImports = map[string][]string{
	"js":                 {},
	"internal/apikey":    {},
	"internal/digest":    {},
	"internal/durable":   {},
	"internal/loopback":  {},
	"internal/origin":    {},
	"internal/printable": {},
	"internal/retry":     {},
	"internal/dpop":      {"durward", "internal/retry"},
	"durward":            {"internal/apikey", "internal/digest", "internal/loopback", "internal/origin", "internal/printable"},
	"client": {
		"durward", "internal/digest", "internal/dpop", "internal/durable", "internal/loopback", "internal/printable",
		"internal/retry",
	},
	"jwt":              {"durward", "internal/loopback", "internal/origin", "internal/printable"},
	"internal/check":   {"durward", "internal/loopback", "internal/origin", "internal/printable"},
	"internal/clock":   {},
	"internal/revoked": {"durward", "internal/clock"},
	"lab":              {"durward", "jwt", "internal/loopback", "internal/origin"},
	"api":              {"durward", "client", "jwt", "internal/dpop", "internal/loopback", "internal/revoked"},

	"internal/pwhash":  {},
	"internal/valkey":  {},
	"htpasswd":         {"durward", "internal/digest", "internal/pwhash"},
	"oauth2source":     {"durward", "client"},
	"tokenstore/redis": {"durward", "client", "internal/valkey"},
}

// testOnly lists packages for tests. They may import any package, and no other package imports
// them.
var testOnly = []string{
	"durwardtest", "internal/faults", "internal/goroutines", "internal/services", "internal/txtar",
	"server/internal/repo", "server/internal/testkit", "server/servertest",
}

// allPackages matches the packages of the library, the adapters and the server.
var allPackages = []string{
	"./...", "./htpasswd/...", "./oauth2source/...", "./tokenstore/redis/...",
	"./internal/pwhash/...", "./internal/valkey/...", "./server/...", "./server/cmd/durward",
}

// TestLayers checks the imports of every package, tests apart, against the tables above.
func TestLayers(t *testing.T) {
	t.Parallel()
	missing := slices.Concat(append(serverLayers, testOnly, slices.Collect(maps.Keys(libraryImports)))...)
	for _, p := range list(t, allPackages...) {
		from, _ := shortPath(p.ImportPath)
		missing = slices.DeleteFunc(missing, func(name string) bool { return name == from })
		if slices.Contains(testOnly, from) {
			continue
		}
		if serverLayer(from) < 0 && libraryImports[from] == nil {
			t.Errorf("%s is in no layer: add it to serverLayers or libraryImports", from)
			continue
		}
		for _, path := range p.Imports {
			if to, ours := shortPath(path); ours && !mayImport(from, to) {
				t.Errorf("%s imports %s, which is not below it", from, to)
			}
		}
	}
	if len(missing) > 0 {
		t.Errorf("the tables name packages that do not exist: %q", missing)
	}
}

// mayImport reports whether the tables let package from import package to.
func mayImport(from, to string) bool {
	layer := serverLayer(from)
	if layer < 0 { // a package of the library or of an adapter
		return slices.Contains(libraryImports[from], to)
	}
	below := serverLayer(to)
	if below < 0 {
		return libraryImports[to] != nil
	}
	return below > layer || slices.Contains(sameLayer[from], to)
}

// serverLayer returns the index in serverLayers of a package, or -1.
func serverLayer(name string) int {
	return slices.IndexFunc(serverLayers, func(layer []string) bool { return slices.Contains(layer, name) })
}

// shortPath returns an import path without the module's prefix, "durward" for the root package. It
// reports whether the package belongs to this repository.
func shortPath(path string) (short string, ours bool) {
	if path == module {
		return "durward", true
	}
	return strings.CutPrefix(path, module+"/")
}

// TestWhoMayImport checks that the root package depends on the standard library alone, and that
// only the packages named here import a database, HTTP or a package with traps.
func TestWhoMayImport(t *testing.T) {
	t.Parallel()
	standard := make(map[string]bool)
	for _, p := range list(t, "std") {
		standard[p.ImportPath] = true
	}
	for _, p := range list(t, ".") {
		for _, dep := range p.Deps {
			if _, ours := shortPath(dep); !standard[dep] && !ours {
				t.Errorf("package durward depends on %s", dep)
			}
		}
	}
	databases := []string{"server/internal/store", "server/internal/store/backup"}
	rules := []struct {
		path      string
		importers []string
	}{
		{"database/sql", databases},
		{"modernc.org/sqlite", databases},
		{"net/http", []string{
			"durward", "client", "internal/check", "internal/dpop", "internal/retry", "jwt", "api", "lab", "oauth2source",
			"server/internal/doctor", "server/internal/httpapi", "server/internal/outbound", "server/internal/web", "server",
			"server/cmd/durward",
		}},
		{"math/rand", nil},
		{"math/rand/v2", nil},
		{"unsafe", nil},
		{"encoding/gob", nil},
		{"net/http/pprof", nil}, // registers handlers on http.DefaultServeMux
		{"expvar", nil},         // registers handlers on http.DefaultServeMux
	}
	for _, p := range list(t, allPackages...) {
		from, _ := shortPath(p.ImportPath)
		if slices.Contains(testOnly, from) {
			continue
		}
		for _, rule := range rules {
			if slices.Contains(p.Imports, rule.path) && !slices.Contains(rule.importers, from) {
				t.Errorf("%s imports %s, which only %q may import", from, rule.path, rule.importers)
			}
		}
	}
}

// TestModulesOfAProgram counts the modules in the graph of a program that uses the library.
func TestModulesOfAProgram(t *testing.T) {
	t.Parallel()
	const most = 7 // without the program itself
	modules := modulesOfProgram(t, module, module+"/client", module+"/jwt")
	if len(modules) > most {
		t.Errorf("a program that imports durward, client and jwt has %d modules, want at most %d:\n%s",
			len(modules), most, strings.Join(modules, "\n"))
	}
}

// TestModulesOfAnEmbeddingProgram counts the modules that package server adds to the graph of a program with both
// database drivers.
func TestModulesOfAnEmbeddingProgram(t *testing.T) {
	t.Parallel()
	const most = 25 // without those of this repository
	drivers := modulesOfProgram(t, "github.com/jackc/pgx/v5/stdlib", "modernc.org/sqlite")
	added := slices.DeleteFunc(modulesOfProgram(t, module+"/server"), func(name string) bool {
		_, ours := shortPath(name)
		return ours || slices.Contains(drivers, name)
	})
	if len(added) > most {
		t.Errorf("package server adds %d modules, want at most %d:\n%s", len(added), most, strings.Join(added, "\n"))
	}
}

// modulesOfProgram returns the paths of the modules in the graph of a program that imports packages. The program is
// a module outside the workspace with the requirements and sums of the server, so that a filled module cache needs
// no network.
func modulesOfProgram(t *testing.T, packages ...string) []string {
	t.Helper()
	tracked(t) // go list reads them
	library, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile(filepath.Join(library, "server/go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	requirements, err := os.ReadFile(filepath.Join(library, "server/go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	goMod := string(requirements)
	goMod = "module example.com/program\n" + goMod[strings.Index(goMod, "\ngo "):strings.Index(goMod, "\nreplace ")] +
		"\nrequire " + module + "/server v0.0.0\n"
	for _, path := range []string{"", "/server", "/internal/pwhash", "/internal/valkey"} {
		goMod += "replace " + module + path + " => " + library + path + "\n"
	}
	program := "package main\n\nimport (\n"
	for _, path := range packages {
		program += fmt.Sprintf("\t_ %q\n", path)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"main.go": program + ")\n\nfunc main() {}\n",
		"go.sum":  string(sums),
		"go.mod":  goMod,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) string {
		t.Helper()
		var stderr strings.Builder
		cmd := exec.Command("go", args...)
		cmd.Dir, cmd.Stderr = dir, &stderr
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, &stderr)
		}
		return string(out)
	}
	run("mod", "tidy")
	return strings.Fields(run("list", "-m", "-f", "{{if not .Main}}{{.Path}}{{end}}", "all"))
}

// listed is one package as go list describes it.
type listed struct {
	ImportPath string
	Imports    []string // without those of test files
	Deps       []string // direct and indirect
	Export     string   // file of export data, empty without -export
}

// list runs go list in the repository's root.
func list(t *testing.T, args ...string) (all []listed) {
	t.Helper()
	tracked(t) // go list reads them
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,Deps,Export"}, args...)...)
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}
