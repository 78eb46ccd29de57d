// Package config reads the server's configuration: defaults, one TOML file, environment
// variables and command line flags, in this order of precedence. The comments of Config's fields
// are the operator's manual; WriteReference prints them as docs/config.md.
package config

import (
	"strings"
	"time"

	"github.com/durward-auth/durward/server/internal/seal"
)

// Config holds every key that an operator can set. The doc comment of a field is its manual.
type Config struct {
	// Address and port to listen on. Port 0 picks a free port.
	Listen string `toml:"listen"`

	// Origin of the server as clients see it, such as https://auth.example.com. Links and
	// challenges contain it. Default: the address of the listener.
	PublicURL string `toml:"public_url"`

	// Issuer of the tokens: their claim `iss`. Default: `public_url`, or
	// http://127.0.0.1:8401 if `public_url` is empty. A database belongs to one issuer, which
	// cannot be changed later.
	Issuer string `toml:"issuer"`

	// Folder of the database and the master key. The server creates it with mode 0700.
	DataDir string `toml:"data_dir"`

	// IP addresses or networks of your reverse proxies. The server uses X-Forwarded-For and
	// X-Forwarded-Proto only in requests from these addresses, because any client can send
	// these fields. Default: none.
	TrustedProxies []string `toml:"trusted_proxies"`

	// Accept passwords and tokens over plain HTTP from other machines too. Set it only on a
	// network that no attacker can read.
	InsecureAllowHTTP bool `toml:"insecure_allow_http"`

	// Self-registration: `off`, or `open` (any visitor can create an account).
	Registration string `toml:"registration"`

	// Accept e-mail address and password in each API request (Basic, RFC 7617), for programs
	// that cannot use tokens. Digest is never offered: the server would have to store a value
	// that is equivalent to the password.
	Basic bool `toml:"basic"`

	// Bind access and refresh tokens to a key of the client (DPoP, RFC 9449) if the client
	// sends a proof when it signs in. A stolen bound token is useless without that key.
	// Clients that send no proof get Bearer tokens. While this is `false`, bound tokens that
	// were issued earlier are refused.
	DPoP bool `toml:"dpop"`

	// Master key as 64 hexadecimal digits, if it is not in the file master.key of `data_dir`.
	// Prefer DURWARD_MASTER_KEY_FILE.
	MasterKey seal.Secret `toml:"master_key"`

	CORS struct {
		// Origins of other sites, such as https://app.example.com. Their scripts may call the API
		// and read its responses. Default: none.
		Origins []string `toml:"origins"`
	} `toml:"cors"`

	Database struct {
		// Address of the database: `sqlite:PATH`, or
		// `postgres://USER:PASSWORD@HOST/DATABASE` (PostgreSQL 13 or newer), which several
		// nodes can share. Default: durward.db in `data_dir`. If the address contains a
		// password, prefer DURWARD_DATABASE_URL_FILE. Add `?sslmode=verify-full` unless the
		// database runs on the same machine.
		URL DatabaseURL `toml:"url"`

		// Migrate the schema of an older version when the server starts. If this is `false`,
		// the server refuses to start with an older schema until you run
		// `durward db migrate`.
		Migrate bool `toml:"migrate"`
	} `toml:"database"`

	Redis struct {
		// Redis or Valkey that all nodes share:
		// redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE], or rediss:// for TLS. With it,
		// limits count requests to all nodes together, a DPoP nonce of one node is valid at
		// every node, and revocations are pushed to the other nodes. While Redis is
		// unreachable, each node counts on its own.
		URL seal.Secret `toml:"url"`
	} `toml:"redis"`

	Tokens struct {
		// Lifetime of access tokens.
		AccessTTL time.Duration `toml:"access_ttl"`

		// Lifetime of an unused refresh token.
		RefreshTTL time.Duration `toml:"refresh_ttl"`

		// Time from sign-in after which tokens can no longer be refreshed.
		RefreshAbsolute time.Duration `toml:"refresh_absolute"`

		// Time in which a client that lost the response can send a used refresh token again. It
		// gets the current refresh token.
		RefreshGrace time.Duration `toml:"refresh_grace"`

		// Signature algorithm of new keys: `ES256`, `EdDSA`, `RS256`, `PS256`, or `HS256`
		// with `shared_secret`.
		Algorithm string `toml:"algorithm"`

		// Key of HS256, at least 256 bits, in hexadecimal or base64url. Every program that
		// has it can create tokens.
		SharedSecret seal.Secret `toml:"shared_secret"`

		// Audience of the tokens: their claim `aud`. Default: the issuer.
		Audience []string `toml:"audience"`

		// Time for which tokens are accepted after they expire, at most 1m, because clocks
		// differ.
		Leeway time.Duration `toml:"leeway"`
	} `toml:"tokens"`

	Sessions struct {
		// Lifetime of an unused browser session (cookie). The server records use at most once
		// a minute, so a session can end up to one minute early.
		Idle time.Duration `toml:"idle"`

		// Lifetime of a browser session from sign-in, regardless of use.
		Absolute time.Duration `toml:"absolute"`
	} `toml:"sessions"`

	Limits struct {
		// Number of failed attempts on one account from one network. Then the network is blocked
		// for this account.
		AccountFailures int `toml:"account_failures"`

		// Period over which these failures are counted.
		AccountWindow time.Duration `toml:"account_window"`

		// Duration of the block.
		AccountBlock time.Duration `toml:"account_block"`

		// Failed attempts per minute from one network, over all accounts. 0 disables this
		// limit and `network_failures_hour`.
		NetworkFailures int `toml:"network_failures"`

		// Failed attempts per hour from one network, over all accounts.
		NetworkFailuresHour int `toml:"network_failures_hour"`
	} `toml:"limits"`

	Passwords struct {
		// Memory for one password hash (Argon2id), in KiB. More memory makes guessing and
		// signing in slower. The server renews a hash when its user signs in.
		Argon2Memory int `toml:"argon2_memory"`

		// Number of passes over that memory.
		Argon2Time int `toml:"argon2_time"`

		// Minimum length of a new password, in characters; 8 or more.
		MinLength int `toml:"min_length"`

		// Maximum length of a new password, in characters; 64 or more.
		MaxLength int `toml:"max_length"`

		// File of refused passwords, one per line, in addition to the built-in list.
		Blocklist string `toml:"blocklist"`
	} `toml:"passwords"`

	Log struct {
		// `debug`, `info`, `warn` or `error`.
		Level string `toml:"level"`

		// `text` or `json`.
		Format string `toml:"format"`
	} `toml:"log"`
}

// Default returns the configuration that applies if nothing is set.
func Default() *Config {
	c := &Config{Listen: "127.0.0.1:8401", DataDir: "./durward-data", Registration: "off"}
	c.Database.Migrate = true
	c.Tokens.AccessTTL, c.Tokens.RefreshTTL = 15*time.Minute, 168*time.Hour
	c.Tokens.RefreshAbsolute, c.Tokens.RefreshGrace = 720*time.Hour, 30*time.Second
	c.Tokens.Algorithm = "ES256"
	c.Sessions.Idle, c.Sessions.Absolute = 30*time.Minute, 12*time.Hour
	c.Limits.AccountFailures, c.Limits.AccountWindow, c.Limits.AccountBlock = 5, 15*time.Minute, time.Hour
	c.Limits.NetworkFailures, c.Limits.NetworkFailuresHour = 10, 100
	c.Passwords.Argon2Memory, c.Passwords.Argon2Time = 19456, 2
	c.Passwords.MinLength, c.Passwords.MaxLength = 15, 256
	c.Log.Level, c.Log.Format = "info", "text"
	return c
}

// reloadable reports whether a running server applies a new value of key at SIGHUP.
func reloadable(key string) bool {
	switch key {
	case "registration", "trusted_proxies", "log.level", "cors.origins":
		return true
	}
	return strings.HasPrefix(key, "limits.")
}

// planned lists keys that operators look for and that this version does not have.
var planned = map[string]string{
	"smtp.url":       "is not a key of this version, which sends no mail",
	"metrics.listen": "is not a key of this version, which has no metrics",
}
