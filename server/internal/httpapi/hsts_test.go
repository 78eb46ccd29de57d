package httpapi

import (
	"net/http"
	"net/netip"
	"testing"
)

// HSTS is sent only over https, and only if the public URL is https.
func TestStrictTransportSecurity(t *testing.T) {
	t.Parallel()
	plain := newEnv(t, settings{})
	proxies := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	proxied := plain.reconfigured(func(c *Config) { c.PublicURL, c.Proxies = "https://auth.example.com", proxies })
	open := plain.reconfigured(func(c *Config) {
		c.PublicURL, c.Proxies, c.InsecureAllowHTTP = "https://auth.example.com", proxies, true
	})
	http1 := plain.reconfigured(func(c *Config) { c.Proxies = proxies })
	for name, c := range map[string]struct {
		w      *env
		fields http.Header
		want   string
	}{
		"behind a proxy that has https": {proxied, http.Header{"X-Forwarded-For": {"203.0.113.9"}, "X-Forwarded-Proto": {"https"}}, "max-age=31536000"},
		"behind it by http":             {proxied, http.Header{"X-Forwarded-For": {"203.0.113.9"}, "X-Forwarded-Proto": {"http"}}, ""},
		"from this machine":             {proxied, http.Header{}, ""},
		"http is let in from anywhere":  {open, http.Header{"X-Forwarded-For": {"203.0.113.9"}, "X-Forwarded-Proto": {"http"}}, ""},
		"a public URL of http":          {http1, http.Header{"X-Forwarded-For": {"203.0.113.9"}, "X-Forwarded-Proto": {"https"}}, ""},
	} {
		for _, path := range []string{"/api/profile", "/nothing", "/openapi.json", "/.well-known/jwks.json"} {
			r, err := http.NewRequest("GET", c.w.url+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header = c.fields.Clone()
			got := c.w.send(r)
			if hsts := got.Header.Get("Strict-Transport-Security"); hsts != c.want {
				t.Errorf("%s, %s: Strict-Transport-Security is %q, want %q", name, path, hsts, c.want)
			}
		}
	}
}
