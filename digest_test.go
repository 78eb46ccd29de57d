package durward_test

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/durward-auth/durward"
)

// digestUsers is the store of these tests: one user, by name or by hash.
func digestUsers(_ context.Context, c durward.DigestClaim) ([]byte, *durward.Principal, error) {
	hash, err := durward.UserHash(c.Algorithm, "ada", c.Realm)
	if err != nil {
		return nil, nil, err
	}
	switch {
	case c.User == "Jäsøn" && c.UserHash == "":
		ha1, err := durward.HA1(c.Algorithm, c.User, c.Realm, "secret")
		return ha1, &durward.Principal{Subject: "jason"}, err
	case c.User != "ada" && c.UserHash != hash:
		return nil, nil, fmt.Errorf("nobody: %w", durward.InvalidCredentials)
	}
	ha1, err := durward.HA1(c.Algorithm, "ada", c.Realm, "secret")
	return ha1, &durward.Principal{Subject: "ada"}, err
}

// digestClient answers challenges by the formulas of RFC 7616 written down once
// more, apart from the package's own.
type digestClient struct {
	user, password, method, uri, body string
	qop, cnonce, nc                   string
	algorithm, realm, nonce           string
}

func (c digestClient) hash(text string) string {
	switch strings.TrimSuffix(c.algorithm, "-sess") {
	case "MD5":
		return fmt.Sprintf("%x", md5.Sum([]byte(text)))
	case "SHA-512-256":
		return fmt.Sprintf("%x", sha512.Sum512_256([]byte(text)))
	}
	return fmt.Sprintf("%x", sha256.Sum256([]byte(text)))
}

func (c digestClient) a1() string {
	a1 := c.hash(c.user + ":" + c.realm + ":" + c.password)
	if strings.HasSuffix(c.algorithm, "-sess") {
		a1 = c.hash(a1 + ":" + c.nonce + ":" + c.cnonce)
	}
	return a1
}

func (c digestClient) response(method string) string {
	a2 := method + ":" + c.uri
	if c.qop == "auth-int" && method != "" {
		a2 += ":" + c.hash(c.body)
	}
	return c.hash(strings.Join([]string{c.a1(), c.nonce, c.nc, c.cnonce, c.qop, c.hash(a2)}, ":"))
}

// fields is the credentials; change, if not nil, changes them.
func (c digestClient) credentials(change func(map[string]string)) string {
	p := map[string]string{
		"username": `"` + c.user + `"`, "realm": `"` + c.realm + `"`, "nonce": `"` + c.nonce + `"`, "uri": `"` + c.uri + `"`,
		"response": `"` + c.response(c.method) + `"`, "algorithm": c.algorithm, "cnonce": `"` + c.cnonce + `"`, "qop": c.qop, "nc": c.nc,
	}
	if change != nil {
		change(p)
	}
	var parts []string
	for _, name := range []string{"username", "username*", "realm", "uri", "algorithm", "nonce", "nc", "NC", "cnonce", "qop", "response", "userhash", "opaque", "x"} {
		if v, ok := p[name]; ok {
			parts = append(parts, name+"="+v)
		}
	}
	return "Digest " + strings.Join(parts, ", ")
}

// over is a request over https with these credentials, if any.
func over(method, uri, body, credentials string) *http.Request {
	r := httptest.NewRequest(method, uri, strings.NewReader(body))
	r.TLS = get("").TLS
	if credentials != "" {
		r.Header.Set("Authorization", credentials)
	}
	return r
}

// asked returns the challenges of a refusal.
func asked(t testing.TB, w *httptest.ResponseRecorder, field string) []durward.Challenge {
	t.Helper()
	list, err := durward.ParseChallenges(w.Header().Values(field))
	if err != nil || len(list) == 0 {
		t.Fatalf("challenges %v: %v", w.Header().Values(field), err)
	}
	return list
}

func value(c durward.Challenge, name string) string { v, _ := c.Param(name); return v }

// digestServer is one guard with Digest and a clock that the test moves.
type digestServer struct {
	t       testing.TB
	now     atomic.Int64
	guard   *durward.Guard
	handler http.Handler
}

func newDigestServer(t testing.TB, c durward.DigestConfig) *digestServer {
	t.Helper()
	if c.HA1 == nil {
		c.HA1 = digestUsers
	}
	w := &digestServer{t: t}
	w.now.Store(noon.UnixNano())
	w.guard = newGuard(t, durward.Config{Schemes: []durward.Scheme{durward.Digest(c)}, Now: func() time.Time { return time.Unix(0, w.now.Load()) }})
	w.handler = w.guard.Handler(hello)
	return w
}

func (w *digestServer) advance(d time.Duration) { w.now.Add(int64(d)) }

// client is one that has just been asked, and answers the first challenge.
func (w *digestServer) client() digestClient {
	w.t.Helper()
	c := asked(w.t, serve(w.handler, over("GET", "/x", "", "")), "WWW-Authenticate")[0]
	qop, _, _ := strings.Cut(value(c, "qop"), ",")
	return digestClient{user: "ada", password: "secret", method: "GET", uri: "/x", qop: qop, cnonce: "c+/n", nc: "00000001",
		algorithm: value(c, "algorithm"), realm: value(c, "realm"), nonce: value(c, "nonce")}
}

func (w *digestServer) send(c digestClient) *httptest.ResponseRecorder {
	return serve(w.handler, over(c.method, c.uri, c.body, c.credentials(nil)))
}

func TestDigestChallenges(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		config durward.DigestConfig
		want   []string
	}{
		{"default", durward.DigestConfig{}, []string{`Digest realm="api", qop="auth", algorithm=SHA-256, nonce="N", charset=UTF-8`}},
		{"all, strongest first, MD5 last", durward.DigestConfig{SHA512256: true, InsecureMD5: true, UserHash: true, QOP: []string{"auth", "auth-int"}}, []string{
			`Digest realm="api", qop="auth, auth-int", algorithm=SHA-256, nonce="N", charset=UTF-8, userhash=true`,
			`Digest realm="api", qop="auth, auth-int", algorithm=SHA-512-256, nonce="N", charset=UTF-8, userhash=true`,
			`Digest realm="api", qop="auth, auth-int", algorithm=MD5, nonce="N", charset=UTF-8, userhash=true`}},
		{"session keys", durward.DigestConfig{Sess: true}, []string{`Digest realm="api", qop="auth", algorithm=SHA-256-sess, nonce="N", charset=UTF-8`}},
	} {
		w := newDigestServer(t, c.config)
		r := serve(w.handler, over("GET", "/x", "", ""))
		wants(t, c.name, r, 401, durward.AuthenticationRequired)
		nonce := value(asked(t, r, "WWW-Authenticate")[0], "nonce")
		if len(nonce) != 32 {
			t.Errorf("%s: nonce %q", c.name, nonce)
		}
		got := strings.ReplaceAll(strings.Join(r.Header().Values("WWW-Authenticate"), "\n"), nonce, "N")
		if got != strings.Join(c.want, "\n") {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, got, strings.Join(c.want, "\n"))
		}
		if again := value(asked(t, serve(w.handler, over("GET", "/x", "", "")), "WWW-Authenticate")[0], "nonce"); again == nonce {
			t.Errorf("%s: the same nonce twice", c.name)
		}
	}
}

func TestDigestConfig(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		config durward.DigestConfig
		want   string
	}{
		{durward.DigestConfig{}, "HA1 is nil"},
		{durward.DigestConfig{HA1: digestUsers, QOP: []string{}}, "QOP is empty"},
		{durward.DigestConfig{HA1: digestUsers, QOP: []string{"auth", "auth"}}, `QOP "auth"`},
		{durward.DigestConfig{HA1: digestUsers, QOP: []string{"none"}}, `QOP "none"`},
		{durward.DigestConfig{HA1: digestUsers, Key: make([]byte, 31)}, "Key has 31 octets"},
		{durward.DigestConfig{HA1: digestUsers, NonceLife: -1}, "negative"},
		{durward.DigestConfig{HA1: digestUsers, MaxBody: -1}, "negative"},
		{durward.DigestConfig{HA1: digestUsers, MaxNonces: -1}, "negative"},
		{durward.DigestConfig{HA1: digestUsers, Key: make([]byte, 32)}, ""},
	} {
		g, err := durward.New(durward.Config{Schemes: []durward.Scheme{durward.Digest(c.config)}})
		if (err != nil) != (c.want != "") || (g == nil) != (err != nil) || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, %v, want an error with %q", g, err, c.want)
		}
	}
	if _, err := durward.HA1("SHA-1", "a", "r", "p"); err == nil {
		t.Error("HA1 by SHA-1")
	}
	if ha1, err := durward.HA1("MD5", "a:b", "r", "p"); err == nil || ha1 != nil {
		t.Error("HA1 of a name with a colon")
	}
	if h, err := durward.UserHash("MD4", "a", "r"); err == nil || h != "" {
		t.Error("UserHash by MD4")
	}
}

// TestDigest: each algorithm, quality and form of the user name, and the response's
// Authentication-Info.
func TestDigest(t *testing.T) {
	t.Parallel()
	for _, sess := range []bool{false, true} {
		for _, algorithm := range []string{"SHA-256", "SHA-512-256", "MD5"} {
			for _, qop := range []string{"auth", "auth-int"} {
				name := fmt.Sprintf("%s %s %v", algorithm, qop, sess)
				w := newDigestServer(t, durward.DigestConfig{SHA512256: true, InsecureMD5: true, Sess: sess, QOP: []string{"auth", "auth-int"}, UserHash: true})
				c := w.client()
				c.qop, c.method, c.uri, c.body, c.algorithm = qop, "POST", "/dir/a?x=1&y", `{"a":1}`, algorithm
				if sess {
					c.algorithm += "-sess"
				}
				var got string
				h := w.guard.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					body, err := io.ReadAll(r.Body)
					got = fmt.Sprint(durward.From(r.Context()).Scheme, " ", durward.From(r.Context()).Subject, " ", string(body), err, r.Body.Close())
				}))
				r := serve(h, over(c.method, c.uri, c.body, c.credentials(nil)))
				if r.Code != 200 || got != `Digest ada {"a":1}<nil> <nil>` {
					t.Errorf("%s: %d %s %q", name, r.Code, r.Body, got)
					continue
				}
				info, err := durward.ParseAuthInfo(r.Header().Values("Authentication-Info"))
				if err != nil {
					t.Fatal(err)
				}
				s := c
				s.qop = "auth"
				want := fmt.Sprintf("[{qop auth} {rspauth %s} {cnonce %s} {nc %s}]", s.response(""), c.cnonce, c.nc)
				if fmt.Sprint(info) != want {
					t.Errorf("%s: Authentication-Info %v, want %s", name, info, want)
				}
				if !strings.Contains(r.Header().Get("Authentication-Info"), "qop=auth, ") || !strings.Contains(r.Header().Get("Authentication-Info"), "nc=00000001") {
					t.Errorf("%s: %s", name, r.Header().Get("Authentication-Info"))
				}

				c.nc = "00000002"
				hidden := over(c.method, c.uri, c.body, c.credentials(func(p map[string]string) {
					p["username"], p["userhash"] = `"`+strings.ToUpper(c.hash("ada:api"))+`"`, "true"
				}))
				if r := serve(h, hidden); r.Code != 200 {
					t.Errorf("%s: hidden name: %d %s", name, r.Code, r.Body)
				}
				c.nc, c.user = "00000003", "Jäsøn"
				extended := over(c.method, c.uri, c.body, c.credentials(func(p map[string]string) {
					delete(p, "username")
					p["username*"] = "utf-8'de'J%C3%A4s%c3%b8n"
				}))
				if r := serve(h, extended); r.Code != 200 {
					t.Errorf("%s: username*: %d %s", name, r.Code, r.Body)
				}
				c.nc, c.password = "00000004", "wrong"
				wants(t, name, serve(h, over(c.method, c.uri, c.body, c.credentials(nil))), 401, durward.InvalidCredentials)
			}
		}
	}
}

// Each wrong set of credentials gets its code, and none
// gives access.
func TestDigestRefused(t *testing.T) {
	t.Parallel()
	w := newDigestServer(t, durward.DigestConfig{QOP: []string{"auth", "auth-int"}, UserHash: true})
	other := newDigestServer(t, durward.DigestConfig{})
	plain := newDigestServer(t, durward.DigestConfig{})
	for _, c := range []struct {
		name   string
		server *digestServer
		change func(map[string]string)
		status int
		code   durward.Code
	}{
		{"as it should be", w, nil, 200, ""},
		{"quoted qop and algorithm, which clients send", w, func(p map[string]string) { p["qop"], p["algorithm"] = `"auth"`, `"SHA-256"` }, 200, ""},
		{"quoted qop, algorithm and nc, which clients send", w, func(p map[string]string) { p["qop"], p["algorithm"], p["nc"] = `"auth"`, `"SHA-256"`, `"00000001"` }, 200, ""},
		{"quoted nc of seven digits", w, func(p map[string]string) { p["nc"] = `"0000001"` }, 401, durward.MalformedCredentials},
		{"algorithm in lower case", w, func(p map[string]string) { p["algorithm"] = "sha-256" }, 200, ""},
		{"opaque and unknown parameters", w, func(p map[string]string) { p["opaque"], p["x"] = `"o"`, "y" }, 200, ""},
		{"userhash=false", w, func(p map[string]string) { p["userhash"] = "false" }, 200, ""},

		{"wrong response", w, func(p map[string]string) { p["response"] = `"` + strings.Repeat("0", 64) + `"` }, 401, durward.InvalidCredentials},
		{"response cut", w, func(p map[string]string) { p["response"] = p["response"][:63] + `"` }, 401, durward.InvalidCredentials},
		{"response longer", w, func(p map[string]string) { p["response"] = p["response"][:65] + `0"` }, 401, durward.InvalidCredentials},
		{"unknown user", w, func(p map[string]string) { p["username"] = `"eve"` }, 401, durward.InvalidCredentials},
		{"other realm", w, func(p map[string]string) { p["realm"] = `"other"` }, 401, durward.InvalidCredentials},
		{"no realm", w, func(p map[string]string) { delete(p, "realm") }, 401, durward.InvalidCredentials},
		{"other nonce count than hashed", w, func(p map[string]string) { p["nc"] = "00000009" }, 401, durward.InvalidCredentials},
		{"other cnonce than hashed", w, func(p map[string]string) { p["cnonce"] = `"d"` }, 401, durward.InvalidCredentials},
		{"auth-int said, auth hashed", w, func(p map[string]string) { p["qop"] = "auth-int" }, 401, durward.InvalidCredentials},
		{"nonce of another server", w, func(p map[string]string) { p["nonce"] = `"` + other.client().nonce + `"` }, 401, durward.InvalidCredentials},
		{"nonce that is none", w, func(p map[string]string) { p["nonce"] = `"x"` }, 401, durward.InvalidCredentials},
		{"nonce of the right length", w, func(p map[string]string) { p["nonce"] = `"` + strings.Repeat("!", 32) + `"` }, 401, durward.InvalidCredentials},

		{"MD5, not offered", w, func(p map[string]string) { p["algorithm"] = "MD5" }, 401, durward.MalformedCredentials},
		{"no algorithm, which is MD5", w, func(p map[string]string) { delete(p, "algorithm") }, 401, durward.MalformedCredentials},
		{"-sess, not offered", w, func(p map[string]string) { p["algorithm"] = "SHA-256-sess" }, 401, durward.MalformedCredentials},
		{"unknown algorithm", w, func(p map[string]string) { p["algorithm"] = "SHA-3" }, 401, durward.MalformedCredentials},
		{"no qop, the form of RFC 2069", w, func(p map[string]string) { delete(p, "qop"); delete(p, "nc"); delete(p, "cnonce") }, 401, durward.MalformedCredentials},
		{"unknown qop", w, func(p map[string]string) { p["qop"] = "auth-conf" }, 401, durward.MalformedCredentials},
		{"auth-int, not offered", plain, func(p map[string]string) { p["qop"] = "auth-int" }, 401, durward.MalformedCredentials},
		{"userhash, not offered", plain, func(p map[string]string) { p["userhash"] = "true" }, 401, durward.MalformedCredentials},
		{"no user name", w, func(p map[string]string) { delete(p, "username") }, 401, durward.MalformedCredentials},
		{"no nonce", w, func(p map[string]string) { delete(p, "nonce") }, 401, durward.MalformedCredentials},
		{"no response", w, func(p map[string]string) { delete(p, "response") }, 401, durward.MalformedCredentials},
		{"no uri", w, func(p map[string]string) { delete(p, "uri") }, 401, durward.MalformedCredentials},
		{"no nc", w, func(p map[string]string) { delete(p, "nc") }, 401, durward.MalformedCredentials},
		{"no cnonce", w, func(p map[string]string) { delete(p, "cnonce") }, 401, durward.MalformedCredentials},
		{"nc of seven digits", w, func(p map[string]string) { p["nc"] = "0000001" }, 401, durward.MalformedCredentials},
		{"nc of ten digits", w, func(p map[string]string) { p["nc"] = "0000000001" }, 401, durward.MalformedCredentials},
		{"nc not hex", w, func(p map[string]string) { p["nc"] = "0000000g" }, 401, durward.MalformedCredentials},
		{"user name not UTF-8", w, func(p map[string]string) { p["username"] = "\"\xe4da\"" }, 401, durward.MalformedCredentials},
		{"far too long", w, func(p map[string]string) { p["opaque"] = `"` + strings.Repeat("o", 17000) + `"` }, 401, durward.MalformedCredentials},

		{"uri of another path", w, func(p map[string]string) { p["uri"] = `"/y"` }, 400, durward.InvalidRequest},
		{"uri with a query", w, func(p map[string]string) { p["uri"] = `"/x?a"` }, 400, durward.InvalidRequest},
		{"uri in another case", w, func(p map[string]string) { p["uri"] = `"/X"` }, 400, durward.InvalidRequest},
		{"uri in absolute form", w, func(p map[string]string) { p["uri"] = `"http://example.com/x"` }, 400, durward.InvalidRequest},
		{"username and username*", w, func(p map[string]string) { p["username*"] = "UTF-8''ada" }, 400, durward.InvalidRequest},
		{"userhash and username*", w, func(p map[string]string) { delete(p, "username"); p["username*"], p["userhash"] = "UTF-8''ada", "true" }, 400, durward.InvalidRequest},
		{"username* in Latin-1", w, func(p map[string]string) { delete(p, "username"); p["username*"] = "ISO-8859-1''ada" }, 400, durward.InvalidRequest},
		{"username* without quotes", w, func(p map[string]string) { delete(p, "username"); p["username*"] = "ada" }, 400, durward.InvalidRequest},
		{"username* of a control character", w, func(p map[string]string) { delete(p, "username"); p["username*"] = "UTF-8''a%00" }, 400, durward.InvalidRequest},
		{"username* not UTF-8", w, func(p map[string]string) { delete(p, "username"); p["username*"] = "UTF-8''%ff" }, 400, durward.InvalidRequest},
		{"username* ending in a percent sign", w, func(p map[string]string) { delete(p, "username"); p["username*"] = "UTF-8''a%4" }, 400, durward.InvalidRequest},
		{"quoted userhash", w, func(p map[string]string) { p["userhash"] = `"false"` }, 400, durward.InvalidRequest},
		{"unquoted realm", w, func(p map[string]string) { p["realm"] = "api" }, 400, durward.InvalidRequest},
		{"unquoted user name", w, func(p map[string]string) { p["username"] = "ada" }, 400, durward.InvalidRequest},
		{"nc twice, in other case", w, func(p map[string]string) { p["NC"] = p["nc"] }, 400, durward.InvalidRequest},
		{"too many parameters", w, func(p map[string]string) { p["x"] = "y" + strings.Repeat(", z=y", 40) }, 400, durward.InvalidRequest},
	} {
		client := c.server.client()
		r := serve(c.server.handler, over("GET", "/x", "", client.credentials(c.change)))
		if c.status == 200 {
			if r.Code != 200 || r.Body.String() != "ada" {
				t.Errorf("%s: %d %s", c.name, r.Code, r.Body)
			}
			continue
		}
		wants(t, c.name, r, c.status, c.code)
		if (c.status == 401) != (r.Header().Get("WWW-Authenticate") != "") {
			t.Errorf("%s: challenges %q", c.name, r.Header().Values("WWW-Authenticate"))
		}
		if strings.Contains(r.Header().Get("WWW-Authenticate"), "stale") {
			t.Errorf("%s: stale is for right responses", c.name)
		}
		if _, ok := r.Header()["Authentication-Info"]; ok {
			t.Errorf("%s: Authentication-Info in a refusal", c.name)
		}
	}
	wants(t, "token68", serve(w.handler, over("GET", "/x", "", "Digest YWRh")), 401, durward.MalformedCredentials)
}

// A nonce with any bit changed is not ours.
func TestDigestNonceIsSealed(t *testing.T) {
	t.Parallel()
	w := newDigestServer(t, durward.DigestConfig{Key: []byte(strings.Repeat("k", 32))})
	c := w.client()
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for i := range c.nonce {
		forged := c
		at := strings.IndexByte(digits, c.nonce[i])
		for bit := range 6 {
			forged.nonce = c.nonce[:i] + string(digits[at^1<<bit]) + c.nonce[i+1:]
			wants(t, "forged nonce", w.send(forged), 401, durward.InvalidCredentials)
		}
	}
	// With the same key another guard takes it, for the same realm only.
	same := newDigestServer(t, durward.DigestConfig{Key: []byte(strings.Repeat("k", 32))})
	if r := same.send(c); r.Code != 200 {
		t.Errorf("the same key: %d %s", r.Code, r.Body)
	}
	g := newGuard(t, durward.Config{Realm: "other", Schemes: []durward.Scheme{durward.Digest(durward.DigestConfig{HA1: digestUsers, Key: []byte(strings.Repeat("k", 32))})}})
	c.realm = "other"
	wants(t, "nonce of another realm", serve(g.Handler(hello), over("GET", "/x", "", c.credentials(nil))), 401, durward.InvalidCredentials)
}

func TestDigestNonceLife(t *testing.T) {
	t.Parallel()
	w := newDigestServer(t, durward.DigestConfig{NonceLife: time.Minute})
	c := w.client()
	w.advance(30 * time.Second)
	if r := w.send(c); r.Code != 200 || strings.Contains(r.Header().Get("Authentication-Info"), "nextnonce") || r.Header().Get("Cache-Control") != "private" {
		t.Fatalf("half its life: %d %v", r.Code, r.Header())
	}
	w.advance(time.Second)
	c.nc = "00000002"
	r := w.send(c)
	info, err := durward.ParseAuthInfo(r.Header().Values("Authentication-Info"))
	if r.Code != 200 || err != nil || info[0].Name != "nextnonce" {
		t.Fatalf("past half its life: %d %v %v", r.Code, info, err)
	}
	if got := r.Header().Get("Cache-Control"); got != "no-store" {
		t.Errorf("an answer with a nonce: Cache-Control %q", got)
	}
	next := c
	next.nonce, next.nc = info[0].Value, "00000001"
	w.advance(29 * time.Second)
	c.nc = "00000003"
	if r := w.send(c); r.Code != 200 {
		t.Errorf("at the end of its life: %d %s", r.Code, r.Body)
	}
	w.advance(time.Millisecond)
	c.nc = "00000004"
	r = w.send(c)
	wants(t, "past its life", r, 401, durward.StaleNonce)
	fresh := asked(t, r, "WWW-Authenticate")[0]
	if value(fresh, "stale") != "true" || value(fresh, "nonce") == c.nonce || !strings.Contains(r.Header().Get("WWW-Authenticate"), "stale=true") {
		t.Errorf("challenge %v", fresh)
	}
	c.password = "wrong"
	wants(t, "wrong and past its life", w.send(c), 401, durward.InvalidCredentials)
	if r := w.send(next); r.Code != 200 {
		t.Errorf("nextnonce: %d %s", r.Code, r.Body)
	}
	c.password, c.nonce, c.nc = "secret", value(fresh, "nonce"), "00000001"
	if r := w.send(c); r.Code != 200 {
		t.Errorf("the fresh nonce: %d %s", r.Code, r.Body)
	}
}

// Of many requests with the same nonce and count at the same instant one passes.
func TestDigestReplay(t *testing.T) {
	t.Parallel()
	w := newDigestServer(t, durward.DigestConfig{})
	for range 20 {
		c := w.client()
		credentials := c.credentials(nil)
		var passed, stale atomic.Int64
		var all sync.WaitGroup
		start := make(chan struct{})
		for range 32 {
			all.Go(func() {
				<-start
				switch r := serve(w.handler, over("GET", "/x", "", credentials)); {
				case r.Code == 200:
					passed.Add(1)
				case codeOf(r) == durward.StaleNonce:
					stale.Add(1)
				}
			})
		}
		close(start)
		all.Wait()
		if passed.Load() != 1 || stale.Load() != 31 {
			t.Fatalf("%d passed, %d were stale", passed.Load(), stale.Load())
		}
		c.nc = "00000000"
		wants(t, "count 0", w.send(c), 401, durward.StaleNonce)
	}
}

// Counts may arrive in any order within the window. None is accepted twice, and a refused one is
// stale, never wrong.
func TestDigestCounts(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		w := newDigestServer(t, durward.DigestConfig{})
		c := w.client()
		used := map[uint32]bool{}
		var highest uint32
		near := rapid.Uint32Range(0, 300)
		for range rapid.IntRange(1, 60).Draw(rt, "requests") {
			n := near.Draw(rt, "count")
			if rapid.IntRange(0, 20).Draw(rt, "jump") == 0 {
				n = rapid.Uint32().Draw(rt, "far count")
			}
			c.nc = fmt.Sprintf("%08x", n)
			r := w.send(c)
			fits := n != 0 && !used[n] && (len(used) == 0 || n > highest || highest-n < 128)
			if fits != (r.Code == 200) || !fits && codeOf(r) != durward.StaleNonce {
				rt.Fatalf("count %d after %v, highest %d: %d %s", n, used, highest, r.Code, codeOf(r))
			}
			if fits {
				used[n], highest = true, max(highest, n)
			}
		}
	})
}

// The number of stored nonces is bounded. A removed nonce is stale, so that no count is accepted
// twice.
func TestDigestForgetsNonces(t *testing.T) {
	t.Parallel()
	w := newDigestServer(t, durward.DigestConfig{MaxNonces: 8, NonceLife: time.Hour})
	var clients []digestClient
	for range 40 {
		w.advance(time.Second)
		clients = append(clients, w.client())
	}
	for i, c := range clients {
		if r := w.send(c); r.Code != 200 {
			t.Fatalf("nonce %d: %d %s", i, r.Code, r.Body)
		}
	}
	remembered := 0
	for i, c := range clients {
		wants(t, fmt.Sprint("replay ", i), w.send(c), 401, durward.StaleNonce)
		c.nc = "00000002"
		if w.send(c).Code == 200 {
			remembered++
		}
	}
	if remembered == 0 || remembered > 8 {
		t.Errorf("%d nonces are remembered, at most 8", remembered)
	}
	// A nonce older than a removed one is stale even if it was never used.
	late := newDigestServer(t, durward.DigestConfig{MaxNonces: 2, NonceLife: time.Hour})
	old := late.client()
	for range 6 {
		late.advance(time.Second)
		if r := late.send(late.client()); r.Code != 200 {
			t.Fatalf("%d %s", r.Code, r.Body)
		}
	}
	wants(t, "older than what was forgotten", late.send(old), 401, durward.StaleNonce)
}

// Those past their life make room first: a nonce that lives is not forgotten for
// them.
func TestDigestForgetsTheDeadFirst(t *testing.T) {
	t.Parallel()
	w := newDigestServer(t, durward.DigestConfig{MaxNonces: 8, NonceLife: time.Minute})
	use := func(n int) (all []digestClient) {
		t.Helper()
		for range n {
			w.advance(time.Millisecond)
			all = append(all, w.client())
			if r := w.send(all[len(all)-1]); r.Code != 200 {
				t.Fatalf("%d %s", r.Code, r.Body)
			}
		}
		return all
	}
	use(4)
	w.advance(2 * time.Minute)
	for _, c := range use(5) {
		c.nc = "00000002"
		if r := w.send(c); r.Code != 200 {
			t.Errorf("a living nonce was forgotten: %d %s", r.Code, r.Body)
		}
	}
}

func TestDigestBody(t *testing.T) {
	t.Parallel()
	w := newDigestServer(t, durward.DigestConfig{QOP: []string{"auth-int"}, MaxBody: 100})
	post := func(body string) digestClient {
		c := w.client()
		c.method, c.body = "POST", body
		return c
	}
	full := strings.Repeat("b", 100)
	for _, body := range []string{"", "a", full} {
		if r := w.send(post(body)); r.Code != 200 {
			t.Errorf("a body of %d: %d %s", len(body), r.Code, r.Body)
		}
		c := post(body)
		changed := serve(w.handler, over("POST", "/x", body+"!", c.credentials(nil)))
		if len(body) == 100 {
			wants(t, "a longer body", changed, 413, durward.BodyTooLarge)
		} else {
			wants(t, "a changed body", changed, 401, durward.InvalidCredentials)
		}
	}
	wants(t, "declared too large", w.send(post(full+"b")), 413, durward.BodyTooLarge)
	chunked := func(body io.Reader, c digestClient) *http.Request {
		r := over("POST", "/x", "", c.credentials(nil))
		r.Body, r.ContentLength = io.NopCloser(body), -1
		return r
	}
	if r := serve(w.handler, chunked(strings.NewReader(full), post(full))); r.Code != 200 {
		t.Errorf("chunked: %d %s", r.Code, r.Body)
	}
	endless := &counting{}
	wants(t, "without end", serve(w.handler, chunked(endless, post(full))), 413, durward.BodyTooLarge)
	if endless.n > 4096 {
		t.Errorf("%d octets were read", endless.n)
	}
	wants(t, "a body that breaks off", serve(w.handler, chunked(io.MultiReader(strings.NewReader("b"), broken{}), post(full))), 400, durward.InvalidRequest)
	// Nothing is read for a nonce that is not ours.
	forged := post(full)
	forged.nonce = newDigestServer(t, durward.DigestConfig{}).client().nonce
	unread := &counting{}
	wants(t, "foreign nonce", serve(w.handler, chunked(unread, forged)), 401, durward.InvalidCredentials)
	if unread.n != 0 {
		t.Errorf("%d octets were read for a foreign nonce", unread.n)
	}
}

// counting is an endless body that counts the octets read.
type counting struct{ n int }

func (c *counting) Read(p []byte) (int, error) {
	c.n += len(p)
	return len(p), nil
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

// What HA1 says beside unknown is an answer of its own; Judged hears each
// verdict.
func TestDigestStore(t *testing.T) {
	t.Parallel()
	ha1, err := durward.HA1("SHA-256", "ada", "api", "secret")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		ha1    []byte
		p      *durward.Principal
		err    error
		status int
		code   durward.Code
	}{
		{"outage", nil, nil, errors.New("dial tcp: refused"), 503, durward.AuthUnavailable},
		{"limit", nil, nil, &durward.Refusal{Code: durward.TooManyAttempts, RetryAfter: time.Hour}, 429, durward.TooManyAttempts},
		{"hash and no principal", ha1, nil, nil, 503, durward.AuthUnavailable},
		{"unknown", nil, nil, durward.InvalidCredentials, 401, durward.InvalidCredentials},
	} {
		w := newDigestServer(t, durward.DigestConfig{HA1: func(context.Context, durward.DigestClaim) ([]byte, *durward.Principal, error) {
			return c.ha1, c.p, c.err
		}})
		wants(t, c.name, w.send(w.client()), c.status, c.code)
	}
	var verdicts []string
	w := newDigestServer(t, durward.DigestConfig{Judged: func(_ context.Context, c durward.DigestClaim, right bool) {
		verdicts = append(verdicts, fmt.Sprint(c.User, right, c.Realm, c.Algorithm))
	}})
	c := w.client()
	w.send(c)
	c.password = "wrong"
	w.send(c)
	c.user = "eve"
	w.send(c)
	if got := strings.Join(verdicts, "; "); got != "adatrueapiSHA-256; adafalseapiSHA-256; evefalseapiSHA-256" {
		t.Errorf("verdicts: %s", got)
	}
	// An attacker who knows the code path for unknown users, and the nonce, cannot create an
	// accepted response.
	eve := w.client()
	eve.user = "eve"
	a1 := hex.EncodeToString(func() []byte { s := sha256.Sum256([]byte(eve.nonce)); return s[:] }())
	a2 := eve.hash("GET:/x")
	r := serve(w.handler, over("GET", "/x", "", eve.credentials(func(p map[string]string) {
		p["response"] = `"` + eve.hash(strings.Join([]string{a1, eve.nonce, eve.nc, eve.cnonce, eve.qop, a2}, ":")) + `"`
	})))
	wants(t, "response for the stand-in", r, 401, durward.InvalidCredentials)
}

// A user without a usable hash is refused like an unknown one: the response does not tell who
// exists.
func TestDigestWithoutHash(t *testing.T) {
	t.Parallel()
	ada := &durward.Principal{Subject: "ada"}
	refused := func(ha1 []byte, p *durward.Principal, err error) (response, cause string, judged int) {
		var denial string
		d := durward.Digest(durward.DigestConfig{
			HA1: func(context.Context, durward.DigestClaim) ([]byte, *durward.Principal, error) { return ha1, p, err },
			Judged: func(_ context.Context, _ durward.DigestClaim, right bool) {
				if judged++; right {
					t.Errorf("%d octets: the response is right", len(ha1))
				}
			},
			Key: make([]byte, 32),
		})
		g := newGuard(t, durward.Config{Schemes: []durward.Scheme{d}, OnRefusal: func(_ *http.Request, f *durward.Refusal) { cause, denial = f.Cause(), f.ID }})
		w := &digestServer{t: t, guard: g, handler: g.Handler(never(t))}
		r := w.send(w.client())
		challenge := asked(t, r, "WWW-Authenticate")
		text := fmt.Sprint(r.Code, r.Header(), r.Body)
		return strings.NewReplacer(denial, "ID", value(challenge[0], "nonce"), "NONCE").Replace(text), cause, judged
	}
	unknown, _, _ := refused(nil, nil, fmt.Errorf("nobody: %w", durward.InvalidCredentials))
	if !strings.HasPrefix(unknown, "401 ") || !strings.Contains(unknown, "INVALID_CREDENTIALS") {
		t.Fatalf("unknown user: %s", unknown)
	}
	for name, c := range map[string]struct {
		ha1 []byte
		p   *durward.Principal
	}{
		"no hash":                                 {nil, ada},
		"an empty hash":                           {[]byte{}, ada},
		"neither hash nor principal":              {nil, nil},
		"hash of another algorithm":               {make([]byte, 16), ada},
		"hash in hexadecimal":                     {make([]byte, 64), ada},
		"hash of another algorithm, no principal": {make([]byte, 16), nil},
	} {
		got, cause, judged := refused(c.ha1, c.p, nil)
		if got != unknown {
			t.Errorf("%s: got\n%s\nwant the response for an unknown user\n%s", name, got, unknown)
		}
		if want := fmt.Sprintf("HA1 returned %d octets", len(c.ha1)); !strings.Contains(cause, want) || judged != 1 {
			t.Errorf("%s: the cause is %q and Judged was called %d times, want %q and once", name, cause, judged, want)
		}
	}
}

// FuzzDigest sends arbitrary credentials: each response is in the table, and only the correct one
// gives access.
func FuzzDigest(f *testing.F) {
	w := newDigestServer(f, durward.DigestConfig{QOP: []string{"auth", "auth-int"}, UserHash: true, InsecureMD5: true, SHA512256: true})
	c := w.client()
	f.Add(strings.TrimPrefix(c.credentials(nil), "Digest "))
	f.Add(`username*=UTF-8''%61da, userhash=true, nc=00000001, qop=auth`)
	f.Add(`username="a\"b", nc=ffffffff, qop="auth", algorithm="MD5", x=y, x=y`)
	f.Fuzz(func(t *testing.T, text string) {
		r := over("GET", "/x", "", "")
		r.Header["Authorization"] = []string{"Digest " + text}
		got := serve(w.handler, r)
		switch got.Code {
		case 400, 401:
		case 200:
			if sent, err := durward.ParseCredentials("Digest " + text); err != nil || func() string { v, _ := sent.Param("nonce"); return v }() != c.nonce {
				t.Fatalf("let in by %q", text)
			}
		default:
			t.Fatalf("%d for %q", got.Code, text)
		}
		if (got.Code == 401) != (got.Header().Get("WWW-Authenticate") != "") {
			t.Fatalf("%d with challenges %q", got.Code, got.Header().Values("WWW-Authenticate"))
		}
	})
}
