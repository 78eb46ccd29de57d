package node_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-auth/durward/internal/services"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/config"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
)

var resetLink = regexp.MustCompile(`/reset#t=3D([A-Za-z0-9_=\r\n-]+)"`)

// Two nodes send one mail for one request, and of twenty uses of its token at both nodes at once, one
// succeeds.
func TestResetAtTwoNodes(t *testing.T) {
	t.Parallel()
	database := services.Database(t)
	master, err := seal.Open(t.TempDir()+"/master.key", true)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	toFolder := func(set *config.Config) { set.Mail.Folder = folder }
	a, first := start(t, database, master, 0, toFolder)
	_, second := start(t, database, master, 0, toFolder)
	const email, password = "ada@example.com", "correct horse battery staple"
	if _, err := a.Accounts.Add(t.Context(), account.NewUser{Email: email, Password: password}, store.EventUserAdded, request.Info{Actor: "operator"}); err != nil {
		t.Fatal(err)
	}
	post := func(url, body string) int {
		res, err := plain.Post(url, "application/json", bytes.NewReader([]byte(body)))
		if err != nil {
			t.Error(err)
			return 0
		}
		res.Body.Close()
		return res.StatusCode
	}
	if status := post(first+"/api/auth/password/forgot", `{"email":"`+email+`"}`); status != http.StatusAccepted {
		t.Fatalf("forgot: %d", status)
	}
	var mails []string
	for deadline := time.Now().Add(time.Minute); len(mails) == 0; {
		if time.Now().After(deadline) {
			t.Fatal("no mail within a minute")
		}
		time.Sleep(10 * time.Millisecond) // between two checks
		if n, _, err := a.DB.MailsWaiting(t.Context()); err != nil || n > 0 {
			continue
		}
		names, err := filepath.Glob(filepath.Join(folder, "*.eml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			raw, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			mails = append(mails, string(raw))
		}
	}
	if len(mails) != 1 {
		t.Fatalf("%d mails, want 1", len(mails))
	}
	token := strings.ReplaceAll(resetLink.FindStringSubmatch(mails[0])[1], "=\r\n", "")
	var done, refused atomic.Int64
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			where := []string{first, second}[i%2]
			switch status := post(where+"/api/auth/password/reset", fmt.Sprintf(`{"token":%q,"new_password":"a quite different sentence %d"}`, token, i)); status {
			case http.StatusNoContent:
				done.Add(1)
			case http.StatusBadRequest:
				refused.Add(1)
			default:
				t.Errorf("status %d", status)
			}
		})
	}
	all.Wait()
	if done.Load() != 1 || refused.Load() != 19 {
		t.Errorf("%d done and %d refused, want 1 and 19", done.Load(), refused.Load())
	}
}
