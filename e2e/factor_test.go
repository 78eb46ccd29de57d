package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/server/servertest"
)

// TestSecondFactor sets up a second factor with programs of others: zbarimg reads the QR code, as a phone
// does, and oathtool makes the codes.
func TestSecondFactor(t *testing.T) {
	t.Parallel()
	needPrograms(t, "oathtool", "zbarimg")
	s := servertest.New(t)
	const email, password = "ada+mfa@example.com", "correct horse battery staple"
	s.AddUser(email, password, false)
	token, _ := s.SignIn(email, password)
	call := func(path string, body any, want int, into any) {
		t.Helper()
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.NewRequestWithContext(t.Context(), "POST", s.URL+path, bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		got, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != want || json.Unmarshal(got, into) != nil {
			t.Fatalf("%s: got %s %s (%v), want %d", path, res.Status, got, err, want)
		}
	}
	var e api.TOTPEnrolment
	call("/api/auth/mfa/totp", struct{}{}, 201, &e)

	picture := filepath.Join(t.TempDir(), "code.png")
	if err := os.WriteFile(picture, e.PNG, 0o600); err != nil {
		t.Fatal(err)
	}
	read, err := exec.Command("zbarimg", "--quiet", "--raw", picture).Output()
	if err != nil || strings.TrimSpace(string(read)) != e.URI {
		t.Fatalf("zbarimg: got %q (%v), want %q", read, err, e.URI)
	}

	used := ""
	code := func() string { // a code that was not used yet: of this step or of the next one
		t.Helper()
		for _, at := range []string{"now", "now + 30 seconds"} {
			out, err := exec.Command("oathtool", "--totp", "--base32", "--now", at, e.Secret).Output()
			if err != nil {
				t.Fatal(err)
			}
			if text := strings.TrimSpace(string(out)); text != used {
				used = text
				return text
			}
		}
		t.Fatal("oathtool makes one code for two steps")
		return ""
	}
	var confirmed, signed api.TokenResponse
	call("/api/auth/mfa/totp/confirm", map[string]string{"code": code()}, 200, &confirmed)
	token = ""
	var half struct {
		Code  string
		Token string `json:"mfa_token"`
	}
	call("/api/auth/login", api.LoginRequest{Email: email, Password: password}, 401, &half)
	call("/api/auth/login/mfa", api.MFARequest{MFAToken: half.Token, Method: api.FactorTOTP, Code: code()}, 200, &signed)
	if half.Code != "MFA_REQUIRED" || signed.AccessToken == "" || signed.ExpiresIn != int64(15*time.Minute/time.Second) {
		t.Errorf("got %+v, then %+v", half, signed)
	}
}
