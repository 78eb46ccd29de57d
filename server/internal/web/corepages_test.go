package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

// A sign-out of any visitor leaves no cookie of a session.
func TestSignOutOfEachVisitor(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	visitors := map[string]*browser{"anonymous": e.browser(), "half": e.browser(), "user": e.browser(), "withFactor": e.browser()}
	e.addUser("zoe@example.com", false)
	visitors["withFactor"].enrol(ada)
	visitors["half"].half(ada)
	visitors["user"].signIn("zoe@example.com")
	for name, b := range visitors {
		b.post("/language", "language", "de", "return_to", "/login").want(http.StatusSeeOther)
		if got := b.post("/sign-out").location(); got != "/signed-out" {
			t.Errorf("%s: sign-out led to %s", name, got)
		}
		if b.get("/account").want(http.StatusSeeOther); b.cookie("__Host-durward") != "" || b.cookie("__Host-durward-signin") != "" {
			t.Errorf("%s: a cookie is left after the sign-out", name)
		}
	}
}

// A page that administration needs a second factor for leads an administrator without one to the page that
// adds it, and back.
func TestEnrolmentForConsole(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.browser()
	b.signIn(bea)
	p := b.get("/console")
	if got := p.location(); got != "/login/enrol?return_to=%2Fconsole" {
		t.Fatalf("the console led to %s", got)
	}
	b.follow(p).want(http.StatusOK).shows("Protect your account")
}

// Each form of signing in with missing, repeated, unknown, too long and wrongly encoded fields.
func TestCoreForms(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	const form = "application/x-www-form-urlencoded"
	half, user, factor := e.browser(), e.browser(), e.browser()
	seed := factor.enrol(ada)
	_ = seed
	half.half(ada)
	user.signIn(bea)
	for _, c := range []struct {
		b      *browser
		path   string
		good   string   // the form as the page sends it
		needed []string // fields that must not be empty
	}{
		{e.browser(), "/login", "email=ada%40example.com&password=wrong+horse&remember=yes&assertion=", []string{"email", "password"}},
		{half, "/login/factor", "method=totp&code=000000", []string{"code"}},
		{factor, "/step-up", "method=totp&code=000000", []string{"code"}},
		{user, "/step-up", "method=password&password=wrong+horse", []string{"password"}},
		{user, "/login/enrol", "step=passkey&credential=%7B%7D", nil},
		{user, "/language", "language=de&return_to=%2Flogin", nil},
		{user, "/sign-out", "", nil},
	} {
		c.b.send("POST", c.path, form, c.good+"&other=1").want(http.StatusBadRequest).shows("That did not work")
		c.b.send("POST", c.path, form, c.good+"&%zz=1").want(http.StatusBadRequest)
		c.b.send("POST", c.path, "application/json", `{}`).want(http.StatusUnsupportedMediaType)
		c.b.send("POST", c.path, "", "").want(http.StatusUnsupportedMediaType)
		c.b.send("POST", c.path, form, c.good+"&email="+strings.Repeat("x", 70<<10)).want(http.StatusRequestEntityTooLarge)
		for _, field := range strings.Split(c.good, "&") {
			name, value, _ := strings.Cut(field, "=")
			if name == "" {
				continue
			}
			c.b.send("POST", c.path, form, c.good+"&"+name+"=again").want(http.StatusBadRequest)
			c.b.send("POST", c.path, form, strings.Replace(c.good, field, name+"=%ff%fe", 1)).want(http.StatusBadRequest)
			_ = value
		}
		for _, name := range c.needed {
			for _, field := range strings.Split(c.good, "&") {
				if strings.HasPrefix(field, name+"=") {
					for _, other := range []string{"", name + "="} {
						p := c.b.send("POST", c.path, form, strings.Trim(strings.Replace(c.good, field, other, 1), "&")).want(http.StatusUnprocessableEntity)
						p.shows(`href="#`+name+`"`, `aria-describedby="`+name+`-mistake`, `role="alert"`, "autofocus").lacks("wrong horse")
					}
				}
			}
		}
	}
	b := e.browser()
	long := strings.Repeat("x", 20_000)
	b.post("/login", "email", long, "password", long).want(http.StatusUnprocessableEntity)
	b.post("/login", "email", "ada@example.com\x00", "password", password).want(http.StatusUnprocessableEntity)
	b.post("/login", "assertion", "{").want(http.StatusBadRequest)
	b.post("/login", "assertion", `{"id":"`+long+`"}`).want(http.StatusBadRequest)
	half.post("/login/factor", "code", long).want(http.StatusUnprocessableEntity)
	half.post("/login/factor?method=passkey", "code", long, "method", "passkey", "assertion", "{}").want(http.StatusUnprocessableEntity)
}

// No return_to leads away after a second factor or a step-up either.
func TestReturnToOfSignIn(t *testing.T) {
	t.Parallel()
	e := newEnv(t, withApplication)
	seed := e.browser().enrol(bea)
	user := e.browser()
	user.signIn(ada)
	for _, target := range hostileReturns {
		query := "?return_to=" + url.QueryEscape(target)
		if got := user.post("/step-up"+query, "password", password).location(); got != "/account" {
			t.Errorf("step-up, return_to %q: led to %q", target, got)
		}
		user.get("/step-up" + query).want(http.StatusOK).shows("The next page needs a new confirmation.")
		b := e.browser()
		p := b.post("/login"+query, "email", bea, "password", password)
		if got := b.post(p.location(), "code", e.nextCode(seed)).location(); got != "/account" {
			t.Errorf("second factor, return_to %q: led to %q", target, got)
		}
	}
	const to = application + "/orders?page=2&of=9"
	user.post("/step-up?return_to="+url.QueryEscape(to), "password", password).want(http.StatusOK).shows("/hop?to=")
}

// A page of another site neither signs a user in, in the second step neither, nor changes anything.
func TestFormOfAnotherSite(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	seed := e.browser().enrol(bea)
	for name, fields := range map[string]http.Header{
		"foreign origin": {"Origin": {"https://evil.example"}, "Sec-Fetch-Site": {"cross-site"}},
		"null":           {"Origin": {"null"}, "Sec-Fetch-Site": {"cross-site"}},
		"null alone":     {"Origin": {"null"}, "Sec-Fetch-Site": nil},
		"same site":      {"Origin": {"https://www.example.com"}, "Sec-Fetch-Site": {"same-site"}},
		"fetch metadata": {"Origin": nil, "Sec-Fetch-Site": {"cross-site"}},
		"old browser":    {"Origin": {"https://evil.example"}, "Sec-Fetch-Site": nil},
		"plain http":     {"Origin": {"http://auth.example.com"}, "Sec-Fetch-Site": nil},
	} {
		b := e.browser()
		b.Fields = fields
		b.post("/login", "email", ada, "password", password).want(http.StatusForbidden)
		if b.cookie("__Host-durward") != "" {
			t.Errorf("%s: signed in", name)
		}
		b.Fields = http.Header{}
		b.half(bea)
		b.Fields = fields
		b.post("/login/factor", "code", e.nextCode(seed)).want(http.StatusForbidden)
		if b.cookie("__Host-durward") != "" {
			t.Errorf("%s: the second factor signed in", name)
		}
		b = e.browser()
		b.signIn(ada)
		b.Fields = fields
		for _, path := range []string{"/step-up", "/login/enrol", "/sign-out", "/language"} {
			b.post(path).want(http.StatusForbidden)
		}
		b.Fields = http.Header{}
		b.get("/account").want(http.StatusOK)
	}
}

// The page of a failed sign-in is the same for each kind of account, except for the id of the denial.
func TestSignInEnumeration(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ctx := t.Context()
	with := func(name string) string {
		e.addUser(name+"@example.com", false)
		return name + "@example.com"
	}
	disabled, factor, passkey := with("disabled"), with("factor"), with("passkey")
	e.must(e.node.Sessions.LockUser(ctx, e.user(disabled).ID, request.Info{Actor: store.Operator}))
	e.browser().enrol(factor)
	b := e.browser()
	b.signIn(passkey)
	b.addPasskey()
	invited := "invited@example.com" // an account without a password
	_, err := e.node.Accounts.Invite(ctx, account.NewUser{Email: invited}, request.Info{Actor: store.Operator})
	e.must(err)
	seen := map[string]string{}
	for _, email := range []string{ada, "unknown@example.com", disabled, factor, passkey, invited} {
		p := e.browser().post("/login", "email", email, "password", "wrong horse").want(http.StatusUnprocessableEntity)
		body := strings.NewReplacer(p.denial(), "ID", email, "EMAIL").Replace(p.Body)
		header := p.Header.Clone()
		if header.Values("Set-Cookie") != nil {
			t.Errorf("%s: a refused sign-in sets cookies: %q", email, header.Values("Set-Cookie"))
		}
		for _, name := range []string{"Date", "Content-Length", "Durward-Denial"} {
			header.Del(name)
		}
		var fields strings.Builder
		e.must(header.Write(&fields))
		seen[email] = body + fields.String()
		if seen[email] != seen[ada] {
			t.Errorf("%s differs from %s:\n%s\n%s", email, ada, seen[email], seen[ada])
		}
	}
	e.browser().post("/login", "email", disabled, "password", password).want(http.StatusUnprocessableEntity)
}

// One browser signs in as one user, then as another: the first session is over, and nothing of it is left.
func TestTwoUsersOneBrowser(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.browser()
	b.signIn(ada)
	first := b.cookie("__Host-durward")
	b.get("/login").want(http.StatusOK).shows("You are signed in as", ada)
	b.signIn(bea)
	b.get("/account").want(http.StatusOK).shows(bea).lacks(ada)
	thief := e.browser()
	to, _ := url.Parse(origin)
	thief.client.Jar.SetCookies(to, []*http.Cookie{{Name: "__Host-durward", Value: first, Path: "/", Secure: true}})
	thief.get("/account").want(http.StatusSeeOther)

	// A second factor that one user began does not finish after another signed in and out.
	seed := e.browser().enrol(ada)
	b = e.browser()
	b.half(ada)
	b.signIn(bea)
	b.post("/sign-out").want(http.StatusSeeOther)
	b.post("/login/factor", "code", e.nextCode(seed)).want(http.StatusSeeOther)
	b.get("/account").want(http.StatusSeeOther)
}
