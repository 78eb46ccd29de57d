package e2e

import (
	"cmp"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/durwardtest"
	"github.com/durward-auth/durward/e2e/executable"
	"github.com/durward-auth/durward/internal/services"
	"github.com/durward-auth/durward/jwt"
)

// build builds the examples at its first call.
var build = sync.OnceValue(func() error {
	return executable.GoBuild("../examples", executable.Dir+"/", "./...", nil)
})

func TestMain(m *testing.M) { os.Exit(executable.Run(m)) }

// process is a running program with its own address.
type process struct {
	address string
	t       *testing.T
	log     string // path of its output

	// patience limits the wait until the process listens; runTimeout if it is zero.
	patience time.Duration

	cmd   *exec.Cmd
	ended chan struct{}
}

// newProcess chooses a loopback address that no other process uses, so its port is free.
func newProcess(t *testing.T) *process {
	return &process{t: t, log: filepath.Join(t.TempDir(), "log"), address: services.Host() + ":3128"}
}

// start starts an example.
func start(t *testing.T, env []string, name string, args ...string) *process {
	t.Helper()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	p := newProcess(t)
	cmd := exec.Command(filepath.Join(executable.Dir, name), append(args, "-listen", p.address)...)
	cmd.Env = env
	p.start(cmd)
	return p
}

// start starts or restarts the process and waits until it listens.
func (p *process) start(cmd *exec.Cmd) {
	p.t.Helper()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	p.cmd, p.ended = cmd, ended
	p.t.Cleanup(p.stop)
	for deadline := time.Now().Add(cmp.Or(p.patience, runTimeout)); ; {
		conn, err := net.Dial("tcp", p.address)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-ended:
			p.t.Fatalf("%s ended: %s", cmd.Path, p.logText())
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s does not listen: %v", cmd.Path, err)
		}
	}
}

// stop ends the process if it is running.
func (p *process) stop() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// logText returns the log of the process.
func (p *process) logText() string {
	p.t.Helper()
	text, err := os.ReadFile(p.log)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(text)
}

// TestForwardProxy runs the example of a forward proxy with passwords, between curl and an origin
// that needs a password too.
func TestForwardProxy(t *testing.T) {
	t.Parallel()
	needPrograms(t, "curl")
	const proxyUser = user + ":open: sesame"
	for _, c := range []struct {
		name    string
		secure  bool // whether the origin uses TLS, so that curl requests a tunnel
		args    []string
		logged  []string
		reached bool
		status  int
		printed string
	}{
		{"Basic", false, []string{"--proxy-basic", "-U", proxyUser}, []string{"GET origin ada by Basic"}, true, 0,
			"hello, ada"},
		{"Digest", false, []string{"--proxy-digest", "-U", proxyUser},
			[]string{"GET origin PROXY_AUTHENTICATION_REQUIRED", "GET origin ada by Digest"}, true, 0, "hello, ada"},
		{"any", false, []string{"--proxy-anyauth", "-U", proxyUser},
			[]string{"GET origin PROXY_AUTHENTICATION_REQUIRED", "GET origin ada by Digest"}, true, 0, "hello, ada"},
		{"wrong", false, []string{"--proxy-digest", "-f", "-U", "ada:wrong"},
			[]string{"GET origin PROXY_AUTHENTICATION_REQUIRED", "GET origin INVALID_CREDENTIALS"}, false, 22, "407"},
		{"none", false, nil, []string{"GET origin PROXY_AUTHENTICATION_REQUIRED"}, false, 0,
			"PROXY_AUTHENTICATION_REQUIRED"},
		{"tunnel, Basic", true, []string{"--proxy-basic", "-U", proxyUser}, []string{"CONNECT origin ada by Basic"},
			true, 0, "hello, ada"},
		{"tunnel, Digest", true, []string{"--proxy-digest", "-U", proxyUser},
			[]string{"CONNECT origin PROXY_AUTHENTICATION_REQUIRED", "CONNECT origin ada by Digest"}, true, 0,
			"hello, ada"},
		{"tunnel, any", true, []string{"--proxy-anyauth", "-U", proxyUser},
			[]string{"CONNECT origin PROXY_AUTHENTICATION_REQUIRED", "CONNECT origin ada by Digest"}, true, 0,
			"hello, ada"},
		{"tunnel, wrong", true, []string{"--proxy-basic", "-U", "ada:wrong"},
			[]string{"CONNECT origin INVALID_CREDENTIALS"}, false, 56, "407"},
		{"tunnel, none", true, nil, []string{"CONNECT origin PROXY_AUTHENTICATION_REQUIRED"}, false, 56, "407"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			srv := newServer(t)
			guarded := srv.guard(durward.Config{Schemes: []durward.Scheme{basic()}, Realm: "origin"}).Handler(hello)
			origin := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if _, ok := r.Header["Proxy-Authorization"]; ok {
					t.Error("the origin received the proxy's credentials")
				}
				guarded.ServeHTTP(w, r)
			})
			args := append(c.args, "-sS", "--noproxy", "", "-u", account)
			if c.secure {
				srv.http.Config.Handler = origin
				srv.http.StartTLS()
				t.Cleanup(srv.http.Close)
				srv.url = srv.http.URL
				args = append(args, "--cacert", srv.certificate())
			} else {
				srv.serve(origin)
			}
			proxy := start(t, []string{"PROXY_PASSWORD=open: sesame"}, "forward-proxy", "-anywhere")
			printed, status := command{}.run(t, "curl", append(args, "-x", "http://"+proxy.address, srv.url+"/x")...)
			wantOutput(t, printed, status, c.status, c.printed)
			var logged []string
			for line := range strings.Lines(strings.ReplaceAll(proxy.logText(), srv.http.Listener.Addr().String(),
				"origin")) {
				line = strings.TrimSpace(line[len("2006/01/02 15:04:05 "):])
				what, _, _ := strings.Cut(line, ": ") // the cause
				logged = append(logged, what)
			}
			if got, want := strings.Join(logged, "\n"), strings.Join(c.logged, "\n"); got != want {
				t.Errorf("the proxy logged\n%s\nwant\n%s", got, want)
			}
			if c.reached {
				srv.wantRequests("GET /x: ada by Basic")
			} else {
				srv.wantRequests()
			}
		})
	}
}

// TestForwardProxyReachesNoNeighbour checks that the proxy without -anywhere refuses loopback and
// private addresses, even with a right password.
func TestForwardProxyReachesNoNeighbour(t *testing.T) {
	t.Parallel()
	needPrograms(t, "curl")
	origin := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter,
		*http.Request) {
		t.Error("the proxy connected to a loopback address")
	}))
	defer origin.Close()
	proxy := start(t, []string{"PROXY_PASSWORD=open"}, "forward-proxy")
	at := origin.Listener.Addr().String()
	_, port, _ := net.SplitHostPort(at)
	for _, target := range []string{at, "localhost:" + port, "[::1]:" + port, "[::ffff:127.0.0.1]:" + port,
		"10.0.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0:" + port} {
		for _, tunnel := range []bool{false, true} {
			args := []string{"-sS", "--noproxy", "", "-x", "http://" + proxy.address, "--proxy-basic", "-U",
				"ada:open", "-o", "/dev/null", "-w", "%{http_code} %{http_connect}"}
			if tunnel {
				args = append(args, "--proxytunnel")
			}
			if printed, _ := (command{}).run(t, "curl",
				append(args, "http://"+target+"/")...); !strings.HasSuffix(printed,
				map[bool]string{false: "502 000", true: "000 502"}[tunnel]) {
				t.Errorf("%s, tunnel %t: %s", target, tunnel, printed)
			}
		}
	}
}

// TestExamples runs the other examples and checks the behaviour that their comments describe.
func TestExamples(t *testing.T) {
	t.Parallel()
	needPrograms(t, "curl")
	curl := func(t *testing.T, p *process, want string, args ...string) {
		t.Helper()
		printed, status := command{}.run(t, "curl", append(args, "-sS", "--noproxy", "*", "-w", " %{http_code}")...)
		wantOutput(t, printed, status, 0, want)
	}
	t.Run("basic", func(t *testing.T) {
		t.Parallel()
		p := start(t, []string{"NOTES_PASSWORD=open sesame"}, "basic")
		curl(t, p, "hello, ada\n 200", "-u", "ada:open sesame", p.address)
		curl(t, p, " 401", "-u", "ada:wrong", p.address)
		curl(t, p, " 401", "-u", "eve:open sesame", p.address)
		curl(t, p, " 401", p.address)
	})
	t.Run("several-schemes", func(t *testing.T) {
		t.Parallel()
		p := start(t, []string{"NOTES_PASSWORD=open sesame", "NOTES_TOKEN=t0ken"}, "several-schemes")
		curl(t, p, "hello, ada\n 200", "--digest", "-u", "ada:open sesame", p.address)
		curl(t, p, "hello, ada\n 200", "--basic", "-u", "ada:open sesame", p.address)
		curl(t, p, "hello, ada\n 200", "--oauth2-bearer", "t0ken", p.address)
		curl(t, p, " 401", "--basic", "-u", "eve:", p.address)
		curl(t, p, " 401", "--oauth2-bearer", "other", p.address)
		log := p.logText()
		for _, want := range []string{"subject=ada scheme=Digest", "subject=ada scheme=Basic",
			"subject=ada scheme=Bearer",
			"code=AUTHENTICATION_REQUIRED scheme=\"\"", "code=INVALID_CREDENTIALS scheme=Basic",
			"code=INVALID_TOKEN scheme=Bearer"} {
			if !strings.Contains(log, want) {
				t.Errorf("log: got\n%s\nwant it to contain %q", log, want)
			}
		}
		if secret := regexp.MustCompile("sesame|t0ken").FindString(log); secret != "" {
			t.Errorf("log: contains the secret %q", secret)
		}
	})
	t.Run("htpasswd", func(t *testing.T) {
		t.Parallel()
		file := filepath.Join(t.TempDir(), "users")
		add := func(name, password string) {
			t.Helper()
			if err := build(); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(filepath.Join(executable.Dir, "htpasswd"), "-file", file, "-add", name)
			cmd.Stdin = strings.NewReader(password + "\n")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("-add: %v %s", err, out)
			}
		}
		add("ada", "open sesame")
		p := start(t, nil, "htpasswd", "-file", file)
		curl(t, p, "hello, ada\n 200", "-u", "ada:open sesame", p.address)
		curl(t, p, " 401", "-u", "ada:wrong", p.address)
		curl(t, p, " 401", p.address)
		add("grace", "another one")
		for deadline := time.Now().Add(runTimeout); ; time.Sleep(10 * time.Millisecond) {
			printed, _ := command{}.run(t, "curl", "-sS", "--noproxy", "*", "-u", "grace:another one", p.address)
			if printed == "hello, grace\n" {
				break
			} else if time.Now().After(deadline) {
				t.Fatalf("a new line of the file has no effect: %s", printed)
			}
		}
	})
	t.Run("spa", func(t *testing.T) {
		t.Parallel()
		p := start(t, []string{"NOTES_PASSWORD=open sesame"}, "spa")
		curl(t, p, "<h1>Sample application</h1>", p.address+"/demo/")
		curl(t, p, "createClient", p.address+"/durward.js")
		curl(t, p, " 401", p.address+"/api/profile")
		curl(t, p, " 401", "-d", "user=ada&password=wrong", p.address+"/login")
		printed, status := command{}.run(t, "curl", "-isS", "--noproxy", "*", "--data-urlencode", "user=ada", "--data-urlencode",
			"password=open sesame", p.address+"/login?return_to=/demo/")
		wantOutput(t, printed, status, 0, "303 See Other", "Location: /demo/")
		sent := "Cookie: " + regexp.MustCompile(`__Host-session=\w+`).FindString(printed)
		curl(t, p, `"ada@example.com","name":"Ada"}`, "-H", sent, p.address+"/api/profile")
		curl(t, p, " 403", "-H", sent, "-H", "Origin: null", "-X", "POST", p.address+"/api/auth/token")
		printed, status = command{}.run(t, "curl", "-sS", "--noproxy", "*", "-H", sent, "-X", "POST", p.address+"/api/auth/token")
		wantOutput(t, printed, status, 0, `"expires_in":60`)
		token := regexp.MustCompile(`"access_token":"([^"]+)"`).FindStringSubmatch(printed)
		if token == nil {
			t.Fatal("no token")
		}
		curl(t, p, `"ada@example.com","name":"Ada"}`, "--oauth2-bearer", token[1], p.address+"/api/profile")
		curl(t, p, " 204", "-H", sent, "-X", "DELETE", p.address+"/api/auth/sessions/this")
		curl(t, p, " 401", "-H", sent, p.address+"/api/profile")
		curl(t, p, " 204", "-H", sent, "-X", "POST", p.address+"/api/auth/logout")
	})
	t.Run("apikey", func(t *testing.T) {
		t.Parallel()
		p := start(t, nil, "apikey")
		as := func(key, want string, args ...string) {
			t.Helper()
			curl(t, p, want, append([]string{"-H", "X-API-Key: " + key}, args...)...)
		}
		first := strings.TrimSpace(p.logText())
		as(first, "the notes of ada\n 200", p.address+"/notes")
		curl(t, p, "the notes of ada\n 200", "--oauth2-bearer", first, p.address+"/notes")
		as(first+"x", " 401", p.address+"/notes")
		as(first, " 403", "-d", "scope=admin", p.address+"/keys")
		second, _ := command{}.run(t, "curl", "-sS", "--noproxy", "*", "-H", "X-API-Key: "+first, "-d", "scope=notes",
			p.address+"/keys")
		second = strings.TrimSpace(second)
		if !strings.HasPrefix(second, "notes_") || len(second) < 20 {
			t.Fatalf("a new key: got %q", second)
		}
		as(second, "the notes of ada\n 200", p.address+"/notes")
		as(second, " 403", p.address+"/keys")
		as(first, second[:len("notes_")+8]+"… [notes]", p.address+"/keys")
		if list, _ := (command{}).run(t, "curl", "-sS", "--noproxy", "*", "-H", "X-API-Key: "+first,
			p.address+"/keys"); strings.Contains(list, second) {
			t.Errorf("the list shows a whole key: %s", list)
		}
		at := p.address + "/keys/" + second[:len("notes_")+8]
		as(first, " 204", "-X", "DELETE", at)
		as(first, " 404", "-X", "DELETE", at)
		as(second, " 401", p.address+"/notes")
	})
	t.Run("cookie", func(t *testing.T) {
		t.Parallel()
		p := start(t, []string{"NOTES_PASSWORD=open sesame"}, "cookie")
		c := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		send := func(method, path, form, cookie, site string, status int) *http.Response {
			t.Helper()
			r, err := http.NewRequestWithContext(t.Context(), method, "http://"+p.address+path, strings.NewReader(form))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("Sec-Fetch-Site", site)
			r.Header.Set("Sec-Fetch-Mode", "navigate")
			r.Header.Set("Sec-Fetch-Dest", "document")
			r.Header.Set("Accept", "text/html")
			if cookie != "" {
				r.Header.Set("Cookie", "__Host-session="+cookie)
			}
			resp, err := c.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != status {
				t.Errorf("%s %s from %s: got %s %s, %v; want %d", method, path, site, resp.Status, body, err, status)
			}
			if signedIn := strings.Contains(string(body), "hello, ada"); signedIn != (path == "/" && status == 200) {
				t.Errorf("%s %s: got the body %s", method, path, body)
			}
			return resp
		}
		const form = "user=ada&password=open+sesame&return_to=%2F"
		if to := send("GET", "/", "", "", "none", 303).Header.Get("Location"); !strings.HasSuffix(to, "/login?return_to=%2F") {
			t.Errorf("without a session: redirected to %q", to)
		}
		send("GET", "/login", "", "", "same-origin", 200)
		send("POST", "/login", "user=ada&password=wrong", "", "same-origin", 401)
		send("POST", "/login", "user=eve&password=open+sesame", "", "same-origin", 401)
		send("POST", "/login", form, "", "cross-site", 403)
		signedIn := send("POST", "/login", form, "", "same-origin", 303).Cookies()
		if len(signedIn) != 1 || !signedIn[0].HttpOnly || !signedIn[0].Secure {
			t.Fatalf("sign-in: got cookies %v, want one with Secure and HttpOnly", signedIn)
		}
		session := signedIn[0].Value
		send("GET", "/", "", session, "none", 200)
		next := send("POST", "/login", form, session, "same-origin", 303).Cookies()[0].Value
		send("GET", "/", "", session, "none", 303) // a new sign-in ends the previous session
		send("POST", "/logout", "", next, "cross-site", 403)
		if gone := send("POST", "/logout", "", next, "same-origin", 303).Cookies(); len(gone) != 1 || gone[0].MaxAge >= 0 {
			t.Errorf("sign-out: got cookies %v, want one that deletes the cookie", gone)
		}
		send("GET", "/", "", next, "none", 303)
	})
	for _, name := range []string{"bearer", "chi", "gin", "echo"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			issuer := durwardtest.NewIssuer(t)
			p := start(t, nil, name, "-issuer", issuer.URL, "-audience", durwardtest.Audience)
			token := func(scopes ...string) string { return issuer.Token(func(c *jwt.Claims) { c.Scopes = scopes }) }
			notes := p.address + "/notes"
			curl(t, p, "the notes of ada\n 200", "--oauth2-bearer", token(), notes)
			curl(t, p, "\"code\":\"AUTHENTICATION_REQUIRED\"", notes)
			curl(t, p, " 401", "-d", "a", notes)
			curl(t, p, " 401", "--oauth2-bearer", token("write")+"x", "-d", "a", notes)
			curl(t, p, "\"required_scopes\":[\"write\"]", "--oauth2-bearer", token("read"), "-d", "a", notes)
			curl(t, p, " 403", "--oauth2-bearer", token("read"), "-d", "a", notes)
			curl(t, p, " 204", "--oauth2-bearer", token("write"), "-d", "a", notes)
			issuer.SetAway(true)
			away := start(t, nil, name, "-issuer", issuer.URL, "-audience", durwardtest.Audience)
			curl(t, away, " 503", "--oauth2-bearer", token(), away.address+"/notes")
			if name != "bearer" {
				curl(t, p, "ok\n 200", p.address+"/healthz")
			}
		})
	}
	// Clients of Connect and of gRPC get the code of their protocol for each refusal.
	t.Run("connect", func(t *testing.T) {
		t.Parallel()
		issuer := durwardtest.NewIssuer(t)
		p := start(t, nil, "connect", "-issuer", issuer.URL, "-audience", durwardtest.Audience)
		token := func(scopes ...string) string { return issuer.Token(func(c *jwt.Claims) { c.Scopes = scopes }) }
		curl(t, p, `"the notes of ada" 200`, "--oauth2-bearer", token(), "-H", "Content-Type: application/json", "-d",
			"{}", p.address+"/notes.v1.NotesService/Read")
		issuer.SetAway(true)
		away := start(t, nil, "connect", "-issuer", issuer.URL, "-audience", durwardtest.Audience)
		transport := &http.Transport{Protocols: new(http.Protocols)}
		transport.Protocols.SetUnencryptedHTTP2(true)
		defer transport.CloseIdleConnections()
		for protocol, options := range map[string][]connect.ClientOption{"Connect": nil, "gRPC": {connect.WithGRPC()},
			"gRPC-Web": {connect.WithGRPCWeb()}} {
			for _, c := range []struct {
				at            *process
				method, token string
				code          connect.Code // 0 for success
			}{
				{p, "Read", token(), 0},
				{p, "Write", token("write"), 0},
				{p, "Read", "", connect.CodeUnauthenticated},
				{p, "Read", token() + "x", connect.CodeUnauthenticated},
				{p, "Write", token("read"), connect.CodePermissionDenied},
				{away, "Read", token(), connect.CodeUnavailable},
			} {
				call := connect.NewClient[emptypb.Empty, emptypb.Empty](&http.Client{Transport: transport},
					"http://"+c.at.address+"/notes.v1.NotesService/"+c.method, options...)
				request := connect.NewRequest(new(emptypb.Empty))
				if c.token != "" {
					request.Header().Set("Authorization", "Bearer "+c.token)
				}
				_, err := call.CallUnary(t.Context(), request)
				if c.code == 0 && err != nil || c.code != 0 && connect.CodeOf(err) != c.code {
					t.Errorf("%s, %s: %v, want %s", protocol, c.method, err, c.code)
				}
			}
		}
	})
}
