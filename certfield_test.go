package durward_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/durward-auth/durward"
)

// pemOf returns certificates in PEM.
func pemOf(all ...[]byte) string {
	var b strings.Builder
	for _, der := range all {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	return b.String()
}

// escaped percent-encodes as nginx and Envoy do, and escapedALB as AWS does, with +, / and = as
// they are.
func escaped(text string) string { return strings.ReplaceAll(url.QueryEscape(text), "+", "%20") }
func escapedALB(text string) string {
	return strings.NewReplacer("%2B", "+", "%2F", "/", "%3D", "=").Replace(escaped(text))
}

// bare returns certificates as Traefik writes them: PEM without line ends and dashes.
func bare(all ...[]byte) string {
	var texts []string
	for _, der := range all {
		texts = append(texts, base64.StdEncoding.EncodeToString(der))
	}
	return strings.Join(texts, ",")
}

const certPeer = "10.0.0.7:1234"

var certProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}

// TestClientCertFormats: the certificate of each product's field, as the product writes it.
func TestClientCertFormats(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "people")
	between := ca.authority(t, "between", nil)
	ada, grace := ca.issue(t, newKey(t), "ada", nil).Certificate[0], between.issue(t, newKey(t), "grace", nil).Certificate[0]
	other := ca.issue(t, newKey(t), "other", nil).Certificate[0]
	const (
		xfcc    = "X-Forwarded-Client-Cert"
		traefik = "X-Forwarded-Tls-Client-Cert"
		nginx   = "Ssl-Client-Cert"
		alb     = "X-Amzn-Mtls-Clientcert"
		leaf    = "X-Amzn-Mtls-Clientcert-Leaf"
	)
	// As Envoy writes an element with everything in it. The subject has a quote, a comma and an
	// equals sign.
	const names = `;Subject="CN=a\"b,O=x\\";URI=spiffe://example/ada;DNS=a.example;DNS=b.example`
	hash := func(der []byte) string { return fmt.Sprintf("Hash=%x;", sha256.Sum256(der)) }
	cert := func(der []byte) string { return `Cert="` + escaped(pemOf(der)) + `"` }
	element := "By=spiffe://example/envoy;" + hash(ada) + cert(ada) + names
	deep := hash(grace) + cert(grace) + `;Chain="` + escaped(pemOf(grace, between.cert.Raw)) + `"`
	ten := strings.Repeat(pemOf(between.cert.Raw), 9)
	for _, c := range []struct {
		name   string
		format durward.ClientCertFormat
		fields http.Header
		want   string // name of the client, or code of the refusal
		cause  string // of the refusal
	}{
		{"no field: no certificate", durward.ClientCertXFCC, fields(), "CLIENT_CERTIFICATE_REQUIRED", ""},
		{"an empty field: no certificate", durward.ClientCertXFCC, fields(xfcc, ""), "CLIENT_CERTIFICATE_REQUIRED", ""},
		{"Cert and other keys: its client", durward.ClientCertXFCC, fields(xfcc, element), "ada", ""},
		{"Cert without quotes: its client", durward.ClientCertXFCC, fields(xfcc, hash(ada)+"Cert="+escaped(pemOf(ada))), "ada", ""},
		{"keys in another case: its client", durward.ClientCertXFCC, fields(xfcc, strings.ToUpper(hash(ada))+" CERT"+cert(ada)[len("Cert"):]), "ada", ""},
		{"Cert without Hash, of another proxy: its client", durward.ClientCertXFCC, fields(xfcc, cert(ada)), "ada", ""},
		{"By twice, of a proxy with two names: its client", durward.ClientCertXFCC, fields(xfcc, "By=a;By=b;"+hash(ada)+cert(ada)), "ada", ""},
		{"Chain alone: its first", durward.ClientCertXFCC, fields(xfcc, `Chain="`+escaped(pemOf(grace, between.cert.Raw))+`"`), "grace", ""},
		{"Cert and Chain: its client, by the chain", durward.ClientCertXFCC, fields(xfcc, deep), "grace", ""},
		{"an empty subject: its client", durward.ClientCertXFCC, fields(xfcc, `Subject="";`+element[:strings.Index(element, names)]), "ada", ""},
		{"no certificate in the element: refused", durward.ClientCertXFCC, fields(xfcc, `By=a;Hash=00;Subject="CN=ada"`), "INVALID_REQUEST", "neither Cert nor Chain"},
		{"two elements: refused", durward.ClientCertXFCC, fields(xfcc, element+","+element), "INVALID_REQUEST", "more than one element"},
		{"a name with an element of another client: refused", durward.ClientCertXFCC, fields(xfcc, hash(ada)+cert(ada)+";URI=x,By=a;"+hash(other)+cert(other)), "INVALID_REQUEST", "more than one element"},
		{"a name with the Cert of another client, and no Cert of Envoy: refused", durward.ClientCertXFCC, fields(xfcc, hash(ada)+"URI=x;"+cert(other)), "INVALID_REQUEST", "its Hash"},
		{"a name with the Chain of another client, and no Chain of Envoy: refused", durward.ClientCertXFCC, fields(xfcc, hash(ada)+"URI=x;Chain="+escaped(pemOf(other))), "INVALID_REQUEST", "its Hash"},
		{"a name with Hash and Cert of another client: refused", durward.ClientCertXFCC, fields(xfcc, hash(ada)+"URI=x;"+hash(other)+cert(other)), "INVALID_REQUEST", `"hash" twice`},
		{"two lines: refused", durward.ClientCertXFCC, fields(xfcc, element, xfcc, element), "INVALID_REQUEST", "repeated"},
		{"Cert twice: refused", durward.ClientCertXFCC, fields(xfcc, element+`;Cert="`+escaped(pemOf(ada))+`"`), "INVALID_REQUEST", `"cert" twice`},
		{"Cert that Chain does not begin with: refused", durward.ClientCertXFCC, fields(xfcc, strings.Replace(deep, escaped(pemOf(grace))+`";`, escaped(pemOf(ada))+`";`, 1)), "INVALID_REQUEST", "does not begin with Cert"},
		{"Cert of two certificates: refused", durward.ClientCertXFCC, fields(xfcc, `Cert="`+escaped(pemOf(grace, ada))+`"`), "INVALID_REQUEST", "several"},
		{"a Cert within the quoted subject: not read", durward.ClientCertXFCC, fields(xfcc, `Hash=00;Subject="x\";Cert=`+escaped(pemOf(ada))+`"`), "INVALID_REQUEST", "neither Cert nor Chain"},
		{"a quote that does not end: refused", durward.ClientCertXFCC, fields(xfcc, `Cert="`+escaped(pemOf(ada))), "INVALID_REQUEST", "without its end"},
		{"a quote within a value: refused", durward.ClientCertXFCC, fields(xfcc, `Cert=`+escaped(pemOf(ada))+`"x"`), "INVALID_REQUEST", "quote"},
		{"text after the quotes: refused", durward.ClientCertXFCC, fields(xfcc, `Cert="`+escaped(pemOf(ada))+`"x`), "INVALID_REQUEST", "after"},
		{"no pairs: refused", durward.ClientCertXFCC, fields(xfcc, escaped(pemOf(ada))), "INVALID_REQUEST", "pairs"},
		{"RFC 9440's field: not read", durward.ClientCertXFCC, fields("Client-Cert", field(ada)), "CLIENT_CERTIFICATE_REQUIRED", ""},

		{"no field: no certificate", durward.ClientCertTraefik, fields(), "CLIENT_CERTIFICATE_REQUIRED", ""},
		{"base64: its client", durward.ClientCertTraefik, fields(traefik, bare(ada)), "ada", ""},
		{"percent-encoded, as older versions write: its client", durward.ClientCertTraefik, fields(traefik, url.QueryEscape(bare(ada))), "ada", ""},
		{"a chain: its client", durward.ClientCertTraefik, fields(traefik, bare(grace, between.cert.Raw)), "grace", ""},
		{"a percent-encoded chain: its client", durward.ClientCertTraefik, fields(traefik, url.QueryEscape(bare(grace, between.cert.Raw))), "grace", ""},
		{"PEM: refused", durward.ClientCertTraefik, fields(traefik, escaped(pemOf(ada))), "INVALID_REQUEST", "not base64"},
		{"an empty member: refused", durward.ClientCertTraefik, fields(traefik, bare(ada)+","), "INVALID_REQUEST", ""},
		{"ten certificates: refused", durward.ClientCertTraefik, fields(traefik, bare(grace)+strings.Repeat(","+bare(between.cert.Raw), 9)), "INVALID_REQUEST", "more than 9"},
		{"two lines: refused", durward.ClientCertTraefik, fields(traefik, bare(ada), traefik, bare(ada)), "INVALID_REQUEST", "repeated"},

		{"no field: no certificate", durward.ClientCertNginx, fields(), "CLIENT_CERTIFICATE_REQUIRED", ""},
		{"an empty field: no certificate", durward.ClientCertNginx, fields(nginx, ""), "CLIENT_CERTIFICATE_REQUIRED", ""},
		{"escaped PEM: its client", durward.ClientCertNginx, fields(nginx, escaped(pemOf(ada))), "ada", ""},
		{"escaped PEM with CRLF: its client", durward.ClientCertNginx, fields(nginx, escaped(strings.ReplaceAll(pemOf(ada), "\n", "\r\n"))), "ada", ""},
		{"PEM as it is: refused", durward.ClientCertNginx, fields(nginx, strings.ReplaceAll(pemOf(ada), "\n", "\t")), "INVALID_REQUEST", "base64"},
		{"spaces as plus signs: refused", durward.ClientCertNginx, fields(nginx, url.QueryEscape(pemOf(ada))), "INVALID_REQUEST", "PEM"},
		{"escaped wrongly: refused", durward.ClientCertNginx, fields(nginx, escaped(pemOf(ada))+"%4"), "INVALID_REQUEST", "percent-encoded"},
		{"a private key: refused", durward.ClientCertNginx, fields(nginx, escaped(strings.ReplaceAll(pemOf(ada), "CERTIFICATE", "PRIVATE KEY"))), "INVALID_REQUEST", "PEM"},
		{"text before it: refused", durward.ClientCertNginx, fields(nginx, escaped("x"+pemOf(ada))), "INVALID_REQUEST", "PEM"},
		{"text after it: refused", durward.ClientCertNginx, fields(nginx, escaped(pemOf(ada)+"x")), "INVALID_REQUEST", "PEM"},
		{"without its last line: refused", durward.ClientCertNginx, fields(nginx, escaped(strings.Split(pemOf(ada), "-----END")[0])), "INVALID_REQUEST", "PEM"},
		{"ten certificates: refused", durward.ClientCertNginx, fields(nginx, escaped(pemOf(grace)+ten)), "INVALID_REQUEST", "more than 9"},
		{"too long: refused", durward.ClientCertNginx, fields(nginx, escaped(pemOf(ada))+strings.Repeat("%0A", 16<<10)), "INVALID_REQUEST", "too long"},
		{"two lines: refused", durward.ClientCertNginx, fields(nginx, escaped(pemOf(ada)), nginx, ""), "INVALID_REQUEST", "repeated"},

		{"no field: no certificate", durward.ClientCertALB, fields(), "CLIENT_CERTIFICATE_REQUIRED", ""},
		{"passthrough: the first", durward.ClientCertALB, fields(alb, escapedALB(pemOf(grace, between.cert.Raw))), "grace", ""},
		{"passthrough: the field of verify is not read", durward.ClientCertALB, fields(leaf, escapedALB(pemOf(ada))), "CLIENT_CERTIFICATE_REQUIRED", ""},
		{"verify: the field of passthrough is not read", durward.ClientCertALBVerify, fields(alb, escapedALB(pemOf(ada))), "CLIENT_CERTIFICATE_REQUIRED", ""},
		{"verify: the leaf", durward.ClientCertALBVerify, fields(leaf, escapedALB(pemOf(ada)), "X-Amzn-Mtls-Clientcert-Subject", "CN=grace"), "ada", ""},
		{"two lines: refused", durward.ClientCertALB, fields(alb, escapedALB(pemOf(ada)), alb, escapedALB(pemOf(ada))), "INVALID_REQUEST", "repeated"},
		{"no certificate: refused", durward.ClientCertALBVerify, fields(leaf, "ada"), "INVALID_REQUEST", "PEM"},
		{"blanks alone: refused", durward.ClientCertALBVerify, fields(leaf, "%0A"), "INVALID_REQUEST", "no certificate"},

		{"the default, named: its client", durward.ClientCertRFC9440, fields("Client-Cert", field(ada)), "ada", ""},
		{"the default and another field: not read", durward.ClientCertRFC9440, fields(nginx, escaped(pemOf(ada))), "CLIENT_CERTIFICATE_REQUIRED", ""},
	} {
		var cause atomic.Value
		cause.Store("")
		g := newGuard(t, durward.Config{
			Proxies:               certProxies,
			ClientCertFromProxies: true,
			ClientCertFormat:      c.format,
			Schemes:               []durward.Scheme{durward.ClientCert(durward.ClientCertConfig{Roots: pool(ca), Check: byName})},
			OnRefusal:             func(_ *http.Request, f *durward.Refusal) { cause.Store(f.Cause()) },
		})
		r := get("")
		r.TLS, r.RemoteAddr, r.Header = nil, certPeer, with(c.fields, "X-Forwarded-For", "192.0.2.9", "X-Forwarded-Proto", "https")
		w := serve(g.Handler(hello), r)
		name := fmt.Sprintf("%s, %s", c.format, c.name)
		if c.want == strings.ToLower(c.want) {
			if w.Code != 200 || w.Body.String() != c.want {
				t.Errorf("%s: got %d %s (%s), want 200 %s", name, w.Code, w.Body, cause.Load(), c.want)
			}
			for f := range c.fields {
				if vary := w.Header().Get("Vary"); !strings.HasSuffix(f, "-Subject") && !strings.Contains(vary, f) {
					t.Errorf("%s: Vary is %q, want %s in it", name, vary, f)
				}
			}
			continue
		}
		wants(t, name, w, durward.Code(c.want).Status(), durward.Code(c.want))
		if got := cause.Load().(string); !strings.Contains(got, c.cause) {
			t.Errorf("%s: the cause is %q, want one that tells of %q", name, got, c.cause)
		}
	}
}

// certFieldNames are the fields of each format.
var certFieldNames = map[durward.ClientCertFormat][]string{
	durward.ClientCertRFC9440: {"Client-Cert", "Client-Cert-Chain"},
	durward.ClientCertXFCC:    {"X-Forwarded-Client-Cert"},
	durward.ClientCertTraefik: {"X-Forwarded-Tls-Client-Cert"},
	durward.ClientCertNginx:   {"Ssl-Client-Cert"},
	durward.ClientCertALB:     {"X-Amzn-Mtls-Clientcert"},

	durward.ClientCertALBVerify: {"X-Amzn-Mtls-Clientcert-Leaf"},
}

// TestClientCertFormatsOfStrangers: the field of a format is read from trusted proxies alone. It
// does not reach handlers from other peers, and the fields of formats that are not configured are
// left to the application.
func TestClientCertFormatsOfStrangers(t *testing.T) {
	t.Parallel()
	cert := newAuthority(t, "people").issue(t, newKey(t), "ada", nil).Certificate[0]
	values := map[string]string{
		"Client-Cert":                 field(cert),
		"Client-Cert-Chain":           field(cert),
		"X-Forwarded-Client-Cert":     `Cert="` + escaped(pemOf(cert)) + `"`,
		"X-Forwarded-Tls-Client-Cert": bare(cert),
		"Ssl-Client-Cert":             escaped(pemOf(cert)),
		"X-Amzn-Mtls-Clientcert-Leaf": escapedALB(pemOf(cert)),
		"X-Amzn-Mtls-Clientcert":      escapedALB(pemOf(cert)),
	}
	for format, names := range certFieldNames {
		for _, peer := range []string{certPeer, "203.0.113.9:1", "127.0.0.1:1", "@"} {
			g := newGuard(t, durward.Config{Proxies: certProxies, ClientCertFromProxies: true, ClientCertFormat: format})
			sent := http.Header{"X-Forwarded-Proto": {"https"}}
			for name, value := range values {
				sent[name] = []string{value}
			}
			r := get("")
			r.RemoteAddr, r.Header = peer, sent.Clone()
			seen := http.Header{}
			var read bool
			w := serve(g.Open(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				seen, read = r.Header, durward.ClientCertificate(r.Context()) != nil
			})), r)
			if w.Code != 200 || read != (peer == certPeer) {
				t.Errorf("%s from %s: got %d, certificate read: %t", format, peer, w.Code, read)
			}
			for name := range values {
				own := slices.Contains(names, name)
				reaches := !own && !strings.HasPrefix(name, "Client-Cert") || own && peer == certPeer
				if (seen[name] != nil) != reaches {
					t.Errorf("%s from %s: the handler sees %s: %t, want %t", format, peer, name, seen[name] != nil, reaches)
				}
			}
			if !reflect.DeepEqual(r.Header, sent) {
				t.Errorf("%s from %s: the caller's request was changed: %v", format, peer, r.Header)
			}
		}
	}
}

// fuzzCertField sends arbitrary texts in the field of a format. What is taken is one of the
// certificates that the text has in this format.
func fuzzCertField(f *testing.F, format durward.ClientCertFormat, seeds ...string) {
	for _, seed := range seeds {
		f.Add(seed)
	}
	g := newGuard(f, durward.Config{Schemes: []durward.Scheme{durward.Session()}, Proxies: certProxies, ClientCertFromProxies: true, ClientCertFormat: format})
	name := certFieldNames[format][0]
	f.Fuzz(func(t *testing.T, text string) {
		r := get("")
		r.RemoteAddr, r.Header = certPeer, fields("X-Forwarded-Proto", "https", name, text)
		var certs [][]byte
		w := serve(g.Open(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if cert := durward.ClientCertificate(r.Context()); cert != nil {
				certs = append(certs, cert.Raw)
			}
		})), r)
		switch {
		case w.Code == 200 && certs == nil && strings.Trim(text, " \t") != "":
			t.Fatalf("%q: neither taken nor refused", text)
		case w.Code != 200:
			wants(t, "refused", w, 400, durward.InvalidRequest)
		case certs != nil && len(text) > 48<<10:
			t.Fatalf("taken: %d octets", len(text))
		case certs != nil:
			plain, err := url.PathUnescape(text)
			if err != nil {
				plain = text
			}
			found := strings.NewReplacer("\n", "", "\r", "").Replace(plain)
			if format == durward.ClientCertXFCC { // a backslash may stand before any octet of a quoted value
				found = strings.ReplaceAll(found, `\`, "")
				for i, part := range strings.Split(regexp.MustCompile(`\\.`).ReplaceAllString(text, ""), `"`) {
					if i%2 == 0 && strings.Contains(part, ",") {
						t.Fatalf("%q was taken with two elements", text)
					}
				}
			}
			if !strings.Contains(found, bare(certs[0])) {
				t.Fatalf("%q was taken for another certificate", text)
			}
		}
	})
}

func FuzzXFCC(f *testing.F) {
	ca := newAuthority(f, "people")
	ada := ca.issue(f, newKey(f), "ada", nil).Certificate[0]
	cert := `Cert="` + escaped(pemOf(ada)) + `"`
	hash := fmt.Sprintf("Hash=%x;", sha256.Sum256(ada))
	fuzzCertField(f, durward.ClientCertXFCC, cert, "By=a;Hash=00;"+cert, hash+cert+";URI=x,"+hash+cert, "By=a;"+hash+cert+`;Subject="CN=a\"b,O=\\";URI=;DNS=a`, cert+","+cert, cert+";"+cert,
		`Subject="\";`+cert+`"`, `Chain="`+escaped(pemOf(ada, ca.cert.Raw))+`";`+cert, `Cert=`+escaped(pemOf(ada)), `=;"`, `a="`)
}

func FuzzEscapedPEM(f *testing.F) {
	ca := newAuthority(f, "people")
	ada := ca.issue(f, newKey(f), "ada", nil).Certificate[0]
	fuzzCertField(f, durward.ClientCertNginx, escaped(pemOf(ada)), escapedALB(pemOf(ada, ca.cert.Raw)), pemOf(ada), url.QueryEscape(pemOf(ada)),
		escaped(pemOf(ada))+"%4", escaped("x"+pemOf(ada)), "-----BEGIN CERTIFICATE-----", "%0A")
}

func FuzzTraefikCert(f *testing.F) {
	ca := newAuthority(f, "people")
	ada := ca.issue(f, newKey(f), "ada", nil).Certificate[0]
	fuzzCertField(f, durward.ClientCertTraefik, bare(ada), url.QueryEscape(bare(ada, ca.cert.Raw)), bare(ada)+",", ",", "%2C", bare(ada)[:40]+"\n"+bare(ada)[40:])
}
