package httpapi

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/api"
)

// Every endpoint with a body names the mistake in it, and never repeats values of the request.
func TestBadBodies(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{registration: true})
	token := w.signIn().AccessToken
	const secret = "s3cr3t-MARK"
	endpoints := []struct{ method, path, token, member string }{
		{"POST", "/api/auth/register", "", "email"},
		{"POST", "/api/auth/login", "", "email"},
		{"POST", "/api/auth/refresh", "", "refresh_token"},
		{"POST", "/api/auth/logout", "", "refresh_token"},
		{"POST", "/api/auth/email/verify", "", "token"},
		{"POST", "/api/auth/email/verify/send", "", "email"},
		{"POST", "/api/auth/email/undo", "", "token"},
		{"POST", "/api/auth/invite", "", "token"},
		{"POST", "/api/profile/email", token, "email"},
		{"POST", "/api/auth/password/forgot", "", "email"},
		{"POST", "/api/auth/password/reset", "", "token"},
		{"POST", "/api/auth/password/change", token, "current"},
		{"PATCH", "/api/profile", token, "name"},
	}
	bodies := []struct {
		name, kind, body string
		status           int
		code             string
	}{
		{"no content type", "", `{}`, 415, "UNSUPPORTED_MEDIA_TYPE"},
		{"text/plain", "text/plain", `{}`, 415, "UNSUPPORTED_MEDIA_TYPE"},
		{"form", "application/x-www-form-urlencoded", `email=` + secret, 415, "UNSUPPORTED_MEDIA_TYPE"},
		{"Latin-1", "application/json; charset=iso-8859-1", `{}`, 415, "UNSUPPORTED_MEDIA_TYPE"},
		{"unknown member", "application/json", `{"` + "passwrod" + `":"` + secret + `"}`, 400, "INVALID_REQUEST"},
		{"other case", "application/json", `{"%UPPER":"` + secret + `"}`, 400, "INVALID_REQUEST"},
		{"doubled member", "application/json", `{"%M":"` + secret + `","%M":"` + secret + `"}`, 400, "INVALID_REQUEST"},
		{"number for text", "application/json", `{"%M":12}`, 400, "INVALID_REQUEST"},
		{"object for text", "application/json", `{"%M":{"` + secret + `":1}}`, 400, "INVALID_REQUEST"},
		{"array", "application/json", `["` + secret + `"]`, 400, "INVALID_REQUEST"},
		{"text", "application/json", `"` + secret + `"`, 400, "INVALID_REQUEST"},
		{"cut short", "application/json", `{"%M":"` + secret, 400, "INVALID_REQUEST"},
		{"something after it", "application/json", `{"%M":"a"} ` + secret, 400, "INVALID_REQUEST"},
		{"invalid UTF-8", "application/json", "{\"%M\":\"" + secret + "\xff\"}", 400, "INVALID_REQUEST"},
		{"lone surrogate", "application/json", `{"%M":"\ud800` + secret + `"}`, 400, "INVALID_REQUEST"},
		{"deep", "application/json", strings.Repeat(`{"%M":`, 3000), 400, "INVALID_REQUEST"},
		{"deep array", "application/json", strings.Repeat(`[`, 30000), 400, "INVALID_REQUEST"},
		{"1 MB", "application/json", `{"%M":"` + strings.Repeat("x", 1<<20) + `"}`, 413, "BODY_TOO_LARGE"},
		{"terminal escape", "application/json", `{"\u001b[31m` + secret[:2] + `":1}`, 400, "INVALID_REQUEST"},
	}
	for _, e := range endpoints {
		for _, b := range bodies {
			t.Run(e.path+" "+b.name, func(t *testing.T) {
				w := w.in(t)
				body := strings.ReplaceAll(strings.ReplaceAll(b.body, "%M", e.member), "%UPPER", strings.ToUpper(e.member))
				r, err := http.NewRequest(e.method, w.url+e.path, strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				if b.kind != "" {
					r.Header.Set("Content-Type", b.kind)
				}
				if e.token != "" {
					r.Header.Set("Authorization", "Bearer "+e.token)
				}
				reply := w.send(r)
				p := w.refused(reply, b.status, b.code)
				if strings.Contains(string(reply.body), secret) || strings.Contains(string(reply.body), "\x1b") || strings.Contains(string(reply.body), `\u001b`) {
					t.Errorf("the answer repeats what was sent: %s", reply.body)
				}
				if p["detail"] == "" || p["hint"] == nil {
					t.Errorf("no help in %s", reply.body)
				}
			})
		}
		if e.path != "/api/auth/logout" { // its body is optional
			r := w.do(e.method, e.path, e.token, nil)
			w.refused(r, 415, "UNSUPPORTED_MEDIA_TYPE")
			req, _ := http.NewRequest(e.method, w.url+e.path, nil)
			req.Header.Set("Content-Type", "application/json")
			if e.token != "" {
				req.Header.Set("Authorization", "Bearer "+e.token)
			}
			w.refused(w.send(req), 400, "INVALID_REQUEST")
			w.refused(w.do(e.method, e.path, e.token, object{}), 400, "INVALID_REQUEST")
		}
	}
	w.works(token)
}

// A body without Content-Length is limited too.
func TestChunkedBody(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	send := func(path string, body io.Reader) reply {
		r, err := http.NewRequest("POST", w.url+path, struct{ io.Reader }{body})
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		return w.send(r)
	}
	w.refused(send("/api/auth/login", io.LimitReader(zeros{}, 10<<20)), 413, "BODY_TOO_LARGE")
	w.tokens(send("/api/auth/login", strings.NewReader(fmt.Sprintf(`{"email":%q,"password":%q}`, adaEmail, adaPassword))))
	s := w.signIn()
	if r := send("/api/auth/logout", strings.NewReader(fmt.Sprintf(`{"refresh_token":%q}`, s.RefreshToken))); r.StatusCode != 204 {
		t.Errorf("logout with a chunked body: %s", r.Status)
	}
	w.dead(s.AccessToken, "TOKEN_REVOKED")
}

// A body that breaks off before its first byte is refused: it may have named a session to end.
func TestOptionalBodyBreaksOff(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest("POST", "/api/auth/logout", iotest.ErrReader(io.ErrUnexpectedEOF))
	r.Header.Set("Content-Type", "application/json")
	_, err := decodeOptional[api.LogoutRequest](httptest.NewRecorder(), r)
	if !errors.Is(err, durward.InvalidRequest) {
		t.Errorf("got %v, want %v", err, durward.InvalidRequest)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	for _, path := range []string{"/nothing", "/api", "/api/profile/", "/api/auth/", "/api/profile/x.css", "/errors/NO_SUCH_CODE"} {
		r := w.do("GET", path, "", nil)
		w.refused(r, 404, "NOT_FOUND")
	}
	for path, allow := range map[string]string{"/api/auth/login": "POST", "/api/profile": "GET, PATCH, HEAD", "/.well-known/jwks.json": "GET, HEAD"} {
		r := w.do("TRACE", path, "", nil)
		w.refused(r, 405, "METHOD_NOT_ALLOWED")
		if got := r.Header.Get("Allow"); got != allow {
			t.Errorf("%s: Allow: %q, want %q", path, got, allow)
		}
	}
	r, _ := http.NewRequest("GET", w.url+"/api/../healthz", nil)
	r.URL.Opaque = "/api/%2e%2e/healthz"
	w.refused(w.send(r), 400, "INVALID_REQUEST")

	r, _ = http.NewRequest("OPTIONS", w.url+"/api/profile", nil)
	r.Header.Set("Origin", "https://app.example")
	r.Header.Set("Access-Control-Request-Method", "GET")
	if got := w.send(r); got.StatusCode != 204 || got.Header.Get("Access-Control-Allow-Origin") != "" || got.Header.Get("WWW-Authenticate") != "" {
		t.Errorf("preflight: %s %v", got.Status, got.Header)
	}
	if got := w.do("HEAD", "/api/profile", "", nil); got.StatusCode != 401 || len(got.body) != 0 || got.Header.Get("WWW-Authenticate") == "" || got.ContentLength <= 0 {
		t.Errorf("HEAD: %s %v", got.Status, got.Header)
	}
	for path, want := range map[string]string{"/healthz": `{"status":"ok"}`, "/readyz": `"status":"ready"`, "/.well-known/jwks.json": `"kid"`} {
		if got := w.do("GET", path, "", nil); got.StatusCode != 200 || !strings.Contains(string(got.body), want) {
			t.Errorf("%s: %s %s", path, got.Status, got.body)
		}
	}
}

// A JSON body may have a charset, in any case and with or without a blank.
func TestCharsetOfBodies(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	for _, kind := range []string{
		"application/json", "application/json;charset=UTF-8", "application/json; charset=utf-8", "Application/JSON; Charset=\"utf-8\"",
	} {
		r, err := http.NewRequest("POST", w.url+"/api/auth/login", strings.NewReader(`{"email":"`+adaEmail+`","password":"`+adaPassword+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", kind)
		if got := w.send(r); got.StatusCode != 200 {
			t.Errorf("%s: got %s %s, want 200", kind, got.Status, got.body)
		}
	}
}
