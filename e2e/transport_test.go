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

// In the tests of durwardclient.Transport the other end is what other people wrote. What was
// sent is read in the server's own log.

// peer is such a server. Its log has a line for each request: method, target, version or
// time of its beginning, status and credentials.
type peer struct {
	*process
	dir    string // its own
	url    string
	access string
	client *http.Client // which sends what it is given and no more
	last   string       // URL that is asked for to know that all before it is in the log
	as     *syscall.Credential
}

// newPeer makes a folder and an address for a server that runs as nobody, where the
// tests run as root: these servers run as root under no circumstances.
func newPeer(t *testing.T) *peer {
	t.Helper()
	p := &peer{process: newProcess(t), dir: t.TempDir(), client: &http.Client{Timeout: runTimeout, Transport: new(http.Transport)}}
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
	if err := os.Chmod(filepath.Dir(p.dir), 0o711); err != nil { // a folder of this test alone
		t.Fatal(err)
	}
	return p
}

// write makes a file in the folder of p, with what is known of p filled in, and
// returns its path.
func (p *peer) write(name, text string, more ...string) string {
	p.t.Helper()
	host, port, _ := strings.Cut(p.address, ":")
	path := writeFile(p.t, filepath.Join(p.dir, name), strings.NewReplacer(append(more, "{{dir}}", p.dir, "{{address}}", p.address, "{{host}}", host, "{{port}}", port)...).Replace(text))
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

// entry is a line of the log.
type entry struct {
	request, status string
	at              string // microsecond, of servers that write in another order than they read
	credentials     durward.Credentials
	raw             string
}

// escaped is what servers put for an octet that they do not write as it is.
var escaped = regexp.MustCompile(`\\(?:"|\\|x[0-9A-Fa-f]{2})`)

// entries is what is in the log so far.
func (p *peer) entries() (all []entry) {
	p.t.Helper()
	text, err := os.ReadFile(p.access)
	if err != nil && !os.IsNotExist(err) {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 5)
		if len(f) != 5 || !strings.HasSuffix(line, "\n") {
			break // being written
		}
		e := entry{request: f[0] + " " + f[1], at: f[2], status: f[3], raw: escaped.ReplaceAllStringFunc(f[4], func(s string) string {
			one, _, _, err := strconv.UnquoteChar(s, '"')
			if err != nil {
				p.t.Error(err)
			}
			return string([]byte{byte(one)})
		})}
		if strings.Contains(e.raw, "%22") || strings.HasPrefix(e.raw, "Basic%20") { // as Squid writes it
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

// seen is all that the server was asked, once that is so many requests or more. A line may
// be written after the answer was read.
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
			p.t.Errorf("the log has %d requests, want %d, and the last: %t; the server says:\n%s", len(all), atLeast, over, p.logText())
			return all
		}
	}
}

// saw compares all that the server was asked.
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

// counted checks that no answer was sent twice, and that each had a cnonce of its own (RFC
// 7616 s3.4). It returns the nonces whose counts have gaps.
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

// notes is what stands behind the peers: it says what reached it.
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

// reached is how many requests reached it.
func (n *notes) reached() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.log)
}

// saw compares what reached it.
func (n *notes) wantRequests(t *testing.T, want ...string) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.Equal(n.log, want) {
		t.Errorf("behind it there was seen\n\t%s\nwant\n\t%s", strings.Join(n.log, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// clientOf is a client on connections of its own.
func clientOf(t *testing.T, transport *durwardclient.Transport) *http.Client {
	t.Helper()
	if transport.Base == nil {
		transport.Base = new(http.Transport)
	}
	c := &http.Client{Transport: transport, Timeout: runTimeout}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// byPassword is a client with one password.
func byPassword(t *testing.T, c durwardclient.PasswordConfig) *http.Client {
	t.Helper()
	return clientOf(t, &durwardclient.Transport{Sources: []durwardclient.Source{durwardclient.Password(c)}})
}

// send sends a request and returns status and body.
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

// gets compares what a request is answered with; of a refusal the status alone.
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

// apr1 is a line of a password file, which openssl hashes.
func apr1(t *testing.T, name, pass string) string {
	t.Helper()
	printed, status := command{stdin: pass + "\n"}.run(t, "openssl", "passwd", "-apr1", "-stdin")
	wantOutput(t, printed, status, 0, "$apr1$")
	return name + ":" + strings.TrimSpace(printed) + "\n"
}

// htdigest is the lines of a file of H(A1), reckoned here and not by durward.
func htdigest(name, realm, pass string) string {
	a1 := []byte(name + ":" + realm + ":" + pass)
	return fmt.Sprintf("%s:%s:%x\n%s:%s:%x\n", name, realm, md5.Sum(a1), name, realm, sha256.Sum256(a1))
}

// repeated is a line so many times.
func repeated(n int, line string) []string {
	return slices.Repeat([]string{line}, n)
}

// crowd sends requests from many goroutines at once, through one client.
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
