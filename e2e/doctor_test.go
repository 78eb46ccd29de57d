package e2e

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward/e2e/executable"
	"github.com/durward-auth/durward/jwt"
)

// refusedRequest is a request that a server of another project refuses, made with curl.
type refusedRequest struct {
	name string
	curl []string // arguments of curl, with the URL
	want string   // cause
	// sure: the exchange decides the cause. Otherwise the cause is among the first three, and none is
	// certain.
	sure bool
}

// diagnosis is the part of the doctor's JSON that the tests read.
type diagnosis struct {
	Verdict string
	Causes  []struct{ ID, Confidence string }
	Faults  []struct{ ID string }
}

// diagnose feeds text to durward doctor and returns its report.
func diagnose(t *testing.T, text string, args ...string) diagnosis {
	t.Helper()
	path, err := executable.Build()
	if err != nil {
		t.Fatal(err)
	}
	printed, _ := command{stdin: text}.run(t, path, append([]string{"doctor", "--json"}, args...)...)
	var d diagnosis
	object, _, _ := strings.Cut(printed, "\n}\n")
	if err := json.Unmarshal([]byte(object+"\n}"), &d); err != nil {
		t.Fatalf("%v in the output\n%s\nof the input\n%s", err, printed, text)
	}
	return d
}

// refusals makes the requests of rows with curl -v and gives its output to the doctor.
func refusals(t *testing.T, server string, rows []refusedRequest) {
	t.Helper()
	needPrograms(t, "curl")
	for _, row := range rows {
		shown, _ := command{}.run(t, "curl", append([]string{"-sv", "--max-time", "20"}, row.curl...)...)
		d := diagnose(t, shown)
		var ids []string
		for _, c := range d.Causes {
			ids = append(ids, c.ID)
		}
		t.Logf("%s, %s: %s %q, faults %v", server, row.name, d.Verdict, ids, d.Faults)
		at := slices.Index(ids, row.want)
		switch {
		case row.sure && (at != 0 || d.Verdict != "certain" && d.Verdict != "likely"),
			!row.sure && (at < 0 || at > 2),
			d.Verdict == "certain" && at != 0:
			t.Errorf("%s, %s: %s %q, want %s (sure: %t); curl showed\n%s", server, row.name, d.Verdict, ids, row.want, row.sure, shown)
		}
	}
}

// opaque is a token that is no JWT (RFC 6749 s5.1).
const opaque = "2YotnFZFEjr1zCsicMWpAA"

// passwordRows are refusals of a server that wants Basic.
func passwordRows(url string) []refusedRequest {
	encoded := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	return []refusedRequest{
		{"no credentials", []string{url}, "no-credentials", true},
		{"a wrong password", []string{"-u", user + ":wrong", url}, "wrong-secret", false},
		// Basic before an API of tokens is likely a second sign-in of a front end.
		{"another scheme", []string{"-H", "Authorization: Bearer " + opaque, url}, "wrong-scheme", false},
		{"no base64", []string{"-H", "Authorization: Basic " + user + ":" + "x y", url}, "malformed-credentials", true},
		{"a line end in the password", []string{"-H", "Authorization: Basic " + encoded(user+":pass\n"), url}, "stray-characters", true},
		{"a variable that is not set", []string{"-H", "Authorization: Basic", url}, "placeholder", true},
	}
}

// TestDoctorPasswords: what the doctor says of refusals of nginx, Apache, lighttpd and Squid.
func TestDoctorPasswords(t *testing.T) {
	t.Parallel()
	t.Run("nginx", func(t *testing.T) {
		t.Parallel()
		p, _ := newNginx(t, nil, "$http_authorization", nginxBasic)
		refusals(t, "nginx", passwordRows(p.url+"/x"))
	})
	t.Run("Apache Basic", func(t *testing.T) {
		t.Parallel()
		p, _ := newApache(t, apacheBasic)
		refusals(t, "Apache", passwordRows(p.url+"/x"))
	})
	t.Run("Apache Digest", func(t *testing.T) {
		t.Parallel()
		p, _ := newApache(t, apacheDigest)
		refusals(t, "Apache Digest", []refusedRequest{
			{"no credentials", []string{p.url + "/x"}, "no-credentials", true},
			{"a wrong password", []string{"--digest", "-u", user + ":wrong", p.url + "/x"}, "wrong-secret", false},
			{"Basic", []string{"-u", user + ":" + password, p.url + "/x"}, "wrong-scheme", true},
			{
				"another address in the proof",
				[]string{"-H", `Authorization: Digest username="ada", realm="notes", nonce="abc", uri="/y", response="` + strings.Repeat("0", 32) + `"`, p.url + "/x"},
				"digest-answer-wrong", true,
			},
		})
	})
	t.Run("lighttpd", func(t *testing.T) {
		t.Parallel()
		p, _ := newLighttpd(t, "plain", lighttpdBasic)
		refusals(t, "lighttpd", passwordRows(p.url + "/x")[:4])
	})
	t.Run("Squid", func(t *testing.T) {
		t.Parallel()
		p := newSquid(t, squidBasic)
		through := func(args ...string) []string {
			return append([]string{"-x", p.url}, append(args, "http://example.invalid/")...)
		}
		refusals(t, "Squid", []refusedRequest{
			{"no credentials", through(), "proxy-credentials-missing", true},
			{"a wrong password", through("-U", user+":wrong"), "wrong-secret", false},
			{"another scheme", through("-H", "Proxy-Authorization: Bearer "+opaque), "wrong-scheme", true},
			{"credentials of the server", through("-u", user+":"+password), "proxy-credentials-missing", true},
		})
	})
	t.Run("Radicale", func(t *testing.T) {
		t.Parallel()
		p := newRadicale(t)
		refusals(t, "Radicale", passwordRows(p.url + "/ada/")[:4])
	})
}

// signed returns a token of an issuer.
func signed(t *testing.T, key *jwt.PrivateKey, issuer, audience string, issued time.Time, scopes ...string) string {
	t.Helper()
	token, err := key.Sign(jwt.Claims{
		Issuer: issuer, Audience: []string{audience}, Subject: user, ClientID: "robot", ID: "1", Scopes: scopes,
		IssuedAt: issued, Expires: issued.Add(10 * time.Minute),
	})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// TestDoctorTokens: what the doctor says of refusals of oidc-provider and express-oauth2-jwt-bearer.
func TestDoctorTokens(t *testing.T) {
	t.Parallel()
	needScripts(t)
	key, jwk := privateKey(t, "ES256")
	other, _ := privateKey(t, "ES256")
	i := &issuer{process: newProcess(t)}
	i.url = "http://" + i.address
	i.serve(jwk)
	form := func(fields ...string) (args []string) {
		for _, f := range fields {
			args = append(args, "--data-urlencode", f)
		}
		return append(args, i.url+"/token")
	}
	refusals(t, "oidc-provider", []refusedRequest{
		{"a wrong client secret", append([]string{"-u", "robot:wrong"}, form("grant_type=client_credentials")...), "oauth-client-refused", true},
		{"an unknown client", append([]string{"-u", "who:what"}, form("grant_type=client_credentials")...), "oauth-client-refused", true},
		{"a refresh token of its own making", form("grant_type=refresh_token", "client_id=phone", "refresh_token=invented"), "refresh-refused", true},
		{"no token", []string{i.url + "/me"}, "no-credentials", true},
		{"an invented token", []string{"-H", "Authorization: Bearer " + opaque, i.url + "/me"}, "wrong-secret", false},
	})

	api := newProcess(t)
	args, stdin := script(t, "api.mjs", map[string]any{"address": api.address, "issuer": i.url, "resource": forJWT})
	cmd := exec.Command("node", args...)
	cmd.Stdin = strings.NewReader(stdin)
	api.start(cmd)
	now := time.Now()
	with := func(token, path string) []string {
		return []string{"-H", "Authorization: Bearer " + token, "http://" + api.address + path}
	}
	refusals(t, "Express", []refusedRequest{
		{"no token", []string{"http://" + api.address + "/notes"}, "no-credentials", true},
		{"an opaque token", with(opaque, "/notes"), "not-a-jwt", false},
		{"an expired token", with(signed(t, key, i.url, forJWT, now.Add(-time.Hour)), "/notes"), "expired", true},
		{"another audience", with(signed(t, key, i.url, forOpaque, now), "/notes"), "wrong-audience", true},
		{"another issuer", with(signed(t, key, "https://other.example.com", forJWT, now), "/notes"), "wrong-issuer", true},
		{"another key", with(signed(t, other, i.url, forJWT, now), "/notes"), "unknown-signing-key", false},
		{"too few scopes", with(signed(t, key, i.url, forJWT, now, "read"), "/admin"), "insufficient-scope", true},
	})
}

// TestDoctorRegistry: what the doctor says of refusals of the registry of container images.
func TestDoctorRegistry(t *testing.T) {
	t.Parallel()
	needPrograms(t, "docker-registry")
	tokens, p := newTokenServer(t), newPeer(t)
	p.write("signer", encodePEM(t, tls.Certificate{Certificate: [][]byte{tokens.cert}}))
	p.run(nil, "docker-registry", "serve", p.write("configuration", registry, "{{tokens}}", tokens.url))
	manifest := p.url + "/v2/ada/notes/manifests/latest"
	part := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(text)
	}
	unsigned := func(expires time.Time) string {
		return part(map[string]string{"typ": "JWT", "alg": "ES256"}) + "." +
			part(map[string]any{"iss": "tokens", "aud": "images", "exp": expires.Unix(), "nbf": expires.Unix() - 600}) + "." + strings.Repeat("A", 86)
	}
	refusals(t, "registry", []refusedRequest{
		{"no token", []string{manifest}, "no-credentials", true},
		{"Basic", []string{"-u", user + ":" + password, manifest}, "wrong-scheme", true},
		{"an opaque token", []string{"-H", "Authorization: Bearer " + opaque, manifest}, "not-a-jwt", false},
		{"an expired token", []string{"-H", "Authorization: Bearer " + unsigned(time.Now().Add(-time.Hour)), manifest}, "expired", true},
	})
}

// TestDoctorCaddy: what the doctor says of refusals of Caddy.
func TestDoctorCaddy(t *testing.T) {
	t.Parallel()
	p := newCaddy(t)
	refusals(t, "Caddy", passwordRows(p.url + "/x")[:4])
}

// newRadicale starts Radicale, a server of calendars. It accepts Basic for /ada/.
func newRadicale(t *testing.T) *peer {
	t.Helper()
	needPrograms(t, "radicale")
	p := newPeer(t)
	p.write("passwords", apr1(t, user, password))
	configuration := p.write("configuration", "[server]\nhosts = {{address}}\n[auth]\ntype = htpasswd\nhtpasswd_filename = {{dir}}/passwords\n"+
		"htpasswd_encryption = md5\ndelay = 0\nrealm = notes\n[storage]\nfilesystem_folder = {{dir}}/collections\n[web]\ntype = none\n")
	p.run(nil, "radicale", "--config", configuration)
	return p
}

// newCaddy starts Caddy with basic_auth.
func newCaddy(t *testing.T) *peer {
	t.Helper()
	if _, err := peers(); err != nil {
		t.Fatal(err)
	}
	p := newPeer(t)
	p.as = nil // the folder of the program is of this user
	hash, status := command{stdin: password}.run(t, filepath.Join(executable.Dir, "caddy"), "hash-password")
	wantOutput(t, hash, status, 0)
	p.run([]string{"HOME=" + p.dir}, filepath.Join(executable.Dir, "caddy"), "run", "--adapter", "caddyfile", "--config",
		p.write("Caddyfile", fmt.Sprintf("{\n\tadmin off\n\tauto_https off\n}\nhttp://{{address}} {\n\tbind {{host}}\n\tbasic_auth {\n\t\tada %s\n\t}\n\trespond notes\n}\n", strings.TrimSpace(hash))))
	return p
}
