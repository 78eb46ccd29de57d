package e2e

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	osuser "os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	durwardclient "github.com/durward-auth/durward/client"
)

// The tests of client.Transport use servers of other projects and read the requests in the servers' own
// logs.

// peer is a server of another project. Its log has a line for each request: method, target, version or
// start time, status and credentials.
type peer struct {
	*process
	dir    string // folder of this server
	url    string
	access string
	client *http.Client // sends requests without credentials of its own
	last   string       // URL of a last request; once it is in the log, so are all others
	as     *syscall.Credential
}

// newPeer creates a folder and an address for a server. If the tests run as root, the server runs as the
// user nobody, because these servers refuse to run as root.
func newPeer(t *testing.T) *peer {
	t.Helper()
	p := &peer{process: newProcess(t), dir: t.TempDir(),
		client: &http.Client{Timeout: runTimeout, Transport: new(http.Transport)}}
	t.Cleanup(p.client.CloseIdleConnections)
	p.url, p.access = "http://"+p.address, filepath.Join(p.dir, "access")
	p.last = p.url + "/last"
	if os.Geteuid() != 0 {
		return p
	}
	nobody, err := osuser.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	uid, err1 := strconv.ParseUint(nobody.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(nobody.Gid, 10, 32)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	p.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	if err := os.Chown(p.dir, int(uid), int(gid)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(p.dir), 0o711); err != nil { // the test's own folder
		t.Fatal(err)
	}
	return p
}

// write writes a file to the folder of p, with the values of p filled in, and returns its path.
func (p *peer) write(name, text string, more ...string) string {
	p.t.Helper()
	host, port, _ := strings.Cut(p.address, ":")
	path := writeFile(p.t, filepath.Join(p.dir, name),
		strings.NewReplacer(append(more, "{{dir}}", p.dir, "{{address}}", p.address, "{{host}}", host, "{{port}}",
			port)...).Replace(text))
	if p.as != nil {
		if err := os.Chown(path, int(p.as.Uid), int(p.as.Gid)); err != nil {
			p.t.Fatal(err)
		}
	}
	return path
}

// run starts the server.
func (p *peer) run(env []string, program string, args ...string) {
	p.t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Env = p.dir, append([]string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8"}, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.as}
	p.start(cmd)
}

// entry is one line of the log.
type entry struct {
	request, status string
	at              string // microsecond; some servers log in another order than they read
	credentials     durward.Credentials
	raw             string
}

// escaped matches the form in which servers log bytes that are not printable.
var escaped = regexp.MustCompile(`\\(?:"|\\|x[0-9A-Fa-f]{2})`)

// entries parses the log.
func (p *peer) entries() (all []entry) {
	p.t.Helper()
	text, err := os.ReadFile(p.access)
	if err != nil && !os.IsNotExist(err) {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 5)
		if len(f) != 5 || !strings.HasSuffix(line, "\n") {
			break // incomplete line
		}
		e := entry{request: f[0] + " " + f[1], at: f[2], status: f[3],
			raw: escaped.ReplaceAllStringFunc(f[4], func(s string) string {
				one, _, _, err := strconv.UnquoteChar(s, '"')
				if err != nil {
					p.t.Error(err)
				}
				return string([]byte{byte(one)})
			})}
		if strings.Contains(e.raw, "%22") || strings.HasPrefix(e.raw, "Basic%20") { // the form of Squid
			e.raw, _ = url.PathUnescape(e.raw)
		}
		if e.raw != "-" && e.raw != "" {
			if e.credentials, err = durward.ParseCredentials(e.raw); err != nil {
				p.t.Errorf("the server was sent what cannot be read: %s", line)
			}
		}
		all = append(all, e)
	}
	slices.SortStableFunc(all, func(a, b entry) int { return strings.Compare(a.at, b.at) })
	return all
}

// String is "GET /x 200 Digest SHA-256 ada 1", the last being the count of the nonce.
func (e entry) String() string {
	text := e.request + " " + e.status
	switch c := e.credentials; c.Scheme {
	case "":
	case "Basic":
		decoded, err := base64.StdEncoding.DecodeString(c.Token68)
		if err != nil {
			return text + " " + err.Error()
		}
		text += " Basic " + string(decoded)
	case "Digest":
		algorithm, _ := c.Param("algorithm")
		name, _ := c.Param("username")
		if extended, ok := c.Param("username*"); ok {
			name = extended
		}
		nc, _ := c.Param("nc")
		n, err := strconv.ParseUint(nc, 16, 32)
		if err != nil {
			return text + " " + err.Error()
		}
		text += fmt.Sprintf(" Digest %s %s %d", algorithm, name, n)
	default:
		text += " " + e.raw
	}
	return text
}

// seen waits until the log has at least the given number of requests and returns all of them. A server
// may log a request after its response.
func (p *peer) seen(atLeast int) []entry {
	p.t.Helper()
	resp, err := p.client.Get(p.last)
	if err != nil {
		p.t.Fatal(err)
	}
	_ = resp.Body.Close()
	for deadline := time.Now().Add(runTimeout); ; time.Sleep(20 * time.Millisecond) { // lighttpd writes every four seconds
		all := p.entries()
		over := slices.ContainsFunc(all, func(e entry) bool { return strings.HasSuffix(e.request, "/last") })
		all = slices.DeleteFunc(all, func(e entry) bool {
			return strings.HasSuffix(e.request, "/last") || strings.HasSuffix(e.request, "/tick")
		})
		if over && len(all) >= atLeast {
			return all
		}
		if time.Now().After(deadline) {
			p.t.Errorf("the log has %d requests, want %d, and the last: %t; the server says:\n%s", len(all), atLeast,
				over, p.logText())
			return all
		}
	}
}

// wantRequests compares all requests in the log.
func (p *peer) wantRequests(want ...string) []entry {
	p.t.Helper()
	all := p.seen(len(want))
	got := make([]string, 0, len(all))
	for _, e := range all {
		got = append(got, e.String())
	}
	if !slices.Equal(got, want) {
		p.t.Errorf("the server saw\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
	for _, gap := range counted(p.t, all) {
		p.t.Error(gap)
	}
	return all
}

// counted checks that no Digest response was sent twice and that each had its own cnonce (RFC 7616
// s3.4). It returns the nonces with gaps in their counts.
func counted(t *testing.T, all []entry) (gaps []string) {
	t.Helper()
	counts, most, cnonces := map[string]map[uint64]bool{}, map[string]uint64{}, map[string]bool{}
	for _, e := range all {
		if e.credentials.Scheme != "Digest" {
			continue
		}
		nonce, _ := e.credentials.Param("nonce")
		text, _ := e.credentials.Param("nc")
		cnonce, _ := e.credentials.Param("cnonce")
		n, err := strconv.ParseUint(text, 16, 32)
		if err != nil || len(text) != 8 {
			t.Errorf("%s: nc %q", e, text)
		}
		if counts[nonce] == nil {
			counts[nonce] = map[uint64]bool{}
		}
		if counts[nonce][n] {
			t.Errorf("%s: this count was sent before", e)
		}
		counts[nonce][n] = true
		most[nonce] = max(most[nonce], n)
		if cnonces[cnonce] {
			t.Errorf("%s: this cnonce was sent before", e)
		}
		cnonces[cnonce] = true
	}
	for nonce, seen := range counts {
		if uint64(len(seen)) != most[nonce] {
			gaps = append(gaps, fmt.Sprintf("nonce %s was counted to %d in %d answers", nonce, most[nonce], len(seen)))
		}
	}
	return gaps
}

// notes is the backend of the peers. It records its requests.
type notes struct {
	url  string
	away string // where /away redirects to
	http *httptest.Server

	mu  sync.Mutex
	log []string
}

func newNotes(t *testing.T) *notes {
	n := new(notes)
	n.http = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		line := fmt.Sprintf("%s %s %d", r.Method, r.URL.Path, len(body))
		if err != nil {
			line += " " + err.Error()
		}
		for _, field := range []string{"Authorization", "Proxy-Authorization"} {
			for _, value := range r.Header[field] {
				scheme, _, _ := strings.Cut(value, " ")
				line += " " + field + ": " + scheme
			}
		}
		n.mu.Lock()
		n.log = append(n.log, line)
		n.mu.Unlock()
		if r.URL.Path == "/away" {
			http.Redirect(w, r, n.away+"/x", http.StatusTemporaryRedirect)
			return
		}
		fmt.Fprintf(w, "notes: %s", body)
	}))
	n.http.Start()
	t.Cleanup(n.http.Close)
	n.url = n.http.URL
	return n
}

// reached returns the number of recorded requests.
func (n *notes) reached() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.log)
}

// wantRequests compares the recorded requests.
func (n *notes) wantRequests(t *testing.T, want ...string) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.Equal(n.log, want) {
		t.Errorf("behind it there was seen\n\t%s\nwant\n\t%s", strings.Join(n.log, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// clientOf returns a client with its own connections.
func clientOf(t *testing.T, transport *durwardclient.Transport) *http.Client {
	t.Helper()
	if transport.Base == nil {
		transport.Base = new(http.Transport)
	}
	c := &http.Client{Transport: transport, Timeout: runTimeout}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// byTokens returns a client with the tokens of one issuer.
func byTokens(t *testing.T, c durwardclient.TokensConfig) *http.Client {
	t.Helper()
	return clientOf(t, &durwardclient.Transport{Sources: []durwardclient.Source{durwardclient.Tokens(c)}})
}

// byPassword returns a client with one password.
func byPassword(t *testing.T, c durwardclient.PasswordConfig) *http.Client {
	t.Helper()
	return clientOf(t, &durwardclient.Transport{Sources: []durwardclient.Source{durwardclient.Password(c)}})
}

// send sends a request and returns the status and the body.
func send(c *http.Client, method, url, body string) (string, error) {
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	if body == "" {
		r.Body, r.GetBody, r.ContentLength = nil, nil, 0
	}
	resp, err := c.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return fmt.Sprint(resp.StatusCode, " ", string(text)), err
}

// gets sends a request and compares the response, for a refusal only its status.
func gets(t *testing.T, c *http.Client, method, url, body, want string) {
	t.Helper()
	got, err := send(c, method, url, body)
	if status, _, _ := strings.Cut(got, " "); status >= "400" {
		got = status
	}
	if err != nil || got != want {
		t.Errorf("%s %s: %q, %v; want %q", method, url, got, err, want)
	}
}

// apr1 returns a line of a password file, hashed by openssl.
func apr1(t *testing.T, name, pass string) string {
	t.Helper()
	printed, status := command{stdin: pass + "\n"}.run(t, "openssl", "passwd", "-apr1", "-stdin")
	wantOutput(t, printed, status, 0, "$apr1$")
	return name + ":" + strings.TrimSpace(printed) + "\n"
}

// htdigest returns the lines of a file of H(A1), computed here and not by durward.
func htdigest(name, realm, pass string) string {
	a1 := []byte(name + ":" + realm + ":" + pass)
	return fmt.Sprintf("%s:%s:%x\n%s:%s:%x\n", name, realm, md5.Sum(a1), name, realm, sha256.Sum256(a1))
}

// repeated returns n copies of line.
func repeated(n int, line string) []string {
	return slices.Repeat([]string{line}, n)
}

// crowd sends concurrent requests through one client.
func crowd(t *testing.T, c *http.Client, goroutines, each int, method, url string) {
	t.Helper()
	var all sync.WaitGroup
	for g := range goroutines {
		all.Go(func() {
			for i := range each {
				body := ""
				if method == http.MethodPost {
					body = strings.Repeat("x", 1+g*each+i)
				}
				gets(t, c, method, url, body, "200 notes: "+body)
			}
		})
	}
	all.Wait()
}
