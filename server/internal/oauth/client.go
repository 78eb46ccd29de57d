package oauth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/durward-auth/durward/internal/loopback"
	"github.com/durward-auth/durward/server/internal/store"
)

// Values of grant_type.
const (
	GrantCode        = "authorization_code"
	GrantRefresh     = "refresh_token"
	GrantCredentials = "client_credentials"
)

// Client returns an enabled client. It refuses an unknown or disabled one with InvalidClient.
func (m *Manager) Client(ctx context.Context, id string) (store.Client, error) {
	c, err := m.c.DB.ClientByID(ctx, id)
	return c, refuseDisabled(c, err)
}

// refuseDisabled returns the refusal of a client that was read with err: an unknown or disabled one.
func refuseDisabled(c store.Client, err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return &Error{Code: InvalidClient, Description: "This client is not known.", Err: errors.New("no client has the id")}
	case err == nil && !c.DisabledAt.IsZero():
		return &Error{Code: InvalidClient, Description: "This client is not known.", Err: errors.New("the client " + c.ID + " is disabled")}
	}
	return err
}

// mayRedirect reports whether a client registered a redirect URI. URIs are compared as strings (RFC 9700
// s2.1). Those at a loopback address by http may differ in the port (RFC 8252 s7.3); the name localhost is one
// for public clients alone.
func mayRedirect(c store.Client, uri string) bool {
	return slices.ContainsFunc(c.RedirectURIs, func(registered string) bool {
		return uri == registered || withoutPort(c, uri) != "" && withoutPort(c, uri) == withoutPort(c, registered)
	})
}

// withoutPort returns a redirect URI at a loopback address without its port, or "" for another URI.
func withoutPort(c store.Client, uri string) string {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "http" || u.User != nil || u.Fragment != "" || u.String() != uri {
		return ""
	}
	host := u.Hostname()
	if host != "127.0.0.1" && host != "::1" && (host != "localhost" || c.Auth != store.ClientPublic) {
		return ""
	}
	if u.Port() == "" {
		return uri
	}
	u.Host = strings.TrimSuffix(net.JoinHostPort(host, ""), ":")
	return u.String()
}

// secretPrefix begins the secrets that the server makes.
const secretPrefix = "dcs_"

// NewSecret returns a new secret for a client: it is shown once, and its hash is stored.
func NewSecret(clientID string, m *Manager) (secret string, stored store.HashedSecret) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	var text strings.Builder
	text.WriteString(secretPrefix)
	var octet [1]byte
	for text.Len() < len(secretPrefix)+43 {
		_, _ = rand.Read(octet[:]) // crypto/rand.Read never returns an error
		if n := int(octet[0]); n < 256/len(alphabet)*len(alphabet) {
			text.WriteByte(alphabet[n%len(alphabet)])
		}
	}
	secret = text.String()
	return secret, store.HashedSecret{ID: store.NewID(), ClientID: clientID, Hash: sha256.Sum256([]byte(secret)), CreatedAt: m.c.Now()}
}

// uriText reports whether text has the characters of a URI alone (RFC 3986 s2). The database separates URIs by
// spaces, and Go has other spaces than those of ASCII.
func uriText(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}

// CheckRedirectURI returns an error if a redirect URI must not be registered: https, http at a loopback
// address, or a scheme with a dot (RFC 8252 s7.1), without a fragment (RFC 6749 s3.1.2).
func CheckRedirectURI(uri string) error {
	u, err := url.Parse(uri)
	switch {
	case err != nil || !u.IsAbs() || !uriText(uri):
		return errors.New("is not an absolute URL")
	case strings.Contains(uri, "#"):
		return errors.New("has a fragment")
	case u.User != nil:
		return errors.New("contains a user name")
	case u.Scheme == "https" && u.Host != "":
		return nil
	case u.Scheme == "http" && loopback.Host(u.Hostname()):
		return nil
	case u.Scheme == "http":
		return errors.New("is plain http to another machine; use https")
	case strings.Contains(u.Scheme, "."):
		return nil
	}
	return errors.New("has a scheme without a dot; an app uses one such as com.example.app")
}
