package doctor

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// markedSecrets are secrets of several forms: a password of words, one with signs that mean something in an address, a
// key of digits and letters, a JWT and what a generator of passwords makes. core is a part that no output has.
var markedSecrets = []struct{ secret, core string }{
	{"s3cr3t-marker", "cr3t-mark"},
	{"wobblymarmot", "blymarm"},
	{"Zq7mX2kR9vT4wB8nL5cJ3hG6dF1s", "kR9vT4wB"},
	{"Xk9$w!marmot#7Lq", "!marmot"},
}

// markedLines are lines of configurations, programs, commands and logs that hold a secret in place of SECRET, its Basic form
// with a user in place of BASIC, and in base64 in place of BASE64.
var markedLines = []string{
	// Files that keep credentials.
	"machine api.example.com login ada password SECRET",
	"default login ada password SECRET",
	"//registry.example.com/:_authToken=SECRET",
	"//registry.example.com/:_auth=BASE64",
	"//registry.example.com/:_password=SECRET",
	"_auth = BASE64",
	"https://ada:SECRET@api.example.com",
	"https://SECRET@api.example.com/x.git",
	"https://api.example.com/?api_key=SECRET",
	`{"auths": {"api.example.com": {"auth": "BASE64"}}}`,
	`{"auths": {"api.example.com": {"username": "ada", "password": "SECRET", "identitytoken": "SECRET"}}}`,
	`  "api.example.com": {"auth": "BASE64"},`,
	`credentials "api.example.com" { token = "SECRET" }`,
	`TF_TOKEN_api_example_com=SECRET`,
	`export CARGO_REGISTRIES_MINE_TOKEN=SECRET`,
	`POETRY_HTTP_BASIC_MINE_PASSWORD=SECRET`,
	`UV_INDEX_MINE_PASSWORD=SECRET`,
	`[registry.configs."api.example.com".auth] password = "SECRET"`,
	`<server><id>mine</id><username>ada</username><password>SECRET</password></server>`,
	`<add key="ClearTextPassword" value="SECRET" />`,
	`npmAuthToken: SECRET`,
	`npmAuthIdent: "ada:SECRET"`,
	`poetry config http-basic.mine ada SECRET`,
	`kubectl create secret docker-registry r --docker-server=api.example.com --docker-username=ada --docker-password=SECRET`,
	`"matchHost": "api.example.com", "token": "SECRET"`,
	`[registries.mine] token = "SECRET"`,
	`ada:$apr1$abcd1234$SECRET`,
	`ada:{SHA}SECRET`,
	`username=ada password=SECRET`,
	`.npmrc: //api.example.com/:_authToken=SECRET`,
	// Commands.
	"$ curl -u ada:SECRET https://api.example.com/x",
	"curl -uada:SECRET https://api.example.com/x",
	"curl --user ada:SECRET https://api.example.com/x",
	"curl --user 'ada:SECRET' https://api.example.com/x",
	"curl -x http://ada:SECRET@proxy.example:3128 https://api.example.com/x",
	"curl --proxy-user ada:SECRET https://api.example.com/x",
	"curl -H 'X-Auth-Token: SECRET' https://api.example.com/x",
	"curl -H 'Authorization: Bearer SECRET' https://api.example.com/x",
	"curl -H 'Authorization: BASIC' https://api.example.com/x",
	"curl --oauth2-bearer SECRET https://api.example.com/x",
	"curl -b session=SECRET https://api.example.com/x",
	"curl --cookie 'sid=SECRET' https://api.example.com/x",
	"curl -d '{\"password\":\"SECRET\"}' https://api.example.com/login",
	"wget --user=ada --password=SECRET https://api.example.com/x",
	"wget --http-password=SECRET https://api.example.com/x",
	"http -a ada:SECRET https://api.example.com/x",
	"http api.example.com/x Authorization:'Bearer SECRET'",
	"docker login -u ada -p SECRET api.example.com",
	"docker login --username ada --password SECRET api.example.com",
	"helm repo add mine https://api.example.com --username ada --password SECRET --pass-credentials",
	"npm config set //api.example.com/:_authToken SECRET",
	"git -c http.extraHeader='Authorization: Bearer SECRET' fetch",
	"az login --service-principal -u app -p SECRET --tenant x",
	"mysql -u ada -pSECRET -h db.example",
	"htpasswd -b .htpasswd ada SECRET",
	"vault login SECRET",
	"ldapsearch -x -D cn=ada -w SECRET",
	"sshpass -p SECRET ssh ada@api.example.com",
	"gh auth login --with-token SECRET",
	"export API_TOKEN=SECRET",
	"set API_KEY=SECRET",
	"$env:API_TOKEN = 'SECRET'",
	"setx API_TOKEN SECRET",
	// Source code.
	`requests.get("https://api.example.com/x", auth=("ada", "SECRET"))`,
	`requests.get(url, headers={"X-Auth-Token": "SECRET"})`,
	`requests.get(url, headers={"Authorization": "Bearer SECRET"})`,
	`requests.get(url, headers={"Authorization": "SECRET"})`,
	`auth = HTTPBasicAuth("ada", "SECRET")`,
	`session.auth = ("ada", "SECRET")`,
	`session.auth = HTTPDigestAuth('ada', 'SECRET')`,
	`headers["Authorization"] = "Bearer " + "SECRET"`,
	`headers: { Authorization: "Token SECRET" }`,
	"const headers = { 'Authorization': `Bearer SECRET` }",
	`fetch(url, { headers: { "X-Api-Key": "SECRET" }, mode: "no-cors" })`,
	`axios.get(url, { auth: { username: "ada", password: "SECRET" } })`,
	`req.SetBasicAuth("ada", "SECRET")`,
	`req.Header.Set("Authorization", "Bearer SECRET")`,
	`req.Header.Set("X-Auth-Token", "SECRET")`,
	`client.setBearerToken("SECRET")`,
	`client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", "SECRET");`,
	`client.DefaultRequestHeaders.Add("X-Api-Key", "SECRET");`,
	`handler.Credentials = new NetworkCredential("ada", "SECRET");`,
	`provider.setCredentials(AuthScope.ANY, new UsernamePasswordCredentials("ada", "SECRET"));`,
	`curl_setopt($ch, CURLOPT_USERPWD, "ada:SECRET");`,
	`curl_setopt($ch, CURLOPT_XOAUTH2_BEARER, "SECRET");`,
	`curl_setopt($ch, CURLOPT_HTTPHEADER, array("Authorization: Bearer SECRET"));`,
	`'http_auth' => ['ada', 'SECRET'],`,
	`$client->withToken('SECRET')->get($url);`,
	`Http::withBasicAuth('ada', 'SECRET')->get($url);`,
	`request.basic_auth("ada", "SECRET")`,
	`use_basic_auth("ada", "SECRET")`,
	`passman.add_password(None, url, "ada", "SECRET")`,
	`jwt.verify(token, "SECRET", { algorithms: ["HS256"] })`,
	`jwt.verify(token, 'SECRET', { audience: 'https://api.example.com' })`,
	`jwt.decode(token, "SECRET", algorithms=["RS256"])`,
	`secretOrKey: "SECRET",`,
	`JWT_SECRET=SECRET`,
	`jwt.secret.key: SECRET`,
	`TOKEN_SECRET = "SECRET"`,
	`app.use(session({ secret: "SECRET", cookie: { secure: true } }))`,
	`app.use(cookieParser("SECRET"))`,
	`new OAuth2Client("client", "SECRET")`,
	`client_id: "web", client_secret: "SECRET", issuer: "https://id.example.com"`,
	`issuer: "https://ada:SECRET@id.example.com/realms/x"`,
	`issuer = https://id.example.com/?client_secret=SECRET`,
	`audience: "https://api.example.com/?key=SECRET", token: "SECRET"`,
	`jwks_uri: https://ada:SECRET@id.example.com/jwks`,
	`public_key: SECRET`,
	`oidc-client-id: web, oidc-client-secret: SECRET`,
	`algorithms: ["HS256"], secret: "SECRET"`,
	`user_claim: email, client_secret: SECRET`,
	`allowed_groups: admin, client_secret: SECRET`,
	`var token = "SECRET"`,
	`let apiKey = 'SECRET';`,
	`api_key := "SECRET"`,
	`String password = "SECRET";`,
	`private static final String API_SECRET = "SECRET";`,
	`ApiKey="SECRET"`,
	`"ConnectionStrings": {"Default": "Server=db;User Id=ada;Password=SECRET;"}`,
	`DATABASE_URL=postgres://ada:SECRET@db.example/app`,
	`SENTRY_DSN=https://SECRET@sentry.example/42`,
	`dsn: "ada:SECRET@tcp(db.example:3306)/app"`,
	`AccountName=x;AccountKey=SECRET;EndpointSuffix=core.windows.net`,
	`SharedAccessKeyName=x;SharedAccessKey=SECRET`,
	`amqp://ada:SECRET@mq.example/`,
	`redis://:SECRET@cache.example:6379`,
	// Configurations of servers and front ends.
	`proxy_set_header Authorization "Bearer SECRET";`,
	`proxy_set_header Authorization "BASIC";`,
	`proxy_set_header X-Auth-Token SECRET;`,
	`RequestHeader set Authorization "Bearer SECRET"`,
	`header_up Authorization "Bearer SECRET"`,
	`- "traefik.http.middlewares.auth.basicauth.users=ada:$apr1$abcd1234$SECRET"`,
	`basicauth /x { ada SECRET }`,
	`basic_auth { ada $2a$14$SECRET }`,
	`      - POSTGRES_PASSWORD=SECRET`,
	`      POSTGRES_PASSWORD: SECRET`,
	`      - GF_SECURITY_ADMIN_PASSWORD=pa$SECRET`,
	`  clientSecret: SECRET`,
	`OAUTH2_PROXY_COOKIE_SECRET=SECRET`,
	`--client-secret=SECRET --cookie-secret SECRET --oidc-issuer-url=https://id.example.com`,
	`spring.security.oauth2.client.registration.x.client-secret=SECRET`,
	`spring.datasource.password=SECRET`,
	`bind_password = "SECRET"`,
	`olcRootPW: SECRET`,
	`requirepass SECRET`,
	`stringData: {password: SECRET}`,
	`data: {password: BASE64}`,
	`  password: BASE64`,
	`X-Auth-Token: SECRET`,
	`X-My-Session: SECRET`,
	`authorization: SECRET`,
	`Authorization: Bearer SECRET`,
	`Authorization: BASIC`,
	`Proxy-Authorization: BASIC`,
	`Cookie: sessionid=SECRET; theme=dark`,
	`Set-Cookie: sessionid=SECRET; Path=/; SameSite=Strict`,
	`response had Set-Cookie: sid=SECRET; Path=/admin`,
	`-----BEGIN PRIVATE KEY----- BASE64`,
	`MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7SECRET`,
	`private_key = "-----BEGIN RSA PRIVATE KEY-----\nSECRET\n-----END RSA PRIVATE KEY-----"`,
	// Logs.
	`level=warn msg="sign-in failed" user=ada password=SECRET`,
	`{"level":"warn","msg":"refused","token":"SECRET","password":"SECRET"}`,
	`{"headers":{"x-auth-token":"SECRET","authorization":"Bearer SECRET","cookie":"sid=SECRET"}}`,
	`{"headers":{"x-auth-token":["SECRET"],"authorization":["Bearer SECRET"],"cookie":["sid=SECRET"]}}`,
	`{"name":"Authorization","value":"Bearer SECRET"}`,
	`{"name":"X-Auth-Token","value":"SECRET"}`,
	`{"key":"password","value":"SECRET"}`,
	`DEBUG headers: {'Authorization': 'Bearer SECRET', 'X-Auth-Token': 'SECRET'}`,
	`DEBUG send: b'GET / HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: Bearer SECRET\r\n\r\n'`,
	`map[Authorization:[Bearer SECRET] X-Api-Key:[SECRET]]`,
	`10.0.0.1 - - [20/Nov/2026:10:00:00 +0000] "GET /x?token=SECRET HTTP/1.1" 401 12`,
	`10.0.0.1 - - "GET https://ada:SECRET@api.example.com/x HTTP/1.1" 401`,
	`302 from https://api.example.com/cb?code=SECRET to https://id.example.com/?token=SECRET`,
	`https://api.example.com/a?sig=SECRET 302 https://id.example.com/?access_token=SECRET`,
	`POST /login {"username":"ada","password":"SECRET"} 200`,
	`Could not resolve host: ada:SECRET@api.example.com`,
	`could not resolve host 'SECRET@api.example.com'`,
	`> Authorization: Bearer SECRET`,
	`< Set-Cookie: sid=SECRET`,
	`* Server auth using Basic with user 'ada' password 'SECRET'`,
	`user "ada" with password "SECRET" not found`,
}

// markedProse are lines in which a plain word is not told from a secret: only secrets with other signs are put in.
var markedProse = []string{
	`algorithm: HS256 # key SECRET`,
	`invalid API key provided: SECRET`,
	`Incorrect API key provided: SECRET. You can find your key at https://x.example`,
	`token SECRET is expired`,
	`the password is SECRET`,
	`password SECRET rejected for user ada`,
	`# the key is SECRET and the config has Authorization`,
	`token: SECRET works from the office`,
	`TOKEN is SECRET`,
	`http-request set-header Authorization "Bearer SECRET"`,
}

// markedFrames are inputs of each kind that a line stands in, in place of LINE.
var markedFrames = []struct{ name, text string }{
	{"text", "LINE\n"},
	{"log", "2026-11-20 10:07:12 request refused with 401\nLINE\n"},
	{"below an exchange", "GET /v1/items HTTP/1.1\nHost: api.example.com\n\nHTTP/1.1 401 Unauthorized\nDate: Fri, 20 Nov 2026 10:07:12 GMT\nContent-Length: 0\n\nLINE\n"},
	{"below an exchange with a token", "GET /v1/items HTTP/1.1\nHost: registry.npmjs.org\nUser-Agent: npm/10\nAuthorization: Bearer JWT\n\nHTTP/1.1 401 Unauthorized\nDate: Fri, 20 Nov 2026 10:07:12 GMT\nWWW-Authenticate: Bearer error=\"invalid_token\"\n\n\nLINE\n"},
	{"above an exchange", "LINE\n\nGET /v1/items HTTP/1.1\nHost: api.example.com\nAuthorization: Basic <password>\n\nHTTP/1.1 401 Unauthorized\nWWW-Authenticate: Basic realm=\"x\"\n\n"},
	{"body", "POST /v1/items HTTP/1.1\nHost: api.example.com\n\nHTTP/1.1 401 Unauthorized\nDate: Fri, 20 Nov 2026 10:07:12 GMT\nContent-Type: text/plain\n\nLINE"},
	{"body of the request", "POST /token HTTP/1.1\nHost: api.example.com\nContent-Type: text/plain\n\nLINE\n\nHTTP/1.1 401 Unauthorized\nContent-Length: 0\n\n"},
	{"transcript", "$ cat config\nLINE\n$ curl -i https://api.example.com/v1/items\nHTTP/1.1 401 Unauthorized\nContent-Length: 0\n\n$ tail log\nLINE\n"},
	{"mark of a person", "GET /v1/items HTTP/1.1\nHost: api.example.com\nAuthorization: Bearer <token: LINE>\n\nHTTP/1.1 401 Unauthorized\nContent-Length: 0\n\n"},
	{"history", "GET /a HTTP/1.1\nHost: api.example.com\n\nHTTP/1.1 200 OK\n\nLINE\n\nGET /b HTTP/1.1\nHost: api.example.com\n\nHTTP/1.1 403 Forbidden\nContent-Length: 0\n\n"},
	{"HAR", "HAR"},
}

// markedInput returns a frame with a line.
func markedInput(frame, line string) string {
	if frame != "HAR" {
		return strings.NewReplacer("LINE", line, "JWT", markedJWT).Replace(frame)
	}
	text, _ := json.Marshal(line)
	return fmt.Sprintf(`{"log":{"version":"1.2","entries":[{"startedDateTime":"2026-11-20T10:07:12Z","comment":%s,"request":{"method":"POST","url":"https://api.example.com/x","httpVersion":"HTTP/1.1","headers":[{"name":"X-Note","value":%s}],"cookies":[],"postData":{"mimeType":"text/plain","text":%s}},"response":{"status":401,"statusText":"no","httpVersion":"HTTP/1.1","headers":[{"name":"X-Reason","value":%s}],"content":{"mimeType":"text/plain","text":%s}}}]}}`, text, text, text, text, text)
}

var markedJWT = base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","kid":"a"}`)) + "." +
	base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"https://id.example.com","aud":"x","exp":1795000000,"iat":1763600000}`)) + ".c2lnbmF0dXJl"

// shownOf returns all that leaves the package for a case: each fact, reported or not, the report as JSON, as text and for an
// issue, and the trace.
func shownOf(c *Case) string {
	var trace []string
	var b strings.Builder
	r := Diagnose(c, At(testTime), WithTrace(&trace))
	d := &diagnosis{now: testTime, evidence: gather(c, testTime)}
	d.derive()
	for _, f := range d.list {
		fmt.Fprintf(&b, "%s at %s: %s\n", f.ID, f.At, f.Text)
	}
	octets, _ := json.Marshal(r)
	b.Write(octets)
	fmt.Fprintln(&b, strings.Join(trace, "\n"))
	fmt.Fprintln(&b, r.Text(Style{Width: 80}))
	fmt.Fprintln(&b, r.Markdown(true))
	return b.String()
}

// TestMarkedLines puts a secret in every kind of line that the doctor reads, in every kind of input, and looks for it in all
// that the doctor shows.
func TestMarkedLines(t *testing.T) {
	t.Parallel()
	for k, f := range markedFrames {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			for i, line := range append(slices.Clone(markedLines), markedProse...) {
				for j, s := range markedSecrets {
					if os.Getenv("DURWARD_ALL") == "" && j != (i+k)%len(markedSecrets) { // all of them take a minute
						continue
					}
					if i >= len(markedLines) && onlyWords.MatchString(s.secret) {
						continue
					}
					inBasic := base64.StdEncoding.EncodeToString([]byte("ada:" + s.secret))
					text := strings.NewReplacer("SECRET", s.secret, "BASIC", "Basic "+inBasic, "BASE64", inBasic).Replace(line)
					c, err := Read(strings.NewReader(markedInput(f.text, text)), Options{})
					if err != nil {
						continue
					}
					shown := shownOf(c)
					for _, core := range []string{s.core, inBasic[4:14]} {
						if i := strings.Index(shown, core); i >= 0 {
							t.Errorf("the line %q shows the secret: %q", text, shown[max(0, i-110):min(len(shown), i+30)])
							break
						}
					}
				}
			}
		})
	}
}
