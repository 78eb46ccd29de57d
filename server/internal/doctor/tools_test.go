package doctor

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestReadTools runs tools against a server and reads their output.
func TestReadTools(t *testing.T) {
	t.Parallel()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/moved" {
			http.Redirect(w, r, "/v1/items", http.StatusFound)
			return
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="api", error="invalid_token"`)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(401)
		fmt.Fprint(w, `{"error":"invalid_token"}`)
	})
	plain := httptest.NewServer(handler)
	t.Cleanup(plain.Close)
	secure := httptest.NewUnstartedServer(handler)
	secure.EnableHTTP2 = true
	secure.TLS = &tls.Config{NextProtos: []string{"h2", "http/1.1"}}
	secure.StartTLS()
	t.Cleanup(secure.Close)
	host := strings.TrimPrefix(secure.URL, "https://")
	for _, row := range []struct {
		name, server, command string
		history               int  // exchanges before the refusal
		sent                  bool // the output shows the credentials
		part                  bool // the output shows no fields of the response
	}{
		{name: "curl -i", server: plain.URL, command: "curl -si -H 'Authorization: Bearer s3cr3t-marker' URL/v1/items"},
		{name: "curl -v", server: plain.URL, command: "curl -v -H 'Authorization: Bearer s3cr3t-marker' URL/v1/items", sent: true},
		{name: "curl -v over HTTP/2", server: secure.URL, command: "curl -vk -H 'Authorization: Bearer s3cr3t-marker' URL/v1/items", sent: true},
		{name: "curl -v with times", server: plain.URL, command: "curl -v --trace-time -H 'Authorization: Bearer s3cr3t-marker' URL/v1/items", sent: true},
		{name: "curl -vL behind a redirect", server: plain.URL, command: "curl -vL -H 'Authorization: Bearer s3cr3t-marker' URL/moved", sent: true, history: 1},
		{name: "curl -iL behind a redirect", server: plain.URL, command: "curl -siL -H 'Authorization: Bearer s3cr3t-marker' URL/moved", history: 1},
		{name: "curl -f", server: plain.URL, command: "curl -sSf -H 'Authorization: Bearer s3cr3t-marker' URL/v1/items", part: true},
		{name: "wget -S", server: plain.URL, command: "wget -S -O - --header='Authorization: Bearer s3cr3t-marker' URL/v1/items"},
		{name: "wget -S behind a redirect", server: plain.URL, command: "wget -S -O - --header='Authorization: Bearer s3cr3t-marker' URL/moved", history: 1},
		{name: "wget -d", server: plain.URL, command: "wget -d -O - --header='Authorization: Bearer s3cr3t-marker' URL/v1/items", sent: true},
		{name: "wget", server: plain.URL, command: "wget -O - --header='Authorization: Bearer s3cr3t-marker' URL/v1/items", part: true},
		{
			name: "openssl s_client", server: secure.URL, sent: true,
			command: `printf 'GET /v1/items HTTP/1.1\r\nHost: ` + host + `\r\nAuthorization: Bearer s3cr3t-marker\r\nConnection: close\r\n\r\n' | tee /dev/stderr | openssl s_client -ign_eof -connect ` + host,
		},
	} {
		t.Run(row.name+": the refusal", func(t *testing.T) {
			t.Parallel()
			tool, _, _ := strings.Cut(row.command, " ")
			if tool == "printf" {
				tool = "openssl"
			}
			if _, err := exec.LookPath(tool); err != nil {
				t.Skipf("%s is not installed", tool)
			}
			command := strings.ReplaceAll(row.command, "URL", row.server)
			run := exec.CommandContext(t.Context(), "sh", "-c", "{ "+command+"; } 2>&1")
			run.Env = append(os.Environ(), "LC_ALL=C", "no_proxy=*")
			run.Dir = t.TempDir()
			output, _ := run.Output() // tools fail after a 401
			inputs := []string{string(output), "$ " + command + "\n" + string(output)}
			if tool == "openssl" || row.part {
				inputs = inputs[len(inputs)-1:]
			}
			for i, input := range inputs {
				if tool == "openssl" {
					input = string(output)
				}
				c, err := Read(strings.NewReader(input), Options{})
				if err != nil {
					t.Fatalf("%v\n%s", err, input)
				}
				e := c.Refusal()
				if e == nil || e.Response == nil || e.Response.Status != 401 {
					t.Fatalf("found no refusal in\n%s\n%s", input, summary(c))
				}
				if len(c.Exchanges) != row.history+1 || c.Subject != row.history {
					t.Errorf("exchange %d of %d is the refusal, want %d\n%s\n%s", c.Subject, len(c.Exchanges), row.history, input, summary(c))
				}
				if want := `Bearer realm="api", error="invalid_token"`; !row.part && e.Response.Header.Get("WWW-Authenticate") != want {
					t.Errorf("WWW-Authenticate = %q, want %q\n%s", e.Response.Header.Get("WWW-Authenticate"), want, input)
				}
				if body := string(e.Response.Body); tool == "curl" && !row.part && body != `{"error":"invalid_token"}` {
					t.Errorf("body = %q\n%s", body, input)
				}
				if i == 0 && !row.sent && len(inputs) > 1 {
					continue // the output alone
				}
				if e.Request == nil || e.Request.Header.Get("Authorization") != "Bearer "+secret || e.Request.URL != row.server+"/v1/items" {
					t.Errorf("request = %+v, want one to %s with the credentials\n%s", e.Request, row.server, input)
				}
				noMarker(t, row.name, masked(c))
			}
		})
	}
}
