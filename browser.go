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

// isNavigation reports whether a browser opens r as a top-level document.
func isNavigation(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	if dest := r.Header.Get("Sec-Fetch-Dest"); dest != "" {
		return dest == "document"
	}
	return wantsPage(r)
}

// wantsPage reports whether a browser shows the response to its user as a page: as a document, in a
// frame or after a form submission.
func wantsPage(r *http.Request) bool {
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	// A script in a browser without Sec-Fetch fields may request HTML, too.
	return r.Header.Get("X-Requested-With") == "" && strings.HasPrefix(r.Header.Get("Accept"), "text/html")
}

// isScript reports whether a script sent r. At a Basic or Digest challenge its browser would open a
// password dialog over the page.
func isScript(r *http.Request) bool {
	mode := r.Header.Get("Sec-Fetch-Mode")
	return mode != "" && mode != "navigate" || r.Header.Get("X-Requested-With") != ""
}

// exposedFields are the response fields from which a script reads why it was refused.
const exposedFields = "WWW-Authenticate, DPoP-Nonce, Retry-After, Durward-Denial"

// ExposedFields returns the response fields that scripts of other origins must be able to read to
// react to a refusal, for the configuration of a CORS handler (Access-Control-Expose-Headers, Fetch
// standard). Refusals expose these fields themselves.
func ExposedFields() []string { return strings.Split(exposedFields, ", ") }

// withoutDialogs removes the challenges at which a browser opens a password dialog, if there are
// others. A stale Digest challenge stays: the browser answers it without a dialog (RFC 7616 s3.3).
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

// loginRedirect returns the URL of the sign-in page for a navigation, or "" if the response is the
// refusal itself.
func (g *Guard) loginRedirect(r *http.Request, st *requestState, code Code) string {
	if g.login == nil || st.credentials.Scheme != "" || r.Header["X-Api-Key"] != nil || !isNavigation(r) {
		return ""
	}
	to := *g.login
	query := to.Query()
	switch code {
	case AuthenticationRequired, SessionExpired:
	case StepUpRequired:
		// Without the requirements, the sign-in page would send a signed-in user
		// back at once, in an endless loop.
		stepUpParams(&st.route.Policy, query.Set)
	default:
		return ""
	}
	back := g.prefix + r.URL.RequestURI()
	switch {
	case g.public != nil && (g.public.Scheme != to.Scheme || g.public.Host != to.Host):
		// Never from the Host field: the client controls it.
		back = g.public.Scheme + "://" + g.public.Host + back
	case g.prefix+r.URL.Path == to.Path:
		return "" // r is the sign-in page itself: this would be an endless loop
	}
	query.Set("return_to", back)
	to.RawQuery = query.Encode()
	return to.String()
}

// ReturnTo returns target, the return_to parameter of a sign-in page, if it is a path of the page's
// own origin or lies in one of origins, such as "https://app.example.com"; otherwise it returns
// "/".
//
// An attacker may have made the link to the sign-in page, and so target. ReturnTo therefore refuses
// parts that a browser could interpret differently: control characters, blanks, backslashes, user
// names, empty segments and dot segments. A URL must begin with its origin as browsers write it: in
// lower case, without a default port. Entries of origins that are not http or https origins are
// ignored.
func ReturnTo(target string, origins ...string) string {
	const home = "/"
	for _, c := range []byte(target) {
		if c <= 0x20 || c >= 0x7f || c == '\\' {
			return home
		}
	}
	u, err := url.Parse(target)
	if err != nil || nonCanonicalPath(u, pathForms{}) != "" {
		return home
	}
	if u.Scheme == "" && !strings.HasPrefix(target, "//") {
		return target // its path begins with a slash: other paths are not canonical
	}
	for _, origin := range origins {
		o, err := url.Parse(origin)
		if err != nil || o.Scheme != "https" && o.Scheme != "http" || o.Host == "" || o.User != nil || strings.Trim(o.Path, "/") != "" || o.RawQuery != "" || o.Fragment != "" {
			continue
		}
		// The slash after the origin marks the end of the host.
		if rest, ok := strings.CutPrefix(target, o.Scheme+"://"+o.Host); ok && strings.HasPrefix(rest, "/") {
			return target
		}
	}
	return home
}

// pageStyle is the style sheet of a page. The page's Content-Security-Policy names it by its hash;
// nothing else may load or run.
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

// page is the HTML page of a refusal.
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

// pageBody renders the refusal as an HTML page, with a link to the sign-in page if a sign-in can
// resolve the refusal, which is not the case for refusals of a proxy.
func (g *Guard) pageBody(f *Refusal) []byte {
	var login template.URL
	if g.login != nil && table[f.Code].challenges == allChallenges && !byProxy(f) {
		login = template.URL(g.login.String()) // an http or https URL: checked by New
	}
	var b bytes.Buffer
	// Execute fails only if its writer fails.
	_ = page.Execute(&b, struct {
		Title, Detail, ID string
		Login             template.URL
	}{table[f.Code].title, f.Detail, f.ID, login})
	return b.Bytes()
}
