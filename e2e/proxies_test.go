package e2e

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/durwardtest"
	"github.com/durward-auth/durward/e2e/executable"
	"github.com/durward-auth/durward/internal/services"
)

// proxy is a program that terminates TLS, requests client certificates and forwards them.
type proxy struct {
	name, program, configuration string
	args                         []string // before the path of the configuration
	format                       durward.ClientCertFormat
	refusals                     map[string]string // the proxy's own refusals, by the name of the certificate
}

var (
	nginxRefusals = map[string]string{"expired": " 400", "not yet valid": " 400", "for servers": " 400"}

	proxies = []proxy{
		{
			name:          "haproxy",
			program:       "haproxy",
			configuration: haproxy,
			args:          []string{"-q", "-db", "-f"},
		},
		{
			name:          "nginx",
			program:       "nginx",
			configuration: nginx,
			args:          []string{"-c"},
			refusals:      nginxRefusals,
		},
		{
			name:          "nginx escaped",
			program:       "nginx",
			configuration: nginxEscaped,
			args:          []string{"-c"},
			format:        durward.ClientCertNginx,
			refusals:      nginxRefusals,
		},
		{
			name:          "caddy",
			program:       "caddy",
			configuration: caddy,
			args:          []string{"run", "--adapter", "caddyfile", "--config"},
		},
	}
)

// haproxy is a configuration of HAProxy. The certificate in DER is the byte sequence of RFC 9440.
// HAProxy's own verification is ignored; the guard verifies the certificate.
const haproxy = `
global
	maxconn 64
defaults
	mode http
	timeout connect 5s
	timeout client 30s
	timeout server 30s
	option forwardfor
frontend clients
	bind {{address}} ssl crt {{dir}}/server ca-file {{dir}}/ca verify optional ca-ignore-err all crt-ignore-err all
	http-request del-header Client-Cert
	http-request del-header Client-Cert-Chain
	http-request set-header Client-Cert :%[ssl_c_der,base64]: if { ssl_c_used }
	http-request set-header X-Forwarded-Proto https
	default_backend api
backend api
	server api {{upstream}} source {{host}}
`

// nginx is a configuration of nginx. No variable of nginx has the form of RFC 9440
// ($ssl_client_escaped_cert is URL-encoded PEM), so nginxScript, in njs, converts it.
const (
	nginx = `
daemon off;
master_process off;
pid {{dir}}/pid;
error_log stderr;
load_module /usr/lib/nginx/modules/ngx_http_js_module.so;
events {}
http {
	access_log off;
	client_body_temp_path {{dir}}/1; proxy_temp_path {{dir}}/2; fastcgi_temp_path {{dir}}/3; uwsgi_temp_path {{dir}}/4; scgi_temp_path {{dir}}/5;
	js_import certificate from {{dir}}/certificate.js;
	js_set $client_cert certificate.field;
	map $http_upgrade $connection_field { "" close; default upgrade; }
	server {
		listen {{address}} ssl;
		ssl_certificate {{dir}}/server;
		ssl_certificate_key {{dir}}/server;
		ssl_verify_client optional_no_ca;
		location / {
			proxy_pass http://{{upstream}};
			proxy_bind {{host}};
			proxy_http_version 1.1;
			proxy_set_header Host $http_host;
			proxy_set_header Upgrade $http_upgrade;
			proxy_set_header Connection $connection_field;
			proxy_set_header Client-Cert $client_cert;
			proxy_set_header Client-Cert-Chain "";
			proxy_set_header X-Forwarded-For $remote_addr;
			proxy_set_header X-Forwarded-Proto https;
		}
	}
}
`
	nginxScript = `
function field(r) {
	const pem = r.variables.ssl_client_raw_cert;
	return pem ? ':' + pem.replace(/-----[A-Z ]+-----|\s/g, '') + ':' : '';
}
export default { field };
`
)

// nginxEscaped is the configuration of nginx without njs, with the certificate in escaped PEM.
var nginxEscaped = strings.NewReplacer(
	"load_module /usr/lib/nginx/modules/ngx_http_js_module.so;\n", "",
	"js_import certificate from {{dir}}/certificate.js;\n", "",
	"js_set $client_cert certificate.field;\n", "",
	"proxy_set_header Client-Cert $client_cert;", "proxy_set_header Ssl-Client-Cert $ssl_client_escaped_cert;",
	`proxy_set_header Client-Cert-Chain "";`, "",
).Replace(nginx)

// caddy is a configuration of Caddy. Its variable is empty without a certificate, and a field that
// is present and empty is malformed, so the field is set for requests with a certificate only.
// strict_sni_host must be off because a client of an IP address sends no server name.
const caddy = `
{
	admin off
	auto_https off
	persist_config off
	servers {
		strict_sni_host insecure_off
	}
}
https://:{{port}} {
	bind {{host}}
	tls {{dir}}/server {{dir}}/server {
		client_auth {
			mode request
		}
	}
	@certificate vars_regexp {http.request.tls.client.certificate_der_base64} .
	route {
		request_header -Client-Cert
		request_header -Client-Cert-Chain
		request_header @certificate Client-Cert ":{http.request.tls.client.certificate_der_base64}:"
		reverse_proxy {{upstream}} {
			transport http {
				local_address {{host}}
			}
		}
	}
}
`

// behind returns c for a guard behind the proxy p. The proxy connects from its own loopback address,
// so the guard can distinguish it from other clients on this machine.
func (x proxy) behind(p *process, c durward.Config) durward.Config {
	c.ClientCertFromProxies, c.ClientCertFormat = true, x.format
	c.PublicURL = "https://" + p.address
	c.Proxies = []netip.Prefix{netip.MustParsePrefix(p.host() + "/32")}
	return c
}

// host returns the address of p without its port.
func (p *process) host() string {
	p.t.Helper()
	host, _, err := net.SplitHostPort(p.address)
	if err != nil {
		p.t.Fatal(err)
	}
	return host
}

// start starts the proxy before srv, with a certificate of ca. It skips the test if the program is
// missing.
func (c proxy) start(t *testing.T, p *process, srv *server, ca *durwardtest.CA) {
	t.Helper()
	program := c.program
	if program == "caddy" {
		if _, err := peers(); err != nil {
			t.Fatal(err)
		}
		program = filepath.Join(executable.Dir, "caddy")
	} else {
		needPrograms(t, program)
	}
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "server"), encodePEM(t, ca.Server(p.host())))
	writeFile(t, filepath.Join(dir, "ca"), encodePEM(t, tls.Certificate{Certificate: [][]byte{ca.Cert.Raw}}))
	writeFile(t, filepath.Join(dir, "certificate.js"), nginxScript)
	_, port, _ := strings.Cut(p.address, ":")
	configuration := writeFile(t, filepath.Join(dir, "configuration"),
		strings.NewReplacer("{{dir}}", dir, "{{address}}", p.address, "{{host}}", p.host(),
			"{{port}}", port, "{{upstream}}", strings.TrimPrefix(srv.url, "http://")).Replace(c.configuration))
	cmd := exec.Command(program, append(c.args[:len(c.args):len(c.args)], configuration)...)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + dir}
	p.start(cmd)
}

// TestNginxOfDocuments runs nginx with the configuration of docs/library.md before a guard with the
// proxies of the same page. Each mistake has the effect that the page lists.
func TestNginxOfDocuments(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/library.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n### Run behind a proxy\n")
	_, trusted, _ := strings.Cut(section, `netip.MustParsePrefix("`)
	trusted, _, _ = strings.Cut(trusted, `"`)
	prefix, err := netip.ParsePrefix(trusted)
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(section, "```text\n")
	block, _, _ = strings.Cut(block, "```")
	head, _, _ := strings.Cut(nginxEscaped, "\tmap ")
	recipe := head + strings.NewReplacer(
		"listen 443", "listen {{address}}",
		"/etc/ssl/api.example.com.crt", "{{dir}}/server",
		"/etc/ssl/api.example.com.key", "{{dir}}/server",
		"127.0.0.1:8080", "{{upstream}}",
	).Replace(block) + "}\n"
	line := func(field string) string {
		return regexp.MustCompile(`(?m)^ *proxy_set_header ` + field + ` .*\n`).FindString(recipe)
	}
	scheme, address := line("X-Forwarded-Proto"), line("X-Forwarded-For")
	if scheme == "" || address == "" || strings.Count(recipe, "{{") < 8 {
		t.Fatalf("the page has another configuration:\n%s", recipe)
	}
	own := services.Host() // address of the client
	for _, c := range []struct {
		name    string
		without []string
		proxies []netip.Prefix
		client  string // as the guard sees it, or
		cause   string // of the refusal
	}{
		{"the page", nil, []netip.Prefix{prefix}, own, ""},
		{"no X-Forwarded-Proto", []string{scheme}, []netip.Prefix{prefix}, "", strings.Join(strings.Fields(scheme), " ")},
		{"no X-Forwarded-For", []string{address}, []netip.Prefix{prefix}, "127.0.0.1", ""},
		{"neither line", []string{scheme, address}, []netip.Prefix{prefix}, "127.0.0.1", ""},
		{"neither line, and no Proxies", []string{scheme, address}, nil, "127.0.0.1", ""},
		{"no Proxies", nil, nil, "", "Config.Proxies"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			needPrograms(t, "curl")
			p, srv, ca := newProcess(t), newServer(t), durwardtest.NewCA(t)
			var cause atomic.Value
			cause.Store("")
			guard, err := durward.New(durward.Config{
				Schemes:   []durward.Scheme{bearer()},
				PublicURL: "https://api.example.com",
				Proxies:   c.proxies,
				OnRefusal: func(_ *http.Request, f *durward.Refusal) { cause.Store(f.Cause()) },
			})
			if err != nil {
				t.Fatal(err)
			}
			srv.serve(guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprint(w, durward.ClientAddr(r.Context()))
			})))
			configuration := recipe
			for _, line := range c.without {
				configuration = strings.Replace(configuration, line, "", 1)
			}
			proxy{program: "nginx", configuration: configuration, args: []string{"-c"}}.start(t, p, srv, ca)
			printed, status := command{}.run(t, "curl", "-sS", "--noproxy", "*", "--cacert", caFile(t, ca),
				"--interface", own, "-w", " %{http_code}", "-H", "Authorization: Bearer "+token, "https://"+p.address+"/x")
			if c.client != "" {
				wantOutput(t, printed, status, 0, c.client+" 200")
			} else if wantOutput(t, printed, status, 0, "INSECURE_TRANSPORT", " 403"); !strings.Contains(cause.Load().(string), c.cause) {
				t.Errorf("the cause is %q, want one that says %q", cause.Load(), c.cause)
			}
		})
	}
}
