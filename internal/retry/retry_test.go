package retry

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

func TestOnce(t *testing.T) {
	t.Parallel()
	var once Once
	for _, r := range []Reason{InvalidToken, Stale, "of another server"} {
		if !once.Allows(r) {
			t.Errorf("%q at first: refused, want allowed", r)
		}
		if once.Use(r); once.Allows(r) {
			t.Errorf("%q after its use: allowed, want refused", r)
		}
	}
}

// body is a response body. It records whether it was closed.
type body struct {
	io.Reader
	closed bool
}

func (b *body) Close() error {
	b.closed = true
	return nil
}

// The body of a refusal remains readable from its start and ends as the original.
func TestBuffer(t *testing.T) {
	t.Parallel()
	broken := errors.New("connection reset")
	long := strings.Repeat("long", maxBody)
	for _, c := range []struct {
		name     string
		body     io.Reader
		buffered string
		whole    string
		err      error
	}{
		{"an empty body: no bytes", strings.NewReader(""), "", "", nil},
		{"a short body: all bytes", strings.NewReader("short"), "short", "short", nil},
		{"a body over the limit: its start, and the rest later", strings.NewReader(long), long[:maxBody], long, nil},
		{"a body that breaks: its start, and the error later", io.MultiReader(strings.NewReader("start"), iotest.ErrReader(broken)), "start", "start", broken},
	} {
		original := &body{Reader: c.body}
		resp := &http.Response{Body: original}
		if got := Buffer(resp); string(got) != c.buffered {
			t.Errorf("%s: got %d bytes, want %d", c.name, len(got), len(c.buffered))
		}
		if got, err := io.ReadAll(resp.Body); string(got) != c.whole || !errors.Is(err, c.err) {
			t.Errorf("%s: the body then has %d bytes and the error %v, want %d and %v", c.name, len(got), err, len(c.whole), c.err)
		}
		if err := resp.Body.Close(); err != nil || !original.closed {
			t.Errorf("%s: closed is %t, error %v; want the original body closed", c.name, original.closed, err)
		}
	}
}

// A body that does not arrive delays the request by one second and can still be read later.
func TestBufferOfSilentServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		read, write := io.Pipe()
		resp := &http.Response{Body: read}
		began := time.Now()
		if got := Buffer(resp); got != nil || time.Since(began) != maxTime {
			t.Errorf("a silent server: got %q after %s, want nothing after %s", got, time.Since(began), maxTime)
		}
		go func() {
			_, err := io.WriteString(write, "late")
			_ = write.CloseWithError(err)
		}()
		if got, err := io.ReadAll(resp.Body); string(got) != "late" || err != nil {
			t.Errorf("the body that arrived later: got %q, %v; want %q", got, err, "late")
		}
	})
}
