package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/durward-auth/durward/internal/check"
	"github.com/durward-auth/durward/internal/printable"
	"github.com/durward-auth/durward/server/internal/doctor"
	"github.com/durward-auth/durward/server/internal/explain"
)

type mcpVerb struct {
	Probe     bool `help:"Let the agent ask servers, with diagnose of a URL and the tool check. Without it no tool uses the network."`
	AllowHTTP bool `name:"allow-http" help:"With --probe: ask servers other than this machine with plain http."`
}

// maxMCPLine is the size of the largest message of an agent, in octets.
const maxMCPLine = 16 << 20

// The inputs of the tools. Their tags are what the agent reads.
type (
	diagnoseInput struct {
		Input string `json:"input" jsonschema:"the refused request with its response: HAR, curl command, raw HTTP exchange, terminal transcript, log or response body; or an https URL if the server was started with --probe"`
		As    string `json:"as,omitempty" jsonschema:"read the input as har, curl, raw, transcript, token, url or text; by default recognised by content"`
	}
	explainInput struct {
		ID    string `json:"id" jsonschema:"code (TOKEN_EXPIRED), cause (expired), subject (challenge) or authentication scheme; empty lists all"`
		Level string `json:"level,omitempty" jsonschema:"eli3, eli5, junior, crash or deep; default junior"`
	}
	inspectInput struct {
		Token string `json:"token" jsonschema:"a JSON Web Token, DPoP proof, API key or signed address; the signature may be removed"`
	}
	checkInput struct {
		URL string `json:"url" jsonschema:"the protected http or https URL"`
	}
)

func (v mcpVerb) Run(e *environment) error {
	server := mcp.NewServer(&mcp.Implementation{Name: "durward", Title: "Durward doctor", Version: versionOf()}, &mcp.ServerOptions{
		Instructions: "Explains HTTP 401, 403 and 407 responses of any server. diagnose names the cause with its proof and fix, " +
			"or the next test. Secrets are masked in every result.",
		Logger: slog.New(slog.NewTextHandler(e.stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	local := false
	readOnly := &mcp.ToolAnnotations{ReadOnlyHint: true, IdempotentHint: true, OpenWorldHint: &local}
	asks := readOnly
	if v.Probe {
		asks = &mcp.ToolAnnotations{ReadOnlyHint: true, IdempotentHint: true}
	}
	mcp.AddTool(server, &mcp.Tool{
		Name: "diagnose", Title: "Why was this request refused?", Annotations: asks,
		Description: "Find the cause of a refused HTTP request (401, 403, 407 and what replaces them), with proof, fix and next test.",
	}, v.diagnose)
	mcp.AddTool(server, &mcp.Tool{
		Name: "explain", Title: "Explain a code or cause", Annotations: readOnly,
		Description: "Explain a refusal code, a cause, a subject or an authentication scheme at one of five levels.",
	}, explainTool)
	mcp.AddTool(server, &mcp.Tool{
		Name: "inspect_token", Title: "Inspect a token", Annotations: readOnly,
		Description: "Read a token without verifying it: kind, times, issuer, audience, and what is wrong with its form.",
	}, inspectTool)
	if v.Probe {
		mcp.AddTool(server, &mcp.Tool{
			Name: "check", Title: "Check how a server refuses", Annotations: asks,
			Description: "Ask a protected URL without credentials and with wrong ones, and compare its refusals with the standards.",
		}, v.check)
	}
	err := server.Run(e, &mcp.IOTransport{Reader: io.NopCloser(e.stdin), Writer: nopCloser{e.stdout}, MaxLineLength: maxMCPLine})
	if err != nil && e.Err() == nil {
		return unreachable("The agent starts durward mcp itself and speaks JSON-RPC on standard input.", "%w", err)
	}
	return nil
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// diagnose is the tool diagnose.
func (v mcpVerb) diagnose(ctx context.Context, _ *mcp.CallToolRequest, in diagnoseInput) (*mcp.CallToolResult, *doctor.Report, error) {
	c, err := doctor.Read(strings.NewReader(in.Input), doctor.Options{As: doctor.Kind(in.As)})
	if err != nil {
		return nil, nil, err
	}
	if c.Kind == doctor.KindURL {
		if !v.Probe {
			return nil, nil, fmt.Errorf("the input is an address and this server uses no network: give the request with its response, or start durward mcp --probe")
		}
		config, _, err := doctor.ProbeOf(c)
		if err != nil {
			return nil, nil, err
		}
		config.AllowHTTP = v.AllowHTTP
		if c, err = doctor.Probe(ctx, config); err != nil {
			return nil, nil, err
		}
	}
	return nil, doctor.Diagnose(c), nil
}

// check is the tool check. Without --probe the server does not have it.
func (v mcpVerb) check(ctx context.Context, _ *mcp.CallToolRequest, in checkInput) (*mcp.CallToolResult, *check.Report, error) {
	report, err := check.Run(ctx, check.Config{URL: in.URL, AllowHTTP: v.AllowHTTP})
	return nil, report, err
}

// explainTool is the tool explain.
func explainTool(_ context.Context, _ *mcp.CallToolRequest, in explainInput) (*mcp.CallToolResult, *explanations, error) {
	if strings.TrimSpace(in.ID) == "" {
		all := new(explanations)
		for _, p := range explain.All() {
			all.Items = append(all.Items, explanationOf(p.With(defaultFigures()), ""))
		}
		return nil, all, nil
	}
	p, ok := explain.Find(strings.TrimSpace(in.ID))
	if !ok {
		return nil, nil, fmt.Errorf("there is no explanation of %q; similar: %s", printable.Line(in.ID, 60), strings.Join(explain.Suggest(in.ID), ", "))
	}
	level := in.Level
	if level == "" {
		level = "junior"
	}
	p = p.With(defaultFigures())
	return nil, &explanations{Items: []explanation{explanationOf(p, p.Text(level, explainWidth))}}, nil
}

// explanations is the result of the tool explain.
type explanations struct {
	Items []explanation `json:"items"`
}

// inspectTool is the tool inspect_token.
func inspectTool(_ context.Context, _ *mcp.CallToolRequest, in inspectInput) (*mcp.CallToolResult, *doctor.Report, error) {
	c, err := doctor.Read(strings.NewReader(in.Token), doctor.Options{As: doctor.KindToken})
	if err != nil {
		return nil, nil, err
	}
	return nil, doctor.Diagnose(c), nil
}
