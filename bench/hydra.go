package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// hydraServer is a running Ory Hydra, with the settings of its quickstart for Postgres.
type hydraServer struct {
	endpoints
	cmd           *exec.Cmd
	public, admin string
	refreshes     []string
	access        string
}

// freePort returns a port of 127.0.0.1 that no program listens on.
func freePort() string {
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// beginHydra starts Hydra on a database and creates a client with a grant for each caller.
func beginHydra(database string) *hydraServer {
	publicPort, adminPort := freePort(), freePort()
	h := &hydraServer{public: "http://127.0.0.1:" + publicPort, admin: "http://127.0.0.1:" + adminPort}
	h.endpoints = endpoints{token: h.public + "/oauth2/token", introspect: h.admin + "/admin/oauth2/introspect", id: appID, secret: "a secret of more than thirty-two characters"}
	separator := "?"
	if strings.Contains(database, "?") {
		separator = "&"
	}
	env := append(os.Environ(), "DSN="+database+separator+"max_conns=20&max_idle_conns=4", // those of quickstart-postgres.yml
		"SERVE_PUBLIC_HOST=127.0.0.1", "SERVE_ADMIN_HOST=127.0.0.1", "SERVE_PUBLIC_PORT="+publicPort, "SERVE_ADMIN_PORT="+adminPort,
		"URLS_SELF_ISSUER="+h.public, "URLS_LOGIN="+h.public+"/login", "URLS_CONSENT="+h.public+"/consent",
		"SECRETS_SYSTEM=a-secret-of-the-system-for-a-measurement", "LOG_LEVEL=error", "SQA_OPT_OUT=true")
	migrate := exec.Command(*hydra, "migrate", "sql", "up", "-e", "--yes")
	migrate.Env = env
	if out, err := migrate.CombinedOutput(); err != nil {
		check(fmt.Errorf("hydra migrate: %w\n%s", err, out))
	}
	h.cmd = exec.Command(*hydra, "serve", "all", "--dev")
	h.cmd.Env = env
	log := must(os.Create(filepath.Join(*dir, "hydra.log")))
	defer log.Close()
	h.cmd.Stdout, h.cmd.Stderr = log, log
	check(h.cmd.Start())
	err := try(func() {
		for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
			res, err := client.Get(h.admin + "/health/ready")
			if err == nil && res.Body.Close() == nil && res.StatusCode == http.StatusOK {
				break
			}
			if time.Now().After(end) {
				check(errors.New("hydra does not start"))
			}
		}
		h.call("POST", "/admin/clients", map[string]any{
			"client_id": h.id, "client_secret": h.secret, "grant_types": []string{"authorization_code", "refresh_token", "client_credentials"},
			"response_types": []string{"code"}, "redirect_uris": []string{callback}, "scope": "openid offline_access", "token_endpoint_auth_method": "client_secret_basic",
		})
		for range clients {
			h.refreshes = append(h.refreshes, h.authorize())
		}
		h.access = must(h.credentials())
	})
	if err != nil {
		check(errors.Join(err, h.end()))
	}
	return h
}

func (h *hydraServer) end() error {
	return errors.Join(h.cmd.Process.Signal(syscall.SIGTERM), h.cmd.Wait())
}

// call sends a request to the administration interface.
func (h *hydraServer) call(method, path string, body map[string]any) (members map[string]any) {
	r := must(http.NewRequest(method, h.admin+path, bytes.NewReader(must(json.Marshal(body)))))
	r.Header.Set("Content-Type", "application/json")
	res := must(client.Do(r))
	defer res.Body.Close()
	text := must(io.ReadAll(res.Body))
	if res.StatusCode/100 != 2 {
		check(fmt.Errorf("hydra: %s %s: %s %s", method, path, res.Status, text))
	}
	check(json.Unmarshal(text, &members))
	return members
}

// authorize signs a user in as the login and consent application would, and returns the refresh token.
func (h *hydraServer) authorize() string {
	browser := &http.Client{Jar: must(cookiejar.New(nil)), CheckRedirect: unfollowed.CheckRedirect}
	follow := func(to string) *url.URL {
		res := must(browser.Get(to))
		check(res.Body.Close())
		at, err := res.Location()
		if err != nil {
			check(fmt.Errorf("hydra: %s: %s", to, res.Status))
		}
		return at
	}
	accept := func(kind, challenge string, body map[string]any) string {
		to, _ := h.call("PUT", "/admin/oauth2/auth/requests/"+kind+"/accept?"+kind+"_challenge="+url.QueryEscape(challenge), body)["redirect_to"].(string)
		return to
	}
	at := follow(h.public + "/oauth2/auth?" + authorization(h.id, "openid offline_access"))
	at = follow(accept("login", at.Query().Get("login_challenge"), map[string]any{"subject": "ada", "remember": true, "remember_for": 3600}))
	at = follow(accept("consent", at.Query().Get("consent_challenge"), map[string]any{"grant_scope": []string{"openid", "offline_access"}}))
	return must(h.useCode(at.Query().Get("code")))
}

// measure returns the rows of Hydra, beside those of our server on the same Postgres at the same time.
func (h *hydraServer) measure(a *applicationsIn) (rows []row) {
	for _, callers := range []int{1, clients} {
		each := func(work func(c int) error) func() float64 {
			return func() float64 { return rate(callers, length/3, work) }
		}
		f := medians(
			each(func(int) error { _, err := h.credentials(); return err }),
			each(func(int) error { _, err := a.app.credentials(); return err }),
			each(func(c int) error { return h.refresh(&h.refreshes[c]) }),
			each(func(c int) error { return a.app.refresh(&a.refreshes[c]) }),
			each(func(int) error { return h.inspect(h.access) }),
			each(func(int) error { return a.app.inspect(a.token) }),
		)
		for i, what := range []string{"client_credentials", "refresh of an application", "introspection"} {
			theirs, ours := f[2*i], f[2*i+1]
			rows = append(rows, row{fmt.Sprintf("%s, Ory Hydra, Postgres, %s", what, plural(callers)), fmt.Sprintf("%.0f/s", theirs),
				fmt.Sprintf("durward, same run %.0f/s", ours), fmt.Sprintf("%.2f", theirs/ours), ""})
		}
	}
	return rows
}
