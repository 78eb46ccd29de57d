package durwardtest

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/durward-auth/durward/lab"
)

// NewLab starts a server of package lab, for tests of HTTP clients. It returns its URL and its index:
// the requests to send, the status of each response, and how a good client behaves.
func NewLab(t testing.TB) (url string, index lab.Index) {
	t.Helper()
	srv := httptest.NewServer(lab.Handler())
	t.Cleanup(srv.Close)
	return srv.URL, LabIndex(t, srv.URL)
}

// LabIndex returns the index of the lab at a URL, such as that of `durward lab`.
func LabIndex(t testing.TB, url string) (index lab.Index) {
	t.Helper()
	resp, err := http.Get(url + "/lab.json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&index); err != nil {
		t.Fatal(err)
	}
	return index
}
