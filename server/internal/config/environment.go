package config

import (
	"fmt"
	"maps"
	"os"
	"slices"
)

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
			text, err := readSecretFile(value)
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
