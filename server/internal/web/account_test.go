package web_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-auth/durward/server/internal/store"
)

// visitor is a browser with its cookies.
type visitor struct {
	*env
	agent   string
	cookies map[string]string
}

func (e *env) visitor() *visitor {
	return &visitor{e, "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", map[string]string{}}
}

// answer is a response with its body.
type answer struct {
	*http.Response
	body string
}

// send sends a request as a browser does: POST with a form if form is not nil. It repeats a request that
// the server refuses with 503, because a jump of the clock makes the list of revocations old for a moment.
func (v *visitor) send(path string, form *string, change func(*http.Request)) answer {
	v.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		method, body := "GET", io.Reader(nil)
		if form != nil {
			method, body = "POST", strings.NewReader(*form)
		}
		r := httptest.NewRequest(method, origin+path, body)
		r.RemoteAddr = "127.0.0.1:1024"
		r.Header.Set("User-Agent", v.agent)
		r.Header.Set("Accept", "text/html")
		r.Header.Set("Sec-Fetch-Mode", "navigate")
		r.Header.Set("Sec-Fetch-Dest", "document")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		if form != nil {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("Origin", origin)
		}
		for name, value := range v.cookies {
			r.AddCookie(&http.Cookie{Name: name, Value: value})
		}
		if change != nil {
			change(r)
		}
		w := httptest.NewRecorder()
		v.h.ServeHTTP(w, r)
		got := answer{w.Result(), w.Body.String()}
		if got.StatusCode == 503 && time.Now().Before(end) {
			continue
		}
		for _, c := range got.Cookies() {
			if c.MaxAge < 0 {
				delete(v.cookies, c.Name)
			} else {
				v.cookies[c.Name] = c.Value
			}
		}
		return got
	}
}

func (v *visitor) get(path string) answer {
	v.t.Helper()
	return v.send(path, nil, nil)
}

// post sends a form with pairs of names and values.
func (v *visitor) post(path string, pairs ...string) answer {
	v.t.Helper()
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	return v.raw(path, form.Encode())
}

// raw sends a form as it is.
func (v *visitor) raw(path, form string) answer {
	v.t.Helper()
	return v.send(path, &form, nil)
}

// want checks the status of an answer and, unless it is empty, the path that it leads to.
func (v *visitor) want(what string, got answer, status int, location string) {
	v.t.Helper()
	if to := strings.TrimPrefix(got.Header.Get("Location"), origin); got.StatusCode != status || location != "" && to != location {
		v.t.Errorf("%s: got %s to %q, want %d to %q", what, got.Status, to, status, location)
	}
}

// signIn signs in with the password.
func (v *visitor) signIn(email string) *visitor {
	v.t.Helper()
	v.want("sign-in", v.post("/login", "email", email, "password", password), 303, "/account")
	return v
}

// field returns the hidden text between two marks of a page.
func field(t *testing.T, body, pattern string) string {
	t.Helper()
	found := regexp.MustCompile(pattern).FindStringSubmatch(body)
	if found == nil {
		t.Fatalf("no %s in %s", pattern, body)
	}
	return found[1]
}

// enrol sets up an authenticator app over the pages and returns its seed.
func (v *visitor) enrol() (seed string) {
	v.t.Helper()
	v.want("start", v.post("/account/authenticator"), 303, "/account/authenticator/confirm")
	page := v.get("/account/authenticator/confirm")
	if !strings.Contains(page.body, `src="data:image/png;base64,`) {
		v.t.Fatalf("no picture in %s", page.body)
	}
	seed = strings.ReplaceAll(field(v.t, page.body, `id="secret" tabindex="0">([A-Z2-7 ]+)<`), " ", "")
	v.want("wrong code", v.post("/account/authenticator/confirm", "code", "000000x"), 422, "")
	v.want("confirm", v.post("/account/authenticator/confirm", "code", v.nextCode(seed)), 303, "/account/recovery-codes?done=totp_added")
	return seed
}

// An authenticator app is set up by the session that began it alone, and recovery codes are shown once.
func TestAuthenticatorOverPages(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.addUser("ada@example.com", false)
	ada, thief := s.visitor().signIn("ada@example.com"), s.visitor().signIn("ada@example.com")
	thief.want("start", thief.post("/account/authenticator"), 303, "/account/authenticator/confirm")
	ada.want("the seed of another session", ada.get("/account/authenticator/confirm"), 303, "/account/authenticator")
	ada.cookies["__Host-durward-once"] = thief.cookies["__Host-durward-once"]
	ada.want("the cookie of another session", ada.get("/account/authenticator/confirm"), 303, "/account/authenticator")
	ada.want("codes without a factor", ada.post("/account/recovery-codes"), 403, "")
	ada.enrol()
	ada.want("again", ada.post("/account/authenticator/confirm", "code", "123456"), 303, "/account/authenticator?done=late")
	if got := thief.get("/account"); got.StatusCode != 200 {
		t.Errorf("the other session: got %s", got.Status)
	}
	// The other session signed in without the factor, so it changes nothing any more.
	thief.want("a session without the factor", thief.post("/account/authenticator/remove"), 303, "/account/authenticator")
	thief.want("its page", thief.get("/account/authenticator"), 303, "")
	ada.want("codes", ada.post("/account/recovery-codes"), 303, "/account/recovery-codes?done=codes_made")
	page := ada.get("/account/recovery-codes?done=codes_made")
	codes := strings.Fields(field(t, page.body, `(?s)id="secret" tabindex="0">(.*?)</pre>`))
	if len(codes) != 10 || !strings.Contains(page.body, `href="data:text/plain`) {
		t.Errorf("got %d codes in %s", len(codes), page.body)
	}
	if again := ada.get("/account/recovery-codes?done=codes_made"); strings.Contains(again.body, codes[0]) || !strings.Contains(again.body, "10") {
		t.Error("the codes are shown twice")
	}
	ada.want("remove", ada.post("/account/authenticator/remove"), 303, "/account/authenticator?done=totp_removed")
	ada.want("remove again", ada.post("/account/authenticator/remove"), 404, "")
}

// The forms of the account refuse missing, doubled, long, unknown and wrongly encoded fields and keep what
// was typed, passwords excepted.
func TestAccountForms(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.addUser("ada@example.com", false)
	ada := s.visitor().signIn("ada@example.com")
	long := strings.Repeat("ä", 20_000)
	for _, test := range []struct {
		path, form string
		status     int
		shows      string // part of the page
	}{
		{"/account/profile", "name=Ada", 303, ""},
		{"/account/profile", "", 303, ""},
		{"/account/profile", "name=a&name=b", 400, ""},
		{"/account/profile", "name=a&admin=1", 400, ""},
		{"/account/profile", "name=%FF", 400, ""},
		{"/account/profile", "name=%zz", 400, ""},
		{"/account/profile", "name=a%00b", 422, `id="name-mistake"`},
		{"/account/profile", "name=" + url.QueryEscape(long), 413, ""},
		{"/account/profile", "name=" + strings.Repeat("x", 101), 422, strings.Repeat("x", 101)},
		{"/account/email", "email=new@example.com", 303, ""},
		{"/account/email", "", 422, `id="email-mistake"`},
		{"/account/email", "email=no+address", 422, "no address"},
		{"/account/email", "email=a@b.example&email=c@d.example", 400, ""},
		{"/account/email", "email=x@example.com%0D%0ABcc:y@example.com", 422, ""},
		{"/account/email", "email=" + strings.Repeat("x", 300) + "@example.com", 422, ""},
		{"/account/password", "", 422, `id="current-mistake"`},
		{"/account/password", "current=wrong+one&new=a+quite+different+sentence", 422, `id="current-mistake"`},
		{"/account/password", "current=wrong+two&new=short", 422, `id="new-mistake"`},
		{"/account/password", "current=a&current=b&new=c", 400, ""},
		{"/account/password", "current=wrong+three&new=" + strings.Repeat("x", 5000), 422, `id="new-mistake"`},
		{"/account/keys/new", "name=", 400, ""},
		{"/account/keys/new", "name=&life=90&scope-profile=yes", 422, `id="name-mistake"`},
		{"/account/keys/new", "name=a&life=90", 422, `id="scope-mistake"`},
		{"/account/keys/new", "name=a&life=1000&scope-profile=yes", 400, ""},
		{"/account/keys/new", "name=a&life=90&scope-admin=yes", 400, ""},
		{"/account/keys/new", "name=a&life=90&life=30&scope-profile=yes", 400, ""},
		{"/account/keys/new", "name=a%E2%80%AEb&life=90&scope-profile=yes", 422, ""},
		{"/account/authenticator", "seed=x", 400, ""},
		{"/account/recovery-codes", "code=x", 400, ""},
		{"/account/sessions/end-others", "id=x", 400, ""},
		{"/account/data/export", "id=x", 400, ""},
		{"/account/delete", "", 422, `id="email-mistake"`},
		{"/account/delete", "email=bob@example.com", 422, "bob@example.com"},
		{"/account/delete", "email=ada@example.com&email=ada@example.com", 400, ""},
	} {
		got := ada.raw(test.path, test.form)
		if got.StatusCode != test.status || !strings.Contains(got.body, test.shows) || test.status == 422 && !strings.Contains(got.body, `role="alert"`) {
			t.Errorf("%s %.80s: got %s, want %d with %q; %s", test.path, test.form, got.Status, test.status, test.shows, got.body)
		}
		for _, secret := range []string{"wrong one", "wrong two", "quite different"} {
			if strings.Contains(got.body, secret) {
				t.Errorf("%s %.80s: the page has the password", test.path, test.form)
			}
		}
	}
	text := "name=Ada"
	for name, change := range map[string]func(*http.Request){
		"another origin: refused": func(r *http.Request) {
			r.Header.Set("Origin", "https://evil.example")
			r.Header.Set("Sec-Fetch-Site", "cross-site")
		},
		"no origin of a sandbox: refused": func(r *http.Request) {
			r.Header.Set("Origin", "null")
			r.Header.Set("Sec-Fetch-Site", "cross-site")
		},
	} {
		if got := ada.send("/account/profile", &text, change); got.StatusCode != 403 {
			t.Errorf("%s: got %s", name, got.Status)
		}
	}
	if got := ada.send("/account/profile", &text, func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }); got.StatusCode != 415 {
		t.Errorf("text/plain: got %s", got.Status)
	}
}

// A form that needs a recent sign-in does nothing without one, and leads to the step-up.
func TestAccountFormsAreFresh(t *testing.T) {
	t.Parallel()
	s := start(t)
	u := s.addUser("ada@example.com", false)
	ada := s.visitor().signIn("ada@example.com")
	s.clock.Advance(6 * time.Minute)
	for _, test := range []struct{ path, form, back string }{
		{"/account/email", "email=new@example.com", "/account/email"},
		{"/account/passkeys/x", "name=x", "/account/passkeys"},
		{"/account/passkeys/x/remove", "", "/account/passkeys"},
		{"/account/authenticator", "", "/account/authenticator"},
		{"/account/authenticator/confirm", "code=123456", "/account/authenticator"},
		{"/account/authenticator/remove", "", "/account/authenticator"},
		{"/account/recovery-codes", "", "/account/recovery-codes"},
		{"/account/keys/new", "name=a&life=90&scope-profile=yes", "/account/keys"},
		{"/account/keys/x/rotate", "", "/account/keys"},
		{"/account/keys/x/revoke", "", "/account/keys"},
		{"/account/data/export", "", "/account/delete"},
		{"/account/delete", "email=ada@example.com", "/account/delete"},
	} {
		got := ada.raw(test.path, test.form)
		ada.want(test.path, got, 303, test.back)
		if strings.Contains(got.body, "ada@example.com") {
			t.Errorf("%s: the answer has data", test.path)
		}
	}
	if _, err := s.node.DB.UserByID(t.Context(), u.ID); err != nil {
		t.Errorf("the user: %v", err)
	}
	if keys, err := s.node.DB.APIKeys(t.Context(), u.ID, "", 10); err != nil || len(keys) != 0 {
		t.Errorf("%d keys, %v; want none", len(keys), err)
	}
}

// A key is shown once. The ids of other users are unknown, and of several requests at once one wins.
func TestKeysOverPages(t *testing.T) {
	t.Parallel()
	s := start(t)
	u := s.addUser("ada@example.com", false)
	s.addUser("bob@example.com", false)
	ada, bob := s.visitor().signIn("ada@example.com"), s.visitor().signIn("bob@example.com")
	ada.want("make", ada.post("/account/keys/new", "name", "<b>Backup</b>", "life", "90", "scope-profile", "yes"), 303, "/account/keys?done=key_made")
	page := ada.get("/account/keys?done=key_made")
	key := field(t, page.body, `(dk_[0-9A-Za-z]{8}_[0-9A-Za-z]+)`)
	if !strings.Contains(page.body, "&lt;b&gt;Backup&lt;/b&gt;") || strings.Contains(page.body, "<b>Backup") {
		t.Errorf("the name is not inert: %s", page.body)
	}
	if again := ada.get("/account/keys"); strings.Contains(again.body, key) {
		t.Error("the key is shown twice")
	}
	keys, err := s.node.DB.APIKeys(t.Context(), u.ID, "", 10)
	if err != nil || len(keys) != 1 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	sessions, err := s.node.Sessions.List(t.Context(), u.ID)
	s.must(err)
	own := "/account/keys/" + keys[0].ID
	bob.want("the key of another user", bob.get(own), 404, "")
	for _, path := range []string{own + "/rotate", own + "/revoke", "/account/sessions/" + sessions[0].ID + "/end"} {
		bob.want(path, bob.post(path), 404, "")
	}
	ada.want("page", ada.get(own), 200, "")
	statuses := atOnce(10, func() int {
		copied := *ada
		copied.cookies = map[string]string{"__Host-durward": ada.cookies["__Host-durward"]}
		return copied.post(own + "/rotate").StatusCode
	})
	if statuses[303] != 1 || statuses[404] != 9 {
		t.Errorf("ten rotations at once: got %v, want one", statuses)
	}
	ada.want("an unknown page", ada.get(own), 404, "")
	keys, err = s.node.DB.APIKeys(t.Context(), u.ID, "", 10)
	if err != nil || len(keys) != 1 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	ada.want("revoke", ada.post("/account/keys/"+keys[0].ID+"/revoke"), 303, "/account/keys?done=key_revoked")
	ada.want("revoke again", ada.post("/account/keys/"+keys[0].ID+"/revoke"), 404, "")
}

// atOnce calls f n times at once and counts the results.
func atOnce(n int, f func() int) map[int]int {
	var mu sync.Mutex
	var all sync.WaitGroup
	got := map[int]int{}
	for range n {
		all.Go(func() {
			status := f()
			mu.Lock()
			defer mu.Unlock()
			got[status]++
		})
	}
	all.Wait()
	return got
}

// A session that is ended on the page is out at its next click; the own one stays.
func TestSessionsOverPages(t *testing.T) {
	t.Parallel()
	s := start(t)
	u := s.addUser("ada@example.com", false)
	ada, other, third := s.visitor(), s.visitor(), s.visitor()
	other.agent = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 <script>alert(1)</script>"
	ada.signIn("ada@example.com")
	other.signIn("ada@example.com")
	third.signIn("ada@example.com")
	page := ada.get("/account/sessions")
	for _, part := range []string{"Firefox on Linux", "Chrome on Windows", "127.0.0.0/24", "just now", "This one"} {
		if !strings.Contains(page.body, part) {
			t.Errorf("no %q in %s", part, page.body)
		}
	}
	if strings.Contains(page.body, "alert(1)") {
		t.Error("the page has the user agent")
	}
	rows, err := s.node.Sessions.List(t.Context(), u.ID)
	s.must(err)
	at := slices.IndexFunc(rows, func(row store.SessionRow) bool { return row.Device == "Chrome on Windows" })
	ada.want("end", ada.post("/account/sessions/"+rows[at].ID+"/end"), 303, "/account/sessions?done=ended")
	other.want("the ended session", other.get("/account"), 303, "/login?return_to=%2Faccount")
	ada.want("all others", ada.post("/account/sessions/end-others"), 303, "/account/sessions?done=others_ended")
	third.want("the third session", third.get("/account/activity"), 303, "")
	ada.want("the own session", ada.get("/account/activity"), 200, "")
}

// A password is changed once, and an account deleted once, of several requests at once.
func TestAccountAtOnce(t *testing.T) {
	t.Parallel()
	s := start(t)
	u := s.addUser("ada@example.com", false)
	ada := s.visitor().signIn("ada@example.com")
	results := make(chan *visitor, 10)
	s.clock.Advance(time.Second)
	got := atOnce(4, func() int {
		v := &visitor{s, ada.agent, map[string]string{"__Host-durward": ada.cookies["__Host-durward"]}}
		status := v.post("/account/password", "current", password, "new", "a quite different sentence").StatusCode
		if status == 303 {
			results <- v
		}
		return status
	})
	if got[303] != 1 {
		t.Fatalf("got %v, want one change of the password", got)
	}
	ada = <-results
	ada.want("after the change", ada.get("/account?done=password"), 200, "")
	got = atOnce(4, func() int {
		v := &visitor{s, ada.agent, map[string]string{"__Host-durward": ada.cookies["__Host-durward"]}}
		return v.post("/account/delete", "email", "Ada@example.com ").StatusCode
	})
	if got[303] < 1 || got[303]+got[401] != 4 {
		t.Errorf("got %v, want one deletion and clear refusals", got)
	}
	if _, err := s.node.DB.UserByID(t.Context(), u.ID); err == nil {
		t.Error("the user exists")
	}
	ada.want("after the deletion", ada.get("/account"), 303, "")
}

// An administrator does not delete the own account.
func TestAdministratorKeepsAccount(t *testing.T) {
	t.Parallel()
	s := start(t)
	u := s.addUser("root@example.com", true)
	root := s.visitor().signIn("root@example.com")
	if page := root.get("/account/delete"); strings.Contains(page.body, "<form method=\"post\" novalidate>") {
		t.Error("the page offers the deletion")
	}
	root.want("delete", root.post("/account/delete", "email", "root@example.com"), 403, "")
	_, err := s.node.DB.UserByID(t.Context(), u.ID)
	s.must(err)
}

// The export is a file with all data of the user, and no secret.
func TestExportOverPages(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.addUser("ada@example.com", false)
	ada := s.visitor().signIn("ada@example.com")
	got := ada.post("/account/data/export")
	if got.StatusCode != 200 || got.Header.Get("Content-Disposition") != `attachment; filename="account.json"` ||
		got.Header.Get("Cache-Control") != "no-store" || !strings.Contains(got.body, `"email": "ada@example.com"`) || strings.Contains(got.body, "argon2") {
		t.Errorf("got %s %v %s", got.Status, got.Header, got.body)
	}
}
