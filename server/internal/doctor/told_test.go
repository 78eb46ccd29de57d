package doctor

import (
	"strings"
	"testing"
)

// TestLinesBeside gives the doctor lines of a log, a client or a configuration beside an exchange,
// and expects the cause that they show.
func TestLinesBeside(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, cause, input string }{
		{"a field that a front end drops", "header-stripped",
			"GET https://ha.example/api HTTP/1.1\nAuthorization: Bearer <opaque>\n\nHTTP/1.1 401 Unauthorized\n\n401: Unauthorized\nproxy_set_header Authorization \"\";\n"},
		{"a variable that the application misses", "header-stripped",
			"GET https://a.example/x.php HTTP/1.1\nAuthorization: Basic Ym9iOnB3\n\nHTTP/1.1 401 Unauthorized\n\nPHP Notice: Undefined index: PHP_AUTH_USER in /x.php\n"},
		{"a hash that Compose expands", "server-store-mangled",
			"GET https://a.example/ HTTP/1.1\nAuthorization: Basic Ym9iOnB3\n\nHTTP/1.1 401 Unauthorized\nWWW-Authenticate: Basic realm=\"traefik\"\n\n" +
				"401 Unauthorized\nlabels: traefik.http.middlewares.auth.basicauth.users=bob:$apr1$H6uskkkW$IgXLP6\n"},
		{"a page without cookies", "cookie-not-sent",
			"GET https://api.example/me HTTP/1.1\nOrigin: https://app.example\n\nHTTP/1.1 401 Unauthorized\n\n{\"message\":\"Unauthenticated.\"}\nwithCredentials is not set\n"},
		{"a redirect before", "lost-on-redirect",
			"GET https://www.example/x HTTP/1.1\n\nHTTP/1.1 401 Unauthorized\n\n{\"detail\":\"Not authenticated\"}\nDEBUG:urllib3:https://api.example:443 \"GET /x HTTP/1.1\" 301 0\n"},
		{"a redirect to another host, by curl", "lost-on-redirect",
			"$ curl -iL -u ada:pw http://dav.example/dav\nHTTP/1.1 301 Moved Permanently\nLocation: https://cloud.example/dav/\n\nHTTP/1.1 401 Unauthorized\nWWW-Authenticate: Basic realm=\"x\"\n"},
		{"a front end's configuration above a command", "two-sign-ins-one-field",
			"    middlewares:\n      basicAuth:\n        users: []\n\ncurl -i -H 'Authorization: Bearer abc' https://a.example/me\nHTTP/2 401\nwww-authenticate: Basic realm=\"x\"\n"},
		{"a log with dates in brackets", "cookie-not-sent",
			"[20/Nov/2026 10:00:00] POST /api/auth/login 200\n[20/Nov/2026 10:00:00] GET /api/auth/me 401\n"},
		{"a list of addresses below a refusal", "network-not-allowed",
			"GET /admin HTTP/1.1\nHost: a.example\n\nHTTP/1.1 403 Forbidden\nServer: nginx\n\nlocation /admin {\n  allow 192.168.0.0/16;\n  deny all;\n}\n"},
		{"a front end that wants a certificate", "client-certificate-missing",
			"server {\n  ssl_verify_client on;\n}\nGET / HTTP/1.1\nHost: a.example\n\nHTTP/1.1 400 Bad Request\nServer: nginx\n"},
		{"a cookie of the server behind the front end", "cookie-not-sent",
			"Set-Cookie: s=abc; Domain=backend.int; Path=/\n\nGET /me HTTP/1.1\nHost: www.example\n\nHTTP/1.1 401 Unauthorized\n"},
		{"a refused WebSocket", "cross-site-refused",
			"WebSocket connection to 'wss://a.example/ws' failed: Error during WebSocket handshake: Unexpected response code: 403\n"},
		{"a state that is not found", "cookie-not-sent",
			"GET https://a.example/cb?code=a&state=b HTTP/1.1\n\nHTTP/1.1 401 Unauthorized\n\n{\"error\":\"state mismatch\"}\n"},
		{"the time of WS-Security", "clock-wrong",
			"POST http://cam/onvif/device_service HTTP/1.1\n\n<s:Header><wsse:UsernameToken><wsse:Username>a</wsse:Username><wsu:Created>2026-11-20T06:00:00Z</wsu:Created></wsse:UsernameToken></s:Header>\n\n" +
				"HTTP/1.1 400 Bad Request\nDate: Fri, 20 Nov 2026 10:08:00 GMT\n\n<env:Fault><env:Text>Sender not Authorized</env:Text></env:Fault>\n"},
		{"a log below a request without content", "client-certificate-missing",
			"GET https://a.example/ HTTP/1.1\n\n[ssl:info] SSL Library Error: SSL routines::peer did not return a certificate\n"},
	} {
		in, err := Read(strings.NewReader(c.input), Options{})
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if r := Diagnose(in, At(testTime)); len(r.Causes) == 0 || r.Causes[0].ID != c.cause {
			t.Errorf("%s: want %s first, got\n%s", c.name, c.cause, causesOf(r))
		}
	}
}
