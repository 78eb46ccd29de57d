package config

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/loopback"
	"github.com/durward-auth/durward/internal/valkey"
	"github.com/durward-auth/durward/server/internal/seal"
)

// check validates all settings and returns every mistake.
func (l *Loaded) check() (mistakes []error) {
	mistake := func(key, format string, args ...any) {
		place := key
		if source := l.Setting(key).Source; source != "default" {
			place = source + ": " + key
		}
		mistakes = append(mistakes, fmt.Errorf("%s %s", place, fmt.Sprintf(format, args...)))
	}
	oneOf := func(key, value string, of ...string) {
		if !slices.Contains(of, value) {
			mistake(key, "is %q; want one of: %s", value, strings.Join(of, ", "))
		}
	}
	between := func(key string, d, least, most time.Duration) {
		if d < least || d > most {
			mistake(key, "is %s; want %s to %s", shortDuration(d), shortDuration(least), shortDuration(most))
		}
	}
	number := func(key string, n, least, most int) {
		if n < least || n > most {
			mistake(key, "is %d; want %d to %d", n, least, most)
		}
	}

	if _, port, err := net.SplitHostPort(l.Listen); err != nil {
		mistake("listen", "is %q; want an address with a port, such as 127.0.0.1:8401 or :8401", l.Listen)
	} else if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		mistake("listen", "has the port %q; want a number up to 65535, or 0 for a free port", port)
	}
	for _, u := range []struct{ key, value string }{{"public_url", l.PublicURL}, {"issuer", l.Issuer}} {
		if u.value == "" {
			continue
		}
		if fault := l.urlFault(u.value, u.key == "public_url"); fault != "" {
			mistake(u.key, "is %q; %s", u.value, fault)
		}
	}
	if l.DataDir == "" {
		mistake("data_dir", "is empty")
	}
	if _, err := l.ProxyNetworks(); err != nil {
		mistake("trusted_proxies", "%s", err)
	}
	// The guard defines the syntax of an origin.
	guard := durward.Config{Schemes: []durward.Scheme{durward.Session()}, Origins: l.CORS.Origins}
	if _, err := durward.New(guard); err != nil {
		text := strings.ReplaceAll(strings.TrimPrefix(err.Error(), "durward: "), "\ndurward: ", "; ")
		mistake("cors.origins", "contains an invalid origin: %s; write origins as browsers do, such as https://app.example.com", text)
	}
	oneOf("registration", l.Registration, "off", "open")
	if l.MasterKey != "" {
		if _, err := seal.Parse(l.MasterKey); err != nil {
			mistake("master_key", "is invalid: %s", strings.TrimPrefix(err.Error(), "seal: "))
		}
	}
	if l.Database.URL != "" {
		if fault := l.Database.URL.Fault(); fault != "" {
			mistake("database.url", "%s", fault)
		}
	}
	if l.Redis.URL != "" {
		if err := valkey.Check(l.Redis.URL.Reveal()); err != nil {
			mistake("redis.url", "%s", err)
		}
	}

	const tenYears = 10 * 365 * 24 * time.Hour
	between("tokens.access_ttl", l.Tokens.AccessTTL, time.Second, 24*time.Hour)
	between("tokens.refresh_ttl", l.Tokens.RefreshTTL, time.Second, tenYears)
	between("tokens.refresh_absolute", l.Tokens.RefreshAbsolute, time.Second, tenYears)
	between("tokens.refresh_grace", l.Tokens.RefreshGrace, time.Millisecond, 10*time.Minute)
	between("sessions.idle", l.Sessions.Idle, time.Second, tenYears)
	between("sessions.absolute", l.Sessions.Absolute, time.Second, tenYears)
	between("tokens.leeway", l.Tokens.Leeway, 0, time.Minute)
	oneOf("tokens.algorithm", l.Tokens.Algorithm, "ES256", "EdDSA", "RS256", "PS256", "HS256")
	switch secret, err := l.SharedSecret(); {
	case err != nil:
		mistake("tokens.shared_secret", "%s", err)
	case l.Tokens.Algorithm == "HS256" && secret == nil:
		mistake("tokens.algorithm", "is HS256, which requires tokens.shared_secret; make one with: openssl rand -hex 32")
	case l.Tokens.Algorithm != "HS256" && secret != nil:
		mistake("tokens.shared_secret", "requires tokens.algorithm HS256")
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
			mistake("passwords.blocklist", "is %q, which is not a readable file", path)
		}
	}
	oneOf("log.level", l.Log.Level, "debug", "info", "warn", "error")
	oneOf("log.format", l.Log.Format, "text", "json")
	return mistakes
}

// urlFault describes why text is not an issuer, or with origin set not an origin; "" if it is.
func (l *Loaded) urlFault(text string, origin bool) string {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return "want an address such as https://auth.example.com"
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery: // RFC 8414 s2
		return "want an address without user, query and fragment"
	case origin && u.Path != "" && u.Path != "/":
		return "want an origin, without a path"
	case u.Scheme == "http" && !loopback.Host(u.Hostname()) && !l.InsecureAllowHTTP:
		return "want https, because plain http exposes passwords and tokens to the network; insecure_allow_http allows it"
	}
	return ""
}
