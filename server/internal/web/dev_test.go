package web_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/durward-auth/durward/server/internal/config"
)

// /dev/mail shows the mails of the demonstration, with a link that works by a click.
func TestDevMail(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.browser()
	b.get("/dev/mail").want(http.StatusOK).lacks("<article")
	b.post("/forgot", "email", ada).want(http.StatusSeeOther)
	token := e.mailed("/reset", 1)
	b.get("/dev/mail").want(http.StatusOK).shows(ada, `<a href="`+origin+"/reset#t="+token+`">`)
}

// A server that is no demonstration does not show mails.
func TestDevPagesOff(t *testing.T) {
	t.Parallel()
	var set *config.Config
	e := newEnv(t, func(c *config.Config) { set = c })
	e.node.Demo = false
	off, err := e.node.Server(&config.Loaded{Config: set})
	e.must(err)
	for _, path := range []string{"/dev/mail", "/dev/parts", "/demo/"} {
		w := httptest.NewRecorder()
		off.ServeHTTP(w, httptest.NewRequest("GET", origin+path, nil))
		if w.Code != http.StatusNotFound {
			t.Errorf("%s: got %d, want 404", path, w.Code)
		}
	}
}

// /dev/parts has no id twice, and a label for each field.
func TestDevParts(t *testing.T) {
	t.Parallel()
	p := newEnv(t).browser().get("/dev/parts").want(http.StatusOK)
	for _, part := range strings.Split(p.Body, ` id="`)[1:] {
		id, _, _ := strings.Cut(part, `"`)
		if n := strings.Count(p.Body, ` id="`+id+`"`); n != 1 {
			t.Errorf("id %q occurs %d times", id, n)
		}
	}
	for _, part := range strings.Split(p.Body, `<input id="`)[1:] {
		id, _, _ := strings.Cut(part, `"`)
		if !strings.Contains(p.Body, `<label for="`+id+`">`) {
			t.Errorf("the field %q has no label", id)
		}
	}
}
