package main

import (
	_ "embed"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/durward-auth/durward/server/internal/seal"
)

// Config is the configuration. The comments of its fields are the operator's
// manual: `durward config docs` prints them.
type Config struct {
	// Address to listen on. Port 0 picks a free one.
	Listen string `toml:"listen"`

	// Origin under which people and programs reach the server, such as
	// https://auth.example.com. Links and challenges name it. Default: the address
	// that is listened on.
	PublicURL string `toml:"public_url"`

	// Who issues the tokens: their `iss`. Default: `public_url`, or
	// http://127.0.0.1:8401 without one. A database belongs to one issuer for good.
	Issuer string `toml:"issuer"`

	// Folder for the database and the master key, made with mode 0700.
	DataDir string `toml:"data_dir"`

	// Addresses or networks of proxies whose X-Forwarded-For and X-Forwarded-Proto
	// are believed. None by default: anybody can send those fields.
	TrustedProxies []string `toml:"trusted_proxies"`

	// Take passwords and tokens over plain http from anywhere, not only from this
	// machine. For networks where nobody listens.
	InsecureAllowHTTP bool `toml:"insecure_allow_http"`

	// Whether anybody may make an account: `off` or `open`.
	Registration string `toml:"registration"`

	// Whether the API takes a person's address and password with each request
	// (Basic, RFC 7617), for programs that know no tokens. Digest is never offered:
	// it would need something stored that is as good as the password.
	Basic bool `toml:"basic"`

	// Whether access and refresh tokens are bound to a key where a client proves at the
	// sign-in to hold one (DPoP, RFC 9449). A bound token is worth nothing without a
	// fresh proof in each request. Clients that send no proof get Bearer tokens. While
	// this is off, bound tokens of an earlier start are not taken.
	DPoP bool `toml:"dpop"`

	// The master key in its written form, 64 hexadecimal digits, where it does not
	// stand in `data_dir`. Best given as DURWARD_MASTER_KEY_FILE.
	MasterKey seal.Secret `toml:"master_key"`

	CORS struct {
		// Origins of other pages whose scripts may call the API and read what it answers,
		// such as https://app.example.com. None by default.
		Origins []string `toml:"origins"`
	} `toml:"cors"`

	Database struct {
		// Where things are kept: `sqlite:PATH`, or `postgres://USER:PASSWORD@HOST/DATABASE`
		// (PostgreSQL 13 or newer) where several nodes share one database. Default:
		// durward.db in `data_dir`. An address with a password is best given as
		// DURWARD_DATABASE_URL_FILE. TLS is as the address says: `?sslmode=verify-full`
		// anywhere but on this machine.
		URL databaseURL `toml:"url"`

		// Whether a start brings the schema of an older version to this one's. With
		// `false` it refuses, and `durward db migrate` does it.
		Migrate bool `toml:"migrate"`
	} `toml:"database"`

	Redis struct {
		// Redis or Valkey that the nodes share, so that limits hold in sum over all of
		// them, a client may take its DPoP nonces from one to another, and revocations
		// are pushed: redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE], or rediss:// over
		// TLS. It may be away: then each node counts alone.
		URL seal.Secret `toml:"url"`
	} `toml:"redis"`

	Tokens struct {
		// Life of access tokens.
		AccessTTL time.Duration `toml:"access_ttl"`

		// Life of a refresh token that is not used.
		RefreshTTL time.Duration `toml:"refresh_ttl"`

		// Life of a sign-in, however often it is refreshed.
		RefreshAbsolute time.Duration `toml:"refresh_absolute"`

		// How long the answer to a refresh is given again to whoever lost it.
		RefreshGrace time.Duration `toml:"refresh_grace"`

		// Algorithm of new signing keys: `ES256`, `EdDSA`, `RS256`, `PS256`, or `HS256`
		// with `shared_secret`.
		Algorithm string `toml:"algorithm"`

		// The one key of HS256, 256 bits or more, in hexadecimal or base64url. Whoever
		// has it can make tokens.
		SharedSecret seal.Secret `toml:"shared_secret"`

		// Who the tokens are meant for: their `aud`. Default: the issuer.
		Audience []string `toml:"audience"`

		// How long after their end tokens are still taken, up to a minute.
		Leeway time.Duration `toml:"leeway"`
	} `toml:"tokens"`

	Sessions struct {
		// Life of a session in a browser (a cookie) that is not used. Use is written
		// down at most once a minute, so an end may come up to a minute sooner.
		Idle time.Duration `toml:"idle"`

		// Life of such a session since the sign-in, however often it is used.
		Absolute time.Duration `toml:"absolute"`
	} `toml:"sessions"`

	Limits struct {
		// Failures of one account from one network until it is blocked there.
		AccountFailures int `toml:"account_failures"`

		// Within which time they count.
		AccountWindow time.Duration `toml:"account_window"`

		// How long the block lasts.
		AccountBlock time.Duration `toml:"account_block"`

		// Failures a minute of one network, over all accounts. 0 is off, and the
		// limit of an hour with it.
		NetworkFailures int `toml:"network_failures"`

		// Failures an hour of one network.
		NetworkFailuresHour int `toml:"network_failures_hour"`
	} `toml:"limits"`

	Passwords struct {
		// Memory of one hash in KiB. More is slower for whoever guesses and for the
		// server; hashes are made anew at the next sign-in.
		Argon2Memory int `toml:"argon2_memory"`

		// Passes over that memory.
		Argon2Time int `toml:"argon2_time"`

		// Shortest password that can be set, in characters; 8 or more.
		MinLength int `toml:"min_length"`

		// Longest password that can be set, in characters; 64 or more.
		MaxLength int `toml:"max_length"`

		// File of refused passwords, one a line, beside the list that ships.
		Blocklist string `toml:"blocklist"`
	} `toml:"passwords"`

	Log struct {
		// `debug`, `info`, `warn` or `error`.
		Level string `toml:"level"`

		// `text` or `json`.
		Format string `toml:"format"`
	} `toml:"log"`
}

// defaults is the configuration of somebody who configured nothing.
func defaults() *Config {
	c := &Config{Listen: "127.0.0.1:8401", DataDir: "./durward-data", Registration: "off"}
	c.Database.Migrate = true
	c.Tokens.AccessTTL, c.Tokens.RefreshTTL, c.Tokens.RefreshAbsolute, c.Tokens.RefreshGrace = 15*time.Minute, 168*time.Hour, 720*time.Hour, 30*time.Second
	c.Tokens.Algorithm = "ES256"
	c.Sessions.Idle, c.Sessions.Absolute = 30*time.Minute, 12*time.Hour
	c.Limits.AccountFailures, c.Limits.AccountWindow, c.Limits.AccountBlock = 5, 15*time.Minute, time.Hour
	c.Limits.NetworkFailures, c.Limits.NetworkFailuresHour = 10, 100
	c.Passwords.Argon2Memory, c.Passwords.Argon2Time, c.Passwords.MinLength, c.Passwords.MaxLength = 19456, 2, 15, 256
	c.Log.Level, c.Log.Format = "info", "text"
	return c
}

// absent are keys that are looked for and that this version does not have, and
// what to know about that.
var absent = map[string]string{
	"smtp.url":       "is no key of this version: it sends no mail",
	"metrics.listen": "is no key of this version: it has no metrics",
}

//go:embed config.go
var thisFile string

// writeReference writes the reference of the configuration as Markdown: the
// comments of Config.
func writeReference(w io.Writer) error {
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", thisFile, parser.ParseComments)
	if err != nil {
		return err
	}
	comments := make(map[string]string)
	var walk func(prefix string, s *ast.StructType)
	walk = func(prefix string, s *ast.StructType) {
		for _, field := range s.Fields.List {
			tag, _ := strconv.Unquote(field.Tag.Value)
			key := prefix + reflect.StructTag(tag).Get("toml")
			if section, ok := field.Type.(*ast.StructType); ok {
				walk(key+".", section)
				continue
			}
			comments[key] = field.Doc.Text()
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if t, ok := n.(*ast.TypeSpec); ok && t.Name.Name == "Config" {
			walk("", t.Type.(*ast.StructType))
		}
		return true
	})

	fmt.Fprint(w, referenceHead)
	section := ""
	for _, s := range settings(defaults()) {
		if table, _, ok := strings.Cut(s.Key, "."); ok && table != section {
			section = table
			fmt.Fprintf(w, "\n## [%s]\n", section)
		}
		fmt.Fprintf(w, "\n### `%s`\n\n%s\n", s.Key, strings.TrimSpace(comments[s.Key]))
		fmt.Fprintf(w, "\n%s", s.kind())
		if value := s.String(); !s.value.IsZero() {
			fmt.Fprintf(w, ", default `%s`", value)
		}
		fmt.Fprintf(w, ". In the environment: `%s`", s.variable())
		if s.secret() {
			fmt.Fprintf(w, " or, better, `%s_FILE`, the path of a file", s.variable())
		}
		fmt.Fprint(w, ".")
		if s.reloads() {
			fmt.Fprint(w, " Read anew at SIGHUP.")
		}
		fmt.Fprintln(w)
	}
	return nil
}

const referenceHead = `# Configuration

Made by ` + "`durward config docs`" + ` from the comments in ` + "`server/cmd/durward/config.go`" + `.

Durward starts without any configuration. What is set is taken from, each
overruling the one before: the defaults, one TOML file (named by ` + "`--config`" + ` or
` + "`DURWARD_CONFIG`" + `; none is read otherwise), the environment, flags. Keys that do not
exist are mistakes, in the file and in the environment, and all mistakes are
reported together, each with its place. ` + "`durward config check`" + ` reports them without
starting anything, ` + "`durward config show`" + ` prints what holds and where it came from.

A duration is a number with its unit: ` + "`30s`, `15m`, `168h`" + `. Lists in the environment
are separated by commas.

## At the top
`
