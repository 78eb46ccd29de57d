package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

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
		var at *toml.DecodeError
		if errors.As(err, &at) {
			line, _ = at.Position()
		}
		return []error{fmt.Errorf("%s:%d: %s", path, line, strings.TrimPrefix(err.Error(), "toml: "))}
	}
	lines := linesOf(text)
	var known []string
	for _, s := range l.Settings {
		known = append(known, s.Key)
	}
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
			default:
				s.Source = source
				if err := s.setTOML(value); err != nil {
					mistakes = append(mistakes, fmt.Errorf("%s: %s %w", source, key, err))
				}
			}
		}
	}
	walk("", document)
	return mistakes
}

// linesOf returns the line of each key and table of text, a valid TOML document.
func linesOf(text []byte) map[string]int {
	lines := make(map[string]int)
	var p unstable.Parser
	p.Reset(text)
	table := ""
	for p.NextExpression() {
		e := p.Expression()
		key, line := "", 0
		if e.Kind == unstable.KeyValue {
			key = table
		}
		for keys := e.Key(); keys.Next(); {
			key += string(keys.Node().Data)
			line = p.Shape(keys.Node().Raw).Start.Line
			if lines[key] == 0 {
				lines[key] = line
			}
			key += "."
		}
		if e.Kind == unstable.KeyValue {
			inlineLines(lines, key, line, e.Value())
		}
		if e.Kind == unstable.Table || e.Kind == unstable.ArrayTable {
			table = key
		}
	}
	return lines
}

// inlineLines adds the keys of an inline table, which contains no line breaks (TOML 1.0).
func inlineLines(lines map[string]int, prefix string, line int, value *unstable.Node) {
	if value.Kind != unstable.InlineTable {
		return
	}
	for pairs := value.Children(); pairs.Next(); {
		key := prefix
		for keys := pairs.Node().Key(); keys.Next(); key += "." {
			key += string(keys.Node().Data)
			lines[key] = line
		}
		inlineLines(lines, key, line, pairs.Node().Value())
	}
}
