package durward_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/durward-auth/durward"
)

func init() { slog.SetDefault(slog.New(slog.DiscardHandler)) }

// Without OnRefusal, each refusal is logged with its cause by slog.Default. The test changes it, so
// it does not run in parallel.
func TestRefusalsAreLogged(t *testing.T) {
	var log bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	defer slog.SetDefault(before)
	h := durward.Protect(never(t), durward.Bearer(func(_ context.Context, token string) (*durward.Principal, error) {
		switch token {
		case "outage":
			return nil, errors.New("dial tcp 10.0.0.7:5432: connection refused")
		case "busy":
			return nil, &durward.Refusal{Code: durward.TooManyAttempts, Err: errors.New("eleventh attempt")}
		}
		return nil, fmt.Errorf("kid %q is in no key set: %w", "k7", durward.InvalidToken)
	}))
	plain := httptest.NewRequest("GET", "http://api.example/x", nil)
	proxied := httptest.NewRequest("GET", "http://api.example/x", nil)
	proxied.RemoteAddr = "127.0.0.1:1"
	proxied.Header.Set("X-Forwarded-Proto", "https")
	secret := get("")
	secret.URL.RawQuery = "access_token=hunter2"
	socket := onSocket(httptest.NewRequest("GET", "http://api.example/x", nil))
	const note = "wraps no durward.Code"
	for name, c := range map[string]struct {
		r     *http.Request
		want  []string
		never string
	}{
		"no credentials":         {get(""), lines("level=INFO", "code=AUTHENTICATION_REQUIRED", "status=401", `cause="no credentials in the request"`, "denial=", "method=GET", "path=/x", "client=192.0.2.1"), note},
		"refused by the check":   {get("hunter2"), lines("level=INFO", "code=INVALID_TOKEN", `kid \"k7\" is in no key set"`), note},
		"refused by a Refusal":   {get("busy"), lines("code=TOO_MANY_ATTEMPTS", "status=429", `cause="eleventh attempt"`), note},
		"an error without code":  {get("outage"), lines("level=ERROR", "code=AUTH_UNAVAILABLE", "status=503", "connection refused", note, "durward.InvalidToken"), "level=INFO"},
		"a token in the query":   {secret, lines("token in the query string", "path=/x"), note},
		"plain http":             {plain, lines("code=INSECURE_TRANSPORT", "plain http from 192.0.2.1", "Config.Proxies", "Config.InsecureAllowHTTP"), note},
		"plain http by a proxy":  {proxied, lines("code=INSECURE_TRANSPORT", "no trusted proxy at 127.0.0.1", "Config.Proxies", "Config.InsecureAllowHTTP"), note},
		"plain http by a socket": {socket, lines("code=INSECURE_TRANSPORT", "unix socket", "Config.ProxySocket", "Config.InsecureAllowHTTP"), note},
	} {
		log.Reset()
		serve(h, c.r)
		line := log.String()
		for _, want := range c.want {
			if !strings.Contains(line, want) {
				t.Errorf("%s: the log has no %s:\n%s", name, want, line)
			}
		}
		if strings.Count(line, "\n") != 1 || strings.Contains(line, c.never) || strings.Contains(line, "hunter2") {
			t.Errorf("%s: want one line, without %q and credentials:\n%s", name, c.never, line)
		}
	}
	// What the proxy says is in the cause, and OnRefusal replaces the log.
	log.Reset()
	var cause string
	g := newGuard(t, durward.Config{Proxies: proxies, OnRefusal: func(_ *http.Request, f *durward.Refusal) { cause = f.Cause() }})
	for field, want := range map[string]string{
		"X-Forwarded-For":   "sends no X-Forwarded-Proto; let it send its client's scheme, in nginx: proxy_set_header X-Forwarded-Proto $scheme;",
		"X-Forwarded-Proto": `X-Forwarded-Proto "gopher"`,
	} {
		r := httptest.NewRequest("GET", "http://api.example/x", nil)
		r.RemoteAddr = "10.0.0.1:1"
		r.Header.Set(field, "gopher")
		serve(g.Handler(never(t)), r)
		if !strings.Contains(cause, want) || strings.Contains(cause, "Config.") {
			t.Errorf("a trusted proxy with %s: the cause is %q, want one that says %q and names no setting", field, cause, want)
		}
	}
	if log.Len() > 0 {
		t.Errorf("with OnRefusal the default log has:\n%s", &log)
	}
}
