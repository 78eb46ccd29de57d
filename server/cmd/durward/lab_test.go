package main

import (
	"net"
	"net/http"
	"slices"
	"testing"

	"github.com/durward-auth/durward/durwardtest"
	"github.com/durward-auth/durward/lab"
	"github.com/durward-auth/durward/server/internal/doctor"
	"github.com/durward-auth/durward/server/internal/explain"
)

// The lab has an endpoint for each cause of the doctor, and refuses as its index says.
func TestLab(t *testing.T) {
	t.Parallel()
	p := serve(t, program(nil, "lab", "--listen", "127.0.0.1:0"))
	x := durwardtest.LabIndex(t, p.url)
	causes := make(map[string]string) // paths
	for _, e := range x.Endpoints {
		if e.Cause != "" && causes[e.Cause] == "" {
			causes[e.Cause] = e.Path
		}
	}
	for _, c := range doctor.Causes {
		if want := "/lab/" + c.ID; causes[c.ID] != want {
			t.Errorf("cause %s: its endpoint is %q, want %q", c.ID, causes[c.ID], want)
		}
		delete(causes, c.ID)
	}
	if len(causes) > 0 {
		t.Errorf("the lab has causes that the doctor does not know: %q", causes)
	}
	for _, page := range explain.All() { // their texts send readers there
		if at := page.Lab; at != "" && !slices.ContainsFunc(x.Endpoints, func(e lab.Endpoint) bool { return e.Path == at }) {
			t.Errorf("the explanation of %s names %s, which the lab does not have", page.ID, at)
		}
	}
	refused, err := http.Get(p.url + "/lab/no-credentials")
	if err != nil {
		t.Fatal(err)
	}
	defer refused.Body.Close()
	if refused.StatusCode != 401 || refused.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("/lab/no-credentials: got %s with %q, want 401 with a challenge", refused.Status, refused.Header.Values("WWW-Authenticate"))
	}
	if status := p.stop(); status != exitDone {
		t.Errorf("SIGTERM: status %d, want 0", status)
	}
}

// A wrong address or port in use is reported with a hint.
func TestLabErrors(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, c := range []struct {
		name string
		args []string
		want int
	}{
		{"a port in use: status 3", []string{"lab", "--listen", l.Addr().String()}, exitUnreachable},
		{"a public URL with a path: status 2", []string{"lab", "--public-url", "https://lab.example.com/x"}, exitUsage},
	} {
		cmd := program(nil, c.args...)
		out, _ := cmd.CombinedOutput() // its error is the status
		if got := cmd.ProcessState.ExitCode(); got != c.want {
			t.Errorf("%s: got %d, want %d\n%s", c.name, got, c.want, out)
		}
	}
}
