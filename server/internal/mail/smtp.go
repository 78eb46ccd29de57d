package mail

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"

	"github.com/durward-auth/durward/internal/loopback"
	"github.com/durward-auth/durward/internal/printable"
	"github.com/durward-auth/durward/server/internal/seal"
)

// smtpTimeout is the time limit for a connection and for each message.
const smtpTimeout = 30 * time.Second

// ports are the default ports of the schemes of an SMTP address (RFC 8314 s3.3).
var ports = map[string]int{"smtp": 587, "smtps": 465, "smtp+plain": 25}

// CheckURL returns the fault of an SMTP address, in words for the operator and without any part of it:
//
//	smtp://USER:PASSWORD@HOST[:PORT]   TLS by STARTTLS; a server without it is refused
//	smtps://USER:PASSWORD@HOST[:PORT]  TLS from the first octet
//	smtp+plain://HOST[:PORT]           no TLS, for a server on this machine
func CheckURL(text seal.Secret) error {
	_, _, err := parseURL(text)
	return err
}

func parseURL(text seal.Secret) (u *url.URL, port int, err error) {
	const form = "write smtp://USER:PASSWORD@HOST:PORT with special characters as %XX"
	u, err = url.Parse(text.Reveal())
	if err != nil {
		return nil, 0, errors.New("is not a valid address; " + form)
	}
	port, known := ports[u.Scheme]
	if u.Port() != "" {
		n, err := strconv.ParseUint(u.Port(), 10, 16)
		if err != nil || n == 0 {
			return nil, 0, errors.New("has an invalid port; " + form)
		}
		port = int(n)
	}
	_, hasPassword := u.User.Password()
	switch {
	case !known:
		return nil, 0, errors.New("begins with another scheme than smtp, smtps and smtp+plain; " + form)
	case u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "":
		return nil, 0, errors.New("is not a valid address; " + form)
	case u.User != nil && (u.User.Username() == "" || !hasPassword):
		return nil, 0, errors.New("has a user without a password, or the reverse; " + form)
	case u.Scheme == "smtp+plain" && !loopback.Host(u.Hostname()):
		return nil, 0, errors.New("sends mail without TLS to another machine; use smtp:// or smtps://")
	case u.Scheme == "smtp+plain" && u.User != nil:
		return nil, 0, errors.New("has a password, which is never sent without TLS; use smtp:// or smtps://")
	}
	return u, port, nil
}

// relay is an SMTP server that accepts mails for all addresses (RFC 5321, RFC 6409).
type relay struct{ client *gomail.Client }

// newRelay returns a relay. caFile is empty for the authorities of the system.
func newRelay(text seal.Secret, caFile string) (*relay, error) {
	u, port, err := parseURL(text)
	if err != nil {
		return nil, fmt.Errorf("mail: the address of the SMTP server %w", err)
	}
	config := &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, fmt.Errorf("mail: cannot read the authorities of the SMTP server: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("mail: %s has no certificate in PEM form", caFile)
		}
	}
	options := []gomail.Option{gomail.WithPort(port), gomail.WithTimeout(smtpTimeout), gomail.WithTLSConfig(config)}
	switch u.Scheme {
	case "smtp":
		options = append(options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	case "smtps":
		options = append(options, gomail.WithSSL())
	case "smtp+plain":
		options = append(options, gomail.WithTLSPolicy(gomail.NoTLS))
	}
	if password, ok := u.User.Password(); ok {
		options = append(options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover),
			gomail.WithUsername(u.User.Username()), gomail.WithPassword(password))
	}
	client, err := gomail.NewClient(u.Hostname(), options...)
	if err != nil {
		return nil, fmt.Errorf("mail: %w", err)
	}
	return &relay{client}, nil
}

// send sends messages over one connection.
func (r *relay) send(ctx context.Context, messages []*gomail.Msg) []error {
	errs := make([]error, len(messages))
	if len(messages) == 0 {
		return errs
	}
	conn, lost := r.client.DialToSMTPClientWithContext(ctx)
	if lost == nil {
		defer func() { _ = r.client.CloseWithSMTPClient(conn) }()
	}
	for i, msg := range messages {
		if lost != nil {
			errs[i] = lost
			continue
		}
		if utf8, _ := conn.Extension("SMTPUTF8"); !utf8 && !ascii(msg.GetTo()[0].Address) {
			errs[i] = refused(errors.New("the address is not ASCII, and the SMTP server does not offer SMTPUTF8 (RFC 6531)"))
			continue
		}
		err := r.client.SendWithSMTPClient(conn, msg)
		if err == nil || msg.IsDelivered() {
			continue
		}
		failure, _ := errors.AsType[*gomail.SendError](err)
		// The log names no addresses.
		err = errors.New(printable.Line(strings.ReplaceAll(err.Error(), msg.GetTo()[0].Address, "ADDRESS"), 500))
		errs[i] = err
		switch code := failure.ErrorCode(); {
		case code == 0: // not an answer of the server
			lost = cmp.Or(lost, err)
		case code >= 500 && failure.Reason != gomail.ErrSMTPMailFrom && !strings.HasPrefix(failure.EnhancedStatusCode(), "5.7."):
			// RFC 5321 s4.2.1. A refused sender, or a refusal by policy (RFC 3463 s3.8), can be a fault of the
			// configuration, for the operator to correct.
			errs[i] = refused(err)
		}
	}
	return errs
}

func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > 0x7e })
}
