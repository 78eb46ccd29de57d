package config

import (
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
)

// This file computes values that follow from several settings or need parsing.

// IssuerURL returns the claim iss of the tokens. It does not depend on the listener's address, so
// tokens stay valid when the port changes.
func (c *Config) IssuerURL() string {
	return cmp.Or(c.Issuer, strings.TrimSuffix(c.PublicURL, "/"), "http://127.0.0.1:8401")
}

// DatabaseURL returns the address of the database: database.url or its default.
func (c *Config) DatabaseURL() DatabaseURL {
	return cmp.Or(c.Database.URL, DatabaseURL("sqlite:"+filepath.Join(c.DataDir, "durward.db")))
}

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

// MasterKeyPath returns the file of the master key. It is used if master_key is empty.
func (c *Config) MasterKeyPath() string { return filepath.Join(c.DataDir, "master.key") }

// ProxyNetworks parses trusted_proxies.
func (c *Config) ProxyNetworks() ([]netip.Prefix, error) {
	var networks []netip.Prefix
	for _, text := range c.TrustedProxies {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			addr, addrErr := netip.ParseAddr(text)
			if addrErr != nil {
				return nil, fmt.Errorf("contains %q; want addresses or networks such as 10.0.0.7 or 10.0.0.0/8", text)
			}
			p = netip.PrefixFrom(addr, addr.BitLen())
		}
		if p.Addr().Is4In6() && p.Bits() >= 96 { // clients are compared as IPv4
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		if p.Bits() == 0 || p.Addr().Is4In6() {
			return nil, fmt.Errorf("contains %q, which matches every client: any of them could forge its address", text)
		}
		networks = append(networks, p.Masked())
	}
	return networks, nil
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
