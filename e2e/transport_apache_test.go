package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	durwardclient "github.com/durward-auth/durward/client"
)

// apacheServer are the lines of each configuration: one process with a few threads.
const apacheServer = `
ServerRoot {{dir}}
ServerName localhost
Listen {{address}}
PidFile {{dir}}/pid
DefaultRuntimeDir {{dir}}
ErrorLog {{dir}}/errors
ServerLimit 1
StartServers 1
ThreadsPerChild 64
MaxRequestWorkers 64
MaxKeepAliveRequests 0
{{modules}}
`

const apache = `
LogFormat "%m %U%q %{usec}t %>s %{Authorization}i" wire
CustomLog {{dir}}/access wire
DocumentRoot {{dir}}
ProxyPass /file !
ProxyPass /files !
ProxyPass /more !
ProxyPass / {{upstream}}/
<Location "/">
AuthName notes
Require valid-user
{{method}}
</Location>
`

const (
	apacheBasic  = "AuthType Basic\nAuthBasicProvider file\nAuthUserFile {{dir}}/passwords\n"
	apacheDigest = "AuthType Digest\nAuthDigestProvider file\nAuthUserFile {{dir}}/htdigest\nAuthDigestAlgorithm MD5\nAuthDigestQop auth\n"
)

// newApache starts an Apache before n.
func newApache(t *testing.T, method string) (*peer, *notes) {
	t.Helper()
	needPrograms(t, "apache2", "openssl")
	p, n := newPeer(t), newNotes(t)
	p.write("passwords", apr1(t, user, password))
	md5, _, _ := strings.Cut(htdigest(user, "notes", password), "\n")
	name, _, _ := strings.Cut(htdigest("Jürgen", "notes", password), "\n")
	p.write("htdigest", md5+"\n"+name+"\n")
	p.write("file", "notes: ")
	p.runApache([]string{"authn_file", "auth_basic", "auth_digest", "proxy", "proxy_http"},
		strings.NewReplacer("{{method}}", method, "{{upstream}}", n.url).Replace(apache))
	return p, n
}

// runApache starts an Apache with a configuration and the modules that it needs besides those for users. more are pairs
// of a placeholder and its value.
func (p *peer) runApache(modules []string, configuration string, more ...string) {
	p.t.Helper()
	var loaded strings.Builder
	for _, m := range append([]string{"mpm_event", "authn_core", "authz_core", "authz_user"}, modules...) {
		loaded.WriteString("LoadModule " + m + "_module /usr/lib/apache2/modules/mod_" + m + ".so\n")
	}
	p.t.Cleanup(func() {
		if text, err := os.ReadFile(filepath.Join(p.dir, "errors")); p.t.Failed() && err == nil {
			p.t.Logf("Apache says:\n%s", text)
		}
	})
	p.run(nil, "apache2", "-X", "-f", p.write("configuration", apacheServer+configuration, append(more, "{{modules}}", loaded.String())...))
}

// TestTransportApache tests the client with mod_auth_basic and mod_auth_digest, which supports only MD5.
func TestTransportApache(t *testing.T) {
	t.Parallel()
	type request struct{ method, path, body, want string }
	hello := request{"GET", "/x", "", "200 notes: "}
	refused := request{"GET", "/x", "", "401"}
	for _, c := range []struct {
		name, method string
		change       func(*durwardclient.PasswordConfig)
		requests     []request
		saw          []string
	}{
		{"Basic", apacheBasic, nil, []request{hello, {"POST", "/y?a=b", "a body", "200 notes: a body"}, hello},
			[]string{"GET /x 401", "GET /x 200 Basic " + account, "POST /y?a=b 200 Basic " + account,
				"GET /x 200 Basic " + account}},
		{"Basic, wrong", apacheBasic, func(c *durwardclient.PasswordConfig) { c.Password = "wrong" },
			slices.Repeat([]request{refused}, 3),
			[]string{"GET /x 401", "GET /x 401 Basic ada:wrong", "GET /x 401", "GET /x 401"}},
		{"Digest", apacheDigest + "AuthDigestNonceLifetime 3000",
			func(c *durwardclient.PasswordConfig) { c.InsecureMD5 = true },
			[]request{hello, {"POST", "/y?a=b%20c", "a body", "200 notes: a body"}, hello},
			[]string{"GET /x 401", "GET /x 200 Digest MD5 ada 1", "POST /y?a=b%20c 200 Digest MD5 ada 2",
				"GET /x 200 Digest MD5 ada 3"}},
		{"Digest, a nonce for each answer", apacheDigest + "AuthDigestNonceLifetime 20",
			func(c *durwardclient.PasswordConfig) { c.InsecureMD5 = true },
			slices.Repeat([]request{{"GET", "/file", "", "200 notes: "}}, 3),
			append([]string{"GET /file 401"}, repeated(3, "GET /file 200 Digest MD5 ada 1")...)},
		{"Digest, wrong", apacheDigest, func(c *durwardclient.PasswordConfig) {
			c.InsecureMD5, c.Password = true,
				"wrong"
		}, slices.Repeat([]request{refused}, 3),
			[]string{"GET /x 401", "GET /x 401 Digest MD5 ada 1", "GET /x 401", "GET /x 401"}},
		{"Digest, MD5 not wanted", apacheDigest, nil, []request{refused}, []string{"GET /x 401"}},
		{"Digest for some paths", apacheDigest + "AuthDigestDomain /files/ /more/",
			func(c *durwardclient.PasswordConfig) { c.InsecureMD5 = true },
			[]request{{"GET", "/files/x", "", "404"}, {"GET", "/more/x", "", "404"},
				{"GET", "/other/x", "", "200 notes: "}},
			[]string{"GET /files/x 401", "GET /files/x 404 Digest MD5 ada 1", "GET /more/x 404 Digest MD5 ada 2",
				"GET /other/x 401", "GET /other/x 200 Digest MD5 ada 1"}},
		{"a name beyond ASCII", apacheDigest,
			func(c *durwardclient.PasswordConfig) { c.InsecureMD5, c.User = true, "Jürgen" }, []request{hello, hello},
			[]string{"GET /x 401", "GET /x 200 Digest MD5 Jürgen 1", "GET /x 200 Digest MD5 Jürgen 2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, n := newApache(t, c.method)
			config := durwardclient.PasswordConfig{Origin: p.url, User: user, Password: password}
			if c.change != nil {
				c.change(&config)
			}
			asks := byPassword(t, config)
			for _, r := range c.requests {
				gets(t, asks, r.method, p.url+r.path, r.body, r.want)
			}
			reached := 0
			for _, e := range p.wantRequests(c.saw...) {
				if e.status == "200" && e.request != "GET /file" {
					reached++
				}
			}
			if got := n.reached(); got != reached {
				t.Errorf("%d requests were seen behind it, want %d", got, reached)
			}
		})
	}
}

// TestTransportApacheStale uses nonces that live for one second. Each response brings the next
// nonce, and after a pause all have expired. The caller must get no error, and no request may be
// sent a third time.
func TestTransportApacheStale(t *testing.T) {
	t.Parallel()
	p, n := newApache(t, apacheDigest+"AuthDigestNonceLifetime 1")
	c := byPassword(t, durwardclient.PasswordConfig{Origin: p.url, User: user, Password: password, InsecureMD5: true})
	const want = 3
	posts, stale := 0, 0
	for deadline := time.Now().Add(runTimeout); stale < want && time.Now().Before(deadline); {
		gets(t, c, "POST", p.url+"/x", "a body", "200 notes: a body")
		posts++
		lives := time.NewTimer(1300 * time.Millisecond) // until the nonce expires
		<-lives.C
		stale = 0
		for _, e := range p.entries() {
			if e.status == "401" && e.credentials.Scheme == "Digest" {
				stale++
			}
		}
	}
	all := p.seen(1 + posts + stale)
	counted(t, all)
	if stale < want || n.reached() != posts || len(all) != 1+posts+stale {
		t.Errorf("%d requests with %d stale nonces were sent as %d and reached what is behind %d times", posts, stale,
			len(all), n.reached())
	}
	for i, e := range all[1:] {
		if e.status == "401" && (i+2 >= len(all) || all[i+2].status != "200") {
			t.Errorf("after a stale nonce: %v", all)
		}
	}
}

// TestTransportApacheCrowd sends concurrent requests while each response changes the nonce. All
// must succeed, and no nonce count may be used twice.
func TestTransportApacheCrowd(t *testing.T) {
	t.Parallel()
	p, _ := newApache(t, apacheDigest+"AuthDigestNonceLifetime 20")
	c := byPassword(t, durwardclient.PasswordConfig{Origin: p.url, User: user, Password: password, InsecureMD5: true})
	gets(t, c, "GET", p.url+"/file", "", "200 notes: ")
	crowd(t, c, 12, 5, "GET", p.url+"/file")
	all := p.seen(62)
	counted(t, all)
	if len(all) != 62 {
		t.Errorf("%d requests, want 62", len(all))
	}
	nonces := map[string]bool{}
	for _, e := range all {
		nonce, _ := e.credentials.Param("nonce")
		nonces[nonce] = true
	}
	if len(nonces) < 5 {
		t.Errorf("%d nonces", len(nonces))
	}
}

// TestTransportApacheRedirect: a redirect to another origin must carry no credentials.
func TestTransportApacheRedirect(t *testing.T) {
	t.Parallel()
	away := newNotes(t)
	p, n := newApache(t, apacheDigest)
	n.away = away.url
	c := byPassword(t, durwardclient.PasswordConfig{Origin: p.url, User: user, Password: password, InsecureMD5: true})
	for range 2 {
		gets(t, c, "POST", p.url+"/away", "a body", "200 notes: a body")
	}
	p.wantRequests("POST /away 401", "POST /away 307 Digest MD5 ada 1", "POST /away 307 Digest MD5 ada 2")
	n.wantRequests(t, "POST /away 6 Authorization: Digest", "POST /away 6 Authorization: Digest")
	away.wantRequests(t, "POST /x 6", "POST /x 6")
}
