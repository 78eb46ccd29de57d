package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// agent starts durward mcp with args and connects the client of the Go SDK to it.
func agent(t *testing.T, args ...string) *mcp.ClientSession {
	t.Helper()
	toServer, fromClient := io.Pipe()
	toClient, fromServer := io.Pipe()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	go func() {
		ended <- run(&environment{Context: ctx, stdin: toServer, stdout: fromServer, stderr: io.Discard}, append([]string{"mcp"}, args...))
		_ = fromServer.Close()
	}()
	session, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).
		Connect(t.Context(), &mcp.IOTransport{Reader: toClient, Writer: fromClient}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := session.Close(); err != nil {
			t.Error(err)
		}
		_ = fromClient.Close()
		if status := <-ended; status != exitDone {
			t.Errorf("durward mcp ended with status %d", status)
		}
		stop()
	})
	return session
}

// call calls a tool and returns its structured result as JSON, or the text of its error.
func call(t *testing.T, session *mcp.ClientSession, tool string, args map[string]any) (result string, failed bool) {
	t.Helper()
	r, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: tool, Arguments: args})
	if err != nil {
		return err.Error(), true
	}
	if r.IsError {
		return r.Content[0].(*mcp.TextContent).Text, true
	}
	text, err := json.Marshal(r.StructuredContent)
	if err != nil {
		t.Fatal(err)
	}
	return string(text), false
}

// TestMCP: each tool, its arguments, and a part of its result.
func TestMCP(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t-marker-of-an-agent"
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		http.NotFound(w, r)
	}))
	t.Cleanup(server.Close)
	s := agent(t)
	tools, err := s.ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, tool := range tools.Tools {
		names = append(names, tool.Name)
	}
	slices.Sort(names)
	if want := []string{"diagnose", "explain", "inspect_token"}; !slices.Equal(names, want) {
		t.Errorf("tools %q, want %q", names, want)
	}
	for _, row := range []struct {
		tool   string
		args   map[string]any
		failed bool
		want   string
	}{
		{
			"diagnose",
			map[string]any{"input": "GET / HTTP/1.1\nHost: a.example\nAuthorization: Token " + secret + "\n\nHTTP/1.1 401 Unauthorized\nWWW-Authenticate: Bearer\n\n"},
			false, `"id":"wrong-scheme"`,
		},
		{"diagnose", map[string]any{"input": ""}, true, "empty"},
		{"diagnose", map[string]any{"input": server.URL}, true, "--probe"},
		{"diagnose", map[string]any{"input": "x", "probe": true}, true, "probe"},
		{"explain", map[string]any{"id": "token_expired", "level": "eli5"}, false, "TOKEN_EXPIRED"},
		{"explain", map[string]any{"id": "exired"}, true, "expired"},
		{"explain", map[string]any{"id": ""}, false, `"kind":"cause"`},
		{"inspect_token", map[string]any{"token": "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0." + secret}, false, `"schema":"durward.doctor/1"`},
		{"check", map[string]any{"url": server.URL}, true, "check"},
	} {
		got, failed := call(t, s, row.tool, row.args)
		if failed != row.failed || !strings.Contains(got, row.want) {
			t.Errorf("%s %v: failed %t\n%s\nwant failed %t and %q", row.tool, row.args, failed, got, row.failed, row.want)
		}
		if strings.Contains(got, secret) {
			t.Errorf("%s: the result holds the secret:\n%s", row.tool, got)
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("without --probe the server got %d requests", n)
	}
}

// TestMCPProbe: with --probe an agent can have an address asked.
func TestMCPProbe(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Www-Authenticate"] = []string{`Basic realm="x"`}
		w.WriteHeader(401)
	}))
	t.Cleanup(server.Close)
	s := agent(t, "--probe")
	if got, failed := call(t, s, "diagnose", map[string]any{"input": server.URL + "/a"}); failed || !strings.Contains(got, `"id":"no-credentials"`) {
		t.Errorf("diagnose: failed %t\n%s", failed, got)
	}
	if got, failed := call(t, s, "check", map[string]any{"url": server.URL + "/a"}); failed || !strings.Contains(got, `"anonymous-401"`) {
		t.Errorf("check: failed %t\n%s", failed, got)
	}
	if got, failed := call(t, s, "diagnose", map[string]any{"input": "http://192.0.2.1/"}); !failed || !strings.Contains(got, "--allow-http") {
		t.Errorf("plain http: failed %t\n%s", failed, got)
	}
}
