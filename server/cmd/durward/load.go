package main

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/valkey"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
)

// setting is one key of the configuration: its value and where that came from.
type setting struct {
	Key   string
	From  string // "default", "FILE:LINE", the name of a variable, or a flag
	value reflect.Value
}

// settings lists the keys of c in the order of the struct.
func settings(c *Config) []*setting {
	var all []*setting
	var walk func(prefix string, v reflect.Value)
	walk = func(prefix string, v reflect.Value) {
		for i := range v.NumField() {
			key := prefix + v.Type().Field(i).Tag.Get("toml")
			if v.Field(i).Kind() == reflect.Struct {
				walk(key+".", v.Field(i))
				continue
			}
			all = append(all, &setting{Key: key, value: v.Field(i), From: "default"})
		}
	}
	walk("", reflect.ValueOf(c).Elem())
	return all
}

// databaseURL is the address of a database, which may hold a password. It prints
// without it.
type databaseURL string

// shown is u without what may be a password: that of the user, and every value behind
// the question mark.
func (u databaseURL) shown() string {
	if u.file() {
		return string(u)
	}
	parsed, err := url.Parse(string(u))
	if err != nil || parsed.Host == "" || parsed.Opaque != "" {
		scheme, _, _ := strings.Cut(string(u), ":")
		return scheme + ":" + masked
	}
	scheme, user := parsed.Scheme+"://", ""
	if parsed.User != nil {
		user = url.User(parsed.User.Username()).String()
		if _, has := parsed.User.Password(); has {
			user += ":" + masked
		}
		user += "@"
	}
	shown := scheme + user + parsed.Host + parsed.EscapedPath()
	for i, name := range slices.Sorted(maps.Keys(parsed.Query())) {
		value := masked
		if slices.Contains(plainParameters, name) {
			value = url.QueryEscape(parsed.Query().Get(name))
		}
		shown += string("?&"[min(i, 1)]) + url.QueryEscape(name) + "=" + value
	}
	return shown
}

// wrong says what keeps u from being an address, without what may be a password.
func (u databaseURL) wrong() string {
	scheme, rest, found := strings.Cut(string(u), ":")
	switch {
	case scheme == "postgres" || scheme == "postgresql":
		parsed, err := url.Parse(string(u))
		switch {
		// A slash in a password would end the host, and what follows would pass for the
		// name of the database, which is no secret.
		case err != nil || !strings.HasPrefix(rest, "//") || strings.ContainsAny(strings.Trim(parsed.EscapedPath(), "/"), "/@"):
			return "cannot be read as an address: write postgres://USER:PASSWORD@HOST:PORT/DATABASE, and what has a special meaning there as %XX"
		case strings.Trim(parsed.Path, "/") == "":
			return "names no database: write postgres://USER:PASSWORD@HOST:PORT/DATABASE"
		}
		return ""
	case !found: // it is none, but all there is
		scheme = ""
	case scheme == "sqlite" && rest == "":
		return "names no file: write sqlite:PATH"
	case scheme == "sqlite":
		return ""
	}
	return fmt.Sprintf("begins with %q, want sqlite:PATH or postgres://USER@HOST/DATABASE", scheme)
}

// plainParameters of a database's address hold no secret.
var plainParameters = []string{"application_name", "connect_timeout", "dbname", "host", "port", "search_path", "sslmode", "sslrootcert", "target_session_attrs", "user"}

// masked stands where a secret is.
var masked = seal.Secret("x").String()

func (u databaseURL) String() string   { return u.shown() }
func (u databaseURL) GoString() string { return u.shown() }

// file reports whether u names an SQLite file.
func (u databaseURL) file() bool { return strings.HasPrefix(string(u), "sqlite:") }

// secret reports whether a setting may be a secret, which then may stand in a file of
// its own, and holdsSecret whether its value is one.
func (s *setting) secret() bool {
	return s.value.Type() == reflect.TypeFor[seal.Secret]() || s.value.Type() == reflect.TypeFor[databaseURL]()
}

func (s *setting) holdsSecret() bool {
	u, ok := s.value.Interface().(databaseURL)
	return s.secret() && (!ok || u.shown() != string(u))
}

// reloads reports whether a running server takes a new value at SIGHUP.
func (s *setting) reloads() bool {
	return s.Key == "registration" || s.Key == "trusted_proxies" || s.Key == "log.level" || strings.HasPrefix(s.Key, "limits.") || s.Key == "cors.origins"
}

// variable is the setting's name in the environment.
func (s *setting) variable() string {
	return "DURWARD_" + strings.ToUpper(strings.ReplaceAll(s.Key, ".", "_"))
}

// kind names the type for people.
func (s *setting) kind() string {
	switch s.value.Interface().(type) {
	case time.Duration:
		return "Duration"
	case int:
		return "Whole number"
	case bool:
		return "`true` or `false`"
	case []string:
		return "List"
	case seal.Secret:
		return "Secret"
	case databaseURL:
		return "Address"
	}
	return "Text"
}

// String is the value as it may be shown: a secret is a mask.
func (s *setting) String() string {
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
	default:
		return fmt.Sprint(v)
	}
}

// forMachines is the value with its type: durations as text, secrets as a mask.
func (s *setting) forMachines() any {
	switch v := s.value.Interface().(type) {
	case int, bool:
		return v
	case []string:
		return append([]string{}, v...)
	}
	return s.String()
}

// shortDuration is 15m rather than 15m0s.
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

// setText takes a value written as text: in a variable, or as a string in the
// file.
func (s *setting) setText(text string) error {
	switch s.value.Interface().(type) {
	case time.Duration:
		d, err := time.ParseDuration(text)
		if _, number := strconv.ParseFloat(text, 64); err != nil || number == nil {
			return errors.New("is no duration: write a number with its unit, such as 30s, 15m or 168h")
		}
		s.value.SetInt(int64(d))
	case int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return errors.New("is no whole number")
		}
		s.value.SetInt(int64(n))
	case bool:
		if text != "true" && text != "false" {
			return errors.New("is neither true nor false")
		}
		s.value.SetBool(text == "true")
	case []string:
		var list []string
		for part := range strings.SplitSeq(text, ",") {
			if part = strings.TrimSpace(part); part != "" {
				list = append(list, part)
			}
		}
		s.value.Set(reflect.ValueOf(list))
	default:
		s.value.SetString(text)
	}
	return nil
}

// setTOML takes a value as the file has it.
func (s *setting) setTOML(value any) error {
	switch s.value.Interface().(type) {
	case time.Duration:
		text, ok := value.(string)
		if !ok {
			return errors.New(`is no duration: write a string of a number with its unit, such as "30s", "15m" or "168h"`)
		}
		return s.setText(text)
	case int:
		n, ok := value.(int64)
		if !ok || n != int64(int(n)) {
			return errors.New("is no whole number")
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
		list := make([]string, len(values))
		for i := range values {
			if list[i], ok = values[i].(string); !ok {
				break
			}
		}
		if !ok {
			return errors.New(`is no list of strings: write ["one", "two"]`)
		}
		s.value.Set(reflect.ValueOf(list))
	default:
		text, ok := value.(string)
		if !ok {
			return errors.New("is no string: put it in quotes")
		}
		s.value.SetString(text)
	}
	return nil
}

// loaded is a configuration and where each of its settings came from.
type loaded struct {
	*Config
	settings []*setting
	warnings []string
}

// at returns the setting with a key, or nil.
func (l *loaded) at(key string) *setting {
	for _, s := range l.settings {
		if s.Key == key {
			return s
		}
	}
	return nil
}

// given are the settings of the command line; empty is not given.
type given struct{ Config, Listen, Data string }

// load reads the configuration: defaults, then the file, then the environment,
// then flags. Its error names all mistakes, each with its place.
func load(g given, env []string) (*loaded, error) {
	c := defaults()
	l := &loaded{Config: c, settings: settings(c)}
	variables := make(map[string]string)
	for _, e := range env {
		if name, value, ok := strings.Cut(e, "="); ok && strings.HasPrefix(name, "DURWARD_") {
			variables[name] = value
		}
	}
	var mistakes []error
	if file := firstOf(g.Config, variables["DURWARD_CONFIG"]); file != "" {
		mistakes = l.readFile(file)
	}
	mistakes = append(mistakes, l.readVariables(variables)...)
	for _, flag := range []struct{ key, flag, value string }{{"listen", "--listen", g.Listen}, {"data_dir", "--data", g.Data}} {
		if flag.value != "" {
			s := l.at(flag.key)
			s.value.SetString(flag.value)
			s.From = flag.flag
		}
	}
	mistakes = append(mistakes, l.check()...)
	slices.SortStableFunc(mistakes, func(a, b error) int { return line(a) - line(b) })
	if len(mistakes) > 0 {
		return nil, &exitError{status: exitUsage, err: errors.Join(mistakes...), hint: "durward config docs describes every key."}
	}
	return l, nil
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// maxConfig bounds the file, in octets.
const maxConfig = 1 << 20

func (l *loaded) readFile(path string) []error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return []error{fmt.Errorf("%s: there is no such file", path)}
	case err != nil:
		return []error{err}
	case !info.Mode().IsRegular() || info.Size() > maxConfig:
		return []error{fmt.Errorf("%s: a file of at most %d KiB is wanted", path, maxConfig>>10)}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return []error{err}
	}
	mistakes := l.readTOML(path, text)
	for _, s := range l.settings {
		if s.holdsSecret() && strings.HasPrefix(s.From, path+":") && info.Mode().Perm()&0o077 != 0 {
			l.warnings = append(l.warnings, fmt.Sprintf("%s holds the secret %s and others can read it: chmod 600 %s", path, s.Key, quote(path)))
		}
	}
	return mistakes
}

// readTOML takes the settings of a file's text.
func (l *loaded) readTOML(path string, text []byte) (mistakes []error) {
	var whole map[string]any
	if err := toml.Unmarshal(text, &whole); err != nil {
		line := 1
		var at *toml.DecodeError
		if errors.As(err, &at) {
			line, _ = at.Position()
		}
		return []error{fmt.Errorf("%s:%d: %s", path, line, strings.TrimPrefix(err.Error(), "toml: "))}
	}
	lines := linesOf(text)
	var walk func(prefix string, table map[string]any)
	walk = func(prefix string, table map[string]any) {
		for _, name := range slices.Sorted(maps.Keys(table)) { // mistakes of one line are told in the same order each time
			key, value := prefix+name, table[name]
			s := l.at(key)
			inner, isTable := value.(map[string]any)
			switch {
			case s == nil && isTable && l.section(key):
				walk(key+".", inner)
			case s == nil && l.section(key):
				mistakes = append(mistakes, fmt.Errorf("%s:%d: %s is a section: write [%s] once, and its keys below it", path, lines[key], key, key))
			case s == nil:
				mistakes = append(mistakes, fmt.Errorf("%s:%d: %s %s", path, lines[key], key, l.unknown(key, l.keys())))
			default:
				s.From = fmt.Sprintf("%s:%d", path, lines[key])
				if err := s.setTOML(value); err != nil {
					mistakes = append(mistakes, fmt.Errorf("%s: %s %w", s.From, key, err))
				}
			}
		}
	}
	walk("", whole)
	return mistakes
}

// line is the line that a mistake begins with, to put them in order.
func line(mistake error) int {
	_, rest, _ := strings.Cut(mistake.Error(), ":")
	number, _, _ := strings.Cut(rest, ":")
	n, _ := strconv.Atoi(number)
	return n
}

// linesOf tells on which line each key and table of a file stands. text has been
// parsed without error.
func linesOf(text []byte) map[string]int {
	lines := make(map[string]int)
	var p unstable.Parser
	p.Reset(text)
	table := ""
	for p.NextExpression() {
		e := p.Expression()
		key, at := "", 0
		if e.Kind == unstable.KeyValue {
			key = table
		}
		for keys := e.Key(); keys.Next(); {
			key += string(keys.Node().Data)
			at = p.Shape(keys.Node().Raw).Start.Line
			if lines[key] == 0 {
				lines[key] = at
			}
			key += "."
		}
		if e.Kind == unstable.KeyValue {
			inlineLines(lines, key, at, e.Value())
		}
		if e.Kind == unstable.Table || e.Kind == unstable.ArrayTable {
			table = key
		}
	}
	return lines
}

// inlineLines adds the keys of an inline table: they stand on the line of the
// key whose value it is (TOML 1.0, no newlines in inline tables).
func inlineLines(lines map[string]int, prefix string, at int, value *unstable.Node) {
	if value.Kind != unstable.InlineTable {
		return
	}
	for pairs := value.Children(); pairs.Next(); {
		key := prefix
		for keys := pairs.Node().Key(); keys.Next(); key += "." {
			key += string(keys.Node().Data)
			lines[key] = at
		}
		inlineLines(lines, key, at, pairs.Node().Value())
	}
}

func (l *loaded) section(name string) bool {
	return slices.ContainsFunc(l.settings, func(s *setting) bool { return strings.HasPrefix(s.Key, name+".") })
}

func (l *loaded) keys() []string {
	var keys []string
	for _, s := range l.settings {
		keys = append(keys, s.Key)
	}
	return keys
}

// unknown says that there is no such key, and which one may have been meant.
func (l *loaded) unknown(key string, known []string) string {
	if why, ok := absent[strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(key, "DURWARD_"), "_", "."))]; ok {
		return why
	}
	best, least := "", 1+len(strings.TrimPrefix(key, "DURWARD_"))/3
	for _, k := range known {
		if d := distance(key, k); d < least {
			best, least = k, d
		}
	}
	if best != "" {
		return "is no key: did you mean " + best + "?"
	}
	return "is no key"
}

// distance is how many letters must change, come or go to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// readVariables takes the settings of the environment.
func (l *loaded) readVariables(variables map[string]string) (mistakes []error) {
	byName := make(map[string]*setting)
	for _, s := range l.settings {
		byName[s.variable()] = s
		if s.secret() {
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
			mistakes = append(mistakes, fmt.Errorf("%s %s", name, l.unknown(name, slices.Sorted(maps.Keys(byName)))))
			continue
		}
		if name != s.variable() {
			if _, both := variables[s.variable()]; both {
				mistakes = append(mistakes, fmt.Errorf("%s and %s are both set: leave one out", s.variable(), name))
				continue
			}
			text, err := readSecretFile(value)
			if err != nil {
				mistakes = append(mistakes, fmt.Errorf("%s: %w", name, err))
				continue
			}
			if info, err := os.Stat(value); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
				l.warnings = append(l.warnings, fmt.Sprintf("%s holds the secret %s and others can read it: chmod 600 %s", value, s.Key, quote(value)))
			}
			value = text
		}
		s.From = name
		if err := s.setText(value); err != nil {
			mistakes = append(mistakes, fmt.Errorf("%s %w", name, err))
		}
	}
	return mistakes
}

// readSecretFile reads a secret that stands alone in a file. One line end at its
// end does not belong to it.
func readSecretFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", err
	}
	if len(text) > maxSecret {
		return "", fmt.Errorf("%s has over %d octets, which is no secret", path, maxSecret)
	}
	return withoutLineEnd(string(text)), nil
}

// maxSecret bounds secrets that are read from files and standard input.
const maxSecret = 64 << 10

func withoutLineEnd(s string) string {
	s = strings.TrimSuffix(s, "\n")
	return strings.TrimSuffix(s, "\r")
}

// check looks at what the settings say. Values that only a rule can judge are
// left to it.
func (l *loaded) check() (mistakes []error) {
	mistake := func(key, format string, args ...any) {
		place := key
		if from := l.at(key).From; from != "default" {
			place = from + ": " + key
		}
		mistakes = append(mistakes, fmt.Errorf("%s %s", place, fmt.Sprintf(format, args...)))
	}
	oneOf := func(key, value string, of ...string) {
		if !slices.Contains(of, value) {
			mistake(key, "is %q, want one of: %s", value, strings.Join(of, ", "))
		}
	}
	between := func(key string, d, least, most time.Duration) {
		if d < least || d > most {
			mistake(key, "is %s, want from %s to %s", shortDuration(d), shortDuration(least), shortDuration(most))
		}
	}
	number := func(key string, n, least, most int) {
		if n < least || n > most {
			mistake(key, "is %d, want from %d to %d", n, least, most)
		}
	}

	if _, port, err := net.SplitHostPort(l.Listen); err != nil {
		mistake("listen", "is %q, want an address with a port, such as 127.0.0.1:8401 or :8401", l.Listen)
	} else if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		mistake("listen", "has the port %q, want a number up to 65535; 0 picks a free one", port)
	}
	for _, u := range []struct{ key, value string }{{"public_url", l.PublicURL}, {"issuer", l.Config.Issuer}} {
		if u.value == "" {
			continue
		}
		if why := l.wrongURL(u.value, u.key == "public_url"); why != "" {
			mistake(u.key, "is %q, %s", u.value, why)
		}
	}
	if l.DataDir == "" {
		mistake("data_dir", "is empty")
	}
	if _, err := l.proxies(); err != nil {
		mistake("trusted_proxies", "%s", err)
	}
	// The guard knows what an origin is.
	if _, err := durward.New(durward.Config{Schemes: []durward.Scheme{durward.Session()}, Origins: l.CORS.Origins}); err != nil {
		mistake("cors.origins", "holds what is no origin as browsers write it, such as https://app.example.com: %s", strings.ReplaceAll(strings.TrimPrefix(err.Error(), "durward: "), "\ndurward: ", "; "))
	}
	oneOf("registration", l.Registration, "off", "open")
	if l.MasterKey != "" {
		if _, err := seal.Parse(l.MasterKey); err != nil {
			mistake("master_key", "is of no use: %s", strings.TrimPrefix(err.Error(), "seal: "))
		}
	}
	if l.Database.URL != "" {
		if why := l.Database.URL.wrong(); why != "" {
			mistake("database.url", "%s", why)
		}
	}
	if l.Redis.URL != "" {
		if err := valkey.Check(l.Redis.URL.Reveal()); err != nil {
			mistake("redis.url", "%s", err)
		}
	}

	between("tokens.access_ttl", l.Tokens.AccessTTL, time.Second, 24*time.Hour)
	between("tokens.refresh_ttl", l.Tokens.RefreshTTL, time.Second, 10*365*24*time.Hour)
	between("tokens.refresh_absolute", l.Tokens.RefreshAbsolute, time.Second, 10*365*24*time.Hour)
	between("tokens.refresh_grace", l.Tokens.RefreshGrace, time.Millisecond, 10*time.Minute)
	between("sessions.idle", l.Sessions.Idle, time.Second, 10*365*24*time.Hour)
	between("sessions.absolute", l.Sessions.Absolute, time.Second, 10*365*24*time.Hour)
	between("tokens.leeway", l.Tokens.Leeway, 0, time.Minute)
	oneOf("tokens.algorithm", l.Tokens.Algorithm, "ES256", "EdDSA", "RS256", "PS256", "HS256")
	switch secret, err := l.sharedSecret(); {
	case err != nil:
		mistake("tokens.shared_secret", "%s", err)
	case l.Tokens.Algorithm == "HS256" && secret == nil:
		mistake("tokens.algorithm", "is HS256, which needs tokens.shared_secret; make one with: openssl rand -hex 32")
	case l.Tokens.Algorithm != "HS256" && secret != nil:
		mistake("tokens.shared_secret", "is of use with tokens.algorithm HS256 alone")
	}

	number("limits.account_failures", l.Limits.AccountFailures, 1, 100)
	between("limits.account_window", l.Limits.AccountWindow, time.Second, 24*time.Hour)
	between("limits.account_block", l.Limits.AccountBlock, time.Second, 24*time.Hour)
	number("limits.network_failures", l.Limits.NetworkFailures, 0, 10_000)
	number("limits.network_failures_hour", l.Limits.NetworkFailuresHour, 1, 10_000)
	number("passwords.argon2_memory", l.Passwords.Argon2Memory, 8, 256<<10)
	number("passwords.argon2_time", l.Passwords.Argon2Time, 1, 16)
	number("passwords.min_length", l.Passwords.MinLength, 8, 256)
	number("passwords.max_length", l.Passwords.MaxLength, max(l.Passwords.MinLength, 64), 1024)
	if path := l.Passwords.Blocklist; path != "" {
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
			mistake("passwords.blocklist", "names %q, which is no file that can be read", path)
		}
	}
	oneOf("log.level", l.Log.Level, "debug", "info", "warn", "error")
	oneOf("log.format", l.Log.Format, "text", "json")
	return mistakes
}

// wrongURL says what keeps text from being an issuer, or with origin an origin.
func (l *loaded) wrongURL(text string, origin bool) string {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return "want an address such as https://auth.example.com"
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery: // RFC 8414 s2
		return "want it without user, query and fragment"
	case origin && u.Path != "" && u.Path != "/":
		return "want an origin, without a path"
	case u.Scheme == "http" && !loopback(u.Hostname()) && !l.InsecureAllowHTTP:
		return "want https: plain http shows passwords and tokens to the network; insecure_allow_http allows it"
	}
	return ""
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// proxies are the networks of trusted_proxies.
func (l *loaded) proxies() ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, text := range l.TrustedProxies {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			addr, addrErr := netip.ParseAddr(text)
			if addrErr != nil {
				return nil, fmt.Errorf("has %q, want addresses or networks such as 10.0.0.7 or 10.0.0.0/8", text)
			}
			p = netip.PrefixFrom(addr, addr.BitLen())
		}
		if p.Addr().Is4In6() && p.Bits() >= 96 { // clients are compared as IPv4
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		if p.Bits() == 0 || p.Addr().Is4In6() {
			return nil, fmt.Errorf("has %q, which lets everybody say where they come from", text)
		}
		all = append(all, p.Masked())
	}
	return all, nil
}

// sharedSecret is the octets of tokens.shared_secret, nil where it is not set.
func (l *loaded) sharedSecret() ([]byte, error) {
	text := l.Tokens.SharedSecret.Reveal()
	if text == "" {
		return nil, nil
	}
	secret, err := hex.DecodeString(text)
	if err != nil {
		secret, err = base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
	}
	if err != nil {
		return nil, errors.New("is neither hexadecimal nor base64url; make one with: openssl rand -hex 32")
	}
	if len(secret) < 32 { // RFC 7518 s3.2
		return nil, fmt.Errorf("has %d bits, want 256 or more; make one with: openssl rand -hex 32", 8*len(secret))
	}
	return secret, nil
}

// issuer is iss of the tokens. It does not follow the listener's address, so
// that tokens outlive a change of port.
func (l *loaded) issuer() string {
	return firstOf(l.Config.Issuer, strings.TrimSuffix(l.PublicURL, "/"), "http://127.0.0.1:8401")
}

// databaseURL is the address of the database.
func (l *loaded) databaseURL() string {
	return firstOf(string(l.Database.URL), "sqlite:"+filepath.Join(l.DataDir, "durward.db"))
}

// store is how the database is opened.
func (l *loaded) store() store.Config {
	return store.Config{URL: l.databaseURL(), KeepSchema: !l.Database.Migrate, Mark: l.markPath()}
}

// markPath is where this node keeps how far the history of the database is.
func (l *loaded) markPath() string { return filepath.Join(l.DataDir, "durward.mark") }

// databaseFile is the file of the database, where it is one.
func (l *loaded) databaseFile() (path string, ok bool) {
	return strings.CutPrefix(l.databaseURL(), "sqlite:")
}

// databaseName is the database as people are told of it: the path of a file, or an
// address without its password.
func (l *loaded) databaseName() string {
	if path, ok := l.databaseFile(); ok {
		return path
	}
	return databaseURL(l.databaseURL()).shown()
}

// masterKeyPath is where the master key stands unless master_key is set.
func (l *loaded) masterKeyPath() string { return filepath.Join(l.DataDir, "master.key") }
