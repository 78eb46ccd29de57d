package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/durward-auth/durward/server/internal/seal"
)

// Setting is one key of a configuration, with its value and the source of the value.
type Setting struct {
	Key    string // such as "tokens.access_ttl"
	Source string // "default", "FILE:LINE", an environment variable or a flag

	value reflect.Value     // the field of Config
	tag   reflect.StructTag // of the field
}

// settingsOf returns the settings of c in the order of the struct. They share c's fields.
func settingsOf(c *Config) []*Setting {
	var all []*Setting
	var walk func(prefix string, v reflect.Value)
	walk = func(prefix string, v reflect.Value) {
		for i := range v.NumField() {
			tag := v.Type().Field(i).Tag
			key := prefix + tag.Get("toml")
			if v.Field(i).Kind() == reflect.Struct {
				walk(key+".", v.Field(i))
				continue
			}
			all = append(all, &Setting{Key: key, Source: "default", value: v.Field(i), tag: tag})
		}
	}
	walk("", reflect.ValueOf(c).Elem())
	return all
}

// Reloadable reports whether a running server applies a new value at SIGHUP.
func (s *Setting) Reloadable() bool {
	switch s.Key {
	case "registration", "trusted_proxies", "log.level", "cors.origins", "basic", "dpop", "admin.second_factor", "resource", "client":
		return true
	}
	return strings.HasPrefix(s.Key, "limits.")
}

// Equal reports whether s and other have the same value.
func (s *Setting) Equal(other *Setting) bool {
	return reflect.DeepEqual(s.value.Interface(), other.value.Interface())
}

// CopyFrom sets s to the value of other, a setting of the same key.
func (s *Setting) CopyFrom(other *Setting) { s.value.Set(other.value) }

// String returns the value as text. Secrets are masked.
func (s *Setting) String() string {
	switch v := s.value.Interface().(type) {
	case time.Duration:
		return shortDuration(v)
	case []string:
		return strings.Join(v, ",")
	case seal.Secret:
		if v == "" {
			return ""
		}
		return v.String()
	case []Resource, []Client:
		return strings.Join(s.names(), ",")
	default:
		return fmt.Sprint(v)
	}
}

// JSON returns the value for encoding/json: numbers, booleans and lists keep their type,
// everything else is the text of String.
func (s *Setting) JSON() any {
	switch v := s.value.Interface().(type) {
	case int, bool:
		return v
	case []string:
		return append([]string{}, v...)
	case []Resource, []Client:
		return append([]string{}, s.names()...)
	}
	return s.String()
}

// isTables reports whether the setting is an array of tables, which the file alone can have.
func (s *Setting) isTables() bool { return isTables(s.value.Type()) }

func isTables(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct
}

// names returns the first member of each table of a setting with isTables, its id or URL.
func (s *Setting) names() (names []string) {
	for i := range s.value.Len() {
		names = append(names, s.value.Index(i).Field(0).String())
	}
	return names
}

// mayBeSecret reports whether the value may be a secret. Such a value can also be read from a
// file that the variable NAME_FILE names.
func (s *Setting) mayBeSecret() bool {
	return s.value.Type() == reflect.TypeFor[seal.Secret]() || s.value.Type() == reflect.TypeFor[DatabaseURL]()
}

// isSecret reports whether the present value is a secret.
func (s *Setting) isSecret() bool {
	if clients, ok := s.value.Interface().([]Client); ok {
		return slices.ContainsFunc(clients, func(c Client) bool { return c.Secret != "" })
	}
	u, ok := s.value.Interface().(DatabaseURL)
	return s.mayBeSecret() && (!ok || u.String() != string(u))
}

// variable returns the name of the environment variable.
func (s *Setting) variable() string {
	return "DURWARD_" + strings.ToUpper(strings.ReplaceAll(s.Key, ".", "_"))
}

// kinds are the names of types in the reference. Others are Text.
var kinds = map[reflect.Type]string{
	reflect.TypeFor[time.Duration](): "Duration",
	reflect.TypeFor[int]():           "Integer",
	reflect.TypeFor[bool]():          "`true` or `false`",
	reflect.TypeFor[[]string]():      "List",
	reflect.TypeFor[seal.Secret]():   "Secret",
	reflect.TypeFor[DatabaseURL]():   "Address",
	reflect.TypeFor[[]Scope]():       "Array of tables",
}

// setText sets the value of an environment variable.
func (s *Setting) setText(text string) error {
	if s.isTables() {
		return fmt.Errorf("is an array of tables, which only the configuration file can have; write [[%s]] there", s.Key)
	}
	var value any = text
	switch s.value.Interface().(type) {
	case int:
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			value = n
		}
	case bool:
		if text == "true" || text == "false" {
			value = text == "true"
		}
	case []string:
		var list []any
		for part := range strings.SplitSeq(text, ",") {
			if part = strings.TrimSpace(part); part != "" {
				list = append(list, part)
			}
		}
		value = list
	}
	return s.set(value)
}

// set sets a value of the type that the TOML parser returns.
func (s *Setting) set(value any) error {
	switch s.value.Interface().(type) {
	case time.Duration:
		text, ok := value.(string)
		if !ok {
			return errors.New(`is not a duration; write a string with a number and its unit, such as "30s", "15m" or "168h"`)
		}
		d, err := time.ParseDuration(text)
		if _, number := strconv.ParseFloat(text, 64); err != nil || number == nil {
			return errors.New("is not a duration; write a number with its unit, such as 30s, 15m or 168h")
		}
		s.value.SetInt(int64(d))
	case int:
		n, ok := value.(int64)
		if !ok || n != int64(int(n)) {
			return errors.New("is not an integer")
		}
		s.value.SetInt(n)
	case bool:
		b, ok := value.(bool)
		if !ok {
			return errors.New("is neither true nor false")
		}
		s.value.SetBool(b)
	case []string:
		values, ok := value.([]any)
		var list []string
		for _, v := range values {
			text, isText := v.(string)
			list, ok = append(list, text), ok && isText
		}
		if !ok {
			return errors.New(`is not a list of strings; write ["one", "two"]`)
		}
		s.value.Set(reflect.ValueOf(list))
	default:
		text, ok := value.(string)
		if !ok {
			return errors.New("is not a string; put it in quotes")
		}
		s.value.SetString(text)
	}
	return nil
}

// durationText formats d for readers: 1 hour 30 minutes.
func durationText(d time.Duration) string {
	if d < time.Second {
		return d.String()
	}
	var parts []string
	for _, unit := range []struct {
		name string
		of   time.Duration
	}{{"hour", time.Hour}, {"minute", time.Minute}, {"second", time.Second}} {
		n := d / unit.of
		d %= unit.of
		if n == 1 {
			parts = append(parts, "1 "+unit.name)
		} else if n > 1 {
			parts = append(parts, fmt.Sprintf("%d %ss", n, unit.name))
		}
	}
	return strings.Join(parts, " ")
}

// shortDuration formats d without trailing zero units: 15m, not 15m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
