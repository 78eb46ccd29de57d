package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/client"
	"github.com/durward-auth/durward/e2e/executable"
	"github.com/durward-auth/durward/jwt"
)

// publicClient returns settings of a resource with scopes, and of a public client that may have them, with refresh also
// beyond the session of its user.
func publicClient(id, redirect, resource string, refresh bool, scopes ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[[resource]]\nurl = %q\nname = \"Notes\"\n", resource)
	for _, scope := range scopes {
		fmt.Fprintf(&b, "[[resource.scopes]]\nname = %q\n", scope)
	}
	grants := []string{"authorization_code"}
	if refresh {
		grants, scopes = append(grants, "refresh_token"), append(scopes, "offline_access")
	}
	fmt.Fprintf(&b, "[[client]]\nid = %q\nauth = \"none\"\nredirect_uris = [%q]\nresources = [%q]\ngrants = [\"%s\"]\nscopes = [\"%s\"]\n",
		id, redirect, resource, strings.Join(grants, `", "`), strings.Join(scopes, `", "`))
	return b.String()
}

// startNotes starts the example of an MCP server at the address of p.
func startNotes(p *process, endpoint, issuer string) {
	p.t.Helper()
	if err := build(); err != nil {
		p.t.Fatal(err)
	}
	p.start(exec.Command(filepath.Join(executable.Dir, "mcp"), "-listen", p.address, "-url", endpoint, "-issuer", issuer))
}

// An agent of the Go SDK comes to the MCP server of the demonstration without a token, signs its user in from the challenge,
// lists notes, and gets the scope for the second tool when that asks for it. The commands are those of docs/oauth.md.
func TestMCPAgent(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile("../docs/oauth.md")
	if err != nil {
		t.Fatal(err)
	}
	commands := regexp.MustCompile("(?s)\n## The demonstration\n.*?```sh\ndurward (serve --demo)\ngo run ./examples/mcp\n```.*`(http://[^`]*)` and the `client_id` `([a-z-]+)`").FindStringSubmatch(string(document))
	if commands == nil {
		t.Fatal("docs/oauth.md: commands of the demonstration are missing")
	}
	endpoint, id := commands[2], commands[3]
	program, err := executable.Build()
	if err != nil {
		t.Fatal(err)
	}
	demo, notes := newProcess(t), newProcess(t)
	issuer := "http://" + demo.address
	serve := exec.Command(program, append(strings.Fields(commands[1]), "--listen", demo.address)...)
	serve.Env = append(os.Environ(), "TMPDIR="+t.TempDir(), "DURWARD_PUBLIC_URL="+issuer)
	demo.start(serve)
	startNotes(notes, endpoint, issuer)
	dialer := new(net.Dialer)
	transport := &http.Transport{DialContext: func(ctx context.Context, network, to string) (net.Conn, error) {
		if "http://"+to+"/mcp" == endpoint {
			to = notes.address // the documented port may be in use
		}
		return dialer.DialContext(ctx, network, to)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	c := &http.Client{Transport: transport}
	callback, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	redirect := "http://" + callback.Addr().String() + "/callback"

	v := newVisitor(t, partyUser, partyPassword)
	answers := make(chan url.Values, 1)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answers <- r.URL.Query()
		w.Header().Set("Content-Type", "text/plain")
	}))
	srv.Listener.Close()
	srv.Listener = callback
	srv.Start()
	t.Cleanup(srv.Close)
	handler, err := auth.NewAuthorizationCodeHandler(&auth.AuthorizationCodeHandlerConfig{
		PreregisteredClient: &oauthex.ClientCredentials{ClientID: id},
		Client:              c,
		RedirectURL:         redirect,
		RequestRefreshToken: true,
		AuthorizationCodeFetcher: func(_ context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
			v.visit(args.URL)
			q := <-answers
			return &auth.AuthorizationResult{Code: q.Get("code"), State: q.Get("state"), Iss: q.Get("iss")}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	agent := mcp.NewClient(&mcp.Implementation{Name: "agent", Version: "1"}, nil)
	session, err := agent.Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: endpoint, OAuthHandler: handler, HTTPClient: c}, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, notes.logText())
	}
	defer session.Close()
	for _, call := range []struct {
		tool  string
		input any
		want  string
	}{
		{"list_notes", map[string]any{}, "Notes: "},
		{"add_note", map[string]any{"text": "milk"}, "Added."},
		{"list_notes", map[string]any{}, "Notes: milk"},
	} {
		result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: call.tool, Arguments: call.input})
		if err != nil {
			t.Fatalf("%s: %v", call.tool, err)
		}
		if text, ok := result.Content[0].(*mcp.TextContent); !ok || result.IsError || text.Text != call.want {
			t.Errorf("%s: got %+v, want %q", call.tool, result.Content[0], call.want)
		}
	}
}

// installMCP installs the packages of agent/. They need Node.js 22, so that is one of them.
var installMCP = sync.OnceValue(func() error { return installFolder("agent") })

// startNode starts Node.js 22 in the folder agent/, with a JSON value as standard input. It calls line with each line of
// the output, until the program ends with the status 0.
func startNode(t *testing.T, input any, line func(string), args ...string) {
	t.Helper()
	text, err := json.Marshal(input)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(executable.Dir, "agent")
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "node_modules/.bin/node"), args...)
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(text)
	var failure bytes.Buffer
	cmd.Stderr = &failure
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var printed strings.Builder
	for s := bufio.NewScanner(out); s.Scan(); {
		fmt.Fprintln(&printed, s.Text())
		line(s.Text())
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s%s", err, printed.String(), failure.String())
	}
}

// newLocalProcess returns a process at 127.0.0.1 with a free port, for programs that accept http at no other address.
func newLocalProcess(t *testing.T) *process {
	t.Helper()
	p := newProcess(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p.address = l.Addr().String()
	return p
}

// TestMCPConformance runs the scenarios for authorization servers of MCP's conformance suite. Its client is public: the
// suite sends no secret to a server that has public clients.
func TestMCPConformance(t *testing.T) {
	t.Parallel()
	needPackages(t, installMCP)
	const resource = "http://127.0.0.1:8090/mcp"
	issuer := serveWith(t, publicClient("suite", "http://127.0.0.1/callback", resource, false, "notes:read"))
	_, port, _ := net.SplitHostPort(newLocalProcess(t).address) // the suite listens there

	v := newVisitor(t, partyUser, partyPassword)
	v.anyEnd = true
	results, to, listens := t.TempDir(), "", false
	startNode(t, nil, func(line string) {
		switch {
		case strings.HasPrefix(line, issuer+"/oauth/authorize?"):
			to = line
		case strings.HasPrefix(line, "Callback server started"):
			listens = true
		}
		if to != "" && listens {
			v.visit(to)
			to = ""
		}
	}, "node_modules/@modelcontextprotocol/conformance/dist/index.js", "authorization", "--url", issuer, "--client-id", "suite",
		"--resource", resource, "--port", port, "--output-dir", results)
	var got []string
	files, err := filepath.Glob(filepath.Join(results, "*", "checks.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		var checks []struct{ ID, Status, ErrorMessage string }
		if err != nil || json.Unmarshal(text, &checks) != nil {
			t.Fatalf("%v %s", err, text)
		}
		for _, c := range checks {
			got = append(got, strings.TrimSpace(c.ID+" "+c.Status+" "+c.ErrorMessage))
		}
	}
	slices.Sort(got)
	wantLines(t, got, []string{
		"authorization-code-grant SUCCESS",
		"authorization-server-metadata SUCCESS",
		`authorization-server-metadata-cimd WARNING Authorization server metadata does not include "client_id_metadata_document_supported"`,
	})
}

// Agents of the TypeScript SDK, of both its versions, sign their user in by Chromium, and again for the scope of the
// second tool. At a 403, version 1 renews the tokens if it has a refresh token, and so never gets another scope: its
// client has none.
func TestMCPTypeScript(t *testing.T) {
	t.Parallel()
	needPackages(t, installMCP)
	open := browse(t)
	for name, refresh := range map[string]bool{"@modelcontextprotocol/sdk": false, "@modelcontextprotocol/client": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			notes, agent := newProcess(t), newProcess(t)
			endpoint := "http://" + notes.address + "/mcp"
			issuer := serveOn(newLocalProcess(t), publicClient("agent", "http://"+agent.address+"/callback", endpoint, refresh, "notes:read", "notes:write"))
			startNotes(notes, endpoint, issuer)
			b := open(t, "")
			var got []string
			startNode(t, map[string]any{"package": name, "endpoint": endpoint, "address": agent.address, "calls": []mcp.CallToolParams{
				{Name: "list_notes"},
				{Name: "add_note", Arguments: map[string]string{"text": "milk"}},
				{Name: "list_notes"},
			}}, func(line string) {
				if to, ok := strings.CutPrefix(line, "open "); ok {
					line = strings.Join(signInByChromium(b, to), "\n")
				}
				got = append(got, line)
			}, "agent.mjs")
			wantLines(t, got, []string{
				"signed in",
				"list_notes: Notes:  with notes:read",
				"signed in",
				"add_note: Added. with notes:read notes:write",
				"list_notes: Notes: milk with notes:read notes:write",
			})
		})
	}
}

// An API asks for a sign-in of the last 20 s (RFC 9470). The Go client leads its user to the authorization
// server, which asks for the password again, and the request passes with the new token.
func TestStepUpOfApplication(t *testing.T) {
	t.Parallel()
	const recent = 20 * time.Second // enough for the pages on a busy machine
	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	resource := srv.URL + "/payments"
	issuer := serveWith(t, publicClient("program", "http://127.0.0.1/callback", resource, true, "pay"))
	g, err := durward.New(durward.Config{Schemes: []durward.Scheme{jwt.Bearer(issuer, resource)}})
	if err != nil {
		t.Fatal(err)
	}
	mux.Handle("/payments", g.Require(durward.Policy{Scopes: []string{"pay"}}, hello))
	mux.Handle("/payments/large", g.Require(durward.Policy{Scopes: []string{"pay"}, MaxAge: recent}, hello))

	v := newVisitor(t, partyUser, partyPassword)
	v.anyEnd = true
	o := &client.OAuth{TokenURL: issuer + "/oauth/token", ClientID: "program", Scopes: []string{"pay", "offline_access"}, Resources: []string{resource}}
	s := client.SignIn{AuthorizeURL: issuer + "/oauth/authorize", Issuer: issuer, Open: func(_ context.Context, u string) error {
		v.visit(u)
		return nil
	}}
	token, err := o.SignIn(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	store := new(client.MemoryStore)
	if err := store.Update(t.Context(), func(context.Context, client.Token) (client.Token, error) { return token, nil }); err != nil {
		t.Fatal(err)
	}
	steps := 0
	stepUp := o.StepUp(s, store)
	c := &http.Client{Transport: &client.Transport{
		Sources: []client.Source{client.Tokens(client.TokensConfig{Origins: []string{srv.URL}, Next: o.Refresh, Store: store})},
		OnStepUp: func(ctx context.Context, need client.StepUp) error {
			steps++
			return stepUp(ctx, need)
		},
	}}
	get := func(path string) int {
		t.Helper()
		resp, err := c.Get(srv.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if got := get("/payments"); got != http.StatusOK || steps != 0 {
		t.Errorf("got %d after %d step-ups, want 200 without one", got, steps)
	}
	// The sign-in grows too old by the clocks of both servers, which are real.
	for deadline := time.Now().Add(runTimeout); !strings.Contains(callAPI(t, resource+"/large", token.Access), "insufficient_user_authentication"); {
		if time.Now().After(deadline) {
			t.Fatal("the API asks for no other sign-in")
		}
		time.Sleep(200 * time.Millisecond)
	}
	passwords := v.passwords
	if got := get("/payments/large"); got != http.StatusOK || steps != 1 {
		t.Errorf("got %d after %d step-ups, want 200 after one", got, steps)
	}
	if v.passwords == passwords {
		t.Error("the user was not asked for the password")
	}
}
