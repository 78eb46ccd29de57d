package store

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/durward-auth/durward/server/internal/testkit"
)

// A user has at most ten known devices, the last ones. A device gets another cookie at the first sign-in of
// each user, which the earlier users share.
func TestDevices(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		addUser(t, db, "ada")
		addUser(t, db, "bob")
		known := func(user, cookie string, after time.Duration) string {
			t.Helper()
			id, err := db.KnownDevice(t.Context(), user, []byte(cookie), noon.Add(after))
			must(t, err)
			return id
		}
		add := func(id, user, cookie, old string, after time.Duration) bool {
			t.Helper()
			return remember(t, db, Device{ID: id, UserID: user, Hash: []byte(cookie), SeenAt: noon.Add(after)}, []byte(old))
		}
		if !add("1", "ada", "a", "", 0) || known("ada", "a", 0) != "1" || known("bob", "a", 0) != "" || known("ada", "b", 0) != "" {
			t.Error("a first sign-in: got another result")
		}
		if add("2", "ada", "b", "a", time.Hour) || known("ada", "b", 0) != "" {
			t.Error("a second sign-in: got a new device")
		}
		if !add("3", "bob", "c", "a", time.Hour) || known("bob", "c", 0) != "3" || known("ada", "c", 0) != "1" || known("ada", "a", 0) != "" {
			t.Error("another user there: want another cookie, for both users")
		}
		if known("ada", "c", time.Hour+DeviceKept-time.Second) != "1" || known("ada", "c", time.Hour+DeviceKept) != "" {
			t.Error("want a device known for 90 days after the last sign-in")
		}
		for n := range 20 {
			add(fmt.Sprint("more ", n), "ada", fmt.Sprint("cookie ", n), "", 2*time.Hour+time.Duration(n)*time.Second)
		}
		for n := range 20 {
			if got, want := known("ada", fmt.Sprint("cookie ", n), 0) != "", n >= 20-maxDevices; got != want {
				t.Errorf("device %d of 20: known is %v, want %v", n, got, want)
			}
		}
		if n := db.reader(t.Context()).number(`SELECT count(*) FROM devices WHERE user_id = 'ada'`); n != maxDevices {
			t.Errorf("got %d devices, want %d", n, maxDevices)
		}
		if known("bob", "c", 0) != "3" {
			t.Error("devices of another user: got them dropped")
		}
	})
}

// Whatever ends all sessions forgets the devices, and a sign-in that began before adds none.
func TestDevicesEnd(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		for name, end := range map[string]func(*DB) error{
			"password": func(db *DB) error {
				changed := anEvent(EventPasswordChanged, "ada")
				changed.At = noon.Add(time.Second)
				return errOf(db.ChangePassword(t.Context(), "ada", "$argon2id$new", "", noon, later, changed))
			},
			"lock": func(db *DB) error {
				return errOf(db.LockUser(t.Context(), "ada", later, anEvent(EventUserLocked, "ada")))
			},
			"everywhere": func(db *DB) error {
				return errOf(db.EndSessions(t.Context(), "ada", "", "signed_out", later, anEvent(EventSignedOut, "ada")))
			},
		} {
			db := openAt(t, fresh(t))
			addUser(t, db, "ada")
			remember(t, db, aDevice("device-1"), nil)
			must(t, end(db))
			if id, err := db.KnownDevice(t.Context(), "ada", aDevice("device-1").Hash, noon); err != nil || id != "" {
				t.Errorf("%s: got device %q, %v; want none", name, id, err)
			}
			_, err := db.RememberDevice(t.Context(), aDevice("device-2"), nil, aUser("ada"))
			if want := name != "everywhere"; errors.Is(err, ErrChanged) != want {
				t.Errorf("%s: a sign-in that began before: got %v", name, err)
			}
		}
	})
}
