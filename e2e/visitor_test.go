package e2e

import (
	"io"
	"mime"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// visitor is a user with a browser that runs no scripts. The user signs in where a page asks for a password,
// and presses the first button of any other form.
type visitor struct {
	t        *testing.T
	email    string
	password string
	client   *http.Client

	passwords int  // how often a page asked for the password
	anyEnd    bool // a visit may end at a page of any type, or with an error, not only at the text of a relying party
}

// secureLoopback sends cookies with the attribute Secure to loopback addresses also without TLS, as browsers do.
type secureLoopback struct{ *cookiejar.Jar }

func (j secureLoopback) Cookies(u *url.URL) []*http.Cookie {
	secure := *u
	secure.Scheme = "https"
	return j.Jar.Cookies(&secure)
}

func newVisitor(t *testing.T, email, password string) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := new(http.Transport)
	t.Cleanup(transport.CloseIdleConnections)
	return &visitor{t: t, email: email, password: password, client: &http.Client{
		Jar:           secureLoopback{jar},
		Transport:     transport,
		Timeout:       runTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// maxSteps limits the requests of one visit.
const maxSteps = 40

// visit opens a URL, follows redirects, and submits forms until a page has none. It returns the lines of that page.
func (v *visitor) visit(to string) []string {
	v.t.Helper()
	return v.follow(v.request(http.MethodGet, to, nil, nil))
}

// follow is visit from another request.
func (v *visitor) follow(r *http.Request) []string {
	v.t.Helper()
	var from *url.URL
	var steps []string
	for range maxSteps {
		steps = append(steps, r.Method+" "+r.URL.String())
		resp, err := v.client.Do(r)
		if err != nil {
			v.t.Fatalf("%v after\n\t%s", err, strings.Join(steps, "\n\t"))
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			v.t.Fatal(err)
		}
		steps[len(steps)-1] += " " + resp.Status
		if location, err := resp.Location(); err == nil && resp.StatusCode/100 == 3 {
			r = v.request(http.MethodGet, location.String(), nil, from)
			continue
		}
		kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
		if kind == "text/html" && (!v.anyEnd || resp.StatusCode < http.StatusBadRequest) {
			root, err := html.Parse(strings.NewReader(string(body)))
			if err != nil {
				v.t.Fatal(err)
			}
			if next := v.next(root, resp.Request.URL); next != nil {
				r, from = next, resp.Request.URL
				continue
			}
		}
		if !v.anyEnd && (resp.StatusCode != http.StatusOK || kind != "text/plain") {
			v.t.Fatalf("%s %s after\n\t%s", resp.Status, body, strings.Join(steps, "\n\t"))
		}
		return strings.Split(strings.TrimSuffix(string(body), "\n"), "\n")
	}
	v.t.Fatalf("no end after\n\t%s", strings.Join(steps, "\n\t"))
	return nil
}

// request returns a request with the fields of a browser's navigation from a page.
func (v *visitor) request(method, to string, form url.Values, from *url.URL) *http.Request {
	v.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequestWithContext(v.t.Context(), method, to, body)
	if err != nil {
		v.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html,*/*;q=0.8")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Dest", "document")
	site := "none"
	if from != nil && from.Host == r.URL.Host {
		site = "same-origin"
	} else if from != nil {
		site = "cross-site"
	}
	r.Header.Set("Sec-Fetch-Site", site)
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", from.Scheme+"://"+from.Host)
	}
	return r
}

// next returns the request that a page leads to: its meta refresh, or its first form that posts. It returns nil for a
// page without either.
func (v *visitor) next(root *html.Node, page *url.URL) *http.Request {
	v.t.Helper()
	var forms []*html.Node
	for n := range root.Descendants() {
		switch {
		case n.Type != html.ElementNode:
		case n.Data == "meta" && strings.EqualFold(attribute(n, "http-equiv"), "refresh"):
			if _, to, ok := strings.Cut(attribute(n, "content"), "url="); ok {
				return v.request(http.MethodGet, v.resolve(page, to), nil, page)
			}
		case n.Data == "main":
			forms = nil // those before it are of the page's header
		case n.Data == "form" && strings.EqualFold(attribute(n, "method"), "post"):
			forms = append(forms, n)
		}
	}
	if len(forms) == 0 {
		return nil
	}
	return v.request(http.MethodPost, v.resolve(page, attribute(forms[0], "action")), v.fill(forms[0]), page)
}

// fill returns the fields of a form with its first button.
func (v *visitor) fill(form *html.Node) url.Values {
	fields, pressed := url.Values{}, false
	for n := range form.Descendants() {
		if n.Type != html.ElementNode || attribute(n, "name") == "" && n.Data != "button" {
			continue
		}
		name, value, kind := attribute(n, "name"), attribute(n, "value"), attribute(n, "type")
		switch {
		case n.Data == "button" && (kind == "" || kind == "submit"), n.Data == "input" && kind == "submit":
			if !pressed && name != "" {
				fields.Set(name, value)
			}
			pressed = true
		case n.Data != "input" || kind == "button" || (kind == "checkbox" || kind == "radio") && !hasAttribute(n, "checked"):
		case kind == "password":
			v.passwords++
			fields.Set(name, v.password)
		case kind == "email":
			fields.Set(name, v.email)
		default:
			fields.Add(name, value)
		}
	}
	return fields
}

func (v *visitor) resolve(page *url.URL, to string) string {
	v.t.Helper()
	u, err := page.Parse(to)
	if err != nil {
		v.t.Fatal(err)
	}
	return u.String()
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func hasAttribute(n *html.Node, name string) bool {
	for _, a := range n.Attr {
		if a.Key == name {
			return true
		}
	}
	return false
}
