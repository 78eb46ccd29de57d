package doctor

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/durward-auth/durward/client"
	"github.com/durward-auth/durward/internal/check"
	"github.com/durward-auth/durward/internal/loopback"
	"github.com/durward-auth/durward/internal/origin"
)

// This file asks a server and records the exchanges.

// Bounds of one probe.
const (
	maxProbes         = 12
	maxProbeTime      = 45 * time.Second
	maxProbeEach      = 10 * time.Second
	maxProbeBody      = 1 << 20
	maxProbeRedirects = 5
)

// ProbeConfig describes the requests of a probe.
type ProbeConfig struct {
	URL    string // http or https, without a user part
	Method string // GET, HEAD or OPTIONS; empty: GET
	Header Fields // fields without secrets, sent to the origin of URL

	// Credentials are fields such as Authorization or Cookie. They are sent once, to the origin of
	// URL alone, whatever a redirect, challenge or document names.
	Credentials Fields

	// Source answers challenges in place of Credentials. It sends again only for a new nonce.
	Source client.Source

	Certificate *tls.Certificate // of the client, presented to the origin of URL alone
	AllowHTTP   bool             // allow plain http beyond loopback

	// Transport sends the requests; nil: a transport that uses the proxy of the environment.
	Transport *http.Transport

	OnRequest func(text string) // is told of each request before it is sent; nil: no report
}

// probe is the state of one Probe.
type probe struct {
	ProbeConfig
	ctx       context.Context
	target    *url.URL
	transport *http.Transport // without client certificate
	own       *http.Transport // for the origin of URL
	result    Case
	left      int
}

// Plan returns the requests that Probe can send, a line each.
func (c ProbeConfig) Plan() []string {
	method := cmp.Or(c.Method, http.MethodGet)
	var plan []string
	switch {
	case c.Source != nil:
		plan = append(plan, method+" "+c.URL+", then once with the password if it is asked for, and once more for a new nonce alone")
	default:
		plan = append(plan, method+" "+c.URL+" without credentials")
		if len(c.Credentials) > 0 || c.Certificate != nil {
			plan = append(plan, method+" "+c.URL+" once with the credentials")
		}
	}
	if c.Header.Has("Origin") {
		plan = append(plan, "OPTIONS "+c.URL+", the preflight of a browser")
	}
	return append(plan, fmt.Sprintf("resource metadata, server metadata and key set, without credentials; %d requests at most", maxProbes))
}

// Probe asks a server and returns the exchanges as a Case. Redirects are followed, five at most;
// other origins get no credentials. It sends at most 12 requests, each for 10 seconds, for 45
// seconds in all, and reads 1 MiB of each body. An error that wraps [check.ErrConfig] is avoided by
// a corrected ProbeConfig; other errors mean that the server was not reached.
func Probe(ctx context.Context, c ProbeConfig) (*Case, error) {
	u, err := check.Address(c.URL, c.AllowHTTP)
	if err != nil {
		return nil, err
	}
	c.Method = strings.ToUpper(cmp.Or(c.Method, http.MethodGet))
	if !slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodOptions}, c.Method) {
		return nil, fmt.Errorf("%w: the method %s could change data; want GET, HEAD or OPTIONS", check.ErrConfig, c.Method)
	}
	ctx, cancel := context.WithTimeout(ctx, maxProbeTime)
	defer cancel()
	base := c.Transport
	if base == nil {
		base = http.DefaultTransport.(*http.Transport)
	}
	p := &probe{ProbeConfig: c, ctx: ctx, target: u, transport: base.Clone(), left: maxProbes}
	p.transport.DisableCompression, p.transport.MaxResponseHeaderBytes = true, maxProbeBody
	p.own = p.transport
	if c.Certificate != nil {
		p.own = p.transport.Clone()
		p.own.TLSClientConfig = cmp.Or(p.own.TLSClientConfig, new(tls.Config))
		p.own.TLSClientConfig.Certificates = []tls.Certificate{*c.Certificate}
	}
	defer p.transport.CloseIdleConnections()
	defer p.own.CloseIdleConnections()
	return p.run()
}

// run sends the requests of the plan in their order.
func (p *probe) run() (*Case, error) {
	p.result.Kind, p.result.URL = KindURL, p.URL
	if p.Source != nil {
		p.answer()
	} else {
		p.follow(ProbeAnonymous, false)
		if len(p.Credentials) > 0 || p.Certificate != nil {
			p.follow(ProbeCredentials, true)
		}
	}
	p.result.Subject = len(p.result.Exchanges) - 1 // with credentials, if there are any
	if last := p.result.Exchanges[p.result.Subject]; last.Response == nil {
		return &p.result, fmt.Errorf("no response from %s: %s", p.target.Host, last.Error)
	}
	if p.Header.Has("Origin") {
		p.preflight()
	}
	p.metadata()
	return &p.result, nil
}

// follow sends the request and follows its redirects.
func (p *probe) follow(part string, credentials bool) {
	method, address := p.Method, p.target
	for range maxProbeRedirects + 1 {
		same := sameOrigin(address, p.target)
		var header Fields
		if same {
			header = slices.Clone(p.Header)
			if credentials {
				header = append(header, p.Credentials...)
			}
		}
		e := p.send(part, method, address, header, same && credentials)
		if e == nil || e.Response == nil || e.Response.Status < 300 || e.Response.Status > 399 || !e.Response.Header.Has("Location") {
			return
		}
		next, err := address.Parse(e.Response.Header.Get("Location"))
		if err != nil || next.Scheme != "https" && (next.Scheme != "http" || !p.plain(next)) || next.Host == "" {
			p.note(part, "The redirect leads to an address that is not followed: it is no https address.")
			return
		}
		next.User, next.Fragment = nil, ""
		address = next
	}
	p.limit(fmt.Sprintf("Only %d redirects were followed.", maxProbeRedirects))
}

// plain reports whether plain http may be used for u.
func (p *probe) plain(u *url.URL) bool {
	return p.AllowHTTP || loopback.Host(u.Hostname()) && loopback.Host(p.target.Hostname())
}

// sameOrigin reports whether two addresses have the same origin (RFC 6454 s5).
func sameOrigin(a, b *url.URL) bool {
	return origin.Of(a.Scheme, a.Host) == origin.Of(b.Scheme, b.Host)
}

// answer sends the request with a client that answers challenges, and records each exchange. The
// client sends a password once; it sends again for a new nonce alone (RFC 7616 s3.3, RFC 9449 s8).
func (p *probe) answer() {
	t := &client.Transport{Sources: []client.Source{p.Source}, Base: roundTripper(p.record)}
	r, err := http.NewRequestWithContext(p.ctx, p.Method, p.URL, nil)
	if err != nil {
		p.result.Exchanges = append(p.result.Exchanges, Exchange{Error: err.Error()})
		return
	}
	for _, f := range p.Header {
		r.Header.Add(f.Name, f.Value)
	}
	resp, err := t.RoundTrip(r)
	if err == nil {
		resp.Body.Close()
	} else if len(p.result.Exchanges) == 0 {
		p.result.Exchanges = append(p.result.Exchanges, Exchange{Request: p.request(r), Error: err.Error()})
	}
}

// roundTripper is a function as an http.RoundTripper.
type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// record sends a request of the client and records the exchange.
func (p *probe) record(r *http.Request) (*http.Response, error) {
	part := ProbeAnonymous
	if r.Header.Get("Authorization") != "" {
		part = ProbeCredentials
	}
	header := FieldsOf(r.Header)
	e := p.send(part, r.Method, r.URL, header, true)
	if e == nil {
		return nil, errors.New("the limit of requests is reached")
	}
	if e.Response == nil {
		return nil, errors.New(e.Error)
	}
	resp := &http.Response{
		StatusCode: e.Response.Status, Proto: e.Response.Proto, Header: http.Header{}, Request: r, Body: http.NoBody, ProtoMajor: 1, ProtoMinor: 1,
	}
	for _, f := range e.Response.Header {
		resp.Header.Add(f.Name, f.Value)
	}
	return resp, nil
}

// send sends one request and records it. It returns nil if no request is left. The pointer is valid
// until the next call.
func (p *probe) send(part, method string, u *url.URL, header Fields, own bool) *Exchange {
	if p.left == 0 || p.ctx.Err() != nil {
		p.limit("The limit of requests or of time is reached.")
		return nil
	}
	p.left--
	text := fmt.Sprintf("%s %s://%s%s, %s", method, u.Scheme, u.Host, Mask(cmp.Or(u.RequestURI(), "/")), part)
	p.result.Requests = append(p.result.Requests, text)
	if p.OnRequest != nil {
		p.OnRequest(text)
	}
	ctx, cancel := context.WithTimeout(p.ctx, maxProbeEach)
	defer cancel()
	e := Exchange{Probe: part}
	r, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		e.Error = err.Error()
		p.result.Exchanges = append(p.result.Exchanges, e)
		return &p.result.Exchanges[len(p.result.Exchanges)-1]
	}
	for _, f := range header {
		if strings.EqualFold(f.Name, "Host") {
			r.Host = f.Value
			continue
		}
		r.Header[f.Name] = append(r.Header[f.Name], f.Value)
	}
	if r.Header.Get("User-Agent") == "" {
		r.Header.Set("User-Agent", "durward-doctor")
	}
	e.Request = p.request(r)
	transport := p.transport
	if own && sameOrigin(u, p.target) {
		transport = p.own
		e.Request.ClientCertificate = p.Certificate != nil && u.Scheme == "https"
	}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		e.Error = err.Error()
	} else {
		defer resp.Body.Close()
		body, err := io.ReadAll(io.LimitReader(resp.Body, maxProbeBody+1))
		if err != nil {
			p.note(part, "The body ended early: "+err.Error())
		}
		e.Response = &Response{
			Status: resp.StatusCode, Reason: strings.TrimPrefix(resp.Status, fmt.Sprintf("%d ", resp.StatusCode)), Proto: resp.Proto,
			Header: FieldsOf(resp.Header), Body: body[:min(len(body), maxProbeBody)], Truncated: len(body) > maxProbeBody || err != nil,
			Whole: true,
		}
		if len(body) > maxProbeBody {
			p.limit("A body is longer than 1 MiB; its beginning was read.")
		}
	}
	p.result.Exchanges = append(p.result.Exchanges, e)
	return &p.result.Exchanges[len(p.result.Exchanges)-1]
}

// request records a request.
func (p *probe) request(r *http.Request) *Request {
	return &Request{Method: r.Method, URL: r.URL.String(), Proto: "HTTP/1.1", Header: FieldsOf(r.Header), Whole: true}
}

// note adds a note to the result.
func (p *probe) note(at, text string) {
	p.result.Notes = append(p.result.Notes, Note{ID: NoteProbe, At: at, Text: text})
}

// limit adds a limit to the result once.
func (p *probe) limit(text string) {
	if !slices.Contains(p.result.Limits, text) {
		p.result.Limits = append(p.result.Limits, text)
	}
}

// preflight asks as a browser does before a request with credentials (Fetch s4.8).
func (p *probe) preflight() {
	names := []string{"authorization"}
	for _, f := range p.Credentials {
		if name := strings.ToLower(f.Name); name != "authorization" && name != "cookie" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	p.send(ProbePreflight, http.MethodOptions, p.target, Fields{
		{Name: "Origin", Value: p.Header.Get("Origin")},
		{Name: "Access-Control-Request-Method", Value: p.Method},
		{Name: "Access-Control-Request-Headers", Value: strings.Join(names, ",")},
	}, false)
}

// metadata fetches the documents that a client of OAuth would fetch: from the challenge to the
// metadata of the resource, of its authorization server, and to the key set.
func (p *probe) metadata() {
	subject := p.result.Exchanges[p.result.Subject]
	challenges := challengesOf(subject.Response.Header.Values("WWW-Authenticate"))
	resource := ""
	bearer := false
	for _, c := range challenges {
		if strings.EqualFold(c.Scheme, "Bearer") || strings.EqualFold(c.Scheme, "DPoP") {
			bearer = true
		}
		if value, ok := c.Param("resource_metadata"); ok && resource == "" { // RFC 9728 s5.1
			resource = value
		}
	}
	issuer := p.issuer()
	if !bearer && issuer == "" {
		return
	}
	if resource == "" && bearer { // RFC 9728 s3.1
		u := *p.target
		u.Path, u.RawPath, u.RawQuery = "/.well-known/oauth-protected-resource"+strings.TrimSuffix(u.EscapedPath(), "/"), "", ""
		resource = u.String()
	}
	var document struct {
		Servers []string `json:"authorization_servers"`
		KeySet  string   `json:"jwks_uri"`
	}
	if resource != "" && p.document(ProbeResourceMetadata, resource, &document) && len(document.Servers) > 0 {
		issuer = document.Servers[0]
	}
	if issuer == "" {
		return
	}
	document.KeySet = ""
	for _, address := range metadataAddresses(issuer) {
		if p.document(ProbeServerMetadata, address, &document) {
			break
		}
	}
	if document.KeySet != "" {
		p.document(ProbeKeySet, document.KeySet, &struct{}{})
	}
}

// metadataAddresses returns where an issuer's metadata can stand (RFC 8414 s3.1, OpenID Connect
// Discovery s4).
func metadataAddresses(issuer string) []string {
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" {
		return nil
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	base := u.Scheme + "://" + u.Host
	return []string{
		base + "/.well-known/oauth-authorization-server" + path,
		base + path + "/.well-known/openid-configuration",
	}
}

// issuer returns the claim iss of the token among the credentials, or "".
func (p *probe) issuer() string {
	for _, value := range p.Credentials.Values("Authorization") {
		_, token, _ := strings.Cut(value, " ")
		parts := strings.Split(strings.TrimSpace(token), ".")
		if len(parts) != 3 {
			continue
		}
		payload, err := base64.RawURLEncoding.DecodeString(parts[1])
		var claims struct {
			Issuer string `json:"iss"`
		}
		if err == nil && json.Unmarshal(payload, &claims) == nil {
			return claims.Issuer
		}
	}
	return ""
}

// document fetches a JSON document without credentials, and reports whether it could be read.
func (p *probe) document(part, address string, to any) bool {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.User != nil,
		u.Scheme != "https" && (u.Scheme != "http" || !p.plain(u)),
		loopback.Host(u.Hostname()) && !loopback.Host(p.target.Hostname()):
		p.note(part, "An address of a document was not asked: it is no https address, or leads to this machine.")
		return false
	}
	e := p.send(part, http.MethodGet, u, Fields{{Name: "Accept", Value: "application/json"}}, false)
	return e != nil && e.Response != nil && e.Response.Status == http.StatusOK && json.Unmarshal(e.Response.Body, to) == nil
}

// ProbeOf returns the probe that repeats the refused request of a case, for `durward doctor
// --probe`. Credentials that must not be sent twice are left out; the texts say which and why.
func ProbeOf(c *Case) (config ProbeConfig, left []string, err error) {
	config.URL = c.URL
	refusal := c.Refusal()
	if refusal == nil || refusal.Request == nil {
		if c.URL == "" {
			return config, nil, fmt.Errorf("%w: the input names no address", check.ErrConfig)
		}
		return config, nil, nil
	}
	config.URL = cmp.Or(refusal.Request.URL, c.URL)
	if u, err := url.Parse(config.URL); err == nil && u.User != nil {
		u.User = nil
		config.URL = u.String()
		left = append(left, "The user part of the address is not sent.")
	}
	if u, err := url.Parse(config.URL); err != nil || u.Host == "" {
		return config, left, fmt.Errorf("%w: the input names no host; give the whole address", check.ErrConfig)
	}
	config.Method = refusal.Request.Method
	if !slices.Contains([]string{"", http.MethodGet, http.MethodHead, http.MethodOptions}, config.Method) {
		left = append(left, fmt.Sprintf("GET is sent in place of %s, which could change data.", config.Method))
		config.Method = http.MethodGet
	}
	refused := refusal.Response != nil && refusal.Response.Status >= 400
	for _, f := range refusal.Request.Header {
		scheme, _, _ := strings.Cut(f.Value, " ")
		switch name := strings.ToLower(f.Name); {
		case name == "host" || name == "content-length" || name == "transfer-encoding" || name == "connection" || name == "accept-encoding" ||
			strings.HasPrefix(name, ":") || strings.HasPrefix(name, "if-") || name == "range" || name == "expect" || name == "upgrade" || name == "content-type" || name == "te":
			// of the connection, the body or a cache
		case name == "proxy-authorization":
			left = append(left, "Proxy-Authorization is not sent.")
		case name == "authorization" && strings.EqualFold(scheme, "Basic") && refused:
			// Tries lock accounts.
			left = append(left, "The password was refused once and is not sent again: repeated tries can lock the account.")
		case name == "authorization" && !slices.Contains([]string{"basic", "bearer", "token", "apikey"}, strings.ToLower(scheme)), name == "dpop":
			left = append(left, f.Name+" is not sent: it proves one request alone.")
		case SecretField(f.Name):
			config.Credentials = append(config.Credentials, f)
		default:
			config.Header = append(config.Header, f)
		}
	}
	return config, left, nil
}
