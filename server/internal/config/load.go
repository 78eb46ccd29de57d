package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/durward-auth/durward/server/internal/explain"
)

// Loaded is a configuration that passed all checks, with the source of each setting.
type Loaded struct {
	*Config
	Settings []*Setting      // in the order of Config's fields; both share the values
	Exposed  []ExposedSecret // secrets that other users of the machine can read

	path     string         // of the file; empty without one
	lines    map[string]int // of its keys
	inTables []error        // mistakes in arrays of tables
}

// ExposedSecret is a secret in a file that other users of the machine can read.
type ExposedSecret struct{ Key, Path string }

// Flags holds the settings of the command line. An empty string means that the flag was not given.
type Flags struct{ Config, Listen, Data string }

// Load reads the configuration: defaults, then the file, then env (NAME=VALUE), then flags. Its
// error joins all mistakes, one a line, each with its file and line, variable or flag.
func Load(flags Flags, env []string) (*Loaded, error) { return LoadProgram(flags, env, nil, nil) }

// Given is a setting that a program states by its key.
type Given struct{ Key, Value, Source string }

// LoadProgram is Load for a program that states settings itself: given takes precedence over all other
// sources, and fallback replaces defaults.
func LoadProgram(flags Flags, env []string, given, fallback []Given) (*Loaded, error) {
	c := Default()
	l := &Loaded{Config: c, Settings: settingsOf(c)}
	variables := make(map[string]string)
	for _, e := range env {
		if name, value, ok := strings.Cut(e, "="); ok && strings.HasPrefix(name, "DURWARD_") {
			variables[name] = value
		}
	}
	var mistakes []error
	if file := cmp.Or(flags.Config, variables["DURWARD_CONFIG"]); file != "" {
		mistakes = l.readFile(file)
	}
	mistakes = append(mistakes, l.readEnvironment(variables)...)
	for _, flag := range []struct{ key, name, value string }{
		{"listen", "--listen", flags.Listen},
		{"data_dir", "--data", flags.Data},
	} {
		if flag.value != "" {
			s := l.Setting(flag.key)
			s.value.SetString(flag.value)
			s.Source = flag.name
		}
	}
	for i, g := range append(slices.Clone(given), fallback...) {
		s := l.Setting(g.Key)
		switch {
		case s == nil:
			mistakes = append(mistakes, fmt.Errorf("%s: %s %s", g.Source, g.Key, unknown(g.Key, l.keys())))
			continue
		case i >= len(given) && s.Source != "default":
			continue
		}
		s.Source = g.Source
		if err := s.setText(g.Value); err != nil {
			mistakes = append(mistakes, fmt.Errorf("%s: %s %w", g.Source, g.Key, err))
		}
	}
	mistakes = append(mistakes, l.check()...)
	slices.SortStableFunc(mistakes, func(a, b error) int { return lineOf(a) - lineOf(b) })
	if err := errors.Join(mistakes...); err != nil {
		return nil, err
	}
	return l, nil
}

// maxFile is the size limit of the configuration file, in octets.
const maxFile = 1 << 20

// readFile sets the settings that a TOML file contains.
func (l *Loaded) readFile(path string) []error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return []error{fmt.Errorf("%s: there is no such file", path)}
	case err != nil:
		return []error{err}
	case !info.Mode().IsRegular() || info.Size() > maxFile:
		return []error{fmt.Errorf("%s: not a regular file of at most %d KiB", path, maxFile>>10)}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return []error{err}
	}
	mistakes := l.readTOML(path, text)
	for _, s := range l.Settings {
		if s.isSecret() && strings.HasPrefix(s.Source, path+":") && exposed(info) {
			l.Exposed = append(l.Exposed, ExposedSecret{s.Key, path})
		}
	}
	return mistakes
}

// readTOML sets the settings that text contains. path is the file's name for messages.
func (l *Loaded) readTOML(path string, text []byte) (mistakes []error) {
	var document map[string]any
	if err := toml.Unmarshal(text, &document); err != nil {
		line := 1
		if at, ok := errors.AsType[*toml.DecodeError](err); ok {
			line, _ = at.Position()
		}
		return []error{fmt.Errorf("%s:%d: %s", path, line, strings.TrimPrefix(err.Error(), "toml: "))}
	}
	lines := linesOf(text)
	l.path, l.lines = path, lines
	known := l.keys()
	var walk func(prefix string, table map[string]any)
	walk = func(prefix string, table map[string]any) {
		for _, name := range slices.Sorted(maps.Keys(table)) { // a stable order of mistakes on one line
			key, value := prefix+name, table[name]
			source := fmt.Sprintf("%s:%d", path, lines[key])
			s := l.Setting(key)
			section := slices.ContainsFunc(known, func(k string) bool { return strings.HasPrefix(k, key+".") })
			inner, isTable := value.(map[string]any)
			switch {
			case s == nil && isTable && section:
				walk(key+".", inner)
			case s == nil && section:
				mistakes = append(mistakes, fmt.Errorf("%s: %s is a section; write [%s] once, followed by its keys", source, key, key))
			case s == nil:
				mistakes = append(mistakes, fmt.Errorf("%s: %s %s", source, key, unknown(key, known)))
			case s.isTables():
				s.Source = source
				l.readTables(s, value)
			default:
				s.Source = source
				if err := s.set(value); err != nil {
					mistakes = append(mistakes, fmt.Errorf("%s: %s %w", source, key, err))
				}
			}
		}
	}
	walk("", document)
	return mistakes
}

// linesOf returns the line of each key and table of text, a valid TOML document. The keys of an array of tables
// have the index of their table, such as client[0].id.
func linesOf(text []byte) map[string]int {
	lines := make(map[string]int)
	elements := make(map[string]int) // of arrays of tables
	var p unstable.Parser
	p.Reset(text)
	// add adds a key or table below prefix, and returns it as the prefix of those below it.
	var add func(prefix string, e *unstable.Node) string
	add = func(prefix string, e *unstable.Node) string {
		for keys := e.Key(); keys.Next(); prefix += "." {
			prefix += string(keys.Node().Data)
			if e.Kind == unstable.ArrayTable && keys.IsLast() {
				if lines[prefix] == 0 {
					lines[prefix] = p.Shape(keys.Node().Raw).Start.Line
				}
				elements[prefix]++
			}
			if n := elements[prefix]; n > 0 {
				prefix = fmt.Sprintf("%s[%d]", prefix, n-1)
			}
			if lines[prefix] == 0 {
				lines[prefix] = p.Shape(keys.Node().Raw).Start.Line
			}
		}
		if e.Kind == unstable.KeyValue && e.Value().Kind == unstable.InlineTable {
			for pairs := e.Value().Children(); pairs.Next(); {
				add(prefix, pairs.Node())
			}
		}
		return prefix
	}
	table := ""
	for p.NextExpression() {
		switch e := p.Expression(); e.Kind {
		case unstable.KeyValue:
			add(table, e)
		case unstable.Table, unstable.ArrayTable:
			table = add("", e)
		}
	}
	return lines
}

// readEnvironment sets the settings that variables, those that begin with DURWARD_, contain.
func (l *Loaded) readEnvironment(variables map[string]string) (mistakes []error) {
	byName := make(map[string]*Setting)
	for _, s := range l.Settings {
		byName[s.variable()] = s
		if s.mayBeSecret() {
			byName[s.variable()+"_FILE"] = s
		}
	}
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		value := variables[name]
		if name == "DURWARD_CONFIG" || name == "DURWARD_TOKEN" {
			continue
		}
		s := byName[name]
		if s == nil {
			mistakes = append(mistakes, fmt.Errorf("%s %s", name, unknown(name, slices.Sorted(maps.Keys(byName)))))
			continue
		}
		if name != s.variable() {
			if _, both := variables[s.variable()]; both {
				mistakes = append(mistakes, fmt.Errorf("%s and %s are both set; remove one", s.variable(), name))
				continue
			}
			text, err := ReadSecretFile(value)
			if err != nil {
				mistakes = append(mistakes, fmt.Errorf("%s: %w", name, err))
				continue
			}
			if info, err := os.Stat(value); err == nil && info.Mode().IsRegular() && exposed(info) {
				l.Exposed = append(l.Exposed, ExposedSecret{s.Key, value})
			}
			value = text
		}
		s.Source = name
		if err := s.setText(value); err != nil {
			mistakes = append(mistakes, fmt.Errorf("%s %w", name, err))
		}
	}
	return mistakes
}

// lineOf returns the line number in "FILE:LINE: mistake", 0 if there is none.
func lineOf(mistake error) int {
	_, rest, _ := strings.Cut(mistake.Error(), ":")
	number, _, _ := strings.Cut(rest, ":")
	n, _ := strconv.Atoi(number)
	return n
}

// Setting returns the setting of a key, nil if there is no such key.
func (l *Loaded) Setting(key string) *Setting {
	for _, s := range l.Settings {
		if s.Key == key {
			return s
		}
	}
	return nil
}

// keys returns the keys of all settings.
func (l *Loaded) keys() (all []string) {
	for _, s := range l.Settings {
		all = append(all, s.Key)
	}
	return all
}

// Apply prepares fresh for a server that runs with l: it gives the settings that need a restart the
// values of l. It returns the changed keys of both kinds.
func (l *Loaded) Apply(fresh *Loaded) (changed, restart []string) {
	for i, setting := range fresh.Settings {
		before := l.Settings[i]
		switch {
		case setting.Equal(before):
		case setting.Reloadable():
			changed = append(changed, setting.Key)
		default:
			restart = append(restart, setting.Key)
			setting.CopyFrom(before)
		}
	}
	return changed, restart
}

// SetDefault sets key to the text value unless the operator has set it. source is the reason that
// Source then names.
func (l *Loaded) SetDefault(key, value, source string) error {
	s := l.Setting(key)
	if s.Source != "default" {
		return nil
	}
	s.Source = source
	return s.setText(value)
}

// unknown describes an unknown key or variable and suggests the known name nearest to it.
func unknown(name string, known []string) string {
	trimmed := strings.TrimPrefix(name, "DURWARD_")
	best, least := "", 1+len(trimmed)/3
	for _, k := range known {
		if d := explain.Distance(name, k); d < least {
			best, least = k, d
		}
	}
	if best != "" {
		return "is not a known key; did you mean " + best + "?"
	}
	return "is not a known key"
}

// maxSecret is the size limit of ReadSecret, in octets.
const maxSecret = 64 << 10

// ReadSecret reads a secret that is all of r, at most 64 KiB. It drops one line break at the end.
func ReadSecret(r io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxSecret+1))
	if err != nil {
		return "", err
	}
	if len(text) > maxSecret {
		return "", fmt.Errorf("the secret is longer than %d octets", maxSecret)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r"), nil
}

// ReadSecretFile reads a secret from a file of its own.
func ReadSecretFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return ReadSecret(f)
}

// exposed reports whether info's mode lets other users read or write the file.
func exposed(info fs.FileInfo) bool { return info.Mode().Perm()&0o077 != 0 }
