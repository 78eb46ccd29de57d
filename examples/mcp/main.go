// mcp is a server of the Model Context Protocol with two tools, for agents that sign their user in. One tool
// reads notes and needs the scope notes:read, the other adds one and needs notes:write too:
//
//	go run ./mcp -issuer http://127.0.0.1:8401 -url http://127.0.0.1:8090/mcp
//
// An agent that comes without a token gets 401 with the address of the metadata (RFC 9728). There it finds the
// authorization server, signs its user in and comes back. An agent whose token lacks notes:write gets 403 with
// the scope that it has to ask for.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/jwt"
)

const (
	scopeRead  = "notes:read"
	scopeWrite = "notes:write"
)

// scopesOf are the scopes that each tool needs.
var scopesOf = map[string][]string{
	"list_notes": {scopeRead},
	"add_note":   {scopeRead, scopeWrite},
}

func main() {
	listen := flag.String("listen", "127.0.0.1:8090", "address")
	endpoint := flag.String("url", "http://127.0.0.1:8090/mcp", "exact URL of this server, which is the audience of its tokens")
	issuer := flag.String("issuer", "http://127.0.0.1:8401", "the authorization server")
	flag.Parse()

	meta := durward.ResourceMetadata{
		Resource:             *endpoint,
		AuthorizationServers: []string{*issuer},
		ScopesSupported:      []string{scopeRead, scopeWrite},
		Name:                 "Notes",
	}
	guard, err := durward.New(durward.Config{
		Realm:    "notes",
		Schemes:  []durward.Scheme{jwt.Bearer(*issuer, *endpoint)},
		Metadata: meta.URL(),
	})
	if err != nil {
		log.Fatal(err)
	}
	server := newServer()
	handler := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, nil)
	mux := http.NewServeMux()
	mux.Handle("/.well-known/oauth-protected-resource/", meta)
	mux.Handle("/mcp", guard.Require(durward.Policy{Scopes: []string{scopeRead}}, forTool(guard, withToken(handler))))
	log.Fatal(http.ListenAndServe(*listen, mux))
}

// forTool answers the call of a tool with 403 and the needed scopes if the token has too few of them. The tool
// itself checks again: this function only reads which tool the request seems to name.
func forTool(guard *durward.Guard, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			guard.Refuse(w, r, durward.BodyTooLarge)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		var call struct {
			Method string
			Params struct{ Name string }
		}
		_ = json.Unmarshal(body, &call) // the SDK answers what is no message of the protocol
		if scopes, ok := scopesOf[call.Params.Name]; ok && call.Method == "tools/call" {
			if _, err := guard.Check(r, durward.Policy{Scopes: scopes}); err != nil {
				guard.Refuse(w, r, err)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// withToken passes the user and the scopes of a request on to the tools. The SDK ends a session that another
// user continues.
func withToken(next http.Handler) http.Handler {
	verified := func(_ context.Context, _ string, r *http.Request) (*auth.TokenInfo, error) {
		p := durward.From(r.Context())
		return &auth.TokenInfo{UserID: p.Subject, Scopes: p.Scopes, Expiration: p.Expires}, nil
	}
	return auth.RequireBearerToken(verified, nil)(next)
}

// notes are the notes of each user.
type notes struct {
	mu  sync.Mutex
	all map[string][]string
}

type addNote struct {
	Text string `json:"text" jsonschema:"the text of the note"`
}

func newServer() *mcp.Server {
	n := &notes{all: map[string][]string{}}
	s := mcp.NewServer(&mcp.Implementation{Name: "notes", Version: "1"}, nil)
	mcp.AddTool(s, &mcp.Tool{Name: "list_notes", Description: "List the notes of the user."}, n.list)
	mcp.AddTool(s, &mcp.Tool{Name: "add_note", Description: "Add a note for the user."}, n.add)
	return s
}

// allow returns the user of a call whose token has the scopes of the tool.
func allow(r *mcp.CallToolRequest) (user string, err error) {
	if r.Extra == nil || r.Extra.TokenInfo == nil {
		return "", errors.New("the call has no token")
	}
	for _, scope := range scopesOf[r.Params.Name] {
		if !slices.Contains(r.Extra.TokenInfo.Scopes, scope) {
			return "", errors.New("the token lacks the scope " + scope)
		}
	}
	return r.Extra.TokenInfo.UserID, nil
}

func (n *notes) list(_ context.Context, r *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
	user, err := allow(r)
	if err != nil {
		return nil, nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return text("Notes: " + strings.Join(n.all[user], "; ")), nil, nil
}

func (n *notes) add(_ context.Context, r *mcp.CallToolRequest, in addNote) (*mcp.CallToolResult, any, error) {
	user, err := allow(r)
	if err != nil {
		return nil, nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.all[user]) >= 100 {
		return nil, nil, errors.New("there are 100 notes already")
	}
	n.all[user] = append(n.all[user], in.Text)
	return text("Added."), nil, nil
}

func text(t string) *mcp.CallToolResult {
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: t}}}
}
