package web_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// testPrefix is the path of the public URL of these tests' servers, "" or such as "/auth".
var testPrefix = os.Getenv("DURWARD_TEST_PREFIX")

// pageURL finds the URLs of a page that are paths, and values of fields that are.
var pageURL = regexp.MustCompile(` ((?:href|action|src|formaction|data-begin|data-finish|data-done|value)="|content="0; ?url=)(/[^"]*)"`)

// belowPrefix lets tests of a server below testPrefix use the URLs and cookies of a server at the root. It adds the
// prefix to each request and removes it from the response. A URL of a page without the prefix fails the test.
func belowPrefix(t *testing.T, server http.Handler) http.Handler {
	if testPrefix == "" {
		return server
	}
	cookieSuffix := "~" + strings.ReplaceAll(testPrefix[1:], "/", "~")
	// returns adds the prefix to the parameter return_to of a query or a form, if it is a path.
	returns := func(query string) string {
		pairs := strings.Split(query, "&")
		for i, pair := range pairs {
			name, value, _ := strings.Cut(pair, "=")
			if to, err := url.QueryUnescape(value); err == nil && name == "return_to" && strings.HasPrefix(to, "/") {
				pairs[i] = name + "=" + url.QueryEscape(testPrefix+to)
			}
		}
		return strings.Join(pairs, "&")
	}
	removed := strings.NewReplacer(
		origin+testPrefix, origin, url.QueryEscape(origin+testPrefix), url.QueryEscape(origin),
		"return_to="+url.QueryEscape(testPrefix+"/"), "return_to="+url.QueryEscape("/"),
		"return_to%3D"+url.QueryEscape(url.QueryEscape(testPrefix+"/")), "return_to%3D"+url.QueryEscape(url.QueryEscape("/")))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent := r.Clone(r.Context())
		sent.URL.Path, sent.RequestURI = testPrefix+r.URL.Path, testPrefix+r.RequestURI
		if r.URL.RawPath != "" {
			sent.URL.RawPath = testPrefix + r.URL.RawPath
		}
		sent.URL.RawQuery = returns(r.URL.RawQuery)
		if strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
			form, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			form = []byte(returns(string(form)))
			sent.Body, sent.ContentLength = io.NopCloser(bytes.NewReader(form)), int64(len(form))
			if sent.Header.Get("Content-Length") != "" {
				sent.Header.Set("Content-Length", strconv.Itoa(len(form)))
			}
		}
		for i, field := range sent.Header["Cookie"] {
			sent.Header["Cookie"][i] = regexp.MustCompile(`(__Host-[a-z-]+)=`).ReplaceAllString(field, "$1"+cookieSuffix+"=")
		}
		got := httptest.NewRecorder()
		server.ServeHTTP(got, sent)
		for name, values := range got.Header() {
			for _, value := range values {
				switch name {
				case "Location":
					if strings.HasPrefix(value, "/") && !strings.HasPrefix(value, testPrefix+"/") {
						t.Errorf("%s %s: the Location %s lacks the prefix", r.Method, r.URL, value)
					}
					value = strings.TrimPrefix(value, testPrefix)
				case "Set-Cookie":
					if strings.HasPrefix(value, "__Host-") && !strings.Contains(value, cookieSuffix+"=") {
						t.Errorf("%s %s: the cookie %s lacks the prefix", r.Method, r.URL, value)
					}
					value = strings.Replace(value, cookieSuffix+"=", "=", 1)
					value = strings.Replace(value, "Path="+testPrefix, "Path=/", 1)
				case "Content-Length":
					continue
				}
				w.Header().Add(name, removed.Replace(value))
			}
		}
		body := got.Body.String()
		if strings.HasPrefix(got.Header().Get("Content-Type"), "text/html") {
			body = pageURL.ReplaceAllStringFunc(body, func(found string) string {
				m := pageURL.FindStringSubmatch(found)
				switch {
				case m[2] == testPrefix || strings.HasPrefix(m[2], testPrefix+"/"):
					return " " + m[1] + "/" + strings.TrimPrefix(strings.TrimPrefix(m[2], testPrefix), "/") + `"`
				case m[1] != `value="`:
					t.Errorf("%s %s: the URL%s lacks the prefix", r.Method, r.URL, found)
				}
				return found
			})
		}
		w.WriteHeader(got.Code)
		_, _ = io.WriteString(w, removed.Replace(body))
	})
}
