package pages_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// pages lists every page that can be opened without a walk: its name on screenshots and its path. A {user}, a
// {refusal} and a {key} stand for ids.
var pages = map[string]map[string]string{
	"visitor": {
		"front": "/", "not-found": "/nothing", "errors": "/errors/", "errors-found": "/errors/?q=token", "error": "/errors/TOKEN_EXPIRED", "error-cause": "/errors/cause/clock-wrong", "error-family": "/errors/family/token", "doctor": "/doctor", "doctor-example": "/doctor?example=expired",
		"login-ended": "/login?ended=time", "signed-out": "/signed-out",
		"register": "/register", "register-sent": "/register/sent", "register-done": "/register/done",
		"verify": "/verify-email#t=x", "verify-paste": "/verify-email", "verify-again": "/verify-email/send", "verify-sent": "/verify-email/sent", "verify-done": "/verify-email/done",
		"undo": "/undo-email#t=x", "undo-done": "/undo-email/done",
		"forgot": "/forgot", "forgot-sent": "/forgot/sent", "reset": "/reset#t=x", "reset-paste": "/reset", "reset-done": "/reset/done",
		"invite": "/invite#t=x", "invite-done": "/invite/done", "setup": "/setup#t=x", "setup-done": "/setup/done",
		"dev-mail": "/dev/mail", "dev-parts": "/dev/parts", "demo-signed-out": "/demo/",
	},
	"user": {
		"login-again": "/login", "account-new": "/account", "console-denied": "/console", "account-authenticator": "/account/authenticator",
		"account-passkeys-none": "/account/passkeys", "account-recovery-codes-none": "/account/recovery-codes", "account-keys-none": "/account/keys",
		"account-profile": "/account/profile", "account-email": "/account/email", "account-password": "/account/password", "account-delete": "/account/delete",
	},
	"administrator": {
		"account-administrator": "/account", "account-authenticator-on": "/account/authenticator", "account-recovery-codes-make": "/account/recovery-codes",
		"account-sessions": "/account/sessions", "account-key-new": "/account/keys/new", "account-activity": "/account/activity", "account-data": "/account/data",
		"console": "/console?range=hour", "console-users": "/console/users", "console-import": "/console/users/import", "console-user": "/console/users/{user}", "console-applications": "/console/applications", "console-application": "/console/applications/{client}", "console-application-change": "/console/applications/{client}/change", "console-application-new": "/console/new-application", "console-refusals": "/console/refusals", "console-refusal": "/console/refusals/{refusal}",
		"console-log": "/console/log", "console-signing-keys": "/console/signing-keys", "console-retire": "/console/signing-keys/retire?kid={key}", "console-settings": "/console/settings",
	},
}

// walked lists the pages that need a walk, which checks them.
var walked = []string{"/login/factor", "/login/enrol", "/step-up", "/account/passkeys/{id}", "/account/authenticator/confirm", "/account/keys/{id}", "/account/applications", "/oauth/authorize", "/oauth/account", "/oauth/consent"}

// redirects lists URLs that show no page.
var redirects = []string{"/hop", "/oauth/continue", "/demo", "/.well-known/change-password", "/.well-known/passkey-endpoints"}

// Each page of the server is in the table, in a walk or a redirect.
func TestEveryPageIsChecked(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, path := range append(walked, redirects...) {
		known[path] = true
	}
	for _, paths := range pages {
		for _, path := range paths {
			path = regexp.MustCompile(`[#?].*`).ReplaceAllString(path, "")
			known[regexp.MustCompile(`{\w+}`).ReplaceAllString(path, "{id}")] = true
		}
	}
	files, err := filepath.Glob("../../server/internal/web/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	constants := map[string]string{"passkeys": "/account/passkeys", "authenticator": "/account/authenticator", "codes": "/account/recovery-codes", "keys": "/account/keys"}
	found := 0
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^\t+(?:(\w+)(?: \+ )?)?(?:"(/[^"]*)")?: +{"GET"`).FindAllStringSubmatch(string(source), -1) {
			path := constants[m[1]] + strings.TrimSuffix(m[2], "{$}")
			if m[1] != "" && constants[m[1]] == "" {
				t.Errorf("%s: a path begins with %s, which this test does not know", file, m[1])
			}
			if found++; !known[path] {
				t.Errorf("the page %s (%s) is in no table of this test", path, file)
			}
		}
	}
	if found < 40 {
		t.Errorf("%d pages in the source, want more than 40", found)
	}
}

// TestPages checks every page of the table with axe-core, in both themes, narrow and wide.
func TestPages(t *testing.T) {
	t.Parallel()
	f := newDemo(t, "")
	f.addBoss(t)
	for kind, paths := range pages {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			b := browse(t, f)()
			b.checkPages(paths, b.become(kind))
		})
	}
}

// become makes the tab that of a visitor, a user or an administrator, with something to show. It returns the ids
// that stand in the paths of their pages.
func (b *tab) become(kind string) (ids *strings.Replacer) {
	b.Helper()
	switch kind {
	case "visitor":
		b.visit("/forgot")
		b.send("email", ada) // a mail to show
		b.at("/forgot/sent")
	case "user":
		b.visit("/login")
		b.signIn(ada, password)
		b.at("/account")
	default:
		b.visit("/login")
		b.signIn(boss, password)
		b.at("/account")
		b.enrol()
		b.visit("/console/users?search=ada")
		user := b.script(`document.querySelector("tbody a").href.split("/").pop()`)
		b.script(`fetch("/api/profile", {headers: {Authorization: "Bearer x.y.z"}})`)
		b.visit("/console/refusals")
		b.sees(`document.querySelector("tbody th a") || (location.reload(), false)`)
		refusal := b.script(`document.querySelector("tbody th a").href.split("/").pop()`)
		b.visit("/console/signing-keys")
		key := b.script(`document.querySelector("tbody code").textContent`)
		b.post("/api/admin/clients", map[string]any{"name": "Reports", "redirect_uris": []string{"https://reports.example.com/callback"}, "scopes": []string{"openid", "email"}, "id_token_alg": "RS256"})
		return strings.NewReplacer("{user}", user, "{refusal}", refusal, "{key}", key, "{client}", "reports")
	}
	return strings.NewReplacer()
}

// enrol gives the signed-in administrator an authenticator app, and signs in again with it.
func (b *tab) enrol() {
	b.Helper()
	seed, _ := b.post("/api/auth/mfa/totp", struct{}{})["secret"].(string)
	b.post("/api/auth/mfa/totp/confirm", map[string]string{"code": totpCode(b.T, seed, 0)})
	begun := b.post("/api/auth/login", map[string]any{"email": boss, "password": password, "use_cookies": true})
	// The code of this half minute is used; the next one is good already.
	in := map[string]any{"mfa_token": begun["mfa_token"], "method": "totp", "code": totpCode(b.T, seed, 30*time.Second)}
	if done := b.post("/api/auth/login/mfa", in); done["status"] != 200.0 {
		b.Fatalf("the second factor is refused: %v", done)
	}
}

func (b *tab) checkPages(pages map[string]string, ids *strings.Replacer) {
	b.Helper()
	for name, path := range pages {
		path = ids.Replace(path)
		b.visit(path)
		if path == "/demo/" { // in English alone
			b.check(name)
		} else {
			b.checkBoth(name, path)
		}
	}
}
