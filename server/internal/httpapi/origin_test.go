package httpapi

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/durward-auth/durward/jwt"
)

// reconfigured returns w with another configuration over the same parts and its own listener.
func (w *env) reconfigured(change func(*Config)) *env {
	w.t.Helper()
	c := w.server.c
	change(&c)
	if c.PublicURL != w.server.c.PublicURL {
		c.PublicURL += testPrefix
	}
	s, err := New(c)
	if err != nil {
		w.t.Fatal(err)
	}
	listener := httptest.NewServer(s)
	w.t.Cleanup(listener.Close)
	other := *w
	other.server, other.url = s, listener.URL+testPrefix
	return &other
}

// raw sends text, with the prefix in its request line, and reads one response.
func (w *env) raw(text string) reply {
	w.t.Helper()
	conn, err := net.Dial("tcp", w.address())
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	line, rest, _ := strings.Cut(text, "\r\n")
	rest = "\r\n" + rest
	if _, err := io.WriteString(conn, strings.NewReplacer(" http://a/", " http://a"+testPrefix+"/", " /", " "+testPrefix+"/").Replace(line)+rest); err != nil {
		w.t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		w.t.Fatalf("%q: %v", text, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return reply{res, body}
}

// Fields about the server's own address change no link, issuer or challenge, and open nothing: the
// configuration decides.
func TestForeignHost(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	const evil = "evil.example"
	fields := []string{"Accept: text/html", "X-Forwarded-Host: " + evil, "Forwarded: host=" + evil + ";proto=https", "X-Forwarded-Proto: https", "X-Forwarded-Port: 4711",
		"X-Forwarded-Prefix: /" + evil, "X-Forwarded-Server: " + evil, "X-Original-Host: " + evil, "X-Host: " + evil}
	for name, s := range map[string]*env{
		"as it stands":           w,
		"from anywhere":          w.reconfigured(func(c *Config) { c.InsecureAllowHTTP = true }),
		"behind a trusted proxy": w.reconfigured(func(c *Config) { c.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")} }),
	} {
		t.Run(name, func(t *testing.T) {
			s := s.in(t)
			answered := 0
			for _, field := range append(fields, strings.Join(fields, "\r\n"), "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https") {
				field = "Host: " + evil + "\r\n" + field
				body := fmt.Sprintf(`{"email":%q,"password":%q}`, adaEmail, adaPassword)
				for _, request := range []string{
					"GET /api/profile HTTP/1.1\r\n" + field + "\r\nConnection: close\r\n\r\n",
					"GET /nothing HTTP/1.1\r\n" + field + "\r\nConnection: close\r\n\r\n",
					"GET http://" + evil + "/api/profile HTTP/1.1\r\n" + field + "\r\nConnection: close\r\n\r\n",
					"GET /errors/TOKEN_EXPIRED HTTP/1.1\r\n" + field + "\r\nConnection: close\r\n\r\n",
					"GET /.well-known/jwks.json HTTP/1.1\r\n" + field + "\r\nConnection: close\r\n\r\n",
					fmt.Sprintf("POST /api/auth/login HTTP/1.1\r\n%s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", field, len(body), body),
				} {
					got := s.raw(request)
					if all := fmt.Sprint(got.Header) + string(got.body); strings.Contains(all, evil) || strings.Contains(all, ":4711") {
						t.Errorf("the answer follows the client:\n%s\n%s", request, all)
					}
					var problem struct{ Type, Code string }
					if json.Unmarshal(got.body, &problem) == nil && problem.Code != "" && problem.Type != "http://127.0.0.1:8401"+testPrefix+"/errors/"+problem.Code {
						t.Errorf("link %s", problem.Type)
					}
					if strings.HasPrefix(request, "POST") && got.StatusCode == 200 {
						answered++
						in, err := jwt.Inspect(s.tokens(got).AccessToken)
						if err != nil || in.Claims.Issuer != "http://127.0.0.1:8401" || len(in.Claims.Audience) != 1 || in.Claims.Audience[0] != "http://127.0.0.1:8401" {
							t.Errorf("iss and aud: %+v %v", in, err)
						}
					}
				}
			}
			if answered == 0 {
				t.Error("no sign-in was let through: nothing was tried")
			}
		})
	}
}

// The path of the request line counts: no field replaces path or method, and a path with two
// readings is refused.
func TestPathOfTheRequestLine(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	good := w.signIn().AccessToken
	for _, field := range []string{"X-Original-URL: /healthz", "X-Rewrite-URL: /healthz", "X-Forwarded-Uri: /healthz", "X-Forwarded-Path: /healthz", "X-Forwarded-Method: OPTIONS",
		"X-Original-Method: OPTIONS", "X-HTTP-Method-Override: GET", "X-Accel-Redirect: /healthz"} {
		got := w.raw("GET /api/profile HTTP/1.1\r\nHost: a\r\n" + field + "\r\nConnection: close\r\n\r\n")
		w.refused(got, 401, "AUTHENTICATION_REQUIRED")
		got = w.raw("GET /healthz HTTP/1.1\r\nHost: a\r\n" + strings.ReplaceAll(field, "/healthz", "/api/profile") + "\r\nConnection: close\r\n\r\n")
		if got.StatusCode != 200 || string(got.body) != `{"status":"ok"}`+"\n" {
			t.Errorf("%s: %s %s", field, got.Status, got.body)
		}
	}
	for _, override := range []string{"X-HTTP-Method-Override: DELETE", "X-Method-Override: PATCH", "X-HTTP-Method: DELETE"} {
		got := w.raw("GET /api/auth/logout?_method=POST HTTP/1.1\r\nHost: a\r\n" + override + "\r\nAuthorization: Bearer " + good + "\r\nConnection: close\r\n\r\n")
		w.refused(got, 405, "METHOD_NOT_ALLOWED")
	}
	for _, path := range []string{"/healthz/../api/profile", "/healthz/%2e%2e/api/profile", "/healthz/..%2fapi/profile", "/healthz/%252e%252e/api/profile", "/healthz/..;/api/profile", "//api/profile",
		"/./api/profile", `/api\profile`, "/api%5cprofile", "/api/profile%00", "/api%2fprofile", "/api/profile/.", "/api//profile", "/api/%2e/profile", "/%2e%2e/api/profile", "/api/profile/..", "/api/..%5c/api/profile"} {
		for _, authorization := range []string{"", "Authorization: Bearer " + good + "\r\n"} {
			got := w.raw("GET " + path + " HTTP/1.1\r\nHost: a\r\n" + authorization + "Connection: close\r\n\r\n")
			if got.StatusCode != 400 {
				t.Errorf("%s: %s %s, want 400", path, got.Status, got.body)
			}
		}
	}
	// Other canonical paths are no routes: no route has a second spelling.
	for _, path := range []string{"/API/profile", "/api/Profile", "/api/profile;a=b", "/api/profile.", "/api/profile%20", "/api/profile%3f", "/api/profile%23", "/api;/profile", "/ap%c4%b1/profile"} {
		w.refused(w.raw("GET "+path+" HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer "+good+"\r\nConnection: close\r\n\r\n"), 404, "NOT_FOUND")
	}
	// The absolute form names the same resource (RFC 9112 s3.2.2).
	if got := w.raw("GET http://a/api/profile HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + good + "\r\nConnection: close\r\n\r\n"); got.StatusCode != 200 {
		t.Errorf("absolute form: %s", got.Status)
	}
	w.works(good)
}

// Failures count by the address that the client cannot choose.
func TestAddressThatCounts(t *testing.T) {
	t.Parallel()
	wrong := func(w *env, account int, fields ...string) int {
		w.t.Helper()
		r, err := http.NewRequest("POST", w.url+"/api/auth/login", strings.NewReader(fmt.Sprintf(`{"email":"person%d@example.com","password":%q}`, account, randomPassword())))
		if err != nil {
			w.t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		for _, f := range fields {
			name, value, _ := strings.Cut(f, ": ")
			r.Header.Add(name, value)
		}
		return w.send(r).StatusCode
	}
	const https = "X-Forwarded-Proto: https"
	proxied := func(c *Config) { c.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")} }
	for _, c := range []struct {
		name   string
		change func(*Config)
		fields func(n int) []string
		most   int // checked failures before a limit; -1: all
	}{
		{"a stranger rotates the field", func(c *Config) { c.InsecureAllowHTTP = true },
			func(n int) []string { return []string{fmt.Sprintf("X-Forwarded-For: 203.0.113.%d", n)} }, 10},
		{"a stranger rotates the other fields", func(c *Config) { c.InsecureAllowHTTP = true },
			func(n int) []string {
				return []string{fmt.Sprintf("X-Real-Ip: 203.0.113.%d", n), fmt.Sprintf("Forwarded: for=203.0.113.%d", n), fmt.Sprintf("True-Client-Ip: 203.0.113.%d", n)}
			}, 10},
		{"a proxy's client rotates what it chooses", proxied,
			func(n int) []string {
				return []string{https, fmt.Sprintf("X-Forwarded-For: 203.0.113.%d, 198.51.100.7", n)}
			}, 10},
		{"one /64", proxied,
			func(n int) []string { return []string{https, fmt.Sprintf("X-Forwarded-For: 2001:db8::%x", n+1)} }, 10},
		{"one IPv4 address, mapped and not", proxied,
			func(n int) []string {
				return []string{https, "X-Forwarded-For: " + []string{"203.0.113.9", "::ffff:203.0.113.9", "[::ffff:cb00:7109]:80"}[n%3]}
			}, 10},
		{"clients of unknown address count as one", proxied,
			func(n int) []string {
				return []string{https, fmt.Sprintf("X-Forwarded-For: 203.0.113.%d, %s", n, []string{"unknown", "_hidden", ""}[n%3])}
			}, 10},
		{"many addresses behind the proxy", proxied,
			func(n int) []string { return []string{https, fmt.Sprintf("X-Forwarded-For: 203.0.113.%d", n)} }, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newEnv(t, settings{}).reconfigured(c.change)
			checked := 0
			for n := range 20 {
				switch status := wrong(w, n, c.fields(n)...); status {
				case 401:
					checked++
				case 429:
				default:
					t.Fatalf("status %d", status)
				}
			}
			if want := c.most; checked != want && !(want < 0 && checked == 20) {
				t.Errorf("%d of 20 guesses were checked, want %d", checked, want)
			}
		})
	}
}
