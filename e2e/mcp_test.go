package e2e

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path/filepath"
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

// An agent of the Go SDK comes to an MCP server without a token, signs its user in from the challenge, lists notes,
// and gets the scope for the second tool when that asks for it.
func TestMCPAgent(t *testing.T) {
	t.Parallel()
	notes := newProcess(t)
	endpoint := "http://" + notes.address + "/mcp"
	callback, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { callback.Close() })
	redirect := "http://" + callback.Addr().String() + "/callback"
	issuer := serveWith(t, `
[[resource]]
url = "`+endpoint+`"
name = "Notes"
[[resource.scopes]]
name = "notes:read"
[[resource.scopes]]
name = "notes:write"

[[client]]
id = "agent"
auth = "none"
redirect_uris = ["http://127.0.0.1/callback"]
grants = ["authorization_code", "refresh_token"]
scopes = ["notes:read", "notes:write", "offline_access"]
resources = ["`+endpoint+`"]
`)
	if err := build(); err != nil {
		t.Fatal(err)
	}
	notes.start(exec.Command(filepath.Join(executable.Dir, "mcp"), "-listen", notes.address, "-url", endpoint, "-issuer", issuer))

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
		PreregisteredClient: &oauthex.ClientCredentials{ClientID: "agent"},
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
	session, err := agent.Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: endpoint, OAuthHandler: handler}, nil)
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

// An API asks for a sign-in of the last 20 s (RFC 9470). The Go client leads its user to the authorization
// server, which asks for the password again, and the request passes with the new token.
func TestStepUpOfApplication(t *testing.T) {
	t.Parallel()
	const recent = 20 * time.Second // enough for the pages on a busy machine
	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	resource := srv.URL + "/payments"
	issuer := serveWith(t, `
[[resource]]
url = "`+resource+`"
name = "Payments"
[[resource.scopes]]
name = "pay"

[[client]]
id = "program"
auth = "none"
redirect_uris = ["http://127.0.0.1/callback"]
grants = ["authorization_code", "refresh_token"]
scopes = ["openid", "offline_access", "pay"]
resources = ["`+resource+`"]
`)
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
	time.Sleep(recent + 2*time.Second) // the sign-in is too old after that, by the server's clock, which is real
	passwords := v.passwords
	if got := get("/payments/large"); got != http.StatusOK || steps != 1 {
		t.Errorf("got %d after %d step-ups, want 200 after one", got, steps)
	}
	if v.passwords == passwords {
		t.Error("the user was not asked for the password")
	}
}
