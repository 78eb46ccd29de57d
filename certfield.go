package durward

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// ClientCertFormat names the fields in which a proxy passes the certificate of its client, and
// their format.
type ClientCertFormat string

const (
	// ClientCertRFC9440 is Client-Cert and Client-Cert-Chain (RFC 9440), the default.
	ClientCertRFC9440 ClientCertFormat = "rfc9440"

	// ClientCertXFCC is X-Forwarded-Client-Cert of Envoy. The field must have one element with Cert
	// or Chain: forward_client_cert_details is SANITIZE_SET, and set_current_client_cert_details
	// has cert or chain. A list, as of APPEND_FORWARD, is refused: Envoy writes the names of a
	// certificate without quotes, so its holder can make the last element of a list.
	ClientCertXFCC ClientCertFormat = "xfcc"

	// ClientCertTraefik is X-Forwarded-Tls-Client-Cert of Traefik's PassTLSClientCert with pem.
	ClientCertTraefik ClientCertFormat = "traefik"

	// ClientCertNginx is Ssl-Client-Cert with nginx's $ssl_client_escaped_cert, as ingress-nginx
	// sends it with auth-tls-pass-certificate-to-upstream. It has no chain, so Roots must have the
	// authority that signed the certificate.
	ClientCertNginx ClientCertFormat = "nginx"

	// ClientCertALB is X-Amzn-Mtls-Clientcert of an AWS Application Load Balancer in its mode
	// passthrough. Test that yours removes the field from requests without a certificate: its
	// manual does not say so.
	ClientCertALB ClientCertFormat = "alb"

	// ClientCertALBVerify is X-Amzn-Mtls-Clientcert-Leaf of an AWS Application Load Balancer in its
	// mode verify, in which each client has a certificate. The field has no chain.
	ClientCertALBVerify ClientCertFormat = "alb-verify"
)

// Limits for certificates of unauthenticated clients, far above those in use.
const (
	maxCertificate = 16 << 10 // octets of a field line with one certificate
	maxCertList    = 48 << 10 // octets of a field line with a chain in escaped PEM
	maxChain       = 8        // certificates beside the leaf
	maxRSA         = 8192     // bits of an RSA key of a proxy's field; crypto/tls has the same limit for connections
)

// certFormat describes the fields of one format.
type certFormat struct {
	fields []string // canonical names
	vary   string   // those that Vary names
	read   func(http.Header) ([]*x509.Certificate, error)
}

var certFormats = map[ClientCertFormat]certFormat{
	ClientCertRFC9440: {
		fields: []string{"Client-Cert", "Client-Cert-Chain"},
		vary:   "Client-Cert", // RFC 9440 s2.4
		read:   readClientCert,
	},
	ClientCertXFCC:      certField("X-Forwarded-Client-Cert", readXFCC),
	ClientCertTraefik:   certField("X-Forwarded-Tls-Client-Cert", readTraefik),
	ClientCertNginx:     certField("Ssl-Client-Cert", escapedPEM),
	ClientCertALB:       certField("X-Amzn-Mtls-Clientcert", escapedPEM),
	ClientCertALBVerify: certField("X-Amzn-Mtls-Clientcert-Leaf", escapedPEM),
}

// certField describes a format of one field. It is absent or empty for a client without a
// certificate. read gets its only line.
func certField(name string, read func(string) ([]*x509.Certificate, error)) certFormat {
	return certFormat{fields: []string{name}, vary: name, read: func(h http.Header) ([]*x509.Certificate, error) {
		line, err := onlyLine(h, name, maxCertList)
		if line == "" || err != nil {
			return nil, err
		}
		certs, err := read(line)
		if err != nil {
			return nil, fmt.Errorf("%s from a trusted proxy is malformed: %w", name, err)
		}
		return certs, nil
	}}
}

// onlyLine returns the only line of a field, or "".
func onlyLine(h http.Header, name string, most int) (string, error) {
	lines := h[name]
	if len(lines) == 0 {
		return "", nil
	}
	if len(lines) > 1 || len(lines[0]) > most {
		return "", fmt.Errorf("%s from a trusted proxy is repeated or too long", name)
	}
	return strings.Trim(lines[0], " \t"), nil
}

// readClientCert reads the fields of RFC 9440. The client's certificate comes first.
func readClientCert(h http.Header) ([]*x509.Certificate, error) {
	if len(h["Client-Cert"]) == 0 {
		return nil, nil
	}
	line, err := onlyLine(h, "Client-Cert", maxCertificate)
	if err != nil {
		return nil, err
	}
	cert, err := byteSequence(line)
	if err != nil {
		return nil, fmt.Errorf("Client-Cert from a trusted proxy is malformed: %w", err)
	}
	all := []*x509.Certificate{cert}
	for _, line := range h["Client-Cert-Chain"] {
		for member := range strings.SplitSeq(line, ",") {
			if len(line) > maxCertificate || len(all) > maxChain {
				return nil, errors.New("Client-Cert-Chain from a trusted proxy is too long")
			}
			if cert, err = byteSequence(strings.Trim(member, " \t")); err != nil {
				return nil, fmt.Errorf("Client-Cert-Chain from a trusted proxy is malformed: %w", err)
			}
			all = append(all, cert)
		}
	}
	return all, nil
}

// byteSequence parses a certificate in DER between colons (RFC 9440 s2.1, RFC 9651 s4.2.7). Only
// the canonical base64 is accepted.
func byteSequence(text string) (*x509.Certificate, error) {
	der, err := base64.StdEncoding.DecodeString(strings.Trim(text, ":"))
	if err != nil || text != ":"+base64.StdEncoding.EncodeToString(der)+":" {
		return nil, errors.New("not a byte sequence")
	}
	return parseCertificate(der)
}

func parseCertificate(der []byte) (*x509.Certificate, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	if key, ok := cert.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() > maxRSA {
		return nil, fmt.Errorf("an RSA key of %d bits, at most %d are accepted", key.N.BitLen(), maxRSA)
	}
	return cert, nil
}

// escapedPEM parses percent-encoded certificates in PEM (RFC 7468), with only white space between
// them. A plus sign is itself: the encoders of proxies write a space as %20.
func escapedPEM(text string) (all []*x509.Certificate, err error) {
	if text, err = url.PathUnescape(text); err != nil {
		return nil, errors.New("not percent-encoded")
	}
	const space = " \t\r\n"
	for text = strings.TrimLeft(text, space); text != ""; text = strings.TrimLeft(text, space) {
		rest, begins := strings.CutPrefix(text, "-----BEGIN CERTIFICATE-----")
		body, rest, ends := strings.Cut(rest, "-----END CERTIFICATE-----")
		if !begins || !ends {
			return nil, errors.New("not a certificate in percent-encoded PEM")
		}
		if all, err = appendBase64(all, strings.Trim(body, space)); err != nil {
			return nil, err
		}
		text = rest
	}
	if len(all) == 0 {
		return nil, errors.New("no certificate")
	}
	return all, nil
}

// appendBase64 appends a certificate in base64 of DER. Line breaks are ignored.
func appendBase64(all []*x509.Certificate, text string) ([]*x509.Certificate, error) {
	if len(all) > maxChain {
		return nil, fmt.Errorf("more than %d certificates", 1+maxChain)
	}
	der, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, errors.New("not base64")
	}
	cert, err := parseCertificate(der)
	return append(all, cert), err
}

// readTraefik reads certificates in base64 of DER, separated by commas: PEM without its lines of
// dashes. Older versions of Traefik percent-encode the whole.
func readTraefik(line string) (all []*x509.Certificate, err error) {
	if line, err = url.PathUnescape(line); err != nil {
		return nil, errors.New("not percent-encoded")
	}
	for text := range strings.SplitSeq(line, ",") {
		if all, err = appendBase64(all, text); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// readXFCC reads the certificates of an X-Forwarded-Client-Cert line.
func readXFCC(line string) ([]*x509.Certificate, error) {
	values, err := splitXFCC(line)
	if err != nil {
		return nil, err
	}
	cert, chain := values["cert"], values["chain"]
	if cert == "" && chain == "" {
		return nil, errors.New("neither Cert nor Chain: set cert in Envoy's set_current_client_cert_details")
	}
	var all []*x509.Certificate
	if chain != "" { // it begins with the client's certificate
		if all, err = escapedPEM(chain); err != nil {
			return nil, fmt.Errorf("its Chain: %w", err)
		}
	}
	if cert != "" {
		leaf, err := escapedPEM(cert)
		switch {
		case err != nil:
			return nil, fmt.Errorf("its Cert: %w", err)
		case len(leaf) > 1:
			return nil, errors.New("its Cert has several certificates")
		case all == nil:
			all = leaf
		case !all[0].Equal(leaf[0]):
			return nil, errors.New("its Chain does not begin with Cert")
		}
	}
	// Envoy always sends Hash, and before all text that the certificate's holder chose. A name without
	// quotes can add a Cert that Envoy did not send.
	if hash := values["hash"]; hash != "" && !strings.EqualFold(hash, fmt.Sprintf("%x", sha256.Sum256(all[0].Raw))) {
		return nil, errors.New("its Hash is not the SHA-256 of the certificate")
	}
	return all, nil
}

// splitXFCC returns the values of cert, chain and hash of the only element of an XFCC line: pairs of
// key and value, separated by semicolons. A value with one of ,;= is quoted, with a backslash before
// each quote. Keys ignore case. Envoy does not quote the names of a certificate in URI and DNS, so
// that a name can add keys and elements: none of these three may be repeated, and the line must have
// one element.
func splitXFCC(line string) (map[string]string, error) {
	values := make(map[string]string)
	for {
		key, rest, ok := strings.Cut(line, "=")
		if key = strings.ToLower(strings.Trim(key, " \t")); !ok || strings.ContainsAny(key, ` ",;`) || key == "" {
			return nil, errors.New("not pairs of key and value")
		}
		value, rest, err := xfccValue(rest)
		if err != nil {
			return nil, err
		}
		if key == "cert" || key == "chain" || key == "hash" {
			if _, repeated := values[key]; repeated {
				return nil, fmt.Errorf("%q twice", key)
			}
			values[key] = value
		}
		switch {
		case rest == "":
			return values, nil
		case rest[0] == ',':
			return nil, errors.New("more than one element: set Envoy's forward_client_cert_details to SANITIZE_SET")
		}
		line = rest[1:] // after the semicolon
	}
}

// xfccValue returns the value at the start of text, and the rest: nothing, or text that begins with
// a semicolon or a comma.
func xfccValue(text string) (value, rest string, err error) {
	if !strings.HasPrefix(text, `"`) {
		end := strings.IndexAny(text, ";,")
		if end < 0 {
			end = len(text)
		}
		if strings.ContainsAny(text[:end], `"`) {
			return "", "", errors.New("a quote within a value")
		}
		return strings.Trim(text[:end], " \t"), text[end:], nil
	}
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			if rest = strings.TrimLeft(text[i+1:], " \t"); rest != "" && rest[0] != ';' && rest[0] != ',' {
				return "", "", errors.New("text after a quoted value")
			}
			return b.String(), rest, nil
		case c == '\\' && i+1 < len(text):
			i++
			b.WriteByte(text[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", errors.New("a quoted value without its end")
}
