package e2e

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	durwardclient "github.com/durward-auth/durward/client"
)

const lighttpd = `
server.modules = ("mod_auth", "mod_authn_file", "mod_accesslog", "mod_proxy")
server.document-root = "{{dir}}"
server.upload-dirs = ("{{dir}}")
server.bind = "{{host}}"
server.port = {{port}}
accesslog.filename = "{{dir}}/access"
accesslog.format = "%r %>s %{Authorization}i"
auth.backend = "{{backend}}"
auth.backend.plain.userfile = "{{dir}}/plain"
auth.backend.htdigest.userfile = "{{dir}}/htdigest"
auth.require = ("" => ("realm" => "notes", "require" => "valid-user", {{method}}))
proxy.server = ("" => ((
	"host" => "{{upstream-host}}", "port" => {{upstream-port}}
)))
`

// newLighttpd starts a lighttpd before n.
func newLighttpd(t *testing.T, backend, method string, env ...string) (*peer, *notes) {
	t.Helper()
	needPrograms(t, "lighttpd")
	p, n := newPeer(t), newNotes(t)
	host, port := hostPort(&server{t: t, url: n.url})
	p.write("plain", user+":"+password+"\n")
	p.write("htdigest", htdigest(user, "notes", password)+htdigest("Jürgen", "notes", password))
	p.run(env, "lighttpd", "-D", "-f", p.write("configuration", lighttpd,
		"{{backend}}", backend, "{{method}}", method, "{{upstream-host}}", host, "{{upstream-port}}", port))
	return p, n
}

const (
	lighttpdBasic  = `"method" => "basic"`
	lighttpdMD5    = `"method" => "digest", "algorithm" => "MD5"`
	lighttpdSHA256 = `"method" => "digest", "algorithm" => "SHA-256"`
	lighttpdBoth   = `"method" => "digest", "algorithm" => "SHA-256|MD5"`
)

// TestTransportLighttpd tests the client with mod_auth, which offers Basic and Digest.
func TestTransportLighttpd(t *testing.T) {
	t.Parallel()
	type request struct{ method, path, body, want string }
	hello := request{"GET", "/x", "", "200 notes: "}
	for _, c := range []struct {
		name, backend, method string
		change                func(*durwardclient.PasswordConfig)
		requests              []request
		saw                   []string
		behind                []string
	}{
		{"Basic", "plain", lighttpdBasic, nil, slices.Repeat([]request{hello}, 20),
			append([]string{"GET /x 401"}, repeated(20, "GET /x 200 Basic "+account)...),
			repeated(20, "GET /x 0 Authorization: Basic")},
		{"Basic, a body", "plain", lighttpdBasic, nil,
			[]request{{"POST", "/x", "a body", "200 notes: a body"},
				{"PUT", "/y?a=b", "another", "200 notes: another"}},
			[]string{"POST /x 401", "POST /x 200 Basic " + account, "PUT /y?a=b 200 Basic " + account},
			[]string{"POST /x 6 Authorization: Basic", "PUT /y 7 Authorization: Basic"}},
		{"Basic, wrong", "plain", lighttpdBasic, func(c *durwardclient.PasswordConfig) { c.Password = "wrong" },
			slices.Repeat([]request{{"GET", "/x", "", "401"}}, 3),
			[]string{"GET /x 401", "GET /x 401 Basic ada:wrong", "GET /x 401", "GET /x 401"}, nil},
		{"Basic, not wanted", "plain", lighttpdBasic, func(c *durwardclient.PasswordConfig) { c.NoBasic = true },
			[]request{{"GET", "/x", "", "401"}},
			[]string{"GET /x 401"}, nil},
		{"Basic, another realm", "plain", lighttpdBasic, func(c *durwardclient.PasswordConfig) { c.Realm = "other" },
			[]request{{"GET", "/x", "", "401"}},
			[]string{"GET /x 401"}, nil},
		{"SHA-256", "htdigest", lighttpdSHA256, nil,
			[]request{hello, {"POST", "/y?a=b%20c", "a body", "200 notes: a body"}, hello},
			[]string{"GET /x 401", "GET /x 200 Digest SHA-256 ada 1", "POST /y?a=b%20c 200 Digest SHA-256 ada 2",
				"GET /x 200 Digest SHA-256 ada 3"},
			[]string{"GET /x 0 Authorization: Digest", "POST /y 6 Authorization: Digest",
				"GET /x 0 Authorization: Digest"}},
		{"SHA-256, wrong", "htdigest", lighttpdSHA256, func(c *durwardclient.PasswordConfig) { c.Password = "wrong" },
			slices.Repeat([]request{{"GET", "/x", "", "401"}}, 3),
			[]string{"GET /x 401", "GET /x 401 Digest SHA-256 ada 1", "GET /x 401", "GET /x 401"}, nil},
		{"MD5", "htdigest", lighttpdMD5, func(c *durwardclient.PasswordConfig) { c.InsecureMD5 = true },
			[]request{hello, hello},
			[]string{"GET /x 401", "GET /x 200 Digest MD5 ada 1", "GET /x 200 Digest MD5 ada 2"},
			repeated(2, "GET /x 0 Authorization: Digest")},
		{"MD5, not wanted", "htdigest", lighttpdMD5, nil, []request{{"GET", "/x", "", "401"}},
			[]string{"GET /x 401"}, nil},
		{"the stronger of two", "htdigest", lighttpdBoth,
			func(c *durwardclient.PasswordConfig) { c.InsecureMD5 = true }, []request{hello},
			[]string{"GET /x 401", "GET /x 200 Digest SHA-256 ada 1"}, repeated(1, "GET /x 0 Authorization: Digest")},
		{"both, wrong", "htdigest", lighttpdBoth,
			func(c *durwardclient.PasswordConfig) { c.InsecureMD5, c.Password = true, "wrong" },
			slices.Repeat([]request{{"GET", "/x", "", "401"}}, 2),
			[]string{"GET /x 401", "GET /x 401 Digest SHA-256 ada 1", "GET /x 401"}, nil},
		{"a name beyond ASCII", "htdigest", lighttpdSHA256,
			func(c *durwardclient.PasswordConfig) { c.User = "Jürgen" }, []request{hello},
			[]string{"GET /x 401", "GET /x 200 Digest SHA-256 UTF-8''J%C3%BCrgen 1"},
			repeated(1, "GET /x 0 Authorization: Digest")},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, n := newLighttpd(t, c.backend, c.method)
			config := durwardclient.PasswordConfig{Origin: p.url, User: user, Password: password}
			if c.change != nil {
				c.change(&config)
			}
			asks := byPassword(t, config)
			for _, r := range c.requests {
				gets(t, asks, r.method, p.url+r.path, r.body, r.want)
			}
			p.wantRequests(c.saw...)
			n.wantRequests(t, c.behind...)
		})
	}
}

// TestTransportLighttpdCrowd sends concurrent requests. After the first response none may be
// refused, no nonce count may be used twice, and each request must reach the backend once.
func TestTransportLighttpdCrowd(t *testing.T) {
	t.Parallel()
	p, n := newLighttpd(t, "htdigest", lighttpdBoth)
	c := byPassword(t, durwardclient.PasswordConfig{Origin: p.url, User: user, Password: password})
	gets(t, c, "GET", p.url+"/x", "", "200 notes: ")
	crowd(t, c, 20, 5, "POST", p.url+"/y")
	all := p.seen(102)
	counted(t, all)
	if len(all) != 102 || all[0].String() != "GET /x 401" {
		t.Errorf("%d requests, want 102: %v", len(all), all)
	}
	for _, e := range all[1:] {
		if e.status != "200" || e.credentials.Scheme != "Digest" {
			t.Error(e)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	slices.Sort(n.log)
	if len(n.log) != 101 || len(slices.Compact(n.log)) != 101 {
		t.Errorf("%d requests behind it, want 101, none twice", len(n.log))
	}
}

// TestTransportLighttpdRedirect: a redirect to another origin must carry no credentials.
func TestTransportLighttpdRedirect(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ backend, method, with string }{{"plain", lighttpdBasic, "Basic " + account},
		{"htdigest", lighttpdSHA256, "Digest SHA-256 ada 1"}} {
		t.Run(c.backend, func(t *testing.T) {
			t.Parallel()
			away := newNotes(t)
			p, n := newLighttpd(t, c.backend, c.method)
			n.away = away.url
			gets(t, byPassword(t, durwardclient.PasswordConfig{Origin: p.url, User: user, Password: password}),
				"POST", p.url+"/away", "a body", "200 notes: a body")
			p.wantRequests("POST /away 401", "POST /away 307 "+c.with)
			n.wantRequests(t, "POST /away 6 Authorization: "+strings.Fields(c.with)[0])
			away.wantRequests(t, "POST /x 6")
		})
	}
}

// TestTransportLighttpdStale: a nonce of lighttpd lives ten minutes. Shortly before its end,
// lighttpd sends a successor; for a stale nonce it sends a new one. The caller must get no error.
// libfaketime sets the server's clock.
func TestTransportLighttpdStale(t *testing.T) {
	t.Parallel()
	libraries, err := filepath.Glob("/usr/lib/*/faketime/libfaketime.so.1")
	if err != nil || len(libraries) == 0 {
		needPrograms(t, "libfaketime")
	}
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil {
		t.Fatal(err)
	}
	ahead := filepath.Join(dir, "clock")
	set := func(text string) {
		t.Helper()
		if err := errors.Join(os.WriteFile(ahead+".new", []byte(text), 0o600), os.Chmod(ahead+".new", 0o644),
			os.Rename(ahead+".new", ahead)); err != nil {
			t.Fatal(err)
		}
	}
	set("+0")
	p, _ := newLighttpd(t, "htdigest", lighttpdSHA256,
		"LD_PRELOAD="+libraries[0], "FAKETIME_TIMESTAMP_FILE="+ahead, "FAKETIME_NO_CACHE=1",
		"FAKETIME_DONT_FAKE_MONOTONIC=1")
	c := byPassword(t, durwardclient.PasswordConfig{Origin: p.url, User: user, Password: password})
	advance := func(text string, seconds time.Duration) {
		t.Helper()
		set(text)
		for deadline := time.Now().Add(runTimeout); ; time.Sleep(50 * time.Millisecond) {
			resp, err := p.client.Get(p.url + "/tick")
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			at, err := http.ParseTime(resp.Header.Get("Date"))
			if err != nil {
				t.Fatal(err)
			}
			if time.Until(at) > seconds-10*time.Second {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("the server's clock stays at %s", at)
			}
		}
	}
	for range 2 {
		gets(t, c, "GET", p.url+"/x", "", "200 notes: ")
	}
	advance("+570s", 570*time.Second)
	for range 3 {
		gets(t, c, "POST", p.url+"/x", "a body", "200 notes: a body")
	}
	// After a jump of half an hour lighttpd would restart and cut open connections.
	advance("+1700s", 1700*time.Second)
	for range 2 {
		gets(t, c, "POST", p.url+"/x", "a body", "200 notes: a body")
	}
	p.wantRequests("GET /x 401", "GET /x 200 Digest SHA-256 ada 1", "GET /x 200 Digest SHA-256 ada 2",
		"POST /x 200 Digest SHA-256 ada 3", "POST /x 200 Digest SHA-256 ada 1", "POST /x 200 Digest SHA-256 ada 2",
		"POST /x 401 Digest SHA-256 ada 3", "POST /x 200 Digest SHA-256 ada 1", "POST /x 200 Digest SHA-256 ada 2")
}
