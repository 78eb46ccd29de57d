package httpapi

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward"
)

// A secret that is shown once belongs to one session and one purpose, ends, and cannot be read from its
// cookie.
func TestOnce(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	request := func(cookies ...*http.Cookie) *http.Request {
		r := httptest.NewRequest("GET", "/account/keys", nil)
		for _, c := range cookies {
			r.AddCookie(c)
		}
		return r
	}
	ada := &durward.Principal{Subject: "ada", SessionID: "1"}
	out := httptest.NewRecorder()
	if err := w.server.KeepOnce(out, ada, "key", "dk_secret", time.Minute); err != nil {
		t.Fatal(err)
	}
	sent := out.Result().Cookies()
	if len(sent) != 1 || !sent[0].HttpOnly || !sent[0].Secure || sent[0].MaxAge != 60 || strings.Contains(sent[0].Value, "dk_") {
		t.Fatalf("cookies %v", sent)
	}
	changed := *sent[0]
	changed.Value = "B" + changed.Value[1:]
	for name, test := range map[string]struct {
		r          *http.Request
		p          *durward.Principal
		kind, want string
	}{
		"the same session: shown":      {request(sent[0]), ada, "key", "dk_secret"},
		"another purpose: nothing":     {request(sent[0]), ada, "codes", ""},
		"part of the purpose: nothing": {request(sent[0]), ada, "k", ""},
		"another session: nothing":     {request(sent[0]), &durward.Principal{Subject: "ada", SessionID: "2"}, "key", ""},
		"another user: nothing":        {request(sent[0]), &durward.Principal{Subject: "bob", SessionID: "1"}, "key", ""},
		"two cookies: nothing":         {request(sent[0], sent[0]), ada, "key", ""},
		"no cookie: nothing":           {request(), ada, "key", ""},
		"changed cookie: nothing":      {request(&changed), ada, "key", ""},
		"no base64: nothing":           {request(&http.Cookie{Name: w.server.cookies.Once, Value: "*"}), ada, "key", ""},
	} {
		if got := w.server.PeekOnce(test.r, test.p, test.kind); got != test.want {
			t.Errorf("%s: got %q", name, got)
		}
	}
	out = httptest.NewRecorder()
	if got := w.server.TakeOnce(out, request(sent[0]), ada, "key"); got != "dk_secret" || out.Result().Cookies()[0].MaxAge != -1 {
		t.Errorf("got %q and %v, want the secret and no cookie any more", got, out.Result().Cookies())
	}
	w.clock.Advance(time.Minute)
	if got := w.server.PeekOnce(request(sent[0]), ada, "key"); got != "" {
		t.Errorf("after its end: got %q", got)
	}
}
