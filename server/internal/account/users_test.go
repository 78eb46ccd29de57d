package account

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/testkit"
)

// The address of a deleted user is free again after 30 days, for a registration, an operator, an import and
// a change of address.
func TestDeletedAddress(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		h := newEnv(t, engine, quietNetworks)
		bob, err := h.Add(t.Context(), NewUser{Email: "bob@example.com", Password: adaPassword}, store.EventUserAdded, request.Info{Actor: "operator"})
		must(t, err)
		deleted := store.Event{ID: store.NewID(), Kind: store.EventUserDeleted, At: h.clock.Now(), UserID: h.ada.ID}
		_, err = h.DB.DeleteUser(t.Context(), h.ada.ID, h.clock.Now(), deleted)
		must(t, err)
		address := strings.ToUpper(adaEmail)
		change := Change{Email: &address}
		tries := map[string]func() error{
			"registration": func() error {
				return errOf(h.Add(t.Context(), NewUser{Email: address, Password: adaPassword}, store.EventRegistered, here))
			},
			"operator": func() error {
				return errOf(h.Add(t.Context(), NewUser{Email: address, Password: adaPassword}, store.EventUserAdded, request.Info{Actor: "operator"}))
			},
			"import": func() error { return h.importUser(ImportedUser{Email: address, Hash: bcryptOf}) },
			"change": func() error {
				c, _, err := change.Checked()
				must(t, err)
				_, err = h.DB.SetUser(t.Context(), bob.ID, c, h.clock.Now(), store.Event{ID: store.NewID(), At: h.clock.Now()})
				return RefuseTaken(err)
			},
		}
		h.clock.Advance(30*24*time.Hour - time.Second)
		for name, try := range tries {
			refused(t, name+" after 29 days", try(), durward.EmailTaken)
		}
		h.clock.Advance(time.Second)
		must(t, tries["change"]())
		if u, err := h.ByEmail(t.Context(), adaEmail); err != nil || u.ID != bob.ID || u.Email != address {
			t.Errorf("after 30 days: got %+v, %v", u, err)
		}
	})
}

// Only plain names are groups, and a user has a limited number of them.
func TestGroups(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		h := newEnv(t, engine)
		operator := request.Info{Actor: "operator"}
		for _, name := range []string{"", "Staff", " staff", "st aff", "staff\n", "stäff", "-staff", "a,b", "a/b", "*", strings.Repeat("a", 65), "\x00"} {
			refused(t, fmt.Sprintf("%q", name), h.AddToGroup(t.Context(), h.ada.ID, name, operator), durward.InvalidRequest)
		}
		for n := range maxGroups {
			must(t, h.AddToGroup(t.Context(), h.ada.ID, fmt.Sprintf("team-%d.x", n), operator))
		}
		refused(t, "one too many", h.AddToGroup(t.Context(), h.ada.ID, "more", operator), durward.InvalidRequest)
		must(t, h.AddToGroup(t.Context(), h.ada.ID, "team-0.x", operator)) // is in it already
		for _, want := range []error{nil, store.ErrNotFound} {
			removed := operator.Event(store.EventGroupRemoved, "ok", h.ada.ID, "", time.Now())
			removed.Detail = "team-0.x"
			if _, err := h.DB.RemoveFromGroup(t.Context(), h.ada.ID, "team-0.x", time.Now(), removed); !errors.Is(err, want) {
				t.Errorf("removal: got %v, want %v", err, want)
			}
		}
		if err := h.AddToGroup(t.Context(), "nobody", "staff", operator); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("unknown user: got %v, want ErrNotFound", err)
		}
		groups, err := h.DB.Groups(t.Context(), h.ada.ID)
		sizes, err2 := h.DB.GroupSizes(t.Context())
		if len(groups) != maxGroups-1 || len(sizes) != maxGroups-1 || sizes[0].Users != 1 || err != nil || err2 != nil {
			t.Errorf("got %d groups, sizes %v, %v, %v", len(groups), sizes, err, err2)
		}
		events, err := h.DB.Events(t.Context(), store.EventFilter{UserID: h.ada.ID, Kind: store.EventGroupRemoved})
		if len(events) != 1 || events[0].Detail != "team-0.x" || events[0].Actor != "operator" || err != nil {
			t.Errorf("events: got %+v, %v", events, err)
		}
	})
}

// The export has the user's data and no hash.
func TestExport(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		h := newEnv(t, engine)
		must(t, h.AddToGroup(t.Context(), h.ada.ID, "staff", request.Info{Actor: "operator"}))
		d, err := h.Export(t.Context(), h.ada)
		must(t, err)
		text, err := json.Marshal(d)
		must(t, err)
		for _, want := range []string{`"email":"` + adaEmail + `"`, `"groups":["staff"]`, `"sessions":[]`, `"passkeys":[]`, `"kind":"user_added"`, `"kind":"group_added"`} {
			if !strings.Contains(string(text), want) {
				t.Errorf("the export has no %s: %s", want, text)
			}
		}
		if strings.Contains(string(text), "argon2") {
			t.Errorf("the export has a hash: %s", text)
		}
	})
}
