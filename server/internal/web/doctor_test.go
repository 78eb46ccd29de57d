package web_test

import (
	"bytes"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/durward-auth/durward/server/internal/config"
)

// marker stands for a secret of a visitor.
const marker = "s3cr3t-marker-of-a-visitor"

// paste sends text to the page of the doctor, in a field of its form: input or file.
func (b *browser) paste(field, text string, more ...string) page {
	b.e.t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile(field, "refusal.txt")
	b.e.must(err)
	_, err = io.WriteString(part, text)
	b.e.must(err)
	for _, name := range more {
		b.e.must(form.WriteField(name, "1"))
	}
	b.e.must(form.Close())
	return b.send("POST", "/doctor", form.FormDataContentType(), body.String())
}

// wrongScheme is a refusal with a certain cause.
const wrongScheme = "GET /items HTTP/1.1\r\nHost: api.corp.internal\r\nAuthorization: Token " + marker + "\r\n\r\n" +
	"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"api\"\r\nContent-Length: 0\r\n\r\n"

// The page of the doctor explains a pasted text or a file, keeps nothing of it and shows no secret.
func TestDoctorPage(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.browser()
	b.get("/doctor").want(http.StatusOK).shows(`enctype="multipart/form-data"`, `name="input"`).lacks(`name="ask"`, "style=")
	b.get("/doctor?example=expired").want(http.StatusOK).shows("GET /v1/items HTTP/1.1")
	for _, field := range []string{"input", "file"} {
		p := b.paste(field, wrongScheme).want(http.StatusOK)
		p.shows(`href="/errors/cause/wrong-scheme"`, "durward-doctor/1 cause=wrong-scheme", "&#34;schema&#34;: &#34;durward.doctor/1&#34;")
		p.lacks(marker)
		if got := p.Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("Cache-Control is %q", got)
		}
	}
	b.send("POST", "/doctor", "application/x-www-form-urlencoded", "input=HTTP/1.1+401+Unauthorized%0A%0A").want(http.StatusOK).
		shows("401 without a challenge")
	if logged := e.logs.String(); strings.Contains(logged, marker) || strings.Contains(logged, "corp.internal") {
		t.Errorf("the log holds the input:\n%s", logged)
	}
	german := e.browser()
	german.Fields.Set("Accept-Language", "de")
	german.paste("input", wrongScheme).want(http.StatusOK).shows("Ursache")
}

// The forms of the doctor that no visitor should send, and the statuses of their answers.
func TestDoctorForms(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.browser()
	b.paste("input", "").want(http.StatusUnprocessableEntity)
	b.paste("input", "https://api.example.com/items").want(http.StatusUnprocessableEntity).shows("asks no other servers")
	b.paste("input", "https://api.example.com/items", "ask").want(http.StatusUnprocessableEntity).shows("asks no other servers")
	b.paste("input", "\x00\x01\x02\xff\xfe\x80 binary").want(http.StatusUnprocessableEntity)
	b.paste("other", "x").want(http.StatusBadRequest)
	b.send("POST", "/doctor", "multipart/form-data", "x").want(http.StatusBadRequest)
	b.send("POST", "/doctor", "text/plain", "x").want(http.StatusUnsupportedMediaType)
	b.paste("input", `{"log":{"entries":[`+strings.Repeat(`{"request":{"method":"GET","url":"https://a.example/","headers":[]},"response":{"status":200,"headers":[],"content":{}}},`, 150_000)).
		want(http.StatusRequestEntityTooLarge)
	foreign := e.browser()
	foreign.Fields = http.Header{"Origin": {"https://evil.example"}, "Sec-Fetch-Site": {"cross-site"}}
	foreign.paste("input", wrongScheme).want(http.StatusForbidden)
}

// With doctor.outbound the page asks public addresses alone: this machine is not reached.
func TestDoctorOutbound(t *testing.T) {
	t.Parallel()
	e := newEnv(t, func(c *config.Config) { c.Doctor.Outbound = "public" })
	b := e.browser()
	b.get("/doctor").shows(`name="ask"`)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	e.must(err)
	defer listener.Close()
	var reached atomic.Int32
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			reached.Add(1)
			conn.Close()
		}
	}()
	for _, address := range []string{"https://" + listener.Addr().String() + "/", "https://127.0.0.1/", "https://localhost/", "https://[::1]/", "https://169.254.169.254/", "http://example.com/"} {
		b.paste("input", address, "ask").want(http.StatusUnprocessableEntity).shows(`role="alert"`)
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("this machine got %d connections", n)
	}
	for range 5 {
		b.paste("input", "https://127.0.0.1/", "ask")
	}
	limited := b.paste("input", "https://127.0.0.1/", "ask").want(http.StatusTooManyRequests)
	if limited.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

// Two diagnoses of one network run at a time: a third one waits for the end of another.
func TestDoctorTwoAtATime(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	var ends []*io.PipeWriter
	for range 2 {
		body, end := io.Pipe()
		ends = append(ends, end)
		// RFC 9110 s10.1.1: 100 (Continue) says that the handler reads the body, so its diagnosis is counted.
		begun := make(chan struct{})
		trace := &httptrace.ClientTrace{Got100Continue: func() { close(begun) }}
		r, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), "POST", origin+"/doctor", body)
		e.must(err)
		r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
		r.Header.Set("Origin", origin)
		r.Header.Set("Expect", "100-continue")
		client := e.browser().client
		go func() {
			if resp, err := client.Do(r); err == nil {
				resp.Body.Close()
			}
		}()
		<-begun
	}
	b := e.browser()
	b.paste("input", wrongScheme).want(http.StatusTooManyRequests)
	for _, end := range ends {
		end.Close()
	}
	e.eventually("a diagnosis runs after the end of the others", func() bool {
		return b.paste("input", wrongScheme).StatusCode == http.StatusOK
	})
}
