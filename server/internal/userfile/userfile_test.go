package userfile

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward/internal/pwhash"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// read returns the rows of a file, one line each.
func read(t testing.TB, text string, c Config) (string, error) {
	t.Helper()
	c.Now = now
	var got strings.Builder
	err := Read(strings.NewReader(text), c, func(r Row) error {
		fmt.Fprintln(&got, r.Unit, r.Number, r.User.Email, r.User.Hash, r.User.Name, r.User.Admin, r.User.Locked, r.Fault)
		return nil
	})
	return got.String(), err
}

// A byte order mark is ignored, and a line with a mistake keeps no other out.
func TestRead(t *testing.T) {
	t.Parallel()
	long := `{"email":"` + strings.Repeat("x", 2*maxLine) + `"}` + "\n"
	for _, c := range []struct{ name, text, want string }{
		{"CSV of Excel: read", "\ufeffemail,hash\r\nada@example.com,x\r\n", "line 2 ada@example.com x  false false <nil>\n"},
		{"CSV with all columns: read", "hash,email,locked,admin,name\nx,a,true,1,Ada\n", "line 2 a x Ada true true <nil>\n"},
		{
			"CSV with mistakes: faults of their lines", "email,hash,admin\na,x,perhaps\nb\nc,y,\n",
			"line 2 a x  false false admin is neither true nor false\nline 3    false false wrong number of fields\nline 4 c y  false false <nil>\n",
		},
		{"JSON with a byte order mark: read", "\ufeff{\"email\":\"ada@example.com\"}\n", "line 1 ada@example.com   false false <nil>\n"},
		{
			"unknown member: a fault of that line", `{"email":"a","password":"secret"}` + "\n" + `{"email":"b","hash":"x"}`,
			"line 1    false false not a JSON object with the members email, hash, name, admin, locked\nline 2 b x  false false <nil>\n",
		},
		{
			"long line: a fault of that line", "{\"email\":\"a\"}\n" + long + "\n{\"email\":\"b\"}",
			"line 1 a   false false <nil>\nline 2    false false the line is longer than 65536 octets\nline 4 b   false false <nil>\n",
		},
	} {
		if got, err := read(t, c.text, Config{}); err != nil || got != c.want {
			t.Errorf("%s: got %q, %v, want %q", c.name, got, err, c.want)
		}
	}
	for name, c := range map[string]struct {
		text   string
		config Config
	}{
		"another CSV":                  {"user,password\nada,secret\n", Config{}},
		"a column too many":            {"email,hash,password\nada,x,secret\n", Config{}},
		"an empty file":                {"", Config{}},
		"an unknown format":            {"{}", Config{Format: "okta"}},
		"Firebase without parameters":  {"{}", Config{Format: "firebase"}},
		"Keycloak without users":       {`{"realm":"x","clients":[{"secret":"secret"}]}`, Config{Format: "keycloak"}},
		"half a document":              {`{"users":[{"email":"a"},{"ema`, Config{Format: "keycloak"}},
		"no JSON":                      {`{"users":[secret]}`, Config{Format: "keycloak"}},
		"a number":                     {`7`, Config{Format: "auth0"}},
		"Supabase without its columns": {"email,hash\nada,secret\n", Config{Format: "supabase"}},
	} {
		if _, err := read(t, c.text, c.config); !errors.Is(err, ErrForm) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want ErrForm without a value", name, err)
		}
	}
}

const (
	salt16 = "MDEyMzQ1Njc4OWFiY2RlZg"
	sha256 = "yqSq2SygY1sB4EcH9f2FG0JTMES+wqLsOT5YmiRBplI" // PBKDF2 of SHA-256 with 1000 rounds

	// parameters and passwordHash are the sample of Firebase's documentation: user1password.
	parameters = `hash_config {
  algorithm: SCRYPT,
  base64_signer_key: jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==,
  base64_salt_separator: Bw==,
  rounds: 8,
  mem_cost: 14,
}`
	passwordHash = "lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ=="
)

// keycloakPassword returns a password of a realm's export.
func keycloakPassword(data, value string) string {
	return fmt.Sprintf(`{"id":"1","type":"password","createdDate":1,"secretData":%q,"credentialData":%q}`,
		fmt.Sprintf(`{"value":%q,"salt":"%s==","additionalParameters":{}}`, value, salt16), data)
}

// The exports of other products give users, with hashes that pwhash reads.
func TestProducts(t *testing.T) {
	t.Parallel()
	firebase, err := ParseFirebase(parameters)
	if err != nil {
		t.Fatal(err)
	}
	const bcryptOf = "$2b$10$EVTD5jzxRNGqIo5.afCf0uwnt25IRD16kxCN1mrpesG0Z10/EU7a2"
	argon := `{"hashIterations":5,"algorithm":"argon2","additionalParameters":{"hashLength":["32"],"memory":["7168"],"type":["id"],"version":["1.3"],"parallelism":["1"]}}`
	for _, c := range []struct {
		name, text string
		config     Config
		want       []string
	}{
		{
			"Auth0, one object per line: read",
			`{"_id":{"$oid":"1"},"email_verified":false,"email":"a@example.com","passwordHash":"` + bcryptOf + `","tenant":"t","_tmp_is_unique":true}` + "\n" +
				`{"_id":{"$oid":"2"},"passwordHash":"` + bcryptOf + `","identifiers":[{"type":"username","value":"b"},{"type":"email","value":"b@example.com"}]}` + "\n" +
				`{"user_id":"auth0|3","email":"c@example.com","name":"Cy","blocked":true}` + "\n",
			Config{Format: "auth0"},
			[]string{"a@example.com " + bcryptOf + "  false false", "b@example.com " + bcryptOf + "  false false", "c@example.com  Cy false true"},
		},
		{"Auth0, an array: read", `[{"email":"a@example.com","name":"a@example.com"}]`, Config{Format: "auth0"}, []string{"a@example.com   false false"}},
		{
			"Keycloak, a realm: read",
			`{"realm":"x","roles":{"users":[{"email":"no user"}]},"users":[` +
				`{"username":"ada","email":"ada@example.com","firstName":"Ada","lastName":"King","enabled":true,"credentials":[{"type":"otp","secretData":"{}"},` +
				keycloakPassword(`{"hashIterations":1000,"algorithm":"pbkdf2-sha256","additionalParameters":{}}`, sha256+"=") + `]},` +
				`{"username":"b@example.com","enabled":false,"credentials":[` + keycloakPassword(argon, sha256+"=") + `]},` +
				`{"username":"c","email":"c@example.com","credentials":[]},` +
				`{"username":"d","email":"d@example.com","credentials":[{"type":"password","algorithm":"pbkdf2-sha256","hashIterations":1000,"salt":"` + salt16 + `==","hashedSaltedValue":"` + sha256 + `="}]},` +
				`{"username":"service-account-x"}],"clients":[]}`,
			Config{Format: "keycloak"},
			[]string{
				"ada@example.com $pbkdf2-sha256$i=1000$" + salt16 + "$" + sha256 + " Ada King false false",
				"b@example.com $argon2id$v=19$m=7168,t=5,p=1$" + salt16 + "$" + sha256 + "  false true",
				"c@example.com   false false",
				"d@example.com $pbkdf2-sha256$i=1000$" + salt16 + "$" + sha256 + "  false false",
				"   false false",
			},
		},
		{
			"Supabase, CSV: read",
			"id,email,encrypted_password,banned_until,raw_user_meta_data,deleted_at\n" +
				`1,a@example.com,` + bcryptOf + `,,"{""full_name"": ""Ada King"", ""sub"": 1}",` + "\n" +
				"2,b@example.com," + bcryptOf + ",2026-02-01 00:00:00+00,{},NULL\n" +
				"3,c@example.com,null,2025-02-01 00:00:00.123+00,not JSON,\n" +
				"4,d@example.com,,infinity,,\n",
			Config{Format: "supabase"},
			[]string{
				"a@example.com " + bcryptOf + " Ada King false false", "b@example.com " + bcryptOf + "  false true",
				"c@example.com   false false", "d@example.com   false true",
			},
		},
		{
			"Supabase, JSON: read",
			`[{"email":"a@example.com","encrypted_password":"` + bcryptOf + `","raw_user_meta_data":{"name":"Ada"},"banned_until":null},` +
				`{"email":"b@example.com","encrypted_password":null,"raw_user_meta_data":"{\"name\":\"Bea\"}"}]`,
			Config{Format: "supabase"},
			[]string{"a@example.com " + bcryptOf + " Ada false false", "b@example.com  Bea false false"},
		},
		{
			"Firebase: read",
			`{"users":[{"localId":"1","email":"a@example.com","emailVerified":true,"passwordHash":"` + passwordHash + `","salt":"42xEC+ixf3L2lw==","displayName":"Ada","disabled":true,"providerUserInfo":[]},` +
				`{"localId":"2","email":"b@example.com","passwordHash":"` + strings.NewReplacer("+", "-", "/", "_").Replace(passwordHash) + `","salt":"42xEC-ixf3L2lw=="},` +
				`{"localId":"3","email":"c@example.com"}]}`,
			Config{Format: "firebase", Firebase: firebase},
			[]string{
				"a@example.com " + firebaseOf + " Ada false true", "b@example.com " + firebaseOf + "  false false", "c@example.com   false false",
			},
		},
	} {
		var want strings.Builder
		for n, line := range c.want {
			if unit := "user"; strings.Contains(c.name, "CSV") {
				fmt.Fprintf(&want, "line %d %s <nil>\n", n+2, line)
			} else {
				fmt.Fprintf(&want, "%s %d %s <nil>\n", unit, n+1, line)
			}
			if hash := strings.Fields(line); len(hash) > 1 && strings.HasPrefix(hash[1], "$") {
				if _, err := pwhash.Parse(hash[1]); err != nil {
					t.Errorf("%s: %s: %v", c.name, line, err)
				}
			}
		}
		if got, err := read(t, c.text, c.config); err != nil || got != want.String() {
			t.Errorf("%s: got\n%s%v\nwant\n%s", c.name, got, err, want.String())
		}
	}
}

const firebaseOf = "$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==,sk=jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==$42xEC+ixf3L2lw==$" + passwordHash

// A user that cannot be read is a fault of that user, which names no value.
func TestFaults(t *testing.T) {
	t.Parallel()
	firebase, err := ParseFirebase(parameters)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, text string
		config     Config
		want       string
	}{
		{"Auth0: a number", `{"email":7,"passwordHash":"secret"}`, Config{Format: "auth0"}, "has another form"},
		{"Auth0: no object", `["secret"]`, Config{Format: "auth0"}, "has another form"},
		{"Keycloak: SHA-1", `[{"email":"a","credentials":[` + keycloakPassword(`{"hashIterations":1,"algorithm":"pbkdf2"}`, "secret") + `]}]`, Config{Format: "keycloak"}, "SHA-1"},
		{"Keycloak: another algorithm", `[{"email":"a","credentials":[` + keycloakPassword(`{"hashIterations":1,"algorithm":"secret"}`, "secret") + `]}]`, Config{Format: "keycloak"}, "another algorithm"},
		{"Keycloak: argon2 1.0", `[{"email":"a","credentials":[` + keycloakPassword(`{"algorithm":"argon2","additionalParameters":{"version":["1.0"]}}`, "secret") + `]}]`, Config{Format: "keycloak"}, "another version"},
		{"Keycloak: no data", `[{"email":"a","credentials":[` + keycloakPassword(`secret`, "secret") + `]}]`, Config{Format: "keycloak"}, "another form"},
		{"Supabase: deleted", "email,encrypted_password,deleted_at\na,secret,2025-01-01 00:00:00+00\n", Config{Format: "supabase"}, "was deleted"},
		{"Firebase: no base64", `{"users":[{"email":"a","passwordHash":"!secret","salt":"!"}]}`, Config{Format: "firebase", Firebase: firebase}, "not base64"},
		{"Firebase: short", `{"users":[{"email":"a","passwordHash":"c2VjcmV0","salt":"42xEC+ixf3L2lw=="}]}`, Config{Format: "firebase", Firebase: firebase}, "cannot be used"},
	} {
		c.config.Now = now
		var faults []error
		err := Read(strings.NewReader(c.text), c.config, func(r Row) error { faults = append(faults, r.Fault); return nil })
		if err != nil || len(faults) != 1 || faults[0] == nil || !strings.Contains(faults[0].Error(), c.want) || strings.Contains(faults[0].Error(), "secret") {
			t.Errorf("%s: got %v, %v, want a fault with %q", c.name, faults, err, c.want)
		}
	}
	for name, text := range map[string]string{
		"nothing": "", "another algorithm": strings.Replace(parameters, "SCRYPT", "BCRYPT", 1), "no key": strings.Replace(parameters, "base64_signer_key", "key", 1),
		"no number": strings.Replace(parameters, "rounds: 8", "rounds: many", 1), "a large number": strings.Replace(parameters, "mem_cost: 14", "mem_cost: 1400000", 1),
	} {
		if f, err := ParseFirebase(text); err == nil || f != nil || strings.Contains(err.Error(), "jxspr") {
			t.Errorf("parameters with %s: got %v, %v", name, f, err)
		}
	}
}

// A file is read to its end, or refused as a whole; rows are counted, and no error repeats a hash.
func FuzzRead(f *testing.F) {
	const secret = "$2y$04$EVTD5jzxRNGqIo5.afCf0uwnt25IRD16kxCN1mrpesG0Z10/EU7a2"
	firebase, err := ParseFirebase(parameters)
	if err != nil {
		f.Fatal(err)
	}
	formats := append([]string{""}, Formats...)
	for n := range formats {
		f.Add(n, "email,name,hash\nada@example.com,Ada,"+secret+"\n")
		f.Add(n, "hash,email,admin\n\""+secret+"\",a,true\n,b,perhaps\nx\n\"\n")
		f.Add(n, `{"email":"a","hash":"`+secret+`"}`+"\n\n"+`{"hash":"`+secret+`","x":1}`+"\n{}{}\n[")
		f.Add(n, `{"users":[{"email":"a","passwordHash":"`+secret+`","salt":"`+secret+`","credentials":[{"type":"password","secretData":"`+secret+`","credentialData":"{}"}]}]}`)
		f.Add(n, "email,encrypted_password\na,"+secret+"\n")
		f.Add(n, "")
	}
	f.Fuzz(func(t *testing.T, n int, text string) {
		if n < 0 || n >= len(formats) {
			return
		}
		last, calls := 0, 0
		c := Config{Format: formats[n], Firebase: firebase, Now: now}
		err := Read(strings.NewReader(text), c, func(r Row) error {
			calls++
			lines := strings.Count(text, "\n") + strings.Count(text, "\r") + 1
			if r.Number <= last || r.Unit == "line" && r.Number > lines || r.Unit == "user" && r.Number != calls {
				t.Fatalf("%q: %s %d after %d", text, r.Unit, r.Number, last)
			}
			last = r.Number
			if r.Fault != nil && strings.Contains(r.Fault.Error(), secret[7:]) {
				t.Fatalf("%q: the fault repeats a hash: %v", text, r.Fault)
			}
			return nil
		})
		if err != nil && (!errors.Is(err, ErrForm) || strings.Contains(err.Error(), secret[7:])) {
			t.Fatalf("%q: got %v, want ErrForm without a hash", text, err)
		}
		// The error of the caller ends the file.
		stop := errors.New("stop")
		again := 0
		err = Read(strings.NewReader(text), c, func(Row) error { again++; return stop })
		if calls > 0 && (again != 1 || !errors.Is(err, stop)) {
			t.Fatalf("%q: %d calls and %v after the caller stopped", text, again, err)
		}
	})
}

// An error of the file is returned as it is.
func TestReadFails(t *testing.T) {
	t.Parallel()
	for _, format := range slices.Concat([]string{""}, Formats) {
		f, err := os.Open(t.TempDir()) // a folder cannot be read
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		err = Read(f, Config{Format: format, Firebase: new(Firebase)}, func(Row) error { return nil })
		if err == nil || errors.Is(err, ErrForm) {
			t.Errorf("format %q: got %v, want the error of the file", format, err)
		}
	}
}
