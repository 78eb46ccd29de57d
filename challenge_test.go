package durward_test

import (
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/durward-auth/durward"
)

// params pairs names and values.
func params(namesAndValues ...string) []durward.Param {
	var list []durward.Param
	for i := 0; i < len(namesAndValues); i += 2 {
		list = append(list, durward.Param{Name: namesAndValues[i], Value: namesAndValues[i+1]})
	}
	return list
}

func lines(l ...string) []string { return l }

const (
	digestNonce  = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
	digestOpaque = "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"
	digestCnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
)

// challengeCases are read alike by the tests and the fuzz targets' seeds.
var challengeCases = []struct {
	name  string
	lines []string
	want  []durward.Challenge
}{
	// The examples of the standards.
	{"RFC 9110 s11.6.1", lines(`Basic realm="simple", Newauth realm="apps", type=1, title="Login to \"apps\""`), []durward.Challenge{
		{Scheme: "Basic", Params: params("realm", "simple")},
		{Scheme: "Newauth", Params: params("realm", "apps", "type", "1", "title", `Login to "apps"`)}}},
	{"RFC 7235 s4.1", lines(`Newauth realm="apps", type=1, title="Login to \"apps\"", Basic realm="simple"`), []durward.Challenge{
		{Scheme: "Newauth", Params: params("realm", "apps", "type", "1", "title", `Login to "apps"`)},
		{Scheme: "Basic", Params: params("realm", "simple")}}},
	{"RFC 7617 s2", lines(`Basic realm="WallyWorld"`), []durward.Challenge{
		{Scheme: "Basic", Params: params("realm", "WallyWorld")}}},
	{"RFC 7617 s2.1", lines(`Basic realm="foo", charset="UTF-8"`), []durward.Challenge{
		{Scheme: "Basic", Params: params("realm", "foo", "charset", "UTF-8")}}},
	{"RFC 7616 s3.9.1", lines(
		`Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=SHA-256, nonce="`+digestNonce+`", opaque="`+digestOpaque+`"`,
		`Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=MD5, nonce="`+digestNonce+`", opaque="`+digestOpaque+`"`), []durward.Challenge{
		{Scheme: "Digest", Params: params("realm", "http-auth@example.org", "qop", "auth, auth-int", "algorithm", "SHA-256", "nonce", digestNonce, "opaque", digestOpaque)},
		{Scheme: "Digest", Params: params("realm", "http-auth@example.org", "qop", "auth, auth-int", "algorithm", "MD5", "nonce", digestNonce, "opaque", digestOpaque)}}},
	{"RFC 7616 s3.9.2", lines(`Digest realm="api@example.org", qop="auth", algorithm=SHA-512-256, charset=UTF-8, userhash=true`), []durward.Challenge{
		{Scheme: "Digest", Params: params("realm", "api@example.org", "qop", "auth", "algorithm", "SHA-512-256", "charset", "UTF-8", "userhash", "true")}}},
	{"RFC 6750 s3", lines(`Bearer realm="example", error="invalid_token", error_description="The access token expired"`), []durward.Challenge{
		{Scheme: "Bearer", Params: params("realm", "example", "error", "invalid_token", "error_description", "The access token expired")}}},
	{"RFC 9449 s7.2", lines(`Bearer, DPoP algs="ES256 PS256"`), []durward.Challenge{
		{Scheme: "Bearer"}, {Scheme: "DPoP", Params: params("algs", "ES256 PS256")}}},
	{"RFC 9449 s9", lines(`DPoP error="use_dpop_nonce", error_description="Resource server requires nonce in DPoP proof"`), []durward.Challenge{
		{Scheme: "DPoP", Params: params("error", "use_dpop_nonce", "error_description", "Resource server requires nonce in DPoP proof")}}},
	{"RFC 9470 s3", lines(`Bearer error="insufficient_user_authentication", error_description="A different authentication level is required", acr_values="myACR"`), []durward.Challenge{
		{Scheme: "Bearer", Params: params("error", "insufficient_user_authentication", "error_description", "A different authentication level is required", "acr_values", "myACR")}}},
	{"RFC 9728 s5.1", lines(`Bearer resource_metadata="https://resource.example.com/.well-known/oauth-protected-resource"`), []durward.Challenge{
		{Scheme: "Bearer", Params: params("resource_metadata", "https://resource.example.com/.well-known/oauth-protected-resource")}}},
	{"RFC 4559 s4.1", lines("Negotiate", "Negotiate a87421000492aa874209af8bc028", "Negotiate YII="), []durward.Challenge{
		{Scheme: "Negotiate"}, {Scheme: "Negotiate", Token68: "a87421000492aa874209af8bc028"}, {Scheme: "Negotiate", Token68: "YII="}}},

	// The list (RFC 9110 s5.6.1.2).
	{"no line", nil, nil},
	{"empty line", lines(""), nil},
	{"empty members", lines(",, \t,", "", ","), nil},
	{"empty members between", lines(`,Basic realm="a",,	, Digest realm="b", ,`), []durward.Challenge{
		{Scheme: "Basic", Params: params("realm", "a")}, {Scheme: "Digest", Params: params("realm", "b")}}},
	{"empty members between parameters", lines(`Basic , ,realm="a",, charset="UTF-8",,Negotiate`), []durward.Challenge{
		{Scheme: "Basic", Params: params("realm", "a", "charset", "UTF-8")}, {Scheme: "Negotiate"}}},
	{"over two lines", lines(`Digest realm="a", nonce="n"`, `algorithm=MD5, Basic`, `Bearer realm="c"`), []durward.Challenge{
		{Scheme: "Digest", Params: params("realm", "a", "nonce", "n", "algorithm", "MD5")}, {Scheme: "Basic"}, {Scheme: "Bearer", Params: params("realm", "c")}}},
	{"over many lines, some empty", lines(`Digest `, "", `realm="a"`, " ", `nonce="n"`), []durward.Challenge{
		{Scheme: "Digest", Params: params("realm", "a", "nonce", "n")}}},
	{"scheme and blank, then another", lines("Basic , Negotiate ", "NTLM"), []durward.Challenge{{Scheme: "Basic"}, {Scheme: "Negotiate"}, {Scheme: "NTLM"}}},
	{"order and repetition", lines(`B x=2, x=1, X=2, A, B, A`), []durward.Challenge{
		{Scheme: "B", Params: params("x", "2", "x", "1", "X", "2")}, {Scheme: "A"}, {Scheme: "B"}, {Scheme: "A"}}},

	// Spelling.
	{"case", lines(`bAsIc ReAlM="FoO"`), []durward.Challenge{{Scheme: "bAsIc", Params: params("ReAlM", "FoO")}}},
	{"blanks about the equals sign", lines("Basic realm = \"a\", b\t=\t1 ,c= 2"), []durward.Challenge{{Scheme: "Basic", Params: params("realm", "a", "b", "1", "c", "2")}}},
	{"blanks about the list", lines(" \tBasic   realm=a\t ,\tNegotiate\t"), []durward.Challenge{{Scheme: "Basic", Params: params("realm", "a")}, {Scheme: "Negotiate"}}},
	{"blank and tab after a scheme", lines("Basic \t", "Negotiate \t, NTLM \trealm=a"), []durward.Challenge{
		{Scheme: "Basic"}, {Scheme: "Negotiate"}, {Scheme: "NTLM", Params: params("realm", "a")}}},
	{"all token characters", lines("!#$%&'*+-.^_`|~09azAZ !#$%&'*+-.^_`|~09azAZ=!#$%&'*+-.^_`|~09azAZ"), []durward.Challenge{
		{Scheme: "!#$%&'*+-.^_`|~09azAZ", Params: params("!#$%&'*+-.^_`|~09azAZ", "!#$%&'*+-.^_`|~09azAZ")}}},
	{"all token68 characters", lines("A 09azAZ-._~+/=="), []durward.Challenge{{Scheme: "A", Token68: "09azAZ-._~+/=="}}},
	{"token68 or parameter", lines("A a=, B a==, C a=b, D a =b, E a"), []durward.Challenge{
		{Scheme: "A", Token68: "a="}, {Scheme: "B", Token68: "a=="}, {Scheme: "C", Params: params("a", "b")}, {Scheme: "D", Params: params("a", "b")}, {Scheme: "E", Token68: "a"}}},
	{"commas and schemes in quotes", lines(`Basic realm="a, Digest realm=\"b\", ,", Bearer`), []durward.Challenge{
		{Scheme: "Basic", Params: params("realm", `a, Digest realm="b", ,`)}, {Scheme: "Bearer"}}},
	{"empty quotes", lines(`Basic realm=""`), []durward.Challenge{{Scheme: "Basic", Params: params("realm", "")}}},
	{"quoted pairs", lines(`Basic realm="\a\\\"\	\é"`), []durward.Challenge{{Scheme: "Basic", Params: params("realm", "a\\\"\té")}}},
	{"values are octets", lines("Basic realm=\"caf\xe9 caf\xc3\xa9 \xff\""), []durward.Challenge{{Scheme: "Basic", Params: params("realm", "caf\xe9 caf\xc3\xa9 \xff")}}},
}

func TestParseChallenges(t *testing.T) {
	t.Parallel()
	for _, c := range challengeCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := durward.ParseChallenges(c.lines)
			if err != nil || !cmp.Equal(got, c.want) {
				t.Errorf("%q:\ngot  %+v, %v\nwant %+v", c.lines, got, err, c.want)
			}
			// The lines are one list (RFC 9110 s5.3).
			joined := strings.Join(c.lines, ", ")
			got, err = durward.ParseChallenges(lines(joined))
			if err != nil || !cmp.Equal(got, c.want) {
				t.Errorf("%q:\ngot  %+v, %v\nwant %+v", joined, got, err, c.want)
			}
		})
	}
}

// The challenges before an error are returned with it. The error has a position and does not quote
// the input.
func TestParseChallengesErrors(t *testing.T) {
	t.Parallel()
	basic := durward.Challenge{Scheme: "Basic", Params: params("realm", "a")}
	for _, c := range []struct {
		name         string
		lines        []string
		done         []durward.Challenge
		line, offset int
	}{
		{"no scheme", lines(`="a"`), nil, 0, 0},
		{"quotes for a scheme", lines(`"Basic"`), nil, 0, 0},
		{"parameter of nothing", lines(`realm="a"`), nil, 0, 5},
		{"parameter after a comma and no blank", lines(`Negotiate, realm="a"`), []durward.Challenge{{Scheme: "Negotiate"}}, 0, 16},
		{"tab after the scheme", lines("Basic\trealm=a"), nil, 0, 6},
		{"two words", lines("Bearer secret secret2"), nil, 0, 7},
		{"token68 and a parameter", lines(`Bearer secret realm="a"`), nil, 0, 7},
		{"token68, comma and a parameter", lines(`Bearer secret, realm="a"`), []durward.Challenge{{Scheme: "Bearer", Token68: "secret"}}, 0, 20},
		{"equals signs within a token68", lines("Bearer secret==s"), nil, 0, 14},
		{"not a token68", lines("Bearer se{cret}"), nil, 0, 7},
		{"no value", lines("Basic realm=, a=b"), []durward.Challenge{{Scheme: "Basic", Token68: "realm="}}, 0, 15},
		{"no value for the second", lines(`Basic realm="a", b=`), nil, 0, 19},
		{"no comma", lines(`Basic realm="a" b="c"`), nil, 0, 16},
		{"open quotes", lines(`Basic realm="secret`), nil, 0, 19},
		{"open quotes, the next line does not close them", lines(`Basic realm="sec`, `ret"`), nil, 0, 16},
		{"a backslash at the end", lines(`Basic realm="secret\`), nil, 0, 20},
		{"a backslash before a control character", lines("Basic realm=\"secret\\\x01\""), nil, 0, 20},
		{"line feed in quotes", lines("Basic realm=\"secret\nX: y\""), nil, 0, 19},
		{"NUL in quotes", lines("Basic realm=\"secret\x00\""), nil, 0, 19},
		{"DEL in quotes", lines("Basic realm=\"secret\x7f\""), nil, 0, 19},
		{"line feed after a scheme", lines("Basic\n"), nil, 0, 5},
		{"an octet beyond ASCII for a scheme", lines("B\xe9"), nil, 0, 1},
		{"after one", lines(`Basic realm="a", Digest realm="secret`), []durward.Challenge{basic}, 0, 37},
		{"on the second line", lines(`Basic realm="a"`, `Digest realm="secret`), []durward.Challenge{basic}, 1, 20},
		{"on the third, of a challenge that began on the second", lines(`Basic realm="a"`, `Digest realm=b`, `nonce="secret`), []durward.Challenge{basic}, 2, 13},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := durward.ParseChallenges(c.lines)
			var at *durward.SyntaxError
			if !errors.As(err, &at) {
				t.Fatalf("%q: got %+v, %v, want a SyntaxError", c.lines, got, err)
			}
			if !cmp.Equal(got, c.done) || at.Line != c.line || at.Offset != c.offset {
				t.Errorf("%q:\ngot  %+v, %v\nwant %+v, field line %d, octet %d", c.lines, got, err, c.done, c.line, c.offset)
			}
			if at.Reason == "" || strings.Contains(err.Error(), "secret") {
				t.Errorf("%q: the error gives no reason or tells what stands there: %v", c.lines, err)
			}
		})
	}
}

var credentialsCases = []struct {
	name string
	line string
	want durward.Credentials
}{
	{"RFC 7617 s2", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", durward.Credentials{Scheme: "Basic", Token68: "QWxhZGRpbjpvcGVuIHNlc2FtZQ=="}},
	{"RFC 7617 s2.1", "Basic dGVzdDoxMjPCow==", durward.Credentials{Scheme: "Basic", Token68: "dGVzdDoxMjPCow=="}},
	{"RFC 6750 s2.1", "Bearer mF_9.B5f-4.1JqM", durward.Credentials{Scheme: "Bearer", Token68: "mF_9.B5f-4.1JqM"}},
	{"RFC 9449 s7.1", "DPoP Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU", durward.Credentials{Scheme: "DPoP", Token68: "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"}},
	{"RFC 7616 s3.9.1", `Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", algorithm=MD5, nonce="` + digestNonce + `", nc=00000001, cnonce="` + digestCnonce + `", qop=auth, response="8ca523f5e9506fed4657c9700eebdbec", opaque="` + digestOpaque + `"`,
		durward.Credentials{Scheme: "Digest", Params: params("username", "Mufasa", "realm", "http-auth@example.org", "uri", "/dir/index.html", "algorithm", "MD5", "nonce", digestNonce, "nc", "00000001",
			"cnonce", digestCnonce, "qop", "auth", "response", "8ca523f5e9506fed4657c9700eebdbec", "opaque", digestOpaque)}},
	{"RFC 7616 s3.4, username*", `Digest username*=UTF-8''J%C3%A4s%C3%B8n%20Doe, userhash=false`,
		durward.Credentials{Scheme: "Digest", Params: params("username*", "UTF-8''J%C3%A4s%C3%B8n%20Doe", "userhash", "false")}},
	{"case", "bEaReR t", durward.Credentials{Scheme: "bEaReR", Token68: "t"}},
	{"a scheme alone", "Negotiate", durward.Credentials{Scheme: "Negotiate"}},
	{"a scheme and a blank", "Bearer ", durward.Credentials{Scheme: "Bearer"}},
	{"blanks", "  Bearer   t\t ", durward.Credentials{Scheme: "Bearer", Token68: "t"}},
	{"a list may end in commas", `Digest a=b , ,`, durward.Credentials{Scheme: "Digest", Params: params("a", "b")}},
}

func TestParseCredentials(t *testing.T) {
	t.Parallel()
	for _, c := range credentialsCases {
		got, err := durward.ParseCredentials(c.line)
		if err != nil || !cmp.Equal(got, c.want) {
			t.Errorf("%s: %q:\ngot  %+v, %v\nwant %+v", c.name, c.line, got, err, c.want)
		}
	}
	for _, c := range []struct {
		name, line string
		offset     int
	}{
		{"empty", "", 0},
		{"blanks alone", " \t ", 3},
		{"a comma alone", ",", 0},
		{"an empty member before", ", Bearer secret", 0},
		{"two words", "Bearer secret secret2", 7},
		{"two tokens", "Bearer secret,secret2", 13},
		{"a comma after a token", "Bearer secret,", 13},
		{"two credentials", "Bearer secret, Bearer secret2", 13},
		{"a comma after the scheme", "Bearer ,", 7},
		{"parameters and another scheme", `Digest a="b", Basic secret`, 14},
		{"a tab after the scheme", "Bearer\tsecret", 7},
		{"characters outside token68", "Bearer sec!ret@", 7},
		{"octets beyond ASCII", "Bearer secret\xe9", 7},
		{"NUL", "Bearer secret\x00", 7},
		{"two lines", "Bearer secret\r\nX: y", 7},
		{"open quotes", `Digest username="secret`, 23},
	} {
		got, err := durward.ParseCredentials(c.line)
		var at *durward.SyntaxError
		if !errors.As(err, &at) || at.Line != 0 || at.Offset != c.offset || strings.Contains(fmt.Sprint(err), "secret") {
			t.Errorf("%s: %q: got %v, want a SyntaxError at octet %d that does not tell the secret", c.name, c.line, err, c.offset)
		}
		if !cmp.Equal(got, durward.Credentials{}) {
			t.Errorf("%s: %q: got %+v with the error, want nothing", c.name, c.line, got)
		}
	}
}

var authInfoCases = []struct {
	name  string
	lines []string
	want  []durward.Param
}{
	{"RFC 7616 s3.5", lines(`rspauth="6629fae49393a05397450978507c4ef1", qop=auth, nc=00000001, cnonce="0a4f113b"`),
		params("rspauth", "6629fae49393a05397450978507c4ef1", "qop", "auth", "nc", "00000001", "cnonce", "0a4f113b")},
	{"no line", nil, nil},
	{"empty members", lines("", " ,, ", `nextnonce="n"`, "", ","), params("nextnonce", "n")},
	{"over two lines", lines(`nextnonce="a, b"`, "NC = 1, nc=2"), params("nextnonce", "a, b", "NC", "1", "nc", "2")},
}

func TestParseAuthInfo(t *testing.T) {
	t.Parallel()
	for _, c := range authInfoCases {
		for _, given := range [][]string{c.lines, {strings.Join(c.lines, ", ")}} {
			got, err := durward.ParseAuthInfo(given)
			if err != nil || !cmp.Equal(got, c.want) {
				t.Errorf("%s: %q:\ngot  %+v, %v\nwant %+v", c.name, given, got, err, c.want)
			}
		}
	}
	for _, c := range []struct {
		name         string
		lines        []string
		done         []durward.Param
		line, offset int
	}{
		{"a scheme", lines(`Digest nextnonce="n"`), nil, 0, 7},
		{"no name", lines(`a=1, ="n"`), params("a", "1"), 0, 5},
		{"a name alone", lines("a=1", "nextnonce"), params("a", "1"), 1, 9},
		{"no value", lines("a=1, b="), params("a", "1"), 0, 7},
		{"no comma", lines("a=1, b=2 c=3"), params("a", "1"), 0, 9},
		{"open quotes", lines(`a="1`), nil, 0, 4},
		{"257 parameters", lines(strings.Repeat("a=1,", 257)), slices.Repeat(params("a", "1"), 256), 0, 1024},
	} {
		got, err := durward.ParseAuthInfo(c.lines)
		var at *durward.SyntaxError
		if !errors.As(err, &at) || at.Line != c.line || at.Offset != c.offset || !cmp.Equal(got, c.done, cmpopts.EquateEmpty()) {
			t.Errorf("%s: %q:\ngot  %+v, %v\nwant %+v, field line %d, octet %d", c.name, c.lines, got, err, c.done, c.line, c.offset)
		}
	}
}

func TestParam(t *testing.T) {
	t.Parallel()
	list := params("Realm", "first", "realm", "second", "empty", "")
	for _, c := range []struct {
		name, want string
		ok         bool
	}{{"realm", "first", true}, {"REALM", "first", true}, {"empty", "", true}, {"charset", "", false}, {"", "", false}} {
		if got, ok := (durward.Challenge{Params: list}).Param(c.name); got != c.want || ok != c.ok {
			t.Errorf("challenge, %q: got %q, %v, want %q, %v", c.name, got, ok, c.want, c.ok)
		}
		if got, ok := (durward.Credentials{Params: list}).Param(c.name); got != c.want || ok != c.ok {
			t.Errorf("credentials, %q: got %q, %v, want %q, %v", c.name, got, ok, c.want, c.ok)
		}
	}
}

func TestString(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		of   fmt.Stringer
		want string
	}{
		{durward.Challenge{Scheme: "Negotiate"}, "Negotiate"},
		{durward.Challenge{Scheme: "Negotiate", Token68: "YII="}, "Negotiate YII="},
		{durward.Challenge{Scheme: "Basic", Params: params("realm", "a", "charset", "UTF-8")}, `Basic realm="a", charset="UTF-8"`},
		{durward.Challenge{Scheme: "Basic", Params: params("realm", "\"\\\t\xe9,")}, "Basic realm=\"\\\"\\\\\t\xe9,\""},
		// RFC 7616 s3.3 and s3.4: which values stand in quotes differs between the two.
		{durward.Challenge{Scheme: "Digest", Params: params("realm", "a", "qop", "auth", "Algorithm", "SHA-256", "stale", "true", "charset", "UTF-8", "userhash", "true", "nonce", "n", "opaque", "o", "domain", "/")},
			`Digest realm="a", qop="auth", Algorithm=SHA-256, stale=true, charset=UTF-8, userhash=true, nonce="n", opaque="o", domain="/"`},
		{durward.Credentials{Scheme: "digest", Params: params("username", "u", "qop", "auth", "algorithm", "MD5", "nc", "00000001", "userhash", "false", "username*", "UTF-8''u", "charset", "UTF-8", "response", "r")},
			`digest username="u", qop=auth, algorithm=MD5, nc=00000001, userhash=false, username*=UTF-8''u, charset="UTF-8", response="r"`},
		{durward.Challenge{Scheme: "Digest", Params: params("algorithm", "a b", "stale", "")}, `Digest algorithm="a b", stale=""`},
		{durward.Challenge{Scheme: "Basic", Params: params("algorithm", "MD5")}, `Basic algorithm="MD5"`},
		{durward.Credentials{Scheme: "Bearer", Token68: "t"}, "Bearer t"},
	} {
		if got := c.of.String(); got != c.want {
			t.Errorf("%#v:\ngot  %s\nwant %s", c.of, got, c.want)
		}
	}
}

// An invalid value is never sent, above all one that would split the field.
func TestValid(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		of      durward.Challenge
		mistake string // in the error; empty for none
	}{
		{"alone", durward.Challenge{Scheme: "Negotiate"}, ""},
		{"token68", durward.Challenge{Scheme: "Negotiate", Token68: "a+/="}, ""},
		{"parameters", durward.Challenge{Scheme: "Basic", Params: params("realm", "\t \"\\\xff~")}, ""},
		{"no scheme", durward.Challenge{}, "the scheme"},
		{"blank in the scheme", durward.Challenge{Scheme: "a b"}, "the scheme"},
		{"line feed in the scheme", durward.Challenge{Scheme: "Basic\r\nX: y"}, "the scheme"},
		{"both", durward.Challenge{Scheme: "A", Token68: "t", Params: params("a", "b")}, "a token68 and parameters"},
		{"equals signs alone", durward.Challenge{Scheme: "A", Token68: "=="}, "token68"},
		{"equals sign within", durward.Challenge{Scheme: "A", Token68: "a=b"}, "token68"},
		{"line feed in the token68", durward.Challenge{Scheme: "A", Token68: "a\n"}, "token68"},
		{"comma in the token68", durward.Challenge{Scheme: "A", Token68: "a,b"}, "token68"},
		{"no name", durward.Challenge{Scheme: "A", Params: params("", "b")}, "the name"},
		{"equals sign in a name", durward.Challenge{Scheme: "A", Params: params("a=", "b")}, "the name"},
		{"line feed in a value", durward.Challenge{Scheme: "A", Params: params("realm", "b\nX: y")}, "parameter realm"},
		{"carriage return in the second value", durward.Challenge{Scheme: "A", Params: params("a", "b", "c", "\r")}, "parameter c"},
		{"NUL in a value", durward.Challenge{Scheme: "A", Params: params("realm", "\x00")}, "parameter realm"},
		{"DEL in a value", durward.Challenge{Scheme: "A", Params: params("realm", "\x7f")}, "parameter realm"},
	} {
		for kind, of := range map[string]interface {
			Valid() error
			String() string
		}{"challenge": c.of, "credentials": durward.Credentials(c.of)} {
			err := of.Valid()
			if c.mistake == "" {
				if err != nil || of.String() == "" {
					t.Errorf("%s, %s: got %v and %q, want it valid", c.name, kind, err, of)
				}
				continue
			}
			if err == nil || !strings.Contains(err.Error(), c.mistake) || of.String() != "" {
				t.Errorf("%s, %s: got %v and %q, want an error that names %q and nothing to send", c.name, kind, err, of, c.mistake)
			}
		}
	}
}

// TestHostile parses hostile input. With quadratic behaviour the test would run for hours;
// allocations are counted.
func TestHostile(t *testing.T) {
	const mib = 1 << 20
	full := func(s string) string { return strings.Repeat(s, mib/len(s)) }
	for _, c := range []struct {
		name  string
		lines []string
		fails bool
	}{
		{"commas", lines(full(",")), false},
		{"commas after a scheme", lines("A " + full(",")[2:]), false},
		{"commas after a parameter", lines("A a=b" + full(",")[5:]), false},
		{"blanks", lines(full(" ")), false},
		{"a=", lines(full("a=")), true},
		{"a= of a scheme", lines("A " + full("a=")[2:]), true},
		{"a=b,", lines("A " + full("a=b,")[4:]), true},
		{"equals signs", lines("A a" + full("=")[3:]), false},
		{"equals signs, then not", lines("A a" + full("=")[4:] + "!"), true},
		{"one scheme", lines(full("a")), false},
		{"one token68", lines("A " + full("a")[2:]), false},
		{"two token68", lines("A " + full("a")[4:] + " a"), true},
		{"open quotes", lines(`A a="` + full("a")[5:]), true},
		{"backslashes", lines(`A a="` + full(`\\`)[6:] + `"`), false},
		{"quotes in quotes", lines(`A a="` + full(`\"`)[6:] + `"`), false},
		{"quotes after quotes", lines(`A a=` + full(`"`)[4:]), true},
		{"schemes", lines(full("A,")), true},
		{"schemes and blanks", lines(full("A ,")), true},
		{"10,000 challenges", lines(strings.Repeat(`Basic realm="a", `, 10_000)), true},
		{"10,000 lines", slices.Repeat(lines(`Basic realm="a"`), 10_000), true},
		{"1,000,000 empty lines", make([]string, 1_000_000), false},
		{"1,000,000 lines of a comma", strings.SplitAfter(strings.Repeat(",", 1_000_000), ","), false},
		{"over 1 MiB", lines(full("a"), "a"), true},
		{"invalid UTF-8", lines("A a=\"" + full("\xff")[6:] + `"`), false},
		{"256 challenges of 4 parameters", lines(strings.Repeat("A a=1,b=2,c=3,d=4,", 256)), false},
		{"257 challenges", lines(strings.Repeat("A,", 257)), true},
		{"257 parameters", lines("A " + strings.Repeat("a=1,", 257)), true},
		{"256 parameters", lines("A " + strings.Repeat("a=1,", 256)), false},
		{"1025 parameters", lines(strings.Repeat("A "+strings.Repeat("a=1,", 205), 5)), true},
	} {
		size := 0
		for _, l := range c.lines {
			size += len(l)
		}
		for parser, parse := range map[string]func() error{
			"challenges":  func() error { _, err := durward.ParseChallenges(c.lines); return err },
			"credentials": func() error { _, err := durward.ParseCredentials(c.lines[0]); return err },
			"auth info":   func() error { _, err := durward.ParseAuthInfo(c.lines); return err },
		} {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := parse()
			runtime.ReadMemStats(&after)
			var at *durward.SyntaxError
			if err != nil && !errors.As(err, &at) {
				t.Errorf("%s, %s: got %v, want a SyntaxError", c.name, parser, err)
			}
			if parser == "challenges" && (err != nil) != c.fails {
				t.Errorf("%s: got %v, want an error: %v", c.name, err, c.fails)
			}
			if got, most := after.TotalAlloc-before.TotalAlloc, uint64(2*size+128<<10); got > most {
				t.Errorf("%s, %s: %d octets allocated for %d of input, want at most %d", c.name, parser, got, size, most)
			}
		}
	}
}

// The parts of a token68 share memory with the line.
func TestParseCredentialsAllocates(t *testing.T) {
	line := "Bearer " + strings.Repeat("eyJhbGciOiJFUzI1NiJ9.", 40)
	if n := testing.AllocsPerRun(100, func() {
		if c, err := durward.ParseCredentials(line); err != nil || len(c.Token68) != len(line)-7 {
			t.Fatalf("%q: %+v, %v", line, c, err)
		}
	}); n != 0 {
		t.Errorf("parsing a Bearer token allocates %v times, want none", n)
	}
}

// grammar is RFC 9110 s5.6 and s11 written again as regular expressions, in
// runes that stand for octets. lineEnd stands where one field line ends and the
// next begins: a comma of the list, but nothing that a quoted string may hold.
var (
	challengeGrammar, credentialsGrammar, authInfoGrammar = grammar()
	lineEnd                                               = "\u0100"
)

func grammar() (challenges, credentials, authInfo *regexp.Regexp) {
	const (
		ows     = `[ \t]*`
		token   = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]+"
		text    = `[\t !#-\[\]-~\x{80}-\x{ff}]`
		quoted  = `"(?:` + text + `|\\[\t -~\x{80}-\x{ff}])*"`
		param   = token + ows + `=` + ows + `(?:` + token + `|` + quoted + `)`
		token68 = `[0-9A-Za-z\-._~+/]+=*`
		comma   = ows + `[,\x{100}]`
		params  = `(?:` + comma + `)*` + ows + param + `(?:` + comma + `(?:` + ows + param + `)?)*`
		one     = token + `(?: +(?:` + token68 + `|` + params + `|))?`
		list    = ows + `(?:` + one + `)?(?:` + comma + ows + `(?:` + one + `)?)*` + ows
	)
	return regexp.MustCompile(`^` + list + `$`),
		regexp.MustCompile(`^` + ows + token + `(?: +(?:` + token68 + `|` + params + `|))?` + ows + `$`),
		regexp.MustCompile(`^` + ows + `(?:` + param + `)?(?:` + comma + ows + `(?:` + param + `)?)*` + ows + `$`)
}

// octets spells lines in the runes that the grammar is written in.
func octets(lines []string) string {
	var b strings.Builder
	for i, l := range lines {
		if i > 0 {
			b.WriteString(lineEnd)
		}
		for _, c := range []byte(l) {
			b.WriteRune(rune(c))
		}
	}
	return b.String()
}

// atBound reports whether err is about a limit, which is not part of the grammar.
func atBound(err error) bool {
	var at *durward.SyntaxError
	return errors.As(err, &at) && (strings.Contains(at.Reason, "more than") || strings.Contains(at.Reason, "too many") || strings.Contains(at.Reason, "over "))
}

// FuzzParseChallenges: the parser accepts exactly the grammar, the lines are one list, and its
// result can be formatted and parsed again.
func FuzzParseChallenges(f *testing.F) {
	for _, c := range challengeCases {
		f.Add(strings.Join(c.lines, "\n"))
	}
	for _, s := range []string{`Basic realm="a" b`, "A a==b", `A "`, "A \t,b=c", "A a=b\n\n,c=\"\\", "A b =\nc", "A =", "A a =", "A , b,c=d", "A a, b=c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, field string) {
		given := strings.Split(field, "\n")
		got, err := durward.ParseChallenges(given)
		if atBound(err) {
			return
		}
		if fits := challengeGrammar.MatchString(octets(given)); fits != (err == nil) {
			t.Fatalf("%q: got %+v, %v; by the grammar it fits: %v", given, got, err, fits)
		}
		if err == nil {
			joined, err := durward.ParseChallenges(lines(strings.Join(given, ", ")))
			if err != nil || !cmp.Equal(joined, got) {
				t.Fatalf("%q in one line:\ngot  %+v, %v\nwant %+v", given, joined, err, got)
			}
		}
		sendable(t, got)
	})
}

// sendable demands that each of list is valid and that all are read back as they
// are, on lines of their own and on one.
func sendable(t *testing.T, list []durward.Challenge) {
	t.Helper()
	var sent []string
	for _, c := range list {
		if err := c.Valid(); err != nil {
			t.Fatalf("%+v was read and is not valid: %v", c, err)
		}
		sent = append(sent, c.String())
	}
	for _, given := range [][]string{sent, {strings.Join(sent, ", ")}} {
		if got, err := durward.ParseChallenges(given); err != nil || !cmp.Equal(got, list, cmpopts.EquateEmpty()) {
			t.Fatalf("%+v was sent as %q\nand is read as %+v, %v", list, given, got, err)
		}
	}
}

// FuzzParseCredentials: the parser accepts exactly the grammar; accepted credentials are also a
// list of one challenge, and can be formatted and parsed again.
func FuzzParseCredentials(f *testing.F) {
	for _, c := range credentialsCases {
		f.Add(c.line)
	}
	for _, s := range []string{"", "Bearer a, Bearer b", "Bearer a b", "Bearer\ta", "Bearer \t", `Digest a="b`, "Bearer ,", "A \t,b=c,", "A a = b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		got, err := durward.ParseCredentials(line)
		if atBound(err) {
			return
		}
		if fits := credentialsGrammar.MatchString(octets(lines(line))); fits != (err == nil) {
			t.Fatalf("%q: got %+v, %v; by the grammar it fits: %v", line, got, err, fits)
		}
		if err != nil {
			if !cmp.Equal(got, durward.Credentials{}) {
				t.Fatalf("%q: got %+v with %v", line, got, err)
			}
			return
		}
		if list, err := durward.ParseChallenges(lines(line)); err != nil || len(list) != 1 || !cmp.Equal(list[0], durward.Challenge(got)) {
			t.Fatalf("%q: as credentials %+v, as challenges %+v, %v", line, got, list, err)
		}
		if err := got.Valid(); err != nil {
			t.Fatalf("%q: %+v was read and is not valid: %v", line, got, err)
		}
		if again, err := durward.ParseCredentials(got.String()); err != nil || !cmp.Equal(again, got) {
			t.Fatalf("%q: sent again as %q\ngot  %+v, %v\nwant %+v", line, got.String(), again, err, got)
		}
	})
}

// FuzzParseAuthInfo: the parser accepts exactly the grammar, and reads parameters like those of a
// challenge.
func FuzzParseAuthInfo(f *testing.F) {
	for _, c := range authInfoCases {
		f.Add(strings.Join(c.lines, "\n"))
	}
	for _, s := range []string{"a", "a=", `a="`, "a=b c=d", "a=b\nc = d,,", `a="\"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, field string) {
		given := strings.Split(field, "\n")
		got, err := durward.ParseAuthInfo(given)
		if atBound(err) {
			return
		}
		if fits := authInfoGrammar.MatchString(octets(given)); fits != (err == nil) {
			t.Fatalf("%q: got %+v, %v; by the grammar it fits: %v", given, got, err, fits)
		}
		if len(got) == 0 {
			return
		}
		c := durward.Challenge{Scheme: "A", Params: got}
		if list, err := durward.ParseChallenges(lines(c.String())); err != nil || len(list) != 1 || !cmp.Equal(list[0], c) {
			t.Fatalf("%q: %+v was read, sent as %q and read as %+v, %v", given, got, c, list, err)
		}
	})
}

// FuzzFormat: a valid value parses back to an equal one, alone and in a list; an invalid one is
// never formatted; no value splits a field.
func FuzzFormat(f *testing.F) {
	f.Add("Basic", "", "realm", "WallyWorld", "charset", "UTF-8", uint8(2))
	f.Add("Digest", "", "algorithm", "MD5", "stale", "a\\b\"c\xff", uint8(2))
	f.Add("Negotiate", "YII=", "", "", "", "", uint8(0))
	f.Add("Bearer", "", "error", "a\nX: y", "", "", uint8(1))
	f.Add("A", "=", "b", "", "", "", uint8(1))
	f.Fuzz(func(t *testing.T, scheme, token68, name1, value1, name2, value2 string, n uint8) {
		c := durward.Challenge{Scheme: scheme, Token68: token68, Params: params(name1, value1, name2, value2)[:min(n, 2):2]}
		sent := c.String()
		if err := c.Valid(); err != nil {
			if sent != "" || durward.Credentials(c).String() != "" {
				t.Fatalf("%+v: sent as %q though %v", c, sent, err)
			}
			return
		}
		if strings.ContainsAny(sent, "\r\n\x00") {
			t.Fatalf("%+v: sent as %q", c, sent)
		}
		if len(sent) > 1<<19 {
			return // three of them would be over the bound of a field
		}
		sendable(t, []durward.Challenge{{Scheme: "Negotiate"}, c, {Scheme: "Basic", Params: params("realm", "a")}, c, {Scheme: "A", Token68: "a="}})
		if got, err := durward.ParseCredentials(durward.Credentials(c).String()); err != nil || !cmp.Equal(got, durward.Credentials(c), cmpopts.EquateEmpty()) {
			t.Fatalf("%+v: sent as %q, read as %+v, %v", c, durward.Credentials(c).String(), got, err)
		}
	})
}
