package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	durwardclient "github.com/durward-auth/durward/client"
)

const registry = `
version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: {{dir}}/images}}
http: {addr: "{{address}}"}
auth: {token: {realm: "{{tokens}}/token", service: images, issuer: tokens, rootcertbundle: {{dir}}/signer}}
`

// tokenServer issues tokens for a registry and requires Basic. As the registry's specification says, the
// tokens are JWTs with the claim access.
type tokenServer struct {
	*server
	key  *ecdsa.PrivateKey
	cert []byte
	life atomic.Int64 // seconds
}

func newTokenServer(t *testing.T) *tokenServer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "tokens"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	s := &tokenServer{server: newServer(t), key: key, cert: der}
	s.life.Store(3600)
	s.serve(s.guard(durward.Config{Schemes: []durward.Scheme{basic()},
		Realm: "tokens"}).Handler(http.HandlerFunc(s.give)))
	return s
}

func (s *tokenServer) give(w http.ResponseWriter, r *http.Request) {
	type access struct {
		Type    string   `json:"type"`
		Name    string   `json:"name"`
		Actions []string `json:"actions"`
	}
	all := []access{}
	for _, scope := range strings.Fields(r.FormValue("scope")) {
		part := strings.Split(scope, ":")
		if len(part) == 3 && part[1] == "ada/notes" {
			all = append(all, access{part[0], part[1], strings.Split(part[2], ",")})
		}
	}
	now := time.Now()
	head, err1 := json.Marshal(map[string]any{"typ": "JWT", "alg": "ES256",
		"x5c": []string{base64.StdEncoding.EncodeToString(s.cert)}})
	claims, err2 := json.Marshal(map[string]any{"iss": "tokens", "sub": user, "aud": r.FormValue("service"),
		"jti": rand.Text(),
		"iat": now.Unix() - 120, "nbf": now.Unix() - 120, "exp": now.Unix() + s.life.Load(), "access": all})
	text := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(claims)
	sum := sha256.Sum256([]byte(text))
	a, b, err3 := ecdsa.Sign(rand.Reader, s.key, sum[:])
	if err1 != nil || err2 != nil || err3 != nil {
		s.t.Error(err1, err2, err3)
		return
	}
	signature := b.FillBytes(append(a.FillBytes(make([]byte, 32)), make([]byte, 32)...)[32:])
	signature = append(a.FillBytes(make([]byte, 32)), signature...)
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"token":%q,"expires_in":%d}`, text+"."+base64.RawURLEncoding.EncodeToString(signature),
		s.life.Load())
}

// imageTokens is a source for a registry of container images. The challenge names the scope of the
// token. The configuration names the token server; a challenge with another one is not answered.
type imageTokens struct {
	Registry string       // origin
	Service  string       // of the challenge
	Server   string       // URL of the token endpoint, the realm of the challenge
	Client   *http.Client // signs in there

	mu     sync.Mutex
	tokens map[string]string // the last token accepted, by folder
}

func (i *imageTokens) Authorize(r *http.Request, offered []durward.Challenge) error {
	if "http://"+r.URL.Host != i.Registry {
		return durwardclient.ErrNoAnswer
	}
	at := r.URL.Path[:strings.LastIndex(r.URL.Path, "/")]
	i.mu.Lock()
	token := i.tokens[at]
	i.mu.Unlock()
	if offered != nil {
		realm, _ := offered[0].Param("realm")
		service, _ := offered[0].Param("service")
		if !strings.EqualFold(offered[0].Scheme, "Bearer") || realm != i.Server || service != i.Service {
			return durwardclient.ErrNoAnswer
		}
		scope, _ := offered[0].Param("scope")
		var err error
		if token, err = i.get(r.Context(), scope); err != nil {
			return err
		}
		i.mu.Lock()
		if i.tokens == nil || len(i.tokens) > 1000 {
			i.tokens = make(map[string]string)
		}
		i.tokens[at] = token
		i.mu.Unlock()
	}
	if token == "" {
		return durwardclient.ErrNoAnswer
	}
	r.Header.Set("Authorization", "Bearer "+token)
	return nil
}

func (i *imageTokens) get(ctx context.Context, scope string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet,
		i.Server+"?"+url.Values{"service": {i.Service}, "scope": {scope}}.Encode(), nil)
	if err != nil {
		return "", err
	}
	resp, err := i.Client.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var answer struct{ Token string }
	if err := durwardclient.CheckResponse(resp); err != nil {
		return "", err
	}
	return answer.Token, json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&answer)
}

// recorder is a RoundTripper that records requests.
type recorder struct {
	http.RoundTripper
	mu   sync.Mutex
	sent []string
}

func (r *recorder) RoundTrip(q *http.Request) (*http.Response, error) {
	resp, err := r.RoundTripper.RoundTrip(q)
	if err == nil {
		line := fmt.Sprint(q.Method, " ", q.URL.Path, " ", resp.StatusCode)
		if field := q.Header.Get("Authorization"); field != "" {
			scheme, _, _ := strings.Cut(field, " ")
			line += " " + scheme
		}
		r.mu.Lock()
		r.sent = append(r.sent, line)
		r.mu.Unlock()
	}
	return resp, err
}

func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer func() { r.sent = nil }()
	return r.sent
}

// TestTransportRegistry: a registry of container images requires a token for one repository and one
// action. Another server issues it and requires Basic.
func TestTransportRegistry(t *testing.T) {
	t.Parallel()
	needPrograms(t, "docker-registry")
	tokens, p := newTokenServer(t), newPeer(t)
	p.write("signer", encodePEM(t, tls.Certificate{Certificate: [][]byte{tokens.cert}}))
	p.run(nil, "docker-registry", "serve", p.write("configuration", registry, "{{tokens}}", tokens.url))
	sent := &recorder{RoundTripper: new(http.Transport)}
	source := func(server string) *imageTokens {
		return &imageTokens{Registry: p.url, Service: "images", Server: server,
			Client: byPassword(t, durwardclient.PasswordConfig{Origin: tokens.url, User: user, Password: password})}
	}
	c := clientOf(t, &durwardclient.Transport{Base: sent,
		Sources: []durwardclient.Source{source(tokens.url + "/token")}})
	expect := func(what string, want []string, asked ...string) {
		t.Helper()
		if got := sent.take(); !slices.Equal(got, want) {
			t.Errorf("%s: the registry was sent\n\t%s\nwant\n\t%s", what, strings.Join(got, "\n\t"),
				strings.Join(want, "\n\t"))
		}
		tokens.mu.Lock()
		for i, line := range tokens.log {
			tokens.log[i] = strings.Replace(line, "push%2Cpull", "pull%2Cpush", 1) // the order differs between requests
		}
		tokens.mu.Unlock()
		tokens.wantRequests(asked...)
		tokens.mu.Lock()
		tokens.log = nil
		tokens.mu.Unlock()
	}
	const ping = "GET /token?scope=&service=images: "
	const pull, push = "GET /token?scope=repository%3Aada%2Fnotes%3Apull&service=images: ",
		"GET /token?scope=repository%3Aada%2Fnotes%3Apull%2Cpush&service=images: "

	gets(t, c, "GET", p.url+"/v2/", "", "200 {}")
	expect("a ping", []string{"GET /v2/ 401", "GET /v2/ 200 Bearer"},
		ping+"AUTHENTICATION_REQUIRED", ping+"ada by Basic")
	gets(t, c, "GET", p.url+"/v2/ada/notes/tags/list", "", "404")
	expect("tags", []string{"GET /v2/ada/notes/tags/list 401", "GET /v2/ada/notes/tags/list 404 Bearer"},
		pull+"ada by Basic")
	gets(t, c, "GET", p.url+"/v2/ada/notes/tags/list", "", "404")
	expect("tags again", []string{"GET /v2/ada/notes/tags/list 404 Bearer"})

	// A whole image: two blobs and a manifest, each pushed and pulled.
	upload := func(content string) string {
		t.Helper()
		digest := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(content)))
		resp, err := c.Post(p.url+"/v2/ada/notes/blobs/uploads/", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		at, err := resp.Location()
		if err != nil || resp.StatusCode != http.StatusAccepted {
			t.Fatalf("an upload: %v, %v", resp.Status, err)
		}
		q := at.Query()
		q.Set("digest", digest)
		at.RawQuery = q.Encode()
		gets(t, c, "PUT", at.String(), content, "201 ")
		gets(t, c, "GET", p.url+"/v2/ada/notes/blobs/"+digest, "", "200 "+content)
		return digest
	}
	const kind = "application/vnd.docker.distribution.manifest.v2+json"
	config, layer := `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`,
		strings.Repeat("a layer ", 1000)
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.docker.container.image.v1+json","size":%d,"digest":%q},`+
		`"layers":[{"mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip","size":%d,"digest":%q}]}`, kind,
		len(config), upload(config), len(layer), upload(layer))
	image := func(c *http.Client, method, path, want string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, p.url+path, nil)
		if method == "PUT" {
			r, err = http.NewRequestWithContext(t.Context(), method, p.url+path, strings.NewReader(manifest))
		}
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", kind)
		r.Header.Set("Accept", kind)
		resp, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if got := fmt.Sprint(resp.StatusCode, " ", string(body)); err != nil || got != want {
			t.Errorf("%s of the manifest: %q %v", method, got, err)
		}
	}
	image(c, "PUT", "/v2/ada/notes/manifests/one", "201 ")
	image(c, "GET", "/v2/ada/notes/manifests/one", "200 "+manifest)
	sent.take()
	tokens.mu.Lock()
	for _, line := range tokens.log {
		if line = strings.Replace(line, "push%2Cpull", "pull%2Cpush", 1); line != pull+"ada by Basic" &&
			line != push+"ada by Basic" {
			t.Errorf("the token server saw %s", line)
		}
	}
	tokens.log = nil
	tokens.mu.Unlock()
	gets(t, c, "GET", p.url+"/v2/ada/notes/tags/list", "", "200 {\"name\":\"ada/notes\",\"tags\":[\"one\"]}\n")
	expect("the tag", []string{"GET /v2/ada/notes/tags/list 200 Bearer"})

	// A request beyond the scope of the token: a token with the requested scope replaces it.
	c2 := clientOf(t, &durwardclient.Transport{Base: sent,
		Sources: []durwardclient.Source{source(tokens.url + "/token")}})
	image(c2, "GET", "/v2/ada/notes/manifests/one", "200 "+manifest)
	image(c2, "PUT", "/v2/ada/notes/manifests/two", "201 ")
	at := "/v2/ada/notes/manifests/"
	expect("a wider scope", []string{"GET " + at + "one 401", "GET " + at + "one 200 Bearer", "PUT " + at +
		"two 401 Bearer", "PUT " + at + "two 201 Bearer"},
		pull+"AUTHENTICATION_REQUIRED", pull+"ada by Basic", push+"ada by Basic")

	// An expired token is replaced once.
	tokens.life.Store(-120) // past the leeway
	gets(t, c2, "GET", p.url+"/v2/", "", "401")
	expect("an expired token", []string{"GET /v2/ 401", "GET /v2/ 401 Bearer", "GET /v2/ 401 Bearer"},
		ping+"ada by Basic", ping+"ada by Basic")
	tokens.life.Store(3600)
	gets(t, c2, "GET", p.url+"/v2/", "", "200 {}")
	expect("the next token", []string{"GET /v2/ 401 Bearer", "GET /v2/ 200 Bearer"}, ping+"ada by Basic")

	// A repository without access: the client requests a token once, and the caller gets the registry's
	// response.
	gets(t, c, "GET", p.url+"/v2/eve/notes/tags/list", "", "401")
	expect("another's", []string{"GET /v2/eve/notes/tags/list 401", "GET /v2/eve/notes/tags/list 401 Bearer"},
		"GET /token?scope=repository%3Aeve%2Fnotes%3Apull&service=images: ada by Basic")

	// A token server that is not configured gets no request.
	other := clientOf(t, &durwardclient.Transport{Base: sent,
		Sources: []durwardclient.Source{source("http://" + filepath.Base(p.address) + "/token")}})
	gets(t, other, "GET", p.url+"/v2/", "", "401")
	expect("another token server", []string{"GET /v2/ 401"})
}
