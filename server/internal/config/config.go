// Package config reads the server's configuration: defaults, one TOML file, environment
// variables and command line flags, in this order of precedence. The comments of Config's fields
// are the operator's manual; WriteReference prints them as docs/config.md.
package config

import (
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/mail"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/durward-auth/durward/server/internal/seal"
)

// Config holds every key that an operator can set. The doc comment of a field is its manual. Its tag
// "default" is the value if nothing is set, "range" the least and the greatest value, and "of" the
// list of the allowed texts.
type Config struct {
	// Address and port to listen on. Port 0 picks a free port. Or `unix:PATH` for a unix socket,
	// which requires `public_url` and the entry `unix:` in `trusted_proxies`; the server replaces a
	// socket that no program listens on. A socket that systemd passes (LISTEN_FDS) takes
	// precedence.
	Listen string `toml:"listen" default:"127.0.0.1:8401"`

	// Mode of the file of a unix socket, in octal digits. It decides which users of the machine can
	// connect.
	ListenMode string `toml:"listen_mode" default:"0660"`

	// URL of the server as clients see it, such as https://auth.example.com. Links and
	// challenges contain it. A path, such as that of https://app.example.com/auth, is the prefix of
	// all URLs of the server, for a host that it shares with other programs. The proxy in front
	// passes the whole path on, and also the path /.well-known/oauth-authorization-server/auth
	// (RFC 8414 s3.1), and /.well-known/change-password and /.well-known/passkey-endpoints if no other
	// program of the host answers them. Set it before the first command, because the default of `issuer`
	// follows it. Default: the address of the listener.
	PublicURL string `toml:"public_url"`

	// Issuer of the tokens: their claim `iss`. Default: `public_url`, or
	// http://127.0.0.1:8401 if `public_url` is empty. The first command that opens a database
	// stores the issuer in it for good, so set `public_url` or `issuer` before that command. To
	// change `public_url` later, set `issuer` to the stored value. Another issuer needs a new
	// database, to which the users are added again, and a change in each service that verifies the
	// tokens.
	Issuer string `toml:"issuer"`

	// Folder of the database and the master key. The server creates it with mode 0700.
	DataDir string `toml:"data_dir" default:"./durward-data"`

	// IP addresses or networks of your reverse proxies. The server uses X-Forwarded-For and
	// X-Forwarded-Proto only in requests from these addresses, because any client can send
	// these fields. The entry `unix:` stands for all peers on the unix socket of `listen`.
	// Default: none.
	TrustedProxies []string `toml:"trusted_proxies"`

	// Field in which `trusted_proxies` pass the client's certificate, for tokens that are bound to
	// one (RFC 8705): `off`, `rfc9440` (Client-Cert), `xfcc` (Envoy: X-Forwarded-Client-Cert with
	// SANITIZE_SET), `traefik` (X-Forwarded-Tls-Client-Cert), `nginx` (Ssl-Client-Cert with
	// $ssl_client_escaped_cert, as ingress-nginx sends it), `alb` (AWS: X-Amzn-Mtls-Clientcert, of the
	// mode passthrough) or `alb-verify` (AWS: X-Amzn-Mtls-Clientcert-Leaf). Each proxy must remove
	// the field from requests of its clients, because a client that can send it can pass as the
	// holder of any certificate.
	ClientCertFromProxies string `toml:"client_cert_from_proxies" default:"off" of:"off,rfc9440,xfcc,traefik,nginx,alb,alb-verify"`

	// Accept passwords and tokens over plain HTTP from other machines too. Set it only on a
	// network that no attacker can read.
	InsecureAllowHTTP bool `toml:"insecure_allow_http"`

	// Self-registration: `off`, `invite` (users whom the operator invites with `durward user invite`
	// set their own password), or `open` (any visitor can create an account).
	Registration string `toml:"registration" default:"off" of:"off,invite,open"`

	// A user who registers has to open a link in a mail before the first sign-in. The response to a
	// registration is then the same whether the address has an account or not.
	VerifyEmail bool `toml:"verify_email"`

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

		// Kind of the connection to PostgreSQL: `session`, to the server itself, or
		// `transaction`, through a pooler that gives a connection for one transaction
		// (PgBouncer with `pool_mode = transaction`, poolers of managed services). Through a
		// pooler, nodes learn of each other's revocations by a poll every 400 ms instead of a
		// notification, and migrations, `durward db restore`, `durward db copy` and
		// `durward serve --accept-rollback` need the address of the server itself.
		Pool string `toml:"pool" default:"session" of:"session,transaction"`

		// Migrate the schema of an older version when the server starts. If this is `false`,
		// the server refuses to start with an older schema until you run
		// `durward db migrate`.
		Migrate bool `toml:"migrate" default:"true"`
	} `toml:"database"`

	Redis struct {
		// Redis or Valkey that all nodes share:
		// redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE], or rediss:// for TLS. With it,
		// limits count requests to all nodes together, a DPoP nonce of one node is valid at
		// every node, and revocations are pushed to the other nodes. While Redis is
		// unreachable, each node counts on its own.
		URL seal.Secret `toml:"url"`
	} `toml:"redis"`

	SMTP struct {
		// Server that sends mails: smtp://USER:PASSWORD@HOST[:PORT] for STARTTLS (port 587),
		// smtps:// for TLS from the beginning (port 465), smtp+plain://HOST[:PORT] for a
		// server on this machine without TLS and password (port 25). If it is empty, mails are
		// written to `mail.folder`.
		URL seal.Secret `toml:"url"`

		// PEM file of the certificate authorities that the server's certificate is checked
		// with. Default: those of the system.
		CAFile string `toml:"ca_file"`
	} `toml:"smtp"`

	Mail struct {
		// Sender of mails: an address, or a name and an address such as
		// `Example <accounts@example.com>`. Default: no-reply at the host of `public_url`.
		From string `toml:"from"`

		// Name of the service in mails. Default: the host of `public_url`.
		Name string `toml:"name"`

		// Language of mails to users who have not signed in with a browser: `en` or `de`.
		Language string `toml:"language" default:"en" of:"en,de"`

		// Folder for mails as files (.eml) if `smtp.url` is empty. The newest 1000 are kept.
		// Their links work: protect the folder like `data_dir`. Default: the folder mail in
		// `data_dir`.
		Folder string `toml:"folder"`
	} `toml:"mail"`

	Pages struct {
		// Name of the product in titles and at the head of the pages. Default: the name in mails.
		Name string `toml:"name"`

		// SVG or PNG file of at most 128 KiB, shown at the head of the pages. Default: none.
		Logo string `toml:"logo"`

		// Colour of links and buttons, such as `#17497a`. The server makes a colour that is hard
		// to read on the page darker, or lighter on a dark page, and warns. Default: blue.
		Accent string `toml:"accent"`
	} `toml:"pages"`

	Doctor struct {
		// Servers that the page `/doctor` may ask for its visitors: `off` for none, or `public` for
		// public https addresses at port 443, without credentials, at most ten a minute for each
		// network.
		Outbound string `toml:"outbound" default:"off" of:"off,public"`
	} `toml:"doctor"`

	Tokens struct {
		// Lifetime of access tokens.
		AccessTTL time.Duration `toml:"access_ttl" default:"15m" range:"1s,24h"`

		// Lifetime of an unused refresh token.
		RefreshTTL time.Duration `toml:"refresh_ttl" default:"168h" range:"1s,87600h"`

		// Time from sign-in after which tokens can no longer be refreshed.
		RefreshAbsolute time.Duration `toml:"refresh_absolute" default:"720h" range:"1s,87600h"`

		// Time in which a client that lost the response can send a used refresh token again. It
		// gets the current refresh token.
		RefreshGrace time.Duration `toml:"refresh_grace" default:"30s" range:"1ms,10m"`

		// Signature algorithm of new keys: `ES256`, `EdDSA`, `RS256`, `PS256`, or `HS256`
		// with `shared_secret`.
		Algorithm string `toml:"algorithm" default:"ES256" of:"ES256,EdDSA,RS256,PS256,HS256"`

		// Key of HS256, at least 256 bits, in hexadecimal or base64url. Every program that
		// has it can create tokens.
		SharedSecret seal.Secret `toml:"shared_secret"`

		// Audience of the tokens: their claim `aud`. Default: the issuer.
		Audience []string `toml:"audience"`

		// Time for which tokens are accepted after they expire, at most 1m, because clocks
		// differ.
		Leeway time.Duration `toml:"leeway" range:"0s,1m"`
	} `toml:"tokens"`

	OAuth struct {
		// Lifetime of an authorization code. A client exchanges it for tokens.
		CodeTTL time.Duration `toml:"code_ttl" default:"60s" range:"1s,10m"`
	} `toml:"oauth"`

	Sessions struct {
		// Lifetime of an unused browser session (cookie). The server records use at most once
		// a minute, so a session can end up to one minute early.
		Idle time.Duration `toml:"idle" default:"30m" range:"1s,87600h"`

		// Lifetime of a browser session from sign-in, regardless of use.
		Absolute time.Duration `toml:"absolute" default:"12h" range:"1s,87600h"`

		// As `idle`, for a user who asked to stay signed in (`remember`).
		RememberIdle time.Duration `toml:"remember_idle" default:"168h" range:"1s,87600h"`

		// As `absolute`, for such a user.
		RememberAbsolute time.Duration `toml:"remember_absolute" default:"720h" range:"1s,87600h"`
	} `toml:"sessions"`

	Limits struct {
		// Number of failed attempts on one account from one network. Then the network is blocked
		// for this account.
		AccountFailures int `toml:"account_failures" default:"5" range:"1,100"`

		// Period over which these failures are counted.
		AccountWindow time.Duration `toml:"account_window" default:"15m" range:"1s,24h"`

		// Duration of the block.
		AccountBlock time.Duration `toml:"account_block" default:"1h" range:"1s,24h"`

		// Number of failed attempts on one account in a row, from all networks together. Then the
		// account is locked for all clients but known devices: browsers in which its user signed in,
		// and clients that hold a session. 0 disables this limit and `device_lock_failures`.
		AccountLockFailures int `toml:"account_lock_failures" default:"10" range:"0,100"`

		// Number of failed attempts in a row from one known device. Then it is locked.
		DeviceLockFailures int `toml:"device_lock_failures" default:"20" range:"1,100"`

		// Duration of the first lock. Each further one is twice as long, until an attempt succeeds
		// or none fails for a day.
		AccountLock time.Duration `toml:"account_lock" default:"15m" range:"1s,24h"`

		// Longest duration of a lock.
		AccountLockMax time.Duration `toml:"account_lock_max" default:"24h" range:"1s,720h"`

		// Failed attempts per minute from one network, over all accounts. 0 disables this
		// limit, `network_failures_hour` and the limit of 30 repeats of wrong passwords per minute.
		NetworkFailures int `toml:"network_failures" default:"10" range:"0,10000"`

		// Failed attempts per hour from one network, over all accounts.
		NetworkFailuresHour int `toml:"network_failures_hour" default:"100" range:"1,10000"`

		// Registrations in each hour from one network, of taken addresses too. 0 disables this limit.
		RegistrationsNetwork int `toml:"registrations_network" default:"10" range:"0,10000"`

		// Registrations in each hour with one e-mail address. 0 disables this limit.
		RegistrationsAddress int `toml:"registrations_address" default:"3" range:"0,10000"`

		// Mails in each hour that one network can ask for, such as those to reset a password.
		// Further requests get the same response and cause no mail. 0 disables this limit.
		MailsNetwork int `toml:"mails_network" default:"10" range:"0,10000"`

		// Mails in each hour that can be asked for with one e-mail address. 0 disables this
		// limit.
		MailsAddress int `toml:"mails_address" default:"3" range:"0,10000"`

		// Password hashes per minute for requests from one network: sign-ins, Basic, step-ups,
		// password changes and registrations, right or wrong. Basic with a remembered password
		// costs no hash. 0 disables this limit.
		NetworkHashes int `toml:"network_hashes" default:"300" range:"0,100000"`
	} `toml:"limits"`

	Admin struct {
		// Require a second factor for administration. Without one, an administrator cannot make an
		// API key with the scope `admin` or `revocations`.
		SecondFactor bool `toml:"second_factor" default:"true"`
	} `toml:"admin"`

	Passwords struct {
		// Memory for one password hash (Argon2id), in KiB. More memory makes guessing and
		// signing in slower. The server renews a hash when its user signs in. Multiplied by
		// `argon2_time` it is at most 262144; a stored hash that costs more matches no password.
		Argon2Memory int `toml:"argon2_memory" default:"19456" range:"8,262144"`

		// Number of passes over that memory.
		Argon2Time int `toml:"argon2_time" default:"2" range:"1,16"`

		// Minimum length of a new password, in characters; 8 or more.
		MinLength int `toml:"min_length" default:"15" range:"8,256"`

		// The same for a user with a second factor; at most `min_length`. Such a password stays
		// valid when the factor is removed.
		MinLengthSecondFactor int `toml:"min_length_second_factor" default:"8" range:"8,256"`

		// Maximum length of a new password, in characters; 64 or more.
		MaxLength int `toml:"max_length" default:"256" range:"64,1024"`

		// File of refused passwords, one per line, in addition to the built-in list.
		Blocklist string `toml:"blocklist"`

		// Names that attackers try first, such as those of your organisation and its products, of
		// at least three characters each. A new password needs letters besides them:
		// `words = ["acme"]` refuses acme-2026-acme-2026. Default: none.
		Words []string `toml:"words"`
	} `toml:"passwords"`

	SecurityLog struct {
		// Time for which events of the security log are kept, such as 8760h for a year; 0s keeps
		// them for ever. Their deletion is sealed, so `durward db check` does not take it for an
		// attack.
		Kept time.Duration `toml:"kept" default:"8760h" range:"0s,87600h"`
	} `toml:"security_log"`

	Metrics struct {
		// Address and port of the metrics for Prometheus, such as 127.0.0.1:8402: GET /metrics. Any
		// client that reaches it can read them, so keep it on this machine or in a network of your
		// own. Default: none.
		Listen string `toml:"listen"`
	} `toml:"metrics"`

	Log struct {
		// `debug`, `info`, `warn` or `error`.
		Level string `toml:"level" default:"info" of:"debug,info,warn,error"`

		// `text` or `json`.
		Format string `toml:"format" default:"text" of:"text,json"`
	} `toml:"log"`

	// APIs that accept access tokens of this server, and their scopes. All nodes need the same ones.
	Resources []Resource `toml:"resource"`

	// Programs that get tokens from this server. They cannot be changed by `durward client`, the API or the
	// console. A server that starts or reloads its configuration adds, changes and deletes clients until
	// the database has those of the file, so all nodes need the same ones. Clients that `durward client add` or
	// the API added stay as they are.
	Clients []Client `toml:"client"`
}

// Resource is an API of [[resource]].
type Resource struct {
	// URL of the API, with its path: the claim `aud` of its tokens, exactly as it is written here.
	URL string `toml:"url"`

	// Name on the page of consent. Default: the host of `url`.
	Name string `toml:"name"`

	// Scopes of the API.
	Scopes []Scope `toml:"scopes"`

	// Claims of the user in its access tokens: `groups`. Default: none.
	Claims []string `toml:"claims"`
}

// Scope is a scope of a resource.
type Scope struct {
	// Name of the scope, such as `items:read`.
	Name string `toml:"name"`

	// Text of the scope on the page of consent. Default: the name.
	Title string `toml:"title"`

	// Only users of these groups may give this scope to a client. Default: every user may.
	Groups []string `toml:"groups"`
}

// Client is a program of [[client]].
type Client struct {
	// Identifier of the client: `client_id` in its requests. It has up to 64 letters, digits and the
	// characters `. - _ ~`.
	ID string `toml:"id"`

	// Name on the page of consent. Default: `id`.
	Name string `toml:"name"`

	// Authentication of the client: `client_secret` for programs on a server, or `none` for apps on the
	// machines of users. Default: `client_secret`.
	Auth string `toml:"auth"`

	// Secret of the client, 32 to 256 characters. It has one in `secret`, `secret_file` or `secret_sha256`, or
	// two while it changes. Make one with: openssl rand -hex 32.
	Secret seal.Secret `toml:"secret"`

	// File with the secret. One line break at the end is dropped.
	SecretFile string `toml:"secret_file"`

	// SHA-256 of secrets, in hexadecimal digits, so that the file contains no secret:
	// printf %s "$SECRET" | sha256sum. The secret must be random, with 32 characters or more.
	SecretSHA256 []string `toml:"secret_sha256"`

	// Ways to get tokens. `authorization_code` is for sign-ins of users, with or without `refresh_token`.
	// `client_credentials` is for the client itself. Default: `authorization_code` and `refresh_token`.
	Grants []string `toml:"grants"`

	// URLs for the way back after a sign-in, up to 20. They are compared character by character. Use https,
	// or http at 127.0.0.1, [::1] or localhost with any port, or a scheme of an app with a dot.
	RedirectURIs []string `toml:"redirect_uris"`

	// Scopes that the client may have: `openid`, `profile`, `email`, `groups`, `offline_access`,
	// `revocations`, and those of its `resources`.
	Scopes []string `toml:"scopes"`

	// URLs of the resources that the client may call. The first one is the audience of its tokens if a request
	// names none. Default: tokens have the audience of `tokens.audience`.
	Resources []string `toml:"resources"`

	// URLs of resources. The client may inspect their tokens (RFC 7662), as an API does that asks this server
	// about each token.
	Introspects []string `toml:"introspects"`

	// Signature algorithm of ID tokens for a program that knows no other: `RS256`. Default: that of
	// `tokens.algorithm`.
	IDTokenAlg string `toml:"id_token_alg"`

	// Whether requests without PKCE (RFC 7636) are refused: `required`, or `optional` for old programs with
	// a secret. Default: `required`.
	PKCE string `toml:"pkce"`

	// The client is one of your own: its users are not asked for consent.
	Trusted bool `toml:"trusted"`

	fileHash [][32]byte // SHA-256 of the secret in SecretFile
}

// Default returns the configuration that applies if nothing is set.
func Default() *Config {
	c := new(Config)
	for _, s := range settingsOf(c) {
		if text := s.tag.Get("default"); text != "" {
			if err := s.setText(text); err != nil {
				panic(fmt.Sprintf("config: the default of %s %v", s.Key, err)) // a wrong tag of Config
			}
		}
	}
	return c
}

// IssuerURL returns the claim iss of the tokens. It does not depend on the listener's address, so
// tokens stay valid when the port changes.
func (c *Config) IssuerURL() string {
	return cmp.Or(c.Issuer, strings.TrimSuffix(c.PublicURL, "/"), "http://127.0.0.1:8401")
}

// IssuerName returns the name of the server in authenticator apps: the host of IssuerURL.
func (c *Config) IssuerName() string {
	u, err := url.Parse(c.IssuerURL())
	if err != nil { // refused at the start
		return ""
	}
	return u.Host
}

// Figures returns the settings that explanations of refusals name, as text for readers.
func (c *Config) Figures() map[string]string {
	return map[string]string{
		"tokens.access_ttl":       durationText(c.Tokens.AccessTTL),
		"limits.account_failures": strconv.Itoa(c.Limits.AccountFailures),
		"limits.account_block":    durationText(c.Limits.AccountBlock),
	}
}

// DatabaseURL returns the address of the database: database.url or its default.
func (c *Config) DatabaseURL() DatabaseURL {
	return cmp.Or(c.Database.URL, DatabaseURL("sqlite:"+filepath.Join(c.DataDir, "durward.db")))
}

// Pooled reports whether the database is behind a pooler that gives a connection for one transaction.
func (c *Config) Pooled() bool { return c.Database.Pool == "transaction" }

// DatabaseName returns the database for messages: the path of an SQLite file, or an address without
// its password.
func (c *Config) DatabaseName() string {
	if path, ok := c.DatabaseURL().File(); ok {
		return path
	}
	return c.DatabaseURL().String()
}

// CheckpointPath returns the file of the node's checkpoint: the last known position in the
// database's history. The node detects a rollback with it.
func (c *Config) CheckpointPath() string { return filepath.Join(c.DataDir, "durward.mark") }

// MailFolder returns the folder for mails: mail.folder or its default.
func (c *Config) MailFolder() string { return cmp.Or(c.Mail.Folder, filepath.Join(c.DataDir, "mail")) }

// MailFrom parses mail.from, or returns its default.
func (c *Config) MailFrom() (mail.Address, error) {
	if c.Mail.From == "" {
		return mail.Address{Address: "no-reply@" + c.mailHost()}, nil
	}
	from, err := mail.ParseAddress(c.Mail.From)
	if err != nil || strings.ContainsFunc(c.Mail.From, unicode.IsControl) {
		return mail.Address{}, fmt.Errorf("is %q; want an address such as accounts@example.com or Example <accounts@example.com>", c.Mail.From)
	}
	return *from, nil
}

// MailName returns the name of the service in mails: mail.name or its default.
func (c *Config) MailName() string { return cmp.Or(c.Mail.Name, c.mailHost()) }

// PagesName returns the name at the head of the pages: pages.name or its default.
func (c *Config) PagesName() string { return cmp.Or(c.Pages.Name, c.MailName()) }

// mailHost returns the host of public_url, or localhost.
func (c *Config) mailHost() string {
	u, err := url.Parse(c.PublicURL)
	if err != nil || u.Hostname() == "" {
		return "localhost"
	}
	return u.Hostname()
}

// MasterKeyPath returns the file of the master key. It is used if master_key is empty.
func (c *Config) MasterKeyPath() string { return filepath.Join(c.DataDir, "master.key") }

// SocketPeers is the entry of trusted_proxies for the peers of a unix socket.
const SocketPeers = "unix:"

// ListenSocket returns the path of the unix socket that listen names. ok is false if it names a
// network address.
func (c *Config) ListenSocket() (path string, ok bool) { return strings.CutPrefix(c.Listen, "unix:") }

// SocketMode parses listen_mode.
func (c *Config) SocketMode() (fs.FileMode, error) {
	mode, err := strconv.ParseUint(c.ListenMode, 8, 32)
	if err != nil || mode > 0o777 {
		return 0, fmt.Errorf("is %q; want octal digits of a file mode, such as 0660", c.ListenMode)
	}
	return fs.FileMode(mode), nil
}

// ProxyNetworks parses trusted_proxies. socket reports whether it has [SocketPeers].
func (c *Config) ProxyNetworks() (networks []netip.Prefix, socket bool, err error) {
	for _, text := range c.TrustedProxies {
		if text == SocketPeers {
			socket = true
			continue
		}
		p, err := netip.ParsePrefix(text)
		if err != nil {
			addr, addrErr := netip.ParseAddr(text)
			if addrErr != nil {
				return nil, false, fmt.Errorf("contains %q; want addresses or networks such as 10.0.0.7 or 10.0.0.0/8, or unix: for unix sockets", text)
			}
			p = netip.PrefixFrom(addr, addr.BitLen())
		}
		if p.Addr().Is4In6() && p.Bits() >= 96 { // clients are compared as IPv4
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		if p.Bits() == 0 || p.Addr().Is4In6() {
			return nil, false, fmt.Errorf("contains %q, which matches every client: any of them could forge its address", text)
		}
		networks = append(networks, p.Masked())
	}
	return networks, socket, nil
}

// SharedSecret decodes tokens.shared_secret. It returns nil if the setting is empty.
func (c *Config) SharedSecret() ([]byte, error) {
	text := c.Tokens.SharedSecret.Reveal()
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
		return nil, fmt.Errorf("has %d bits; want 256 or more; make one with: openssl rand -hex 32", 8*len(secret))
	}
	return secret, nil
}
