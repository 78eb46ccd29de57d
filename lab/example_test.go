package lab_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/durward-auth/durward/lab"
)

// session is a client that signs its user out too early: it deletes its token after every refusal.
type session struct{ token string }

func (s *session) get(url string) {
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	r.Header.Set("Authorization", "Bearer "+s.token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 400 {
		s.token = ""
	}
}

// A test of a client: after these refusals it has to keep its token. This client does not.
func ExampleHandler() {
	srv := httptest.NewServer(lab.Handler())
	defer srv.Close()
	for _, path := range []string{"/lab/code/AUTH_UNAVAILABLE", "/lab/edge-refused", "/lab/rate-limited"} {
		s := &session{token: "a token"}
		s.get(srv.URL + path)
		if s.token == "" {
			fmt.Println(path + ": the client signed its user out")
		}
	}
	// Output:
	// /lab/code/AUTH_UNAVAILABLE: the client signed its user out
	// /lab/edge-refused: the client signed its user out
	// /lab/rate-limited: the client signed its user out
}
