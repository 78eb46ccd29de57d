package doctor

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// TestRules checks the table of rules: the causes exist, a group of a cause has one meaning, and
// each cause has a rule that no word of the server alone satisfies.
func TestRules(t *testing.T) {
	t.Parallel()
	for _, r := range ruleSet() {
		if _, ok := CauseByID(r.cause); !ok {
			t.Errorf("%s: no cause is called so", r.cause)
		}
		if len(r.parts()) == 0 || r.group == "" {
			t.Errorf("%s %q: want facts and a group", r.cause, r.facts)
		}
		if !slices.Contains([]int{leads, decides, strong + weak + base, strong + weak, strong + base, strong, weak, base, -weak, contradicts, impossible}, r.points) {
			t.Errorf("%s %q has %d points", r.cause, r.facts, r.points)
		}
	}
	for _, id := range metFirst {
		if _, ok := CauseByID(id); !ok {
			t.Errorf("metFirst: no cause is called %q", id)
		}
	}
	for _, p := range pairs {
		for _, id := range []string{p.a, p.b} {
			if _, ok := CauseByID(id); !ok {
				t.Errorf("pairs: no cause is called %q", id)
			}
		}
	}
}

// TestProducts checks that products/ can be read and that its quirks are explained.
func TestProducts(t *testing.T) {
	t.Parallel()
	k, err := readProducts()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range k.products {
		for _, q := range p.Quirks {
			if quirkText[q] == "" {
				t.Errorf("%s: the quirk %q has no text", p.Name, q)
			}
		}
	}
}

// TestSaidIsNeverCertain repeats what servers say in the strongest words and expects no certainty.
func TestSaidIsNeverCertain(t *testing.T) {
	t.Parallel()
	rows, err := readPhrases(phraseFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		r := Diagnose(&Case{
			Kind: KindText, Subject: -1, Log: []string{row.example, row.example},
			Exchanges: nil,
		}, At(testTime))
		if r.Verdict != Certain {
			continue
		}
		for _, f := range r.Causes[0].Facts {
			if f.Source != Said {
				r.Verdict = Likely // a closed message of a log
			}
		}
		if r.Verdict == Certain {
			t.Errorf("%q: certain by words alone: %s", row.example, causesOf(r))
		}
	}
}

// TestSaidDecidesNothing weighs a rule that decides by words alone: the cause is likely at most.
func TestSaidDecidesNothing(t *testing.T) {
	t.Parallel()
	d := &diagnosis{now: testTime, evidence: gather(&Case{Subject: -1}, testTime)}
	d.add("said:expired", Said, "body", "the server says: expired")
	d.weigh([]preparedRule{{rule{"expired", "said:expired", decides, "words"}, []string{"said:expired"}}})
	if r := d.report(); r.Verdict != Likely {
		t.Errorf("a rule of words alone: got %s, %s, want likely", r.Verdict, causesOf(r))
	}
}

// marker stands for a secret in every part of an input.
const marker = "qX7-zR2_Secret/Marker+9981"

// TestReportHoldsNoSecret puts a secret in every part of a case and looks for it in the report.
func TestReportHoldsNoSecret(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"Bearer ", "Token ", "", "Basic ", "ApiKey ", "Bearer '"} {
		for _, text := range []string{
			"invalid token " + marker, "The key " + marker + " has expired", `{"error":"invalid_token","error_description":"unknown key ` + marker + `"}`,
			"<Error><Code>InvalidAccessKeyId</Code><Key>" + marker + "</Key></Error>",
		} {
			c := &Case{
				Kind: KindRaw, Log: []string{"refused token " + marker, "key=" + marker},
				Tokens: []Token{{Value: marker, Label: "TOKEN"}},
				Notes:  []Note{{ID: NoteUnquoted, Text: "the value " + marker + " is not quoted"}},
				Exchanges: []Exchange{{
					Request: &Request{
						Method: "GET", URL: "https://api.example/items?access_token=" + marker, Whole: true,
						Header: Fields{{Name: "Authorization", Value: scheme + marker}, {Name: "X-Api-Key", Value: marker}, {Name: "Cookie", Value: "sid=" + marker}, {Name: "DPoP", Value: marker}},
						Body:   []byte("grant_type=password&password=" + marker),
					},
					Response: &Response{
						Status: 401, Reason: "bad " + marker, Whole: true, Body: []byte(text),
						Header: Fields{{Name: "WWW-Authenticate", Value: `Bearer error="invalid_token", error_description="no ` + marker + `"`}, {Name: "X-Error", Value: marker}, {Name: "Set-Cookie", Value: "sid=" + marker}},
					},
				}},
			}
			var trace []string
			r := Diagnose(c, At(testTime), WithTrace(&trace))
			octets, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			all := strings.ToLower(string(octets) + strings.Join(trace, "\n"))
			for _, part := range []string{marker, "zR2_Secret", "marker+9981", "q x7", "secret marker"} {
				if strings.Contains(all, strings.ToLower(part)) {
					t.Errorf("scheme %q, text %q: the report holds the secret:\n%s", scheme, text, all)
				}
			}
		}
	}
}

// FuzzDiagnose diagnoses arbitrary exchanges: it ends, lists at most five causes, is not certain by
// words alone and holds no secret of the request.
func FuzzDiagnose(f *testing.F) {
	f.Add("GET", "https://api.example/items", "Bearer ", "HTTP", 401, "WWW-Authenticate", `Bearer error="invalid_token"`, `{"error":"expired"}`, "log line")
	f.Add("OPTIONS", "/x", "", "Origin", 403, "Set-Cookie", "a=; Max-Age=0", "<Error><Code>AccessDenied</Code></Error>", "AH01630: client denied")
	f.Add("POST", "https://a.example/token?grant_type=refresh_token", "Digest ", "DPoP", 400, "Date", "Fri, 20 Nov 2026 10:07:12 GMT", "[[[", "")
	f.Add("CONNECT", "a:443", "Negotiate TlRMTVNTUAADAAAA", "X-Amz-Date", 407, "Proxy-Authenticate", "NTLM", "<html><title>x", "kerberos")
	f.Fuzz(func(t *testing.T, method, url, scheme, field string, status int, name, value, body, log string) {
		c := &Case{
			Kind: KindRaw, Subject: 1, Log: strings.Split(log, "\n"),
			Exchanges: []Exchange{
				{Request: &Request{Method: method, URL: url, Header: Fields{{Name: "Authorization", Value: value}}}, Response: &Response{Status: status, Header: Fields{{Name: name, Value: value}, {Name: "Location", Value: url}}, Body: []byte(body)}},
				{
					Request:  &Request{Method: method, URL: url, Whole: true, Header: Fields{{Name: "Authorization", Value: scheme + marker}, {Name: field, Value: body}, {Name: field, Value: value}}, Body: []byte(body)},
					Response: &Response{Status: status, Whole: true, Header: Fields{{Name: name, Value: value}, {Name: field, Value: value}}, Body: []byte(body)},
				},
			},
		}
		r := Diagnose(c, At(testTime))
		if len(r.Causes) > maxCauses {
			t.Errorf("%d causes", len(r.Causes))
		}
		if r.Verdict == Certain && !slices.ContainsFunc(r.Causes[0].Facts, func(f Fact) bool { return f.Source != Said }) {
			t.Errorf("certain by words alone: %s", causesOf(r))
		}
		octets, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(octets), marker) && !strings.Contains(method+url+field+name+value+body+log, marker[:6]) {
			t.Errorf("the report holds the secret: %s", octets)
		}
	})
}

func BenchmarkDiagnose(b *testing.B) {
	cases := openCases(b)
	for b.Loop() {
		for _, c := range cases[:20] {
			Diagnose(c.input, At(testTime))
		}
	}
}

// TestFactsOfAFinding: the fact that decides stands first, and facts of most refusals are left out.
func TestFactsOfAFinding(t *testing.T) {
	t.Parallel()
	c, err := Read(strings.NewReader("GET /a HTTP/1.1\nHost: api.example.com\nAuthorization: Bearer eyJhbGciOiJFUzI1NiJ9.eyJleHAiOjE3MDAwMDAwMDB9.c2lnbmF0dXJl\n\n"+
		"HTTP/1.1 401 Unauthorized\nDate: Fri, 20 Nov 2026 10:07:12 GMT\nWWW-Authenticate: Bearer error=\"invalid_token\"\n\n"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	first := Diagnose(c).Causes[0]
	if first.ID != "expired" || first.Facts[0].At != "claim exp" || !strings.HasSuffix(first.Facts[0].Text, ": 3 years before") {
		t.Errorf("%s with the facts %+v", first.ID, first.Facts)
	}
	for _, f := range first.Facts {
		if usual.MatchString(f.ID) {
			t.Errorf("the fact %q says nothing about this refusal", f.Text)
		}
	}
}

// TestReportOfAProbe: a server that was asked without credentials gives that cause; the report
// lists the requests that were sent, and no cause twice.
func TestReportOfAProbe(t *testing.T) {
	t.Parallel()
	server := record(t, refuse("Bearer realm=x"))
	c, err := Probe(t.Context(), ProbeConfig{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	r := Diagnose(c)
	if len(r.Requests) != 2 || !strings.HasPrefix(r.Requests[0], "GET "+server.URL) {
		t.Errorf("requests %q", r.Requests)
	}
	// The challenge names no metadata, so their absence is no cause.
	if first := r.Causes[0]; first.ID != "no-credentials" || first.Confidence != Certain {
		t.Errorf("%s %s, want certain no-credentials", first.Confidence, first.ID)
	}
	both := 0
	for _, c := range openCases(t) {
		_, r := diagnosed(c)
		for _, also := range r.AlsoWrong {
			both++
			if slices.ContainsFunc(r.Causes, func(f Finding) bool { return f.ID == also.ID }) {
				t.Errorf("%s: %s is among the causes and also wrong", c.id, also.ID)
			}
		}
	}
	if both == 0 {
		t.Error("no case has a second deciding cause")
	}
}

// TestRulesCount expects that each rule can count: no other rule of its cause and group holds whenever it holds and is as
// strong. Rules that decide stand beside those that lead, since they alone make a verdict certain.
func TestRulesCount(t *testing.T) {
	t.Parallel()
	alike := map[string][]rule{}
	for _, r := range rules {
		alike[r.cause+" "+r.group] = append(alike[r.cause+" "+r.group], r)
	}
	for _, list := range alike {
		for i, weaker := range list {
			for j, r := range list {
				covers := i != j && !slices.ContainsFunc(r.parts(), func(id string) bool { return !slices.Contains(weaker.parts(), id) })
				stronger := r.points >= weaker.points && weaker.points > 0 || r.points <= weaker.points && weaker.points < 0
				if covers && stronger && !(r.points == leads && weaker.points == decides) {
					t.Errorf("%q (%d) never counts for %s: %q (%d) holds whenever it does", weaker.facts, weaker.points, weaker.cause, r.facts, r.points)
				}
			}
		}
	}
}

// TestPlaceholderOrCover gives words that stand where a secret belongs. What programs print without a value is certain; the
// words of an example may be those of a user who hides the secret.
func TestPlaceholderOrCover(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]Verdict{"undefined": Certain, "[object Object]": Certain, "YOUR_API_KEY": Likely, "$TOKEN": Likely} {
		c, err := Read(strings.NewReader("GET /items HTTP/1.1\nHost: api.example\nAuthorization: Bearer "+value+"\n\nHTTP/1.1 401 Unauthorized\nWWW-Authenticate: Bearer error=\"invalid_token\"\n\n"), Options{})
		if err != nil {
			t.Fatal(err)
		}
		r := Diagnose(c, At(testTime))
		if len(r.Causes) == 0 || r.Causes[0].ID != "placeholder" || r.Verdict != want {
			t.Errorf("%s: %s, want %s\n%s", value, r.Verdict, want, causesOf(r))
		}
	}
}

// TestLogAgainstAnswer expects no certainty where the log names a cause of another kind than the
// answer: the answer may hide the reason.
func TestLogAgainstAnswer(t *testing.T) {
	t.Parallel()
	answer := "POST https://api.example/comment HTTP/1.1\nCookie: sAccessToken=eyJ; sIdRefreshToken=x\n\nHTTP/1.1 401 Unauthorized\nContent-Type: application/json\n\n{\"message\":\"try refresh token\"}\n"
	for log, want := range map[string]Verdict{"": Certain, "\ncom.supertokens: anti-csrf check failed\n": Likely} {
		c, err := Read(strings.NewReader(answer+log), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if r := Diagnose(c, At(testTime)); r.Verdict != want {
			t.Errorf("with the log %q: %s, want %s", log, r.Verdict, want)
		}
	}
}
