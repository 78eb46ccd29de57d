package doctor

import (
	"strings"
	"testing"
)

// A diagnosis explains each scheme that Durward cannot answer, and quotes no word that may be a
// secret.
func TestSchemeNotes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name          string
		sent, offered string
		want          []string
	}{
		{"Negotiate is offered: explained", "", "Negotiate", []string{"The server offers Negotiate. The client sends a Kerberos ticket"}},
		{"two are offered: both", "", "NTLM, Negotiate", []string{"offers NTLM", "offers Negotiate"}},
		{"Bearer is offered: no note", "", `Bearer realm="a"`, nil},
		{"an unknown one is offered: its name", "", `Nonsense realm="a"`, []string{"the scheme Nonsense"}},
		{"a signature is sent: explained", "AWS4-HMAC-SHA256 Credential=A/20260101/r/s3/aws4_request, SignedHeaders=host, Signature=00", "",
			[]string{"The request uses AWS4-HMAC-SHA256."}},
		{"an unknown word is sent: no note", "marked-secret x", "", nil},
	} {
		text := "GET /x HTTP/1.1\r\nHost: api.example.com\r\n"
		if c.sent != "" {
			text += "Authorization: " + c.sent + "\r\n"
		}
		text += "\r\nHTTP/1.1 401 Unauthorized\r\n"
		if c.offered != "" {
			text += "WWW-Authenticate: " + c.offered + "\r\n"
		}
		read, err := Read(strings.NewReader(text+"\r\n"), Options{})
		if err != nil {
			t.Fatal(err)
		}
		r := Diagnose(read)
		got := r.Notes
		if len(got) != len(c.want) {
			t.Errorf("%s: got %q, want %d notes", c.name, got, len(c.want))
			continue
		}
		for i := range got {
			if !strings.Contains(got[i], c.want[i]) {
				t.Errorf("%s: got %q, want %q", c.name, got[i], c.want[i])
			}
		}
		for _, n := range got {
			if strings.Contains(n, "marked-secret") {
				t.Errorf("%s: the note %q contains a secret", c.name, n)
			}
		}
	}
}
