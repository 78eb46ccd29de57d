package pages_test

import (
	"net/http"
	"net/http/httputil"
	"os/exec"
	"testing"
)

// TestConsole: an administrator enrols a second factor, sees the console, finds the reason of a refusal in a
// whole response of curl, requires a second factor of a user, and locks the user. After the first, the next click of
// the user leads to the enrolment and back, after the second to the sign-in page.
func TestConsole(t *testing.T) {
	t.Parallel()
	f := newDemo(t, "")
	f.addBoss(t)
	root := browse(t, f)()

	// The first visit leads to the sign-in page, and the console wants a second factor.
	root.visit("/console")
	root.signIn(boss, password)
	root.at("/login/enrol")
	root.enrol()

	// A user signs in in another browser; curl is refused.
	user := browse(t, f)()
	user.visit("/login")
	user.signIn(ada, password)
	user.at("/account")
	response := refusedCurl(t, f)

	root.visit("/console")
	root.sees(`document.querySelectorAll(".chart svg.plot rect, .chart svg.plot line").length > 8`)

	// Why was this refused?
	root.visit("/console/refusals")
	root.script(`document.getElementById("text").value = ` + quoted(response))
	root.click("form[method=post][action$=refusals] button")
	root.sees(`location.pathname.startsWith("/console/refusals/") && document.querySelector(".cause")?.textContent.length > 10`)
	root.sees(`document.body.innerText.includes("INVALID_TOKEN")`)
	root.checkBoth("console-refusal-explained", root.here())

	root.visit("/console/users?search=ada")
	root.click("tbody a")
	root.click("form[action$='/require-factor'] button")
	root.sees(`document.querySelector(".tag.bad")`)
	root.checkBoth("console-user-owes", root.here())
	root.visit("/console/users?search=ada")
	root.checkBoth("console-users-owes", root.here())
	user.visit("/account/profile")
	user.sees(`document.querySelector("a.button[href*='/login/enrol']")`)
	user.checkBoth("refused-factor-required", "/account/profile")
	user.click("a.button[href*='/login/enrol']")
	user.at("/login/enrol", "[data-passkey]")
	user.checkBoth("enrol-required", user.here())
	user.withScripts(false)
	user.click(".after a")
	user.at("/login/enrol", "button.main")
	user.send()
	user.at("/login/enrol", "#code")
	user.send("code", totpCode(t, user.script(`document.getElementById("secret").textContent`), 0))
	user.sees(`document.querySelector("input[value=codes]")`)
	user.send()
	user.at("/login/enrol", "#secret.codes")
	user.send()
	user.at("/account/profile")
	user.withScripts(true)

	root.visit("/console/users?search=ada")
	root.click("tbody a")
	root.click("form[action$='/lock'] button")
	root.sees(`document.querySelector("form[action$='/unlock']")`)
	root.checkBoth("console-user-locked", root.here())
	user.visit("/account")
	user.at("/login")
}

// refusedCurl returns a whole response to a request with a bad token, as curl -i prints it.
func refusedCurl(t *testing.T, f *front) string {
	t.Helper()
	if path, err := exec.LookPath("curl"); err == nil {
		out, err := exec.Command(path, "-sik", "-H", "Authorization: Bearer x.y.z", f.origin+"/api/profile").CombinedOutput()
		if err != nil {
			t.Fatalf("curl: %v\n%s", err, out)
		}
		return string(out)
	}
	r, _ := http.NewRequestWithContext(t.Context(), "GET", f.origin+"/api/profile", nil)
	r.Header.Set("Authorization", "Bearer x.y.z")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	out, err := httputil.DumpResponse(res, true)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
