package dpop

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/retry"
)

func TestRequestURL(t *testing.T) {
	u, err := url.Parse("https://ada:secret@api.example.com/a%2Fb?c=d#e")
	if err != nil {
		t.Fatal(err)
	}
	r := new(State).Request("POST", u, "token")
	want := durward.ProofRequest{Method: "POST", URL: "https://api.example.com/a%2Fb", Token: "token"}
	if r != want {
		t.Errorf("%s: %+v, want %+v", u, r, want)
	}
}

func TestObserve(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		nonces []string
		want   string
	}{
		{"a nonce with 200: kept", 200, []string{"n"}, "n"},
		{"a nonce with 401: kept", 401, []string{"n"}, "n"},
		{"no nonce: the old one stays", 401, nil, "old"},
		{"two nonces: the old one stays", 401, []string{"a", "b"}, "old"},
		{"an empty nonce: the old one stays", 401, []string{""}, "old"},
		{"a nonce that is too long: the old one stays", 401, []string{strings.Repeat("n", MaxToken+1)}, "old"},
	} {
		s := &State{nonce: "old"}
		s.Observe(&http.Response{StatusCode: c.status, Header: http.Header{"Dpop-Nonce": c.nonces}})
		if got := s.Request("GET", new(url.URL), "").Nonce; got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestCorrectClock(t *testing.T) {
	for _, c := range []struct {
		name   string
		ahead  time.Duration
		reason retry.Reason
		want   bool
	}{
		{"a server an hour ahead: corrected", time.Hour, retry.InvalidProof, true},
		{"a server an hour behind: corrected", -time.Hour, retry.InvalidProof, true},
		{"the same time: nothing to correct", 0, retry.InvalidProof, false},
		{"another reason: nothing to correct", time.Hour, "invalid_token", false},
		{"a missing nonce that was not sent: nothing to correct", time.Hour, retry.UseDPoPNonce, false},
	} {
		var s State
		date := time.Now().Add(c.ahead).UTC().Format(http.TimeFormat)
		s.Observe(&http.Response{StatusCode: 401, Header: http.Header{"Date": {date}}})
		got := s.Correct(c.reason)
		issued := s.Request("GET", new(url.URL), "").Issued
		if got != c.want || issued.IsZero() == c.want {
			t.Errorf("%s: %t, issued %v", c.name, got, issued)
		}
		if off := time.Until(issued) - c.ahead; c.want && off.Abs() > time.Minute {
			t.Errorf("%s: issued %v, %v from the server's time", c.name, issued, off)
		}
	}
}

// A refused proof is sent again once for each reason; the last response stays readable.
func TestSend(t *testing.T) {
	for _, body := range []string{`{"error":"use_dpop_nonce"}`, `{"error":"invalid_grant"}`} {
		var proofs []string
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			proofs = append(proofs, r.Header.Get("DPoP"))
			w.Header().Set("DPoP-Nonce", "fresh")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, body)
		}))
		u, err := url.Parse(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		prove := func(p durward.ProofRequest) (string, error) { return "proof " + p.Nonce, nil }
		resp, err := Request{Client: server.Client(), URL: u, Prove: prove, State: new(State)}.Send(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		server.Close()
		want := 1
		if strings.Contains(body, "nonce") {
			want = 2
		}
		if err != nil || string(got) != body || len(proofs) != want || want == 2 && proofs[1] != "proof fresh" {
			t.Errorf("%s: body %q, %v, proofs %q", body, got, err, proofs)
		}
	}
}
