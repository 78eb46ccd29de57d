package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A full round with known secrets. None is in the debug log, in a response that must not contain it,
// in the output of a verb, or readable in a file of the data folder.
func TestNoSecretLeaves(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const (
		password  = "Mk-first-password-4711"
		second    = "Mk-second-password-4712"
		wrong     = "Mk-wrong-password-4713"
		inQuery   = "Mk-token-in-the-query-4715"
		inField   = "Mk-token-without-scheme-4716"
		opaque    = "Mk-opaque-bearer-token-4717"
		basic     = "Mk-basic-password-4718"
		inCookie  = "Mk-cookie-value-4719"
		apiKey    = "Mk-api-key-4720"
		inHeader  = "Mk-forwarded-secret-4721"
		malformed = "Mk-in-a-malformed-body-4722"
		inRedis   = "Mk-password-of-redis-4723"
		shared    = "4d6b2d7368617265642d7365637265742d343732332d343732332d343732332d"
	)
	secrets := map[string]string{
		"password": password, "second password": second, "wrong password": wrong, "token in the query": inQuery,
		"token without scheme": inField, "opaque token": opaque, "Basic password": basic, "cookie": inCookie, "API key": apiKey,
		"custom field": inHeader, "malformed body": malformed, "password of Redis": inRedis,
	}
	addUser(t, dir, "ada@example.com", password)
	env := []string{"DURWARD_LOG_LEVEL=debug", "DURWARD_LOG_FORMAT=json", "DURWARD_REGISTRATION=open", "DURWARD_TOKENS_REFRESH_GRACE=1ms", "DURWARD_LIMITS_NETWORK_FAILURES=0", "DURWARD_LIMITS_NETWORK_HASHES=0",
		"DURWARD_REDIS_URL=redis://durward:" + inRedis + "@127.0.0.1:1"} // a closed port
	p := serve(t, program(env, "serve", "--listen", "127.0.0.1:0", "--data", dir))
	var printed bytes.Buffer // all output, which must contain no secret
	quiet := func(method, path, token, body string) answer {
		a := p.ask(method, path, token, body)
		fmt.Fprintf(&printed, "%v %s\n", a.header, a.body)
		return a
	}
	keep := func(name string, a answer) (access, refresh string) {
		access, refresh = a.member("access_token"), a.member("refresh_token")
		if access == "" || refresh == "" {
			t.Fatalf("%s: %d %s", name, a.status, a.body)
		}
		secrets[name+": access token"] = access
		secrets[name+": signature of the access token"] = access[strings.LastIndex(access, ".")+1:]
		secrets[name+": refresh token"] = strings.TrimPrefix(refresh, "dr_")
		return access, refresh
	}

	access, refresh := keep("sign-in", p.signIn("ada@example.com", password))
	quiet("GET", "/api/profile", access, "")
	quiet("GET", "/api/notifications", access, "")
	quiet("GET", "/api/auth/sessions", access, "")
	quiet("PATCH", "/api/profile", access, `{"name":"A. Lovelace"}`)
	cookie := func(name string, a answer) string {
		value, _, _ := strings.Cut(strings.TrimPrefix(a.header.Get("Set-Cookie"), "__Host-durward="), ";")
		if a.status != 200 || len(value) != 43 {
			t.Fatalf("%s: %d %s", name, a.status, a.body)
		}
		secrets[name] = value
		return value
	}
	byCookie := func(method, path, value, body string) answer {
		withCookie := roundTripper(func(r *http.Request) (*http.Response, error) {
			r.Header.Set("Cookie", "__Host-durward="+value)
			return http.DefaultTransport.RoundTrip(r)
		})
		a, err := ask(&http.Client{Transport: withCookie}, p.url, method, path, "", body)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	inBrowser := cookie("session cookie", p.ask("POST", "/api/auth/login", "", fmt.Sprintf(`{"email":"ada@example.com","password":%q,"use_cookies":true}`, password)))
	for _, path := range []string{"/api/profile", "/api/auth/sessions", "/nothing"} {
		a := byCookie("GET", path, inBrowser, "")
		fmt.Fprintf(&printed, "%v %s\n", a.header, a.body)
	}
	secrets["token for the cookie"] = byCookie("POST", "/api/auth/token", inBrowser, "").member("access_token")
	stepped := cookie("session cookie after a step-up", byCookie("POST", "/api/auth/step-up", inBrowser, fmt.Sprintf(`{"password":%q}`, password)))
	for range 2 { // with a valid cookie, then with an ended one
		a := byCookie("POST", "/api/auth/logout", stepped, "")
		fmt.Fprintf(&printed, "%v %s\n", a.header, a.body)
		a = byCookie("GET", "/api/profile", stepped, "")
		fmt.Fprintf(&printed, "%v %s\n", a.header, a.body)
	}
	key := func(name string, a answer) (id, key string) {
		id, key = a.member("id"), a.member("key")
		if len(key) != 61 {
			t.Fatalf("%s: %d", name, a.status)
		}
		secrets[name], secrets[name+", its secret part"], secrets[name+", without its checksum"] = key, key[12:], key[12:55]
		return id, key
	}
	id, made := key("made key", p.ask("POST", "/api/keys", access, `{"name":"Nightly"}`))
	quiet("GET", "/api/profile", made, "")
	quiet("GET", "/api/keys", made, "")
	quiet("POST", "/api/keys", made, `{"name":"of a key"}`)
	quiet("GET", "/api/profile?api_key="+made, "", "")
	quiet("GET", "/api/keys/"+made, made, "")
	quiet("DELETE", "/api/keys/"+made, access, "")
	_, rotated := key("rotated key", p.ask("POST", "/api/keys/"+id+"/rotate", access, ""))
	quiet("GET", "/api/profile", made, "")
	quiet("GET", "/api/profile", rotated[:60], "")
	quiet("GET", "/api/profile", rotated[:12]+made[12:], "")
	added, _, status := command(t, "", "apikey", "add", "ada@example.com", "--name", "Shell", "--data", dir)
	if added = strings.TrimSpace(added); status != 0 || len(added) != 61 {
		t.Fatalf("apikey add: %d", status)
	}
	secrets["key of the shell"], secrets["key of the shell, its secret part"] = added, added[12:]
	quiet("GET", "/api/profile", added, "")
	quiet("POST", "/api/auth/login", "", fmt.Sprintf(`{"email":"ada@example.com","password":%q}`, wrong))
	quiet("POST", "/api/auth/login", "", fmt.Sprintf(`{"email":"nobody@example.com","password":%q}`, wrong))
	quiet("POST", "/api/auth/login", "", fmt.Sprintf(`{"email":"ada@example.com","password":%q`, malformed))
	quiet("POST", "/api/auth/login", "", fmt.Sprintf(`{"email":"ada@example.com","password":["%s"]}`, malformed))
	quiet("POST", "/api/auth/register", "", fmt.Sprintf(`{"email":"bob@example.com","password":%q}`, "Mk-short"))
	quiet("POST", "/api/auth/register", "", fmt.Sprintf(`{"email":"bob@example.com","password":%q}`, second))
	quiet("POST", "/api/auth/password/change", access, fmt.Sprintf(`{"current":%q,"new":%q}`, wrong, second))
	_, next := keep("refresh", quietRefresh(p, refresh))
	third, _ := keep("second refresh", quietRefresh(p, next))
	eventually(t, func() error { // theft, once the grace of a millisecond is over
		a := p.ask("POST", "/api/auth/refresh", "", fmt.Sprintf(`{"refresh_token":%q}`, refresh))
		if a.member("code") != "SESSION_REVOKED" {
			return fmt.Errorf("the spent token: %d", a.status)
		}
		fmt.Fprintf(&printed, "%v %s\n", a.header, a.body)
		return nil
	})
	quiet("POST", "/api/auth/refresh", "", fmt.Sprintf(`{"refresh_token":"dr_%s"}`, opaque))
	quiet("GET", "/api/profile", third, "")
	access, _ = keep("again", p.signIn("ada@example.com", password))
	quiet("POST", "/api/auth/password/change", access, fmt.Sprintf(`{"current":%q,"new":%q}`, password, second))
	quiet("POST", "/api/auth/logout", access, "")
	quiet("GET", "/api/profile", access, "")

	quiet("POST", "/api/auth/password/forgot", "", `{"email":"ada@example.com"}`)
	eventually(t, func() error {
		names, err := filepath.Glob(filepath.Join(dir, "mail", "*.eml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			mail, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if _, link, ok := strings.Cut(strings.ReplaceAll(string(mail), "=\r\n", ""), "/reset#t=3D"); ok {
				secrets["token of a mail"] = link[:43]
				return nil
			}
		}
		return fmt.Errorf("%d mails, none with a link", len(names))
	})
	quiet("POST", "/api/auth/password/reset", "", fmt.Sprintf(`{"token":%q,"new_password":"short"}`, secrets["token of a mail"]))
	for range 2 {
		quiet("POST", "/api/auth/password/reset", "", fmt.Sprintf(`{"token":%q,"new_password":%q}`, secrets["token of a mail"], second))
	}

	for name, value := range map[string]string{
		"Authorization": "Bearer " + opaque, "authorization ": inField, "AUTHORIZATION": "Basic " + base64.StdEncoding.EncodeToString([]byte("ada:"+basic)),
		"aUTHORIZATION": "Bearer " + opaque + ", Bearer " + opaque, "Cookie": "__Host-durward=" + inCookie, "X-API-Key": apiKey, "X-Secret": inHeader,
	} {
		r, err := http.NewRequest("GET", p.url+"/api/profile?access_token="+inQuery, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set(strings.TrimSpace(name), value)
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&printed, res.Header)
		if _, err := io.Copy(&printed, res.Body); err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
	}

	for _, verb := range [][]string{{"user", "list"}, {"user", "show", "ada@example.com", "--json"}, {"key", "list", "--json"}, {"apikey", "list"}, {"apikey", "list", "--json"}, {"apikey", "revoke", added}, {"apikey", "revoke", added[:11]}, {"config", "show"}, {"db", "check"}} {
		stdout, stderr, _ := command(t, "", append(verb, "--data", dir)...)
		printed.WriteString(stdout + stderr)
	}
	stdout, stderr, status := command(t, access, "token", "verify", "--data", dir)
	if status != 1 {
		t.Errorf("token verify of a revoked token: status %d, want 1: %s", status, stderr)
	}
	printed.WriteString(stdout + stderr)
	// A key and a secret in the environment.
	show := program([]string{"DURWARD_TOKENS_ALGORITHM=HS256", "DURWARD_TOKENS_SHARED_SECRET=" + shared, "DURWARD_MASTER_KEY=" + shared}, "config", "show", "--json")
	out, err := show.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("[redacted]")) {
		t.Errorf("config show: %v %s", err, out)
	}
	printed.Write(out)
	secrets["shared secret"] = shared

	master, err := os.ReadFile(filepath.Join(dir, "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	secrets["master key"] = strings.TrimSpace(string(master))
	if status := p.stop(); status != 0 {
		t.Errorf("status %d", status)
	}
	printed.WriteString(p.stderr.String())
	printed.WriteString(strings.Join(p.stdout, "\n"))
	if !strings.Contains(printed.String(), "TOKEN_REVOKED") || !strings.Contains(p.stderr.String(), "refused") {
		t.Fatal("the output lacks TOKEN_REVOKED and the log a refusal: the round did not run")
	}

	places := map[string][]byte{"printed": printed.Bytes()}
	folder := os.DirFS(dir)
	err = fs.WalkDir(folder, ".", func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && path != "master.key" {
			places[path], err = fs.ReadFile(folder, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(places["durward.db"]) == 0 {
		t.Fatal("no database was read")
	}
	for name, secret := range secrets {
		forms := [][]byte{[]byte(secret), []byte(strings.ToLower(secret)), []byte(hex.EncodeToString([]byte(secret)))}
		if raw, err := base64.RawURLEncoding.DecodeString(secret); err == nil && len(raw) >= 24 {
			forms = append(forms, raw[len(raw)-24:]) // the random part
		}
		if raw, err := hex.DecodeString(secret); err == nil {
			forms = append(forms, raw)
		}
		for skip := range 3 { // base64 of a longer text that contains it at any offset
			if encoded := base64.StdEncoding.EncodeToString([]byte(secret)[skip:]); len(encoded) > 12 {
				forms = append(forms, []byte(encoded[:len(encoded)-4]))
			}
		}
		for place, content := range places {
			if name == "token of a mail" && strings.HasPrefix(place, "mail/") {
				continue
			}
			for _, form := range forms {
				if at := bytes.Index(content, form); at >= 0 {
					t.Errorf("found the secret %s in %s: %q", name, place, content[max(0, at-60):min(len(content), at+60)])
				}
			}
		}
	}
	if strings.Contains(printed.String(), "$argon2id$") {
		t.Error("the output contains a password hash")
	}
}

func quietRefresh(p *process, token string) answer {
	p.t.Helper()
	return p.ask("POST", "/api/auth/refresh", "", fmt.Sprintf(`{"refresh_token":%q}`, token))
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
