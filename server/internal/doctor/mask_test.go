package doctor

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/durward-auth/durward/internal/txtar"
)

// digest matches the digits of a mask, which tests do not repeat.
var digest = regexp.MustCompile(`sha256 [0-9a-f]{8}`)

func TestMask(t *testing.T) {
	t.Parallel()
	jwt := "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"
	for _, row := range []struct{ name, in, want string }{
		{"words about tokens: unchanged", `Bearer authentication failed: the token is expired; token: invalid`, `Bearer authentication failed: the token is expired; token: invalid`},
		{"codes: unchanged", `{"code":"TOKEN_EXPIRED","error":"invalid_token","status":401}`, `{"code":"TOKEN_EXPIRED","error":"invalid_token","status":401}`},
		{"challenge: unchanged", `WWW-Authenticate: Bearer realm="api", error="invalid_token", resource_metadata="https://a.example/.well-known/oauth-protected-resource"`,
			`WWW-Authenticate: Bearer realm="api", error="invalid_token", resource_metadata="https://a.example/.well-known/oauth-protected-resource"`},
		{"Digest challenge: unchanged", `Digest realm="x", algorithm=SHA-256, qop="auth"`, `Digest realm="x", algorithm=SHA-256, qop="auth"`},
		{"UUID: unchanged", `request 123e4567-e89b-12d3-a456-426614174000`, `request 123e4567-e89b-12d3-a456-426614174000`},
		{"JWT in prose", "the token " + jwt + " is bad", "the token …(JWT, 49 octets, D) is bad"},
		{"prefix in a log", "using key ghp_0123456789abcdefghij0123456789abcdef", "using key ghp_…(GitHub token, 40 octets, D)"},
		{"members of JSON", `{"access_token":"a1b2c3","password":"hunter","expires_in":5}`, `{"access_token":"…(6 octets)","password":"…(6 octets)","expires_in":5}`},
		{"form", `grant_type=password&username=ada&password=hunter2`, `grant_type=password&username=ada&password=…(7 octets)`},
		{"assignment", `export API_KEY='abc123'`, `export API_KEY='…(6 octets)'`},
		{"logfmt", `level=info token=abc123 user=ada`, `level=info token=…(6 octets) user=ada`},
		{"address with user", `https://ada:hunter2@a.example/x`, `https://…@a.example/x`},
		{"address with token", `GET /x?a=1&access_token=abc123&b=2`, `GET /x?a=1&access_token=…(6 octets)&b=2`},
		{"signed address", `https://b.example/x?X-Amz-Expires=900&X-Amz-Signature=0123456789abcdef0123456789abcdef`, `https://b.example/x?X-Amz-Expires=900&X-Amz-Signature=…(32 octets, D)`},
		{"field of a transcript", "> Authorization: Bearer abc123def\n> Host: a.example", "> Authorization: Bearer …(9 octets)\n> Host: a.example"},
		{"cookie line", "Cookie: sid=abc123; lang=en", "Cookie: sid=…(6 octets); lang=…(2 octets)"},
		{"credentials in prose", `sent Authorization: Basic YWRhOmh1bnRlcg== twice`, `sent Authorization: Basic …(16 octets) twice`},
		{"private key", "a\n-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----\nb", "a\n…(private key, 68 octets)\nb"},
		{"option of a command", "docker login -u ada -p hunter2 --password=hunter3", "docker login -u ada -p …(7 octets) --password=…(7 octets)"},
		{"user and password of a command", "curl -u ada:hunter2 https://a.example", "curl -u ada:…(7 octets) https://a.example"},
		{"element of XML", "<password>hunter</password>", "<password>…(6 octets)</password>"},
		{"netrc", "machine a.example login ada password hunter", "machine a.example login ada password …(6 octets)"},
		{"stored password", "ada:$apr1$abcd1234$hunter", "ada:$apr1$…(15 octets)"},
		{"npmrc", "//a.example/:_authToken=hunter", "//a.example/:_authToken=…(6 octets)"},
		{"key in prose", "Incorrect API key provided: hunter2abc.", "Incorrect API key provided: …(11 octets)"},
		{"words in quotation marks in prose: unchanged", `the token "access_token" is missing, key "RS256", password 'required'`, `the token "access_token" is missing, key "RS256", password 'required'`},
		{"password with signs of an address", "https://ada:hun#t/er@a.example/x", "https://…@a.example/x"},
		{"port and mail address: unchanged", "https://a.example:8443/x?to=b@c.example", "https://a.example:8443/x?to=b@c.example"},
		{"random text", "id 0123456789abcdefABCDEF0123456789abcdef here", "id …(38 octets, D) here"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got := Mask(row.in)
			if shown := digest.ReplaceAllString(got, "D"); shown != row.want {
				t.Errorf("Mask(%q)\n = %q\nwant %q", row.in, shown, row.want)
			}
			if again := Mask(got); again != got {
				t.Errorf("Mask(%q) = %q the second time, want %q", row.in, again, got)
			}
		})
	}
}

// Each prefix of products/ and of the other makers is masked, and stands in one table alone.
func TestMaskPrefixes(t *testing.T) {
	t.Parallel()
	const rest = "Zq7mX2kR9vT4wB8nL5cJ3hG6dF1s"
	seen := map[string]bool{}
	for _, p := range secretPrefixes() {
		if seen[p.prefix] {
			t.Errorf("the prefix %q is in two tables", p.prefix)
		}
		seen[p.prefix] = true
		for _, text := range []string{p.prefix + rest, "using " + p.prefix + rest + " now", `{"x":"` + p.prefix + rest + `"}`} {
			if got := Mask(text); strings.Contains(got, rest) || !strings.Contains(got, "…(") {
				t.Errorf("Mask(%q) = %q, want a mask of %s", text, got, p.kind)
			}
		}
		if got := MaskSecret(p.prefix + rest); !strings.HasPrefix(got, p.prefix+"…("+p.kind+",") {
			t.Errorf("MaskSecret(%q) = %q, want the prefix and %q", p.prefix+rest, got, p.kind)
		}
	}
	for _, s := range known().shapes {
		if !seen[s.Prefix] {
			t.Errorf("the mask lacks the prefix %q of %s", s.Prefix, s.maker.Name)
		}
	}
	for _, text := range []string{"host sl.example.com", "HTTP 00123456789", "ciotoloverde"} {
		if got := Mask(text); got != text {
			t.Errorf("Mask(%q) = %q, want the text itself", text, got)
		}
	}
}

func TestMaskField(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, value, want string }{
		{"Authorization", "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl", "Bearer …(JWT, 49 octets, D)"},
		{"authorization", "Basic YWRhOmh1bnRlcg==", "Basic …(16 octets)"},
		{"Authorization", "hunter2", "…(7 octets)"},
		{"Authorization", "my secret password", "…(18 octets)"},
		{"Authorization", "", "…(empty)"},
		{"Authorization", "Bearer", "…(6 octets)"},
		{"Authorization", "Bearer ", "Bearer"},
		{"Authorization", `Digest username="ada", realm="r", uri="/x", algorithm=MD5, nonce="abc", response="0123456789abcdef0123456789abcdef"`,
			"Digest username=…(3 octets), realm=r, uri=/x, algorithm=MD5, nonce=…(3 octets), response=…(32 octets)"},
		{"Authorization", "AWS4-HMAC-SHA256 Credential=AKIA0123456789ABCDEF/20261120/eu-west-1/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=0123456789abcdef",
			"AWS4-HMAC-SHA256 Credential=AKIA…(AWS access key ID, 20 octets, D)/20261120/eu-west-1/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=…(16 octets)"},
		{"Cookie", `sid=abc; theme="dark"; bare`, `sid=…(3 octets); theme=…(6 octets);…(4 octets)`},
		{"Set-Cookie", "sid=abc; Path=/; SameSite=Lax; Max-Age=0", "sid=…(3 octets); Path=/; SameSite=Lax; Max-Age=0"},
		{"Set-Cookie", "sid=; Max-Age=0", "sid=; Max-Age=0"},
		{"X-Api-Key", "abc", "…(3 octets)"},
		{"X-My-Token", "abc", "…(3 octets)"},
		{"DPoP", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl", "…(JWT, 49 octets, D)"},
		{"Content-Type", "text/plain", "text/plain"},
		{"Location", "https://a.example/cb?code=0123456789abcdef&x=1", "https://a.example/cb?code=…(16 octets)&x=1"},
	} {
		t.Run(row.name+" "+row.value, func(t *testing.T) {
			t.Parallel()
			if got := digest.ReplaceAllString(MaskField(row.name, row.value), "D"); got != row.want {
				t.Errorf("MaskField(%q, %q)\n = %q\nwant %q", row.name, row.value, got, row.want)
			}
		})
	}
}

// masked returns everything of a case in the form in which it may be shown.
func masked(c *Case) string {
	m := c.Masker()
	var b strings.Builder
	for _, n := range c.Notes {
		fmt.Fprintf(&b, "%s %s %s\n", n.ID, n.At, n.Text) // never masked
	}
	for _, l := range c.Limits {
		fmt.Fprintln(&b, l)
	}
	fields := func(f Fields) {
		for _, f := range f {
			fmt.Fprintf(&b, "%s: %s (%s)\n", m.Mask(f.Name), MaskField(f.Name, f.Value), f.At)
			if f.Raw != "" {
				fmt.Fprintln(&b, MaskField(f.Name, f.Raw))
			}
		}
	}
	for _, e := range c.Exchanges {
		fmt.Fprintln(&b, m.Mask(e.Error))
		if r := e.Request; r != nil {
			fmt.Fprintf(&b, "%s %s\n", m.Mask(r.Method), m.Mask(r.URL))
			fields(r.Header)
			fmt.Fprintln(&b, m.Mask(string(r.Body)))
		}
		if r := e.Response; r != nil {
			fmt.Fprintf(&b, "%d %s\n", r.Status, m.Mask(r.Reason))
			fields(r.Header)
			fmt.Fprintln(&b, m.Mask(string(r.Body)))
		}
	}
	for _, t := range c.Tokens {
		fmt.Fprintf(&b, "%s %s\n", t.Label, m.Mask(MaskSecret(t.Value)))
	}
	fmt.Fprintln(&b, m.Mask(c.URL))
	for _, l := range c.Log {
		fmt.Fprintln(&b, m.Mask(l))
	}
	return b.String()
}

// markers are the forms in which the marked secret could be shown.
var markers = []string{
	secret, "s3cr3t", strings.ReplaceAll(secret, "-", "%2D"),
	base64.StdEncoding.EncodeToString([]byte("x:" + secret))[3:12],
	base64.StdEncoding.EncodeToString([]byte("ada:" + secret)),
	base64.StdEncoding.EncodeToString([]byte("u:" + secret)),
}

func noMarker(t *testing.T, input, shown string) {
	t.Helper()
	for _, m := range markers {
		if i := strings.Index(shown, m); i >= 0 {
			t.Errorf("input %.200q shows the secret: %q", input, shown[max(0, i-80):min(len(shown), i+40)])
		}
	}
}

// TestNoSecretIsShown reads marked secrets in every kind of input.
func TestNoSecretIsShown(t *testing.T) {
	t.Parallel()
	var inputs []string
	files, err := filepath.Glob("testdata/inputs/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(files, "testdata/same.txtar", "testdata/devtools.txtar") {
		a, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range a.Files {
			if !strings.HasPrefix(f.Name, "want") {
				inputs = append(inputs, string(f.Data))
			}
		}
	}
	files, err = filepath.Glob("testdata/har/*.har")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		octets, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		inputs = append(inputs, string(octets))
	}
	jwt := func(payload string) string {
		return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + "." +
			base64.RawURLEncoding.EncodeToString([]byte(secret))
	}
	inputs = append(inputs,
		"GET /?access_token="+secret+" HTTP/1.1\nHost: a.example\nX-Api-Key: "+secret+"\nCookie: a="+secret+"; b="+secret+"\n\nHTTP/1.1 401 x\nSet-Cookie: a="+secret+
			"; Path=/\nWWW-Authenticate: Bearer error_description=\"token "+secret+" is unknown\"\n\n{\"error\":\"no user for "+secret+"\",\"refresh_token\":\""+secret+"\"}",
		"https://ada:"+secret+"@a.example/x?token="+secret,
		"2026-11-20T10:07:12Z msg=refused token="+secret+" password="+secret+" Authorization: Bearer "+secret,
		`{"access_token":"`+secret+`","id_token":"`+jwt(`{"sub":"a"}`)+`"}`,
		jwt(`{"email":"`+secret+`","iss":"https://a.example"}`),
		"$ curl -u ada:"+secret+" --frobnicate-"+secret+" 'https://a.example/?key="+secret+"'\nHTTP/1.1 401 no\n\nuser ada with "+secret+" not found\n",
		"curl -H 'Authorization: Bearer "+secret+`' "https://a.example/ -b 'x`,
		"curl -H 'X-Token "+secret+"' -"+secret+" https://a.example/",
		`Invoke-WebRequest -Uri "https://a.example/" -Headers @{"Authorization"="Bearer `+secret,
		`fetch("https://a.example/", {"headers": {"authorization": "Bearer `+secret+`"`,
		`{"log":{"entries":[{"request":{"method":"GET","url":"https://a.example/?sig=`+secret+`","headers":[{"name":"Authorization","value":"Bearer `+secret,
	)
	for _, input := range inputs {
		c, err := Read(strings.NewReader(input), Options{})
		if err != nil {
			noMarker(t, input, err.Error())
			continue
		}
		noMarker(t, input, masked(c))
		for _, token := range c.Tokens {
			noMarker(t, input, fmt.Sprint(Claims(token.Value)))
		}
	}
}

// TestMaskLine: a line of a program shows names and hosts, and no value.
func TestMaskLine(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ in, want string }{
		{`req.SetBasicAuth("ada", "hunter")`, `req.SetBasicAuth("…", "…")`},
		{`headers = {"Authorization": "Bearer hunter"}`, `headers = {"Authorization": "Bearer …"}`},
		{`requests.get("https://a.example.com/x?y=z", auth=("ada", "hunter"))`, `requests.get("https://a.example.com/…", auth=("…", "…"))`},
		{`proxy_set_header Authorization "";`, `proxy_set_header Authorization "";`},
		{`allow 10.0.0.0/8;`, `allow 10.0.0.0/8;`},
		{`api_key: hunter`, `api_key: …`},
		{`machine api.example.com login ada password hunter`, `machine api.example.com login … password …(6 octets)`},
		{`setx API_TOKEN hunter`, `… … …`},
	} {
		if got := MaskLine(row.in); got != row.want {
			t.Errorf("MaskLine(%q)\n = %q\nwant %q", row.in, got, row.want)
		}
	}
}

// TestMaskerReadsLog: a secret of a line below the exchange is masked where a fact quotes a part of the line.
func TestMaskerReadsLog(t *testing.T) {
	t.Parallel()
	c := &Case{Log: []string{`audience: "a", client_secret: "wobblymarmot"`}, Subject: -1}
	if got := c.Masker().Mask("the configuration has a wobblymarmot"); strings.Contains(got, "wobblymarmot") {
		t.Errorf("the masker shows %q", got)
	}
}

// TestMaskConstants: the name of an error in capitals is shown, a key of capitals and digits is
// not.
func TestMaskConstants(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"SSLV3_ALERT_CERTIFICATE_UNKNOWN", "TLSV13_ALERT_CERTIFICATE_REQUIRED"} {
		if got := Mask("error:0A: " + name); !strings.Contains(got, name) {
			t.Errorf("%s is masked: %s", name, got)
		}
	}
	for _, key := range []string{"SK12345678901234_ABCDEFGH_IJKLMNOP", "A1B2C3D4E5F6_ABCDEFGHIJ_KLMNOPQRST", "ABCDEFGHIJKL_1234ABCD5678_EFGHIJKL"} {
		if got := Mask("error:0A: " + key); strings.Contains(got, key) {
			t.Errorf("%s is shown: %s", key, got)
		}
	}
}
