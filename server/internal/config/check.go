package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/loopback"
	"github.com/durward-auth/durward/internal/valkey"
	smtp "github.com/durward-auth/durward/server/internal/mail"
	"github.com/durward-auth/durward/server/internal/seal"
)

// maxSocketPath is the maximum length of a socket's path. Systems have 104 or 108 octets, and the
// server needs some for the name under which it creates the socket.
const maxSocketPath = 90

// check validates all settings and returns every mistake.
func (l *Loaded) check() (mistakes []error) {
	mistake := func(key, format string, args ...any) {
		place := key
		if source := l.Setting(key).Source; source != "default" {
			place = source + ": " + key
		}
		mistakes = append(mistakes, fmt.Errorf("%s %s", place, fmt.Sprintf(format, args...)))
	}
	for _, s := range l.Settings {
		least, most, _ := strings.Cut(s.tag.Get("range"), ",")
		of := strings.Split(s.tag.Get("of"), ",")
		inside := true
		switch v := s.value.Interface().(type) {
		case time.Duration:
			low, errLow := time.ParseDuration(least)
			high, errHigh := time.ParseDuration(most)
			inside = errLow == nil && errHigh == nil && low <= v && v <= high
		case int:
			low, errLow := strconv.Atoi(least)
			high, errHigh := strconv.Atoi(most)
			inside = errLow == nil && errHigh == nil && low <= v && v <= high
		case string:
			if of[0] != "" && !slices.Contains(of, v) {
				mistake(s.Key, "is %q; want one of: %s", v, strings.Join(of, ", "))
			}
		}
		if !inside {
			mistake(s.Key, "is %s; want %s to %s", s, least, most)
		}
	}
	if path, ok := l.ListenSocket(); ok {
		// A name that begins with @ has no file, and no mode.
		if path == "" || len(path) > maxSocketPath || path[0] == '@' || strings.Contains(path, "\x00") {
			mistake("listen", "is %q; want unix: and the path of a file, at most %d octets long", l.Listen, maxSocketPath)
		}
		if l.PublicURL == "" {
			mistake("public_url", "is empty; a unix socket, which listen names, has no URL; want the address of the proxy in front, such as https://auth.example.com")
		}
	} else if fault := addressFault(l.Listen, "127.0.0.1:8401 or :8401, or unix:PATH"); fault != "" {
		mistake("listen", "%s", fault)
	}
	if l.Metrics.Listen != "" {
		if fault := addressFault(l.Metrics.Listen, "127.0.0.1:8402"); fault != "" {
			mistake("metrics.listen", "%s", fault)
		}
	}
	for _, u := range []struct{ key, value string }{{"public_url", l.PublicURL}, {"issuer", l.Issuer}} {
		if fault := l.urlFault(u.value, u.key == "public_url"); fault != "" {
			mistake(u.key, "is %q; %s", u.value, fault)
		}
	}
	if l.DataDir == "" {
		mistake("data_dir", "is empty")
	}
	if _, err := l.SocketMode(); err != nil {
		mistake("listen_mode", "%s", err)
	}
	if _, _, err := l.ProxyNetworks(); err != nil {
		mistake("trusted_proxies", "%s", err)
	}
	if l.ClientCertFromProxies != "off" && len(l.TrustedProxies) == 0 {
		mistake("client_cert_from_proxies", "is %s, and trusted_proxies is empty: the field of no peer would be read", l.ClientCertFromProxies)
	}
	// The guard defines the syntax of an origin.
	guard := durward.Config{Schemes: []durward.Scheme{durward.Session()}, Origins: l.CORS.Origins}
	if _, err := durward.New(guard); err != nil {
		text := strings.ReplaceAll(strings.TrimPrefix(err.Error(), "durward: "), "\ndurward: ", "; ")
		mistake("cors.origins", "contains an invalid origin: %s; write origins as browsers do, such as https://app.example.com", text)
	}
	if l.MasterKey != "" {
		if _, err := seal.Parse(l.MasterKey); err != nil {
			mistake("master_key", "is invalid: %s", strings.TrimPrefix(err.Error(), "seal: "))
		}
	}
	if u := l.Database.URL; u != "" && u.Fault() != "" {
		mistake("database.url", "%s", u.Fault())
	}
	if _, isFile := l.DatabaseURL().File(); isFile && l.Pooled() {
		mistake("database.pool", "is transaction, which requires a PostgreSQL database in database.url")
	}
	if l.Redis.URL != "" {
		if err := valkey.Check(l.Redis.URL.Reveal()); err != nil {
			mistake("redis.url", "%s", err)
		}
	}
	if l.SMTP.URL != "" {
		if err := smtp.CheckURL(l.SMTP.URL); err != nil {
			mistake("smtp.url", "%s", err)
		}
		if l.PublicURL == "" {
			mistake("public_url", "is empty; links in the mails that smtp.url sends need it")
		}
		if _, err := netip.ParseAddr(l.mailHost()); err == nil && l.Mail.From == "" {
			mistake("mail.from", "is empty, and the host of public_url is no name; want an address such as accounts@example.com")
		}
	}
	if _, err := l.MailFrom(); err != nil {
		mistake("mail.from", "%s", err)
	}
	if strings.ContainsFunc(l.Mail.Name, unicode.IsControl) || len(l.Mail.Name) > 100 {
		mistake("mail.name", "is %q; want one line of at most 100 octets", l.Mail.Name)
	}
	if path := l.SMTP.CAFile; path != "" {
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
			mistake("smtp.ca_file", "is %q, which is not a readable file", path)
		}
	}
	switch secret, err := l.SharedSecret(); {
	case err != nil:
		mistake("tokens.shared_secret", "%s", err)
	case l.Tokens.Algorithm == "HS256" && secret == nil:
		mistake("tokens.algorithm", "is HS256, which requires tokens.shared_secret; make one with: openssl rand -hex 32")
	case l.Tokens.Algorithm != "HS256" && secret != nil:
		mistake("tokens.shared_secret", "requires tokens.algorithm HS256")
	}
	if cost := l.Passwords.Argon2Memory * l.Passwords.Argon2Time; cost > 256<<10 {
		mistake("passwords.argon2_memory", "multiplied by passwords.argon2_time is %d; want at most %d", cost, 256<<10)
	}
	if l.Passwords.MaxLength < l.Passwords.MinLength {
		mistake("passwords.max_length", "is %d; want passwords.min_length, which is %d, or more", l.Passwords.MaxLength, l.Passwords.MinLength)
	}
	if l.Passwords.MinLength >= 8 && l.Passwords.MinLengthSecondFactor > l.Passwords.MinLength {
		mistake("passwords.min_length_second_factor", "is %d; want at most passwords.min_length, which is %d", l.Passwords.MinLengthSecondFactor, l.Passwords.MinLength)
	}
	if path := l.Passwords.Blocklist; path != "" {
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
			mistake("passwords.blocklist", "is %q, which is not a readable file", path)
		}
	}
	return append(mistakes, l.checkTables()...)
}

// pathPrefix matches the path of public_url: cookie names contain it, and no client writes it in two ways.
var pathPrefix = regexp.MustCompile(`^(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*/?$`)

// urlFault describes why text is not an issuer, or with public set not a public_url; "" if it is, or is empty.
func (l *Loaded) urlFault(text string, public bool) string {
	u, err := url.Parse(text)
	switch {
	case text == "": // the default
		return ""
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return "want an address such as https://auth.example.com"
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery: // RFC 8414 s2
		return "want an address without user, query and fragment"
	case public && !pathPrefix.MatchString(u.EscapedPath()):
		return "want a path of letters, digits, dots, hyphens and underscores, such as that of https://app.example.com/auth, or none"
	case u.Scheme == "http" && !loopback.Host(u.Hostname()) && !l.InsecureAllowHTTP:
		return "want https, because plain http exposes passwords and tokens to the network; insecure_allow_http allows it"
	}
	return ""
}

// addressFault returns what is wrong with an address and port to listen on, empty if nothing is.
func addressFault(address, examples string) string {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Sprintf("is %q; want an address with a port, such as %s", address, examples)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Sprintf("has the port %q; want a number up to 65535, or 0 for a free port", port)
	}
	return ""
}
