package web_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/config"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/session"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/testkit"
)

// as gives the browser a session of a user who signed in some time ago, with a second factor or without.
func (b *browser) as(u store.User, factor bool, ago time.Duration) *browser {
	b.e.t.Helper()
	p := account.Proof{User: u, At: b.e.clock.Now().Add(-ago), ACR: "urn:durward:acr:1fa", Methods: []string{"pwd"}}
	if factor {
		p.ACR, p.Methods = "urn:durward:acr:2fa", []string{"mfa", "otp", "pwd"}
	}
	c, err := b.e.node.Sessions.SignInCookie(context.Background(), p, session.CookieWish{Wanted: true}, request.Info{UserAgent: "Firefox/140.0"})
	b.e.must(err)
	to, _ := url.Parse(origin)
	b.client.Jar.SetCookies(to, []*http.Cookie{{Name: "__Host-durward", Value: c.Value, Path: "/", Secure: true}})
	return b
}

// enrolled gives a user an authenticator app and returns the user.
func (e *env) enrolled(email string) store.User {
	e.t.Helper()
	e.browser().enrol(email)
	return e.user(email)
}

// admin returns the browser of an administrator who just signed in.
func (e *env) admin() *browser { return e.browser().as(e.enrolled(bea), true, 0) }

// aDenial stores a refusal and returns its id.
func (e *env) aDenial(d store.Denial) string {
	e.t.Helper()
	d.At = e.clock.Now()
	if d.Method == "" {
		d.Method = "GET"
	}
	e.must(e.node.DB.AddDenials(context.Background(), []store.Denial{d}))
	return d.ID
}

const someDenial = "01JE9ZQ6V7M8N9P0Q1R2S3T4V5"

// The forms of the console with fields that no browser sends, and from pages of other sites.
func TestConsoleForms(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b, target := e.admin(), e.user(ada)
	e.aDenial(store.Denial{ID: someDenial, Code: "TOKEN_EXPIRED", Status: 401, Path: "/api/profile", Cause: "exp"})
	const form = "application/x-www-form-urlencoded"
	for _, r := range pageCases(target.ID) {
		if r.method != "POST" || r.needs < console || strings.HasSuffix(r.path, "nonsense") || r.path == "/console/users/import" {
			continue // TestConsoleImport sends the form with a file
		}
		field := "x"
		if len(r.fields) > 0 {
			field = r.fields[0]
		}
		for name, c := range map[string]struct {
			kind, body string
			status     []int
		}{
			"doubled":       {form, field + "=a&" + field + "=b", []int{400}},
			"unknown":       {form, "unknown=1", []int{400}},
			"no UTF-8":      {form, field + "=%ff", []int{400}},
			"bad escape":    {form, field + "=%zz", []int{400}},
			"too long":      {form, field + "=" + strings.Repeat("a", 65<<10), []int{413}},
			"JSON":          {"application/json", `{}`, []int{415}},
			"NUL":           {form, field + "=%00", []int{400, 404, 422}},
			"of other site": {form, "", []int{403}},
		} {
			if name == "NUL" && (field == "now" || field == "required") || field == "admin" {
				continue // every value is yes
			}
			other := e.browser()
			other.client.Jar = b.client.Jar
			if name == "of other site" {
				other.Fields.Set("Sec-Fetch-Site", "cross-site")
				other.Fields.Set("Origin", "https://evil.example")
			}
			if p := other.send("POST", r.path, c.kind, c.body); !slices.Contains(c.status, p.StatusCode) {
				t.Errorf("%s, %s: got %s, want %v\n%s", r.path, name, p.Status, c.status, p.Body)
			}
		}
	}
	if u := e.user(ada); !u.LockedAt.IsZero() {
		t.Error("a refused form locked the user")
	}
	// Mistakes are on the page, in the language of the browser, with the typed texts.
	b.post("/console/users", "email", "no address", "name", "Néw").want(422).shows("This is not an e-mail address", "Néw", `aria-invalid="true"`)
	b.post("/console/users", "email", ada).want(422).shows("has an account already")
	b.post("/console/users/"+target.ID+"/add-group", "name", "No Group!").want(422).shows("This name cannot be used.", "No Group!")
	b.post("/console/users/"+target.ID+"/delete", "confirm", bea).want(422).shows("Nothing was deleted")
	b.post("/console/refusals", "text", "").want(422).shows("Paste a number")
	b.post("/console/refusals", "text", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ").want(422).shows("No refusal has this number")
	// An administrator cannot lock, demote or delete themselves.
	me := e.user(bea).ID
	for _, act := range []string{"lock", "admin"} {
		e.clock.Advance(time.Second) // of one network five refusals a second are stored
		p := b.post("/console/users/" + me + "/" + act).want(422).shows("Administrators cannot")
		id := p.Body[strings.Index(p.Body, "give this number: ")+len("give this number: "):][:26]
		e.eventually("the refusal is stored", func() bool { _, err := e.node.DB.DenialByID(context.Background(), id); return err == nil })
	}
	b.post("/console/users/"+me+"/delete", "confirm", bea).want(422).shows("Administrators cannot")
	// The object of another user is not found.
	other := e.addUser("grace@example.com", false)
	e.browser().as(other, false, 0)
	sessions, err := e.node.Sessions.List(context.Background(), other.ID)
	e.must(err)
	b.post("/console/users/"+target.ID+"/end-session", "session", sessions[0].ID).want(404)
	if left, _ := e.node.Sessions.List(context.Background(), other.ID); len(left) != 1 {
		t.Error("the session of another user ended")
	}
	// Two forms at once: each is answered, and the user is deleted once.
	done := make(chan int, 2)
	for range 2 {
		go func() {
			twin := e.browser()
			twin.client.Jar = b.client.Jar
			done <- twin.post("/console/users/"+target.ID+"/delete", "confirm", "ADA@example.com").StatusCode
		}()
	}
	got := []int{<-done, <-done}
	slices.Sort(got)
	if !slices.Equal(got, []int{303, 404}) {
		t.Errorf("two deletions at once: %v, want 303 and 404", got)
	}
	if n := len(e.events(store.EventUserDeleted)); n != 1 {
		t.Errorf("%d events of the deletion, want 1", n)
	}
}

// "Why was this refused?" takes a whole response, and the page names the true cause.
func TestConsoleWhy(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.admin()
	refused := e.browser()
	refused.Fields.Set("Authorization", "Bearer x.y.z")
	refused.Fields.Set("Sec-Fetch-Mode", "cors")
	refused.Fields.Set("Sec-Fetch-Dest", "empty")
	p := refused.get("/api/profile").want(401)
	var response strings.Builder
	fmt.Fprintf(&response, "HTTP/2 %s\r\n", p.Status)
	_ = p.Header.Write(&response)
	response.WriteString("\r\n" + p.Body)
	id := p.Header.Get("Durward-Denial")
	var row store.Denial
	e.eventually("the refusal is stored", func() (ok bool) {
		var err error
		row, err = e.node.DB.DenialByID(context.Background(), id)
		return err == nil
	})
	for _, pasted := range []string{response.String(), p.Body, id, strings.ToLower(id)} {
		found := b.post("/console/refusals", "text", pasted)
		if found.location() != "/console/refusals/"+id {
			t.Errorf("%q: to %s", pasted, found.location())
		}
		b.follow(found).want(200).shows(row.Cause, "/api/profile", id, "What to do now")
	}
	b.get("/console/refusals?code=INVALID_TOKEN").want(200).shows(id)
	b.get("/console/refusals?path=" + testPrefix + "/api/pro&network=" + url.QueryEscape(row.Network)).want(200).shows(id)
	b.get("/console/refusals?code=TOKEN_EXPIRED").want(200).lacks(id)
}

// Text of users and clients is inert on every page.
func TestConsoleHostileText(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ctx := context.Background()
	b, target := e.admin(), e.user(ada)
	evil := "<script>alert(1)</script>\"><img src=x onerror=alert(1)>"
	_, err := e.node.Accounts.SetName(ctx, target.ID, evil)
	e.must(err)
	e.aDenial(store.Denial{ID: someDenial, Code: "TOKEN_EXPIRED", Status: 401, Method: "GET", Path: "/" + evil, Cause: evil, Scheme: evil, Network: evil, RequestID: evil, Subject: target.ID})
	e.must(e.node.DB.AddEvents(ctx, []store.Event{{ID: store.NewID(), Kind: "javascript:alert(1)", At: e.clock.Now(), UserID: target.ID, Outcome: evil, Network: evil, Device: evil, DenialID: "../" + evil, Detail: "\u202e" + evil}}))
	e.must(e.node.DB.AddCounts(ctx, []store.Count{{At: e.clock.Now(), Name: "refusals", Labels: "code=" + strings.ReplaceAll(evil, " ", "_") + " scheme=", N: 3}}))
	for _, path := range []string{
		"/console", "/console/users", "/console/users?search=" + url.QueryEscape(evil), "/console/users/" + target.ID, "/console/refusals",
		"/console/refusals?path=" + url.QueryEscape("/"+evil) + "&network=" + url.QueryEscape(evil), "/console/refusals/" + someDenial,
		"/console/log", "/console/log?user_id=" + url.QueryEscape(evil) + "&kind=" + url.QueryEscape(evil), "/console?done=" + url.QueryEscape(evil),
	} {
		p := b.get(path).want(200)
		if strings.Contains(p.Body, "<script>alert") || strings.Contains(p.Body, "<img src=x") || strings.Contains(p.Body, `href="javascript:`) || strings.Contains(p.Body, `action="javascript:`) {
			t.Errorf("%s: text of a user is mark-up:\n%s", path, p.Body)
		}
		if strings.Contains(p.Body, "style=") || strings.Contains(strings.ReplaceAll(p.Body, `<script type="module" src="/static/page.js"></script>`, ""), "<script") {
			t.Errorf("%s has an inline style or a script", path)
		}
	}
	if p := b.post("/console/refusals", "text", "</textarea>"+evil).want(422); strings.Contains(p.Body, "</textarea><script>") {
		t.Error("the pasted text is mark-up")
	}
}

// A locked user is out at the next request, and the list of users finds users by all parts.
func TestConsoleUsers(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b, target := e.admin(), e.user(ada)
	user := e.browser()
	user.signIn(ada)
	user.get("/account").want(200)
	for _, search := range []string{"ada@", "ADA", target.ID} {
		b.get("/console/users?search=" + search).want(200).shows(ada).lacks(">" + bea + "<")
	}
	b.get("/console/users?admin=true").want(200).shows(bea).lacks(ada)
	b.follow(b.post("/console/users/" + target.ID + "/lock")).want(200).shows("The user is locked")
	if p := user.get("/account"); p.StatusCode == 200 {
		t.Errorf("the locked user sees the account: %s", p.Status)
	}
	b.get("/console/users?locked=true").want(200).shows(ada)
	b.follow(b.post("/console/users/" + target.ID + "/unlock")).want(200)
	for n := range 60 {
		e.addUser(fmt.Sprintf("user%d@example.com", n), false)
	}
	p := b.get("/console/users").want(200)
	next := p.Body[strings.Index(p.Body, `class="button" href="`)+len(`class="button" href="`):]
	next = strings.ReplaceAll(next[:strings.Index(next, `"`)], "&amp;", "&")
	b.get(next).want(200).shows(ada, bea).lacks("user59@")
}

// Without the rule that administrators need a second factor, one who has a factor still needs it for changes.
func TestConsoleWithOwnFactor(t *testing.T) {
	t.Parallel()
	e := newEnv(t, func(c *config.Config) { c.Admin.SecondFactor = false })
	weak, root, target := e.addUser("weak@example.com", true), e.enrolled(bea), e.user(ada)
	b := e.browser().as(weak, false, 0)
	b.get("/console").want(200).shows("Administrators need no second factor")
	b.post("/console/users/" + target.ID + "/lock").want(303)
	b.post("/console/users/" + target.ID + "/unlock").want(303)
	b = e.browser().as(root, false, 0)
	b.get("/console").want(200)
	if to := b.post("/console/users/" + target.ID + "/lock").location(); !strings.HasPrefix(to, "/step-up?") {
		t.Errorf("a change without the own second factor leads to %s, want /step-up", to)
	}
	if u := e.user(ada); !u.LockedAt.IsZero() {
		t.Error("the user is locked")
	}
}

// Reading the security log and refusals in the console is an event, as at the API.
func TestConsoleReadingIsLogged(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{"/console": "", "/console/refusals": "refusals", "/console/log": "events"} {
		e := newEnv(t)
		e.admin().get(path).want(200)
		var got string
		for _, event := range e.events(store.EventLogRead) {
			got += event.Detail
		}
		if got != want {
			t.Errorf("%s: readings %q, want %q", path, got, want)
		}
	}
}

// A signing key is withdrawn after the box was checked, and its tokens are refused.
func TestConsoleWithdrawKey(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.admin()
	state := func(kid string) string {
		keys, err := e.node.DB.Keys(context.Background(), store.UseSigning)
		e.must(err)
		for _, k := range keys {
			if k.ID == kid {
				return k.State
			}
		}
		return ""
	}
	token := func() (kid, bearer string) {
		var made struct {
			AccessToken string `json:"access_token"`
		}
		b.script("/api/auth/token", struct{}{}, &made).want(200)
		head, _, _ := strings.Cut(made.AccessToken, ".")
		var h struct{ Kid string }
		raw, err := base64.RawURLEncoding.DecodeString(head)
		e.must(err)
		e.must(json.Unmarshal(raw, &h))
		return h.Kid, made.AccessToken
	}
	kid, bearer := token()
	program := e.browser()
	program.Fields.Set("Authorization", "Bearer "+bearer)
	program.Fields.Set("Sec-Fetch-Mode", "cors")
	program.Fields.Set("Sec-Fetch-Dest", "empty")
	program.get("/api/profile").want(200)

	at := "/console/signing-keys/retire"
	b.get("/console/signing-keys").want(200).shows(at + "?kid=" + url.QueryEscape(kid))
	b.get(at+"?kid="+url.QueryEscape(kid)).want(200).shows(kid, "Users stay signed in")
	b.post(at, "kid", kid, "now", "yes").want(422).shows("Check this box first", `aria-invalid="true"`)
	if got := state(kid); got != store.KeyActive {
		t.Errorf("after the form without the box the key is %q, want active", got)
	}
	b.follow(b.post(at, "kid", kid, "now", "yes", "confirm", "yes")).want(200).shows("The key is withdrawn")
	if got := state(kid); got != store.KeyGone {
		t.Errorf("the withdrawn key is %q, want gone", got)
	}
	program.get("/api/profile").want(401)
	if next, _ := token(); next == kid {
		t.Error("the withdrawn key still signs")
	}
	b.get(at + "?kid=" + url.QueryEscape(kid)).want(404)
	b.post(at, "kid", kid, "now", "yes", "confirm", "yes").want(422).shows("is gone already")
}

// The page of a user names each second factor, and its button removes that factor alone.
func TestConsoleFactors(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.admin()
	user := e.browser()
	user.enrol(ada)
	user.addPasskey()
	user.script("/api/auth/mfa/recovery-codes", struct{}{}, nil).want(201)
	target := e.user(ada)
	at := "/console/users/" + target.ID
	b.get(at).want(200).shows("Authenticator app", ">key<", "10 left")
	keys, err := e.node.DB.Passkeys(context.Background(), target.ID)
	e.must(err)

	b.post("/console/users/"+e.user(bea).ID+"/remove-passkey", "passkey", keys[0].ID).want(404)
	b.follow(b.post(at+"/remove-passkey", "passkey", keys[0].ID)).want(200).shows("The passkey is removed", "Authenticator app", "10 left").lacks(">key<")
	if p := user.get("/account"); p.StatusCode != 303 {
		t.Errorf("the user whose passkey was removed stays signed in: %s", p.Status)
	}
	b.follow(b.post(at+"/remove-totp")).want(200).shows("The authenticator app is removed", "The user has no second factor").lacks("10 left")
	b.post(at + "/remove-totp").want(404)
	for _, kind := range []string{store.EventPasskeyRemoved, store.EventFactorRemoved} {
		if found := e.events(kind); len(found) != 1 || found[0].Actor != e.user(bea).ID || found[0].UserID != target.ID {
			t.Errorf("%s: %+v, want one by the administrator", kind, found)
		}
	}

	// A user without a password keeps the last passkey.
	e.browser().signIn(ada)
	user = e.browser().as(e.user(ada), false, 0)
	user.addPasskey()
	db := testkit.OpenSQLite(t, e.dir)
	_, err = db.Exec(`UPDATE users SET password = '' WHERE id = ?`, target.ID)
	e.must(err)
	e.must(db.Close())
	keys, err = e.node.DB.Passkeys(context.Background(), target.ID)
	e.must(err)
	b.post(at+"/remove-passkey", "passkey", keys[0].ID).want(422).shows("last way to sign in")
	if f, _ := e.node.DB.Factors(context.Background(), target.ID); f.Passkeys != 1 {
		t.Error("the last passkey was removed")
	}
}

// A file of users is imported with a report of each line. Bad forms and files change nothing.
func TestConsoleImport(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.admin()
	const (
		at   = "/console/users/import"
		hash = "$2y$04$EVTD5jzxRNGqIo5.afCf0uwnt25IRD16kxCN1mrpesG0Z10/EU7a2"
		evil = "<script>alert(1)</script>"
	)
	file := "email,hash,name\n" +
		"new@example.com," + hash + ",New\n" +
		"no address," + hash + ",\n" +
		ada + "," + hash + ",\n" +
		"empty@example.com,,\n" +
		"n\u0435w@example.com," + hash + ",\n" + // a Cyrillic letter
		"bad@example.com,secret-hash,\n" +
		evil + ",x,\n"
	b.get(at).want(200).shows("Import users", `enctype="multipart/form-data"`)
	b.get("/console/users").want(200).shows(at)
	p := b.upload(at, "file", file, "dry_run", "yes").want(200).shows("Users that can be added: 1. That cannot: 6.", "Line 3", "new@example.com").lacks("secret-hash")
	if strings.Contains(p.Body, evil) {
		t.Errorf("text of a file is mark-up:\n%s", p.Body)
	}
	if _, err := e.node.Accounts.ByEmail(context.Background(), "new@example.com"); err == nil {
		t.Error("a check of the file added a user")
	}
	b.upload(at, "file", file, "format", "").want(200).shows("Users added: 1. Not added: 6.", `<td lang="en">`,
		"Line 3", "no address", "has an account already", "no hash of a password", "looks like that of another user", "The hash cannot be used").lacks("secret-hash")
	if u := e.user("new@example.com"); u.Name != "New" {
		t.Errorf("the imported user: %+v", u)
	}
	b.upload(at, "file", file, "without_hash", "yes", "look_alike", "yes").want(200).shows("Users added: 2.")
	if found := e.events(store.EventUserAdded); len(found) < 3 || found[0].Actor != e.user(bea).ID {
		t.Errorf("events: %+v, want three by the administrator", found)
	}

	b.upload(at, "file", "").want(422).shows("Choose a file", `aria-invalid="true"`)
	b.upload(at, "file", "name\nAda\n").want(422).shows("The file cannot be read")
	b.upload(at, "file", file, "format", "firebase").want(422).shows("The format is none of")
	b.upload(at, "file", "email,hash\n"+strings.Repeat("x", 1<<20)).want(422).shows("larger than 1 MiB")
	b.upload(at, "other", file).want(400)
	b.upload(at, "file", file, "unknown", "1").want(400)
	b.upload(at, "file", file, "format", "", "format", "").want(400)
	b.upload(at, "file", file, "format", "\xff").want(400)
	b.send("POST", at, "multipart/form-data; boundary=x", "--x\r\nContent-Disp").want(400)
	b.send("POST", at, "multipart/form-data", "x").want(400)
	other := e.browser()
	other.client.Jar = b.client.Jar
	other.Fields.Set("Sec-Fetch-Site", "cross-site")
	other.Fields.Set("Origin", "https://evil.example")
	other.upload(at, "file", "email,hash\nforged@example.com,"+hash+"\n").want(403)

	// Two imports of one file at once: each user is added once.
	twice := "email,hash\n"
	for n := range 300 {
		twice += fmt.Sprintf("twice%d@example.com,%s\n", n, hash)
	}
	done := make(chan page, 2)
	for range 2 {
		go func() {
			twin := e.browser()
			twin.client.Jar = b.client.Jar
			done <- twin.upload(at, "file", twice)
		}()
	}
	added := 0
	for range 2 {
		var n int
		p := <-done
		p.want(200)
		_, rest, _ := strings.Cut(p.Body, `role="status">`)
		if _, err := fmt.Sscanf(rest, "Users added: %d", &n); err != nil {
			t.Fatalf("%v: %.200s", err, rest)
		}
		added += n
	}
	if added != 300 {
		t.Errorf("two imports at once added %d users, want 300", added)
	}
}
