package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/store"
)

// Every operation of signing in, and every refused one, is in the security log with time, user,
// origin and outcome.
func TestEveryOperationIsLogged(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{registration: true, grace: time.Second})
	const email = "grace@example.com"
	login := func(password string) reply {
		return w.do("POST", "/api/auth/login", "", object{"email": email, "password": password})
	}
	operations := []struct {
		kind, outcome string
		session       bool // it names one
		do            func()
	}{
		{store.EventRegistered, "ok", false, func() {
			w.do("POST", "/api/auth/register", "", object{"email": email, "password": adaPassword})
		}},
		{store.EventSignedIn, "ok", true, func() { w.tokens(login(adaPassword)) }},
		{store.EventSignInRefused, "wrong password", false, func() { login(randomPassword()) }},
		{store.EventPasswordChanged, "ok", true, func() {
			w.do("POST", "/api/auth/password/change", w.tokens(login(adaPassword)).AccessToken, object{"current": adaPassword, "new": "a quite different sentence"})
		}},
		{store.EventSignedOut, "ok", true, func() {
			w.do("POST", "/api/auth/logout", w.tokens(login("a quite different sentence")).AccessToken, nil)
		}},
		{store.EventSessionEnded, "ok", true, func() {
			s := w.tokens(login("a quite different sentence"))
			var page list[sessionItem]
			if err := json.Unmarshal(w.do("GET", "/api/auth/sessions", s.AccessToken, nil).body, &page); err != nil {
				t.Fatal(err)
			}
			w.do("DELETE", "/api/auth/sessions/"+page.Items[0].ID, s.AccessToken, nil)
		}},
		{store.EventRefreshTheft, "", true, func() {
			s := w.tokens(login("a quite different sentence"))
			w.tokens(w.refreshWith(w.tokens(w.refreshWith(s.RefreshToken)).RefreshToken))
			w.clock.Advance(2 * time.Second)
			w.refused(w.refreshWith(s.RefreshToken), 401, "SESSION_REVOKED")
		}},
	}
	var grace store.User
	for _, d := range operations {
		before := len(w.events(d.kind))
		d.do()
		if grace.ID == "" {
			var err error
			if grace, err = w.people.ByEmail(context.Background(), email); err != nil {
				t.Fatal(err)
			}
		}
		if d.kind != store.EventSignInRefused && len(w.events(d.kind)) == before {
			t.Errorf("%s: response before its event was stored", d.kind)
		}
		w.eventually(d.kind+" is stored", func() bool { return len(w.events(d.kind)) > before })
		e := w.events(d.kind)[0]
		if e.UserID != grace.ID || e.Network != "127.0.0.0/24" || e.Device != "curl" || e.Actor != "" || d.outcome != "" && e.Outcome != d.outcome || e.Outcome == "" || (e.SessionID != "") != d.session {
			t.Errorf("event: %+v", e)
		}
		if since := w.clock.Now().Sub(e.At); since < 0 || since > time.Second || e.ID == "" {
			t.Errorf("%s: at %s, now %s", e.Kind, e.At, w.clock.Now())
		}
	}
	if e := w.events(store.EventUserAdded)[0]; e.Actor != "operator" || e.UserID != w.ada.ID {
		t.Errorf("event of the operator: %+v", e)
	}
	// A flood of refused sign-ins costs one row for each second.
	before := len(w.events(store.EventSignInRefused))
	for range 30 {
		login(randomPassword())
	}
	w.eventually("the flood is summed", func() bool {
		events := w.events(store.EventSignInRefused)
		return slices.ContainsFunc(events[:len(events)-before], func(e store.Event) bool { return strings.HasSuffix(e.Detail, " times") })
	})
}

// Client text in logs and rows is one line, printable and cut.
func TestHostileText(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	hostile := "\x1b[31m\u202e\u2066\u0085 a\u2028b" + strings.Repeat("long ", 20_000)
	r, err := http.NewRequest("POST", w.url+"/api/auth/login", strings.NewReader(fmt.Sprintf(`{"email":%q,"password":%q}`, adaEmail, adaPassword)))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "Firefox/1 Linux \u202e\u009b31m"+strings.Repeat("x", 100_000))
	s := w.tokens(w.send(r))
	w.refused(w.do("PATCH", "/api/profile", s.AccessToken, object{"name": "Ada\u202e"}), 400, "INVALID_REQUEST")
	w.refused(w.do("PATCH", "/api/profile", s.AccessToken, object{"name": "Ada\r\nlevel=ERROR"}), 400, "INVALID_REQUEST")
	w.refused(w.do("PATCH", "/api/profile", s.AccessToken, object{"name": strings.Repeat("a", 101)}), 400, "INVALID_REQUEST")
	w.refused(w.do("GET", "/"+strings.Repeat("%e2%80%ae%c2%9b", 2000), "", nil), 404, "NOT_FOUND")
	w.refused(w.do("GET", "/%1b%5b31m", "", nil), 400, "INVALID_REQUEST")
	id := "01ARZ3NDEKTSV4RRFFQ69G5FAV"
	odd := httptest.NewRequest("GET", "/x", nil)
	odd.Method, odd.URL.Path = hostile, hostile
	w.server.recordRefusal(odd, &durward.Refusal{Code: durward.InvalidToken, ID: id, Err: errors.New(hostile + "\nlevel=ERROR\xff")})
	var row store.Denial
	w.eventually("the refusal is recorded", func() bool {
		row, err = w.db.DenialByID(context.Background(), id)
		return err == nil
	})
	if len(row.Method) > 40 || len(row.Path) > 220 || len(row.Cause) > 520 {
		t.Errorf("not cut: %d, %d, %d octets", len(row.Method), len(row.Path), len(row.Cause))
	}
	w.eventually("the refused paths are in the log", func() bool { return strings.Contains(w.logs.String(), `path=`+testPrefix+`/??`) })
	events, err := w.db.Events(context.Background(), store.EventFilter{})
	if err != nil {
		t.Fatal(err)
	}
	for place, text := range map[string]string{"log": w.logs.String(), "row": row.Method + row.Path + row.Cause, "events": fmt.Sprintf("%v", events)} {
		for _, bad := range []string{"\x1b", `\u001b`, `\x1b`, "\u202e", "\u2066", "\u009b", "\u0085", "\nlevel=ERROR", strings.Repeat("x", 600), strings.Repeat("long ", 120)} {
			if strings.Contains(text, bad) {
				t.Errorf("%s holds %q", place, bad)
			}
		}
	}
	for line := range strings.Lines(w.logs.String()) {
		if len(line) > 2000 {
			t.Errorf("a line of %d octets: %.200s", len(line), line)
		}
	}
}
