package doctor

import (
	"strings"
	"testing"
)

// TestReadHabits expects an error with the number of the line for each mistake in the table.
func TestReadHabits(t *testing.T) {
	t.Parallel()
	if list, err := readHabits("# a comment\n\nA | a.example | bearer | ?key | X-Tenant\n"); err != nil || len(list) != 1 || list[0].beside[0] != "X-Tenant" {
		t.Errorf("a right line: %v, %v", list, err)
	}
	for file, want := range map[string]string{
		"A | a.example":                                           "line 1: the line has 2 parts",
		"A | @no such product | bearer":                           "line 1: no product",
		"A | a.example | bearer,basic":                            "line 1: \"bearer,basic\" is no form",
		"A | a.example | bearer\nB | b.example a.example | basic": "line 2: a.example stands in line 1 too",
		"A | a.example | bearer | | X-Tenant:":                    "line 1: \"X-Tenant:\" is no name of a field",
	} {
		if _, err := readHabits(file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", file, err, want)
		}
	}
}

// TestProgramAtService expects that weak signs name no program that people run themselves at the address of a service.
func TestProgramAtService(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{"www.strava.com": "Strava or Fitbit", "media.home.example": "Sonarr, Radarr or Prowlarr"} {
		c, err := Read(strings.NewReader("GET https://"+host+"/api/v3/athlete HTTP/1.1\nX-Api-Key: abc\n\nHTTP/1.1 401 Unauthorized\nContent-Length: 0\n\n"), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if r := Diagnose(c, At(testTime)); r.Product != want {
			t.Errorf("%s: the product is %q, want %q", host, r.Product, want)
		}
	}
}
