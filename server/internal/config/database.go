package config

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/durward-auth/durward/server/internal/seal"
)

// DatabaseURL is the address of a database. It may contain a password, which String masks.
type DatabaseURL string

// String returns u with the password and all query values masked, except those of
// publicParameters.
func (u DatabaseURL) String() string {
	if _, ok := u.File(); ok || u == "" {
		return string(u)
	}
	parsed, err := url.Parse(string(u))
	if err != nil || parsed.Host == "" || parsed.Opaque != "" {
		scheme, _, found := strings.Cut(string(u), ":")
		if !found { // the whole text may be a password
			return mask
		}
		return scheme + ":" + mask
	}
	scheme, user := parsed.Scheme+"://", ""
	if parsed.User != nil {
		user = url.User(parsed.User.Username()).String()
		if _, has := parsed.User.Password(); has {
			user += ":" + mask
		}
		user += "@"
	}
	text := scheme + user + parsed.Host + parsed.EscapedPath()
	for i, name := range slices.Sorted(maps.Keys(parsed.Query())) {
		value := mask
		if slices.Contains(publicParameters, name) {
			value = url.QueryEscape(parsed.Query().Get(name))
		}
		text += string("?&"[min(i, 1)]) + url.QueryEscape(name) + "=" + value
	}
	return text
}

// GoString returns String, so that %#v prints no password.
func (u DatabaseURL) GoString() string { return u.String() }

// File returns the path of an SQLite file, and false for other addresses.
func (u DatabaseURL) File() (path string, ok bool) { return strings.CutPrefix(string(u), "sqlite:") }

// Fault describes why u is not a valid address, "" if it is valid. It contains no part of u that
// may be a password.
func (u DatabaseURL) Fault() string {
	scheme, rest, found := strings.Cut(string(u), ":")
	switch {
	case scheme == "postgres" || scheme == "postgresql":
		parsed, err := url.Parse(string(u))
		switch {
		// A slash inside the password ends the host: the rest of the password would become
		// the name of the database, and that is printed.
		case err != nil || !strings.HasPrefix(rest, "//") || strings.ContainsAny(strings.Trim(parsed.EscapedPath(), "/"), "/@"):
			return "is not a valid address; write postgres://USER:PASSWORD@HOST:PORT/DATABASE with special characters as %XX"
		case strings.Trim(parsed.Path, "/") == "":
			return "names no database; write postgres://USER:PASSWORD@HOST:PORT/DATABASE"
		}
		return ""
	case !found: // the whole text may be a password
		scheme = ""
	case scheme == "sqlite" && rest == "":
		return "names no file; write sqlite:PATH"
	case scheme == "sqlite":
		return ""
	}
	return fmt.Sprintf("begins with %q; want sqlite:PATH or postgres://USER@HOST/DATABASE", scheme)
}

// publicParameters are the query parameters of a database address that are never secret.
var publicParameters = []string{
	"application_name", "connect_timeout", "dbname", "host", "port",
	"search_path", "sslmode", "sslrootcert", "target_session_attrs", "user",
}

// mask replaces a secret.
var mask = seal.Secret("x").String()
