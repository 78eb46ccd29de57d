package doctor

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// This file adds facts about the discovery of an authorization server: metadata, registration, and
// the resource and the issuer that they name.

// registrationPath matches addresses where clients register (RFC 7591).
var registrationPath = regexp.MustCompile(`(?i)/(?:register|registration|clients-registrations|dcr|client-registration|oauth/clients)(?:/|$)`)

// oauthPath matches the other addresses of an authorization server.
var oauthPath = regexp.MustCompile(`(?i)/(?:token|authorize|authorization|introspect|revoke|userinfo|par|device_authorization|callback|jwks(?:\.json)?)/?$`)

// discoveryFacts adds facts about the discovery of an authorization server: metadata, registration
// and sessions of the Model Context Protocol.
func (e *evidence) discoveryFacts() {
	r := e.request
	members := bodyMembers(r)
	_, redirects := members["redirect_uris"]
	if strings.EqualFold(r.Method, "POST") && !e.seen["token-address"] && (redirects || registrationPath.MatchString(e.target.Path) && !e.seen["secret-in-body"] && e.authorizationServer()) {
		e.add("registration-address", Computed, "address", "the request registers a client (RFC 7591 s3)")
	}
	for _, doc := range e.documents() {
		u, err := url.Parse(doc.url)
		if err != nil {
			continue
		}
		if before, after, ok := strings.Cut(u.Path, "/.well-known/oauth-authorization-server"); ok && text(doc.members, "issuer") != "" {
			u.Path, u.RawQuery = before+after, ""
			if issuer := text(doc.members, "issuer"); u.Host != "" && strings.TrimSuffix(issuer, "/") != strings.TrimSuffix(u.String(), "/") {
				e.add("issuer-differs", Computed, "metadata issuer", "issuer of the metadata is %s; their address is that of %s (RFC 8414 s3.3)", e.quote(issuer), e.quote(u.String()))
			}
		}
		if strings.Contains(u.Path, "/.well-known/oauth-protected-resource") && text(doc.members, "resource") != "" && doc.members["authorization_servers"] == nil {
			e.add("resource-without-servers", Computed, "metadata", "the metadata of the resource has no authorization_servers")
		}
		if text(doc.members, "token_endpoint") != "" && doc.members["registration_endpoint"] == nil && e.seen["registration-address"] {
			e.add("registration-not-offered", Computed, "metadata", "the metadata of the authorization server has no registration_endpoint")
		}
	}
	if r.Header.Has("Mcp-Session-Id") {
		e.add("session-named", Computed, "Mcp-Session-Id", "the request names a session of the Model Context Protocol")
	}
	if origin, err := url.Parse(r.Header.Get("Origin")); err == nil && origin.Host != "" && localHost(e.target.Hostname()) && !localHost(origin.Hostname()) {
		e.add("origin-at-local", Computed, "Origin", "a page of %s asks a server on this machine", e.quote(origin.Host))
	}
	for _, w := range e.linesBeside(true) {
		if e.seen["none-sent"] && fieldSet.MatchString(w.text) {
			e.add("program-sets", Computed, w.at, "a line of a program or a configuration sets Authorization, and the request has none")
		}
	}
	for _, ch := range e.challenges {
		if named, _ := ch.Param("resource_metadata"); named != "" && e.target.Host != "" && publicHost(e.target.Hostname()) {
			if u, err := url.Parse(named); err == nil && publicHost(u.Hostname()) && !strings.EqualFold(u.Hostname(), e.target.Hostname()) {
				e.add("resource-metadata-elsewhere", Computed, e.challengeField(), "resource_metadata is of %s, the resource is of %s (RFC 9728 s3.1)", e.quote(u.Host), e.quote(e.target.Host))
			}
		}
	}
	for _, f := range e.response.Header {
		if e.seen["unsafe-method"] && e.seen["cookie-sent"] && forgeryField.MatchString(f.Name) && !slices.ContainsFunc(r.Header, func(g Field) bool { return forgeryField.MatchString(g.Name) }) {
			e.add("form-token-given", Computed, f.Name, "the refusal has a token against forged requests in %s, and the request has none", e.quote(f.Name))
		}
	}
	if exchangePath.MatchString(e.target.Path) && (members["token"] != "" || members["jwt"] != "" || members["subject_token"] != "" || members["oidc_token"] != "" || members["id_token"] != "") {
		e.add("token-exchanged", Computed, "body", "the address exchanges a token of another issuer, which the body contains")
	}
	e.earlierUse()
	for _, x := range e.c.Earlier() {
		if x.Request != nil && x.Response != nil && strings.EqualFold(x.Request.Method, "OPTIONS") && x.Response.Status < 300 && sameHost(parseTarget(x.Request), e.target) && x.Response.Header.Has("Access-Control-Allow-Origin") {
			e.add("preflight-passed", Computed, "history", "the earlier preflight was accepted")
		}
	}
	e.namedResource()
}

// exchangePath matches addresses that take a token of another issuer in the body.
var exchangePath = regexp.MustCompile(`(?i)/(?:mint-token|token[-_/]exchange|exchange[-_/]token|trusted_publishing|oidc/(?:token|exchange|login)|(?:auth/)?jwt/login|oidc)(?:/|$)`)

// earlierUse adds facts about the same credentials and redirects in earlier exchanges.
func (e *evidence) earlierUse() {
	auth := e.request.Header.Get("Authorization")
	for _, x := range e.c.Earlier() {
		if x.Request == nil || x.Response == nil || x.Probe != "" {
			continue
		}
		before, status := parseTarget(x.Request), x.Response.Status
		if auth != "" && status >= 200 && status < 300 && !sameHost(before, e.target) && before.Path != e.target.Path && x.Request.Header.Get("Authorization") == auth {
			e.add("accepted-by-other-host", Computed, "history", "%s accepted the same token, %s does not", e.quote(before.Host), e.quote(e.target.Host))
		}
		if to, err := before.Parse(x.Response.Header.Get("Location")); err == nil && status >= 300 && status < 400 && before.Scheme == "http" && to.Scheme == "https" && sameHost(before, e.target) && strings.EqualFold(to.Hostname(), before.Hostname()) {
			e.add("http-led-to-https", Computed, "history", "an earlier redirect led from http to https")
		}
	}
}

// fieldSet matches a line of a program or of a configuration that sets Authorization among the
// fields of its requests.
var fieldSet = regexp.MustCompile(`(?i)\bheaders["']?\s*[:=]\s*\{[^{}]*["']?authorization["']?\s*[:=]`)

// authorizationServer reports whether other exchanges or the address show an authorization server
// with open registration.
func (e *evidence) authorizationServer() bool {
	path := strings.ToLower(e.target.Path)
	if strings.Contains(path, "oauth") || strings.Contains(path, "clients-registrations") || strings.Contains(path, "dcr") || strings.Contains(path, "connect") || strings.HasPrefix(strings.ToLower(e.target.Host), "mcp.") {
		return true
	}
	return slices.ContainsFunc(e.documents(), func(d document) bool { return text(d.members, "token_endpoint") != "" })
}

// namedResource compares the audience of a token with the resource that the address of the metadata
// stands for: the path behind the well-known part is that of the resource (RFC 9728 s3.1).
func (e *evidence) namedResource() {
	c := e.sent(secretInAuthorization)
	if c == nil || c.token == nil {
		return
	}
	aud := texts(c.token.claims, "aud")
	if len(aud) == 0 || e.target.Host == "" {
		return
	}
	fits := func(address string) bool {
		address = strings.TrimSuffix(address, "/")
		return slices.ContainsFunc(aud, func(a string) bool { return strings.EqualFold(strings.TrimSuffix(a, "/"), address) })
	}
	here := *e.target
	here.RawQuery, here.Fragment = "", ""
	for _, ch := range e.challenges {
		named, _ := ch.Param("resource_metadata")
		u, err := url.Parse(named)
		if err != nil || u.Host == "" {
			continue
		}
		before, after, ok := strings.Cut(u.Path, "/.well-known/oauth-protected-resource")
		if !ok {
			continue
		}
		u.Path, u.RawQuery = before+after, ""
		if !fits(u.String()) && !fits(here.String()) {
			e.add("aud-other-than-named", Computed, "claim aud", "aud is %s, the challenge names the metadata of %s (RFC 9728 s3.1)", e.quote(strings.Join(aud, " ")), e.quote(u.String()))
			if slices.ContainsFunc(aud, func(a string) bool { v, err := url.Parse(a); return err == nil && v.Host != "" }) {
				e.add("aud-of-other-address", Computed, "claim aud", "aud is an address and differs from that of the resource")
			}
		}
	}
}
