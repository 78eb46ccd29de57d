package durward

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// isNavigation reports whether a person's browser is opening a document.
func isNavigation(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	if dest := r.Header.Get("Sec-Fetch-Dest"); dest != "" {
		return dest == "document"
	}
	return wantsPage(r)
}

// wantsPage reports whether the answer will be shown to a person as a page: also in
// a frame, and to a form that was sent.
func wantsPage(r *http.Request) bool {
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	// A script of an old browser may want a piece of HTML.
	return r.Header.Get("X-Requested-With") == "" && strings.HasPrefix(r.Header.Get("Accept"), "text/html")
}

// isScript reports whether a script of a page sent the request: its browser would
// open a password box of its own at a Basic or Digest challenge, over a page that
// knows nothing of it.
func isScript(r *http.Request) bool {
	mode := r.Header.Get("Sec-Fetch-Mode")
	return mode != "" && mode != "navigate" || r.Header.Get("X-Requested-With") != ""
}

// exposedFields are the fields by which a script finds out why it was refused.
const exposedFields = "WWW-Authenticate, DPoP-Nonce, Retry-After, Durward-Denial"

// ExposedFields are the fields that scripts of other origins must be able to read to
// act on a refusal, for the configuration of a CORS handler
// (Access-Control-Expose-Headers, Fetch standard). Refusals expose them themselves.
func ExposedFields() []string { return strings.Split(exposedFields, ", ") }

// withoutDialogs leaves out the challenges at which a browser opens its own box, where
// another is there. At a stale nonce it opens none: it answers again with what its
// user typed before (RFC 7616 s3.3), and without the challenge could not.
func withoutDialogs(list []Challenge) []Challenge {
	opensDialog := func(c Challenge) bool {
		_, stale := c.Param("stale")
		return c.Scheme == "Basic" || c.Scheme == "Digest" && !stale
	}
	if !slices.ContainsFunc(list, func(c Challenge) bool { return !opensDialog(c) }) {
		return list
	}
	return slices.DeleteFunc(list, opensDialog)
}

// loginRedirect returns where a person is sent to sign in and come back, or "" where
// the refusal itself is the answer.
func (g *Guard) loginRedirect(r *http.Request, st *requestState, code Code) string {
	if g.login == nil || st.credentials.Scheme != "" || r.Header["X-Api-Key"] != nil || !isNavigation(r) {
		return ""
	}
	to := *g.login
	query := to.Query()
	switch code {
	case AuthenticationRequired, SessionExpired:
	case StepUpRequired:
		// Told nothing, the sign-in page sends a person who is signed in straight
		// back, and so on for ever.
		stepUpParams(&st.route.Policy, query.Set)
	default:
		return ""
	}
	back := r.URL.RequestURI()
	switch {
	case g.public != nil && (g.public.Scheme != to.Scheme || g.public.Host != to.Host):
		// Never from the Host field, which the client chose.
		back = g.public.Scheme + "://" + g.public.Host + back
	case r.URL.Path == to.Path:
		return "" // the sign-in page itself: it would lead in a circle
	}
	query.Set("return_to", back)
	to.RawQuery = query.Encode()
	return to.String()
}

// ReturnTo returns target, what a sign-in page was told to come back to, if that
// is a path of the page's own origin or lies in one of origins, such as
// "https://app.example.com"; otherwise it returns "/". Whoever made the link to
// the page chose target, so what a browser might read otherwise than this
// function does is not taken: control characters, blanks, backslashes, user
// names, empty and dot segments. A URL of an origin begins with it as browsers
// write it: in lower case, without the port that goes without saying. What is no
// http or https origin among origins is passed over.
func ReturnTo(target string, origins ...string) string {
	const home = "/"
	for _, c := range []byte(target) {
		if c <= 0x20 || c >= 0x7f || c == '\\' {
			return home
		}
	}
	u, err := url.Parse(target)
	if err != nil || nonCanonicalPath(&http.Request{URL: u}) != "" {
		return home
	}
	if u.Scheme == "" && !strings.HasPrefix(target, "//") {
		return target // its path begins with a slash: others are crooked
	}
	for _, origin := range origins {
		o, err := url.Parse(origin)
		if err != nil || o.Scheme != "https" && o.Scheme != "http" || o.Host == "" || o.User != nil || strings.Trim(o.Path, "/") != "" || o.RawQuery != "" || o.Fragment != "" {
			continue
		}
		// What follows the origin begins with a slash: the host ends there.
		if rest, ok := strings.CutPrefix(target, o.Scheme+"://"+o.Host); ok && strings.HasPrefix(rest, "/") {
			return target
		}
	}
	return home
}

// pageStyle is all that a page looks like; the policy of the page names it by its
// hash, and nothing else may run or load.
const pageStyle = `
:root { color-scheme: light dark }
body { margin: 0; font: 1rem/1.5 system-ui, sans-serif }
main { max-width: 34rem; margin: 12vh auto 0; padding: 0 1.25rem }
h1 { margin: 0 0 .5rem; font-size: 1.5rem; line-height: 1.25; overflow-wrap: break-word }
a { display: inline-block; padding: .5rem 1rem; border: 1px solid; border-radius: .375rem; color: inherit; font-weight: 600; text-decoration: none }
a:hover { text-decoration: underline }
small { display: block; margin-top: 2rem; padding-top: 1rem; border-top: 1px solid #8886; opacity: .8 }
code { overflow-wrap: anywhere }
`

// pageSecurity is the Content-Security-Policy of a page.
var pageSecurity = func() string {
	sum := sha256.Sum256([]byte(pageStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'"
}()

// page is what a person sees of a refusal.
var page = template.Must(template.New("refusal").Parse(`<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Title}}</title>
<style>` + pageStyle + `</style>
<main>
<h1>{{.Title}}</h1>
<p>{{.Detail}}</p>
{{with .Login}}<p><a href="{{.}}" target="_top">Sign in</a></p>
{{end}}<small>If you ask for help, give this identifier: <code>{{.ID}}</code></small>
</main>
</html>
`))

// pageBody renders the refusal for a person.
func (g *Guard) pageBody(f *Refusal) []byte {
	var b bytes.Buffer
	// Only a writer that fails makes this fail.
	_ = page.Execute(&b, struct {
		Title, Detail, ID string
		Login             template.URL
	}{table[f.Code].title, f.Detail, f.ID, g.loginLink(f)})
	return b.Bytes()
}

// loginLink is where a person can sign in, for refusals that a sign-in would
// mend: a proxy's are not.
func (g *Guard) loginLink(f *Refusal) template.URL {
	if g.login == nil || table[f.Code].challenges != allChallenges || byProxy(f) {
		return ""
	}
	return template.URL(g.login.String()) // an http or https URL: New saw to it
}
