package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	"testing"
	"time"

	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/e2e/executable"
	"github.com/durward-auth/durward/jwt"
)

// relyingParty is an application with sign-in at our server, written with a library of another project. Its
// /start begins a sign-in, and the page at its end has a line for each step.
type relyingParty struct {
	client   string // client_id, and its name in the test
	start    func(p *process, in partyInput)
	lines    string                                   // of the page at the end; SUB stands for the user's sub
	use      func(v *visitor, in partyInput) []string // default: visit /start
	callback string                                   // path of the redirect URI; default /callback
	settings string                                   // more lines of [[client]]
	script   bool                                     // Chromium opens the pages
	patience time.Duration                            // limits the start of the relying party; runTimeout if it is zero
	public   bool                                     // the client has no secret
}

const (
	partyUser     = "ada@example.com"
	partyPassword = "correct horse battery staple"
)

// partyInput is the standard input of a relying party.
type partyInput struct {
	Address string `json:"address"`
	Issuer  string `json:"issuer"`
	Client  string `json:"client"`
	Secret  string `json:"secret"`
	API     string `json:"api"`
}

// What a library reports that offers everything.
const (
	signedIn = "signed in SUB\nuserinfo ada@example.com\napi hello, SUB"
	renewed  = "refreshed, api hello, SUB"
	popup    = "popup SUB, opener true"
	ended    = "revoked\nrefresh: invalid_grant\nuserinfo: invalid_token"

	complete      = signedIn + "\n" + renewed + "\n" + ended
	introspecting = signedIn + "\n" + renewed + "\nintrospected true SUB\n" + ended
)

var relyingParties = []relyingParty{
	{client: "openid-client", start: byScript("openid-client.mjs"), lines: introspecting},
	{client: "oauth4webapi", start: byScript("oauth4webapi.mjs"), lines: complete, public: true},
	{client: "passport", start: byScript("passport.mjs"), lines: complete, settings: "pkce = \"optional\"\n"},
	{client: "authjs", start: byScript("authjs.mjs"), lines: complete, script: true, callback: "/auth/callback/durward"},
	{client: "authlib", start: byAuthlib(python), lines: introspecting},
	{client: "apache", start: byApache, use: useApache, lines: complete},
	{client: "go-oidc", start: byGoOIDC, lines: complete, public: true},
	{client: "zitadel", start: byZitadel, lines: complete},
	{client: "oidc-client-ts", start: byOIDCClientTS, lines: complete + "\n" + popup, script: true, public: true, callback: "/start"},
}

func byScript(name string) func(*process, partyInput) {
	return func(p *process, in partyInput) {
		p.t.Helper()
		args, stdin := script(p.t, filepath.Join("rp", name), in)
		cmd := exec.Command("node", args...)
		cmd.Stdin = strings.NewReader(stdin)
		p.start(cmd)
	}
}

// byAuthlib starts the relying party of Authlib with an interpreter.
func byAuthlib(interpreter string) func(*process, partyInput) {
	return func(p *process, in partyInput) {
		p.t.Helper()
		if interpreter == python {
			needModule(p.t, "authlib")
		}
		text, err := json.Marshal(in)
		if err != nil {
			p.t.Fatal(err)
		}
		cmd := exec.Command(interpreter, "interop/python/relyingparty.py")
		cmd.Stdin = bytes.NewReader(text)
		p.start(cmd)
	}
}

func byZitadel(p *process, in partyInput) {
	p.t.Helper()
	p.startPeer("zitadelrp", map[string]string{"address": in.Address, "issuer": in.Issuer, "client": in.Client, "secret": in.Secret, "api": in.API})
}

const openIDC = `
DocumentRoot {{dir}}/pages
TypesConfig /dev/null
OIDCProviderMetadataURL {{issuer}}/.well-known/openid-configuration
OIDCClientID {{client}}
OIDCClientSecret {{secret}}
OIDCRedirectURI http://{{address}}/callback
OIDCCryptoPassphrase {{secret}}
OIDCScope "openid email offline_access notes"
OIDCPKCEMethod S256
OIDCAuthRequestParams resource={{api}}
OIDCInfoHook access_token id_token userinfo refresh_token
OIDCDefaultURL http://{{address}}/start
<Location "/">
AuthType openid-connect
Require valid-user
ForceType text/plain
</Location>
<Location "/out">
Require all granted
</Location>
`

// byApache starts an Apache with mod_auth_openidc, which has pages of its own for each step.
func byApache(p *process, in partyInput) {
	p.t.Helper()
	needPrograms(p.t, "apache2")
	const module = "/usr/lib/apache2/modules/mod_auth_openidc.so"
	if _, err := os.Stat(module); err != nil && os.Getenv("CI") != "" {
		p.t.Fatal("libapache2-mod-auth-openidc is not installed")
	} else if err != nil {
		p.t.Skipf("SKIPPED: %v", err)
	}
	a := newPeer(p.t)
	a.process.address = p.address
	if err := os.Mkdir(filepath.Join(a.dir, "pages"), 0o755); err != nil {
		p.t.Fatal(err)
	}
	for _, page := range []string{"start", "out"} {
		a.write(filepath.Join("pages", page), page+"\n")
	}
	a.runApache([]string{"mime", "auth_openidc"}, openIDC, "{{issuer}}", in.Issuer, "{{client}}", in.Client,
		"{{secret}}", in.Secret, "{{api}}", url.QueryEscape(in.API))
}

// useApache opens the pages of mod_auth_openidc.
func useApache(v *visitor, in partyInput) (lines []string) {
	v.t.Helper()
	origin := "http://" + in.Address
	if got := v.visit(origin + "/start"); !slices.Equal(got, []string{"start"}) {
		return got
	}
	type session struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
		ID      struct {
			Sub string
		} `json:"id_token"`
		User struct{ Email string } `json:"userinfo"`
	}
	info := func() (s session) {
		v.t.Helper()
		resp, err := v.client.Get(origin + "/callback?info=json")
		if err != nil {
			v.t.Fatal(err)
		}
		defer resp.Body.Close()
		if body, err := io.ReadAll(resp.Body); err != nil || json.Unmarshal(body, &s) != nil || s.Access == "" {
			v.t.Fatalf("info: %s %s %v", resp.Status, body, err)
		}
		return s
	}
	first := info()
	lines = append(lines, "signed in "+first.ID.Sub, "userinfo "+first.User.Email, "api "+callAPI(v.t, in.API, first.Access))
	v.visit(origin + "/callback?" + url.Values{"refresh": {origin + "/start"}, "access_token": {first.Access}}.Encode())
	next := info()
	if next.Access == first.Access {
		v.t.Error("the access token is the old one after the refresh")
	}
	lines = append(lines, "refreshed, api "+callAPI(v.t, in.API, next.Access))
	if got := v.visit(origin + "/callback?" + url.Values{"logout": {origin + "/out"}}.Encode()); !slices.Equal(got, []string{"out"}) {
		return append(lines, got...)
	}
	resp, err := v.client.PostForm(in.Issuer+"/oauth/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {next.Refresh},
		"client_id": {in.Client}, "client_secret": {in.Secret}})
	if err != nil {
		v.t.Fatal(err)
	}
	defer resp.Body.Close()
	var refused struct{ Error string }
	if err := json.NewDecoder(resp.Body).Decode(&refused); err != nil {
		v.t.Fatal(err)
	}
	return append(lines, "revoked", "refresh: "+refused.Error,
		"userinfo: "+errorOf(callAPI(v.t, in.Issuer+"/oauth/userinfo", next.Access)))
}

// errorOf returns the parameter error of a refusal of callAPI, or all of another answer.
func errorOf(answer string) string {
	if m := regexp.MustCompile(`^401 .*error="(\w+)"`).FindStringSubmatch(answer); m != nil {
		return m[1]
	}
	return answer
}

// callAPI sends a request with a token. It returns the body, or the challenge of a refusal.
func callAPI(t *testing.T, to, token string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, to, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		return resp.Status + " " + resp.Header.Get("WWW-Authenticate")
	}
	return strings.TrimSpace(string(body))
}

// byGoOIDC is a relying party of coreos/go-oidc and x/oauth2: a public client with PKCE. They have no revocation,
// so the application sends that request.
func byGoOIDC(p *process, in partyInput) {
	p.t.Helper()
	provider, err := oidc.NewProvider(p.t.Context(), in.Issuer)
	if err != nil {
		p.t.Fatal(err)
	}
	client := oauth2.Config{
		ClientID:    in.Client,
		Endpoint:    provider.Endpoint(),
		RedirectURL: "http://" + in.Address + "/callback",
		Scopes:      []string{oidc.ScopeOpenID, "email", oidc.ScopeOfflineAccess, "notes"},
	}
	verifier, state, nonce := oauth2.GenerateVerifier(), "a state", "a nonce"
	finish := func(w io.Writer, r *http.Request) error {
		if got := r.URL.Query(); got.Get("state") != state || got.Get("iss") != in.Issuer {
			return fmt.Errorf("response: %s", r.URL)
		}
		token, err := client.Exchange(r.Context(), r.URL.Query().Get("code"), oauth2.VerifierOption(verifier))
		if err != nil {
			return err
		}
		raw, _ := token.Extra("id_token").(string)
		id, err := provider.Verifier(&oidc.Config{ClientID: in.Client}).Verify(r.Context(), raw)
		if err != nil {
			return err
		}
		if id.Nonce != nonce {
			return fmt.Errorf("nonce: %q", id.Nonce)
		}
		if err := id.VerifyAccessToken(token.AccessToken); err != nil {
			return err
		}
		fmt.Fprintln(w, "signed in", id.Subject)
		info, err := provider.UserInfo(r.Context(), oauth2.StaticTokenSource(token))
		if err != nil {
			return err
		}
		fmt.Fprintln(w, "userinfo", info.Email)
		fmt.Fprintln(w, "api", callAPI(p.t, in.API, token.AccessToken))
		next, err := client.TokenSource(r.Context(), &oauth2.Token{RefreshToken: token.RefreshToken}).Token()
		if err != nil {
			return err
		}
		fmt.Fprintln(w, "refreshed, api", callAPI(p.t, in.API, next.AccessToken))
		var endpoints struct {
			Revocation string `json:"revocation_endpoint"`
		}
		if err := provider.Claims(&endpoints); err != nil {
			return err
		}
		resp, err := http.PostForm(endpoints.Revocation, url.Values{"token": {next.RefreshToken}, "client_id": {in.Client}})
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("revocation: %s", resp.Status)
		}
		fmt.Fprintln(w, "revoked")
		var refused *oauth2.RetrieveError
		if _, err := client.TokenSource(r.Context(), &oauth2.Token{RefreshToken: next.RefreshToken}).Token(); !errors.As(err, &refused) {
			return fmt.Errorf("refresh after the revocation: %w", err)
		}
		fmt.Fprintln(w, "refresh:", refused.ErrorCode)
		fmt.Fprintln(w, "userinfo:", errorOf(callAPI(p.t, in.Issuer+"/oauth/userinfo", next.AccessToken)))
		return nil
	}
	serveAt(p, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/start" {
			http.Redirect(w, r, client.AuthCodeURL(state, oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier),
				oauth2.SetAuthURLParam("resource", in.API)), http.StatusFound)
			return
		}
		var lines bytes.Buffer
		if err := finish(&lines, r); err != nil {
			fmt.Fprintln(&lines, "failed:", err)
		}
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write(lines.Bytes())
	}))
}

// byOIDCClientTS serves the page of oidc-client-ts at /start/.
func byOIDCClientTS(p *process, in partyInput) {
	p.t.Helper()
	needScripts(p.t)
	folder := filepath.Join(executable.Dir, "js")
	input, err := json.Marshal(map[string]string{"issuer": in.Issuer, "client": in.Client, "api": in.API,
		"scope": "openid email offline_access notes"})
	if err != nil {
		p.t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/start", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, filepath.Join(folder, "rp/spa.html"))
	})
	mux.HandleFunc("/oidc-client-ts.min.js", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, filepath.Join(folder, "node_modules/oidc-client-ts/dist/browser/oidc-client-ts.min.js"))
	})
	mux.HandleFunc("/input.js", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		fmt.Fprintf(w, "const input = %s;\n", input)
	})
	serveAt(p, mux)
}

// serveAt serves h at the address of p until the end of the test.
func serveAt(p *process, h http.Handler) {
	p.t.Helper()
	l, err := net.Listen("tcp", p.address)
	if err != nil {
		p.t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(withoutIcon(h))
	srv.Listener.Close()
	srv.Listener = l
	srv.Start()
	p.t.Cleanup(srv.Close)
}

// partySecret is the secret of each confidential client.
const partySecret = "dcs_0123456789abcdefghijABCDEFGHIJ0123456789xyz"

// serveWith starts our program with a user and with settings besides its addresses. It returns its URL.
func serveWith(t *testing.T, settings string) (issuer string) {
	t.Helper()
	return serveOn(newProcess(t), settings)
}

// serveOn is serveWith at the address of p.
func serveOn(p *process, settings string) (issuer string) {
	p.t.Helper()
	issuer = "http://" + p.address
	serveAs(p, issuer, settings)
	return issuer
}

// serveAs is serveOn with another public URL. It returns the file of the configuration, for commands beside the server.
func serveAs(p *process, publicURL, settings string) (file string) {
	p.t.Helper()
	program, err := executable.Build()
	if err != nil {
		p.t.Fatal(err)
	}
	dir := p.t.TempDir()
	file = writeFile(p.t, filepath.Join(dir, "durward.toml"), "public_url = \""+publicURL+"\"\ndata_dir = \""+dir+"\"\n"+settings)
	add := exec.Command(program, "user", "add", partyUser, "--name", "Ada", "--password-stdin", "--config", file)
	add.Stdin = strings.NewReader(partyPassword)
	if out, err := add.CombinedOutput(); err != nil {
		p.t.Fatalf("user add: %v\n%s", err, out)
	}
	p.start(exec.Command(program, "serve", "--listen", p.address, "--config", file))
	p.t.Cleanup(func() {
		if p.t.Failed() {
			p.t.Logf("the server says:\n%s", p.logText())
		}
	})
	return file
}

// newPartyServer starts our program with the clients of parties, which will run at the addresses of at, and with a
// resource. It returns the URL of the server and the user's sub.
func newPartyServer(t *testing.T, parties []relyingParty, at map[string]*process, resource string) (issuer, sub string) {
	t.Helper()
	var settings strings.Builder
	fmt.Fprintf(&settings, "[[resource]]\nurl = %q\nname = \"Notes\"\n\n[[resource.scopes]]\nname = \"notes\"\ntitle = \"Read your notes\"\n", resource)
	for _, rp := range parties {
		origin := "http://" + at[rp.client].address
		fmt.Fprintf(&settings, "\n[[client]]\nid = %q\nredirect_uris = [%q]\nscopes = [\"openid\", \"profile\", \"email\", \"offline_access\", \"notes\"]\nresources = [%q]\n%s",
			rp.client, origin+cmp.Or(rp.callback, "/callback"), resource, rp.settings)
		if rp.public {
			fmt.Fprintln(&settings, `auth = "none"`)
		} else {
			fmt.Fprintf(&settings, "secret = %q\n", partySecret)
		}
	}
	issuer = serveWith(t, settings.String())
	c, err := api.NewClient(api.ClientConfig{URL: issuer})
	if err != nil {
		t.Fatal(err)
	}
	token, err := c.SignIn(t.Context(), partyUser, partyPassword)
	if err != nil {
		t.Fatal(err)
	}
	return issuer, subjectOf(t, token.Access)
}

// TestRelyingParties signs a user in at relying parties of other projects: by the authorization code flow, with consent.
// Each calls an API and the userinfo endpoint, refreshes and revokes its tokens, as far as its library does.
func TestRelyingParties(t *testing.T) {
	t.Parallel()
	needScripts(t)
	signInAt(t, relyingParties)
}

// signInAt starts a server, an API and relying parties, and signs the user in at each.
func signInAt(t *testing.T, parties []relyingParty) {
	t.Helper()
	mux := http.NewServeMux()
	notes := httptest.NewServer(mux)
	t.Cleanup(notes.Close)
	resource := notes.URL + "/notes"
	at := map[string]*process{}
	for _, rp := range parties {
		at[rp.client] = newProcess(t)
	}
	issuer, sub := newPartyServer(t, parties, at, resource)
	g, err := durward.New(durward.Config{Schemes: []durward.Scheme{jwt.Bearer(issuer, resource)}})
	if err != nil {
		t.Fatal(err)
	}
	guarded := g.Require(durward.Policy{Scopes: []string{"notes"}}, hello)
	mux.HandleFunc("/notes", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Access-Control-Allow-Headers", "Authorization")
		if r.Method == http.MethodOptions {
			return
		}
		guarded.ServeHTTP(w, r)
	})
	var open func(*testing.T, string, ...chromedp.CreateBrowserContextOption) *tab
	if slices.ContainsFunc(parties, func(rp relyingParty) bool { return rp.script }) {
		open = browse(t)
	}
	for _, rp := range parties {
		t.Run(rp.client, func(t *testing.T) {
			t.Parallel()
			p := at[rp.client]
			p.t, p.log, p.patience = t, filepath.Join(t.TempDir(), "log"), rp.patience
			in := partyInput{Address: p.address, Issuer: issuer, Client: rp.client, Secret: partySecret, API: resource}
			rp.start(p, in)
			t.Cleanup(func() {
				if text, err := os.ReadFile(p.log); t.Failed() && err == nil {
					t.Logf("%s says:\n%s", rp.client, text)
				}
			})
			start := "http://" + in.Address + "/start"
			var got []string
			switch v := newVisitor(t, partyUser, partyPassword); {
			case rp.script:
				got = signInByChromium(open(t, ""), start)
			case rp.use != nil:
				got = rp.use(v, in)
			default:
				got = v.visit(start)
			}
			wantLines(t, got, strings.Split(strings.ReplaceAll(rp.lines, "SUB", sub), "\n"))
		})
	}
}

// signInByChromium signs the user in from a page of a relying party, and in its popup windows. It returns the lines of
// its last page.
func signInByChromium(b *tab, start string) []string {
	b.t.Helper()
	popups := chromedp.WaitNewTarget(b.ctx, func(i *target.Info) bool { return i.OpenerID != "" })
	go func() {
		if id, ok := <-popups; ok {
			ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithTargetID(id))
			defer cancel()
			_, _ = sendForms(ctx) // until the window closes itself
		}
	}()
	do(b, chromedp.Navigate(start))
	lines, err := sendForms(b.ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	return lines
}

// sendForms sends the forms of a sign-in in the pages of a tab, until one has lines. It ends with an error when the
// tab is gone.
func sendForms(ctx context.Context) ([]string, error) {
	// Each form is sent once; Chromium runs the scripts of all pages between.
	step := `(() => {
		const lines = document.querySelector("body > pre")?.textContent;
		if (lines) return lines;
		const form = (document.querySelector("main") ?? document).querySelector("form[method=post i]");
		if (form && document.readyState === "complete" && !form.dataset.sent) {
			form.dataset.sent = "yes";
			if (form.querySelector("[type=password]")) {
				const email = form.querySelector("[name=email]"); // a step-up has none
				if (email) email.value = ` + fmt.Sprintf("%q", partyUser) + `;
				form.querySelector("[type=password]").value = ` + fmt.Sprintf("%q", partyPassword) + `;
			}
			form.querySelector("button:not([type=button])").click();
		}
		return "at " + location.href + " " + document.body.innerText;
	})()`
	var last string
	for {
		switch got, err := chromedp.Run(ctx, chromedp.Evaluate[string](step)); {
		case ctx.Err() != nil:
			return nil, fmt.Errorf("%w; last %s", ctx.Err(), last)
		case err != nil: // the page is being left
		case !strings.HasPrefix(got, "at "):
			return strings.Split(strings.TrimSuffix(got, "\n"), "\n"), nil
		default:
			last = got
		}
		time.Sleep(20 * time.Millisecond)
	}
}
