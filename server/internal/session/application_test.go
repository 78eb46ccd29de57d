package session

import (
	"errors"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/testkit"
)

// code returns a code of a user for the client app.
func (w *env) code(u store.User, parent string) string {
	w.t.Helper()
	app := store.Client{ID: "app", Auth: store.ClientPublic, SessionID: store.NewID(), CreatedAt: w.clock.Now()}
	if err := w.c.DB.CreateClient(w.t.Context(), app, nil, home.Event(store.EventClientAdded, "ok", "", "", w.clock.Now())); !errors.Is(err, store.ErrTaken) {
		w.must(err)
	}
	c := store.Code{
		ClientID: "app", UserID: u.ID, ParentID: parent, RedirectURI: "https://app.example.com/callback",
		Scope: "openid items:read", Resources: []string{"https://api.example.com"}, AuthTime: w.clock.Now(), ACR: "urn:durward:acr:password",
	}
	code, err := w.NewCode(w.t.Context(), c, parent, time.Minute)
	w.must(err)
	return code
}

// application begins a session of the client app with a code.
func (w *env) application(code string) (store.CodeUse, Rotated) {
	w.t.Helper()
	use, r, err := w.BeginApplication(w.t.Context(), UseCode{
		Code:  code,
		Check: func(store.Code) error { return nil },
		Grant: func(store.Code) bool { return true },
	}, home)
	w.must(err)
	return use, r
}

func allowed(*Rotated) error { return nil }

// A client's refresh token works for that client alone: not at the server's own refresh and sign-out, and not
// for another client. A refused use changes nothing.
func TestRefreshOfOtherClient(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		w := newEnv(t, engine, nil)
		u := w.user()
		own := w.signIn(u)
		use, first := w.application(w.code(u, own.Session))
		if use.Refused != nil {
			t.Fatal(use.Refused)
		}
		if first.Session.ParentID != own.Session || !first.Session.EndsAt.Equal(w.clock.Now().Add(30*24*time.Hour)) {
			t.Errorf("the session has parent %q and ends at %s", first.Session.ParentID, first.Session.EndsAt)
		}
		refuse := func(name string, err error) {
			t.Helper()
			if !errors.Is(err, durward.RefreshInvalid) {
				t.Errorf("%s: got %v, want REFRESH_INVALID", name, err)
			}
		}
		_, err := w.Refresh(t.Context(), first.Refresh, nil, home)
		refuse("own refresh", err)
		_, _, err = w.SessionOfRefreshToken(t.Context(), first.Refresh)
		refuse("own sign-out", err)
		_, err = w.RefreshApplication(t.Context(), first.Refresh, "other", nil, home, allowed)
		refuse("another client", err)
		_, err = w.RefreshApplication(t.Context(), own.Refresh, "app", nil, home, allowed)
		refuse("a token of the own sign-in", err)
		narrower := errors.New("the client may not have this scope")
		if _, err = w.RefreshApplication(t.Context(), first.Refresh, "app", nil, home, func(*Rotated) error { return narrower }); !errors.Is(err, narrower) {
			t.Errorf("got %v, want the error of check", err)
		}
		second, err := w.RefreshApplication(t.Context(), first.Refresh, "app", nil, home, allowed)
		w.must(err)
		if second.Grant.Generation != 0 || second.Refresh == first.Refresh || second.Grant.Resources[0] != "https://api.example.com" {
			t.Errorf("got %+v", second.Grant)
		}
		again, err := w.RefreshApplication(t.Context(), first.Refresh, "app", nil, home, allowed)
		w.must(err)
		if again.Refresh != second.Refresh {
			t.Error("a lost response is answered with another token")
		}
	})
}

// The second use of a code ends the session of the first, and leaves the session of the browser alive. The end
// of the browser's session ends that of the application.
func TestApplicationEnds(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		w := newEnv(t, engine, nil)
		u := w.user()
		own := w.signIn(u)
		code := w.code(u, own.Session)
		_, first := w.application(code)
		if use, _ := w.application(code); !errors.Is(use.Refused, store.ErrSpent) || len(use.Revoked) != 1 {
			t.Errorf("second use: got %v, %d revocations", use.Refused, len(use.Revoked))
		}
		if _, err := w.RefreshApplication(t.Context(), first.Refresh, "app", nil, home, allowed); !errors.Is(err, durward.SessionRevoked) {
			t.Errorf("after the second use: %v", err)
		}
		if n := len(w.events(u, store.EventCodeReplayed)); n != 1 {
			t.Errorf("%d events, want 1", n)
		}
		own = w.refreshed(own.Refresh, home)
		_, first = w.application(w.code(u, own.Session))
		w.must(w.SignOut(t.Context(), u.ID, own.Session, false, home))
		if _, err := w.RefreshApplication(t.Context(), first.Refresh, "app", nil, home, allowed); !errors.Is(err, durward.SessionRevoked) {
			t.Errorf("after the sign-out: %v", err)
		}
		for _, wrong := range []string{"", "x", code + "A", "dr_" + code} {
			if use, _ := w.application(wrong); !errors.Is(use.Refused, store.ErrNotFound) {
				t.Errorf("%q: got %v", wrong, use.Refused)
			}
		}
	})
}
