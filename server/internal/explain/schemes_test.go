package explain

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// registered lists the schemes of https://www.iana.org/assignments/http-authschemes/authschemes.csv.
var registered = []string{
	"Basic", "Bearer", "Concealed", "Digest", "DPoP", "GNAP", "HOBA", "Mutual", "Negotiate", "OAuth", "PrivateToken",
	"SCRAM-SHA-1", "SCRAM-SHA-256", "vapid",
}

func TestSchemes(t *testing.T) {
	t.Parallel()
	name := regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$") // a token (RFC 9110 s5.6.2)
	var ofIANA []string
	seen := make(map[string]bool)
	for _, s := range Schemes {
		if s.Registered {
			ofIANA = append(ofIANA, s.Name)
		}
		if lower := strings.ToLower(s.Name); seen[lower] || !name.MatchString(s.Name) {
			t.Errorf("%s: twice, or no token", s.Name)
		} else {
			seen[lower] = true
		}
		for part, text := range map[string]string{"What": s.What, "Who": s.Who, "Do": s.Do} {
			if !strings.HasSuffix(text, ".") || len(text) > 300 {
				t.Errorf("%s: %s: want a sentence of at most 300 octets: %q", s.Name, part, text)
			}
		}
		if s.Reference == (Clause{}) && !slices.Contains([]string{"HMAC", "X-MobileMe-AuthToken", "xBasic"}, s.Name) {
			t.Errorf("%s has no reference", s.Name)
		}
		text := s.Text(80)
		for line := range strings.Lines(text) {
			if utf8.RuneCountInString(line) > 81 && !strings.Contains(line, "https://") {
				t.Errorf("%s: a line of more than 80 columns: %q", s.Name, line)
			}
		}
		if got, ok := SchemeOf(strings.ToUpper(s.Name)); !ok || got.Name != s.Name {
			t.Errorf("SchemeOf(%q) = %q, %v", strings.ToUpper(s.Name), got.Name, ok)
		}
	}
	if !slices.Equal(ofIANA, registered) {
		t.Errorf("registered schemes: %q, want %q", ofIANA, registered)
	}
	for _, s := range []string{
		"NTLM", "AWS4-HMAC-SHA256", "ApiKey", "Signature", "Token", "JWT", "SharedKey", "GoogleLogin", "Kerberos", "Hawk", "Hmac", "Session", "Cookie",
	} {
		if !seen[strings.ToLower(s)] {
			t.Errorf("no scheme %s", s)
		}
	}
	if _, ok := SchemeOf("Nonsense"); ok {
		t.Error("SchemeOf knows Nonsense")
	}
}
