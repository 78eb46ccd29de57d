package durward_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/durward-auth/durward"
)

// Credentials as clients in the field send them, each in the form of its public report.
func TestFieldCredentials(t *testing.T) {
	t.Parallel()
	md5 := newDigestServer(t, durward.DigestConfig{InsecureMD5: true})
	w := newDigestServer(t, durward.DigestConfig{})
	set := func(name, value string) func(map[string]string) {
		return func(p map[string]string) { p[name] = value }
	}
	plain := func(c digestClient) string { return c.credentials(nil) }
	for _, c := range []struct {
		name   string
		server *digestServer
		send   func(digestClient) string
		status int
		code   durward.Code // of the refusal
	}{
		{"algorithm, qop and nc in quotes: accepted", w, func(c digestClient) string {
			return c.credentials(func(p map[string]string) { p["algorithm"], p["qop"], p["nc"] = `"SHA-256"`, `"auth"`, `"00000001"` })
		}, 200, ""},
		{"nc that begins at 0: a stale nonce", w, func(c digestClient) string { c.nc = "00000000"; return plain(c) }, 401, durward.StaleNonce},
		{"a new nonce with nc=2a: accepted", w, func(c digestClient) string { c.nc = "0000002a"; return plain(c) }, 200, ""},
		{"nc=1: refused", w, func(c digestClient) string { c.nc = "1"; return plain(c) }, 401, durward.MalformedCredentials},
		{"no qop: refused", w, func(c digestClient) string {
			return c.credentials(func(p map[string]string) { delete(p, "qop"); delete(p, "nc"); delete(p, "cnonce") })
		}, 401, durward.MalformedCredentials},
		{"uri without the query: refused", w, func(c digestClient) string { c.uri = "/caf%C3%A9"; return plain(c) }, 400, durward.InvalidRequest},
		{"absolute uri: refused", w, func(c digestClient) string { c.uri = "https://example.com" + c.uri; return plain(c) }, 400, durward.InvalidRequest},
		{"%c3 for %C3 in uri: refused", w, func(c digestClient) string { c.uri = strings.ToLower(c.uri); return plain(c) }, 400, durward.InvalidRequest},
		{"MD5, implied: accepted where it is offered", md5, func(c digestClient) string {
			c.algorithm = "MD5"
			return c.credentials(func(p map[string]string) { delete(p, "algorithm") })
		}, 200, ""},
		{"MD5, implied: refused elsewhere", w, func(c digestClient) string {
			c.algorithm = "MD5"
			return c.credentials(func(p map[string]string) { delete(p, "algorithm") })
		}, 401, durward.MalformedCredentials},
		{"blanks around the equals signs: accepted", w, func(c digestClient) string {
			return strings.NewReplacer(`="`, ` = "`, "nc=", "nc =").Replace(plain(c))
		}, 200, ""},
		{"opaque that is empty: accepted", w, func(c digestClient) string { return c.credentials(set("opaque", `""`)) }, 200, ""},
		{"a comma at the end: accepted", w, func(c digestClient) string { return plain(c) + "," }, 200, ""},
	} {
		client := c.server.client()
		client.uri = "/caf%C3%A9?a=b"
		r := serve(c.server.handler, over("GET", client.uri, "", c.send(client)))
		if c.status == 200 && r.Code != 200 {
			t.Errorf("%s: got %d %s", c.name, r.Code, r.Body)
		} else if c.status != 200 {
			wants(t, c.name, r, c.status, c.code)
		}
	}

	g := newGuard(t, durward.Config{Schemes: []durward.Scheme{durward.Bearer(verify), durward.Basic(
		func(_ context.Context, user, password string) (*durward.Principal, error) {
			return &durward.Principal{Subject: user + "|" + password}, nil
		})}})
	encode := func(e *base64.Encoding, pair string) string { return "Basic " + e.EncodeToString([]byte(pair)) }
	for _, c := range []struct {
		name, field string
		want        string // user and password that reach the check
		code        durward.Code
	}{
		{"two blanks after Bearer and one at the end: accepted", "Bearer  good ", "ada", ""},
		{"bearer in lower case: accepted", "bearer good", "ada", ""},
		{"an empty user: reaches the check", encode(base64.StdEncoding, ":secret"), "|secret", ""},
		{"an empty password: reaches the check", encode(base64.StdEncoding, "sk_live:"), "sk_live|", ""},
		{"a domain: reaches the check", encode(base64.StdEncoding, `CORP\ada:secret`), `CORP\ada|secret`, ""},
		{"colons in the password: reach the check", encode(base64.StdEncoding, "ada:a:b:c"), "ada|a:b:c", ""},
		{"unpadded: refused", encode(base64.RawStdEncoding, "ada:secret"), "", durward.MalformedCredentials},
		{"base64url: refused", encode(base64.URLEncoding, "ada:\u00ff\u00ff?\u07ff"), "", durward.MalformedCredentials},
		{"a line end from echo: refused", encode(base64.StdEncoding, "ada:secret\n"), "", durward.MalformedCredentials},
	} {
		r := get("")
		r.Header = http.Header{"Authorization": {c.field}}
		w := serve(g.Handler(hello), r)
		if c.code != "" {
			wants(t, c.name, w, 401, c.code)
		} else if got := fmt.Sprint(w.Code, " ", w.Body); got != "200 "+c.want {
			t.Errorf("%s: got %s, want 200 %s", c.name, got, c.want)
		}
	}
}
